"""One of several feeds that stand in for one another: run again when it fails, its events sent on as they come."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

from qfkit.core.events import MarketEvent
from qfkit.errors import FeedError, SymbolError
from qfkit.feeds.base import Feed
from qfkit.feeds.connection import Backoff

if TYPE_CHECKING:
    from qfkit.feeds.bar_source import BarSource
    from qfkit.tables import BarColumns

__all__ = ["Letter", "Mail", "Part"]

_logger = logging.getLogger("qfkit.feeds")

_RESET_AFTER_S = 30.0
_SHOWN_REASON = 200
_SUGGESTION = re.compile(r"Did you mean '[^']*'\?")


class Part:
    """A feed at its place in the order of preference, under a name that no other has."""

    def __init__(self, place: int, feed: Feed, name: str) -> None:
        self.place = place
        self.feed = feed
        self.name = name
        self.own: dict[str, str] = {}
        """How this feed spells the symbols, by their common names."""
        self.lacking: dict[str, str] = {}
        """Why it does not have some symbols, by their common names."""
        self.begin()

    def begin(self) -> None:
        """Before an iteration: nothing is known of it."""
        self.is_running = False
        self.is_out = False
        """Whether it is not tried again."""
        self.failures = 0
        self.has_delivered = False
        self.reason = ""
        """Why it failed the last time."""
        self.newest_ns = 0
        self.beat_ns = 0

    def state(self, own: str) -> str:
        """The state of a symbol, in the feed's spelling."""
        if not self.is_running:
            return "closed"
        ledger = self.feed.ledger.get(own)
        # A feed without connections keeps no states of its symbols.
        return self.feed.state if ledger is None or ledger.whole_s is None else ledger.state

    def trouble(self, own: str) -> str:
        """Why nothing can come of a symbol, "" where something can."""
        if not self.is_running and self.reason:
            return f"failed ({self.reason[:_SHOWN_REASON]})"
        state = self.state(own)
        return f"is {state}" if state in ("connecting", "closed") else ""

    def history_source(self) -> "BarSource | None":
        """Where the bars before the first of the feed come from, under the common names."""
        source = self.feed.history_source()
        is_renamed = any(own != symbol for symbol, own in self.own.items())
        return _Renamed(source, self.own) if source is not None and is_renamed else source

    async def run(self, mail: "Mail", backoff_s: float) -> None:
        """Run the feed, again and again if it fails and is a live one."""
        backoff = Backoff(backoff_s)
        while not self.is_out:
            wait_s = 0.0
            backoff.attempt()
            self.is_running, began_s = True, time.monotonic()
            try:
                async with aclosing(self.feed.events()) as batches:
                    async for batch in batches:
                        await mail.put((self, time.monotonic(), batch))
                self.reason = "it ended"
                self.is_out = not self.feed.is_live
            except SymbolError as error:
                if await self._leave_out(error):
                    continue
                self.reason, self.is_out = str(error), True
            except (FeedError, OSError) as error:
                self.reason = str(error) or type(error).__name__
                self.is_out = not self.feed.is_live
                wait_s = getattr(error, "retry_after_s", None) or 0.0
            finally:
                self.is_running = False
            self.failures += 1
            mail.nudge()
            if self.has_delivered and time.monotonic() - began_s >= _RESET_AFTER_S:
                backoff.reset()
            if not self.is_out:
                wait_s = backoff.wait_s(wait_s)
                _logger.warning("%s failed (%s), it is tried again in %.1f s", self.name, self.reason, wait_s)
                await asyncio.sleep(wait_s)

    async def _leave_out(self, error: SymbolError) -> bool:
        """Go on without the symbols that the feed does not have; false where none are left, or it cannot be told."""
        text = _SUGGESTION.sub("", str(error))
        named = {symbol: own for symbol, own in self.own.items() if repr(own) in text}
        if not named or not hasattr(self.feed, "unsubscribe"):
            named = dict(self.own)
        _logger.warning("%s goes on without %s: %s", self.name, ", ".join(named.values()), error)
        for symbol in named:
            del self.own[symbol]
            self.lacking[symbol] = str(error)
        if not self.own:
            return False
        await self.feed.unsubscribe(list(named.values()))  # type: ignore[attr-defined]
        return True


class _Renamed:
    """A provider's history under the common names of the symbols."""

    def __init__(self, source: "BarSource", own: Mapping[str, str]) -> None:
        self._source = source
        self._own = dict(own)
        self.name = source.name
        self.timeframes = source.timeframes

    def bars(self, symbol: str, timeframe: str, start_ns: int, end_ns: int) -> "AsyncIterator[BarColumns]":
        return self._source.bars(self._own.get(symbol, symbol), timeframe, start_ns, end_ns)

    async def close(self) -> None:
        await self._source.close()


Letter: TypeAlias = tuple[Part, float, list[MarketEvent]]


class Mail:
    """The batches of all parts on their way to the one who takes them, each with its arrival; a full one makes them wait."""

    def __init__(self, capacity: int) -> None:
        self._queue: asyncio.Queue[Letter | None] = asyncio.Queue(capacity)
        self.is_nudged = False
        """Whether somebody wants to be looked at; whoever looks sets it back."""

    @property
    def is_empty(self) -> bool:
        return self._queue.empty()

    async def put(self, letter: Letter) -> None:
        await self._queue.put(letter)

    def nudge(self, _: object = None) -> None:
        """Wake the taker without a letter."""
        self.is_nudged = True
        if self._queue.empty():
            self._queue.put_nowait(None)

    async def take(self, until_s: float) -> Letter | None:
        """The next letter; None when the time (monotonic) is over, or at a nudge."""
        try:
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                return await self._queue.get()
        except TimeoutError:
            return None

    def take_waiting(self) -> Letter | None:
        """The next letter if there is one."""
        while not self._queue.empty():
            letter = self._queue.get_nowait()
            if letter is not None:
                return letter
        return None
