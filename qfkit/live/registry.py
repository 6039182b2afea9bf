"""Where journals lie, which sessions run in this process, and what all of them say of themselves."""

import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import msgspec

from qfkit.core.snapshot import SymbolHealth
from qfkit.errors import JournalError, SessionError, did_you_mean
from qfkit.journal.lock import is_locked
from qfkit.journal.reader import JournalReader
from qfkit.live.runner import at_exit

if TYPE_CHECKING:
    import pandas

    from qfkit.live.session import Session

__all__ = [
    "SessionRecord",
    "file_name",
    "find_journal",
    "given_journal",
    "home",
    "journals",
    "never_journalled",
    "new_journal_path",
    "newest_journal",
    "running",
    "session_record",
    "session_records",
    "sessions",
    "start_lock",
]

_SUFFIX = ".qfkit.sqlite"
_NAME_LENGTH = 80

running: dict[str, "Session"] = {}
"""The sessions that run in this process, by name."""

start_lock = RLock()
"""Held while a session starts, so that two starts of a name follow each other."""


def home() -> Path:
    """The folder of qfkit's own files: ``QFKIT_HOME``, or the user's data folder."""
    folder = os.environ.get("QFKIT_HOME")
    if folder:
        return Path(folder).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_path("qfkit"))


def file_name(name: str) -> str:
    """A session's name as a folder's: letters, digits and ``. _ + -``; the rest becomes a dash."""
    clean = re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII).strip("-.")[:_NAME_LENGTH]
    if not clean:
        raise SessionError(f"name={name!r}: a session's name needs at least one letter or digit")
    # These are devices on Windows, with any ending.
    reserved = re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", clean)
    return f"_{clean}" if reserved else clean


def new_journal_path(name: str, journal: Path | str | None) -> Path:
    """A path for a new journal: sorted by name it is sorted by time.

    ``journal`` may be a file to make (with a suffix) or a folder to make it in.
    """
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.gmtime())
    if journal is None:
        folder, stem = home() / "sessions" / file_name(name), stamp
    elif Path(journal).suffix and not Path(journal).is_dir():
        return Path(journal).expanduser().absolute()
    else:
        folder, stem = Path(journal).expanduser().absolute(), f"{file_name(name)}_{stamp}"
    path, number = folder / (stem + _SUFFIX), 1
    while path.exists():
        number += 1
        path = folder / f"{stem}_{number}{_SUFFIX}"
    return path


class SessionRecord(msgspec.Struct, frozen=True):
    """A session as its journal tells it.

    ``state``: running, paused, stopped (ended as it should), failed, interrupted (the process was
    killed or restarted; ``qf.resume`` goes on with it) or unreadable. ``equity`` and ``pnl`` are
    those last written, at most a second old while it runs.
    """

    name: str
    state: str
    started_ns: int | None
    feed: str
    symbols: tuple[str, ...]
    events: int
    equity: float | None
    pnl: float | None
    fills: int
    last_event_ns: int | None
    path: str
    note: str = ""
    health: tuple[SymbolHealth, ...] = ()
    """How well each symbol's data arrived, at most some seconds old while it runs."""


def session_record(path: Path) -> SessionRecord:
    """Read one journal's record; a file that cannot be read gives one that says so."""
    try:
        with JournalReader(path) as reader, reader.frozen():
            meta = reader.meta
            events = reader.event_count
    except JournalError as error:
        return SessionRecord(
            path.parent.name, "unreadable", None, "", (), 0, None, None, 0, None, str(path), str(error)
        )
    state = meta.get("state", "")
    if state not in ("stopped", "failed") and not is_locked(path):
        state = "interrupted"
    latest: dict[str, Any] = meta.get("latest", {})
    return SessionRecord(
        name=meta["name"],
        state=state,
        started_ns=meta.get("created_ns"),
        feed=meta.get("feed", {}).get("label", ""),
        symbols=tuple(meta.get("symbols", ())),
        events=events,
        equity=latest.get("equity"),
        pnl=latest.get("pnl"),
        fills=latest.get("fills", 0),
        last_event_ns=latest.get("time_ns"),
        path=str(path),
        note=meta.get("error", ""),
        health=tuple(msgspec.convert(one, SymbolHealth) for one in meta.get("health", ())),
    )


def journals(folder: Path) -> Iterator[Path]:
    """The journals in a folder, those of one name in the order of their starts."""
    yield from sorted(folder.glob(f"*{_SUFFIX}"))


def session_records(folder: Path | str | None = None) -> list[SessionRecord]:
    """The records of all journals, oldest start first; of one ``folder`` where given. Needs no pandas."""
    root = home() / "sessions"
    folders = sorted(root.glob("*")) if folder is None else [Path(folder).expanduser()]
    records = [session_record(path) for one in folders for path in journals(one)]
    return sorted(records, key=lambda record: (record.started_ns or 0, record.path))


def sessions(folder: Path | str | None = None) -> "pandas.DataFrame":
    """All sessions with a journal, running or not, as a DataFrame: the newest last.

    Also those of other processes. ``folder`` looks at journals that were put elsewhere.
    """
    import pandas

    records = session_records(folder)
    frame = pandas.DataFrame(
        {
            "name": [record.name for record in records],
            "state": [record.state for record in records],
            "started": _times([record.started_ns for record in records]),
            "feed": [record.feed for record in records],
            "events": [record.events for record in records],
            "fills": [record.fills for record in records],
            "equity": [record.equity for record in records],
            "pnl": [record.pnl for record in records],
            "last_event": _times([record.last_event_ns for record in records]),
            "path": [record.path for record in records],
        }
    )
    return frame.astype({"equity": "float64", "pnl": "float64"})


def _times(times_ns: Iterable[int | None]) -> "pandas.DatetimeIndex":
    import pandas

    stamps = [pandas.NaT if time_ns is None else pandas.Timestamp(time_ns, tz="UTC") for time_ns in times_ns]
    return pandas.DatetimeIndex(stamps, dtype="datetime64[ns, UTC]")


def given_journal(name_or_path: Path | str) -> Path | None:
    """The journal that a path means, None for a name. Raises :class:`SessionError` where there is no such file."""
    given = Path(name_or_path).expanduser()
    if given.is_file():
        return given.absolute()
    if given.suffix == ".sqlite" or len(given.parts) > 1:
        raise SessionError(
            f"there is no journal at {given.absolute()}; qf.sessions() and qfkit status list those there are"
        )
    return None


def never_journalled(name: str, folder: Path, known: Iterable[str] | None = None) -> str:
    """What to say of a name that there is no journal of; ``known`` None are the names of the user's data folder."""
    if known is None:
        known = [one.name for one in (home() / "sessions").glob("*")]
    return f"no session {name!r} was ever journalled in {folder}.{did_you_mean(name, known)}"


def _runs_of(name: str) -> list[SessionRecord]:
    """The runs of a name, the newest last; :class:`SessionError` where there is none."""
    root = home() / "sessions"
    paths = list(journals(root / file_name(name)))
    if not paths:
        raise SessionError(never_journalled(name, root))
    return [session_record(path) for path in paths]


def newest_journal(name_or_path: Path | str) -> Path:
    """The journal to read: a path as it is; of a name the run that is being written, else the newest.

    Raises :class:`SessionError` where there is none.
    """
    given = given_journal(name_or_path)
    if given is not None:
        return given
    here = running.get(str(name_or_path))
    if here is not None and here.journal_path is not None:
        return here.journal_path
    records = _runs_of(str(name_or_path))
    live = [record for record in records if record.state in ("running", "paused")]
    return Path((live or records)[-1].path)


def find_journal(name_or_path: Path | str) -> Path:
    """The journal to resume: a path as it is; of a name the newest run that no process is writing.

    Raises :class:`SessionError` where there is none, or where that run ended as it should.
    """
    given = given_journal(name_or_path)
    if given is not None:
        return given
    name = str(name_or_path)
    records = _runs_of(name)
    idle = [record for record in records if record.state not in ("running", "paused")]
    if not idle:
        raise SessionError(
            f"the session {name!r} is running in another process ({records[-1].path}); qf.stop({name!r}) ends it there"
        )
    if idle[-1].state == "stopped":
        older = [record.path for record in idle if record.state in ("interrupted", "failed")]
        also = f"; an older run was interrupted: qf.resume({older[-1]!r})" if older else ""
        raise SessionError(
            f"the newest run of {name!r} ended as it should, there is nothing to resume: start a new one with "
            f"qf.paper(...).start(){also}"
        )
    return Path(idle[-1].path)


def _suspend_all() -> None:
    """At the end of the process: close the journals, without an end of the sessions, so that they can be resumed."""
    for session in list(running.values()):
        session.suspend()


at_exit(_suspend_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=running.clear)
