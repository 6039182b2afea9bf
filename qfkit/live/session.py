"""The paper-trading session: strategies on a feed, in the background, journalled event by event."""

import asyncio
import concurrent.futures
import logging
import os
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from qfkit.core.engine import Engine
from qfkit.core.events import (
    Gap,
    MarketEvent,
    Stop,
    WarmUp,
)
from qfkit.core.holdings import Holdings
from qfkit.core.joining import joined_cash
from qfkit.core.snapshot import PositionView, Snapshot
from qfkit.core.survey import assumptions
from qfkit.errors import QfkitError, SessionError
from qfkit.feeds.base import Feed
from qfkit.feeds.health import health_frame
from qfkit.journal.reader import JournalReader
from qfkit.journal.recorded import Recorded
from qfkit.journal.schema import BadEvent
from qfkit.journal.writer import JournalWriter
from qfkit.live.alerting import Alerting
from qfkit.live.alerts import AlertDesk
from qfkit.live.cells import code_lines
from qfkit.live.commands import SessionCommands
from qfkit.live.expecting import Expecting
from qfkit.live.figures import SessionFigures
from qfkit.live.looking_back import LookingBack, journal_source
from qfkit.live.pipeline import Pipeline
from qfkit.live.plan import SessionPlan
from qfkit.live.registry import new_journal_path, running, start_lock
from qfkit.live.replaying import Verdict, replay
from qfkit.live.runner import attend_kernel, runner, spawn
from qfkit.live.showing import Showing
from qfkit.live.stopping import StopRequests
from qfkit.live.waiting import Waiting
from qfkit.live.warmup import Past, PastBars, after_past
from qfkit.result import ORDERS_ON_BARS, ORDERS_ON_TICKS, Result

if TYPE_CHECKING:
    import pandas

__all__ = ["Session"]

_logger = logging.getLogger("qfkit.session")

_TEND_S = 0.25
_STOP_S = 30.0
_LAST_ALERTS_S = 3.0


class Session(SessionCommands, SessionFigures, Expecting, LookingBack, Waiting, Alerting, Showing):
    """Strategies that trade on paper on a feed, on a thread of their own. Made by :func:`paper`.

    ``state`` is created, running, paused, stopped (ended), failed (see ``error``) or interrupted
    (can be resumed). Frames are read from the journal, whole and up to date.
    """

    def __init__(
        self,
        plan: SessionPlan,
        feed: Feed,
        *,
        journal: Path | str | None = None,
        engine: Engine | None = None,
        resumed: Path | None = None,
        skip: int = 0,
        past: Past | None = None,
        alerts: AlertDesk | None = None,
    ) -> None:
        self.name = plan.name
        self.feed = feed
        self.error: QfkitError | None = None
        self.journal_path: Path | None = resumed
        self._plan = plan
        self._journal = journal
        self._is_resumed = resumed is not None
        self._skip = skip
        self._past = past
        self._pipeline = Pipeline(plan.name, plan.engine() if engine is None else engine, feed.label, alerts)
        self._pipeline.now_ns = feed.now_ns
        self._future: concurrent.futures.Future[None] | None = None
        self._tending_error: QfkitError | None = None
        self._is_stopping = False
        self._is_leaving = False
        self._metrics_server = None
        self._machine_lock = RLock()

    # -- life --------------------------------------------------------------------------------

    def start(self) -> "Session":
        """Begin in the background and return at once; a running session of the same name is stopped first."""
        with start_lock:
            if self._future is not None:
                if self.state in ("running", "paused"):
                    return self
                raise SessionError(
                    f"the session {self.name!r} was {self.state}: make a new one with qf.paper(...)"
                    + (f", or go on with qf.resume({self.name!r})" if self.state in ("failed", "interrupted") else "")
                )
            former = running.get(self.name)
            if former is not None:
                _logger.info("the running session %s is stopped and replaced", self.name)
                former.stop()
            self._pipeline.alerts.open(self.name)
            run = secrets.token_hex(8)
            self._pipeline.begin(self._open_journal(), {"run": run, "process": os.getpid()})
            running[self.name] = self
            self._future = runner.submit(self._run(run))
        attend_kernel(lambda: bool(running))
        return self

    def _open_journal(self) -> JournalWriter:
        names = self._pipeline.engine.equity_names
        if self._is_resumed:
            assert self.journal_path is not None
            writer = JournalWriter.reopen(self.journal_path, names)
            if writer.next_seq != self._pipeline.engine.events:
                writer.abandon()
                raise SessionError(f"{self.journal_path} was continued by another session meanwhile: resume it again")
            return writer
        self.journal_path = new_journal_path(self.name, self._journal)
        meta = {
            **self._plan.as_meta(),
            "feed": {
                "name": self.feed.name,
                "label": self.feed.label,
                "is_live": self.feed.is_live,
                "timeframe": self.feed.timeframe,
                "recipe": self.feed.recipe(),
            },
            "created_ns": time.time_ns(),
            "python": sys.version.split()[0],
        }
        return JournalWriter.create(self.journal_path, meta, names)

    async def _run(self, run: str) -> None:
        """On the runner: batches from the feed until it ends, is stopped or fails."""
        requests = StopRequests(self._pipeline, run)
        tender = asyncio.ensure_future(self._tend(requests))
        pipeline = self._pipeline
        state, error = "failed", ""
        try:
            if self._is_resumed and self.feed.is_live:
                away = self._time_away()
                pipeline.take(away, len(away))
            # Closed before the last word of the feed's ledger, also where the loop is left early.
            async with aclosing(self._batches()) as batches:
                async for batch in batches:
                    pipeline.take(self.feed.checked(batch), len(batch), self._rejected())
                    self._heed_drift()
                    if self._is_stopping:
                        break
            if self._tending_error is not None:
                raise self._tending_error
            if left_over := self._rejected():
                pipeline.take((), 0, left_over)
            if not self._is_leaving:
                pipeline.command(Stop(received_ns=self._now_ns()))
                state = "stopped"
        except QfkitError as raised:
            self.error, error = raised, str(raised)
        except Exception as raised:  # noqa: BLE001 - a feed of the user's own may raise anything: the session ends, and says so
            self.error = SessionError(f"the feed of {self.name!r} failed: {type(raised).__name__}: {raised}")
            self.error.__cause__ = raised
            error = str(self.error)
        finally:
            tender.cancel()
            if self._metrics_server is not None:
                self._metrics_server.stop()
            requests.end()
            if running.get(self.name) is self:
                del running[self.name]
            if self._is_leaving:
                await pipeline.last_alerts("", "", _LAST_ALERTS_S)
                pipeline.leave()
            else:
                self._show_last()
                await pipeline.last_alerts(state, error, _LAST_ALERTS_S)
                pipeline.end(state, error)
            if error:
                _logger.error(
                    "the session %s failed: %s",
                    self.name,
                    error,
                    extra={"for_cells": self._error_in_cells(), "of_error": self.error},
                )

    def _error_in_cells(self) -> str:
        lines = [f"the session {self.name!r} failed: {self.error}"]
        if self.error is not None and self.error.__cause__ is not None:
            lines += code_lines(self.error.__cause__)
        return "\n".join([*lines, f"  qf.resume({self.name!r}).start() goes on where it stood, once that is mended."])

    async def _batches(self) -> AsyncGenerator[list[MarketEvent], None]:
        events = self.feed.events(skip=self._skip)
        try:
            warmed = events
            if self._past is not None:
                warmed = after_past(self._past, self.feed, events, self._warm_up, lambda: self._is_stopping)
            async with aclosing(warmed) as batches:
                async for batch in batches:
                    yield batch
        finally:
            await events.aclose()

    def _warm_up(self, past: PastBars, received_ns: int) -> None:
        for text in past.warnings:
            self.warn(text)
        if past.bars or past.unfinished:
            self._pipeline.command(WarmUp(received_ns, bars=past.bars, unfinished=past.unfinished))

    def _time_away(self) -> list[MarketEvent]:
        since_ns, now_ns = self._pipeline.engine.clock_ns, self.feed.now_ns()
        return [
            Gap(symbol, since_ns, now_ns, now_ns, None, "the session was not running")
            for symbol in self._pipeline.engine.symbols
            if now_ns > since_ns
        ]

    def _rejected(self) -> list[BadEvent]:
        return [BadEvent(one.received_ns, one.error, one.text) for one in self.feed.take_rejected()]

    async def _tend(self, requests: StopRequests) -> None:
        """Keep the snapshot fresh while no events come, and the feed's own state in it; look who asks for a stop."""
        while True:
            try:
                self._pipeline.flush()
                if not self._is_stopping and requests.look(self._now_ns()):
                    self._is_stopping = True
                    spawn(self.feed.stop())
                self._pipeline.show(self.feed.view())
            except QfkitError as error:
                self._tending_error = error
            except Exception as raised:  # noqa: BLE001 - a feed of the user's own may raise anything: the session ends, and says so
                self._tending_error = SessionError(
                    f"the session {self.name!r} cannot go on: {type(raised).__name__}: {raised}"
                )
                self._tending_error.__cause__ = raised
            if self._tending_error is not None:
                self._is_stopping = True
                spawn(self.feed.stop())
                return
            await asyncio.sleep(_TEND_S)

    def _show_last(self) -> None:
        """Show the last word of the feed's ledger, for the tender looks now and then only."""
        try:
            self._pipeline.show(self.feed.view())
        except Exception as raised:  # noqa: BLE001 - a feed of the user's own may raise anything: the journal is closed all the same
            text = f"what the feed says of itself at the end is missing: {type(raised).__name__}: {raised}"
            _logger.warning("%s: %s", self.name, text)
            self._pipeline.say(self._pipeline.engine.clock_ns, "warning", text)

    def warn(self, text: str) -> None:
        """Put a warning in the log, the journal and on the dashboard; before the start, or on the runner."""
        _logger.warning("%s: %s", self.name, text)
        self._pipeline.say(self._pipeline.engine.clock_ns, "warning", text)
        self._pipeline.show()

    def stop(self, strategy: str | None = None) -> "Session":
        """Stop: ``on_stop`` runs, working orders are cancelled, positions stay as they are. Waits until it is done.

        With the name of one ``strategy`` only that one ends, for good; the others and the session go on, and
        :meth:`add` starts another on its cash.
        """
        if strategy is not None:
            return self._command(lambda now_ns: Stop(now_ns, self._strategy(strategy)))
        if self._future is None:
            raise SessionError(f"the session {self.name!r} was not started")
        self._end(is_leaving=False)
        return self

    def suspend(self) -> "Session":
        """End the process's part without an end of the session, so that ``qf.resume`` can go on with it."""
        self._end(is_leaving=True)
        return self

    def _end(self, *, is_leaving: bool) -> None:
        if self._future is None or self._future.done():
            return
        if runner.is_this_thread:
            raise SessionError("a session cannot be stopped from its own thread: wait for it elsewhere")
        self._is_leaving = self._is_leaving or is_leaving
        self._is_stopping = True
        runner.submit(self.feed.stop())
        concurrent.futures.wait((self._future,), timeout=_STOP_S)
        if not self._future.done():
            self._future.cancel()
            raise SessionError(f"the session {self.name!r} did not stop within {_STOP_S:g} s and was cancelled")

    # -- what it is and did --------------------------------------------------------------------

    @property
    def state(self) -> str:
        """created, running, paused, stopped, failed or interrupted."""
        return self._pipeline.snapshot.state if self._future is not None else self._pipeline.state

    @property
    def snapshot(self) -> Snapshot:
        """The session at this moment, as an immutable record; nothing in it is not in the journal."""
        return self._pipeline.snapshot

    @property
    def health(self) -> "pandas.DataFrame":
        """How well each symbol's data arrive, one row a symbol and source; as of the newest snapshot."""
        feed = self.snapshot.feed
        return health_frame(feed.symbols if feed is not None else ())

    @property
    def result(self) -> Result:
        """All that it did so far, as a backtest gives it."""
        path = self._journal_file()
        timeframe = self._plan.timeframe or self.feed.timeframe or "1m"
        engine = self._pipeline.engine
        desks = dict.fromkeys((*engine.equity_names, *engine.desks))
        return Result(
            Recorded(path),
            strategy_names=tuple(desks),
            parameters={view.name: view.parameters for view in self.snapshot.strategies},
            starting_cash=self._plan.cash,
            costs=self._plan.costs,
            timeframe=timeframe,
            label=self.feed.label,
            order_timing=ORDERS_ON_TICKS if self.feed.timeframe is None else ORDERS_ON_BARS,
            assumptions=assumptions(engine),
            strategy_cash={**self._plan.strategy_cash, **joined_cash(engine)},
            holdings=Holdings.of_snapshot(self.snapshot),
            positions=self.snapshot.positions,
            source=journal_source(path, self._plan),
        )

    def verify(self, on_progress: Callable[[int, int], None] | None = None) -> Verdict:
        """Replay the journal with a fresh engine: equal to the last bit, or the first event that differs."""
        with JournalReader(self._journal_file()) as reader:
            return replay(reader, self._plan.engine, on_progress)[0]

    def _replay_plan(self) -> SessionPlan:
        return self._plan

    def _open_positions(self) -> Sequence[PositionView]:
        return self.snapshot.positions

    def _journal_file(self) -> Path:
        if self.journal_path is None:
            raise SessionError(f"the session {self.name!r} was not started: there is no journal yet")
        return self.journal_path

    def __repr__(self) -> str:
        from qfkit.views.terminal import plain_line

        return f"Session {self.name!r}: {plain_line(self.snapshot)}"
