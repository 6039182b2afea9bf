"""Recordings as a feed: at their own pace, faster, or as fast as it goes."""

import logging
import time
from collections.abc import AsyncIterator, Iterable
from math import inf
from os import PathLike, fspath
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qfkit.core.events import MarketEvent
from qfkit.errors import ParameterError
from qfkit.feeds.base import Feed
from qfkit.feeds.pace import Pace
from qfkit.feeds.recordings import Recording, Source, open_recording
from qfkit.samples import SAMPLE_SYMBOLS, sample_columns

__all__ = ["Recording", "ReplayFeed", "open_recording", "sample"]

_logger = logging.getLogger("qfkit.feeds")

_DAY_S = 86_400.0
# So long it waits at most before it looks at the time again, should the computer have slept.
_LOOK_S = 0.1
_REPORTED = 20


class ReplayFeed(Feed):
    """Past events as if they happened now; for what it can read see :func:`open_recording`.

    ``speed`` is a multiple of real time: 1.0 as recorded, 60.0 a minute a second, None as fast as
    it goes. The pace is that of the times of receipt, for bars that of their closes; a night or
    a weekend in the recording takes as long as it takes, divided by the speed. A line that
    cannot be read is counted in ``rejected_count`` and left out.

    ``calendar`` has shares keep the hours of their market: "auto" by the symbol (see
    :func:`open_recording`), or the name of one, as "XNYS".

    The events are the same every time, at any speed; only their batches differ.
    """

    name = "replay"
    is_live = False

    def __init__(
        self,
        source: Source,
        *,
        speed: float | None = 1.0,
        symbols: Iterable[str] | str | None = None,
        timeframe: str | None = None,
        label: str | None = None,
        calendar: str | None = None,
    ) -> None:
        if speed is not None and not 0.0 < speed < inf:
            raise ParameterError(
                f"speed={speed!r} must be above zero: 1.0 is real time, 10.0 ten times as fast, None as fast as it goes"
            )
        chosen = symbols if symbols is None or isinstance(symbols, str) else list(symbols)
        if isinstance(source, Recording):
            recording = source
            if chosen is not None or timeframe is not None or calendar is not None:
                raise ParameterError(
                    "symbols=, timeframe= and calendar= are chosen by open_recording(), not for an open recording"
                )
        else:
            recording = open_recording(source, symbols=chosen, timeframe=timeframe, calendar=calendar)
        self.recording = recording
        self.speed = None if speed is None else float(speed)
        if label is None:
            pace = "" if speed is None else f", {speed:g}x"
            label = f"replay of {recording.label}{pace}"
        super().__init__(recording.symbols, label=label)
        self.timeframe = recording.timeframe
        self.has_sure_types = recording.kind != "events"
        self._arguments: dict[str, Any] | None = None
        # An address with a password in it is for no journal: such a feed is given anew to a session that goes on.
        if isinstance(source, str | PathLike) and urlsplit(path := fspath(source)).password is None:
            self._arguments = {
                "source": path if "://" in path else str(Path(path).absolute()),
                "speed": self.speed,
                "symbols": [chosen] if isinstance(chosen, str) else chosen,
                "timeframe": timeframe,
                "label": label,
                "calendar": calendar,
            }
        self._recipe_class = "ReplayFeed"
        self._stands_ns = 0
        self._next_ns = 0
        self._pace: Pace | None = None

    def recipe(self) -> dict[str, Any] | None:
        return None if self._arguments is None else {"class": self._recipe_class, "arguments": dict(self._arguments)}

    def now_ns(self) -> int:
        """Where the replay stands, UTC ns: the receipt of the last event; with a pace, also what has passed since.

        Never past an event that was not given yet; 0 before the first.
        """
        if self._pace is None or not self._next_ns:
            return self._stands_ns
        return max(self._stands_ns, min(self._pace.due_ns(), self._next_ns))

    def _reject_line(self, received_ns: int, error: str, text: str) -> None:
        # What is skipped was counted when it was first given.
        if self.is_skipping:
            return
        if not text or self.rejected_count < _REPORTED:
            # Without a text it is no line but the end of one file, which is not found out often.
            _logger.warning("%s: %s", self.label, error)
        self.reject(received_ns, error, text)

    def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        return self._play(0)

    def _batches_from(self, skip: int) -> AsyncIterator[list[MarketEvent]]:
        return self._play(skip)

    async def _play(self, skip: int) -> AsyncIterator[list[MarketEvent]]:
        self.progress = 0.0
        self._stands_ns = self._next_ns = 0
        self._pace = None if self.speed is None else Pace(self.speed)
        self.is_skipping = skip > 0
        portions = self.recording.portions(self._reject_line)
        self.state = "running"
        before: float | None = 0.0
        try:
            for batch, fraction in portions:
                if skip >= len(batch):
                    skip -= len(batch)
                    self._stands_ns = batch[-1].received_ns
                    self.progress = before = fraction
                    if await self.pause_s(0.0):
                        return
                    continue
                self.is_skipping = False
                async for part in self._paced(batch, skip, before, fraction):
                    yield part
                skip = 0
                if self._stopping.is_set():
                    return
                self.progress = before = fraction
            self.progress = 1.0
        finally:
            self.is_skipping = False
            self._next_ns = 0
            portions.close()

    async def _paced(
        self, batch: list[MarketEvent], first: int, before: float | None, after: float | None
    ) -> AsyncIterator[list[MarketEvent]]:
        """The events of a batch from a position on, when they are due."""
        pace = self._pace
        if pace is None:
            self._stands_ns = batch[-1].received_ns
            self.progress = after
            yield batch[first:] if first else batch
            await self.pause_s(0.0)
            return
        pace.begin(batch[first].received_ns)
        position, count = first, len(batch)
        while position < count:
            self._next_ns = batch[position].received_ns
            wait_s = pace.wait_s(self._next_ns)
            if wait_s > 0.0:
                if await self.pause_s(min(wait_s, _LOOK_S)):
                    return
                continue
            due_ns = pace.due_ns()
            end = position + 1
            while end < count and batch[end].received_ns <= due_ns:
                end += 1
            part = batch[position:end]
            self._stands_ns = part[-1].received_ns
            if end < count:
                self._next_ns = batch[end].received_ns
            if before is not None and after is not None:
                self.progress = before + (after - before) * end / count
            yield part
            position = end
            if self._stopping.is_set():
                return


def sample(*symbols: str, speed: float | None = None, days_per_second: float | None = None) -> ReplayFeed:
    """The real daily bars of :func:`qfkit.sample` as a feed, those of several symbols by their close.

    ``days_per_second`` is the handy pace: calendar days, so that a weekend takes as long as two
    days do and 50 of them give about 34 bars of each symbol a second. ``speed`` is the same as a
    multiple of real time. Without either the bars come as fast as it goes. No symbol means "AAPL".
    """
    if speed is not None and days_per_second is not None:
        raise ParameterError(f"speed={speed!r} and days_per_second={days_per_second!r} both set the pace: give one")
    if days_per_second is not None:
        if not 0.0 < days_per_second < inf:
            raise ParameterError(f"days_per_second={days_per_second!r} must be above zero, such as 50, or left out")
        speed = days_per_second * _DAY_S
    names = tuple(dict.fromkeys(symbols)) or SAMPLE_SYMBOLS[:1]
    columns = {name: sample_columns(name) for name in names}
    first = min(int(own.open_ns[0]) for own in columns.values())
    last = max(int(own.open_ns[-1]) for own in columns.values())
    feed = ReplayFeed(columns, speed=speed, label=f"real daily bars {_year(first)}-{_year(last)}")
    feed._recipe_class = "sample"
    feed._arguments = {"symbols": list(names), "speed": feed.speed}
    return feed


def _year(time_ns: int) -> int:
    return time.gmtime(time_ns // 1_000_000_000).tm_year
