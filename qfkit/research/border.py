"""The border of a run over events: what comes in is checked, and remembered of what kind it was."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from operator import attrgetter

from qfkit.core.events import Bar, Depth, Event, Quote, Tick, check_event
from qfkit.core.wording import utc_time
from qfkit.errors import BadEventError

__all__ = ["Border"]

_received_ns = attrgetter("received_ns")


class Border:
    """Checks events on their way in, and remembers what kind they were."""

    def __init__(self, kind: str) -> None:
        self.first_ns: int | None = None
        self.timeframe: str | None = None
        self._ordered = kind == "events"
        self._last_ns = 0
        self._opens: dict[str, int] = {}
        self._count = 0

    def checked(self, batches: Iterable[list[Event]]) -> Iterator[list[Event]]:
        for batch in batches:
            for event in batch:
                check_event(event)
            if batch and self.first_ns is None:
                self._look(batch)
            if self._ordered:
                self._check_order(batch)
            yield batch

    def _look(self, batch: list[Event]) -> None:
        for event in batch:
            if isinstance(event, Bar):
                self.first_ns, self.timeframe = event.time_ns, event.timeframe
                return
            if isinstance(event, Tick | Quote | Depth) and self.first_ns is None:
                self.first_ns = event.time_ns

    def _check_order(self, batch: list[Event]) -> None:
        times_ns = [self._last_ns, *map(_received_ns, batch)]
        # Sorted is the rule, and found out without a step of Python's own for each event.
        if times_ns != sorted(times_ns):
            place = next(place for place, (one, other) in enumerate(pairwise(times_ns)) if other < one)
            raise BadEventError(
                f"event {self._count + place} was received at {times_ns[place + 1]}, before the one ahead of it at "
                f"{times_ns[place]}: sort them with events.sort(key=lambda event: event.received_ns)"
            )
        if self.timeframe is not None:
            self._check_bars(batch)
        self._last_ns = times_ns[-1]
        self._count += len(batch)

    def _check_bars(self, batch: list[Event]) -> None:
        for number, event in enumerate(batch, self._count):
            if isinstance(event, Bar):
                if event.open_ns <= self._opens.get(event.symbol, -1):
                    raise BadEventError(
                        f"event {number}: the bar of {event.symbol} that opened at {utc_time(event.open_ns)} UTC does not "
                        "open after the one before it: leave out what is there twice"
                    )
                self._opens[event.symbol] = event.open_ns
