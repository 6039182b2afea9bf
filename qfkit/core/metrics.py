"""The figures of a run: what it earned, what it risked, and how a year was reckoned.

Batch figures come from :func:`measure`; :class:`qfkit.core.scorecard.Scorecard` has the same of a
run that goes on. A figure that is not defined for the data at hand is NaN, never 0 or infinity; its
line in :class:`Metrics` says when that is. Losses (drawdown, value at risk, expected shortfall)
are positive fractions.
"""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from math import inf, nan, sqrt
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.annualisation import Annualisation, infer_annualisation
from qfkit.core.deals import Deals, deals_of
from qfkit.core.orders import Fill, Trade
from qfkit.core.wording import count, money, multiple, percent, share, span
from qfkit.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pandas

__all__ = [
    "FIGURE_LINES",
    "Annualisation",
    "Metrics",
    "assemble",
    "infer_annualisation",
    "measure",
    "period_returns",
    "tail_losses",
]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]

_DAY_NS = 86_400_000_000_000
_YEAR_NS = 365.25 * _DAY_NS
_SHORTEST_FOR_CAGR_NS = 30 * _DAY_NS
_TAIL = 0.05
# A spread of returns this small against the largest return is the rounding of equal returns.
_ROUNDING = 1e-12


class Metrics(msgspec.Struct, frozen=True):
    """The figures of a finished run. Read one as an attribute or by name: ``metrics["sharpe"]``.

    Fractions are not percent: 0.25 is 25 %. *Period returns* are those between one equity
    point and the next. ``periods_per_year`` and ``assumption`` say how they were annualised.

    Money: ``start_equity``, ``end_equity``, ``fees``, ``expectancy`` (mean profit and loss of a
    trade), ``best_trade`` and ``worst_trade``; the last three are NaN without a finished trade.

    Return:

    - ``total_return``: end over start equity, less one.
    - ``cagr``: the compound growth rate of calendar years (365.25 days). NaN for less than 30
      days, which say nothing about a year, and where the equity fell to zero.
    - ``volatility``: sample standard deviation of period returns times sqrt(periods a year).
      NaN for fewer than two returns.
    - ``sharpe``: mean over sample standard deviation of period returns, times sqrt(periods a
      year), risk-free rate 0 (Sharpe 1994, "The Sharpe Ratio"). NaN where returns do not vary.
    - ``sortino``: as Sharpe, over the downside deviation sqrt(mean(min(r, 0)^2)) (Sortino and
      Price 1994, target 0). NaN without a losing period.
    - ``calmar``: ``cagr`` over ``max_drawdown`` (Young 1991; over the whole run, not 36 months).
      NaN where ``cagr`` is or without a drawdown.

    Risk:

    - ``max_drawdown``: the deepest fall below an earlier peak, as a positive fraction of that
      peak; the starting equity counts as a peak.
    - ``max_drawdown_days``: how long that fall lasted: from its peak until the peak was reached
      again, or to the end of the run. ``longest_drawdown_days``: the longest such time.
    - ``value_at_risk``: the loss that 95 % of period returns stay above: minus their 5 %
      quantile (historical, interpolated). ``expected_shortfall``: minus the mean of the returns
      at or below that quantile (Acerbi and Tasche 2002). Both are of one period, not
      annualised, negative if even the tail gains, and NaN for fewer than two returns.

    Activity:

    - ``exposure``: the fraction of time with a position open.
    - ``turnover``: traded notional over mean equity, a calendar year; ``turnover_total``: of the
      whole run.
    - ``win_rate``: the fraction of trades with a profit. NaN without a trade.
    - ``profit_factor``: profits of the winning over losses of the losing trades. NaN where no
      trade lost.
    - ``average_holding_days``: mean time from entry to exit. NaN without a trade.
    - ``trades``, ``fills``, ``periods``: how many; ``days``: calendar days from the first equity
      point to the last.
    """

    start_equity: float
    end_equity: float
    total_return: float
    cagr: float
    volatility: float
    sharpe: float
    sortino: float
    calmar: float
    max_drawdown: float
    max_drawdown_days: float
    longest_drawdown_days: float
    value_at_risk: float
    expected_shortfall: float
    exposure: float
    turnover: float
    turnover_total: float
    win_rate: float
    profit_factor: float
    expectancy: float
    best_trade: float
    worst_trade: float
    average_holding_days: float
    fees: float
    trades: int
    fills: int
    periods: int
    days: float
    periods_per_year: float
    assumption: str

    def __getitem__(self, name: str) -> float | int | str:
        if name not in self.__struct_fields__:
            raise KeyError(f"no figure {name!r}.{did_you_mean(name, self.__struct_fields__)}")
        value: float | int | str = getattr(self, name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.__struct_fields__)

    def __len__(self) -> int:
        return len(self.__struct_fields__)

    def keys(self) -> tuple[str, ...]:
        """The figures' names, so that ``dict(metrics)`` works."""
        return self.__struct_fields__

    def to_frame(self) -> "pandas.DataFrame":
        """One row a figure, in one column ``value``; join several runs side by side with it."""
        import pandas

        return pandas.DataFrame({"value": pandas.Series(dict(self), dtype=object)})

    def lines(self) -> list[tuple[str, str]]:
        """Label and formatted value of each figure, for people."""
        return [(label, style(getattr(self, name))) for name, label, style in FIGURE_LINES]

    def __repr__(self) -> str:
        rows = self.lines()
        wide = max(len(label) for label, _ in rows)
        high = max(len(value) for _, value in rows)
        return "\n".join([f"{label:<{wide}}  {value:>{high}}" for label, value in rows] + [self.assumption])

    def _repr_html_(self) -> str:
        body = "".join(
            f'<tr><td style="text-align:left">{escape(label)}</td>'
            f'<td style="text-align:right;font-variant-numeric:tabular-nums">{escape(value)}</td></tr>'
            for label, value in self.lines()
        )
        return f"<table>{body}</table><p>{escape(self.assumption)}</p>"


FIGURE_LINES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("start_equity", "start equity", money),
    ("end_equity", "end equity", money),
    ("total_return", "total return", percent),
    ("cagr", "CAGR", percent),
    ("volatility", "volatility", share),
    ("sharpe", "Sharpe", money),
    ("sortino", "Sortino", money),
    ("calmar", "Calmar", money),
    ("max_drawdown", "max drawdown", share),
    ("max_drawdown_days", "its length", span),
    ("longest_drawdown_days", "longest under water", span),
    ("value_at_risk", "value at risk 95 %", share),
    ("expected_shortfall", "expected shortfall", share),
    ("exposure", "exposure", share),
    ("turnover", "turnover a year", multiple),
    ("turnover_total", "turnover total", multiple),
    ("fees", "fees", money),
    ("fills", "fills", count),
    ("trades", "trades", count),
    ("win_rate", "win rate", share),
    ("profit_factor", "profit factor", money),
    ("expectancy", "expectancy", money),
    ("best_trade", "best trade", money),
    ("worst_trade", "worst trade", money),
    ("average_holding_days", "average holding", span),
)
"""Name, label and style of the figures that are shown to people."""


def measure(
    times_ns: Times,
    equity: Floats,
    *,
    starting_equity: float,
    trades: Sequence[Trade] = (),
    fills: Sequence[Fill] = (),
    deals: Deals | None = None,
    periods_per_year: float | None = None,
) -> Metrics:
    """The figures of a run, from its equity points, trades and fills.

    ``times_ns`` are UTC nanoseconds, ascending; ``equity`` is the account's at these times;
    ``starting_equity`` is the money before the first point. ``deals`` stand in for trades and fills, for whoever has
    them as arrays. ``periods_per_year`` None infers it, see :func:`infer_annualisation`. Raises :class:`DataError`
    for arrays that do not fit, and for equity that is NaN or infinite.
    """
    times_ns = np.asarray(times_ns, dtype=np.int64)
    equity = np.asarray(equity, dtype=np.float64)
    if times_ns.ndim != 1 or times_ns.shape != equity.shape:
        raise DataError(f"times of shape {times_ns.shape} for equity of shape {equity.shape}: give one time a value")
    if not np.all(np.isfinite(equity)):
        where = int(np.flatnonzero(~np.isfinite(equity))[0])
        raise DataError(f"equity is {equity[where]!r} at point {where}: every value must be a finite number")
    if not 0.0 < starting_equity < inf:
        raise DataError(f"starting_equity={starting_equity!r}: it must be above zero and finite")
    if periods_per_year is None:
        year = infer_annualisation(times_ns)
    else:
        year = Annualisation(float(periods_per_year), f"annualised with {periods_per_year:,g} periods a year, as given")
    first_ns, last_ns = (int(times_ns[0]), int(times_ns[-1])) if len(times_ns) else (0, 0)
    if deals is None:
        deals = deals_of(trades, fills, first_ns, last_ns)
    returns = period_returns(equity)
    results, held_ns = deals.pnl, deals.held_ns
    lost = float(-np.sum(results[results < 0.0]))
    return assemble(
        starting_equity=float(starting_equity),
        end_equity=float(equity[-1]) if len(equity) else starting_equity,
        mean_equity=float(np.mean(equity)) if len(equity) else starting_equity,
        span_ns=float(last_ns - first_ns),
        points=len(equity),
        year=year,
        ratios=_annualised(returns, year.periods_per_year),
        drawdown=_drawdown(times_ns, equity, starting_equity),
        tail=tail_losses(returns),
        exposure=deals.exposure,
        traded=deals.traded,
        fees=deals.fees,
        fills=deals.fills,
        trades=len(results),
        win_rate=float(np.mean(results > 0.0)) if len(results) else nan,
        profit_factor=float(np.sum(results[results > 0.0])) / lost if lost > 0.0 else nan,
        expectancy=float(np.mean(results)) if len(results) else nan,
        best_trade=float(np.max(results)) if len(results) else nan,
        worst_trade=float(np.min(results)) if len(results) else nan,
        average_holding_days=float(np.mean(held_ns)) / _DAY_NS if len(held_ns) else nan,
    )


def assemble(
    *,
    starting_equity: float,
    end_equity: float,
    mean_equity: float,
    span_ns: float,
    points: int,
    year: Annualisation,
    ratios: tuple[float, float, float],
    drawdown: tuple[float, float, float],
    tail: tuple[float, float],
    exposure: float,
    traded: float,
    fees: float,
    fills: int,
    trades: int,
    win_rate: float,
    profit_factor: float,
    expectancy: float,
    best_trade: float,
    worst_trade: float,
    average_holding_days: float,
) -> Metrics:
    """The figures from what equity points, fills and trades were summed up to, all at once or as they came.

    ``ratios``: volatility, Sharpe, Sortino. ``drawdown``: the deepest, its days, the days of the longest.
    ``tail``: value at risk and expected shortfall.
    """
    volatility, sharpe, sortino = ratios
    deepest, deepest_days, longest_days = drawdown
    cagr = nan
    if span_ns >= _SHORTEST_FOR_CAGR_NS and end_equity > 0.0:
        cagr = float((end_equity / starting_equity) ** (_YEAR_NS / span_ns) - 1.0)
    turnover = traded / mean_equity if mean_equity > 0.0 else nan
    return Metrics(
        start_equity=starting_equity,
        end_equity=end_equity,
        total_return=end_equity / starting_equity - 1.0,
        cagr=cagr,
        volatility=volatility,
        sharpe=sharpe,
        sortino=sortino,
        calmar=cagr / deepest if deepest > 0.0 else nan,
        max_drawdown=deepest,
        max_drawdown_days=deepest_days,
        longest_drawdown_days=longest_days,
        value_at_risk=tail[0],
        expected_shortfall=tail[1],
        exposure=exposure,
        turnover=turnover * (_YEAR_NS / span_ns) if span_ns > 0.0 else nan,
        turnover_total=turnover,
        win_rate=win_rate,
        profit_factor=profit_factor,
        expectancy=expectancy,
        best_trade=best_trade,
        worst_trade=worst_trade,
        average_holding_days=average_holding_days,
        fees=fees,
        trades=trades,
        fills=fills,
        periods=max(points - 1, 0),
        days=span_ns / _DAY_NS,
        periods_per_year=year.periods_per_year,
        assumption=year.assumption,
    )


def period_returns(equity: Floats) -> Floats:
    """Returns between equity points; empty where equity fell to zero, where no return is defined."""
    if len(equity) < 2 or np.min(equity[:-1]) <= 0.0:
        return np.empty(0)
    returns: Floats = equity[1:] / equity[:-1] - 1.0
    return returns


def _annualised(returns: Floats, periods_per_year: float) -> tuple[float, float, float]:
    """Volatility, Sharpe and Sortino."""
    if len(returns) < 2:
        return nan, nan, nan
    root = sqrt(periods_per_year)
    mean = float(np.mean(returns))
    deviation = sqrt(float(np.sum(np.square(returns - mean))) / (len(returns) - 1))
    rounding = _ROUNDING * max(float(np.max(returns)), -float(np.min(returns)))
    downside = sqrt(float(np.sum(np.square(np.minimum(returns, 0.0)))) / len(returns))
    sharpe = mean / deviation * root if deviation > rounding else nan
    sortino = mean / downside * root if downside > rounding else nan
    return deviation * root, sharpe, sortino


def _drawdown(times_ns: Times, equity: Floats, starting_equity: float) -> tuple[float, float, float]:
    """The deepest drawdown, its days, and the days of the longest one."""
    if not len(equity):
        return 0.0, 0.0, 0.0
    peaks = np.maximum.accumulate(equity)
    if peaks[0] < starting_equity:
        np.maximum(peaks, starting_equity, out=peaks)
    parts = equity / peaks
    deepest = int(np.argmin(parts))
    depth = 1.0 - float(parts[deepest])
    padded = np.zeros(len(equity) + 2, dtype=bool)
    np.less(equity, peaks, out=padded[1:-1])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    if not len(edges):
        return 0.0, 0.0, 0.0
    # The stretches below a peak: each from the point that it is measured from to the first that is back, or the end.
    begins, ends = edges[::2], edges[1::2]
    days = (times_ns[np.minimum(ends, len(equity) - 1)] - times_ns[np.maximum(begins - 1, 0)]) / _DAY_NS
    if not depth > 0.0:
        return 0.0, 0.0, float(np.max(days))
    own = int(np.searchsorted(begins, deepest, side="right")) - 1
    return depth, float(days[own]), float(np.max(days))


def tail_losses(returns: Floats) -> tuple[float, float]:
    """Historical value at risk and expected shortfall at 95 %, as losses."""
    if len(returns) < 2:
        return nan, nan
    place = (len(returns) - 1) * _TAIL
    last = int(place)
    # The tail is among the losses as a rule, and these are few beside the zeros of a position that is not there.
    losses = returns[returns < 0.0]
    ordered = np.partition(losses if len(losses) > last + 1 else returns, (last, last + 1))
    low, high, part = float(ordered[last]), float(ordered[last + 1]), place - last
    quantile = low + (high - low) * part if part < 0.5 else high - (high - low) * (1.0 - part)
    return 0.0 - quantile, 0.0 - float(np.mean(ordered[: last + 1]))
