"""How much of a result is luck: Sharpe ratios judged by their length and shape, and by the number of tries.

Functions of plain numbers and arrays. A Sharpe ratio here is that of one period, not annualised: an annual one
divided by the square root of the periods in a year. Kurtosis is Pearson's, 3 for a normal distribution.

    probabilistic_sharpe(sharpe, returns, *, skewness=0, kurtosis=3, benchmark=0) -> float
    expected_maximum_sharpe(variance, tries) -> float
    deflated_sharpe(sharpe, returns, *, variance, tries, skewness=0, kurtosis=3) -> float
    minimum_track_record(sharpe, *, benchmark=0, level=0.95, skewness=0, kurtosis=3) -> float
    minimum_backtest_years(tries, *, sharpe=1) -> float
    independent_tries(tries, correlation) -> float
    overfitting_probability(counts, sums, squares) -> Overfitting
    overfitting_of_returns(returns, *, blocks=16) -> Overfitting
    block_moments(returns, *, blocks=16) -> (counts, sums, squares)

Sources: D. H. Bailey and M. López de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15 (2012), and
"The Deflated Sharpe Ratio", Journal of Portfolio Management 40 (2014); D. H. Bailey, J. M. Borwein, M. López de Prado
and Q. J. Zhu, "Pseudo-Mathematics and Financial Charlatanism", Notices of the AMS 61 (2014), and "The Probability of
Backtest Overfitting", Journal of Computational Finance 20 (2017).
"""

from collections.abc import Iterator
from itertools import combinations, islice
from math import comb, e, inf, isfinite, nan, sqrt
from statistics import NormalDist
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from qfkit.errors import DataError, ParameterError
from qfkit.frames import is_frame

__all__ = [
    "Overfitting",
    "block_moments",
    "deflated_sharpe",
    "expected_maximum_sharpe",
    "independent_tries",
    "minimum_backtest_years",
    "minimum_track_record",
    "overfitting_of_returns",
    "overfitting_probability",
    "probabilistic_sharpe",
]

Floats: TypeAlias = NDArray[np.float64]

_NORMAL = NormalDist()
_EULER_MASCHERONI = 0.5772156649015329
# So many Sharpe ratios are reckoned at once: 4 MB an array, and about seven arrays.
_AT_ONCE = 500_000
# Two Sharpe ratios as near to each other as this are the same: sums of the same returns differ by their rounding.
_SAME = 1e-10
# A variance below this share of the mean square is rounding.
_NO_VARIANCE = 1e-13


# -- one Sharpe ratio ------------------------------------------------------------------------


def probabilistic_sharpe(
    sharpe: float, returns: int, *, skewness: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0
) -> float:
    """The probability that the true Sharpe ratio is above ``benchmark``, both of one period.

    ``returns`` is how many there were; they are taken as independent of each other. NaN for a Sharpe ratio that is NaN.
    """
    if returns < 2:
        raise ParameterError(f"returns={returns!r}: it takes two returns or more to speak of a Sharpe ratio")
    width = _width(sharpe, skewness, kurtosis)
    distance = (sharpe - benchmark) * sqrt(returns - 1)
    if width == 0.0:
        return 0.5 if distance == 0.0 else float(distance > 0.0)
    return _NORMAL.cdf(distance / width)


def _width(sharpe: float, skewness: float, kurtosis: float) -> float:
    """The standard error of a Sharpe ratio, times the square root of the number of returns less one."""
    if kurtosis < 1.0 + skewness**2 - 1e-9:
        raise ParameterError(
            f"kurtosis={kurtosis!r} with skewness={skewness!r}: no distribution has less than 1 + skewness**2; "
            "kurtosis is Pearson's, 3 for a normal distribution, not what is in excess of 3"
        )
    return sqrt(max(0.0, 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2))


def minimum_track_record(
    sharpe: float, *, benchmark: float = 0.0, level: float = 0.95, skewness: float = 0.0, kurtosis: float = 3.0
) -> float:
    """How many returns it takes until ``sharpe`` is above ``benchmark`` with the probability ``level``.

    Infinite if it is not above it: no length would show it.
    """
    if not 0.5 <= level < 1.0:
        raise ParameterError(f"level={level!r}: it is a probability from 0.5 up to, not including, 1")
    if sharpe <= benchmark:
        return inf
    return 1.0 + (_width(sharpe, skewness, kurtosis) * _NORMAL.inv_cdf(level) / (sharpe - benchmark)) ** 2


# -- the best of many ------------------------------------------------------------------------


def expected_maximum_sharpe(variance: float, tries: float) -> float:
    """What the best of ``tries`` independent strategies of no worth is expected to show: the false strategy theorem.

    ``variance`` is that of the tries' Sharpe ratios, in the same unit (of one period, or annual) as what is returned.
    One try is expected to show nothing.
    """
    if not (isfinite(variance) and variance >= 0.0):
        raise ParameterError(f"variance={variance!r}: the variance of the tries' Sharpe ratios is a number from 0 up")
    return sqrt(variance) * _expected_maximum(tries)


def _expected_maximum(tries: float) -> float:
    """The expected maximum of independent standard normal numbers."""
    if not (isfinite(tries) and tries >= 1.0):
        raise ParameterError(f"tries={tries!r}: at least one was made")
    if tries == 1.0:
        return 0.0
    # From the lower tail: for many tries 1 - 1 / tries would be rounded.
    first, second = -_NORMAL.inv_cdf(1.0 / tries), -_NORMAL.inv_cdf(1.0 / (tries * e))
    return max(0.0, (1.0 - _EULER_MASCHERONI) * first + _EULER_MASCHERONI * second)


def deflated_sharpe(
    sharpe: float, returns: int, *, variance: float, tries: float, skewness: float = 0.0, kurtosis: float = 3.0
) -> float:
    """The probability that the best of ``tries`` is worth more than the best of as many without worth would show.

    ``sharpe``, ``skewness`` and ``kurtosis`` are of the one that was picked, over that many ``returns``;
    ``variance`` is that of the tries' Sharpe ratios of one period. ``tries`` counts independent ones: neighbours on a
    grid are not, so their plain number is the careful answer and :func:`independent_tries` a milder one. Tries that
    were made elsewhere and thrown away count too; nothing here can know them.
    """
    benchmark = expected_maximum_sharpe(variance, tries)
    return probabilistic_sharpe(sharpe, returns, skewness=skewness, kurtosis=kurtosis, benchmark=benchmark)


def independent_tries(tries: int, correlation: float) -> float:
    """How many independent tries so many correlated ones are worth, by their mean correlation (2014 paper, appendix 3)."""
    if tries < 1:
        raise ParameterError(f"tries={tries!r}: at least one was made")
    if not -1.0 <= correlation <= 1.0:
        raise ParameterError(f"correlation={correlation!r}: a mean correlation is from -1 to 1")
    within = max(correlation, 0.0)
    return within + (1.0 - within) * tries


def minimum_backtest_years(tries: float, *, sharpe: float = 1.0) -> float:
    """The years of history below which the best of ``tries`` without worth is expected to show that annual Sharpe."""
    if not sharpe > 0.0:
        raise ParameterError(f"sharpe={sharpe!r}: an annual Sharpe ratio above zero")
    return (_expected_maximum(tries) / sharpe) ** 2


# -- the probability of backtest overfitting -------------------------------------------------


class Overfitting(msgspec.Struct, frozen=True, eq=False):
    """What combinatorially symmetric cross-validation found.

    - ``probability``: of the splits, the share where the best in sample is not above the median out of sample;
    - ``logits``: of its relative rank out of sample, one a split; zero is the median, below zero is overfitting;
    - ``winners``: which combination it was, by its place in what was given;
    - ``in_sample``, ``out_of_sample``: its Sharpe ratio of one period in each half;
    - ``slope``, ``intercept``: of the line through these points: at a slope below zero, what looked better was worse;
    - ``loss_probability``: the share of the splits where it lost money out of sample;
    - ``combinations`` that took part; ``left_out``: those with NaN among their moments;
    - ``blocks`` of time; ``undecided``: splits without any combination that had a Sharpe ratio in sample.
    """

    probability: float
    logits: Floats
    winners: NDArray[np.int64]
    in_sample: Floats
    out_of_sample: Floats
    slope: float
    intercept: float
    loss_probability: float
    combinations: int
    left_out: int
    blocks: int
    undecided: int

    def __repr__(self) -> str:
        return (
            f"probability of backtest overfitting {self.probability:.1%} of {len(self.logits):,} splits of "
            f"{self.combinations:,} combinations in {self.blocks} blocks; the best in sample lost money out of sample "
            f"in {self.loss_probability:.1%}; out of sample = {self.intercept:.4f} {self.slope:+.2f} x in sample"
        )


def block_moments(returns: Any, *, blocks: int = 16) -> tuple[NDArray[np.int64], Floats, Floats]:
    """What :func:`overfitting_probability` needs of each of that many contiguous blocks of time: how many, sum, squares.

    ``returns``: an array (combinations, periods), or a DataFrame with a row a period and a column a combination.
    Blocks differ by one period where they do not divide evenly. A combination with a return that is NaN has moments
    that are NaN.
    """
    values = np.asarray(returns.to_numpy().T if is_frame(returns) else returns, dtype=np.float64)
    if values.ndim != 2:
        raise DataError(f"returns of shape {values.shape}: give an array (combinations, periods) or a DataFrame")
    _check_blocks(blocks)
    periods = values.shape[1]
    if periods < 2 * blocks:
        raise DataError(f"{periods} periods in {blocks} blocks: a block takes two periods at the least")
    starts = np.arange(blocks) * periods // blocks
    counts = np.diff(np.append(starts, periods))
    sums = np.add.reduceat(values, starts, axis=1)
    squares = np.stack(
        [np.square(part).sum(axis=1) for part in np.split(values, starts[1:], axis=1)], axis=1, dtype=np.float64
    )
    return counts, sums, squares


def overfitting_of_returns(returns: Any, *, blocks: int = 16) -> Overfitting:
    """:func:`overfitting_probability` of the period returns of each combination; shapes as in :func:`block_moments`."""
    return overfitting_probability(*block_moments(returns, blocks=blocks))


def _check_blocks(blocks: int) -> None:
    if blocks < 2 or blocks % 2 or blocks > 24:
        raise ParameterError(
            f"blocks={blocks!r}: an even number from 2 to 24; 16 give 12,870 splits, 24 give 2.7 million"
        )


def overfitting_probability(counts: ArrayLike, sums: ArrayLike, squares: ArrayLike) -> Overfitting:
    """The probability that the best combination in sample is no better than the median out of sample.

    Time is cut into an even number of contiguous blocks. Each half of them is in sample once, the rest out of sample;
    the best in sample is ranked among all out of sample. All it takes is, of each combination's period returns in
    each block: ``counts`` (blocks,), the periods; ``sums`` (combinations, blocks) and ``squares``, of the returns and
    of their squares. The Sharpe ratio of any half follows exactly. The moments are plain, not shifted: a variance
    from them is short of about as many digits as the squared Sharpe ratio of one period has, and that is below one
    for whatever is traded.

    - Ties share their mean rank out of sample; in sample the first of the best is taken. Differences within 1e-10
      of a value are ties.
    - A combination that held nothing has no Sharpe ratio (its returns are all zero): in sample it is never the
      best, out of sample it counts as zero, what it earned. Without variance but with returns it is plus or minus
      infinity there.
    - One with NaN among its moments takes no part; ``left_out`` counts them.

    Raises :class:`DataError` for fewer than two combinations that take part, and for shapes that do not fit.
    """
    sizes, sums, squares = np.asarray(counts), np.asarray(sums, dtype=float), np.asarray(squares, dtype=float)
    if sizes.ndim != 1 or sums.ndim != 2 or sums.shape != squares.shape or sums.shape[1] != len(sizes):
        raise DataError(
            f"counts {sizes.shape}, sums {sums.shape}, squares {squares.shape}: give (blocks,) and twice "
            "(combinations, blocks)"
        )
    blocks = len(sizes)
    _check_blocks(blocks)
    if sizes.min() < 1 or np.sort(sizes)[: blocks // 2].sum() < 2:
        raise DataError(f"counts={sizes.tolist()}: every block has a period, and every half two, at the least")
    complete = np.isfinite(sums).all(axis=1) & np.isfinite(squares).all(axis=1)
    places = np.flatnonzero(complete)
    if len(places) < 2:
        raise DataError(f"{len(places)} of the combinations have returns: it takes two to rank them")
    if len(places) < len(complete):
        sums, squares = sums[places], squares[places]
    splits = comb(blocks, blocks // 2)
    logits, best_in, best_out = np.full(splits, nan), np.full(splits, nan), np.full(splits, nan)
    winners = np.zeros(splits, dtype=np.int64)
    # A half and what it leaves are each in sample once: both are reckoned together.
    for start, halves in _halves(blocks, max(1, _AT_ONCE // len(places))):
        one = _sharpes(sizes, sums, squares, halves)
        other = _sharpes(sizes, sums, squares, 1.0 - halves)
        for inside, outside, first in ((one, other, start), (other, one, splits // 2 + start)):
            here = slice(first, first + halves.shape[1])
            winners[here], best_in[here], best_out[here], logits[here] = _ranked(inside, outside)
    decided = ~np.isnan(logits)
    if not decided.any():
        raise DataError("no combination has a Sharpe ratio in any half: none of them ever held anything")
    logits, best_in, best_out, winners = logits[decided], best_in[decided], best_out[decided], winners[decided]
    slope, intercept = _line(best_in, best_out)
    return Overfitting(
        probability=float(np.mean(logits <= 0.0)),
        logits=logits,
        winners=places[winners],
        in_sample=best_in,
        out_of_sample=best_out,
        slope=slope,
        intercept=intercept,
        loss_probability=float(np.mean(best_out < 0.0)),
        combinations=len(places),
        left_out=len(complete) - len(places),
        blocks=blocks,
        undecided=splits - len(logits),
    )


def _halves(blocks: int, at_once: int) -> Iterator[tuple[int, Floats]]:
    """The halves that have the first block, as columns of ones and zeros; their complements are the others."""
    chosen = combinations(range(1, blocks), blocks // 2 - 1)
    start = 0
    while part := list(islice(chosen, at_once)):
        halves = np.zeros((blocks, len(part)))
        halves[0] = 1.0
        for column, members in enumerate(part):
            halves[list(members), column] = 1.0
        yield start, halves
        start += len(part)


def _sharpes(sizes: NDArray[Any], sums: Floats, squares: Floats, halves: Floats) -> Floats:
    """The Sharpe ratio of each combination (row) in each half (column); NaN where the returns have no variance."""
    counts = sizes @ halves
    means: Floats = sums @ halves
    means /= counts
    spread: Floats = squares @ halves
    spread /= counts
    least = spread * _NO_VARIANCE
    spread -= np.square(means)
    flat = spread <= least
    spread *= counts / (counts - 1.0)
    np.sqrt(spread, out=spread, where=~flat)
    np.divide(means, spread, out=means, where=~flat)
    if flat.any():
        # Told from numbers by being infinite; zero returns are NaN.
        means[flat] = np.where(means[flat] == 0.0, nan, np.copysign(inf, means[flat]))
    return means


def _ranked(inside: Floats, outside: Floats) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    """Of each column: the best inside, its value inside and outside, the logit of its rank outside."""
    able = np.where(np.isfinite(inside), inside, -inf) if not np.isfinite(inside).all() else inside
    highest = able.max(axis=0)
    winners = (able >= highest - _SAME * np.abs(np.where(np.isfinite(highest), highest, 0.0))).argmax(axis=0)
    columns = np.arange(inside.shape[1])
    earned = np.where(np.isnan(outside), 0.0, outside) if np.isnan(outside).any() else outside
    theirs = earned[winners, columns]
    near = _SAME * np.abs(np.where(np.isfinite(theirs), theirs, 0.0))
    lower = (earned < theirs - near).sum(axis=0)
    not_above = (earned <= theirs + near).sum(axis=0)
    # The mean of the ranks that the equal ones share.
    rank = (lower + 1 + not_above) / 2.0
    share = rank / (len(inside) + 1)
    decided = np.isfinite(highest)
    logits = np.where(decided, np.log(share / (1.0 - share)), nan)
    return winners, np.where(decided, highest, nan), np.where(decided, theirs, nan), logits


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and intercept by least squares; NaN where the points do not spread."""
    usable = np.isfinite(x) & np.isfinite(y)
    x, y = x[usable], y[usable]
    if len(x) < 2:
        return nan, nan
    away = x - x.mean()
    spread = float(np.sum(away**2))
    if spread <= 0.0:
        return nan, nan
    slope = float(np.sum(away * (y - y.mean()))) / spread
    return slope, float(y.mean() - slope * x.mean())
