"""The figures of a run as tables: one row the account and each strategy, or each symbol."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from qfkit.core.annualisation import Annualisation
from qfkit.core.metrics import Metrics
from qfkit.core.orders import Fill, Trade
from qfkit.core.scorecard import ACCOUNT, Score, Scorecard, SymbolScore
from qfkit.core.trade_statistics import TradeStatistics, trade_statistics
from qfkit.core.windows import Window, WindowFigures
from qfkit.errors import ParameterError, did_you_mean
from qfkit.tables import Floats, Times

if TYPE_CHECKING:
    import pandas

__all__ = [
    "Figures",
    "check_by",
    "live_figures",
    "live_symbols",
    "metrics_frame",
    "rolling_frame",
    "symbol_rows",
    "symbols_frame",
    "trade_statistics_frame",
]

Figures = tuple[Metrics, TradeStatistics, WindowFigures]

_BY = ("strategy", "symbol")


def check_by(by: str) -> None:
    """Raise :class:`ParameterError` for a ``by`` that is neither."""
    if by not in _BY:
        raise ParameterError(f"by={by!r}: figures are by strategy or by symbol.{did_you_mean(by, _BY)}")


def metrics_frame(figures: Mapping[str, Figures]) -> "pandas.DataFrame":
    """One row the account and each strategy: all figures of the run, of its trades and of the last window.

    ``attrs["assumption"]`` says how a year was reckoned for the account.
    """
    import pandas

    rows = {}
    for name, (metrics, statistics, window) in figures.items():
        rows[name] = {**dict(metrics), **msgspec.structs.asdict(statistics), **msgspec.structs.asdict(window)}
    frame = pandas.DataFrame.from_dict(rows, orient="index").drop(columns="assumption")
    # Cash given as an int is money all the same.
    frame = frame.astype({"start_equity": "float64", "end_equity": "float64"})
    frame.index.name = "strategy"
    frame.attrs["assumption"] = figures[ACCOUNT][0].assumption
    return frame


def live_figures(scorecard: Scorecard, window: Window) -> dict[str, Figures]:
    """The figures of a run that goes on, as of its last equity point."""
    return {
        name: (scorecard.metrics(score), scorecard.statistics(score), scorecard.rolling(score, window))
        for name, score in scorecard.scores.items()
    }


def live_symbols(scorecard: Scorecard) -> list[dict[str, Any]]:
    """The rows by symbol of a run that goes on."""
    scores = scorecard.scores
    return [row for name, score in scores.items() for row in symbol_rows(name, score.symbols, _mean_equity(score))]


def _mean_equity(score: Score) -> float:
    return score.curve.mean_equity


def symbol_rows(name: str, symbols: Mapping[str, SymbolScore], mean_equity: float) -> list[dict[str, Any]]:
    """One row a symbol; the turnover is over the mean equity of whoever traded."""
    return [
        {
            "strategy": name,
            "symbol": symbol,
            **msgspec.structs.asdict(score.tally.statistics()),
            "fills": score.fills,
            "fees": score.fees,
            "traded": score.traded,
            "turnover_total": score.traded / mean_equity if mean_equity > 0.0 else float("nan"),
        }
        for symbol, score in symbols.items()
    ]


def symbols_frame(rows: Sequence[Mapping[str, Any]]) -> "pandas.DataFrame":
    """Rows by strategy and symbol; those of the strategy ``account`` are of all together."""
    import pandas

    columns = ["strategy", "symbol", *TradeStatistics.__struct_fields__, "fills", "fees", "traded", "turnover_total"]
    return pandas.DataFrame(rows, columns=columns).set_index(["strategy", "symbol"])


def symbol_scores(fills: Iterable[Fill], trades: Iterable[Trade]) -> dict[str, SymbolScore]:
    """What fills and trades come to, by symbol."""
    scores: dict[str, SymbolScore] = {}
    for fill in fills:
        if fill.symbol not in scores:
            scores[fill.symbol] = SymbolScore()
        scores[fill.symbol].take(fill, None)
    for trade in trades:
        scores[trade.symbol].tally.take(trade)
    return scores


def trade_statistics_frame(trades: Sequence[Trade]) -> "pandas.DataFrame":
    """The figures of round trips: rows ``all``, ``long`` and ``short``."""
    import pandas

    rows = {"all": trade_statistics(trades)}
    for side in ("long", "short"):
        rows[side] = trade_statistics(trade for trade in trades if trade.side == side)
    frame = pandas.DataFrame.from_dict(
        {name: msgspec.structs.asdict(statistics) for name, statistics in rows.items()}, orient="index"
    )
    frame.index.name = "side"
    return frame


def rolling_frame(
    times_ns: Times, values: Floats, window: Window, year: Annualisation, index: Any
) -> "pandas.DataFrame":
    """The figures of the window that ends at each equity point."""
    import pandas

    count = len(values)
    series = pandas.Series(values, index=index)
    size: Any = window.points if window.points is not None else pandas.Timedelta(window.span_ns or 0, unit="ns")
    returns = series.pct_change(fill_method=None).where(series.shift() > 0.0)
    rolling = returns.rolling(size, min_periods=2)
    deviation, mean = rolling.std(), rolling.mean()
    root = np.sqrt(year.periods_per_year)
    if window.points is not None:
        base = np.maximum(np.arange(count) - window.points, 0)
    else:
        base = np.maximum(np.searchsorted(times_ns, times_ns - (window.span_ns or 0), side="right") - 1, 0)
    highest = _highest(values, base)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.where(values[base] > 0.0, values / values[base] - 1.0, np.nan)
    frame = pandas.DataFrame(
        {
            "rolling_return": whole,
            "rolling_volatility": deviation * root,
            "rolling_sharpe": (mean / deviation).where(deviation > 0.0) * root,
            "rolling_drawdown": 1.0 - values / highest,
        },
        index=index,
    )
    # The first point has no return yet.
    frame.iloc[:1] = np.nan
    return frame


def _highest(values: Floats, base: Times) -> Floats:
    """The highest value from ``base`` to each point, both included; ``base`` never falls."""
    falling: deque[int] = deque()
    found = np.empty(len(values))
    for place, (value, start) in enumerate(zip(values.tolist(), base.tolist(), strict=True)):
        while falling and values[falling[-1]] <= value:
            falling.pop()
        falling.append(place)
        while falling[0] < start:
            falling.popleft()
        found[place] = values[falling[0]]
    return found
