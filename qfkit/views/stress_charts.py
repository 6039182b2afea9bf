"""A stress test as a live chart: a bar a scenario, divided by symbol."""

from collections.abc import Mapping

import bqplot
import ipywidgets
import numpy as np

from qfkit.views.charts import _GRID, _STYLE, _TEXT, Plot, _caption, _key
from qfkit.views.figures import FIGURE_LOOK
from qfkit.views.picture import GREY
from qfkit.views.series import round_ticks
from qfkit.views.stress_picture import Scenarios, colours_of, describe_stress, segments_of, stress_svg, total_of
from qfkit.views.text import signed_money

__all__ = ["plot"]

_ROW_PIXELS = 36
_BAR_PIXELS = 18
_LETTER = 7


def plot(scenarios: Scenarios, title: str = "") -> Plot:
    """Gains to the right of zero, losses to the left, the sum beside them."""
    colours = colours_of(scenarios)
    children: list[ipywidgets.Widget] = [ipywidgets.HTML(_STYLE), ipywidgets.HTML(_head(title, colours))]
    if any(pnl for _, parts in scenarios for pnl in parts.values()):
        children.append(_figure(scenarios, colours))
    else:
        children.append(
            ipywidgets.HTML(_caption("nothing to lose or gain: no position is open, or nothing was shocked"))
        )
    return Plot(children, svg=stress_svg(scenarios, title), words=describe_stress(scenarios))


def _head(title: str, colours: Mapping[str, str]) -> str:
    """The title, and the symbols in their colours; the names are escaped by the caption, the marks are ours."""
    names = _caption("", "   ".join(f"■ {name}" for name in colours))
    for colour in colours.values():
        names = names.replace("■", f'<span style="color:{colour}">&#9632;</span>', 1)
    return _caption(title) + names


def _figure(scenarios: Scenarios, colours: Mapping[str, str]) -> bqplot.Figure:
    # Thick lines from the static picture's segments: both pictures have the same edges and the same order.
    last = len(scenarios) - 1
    segments = [
        (symbol, near, far, float(last - number))
        for number, (_, parts) in enumerate(scenarios)
        for symbol, near, far in segments_of(parts, colours)
    ]
    low = min(min(near, far) for _, near, far, _ in segments)
    high = max(max(near, far) for _, near, far, _ in segments)
    # The sums stand beyond the bars.
    room = (high - low) * 0.16
    low, high = min(low, 0.0), max(high, 0.0)
    low, high = low - (room if low < 0.0 else room / 8.0), high + (room if high > 0.0 else room / 8.0)
    scales = {"x": bqplot.LinearScale(min=low, max=high), "y": bqplot.LinearScale(min=-0.5, max=last + 0.5)}
    marks: list[bqplot.Mark] = []
    for symbol, colour in colours.items():
        own = [segment for segment in segments if segment[0] == symbol]
        if own:
            marks.append(
                bqplot.Lines(
                    x=np.array([[near, far] for _, near, far, _ in own]),
                    y=np.array([[place, place] for *_, place in own]),
                    scales=scales,
                    colors=[colour],
                    stroke_width=float(_BAR_PIXELS),
                )
            )
    marks.append(bqplot.Lines(x=[0.0, 0.0], y=[-0.5, last + 0.5], scales=scales, colors=[GREY], stroke_width=1.0))
    marks += _sums(scenarios, segments, scales)
    ticks = round_ticks(low, high, 5)
    names = {_key(float(last - number)): name for number, (name, _) in enumerate(scenarios)}
    look = {"color": _TEXT, "grid_color": _GRID}
    return bqplot.Figure(
        marks=marks,
        axes=[
            bqplot.Axis(
                scale=scales["y"],
                side="left",
                tick_values=np.arange(last + 1.0),
                tick_labels=names,
                grid_lines="none",
                **look,
            ),
            bqplot.Axis(
                scale=scales["x"],
                tick_values=np.array([value for value, _ in ticks]),
                tick_labels={_key(value): name for value, name in ticks},
                grid_lines="solid",
                **look,
            ),
        ],
        fig_margin={
            "top": 4,
            "bottom": 30,
            "left": min(_LETTER * max(len(name) for name, _ in scenarios) + 20, 360),
            "right": 24,
        },
        layout=ipywidgets.Layout(width="100%", height=f"{_ROW_PIXELS * (last + 1) + 34}px", min_width="0"),
        **FIGURE_LOOK,
    )


def _sums(
    scenarios: Scenarios, segments: list[tuple[str, float, float, float]], scales: dict[str, bqplot.Scale]
) -> list[bqplot.Label]:
    """The sum of each scenario, beside the end of its bar."""
    labels = []
    last = len(scenarios) - 1
    for gains in (False, True):
        x, y, texts = [], [], []
        for number, (_, parts) in enumerate(scenarios):
            whole, place = total_of(parts), float(last - number)
            if (whole > 0.0) == gains:
                ends = [far for _, _, far, at in segments if at == place and (far > 0.0) == gains]
                x.append((max if gains else min)([0.0, *ends]))
                y.append(place)
                texts.append(signed_money(whole))
        if texts:
            labels.append(
                bqplot.Label(
                    x=x,
                    y=y,
                    text=texts,
                    scales=scales,
                    align="start" if gains else "end",
                    x_offset=6 if gains else -6,
                    colors=[GREY],
                    default_size=12,
                    font_weight="bold",
                )
            )
    return labels
