"""Feeds made again from what a journal says of them."""

from importlib import import_module
from typing import Any

from qfkit.errors import SessionError
from qfkit.feeds.base import Feed

__all__ = ["feed_of"]

_HOMES = {
    "AlphaVantageFeed": "alpha_vantage",
    "BinanceFeed": "binance",
    "FailoverFeed": "failover",
    "ReplayFeed": "replay",
    "SyntheticFeed": "synthetic",
    "YahooFeed": "yahoo",
    "sample": "replay",
}


def feed_of(recipe: dict[str, Any] | None, label: str) -> Feed:
    """The feed of :meth:`Feed.recipe`; :class:`SessionError` where it has none."""
    name = recipe["class"] if recipe else None
    if recipe is None or name not in _HOMES:
        raise SessionError(
            f"the session's feed ({label or 'unnamed'}) cannot be made again from its journal: pass it, "
            "as in qf.resume(name, feed=qf.ReplayFeed(data))"
        )
    arguments = dict(recipe["arguments"])
    positional: list[Any] = []
    if name == "sample":
        positional = arguments.pop("symbols")
    elif name == "FailoverFeed":
        arguments["feeds"] = [feed_of(part, label) for part in arguments["feeds"]]
    feed: Feed = getattr(import_module(f"qfkit.feeds.{_HOMES[name]}"), name)(*positional, **arguments)
    return feed
