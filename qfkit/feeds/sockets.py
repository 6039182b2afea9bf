"""What feeds over websockets have in common: links, the queue behind them, watchdogs, states and heartbeats."""

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from typing import Any, ClassVar

from picows.websockets.asyncio.client import ClientConnection

from qfkit.core.events import Gap, MarketEvent, Tick
from qfkit.errors import ConnectionFailedError, MalformedFrameError
from qfkit.feeds.base import Feed
from qfkit.feeds.connection import Refusal
from qfkit.feeds.exchange_time import ExchangeClock
from qfkit.feeds.inbox import Inbox
from qfkit.feeds.link import Link, LinkSettings
from qfkit.feeds.tasks import end_tasks

__all__ = ["SocketFeed"]

_logger = logging.getLogger("qfkit.feeds")

_BATCH = 4_096
_HEARTBEAT_S = 1.0
_LATE_S = 0.25
_WATCH_S = 1.0
_SHOWN = 2_000


class SocketFeed(Feed):
    """A live feed of one or more websocket connections, each a :class:`Link` for some of the symbols.

    A provider writes ``_address``, ``_greet`` and ``_take``, and what else it needs of the hooks
    below. Everything runs on the loop that iterates over the feed.
    """

    has_sure_types = True
    is_live = True
    symbols_per_link: int = 100
    unreachable_fix: ClassVar[str] = "check the network, a proxy or a firewall"

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        label: str,
        settings: LinkSettings,
        symbol_stale_after_s: float = 60.0,
        grace_s: float = 0.5,
    ) -> None:
        super().__init__(symbols, label=label)
        self._settings = settings
        self._symbol_stale_after_s = symbol_stale_after_s
        self._clock = ExchangeClock(round(grace_s * 1e9))
        self._inbox = Inbox()
        self._links: list[Link] = []
        self._chores: set[asyncio.Task[None]] = set()
        self._link_of: dict[str, Link] = {}
        self._prepared = asyncio.Event()
        self._backfilling: set[str] = set()
        self._asked_s: dict[str, float] = {}
        self._refreshed_s: dict[str, float] = {}
        self._now_s = 0.0
        self._beat_ns = 0
        self._is_ending = False

    # -- what a provider writes ----------------------------------------------------------------

    @abstractmethod
    def _address(self, link: Link) -> str:
        """The URL for a link; asked at every connection."""

    async def _greet(self, link: Link, connection: ClientConnection) -> None:
        """After each connection, the second one of a renewal too: subscribe, by ``link.send(text, connection)``."""

    @abstractmethod
    def _take(self, link: Link, payload: bytes, received_ns: int) -> bool:
        """One frame: ``_put`` its events; true if it proves that data flow. Raises :class:`MalformedFrameError`."""

    def _lost(self, link: Link) -> None:
        """A link was lost; it comes again by itself."""

    async def _prepare(self) -> list[MarketEvent]:
        """Before any data: check the symbols; its events come first."""
        return []

    def _is_quiet(self, symbol: str) -> bool:
        """Whether silence is to be expected of a symbol now, as of a closed market."""
        return False

    async def _refresh(self, link: Link, symbol: str) -> None:
        """A symbol alone is silent for long: subscribe it again."""

    async def _follow(self, link: Link, symbols: tuple[str, ...]) -> None:
        """Subscribe more symbols on a link that runs (those of ``link.symbols`` are greeted)."""

    async def _unfollow(self, link: Link, symbols: tuple[str, ...]) -> None:
        """Unsubscribe symbols on a link that runs."""

    def _names(self, symbols: Iterable[str]) -> list[str]:
        """Symbols as the provider writes them, checked as far as that goes without asking."""
        return list(symbols)

    def _symbol_of(self, payload: bytes) -> str | None:
        """The symbol that a frame is of which cannot be decoded, where that can be told."""
        return None

    def _unreached(self, link: Link, refusal: Refusal) -> None:
        """No first connection within the time: raise, or return to have it tried again and again."""
        raise ConnectionFailedError(f"no connection to {self.label} ({refusal.reason}): {self.unreachable_fix}")

    # -- subscriptions -------------------------------------------------------------------------

    async def subscribe(self, symbols: Iterable[str] | str) -> None:
        """Follow more symbols, also while the feed runs."""
        names = self._names([symbols] if isinstance(symbols, str) else symbols)
        added = tuple(name for name in dict.fromkeys(names) if name not in self.symbols)
        self.symbols += added
        for name in added:
            self.ledger[name].turn(self.state, time.monotonic())
            self._asked_s[name] = time.monotonic()
        if not self._is_open:
            return
        for link in self._links:
            room = self.symbols_per_link - len(link.symbols)
            mine, added = added[:room], added[room:]
            if mine:
                link.symbols += mine
                self._link_of.update(dict.fromkeys(mine, link))
                await self._follow(link, mine)
        self._start_links(added)

    async def unsubscribe(self, symbols: Iterable[str] | str) -> None:
        """Follow some symbols no longer. What waits of them is still given."""
        names = self._names([symbols] if isinstance(symbols, str) else symbols)
        gone = tuple(name for name in dict.fromkeys(names) if name in self.symbols)
        self.symbols = tuple(name for name in self.symbols if name not in gone)
        for link in self._links:
            mine = tuple(name for name in gone if name in link.symbols)
            if mine:
                link.symbols = tuple(name for name in link.symbols if name not in mine)
                await self._unfollow(link, mine)
        for name in gone:
            self.ledger[name].turn("closed", time.monotonic())
            self._link_of.pop(name, None)
            self._backfilling.discard(name)
        if self._is_open:
            self._settle()

    def _start_links(self, symbols: tuple[str, ...]) -> None:
        for first in range(0, len(symbols), self.symbols_per_link):
            link = Link(self, symbols[first : first + self.symbols_per_link], self._settings, self._inbox)
            self._link_of.update(dict.fromkeys(link.symbols, link))
            self._links.append(link)
            self._spawn(link.run(), f"{link!r}")

    # -- the side of the taker -----------------------------------------------------------------

    @property
    def conflated(self) -> int:
        return self._inbox.conflated

    def now_ns(self) -> int:
        return self._clock.now_ns()

    async def stop(self) -> None:
        await super().stop()
        self._inbox.wake.set()

    def _wake(self, _: object) -> None:
        self._inbox.wake.set()

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        self._inbox = inbox = Inbox()
        self._prepared.clear()
        self._links.clear()
        self._link_of.clear()
        self._backfilling.clear()
        self._asked_s.clear()
        self._is_ending = False
        self._clock.catch_up()
        self.ledger.turn("connecting")
        preparation = asyncio.create_task(self._prepare(), name=f"preparation of {self.label}")
        preparation.add_done_callback(self._wake)
        self._chores = set()
        self._spawn(self._watch(), f"watch over {self.label}")
        self._start_links(self.symbols)
        now_s = asyncio.get_running_loop().time
        beat_s = now_s() + _HEARTBEAT_S
        try:
            while not self._stopping.is_set():
                if preparation.done() and not self._prepared.is_set():
                    first = preparation.result()
                    self._prepared.set()
                    if first:
                        yield first
                await inbox.wait_until(beat_s)
                batch = inbox.take(_BATCH)
                if not batch:
                    self._look_after_chores()
                late_s = now_s() - beat_s
                if late_s >= 0.0:
                    beat_s = now_s() + _HEARTBEAT_S
                    # After a standstill of this loop, trades older than the beat still wait in the socket.
                    if late_s < _LATE_S and self.state == "live" and not inbox:
                        beat = self._clock.heartbeat(self.now_ns())
                        if beat is not None:
                            self._beat_ns = beat.time_ns
                            batch.append(beat)
                if batch:
                    yield batch
        finally:
            self._is_ending = True
            await end_tasks((preparation, *self._chores))
            self._backfilling.clear()
            self.ledger.turn("closed")

    def _spawn(self, chore: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that lives no longer than the iteration, and ends it with its exception if it has one."""
        task = asyncio.create_task(chore, name=name)
        self._chores.add(task)
        task.add_done_callback(self._wake)
        return task

    def _look_after_chores(self) -> None:
        for task in [task for task in self._chores if task.done()]:
            self._chores.discard(task)
            if not task.cancelled():
                task.result()

    async def _ready(self) -> None:
        await self._prepared.wait()

    # -- the side of the links -----------------------------------------------------------------

    def _frame(self, link: Link, payload: bytes, received_ns: int) -> bool:
        if self._recorder is not None:
            self._recorder.frame(received_ns, payload)
        self._now_s = time.monotonic()
        return self._take(link, payload, received_ns)

    def _put(self, event: Any) -> None:
        """Give an event that bears a symbol: counted, then queued."""
        lag_ms = None
        if type(event) is Tick:
            if event.flag is None:
                lag_ms = self.lag_ms = self._clock.observe(event)
            if event.time_ns < self._beat_ns and event.flag != "stale":
                # A heartbeat has said already that this time is over.
                self.ledger[event.symbol].late += 1
        if type(event) is not Gap:
            self.ledger[event.symbol].saw(self._now_s, lag_ms)
        self._inbox.put(event)

    def _rubbish(self, link: Link, received_ns: int, error: MalformedFrameError, payload: bytes) -> None:
        if not self.rejected_count:
            _logger.warning("%s: %s; more of the kind are counted only", self.label, error)
        symbol = self._symbol_of(payload)
        self.reject(
            received_ns,
            str(error),
            payload[:_SHOWN].decode("utf-8", "replace"),
            symbol=symbol,
            reason="malformed frame",
        )

    def _connected(self, link: Link) -> None:
        """A new connection of a link has brought its first data."""
        self.reconnects += link.connects > 1
        for symbol in link.symbols:
            self.ledger[symbol].connects += 1
        self._clock.catch_up()

    def _turned(self, link: Link) -> None:
        """A link has another state."""
        now_s = time.monotonic()
        for symbol in link.symbols:
            if link.state == "stale":
                self._turn_stale(symbol, link.last_data_s, now_s)
            elif link.state == "live" and symbol in self._backfilling:
                self.ledger[symbol].turn("backfilling", now_s)
            else:
                self.ledger[symbol].turn(link.state, now_s)
        self._settle()

    def _turn_stale(self, symbol: str, since_s: float, now_s: float) -> None:
        """A symbol is found to be stale; the silence that told so counts as well."""
        ledger = self.ledger[symbol]
        was_up = ledger.state in ("live", "backfilling")
        ledger.turn("stale", now_s)
        if was_up:
            silent_s = min(now_s - since_s, ledger.live_s)
            ledger.live_s -= silent_s
            ledger.stale_s += silent_s

    def _turn_backfilling(self, symbol: str, *, is_on: bool) -> None:
        """A symbol's missing events are being fetched, or no more."""
        link = self._link_of.get(symbol)
        if is_on:
            self._backfilling.add(symbol)
        else:
            self._backfilling.discard(symbol)
        state = "backfilling" if is_on else "closed" if link is None else link.state
        self.ledger[symbol].turn(state, time.monotonic())
        self._settle()

    def _settle(self) -> None:
        """The feed's state is that of its worst link."""
        if self._is_ending:
            return
        states = {link.state for link in self._links}
        for state in ("connecting", "stale"):
            if state in states:
                self.state = state
                return
        self.state = "backfilling" if self._backfilling else "live" if "live" in states else "closed"

    async def _watch(self) -> None:
        """A symbol that is silent while its link lives is stale, and subscribed anew now and then."""
        began_s = looked_s = time.monotonic()
        while True:
            await asyncio.sleep(_WATCH_S)
            now_s = time.monotonic()
            was_still, looked_s = now_s - looked_s > 2 * _WATCH_S, now_s
            if was_still:
                continue  # what came meanwhile may wait in the sockets
            for symbol, link in list(self._link_of.items()):
                ledger = self.ledger[symbol]
                asked_s = self._asked_s.get(symbol, began_s)
                since_s = max(asked_s, ledger.last_s or 0.0, link.listens_since_s)
                if link.state != "live" or now_s - since_s < self._symbol_stale_after_s or self._is_quiet(symbol):
                    continue
                if ledger.state == "live":
                    self._turn_stale(symbol, since_s, now_s)
                if now_s - self._refreshed_s.get(symbol, 0.0) >= self._symbol_stale_after_s:
                    self._refreshed_s[symbol] = now_s
                    _logger.info(
                        "%s: nothing of %s for %.0f s, asking for it again", self.label, symbol, now_s - since_s
                    )
                    await self._refresh(link, symbol)
