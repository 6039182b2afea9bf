"""Where events come from: live providers, recordings and a synthetic exchange."""

from qfkit.feeds.base import Feed, Rejected
from qfkit.feeds.binance import BinanceFeed
from qfkit.feeds.replay import ReplayFeed, sample
from qfkit.feeds.synthetic import SyntheticFeed

__all__ = ["BinanceFeed", "Feed", "Rejected", "ReplayFeed", "SyntheticFeed", "sample"]
