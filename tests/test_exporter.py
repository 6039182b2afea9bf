"""What a session serves to Prometheus: fetched over HTTP and read by the library's own parser."""

import contextlib
import math
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

import qfkit as qf
from qfkit.errors import SessionError
from qfkit.live.runner import runner

HOSTILE = 'a"b\\c\nd{e}'


def fetched(url: str) -> dict[tuple[str, str, str], float]:
    """Value by metric, strategy and symbol."""
    with urllib.request.urlopen(url, timeout=10.0) as reply:
        assert reply.status == 200 and reply.headers["Content-Type"].startswith("text/plain")
        text = reply.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["session"] == "served"
            key = (sample.name, sample.labels.get("strategy", ""), sample.labels.get("symbol", ""))
            assert key not in found
            found[key] = sample.value
    return found


@pytest.fixture
def session(tmp_path):
    feed = qf.ReplayFeed({name: qf.sample(name) for name in ("AAPL", "MSFT")}, speed=700 * 86_400.0)
    one = qf.paper(
        {"trend": qf.MovingAverageCrossover(fast=5, slow=15, weight=0.5), HOSTILE: qf.BollingerReversion()},
        feed,
        name="served",
        journal=tmp_path / "one.sqlite",
    )
    yield one
    if one.state in ("running", "paused"):
        one.stop()
    elif one._metrics_server is not None and one._future is None:
        one._metrics_server.stop()


def test_what_is_served_is_what_the_session_knows(session) -> None:
    server = session.serve_metrics(port=0)
    assert server.url.startswith("http://127.0.0.1:")
    session.start()
    while session.snapshot.trades_count < 20:
        session.wait(0.1)
    first = fetched(server.url)
    time.sleep(0.3)
    frame, found, again = session.metrics, fetched(server.url), session.metrics
    assert found["qfkit_up", "", ""] == 1.0
    for name in ("account", "trend", HOSTILE):
        for metric, figure in (
            ("qfkit_trades_total", "trades"),
            ("qfkit_fills_total", "fills"),
            ("qfkit_fees_total", "fees"),
            ("qfkit_periods", "periods"),
        ):
            # It runs on meanwhile: between what was before and what was after.
            assert frame.loc[name, figure] <= found[metric, name, ""] <= again.loc[name, figure], metric
            assert first[metric, name, ""] <= found[metric, name, ""]
    assert first["qfkit_periods", "account", ""] < found["qfkit_periods", "account", ""]
    symbols = {symbol for metric, _, symbol in found if metric == "qfkit_symbol_trades_total"}
    assert symbols == {"AAPL", "MSFT"}
    assert (
        sum(found["qfkit_symbol_fills_total", "account", symbol] for symbol in symbols)
        == found["qfkit_fills_total", "account", ""]
    )
    assert found["qfkit_price", "", "AAPL"] > 0.0
    assert found["qfkit_events_total", "", ""] > 500
    assert found["qfkit_strategy_running", HOSTILE, ""] == 1.0


def test_units_are_prometheus_own(session) -> None:
    server = session.serve_metrics(port=0)
    session.start()
    while session.snapshot.trades_count < 5:
        session.wait(0.1)
    session.pause()
    before, found, after = session.metrics.loc["account"], fetched(server.url), session.metrics.loc["account"]

    def between(name: str, figure: str, factor: float = 1.0) -> None:
        low, high = sorted((before[figure] * factor, after[figure] * factor))
        slack = 1e-9 * max(abs(low), abs(high))
        assert low - slack <= found[name, "account", ""] <= high + slack, name

    between("qfkit_run_seconds", "days", 86_400.0)
    between("qfkit_longest_drawdown_seconds", "longest_drawdown_days", 86_400.0)
    between("qfkit_max_drawdown_ratio", "max_drawdown")
    between("qfkit_win_rate_ratio", "win_rate")
    between("qfkit_max_adverse_excursion", "max_adverse_excursion")


def test_it_stops_with_the_session_and_frees_the_port(session) -> None:
    server = session.serve_metrics(port=0)
    session.start()
    assert fetched(server.url)["qfkit_up", "", ""] == 1.0
    assert "serving" in repr(server)
    session.stop()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(server.url, timeout=2.0)
    assert "stopped" in repr(server)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", server.port))
    with pytest.raises(SessionError, match="only a running one"):
        session.serve_metrics(port=0)


def test_before_the_start_it_says_that_it_does_not_run(session) -> None:
    found = fetched(session.serve_metrics(port=0).url)
    assert found["qfkit_up", "", ""] == 0.0
    assert math.isnan(found["qfkit_sharpe", "account", ""])


def test_this_machine_only_unless_asked(session) -> None:
    server = session.serve_metrics(port=0)
    assert server._server.socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(SessionError, match="already"):
        session.serve_metrics(port=0)
    server.stop()
    # Twice is no harm, and another can follow.
    server.stop()
    assert fetched(session.serve_metrics(port=0).url)["qfkit_up", "", ""] == 0.0


def test_a_port_that_is_taken_is_told(session) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SessionError, match=f"127.0.0.1:{port}.*another port="):
            session.serve_metrics(port=port)
    for wrong in (70_000, -1):
        with pytest.raises(SessionError, match="another port="):
            session.serve_metrics(port=wrong)


def test_without_the_library_it_says_what_to_install(session, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(SessionError, match=r"pip install 'qfkit\[prometheus\]'"):
        session.serve_metrics(port=0)


def test_importing_a_session_does_not_import_the_library() -> None:
    code = "import sys, qfkit; qfkit.Session; qfkit.paper; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_session_that_does_not_answer_is_down(session, monkeypatch) -> None:
    server = session.serve_metrics(port=0)
    session.start()
    monkeypatch.setattr("qfkit.live.exporter._PATIENCE_S", 0.2)
    # A strategy that works for a second holds the thread that all sessions share.
    runner.call(lambda: time.sleep(1.0))
    time.sleep(0.05)
    assert fetched(server.url) == {("qfkit_up", "", ""): 0.0}
    time.sleep(1.0)
    assert fetched(server.url)["qfkit_up", "", ""] == 1.0


def test_the_command_serves_them(tmp_path, monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "qfkit", "realtime", "--feed", "sample", "-s", "AAPL", "--days-per-second", "50"]
    command += ["--metrics-port", str(port), "--plain", "--duration", "0.5", "--name", "served", "--no-verify"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        found: dict = {}
        end_s = time.monotonic() + 30.0
        while time.monotonic() < end_s and found.get(("qfkit_periods", "account", ""), 0.0) < 5.0:
            with contextlib.suppress(urllib.error.URLError):
                found = fetched(f"http://127.0.0.1:{port}/metrics")
            time.sleep(0.2)
        assert found["qfkit_up", "", ""] == 1.0
        assert found["qfkit_periods", "account", ""] >= 5.0
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=30.0)
    assert f"metrics for Prometheus at http://127.0.0.1:{port}/metrics" in output
