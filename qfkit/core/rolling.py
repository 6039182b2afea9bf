"""Rolling sums and extremes over arrays, without drift, and equal to the streaming ones to the last bit.

A window of ``period`` values lies across at most two blocks of ``period`` values: its sum is the
sum of a suffix of the one and of a prefix of the next (van Herk 1992, Gil and Werman 1993). Every
sum is built from at most ``period`` values anew, so no error lives longer than a block.
"""

from math import nan

import numpy as np

from qfkit.core.indicator_base import Floats

__all__ = ["blocks", "join", "prefixes", "suffixes", "window_extremes", "window_sums"]

_FEW_COLUMNS = 64


def blocks(values: Floats, period: int) -> Floats:
    """``values`` as rows of ``period`` columns; the last row is filled up with zeros."""
    rows = -(-len(values) // period)
    padded = np.zeros(rows * period)
    padded[: len(values)] = values
    return padded.reshape(rows, period)


def prefixes(rows: Floats, operation: np.ufunc = np.add) -> Floats:
    """Each row accumulated from its left, one value after the other."""
    columns = rows.shape[1]
    if columns > _FEW_COLUMNS:
        accumulated: Floats = operation.accumulate(rows, axis=1)
        return accumulated
    # Short rows one by one cost numpy more than all rows column by column.
    accumulated = np.empty_like(rows)
    accumulated[:, 0] = rows[:, 0]
    for column in range(1, columns):
        operation(accumulated[:, column - 1], rows[:, column], out=accumulated[:, column])
    return accumulated


def suffixes(rows: Floats, operation: np.ufunc = np.add) -> Floats:
    """Each row accumulated from its right: column m holds that of columns m and later."""
    return prefixes(rows[:, ::-1], operation)[:, ::-1]


def join(ends: Floats, starts: Floats, whole: Floats, operation: np.ufunc = np.add) -> Floats:
    """The windows from the ends of each row and the starts of the next one; NaN in the first row.

    ``whole`` is the column for windows that are exactly one row.
    """
    windows = np.empty_like(starts)
    windows[0] = nan
    operation(ends[:-1, 1:], starts[1:, :-1], out=windows[1:, :-1])
    windows[:, -1] = whole
    return windows


def window_sums(values: Floats, period: int) -> Floats:
    """The sum of the last ``period`` values at each place; NaN before there are as many."""
    return _windows(values, period, np.add)


def window_extremes(values: Floats, period: int, operation: np.ufunc) -> Floats:
    """The ``np.maximum`` or ``np.minimum`` of the last ``period`` values; NaN before there are as many."""
    return _windows(values, period, operation)


def _windows(values: Floats, period: int, operation: np.ufunc) -> Floats:
    if len(values) < period:
        return np.full(len(values), nan)
    rows = blocks(values, period)
    starts = prefixes(rows, operation)
    windows = join(suffixes(rows, operation), starts, starts[:, -1], operation)
    return windows.reshape(-1)[: len(values)]
