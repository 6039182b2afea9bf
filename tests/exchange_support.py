"""A feed of an exchange on the loopback, and what it gives, for several test modules."""

import asyncio
from contextlib import aclosing
from typing import Self

from qfkit.core.events import Gap, Tick
from qfkit.feeds.binance import BinanceFeed
from tests.servers.exchange import ExchangeServer

EAGER = {"backoff_s": 0.02, "stale_after_s": 1.5, "connect_timeout_s": 2.0}


def feed_of(server: ExchangeServer, *symbols: str, **options) -> BinanceFeed:
    names = symbols or tuple(server.exchange.markets)
    return BinanceFeed(names, stream_url=server.url, rest_url=server.rest_url, **(EAGER | options))


class Taken:
    """What a feed gives while a test goes on."""

    def __init__(self, feed: BinanceFeed) -> None:
        self.feed = feed
        self.events: list = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._take())
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
                await asyncio.sleep(0.01)

    def ticks(self, symbol: str = "BTCUSDT") -> list[Tick]:
        return [event for event in self.events if type(event) is Tick and event.symbol == symbol]

    def ids(self, symbol: str = "BTCUSDT") -> list[int]:
        return [tick.trade_id for tick in self.ticks(symbol)]

    def gaps(self) -> list[Gap]:
        return [event for event in self.events if type(event) is Gap]

    def states(self) -> list[str]:
        return [state for _, state in self.feed.transitions]


def facts(server: ExchangeServer, symbol: str = "BTCUSDT", first: int = 0) -> list[tuple]:
    """What the exchange had: number, price, size, time."""
    own = server.exchange.markets[symbol].aggregates
    return [(one.number, float(one.price), float(one.size), one.time_ms) for one in own if one.number >= first]


def seen(ticks: list[Tick]) -> list[tuple]:
    return [(tick.trade_id, tick.price, tick.size, tick.time_ns // 10**6) for tick in ticks]


async def trade(server: ExchangeServer, count: int, symbol: str = "BTCUSDT") -> None:
    for _ in range(count):
        await server.trade(symbol)
