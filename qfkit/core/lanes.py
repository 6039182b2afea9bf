"""How closed bars reach indicators: a lane for each strategy on each series of bars."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from qfkit.core.bars import BarBuilder
from qfkit.core.crossings import Watchers
from qfkit.core.events import Bar
from qfkit.core.indicators import Indicator, make_indicator
from qfkit.core.market import Market
from qfkit.core.timeframes import check_multiple, timeframe_ns
from qfkit.errors import StrategyError, TimeframeError, did_you_mean

if TYPE_CHECKING:
    from qfkit.core.seats import Seat

__all__ = ["KEPT_BARS", "IndicatorSet", "Lane", "Series", "Track"]

KEPT_BARS = 1_000
"""Closed bars kept for each symbol and timeframe: what new indicators are warmed from."""

Kind = TypeVar("Kind", bound=Indicator)

_NEVER_NS = 2**63

_SOURCES = ("open", "high", "low", "close", "volume")


class IndicatorSet(dict[str, Kind]):
    """One indicator for each symbol: ``self.average[bar.symbol]``. Made by ``Strategy.indicator``."""

    __slots__ = ("args", "factory", "kwargs", "source", "timeframe")

    def __init__(
        self, factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any], timeframe: str | None, source: str
    ) -> None:
        super().__init__()
        if source not in _SOURCES:
            raise StrategyError(f"indicator source {source!r} is no field of a bar.{did_you_mean(source, _SOURCES)}")
        if timeframe not in (None, "tick"):
            timeframe_ns(timeframe)
        self.factory = factory
        self.args = args
        self.kwargs = kwargs
        self.timeframe = timeframe
        self.source = source
        # A wrong argument is an error where it was written, not at the first event.
        make_indicator(factory, *args, **kwargs)

    def make(self, symbol: str) -> Kind:
        """Make the indicator of a symbol anew."""
        indicator = cast("Kind", make_indicator(self.factory, *self.args, **self.kwargs))
        self[symbol] = indicator
        return indicator

    def __missing__(self, symbol: str) -> Kind:
        raise StrategyError(f"no indicator for the symbol {symbol!r}.{did_you_mean(symbol, self)}")


class Lane:
    """What one strategy hangs on one series: its indicators' updates and its crossings."""

    __slots__ = ("bar_updates", "close_updates", "crosses", "follows", "owner")

    def __init__(self, owner: object, symbol: str | None = None) -> None:
        self.owner = owner
        self.follows = False
        self.close_updates: list[Callable[[float], None]] = []
        self.bar_updates: list[Callable[[Bar], None]] = []
        self.crosses = Watchers(symbol)

    def add(self, indicator: Indicator, source: str) -> None:
        """Hang an indicator on the lane."""
        indicator.watchers = self.crosses
        if indicator.takes_bar:
            self.bar_updates.append(indicator.update)
        elif source == "close":
            self.close_updates.append(indicator.update)
        else:
            update = indicator.update
            self.bar_updates.append(lambda bar: update(getattr(bar, source)))

    def feed(self, bar: Bar) -> None:
        """Give a closed bar to the indicators, then settle the crossings."""
        close = bar.close
        for update in self.close_updates:
            update(close)
        for update_bar in self.bar_updates:
            update_bar(bar)
        for cross in self.crosses:
            cross.step()

    def feed_more(self, bar: Bar) -> None:
        """The same where the strategy has not been told yet what the bar before crossed."""
        for cross in self.crosses:
            cross.rewind()
        self.feed(bar)


class Series:
    """The closed bars of one symbol and timeframe, and the lanes that want them.

    ``has_news`` is whether no base bar was told since the last one; ``is_told`` whether one was, and the
    crossings still stand.
    """

    __slots__ = ("builder", "has_news", "is_told", "kept", "lanes", "timeframe")

    def __init__(self, symbol: str, timeframe: str) -> None:
        self.timeframe = timeframe
        self.is_told = True
        self.has_news = False
        self.builder = BarBuilder(symbol, timeframe)
        self.kept: deque[Bar] = deque(maxlen=KEPT_BARS)
        self.lanes: list[Lane] = []

    def feed(self, bar: Bar) -> None:
        """Keep a closed bar and give it to every lane."""
        self.kept.append(bar)
        for lane in self.lanes:
            # A strategy that follows was told on the bar before.
            if self.has_news and not lane.follows:
                lane.feed_more(bar)
            else:
                lane.feed(bar)
        self.is_told = False
        self.has_news = True

    def tell(self) -> None:
        """A base bar was told."""
        self.is_told = True
        self.has_news = False

    def forget_crossings(self) -> None:
        """End the crossings of this series' last bar, once a base bar has told the strategies of them.

        Once only: a crossing is shared by the lanes of its two lines, and the other one may move before the
        next base bar.
        """
        if self.is_told:
            self.is_told = False
            for lane in self.lanes:
                for cross in lane.crosses:
                    cross.end()

    def lane(self, owner: object) -> Lane:
        """The lane of a strategy, made at need."""
        for lane in self.lanes:
            if lane.owner is owner:
                return lane
        lane = Lane(owner, self.builder.symbol)
        self.lanes.append(lane)
        return lane


class Track:
    """One symbol in the engine: its market, its base series and the higher ones built from that.

    ``source_timeframe`` is that of the bars that come in, "" until then and for ticks. Bars that
    open before ``closed_until_ns``, the end of the history given before, are late. ``due_ns`` is when the
    first of the higher bars ends. What ``is_rate`` only converts currencies, and has no seats.
    """

    __slots__ = (
        "base",
        "closed_until_ns",
        "due_ns",
        "higher",
        "is_direct",
        "is_rate",
        "market",
        "quote_seats",
        "seats",
        "source_timeframe",
        "symbol",
        "tick_seats",
    )

    def __init__(self, symbol: str, timeframe: str) -> None:
        self.symbol = symbol
        self.market = Market(symbol)
        self.base = Series(symbol, timeframe)
        self.higher: dict[str, Series] = {}
        self.source_timeframe = ""
        self.is_direct = False
        self.is_rate = False
        self.closed_until_ns = 0
        self.due_ns = _NEVER_NS
        self.seats: list[Seat] = []
        self.tick_seats: list[Seat] = []
        self.quote_seats: list[Seat] = []

    def accept_bars(self, timeframe: str) -> None:
        """The first bar of a symbol says what its bars are; another timeframe later is refused."""
        if self.source_timeframe:
            raise TimeframeError(
                f"{self.symbol}: a bar of {timeframe} among bars of {self.source_timeframe}; "
                "one run takes one timeframe a symbol and builds the higher ones itself"
            )
        step, base = timeframe_ns(timeframe), self.base.builder.step_ns
        if step > base or base % step:
            raise TimeframeError(
                f"{self.symbol}: bars of {self.base.timeframe} cannot be built from bars of {timeframe}; "
                f"ask for timeframe={timeframe!r} or a multiple of it"
            )
        self.source_timeframe = timeframe
        self.is_direct = timeframe == self.base.timeframe

    def put(self, seat: "Seat") -> None:
        """Give a strategy its seat at this symbol."""
        self.seats.append(seat)
        if seat.on_tick is not None or seat.tick_lane.close_updates:
            self.tick_seats.append(seat)
        if seat.on_quote is not None or seat.on_depth is not None:
            self.quote_seats.append(seat)

    def remove(self, owner: object) -> None:
        """Take a strategy's seat and lanes away."""
        for name in ("seats", "tick_seats", "quote_seats"):
            setattr(self, name, [seat for seat in getattr(self, name) if seat.desk is not owner])
        for series in (self.base, *self.higher.values()):
            series.lanes = [lane for lane in series.lanes if lane.owner is not owner]

    def series(self, timeframe: str | None) -> Series:
        """The series of a timeframe, None for the base; a new one is filled from the base's kept bars."""
        if timeframe is None or timeframe == self.base.timeframe:
            return self.base
        series = self.higher.get(timeframe)
        if series is None:
            check_multiple(timeframe, self.base.timeframe, self.symbol)
            series = self.higher[timeframe] = Series(self.symbol, timeframe)
            if len(self.base.kept) == KEPT_BARS:
                # The bars before are not there any more, so a bar that began with them would be a part of one.
                series.builder.whole_from_ns = self.base.kept[0].open_ns
            # Whoever moves most often moves last, and a crossing is that of the line which moved last.
            self.higher = dict(sorted(self.higher.items(), key=lambda item: -item[1].builder.step_ns))
            for bar in self.base.kept:
                for closed in self.raise_bar(series, bar):
                    series.kept.append(closed)
            self.find_due()
        return series

    def find_due(self) -> None:
        """Set :attr:`due_ns` anew, after a higher bar closed or began."""
        self.due_ns = min(series.builder.close_ns for series in self.higher.values())

    @staticmethod
    def raise_bar(series: Series, bar: Bar) -> list[Bar]:
        """Add a base bar to a higher series; return the bars that this closed, at most two.

        One of a time whose higher bar is closed already changes nothing.
        """
        builder = series.builder
        closed: list[Bar] = []
        if bar.open_ns < builder.open_ns:
            return closed
        before = builder.close_before(bar.open_ns)
        if before is not None:
            closed.append(before)
        builder.add_bar(bar)
        after = builder.close_before(bar.close_ns)
        if after is not None:
            closed.append(after)
        return closed
