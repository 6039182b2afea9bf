"""Yahoo Finance, live and with no key: the last prices of shares, indices, currencies and crypto pairs."""

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, ClassVar

import msgspec
from websockets.asyncio.client import ClientConnection

from qfkit.core.events import MarketEvent, Tick
from qfkit.errors import (
    ConnectionFailedError,
    FeedError,
    MalformedFrameError,
    ParameterError,
    RateLimitError,
    SymbolError,
)
from qfkit.feeds.calendars import is_open
from qfkit.feeds.connection import CONNECT_ERRORS, Refusal, close_websocket, open_websocket, provider_url
from qfkit.feeds.link import Link, LinkSettings
from qfkit.feeds.sockets import SocketFeed
from qfkit.feeds.yahoo_facts import ShareFacts
from qfkit.feeds.yahoo_frames import Pricing, parse_frame
from qfkit.feeds.yahoo_rest import YahooRest
from qfkit.feeds.yahoo_snapshots import Snapshots, quote_of

__all__ = ["YAHOO_STREAM_URL", "YahooFeed", "YahooFinanceWebSocket", "parse_frame", "probe"]

YAHOO_STREAM_URL = "wss://streamer.finance.yahoo.com"

_logger = logging.getLogger("qfkit.feeds.yahoo")

# Shares are silent for hours; this one speaks every few seconds, day and night. It tells a dead link from a closed market.
_CANARY = "BTC-USD"
# Yahoo leaves out what is more, without a word. The canary is one.
_SYMBOLS_A_CONNECTION = 100
_SUBSCRIBE_EVERY_S = 15.0
# The times are whole seconds, and a snapshot may be a second or two under way.
_GRACE_S = 3.0
_ATTEND_S = 15.0
_LOOK_S = 0.25
_ENOUGH_FAILURES = 3
_ACTION_DAYS = 7
_LONGEST_POLL_WAIT_S = 60.0
_POLL_SOURCE = "yahoo poll"
_REST_VARIABLE = "QFKIT_YAHOO_REST_URL"


class YahooFeed(SocketFeed):
    """The last prices of Yahoo's symbols, such as "AAPL", "VOD.L", "^GSPC", "JPY=X" or "BTC-USD", as ticks.

    A tick is a snapshot, about one a second at best, not a trade: its ``size`` is what traded since
    the snapshot before, NaN for crypto pairs and before the second one. A last known price, from
    before it was asked for or more than a minute old, is flagged "stale": it is shown and never
    traded on. So are all prices of exchanges that Yahoo has a quarter of an hour late.

    - While the stream cannot be had, last prices are asked for one after the other, ``poll_every_s``
      apart at least; their ticks have the source "yahoo poll". It returns to the stream by itself.
    - Market hours come as events, and splits and dividends at the open of their day.
    - ``stream_url``, ``rest_url``: another server; else QFKIT_YAHOO_STREAM_URL and
      QFKIT_YAHOO_REST_URL, else Yahoo's own. With a stream of your own and no ``rest_url`` nothing is
      asked by HTTP: there is no polling, and no word of splits and dividends.
    """

    name = "yahoo"
    symbols_per_link = _SYMBOLS_A_CONNECTION - 1
    unreachable_fix: ClassVar[str] = (
        "check the network, a proxy or firewall, or wait some minutes if Yahoo has had too many requests; without a "
        "network take `--feed sample` on the command line, qf.feeds.sample('AAPL') or qf.ReplayFeed(data) in code"
    )

    def __init__(
        self,
        symbols: Iterable[str],
        *,
        stream_url: str | None = None,
        rest_url: str | None = None,
        connect_timeout_s: float = 10.0,
        stale_after_s: float = 60.0,
        symbol_stale_after_s: float = 120.0,
        backoff_s: float = 1.0,
        poll_every_s: float = 2.0,
    ) -> None:
        if not poll_every_s > 0.0:
            raise ParameterError(
                f"poll_every_s={poll_every_s!r}: seconds above zero; Yahoo bears a request in two seconds"
            )
        self._url = provider_url(stream_url, "QFKIT_YAHOO_STREAM_URL", YAHOO_STREAM_URL, ("wss", "ws"))
        self._plain_label = f"Yahoo {'live' if self._url == YAHOO_STREAM_URL else self._url}"
        super().__init__(
            _symbols(symbols),
            label=self._plain_label,
            settings=LinkSettings(
                connect_timeout_s=connect_timeout_s, stale_after_s=stale_after_s, backoff_s=backoff_s
            ),
            symbol_stale_after_s=symbol_stale_after_s,
            grace_s=_GRACE_S,
        )
        self._given = {"stream_url": None if self._url == YAHOO_STREAM_URL else self._url, "rest_url": rest_url}
        has_rest = self._url == YAHOO_STREAM_URL or rest_url is not None or bool(os.environ.get(_REST_VARIABLE))
        self._poll_every_s = poll_every_s
        self._rest = YahooRest(rest_url, request_every_s=poll_every_s) if has_rest else None
        self._snapshots = Snapshots()
        self._facts = ShareFacts(0)
        self._unknown: set[str] = set()
        self._refusals: dict[Link, str] = {}
        self._well_s: dict[Link, float] = {}
        self._polled: tuple[Link, ...] = ()
        self._is_polling_well = False

    def recipe(self) -> dict[str, Any]:
        given = {name: value for name, value in self._given.items() if value is not None}
        return {"class": "YahooFeed", "arguments": {"symbols": list(self.symbols), **given}}

    def history_source(self) -> YahooRest | None:
        """Where the bars before the first of this feed come from; None with a server of one's own and no ``rest_url``."""
        return None if self._rest is None else YahooRest(self._rest.url)

    @property
    def is_polling(self) -> bool:
        """Whether last prices are asked for, because the stream cannot be had."""
        return bool(self._polled)

    def _names(self, symbols: Iterable[str]) -> list[str]:
        return _symbols(symbols)

    def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        began_ns = self.now_ns()
        self._snapshots = Snapshots()
        for symbol in self.symbols:
            self._snapshots.expect(symbol, began_ns)
            self.ledger[symbol].source = self.name
        self._facts = ShareFacts(began_ns)
        self._unknown.clear()
        self._refusals.clear()
        self._well_s.clear()
        self._polled, self._is_polling_well, self.label = (), False, self._plain_label
        return super()._batches()

    async def _prepare(self) -> list[MarketEvent]:
        # In a thread, because a calendar takes a second to make.
        hours = await asyncio.to_thread(self._facts.hours, self.symbols, self.now_ns())
        self._spawn(self._keep_subscribed(), f"subscriptions of {self.label}")
        self._spawn(self._attend(), f"hours, splits and dividends of {self.label}")
        if self._rest is not None:
            self._spawn(self._poll(self._rest), f"polling of {self.label}")
        return [*hours]

    # -- subscriptions -------------------------------------------------------------------------

    def _address(self, link: Link) -> str:
        return f"{self._url}/?version=2"

    async def _greet(self, link: Link, connection: ClientConnection) -> None:
        await link.send(_subscription(link), connection)

    async def subscribe(self, symbols: Iterable[str] | str) -> None:
        names = self._names([symbols] if isinstance(symbols, str) else symbols)
        added = tuple(name for name in dict.fromkeys(names) if name not in self.symbols)
        if added and self._is_open:
            for hours in await asyncio.to_thread(self._facts.hours, added, self.now_ns()):
                self._inbox.put(hours)
            for symbol in added:
                self._snapshots.expect(symbol, self.now_ns())
        await super().subscribe(added)

    async def _follow(self, link: Link, symbols: tuple[str, ...]) -> None:
        await link.send(_message("subscribe", symbols))

    async def _unfollow(self, link: Link, symbols: tuple[str, ...]) -> None:
        for symbol in symbols:
            self._snapshots.forget(symbol)
        gone = tuple(symbol for symbol in symbols if symbol != _CANARY)
        if gone:
            await link.send(_message("unsubscribe", gone))

    async def _refresh(self, link: Link, symbol: str) -> None:
        await link.send(_message("subscribe", (symbol,)))

    async def _keep_subscribed(self) -> None:
        """Yahoo's own page says again and again what it wants; a connection that never speaks may be cut."""
        while True:
            await asyncio.sleep(_SUBSCRIBE_EVERY_S)
            for link in list(self._links):
                await link.send(_subscription(link))

    # -- frames --------------------------------------------------------------------------------

    def _take(self, link: Link, payload: bytes, received_ns: int) -> bool:
        pricing = parse_frame(payload, received_ns)
        if pricing is None:
            return False
        if pricing.symbol == _CANARY:
            self._clock.observe(Tick(_CANARY, pricing.price, 0.0, pricing.time_ns, received_ns))
        if pricing.symbol in self.symbols:
            self._give(pricing, None)
        elif pricing.symbol != _CANARY:
            raise MalformedFrameError(f"{pricing.symbol} was not asked for")
        return True

    def _give(self, pricing: Pricing, source: str | None) -> None:
        tick = self._snapshots.tick(pricing, pricing.received_ns + self._clock.offset_ns, source)
        # A last price that was asked for may well be known.
        if tick == "duplicate":
            self.ledger[pricing.symbol].duplicates += source is None
        elif tick == "late":
            self.ledger[pricing.symbol].late += source is None
        else:
            self._put(tick)
            quote = quote_of(pricing)
            if quote is not None:
                self._put(quote)

    def _is_quiet(self, symbol: str) -> bool:
        return not is_open(symbol, self.now_ns())

    # -- hours, splits and dividends -----------------------------------------------------------

    async def _attend(self) -> None:
        while True:
            for hours in await asyncio.to_thread(self._facts.hours, self.symbols, self.now_ns()):
                self._inbox.put(hours)
            if self._rest is not None:
                for symbol in self._facts.to_ask(self.symbols, self.now_ns()):
                    await self._ask_actions(self._rest, symbol)
            await asyncio.sleep(_ATTEND_S)

    async def _ask_actions(self, rest: YahooRest, symbol: str) -> None:
        if symbol in self._unknown:
            return
        try:
            actions = await rest.actions(symbol, _ACTION_DAYS)
        except SymbolError as error:
            self._not_there(symbol, error)
        except FeedError as error:
            self._facts.failed(symbol, self.now_ns())
            _logger.warning("%s: no word of splits and dividends of %s (%s)", self.label, symbol, error)
        else:
            for action in self._facts.answered(symbol, actions, self.now_ns()):
                _logger.info("%s: %s splits %g for 1, pays %g", self.label, symbol, action.split, action.dividend)
                self._inbox.put(action)

    def _not_there(self, symbol: str, error: SymbolError) -> None:
        """A symbol that Yahoo does not have: told once, and asked for no more."""
        if symbol not in self._unknown:
            self._unknown.add(symbol)
            self.reject(self.now_ns(), str(error), symbol, symbol=symbol, reason="unknown symbol")
            _logger.warning("%s", error)
        if self._unknown.issuperset(self.symbols):
            raise error

    # -- polling -------------------------------------------------------------------------------

    def _unreached(self, link: Link, refusal: Refusal) -> None:
        if self._rest is None:
            super()._unreached(link, refusal)
        self._refusals[link] = refusal.reason

    def _without_stream(self) -> tuple[Link, ...]:
        """The links that could not be had at first, failed too often or have had no data for long."""
        now_s = time.monotonic()
        found = []
        for link in self._links:
            if link.state == "live":
                self._well_s[link] = now_s
                self._refusals.pop(link, None)
            elif (
                link in self._refusals
                or link.failures >= _ENOUGH_FAILURES
                or now_s - self._well_s.setdefault(link, now_s) > self._settings.connect_timeout_s
            ):
                found.append(link)
        return tuple(found)

    async def _poll(self, rest: YahooRest) -> None:
        """Ask for last prices for as long as a link has no stream."""
        await self._ready()
        failures = 0
        while True:
            self._turn_polling(self._without_stream())
            wait_s = _LOOK_S
            if self._polled:
                error = await self._poll_round(rest)
                failures = 0 if error is None else failures + 1
                if error is not None:
                    wait_s = max(min(self._poll_every_s * 2**failures, _LONGEST_POLL_WAIT_S), _LOOK_S)
                    if isinstance(error, RateLimitError) and error.retry_after_s is not None:
                        wait_s = error.retry_after_s
                    _logger.warning("%s: no last prices (%s), asking again in %.0f s", self.label, error, wait_s)
            end_s = time.monotonic() + wait_s
            while (left_s := end_s - time.monotonic()) > 0.0:
                await asyncio.sleep(min(left_s, _LOOK_S))
                if self._polled and self._without_stream() != self._polled:
                    break

    async def _poll_round(self, rest: YahooRest) -> FeedError | None:
        """Ask for the price of each symbol that is due; the error if there was not one."""
        prices = 0
        error: FeedError | None = None
        for link in self._polled:
            for symbol in link.symbols:
                if link.state == "live" or symbol in self._unknown:
                    continue
                if self._snapshots.is_known(symbol) and self._is_quiet(symbol):
                    continue
                try:
                    pricing = await rest.last_price(symbol)
                except SymbolError as unknown:
                    self._not_there(symbol, unknown)
                    continue
                except (ConnectionFailedError, RateLimitError) as failure:
                    return self._polled_in_vain(failure) if not prices else None
                except FeedError as failure:
                    error = failure
                    self.reject(self.now_ns(), str(failure), symbol, symbol=symbol, reason="no last price")
                    continue
                prices += 1
                await self._inbox.wait_for_room()
                self._take_polled(symbol, pricing)
        return self._polled_in_vain(error) if error is not None and not prices else None

    def _take_polled(self, symbol: str, pricing: Pricing) -> None:
        if symbol not in self.symbols:
            return
        self._is_polling_well = True
        self._now_s = time.monotonic()
        if self.ledger[symbol].state != "live":
            self.ledger[symbol].turn("live", self._now_s)
        self._settle()
        self._give(msgspec.structs.replace(pricing, received_ns=self.now_ns()), _POLL_SOURCE)

    def _polled_in_vain(self, error: FeedError) -> FeedError:
        """No prices by polling either; raises where there never were any, for then the user should know."""
        self._is_polling_well = False
        for link in self._polled:
            self.ledger.turn(link.state, link.symbols)
        self._settle()
        if any(ledger.events for ledger in self.ledger.values()):
            return error
        reason = next((self._refusals[link] for link in self._polled if link in self._refusals), "no data")
        raise ConnectionFailedError(
            f"no connection to {self._plain_label} ({reason}), and no last prices either ({error}): "
            f"{self.unreachable_fix}"
        ) from error

    def _turn_polling(self, links: tuple[Link, ...]) -> None:
        """Poll for these links, and for no others any more."""
        if links == self._polled:
            return
        if links and not self._polled:
            _logger.warning(
                "%s: the stream cannot be had, so last prices are asked for, one in %g s",
                self.label,
                self._poll_every_s,
            )
        elif not links:
            _logger.info("%s: the stream is back", self._plain_label)
            self._is_polling_well = False
        polled = [symbol for link in links for symbol in link.symbols]
        for symbol, ledger in self.ledger.items():
            ledger.source = _POLL_SOURCE if symbol in polled else self.name
        self.label = f"{self._plain_label} (polling)" if links else self._plain_label
        # A price may be a whole round old, and heartbeats must not close its bar before it comes.
        self._clock._grace_ns = round((_GRACE_S + 2 * self._poll_every_s * len(polled)) * 1e9)
        self._polled = links
        self._settle()

    def _turned(self, link: Link) -> None:
        if self._is_polling_well and link in self._polled and link.state != "live":
            self._settle()
        else:
            super()._turned(link)
            if link.state == "live":
                self._turn_polling(tuple(polled for polled in self._polled if polled is not link))

    def _settle(self) -> None:
        """The feed's state is that of its worst link; one that is polled well is live."""
        is_served = self._polled if self._is_polling_well else ()
        states = {"live" if link in is_served else link.state for link in self._links}
        self.state = next((state for state in ("connecting", "stale", "live") if state in states), "closed")


YahooFinanceWebSocket = YahooFeed


async def probe(url: str | None = None, timeout_s: float = 3.0) -> bool:
    """Whether Yahoo's stream can be reached and sends data, found out within the time."""
    base = provider_url(url, "QFKIT_YAHOO_STREAM_URL", YAHOO_STREAM_URL, ("wss", "ws"))
    try:
        async with asyncio.timeout(timeout_s):
            connection = await open_websocket(f"{base}/?version=2", timeout_s)
            try:
                await connection.send(_message("subscribe", (_CANARY,)))
                while parse_frame(await connection.recv(decode=False), 0) is None:
                    pass
            finally:
                await close_websocket(connection)
    except (*CONNECT_ERRORS, MalformedFrameError) as error:
        _logger.info("Yahoo cannot be reached at %s (%s: %s)", base, type(error).__name__, error)
        return False
    return True


def _message(method: str, symbols: Iterable[str]) -> str:
    return json.dumps({method: list(symbols)}, separators=(",", ":"))


def _subscription(link: Link) -> str:
    # The canary first, because what is too much is left out at the end.
    return _message("subscribe", dict.fromkeys((_CANARY, *link.symbols)))


def _symbols(given: Iterable[str]) -> list[str]:
    listed = [given] if isinstance(given, str) else list(given)
    for symbol in listed:
        if not isinstance(symbol, str):
            raise SymbolError(f'{symbol!r} is no symbol: write Yahoo\'s symbols as text, as in ["AAPL", "BTC-USD"]')
    symbols = list(dict.fromkeys(symbol.strip().upper() for symbol in listed))
    if not symbols:
        raise SymbolError('no symbols were given: name Yahoo\'s symbols, as in YahooFeed(["AAPL"])')
    for symbol in symbols:
        if not re.fullmatch(r"\^?[A-Z0-9][A-Z0-9.&=_-]{0,38}", symbol):
            raise SymbolError(
                f'{symbol!r} is not how Yahoo writes a symbol: shares are as "AAPL" or "VOD.L", crypto pairs as '
                '"BTC-USD", currencies as "JPY=X", indices as "^GSPC"'
            )
        if re.fullmatch(r"USD[A-Z]{3}=X", symbol):
            _logger.warning("Yahoo's stream is silent on %s: it calls that %s", symbol, symbol.removeprefix("USD"))
    return symbols
