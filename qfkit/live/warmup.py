"""What a session knows of the past before its first event: bars from the feed's provider, or the user's own."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Protocol

import msgspec
import numpy as np

from qfkit.core.engine import Engine
from qfkit.core.events import Bar, MarketEvent
from qfkit.core.timeframes import bar_open_ns, check_multiple, timeframe_ns
from qfkit.errors import ParameterError, QfkitError, TimeframeError, did_you_mean
from qfkit.feeds.bar_source import BarSource
from qfkit.feeds.base import Feed
from qfkit.frames import bars_of, columns_by_symbol, is_frame
from qfkit.history_cache import columns_where, fetch_bars, join_columns
from qfkit.tables import BarColumns, Times

__all__ = ["FetchedPast", "GivenPast", "Past", "PastBars", "after_past", "higher_timeframes", "past_of"]

_DAY_NS = 86_400 * 1_000_000_000
_UNNAMED = "data"
# A bar whose end by our clock is nearer than this may not have ended by the provider's.
_CLOCKS_NS = 2 * 1_000_000_000
_PATIENCE_S = 60.0
_LOOK_S = 0.25
# A market that is closed sends nothing by which to tell that the connection stands.
_GREETING_S = 5.0
_GLANCE_S = 0.02
_MOST_HELD = 200_000
_ROUNDS = 4
# Long enough to reach over a weekend with its holidays.
_LONG_WEEKEND_NS = 6 * _DAY_NS
# Beyond so many of the feed's own small bars, those of the session's timeframe have to do.
_MOST_SMALL_BARS = 5_000


class PastBars(msgspec.Struct, frozen=True):
    """Closed bars by their close, the beginnings of open ones, and what the user should know."""

    bars: list[Bar]
    unfinished: list[Bar]
    warnings: list[str]


class Past(Protocol):
    """Where the bars before a session's first event come from."""

    async def bars(self, feed: Feed, before_ns: int) -> PastBars:
        """The bars that are closed at a time, and the one open then. Fails only for what is no matter of the past."""
        ...


def higher_timeframes(engine: Engine, feed: Feed) -> set[str]:
    """The further timeframes of the strategies; :class:`TimeframeError` for one that the run's does not make up."""
    higher = {timeframe for desk in engine.desks.values() for timeframe in desk.timeframes()}
    # What else comes, an unknown recording's say, shows with its first event.
    base = engine.timeframe or feed.timeframe or ("1m" if feed.is_live else None)
    if base is not None:
        for timeframe in sorted(higher):
            check_multiple(timeframe, base)
    return higher


def past_of(warmup: object, feed: Feed, timeframe: str | None, higher: Collection[str] = ()) -> Past | None:
    """What ``qf.paper(..., warmup=)`` was given: a number of bars, a DataFrame or a dict of them by symbol; None for 0.

    ``higher`` are the further timeframes that the strategies want.
    """
    step = timeframe or feed.timeframe or "1m"
    if is_frame(warmup) or isinstance(warmup, Mapping | BarColumns):
        return GivenPast(_given(warmup, feed, step), step)
    if isinstance(warmup, bool) or not isinstance(warmup, int | np.integer) or warmup < 0:
        raise ParameterError(
            f"warmup={warmup!r}: give the number of bars, as in warmup=100, or the bars as a DataFrame "
            "or a dict of them by symbol"
        )
    if warmup == 0:
        return None
    source = feed.history_source()
    if source is None:
        raise ParameterError(
            f"warmup={warmup}: {feed.label} has no bars from before its first: give them as a DataFrame, "
            f"as in warmup=qf.history({feed.symbols[0] if feed.symbols else '...'!r}, days=30, timeframe={step!r})"
        )
    return FetchedPast(int(warmup), step, _fetched_timeframe(source, feed.timeframe, step, int(warmup)), higher)


def _given(warmup: Any, feed: Feed, step: str) -> dict[str, BarColumns]:
    frames = warmup.values() if isinstance(warmup, Mapping) else [warmup]
    stated = {getattr(frame, "attrs", {}).get("timeframe") for frame in frames}
    # A frame of qf.history says what its bars are; of one row no times tell it.
    columns = columns_by_symbol(warmup, stated.pop() if len(stated) == 1 else None)
    if list(columns) == [_UNNAMED] and len(feed.symbols) == 1:
        columns = {feed.symbols[0]: msgspec.structs.replace(columns[_UNNAMED], symbol=feed.symbols[0])}
    for symbol, own in columns.items():
        if feed.symbols and symbol not in feed.symbols:
            raise ParameterError(
                f"warmup= holds bars of {symbol!r}, which the feed does not have.{did_you_mean(symbol, feed.symbols)}"
            )
        if timeframe_ns(step) % timeframe_ns(own.timeframe):
            raise TimeframeError(
                f"warmup= holds bars of {own.timeframe} of {symbol}, of which the session's bars of {step} "
                f"cannot be built: give bars of {step}"
            )
    return columns


def _fetched_timeframe(source: BarSource, own: str | None, step: str, count: int) -> str:
    """Which bars are asked for: the feed's own, which go on seamlessly, else the session's, else smaller ones."""
    step_ns = timeframe_ns(step)
    fitting = [name for name in source.timeframes if step_ns % timeframe_ns(name) == 0]
    if own in fitting and count * step_ns <= _MOST_SMALL_BARS * timeframe_ns(own):
        return own
    if step in fitting:
        return step
    if not fitting:
        raise ParameterError(
            f"warmup={count}: {source.name} has no bars of {step} nor smaller ones to build them from, it has "
            f"{', '.join(source.timeframes)}: choose another timeframe, or give the bars as a DataFrame"
        )
    return max(fitting, key=timeframe_ns)


class GivenPast:
    """The user's own bars. Those that end after the session's beginning are left out."""

    def __init__(self, columns: Mapping[str, BarColumns], timeframe: str) -> None:
        self._columns = columns
        self._timeframe = timeframe

    async def bars(self, feed: Feed, before_ns: int) -> PastBars:
        parts = []
        warnings = []
        for symbol, columns in self._columns.items():
            part = _parted(columns, before_ns, feed)
            if not part.bars:
                warnings.append(f"warm-up: none of the given bars of {symbol} is before the session's beginning")
            parts.append(part)
        return _together(parts, warnings)


class FetchedPast:
    """The newest bars that a feed's provider has: ``count`` closed ones of ``timeframe``, a symbol.

    And those before them that the first bar of each ``higher`` timeframe begins with.
    """

    def __init__(self, count: int, timeframe: str, fetched: str, higher: Collection[str] = ()) -> None:
        self._count = count
        self._timeframe = timeframe
        self._fetched = fetched
        self._cut_by = (timeframe, *higher)

    async def bars(self, feed: Feed, before_ns: int) -> PastBars:
        source = feed.history_source()
        assert source is not None
        parts: list[PastBars] = []
        warnings: list[str] = []
        waiting = list(feed.symbols)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while waiting:
                    part, warning = await self._of(source, waiting[0], feed, before_ns)
                    parts.append(part)
                    warnings += [warning] if warning else []
                    del waiting[0]
        except TimeoutError:
            warnings.append(f"no warm-up of {', '.join(waiting)}: no bars came within {_PATIENCE_S:g} s")
        finally:
            await source.close()
        return _together(parts, warnings)

    async def _of(self, source: BarSource, symbol: str, feed: Feed, now_ns: int) -> tuple[PastBars, str]:
        """Ask further and further back, for nights and holidays have no bars."""
        step_ns, small_ns = timeframe_ns(self._timeframe), timeframe_ns(self._fetched)
        columns = join_columns(symbol, self._fetched, [])
        until_ns, span_ns = now_ns + small_ns, (self._count + 1) * step_ns
        refusal = ""
        for _ in range(_ROUNDS):
            # A whole bar begins where the smaller ones it is built from do.
            start_ns = max(0, self._begin_ns(now_ns - span_ns))
            try:
                older = await fetch_bars(source, symbol, self._fetched, start_ns, until_ns)
            except QfkitError as error:
                refusal = f" ({error})"
                break
            columns = join_columns(symbol, self._fetched, [older, columns])
            if self._whole(columns, now_ns) >= self._count or not start_ns:
                break
            until_ns, span_ns = start_ns, max(4 * span_ns, _LONG_WEEKEND_NS)
        found = self._whole(columns, now_ns)
        warning = f"warm-up of {symbol}: {found} of {self._count} bars{refusal}" if found < self._count else ""
        return _parted(self._newest(columns, now_ns), now_ns, feed), warning

    def _whole(self, columns: BarColumns, now_ns: int) -> int:
        """How many bars of the session's timeframe are closed."""
        if self._fetched == self._timeframe:
            return _closed(columns, now_ns)
        return len(self._closed_opens(columns, now_ns))

    def _closed_opens(self, columns: BarColumns, now_ns: int) -> Times:
        """When the bars of the session's timeframe open that are closed."""
        step_ns, first_ns = timeframe_ns(self._timeframe), bar_open_ns(self._timeframe, timeframe_ns(self._timeframe))
        opens_ns = (columns.open_ns - first_ns) // step_ns * step_ns + first_ns
        return np.unique(opens_ns[opens_ns + step_ns <= now_ns])

    def _begin_ns(self, time_ns: int) -> int:
        """When the longest of the bars begins that a time lies in."""
        return min(bar_open_ns(timeframe, time_ns) for timeframe in self._cut_by)

    def _newest(self, columns: BarColumns, now_ns: int) -> BarColumns:
        """As many closed bars of the session's timeframe as wanted, what its first higher bars lack, and what is open."""
        if self._fetched == self._timeframe:
            opens_ns = columns.open_ns[: _closed(columns, now_ns)]
        else:
            opens_ns = self._closed_opens(columns, now_ns)
        if not len(opens_ns):
            return columns
        first_ns = int(opens_ns[-self._count :][0])
        return columns_where(columns, columns.open_ns >= self._begin_ns(first_ns))


def _closed(columns: BarColumns, now_ns: int) -> int:
    """How many bars are closed; of one that ended just now only a later one proves it, for clocks differ."""
    closed = int((columns.close_ns <= now_ns).sum())
    is_unproven = closed and closed == len(columns) and columns.close_ns[-1] > now_ns - _CLOCKS_NS
    return closed - 1 if is_unproven else closed


def _parted(columns: BarColumns, now_ns: int, feed: Feed) -> PastBars:
    """What is closed, and where trades will go on with it, the beginning of the open bar."""
    bars = bars_of(columns)
    if not feed.is_live:
        return PastBars([bar for bar in bars if bar.close_ns <= now_ns], [], [])
    closed = _closed(columns, now_ns)
    # The feed's own bar of that time comes whole.
    is_own = columns.timeframe == feed.timeframe
    unfinished = [] if is_own else [bar for bar in bars[closed:] if bar.open_ns <= now_ns + _CLOCKS_NS][:1]
    return PastBars(bars[:closed], unfinished, [])


def _together(parts: Sequence[PastBars], warnings: list[str]) -> PastBars:
    bars = sorted((bar for part in parts for bar in part.bars), key=lambda bar: bar.close_ns)
    return PastBars(bars, [bar for part in parts for bar in part.unfinished], warnings)


async def after_past(
    past: Past,
    feed: Feed,
    events: AsyncGenerator[list[MarketEvent], None],
    apply: Callable[[PastBars, int], None],
    is_over: Callable[[], bool],
) -> AsyncGenerator[list[MarketEvent], None]:
    """A feed's batches, after ``apply`` was called with the bars of before and the time they came at.

    A live feed is started first and held back until its past has come, so that no event between the
    two is lost. It waits where very many are held. A feed that ends or fails meanwhile, or a session
    that is stopped, ends the waiting; then there is no past.
    """
    if feed.is_live:
        async with aclosing(
            _held_back(events, _once_open(past, feed), partial(_applied, feed, apply), is_over)
        ) as batches:
            async for batch in batches:
                yield batch
        return
    is_first = True
    async for batch in events:
        if is_first:
            first_ns = min(event.open_ns if isinstance(event, Bar) else event.time_ns for event in batch)
            apply(await past.bars(feed, first_ns), first_ns)
            is_first = False
        yield batch


async def _once_open(past: Past, feed: Feed) -> PastBars:
    """The past, asked for once the feed gives data: what is traded between the two would be in neither."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_GREETING_S):
            while feed.state in ("closed", "connecting"):  # noqa: ASYNC110 - a feed's state is a text, not an event
                await asyncio.sleep(_GLANCE_S)
    return await past.bars(feed, feed.now_ns())


def _applied(feed: Feed, apply: Callable[[PastBars, int], None], past: PastBars) -> None:
    # Later than the events that were held back: an order decided on one of them is sent only now.
    apply(past, feed.now_ns())


async def _held_back(
    events: AsyncGenerator[list[MarketEvent], None],
    fetching: Coroutine[Any, Any, PastBars],
    apply: Callable[[PastBars], None],
    is_over: Callable[[], bool],
) -> AsyncGenerator[list[MarketEvent], None]:
    past = asyncio.ensure_future(fetching)
    following: asyncio.Future[list[MarketEvent]] | None = None
    held: list[list[MarketEvent]] = []
    count = 0
    is_ended = False
    try:
        while not past.done() and not is_ended and not is_over():
            if following is None and count < _MOST_HELD:
                following = asyncio.ensure_future(anext(events))
            waited: set[asyncio.Future[Any]] = {past} if following is None else {past, following}
            await asyncio.wait(waited, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if following is not None and following.done():
                done, following = following, None
                try:
                    batch = done.result()
                except StopAsyncIteration:
                    is_ended = True
                else:
                    held.append(batch)
                    count += len(batch)
        if past.done():
            apply(past.result())
        for batch in held:
            yield batch
        if following is not None:
            try:
                yield await following
            except StopAsyncIteration:
                return
        async for batch in events:
            yield batch
    finally:
        for task in (past, following):
            if task is not None and not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await task
