"""In place of Yahoo's stream while it cannot be had: last prices, asked for one after the other."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import msgspec

from qfkit.errors import ConnectionFailedError, FeedError, RateLimitError, SymbolError
from qfkit.feeds.link import Link
from qfkit.feeds.yahoo_frames import Pricing
from qfkit.feeds.yahoo_rest import YahooRest

if TYPE_CHECKING:
    from qfkit.feeds.yahoo import YahooFeed

__all__ = ["POLL_SOURCE", "Polling"]

POLL_SOURCE = "yahoo poll"
"""The ``source`` of ticks that were asked for."""

_logger = logging.getLogger("qfkit.feeds.yahoo")

_LOOK_S = 0.25
_ENOUGH_FAILURES = 3
_LONGEST_WAIT_S = 60.0


class Polling:
    """Steps in for the links of a feed that could not be had at first, failed too often or had no data for long.

    The links go on trying by themselves, and one that is live again is polled no more.
    """

    def __init__(self, feed: "YahooFeed", rest: YahooRest, every_s: float) -> None:
        self.links: tuple[Link, ...] = ()
        """The links in whose place last prices are asked for."""
        self._feed = feed
        self._rest = rest
        self._every_s = every_s
        self._is_well = False
        self._plain_label = feed.label
        self._plain_grace_ns = feed._clock._grace_ns
        self._refusals: dict[Link, str] = {}
        self._well_s: dict[Link, float] = {}

    def refused(self, link: Link, reason: str) -> None:
        """A link could not be had at first."""
        self._refusals[link] = reason

    def serves(self, link: Link) -> bool:
        """Whether last prices come in the place of a link."""
        return self._is_well and link in self.links and link.state != "live"

    def release(self, link: Link) -> None:
        """A link is live."""
        self._refusals.pop(link, None)
        self._turn(tuple(polled for polled in self.links if polled is not link))

    async def run(self) -> None:
        """Look after the links until cancelled; raises where neither stream nor last prices can be had from the start."""
        await self._feed._ready()
        failures = 0
        while True:
            self._turn(self._without_stream())
            wait_s = _LOOK_S
            if self.links:
                error = await self._round()
                failures = 0 if error is None else failures + 1
                if error is not None:
                    wait_s = max(min(self._every_s * 2**failures, _LONGEST_WAIT_S), _LOOK_S)
                    if isinstance(error, RateLimitError) and error.retry_after_s is not None:
                        wait_s = error.retry_after_s
                    _logger.warning("%s: no last prices (%s), asking again in %.0f s", self._feed.label, error, wait_s)
            end_s = time.monotonic() + wait_s
            while (left_s := end_s - time.monotonic()) > 0.0:
                await asyncio.sleep(min(left_s, _LOOK_S))
                if self.links and self._without_stream() != self.links:
                    break

    def _without_stream(self) -> tuple[Link, ...]:
        now_s = time.monotonic()
        found = []
        for link in self._feed._links:
            if link.state == "live":
                self._well_s[link] = now_s
            elif (
                link in self._refusals
                or link.failures >= _ENOUGH_FAILURES
                or now_s - self._well_s.setdefault(link, now_s) > self._feed._settings.connect_timeout_s
            ):
                found.append(link)
        return tuple(found)

    def _turn(self, links: tuple[Link, ...]) -> None:
        """Poll for these links, and for no others any more."""
        feed = self._feed
        if links == self.links:
            return
        if links and not self.links:
            _logger.warning(
                "%s: the stream cannot be had, so last prices are asked for, one in %g s", feed.label, self._every_s
            )
        elif not links:
            _logger.info("%s: the stream is back", self._plain_label)
            self._is_well = False
        polled = [symbol for link in links for symbol in link.symbols]
        for symbol, ledger in feed.ledger.items():
            ledger.source = POLL_SOURCE if symbol in polled else feed.name
        feed.label = f"{self._plain_label} (polling)" if links else self._plain_label
        # A price may be a whole round old, and heartbeats must not close its bar before it comes.
        feed._clock._grace_ns = self._plain_grace_ns + round(2e9 * self._every_s * len(polled))
        self.links = links
        feed._settle()

    async def _round(self) -> FeedError | None:
        """Ask for the price of each symbol that is due; the error if there was not one."""
        feed = self._feed
        prices = 0
        error: FeedError | None = None
        for link in self.links:
            for symbol in link.symbols:
                if link.state == "live" or symbol in feed._unknown:
                    continue
                if feed._snapshots.time_ns(symbol) is not None and feed._is_quiet(symbol):
                    continue
                try:
                    pricing = await self._rest.last_price(symbol)
                except SymbolError as unknown:
                    feed._not_there(symbol, unknown)
                    continue
                except (ConnectionFailedError, RateLimitError) as failure:
                    return None if prices else self._in_vain(failure)
                except FeedError as failure:
                    error = failure
                    feed.reject(feed.now_ns(), str(failure), symbol, symbol=symbol, reason="no last price")
                    continue
                prices += 1
                await feed._inbox.wait_for_room()
                self._take(symbol, pricing)
        return self._in_vain(error) if error is not None and not prices else None

    def _take(self, symbol: str, pricing: Pricing) -> None:
        feed = self._feed
        if symbol not in feed.symbols:
            return
        self._is_well = True
        feed._now_s = time.monotonic()
        if feed.ledger[symbol].state != "live":
            feed.ledger[symbol].turn("live", feed._now_s)
        feed._settle()
        feed._give(msgspec.structs.replace(pricing, received_ns=feed.now_ns()), POLL_SOURCE)

    def _in_vain(self, error: FeedError) -> FeedError:
        """No last prices either; raises where there never were any, for then the user should know."""
        feed = self._feed
        self._is_well = False
        for link in self.links:
            feed.ledger.turn(link.state, link.symbols)
        feed._settle()
        if any(ledger.events for ledger in feed.ledger.values()):
            return error
        reason = next((self._refusals[link] for link in self.links if link in self._refusals), "no data")
        raise ConnectionFailedError(
            f"no connection to {self._plain_label} ({reason}), and no last prices either ({error}): "
            f"{feed.unreachable_fix}"
        ) from error
