"""Bars from ticks, and higher timeframes from bars, cut by exchange time."""

from qfkit.core.events import Bar, Tick
from qfkit.core.timeframes import bar_open_ns, timeframe_ns

__all__ = ["BarBuilder"]


class BarBuilder:
    """Builds the bars of one symbol and timeframe, on the UTC grid of :mod:`qfkit.core.timeframes`.

    A bar spans ``[open_ns, close_ns)`` of exchange time. An interval without trades has no bar.
    What is closed is never opened again: the owner must not add what came late, that is before
    ``open_ns``. A volume of -1 marks an interval in which nothing traded yet. What opened before
    ``whole_from_ns`` was not seen from its beginning, and gives no bar.
    """

    __slots__ = (
        "close",
        "close_ns",
        "first_ns",
        "high",
        "low",
        "open",
        "open_ns",
        "step_ns",
        "symbol",
        "timeframe",
        "volume",
        "whole_from_ns",
    )

    def __init__(self, symbol: str, timeframe: str) -> None:
        self.symbol = symbol
        self.timeframe = timeframe
        self.step_ns = timeframe_ns(timeframe)
        self.first_ns = bar_open_ns(timeframe, self.step_ns)
        self.whole_from_ns = 0
        self.open_ns = 0
        self.close_ns = 0
        self.open = self.high = self.low = self.close = 0.0
        self.volume = -1.0

    def close_before(self, time_ns: int) -> Bar | None:
        """Close the present bar if ``time_ns`` lies at or past its end; start the next interval."""
        if time_ns < self.close_ns:
            return None
        bar = None
        if self.volume != -1.0 and self.open_ns >= self.whole_from_ns:
            bar = Bar(
                self.symbol,
                self.timeframe,
                self.open,
                self.high,
                self.low,
                self.close,
                self.volume,
                self.open_ns,
                self.close_ns,
            )
        self.open_ns = (time_ns - self.first_ns) // self.step_ns * self.step_ns + self.first_ns
        self.close_ns = self.open_ns + self.step_ns
        self.volume = -1.0
        return bar

    def add_tick(self, tick: Tick) -> None:
        """Take a trade of the present interval in; an unknown size counts as none."""
        price = tick.price
        size = tick.size
        if size != size:
            size = 0.0
        if self.volume == -1.0:
            self.open = self.high = self.low = self.close = price
            self.volume = size
            return
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.volume += size

    def split(self, split: float) -> None:
        """Have the present interval's prices and volume in shares after a split."""
        self.open, self.high, self.low, self.close = (
            self.open / split,
            self.high / split,
            self.low / split,
            self.close / split,
        )
        if self.volume != -1.0:
            self.volume *= split

    def add_bar(self, bar: Bar) -> None:
        """Take a smaller bar of the present interval in; one that reaches beyond its end moves that end."""
        if bar.close_ns > self.close_ns:
            self.close_ns = bar.close_ns
        if self.volume == -1.0:
            self.open, self.high, self.low, self.volume = bar.open, bar.high, bar.low, bar.volume
        else:
            if bar.high > self.high:
                self.high = bar.high
            if bar.low < self.low:
                self.low = bar.low
            self.volume += bar.volume
        self.close = bar.close
