"""What :func:`~qfkit.check_warmup` found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from qfkit.core.lanes import KEPT_BARS

if TYPE_CHECKING:
    import pandas

__all__ = ["WarmupReport", "WarmupRow"]


class WarmupRow(msgspec.Struct, frozen=True):
    """How many bars after a later start a decision or an indicator is what it is with all of the past.

    ``bars`` is the most over all starts, None where it was still another at the end of the data. ``looked_at`` is the
    number of bars there were after the last start.
    """

    strategy: str
    symbol: str
    kind: str
    name: str
    bars: int | None
    looked_at: int


class WindowRow(msgspec.Struct, frozen=True):
    """A signal function called with a session's last 1,000 bars: at how many of ``looked_at`` bars its target was another."""

    strategy: str
    symbol: str
    other: int
    looked_at: int


class WarmupReport:
    """What :func:`~qfkit.check_warmup` found; true where the past that a session has is enough.

    ``rows`` has one entry for each decision and indicator, ``windows`` one for each signal function and symbol.
    ``warmup`` is the number of bars that they were held against, None where none was given.
    """

    def __init__(
        self,
        rows: Sequence[WarmupRow],
        windows: Sequence[WindowRow],
        *,
        strategies: Sequence[str],
        warmup: int | None,
        starts: int,
        span: tuple[int, int],
        tolerance: float,
    ) -> None:
        self.rows = tuple(rows)
        self.windows = tuple(windows)
        self.strategies = tuple(strategies)
        self.warmup = warmup
        self.starts = starts
        self.span = span
        self.tolerance = tolerance

    @property
    def needed(self) -> int | None:
        """The bars of the past after which all agree; None where something never does within the data."""
        bars = [one.bars for one in self.rows]
        known = [one for one in bars if one is not None]
        return max(known, default=0) if len(known) == len(bars) else None

    @property
    def is_enough(self) -> bool:
        """Whether all agree after ``warmup`` bars (1,000, what is kept, where none was given), and in a session's window."""
        bound = KEPT_BARS if self.warmup is None else self.warmup
        return self.needed is not None and self.needed <= bound and not any(one.other for one in self.windows)

    def __bool__(self) -> bool:
        return self.is_enough

    @property
    def table(self) -> "pandas.DataFrame":
        """One row a decision or indicator: strategy, symbol, kind, name, bars (<NA>: never), looked_at."""
        import pandas

        columns = list(WarmupRow.__struct_fields__)
        frame = pandas.DataFrame([msgspec.structs.astuple(row) for row in self.rows], columns=columns)
        kinds = dict.fromkeys(columns[:4], "str")
        return frame.astype({**kinds, "bars": "Int64", "looked_at": "int64"})

    def __repr__(self) -> str:
        from qfkit.views.check_text import warmup_text

        return warmup_text(self)

    def _repr_html_(self) -> str:
        from qfkit.views.check_text import warmup_html

        return warmup_html(self)
