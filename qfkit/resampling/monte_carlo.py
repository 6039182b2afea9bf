"""Monte Carlo of a run: where else its own returns or trades might have led."""

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.orders import Trade
from qfkit.core.wording import money, percent, share
from qfkit.errors import DataError, ParameterError
from qfkit.resampling.bootstrap import (
    FEWEST,
    automatic_block_length,
    block_length_of,
    check_samples,
    check_seed,
    path_figures,
    resampled_places,
)
from qfkit.resampling.intervals import usable_returns
from qfkit.run_progress import RunProgress

if TYPE_CHECKING:
    import pandas

    from qfkit.views.charts import Plot

__all__ = ["FAN_LEVELS", "Fan", "MonteCarlo", "monte_carlo_of"]

Floats: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]

FAN_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_POINTS = 200
_KINDS = ("returns", "trades")


class Fan(msgspec.Struct, frozen=True, eq=False):
    """The equity of all samples at some points, for a picture: ``bands`` (points, 5) at 5, 25, 50, 75 and 95 %.

    ``places`` counts periods or trades from the start; ``times_ns`` is when the run was there; ``real`` its own equity.
    """

    places: Places
    times_ns: Places
    bands: Floats
    real: Floats
    starting_equity: float
    title: str
    words: str


class MonteCarlo:
    """What :meth:`qfkit.Result.monte_carlo` found: ``end_equity`` and ``max_drawdown`` of each sample, and the fan.

    ``max_drawdown`` is a positive fraction of the highest equity so far.
    """

    def __init__(
        self,
        end_equity: Floats,
        max_drawdown: Floats,
        fan: Fan,
        *,
        of: str,
        seed: int,
        block_length: float,
        assumptions: Sequence[str],
    ) -> None:
        self.end_equity = end_equity
        self.max_drawdown = max_drawdown
        self.of = of
        self.seed = seed
        self.samples = len(end_equity)
        self.block_length = block_length
        self.assumptions = tuple(assumptions)
        self._fan = fan

    @property
    def loss_probability(self) -> float:
        """The share of the samples that end below the starting equity."""
        return float(np.mean(self.end_equity < self._fan.starting_equity))

    def drawdown_probability(self, beyond: float) -> float:
        """The share of the samples whose deepest drawdown is beyond a fraction: 0.2 is 20 %."""
        if not beyond >= 0.0:
            raise ParameterError(f"beyond={beyond!r}: a drawdown is a fraction from 0 up, 0.2 is 20 %")
        return float(np.mean(self.max_drawdown > beyond))

    @property
    def fan(self) -> "pandas.DataFrame":
        """The equity of the samples on the way: indexed by the run's own time, columns 0.05, 0.25, 0.5, 0.75, 0.95.

        At most 200 points; of trades the time is that of the run's own exits.
        """
        import pandas

        fan = self._fan
        index = pandas.DatetimeIndex(pandas.to_datetime(fan.times_ns, utc=True), name="time")
        return pandas.DataFrame(fan.bands, index=index, columns=list(FAN_LEVELS))

    @property
    def table(self) -> "pandas.DataFrame":
        """Columns end_equity, total_return and max_drawdown; rows the same levels: 0.05 is what 5 % stay below."""
        import pandas

        ends = np.quantile(self.end_equity, FAN_LEVELS)
        return pandas.DataFrame(
            {
                "end_equity": ends,
                "total_return": ends / self._fan.starting_equity - 1.0,
                "max_drawdown": np.quantile(self.max_drawdown, FAN_LEVELS),
            },
            index=pandas.Index(FAN_LEVELS, name="level"),
        )

    def plot(self) -> "Plot":
        """The fan of equity; the static picture stands in where no kernel runs."""
        from qfkit.views.fan_charts import plot

        return plot(self._fan)

    def picture(self) -> bytes:
        """The same as an SVG file's bytes, with no background of its own."""
        from qfkit.views.fan_picture import fan_svg

        return fan_svg(self._fan).encode("utf-8", "replace")

    def lines(self) -> list[tuple[str, str, str, str]]:
        """Level, end equity, total return and drawdown, for people."""
        ends, depths = np.quantile(self.end_equity, FAN_LEVELS), np.quantile(self.max_drawdown, FAN_LEVELS)
        start = self._fan.starting_equity
        return [
            (f"{level * 100.0:g} %", money(float(end)), percent(float(end) / start - 1.0), share(float(depth)))
            for level, end, depth in zip(FAN_LEVELS, ends, depths, strict=True)
        ]

    def __repr__(self) -> str:
        rows = [("below", "end equity", "total return", "max drawdown"), *self.lines()]
        wide = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join(f"{one:>{width}}" for one, width in zip(row, wide, strict=True)).rstrip() for row in rows]
        return "\n".join([self._fan.title, *lines, self._fan.words, *(f"- {line}" for line in self.assumptions)])

    def _repr_html_(self) -> str:
        from qfkit.views.fan_picture import fan_html

        return fan_html(self._fan, self.lines(), self.assumptions)


def monte_carlo_of(
    of: str,
    *,
    equity: Floats,
    times_ns: Places,
    starting_equity: float,
    periods_per_year: float,
    trades: Sequence[Trade],
    samples: int,
    seed: int,
) -> MonteCarlo:
    """Resample the returns between the equity points, or the trades. Raises :class:`DataError` where they are too few."""
    check_samples(samples)
    check_seed(seed)
    if of not in _KINDS:
        raise ParameterError(f'of={of!r}: resample "returns" or "trades"')
    random = np.random.default_rng(seed)
    if of == "returns":
        returns = usable_returns(equity)
        if returns is None:
            why = "the equity fell to zero" if len(equity) > FEWEST else f"there are {max(len(equity) - 1, 0)}"
            raise DataError(f"it takes {FEWEST} period returns to resample them: {why}")
        values, block_length, first = returns, block_length_of(returns), float(equity[0])
        real, when = equity, times_ns
        told = "their order is chance, but for what a block keeps"
    else:
        if len(trades) < FEWEST:
            raise DataError(f"it takes {FEWEST} trades to resample them: there are {len(trades)}")
        ends = np.array([trade.exit_time_ns for trade in trades], dtype=np.int64)
        values, first = _shares(trades, equity, times_ns, starting_equity), starting_equity
        block_length = automatic_block_length(values)
        real = starting_equity * np.append(1.0, np.cumprod(1.0 + values))
        when = np.append(times_ns[:1] if len(times_ns) else ends[:1], ends)
        told = "a trade's profit is a share of the account's equity at its entry, and compounds; open positions are left out"
    steps = len(values)
    grid = np.unique(np.linspace(0, steps, min(steps + 1, _MOST_POINTS)).astype(np.int64))
    on_the_way, deepest = [], []
    done = 0
    with RunProgress("Monte Carlo", samples, shown=None, unit="samples") as progress:
        for places in resampled_places(steps, samples, block_length, random):
            drawn = values[places]
            figures, growth = path_figures(drawn, periods_per_year, first / starting_equity)
            path, depth = growth * starting_equity, figures["max_drawdown"]
            on_the_way.append(np.column_stack([np.full(len(drawn), first), path])[:, grid])
            deepest.append(depth)
            done += len(places)
            progress.update(done)
    paths, depths = np.concatenate(on_the_way), np.concatenate(deepest)
    ends_at = paths[:, -1]
    lost, half = float(np.mean(ends_at < starting_equity)), float(np.median(depths)) if len(depths) else nan
    words = (
        f"{share(lost)} of {samples:,} samples end in a loss; their median drawdown is {share(half)}, "
        f"one in twenty has more than {share(float(np.quantile(depths, 0.95)))}"
    )
    noun = "period returns" if of == "returns" else "trades"
    fan = Fan(
        places=grid,
        times_ns=when[grid],
        bands=np.quantile(paths, FAN_LEVELS, axis=0).T,
        real=real[grid],
        starting_equity=starting_equity,
        title=f"Monte Carlo of {steps:,} {noun}, {samples:,} samples",
        words=words,
    )
    notes = (f"stationary bootstrap in blocks of {block_length:.1f} {noun} on average; {told}",)
    return MonteCarlo(ends_at, depths, fan, of=of, seed=seed, block_length=block_length, assumptions=notes)


def _shares(trades: Sequence[Trade], equity: Floats, times_ns: Places, starting_equity: float) -> Floats:
    """What each trade gained or lost as a share of the equity at its entry; no more than all of it can be lost."""
    entries = np.array([trade.entry_time_ns for trade in trades], dtype=np.int64)
    known = np.append(starting_equity, equity)[np.searchsorted(times_ns, entries, side="right")]
    if float(known.min()) <= 0.0:
        raise DataError(
            "a trade was entered on an equity of zero or less: there is nothing to take its profit as a share of"
        )
    pnl = np.array([trade.pnl for trade in trades], dtype=np.float64)
    shares: Floats = np.maximum(pnl / known, -1.0)
    return shares
