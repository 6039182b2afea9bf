"""What the pictures of a sweep need before they are drawn: cells of a heat map, lines over all axes, counts of a metric.

The functions take a table with one row a combination (a column an axis, and the metric's; NaN where a combination
failed) and ``axes``, each axis' values by its name.
"""

from collections.abc import Callable, Mapping, Sequence
from math import floor, isfinite, log10
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.errors import DataError, ParameterError, did_you_mean

if TYPE_CHECKING:
    import pandas

__all__ = [
    "COLOURS",
    "HeatCells",
    "Over",
    "ParallelLines",
    "Spread",
    "axis_text",
    "colour_of",
    "figure_text",
    "heat_cells",
    "parallel_lines",
    "spread_of",
    "varying",
]

Floats: TypeAlias = NDArray[np.float64]
Axes: TypeAlias = Mapping[str, Sequence[Any]]
Over: TypeAlias = Literal["best", "mean", "median"]

# Viridis (van der Walt and Smith 2015): even steps to the eye, for those who do not see hues too; by CC0.
COLOURS = (
    "#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
)  # fmt: skip

_MOST_VALUES = 40
_BINS = 24
_MOST_LINES = 300
_BEST_LINES = 60
_FEWEST_TO_CLIP = 30
_MOST_TICKS = 9


class HeatCells(msgspec.Struct, frozen=True):
    """The metric over two axes. ``grid`` has a row a value of ``y`` and a column a value of ``x``; NaN was not tried or
    failed. ``counts`` is how many combinations a cell is of. Colours reach from ``low`` to ``high``: some cells may lie
    beyond where ``is_clipped``. ``best`` is a row and a column.
    """

    x: str
    y: str
    x_labels: tuple[str, ...]
    y_labels: tuple[str, ...]
    grid: Floats
    counts: NDArray[np.int64]
    low: float
    high: float
    is_clipped: bool
    best: tuple[int, int] | None
    metric: str
    caption: str

    def place(self, value: float) -> float:
        """Where a value lies on the scale of colours, 0 to 1."""
        if self.high <= self.low:
            return 0.5
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


class ParallelLines(msgspec.Struct, frozen=True):
    """Combinations as lines over all axes, the metric last. ``places`` has a row a line and a column an axis, 0 to 1;
    lines are ordered by the metric, the best last. ``ticks`` are, of each axis, places with their names.
    ``rows`` are the lines' places in the table.
    """

    names: tuple[str, ...]
    ticks: tuple[tuple[tuple[float, str], ...], ...]
    places: Floats
    rows: NDArray[np.int64]
    metric: Floats
    caption: str


class Spread(msgspec.Struct, frozen=True):
    """How the metric is spread over all combinations: ``counts`` between ``edges``; ``best`` and ``median`` of it."""

    edges: Floats
    counts: Floats
    best: float
    median: float
    known: int
    failed: int
    metric: str


def varying(table: "pandas.DataFrame", axes: Axes) -> list[str]:
    """The axes that have more than one value."""
    return [name for name in axes if len(_distinct(_column(table, name))) > 1]


def heat_cells(
    table: "pandas.DataFrame",
    axes: Axes,
    metric: str,
    *,
    x: str | None = None,
    y: str | None = None,
    over: Over = "best",
    lower_is_better: bool = False,
) -> HeatCells:
    """The metric over two axes; of the combinations that share a cell, their ``over``: "best", "mean" or "median".

    ``x`` and ``y`` None take the first axes with more than one value. An axis of more than 40 numbers is cut into 24
    stretches of the same width. Raises :class:`ParameterError` for an axis there is not.
    """
    if over not in ("best", "mean", "median"):
        raise ParameterError(f'over={over!r}: cells that share a place show their "best", "mean" or "median"')
    for name, value in (("x", x), ("y", y)):
        if value is not None and value not in axes:
            raise ParameterError(f"{name}={value!r} is no axis of this sweep.{did_you_mean(value, axes)}")
    if x is not None and x == y:
        raise ParameterError(f"x={x!r} and y={y!r}: a heat map takes two axes")
    free = [name for name in (*varying(table, axes), *axes) if name not in (x, y)]
    free = list(dict.fromkeys(free))
    x = x if x is not None else free.pop(0) if free else None
    if x is None:
        raise ParameterError("this sweep has no axis: there is nothing to draw")
    y = y if y is not None else next((name for name in free if len(_distinct(_column(table, name))) > 1), None)
    values = _metric(table, metric)
    across, x_labels = _slots(_column(table, x))
    up, y_labels = _slots(_column(table, y)) if y is not None else (np.zeros(len(values), dtype=np.int64), ("",))
    shape = len(y_labels), len(x_labels)
    cells, counts = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    groups: dict[tuple[int, int], list[float]] = {}
    for row, column, value in zip(up.tolist(), across.tolist(), values.tolist(), strict=True):
        if isfinite(value):
            groups.setdefault((row, column), []).append(value)
    pick = _picker(over, lower_is_better=lower_is_better)
    for place, own in groups.items():
        cells[place], counts[place] = pick(own), len(own)
    best = None
    if groups:
        at = int(np.nanargmin(cells) if lower_is_better else np.nanargmax(cells))
        best = at // shape[1], at % shape[1]
    low, high, is_clipped = _bounds(cells)
    rest = [name for name in varying(table, axes) if name not in (x, y)]
    caption = f"{metric} by {x}" + (f" and {y}" if y is not None else "")
    if rest:
        caption += f", the {over} over {', '.join(rest)}"
    if int(counts.max(initial=0)) > 1 and not rest:
        caption += f", the {over} of those that share a cell"
    return HeatCells(x, y or "", x_labels, y_labels, cells, counts, low, high, is_clipped, best, metric, caption)


def parallel_lines(
    table: "pandas.DataFrame", axes: Axes, metric: str, *, most: int = _MOST_LINES, lower_is_better: bool = False
) -> ParallelLines:
    """The combinations over all axes that vary. Of more than ``most`` the best are drawn, and the rest evenly by rank."""
    values = _metric(table, metric)
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        raise DataError(f"no combination has a {metric}: there is nothing to draw")
    # The best comes last; of equal ones the first, as in best_parameters.
    known = known[::-1]
    ranked = known[np.argsort(-values[known] if lower_is_better else values[known], kind="stable")]
    chosen = ranked
    caption = f"{len(ranked):,} combinations"
    if len(ranked) > most:
        top = min(_BEST_LINES, most // 2)
        spread = np.linspace(0, len(ranked) - top - 1, most - top).round().astype(np.int64)
        chosen = np.concatenate((ranked[spread], ranked[-top:]))
        caption = (
            f"{len(chosen):,} of {len(ranked):,} combinations are drawn: the {top} best, and {len(spread)} spread evenly "
            "over the ranks of the rest"
        )
    names = varying(table, axes) or list(axes)
    places, ticks = [], []
    for name in names:
        own, marks = _along(_column(table, name))
        places.append(own[chosen])
        ticks.append(marks)
    own, marks = _along(values.tolist(), within=known)
    places.append(own[chosen])
    ticks.append(marks)
    return ParallelLines((*names, metric), tuple(ticks), np.column_stack(places), chosen, values[chosen], caption)


def spread_of(table: "pandas.DataFrame", metric: str, *, lower_is_better: bool = False) -> Spread:
    """The histogram of the metric over all combinations."""
    values = _metric(table, metric)
    known = values[np.isfinite(values)]
    if not len(known):
        raise DataError(f"no combination has a {metric}: there is nothing to draw")
    low, high = float(known.min()), float(known.max())
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        half = 0.5 * max(abs(low), 1.0)
        low, high = low - half, high + half
    bins = max(6, min(40, round(1.6 * len(known) ** 0.5)))
    counts, edges = np.histogram(known, bins=bins, range=(low, high))
    best = float(known.min() if lower_is_better else known.max())
    return Spread(
        edges, counts.astype(np.float64), best, float(np.median(known)), len(known), len(values) - len(known), metric
    )


def colour_of(place: float) -> str:
    """The colour at a place from 0 to 1."""
    at = min(max(place, 0.0), 1.0) * (len(COLOURS) - 1)
    first = min(int(at), len(COLOURS) - 2)
    part = at - first
    one, other = bytes.fromhex(COLOURS[first][1:]), bytes.fromhex(COLOURS[first + 1][1:])
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(one, other, strict=True))


def figure_text(value: float, spread: float) -> str:
    """A metric with the digits that tell it apart on a scale of this width."""
    if not isfinite(value):
        return "-"
    size = spread if spread > 0.0 else abs(value) or 1.0
    decimals = min(max(0, 2 - floor(log10(size))), 8)
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def axis_text(value: Any) -> str:
    """An axis' value as it is written below it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


# -- columns ---------------------------------------------------------------------------------


def _metric(table: "pandas.DataFrame", metric: str) -> Floats:
    if metric not in table.columns:
        raise ParameterError(
            f"metric={metric!r} is no column of this sweep.{did_you_mean(metric, map(str, table.columns))}"
        )
    found: Floats = table[metric].to_numpy(dtype=np.float64, na_value=np.nan)
    return found


def _column(table: "pandas.DataFrame", name: str) -> list[Any]:
    if name not in table.columns:
        raise ParameterError(f"axis {name!r} is no column of this sweep.{did_you_mean(name, map(str, table.columns))}")
    found: list[Any] = table[name].tolist()
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(value: Any) -> Any:
    # Lists and the like are told apart by their text; True is another choice than 1.
    return value if _is_number(value) else f"{type(value).__name__}:{value}"


def _distinct(column: Sequence[Any]) -> list[Any]:
    """The values there are: numbers ascending, anything else in the order it came."""
    found: dict[Any, Any] = {}
    for value in column:
        found.setdefault(_key(value), value)
    values = [value for value in found.values() if value == value]
    return sorted(values) if all(_is_number(value) for value in values) else values


def _slots(column: Sequence[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Which cell of its axis each value lies in, and the cells' names."""
    values = _distinct(column)
    is_numeric = all(_is_number(value) for value in values)
    if is_numeric and len(values) > _MOST_VALUES:
        numbers = np.array(column, dtype=np.float64)
        edges = np.linspace(float(values[0]), float(values[-1]), _BINS + 1)
        places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, _BINS - 1)
        middles = (edges[:-1] + edges[1:]) / 2.0
        return places.astype(np.int64), tuple(
            figure_text(float(value), float(edges[1] - edges[0])) for value in middles
        )
    place = {_key(value): number for number, value in enumerate(values)}
    return np.array([place.get(_key(value), 0) for value in column], dtype=np.int64), tuple(map(axis_text, values))


def _along(
    column: Sequence[Any], within: NDArray[np.int64] | None = None
) -> tuple[Floats, tuple[tuple[float, str], ...]]:
    """Places from 0 to 1 along an axis, and its ticks. Numbers lie to scale, anything else one after the other."""
    seen = column if within is None else [column[place] for place in within.tolist()]
    values = _distinct(seen)
    if all(_is_number(value) for value in values):
        low, high = float(values[0]), float(values[-1])
        wide = (high - low) or 1.0
        places = (np.array(column, dtype=np.float64) - low) / wide if high > low else np.full(len(column), 0.5)
        if within is None and len(values) <= _MOST_TICKS:
            marks = [((float(value) - low) / wide if high > low else 0.5, axis_text(value)) for value in values]
        elif within is None:
            chosen = sorted({round(place) for place in np.linspace(0, len(values) - 1, 6).tolist()})
            marks = [((float(values[place]) - low) / wide, axis_text(values[place])) for place in chosen]
        elif high > low:
            marks = [(share / 5.0, figure_text(low + wide * share / 5.0, wide)) for share in range(6)]
        else:
            marks = [(0.5, axis_text(values[0]))]
        return places, tuple(_apart(marks))
    order = {_key(value): number for number, value in enumerate(values)}
    last = max(len(values) - 1, 1)
    places = np.array([order[_key(value)] / last for value in column])
    step = -(-len(values) // 12)
    return places, tuple((number / last, axis_text(value)) for number, value in enumerate(values) if number % step == 0)


def _apart(marks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Without those that would lie on the one before."""
    kept: list[tuple[float, str]] = []
    for mark in marks:
        if not kept or mark[0] - kept[-1][0] >= 0.06:
            kept.append(mark)
    return kept


def _picker(over: Over, *, lower_is_better: bool) -> Callable[[list[float]], float]:
    if over == "best":
        return min if lower_is_better else max
    return fmean if over == "mean" else median


def _bounds(cells: Floats) -> tuple[float, float, bool]:
    """The ends of the scale of colours: a few outliers among many cells do not take the colours from the rest."""
    known = cells[np.isfinite(cells)]
    if not len(known):
        return 0.0, 0.0, False
    low, high = float(known.min()), float(known.max())
    if len(known) < _FEWEST_TO_CLIP:
        return low, high, False
    first, third = (float(bound) for bound in np.quantile(known, (0.25, 0.75)))
    reach = 3.0 * (third - first)
    if reach <= 0.0:
        return low, high, False
    near_low, near_high = max(low, first - reach), min(high, third + reach)
    return near_low, near_high, near_low > low or near_high < high
