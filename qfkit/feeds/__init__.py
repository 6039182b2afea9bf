"""Where events come from: live providers, recordings and a synthetic exchange."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qfkit.feeds.alpha_vantage import AlphaVantageFeed
    from qfkit.feeds.base import Feed
    from qfkit.feeds.binance import BinanceFeed
    from qfkit.feeds.failover import FailoverFeed
    from qfkit.feeds.replay import ReplayFeed, sample
    from qfkit.feeds.synthetic import SyntheticFeed
    from qfkit.feeds.yahoo import YahooFeed

__all__ = [
    "AlphaVantageFeed",
    "BinanceFeed",
    "FailoverFeed",
    "Feed",
    "ReplayFeed",
    "SyntheticFeed",
    "YahooFeed",
    "sample",
]

_HOMES = {
    "AlphaVantageFeed": "alpha_vantage",
    "BinanceFeed": "binance",
    "FailoverFeed": "failover",
    "Feed": "base",
    "ReplayFeed": "replay",
    "SyntheticFeed": "synthetic",
    "YahooFeed": "yahoo",
    "sample": "replay",
}


def __getattr__(name: str) -> Any:
    # Each kind of feed is imported when it is first used: httpx alone takes a tenth of a second.
    if name not in _HOMES:
        raise AttributeError(f"module 'qfkit.feeds' has no attribute {name!r}")
    return getattr(import_module(f"qfkit.feeds.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
