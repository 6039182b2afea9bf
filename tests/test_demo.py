"""The demo as a user runs it, without a network."""

import re
import socket
import subprocess
import sys

import pytest
from test_cli import ROOT, environment, qfkit, until


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """A port of this machine that nobody listens on stands for Binance."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setenv("QFKIT_DEMO_URL", f"ws://127.0.0.1:{port}")
    for name in ("QFKIT_DEMO_DATA", "QFKIT_DEMO_SPEED", "QFKIT_DEMO_SECONDS"):
        monkeypatch.delenv(name, raising=False)


def test_without_network_or_capture():
    done = qfkit("demo", "--seconds", "5")
    assert done.returncode == 0, done.stderr
    assert "does not answer and QFKIT_DEMO_DATA is not set" in done.stdout
    assert "AAPL" in done.stdout
    assert "synthetic exchange" in done.stdout
    assert len(re.findall(r"verify +equal: ", done.stdout)) == 2
    assert "MomentumRebalance" in done.stdout
    assert "MovingAverageCrossover" in done.stdout
    assert "qfkit status" in done.stdout


def test_on_a_capture(monkeypatch, capture_path):
    monkeypatch.setenv("QFKIT_DEMO_DATA", str(capture_path))
    monkeypatch.setenv("QFKIT_DEMO_SPEED", "100")
    done = qfkit("demo")
    assert done.returncode == 0, done.stderr
    assert "does not answer: the recording" in done.stdout
    assert re.search(r"verify +equal: ", done.stdout)
    assert re.search(r"trading +[1-9][\d,]* fills, [1-9][\d,]* round trips", done.stdout)
    assert "fast average crossed" in done.stdout
    assert "strongest over" in done.stdout


def test_on_a_server_in_place_of_binance(monkeypatch, capture_path):
    command = [sys.executable, "-m", "tests.servers.binance", "--capture", str(capture_path), "--speed", "20", "--loop"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(), cwd=ROOT
    )
    try:
        url = until(server, "ws://").split()[0]
        monkeypatch.setenv("QFKIT_DEMO_URL", url)
        done = qfkit("demo", "--seconds", "4")
    finally:
        server.kill()
        server.communicate()
    assert done.returncode == 0, done.stderr
    assert f"{url} answers: live trades and quotes" in done.stdout
    assert "BTCUSDT 61," in done.stdout
    assert re.search(r"verify +equal: [1-9][\d,]* events", done.stdout)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("QFKIT_DEMO_SECONDS", "long", "QFKIT_DEMO_SECONDS='long': it must be a number above 0"),
        ("QFKIT_DEMO_DATA", "no/such/file", "no/such/file"),
    ],
)
def test_bad_settings(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    done = qfkit("demo")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
