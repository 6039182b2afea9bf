"""Figures of a symbol's latest closed bars: returns, volatility, true range, and how symbols move together.

Sums run from left to right, so that a journal replays to the last bit on any machine.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import nan, sqrt

import numpy as np

from qfkit.core.annualisation import infer_annualisation
from qfkit.core.events import Bar
from qfkit.core.portfolio import total

__all__ = [
    "RISKMETRICS_DECAY",
    "aligned_returns",
    "annual_periods",
    "average_true_range",
    "covariance",
    "ewma_variance",
    "portfolio_deviation",
    "returns_of",
    "sample_variance",
]

RISKMETRICS_DECAY = 0.94


def annual_periods(bars: Sequence[Bar]) -> float:
    """How many such bars a year has, read from their times; NaN where that cannot be told."""
    closes = np.array([bar.close_ns for bar in bars], dtype=np.int64)
    return infer_annualisation(closes).periods_per_year


def returns_of(bars: Sequence[Bar]) -> list[float]:
    """Simple returns from close to close, one fewer than the bars."""
    return [later.close / earlier.close - 1.0 for earlier, later in pairwise(bars)]


def sample_variance(values: Sequence[float]) -> float:
    """The variance with one degree of freedom taken off; NaN of fewer than two values."""
    count = len(values)
    if count < 2:
        return nan
    mean = total(values) / count
    return total((value - mean) * (value - mean) for value in values) / (count - 1)


def ewma_variance(returns: Sequence[float], decay: float = RISKMETRICS_DECAY) -> float:
    """The exponentially weighted variance of returns around zero; NaN of none.

    ``variance = decay * variance + (1 - decay) * return**2``, begun with the first square:
    RiskMetrics Technical Document, 4th edition, 1996, section 5.2, with its 0.94 of daily returns.
    """
    if not returns:
        return nan
    variance = returns[0] * returns[0]
    for value in returns[1:]:
        variance = decay * variance + (1.0 - decay) * value * value
    return variance


def average_true_range(bars: Sequence[Bar], period: int) -> float:
    """The plain mean of the last ``period`` true ranges; NaN where the bars are fewer than ``period + 1``.

    True range: Wilder, New Concepts in Technical Trading Systems, 1978. :class:`qfkit.ATR` smooths it as
    Wilder does; here the mean is taken, for it needs no history before the bars that are kept.
    """
    if len(bars) < period + 1:
        return nan
    recent = bars[-period - 1 :]
    ranges = (max(bar.high, before.close) - min(bar.low, before.close) for before, bar in pairwise(recent))
    return total(ranges) / period


def aligned_returns(bars: Mapping[str, Sequence[Bar]], count: int) -> dict[str, list[float]]:
    """The last ``count`` returns of each symbol between times at which all of them closed a bar; fewer where fewer are."""
    closes = {symbol: {bar.close_ns: bar.close for bar in own} for symbol, own in bars.items()}
    shared: set[int] | None = None
    for own in closes.values():
        shared = set(own) if shared is None else shared & set(own)
    times = sorted(shared or ())[-count - 1 :]
    return {
        symbol: [own[later] / own[earlier] - 1.0 for earlier, later in pairwise(times)]
        for symbol, own in closes.items()
    }


def covariance(returns: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """The sample covariances of returns of equal length; of fewer than two returns NaN."""
    names = list(returns)
    count = len(next(iter(returns.values()), ()))
    if count < 2:
        return {one: dict.fromkeys(names, nan) for one in names}
    away = {}
    for name, own in returns.items():
        mean = total(own) / count
        away[name] = [value - mean for value in own]
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for place, one in enumerate(names):
        for other in names[place:]:
            value = total(a * b for a, b in zip(away[one], away[other], strict=True)) / (count - 1)
            found[one][other] = found[other][one] = value
    return found


def portfolio_deviation(amounts: Mapping[str, float], covariances: Mapping[str, Mapping[str, float]]) -> float:
    """The standard deviation of a sum of positions: ``sqrt(amounts' C amounts)``, in the amounts' unit."""
    variance = total(amounts[one] * amounts[other] * covariances[one][other] for one in amounts for other in amounts)
    # Rounding may leave a variance of nothing a little below it.
    return sqrt(variance) if variance > 0.0 else 0.0 if variance == variance else nan
