"""The habits of a notebook, in a real JupyterLab and in a real browser."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import qfkit as qf
from bench.flood import SYMBOLS
from bench.streams import server
from qfkit.core.events import Pause, Quote, Tick
from qfkit.journal.reader import JournalReader
from tests.servers.binance import frames_of_capture

if TYPE_CHECKING:
    from tests.browser import LabPage, Pages, VoilaPages, WebPage

DASHBOARD = ".qfkit-dash"
_NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
_TUTORIALS = sorted(_NOTEBOOKS.glob("[0-9]*.ipynb"))

_IMPORT = "import time\nimport qfkit as qf"
_SESSION = """session = qf.paper(
    qf.MovingAverageCrossover(fast=3, slow=8),
    qf.feeds.SyntheticFeed(["BTCUSDT"], duration_s=None, speed=5),
    name="mine",
    timeframe="1s",
)
session.start()
print("started", session.state)
session"""
_SOCKET = """feed = qf.BinanceFeed({symbols!r}, quotes=False, stream_url="{url}/rate=200&seconds=600")
session = qf.paper(qf.MovingAverageCrossover(), feed, name="mine", timeframe="1s").start()
session"""
_ON_EXCHANGE = """feed = qf.BinanceFeed(["BTCUSDT"], trades="single", stream_url="{url}")
session = qf.paper(qf.MovingAverageCrossover(), feed, name="mine", timeframe="1s")
session.start().wait(0.5)
session"""
_TALKS = """class Talker(qf.Strategy):
    fails = False

    def on_bar(self, bar):
        if self.fails:
            raise ValueError("no such luck")
        print(f"a bar of {bar.symbol} closed")

feed = qf.feeds.SyntheticFeed(["BTCUSDT"], duration_s=None, speed=5)
session = qf.paper(Talker(), feed, name="mine", timeframe="1s").start()
session"""
_HAS_CANDLES = "([selector, candle]) => !![...document.querySelectorAll(selector)].at(-1)?.querySelector(candle)"
_MOVES = """([selector, before]) => {
    const text = [...document.querySelectorAll(selector)].at(-1)?.innerText;
    return !!text && text !== before;
}"""
_STATE = (
    """([selector, state]) => [...document.querySelectorAll(selector)].every(one => one.innerText.includes(state))"""
)
_EXECUTION_COUNTS = """qfkitTest.cells().filter(cell => cell.model.type === "code")
    .map(cell => cell.model.executionCount)"""
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


def counts(page: "LabPage", kernel: psutil.Process, port: int) -> dict[str, int]:
    """What a cell that is run again could leave behind."""
    return {
        "threads": kernel.num_threads(),
        "sockets to the exchange": sum(one.raddr.port == port for one in kernel.net_connections() if one.raddr),
        "all sockets": len(kernel.net_connections()),
        "widgets": page.value("len(__import__('ipywidgets').widgets.widget._instances)"),
    }


def test_a_cell_that_is_run_again_doubles_no_session_thread_socket_widget_or_callback(lab: "Pages") -> None:
    with server("bench.flood", "--count", "1") as url:
        page = lab.open([_IMPORT, _SOCKET.format(symbols=SYMBOLS, url=url)])
        page.run_all()
        wait_for_candles(page)
        kernel, port = kernel_process(page), int(url.rpartition(":")[2])
        before = counts(page, kernel, port)
        assert before["sockets to the exchange"] == 1
        for _ in range(3):
            page.run(1)
            wait_for_candles(page)
            wait_for_events(page)
        assert counts(page, kernel, port) == before
        assert page.value("[list(qf.live.registry.running), session.state]") == [["mine"], "running"]
        assert page.count(DASHBOARD) == 1
        page.click(f"{DASHBOARD} button:has-text('Pause')")
        page.wait_for(f"{DASHBOARD} >> text=paused")
        page.execute("session.stop()")
    states, pauses = [], 0
    for path in journals(page, "mine"):
        with JournalReader(path) as reader:
            states.append(reader.meta["state"])
            pauses += sum(type(event) is Pause for batch in reader.events() for event in batch)
    assert (states, pauses) == (["stopped"] * 4, 1)


def test_an_interrupt_ends_the_cell_and_not_the_session(lab: "Pages") -> None:
    waits = ("time.sleep(60)", "import asyncio\nawait asyncio.sleep(60)", "session.wait()")
    page = lab.open([_IMPORT, _SESSION, *(f"print('it begins')\n{wait}" for wait in waits)])
    page.run(0)
    page.run(1)
    for cell in (2, 3, 4):
        page.run(cell, wait=False)
        # An interrupt that comes before the kernel has the cell stops nothing.
        end_s = time.monotonic() + 20.0
        while "it begins" not in page.output_text(cell):
            assert time.monotonic() < end_s, "the cell did not begin"
        page.interrupt()
        page.wait_idle(10.0)
        assert page.outputs(cell)[-1]["ename"] in {"KeyboardInterrupt", "CancelledError"}
        before = page.value("session.snapshot.events")
        assert wait_for_events(page) > before
        assert page.value("session.state") == "running"
    page.execute("session.stop()")


def test_after_a_restart_of_the_kernel_a_session_is_resumed_by_its_name(lab: "Pages", monkeypatch) -> None:
    page = lab.open([_IMPORT, _SESSION, "session = qf.resume('mine').start()\nsession"])
    page.run(0)
    page.run(1)
    seen = wait_for_events(page, more=200)
    former = kernel_process(page)
    page.restart_kernel()
    assert page.value("'session' in globals()") is False
    assert not psutil.pid_exists(former.pid)
    monkeypatch.setenv("QFKIT_HOME", str(page.home))
    assert qf.sessions().state.tolist() == ["interrupted"]
    page.run(0)
    page.run(2)
    wait_until_it_moves(page)
    assert wait_for_events(page) > seen
    page.execute("session.stop()")
    assert page.value("bool(session.verify())") is True
    assert qf.sessions().state.tolist() == ["stopped"]


def shown(page: "WebPage") -> list[str]:
    """The portfolio's value in each dashboard of the page, and the number of candles."""
    script = """dashboard => [...document.querySelectorAll(dashboard)].map(
        one => one.innerText.match(/[\\d,]+[.]\\d\\d(?=\\s+portfolio value)/)?.[0] + " " + one.querySelectorAll("g.stick").length)"""
    return page.evaluate(script, DASHBOARD)


def wait_for_candles(page: "WebPage") -> None:
    """Wait until the last dashboard has candles, also where the price stood still and one is a dash of no height."""
    page.wait_until(_HAS_CANDLES, [DASHBOARD, "g.stick"])


def wait_until_it_moves(page: "WebPage") -> None:
    """Wait until the last dashboard has candles, and shows something else than it did then."""
    wait_for_candles(page)
    page.wait_until(_MOVES, [DASHBOARD, page.texts(DASHBOARD)[-1]])


def test_a_dashboard_in_two_cells_is_one_and_lives_on_through_reload_and_a_closed_tab(lab: "Pages") -> None:
    page = lab.open([_IMPORT, _SESSION, "session.dashboard()"])
    page.run_all()
    page.wait_until("selector => document.querySelectorAll(selector).length === 2", DASHBOARD)
    wait_until_it_moves(page)
    page.reload()
    wait_until_it_moves(page)
    page.close_tab()
    away = page.server.kernel_id(page.path)
    page.open_tab()
    assert page.server.kernel_id(page.path) == away
    wait_until_it_moves(page)
    page.execute("session.stop()")
    equity = page.value("f'{session.snapshot.equity:,.2f}'")
    page.wait_until(_STATE, [DASHBOARD, "stopped"])
    first, second = shown(page)
    assert first == second
    assert first.split()[0] == equity


def test_what_a_strategy_prints_and_raises_goes_to_the_dashboard_and_not_into_a_cell_at_random(lab: "Pages") -> None:
    page = lab.open([_IMPORT, _TALKS, "time.sleep(1.5)", "Talker.fails = True", "time.sleep(1.5)", "1 + 1", "2 + 2"])
    page.run_all()
    assert "a bar of BTCUSDT closed" in page.text(DASHBOARD)
    page.wait_until(_STATE, [DASHBOARD, "no such luck"])
    assert page.outputs(2) == page.outputs(3) == []
    # Told once, where the next cell begins or the present one ends.
    told = [cell for cell in (4, 5, 6) if "no such luck" in page.output_text(cell)]
    assert len(told) == 1
    assert not any("a bar of" in page.output_text(cell) for cell in (4, 5, 6))
    page.execute("session.stop()")


def test_a_page_that_stands_still_costs_the_session_nothing_and_is_up_to_date_soon_after(lab: "Pages") -> None:
    page = lab.open([_IMPORT, _SESSION])
    page.run_all()
    wait_until_it_moves(page)
    before_ns = page.value("session.snapshot.time_ns")
    page.evaluate("() => { const end = Date.now() + 4000; while (Date.now() < end); }")
    # At five times its speed the market had 20 s.
    assert page.value("session.snapshot.time_ns") - before_ns > 15e9
    page.execute("session.stop()")
    equity = page.value("f'{session.snapshot.equity:,.2f}'")
    page.wait_until(_STATE, [DASHBOARD, "stopped"], timeout_s=5.0)
    assert shown(page)[0].split()[0] == equity


def test_under_voila_the_dashboard_is_a_page_that_lives(voila: "VoilaPages") -> None:
    page = voila.open(_NOTEBOOKS / "dashboard_page.ipynb")
    wait_until_it_moves(page)
    assert "import qfkit" not in page.text("body")
    page.screenshot("voila")
    page.click(f"{DASHBOARD} button:has-text('Stop')")
    page.wait_until(_STATE, [DASHBOARD, "stopped"])


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


@pytest.mark.timeout(240)
def test_run_all_cells_runs_every_tutorial_from_top_to_bottom(lab: "Pages") -> None:
    assert len(_TUTORIALS) == 8
    pages = {}
    # The next is opened while the last still runs: they wait for their streams most of the time.
    for tutorial in _TUTORIALS:
        pages[tutorial.stem] = page = lab.open(tutorial)
        page.run_all(wait=False)
    for name, page in pages.items():
        page.wait_idle(90.0)
        assert page.errors() == [], name
        counts = page.evaluate(_EXECUTION_COUNTS)
        assert counts == list(range(1, len(counts) + 1)), name
        page.execute("import qfkit.live.registry")
        assert page.value("list(qfkit.live.registry.running)") == [], name
        page.screenshot(f"tutorial_{name}")
        assert page.console_errors == [], name
    for name in ("01_quick_start", "03_writing_a_strategy_live", "04_real_time_trading"):
        wait_for_candles(pages[name])
