"""A strategy's seat at one symbol: the hooks it hears events by, and what it still waits for."""

from qfkit.core.desk import Desk
from qfkit.core.indicators import Indicator
from qfkit.core.lanes import Lane, Track
from qfkit.core.strategy import Strategy

__all__ = ["Seat"]


class Seat:
    """Built when a symbol is first seen, and again when the strategy's code or parameters change.

    ``ready`` is whether every bar indicator of the symbol is; ``on_tick``, ``on_quote`` and
    ``on_depth`` are None where the strategy does not define them.
    """

    __slots__ = ("desk", "on_bar", "on_depth", "on_quote", "on_tick", "ready", "tick_lane", "waiting", "waiting_ticks")

    def __init__(self, desk: Desk, track: Track) -> None:
        strategy, kind = desk.strategy, type(desk.strategy)
        self.desk = desk
        self.on_bar = strategy.on_bar
        self.on_tick = strategy.on_tick if kind.on_tick is not Strategy.on_tick else None
        self.on_quote = strategy.on_quote if kind.on_quote is not Strategy.on_quote else None
        self.on_depth = strategy.on_depth if kind.on_depth is not Strategy.on_depth else None
        self.tick_lane = Lane(desk)
        self.waiting: list[Indicator] = []
        self.waiting_ticks: list[Indicator] = []
        for indicators in desk.sets:
            indicator = indicators.make(track.symbol)
            if indicators.timeframe == "tick":
                self.tick_lane.add(indicator, "close")
                self.waiting_ticks.append(indicator)
            else:
                track.series(indicators.timeframe).lane(desk).add(indicator, indicators.source)
                self.waiting.append(indicator)
        for timeframe in desk.follows:
            track.series(timeframe).lane(desk).follows = True
        for series in (track.base, *track.higher.values()):
            for lane in series.lanes:
                if lane.owner is desk:
                    for bar in series.kept:
                        lane.feed(bar)
        self.ready = False
        self.settle()

    def settle(self) -> bool:
        """Look again at which indicators are ready."""
        self.waiting = [indicator for indicator in self.waiting if not indicator.ready]
        self.ready = not self.waiting
        return self.ready

    def hear_price(self, price: float) -> bool:
        """Give a trade's price to the tick indicators; return whether ``on_tick`` may be called."""
        lane = self.tick_lane
        for update in lane.close_updates:
            update(price)
        for cross in lane.crosses:
            cross.step()
        if self.waiting_ticks:
            self.waiting_ticks = [indicator for indicator in self.waiting_ticks if not indicator.ready]
            return not self.waiting_ticks
        return True
