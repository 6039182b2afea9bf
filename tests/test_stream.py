"""`qfkit stream` and `qfkit prices` by their real client path, against servers on the loopback."""

import asyncio
import os
import re
import sys
import time
from pathlib import Path

import pytest

from tests.servers.exchange import Exchange, ExchangeServer
from tests.servers.yahoo import YahooServer

ROOT = Path(__file__).resolve().parent.parent


async def qfkit(*arguments: str, cwd: Path, **environment: str) -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "qfkit", *arguments, cwd=cwd, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 40)
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()


async def test_stream_prints_each_price_then_the_health(tmp_path: Path) -> None:
    async with ExchangeServer(Exchange(), rate_per_s=50.0) as server:
        code, out, err = await qfkit(
            "stream", "-s", "BTCUSDT", "ETHUSDT", "-d", "0.05", "--record", "made", cwd=tmp_path,
            QFKIT_BINANCE_STREAM_URL=server.url, QFKIT_BINANCE_REST_URL=server.rest_url,
        )  # fmt: skip
        assert code == 0, err
        lines = [line for line in out.splitlines() if re.match(r"\d\d:\d\d:\d\d  [▲▼·^v.] (BTC|ETH)USDT", line)]
        assert len(lines) > 30
        assert re.search(r"\d\d:\d\d:\d\d  [▲^] BTCUSDT +\d+\.\d\d +[+-]\d+\.\d\d +[+-]?\d+\.\d\d ?%", out), lines[:5]
        assert "feed health" in out and "uptime" in out
    code, again, err = await qfkit("stream", "--feed", str(tmp_path / "made"), "--speed", "max", cwd=tmp_path)
    assert code == 0, err
    assert [line for line in again.splitlines() if line in lines] == lines


async def test_shares_come_from_yahoo_and_pairs_from_binance(tmp_path: Path) -> None:
    async with YahooServer() as server:

        async def trade() -> None:
            for number in range(1_000):
                await server.price("AAPL", 300.0 + number % 5)
                await server.price("MSFT", 50.0)
                await asyncio.sleep(0.1)

        trading = asyncio.create_task(trade())
        code, out, err = await qfkit(
            "prices", "-s", "AAPL", "MSFT", "-w", "6", cwd=tmp_path, QFKIT_YAHOO_STREAM_URL=server.url
        )
        assert code == 0, err
        assert re.search(r"^AAPL +30\d\.00 ", out, re.MULTILINE) and re.search(r"^MSFT +50\.00 ", out, re.MULTILINE)
        code, out, err = await qfkit(
            "stream", "-s", "AAPL", "-d", "0.04", cwd=tmp_path, QFKIT_YAHOO_STREAM_URL=server.url
        )
        trading.cancel()
        assert code == 0 and "Yahoo's stream answers" in out and "AAPL" in out, err


@pytest.mark.parametrize("command", ["stream", "prices", "realtime"])
async def test_no_network_is_one_line_that_says_how_to_go_on(command: str, tmp_path: Path) -> None:
    dead = {"QFKIT_YAHOO_STREAM_URL": "ws://127.0.0.1:9", "QFKIT_BINANCE_STREAM_URL": "ws://127.0.0.1:9"}
    for symbol, provider in (("AAPL", "Yahoo"), ("BTCUSDT", "Binance")):
        code, out, err = await qfkit(command, "-s", symbol, cwd=tmp_path, **dead)
        assert code == 2 and out == ""
        assert len(err.splitlines()) == 1
        assert f"{provider} did not answer" in err and "--feed sample" in err


async def test_a_mix_of_providers_is_refused(tmp_path: Path) -> None:
    code, _, err = await qfkit("stream", "-s", "AAPL", "BTCUSDT", cwd=tmp_path)
    assert code == 2 and "as in BTC-USD" in err


async def test_backtest_fetches_the_days_it_runs_on(tmp_path: Path) -> None:
    exchange = Exchange(("BTCUSDT",))
    now_ms = time.time_ns() // 1_000_000
    for hours in range(90 * 24, 0, -6):
        exchange.trade("BTCUSDT", time_ms=now_ms - hours * 3_600_000)
    async with ExchangeServer(exchange) as server:
        code, out, err = await qfkit(
            "backtest", "-s", "BTCUSDT", "-d", "60", "--set", "fast=3", "--set", "slow=8", cwd=tmp_path,
            QFKIT_BINANCE_REST_URL=server.rest_url,
        )  # fmt: skip
        assert code == 0, err
        assert "BTCUSDT" in out or "moving" in out.lower(), out
        assert any("interval=1d" in one for one in server.asked)
    code, _, err = await qfkit("backtest", "-d", "60", cwd=tmp_path)
    assert code == 2 and "name them" in err
