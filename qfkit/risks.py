"""The risk of a finished or running run: its bars, equity and fills as what risk is measured on."""

from collections.abc import Iterable, Mapping
from math import fsum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfkit.core.holdings import Holdings, PastPrices
from qfkit.core.orders import BUY, Fill
from qfkit.core.risk_report import RiskReport, risk_report
from qfkit.errors import DataError, NaiveTimeError, ParameterError, did_you_mean
from qfkit.tables import BarColumns, EquityColumns

if TYPE_CHECKING:
    import pandas

__all__ = ["holdings_of_fills", "measure_risk", "past_prices"]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]

# A position this small against the fill that left it is rounding, not a position.
_DUST = 1e-12


def past_prices(bars: Mapping[str, BarColumns]) -> PastPrices:
    """The closes at every time at which one of the symbols closed a bar: the marks of a run on bars."""
    if not bars:
        return PastPrices((), np.empty(0, dtype=np.int64), np.empty((0, 0)))
    times_ns = np.unique(np.concatenate([own.close_ns for own in bars.values()]))
    values = np.column_stack([_as_of(own.close_ns, own.close, times_ns) for own in bars.values()])
    return PastPrices(tuple(bars), times_ns, values)


def _as_of(known_ns: Times, values: Floats, times_ns: Times) -> Floats:
    """The last value known at each time; NaN before the first."""
    at = np.searchsorted(known_ns, times_ns, side="right") - 1
    found: Floats = (
        np.where(at >= 0, values[np.maximum(at, 0)], np.nan) if len(values) else np.full(len(times_ns), np.nan)
    )
    return found


def holdings_of_fills(
    fills: Iterable[Fill], bars: Mapping[str, BarColumns], equity: EquityColumns, starting_equity: float
) -> Holdings:
    """What the fills of a run left open, at the last closes."""
    quantities: dict[str, float] = {}
    rates: dict[str, float] = {}
    for fill in fills:
        rates[fill.symbol] = fill.rate
        held = quantities.get(fill.symbol, 0.0) + (fill.quantity if fill.side is BUY else -fill.quantity)
        quantities[fill.symbol] = 0.0 if abs(held) <= _DUST * fill.quantity else held
    return Holdings(
        int(equity.times_ns[-1]) if len(equity.times_ns) else 0,
        float(equity.account[-1]) if len(equity.times_ns) else starting_equity,
        {symbol: held for symbol, held in quantities.items() if held},
        {symbol: float(own.close[-1]) for symbol, own in bars.items()},
        rates,
    )


def measure_risk(
    holdings: Holdings,
    bars: Mapping[str, BarColumns],
    equity: EquityColumns,
    fills: Iterable[Fill],
    *,
    starting_equity: float,
    benchmark: "str | pandas.Series[Any] | None",
    level: float,
    returns: int,
    participation: float,
) -> RiskReport:
    """The report over a run's last so many returns; ``benchmark`` None takes the run's first symbol."""
    if returns < 2:
        raise ParameterError(f"returns={returns!r}: looking back needs two returns at least")
    past = past_prices(bars).last(returns)
    name, prices = _benchmark(benchmark, past)
    first_ns = int(past.times_ns[0]) if len(past.times_ns) else 0
    volumes = {
        symbol: fsum(own.volume[own.close_ns > first_ns].tolist()) / max(len(past.times_ns) - 1, 1)
        for symbol, own in bars.items()
    }
    return risk_report(
        holdings,
        past,
        equity_times_ns=equity.times_ns,
        equity=equity.account,
        starting_equity=starting_equity,
        traded=fsum(fill.quantity * fill.price * fill.rate for fill in fills),
        mark_volumes=volumes,
        benchmark=name,
        benchmark_prices=prices,
        level=level,
        participation=participation,
    )


def _benchmark(given: "str | pandas.Series[Any] | None", past: PastPrices) -> tuple[str, Floats | None]:
    if given is None:
        return (past.symbols[0], past.prices[:, 0]) if past.symbols else ("", None)
    if isinstance(given, str):
        if given not in past.symbols:
            raise ParameterError(
                f"benchmark={given!r}: the run has no bars of it; give its prices as a Series."
                f"{did_you_mean(given, past.symbols)}"
            )
        return given, past.prices[:, past.symbols.index(given)]
    index: Any = getattr(given, "index", None)
    if not hasattr(index, "as_unit"):
        raise ParameterError(f"benchmark={type(given).__name__}: give a symbol, or a Series of prices indexed by time")
    if index.tz is None:
        raise NaiveTimeError(
            'the benchmark\'s times have no time zone: benchmark.tz_localize("UTC") says that they are UTC'
        )
    if not index.is_monotonic_increasing:
        raise DataError("the benchmark's times are not in order: benchmark.sort_index()")
    values = np.asarray(given, dtype=np.float64)
    known = np.isfinite(values)
    times_ns = index.as_unit("ns").asi8[known]
    return str(given.name or "the benchmark"), _as_of(times_ns, values[known], past.times_ns)
