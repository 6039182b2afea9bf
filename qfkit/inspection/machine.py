"""A run's events played again, forward to any moment of it."""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any, TypeAlias

from qfkit.core.engine import Engine
from qfkit.core.events import Event
from qfkit.core.records import Records
from qfkit.errors import SessionError
from qfkit.run_progress import RunProgress

__all__ = ["Batches", "OnProgress", "Source", "TimeMachine", "progress_shown"]

Batches: TypeAlias = Generator[Sequence[Event], None, None]
"""Events in portions; closed by whoever does not read them to the end."""

OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with the number of events played and of all there are."""


@contextmanager
def progress_shown(title: str, total: int, given: OnProgress | None) -> Iterator[OnProgress]:
    """What to tell of a replay's progress: the caller's own, else a bar where it takes long and somebody watches."""
    if given is not None:
        yield given
        return
    with RunProgress(title, total, shown=None) as bar:
        yield lambda done, _: bar.update(done)


class Source:
    """Where a run can be had again from: a fresh engine for it, and its events from a number on.

    ``failed`` are the numbers of events that raised in the run already. ``silent`` gives a context in which
    what strategies print is dropped, for it was shown when it happened. ``otherwise(changes)`` checks what is to be
    changed (see :mod:`qfkit.changes`) and gives ``run(progress)``, which plays the same events so to a :class:`~qfkit.Result`.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        batches: Callable[[int], Batches],
        count: Callable[[], int],
        failed: Callable[[], Collection[int]] = tuple,
        silent: Callable[[], AbstractContextManager[object]] = nullcontext,
        *,
        otherwise: Callable[[Any], Callable[[bool | None], Any]],
    ) -> None:
        self.engine = engine
        self.batches = batches
        self.count = count
        self.failed = failed
        self.silent = silent
        self.otherwise = otherwise


class TimeMachine:
    """Plays a run's events into an engine of its own. It goes forward; for an earlier moment it begins anew.

    ``engine`` stands after its ``engine.events`` first events, its records emptied as it goes. Not for two
    threads at once.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.rewind()

    @contextmanager
    def _portions(self) -> Iterator[Batches]:
        """The events from where the engine stands.

        Whatever breaks it off, an interrupt too, may leave the engine in the middle of an event: then it begins anew.
        """
        try:
            with closing(self.source.batches(self.engine.events)) as batches:
                yield batches
        except BaseException:
            self.rewind()
            raise

    def rewind(self) -> None:
        """Begin anew, before the first event."""
        with self.source.silent():
            self.engine = self.source.engine()

    def to_event(self, number: int, on_progress: OnProgress | None = None) -> Engine:
        """The engine after the first ``number`` events. Raises :class:`SessionError` where there are fewer."""
        total = self.source.count()
        if not (isinstance(number, int) and 0 <= number <= total):
            raise SessionError(f"event={number!r}: there are {total:,} events, so give 0 (the start) to {total}")
        if number < self.engine.events:
            self.rewind()
        if number > self.engine.events:
            with self._portions() as batches:
                for batch in batches:
                    self._play(batch[: number - self.engine.events])
                    if on_progress is not None:
                        on_progress(self.engine.events, number)
                    if self.engine.events >= number:
                        break
        return self.engine

    def to_time(self, time_ns: int, on_progress: OnProgress | None = None) -> Engine:
        """The engine after the last event that was received by then."""
        if time_ns < self.engine.clock_ns:
            self.rewind()
        total = self.source.count() if on_progress is not None else 0
        with self._portions() as batches:
            for batch in batches:
                past = next((place for place, event in enumerate(batch) if event.received_ns > time_ns), None)
                self._play(batch if past is None else batch[:past])
                if on_progress is not None:
                    on_progress(self.engine.events, total)
                if past is not None:
                    break
        return self.engine

    def watch(
        self,
        before: Callable[[Event], bool],
        on_progress: OnProgress | None = None,
        drain: Callable[[Records], None] | None = None,
    ) -> None:
        """Go on event by event; ``before`` is called ahead of each and stops it by saying True.

        ``drain`` is given the engine's records now and then, just before they are emptied.
        """
        engine, failed = self.engine, self.source.failed()
        total = self.source.count() if on_progress is not None else 0
        with self._portions() as batches:
            for batch in batches:
                with self.source.silent():
                    for event in batch:
                        if before(event):
                            return
                        try:
                            engine.process(event)
                        except (Exception, SystemExit):
                            if engine.events - 1 not in failed:
                                raise
                if drain is not None:
                    drain(engine.records)
                engine.records.clear()
                if on_progress is not None:
                    on_progress(engine.events, total)

    def _play(self, events: Sequence[Event]) -> None:
        engine = self.engine
        try:
            with self.source.silent():
                engine.process_all(events)
        except (Exception, SystemExit):
            # A session ends at the event that raised: it is the last of its batch.
            if engine.events - 1 not in self.source.failed():
                raise
        engine.records.clear()
