"""Several runs as live charts: equity curves over one another, drawdowns beneath."""

from html import escape

import bqplot
import ipywidgets
import numpy as np

from qfkit.views.charts import _STYLE, Plot, _caption, _figure, _line, _scales, _short, _stacked
from qfkit.views.picture import BLUE, GREY
from qfkit.views.runs_picture import describe_runs, runs_svg
from qfkit.views.runs_series import RunsSeries, shortened

__all__ = ["plot"]

# As the lines' styles look.
_SAMPLES = {"solid": "━━━", "dashed": "━ ━", "dotted": "┅┅┅", "dash_dotted": "━·━"}
# bqplot sets dots far apart: thin ones are hardly seen.
_WIDTHS = {"dotted": 2.8}


def plot(series: RunsSeries, title: str = "") -> Plot:
    """The same as the static picture, in bqplot."""
    children: list[ipywidgets.Widget] = [ipywidgets.HTML(_STYLE + _caption(title, series.dates))]
    if series.curves:
        children.append(ipywidgets.HTML(_legend(series)))
        panes = [(_caption("equity"), _equity(series), 260), (_caption("drawdown"), _drawdown(series), 120)]
        children += _stacked(panes, series)
    else:
        children.append(ipywidgets.HTML(_caption("nothing to draw: no run has two equity points")))
    return Plot(children, svg=runs_svg(series, title), words=describe_runs(series))


def _legend(series: RunsSeries) -> str:
    entries = "".join(
        f'<span style="white-space:nowrap"><span style="color:{curve.colour}">{_SAMPLES[curve.style]}</span> '
        f"{escape(shortened(curve.label))}</span>"
        for curve in series.curves
    )
    return (
        '<div class="qfkit-title" style="display:flex;flex-wrap:wrap;gap:0 22px;margin:2px 84px 0 0;line-height:18px">'
        f"{entries}</div>"
    )


def _equity(series: RunsSeries) -> bqplot.Figure:
    scales = _scales(series, *series.equity_range)
    start = series.starting_equity
    marks: list[bqplot.Mark] = [
        _line(np.array([0.0, series.last]), np.array([start, start]), scales, GREY, 1.0, "dashed")
    ]
    if series.band is not None:
        x, one, other = series.band
        marks.append(
            bqplot.Lines(
                x=_short(x),
                y=_short(np.vstack((one, other))),
                scales=scales,
                colors=[BLUE, BLUE],
                opacities=[0.0, 0.0],
                fill="between",
                fill_colors=[BLUE],
                fill_opacities=[0.16],
            )
        )
    # The first run is drawn last, over the others.
    marks += [
        _line(one.x, one.equity, scales, one.colour, _WIDTHS.get(one.style, 1.6), one.style)
        for one in reversed(series.curves)
    ]
    return _figure(series, marks, scales, 5)


def _drawdown(series: RunsSeries) -> bqplot.Figure:
    deepest = series.deepest * 100.0
    scales = _scales(series, deepest, 0.0)
    scales["y"].min, scales["y"].max = deepest * 1.1, 0.0
    marks = [
        _line(one.drawdown_x, one.drawdown * 100.0, scales, one.colour, _WIDTHS.get(one.style, 1.4), one.style)
        for one in reversed(series.curves)
    ]
    return _figure(series, marks, scales, 3, " %")
