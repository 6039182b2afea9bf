"""What a backtest lets one expect of a stretch of any length: bands of its figures, resampled once.

The stationary bootstrap draws whole periods: a period's return, its trades and its costs stay together. Of each path
the figures are taken at some lengths, so that afterwards a band at any length is a look-up, however long a session
goes on. Between two lengths it goes by the square root of the length, as sums of chance do.
"""

from collections.abc import Mapping, Sequence
from math import ceil, isnan, nan, sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfkit.core.metrics import Metrics
from qfkit.core.orders import Fill, Trade
from qfkit.core.snapshot import DriftRow, DriftView
from qfkit.core.wording import money, percent, share, span
from qfkit.errors import DataError
from qfkit.resampling.bootstrap import FEWEST, block_length_of, check_samples, check_seed, resampled_places
from qfkit.resampling.intervals import usable_returns
from qfkit.resampling.totals import RunTotals, cost_of
from qfkit.run_progress import RunProgress

__all__ = ["FIGURES", "Expectation"]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]

FIGURES = {
    "total_return": ("return", percent),
    "volatility": ("volatility", share),
    "sharpe": ("Sharpe", money),
    "max_drawdown": ("max drawdown", share),
    "trades_per_day": ("trades a day", lambda value: f"{value:,.3g}" if value < 100.0 else money(value)),
    "win_rate": ("win rate", share),
    "cost": ("mean cost", lambda value: share(value) if isnan(value) else f"{value * 1e4:,.2f} bp"),
}
_NAMES = tuple(FIGURES)
_LENGTHS = 32
_SHORTEST = 20
_MOST_DRAWN = 50_000_000
_FEWEST_SAMPLES = 200
_QUANTILES = np.linspace(0.0, 1.0, 401)
# How rare a stretch is, all figures together, that is called at the edge, and outside.
_EDGE, _OUTSIDE = 0.05, 0.01
# Values as near to each other as this are the same but for rounding: a commission that never changes is one value.
_SAME = 1e-9
_MOST_NAMED = 3
_NORMAL_95 = 1.6448536269514722
_DAY_NS = 86_400_000_000_000


class Expectation:
    """The bands of one backtest. ``shortest`` and ``longest`` are the lengths, in periods, that it can speak of."""

    def __init__(
        self,
        metrics: Metrics,
        equity: Floats,
        times_ns: Times,
        trades: Sequence[Trade],
        fills: Sequence[Fill],
        *,
        samples: int,
        seed: int,
    ) -> None:
        check_samples(samples)
        check_seed(seed)
        returns = usable_returns(equity)
        if returns is None:
            why = "its equity fell to zero" if len(equity) > FEWEST else f"it has {max(len(equity) - 1, 0)}"
            raise DataError(f"the backtest says too little: it takes {FEWEST} period returns, and {why}")
        count = len(returns)
        self.block_length = block_length_of(returns)
        self.periods_per_year = metrics.periods_per_year
        self.periods_per_day = count / (float(times_ns[-1] - times_ns[0]) / _DAY_NS)
        self.shortest = max(_SHORTEST, ceil(2.0 * self.block_length))
        longest = 2 * count if 2 * count * samples <= _MOST_DRAWN else count
        self.longest = max(longest, self.shortest + 1)
        self.samples = min(samples, max(_FEWEST_SAMPLES, _MOST_DRAWN // self.longest))
        self.periods = count
        ratio = float(returns.mean()) / deviation if (deviation := float(returns.std(ddof=1))) > 0.0 else 0.0
        # Bailey and López de Prado 2012, the minimum track record, of normal returns above none at 95 %.
        self.telling_periods = (_NORMAL_95 / ratio) ** 2 * (1.0 + ratio**2 / 2.0) if ratio > 0.0 else nan
        lengths = np.unique(np.geomspace(self.shortest, self.longest, _LENGTHS).round().astype(np.int64))
        counts = _by_period(times_ns, trades, fills)
        drawn = self._draw(returns, counts, lengths, np.random.default_rng(seed))
        self._roots = np.sqrt(lengths.astype(np.float64))
        # By figure, length and quantile; NaN where most samples have none.
        self._bands = np.full((len(_NAMES), len(lengths), len(_QUANTILES)), nan)
        rarest = np.ones((len(lengths), self.samples))
        for figure, values in enumerate(drawn):
            for place, sample in enumerate(values):
                known = sample[~np.isnan(sample)]
                if 2 * len(known) >= self.samples:
                    self._bands[figure, place] = np.quantile(known, _QUANTILES)
                    rarest[place] = np.fmin(rarest[place], _rarity(sample, np.sort(known)))
        self._rare = np.quantile(rarest, [_EDGE, _OUTSIDE], axis=1)
        self._paths = drawn[_NAMES.index("total_return")], drawn[_NAMES.index("max_drawdown")]

    def _draw(self, returns: Floats, counts: Floats, lengths: Times, random: np.random.Generator) -> list[Floats]:
        """The figures (lengths, samples), in the order of ``FIGURES``."""
        parts: list[list[Floats]] = []
        cuts = np.append(0, lengths[:-1])
        root, steps = sqrt(self.periods_per_year), lengths.astype(np.float64)
        done = 0
        with RunProgress("what to expect", self.samples, shown=None, unit="samples") as progress:
            for places in resampled_places(len(returns), self.samples, self.block_length, random, self.longest):
                drawn = returns[places]
                growth = np.cumprod(1.0 + drawn, axis=1)
                depth = 1.0 - growth / np.maximum(np.maximum.accumulate(growth, axis=1), 1.0)
                deepest = np.maximum.accumulate(np.maximum.reduceat(depth, cuts, axis=1), axis=1)
                mean = _summed(drawn, cuts) / steps
                squares = _summed(np.square(drawn), cuts)
                with np.errstate(divide="ignore", invalid="ignore"):
                    deviation = np.sqrt(np.maximum(squares - steps * mean**2, 0.0) / (steps - 1.0))
                    deviation[deviation <= 1e-9 * np.abs(mean)] = 0.0
                    trades, wins, cost, traded = (_summed(one[places], cuts) for one in counts)
                    figures = [
                        growth[:, lengths - 1] - 1.0,
                        deviation * root,
                        np.where(deviation > 0.0, mean / deviation * root, nan),
                        deepest,
                        trades / steps * self.periods_per_day,
                        np.where(trades > 0.0, wins / trades, nan),
                        np.where(traded > 0.0, cost / traded, nan),
                    ]
                parts.append([one.T for one in figures])
                done += len(places)
                progress.update(done)
        return [np.concatenate([part[figure] for part in parts], axis=1) for figure in range(len(_NAMES))]

    # -- what is expected at one length ----------------------------------------------------------

    def can_tell(self, periods: int) -> bool:
        """Whether it can speak of a stretch of that many periods."""
        return self.shortest <= periods <= self.longest

    def quantiles(self, name: str, periods: int) -> Floats:
        """The quantiles of a figure, from 0 to 1 in 400 steps, over a stretch of that many periods."""
        low, high, weight = self._between(periods)
        bands = self._bands[_NAMES.index(name)]
        found: Floats = bands[low] * (1.0 - weight) + bands[high] * weight
        return found

    def bound(self, name: str, periods: int, probability: float) -> float:
        """What a figure stays below with that probability."""
        return float(np.interp(probability, _QUANTILES, self.quantiles(name, periods)))

    def _between(self, periods: int) -> tuple[int, int, float]:
        root = sqrt(periods)
        high = int(np.clip(np.searchsorted(self._roots, root), 1, len(self._roots) - 1))
        low = high - 1
        weight = (root - self._roots[low]) / (self._roots[high] - self._roots[low])
        return low, high, float(np.clip(weight, 0.0, 1.0))

    def false_stops(self, level: float) -> float:
        """How many of its own samples the stop rule would have stopped somewhere on the way: at the least, for it looked
        at some lengths only."""
        lost, deep = self._paths
        least = np.quantile(lost, level, axis=1, keepdims=True)
        most = np.quantile(deep, 1.0 - level, axis=1, keepdims=True)
        return float(np.mean(((lost < least) | (deep > most)).any(axis=0)))

    # -- what there is -----------------------------------------------------------------------------

    def values_of(self, totals: RunTotals) -> Mapping[str, float]:
        """The figures of a run so far, on the backtest's own scale of years and days."""
        root, deviation = sqrt(self.periods_per_year), totals.deviation
        days = totals.periods / self.periods_per_day
        return {
            "total_return": totals.total_return,
            "volatility": deviation * root,
            "sharpe": totals.mean / deviation * root if deviation > 0.0 else nan,
            "max_drawdown": totals.max_drawdown,
            "trades_per_day": totals.trades / days if days > 0.0 else nan,
            "win_rate": totals.wins / totals.trades if totals.trades else nan,
            "cost": totals.cost / totals.traded if totals.traded > 0.0 else nan,
        }

    def view(self, totals: RunTotals, level: float, stop: str = "") -> DriftView:
        """A run so far, held against the bands of a stretch as long."""
        periods, values = totals.periods, self.values_of(totals)
        if not self.can_tell(periods):
            rows = tuple(DriftRow(name, value, nan, nan, nan) for name, value in values.items())
            return DriftView(*self._cannot_tell(periods), rows, periods, level, stop)
        # Indicators may not be ready yet: that nothing moved says no more than that nothing was traded.
        is_idle = totals.fills == 0 and totals.deviation == 0.0
        found = []
        for name, value in values.items():
            quantiles = self.quantiles(name, periods)
            low, high = (float(np.interp(one, _QUANTILES, quantiles)) for one in _ends(level))
            cannot = isnan(value) or isnan(low) or (is_idle and name != "trades_per_day")
            place = nan if cannot else _percentile(value, quantiles)
            found.append(DriftRow(name, value, low, high, place))
        low_at, high_at, weight = self._between(periods)
        edge, outside = (float(one[low_at] * (1.0 - weight) + one[high_at] * weight) for one in self._rare)
        rarest = min(_rarity_of(row) for row in found)
        verdict = "outside" if rarest <= outside else "at the edge" if rarest <= edge else "inside"
        return DriftView(verdict, self._told(verdict, found), tuple(found), periods, level, stop)

    def _cannot_tell(self, periods: int) -> tuple[str, str]:
        if periods < self.shortest:
            more = span((self.shortest - periods) / self.periods_per_day)
            return "too short to tell", f"{periods} of {self.shortest} periods: about {more} more. {self._patience}"
        more = f"{periods:,} periods are more than the {self.longest:,} reckoned from a backtest of {self.periods:,}"
        return "too long to tell", f"{more}: make a longer backtest and call session.expect(result) again."

    def _told(self, verdict: str, rows: Sequence[DriftRow]) -> str:
        if verdict == "inside":
            return f"All figures are such as the backtest's own resampling has. {self._patience}"
        named: list[str] = []
        for row in sorted(rows, key=_rarity_of)[:_MOST_NAMED]:
            if not named or _rarity_of(row) <= _EDGE:
                label, style = FIGURES[row.name]
                named.append(f"{label} {style(row.value)} where {style(row.low)} to {style(row.high)} is usual")
        rare = _EDGE if verdict == "at the edge" else _OUTSIDE
        return (
            f"{'; '.join(named)}. Of the backtest's own resampling fewer than {rare * 100.0:g} in 100 stretches have any "
            f"figure as far out. {self._patience}"
        )

    @property
    def _patience(self) -> str:
        if isnan(self.telling_periods):
            return "The backtest itself earned nothing."
        return f"To tell such a return from none takes about {span(self.telling_periods / self.periods_per_day)}."


def _ends(level: float) -> tuple[float, float]:
    return (1.0 - level) / 2.0, (1.0 + level) / 2.0


def _by_period(times_ns: Times, trades: Sequence[Trade], fills: Sequence[Fill]) -> Floats:
    """Trades, wins, costs and what was traded in each period between two equity points."""
    count = len(times_ns) - 1
    found = np.zeros((4, count))
    ends = _periods_of([trade.exit_time_ns for trade in trades], times_ns)
    np.add.at(found[0], ends, 1.0)
    np.add.at(found[1], ends, [float(trade.pnl > 0.0) for trade in trades])
    filled = _periods_of([fill.received_ns for fill in fills], times_ns)
    np.add.at(found[2], filled, [cost_of(fill) for fill in fills])
    np.add.at(found[3], filled, [fill.quantity * fill.price * fill.rate for fill in fills])
    return found


def _periods_of(moments_ns: Sequence[int], times_ns: Times) -> NDArray[Any]:
    places = np.searchsorted(times_ns, np.array(moments_ns, dtype=np.int64)) - 1
    return np.clip(places, 0, len(times_ns) - 2)


def _summed(values: Floats, cuts: Times) -> Floats:
    """Sums from the first value up to each of the lengths; ``cuts`` is where a stretch begins that the last did not have."""
    sums: Floats = np.cumsum(np.add.reduceat(values, cuts, axis=1), axis=1)
    return sums


def _rarity(sample: Floats, ordered: Floats) -> Floats:
    """How rare each value is on its side: twice the share of the samples beyond it, ties shared; NaN stays NaN."""
    near = _SAME * np.abs(sample)
    lower, not_above = np.searchsorted(ordered, sample - near), np.searchsorted(ordered, sample + near, side="right")
    places = (lower + not_above) / (2.0 * len(ordered))
    return np.where(np.isnan(sample), nan, 2.0 * np.minimum(places, 1.0 - places))


def _rarity_of(row: DriftRow) -> float:
    """The same of a live figure; 1 where nothing can be said."""
    return 1.0 if isnan(row.percentile) else 2.0 * min(row.percentile, 1.0 - row.percentile)


def _percentile(value: float, quantiles: Floats) -> float:
    """The share of the samples below a value, ties shared: the middle of where it could stand among equal ones."""
    last = len(quantiles) - 1
    near = _SAME * abs(value)
    first = int(np.searchsorted(quantiles, value - near))
    after = int(np.searchsorted(quantiles, value + near, side="right"))
    if after > first:
        return (first + after - 1) / (2.0 * last)
    return float(np.interp(value, quantiles, _QUANTILES))
