"""A stand-in for Yahoo on the loopback: the price stream, and the chart with the pages that yfinance asks before it.

It keeps Yahoo's odd rules (a hundred symbols a connection, the rest left out without a word; a
connection cut without a status for a message it cannot read) and can be told to break every other one.
"""

import asyncio
import base64
import json
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

__all__ = ["Chart", "Row", "YahooServer", "encode_pricing", "envelope", "minute_rows"]

CANARY = "BTC-USD"
MOST_SYMBOLS = 100
_KEPT_DAYS = {"1m": 30, "2m": 60, "5m": 60, "15m": 60, "1h": 730}

# name: (field number, kind)
_FIELDS = {
    "id": (1, "text"), "price": (2, "float"), "time": (3, "zigzag"), "currency": (4, "text"), "exchange": (5, "text"),
    "quote_type": (6, "int"), "market_hours": (7, "int"), "change_percent": (8, "float"), "day_volume": (9, "zigzag"),
    "day_high": (10, "float"), "day_low": (11, "float"), "change": (12, "float"), "open_price": (15, "float"),
    "previous_close": (16, "float"), "last_size": (22, "zigzag"), "bid": (23, "float"), "bid_size": (24, "zigzag"),
    "ask": (25, "float"), "ask_size": (26, "zigzag"), "price_hint": (27, "zigzag"), "market_cap": (33, "double"),
}  # fmt: skip


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def encode_pricing(**fields: Any) -> bytes:
    """A PricingData message of the fields given, zeros too."""
    data = b""
    for name, value in fields.items():
        number, kind = _FIELDS[name]
        if kind == "text":
            text = value.encode()
            data += _varint(number << 3 | 2) + _varint(len(text)) + text
        elif kind == "float":
            data += _varint(number << 3 | 5) + struct.pack("<f", value)
        elif kind == "double":
            data += _varint(number << 3 | 1) + struct.pack("<d", value)
        else:
            data += _varint(number << 3) + _varint(value << 1 ^ value >> 63 if kind == "zigzag" else value)
    return data


def envelope(message: bytes, *, is_json: bool = True) -> str:
    """A message as the frame of either stream."""
    text = base64.b64encode(message).decode()
    return json.dumps({"type": "pricing", "message": text}) if is_json else text


@dataclass(frozen=True)
class Row:
    """One row of a chart; ``time_s`` is when its bar, or its day's session, began."""

    time_s: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: int | None


@dataclass
class Chart:
    """What the chart has of a symbol: rows by interval, meta, and events as ``(ex_s, value)``."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    dividends: list[tuple[int, float]] = field(default_factory=list)
    splits: list[tuple[int, float, float]] = field(default_factory=list)
    live_row: Row | None = None
    """The newest price at its own second, which Yahoo appends even after the end asked for."""


class _Line:
    """One connection: what it subscribed, in order."""

    def __init__(self, connection: ServerConnection, *, is_json: bool) -> None:
        self.connection = connection
        self.is_json = is_json
        self.symbols: list[str] = []
        self.is_silent = False


class YahooServer:
    """``async with YahooServer() as server: YahooFeed(…, stream_url=server.url, rest_url=server.rest_url)``.

    Attributes switch its faults at any moment.
    """

    def __init__(self, *, canary_every_s: float | None = 0.1) -> None:
        self.canary_every_s = canary_every_s
        self.charts: dict[str, Chart] = {}
        self.last: dict[str, dict[str, Any]] = {}
        self.lines: list[_Line] = []
        self.attempts: list[float] = []
        self.heard: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.asked_s: list[float] = []
        # Faults of the stream.
        self.refuse: int | None = None
        self.retry_after: str | None = None
        self.closes_at_once = False
        self.is_silent = False
        # Faults of the chart.
        self.rest_fails: list[int] = []
        self.rest_refuses: int | None = None
        self.rest_retry_after: str | None = None
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def charts_asked(self) -> list[str]:
        return [path for path in self.asked if path.startswith("/v8/finance/chart/")]

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", self._port, process_request=self._request, compression=None, close_timeout=0.2
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        if self.canary_every_s is not None:
            self._task = asyncio.create_task(self._sing())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    # -- the stream ----------------------------------------------------------------------------

    async def _sing(self) -> None:
        number = 0
        while True:
            number += 1
            await self.price(CANARY, 60_000.0 + number % 100, quote_type=41, day_volume=10**9 + number)
            await asyncio.sleep(self.canary_every_s or 1.0)

    async def price(self, symbol: str, price: float, *, time_ms: int | None = None, **fields: Any) -> None:
        """A price is told to whoever subscribed the symbol, and is its last known one."""
        # Yahoo's times are whole seconds.
        time_ms = int(time.time()) * 1_000 if time_ms is None else time_ms
        standard = {"exchange": "NMS", "quote_type": 8, "market_hours": 1}
        self.last[symbol] = {"id": symbol, "price": price, "time": time_ms, **standard, **fields}
        for line in list(self.lines):
            if symbol in line.symbols:
                await self._tell(line, symbol)

    async def _tell(self, line: _Line, symbol: str) -> None:
        if not self.is_silent and not line.is_silent:
            with suppress(ConnectionClosed):
                await line.connection.send(envelope(encode_pricing(**self.last[symbol]), is_json=line.is_json))

    async def send(self, frame: str | bytes) -> None:
        """Send anything to all connections."""
        for line in list(self.lines):
            with suppress(ConnectionClosed):
                await line.connection.send(frame)

    async def drop(self, how: str) -> None:
        """Do the same to all connections: close_1000, close_1001, abort, silence."""
        for line in list(self.lines):
            with suppress(ConnectionClosed):
                if how.startswith("close_"):
                    await line.connection.close(int(how.removeprefix("close_")), "fault")
                elif how == "abort":
                    line.connection.transport.abort()
                elif how == "silence":
                    line.is_silent = True
                else:
                    raise ValueError(how)

    async def _serve(self, connection: ServerConnection) -> None:
        if self.closes_at_once:
            await connection.close()
            return
        line = _Line(connection, is_json="version=2" in connection.request.path)
        self.lines.append(line)
        try:
            async for message in connection:
                if not await self._obey(line, message):
                    # As Yahoo does: the connection ends, and says no status.
                    connection.transport.write(b"\x88\x00")
                    connection.transport.close()
                    return
        except ConnectionClosed:
            pass
        finally:
            self.lines.remove(line)

    async def _obey(self, line: _Line, message: str | bytes) -> bool:
        try:
            asked = json.loads(message)
        except ValueError:
            return False
        if not isinstance(asked, dict) or not asked.keys() <= {"subscribe", "unsubscribe"}:
            return False
        if not all(isinstance(own, list) and all(isinstance(one, str) for one in own) for own in asked.values()):
            return False
        self.heard.append(asked)
        for symbol in asked.get("subscribe", []):
            if symbol not in line.symbols and len(line.symbols) < MOST_SYMBOLS:
                line.symbols.append(symbol)
            if symbol in line.symbols and symbol in self.last:
                # The last known price, however old it is.
                await self._tell(line, symbol)
        for symbol in asked.get("unsubscribe", []):
            if symbol in line.symbols:
                line.symbols.remove(symbol)
        return True

    # -- the chart -----------------------------------------------------------------------------

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        address = urlsplit(request.path)
        # curl offers to go up to HTTP/2.
        if request.headers.get("Upgrade", "").lower() != "websocket":
            self.asked.append(request.path)
            self.asked_s.append(time.monotonic())
            return self._answer(address.path, {name: one[0] for name, one in parse_qs(address.query).items()})
        self.attempts.append(time.monotonic())
        if self.refuse is not None:
            response = connection.respond(HTTPStatus(self.refuse), "")
            if self.retry_after is not None:
                response.headers["Retry-After"] = self.retry_after
            return response
        return None

    def _answer(self, path: str, query: dict[str, str]) -> Response:
        if path == "/v1/test/getcrumb":
            return _respond(200, b"a.crumb", "text/plain")
        if not path.startswith("/v8/finance/chart/"):
            return _respond(404, b"", "text/html")
        if self.rest_refuses is not None or self.rest_fails:
            status = self.rest_fails.pop(0) if self.rest_fails else self.rest_refuses
            assert status is not None
            headers = {} if self.rest_retry_after is None else {"Retry-After": self.rest_retry_after}
            return _respond(status, b"Too Many Requests" if status == 429 else b"", "text/plain", headers)
        symbol = unquote(path.removeprefix("/v8/finance/chart/"))
        chart = self.charts.get(symbol)
        if chart is None:
            return _refuse(404, "Not Found", "No data found, symbol may be delisted")
        return self._chart(symbol, chart, query)

    def _chart(self, symbol: str, chart: Chart, query: dict[str, str]) -> Response:
        interval, now_s = query.get("interval", "1d"), int(time.time())
        start_s = int(query.get("period1", now_s - 86_400))
        end_s = int(query.get("period2", now_s + 1))
        if interval == "1m" and end_s - start_s > 8 * 86_400:
            return _refuse(422, "Unprocessable Entity", "Only 8 days worth of 1m granularity data are allowed")
        if interval in _KEPT_DAYS and start_s < now_s - _KEPT_DAYS[interval] * 86_400:
            text = f"{interval} data not available for startTime={start_s} and endTime={end_s}. The requested range "
            return _refuse(422, "Unprocessable Entity", f"{text}must be within the last {_KEPT_DAYS[interval]} days.")
        rows = [row for row in chart.rows.get(interval, []) if start_s <= row.time_s < end_s]
        rows += [] if chart.live_row is None else [chart.live_row]
        meta = {
            "currency": "USD",
            "symbol": symbol,
            "exchangeName": "NMS",
            "instrumentType": "EQUITY",
            "exchangeTimezoneName": "America/New_York",
            "gmtoffset": -14_400,
            "dataGranularity": interval,
            **chart.meta,
        }
        result: dict[str, Any] = {"meta": meta, "indicators": {"quote": [{}]}}
        if rows:
            result["timestamp"] = [row.time_s for row in rows]
            names = ("open", "high", "low", "close", "volume")
            result["indicators"]["quote"] = [{name: [getattr(row, name) for row in rows] for name in names}]
        events: dict[str, Any] = {}
        if "div" in query.get("events", "") and chart.dividends:
            events["dividends"] = {str(ex_s): {"amount": amount, "date": ex_s} for ex_s, amount in chart.dividends}
        if "splits" in query.get("events", "") and chart.splits:
            events["splits"] = {
                str(ex_s): {"date": ex_s, "numerator": new, "denominator": old, "splitRatio": f"{new:g}:{old:g}"}
                for ex_s, new, old in chart.splits
            }
        result |= {"events": events} if events else {}
        return _respond(200, json.dumps({"chart": {"result": [result], "error": None}}).encode())


def minute_rows(start_s: int, closes: Iterable[float], *, step_s: int = 60) -> list[Row]:
    """Rows one after the other, each a little wide around its close."""
    return [
        Row(start_s + place * step_s, close - 0.25, close + 0.5, close - 0.5, close, 100 + place)
        for place, close in enumerate(closes)
    ]


def _refuse(status: int, code: str, description: str) -> Response:
    problem = {"chart": {"result": None, "error": {"code": code, "description": description}}}
    return _respond(status, json.dumps(problem).encode())


def _respond(
    status: int, body: bytes, kind: str = "application/json", headers: dict[str, str] | None = None
) -> Response:
    standard = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    return Response(status, HTTPStatus(status).phrase, Headers({**standard, **(headers or {})}), body)
