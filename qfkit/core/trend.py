"""The strength and direction of a trend: Wilder's average directional index."""

from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np

from qfkit.core.crossings import Output
from qfkit.core.indicator_base import Floats, Indicator, checked_period, like, read_series, same_length
from qfkit.core.volatility import true_ranges

__all__ = ["ADX", "ADXSeries"]


class ADXSeries(NamedTuple):
    """What ``ADX.over`` gives: arrays, or Series where a Series came in."""

    adx: Any
    plus_di: Any
    minus_di: Any


class ADX(Indicator):
    """Average directional index, 0 to 100, Wilder's strength of a trend, as TA-Lib's ADX. Takes bars.

    ``plus_di`` and ``minus_di`` are the directional indicators (TA-Lib's PLUS_DI and MINUS_DI),
    there after ``period`` + 1 bars; ``value`` and ``ready`` after 2 * ``period``. The usual entry
    is ``adx.plus_di_line.crossed_above(adx.minus_di_line)``. ``over`` gives an :class:`ADXSeries`.
    """

    __slots__ = (
        "_close",
        "_high",
        "_low",
        "_minus",
        "_plus",
        "_range",
        "_total",
        "minus_di_line",
        "period",
        "plus_di_line",
    )
    takes_bar = True
    parameters = ("period",)

    def __init__(self, period: int = 14) -> None:
        super().__init__()
        self.period = checked_period(period, least=2)
        self._high = self._low = self._close = nan
        self._plus = self._minus = self._range = 0.0
        self._total = 0.0
        self.plus_di_line = Output(self)
        self.minus_di_line = Output(self)

    @property
    def plus_di(self) -> float:
        return self.plus_di_line.value

    @property
    def minus_di(self) -> float:
        return self.minus_di_line.value

    def update(self, bar: Any) -> None:
        self.count = count = self.count + 1
        top, bottom, close = bar.high, bar.low, self._close
        up, down = top - self._high, self._low - bottom
        self._high, self._low, self._close = top, bottom, bar.close
        if count == 1:
            return
        period = self.period
        plus, minus, reach = self._plus, self._minus, self._range
        if count > period:
            plus -= plus / period
            minus -= minus / period
            reach -= reach / period
        if up > 0.0 and up > down:
            plus += up
        elif down > 0.0 and down > up:
            minus += down
        if close > top:
            top = close
        elif close < bottom:
            bottom = close
        reach += top - bottom
        self._plus, self._minus, self._range = plus, minus, reach
        if count <= period:
            return
        if reach > 0.0:
            plus, minus = 100.0 * (plus / reach), 100.0 * (minus / reach)
        else:
            plus = minus = 0.0
        line = self.plus_di_line
        line.previous = line.value
        line.value = plus
        line = self.minus_di_line
        line.previous = line.value
        line.value = minus
        self.previous = last = self.value
        both = plus + minus
        if self.ready:
            if both > 0.0:
                self.value = (last * (period - 1) + 100.0 * (abs(plus - minus) / both)) / period
            return
        if both > 0.0:
            self._total += 100.0 * (abs(plus - minus) / both)
        if count == 2 * period:
            self.value = self._total / period
            self.ready = True

    def over(self, high: Any, low: Any, close: Any) -> ADXSeries:
        highs, lows, closes = read_series(high, "high"), read_series(low, "low"), read_series(close, "close")
        same_length(high=highs, low=lows, close=closes)
        length, period = len(highs), self.period
        adx, plus_di, minus_di = (np.full(length, nan) for _ in range(3))
        if length > period:
            up, down = np.diff(highs), -np.diff(lows)
            plus = _wilder_sums(np.where((up > 0.0) & (up > down), up, 0.0), period)
            minus = _wilder_sums(np.where((down > 0.0) & (down > up), down, 0.0), period)
            reach = _wilder_sums(true_ranges(highs, lows, closes), period)
            some = reach > 0.0
            plus_di[period:] = plus = np.where(some, 100.0 * (plus / np.where(some, reach, 1.0)), 0.0)
            minus_di[period:] = minus = np.where(some, 100.0 * (minus / np.where(some, reach, 1.0)), 0.0)
            both = plus + minus
            some = both > 0.0
            index = np.where(some, 100.0 * (np.abs(plus - minus) / np.where(some, both, 1.0)), nan)
            adx[2 * period - 1 :] = _average_index(index.tolist(), period)
        as_given = like(high)
        return ADXSeries(as_given(adx), as_given(plus_di), as_given(minus_di))


def _wilder_sums(values: Floats, period: int) -> Floats:
    """Wilder's running sums, from the ``period``-th value on; they start from the ``period`` - 1 before."""
    last = float(np.add.accumulate(values[: period - 1])[-1])
    found: list[float] = []
    append = found.append
    for value in values[period - 1 :].tolist():
        last = last - last / period + value
        append(last)
    return np.array(found)


def _average_index(index: list[float], period: int) -> list[float]:
    """Wilder's average of the directional index; where that is NaN (no direction) it stays as it is."""
    if len(index) < period:
        return []
    last = 0.0
    for value in index[:period]:
        if not isnan(value):
            last += value
    last /= period
    found = [last]
    for value in index[period:]:
        if not isnan(value):
            last = (last * (period - 1) + value) / period
        found.append(last)
    return found
