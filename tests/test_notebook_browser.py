"""The habits of a notebook, in a real JupyterLab and in a real browser."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import qfkit as qf
from qfkit.core.events import Quote, Tick
from qfkit.journal.reader import JournalReader
from tests.servers.binance import frames_of_capture

if TYPE_CHECKING:
    from tests.browser import LabPage, Pages

_TUTORIALS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))

_IMPORT = "import time\nimport qfkit as qf"
_SESSION = """session = qf.paper(
    qf.MovingAverageCrossover(),
    qf.feeds.SyntheticFeed(["BTCUSDT"], duration_s=None, speed=5),
    name="mine",
)
session.start()
print("started", session.state)"""

_ON_EXCHANGE = """feed = qf.BinanceFeed(["BTCUSDT"], trades="single", stream_url="{url}")
session = qf.paper(qf.MovingAverageCrossover(), feed, name="mine", timeframe="1s")
session.start().wait(0.5)"""
_SLEEPS = """before = session.snapshot.events
time.sleep(5)
session.snapshot.events - before"""
_COMPUTES = """before, end_s = session.snapshot.events, time.monotonic() + 5
while time.monotonic() < end_s:
    sum(number * number for number in range(10_000))
session.snapshot.events - before"""
_STOP = """session.stop()
health = session.health.iloc[0]
print(health.gaps_found, health.missing, health.duplicates)"""


def journals(page: "LabPage", name: str) -> list[Path]:
    return sorted((page.home / "sessions" / name).glob("*.sqlite"))


def kernel_process(page: "LabPage") -> psutil.Process:
    return psutil.Process(page.value("__import__('os').getpid()"))


def wait_for_events(page: "LabPage", session: str = "session", more: int = 1) -> int:
    """Wait, in the kernel, for more events to have come; how many there are now."""
    code = f"""
import time as _time
_end_s, _least = _time.monotonic() + 20, {session}.snapshot.events + {more}
while {session}.snapshot.events < _least and _time.monotonic() < _end_s:
    _time.sleep(0.02)
assert {session}.snapshot.events >= _least, "no events came"
"""
    return page.execute(code, value=f"{session}.snapshot.events")


def test_a_cell_that_is_run_again_has_one_session_one_thread_and_no_more_sockets(lab: "Pages") -> None:
    page = lab.open([_IMPORT, _SESSION, "session.snapshot.state, len(qf.live.registry.running)"])
    page.run_all()
    assert page.errors() == []
    assert "started running" in page.output_text(1)
    wait_for_events(page)
    kernel = kernel_process(page)
    before = kernel.num_threads(), len(kernel.net_connections()), kernel.num_fds()
    for _ in range(3):
        page.run(1)
        wait_for_events(page)
    page.run(2)
    assert page.output_text(2) == "('running', 1)"
    after = kernel.num_threads(), len(kernel.net_connections()), kernel.num_fds()
    assert after == before
    assert page.value("sum(thread.name == 'qfkit' for thread in __import__('threading').enumerate())") == 1
    states = []
    for path in journals(page, "mine"):
        with JournalReader(path) as reader:
            states.append(reader.meta["state"])
    assert states == ["stopped", "stopped", "stopped", "running"]
    page.execute("session.stop()")


def test_an_interrupt_ends_the_cell_and_not_the_session(lab: "Pages") -> None:
    page = lab.open([_IMPORT, _SESSION, "time.sleep(60)", "import asyncio\nawait asyncio.sleep(60)", "session.wait()"])
    page.run(0)
    page.run(1)
    for cell in (2, 3, 4):
        page.run(cell, wait=False)
        page.wait_until("qfkitTest.isBusy()")
        page.interrupt()
        page.wait_idle(5.0)
        assert page.outputs(cell)[-1]["ename"] in {"KeyboardInterrupt", "CancelledError"}
        before = page.value("session.snapshot.events")
        assert wait_for_events(page) > before
        assert page.value("session.state") == "running"
    page.execute("session.stop()")


def test_after_a_restart_of_the_kernel_a_session_is_resumed_by_its_name(lab: "Pages", monkeypatch) -> None:
    page = lab.open([_IMPORT, _SESSION, "session = qf.resume('mine')\nsession.start()\nprint(session.state)"])
    page.run(0)
    page.run(1)
    seen = wait_for_events(page, more=200)
    page.restart_kernel()
    assert page.value("'session' in globals()") is False
    monkeypatch.setenv("QFKIT_HOME", str(page.home))
    assert qf.sessions().state.tolist() == ["interrupted"]
    page.run(0)
    page.run(2)
    assert page.output_text(2).endswith("running")
    assert wait_for_events(page) > seen
    page.execute("session.stop()")
    assert page.execute("", value="[bool(session.verify()), session.verify().events]")[0] is True
    assert qf.sessions().state.tolist() == ["stopped"]


@contextmanager
def exchange(capture: Path, speed: float) -> Iterator[str]:
    """A recorded stream of Binance's, served by another process."""
    arguments = ["--capture", str(capture), "--speed", str(speed)]
    command = [sys.executable, "-m", "tests.servers.binance", *arguments]
    folder = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as server:
        try:
            yield server.stdout.readline().split()[0]
        finally:
            server.kill()


def test_a_kernel_that_sleeps_and_computes_for_five_seconds_loses_no_message(lab: "Pages", capture_path: Path) -> None:
    frames = frames_of_capture(capture_path)
    with exchange(capture_path, 10) as url:
        page = lab.open([_IMPORT, _ON_EXCHANGE.format(url=url), _SLEEPS, _COMPUTES, _STOP])
        page.run_all(60.0)
    # The least that the recording has in 50 s of its time is 3,520: the session went on meanwhile.
    assert min(int(page.output_text(cell)) for cell in (2, 3)) > 2_500
    with JournalReader(journals(page, "mine")[-1]) as reader:
        events = [event for batch in reader.events() for event in batch]
    sent = [(frame.time_ns, json.loads(frame.payload)["data"]) for frame in frames if "depth" not in frame.stream]
    # What was sent in the 10 s is there for certain, and whatever is there has no hole in it.
    certain_ns = frames[0].time_ns + 100 * 1_000_000_000
    trades = [(time_ns, data["t"]) for time_ns, data in sent if "t" in data]
    quotes = [(time_ns, float(data["b"]), float(data["a"])) for time_ns, data in sent if "t" not in data]
    ticks_there = [event.trade_id for event in events if type(event) is Tick]
    quotes_there = [(event.bid, event.ask) for event in events if type(event) is Quote]
    assert len(ticks_there) >= sum(time_ns < certain_ns for time_ns, _ in trades)
    assert ticks_there == [number for _, number in trades][: len(ticks_there)]
    assert len(quotes_there) >= sum(time_ns < certain_ns for time_ns, *_ in quotes)
    assert quotes_there == [tuple(prices) for _, *prices in quotes][: len(quotes_there)]
    assert page.output_text(4).endswith("0 0 0")


@pytest.mark.parametrize("tutorial", _TUTORIALS, ids=[path.stem for path in _TUTORIALS])
def test_all_cells_of_a_tutorial_run_from_top_to_bottom(lab: "Pages", tutorial: Path) -> None:
    page = lab.open(tutorial)
    page.run_all(90.0)
    counts = page.evaluate(
        "qfkitTest.cells().filter(cell => cell.model.type === 'code').map(cell => cell.model.executionCount)"
    )
    assert counts == list(range(1, len(counts) + 1))
    page.execute("import qfkit.live.registry")
    assert page.value("list(qfkit.live.registry.running)") == []
