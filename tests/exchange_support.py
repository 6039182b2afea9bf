"""A feed of an exchange on the loopback, and what it gives, for several test modules."""

from qfkit.core.events import Tick
from qfkit.feeds.binance import BinanceFeed
from tests.servers.exchange import ExchangeServer
from tests.taken import Taken

__all__ = ["EAGER", "Taken", "facts", "feed_of", "seen", "trade"]

EAGER = {"backoff_s": 0.02, "stale_after_s": 1.5, "connect_timeout_s": 2.0}


def feed_of(server: ExchangeServer, *symbols: str, **options) -> BinanceFeed:
    names = symbols or tuple(server.exchange.markets)
    return BinanceFeed(names, stream_url=server.url, rest_url=server.rest_url, **(EAGER | options))


def facts(server: ExchangeServer, symbol: str = "BTCUSDT", first: int = 0) -> list[tuple]:
    """What the exchange had: number, price, size, time."""
    own = server.exchange.markets[symbol].aggregates
    return [(one.number, float(one.price), float(one.size), one.time_ms) for one in own if one.number >= first]


def seen(ticks: list[Tick]) -> list[tuple]:
    return [(tick.trade_id, tick.price, tick.size, tick.time_ns // 10**6) for tick in ticks]


async def trade(server: ExchangeServer, count: int, symbol: str = "BTCUSDT") -> None:
    for _ in range(count):
        await server.trade(symbol)
