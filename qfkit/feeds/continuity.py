"""Keeping numbered events whole and in order: what is missing is fetched, or told as a gap.

Trades have ids that count up by one, bars follow each other: each has a place in its symbol's line.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from qfkit.core.events import Bar, Gap, Quote, Tick
from qfkit.errors import FeedError

__all__ = ["PAGE", "Fetch", "Line", "Mended"]

Numbered: TypeAlias = Tick | Bar
Fetch: TypeAlias = Callable[[str, int], Awaitable[list[tuple[int, Numbered]]]]
"""``fetch(symbol, place)``: a page of at most 1,000 events from a place on, oldest first; empty where there are none."""

PAGE = 1_000

_logger = logging.getLogger("qfkit.feeds")

_MOST_HELD = 50_000
# What comes out of order by a moment needs no fetching.
_SHUFFLED_S = 0.1
# A provider's archive may be behind its stream by a moment.
_EMPTY_TRIES = 3
_EMPTY_WAIT_S = 0.3
_NOT_THERE = "the provider has newer ones only"
# So many in a row that are newer by time and older by number are a numbering that began anew.
_MOST_BEHIND = 20


class Mended(msgspec.Struct):
    """What became of a hole: the events that go on now, in order, and how many were fetched and could not be had."""

    events: list[Numbered | Quote | Gap]
    filled: int
    missing: int


class Line:
    """One symbol's numbered events. While a hole is being mended, what comes behind it is held."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.place: int | None = None
        """The place of the last event that was given; None before the first."""
        self.time_ns = 0
        self.is_holding = False
        self._held: dict[int, Numbered] = {}
        self._held_quote: Quote | None = None
        self._patience: asyncio.Timeout | None = None
        self._behind = 0
        self._behind_place: int | None = None

    def accept(self, place: int, event: Numbered) -> bool | None:
        """True for an event that goes on, None for one that was given already, False for one behind a hole."""
        last = self.place
        if last is not None and place != last + 1:
            return None if place <= last else False
        self.place = place
        self.time_ns = event.time_ns
        return True

    def begin_anew(self, place: int, event: Numbered, received_ns: int) -> Gap | None:
        """Judge an event that seems to have been given already: a gap where the provider counts from elsewhere now.

        A test network that is set up again does so, and all that came after would be taken for old.
        """
        if event.time_ns <= self.time_ns:
            return None
        if self._behind_place != self.place:
            self._behind_place, self._behind = self.place, 0
        self._behind += 1
        if self._behind < _MOST_BEHIND:
            return None
        reason = f"the provider's numbers go on from {place} instead of {self.place}"
        gap = Gap(self.symbol, self.time_ns, event.time_ns, received_ns, None, reason)
        self.place, self.time_ns = place, event.time_ns
        return gap

    def hold(self, place: int, event: Numbered) -> bool:
        """Keep an event until the line before it is mended; false where it was held already."""
        self.is_holding = True
        if place in self._held or (self.place is not None and place <= self.place):
            return False
        self._held[place] = event
        if len(self._held) == _MOST_HELD and self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())
        return True

    def hold_quote(self, quote: Quote) -> None:
        """Keep the newest quote until the line is mended."""
        self._held_quote = quote

    async def mend(self, fetch: Fetch | None, most_pages: int, now_ns: Callable[[], int]) -> Mended:
        """Fill the hole between the last event given and those held, or up to now where none is; then hold no more."""
        await asyncio.sleep(_SHUFFLED_S)
        fetched: dict[int, Numbered] = {}
        try:
            async with asyncio.timeout(0 if len(self._held) >= _MOST_HELD else None) as self._patience:
                why = await self._fetch(fetch, most_pages, fetched)
        except TimeoutError:
            why = f"fetching them took so long that {len(self._held):,} newer ones wait"
        except FeedError as error:
            why = f"they could not be fetched: {error}"
            _logger.warning("%s: missing data could not be fetched (%s)", self.symbol, error)
        finally:
            self._patience = None
        return self._release(fetched, why, now_ns())

    async def _fetch(self, fetch: Fetch | None, most_pages: int, fetched: dict[int, Numbered]) -> str:
        """Fetch until the line is whole or as whole as it can be; returns why it may not be whole."""
        assert self.place is not None
        held, wanted = self._held, self.place + 1
        pages = empty = 0
        why = ""
        while True:
            while wanted in held or wanted in fetched:
                wanted += 1
            newest = max(held, default=None)
            if newest is not None and wanted > newest:
                return why
            if fetch is None:
                return "there is no archive to ask for them"
            if pages >= most_pages:
                return f"they are too many: {pages * PAGE:,} were asked for"
            if newest is not None:
                # The nearer past is worth more than the farther one.
                wanted = max(wanted, newest - (most_pages - pages) * PAGE)
            page = await fetch(self.symbol, wanted)
            if page:
                pages += 1
                fetched.update(page)
                if page[0][0] > wanted:
                    why, wanted = _NOT_THERE, page[0][0]
                if newest is None and not held and len(page) < PAGE:
                    return why
            elif newest is None:
                return why
            else:
                empty += 1
                if empty >= _EMPTY_TRIES:
                    return "the provider does not have them"
                await asyncio.sleep(_EMPTY_WAIT_S)

    def _release(self, fetched: dict[int, Numbered], why: str, received_ns: int) -> Mended:
        assert self.place is not None
        mended = Mended([], 0, 0)
        # One that came by the stream has its own receipt; what was fetched is known only now.
        everything = {**fetched, **self._held}
        for place in sorted(place for place in everything if place > self.place):
            event = everything[place]
            missing = place - self.place - 1
            # A bar that its provider does not have is a time in which nothing was traded.
            if missing and not (type(event) is Bar and why == _NOT_THERE):
                mended.missing += missing
                reason = f"{missing:,} from number {self.place + 1} on were not received, and {why}"
                mended.events.append(Gap(self.symbol, self.time_ns, event.time_ns, received_ns, missing, reason))
            if place not in self._held:
                mended.filled += 1
            if type(event) is Tick:
                # Nobody knew of it before now, whenever it came in.
                event = msgspec.structs.replace(event, received_ns=received_ns)
            mended.events.append(event)
            self.place, self.time_ns = place, event.time_ns
        if self._held_quote is not None:
            mended.events.append(msgspec.structs.replace(self._held_quote, received_ns=received_ns))
        self.is_holding = False
        self._held = {}
        self._held_quote = None
        return mended
