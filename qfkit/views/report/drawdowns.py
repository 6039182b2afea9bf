"""The worst falls of the equity, each from its peak to the time when that was reached again."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.wording import share, span, utc_time
from qfkit.views.report.grids import table
from qfkit.views.series import Floats

__all__ = ["Drawdown", "drawdowns_html", "moment_text", "worst_drawdowns"]

_DAY_NS = 86_400_000_000_000


class Drawdown(msgspec.Struct, frozen=True):
    """A fall: ``depth`` is a positive fraction of the peak; ``back_ns`` is None where the peak was not reached again.

    ``end_ns`` is when it was, or the end of the run.
    """

    peak_ns: int
    lowest_ns: int
    back_ns: int | None
    end_ns: int
    depth: float

    @property
    def days(self) -> float:
        """How long it lasted, from the peak on."""
        return (self.end_ns - self.peak_ns) / _DAY_NS

    @property
    def days_down(self) -> float:
        """From the peak to the lowest point."""
        return (self.lowest_ns - self.peak_ns) / _DAY_NS


def worst_drawdowns(
    times_ns: NDArray[np.int64], equity: Floats, starting_equity: float, most: int = 5
) -> list[Drawdown]:
    """The deepest falls, deepest first. The starting equity counts as a peak, at the first point."""
    if not len(equity):
        return []
    peaks = np.maximum.accumulate(np.maximum(equity, starting_equity))
    below = np.concatenate(([False], equity < peaks, [False]))
    changes = np.flatnonzero(np.diff(below.astype(np.int8)))
    found = []
    for start, end in zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True):
        lowest = start + int(np.argmin(equity[start:end]))
        is_back = end < len(equity)
        found.append(
            Drawdown(
                peak_ns=int(times_ns[max(start - 1, 0)]),
                lowest_ns=int(times_ns[lowest]),
                back_ns=int(times_ns[end]) if is_back else None,
                end_ns=int(times_ns[end if is_back else -1]),
                depth=float(1.0 - equity[lowest] / peaks[lowest]),
            )
        )
    return sorted(found, key=lambda one: -one.depth)[:most]


def moment_text(time_ns: int, *, is_long: bool) -> str:
    """A moment of a run, as a date where that is enough. It is the end of what it stands for: a day's bar closes at the
    next midnight."""
    return utc_time(time_ns - 1)[:10] if is_long else utc_time(time_ns)


def drawdowns_html(falls: Sequence[Drawdown], *, is_long: bool) -> str:
    """The table of them."""
    if not falls:
        return '<p class="note">The equity never fell below an earlier peak.</p>'
    rows = [
        (
            str(number),
            (f"-{share(fall.depth)}", "loss"),
            moment_text(fall.peak_ns, is_long=is_long),
            moment_text(fall.lowest_ns, is_long=is_long),
            "not yet" if fall.back_ns is None else moment_text(fall.back_ns, is_long=is_long),
            _days(fall.days_down),
            _days(fall.days) + ("" if fall.back_ns is not None else " so far"),
        )
        for number, fall in enumerate(falls, 1)
    ]
    return table(("", "depth", "peak (UTC)", "lowest", "reached again", "falling for", "under water for"), rows)


def _days(days: float) -> str:
    return f"{days:,.0f} d" if days >= 10.0 else span(days)
