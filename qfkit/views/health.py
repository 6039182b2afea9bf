"""The health ledger as people see it: a table, a row a symbol and source, and one line for all."""

from collections.abc import Sequence

from rich.text import Text

from qfkit.core.snapshot import SymbolHealth
from qfkit.views.columns import Column, Section
from qfkit.views.text import UNKNOWN, Marks, clean, duration, percent

__all__ = ["health_line", "health_section", "is_counted", "is_unwell"]

_LIGHTS = {
    "live": ("good", "green"),
    "connecting": ("warning", "yellow"),
    "backfilling": ("warning", "yellow"),
    "stale": ("bad", "bold red"),
}
_COLUMNS = (
    Column("symbol", right=False),
    Column("state", keep=9, right=False),
    Column("age", keep=8),
    Column("events", keep=3),
    Column("connects", keep=4),
    Column("gaps", keep=8),
    Column("filled", keep=7),
    Column("open", keep=8),
    Column("missing", keep=2),
    Column("twice", keep=3),
    Column("late", keep=3),
    Column("rejected", keep=7),
    Column("stale for", keep=6),
    Column("lag p50", keep=2),
    Column("lag p99", keep=5),
    Column("uptime", keep=7),
    Column("source", keep=1, right=False),
    Column("rejected because", keep=1, right=False, flexible=True),
)


def is_counted(views: Sequence[SymbolHealth]) -> bool:
    """Whether a feed keeps a ledger at all: a recording's stays empty."""
    return any(view.events or view.connects for view in views)


def is_unwell(view: SymbolHealth) -> bool:
    """Whether something is wrong with a symbol: silent, coming back, data lost for good or not usable."""
    return view.state in ("stale", "connecting", "backfilling") or view.gaps_open > 0 or view.rejected > 0


def health_section(views: Sequence[SymbolHealth], marks: Marks, encoding: str, title: str = "FEED HEALTH") -> Section:
    """The ledger as a table; what is unwell comes first."""
    unwell = [view for view in views if is_unwell(view)]
    ordered = [*unwell, *(view for view in views if not is_unwell(view))]
    has_sources = len({view.source for view in views}) > 1
    # Of a feed that has ended a state and an age say nothing.
    is_over = all(view.state == "closed" for view in views)
    rows = [_row(view, marks, encoding, has_sources=has_sources, is_over=is_over) for view in ordered]
    return Section(title, _COLUMNS, rows, "nothing came", least=min(2, max(1, len(unwell))), most=40, weight=2)


def _row(view: SymbolHealth, marks: Marks, encoding: str, *, has_sources: bool, is_over: bool) -> list[Text]:
    mark, style = _LIGHTS.get(view.state, ("off", "dim"))
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in view.rejected_reasons.items())
    age = UNKNOWN if view.age_s is None else duration(view.age_s)
    return [
        Text(clean(view.symbol, encoding), style="bold"),
        Text("" if is_over else f"{getattr(marks, mark)} {clean(view.state, encoding)}", style=style),
        Text("" if is_over else age, style="bold red" if view.state == "stale" else ""),
        Text(f"{view.events:,}"),
        Text(f"{view.connects:,}"),
        Text(f"{view.gaps_found:,}"),
        Text(f"{view.gaps_filled:,}"),
        _count(view.gaps_open, "red"),
        _count(view.missing, "red"),
        Text(f"{view.duplicates:,}"),
        Text(f"{view.late:,}"),
        _count(view.rejected, "yellow"),
        Text(duration(view.stale_s) if view.stale_s >= 0.05 else "0 s"),
        Text(_lag(view.lag_p50_ms)),
        Text(_lag(view.lag_p99_ms)),
        Text(UNKNOWN if view.uptime is None else percent(view.uptime, 1)),
        Text(clean(view.source, encoding) if has_sources else ""),
        Text(clean(reasons, encoding), style="yellow"),
    ]


def _count(count: int, style: str) -> Text:
    return Text(f"{count:,}", style=style if count else "")


def _lag(lag_ms: float | None) -> str:
    if lag_ms is None:
        return UNKNOWN
    return (
        duration(lag_ms / 1000.0) if lag_ms >= 1000.0 else f"{lag_ms:,.0f} ms" if lag_ms >= 9.5 else f"{lag_ms:.1f} ms"
    )


def health_line(views: Sequence[SymbolHealth]) -> str:
    """A ledger in one line: "health: 2 of 3 live, 4 gaps (3 filled, 1 open), 12 twice, uptime 99.8 %"; "" where nothing was counted."""
    if not is_counted(views):
        return ""
    symbols = {view.symbol for view in views}
    live = {view.symbol for view in views if view.state in ("live", "backfilling")}
    is_over = all(view.state == "closed" for view in views)
    parts = [
        f"{len(symbols)} symbol{'' if len(symbols) == 1 else 's'}" if is_over else f"{len(live)} of {len(symbols)} live"
    ]
    found, filled = sum(view.gaps_found for view in views), sum(view.gaps_filled for view in views)
    if found:
        still_open = sum(view.gaps_open for view in views)
        of_these = f"{filled:,} filled" + (f", {still_open:,} open" if still_open else "")
        parts.append(f"{found:,} gap{'' if found == 1 else 's'} ({of_these})")
    for count, word, words in (
        (sum(view.reconnects for view in views), "reconnect", "reconnects"),
        (sum(view.duplicates for view in views), "twice", "twice"),
        (sum(view.late for view in views), "late", "late"),
        (sum(view.rejected for view in views), "rejected", "rejected"),
    ):
        if count:
            parts.append(f"{count:,} {word if count == 1 else words}")
    stale_s = sum(view.stale_s for view in views)
    if stale_s >= 1.0:
        parts.append(f"{duration(stale_s)} stale")
    lags = [view.lag_p99_ms for view in views if view.lag_p99_ms is not None]
    if lags:
        parts.append(f"lag p99 {_lag(max(lags))}")
    uptimes = [view.uptime for view in views if view.uptime is not None]
    if uptimes:
        parts.append(f"uptime {percent(sum(uptimes) / len(uptimes), 1)}")
    return f"health: {', '.join(parts)}"
