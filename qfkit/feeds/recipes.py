"""Feeds made again from what a journal says of them."""

from typing import Any

from qfkit.errors import SessionError
from qfkit.feeds.base import Feed

__all__ = ["feed_of"]


def feed_of(recipe: dict[str, Any] | None, label: str) -> Feed:
    """The feed of :meth:`Feed.recipe`; :class:`SessionError` where it has none."""
    from qfkit.feeds.binance import BinanceFeed
    from qfkit.feeds.replay import ReplayFeed, sample
    from qfkit.feeds.synthetic import SyntheticFeed

    arguments = dict(recipe["arguments"]) if recipe else {}
    match recipe["class"] if recipe else None:
        case "BinanceFeed":
            return BinanceFeed(**arguments)
        case "SyntheticFeed":
            return SyntheticFeed(**arguments)
        case "ReplayFeed":
            return ReplayFeed(**arguments)
        case "sample":
            return sample(*arguments.pop("symbols"), **arguments)
    raise SessionError(
        f"the session's feed ({label or 'unnamed'}) cannot be made again from its journal: pass it, "
        "as in qf.resume(name, feed=qf.ReplayFeed(data))"
    )
