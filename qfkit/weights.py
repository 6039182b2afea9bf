"""Portfolio weights from returns: equal, inverse volatility, minimum variance, mean-variance.

Each takes period returns, a DataFrame with one column a symbol or a dict of arrays, and gives fractions
that add up to 1, none negative, for ``strategy.rebalance(...)``. The last two need the extra
``portfolio``: ``pip install "qfkit[portfolio]"``.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfkit.errors import DataError, ParameterError

if TYPE_CHECKING:
    import pandas

    from qfkit.core.events import Bar

__all__ = ["equal", "inverse_volatility", "mean_variance", "minimum_variance", "returns_of"]

Floats: TypeAlias = NDArray[np.float64]
Returns: TypeAlias = "pandas.DataFrame | Mapping[Any, Any]"


def returns_of(bars: Mapping[str, Sequence["Bar"]]) -> dict[str, Floats]:
    """Period returns from closed bars, ``close / close before - 1``, over the times at which all symbols closed.

    Oldest first, as ``self.bars(symbol, count)`` gives them.
    """
    closes = {symbol: {bar.close_ns: bar.close for bar in own} for symbol, own in bars.items()}
    common = sorted(set.intersection(*map(set, closes.values()))) if closes else []
    series = {symbol: np.array([own[time_ns] for time_ns in common]) for symbol, own in closes.items()}
    return {symbol: prices[1:] / prices[:-1] - 1.0 for symbol, prices in series.items()}


def equal(returns: Returns) -> dict[str, float]:
    """The same for each."""
    symbols = [str(symbol) for symbol in returns]
    return dict.fromkeys(symbols, 1.0 / len(symbols)) if symbols else {}


def inverse_volatility(returns: Returns) -> dict[str, float]:
    """``w_i = (1 / s_i) / sum(1 / s_j)``, s the sample standard deviation: equal risk where nothing correlates.

    (Risk parity without correlations: Maillard, Roncalli and Teiletche 2010, "The Properties of Equally
    Weighted Risk Contribution Portfolios".) Raises :class:`DataError` for a symbol that does not move.
    """
    symbols, table = _table(returns)
    deviations = table.std(axis=0, ddof=1)
    for symbol, deviation in zip(symbols, deviations, strict=True):
        if not deviation > 0.0:
            raise DataError(f"inverse_volatility: the returns of {symbol} do not vary, so no weight comes of them")
    inverse = 1.0 / deviations
    return _named(symbols, inverse / inverse.sum())


def minimum_variance(returns: Returns) -> dict[str, float]:
    """The weights of the least variance, ``min w'Sw`` with ``sum w = 1``, ``w >= 0``; S is the sample covariance.

    (Markowitz 1952, "Portfolio Selection".) Solved by skfolio, with the solver Clarabel.
    """
    return _solved(returns, "MINIMIZE_RISK")


def mean_variance(returns: Returns, *, risk_aversion: float = 1.0) -> dict[str, float]:
    """The weights of the greatest utility, ``max w'm - risk_aversion * w'Sw`` with ``sum w = 1``, ``w >= 0``.

    m are the mean returns of a period: the past's means say little of the future's, and the weights
    hang on them (Best and Grauer 1991), so mind the corners. Solved by skfolio.
    """
    if not 0.0 < risk_aversion < np.inf:
        raise ParameterError(f"risk_aversion={risk_aversion!r}: it must be above zero and finite")
    return _solved(returns, "MAXIMIZE_UTILITY", risk_aversion=risk_aversion)


def _solved(returns: Returns, objective: str, **options: Any) -> dict[str, float]:
    symbols, table = _table(returns)
    try:
        from skfolio.moments import EmpiricalCovariance
        from skfolio.optimization import MeanRisk, ObjectiveFunction
        from skfolio.prior import EmpiricalPrior
    except ImportError as error:
        raise ParameterError(
            'minimum_variance and mean_variance need the library skfolio: pip install "qfkit[portfolio]"'
        ) from error
    # In units in which a usual return is 1 the solver's tolerances mean something, whatever the bars' length.
    scale = float(table.std(axis=0).mean()) or 1.0
    if "risk_aversion" in options:
        options["risk_aversion"] *= scale
    # Clarabel is an interior-point method without a clock or chance in it: the same returns, the same weights.
    model = MeanRisk(
        objective_function=ObjectiveFunction[objective],
        prior_estimator=EmpiricalPrior(covariance_estimator=EmpiricalCovariance(window_size=None, ddof=1)),
        solver="CLARABEL",
        **options,
    )
    weights = np.maximum(model.fit(table / scale).weights_, 0.0)
    # What is below the solver's own tolerance is no position.
    weights[weights < 1e-6] = 0.0
    return _named(symbols, weights / weights.sum())


def _table(returns: Returns) -> tuple[list[str], Floats]:
    """Symbols, and their returns side by side."""
    symbols = [str(symbol) for symbol in returns]
    columns = [np.asarray(returns[symbol], dtype=np.float64) for symbol in returns]
    if not columns or len({len(column) for column in columns}) != 1 or len(columns[0]) < 2:
        raise DataError(
            f"returns of {', '.join(symbols) or 'no symbol'}: give at least two of each symbol, as many of one as of another"
        )
    table = np.column_stack(columns)
    if not np.isfinite(table).all():
        bad = symbols[int(np.flatnonzero(~np.isfinite(table).all(axis=0))[0])]
        raise DataError(f"the returns of {bad} hold NaN or infinity: drop those rows first, as with returns.dropna()")
    return symbols, table


def _named(symbols: Sequence[str], weights: Floats) -> dict[str, float]:
    return {symbol: float(weight) for symbol, weight in zip(symbols, weights, strict=True)}
