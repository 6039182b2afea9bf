"""The way of a batch of events: checked, through the engine, into the journal, and only then shown."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from qfkit.core.chart_feed import ChartFeed
from qfkit.core.engine import Engine
from qfkit.core.events import Command, Event
from qfkit.core.records import Fault
from qfkit.core.snapshot import FeedView, Snapshot
from qfkit.core.survey import take_positions
from qfkit.errors import QfkitError, SessionError
from qfkit.journal.schema import BadEvent, LogEntry
from qfkit.journal.writer import JournalWriter
from qfkit.live.alerts import AlertDesk
from qfkit.live.cells import code_lines
from qfkit.live.drift_watch import DriftWatch
from qfkit.live.printed import PrintedLines
from qfkit.live.watch_only import WatchOnly

__all__ = ["SHOWN_MESSAGES", "Pipeline", "dressed"]

_logger = logging.getLogger("qfkit.session")

SHOWN_MESSAGES = 50
_LATEST_S = 1.0
_SNAPSHOT_S = 0.1
# Ticks of which nothing came wait so long for one transaction together: at 100 a second it is half of the load.
_HOLD_S = 0.1
_HEALTH_S = 5.0


def dressed(engine: Engine, name: str, state: str) -> Snapshot:
    """An engine's snapshot under a session's name; where all strategies are paused, so is what is running."""
    is_watch_list = watches_only(engine)
    taken = engine.snapshot()
    return msgspec.structs.replace(
        taken,
        name=name,
        state=shown_state(engine, state),
        is_watch_list=is_watch_list,
        strategies=() if is_watch_list else taken.strategies,
    )


def shown_state(engine: Engine, state: str) -> str:
    """A session that runs is paused where its strategies are."""
    states = [desk.state for desk in engine.desks.values()]
    return "paused" if state == "running" and "running" not in states and "paused" in states else state


def watches_only(engine: Engine) -> bool:
    return all(type(desk.strategy) is WatchOnly for desk in engine.desks.values())


def _closed(view: FeedView) -> FeedView:
    """A feed that has ended: none of its symbols is live any more, whatever it was when it broke off."""
    symbols = tuple(msgspec.structs.replace(one, state="closed", age_s=None) for one in view.symbols)
    return msgspec.structs.replace(view, state="closed", rate_per_s=0.0, symbols=symbols)


class Pipeline:
    """One session's engine and journal; all calls come from one thread.

    Events of which something came (a signal, an order, a bar) are committed at once, others within
    0.1 s or at the next :meth:`flush`. Whatever raises leaves the journal whole and
    :attr:`snapshot` at what was committed.
    """

    def __init__(self, name: str, engine: Engine, feed_label: str, alerts: AlertDesk | None = None) -> None:
        self.name = name
        self.engine = engine
        self.alerts = AlertDesk() if alerts is None else alerts
        self.is_watch_list = watches_only(engine)
        self.chart_feed = ChartFeed(engine)
        self.watch = DriftWatch(engine.starting_cash)
        self.writer: JournalWriter | None = None
        self.failed_seqs: list[int] = []
        self.messages: deque[tuple[int, str]] = deque(maxlen=SHOWN_MESSAGES)
        self.printed = PrintedLines(engine)
        self._log: list[LogEntry] = []
        # Processed, and not in the journal yet.
        self._held: list[Event] = []
        self._held_feed_events = 0
        self._held_bad: list[BadEvent] = []
        self._is_committed = True
        self._is_seen = False
        self._committed_s = 0.0
        self._is_shown = True
        self._shown_s = 0.0
        self._latest_s = 0.0
        self._health_s = 0.0
        self.state = "created"
        self.feed_view = FeedView(name=feed_label, state="closed")
        self.now_ns: Callable[[], int] = self._wall_ns
        self.snapshot = self._take_snapshot()

    # -- events ------------------------------------------------------------------------------

    def take(self, events: Sequence[Event], feed_events: int, rejected: Sequence[BadEvent] = ()) -> None:
        """Process checked events of the feed, and note what it rejected; it gave ``feed_events`` in all."""
        self._process(events, feed_events=feed_events, bad_events=rejected)

    def command(self, command: Command, meta: Mapping[str, Any] | None = None) -> None:
        """Process what the user did."""
        self._process([command], meta=meta)
        self.show()

    def _process(
        self,
        events: Sequence[Event],
        *,
        feed_events: int = 0,
        bad_events: Sequence[BadEvent] = (),
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        engine, writer = self.engine, self._writer
        before = engine.events
        failure: Exception | None = None
        self._is_committed = False
        try:
            with self.printed:
                engine.process_all(events)
        except Exception as error:  # noqa: BLE001 - the engine lets through what a user's commission or sizer raises: kept, shown
            failure = error
            # The event that raised is part of the journal too: a replay must come to the same place.
            events = events[: engine.events - before]
            self.failed_seqs.append(writer.next_seq + len(self._held) + len(events) - 1)
            meta = {**(meta or {}), "failed_seqs": self.failed_seqs}
        for fault in engine.records.faults:
            text = f"{fault.strategy} was stopped by {fault.error} on {fault.event}"
            self.say(fault.time_ns, "error", text, fault.strategy)
            _logger.error(
                "the strategy %s was stopped by its exception\n%s",
                fault.strategy,
                fault.traceback,
                extra={"for_cells": self._fault_in_cells(fault)},
            )
        for call in engine.records.margin_calls:
            self.say(call.time_ns, "warning", call.text, call.strategy)
        if bad_events:
            self.say(self.said_ns(), "warning", f"bad data kept aside: {bad_events[-1].error}")
        self._held += events
        self._held_feed_events += feed_events
        self._held_bad += bad_events
        now_s = time.monotonic()
        if meta or self._log or engine.records or self.alerts.is_waiting or now_s - self._committed_s >= _HOLD_S:
            self._commit(now_s, meta)
        if failure is not None:
            raise SessionError(
                f"the session {self.name!r} cannot go on: {type(failure).__name__}: {failure}"
            ) from failure
        if now_s - self._shown_s >= _SNAPSHOT_S:
            self.show()

    def _fault_in_cells(self, fault: Fault) -> str:
        name, desk = fault.strategy, self.engine.desks[fault.strategy]
        lines = [f"{self.name!r}: the strategy {name!r} was stopped by {fault.error}"]
        if name in self.engine.exceptions:
            lines += code_lines(self.engine.exceptions[name])
        kind = type(desk.strategy).__name__
        lines.append(f"  on {fault.event}")
        lines.append(
            f"  Its orders are cancelled and its positions stay; the session goes on. Correct {kind}, run its cell, and "
            f"session.swap({kind}, {name!r}) goes on from the next bar with its positions."
        )
        return "\n".join(lines)

    def _commit(self, now_s: float, meta: Mapping[str, Any] | None = None) -> None:
        if now_s - self._latest_s >= _LATEST_S:
            meta = {**(meta or {}), "latest": self._latest()}
            self._latest_s = now_s
            if now_s - self._health_s >= _HEALTH_S:
                meta["health"] = self._health()
                self._health_s = now_s
        records, alerts = self.engine.records, self.alerts
        if not self._is_seen:
            # Once, also where the journal cannot be written and this is tried again.
            self._is_seen = True
            alerts.see(self._held, records, self.engine)
        self._say_alerts()
        if state := alerts.take_state():
            meta = {**(meta or {}), **state}
        self._writer.commit(
            self._held,
            records,
            feed_events=self._held_feed_events,
            bad_events=self._held_bad,
            log=[*self._log, *self.printed.waiting],
            alerts=alerts.fired,
            deliveries=alerts.deliveries,
            meta=meta,
        )
        alerts.committed()
        self.printed.committed()
        self.chart_feed.take(records)
        self.watch.totals.take(records.equity, records.trades, records.fills)
        self._is_seen = False
        for written in (self._held, self._held_bad, self._log, records):
            written.clear()
        self._held_feed_events = 0
        self._is_committed = True
        self._committed_s = now_s
        self._is_shown = False

    def _say_alerts(self) -> None:
        now_ns = self.said_ns()
        for alert in self.alerts.fired:
            self.say(alert.time_ns, "alert", alert.text, alert.strategy)
        for text in (*self.alerts.faults, *self.alerts.take_deliveries()):
            self.say(now_ns, "warning", text)
        self.alerts.faults.clear()

    def flush(self) -> None:
        """Commit what waits."""
        if not self._is_committed or self.alerts.is_waiting or self.printed.waiting:
            self._commit(time.monotonic())

    @property
    def _writer(self) -> JournalWriter:
        if self.writer is None:
            raise SessionError(f"the session {self.name!r} is not running")
        return self.writer

    # -- what is shown -----------------------------------------------------------------------

    def say(self, time_ns: int, level: str, text: str, strategy: str | None = None) -> None:
        """A message for the journal, and for the dashboard unless it is mere information."""
        self._log.append(LogEntry(time_ns, level, text, strategy))
        if level != "info":
            self.messages.append((time_ns, text))

    def show(self, feed_view: FeedView | None = None, *, even_if_same: bool = True) -> None:
        """Bring :attr:`snapshot` up to what is committed."""
        if feed_view is not None:
            self.feed_view = self._counted(feed_view)
        if self._is_committed and (even_if_same or not self._is_shown):
            self.snapshot = self._take_snapshot()
            self._is_shown = True
            self._shown_s = time.monotonic()
            if self.writer is not None:
                self.alerts.look(self.snapshot, max(self.engine.clock_ns, self.now_ns()))

    def _counted(self, view: FeedView) -> FeedView:
        engine = self.engine
        return msgspec.structs.replace(view, late=engine.late_events, events=engine.events)

    def _take_snapshot(self) -> Snapshot:
        return msgspec.structs.replace(
            dressed(self.engine, self.name, self.state),
            feed=self.feed_view,
            messages=tuple(self.messages),
            printed=tuple(self.printed.shown),
            journal_path="" if self.writer is None else str(self.writer.path),
            drift=self.watch.view(),
        )

    def _latest(self) -> dict[str, Any]:
        engine = self.engine
        equity = 0.0
        for desk in engine.desks.values():
            equity += desk.book.equity
        return {
            "time_ns": engine.clock_ns,
            "equity": equity,
            "pnl": equity - engine.starting_cash,
            "fills": engine.broker.fills_count,
        }

    def _health(self) -> list[Any]:
        """The feed's ledger, for the journal: a record a symbol and source."""
        return [msgspec.to_builtins(view) for view in self.feed_view.symbols]

    async def last_alerts(self, state: str, error: str, patience_s: float) -> None:
        """The alerts of the session's end, and a moment for the sinks; :meth:`end` or :meth:`leave` comes next."""
        try:
            self.flush()
        except QfkitError:
            # What is not in the journal is not told; that it cannot be written is just what somebody should know.
            self.alerts.fired.clear()
        if state:
            self.alerts.end(self.name, state, error, max(self.engine.clock_ns, self.now_ns()))
        try:
            self.flush()
        except QfkitError:
            self.alerts.committed()
        await self.alerts.drain(patience_s)

    # -- the state in the journal --------------------------------------------------------------

    def begin(self, writer: JournalWriter, meta: Mapping[str, Any]) -> None:
        """From now on everything goes into this journal, with what this run says of itself."""
        self.writer = writer
        self.state = "running"
        self.write_meta(
            {"state": shown_state(self.engine, self.state), **meta, **self.alerts.as_meta(), **self.watch.as_meta()}
        )
        self.printed.open()
        self.show()

    def write_meta(self, meta: Mapping[str, Any]) -> None:
        """Write what the session says of itself, with all that waits."""
        self._commit(time.monotonic(), {**meta, "latest": self._latest()})

    def end(self, state: str, error: str = "") -> None:
        """Close the journal in a final state; one that cannot be written any more is left as committed."""
        writer = self._writer
        self.printed.close()
        path = str(writer.path)
        left = [(one.strategy, one.symbol, one.quantity) for one in take_positions(self.engine)]
        meta: dict[str, Any] = {"state": state, "ended_ns": self._wall_ns(), "open": left}
        if error:
            meta["error"] = error
            self.say(self.engine.clock_ns, "error", error)
        try:
            self._commit(time.monotonic(), {**meta, "latest": self._latest(), "health": self._health()})
        except QfkitError:
            _logger.exception("the end of the session %s could not be journalled", self.name)
        finally:
            self.writer = None
            writer.close()
            self.state = state
            self.snapshot = msgspec.structs.replace(
                self._take_snapshot() if self._is_committed else self.snapshot,
                state=state,
                messages=tuple(self.messages),
                journal_path=path,
                error=error,
                feed=self._counted(_closed(self.feed_view)),
            )

    def leave(self) -> None:
        """Close the journal without an end, so that the session can be resumed."""
        writer = self._writer
        self.printed.close()
        try:
            self.flush()
        finally:
            self.writer = None
            self.state = "interrupted"
            self.snapshot = msgspec.structs.replace(self.snapshot, state=self.state)
            writer.abandon()

    def said_ns(self) -> int:
        """The engine's time, by which messages are found again when looking back; before its first event the feed's."""
        return self.engine.clock_ns or self.now_ns()

    @staticmethod
    def _wall_ns() -> int:
        return time.time_ns()
