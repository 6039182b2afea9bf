"""The pieces of the terminal's page: header, figures, equity, and the tables, laid out by size."""

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from qfkit.core.orders import Order
from qfkit.core.snapshot import Snapshot
from qfkit.views.columns import Column, Section, share_rows
from qfkit.views.text import (
    Marks,
    bar_chart,
    clean,
    duration,
    marks_for,
    money,
    percent,
    price,
    quantity,
    signed_money,
    signed_percent,
    symbol_decimals,
    time_of_day,
    utc,
)

__all__ = ["Painter"]

_TWO_COLUMNS = 120
_UP, _DOWN, _LABEL, _TITLE = "green", "red", "dim", "bold cyan"
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
_BOX = box.Box("╭─┬╮\n│ ││\n├─┼┤\n│ ││\n├─┼┤\n├─┼┤\n│ ││\n╰─┴╯\n")
_ASCII_BOX = box.Box("+-++\n| ||\n+-++\n| ||\n+-++\n+-++\n| ||\n+-++\n", ascii=True)


class Painter:
    """Lays one snapshot out for one width and encoding."""

    def __init__(
        self, snapshot: Snapshot, *, width: int, encoding: str = "utf-8", decimals: dict[str, int] | None = None
    ) -> None:
        self.snapshot = snapshot
        self.width = width
        self.encoding = encoding
        self.marks: Marks = marks_for(encoding)
        self.decimals = symbol_decimals(snapshot) if decimals is None else decimals
        curve = snapshot.equity_curve
        # On daily bars the time of day says nothing.
        self.dates = bool(curve) and snapshot.time_ns - curve[0][0] > _DAYS_NS

    # -- words -------------------------------------------------------------------------------

    def word(self, text: object, style: str = "") -> Text:
        return Text(clean(text, self.encoding), style=style)

    def state(self, name: str) -> Text:
        mark, style = _STATES.get(name, ("off", _LABEL))
        return Text(f"{getattr(self.marks, mark)} {clean(name, self.encoding)}", style=style)

    def moved(self, value: float, text: str) -> Text:
        """A gain or loss: shape, sign and colour."""
        if value > 0.0:
            return Text(f"{self.marks.up} {text}", style=_UP)
        return Text(f"{self.marks.down} {text}", style=_DOWN) if value < 0.0 else Text(f"{self.marks.flat} {text}")

    def price(self, symbol: str, value: float | None) -> Text:
        return Text("" if value is None else price(value, self.decimals.get(symbol, 2)))

    # -- the page ----------------------------------------------------------------------------

    def page(self, height: int | None, footer: str = "") -> RenderableType:
        """The whole page, ``height`` lines at most."""
        wide = self.width >= _TWO_COLUMNS
        top = self._header()
        ending = self._footer(footer)
        room = None if height is None else height - len(top) - 2 - (1 if ending else 0)
        chart_rows = 1 if room is None or room < 26 else 3 if room < 36 else 5
        spaced = room is None or room >= 20
        body: list[RenderableType] = [*top, *([Text("")] if spaced else []), *self._figures(), *self._equity(chart_rows)]
        if room is not None:
            room -= len(self._equity(chart_rows)) + (1 if spaced else 0)
        if wide:
            body.append(self._two_columns(room))
        else:
            body += self._one_column(room)
        if ending:
            body.append(ending)
        return Group(*body)

    def _header(self) -> list[Text]:
        snapshot, feed = self.snapshot, self.snapshot.feed
        title = Text.assemble(self.word(snapshot.name or "session", "bold"), "  ", self.state(snapshot.state or "new"))
        lines = [self._edges(title, Text(utc(snapshot.time_ns)))]
        if feed is None:
            return lines
        dot = f" {self.marks.separator} "
        light = Text.assemble(self.state(feed.state), "  ", self.word(feed.name))
        flow = [f"{feed.rate_per_s:,.0f}/s"]
        if feed.lag_ms is not None:
            flow.append(f"lag {duration(feed.lag_ms / 1000) if feed.lag_ms >= 1000 else f'{feed.lag_ms:,.0f} ms'}")
        if feed.age_s is not None:
            flow.append(f"last {duration(feed.age_s)} ago")
        right = Text(dot.join(flow), style=_LABEL)
        counted = [("reconnects", feed.reconnects), ("gaps", feed.gaps), ("bad", feed.bad), ("late", feed.late)]
        for name, count in counted:
            if count:
                right.append(f"{dot}{count:,} {name}", style="yellow")
        lines.append(self._edges(light, right))
        return lines

    def _edges(self, left: Text, right: Text) -> Text:
        """One line, a part at each edge; the left one is shortened if both do not fit."""
        if left.cell_len + 2 + right.cell_len > self.width:
            if self.width - right.cell_len - 2 < 20:
                right.truncate(max(0, self.width - 22))
            room = max(0, self.width - right.cell_len - 2)
            if left.cell_len > room:
                left.truncate(max(0, room - len(self.marks.ellipsis)))
                left.append(self.marks.ellipsis)
        gap = max(1, self.width - left.cell_len - right.cell_len)
        line = Text.assemble(left, " " * gap, right)
        line.no_wrap = True
        return line

    def _figures(self) -> list[Text]:
        """Labels over values; the least important are left out where they do not fit."""
        snapshot = self.snapshot
        won = f" ({snapshot.winning_trades:,} won)" if snapshot.trades_count else ""
        gain = self.moved(snapshot.pnl, f"{signed_money(snapshot.pnl)} ({signed_percent(snapshot.return_)})")
        tiles: list[tuple[str, Text, int]] = [
            ("portfolio", Text(money(snapshot.equity), style="bold"), 9),
            ("profit & loss", gain, 9),
            ("cash", Text(money(snapshot.cash)), 9),
            ("drawdown", Text(percent(snapshot.drawdown)), 8),
            ("worst", Text(percent(snapshot.max_drawdown)), 7),
            ("fees", Text(money(snapshot.fees)), 6),
            ("positions", Text(f"{len(snapshot.positions):,}"), 5),
            ("trades", Text(f"{snapshot.trades_count:,}{won}"), 5),
            ("fills", Text(f"{snapshot.fills_count:,}"), 4),
            ("realised", self._signed(snapshot.realised), 3),
            ("unrealised", self._signed(snapshot.unrealised), 3),
            ("events", Text(f"{snapshot.events:,}"), 1),
        ]
        while True:
            widths = [max(len(label), value.cell_len) for label, value, _ in tiles]
            spare = self.width - sum(widths) - 2 * (len(tiles) - 1)
            if spare >= 0 or len(tiles) == 1:
                break
            tiles.remove(min(reversed(tiles), key=lambda tile: tile[2]))
        gap = " " * (2 + min(3, spare // max(1, len(tiles) - 1)))
        labels, values = Text(no_wrap=True), Text(no_wrap=True)
        for (label, value, _), width in zip(tiles, widths, strict=True):
            labels.append(label.ljust(width) + gap, style=_LABEL)
            values.append_text(value)
            values.append(" " * (width - value.cell_len) + gap)
        labels.rstrip()
        values.rstrip()
        return [labels, values]

    def _signed(self, value: float) -> Text:
        return Text(signed_money(value), style=_UP if value > 0.0 else _DOWN if value < 0.0 else "")

    def _equity(self, rows: int) -> list[Text]:
        """The portfolio's value over time as columns of blocks, with its range at the left."""
        values = [value for _, value in self.snapshot.equity_curve]
        if len(values) < 2:
            return []
        values.append(self.snapshot.equity)
        low, high = money(min(values)), money(max(values))
        style = _UP if values[-1] >= self.snapshot.starting_cash else _DOWN
        if rows == 1:
            label = f"equity {low} to {high} "
            labels = [label]
        else:
            size = max(len(low), len(high))
            labels = [high.rjust(size) + " ", *[" " * (size + 1)] * (rows - 2), low.rjust(size) + " "]
        chart = bar_chart(values, self.width - len(labels[0]), rows, self.marks.blocks)
        lines = [
            Text.assemble((label, _LABEL), (line, style), no_wrap=True)
            for label, line in zip(labels, chart, strict=True)
        ]
        return [*lines] if rows == 1 else [Text(""), *lines]

    def _footer(self, footer: str) -> Text | None:
        parts = [clean(footer, self.encoding)] if footer else []
        if self.snapshot.journal_path:
            parts.append(f"journal {clean(self.snapshot.journal_path, self.encoding)}")
        if not parts:
            return None
        line = f"  {self.marks.separator}  ".join(parts)
        if len(line) > self.width:
            line = parts[0]
        text = Text(line, style=_LABEL, no_wrap=True, overflow="crop")
        text.truncate(self.width)
        return text

    def _one_column(self, room: int | None) -> list[RenderableType]:
        sections = [self._prices(), self._positions(), self._fills(), self._strategies(), self._orders()]
        if self.snapshot.messages:
            sections.insert(0, self._messages())
        shown = [section for section in sections if section.rows or section.title in ("POSITIONS", "FILLS", "PRICES")]
        order = ["PRICES", "POSITIONS", "ORDERS", "FILLS", "STRATEGIES", "MESSAGES"]
        ideal = sum(section.wanted + 3 for section in shown)
        if room is not None and room >= ideal:
            shares = share_rows(shown, room, 3)
            pairs = sorted(zip(shown, shares, strict=True), key=lambda pair: order.index(pair[0].title))
            return [self._boxed(section, self.width, rows) for section, rows in pairs if rows >= 0]
        shares = share_rows(shown, room, 1)
        pairs = sorted(zip(shown, shares, strict=True), key=lambda pair: order.index(pair[0].title))
        blocks = [
            section.lines(self.width, rows, self.marks, titled=True) for section, rows in pairs if rows >= 0
        ]
        used = sum(map(len, blocks))
        blank = room is None or room - used >= len(blocks)
        lines: list[RenderableType] = []
        for block in blocks:
            lines += [Text(""), *block] if blank else block
        return lines

    def _two_columns(self, room: int | None) -> RenderableType:
        left_width = self.width // 2 - 1
        right_width = self.width - left_width - 1
        left = [self._prices(), self._positions(), self._strategies()]
        right = [self._fills(), self._orders()]
        if self.snapshot.messages:
            right.append(self._messages())
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(width=left_width, no_wrap=True)
        grid.add_column(width=right_width, no_wrap=True)
        grid.add_row(
            Group(*self._stack(left, left_width, room)), Group(*self._stack(right, right_width, room))
        )
        return grid

    def _stack(self, sections: list[Section], width: int, room: int | None) -> Iterable[RenderableType]:
        """Boxes one under the other; the last one reaches down to the page's end."""
        shares = share_rows(sections, room, 3)
        pairs = [(section, rows) for section, rows in zip(sections, shares, strict=True) if rows >= 0]
        used = 0
        boxes = []
        for number, (section, rows) in enumerate(pairs):
            height = rows + 3 if section.rows else 3
            if room is not None and number == len(pairs) - 1:
                height = max(height, room - used)
            used += height
            boxes.append(self._boxed(section, width, rows, height))
        return boxes

    def _boxed(self, section: Section, width: int, rows: int, height: int | None = None) -> RenderableType:
        lines = section.lines(width - 4, rows, self.marks, titled=False)
        return Panel(
            Group(*lines),
            box=_BOX if self.marks.blocks[-1] == "█" else _ASCII_BOX,
            title=Text(section.title, style=section.title_style),
            title_align="left",
            border_style=_LABEL,
            width=width,
            height=height,
            padding=(0, 1),
        )

    # -- the tables --------------------------------------------------------------------------

    def _prices(self) -> Section:
        rows = []
        for view in self.snapshot.symbols:
            rows.append(
                [
                    self.word(view.symbol, "bold"),
                    self.price(view.symbol, view.price),
                    self.moved(view.change, signed_percent(view.change)),
                    self.price(view.symbol, view.bid),
                    self.price(view.symbol, view.ask),
                ]
            )
        columns = (
            Column("symbol", right=False),
            Column("last", keep=9),
            Column("since start", keep=8),
            Column("bid", keep=4),
            Column("ask", keep=4),
        )
        return Section("PRICES", columns, rows, "waiting for the first price", least=2, most=40, weight=3, title_style=_TITLE)

    def _positions(self) -> Section:
        several = len(self.snapshot.strategies) > 1
        rows = [
            [
                self.word(view.symbol, "bold"),
                Text(quantity(view.quantity)),
                self.price(view.symbol, view.average_price),
                Text(money(view.market_value)),
                self.moved(view.unrealised, signed_money(view.unrealised)),
                self.word(view.strategy if several else ""),
            ]
            for view in self.snapshot.positions
        ]
        columns = (
            Column("symbol", right=False),
            Column("quantity", keep=9),
            Column("average", keep=5),
            Column("value", keep=6),
            Column("unrealised", keep=8),
            Column("strategy", keep=3, right=False, flexible=True),
        )
        return Section("POSITIONS", columns, rows, "flat", least=2, most=40, weight=3, title_style=_TITLE)

    def _orders(self) -> Section:
        rows = [
            [
                Text(f"#{order.order_id}"),
                Text(order.side.upper(), style=_UP if order.side == "buy" else _DOWN),
                self.word(order.symbol, "bold"),
                Text(
                    f"{quantity(order.filled)} of {quantity(order.quantity)}" if order.filled else quantity(order.quantity)
                ),
                Text(order.type.replace("_", " ")),
                self._order_price(order),
                Text(order.status.replace("_", " ")),
                self.word(order.reason),
            ]
            for order in reversed(self.snapshot.working_orders)
        ]
        columns = (
            Column("order", keep=2, right=False),
            Column("side", right=False),
            Column("symbol", right=False),
            Column("quantity", keep=9),
            Column("type", keep=8, right=False),
            Column("price", keep=7),
            Column("status", keep=4, right=False),
            Column("reason", keep=5, right=False, flexible=True),
        )
        return Section("ORDERS", columns, rows, "none working", least=1, most=12, weight=1, title_style=_TITLE)

    def _order_price(self, order: Order) -> Text:
        parts = []
        if order.stop_price is not None:
            parts.append(f"stop {self.price(order.symbol, order.stop_price)}")
        if order.limit_price is not None:
            parts.append(f"limit {self.price(order.symbol, order.limit_price)}")
        return Text(" ".join(parts))

    def _fills(self) -> Section:
        several = len(self.snapshot.strategies) > 1
        rows = [
            [
                Text(time_of_day(fill.time_ns, dates=self.dates)),
                Text(fill.side.upper(), style=_UP if fill.side == "buy" else _DOWN),
                self.word(fill.symbol, "bold"),
                Text(quantity(fill.quantity)),
                self.price(fill.symbol, fill.price),
                Text(money(fill.fee)),
                self.word(fill.strategy if several else ""),
                self.word(fill.reason),
            ]
            for fill in reversed(self.snapshot.fills)
        ]
        columns = (
            Column("date" if self.dates else "time", keep=6, right=False),
            Column("side", right=False),
            Column("symbol", right=False),
            Column("quantity", keep=9),
            Column("price", keep=9),
            Column("fee", keep=3),
            Column("strategy", keep=2, right=False, flexible=True),
            Column("reason", keep=7, right=False, flexible=True),
        )
        earlier = self.snapshot.fills_count - len(self.snapshot.fills)
        more = "earlier" if not earlier else f"earlier, {earlier:,} before them"
        return Section("FILLS", columns, rows, "none yet", least=3, most=50, weight=4, title_style=_TITLE, more=more)

    def _strategies(self) -> Section:
        rows = []
        for view in self.snapshot.strategies:
            values = "  ".join(f"{name}={value}" for name, value in view.parameters.items())
            detail = self.word(view.fault, "red") if view.fault else self.word(values)
            rows.append(
                [self.word(view.name, "bold"), self.state(view.state), self.moved(view.pnl, signed_money(view.pnl)), detail]
            )
        columns = (
            Column("strategy", right=False),
            Column("state", keep=8, right=False),
            Column("profit & loss", keep=6),
            Column("parameters", keep=5, right=False, flexible=True),
        )
        return Section("STRATEGIES", columns, rows, "none", least=1, most=12, weight=2, title_style=_TITLE)

    def _messages(self) -> Section:
        rows = [
            [Text(time_of_day(time_ns)), self.word(text, "red")] for time_ns, text in reversed(self.snapshot.messages)
        ]
        columns = (Column("time", keep=1, right=False), Column("message", right=False, flexible=True))
        return Section(
            "MESSAGES", columns, rows, least=1, most=4, weight=1, title_style="bold red", more="earlier"
        )

    # -- the end -----------------------------------------------------------------------------

    def ending(self, verify_text: str, next_steps: tuple[str, ...]) -> list[Text]:
        """The summary, a label and a value a line."""
        snapshot = self.snapshot
        curve = snapshot.equity_curve
        lines = [Text.assemble(self.word(snapshot.name or "session", "bold"), "  ", self.state(snapshot.state or "stopped"))]
        if curve:
            span = (snapshot.time_ns - curve[0][0]) / 1e9
            lines[0].append(f"  {utc(curve[0][0])} to {utc(snapshot.time_ns)} ({duration(span)})", style=_LABEL)
        gain = self.moved(snapshot.pnl, f"{signed_money(snapshot.pnl)} ({signed_percent(snapshot.return_)})")
        won = f", {snapshot.winning_trades:,} won" if snapshot.trades_count else ""
        rows: list[tuple[str, Text]] = [
            ("portfolio", Text(f"{money(snapshot.equity)} from {money(snapshot.starting_cash)}")),
            ("profit & loss", gain),
            ("of which", Text(f"realised {signed_money(snapshot.realised)}, unrealised {signed_money(snapshot.unrealised)}, fees {money(snapshot.fees)}")),
            ("drawdown", Text(f"{percent(snapshot.max_drawdown)} at worst, {percent(snapshot.drawdown)} at the end")),
            ("trading", Text(f"{snapshot.fills_count:,} fills, {snapshot.trades_count:,} round trips{won}")),
        ]
        rows += [
            (
                "strategy" if number == 0 else "",
                Text.assemble(
                    self.word(view.name), "  ", self.moved(view.pnl, signed_money(view.pnl)), "  ",
                    self.word(view.fault, "red") if view.fault else Text(view.state, style=_LABEL),
                ),
            )
            for number, view in enumerate(snapshot.strategies)
        ]
        if snapshot.feed is not None:
            rows.append(("data", Text.assemble(self.word(snapshot.feed.name), f", {snapshot.events:,} events")))
        if verify_text:
            rows.append(("verify", self.word(verify_text)))
        if snapshot.journal_path:
            rows.append(("journal", self.word(snapshot.journal_path)))
        rows += [("next" if number == 0 else "", self.word(step, "cyan")) for number, step in enumerate(next_steps)]
        lines += [Text.assemble((f"  {label:<15}", _LABEL), value) for label, value in rows]
        return lines
