"""What a run that goes on has come to, summed up as it goes: each record costs the same however long the run."""

from collections.abc import Iterable
from math import nan, sqrt

from qfkit.core.orders import BUY, Fill, Trade

__all__ = ["RunTotals", "cost_of"]


def cost_of(fill: Fill) -> float:
    """What a fill cost in the account's money: its fee, and how much worse than the market its price was."""
    worse = fill.price - fill.market_price if fill.side == BUY else fill.market_price - fill.price
    return fill.fee + worse * fill.quantity * fill.rate


class RunTotals:
    """Of the account: period returns (between equity points, the first from ``starting_equity``), trades and costs."""

    def __init__(self, starting_equity: float) -> None:
        self.starting_equity = starting_equity
        self.periods = 0
        self.trades = 0
        self.wins = 0
        self.fills = 0
        self.cost = 0.0
        self.traded = 0.0
        self.max_drawdown = 0.0
        self._equity = self._peak = starting_equity
        self._mean = self._squares = 0.0

    def take(self, equity: Iterable[tuple[float, ...]], trades: Iterable[Trade], fills: Iterable[Fill]) -> None:
        """Take in new equity points (time, account, ...), trades and fills."""
        for row in equity:
            self._point(row[1])
        for trade in trades:
            self.trades += 1
            self.wins += trade.pnl > 0.0
        for fill in fills:
            self.fills += 1
            self.cost += cost_of(fill)
            self.traded += fill.quantity * fill.price * fill.rate

    def _point(self, equity: float) -> None:
        if self._equity <= 0.0:
            # Nothing is left to have a return on.
            return
        change = equity / self._equity - 1.0
        self._equity = equity
        self.periods += 1
        # Welford 1962.
        away = change - self._mean
        self._mean += away / self.periods
        self._squares += away * (change - self._mean)
        self._peak = max(self._peak, equity)
        self.max_drawdown = max(self.max_drawdown, 1.0 - equity / self._peak)

    @property
    def total_return(self) -> float:
        return self._equity / self.starting_equity - 1.0

    @property
    def mean(self) -> float:
        """Of the period returns."""
        return self._mean if self.periods else nan

    @property
    def deviation(self) -> float:
        """The sample standard deviation of the period returns; NaN for fewer than two."""
        return sqrt(self._squares / (self.periods - 1)) if self.periods > 1 else nan
