"""Indicators that weigh prices with volume. They take bars; volume that is unknown (NaN) counts as none."""

from itertools import accumulate
from math import nan
from typing import Any

import numpy as np

from qfkit.core.indicator_base import Indicator, checked_period, like, read_series, same_length
from qfkit.core.rolling import window_sums

__all__ = ["VWAP", "OnBalanceVolume"]


class OnBalanceVolume(Indicator):
    """On-balance volume: volume added on a higher close, taken away on a lower one, as TA-Lib's OBV.

    Takes bars. It starts with the first bar's volume, so only its changes mean something.
    """

    __slots__ = ("_close",)
    takes_bar = True

    def __init__(self) -> None:
        super().__init__()
        self._close = nan

    def update(self, bar: Any) -> None:
        self.count += 1
        self.previous = last = self.value
        close, volume = bar.close, bar.volume
        if not volume > 0.0:  # NaN too
            volume = 0.0
        if close > self._close:
            self.value = last + volume
        elif close < self._close:
            self.value = last - volume
        elif not self.ready:
            self.value = 0.0 + volume
            self.ready = True
        self._close = close

    def over(self, close: Any, volume: Any) -> Any:
        closes, volumes = read_series(close, "close"), read_series(volume, "volume", missing=0.0)
        same_length(close=closes, volume=volumes)
        signs = np.ones(len(closes))
        signs[1:] = np.sign(closes[1:] - closes[:-1])
        return like(close)(np.add.accumulate(signs * volumes))


class VWAP(Indicator):
    """Volume-weighted average of the typical price (high + low + close) / 3. Takes bars.

    ``VWAP()`` runs from the first bar on and never starts again, not at midnight either;
    ``VWAP(period)`` is over the last ``period`` bars. NaN where no volume traded, ready or not.
    """

    __slots__ = ("_cells", "_place", "_prefix", "_volume_cells", "_volume_prefix", "period")
    is_price = True
    takes_bar = True
    parameters = ("period",)

    def __init__(self, period: int | None = None) -> None:
        super().__init__()
        self.period = None if period is None else checked_period(period)
        self._cells = [0.0] + [nan] * ((self.period or 1) - 1)
        self._volume_cells = self._cells.copy()
        self._place = len(self._cells) - 1
        self._prefix = 0.0
        self._volume_prefix = 0.0

    def update(self, bar: Any) -> None:
        self.count += 1
        self.previous = self.value
        volume = bar.volume
        if not volume > 0.0:  # NaN too
            volume = 0.0
        traded = (bar.high + bar.low + bar.close) / 3.0 * volume
        self._prefix = total = self._prefix + traded
        self._volume_prefix = total_volume = self._volume_prefix + volume
        if self.period is None:
            self.ready = True
            self.value = total / total_volume if total_volume > 0.0 else nan
            return
        place, cells, volume_cells = self._place, self._cells, self._volume_cells
        total = cells[place] + total
        total_volume = volume_cells[place] + total_volume
        self.value = total / total_volume if total_volume > 0.0 else nan
        cells[place], volume_cells[place] = traded, volume
        if place:
            self._place = place - 1
            return
        self.ready = True
        self._cells = list(accumulate(cells[:-1], initial=0.0))
        self._volume_cells = list(accumulate(volume_cells[:-1], initial=0.0))
        self._place = self.period - 1
        self._prefix = self._volume_prefix = 0.0

    def over(self, high: Any, low: Any, close: Any, volume: Any) -> Any:
        highs, lows, closes = read_series(high, "high"), read_series(low, "low"), read_series(close, "close")
        volumes = read_series(volume, "volume", missing=0.0)
        same_length(high=highs, low=lows, close=closes, volume=volumes)
        traded = (highs + lows + closes) / 3.0 * volumes
        if self.period is None:
            totals, total_volumes = np.add.accumulate(traded), np.add.accumulate(volumes)
        else:
            totals, total_volumes = window_sums(traded, self.period), window_sums(volumes, self.period)
        some = total_volumes > 0.0
        return like(high)(np.where(some, totals / np.where(some, total_volumes, 1.0), nan))
