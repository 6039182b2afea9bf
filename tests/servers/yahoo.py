"""Yahoo's streamer on the loopback: subscriptions, last prices, both envelopes, and its faults as switches."""

import asyncio
import base64
import json
import struct
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

__all__ = ["YahooServer", "encode_pricing"]

_MOST_SYMBOLS = 100
_NUMBERS = {
    "id": 1, "price": 2, "time": 3, "currency": 4, "exchange": 5, "quote_type": 6, "market_hours": 7,
    "change_percent": 8, "day_volume": 9, "change": 12, "bid": 23, "bid_size": 24, "ask": 25, "ask_size": 26,
    "price_hint": 27,
}  # fmt: skip
_SIGNED = {"time", "day_volume", "bid_size", "ask_size", "price_hint"}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_pricing(**fields: Any) -> bytes:
    """The protobuf message of some fields, by the names of PricingData."""
    out = b""
    for name, value in fields.items():
        number = _NUMBERS[name]
        if isinstance(value, str):
            text = value.encode()
            out += _varint(number << 3 | 2) + _varint(len(text)) + text
        elif isinstance(value, float):
            out += _varint(number << 3 | 5) + struct.pack("<f", value)
        elif name in _SIGNED:
            out += _varint(number << 3) + _varint(value << 1 if value >= 0 else (-value << 1) - 1)
        else:
            out += _varint(number << 3) + _varint(value)
    return out


class YahooServer:
    """``async with YahooServer() as server: YahooFeed(["AAPL"], stream_url=server.url)``; ``price`` sends one."""

    def __init__(self, *, is_bare: bool = False, canary_every_s: float | None = 0.1) -> None:
        self.is_bare = is_bare
        self.canary_every_s = canary_every_s
        self.lines: dict[ServerConnection, list[str]] = {}
        self.last: dict[str, dict[str, Any]] = {}
        """The last known price of a symbol: it is sent at once to whoever subscribes."""
        self.heard: list[Any] = []
        self.attempts: list[float] = []
        self.refuse: HTTPStatus | None = None
        self.retry_after: str | None = None
        self.closes_at_once = False
        self.is_silent = False
        self._server: Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._request, close_timeout=0.2, compression=None
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        self._beat = asyncio.create_task(self._canary())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._beat.cancel()
        await asyncio.gather(self._beat, return_exceptions=True)
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.attempts.append(time.monotonic())
        if self.refuse is None:
            return None
        response = connection.respond(self.refuse, "")
        if self.retry_after is not None:
            response.headers["Retry-After"] = self.retry_after
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        if self.closes_at_once:
            return
        self.lines[connection] = []
        try:
            async for text in connection:
                try:
                    asked = json.loads(text)
                    given = [*asked.get("subscribe", []), *asked.get("unsubscribe", [])]
                    if asked.keys() - {"subscribe", "unsubscribe"} or not all(isinstance(one, str) for one in given):
                        raise ValueError
                except (ValueError, AttributeError, TypeError):
                    connection.transport.abort()
                    return
                self.heard.append(asked)
                mine = self.lines[connection]
                for symbol in asked.get("unsubscribe", []):
                    if symbol in mine:
                        mine.remove(symbol)
                for symbol in asked.get("subscribe", []):
                    # The rest is cut off without a word.
                    if symbol not in mine and len(mine) < _MOST_SYMBOLS:
                        mine.append(symbol)
                        if symbol in self.last:
                            await self._send(connection, self.last[symbol])
        except ConnectionClosed:
            pass
        finally:
            del self.lines[connection]

    async def _canary(self) -> None:
        while self.canary_every_s is not None:
            await asyncio.sleep(self.canary_every_s)
            await self.price("BTC-USD", 95_000.0, quote_type=41)

    async def _send(self, connection: ServerConnection, fields: dict[str, Any]) -> None:
        message = base64.b64encode(encode_pricing(**fields)).decode()
        if not self.is_silent:
            with suppress(ConnectionClosed):
                await connection.send(message if self.is_bare else json.dumps({"type": "pricing", "message": message}))

    async def price(self, symbol: str, price: float, *, time_ms: int | None = None, **fields: Any) -> None:
        """A new price of a symbol, for those who subscribed it."""
        time_ms = time.time_ns() // 10**9 * 1_000 if time_ms is None else time_ms
        whole = {"id": symbol, "price": price, "time": time_ms, "exchange": "NMS", "quote_type": 8, "market_hours": 1}
        self.last[symbol] = whole | fields
        for connection, symbols in list(self.lines.items()):
            if symbol in symbols:
                await self._send(connection, self.last[symbol])

    async def say(self, text: str | bytes) -> None:
        """The same text to all, whatever it is."""
        for connection in list(self.lines):
            with suppress(ConnectionClosed):
                await connection.send(text)

    async def drop(self, how: str) -> None:
        """close_1000, close_1001 or abort all connections."""
        for connection in list(self.lines):
            if how == "abort":
                connection.transport.abort()
            else:
                await connection.close(int(how.removeprefix("close_")))
