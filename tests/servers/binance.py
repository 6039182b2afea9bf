"""A stand-in for Binance on the loopback: its combined stream and the symbols' list, with every way to go wrong.

``python -m tests.servers.binance --capture PATH --speed 10 --port 0`` serves a recorded stream and
prints the two addresses.
"""

import argparse
import asyncio
import gzip
import json
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

CANARY = "btcusdt@miniTicker"
_CANARY_FRAME = b'{"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","E":%d,"s":"BTCUSDT","c":"1","o":"1"}}'


@dataclass(frozen=True)
class Plan:
    """What the server does with one connection.

    It sends the next ``count`` frames (all, by default) and then does what ``end`` says: "hold" (only
    the ticker of one a second goes on), "close" politely, "abort" with no word, "silence" with the
    socket open. ``skip`` frames are lost before, ``repeat`` frames are sent again, ``refuse`` is an
    HTTP status instead of a handshake.
    """

    count: int | None = None
    end: str = "hold"
    skip: int = 0
    repeat: int = 0
    garbage: bytes | None = None
    refuse: int | None = None
    retry_after: str | None = None


@dataclass(frozen=True)
class Frame:
    time_ns: int
    stream: str
    payload: bytes


def trade_frame(trade_id: int, price: float = 100.0, size: float = 1.0, *, symbol: str = "BTCUSDT", **other) -> bytes:
    time_ms = other.get("time_ms", 1_700_000_000_000 + trade_id * 10)
    data = {"e": "trade", "E": time_ms, "s": symbol, "t": trade_id, "p": f"{price:.8f}", "q": f"{size:.8f}"}
    data |= {"T": time_ms, "m": other.get("is_buyer_maker", False), "M": True}
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data}).encode()


def quote_frame(update_id: int, bid: float, ask: float, *, symbol: str = "BTCUSDT") -> bytes:
    data = {"u": update_id, "s": symbol, "b": f"{bid:.8f}", "B": "1.0", "a": f"{ask:.8f}", "A": "2.0"}
    return json.dumps({"stream": f"{symbol.lower()}@bookTicker", "data": data}).encode()


def frames_of_capture(path: Path) -> list[Frame]:
    """The stream's frames of a recording; what came by REST is left out."""
    frames = []
    with gzip.open(path) as lines:
        for line in lines:
            time_ns, _, payload = line.rstrip(b"\n").partition(b" ")
            if payload.startswith(b'{"stream":"'):
                frames.append(Frame(int(time_ns), payload[11 : payload.index(b'"', 11)].decode(), payload))
    return frames


class BinanceServer:
    """``async with BinanceServer(frames) as server: BinanceFeed([...], url=server.url, rest_url=server.rest_url)``.

    The frames are one stream that goes on from connection to connection, as the market does;
    ``plans`` say what becomes of each connection in turn, the last one of all that follow.
    ``speed`` is a multiple of the recorded pace, None as fast as it goes.
    """

    def __init__(
        self,
        frames: Iterable[bytes | str | Frame] = (),
        *,
        plans: Sequence[Plan] = (),
        speed: float | None = None,
        loop: bool = False,
        symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"),
        rest_refuses: int | None = None,
        compression: str | None = None,
        port: int = 0,
    ) -> None:
        self._frames = [frame if isinstance(frame, Frame) else _frame(frame) for frame in frames]
        trade_ids = [
            json.loads(frame.payload)["data"]["t"] for frame in self._frames if frame.stream.endswith("@trade")
        ]
        self._ids = max(trade_ids, default=0) - min(trade_ids, default=0) + 1
        self._plans = tuple(plans) or (Plan(),)
        self._speed = speed
        self._is_loop = loop
        self._symbols = symbols
        self._rest_refuses = rest_refuses
        self._compression = compression
        self._port = port
        self._position = 0
        self._server: Server | None = None
        self.attempts = 0
        self.connections = 0
        self.rest_requests = 0
        self.paths: list[str] = []
        self.closed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self._port,
            process_request=self._request,
            compression=self._compression,
            close_timeout=0.2,
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        address = urlsplit(request.path)
        if address.path == "/api/v3/exchangeInfo":
            self.rest_requests += 1
            return self._exchange_info(connection, address.query)
        if address.path != "/stream":
            return connection.respond(HTTPStatus.NOT_FOUND, "")
        self.attempts += 1
        self.paths.append(request.path)
        plan = self._plan(self.attempts)
        if plan.refuse is None:
            return None
        response = connection.respond(HTTPStatus(plan.refuse), "")
        if plan.retry_after is not None:
            response.headers["Retry-After"] = plan.retry_after
        return response

    def _exchange_info(self, connection: ServerConnection, query: str) -> Response:
        if self._rest_refuses is not None:
            return connection.respond(HTTPStatus(self._rest_refuses), "{}")
        named = parse_qs(query).get("symbols")
        asked = self._symbols if named is None else json.loads(named[0])
        if set(asked) <= set(self._symbols):
            listed = [{"symbol": symbol, "status": "TRADING"} for symbol in asked]
            return connection.respond(HTTPStatus.OK, json.dumps({"symbols": listed}))
        return connection.respond(HTTPStatus.BAD_REQUEST, '{"code":-1121,"msg":"Invalid symbol."}')

    def _plan(self, number: int) -> Plan:
        return self._plans[min(number, len(self._plans)) - 1]

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections += 1
        plan = self._plan(self.attempts)
        streams = set(unquote(parse_qs(urlsplit(connection.request.path).query)["streams"][0]).split("/"))
        try:
            await self._send(connection, plan, streams)
            if plan.end == "close":
                await connection.close(1001, "going away")
            elif plan.end == "abort":
                connection.transport.abort()
            elif plan.end == "hold" and CANARY in streams:
                while True:
                    await connection.send(_CANARY_FRAME % (time.time_ns() // 1_000_000), text=True)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(connection.wait_closed(), 1.0)
            await connection.wait_closed()
        except ConnectionClosed:
            pass
        finally:
            self.closed.set()

    async def _send(self, connection: ServerConnection, plan: Plan, streams: set[str]) -> None:
        if plan.garbage is not None:
            await connection.send(plan.garbage, text=True)
        self._position = max(0, self._position + plan.skip - plan.repeat)
        began_s, began_at, left = time.monotonic(), self._position, plan.count
        while left is None or left > 0:
            if self._position >= len(self._frames) * (1_000_000 if self._is_loop else 1) or not self._frames:
                return
            frame = self._at(self._position)
            if self._speed is not None:
                ahead_s = (frame.time_ns - self._at(began_at).time_ns) / 1e9 / self._speed
                wait_s = began_s + ahead_s - time.monotonic()
                if wait_s > 0.002:
                    await asyncio.sleep(wait_s)
            self._position += 1
            if left is not None:
                left -= 1
            if frame.stream in streams or frame.stream.startswith("!"):
                await connection.send(frame.payload, text=True)
                if self._position % 256 == 0:
                    await asyncio.sleep(0)

    def _at(self, position: int) -> Frame:
        around, place = divmod(position, len(self._frames))
        frame = self._frames[place]
        if not around:
            return frame
        # The next time round goes on where the last one ended, in ids and in times.
        span_ns = self._frames[-1].time_ns - self._frames[0].time_ns + 1_000_000
        added = {b"t": around * self._ids, b"T": around * span_ns // 1_000_000, b"E": around * span_ns // 1_000_000}
        moved = re.sub(
            rb'"([tTE])": ?(\d+)', lambda hit: b'"%s":%d' % (hit[1], int(hit[2]) + added[hit[1]]), frame.payload
        )
        return Frame(frame.time_ns + around * span_ns, frame.stream, moved)


def _frame(payload: bytes | str) -> Frame:
    data = payload.encode() if isinstance(payload, str) else payload
    return Frame(0, json.loads(data)["stream"], data)


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Serve a recorded Binance stream on the loopback.")
    parser.add_argument("--capture", type=Path, required=True)
    parser.add_argument("--speed", type=float, default=1.0, help="a multiple of the recorded pace; 0: no pace")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--compression", action="store_true", help="offer permessage-deflate")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, ids and times going on")
    given = parser.parse_args()
    frames = frames_of_capture(given.capture)
    compression = "deflate" if given.compression else None
    server = BinanceServer(frames, speed=given.speed or None, loop=given.loop, compression=compression, port=given.port)
    async with server:
        print(f"{server.url} {server.rest_url}", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main())
