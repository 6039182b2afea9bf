"""Tables for a terminal that leave out a column rather than cut a number.

``rich.table`` shortens any cell when it runs out of room; here only text marked as flexible is
shortened, and the least important column goes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.text import Text

from qfkit.views.text import Marks

__all__ = ["Column", "Row", "Section", "share_rows"]

_GAP = 2
_WIDEST_GAP = 4
_FLEXIBLE_LEAST = 14


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a section. The lowest ``keep`` is left out first; ``flexible`` text may be shortened."""

    title: str
    keep: int = 9
    right: bool = True
    flexible: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A titled table. ``least`` rows are shown before others get more; ``empty`` says why it has none."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Text]]
    empty: str = "none"
    least: int = 1
    most: int = 12
    weight: int = 1
    title_style: str = "bold cyan"
    more: str = "more"

    @property
    def wanted(self) -> int:
        """How many rows it would show with all the room in the world; an empty one needs none."""
        return min(self.most, len(self.rows))

    def lines(self, width: int, rows: int, marks: Marks, *, titled: bool) -> list[Text]:
        """The header and ``rows`` lines, none wider than ``width``. ``titled`` puts the title into the header."""
        if not self.rows:
            none = Text(self.empty, style="dim")
            return [_fit(Text.assemble((self.title, self.title_style), "  ", none) if titled else none, width, marks)]
        hidden = len(self.rows) - rows
        # The line that says how many more there are takes a row's place, but never the last one.
        says_more = hidden > 0 and rows > 1
        shown = self.rows[: rows - 1 if says_more else max(rows, 0)]
        if hidden > 0 and not says_more and titled:
            return replace(self, title=f"{self.title} {len(shown)} of {len(self.rows)}", rows=shown).lines(
                width, len(shown), marks, titled=True
            )
        chosen, widths, gap = self._choose(shown, width, titled)
        lines = [self._header(chosen, widths, gap, width, marks, titled)]
        for row in shown:
            cells = [_set(row[index], widths[index], self.columns[index], marks) for index in chosen]
            lines.append(_fit(Text(" " * gap).join(cells), width, marks))
        if says_more:
            lines.append(Text(f"{marks.ellipsis} {hidden + 1} {self.more}", style="dim"))
        return lines

    def _head(self, index: int, titled: bool) -> str:
        return self.title if titled and index == 0 else self.columns[index].title

    def _choose(
        self, rows: Sequence[Sequence[Text]], width: int, titled: bool
    ) -> tuple[list[int], dict[int, int], int]:
        """Which columns fit, how wide each is, and the gap between them."""
        natural = {
            index: max([len(self._head(index, titled)), *(row[index].cell_len for row in rows)])
            for index in range(len(self.columns))
        }
        # A column in which no row has anything says nothing.
        chosen = [index for index in natural if index == 0 or any(row[index].cell_len for row in rows)]
        while True:
            widths = {
                index: min(natural[index], _FLEXIBLE_LEAST) if self.columns[index].flexible else natural[index]
                for index in chosen
            }
            spare = width - sum(widths.values()) - _GAP * (len(chosen) - 1)
            if spare >= 0 or len(chosen) == 1:
                break
            chosen.remove(min(chosen[1:], key=lambda index: (self.columns[index].keep, -index)))
        for index in chosen:
            if self.columns[index].flexible and spare > 0:
                extra = min(spare, natural[index] - widths[index])
                widths[index] += extra
                spare -= extra
        gap = _GAP + (max(0, min(_WIDEST_GAP - _GAP, spare // (len(chosen) - 1))) if len(chosen) > 1 else 0)
        return chosen, widths, gap

    def _header(
        self, chosen: list[int], widths: dict[int, int], gap: int, width: int, marks: Marks, titled: bool
    ) -> Text:
        cells = []
        for index in chosen:
            title = Text(self._head(index, titled), style=self.title_style if titled and index == 0 else "dim")
            cells.append(_set(title, widths[index], self.columns[index], marks))
        return _fit(Text(" " * gap).join(cells), width, marks)


@dataclass(frozen=True, slots=True)
class Row:
    """Sections beside each other, as high as the highest of them."""

    sections: tuple[Section, ...]

    @property
    def least(self) -> int:
        return max(section.least for section in self.sections)

    @property
    def wanted(self) -> int:
        return max(section.wanted for section in self.sections)

    @property
    def weight(self) -> int:
        return max(section.weight for section in self.sections)

    @property
    def rows(self) -> Sequence[Sequence[Text]]:
        return max((section.rows for section in self.sections), key=len)


def _set(cell: Text, width: int, column: Column, marks: Marks) -> Text:
    """The cell in exactly ``width`` columns of the terminal."""
    text = _fit(cell.copy(), width, marks)
    missing = width - text.cell_len
    if column.right:
        text.pad_left(missing)
    else:
        text.pad_right(missing)
    return text


def _fit(text: Text, width: int, marks: Marks) -> Text:
    if text.cell_len > width:
        end = marks.ellipsis if width > len(marks.ellipsis) else ""
        text.truncate(width - len(end))
        text.rstrip()
        text.append(end)
    text.no_wrap = True
    return text


def share_rows(sections: Sequence[Section | Row], room: int | None, overhead: int) -> list[int]:
    """How many rows each section gets, 0 or more; -1 leaves a section out wholly.

    ``overhead`` is what a section with rows costs beyond them. Sections come in order of
    importance: each first gets its least, then rows go to whoever has the fewest for its weight.
    """
    if room is None:
        return [section.wanted for section in sections]
    given = [-1] * len(sections)
    for index, section in enumerate(sections):
        least = min(section.least, section.wanted)
        cost = overhead + least if section.rows else overhead
        if cost <= room:
            given[index] = least
            room -= cost
    while room > 0:
        hungry = [index for index, rows in enumerate(given) if 0 <= rows < sections[index].wanted]
        if not hungry:
            break
        index = min(hungry, key=lambda index: (given[index] / sections[index].weight, index))
        given[index] += 1
        room -= 1
    return given
