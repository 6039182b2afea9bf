"""The habits of a notebook, in a real JupyterLab and in a real browser."""

from typing import TYPE_CHECKING

import psutil

import qfkit as qf
from qfkit.journal.reader import JournalReader

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser import LabPage, Pages

_IMPORT = "import time\nimport qfkit as qf"
_SESSION = """session = qf.paper(
    qf.MovingAverageCrossover(),
    qf.feeds.SyntheticFeed(["BTCUSDT"], duration_s=None, speed=5),
    name="mine",
)
session.start()
print("started", session.state)"""


def journals(page: "LabPage", name: str) -> "list[Path]":
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
