"""The close that a price's change is counted from: that of the last session before the price's own."""

import time
from concurrent.futures import Future
from contextlib import suppress

from qfkit.errors import FeedError
from qfkit.feeds.base import Feed
from qfkit.live.runner import runner

__all__ = ["PreviousCloses"]

_DAY_NS = 86_400 * 1_000_000_000
_DAYS_BACK = 10
# Each request takes some of a small budget there.
_TOO_DEAR = "alphavantage"


class PreviousCloses:
    """The last daily closes of a feed's symbols, fetched from its provider in the background.

    Yahoo is asked for one symbol in two seconds, so of many symbols not all are known in time.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        # Of each symbol the end and the close of the last two days, the present one too.
        self._days: dict[str, list[tuple[int, float]]] = {}
        self.refusals: dict[str, str] = {}
        self._future: Future[None] = runner.submit(self._fetch())

    async def _fetch(self) -> None:
        source = self._feed.history_source() if self._feed.is_live else None
        if source is None or source.name == _TOO_DEAR:
            return
        now_ns = time.time_ns()
        try:
            for symbol in self._feed.symbols:
                days: list[tuple[int, float]] = []
                try:
                    async for page in source.bars(symbol, "1d", now_ns - _DAYS_BACK * _DAY_NS, now_ns):
                        days += zip(page.close_ns.tolist(), page.close.tolist(), strict=True)
                except FeedError as error:
                    self.refusals[symbol] = str(error)
                self._days[symbol] = days[-2:]
        finally:
            await source.close()

    @property
    def is_done(self) -> bool:
        return self._future.done()

    def wait(self, seconds: float) -> "PreviousCloses":
        """Wait for all of them, some seconds at most; what is not there then is done without."""
        with suppress(TimeoutError):
            self._future.result(seconds)
        self._future.cancel()
        return self

    def of(self, symbol: str, time_ns: int) -> float | None:
        """The close of the session before the one that a price of this time belongs to; None where it is not known."""
        days = self._days.get(symbol, [])
        before = [close for _, close in (days if days and time_ns >= days[-1][0] else days[:-1])]
        return before[-1] if before else None

    def words(self) -> str:
        """What changes are counted from."""
        lacking = [symbol for symbol in self._feed.symbols if not self._days.get(symbol)]
        if len(lacking) == len(self._feed.symbols):
            return "changes since the first price seen here"
        last = "the last close at 00:00 UTC" if self._feed.name == "binance" else "the last close"
        return f"changes since {last}" + (f" (of {', '.join(lacking)} since the first price seen)" if lacking else "")
