"""Binance spot, live and with no key: trades, the best bid and ask, and the best levels of the book of any pair."""

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Iterable
from functools import partial
from itertools import count
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from picows.websockets.asyncio.client import ClientConnection

from qfkit.core.events import Bar, Depth, Gap, MarketEvent, Quote
from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import FeedError, MalformedFrameError, ParameterError, SymbolError
from qfkit.feeds.binance_frames import CaptureParser, decode_frame, is_shutdown_notice, parse_frame, parse_reply
from qfkit.feeds.binance_pairs import pairs_of
from qfkit.feeds.binance_rest import BinanceRest, TradeKind
from qfkit.feeds.connection import CONNECT_ERRORS, check_url, close_websocket, open_websocket, provider_url
from qfkit.feeds.continuity import Line, Numbered
from qfkit.feeds.link import Link, LinkSettings
from qfkit.feeds.sockets import SocketFeed
from qfkit.frames import merge

__all__ = ["BINANCE_STREAM_URL", "BinanceFeed", "BinanceWebSocket", "CaptureParser", "parse_frame", "probe"]

BINANCE_STREAM_URL = "wss://data-stream.binance.vision"

_logger = logging.getLogger("qfkit.feeds.binance")

# A pair may be silent for minutes; this one never is. It comes once a second and tells a dead link from a quiet market.
_CANARY = "btcusdt@miniTicker"
_STREAMS_PER_CONNECTION = 1_024
_STREAMS_IN_URL = 50
_STREAMS_A_MESSAGE = 200
# Binance ends a connection that sends more than five messages a second, and answers to its pings count.
_SENDS_PER_S = 4
_LONGEST_S = 23 * 3_600.0  # Binance cuts a connection after 24 hours
_REPLY_TIMEOUT_S = 5.0
_MOST_BACKFILL_PAGES = 20
# After a reconnection all symbols ask at once, and a client's pool has no room for a thousand requests.
_FETCHES_AT_ONCE = 8
# A number so far ahead is none: the busiest pair needs years to get there.
_FARTHEST = 1_000_000_000
# An unchanged book comes ten times a second; given once a second it is known to be still there.
_SAME_DEPTH_NS = 1_000_000_000
_REST_VARIABLE = "QFKIT_BINANCE_REST_URL"


class BinanceFeed(SocketFeed):
    """Trades, and with ``quotes`` the best bid and ask, of Binance pairs such as "BTCUSDT".

    - ``trades``: "aggregate" (one for the trades of one order at one price and time) or "single".
      Trades that were missed are fetched and given in their order before newer ones; what cannot
      be fetched is told by one :class:`~qfkit.core.events.Gap`.
    - ``bars``: a timeframe such as "1m" takes Binance's own closed bars instead of trades.
    - ``depth``: 5, 10 or 20 gives the best levels of the book too, ten times a second, so that market
      orders walk them.
    - ``stream_url``, ``rest_url``: another server; else QFKIT_BINANCE_STREAM_URL and
      QFKIT_BINANCE_REST_URL, else Binance's own. With a stream of your own and no ``rest_url``
      nothing is asked by REST: symbols are not checked, and holes become gaps.
    - ``attempts_per_5_min``: no more connections are asked for, by each of the feed's connections.
      Binance bans an address at 300.

    A quote and a depth bear the time of their receipt, for Binance sends none with it.
    """

    name = "binance"
    unreachable_fix: ClassVar[str] = (
        "check the network, a proxy or firewall, or whether Binance serves your country; without a network take "
        "`--feed sample` on the command line, qf.feeds.sample('AAPL') or qf.ReplayFeed(data) in code"
    )

    def __init__(
        self,
        symbols: Iterable[str],
        *,
        trades: TradeKind = "aggregate",
        quotes: bool = True,
        bars: str | None = None,
        depth: Literal[5, 10, 20] | None = None,
        stream_url: str | None = None,
        rest_url: str | None = None,
        connect_timeout_s: float = 10.0,
        stale_after_s: float = 15.0,
        symbol_stale_after_s: float = 120.0,
        longest_s: float = _LONGEST_S,
        backoff_s: float = 1.0,
        longest_backoff_s: float = 60.0,
        attempts_per_5_min: int = 10,
        streams_per_connection: int = _STREAMS_PER_CONNECTION,
        most_backfill_pages: int = _MOST_BACKFILL_PAGES,
    ) -> None:
        if trades not in ("aggregate", "single"):
            raise ParameterError(f'trades={trades!r}: "aggregate" or "single"')
        if depth not in (None, 5, 10, 20):
            raise ParameterError(f"depth={depth!r}: 5, 10 or 20 levels a side, or None for none")
        self._url = provider_url(stream_url, "QFKIT_BINANCE_STREAM_URL", BINANCE_STREAM_URL, ("wss", "ws"))
        where = "live" if self._url == BINANCE_STREAM_URL else self._url
        settings = LinkSettings(
            connect_timeout_s=connect_timeout_s,
            stale_after_s=stale_after_s,
            longest_s=longest_s,
            backoff_s=backoff_s,
            longest_backoff_s=longest_backoff_s,
            sends_per_s=_SENDS_PER_S,
            attempts_per_5_min=attempts_per_5_min,
        )
        super().__init__(
            pairs_of(symbols), label=f"Binance {where}", settings=settings, symbol_stale_after_s=symbol_stale_after_s
        )
        if bars is not None:
            self._bar_ns = timeframe_ns(bars)
            self.timeframe = bars
        self._trades: TradeKind = trades
        kinds = [f"kline_{bars}" if bars is not None else "aggTrade" if trades == "aggregate" else "trade"]
        kinds += ["bookTicker"] if quotes else []
        kinds += [f"depth{depth}@100ms"] if depth is not None else []
        self._kinds = tuple(kinds)
        self.symbols_per_link = max(1, (streams_per_connection - 1) // len(self._kinds))
        self._most_backfill_pages = most_backfill_pages
        self._given = {
            "trades": trades,
            "quotes": quotes,
            "bars": bars,
            "depth": depth,
            "stream_url": None if self._url == BINANCE_STREAM_URL else self._url,
            "rest_url": rest_url,
        }
        has_rest = self._url == BINANCE_STREAM_URL or rest_url is not None or bool(os.environ.get(_REST_VARIABLE))
        self._rest = BinanceRest(rest_url) if has_rest else None
        self._lines: dict[str, Line] = {}
        self._updates: dict[str, int] = {}
        self._depth_updates: dict[str, tuple[int, int]] = {}
        self._interrupted: set[str] = set()
        self._fetching = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self._replies: dict[int, tuple[Link, asyncio.Future[None]]] = {}
        self._numbers = count(1)

    def recipe(self) -> dict[str, Any]:
        given = {name: value for name, value in self._given.items() if value is not None}
        return {"class": "BinanceFeed", "arguments": {"symbols": list(self.symbols), **given}}

    def history_source(self) -> BinanceRest | None:
        """Where the bars before the first of this feed come from; None with a server of one's own and no ``rest_url``."""
        return None if self._rest is None else BinanceRest(self._rest.url)

    def _names(self, symbols: Iterable[str]) -> list[str]:
        return pairs_of(symbols)

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        self._lines.clear()
        self._updates.clear()
        self._depth_updates.clear()
        self._interrupted.clear()
        self._fetching = asyncio.Semaphore(_FETCHES_AT_ONCE)
        batches = super()._batches()
        try:
            async for batch in batches:
                yield batch
        finally:
            await batches.aclose()  # type: ignore[attr-defined]
            self._answer_all(None)
            if self._rest is not None:
                await self._rest.close()

    async def _prepare(self) -> list[MarketEvent]:
        return await self._instruments(self.symbols)

    async def _instruments(self, symbols: tuple[str, ...]) -> list[MarketEvent]:
        if self._rest is None:
            return []
        try:
            return [*await self._rest.instruments(symbols, self.now_ns())]
        except SymbolError:
            raise
        except FeedError as error:
            _logger.warning(
                "Binance: the symbols could not be checked at %s (%s); one that does not exist stays silent",
                self._rest.url,
                error,
            )
            return []

    # -- subscriptions -------------------------------------------------------------------------

    def _streams(self, symbols: Iterable[str]) -> list[str]:
        return [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in self._kinds]

    def _address(self, link: Link) -> str:
        streams = [*self._streams(link.symbols), _CANARY]
        if len(streams) > _STREAMS_IN_URL:
            return f"{self._url}/stream"
        return f"{self._url}/stream?streams={'/'.join(quote(stream, safe='@') for stream in streams)}"

    async def _greet(self, link: Link, connection: ClientConnection) -> None:
        streams = [*self._streams(link.symbols), _CANARY]
        if len(streams) > _STREAMS_IN_URL:
            for first in range(0, len(streams), _STREAMS_A_MESSAGE):
                await link.send(_message("SUBSCRIBE", streams[first : first + _STREAMS_A_MESSAGE], 0), connection)

    async def subscribe(self, symbols: Iterable[str] | str) -> None:
        names = self._names([symbols] if isinstance(symbols, str) else symbols)
        added = tuple(name for name in dict.fromkeys(names) if name not in self.symbols)
        if added and self._is_open and self._rest is not None:
            for instrument in await self._instruments(added):
                self._inbox.put(instrument)
        try:
            await super().subscribe(added)
        except FeedError:
            await self.unsubscribe(added)
            raise

    async def _follow(self, link: Link, symbols: tuple[str, ...]) -> None:
        await self._ask(link, "SUBSCRIBE", symbols)

    async def _unfollow(self, link: Link, symbols: tuple[str, ...]) -> None:
        await self._ask(link, "UNSUBSCRIBE", symbols)
        for symbol in symbols:
            self._lines.pop(symbol, None)

    async def _refresh(self, link: Link, symbol: str) -> None:
        await link.send(_message("SUBSCRIBE", self._streams([symbol]), 0))

    async def _ask(self, link: Link, method: str, symbols: tuple[str, ...]) -> None:
        """Send a message and have its answer; without a connection the next one greets with all symbols anyway."""
        if not link.is_open:
            return
        streams = self._streams(symbols)
        for first in range(0, len(streams), _STREAMS_A_MESSAGE):
            number = next(self._numbers)
            reply = asyncio.get_running_loop().create_future()
            self._replies[number] = (link, reply)
            try:
                await link.send(_message(method, streams[first : first + _STREAMS_A_MESSAGE], number))
                async with asyncio.timeout(_REPLY_TIMEOUT_S):
                    await reply
            except TimeoutError:
                _logger.warning("Binance: no answer to %s of %s; it is asked for again", method, ", ".join(symbols))
                link.renew()
            finally:
                self._replies.pop(number, None)

    # -- frames --------------------------------------------------------------------------------

    def _take(self, link: Link, payload: bytes, received_ns: int) -> bool:
        try:
            event, number = decode_frame(payload, received_ns)
        except MalformedFrameError:
            if self._replies:
                self._take_other(link, payload)
            raise
        if event is None:
            return self._take_other(link, payload)
        symbol = event.symbol
        line = self._lines.get(symbol)
        if line is None:
            if symbol not in self.symbols:
                if symbol in self.ledger:
                    # It was given up, and these were on their way.
                    return True
                raise MalformedFrameError(f"{symbol} was not asked for")
            line = self._lines[symbol] = Line(symbol)
        if isinstance(event, Quote):
            if number and number <= self._updates.get(symbol, 0):
                self.ledger[symbol].duplicates += 1
            else:
                self._updates[symbol] = number
                if line.is_holding:
                    line.hold_quote(event)
                else:
                    self._put(event)
            return True
        if isinstance(event, Depth):
            last, given_ns = self._depth_updates.get(symbol, (-1, 0))
            if number < last or (number == last and received_ns - given_ns < _SAME_DEPTH_NS):
                return True
            self._depth_updates[symbol] = number, received_ns
            # While trades are being fetched the next one is near.
            if not line.is_holding:
                self._put(event)
            return True
        if self.timeframe is not None:
            if not isinstance(event, Bar) or event.timeframe != self.timeframe:
                raise MalformedFrameError(f"no such data of {symbol} were asked for: {event!r}")
            number = event.open_ns // self._bar_ns
        elif isinstance(event, Bar):
            raise MalformedFrameError(f"no bars of {symbol} were asked for")
        if self._interrupted:
            # Whatever came before this one is there, or will be found missing.
            self._interrupted.discard(symbol)
        if not line.is_holding:
            goes = line.accept(number, event)
            if goes:
                self._put(event)
                return True
            if goes is None:
                gap = line.begin_anew(number, event, received_ns)
                if gap is None:
                    self.ledger[symbol].duplicates += 1
                else:
                    self._tell_gap(gap)
                    self._put(event)
                return True
            if number - (line.place or 0) > _FARTHEST:
                raise MalformedFrameError(f"{symbol} cannot have come from number {line.place} to {number}")
            self._mend(line)
        if not line.hold(number, event):
            self.ledger[symbol].duplicates += 1
        return True

    def _take_other(self, link: Link, payload: bytes) -> bool:
        """A frame without an event: the canary, a notice of the end, a reply."""
        reply = parse_reply(payload)
        if reply is None:
            if is_shutdown_notice(payload):
                link.renew()
            return True
        _, waiting = self._replies.get(reply.id, (link, None)) if isinstance(reply.id, int) else (link, None)
        if waiting is not None and not waiting.done():
            if reply.msg:
                waiting.set_exception(FeedError(f"Binance refuses the subscription ({reply.code}: {reply.msg})"))
            else:
                waiting.set_result(None)
        return False

    def _symbol_of(self, payload: bytes) -> str | None:
        named = re.match(rb'\{"stream":"(\w{2,40})@', payload)
        symbol = named[1].decode("ascii", "replace").upper() if named else None
        return symbol if symbol in self.symbols else None

    # -- what is missing -----------------------------------------------------------------------

    def _lost(self, link: Link) -> None:
        self._interrupted.update(link.symbols)
        # The next connection asks for all of its symbols anyway.
        self._answer_all(link)

    def _answer_all(self, link: Link | None) -> None:
        """No answer will come to what was asked on a link, or on any: nobody waits for it."""
        for asked_on, reply in self._replies.values():
            if (link is None or asked_on is link) and not reply.done():
                reply.set_result(None)

    def _connected(self, link: Link) -> None:
        super()._connected(link)
        for symbol in link.symbols:
            line = self._lines.get(symbol)
            if symbol in self._interrupted and line is not None and line.place is not None and not line.is_holding:
                # What was traded meanwhile, also of a symbol that trades seldom.
                self._mend_by_archive(line)

    def _tell_gap(self, gap: Gap) -> None:
        self._count_gap(gap.symbol)
        self._put(gap)

    def _mend_by_archive(self, line: Line) -> None:
        if self._rest is not None:
            self._mend(line)

    def _mend(self, line: Line) -> None:
        self._interrupted.discard(line.symbol)
        line.is_holding = True
        self._spawn(self._mended(line), f"mending of {line.symbol}")

    async def _mended(self, line: Line) -> None:
        symbol, ledger = line.symbol, self.ledger[line.symbol]
        self._turn_backfilling(symbol, is_on=True)
        fetch = None if self._rest is None else partial(self._fetch, self._rest)
        mended = await line.mend(fetch, self._most_backfill_pages, self.now_ns)
        present = self._lines.get(symbol)
        if present is not line:
            # Unsubscribed meanwhile, and perhaps subscribed anew.
            if present is None or not present.is_holding:
                self._turn_backfilling(symbol, is_on=False)
            return
        if mended.missing:
            self._count_gap(symbol)
            ledger.missing += mended.missing
        elif mended.filled:
            ledger.gaps_found += 1
            ledger.gaps_filled += 1
        for event in mended.events:
            self._put(event)
        self._turn_backfilling(symbol, is_on=False)
        link = self._link_of.get(symbol)
        if symbol in self._interrupted and link is not None and link.state == "live":
            # The connection was lost and made again while this was being mended.
            self._mend_by_archive(line)

    async def _fetch(self, rest: BinanceRest, symbol: str, place: int) -> list[tuple[int, Numbered]]:
        async with self._fetching:
            return await self._page(rest, symbol, place)

    async def _page(self, rest: BinanceRest, symbol: str, place: int) -> list[tuple[int, Numbered]]:
        now_ns = self.now_ns()
        if self.timeframe is None:
            ticks = await rest.trades(symbol, place, kind=self._trades, received_ns=now_ns)
            numbered = [(tick.trade_id, tick) for tick in ticks if tick.trade_id is not None]
            return [(number, tick) for number, tick in numbered if place <= number < place + _FARTHEST]
        found: list[tuple[int, Numbered]] = []
        async for page in rest.bars(symbol, self.timeframe, place * self._bar_ns, now_ns):
            over_ns = now_ns + self._clock.offset_ns
            found += [(bar.open_ns // self._bar_ns, bar) for bar in merge({symbol: page}) if bar.close_ns <= over_ns]
            break
        return found


BinanceWebSocket = BinanceFeed


async def probe(url: str | None = None, timeout_s: float = 3.0) -> bool:
    """Whether Binance can be reached and sends data, found out within the time."""
    base = provider_url(url, "QFKIT_BINANCE_STREAM_URL", BINANCE_STREAM_URL, ("wss", "ws"))
    address = f"{check_url(base, ('wss', 'ws'))}/stream?streams=btcusdt@bookTicker"
    try:
        async with asyncio.timeout(timeout_s):
            connection = await open_websocket(address, timeout_s)
            try:
                while parse_frame(await connection.recv(decode=False), 0) is None:
                    pass
            finally:
                await close_websocket(connection)
    except (*CONNECT_ERRORS, MalformedFrameError) as error:
        _logger.info("Binance cannot be reached at %s (%s: %s)", base, type(error).__name__, error)
        return False
    return True


def _message(method: str, streams: list[str], number: int) -> str:
    return json.dumps({"method": method, "params": streams, "id": number}, separators=(",", ":"), ensure_ascii=False)
