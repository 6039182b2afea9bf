"""How good the data were: bars that are missing, stretches without any, prices that stood still."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.snapshot import SymbolHealth
from qfkit.core.timeframes import timeframe_ns
from qfkit.core.wording import count, share, span, utc_time
from qfkit.errors import TimeframeError
from qfkit.result import Result
from qfkit.tables import BarColumns
from qfkit.views.report.grids import Cell, table
from qfkit.views.report.page import safe
from qfkit.views.text import UNKNOWN, duration

__all__ = ["BarQuality", "bar_quality", "health_html", "quality_html"]

_DAY_NS = 86_400_000_000_000
_MOST_SYMBOLS = 40
_WEEKEND = (5, 6)


class BarQuality(msgspec.Struct, frozen=True):
    """One symbol's bars, held against the grid of their timeframe.

    ``missing`` is what the grid has and the bars lack: of a market that trades at weekends every bar of it; of another
    the weekdays without a bar (holidays are among them), and within a day the bars between its first and its last.
    ``longest_ns`` is the longest stretch from one bar's close to the next one's open; ``longest_from_ns`` where it began.
    ``still`` are bars whose four prices are all the close before; ``longest_still`` the most of them in a row.
    """

    symbol: str
    timeframe: str
    bars: int
    first_ns: int
    last_ns: int
    missing: int
    is_every_day: bool
    longest_ns: int
    longest_from_ns: int
    still: int
    longest_still: int
    without_volume: int


def bar_quality(own: BarColumns) -> BarQuality:
    """Look at one symbol's bars."""
    open_ns, bars = own.open_ns, len(own)
    try:
        step_ns = timeframe_ns(own.timeframe)
    except TimeframeError:
        step_ns = int(np.median(np.diff(open_ns))) if bars > 1 else 0
    days = open_ns // _DAY_NS
    # 1970 began on a Thursday.
    is_every_day = bool(np.isin((days + 3) % 7, _WEEKEND).any())
    gaps = open_ns[1:] - own.close_ns[:-1]
    longest = int(np.argmax(gaps)) if bars > 1 else 0
    flat = (own.open == own.high) & (own.high == own.low) & (own.low == own.close)
    still = np.zeros(bars, dtype=bool)
    still[1:] = flat[1:] & (own.close[1:] == own.close[:-1])
    return BarQuality(
        symbol=own.symbol,
        timeframe=own.timeframe,
        bars=bars,
        first_ns=int(open_ns[0]),
        last_ns=int(own.close_ns[-1]),
        missing=_missing(open_ns, step_ns, is_every_day=is_every_day),
        is_every_day=is_every_day,
        longest_ns=max(int(gaps[longest]), 0) if bars > 1 else 0,
        longest_from_ns=int(own.close_ns[longest]),
        still=int(still.sum()),
        longest_still=_longest_run(still),
        without_volume=int((own.volume <= 0.0).sum()),
    )


def _missing(open_ns: NDArray[np.int64], step_ns: int, *, is_every_day: bool) -> int:
    if len(open_ns) < 2 or step_ns <= 0:
        return 0
    if is_every_day or step_ns > _DAY_NS:
        return max(round((int(open_ns[-1]) - int(open_ns[0])) / step_ns) + 1 - len(open_ns), 0)
    days = open_ns // _DAY_NS
    first, last = int(days[0]), int(days[-1])
    whole = np.arange(first, last + 1)
    weekdays = int((~np.isin((whole + 3) % 7, _WEEKEND)).sum())
    with_bars = len(np.unique(days))
    if step_ns == _DAY_NS:
        return max(weekdays - with_bars, 0)
    # Within a day its own first and last bar are the session, whatever the exchange's hours.
    within = np.diff(open_ns)[days[1:] == days[:-1]]
    return int(np.maximum(np.rint(within / step_ns).astype(np.int64) - 1, 0).sum())


def _longest_run(flags: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def quality_html(result: Result) -> str:
    """A row a symbol, and what the columns mean."""
    looked = [bar_quality(own) for own in result._bars.values() if len(own)]
    if not looked:
        return '<p class="note">There were no bars.</p>'
    shown = sorted(looked, key=lambda one: -one.missing)[:_MOST_SYMBOLS] if len(looked) > _MOST_SYMBOLS else looked
    rows: list[tuple[Cell, ...]] = [
        (
            one.symbol,
            one.timeframe,
            count(one.bars),
            utc_time(one.first_ns)[:16],
            utc_time(one.last_ns)[:16],
            _part(one.missing, one.bars + one.missing),
            span(one.longest_ns / _DAY_NS) if one.longest_ns else "none",
            utc_time(one.longest_from_ns)[:10] if one.longest_ns else UNKNOWN,
            _part(one.still, one.bars),
            count(one.longest_still),
            count(one.without_volume),
        )
        for one in shown
    ]
    head = (
        "symbol", "of", "bars", "first (UTC)", "last", "missing", "longest gap", "from", "unmoved", "in a row", "no volume",
    )  # fmt: skip
    grids = {_grid(one) for one in looked}
    notes = [
        "Missing: " + "; ".join(sorted(grids)) + ".",
        "Unmoved: all four prices are the close before, as of a feed that repeats its last price.",
    ]
    if len(shown) < len(looked):
        notes.append(f"The {len(shown)} of {len(looked):,} symbols that miss the most are shown.")
    return table(head, rows, words=2) + "".join(f'<p class="note">{safe(line)}</p>' for line in notes)


def _grid(one: BarQuality) -> str:
    if one.is_every_day:
        return "bars that the timeframe has between the first and the last and the data do not"
    if one.timeframe.endswith("d"):
        return "weekdays without a bar, holidays among them"
    return "bars between a day's first and last that are not there"


def _part(number: int, of: int) -> str:
    return "0" if not number else f"{number:,} ({share(number / of)})"


def health_html(views: Sequence[SymbolHealth]) -> str:
    """The feed's ledger: how well each symbol's data arrived."""
    counted = [view for view in views if view.events or view.connects]
    if not counted:
        return ""
    rows: list[tuple[Cell, ...]] = [
        (
            view.symbol,
            view.source,
            count(view.events),
            count(view.reconnects),
            f"{view.gaps_found:,} ({view.gaps_filled:,} filled)",
            _bad(view.gaps_open),
            _bad(view.missing),
            count(view.duplicates),
            count(view.late),
            _bad(view.rejected),
            duration(view.stale_s) if view.stale_s >= 0.05 else "0 s",
            UNKNOWN if view.lag_p99_ms is None else f"{view.lag_p99_ms:,.0f} ms",
            UNKNOWN if view.uptime is None else share(view.uptime),
        )
        for view in counted
    ]
    head = (
        "symbol", "source", "events", "reconnects", "gaps found", "open", "lost", "twice", "late", "rejected", "stale for",
        "lag p99", "uptime",
    )  # fmt: skip
    reasons = [
        f"{view.symbol}: {', '.join(f'{number:,} {reason}' for reason, number in view.rejected_reasons.items())}"
        for view in counted
        if view.rejected_reasons
    ]
    told = f'<p class="note">Rejected, {safe("; ".join(reasons))}.</p>' if reasons else ""
    return f"<h3>How the data arrived</h3>{table(head, rows, words=2)}{told}"


def _bad(number: int) -> Cell:
    return (count(number), "loss") if number else "0"
