"""History before a session: bars through the same path as live ones, with orders off."""

from operator import attrgetter
from typing import TYPE_CHECKING

from qfkit.core.closing import close_bar, close_due
from qfkit.core.events import Bar, WarmUp

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["warm_up"]


def warm_up(engine: "Engine", event: WarmUp) -> None:
    """Give closed bars of the past to indicators and strategies; what these order meanwhile is rejected.

    No fill, no equity point and no late event comes of it. A live bar of the same time as one of
    these, or a trade before the end of the last, counts as late. An ``unfinished`` bar is what the
    trades to come go on with: its volume and theirs may overlap by what was traded between.
    """
    engine.start()
    engine.is_warming = True
    try:
        for bar in sorted(event.bars, key=attrgetter("close_ns")):
            _take(engine, bar)
    finally:
        engine.is_warming = False
    for bar in event.unfinished:
        track = engine.track(bar.symbol, bar.timeframe)
        builder = track.base.builder
        if bar.open_ns >= builder.open_ns:
            builder.close_before(bar.open_ns)
            builder.add_bar(bar)
            track.market.see(bar.close, bar.open, event.received_ns)
    engine.advance(event.received_ns)
    engine.accounts.prices_known()
    engine.begin_equity()


def _take(engine: "Engine", bar: Bar) -> None:
    track = engine.track(bar.symbol, bar.timeframe)
    close_due(engine, track, bar)
    engine.advance(bar.close_ns)
    track.market.see(bar.close, bar.open, bar.close_ns)
    closed = [bar] if bar.timeframe == track.base.timeframe else track.raise_bar(track.base, bar)
    if bar.timeframe == track.base.timeframe:
        track.base.builder.close_before(bar.close_ns)
    track.closed_until_ns = max(track.closed_until_ns, bar.close_ns)
    for one in closed:
        close_bar(engine, track, one)
