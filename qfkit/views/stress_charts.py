"""A stress test as a live chart: a bar a scenario, divided by symbol."""

import bqplot
import ipywidgets
import numpy as np

from qfkit.views.charts import _GRID, _STYLE, _TEXT, Plot, _caption, _key
from qfkit.views.series import round_ticks
from qfkit.views.stress_picture import Scenarios, colours_of, describe_stress, parts_of, stress_svg

__all__ = ["plot"]

_ROW_PIXELS = 38
_LETTER = 7


def plot(scenarios: Scenarios, title: str = "") -> Plot:
    """Gains to the right of zero, losses to the left; hover to read a part."""
    colours = colours_of(scenarios)
    # The first scenario stands on top, where an axis puts its last.
    names = [name for name, _ in reversed(scenarios)]
    rows = [parts_of(parts, colours) for _, parts in reversed(scenarios)]
    children: list[ipywidgets.Widget] = [ipywidgets.HTML(_STYLE + _caption(title, "  ".join(_legend(colours))))]
    if colours and any(any(parts.values()) for parts in rows):
        children.append(_figure(names, rows, colours))
    else:
        children.append(ipywidgets.HTML(_caption("nothing to lose or gain: no position is open, or nothing was shocked")))
    return Plot(children, svg=stress_svg(scenarios, title), words=describe_stress(scenarios))


def _legend(colours: dict[str, str]) -> list[str]:
    return [f"■ {name}" for name in colours]


def _figure(names: list[str], rows: list[dict[str, float]], colours: dict[str, str]) -> bqplot.Figure:
    values = np.array([[parts[symbol] for parts in rows] for symbol in colours])
    low = float(np.minimum(values, 0.0).sum(axis=0).min())
    high = float(np.maximum(values, 0.0).sum(axis=0).max())
    margin = (high - low) * 0.05
    scales = {"x": bqplot.OrdinalScale(domain=names), "y": bqplot.LinearScale(min=low - margin, max=high + margin)}
    ticks = round_ticks(low - margin, high + margin, 5)
    bars = bqplot.Bars(
        x=names,
        y=values,
        scales=scales,
        orientation="horizontal",
        type="stacked",
        color_mode="group",
        colors=list(colours.values()),
        padding=0.35,
        tooltip=bqplot.Tooltip(fields=["x", "y"], labels=["scenario", "profit or loss"], formats=["", ",.2f"]),
    )
    look = {"color": _TEXT, "grid_color": _GRID}
    return bqplot.Figure(
        marks=[bars],
        axes=[
            bqplot.Axis(scale=scales["x"], orientation="vertical", grid_lines="none", **look),
            bqplot.Axis(
                scale=scales["y"],
                tick_values=np.array([value for value, _ in ticks]),
                tick_labels={_key(value): name for value, name in ticks},
                grid_lines="solid",
                **look,
            ),
        ],
        fig_margin={"top": 4, "bottom": 30, "left": min(_LETTER * max(map(len, names)) + 20, 360), "right": 24},
        layout=ipywidgets.Layout(width="100%", height=f"{_ROW_PIXELS * len(names) + 40}px", min_width="0"),
        background_style={"fill": "transparent"},
        min_aspect_ratio=0.01,
        max_aspect_ratio=100.0,
        padding_x=0.0,
        padding_y=0.0,
        animation_duration=0,
        display_toolbar=False,
    )
