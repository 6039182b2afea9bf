"""Recordings and their replay: what is in the file comes out, in order, each time, at the asked pace."""

import asyncio
import gzip
import json
import re
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import MINUTE, SECOND, START, Script, bars, quote, tick, walk

from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Gap, Heartbeat, Pause, Quote, SetParameters, Tick, check_event
from qfkit.errors import (
    DataError,
    FrameError,
    JournalFormatError,
    MalformedFrameError,
    NaiveTimeError,
    ParameterError,
    QfkitError,
    SymbolError,
    TimeframeError,
)
from qfkit.feeds.base import Feed
from qfkit.feeds.recipes import feed_of
from qfkit.feeds.replay import ReplayFeed, open_recording, sample
from qfkit.feeds.synthetic import SyntheticFeed
from qfkit.journal.writer import JournalWriter
from qfkit.samples import sample as sample_frame
from qfkit.samples import sample_columns


async def collect(feed, skip=0):
    """Every event and the size of each batch."""
    events, sizes = [], []
    async for batch in feed.events(skip=skip):
        events += batch
        sizes.append(len(batch))
    return events, sizes


def all_of(source, **arguments):
    return [event for batch in open_recording(source, **arguments).batches() for event in batch]


def without_beats(events):
    return [event for event in events if not isinstance(event, Heartbeat)]


def trade_line(number: int, *, price: str = "100.5", symbol: str = "BTCUSDT", received_ns: int | None = None) -> str:
    at_ns = START + number * SECOND // 10
    data = {"e": "trade", "E": at_ns // 10**6, "s": symbol, "t": number, "p": price, "q": "0.25"}
    data |= {"T": at_ns // 10**6, "m": False, "M": True}
    frame = {"stream": f"{symbol.lower()}@trade", "data": data}
    return f"{received_ns or at_ns} {json.dumps(frame)}\n"


def write_capture(path: Path, lines, *, zipped: bool = False) -> Path:
    text = "".join(lines).encode()
    path.write_bytes(gzip.compress(text) if zipped else text)
    return path


@pytest.fixture(scope="module")
def capture_trade_ids(capture_path):
    """The trade ids as they stand in the file, read with a pattern only."""
    with gzip.open(capture_path, "rt") as file:
        found = (re.search(r'"e":"trade".*?"t":(\d+)', line) for line in file)
        return [int(match[1]) for match in found if match]


# -- captures --------------------------------------------------------------------------------


async def test_the_capture_comes_whole_and_in_order(capture_path, capture_trade_ids):
    feed = ReplayFeed(capture_path, speed=None)
    events, sizes = await collect(feed)
    counts = Counter(type(event).__name__ for event in events)
    assert counts["Tick"] == 9_757
    assert counts["Quote"] == 28_040
    assert [event.trade_id for event in events if type(event) is Tick] == capture_trade_ids
    assert capture_trade_ids == list(range(3735683259, 3735693015 + 1))
    received = [event.received_ns for event in events]
    assert received == sorted(received)
    assert max(sizes) <= 2_048
    assert min(sizes) > 0
    assert feed.symbols == ("BTCUSDT",)
    assert feed.timeframe is None
    assert feed.is_live is False
    assert feed.label == "replay of btcusdt_spot_20240808.gz"
    assert feed.events_count == len(events)
    assert feed.rejected_count == 0
    assert feed.progress == 1.0
    assert feed.now_ns() == received[-1]
    for event in events:
        check_event(event)


def test_a_recording_is_the_same_each_time_and_known_by_its_content(capture_path, tmp_path):
    recording = open_recording(capture_path)
    assert recording.kind == "capture"
    assert recording.count is None
    first = list(recording.batches())
    assert first == list(recording.batches())
    plain = tmp_path / "no_suffix"
    plain.write_bytes(gzip.decompress(capture_path.read_bytes()))
    assert all_of(plain) == [event for batch in first for event in batch]


def test_the_heartbeats_of_the_capture_make_no_trade_late(capture_path):
    """The bars cut with heartbeats are those of the trades alone: a heartbeat never closes one too soon."""
    events = all_of(capture_path)
    assert any(isinstance(event, Heartbeat) for event in events)

    def closed(events):
        engine = Engine({"none": Script()}, cash=1_000.0, timeframe="1s")
        engine.process_all(events)
        return engine.records.bars

    with_beats, without = closed(events), closed(without_beats(events))
    assert with_beats[: len(without)] == without
    assert len(without) > 250


def test_symbols_leave_out_the_others(tmp_path):
    lines = [trade_line(number, symbol=("BTCUSDT", "ETHUSDT")[number % 2]) for number in range(100)]
    path = write_capture(tmp_path / "two.txt", lines)
    assert open_recording(path).symbols == ("BTCUSDT", "ETHUSDT")
    only = without_beats(all_of(path, symbols="ETHUSDT"))
    assert [event.trade_id for event in only] == list(range(1, 100, 2))
    with pytest.raises(SymbolError, match="'ETHUSD'.*Did you mean 'ETHUSDT'"):
        open_recording(path, symbols=["ETHUSD"])
    with pytest.raises(SymbolError, match="empty"):
        open_recording(path, symbols=[])


def test_a_broken_line_is_named_to_a_backtest_and_counted_by_a_feed(tmp_path):
    lines = [trade_line(number) for number in range(50)]
    lines[20] = lines[20][:60] + "\n"
    lines[33] = "not a frame at all\n"
    path = write_capture(tmp_path / "broken.txt.gz", lines, zipped=True)
    with pytest.raises(MalformedFrameError, match=r"broken\.txt\.gz, line 21"):
        all_of(path)
    feed = ReplayFeed(path, speed=None)
    events, _ = asyncio.run(collect(feed))
    assert [event.trade_id for event in events] == [number for number in range(50) if number not in (20, 33)]
    assert feed.rejected_count == 2
    first, second = feed.take_rejected()
    assert first.received_ns == START + 2 * SECOND
    assert "line 21" in first.error
    assert second.text == "not a frame at all"
    # A broken beginning is no reason to take the file for another.
    lines[0] = "garbage\n"
    feed = ReplayFeed(write_capture(path, lines), speed=None)
    events, _ = asyncio.run(collect(feed))
    assert len(events) == 47
    assert feed.rejected_count == 3


def test_a_torn_last_line_is_a_broken_line(tmp_path):
    lines = [trade_line(number) for number in range(10)]
    lines[-1] = lines[-1][:50]
    path = write_capture(tmp_path / "torn.txt", lines)
    with pytest.raises(MalformedFrameError, match="line 10"):
        all_of(path)
    feed = ReplayFeed(path, speed=None)
    assert len(asyncio.run(collect(feed))[0]) == 9
    assert feed.rejected_count == 1


async def test_a_truncated_gzip_gives_what_there_is_and_then_says_so(capture_path, tmp_path):
    cut = tmp_path / "cut.gz"
    whole = capture_path.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    feed = ReplayFeed(cut, speed=None)
    events = []

    async def read():
        async for batch in feed.events():
            events.extend(batch)

    await read()
    assert feed.rejected_count == 1
    (told,) = feed.take_rejected()
    assert re.search(r"cut\.gz is cut off or damaged in line (\d+)", told.error)
    # Whoever reads it with nobody to tell has it raised.
    with pytest.raises(FrameError, match="cut off or damaged"):
        list(open_recording(cut).batches())
    expected = all_of(capture_path)
    assert 10_000 < len(events) < len(expected)
    assert events == expected[: len(events)]
    lines = int(re.search(r"the (\d+) lines before", told.error)[1])
    with gzip.open(capture_path, "rt") as file:
        kept = [next(file) for _ in range(lines)]
    assert sum('"e":"trade"' in line for line in kept) == sum(type(event) is Tick for event in events)


def test_streaming_a_capture_takes_the_memory_of_a_batch(tmp_path):
    small = write_capture(tmp_path / "small.gz", (trade_line(number) for number in range(6_000)), zipped=True)
    large = write_capture(tmp_path / "large.gz", (trade_line(number) for number in range(24_000)), zipped=True)

    def peak(path):
        recording = open_recording(path)
        tracemalloc.start()
        count = sum(map(len, recording.batches()))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return count, peak

    small_count, small_peak = peak(small)
    large_count, large_peak = peak(large)
    assert (small_count, large_count) == (6_000, 24_000)
    assert large_peak < 1.3 * small_peak
    assert large_peak < 6_000_000


# -- heartbeats ------------------------------------------------------------------------------


def test_heartbeats_fill_the_gaps_of_trades_and_nothing_else():
    trades = [tick(0.0, 10.0), tick(0.9, 10.1), tick(1.9, 10.2), tick(5.0, 10.3), tick(305.0, 10.4)]
    events = all_of(trades)
    assert without_beats(events) == trades
    beats = [event for event in events if isinstance(event, Heartbeat)]
    # None up to 1.9 s; then each second; then a sixtieth of 300 s.
    expected = [2.9, 3.9, 4.9, *(5.0 + 5.0 * number for number in range(1, 60))]
    assert [beat.received_ns for beat in beats] == [START + round(at * SECOND) for at in expected]
    # The trades came without delay: the exchange's time is the receipt's, less a second for the late.
    assert [beat.time_ns for beat in beats] == [beat.received_ns - SECOND for beat in beats]
    assert all_of(trades) == events


def test_heartbeats_know_the_least_delay_and_pass_no_event():
    # Recorded by a clock 1.3 s behind, delays of 0 and 0.2 s; the trade after the silence comes 5 s late.
    trades = [tick(0.0, 10.0, delay_s=-1.3), tick(0.5, 10.0, delay_s=-1.1), tick(9.0, 10.0, delay_s=-1.3)]
    late = Tick("A", 10.0, 1.0, START + 10 * SECOND, START + 14 * SECOND)
    events = all_of([*trades, late])
    for before, event in zip(events, events[1:], strict=False):
        assert before.received_ns <= event.received_ns
        if isinstance(before, Heartbeat):
            assert before.time_ns <= event.time_ns
    beats = [event for event in events if isinstance(event, Heartbeat)]
    assert beats[0] == Heartbeat(START + round(0.7 * SECOND), START + round(0.4 * SECOND))
    times = [event.time_ns for event in events]
    assert times == sorted(times)


def test_quotes_do_not_stand_for_trades():
    events = all_of([tick(0.0, 10.0), *(quote(0.4 * number, 9.9, 10.1) for number in range(1, 20))])
    beats = [event for event in events if isinstance(event, Heartbeat)]
    assert [beat.received_ns - START for beat in beats] == [number * SECOND for number in range(1, 8)]
    received = [event.received_ns for event in events]
    assert received == sorted(received)
    # Before a first trade there is no bar to close.
    assert all_of([quote(0.0, 9.9, 10.1), quote(9.0, 9.9, 10.1)]) == [quote(0.0, 9.9, 10.1), quote(9.0, 9.9, 10.1)]


def test_a_long_silence_before_quotes_leaves_the_order():
    events = all_of([tick(0.0, 10.0), quote(300.0, 9.9, 10.1), quote(301.5, 9.9, 10.1), quote(304.0, 9.9, 10.1)])
    received = [event.received_ns for event in events]
    assert received == sorted(received)


def test_a_quiet_market_closes_its_bars_by_heartbeats():
    engine = Engine({"none": Script()}, cash=1_000.0, timeframe="1s")
    events = all_of([tick(0.2, 10.0), tick(60.0, 11.0)])
    engine.process_all(events[:4])
    assert [bar.close for bar in engine.records.bars] == [10.0]


def test_heartbeats_that_are_there_are_left_alone():
    events = [tick(0.0, 10.0), Heartbeat(START + SECOND, START + SECOND), tick(100.0, 10.0)]
    assert all_of(events) == events


# -- frames, columns, lists, Parquet -----------------------------------------------------------


def test_a_frame_and_the_columns_are_the_same_recording():
    frame = sample_frame("AAPL")
    recording = open_recording(frame)
    assert recording.kind == "frame"
    assert recording.symbols == ("AAPL",)
    assert recording.timeframe == "1d"
    assert recording.count == 3_270
    assert all(len(batch) <= 2_048 for batch in recording.batches())
    assert all_of(frame) == all_of(sample_columns("AAPL"))
    assert [bar.close for bar in all_of(frame)] == frame["close"].tolist()


def test_several_frames_come_by_their_close():
    frames = {name: sample_frame(name) for name in ("IBM", "AAPL", "GOOG")}
    events = all_of(frames)
    assert len(events) == 2 * 3_270 + 2_148
    closes = [event.close_ns for event in events]
    assert closes == sorted(closes)
    assert [event.symbol for event in events[-3:]] == ["IBM", "AAPL", "GOOG"]
    assert {event.symbol for event in all_of(frames, symbols=["GOOG"])} == {"GOOG"}


def test_bars_of_parquet_come_back(tmp_path):
    one = tmp_path / "AAPL.parquet"
    sample_frame("AAPL").to_parquet(one)
    assert all_of(one) == all_of(sample_columns("AAPL"))
    both = pd.concat([sample_frame(name).assign(symbol=name) for name in ("AAPL", "IBM")])
    both.reset_index().to_parquet(tmp_path / "both.parquet", index=False)
    recording = open_recording(tmp_path / "both.parquet")
    assert recording.symbols == ("AAPL", "IBM")
    assert recording.timeframe == "1d"
    assert recording.kind == "parquet"
    expected = all_of({"AAPL": sample_columns("AAPL"), "IBM": sample_columns("IBM")})
    assert [event for batch in recording.batches() for event in batch] == expected
    folder = tmp_path / "folder"
    folder.mkdir()
    both.reset_index().to_parquet(folder / "part.parquet", index=False)
    assert all_of(folder) == expected


def test_trades_of_parquet_come_back(tmp_path):
    count = 5_000
    times = pd.to_datetime(START + np.arange(count) * SECOND // 4, utc=True)
    names = np.where(np.arange(count) % 3 == 0, "B", "A")
    frame = pd.DataFrame({"timestamp": times, "symbol": names, "price": 50.0 + np.arange(count) % 7, "size": 1.5})
    frame.to_parquet(tmp_path / "ticks", index=False)
    recording = open_recording(tmp_path / "ticks")
    assert recording.kind == "parquet"
    assert recording.timeframe is None
    assert set(recording.symbols) == {"A", "B"}
    events = [event for batch in recording.batches() for event in batch]
    assert [event.price for event in events] == frame["price"].tolist()
    assert [event.symbol for event in events] == names.tolist()
    assert [event.time_ns for event in events] == times.as_unit("ns").asi8.tolist()
    assert all(type(event) is Tick and event.size == 1.5 for event in events)


def test_a_list_of_events_is_checked_where_it_can_be():
    series = walk(5_000)
    recording = open_recording(series)
    assert recording.timeframe == "1m"
    assert recording.count == 5_000
    assert [len(batch) for batch in recording.batches()] == [2_048, 2_048, 904]
    assert all_of(series) == series
    with pytest.raises(DataError, match="event 1 is a float"):
        open_recording([series[0], 3.0])
    with pytest.raises(DataError, match="only once.*list"):
        open_recording(iter(series))
    with pytest.raises(FrameError, match="no events"):
        open_recording([])
    with pytest.raises(TimeframeError, match="bars are of 1m, not of 5m"):
        open_recording(series, timeframe="5m")
    with pytest.raises(DataError, match="int is no recording"):
        open_recording(42)


# -- journals --------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path) -> tuple[Path, list]:
    path = tmp_path / "session.sqlite"
    events = [
        tick(0.0, 10.0),
        quote(0.1, 9.9, 10.1),
        SetParameters(received_ns=START + SECOND // 5, parameters={"fast": 3}),
        Heartbeat(START + SECOND, START + SECOND),
        Pause(START + 2 * SECOND),
        Gap("A", START + SECOND, START + 9 * SECOND, START + 9 * SECOND, 4, "reconnected"),
        tick(400.0, 11.0, symbol="B"),
    ]
    writer = JournalWriter.create(path, {"name": "session"}, ["one"])
    writer.commit(events[:4], feed_events=3)
    writer.commit(events[4:], feed_events=2)
    writer.close()
    return path, events


def test_a_journal_gives_its_market_events_as_they_were(journal):
    path, events = journal
    recording = open_recording(path)
    assert recording.kind == "journal"
    assert recording.symbols == ("A", "B")
    assert [event for batch in recording.batches() for event in batch] == [
        event for event in events if not isinstance(event, SetParameters | Pause)
    ]
    assert all_of(path, symbols=["B"]) == [events[3], events[-1]]
    assert all_of(events) == all_of(path)


def test_a_journal_of_bars_knows_their_timeframe(tmp_path):
    series = walk(5_000)
    writer = JournalWriter.create(tmp_path / "bars.sqlite", {}, ["one"])
    writer.commit(series, feed_events=len(series))
    writer.close()
    recording = open_recording(tmp_path / "bars.sqlite")
    assert recording.timeframe == "1m"
    assert [event for batch in recording.batches() for event in batch] == series
    assert max(map(len, recording.batches())) <= 2_048


# -- what cannot be opened -------------------------------------------------------------------


def test_what_is_no_recording_is_told_so(tmp_path):
    def written(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    (tmp_path / "folder").mkdir()
    depth = b'%d {"stream":"btcusdt@depth@100ms","data":{}}\n' % START
    cases: list[tuple[object, type[QfkitError], str]] = [
        (tmp_path / "missing.gz", FrameError, r"no file .*missing\.gz.*check the path"),
        (written("empty.gz", b""), FrameError, r"empty\.gz is empty"),
        (written("nothing.gz", gzip.compress(b"")), FrameError, "no recording"),
        (written("prices.csv", b"time,open,high\n2024-01-02,1,2\n"), FrameError, r"begins with 'time,open.*read_csv"),
        (written("many.csv", b"1,2,3\n" * 5_000), FrameError, "no recording"),
        (written("image", bytes(range(256)) * 40), FrameError, "no recording"),
        (written("zipped.gz", gzip.compress(b"hello\n" * 300)), FrameError, "no recording"),
        (written("other.gz", b"\x1f\x8b not gzip at all"), FrameError, "cut off or damaged in line 1"),
        (written("depth.txt", depth * 50), FrameError, "no trades, quotes or bars"),
        (written("bad.parquet", b"PAR1 and no more"), FrameError, "cannot be read as Parquet"),
        (written("bad.sqlite", b"SQLite format 3\x00 and no more"), JournalFormatError, "bad.sqlite"),
        (tmp_path / "folder", FrameError, "folder without Parquet"),
        ("gs://bucket/capture.gz", FrameError, "fsspec|cannot be opened"),
    ]
    for source, error, text in cases:
        with pytest.raises(error, match=text):
            list(open_recording(source).batches())


def test_parquet_that_cannot_be_traded_on_names_the_file_and_the_fix(tmp_path):
    path = tmp_path / "p.parquet"
    frame = sample_frame("IBM")
    frame.tz_localize(None).to_parquet(path)
    with pytest.raises(NaiveTimeError, match=r"p\.parquet.*tz_localize"):
        open_recording(path)
    frame.iloc[::-1].to_parquet(path)
    with pytest.raises(FrameError, match=r"p\.parquet.*sort_index"):
        open_recording(path)
    frame.reset_index(drop=True).to_parquet(path)
    with pytest.raises(FrameError, match=r"p\.parquet has no times"):
        open_recording(path)
    frame.drop(columns="close").to_parquet(path)
    with pytest.raises(FrameError, match="'close'"):
        open_recording(path)


# -- the feed --------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [0, 1, 2_047, 2_048, 2_049, 4_999, 5_000, 9_000])
async def test_skip_leaves_out_the_first_events(skip):
    series = walk(5_000)
    assert (await collect(ReplayFeed(series, speed=None), skip=skip))[0] == series[skip:]


async def test_skip_of_a_capture_counts_no_broken_line_twice(tmp_path):
    lines = [trade_line(number) for number in range(6_000)]
    lines[10] = "broken\n"
    feed = ReplayFeed(write_capture(tmp_path / "c.txt", lines), speed=None)
    whole, _ = await collect(feed)
    assert feed.rejected_count == 1
    assert (await collect(feed, skip=5_000))[0] == whole[5_000:]
    assert feed.rejected_count == 1


async def test_a_paced_replay_takes_its_time_and_says_where_it_stands():
    series = walk(26)
    feed = ReplayFeed(series, speed=60 * 100.0)  # a bar a hundredth of a second
    assert feed.label == "replay of events in memory, 6000x"
    assert feed.now_ns() == 0
    started = time.monotonic()
    given = []
    async for batch in feed.events():
        due = started + 0.01 * (batch[-1].close_ns - series[0].close_ns) / MINUTE
        assert time.monotonic() >= due - 1e-3
        given += batch
        assert batch[-1].received_ns <= feed.now_ns() <= series[min(len(given), 25)].received_ns
        assert feed.progress == pytest.approx(len(given) / 26)
    taken = time.monotonic() - started
    assert given == series
    assert 0.249 <= taken < 0.6
    assert feed.progress == 1.0


async def test_a_resumed_replay_is_paced_from_where_it_goes_on():
    series = walk(3_000)
    feed = ReplayFeed(series, speed=60 * 100.0)
    started = time.monotonic()
    events, sizes = await collect(feed, skip=2_990)
    assert events == series[2_990:]
    assert 0.089 <= time.monotonic() - started < 0.5
    assert max(sizes) < 10


async def test_stop_ends_a_long_wait_at_once():
    feed = ReplayFeed(bars([(1.0, 1.0, 1.0, 1.0)] * 5), speed=1.0)  # a minute from bar to bar
    given = []

    async def read():
        async for batch in feed.events():
            given.extend(batch)

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.05)
    assert len(given) == 1
    assert feed.state == "running"
    started = time.monotonic()
    await feed.stop()
    await asyncio.wait_for(reader, 1.0)
    assert time.monotonic() - started < 0.05
    assert len(given) == 1
    assert feed.state == "closed"


async def test_stop_ends_a_fast_replay_after_the_batch():
    feed = ReplayFeed(walk(50_000), speed=None)
    count = 0
    async for batch in feed.events():
        count += len(batch)
        await feed.stop()
    assert count == 2_048


async def test_a_fast_replay_lets_others_run():
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await collect(ReplayFeed(walk(50_000), speed=None))
    task.cancel()
    assert turns >= 20


async def test_a_handler_hears_every_event_of_a_replay():
    heard = []
    feed = ReplayFeed(walk(100), speed=None)
    feed.add_message_handler(heard.append)
    await feed.start_streaming()
    assert heard == walk(100)


async def test_the_sample_feed_gives_the_sample_bars():
    feed = sample("AAPL", "GOOG")
    assert feed.label == "real daily bars 2000-2013"
    assert sample("GOOG").label == "real daily bars 2004-2013"
    assert feed.timeframe == "1d"
    assert feed.speed is None
    events, _ = await collect(feed)
    assert events == all_of({"AAPL": sample_columns("AAPL"), "GOOG": sample_columns("GOOG")})
    assert sample("AAPL", days_per_second=50).speed == 50 * 86_400
    with pytest.raises(SymbolError, match="Did you mean 'AAPL'"):
        sample("AAPPL")
    with pytest.raises(ParameterError, match="give one"):
        sample("AAPL", speed=1.0, days_per_second=1.0)
    with pytest.raises(ParameterError, match="days_per_second=0"):
        sample("AAPL", days_per_second=0)


@pytest.mark.parametrize("speed", [0, -1.0, float("nan"), float("inf")])
def test_an_impossible_speed_is_refused(speed):
    with pytest.raises(ParameterError, match="above zero"):
        ReplayFeed(walk(3), speed=speed)


async def test_a_feed_can_be_made_again_from_its_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_capture(tmp_path / "c.txt", [trade_line(number) for number in range(100)])
    for feed in (ReplayFeed("c.txt", speed=None, symbols="BTCUSDT", label="mine"), sample("IBM", "AAPL")):
        again = feed_of(json.loads(json.dumps(feed.recipe())), feed.label)
        assert again.label == feed.label
        assert again.symbols == feed.symbols
        assert (await collect(again))[0] == (await collect(feed))[0]
    assert ReplayFeed(walk(3)).recipe() is None


def test_an_open_recording_can_be_replayed():
    recording = open_recording(walk(10))
    assert ReplayFeed(recording).symbols == ("A",)
    with pytest.raises(ParameterError, match="open_recording"):
        ReplayFeed(recording, symbols=["A"])
    assert isinstance(next(recording.batches())[0], Bar)
    assert isinstance(all_of([quote(0.0, 1.0, 2.0)])[0], Quote)


@pytest.mark.parametrize(
    "feed", [lambda: SyntheticFeed(duration_s=3_600.0, speed=1.0), lambda: sample("IBM", days_per_second=1.0)]
)
async def test_what_is_skipped_is_not_waited_for(feed: Callable[[], Feed]) -> None:
    paced, began_s = feed(), time.monotonic()
    async for batch in paced.events(skip=3_000):
        assert batch
        break
    assert time.monotonic() - began_s < 5.0
    assert paced.now_ns() >= batch[-1].received_ns
