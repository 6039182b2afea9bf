"""What round trips came to, as they come: wins and losses, streaks, holding times and excursions."""

from collections.abc import Iterable
from math import inf, nan

import msgspec

from qfkit.core.orders import Trade

__all__ = ["TradeStatistics", "TradeTally", "trade_statistics"]

_DAY_NS = 86_400_000_000_000


class TradeStatistics(msgspec.Struct, frozen=True):
    """The figures of round trips, in the order of their exits. Money is after fees; NaN without a trade that tells.

    - ``win_rate``: the fraction with a profit; a trade of exactly 0.0 neither won nor lost.
    - ``pnl``: the sum of all; ``expectancy`` its mean; ``profit_factor``: profits over losses (NaN
      where none lost); ``payoff_ratio``: ``average_win`` over minus ``average_loss``.
    - ``streak``: how many won in a row up to now, below zero how many lost;
      ``longest_winning_streak`` and ``longest_losing_streak`` of all.
    - ``average_holding_days``, ``longest_holding_days``: from entry to exit.
    - ``max_adverse_excursion``: the largest open loss of any trade, in money before fees, 0.0 or less;
      ``max_favourable_excursion``: the largest open profit. ``average_…_excursion`` are means in
      money, ``average_adverse_return`` and ``average_favourable_return`` as fractions of the entry.
    """

    trades: int
    winning: int
    losing: int
    win_rate: float
    pnl: float
    profit_factor: float
    expectancy: float
    average_win: float
    average_loss: float
    payoff_ratio: float
    best_trade: float
    worst_trade: float
    average_return: float
    streak: int
    longest_winning_streak: int
    longest_losing_streak: int
    average_holding_days: float
    longest_holding_days: float
    max_adverse_excursion: float
    max_favourable_excursion: float
    average_adverse_excursion: float
    average_favourable_excursion: float
    average_adverse_return: float
    average_favourable_return: float


class TradeTally:
    """Adds round trips up, O(1) a trade, in constant memory."""

    __slots__ = (
        "_adverse",
        "_adverse_returns",
        "_best",
        "_favourable",
        "_favourable_returns",
        "_held_ns",
        "_longest_held_ns",
        "_longest_losing",
        "_longest_winning",
        "_losing",
        "_lost",
        "_max_adverse",
        "_max_favourable",
        "_returns",
        "_streak",
        "_winning",
        "_won",
        "_worst",
        "trades",
    )

    def __init__(self) -> None:
        self.trades = 0
        self._winning = 0
        self._losing = 0
        self._won = 0.0
        self._lost = 0.0
        self._best = -inf
        self._worst = inf
        self._returns = 0.0
        self._streak = 0
        self._longest_winning = 0
        self._longest_losing = 0
        self._held_ns = 0
        self._longest_held_ns = 0
        self._adverse = 0.0
        self._favourable = 0.0
        self._adverse_returns = 0.0
        self._favourable_returns = 0.0
        self._max_adverse = 0.0
        self._max_favourable = 0.0

    def take(self, trade: Trade) -> None:
        """Take a round trip in."""
        pnl = trade.pnl
        self.trades += 1
        if pnl > 0.0:
            self._winning += 1
            self._won += pnl
            self._streak = self._streak + 1 if self._streak > 0 else 1
            self._longest_winning = max(self._longest_winning, self._streak)
        elif pnl < 0.0:
            self._losing += 1
            self._lost -= pnl
            self._streak = self._streak - 1 if self._streak < 0 else -1
            self._longest_losing = max(self._longest_losing, -self._streak)
        else:
            self._streak = 0
        self._best = max(self._best, pnl)
        self._worst = min(self._worst, pnl)
        self._returns += trade.return_
        held_ns = trade.holding_ns
        self._held_ns += held_ns
        self._longest_held_ns = max(self._longest_held_ns, held_ns)
        adverse, favourable = trade.max_adverse_excursion, trade.max_favourable_excursion
        # One that is not known makes the sums NaN, and these tell.
        self._adverse += adverse
        self._favourable += favourable
        self._adverse_returns += trade.max_adverse_return
        self._favourable_returns += trade.max_favourable_return
        if adverse < self._max_adverse:
            self._max_adverse = adverse
        if favourable > self._max_favourable:
            self._max_favourable = favourable

    def statistics(self) -> TradeStatistics:
        """What they come to so far."""
        count = self.trades
        known = count > 0 and self._adverse == self._adverse

        def mean(sum_: float, of: int = count) -> float:
            return sum_ / of if of else nan

        average_win, average_loss = mean(self._won, self._winning), 0.0 - mean(self._lost, self._losing)
        return TradeStatistics(
            trades=count,
            winning=self._winning,
            losing=self._losing,
            win_rate=mean(self._winning),
            pnl=self._won - self._lost,
            profit_factor=self._won / self._lost if self._lost > 0.0 else nan,
            expectancy=mean(self._won - self._lost),
            average_win=average_win,
            average_loss=average_loss,
            payoff_ratio=average_win / -average_loss if self._losing else nan,
            best_trade=self._best if count else nan,
            worst_trade=self._worst if count else nan,
            average_return=mean(self._returns),
            streak=self._streak,
            longest_winning_streak=self._longest_winning,
            longest_losing_streak=self._longest_losing,
            average_holding_days=mean(self._held_ns) / _DAY_NS,
            longest_holding_days=self._longest_held_ns / _DAY_NS if count else nan,
            max_adverse_excursion=self._max_adverse if known else nan,
            max_favourable_excursion=self._max_favourable if known else nan,
            average_adverse_excursion=mean(self._adverse),
            average_favourable_excursion=mean(self._favourable),
            average_adverse_return=mean(self._adverse_returns),
            average_favourable_return=mean(self._favourable_returns),
        )


def trade_statistics(trades: Iterable[Trade]) -> TradeStatistics:
    """The figures of round trips, given in the order of their exits."""
    tally = TradeTally()
    for trade in trades:
        tally.take(trade)
    return tally.statistics()
