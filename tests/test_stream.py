"""`qfkit stream` and `qfkit prices` by their real client path, against servers on the loopback."""

import asyncio
import os
import re
import sys
import time
from pathlib import Path

import pytest

import qfkit as qf
from qfkit.stream import print_stream
from qfkit.watching import Interruption
from tests.servers.exchange import Exchange, ExchangeServer
from tests.servers.yahoo import Chart, Row, YahooServer

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
    # What came in a burst may have been shown once only while it streamed.
    played = iter(again.splitlines())
    assert all(line in played for line in lines)


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


@pytest.mark.parametrize("is_named", [False, True])
@pytest.mark.parametrize("command", ["stream", "prices", "realtime"])
async def test_no_network_is_one_line_that_says_how_to_go_on(command: str, is_named: bool, tmp_path: Path) -> None:
    nowhere = {"QFKIT_YAHOO_STREAM_URL": "ws://127.0.0.1:9", "QFKIT_BINANCE_STREAM_URL": "ws://127.0.0.1:9"}
    dead = {**nowhere, "QFKIT_YAHOO_REST_URL": "http://127.0.0.1:9", "QFKIT_BINANCE_REST_URL": "http://127.0.0.1:9"}
    for symbol, provider in (("AAPL", "Yahoo"), ("BTCUSDT", "Binance")):
        named = ("--feed", provider.lower()) if is_named else ()
        code, out, err = await qfkit(command, "-s", symbol, *named, cwd=tmp_path, **dead)
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


async def test_what_becomes_of_the_connection_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async with ExchangeServer(Exchange(), rate_per_s=40.0) as server:
        feed = qf.BinanceFeed(
            ["BTCUSDT", "ETHUSDT"], stream_url=server.url, rest_url=server.rest_url, backoff_s=0.02,
            symbol_stale_after_s=1.0,
        )  # fmt: skip
        interruption = Interruption()
        printing = asyncio.create_task(asyncio.to_thread(print_stream, feed, interruption, seconds=20.0, quotes=False))
        async with asyncio.timeout(15):
            while feed.ledger["ETHUSDT"].events < 5:
                await asyncio.sleep(0.05)
            server.mute_symbols.add("ETHUSDT")
            while feed.ledger["ETHUSDT"].state != "stale":
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            server.mute_symbols.clear()
            await asyncio.sleep(0.5)
            await server.drop("abort")
            while feed.ledger["BTCUSDT"].connects < 2 or feed.state != "live":
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            interruption.came = True
            await printing
    out = capsys.readouterr().out
    assert "\x1b" not in out
    stale, lost = out.index("-- ETHUSDT is stale: nothing came"), out.index("the connection ended")
    assert stale < out.index("-- ETHUSDT is live again") < lost < out.rindex("-- live again")
    health = out[out.index("feed health") :].splitlines()
    assert health[1].split()[:4] == ["symbol", "events", "connects", "gaps"]
    assert {line.split()[0] for line in health[2:]} == {"BTCUSDT", "ETHUSDT"}
    assert all(line.split()[2] == "2" for line in health[2:])


async def test_a_gap_that_cannot_be_filled_is_a_line(tmp_path: Path) -> None:
    async with ExchangeServer(Exchange(("BTCUSDT",)), rate_per_s=40.0) as server:
        server.loss_share = 0.05
        code, out, err = await qfkit(
            "stream", "-s", "BTCUSDT", "-d", "0.03", cwd=tmp_path,
            QFKIT_BINANCE_STREAM_URL=server.url, QFKIT_BINANCE_REST_URL=server.rest_url,
        )  # fmt: skip
    assert code == 0, err
    assert re.search(r"-- gap: \d+ trades? of BTCUSDT missing from \d\d:\d\d:\d\d to ", out)


async def test_changes_since_the_last_close_where_it_is_known(tmp_path: Path) -> None:
    exchange = Exchange(("BTCUSDT",))
    midnight_ms = time.time_ns() // 86_400_000_000_000 * 86_400_000
    for days in (3, 2, 1):
        exchange.trade("BTCUSDT", time_ms=midnight_ms - days * 86_400_000 + 1_000)
    close = float(exchange.markets["BTCUSDT"].trades[-1].price)
    async with ExchangeServer(exchange, rate_per_s=40.0) as server:
        servers = {"QFKIT_BINANCE_STREAM_URL": server.url, "QFKIT_BINANCE_REST_URL": server.rest_url}
        code, out, err = await qfkit("stream", "-s", "BTCUSDT", "-d", "0.03", cwd=tmp_path, **servers)
        assert code == 0, err
        assert "times in UTC, changes since the last close at 00:00 UTC" in out
        shown = re.findall(r"BTCUSDT +([\d.]+) +([-+]?[\d.]+) +[-+]?[\d.]+ %$", out, re.MULTILINE)
        assert shown
        assert all(float(price) - close == pytest.approx(float(change), abs=1e-9) for price, change in shown)
    rows = [
        Row((midnight_ms // 86_400_000 - days) * 86_400 + 52_200, 299, 301, 298, 300.0 - days, 9) for days in (2, 1)
    ]
    async with YahooServer() as yahoo:
        yahoo.charts["AAPL"] = Chart(rows={"1d": rows})
        await yahoo.price("AAPL", 305.5)
        code, out, _ = await qfkit(
            "prices", "-s", "NOPE", "AAPL", "-w", "5", cwd=tmp_path,
            QFKIT_YAHOO_STREAM_URL=yahoo.url, QFKIT_YAHOO_REST_URL=yahoo.rest_url,
        )  # fmt: skip
    assert code == 1
    assert re.search(r"^AAPL +305\.50 +\+6\.50 +▲ \+2\.17 % +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC ", out, re.MULTILINE)
    assert re.search(r"^NOPE +- +no price came$", out, re.MULTILINE)
    assert "no price of NOPE came within 5 s: Yahoo has no symbol 'NOPE'" in out


async def test_without_a_stream_yahoo_is_polled(tmp_path: Path) -> None:
    now_s = int(time.time())
    async with YahooServer() as yahoo:
        yahoo.refuse = 503
        meta = {"regularMarketPrice": 305.5, "regularMarketTime": now_s}
        yahoo.charts["AAPL"] = Chart(meta=meta, rows={"1m": [Row(now_s - 60, 305, 306, 304, 305.5, 9)]})
        code, out, err = await qfkit(
            "stream", "-s", "AAPL", "-d", "0.13", cwd=tmp_path,
            QFKIT_YAHOO_STREAM_URL=yahoo.url, QFKIT_YAHOO_REST_URL=yahoo.rest_url,
        )  # fmt: skip
    assert code == 0, err
    assert "Yahoo's stream does not answer, its last prices do" in out
    assert re.search(r"AAPL +305\.50 ", out)


@pytest.mark.skipif(os.name != "posix", reason="a shell's pipe")
async def test_a_reader_of_the_stream_that_leaves_is_no_error(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m qfkit stream --feed synthetic --speed 50 | head -n 5", cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 30)
    assert (len(out.splitlines()), err) == (5, b"")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
async def test_lines_come_at_once_and_in_the_outputs_encoding(encoding: str, tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "qfkit", "stream", "--feed", "synthetic", "--speed", "20", cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert child.stdout is not None
    up = "▲" if encoding == "utf-8" else "^"
    async with asyncio.timeout(20):
        while f" {up} " not in (await child.stdout.readline()).decode(encoding):
            pass
        child.terminate()
        rest = (await child.stdout.read()).decode(encoding)
        assert await child.wait() == 0
    assert "Traceback" not in rest
