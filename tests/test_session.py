"""Sessions: steering, journal, verify, faults, bad data, a full disk."""

import asyncio
import logging
import sqlite3
import sys
import threading
import time
import types
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pandas as pd
import pytest

import qfkit as qf
from qfkit.core.events import Bar, Heartbeat, MarketEvent, Tick
from qfkit.core.snapshot import FeedView
from qfkit.errors import JournalFormatError, JournalWriteError, ParameterError, SessionError, StrategyError
from qfkit.feeds.base import Feed
from qfkit.journal.reader import JournalReader
from qfkit.live.registry import running
from qfkit.strategies import MovingAverageCrossover

START_NS = 1_704_067_200_000_000_000
SECOND = 1_000_000_000


class HandFeed(Feed):
    """A feed that gives what the test puts in, when it puts it in."""

    name = "hand"
    is_live = True

    def __init__(self, symbols: Sequence[str] = ("A",)) -> None:
        super().__init__(symbols, label="by hand")
        self._given: asyncio.Queue[list[MarketEvent] | None | Exception] = asyncio.Queue()
        self._time_ns = START_NS

    def now_ns(self) -> int:
        return self._time_ns

    def give(self, *events: MarketEvent) -> None:
        self._time_ns = max(self._time_ns, events[-1].received_ns)
        qf.run(self._given.put(list(events)))

    def end(self, error: Exception | None = None) -> None:
        qf.run(self._given.put(error))

    async def stop(self) -> None:
        await super().stop()
        await self._given.put(None)

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        self.state = "live"
        while True:
            batch = await self._given.get()
            if isinstance(batch, Exception):
                raise batch
            if batch is None:
                return
            yield batch


def bar(index: int, close: float, symbol: str = "A") -> Bar:
    open_ns = START_NS + index * 60 * SECOND
    return Bar(symbol, "1m", close, close, close, close, 1e6, open_ns, open_ns + 60 * SECOND)


def wave(count: int) -> list[Bar]:
    """Prices that rise and fall, so that averages cross often."""
    return [bar(index, 100.0 + abs(index % 40 - 20)) for index in range(count)]


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.005)


class Always(qf.Strategy):
    """Buys one at each bar."""

    size = qf.Param(1.0, low=0.0, high=100.0)

    def on_bar(self, bar: Bar) -> None:
        self.buy(bar.symbol, quantity=self.size, reason="always")


class Twice(Always):
    def on_bar(self, bar: Bar) -> None:
        self.buy(bar.symbol, quantity=2.0 * self.size, reason="twice")


class Raises(qf.Strategy):
    def on_bar(self, bar: Bar) -> None:
        if bar.close == 103.0:
            raise ZeroDivisionError("by three")
        self.buy(bar.symbol, quantity=1.0, reason="before")


def test_a_session_equals_the_backtest_of_the_same_events() -> None:
    events = wave(500)
    result = qf.backtest(MovingAverageCrossover(fast=5, slow=12), events, cash=50_000)
    session = qf.paper(MovingAverageCrossover(fast=5, slow=12), qf.ReplayFeed(events, speed=None), cash=50_000)
    session.start().wait(20)
    assert session.state == "stopped"
    assert len(session.fills) > 10
    pd.testing.assert_frame_equal(session.fills, result.fills, check_exact=True)
    pd.testing.assert_frame_equal(session.orders, result.orders, check_exact=True)
    pd.testing.assert_frame_equal(session.signals, result.signals, check_exact=True)
    pd.testing.assert_frame_equal(session.trades, result.trades, check_exact=True)
    pd.testing.assert_frame_equal(session.equity, result.equity, check_exact=True)
    pd.testing.assert_frame_equal(session.bars, result.bars, check_exact=True)
    assert session.verify()


def test_start_returns_at_once_and_the_snapshot_follows() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="steered").start()
    assert session.state == "running"
    feed.give(bar(0, 100.0))
    feed.give(bar(1, 101.0))
    until(lambda: session.snapshot.fills_count == 1)
    assert session.snapshot.positions[0].quantity == 1.0
    assert session.fills.iloc[0]["reason"] == "always"
    feed.give(bar(2, 101.0))
    until(lambda: session.snapshot.fills_count == 2)
    session.stop()
    assert session.state == "stopped"
    assert not running
    with pytest.raises(SessionError, match="stopped: only a running one"):
        session.pause()
    with pytest.raises(SessionError, match="make a new one"):
        session.start()


def test_parameters_of_new_code_may_be_set_before_the_bar_that_brings_it() -> None:
    class Old(qf.Strategy):
        count = qf.Param(3, low=1, high=9)

    class New(qf.Strategy):
        room = qf.Param(0.5, low=0.0, high=3.0)

    feed = HandFeed()
    session = qf.paper(Old(), feed, timeframe="1m", name="early").start()
    feed.give(bar(0, 100.0))
    until(lambda: session.snapshot.events >= 1)
    session.swap(New)
    session.set(room=2.0)
    with pytest.raises(ParameterError, match="New has no parameter 'count'"):
        session.set(count=4)
    feed.give(bar(1, 101.0))
    until(lambda: session.snapshot.strategies[0].parameters == {"room": 2.0})
    session.stop()
    assert session.verify()


def test_pause_resume_set_swap_and_flatten_act_and_replay() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, costs=qf.Costs.ideal(), name="commands").start()
    closes = iter(range(1_000))

    def step() -> None:
        given = bar(next(closes), 100.0)
        feed.give(given)
        until(lambda: session.snapshot.time_ns == given.close_ns)

    def held() -> float:
        step()
        return session.snapshot.positions[0].quantity if session.snapshot.positions else 0.0

    step()
    assert held() == 1.0
    session.pause()
    assert session.state == "paused"
    before = held()  # what was working goes on
    assert held() == before
    assert (session.signals["decision"] == "rejected").any()
    session.resume()
    assert session.state == "running"
    step()
    grown = held()
    assert grown > before
    session.set(size=10.0)
    step()
    assert session.snapshot.strategies[0].parameters == {"size": 10.0}
    session.swap(Twice(size=3.0))
    step()
    assert session.snapshot.strategies[0].parameters == {"size": 3.0}
    now = held()
    assert held() == now + 6.0
    session.flatten()
    step()
    assert held() == 0.0
    assert session.state == "running"
    assert [(stop.kind, stop.why) for stop in session.snapshot.stops] == [("flatten", "by hand")]
    session.lift()
    step()
    assert held() != 0.0
    session.stop()
    verdict = session.verify()
    assert verdict, verdict
    assert "fills" in verdict.text


def test_bad_arguments_name_the_fix() -> None:
    feed = HandFeed()
    session = qf.paper(MovingAverageCrossover(), feed, name="checked")
    with pytest.raises(SessionError, match="only a running one"):
        session.set(fast=8)
    session.start()
    with pytest.raises(ParameterError, match="Did you mean 'fast'"):
        session.set(fsat=8)
    with pytest.raises(ParameterError, match="out of bounds"):
        session.set(fast=1_000)
    with pytest.raises(ParameterError, match="fast=40 must be below slow=30"):
        session.set(fast=40)
    with pytest.raises(SessionError, match="no strategy 'other'"):
        session.pause("other")
    with pytest.raises(StrategyError, match="no strategy"):
        session.swap(object())
    session.stop()
    with pytest.raises(SessionError, match="a session needs a feed"):
        qf.paper(MovingAverageCrossover(), [bar(0, 1.0)])  # type: ignore[arg-type]


def test_a_second_start_of_a_name_replaces_the_first() -> None:
    first = qf.paper(Always(), HandFeed(), name="one").start()
    assert first.start() is first
    second = qf.paper(Always(), HandFeed(), name="one").start()
    assert first.state == "stopped"
    assert second.state == "running"
    assert running["one"] is second
    assert first.journal_path != second.journal_path
    second.stop()
    listed = qf.sessions()
    assert list(listed["name"]) == ["one", "one"]
    assert list(listed["state"]) == ["stopped", "stopped"]


def test_a_strategy_that_raises_is_stopped_alone_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    events = [bar(index, 100.0 + index) for index in range(10)]
    session = qf.paper({"good": Always(), "bad": Raises()}, qf.ReplayFeed(events, speed=None), name="faulty")
    with caplog.at_level(logging.ERROR, "qfkit.session"):
        session.start().wait(20)
    states = {view.name: view.state for view in session.snapshot.strategies}
    assert states == {"good": "stopped", "bad": "failed"}
    (shown,) = [text for _, text in session.snapshot.messages]
    assert "bad was stopped by ZeroDivisionError: by three" in shown
    assert "103.0" in shown
    assert "by three" in caplog.text
    assert (session.fills["strategy"] == "good").sum() == 9
    assert (session.fills["strategy"] == "bad").sum() == 3
    assert session.verify()
    assert "by three" in repr(session.result)


def test_a_bad_event_is_counted_kept_aside_and_shown() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="dirty").start()
    feed.give(bar(0, 100.0), bar(1, float("nan")), bar(1, 101.0), bar(2, -5.0), bar(2, 102.0))
    until(lambda: session.snapshot.events == 3)
    session.stop()
    assert session.snapshot.feed is not None
    assert session.snapshot.feed.bad == 2
    assert session.health.loc["A"].rejected == 2
    assert session.health.loc["A"].rejected_reasons == "impossible value: 2"
    assert any("nan" in text or "-5.0" in text for _, text in session.snapshot.messages)
    assert session.journal_path is not None
    with JournalReader(session.journal_path) as reader:
        kept = reader.bad_events()
    assert len(kept) == 2
    assert "nan" in kept[0].event
    assert "-5.0" in kept[1].error
    assert session.verify()


def test_events_of_a_feed_of_ones_own_are_taken_as_the_journal_gives_them_back() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="foreign").start()
    single = np.float32(100.1)
    good = Bar("A", "1m", single, single, single, single, np.int64(5), START_NS, START_NS + 60 * SECOND)
    feed.give(good)
    # A symbol that is no text, a price that is one, a number where the source belongs.
    feed.give(msgspec.structs.replace(bar(1, 100.0), symbol=7))
    feed.give(msgspec.structs.replace(bar(1, 100.0), close="100"))
    feed.give(msgspec.structs.replace(bar(1, 100.0), source=3))
    feed.give(bar(1, 101.0), bar(2, 102.0))
    until(lambda: session.snapshot.events == 3)
    session.stop()
    assert session.snapshot.feed.bad == 3
    assert [type(value) for value in session.bars["close"]] == [float, float, float]
    assert session.bars["close"].iloc[0] == float(single)
    assert session.verify()
    with JournalReader(session.journal_path) as reader:
        assert len(reader.bad_events()) == 3


def test_a_feed_that_fails_ends_the_session_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="cut").start()
    feed.give(bar(0, 100.0))
    feed.end(RuntimeError("cable cut"))
    with pytest.raises(SessionError, match="RuntimeError: cable cut"):
        session.wait(5)
    assert session.state == "failed"
    assert any("cable cut" in text for _, text in session.snapshot.messages)
    assert qf.sessions()["state"].tolist() == ["failed"]
    assert "cable cut" in caplog.text


def test_a_commission_that_raises_ends_the_session_and_its_journal_still_verifies() -> None:
    def commission(quantity: float, price: float) -> float:
        if price > 104.0:
            raise ValueError("no tariff above 104")
        return 1.0

    costs = qf.Costs(commission=commission)
    events = [bar(index, 100.0 + index) for index in range(10)]
    session = qf.paper(Always(), qf.ReplayFeed(events, speed=None), costs=costs, name="tariff").start()
    with pytest.raises(SessionError, match="no tariff above 104"):
        session.wait(20)
    assert session.state == "failed"
    assert len(session.fills) == 3
    assert session.snapshot.fills_count == 3
    verdict = session.verify()
    assert verdict, verdict
    with pytest.raises(SessionError, match="pass costs= again"):
        qf.resume("tariff", feed=HandFeed())
    feed = HandFeed()
    again = qf.resume("tariff", feed=feed, costs=costs).start()
    feed.give(bar(10, 110.0))
    with pytest.raises(SessionError, match="no tariff above 104"):
        again.wait(20)
    third = qf.resume("tariff", feed=HandFeed(), costs=costs).start().stop()
    assert third.verify()


def test_a_quiet_market_closes_its_bar_by_a_heartbeat() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, timeframe="1s", name="quiet").start()
    feed.give(Tick("A", 100.0, 5.0, START_NS, START_NS + 10, 1, "buy"))
    feed.give(Heartbeat(START_NS + SECOND, START_NS + SECOND + 10))
    until(lambda: session.snapshot.events == 2)
    assert len(session.bars) == 1
    session.stop()


def test_the_journal_is_readable_while_running_by_others() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="open").start()
    for one in wave(50):
        feed.give(one)
    until(lambda: session.snapshot.fills_count == 49)
    path = session.journal_path
    assert path is not None
    with closing(sqlite3.connect(path)) as connection, connection:
        fills = pd.read_sql("SELECT * FROM fills", connection)
    connection.close()
    assert len(fills) == 49
    assert session.verify()
    assert qf.sessions()["state"].tolist() == ["running"]
    session.stop()
    # Its own copy of SQLite must not open the file while ours writes it (locks of one process).
    duck = duckdb.connect()
    try:
        duck.execute("INSTALL sqlite; LOAD sqlite")
    except duckdb.Error:
        duck.register("fills", fills)
    assert duck.execute("SELECT count(*) FROM fills").fetchone() == (49,)
    duck.close()


def test_a_changed_journal_does_not_verify_and_names_the_event() -> None:
    session = qf.paper(Always(), qf.ReplayFeed(wave(50), speed=None), name="forged")
    session.start().wait(20)
    path = session.journal_path
    assert path is not None
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE fills SET price = price + 1e-9 WHERE fill_id = 20")
    connection.close()
    verdict = session.verify()
    assert not verdict
    assert verdict.difference_seq == 20
    assert "price" in verdict.text


def test_a_full_disk_ends_the_session_loses_nothing_shown_and_can_be_resumed(caplog: pytest.LogCaptureFixture) -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="full").start()
    feed.give(bar(0, 100.0))
    feed.give(bar(1, 101.0))
    until(lambda: session.snapshot.fills_count == 1)
    writer = session._pipeline.writer
    assert writer is not None
    # A page limit is SQLite's own way to run out of room.
    pages = writer._connection.execute("PRAGMA page_count").fetchone()[0]
    writer._connection.execute(f"PRAGMA max_page_count = {pages}")
    shown = 0
    for index in range(2, 2_000):
        feed.give(bar(index, 101.0))
        shown = session.snapshot.fills_count
        if session.state == "failed":
            break
    with pytest.raises(JournalWriteError, match="no room left"):
        session.wait(5)
    assert any("no room left" in text for _, text in session.snapshot.messages)
    assert len(session.fills) >= shown
    assert len(session.fills) >= session.snapshot.fills_count
    again = qf.resume("full", feed=HandFeed())
    assert again.snapshot.fills_count == len(session.fills)
    again.start()
    again.stop()
    assert again.verify()


def trade(number: int) -> Tick:
    time_ns = START_NS + number * SECOND // 100
    return Tick("A", 100.0, 1.0, time_ns, time_ns, number)


def batches_in(session: qf.Session) -> list[int]:
    """The numbers of events in each batch of a journal."""
    with closing(sqlite3.connect(f"file:{session.journal_path}?mode=ro", uri=True)) as connection:
        return [count for (count,) in connection.execute("SELECT count FROM batches ORDER BY first_seq")]


def test_trades_of_which_nothing_came_share_transactions_and_are_soon_in_the_journal() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="held", timeframe="1m").start()
    for number in range(100):
        feed.give(trade(number))
    # No more data: the session itself sees to the rest.
    until(lambda: sum(batches_in(session)) == 100)
    assert len(batches_in(session)) < 50
    until(lambda: session.snapshot.feed.events == 100)
    session.stop()
    assert session.verify()


def test_what_waits_is_written_before_a_command_and_at_a_break() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="broken off", timeframe="1m").start()
    for number in range(5):
        feed.give(trade(number))
    session.pause()
    feed.give(trade(5))
    feed.give(trade(6))
    session.suspend()
    with JournalReader(session.journal_path) as reader:
        names = [type(event).__name__ for batch in reader.events() for event in batch]
    assert names[:6] == ["Tick"] * 5 + ["Pause"]
    assert set(names[6:]) <= {"Tick"}
    again = qf.resume("broken off", feed=HandFeed())
    again.start()
    again.stop()
    assert again.verify()


def test_a_disk_that_is_full_when_no_data_come_fails_the_session_too() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="full and silent", timeframe="1m").start()
    feed.give(trade(0))
    until(lambda: sum(batches_in(session)) == 1)
    writer = session._pipeline.writer
    assert writer is not None
    pages = writer._connection.execute("PRAGMA page_count").fetchone()[0]
    writer._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    time.sleep(0.15)
    feed.give(trade(1))
    feed.give(*(trade(number) for number in range(2, 4_000)))
    # Nothing more comes: what waits is committed by the one who looks after the session.
    with pytest.raises(JournalWriteError, match="no room left"):
        session.wait(5)
    assert session.state == "failed"
    assert session.snapshot.events == sum(batches_in(session)) == 2
    assert any("no room left" in text for _, text in session.snapshot.messages)


@pytest.mark.parametrize(
    "content", [b"", b"not a database at all, really" * 100, b"SQLite format 3\x00" + bytes(2_000)]
)
def test_a_foreign_or_broken_journal_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.qfkit.sqlite"
    path.write_bytes(content)
    with pytest.raises(JournalFormatError, match=r"broken\.qfkit\.sqlite"):
        qf.resume(path)
    assert qf.sessions(tmp_path)["state"].tolist() == ["unreadable"]


def test_a_journal_of_the_first_format_is_read_verified_and_continued() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="older", sizer=qf.sizing.FixedNotional(1_000.0)).start()
    for index in range(10):
        feed.give(bar(index, 100.0))
    until(lambda: session.snapshot.fills_count == 9)
    session.suspend()
    path = session.journal_path
    assert path is not None
    with closing(sqlite3.connect(path)) as connection, connection:
        # As the first format had it: no numbers of a sizing.
        connection.execute("ALTER TABLE signals DROP COLUMN sizing")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with JournalReader(path) as reader:
        assert [signal.sizing for signal in reader.signals()] == [{}] * len(reader.signals()) != []
    feed = HandFeed()
    again = qf.resume("older", feed=feed).start()
    feed.give(bar(10, 100.0))
    feed.give(bar(11, 100.0))
    until(lambda: again.snapshot.fills_count >= 11)
    again.stop()
    assert again.verify()
    assert len(again.signals) >= 11


def test_a_torn_journal_opens_with_what_was_committed(tmp_path: Path) -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="torn").start()
    for index in range(30):
        feed.give(bar(index, 100.0))
    until(lambda: session.snapshot.fills_count == 29)
    path = session.journal_path
    assert path is not None
    wal = path.with_name(path.name + "-wal")
    torn = tmp_path / "torn" / path.name
    torn.parent.mkdir()
    torn.write_bytes(path.read_bytes())
    logged = wal.read_bytes()
    session.stop()
    # Cut inside the last transaction: a write that a power cut stopped halfway.
    torn.with_name(wal.name).write_bytes(logged[: len(logged) - 1_500])
    resumed = qf.resume(torn, feed=HandFeed())
    assert 0 < resumed.snapshot.fills_count <= 29
    resumed.start()
    resumed.stop()
    assert resumed.verify()


def test_frames_can_be_read_from_several_threads() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="threads").start()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(10):
                assert len(session.fills) <= len(session.orders)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for one in wave(200):
        feed.give(one)
    for thread in threads:
        thread.join()
    session.stop()
    assert not failures


def test_run_refuses_what_would_wait_for_itself() -> None:
    async def inner() -> int:
        await asyncio.sleep(0)
        return 7

    assert qf.run(inner()) == 7

    async def outer() -> None:
        qf.run(inner())

    with pytest.raises(SessionError, match="own thread"):
        qf.run(outer())
    with pytest.raises(SessionError, match="call it"):
        qf.run(inner)  # type: ignore[arg-type]


class SilentFeed(HandFeed):
    """A feed that at times cannot say how it is."""

    is_mute = False

    def view(self) -> FeedView:
        if self.is_mute:
            raise RuntimeError("no word from the ledger")
        return super().view()


def test_a_feed_that_cannot_say_how_it_is_ends_the_session_and_is_told() -> None:
    feed = SilentFeed()
    session = qf.paper(Always(), feed, name="mute").start()
    feed.give(bar(0, 100.0))
    until(lambda: session.snapshot.events == 1)
    feed.is_mute = True
    until(lambda: session.state == "failed")
    assert isinstance(session.error, SessionError)
    assert isinstance(session.error.__cause__, RuntimeError)
    assert "no word from the ledger" in str(session.error)
    until(lambda: "mute" not in running)
    # Its journal is closed as it should, with the reason.
    assert qf.read_session("mute").record.note == str(session.error)
    assert any("at the end is missing" in text for text in session.log["text"])
    assert session.verify()


class Quits(qf.Strategy):
    """Tries to end its own session."""

    session: qf.Session
    ways: tuple[str, ...] = ("stop", "suspend")
    refused: tuple[str, ...] = ()

    def on_bar(self, bar: Bar) -> None:
        for way in self.ways:
            try:
                getattr(Quits.session, way)()
            except SessionError as error:
                Quits.refused += (str(error),)


def test_a_stop_that_is_refused_on_the_session_s_own_thread_stops_nothing() -> None:
    feed = HandFeed()
    Quits.session = session = qf.paper(Quits(), feed, name="own").start()
    feed.give(bar(0, 100.0))
    until(lambda: session.snapshot.events == 1)
    feed.give(bar(1, 100.0))
    until(lambda: session.snapshot.events == 2)
    assert len(Quits.refused) == 4
    assert all("from its own thread" in text for text in Quits.refused)
    assert session.state == "running"
    session.stop()
    # And no suspension is left over either.
    assert session.state == "stopped"


def test_where_classes_may_be_reloaded_one_with_slots_trades_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython.extensions.autoreload", types.ModuleType("autoreload"))

    class Slotted(Always):
        __slots__ = ("heard",)

        def on_bar(self, bar: Bar) -> None:
            self.heard = bar.close
            super().on_bar(bar)

    session = qf.paper(Slotted(), qf.ReplayFeed(wave(10), speed=None), name="slotted", cash=1e6)
    # Whatever a reload writes into it.
    monkeypatch.setattr(Slotted, "on_bar", lambda self, bar: None)
    session.start().wait(10)
    assert len(session.fills) == 9
    assert session.verify()
