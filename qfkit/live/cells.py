"""What went wrong in the background is told in the next cell, once, and not in a random one or nowhere.

In a notebook's kernel the log of a background thread would go to whatever cell ran last. So there, what
qfkit logs on other threads from a warning on is kept, and told where the next cell begins or the present ends.
"""

import logging
import sys
import sysconfig
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from qfkit.ipython import shell

__all__ = ["code_lines", "tell_in_cells", "was_told"]

_logger = logging.getLogger("qfkit")

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_MOST_LINES = 3
_MOST_ERRORS = 5
_MOST_WARNINGS = 5


class _Note(msgspec.Struct, frozen=True):
    text: str
    error: BaseException | None = None


class _Notes:
    """The newest notes of one kind, and how many came before them."""

    def __init__(self, most: int) -> None:
        self.notes: deque[_Note] = deque(maxlen=most)
        self.lost = 0

    def add(self, note: _Note) -> None:
        if self.notes and self.notes[-1].text == note.text:
            return
        self.lost += len(self.notes) == self.notes.maxlen
        self.notes.append(note)

    def take(self, what: str) -> list[str]:
        lines = [f"qfkit: {note.text}" for note in self.notes]
        if self.lost:
            lines.insert(0, f"qfkit: {self.lost:,} more {what} before these; session.log has what a session said")
        self.notes.clear()
        self.lost = 0
        return lines


class _CellTeller(logging.Handler):
    """Keeps what other threads log for the next cell; the cell's own goes where it always went."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._errors = _Notes(_MOST_ERRORS)
        self._warnings = _Notes(_MOST_WARNINGS)

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread() is threading.main_thread():
            if not logging.getLogger().handlers and logging.lastResort is not None:
                logging.lastResort.handle(record)
            return
        error = getattr(record, "of_error", None) or (record.exc_info[1] if record.exc_info else None)
        text = getattr(record, "for_cells", "") or _told(record, error)
        (self._errors if record.levelno >= logging.ERROR else self._warnings).add(_Note(text, error))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The lock that an emit of another thread holds."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def forget(self, error: BaseException) -> None:
        with self._held():
            kept = [note for note in self._errors.notes if note.error is not error]
            self._errors.notes.clear()
            self._errors.notes.extend(kept)

    def tell(self, *_: object) -> None:
        """In a cell: say what waits, once."""
        with self._held():
            lines = [*self._errors.take("errors"), *self._warnings.take("warnings")]
        if lines:
            sys.stderr.write("\n".join(lines) + "\n")
            sys.stderr.flush()


def _told(record: logging.LogRecord, error: BaseException | None) -> str:
    text = record.getMessage()
    if error is None:
        return text
    named = f"{type(error).__name__}: {error}"
    return "\n".join([text if str(error) in text else f"{text}: {named}", *code_lines(error)])


def code_lines(error: BaseException) -> list[str]:
    """Where in the user's own code an exception came from: file or cell, line and text, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((_PACKAGE, *_LIBRARIES, "<frozen"))]
    lines = []
    for frame in own[-_MOST_LINES:] or frames[-1:]:
        lines.append(f"  {_place(frame.filename)}, line {frame.lineno}, in {frame.name}")
        if frame.line:
            lines.append(f"    {frame.line}")
    return lines


def _place(filename: str) -> str:
    """A file's name, or that of a cell: ``Cell In[3]``."""
    name_code = getattr(getattr(shell(), "compile", None), "format_code_name", None)
    named = None if name_code is None else name_code(filename)
    return " ".join(named) if named else filename


_teller: _CellTeller | None = None


def tell_in_cells() -> None:
    """In IPython, have the next cells tell of what goes wrong in the background; said again it changes nothing."""
    global _teller
    ipython = shell()
    if ipython is None or _teller is not None:
        return
    _teller = _CellTeller()
    _logger.addHandler(_teller)
    for event in ("pre_run_cell", "post_run_cell"):
        ipython.events.register(event, _teller.tell)


def was_told(error: BaseException) -> None:
    """This error is raised in a cell just now: no need to tell it in the next."""
    if _teller is not None:
        _teller.forget(error)
