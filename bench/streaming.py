"""qfkit's side of the streaming cases: ``python -m bench.streaming``; the server is :mod:`bench.flood`."""

import asyncio
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from statistics import quantiles
from typing import Any

import qfkit as qf
from bench.flood import SYMBOLS
from bench.work import CASH
from bench.worker import serve
from qfkit.core.events import MarketEvent
from qfkit.feeds.binance import BinanceFeed

__all__: list[str] = []


class Crossover(qf.Strategy):
    """The averages of one-second bars, as the README has it."""

    fast = qf.Param(10, low=2)
    slow = qf.Param(30, low=3)

    def setup(self) -> None:
        self.fast_average = self.indicator(qf.SMA, self.fast)
        self.slow_average = self.indicator(qf.SMA, self.slow)

    def on_bar(self, bar: qf.Bar) -> None:
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.order_target(bar.symbol, weight=0.05)
        elif fast.crossed_below(slow):
            self.close(bar.symbol)


class Decider(qf.Strategy):
    """Averages of ticks, and an order every so many; notes how long after its receipt a tick led to one."""

    every = qf.Param(20, low=1)

    def setup(self) -> None:
        self.average = self.indicator(qf.EMA, 50, timeframe="tick")
        self.seen = 0
        self.waits_ms: list[float] = []
        self.clock: Callable[[], int] = time.time_ns

    def on_tick(self, tick: qf.Tick) -> None:
        self.seen += 1
        if self.seen % self.every == 0:
            if self.seen // self.every % 2:
                self.buy(tick.symbol, quantity=1.0)
            else:
                self.sell(tick.symbol, quantity=1.0)
            self.waits_ms.append((self.clock() - tick.received_ns) / 1e6)


class OnceFeed(BinanceFeed):
    """Ends when the server does, instead of connecting again."""

    def _lost(self, link: Any) -> None:
        self._stopping.set()
        self._inbox.wake.set()


class SlowStart(OnceFeed):
    """Leaves out of the timing what comes before the first trade."""

    began_s = 0.0
    ended_s = 0.0

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        batches = super()._batches()
        try:
            async for batch in batches:
                self.began_s = self.began_s or time.perf_counter()
                yield batch
        finally:
            self.ended_s = time.perf_counter()
            await batches.aclose()  # type: ignore[attr-defined]


def raw(url: str) -> dict[str, Any]:
    """What the library websockets receives by itself, undecoded."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async def receive() -> tuple[float, int]:
        count = 0
        async with connect(f"{url}/stream", compression=None, ping_interval=None, proxy=None) as connection:
            start = time.perf_counter()
            try:
                while True:
                    await connection.recv(decode=False)
                    count += 1
            except ConnectionClosed:
                return time.perf_counter() - start, count

    seconds, count = asyncio.run(receive())
    return {"seconds": seconds, "count": count}


def parsed(url: str) -> dict[str, Any]:
    """Received and parsed: a feed by itself."""

    async def receive() -> dict[str, Any]:
        feed = OnceFeed(SYMBOLS, quotes=False, stream_url=url)
        count, start = 0, 0.0
        async for batch in feed.events():
            start = start or time.perf_counter()
            count += sum(type(event) is qf.Tick for event in batch)
        return {"seconds": time.perf_counter() - start, "count": count}

    return asyncio.run(receive())


def session(url: str, count: int) -> dict[str, Any]:
    """Decode, bars, strategy, risk, broker and journal, in one process."""
    with tempfile.TemporaryDirectory() as home:
        feed = SlowStart(SYMBOLS, quotes=False, stream_url=url)
        trading = qf.paper(
            Crossover(), feed, cash=CASH, timeframe="1s", name="flood", journal=home, risk=qf.RiskLimits()
        )
        trading.start().wait()
        ticks = trading.snapshot.events
        if ticks < count:
            raise RuntimeError(f"{ticks:,} of {count:,} events reached the engine")
        return {
            "seconds": feed.ended_s - feed.began_s,
            "count": count,
            "fills": trading.snapshot.fills_count,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def latency(url: str, rate: float, seconds: float) -> dict[str, Any]:
    """From the receipt of a frame to the order it led to, in ms; and the processor time of it all."""
    with tempfile.TemporaryDirectory() as home:
        feed = OnceFeed(SYMBOLS, quotes=False, stream_url=f"{url}/rate={rate:g}&seconds={seconds:g}")
        decider = Decider(every=max(1, round(rate / 100)))
        decider_class = type(decider)
        waits: list[float] = []
        decider_class.clock = staticmethod(feed.now_ns)  # type: ignore[assignment]
        trading = qf.paper(decider, feed, cash=CASH, timeframe="1s", name="latency", journal=home)
        strategy = next(iter(trading._pipeline.engine.desks.values())).strategy
        strategy.clock = feed.now_ns  # type: ignore[attr-defined]
        start_s, used_s = time.perf_counter(), time.process_time()
        trading.start().wait()
        spent_s, used_s = time.perf_counter() - start_s, time.process_time() - used_s
        waits = strategy.waits_ms  # type: ignore[attr-defined]
        cuts = quantiles(waits, n=1000)
        return {
            "orders": len(waits),
            "p50_ms": cuts[499],
            "p99_ms": cuts[989],
            "most_ms": max(waits),
            "cpu": used_s / spent_s,
            "events": trading.snapshot.events,
        }


if __name__ == "__main__":
    serve({"raw": raw, "parsed": parsed, "session": session, "latency": latency})
