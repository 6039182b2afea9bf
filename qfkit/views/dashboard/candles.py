"""Candles of one symbol with what was traded on them: entries, exits, working orders, the position's average."""

from bisect import bisect_right
from collections.abc import Sequence

import bqplot
import numpy as np

from qfkit.core.events import Bar
from qfkit.core.orders import Fill, Order, Side
from qfkit.views.dashboard.plots import Plot, Tag, send, short
from qfkit.views.dashboard.scene import Scene, said
from qfkit.views.dashboard.theme import LINE_COLOURS, LINE_STYLES
from qfkit.views.picture import BLUE, GREY, ORANGE, TEAL, VERMILION
from qfkit.views.sections import whole_fills
from qfkit.views.series import around, time_ticks

__all__ = ["Candles", "opening_fills"]

_FEWEST_SLOTS = 30
_MOST_LINES = 6
_DUST = 1e-9
_KINDS = ((Side.BUY, True), (Side.SELL, False), (Side.SELL, True), (Side.BUY, False))


class Candles:
    """The price plot; ``box`` is its widget, ``keys`` the legend as HTML."""

    def __init__(self, height_px: int) -> None:
        self._scales = {"x": bqplot.LinearScale(min=0.0, max=1.0), "y": bqplot.LinearScale(min=0.0, max=1.0)}
        seed = short([[1.0, 1.0, 1.0, 1.0]])
        self._candles = bqplot.OHLC(
            x=short([0.0]),
            y=seed,
            scales=self._scales,
            marker="candle",
            format="ohlc",
            colors=[TEAL, VERMILION],
            stroke=GREY,
            stroke_width=1.0,
            visible=False,
        )
        self._fills = [
            bqplot.Scatter(
                x=short([0.0]),
                y=short([0.0]),
                scales=self._scales,
                marker="triangle-up" if side == Side.BUY else "triangle-down",
                colors=[BLUE if opens else ORANGE],
                stroke="white",
                stroke_width=0.6,
                default_size=80,
                display_names=False,
                visible=False,
            )
            for side, opens in _KINDS
        ]
        self._lines: list[bqplot.Lines] = []
        self.plot = Plot(height_px, [self._candles, *self._fills], self._scales)
        self.box = self.plot.box
        self.keys = ""

    def draw(self, scene: Scene, window: int) -> None:
        """Bring the plot up to a scene; ``window`` is how many bars it has room for."""
        chart = scene.chart
        bars = [*chart.bars, *([chart.forming] if chart.forming is not None else [])][-window:]
        if not bars:
            for mark in (self._candles, *self._fills, *self._lines):
                if mark.visible:
                    mark.visible = False
            self.keys = ""
            self.plot.say("The first bar will appear here." if chart.symbol else "Waiting for the first price.")
            return
        rows = np.array([(bar.open, bar.high, bar.low, bar.close) for bar in bars], dtype=np.float64)
        slots = max(len(bars), min(window, _FEWEST_SLOTS))
        lines = self._known_lines(scene, len(bars))
        tags = self._tags(scene, bars)
        low, high = self._span(rows, lines, tags)
        self.plot.fit(low, high, -0.6, slots - 0.4)
        send(self._candles, x=short(np.arange(len(bars))), y=short(rows))
        kinds = self._draw_fills(scene, bars)
        self._draw_lines(lines)
        self.plot.label(self._ticks(bars), tags, about=max(3, self.plot.height_px // 55))
        self.keys = _keys(kinds, [name for name, _, _ in lines], _told(scene, bars[-1]))

    @staticmethod
    def _ticks(bars: Sequence[Bar]) -> Sequence[tuple[float, str]]:
        # A bar is named by its beginning.
        return time_ticks(np.array([bar.open_ns for bar in bars], dtype=np.int64) + 1) if len(bars) > 1 else ()

    @staticmethod
    def _known_lines(scene: Scene, shown: int) -> list[tuple[str, list[float], list[float]]]:
        """Name, x and y of each indicator line, where it was ready."""
        chart = scene.chart
        closed = len(chart.bars)
        first = shown - (1 if chart.forming is not None else 0) - closed
        found = []
        for line in chart.lines[:_MOST_LINES]:
            points = [
                (float(first + place), value)
                for place, value in enumerate(line.values, closed - len(line.values))
                if value == value and first + place >= 0
            ]
            if points:
                name = f"{line.strategy}: {line.name}" if scene.has_several_books else line.name
                found.append((name, [x for x, _ in points], [y for _, y in points]))
        return found

    @staticmethod
    def _span(
        rows: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
        lines: list[tuple[str, list[float], list[float]]],
        tags: Sequence[Tag],
    ) -> tuple[float, float]:
        low, high = float(rows[:, 2].min()), float(rows[:, 1].max())
        room = max(high - low, abs(high) * 1e-4)
        # What is far off would press the candles flat: its tag stands at the edge instead.
        near = [value for _, _, values in lines for value in values] + [tag.value for tag in tags]
        near = [value for value in near if low - room * 0.6 <= value <= high + room * 0.6]
        return around(min([low, *near]), max([high, *near]), 0.07)

    def _draw_fills(self, scene: Scene, bars: Sequence[Bar]) -> list[tuple[Side, bool]]:
        opens_ns = [bar.open_ns for bar in bars]
        marked: dict[tuple[Side, bool], list[tuple[float, float]]] = {kind: [] for kind in _KINDS}
        for fill, opens in opening_fills(scene.chart.fills, scene.chart.held):
            place = bisect_right(opens_ns, fill.time_ns) - 1
            if place >= 0:
                marked[fill.side, opens].append((float(place), fill.price))
        for mark, kind in zip(self._fills, _KINDS, strict=True):
            points = marked[kind]
            send(mark, x=short([x for x, _ in points]), y=short([y for _, y in points]))
        return [kind for kind in _KINDS if marked[kind]]

    def _draw_lines(self, lines: list[tuple[str, list[float], list[float]]]) -> None:
        while len(self._lines) < len(lines):
            place = len(self._lines)
            self._lines.append(
                bqplot.Lines(
                    x=short([0.0]),
                    y=short([0.0]),
                    scales=self._scales,
                    colors=[LINE_COLOURS[place]],
                    line_style=LINE_STYLES[place],
                    stroke_width=1.5,
                    visible=False,
                )
            )
            self.plot.figure.marks = [self._candles, *self._lines, *self._fills]
        for mark, line in zip(self._lines, lines, strict=False):
            send(mark, x=short(line[1]), y=short(line[2]))
        for mark in self._lines[len(lines) :]:
            send(mark, x=short([]))

    @staticmethod
    def _tags(scene: Scene, bars: Sequence[Bar]) -> list[Tag]:
        """The last price, the positions' averages and the working orders' prices."""
        symbol, snapshot = scene.chart.symbol, scene.snapshot
        last = bars[-1]
        tags = [
            Tag(
                last.close,
                scene.price(symbol, last.close),
                TEAL if last.close >= last.open else VERMILION,
                is_main=True,
            )
        ]
        for view in snapshot.positions:
            if view.symbol == symbol:
                average = scene.price(symbol, view.average_price)
                tags.append(Tag(view.average_price, f"avg {average}", "var(--q-quiet)"))
        tags += [
            tag for order in snapshot.working_orders if order.symbol == symbol for tag in _order_tags(scene, order)
        ]
        return tags


def _order_tags(scene: Scene, order: Order) -> list[Tag]:
    mark, colour = ("▲", "var(--q-buy)") if order.side == Side.BUY else ("▼", "var(--q-sell)")
    found = []
    for kind, value in (("stop", order.stop_price), ("lim", order.limit_price)):
        if value is not None:
            found.append(Tag(value, f"{mark}{kind} {scene.price(order.symbol, value)}", colour))
    return found


def opening_fills(fills: Sequence[Fill], held: dict[str, float]) -> list[tuple[Fill, bool]]:
    """The fills, parts of an order as one, each with whether it began, enlarged or turned round its strategy's position.

    ``held`` is what each strategy holds after the last: from there it is reckoned back.
    """
    after = dict(held)
    found = []
    for fill, _ in reversed(whole_fills(fills)):
        now = after.get(fill.strategy, 0.0)
        signed = fill.quantity if fill.side == Side.BUY else -fill.quantity
        if abs(now) <= _DUST * fill.quantity:
            now = 0.0
        found.append((fill, now * signed > 0.0))
        after[fill.strategy] = now - signed
    return found[::-1]


def _told(scene: Scene, bar: Bar) -> str:
    """The newest bar in numbers."""
    parts = zip("OHLC", (bar.open, bar.high, bar.low, bar.close), strict=True)
    return " ".join(f"{name}&nbsp;{scene.price(bar.symbol, value)}" for name, value in parts)


def _keys(kinds: Sequence[tuple[Side, bool]], lines: Sequence[str], told: str) -> str:
    has_shorts = (Side.SELL, True) in kinds or (Side.BUY, False) in kinds
    names = {
        (Side.BUY, True): "long entry" if has_shorts else "entry",
        (Side.SELL, False): "long exit" if has_shorts else "exit",
        (Side.SELL, True): "short entry",
        (Side.BUY, False): "short exit",
    }
    parts = [
        f'<span class="q-key"><span style="color:{BLUE if opens else ORANGE}">{"▲" if side == Side.BUY else "▼"}</span>{names[side, opens]}</span>'
        for side, opens in kinds
    ]
    parts += [
        f'<span class="q-key"><u style="border-top:2px {style} {colour}"></u>{said(name)}</span>'
        for name, colour, style in zip(lines, LINE_COLOURS, LINE_STYLES, strict=False)
    ]
    return f'<div class="q-keys">{"".join(parts)}<span class="q-told">{told}</span></div>'
