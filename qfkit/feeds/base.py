"""What every feed is: an asynchronous source of batches of events, with its own state and counters."""

import asyncio
import inspect
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from qfkit.core.events import Bar, Depth, Gap, MarketEvent, Quote, Tick, check_event
from qfkit.core.snapshot import FeedView
from qfkit.errors import BadEventError, FeedError
from qfkit.feeds.health import HealthLedger, health_frame
from qfkit.journal.schema import as_kept

if TYPE_CHECKING:
    import pandas

    from qfkit.feeds.bar_source import BarSource
    from qfkit.feeds.recorder import Recorder

__all__ = ["Feed", "Handler", "Rejected"]

Handler: TypeAlias = Callable[[Any], Awaitable[None] | None]
"""Called with one Tick, Quote, Depth, Bar or Gap; plain or async."""

_logger = logging.getLogger("qfkit.feeds")
_KEPT_REJECTED = 1_000
_KEPT_TRANSITIONS = 1_000
_RATE_S = 2.0
_REPORTED_ERRORS = 20
_TOLD = (Tick, Quote, Depth, Bar, Gap)


class Rejected(msgspec.Struct, frozen=True):
    """Something off the wire that could not be used: when, why, and the beginning of its text."""

    received_ns: int
    error: str
    text: str


class Feed(ABC):
    """A source of events.

    Subclasses write :meth:`_batches`. A feed's iteration can be begun once at a time; it ends by
    itself (a recording), by :meth:`stop`, or with a :class:`FeedError`. ``label`` says in words
    where the data come from and is shown wherever they are.
    """

    name: str = "feed"
    has_sure_types: bool = False
    """Whether every field of its events is of its type, since qfkit's own code made them."""
    is_live: bool = False
    """Whether the events happen now; a feed that is not live gives the same events every time."""
    timeframe: str | None = None
    """The timeframe of the bars it gives; None where it gives ticks and quotes."""

    def __init__(self, symbols: Sequence[str], *, label: str) -> None:
        self.symbols = tuple(dict.fromkeys(symbols))
        self.label = label
        self._state = "closed"
        self.transitions: deque[tuple[int, str]] = deque(maxlen=_KEPT_TRANSITIONS)
        """The feed's latest states, each with the time it began."""
        self.ledger = HealthLedger(self.symbols, self.name)
        self.reconnects = 0
        self.gaps = 0
        self.events_count = 0
        self.rejected_count = 0
        self.lag_ms: float | None = None
        self.rejected: deque[Rejected] = deque(maxlen=_KEPT_REJECTED)
        self.is_skipping = False
        self.handler_errors = 0
        self.progress: float | None = None
        """How much of all it has to give was given, 0 to 1; None where that is unknown, or it never ends."""
        self._handlers: list[Handler] = []
        self._recorder: Recorder | None = None
        self._stopping = asyncio.Event()
        self._is_open = False
        self._last_batch_s: float | None = None
        self._rate_since_s = 0.0
        self._rate_count = 0
        self._rate_per_s = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.symbols)}: {self.label}, {self.state})"

    @property
    def state(self) -> str:
        """closed, connecting, live, stale, backfilling; a recording is running."""
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self.transitions.append((time.time_ns(), state))

    # -- what a subclass gives ----------------------------------------------------------------

    @abstractmethod
    def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        """Batches of events in the order of their receipt, none empty. ``self.state`` is kept by the subclass."""

    def now_ns(self) -> int:
        """The time by the feed's clock, UTC ns: the wall clock, or where a recording stands."""
        return time.time_ns()

    def recipe(self) -> dict[str, Any] | None:
        """How to make this feed again, for the journal: ``{"class": name, "arguments": {...}}`` of JSON values.

        None where that cannot be said (a DataFrame in memory). No key or token may be in it.
        """
        return None

    def history_source(self) -> "BarSource | None":
        """Where the bars before the first of this feed come from, for a warm-up; None where there is no such place."""
        return None

    # -- events -------------------------------------------------------------------------------

    async def events(self, skip: int = 0) -> AsyncGenerator[list[MarketEvent], None]:
        """Iterate over batches of events. ``skip`` leaves out the first events of a feed that is not live.

        Nothing is checked here: a caller keeps what cannot be true from the engine by :meth:`checked`.
        """
        if self._is_open:
            raise FeedError(f"{self!r} is in use already: make another feed for a second reader")
        self._is_open = True
        self._stopping.clear()
        self._rate_since_s = time.monotonic()
        self.state = "connecting"
        batches = self._batches() if self.is_live or not skip else self._batches_from(skip)
        try:
            async for batch in batches:
                self._count(len(batch))
                if self._recorder is not None:
                    self._recorder.events(batch)
                yield batch
                if self._stopping.is_set():
                    return
        finally:
            self._is_open = False
            self.state = "closed"
            if isinstance(batches, AsyncIterator) and hasattr(batches, "aclose"):
                await batches.aclose()
            if self._recorder is not None:
                self._recorder.close()

    async def _batches_from(self, skip: int) -> AsyncIterator[list[MarketEvent]]:
        # While it is true, a feed with a pace does not keep it.
        self.is_skipping = True
        async for batch in self._batches():
            if skip >= len(batch):
                skip -= len(batch)
                self.is_skipping = skip > 0
                continue
            self.is_skipping = False
            yield batch[skip:] if skip else batch
            skip = 0

    def _count(self, events: int) -> None:
        now_s = time.monotonic()
        self.events_count += events
        self._last_batch_s = now_s
        self._rate_count += events
        if now_s - self._rate_since_s >= _RATE_S:
            self._rate_per_s = self._rate_count / (now_s - self._rate_since_s)
            self._rate_since_s, self._rate_count = now_s, 0

    def reject(self, received_ns: int, error: str, text: str, *, symbol: str | None = None, reason: str = "") -> None:
        """Keep something unusable aside: counted, shown, never given as an event.

        ``reason`` is a few words without numbers for the health ledger, if the ``symbol`` is known.
        """
        self.rejected_count += 1
        if symbol is not None:
            self.ledger[symbol].reject(reason or error)
        self.rejected.append(Rejected(received_ns, error, text[:500]))

    def _count_gap(self, symbol: str) -> None:
        """Something of a symbol is missing for good."""
        ledger = self.ledger[symbol]
        ledger.gaps_found += 1
        ledger.gaps_open += 1
        self.gaps += 1

    def take_rejected(self) -> list[Rejected]:
        """What was rejected since the last call."""
        taken = list(self.rejected)
        self.rejected.clear()
        return taken

    @property
    def health(self) -> "pandas.DataFrame":
        """How well each symbol's data arrive, one row a symbol: see :class:`~qfkit.core.snapshot.SymbolHealth`."""
        return health_frame(self.ledger.views())

    def record(self, path: str) -> "Feed":
        """Record what comes while the feed runs, to be played by ``ReplayFeed(path)``; returns the feed.

        For the forms and what a path may be see :class:`~qfkit.feeds.recorder.Recorder`.
        """
        from qfkit.feeds.recorder import Recorder

        if self._is_open:
            raise FeedError(f"{self!r} runs already: say record() before it is started")
        # What ends a recording early is seen where other faults of a feed are.
        self._recorder = Recorder(path, self.name, lambda text: self.reject(time.time_ns(), text, ""))
        return self

    def view(self) -> FeedView:
        """The state and counters for a dashboard."""
        now_s = time.monotonic()
        age_s = None if self._last_batch_s is None else now_s - self._last_batch_s
        rate = self._rate_per_s or self._rate_count / max(now_s - self._rate_since_s, 0.1)
        return FeedView(
            name=self.label,
            state=self.state,
            events=self.events_count,
            rate_per_s=0.0 if age_s is None or age_s > 2 * _RATE_S else rate,
            age_s=age_s,
            lag_ms=self.lag_ms,
            reconnects=self.reconnects,
            gaps=self.gaps,
            bad=self.rejected_count,
            duplicates=self.duplicates,
            late=sum(ledger.late for ledger in self.ledger.values()),
            conflated=self.conflated,
            symbols=self.ledger.views(),
            is_live=self.is_live,
        )

    @property
    def duplicates(self) -> int:
        """How many events came again, or behind a newer one, and were dropped."""
        return sum(ledger.duplicates for ledger in self.ledger.values())

    @property
    def conflated(self) -> int:
        """How many quotes gave way to a newer one because the reader of this feed was slow."""
        return 0

    # -- stand-alone --------------------------------------------------------------------------

    def add_message_handler(self, handler: Handler) -> None:
        """Have a function, plain or async, called with each Tick, Quote, Depth, Bar and Gap by :meth:`start_streaming`."""
        self._handlers.append(handler)

    async def start_streaming(self) -> None:
        """Stream to the handlers until :meth:`stop`, or until a recording ends.

        A handler that raises is reported in the log and the feed goes on. An async one is awaited
        before the next event: a slow handler makes quotes give way to newer ones and trades wait.
        """
        async for events in self:
            for event in events:
                if isinstance(event, _TOLD):
                    await self._tell(event)

    async def _tell(self, event: MarketEvent) -> None:
        for handler in self._handlers:
            try:
                answer = handler(event)
                # Not whatever can be awaited: a handler that steers a session returns it, and that would be awaited to its end.
                if inspect.iscoroutine(answer) or isinstance(answer, asyncio.Future):
                    await answer
            except Exception:  # a handler is the user's code: reported, and the feed goes on
                self.handler_errors += 1
                if self.handler_errors <= _REPORTED_ERRORS:
                    _logger.exception("the message handler %r raised on %r", handler, event)
                elif self.handler_errors == _REPORTED_ERRORS + 1:
                    _logger.warning("message handlers go on raising; from now on it is only counted in handler_errors")

    async def stop(self) -> None:
        """End the iteration after the present batch; ends waiting too."""
        self._stopping.set()

    async def __aiter__(self) -> AsyncIterator[list[MarketEvent]]:
        """Batches of events, none empty, of every kind; those that cannot be true are rejected."""
        async with aclosing(self.events()) as batches:
            async for batch in batches:
                if kept := self.checked(batch):
                    yield kept

    def checked(self, batch: list[MarketEvent]) -> list[MarketEvent]:
        """The events of a batch of :meth:`events` without those that cannot be true, which are rejected."""
        kept = []
        for given in batch:
            event = given
            try:
                if not self.has_sure_types:
                    event = as_kept(event)
                check_event(event)
            except BadEventError as error:
                self._reject_event(given, error)
            else:
                kept.append(event)
        return kept

    def _reject_event(self, event: MarketEvent, error: BadEventError) -> None:
        symbol = getattr(event, "symbol", None)
        received_ns = event.received_ns if isinstance(event.received_ns, int) else time.time_ns()
        symbol = symbol if isinstance(symbol, str) else None
        self.reject(received_ns, str(error), repr(event), symbol=symbol, reason="impossible value")

    async def pause_s(self, seconds: float) -> bool:
        """Wait; true at once when :meth:`stop` is called meanwhile."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True
