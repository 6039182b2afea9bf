"""The streaming cases: qfkit, the library below it and its peers on one server in another process."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.flood import SYMBOLS
from bench.harness import Bench
from bench.processes import Ended, qfkit_command, run_apart
from bench.report import at_least, at_most, rate
from bench.work import Timing
from bench.worker import Worker

__all__ = ["server", "streaming"]

_ROOT = Path(__file__).parent.parent
# After the start and before the end, whose work is not the stream's.
_LOOKS_S = (6.0, 24.0)
_WATCHED_MINUTES = 0.45


@contextmanager
def server(module: str, *arguments: str) -> Iterator[str]:
    """A server in a process of its own; what it prints first is its address."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def streaming(bench: Bench) -> None:
    """All that is measured on a stream: throughput, latency, a quiet day's load and memory, and the peers."""
    count = 200_000 // bench.scale
    with server("bench.flood", "--count", str(count)) as url:
        _throughput(bench, url, count)
        _latency(bench, url)
        _quiet(bench, url)
        _peers(bench, url, count)
    _quiet_yahoo(bench)


def _throughput(bench: Bench, url: str, count: int) -> None:
    case = "streaming session with journal / websockets alone, undecoded"
    with (
        Worker(sys.executable, "bench.streaming", log=bench.log) as ours,
        Worker(sys.executable, "bench.streaming") as theirs,
    ):
        theirs.ask("raw", url=url)
        ours.ask("session", url=url, count=count, check=True)
        rounds = [(ours.ask("session", url=url, count=count), theirs.ask("raw", url=url)) for _ in range(5)]
    if any(raw["count"] != count for _, raw in rounds):
        raise SystemExit(f"streaming: websockets did not receive the {count:,} messages")
    mine, raw = (Timing(tuple(one[side]["seconds"] for one in rounds)) for side in (0, 1))
    ratios = sorted(raw["seconds"] / mine["seconds"] for mine, raw in rounds)
    processor = median(raw["cpu_s"] / mine["cpu_s"] for mine, raw in rounds)
    value = median(ratios)
    bench.add(
        case,
        rate(mine, count, "trades"),
        rate(raw, count, "messages"),
        f"{value:.2f} x ({ratios[0]:.2f}..{ratios[-1]:.2f})",
        ">= 0.6 x",
        at_least(value, 0.6),
    )
    one = rounds[0][0]
    peak = max(mine["peak_mb"] for mine, _ in rounds)
    bench.details[case] = {"rounds": rounds, "ratios": ratios, "processor_ratio": processor}
    bench.notes.append(
        f"Streaming: {count:,} aggregate trades of {len(SYMBOLS)} symbols, pushed over the loopback by another process, into "
        f"bars of 1 s, SMA 10/30, risk limits, broker and journal ({one['fills']:,} fills; the replay of "
        f"the journal was compared before timing). Ratios are of runs in turns; of processor time it is {processor:.2f} x. "
        f"Peak memory {peak:.0f} MB."
    )


def _latency(bench: Bench, url: str) -> None:
    seconds = 5.0 if bench.scale == 1 else 2.0
    with Worker(sys.executable, "bench.streaming", log=bench.log) as worker:
        worker.ask("latency", url=url, rate=1_000, seconds=1.0, every=1)
        for pace, every, most_ms in ((1_000, 1, 1.0), (10_000, 11, 5.0)):
            case = f"from frame to order, 99th percentile, {pace:,} messages/s"
            found = [worker.ask("latency", url=url, rate=pace, seconds=seconds, every=every) for _ in range(3)]
            bench.details[case] = found
            p99 = [one["p99_ms"] for one in found]
            value = median(p99)
            p50, sent = (median(one[name] for one in found) for name in ("p50_ms", "sent_p99_ms"))
            bench.add(
                case,
                f"{value:.2f} ms ({min(p99):.2f}..{max(p99):.2f}), median {p50:.2f} ms",
                "",
                f"{value:.2f} ms",
                f"< {most_ms:g} ms",
                at_most(value, most_ms),
            )
            bench.notes.append(
                f"Latency at {pace:,} messages/s of {len(SYMBOLS)} symbols: {found[0]['orders']:,} orders in {seconds:g} s; from "
                f"the server's sending of the trade it is {sent:.2f} ms. The process used {median(one['load'] for one in found):.0%} "
                "of a core, journal and fills included."
            )


def _watched(feed: str, symbols: tuple[str, ...], **addresses: str) -> Ended:
    """`qfkit realtime` with its dashboard on a terminal."""
    with tempfile.TemporaryDirectory() as home:
        arguments = [
            "realtime",
            "--feed",
            feed,
            "-s",
            *symbols,
            "-d",
            str(_WATCHED_MINUTES),
            "--timeframe",
            "1s",
            "--no-verify",
        ]
        command = [*qfkit_command(), *arguments]
        ended = run_apart(command, on_terminal=True, timeout_s=120.0, looks_s=_LOOKS_S, QFKIT_HOME=home, **addresses)
    if ended.code != 0:
        raise SystemExit(f"{' '.join(command)} ended with {ended.code}:\n{ended.printed}")
    return ended


def _add_watched(bench: Bench, what: str, ended: Ended, *, memory_mb: float | None) -> None:
    if ended.load is not None:
        load = f"{ended.load:.1%} of a core"
        bench.add(f"load of {what}", load, "", load, "< 5%", at_most(ended.load, 0.05))
    peak = ended.peak_bytes / 1e6
    target, verdict = ("stated", "") if memory_mb is None else (f"< {memory_mb:g} MB", at_most(peak, memory_mb))
    bench.add(f"peak memory of {what}", f"{peak:.0f} MB", "", f"{peak:.0f} MB", target, verdict)


def _quiet(bench: Bench, url: str) -> None:
    address = f"{url}/rate=100&seconds=60"
    ended = _watched("binance", SYMBOLS, QFKIT_BINANCE_STREAM_URL=address)
    what = "`qfkit realtime` on Binance's stream, dashboard on, 100 messages/s"
    _add_watched(bench, what, ended, memory_mb=100.0)


def _quiet_yahoo(bench: Bench) -> None:
    with server("bench.yahoo", "--rate", "100") as addresses:
        stream, rest = addresses.split()
        symbols = ("AAPL", "MSFT", "GOOGL")
        ended = _watched("yahoo", symbols, QFKIT_YAHOO_STREAM_URL=stream, QFKIT_YAHOO_REST_URL=rest)
    _add_watched(bench, "`qfkit realtime` on Yahoo's stream, dashboard on, 100 messages/s", ended, memory_mb=None)


def _peers(bench: Bench, url: str, count: int) -> None:
    """Received and parsed: qfkit's feed by itself, and what a peer gives its user for each message."""
    peers: dict[str, dict[str, Any]] = {"cryptofeed": {}, "python-binance": {"queue": count}}
    if isinstance(bench.python, str):
        return
    stayed = f"{url}/stay=1"
    with Worker(sys.executable, "bench.streaming", log=bench.log) as ours:
        mine = ours.ask("parsed", url=url, check=True)
        for name, more in peers.items():

            def theirs(name: str = name, more: dict[str, Any] = more, check: bool = False) -> dict[str, Any]:
                # cryptofeed can be run once in a process.
                with bench.new_peer(name, "bench.stream_peers") as worker:
                    return worker.ask("parsed", url=stayed, count=count, check=check, **more)

            found = theirs(check=True)
            if (found["count"], found["digest"]) != (mine["count"], mine["digest"]):
                raise SystemExit(f"{name} received other trades, so no time is worth anything: {found} against {mine}")
            mine_timing, their_timing = bench.turns(3, lambda: ours.ask("parsed", url=url), theirs)
            case = f"received and parsed / {name}"
            value = their_timing.middle / mine_timing.middle
            bench.add(
                case,
                rate(mine_timing, count, "messages"),
                rate(their_timing, count, "messages"),
                f"{value:.2f} x",
                "stated",
                "",
            )
            bench.details[case] = {"qfkit_s": mine_timing.seconds, "peer_s": their_timing.seconds, "count": count}
    with bench.new_peer("python-binance", "bench.stream_peers") as worker:
        shipped = worker.ask("parsed", url=stayed, count=count)["count"]
    bench.notes.append(
        "Received and parsed: what each gives its user for a message (qfkit a checked, numbered Tick, cryptofeed a Trade with "
        "Decimals on uvloop, python-binance a dict of texts); symbol, price, size, time, number and side of every trade were "
        "compared before timing. cryptofeed, which insists on TLS, was spared it. python-binance had a queue as long as the "
        f"whole stream: with its own of 100 messages its reader died, and {shipped:,} of {count:,} reached its user."
    )
