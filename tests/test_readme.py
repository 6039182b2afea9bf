"""Every snippet of the README runs: its cells one after the other, its commands for some seconds with no network."""

import ast
import asyncio
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

import qfkit as qf
from qfkit.journal.reader import read_events
from tests.servers.exchange import Exchange, ExchangeServer

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


STREAMING = README.partition("## Streaming\n")[2].partition("\n## ")[0]
PLAIN = README.replace(STREAMING, "")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line.split(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_cells_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What they write, they write beside themselves.
    monkeypatch.chdir(tmp_path)
    cells: dict[str, object] = {"__name__": "readme"}
    for block in blocks("python", PLAIN):
        exec(compile(block, "README.md", "exec"), cells)  # noqa: S102
    result, session = cells["result"], cells["session"]
    assert isinstance(result, qf.Result)
    assert isinstance(session, qf.Session)
    assert len(result.trades) > 10
    assert session.state == "stopped"
    assert session.verify()


@contextmanager
def exchange(symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT")) -> Iterator[ExchangeServer]:
    """Binance's stand-in on a loop of its own, for cells that block theirs."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    server = ExchangeServer(Exchange(symbols), rate_per_s=100.0)

    def call(coroutine) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    async def fill() -> None:
        # Two days of trades, one each half hour, so that there is a history.
        now_ms = time.time_ns() // 1_000_000
        for back in range(96, 4, -1):
            server.exchange.trade("BTCUSDT", time_ms=now_ms - back * 1_800_000)
        # And every minute of the last two hours, for the warm-up.
        for back in range(240, 0, -1):
            server.exchange.trade("BTCUSDT", time_ms=now_ms - back * 30_000)

    call(fill())
    call(server.__aenter__())
    try:
        yield server
    finally:
        call(server.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def run_cell(block: str, names: dict[str, object], seconds: float) -> None:
    """Run a cell as a notebook does, interrupted where it goes on for ever."""
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    cell = eval(code, names)  # noqa: S307
    if cell is not None:
        with suppress(TimeoutError):
            await asyncio.wait_for(cell, seconds)


async def test_the_streaming_cells_run_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(blocks("python")[0].split("result =")[0], names)  # noqa: S102
    iterate, handle, live, past = blocks("python", STREAMING)
    with exchange() as server:
        monkeypatch.setenv("QFKIT_BINANCE_STREAM_URL", server.url)
        monkeypatch.setenv("QFKIT_BINANCE_REST_URL", server.rest_url)
        await run_cell(iterate, names, 2.0)
        printed = capsys.readouterr().out
        assert "Instrument(symbol='BTCUSDT'" in printed
        assert "Tick(symbol='BTCUSDT'" in printed and "Quote(symbol='ETHUSDT'" in printed
        await run_cell(handle, names, 2.0)
        printed = capsys.readouterr().out
        assert "Tick(symbol='BTCUSDT'" in printed and "Heartbeat" not in printed
        await run_cell(live, names, 20.0)
        session = names["session"]
        assert isinstance(session, qf.Session)
        assert session.snapshot.events > 200 and session.verify()
        health = session.feed.health.loc["BTCUSDT"]
        assert health.connects == 1 and health.gaps_open == 0 and health.uptime > 0.5
        await run_cell(past, names, 20.0)
        result, replay = names["result"], names["replay"]
        assert isinstance(result, qf.Result) and isinstance(replay, qf.Session)
        assert len(names["bars"]) > 40  # type: ignore[arg-type]
        await asyncio.to_thread(replay.wait, 20)
        assert replay.state == "stopped"
        assert sum(type(event) is qf.Tick for batch in read_events(replay.journal_path) for event in batch) > 100


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    made = [line.split()[1] for line in commands() if line.startswith("make ")]
    assert made == ["demo", "test"]
    for target in made:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.fixture
def running_trend() -> Iterator[None]:
    """A session named trend in another process, which a stop ends."""
    code = (
        "import qfkit as qf\n"
        "feed = qf.SyntheticFeed(['BTCUSDT'], duration_s=600)\n"
        "session = qf.paper(qf.MovingAverageCrossover(), feed, timeframe='1s', name='trend').start()\n"
        "print('started', flush=True)\n"
        "session.wait(60)\n"
        "assert session.state == 'stopped'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "started\n"
            yield
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("qfkit ")])
def test_the_commands_run(command: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "my.py").write_text(blocks("python")[0].split("result =")[0])
    arguments = shlex.split(command)[1:]
    if arguments[0] in ("realtime", "stream"):
        # As written it would take some minutes, and the network.
        arguments += ["--feed", "synthetic", "-d", "0.03"]
    elif arguments[0] == "prices":
        arguments += ["--feed", "synthetic"]
    elif arguments[0] == "lab":
        # test_lab runs it with its server.
        arguments.append("--help")
    elif arguments[0] == "stop":
        request.getfixturevalue("running_trend")
    elif "-d" in arguments:
        # test_stream runs it against a server.
        arguments = ["backtest"]
    done = subprocess.run(
        [sys.executable, "-m", "qfkit", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_its_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\((?!https:)([^)]+)\)", README)
    assert len(pictures) == 2
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")
