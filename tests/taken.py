"""What a feed gives while a test goes on."""

import asyncio
from contextlib import aclosing
from typing import Self

from qfkit.core.events import Gap, Tick
from qfkit.feeds.base import Feed


class Taken:
    """``async with Taken(feed) as taken:`` takes the feed's events; ``waits`` for it to be live first."""

    usual = "BTCUSDT"
    """The symbol that is meant where none is named."""

    def __init__(self, feed: Feed, *, waits: bool = True) -> None:
        self.feed = feed
        self.events: list = []
        self._waits = waits

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._take())
        if self._waits:
            await self.until(lambda: self.feed.state == "live")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.feed.stop()
        await asyncio.wait_for(self._task, 5)

    async def _take(self) -> None:
        async with aclosing(self.feed.events()) as batches:
            async for batch in batches:
                self.events += batch

    async def until(self, holds, timeout_s: float = 8.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not holds():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.005)

    def of(self, kind: type) -> list:
        return [event for event in self.events if type(event) is kind]

    def ticks(self, symbol: str | None = None) -> list[Tick]:
        wanted = self.usual if symbol is None else symbol
        return [tick for tick in self.of(Tick) if tick.symbol == wanted]

    def ids(self, symbol: str | None = None) -> list[int]:
        return [tick.trade_id for tick in self.ticks(symbol)]

    def prices(self, symbol: str | None = None) -> list[float]:
        return [tick.price for tick in self.ticks(symbol)]

    def gaps(self) -> list[Gap]:
        return self.of(Gap)

    def states(self) -> list[str]:
        return [state for _, state in self.feed.transitions]
