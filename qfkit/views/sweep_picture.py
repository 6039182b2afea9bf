"""The pictures of a sweep as static SVG: heat map, parallel coordinates and the spread of the metric.

They have no background, and what is no cell reads on white and on black.
"""

from collections.abc import Sequence

import numpy as np

from qfkit.views.picture import _FONT, _WIDTH, BLUE, GREY, ORANGE, VERMILION, _clean, _text
from qfkit.views.series import round_ticks
from qfkit.views.sweep_cells import HeatCells, ParallelLines, Spread, colour_of, figure_text

__all__ = [
    "describe_heat",
    "describe_parallel",
    "describe_spread",
    "heat_svg",
    "line_colour",
    "parallel_svg",
    "spread_svg",
]

_LETTER = 7.0
_HEAD, _FOOT = 34.0, 46.0
_LEGEND = 96.0
# The ends of the scale are too dark on black and too light on white for a thin line.
_LINES_FROM, _LINES_TO = 0.15, 0.82


def line_colour(place: float) -> str:
    """The colour of a line at a place from 0 to 1 of the metric."""
    return colour_of(_LINES_FROM + (_LINES_TO - _LINES_FROM) * min(max(place, 0.0), 1.0))


# -- heat map --------------------------------------------------------------------------------


def describe_heat(cells: HeatCells) -> str:
    """The picture in words."""
    if cells.best is None:
        return f"{cells.caption}: no combination has one"
    row, column = cells.best
    at = f"{cells.x} {cells.x_labels[column]}" + (f", {cells.y} {cells.y_labels[row]}" if cells.y else "")
    spread = cells.high - cells.low
    return f"{cells.caption}: from {figure_text(float(np.nanmin(cells.grid)), spread)}, best {figure_text(float(cells.grid[row, column]), spread)} at {at}"


def heat_svg(cells: HeatCells) -> str:
    """A cell a pair of values, hatched where there is none; the best is framed."""
    rows, columns = cells.grid.shape
    left = min(max((len(name) for name in cells.y_labels), default=0) * _LETTER + 14.0, 220.0) + (
        18.0 if cells.y else 0.0
    )
    right = _WIDTH - _LEGEND
    cell_width = (right - left) / columns
    cell_height = min(max(360.0 / rows, 9.0), 44.0)
    bottom = _HEAD + cell_height * rows
    spread = cells.high - cells.low
    gap = 1.0 if min(cell_width, cell_height) >= 8.0 else 0.0
    drawn = [_text(1.0, 16.0, cells.caption, weight=600, room=_WIDTH - 10.0)]
    rects, missing = [], []
    has_texts = cell_width >= 46.0 and cell_height >= 17.0
    for row in range(rows):
        top = bottom - cell_height * (row + 1)
        for column in range(columns):
            value = float(cells.grid[row, column])
            x = left + cell_width * column
            box = f'x="{x:.1f}" y="{top:.1f}" width="{cell_width - gap:.1f}" height="{cell_height - gap:.1f}"'
            if value != value:
                missing.append(f"<rect {box}/>")
                continue
            place = cells.place(value)
            rects.append(f'<rect {box} fill="{colour_of(place)}"/>')
            if has_texts:
                ink = "#fff" if place < 0.62 else "#1b1f26"
                middle = x + cell_width / 2.0, top + cell_height / 2.0 + 4.0
                rects.append(
                    _text(*middle, figure_text(value, spread), anchor="middle", fill=ink, room=cell_width - 4.0)
                )
    if missing:
        drawn.append(_HATCH)
        drawn.append(f'<g fill="url(#none)">{"".join(missing)}</g>')
    drawn += rects
    if cells.best is not None:
        row, column = cells.best
        x, top = left + cell_width * column, bottom - cell_height * (row + 1)
        for colour, width in (("#fff", 4.5), (VERMILION, 2.2)):
            drawn.append(
                f'<rect x="{x - 0.5:.1f}" y="{top - 0.5:.1f}" width="{cell_width - gap + 1.0:.1f}" '
                f'height="{cell_height - gap + 1.0:.1f}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
            )
    drawn += _names_across(cells.x_labels, left, cell_width, bottom + 15.0)
    drawn.append(_text((left + right) / 2.0, bottom + 34.0, cells.x, anchor="middle", weight=600))
    step = max(1, -(-13 // int(cell_height)))
    for row in range(0, rows, step):
        drawn.append(
            _text(
                left - 7.0,
                bottom - cell_height * (row + 0.5) + 4.0,
                cells.y_labels[row],
                anchor="end",
                room=left - 26.0,
            )
        )
    if cells.y:
        middle = (_HEAD + bottom) / 2.0
        drawn.append(
            f'<g transform="rotate(-90 11 {middle:.1f})">{_text(11.0, middle, cells.y, anchor="middle", weight=600)}</g>'
        )
    drawn += _colour_bar(cells, right + 14.0, bottom)
    return _svg(drawn, bottom + _FOOT, describe_heat(cells))


_HATCH = (
    '<defs><pattern id="none" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    f'<path d="M0 0V6" stroke="{GREY}" stroke-opacity=".55" stroke-width="1.6"/></pattern></defs>'
)


def _names_across(names: Sequence[str], left: float, width: float, y: float) -> list[str]:
    """Under every column, or every so many-th where there is no room."""
    longest = max(len(name) for name in names) * _LETTER + 8.0
    step = max(1, -(-int(longest) // max(int(width), 1)))
    return [
        _text(left + width * (place + 0.5), y, name, anchor="middle")
        for place, name in enumerate(names)
        if place % step == 0
    ]


def _colour_bar(cells: HeatCells, x: float, bottom: float) -> list[str]:
    if cells.best is None:
        return [_text(x, _HEAD + 10.0, "no value")]
    top, steps = _HEAD, 40
    high = min(bottom, top + 260.0) - top
    drawn = [
        f'<rect x="{x:g}" y="{top + high * (1.0 - (step + 1) / steps):.1f}" width="14" height="{high / steps + 0.6:.1f}" '
        f'fill="{colour_of((step + 0.5) / steps)}"/>'
        for step in range(steps)
    ]
    spread = cells.high - cells.low
    if spread <= 0.0:
        return [*drawn, _text(x + 19.0, top + high / 2.0 + 4.0, figure_text(cells.low, 0.0))]
    ends = ((cells.low, "≤ "), (cells.high, "≥ "))
    marks = [(value, (sign if cells.is_clipped else "") + figure_text(value, spread)) for value, sign in ends]
    marks += [(value, name) for value, name in round_ticks(cells.low, cells.high, 4) if _is_inside(cells, value, high)]
    for value, name in marks:
        at = top + high * (1.0 - cells.place(value))
        drawn.append(_text(x + 19.0, min(max(at + 4.0, top + 9.0), top + high), name, room=_LEGEND - 36.0))
    return drawn


def _is_inside(cells: HeatCells, value: float, high: float) -> bool:
    room = 15.0 / high
    return room < cells.place(value) < 1.0 - room


# -- parallel coordinates --------------------------------------------------------------------


def describe_parallel(lines: ParallelLines) -> str:
    """The picture in words."""
    best = ", ".join(
        f"{name} at {place * 100.0:.0f} % of its range"
        for name, place in zip(lines.names, lines.places[-1].tolist(), strict=True)
    )
    return f"{lines.caption}; the best: {best}"


def parallel_svg(lines: ParallelLines) -> str:
    """A line a combination, coloured by the metric; the best is the thick one."""
    top, bottom, left = 62.0, 362.0, 56.0
    right = _WIDTH - 92.0
    count = len(lines.names)
    x = [left + (right - left) * place / max(count - 1, 1) for place in range(count)]

    def path(row: Sequence[float]) -> str:
        return "M" + "L".join(
            f"{at:.1f} {bottom - (bottom - top) * place:.1f}" for at, place in zip(x, row, strict=True)
        )

    places = lines.places
    thin = 1.4 if len(places) <= 80 else 1.0
    drawn = [_text(1.0, 16.0, lines.caption, room=_WIDTH - 10.0)]
    drawn += [
        f'<path d="{path(row)}" stroke="{line_colour(row[-1])}" stroke-opacity=".6" stroke-width="{thin}" fill="none"/>'
        for row in places[:-1].tolist()
    ]
    drawn.append(f'<path d="{path(places[-1].tolist())}" stroke="{VERMILION}" stroke-width="3" fill="none"/>')
    for number, (name, at) in enumerate(zip(lines.names, x, strict=True)):
        drawn.append(f'<path d="M{at:.1f} {top:g}V{bottom:g}" stroke="{GREY}" stroke-width="1.2"/>')
        anchor = "start" if number == 0 and count > 1 else "end" if number == count - 1 and count > 1 else "middle"
        place = 1.0 if anchor == "start" else _WIDTH - 1.0 if anchor == "end" else at
        drawn.append(_text(place, top - 16.0, name, anchor=anchor, weight=600))
        for where, text in lines.ticks[number]:
            y = bottom - (bottom - top) * where + 4.0
            if number == 0:
                drawn.append(_text(at - 7.0, y, text, anchor="end", room=46.0))
            elif number == count - 1:
                drawn.append(_text(at + 7.0, y, text))
            else:
                drawn.append(_tag(at + 4.0, y, text))
    return _svg(drawn, bottom + 18.0, describe_parallel(lines))


def _tag(x: float, y: float, text: str) -> str:
    """A text that is read over lines, beside an axis."""
    wide = len(text) * _LETTER + 6.0
    return (
        f'<rect x="{x:.1f}" y="{y - 12.0:.1f}" width="{wide:.1f}" height="15" rx="3" fill="#4a515c" fill-opacity=".88"/>'
        f"{_text(x + 3.0, y - 0.5, text, fill='#fff', room=wide - 4.0)}"
    )


# -- the spread ------------------------------------------------------------------------------


def describe_spread(spread: Spread) -> str:
    """The picture in words."""
    wide = float(spread.edges[-1] - spread.edges[0])
    failed = f", {spread.failed:,} without one" if spread.failed else ""
    return (
        f"{spread.metric} of {spread.known:,} combinations{failed}: median {figure_text(spread.median, wide)}, "
        f"best {figure_text(spread.best, wide)}"
    )


def spread_svg(spread: Spread, luck: float | None = None) -> str:
    """How many combinations have which metric; the best and the median are marked, and what luck alone would show."""
    left, right, top, bottom = 1.0, _WIDTH - 60.0, 66.0, 246.0
    low, high = float(spread.edges[0]), float(spread.edges[-1])
    if luck is not None:
        low, high = min(low, luck), max(high, luck)
    most = float(spread.counts.max())
    wide = high - low

    def x(value: float) -> float:
        return left + 30.0 + (value - low) / wide * (right - left - 60.0)

    drawn = [_text(1.0, 16.0, describe_spread(spread), weight=600, room=_WIDTH - 10.0)]
    grid = []
    for value, name in round_ticks(0.0, most, 4):
        y = bottom - (bottom - top) * value / most
        grid.append(f"M{left:g} {y:.1f}H{right:g}")
        drawn.append(_text(right + 8.0, y + 4.0, name))
    drawn.append(f'<path d="{"".join(grid)}" stroke="{GREY}" stroke-opacity=".22" fill="none"/>')
    bars = "".join(
        f"M{x(start) + 0.6:.1f} {bottom:g}V{bottom - (bottom - top) * count / most:.1f}H{x(end) - 0.6:.1f}V{bottom:g}z"
        for start, end, count in zip(
            spread.edges[:-1].tolist(), spread.edges[1:].tolist(), spread.counts.tolist(), strict=True
        )
    )
    drawn.append(f'<path d="{bars}" fill="{BLUE}" fill-opacity=".7"/>')
    marks = [(spread.median, "median", GREY), (spread.best, "best", VERMILION)]
    if luck is not None:
        marks.append((luck, "best by luck alone", ORANGE))
    for level, (value, name, colour) in enumerate(marks):
        y = top - 3.0 - 13.0 * level
        drawn.append(
            f'<path d="M{x(value):.1f} {y + 3.0:.1f}V{bottom:g}" stroke="{colour}" stroke-width="2" stroke-dasharray="5 3"/>'
        )
        drawn.append(
            _text(x(value), y, f"{name} {figure_text(value, wide)}", anchor=_anchor(x(value)), fill=colour, weight=600)
        )
    drawn += [_text(x(value), bottom + 16.0, name, anchor="middle") for value, name in round_ticks(low, high, 7)]
    return _svg(drawn, bottom + 26.0, describe_spread(spread))


def _anchor(x: float) -> str:
    return "start" if x < 90.0 else "end" if x > _WIDTH - 150.0 else "middle"


def _svg(drawn: Sequence[str], height: float, words: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}" width="{_WIDTH:g}" '
        f'height="{height:g}" font-family="{_FONT}" font-size="12" fill="{GREY}" role="img">'
        f"<title>{_clean(words)}</title>{''.join(drawn)}</svg>"
    )
