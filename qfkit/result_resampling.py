"""What chance would have made of a run: intervals of its figures, and a fan of its equity."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from qfkit.core.metrics import Metrics
from qfkit.core.orders import Trade
from qfkit.resampling.intervals import Intervals, intervals_of
from qfkit.resampling.monte_carlo import MonteCarlo, monte_carlo_of
from qfkit.tables import EquityColumns

__all__ = ["ResultResampling"]


class _TradeList(Protocol):
    @property
    def trades(self) -> Sequence[Trade]: ...


class ResultResampling:
    """The part of a :class:`~qfkit.Result` that draws its returns and trades anew."""

    records: Any
    starting_cash: float

    @property
    def metrics(self) -> Metrics:
        """The figures of the account."""
        raise NotImplementedError

    @property
    def _equity(self) -> EquityColumns:
        raise NotImplementedError

    def intervals(self, level: float = 0.9, samples: int = 1_000, seed: int = 0) -> Intervals:
        """The headline figures with an interval each: ``.table`` has value, low and high by the figure's name.

        Figures of returns come from the stationary bootstrap of the account's period returns, those of trades from
        that of the trades; the interval is the middle ``level`` of ``samples``. NaN where there is too little to say,
        and ``.assumptions`` says so. Chance is seeded: the same ``seed`` gives the same intervals.
        """
        equity = self._equity.account
        return intervals_of(self.metrics, equity, self._trades, level=level, samples=samples, seed=seed)

    def monte_carlo(
        self, samples: int = 1_000, of: Literal["returns", "trades"] = "returns", seed: int = 0
    ) -> MonteCarlo:
        """Where else the run might have led: end equity and drawdown of ``samples`` paths, and their fan.

        ``of="returns"`` draws period returns in blocks (stationary bootstrap) and compounds them; ``of="trades"``
        draws round trips, each a share of the equity at its entry, and compounds these. Raises :class:`DataError` for fewer than 10 of them.
        """
        return monte_carlo_of(
            of,
            equity=self._equity.account,
            times_ns=self._equity.times_ns,
            starting_equity=self.starting_cash,
            periods_per_year=self.metrics.periods_per_year,
            trades=self._trades,
            samples=samples,
            seed=seed,
        )

    @property
    def _trades(self) -> Sequence[Trade]:
        lists: _TradeList = self.records
        return lists.trades
