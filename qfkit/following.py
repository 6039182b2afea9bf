"""A feed's events where a command prints them: on the main thread, so that a slow terminal holds up no feed."""

import logging
import queue
import time
from collections.abc import Generator, Iterator
from contextlib import aclosing, contextmanager
from threading import Event

from qfkit.core.events import MarketEvent
from qfkit.feeds.base import Feed
from qfkit.live.runner import runner
from qfkit.watching import Interruption

__all__ = ["Warnings", "follow", "warnings_kept"]

_LOOK_S = 0.1
_MOST_WAITING = 1_000
_CLOSING_S = 5.0


def follow(
    feed: Feed, interruption: Interruption, *, seconds: float | None = None
) -> Generator[list[MarketEvent], None, None]:
    """The feed's batches until the time is over, the user interrupts or the feed ends; an empty one ten times a second in between.

    Close it (``contextlib.closing``), which stops the feed. Raises the feed's error.
    """
    waiting: queue.SimpleQueue[list[MarketEvent]] = queue.SimpleQueue()
    has_left = Event()

    async def take() -> None:
        async with aclosing(aiter(feed)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                waiting.put(batch)
                # Whoever prints is slow: what waits here makes the feed itself wait, and its quotes give way.
                while waiting.qsize() >= _MOST_WAITING and not has_left.is_set():
                    await feed.pause_s(_LOOK_S)

    future = runner.submit(take())
    end_s = None if seconds is None else time.monotonic() + seconds
    try:
        while not interruption.came:
            left_s = _LOOK_S if end_s is None else min(_LOOK_S, end_s - time.monotonic())
            if left_s <= 0.0:
                break
            # Looked at first, for what comes before the end is in the queue by then.
            is_over = future.done()
            try:
                batch = waiting.get(timeout=0.0 if is_over else left_s)
            except queue.Empty:
                if is_over:
                    break
                batch = []
            yield batch
    finally:
        has_left.set()
        if not future.done():
            runner.submit(feed.stop())
            try:
                future.exception(_CLOSING_S)
            except TimeoutError:
                future.cancel()
    if not future.cancelled():
        future.result()


class Warnings(logging.Handler):
    """Keeps the library's warnings for the thread that prints."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self._records.put(record)

    def taken(self) -> Iterator[logging.LogRecord]:
        """Those since the last call."""
        while not self._records.empty():
            yield self._records.get_nowait()


@contextmanager
def warnings_kept() -> Iterator[Warnings]:
    """Meanwhile the library's warnings are lines among the others, instead of somewhere between them."""
    kept = Warnings()
    logger = logging.getLogger("qfkit")
    logger.addHandler(kept)
    try:
        yield kept
    finally:
        logger.removeHandler(kept)
