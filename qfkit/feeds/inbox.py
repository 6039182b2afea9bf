"""Between the reader of a socket and whoever takes its events."""

import asyncio
from itertools import islice

from qfkit.core.events import Depth, MarketEvent, Quote

__all__ = ["Inbox"]


class Inbox:
    """A bounded queue of events. Under pressure a quote takes the place of the symbol's quote before it, and so does
    the depth of a book.

    Trades are never dropped: a reader that finds it full waits for room, and so does the sender
    behind the socket. ``wake`` is set while there is something to look at.
    """

    def __init__(self, capacity: int = 100_000, conflate_from: int = 10_000) -> None:
        self.wake = asyncio.Event()
        self.conflated = 0
        self._capacity = capacity
        self._conflate_from = conflate_from
        self._room = asyncio.Event()
        self._next_key = 0
        # By running number, because a replaced quote must leave the middle and keep the order.
        self._events: dict[int, MarketEvent] = {}
        self._newest_quotes: dict[tuple[type, str], int] = {}

    def __len__(self) -> int:
        return len(self._events)

    @property
    def is_full(self) -> bool:
        return len(self._events) >= self._capacity

    def put(self, event: MarketEvent) -> None:
        """Add an event; whoever adds many waits for room when it is full."""
        if type(event) is Quote or type(event) is Depth:
            key = (type(event), event.symbol)
            if len(self._events) >= self._conflate_from:
                older = self._newest_quotes.get(key, -1)
                self.conflated += self._events.pop(older, None) is not None
            self._newest_quotes[key] = self._next_key
        self._events[self._next_key] = event
        self._next_key += 1
        self.wake.set()

    async def wait_until(self, end_s: float) -> None:
        """Wait for something to look at, until a time of the loop's clock at the longest."""
        try:
            async with asyncio.timeout_at(end_s):
                await self.wake.wait()
        except TimeoutError:
            pass

    async def wait_for_room(self) -> None:
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def take(self, count: int) -> list[MarketEvent]:
        """The oldest events, at most ``count``; may be none."""
        if len(self._events) <= count:
            taken = list(self._events.values())
            self._events.clear()
            self.wake.clear()
        else:
            keys = list(islice(self._events, count))
            taken = [self._events.pop(key) for key in keys]
        self._room.set()
        return taken
