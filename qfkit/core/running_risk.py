"""Risk measures that follow a run: one small state each, the same time a step however long the run.

Each is fed once a period and gives what the function of the same name in :mod:`qfkit.core.risk_measures` (or
:mod:`qfkit.core.metrics`) gives for all periods so far.
"""

from math import nan, sqrt

from qfkit.core.risk_measures import RISKMETRICS_DECAY, check_decay

__all__ = ["EwmaVolatility", "RunningBeta", "RunningDrawdown", "RunningTurnover", "RunningVolatility"]


class RunningVolatility:
    """The sample standard deviation of all returns so far (Welford 1962). NaN before the second."""

    __slots__ = ("_squares", "count", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0

    def update(self, value: float) -> None:
        self.count += 1
        away = value - self.mean
        self.mean += away / self.count
        self._squares += away * (value - self.mean)

    @property
    def value(self) -> float:
        """Of one period; times sqrt(periods a year) it is a year's."""
        return sqrt(self._squares / (self.count - 1)) if self.count > 1 else nan


class EwmaVolatility:
    """Volatility with weights that fall by ``decay`` a period (RiskMetrics 1996), the mean taken for zero."""

    __slots__ = ("_variance", "count", "decay")

    def __init__(self, decay: float = RISKMETRICS_DECAY) -> None:
        check_decay(decay)
        self.decay = decay
        self.count = 0
        self._variance = nan

    def update(self, value: float) -> None:
        self.count += 1
        square = value * value
        self._variance = square if self.count == 1 else self.decay * self._variance + (1.0 - self.decay) * square

    @property
    def value(self) -> float:
        """Of one period; times sqrt(periods a year) it is a year's."""
        return sqrt(self._variance)


class RunningBeta:
    """The beta to a benchmark over all periods so far. NaN before the second, and while the benchmark stands still."""

    __slots__ = ("_benchmark_mean", "_common", "_mean", "_squares", "count")

    def __init__(self) -> None:
        self.count = 0
        self._mean = self._benchmark_mean = 0.0
        self._common = self._squares = 0.0

    def update(self, value: float, benchmark: float) -> None:
        self.count += 1
        away = benchmark - self._benchmark_mean
        self._benchmark_mean += away / self.count
        self._squares += away * (benchmark - self._benchmark_mean)
        # One of the two from its old mean, the other from its new one: that makes it exact.
        self._common += (value - self._mean) * (benchmark - self._benchmark_mean)
        self._mean += (value - self._mean) / self.count

    @property
    def value(self) -> float:
        return self._common / self._squares if self.count > 1 and self._squares > 0.0 else nan


class RunningDrawdown:
    """How far the equity lies below its peak, and since when. Fractions are positive; times are ns."""

    __slots__ = ("_longest_ns", "drawdown", "max_drawdown", "peak", "peak_ns", "time_ns")

    def __init__(self, starting_equity: float, time_ns: int = 0) -> None:
        self.peak = starting_equity
        self.peak_ns = time_ns
        self.time_ns = time_ns
        self.drawdown = 0.0
        self.max_drawdown = 0.0
        self._longest_ns = 0

    def update(self, time_ns: int, equity: float) -> None:
        if self.time_ns == 0:
            # The time of the starting equity was not known.
            self.peak_ns = time_ns
        self.time_ns = time_ns
        if equity >= self.peak:
            self._longest_ns = self.longest_under_water_ns
            self.peak, self.peak_ns, self.drawdown = equity, time_ns, 0.0
            return
        self.drawdown = 1.0 - equity / self.peak
        if self.drawdown > self.max_drawdown:
            self.max_drawdown = self.drawdown

    @property
    def under_water_ns(self) -> int:
        """The time since the peak, 0 at a new one."""
        return self.time_ns - self.peak_ns if self.drawdown else 0

    @property
    def longest_under_water_ns(self) -> int:
        """The longest time from a peak until it was reached again, or until now."""
        return max(self._longest_ns, self.under_water_ns)


class RunningTurnover:
    """Traded notional, both sides counted, over the mean equity of the marks so far. NaN before the first."""

    __slots__ = ("_equity", "_marks", "traded")

    def __init__(self) -> None:
        self.traded = 0.0
        self._equity = 0.0
        self._marks = 0

    def trade(self, notional: float) -> None:
        self.traded += abs(notional)

    def mark(self, equity: float) -> None:
        self._equity += equity
        self._marks += 1

    @property
    def value(self) -> float:
        return self.traded * self._marks / self._equity if self._equity > 0.0 else nan
