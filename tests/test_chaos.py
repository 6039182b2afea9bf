"""A session on an exchange where everything goes wrong, several times a minute: no trade is lost, doubled or moved.

QFKIT_SOAK_SECONDS is the length (600 for ten minutes), QFKIT_SOAK_SEED repeats a run.
"""

import asyncio
import gc
import os
import random
import threading
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

import qfkit as qf
from qfkit.core.events import Gap, Tick
from qfkit.feeds.binance import BinanceFeed
from qfkit.journal.reader import JournalReader
from qfkit.strategies import MovingAverageCrossover
from tests.servers.chaos import Chaos
from tests.servers.exchange import Aggregate, Exchange, ExchangeServer

SECONDS = float(os.environ.get("QFKIT_SOAK_SECONDS", "45"))
SEED = int(os.environ.get("QFKIT_SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
EVERY_S = min(2.5, SECONDS / 30)
SYMBOLS = ("BTCUSDT", "ETHUSDT", *(f"S{number:02d}USDT" for number in range(10)))
SELDOM = {"S08USDT", "S09USDT"}
MOST_GROWTH = 1_000_000


def sockets() -> int:
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except FileNotFoundError:
            continue  # the listing's own
    return sum(link.startswith("socket:") for link in links)


def threads() -> list[str]:
    """Without the helpers of asyncio, which keeps them for later use."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))


async def tasks_of_the_runner() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def memory_of_feeds() -> int:
    """The bytes that code of feeds has allocated and that are still in use."""
    gc.collect()
    here = tracemalloc.Filter(True, f"{Path(qf.__file__).parent / 'feeds'}/*")
    return sum(one.size for one in tracemalloc.take_snapshot().filter_traces([here]).statistics("filename"))


async def until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"within {seconds:g} s it was not so: {what} (seed {SEED})")


def check_symbol(symbol: str, events: list[Tick | Gap], had: dict[int, Aggregate], lost: set[int]) -> tuple[int, int]:
    """Every trade from the first on, once, in order, as it was; the others in the gaps. Returns both counts."""
    last: Aggregate | None = None
    gap: Gap | None = None
    ticks = missing = 0
    for event in events:
        if type(event) is Gap:
            assert gap is None, f"two gaps at one place: {gap} {event}"
            gap = event
            continue
        ticks += 1
        one = had[event.trade_id]
        side = "sell" if one.maker else "buy"
        told = (event.price, event.size, event.time_ns, event.side)
        assert told == (float(one.price), float(one.size), one.time_ms * 10**6, side)
        absent = range(one.number if last is None else last.number + 1, one.number)
        assert (gap is None) == (not absent), f"{symbol}: {list(absent)} absent, and told of it: {gap}"
        if gap is not None:
            assert last is not None
            assert (gap.missing, gap.start_ns, gap.end_ns) == (len(absent), last.time_ms * 10**6, one.time_ms * 10**6)
            assert f"from number {absent[0]} on" in gap.reason
            assert "could not be fetched" in gap.reason or set(absent) <= lost, f"{gap}: the archive has some of them"
            missing += len(absent)
        last, gap = one, None
    assert gap is None, f"a gap with nothing behind it: {gap}"
    assert last is not None and last.number == max(had), f"{symbol}: the last trades did not come"
    return ticks, missing


@pytest.mark.timeout(SECONDS * 1.5 + 90)
async def test_a_session_on_a_broken_exchange_has_every_trade_once_or_a_gap(tmp_path: Path) -> None:
    print(f"seed {SEED}, {SECONDS:g} s")
    exchange = Exchange(SYMBOLS, seed=SEED)
    assert qf.run(tasks_of_the_runner()) == []
    async with ExchangeServer(exchange, rate_per_s=150) as server:
        server.weight_limit = 10**9
        server.seldom = SELDOM
        before = (sockets(), threads())
        feed = BinanceFeed(
            SYMBOLS,
            stream_url=server.url,
            rest_url=server.rest_url,
            stale_after_s=1.5,
            symbol_stale_after_s=2.0,
            longest_s=20.0,
            backoff_s=0.05,
            longest_backoff_s=0.5,
            attempts_per_5_min=3_000,
            streams_per_connection=9,
        )
        strategy = MovingAverageCrossover(fast=2, slow=5, weight=0.05)
        session = qf.paper(strategy, feed, timeframe="1s", name=f"chaos {SEED}", journal=tmp_path / "chaos.qfkit")
        session.start()
        await until(lambda: all(one.events for one in feed.ledger.values()), 10, "each symbol has traded")

        chaos = Chaos(server, seed=SEED, every_s=EVERY_S)
        await chaos.run(SECONDS * 0.4)
        tracemalloc.start()
        await chaos.run(SECONDS * 0.1)
        early = memory_of_feeds()
        await chaos.run(SECONDS * 0.5)
        await until(lambda: feed.state == "live", 15, f"the feed is live again, not {feed.state}")
        late = memory_of_feeds()
        tracemalloc.stop()

        server.rate_per_s = 0.0
        for symbol in SYMBOLS:
            await server.trade(symbol)
        ids = {symbol: market.aggregates[-1].number for symbol, market in exchange.markets.items()}
        await until(
            lambda: all(feed._lines[symbol].place == number for symbol, number in ids.items()), 15, "the last is there"
        )
        await until(lambda: feed.state == "live" and not feed._inbox, 5, "all of it was taken")
        health, view = feed.health, feed.view()
        await asyncio.to_thread(session.stop)
        assert session.error is None
        await until(lambda: (sockets(), threads()) == before, 5, "no socket and no thread is left")
        assert qf.run(tasks_of_the_runner()) == []

    print(f"{len(chaos.done)} faults, {view.reconnects} reconnects, {late - early:+,} bytes\n{health.T.to_string()}")
    verdict = await asyncio.to_thread(session.verify)
    assert verdict, verdict

    events: dict[str, list] = defaultdict(list)
    received = []
    with JournalReader(session.journal_path) as reader:
        for batch in reader.events():
            received += [event.received_ns for event in batch]
            for event in batch:
                if type(event) in (Tick, Gap):
                    events[event.symbol].append(event)
    assert received == sorted(received)
    for symbol in SYMBOLS:
        had = {one.number: one for one in exchange.markets[symbol].aggregates}
        lost = {number for owner, number in exchange.lost_for_good if owner == symbol}
        ticks, missing = check_symbol(symbol, events[symbol], had, lost)
        row = health.loc[symbol]
        assert ticks == sum(type(event) is Tick for event in events[symbol])
        assert row.missing == missing
        gaps = sum(type(event) is Gap for event in events[symbol])
        assert 0 <= row.gaps_open <= gaps and (row.gaps_open > 0) == (gaps > 0)
        assert row.gaps_found == row.gaps_filled + row.gaps_open
        assert row.connects > SECONDS / 20 and row.reconnects == row.connects - 1
        assert 0.2 < row.uptime < 1.0
    done = set(chaos.done)
    assert health.gaps_filled.sum() > 0
    assert health.duplicates.sum() > 0 or not {"repeat", "everything", "notice"} & done
    assert health.missing.sum() > 0 or not {"loss", "everything"} & done
    assert health.rejected.sum() > 0 or "rubbish" not in done
    assert health.stale_s.sum() > 1.0 or not {"silence", "stall"} & done
    assert all(health.lag_p50_ms > 0.0) and all(health.lag_p50_ms <= health.lag_p99_ms)
    assert late - early < MOST_GROWTH, f"{late - early:,} bytes more in use by the feed after {SECONDS * 0.5:g} s"
