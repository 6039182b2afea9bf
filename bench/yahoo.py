"""A server in Yahoo's form with prices of three shares: ``python -m bench.yahoo --rate 100``. It prints its two addresses."""

import argparse
import asyncio
import time

from tests.servers.yahoo import Chart, YahooServer, minute_rows

__all__: list[str] = []

_SYMBOLS = ("AAPL", "MSFT", "GOOGL")


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.yahoo", description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0)
    rate = parser.parse_args().rate
    async with YahooServer() as server:
        # The feed asks for the last minutes when a session begins.
        start_s = int(time.time()) // 60 * 60 - 3_600
        server.charts = {symbol: Chart({"1m": minute_rows(start_s, [150.0] * 60)}) for symbol in _SYMBOLS}
        print(server.url, server.rest_url, flush=True)
        began_s, sent = time.monotonic(), 0
        while True:
            symbol = _SYMBOLS[sent % len(_SYMBOLS)]
            await server.price(symbol, 150.0 + sent % 50 * 0.01, day_volume=10**6 + sent)
            sent += 1
            await asyncio.sleep(max(0.0, began_s + sent / rate - time.monotonic()))


if __name__ == "__main__":
    asyncio.run(_main())
