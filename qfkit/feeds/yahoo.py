"""Yahoo Finance, live and with no key: the last prices of shares, indices, currencies and crypto pairs."""

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Iterable
from typing import Any, ClassVar

from picows.websockets.asyncio.client import ClientConnection

from qfkit.core.events import Gap, MarketEvent, Tick
from qfkit.errors import FeedError, MalformedFrameError, ParameterError, SymbolError
from qfkit.feeds.calendars import is_open
from qfkit.feeds.connection import CONNECT_ERRORS, Refusal, close_websocket, open_websocket, provider_url
from qfkit.feeds.link import Link, LinkSettings
from qfkit.feeds.sockets import SocketFeed
from qfkit.feeds.symbol_lists import listed_symbols
from qfkit.feeds.yahoo_facts import ShareFacts
from qfkit.feeds.yahoo_frames import Pricing, parse_frame
from qfkit.feeds.yahoo_polling import Polling
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
_ACTION_DAYS = 7
_REST_VARIABLE = "QFKIT_YAHOO_REST_URL"


class YahooFeed(SocketFeed):
    """The last prices of Yahoo's symbols, such as "AAPL", "VOD.L", "^GSPC", "JPY=X" or "BTC-USD", as ticks.

    A tick is a snapshot, about one a second at best, not a trade: its ``size`` is what traded since
    the snapshot before, NaN for crypto pairs and before the second one. A last known price, from
    before it was asked for or more than a minute old, is flagged "stale": it is shown and never
    traded on. So are all prices of exchanges that Yahoo has a quarter of an hour late.

    - While the stream cannot be had, last prices are asked for one after the other, ``poll_every_s``
      apart at least; their ticks have the source "yahoo poll". It returns to the stream by itself.
    - What was missed while a connection was down cannot be fetched: it is told by a
      :class:`~qfkit.core.events.Gap`, and its volume is in the size of the next tick.
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
        self._polling: Polling | None = None
        self._unknown: set[str] = set()
        self._down: set[str] = set()

    def recipe(self) -> dict[str, Any]:
        given = {name: value for name, value in self._given.items() if value is not None}
        return {"class": "YahooFeed", "arguments": {"symbols": list(self.symbols), **given}}

    def history_source(self) -> YahooRest | None:
        """Where the bars before the first of this feed come from; None with a server of one's own and no ``rest_url``."""
        return None if self._rest is None else YahooRest(self._rest.url)

    @property
    def is_polling(self) -> bool:
        """Whether last prices are asked for, because the stream cannot be had."""
        return self._polling is not None and bool(self._polling.links)

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
        self._down.clear()
        self.label = self._plain_label
        self._polling = None if self._rest is None else Polling(self, self._rest, self._poll_every_s)
        return super()._batches()

    async def _prepare(self) -> list[MarketEvent]:
        # In a thread, because a calendar takes a second to make.
        hours = await asyncio.to_thread(self._facts.hours, self.symbols, self.now_ns())
        self._spawn(self._keep_subscribed(), f"subscriptions of {self.label}")
        self._spawn(self._attend(), f"hours, splits and dividends of {self.label}")
        if self._polling is not None:
            self._spawn(self._polling.run(), f"polling of {self.label}")
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
        # One that was unsubscribed may have been under way.
        if pricing.symbol in self.symbols:
            self._give(pricing, None)
        return True

    def _give(self, pricing: Pricing, source: str | None) -> None:
        symbol = pricing.symbol
        last_ns = self._snapshots.time_ns(symbol)
        tick = self._snapshots.tick(pricing, pricing.received_ns + self._clock.offset_ns, source)
        # A last price that was asked for may well be known.
        if tick == "duplicate":
            self.ledger[symbol].duplicates += source is None
            if source is None:
                self._down.discard(symbol)
        elif tick == "late":
            self.ledger[symbol].late += source is None
        else:
            if symbol in self._down and last_ns is not None:
                self._tell_gap(symbol, last_ns, tick)
            self._down.discard(symbol)
            self._put(tick)
            quote = quote_of(pricing)
            if quote is not None:
                self._put(quote)

    def _lost(self, link: Link) -> None:
        self._down.update(symbol for symbol in link.symbols if self._snapshots.time_ns(symbol) is not None)

    def _tell_gap(self, symbol: str, last_ns: int, tick: Tick) -> None:
        """What was traded without a connection is in the next tick's size and its prices are nowhere."""
        self._count_gap(symbol)
        reason = "the connection was down, and Yahoo keeps no snapshots"
        self._put(Gap(symbol, last_ns, tick.time_ns, tick.received_ns, None, reason))

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

    # -- without a stream ----------------------------------------------------------------------

    def _unreached(self, link: Link, refusal: Refusal) -> None:
        if self._polling is None:
            super()._unreached(link, refusal)
        else:
            self._polling.refused(link, refusal.reason)

    def _turned(self, link: Link) -> None:
        if self._polling is None or not self._polling.serves(link):
            super()._turned(link)
        else:
            self._settle()
        if self._polling is not None and link.state == "live":
            self._polling.release(link)

    def _settle(self) -> None:
        """The feed's state is that of its worst link; one in whose place last prices come is live."""
        if self._is_ending:
            return
        polling = self._polling
        states = {"live" if polling is not None and polling.serves(link) else link.state for link in self._links}
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
    symbols = listed_symbols(given, "Yahoo's symbols", "YahooFeed", '["AAPL", "BTC-USD"]')
    for symbol in symbols:
        if not re.fullmatch(r"\^?[A-Z0-9][A-Z0-9.&=_-]{0,38}", symbol):
            raise SymbolError(
                f'{symbol!r} is not how Yahoo writes a symbol: shares are as "AAPL" or "VOD.L", crypto pairs as '
                '"BTC-USD", currencies as "JPY=X", indices as "^GSPC"'
            )
        if re.fullmatch(r"USD[A-Z]{3}=X", symbol):
            _logger.warning("Yahoo's stream is silent on %s: it calls that %s", symbol, symbol.removeprefix("USD"))
    return symbols
