"""Risk measures of a series of returns and of a book's weights: pure functions, a figure each.

Losses are positive fractions: a value at risk of 0.02 is 2 % of the equity. The horizon of a measure is
that of the returns it is given, one period; :func:`scaled` brings it to another by the square root of
time. What is not defined for the data at hand is NaN; what cannot be meant is a :class:`DataError`.

Sums are rounded once (``math.fsum``), so that a figure does not depend on the machine's vector unit.
"""

from collections.abc import Iterable
from math import exp, fsum, inf, isfinite, nan, pi, sqrt
from statistics import NormalDist
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfkit.errors import DataError, ParameterError

__all__ = [
    "METHODS",
    "Method",
    "beta",
    "component_value_at_risk",
    "cornish_fisher_is_valid",
    "cornish_fisher_quantile",
    "covariance_matrix",
    "ewma_volatility",
    "excess_kurtosis",
    "expected_shortfall",
    "gross_exposure",
    "hhi",
    "liquidation_days",
    "net_exposure",
    "scaled",
    "skewness",
    "turnover",
    "value_at_risk",
    "volatility",
]

Floats: TypeAlias = NDArray[np.float64]
Method: TypeAlias = Literal["historical", "parametric", "cornish_fisher"]

METHODS: tuple[Method, ...] = ("historical", "parametric", "cornish_fisher")
RISKMETRICS_DECAY = 0.94
_NORMAL = NormalDist()
# A spread of returns this small against the largest return is the rounding of equal returns.
_ROUNDING = 1e-12
# The expansion must rise as far out as anyone reads it: three deviations are the 99.87 % level.
_CHECKED_DEVIATIONS = 3.0


# -- one series of returns -------------------------------------------------------------------


def volatility(returns: Any, periods_per_year: float | None = None) -> float:
    """Realised volatility: the sample standard deviation of the returns, a period's or a year's.

    NaN for fewer than two returns. The year's is the period's times sqrt(periods a year).
    """
    deviation = sqrt(_covariance(series := _series(returns), series))
    return deviation if periods_per_year is None else deviation * sqrt(periods_per_year)


def ewma_volatility(returns: Any, decay: float = RISKMETRICS_DECAY, periods_per_year: float | None = None) -> float:
    """Volatility with weights that fall by ``decay`` a period, the mean taken for zero.

    variance = decay * variance + (1 - decay) * return^2, from the first return's square on
    (J.P. Morgan/Reuters 1996, "RiskMetrics - Technical Document", 5.2; 0.94 is theirs for daily
    returns). NaN without a return.
    """
    check_decay(decay)
    series = _series(returns)
    if not len(series):
        return nan
    variance = float(series[0]) ** 2
    for value in series[1:].tolist():
        variance = decay * variance + (1.0 - decay) * value * value
    return sqrt(variance) * (1.0 if periods_per_year is None else sqrt(periods_per_year))


def skewness(returns: Any) -> float:
    """The third standardised moment of the sample, not corrected for its size. NaN where nothing varies."""
    return _standardised(_series(returns), 3)


def excess_kurtosis(returns: Any) -> float:
    """The fourth standardised moment of the sample less 3, not corrected for its size. NaN where nothing varies."""
    return _standardised(_series(returns), 4) - 3.0


def beta(returns: Any, benchmark_returns: Any) -> float:
    """The covariance with the benchmark over the benchmark's variance; both of the same periods.

    Pairs with a NaN are left out. NaN for fewer than two pairs and for a benchmark that does not move.
    """
    own, benchmark = _series(returns, finite=False), _series(benchmark_returns, finite=False)
    if own.shape != benchmark.shape:
        raise DataError(f"beta of {len(own)} returns to {len(benchmark)} of the benchmark: give the same periods")
    known = np.isfinite(own) & np.isfinite(benchmark)
    own, benchmark = own[known], benchmark[known]
    if len(own) < 2 or float(np.ptp(benchmark)) <= _ROUNDING * float(np.max(np.abs(benchmark))):
        return nan
    return _covariance(own, benchmark) / _covariance(benchmark, benchmark)


# -- the tail --------------------------------------------------------------------------------


def value_at_risk(returns: Any, level: float = 0.95, method: Method = "historical") -> float:
    """The loss over one period that is not passed with the probability ``level``, as a positive fraction.

    Its horizon is one period of ``returns``. Negative where even the tail gains; NaN for fewer than two.

    - "historical": minus the (1 - level) quantile of the returns, interpolated (Hyndman and Fan 1996, type 7).
    - "parametric": of a normal distribution with the sample's mean and standard deviation.
    - "cornish_fisher": of one with the sample's skewness and kurtosis too, see
      :func:`cornish_fisher_quantile`. Raises :class:`DataError` where these are too large for it.
    """
    series, tail = _checked(returns, level, method)
    if len(series) < 2:
        return nan
    if method == "historical":
        return 0.0 - _quantile(series, tail)
    mean, deviation = fsum(series.tolist()) / len(series), sqrt(_covariance(series, series))
    quantile = _NORMAL.inv_cdf(tail)
    if method == "cornish_fisher" and (moments := _moments(series)) is not None:
        quantile = cornish_fisher_quantile(tail, *moments)
    return 0.0 - (mean + quantile * deviation)


def expected_shortfall(returns: Any, level: float = 0.95, method: Method = "historical") -> float:
    """The mean loss over one period beyond the value at risk, as a positive fraction; never less than that.

    - "historical": minus the mean of the returns at or below the quantile (Acerbi and Tasche 2002).
    - "parametric": density of the normal quantile over (1 - level), in standard deviations from the mean.
    - "cornish_fisher": the expansion's mean beyond the quantile, term by term: with quantile z and density f,
      f / (1 - level) * (1 + z S/6 + (z^2 - 1) K/24 - (2 z^2 - 1) S^2/36) (Maillard 2012, "A User's Guide to
      the Cornish Fisher Expansion"). Raises :class:`DataError` as the value at risk does.
    """
    series, tail = _checked(returns, level, method)
    if len(series) < 2:
        return nan
    if method == "historical":
        worst: list[float] = np.sort(series)[: int((len(series) - 1) * tail) + 1].tolist()
        # The mean of equal values may be rounded past them.
        return 0.0 - min(fsum(worst) / len(worst), worst[-1])
    mean, deviation = fsum(series.tolist()) / len(series), sqrt(_covariance(series, series))
    z = _NORMAL.inv_cdf(tail)
    beyond = exp(-z * z / 2.0) / sqrt(2.0 * pi) / tail
    if method == "cornish_fisher" and (moments := _moments(series)) is not None:
        skew, kurtosis = moments
        _refuse_invalid(skew, kurtosis)
        beyond *= 1.0 + z * skew / 6.0 + (z * z - 1.0) * kurtosis / 24.0 - (2.0 * z * z - 1.0) * skew * skew / 36.0
    return 0.0 - mean + deviation * beyond


def cornish_fisher_quantile(probability: float, skewness: float, excess_kurtosis: float) -> float:
    """The quantile, in standard deviations, of a distribution with this skewness S and excess kurtosis K.

    z + (z^2 - 1) S/6 + (z^3 - 3 z) K/24 - (2 z^3 - 5 z) S^2/36, z the normal quantile (Cornish and
    Fisher 1938). It is no quantile where it falls as z rises: :class:`DataError` then, see
    :func:`cornish_fisher_is_valid`.
    """
    if not 0.0 < probability < 1.0:
        raise ParameterError(f"probability={probability!r}: it must lie between 0 and 1")
    _refuse_invalid(skewness, excess_kurtosis)
    z = _NORMAL.inv_cdf(probability)
    return (
        z
        + (z * z - 1.0) * skewness / 6.0
        + (z**3 - 3.0 * z) * excess_kurtosis / 24.0
        - (2.0 * z**3 - 5.0 * z) * skewness * skewness / 36.0
    )


def cornish_fisher_is_valid(skewness: float, excess_kurtosis: float) -> bool:
    """Whether the expansion rises everywhere within three standard deviations, as a quantile must.

    Its slope is 1 + z S/3 + (z^2 - 1) K/8 - (6 z^2 - 5) S^2/36. Asked of every z instead of these, it is the
    domain of Maillard (2012), which leaves out all tails lighter than the normal's.
    """
    if not (isfinite(skewness) and isfinite(excess_kurtosis)):
        return False
    square = excess_kurtosis / 8.0 - skewness * skewness / 6.0
    linear = skewness / 3.0
    constant = 1.0 - excess_kurtosis / 8.0 + 5.0 * skewness * skewness / 36.0
    places = [-_CHECKED_DEVIATIONS, _CHECKED_DEVIATIONS]
    if square > 0.0 and abs(lowest := -linear / (2.0 * square)) < _CHECKED_DEVIATIONS:
        places.append(lowest)
    return all(constant + linear * z + square * z * z >= 0.0 for z in places)


def scaled(loss: float, periods: float) -> float:
    """A value at risk of one period as that of several, by the square root of time.

    Right where returns do not depend on one another and their mean is small; trends and bursts of
    volatility make it too small.
    """
    return loss * sqrt(periods)


# -- a book of several positions -------------------------------------------------------------


def covariance_matrix(returns: Any) -> Floats:
    """The sample covariances of the columns of ``returns`` (periods x symbols), over the rows without a NaN."""
    rows = np.asarray(returns, dtype=np.float64)
    if rows.ndim != 2:
        raise DataError(f"returns of shape {rows.shape}: give a row a period and a column a symbol")
    rows = rows[np.isfinite(rows).all(axis=1)]
    columns = rows.shape[1]
    matrix = np.full((columns, columns), nan)
    for one in range(columns):
        for other in range(one, columns):
            matrix[one, other] = matrix[other, one] = _covariance(rows[:, one], rows[:, other])
    return matrix


def component_value_at_risk(weights: Any, covariance: Any, level: float = 0.95) -> Floats:
    """What each position adds to the book's parametric value at risk; the parts sum to the whole.

    z * w_i * (C w)_i / sqrt(w' C w), by Euler's theorem (Garman 1996, "Improving on VaR"); the means are taken for
    zero. Weights are signed fractions of the equity, ``covariance`` (symbols x symbols) is of one period, and so is
    the answer. A part below zero is a hedge. All zero for a book without risk.
    """
    check_level(level)
    w, matrix = np.asarray(weights, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    if w.ndim != 1 or matrix.shape != (len(w), len(w)):
        raise DataError(f"a covariance of shape {matrix.shape} for {w.shape} weights: give a row and a column a weight")
    each = np.array([fsum((row * w).tolist()) for row in matrix]) if len(w) else np.empty(0)
    variance = fsum((w * each).tolist())
    if not variance > 0.0:
        return np.full(len(w), nan if variance != variance else 0.0)
    parts: Floats = -_NORMAL.inv_cdf(1.0 - level) / sqrt(variance) * w * each
    return parts


def hhi(weights: Iterable[float]) -> float:
    """The Herfindahl-Hirschman index of concentration: the sum of the squared shares of the gross exposure.

    1 / n for n positions of one size, 1 for a single one; NaN without a position. Its inverse is the number of
    equal positions that would be as concentrated.
    """
    sizes = [abs(weight) for weight in weights]
    largest = max(sizes, default=0.0)
    if not 0.0 < largest < inf:
        return nan
    # By the largest first, so that tiny sizes do not vanish when squared.
    sizes = [size / largest for size in sizes]
    whole = fsum(sizes)
    return fsum((size / whole) ** 2 for size in sizes)


def gross_exposure(weights: Iterable[float]) -> float:
    """The sum of the weights' absolute values: 1.0 is fully invested, more is borrowed."""
    return fsum(abs(weight) for weight in weights)


def net_exposure(weights: Iterable[float]) -> float:
    """Longs less shorts, as a fraction of the equity."""
    return fsum(weights)


def turnover(notionals: Iterable[float], mean_equity: float) -> float:
    """Traded notional, both sides counted, over the mean equity of the same time. NaN without equity."""
    return fsum(abs(notional) for notional in notionals) / mean_equity if mean_equity > 0.0 else nan


def liquidation_days(quantity: float, daily_volume: float, participation: float = 0.1) -> float:
    """How many days it takes to sell (or buy back) a position as this fraction of each day's volume.

    0 for none, infinite where nothing trades, NaN where the volume is not known.
    """
    if not 0.0 < participation <= 1.0:
        raise ParameterError(f"participation={participation!r}: it must be above 0 and at most 1")
    if quantity == 0.0:
        return 0.0
    if daily_volume != daily_volume:
        return nan
    return abs(quantity) / (participation * daily_volume) if daily_volume > 0.0 else inf


# -- checks and sums -------------------------------------------------------------------------


def check_level(level: float) -> None:
    if not 0.5 <= level < 1.0:
        raise ParameterError(f"level={level!r}: it must be at least 0.5 and below 1, such as 0.95")


def check_decay(decay: float) -> None:
    if not 0.0 < decay < 1.0:
        raise ParameterError(f"decay={decay!r}: it must lie between 0 and 1, such as {RISKMETRICS_DECAY}")


def _checked(returns: Any, level: float, method: str) -> tuple[Floats, float]:
    check_level(level)
    if method not in METHODS:
        raise ParameterError(f"method={method!r} is none of {', '.join(METHODS)}")
    return _series(returns), 1.0 - level


def _series(returns: Any, *, finite: bool = True) -> Floats:
    series = np.asarray(returns, dtype=np.float64)
    if series.ndim != 1:
        raise DataError(f"returns of shape {series.shape}: give one series")
    if finite and not np.isfinite(series).all():
        where = int(np.flatnonzero(~np.isfinite(series))[0])
        raise DataError(
            f"return {where} is {float(series[where])!r}: leave such out with returns[np.isfinite(returns)]"
        )
    return series


def _covariance(one: Floats, other: Floats) -> float:
    count = len(one)
    if count < 2:
        return nan
    away, apart = one - fsum(one.tolist()) / count, other - fsum(other.tolist()) / count
    return fsum((away * apart).tolist()) / (count - 1)


def _quantile(series: Floats, probability: float) -> float:
    """Interpolated between the two nearest; a third of the time of numpy's own."""
    ordered = np.sort(series)
    place = (len(ordered) - 1) * probability
    below = int(place)
    low = float(ordered[below])
    return low + (float(ordered[min(below + 1, len(ordered) - 1)]) - low) * (place - below)


def _standardised(series: Floats, power: int) -> float:
    count = len(series)
    if not count:
        return nan
    away = series - fsum(series.tolist()) / count
    largest = float(np.max(np.abs(away)))
    if largest <= _ROUNDING * float(np.max(np.abs(series))):
        return nan
    away /= largest
    squares = away * away
    raised = squares * squares if power == 4 else squares * away
    return float(fsum(raised.tolist()) / count / (fsum(squares.tolist()) / count) ** (power / 2.0))


def _moments(series: Floats) -> tuple[float, float] | None:
    """Skewness and excess kurtosis; None where nothing varies, and the normal quantile is as good as any."""
    skew = skewness(series)
    return None if skew != skew else (skew, excess_kurtosis(series))


def _refuse_invalid(skew: float, kurtosis: float) -> None:
    if not cornish_fisher_is_valid(skew, kurtosis):
        raise DataError(
            f"skewness {skew:.3g} and excess kurtosis {kurtosis:.3g} are outside what the Cornish-Fisher expansion "
            'can stand for: its quantiles would not rise. Take method="historical"'
        )
