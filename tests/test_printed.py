"""What strategies print: in their session's log and snapshot, in no cell, bounded, and never twice."""

import contextlib
import copy
import io
import sqlite3
import sys
import time

import pandas as pd
import pytest
from test_session import SECOND, START_NS, HandFeed, bar, until

import qfkit as qf
from qfkit.core.events import Bar
from qfkit.journal.reader import JournalReader
from qfkit.live.printed import _here, _Routed, _take_display, silent


class Says(qf.Strategy):
    """Prints at each bar, at its start and its end."""

    words = qf.Param("bar")

    def on_start(self) -> None:
        print(self.words, "start")

    def on_bar(self, bar: Bar) -> None:
        print(self.words, bar.close)

    def on_stop(self) -> None:
        print(self.words, "stop")


class Floods(qf.Strategy):
    def on_bar(self, bar: Bar) -> None:
        for number in range(1_000_000):
            print(number)


class Odd(qf.Strategy):
    """Prints in pieces, several lines at once, to stderr, a long line, and what is no text."""

    def on_bar(self, bar: Bar) -> None:
        print("one ", end="")
        print("line")
        sys.stdout.writelines(["two\n", "three\nfour\n"])
        sys.stdout.flush()
        print("to stderr", file=sys.stderr)
        print("x" * 5_000)
        try:
            sys.stdout.write(b"bytes")
        except TypeError as error:
            print(error)
        print("without an end", end="")


def test_lines_are_in_the_snapshot_and_the_log_with_the_engines_time_and_not_in_the_cell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sys.stdout
    feed = HandFeed()
    session = qf.paper({"one": Says(), "two": Says(words="other")}, feed, name="says").start()
    feed.give(bar(0, 100.0), bar(1, 101.0))
    until(lambda: len(session.snapshot.printed) == 6)
    print("from the cell")
    session.stop()
    assert capsys.readouterr().out == "from the cell\n"
    assert sys.stdout is before
    first_ns, second_ns = START_NS + 60 * SECOND, START_NS + 120 * SECOND
    printed = session.snapshot.printed
    assert printed[2:6] == (
        (first_ns, "bar 100.0"),
        (first_ns, "other 100.0"),
        (second_ns, "bar 101.0"),
        (second_ns, "other 101.0"),
    )
    assert [text for _, text in printed[6:]] == ["bar stop", "other stop"]
    log = session.log
    lines = log[log["kind"] == "printed"]
    assert lines["text"].tolist() == [text for _, text in printed]
    assert lines["strategy"].tolist() == ["one", "two"] * 4
    assert lines.index[2] == pd.Timestamp(first_ns, tz="UTC")
    assert isinstance(log.index, pd.DatetimeIndex) and str(log.index.tz) == "UTC" and log.index.name == "time"
    assert log.columns.tolist() == ["kind", "strategy", "text"]


def test_a_replay_prints_nothing_and_what_is_printed_is_no_part_of_the_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    events = [bar(index, 100.0 + index) for index in range(20)]
    session = qf.paper(Says(), qf.ReplayFeed(events, speed=None), name="replayed").start().wait(10)
    assert session.verify()
    assert capsys.readouterr().out == ""
    assert len(session.log) == 22


def test_a_resumed_session_prints_only_what_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    feed = qf.SyntheticFeed(["BTCUSDT"], duration_s=None)
    session = qf.paper(Says(), feed, name="resumed", timeframe="1s").start()
    until(lambda: len(session.snapshot.printed) >= 2)
    session.suspend()
    so_far = len(session.log)
    again = qf.resume("resumed", strategies=Says)
    assert capsys.readouterr().out == ""
    again.start()
    until(lambda: len(again.log) > so_far)
    again.stop()
    assert again.log["text"].tolist().count("bar start") == 1
    assert capsys.readouterr().out == ""


def test_a_backtest_prints_into_its_cell_also_while_a_session_runs(capsys: pytest.CaptureFixture[str]) -> None:
    session = qf.paper(Says(), HandFeed(), name="beside").start()
    qf.backtest(Says(words="tried"), [bar(0, 100.0)])
    session.stop()
    out = capsys.readouterr().out.splitlines()
    assert out == ["tried start", "tried 100.0", "tried stop"]


def test_a_million_lines_are_bounded_counted_and_do_not_hold_up_the_feed() -> None:
    feed = HandFeed()
    session = qf.paper(Floods(), feed, name="floods").start()
    started_s = time.monotonic()
    feed.give(bar(0, 100.0))
    until(lambda: session.snapshot.events == 1, 20)
    # A million calls of print are the strategy's own; what is done with them must not be more than that again.
    assert time.monotonic() - started_s < 10.0
    session.stop()
    lines = session.log["text"].tolist()
    assert lines[:3] == ["0", "1", "2"]
    assert len(lines) == 501
    assert lines[-1].startswith("… 999,500 more lines were printed and left out")
    assert len(session.snapshot.printed) == 200
    assert session.verify()


def test_pieces_errors_and_long_lines() -> None:
    feed = HandFeed()
    session = qf.paper(Odd(), feed, name="odd").start()
    feed.give(bar(0, 100.0))
    until(lambda: session.snapshot.events == 1)
    session.stop()
    lines = session.log["text"].tolist()
    assert lines[:5] == ["one line", "two", "three", "four", "to stderr"]
    assert lines[5] == "x" * 1_000 + "…"
    assert lines[6:] == ["write() argument must be str, not bytes", "without an end"]


def test_a_cell_that_captures_its_own_output_does_not_get_the_strategys() -> None:
    feed = HandFeed()
    before = sys.stdout
    session = qf.paper(Says(), feed, name="captured").start()
    with contextlib.redirect_stdout(io.StringIO()) as captured:
        print("mine")
        feed.give(bar(0, 100.0))
        until(lambda: len(session.snapshot.printed) == 2)
        print("mine too")
    feed.give(bar(1, 100.0))
    until(lambda: len(session.snapshot.printed) == 3)
    session.stop()
    assert captured.getvalue() == "mine\nmine too\n"
    assert sys.stdout is before


def test_the_wrapped_stream_is_in_all_else_the_one_it_wraps() -> None:
    before, encoding, is_terminal = sys.stdout, sys.stdout.encoding, sys.stdout.isatty()
    session = qf.paper(Says(), HandFeed(), name="wrapped").start()
    assert sys.stdout is not before
    assert (sys.stdout.encoding, sys.stdout.isatty()) == (encoding, is_terminal)
    with pytest.raises(TypeError, match="cannot be copied"):
        copy.copy(sys.stdout)
    session.stop()
    assert sys.stdout is before


def test_silent_is_for_one_thread_and_nests(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with silent():
        print("not this")
        with silent():
            print("nor this")
        print("nor that")
        qf.run(_print_elsewhere())
    print("this")
    assert capsys.readouterr().out == "elsewhere\nthis\n"
    assert sys.stdout is before


def test_a_stream_that_a_cell_takes_back_meanwhile_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before, captured = sys.stdout, io.StringIO()
    really_init = _Routed.__init__
    with silent(), contextlib.ExitStack() as cell:
        cell.enter_context(contextlib.redirect_stdout(captured))

        def while_the_cell_ends(self: _Routed, stream: object) -> None:
            really_init(self, stream)
            cell.close()

        monkeypatch.setattr(_Routed, "__init__", while_the_cell_ends)
        # As the runner does it at each event.
        with silent():
            pass
    monkeypatch.undo()
    assert sys.stdout is before


def test_an_output_that_is_cleared_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(_here, "sink", lines.append)
    shown = {"msg_type": "display_data", "content": {"data": {"text/plain": "a table"}}}
    assert _take_display({"msg_type": "clear_output", "content": {"wait": False}}) is None
    assert _take_display(shown) is None
    assert lines == ["a table\n"]
    monkeypatch.undo()
    assert _take_display(shown) is shown


async def _print_elsewhere() -> None:
    print("elsewhere")


def test_faults_and_orders_of_the_log_tell_whose_they_are() -> None:
    class Breaks(qf.Strategy):
        def on_bar(self, bar: Bar) -> None:
            print("just before")
            raise ValueError("broken")

    feed = HandFeed()
    session = qf.paper({"bad": Breaks(), "good": Says()}, feed, name="faults").start()
    feed.give(bar(0, 100.0))
    until(lambda: session.snapshot.events == 1)
    session.stop()
    log = session.log
    (error,) = log[log["kind"] == "error"].itertuples()
    assert error.strategy == "bad" and "ValueError: broken" in error.text
    assert log[log["text"] == "just before"]["strategy"].tolist() == ["bad"]


def test_a_journal_made_before_there_was_a_strategys_name_in_the_log_is_read_and_gone_on_with() -> None:
    feed = qf.SyntheticFeed(["BTCUSDT"], duration_s=None)
    session = qf.paper(Says(), feed, name="older", timeframe="1s").start()
    until(lambda: len(session.snapshot.printed) >= 2)
    session.suspend()
    path = session.journal_path
    assert path is not None
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE log DROP COLUMN strategy")
        connection.execute("PRAGMA user_version = 3")
        connection.commit()
    with JournalReader(path) as reader:
        so_far = len(reader.log())
        assert {entry.strategy for entry in reader.log()} == {None}
    again = qf.resume(path, strategies=Says).start()
    until(lambda: len(again.snapshot.printed) >= 1)
    again.stop()
    with JournalReader(path) as reader:
        assert len(reader.log()) > so_far
