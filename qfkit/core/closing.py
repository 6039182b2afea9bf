"""What happens when a bar closes: higher bars, indicators, then the strategies.

The rules of several timeframes:

- **When a higher bar closes.** With the base bar that ends when it does. Where its last minutes had no
  trade (a halt, a half day, a night) it closes with the first tick or heartbeat at or past its end, or
  where bars come in, before the first one that opens then: at its own end on the clock, with the prices
  of before, so that an order decided on it is in time for that open. With the hours of a market known,
  a heartbeat closes it too as soon as no bar of it can come any more.
- **What there is.** An interval without a base bar has no higher bar. One that is not over is never
  told, not at the end of a run either.
- **Order.** Of all that ends at one moment the indicators are fed first, from the largest timeframe
  down; then ``on_bar`` hears of the base bar, then of the higher ones, from the smallest up. What closes
  late is told before the base bar that comes after it, one end after the other.
"""

from typing import TYPE_CHECKING

from qfkit.core.events import Bar
from qfkit.core.lanes import Series, Track
from qfkit.core.rebalancing import go_on

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["close_bar", "close_due", "close_higher", "close_over"]


def close_bar(engine: "Engine", track: Track, bar: Bar) -> None:
    """A base bar closed: higher bars, indicators, then the strategies."""
    if engine.pending:
        engine.steering.apply()
    if engine.rebalancing:
        for desk in engine.rebalancing[:]:
            go_on(desk)
    engine.keep_bar(bar)
    base = track.base
    base.kept.append(bar)
    activity = track.market.activity
    if activity is not None:
        activity.add(bar)
    finished = _raise_higher(engine, track, bar) if track.higher else ()
    for lane in base.lanes:
        lane.feed(bar)
    for seat in track.seats:
        if seat.ready or seat.settle():
            try:
                seat.on_bar(bar)
            except Exception as error:  # noqa: BLE001 - whatever a user's code raises stops that strategy, and is shown
                engine.fail(seat.desk, error, bar)
    if track.higher:
        for series, closed in reversed(finished):
            _tell_followers(engine, track, series, closed)
        for series in track.higher.values():
            series.tell()


def _raise_higher(engine: "Engine", track: Track, bar: Bar) -> list[tuple[Series, Bar]]:
    """Close the higher bars that end with a base bar, and feed their indicators."""
    finished: list[tuple[Series, Bar]] = []
    is_moved = False
    for series in track.higher.values():
        series.forget_crossings()
        builder = series.builder
        if builder.open_ns <= bar.open_ns and bar.close_ns < builder.close_ns:
            builder.add_bar(bar)
        else:
            is_moved = True
            finished += [(series, up) for up in track.raise_bar(series, bar)]
    if is_moved:
        track.find_due()
        for series, closed in finished:
            series.feed(closed)
    return finished


def close_due(engine: "Engine", track: Track, next_bar: Bar) -> None:
    """Where bars come in: close, before the next one is looked at, what had ended when it opened."""
    time_ns = next_bar.open_ns
    if next_bar.timeframe != track.base.timeframe:
        bar = track.base.builder.close_before(time_ns)
        if bar is not None:
            engine.advance(bar.close_ns)
            close_bar(engine, track, bar)
    if time_ns >= track.due_ns:
        close_higher(engine, track, time_ns, moves_clock=True)


def close_over(engine: "Engine", track: Track, time_ns: int) -> None:
    """Where bars come in: close what has ended by a heartbeat, and no bar can be added to as the market is closed."""
    hours = track.market.hours
    if hours is None:
        return
    last_ns = track.market.time_ns

    def is_over(series: Series) -> bool:
        builder = series.builder
        end_ns = builder.close_ns
        return end_ns <= time_ns and builder.volume != -1.0 and not hours.overlaps(last_ns, end_ns)

    base = track.base
    if not track.is_direct and is_over(base):
        # No further than its own end: bars of the next session may have been and not come yet.
        bar = base.builder.close_before(base.builder.close_ns)
        if bar is not None:
            track.closed_until_ns = max(track.closed_until_ns, bar.close_ns)
            close_bar(engine, track, bar)
    ended = [(series, series.builder.close_ns) for series in track.higher.values() if is_over(series)]
    if ended:
        _close(engine, track, ended)


def close_higher(engine: "Engine", track: Track, time_ns: int, *, moves_clock: bool = False) -> None:
    """Close the higher bars that have ended by a time."""
    ended = [(series, time_ns) for series in track.higher.values() if time_ns >= series.builder.close_ns]
    _close(engine, track, ended, moves_clock=moves_clock)


def _close(engine: "Engine", track: Track, ended: list[tuple[Series, int]], *, moves_clock: bool = False) -> None:
    for series in track.higher.values():
        series.forget_crossings()
    for end_ns in sorted({series.builder.close_ns for series, _ in ended}):
        closed = []
        for series, time_ns in ended:
            if series.builder.close_ns == end_ns:
                bar = series.builder.close_before(time_ns)
                if bar is not None:
                    series.feed(bar)
                    closed.append((series, bar))
        track.find_due()
        if closed and moves_clock:
            engine.advance(end_ns)
        for series, bar in reversed(closed):
            _tell_followers(engine, track, series, bar)
            for lane in series.lanes:
                if lane.follows:
                    for cross in lane.crosses:
                        cross.note()


def _tell_followers(engine: "Engine", track: Track, series: Series, bar: Bar) -> None:
    followers = [lane.owner for lane in series.lanes if lane.follows]
    for seat in track.seats:
        if seat.desk in followers and (seat.ready or seat.settle()):
            try:
                seat.on_bar(bar)
            except Exception as error:  # noqa: BLE001 - whatever a user's code raises stops that strategy, and is shown
                engine.fail(seat.desk, error, bar)
