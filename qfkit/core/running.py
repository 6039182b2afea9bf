"""The figures of a run while it runs: O(1) an equity point, in constant memory.

They are added up from left to right in plain Python, so a replay has the same to the last bit; those
of a finished run (:func:`qfkit.core.metrics.measure`) are added up by numpy and agree within rounding.
"""

from collections import deque
from collections.abc import Sequence
from math import nan, sqrt

from qfkit.core.orders import Fill

__all__ = ["Activity", "RunningMetrics"]

_DAY_NS = 86_400_000_000_000
# A spread of returns this small against the largest return is the rounding of equal returns.
_ROUNDING = 1e-12


class RunningMetrics:
    """Drawdowns and the moments of period returns, O(1) an equity point, in constant memory.

    ``max_drawdown`` is a positive fraction of the peak before it; the starting equity counts as
    a peak. ``count``, ``mean`` and :attr:`variance` are of the returns between points, so the
    first point gives none (Welford 1962, "Note on a method for calculating corrected sums of
    squares and products"). Where equity is not above zero there is no return, and a run that
    went on from there has no volatility or ratio. The numbers do not depend on how the points
    were split into calls, to the last bit.
    """

    __slots__ = (
        "_deepest_days",
        "_downside",
        "_is_deepest",
        "_is_under",
        "_largest",
        "_longest_days",
        "_peak_ns",
        "_previous",
        "_returns",
        "_squares",
        "_sum",
        "equity",
        "first_ns",
        "is_broken",
        "max_drawdown",
        "mean",
        "peak",
        "points",
        "starting_equity",
        "time_ns",
    )

    def __init__(self, starting_equity: float) -> None:
        self.starting_equity = starting_equity
        self.peak = starting_equity
        self.equity = starting_equity
        self.points = 0
        self.first_ns = 0
        self.time_ns = 0
        self.max_drawdown = 0.0
        self.mean = 0.0
        self._returns = 0.0
        self._squares = 0.0
        self._previous = 0.0
        self._sum = 0.0
        self._downside = 0.0
        self._largest = 0.0
        self.is_broken = False
        # The time of the last point at the peak; whether it is under water since, and deeper than ever.
        self._peak_ns = 0
        self._is_under = False
        self._is_deepest = False
        self._deepest_days = 0.0
        self._longest_days = 0.0

    def update(self, time_ns: int, equity: float) -> None:
        """Take the next equity point in."""
        self.update_all(((time_ns, equity),))

    def update_all(self, rows: Sequence[Sequence[float]], column: int = 1) -> None:
        """Take many points in, rows of (time_ns, equity, ...); a third of the cost of one by one."""
        if not rows:
            return
        if not self.points:
            self.first_ns = self._peak_ns = int(rows[0][0])
        previous, peak, worst = self._previous, self.peak, self.max_drawdown
        returns, mean, squares = self._returns, self.mean, self._squares
        sum_, downside, largest = self._sum, self._downside, self._largest
        peak_ns, is_under = self._peak_ns, self._is_under
        points = self.points
        for row in rows:
            equity = row[column]
            if previous > 0.0:
                change = equity / previous - 1.0
                returns += 1.0
                away = change - mean
                mean += away / returns
                squares += away * (change - mean)
                if change < 0.0:
                    downside += change * change
                    if -change > largest:
                        largest = -change
                elif change > largest:
                    largest = change
            elif points:
                self.is_broken = True
            points += 1
            previous = equity
            sum_ += equity
            if equity >= peak:
                if is_under:
                    is_under = False
                    self._end_drawdown((row[0] - peak_ns) / _DAY_NS)
                peak, peak_ns = equity, int(row[0])
            else:
                is_under = True
                drawdown = 1.0 - equity / peak
                if drawdown > worst:
                    worst = drawdown
                    self._is_deepest = True
        self._previous, self.peak, self.max_drawdown = previous, peak, worst
        self._returns, self.mean, self._squares = returns, mean, squares
        self._sum, self._downside, self._largest = sum_, downside, largest
        self._peak_ns, self._is_under = peak_ns, is_under
        self.points = points
        self.time_ns, self.equity = int(rows[-1][0]), rows[-1][column]

    def _end_drawdown(self, days: float) -> None:
        self._longest_days = max(self._longest_days, days)
        if self._is_deepest:
            self._deepest_days = days
            self._is_deepest = False

    @property
    def count(self) -> int:
        """How many returns there were."""
        return int(self._returns)

    @property
    def drawdown(self) -> float:
        """How far the last point lies below the peak, as a positive fraction of it."""
        return 1.0 - self.equity / self.peak

    @property
    def drawdown_days(self) -> float:
        """How long it has been under water by now: 0.0 at a peak."""
        return (self.time_ns - self._peak_ns) / _DAY_NS if self._is_under else 0.0

    @property
    def max_drawdown_days(self) -> float:
        """How long the deepest drawdown lasted, or lasts so far."""
        return self.drawdown_days if self._is_deepest else self._deepest_days

    @property
    def longest_drawdown_days(self) -> float:
        """The longest time under water, the present one included."""
        return max(self._longest_days, self.drawdown_days)

    @property
    def variance(self) -> float:
        """Sample variance of the returns so far; NaN for fewer than two."""
        return self._squares / (self._returns - 1.0) if self._returns > 1.0 else nan

    @property
    def mean_equity(self) -> float:
        """The mean of the equity points; the starting equity before the first."""
        return self._sum / self.points if self.points else self.starting_equity

    def ratios(self, periods_per_year: float) -> tuple[float, float, float]:
        """Volatility, Sharpe and Sortino, as in :class:`~qfkit.core.metrics.Metrics`."""
        if self.is_broken or self._returns < 2.0:
            return nan, nan, nan
        root = sqrt(periods_per_year)
        deviation = sqrt(self.variance)
        downside = sqrt(self._downside / self._returns)
        rounding = _ROUNDING * self._largest
        sharpe = self.mean / deviation * root if deviation > rounding else nan
        sortino = self.mean / downside * root if downside > rounding else nan
        return deviation * root, sharpe, sortino


class Activity:
    """What fills come to: how many, their notional and fees, and the time with a position open."""

    __slots__ = ("_open_ns", "_open_since", "_pending", "_start_ns", "_until_ns", "fees", "fills", "traded")

    def __init__(self) -> None:
        self.fills = 0
        self.traded = 0.0
        self.fees = 0.0
        self._start_ns: int | None = None
        self._until_ns = 0
        self._open_ns = 0
        self._open_since: int | None = None
        # Fills that lie after the last equity point; their time is that point's until the next.
        self._pending: deque[tuple[int, bool]] = deque()

    def take(self, fill: Fill, *, is_open: bool) -> None:
        """Take a fill in; ``is_open`` says whether there was any position after it."""
        self.fills += 1
        self.traded += fill.quantity * fill.price * fill.rate
        self.fees += fill.fee
        if not self._pending or self._pending[-1][1] != is_open:
            self._pending.append((fill.time_ns, is_open))

    def move(self, first_ns: int, time_ns: int) -> None:
        """The equity points reach from ``first_ns`` to ``time_ns`` by now."""
        self._start_ns, self._until_ns = first_ns, time_ns
        pending = self._pending
        while pending and pending[0][0] <= time_ns:
            at_ns, is_open = pending.popleft()
            at_ns = max(at_ns, first_ns)
            if is_open and self._open_since is None:
                self._open_since = at_ns
            elif not is_open and self._open_since is not None:
                self._open_ns += max(at_ns - self._open_since, 0)
                self._open_since = None

    @property
    def exposure(self) -> float:
        """The fraction of the time with a position open, from the first equity point to the last."""
        if self._start_ns is None or self._until_ns <= self._start_ns:
            return nan
        open_ns = self._open_ns
        if self._open_since is not None:
            open_ns += self._until_ns - self._open_since
        return open_ns / (self._until_ns - self._start_ns)
