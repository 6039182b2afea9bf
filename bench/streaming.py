"""qfkit's side of the streaming cases: ``python -m bench.streaming``; the server is :mod:`bench.flood`."""

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Any, ClassVar

import qfkit as qf
from bench.flood import SYMBOLS, Digest
from bench.work import CASH, FAST, SLOW
from bench.worker import serve
from qfkit.feeds.binance import BinanceFeed
from qfkit.feeds.link import Link

__all__: list[str] = []

# Less than a tenth of any trade: it fills at the next one, and no queue of orders builds up.
_SMALL = 0.01


class Crossover(qf.Strategy):
    """One unit while the fast average of closed bars is above the slow one."""

    fast = qf.Param(FAST, low=2)
    slow = qf.Param(SLOW, low=3)

    def setup(self) -> None:
        self.fast_average = self.indicator(qf.SMA, self.fast)
        self.slow_average = self.indicator(qf.SMA, self.slow)

    def on_bar(self, bar: qf.Bar) -> None:
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.buy(bar.symbol, quantity=1.0)
        elif fast.crossed_below(slow):
            self.close(bar.symbol)


class Decider(qf.Strategy):
    """An average of ticks, and an order at every so many of them; notes how old the tick was by then."""

    every = qf.Param(1, low=1)
    clock: ClassVar[Callable[[], int]]
    since_receipt_ms: ClassVar[list[float]]
    since_sent_ms: ClassVar[list[float]]

    def setup(self) -> None:
        self.average = self.indicator(qf.EMA, 50, timeframe="tick")
        self.seen = 0

    def on_tick(self, tick: qf.Tick) -> None:
        self.seen += 1
        if self.seen % self.every:
            return
        if self.seen // self.every % 2:
            self.buy(tick.symbol, quantity=_SMALL)
        else:
            self.sell(tick.symbol, quantity=_SMALL)
        self.since_receipt_ms.append((Decider.clock() - tick.received_ns) / 1e6)
        self.since_sent_ms.append((time.time_ns() - tick.time_ns) / 1e6)


class OnceFeed(BinanceFeed):
    """Ends when the server does, instead of connecting again; notes when the first frame came and when all was taken."""

    began_s = 0.0
    ended_s = 0.0

    def _connected(self, link: Link) -> None:
        self.began_s = time.perf_counter()
        super()._connected(link)

    def _lost(self, link: Link) -> None:
        self._spawn(self._run_out(), "end of the feed")

    async def _run_out(self) -> None:
        while len(self._inbox):  # noqa: ASYNC110 - what a taker leaves is told by nothing else
            await asyncio.sleep(0.0)
        self.ended_s = time.perf_counter()
        await self.stop()


def _feed(url: str) -> OnceFeed:
    return OnceFeed(SYMBOLS, quotes=False, stream_url=url)


def raw(url: str) -> dict[str, Any]:
    """What the library websockets receives by itself, undecoded."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async def receive() -> dict[str, Any]:
        count = 0
        # As a feed connects to this server.
        async with connect(f"{url}/stream", ping_interval=None, max_queue=1_024, proxy=None) as connection:
            await connection.recv(decode=False)
            start_s, used_s = time.perf_counter(), time.process_time()
            try:
                while True:
                    await connection.recv(decode=False)
                    count += 1
            except ConnectionClosed:
                seconds, used_s = time.perf_counter() - start_s, time.process_time() - used_s
                return {"seconds": seconds, "cpu_s": used_s, "count": count + 1}

    return asyncio.run(receive())


def parsed(url: str, check: bool = False) -> dict[str, Any]:
    """Received and parsed: a feed by itself."""

    async def receive() -> dict[str, Any]:
        feed, digest = _feed(url), Digest()
        count = 0
        async for batch in feed.events():
            for event in batch:
                if type(event) is qf.Tick:
                    count += 1
                    if check:
                        side, number = event.side == "sell", event.trade_id
                        digest.add(event.symbol, event.price, event.size, event.time_ns // 1_000_000, number, side)
        return {"seconds": feed.ended_s - feed.began_s, "count": count, "digest": digest.text}

    return asyncio.run(receive())


def session(url: str, count: int, check: bool = False) -> dict[str, Any]:
    """Decode, bars, strategy, risk, broker and journal, in one process; ``check`` replays the journal too."""
    with tempfile.TemporaryDirectory() as home:
        feed = _feed(url)
        risk = qf.RiskLimits(max_order_notional=1e6, max_gross_exposure=2.0)
        trading = qf.paper(Crossover(), feed, cash=CASH, timeframe="1s", name="flood", journal=home, risk=risk)
        used_s = time.process_time()
        trading.start().wait()
        used_s = time.process_time() - used_s
        fills, peak = trading.snapshot.fills_count, peak_mb()
        ticks = sum(one.events for one in feed.ledger.values())
        if ticks != count or trading.snapshot.events < count:
            raise RuntimeError(f"{ticks:,} of {count:,} trades reached the engine")
        verdict = trading.verify() if check else None
        if verdict is not None and not verdict:
            raise RuntimeError(f"the journal's replay differs: {verdict.text}")
        return {
            "seconds": feed.ended_s - feed.began_s,
            "cpu_s": used_s,
            "count": count,
            "fills": fills,
            "peak_mb": peak,
        }


def peak_mb() -> float:
    """The largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def latency(url: str, rate: float, seconds: float, every: int) -> dict[str, Any]:
    """From the receipt of a frame to the order it led to, in ms; and how much of the processor it took."""
    with tempfile.TemporaryDirectory() as home:
        feed = _feed(f"{url}/rate={rate:g}&seconds={seconds:g}")
        Decider.clock, Decider.since_receipt_ms, Decider.since_sent_ms = feed.now_ns, [], []
        trading = qf.paper(Decider(every=every), feed, cash=CASH, timeframe="1s", name="latency", journal=home)
        start_s, used_s = time.perf_counter(), time.process_time()
        trading.start().wait()
        spent_s, used_s = time.perf_counter() - start_s, time.process_time() - used_s
        events, orders = trading.snapshot.events, len(trading.orders)
    waits = Decider.since_receipt_ms
    if events < rate * seconds or orders != len(waits):
        raise RuntimeError(f"{events:,} events and {orders:,} orders of {rate * seconds:,.0f} and {len(waits):,}")
    cuts, sent_cuts = quantiles(waits, n=100), quantiles(Decider.since_sent_ms, n=100)
    return {
        "orders": orders,
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "most_ms": max(waits),
        "sent_p50_ms": sent_cuts[49],
        "sent_p99_ms": sent_cuts[98],
        "load": used_s / spent_s,
    }


if __name__ == "__main__":
    serve({"raw": raw, "parsed": parsed, "session": session, "latency": latency})
