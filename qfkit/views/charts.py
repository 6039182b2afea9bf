"""A run as live charts: bqplot figures that follow the page's light or dark theme."""

from collections.abc import Sequence
from html import escape
from typing import Any, TypeAlias

import bqplot
import ipywidgets
import numpy as np
from numpy.typing import NDArray

from qfkit.core.orders import Side
from qfkit.views.figures import FIGURE_LOOK
from qfkit.views.picture import BLUE, GREY, ORANGE, TEAL, VERMILION, data_uri, describe, legend, run_svg
from qfkit.views.series import Across, Floats, RunSeries, around, round_ticks

__all__ = ["Plot", "plot"]

Floats32: TypeAlias = NDArray[np.float32]

_TEXT = "var(--jp-ui-font-color2, #7b818b)"
_GRID = "var(--jp-border-color2, #7b818b55)"
_MARGIN = {"top": 4, "bottom": 4, "left": 8, "right": 76}
_FOOT = 26
_CLASS = "qfkit-plot"


def _wicks(colour: str) -> str:
    """The rule that draws wick and outline of a candle in its body's colour.

    bqplot has one stroke for all candles; a body of two pixels would be nothing but outline.
    """
    red, green, blue = bytes.fromhex(colour[1:])
    return f'.{_CLASS} .stick[style*="fill: rgb({red}, {green}, {blue})"] {{ stroke: {colour} !important; }}'


# Only what lies inside this plot is styled; the page's other charts keep their look.
_STYLE = f"""<style>
.{_CLASS} svg text {{ fill: {_TEXT}; font: 12px var(--jp-ui-font-family, system-ui, sans-serif) !important;
  font-variant-numeric: tabular-nums; }}
.{_CLASS} .axis path.domain, .{_CLASS} .axis line.short {{ stroke: none !important; }}
{_wicks(TEAL)}
{_wicks(VERMILION)}
.{_CLASS} .plotarea_background {{ fill: transparent !important; }}
.{_CLASS} .qfkit-title {{ color: {_TEXT}; font: 600 12px var(--jp-ui-font-family, system-ui, sans-serif); }}
</style>"""


class Plot(ipywidgets.VBox):  # type: ignore[misc]
    """The charts of a run. Where no kernel answers, its static picture is shown instead."""

    def __init__(self, children: Sequence[ipywidgets.Widget], *, svg: str, words: str) -> None:
        super().__init__(list(children), layout=ipywidgets.Layout(width="100%", max_width="1100px"))
        self.add_class(_CLASS)
        self._svg = svg
        self._words = words

    def __repr__(self) -> str:
        return f"Plot({self._words})"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options) or {}
        bundle["text/plain"] = repr(self)
        bundle["text/html"] = (
            f'<img src="{data_uri(self._svg)}" alt="{escape(self._words)}" width="960" style="max-width:100%;height:auto">'
        )
        return bundle


def plot(series: RunSeries, title: str = "") -> Plot:
    """Price with entries and exits, equity and drawdown, one figure each over the same time."""
    children: list[ipywidgets.Widget] = [ipywidgets.HTML(_STYLE + _caption(title, series.dates))]
    panes = []
    if len(series.price):
        kind = "bars" if series.candles is not None else "close"
        panes.append((_caption(f"{series.symbol} {series.timeframe} {kind}", _legend(series)), _price(series), 300))
    if len(series.equity):
        beside = f"{series.benchmark_name} in orange" if series.benchmark_name else ""
        panes.append((_caption("equity", beside), _equity(series), 150))
        panes.append((_caption("drawdown"), _drawdown(series), 110))
    children += _stacked(panes, series)
    if not panes:
        children.append(ipywidgets.HTML(_caption("nothing to draw: fewer than two equity points and no bars")))
    return Plot(children, svg=run_svg(series, title), words=describe(series))


def _stacked(panes: Sequence[tuple[str, bqplot.Figure, int]], series: Across) -> list[ipywidgets.Widget]:
    """Captions and figures one below the other, each so high in pixels, the times named beneath the last."""
    children: list[ipywidgets.Widget] = []
    for index, (caption, figure, pane_height) in enumerate(panes):
        height = pane_height
        if index == len(panes) - 1:
            figure.axes[0].tick_labels = {_key(place): name for place, name in series.ticks}
            figure.fig_margin = {**_MARGIN, "bottom": _FOOT}
            height = pane_height + _FOOT
        figure.layout = ipywidgets.Layout(width="100%", height=f"{height}px", min_width="0")
        children += [ipywidgets.HTML(caption), figure]
    return children


def _price(series: RunSeries) -> bqplot.Figure:
    candles = series.candles
    marked = [mark.price for mark in series.marks]
    low = min([float(np.min(series.price if candles is None else candles.low)), *marked])
    high = max([float(np.max(series.price if candles is None else candles.high)), *marked])
    scales = _scales(series, low, high)
    if candles is None:
        marks: list[bqplot.Mark] = [_line(series.price_x, series.price, scales, GREY, 1.3)]
    else:
        rows = np.column_stack((candles.open, candles.high, candles.low, candles.close))
        marks = [
            bqplot.OHLC(
                x=_short(series.price_x),
                y=_short(rows),
                scales=scales,
                marker="candle",
                format="ohlc",
                colors=[TEAL, VERMILION],
                stroke=GREY,
                stroke_width=1.0,
            )
        ]
    for side, opens, name in legend(series.marks):
        own = [mark for mark in series.marks if mark.side == side and mark.opens == opens]
        marks.append(
            bqplot.Scatter(
                x=_short(np.array([mark.position for mark in own])),
                y=_short(np.array([mark.price for mark in own])),
                scales=scales,
                marker="triangle-up" if side == Side.BUY else "triangle-down",
                colors=[BLUE if opens else ORANGE],
                stroke=None,
                default_size=70 if len(series.marks) <= 80 else 36,
                names=np.array([]),
                tooltip=bqplot.Tooltip(fields=["y"], labels=[name], formats=[",.6~g"]),
            )
        )
    return _figure(series, marks, scales, 6)


def _equity(series: RunSeries) -> bqplot.Figure:
    start = series.starting_equity
    drawn = np.concatenate((series.equity, series.benchmark, [start]))
    scales = _scales(series, float(np.min(drawn)), float(np.max(drawn)))
    ends = np.array([0.0, series.last])
    base = _line(ends, np.array([start, start]), scales, GREY, 1.0, "dashed")
    lines = [base, _line(series.equity_x, series.equity, scales, BLUE, 1.6)]
    if len(series.benchmark):
        lines.insert(1, _line(series.benchmark_x, series.benchmark, scales, ORANGE, 1.2))
    return _figure(series, lines, scales, 3)


def _drawdown(series: RunSeries) -> bqplot.Figure:
    deepest = min(float(np.min(series.drawdown)), -1e-4) * 100.0
    scales = _scales(series, deepest, 0.0)
    scales["y"].min, scales["y"].max = deepest * 1.1, 0.0
    line = _line(series.drawdown_x, series.drawdown * 100.0, scales, VERMILION, 1.2)
    line.fill, line.fill_colors, line.fill_opacities = "top", [VERMILION], [0.18]
    return _figure(series, [line], scales, 3, " %")


def _line(
    x: Floats, y: Floats, scales: dict[str, bqplot.Scale], colour: str, width: float, style: str = "solid"
) -> bqplot.Lines:
    return bqplot.Lines(x=_short(x), y=_short(y), scales=scales, colors=[colour], stroke_width=width, line_style=style)


def _scales(series: Across, low: float, high: float) -> dict[str, bqplot.Scale]:
    bottom, top = around(low, high)
    return {
        "x": bqplot.LinearScale(min=-series.edge, max=series.last + series.edge),
        "y": bqplot.LinearScale(min=bottom, max=top),
    }


def _figure(
    series: Across, marks: list[bqplot.Mark], scales: dict[str, bqplot.Scale], about: int, unit: str = ""
) -> bqplot.Figure:
    low, high = scales["y"].min, scales["y"].max
    # A label at the very bottom would lie on the last of the times.
    ticks = [tick for tick in round_ticks(low, high, about, unit) if tick[0] - low > 0.04 * (high - low)]
    look = {"grid_lines": "solid", "grid_color": _GRID, "color": _TEXT}
    across = bqplot.Axis(
        scale=scales["x"],
        tick_values=np.array([place for place, _ in series.ticks]),
        tick_labels={_key(place): " " for place, _ in series.ticks},
        **look,
    )
    up = bqplot.Axis(
        scale=scales["y"],
        side="right",
        tick_values=np.array([value for value, _ in ticks]),
        tick_labels={_key(value): name for value, name in ticks},
        **look,
    )
    return bqplot.Figure(
        marks=marks,
        axes=[across, up],
        fig_margin=dict(_MARGIN),
        **FIGURE_LOOK,
    )


def _short(values: Floats) -> Floats32:
    return values.astype(np.float32)


def _key(value: float) -> str:
    """The value as JavaScript writes it, which is how the page looks a tick's label up."""
    if 0.0 < abs(value) < 1e-6:
        return np.format_float_scientific(value, trim="-", exp_digits=1)
    return np.format_float_positional(value, trim="-")


def _legend(series: RunSeries) -> str:
    return "  ".join(f"{'▲' if side == Side.BUY else '▼'} {name}" for side, _, name in legend(series.marks))


def _caption(left: str, right: str = "") -> str:
    return (
        '<div class="qfkit-title" style="display:flex;justify-content:space-between;margin:2px 84px 0 0;line-height:18px">'
        f"<span>{escape(left)}</span><span>{escape(right)}</span></div>"
    )
