"""Order entry: from a wish to an order, by way of the sizer, the risk gate and the symbol's steps.

Whatever becomes of it, a :class:`~qfkit.core.orders.Signal` keeps the wish, the decision and its numbers.
"""

from math import inf
from typing import TYPE_CHECKING

from qfkit.core.filters import note_entry
from qfkit.core.judging import Judgement, judge, judge_change, refusal_of
from qfkit.core.market import Market
from qfkit.core.orders import (
    BUY,
    FOK,
    GTC,
    HELD,
    IOC,
    LIMIT,
    MARKET,
    SELL,
    STOP,
    Order,
    OrderType,
    TimeInForce,
)
from qfkit.core.signal_notes import new_signal_id, note_signal
from qfkit.core.sizing import ClosedTrades, Sized, SizingContext
from qfkit.core.steps import fit_quantity, stepped_price
from qfkit.core.wording import utc_time
from qfkit.core.working import WorkingOrder
from qfkit.errors import OrderError

if TYPE_CHECKING:
    from qfkit.core.desk import Desk

__all__ = ["ask_sizer", "attach", "change_is_refused", "send"]


def ask_sizer(
    desk: "Desk", market: Market, side: float, *, entry_price: float | None = None, stop_price: float | None = None
) -> Sized:
    """What the run's sizer says for a symbol."""
    price, book = market.price, desk.book
    if price != price:
        raise OrderError(f"{market.symbol}: there is no price yet to size an order by")
    rate = market.rate
    if rate != rate:
        return Sized(0.0, {}, desk.engine.accounts.missing_rate(market))
    won, lost = book.winning_trades, book.trades_count - book.winning_trades
    context = SizingContext(
        symbol=market.symbol,
        side=side,
        price=price,
        entry_price=price if entry_price is None else entry_price,
        stop_price=stop_price,
        equity=book.equity / rate,
        cash=book.cash / rate,
        symbols=desk.symbols,
        trades=ClosedTrades(
            book.trades_count,
            won,
            book.won_return / won if won else 0.0,
            book.lost_return / lost if lost else 0.0,
        ),
        bars=desk.kept_bars,
        rate=rate,
    )
    answer = desk.engine.sizer(context)
    sized = answer if isinstance(answer, Sized) else Sized(answer)
    if not 0.0 <= sized.quantity < inf:
        raise OrderError(
            f"{market.symbol}: the sizer gave {sized.quantity!r}: it must give a finite quantity, zero or more"
        )
    return sized


def send(
    desk: "Desk",
    action: str,
    market: Market,
    signed: float,
    expected: float,
    *,
    kind: OrderType = MARKET,
    limit_price: float | None = None,
    stop_price: float | None = None,
    trail: float | None = None,
    trail_is_fraction: bool = False,
    time_in_force: TimeInForce = GTC,
    expires_ns: int | None = None,
    take_profit: float | None = None,
    reason: str,
    forced: bool = False,
    by_hand: bool = False,
    sized: Sized | None = None,
) -> WorkingOrder | None:
    """Decide on a wish: keep the signal, and put what is left of it to work; None where nothing is.

    ``signed`` is below zero for a sale, ``expected`` the price it is likely to trade at. ``forced`` is
    the user's or the engine's own wish, which neither a strategy's state nor a filter stops; ``by_hand`` a manual
    order, which they do not stop either, but limits and margin do.
    """
    engine = desk.engine
    wanted = abs(signed)
    judgement = Judgement(0.0, [], signed, is_filtered=False, is_exit=False)
    if wanted == 0.0:
        allowed, refusal = 0.0, (sized.reason if sized is not None else "") or "the sizer gave nothing"
    elif desk.state != "running" and not (forced or by_hand):
        allowed, refusal = 0.0, f"the strategy is {desk.state}"
    elif engine.is_warming:
        allowed, refusal = 0.0, "warming up on history: orders are off"
    elif market.price != market.price:
        allowed, refusal = 0.0, "there is no price yet"
    elif market.rate != market.rate:
        allowed, refusal = 0.0, engine.accounts.missing_rate(market)
    else:
        worst = 0.0
        if trail is not None and signed > 0.0:
            worst = market.price * (1.0 + trail) if trail_is_fraction else market.price + trail
        judgement = judge(
            desk,
            market,
            signed,
            expected,
            is_capped=signed > 0.0 and limit_price is not None,
            worst=worst,
            forced=forced,
            is_filtered=not (forced or by_hand),
            take_profit=take_profit,
        )
        allowed = judgement.allowed
        refusal = "" if allowed == wanted else refusal_of(judgement.checks)
        if market.rules is not None and allowed > 0.0:
            allowed, refusal = _fitted(desk, market, judgement.passing, allowed, expected, refusal)
    waits = ""
    if market.hours is not None and not market.hours.is_open(engine.clock_ns) and allowed > 0.0:
        opens_ns = market.hours.next_open_ns(engine.clock_ns)
        when = "its hours are known again" if opens_ns == inf else f"{utc_time(int(opens_ns))} UTC"
        if time_in_force in (IOC, FOK):
            allowed, refusal = 0.0, f"the market is closed until {when}"
        waits = f"the market is closed: waits until {when}"
    signal_id = new_signal_id(desk)
    order_id = None
    if allowed > 0.0:
        engine.orders_count += 1
        order_id = engine.orders_count
    decision = "rejected" if order_id is None else "sent" if allowed == wanted else "resized"
    note_signal(
        desk,
        signal_id,
        market.symbol,
        action,
        signed,
        decision,
        refusal,
        order_id,
        reason,
        judgement.checks,
        None if sized is None else sized.numbers,
    )
    if order_id is None:
        return None
    order = Order(
        order_id,
        market.symbol,
        BUY if signed > 0.0 else SELL,
        kind,
        allowed,
        desk.name,
        reason,
        engine.clock_ns,
        engine.clock_ns + engine.latency_ns(order_id),
        market.price,
        stepped_price(limit_price, market.rules, is_down=signed > 0.0),
        stepped_price(stop_price, market.rules, is_down=signed < 0.0),
        trail,
        trail_is_fraction,
        time_in_force,
        expires_ns,
        signal_id=signal_id,
        status_reason=waits,
        updated_ns=engine.clock_ns,
    )
    working = engine.broker.submit(order, desk, desk.book, market)
    working.is_by_hand = by_hand
    for watch in (desk.limit_watch, engine.limit_watch):
        if watch.is_active:
            watch.note_sent()
            judgement.is_exit = judgement.is_exit or bool(watch.stops)
    if not working.is_buy and not (desk.risk.allow_short and engine.limit_watch.limits.allow_short):
        # What it closes may be an entry at work, which may be taken back.
        working.is_reduce_only = True
    if judgement.is_exit:
        for one in market.working:
            if one.owner is desk and one.is_buy is working.is_buy:
                one.is_reduce_only = True
    if judgement.is_filtered:
        note_entry(desk, market, working)
    return working


def _fitted(
    desk: "Desk", market: Market, signed: float, allowed: float, expected: float, refusal: str
) -> tuple[float, str]:
    """The quantity in the symbol's steps, and why it changed; the close of a whole position is left as it is."""
    assert market.rules is not None
    position = desk.book.positions.get(market.symbol)
    if position is not None and position.quantity == -signed and allowed == abs(signed):
        return allowed, refusal
    fitting, too_small = fit_quantity(allowed, expected, market.rules)
    if too_small:
        return 0.0, too_small
    # Rounding to a step is not worth a word of its own; what the limits changed is.
    return fitting, refusal or ("" if fitting == allowed else "rounded to the symbol's step")


def change_is_refused(
    desk: "Desk", working: WorkingOrder, quantity: float | None, limit_price: float | None, stop_price: float | None
) -> bool:
    """Whether what an order would become is more than the limits or the margin allow; it stays as it is then."""
    order = working.order
    remaining = working.remaining if quantity is None or order.status is HELD else quantity - order.filled
    judgement = judge_change(desk, working, remaining, limit_price, stop_price)
    if judgement is None or judgement.allowed >= remaining * (1.0 - 1e-12):
        return False
    wanted = remaining if working.is_buy else -remaining
    why = f"order {order.order_id} stays as it is"
    refused = refusal_of(judgement.checks)
    note_signal(
        desk, new_signal_id(desk), order.symbol, "modify", wanted, "rejected", refused, None, why, judgement.checks
    )
    return True


def attach(desk: "Desk", entry: WorkingOrder, kind: OrderType, price: float, role: str) -> None:
    engine = desk.engine
    engine.orders_count += 1
    parent, rules = entry.order, entry.market.rules
    leg = Order(
        engine.orders_count,
        parent.symbol,
        SELL if entry.is_buy else BUY,
        kind,
        parent.quantity,
        desk.name,
        f"{role} of order {parent.order_id}",
        engine.clock_ns,
        parent.sent_ns,
        parent.decision_price,
        # The target of a long position is a sale, and so is its stop.
        limit_price=stepped_price(price, rules, is_down=not entry.is_buy) if kind is LIMIT else None,
        stop_price=stepped_price(price, rules, is_down=entry.is_buy) if kind is STOP else None,
        status=HELD,
        parent_id=parent.order_id,
        signal_id=parent.signal_id,
        updated_ns=engine.clock_ns,
    )
    engine.broker.submit_leg(leg, entry).is_by_hand = entry.is_by_hand
