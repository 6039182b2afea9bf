"""A fan of equity as a live chart."""

import bqplot
import ipywidgets
import numpy as np

from qfkit.resampling.monte_carlo import Fan
from qfkit.views.charts import _FOOT, _GRID, _MARGIN, _STYLE, _TEXT, Plot, _caption, _key
from qfkit.views.fan_picture import KEYS, ends_of, fan_svg
from qfkit.views.figures import FIGURE_LOOK
from qfkit.views.picture import BLUE, GREY, ORANGE
from qfkit.views.series import around, round_ticks, time_ticks

__all__ = ["plot"]

_HEIGHT = 300


def plot(fan: Fan) -> Plot:
    """The bands of the samples, their median and the run itself."""
    names = _caption("", "   ".join(f"■ {name}" for _, name in KEYS))
    for colour, _ in KEYS:
        names = names.replace("■", f'<span style="color:{colour}">&#9632;</span>', 1)
    head = ipywidgets.HTML(_STYLE + _caption(fan.title) + names)
    return Plot([head, _figure(fan), ipywidgets.HTML(_caption(fan.words))], svg=fan_svg(fan), words=fan.words)


def _figure(fan: Fan) -> bqplot.Figure:
    low, high = around(*ends_of(fan))
    last = float(max(len(fan.places) - 1, 1))
    scales = {"x": bqplot.LinearScale(min=0.0, max=last), "y": bqplot.LinearScale(min=low, max=high)}
    across = np.arange(len(fan.places), dtype=np.float32)
    ends = np.array([0.0, last], dtype=np.float32)

    def line(x: object, y: object, colour: str, **look: object) -> bqplot.Lines:
        return bqplot.Lines(x=x, y=y, scales=scales, colors=[colour], **look)

    marks = [
        line(
            across,
            fan.bands[:, list(pair)].T.astype(np.float32),
            BLUE,
            fill="between",
            fill_colors=[BLUE],
            fill_opacities=[shade],
            opacities=[0.0, 0.0],
        )
        for pair, shade in (((0, 4), 0.14), ((1, 3), 0.22))
    ]
    start = np.full(2, fan.starting_equity, dtype=np.float32)
    marks += [
        line(ends, start, GREY, stroke_width=1.0, line_style="dashed"),
        line(across, fan.bands[:, 2].astype(np.float32), BLUE, stroke_width=1.8),
        line(across, fan.real.astype(np.float32), ORANGE, stroke_width=1.4),
    ]
    look = {"grid_lines": "solid", "grid_color": _GRID, "color": _TEXT}
    ticks = [tick for tick in round_ticks(low, high, 5) if tick[0] - low > 0.04 * (high - low)]
    times = time_ticks(fan.times_ns)
    axes = [
        bqplot.Axis(
            scale=scales["x"],
            tick_values=np.array([place for place, _ in times]),
            tick_labels={_key(place): name for place, name in times},
            **look,
        ),
        bqplot.Axis(
            scale=scales["y"],
            side="right",
            tick_values=np.array([value for value, _ in ticks]),
            tick_labels={_key(value): name for value, name in ticks},
            **look,
        ),
    ]
    return bqplot.Figure(
        marks=marks,
        axes=axes,
        fig_margin={**_MARGIN, "bottom": _FOOT},
        layout=ipywidgets.Layout(width="100%", height=f"{_HEIGHT + _FOOT}px", min_width="0"),
        **FIGURE_LOOK,
    )
