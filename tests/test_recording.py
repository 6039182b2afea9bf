"""What a feed gave while it was recorded is what a replay gives, also where the recording was torn."""

import asyncio
import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from math import nan
from pathlib import Path
from typing import Any, get_args

import duckdb
import pandas
import pytest
from fsspec.implementations.local import LocalFileSystem
from pyarrow import parquet

import qfkit as qf
from qfkit.core.events import (
    Bar,
    CorporateAction,
    Depth,
    Gap,
    Heartbeat,
    Hours,
    Instrument,
    MarketEvent,
    Quote,
    Tick,
)
from qfkit.errors import FeedError, FrameError
from qfkit.feeds.base import Feed
from qfkit.feeds.recorder import Recorder
from qfkit.feeds.replay import ReplayFeed, open_recording
from tests.servers.binance import BinanceServer, frames_of_capture
from tests.servers.exchange import Exchange, ExchangeServer
from tests.support import SECOND, START, tick

EVERY_KIND: list[MarketEvent] = [
    Instrument("A", START, 0.01, None, 0.1, None, "USD"),
    Hours("A", START, ((START, START + 10), (START + 20, START + 30)), "XNYS"),
    Tick("A", 100.25, nan, START + 1, START + 2, None, None, "yahoo", "stale"),
    Tick("A", 0.1 + 0.2, 1e-8, START + 1, START + 2, 2**62, "sell", None, "backfilled"),
    Quote("A", 99.0, 0.0, 101.0, 5.0, START + 3, START + 3, "binance"),
    Depth("A", ((99.0, 0.1), (98.5, 2.0)), ((101.0, 1e-8),), START + 3, START + 4, "binance"),
    Depth("A", (), (), START + 4, START + 4),
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


async def test_a_recording_of_before_a_kind_was_known_is_read(tmp_path: Path) -> None:
    kept = [event for event in EVERY_KIND if type(event) is not Depth]
    await taken(Given(kept).record(str(tmp_path / "new")))
    (part,) = (tmp_path / "new").glob("*.parquet")
    table = parquet.read_table(part)
    parquet.write_table(table.drop_columns(["bids", "asks"]), part)
    assert same(await taken(ReplayFeed(tmp_path / "new", speed=None)), kept)


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
        event for event in await taken(ReplayFeed(path / "_frames.gz", speed=None)) if isinstance(event, Tick | Quote)
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
    whole = (tmp_path / "whole" / "_frames.gz").read_bytes()
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


def names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def in_parts(folder: Path | str, parts: int, monkeypatch: pytest.MonkeyPatch) -> list[MarketEvent]:
    """A recording in parts of ten ticks, and what it holds."""
    monkeypatch.setattr("qfkit.feeds.recorder._PART_EVENTS", 10)
    monkeypatch.setattr("qfkit.feeds.parquet_events._SLICE", 10)
    events: list[MarketEvent] = [tick(number, 100.0 + number) for number in range(10 * parts)]
    recorder = Recorder(str(folder), "given")
    recorder.events(events)
    recorder.close()
    assert recorder.error is None
    return events


async def test_many_parts_come_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = in_parts(tmp_path / "recording", 12, monkeypatch)
    assert names_in(tmp_path / "recording") == [f"events-{number:05d}.parquet" for number in range(1, 13)]
    assert await taken(ReplayFeed(tmp_path / "recording", speed=None)) == events
    assert len(pandas.read_parquet(tmp_path / "recording")) == 120
    feed = ReplayFeed(tmp_path / "recording" / "events-00003.parquet", speed=None)
    assert await taken(feed) == events[20:30]
    result = qf.backtest(
        qf.MovingAverageCrossover(fast=2, slow=5), tmp_path / "recording", timeframe="1s", progress=False
    )
    assert len(result.equity) > 100


async def test_a_damaged_part_is_told_and_leaves_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "recording"
    events = in_parts(folder, 3, monkeypatch)
    (folder / "events-00002.parquet").write_bytes((folder / "events-00002.parquet").read_bytes()[:500])
    feed = ReplayFeed(folder, speed=None)
    replayed = await taken(feed)
    gap = Gap("A", START + 9 * SECOND, START + 20 * SECOND, START + 20 * SECOND, None, replayed[10].reason)
    assert replayed == [*events[:10], gap, *events[20:]]
    assert "events-00002.parquet of the recording cannot be read" in gap.reason
    assert feed.rejected_count == 1
    assert "events-00002.parquet is damaged" in feed.take_rejected()[0].error
    assert "events-00002.parquet is damaged" in caplog.text
    # With nobody to tell it is an error.
    with pytest.raises(FrameError, match="events-00002.parquet is damaged"):
        list(open_recording(folder).batches())


async def test_one_part_is_a_recording_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    await taken(Given(EVERY_KIND).record(str(tmp_path / "recording")))
    part = tmp_path / "recording" / "events-00001.parquet"
    assert same(await taken(ReplayFeed(part, speed=None)), EVERY_KIND)
    (tmp_path / "renamed").write_bytes(part.read_bytes())
    assert same(await taken(ReplayFeed(tmp_path / "renamed", speed=None)), EVERY_KIND)
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(FrameError, match="cannot be read as Parquet"):
        ReplayFeed(part)


async def test_the_events_of_no_part_yet_torn_anywhere_still_open(tmp_path: Path) -> None:
    """A process that is killed leaves its last events in a stream of pieces."""
    events: list[MarketEvent] = [tick(number, 100.0 + number) for number in range(600)]
    recorder = Recorder(str(tmp_path / "recording"), "given")
    recorder.events(events)
    tail = tmp_path / "recording" / "_events-00001.arrows"
    async with asyncio.timeout(8):
        # All three pieces, and not the first of them with a part of the second.
        while True:
            await asyncio.sleep(0.02)
            # Before the first piece there is nothing that could be opened.
            with suppress(FrameError):
                if await taken(ReplayFeed(tail.parent, speed=None)) == events:
                    break
    whole = tail.read_bytes()
    recorder.close()
    assert not tail.exists()
    lengths = set()
    for cut in [*range(len(whole) // 2, len(whole), len(whole) // 23), len(whole)]:
        folder = tmp_path / f"torn-{cut}"
        folder.mkdir()
        (folder / "_events-00001.arrows").write_bytes(whole[:cut])
        feed = ReplayFeed(folder, speed=None)
        replayed = await taken(feed)
        assert replayed == events[: len(replayed)]
        assert feed.rejected_count <= 1
        assert sum(map(len, open_recording(folder).batches())) == len(replayed)
        lengths.add(len(replayed))
    assert {256, 512, 600} <= lengths


async def test_raw_frames_beside_the_parts_hinder_no_reader_of_tables(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path / "recording"), "binance")
    recorder.frame(START, b"{}")
    recorder.events(EVERY_KIND)
    recorder.close()
    assert names_in(tmp_path / "recording") == ["_frames.gz", "events-00001.parquet"]
    assert len(pandas.read_parquet(tmp_path / "recording")) == len(EVERY_KIND)
    found = duckdb.sql(f"select kind, count(*) from '{tmp_path}/recording/*.parquet' group by kind").fetchall()
    assert dict(found)["tick"] == 2


async def test_what_no_table_holds_is_left_out_and_counted(tmp_path: Path) -> None:
    """A time beyond 64 bits off the wire: whoever checks the events rejects it, and nothing may stop for it."""
    impossible = Tick("A", 1.0, 1.0, 10**24, START)
    feed = Given([*EVERY_KIND[:3], impossible, *EVERY_KIND[3:]]).record(str(tmp_path / "recording"))
    assert len(await taken(feed)) == len(EVERY_KIND) + 1
    assert feed._recorder is not None and feed._recorder.unfit == 1 and feed._recorder.error is None
    assert same(await taken(ReplayFeed(tmp_path / "recording", speed=None)), EVERY_KIND)


async def test_a_feed_that_is_run_again_goes_on_with_its_recording(tmp_path: Path) -> None:
    feed = Given(EVERY_KIND).record(str(tmp_path / "recording"))
    assert feed._recorder is not None
    feed._recorder.frame(START, b"{}")
    await taken(feed)
    # A reader of a socket that is being cancelled may still have one.
    feed._recorder.frame(START, b"{}")
    assert feed._recorder._thread is None
    await taken(feed)
    assert same(await taken(ReplayFeed(tmp_path / "recording", speed=None)), EVERY_KIND * 2)
    assert len(gzip.decompress((tmp_path / "recording" / "_frames.gz").read_bytes()).splitlines()) == 2


async def test_an_address_has_its_raw_frames_in_parts_too(tmp_path: Path) -> None:
    path = f"memory://{tmp_path.name}/frames"
    recorder = Recorder(path, "binance")
    for number in range(10):
        data = f'{{"e":"trade","E":1,"s":"BTCUSDT","t":{number},"p":"1.5","q":"2.0","T":1700000000000,"m":true}}'
        recorder.frame(START + number, f'{{"stream":"btcusdt@trade","data":{data}}}')
    recorder.events([tick(0, 1.0)])
    recorder.close()
    assert await taken(ReplayFeed(path, speed=None)) == [tick(0, 1.0)]
    replay = ReplayFeed(f"{path}/_frames-00001.gz", speed=None)
    assert [event.trade_id for event in await taken(replay) if isinstance(event, Tick)] == list(range(10))
    with pytest.raises(FeedError, match="holds a recording already"):
        Recorder(path, "binance")


async def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(FrameError) as raised:
        Recorder("nosuch://me:secret@host/folder", "binance")
    assert "nosuch://…@host/folder" in str(raised.value) and "secret" not in str(raised.value)
    with pytest.raises(FrameError) as raised:
        ReplayFeed("nosuch://me:secret@host/folder")
    assert "secret" not in str(raised.value)
    recorder = Recorder("memory://me:secret@host/folder", "hand")
    recorder.events([tick(0, 1.0)])
    recorder.close()
    feed = ReplayFeed("memory://me:secret@host/folder", speed=None)
    assert await taken(feed) == [tick(0, 1.0)]
    assert "secret" not in repr(feed) and "secret" not in feed.label
    # What stands in a journal: such a feed has to be given again.
    assert feed.recipe() is None


async def test_a_slow_disk_does_not_hold_up_the_feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = LocalFileSystem.pipe_file

    def slow(*arguments: Any, **named: Any) -> None:
        time.sleep(1.0)
        written(*arguments, **named)

    monkeypatch.setattr(LocalFileSystem, "pipe_file", slow)
    monkeypatch.setattr("qfkit.feeds.recorder._PART_EVENTS", 1_000)
    recorder = Recorder(str(tmp_path / "recording"), "given")
    longest_s = 0.0
    for number in range(100):
        began_s = time.perf_counter()
        recorder.events([tick(100 * number + place, 1.0) for place in range(100)])
        longest_s = max(longest_s, time.perf_counter() - began_s)
        await asyncio.sleep(0.005)
    assert longest_s < 0.2
    monkeypatch.setattr(LocalFileSystem, "pipe_file", written)
    recorder.close()
    assert len(await taken(ReplayFeed(tmp_path / "recording", speed=None))) == 10_000


async def test_the_real_stream_recorded_off_a_socket(tmp_path: Path, capture_path: Path) -> None:
    frames = frames_of_capture(capture_path)[:6_000]
    path = tmp_path / "recording"
    seen: list[MarketEvent] = []
    async with BinanceServer(frames) as server:
        feed = qf.BinanceFeed(["BTCUSDT"], trades="single", stream_url=server.url).record(str(path))
        expected = sum(frame.stream in ("btcusdt@trade", "btcusdt@bookTicker") for frame in frames)
        async with asyncio.timeout(15), aclosing(feed.events()) as batches:
            async for batch in batches:
                seen += batch
                if sum(isinstance(event, Tick | Quote) for event in seen) >= expected:
                    break
    assert same(await taken(ReplayFeed(path, speed=None)), seen)
    raw = await taken(ReplayFeed(path / "_frames.gz", speed=None))
    assert same(
        [event for event in raw if isinstance(event, Tick | Quote)],
        [event for event in seen if isinstance(event, Tick | Quote)],
    )


async def test_a_folder_that_holds_a_recording_is_not_written_over(tmp_path: Path) -> None:
    await taken(Given(EVERY_KIND).record(str(tmp_path / "recording")))
    with pytest.raises(FeedError, match="holds a recording already: give another folder"):
        Given(EVERY_KIND).record(str(tmp_path / "recording"))


async def test_a_disk_that_is_full_ends_the_recording_and_not_the_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    feed = Given(EVERY_KIND[:4], EVERY_KIND[4:])
    feed._recorder = Recorder(str(tmp_path / "recording"), "given", told.append)

    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, "pipe_file", full)
    assert same(await taken(feed), EVERY_KIND)
    assert isinstance(feed._recorder.error, OSError)
    assert "has ended: [Errno 28] No space left on device; the feed goes on unrecorded" in caplog.text
    assert told == [f"the recording to {tmp_path}/recording has ended: [Errno 28] No space left on device"]
    # What was there is there: the events that became no part.
    assert same(await taken(ReplayFeed(tmp_path / "recording", speed=None)), EVERY_KIND)


_LIMITED = """
import resource, sys, time
from qfkit.core.events import Tick
from qfkit.feeds.recorder import Recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
told = []
recorder = Recorder(sys.argv[1], "binance", told.append)
number = 0
while not told:
    recorder.frame(number, "a frame without any sense " * 100)
    recorder.events([Tick("A", 1.0 + number % 7, 1.0, 10**18 + number, 10**18 + number)])
    number += 1
    time.sleep(0.0005)
recorder.events([Tick("A", 1.0, 1.0, 1, 1)])
recorder.close()
print(type(recorder.error).__name__, len(told))
"""


async def test_a_limit_of_the_system_ends_a_recording_that_opens(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LIMITED, str(tmp_path / "recording"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, error = await asyncio.wait_for(child.communicate(), 30)
    assert out == b"OSError 1\n", error
    assert error.count(b"File too large") == 1
    events = await taken(ReplayFeed(tmp_path / "recording", speed=None))
    assert len(events) > 256 and [event.time_ns - 10**18 for event in events] == list(range(len(events)))


_CHILD = """
import sys, time
from qfkit.core.events import Tick
from qfkit.feeds.recorder import Recorder
recorder = Recorder(sys.argv[1], "binance")
for number in range(10**9):
    if len(sys.argv) > 2:
        recorder.events([Tick("A", 1.0, 1.0, 10**18 + number, 10**18 + number)])
    data = '{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"1.5","q":"2.0","T":1700000000000,"m":true}' % number
    recorder.frame(1700000000000000000 + number, '{"stream":"btcusdt@trade","data":%s}' % data)
    time.sleep(0.001)
"""


@pytest.mark.parametrize("what", ["frames", "events"])
async def test_a_process_that_is_killed_leaves_a_recording_that_plays(tmp_path: Path, what: str) -> None:
    path = tmp_path / "recording"
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(path), *(["events"] if what == "events" else [])])
    written = path / ("_events-00001.arrows" if what == "events" else "_frames.gz")
    end_s = time.monotonic() + 15
    while time.monotonic() < end_s and not (written.exists() and written.stat().st_size > 500):
        await asyncio.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    feed = ReplayFeed(path, speed=None)
    events = [event for event in await taken(feed) if isinstance(event, Tick)]
    numbers = [event.time_ns - 10**18 if what == "events" else event.trade_id for event in events]
    assert len(numbers) > 100 and numbers == list(range(len(numbers)))
    assert feed.rejected_count == (1 if what == "frames" else feed.rejected_count)


def test_all_kinds_of_market_events_are_tried_here() -> None:
    kinds = {type(event) for event in EVERY_KIND}
    assert kinds == set(get_args(MarketEvent))
