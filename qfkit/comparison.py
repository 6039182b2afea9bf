"""A run beside a benchmark: what it earned beyond it, and how much of that was the benchmark's own movement.

Runs beside one another are another matter: see :mod:`qfkit.side_by_side`.
"""

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite, nan, sqrt
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.costs import Costs
from qfkit.core.metrics import Metrics, measure
from qfkit.core.orders import Side
from qfkit.core.wording import money, percent, share, span_text
from qfkit.errors import DataError, FrameError, ParameterError, did_you_mean
from qfkit.frames import close_times
from qfkit.tables import BarColumns, EquityColumns

if TYPE_CHECKING:
    import pandas

__all__ = [
    "BUY_AND_HOLD",
    "Benchmark",
    "Comparison",
    "benchmark_of",
    "benchmark_of_returns",
    "compare",
    "half_step",
    "value_at",
]

BUY_AND_HOLD = "buy and hold"

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]

_FEWEST_POINTS = 4
# A spread of returns this small against the largest return is the rounding of equal returns.
_ROUNDING = 1e-12


class Benchmark(msgspec.Struct, frozen=True):
    """A series to compare with: what it is in words, its times (UTC ns, when each value is known), its values."""

    name: str
    times_ns: Times
    values: Floats


class Comparison(msgspec.Struct, frozen=True):
    """A run against a benchmark, over the time for which there are both.

    Period returns are those between two points of ``times_ns``: the equity points, or the benchmark's
    own times where it has fewer. Annualised as ``run`` is; risk-free rate 0. NaN where not defined.

    - ``excess_return``: the run's total return less the benchmark's; ``run`` and ``benchmark`` are all
      figures of both (those of ``run`` over this time only, without its trades).
    - ``beta``: covariance of the period returns over the benchmark's variance; ``alpha``: mean return
      less beta times the benchmark's mean, times periods a year (Jensen 1968). ``correlation``: Pearson's.
    - ``tracking_error``: sample standard deviation of the return differences, times sqrt(periods a
      year); ``information_ratio``: their mean times periods a year, over it (Grinold and Kahn 2000).
    - ``up_capture``, ``down_capture``: the run's geometric mean return over the benchmark's, in the
      periods in which the benchmark rose, or fell (not annualised). NaN where it never did.
    - ``equity``: the benchmark's value at ``times_ns``, scaled to the run's equity at the first.
    """

    name: str
    run: Metrics
    benchmark: Metrics
    excess_return: float
    alpha: float
    beta: float
    correlation: float
    tracking_error: float
    information_ratio: float
    up_capture: float
    down_capture: float
    times_ns: Times
    equity: Floats

    def to_frame(self) -> "pandas.DataFrame":
        """One row a figure: ``run``, ``benchmark`` and ``difference``; relative figures stand under ``run``."""
        import pandas

        rows: dict[str, list[float]] = {}
        for name in _BESIDE:
            one, other = float(self.run[name]), float(self.benchmark[name])
            rows[name] = [one, other, one - other]
        for name in _RELATIVE:
            rows[name] = [getattr(self, name), nan, nan]
        return pandas.DataFrame.from_dict(rows, orient="index", columns=["run", "benchmark", "difference"])

    def _rows(self) -> list[tuple[str, str, str]]:
        rows = [
            (name.replace("_", " "), style(float(self.run[name])), style(float(self.benchmark[name])))
            for name, style in _BESIDE.items()
        ]
        return rows + [(name.replace("_", " "), style(getattr(self, name)), "") for name, style in _RELATIVE.items()]

    @property
    def _heading(self) -> str:
        span = span_text(int(self.times_ns[0]), int(self.times_ns[-1]))
        return f"against {self.name}, {span}, {self.run.periods:,} periods"

    def __repr__(self) -> str:
        table = [("", "run", "benchmark"), *self._rows()]
        wide = [max(len(row[column]) for row in table) for column in range(3)]
        lines = [f"{row[0]:<{wide[0]}}  {row[1]:>{wide[1]}}  {row[2]:>{wide[2]}}".rstrip() for row in table]
        heading = "".join(letter if letter.isprintable() else "\ufffd" for letter in self._heading)
        return "\n".join([heading, *lines, self.run.assumption])

    def _repr_html_(self) -> str:
        cell = '<td style="text-align:right;font-variant-numeric:tabular-nums">'
        body = "".join(
            f'<tr><td style="text-align:left">{escape(label)}</td>{cell}{escape(one)}</td>{cell}{escape(other)}</td></tr>'
            for label, one, other in [("", "run", "benchmark"), *self._rows()]
        )
        page = f"<p>{escape(self._heading)}</p><table>{body}</table><p>{escape(self.run.assumption)}</p>"
        return page.encode("utf-8", "replace").decode()


_BESIDE = {
    "total_return": percent,
    "cagr": percent,
    "volatility": share,
    "sharpe": money,
    "sortino": money,
    "max_drawdown": share,
}
_RELATIVE = {
    "excess_return": percent,
    "alpha": percent,
    "beta": money,
    "correlation": money,
    "tracking_error": share,
    "information_ratio": money,
    "up_capture": share,
    "down_capture": share,
}


# -- benchmarks ------------------------------------------------------------------------------


def benchmark_of(
    given: object, bars: Mapping[str, BarColumns], *, start_ns: int, cash: float, costs: Costs
) -> Benchmark:
    """The benchmark that a user names: "buy and hold", a symbol of the run, or a Series of prices.

    A Series is indexed as price frames are: by each bar's open time, its value known at the bar's close.
    """
    if isinstance(given, str):
        if given == BUY_AND_HOLD:
            return _buy_and_hold(bars, start_ns, cash, costs)
        if given not in bars:
            raise ParameterError(
                f"benchmark={given!r} is no symbol of this run.{did_you_mean(given, [*bars, BUY_AND_HOLD])}"
            )
        return Benchmark(given, bars[given].close_ns, bars[given].close)
    times_ns, values, name = _series(given)
    if not (values > 0.0).all():
        raise FrameError(
            f"benchmark {name}: a price is {float(values.min())!r}, and prices are above zero; "
            "period returns are given by name, as in compare(returns=series)"
        )
    return Benchmark(name, times_ns, values)


def benchmark_of_returns(given: object) -> Benchmark:
    """The benchmark of a Series of period returns, fractions, indexed by the open time of their periods."""
    times_ns, returns, name = _series(given)
    if not (returns > -1.0).all():
        raise FrameError(
            f"returns {name}: {float(returns.min())!r} is a loss of everything or more; returns are fractions, 0.01 is 1 %"
        )
    # Before its first period it stood at 1, one period earlier.
    first_ns = times_ns[0] - np.median(np.diff(times_ns)).astype(np.int64)
    return Benchmark(
        name, np.concatenate(([first_ns], times_ns)), np.concatenate(([1.0], np.multiply.accumulate(1.0 + returns)))
    )


def _series(given: object) -> tuple[Times, Floats, str]:
    import pandas

    if not isinstance(given, pandas.Series):
        raise ParameterError(
            f"a {type(given).__name__} is no benchmark: give {BUY_AND_HOLD!r}, a symbol of the run, "
            "or a Series of prices (of returns: compare(returns=series))"
        )
    name = str(given.name) if given.name is not None else "the given series"
    # The first value of pct_change() is NaN.
    series = given.dropna()
    if len(series) < 2:
        raise FrameError(f"benchmark {name}: {len(series)} values are too few to compare with")
    times_ns, values = close_times(series.to_frame(name), name)
    if not np.isfinite(values).all():
        raise FrameError(f"benchmark {name}: it holds infinite values: replace({{inf: nan}}) and dropna()")
    return times_ns, values, name


def _buy_and_hold(bars: Mapping[str, BarColumns], start_ns: int, cash: float, costs: Costs) -> Benchmark:
    if not bars:
        raise ParameterError("there are no bars in this run to buy and hold: give a Series of prices")
    symbols = ", ".join(list(bars)[:4]) + (f" and {len(bars) - 4} more" if len(bars) > 4 else "")
    equal = " in equal parts" if len(bars) > 1 else ""
    times_ns = np.unique(np.concatenate([own.close_ns for own in bars.values()]))
    values = np.zeros(len(times_ns))
    part = cash / len(bars)
    for own in bars.values():
        bought = max(int(np.searchsorted(own.close_ns, start_ns + half_step(own.close_ns), side="right")) - 1, 0)
        quantity, spent = _bought(part, float(own.close[bought]), costs)
        held = np.maximum(np.searchsorted(own.close_ns, times_ns, side="right") - 1, 0)
        # Cash until then: what buying costs is part of the first period.
        values += np.where(times_ns > own.close_ns[bought], part - spent + quantity * own.close[held], part)
    return Benchmark(f"{BUY_AND_HOLD} of {symbols}{equal}, bought at the start at the run's costs", times_ns, values)


def _bought(money_: float, price: float, costs: Costs) -> tuple[float, float]:
    """The quantity that a sum buys, slippage and commission included, and what is spent on it."""
    commission, slippage = costs.commission_of(), costs.slippage_of()
    quantity = money_ / price
    spent = money_
    for _ in range(50):
        paid = price if slippage is None else slippage(Side.BUY, quantity, price)
        fee = 0.0 if commission is None else commission(quantity, paid)
        spent = quantity * paid + fee
        if abs(spent - money_) <= 1e-9 * money_:
            break
        quantity = max((money_ - fee) / paid, 0.0)
    return quantity, spent


# -- the comparison --------------------------------------------------------------------------


def compare(equity: EquityColumns, benchmark: Benchmark, *, periods_per_year: float | None = None) -> Comparison:
    """The account's equity against a benchmark. Raises :class:`DataError` where they hardly overlap in time."""
    first_ns = max(_first(equity.times_ns), int(benchmark.times_ns[0]))
    last_ns = min(_last(equity.times_ns), int(benchmark.times_ns[-1]))
    slack = half_step(benchmark.times_ns)
    grids = [
        times[(times >= first_ns - slack) & (times <= last_ns + slack)]
        for times in (equity.times_ns, benchmark.times_ns)
    ]
    grid = min(grids, key=len)
    own, other = value_at(equity.times_ns, equity.account, grid), value_at(benchmark.times_ns, benchmark.values, grid)
    known = np.isfinite(own) & np.isfinite(other)
    grid, own, other = grid[known], own[known], other[known]
    if len(grid) < _FEWEST_POINTS:
        raise DataError(
            f"the run and {benchmark.name} have {len(grid)} points of time in common, too few to compare: "
            f"the run is of {_span(equity.times_ns)}, the benchmark of {_span(benchmark.times_ns)}"
        )
    run = measure(grid, own, starting_equity=float(own[0]), periods_per_year=periods_per_year)
    scaled = other * (float(own[0]) / float(other[0]))
    held = measure(grid, scaled, starting_equity=float(scaled[0]), periods_per_year=run.periods_per_year)
    relative = _relative(own, scaled, run.periods_per_year)
    return Comparison(
        name=benchmark.name,
        run=run,
        benchmark=held,
        excess_return=run.total_return - held.total_return,
        times_ns=grid,
        equity=scaled,
        **relative,
    )


def _relative(own: Floats, other: Floats, periods_per_year: float) -> dict[str, Any]:
    figures = dict.fromkeys(_RELATIVE, nan)
    del figures["excess_return"]
    if float(np.min(own[:-1])) <= 0.0:
        return figures
    returns, market = own[1:] / own[:-1] - 1.0, other[1:] / other[:-1] - 1.0
    difference = returns - market
    root = sqrt(periods_per_year) if isfinite(periods_per_year) else nan
    spread = float(np.std(difference, ddof=1))
    figures["tracking_error"] = spread * root
    if spread > _ROUNDING * float(np.max(np.abs(difference))):
        figures["information_ratio"] = float(np.mean(difference)) / spread * root
    variance = float(np.var(market, ddof=1))
    if sqrt(variance) > _ROUNDING * float(np.max(np.abs(market))):
        covariance = float(np.sum((returns - np.mean(returns)) * (market - np.mean(market)))) / (len(market) - 1)
        figures["beta"] = beta = covariance / variance
        figures["alpha"] = (float(np.mean(returns)) - beta * float(np.mean(market))) * periods_per_year
        deviation = float(np.std(returns, ddof=1))
        if deviation > _ROUNDING * float(np.max(np.abs(returns))):
            figures["correlation"] = covariance / (deviation * sqrt(variance))
    figures["up_capture"] = _capture(returns[market > 0.0], market[market > 0.0])
    figures["down_capture"] = _capture(returns[market < 0.0], market[market < 0.0])
    return figures


def _capture(returns: Floats, market: Floats) -> float:
    if not len(market):
        return nan
    return _geometric_mean(returns) / _geometric_mean(market)


def _geometric_mean(returns: Floats) -> float:
    if float(np.min(returns)) <= -1.0:
        return -1.0
    return float(np.expm1(np.mean(np.log1p(returns))))


def value_at(times_ns: Times, values: Floats, grid: Times) -> Floats:
    """The last value known at each time of the grid, or the one that follows within half a step of its own.

    Days end at another hour in another zone: they are still the same days. NaN before the first.
    """
    place = np.searchsorted(times_ns, grid + half_step(times_ns), side="right") - 1
    return np.where(place >= 0, values[np.maximum(place, 0)], nan)


def half_step(times_ns: Times) -> int:
    """Half of the usual time from one point to the next, ns."""
    return max((int(np.median(np.diff(times_ns))) - 1) // 2, 0) if len(times_ns) > 1 else 0


def _first(times_ns: Times) -> int:
    if not len(times_ns):
        raise DataError("the run has no equity points yet: there is nothing to compare")
    return int(times_ns[0])


def _last(times_ns: Times) -> int:
    return int(times_ns[-1])


def _span(times_ns: Sequence[int] | Times) -> str:
    return span_text(int(times_ns[0]), int(times_ns[-1]))
