"""Paragraphs with tables, as text and as HTML that reads well without any style sheet."""

from collections.abc import Sequence
from html import escape

import msgspec

from qfkit.views.text import clean

__all__ = ["NOT_KNOWN", "Part", "parts_html", "parts_text"]

NOT_KNOWN = "n/a"
_CELL = "padding:2px 14px 2px 0;text-align:"
_SHORT = 40
_PLAIN = ' style="background:transparent"'


class Part(msgspec.Struct, frozen=True):
    """A paragraph of a story: a title, sentences, and a table whose first column is text and the others figures."""

    title: str
    lines: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def parts_text(headline: str, parts: Sequence[Part]) -> str:
    """For a terminal or ``print``."""
    lines = [clean(headline)]
    for part in parts:
        lines += ["", clean(part.title), *(f"  {clean(line)}" for line in part.lines)]
        table = [row for row in (part.head, *part.rows) if row]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))] if table else []
        for row in table:
            cells = [
                clean(cell).ljust(width) if place == 0 or not _is_figures(part, place) else clean(cell).rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append(f"  {'  '.join(cells)}".rstrip())
    return "\n".join(lines)


def parts_html(headline: str, parts: Sequence[Part]) -> str:
    """For a notebook: headings, sentences and plain tables."""
    page = [f'<p style="margin:4px 0"><b>{_safe(headline)}</b></p>']
    for part in parts:
        page.append(f'<p style="margin:10px 0 2px"><b>{_safe(part.title)}</b></p>')
        page += [f'<p style="margin:2px 0">{_safe(line)}</p>' for line in part.lines]
        if part.rows:
            page.append('<table style="border-collapse:collapse;margin:2px 0">')
            if any(part.head):
                page.append(f"<tr{_PLAIN}>{''.join(_cell(part, *one, tag='th') for one in enumerate(part.head))}</tr>")
            for row in part.rows:
                page.append(f"<tr{_PLAIN}>{''.join(_cell(part, *one) for one in enumerate(row))}</tr>")
            page.append("</table>")
    return f'<div style="max-width:960px">{"".join(page)}</div>'.encode("utf-8", "replace").decode()


def _cell(part: Part, place: int, text: str, tag: str = "td") -> str:
    side = "right" if _is_figures(part, place) else "left"
    # A time or a figure in two lines is hard to read; a reason may be long.
    side += ";white-space:nowrap" if len(text) <= _SHORT else ""
    return f'<{tag} style="{_CELL}{side}">{_safe(text)}</{tag}>'


def _is_figures(part: Part, place: int) -> bool:
    """Whether a column holds figures: none of its cells begins with a letter."""
    return place > 0 and not any(row[place][:1].isalpha() and row[place] != NOT_KNOWN for row in part.rows)


def _safe(text: str) -> str:
    return escape(clean(text))
