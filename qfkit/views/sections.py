"""What each table of the terminal's page says: a snapshot's rows as safe, styled text."""

from collections.abc import Sequence

from msgspec.structs import replace
from rich.text import Text

from qfkit.core.orders import Fill, Order
from qfkit.core.snapshot import Snapshot, SymbolHealth, SymbolView
from qfkit.views.columns import Column, Section
from qfkit.views.health import health_section, is_counted, is_unwell
from qfkit.views.risk_section import risk_section
from qfkit.views.text import (
    clean,
    duration,
    marks_for,
    money,
    price,
    quantity,
    signed_money,
    signed_percent,
    symbol_decimals,
    time_of_day,
)

__all__ = ["GAIN", "LABEL", "LOSS", "Sections", "whole_fills"]

GAIN, LOSS, LABEL = "green", "red", "dim"
_STATES = {
    "running": ("good", "green"),
    "live": ("good", "green"),
    "paused": ("warning", "yellow"),
    "starting": ("warning", "yellow"),
    "stopping": ("warning", "yellow"),
    "connecting": ("warning", "yellow"),
    "backfilling": ("warning", "yellow"),
    "stale": ("bad", "bold red"),
    "failed": ("bad", "bold red"),
}
_DAYS_NS = 2 * 86_400 * 1_000_000_000
_OLD_NS = 60 * 1_000_000_000


def whole_fills(fills: Sequence[Fill]) -> list[tuple[Fill, int]]:
    """Fills of an order that follow each other as one, at their mean price, and how many they are."""
    whole: list[tuple[Fill, int]] = []
    for fill in fills:
        before, parts = whole[-1] if whole else (None, 0)
        if before is None or before.order_id != fill.order_id or before.is_crossed != fill.is_crossed:
            whole.append((fill, 1))
            continue
        quantity_ = before.quantity + fill.quantity
        price_ = (before.price * before.quantity + fill.price * fill.quantity) / quantity_
        whole[-1] = (replace(fill, quantity=quantity_, price=price_, fee=before.fee + fill.fee), parts + 1)
    return whole


class Sections:
    """One snapshot as sections, for one encoding; also the words and marks the rest is drawn with.

    ``decimals`` are those of each symbol's prices; without them they are read from the snapshot.
    """

    def __init__(self, snapshot: Snapshot, encoding: str = "utf-8", decimals: dict[str, int] | None = None) -> None:
        self.snapshot = snapshot
        self.encoding = encoding
        self.marks = marks_for(encoding)
        self.decimals = symbol_decimals(snapshot) if decimals is None else decimals
        self.has_several_books = len(snapshot.strategies) > 1
        curve = snapshot.equity_curve
        # On daily bars the time of day says nothing.
        self.dates = bool(curve) and snapshot.time_ns - curve[0][0] > _DAYS_NS

    def word(self, text: object, style: str = "") -> Text:
        return Text(clean(text, self.encoding), style=style)

    def state(self, name: str) -> Text:
        mark, style = _STATES.get(name, ("off", LABEL))
        return Text(f"{getattr(self.marks, mark)} {clean(name, self.encoding)}", style=style)

    def moved(self, value: float, text: str) -> Text:
        """A gain or loss: shape, sign and colour."""
        # What rounds to zero has no direction.
        if value == 0.0 or not any(digit in text for digit in "123456789"):
            return Text(f"{self.marks.flat} {text}")
        up = value > 0.0
        return Text(f"{self.marks.up if up else self.marks.down} {text}", style=GAIN if up else LOSS)

    def price(self, symbol: str, value: float | None) -> Text:
        return Text("" if value is None else price(value, self.decimals.get(symbol, 2)))

    def prices(self) -> Section:
        rows = [
            [
                self.word(view.symbol, "bold"),
                self.price(view.symbol, view.price),
                self.moved(view.change, signed_percent(view.change)),
                self.price(view.symbol, view.bid),
                self.price(view.symbol, view.ask),
                self._age(view),
            ]
            for view in self.snapshot.symbols
        ]
        columns = (
            Column("symbol", right=False),
            Column("last", keep=9),
            Column("since start", keep=8),
            Column("bid", keep=4),
            Column("ask", keep=4),
            Column("", keep=7),
        )
        return Section("PRICES", columns, rows, "waiting for the first price", least=2, most=40, weight=3)

    def _age(self, view: SymbolView) -> Text:
        """How old a price is that nobody should take for the present one; of daily bars it says nothing."""
        age_ns = self.snapshot.time_ns - view.time_ns
        if age_ns < _OLD_NS or self.dates:
            return Text("")
        return Text(f"{self.marks.warning} {duration(age_ns / 1e9)} old", style="yellow")

    def positions(self) -> Section:
        rows = [
            [
                self.word(view.symbol, "bold"),
                Text(quantity(view.quantity)),
                self.price(view.symbol, view.average_price),
                Text(money(view.market_value)),
                self.moved(view.unrealised, signed_money(view.unrealised)),
                self.word(view.strategy if self.has_several_books else ""),
            ]
            for view in self.snapshot.positions
        ]
        rows += [
            [
                self.word(net.symbol, "bold"),
                Text(quantity(net.quantity)),
                Text(""),
                Text(money(net.market_value)),
                self.moved(net.unrealised, signed_money(net.unrealised)),
                self.word("all together"),
            ]
            for net in self.snapshot.net_positions
            if len(net.by_strategy) > 1
        ]
        columns = (
            Column("symbol", right=False),
            Column("quantity", keep=9),
            Column("average", keep=5),
            Column("value", keep=6),
            Column("unrealised", keep=8),
            Column("strategy", keep=3, right=False, flexible=True),
        )
        return Section("POSITIONS", columns, rows, "flat", least=2, most=40, weight=3)

    def orders(self) -> Section:
        says_why = any(order.status_reason for order in self.snapshot.working_orders)
        rows = [
            [
                Text(f"#{order.order_id}"),
                Text(order.side.upper(), style=GAIN if order.side == "buy" else LOSS),
                self.word(order.symbol, "bold"),
                Text(
                    f"{quantity(order.filled)} of {quantity(order.quantity)}"
                    if order.filled
                    else quantity(order.quantity)
                ),
                self._order_terms(order),
                Text(order.status.replace("_", " ")),
                Text("  ").join(
                    part for part in (self.word(order.status_reason, "yellow"), self.word(order.reason)) if part
                ),
            ]
            for order in reversed(self.snapshot.working_orders)
        ]
        columns = (
            Column("order", keep=2, right=False),
            Column("side", right=False),
            Column("symbol", right=False),
            Column("quantity", keep=9),
            Column("terms", keep=8, right=False, flexible=True),
            Column("status", keep=4, right=False),
            Column("reason", keep=7 if says_why else 5, right=False, flexible=True),
        )
        return Section("ORDERS", columns, rows, "none working", least=1, most=12, weight=1)

    def _order_terms(self, order: Order) -> Text:
        """``market``, ``limit 2,595.50``, ``stop 2,600.00 limit 2,595.50`` or ``trailing stop 2,600.00``."""
        parts = []
        if order.stop_price is not None:
            kind = "trailing stop" if order.type == "trailing_stop" else "stop"
            parts.append(f"{kind} {self.price(order.symbol, order.stop_price)}")
        if order.limit_price is not None:
            parts.append(f"limit {self.price(order.symbol, order.limit_price)}")
        return Text(" ".join(parts) or order.type.replace("_", " "))

    def fills(self) -> Section:
        rows = [
            [
                Text(time_of_day(fill.time_ns, dates=self.dates)),
                Text(fill.side.upper(), style=GAIN if fill.side == "buy" else LOSS),
                self.word(fill.symbol, "bold"),
                Text(quantity(fill.quantity)),
                self.price(fill.symbol, fill.price),
                Text(money(fill.fee)),
                Text("" if parts == 1 else f"{parts} parts"),
                self.word(fill.strategy if self.has_several_books else ""),
                self.word(f"crossed inside: {fill.reason}" if fill.is_crossed else fill.reason),
            ]
            for fill, parts in reversed(whole_fills(self.snapshot.fills))
        ]
        columns = (
            Column("date" if self.dates else "time", keep=6, right=False),
            Column("side", right=False),
            Column("symbol", right=False),
            Column("quantity", keep=9),
            Column("price", keep=9),
            Column("fee", keep=3),
            Column("", keep=1),
            Column("strategy", keep=2, right=False, flexible=True),
            Column("reason", keep=10, right=False, flexible=True),
        )
        return Section("FILLS", columns, rows, "none yet", least=3, most=50, weight=4, more="earlier")

    def strategies(self) -> Section:
        rows = []
        says_why = any(view.fault or view.waiting for view in self.snapshot.strategies)
        for view in self.snapshot.strategies:
            values = "  ".join(f"{name}={value}" for name, value in view.parameters.items())
            told = self.word(view.fault, "red") if view.fault else self.word(view.waiting, "yellow")
            rows.append(
                [
                    self.word(view.name, "bold"),
                    self.state(view.state),
                    self.moved(view.pnl, signed_money(view.pnl)),
                    Text("  ").join(part for part in (told, self.word(values)) if part),
                ]
            )
        columns = (
            Column("strategy", right=False),
            Column("state", keep=8, right=False),
            Column("profit & loss", keep=6),
            # What keeps a strategy from trading is worth more than what it made.
            Column("parameters", keep=7 if says_why else 5, right=False, flexible=True),
        )
        return Section("STRATEGIES", columns, rows, "none", least=1, most=12, weight=2)

    @property
    def health_views(self) -> tuple[SymbolHealth, ...]:
        """The feed's ledger; empty where it keeps none."""
        views = () if self.snapshot.feed is None else self.snapshot.feed.symbols
        return views if is_counted(views) else ()

    @property
    def is_feed_unwell(self) -> bool:
        return any(map(is_unwell, self.health_views))

    def health(self) -> Section:
        return health_section(self.health_views, self.marks, self.encoding)

    def risk(self) -> Section:
        return risk_section(self.snapshot, self.marks, self.encoding)

    def messages(self) -> Section:
        rows = [
            [Text(time_of_day(time_ns, dates=self.dates)), self.word(text, "red")]
            for time_ns, text in reversed(self.snapshot.messages)
        ]
        columns = (Column("time", keep=1, right=False), Column("message", right=False, flexible=True))
        return Section("MESSAGES", columns, rows, least=1, most=4, weight=1, title_style="bold red", more="earlier")
