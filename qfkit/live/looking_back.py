"""Looking back at a session from its journal: why it ordered what it did, how it stood at any moment, and what if."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

import msgspec

from qfkit.changes import Changes
from qfkit.core.engine import Engine
from qfkit.core.snapshot import PositionView, Snapshot
from qfkit.errors import ParameterError, QfkitError, SessionError, did_you_mean
from qfkit.inspection.asking import StoryRecords, tell
from qfkit.inspection.machine import Batches, OnProgress, Source, TimeMachine, progress_shown
from qfkit.inspection.story import OrderStory
from qfkit.inspection.times import moment_ns, stamp
from qfkit.journal.reader import JournalReader
from qfkit.journal.recorded import Recorded
from qfkit.journal.schema import FILLS, SIGNALS, LogEntry
from qfkit.live.pipeline import SHOWN_MESSAGES, dressed
from qfkit.live.plan import SessionPlan
from qfkit.live.play_again import otherwise
from qfkit.live.printed import SHOWN_LINES, silent
from qfkit.result import Result
from qfkit.what_if import WhatIf

if TYPE_CHECKING:
    from qfkit.views.timeline import Timeline

__all__ = ["LookingBack", "journal_source"]

_ENDED = ("stopped", "failed")


def journal_source(path: Path, plan: SessionPlan) -> Source:
    """A journal's events and fresh engines for them, silent: what strategies print was shown when it happened."""

    def batches(from_event: int) -> Batches:
        with JournalReader(path) as reader:
            yield from reader.events(from_event)

    def count() -> int:
        with JournalReader(path) as reader:
            return reader.event_count

    def failed() -> list[int]:
        with JournalReader(path) as reader:
            return list(reader.meta.get("failed_seqs", []))

    return Source(plan.engine, batches, count, failed, silent, otherwise=partial(otherwise, path, plan, Changes()))


class LookingBack(WhatIf):
    """The part of a session, running or read from its journal, that answers why and when."""

    name: str
    _machine: TimeMachine | None = None
    _machine_plan: SessionPlan | None = None
    _machine_lock: RLock

    @property
    def state(self) -> str:
        """created, running, paused, stopped, failed or interrupted."""
        raise NotImplementedError

    def _journal_file(self) -> Path:
        raise NotImplementedError

    def _replay_plan(self) -> SessionPlan:
        """What a replay is made of, another object once it is of other classes; raises :class:`QfkitError` where it cannot be."""
        raise NotImplementedError

    def _open_positions(self) -> Iterable[PositionView]:
        raise NotImplementedError

    @property
    def result(self) -> Result:
        """All that it did so far."""
        raise NotImplementedError

    def _as_result(self) -> Result:
        # It says what is missing, where a class is not at hand.
        self._replay_plan()
        return self.result

    # -- why ---------------------------------------------------------------------------------

    def why(
        self, order_id: object = None, *, signal: object = None, on_progress: OnProgress | None = None
    ) -> OrderStory:
        """The story of an order: who asked for it and why, on what bar or quote, with which indicator values and
        parameters, its size, each check with its numbers, how it was sent, what happened to it, what it cost and earned.

        ``order_id`` as in ``session.orders``; ``signal`` as in ``session.signals`` tells of one that became no order too.
        "last", or nothing, is the newest. What the journal does not hold is found by replaying it up to there, which
        ``on_progress(events, of)`` is told of. Raises :class:`OrderError` for an id that there is none of.
        """
        records: StoryRecords = Recorded(self._journal_file())
        with self._machine_at_hand() as (machine, lacks):
            return tell(
                records,
                machine,
                order_id,
                signal,
                positions=self._open_positions,
                lacks=lacks,
                on_progress=on_progress,
            )

    # -- when --------------------------------------------------------------------------------

    def at(self, time: object = None, *, event: int | None = None, on_progress: OnProgress | None = None) -> Snapshot:
        """The session as it stood at a moment, replayed from its journal: after all that it had received by then.

        ``time`` is "14:23:45" (UTC, on the session's day), an ISO text or a datetime with a zone, or nanoseconds since
        1970; ``event=1000`` is after the first 1,000 events, as ``snapshot.events`` counts. What the feed said of
        itself is not in a journal, so ``feed`` is None. Raises :class:`NaiveTimeError` without a zone,
        :class:`ParameterError` for a moment that is not the session's, :class:`SessionError` for an event that there is not.
        """
        if (time is None) == (event is None):
            raise ParameterError('give a time or an event, as in session.at("14:23:45") or session.at(event=1000)')
        path = self._journal_file()
        with self._machine_at_hand() as (machine, lacks):
            if machine is None:
                raise SessionError(f"how the session stood cannot be told: {lacks}")
            total = machine.source.count() if event is None else event
            with progress_shown("replaying", total, on_progress) as told:
                if event is not None:
                    engine = machine.to_event(event, told)
                else:
                    engine = machine.to_time(self._moment_ns(path, time), told)
            return self._dresser(path)(engine)

    def timeline(self, symbol: str | None = None, most: int = 400, on_progress: OnProgress | None = None) -> "Timeline":
        """The session at ``most`` moments, to be gone through with a slider: evenly spread, and at fills and refusals.

        It is replayed once. ``symbol`` is the one whose prices are drawn; None the one that traded most.
        ``timeline.show(render)`` draws each snapshot by a function of yours.
        """
        from qfkit.inspection.tour import tour
        from qfkit.views.timeline import Timeline

        path = self._journal_file()
        with self._machine_at_hand() as (machine, lacks):
            if machine is None:
                raise SessionError(f"how the session stood cannot be told: {lacks}")
            with JournalReader(path) as reader:
                traded = reader.query("SELECT symbol FROM fills GROUP BY symbol ORDER BY count(*) DESC LIMIT 1")
                known = reader.meta.get("symbols", ())
                if symbol is None:
                    symbol = next((str(row[0]) for row in traded), None)
                elif symbol not in known:
                    raise ParameterError(f"symbol={symbol!r}: the session has none such.{did_you_mean(symbol, known)}")
                marks = reader.count(FILLS) + reader.count(SIGNALS, "decision = 'rejected'")
            stops = tour(machine, most, marks, self._dresser(path), symbol, on_progress)
        return Timeline(self.name, stops)

    # -- replaying ---------------------------------------------------------------------------

    @contextmanager
    def _machine_at_hand(self) -> Iterator[tuple[TimeMachine | None, str]]:
        """The session's one machine, for one caller at a time; None and why where its strategies are not at hand."""
        with self._machine_lock:
            lacks = ""
            try:
                plan = self._replay_plan()
                if self._machine is None or self._machine_plan is not plan:
                    self._machine = TimeMachine(journal_source(self._journal_file(), plan))
                    self._machine_plan = plan
            except QfkitError as error:
                self._machine, lacks = None, str(error)
            yield self._machine, lacks

    def _moment_ns(self, path: Path, time: object) -> int:
        with JournalReader(path) as reader:
            span = reader.span_ns
        if span is None:
            raise SessionError(f"the session {self.name!r} has received nothing yet")
        time_ns = moment_ns(time, *span)
        # A running session has no end yet.
        is_after = time_ns > span[1] and self.state in _ENDED
        if time_ns < span[0] or is_after:
            where = "before its first event" if time_ns < span[0] else "after its last event"
            raise ParameterError(f"time={time!r} is {where}: it went from {stamp(span[0])} to {stamp(span[1])}")
        return time_ns

    def _dresser(self, path: Path) -> "_Dresser":
        with JournalReader(path) as reader:
            return _Dresser(self.name, self.state, str(path), reader.event_count, reader.log())


class _Dresser:
    """Makes a replayed engine's snapshot what the session showed: with its name, state, messages and journal."""

    def __init__(self, name: str, state: str, path: str, events: int, log: Sequence[LogEntry]) -> None:
        self._name = name
        self._last_state = state
        self._path = path
        self._events = events
        self._messages = _Lines([one for one in log if one.level not in ("info", "printed")], SHOWN_MESSAGES)
        self._printed = _Lines([one for one in log if one.level == "printed"], SHOWN_LINES)

    def __call__(self, engine: Engine) -> Snapshot:
        state = self._last_state if engine.events >= self._events and self._last_state in _ENDED else "running"
        return msgspec.structs.replace(
            dressed(engine, self._name, state),
            messages=self._messages.until(engine.clock_ns),
            printed=self._printed.until(engine.clock_ns),
            journal_path=self._path,
        )


class _Lines:
    """Lines of a log, and the newest of them at a time."""

    def __init__(self, entries: Iterable[LogEntry], most: int) -> None:
        # With their places in the log: what is said of an alert may be of a time to come.
        self._lines = sorted((entry.time_ns, place, entry.text) for place, entry in enumerate(entries))
        self._most = most

    def until(self, time_ns: int) -> tuple[tuple[int, str], ...]:
        end = bisect_right(self._lines, time_ns, key=itemgetter(0))
        said = sorted(self._lines[max(0, end - self._most) : end], key=itemgetter(1))
        return tuple((line_ns, text) for line_ns, _, text in said)
