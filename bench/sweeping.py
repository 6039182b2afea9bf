"""Sweeps: combinations a second against vectorbt and backtesting.py, cold and warm, on one core and on two; memory."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import Bench
from bench.processes import best_seconds
from bench.report import at_least, at_most, rate
from bench.work import load, save, sweep_data
from bench.worker import Worker

__all__ = ["sweeps"]

BARS = 10_000


def pairs(count: int) -> list[list[int]]:
    """Lengths of a fast and a slow average: a grid of 25 fast ones by as many slow ones as it takes."""
    return [[fast, slow] for slow in range(40, 40 + 2 * (-(-count // 25)), 2) for fast in range(5, 30)][:count]


def sweeps(bench: Bench) -> None:
    """A signal function against vectorbt, a Strategy against backtesting.py's optimize."""
    folder = str(bench.folder / "sweep")
    save(Path(folder), sweep_data(BARS))
    with Worker(sys.executable, "bench.sweeps_ours", log=bench.log) as ours:
        bench.versions["qfkit's sweeps"] = ours.ask("versions")
        bench.notes.append(
            f"Sweeps: moving averages of {BARS:,} bars, one position of 100; the equity in the end of every combination was "
            "compared before timing. qfkit's table has 26 figures a run and the moments for the probability of overfitting; "
            'vectorbt is timed with its own of the same kind (20, "the figures of a table") and with return, Sharpe, '
            "drawdown and number of trades alone."
        )
        for engine in ("numba", "rust"):
            _against_vectorbt(bench, ours, engine, folder)
        _against_backtesting(bench, ours, folder)
    _processes(bench, folder)
    _memory(bench, folder)


def _counts(bench: Bench) -> tuple[int, int]:
    return 100, 1_000 // bench.scale if bench.scale > 1 else 1_000


def _against_vectorbt(bench: Bench, ours: Worker, engine: str, folder: str) -> None:
    name = f"vectorbt-{engine}"
    if isinstance(bench.python, str):
        return
    try:
        peer = bench.new_peer(name, "bench.sweeps_peers")
    except RuntimeError as error:
        bench.notes.append(f"{name} not run: {str(error).strip().splitlines()[-1]}")
        return
    with peer:
        cold = peer.ask("sweep", folder=folder, pairs=pairs(100), save_to=str(bench.folder / name))["seconds"]
        with Worker(sys.executable, "bench.sweeps_ours", log=bench.log) as fresh:
            mine_cold = fresh.ask(
                "sweep", folder=folder, pairs=pairs(100), kind="signal", save_to=str(bench.folder / "signal sweep")
            )["seconds"]
        _same(bench, name, "signal sweep", name)
        bench.add(
            f"first sweep of a process, 100 combinations / {name}",
            f"{mine_cold:.2f} s",
            f"{cold:.2f} s",
            f"{cold / mine_cold:.1f} x",
            "stated",
            "",
        )
        for count in _counts(bench):
            asked: dict[str, Any] = {"folder": folder, "pairs": pairs(count)}
            for is_whole, words in ((True, "the figures of a table"), (False, "four figures")):
                for _ in range(2):
                    peer.ask("sweep", is_whole=is_whole, **asked)
                    ours.ask("sweep", kind="signal", **asked)
                mine, theirs = bench.turns(
                    5,
                    lambda asked=asked: ours.ask("sweep", kind="signal", **asked),
                    lambda asked=asked, is_whole=is_whole: peer.ask("sweep", is_whole=is_whole, **asked),
                )
                bench.ratio(
                    f"{count:,} combinations of a signal function, one core / {name} with {words}",
                    mine,
                    theirs,
                    (count, count),
                    "runs",
                    3.0,
                )


def _against_backtesting(bench: Bench, ours: Worker, folder: str) -> None:
    if isinstance(bench.python, str):
        return
    with bench.new_peer("backtesting", "bench.sweeps_peers") as peer:
        asked: dict[str, Any] = {"folder": folder, "pairs": pairs(100)}
        ours.ask("sweep", kind="strategy", save_to=str(bench.folder / "strategy sweep"), **asked)
        peer.ask("sweep", save_to=str(bench.folder / "optimize"), **asked)
        _same(bench, "backtesting.py", "strategy sweep", "optimize")
        for processes, words in ((1, "one core"), (2, "two processes")):
            both = {**asked, "processes": processes}
            ours.ask("sweep", kind="strategy", **both)
            mine, theirs = bench.turns(
                3,
                lambda both=both: ours.ask("sweep", kind="strategy", **both),
                lambda both=both: peer.ask("sweep", **both),
            )
            bench.ratio(
                f"100 combinations of a Strategy, {words} / backtesting.py's optimize",
                mine,
                theirs,
                (100, 100),
                "runs",
                2.0,
            )


def _same(bench: Bench, what: str, ours: str, theirs: str) -> None:
    mine, other = load(bench.folder / ours)["end_equity"], load(bench.folder / theirs)["end_equity"]
    if mine.shape != other.shape or not np.allclose(mine, other, rtol=1e-12, atol=0.0):
        raise SystemExit(
            f"{what}: the equity in the end differs, so no time is worth anything: {mine[:3]}, {other[:3]}"
        )


def _processes(bench: Bench, folder: str) -> None:
    """What a second process brings, and what starting them costs."""
    count = 400 // bench.scale
    asked: dict[str, Any] = {"folder": folder, "pairs": pairs(count), "kind": "strategy"}
    with Worker(sys.executable, "bench.sweeps_ours", log=bench.log) as worker:
        first = worker.ask("sweep", processes=2, **asked)["seconds"]
        one, two = bench.turns(
            3, lambda: worker.ask("sweep", processes=1, **asked), lambda: worker.ask("sweep", processes=2, **asked)
        )
    ratio = one.middle / two.middle
    bench.add(
        f"{count:,} combinations of a Strategy, two processes / one",
        rate(two, count, "runs"),
        rate(one, count, "runs"),
        f"{ratio:.2f} x",
        ">= 1.8 x",
        at_least(ratio, 1.8),
    )
    bench.notes.append(f"Two processes: their start and first sweep together took {first - two.middle:.1f} s longer.")


def _memory(bench: Bench, folder: str) -> None:
    """The largest memory of a process for more and more combinations."""
    peaks = []
    for count in (100, 1_000, 10_000 // bench.scale):
        with Worker(sys.executable, "bench.sweeps_ours", log=bench.log) as worker:
            peaks.append(worker.ask("sweep", folder=folder, pairs=_many(count), kind="signal")["peak_mb"])
    theirs = ""
    if not isinstance(bench.python, str):
        with bench.new_peer("vectorbt-numba", "bench.sweeps_peers") as peer:
            others = [peer.ask("sweep", folder=folder, pairs=pairs(count))["peak_mb"] for count in (100, 1_000)]
        theirs = ", ".join(f"{one:.0f} MB" for one in others) + " (vectorbt, 100 and 1,000)"
    grown = peaks[-1] - peaks[0]
    bench.add(
        f"peak memory of 100, 1,000 and {10_000 // bench.scale:,} combinations",
        ", ".join(f"{one:.0f} MB" for one in peaks),
        theirs,
        f"{grown:+.0f} MB",
        "flat (<= 60 MB)",
        at_most(grown, 60.0),
    )
    python = str(bench.python)
    ours_s = best_seconds([[sys.executable, "-c", "import qfkit; qfkit.sweep"]], 5)[0]
    if not isinstance(bench.python, str):
        vectorbt_s, backtesting_s = best_seconds(
            [[python, "-c", f"import {one}"] for one in ("vectorbt", "backtesting")], 5
        )
        bench.add(
            "import, with what a sweep needs / vectorbt, backtesting.py",
            f"{ours_s:.2f} s",
            f"{vectorbt_s:.2f} s, {backtesting_s:.2f} s",
            f"{vectorbt_s / ours_s:.1f} x, {backtesting_s / ours_s:.1f} x",
            "stated",
            "",
        )


def _many(count: int) -> list[list[int]]:
    return [[fast, slow] for slow in range(40, 440) for fast in range(5, 30)][:count]
