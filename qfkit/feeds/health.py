"""The health ledger: how well each symbol's data arrive, counted as it happens.

``feed.health`` is it as a DataFrame; sessions journal it and dashboards draw it. Its cost does not
grow with the length of a run: lags are counted in classes a fifth wide.
"""

import time
from collections import Counter
from collections.abc import Iterable
from math import log
from typing import TYPE_CHECKING

import msgspec

from qfkit.core.snapshot import SymbolHealth

if TYPE_CHECKING:
    import pandas

__all__ = ["HealthLedger", "Lags", "SymbolLedger", "health_frame"]

_WIDTH = log(1.2)
_LEAST_MS = 0.01
_CLASSES = 128
_MOST_REASONS = 20


class Lags:
    """Counts lags in classes that are each a fifth wider than the one before; quantiles are right to 10 %."""

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts = [0] * _CLASSES
        self._total = 0

    def add(self, lag_ms: float) -> None:
        place = 0 if lag_ms <= _LEAST_MS else min(int(log(lag_ms / _LEAST_MS) / _WIDTH) + 1, _CLASSES - 1)
        self._counts[place] += 1
        self._total += 1

    def quantile(self, share: float) -> float | None:
        """The lag in ms that ``share`` of all stay at or below; None before the first."""
        if not self._total:
            return None
        rank, seen, place = share * self._total, self._counts[0], 0
        while seen < rank:
            place += 1
            seen += self._counts[place]
        # The geometric middle of the class.
        return 0.0 if not place else float(_LEAST_MS * 1.2 ** (place - 0.5))


class SymbolLedger:
    """One symbol's counters; a feed counts into them directly. ``state`` is that of its connection or "stale"."""

    __slots__ = (
        "connects",
        "duplicates",
        "events",
        "gaps_filled",
        "gaps_found",
        "gaps_open",
        "lags",
        "last_s",
        "late",
        "live_s",
        "missing",
        "reasons",
        "rejected",
        "since_s",
        "source",
        "stale_s",
        "state",
        "symbol",
        "whole_s",
    )

    def __init__(self, symbol: str, source: str) -> None:
        self.symbol = symbol
        self.source = source
        self.state = "closed"
        self.connects = 0
        self.events = 0
        self.last_s: float | None = None
        self.gaps_found = self.gaps_filled = self.gaps_open = self.missing = 0
        self.duplicates = self.late = self.rejected = 0
        self.reasons: Counter[str] = Counter()
        self.lags = Lags()
        self.since_s = 0.0
        self.live_s = self.stale_s = 0.0
        self.whole_s: float | None = None
        """How long it was followed, whatever its state; None before that."""

    def saw(self, now_s: float, lag_ms: float | None = None) -> None:
        """An event came; of a stale symbol it is a sign of life."""
        self.events += 1
        self.last_s = now_s
        if lag_ms is not None:
            self.lags.add(lag_ms)
        if self.state == "stale":
            self.turn("live", now_s)

    def turn(self, state: str, now_s: float) -> None:
        """Change the state; the time in the one before is booked."""
        self._book(now_s)
        if state != "closed" and self.whole_s is None:
            self.whole_s = 0.0
        self.state = state

    def reject(self, reason: str) -> None:
        """Something of this symbol could not be used. ``reason`` is a few words without numbers."""
        self.rejected += 1
        if reason in self.reasons or len(self.reasons) < _MOST_REASONS:
            self.reasons[reason] += 1
        else:
            self.reasons["other"] += 1

    def _book(self, now_s: float) -> None:
        if self.state in ("live", "backfilling"):
            self.live_s += now_s - self.since_s
        elif self.state == "stale":
            self.stale_s += now_s - self.since_s
        if self.state != "closed" and self.whole_s is not None:
            self.whole_s += now_s - self.since_s
        self.since_s = now_s

    def view(self, now_s: float) -> SymbolHealth:
        self._book(now_s)
        return SymbolHealth(
            symbol=self.symbol,
            source=self.source,
            state=self.state,
            events=self.events,
            connects=self.connects,
            reconnects=max(0, self.connects - 1),
            age_s=None if self.last_s is None else max(0.0, now_s - self.last_s),
            gaps_found=self.gaps_found,
            gaps_filled=self.gaps_filled,
            gaps_open=self.gaps_open,
            missing=self.missing,
            duplicates=self.duplicates,
            late=self.late,
            rejected=self.rejected,
            rejected_reasons=dict(self.reasons),
            stale_s=self.stale_s,
            lag_p50_ms=self.lags.quantile(0.5),
            lag_p99_ms=self.lags.quantile(0.99),
            uptime=min(1.0, self.live_s / self.whole_s) if self.whole_s else None,
        )


class HealthLedger(dict[str, SymbolLedger]):
    """The ledgers of a feed's symbols; one that is asked for and not there is made."""

    def __init__(self, symbols: Iterable[str], source: str) -> None:
        super().__init__()
        self.source = source
        for symbol in symbols:
            self[symbol] = SymbolLedger(symbol, source)

    def __missing__(self, symbol: str) -> SymbolLedger:
        ledger = self[symbol] = SymbolLedger(symbol, self.source)
        return ledger

    def turn(self, state: str, symbols: Iterable[str] | None = None) -> None:
        """Change the state of some symbols, or of all."""
        now_s = time.monotonic()
        for symbol in list(self) if symbols is None else symbols:
            self[symbol].turn(state, now_s)

    def views(self) -> tuple[SymbolHealth, ...]:
        """All symbols as they are now."""
        now_s = time.monotonic()
        return tuple(ledger.view(now_s) for ledger in self.values())


def health_frame(views: Iterable[SymbolHealth]) -> "pandas.DataFrame":
    """Views as a frame, one row a symbol and source; ``rejected_reasons`` as text."""
    import pandas

    rows = [msgspec.structs.asdict(view) for view in views]
    for row in rows:
        row["rejected_reasons"] = ", ".join(f"{reason}: {count}" for reason, count in row["rejected_reasons"].items())
    columns = [field.name for field in msgspec.structs.fields(SymbolHealth)]
    frame = pandas.DataFrame(rows, columns=columns)
    numbers = ("age_s", "stale_s", "lag_p50_ms", "lag_p99_ms", "uptime")
    return frame.astype(dict.fromkeys(numbers, "float64")).set_index("symbol")
