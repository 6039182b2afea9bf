"""A run as a static picture in PNG: what a saved notebook carries where no kernel answers, and a PDF of it.

It has no background and its colours read on white and on black, as those of :mod:`qfkit.views.picture`.
"""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from qfkit.core.orders import Side
from qfkit.core.wording import share
from qfkit.views.picture import BLUE, GREY, ORANGE, TEAL, VERMILION
from qfkit.views.series import Floats, RunSeries, around, round_ticks, value_text

__all__ = ["PICTURE_WIDTH", "png_uri", "run_png"]

PICTURE_WIDTH = 760
"""The width to show it at, in pixels of a page; it has twice as many."""

_SCALE = 2
_RIGHT, _LEFT = 82, 2
_HEAD, _FOOT = 22, 24
_PLOT_RIGHT = PICTURE_WIDTH - _RIGHT
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def png_uri(png: bytes) -> str:
    """A PNG as an address for ``<img src>``."""
    return "data:image/png;base64," + b64encode(png).decode("ascii")


def run_png(*parts: RunSeries) -> bytes:
    """Price with entries and exits, equity and drawdown of these series, one below the other."""
    panes = [
        (series, kind, height)
        for series in parts
        for kind, height, known in (
            ("price", 230, len(series.price)),
            ("equity", 110, len(series.equity)),
            ("drawdown", 60, len(series.equity)),
        )
        if known
    ]
    height = sum(pane[2] + _HEAD + _FOOT for pane in panes) or 40
    image = Image.new("RGBA", (PICTURE_WIDTH * _SCALE, height * _SCALE), (0, 0, 0, 0))
    pen = _Pen(ImageDraw.Draw(image))
    if not panes:
        pen.text(_LEFT, 20, "nothing to draw yet")
    top = 0
    for series, kind, pane_height in panes:
        _Pane(pen, series, top + _HEAD, pane_height).draw(kind)
        top += pane_height + _HEAD + _FOOT
    # A palette of 64 colours is a quarter of the bytes and looks the same.
    file = BytesIO()
    image.quantize(64, method=Image.Quantize.FASTOCTREE).save(file, "PNG", optimize=True)
    return file.getvalue()


class _Pen:
    """Draws in pixels of the page."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw
        self._font: _Font = ImageFont.load_default(11 * _SCALE)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.0) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, fill=colour, width=max(1, round(width * _SCALE)), joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        corners = [(left * _SCALE, top * _SCALE), (max(right, left + 0.5) * _SCALE, max(bottom, top + 0.5) * _SCALE)]
        self._draw.rectangle(corners, fill=colour)

    def area(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        self._draw.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=colour)

    def text(self, x: float, y: float, text: str, colour: str = GREY, anchor: str = "lm") -> None:
        # The font that Pillow brings has Latin letters only.
        plain = text.replace("…", "...").encode("latin-1", "replace").decode("latin-1")
        self._draw.text((x * _SCALE, y * _SCALE), plain, fill=colour, font=self._font, anchor=anchor)


class _Pane:
    """One plot: its place, its scales, and what is drawn on it."""

    def __init__(self, pen: _Pen, series: RunSeries, top: int, height: int) -> None:
        self._pen = pen
        self._series = series
        self._top, self._bottom = float(top), float(top + height)
        self._low, self._high = 0.0, 1.0

    def _x(self, place: float) -> float:
        series = self._series
        return _LEFT + (place + series.edge) / (series.last + 2.0 * series.edge) * (_PLOT_RIGHT - _LEFT)

    def _y(self, value: float) -> float:
        return self._bottom - (value - self._low) / (self._high - self._low) * (self._bottom - self._top)

    def draw(self, kind: str) -> None:
        series = self._series
        if kind == "price":
            self._price()
        elif kind == "equity":
            start = series.starting_equity
            low, high = min(float(series.equity.min()), start), max(float(series.equity.max()), start)
            self._low, self._high = around(low, high)
            last = float(series.equity[-1])
            self._frame("equity", 3, "", last, value_text(last, high - low), BLUE)
            self._curve(series.equity_x, series.equity, BLUE)
        else:
            deepest = min(float(series.drawdown.min()), -1e-4) * 100.0
            self._low, self._high = deepest * 1.1, 0.0
            last = float(series.drawdown[-1])
            self._frame("drawdown", 2, " %", last * 100.0, share(last), VERMILION)
            self._curve(series.drawdown_x, series.drawdown * 100.0, VERMILION, is_filled=True)

    def _frame(self, title: str, about: int, unit: str, last: float, last_text: str, colour: str) -> None:
        pen, faint = self._pen, GREY + "44"
        pen.text(_LEFT, self._top - 11, title)
        at = self._y(last)
        for value, name in round_ticks(self._low, self._high, about, unit):
            y = self._y(value)
            pen.line([(_LEFT, y), (_PLOT_RIGHT, y)], faint, 0.5)
            if abs(y - at) > 14.0:
                pen.text(_PLOT_RIGHT + 8, y, name)
        for place, name in self._series.ticks:
            x = self._x(place)
            pen.line([(x, self._top), (x, self._bottom)], faint, 0.5)
            if _LEFT + 25 < x < _PLOT_RIGHT - 20:
                pen.text(x, self._bottom + 11, name, anchor="mm")
        pen.box(_PLOT_RIGHT + 3, at - 8, PICTURE_WIDTH - 1, at + 8, colour)
        pen.text(_PLOT_RIGHT + 8, at, last_text, "#ffffff")

    def _curve(self, x: Floats, y: Floats, colour: str, *, is_filled: bool = False) -> None:
        points = [(self._x(float(across)), self._y(float(up))) for across, up in zip(x, y, strict=True)]
        if is_filled:
            self._pen.area([(points[0][0], self._top), *points, (points[-1][0], self._top)], colour + "33")
        self._pen.line(points, colour, 1.4)

    def _price(self) -> None:
        series, candles, pen = self._series, self._series.candles, self._pen
        lows, highs = (series.price, series.price) if candles is None else (candles.low, candles.high)
        marked = [mark.price for mark in series.marks]
        low, high = min([float(np.min(lows)), *marked]), max([float(np.max(highs)), *marked])
        self._low, self._high = around(low, high)
        last = float(series.price[-1])
        kind = "close" if candles is None else "bars"
        self._frame(f"{series.symbol} {series.timeframe} {kind}", 5, "", last, value_text(last, high - low), GREY)
        if candles is None:
            self._curve(series.price_x, series.price, GREY)
        else:
            half = min(max((self._x(1.0) - self._x(0.0)) * 0.34, 0.5), 7.0)
            rows = zip(series.price_x, candles.open, candles.high, candles.low, candles.close, strict=True)
            for place, begin, top, bottom, end in rows:
                x, colour = self._x(float(place)), TEAL if end >= begin else VERMILION
                pen.line([(x, self._y(float(top))), (x, self._y(float(bottom)))], colour, 0.8)
                pen.box(x - half, self._y(float(max(begin, end))), x + half, self._y(float(min(begin, end))), colour)
        for mark in series.marks:
            x, y = self._x(mark.position), self._y(mark.price)
            point = -5.5 if mark.side == Side.BUY else 5.5
            corners = [(x, y + point), (x + 5.5, y - 0.8 * point), (x - 5.5, y - 0.8 * point)]
            pen.area(corners, BLUE if mark.opens else ORANGE)
