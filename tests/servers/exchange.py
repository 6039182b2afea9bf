"""An exchange in Binance's form on the loopback: one market behind its streams and its REST interface.

All that was ever traded is kept, so a test can compare what arrived with what there was. The server
keeps Binance's rules (five messages a second, 1,024 streams a connection, weights) and can be told
to break every other one.
"""

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

__all__ = ["Aggregate", "Exchange", "ExchangeServer", "Trade"]

_MINUTE_MS = 60_000
_METHODS = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
_WEIGHTS = {"klines": 2, "aggTrades": 4, "historicalTrades": 25, "trades": 25, "exchangeInfo": 20, "time": 1, "ping": 1}


@dataclass(frozen=True)
class Trade:
    number: int
    price: str
    size: str
    time_ms: int
    maker: bool


@dataclass(frozen=True)
class Aggregate:
    number: int
    price: str
    size: str
    first: int
    last: int
    time_ms: int
    maker: bool


@dataclass
class Market:
    symbol: str
    price: float = 100.0
    update: int = 0
    trades: list[Trade] = field(default_factory=list)
    aggregates: list[Aggregate] = field(default_factory=list)


class Exchange:
    """Markets of some symbols, and what was traded on them. Ids begin at 1,000 and have no holes."""

    def __init__(self, symbols: Iterable[str] = ("BTCUSDT", "ETHUSDT"), *, seed: int = 7) -> None:
        self.markets = {symbol: Market(symbol, 100.0 + 10 * place) for place, symbol in enumerate(symbols)}
        self.lost_for_good: set[tuple[str, int]] = set()
        """Aggregates that the archive does not have either."""
        self._chance = random.Random(seed)

    def trade(self, symbol: str, *, time_ms: int | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Trade once; returns the frames ``(stream, data)`` that tell of it."""
        market, chance = self.markets[symbol], self._chance
        time_ms = time.time_ns() // 1_000_000 if time_ms is None else time_ms
        market.price = max(1.0, market.price + chance.choice((-0.02, -0.01, 0.0, 0.01, 0.02)))
        price, size, maker = f"{market.price:.2f}000000", f"{chance.uniform(0.001, 2.0):.5f}000", chance.random() < 0.5
        frames: list[tuple[str, dict[str, Any]]] = []
        first = market.trades[-1].number + 1 if market.trades else 1_000
        several = chance.choice((1, 1, 1, 2, 3))
        for number in range(first, first + several):
            trade = Trade(number, price, size, time_ms, maker)
            market.trades.append(trade)
            frames.append((f"{symbol.lower()}@trade", trade_data(symbol, trade)))
        number = market.aggregates[-1].number + 1 if market.aggregates else 500
        whole = f"{float(size) * several:.8f}"
        aggregate = Aggregate(number, price, whole, first, first + several - 1, time_ms, maker)
        market.aggregates.append(aggregate)
        frames.append((f"{symbol.lower()}@aggTrade", aggregate_data(symbol, aggregate)))
        market.update += 1
        book = {"u": market.update, "s": symbol, "b": f"{market.price - 0.01:.8f}", "B": "3.00000000"}
        frames.append((f"{symbol.lower()}@bookTicker", book | {"a": f"{market.price + 0.01:.8f}", "A": "4.00000000"}))
        return frames

    def kline(self, symbol: str, open_ms: int, step_ms: int) -> list[Any] | None:
        """The bar of a time as REST has it; None where nothing was traded."""
        own = [one for one in self.markets[symbol].trades if open_ms <= one.time_ms < open_ms + step_ms]
        if not own:
            return None
        prices = [float(one.price) for one in own]
        volume = sum(float(one.size) for one in own)
        return [open_ms, own[0].price, f"{max(prices):.8f}", f"{min(prices):.8f}", own[-1].price, f"{volume:.8f}",
                open_ms + step_ms - 1, "0", len(own), "0", "0", "0"]  # fmt: skip


def trade_data(symbol: str, trade: Trade) -> dict[str, Any]:
    data = {"e": "trade", "E": trade.time_ms, "s": symbol, "t": trade.number, "p": trade.price, "q": trade.size}
    return data | {"T": trade.time_ms, "m": trade.maker, "M": True}


def aggregate_data(symbol: str, one: Aggregate) -> dict[str, Any]:
    data = {"e": "aggTrade", "E": one.time_ms, "s": symbol, "a": one.number, "p": one.price, "q": one.size}
    return data | {"f": one.first, "l": one.last, "T": one.time_ms, "m": one.maker, "M": True}


class _Line:
    """One connection of the server: its streams and what is wrong with it."""

    def __init__(self, connection: ServerConnection, *, is_combined: bool, streams: Iterable[str]) -> None:
        self.connection = connection
        self.is_combined = is_combined
        self.streams = set(streams)
        self.heard: deque[float] = deque(maxlen=6)
        self.is_silent = False
        self.is_stalled = False


class ExchangeServer:
    """Serves an exchange: ``async with ExchangeServer(exchange) as server: BinanceFeed(…, stream_url=server.url,
    rest_url=server.rest_url)``. Attributes switch its faults at any moment.
    """

    def __init__(self, exchange: Exchange, *, rate_per_s: float = 0.0, compression: str | None = None) -> None:
        self.exchange = exchange
        self.rate_per_s = rate_per_s
        self.compression = compression
        self.ping_interval_s: float | None = 20.0
        self.ticker_every_s = 0.2
        self.lines: list[_Line] = []
        self.attempts: list[float] = []
        self.connections = 0
        self.violations: list[str] = []
        self.heard: list[dict[str, Any]] = []
        self.asked: list[str] = []
        # Faults of the stream.
        self.refuse: HTTPStatus | None = None
        self.retry_after: str | None = None
        self.closes_at_once = False
        self.handshake_delay_s = 0.0
        self.refuses_requests = False
        self.skip_share = 0.0
        self.repeat_share = 0.0
        self.shuffle_share = 0.0
        self.is_silent = False
        self.loss_share = 0.0
        """Aggregates that neither the stream nor the archive has."""
        self.mute_symbols: set[str] = set()
        self.seldom: set[str] = set()
        """Symbols that trade once where others trade twenty times."""
        # Faults of REST.
        self.rest_fails: list[int] = []
        self.rest_retry_after: str | None = None
        self.rest_delay_s = 0.0
        self.weight = 0
        self.weight_limit = 6_000
        self._chance = random.Random(11)
        self._held_back: list[tuple[str, dict[str, Any]]] = []
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self._listen()
        self._tasks = [asyncio.create_task(self._tick())]
        if self.rate_per_s:
            self._tasks.append(asyncio.create_task(self._trade()))
        return self

    async def _listen(self) -> None:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self._port,
            process_request=self._request,
            compression=self.compression,
            close_timeout=0.2,
            ping_interval=self.ping_interval_s,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    # -- the market ----------------------------------------------------------------------------

    async def _trade(self) -> None:
        symbols = list(self.exchange.markets)
        began_s, done = time.monotonic(), 0
        while True:
            await asyncio.sleep(0.005)
            due = int((time.monotonic() - began_s) * self.rate_per_s)
            for _ in range(done, due):
                symbol = self._chance.choice(symbols)
                if symbol not in self.seldom or self._chance.random() < 0.05:
                    await self.trade(symbol)
            done = due

    async def trade(self, symbol: str, *, time_ms: int | None = None) -> None:
        """One trade, told to whoever listens, with the faults that are on."""
        for stream, data in self.exchange.trade(symbol, time_ms=time_ms):
            await self.tell(stream, data)

    async def tell(self, stream: str, data: dict[str, Any]) -> None:
        chance = self._chance
        if data["s"] in self.mute_symbols:
            return
        if not stream.endswith("bookTicker"):
            if stream.endswith("aggTrade") and chance.random() < self.loss_share:
                self.exchange.lost_for_good.add((data["s"], data["a"]))
                return
            if chance.random() < self.skip_share:
                return
            if chance.random() < self.shuffle_share:
                self._held_back.append((stream, data))
                return
        await self.send(stream, data)
        if chance.random() < self.repeat_share:
            await self.send(stream, data)
        if self._held_back and not stream.endswith("bookTicker"):
            waiting, self._held_back = self._held_back, []
            for late_stream, late_data in waiting:
                await self.send(late_stream, late_data)

    async def send(self, stream: str, data: dict[str, Any]) -> None:
        if self.is_silent:
            return
        raw = json.dumps(data, separators=(",", ":"))
        combined = f'{{"stream":"{stream}","data":{raw}}}'
        for line in list(self.lines):
            if stream in line.streams and not line.is_silent and not line.is_stalled:
                with suppress(ConnectionClosed):
                    await line.connection.send(combined if line.is_combined else raw)

    async def _tick(self) -> None:
        """The ticker that live feeds take as a sign of life; Binance's own comes once a second."""
        while True:
            await asyncio.sleep(self.ticker_every_s)
            data = {"e": "24hrMiniTicker", "E": time.time_ns() // 1_000_000, "s": "BTCUSDT", "c": "1", "o": "1"}
            await self.send("btcusdt@miniTicker", data)

    # -- faults by hand ------------------------------------------------------------------------

    async def drop(self, how: str, only: Sequence[_Line] | None = None) -> None:
        """Do the same to all connections, or some: close_1000, close_1001, close_1012, abort, silence, stall,
        rubbish, notice, leave (a notice, and an end before a successor can be there), oversize, drip.
        """
        for line in list(self.lines if only is None else only):
            connection = line.connection
            with suppress(ConnectionClosed):
                if how.startswith("close_"):
                    await connection.close(int(how.removeprefix("close_")), "fault")
                elif how == "abort":
                    connection.transport.abort()
                elif how == "silence":
                    line.is_silent = True
                elif how == "stall":
                    line.is_stalled = True
                    connection.transport.write(b"\x81\x7e\x01\x00" + b'{"stream":"')
                elif how == "rubbish":
                    for text in ("not json", "{}", '{"stream":"btcusdt@aggTrade","data":{}}', "[1,2"):
                        await connection.send(text)
                elif how in ("notice", "leave"):
                    data = '{"e":"serverShutdown","E":1770123456789}'
                    wrapped = f'{{"stream":"!serverShutdown","data":{data}}}'
                    await connection.send(wrapped if line.is_combined else data)
                    if how == "leave":
                        await connection.close(1001, "as announced")
                elif how == "oversize":
                    await connection.send("7" * (2 << 20))
                elif how == "drip":
                    await self._drip(line)
                else:
                    raise ValueError(how)

    async def _drip(self, line: _Line) -> None:
        """One frame, byte by byte; what is traded meanwhile is not told."""
        transport = line.connection.transport
        text = b'{"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","s":"BTCUSDT"}}'
        line.is_stalled = True
        for byte in (0x81, len(text), *text):
            if transport.is_closing():
                return
            transport.write(bytes((byte,)))
            await asyncio.sleep(0.005)
        line.is_stalled = False

    async def outage(self, down_s: float) -> None:
        """The server goes, its port with it, and comes again after a while."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        await asyncio.sleep(down_s)
        await self._listen()

    async def restart(self, down_s: float) -> None:
        """All connections go, and for a while nobody is let in."""
        self.refuse = HTTPStatus.SERVICE_UNAVAILABLE
        await self.drop("abort")
        await asyncio.sleep(down_s)
        self.refuse = None

    # -- connections ---------------------------------------------------------------------------

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        address = urlsplit(request.path)
        if address.path.startswith("/api/v3/"):
            self.asked.append(request.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            answer = self._rest(address.path.removeprefix("/api/v3/"), query)
            await _held(lambda: self.rest_delay_s)
            return answer
        self.attempts.append(time.monotonic())
        await _held(lambda: self.handshake_delay_s)
        if self.refuse is not None:
            response = connection.respond(self.refuse, "")
            if self.retry_after is not None:
                response.headers["Retry-After"] = self.retry_after
            return response
        if not address.path.startswith(("/stream", "/ws")):
            return connection.respond(HTTPStatus.NOT_FOUND, "")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections += 1
        if self.closes_at_once:
            await connection.close()
            return
        address = urlsplit(connection.request.path)
        is_combined = address.path.startswith("/stream")
        named = parse_qs(address.query).get("streams", [""])[0] if is_combined else address.path.removeprefix("/ws")
        streams = [one for one in unquote(named).split("/") if one]
        line = _Line(connection, is_combined=is_combined, streams=streams)
        self.lines.append(line)
        try:
            async for message in connection:
                line.heard.append(time.monotonic())
                if len(line.heard) == 6 and line.heard[-1] - line.heard[0] < 1.0:
                    self.violations.append("more than five messages a second")
                    await connection.close(1008, "too many messages")
                    return
                await connection.send(self._answer(line, message))
                if len(line.streams) > 1_024:
                    self.violations.append("more than 1,024 streams")
                    await connection.close(1008, "too many streams")
                    return
        except ConnectionClosed:
            pass
        finally:
            self.lines.remove(line)

    def _answer(self, line: _Line, message: str | bytes) -> str:
        def error(code: int, text: str, number: Any = None) -> str:
            return json.dumps({"code": code, "msg": text, "id": number})

        try:
            asked = json.loads(message)
        except ValueError:
            return error(3, "Invalid JSON: expected value at line 1 column 1")
        if not isinstance(asked, dict) or "method" not in asked:
            return error(2, "Invalid request: missing field `method` at line 1 column 73")
        self.heard.append(asked)
        method, params, number = asked["method"], asked.get("params", []), asked.get("id")
        if number is not None and not isinstance(number, int | str):
            return error(2, "Invalid request: request ID must be an unsigned integer")
        if self.refuses_requests:
            return error(2, "Invalid request: too many parameters", number)
        if method == "SUBSCRIBE":
            line.streams |= set(params)
        elif method == "UNSUBSCRIBE":
            line.streams -= set(params)
        elif method == "LIST_SUBSCRIPTIONS":
            return json.dumps({"result": sorted(line.streams), "id": number})
        elif method == "GET_PROPERTY":
            return json.dumps({"result": line.is_combined, "id": number})
        elif method == "SET_PROPERTY":
            if not isinstance(params[1], bool):
                return error(1, "Invalid value type: expected Boolean", number)
            line.is_combined = params[1]
        else:
            return error(
                2, f"Invalid request: unknown variant {method}, expected one of {_METHODS} at line 1 column 28"
            )
        return json.dumps({"result": None, "id": number})

    # -- REST ----------------------------------------------------------------------------------

    def _rest(self, path: str, query: dict[str, str]) -> Response:
        headers: dict[str, str] = {}
        self.weight += _WEIGHTS.get(path, 1)
        if self.rest_fails or self.weight > self.weight_limit:
            status = self.rest_fails.pop(0) if self.rest_fails else 429
            if self.rest_retry_after is not None:
                headers["Retry-After"] = self.rest_retry_after
            return _respond(status, {"code": -1003, "msg": "Too much request weight used"}, headers)
        headers["X-MBX-USED-WEIGHT-1M"] = str(self.weight)
        answers: dict[str, Callable[[dict[str, str]], Any]] = {
            "exchangeInfo": self._exchange_info,
            "aggTrades": self._aggregate_trades,
            "historicalTrades": self._historical_trades,
            "klines": self._klines,
            "time": lambda _: {"serverTime": time.time_ns() // 1_000_000},
            "ping": lambda _: {},
        }
        if path not in answers:
            return _respond(404, {"code": -1, "msg": "not found"}, headers)
        named = json.loads(query["symbols"]) if "symbols" in query else [query["symbol"]] if "symbol" in query else []
        if any(symbol not in self.exchange.markets for symbol in named):
            return _respond(400, {"code": -1121, "msg": "Invalid symbol."}, headers)
        return _respond(200, answers[path](query), headers)

    def _exchange_info(self, query: dict[str, str]) -> dict[str, Any]:
        named = json.loads(query["symbols"]) if "symbols" in query else list(self.exchange.markets)
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.0", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.0", "stepSize": "0.00001000"},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True, "avgPriceMins": 5},
        ]
        limits = [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.weight_limit}
        ]
        listed = [{"symbol": symbol, "status": "TRADING", "quoteAsset": "USDT", "filters": filters} for symbol in named]
        return {"timezone": "UTC", "rateLimits": limits, "symbols": listed}

    def _aggregate_trades(self, query: dict[str, str]) -> list[dict[str, Any]]:
        symbol, limit = query["symbol"], min(int(query.get("limit", 500)), 1_000)
        own = self.exchange.markets[symbol].aggregates
        first = int(query.get("fromId", own[max(0, len(own) - limit)].number if own else 0))
        start = max(0, first - own[0].number) if own else 0
        kept = [one for one in own[start:] if (symbol, one.number) not in self.exchange.lost_for_good][:limit]
        return [
            {"a": one.number, "p": one.price, "q": one.size, "f": one.first, "l": one.last, "T": one.time_ms,
             "m": one.maker, "M": True}
            for one in kept
        ]  # fmt: skip

    def _historical_trades(self, query: dict[str, str]) -> list[dict[str, Any]]:
        own = self.exchange.markets[query["symbol"]].trades
        start = max(0, int(query["fromId"]) - own[0].number) if own else 0
        return [
            {"id": one.number, "price": one.price, "qty": one.size, "quoteQty": "0", "time": one.time_ms,
             "isBuyerMaker": one.maker, "isBestMatch": True}
            for one in own[start : start + int(query.get("limit", 500))]
        ]  # fmt: skip

    def _klines(self, query: dict[str, str]) -> list[list[Any]]:
        number, unit = int(query["interval"][:-1]), query["interval"][-1]
        step_ms = number * {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]
        now_ms = time.time_ns() // 1_000_000
        start = -(-int(query.get("startTime", 0)) // step_ms) * step_ms
        end = min(int(query.get("endTime", now_ms)), now_ms)
        rows = []
        while start <= end and len(rows) < int(query.get("limit", 500)):
            row = self.exchange.kline(query["symbol"], start, step_ms)
            rows += [] if row is None else [row]
            start += step_ms
        return rows


def _respond(status: int, body: Any, headers: dict[str, str]) -> Response:
    data = json.dumps(body).encode()
    standard = {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close"}
    return Response(status, HTTPStatus(status).phrase, Headers({**standard, **headers}), data)


async def _held(delay_s: Callable[[], float]) -> None:
    """Wait for so long, or until it is to be less."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < delay_s():
        await asyncio.sleep(0.01)
