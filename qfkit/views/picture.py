"""A run as a static picture: SVG text, drawn without a library and without a script.

It is shown as ``<img src="data:...">``: that survives where widgets, styles and inline SVG do
not (a notebook reopened untrusted, a web page of it), and nothing in it can run. An image does
not see the page's colours, so it has no background and its colours read on white and on black.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from qfkit.core.orders import Side
from qfkit.core.wording import money, share
from qfkit.views.series import Across, Floats, Mark, RunSeries, around, round_ticks, value_text

__all__ = ["BLUE", "GREY", "ORANGE", "TEAL", "VERMILION", "data_uri", "describe", "legend", "page", "run_svg"]

# Blue and orange, teal and vermilion differ in lightness too, for those who do not see the hue;
# each has a contrast of 3 or more on white and on black.
BLUE, ORANGE, TEAL, VERMILION, GREY = "#2f7fe6", "#d97706", "#1a9e88", "#cf432f", "#7b818b"

_WIDTH, _LEFT, _RIGHT = 960.0, 1.0, 84.0
_HEAD, _GAP, _FOOT = 28.0, 10.0, 26.0
_PLOT_RIGHT = _WIDTH - _RIGHT
_LABEL_ROOM = _RIGHT - 14.0
_TAG = 18.0
# A wide font's advance; the page's own may be narrower, never by much wider.
_LETTER, _BOLD_LETTER = 7.0, 8.0
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_FORBIDDEN_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def run_svg(series: RunSeries, title: str = "") -> str:
    """Price with entries and exits, equity and drawdown, one below the other, as SVG text."""
    panes = []
    if len(series.price):
        panes.append((290.0, _draw_price))
    if len(series.equity):
        panes += [(130.0, _draw_equity), (90.0, _draw_drawdown)]
    top, parts = 0.0, []
    if title:
        top, parts = _HEAD, _heading(title, series.dates)
    if not panes:
        parts.append(_text(_LEFT, top + 24, "nothing to draw: fewer than two equity points and no bars"))
        panes_end = top + 30.0
    else:
        for height, draw in panes:
            pane = _Pane(series, top + _HEAD, height)
            parts += draw(series, pane)
            top += _HEAD + height + _GAP
        panes_end = top - _GAP
        parts += [_time_text(_x(series, place), panes_end + 17, name) for place, name in series.ticks]
    return page(parts, panes_end + _FOOT, describe(series))


def _heading(title: str, dates: str) -> list[str]:
    """The first line: a title as long as there is room, and the time on the right."""
    room = _PLOT_RIGHT - _LEFT - _LETTER * len(dates) - 20.0
    most = int(room / (_BOLD_LETTER * 14 / 12))
    shown = title if len(title) <= most else title[: most - 1].rstrip() + "…"
    return [_text(_LEFT, 18, shown, size=14, weight=600), _text(_PLOT_RIGHT, 18, dates, anchor="end")]


def page(parts: Iterable[str], height: float, words: str) -> str:
    """The picture of these parts; ``words`` say it to those who do not see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}" width="{_WIDTH:g}" '
        f'height="{height:g}" font-family="{_FONT}" font-size="12" fill="{GREY}" role="img">'
        f"<title>{_clean(words)}</title>{''.join(parts)}</svg>"
    )


def data_uri(svg: str) -> str:
    """The SVG as an address for ``<img src>``."""
    return "data:image/svg+xml;base64," + b64encode(svg.encode("utf-8", "replace")).decode("ascii")


def describe(series: RunSeries) -> str:
    """The picture in words, for those who do not see it."""
    words = []
    if len(series.price):
        words.append(f"price of {series.symbol} with {series.fills:,} fills")
    if len(series.equity):
        words.append(f"equity from {money(series.starting_equity)} to {money(float(series.equity[-1]))}")
        if len(series.benchmark):
            words.append(f"beside {series.benchmark_name}")
        words.append(f"drawdown down to {share(float(np.min(series.drawdown)))}")
    return ", ".join(words) or "nothing to draw yet"


def legend(marks: Sequence[Mark]) -> list[tuple[Side, bool, str]]:
    """The kinds of marks there are, each with its name."""
    kinds = {(mark.side, mark.opens) for mark in marks}
    has_shorts = (Side.SELL, True) in kinds or (Side.BUY, False) in kinds
    long, short = ("long ", "short ") if has_shorts else ("", "")
    names = (
        (Side.BUY, True, f"{long}entry"),
        (Side.SELL, False, f"{long}exit"),
        (Side.SELL, True, f"{short}entry"),
        (Side.BUY, False, f"{short}exit"),
    )
    return [kind for kind in names if kind[:2] in kinds]


class _Pane:
    """One plot: its place on the picture and its y scale."""

    def __init__(self, series: Across, top: float, height: float) -> None:
        self.series = series
        self.top = top
        self.bottom = top + height
        self.low = 0.0
        self.high = 1.0

    def fit(self, low: float, high: float) -> None:
        self.low, self.high = around(low, high)

    def y(self, value: float) -> float:
        return self.bottom - (value - self.low) / (self.high - self.low) * (self.bottom - self.top)

    def path(self, x: Floats, y: Floats) -> str:
        across = _across(self.series, x)
        down = self.bottom - (y - self.low) / (self.high - self.low) * (self.bottom - self.top)
        return "L".join(f"{left:.1f} {up:.1f}" for left, up in zip(across, down, strict=True))

    def frame(self, ticks: Iterable[tuple[float, str]], *tags: tuple[float, str, str]) -> list[str]:
        """Grid, right-hand labels, and a coloured tag at each last value; tags that would overlap give way."""
        tags_y = spread([self.y(value) for value, _, _ in tags], _TAG + 1.0, self.top, self.bottom)
        grid, labels = [], []
        for value, name in ticks:
            at = self.y(value)
            if self.top - 0.5 <= at <= self.bottom + 0.5:
                grid.append(f"M{_LEFT:g} {at:.1f}H{_PLOT_RIGHT:g}")
                if all(abs(at - tag_y) > 15.0 for tag_y in tags_y):
                    labels.append(_text(_PLOT_RIGHT + 8, at + 4, name, room=_LABEL_ROOM))
        grid += [f"M{_x(self.series, x):.1f} {self.top:g}V{self.bottom:g}" for x, _ in self.series.ticks if x]
        left, width = _PLOT_RIGHT + 3, _RIGHT - 5
        parts = [f'<path d="{"".join(grid)}" stroke="{GREY}" stroke-opacity=".22" fill="none"/>', *labels]
        for tag_y, (_, text, colour) in zip(tags_y, tags, strict=True):
            parts += [
                f'<rect x="{left:g}" y="{tag_y - 9:.1f}" width="{width:g}" height="{_TAG:g}" rx="3" fill="{colour}"/>',
                _text(_PLOT_RIGHT + 8, tag_y + 4, text, fill="#fff", weight=600, room=_LABEL_ROOM),
            ]
        return parts


def spread(places: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Places moved as little as it takes to lie so far apart and, if there is room, between the ends."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = [places[index] for index in order]
    if len(moved) > 1:
        for index in range(1, len(moved)):
            moved[index] = max(moved[index], moved[index - 1] + apart)
        moved[-1] = min(moved[-1], max(high, low + apart * (len(moved) - 1)))
        for index in range(len(moved) - 2, -1, -1):
            moved[index] = min(moved[index], moved[index + 1] - apart)
    found = [0.0] * len(places)
    for index, place in zip(order, moved, strict=True):
        found[index] = place
    return found


def _draw_price(series: RunSeries, pane: _Pane) -> list[str]:
    candles = series.candles
    lows, highs = [series.price], [series.price]
    if candles is not None:
        lows, highs = [candles.low], [candles.high]
    if series.marks:
        prices = np.array([mark.price for mark in series.marks])
        lows.append(prices)
        highs.append(prices)
    low, high = float(np.min(np.concatenate(lows))), float(np.max(np.concatenate(highs)))
    pane.fit(low, high)
    last = float(series.price[-1])
    ticks = round_ticks(pane.low, pane.high, 6)
    title = (
        f"{series.symbol} {series.timeframe} bars"
        if candles is not None
        else f"{series.symbol} {series.timeframe} close"
    )
    parts = [_title(title, pane), *pane.frame(ticks, (last, value_text(last, high - low), GREY))]
    if candles is None:
        parts.append(
            f'<path d="M{pane.path(series.price_x, series.price)}" fill="none" stroke="{GREY}" stroke-width="1.3"/>'
        )
    else:
        parts += _candles(series, pane)
    size = 5.5 if len(series.marks) <= 80 else 4.0
    for mark in series.marks:
        parts.append(_triangle(_x(series, mark.position), pane.y(mark.price), mark.side, mark.opens, size))
    right = _PLOT_RIGHT
    for side, opens, name in reversed(legend(series.marks)):
        right -= _LETTER * len(name)
        parts.append(_text(right, pane.top - 9, name))
        parts.append(_triangle(right - 11.0, pane.top - 13, side, opens, 5.0))
        right -= 34.0
    return parts


def _candles(series: RunSeries, pane: _Pane) -> list[str]:
    """Four paths: wicks and bodies of the bars that rose and of those that fell."""
    candles = series.candles
    if candles is None:
        return []
    apart = float(np.median(np.diff(series.price_x))) if len(candles) > 1 else 1.0
    half = max(min(apart * (_x(series, 1.0) - _x(series, 0.0)) * 0.35, 8.0), 0.6)
    rose = candles.close >= candles.open
    parts = []
    for colour, which in ((TEAL, rose), (VERMILION, ~rose)):
        wicks, bodies = [], []
        for index in np.flatnonzero(which):
            x = _x(series, float(series.price_x[index]))
            high, low = pane.y(float(candles.high[index])), pane.y(float(candles.low[index]))
            top = pane.y(max(float(candles.open[index]), float(candles.close[index])))
            bottom = max(pane.y(min(float(candles.open[index]), float(candles.close[index]))), top + 0.8)
            wicks.append(f"M{x:.1f} {high:.1f}V{low:.1f}")
            bodies.append(f"M{x - half:.1f} {top:.1f}h{2 * half:.1f}V{bottom:.1f}h{-2 * half:.1f}z")
        if wicks:
            parts.append(f'<path d="{"".join(wicks)}" stroke="{colour}" fill="none"/>')
            parts.append(f'<path d="{"".join(bodies)}" fill="{colour}"/>')
    return parts


def _draw_equity(series: RunSeries, pane: _Pane) -> list[str]:
    start, last = series.starting_equity, float(series.equity[-1])
    drawn = np.concatenate((series.equity, series.benchmark, [start]))
    low, high = float(np.min(drawn)), float(np.max(drawn))
    pane.fit(low, high)
    ticks = round_ticks(pane.low, pane.high, 3)
    line = pane.path(series.equity_x, series.equity)
    at = pane.y(start)
    first, final = _x(series, float(series.equity_x[0])), _x(series, float(series.equity_x[-1]))
    return [
        _title("equity", pane),
        *pane.frame(ticks, (last, value_text(last, high - low), BLUE)),
        f'<path d="M{first:.1f} {at:.1f}L{line}L{final:.1f} {at:.1f}z" fill="{BLUE}" fill-opacity=".13"/>',
        f'<path d="M{_LEFT:g} {at:.1f}H{_PLOT_RIGHT:g}" stroke="{GREY}" stroke-dasharray="4 4"/>',
        *_draw_benchmark(series, pane),
        f'<path d="M{line}" fill="none" stroke="{BLUE}" stroke-width="1.6" stroke-linejoin="round"/>',
    ]


def _draw_benchmark(series: RunSeries, pane: _Pane) -> list[str]:
    if not len(series.benchmark):
        return []
    line = pane.path(series.benchmark_x, series.benchmark)
    return [
        f'<path d="M{line}" fill="none" stroke="{ORANGE}" stroke-width="1.2" stroke-linejoin="round"/>',
        _text(_PLOT_RIGHT, pane.top - 9, series.benchmark_name, anchor="end", fill=ORANGE, room=_PLOT_RIGHT - 80.0),
    ]


def _draw_drawdown(series: RunSeries, pane: _Pane) -> list[str]:
    deepest, last = float(np.min(series.drawdown)), float(series.drawdown[-1])
    pane.low, pane.high = (deepest * 1.1, 0.0) if deepest < 0.0 else (-0.01, 0.0)
    spread = -pane.low * 100.0
    ticks = [(tick / 100.0, name) for tick, name in round_ticks(-spread, 0.0, 3, " %")]
    line = pane.path(series.drawdown_x, series.drawdown)
    first, final = _x(series, float(series.drawdown_x[0])), _x(series, float(series.drawdown_x[-1]))
    return [
        _title("drawdown", pane),
        *pane.frame(ticks, (last, share(last), VERMILION)),
        f'<path d="M{first:.1f} {pane.top:g}L{line}L{final:.1f} {pane.top:g}z" fill="{VERMILION}" fill-opacity=".18"/>',
        f'<path d="M{line}" fill="none" stroke="{VERMILION}" stroke-width="1.2" stroke-linejoin="round"/>',
    ]


def _across(series: Across, positions: Floats) -> Floats:
    return _LEFT + (positions + series.edge) / (series.last + 2.0 * series.edge) * (_PLOT_RIGHT - _LEFT)


def _x(series: Across, position: float) -> float:
    return _LEFT + (position + series.edge) / (series.last + 2.0 * series.edge) * (_PLOT_RIGHT - _LEFT)


def _triangle(x: float, y: float, side: Side, opens: bool, size: float) -> str:
    """A triangle up for a buy and down for a sell, blue where it opens, orange where it closes."""
    point = -size if side == Side.BUY else size
    path = f"M{x:.1f} {y + point:.1f}l{size:g} {-1.8 * point:.1f}h{-2 * size:g}z"
    return f'<path d="{path}" fill="{BLUE if opens else ORANGE}"/>'


def _time_text(x: float, y: float, text: str) -> str:
    """A tick's name under its line, or beside it where the picture's edge is near."""
    half = 3.5 * len(text)
    if x < _LEFT + half:
        return _text(max(x, _LEFT), y, text)
    return _text(x, y, text, anchor="middle")


def _title(text: str, pane: _Pane) -> str:
    return _text(_LEFT, pane.top - 9, text, weight=600)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "start",
    weight: int = 400,
    fill: str = "",
    room: float = 0.0,
) -> str:
    """A line of text. One that may be wider than ``room`` is pressed to it; 0 is any width."""
    if not text:
        return ""
    more = (f' font-size="{size}"' if size != 12 else "") + (f' text-anchor="{anchor}"' if anchor != "start" else "")
    more += (f' font-weight="{weight}"' if weight != 400 else "") + (f' fill="{fill}"' if fill else "")
    if room and len(text) * (_BOLD_LETTER if weight > 400 else _LETTER) > room:
        more += f' textLength="{room:g}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{_clean(text)}</text>'


def _clean(text: str) -> str:
    return escape(_FORBIDDEN_IN_XML.sub("\ufffd", text))
