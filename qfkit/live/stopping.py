"""Stops sessions from anywhere: of this process at once, of another one through their journals.

A session looks for a request beside its journal four times a second, on its own thread: also while the
kernel it was started in is busy with a cell.
"""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from qfkit.core.events import Flatten
from qfkit.core.snapshot import PositionView
from qfkit.core.survey import take_positions
from qfkit.errors import JournalError, ParameterError, QfkitError, SessionError
from qfkit.journal.lock import is_locked
from qfkit.journal.reader import JournalReader
from qfkit.journal.requests import StopRequest, ask_to_stop, is_asked, take_request, withdraw_request
from qfkit.live.pipeline import Pipeline
from qfkit.live.registry import file_name, given_journal, home, journals, never_journalled, running

if TYPE_CHECKING:
    from qfkit.live.session import Session

__all__ = ["StopAnswer", "StopRequests", "of_names_or_paths", "running_journals", "stop", "stop_journals"]

_PATIENCE_S = 10.0
# What a session gets to end once it is flat: its feed closes, on_stop runs, the last alerts go out.
_END_S = 10.0
_LOOK_S = 0.05

Positions = list[tuple[str, str, float]]


class StopAnswer(msgspec.Struct, frozen=True):
    """What became of a stop. ``outcome``: "stopped", "not running" or "no answer"; ``text`` says it in words.

    ``still_open`` are the positions left: strategy, symbol and quantity.
    """

    name: str
    outcome: str
    text: str
    path: str
    still_open: tuple[tuple[str, str, float], ...] = ()

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


# -- the session's side --------------------------------------------------------------------------


class StopRequests:
    """Looks for requests to stop one run of a session; on the runner's thread."""

    def __init__(self, pipeline: Pipeline, run: str) -> None:
        self._pipeline = pipeline
        self._run = run
        self._until_s: float | None = None
        self._trouble = ""

    def look(self, now_ns: int) -> bool:
        """Honour a request; return whether the session is to end now."""
        pipeline = self._pipeline
        if pipeline.writer is None:
            return False
        request = self._take(pipeline.writer.path, now_ns)
        if request is not None:
            what = "flattened and stopped" if request.flatten else "stopped"
            pipeline.say(now_ns, "warning", f"{what} by another process (number {request.process})")
            if not request.flatten:
                pipeline.show()
                return True
            pipeline.command(Flatten(received_ns=now_ns))
            self._until_s = time.monotonic() + request.patience_s
        if self._until_s is None:
            return False
        return time.monotonic() >= self._until_s or not _open(take_positions(pipeline.engine))

    def _take(self, path: Path, now_ns: int) -> StopRequest | None:
        try:
            return take_request(path, self._run)
        except JournalError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._pipeline.say(now_ns, "warning", self._trouble)
            return None

    def end(self) -> None:
        """Take away what came too late."""
        if self._pipeline.writer is not None:
            try:
                withdraw_request(self._pipeline.writer.path)
            except JournalError as error:
                self._pipeline.say(self._pipeline.engine.clock_ns, "warning", str(error))


def _open(views: Iterable[PositionView]) -> Positions:
    return [(view.strategy, view.symbol, view.quantity) for view in views if view.quantity]


# -- the side of who asks --------------------------------------------------------------------------


def stop(
    name_or_path: Path | str,
    *,
    flatten: bool = False,
    patience_s: float = _PATIENCE_S,
    folder: Path | str | None = None,
) -> list[StopAnswer]:
    """Stop a running session by its name or its journal's path, also one of another notebook or a terminal.

    It is as ``session.stop()``: working orders are cancelled, positions stay as they are. ``flatten`` closes all
    positions first, and stops after ``patience_s`` at the latest, whatever is still open. ``folder`` is where
    the journals of a name lie that are not in the user's data folder. Returns an answer a session; of a name that
    runs several times all are stopped, and one that does not run is told, not raised.

    Raises :class:`SessionError` for a name that never ran, and where a session could not be asked or did not
    answer within ``patience_s``, with what to do.
    """
    answers = stop_journals(of_names_or_paths([name_or_path], folder), flatten=flatten, patience_s=patience_s)
    silent = [answer.text for answer in answers if answer.outcome == "no answer"]
    if silent:
        raise SessionError("\n".join(silent))
    return answers


def running_journals(folder: Path | str | None = None) -> list[Path]:
    """The journals of all sessions that run, of the user's data folder or of a ``folder``."""
    root = home() / "sessions"
    folders = sorted(root.glob("*")) if folder is None else [Path(folder).expanduser()]
    return [path for one in folders for path in journals(one) if is_locked(path)]


def of_names_or_paths(given: Iterable[Path | str], folder: Path | str | None = None) -> list[Path]:
    """The journals that names or paths mean: of a name all that run, or the newest one where none does."""
    return list(dict.fromkeys(path for one in given for path in _of_name_or_path(one, folder)))


def _path_of(session: "Session") -> Path:
    # A running session has a journal.
    assert session.journal_path is not None
    return session.journal_path


def _of_name_or_path(name_or_path: Path | str, folder: Path | str | None) -> list[Path]:
    given = given_journal(name_or_path)
    if given is not None:
        return [given]
    name = str(name_or_path)
    here = running.get(name)
    root = home() / "sessions" / file_name(name) if folder is None else Path(folder).expanduser()
    found = [path for path in journals(root) if folder is None or _is_of(path, name)]
    live = [path for path in found if is_locked(path)]
    if here is not None and _path_of(here) not in live:
        live.append(_path_of(here))
    if live or found:
        return live or found[-1:]
    elsewhere = " One whose journal lies elsewhere is stopped by its path, or with folder="
    raise SessionError(never_journalled(name, root, None if folder is None else ()) + elsewhere)


def _is_of(path: Path, name: str) -> bool:
    try:
        return bool(_meta(path).get("name") == name)
    except JournalError:
        # Whatever else lies in the folder is not the one that is looked for.
        return False


def stop_journals(paths: Sequence[Path], *, flatten: bool, patience_s: float) -> list[StopAnswer]:
    """Stop the sessions that write these journals; one that cannot be asked or does not answer is told, not raised."""
    if not 0.0 < patience_s < float("inf"):
        raise ParameterError(f"patience_s={patience_s!r}: it must be above zero and finite, such as 10")
    asked = [_Asked(path, flatten=flatten, patience_s=patience_s) for path in paths]
    here = {_path_of(session): session for session in running.values()}
    # All are asked before any is waited for.
    for one in asked:
        if one.path not in here:
            one.ask()
    return [
        _stop_here(here[one.path], flatten=flatten, patience_s=patience_s) if one.path in here else one.answer()
        for one in asked
    ]


def _no_answer(name: str, path: Path, text: str) -> StopAnswer:
    return StopAnswer(name, "no answer", text, str(path))


def _stop_here(session: "Session", *, flatten: bool, patience_s: float) -> StopAnswer:
    try:
        return _stop_directly(session, flatten=flatten, patience_s=patience_s)
    except QfkitError as error:
        return _no_answer(session.name, _path_of(session), f"{session.name!r} could not be stopped: {error}")


def _stop_directly(session: "Session", *, flatten: bool, patience_s: float) -> StopAnswer:
    if flatten and session.state in ("running", "paused"):
        session.flatten()
        end_s = time.monotonic() + patience_s
        while _open(session.snapshot.positions) and session.state in ("running", "paused"):
            if time.monotonic() >= end_s:
                break
            time.sleep(_LOOK_S)
    session.stop()
    left = _open(session.snapshot.positions)
    return _stopped(session.name, _path_of(session), left, flatten=flatten)


class _Asked:
    """One session of another process that is asked to stop."""

    def __init__(self, path: Path, *, flatten: bool, patience_s: float) -> None:
        self.path = path
        self._flatten = flatten
        self._patience_s = patience_s
        self._meta: dict[str, Any] = {}
        self._run = ""
        self._until_s = time.monotonic() + patience_s + (_END_S if flatten else 0.0)
        self._is_asked = False
        self._trouble = ""

    def ask(self) -> None:
        """Leave the request; why that cannot be is kept for the answer."""
        try:
            self._ask()
        except QfkitError as error:
            self._trouble = str(error)

    def _ask(self) -> None:
        self._meta = _meta(self.path)
        if not is_locked(self.path):
            return
        self._run = self._meta.get("run", "")
        if not self._run:
            raise SessionError(
                f"{self._name!r} was started by an earlier qfkit, which takes no requests: stop it where it runs ({self.path})"
            )
        ask_to_stop(self.path, StopRequest(self._run, os.getpid(), self._flatten, self._patience_s))
        self._is_asked = True

    @property
    def _name(self) -> str:
        return str(self._meta.get("name", self.path.name))

    def answer(self) -> StopAnswer:
        """Wait for the end and tell how it went."""
        if not self._trouble:
            try:
                return self._awaited()
            except QfkitError as error:
                self._trouble = str(error)
        return _no_answer(self._name, self.path, self._trouble)

    def _awaited(self) -> StopAnswer:
        if not self._is_asked:
            state = self._meta.get("state", "")
            how = state if state in ("stopped", "failed") else "interrupted"
            again = f"; qf.resume({self._name!r}) would go on with it" if how == "interrupted" else ""
            text = f"{self._name!r} was not running: {how}{again}"
            return StopAnswer(self._name, "not running", text, str(self.path))
        # The lock is asked and not the journal: a reader would keep it from being closed as one file.
        while is_locked(self.path):
            if time.monotonic() >= self._until_s:
                return self._late()
            time.sleep(_LOOK_S)
        return self._ended()

    def _late(self) -> StopAnswer:
        meta = _meta(self.path)
        if meta.get("run") != self._run:
            withdraw_request(self.path)
            text = f"stopped {self._name!r}; it was resumed meanwhile and runs again"
            return StopAnswer(self._name, "stopped", text, str(self.path))
        process = meta.get("process")
        end_now = f"kill {process}" if process else "end its process"
        last_resort = f"to end it at once: {end_now}; qf.resume({self._name!r}) then goes on with it"
        if is_asked(self.path):
            text = (
                f"{self._name!r} did not answer within {self._patience_s:g} s: a strategy's own code may hold it up, or its "
                f"process stands still. The request stays and is honoured when it looks; {last_resort}"
            )
        else:
            text = f"{self._name!r} is stopping and was not done within {self._patience_s:g} s; {last_resort}"
        return _no_answer(self._name, self.path, text)

    def _ended(self) -> StopAnswer:
        meta = _meta(self.path)
        withdraw_request(self.path)
        left = [(str(strategy), str(symbol), float(quantity)) for strategy, symbol, quantity in meta.get("open", ())]
        if meta.get("state") == "stopped":
            return _stopped(self._name, self.path, left, flatten=self._flatten)
        error = meta.get("error", "its process ended, qf.resume() goes on with it")
        text = f"{self._name!r} ended otherwise: {error}"
        return StopAnswer(self._name, "stopped", text, str(self.path), tuple(left))


def _stopped(name: str, path: Path, left: Positions, *, flatten: bool) -> StopAnswer:
    text = f"stopped {name!r}"
    if left:
        each = ", ".join(f"{quantity:,.8g} {symbol} ({strategy})" for strategy, symbol, quantity in left)
        text += f"; not closed in time: {each}" if flatten else f"; positions left as they are: {each}"
    elif flatten:
        text += "; nothing is open"
    return StopAnswer(name, "stopped", text, str(path), tuple(left))


def _meta(path: Path) -> dict[str, Any]:
    with JournalReader(path) as reader:
        return reader.meta
