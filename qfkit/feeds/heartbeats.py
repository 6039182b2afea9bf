"""Heartbeats for recorded trades, as a live feed would have sent them."""

from collections.abc import Iterator

from qfkit.core.events import Heartbeat, MarketEvent, Tick
from qfkit.feeds.captures import BATCH, Portion

__all__ = ["with_heartbeats"]

_SECOND_NS = 1_000_000_000
_GRACE_NS = _SECOND_NS
_MOST_PER_GAP = 60
_UNKNOWN = -(2**63)


def with_heartbeats(portions: Iterator[Portion]) -> Iterator[Portion]:
    """Add heartbeats where no trade came for more than a second, so that bars close as they did live.

    They lie a second apart, or a sixtieth of a longer silence. A heartbeat bears the exchange's time
    as far as the trades so far tell: their least delay is taken as that of the line and the clocks,
    and a second is left to those still on their way. So no trade that came at most a second later
    than the quickest is made late, and none is that comes next. Before the first trade there is none.
    """
    offset_ns = _UNKNOWN
    last_ns = 0  # the last trade or heartbeat
    before_ns = 0  # the last event of any kind
    for batch, fraction in portions:
        made: list[MarketEvent] = []
        for event in batch:
            received_ns = event.received_ns
            if received_ns - last_ns > _SECOND_NS and offset_ns != _UNKNOWN:
                step_ns = max(_SECOND_NS, (received_ns - max(before_ns, last_ns)) // _MOST_PER_GAP)
                latest_ns = event.time_ns
                # Before a long silence of everything the steps were longer: never behind what came since.
                beat_ns = max(last_ns + step_ns, before_ns)
                while beat_ns < received_ns:
                    made.append(Heartbeat(min(beat_ns + offset_ns - _GRACE_NS, latest_ns), beat_ns))
                    last_ns = beat_ns
                    beat_ns += step_ns
            if type(event) is Tick:
                own_ns = event.time_ns - received_ns
                if own_ns > offset_ns:
                    offset_ns = own_ns
                if received_ns > last_ns:
                    last_ns = received_ns
            before_ns = received_ns
            made.append(event)
        for start in range(0, len(made), BATCH):
            yield made[start : start + BATCH], fraction
