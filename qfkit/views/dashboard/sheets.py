"""Tables of the dashboard: positions, orders, log. Each is HTML, escaped, bounded, and says in words when it is empty."""

from collections.abc import Sequence
from operator import itemgetter

import msgspec

from qfkit.core.orders import Order, Signal
from qfkit.core.snapshot import PositionView
from qfkit.core.wording import count
from qfkit.views.dashboard.scene import Scene, moved, said, side
from qfkit.views.text import money, quantity, signed_money, time_of_day

__all__ = ["OrderRow", "blotter", "log", "order_rows", "position_rows", "positions", "prices", "sheet", "table"]

_MOST_POSITIONS = 12
_MOST_ORDERS = 10
_MOST_LINES = 8


def sheet(name: str, body: str, beside: str = "") -> str:
    """A panel's title and what is in it."""
    right = f"<small>{beside}</small>" if beside else ""
    return f"<h4><span>{name}</span>{right}</h4>{body}"


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], empty: str) -> str:
    """Rows of ready HTML under titles with their classes; without any the sentence ``empty``."""
    if not rows:
        return f'<p class="q-empty">{empty}</p>'
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in columns)
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{value}</td>' for value, (_, kind) in zip(row, columns, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def position_rows(scene: Scene) -> list[list[str]]:
    """What is held, as plain text: symbol, quantity, average, last, value, unrealised."""
    return [
        [
            view.symbol + (f" ({view.strategy})" if scene.has_several_books else ""),
            f"{'+' if view.quantity > 0 else ''}{quantity(view.quantity)}",
            scene.price(view.symbol, view.average_price),
            scene.price(view.symbol, view.price),
            money(view.market_value),
            signed_money(view.unrealised),
        ]
        for view in _largest(scene)
    ]


def _largest(scene: Scene) -> Sequence[PositionView]:
    """All positions as they stand, or where they are too many the largest, so that none that matters is left out."""
    views = scene.snapshot.positions
    if len(views) <= _MOST_POSITIONS:
        return views
    return sorted(views, key=lambda view: -abs(view.market_value * view.rate))[:_MOST_POSITIONS]


def _holder(view: PositionView, scene: Scene) -> str:
    # The strategy beneath, for beside it the table would be wider than a narrow panel.
    strategy = f'<small class="q-of">{said(view.strategy)}</small>' if scene.has_several_books else ""
    return f'<span class="q-name">{said(view.symbol)}</span>{strategy}'


def positions(scene: Scene) -> str:
    """What is held, by strategy where there are several."""
    views = scene.snapshot.positions
    columns = [
        ("symbol", "q-l"),
        ("quantity", ""),
        ("average", "q-mid"),
        ("last", ""),
        ("value", "q-wide"),
        ("unrealised", ""),
    ]
    rows = [
        [_holder(view, scene), *row[1:5], moved(view.unrealised, row[5])]
        for row, view in zip(position_rows(scene), _largest(scene), strict=True)
    ]
    more = f"the {_MOST_POSITIONS} largest of {len(views):,}" if len(views) > _MOST_POSITIONS else ""
    return sheet("Positions", table(columns, rows, "Flat: what is held will be listed here."), more)


def prices(scene: Scene) -> str:
    """The last prices of a watch list."""
    rows = [
        [
            f'<span class="q-name">{said(view.symbol)}</span>',
            scene.price(view.symbol, view.price),
            moved(view.change, f"{view.change * 100:+.2f} %"),
            scene.price(view.symbol, view.bid),
            scene.price(view.symbol, view.ask),
        ]
        for view in scene.snapshot.symbols
    ]
    columns = [("symbol", "q-l"), ("last", ""), ("since start", ""), ("bid", ""), ("ask", "")]
    return sheet("Prices", table(columns, rows, "Waiting for the first price."))


class OrderRow(msgspec.Struct, frozen=True):
    """An order as it stands, or a signal that became none; all but ``kind`` is plain text from wherever."""

    time: str
    side: str
    symbol: str
    quantity: str
    price: str
    status: str
    reason: str
    kind: str = ""

    def plain(self) -> list[str]:
        return [self.time, self.side, self.symbol, self.quantity, self.price, self.status, self.reason]


def order_rows(scene: Scene, most: int) -> list[OrderRow]:
    """The latest orders and refused signals, newest first."""
    chart = scene.chart
    # What the snapshot says of a working order is as new as what the records said, or newer.
    known = {order.order_id: order for order in (*chart.orders, *scene.snapshot.working_orders)}
    found: list[tuple[tuple[int, int], Order | Signal]] = [
        ((order.decided_ns, order.order_id), order) for order in known.values()
    ]
    found += [((signal.time_ns, -1), signal) for signal in chart.refused]
    found.sort(key=itemgetter(0), reverse=True)
    return [_of_order(scene, one) if isinstance(one, Order) else _of_signal(scene, one) for _, one in found[:most]]


def _of_order(scene: Scene, order: Order) -> OrderRow:
    whole = quantity(order.quantity)
    status = order.status.replace("_", " ")
    if 0.0 < order.filled < order.quantity:
        status = f"{'filled' if order.status.is_open else status} {quantity(order.filled)} of {whole}"
    if order.status_reason and order.reason:
        why = f"{order.status_reason}; {order.reason}"
    else:
        why = order.status_reason or order.reason or "no reason given"
    kinds = {"rejected": "q-bad", "cancelled": "q-quiet", "expired": "q-quiet"}
    return OrderRow(
        scene.time(order.decided_ns),
        order.side,
        order.symbol,
        whole,
        _terms(scene, order),
        status,
        f"{order.strategy}: {why}" if scene.has_several_books else why,
        kinds.get(order.status, ""),
    )


def _of_signal(scene: Scene, signal: Signal) -> OrderRow:
    wanted = signal.wanted if signal.wanted == signal.wanted else 0.0
    why = "; ".join(part for part in (signal.decision_reason, signal.reason) if part)
    return OrderRow(
        scene.time(signal.time_ns),
        ("sell" if wanted < 0.0 else "buy") if wanted else signal.action.replace("_", " "),
        signal.symbol,
        quantity(abs(wanted)) if wanted else "",
        "",
        "refused",
        f"{signal.strategy}: {why}" if scene.has_several_books else why,
        "q-bad",
    )


def _terms(scene: Scene, order: Order) -> str:
    """What it was filled at, else what it asks for."""
    if order.average_price is not None:
        return scene.price(order.symbol, order.average_price)
    parts = []
    if order.stop_price is not None:
        kind = "trail" if order.type == "trailing_stop" else "stop"
        parts.append(f"{kind} {scene.price(order.symbol, order.stop_price)}")
    if order.limit_price is not None:
        parts.append(f"limit {scene.price(order.symbol, order.limit_price)}")
    return " ".join(parts) or "market"


def blotter(scene: Scene, most: int = _MOST_ORDERS) -> str:
    """The latest orders, each with its reason in a line of its own under it."""
    rows = order_rows(scene, most)
    total = f"{count(scene.snapshot.fills_count)} fills"
    if not rows:
        empty = '<p class="q-empty">No orders yet: each will stand here with its reason and what became of it.</p>'
        return sheet("Orders", empty, total)
    columns = (("time", "q-l"), ("side", "q-l"), ("symbol", "q-l"), ("quantity", ""), ("price", ""))
    titles = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in columns)
    body = "".join(
        f'<tbody><tr><td class="q-l">{row.time}</td><td class="q-l">{side(row.side)}</td>'
        f'<td class="q-l q-name">{said(row.symbol)}</td><td>{row.quantity}</td><td>{row.price}</td></tr>'
        f'<tr class="q-why"><td colspan="5" class="q-cut" title="{said(row.reason)}">'
        f'<b class="{row.kind}">{said(row.status)}</b> {said(row.reason)}</td></tr></tbody>'
        for row in rows
    )
    return sheet("Orders", f'<table class="q-orders"><thead><tr>{titles}</tr></thead>{body}</table>', total)


def log(scene: Scene, most: int = _MOST_LINES) -> str:
    """Errors, warnings and alerts, what strategies print, and what came of the dashboard's own buttons; newest first."""
    lines = [(time_ns, text, "q-warn") for time_ns, text in scene.snapshot.messages]
    lines += [(time_ns, text, "") for time_ns, text in scene.snapshot.printed]
    lines += [(time_ns, text, "q-bad") for time_ns, text in scene.own]
    # Lines of one moment stay in the order in which they came.
    newest = sorted(lines, key=lambda line: line[0])[-most:][::-1]
    body = log_lines(newest, dates=scene.dates)
    if not body:
        return sheet(
            "Log", '<p class="q-empty">Nothing so far: errors, alerts and what strategies print come here.</p>'
        )
    more = f"newest {most} of {len(lines):,}" if len(lines) > most else ""
    return sheet("Log", body, more)


def log_lines(lines: Sequence[tuple[int, str, str]], *, dates: bool = False) -> str:
    """Time (or date), text and class of each line, as HTML; "" where there is none."""
    body = "".join(
        f'<div><time>{time_of_day(time_ns, dates=dates)}</time><span class="{kind}">{said(text)}</span></div>'
        for time_ns, text, kind in lines
    )
    return f'<div class="q-log" role="log">{body}</div>' if body else ""
