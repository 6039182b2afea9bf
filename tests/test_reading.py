"""Sessions read from their journals: by name and path, ended, interrupted and running elsewhere."""

import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from test_looking_back import same
from test_manual import Desk
from test_manual import tick as hand_tick
from test_session import Always, HandFeed, Twice, until, wave

import qfkit as qf
from qfkit.core.strategy import Strategy
from qfkit.errors import JournalFormatError, SessionError, StrategyError

FRAMES = (
    "orders", "fills", "signals", "checks", "trades", "equity", "bars", "log", "alerts", "deliveries", "stops",
    "transfers", "margin_calls", "financing", "assessments",
)  # fmt: skip


def ended(name: str = "ended") -> qf.Session:
    session = qf.paper(
        qf.MovingAverageCrossover(fast=5, slow=12), qf.ReplayFeed(wave(200), speed=None), name=name, cash=50_000.0
    )
    return session.start().wait(20)


def test_a_session_read_is_the_session_that_ran() -> None:
    session = ended()
    read = qf.read_session("ended")
    assert (read.name, read.state) == ("ended", "stopped")
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(read, name), getattr(session, name), check_exact=True)
    pd.testing.assert_frame_equal(read.positions, session.positions)
    counters = ["events", "connects", "duplicates", "late", "rejected"]
    pd.testing.assert_frame_equal(read.health[counters], session.health[counters])
    assert str(read.why(3)) == str(session.why(3))
    assert read.at(event=50) == session.at(event=50)
    assert len(read.timeline(most=10)) <= 10
    assert read.verify().events == session.snapshot.events
    assert read.snapshot.equity == session.snapshot.equity
    assert read.result.metrics.end_equity == session.result.metrics.end_equity
    assert read.result.costs.describe() == session.result.costs.describe()
    assert "MovingAverageCrossover" in next(iter(read.sources.values()))
    assert read.parameters["MovingAverageCrossover"]["fast"] == 5
    assert "stopped" in repr(read)
    assert "201 events" in repr(read)
    assert "201 events" in read._repr_html_()
    assert "Sharpe" in read._repr_html_()
    # By its path, too.
    assert qf.read_session(session.journal_path).fills.equals(session.fills)
    assert qf.read_session(str(session.journal_path)).name == "ended"


def test_of_a_name_the_newest_run_is_read_and_the_running_one_before_it(tmp_path) -> None:
    ended("twice")
    session = ended("twice")
    assert qf.read_session("twice").journal_path == session.journal_path
    desk = Desk(tmp_path, Always, name="twice", cash=1e6)
    desk.give(hand_tick(0, 100), hand_tick(61, 101))
    read = qf.read_session("twice")
    assert read.state == "running"
    assert len(read.orders) == 1
    assert read.why().order.status == "working"
    desk.give(hand_tick(62, 102), hand_tick(121, 103))
    # What is still written is read anew.
    assert len(read.orders) == 2
    assert len(read.fills) == 1
    assert read.at("00:01:01.5").events == 2
    assert read.why(1).order.status == "filled"
    desk.end()
    assert read.state == "stopped"


def test_what_there_is_not_is_said_with_what_there_is(tmp_path) -> None:
    ended("known")
    with pytest.raises(SessionError, match=r"no session 'knwon' .* Did you mean 'known'"):
        qf.read_session("knwon")
    with pytest.raises(SessionError, match=r"there is no journal at .*qf\.sessions\(\)"):
        qf.read_session(tmp_path / "none.sqlite")
    other = tmp_path / "other.sqlite"
    other.write_text("no journal at all, but long enough to be looked at as one")
    with pytest.raises(JournalFormatError, match="not a qfkit journal"):
        qf.read_session(other)


CHILD = """
    import os, sys
    import qfkit as qf

    class Elsewhere(qf.Strategy):
        size = qf.Param(2.0)

        def setup(self):
            self.average = self.indicator(qf.SMA, 3)

        def on_bar(self, bar):
            print("a line of mine")
            self.buy(bar.symbol, quantity=self.size, reason="elsewhere")

    sys.path.insert(0, {tests!r})
    from test_session import wave

    session = qf.paper(Elsewhere(), qf.ReplayFeed(wave(30), speed=None), name="child", cash=1e6)
    session.start().wait(20)
    session.suspend() if {suspended} else None
    os._exit(0)
"""


def run_child(*, suspended: bool = False) -> None:
    code = textwrap.dedent(CHILD.format(tests=str(Path(__file__).parent), suspended=suspended))
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_without_the_strategy_s_class_frames_are_there_and_why_tells_what_the_journal_holds() -> None:
    run_child()
    read = qf.read_session("child")
    assert (read.state, len(read.bars), len(read.fills)) == ("stopped", 30, 27)
    assert read.orders.reason.unique().tolist() == ["elsewhere"]
    assert read.result.metrics.fills == 27
    story = read.why(3)
    assert (story.order.quantity, story.reason) == (2.0, "elsewhere")
    assert "Elsewhere" in story.lacks
    assert "not defined here" in str(story)
    assert story.costs.total.iloc[0] == pytest.approx(story.cost["total"])
    # The average is in the signal; what was before is not.
    assert story.indicators.value.notna().all()
    assert story.indicators.before.isna().all()
    assert list(read.sources) == ["__main__:Elsewhere"]
    for call in (lambda: read.at(event=3), read.timeline, lambda: read.snapshot):
        with pytest.raises(SessionError, match="Elsewhere"):
            call()
    with pytest.raises(StrategyError, match="read_session"):
        read.verify()


def test_with_the_class_given_it_is_all_there_and_prints_nothing(capsys) -> None:
    run_child()

    class Elsewhere(qf.Strategy):
        size = qf.Param(2.0)

        def setup(self) -> None:
            self.average = self.indicator(qf.SMA, 3)

        def on_bar(self, bar: qf.Bar) -> None:
            print("a line of mine")
            self.buy(bar.symbol, quantity=self.size, reason="elsewhere")

    try:
        read = qf.read_session("child", strategies={"Elsewhere": Elsewhere})
        assert read.verify()
        capsys.readouterr()
        story = read.why(3)
        assert story.indicators.before.notna().all()
        assert story.parameters == {"size": 2.0}
        at = read.at(event=10)
        assert at.events == 10
        # What was printed by then is told as it was, and nothing of it is printed anew.
        assert [text for _, text in at.printed] == ["a line of mine"] * 8
        assert len(read.timeline(most=5)) <= 5
        assert capsys.readouterr().out == ""
    finally:
        Strategy.registry.pop(Elsewhere.key(), None)


def test_costs_that_no_journal_holds_are_told_by_their_text() -> None:
    costs = qf.Costs(commission=lambda quantity, price: 1.0)
    session = qf.paper(Always, qf.ReplayFeed(wave(10), speed=None), name="function", costs=costs, cash=1e6)
    session.start().wait(10)
    read = qf.read_session("function")
    assert read.fills.fee.tolist() == [1.0] * 9
    assert "commission by" in " ".join(read.result.assumptions)
    assert "costs=" in read.why(1).lacks
    assert not qf.read_session("function", costs=costs).why(1).lacks


def test_a_journal_of_the_first_format_is_read_and_looked_back_at() -> None:
    session = ended("old")
    told, at = str(session.why(3)), session.at(event=100)
    with closing(sqlite3.connect(session.journal_path)) as connection, connection:
        connection.execute("PRAGMA user_version = 1")
        for table, columns in (
            ("signals", ("sizing",)),
            ("fills", ("rate", "is_crossed")),
            ("trades", ("max_adverse_excursion", "max_favourable_excursion", "entry_rate")),
        ):
            for column in columns:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for table in ("transfers", "stops", "margin_calls", "financing"):
            connection.execute(f"DROP TABLE {table}")
    read = qf.read_session("old")
    assert read.at(event=100) == at
    assert str(read.why(3)) == told
    assert read.fills.rate.unique().tolist() == [1.0]
    assert read.stops.empty
    assert read.verify()


def test_a_session_that_was_resumed_is_read_anew() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="resumed", cash=1e6).start()
    feed.give(*wave(10))
    until(lambda: session.snapshot.events == 10)
    session.suspend()
    read = qf.read_session("resumed")
    assert (read.state, len(read.bars)) == ("interrupted", 10)
    feed = HandFeed()
    feed.give(*wave(20)[10:])
    again = qf.resume("resumed", feed=feed, strategies=Always).start()
    until(lambda: len(again.bars) == 20)
    assert len(read.bars) == 20
    again.stop()
    pd.testing.assert_frame_equal(read.fills, again.fills, check_exact=True)
    assert read.state == "stopped"


def test_classes_that_a_running_session_takes_in_are_replayed_too(tmp_path) -> None:
    desk = Desk(tmp_path, Always, name="changing", cash=1e6)
    session = desk.session
    desk.give(*wave(10))
    read = qf.read_session("changing")
    assert same(read.at(event=5), session.at(event=5))
    session.swap(Twice)
    desk.give(*wave(20)[10:])
    session.add(qf.MovingAverageCrossover(fast=2, slow=5), "second", cash=100.0)
    desk.give(*wave(30)[20:])
    last = session.snapshot.events
    assert same(read.at(event=last), session.at(event=last))
    assert read.why("last").order.reason == "twice"
    assert len(read.timeline(most=5)) <= 5
    assert same(read.at(event=5), session.at(event=5))
    desk.end()
    assert read.verify()
