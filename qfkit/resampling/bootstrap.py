"""The stationary bootstrap: a series drawn anew from its own blocks, whose lengths are chance about a mean.

D. N. Politis and J. P. Romano, "The Stationary Bootstrap", Journal of the American Statistical Association 89 (1994).
The mean length: D. N. Politis and H. White, "Automatic Block-Length Selection for the Dependent Bootstrap", Econometric
Reviews 23 (2004), as corrected by A. Patton, D. N. Politis and H. White, Econometric Reviews 28 (2009).

Blocks keep what neighbours have to do with each other: the volatility that comes in clusters, the trend that a
strategy lives on. What is longer than a block, such as a change of regime, is lost.
"""

from collections.abc import Iterator
from math import ceil, log10, nan, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfkit.errors import ParameterError

__all__ = [
    "FEWEST",
    "automatic_block_length",
    "block_length_of",
    "check_samples",
    "check_seed",
    "path_figures",
    "resampled_places",
]

Floats: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]

# Fewer values say nothing of what others there might have been.
FEWEST = 10
# So many values are drawn at once: what the caches hold, for five times as many take twice the time a value.
_AT_ONCE = 100_000
_TAIL = 0.05
_ROUNDING = 1e-12


def automatic_block_length(values: Floats) -> float:
    """The mean block length that suits the series' autocorrelation: 1 and above, at most min(3 sqrt(n), n / 3).

    1 for a series that does not vary, or is too short to tell.
    """
    count = len(values)
    if count < FEWEST:
        return 1.0
    away = values - np.mean(values)
    variance = float(away @ away) / count
    if variance <= (_ROUNDING * float(np.max(np.abs(values)))) ** 2:
        return 1.0
    run = max(5, int(log10(count)))
    last = ceil(sqrt(count)) + run
    bound = 2.0 * sqrt(log10(count) / count)
    covariances = [variance]
    # The first of so many insignificant lags in a row, as the authors' own code has it; twice that is looked at.
    looked, small = last, 0
    for lag in range(1, last + 1):
        if lag >= count:
            break
        product = float(away[lag:] @ away[:-lag])
        covariances.append(product / count)
        norm = sqrt(float(away[lag + 1 :] @ away[lag + 1 :]) * float(away[: -lag - 1] @ away[: -lag - 1]))
        small = small + 1 if abs(product) < bound * norm else 0
        if small == run and looked == last:
            looked = min(2 * max(lag - run + 1, 1), last)
        if lag >= looked:
            break
    looked = min(looked, len(covariances) - 1)
    lags = np.arange(1, looked + 1)
    # The flat-top window of Politis and Romano 1995.
    window = np.minimum(1.0, 2.0 * (1.0 - lags / looked))
    weighted = 2.0 * window * np.array(covariances[1 : looked + 1])
    spread = float(np.sum(weighted * lags))
    long_run = variance + float(np.sum(weighted))
    if long_run == 0.0:
        return 1.0
    length = float((spread**2 / long_run**2 * count) ** (1.0 / 3.0))
    return max(1.0, min(length, float(ceil(min(3.0 * sqrt(count), count / 3.0)))))


def block_length_of(returns: Floats) -> float:
    """The longer of what suits the returns and what suits their squares, for volatility keeps together for longer."""
    return max(automatic_block_length(returns), automatic_block_length(np.square(returns - np.mean(returns))))


def check_samples(samples: int, level: float | None = None) -> None:
    """Raise :class:`ParameterError` for a number of samples, or a level, that says nothing."""
    if isinstance(samples, bool) or not isinstance(samples, int | np.integer) or samples < 50:
        raise ParameterError(
            f"samples={samples!r}: give a whole number; fewer than 50 say nothing about the tails; 1,000 are usual"
        )
    if level is not None and (not isinstance(level, int | float) or not 0.0 < level < 1.0):
        raise ParameterError(f"level={level!r}: it is a fraction such as 0.9, of all samples within the interval")


def check_seed(seed: int) -> None:
    """Raise :class:`ParameterError` for what is no seed."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ParameterError(f"seed={seed!r}: give a whole number from 0 on")


def resampled_places(
    count: int, samples: int, block_length: float, random: np.random.Generator, length: int | None = None
) -> Iterator[Places]:
    """Which of ``count`` values each sample takes, in parts (some samples, ``length``); ``length`` None is ``count``.

    Blocks begin anywhere, have a geometric length, and go round from the last value to the first.
    """
    length = count if length is None else length
    at_once = max(1, _AT_ONCE // max(length, 1))
    for first in range(0, samples, at_once):
        yield _drawn(count, min(at_once, samples - first), length, block_length, random)


def _drawn(count: int, samples: int, length: int, block_length: float, random: np.random.Generator) -> Places:
    whole = samples * length
    if block_length <= 1.0:
        return random.integers(count, size=(samples, length))
    begins = np.zeros(whole, dtype=bool)
    begins[::length] = True
    at, about = 0, int(whole / block_length * 1.1) + 100
    while at < whole:
        ends = at + np.cumsum(random.geometric(1.0 / block_length, size=about))
        begins[ends[ends < whole]] = True
        at = int(ends[-1])
    firsts = np.flatnonzero(begins)
    starts = random.integers(count, size=len(firsts))
    places = np.repeat(starts - firsts, np.diff(np.append(firsts, whole)))
    places += np.arange(whole)
    if length <= count:
        # A block goes round once at the most.
        places -= count * (places >= count)
    else:
        places %= count
    return places.reshape(samples, length)


def path_figures(returns: Floats, periods_per_year: float, first: float = 1.0) -> tuple[dict[str, Floats], Floats]:
    """The figures of each row of period returns, as :class:`~qfkit.core.metrics.Metrics` has them, and the growth of 1.

    ``first`` is what 1 had become at the first equity point, before the first of the returns.
    """
    count = returns.shape[1]
    growth = np.cumprod(1.0 + returns, axis=1, dtype=np.float64)
    growth *= first
    left = np.maximum.accumulate(growth, axis=1)
    np.maximum(left, max(1.0, first), out=left)
    np.divide(growth, left, out=left)
    drawdown = 1.0 - left.min(axis=1)
    root = sqrt(periods_per_year)
    mean = returns.mean(axis=1)
    squares = np.einsum("ij,ij->i", away := returns - mean[:, None], away)
    deviation = np.sqrt(squares / (count - 1))
    losses = np.minimum(returns, 0.0, out=away)
    downside = np.sqrt(np.einsum("ij,ij->i", losses, losses) / count)
    rounding = _ROUNDING * np.maximum(returns.max(axis=1), -returns.min(axis=1))
    last = int((count - 1) * _TAIL)
    np.copyto(away, returns)
    away.partition([last, min(last + 1, count - 1)], axis=1)
    # The quantile as numpy has it, between the two nearest.
    low, high = away[:, last], away[:, min(last + 1, count - 1)]
    quantile = low + (high - low) * ((count - 1) * _TAIL - last)
    figures: dict[str, Floats] = {
        # A copy: a view would keep the whole of the growth.
        "end_equity": growth[:, -1].copy(),
        "total_return": growth[:, -1] - 1.0,
        "volatility": deviation * root,
        "sharpe": _over(mean, deviation, rounding) * root,
        "sortino": _over(mean, downside, rounding) * root,
        "max_drawdown": np.maximum(drawdown, max(0.0, 1.0 - first)),
        "value_at_risk": 0.0 - quantile,
        "expected_shortfall": 0.0 - away[:, : last + 1].mean(axis=1),
    }
    return figures, growth


def _over(above: Floats, below: Floats, rounding: Floats) -> Floats:
    ratio: Floats = np.divide(above, below, out=np.full(len(above), nan), where=below > rounding)
    return ratio
