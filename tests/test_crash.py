"""A session killed at random moments and resumed equals the one that was never killed."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import crash_child
import pandas as pd
import pytest

import qfkit as qf
from qfkit.errors import SessionError

_HERE = Path(__file__).resolve().parent


def child(task: str, name: str) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join([str(_HERE), str(_HERE.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", "import crash_child; crash_child.main()", task, name],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def journalled(home: Path, name: str) -> int:
    """How many events a session's journal holds by now."""
    for path in (home / "sessions" / name).glob("*.sqlite"):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            row = connection.execute("SELECT max(first_seq + count) FROM batches").fetchone()
        except sqlite3.OperationalError:  # not a table yet
            return 0
        finally:
            connection.close()
        return int(row[0] or 0)
    return 0


def kill_after(process: "subprocess.Popen[bytes]", home: Path, name: str, events: int) -> None:
    """Kill -9 once the journal holds so many events."""
    end_s = time.monotonic() + 30
    try:
        while journalled(home, name) < events:
            if process.poll() is not None:
                assert process.stderr is not None
                pytest.fail(f"it ended before it was killed: {process.stderr.read().decode()}")
            assert time.monotonic() < end_s, "the session makes no progress"
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> qf.Session:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QFKIT_HOME", str(tmp_path_factory.mktemp("never")))
        return crash_child.session("never-killed").start().wait(60)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_twice_and_resumed_equals_never_killed(never_killed: qf.Session, seed: int) -> None:
    home = Path(os.environ["QFKIT_HOME"])
    total = never_killed.snapshot.events
    moments = sorted(random.Random(seed).sample(range(1, int(total * 0.9)), 2))
    kill_after(child("start", "crashed"), home, "crashed", moments[0])
    assert qf.sessions()["state"].tolist() == ["interrupted"]
    kill_after(child("resume", "crashed"), home, "crashed", moments[1])
    resumed = qf.resume("crashed")
    assert resumed.snapshot.events >= moments[1]
    resumed.start().wait(60)
    assert len(resumed.fills) > 100
    for frame in ("orders", "fills", "signals", "trades", "equity", "bars"):
        pd.testing.assert_frame_equal(getattr(resumed, frame), getattr(never_killed, frame), check_exact=True)
    verdict = resumed.verify()
    assert verdict, verdict
    assert verdict.events == total
    with pytest.raises(SessionError, match="nothing to resume"):
        qf.resume("crashed")


def test_a_running_session_of_another_process_is_listed_and_left_alone() -> None:
    home = Path(os.environ["QFKIT_HOME"])
    process = child("start", "elsewhere")
    try:
        end_s = time.monotonic() + 30
        while not journalled(home, "elsewhere"):
            assert time.monotonic() < end_s
            time.sleep(0.005)
        assert qf.sessions()["state"].tolist() == ["running"]
        with pytest.raises(SessionError, match="running in another process"):
            qf.resume("elsewhere")
    finally:
        process.kill()
        process.communicate()
