"""The story of an order as text and as HTML that reads well without any style sheet."""

from math import isnan

from qfkit.core.events import Bar, Depth, Quote, Tick
from qfkit.core.orders import SELL, Check, Fill, OrderType
from qfkit.core.wording import span
from qfkit.inspection.costs import FillCost
from qfkit.inspection.senders import cause_of
from qfkit.inspection.story import OrderStory
from qfkit.inspection.times import short_stamp
from qfkit.views.parts import NOT_KNOWN, Part, parts_html, parts_text
from qfkit.views.text import money, price, price_decimals, quantity, signed_money, signed_percent

__all__ = ["parts_of", "story_html", "story_text"]

_LONG = 12


def story_text(story: OrderStory) -> str:
    """For a terminal or ``print``."""
    return parts_text(_headline(story), parts_of(story))


def story_html(story: OrderStory) -> str:
    """For a notebook: headings, sentences and plain tables."""
    return parts_html(_headline(story), parts_of(story))


# -- what it says ----------------------------------------------------------------------------


def _headline(story: OrderStory) -> str:
    order, signal = story.order, story.signal
    if order is not None:
        done = str(order.status).replace("_", " ")
        at = "" if order.average_price is None else f" at {_price(story, order.average_price)}"
        kind = str(order.type).replace("_", " ")
        return f"Order {order.order_id}: {order.side} {quantity(order.quantity)} {order.symbol} ({kind}), {done}{at}"
    if signal is None:
        return "No order"
    wish = f"{signal.action} {quantity(abs(signal.wanted))} {signal.symbol}"
    return f"Signal {signal.signal_id}: {wish}, {signal.decision}" + (
        f": {signal.decision_reason}" if signal.decision_reason else ""
    )


def parts_of(story: OrderStory) -> list[Part]:
    """The story in its order: who and why, on what, how large, by which checks, as what order, and what came of it."""
    parts = [_why(story), _seen(story), _indicators(story), _sizing(story), _checks(story), _sent(story)]
    parts += [_happened(story), _fills(story), _costs(story), _round_trip(story), _related(story)]
    found = [part for part in parts if part is not None]
    if story.lacks:
        found.append(Part("What could not be told", (story.lacks,)))
    return found


def _why(story: OrderStory) -> Part:
    lines = [f"{short_stamp(story.time_ns)}: {story.sender}"] if story.sender else [short_stamp(story.time_ns)]
    if story.reason:
        lines.append(f"because: {story.reason}")
    if story.parameters:
        values = ", ".join(f"{name}={value!r}" for name, value in story.parameters.items())
        lines.append(f"with the parameters {values}")
    if story.event_number is not None:
        after = (
            f"; {story.owner}.at(event={story.event_number}) is how it stood after it"
            if story.owner == "session"
            else ""
        )
        lines.append(f"event {story.event_number:,}{after}")
    return Part("Who and why", tuple(lines))


def _seen(story: OrderStory) -> Part | None:
    heard, market = story.heard, story.market
    rows: list[tuple[str, ...]] = []
    if isinstance(heard, Bar):
        rows = [(name, _price(story, getattr(heard, name))) for name in ("open", "high", "low", "close")]
        rows += [
            ("volume", _known(heard.volume)),
            ("opened", short_stamp(heard.open_ns)),
            ("closed", short_stamp(heard.close_ns)),
        ]
        title = f"Decided on the {heard.timeframe} bar of {heard.symbol}"
    elif isinstance(heard, Tick):
        rows = [("price", _price(story, heard.price)), ("size", _known(heard.size)), *_times(heard)]
        title = f"Decided on a trade of {heard.symbol}"
    elif isinstance(heard, Quote):
        rows = [
            ("bid", f"{_price(story, heard.bid)} x {_known(heard.bid_size)}"),
            ("ask", f"{_price(story, heard.ask)} x {_known(heard.ask_size)}"),
            *_times(heard),
        ]
        title = f"Decided on a quote of {heard.symbol}"
    elif isinstance(heard, Depth):
        rows = [
            (side, ", ".join(f"{_price(story, level)} x {_known(size)}" for level, size in levels[:3]) or NOT_KNOWN)
            for side, levels in (("bids", heard.bids), ("asks", heard.asks))
        ] + _times(heard)
        title = f"Decided on the order book of {heard.symbol}"
    elif isinstance(heard, Fill):
        rows = [
            ("order", str(heard.order_id)),
            (str(heard.side), f"{quantity(heard.quantity)} at {_price(story, heard.price)}"),
            ("filled", short_stamp(heard.time_ns)),
        ]
        title = f"Decided on a fill of {heard.symbol}"
    elif market is None:
        return None
    else:
        title = f"The market of {story.symbol}"
    if market is not None:
        rows.append((f"last price of {story.symbol}", _price(story, market.price)))
        if not isnan(market.middle) and not isinstance(heard, Quote):
            rows.append(("quote", f"{_price(story, market.bid)} bid, {_price(story, market.ask)} ask"))
    return Part(title, rows=tuple(rows))


def _times(event: Tick | Quote | Depth) -> list[tuple[str, ...]]:
    times: list[tuple[str, ...]] = [("time", short_stamp(event.time_ns))]
    if event.received_ns != event.time_ns:
        times.append(("received", short_stamp(event.received_ns)))
    return times


def _indicators(story: OrderStory) -> Part | None:
    values = story.indicator_values
    if not values:
        return None
    rows = tuple((name, _value(value), _value(before)) for name, (value, before) in values.items())
    return Part("Indicators", head=("", "value", "before"), rows=rows)


def _sizing(story: OrderStory) -> Part | None:
    signal, decision = story.signal, story.decision
    if signal is None or story.signal is None or signal.action == "protect":
        return None
    rows: list[tuple[str, ...]] = [("wanted", quantity(signal.wanted))]
    rows += [(name.replace("_", " "), _value(value)) for name, value in story.sizing.items()]
    if decision is not None:
        rows += [("position", quantity(decision.position)), ("equity of the book", money(decision.equity))]
        rows.append(("cash", money(decision.cash)))
    if story.order is not None and story.order.parent_id is None:
        rows.append(("sent", quantity(story.history[0].order.quantity if story.history else story.order.quantity)))
    by = "by the run's sizer" if story.sizing else "as asked for"
    return Part(
        "Size",
        (f"{by}; {signal.decision}" + (f": {signal.decision_reason}" if signal.decision_reason else ""),),
        rows=tuple(rows),
    )


def _checks(story: OrderStory) -> Part | None:
    signal = story.signal
    if signal is None:
        return None
    if not signal.checks:
        free = "it closes a position, which always passes" if signal.decision == "sent" else "none was come to"
        return Part("Filters and limits", (f"no check: {free}",)) if signal.action != "protect" else None
    rows = tuple(
        (check.name, _value(check.value), _value(check.limit), quantity(check.allowed), _verdict(check, signal.wanted))
        for check in signal.checks
    )
    return Part("Filters and limits", head=("", "value", "limit", "allows", "verdict"), rows=rows)


def _verdict(check: Check, wanted: float) -> str:
    if check.passed:
        return "passed"
    return "refused" if check.allowed <= 0.0 else "resized" if check.allowed < abs(wanted) else "passed in part"


def _sent(story: OrderStory) -> Part | None:
    order = story.history[0].order if story.history else story.order
    if order is None:
        return None
    rows: list[tuple[str, ...]] = [
        ("side", str(order.side)),
        ("type", str(order.type).replace("_", " ")),
        ("quantity", quantity(order.quantity)),
    ]
    for name in ("limit_price", "stop_price"):
        value = getattr(order, name)
        if value is not None:
            rows.append((name.replace("_", " "), _price(story, value)))
    if order.type is OrderType.TRAILING_STOP and order.trail is not None:
        trail = f"{order.trail * 100:g} %" if order.trail_is_fraction else _price(story, order.trail)
        rows.append(("trails by", trail))
    until = "" if order.expires_ns is None else f" until {short_stamp(order.expires_ns)}"
    rows += [
        ("time in force", f"{order.time_in_force}{until}"),
        ("decision price", _price(story, order.decision_price)),
        ("decided", short_stamp(order.decided_ns)),
        (
            "at the market",
            f"{short_stamp(order.sent_ns)} ({span((order.sent_ns - order.decided_ns) / 86_400e9)} later)",
        ),
    ]
    return Part("The order as sent", rows=tuple(rows))


def _happened(story: OrderStory) -> Part | None:
    if story.order is None:
        return None
    if not story.history:
        why = f": {story.order.status_reason}" if story.order.status_reason else ""
        return Part("What happened", (f"{short_stamp(story.order.updated_ns)}: {story.order.status}{why}",))
    rows: tuple[tuple[str, ...], ...] = tuple(
        (
            short_stamp(change.order.updated_ns),
            str(change.order.status).replace("_", " "),
            quantity(change.order.filled),
            quantity(change.order.quantity),
            change.order.status_reason or "",
            cause_of(change.event),
        )
        for change in story.history
    )
    head: tuple[str, ...] = ("", "status", "filled", "of", "why", "on")
    if not any(row[4] for row in rows):
        head, rows = (*head[:4], head[5]), tuple((*row[:4], row[5]) for row in rows)
    return Part("What happened", head=head, rows=_shortened(rows))


def _fills(story: OrderStory) -> Part | None:
    fills = story.fill_records
    if not fills:
        return None
    rows = tuple(
        (
            short_stamp(fill.time_ns),
            quantity(fill.quantity),
            _price(story, fill.price),
            _price(story, fill.market_price),
            money(fill.fee),
            *((f"{fill.rate:.6g}",) if _has_rates(story) else ()),
        )
        for fill in fills
    )
    lines = ("crossed with an order of another strategy of the account",) if any(f.is_crossed for f in fills) else ()
    # A fill bears the time of what it was filled on: on bars their open or close, else the exchange's own.
    when = "time of the bar" if any(type(change.event) is Bar for change in story.history) else "exchange time"
    head = (when, "quantity", "price", "market", "fee", *(("rate",) if _has_rates(story) else ()))
    return Part("Fills", lines, head, _shortened(rows))


def _has_rates(story: OrderStory) -> bool:
    return any(fill.rate != 1.0 for fill in story.fill_records)


def _costs(story: OrderStory) -> Part | None:
    costs = story.fill_costs
    if not costs:
        return None
    whole = story.cost
    notional = sum(
        fill.quantity * fill.decision_price * one.rate for fill, one in zip(costs, story.fill_records, strict=True)
    )
    rows = [_cost_row(story, cost) for cost in costs] if len(costs) > 1 else []
    sums = [whole[name] for name in ("delay", "spread", "size", "fee", "total")]
    rows = list(_shortened(tuple(rows)))
    rows.append(("all" if rows else short_stamp(costs[0].time_ns), *map(signed_money, sums)))
    if notional > 0.0:
        rows.append(("in basis points", *(f"{value / notional * 1e4:+.1f}" for value in sums)))
    paid = sum(cost.price * cost.quantity for cost in costs) / sum(cost.quantity for cost in costs)
    verb = "got" if story.fill_records[0].side is SELL else "paid"
    line = (
        f"decided at {_price(story, costs[0].decision_price)}, {verb} {_price(story, paid)}: delay, spread, size and fee make up the "
        "difference; above zero is a cost, in the account's money"
    )
    lines: tuple[str, ...] = (line,)
    if story.order is not None and story.order.type is not OrderType.MARKET:
        lines = (line, "it waited for its price: the delay is how far the market moved meanwhile")
    return Part("What it cost", lines, ("", "delay", "spread", "size", "fee", "total"), tuple(rows))


def _cost_row(story: OrderStory, cost: FillCost) -> tuple[str, ...]:
    return (
        short_stamp(cost.time_ns),
        *(signed_money(one) for one in (cost.delay, cost.spread, cost.size, cost.fee, cost.total)),
    )


def _round_trip(story: OrderStory) -> Part | None:
    rows = [
        (
            f"{trade.side}, closed",
            quantity(trade.quantity),
            _price(story, trade.entry_price),
            _price(story, trade.exit_price),
            span(trade.holding_ns / 86_400e9),
            signed_money(trade.pnl),
            signed_percent(trade.return_),
        )
        for trade in story.trips
    ]
    held = story.open_position
    if held is not None:
        cost = abs(held.quantity) * held.average_price * held.rate
        side = "long" if held.quantity > 0.0 else "short"
        rows.append(
            (
                f"{side}, open",
                quantity(abs(held.quantity)),
                _price(story, held.average_price),
                _price(story, held.price),
                "",
                signed_money(held.unrealised),
                signed_percent(held.unrealised / cost) if cost else "",
            )
        )
    if not rows:
        return None
    head = ("", "quantity", "entry", "exit or last", "held", "profit", "return")
    return Part("The round trip", head=head, rows=tuple(rows))


def _related(story: OrderStory) -> Part | None:
    if not story.siblings:
        return None
    rows = tuple(
        (
            f"order {order.order_id}",
            f"{order.side} {quantity(order.quantity)}",
            str(order.type).replace("_", " "),
            str(order.status).replace("_", " "),
            order.reason,
        )
        for order in story.siblings
    )
    return Part(
        "Other orders of the same signal", head=("", "order", "type", "status", "reason"), rows=_shortened(rows)
    )


def _shortened(rows: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """The first and the last rows of many."""
    if len(rows) <= _LONG:
        return rows
    half = _LONG // 2
    more = (f"... {len(rows) - 2 * half} more", *([""] * (len(rows[0]) - 1)))
    return (*rows[:half], more, *rows[-half:])


def _price(story: OrderStory, value: float | None) -> str:
    known: list[float | None] = [value]
    if story.market is not None:
        known += [story.market.price, story.market.bid, story.market.ask]
    return price(value, price_decimals(known))


def _value(value: float) -> str:
    return NOT_KNOWN if isnan(value) else f"{value:,.8g}"


def _known(value: float) -> str:
    return NOT_KNOWN if isnan(value) else quantity(value)
