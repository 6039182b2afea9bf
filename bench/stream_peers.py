"""The peers' side of the streaming cases, in their environment: ``python -m bench.stream_peers cryptofeed|python-binance``.

Each by its public interface: what it gives to its user for each message is what counts as received and parsed.
"""

import asyncio
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from bench.flood import SYMBOLS, Digest
from bench.worker import serve

__all__: list[str] = []


def _versions(*names: str) -> dict[str, Any]:
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}


# -- cryptofeed --------------------------------------------------------------------------------


def cryptofeed_jobs() -> dict[str, Any]:
    """cryptofeed: a callback with a Trade. Its loop is uvloop's, and cannot be run twice in a process.

    It insists on TLS, which would cost it time that qfkit is spared: the library below it is given
    the plain address.
    """
    import cryptofeed.connection
    from cryptofeed import FeedHandler
    from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
    from cryptofeed.defines import SELL, TRADES
    from cryptofeed.exchanges import Binance
    from cryptofeed.symbols import Symbols

    connect = cryptofeed.connection.connect

    def connect_plainly(address: str, **options: Any) -> Any:
        return connect(address.replace("wss://", "ws://"), **options)

    cryptofeed.connection.connect = connect_plainly

    def parsed(url: str, count: int, check: bool = False) -> dict[str, Any]:
        class Here(Binance):  # type: ignore[misc]
            websocket_endpoints = [WebsocketEndpoint(url.replace("ws://", "wss://"))]  # noqa: RUF012 - as the library has it
            rest_endpoints = [RestEndpoint("http://127.0.0.1:9", routes=Routes("/exchangeInfo"))]  # noqa: RUF012

        names = {f"{symbol.removesuffix('USDT')}-USDT": symbol for symbol in SYMBOLS}
        Symbols.set(Here.id, names, {"instrument_type": dict.fromkeys(names, "spot")})
        digest = Digest()
        seen, start_s, seconds = 0, 0.0, 0.0
        loop = asyncio.new_event_loop()

        async def trade(trade: Any, receipt: float) -> None:
            nonlocal seen, start_s, seconds
            start_s = start_s or time.perf_counter()
            seen += 1
            if check:
                time_ms = round(trade.timestamp * 1_000)
                symbol = names[trade.symbol]
                is_sell = trade.side == SELL
                digest.add(symbol, float(trade.price), float(trade.amount), time_ms, int(trade.id), is_sell)
            if seen == count:
                seconds = time.perf_counter() - start_s
                asyncio.get_running_loop().stop()

        handler = FeedHandler(config={"log": {"disabled": True}, "uvloop": True})
        asyncio.set_event_loop(loop)
        feed = Here(symbols=list(names), channels=[TRADES], callbacks={TRADES: trade}, retries=0)
        handler.add_feed(feed)
        handler.run(install_signal_handlers=False)
        return {"seconds": seconds, "count": seen, "digest": digest.text}

    return {"parsed": parsed, "versions": lambda: _versions("cryptofeed", "uvloop", "yapic.json", "websockets")}


# -- python-binance ----------------------------------------------------------------------------


def binance_jobs() -> dict[str, Any]:
    """python-binance: ``recv()`` gives a dict of texts. Its queue must be as long as what comes at once."""
    from binance import AsyncClient, BinanceSocketManager
    from binance.exceptions import ReadLoopClosed

    def parsed(url: str, count: int, check: bool = False, queue: int | None = None) -> dict[str, Any]:
        digest = Digest()

        async def receive() -> tuple[float, int]:
            client = AsyncClient()
            try:
                manager = (
                    BinanceSocketManager(client)
                    if queue is None
                    else BinanceSocketManager(client, max_queue_size=queue)
                )
                manager.STREAM_URL = f"{url}/"
                seen, start_s, now_s = 0, 0.0, 0.0
                async with manager.multiplex_socket([f"{symbol.lower()}@aggTrade" for symbol in SYMBOLS]) as stream:
                    with suppress(ReadLoopClosed):
                        while seen < count:
                            message = await stream.recv()
                            if "data" not in message:
                                break
                            start_s = start_s or time.perf_counter()
                            seen += 1
                            if check:
                                one = message["data"]
                                digest.add(one["s"], float(one["p"]), float(one["q"]), one["T"], one["a"], one["m"])
                    now_s = time.perf_counter()
                return now_s - start_s, seen
            finally:
                await client.close_connection()

        seconds, seen = asyncio.run(receive())
        return {"seconds": seconds, "count": seen, "digest": digest.text}

    return {"parsed": parsed, "versions": lambda: _versions("python-binance", "websockets")}


if __name__ == "__main__":
    serve({"cryptofeed": cryptofeed_jobs, "python-binance": binance_jobs}[sys.argv[1]]())
