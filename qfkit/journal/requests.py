"""A file beside a journal by which another process asks the session that writes it to stop.

It names the run it means, so that one left over never stops a later run; it holds no secret, and whoever
may write into the folder may stop the session, as he may delete its journal.
"""

import os
from pathlib import Path

import msgspec

from qfkit.errors import JournalError

__all__ = ["StopRequest", "ask_to_stop", "is_asked", "take_request", "withdraw_request"]

_MOST_BYTES = 10_000


class StopRequest(msgspec.Struct, frozen=True):
    """``run`` is the session's own word for its present run (``meta["run"]``), ``process`` the number of who asks.

    With ``flatten`` all positions are closed first, for ``patience_s`` at most.
    """

    run: str
    process: int
    flatten: bool = False
    patience_s: float = 0.0


def _beside(journal_path: Path) -> Path:
    return journal_path.with_name(journal_path.name + ".stop")


def ask_to_stop(journal_path: Path, request: StopRequest) -> None:
    """Leave a request; a former one is replaced. Raises :class:`JournalError` where the folder cannot be written."""
    path = _beside(journal_path)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        draft.write_bytes(msgspec.json.encode(request))
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise JournalError(
            f"a stop of {journal_path} cannot be asked for: {error}; stop it where it runs, or as its own user"
        ) from error


def is_asked(journal_path: Path) -> bool:
    """Whether a request lies there that nobody has taken yet."""
    return _beside(journal_path).exists()


def take_request(journal_path: Path, run: str) -> StopRequest | None:
    """Take the request for this run away and return it; one for another run is only taken away.

    Raises :class:`JournalError` for one that cannot be read or taken away.
    """
    path = _beside(journal_path)
    taken = path.with_name(f"{path.name}.{os.getpid()}.taken")
    try:
        # First out of the way, so that one that comes meanwhile is not taken away unread.
        path.replace(taken)
        try:
            with taken.open("rb") as file:
                content = file.read(_MOST_BYTES)
        finally:
            taken.unlink()
        request = msgspec.json.decode(content, type=StopRequest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise JournalError(f"the request to stop at {path} cannot be read: {error}") from error
    return request if request.run == run else None


def withdraw_request(journal_path: Path) -> None:
    """Take away whatever request lies there."""
    try:
        _beside(journal_path).unlink(missing_ok=True)
    except OSError as error:
        raise JournalError(f"{_beside(journal_path)} cannot be removed: {error}") from error
