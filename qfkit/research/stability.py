"""Whether a combination of parameters stands on a plateau or on a peak: what its neighbours came to."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["neighbour_figures"]

Floats: TypeAlias = NDArray[np.float64]


def neighbour_figures(
    parameters: Mapping[str, Sequence[Any]], axes: Mapping[str, Sequence[Any]], metric: Floats
) -> tuple[Floats, Floats, Floats]:
    """The mean and the least of the metric over the neighbours of each combination, itself left out, and the mean with it.

    Neighbours are one step apart on one axis and alike on all others, so there are at most two an axis. A step is the
    next value that the axis has; an axis of texts or of True and False has no order, so all its other values
    are one step away. NaN where no neighbour was tried, as in a sparse random sample.
    """
    names = [name for name, values in axes.items() if len(values) > 1]
    places = [np.array(_places(parameters[name], axes[name]), dtype=np.int64) for name in names]
    widths = [len(axes[name]) for name in names]
    codes = np.zeros(len(metric), dtype=np.int64)
    for place, width in zip(places, widths, strict=True):
        codes = codes * width + place
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    total, least, count = np.zeros(len(metric)), np.full(len(metric), np.inf), np.zeros(len(metric))
    stride = 1
    for number in range(len(names) - 1, -1, -1):
        width = widths[number]
        has_order = all(isinstance(value, int | float) and not isinstance(value, bool) for value in axes[names[number]])
        for step in (-1, 1) if has_order else range(1, width):
            target = places[number] + step
            if not has_order:
                target %= width
            there = (target >= 0) & (target < width)
            wanted = codes + (target - places[number]) * stride
            found = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
            there &= ordered[found] == wanted
            values = np.where(there, metric[order[found]], nan)
            known = np.isfinite(values)
            total[known] += values[known]
            count[known] += 1.0
            least[known] = np.minimum(least[known], values[known])
        stride *= width
    some = count > 0.0
    mean, whole = total / np.where(some, count, 1.0), (total + metric) / (count + 1.0)
    return np.where(some, mean, nan), np.where(some, least, nan), np.where(some, whole, nan)


def _places(values: Sequence[Any], axis: Sequence[Any]) -> list[int]:
    places = {value: place for place, value in enumerate(_ordered(axis))}
    return [places[value] for value in values]


def _ordered(axis: Sequence[Any]) -> list[Any]:
    try:
        return sorted(axis)
    except TypeError:
        return list(axis)
