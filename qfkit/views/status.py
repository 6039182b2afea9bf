"""The list of sessions in a terminal."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from qfkit.core.snapshot import SymbolHealth
from qfkit.live.registry import SessionRecord
from qfkit.views.columns import Column, Section
from qfkit.views.sections import GAIN, LABEL, LOSS
from qfkit.views.text import clean, duration, marks_for, money, percent, signed_money, utc

__all__ = ["health_line", "print_status"]

_STYLES = {
    "running": "green",
    "paused": "yellow",
    "failed": "bold red",
    "unreadable": "bold red",
    "interrupted": "yellow",
}
_PATH_COLUMN = 7
_LONG_LINE = 100_000


def print_status(records: Sequence[SessionRecord], earlier: int = 0, console: Console | None = None) -> None:
    """Print one line a session, and below it its journal's path; in a pipe the path ends the line."""
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
        health = health_line(record.health)
        if health:
            printed.append(Text(f"  {clean(health, encoding)}", style=LABEL))
        if record.note:
            printed.append(Text(f"  {clean(record.note, encoding)}", style=LOSS))
    if earlier:
        printed.append(Text(f"{earlier:,} earlier: qfkit status --all", style=LABEL))
    for line in printed:
        line.rstrip()
        console.print(line, soft_wrap=True)


def health_line(views: Sequence[SymbolHealth]) -> str:
    """A ledger in one line: "health: 3 symbols, 4 gaps (3 filled), 12 twice, uptime 99.8 %"; "" where nothing was counted."""
    if not any(view.events or view.connects for view in views):
        return ""
    symbols = len({view.symbol for view in views})
    parts = [f"{symbols} symbol{'' if symbols == 1 else 's'}"]
    found, filled = sum(view.gaps_found for view in views), sum(view.gaps_filled for view in views)
    if found:
        parts.append(f"{found:,} gap{'' if found == 1 else 's'} ({filled:,} filled)")
    counted = (("reconnects", "reconnects"), ("duplicates", "twice"), ("late", "late"), ("rejected", "rejected"))
    for name, word in counted:
        count = sum(getattr(view, name) for view in views)
        if count:
            parts.append(f"{count:,} {word}")
    stale_s = sum(view.stale_s for view in views)
    if stale_s >= 1.0:
        parts.append(f"{duration(stale_s)} stale")
    lags = [view.lag_p99_ms for view in views if view.lag_p99_ms is not None]
    if lags:
        parts.append(f"lag {max(lags):,.0f} ms at the 99th percentile")
    uptimes = [view.uptime for view in views if view.uptime is not None]
    if uptimes:
        parts.append(f"uptime {percent(sum(uptimes) / len(uptimes), 1)}")
    return f"health: {', '.join(parts)}"


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
