"""One websocket connection that is kept up: the life cycle that all socket feeds share.

A link is *connecting* until data come, then *live*, *stale* when they stop though the connection
stands, and *closed* in the end. What counts is data: a server that answers pings and sends nothing
is as dead as one that is gone. Nothing a server does makes a link give up or hurry: attempts wait,
with jitter, and are counted out.
"""

import asyncio
import logging
import time
from collections import deque
from math import inf
from typing import Any, Protocol

from picows.websockets.asyncio.client import ClientConnection
from picows.websockets.exceptions import ConnectionClosed

from qfkit.errors import MalformedFrameError
from qfkit.feeds.connection import CONNECT_ERRORS, Backoff, Refusal, close_websocket, open_websocket
from qfkit.feeds.inbox import Inbox
from qfkit.feeds.tasks import end_tasks

__all__ = ["Link", "LinkOwner", "LinkSettings"]

_logger = logging.getLogger("qfkit.feeds")

_RESET_AFTER_S = 30.0
_LOOK_S = 0.25
# A second by our clock may be less by theirs.
_SECOND_S = 1.25
# So long both connections are read before the older one is given up.
_OVERLAP_S = 0.25
# Symbols are seldom added one alone.
_SETTLED_S = 0.1


class LinkSettings:
    """How patient a link is, in seconds; ``sends_per_s`` bounds the messages it sends (None: no bound).

    ``attempts_per_5_min`` bounds the connections that a link asks for, planned ones too.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 10.0,
        stale_after_s: float = 15.0,
        longest_s: float | None = None,
        backoff_s: float = 1.0,
        longest_backoff_s: float = 60.0,
        sends_per_s: int | None = None,
        attempts_per_5_min: int = 10,
    ) -> None:
        self.connect_timeout_s = connect_timeout_s
        self.stale_after_s = stale_after_s
        self.longest_s = longest_s
        self.backoff_s = backoff_s
        self.longest_backoff_s = longest_backoff_s
        self.sends_per_s = sends_per_s
        self.attempts_per_5_min = attempts_per_5_min


class LinkOwner(Protocol):
    """What a link asks of its feed."""

    label: str

    def _address(self, link: "Link") -> str: ...
    async def _greet(self, link: "Link", connection: ClientConnection) -> None: ...
    def _frame(self, link: "Link", payload: bytes, received_ns: int) -> bool: ...
    def _rubbish(self, link: "Link", received_ns: int, error: MalformedFrameError, payload: bytes) -> None: ...
    def _connected(self, link: "Link") -> None: ...
    def _turned(self, link: "Link") -> None: ...
    def _lost(self, link: "Link") -> None: ...
    def _unreached(self, link: "Link", refusal: Refusal) -> None: ...
    async def _ready(self) -> None: ...
    def now_ns(self) -> int: ...


class Link:
    """A connection for some of a feed's symbols, made anew whenever it is lost, stale or too old."""

    def __init__(self, owner: LinkOwner, symbols: tuple[str, ...], settings: LinkSettings, inbox: Inbox) -> None:
        self.symbols = symbols
        self.state = "closed"
        self.connects = 0
        self.failures = 0
        """Attempts in a row that failed or brought no data."""
        self._owner = owner
        self._settings = settings
        self._inbox = inbox
        self._backoff = Backoff(
            settings.backoff_s, settings.longest_backoff_s, most_attempts=settings.attempts_per_5_min
        )
        self._connection: ClientConnection | None = None
        self._opened_for: tuple[str, ...] = ()
        self._last_s = 0.0
        self._first_s: float | None = None
        self._is_held_up = False
        self._freed_s = 0.0
        self._is_renewal_asked = False
        self._sent: deque[float] = deque(maxlen=settings.sends_per_s or 1)
        self._sending = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Link({self._owner.label}, {len(self.symbols)} symbols, {self.state})"

    # -- what the feed asks --------------------------------------------------------------------

    def renew(self) -> None:
        """Have a new connection take over from this one, without a break."""
        self._is_renewal_asked = True

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def live_since_s(self) -> float:
        """When the first data of this connection came; the end of time before."""
        return inf if self._first_s is None else self._first_s

    @property
    def listens_since_s(self) -> float:
        """Since when this connection has been read without a break; the end of time while it is not."""
        return inf if self._is_held_up else max(self.live_since_s, self._freed_s)

    @property
    def last_data_s(self) -> float:
        """When data came last, or the connection began."""
        return self._last_s

    async def send(self, text: str, connection: ClientConnection | None = None) -> None:
        """Send a message, no more of them in a second than the provider takes; a lost connection is no error here."""
        target = self._connection if connection is None else connection
        if target is None:
            return
        async with self._sending:
            if self._settings.sends_per_s is not None:
                if len(self._sent) == self._sent.maxlen:
                    await asyncio.sleep(max(0.0, self._sent[0] + _SECOND_S - time.monotonic()))
                self._sent.append(time.monotonic())
            try:
                await target.send(text)
            except ConnectionClosed:
                # The reader of the connection learns the same and makes a new one, which greets anew.
                _logger.debug("%s: the connection closed before a message was sent", self._owner.label)

    # -- the life of it ------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the connection up until cancelled; raises what :meth:`LinkOwner._unreached` raises."""
        try:
            self._connection = await self._first()
            await self._owner._ready()
            while True:
                former = self._connection
                self._connection = await self._live(former)
                if self._connection is None:
                    self.failures += 1
                    self._owner._lost(self)
                    self._turn("connecting")
                await close_websocket(former)
                if self._connection is None:
                    self._connection = await self._again(self._backoff.wait_s())
        finally:
            self._turn("closed")
            if self._connection is not None:
                await close_websocket(self._connection)
                self._connection = None

    def _turn(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._owner._turned(self)

    async def _open(self, timeout_s: float) -> ClientConnection:
        """A connection that has all of the link's symbols, those that came or went meanwhile too."""
        while True:
            symbols = self.symbols
            self._backoff.attempt()
            connection = await open_websocket(self._owner._address(self), timeout_s)
            try:
                await self._owner._greet(self, connection)
            except BaseException:
                await close_websocket(connection)
                raise
            if symbols == self.symbols:
                self._opened_for = symbols
                return connection
            await close_websocket(connection)
            await asyncio.sleep(max(_SETTLED_S, self._backoff.budget_wait_s()))

    async def _first(self) -> ClientConnection:
        """The first connection: a failure that lasts is the user's to know."""
        self._turn("connecting")
        end_s = time.monotonic() + self._settings.connect_timeout_s
        while True:
            try:
                return await self._open(max(end_s - time.monotonic(), 0.01))
            except CONNECT_ERRORS as error:
                self.failures += 1
                refusal = Refusal(error)
                wait_s = self._backoff.wait_s(refusal.wait_s)
                if refusal.is_final or time.monotonic() + wait_s >= end_s:
                    self._owner._unreached(self, refusal)
                    return await self._again(wait_s)
                await asyncio.sleep(wait_s)

    async def _again(self, wait_s: float) -> ClientConnection:
        while True:
            _logger.info("%s: connecting again in %.1f s", self._owner.label, wait_s)
            await asyncio.sleep(wait_s)
            try:
                return await self._open(self._settings.connect_timeout_s)
            except CONNECT_ERRORS as error:
                self.failures += 1
                refusal = Refusal(error)
                wait_s = self._backoff.wait_s(refusal.wait_s)
                _logger.warning(
                    "%s: no connection (%s), the next attempt in %.1f s", self._owner.label, refusal.reason, wait_s
                )

    # -- while it stands -------------------------------------------------------------------------

    async def _live(self, connection: ClientConnection) -> ClientConnection | None:
        """Read until the connection is lost or stale (None), or a successor has taken over."""
        settings = self._settings
        began_s = looked_s = self._begin()
        pump = asyncio.create_task(self._pump(connection), name=f"reader of {self._owner.label}")
        renewal: asyncio.Task[ClientConnection] | None = None
        try:
            while True:
                tasks = {pump} if renewal is None else {pump, renewal}
                await asyncio.wait(tasks, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                now_s = time.monotonic()
                # After a standstill of this loop, data may still wait in the socket.
                was_still, looked_s = now_s - looked_s > 2 * _LOOK_S, now_s
                if renewal is not None and renewal.done():
                    error = renewal.exception()
                    done, renewal = renewal, None
                    if error is None:
                        successor = done.result()
                        if self._opened_for == self.symbols:
                            await self._take_over(pump, successor)
                            return successor
                        await close_websocket(successor)
                        wait_s = max(_SETTLED_S, self._backoff.budget_wait_s())
                    elif isinstance(error, CONNECT_ERRORS):
                        refusal = Refusal(error)
                        wait_s = self._backoff.wait_s(refusal.wait_s)
                        _logger.warning("%s: no second connection yet (%s)", self._owner.label, refusal.reason)
                    else:
                        raise error
                    if not pump.done():
                        renewal = self._begin_renewal(wait_s)
                if pump.done():
                    _logger.warning("%s: the connection ended (%s)", self._owner.label, pump.result())
                    if renewal is None:
                        return None
                    # The end that was announced came before the successor was there.
                    self._owner._lost(self)
                    self._turn("connecting")
                    await asyncio.wait({renewal})
                    continue
                if self._is_held_up or was_still:
                    # A taker that is slow is not a provider that is silent.
                    continue
                if now_s - self._last_s >= settings.stale_after_s:
                    self._turn("stale")
                    _logger.warning("%s: no data for %g s, connecting again", self._owner.label, settings.stale_after_s)
                    return None
                if self._first_s is not None and now_s - self._first_s >= _RESET_AFTER_S:
                    self._backoff.reset()
                is_old = settings.longest_s is not None and now_s - began_s >= settings.longest_s
                if renewal is None and (self._is_renewal_asked or is_old):
                    _logger.info("%s: this connection ends soon: a second one takes over", self._owner.label)
                    renewal = self._begin_renewal(self._backoff.budget_wait_s())
        finally:
            await end_tasks((pump,))
            if renewal is not None:
                await end_tasks((renewal,))
                if not renewal.cancelled() and renewal.exception() is None:
                    await close_websocket(renewal.result())

    def _begin(self) -> float:
        self._is_renewal_asked = self._is_held_up = False
        self._first_s = None
        self._last_s = time.monotonic()
        return self._last_s

    def _begin_renewal(self, wait_s: float) -> "asyncio.Task[ClientConnection]":
        return asyncio.create_task(self._renewal(wait_s), name=f"renewal of {self._owner.label}")

    async def _renewal(self, wait_s: float) -> ClientConnection:
        """A second connection that has begun to receive; what it receives waits in it."""
        await asyncio.sleep(wait_s)
        connection = await self._open(self._settings.connect_timeout_s)
        try:
            await asyncio.sleep(_OVERLAP_S)
        except asyncio.CancelledError:
            await close_websocket(connection)
            raise
        return connection

    @staticmethod
    async def _take_over(pump: "asyncio.Task[str]", successor: ClientConnection) -> None:
        """End the reader of the former connection; who is cancelled meanwhile owns the successor still."""
        try:
            await end_tasks((pump,))
            if not pump.cancelled():
                pump.result()
        except BaseException:
            await close_websocket(successor)
            raise

    async def _pump(self, connection: ClientConnection) -> str:
        """Hand each frame to the feed; returns why the connection ended."""
        owner, inbox = self._owner, self._inbox
        frame, now_ns, monotonic = owner._frame, owner.now_ns, time.monotonic
        try:
            while True:
                payload: Any = await connection.recv(decode=False)
                received_ns = now_ns()
                try:
                    is_data = frame(self, payload, received_ns)
                except MalformedFrameError as error:
                    owner._rubbish(self, received_ns, error, payload)
                    continue
                if is_data:
                    self._last_s = monotonic()
                    if self._first_s is None:
                        self._first_s = self._last_s
                        self.failures = 0
                        self.connects += 1
                        owner._connected(self)
                        self._turn("live")
                if inbox.is_full:
                    self._is_held_up = True
                    await inbox.wait_for_room()
                    self._is_held_up = False
                    self._last_s = self._freed_s = monotonic()
        except ConnectionClosed as error:
            # A polite close is a lost connection like any other: a stream has no end of its own.
            return str(error)
