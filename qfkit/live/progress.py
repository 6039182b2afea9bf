"""How far a wait has come: a bar in a terminal, a line in a notebook's cell, nothing where nobody watches."""

import sys
import time
from collections.abc import Callable
from math import ceil
from types import TracebackType
from typing import Self

import msgspec

from qfkit.ipython import CellLine, is_kernel

__all__ = ["Advance", "WaitProgress"]

_PATIENCE_S = 0.5
_DRAW_S = 0.25


class Advance(msgspec.Struct, frozen=True):
    """Where a wait stands. ``share`` is of the whole wait, 0 to 1, None where its end is not known."""

    events: int
    waited_s: float
    share: float | None = None
    left_s: float | None = None

    @classmethod
    def of(
        cls, events: int, waited_s: float, timeout_s: float | None, feed_share: float | None, first_share: float
    ) -> Self:
        """Of the feed's end and the timeout what comes first; ``first_share`` is what the feed had given before the wait."""
        ends = []
        if timeout_s is not None:
            ends.append((min(1.0, waited_s / timeout_s) if timeout_s > 0.0 else 1.0, max(0.0, timeout_s - waited_s)))
        if feed_share is not None:
            given = feed_share - first_share
            if given > 0.0:
                ends.append((feed_share, waited_s / given * (1.0 - feed_share)))
            elif not ends:
                return cls(events, waited_s, feed_share)
        if not ends:
            return cls(events, waited_s)
        share, left_s = min(ends, key=lambda end: end[1])
        return cls(events, waited_s, share, left_s)

    @property
    def text(self) -> str:
        """``42 %, 1,234 events, 3 s left``"""
        counted = f"{self.events:,} event{'' if self.events == 1 else 's'}"
        if self.share is None:
            return f"{counted} in {_span(self.waited_s)}"
        left = "" if self.left_s is None else f", {_span(self.left_s)} left"
        return f"{int(self.share * 100)} %, {counted}{left}"


def _span(seconds: float) -> str:
    minutes, rest = divmod(ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"


class WaitProgress:
    """Shows how far a wait has come, at most four times a second and from half a second on.

    ``shown`` None is in a terminal or notebook only, True at once and everywhere, False never.
    """

    def __init__(self, title: str, look: Callable[[float], Advance], *, shown: bool | None) -> None:
        self._title = title
        self._look = look
        self._is_wanted = (is_kernel() or sys.stderr.isatty()) if shown is None else shown
        self._patience_s = 0.0 if shown else _PATIENCE_S
        self._started_s = self._drawn_s = time.monotonic()
        self._display: _TerminalLine | _CellLine | None = None

    def __enter__(self) -> Self:
        return self

    def update(self) -> None:
        """Draw, if it is time to."""
        now_s = time.monotonic()
        if not self._is_wanted or now_s - self._started_s < self._patience_s:
            return
        if self._display is None:
            self._display = _CellLine(self._title) if is_kernel() else _TerminalLine(self._title)
        elif now_s - self._drawn_s < _DRAW_S:
            return
        self._drawn_s = now_s
        self._display.draw(self._look(now_s - self._started_s))

    def finish(self, text: str) -> None:
        """The wait is over; a notebook keeps this text."""
        if self._display is not None:
            self._display.finish(text)
            self._display = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.finish(
                "interrupted; the session goes on" if issubclass(kind, KeyboardInterrupt) else "ended by an error"
            )


class _TerminalLine:
    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        console = Console(stderr=True)
        self._bar: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            console=console,
            # Drawn by the wait itself: no thread of its own.
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=console.is_terminal,
        )
        self._bar.start()
        self._task = self._bar.add_task(title, total=None, told="")

    def draw(self, advance: Advance) -> None:
        total = None if advance.share is None else 1.0
        self._bar.update(self._task, total=total, completed=advance.share or 0.0, told=advance.text, refresh=True)

    def finish(self, text: str) -> None:
        self._bar.update(self._task, told=text)
        self._bar.stop()


class _CellLine:
    def __init__(self, title: str) -> None:
        self._line = CellLine(title)

    def draw(self, advance: Advance) -> None:
        self._line.show(advance.text, advance.share)

    def finish(self, text: str) -> None:
        self._line.show(text)
