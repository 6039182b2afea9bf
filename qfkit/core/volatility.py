"""How far prices spread: standard deviation, z-score, Bollinger Bands, ATR and Donchian channel."""

from itertools import accumulate
from math import inf, nan, sqrt
from typing import Any, ClassVar, NamedTuple

import numpy as np

from qfkit.core.crossings import Output
from qfkit.core.indicator_base import Floats, Indicator, checked_period, like, read_series, same_length
from qfkit.core.rolling import blocks, join, prefixes, suffixes, window_extremes
from qfkit.errors import ParameterError

__all__ = [
    "ATR",
    "BollingerBands",
    "BollingerSeries",
    "DonchianChannel",
    "DonchianSeries",
    "StandardDeviation",
    "ZScore",
    "true_ranges",
]


class _Moments(Indicator):
    """Rolling mean and population standard deviation, from sums of differences to a nearby value.

    The value that the differences are taken to is always one of the window, so the variance loses
    no more than a factor ``period`` of a double's precision, whatever the size of the prices; it
    is exactly zero where all values are the same.
    """

    __slots__ = ("_cells", "_mean", "_place", "_prefix", "_reference", "_square_cells", "_square_prefix", "period")
    parameters: ClassVar[tuple[str, ...]] = ("period",)

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = checked_period(period, least=2)
        self._cells = [nan] * self.period
        self._square_cells = [nan] * self.period
        self._place = self.period - 1
        self._prefix = 0.0
        self._square_prefix = 0.0
        self._reference = nan
        # Of the differences: the mean of the window is this above the reference.
        self._mean = nan

    def _deviation(self, value: float) -> float:
        """Take a value; return the standard deviation, NaN until the window is full."""
        place = self._place
        if place:
            offset = value - self._reference
            self._prefix = total = self._prefix + offset
            self._square_prefix = squares = self._square_prefix + offset * offset
            cells = self._cells
            total = cells[place] + total
            squares = self._square_cells[place] + squares
            cells[place] = value
            self._place = place - 1
        else:
            cells = self._cells
            cells[0] = value
            offsets = [cell - value for cell in cells]
            self._cells = cells = list(accumulate(offsets, initial=0.0))
            total = cells.pop()
            self._square_cells = cells = list(accumulate([offset * offset for offset in offsets], initial=0.0))
            squares = cells.pop()
            self._reference = value
            self._prefix = self._square_prefix = 0.0
            self._place = self.period - 1
            self.ready = True
        self._mean = mean = total / self.period
        variance = (squares - total * mean) / self.period
        return 0.0 if variance <= 0.0 else sqrt(variance)

    def _deviations(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """The standard deviations, the references and the means above them."""
        period, length = self.period, len(values)
        if length < period:
            unknown = np.full(length, nan)
            return unknown, unknown, unknown
        rows = blocks(values, period)
        own = rows[:, -1:]
        last = np.concatenate((np.full((1, 1), nan), own[:-1]))
        to_own, to_last = rows - own, rows - last
        ends, square_ends = suffixes(to_own), suffixes(to_own * to_own)
        totals = join(ends, prefixes(to_last), ends[:, 0])
        squares = join(square_ends, prefixes(to_last * to_last), square_ends[:, 0])
        references = np.broadcast_to(last, rows.shape).copy()
        references[:, -1] = rows[:, -1]
        means = totals / period
        variances = (squares - totals * means) / period
        deviations = np.sqrt(np.where(variances <= 0.0, 0.0, variances))
        return deviations.reshape(-1)[:length], references.reshape(-1)[:length], means.reshape(-1)[:length]


class StandardDeviation(_Moments):
    """Population standard deviation of the last ``period`` values (divided by n), as TA-Lib's STDDEV.

    Exactly 0 where all values are the same. pandas divides by n - 1 (``ddof=0`` gives this one).
    """

    __slots__ = ()

    def update(self, value: float) -> None:
        self.count += 1
        self.previous = self.value
        self.value = self._deviation(value)

    def over(self, values: Any) -> Any:
        return like(values)(self._deviations(read_series(values))[0])


class ZScore(_Moments):
    """How many population standard deviations the value lies above the mean of the last ``period``.

    The value itself is among them. Where all values are the same it is 0: nothing deviates.
    """

    __slots__ = ()

    def update(self, value: float) -> None:
        self.count += 1
        self.previous = self.value
        deviation = self._deviation(value)
        self.value = 0.0 if deviation == 0.0 else (value - self._reference - self._mean) / deviation

    def over(self, values: Any) -> Any:
        series = read_series(values)
        deviations, references, means = self._deviations(series)
        flat = deviations == 0.0
        return like(values)(np.where(flat, 0.0, (series - references - means) / np.where(flat, 1.0, deviations)))


class BollingerSeries(NamedTuple):
    """What ``BollingerBands.over`` gives: arrays, or Series where a Series came in."""

    middle: Any
    upper: Any
    lower: Any


class BollingerBands(_Moments):
    """Bollinger Bands: the mean of ``period`` values and ``width`` deviations around it, as TA-Lib's BBANDS.

    ``value`` is ``middle``; ``upper`` and ``lower`` are numbers, ``upper_line`` and ``lower_line``
    the lines to cross: ``price.crossed_below(bands.lower_line)`` with a :class:`Price`.
    ``over`` gives a :class:`BollingerSeries`.
    """

    __slots__ = ("lower_line", "upper_line", "width")
    is_price = True
    parameters = ("period", "width")

    def __init__(self, period: int = 20, width: float = 2.0) -> None:
        super().__init__(period)
        if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0.0 < width < inf:
            raise ParameterError(f"width={width!r}: give the deviations between middle and band, above 0")
        self.width = float(width)
        self.upper_line = Output(self)
        self.lower_line = Output(self)

    @property
    def middle(self) -> float:
        return self.value

    @property
    def upper(self) -> float:
        return self.upper_line.value

    @property
    def lower(self) -> float:
        return self.lower_line.value

    def update(self, value: float) -> None:
        self.count += 1
        self.previous = self.value
        reach = self._deviation(value) * self.width
        self.value = middle = self._reference + self._mean
        line = self.upper_line
        line.previous = line.value
        line.value = middle + reach
        line = self.lower_line
        line.previous = line.value
        line.value = middle - reach

    def over(self, values: Any) -> BollingerSeries:
        deviations, references, means = self._deviations(read_series(values))
        as_given = like(values)
        middle, reach = references + means, deviations * self.width
        return BollingerSeries(as_given(middle), as_given(middle + reach), as_given(middle - reach))


def true_ranges(high: Floats, low: Floats, close: Floats) -> Floats:
    """The true range of each bar but the first: from its extremes, the close before among them."""
    return np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])


class ATR(Indicator):
    """Average true range with Wilder's smoothing, in price units, as TA-Lib's ATR. Takes bars.

    The first bar has no close before it and so no true range: ready after ``period`` + 1 bars.
    """

    __slots__ = ("_close", "_total", "period")
    takes_bar = True
    parameters = ("period",)

    def __init__(self, period: int = 14) -> None:
        super().__init__()
        self.period = checked_period(period)
        self._close = nan
        self._total = 0.0

    def update(self, bar: Any) -> None:
        self.count += 1
        self.previous = last = self.value
        top, bottom, close = bar.high, bar.low, self._close
        if close > top:
            top = close
        elif close < bottom:
            bottom = close
        self._close = bar.close
        if self.ready:
            period = self.period
            self.value = (last * (period - 1) + (top - bottom)) / period
        elif self.count > 1:
            self._total += top - bottom
            if self.count > self.period:
                self.value = self._total / self.period
                self.ready = True

    def over(self, high: Any, low: Any, close: Any) -> Any:
        highs, lows, closes = read_series(high, "high"), read_series(low, "low"), read_series(close, "close")
        same_length(high=highs, low=lows, close=closes)
        averages, period = np.full(len(highs), nan), self.period
        if len(highs) > period:
            ranges = true_ranges(highs, lows, closes)
            last = float(np.add.accumulate(ranges[:period])[-1]) / period
            found = [last]
            append, weight = found.append, period - 1
            for value in ranges[period:].tolist():
                last = (last * weight + value) / period
                append(last)
            averages[period:] = found
        return like(high)(averages)


class DonchianSeries(NamedTuple):
    """What ``DonchianChannel.over`` gives: arrays, or Series where a Series came in."""

    middle: Any
    upper: Any
    lower: Any


class DonchianChannel(Indicator):
    """Donchian channel: the highest high and the lowest low of the last ``period`` bars. Takes bars.

    The newest bar is among them, so its close never lies outside: for a breakout compare with
    ``upper_line.previous``, the channel before the bar. ``value`` is ``middle``; ``upper`` and
    ``lower`` are numbers, ``upper_line`` and ``lower_line`` lines to cross. ``over`` gives a
    :class:`DonchianSeries`.
    """

    __slots__ = ("_high", "_highs", "_low", "_lows", "_place", "lower_line", "period", "upper_line")
    takes_bar = True
    is_price = True
    parameters = ("period",)

    def __init__(self, period: int = 20) -> None:
        super().__init__()
        self.period = checked_period(period)
        self._highs = [-inf] + [nan] * (self.period - 1)
        self._lows = [inf] + [nan] * (self.period - 1)
        self._place = self.period - 1
        self._high = -inf
        self._low = inf
        self.upper_line = Output(self)
        self.lower_line = Output(self)

    @property
    def middle(self) -> float:
        return self.value

    @property
    def upper(self) -> float:
        return self.upper_line.value

    @property
    def lower(self) -> float:
        return self.lower_line.value

    def update(self, bar: Any) -> None:
        self.count += 1
        self.previous = self.value
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
        line = self.upper_line
        line.previous = line.value
        line.value = upper
        line = self.lower_line
        line.previous = line.value
        line.value = lower
        self.value = (upper + lower) / 2.0
        if place:
            self._place = place - 1
            return
        self.ready = True
        self._highs = list(accumulate(highs[:-1], max, initial=-inf))
        self._lows = list(accumulate(lows[:-1], min, initial=inf))
        self._place = self.period - 1
        self._high, self._low = -inf, inf

    def over(self, high: Any, low: Any) -> DonchianSeries:
        highs, lows = read_series(high, "high"), read_series(low, "low")
        same_length(high=highs, low=lows)
        upper = window_extremes(highs, self.period, np.maximum)
        lower = window_extremes(lows, self.period, np.minimum)
        as_given = like(high)
        return DonchianSeries(as_given((upper + lower) / 2.0), as_given(upper), as_given(lower))
