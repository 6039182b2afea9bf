"""The health ledger where people look for it: the snapshot, the journal, the list of sessions."""

import asyncio
from pathlib import Path

import pytest

import qfkit as qf
from qfkit.cli import main
from qfkit.core.snapshot import SymbolHealth
from qfkit.live.registry import session_record
from qfkit.views.health import health_line
from tests.servers.exchange import Exchange, ExchangeServer


def test_a_ledger_in_one_line() -> None:
    one = SymbolHealth("A", "binance", "live", events=10, connects=2, reconnects=1, gaps_found=4, gaps_filled=3,
                       duplicates=12, stale_s=61.0, lag_p99_ms=7.4, uptime=0.998)  # fmt: skip
    assert health_line([one, SymbolHealth("B", "binance", "live", events=1, uptime=1.0)]) == (
        "health: 2 of 2 live, 4 gaps (3 filled), 1 reconnect, 12 twice, 1 min 1 s stale, lag p99 7.4 ms, uptime 99.9 %"
    )
    assert health_line([]) == health_line([SymbolHealth("A", "replay", "closed")]) == ""


async def test_a_session_keeps_its_health_in_snapshot_and_journal(capsys: pytest.CaptureFixture[str]) -> None:
    async with ExchangeServer(Exchange(("BTCUSDT",)), rate_per_s=50.0) as server:
        feed = qf.BinanceFeed(["BTCUSDT"], stream_url=server.url, rest_url=server.rest_url, backoff_s=0.02)
        session = qf.paper(qf.MovingAverageCrossover(), feed, name="kept").start()
        try:
            async with asyncio.timeout(10):
                while session.snapshot.events < 50:
                    await asyncio.sleep(0.05)
                await server.drop("abort")
                # Missed while nobody listens, and fetched afterwards.
                for _ in range(20):
                    server.exchange.trade("BTCUSDT")
                while feed.ledger["BTCUSDT"].gaps_filled < 1:
                    await asyncio.sleep(0.05)
        finally:
            await asyncio.to_thread(session.stop)
    assert session.snapshot.feed is not None
    (shown,) = session.snapshot.feed.symbols
    (kept,) = session_record(Path(session.journal_path or "")).health
    assert kept.connects == shown.connects == 2
    assert kept.gaps_found == kept.gaps_filled == 1
    assert kept.events == feed.ledger["BTCUSDT"].events > 50
    assert main(["status"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "health: 1 symbol, 1 gap (1 filled), 1 reconnect" in printed
    assert main(["status", "kept"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:6] == ["symbol", "events", "connects", "gaps", "filled", "open"]
    assert lines[3].split()[0] == "BTCUSDT" and lines[3].split()[2:6] == ["2", "1", "1", "0"]
    assert main(["status", "kapt"]) == 2
    assert "Did you mean 'kept'?" in capsys.readouterr().err
