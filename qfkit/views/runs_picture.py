"""Several runs as a static picture (SVG): equity curves over one another, drawdowns beneath."""

from collections.abc import Sequence

import numpy as np

from qfkit.core.wording import money, share
from qfkit.views.picture import (
    _FOOT,
    _GAP,
    _HEAD,
    _LEFT,
    _LETTER,
    _PLOT_RIGHT,
    BLUE,
    GREY,
    _heading,
    _Pane,
    _text,
    _time_text,
    _title,
    _x,
    page,
)
from qfkit.views.runs_series import Curve, RunsSeries, shortened
from qfkit.views.series import Floats, round_ticks, value_text

__all__ = ["describe_runs", "runs_svg"]

_DASHES = {"solid": "", "dashed": "7 4", "dotted": "2 3", "dash_dotted": "8 3 2 3"}
_LEGEND_ROW, _SAMPLE = 20.0, 26.0
_EQUITY, _DRAWDOWN = 240.0, 110.0
# More tags than this would be a column of colours and no axis.
_MOST_TAGS = 8


def runs_svg(series: RunsSeries, title: str = "") -> str:
    """A legend, the equity of all runs, and their drawdowns, as SVG text."""
    parts = _heading(title, series.dates)
    if not series.curves:
        parts.append(_text(_LEFT, _HEAD + 24, "nothing to draw: no run has two equity points"))
        return page(parts, _HEAD + 36.0, describe_runs(series))
    legend, rows = _legend(series.curves)
    parts += legend
    equity = _Pane(series, _HEAD + rows * _LEGEND_ROW + _HEAD, _EQUITY)
    drawdown = _Pane(series, equity.bottom + _GAP + _HEAD, _DRAWDOWN)
    parts += _draw_equity(series, equity) + _draw_drawdown(series, drawdown)
    parts += [_time_text(_x(series, place), drawdown.bottom + 17, name) for place, name in series.ticks]
    return page(parts, drawdown.bottom + _FOOT, describe_runs(series))


def describe_runs(series: RunsSeries) -> str:
    """The picture in words."""
    words = [
        f"{curve.label}: equity {money(float(curve.equity[-1]))}, drawdown down to {share(float(np.min(curve.drawdown)))}"
        for curve in series.curves
    ]
    return "; ".join(words) or "nothing to draw yet"


def _legend(curves: Sequence[Curve]) -> tuple[list[str], int]:
    """A piece of each line with its label, in as many rows as it takes."""
    parts, x, row = [], _LEFT, 0
    for curve in curves:
        label = shortened(curve.label)
        wide = _SAMPLE + 8.0 + _LETTER * len(label) + 22.0
        if x > _LEFT and x + wide > _PLOT_RIGHT:
            x, row = _LEFT, row + 1
        y = _HEAD + 14.0 + row * _LEGEND_ROW
        parts += [_stroke(f"M{x:g} {y - 4.0:g}h{_SAMPLE:g}", curve, 2.2), _text(x + _SAMPLE + 8.0, y, label)]
        x += wide
    return parts, row + 1


def _draw_equity(series: RunsSeries, pane: _Pane) -> list[str]:
    low, high = series.equity_range
    pane.fit(low, high)
    last = [float(curve.equity[-1]) for curve in series.curves[:_MOST_TAGS]]
    tags = [
        (value, value_text(value, high - low), curve.colour) for value, curve in zip(last, series.curves, strict=False)
    ]
    at = pane.y(series.starting_equity)
    parts = [_title("equity", pane), *pane.frame(round_ticks(pane.low, pane.high, 5), *tags)]
    parts.append(f'<path d="M{_LEFT:g} {at:.1f}H{_PLOT_RIGHT:g}" stroke="{GREY}" stroke-dasharray="4 4"/>')
    if series.band is not None:
        x, one, other = series.band
        path = f"M{pane.path(x, one)}L{pane.path(x[::-1], other[::-1])}z"
        parts.append(f'<path d="{path}" fill="{BLUE}" fill-opacity=".16" stroke="none"/>')
    return parts + _lines(pane, [(curve, curve.x, curve.equity) for curve in series.curves])


def _draw_drawdown(series: RunsSeries, pane: _Pane) -> list[str]:
    pane.low, pane.high = series.deepest * 1.1, 0.0
    ticks = [(tick / 100.0, name) for tick, name in round_ticks(pane.low * 100.0, 0.0, 3, " %")]
    parts = [_title("drawdown", pane), *pane.frame(ticks)]
    return parts + _lines(pane, [(curve, curve.drawdown_x, curve.drawdown) for curve in series.curves])


def _lines(pane: _Pane, drawn: Sequence[tuple[Curve, Floats, Floats]]) -> list[str]:
    # The first run is drawn last, over the others.
    return [_stroke(f"M{pane.path(x, y)}", curve, 1.6) for curve, x, y in reversed(drawn)]


def _stroke(path: str, curve: Curve, width: float) -> str:
    dashes = _DASHES[curve.style]
    more = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<path d="{path}" fill="none" stroke="{curve.colour}" stroke-width="{width:g}" stroke-linejoin="round"{more}/>'
    )
