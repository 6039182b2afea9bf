"""A live feed that does what a test tells it, for exact sequences."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from qfkit.core.events import MarketEvent
from qfkit.feeds.base import Feed

__all__ = ["ScriptedFeed"]


class ScriptedFeed(Feed):
    """Gives what :meth:`give` was given, as one batch; ``fail`` has it raise, now or at its next start."""

    is_live = True

    def __init__(self, name: str, symbols: Iterable[str] = ("A",), *, is_live: bool = True) -> None:
        self.name = name
        super().__init__(tuple(symbols), label=name)
        self.is_live = is_live
        self.starts = 0
        self.connects_by_itself = True
        self.history: Any = None
        self._error: BaseException | None = None
        self._queue: asyncio.Queue[list[MarketEvent] | BaseException | None] = asyncio.Queue()

    def give(self, *events: MarketEvent) -> None:
        self._queue.put_nowait(list(events))

    def fail(self, error: BaseException | None) -> None:
        """Raise while it runs, and at each start until told otherwise (None)."""
        self._error = error
        if error is not None and self._is_open:
            self._queue.put_nowait(error)

    def break_once(self, error: BaseException) -> None:
        self._queue.put_nowait(error)

    def end(self) -> None:
        self._queue.put_nowait(None)

    def turn(self, state: str) -> None:
        """Have another state, as a connection that is lost or there again."""
        self.state = state
        self.ledger.turn(state)

    def recipe(self) -> dict[str, Any] | None:
        return None

    def history_source(self) -> Any:
        return self.history

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        self.starts += 1
        if self._error is not None:
            raise self._error
        if self.connects_by_itself:
            self.turn("live")
        try:
            while True:
                given = await self._queue.get()
                if given is None:
                    return
                if isinstance(given, BaseException):
                    raise given
                if given:
                    yield given
        finally:
            self.ledger.turn("closed")
