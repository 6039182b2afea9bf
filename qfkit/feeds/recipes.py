"""Feeds made again from what a journal says of them."""

from typing import Any

from qfkit import feeds
from qfkit.errors import SessionError
from qfkit.feeds.base import Feed

__all__ = ["feed_of"]


def feed_of(recipe: dict[str, Any] | None, label: str) -> Feed:
    """The feed of :meth:`Feed.recipe`; :class:`SessionError` where it has none."""
    arguments = dict(recipe["arguments"]) if recipe else {}
    match recipe["class"] if recipe else None:
        case "BinanceFeed":
            return feeds.BinanceFeed(**arguments)
        case "SyntheticFeed":
            return feeds.SyntheticFeed(**arguments)
        case "ReplayFeed":
            return feeds.ReplayFeed(**arguments)
        case "sample":
            return feeds.sample(*arguments.pop("symbols"), **arguments)
    raise SessionError(
        f"the session's feed ({label or 'unnamed'}) cannot be made again from its journal: pass it, "
        "as in qf.resume(name, feed=qf.ReplayFeed(data))"
    )
