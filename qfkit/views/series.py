"""What a chart needs before it is drawn: fewer points, round ticks, positions, entries and exits.

The x of a chart is not time but the position among the equity points, so that nights, weekends
and outages take no room; ticks say the time, in UTC.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from math import ceil, floor, log10
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.comparison import Comparison
from qfkit.core.orders import Fill, Side
from qfkit.core.wording import span_text, utc_time
from qfkit.tables import BarColumns, EquityColumns

__all__ = [
    "MOST_CANDLES",
    "MOST_POINTS",
    "Across",
    "Mark",
    "RunSeries",
    "around",
    "positions_on",
    "round_ticks",
    "run_series",
    "thin",
    "time_ticks",
    "value_text",
]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]

MOST_CANDLES = 300
MOST_POINTS = 1_000
_MOST_MARKS = 500

_SECOND_NS = 1_000_000_000
_DAY_S = 86_400
_DAY_NS = _DAY_S * _SECOND_NS
# A position this small against the fill that left it is rounding, not a position.
_DUST = 1e-12
# Values that differ by less than this share of themselves are the same but for rounding.
_ALIKE = 1e-9
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200)
_STEPS_DAYS = (1, 2, 7, 14)
_STEPS_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240)


_NOTHING = np.empty(0)


class Across(Protocol):
    """The x axis of a picture: positions from 0 to ``last``, ticks with their names, and how far it goes past both ends."""

    @property
    def last(self) -> float: ...
    @property
    def ticks(self) -> tuple[tuple[float, str], ...]: ...
    @property
    def edge(self) -> float: ...


class Mark(msgspec.Struct, frozen=True):
    """A fill on the chart. ``opens``: it began, enlarged or turned round a position; else it reduced one."""

    position: float
    price: float
    side: Side
    opens: bool


class RunSeries(msgspec.Struct, frozen=True):
    """A run as arrays that are ready to draw: nothing NaN, no more points than a page bears.

    ``candles`` is None where there are too many bars for candles; the close is a line then.
    ``x`` arrays are positions from 0 to ``last``; ``ticks`` are positions with their time in
    UTC. ``drawdown`` is a fraction, 0 or below. ``benchmark`` is drawn beside the equity; empty without one.
    """

    last: float
    ticks: tuple[tuple[float, str], ...]
    dates: str
    symbol: str
    timeframe: str
    candles: BarColumns | None
    price_x: Floats
    price: Floats
    marks: tuple[Mark, ...]
    fills: int
    equity_x: Floats
    equity: Floats
    drawdown_x: Floats
    drawdown: Floats
    starting_equity: float
    benchmark_x: Floats = _NOTHING
    benchmark: Floats = _NOTHING
    benchmark_name: str = ""

    @property
    def edge(self) -> float:
        """How far the x axis goes past the first and the last position, so that no candle is cut."""
        return 0.0 if self.candles is None else 0.6


def run_series(
    bars: BarColumns | None,
    fills: Sequence[Fill],
    equity: EquityColumns,
    *,
    starting_equity: float,
    benchmark: Comparison | None = None,
) -> RunSeries:
    """Prepare the price of one symbol, its fills, the account's equity, its drawdown and a benchmark."""
    has_equity = len(equity.times_ns) > 1
    has_bars = bars is not None and len(bars) > 0
    axis_ns = equity.times_ns if has_equity or not has_bars or bars is None else bars.close_ns
    last = float(max(len(axis_ns) - 1, 1))
    places = np.arange(len(axis_ns), dtype=np.float64)
    position = partial(positions_on, axis_ns)

    empty = np.empty(0)
    candles, price_x, price, symbol, timeframe = None, empty, empty, "", ""
    marks: tuple[Mark, ...] = ()
    own = [fill for fill in fills if bars is not None and fill.symbol == bars.symbol]
    if has_bars and bars is not None:
        symbol, timeframe = bars.symbol, bars.timeframe
        candles = bars if len(bars) <= MOST_CANDLES else None
        price_x, price = thin(position(bars.close_ns), bars.close)
        if own:
            marks = _marks(own, position(np.array([fill.received_ns for fill in own], dtype=np.int64)), last)
    equity_x, value, drawdown_x, drawdown = empty, empty, empty, empty
    if has_equity:
        peaks = np.maximum.accumulate(np.maximum(equity.account, starting_equity))
        equity_x, value = thin(places, equity.account)
        drawdown_x, drawdown = thin(places, equity.account / peaks - 1.0)
    benchmark_x, beside = empty, empty
    if has_equity and benchmark is not None:
        benchmark_x, beside = thin(position(benchmark.times_ns), benchmark.equity)
    return RunSeries(
        last=last,
        ticks=time_ticks(axis_ns) if has_equity or has_bars else (),
        dates=span_text(int(axis_ns[0]), int(axis_ns[-1])) if len(axis_ns) else "",
        symbol=symbol,
        timeframe=timeframe,
        candles=candles,
        price_x=price_x,
        price=price,
        marks=marks,
        fills=len(own),
        equity_x=equity_x,
        equity=value,
        drawdown_x=drawdown_x,
        drawdown=drawdown,
        starting_equity=starting_equity,
        benchmark_x=benchmark_x,
        benchmark=beside,
        benchmark_name="" if benchmark is None else benchmark.name,
    )


def positions_on(axis_ns: Times, times_ns: Times) -> Floats:
    """Where times lie among those of an axis."""
    # Differences from the first time are exact as floats; nanoseconds since 1970 are not.
    origin = axis_ns[0]
    places = np.arange(len(axis_ns), dtype=np.float64)
    found: Floats = np.interp((times_ns - origin).astype(np.float64), (axis_ns - origin).astype(np.float64), places)
    return found


def thin(x: Floats, y: Floats, most: int = MOST_POINTS) -> tuple[Floats, Floats]:
    """At most ``most`` of the points, if more than that: the first, the last, and the lowest and highest of each
    stretch, so that no spike is lost. A point that is not finite is left out."""
    finite = np.isfinite(y)
    if not finite.all():
        x, y = x[finite], y[finite]
    if len(y) <= most:
        return x, y
    edges = np.linspace(0, len(y), (most - 2) // 2 + 1).astype(np.intp)
    keep = {0, len(y) - 1}
    for start, end in pairwise(edges):
        stretch = y[start:end]
        keep.add(int(start + np.argmin(stretch)))
        keep.add(int(start + np.argmax(stretch)))
    chosen = np.array(sorted(keep), dtype=np.intp)
    return x[chosen], y[chosen]


def _marks(fills: Sequence[Fill], positions: Floats, last: float) -> tuple[Mark, ...]:
    """Fills as marks, those that would lie on one another left out."""
    held: dict[str, float] = {}
    marks = []
    for fill, place in zip(fills, positions, strict=True):
        before = held.get(fill.strategy, 0.0)
        signed = fill.quantity if fill.side == Side.BUY else -fill.quantity
        after = before + signed
        if abs(after) <= _DUST * fill.quantity:
            after = 0.0
        held[fill.strategy] = after
        marks.append(Mark(float(place), fill.price, fill.side, opens=after * signed > 0.0))
    slots = 150
    while len(marks) > _MOST_MARKS:
        prices = [mark.price for mark in marks]
        height = (max(prices) - min(prices)) or 1.0
        apart = {
            (round(mark.position / last * slots), round(mark.price / height * slots / 3), mark.side, mark.opens): mark
            for mark in marks
        }
        marks = list(apart.values())
        slots //= 2
    return tuple(marks)


def around(low: float, high: float, margin: float = 0.06) -> tuple[float, float]:
    """The ends of an axis that takes in these values; values all the same lie in its middle."""
    size = max(abs(low), abs(high))
    more = (high - low) * margin if high - low > _ALIKE * size else size * 0.01 or 1.0
    return low - more, high + more


def round_ticks(low: float, high: float, about: int = 5, unit: str = "") -> list[tuple[float, str]]:
    """Multiples of 1, 2 or 5 times a power of ten between two values, about so many, with names."""
    rough = (high - low) / max(about, 1)
    power = floor(log10(rough))
    step = next(times * 10.0**power for times in (1.0, 2.0, 5.0, 10.0) if times * 10.0**power >= rough * 0.999)
    decimals = max(0, -floor(log10(step * 1.001)))
    # Counted in whole steps: adding 0.1 up would drift off the round values.
    places = range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)
    return [(place * step, f"{place * step:,.{decimals}f}{unit}") for place in places]


def value_text(value: float, spread: float) -> str:
    """A value with the decimals that tell it apart on a chart that spans ``spread``."""
    decimals = 2
    if spread > _ALIKE * abs(value):
        decimals = 0 if spread >= 1_000.0 else min(max(2, 2 - floor(log10(spread))), 8)
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def time_ticks(times_ns: Times, most: int = 8) -> tuple[tuple[float, str], ...]:
    """Positions where a round time begins, with its name: of the finest step that fits.

    Where a gap takes no room two ticks may come to lie close together, and the later one is
    left out; a step of which many would be left out is too fine.
    """
    first_s, final_s = int(times_ns[0]) // _SECOND_NS, int(times_ns[-1]) // _SECOND_NS
    apart = len(times_ns) / (1.5 * most)
    # A moment is the end of what it stands for: a day's bar closes at the next midnight.
    ends_ns = times_ns - 1
    usual_ns = int(np.median(np.diff(times_ns))) if len(times_ns) > 1 else 0
    best: list[tuple[float, str]] = []
    for step_s, starts in _steps(first_s, final_s, most):
        ticks: list[tuple[float, str]] = []
        left_out = 0
        for start in starts:
            begins_day = start % _DAY_S == 0
            seen_ns = ends_ns if begins_day else times_ns
            place = int(np.searchsorted(seen_ns, start * _SECOND_NS))
            if place == len(seen_ns):
                continue
            # A day begins with its first point. Another round time inside a night has no point of its
            # own; the next one is not it.
            late_ns, step_ns = int(seen_ns[place]) - start * _SECOND_NS, step_s * _SECOND_NS
            if late_ns >= (max(step_ns, _DAY_NS) if begins_day else max(min(usual_ns, step_ns), step_ns // 10)):
                continue
            named = start if late_ns < _DAY_NS else int(seen_ns[place]) // _SECOND_NS
            if ticks and place - ticks[-1][0] < apart:
                left_out += 1
            else:
                ticks.append((float(place), _tick_text(named, step_s)))
        if 1 < len(ticks) <= most:
            best = best or ticks
            if left_out <= len(ticks) // 4:
                return tuple(ticks)
    return tuple(best) or ((0.0, utc_time(int(times_ns[0]))[11:]),)


def _steps(first_s: int, final_s: int, most: int) -> Iterator[tuple[int, list[int]]]:
    """Steps in seconds, from fine to coarse, each with its round times between two times.

    Nights and weekends take no room, so a step may have more round times than a chart has ticks.
    """
    span_s = final_s - first_s
    for step_s in _STEPS_S:
        if span_s / step_s <= 4 * most:
            yield step_s, list(range(-(-first_s // step_s) * step_s, final_s + 1, step_s))
    for days in _STEPS_DAYS:
        if span_s / (days * _DAY_S) <= 4 * most:
            # 1970 began on a Thursday; weeks begin on Mondays.
            offset = 4 * _DAY_S if days % 7 == 0 else 0
            step_s = days * _DAY_S
            yield step_s, list(range(-(-(first_s - offset) // step_s) * step_s + offset, final_s + 1, step_s))
    start = datetime.fromtimestamp(first_s, UTC)
    end = datetime.fromtimestamp(final_s, UTC)
    first_month, final_month = start.year * 12 + start.month - 1, end.year * 12 + end.month - 1
    for months in _STEPS_MONTHS:
        if (final_month - first_month) / months <= 4 * most:
            places = range(-(-first_month // months) * months, final_month + 1, months)
            starts = [int(datetime(place // 12, place % 12 + 1, 1, tzinfo=UTC).timestamp()) for place in places]
            yield months * 28 * _DAY_S, [second for second in starts if second >= first_s]


def _tick_text(start_s: int, step_s: int) -> str:
    start = datetime.fromtimestamp(start_s, UTC)
    if step_s >= 12 * 28 * _DAY_S:
        return f"{start.year}"
    if step_s >= 28 * _DAY_S:
        return f"{_MONTHS[start.month - 1]} {start.year}"
    if step_s >= _DAY_S or start_s % _DAY_S == 0:
        return f"{start.day} {_MONTHS[start.month - 1]}"
    return start.strftime("%H:%M" if step_s >= 60 else "%H:%M:%S")
