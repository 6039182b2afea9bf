"""Moving averages of one series: simple, exponential and weighted; and the price itself."""

from itertools import accumulate
from math import nan
from typing import Any

import numpy as np

from qfkit.core.indicator_base import Floats, Indicator, checked_period, like, read_series
from qfkit.core.rolling import blocks, join, prefixes, suffixes, window_sums

__all__ = ["EMA", "SMA", "WMA", "Price", "exponential"]


class Price(Indicator):
    """The input itself, so that a price can cross an average: ``price.crossed_below(bands.lower_line)``."""

    __slots__ = ()

    def update(self, value: float) -> None:
        self.count += 1
        self.previous = self.value
        self.value = value
        self.ready = True

    def over(self, values: Any) -> Any:
        return like(values)(read_series(values).copy())


class SMA(Indicator):
    """Simple moving average: the mean of the last ``period`` values, as TA-Lib's SMA.

    Its sums do not drift (see :mod:`qfkit.core.rolling`) and whole numbers are summed exactly.
    One step in ``period`` takes time in proportion to ``period``.
    """

    __slots__ = ("_cells", "_divisor", "_place", "_prefix", "period")
    is_price = True
    parameters = ("period",)

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = checked_period(period)
        self._divisor = float(self.period)
        # Newest first. At each place: the sum of what the window still covers of the last block,
        # and once the window has moved past it, the new value. Minus zero adds nothing to
        # anything, where plus zero would turn minus zero into plus zero.
        self._cells = [-0.0] + [nan] * (self.period - 1)
        self._place = self.period - 1
        self._prefix = -0.0

    def update(self, value: float) -> None:
        self.count += 1
        self.previous = self.value
        place = self._place
        cells = self._cells
        self._prefix = prefix = self._prefix + value
        self.value = (cells[place] + prefix) / self._divisor
        cells[place] = value
        if place:
            self._place = place - 1
            return
        self.ready = True
        cells.pop()
        self._cells = list(accumulate(cells, initial=-0.0))
        self._place = self.period - 1
        self._prefix = -0.0

    def over(self, values: Any) -> Any:
        return like(values)(window_sums(read_series(values), self.period) / self._divisor)


class EMA(Indicator):
    """Exponential moving average with the factor 2 / (period + 1), as TA-Lib's EMA.

    It starts as the mean of the first ``period`` values, so two that start at different bars
    differ a little for some multiples of ``period``.
    """

    __slots__ = ("_factor", "_total", "period")
    is_price = True
    parameters = ("period",)

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = checked_period(period)
        self._factor = 2.0 / (self.period + 1)
        self._total = -0.0

    def update(self, value: float) -> None:
        self.count += 1
        self.previous = last = self.value
        if self.ready:
            self.value = last + (value - last) * self._factor
            return
        self._total += value
        if self.count == self.period:
            self.value = self._total / self.period
            self.ready = True

    def over(self, values: Any) -> Any:
        return like(values)(exponential(read_series(values), self.period))


def exponential(values: Floats, period: int, start: int = 0) -> Floats:
    """The exponential average of ``values``, seeded with the mean of the ``period`` values from ``start`` on."""
    averages = np.full(len(values), nan)
    first = start + period - 1
    if first < len(values):
        factor = 2.0 / (period + 1)
        last = float(np.add.accumulate(values[start : first + 1])[-1]) / period
        found = [last]
        append = found.append
        for value in values[first + 1 :].tolist():
            last = last + (value - last) * factor
            append(last)
        averages[first:] = found
    return averages


class WMA(Indicator):
    """Linearly weighted moving average: the newest value weighs ``period``, the oldest 1, as TA-Lib's WMA.

    One step in ``period`` takes time in proportion to ``period``.
    """

    __slots__ = ("_cells", "_divisor", "_place", "_prefix", "_weighted_prefix", "period")
    is_price = True
    parameters = ("period",)

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = checked_period(period)
        self._divisor = self.period * (self.period + 1) / 2.0
        self._cells = [0.0] + [nan] * (self.period - 1)
        self._place = self.period - 1
        self._prefix = 0.0
        self._weighted_prefix = 0.0

    def update(self, value: float) -> None:
        self.count += 1
        self.previous = self.value
        place = self._place
        cells = self._cells
        self._prefix = prefix = self._prefix + value
        self._weighted_prefix = weighted = self._weighted_prefix + value * (self.period - place)
        self.value = (cells[place] + (weighted + prefix * place)) / self._divisor
        cells[place] = value
        if place:
            self._place = place - 1
            return
        self.ready = True
        cells.pop()
        # A value's weight falls by one a bar, so the weighted sums are the sums of the sums.
        self._cells = list(accumulate(accumulate(cells), initial=0.0))
        self._place = self.period - 1
        self._prefix = self._weighted_prefix = 0.0

    def over(self, values: Any) -> Any:
        series, period = read_series(values), self.period
        if len(series) < period:
            return like(values)(np.full(len(series), nan))
        rows = blocks(series, period)
        places = np.arange(period - 1.0, -1.0, -1.0)
        starts = prefixes(rows * (period - places)) + prefixes(rows) * places
        sums = join(suffixes(suffixes(rows)), starts, starts[:, -1])
        return like(values)(sums.reshape(-1)[: len(series)] / self._divisor)
