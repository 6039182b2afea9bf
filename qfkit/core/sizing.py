"""Position sizing: the quantity of an order that names none. Given as ``sizer=``; the risk gate comes after it.

A sizer is any callable from a :class:`SizingContext` to a quantity (zero or more), or to a
:class:`Sized` that also says why and by which numbers. What it gives is then rounded down to the
symbol's step; what is below the symbol's smallest order is not sent, and the signal says so.
"""

from collections.abc import Callable, Sequence
from math import inf, sqrt
from typing import Protocol

import msgspec

from qfkit.core.bar_statistics import (
    RISKMETRICS_DECAY,
    aligned_returns,
    annual_periods,
    average_true_range,
    covariance,
    ewma_variance,
    returns_of,
    sample_variance,
)
from qfkit.core.events import Bar
from qfkit.core.portfolio import total
from qfkit.errors import ParameterError

__all__ = [
    "ClosedTrades",
    "EqualWeight",
    "FixedNotional",
    "FixedQuantity",
    "FractionOfEquity",
    "InverseVolatility",
    "Kelly",
    "RiskParity",
    "RiskPerTrade",
    "Sized",
    "Sizer",
    "SizingContext",
    "VolatilityTarget",
    "equal_risk_weights",
]


_SWEEPS = 1_000
_CONVERGED = 1e-12


class Sized(msgspec.Struct, frozen=True):
    """What a sizer found: the quantity, the numbers it came from, and the reason where it is zero."""

    quantity: float
    numbers: dict[str, float] = {}
    reason: str = ""


class ClosedTrades(msgspec.Struct, frozen=True, gc=False):
    """A strategy's own closed trades: how many, how many won, and the mean returns of both (fractions, positive)."""

    count: int
    won: int
    mean_win: float
    mean_loss: float


class SizingContext(msgspec.Struct, frozen=True):
    """What a sizer may look at; money is the strategy's own book, in the symbol's currency like the prices.

    ``price`` is the last price, ``entry_price`` the one that the order expects (its limit or stop
    where it has one), ``stop_price`` the order's stop-loss (None without), ``side`` 1.0 for a buy
    and -1.0 for a sale, ``symbols`` those of the run. ``bars(symbol, count)`` are the latest closed
    bars, oldest first; ``rate`` is what a unit of the symbol's currency is worth in the account's.
    """

    symbol: str
    side: float
    price: float
    entry_price: float
    stop_price: float | None
    equity: float
    cash: float
    symbols: tuple[str, ...]
    trades: ClosedTrades
    bars: Callable[[str, int], Sequence[Bar]]
    rate: float = 1.0


class Sizer(Protocol):
    """Any callable that gives a quantity, zero or more, or a :class:`Sized`."""

    def __call__(self, context: SizingContext, /) -> "float | Sized": ...


def _check(sizer: msgspec.Struct, **bounds: tuple[float, float]) -> None:
    for name, (low, high) in bounds.items():
        value = getattr(sizer, name)
        if (value is not None and not low < value <= high) or value == inf:
            upper = "and finite" if high == inf else f"and at most {high:g}"
            raise ParameterError(f"{type(sizer).__name__}({name}={value!r}): it must be above {low:g} {upper}")


def _weighed(weight: float, context: SizingContext, **numbers: float) -> Sized:
    numbers = {"equity": context.equity, "weight": weight, **numbers}
    return Sized(max(0.0, weight * context.equity) / context.price, numbers)


def _missing(what: str, needed: int, there: int) -> Sized:
    return Sized(0.0, {}, f"{what} needs {needed} bars, there are {there} so far")


class FixedQuantity(msgspec.Struct, frozen=True):
    """Always the same quantity."""

    quantity: float

    def __post_init__(self) -> None:
        _check(self, quantity=(0.0, inf))

    def __call__(self, context: SizingContext, /) -> float:
        return self.quantity


class FixedNotional(msgspec.Struct, frozen=True):
    """Always the same money: ``notional / price``, in the account's currency."""

    notional: float

    def __post_init__(self) -> None:
        _check(self, notional=(0.0, inf))

    def __call__(self, context: SizingContext, /) -> Sized:
        return Sized(self.notional / (context.price * context.rate), {"notional": self.notional})


class FractionOfEquity(msgspec.Struct, frozen=True):
    """``fraction * equity / price``: a fraction of 0.25 is a quarter of the strategy's equity."""

    fraction: float = 0.1

    def __post_init__(self) -> None:
        _check(self, fraction=(0.0, inf))

    def __call__(self, context: SizingContext, /) -> float:
        return self.fraction * context.equity / context.price


class RiskPerTrade(msgspec.Struct, frozen=True):
    """So much that a stop costs ``fraction`` of the equity: ``fraction * equity / distance to the stop``.

    The distance is that from the expected entry to the order's ``stop_loss``; for an order without
    one it is ``atr_multiple`` average true ranges over ``atr_period`` bars (the plain mean of
    Wilder's true range). The trap: fees, slippage and a gap through the stop come on top.
    Source: the fixed fractional method, Vince, Portfolio Management Formulas, 1990; the range as
    the distance, Faith, Way of the Turtle, 2007.
    """

    fraction: float = 0.01
    atr_multiple: float = 2.0
    atr_period: int = 14

    def __post_init__(self) -> None:
        _check(self, fraction=(0.0, 1.0), atr_multiple=(0.0, inf), atr_period=(0.0, 999.0))

    def __call__(self, context: SizingContext, /) -> Sized:
        numbers = {"equity": context.equity, "fraction": self.fraction}
        if context.stop_price is None:
            bars = context.bars(context.symbol, self.atr_period + 1)
            if len(bars) <= self.atr_period:
                return _missing("the average true range", self.atr_period + 1, len(bars))
            numbers["average true range"] = average_true_range(bars, self.atr_period)
            distance = self.atr_multiple * numbers["average true range"]
        else:
            distance = abs(context.entry_price - context.stop_price)
        numbers["distance to the stop"] = distance
        if distance <= 0.0:
            return Sized(0.0, numbers, "the distance to the stop is zero: the price did not move")
        return Sized(max(0.0, self.fraction * context.equity) / distance, numbers)


class VolatilityTarget(msgspec.Struct, frozen=True):
    """So much that the position's volatility is ``target`` a year: ``target / volatility * equity / price``.

    The volatility is the exponentially weighted one of the latest ``lookback`` returns, annualised by
    the times of the bars (see :func:`~qfkit.core.annualisation.infer_annualisation`); the weight is
    at most ``cap``. Source: RiskMetrics Technical Document, 1996 (decay 0.94); the scaling as in
    Moskowitz, Ooi and Pedersen, Time series momentum, 2012, equation 5.
    """

    target: float = 0.2
    decay: float = RISKMETRICS_DECAY
    lookback: int = 100
    cap: float = 1.0

    def __post_init__(self) -> None:
        _check(self, target=(0.0, inf), decay=(0.0, 0.999999), lookback=(1.0, 999.0), cap=(0.0, inf))

    def __call__(self, context: SizingContext, /) -> Sized:
        bars = context.bars(context.symbol, self.lookback + 1)
        if len(bars) <= self.lookback:
            return _missing("the volatility", self.lookback + 1, len(bars))
        volatility = sqrt(ewma_variance(returns_of(bars), self.decay) * annual_periods(bars))
        if not volatility > 0.0:
            return Sized(0.0, {"volatility": volatility}, "the volatility is zero or unknown: the price did not move")
        return _weighed(min(self.cap, self.target / volatility), context, volatility=volatility)


class Kelly(msgspec.Struct, frozen=True):
    """A ``fraction`` of the Kelly weight of the strategy's own closed trades, at most ``cap`` of the equity.

    ``p / mean loss - (1 - p) / mean win``, with ``p`` the share of trades that won and the means as
    fractions of what was put in. Until ``minimum_trades`` have closed, ``starting_weight`` is taken; an
    edge of zero or less gives no order. The trap: the estimate from few trades is mostly chance,
    hence the fraction and the cap. Source: Kelly, A New Interpretation of Information Rate, 1956; for
    unequal wins and losses Thorp, The Kelly Criterion in Blackjack, Sports Betting and the Stock
    Market, 2006, section 2.
    """

    fraction: float = 0.5
    cap: float = 0.25
    minimum_trades: int = 30
    starting_weight: float = 0.02

    def __post_init__(self) -> None:
        _check(self, fraction=(0.0, 1.0), cap=(0.0, inf), minimum_trades=(0.0, inf), starting_weight=(0.0, inf))

    def __call__(self, context: SizingContext, /) -> Sized:
        trades = context.trades
        if trades.count < self.minimum_trades:
            return _weighed(min(self.starting_weight, self.cap), context, trades=trades.count)
        share = trades.won / trades.count
        numbers = {"trades": trades.count, "won": share, "mean win": trades.mean_win, "mean loss": trades.mean_loss}
        if trades.mean_loss <= 0.0:
            # Not one lost: the formula knows no bound, the cap does.
            return _weighed(self.cap, context, **numbers)
        kelly = share / trades.mean_loss - ((1.0 - share) / trades.mean_win if trades.mean_win > 0.0 else inf)
        numbers["kelly"] = kelly
        if kelly <= 0.0:
            return Sized(
                0.0, numbers, f"the {trades.count} closed trades show no edge: the Kelly weight is {kelly:.3g}"
            )
        return _weighed(min(self.cap, self.fraction * kelly), context, **numbers)


class EqualWeight(msgspec.Struct, frozen=True):
    """The same weight for each symbol of the run: ``gross / number of symbols * equity / price``."""

    gross: float = 1.0

    def __post_init__(self) -> None:
        _check(self, gross=(0.0, inf))

    def __call__(self, context: SizingContext, /) -> Sized:
        return _weighed(self.gross / len(context.symbols), context, symbols=len(context.symbols))


class _WeighedByReturns(msgspec.Struct, frozen=True):
    """Weights over the run's symbols from their shared returns; subclasses write ``_weights``."""

    lookback: int = 60
    gross: float = 1.0

    def __post_init__(self) -> None:
        _check(self, lookback=(1.0, 999.0), gross=(0.0, inf))

    def __call__(self, context: SizingContext, /) -> Sized:
        returns = _shared_returns(context, self.lookback)
        if isinstance(returns, Sized):
            return returns
        weight = self.gross * self._weights(returns)[context.symbol]
        deviation = sqrt(sample_variance(returns[context.symbol]))
        return _weighed(weight, context, volatility=deviation, symbols=len(returns))

    def _weights(self, returns: dict[str, list[float]]) -> dict[str, float]:
        """Weights that sum to one."""
        raise NotImplementedError


class InverseVolatility(_WeighedByReturns, frozen=True):
    """Weights in proportion to ``1 / volatility`` over the run's symbols, ``gross`` in all.

    The volatility is the sample deviation of the latest ``lookback`` returns between times that all
    symbols closed a bar at. It is risk parity where all correlations are equal (Maillard, Roncalli
    and Teiletche, The Properties of Equally Weighted Risk Contribution Portfolios, 2010).
    """

    def _weights(self, returns: dict[str, list[float]]) -> dict[str, float]:
        inverse = {symbol: 1.0 / sqrt(sample_variance(own)) for symbol, own in returns.items()}
        whole = total(inverse.values())
        return {symbol: value / whole for symbol, value in inverse.items()}


class RiskParity(_WeighedByReturns, frozen=True):
    """Weights such that each of the run's symbols contributes the same to the variance, ``gross`` in all.

    From the sample covariances of the latest ``lookback`` returns between times that all symbols
    closed a bar at. Solved by cyclical coordinate descent (Griveau-Billion, Richard and Roncalli, A
    Fast Algorithm for Computing High-dimensional Risk Parity Portfolios, 2013, equation 4).
    """

    def _weights(self, returns: dict[str, list[float]]) -> dict[str, float]:
        return equal_risk_weights(covariance(returns))


def equal_risk_weights(covariances: dict[str, dict[str, float]]) -> dict[str, float]:
    """Weights above zero that sum to one and whose shares in the variance are equal."""
    names = list(covariances)
    budget = 1.0 / len(names)
    weights = {name: 1.0 / sqrt(covariances[name][name]) for name in names}
    for _ in range(_SWEEPS):
        largest = 0.0
        for name in names:
            own = covariances[name]
            others = total(weights[other] * own[other] for other in names if other != name)
            # The deviation of the whole is a scale only, and is left out: the sum is set to one in the end.
            weight = (-others + sqrt(others * others + 4.0 * own[name] * budget)) / (2.0 * own[name])
            largest = max(largest, abs(weight / weights[name] - 1.0))
            weights[name] = weight
        if largest < _CONVERGED:
            break
    whole = total(weights.values())
    return {name: weight / whole for name, weight in weights.items()}


def _shared_returns(context: SizingContext, lookback: int) -> dict[str, list[float]] | Sized:
    """The returns of all symbols over the same times, or why there are none to weigh by."""
    returns = aligned_returns({symbol: context.bars(symbol, 1_000) for symbol in context.symbols}, lookback)
    there = len(next(iter(returns.values())))
    if there < lookback:
        return _missing(f"weighing {len(returns)} symbols by their returns", lookback + 1, there + 1)
    still = [symbol for symbol, own in returns.items() if not sample_variance(own) > 0.0]
    if still:
        return Sized(0.0, {}, f"the price of {', '.join(still)} did not move in {lookback} bars: no weight can be told")
    return returns
