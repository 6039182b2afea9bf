"""What all cases of the benchmark share: the workers, a folder for their data, and what was found."""

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from bench.report import Row, at_least, rate
from bench.work import Fills, Timing, difference, load
from bench.worker import Worker

__all__ = ["Bench"]


class Bench:
    """The workers, the data, and what was found so far."""

    def __init__(self, stack: ExitStack, python: Path | str, scale: int) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qfkit-bench-")))
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.details: dict[str, Any] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.scale = scale
        self.python = python
        self._stack = stack
        self.log: IO[bytes] = stack.enter_context((self.folder / "log.txt").open("wb"))
        self.ours = stack.enter_context(Worker(sys.executable, "bench.ours", log=self.log))
        self.versions["qfkit's side"] = self.ours.ask("versions")

    def peer(self, name: str) -> Worker | None:
        """A peer's worker; None where the peers are not installed, which is noted."""
        return None if isinstance(self.python, str) else self._stack.enter_context(self.new_peer(name, "bench.peers"))

    def new_peer(self, name: str, module: str) -> Worker:
        """A peer's worker that the caller closes."""
        worker = Worker(self.python, module, name, log=self.log)
        if name not in self.versions:
            self.versions[name] = worker.ask("versions")
        return worker

    def fills(self, name: str) -> Fills:
        return Fills(**load(self.folder / name))

    def same(self, what: str, ours: Fills, theirs: Fills) -> None:
        """End the benchmark if the two sides did not do the same."""
        parted = difference(ours, theirs)
        if parted is not None:
            raise SystemExit(f"{what}: the two sides did different work, so no time is worth anything: {parted}")

    def turns(self, rounds: int, *sides: Callable[[], dict[str, Any]]) -> list[Timing]:
        """Time several sides in turns; each had a run before that does not count."""
        seconds: list[list[float]] = [[] for _ in sides]
        for _ in range(rounds):
            for spent, side in zip(seconds, sides, strict=True):
                spent.append(side()["seconds"])
        return [Timing(tuple(spent)) for spent in seconds]

    def ratio(self, case: str, ours: Timing, theirs: Timing, counts: tuple[int, int], unit: str, target: float) -> None:
        value = (counts[0] / ours.middle) / (counts[1] / theirs.middle)
        verdict = at_least(value, target)
        self.add(
            case,
            rate(ours, counts[0], unit),
            rate(theirs, counts[1], unit),
            f"{value:.2f} x",
            f">= {target:g} x",
            verdict,
        )
        self.details[case] = {"qfkit_s": ours.seconds, "peer_s": theirs.seconds, "counts": counts, "ratio": value}

    def add(self, case: str, ours: str, theirs: str, figure: str, target: str, verdict: str) -> None:
        self.rows.append(Row(case, ours, theirs, figure, target, verdict))
        print(f"{case}: {ours} | {theirs} | {figure} | {target} | {verdict}", flush=True)
