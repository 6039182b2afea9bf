"""What a feed gave while it was recorded is what a replay gives, also where the recording was torn."""

import asyncio
import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from math import nan
from pathlib import Path
from typing import get_args

import pandas
import pytest

import qfkit as qf
from qfkit.core.events import (
    Bar,
    CorporateAction,
    Gap,
    Heartbeat,
    Hours,
    Instrument,
    MarketEvent,
    Quote,
    Tick,
)
from qfkit.errors import FeedError
from qfkit.feeds.base import Feed
from qfkit.feeds.recorder import Recorder
from qfkit.feeds.replay import ReplayFeed
from tests.servers.exchange import Exchange, ExchangeServer
from tests.support import START, tick

EVERY_KIND: list[MarketEvent] = [
    Instrument("A", START, 0.01, None, 0.1, None, "USD"),
    Hours("A", START, ((START, START + 10), (START + 20, START + 30)), "XNYS"),
    Tick("A", 100.25, nan, START + 1, START + 2, None, None, "yahoo", "stale"),
    Tick("A", 0.1 + 0.2, 1e-8, START + 1, START + 2, 2**62, "sell", None, "backfilled"),
    Quote("A", 99.0, 0.0, 101.0, 5.0, START + 3, START + 3, "binance"),
    Bar("A", "1m", 1.0, 2.0, 0.5, 1.5, 1e9, START, START + 60 * 10**9, None),
    Gap("A", START, START + 5, START + 6, 17, 'a reason, with "quotes" and\na break'),
    Gap("A", START, START + 5, START + 6),
    CorporateAction("A", START, START + 7, 4.0, 0.25),
    Heartbeat(START + 8, START + 9),
]


class Given(Feed):
    def __init__(self, *batches: list[MarketEvent]) -> None:
        super().__init__(["A"], label="given")
        self.batches = batches

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        for batch in self.batches:
            yield batch


async def taken(feed: Feed) -> list[MarketEvent]:
    return [event async for batch in feed.events() for event in batch]


def same(one: list[MarketEvent], other: list[MarketEvent]) -> bool:
    """Equal in every field, a NaN equal to a NaN."""
    return [repr(event) for event in one] == [repr(event) for event in other]


@pytest.mark.parametrize("where", ["folder", "address"])
async def test_every_kind_of_event_comes_back_as_it_was(tmp_path: Path, where: str) -> None:
    path = str(tmp_path / "recording") if where == "folder" else f"memory://{tmp_path.name}/recording"
    await taken(Given(EVERY_KIND[:4], EVERY_KIND[4:]).record(path))
    replay = ReplayFeed(path, speed=None)
    assert same(await taken(replay), EVERY_KIND)
    assert replay.symbols == ("A",)
    # Twice the same.
    assert same(await taken(ReplayFeed(path, speed=None)), EVERY_KIND)


async def test_pandas_reads_it_as_a_table(tmp_path: Path) -> None:
    await taken(Given(EVERY_KIND).record(str(tmp_path / "recording")))
    frame = pandas.read_parquet(tmp_path / "recording")
    assert list(frame["kind"]) == [str(type(event).__struct_config__.tag) for event in EVERY_KIND]
    assert frame["time"].dtype == "datetime64[ns, UTC]"
    assert frame["price"].iloc[3] == 0.1 + 0.2
    assert frame["time"].iloc[4].value == START + 3


async def test_a_live_feed_recorded_and_replayed(tmp_path: Path) -> None:
    path = tmp_path / "btc"
    async with ExchangeServer(Exchange(("BTCUSDT",))) as server:
        feed = qf.BinanceFeed(["BTCUSDT"], stream_url=server.url, rest_url=server.rest_url).record(str(path))
        seen: list[MarketEvent] = []

        async def take() -> None:
            async for batch in feed.events():
                seen.extend(batch)

        task = asyncio.create_task(take())
        while feed.state != "live":
            if feed.state == "connecting" and server.lines:
                await server.trade("BTCUSDT")
            await asyncio.sleep(0.02)
        for _ in range(200):
            await server.trade("BTCUSDT")
        while len(seen) < 400:
            await asyncio.sleep(0.01)
        await feed.stop()
        await task
    assert same(await taken(ReplayFeed(path, speed=None)), seen)
    # The raw frames alone give the same trades and quotes.
    raw = [
        event for event in await taken(ReplayFeed(path / "frames.gz", speed=None)) if isinstance(event, Tick | Quote)
    ]
    assert same(raw, [event for event in seen if isinstance(event, Tick | Quote)])


async def test_a_session_on_a_recording_replays_equal(tmp_path: Path) -> None:
    ticks: list[MarketEvent] = [tick(number, 100.0 + (number * 7) % 11) for number in range(2_000)]
    await taken(Given(ticks[:1_000], ticks[1_000:]).record(str(tmp_path / "recording")))
    feed = ReplayFeed(tmp_path / "recording", speed=None)
    session = qf.paper(qf.MovingAverageCrossover(fast=3, slow=8), feed, timeframe="5s").start()
    await asyncio.to_thread(session.wait, 20)
    assert session.snapshot.fills_count > 10
    assert session.verify()
    assert session.snapshot.events == 2_001


async def test_raw_frames_torn_anywhere_still_open(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path / "whole"), "binance")
    for number in range(300):
        data = f'{{"e":"trade","E":1,"s":"BTCUSDT","t":{number},"p":"1.5","q":"2.0","T":1700000000000,"m":true}}'
        recorder.frame(START + number, f'{{"stream":"btcusdt@trade",\n"data":{data}}}')
    recorder.close()
    whole = (tmp_path / "whole" / "frames.gz").read_bytes()
    assert len(gzip.decompress(whole).splitlines()) == 300
    opened = 0
    for cut in range(len(whole) // 3, len(whole), len(whole) // 12):
        path = tmp_path / f"torn-{cut}.gz"
        path.write_bytes(whole[:cut])
        feed = ReplayFeed(path, speed=None)
        ids = [event.trade_id for event in await taken(feed) if isinstance(event, Tick)]
        assert ids == list(range(len(ids))) and ids
        assert feed.rejected_count == 1
        assert "is cut off or damaged" in feed.take_rejected()[0].error
        opened += 1
    assert opened >= 7


async def test_a_damaged_part_is_told_and_the_others_are_given(tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    recorder = Recorder(str(folder), "given")
    for first in range(3):
        recorder.events([tick(first * 10 + number, 100.0) for number in range(10)])
        recorder._write_part()
    recorder.close()
    (folder / "events-00002.parquet").write_bytes((folder / "events-00002.parquet").read_bytes()[:500])
    feed = ReplayFeed(folder, speed=None)
    assert len(await taken(feed)) == 20
    assert feed.rejected_count == 1
    assert "events-00002.parquet is damaged" in feed.take_rejected()[0].error


async def test_a_folder_that_holds_a_recording_is_not_written_over(tmp_path: Path) -> None:
    await taken(Given(EVERY_KIND).record(str(tmp_path / "recording")))
    with pytest.raises(FeedError, match="holds a recording already: give another folder"):
        Given(EVERY_KIND).record(str(tmp_path / "recording"))


async def test_a_disk_that_is_full_ends_the_recording_and_not_the_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    feed = Given(EVERY_KIND[:4], EVERY_KIND[4:]).record(str(tmp_path / "recording"))

    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.pipe_file", full)
    assert same(await taken(feed), EVERY_KIND)
    assert feed._recorder is not None and feed._recorder.error is not None
    assert "has ended: [Errno 28] No space left on device; the feed goes on unrecorded" in caplog.text


_CHILD = """
import sys, time
from qfkit.feeds.recorder import Recorder
recorder = Recorder(sys.argv[1], "binance")
for number in range(10**9):
    data = '{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"1.5","q":"2.0","T":1700000000000,"m":true}' % number
    recorder.frame(1700000000000000000 + number, '{"stream":"btcusdt@trade","data":%s}' % data)
    time.sleep(0.001)
"""


async def test_a_process_that_is_killed_leaves_a_recording_that_plays(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(path)])
    frames = path / "frames.gz"
    end_s = time.monotonic() + 15
    while time.monotonic() < end_s and not (frames.exists() and frames.stat().st_size > 500):
        await asyncio.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    feed = ReplayFeed(path, speed=None)
    ids = [event.trade_id for event in await taken(feed) if isinstance(event, Tick)]
    assert len(ids) > 100 and ids == list(range(len(ids)))
    assert feed.rejected_count == 1


def test_all_kinds_of_market_events_are_tried_here() -> None:
    kinds = {type(event) for event in EVERY_KIND}
    assert kinds == set(get_args(MarketEvent))
