"""What a picture of a run shows beyond its snapshot: bars, indicator lines, recent orders, the whole equity.

All of it is bounded, however long the run. It only reads the engine and changes nothing in it.
"""

from collections import deque
from collections.abc import Iterator
from math import nan
from typing import TYPE_CHECKING, Any

import msgspec

from qfkit.core.events import Bar
from qfkit.core.indicator_base import Indicator
from qfkit.core.indicators import make_indicator
from qfkit.core.lanes import KEPT_BARS, IndicatorSet, Series, Track
from qfkit.core.orders import Fill, Order, Signal
from qfkit.core.records import Records

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["ChartFeed", "ChartView", "IndicatorLine", "ThinnedCurve"]

_KEPT_ORDERS = 100
_KEPT_FILLS = 1_000
_BUCKETS = 250

Point = tuple[int, float]


class IndicatorLine(msgspec.Struct, frozen=True):
    """An indicator that lives on the price scale: a value a bar, NaN where it was not ready."""

    name: str
    strategy: str
    values: tuple[float, ...]


class ChartView(msgspec.Struct, frozen=True):
    """What to draw of one symbol and timeframe, and of the account.

    ``bars`` are closed, oldest first, ``forming`` is the one that is not. ``lines`` have a value for each of
    ``bars``. ``fills`` are those of the symbol within the bars, ``held`` what each strategy holds of it after them:
    a snapshot may be older than they are. ``orders`` are the latest of all symbols as they
    stand, ``refused`` the latest signals that became none. ``equity`` is the whole run's, thinned: of each
    stretch its lowest and highest point.
    """

    symbol: str = ""
    timeframe: str = ""
    timeframes: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()
    forming: Bar | None = None
    lines: tuple[IndicatorLine, ...] = ()
    fills: tuple[Fill, ...] = ()
    held: dict[str, float] = {}
    orders: tuple[Order, ...] = ()
    refused: tuple[Signal, ...] = ()
    equity: tuple[Point, ...] = ()


class ThinnedCurve:
    """A curve of any length in at most a thousand points: of each stretch its lowest and highest.

    Stretches are of the same number of points all along; when there are too many, neighbours become one.
    """

    def __init__(self, most: int = 2 * _BUCKETS) -> None:
        self._most = most
        self._size = 1
        self._full: list[tuple[Point, Point]] = []
        self._open: tuple[Point, Point] | None = None
        self._count = 0
        self._last: Point | None = None

    def add(self, time_ns: int, value: float) -> None:
        """Take the next point in; NaN is none, for it would stay in its stretch for good."""
        if value != value:
            return
        point = self._last = (time_ns, value)
        if self._open is None:
            self._open = (point, point)
        elif value < self._open[0][1]:
            self._open = (point, self._open[1])
        elif value > self._open[1][1]:
            self._open = (self._open[0], point)
        self._count += 1
        if self._count >= self._size:
            self._full.append(self._open)
            self._open, self._count = None, 0
            if len(self._full) > self._most:
                self._halve()

    def _halve(self) -> None:
        pairs = zip(self._full[::2], self._full[1::2], strict=False)
        rest = self._full[len(self._full) // 2 * 2 :]
        self._full = [
            (min(first[0], second[0], key=_value), max(first[1], second[1], key=_value)) for first, second in pairs
        ]
        if rest:
            self._open, self._count = rest[0], self._size
        self._size *= 2

    def points(self) -> tuple[Point, ...]:
        """The points, oldest first; the first and the last of the curve are among them, or near."""
        found: list[Point] = []
        stretches = self._full if self._open is None else [*self._full, self._open]
        for low, high in stretches:
            if low[0] == high[0]:
                found.append(low)
            else:
                found += (low, high) if low[0] < high[0] else (high, low)
        if self._last is not None and found[-1] != self._last:
            found.append(self._last)
        return tuple(found)


def _value(point: Point) -> float:
    return point[1]


class _Traced:
    """A second copy of a strategy's indicator, run over the kept bars so that its past values are known.

    ``original`` is the strategy's own: the same set has another one for the symbol after a split.
    """

    def __init__(self, indicators: IndicatorSet[Any], original: Indicator) -> None:
        self.source = indicators
        self.original = original
        self.indicator: Indicator = make_indicator(indicators.factory, *indicators.args, **indicators.kwargs)
        self.names = [("", self.indicator), *self.indicator.outputs()]
        self.values: deque[tuple[float, ...]] = deque(maxlen=KEPT_BARS)
        self.seen_ns = 0

    def follow(self, kept: deque[Bar]) -> None:
        """Take in the bars that are new since the last time."""
        fresh = list(_newer(kept, self.seen_ns))
        indicator, source = self.indicator, self.source.source
        for bar in reversed(fresh):
            indicator.update(bar if indicator.takes_bar else getattr(bar, source))
            self.values.append(tuple(line.value if indicator.ready else nan for _, line in self.names))
            self.seen_ns = bar.close_ns

    @property
    def is_true(self) -> bool:
        """Whether it can be what the original is: one without a period goes on from bars that are not kept any more."""
        return getattr(self.original, "period", 0) is not None or self.indicator.count >= self.original.count


def _newer(kept: deque[Bar], seen_ns: int) -> Iterator[Bar]:
    for bar in reversed(kept):
        if bar.close_ns <= seen_ns:
            return
        yield bar


class ChartFeed:
    """Keeps what charts of an engine need, and gives it as a :class:`ChartView`.

    ``take`` has to see the engine's records before they are cleared; where it does not, orders, fills and
    equity are missing from views.
    """

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._orders: dict[int, Order] = {}
        self._refused: deque[Signal] = deque(maxlen=_KEPT_ORDERS)
        self._fills: deque[Fill] = deque(maxlen=_KEPT_FILLS)
        self._equity = ThinnedCurve()
        self._traced: dict[tuple[int, str], _Traced] = {}

    def take(self, records: Records) -> None:
        """Keep what is new in the engine's records."""
        for row in records.equity:
            self._equity.add(int(row[0]), row[1])
        self._fills.extend(records.fills)
        for signal in records.signals:
            if signal.decision == "rejected":
                self._refused.append(signal)
        for order in records.orders:
            # Taken out first, so that what changed last comes last.
            self._orders.pop(order.order_id, None)
            self._orders[order.order_id] = order
        if len(self._orders) > 2 * _KEPT_ORDERS:
            self._orders = dict(list(self._orders.items())[-_KEPT_ORDERS:])

    def remember(
        self, orders: list[Order], fills: list[Fill], signals: list[Signal], equity: list[tuple[float, ...]]
    ) -> None:
        """Take in what an earlier process of the same run had, before anything new."""
        past = Records()
        past.orders, past.fills, past.signals, past.equity = orders, fills, signals, equity
        self.take(past)

    def view(self, symbol: str | None = None, timeframe: str | None = None, bars: int = 120) -> ChartView:
        """What to draw; ``symbol`` None takes the first, ``timeframe`` None the run's own."""
        equity = self._equity.points()
        orders, refused = tuple(self._orders.values())[-_KEPT_ORDERS:], tuple(self._refused)
        tracks = {name: track for name, track in self._engine.tracks.items() if not track.is_rate}
        if not tracks:
            return ChartView(symbol or "", timeframe or "", orders=orders, refused=refused, equity=equity)
        track = tracks.get(symbol or "") or next(iter(tracks.values()))
        series = track.higher.get(timeframe or "", track.base)
        kept = series.kept
        shown = [kept[place] for place in range(max(0, len(kept) - bars), len(kept))]
        since_ns = shown[0].open_ns if shown else 0
        return ChartView(
            symbol=track.symbol,
            timeframe=series.timeframe,
            timeframes=(track.base.timeframe, *reversed(track.higher)),
            bars=tuple(shown),
            forming=_forming(track, series),
            lines=tuple(self._lines(track, series, len(shown))),
            fills=tuple(fill for fill in self._fills if fill.symbol == track.symbol and fill.time_ns >= since_ns),
            held={
                desk.name: desk.book.open[track.symbol].quantity
                for desk in self._engine.desks.values()
                if track.symbol in desk.book.open
            },
            orders=orders,
            refused=refused,
            equity=equity,
        )

    def _lines(self, track: Track, series: Series, count: int) -> Iterator[IndicatorLine]:
        alive = set()
        for desk in self._engine.desks.values():
            for name, indicators in desk.named_sets:
                wanted = indicators.timeframe or track.base.timeframe
                mine = indicators.get(track.symbol)
                if mine is None or indicators.source == "volume" or not mine.is_price:
                    continue
                key = (id(indicators), track.symbol)
                # Those of other timeframes too: another chart may show them.
                alive.add(key)
                if wanted != series.timeframe:
                    continue
                traced = self._traced.get(key)
                if traced is None or traced.original is not mine:
                    traced = self._traced[key] = _Traced(indicators, mine)
                traced.follow(series.kept)
                if not traced.is_true:
                    continue
                rows = [traced.values[place] for place in range(len(traced.values) - count, len(traced.values))]
                for place, (part, _) in enumerate(traced.names):
                    label = f"{name} {part}".rstrip().replace("_", " ")
                    yield IndicatorLine(label, desk.name, tuple(row[place] for row in rows))
        for key in [key for key in self._traced if key[1] == track.symbol and key not in alive]:
            del self._traced[key]


def _forming(track: Track, series: Series) -> Bar | None:
    """The bar of the series that is not closed yet: of ticks, or of bars of a smaller timeframe."""
    parts = [series.builder] if series is track.base else [series.builder, track.base.builder]
    known = [part for part in parts if part.volume != -1.0 and part.close_ns > series.builder.open_ns]
    if not known:
        return None
    last, begin = known[-1], series.builder
    open_ns = begin.open_ns or last.open_ns
    bar = Bar(
        track.symbol,
        series.timeframe,
        known[0].open,
        max(part.high for part in known),
        min(part.low for part in known),
        last.close,
        sum(part.volume for part in known),
        open_ns,
        begin.close_ns or open_ns + begin.step_ns,
    )
    closed_ns = series.kept[-1].close_ns if series.kept else 0
    return bar if bar.close_ns > closed_ns else None
