"""A server in Binance's form that says as much as the other end can take: ``python -m bench.flood --count N``.

Every connection to it gets the same aggregate trades of ten symbols, as fast as the socket takes
them or ``rate`` a second, and then a close. Frames are made before anybody connects, and many are
written at once, so that what is measured is the other end. It prints its address.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import struct
import time
import zlib
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

__all__ = ["PRICE", "SYMBOLS", "Digest", "trade_payload"]

SYMBOLS = tuple(f"COIN{number}USDT" for number in range(10))
PRICE = 100.0
_CHUNK = 1 << 16
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_START_MS = 1_700_000_000_000


class Digest:
    """What was received, in a few letters: equal for the same trades in the same order."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, symbol: str, price: float, size: float, time_ms: int, number: int | None, is_sell: bool) -> None:
        self._sum = zlib.crc32(repr((symbol, price, size, time_ms, number, is_sell)).encode(), self._sum)

    @property
    def text(self) -> str:
        return f"{self._sum:08x}"


def trade_payload(number: int, time: int) -> bytes:
    """Aggregate trade number ``number`` of all symbols in turn, as Binance writes it, in ms or in microseconds."""
    symbol = SYMBOLS[number % len(SYMBOLS)]
    own = number // len(SYMBOLS) + 1
    # A slow wave with a quick one on it: averages cross now and then.
    price = PRICE + (own // 50 % 40 - 20) * 0.05 * (1 if own // 2_000 % 2 else -1) + (own * 7 % 11) * 0.01
    data = {"e": "aggTrade", "E": time, "s": symbol, "a": own, "p": f"{price:.8f}", "q": f"{1 + own % 7:.8f}"}
    data |= {"f": own, "l": own, "T": time, "m": bool(own % 3), "M": True}
    return json.dumps({"stream": f"{symbol.lower()}@aggTrade", "data": data}, separators=(",", ":")).encode()


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    return (bytes((0x81, size)) if size < 126 else b"\x81\x7e" + struct.pack(">H", size)) + payload


def _chunks(count: int) -> list[bytes]:
    chunks, chunk = [], bytearray()
    for number in range(count):
        chunk += _frame(trade_payload(number, _START_MS + number))
        if len(chunk) >= _CHUNK:
            chunks.append(bytes(chunk))
            chunk.clear()
    return [*chunks, bytes(chunk)]


async def _paced(writer: asyncio.StreamWriter, rate: float, seconds: float) -> None:
    """``rate`` trades a second, each millisecond what is due; they bear the microsecond they were made in."""
    began_s, sent, count = time.monotonic(), 0, int(rate * seconds)
    while sent < count:
        due = min(count, int((time.monotonic() - began_s) * rate) + 1)
        now_us = time.time_ns() // 1_000
        writer.write(b"".join(_frame(trade_payload(number, now_us)) for number in range(sent, due)))
        sent = due
        await writer.drain()
        await asyncio.sleep(max(0.0, began_s + sent / rate - time.monotonic()))


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=__doc__)
    parser.add_argument("--count", type=int, default=300_000)
    count = parser.parse_args().count
    chunks = _chunks(count)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            key = next(line.partition(b": ")[2] for line in lines if line.lower().startswith(b"sec-websocket-key"))
            accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - as the protocol has it
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            # The path may ask for a pace, /rate=1000&seconds=5/stream, or to stay until the other end leaves: /stay=1/stream
            asked = parse_qs(urlsplit(lines[0].split()[1].decode()).path.strip("/").partition("/")[0])
            if "rate" in asked:
                await _paced(writer, float(asked["rate"][0]), float(asked["seconds"][0]))
            else:
                for chunk in chunks:
                    writer.write(chunk)
                    await writer.drain()
            if "stay" in asked:
                await reader.read(64)
            writer.write(b"\x88\x02\x03\xe8")
            await writer.drain()
            await reader.read(64)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
