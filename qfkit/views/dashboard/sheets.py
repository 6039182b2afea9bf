"""Tables of the dashboard: positions, orders, log. Each is HTML, escaped, bounded, and says in words when it is empty."""

from collections.abc import Sequence

from qfkit.core.orders import Order, Signal
from qfkit.core.wording import count
from qfkit.views.dashboard.scene import Scene, moved, said, side
from qfkit.views.text import money, quantity, signed_money, time_of_day

__all__ = ["blotter", "log", "positions", "prices", "sheet", "table"]

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
        f"<tr>{''.join(_cell(value, kind) for value, (_, kind) in zip(row, columns, strict=True))}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: str, kind: str) -> str:
    # What may be cut is plain text, and whole in its tooltip.
    hint = f' title="{value}"' if "q-cut" in kind and value else ""
    return f'<td class="{kind}"{hint}>{value}</td>'


def positions(scene: Scene) -> str:
    """What is held, by strategy where there are several."""
    views = scene.snapshot.positions
    several = scene.has_several_books
    columns = [
        ("symbol", "q-l"),
        ("quantity", ""),
        ("average", ""),
        ("last", ""),
        ("value", "q-wide"),
        ("unrealised", ""),
    ]
    if several:
        columns.insert(1, ("strategy", "q-l"))
    rows = []
    for view in views[:_MOST_POSITIONS]:
        row = [
            f'<span class="q-name">{said(view.symbol)}</span>',
            f"{'+' if view.quantity > 0 else ''}{quantity(view.quantity)}",
            scene.price(view.symbol, view.average_price),
            scene.price(view.symbol, view.price),
            money(view.market_value),
            moved(view.unrealised, signed_money(view.unrealised)),
        ]
        if several:
            row.insert(1, said(view.strategy))
        rows.append(row)
    more = f"{_MOST_POSITIONS} of {len(views):,}" if len(views) > _MOST_POSITIONS else ""
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


def blotter(scene: Scene, most: int = _MOST_ORDERS) -> str:
    """The latest orders as they stand and the signals that became none, newest first, each with its reason."""
    chart, snapshot = scene.chart, scene.snapshot
    known = {order.order_id: order for order in (*snapshot.working_orders, *chart.orders)}
    found: list[tuple[int, int, list[str]]] = [
        (order.decided_ns, order.order_id, _order_row(scene, order)) for order in known.values()
    ]
    found += [(signal.time_ns, -1, _signal_row(scene, signal)) for signal in chart.refused]
    found.sort(key=lambda item: item[:2], reverse=True)
    rows = [row for _, _, row in found[:most]]
    columns = [
        ("time", "q-l"),
        ("side", "q-l"),
        ("symbol", "q-l"),
        ("quantity", ""),
        ("price", ""),
        ("status", "q-l"),
        ("reason", "q-cut"),
    ]
    total = f"{count(snapshot.fills_count)} fills"
    return sheet(
        "Orders",
        table(columns, rows, "No orders yet: each will stand here with its reason and what became of it."),
        total,
    )


def _order_row(scene: Scene, order: Order) -> list[str]:
    whole = quantity(order.quantity)
    filled = f"{quantity(order.filled)}/{whole}" if 0.0 < order.filled < order.quantity else whole
    state = order.status.replace("_", " ")
    kind = "q-bad" if order.status == "rejected" else "q-quiet" if order.status in ("cancelled", "expired") else ""
    why = (
        f"{order.status_reason}: {order.reason}"
        if order.status_reason and order.reason
        else order.status_reason or order.reason
    )
    if scene.has_several_books:
        why = f"{order.strategy}: {why}"
    return [
        scene.time(order.decided_ns),
        side(order.side),
        f'<span class="q-name">{said(order.symbol)}</span>',
        filled,
        _terms(scene, order),
        f'<span class="{kind}">{state}</span>',
        said(why or "no reason given"),
    ]


def _terms(scene: Scene, order: Order) -> str:
    """What it was filled at, else what it asks for."""
    if order.average_price is not None:
        return scene.price(order.symbol, order.average_price)
    parts = []
    if order.stop_price is not None:
        parts.append(
            f"{'trail' if order.type == 'trailing_stop' else 'stop'} {scene.price(order.symbol, order.stop_price)}"
        )
    if order.limit_price is not None:
        parts.append(f"limit {scene.price(order.symbol, order.limit_price)}")
    return " ".join(parts) or "market"


def _signal_row(scene: Scene, signal: Signal) -> list[str]:
    way = signal.wanted if signal.wanted == signal.wanted else 0.0
    return [
        scene.time(signal.time_ns),
        side("sell" if way < 0.0 or signal.action.startswith("sell") else "buy"),
        f'<span class="q-name">{said(signal.symbol)}</span>',
        quantity(abs(way)),
        "",
        '<span class="q-bad">refused</span>',
        said(signal.decision_reason or signal.reason),
    ]


def log(scene: Scene, most: int = _MOST_LINES) -> str:
    """Errors, warnings and alerts, what strategies print, and what came of the dashboard's own buttons; newest first."""
    lines = [(time_ns, text, "q-warn") for time_ns, text in scene.snapshot.messages]
    lines += [(time_ns, text, "") for time_ns, text in scene.snapshot.printed]
    lines += [(time_ns, text, "q-bad") for time_ns, text in scene.own]
    # Lines of one moment stay in the order in which they came.
    newest = sorted(lines, key=lambda line: line[0])[-most:][::-1]
    body = "".join(
        f'<div><time>{time_of_day(time_ns)}</time><span class="{kind}">{said(text)}</span></div>'
        for time_ns, text, kind in newest
    )
    if not body:
        return sheet(
            "Log", '<p class="q-empty">Nothing so far: errors, alerts and what strategies print come here.</p>'
        )
    more = f"newest {most} of {len(lines):,}" if len(lines) > most else ""
    return sheet("Log", f'<div class="q-log" role="log">{body}</div>', more)
