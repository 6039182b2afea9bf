"""The strategy of a session that only watches: it wants nothing, and no view shows it."""

from qfkit.core.strategy import Strategy

__all__ = ["WatchOnly"]


class WatchOnly(Strategy):
    """Does nothing, for an engine needs a strategy."""
