"""Intervals of a run's figures: within what they might as well have come out."""

from collections.abc import Mapping, Sequence
from html import escape
from math import isnan, nan
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfkit.core.metrics import FIGURE_LINES, Metrics
from qfkit.core.orders import Trade
from qfkit.resampling.bootstrap import (
    FEWEST,
    automatic_block_length,
    block_length_of,
    check_samples,
    check_seed,
    path_figures,
    resampled_places,
)
from qfkit.run_progress import RunProgress

if TYPE_CHECKING:
    import pandas

__all__ = ["Intervals", "intervals_of", "usable_returns"]

Floats: TypeAlias = NDArray[np.float64]

_OF_RETURNS = (
    *("end_equity", "total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown"),
    *("value_at_risk", "expected_shortfall"),
)
_OF_TRADES = ("win_rate", "profit_factor", "expectancy", "average_holding_days")
_DAY_NS = 86_400_000_000_000
_YEAR_NS = 365.25 * _DAY_NS
_LABELS = {name: (label, style) for name, label, style in FIGURE_LINES}


class Intervals:
    """The figures of a run with what resampling says of each: ``table``, and in words under what ``assumptions``.

    ``rows``: by the figure's name as in :class:`~qfkit.core.metrics.Metrics`, its value, low and high; NaN where
    nothing can be said. ``block_length`` is the mean of the blocks of returns, in periods; ``trade_block_length`` in
    trades.
    """

    def __init__(
        self,
        rows: Mapping[str, tuple[float, float, float]],
        *,
        level: float,
        samples: int,
        seed: int,
        block_length: float,
        trade_block_length: float,
        assumptions: Sequence[str],
    ) -> None:
        self.rows = dict(rows)
        self.level = level
        self.samples = samples
        self.seed = seed
        self.block_length = block_length
        self.trade_block_length = trade_block_length
        self.assumptions = tuple(assumptions)

    @property
    def table(self) -> "pandas.DataFrame":
        """One row a figure: value, low, high. Fractions are not percent."""
        import pandas

        frame = pandas.DataFrame.from_dict(self.rows, orient="index", columns=["value", "low", "high"], dtype="float64")
        frame.index.name = "figure"
        return frame

    def __getitem__(self, name: str) -> tuple[float, float]:
        """Low and high of a figure by its name."""
        _, low, high = self.rows[name]
        return low, high

    def lines(self) -> list[tuple[str, str, str, str]]:
        """Label, value, low and high of each figure, for people."""
        lines = []
        for name, values in self.rows.items():
            label, style = _LABELS[name]
            value, low, high = (style(one) for one in values)
            lines.append((label, value, low, high))
        return lines

    @property
    def _heads(self) -> tuple[str, str, str, str]:
        return "", "value", f"{self.level * 100.0:g} % low", "high"

    def __repr__(self) -> str:
        rows = [self._heads, *self.lines()]
        wide = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join([f"{row[0]:<{wide[0]}}", *(f"{row[column]:>{wide[column]}}" for column in (1, 2, 3))])
            for row in rows
        ]
        return "\n".join([*lines, *(f"- {line}" for line in self.assumptions)])

    def _repr_html_(self) -> str:
        right = ' style="text-align:right;font-variant-numeric:tabular-nums"'
        head = "".join(f"<th{right}>{escape(one)}</th>" for one in self._heads)
        body = "".join(
            f'<tr><td style="text-align:left">{escape(label)}</td>'
            + "".join(f"<td{right}>{escape(one)}</td>" for one in values)
            + "</tr>"
            for label, *values in self.lines()
        )
        told = "".join(f"<p>{escape(line)}</p>" for line in self.assumptions)
        return f"<table><tr>{head}</tr>{body}</table>{told}"


def usable_returns(equity: Floats) -> Floats | None:
    """Returns between equity points; None where they are too few, or the equity fell to zero."""
    if len(equity) <= FEWEST or float(np.min(equity)) <= 0.0:
        return None
    returns: Floats = equity[1:] / equity[:-1] - 1.0
    return returns


def intervals_of(
    metrics: Metrics, equity: Floats, trades: Sequence[Trade], *, level: float, samples: int, seed: int
) -> Intervals:
    """The intervals of a run with these figures, equity points and trades."""
    check_samples(samples, level)
    check_seed(seed)
    values = {name: float(getattr(metrics, name)) for name in (*_OF_RETURNS, *_OF_TRADES)}
    # One stream of chance each: trades do not change what is said of returns.
    of_returns, of_trades = (np.random.default_rng([seed, part]) for part in (0, 1))
    notes = [
        f"intervals: the middle {level * 100.0:g} % of {samples:,} samples of the same process, if it stays the same"
    ]
    found: dict[str, Floats] = {}
    block_length = trade_block_length = nan
    returns = usable_returns(equity)
    if returns is None:
        why = "the equity fell to zero" if len(equity) > FEWEST else f"fewer than {FEWEST} period returns"
        notes.append(f"nothing is said of figures of returns: {why}")
    else:
        block_length = block_length_of(returns)
        found |= _of_returns(returns, metrics, equity, samples, block_length, of_returns)
        notes.append(
            f"figures of returns: stationary bootstrap of {len(returns):,} period returns in blocks of "
            f"{block_length:.1f} on average (Politis and Romano 1994; Patton, Politis and White 2009)"
        )
    pnl = np.array([trade.pnl for trade in trades], dtype=np.float64)
    if len(pnl) < FEWEST:
        notes.append(f"nothing is said of figures of trades: there are {len(pnl)}, and it takes {FEWEST}")
    else:
        trade_block_length = automatic_block_length(pnl)
        held_ns = np.array([trade.exit_time_ns - trade.entry_time_ns for trade in trades], dtype=np.float64)
        found |= _of_trades(pnl, held_ns / _DAY_NS, samples, trade_block_length, of_trades)
        notes.append(
            f"figures of trades: the same of {len(pnl):,} trades in blocks of {trade_block_length:.1f}, always as many"
        )
    return Intervals(
        {name: (value, *_middle(value, found.get(name), level)) for name, value in values.items()},
        level=level,
        samples=samples,
        seed=seed,
        block_length=block_length,
        trade_block_length=trade_block_length,
        assumptions=notes,
    )


def _of_returns(
    returns: Floats, metrics: Metrics, equity: Floats, samples: int, block_length: float, random: np.random.Generator
) -> dict[str, Floats]:
    first = float(equity[0]) / metrics.start_equity
    parts: list[dict[str, Floats]] = []
    done = 0
    with RunProgress("intervals", samples, shown=None, unit="samples") as progress:
        for places in resampled_places(len(returns), samples, block_length, random):
            parts.append(path_figures(returns[places], metrics.periods_per_year, first)[0])
            done += len(places)
            progress.update(done)
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    growth = found["end_equity"]
    if isnan(metrics.cagr):
        found["cagr"] = np.full(samples, nan)
    else:
        found["cagr"] = growth ** (_YEAR_NS / (metrics.days * _DAY_NS)) - 1.0
    depth = found["max_drawdown"]
    found["calmar"] = np.divide(found["cagr"], depth, out=np.full(samples, nan), where=depth > 0.0)
    found["end_equity"] = growth * metrics.start_equity
    return found


def _of_trades(
    pnl: Floats, held_days: Floats, samples: int, block_length: float, random: np.random.Generator
) -> dict[str, Floats]:
    parts: list[tuple[Floats, ...]] = []
    for places in resampled_places(len(pnl), samples, block_length, random):
        drawn = pnl[places]
        won, lost = np.maximum(drawn, 0.0).sum(axis=1), -np.minimum(drawn, 0.0).sum(axis=1)
        factor = np.divide(won, lost, out=np.full(len(drawn), nan), where=lost > 0.0)
        parts.append(((drawn > 0.0).mean(axis=1), factor, drawn.mean(axis=1), held_days[places].mean(axis=1)))
    return {name: np.concatenate([part[place] for part in parts]) for place, name in enumerate(_OF_TRADES)}


def _middle(value: float, found: Floats | None, level: float) -> tuple[float, float]:
    """Low and high. Samples in which the figure is not defined are left out; NaN where that is most of them."""
    if found is None or isnan(value):
        return nan, nan
    known = found[~np.isnan(found)]
    if 2 * len(known) < len(found):
        return nan, nan
    low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
