"""Tables of a report: figures to the right, words to the left."""

from collections.abc import Sequence
from typing import TypeAlias

from qfkit.views.report.page import safe

__all__ = ["Cell", "gain", "pairs", "share_bar", "table"]

Cell: TypeAlias = "str | tuple[str, str]"
"""A text, or a text with a class: gain, loss or soft."""

_SHORT = 24


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], *, words: int = 1, marked: int | None = None) -> str:
    """A table whose first ``words`` columns are words, and a negative number counts from the end: ``words=-1`` has the last
    column of words too. ``marked`` is the row that counts the most."""
    if not rows:
        return ""
    columns = len(head)
    is_word = [place < words if words >= 0 else place == 0 or place >= columns + words for place in range(columns)]
    titles = "".join(
        f'<th scope="col"{_class(is_word[place], name, "")}>{safe(name)}</th>' for place, name in enumerate(head)
    )
    body = []
    for number, row in enumerate(rows):
        cells = []
        for place, cell in enumerate(row):
            text, style = cell if isinstance(cell, tuple) else (cell, "")
            cells.append(f"<td{_class(is_word[place], text, style)}>{safe(text)}</td>")
        row_class = ' class="all"' if number == marked else ""
        body.append(f"<tr{row_class}>{''.join(cells)}</tr>")
    kind = ' class="whole"' if len(rows) <= 30 else ""
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{titles}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def pairs(rows: Sequence[tuple[str, Cell]]) -> str:
    """A label and a figure a row, without a heading."""
    body = []
    for label, cell in rows:
        text, style = cell if isinstance(cell, tuple) else (cell, "")
        body.append(f'<tr><td class="t">{safe(label)}</td><td{_class(False, text, style)}>{safe(text)}</td></tr>')
    return f'<table class="pairs whole"><tbody>{"".join(body)}</tbody></table>'


def gain(text: str) -> tuple[str, str]:
    """A signed figure in its colour; what rounds to zero is neither a gain nor a loss."""
    moved = any(digit in text for digit in "123456789")
    return text, {"+": "gain", "-": "loss"}.get(text[:1], "") if moved and len(text) > 1 else ""


def share_bar(fraction: float) -> str:
    """A little bar for a fraction from 0 to 1, as HTML."""
    width = max(0.0, min(1.0, fraction)) * 100.0
    return f'<span class="share"><u style="width:{width:.1f}%"></u></span>'


def _class(is_word: bool, text: str, style: str) -> str:
    names = [style] if style else []
    if is_word:
        names.append("t")
    if len(text) <= _SHORT:
        names.append("n")
    elif is_word:
        names.append("long")
    return f' class="{" ".join(names)}"' if names else ""
