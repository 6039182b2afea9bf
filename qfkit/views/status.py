"""The list of sessions in a terminal."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from qfkit.live.registry import SessionRecord
from qfkit.views.columns import Column, Section
from qfkit.views.health import health_line, health_section, is_counted
from qfkit.views.sections import GAIN, LABEL, LOSS
from qfkit.views.text import clean, marks_for, money, signed_money, utc

__all__ = ["print_status"]

_STYLES = {
    "running": "green",
    "paused": "yellow",
    "failed": "bold red",
    "unreadable": "bold red",
    "interrupted": "yellow",
}
_PATH_COLUMN = 7
_LONG_LINE = 100_000


def print_status(
    records: Sequence[SessionRecord],
    earlier: int = 0,
    console: Console | None = None,
    *,
    health: bool = False,
) -> None:
    """Print one line a session, and below it its journal's path; in a pipe the path ends the line.

    Then how well its data arrived: in a line, or with ``health`` a row a symbol.
    """
    console = Console(file=sys.stdout) if console is None else console
    encoding = console.encoding
    rows = [_row(record, encoding) for record in records]
    columns = (
        Column("session", right=False),
        Column("state", keep=9, right=False),
        Column("equity", keep=8),
        Column("profit & loss", keep=9),
        Column("last event", keep=7, right=False),
        Column("events", keep=5),
        Column("feed", keep=4, right=False, flexible=True),
        Column("journal", keep=6, right=False),
    )
    in_line = not console.is_terminal
    width = _LONG_LINE if in_line else console.width
    table = Section("SESSIONS", columns if in_line else columns[:_PATH_COLUMN], rows, most=len(rows))
    lines = table.lines(width, len(rows), marks_for(encoding), titled=False)
    printed = [lines[0]]
    for line, record in zip(lines[1:], records, strict=True):
        printed.append(line)
        if not in_line:
            printed.append(Text(f"  {clean(record.path, encoding)}", style=LABEL))
        if health and is_counted(record.health):
            section = health_section(record.health, marks_for(encoding), encoding, "health")
            table_rows = section.lines(width - 2, len(record.health), marks_for(encoding), titled=False)
            printed.extend(Text.assemble("  ", row) for row in table_rows)
        elif told := health_line(record.health):
            printed.append(Text(f"  {clean(told, encoding)}", style=LABEL))
        if record.note:
            printed.append(Text(f"  {clean(record.note, encoding)}", style=LOSS))
    if earlier:
        printed.append(Text(f"{earlier:,} earlier: qfkit status --all", style=LABEL))
    for line in printed:
        line.rstrip()
        console.print(line, soft_wrap=True)


def _row(record: SessionRecord, encoding: str) -> list[Text]:
    pnl = record.pnl
    style = "" if not pnl else GAIN if pnl > 0.0 else LOSS
    return [
        Text(clean(record.name, encoding), style="bold"),
        Text(clean(record.state, encoding), style=_STYLES.get(record.state, "")),
        Text("-" if record.equity is None else money(record.equity)),
        Text("-" if pnl is None else signed_money(pnl), style=style),
        Text("-" if record.last_event_ns is None else utc(record.last_event_ns)),
        Text(f"{record.events:,}"),
        Text(clean(record.feed, encoding)),
        Text(clean(record.path, encoding)),
    ]
