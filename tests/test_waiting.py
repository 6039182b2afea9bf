"""Waiting for sessions: blocking with progress, awaiting on any loop, and snapshots one by one."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from test_session import Always, HandFeed, bar, until

import qfkit as qf
from qfkit.core.snapshot import Snapshot
from qfkit.errors import ParameterError, SessionError
from qfkit.live.progress import Advance
from qfkit.live.registry import running


def ticking(name: str, duration_s: float | None = None) -> qf.Session:
    return qf.paper(Always(), qf.SyntheticFeed(["BTCUSDT"], duration_s=duration_s), name=name)


@contextmanager
def ending(session: qf.Session) -> Iterator[qf.Session]:
    try:
        yield session
    finally:
        session.stop()


def test_await_waits_to_the_end_on_a_scripts_own_loop() -> None:
    session = ticking("awaited", 0.5).start()

    async def main() -> qf.Session:
        return await session

    assert asyncio.run(main()) is session
    assert session.state == "stopped"


async def test_await_raises_the_sessions_error_and_waits_twice() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="fails").start()
    feed.end(OSError("gone"))
    for _ in range(2):
        with pytest.raises(SessionError, match="gone"):
            await session


async def test_to_give_up_awaiting_leaves_the_session_running_and_nothing_behind() -> None:
    with ending(ticking("given-up").start()) as session:
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await session
        assert session.state == "running"
        assert session._future is not None
        assert len(session._future._done_callbacks) <= 1
        assert (len(asyncio.all_tasks()), threading.active_count()) == (tasks, threads)


async def test_await_before_the_start_is_an_error() -> None:
    session = ticking("not-started")
    with pytest.raises(SessionError, match="was not started"):
        await session
    with pytest.raises(SessionError, match="was not started"):
        async for _ in session.snapshots():
            pass
    with pytest.raises(SessionError, match="was not started"):
        session.wait()


async def test_snapshots_come_with_their_pace_and_end_with_the_last() -> None:
    session = ticking("looked-at", 1.0).start()
    seen: list[tuple[float, Snapshot]] = []
    async for snapshot in session.snapshots(every_s=0.2):
        seen.append((time.monotonic(), snapshot))
    states = [snapshot.state for _, snapshot in seen]
    assert states[0] == "running" and states[-1] == "stopped"
    assert seen[-1][1] is session.snapshot
    counts = [snapshot.events for _, snapshot in seen]
    assert counts == sorted(counts) and counts[-1] > 10
    assert 3 <= len(seen) <= 8


async def test_who_is_slow_gets_the_newest_snapshot_and_not_a_queue() -> None:
    with ending(ticking("slow-reader").start()) as session:
        looked = 0
        async for snapshot in session.snapshots(every_s=0.01):
            looked += 1
            if looked > 1:
                assert snapshot is session.snapshot
            if looked == 4:
                break
            # A reader that takes its time: twenty snapshots are made meanwhile.
            time.sleep(0.2)


async def test_breaking_out_leaves_nothing_behind() -> None:
    with ending(ticking("left").start()) as session:
        tasks = asyncio.all_tasks()
        async for _ in session.snapshots(every_s=0.05):
            break
        # The loop closes the generator that was left, in a task that is over at once.
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == tasks
        assert session.state == "running"


async def test_snapshots_of_a_session_that_fails_end_with_its_error() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="fails-seen").start()
    feed.end(OSError("gone"))
    seen = []

    async def look() -> None:
        async for snapshot in session.snapshots(every_s=0.01):
            seen.append(snapshot)

    with pytest.raises(SessionError, match="gone"):
        await look()
    assert seen[-1].state == "failed"


async def test_a_pace_that_is_none_is_refused() -> None:
    with ending(ticking("no-pace").start()) as session:
        with pytest.raises(ParameterError, match="every_s=0"):
            async for _ in session.snapshots(every_s=0):
                pass


def test_a_strategy_that_waits_for_its_own_session_is_told_so() -> None:
    class Waits(qf.Strategy):
        def on_bar(self, bar: qf.Bar) -> None:
            running["waits"].wait()

    feed = HandFeed()
    with ending(qf.paper(Waits(), feed, name="waits").start()) as session:
        feed.give(bar(0, 100.0))
        until(lambda: session.snapshot.events == 1)
        assert "called on qfkit's own thread" in session.snapshot.strategies[0].fault


# -- progress ------------------------------------------------------------------------------------


def test_without_anyone_who_watches_a_wait_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with ending(ticking("quiet").start()) as session:
        session.wait(0.8)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_on_request_it_shows_the_share_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    session = ticking("shown", 1.5).start().wait(progress=True)
    err = capsys.readouterr().err
    assert "shown" in err
    assert f"ended after {session.snapshot.events:,} events" in err


def test_in_a_terminal_it_draws_a_bar_a_few_times_a_second_and_takes_it_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with ending(ticking("bar", 60.0).start()) as session:
        session.wait(1.6)
        assert session.state == "running"
    err = capsys.readouterr().err
    drawn = err.count("event")
    assert 2 <= drawn <= 8, err
    assert "s left" in err


def test_a_very_short_wait_shows_nothing_in_a_terminal_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ending(ticking("short").start()) as session:
        session.wait(0.2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        # The recording is at 40 % after 4 s: 6 s to go.
        ((1_234, 4.0, None, 0.4, 0.0), "40 %, 1,234 events, 6 s left"),
        # The wait began when it was at 20 %: as fast again.
        ((1_234, 4.0, None, 0.4, 0.2), "40 %, 1,234 events, 12 s left"),
        # The timeout comes first.
        ((1, 4.0, 5.0, 0.4, 0.0), "80 %, 1 event, 1 s left"),
        # The recording ends first.
        ((5, 4.0, 100.0, 0.5, 0.0), "50 %, 5 events, 4 s left"),
        ((5, 30.0, 3_690.0, None, 0.0), "0 %, 5 events, 1:01:00 h left"),
        ((5, 100.0, None, None, 0.0), "5 events in 1:40 min"),
        ((5, 1.0, None, 0.0, 0.0), "0 %, 5 events"),
        ((0, 0.0, 0.0, None, 0.0), "100 %, 0 events, 0 s left"),
    ],
)
def test_how_far_a_wait_has_come(given: tuple[int, float, float | None, float | None, float], told: str) -> None:
    assert Advance.of(*given).text == told


@pytest.mark.parametrize("feed", ["recording", "frame", "synthetic"])
def test_feeds_with_an_end_say_how_far_they_are(feed: str) -> None:
    made = {
        "recording": lambda: qf.feeds.sample("AAPL", days_per_second=400),
        "frame": lambda: qf.ReplayFeed(qf.sample("IBM"), speed=400 * 86_400.0),
        "synthetic": lambda: qf.SyntheticFeed(["BTCUSDT"], duration_s=10.0, speed=2.0),
    }[feed]()
    with ending(qf.paper(Always(), made, name=feed).start()):
        shares = []
        for _ in range(3):
            time.sleep(0.4)
            shares.append(made.progress)
        assert None not in shares
        assert 0.0 < shares[0] < shares[1] < shares[2] < 1.0


def test_feeds_without_an_end_do_not() -> None:
    made = qf.SyntheticFeed(["BTCUSDT"], duration_s=None)
    with ending(qf.paper(Always(), made, name="endless").start()) as session:
        until(lambda: session.snapshot.events > 0)
        assert made.progress is None


async def test_a_message_handler_that_returns_a_session_does_not_wait_for_it() -> None:
    """A session can be awaited, and what steers it returns it: ``lambda tick: session.pause()``."""
    with ending(ticking("steered").start()) as session:
        stream = qf.SyntheticFeed(["ETHUSDT"], duration_s=2.0, speed=None)
        heard = []
        stream.add_message_handler(lambda event: heard.append(event) or session)
        async with asyncio.timeout(20):
            await stream.start_streaming()
        assert len(heard) > 10 and session.state == "running"


@pytest.mark.parametrize("wrong", ["5", float("nan"), -1])
def test_a_wait_for_what_is_no_time_is_refused(wrong) -> None:
    session = qf.paper(qf.MovingAverageCrossover(), qf.feeds.sample("AAPL", days_per_second=1), name="wrong").start()
    try:
        with pytest.raises(ParameterError, match="timeout_s="):
            session.wait(wrong)
    finally:
        session.stop()
