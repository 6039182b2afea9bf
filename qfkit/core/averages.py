"""Moving averages of one series: simple, exponential, weighted; and the price itself."""

from itertools import accumulate
from math import nan
from typing import Any

import numpy as np

from qfkit.core.indicator_base import Indicator, checked_period, like, read_series
from qfkit.core.rolling import window_sums

__all__ = ["EMA", "SMA", "Price", "exponential"]


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

    __slots__ = ("_cells", "_place", "_prefix", "period")
    parameters = ("period",)

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = checked_period(period)
        # Newest first: at each place the sum of the old block that the window still covers there,
        # and once the window has moved past it, the new value. Minus zero adds nothing to anything,
        # where plus zero would turn minus zero into plus zero.
        self._cells = [-0.0] + [nan] * (self.period - 1)
        self._place = self.period - 1
        self._prefix = -0.0

    def update(self, value: float) -> None:
        self.count += 1
        self.previous = self.value
        place = self._place
        cells = self._cells
        self._prefix = prefix = self._prefix + value
        self.value = (cells[place] + prefix) / self.period
        cells[place] = value
        if place:
            self._place = place - 1
            return
        self.ready = True
        self._cells = list(accumulate(cells[:-1], initial=-0.0))
        self._place = self.period - 1
        self._prefix = -0.0

    def over(self, values: Any) -> Any:
        return like(values)(window_sums(read_series(values), self.period) / self.period)


class EMA(Indicator):
    """Exponential moving average with the factor 2 / (period + 1), as TA-Lib's EMA.

    Starts as the mean of the first ``period`` values, so two runs that start at different bars
    differ a little for some multiples of ``period``.
    """

    __slots__ = ("_factor", "_total", "period")
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
        return like(values)(exponential(read_series(values), self.period, 0, self._factor))


def exponential(values: np.ndarray[Any, np.dtype[np.float64]], period: int, start: int, factor: float) -> Any:
    """The exponential average of ``values``, seeded with the mean of ``period`` values from ``start`` on."""
    averages = np.full(len(values), nan)
    first = start + period - 1
    if first < len(values):
        seed = float(np.add.accumulate(values[start : first + 1])[-1]) / period
        averages[first:] = list(
            accumulate(values[first + 1 :].tolist(), lambda last, value: last + (value - last) * factor, initial=seed)
        )
    return averages
