"""The pieces of the terminal's page: header, figures, equity, and the tables, laid out by size."""

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from qfkit.core.snapshot import FeedView
from qfkit.views.columns import Row, Section, share_rows
from qfkit.views.sections import GAIN, LABEL, LOSS, Sections
from qfkit.views.text import bar_chart, clean, duration, money, percent, signed_money, signed_percent, utc

__all__ = ["Painter"]

_TWO_COLUMNS = 120
_FEED_LEAST = 28
_CHART_LEAST = 8
_ORDER = ("PRICES", "POSITIONS", "ORDERS", "FILLS", "STRATEGIES", "RISK", "FEED HEALTH", "MESSAGES")
_BOX = box.Box("╭─┬╮\n│ ││\n├─┼┤\n│ ││\n├─┼┤\n├─┼┤\n│ ││\n╰─┴╯\n")
_ASCII_BOX = box.Box("+-++\n| ||\n+-++\n| ||\n+-++\n+-++\n| ||\n+-++\n", ascii=True)


class Painter:
    """Lays one snapshot out for one width and encoding."""

    def __init__(self, sections: Sections, *, width: int) -> None:
        self.sections = sections
        self.snapshot = sections.snapshot
        self.width = width
        self.encoding = sections.encoding
        self.marks = sections.marks

    def page(self, height: int | None, footer: str = "") -> RenderableType:
        """The whole page, ``height`` lines at most."""
        wide = self.width >= _TWO_COLUMNS
        top = self._header()
        ending = self._footer(footer)
        room = None if height is None else height - len(top) - 2 - (1 if ending else 0)
        chart_rows = 1 if room is None or room < 26 else 3 if room < 36 else 5
        spaced = room is None or room >= 20
        body: list[RenderableType] = [
            *top,
            *([Text("")] if spaced else []),
            *([] if self.snapshot.is_watch_list else self._figures()),
            *self._equity(chart_rows),
        ]
        if room is not None:
            room -= len(self._equity(chart_rows)) + (1 if spaced else 0)
        if wide:
            body += self._rows(room)
        else:
            body += self._one_column(room)
        if ending:
            body.append(ending)
        if height is not None and len(body) > height and all(isinstance(part, Text) for part in body):
            del body[height:]
        return Group(*body)

    def _header(self) -> list[Text]:
        snapshot, feed = self.snapshot, self.snapshot.feed
        title = Text.assemble(
            self.sections.word(snapshot.name or "session", "bold"), "  ", self.sections.state(snapshot.state or "new")
        )
        lines = [self._edges(title, Text(utc(snapshot.time_ns)))]
        if feed is None:
            return lines
        light = Text.assemble(self.sections.state(feed.state), "  ", self.sections.word(feed.name))
        lines.append(self._edges(light, self._flow(feed, self.width - min(light.cell_len, _FEED_LEAST) - 2)))
        return lines

    def _flow(self, feed: FeedView, room: int) -> Text:
        """Whether data flow: rate, delay, age and whatever went wrong; the least important go first for want of room."""
        parts = [(f"{feed.rate_per_s:,.0f}/s", LABEL, 9)]
        if feed.lag_ms is not None:
            lag = duration(feed.lag_ms / 1000) if feed.lag_ms >= 1000 else f"{feed.lag_ms:,.0f} ms"
            parts.append((f"lag {lag}", LABEL, 1))
        if feed.age_s is not None:
            parts.append((f"last {duration(feed.age_s)} ago", LABEL, 8))
        counted = [
            (feed.reconnects, "reconnect" if feed.reconnects == 1 else "reconnects", 3),
            (feed.gaps, "gap" if feed.gaps == 1 else "gaps", 5),
            (feed.bad, "bad", 6),
            (feed.late, "late", 4),
        ]
        parts += [(f"{count:,} {name}", "yellow", keep) for count, name, keep in counted if count]
        dot = f" {self.marks.separator} "
        while len(parts) > 1 and len(dot.join(text for text, _, _ in parts)) > room:
            parts.remove(min(parts, key=lambda part: part[2]))
        return Text(dot, style=LABEL).join([Text(text, style=style) for text, style, _ in parts])

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
        gain = self.sections.moved(snapshot.pnl, f"{signed_money(snapshot.pnl)} ({signed_percent(snapshot.return_)})")
        tiles: list[tuple[str, Text, int]] = [
            ("portfolio", Text(money(snapshot.equity), style="bold"), 9),
            ("profit & loss", gain, 9),
            ("cash", Text(money(snapshot.cash)), 9),
            ("drawdown", Text(percent(snapshot.drawdown)), 8),
            *self._risk_level(),
            ("worst", Text(percent(snapshot.max_drawdown)), 5),
            ("fees", Text(money(snapshot.fees)), 4),
            ("positions", Text(f"{len(snapshot.positions):,}"), 6),
            ("trades", Text(f"{snapshot.trades_count:,}{won}"), 7),
            ("fills", Text(f"{snapshot.fills_count:,}"), 3),
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
            labels.append(label.ljust(width) + gap, style=LABEL)
            values.append_text(value)
            values.append(" " * (width - value.cell_len) + gap)
        labels.rstrip()
        values.rstrip()
        return [labels, values]

    def _risk_level(self) -> list[tuple[str, Text, int]]:
        assessment = self.snapshot.assessment
        if assessment is None:
            return []
        style = {"low": "green", "elevated": "yellow"}.get(assessment.level, "bold red")
        return [("risk", Text(assessment.level, style=style), 6)]

    def _signed(self, value: float) -> Text:
        return Text(signed_money(value), style=GAIN if value > 0.0 else LOSS if value < 0.0 else "")

    def _equity(self, rows: int) -> list[Text]:
        """The portfolio's value over time as columns of blocks, with its range at the left."""
        values = [value for _, value in self.snapshot.equity_curve]
        if len(values) < 2:
            return []
        values.append(self.snapshot.equity)
        low, high = money(min(values)), money(max(values))
        style = GAIN if values[-1] >= self.snapshot.starting_cash else LOSS
        if rows == 1:
            label = f"equity {low} to {high} "
            labels = [label]
        else:
            size = max(len(low), len(high))
            labels = [high.rjust(size) + " ", *[" " * (size + 1)] * (rows - 2), low.rjust(size) + " "]
        if self.width - len(labels[0]) < _CHART_LEAST:
            return []
        chart = bar_chart(values, self.width - len(labels[0]), rows, self.marks.blocks)
        lines = [
            Text.assemble((label, LABEL), (line, style), no_wrap=True)
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
        text = Text(line, style=LABEL, no_wrap=True, overflow="crop")
        text.truncate(self.width)
        return text

    def _one_column(self, room: int | None) -> list[RenderableType]:
        tables = self.sections
        sections = [tables.prices()]
        if not self.snapshot.is_watch_list:
            sections += [tables.positions(), tables.fills(), tables.strategies(), tables.orders(), tables.risk()]
        if tables.health_views:
            # What is wrong is said even where there is little room.
            sections.insert(1 if tables.is_feed_unwell else len(sections), tables.health())
        if self.snapshot.messages:
            sections.insert(0, tables.messages())
        shown = [section for section in sections if section.rows or section.title in ("POSITIONS", "FILLS", "PRICES")]
        ideal = sum(section.wanted + 3 for section in shown)
        if room is not None and room >= ideal:
            shares = share_rows(shown, room, 3)
            pairs = sorted(zip(shown, shares, strict=True), key=lambda pair: _ORDER.index(pair[0].title))
            return [self._boxed(section, self.width, rows) for section, rows in pairs if rows >= 0]
        shares = share_rows(shown, room, 1)
        pairs = sorted(zip(shown, shares, strict=True), key=lambda pair: _ORDER.index(pair[0].title))
        blocks = [section.lines(self.width, rows, self.marks, titled=True) for section, rows in pairs if rows >= 0]
        used = sum(map(len, blocks))
        blank = room is None or room - used >= len(blocks)
        lines: list[RenderableType] = []
        for block in blocks:
            lines += [Text(""), *block] if blank else block
        return lines

    def _rows(self, room: int | None) -> list[RenderableType]:
        """Boxes, two beside each other where their text is short; fills need the whole width for their reasons."""
        tables = self.sections
        rows = [Row((tables.prices(),))]
        if not self.snapshot.is_watch_list:
            rows = [
                Row((tables.prices(), tables.positions())),
                Row((tables.fills(),)),
                Row((tables.strategies(), tables.orders())),
            ]
            if (risk := tables.risk()).rows:
                rows.append(Row((risk,)))
        if tables.health_views:
            rows.insert(1 if tables.is_feed_unwell else len(rows), Row((tables.health(),)))
        if self.snapshot.messages:
            rows.append(Row((tables.messages(),)))
        shares = share_rows(rows, room, 3)
        pairs = sorted(zip(rows, shares, strict=True), key=lambda pair: _ORDER.index(pair[0].sections[0].title))
        return [self._beside(row, share) for row, share in pairs if share >= 0]

    def _beside(self, row: Row, share: int) -> RenderableType:
        height = share + 3 if row.rows else 3
        if len(row.sections) == 1:
            return self._boxed(row.sections[0], self.width, share, height)
        left_width = self.width // 2
        widths = (left_width, self.width - left_width)
        grid = Table.grid(padding=0)
        for width in widths:
            grid.add_column(width=width, no_wrap=True)
        grid.add_row(
            *(self._boxed(section, width, share, height) for section, width in zip(row.sections, widths, strict=True))
        )
        return grid

    def _boxed(self, section: Section, width: int, rows: int, height: int | None = None) -> RenderableType:
        lines = section.lines(width - 4, rows, self.marks, titled=False)
        return Panel(
            Group(*lines),
            box=_BOX if self.marks.blocks[-1] == "█" else _ASCII_BOX,
            title=Text(section.title, style=section.title_style),
            title_align="left",
            border_style=LABEL,
            width=width,
            height=height,
            padding=(0, 1),
        )
