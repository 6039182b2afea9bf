"""Shows a session in the terminal from its start to its summary; Ctrl-C stops it cleanly."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from qfkit.errors import QfkitError
from qfkit.views.summary import summary
from qfkit.views.terminal import TerminalView
from qfkit.views.text import clean

if TYPE_CHECKING:
    from qfkit.live.session import Session

__all__ = ["Interruption", "finish", "next_steps", "say", "watch"]

_LOOK_S = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether the user asked to end: Ctrl-C or a termination signal. A second Ctrl-C raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.came = False

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True

    @contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Take the signals meanwhile, instead of the exception that Python makes of them."""
        former = {number: signal.signal(number, self._take) for number in _SIGNALS}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(clean(text, sys.stdout.encoding) + "\n")
    sys.stdout.flush()


def watch(
    session: "Session", interruption: Interruption, *, seconds: float | None = None, plain: bool | None = None
) -> None:
    """Start a session and show it until it ends, ``seconds`` are over or the user interrupts; then it is stopped.

    Raises the session's error if it failed.
    """
    end_s = None if seconds is None else time.monotonic() + seconds
    session.start()
    try:
        with TerminalView(plain=plain) as view:
            while session.state in ("running", "paused", "starting"):
                left_s = _LOOK_S if end_s is None else end_s - time.monotonic()
                if interruption.came or left_s <= 0.0:
                    break
                session.wait(min(_LOOK_S, left_s))
                view.update(session.snapshot)
            session.stop()
            view.update(session.snapshot, now=True)
    finally:
        # Also where the output is gone: what runs must not be left running.
        session.stop()
    session.wait(0.0)


def finish(session: "Session", interruption: Interruption, next_steps: tuple[str, ...], *, verify: bool = True) -> bool:
    """Replay the journal, print the summary, and say whether the replay was equal (true where it was left out)."""
    equal, text = _verify(session, interruption) if verify else (True, "left out; session.verify() does it")
    console = Console(file=sys.stdout)
    console.file.write("\n")
    console.print(summary(session.snapshot, text, next_steps, _start_ns(session)), soft_wrap=True)
    console.file.flush()
    return equal


def next_steps(session: "Session") -> tuple[str, ...]:
    """What to type after a session: of another strategy on the same events, and of all sessions."""
    steps = ["qfkit status    lists all sessions"]
    if session.snapshot.events:
        path = _quoted(str(session.journal_path))
        another = f"qfkit backtest --strategy bollinger-reversion --data {path}"
        steps.append(f"{another}    tries another strategy on the same events")
    return (*steps, "import qfkit as qf; qf.sessions()    in a notebook")


def _quoted(path: str) -> str:
    return shlex.quote(path) if os.name == "posix" else f'"{path}"'


def _start_ns(session: "Session") -> int:
    """The time of the first event: the snapshot remembers the newest part only."""
    from qfkit.journal.reader import read_events

    assert session.journal_path is not None
    return next((batch[0].received_ns for batch in read_events(session.journal_path)), 0)


class _LeftOut(QfkitError):
    """Raised to end a replay early."""


def _verify(session: "Session", interruption: Interruption) -> tuple[bool, str]:
    was_interrupted, interruption.came = interruption.came, False
    shows = sys.stderr.isatty()
    started_s = time.monotonic()

    def look(done: int, total: int) -> None:
        if interruption.came:
            raise _LeftOut
        if shows and time.monotonic() - started_s > 1.0:
            sys.stderr.write(f"\rreplaying the journal: {done:,} of {total:,} events (Ctrl-C leaves it out) ")
            sys.stderr.flush()

    try:
        verdict = session.verify(look)
    except _LeftOut:
        return True, "left out at the second Ctrl-C"
    finally:
        interruption.came = was_interrupted or interruption.came
        if shows:
            sys.stderr.write("\r\x1b[K")
    return bool(verdict), verdict.text
