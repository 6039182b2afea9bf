"""Binance spot, live and with no key: trades and the best bid and ask of any pair."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from qfkit.core.events import Gap, MarketEvent, Quote, Tick
from qfkit.errors import ConnectionFailedError, FeedError, MalformedFrameError, SymbolError, did_you_mean
from qfkit.feeds.base import Feed
from qfkit.feeds.binance_frames import CaptureParser, is_shutdown_notice, parse_frame
from qfkit.feeds.connection import (
    CONNECT_ERRORS,
    Backoff,
    Refusal,
    check_url,
    close_websocket,
    is_loopback,
    open_websocket,
)
from qfkit.feeds.exchange_time import ExchangeClock
from qfkit.feeds.inbox import Inbox

__all__ = ["BinanceFeed", "BinanceWebSocket", "CaptureParser", "parse_frame", "probe"]

_logger = logging.getLogger("qfkit.feeds.binance")

_URL = "wss://data-stream.binance.vision"
_REST_URL = "https://data-api.binance.vision"
# fmt: off
_COMMON = (
    "ADAUSDT", "AVAXUSDT", "BNBBTC", "BNBUSDT", "BTCEUR", "BTCFDUSD", "BTCTRY", "BTCUSDC", "BTCUSDT", "DOGEUSDT",
    "DOTUSDT", "ETHBTC", "ETHEUR", "ETHFDUSD", "ETHUSDC", "ETHUSDT", "LINKUSDT", "LTCUSDT", "SHIBUSDT", "SOLBTC",
    "SOLUSDC", "SOLUSDT", "SUIUSDT", "TRXUSDT", "USDCUSDT", "XRPUSDC", "XRPUSDT",
)
# fmt: on
# A pair may be silent for minutes; this one never is. It comes once a second and tells a dead link from a quiet market.
_CANARY = "btcusdt@miniTicker"
_MOST_SYMBOLS = 200
_RESET_AFTER_S = 30.0
_LONGEST_S = 23 * 3_600.0  # Binance cuts a connection after 24 hours
_REST_TIMEOUT_S = 5.0
_HEARTBEAT_S = 1.0
_LATE_S = 0.25
_BATCH = 4_096
_BAD_SYMBOL_CODES = (-1121, -1100)


class BinanceFeed(Feed):
    """Trades, and with ``quotes`` the best bid and ask, of Binance pairs such as "BTCUSDT".

    A quote bears the time of its receipt, for Binance sends none with it. A lost connection is
    made again; trades that were missed meanwhile are told by a :class:`~qfkit.core.events.Gap`.
    Pairs are checked at ``rest_url`` because the stream of an unknown one is merely silent; with a
    ``url`` of your own they are checked only if you give a ``rest_url`` too.
    """

    name = "binance"
    is_live = True

    def __init__(
        self,
        symbols: Iterable[str],
        *,
        quotes: bool = True,
        url: str = _URL,
        rest_url: str | None = None,
        connect_timeout_s: float = 10.0,
        stale_after_s: float = 15.0,
        backoff_s: float = 1.0,
    ) -> None:
        self._url = check_url(url, ("wss", "ws"))
        where = "live" if self._url == _URL else self._url
        super().__init__(_symbols(symbols), label=f"Binance {where}")
        self.duplicates = 0
        self._quotes = quotes
        self._given_rest_url = rest_url
        self._rest_url = _REST_URL if rest_url is None and self._url == _URL else rest_url
        if self._rest_url is not None:
            self._rest_url = check_url(self._rest_url, ("https", "http"))
        self._connect_timeout_s = connect_timeout_s
        self._stale_after_s = stale_after_s
        self._backoff = Backoff(backoff_s)
        self._clock = ExchangeClock()
        self._inbox: Inbox | None = None
        self._last_trades: dict[str, Tick] = {}

    @property
    def conflated(self) -> int:
        """How many quotes gave way to a newer one because the reader of this feed was slow."""
        return 0 if self._inbox is None else self._inbox.conflated

    def now_ns(self) -> int:
        return self._clock.now_ns()

    def recipe(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {"symbols": list(self.symbols), "quotes": self._quotes}
        if self._url != _URL:
            arguments["url"] = self._url
        if self._given_rest_url is not None:
            arguments["rest_url"] = self._given_rest_url
        return {"class": "BinanceFeed", "arguments": arguments}

    async def stop(self) -> None:
        await super().stop()
        if self._inbox is not None:
            self._inbox.wake.set()

    # -- the side of the taker ----------------------------------------------------------------

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        inbox = self._inbox = Inbox()
        self._last_trades.clear()
        reader = asyncio.create_task(self._run(inbox), name=f"reader of {self.label}")
        reader.add_done_callback(lambda _: inbox.wake.set())
        now_s = asyncio.get_running_loop().time
        beat_s = now_s() + _HEARTBEAT_S
        try:
            while not self._stopping.is_set():
                try:
                    async with asyncio.timeout_at(beat_s):
                        await inbox.wake.wait()
                except TimeoutError:
                    pass
                batch = inbox.take(_BATCH)
                if reader.done() and not batch:
                    await reader
                    return
                late_s = now_s() - beat_s
                if late_s >= 0.0:
                    beat_s = now_s() + _HEARTBEAT_S
                    # After a standstill of this loop, trades older than the beat still wait in the socket.
                    if late_s < _LATE_S and self.state == "live" and not inbox:
                        beat = self._clock.heartbeat(self.now_ns())
                        batch += [] if beat is None else [beat]
                if batch:
                    yield batch
        finally:
            await _end(reader)

    # -- the side of the reader ---------------------------------------------------------------

    async def _run(self, inbox: Inbox) -> None:
        check = asyncio.create_task(self._check_symbols(), name="check of the symbols")
        connection: ClientConnection | None = None
        try:
            connection = await self._connect_first()
            await check
            while True:
                is_planned = await self._read(connection, inbox)
                await close_websocket(connection)
                connection = await self._connect_again(is_planned=is_planned)
                self.reconnects += 1
        finally:
            await _end(check)
            if connection is not None:
                await close_websocket(connection)

    async def _connect(self, timeout_s: float) -> ClientConnection:
        kinds = ("trade", "bookTicker") if self._quotes else ("trade",)
        streams = [f"{quote(symbol.lower())}@{kind}" for symbol in self.symbols for kind in kinds]
        self.state = "connecting"
        self._backoff.attempt()
        connection = await open_websocket(f"{self._url}/stream?streams={'/'.join([*streams, _CANARY])}", timeout_s)
        self._clock.catch_up()
        return connection

    async def _connect_first(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._connect_timeout_s
        while True:
            try:
                return await self._connect(max(end_s - loop.time(), 0.01))
            except CONNECT_ERRORS as error:
                refusal = Refusal(error)
                wait_s = self._backoff.wait_s(refusal.wait_s)
                if refusal.is_final or loop.time() + wait_s >= end_s:
                    raise ConnectionFailedError(
                        f"no connection to Binance at {self._url} ({refusal.reason}): check the network, a proxy or "
                        "firewall, or whether Binance serves your country; without a network take `--feed sample` on "
                        "the command line, qf.feeds.sample('AAPL') or qf.ReplayFeed(data) in code"
                    ) from error
                await asyncio.sleep(wait_s)

    async def _connect_again(self, *, is_planned: bool) -> ClientConnection:
        self.state = "connecting"
        wait_s = self._backoff.budget_wait_s() if is_planned else self._backoff.wait_s()
        while True:
            if wait_s > 0.0:
                _logger.info("Binance: connecting again in %.1f s", wait_s)
                await asyncio.sleep(wait_s)
            try:
                return await self._connect(self._connect_timeout_s)
            except CONNECT_ERRORS as error:
                refusal = Refusal(error)
                wait_s = self._backoff.wait_s(refusal.wait_s)
                _logger.warning("Binance: no connection (%s), the next attempt in %.1f s", refusal.reason, wait_s)

    async def _read(self, connection: ClientConnection, inbox: Inbox) -> bool:
        """Read until the connection ends; true where Binance, or its limit of a day, asked for a new one."""
        now_s = asyncio.get_running_loop().time
        began_s = last_s = now_s()
        first_s: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(last_s + self._stale_after_s):
                    payload = await connection.recv(decode=False)
            except TimeoutError:
                self.state = "stale"
                _logger.warning("Binance: no data for %g s, connecting again", self._stale_after_s)
                return False
            except ConnectionClosed as error:
                # A polite close is a lost connection like any other: the stream has no end of its own.
                _logger.warning("Binance: the connection ended (%s)", error)
                return False
            received_ns = self.now_ns()
            try:
                event = parse_frame(payload, received_ns)
            except MalformedFrameError as error:
                self._reject(received_ns, str(error), payload)
                continue
            last_s = now_s()
            if first_s is None:
                first_s = last_s
                self.state = "live"
            is_proven = last_s - first_s >= _RESET_AFTER_S
            if is_proven:
                self._backoff.reset()
            if event is None:
                if is_shutdown_notice(payload) or last_s - began_s >= _LONGEST_S:
                    _logger.info("Binance closes this connection soon: connecting again")
                    return is_proven
            elif event.symbol not in self.symbols:
                self._reject(received_ns, f"{event.symbol} was not asked for", payload)
            elif type(event) is Quote:
                inbox.put(event)
            elif type(event) is Tick:
                self._put_trade(event, inbox)
            if inbox.is_full:
                await inbox.wait_for_room()
                last_s = now_s()

    def _put_trade(self, tick: Tick, inbox: Inbox) -> None:
        last = self._last_trades.get(tick.symbol)
        assert tick.trade_id is not None
        if last is not None and last.trade_id is not None:
            missing = tick.trade_id - last.trade_id - 1
            if missing < 0:
                self.duplicates += 1
                return
            if missing:
                self.gaps += 1
                reason = f"trades {last.trade_id + 1} to {tick.trade_id - 1} were not received"
                inbox.put(
                    Gap(tick.symbol, last.time_ns, tick.time_ns, tick.received_ns, missing=missing, reason=reason)
                )
        self._last_trades[tick.symbol] = tick
        self.lag_ms = self._clock.observe(tick)
        inbox.put(tick)

    def _reject(self, received_ns: int, error: str, payload: bytes) -> None:
        if not self.rejected_count:
            _logger.warning("Binance: %s; more of the kind are counted only", error)
        self.reject(received_ns, error, payload.decode("utf-8", "replace"))

    # -- symbols ------------------------------------------------------------------------------

    async def _check_symbols(self) -> None:
        if self._rest_url is None:
            return
        import httpx

        url = f"{self._rest_url}/api/v3/exchangeInfo"
        try:
            async with httpx.AsyncClient(timeout=_REST_TIMEOUT_S, trust_env=not is_loopback(url)) as client:
                code = await self._ask(client, url, self.symbols)
                if code not in _BAD_SYMBOL_CODES:
                    return
                # The answer does not say which one.
                bad = [
                    symbol
                    for symbol in self.symbols
                    if len(self.symbols) == 1 or await self._ask(client, url, (symbol,)) in _BAD_SYMBOL_CODES
                ]
        except (httpx.HTTPError, ImportError, OSError, ValueError) as error:
            _logger.warning(
                "Binance: the symbols could not be checked at %s (%s: %s); one that does not exist stays silent",
                self._rest_url,
                type(error).__name__,
                error,
            )
            return
        if bad:
            raise _unknown(bad)

    @staticmethod
    async def _ask(client: Any, url: str, symbols: tuple[str, ...]) -> int:
        """The error code of Binance's answer, 0 for none."""
        asked = json.dumps(symbols, separators=(",", ":"), ensure_ascii=False)
        response = await client.get(url, params={"symbols": asked})
        if response.status_code == 400:
            return int(response.json()["code"])
        response.raise_for_status()
        for entry in response.json()["symbols"]:
            if entry.get("status", "TRADING") != "TRADING":
                _logger.warning("Binance: %s does not trade at present (%s)", entry["symbol"], entry["status"])
        return 0


BinanceWebSocket = BinanceFeed


async def probe(url: str = _URL, timeout_s: float = 3.0) -> bool:
    """Whether Binance can be reached and sends data, found out within the time."""
    address = f"{check_url(url, ('wss', 'ws'))}/stream?streams=btcusdt@bookTicker"
    try:
        async with asyncio.timeout(timeout_s):
            connection = await open_websocket(address, timeout_s)
            try:
                while parse_frame(await connection.recv(decode=False), 0) is None:
                    pass
            finally:
                await close_websocket(connection)
    except (*CONNECT_ERRORS, MalformedFrameError) as error:
        _logger.info("Binance cannot be reached at %s (%s: %s)", url, type(error).__name__, error)
        return False
    return True


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # asked for, so that asyncio does not report it as never seen


def _symbols(given: Iterable[str]) -> list[str]:
    listed = [given] if isinstance(given, str) else list(given)
    for symbol in listed:
        if not isinstance(symbol, str):
            raise SymbolError(f'{symbol!r} is no symbol: write Binance\'s pairs as text, as in ["BTCUSDT"]')
    symbols = list(dict.fromkeys(symbol.strip().upper() for symbol in listed))
    if not symbols:
        raise SymbolError('no symbols were given: name Binance\'s pairs, as in BinanceFeed(["BTCUSDT"])')
    for symbol in symbols:
        if not re.fullmatch(r"\w{2,40}", symbol):
            plain = re.sub(r"\W", "", symbol)
            raise SymbolError(
                f"{symbol!r} is not how Binance writes a pair, which is letters and digits only.{_near(plain, plain)}"
            )
    if len(symbols) > _MOST_SYMBOLS:
        raise SymbolError(f"{len(symbols)} symbols are too many for one connection: give {_MOST_SYMBOLS} at most")
    return symbols


def _unknown(bad: list[str]) -> FeedError:
    told = " ".join(f"Binance has no pair {symbol!r}.{_near(symbol, '')}" for symbol in bad)
    return SymbolError(f"{told} A pair is written as one word, as in BTCUSDT or ETHBTC.")


def _near(symbol: str, otherwise: str) -> str:
    fix = did_you_mean(symbol, _COMMON)
    if fix.startswith(" Did"):
        return fix
    return f" Did you mean {otherwise!r}?" if otherwise else ""
