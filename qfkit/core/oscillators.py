"""Momentum: RSI, MACD, stochastic and rate of change."""

from collections import deque
from itertools import accumulate
from math import inf, nan
from typing import Any, NamedTuple

import numpy as np

from qfkit.core.averages import SMA, exponential
from qfkit.core.crossings import Output
from qfkit.core.indicator_base import Floats, Indicator, checked_period, like, read_series, same_length
from qfkit.core.rolling import window_extremes, window_sums
from qfkit.errors import ParameterError

__all__ = [
    "MACD",
    "RSI",
    "MACDSeries",
    "RateOfChange",
    "Stochastic",
    "StochasticSeries",
]


class RSI(Indicator):
    """Relative strength index, 0 to 100, with Wilder's smoothing, as TA-Lib's RSI.

    Ready after ``period`` + 1 values. Where nothing ever moved it is 0, as in TA-Lib.
    """

    __slots__ = ("_gain", "_last", "_loss", "period")
    parameters = ("period",)

    def __init__(self, period: int = 14) -> None:
        super().__init__()
        self.period = checked_period(period, least=2)
        self._last = nan
        self._gain = 0.0
        self._loss = 0.0

    def update(self, value: float) -> None:
        self.count += 1
        self.previous = self.value
        change = value - self._last
        self._last = value
        gain, loss, period = self._gain, self._loss, self.period
        if self.ready:
            gain *= period - 1
            loss *= period - 1
        if change > 0.0:
            gain += change
        elif change < 0.0:
            loss -= change
        if not self.ready:
            if self.count <= period:
                self._gain, self._loss = gain, loss
                return
            self.ready = True
        self._gain = gain = gain / period
        self._loss = loss = loss / period
        total = gain + loss
        self.value = 100.0 * (gain / total) if total > 0.0 else 0.0

    def over(self, values: Any) -> Any:
        series, period = read_series(values), self.period
        indexes = np.full(len(series), nan)
        if len(series) > period:
            changes = np.diff(series)
            gains = _wilder(np.where(changes > 0.0, changes, 0.0), period)
            totals = gains + _wilder(np.where(changes < 0.0, -changes, 0.0), period)
            moved = totals > 0.0
            indexes[period:] = np.where(moved, 100.0 * (gains / np.where(moved, totals, 1.0)), 0.0)
        return like(values)(indexes)


def _wilder(values: Floats, period: int) -> Floats:
    """Wilder's average of ``values``, from the mean of the first ``period`` on."""
    last = float(np.add.accumulate(values[:period])[-1]) / period
    found = [last]
    append, weight = found.append, period - 1
    for value in values[period:].tolist():
        last = (last * weight + value) / period
        append(last)
    return np.array(found)


class MACDSeries(NamedTuple):
    """What ``MACD.over`` gives: arrays, or Series where a Series came in."""

    macd: Any
    signal: Any
    histogram: Any


class MACD(Indicator):
    """Moving average convergence divergence: the fast average less the slow one, as TA-Lib's MACD.

    The fast average starts where the slow one does, as the mean of the ``fast`` values up to
    there. ``value`` is the difference, ``signal`` its average, ``histogram`` the one less the
    other; all are NaN until ``signal`` is there. The usual entry is
    ``macd.crossed_above(macd.signal_line)``. ``over`` gives a :class:`MACDSeries`.
    """

    __slots__ = (
        "_fast_average",
        "_fast_factor",
        "_signal_factor",
        "_slow_average",
        "_slow_factor",
        "_total",
        "fast_period",
        "histogram_line",
        "signal_line",
        "signal_period",
        "slow_period",
    )
    parameters = ("fast_period", "slow_period", "signal_period")

    def __init__(self, fast: int = 12, slow: int = 26, signal: int = 9) -> None:
        super().__init__()
        self.fast_period = checked_period(fast, "fast")
        self.slow_period = checked_period(slow, "slow")
        self.signal_period = checked_period(signal, "signal")
        if self.fast_period >= self.slow_period:
            raise ParameterError(f"fast={fast!r} is not below slow={slow!r}: give the shorter period as fast")
        self._fast_factor = 2.0 / (self.fast_period + 1)
        self._slow_factor = 2.0 / (self.slow_period + 1)
        self._signal_factor = 2.0 / (self.signal_period + 1)
        self._fast_average = 0.0
        self._slow_average = 0.0
        self._total = 0.0
        self.signal_line = Output(self)
        self.histogram_line = Output(self)

    @property
    def signal(self) -> float:
        return self.signal_line.value

    @property
    def histogram(self) -> float:
        return self.histogram_line.value

    def update(self, value: float) -> None:
        self.count += 1
        if not self.ready:
            self._warm(value)
            return
        fast, slow = self._fast_average, self._slow_average
        self._fast_average = fast = fast + (value - fast) * self._fast_factor
        self._slow_average = slow = slow + (value - slow) * self._slow_factor
        self.previous = self.value
        self.value = macd = fast - slow
        line = self.signal_line
        line.previous = signal = line.value
        line.value = signal = signal + (macd - signal) * self._signal_factor
        line = self.histogram_line
        line.previous = line.value
        line.value = macd - signal

    def _warm(self, value: float) -> None:
        count, slow_period = self.count, self.slow_period
        if count <= slow_period:
            self._slow_average += value
            if count > slow_period - self.fast_period:
                self._fast_average += value
            if count < slow_period:
                return
            self._fast_average /= self.fast_period
            self._slow_average /= slow_period
        else:
            self._fast_average += (value - self._fast_average) * self._fast_factor
            self._slow_average += (value - self._slow_average) * self._slow_factor
        macd = self._fast_average - self._slow_average
        self._total += macd
        if count == slow_period + self.signal_period - 1:
            self.ready = True
            self.value = macd
            self.signal_line.value = signal = self._total / self.signal_period
            self.histogram_line.value = macd - signal

    def over(self, values: Any) -> MACDSeries:
        series = read_series(values)
        fast, slow, signal = self.fast_period, self.slow_period, self.signal_period
        macd = exponential(series, fast, slow - fast) - exponential(series, slow)
        signals = exponential(macd, signal, slow - 1)
        macd[: slow + signal - 2] = nan
        as_given = like(values)
        return MACDSeries(as_given(macd), as_given(signals), as_given(macd - signals))


class StochasticSeries(NamedTuple):
    """What ``Stochastic.over`` gives: arrays, or Series where a Series came in."""

    slow_k: Any
    slow_d: Any


class Stochastic(Indicator):
    """Slow stochastic oscillator, 0 to 100, as TA-Lib's STOCH with simple averages. Takes bars.

    Where the close lies between the lowest low and the highest high of ``fast_k`` bars, averaged
    over ``slow_k`` bars (``value`` and ``slow_k``) and again over ``slow_d`` (``slow_d``). Both
    are NaN until ``slow_d`` is there; a bar in a range of no height counts as 0, as in TA-Lib.
    Cross with ``stochastic.crossed_above(stochastic.slow_d_line)``. ``over`` gives a
    :class:`StochasticSeries`.
    """

    __slots__ = (
        "_fast_average",
        "_high",
        "_highs",
        "_low",
        "_lows",
        "_place",
        "_slow_average",
        "fast_k_period",
        "slow_d_line",
        "slow_d_period",
        "slow_k_period",
    )
    takes_bar = True
    parameters = ("fast_k_period", "slow_k_period", "slow_d_period")

    def __init__(self, fast_k: int = 14, slow_k: int = 3, slow_d: int = 3) -> None:
        super().__init__()
        self.fast_k_period = checked_period(fast_k, "fast_k")
        self.slow_k_period = checked_period(slow_k, "slow_k")
        self.slow_d_period = checked_period(slow_d, "slow_d")
        self._highs = [-inf] + [nan] * (self.fast_k_period - 1)
        self._lows = [inf] + [nan] * (self.fast_k_period - 1)
        self._place = self.fast_k_period - 1
        self._high = -inf
        self._low = inf
        self._fast_average = SMA(self.slow_k_period)
        self._slow_average = SMA(self.slow_d_period)
        self.slow_d_line = Output(self)

    @property
    def slow_k(self) -> float:
        return self.value

    @property
    def slow_d(self) -> float:
        return self.slow_d_line.value

    def update(self, bar: Any) -> None:
        self.count += 1
        place, highs, lows = self._place, self._highs, self._lows
        high, low = bar.high, bar.low
        upper, lower = highs[place], lows[place]
        highs[place], lows[place] = high, low
        if high > self._high:
            self._high = high
        else:
            high = self._high
        if low < self._low:
            self._low = low
        else:
            low = self._low
        # In this order NaN in the cells of the first block stays: nothing is more than NaN.
        upper, lower = max(upper, high), min(lower, low)
        if place:
            self._place = place - 1
        else:
            self._highs = list(accumulate(highs[:-1], max, initial=-inf))
            self._lows = list(accumulate(lows[:-1], min, initial=inf))
            self._place = self.fast_k_period - 1
            self._high, self._low = -inf, inf
        if self.count < self.fast_k_period:
            return
        height = upper - lower
        average = self._fast_average
        average.update((bar.close - lower) / height * 100.0 if height > 0.0 else 0.0)
        if average.ready:
            slow = self._slow_average
            slow.update(average.value)
            if slow.ready:
                self.previous = self.value
                self.value = average.value
                line = self.slow_d_line
                line.previous = line.value
                line.value = slow.value
                self.ready = True

    def over(self, high: Any, low: Any, close: Any) -> StochasticSeries:
        highs, lows, closes = read_series(high, "high"), read_series(low, "low"), read_series(close, "close")
        same_length(high=highs, low=lows, close=closes)
        first = self.fast_k_period - 1
        upper = window_extremes(highs, self.fast_k_period, np.maximum)[first:]
        lower = window_extremes(lows, self.fast_k_period, np.minimum)[first:]
        heights = upper - lower
        some = heights > 0.0
        fast_k = np.where(some, (closes[first:] - lower) / np.where(some, heights, 1.0) * 100.0, 0.0)
        slow_k = window_sums(fast_k, self.slow_k_period) / self.slow_k_period
        slow_d = np.full(len(slow_k), nan)
        inner = self.slow_k_period - 1
        slow_d[inner:] = window_sums(slow_k[inner:], self.slow_d_period) / self.slow_d_period
        slow_k[: inner + self.slow_d_period - 1] = nan
        before = np.full(min(first, len(highs)), nan)
        as_given = like(high)
        return StochasticSeries(as_given(np.concatenate((before, slow_k))), as_given(np.concatenate((before, slow_d))))


class RateOfChange(Indicator):
    """Change against the value ``period`` bars before, in percent, as TA-Lib's ROC (0 after a value of 0)."""

    __slots__ = ("_values", "period")
    parameters = ("period",)

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = checked_period(period)
        self._values: deque[float] = deque(maxlen=self.period)

    def update(self, value: float) -> None:
        self.count += 1
        values = self._values
        if self.ready:
            self.previous = self.value
            before = values[0]
            self.value = (value / before - 1.0) * 100.0 if before else 0.0
        elif len(values) == self.period:
            before = values[0]
            self.value = (value / before - 1.0) * 100.0 if before else 0.0
            self.ready = True
        values.append(value)

    def over(self, values: Any) -> Any:
        series, period = read_series(values), self.period
        changes = np.full(len(series), nan)
        before = series[:-period]
        changes[period:] = np.where(
            before == 0.0, 0.0, (series[period:] / np.where(before == 0.0, 1.0, before) - 1.0) * 100.0
        )
        return like(values)(changes)
