"""What strategies print goes to their session's log, and not into whatever cell ran last.

While a session runs, or a replay is silent, ``sys.stdout`` and ``sys.stderr`` are wrapped: what the thread
that runs a strategy's hook writes meanwhile is kept, and of what it displays the text; all else passes through
as before.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from qfkit.core.engine import Engine
from qfkit.core.strategy import Strategy
from qfkit.ipython import shell
from qfkit.journal.schema import LogEntry
from qfkit.tables import records_frame

if TYPE_CHECKING:
    import pandas

__all__ = ["SHOWN_LINES", "PrintedLines", "log_frame", "silent"]

SHOWN_LINES = 200
_LOG = {"kind": ("level", "str"), "strategy": ("strategy", "str"), "text": ("text", "str")}
# A journal lasts for days: so many lines at once, and so many a second in the long run.
_BURST = 500.0
_PER_S = 10.0
_NOTE_S = 1.0
_LINE = 1_000
_MOST_AT_ONCE = 100_000


# -- the streams -----------------------------------------------------------------------------------


class _Here(threading.local):
    """Where this thread's writes go; None is where they always went."""

    sink: Callable[[str], None] | None = None
    is_hooked = False


_here = _Here()
_lock = threading.Lock()
_users = 0


class _Routed:
    """A text stream that asks first whether the writing thread is in a strategy's hook."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        sink = _here.sink
        if sink is None:
            written: int = self._stream.write(text)
            return written
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        sink(text)
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _here.sink is None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":
            # Of a copy, which as of any stream cannot be.
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __reduce__(self) -> Any:
        raise TypeError("a standard stream cannot be copied")


def _route() -> None:
    """Wrap the streams as they are now: a cell may have exchanged them, to capture what it prints itself."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is _Routed or stream is None:
            continue
        wrapped = _Routed(stream)
        # A cell may have exchanged it meanwhile: what is not there any more must not come back.
        if getattr(sys, name) is stream:
            setattr(sys, name, wrapped)
    if not _here.is_hooked:
        _here.is_hooked = True
        # What a kernel displays goes another way; its hooks are of one thread each.
        register = getattr(getattr(shell(), "display_pub", None), "register_hook", None)
        if register is not None:
            register(_take_display)


def _take_display(message: dict[str, Any]) -> dict[str, Any] | None:
    """Of what a hook displays its text is kept, as if it were printed. An output to clear it has none."""
    if _here.sink is None:
        return message
    data = message["content"].get("data")
    if data is not None:
        _here.sink(f"{data.get('text/plain', '')}\n")
    return None


def _open() -> None:
    global _users
    with _lock:
        _users += 1
        _route()


def _close() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users:
            return
        while type(sys.stdout) is _Routed:
            sys.stdout = sys.stdout._stream
        while type(sys.stderr) is _Routed:
            sys.stderr = sys.stderr._stream


def _nowhere(_text: str) -> None:
    pass


@contextmanager
def silent() -> Iterator[None]:
    """What this thread prints within it goes nowhere: a replay runs strategies whose lines were told already."""
    _open()
    former, _here.sink = _here.sink, _nowhere
    try:
        yield
    finally:
        _here.sink = former
        _close()


# -- the lines of one session ----------------------------------------------------------------------


class PrintedLines:
    """Keeps what is printed within ``with lines:``, line by line with the engine's time; on one thread.

    Of a flood only a part is kept, and how many lines were left out. ``waiting`` are those not yet in the
    journal, ``shown`` the newest that are.
    """

    def __init__(self, engine: Engine) -> None:
        self.waiting: list[LogEntry] = []
        self.shown: deque[tuple[int, str]] = deque(maxlen=SHOWN_LINES)
        self._engine = engine
        self._begun = ""
        self._allowance = _BURST
        self._allowed_s = time.monotonic()
        self._left_out = 0
        self._noted_s = -_NOTE_S
        self._is_open = False
        self._former: Callable[[str], None] | None = None

    def open(self) -> None:
        """From now on the streams are wrapped."""
        if not self._is_open:
            self._is_open = True
            _open()

    def close(self) -> None:
        """Say what is left to say, and unwrap the streams where nobody else needs it."""
        self._note()
        if self._is_open:
            self._is_open = False
            _close()

    def __enter__(self) -> Self:
        now_s = time.monotonic()
        self._allowance = min(_BURST, self._allowance + (now_s - self._allowed_s) * _PER_S)
        self._allowed_s = now_s
        _route()
        self._former, _here.sink = _here.sink, self._take
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _here.sink = self._former
        if self._begun:
            self._keep(self._begun, None)
            self._begun = ""
        if self._left_out and self._allowed_s - self._noted_s >= _NOTE_S:
            self._note()

    def _take(self, text: str) -> None:
        if self._allowance < 1.0:
            self._left_out += text.count("\n")
            return
        if len(text) > _MOST_AT_ONCE:
            self._left_out += text.count("\n", _MOST_AT_ONCE)
            text = text[:_MOST_AT_ONCE]
        *lines, begun = (self._begun + text).split("\n")
        # What is begun and never ended is bounded too.
        self._begun = begun[: _LINE + 1]
        if lines:
            speaker = _speaker()
            for line in lines:
                self._keep(line, speaker)

    def _keep(self, line: str, speaker: str | None) -> None:
        if self._allowance < 1.0:
            self._left_out += 1
            return
        self._allowance -= 1.0
        text = line if len(line) <= _LINE else f"{line[:_LINE]}…"
        self.waiting.append(LogEntry(self._engine.clock_ns, "printed", text, speaker))

    def _note(self) -> None:
        if self._left_out:
            lines = "1 more line was" if self._left_out == 1 else f"{self._left_out:,} more lines were"
            text = f"… {lines} printed and left out: {_PER_S:g} a second are kept in the long run"
            self.waiting.append(LogEntry(self._engine.clock_ns, "printed", text))
            self._left_out = 0
            self._noted_s = time.monotonic()

    def committed(self) -> None:
        """What waited is in the journal: now it is shown."""
        self.shown.extend((entry.time_ns, entry.text) for entry in self.waiting)
        self.waiting.clear()


def _speaker() -> str | None:
    """The name of the strategy whose code is printing: the nearest one on the stack."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_argcount:
            owner = frame.f_locals.get(code.co_varnames[0])
            if isinstance(owner, Strategy):
                return None if owner._desk is None else owner._desk.name
        frame = frame.f_back
    return None


def log_frame(entries: Sequence[LogEntry]) -> "pandas.DataFrame":
    """A session's log as a table, in the order of time."""
    in_order = sorted(entries, key=lambda entry: entry.time_ns)
    return records_frame(in_order, "time_ns", _LOG)
