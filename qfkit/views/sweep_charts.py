"""A sweep as live charts: heat map, parallel coordinates and the spread of the metric.

Each stands beside its static picture, which a saved notebook shows where no kernel answers.
"""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import bqplot
import ipywidgets
import numpy as np

from qfkit.views.charts import _GRID, _STYLE, _TEXT, Plot, _caption, _key, _short
from qfkit.views.figures import FIGURE_LOOK
from qfkit.views.picture import BLUE, GREY, ORANGE, VERMILION
from qfkit.views.series import round_ticks
from qfkit.views.sweep_cells import (
    COLOURS,
    HeatCells,
    Over,
    ParallelLines,
    Spread,
    axis_text,
    figure_text,
    heat_cells,
    parallel_lines,
    spread_of,
)
from qfkit.views.sweep_picture import (
    describe_heat,
    describe_parallel,
    describe_spread,
    heat_svg,
    line_colour,
    parallel_svg,
    spread_svg,
)

if TYPE_CHECKING:
    import pandas

__all__ = ["heat_map", "parallel", "spread"]

_LETTER = 7
_FADED = 0.04


def heat_map(
    table: "pandas.DataFrame",
    axes: Any,
    metric: str,
    *,
    x: str | None = None,
    y: str | None = None,
    over: Over = "best",
    lower_is_better: bool = False,
) -> Plot:
    """The metric over two axes, as :func:`~qfkit.views.sweep_cells.heat_cells` has it; the pointer reads a cell's values."""
    cells = heat_cells(table, axes, metric, x=x, y=y, over=over, lower_is_better=lower_is_better)
    words = describe_heat(cells)
    if cells.best is None:
        return Plot([ipywidgets.HTML(_STYLE + _caption(words))], svg=heat_svg(cells), words=words)
    told = ipywidgets.HTML(_caption(words))
    figure = _heat_figure(cells, told)
    legend = ipywidgets.HTML(_legend(cells))
    children = [ipywidgets.HTML(_STYLE + _caption(cells.caption)), legend, figure, told]
    return Plot(children, svg=heat_svg(cells), words=words)


def parallel(
    table: "pandas.DataFrame", axes: Any, metric: str, *, most: int = 300, lower_is_better: bool = False
) -> Plot:
    """A line a combination over all axes, coloured by the metric, the best in red; sliders fade what lies outside of them.

    Of more than ``most`` the best are drawn, and the rest evenly by rank; the caption says so.
    """
    lines = parallel_lines(table, axes, metric, most=most, lower_is_better=lower_is_better)
    words = describe_parallel(lines)
    figure, own = _parallel_figure(lines)
    sliders = [_slider(lines, table, number) for number in range(len(lines.names))]
    told = ipywidgets.HTML(_caption(lines.caption))

    def fade(_: Any) -> None:
        inside = np.ones(len(lines.places), dtype=bool)
        for number, slider in enumerate(sliders):
            if slider is not None:
                low, high = slider.value
                inside &= (lines.places[:, number] >= low - 1e-9) & (lines.places[:, number] <= high + 1e-9)
        own.opacities = [
            1.0 if number == len(inside) - 1 and held else 0.6 if held else _FADED
            for number, held in enumerate(inside.tolist())
        ]
        more = "" if inside.all() else f"; {int(inside.sum()):,} of them within the sliders"
        told.value = _caption(lines.caption + more)

    shown = [slider for slider in sliders if slider is not None]
    for slider in shown:
        slider.observe(fade, names="value")
    box = ipywidgets.Box(shown, layout=ipywidgets.Layout(flex_flow="row wrap", width="100%"))
    return Plot([ipywidgets.HTML(_STYLE), told, figure, box], svg=parallel_svg(lines), words=words)


def spread(table: "pandas.DataFrame", metric: str, *, luck: float | None = None, lower_is_better: bool = False) -> Plot:
    """How many combinations have which metric; the best, the median and what luck alone would show (``luck``) are marked."""
    found = spread_of(table, metric, lower_is_better=lower_is_better)
    words = describe_spread(found)
    marks = "   ".join(
        f"{name} {figure_text(value, float(found.edges[-1] - found.edges[0]))}"
        for name, value, _ in _marks(found, luck)
    )
    children = [ipywidgets.HTML(_STYLE + _caption(words, marks)), _spread_figure(found, luck)]
    return Plot(children, svg=spread_svg(found, luck), words=words)


# -- heat map --------------------------------------------------------------------------------


def _heat_figure(cells: HeatCells, told: ipywidgets.HTML) -> bqplot.Figure:
    rows, columns = cells.grid.shape
    # NaN would be drawn black: what is missing has a colour of its own, one step below the scale's.
    steps = len(COLOURS) - 1
    places = np.array(
        [[cells.place(value) * steps if value == value else -1.0 for value in row] for row in cells.grid.tolist()]
    )
    row_edges, column_edges = np.arange(rows + 1.0), np.arange(columns + 1.0)
    # A table of one row or column would be taken for a line.
    if rows == 1:
        places, row_edges = np.vstack((places, places)), np.array([0.0, 0.5, 1.0])
    if columns == 1:
        places, column_edges = np.hstack((places, places)), np.array([0.0, 0.5, 1.0])
    scales = {
        "column": bqplot.LinearScale(min=0.0, max=float(columns)),
        "row": bqplot.LinearScale(min=0.0, max=float(rows)),
        "color": bqplot.ColorScale(colors=["#7b818b44", *COLOURS], min=-1.0, max=float(steps)),
    }
    mark = bqplot.GridHeatMap(
        color=_short(places),
        row=row_edges,
        column=column_edges,
        scales=scales,
        stroke="transparent" if rows * columns > 1_600 else None,
        interactions={"hover": "tooltip"},
        tooltip=ipywidgets.HTML(),
    )
    read = mark.tooltip

    def show(_: Any, content: dict[str, Any]) -> None:
        data = content.get("data", {})
        # The mark counts rows from the top of its table, which is the bottom of the picture.
        row, column = min(int(data.get("row", 0)), rows - 1), min(int(data.get("column", 0)), columns - 1)
        read.value = told.value = _caption(_cell_text(cells, row, column))

    mark.on_hover(show)
    frame = _frame(cells, scales)
    look = {"color": _TEXT, "grid_lines": "none"}
    left = min(_LETTER * max(map(len, cells.y_labels)) + (30 if cells.y else 10), 220)
    height = min(max(rows * 20, 120), 480)
    return bqplot.Figure(
        marks=[mark, frame],
        axes=[
            _axis(scales["column"], cells.x_labels, cells.x, 18, look),
            _axis(
                scales["row"],
                cells.y_labels,
                cells.y,
                max(2, height // 16),
                {**look, "side": "left", "label_offset": f"{left - 14}px"},
            ),
        ],
        fig_margin={"top": 4, "bottom": 44, "left": left, "right": 12},
        layout=ipywidgets.Layout(width="100%", height=f"{height + 48}px", min_width="0"),
        **FIGURE_LOOK,
    )


def _cell_text(cells: HeatCells, row: int, column: int) -> str:
    value, count = float(cells.grid[row, column]), int(cells.counts[row, column])
    at = f"{cells.x} {cells.x_labels[column]}" + (f", {cells.y} {cells.y_labels[row]}" if cells.y else "")
    if value != value:
        return f"{at}: not tried, or failed"
    of = f" ({count:,} combinations)" if count > 1 else ""
    return f"{at}: {cells.metric} {figure_text(value, cells.high - cells.low)}{of}"


def _frame(cells: HeatCells, scales: dict[str, bqplot.Scale]) -> bqplot.Lines:
    row, column = cells.best or (0, 0)
    return bqplot.Lines(
        x=np.array([column, column + 1, column + 1, column, column], dtype=np.float64),
        y=np.array([row, row, row + 1, row + 1, row], dtype=np.float64),
        scales={"x": scales["column"], "y": scales["row"]},
        colors=[VERMILION],
        stroke_width=2.5,
    )


def _axis(scale: bqplot.Scale, names: Sequence[str], label: str, most: int, look: dict[str, Any]) -> bqplot.Axis:
    step = -(-len(names) // most)
    chosen = range(0, len(names), step)
    return bqplot.Axis(
        scale=scale,
        label=label,
        tick_values=np.array([place + 0.5 for place in chosen]),
        tick_labels={_key(place + 0.5): names[place] for place in chosen},
        **look,
    )


def _legend(cells: HeatCells) -> str:
    spread_ = cells.high - cells.low
    low, high = figure_text(cells.low, spread_), figure_text(cells.high, spread_)
    if cells.is_clipped:
        low, high = f"≤ {low}", f"≥ {high}"
    bar = f"background:linear-gradient(90deg,{','.join(COLOURS)})"
    return (
        f'<div class="qfkit-title" style="display:flex;gap:8px;align-items:center;line-height:18px">{escape(low)}'
        f'<span style="{bar};width:180px;height:10px;display:inline-block;border-radius:2px"></span>{escape(high)}'
        f'<span style="background:#7b818b44;width:14px;height:10px;margin-left:16px"></span>none'
        f'<span style="border:2px solid {VERMILION};width:14px;height:10px;margin-left:16px"></span>best</div>'
    )


# -- parallel coordinates --------------------------------------------------------------------


def _parallel_figure(lines: ParallelLines) -> tuple[bqplot.Figure, bqplot.Lines]:
    count = len(lines.names)
    last = float(max(count - 1, 1))
    scales = {"x": bqplot.LinearScale(min=-0.12, max=last + 0.12), "y": bqplot.LinearScale(min=-0.04, max=1.06)}
    x = np.arange(count, dtype=np.float64)
    drawn = bqplot.Lines(
        x=x,
        y=_short(lines.places if len(lines.places) > 1 else np.vstack((lines.places, lines.places))),
        scales=scales,
        colors=[line_colour(row[-1]) for row in lines.places[:-1].tolist()] + [VERMILION],
        opacities=[0.6] * (len(lines.places) - 1) + [1.0],
        stroke_width=1.2,
    )
    best = bqplot.Lines(x=x, y=_short(lines.places[-1]), scales=scales, colors=[VERMILION], stroke_width=3.0)
    bars = bqplot.Lines(
        x=np.array([[place, place] for place in range(count)], dtype=np.float64),
        y=np.array([[0.0, 1.0]] * count),
        scales=scales,
        colors=[GREY],
        stroke_width=1.2,
    )
    labels = []
    for number, ticks in enumerate(lines.ticks):
        labels.append(
            bqplot.Label(
                x=np.full(len(ticks), float(number)),
                y=np.array([place for place, _ in ticks]),
                text=[name for _, name in ticks],
                scales=scales,
                align="end" if number == 0 else "start",
                x_offset=-6 if number == 0 else 6,
                y_offset=4,
                colors=[GREY],
                default_size=12,
                font_weight="bold" if 0 < number < count - 1 else "normal",
            )
        )
    top = bqplot.Axis(
        scale=scales["x"],
        side="top",
        tick_values=x,
        tick_labels={_key(float(place)): name for place, name in enumerate(lines.names)},
        grid_lines="none",
        color=_TEXT,
    )
    figure = bqplot.Figure(
        marks=[drawn, bars, best, *labels],
        axes=[top],
        fig_margin={"top": 26, "bottom": 8, "left": 46, "right": 70},
        layout=ipywidgets.Layout(width="100%", height="380px", min_width="0"),
        **FIGURE_LOOK,
    )
    return figure, drawn


def _slider(lines: ParallelLines, table: "pandas.DataFrame", number: int) -> Any:
    """A range along one axis; None where all lie at one place."""
    at = lines.places[:, number]
    name = lines.names[number]
    found = {
        round(place, 9): value for place, value in zip(at.tolist(), table[name].iloc[lines.rows].tolist(), strict=True)
    }
    places = sorted(found)
    if len(places) < 2:
        return None
    if number == len(lines.names) - 1:
        wide = float(np.ptp(lines.metric))
        texts = [figure_text(found[place], wide) for place in places]
    else:
        texts = [axis_text(found[place]) for place in places]
    # Options with the same text would be one to the widget.
    options = list({text: (text, place) for text, place in zip(texts, places, strict=True)}.values())
    if len(options) < 2:
        return None
    return ipywidgets.SelectionRangeSlider(
        options=options,
        value=(options[0][1], options[-1][1]),
        description=name[:18],
        continuous_update=False,
        layout=ipywidgets.Layout(width="330px"),
    )


# -- the spread ------------------------------------------------------------------------------


def _marks(found: Spread, luck: float | None) -> list[tuple[str, float, str]]:
    marks = [("median", found.median, GREY), ("best", found.best, VERMILION)]
    return [*marks, ("best by luck alone", luck, ORANGE)] if luck is not None else marks


def _spread_figure(found: Spread, luck: float | None) -> bqplot.Figure:
    low, high = float(found.edges[0]), float(found.edges[-1])
    if luck is not None:
        low, high = min(low, luck), max(high, luck)
    margin, most = (high - low) * 0.03, float(found.counts.max())
    scales = {
        "x": bqplot.LinearScale(min=low - margin, max=high + margin),
        "y": bqplot.LinearScale(min=0.0, max=most * 1.05),
    }
    middle = (found.edges[:-1] + found.edges[1:]) / 2.0
    drawn: list[bqplot.Mark] = [
        bqplot.Bars(x=middle, y=found.counts, scales=scales, colors=[BLUE], opacities=[0.7] * len(middle), padding=0.06)
    ]
    drawn += [
        bqplot.Lines(
            x=[value, value],
            y=[0.0, most * 1.05],
            scales=scales,
            colors=[colour],
            stroke_width=2.0,
            line_style="dashed",
        )
        for _, value, colour in _marks(found, luck)
    ]
    across, up = round_ticks(low - margin, high + margin, 8), round_ticks(0.0, most, 4)
    look = {"color": _TEXT, "grid_color": _GRID}
    return bqplot.Figure(
        marks=drawn,
        axes=[
            bqplot.Axis(
                scale=scales["x"],
                tick_values=np.array([value for value, _ in across]),
                tick_labels={_key(value): name for value, name in across},
                grid_lines="none",
                **look,
            ),
            bqplot.Axis(
                scale=scales["y"],
                side="right",
                tick_values=np.array([value for value, _ in up]),
                tick_labels={_key(value): name for value, name in up},
                grid_lines="solid",
                **look,
            ),
        ],
        fig_margin={"top": 4, "bottom": 28, "left": 8, "right": 60},
        layout=ipywidgets.Layout(width="100%", height="230px", min_width="0"),
        **FIGURE_LOOK,
    )
