"""What happens when a bar closes: higher bars, indicators, then the strategies."""

from typing import TYPE_CHECKING

from qfkit.core.events import Bar
from qfkit.core.lanes import Series, Track
from qfkit.core.rebalancing import go_on

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["close_bar", "close_higher"]


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
        for series, closed in finished:
            _tell_followers(engine, track, series, closed)
        for series in track.higher.values():
            series.is_told = True


def _raise_higher(engine: "Engine", track: Track, bar: Bar) -> list[tuple[Series, Bar]]:
    """Close the higher bars that end before or with a base bar; return the latter."""
    for series in track.higher.values():
        series.forget_crossings()
    close_higher(engine, track, bar.open_ns)
    finished = [(series, up) for series in track.higher.values() for up in track.raise_bar(series, bar)]
    for series, closed in finished:
        series.feed(closed)
    return finished


def close_higher(engine: "Engine", track: Track, time_ns: int) -> None:
    """Close the higher bars whose end lies before the next base bar (or in a quiet market)."""
    for series in track.higher.values():
        bar = series.builder.close_before(time_ns)
        if bar is not None:
            series.feed(bar)
            _tell_followers(engine, track, series, bar)


def _tell_followers(engine: "Engine", track: Track, series: Series, bar: Bar) -> None:
    followers = [lane.owner for lane in series.lanes if lane.follows]
    for seat in track.seats:
        if seat.desk in followers and (seat.ready or seat.settle()):
            try:
                seat.on_bar(bar)
            except Exception as error:  # noqa: BLE001 - whatever a user's code raises stops that strategy, and is shown
                engine.fail(seat.desk, error, bar)
