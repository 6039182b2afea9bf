"""A lock file beside a journal: one writer at a time, and a sign that the writer is alive.

The operating system frees the lock when its process dies in whatever way, so a killed session
is told from a running one without a heartbeat or a list of process ids. It is a file of its
own because SQLite loses its own locks when the journal is opened and closed a second time.
"""

import os
import sys
import time
from pathlib import Path
from typing import BinaryIO

from qfkit.errors import JournalError

__all__ = ["JournalLock", "is_locked"]

# A reader looks for an instant only; whoever wants to write outwaits it.
_PATIENCE_S = 1.0

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO, exclusive: bool) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(file: BinaryIO, exclusive: bool) -> bool:
        # flock and not lockf: two openings by one process exclude each other too.
        try:
            fcntl.flock(file.fileno(), (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _beside(journal_path: Path) -> Path:
    return journal_path.with_name(journal_path.name + ".lock")


def is_locked(journal_path: Path) -> bool:
    """Whether a process is writing this journal now."""
    try:
        file = _beside(journal_path).open("rb")
    except FileNotFoundError:
        return False
    except PermissionError:
        return sys.platform == "win32"
    with file:
        return not _try_lock(file, exclusive=False)


class JournalLock:
    """Held from its making until :meth:`release`, or until the process ends."""

    def __init__(self, journal_path: Path) -> None:
        self._path = _beside(journal_path)
        end_s = time.monotonic() + _PATIENCE_S
        while True:
            file = self._path.open("ab")
            if _try_lock(file, exclusive=True) and self._is_still_there(file):
                break
            file.close()
            if time.monotonic() > end_s:
                raise JournalError(
                    f"{journal_path} is being written by another session: stop that one first, "
                    "or give this one a name or journal of its own"
                )
            time.sleep(0.02)
        self._file: BinaryIO | None = file
        _held.add(self)

    def _is_still_there(self, file: BinaryIO) -> bool:
        """Whether the locked file is the one at the path, and not one that its owner just removed."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def leave_to_parent(self) -> None:
        """In a forked child: let go of the parent's lock without freeing it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def release(self) -> None:
        """Free the lock and remove its file."""
        _held.discard(self)
        if self._file is None:
            return
        if sys.platform != "win32":
            self._path.unlink(missing_ok=True)
        self._file.close()
        self._file = None
        if sys.platform == "win32":
            self._path.unlink(missing_ok=True)


_held: set[JournalLock] = set()


def _leave_all_to_parent() -> None:
    # Else a child that outlives a killed session would make it look alive.
    for lock in _held:
        lock.leave_to_parent()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
