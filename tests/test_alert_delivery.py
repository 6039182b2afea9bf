"""Delivery of alerts: retried, recorded, never in the session's way, and nothing secret shown."""

import asyncio
import io
import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import qfkit as qf
from qfkit.errors import ParameterError
from qfkit.journal.schema import Alert
from qfkit.live.alert_secrets import struck_out, without_addresses
from qfkit.live.alert_sinks import as_sinks
from qfkit.live.session import Session
from tests.servers.webhook import Receiver, receiver
from tests.support import START, tick
from tests.test_alerts import HandFeed, until

alerts = qf.alerts
SECRETS = ("T0PSECRET", "ALS0SECRET", "HEADERSECRET", "p4ssw0rd")


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def session_of(count: int, *notify: object, wait: bool = True) -> Session:
    """A session in which ``count`` alerts happen, one a second of market time."""
    events = [tick(second, 100.0 * 1.02**second, 1.0) for second in range(count + 1)]
    session = qf.paper(
        qf.MovingAverageCrossover(),
        qf.ReplayFeed(events, speed=None),
        alerts=alerts.PriceMove("A", 0.01, window_s=10.0, every_s=0.0),
        notify=list(notify),
        name="s",
    )
    session.start()
    return session.wait(30) if wait else session


def outcomes(session: Session) -> list[tuple[int, str, int, str]]:
    """Read by sqlite3 itself, as anyone may."""
    connection = sqlite3.connect(session.journal_path)
    rows = connection.execute("SELECT alert_id, outcome, attempt, reason FROM deliveries ORDER BY rowid").fetchall()
    connection.close()
    return rows


# -- a webhook -----------------------------------------------------------------------------------------


def test_a_good_webhook_gets_each_alert_once_as_json(server: Receiver):
    session = session_of(2, alerts.Webhook(server.url, headers={"Authorization": "Bearer HEADERSECRET"}))
    assert outcomes(session) == [(1, "sent", 1, ""), (2, "sent", 1, "")]
    path, headers, body = server.got[0]
    assert path == "/hooks/T0PSECRET?key=ALS0SECRET" and headers["Authorization"] == "Bearer HEADERSECRET"
    identity = body.pop("id")
    assert re.fullmatch(r"[0-9a-f]{12}-1", identity)
    assert body.pop("value") == pytest.approx(0.02)
    assert body == {
        "text": "2023-11-15 00:00:01 UTC  s  A moved +2.00 % in 1.0 s, from 100 to 102",
        "session": "s",
        "rule": "A moves 1.00 % in 10 s",
        "kind": "PriceMove",
        "symbol": "A",
        "strategy": None,
        "level": 0.01,
        "time": "2023-11-15T00:00:01+00:00",
    }
    assert list(session.alerts.delivered) == ["webhook 127.0.0.1: sent"] * 2
    assert list(session.deliveries.outcome) == ["sent", "sent"]


def test_a_body_of_ones_own_and_one_that_raises(server: Receiver):
    session_of(1, alerts.Webhook(server.url, body=lambda alert: {"content": alert.text}))
    assert server.got[0][2] == {"content": "A moved +2.00 % in 1.0 s, from 100 to 102"}
    session = session_of(1, alerts.Webhook(server.url, body=lambda alert: {}[alert.symbol], attempts=1))
    assert outcomes(session) == [(1, "failed", 1, "KeyError: 'A'")]


def test_what_fails_is_tried_again_with_growing_pauses_and_the_same_id(server: Receiver):
    server.answers = [(500, {}), (503, {}), (200, {})]
    session = session_of(1, alerts.Webhook(server.url, backoff_s=0.1))
    assert outcomes(session) == [(1, "retried", 1, "HTTP 500"), (1, "retried", 2, "HTTP 503"), (1, "sent", 3, "")]
    first, second = server.times_s[1] - server.times_s[0], server.times_s[2] - server.times_s[1]
    assert 0.07 < first < 2.0 and 0.14 < second < 4.0
    assert len({body["id"] for _, _, body in server.got}) == 1


def test_a_wish_to_wait_is_kept_and_a_refusal_is_final(server: Receiver):
    server.answers = [(429, {"Retry-After": "1"}), (200, {})]
    session = session_of(1, alerts.Webhook(server.url, backoff_s=0.0))
    assert [one[1:] for one in outcomes(session)] == [("retried", 1, "HTTP 429"), ("sent", 2, "")]
    assert server.times_s[1] - server.times_s[0] >= 1.0
    server.answers = [(404, {})]
    session = session_of(1, alerts.Webhook(server.url, backoff_s=0.0))
    assert outcomes(session) == [(1, "failed", 1, "HTTP 404")]
    assert "alert 1 was not delivered to webhook 127.0.0.1: HTTP 404" in [text for _, text in session.snapshot.messages]


def test_a_redirect_is_not_followed(server: Receiver):
    with receiver() as other:
        server.answers = [(307, {"Location": other.url})]
        assert outcomes(session_of(1, alerts.Webhook(server.url))) == [(1, "failed", 1, "HTTP 307")]
        assert other.got == []


@pytest.mark.parametrize("way", ["hangs", "drips"])
def test_a_server_that_hangs_or_drips_is_given_up_in_time(server: Receiver, way: str):
    setattr(server, way, True)
    session = session_of(1, alerts.Webhook(server.url, timeout_s=0.3, attempts=2, backoff_s=0.0))
    assert outcomes(session) == [
        (1, "retried", 1, "no answer within 0.3 s"),
        (1, "failed", 2, "no answer within 0.3 s"),
    ]


def test_nobody_there():
    session = session_of(1, alerts.Webhook("http://127.0.0.1:1/T0PSECRET", attempts=2, backoff_s=0.0))
    assert outcomes(session) == [
        (1, "retried", 1, "no answer (ConnectError)"),
        (1, "failed", 2, "no answer (ConnectError)"),
    ]


# -- never in the way ------------------------------------------------------------------------------------


def flooded(*notify: object) -> tuple[float, Session]:
    """A session over 20,000 ticks of which every tenth is an alert, at full speed; and how long it took to its last event."""
    events = [tick(index / 10, 100.0 + index % 10, 1.0) for index in range(20_000)]
    session = qf.watch(
        "A",
        feed=qf.ReplayFeed(events, speed=None),
        alerts=alerts.PriceAbove("A", 109.0, every_s=0.0),
        notify=list(notify),
        name="flood",
    )
    began_s = time.monotonic()
    until(lambda: session.snapshot.events >= 20_000, 60)
    return time.monotonic() - began_s, session


def test_hanging_raising_and_flooded_sinks_do_not_delay_the_session(server: Receiver):
    """Two thousand alerts to sinks none of which works: the events go through as without them, and all is on record."""
    server.hangs = True
    released = threading.Event()

    def hangs(alert: Alert) -> None:
        released.wait(60)

    def raises(alert: Alert) -> None:
        raise RuntimeError("no")

    alone_s, _ = flooded()
    began_s = time.monotonic()
    took_s, session = flooded(
        alerts.Webhook(server.url, timeout_s=50.0, per_minute=None),
        alerts.Callback(hangs, name="hangs"),
        alerts.Callback(raises, attempts=1, name="raises"),
    )
    session.wait(30)
    whole_s = time.monotonic() - began_s
    released.set()
    # What is left is the work of writing some thousand records.
    assert took_s < 3.0 * alone_s + 4.0, f"{took_s:.2f} s against {alone_s:.2f} s"
    # Both hanging ones are given three seconds at the end and no more.
    assert whole_s < took_s + 6.0
    assert len(session.alerts) == 2_000
    told = session.deliveries
    for sink in ("webhook 127.0.0.1", "function hangs", "function raises"):
        last = told[told.sink == sink].groupby("alert_id").outcome.last()
        assert list(last.index) == list(range(1, 2_001)), f"{sink}: an alert without a last word"
        assert set(last) <= {"failed", "dropped"}
    waiting = told[(told.sink == "function hangs") & (told.reason == "the session ended before it was sent")]
    assert len(waiting) <= 100
    assert (told.reason == "100 alerts wait already").sum() > 1_000
    assert session.verify()
    # A person is told once of each sink, not two thousand times.
    assert sum("was not delivered" in text for _, text in session.snapshot.messages) <= 6


def test_a_live_session_goes_on_at_once_while_a_webhook_hangs(server: Receiver):
    server.hangs = True
    session = qf.watch(
        "A",
        feed=(feed := HandFeed("hand")),
        alerts=alerts.PriceAbove("A", 100.0, every_s=0.0, margin=0.0),
        notify=alerts.Webhook(server.url, timeout_s=30.0),
    )
    until(lambda: session.snapshot.feed.state == "live")
    slowest_s = 0.0
    for index in range(12):
        began_s = time.monotonic()
        feed.give(tick(index, 100.0 + index % 2 - 0.5, 1.0))
        until(lambda: session.snapshot.events == index + 1)
        slowest_s = max(slowest_s, time.monotonic() - began_s)
    assert len(session.alerts) == 6 and len(server.got) == 1
    # A snapshot is taken every 0.1 s, or at the next look 0.25 s later; the webhook hangs for 30 s.
    assert slowest_s < 5.0
    began_s = time.monotonic()
    session.stop()
    assert time.monotonic() - began_s < 10.0


def test_no_more_than_so_many_a_minute(server: Receiver):
    session = session_of(8, alerts.Webhook(server.url, per_minute=5))
    assert len(server.got) == 5
    assert [one[1:] for one in outcomes(session) if one[1] == "dropped"] == [
        ("dropped", 0, "more than 5 alerts a minute")
    ] * 3


# -- the other sinks -------------------------------------------------------------------------------------


def test_functions_plain_and_async_files_and_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    got: list[Alert] = []
    threads: set[str] = set()

    async def later(alert: Alert) -> None:
        await asyncio.sleep(0.01)
        threads.add(threading.current_thread().name)
        got.append(alert)

    session = session_of(2, got.append, later, f"file:{tmp_path / 'a.log'}", tmp_path / "b.log", "terminal")
    assert sorted(alert.alert_id for alert in got) == [1, 1, 2, 2] and threads == {"qfkit-alerts"}
    assert {type(alert) for alert in got} == {alerts.Alert}
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert lines[0] == "2023-11-15 00:00:01 UTC  s  A moved +2.00 % in 1.0 s, from 100 to 102" and len(lines) == 2
    assert (tmp_path / "b.log").read_text().splitlines() == lines
    assert capsys.readouterr().err.splitlines() == [f"ALERT {line}" for line in lines]
    assert set(session.deliveries.outcome) == {"sent"}


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path):
    session = session_of(1, f"file:{tmp_path / 'no' / 'such' / 'folder.log'}")
    reasons = [one[3] for one in outcomes(session)]
    # A session that ends may give up between two tries.
    tries = [reason for reason in reasons if reason != "the session ended before it was delivered"]
    assert len(tries) >= 2 and all("No such file or directory" in reason for reason in tries)


def test_what_comes_from_outside_cannot_steer_a_terminal():
    got: list[Alert] = []
    events = [tick(0, 1.0, symbol="A\x1b[31m\n"), tick(1, 2.0, symbol="A\x1b[31m\n")]
    qf.watch("A\x1b[31m\n", feed=qf.ReplayFeed(events, speed=None), alerts=alerts.PriceMove(), notify=got.append).wait(
        10
    )
    assert got[0].text.isprintable() and got[0].text.startswith("A [31m  moved")


def test_apprise_brings_it_and_says_why_not(server: Receiver):
    address = f"json://user:p4ssw0rd@127.0.0.1:{server.server_address[1]}/T0PSECRET"
    session = session_of(1, address)
    assert outcomes(session) == [(1, "sent", 1, "")]
    assert "A moved +2.00 %" in server.got[0][2]["message"] and server.got[0][0].startswith("/T0PSECRET")
    server.status = 500
    session = session_of(1, alerts.Apprise(address, attempts=1))
    ((_, outcome, _, reason),) = outcomes(session)
    assert outcome == "failed" and reason.startswith("apprise: ") and "500" in reason


# -- secrets ---------------------------------------------------------------------------------------------


def test_no_secret_is_shown_anywhere(
    server: Receiver, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "apprise", "urllib3", "asyncio", "qfkit"):
        caplog.set_level(logging.DEBUG, logger=name)
    port = server.server_address[1]

    def leaks(alert: Alert) -> None:
        raise OSError(f"404 for url: {server.url} (Max retries exceeded with url: /hooks/T0PSECRET)")

    server.answers = [(500, {}), (500, {}), (404, {}), (404, {})]
    session = session_of(
        2,
        alerts.Webhook(server.url, headers={"X": "HEADERSECRET"}, attempts=2, backoff_s=0.0),
        alerts.Webhook("http://user:p4ssw0rd@127.0.0.1:1/T0PSECRET", attempts=1),
        alerts.Webhook("http://127.0.0.1:1/T0PSECRET\x00ALS0SECRET", attempts=1),
        alerts.Apprise(f"json://user:p4ssw0rd@127.0.0.1:{port}/T0PSECRET", attempts=2, backoff_s=0.0),
        alerts.Apprise("json://user:p4ssw0rd@127.0.0.1:1/T0PSECRET", attempts=1),
        alerts.Callback(leaks, attempts=1, name="leaks"),
    )
    assert len(outcomes(session)) >= 10
    texts = {
        "log": caplog.text,
        "output": "".join(capsys.readouterr()),
        "repr": repr([session, session._pipeline.alerts._sinks, session._pipeline.alerts.rules]),
        "frames": session.alerts.to_string() + session.deliveries.to_string(),
        "messages": str(session.snapshot),
        "journal": session.journal_path.read_bytes().decode("latin-1"),
    }
    for place, text in texts.items():
        for secret in SECRETS:
            assert secret not in text, f"{secret} in the {place}"
    assert (
        "webhook 127.0.0.1 2" in texts["frames"]
        and "404 for url: http://*** (Max retries exceeded with url: ***" in texts["frames"]
    )


@pytest.mark.parametrize(
    "given",
    [
        "http://",
        "https:///T0PSECRET",
        "http://[T0PSECRET",
        "tgram://T0PSECRET",
        "nosuch://T0PSECRET",
        "T0PSECRET",
        "http//example.com/T0PSECRET",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_shown(given: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ParameterError) as raised:
        as_sinks(["terminal", given])
    assert "T0PSECRET" not in str(raised.value) and "T0PSECRET" not in caplog.text
    assert raised.value.__cause__ is None


def test_an_address_may_come_from_the_environment(server: Receiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_HOOK", server.url)
    session_of(1, "env:MY_HOOK")
    assert len(server.got) == 1
    with pytest.raises(ParameterError, match="variable OTHER holds no address"):
        as_sinks("env:OTHER")
    with pytest.raises(ParameterError, match="entry 1 of notify= is a int"):
        as_sinks(3)


def test_what_is_struck_out():
    url = "tgram://123456:AAbb%2FCcdd/-100200"
    assert (
        struck_out("failed for 123456:AAbb/CCDD and -100200 at tgram", url) == "failed for ***:***/*** and *** at tgram"
    )
    assert without_addresses("see https://a.b/c?d=e, then go") == "see https://*** then go"
    assert (
        without_addresses("Max retries exceeded with url: /bot1:x/send (Caused)")
        == "Max retries exceeded with url: *** (Caused)"
    )


# -- the notebook ----------------------------------------------------------------------------------------


def test_in_a_notebook_they_come_under_the_cell_that_started_the_session(tmp_path: Path):
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(
        cwd=str(tmp_path), env={**os.environ, "QFKIT_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(30)
        code = (
            "import qfkit as qf\n"
            "from qfkit.core.events import Tick\n"
            f"ticks = [Tick('<b>A', 100.0 + i, 1.0, {START} + i * 10**9, {START} + i * 10**9) for i in range(3)]\n"
            "s = qf.watch('<b>A', feed=qf.ReplayFeed(ticks, speed=None), alerts=qf.alerts.PriceAbove('<b>A', 102.0))\n"
            "s.wait(10)\n"
            "print(list(s.deliveries.outcome))\n"
        )
        shown: list[tuple[str, dict]] = []

        def keep(message: dict) -> None:
            shown.append((message["msg_type"], message["content"]))

        reply = client.execute_interactive(code, timeout=60, output_hook=keep)
        assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    displays = [content for kind, content in shown if kind in ("display_data", "update_display_data")]
    assert displays[0]["data"]["text/html"] == "<div></div>"
    assert "&lt;b&gt;A at 102 is above 102" in displays[-1]["data"]["text/html"]
    assert displays[0]["transient"]["display_id"] == displays[-1]["transient"]["display_id"]
    assert any("['sent']" in content.get("text", "") for kind, content in shown if kind == "stream")


# -- the command -----------------------------------------------------------------------------------------


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "qfkit", "watch", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error", "COLUMNS": "200", **environment},
    )


def test_the_command_watches_a_recording(capture_path: Path, tmp_path: Path, server: Receiver):
    done = command(
        *("--feed", str(capture_path), "--speed", "max", "--move", "0.1%", "--window", "300", "--above", "61750"),
        *("--notify", f"file:{tmp_path / 'log'}", "--notify", "env:HOOK", "--journal", str(tmp_path / "j.sqlite")),
        HOOK=server.url,
    )
    assert done.returncode == 0, done.stderr
    # The recording by itself: its trades, without the engine or the rules.
    frame = pd.DataFrame(
        [
            (event.received_ns, event.price)
            for batch in _batches(capture_path)
            for event in batch
            if isinstance(event, qf.Tick)
        ],
        columns=["time", "price"],
    )
    first = frame[frame.price >= 61750].iloc[0]
    lines = (tmp_path / "log").read_text().splitlines()
    (above,) = [line for line in lines if "is above" in line][:1]
    assert f"BTCUSDT at {first.price:,.10g} is above 61,750" in above
    connection = sqlite3.connect(tmp_path / "j.sqlite")
    rows = connection.execute("SELECT time_ns, value, kind, text FROM alerts ORDER BY alert_id").fetchall()
    connection.close()
    assert (first.time, first.price) == next((row[0], row[1]) for row in rows if row[2] == "PriceAbove")
    assert all(abs(row[1]) >= 0.001 for row in rows if row[2] == "PriceMove")
    assert len(rows) == len(lines) == len(server.got) and len(rows) >= 2
    for _, _, _, text in rows:
        assert f"message: {text}" in done.stdout
    assert f"{len(rows)} alerts in " in done.stdout.splitlines()[-1]
    assert "value 100,000" not in done.stdout and "P&L" not in done.stdout
    assert "T0PSECRET" not in done.stdout + done.stderr + (tmp_path / "j.sqlite").read_bytes().decode("latin-1")


def _batches(path: Path):
    from qfkit.feeds.recordings import open_recording

    return (batch for batch, _ in open_recording(str(path)).portions(lambda *_: None))


def test_the_command_on_a_made_up_market_ends_by_itself():
    done = command("--feed", "synthetic", "-s", "BTCUSDT", "ETHUSDT", "--move", "0.01%", "--every", "1", "-d", "0.05")
    assert done.returncode == 0, done.stderr
    assert "any symbol moves 0.01 % in 300 s, feed stale, gaps" in done.stdout
    assert "message: " in done.stdout and "alerts in " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--feed synthetic --above 3", "--above BTCUSDT=3"),
        ("--feed synthetic --above dear", "'dear' is not a price"),
        ("--feed synthetic --move 2", "write 2% for 2 percent"),
        ("--feed synthetic --above XRPUSDT=3", "on XRPUSDT, which is not watched"),
        ("--feed synthetic --notify mail", "entry 1 of notify= is no address"),
        ("--feed synthetic -s A --above 3 --above A=3", "there is a rule 'A above 3' already"),
    ],
)
def test_bad_input_is_one_line(arguments: str, said: str):
    done = command(*arguments.split())
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert json.dumps(done.stdout) == '""'


def test_the_page_of_a_watch_list_has_prices_and_messages_and_no_book():
    from rich.console import Console

    from qfkit.views.terminal import dashboard

    session = qf.watch(
        "A", feed=qf.ReplayFeed([tick(0, 1.0), tick(1, 2.0)], speed=None), alerts=alerts.PriceAbove("A", 2.0), notify=[]
    ).wait(10)
    for width in (80, 140):
        console = Console(width=width, height=30, force_terminal=False, record=True, file=io.StringIO())
        console.print(dashboard(session.snapshot))
        text = console.export_text()
        assert "PRICES" in text and "A at 2 is above 2" in text
        assert not any(word in text for word in ("POSITIONS", "FILLS", "portfolio", "STRATEGIES"))
