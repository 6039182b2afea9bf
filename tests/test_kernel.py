"""A session is a good citizen of a real IPython kernel: its cells, interrupts, restarts, errors and prints."""

import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Cell, Kernel, kernel_at
from servers.binance import trade_frame

import qfkit as qf

_START = """
import asyncio, os, threading, time
import qfkit as qf
from qfkit.live.registry import running

class Holds(qf.Strategy):
    size = qf.Param(1.0)
    def on_bar(self, bar):
        if not self.position(bar.symbol):
            self.buy(bar.symbol, quantity=self.size, reason="to hold")

def feed():
    return qf.SyntheticFeed(["BTCUSDT"], duration_s=None)

def until(condition, seconds=10):
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.01)

def sockets():
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            pass
    return found

def stop_all():
    for session in list(running.values()):
        session.stop()
"""


@pytest.fixture(scope="module")
def shared_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with kernel_at(tmp_path_factory.mktemp("kernel")) as kernel:
        kernel.check(_START)
        yield kernel


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Iterator[Kernel]:
    yield shared_kernel
    shared_kernel.check("stop_all()")
    # What a test left to be told is told here.
    shared_kernel.check("pass")


@pytest.fixture
def own_kernel(tmp_path: Path) -> Iterator[Kernel]:
    with kernel_at(tmp_path) as kernel:
        kernel.check(_START)
        yield kernel


# -- cells ---------------------------------------------------------------------------------------


def test_start_returns_at_once_and_run_all_works_from_top_to_bottom(kernel: Kernel) -> None:
    cells = [
        "session = qf.paper(Holds(), feed(), timeframe='1s', name='run-all').start(); began = time.monotonic()",
        "session.wait(1.2); print(session.state)",
        "print('between')",
        "session.wait(0.2); session.stop(); print(session.state)",
        "print(bool(session.verify()))",
    ]
    done = kernel.wait_all([kernel.send(code) for code in cells])
    assert [cell.error for cell in done] == [""] * 5
    assert [cell.stdout.strip() for cell in done] == ["", "running", "between", "stopped", "True"]
    # No empty place for alerts that nobody asked for.
    assert [len(cell.displays) for cell in done] == [0, 1, 0, 0, 0]


def test_a_long_run_shows_a_line_that_hears_an_interrupt_and_is_gone_at_the_end(kernel: Kernel) -> None:
    kernel.check(
        "class Slow(qf.Strategy):\n"
        "    at = qf.Param(0)\n"
        "    def on_start(self):\n"
        "        if self.at == 3: print('three', flush=True)\n"
        "        time.sleep(0.3)\n"
        "bars = qf.sample('IBM')[:30]"
    )
    sent = kernel.send(
        "found = qf.sweep(Slow, bars, executor=1, progress=True, at=range(500)); print(found.is_interrupted)"
    )
    kernel.until_printed(sent, "three")
    kernel.interrupt()
    cell = kernel.wait(sent)
    assert not cell.error and cell.stdout.splitlines()[-1] == "True" and not cell.stderr
    (first,) = cell.displays
    assert re.fullmatch(r"sweep: \d+ of 500 combinations.*", first["text/plain"])
    assert 'role="progressbar"' in first["text/html"]
    assert len(cell.updates) >= 2
    assert re.fullmatch(
        r"sweep: \d of 500 combinations, [\d.]+ a second, 0:0\d:\d\d left", cell.updates[-2]["text/plain"]
    )
    assert cell.updates[-1] == {"text/plain": "", "text/html": ""}


def test_a_wait_shows_a_line_that_reads_well_without_a_kernel_and_is_drawn_seldom(kernel: Kernel) -> None:
    kernel.check("session = qf.paper(Holds(), feed(), timeframe='1s', name='<wait>').start()")
    cell = kernel.check("session.wait(2.0);")
    (first,) = cell.displays
    assert re.fullmatch(r"<wait>: \d+ %, [\d,]+ events?, \d s left", first["text/plain"])
    assert "<b>&lt;wait&gt;</b>" in first["text/html"] and 'role="progressbar"' in first["text/html"]
    assert 3 <= len(cell.updates) <= 9
    assert cell.updates[-1]["text/plain"] == "<wait>: waited 2 s; it goes on"
    assert (cell.stdout, cell.stderr) == ("", "")
    assert kernel.check("session.wait(0.2, progress=False);").displays == []


def test_a_recordings_wait_tells_the_share_and_ends_with_the_same_words_each_time(kernel: Kernel) -> None:
    code = (
        "session = qf.paper(Holds(), qf.feeds.sample('AAPL', days_per_second=3_000), name='share').start()\n"
        "session.wait();"
    )
    for _ in range(2):
        cell = kernel.check(code)
        told = [page["text/plain"] for page in [*cell.displays, *cell.updates[:-1]]]
        shares = [int(found[1]) for found in (re.match(r"share: (\d+) %", text) for text in told) if found]
        assert shares == sorted(shares) and 10 < shares[0] < shares[-1] <= 100
        assert cell.updates[-1]["text/plain"] == "share: ended after 3,271 events"


def test_awaiting_and_looking_at_snapshots_in_a_cell(kernel: Kernel) -> None:
    kernel.check(
        "session = qf.paper(Holds(), qf.SyntheticFeed(['BTCUSDT'], duration_s=1.5), timeframe='1s', name='awaited').start()\n"
        "seen = []\n"
        "async for snapshot in session.snapshots(every_s=0.2):\n"
        "    seen.append(snapshot)\n"
        "    if len(seen) == 3:\n"
        "        break\n"
        "rest = [snapshot async for snapshot in session.snapshots(every_s=0.2)]\n"
        "same = await session"
    )
    cell = kernel.check("print(same is session, session.state, rest[-1] is session.snapshot, seen[2].events > 0)")
    assert cell.stdout == "True stopped True True\n"


def test_prints_of_a_strategy_go_to_its_log_and_to_no_cell(kernel: Kernel) -> None:
    kernel.check(
        "class Says(qf.Strategy):\n"
        "    def on_bar(self, bar):\n"
        "        print('said')\n"
        "session = qf.paper(Says(), feed(), timeframe='1s', name='says').start()"
    )
    cell = kernel.check("print('mine'); until(lambda: session.snapshot.printed); print('too')")
    assert (cell.stdout, cell.stderr) == ("mine\ntoo\n", "")
    captured = kernel.check(
        "%%capture mine\nprint('kept')\nbefore = len(session.snapshot.printed)\nuntil(lambda: len(session.snapshot.printed) > before)"
    )
    assert captured.stdout == ""
    cell = kernel.check(
        "import sys; session.stop()\nprint(repr(mine.stdout), session.log['text'].iloc[0], type(sys.stdout).__name__)"
    )
    assert cell.stdout == "'kept\\n' said OutStream\n"


def test_what_a_strategy_displays_is_a_line_of_its_log_and_a_cell_displays_as_ever(kernel: Kernel) -> None:
    cell = kernel.check(
        "from IPython.display import HTML, display\n"
        "import pandas as pd\n"
        "class Displays(qf.Strategy):\n"
        "    def on_bar(self, bar):\n"
        "        display(pd.Series([1, 2], name='shown'))\n"
        "session = qf.paper(Displays(), feed(), timeframe='1s', name='displays').start()\n"
        "until(lambda: len(session.snapshot.printed) >= 3)\n"
        "display(HTML('<i>mine</i>'))\n"
        "print([text for _, text in session.snapshot.printed[:3]])\n"
        "session.stop(); print(bool(session.verify()))"
    )
    assert [page["text/html"] for page in cell.displays[-1:]] == ["<i>mine</i>"]
    assert not any("shown" in page.get("text/plain", "") for page in cell.displays)
    assert cell.stdout == "['0    1', '1    2', 'Name: shown, dtype: int64']\nTrue\n"


def test_alerts_come_under_the_cell_that_first_asked_for_one(kernel: Kernel) -> None:
    started = kernel.check("session = qf.paper(Holds(), feed(), timeframe='1s', name='alerted').start()")
    assert started.displays == []
    asked = kernel.check("rule = session.alert(qf.alerts.PriceAbove('BTCUSDT', 1.0))")
    (place,) = [page["text/html"] for page in asked.displays]
    assert place.startswith("<div>")
    again = kernel.check("rule = session.alert(qf.alerts.PriceAbove('BTCUSDT', 2.0))")
    assert again.displays == []
    kernel.check("until(lambda: len(session.deliveries) >= 2)")
    assert kernel.check("print(set(session.deliveries.outcome))").stdout == "{'sent'}\n"


# -- running a cell again --------------------------------------------------------------------------


_COUNT = """
import logging
print(
    len(running),
    [thread.name for thread in threading.enumerate()].count("qfkit"),
    threading.active_count(),
    len(logging.getLogger("qfkit").handlers),
    len(get_ipython().events.callbacks["pre_run_cell"]),
)
"""

_OPEN = "print(len(os.listdir('/proc/self/fd')))"


def test_running_the_cell_again_doubles_nothing(kernel: Kernel) -> None:
    again = "session = qf.paper(Holds(), feed(), timeframe='1s', name='again').start(); session.wait(0.3);"
    kernel.check(again)
    first, files = kernel.check(_COUNT).stdout.split(), int(kernel.check(_OPEN).stdout)
    for _ in range(3):
        kernel.check(again)
    last = kernel.check(_COUNT).stdout.split()
    assert last == first
    # A journal is up to four files; whether all are open yet is a matter of the moment.
    assert int(kernel.check(_OPEN).stdout) < files + 4
    assert last[:2] == ["1", "1"]
    frame = kernel.check("print(qf.sessions().query('name == \"again\"')['state'].tolist())").stdout
    assert frame == "['stopped', 'stopped', 'stopped', 'running']\n"


def test_start_twice_in_one_cell_is_one_session(kernel: Kernel) -> None:
    kernel.check("session = qf.paper(Holds(), feed(), name='twice')\nsession.start().start()\nsession.start()")
    assert kernel.check("print(list(running), len(qf.sessions().query('name == \"twice\"')))").stdout == "['twice'] 1\n"


# -- interrupts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "session.wait()",
        "await session",
        "async for snapshot in session.snapshots(every_s=30):\n    pass",
        "await asyncio.sleep(60)",
        "time.sleep(60)",
        "qf.run(asyncio.sleep(60))",
    ],
)
def test_an_interrupt_stops_the_cell_and_not_the_session(kernel: Kernel, code: str) -> None:
    kernel.check("session = qf.paper(Holds(), feed(), timeframe='1s', name='interrupted').start()")
    kernel.check("until(lambda: session.snapshot.events > 0); before = session.snapshot.events")
    sent = kernel.send(f"print('in it')\n{code}")
    kernel.until_printed(sent, "in it")
    # Into what comes after the print.
    time.sleep(0.2)
    started_s = time.monotonic()
    kernel.interrupt()
    cell = kernel.wait(sent, 20)
    assert time.monotonic() - started_s < 3.0
    assert re.match("KeyboardInterrupt|CancelledError", cell.error), cell.error
    after = kernel.check("until(lambda: session.snapshot.events > before + 20); print(session.state, len(running))")
    assert after.stdout == "running 1\n"


def told(kernel: Kernel) -> Cell:
    """The next cell that tells of something."""
    end_s = time.monotonic() + 20
    while not (cell := kernel.check("pass")).stderr:
        assert time.monotonic() < end_s, "nothing was told"
        time.sleep(0.1)
    return cell


# -- errors of the background ----------------------------------------------------------------------


def test_a_strategys_exception_is_told_once_in_the_next_cell_with_its_line_and_what_to_do(kernel: Kernel) -> None:
    kernel.check(
        "class Breaks(qf.Strategy):\n"
        "    def on_bar(self, bar):\n"
        "        return self.average(0)\n"
        "    def average(self, count):\n"
        "        return 1 / count  # the line\n"
        "session = qf.paper({'bad': Breaks(), 'good': Holds()}, feed(), timeframe='1s', name='breaks').start()"
    )
    during = kernel.check("until(lambda: session.snapshot.strategies[0].state == 'failed'); print('a cell')")
    text = during.stderr
    assert "'breaks': the strategy 'bad' was stopped by ZeroDivisionError: division by zero" in text
    assert re.search(r"Cell In\[\d+\], line 5, in average\n    return 1 / count  # the line\n", text)
    assert "\n  on Bar(symbol='BTCUSDT'" in text
    assert "session.swap(Breaks, 'bad')" in text
    assert "qfkit/core" not in text and "Traceback" not in text
    again = kernel.check("print(session.state, len(session.snapshot.messages))")
    assert (again.stdout, again.stderr) == ("running 1\n", "")


def test_a_session_that_fails_while_nothing_runs_is_told_in_the_next_cell(kernel: Kernel) -> None:
    kernel.check(
        "class Fails(qf.SyntheticFeed):\n"
        "    async def _batches(self):\n"
        "        await asyncio.sleep(0.2)\n"
        "        raise OSError('the line is cut')\n"
        "        yield []\n"
        "session = qf.paper(Holds(), Fails(['BTCUSDT']), name='fails').start()"
    )
    cell = told(kernel)
    assert kernel.check("print(session.state)").stdout == "failed\n"
    assert "the session 'fails' failed" in cell.stderr and "the line is cut" in cell.stderr
    assert re.search(r"Cell In\[\d+\], line 4, in _batches", cell.stderr)
    assert "qf.resume('fails')" in cell.stderr
    assert kernel.check("pass").stderr == ""
    # Where the cell raises it itself it is not told a second time.
    raised = kernel.run("session = qf.paper(Holds(), Fails(['BTCUSDT']), name='fails').start()\nsession.wait()")
    assert "the line is cut" in raised.error and raised.stderr == ""
    assert kernel.check("pass").stderr == ""


def test_what_is_started_in_the_background_does_not_keep_its_error_to_itself(kernel: Kernel) -> None:
    kernel.check(
        "from qfkit.live.runner import spawn\n"
        "async def goes_wrong():\n"
        "    await asyncio.sleep(0.1)\n"
        "    raise LookupError('nobody looked')\n"
        "future = spawn(goes_wrong())"
    )
    cell = told(kernel)
    assert "a task on the qfkit thread failed: nobody looked" in cell.stderr
    assert re.search(r"line 4, in goes_wrong", cell.stderr)
    assert kernel.check("pass").stderr == ""


def test_a_flood_of_errors_is_bounded(kernel: Kernel) -> None:
    cell = kernel.check(
        "from qfkit.live.runner import spawn\n"
        "async def goes_wrong(number):\n"
        "    await asyncio.sleep(0.2)\n"
        "    raise LookupError(f'number {number}')\n"
        "futures = [spawn(goes_wrong(number)) for number in range(50)]\n"
        "import concurrent.futures\n"
        "concurrent.futures.wait(futures)\n"
    )
    # The last ones may be told a moment later than their futures are done.
    text = cell.stderr + kernel.check("time.sleep(0.2)").stderr + kernel.check("pass").stderr
    assert 5 <= text.count("a task on the qfkit thread failed: number") <= 10
    assert "more errors before these" in text
    assert kernel.check("pass").stderr == ""


# -- code that changes -----------------------------------------------------------------------------


def test_a_class_written_anew_in_a_cell_takes_over_positions_with_warm_indicators(kernel: Kernel) -> None:
    kernel.check(
        "class Edited(qf.Strategy):\n"
        "    def setup(self):\n"
        "        self.average = self.indicator(qf.SMA, 2)\n"
        "    def on_bar(self, bar):\n"
        "        if not self.position(bar.symbol):\n"
        "            self.buy(bar.symbol, quantity=1.0, reason='first')\n"
        "session = qf.paper(Edited(), qf.SyntheticFeed(['BTCUSDT'], duration_s=None, speed=4.0), timeframe='1s', name='edited').start()\n"
        "until(lambda: session.snapshot.positions and len(session.bars) >= 4)"
    )
    cell = kernel.check(
        "class Edited(qf.Strategy):\n"
        "    def setup(self):\n"
        "        self.average = self.indicator(qf.SMA, 4)\n"
        "    def on_bar(self, bar):\n"
        "        print('ready', self.position(bar.symbol).quantity)\n"
        "session.swap(Edited)\n"
        "bars = len(session.bars)\n"
        "until(lambda: session.snapshot.printed)\n"
        "print(session.snapshot.positions[0].quantity, len(session.bars) - bars <= 2, session.snapshot.printed[0][1][:9])\n"
        "session.stop(); print(bool(session.verify()))"
    )
    assert cell.stdout == "1.0 True ready 1.0\nTrue\n"


_MODULE = """
import qfkit as qf

class Base(qf.Strategy):
    def setup(self):
        self.average = self.indicator(qf.SMA, 2)

class Mine(Base):
    size = SIZE

    def setup(self):
        super().setup()

    @property
    def version(self):
        return VERSION

    def on_bar(self, bar):
        if not self.position(bar.symbol):
            self.buy(bar.symbol, quantity=self.size, reason='first')
        print('version', self.version)
"""


def test_autoreload_changes_a_running_strategy_by_a_swap_only_and_the_replay_is_equal(
    own_kernel: Kernel, tmp_path: Path
) -> None:
    module = tmp_path / "my_strategies.py"
    module.write_text(_MODULE.replace("SIZE", "1.0").replace("VERSION", "1"))
    own_kernel.check(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.dont_write_bytecode = True\n"
        "%load_ext autoreload\n%autoreload 2\n"
        "import my_strategies\n"
        "market = qf.SyntheticFeed(['BTCUSDT'], duration_s=None, speed=4.0)\n"
        "session = qf.paper(my_strategies.Mine(), market, timeframe='1s', name='reloaded').start()\n"
        "until(lambda: session.snapshot.positions)"
    )
    module.write_text(_MODULE.replace("SIZE", "2.0").replace("VERSION", "22"))
    # Whatever the clock of the file system: later than the version before.
    os.utime(module, (time.time() + 5, time.time() + 5))
    cell = own_kernel.check(
        "print(my_strategies.Mine().version, [text for _, text in session.snapshot.printed][-1])\n"
        "so_far = len(session.snapshot.printed)\n"
        "until(lambda: len(session.snapshot.printed) > so_far + 2)\n"
        "print({text for _, text in session.snapshot.printed})"
    )
    assert cell.stdout == "22 version 1\n{'version 1'}\n"
    cell = own_kernel.check(
        "session.swap(my_strategies.Mine)\n"
        "until(lambda: session.snapshot.printed[-1][1] == 'version 22')\n"
        "print(session.snapshot.positions[0].quantity, session.state)\n"
        "session.suspend(); session = qf.resume('reloaded')\n"
        "print(session.snapshot.positions[0].quantity, session.snapshot.messages)\n"
        "session.start().stop(); print(bool(session.verify()))"
    )
    assert cell.stdout == "1.0 running\n1.0 ()\nTrue\n"


# -- loops -------------------------------------------------------------------------------------------


def test_run_in_a_cell_in_a_callback_and_on_qfkits_own_thread(kernel: Kernel) -> None:
    kernel.check(
        "async def answer():\n"
        "    await asyncio.sleep(0.05)\n"
        "    return 42\n"
        "found = []\n"
        "print(qf.run(answer()))\n"
        "asyncio.get_running_loop().call_soon(lambda: found.append(qf.run(answer())))\n"
        "await asyncio.sleep(0.3)"
    )
    cell = kernel.check(
        "async def nested():\n"
        "    return qf.run(answer())\n"
        "print(found)\n"
        "try:\n"
        "    qf.run(nested())\n"
        "except qf.errors.SessionError as error:\n"
        "    print(error)"
    )
    assert cell.stdout.startswith("[42]\nqf.run(...) was called on qfkit's own thread")
    assert "await it" in cell.stdout


def test_nested_loops_on_request_and_the_cells_queued_behind_them_run(own_kernel: Kernel) -> None:
    refused = own_kernel.run("asyncio.run(asyncio.sleep(0))")
    assert "cannot be called from a running event loop" in refused.error
    cells = [
        "qf.allow_nested_loops()\nqf.allow_nested_loops()",
        "async def answer():\n    await asyncio.sleep(0.5)\n    return 42\nprint(asyncio.run(answer()))",
        "print('queued')",
        "session = qf.paper(Holds(), feed(), timeframe='1s', name='nested').start()\nprint(asyncio.run(answer()), session.state)",
        "async for snapshot in session.snapshots(every_s=0.1):\n    break\nsession.stop(); print(session.state)",
    ]
    done = own_kernel.wait_all([own_kernel.send(code) for code in cells])
    assert [cell.error for cell in done] == [""] * 5
    assert [cell.stdout for cell in done] == ["", "42\n", "queued\n", "42 running\n", "stopped\n"]


# -- restarts ------------------------------------------------------------------------------------------


def test_a_restart_leaves_no_orphan_and_resume_picks_up(own_kernel: Kernel, tmp_path: Path) -> None:
    own_kernel.check(
        "session = qf.paper(qf.MovingAverageCrossover(), feed(), timeframe='1s', name='restarted').start()\n"
        "until(lambda: session.snapshot.events > 50)"
    )
    before = own_kernel.process
    own_kernel.restart()
    assert own_kernel.process != before
    assert not Path(f"/proc/{before}").exists()
    own_kernel.check(_START)
    seen = own_kernel.check(
        "record = qf.sessions().iloc[-1]; print(record['state'], len(running), threading.active_count() < 30)"
    )
    assert seen.stdout == "interrupted 0 True\n"
    own_kernel.check(
        "events = record['events']\n"
        "session = qf.resume('restarted').start()\n"
        "until(lambda: session.snapshot.events > events + 50)\n"
        "session.stop()"
    )
    seen = own_kernel.check("print(bool(session.verify()), qf.sessions()['state'].tolist())")
    assert seen.stdout == "True ['stopped']\n"
    assert list(tmp_path.rglob("*.sqlite")) and not list(tmp_path.rglob("*.lock"))


def test_a_stop_from_a_terminal_reaches_a_kernel_that_is_busy(own_kernel: Kernel, tmp_path: Path) -> None:
    own_kernel.check("session = qf.paper(Holds(), feed(), timeframe='1s', name='busy').start()")
    own_kernel.check("until(lambda: session.snapshot.positions)")
    sent = own_kernel.send(
        "print('busy'); end_s = time.monotonic() + 20\n"
        "while session.state == 'running' and time.monotonic() < end_s:\n"
        "    pass\n"
        "print(session.state)"
    )
    own_kernel.until_printed(sent, "busy")
    done = subprocess.run(
        [sys.executable, "-m", "qfkit", "stop", "busy", "--flatten"],
        env={**os.environ, "QFKIT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "stopped 'busy'; nothing is open\n"), done.stderr
    assert own_kernel.wait(sent).stdout == "busy\nstopped\n"


# -- ticks -----------------------------------------------------------------------------------------------

_PER_S = 200


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[list[str]]:
    """A stream of numbered trades at a steady pace, from a process of its own."""
    capture = tmp_path / "steady.gz"
    start_ns, step_ns = 1_700_000_000_000_000_000, 1_000_000_000 // _PER_S
    with gzip.open(capture, "wb") as file:
        for number in range(60 * _PER_S):
            frame = json.dumps(json.loads(trade_frame(1_000 + number)), separators=(",", ":"))
            file.write(f"{start_ns + number * step_ns} {frame}\n".encode())
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.binance", "--capture", str(capture)],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()
    finally:
        process.kill()
        process.communicate()


def test_a_cell_that_sleeps_or_computes_for_five_seconds_loses_no_tick(
    kernel: Kernel, stream: list[str], record_property: pytest.FixtureRequest
) -> None:
    url, rest_url = stream
    begin = (
        f"market = qf.BinanceFeed(['BTCUSDT'], trades='single', stream_url={url!r}, rest_url={rest_url!r})\n"
        "session = qf.paper(Holds(), market, name='ticks').start()\n"
        "until(lambda: session.snapshot.events > 20)\n"
        "print(sockets(), threading.active_count())"
    )
    once = kernel.check(begin).stdout
    # The same cell again is one stream still, and not two.
    assert kernel.check(begin).stdout == once
    sent = [
        kernel.send("slept_ns = time.time_ns(); time.sleep(5)"),
        kernel.send(
            "computed_ns = time.time_ns(); end_s = time.monotonic() + 5\nwhile time.monotonic() < end_s: sum(range(1000))"
        ),
        kernel.send("done_ns = time.time_ns()"),
    ]
    assert [cell.error for cell in kernel.wait_all(sent, 30)] == ["", "", ""]
    assert kernel.check("print(sockets(), threading.active_count())").stdout == once
    cell = kernel.check(
        "import json\n"
        "from qfkit.journal.reader import read_events\n"
        "session.stop()\n"
        "ticks = [event for batch in read_events(session.journal_path) for event in batch if isinstance(event, qf.Tick)]\n"
        "print(json.dumps([[tick.trade_id, tick.received_ns] for tick in ticks]))\n"
        "print(slept_ns, computed_ns, done_ns, session.snapshot.feed.reconnects)"
    )
    first, second = cell.stdout.splitlines()
    ticks = json.loads(first)
    slept_ns, computed_ns, done_ns, reconnects = map(int, second.split())
    numbers = [number for number, _ in ticks]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) > 9 * _PER_S and reconnects == 0
    # How late each was by the pace of the server, against the earliest.
    step_ns = 1_000_000_000 // _PER_S
    late = [(received_ns - number * step_ns, received_ns) for number, received_ns in ticks]
    earliest = min(one for one, _ in late)
    worst = {
        what: max(one - earliest for one, at_ns in late if from_ns <= at_ns < to_ns) / 1e6
        for what, from_ns, to_ns in (("sleeping", slept_ns, computed_ns), ("computing", computed_ns, done_ns))
    }
    record_property("worst_wait_ms", worst)
    print("worst wait in ms:", worst)
    # A loop that stood still would have waited for the whole of the five seconds.
    assert max(worst.values()) < 4_000.0


def test_threads_take_quick_turns_while_a_session_runs_and_no_longer(own_kernel: Kernel) -> None:
    turn = "import sys; await asyncio.sleep(0.3); print(sys.getswitchinterval())"
    before = own_kernel.check(turn).stdout
    assert float(before) > 0.001
    own_kernel.check("first = qf.paper(Holds(), feed(), name='first').start()")
    own_kernel.check("second = qf.paper(Holds(), feed(), name='second').start()")
    assert float(own_kernel.check(turn).stdout) == 0.001
    own_kernel.check("first.stop()")
    assert float(own_kernel.check(turn).stdout) == 0.001
    own_kernel.check("second.stop()")
    assert own_kernel.check(turn).stdout == before
    # What a user sets meanwhile is left alone.
    own_kernel.check(
        "third = qf.paper(Holds(), feed(), name='third').start()\nsys.setswitchinterval(0.02)\nthird.stop()"
    )
    assert float(own_kernel.check(turn).stdout) == 0.02


def test_qfkit_of_the_kernel_is_this_one(kernel: Kernel) -> None:
    assert kernel.check("print(qf.__file__)").stdout.strip() == qf.__file__
