"""How a session stood at a moment: as it was seen then, by event and by time."""

import datetime as dt
import random
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pandas as pd
import pytest
from test_manual import Desk
from test_manual import tick as hand_tick
from test_session import START_NS, bar, until, wave

import qfkit as qf
from qfkit.core.events import Bar
from qfkit.errors import NaiveTimeError, ParameterError, SessionError
from qfkit.inspection.times import moment_ns
from qfkit.journal.schema import LogEntry
from qfkit.live.looking_back import _Lines
from tests.support import SECOND

# 2024-01-01 00:00 UTC and some hours.
MIDNIGHT = 1_704_067_200 * SECOND
HOUR = 3_600 * SECOND


class Busy(qf.Strategy):
    """Trades by the last digit of the price, and fails at 113."""

    size = qf.Param(1.0, low=0.0, high=100.0)

    def setup(self) -> None:
        self.average = self.indicator(qf.SMA, 3)

    def on_bar(self, bar: Bar) -> None:
        if bar.close == 113.0:
            raise ZeroDivisionError("by thirteen")
        if bar.close % 2:
            self.buy(bar.symbol, quantity=self.size, stop_loss=bar.close * 0.97, reason="odd")
        elif self.position(bar.symbol):
            self.close(bar.symbol, reason="even")


def seen(snapshot: qf.Snapshot) -> qf.Snapshot:
    """Without what a feed says of itself, which no journal holds."""
    return msgspec.structs.replace(snapshot, feed=None)


def same(one: qf.Snapshot, other: qf.Snapshot) -> bool:
    """Equal in all, a NaN being equal to a NaN."""
    return bool(msgspec.json.encode(one) == msgspec.json.encode(other))


def test_each_event_s_snapshot_is_the_one_that_was_seen_live(tmp_path) -> None:
    desk = Desk(tmp_path, {"busy": Busy, "late": Busy}, cash=10_000.0)
    session, chance = desk.session, random.Random(5)
    live = {}

    async def show() -> None:
        session._pipeline.flush()
        session._pipeline.show()

    def note() -> None:
        # What a person would see a tenth of a second later.
        qf.run(show())
        live[session.snapshot.events] = seen(session.snapshot)

    def command(call: object) -> None:
        call()
        note()

    for index in range(60):
        desk.give(bar(index, 113.0 if index == 55 else 100.0 + chance.randint(0, 9)))
        note()
        if index == 20:
            command(lambda: session.set("late", size=3.0))
        if index == 25:
            command(lambda: session.pause("busy"))
        if index == 30:
            command(lambda: session.resume("busy"))
            command(lambda: session.buy("A", quantity=2, strategy="late"))
            command(lambda: session.set_limits("late", max_drawdown=0.5))
    assert session.snapshot.strategies[0].state == "failed"
    assert sorted(live) == list(range(1, 66))
    assert any(one.fills for one in live.values())
    assert any(one.messages for one in live.values())
    # Forward, and back again in leaps.
    for events in (*range(1, 66), *range(65, 0, -9)):
        assert same(session.at(event=events), live[events]), events
    desk.end()
    # Once it has ended, the last moment is as it shows itself.
    assert same(session.at(event=session.snapshot.events), seen(session.snapshot))


def test_on_ticks_and_quotes_too(tmp_path, capture_path) -> None:
    feed = qf.ReplayFeed(str(capture_path), speed=None)
    session = qf.paper(
        qf.MovingAverageCrossover(fast=3, slow=8), feed, journal=tmp_path, timeframe="5s", cash=100_000.0
    )
    session.start().wait(60)
    last = session.snapshot
    engine = session._plan.engine()
    from qfkit.journal.reader import JournalReader

    wanted = {1, 1_000, 20_001, last.events - 1}
    with JournalReader(session.journal_path) as reader:
        for batch in reader.events():
            for event in batch:
                engine.process(event)
                if engine.events in wanted:
                    then = session.at(event=engine.events)
                    for name in ("time_ns", "equity", "positions", "fills", "symbols", "strategies", "equity_curve"):
                        assert repr(getattr(then, name)) == repr(getattr(engine.snapshot(), name)), name
    assert same(session.at(event=last.events), seen(last))


def test_a_time_is_after_all_that_was_received_by_then(tmp_path) -> None:
    desk = Desk(tmp_path, Busy)
    desk.give(*[hand_tick(second, 100 + second) for second in range(10)])
    session = desk.session
    at = session.at("00:00:04")
    assert (at.symbols[0].price, at.events) == (104, 5)
    # Between two events it is the one before.
    assert session.at("00:00:04.5").events == 5
    assert session.at("00:00:03.999999999").events == 4
    moment = dt.datetime(2024, 1, 1, 0, 0, 4, tzinfo=dt.UTC)
    there = ZoneInfo("America/New_York")
    for same_moment in (
        moment,
        moment.astimezone(there),
        pd.Timestamp(moment),
        pd.Timestamp(moment).tz_convert(there),
        "2024-01-01T00:00:04Z",
        "2023-12-31 19:00:04-05:00",
        START_NS + 4 * SECOND,
        np.int64(START_NS + 4 * SECOND),
        session.orders.index.tz_localize(None)
        .union(pd.DatetimeIndex([moment.replace(tzinfo=None)]))
        .tz_localize("UTC")[-1],
    ):
        assert session.at(same_moment).events == 5, same_moment
    # A session that runs has no end yet; one that has ended does.
    assert session.at("00:01:00").events == 10
    with pytest.raises(ParameterError, match="before its first event: it went from 2024-01-01 00:00:00 UTC to"):
        session.at("2023-12-31T23:59:59Z")
    desk.end()
    with pytest.raises(ParameterError, match="after its last event"):
        session.at("00:01:00")


def test_what_is_no_moment_is_refused_with_the_fix(tmp_path) -> None:
    desk = Desk(tmp_path, Busy)
    session = desk.session
    with pytest.raises(SessionError, match="nothing yet"):
        session.at("00:00:04")
    desk.give(hand_tick(0, 100))
    for naive in (
        "2024-01-01T00:00:04",
        dt.datetime(2024, 1, 1),
        pd.Timestamp("2024-01-01"),
        np.datetime64("2024-01-01"),
    ):  # noqa: DTZ001
        with pytest.raises(NaiveTimeError, match="no time zone"):
            session.at(naive)
    for wrong in ("yesterday", "25:00", "12:61:00", 1.5, True, -1, None):
        with pytest.raises(ParameterError):
            session.at(wrong)
    with pytest.raises(ParameterError, match="a time or an event"):
        session.at("00:00:00", event=1)
    with pytest.raises(SessionError, match="there are 1 events"):
        session.at(event=2)
    assert session.at(event=0).events == 0
    desk.end()
    new = qf.paper(Busy, qf.ReplayFeed([bar(0, 100.0)], speed=None), journal=tmp_path)
    with pytest.raises(SessionError, match="was not started"):
        new.at("12:00")


def test_a_time_of_day_must_be_on_one_day_of_the_session() -> None:
    # From 22:00 to 03:00 the day after: each time of day was once, or never.
    first, last = MIDNIGHT + 22 * HOUR, MIDNIGHT + 27 * HOUR
    assert moment_ns("23:30", first, last) == MIDNIGHT + 23 * HOUR + HOUR // 2
    assert moment_ns("02:00:01.5", first, last) == MIDNIGHT + 26 * HOUR + 3 * SECOND // 2
    with pytest.raises(ParameterError, match="on no day of the session, it went from 2024-01-01 22:00:00 UTC"):
        moment_ns("12:00", first, last)
    # Of three days it was on two or three.
    last = MIDNIGHT + 60 * HOUR
    with pytest.raises(ParameterError, match='on 2 days .* say which, as "2024-01-02T01:00:00'):
        moment_ns("01:00", first, last)
    with pytest.raises(ParameterError, match='on 2 days .*"2024-01-01T23:00:00.*"2024-01-02T23:00:00'):
        moment_ns("23:00", first, last)
    assert moment_ns("15:00", first, last) == MIDNIGHT + 39 * HOUR


def test_a_replay_tells_its_progress_and_begins_anew_for_what_is_earlier(tmp_path) -> None:
    session = qf.paper(Busy, qf.ReplayFeed(wave(20), speed=None), journal=tmp_path).start().wait(10)
    progress: list[tuple[int, int]] = []
    session.at(event=20, on_progress=lambda done, of: progress.append((done, of)))
    assert progress[-1] == (20, 20)
    # Back from there it is played anew, and the events that it had are the same ones.
    assert session.at(event=3).events == 3


def test_a_cell_shows_a_snapshot_in_short(tmp_path) -> None:
    from IPython.lib.pretty import pretty

    session = qf.paper(Busy, qf.ReplayFeed(wave(60), speed=None), journal=tmp_path, name="<busy>").start().wait(10)
    then = session.at(event=50)
    assert len(pretty(then)) < 300
    assert f"{then.equity:,.2f}" in pretty(then)
    page = then._repr_html_()
    assert f"{then.equity:,.2f}" in page
    assert "&lt;busy&gt;" in page
    assert "2024-01-01 00:50:00 UTC</p>" in page
    assert "<script" not in page


def test_after_an_interrupt_a_replay_begins_anew(tmp_path) -> None:
    session = qf.paper(Busy, qf.ReplayFeed(wave(60), speed=None), journal=tmp_path).start().wait(10)
    expected = session.at(event=50)

    def interrupted(done: int, of: int) -> None:
        raise KeyboardInterrupt

    for broken in (
        lambda: session.at(event=55, on_progress=interrupted),
        lambda: session.at("00:40:00", on_progress=interrupted),
        lambda: session.timeline(on_progress=interrupted),
    ):
        with pytest.raises(KeyboardInterrupt):
            broken()
        assert same(session.at(event=50), expected)


def test_a_replay_under_way_does_not_disturb_the_session(tmp_path) -> None:
    desk = Desk(tmp_path, Busy)
    desk.give(*[bar(index, 100.0 + index % 7) for index in range(20)])
    before = desk.session.snapshot
    desk.session.at(event=5)
    desk.session.why()
    assert same(seen(desk.session.snapshot), seen(before))
    desk.give(bar(20, 101.0))
    assert desk.session.at(event=desk.session.snapshot.events).events == desk.session.snapshot.events
    desk.end()


class Compared(int):
    """A time that counts how often it is compared."""

    times = 0

    def __le__(self, other: int) -> bool:
        Compared.times += 1
        return int(self) <= other

    def __gt__(self, other: int) -> bool:
        return not self <= other


def test_the_lines_until_a_time_are_found_without_going_through_the_whole_log() -> None:
    lines = _Lines([LogEntry(Compared(index), "printed", str(index)) for index in range(10_000)], 50)
    Compared.times = 0
    assert lines.until(7_000) == tuple((index, str(index)) for index in range(6_951, 7_001))
    assert lines.until(-1) == ()
    assert Compared.times < 100
    # What was said of a later moment is not there yet, and the rest is in the order in which it was said.
    mixed = _Lines([LogEntry(time_ns, "warning", str(time_ns)) for time_ns in (1, 9, 3, 2)], 2)
    assert [text for _, text in mixed.until(3)] == ["3", "2"]


def test_bad_data_and_rules_that_fail_are_told_of_the_moment_in_recorded_data(tmp_path) -> None:
    def fails(snapshot: qf.Snapshot) -> bool:
        raise KeyError("asked too early")

    def fails_later(snapshot: qf.Snapshot) -> bool:
        if snapshot.events >= 3:
            raise KeyError("asked too late")
        return False

    desk = Desk(tmp_path, Busy, alerts=[fails, fails_later], notify=[])
    until(lambda: len(desk.session.snapshot.messages) == 1)
    desk.give(bar(0, 100.0))
    desk.feed.give(bar(1, float("nan")), bar(1, 102.0))
    until(lambda: len(desk.session.snapshot.messages) == 2)
    desk.give(bar(2, 105.0))
    until(lambda: len(desk.session.snapshot.messages) == 3)
    desk.give(bar(3, 101.0))
    told = [text for _, text in desk.session.snapshot.messages]
    assert ["asked too early" in told[0], "kept aside" in told[1], "asked too late" in told[2]] == [True] * 3
    for events, count in ((1, 1), (2, 2), (4, 3)):
        assert [text for _, text in desk.session.at(event=events).messages] == told[:count]
    assert same(desk.session.at(event=4), seen(desk.session.snapshot))
    assert [stop.snapshot.messages for stop in desk.session.timeline(most=4).stops][
        -1
    ] == desk.session.snapshot.messages
    desk.end()
