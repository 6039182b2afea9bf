"""Yahoo Finance, live and with no key: the last prices of shares, funds, indices, currencies and crypto pairs."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable
from math import nan
from typing import Any, ClassVar

from websockets.asyncio.client import ClientConnection

from qfkit.core.events import Gap, MarketEvent, Quote, Tick
from qfkit.errors import SymbolError
from qfkit.feeds.calendars import hours_of, is_open
from qfkit.feeds.connection import CONNECT_ERRORS, close_websocket, open_websocket, provider_url
from qfkit.feeds.link import Link, LinkSettings
from qfkit.feeds.sockets import SocketFeed
from qfkit.feeds.yahoo_frames import CRYPTOCURRENCY, Pricing, parse_frame

__all__ = ["YAHOO_STREAM_URL", "YahooFeed", "YahooFinanceWebSocket", "probe"]

YAHOO_STREAM_URL = "wss://streamer.finance.yahoo.com"

_logger = logging.getLogger("qfkit.feeds.yahoo")

_VARIABLE = "QFKIT_YAHOO_STREAM_URL"
# Shares are silent outside their hours; this pair never is. It tells a dead link from a closed market.
_CANARY = "BTC-USD"
# A connection takes 100 symbols and drops the others without a word; one is the canary's.
_SYMBOLS_PER_LINK = 99
_RESUBSCRIBE_S = 15.0
_HOURS_AGAIN_S = 6 * 3_600.0
# The first price after a subscription may be days old; one that is older than this is not of now.
_FRESH_NS = 60_000_000_000
_GRACE_S = 5.0


class YahooFeed(SocketFeed):
    """The last prices of symbols in Yahoo's spelling: "AAPL", "VOD.L", "^GSPC", "EURUSD=X", "BTC-USD".

    Yahoo sends snapshots, about one a second for a busy share, and not each trade: a tick's ``size`` is
    what the day's volume grew by since the one before, NaN where that is not known (as for crypto
    pairs). Times are whole seconds. The first price may be days old and is flagged "stale" then. What
    happened while the connection was down cannot be fetched and is told by a
    :class:`~qfkit.core.events.Gap`. A symbol that Yahoo does not have stays silent.

    ``stream_url``: another server; else QFKIT_YAHOO_STREAM_URL, else Yahoo's own. Shares know their
    market's hours, so orders wait for the open.
    """

    name = "yahoo"
    symbols_per_link = _SYMBOLS_PER_LINK
    unreachable_fix: ClassVar[str] = (
        "check the network, a proxy or a firewall; without a network take `--feed sample` on the command line, "
        "qf.feeds.sample('AAPL') or qf.ReplayFeed(data) in code"
    )

    def __init__(
        self,
        symbols: Iterable[str],
        *,
        stream_url: str | None = None,
        connect_timeout_s: float = 10.0,
        stale_after_s: float = 60.0,
        symbol_stale_after_s: float = 120.0,
        backoff_s: float = 1.0,
        resubscribe_every_s: float = _RESUBSCRIBE_S,
    ) -> None:
        self._url = provider_url(stream_url, _VARIABLE, YAHOO_STREAM_URL, ("wss", "ws"))
        where = "live" if self._url == YAHOO_STREAM_URL else self._url
        settings = LinkSettings(
            connect_timeout_s=connect_timeout_s, stale_after_s=stale_after_s, backoff_s=backoff_s, sends_per_s=10
        )
        super().__init__(
            _symbols(symbols),
            label=f"Yahoo {where}",
            settings=settings,
            symbol_stale_after_s=symbol_stale_after_s,
            grace_s=_GRACE_S,
        )
        self._resubscribe_every_s = resubscribe_every_s
        self._last: dict[str, Pricing] = {}
        self._down: set[str] = set()

    def recipe(self) -> dict[str, Any]:
        url = {} if self._url == YAHOO_STREAM_URL else {"stream_url": self._url}
        return {"class": "YahooFeed", "arguments": {"symbols": list(self.symbols), **url}}

    def _names(self, symbols: Iterable[str]) -> list[str]:
        return _symbols(symbols)

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        self._last.clear()
        self._down.clear()
        batches = super()._batches()
        try:
            async for batch in batches:
                yield batch
        finally:
            await batches.aclose()  # type: ignore[attr-defined]

    async def _prepare(self) -> list[MarketEvent]:
        self._spawn(self._resubscribe(), f"subscriptions of {self.label}")
        self._spawn(self._tell_hours(), f"hours of {self.label}")
        return self._hours(self.symbols)

    def _hours(self, symbols: Iterable[str]) -> list[MarketEvent]:
        now_ns = self.now_ns()
        found = [hours_of(symbol, now_ns) for symbol in symbols]
        return [hours for hours in found if hours is not None]

    async def _tell_hours(self) -> None:
        while True:
            await asyncio.sleep(_HOURS_AGAIN_S)
            for hours in self._hours(self.symbols):
                self._inbox.put(hours)

    def _is_quiet(self, symbol: str) -> bool:
        return not is_open(symbol, self.now_ns())

    # -- subscriptions -------------------------------------------------------------------------

    def _address(self, link: Link) -> str:
        return f"{self._url}/?version=2"

    async def _greet(self, link: Link, connection: ClientConnection) -> None:
        await link.send(_message("subscribe", dict.fromkeys((*link.symbols, _CANARY))), connection)

    async def subscribe(self, symbols: Iterable[str] | str) -> None:
        names = self._names([symbols] if isinstance(symbols, str) else symbols)
        if self._is_open:
            for hours in self._hours(name for name in names if name not in self.symbols):
                self._inbox.put(hours)
        await super().subscribe(names)

    async def _follow(self, link: Link, symbols: tuple[str, ...]) -> None:
        await link.send(_message("subscribe", symbols))

    async def _unfollow(self, link: Link, symbols: tuple[str, ...]) -> None:
        gone = [symbol for symbol in symbols if symbol != _CANARY]
        if gone:
            await link.send(_message("unsubscribe", gone))
        for symbol in symbols:
            self._last.pop(symbol, None)

    async def _refresh(self, link: Link, symbol: str) -> None:
        await link.send(_message("subscribe", [symbol]))

    async def _resubscribe(self) -> None:
        """Say all subscriptions again now and then, for a connection that is idle is closed after some minutes."""
        while True:
            await asyncio.sleep(self._resubscribe_every_s)
            for link in list(self._links):
                await link.send(_message("subscribe", dict.fromkeys((*link.symbols, _CANARY))))

    # -- frames --------------------------------------------------------------------------------

    def _take(self, link: Link, payload: bytes, received_ns: int) -> bool:
        pricing = parse_frame(payload, received_ns)
        if pricing is None:
            return False
        symbol = pricing.symbol
        if symbol not in self.symbols:
            # The canary; or one that was unsubscribed and was still under way.
            return True
        last, ledger = self._last.get(symbol), self.ledger[symbol]
        if last is not None:
            if pricing.time_ns < last.time_ns:
                ledger.late += 1
                return True
            if _key(pricing) == _key(last):
                ledger.duplicates += 1
                return True
        self._last[symbol] = pricing
        is_old = received_ns - pricing.time_ns > _FRESH_NS
        was_down = symbol in self._down
        if was_down and last is not None:
            self._tell_gap(last, pricing, received_ns)
        self._down.discard(symbol)
        flag = None
        if is_old and (last is None or was_down):
            flag = "stale" if last is None else "backfilled"
        self._put(
            Tick(symbol, pricing.price, _size(last, pricing), pricing.time_ns, received_ns, flag=flag)  # type: ignore[arg-type]
        )
        if pricing.bid is not None and pricing.ask is not None and flag is None:
            sizes = [nan if size is None else float(size) for size in (pricing.bid_size, pricing.ask_size)]
            self._put(Quote(symbol, pricing.bid, sizes[0], pricing.ask, sizes[1], pricing.time_ns, received_ns))
        return True

    def _lost(self, link: Link) -> None:
        self._down.update(symbol for symbol in link.symbols if symbol in self._last)

    def _tell_gap(self, last: Pricing, pricing: Pricing, received_ns: int) -> None:
        """The connection was down: what was traded meanwhile is in the day's volume and nowhere else."""
        ledger = self.ledger[pricing.symbol]
        ledger.gaps_found += 1
        ledger.gaps_open += 1
        self.gaps += 1
        reason = "the connection was down, and Yahoo has no archive of its snapshots"
        self._put(Gap(pricing.symbol, last.time_ns, pricing.time_ns, received_ns, None, reason))


YahooFinanceWebSocket = YahooFeed


def _key(pricing: Pricing) -> tuple[int, float, int | None]:
    return pricing.time_ns, pricing.price, pricing.day_volume


def _size(last: Pricing | None, pricing: Pricing) -> float:
    """What the day's volume grew by; 0 where a new day has begun, NaN where it cannot be told."""
    if last is None or last.day_volume is None or pricing.day_volume is None or pricing.quote_type == CRYPTOCURRENCY:
        return nan
    return float(max(0, pricing.day_volume - last.day_volume))


def _message(what: str, symbols: Iterable[str]) -> str:
    return json.dumps({what: list(symbols)}, separators=(",", ":"))


def _symbols(symbols: Iterable[str]) -> list[str]:
    given = [symbols] if isinstance(symbols, str) else list(symbols)
    if not given:
        raise SymbolError("no symbols: name at least one, as in qf.YahooFeed(['AAPL'])")
    names = []
    for symbol in given:
        name = symbol.strip().upper() if isinstance(symbol, str) else ""
        if not name or len(name) > 32 or any(character.isspace() or not character.isprintable() for character in name):
            raise SymbolError(f"{symbol!r} is no symbol: write it as Yahoo does, as in AAPL, VOD.L, ^GSPC or BTC-USD")
        names.append(name)
    return names


async def probe(url: str | None = None, timeout_s: float = 3.0) -> bool:
    """Whether Yahoo's stream can be reached and sends data, found out within the time."""
    base = provider_url(url, _VARIABLE, YAHOO_STREAM_URL, ("wss", "ws"))
    try:
        async with asyncio.timeout(timeout_s):
            connection = await open_websocket(f"{base}/?version=2", timeout_s)
            try:
                await connection.send(_message("subscribe", [_CANARY]))
                await connection.recv()
            finally:
                await close_websocket(connection)
    except CONNECT_ERRORS:
        return False
    return True
