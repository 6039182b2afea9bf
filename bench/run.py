"""The benchmark: ``make bench``. Prints a table and writes bench/results.md and results.json.

qfkit and the peers run in turns, each in a process of its own, on the same data; fills are
compared before any time is. ``--quick`` takes a tenth of the work, ``--only bars,ticks`` some cases.
"""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np

from bench.environment import peers_python
from bench.harness import Bench
from bench.notebook import notebook
from bench.processes import best_seconds, qfkit_command, run_apart
from bench.report import at_least, at_most, machine, rate, table, write
from bench.streams import streaming
from bench.sweeping import sweeps
from bench.work import FAST, SLOW, SLOW_PAIR, Fills, Timing, bar_data, load, save, tick_data
from bench.worker import Worker

__all__ = ["main"]

_FOLDER = Path(__file__).parent
_FLAT = 1.25


def bars(bench: Bench) -> None:
    """A Strategy on bars against backtesting.py and nautilus_trader; a signal function against vectorbt."""
    count = 100_000 // bench.scale
    folder = str(bench.folder / "bars")
    data = bar_data(count)
    save(Path(folder), data)
    bench.ours.ask("bars", folder=folder, save_to=str(bench.folder / "strategy"))
    mine = bench.fills("strategy")
    bench.notes.append(
        f"Bars: {count:,} one-minute bars of a seeded random walk; {len(mine.side):,} fills of {int(mine.quantity[0])} each. "
        "Every fill's time, side, quantity and price was compared before timing."
    )
    peer = bench.peer("backtesting")
    if peer is not None:
        peer.ask("bars", folder=folder, save_to=str(bench.folder / "backtesting"))
        bench.same("backtesting.py", mine, bench.fills("backtesting"))
        ours, theirs = bench.turns(
            7, lambda: bench.ours.ask("bars", folder=folder), lambda: peer.ask("bars", folder=folder)
        )
        bench.ratio("Strategy on bars / backtesting.py", ours, theirs, (count, count), "bars", 2.5)
        peer.close()
    peer = bench.peer("nautilus")
    if peer is not None:
        peer.ask("bars", folder=folder, save_to=str(bench.folder / "nautilus"))
        theirs_fills = bench.fills("nautilus")
        # It fills at the close it decided on: the open of our fill's bar is the time of that
        # close, and what is decided on the last bar has no next open here.
        kept = Fills(*(values[theirs_fills.time_ns <= data["open_ns"][-1]] for values in theirs_fills))
        place = np.searchsorted(data["open_ns"], mine.time_ns)
        bench.same("nautilus_trader on bars", mine._replace(price=data["close"][place - 1]), kept)
        ours, theirs = bench.turns(
            3, lambda: bench.ours.ask("bars", folder=folder), lambda: peer.ask("bars", folder=folder)
        )
        bench.ratio("Strategy on bars / nautilus_trader", ours, theirs, (count, count), "bars", 10.0)
        shipped = peer.ask("bars", folder=folder, as_shipped=True)["seconds"]
        bench.notes.append(
            "nautilus_trader: BacktestEngine.run() alone is timed, on ready objects, against the whole of qf.backtest from "
            "a DataFrame to its figures; its record of closed positions, whose cost grows with their square, is left "
            f"out (with it {count / shipped:,.0f} bars/s). Its orders fill at the close or trade they are decided on."
        )
        peer.close()
    peer = bench.peer("vectorbt")
    if peer is not None:
        compiling = peer.ask("bars", folder=folder, save_to=str(bench.folder / "vectorbt"))["seconds"]
        bench.ours.ask("signal", folder=folder, save_to=str(bench.folder / "signal"))
        bench.same("vectorbt", bench.fills("signal"), bench.fills("vectorbt"))
        for _ in range(2):
            peer.ask("bars", folder=folder)
        ours, theirs = bench.turns(
            11, lambda: bench.ours.ask("signal", folder=folder), lambda: peer.ask("bars", folder=folder)
        )
        bench.ratio("signal function on bars / vectorbt (warm)", ours, theirs, (count, count), "bars", 3.0)
        longer = count * 10
        folder_10 = str(bench.folder / "bars10")
        save(Path(folder_10), bar_data(longer))
        side = (lambda: bench.ours.ask("signal", folder=folder_10)), (lambda: peer.ask("bars", folder=folder_10))
        for one in side:
            one()
        ours, theirs = bench.turns(5, *side)
        bench.ratio("... on ten times as many bars", ours, theirs, (longer, longer), "bars", 3.0)
        bench.notes.append(
            f"vectorbt: its first call, with the compile, took {compiling:.1f} s; qfkit has none. Both sides give orders "
            "as a frame and the equity. Its frame has no times (with a datetime index it takes ten times as long)."
        )
        peer.close()


def ticks(bench: Bench) -> None:
    """A Strategy on the ticks of ten symbols against nautilus_trader."""
    count = 1_000_000 // bench.scale
    folder = str(bench.folder / "ticks")
    data = tick_data(count)
    save(Path(folder), data)
    peer = bench.peer("nautilus")
    if peer is None:
        return
    for (fast, slow), fewer in (((FAST, SLOW), count // 10), (SLOW_PAIR, count // 5)):
        lengths = [fast, slow]
        ours_name, theirs_name = f"ticks{slow}", f"nautilus{slow}"
        bench.ours.ask("ticks", folder=folder, count=fewer, lengths=lengths, save_to=str(bench.folder / ours_name))
        peer.ask("ticks", folder=folder, count=fewer, lengths=lengths, save_to=str(bench.folder / theirs_name))
        mine, decided = bench.fills(ours_name), load(bench.folder / ours_name / "decided")["time_ns"]
        _check_next_ticks(data, mine, decided)
        theirs_fills = bench.fills(theirs_name)
        # What is decided on a symbol's last tick has no next one to fill at here.
        place = np.searchsorted(data["time_ns"], theirs_fills.time_ns)
        last = [
            np.flatnonzero(data["symbol"][:fewer] == number).max() for number in range(int(data["symbol"].max()) + 1)
        ]
        kept = Fills(*(values[~np.isin(place, last)] for values in theirs_fills))
        order = np.argsort(decided, kind="stable")
        at_decision = data["price"][np.searchsorted(data["time_ns"], decided[order])]
        side, quantity = mine.side[_by_decision(data, mine, decided)], mine.quantity
        bench.same("nautilus_trader on ticks", Fills(decided[order], side, quantity, at_decision), kept)
        ours, theirs = bench.turns(
            3,
            lambda lengths=lengths: bench.ours.ask("ticks", folder=folder, count=count, lengths=lengths),
            lambda lengths=lengths, fewer=fewer: peer.ask("ticks", folder=folder, count=fewer, lengths=lengths),
        )
        bench.ratio(
            f"Strategy on ticks, SMA {fast}/{slow} / nautilus_trader", ours, theirs, (count, fewer), "ticks", 10.0
        )
        bench.notes.append(
            f"Ticks, SMA {fast}/{slow}: qfkit on {count:,} of 10 symbols, nautilus_trader on the first {fewer:,} "
            f"({len(mine.side):,} fills on those, compared); more are slower for it, for its cost grows with its fills."
        )
    peer.close()


def _check_next_ticks(data: dict[str, np.ndarray], fills: Fills, decided: np.ndarray) -> None:
    """Each fill is at a trade of a symbol after one that decided: as many, and the prices those of the data."""
    place = np.searchsorted(data["time_ns"], fills.time_ns)
    if len(decided) != len(fills.side) or not np.array_equal(data["price"][place], fills.price):
        raise SystemExit("qfkit on ticks: the fills are not at the prices of the data")


def _by_decision(data: dict[str, np.ndarray], fills: Fills, decided: np.ndarray) -> np.ndarray:
    """The order of the fills by the trade that decided them: the one before, of the same symbol."""
    symbol = data["symbol"]
    before = np.full(len(symbol), -1)
    for number in range(int(symbol.max()) + 1):
        mine = np.flatnonzero(symbol == number)
        before[mine[1:]] = mine[:-1]
    deciding = before[np.searchsorted(data["time_ns"], fills.time_ns)]
    order = np.argsort(deciding, kind="stable")
    if not np.array_equal(data["time_ns"][deciding[order]], np.sort(decided)):
        raise SystemExit("qfkit on ticks: an order did not fill at its symbol's next trade")
    return order


def replay(bench: Bench) -> None:
    """A session with its journal, as fast as it goes."""
    count = 1_000_000 // bench.scale
    folder = str(bench.folder / "replayed")
    save(Path(folder), tick_data(count))
    answers = [bench.ours.ask("replay", folder=folder, count=count) for _ in range(4)][1:]
    if any(answer["events"] != count for answer in answers):
        raise SystemExit(f"replay: the journal holds {answers[0]['events']:,} of {count:,} events")
    timing = Timing(tuple(answer["seconds"] for answer in answers))
    speed = count / timing.middle
    bench.add(
        "session with journal, decoded ticks",
        rate(timing, count, "ticks"),
        "",
        f"{speed:,.0f}/s",
        ">= 100,000/s",
        at_least(speed, 1e5),
    )
    bench.notes.append(f"Session on {count:,} ticks: a journal of {answers[0]['journal_mb']:.0f} MB.")
    path = capture_path()
    case = "session with journal, raw Binance capture with decoding"
    if path is None:
        bench.add(case, "", "", "", "", "not run: no capture (QFKIT_TEST_DATA)")
        return
    answers = [bench.ours.ask("capture", path=str(path)) for _ in range(4)][1:]
    timing = Timing(tuple(answer["seconds"] for answer in answers))
    bench.add(
        case,
        rate(timing, answers[0]["events"], "events"),
        "",
        f"{answers[0]['events'] / timing.middle:,.0f}/s",
        "stated",
        "",
    )


def capture_path() -> Path | None:
    """The recorded BTCUSDT capture, if there is one."""
    named = os.environ.get("QFKIT_TEST_DATA")
    folder = Path(named) if named else _FOLDER.parent.parent / "shared" / "data"
    path = folder / "binance" / "btcusdt_spot_20240808.gz"
    return path if path.is_file() else None


def scaling(bench: Bench) -> None:
    """Cost an event over the number of events and of symbols; memory of a long session."""
    sizes = [10_000, 100_000, 1_000_000 // bench.scale, 5_000_000 // bench.scale]
    found: dict[str, list[float]] = {}
    with Worker(sys.executable, "bench.ours") as worker:
        worker.ask("scale", count=100_000, symbols=10)
        for _ in range(3):
            for count, symbols in [*((size, 10) for size in sizes), *((sizes[2], many) for many in (1, 100))]:
                repeats = max(1, min(20, 200_000 // count))
                spent = [worker.ask("scale", count=count, symbols=symbols) for _ in range(repeats)]
                found.setdefault(f"{count:,} events, {symbols} symbols", []).append(median(one["ns"] for one in spent))
    # The least disturbed of the rounds: flatness is asked for, not speed.
    least = {name: min(values) for name, values in found.items()}
    bench.details["scaling_ns"] = found
    for title, names in (
        ("cost an event, 10 k to 5 M events", [f"{size:,} events, 10 symbols" for size in sizes]),
        ("cost an event, 1 to 100 symbols", [f"{sizes[2]:,} events, {many} symbols" for many in (1, 10, 100)]),
    ):
        values = [least[name] for name in names]
        spread = max(values) / min(values)
        shown = ", ".join(f"{value / 1000:.2f}" for value in values)
        bench.add(
            title, f"{shown} us", "", f"largest / smallest {spread:.2f}", f"flat (<= {_FLAT:g})", at_most(spread, _FLAT)
        )
    with Worker(sys.executable, "bench.ours") as worker:
        count, after = 5_000_000 // bench.scale, 500_000 // bench.scale
        answer = worker.ask("memory", count=count, after=max(after, 100_000))
    bench.details["memory"] = answer
    if answer["events"] != count:
        raise SystemExit(f"memory: the journal holds {answer['events']:,} of {count:,} events")
    grown = answer["most_grown_mb"]
    text = f"{answer['start_mb']:.0f} MB, then at most {grown:+.1f} MB"
    bench.add(
        f"memory of a session of {count:,} events after the first {after:,}",
        text,
        "",
        f"{grown:.1f} MB",
        "< 5 MB",
        at_most(grown, 5.0),
    )


def guarded(bench: Bench) -> None:
    """What limits, several strategies and running measures cost; and that it does not grow."""
    count = 1_000_000 // bench.scale
    with Worker(sys.executable, "bench.ours") as worker:

        def turns(**other: object) -> tuple[float, float, int]:
            pairs = []
            for _ in range(3):
                with_all = worker.ask("guarded", count=count, strategies=3, is_guarded=True, **other)
                bare = worker.ask("guarded", count=count, is_guarded=False, strategies=3 if other else 1, **other)
                pairs.append((with_all["seconds"], bare["seconds"]))
            return min(one for one, _ in pairs), min(one for _, one in pairs), with_all["orders"]

        for case, other in (
            ("all limits, 3 strategies on bars of 10 symbols / one without", {}),
            ("all limits, 3 strategies on every tick / the same without limits", {"on_ticks": True}),
        ):
            ours, bare, orders = turns(**other)
            ratio = bare / ours
            rates = [f"{count / seconds / 1e3:,.0f} k events/s" for seconds in (ours, bare)]
            bench.add(case, rates[0], rates[1], f"{ratio:.2f} x", ">= 0.5 x", at_least(ratio, 0.5))
            bench.notes.append(f"{case}: {orders:,} orders in {count:,} events.")
        longer = 10_000_000 // bench.scale
        rounds = worker.ask("guarded", count=longer, strategies=3, is_guarded=True)["rounds_ns"]
        # The quickest of twenty rounds of ten thousand events each, from the ten thousandth on and before the last.
        early, settled, late = min(rounds[1:21]), min(rounds[20:40]), min(rounds[-20:])
        bench.add(
            f"running measures, an event at {longer:,} / at 10,000",
            f"{late / 1e3:.2f} us",
            f"{early / 1e3:.2f} us",
            f"{late / early:.2f}",
            f"flat (<= {_FLAT:g})",
            at_most(late / early, _FLAT),
        )
        bench.notes.append(
            f"Running measures: an event at 200,000 took {settled / 1e3:.2f} us; at 10,000 fewer positions are open "
            "than ever after, and fewer orders are checked."
        )


def processes(bench: Bench) -> None:
    """Whole processes: memory of `qfkit realtime`, time of `import qfkit` and `qfkit --help`."""
    python = sys.executable
    command = qfkit_command()
    path = capture_path()
    for title, speed, on_terminal in (("dashboard at 20 x", "20", True), ("plain lines at full speed", "max", False)):
        case = f"peak memory of `qfkit realtime` on the capture, {title}"
        if path is None:
            bench.add(case, "", "", "", "< 100 MB", "not run: no capture (QFKIT_TEST_DATA)")
            continue
        with tempfile.TemporaryDirectory() as home:
            arguments = [*command, "realtime", "--feed", str(path), "--speed", speed]
            ended = run_apart(arguments, on_terminal=on_terminal, timeout_s=180.0, QFKIT_HOME=home)
        if ended.code != 0:
            raise SystemExit(f"{' '.join(arguments)} ended with {ended.code}:\n{ended.printed}")
        peak = ended.peak_bytes / 1e6
        bench.add(case, f"{peak:.0f} MB", "", f"{peak:.0f} MB", "< 100 MB", at_most(peak, 100.0))
    every_name = "import qfkit; [getattr(qfkit, name) for name in qfkit.__all__]"
    programs = ("pass", "import numpy", "import qfkit", every_name)
    nothing, numpy_s, qfkit_s, every_s, help_s = best_seconds(
        [*([python, "-c", program] for program in programs), [*command, "--help"]], 7
    )
    more = qfkit_s - numpy_s
    bench.add(
        "`import qfkit` beyond `import numpy`",
        f"{qfkit_s:.3f} s",
        f"numpy {numpy_s:.3f} s",
        f"{more:+.3f} s",
        "< 0.2 s",
        at_most(more, 0.2),
    )
    bench.add(
        "... and every public name used",
        f"{every_s:.3f} s",
        f"numpy {numpy_s:.3f} s",
        f"{every_s - numpy_s:+.3f} s",
        "stated",
        "",
    )
    bench.add("`qfkit --help`", f"{help_s:.3f} s", "", f"{help_s:.3f} s", "< 0.4 s", at_most(help_s, 0.4))
    bench.notes.append(f"Processes: best of 7, the start of Python itself ({nothing:.3f} s) included.")


_CASES = {
    "bars": bars,
    "ticks": ticks,
    "replay": replay,
    "streaming": streaming,
    "scaling": scaling,
    "guarded": guarded,
    "processes": processes,
    "notebook": notebook,
    "sweeps": sweeps,
}
_WITH_PEERS = {"bars", "ticks", "streaming", "sweeps"}


def main() -> None:
    """Run the cases and write what they gave."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--only", default=",".join(_CASES), help="cases, with commas: " + ", ".join(_CASES))
    parser.add_argument("--quick", action="store_true", help="a tenth of the work; the figures are rough")
    parser.add_argument("--to", type=Path, default=_FOLDER, help="folder of results.md and results.json")
    chosen = parser.parse_args()
    names = chosen.only.split(",")
    for name in names:
        if name not in _CASES:
            parser.error(f"--only {name}: the cases are {', '.join(_CASES)}")
    python: Path | str = peers_python() if _WITH_PEERS & set(names) else "not asked for"
    with ExitStack() as stack:
        bench = Bench(stack, python, 10 if chosen.quick else 1)
        if isinstance(python, str) and _WITH_PEERS & set(names):
            bench.notes.append(f"Peers not run: {python}.")
        for name in names:
            _CASES[name](bench)
        if chosen.quick:
            bench.notes.insert(0, "A quick run with a tenth of the work: rough figures.")
        about = {"machine": machine(), "versions": bench.versions}
        write(chosen.to, bench.rows, bench.notes, about, bench.details)
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(table(bench.rows))
    for note in bench.notes:
        console.print(f"- {note}", highlight=False)


if __name__ == "__main__":
    main()
