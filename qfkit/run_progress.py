"""A progress bar for a long run, where somebody is there to see it."""

import sys
import time
from datetime import timedelta
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qfkit.ipython import CellLine, is_kernel

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["RunProgress"]

_PATIENCE_S = 1.5
_DRAW_S = 0.25


class RunProgress:
    """Counts ``unit``. Shows itself after a second and a half, in a terminal or a notebook only, and goes when done.

    ``shown`` True shows it at once and everywhere, False never. ``with_rate`` says how many a second, too.
    """

    def __init__(
        self, title: str, total: int | None, *, shown: bool | None, unit: str = "events", with_rate: bool = False
    ) -> None:
        self._title = title
        self._total = total
        self._unit = unit
        self._with_rate = with_rate
        self._patience_s = 0.0 if shown else _PATIENCE_S
        self._wanted = _someone_watches() if shown is None else shown
        self._started_s = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._first: int | None = None
        self._line: CellLine | None = None
        self._drawn_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._line is not None:
            self._line.clear()

    def update(self, done: int) -> None:
        """Say how many are done; what is said first was done before."""
        self._first = done if self._first is None else self._first
        if not self._wanted:
            return
        if self._bar is None and self._line is None:
            if time.monotonic() - self._started_s < self._patience_s:
                return
            if is_kernel():
                self._line = CellLine(self._title)
            else:
                self._bar = self._open()
                self._task = self._bar.add_task(self._title, total=self._total, rate="", completed=self._first)
        if self._line is not None:
            now_s = time.monotonic()
            if now_s - self._drawn_s > _DRAW_S:
                self._drawn_s = now_s
                self._line.show(self._text(done), None if not self._total else done / self._total)
        elif self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, rate=self._rate(done))

    def _text(self, done: int) -> str:
        made, passed_s = done - (self._first or 0), time.monotonic() - self._started_s
        whole = "" if self._total is None else f" of {self._total:,}"
        rate = f", {made / passed_s:,.3g} a second" if self._with_rate and passed_s > 0.0 else ""
        left_s = ceil((self._total - done) * passed_s / made) if self._total and made else None
        left = "" if left_s is None else f", {timedelta(seconds=left_s)} left"
        return f"{done:,}{whole} {self._unit}{rate}{left}"

    def _rate(self, done: int) -> str:
        passed_s = time.monotonic() - self._started_s
        return f"{(done - (self._first or 0)) / passed_s:,.3g}/s," if passed_s > 0.0 else ""

    def _open(self) -> "Progress":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(self._unit),
            *([TextColumn("{task.fields[rate]}")] if self._with_rate else []),
            TimeRemainingColumn(),
            console=console,
            # Where nothing can be taken back, the last state stays.
            transient=console.is_terminal,
        )
        bar.start()
        return bar


def _someone_watches() -> bool:
    return is_kernel() or sys.stderr.isatty()
