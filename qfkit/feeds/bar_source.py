"""What a provider's history looks like to whoever asks for it."""

from collections.abc import AsyncIterator, Collection
from typing import Protocol

from qfkit.tables import BarColumns

__all__ = ["BarSource"]


class BarSource(Protocol):
    """Bars of the past from one provider. It keeps the provider's limits by itself."""

    @property
    def name(self) -> str:
        """As ``source=`` names it."""
        ...

    @property
    def timeframes(self) -> Collection[str]:
        """The timeframes it has."""
        ...

    def bars(self, symbol: str, timeframe: str, start_ns: int, end_ns: int) -> AsyncIterator[BarColumns]:
        """The bars that open in [start_ns, end_ns), oldest first, a page at a time.

        Prices are the provider's own: Yahoo's are adjusted for splits, the others' are as traded. A bar that is not over yet comes too: its ``close_ns`` is in the future.
        Raises :class:`~qfkit.errors.SymbolError` for an unknown symbol, and another
        :class:`~qfkit.errors.FeedError` where the provider refuses or cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Close its connections."""
