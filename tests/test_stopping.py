"""Stops from outside: of sessions of other processes, by name, path or all, with positions closed first or not."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from test_session import Always, HandFeed, bar, until

import qfkit as qf
from qfkit.cli import main
from qfkit.core.events import Flatten, Stop
from qfkit.errors import JournalError, ParameterError, SessionError
from qfkit.journal.lock import JournalLock
from qfkit.journal.reader import JournalReader
from qfkit.journal.requests import StopRequest, ask_to_stop, is_asked, take_request
from qfkit.live.registry import running
from qfkit.live.stopping import stop_journals

# A session whose own main thread is held up for ever, as a notebook's kernel is by a cell.
CHILD = """
import sys
import time
import qfkit as qf

class Holds(qf.Strategy):
    def on_tick(self, tick):
        if not self.position(tick.symbol) and not self.orders:
            self.buy(tick.symbol, quantity=0.1, reason="to hold something")

class HoldsOn(Holds):
    is_stuck = False

    def on_bar(self, bar):
        HoldsOn.is_stuck = True
        while True:
            pass

name, kind = sys.argv[1:3]
feed = qf.SyntheticFeed(["BTCUSDT"], duration_s=None, trades_per_s=50)
strategy = HoldsOn if kind == "stuck" else Holds
timeframe = "1s" if kind == "stuck" else "1m"
session = qf.paper(strategy(), feed, timeframe=timeframe, name=name).start()
print("started", flush=True)
while session.snapshot.fills_count == 0 or (kind == "stuck" and not HoldsOn.is_stuck):
    time.sleep(0.01)
print("holds", flush=True)
while kind == "busy":
    pass
time.sleep(3600)
"""


@contextmanager
def child(name: str, kind: str = "holds") -> "Iterator[subprocess.Popen[str]]":
    """A session in another process, once it holds something."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, name, kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline().strip(), process.stdout.readline().strip()]
        assert lines == ["started", "holds"], process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def state_of(name: str) -> str:
    frame = qf.sessions()
    return str(frame[frame["name"] == name]["state"].iloc[-1])


def journal_of(name: str) -> Path:
    frame = qf.sessions()
    return Path(frame[frame["name"] == name]["path"].iloc[-1])


def commands_of(path: Path) -> list[object]:
    with JournalReader(path) as reader:
        return [event for batch in reader.events() for event in batch if isinstance(event, Flatten | Stop)]


def test_a_session_of_a_busy_process_stops_within_a_second_and_keeps_its_positions() -> None:
    with child("busy", "busy") as process:
        started_s = time.monotonic()
        (answer,) = qf.stop("busy")
        took_s = time.monotonic() - started_s
        assert process.poll() is None, "the process itself goes on"
    assert answer.outcome == "stopped"
    assert answer.still_open == (("Holds", "BTCUSDT", 0.1),)
    assert "positions left as they are: 0.1 BTCUSDT (Holds)" in str(answer)
    # A second is what is promised; a machine with other work beside may take longer for a process to be seen at all.
    assert took_s < 3.0
    assert state_of("busy") == "stopped"
    path = journal_of("busy")
    assert [type(event) for event in commands_of(path)] == [Stop]
    assert not is_asked(path)
    with JournalReader(path) as reader:
        assert any(f"stopped by another process (number {os.getpid()})" in entry.text for entry in reader.log())


def test_flatten_closes_all_first_and_is_journalled_as_what_it_is() -> None:
    with child("flat"):
        (answer,) = qf.stop("flat", flatten=True)
    assert (answer.outcome, answer.still_open) == ("stopped", ())
    assert str(answer) == "stopped 'flat'; nothing is open"
    path = journal_of("flat")
    assert [type(event) for event in commands_of(path)] == [Flatten, Stop]
    with JournalReader(path) as reader:
        # Orders may fill in parts.
        sides = {"buy": 0.0, "sell": 0.0}
        for fill in reader.fills():
            sides[str(fill.side)] += fill.quantity
    assert sides["buy"] == pytest.approx(sides["sell"]) and sides["sell"] > 0.0


def test_the_command_stops_several_by_name_and_path_and_says_so() -> None:
    with child("one"), child("two"):
        done = subprocess.run(
            [sys.executable, "-m", "qfkit", "stop", "one", str(journal_of("two"))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert re.findall(r"stopped '(\w+)'", done.stdout) == ["one", "two"]
        assert (state_of("one"), state_of("two")) == ("stopped", "stopped")
        again = subprocess.run(
            [sys.executable, "-m", "qfkit", "stop", "one"], capture_output=True, text=True, check=False
        )
    assert (again.returncode, again.stdout) == (0, "'one' was not running: stopped\n")


def test_the_command_stops_all(capsys: pytest.CaptureFixture[str]) -> None:
    feed = HandFeed()
    here = qf.paper(Always(), feed, name="here").start()
    with child("there"):
        assert main(["stop", "--all"]) == 0
        assert state_of("there") == "stopped"
    assert here.state == "stopped"
    assert sorted(re.findall(r"stopped '(\w+)'", capsys.readouterr().out)) == ["here", "there"]
    assert main(["stop", "--all"]) == 0
    assert capsys.readouterr().out == "no session is running\n"


def test_a_session_that_does_not_answer_is_told_with_what_to_do() -> None:
    with child("stuck", "stuck") as process:
        with pytest.raises(SessionError, match="did not answer within 0.6 s") as raised:
            qf.stop("stuck", patience_s=0.6)
        assert f"kill {process.pid}" in str(raised.value) and "qf.resume('stuck')" in str(raised.value)
        assert state_of("stuck") == "running"
        assert main(["stop", "stuck", "--patience", "0.3"]) == 1
    # Its process is gone now, and that is said too.
    (answer,) = qf.stop("stuck")
    assert answer.outcome == "not running"
    assert "interrupted; qf.resume('stuck') would go on with it" in str(answer)


def test_a_process_that_is_suspended_honours_the_request_when_it_goes_on() -> None:
    with child("asleep") as process:
        process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(SessionError, match="The request stays"):
                qf.stop("asleep", patience_s=0.3)
        finally:
            process.send_signal(signal.SIGCONT)
        until(lambda: state_of("asleep") == "stopped", 10)


def test_a_request_for_an_earlier_run_stops_nothing() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="later").start()
    assert session.journal_path is not None
    ask_to_stop(session.journal_path, StopRequest("of an earlier run", 1))
    until(lambda: not is_asked(session.journal_path))
    feed.give(bar(0, 100.0))
    until(lambda: session.snapshot.events == 1)
    assert session.state == "running"
    assert session.snapshot.messages == ()
    session.stop()


def test_a_request_that_cannot_be_read_stops_nothing_and_is_told() -> None:
    session = qf.paper(Always(), HandFeed(), name="odd").start()
    assert session.journal_path is not None
    path = session.journal_path.with_name(session.journal_path.name + ".stop")
    path.write_bytes(b"\x00 no request")
    until(lambda: bool(session.snapshot.messages))
    assert "cannot be read" in session.snapshot.messages[0][1]
    assert session.state == "running"
    session.stop()


def test_each_run_of_a_resumed_session_has_a_word_of_its_own() -> None:
    feed = qf.SyntheticFeed(["BTCUSDT"], duration_s=None)
    session = qf.paper(Always(), feed, name="twice", timeframe="1s").start()
    until(lambda: session.snapshot.events > 0)
    assert session.journal_path is not None
    with JournalReader(session.journal_path) as reader:
        first = reader.meta["run"]
        assert reader.meta["process"] == os.getpid()
    session.suspend()
    again = qf.resume("twice", strategies=Always).start()
    with JournalReader(session.journal_path) as reader:
        assert reader.meta["run"] != first
    (answer,) = qf.stop(again.journal_path)
    assert answer.outcome == "stopped" and again.state == "stopped"


def test_a_session_of_the_same_process_is_stopped_directly_and_flattened_where_it_can() -> None:
    feed = HandFeed()
    session = qf.paper(Always(), feed, name="mine", costs=qf.Costs.ideal()).start()
    feed.give(bar(0, 100.0))
    feed.give(bar(1, 100.0))
    until(lambda: bool(session.snapshot.positions))
    # No price comes any more, so nothing can be closed.
    (answer,) = qf.stop("mine", flatten=True, patience_s=0.3)
    assert session.state == "stopped"
    assert answer.still_open == (("Always", "A", 1.0),)
    assert "not closed in time: 1 A (Always)" in str(answer)
    assert "mine" not in running


def test_names_that_never_ran_and_journals_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="no session 'nobody' was ever journalled"):
        qf.stop("nobody")
    with pytest.raises(SessionError, match="there is no journal at"):
        qf.stop(tmp_path / "no.sqlite")
    with pytest.raises(ParameterError, match="patience_s=0"):
        qf.stop(_stopped(tmp_path), patience_s=0.0)
    (answer,) = qf.stop("elsewhere", folder=tmp_path)
    assert answer.outcome == "not running"


def _stopped(folder: Path) -> Path:
    session = qf.paper(Always(), HandFeed(), name="elsewhere", journal=folder).start().stop()
    assert session.journal_path is not None
    return session.journal_path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say which sessions"),
        (["a", "--all"], "say which sessions"),
        (["a", "--folder", "no/such"], "no such folder"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stop", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_one_that_cannot_be_asked_keeps_nobody_from_stopping_the_others() -> None:
    old = qf.paper(Always(), HandFeed(), name="old").start()
    old.suspend()
    assert old.journal_path is not None
    with closing(sqlite3.connect(old.journal_path)) as connection, connection:
        connection.execute("DELETE FROM meta WHERE key = 'run'")
    broken = old.journal_path.with_name("broken.qfkit.sqlite")
    broken.write_bytes(b"no journal at all")
    lock = JournalLock(old.journal_path)
    try:
        with child("other"):
            answers = stop_journals([old.journal_path, broken, journal_of("other")], flatten=False, patience_s=10.0)
            assert state_of("other") == "stopped"
        with pytest.raises(SessionError, match="'old' was started by an earlier qfkit"):
            qf.stop(old.journal_path)
    finally:
        lock.release()
    assert [answer.outcome for answer in answers] == ["no answer", "no answer", "stopped"]
    assert "'old' was started by an earlier qfkit" in answers[0].text
    assert "not a qfkit journal" in answers[1].text


def test_a_broken_file_in_the_folder_is_not_in_the_way_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "aaa.qfkit.sqlite").write_bytes(b"no journal at all")
    session = qf.paper(Always(), HandFeed(), name="beside", journal=tmp_path).start()
    (answer,) = qf.stop("beside", folder=tmp_path)
    assert (answer.outcome, session.state) == ("stopped", "stopped")


def test_a_path_from_the_user_s_own_folder_may_begin_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    session = qf.paper(Always(), HandFeed(), name="tilde", journal="~/mine").start()
    assert session.journal_path is not None
    told = f"~/mine/{session.journal_path.name}"
    session.suspend()
    assert qf.resume(told, feed=HandFeed()).journal_path == session.journal_path
    assert qf.sessions("~/mine")["name"].tolist() == ["tilde"]
    for answers in (qf.stop(told), qf.stop("tilde", folder="~/mine")):
        assert [answer.path for answer in answers] == [str(session.journal_path)]


def test_a_request_that_comes_while_another_is_taken_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "a.qfkit.sqlite"
    first, second = StopRequest("run", 1), StopRequest("run", 2, flatten=True)
    ask_to_stop(journal, first)
    really_open = Path.open

    def opened(path: Path, *arguments: object, **more: object) -> object:
        file = really_open(path, *arguments, **more)
        monkeypatch.undo()
        ask_to_stop(journal, second)
        return file

    monkeypatch.setattr(Path, "open", opened)
    assert take_request(journal, "run") == first
    assert take_request(journal, "run") == second
    assert take_request(journal, "run") is None
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_looked_at_is_an_error_of_the_journal(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be read"):
        take_request(tmp_path / ("long" * 100), "run")
