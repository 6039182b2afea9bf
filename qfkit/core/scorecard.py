"""The figures of a run that goes on: of the account, of each strategy, of each symbol.

Each equity point, fill and trade costs the same however long the run. Value at risk, expected
shortfall and the rolling windows need the points themselves: they are of the last 10,000 that are kept,
and equal those of the whole run until there are more.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from math import isnan, nan
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfkit.core.annualisation import Annualisation, RunningTimes
from qfkit.core.metrics import Metrics, assemble, tail_losses
from qfkit.core.orders import Fill, Trade
from qfkit.core.running import Activity, RunningMetrics
from qfkit.core.trade_statistics import TradeStatistics, TradeTally
from qfkit.core.windows import Window, WindowFigures, window_figures
from qfkit.errors import ParameterError

__all__ = ["ACCOUNT", "KEPT_POINTS", "Happening", "Score", "Scorecard", "SymbolScore"]

ACCOUNT = "account"
"""The name of the sum of all strategies."""

KEPT_POINTS = 10_000
"""Returns between equity points that are kept for quantiles and windows."""

# Points and fills are taken in by so many, at a third of the cost of one by one.
_BATCH = 1_000
_CURVE_POINTS = 1_000
_ROUNDING = 1e-9

Floats: TypeAlias = NDArray[np.float64]
Row: TypeAlias = tuple[float, ...]
Happening: TypeAlias = tuple[str, Fill, Trade | None, bool]
"""A fill: its strategy, the fill, the trade that it ended, and whether the strategy has a position after it."""


class SymbolScore:
    """What was traded in one symbol, by one strategy or by all."""

    __slots__ = ("fees", "fills", "tally", "traded")

    def __init__(self) -> None:
        self.fills = 0
        self.traded = 0.0
        self.fees = 0.0
        self.tally = TradeTally()

    def take(self, fill: Fill, trade: Trade | None) -> None:
        """Take a fill in, and the trade that it ended."""
        self.fills += 1
        self.traded += fill.quantity * fill.price * fill.rate
        self.fees += fill.fee
        if trade is not None:
            self.tally.take(trade)


class Score:
    """The running figures of the account or of one strategy; ``column`` is its own in the equity rows."""

    __slots__ = ("activity", "column", "curve", "symbols", "tally")

    def __init__(self, starting_equity: float, column: int) -> None:
        self.column = column
        self.curve = RunningMetrics(starting_equity)
        self.activity = Activity()
        self.tally = TradeTally()
        self.symbols: dict[str, SymbolScore] = {}

    def take_fill(self, fill: Fill, trade: Trade | None, *, is_open: bool) -> None:
        """Take a fill in, and the trade that it ended."""
        self.activity.take(fill, is_open=is_open)
        score = self.symbols.get(fill.symbol)
        if score is None:
            score = self.symbols[fill.symbol] = SymbolScore()
        score.take(fill, trade)
        if trade is not None:
            self.tally.take(trade)

    def take_points(self, rows: Sequence[Row]) -> None:
        """Take equity points in."""
        self.curve.update_all(rows, self.column)
        self.activity.move(self.curve.first_ns, self.curve.time_ns)

    @property
    def turnover(self) -> float:
        """Traded notional over mean equity."""
        mean_equity = self.curve.mean_equity
        return self.activity.traded / mean_equity if mean_equity > 0.0 else nan

    def metrics(self, year: Annualisation, tail: tuple[float, float]) -> Metrics:
        """All figures so far."""
        curve, activity, trades = self.curve, self.activity, self.tally.statistics()
        return assemble(
            starting_equity=curve.starting_equity,
            end_equity=curve.equity,
            mean_equity=curve.mean_equity,
            span_ns=float(curve.time_ns - curve.first_ns),
            points=curve.points,
            year=year,
            ratios=curve.ratios(year.periods_per_year),
            drawdown=(curve.max_drawdown, curve.max_drawdown_days, curve.longest_drawdown_days),
            tail=tail,
            exposure=activity.exposure,
            traded=activity.traded,
            fees=activity.fees,
            fills=activity.fills,
            trades=trades.trades,
            win_rate=trades.win_rate,
            profit_factor=trades.profit_factor,
            expectancy=trades.expectancy,
            best_trade=trades.best_trade,
            worst_trade=trades.worst_trade,
            average_holding_days=trades.average_holding_days,
        )


class Scorecard:
    """Follows a run. ``starting`` is each strategy's starting money, ``cash`` the account's.

    Of a run of one strategy an equity row has the account's column only. What is noted counts from the next
    :meth:`settle` on; ``recent`` are the last equity rows. A strategy's curve leaves transfers out: it is its
    starting money as it would have grown by the strategy's own returns (time-weighted).
    """

    def __init__(self, cash: float, starting: Mapping[str, float]) -> None:
        self.account = Score(cash, 1)
        if list(starting.values()) == [cash]:
            self.strategies = dict.fromkeys(starting, self.account)
        else:
            only = len(starting) == 1
            self.strategies = {
                name: Score(money, 1 if only else column) for column, (name, money) in enumerate(starting.items(), 2)
            }
        self._own = [score for score in self.strategies.values() if score is not self.account]
        self._times = RunningTimes()
        self._rows: deque[Row] = deque(maxlen=KEPT_POINTS + 1)
        self._open: set[str] = set()
        self.recent: deque[Row] = deque(maxlen=_CURVE_POINTS)
        self._points: list[Row] = []
        self._happenings: list[Happening] = []
        self._year = self._times.annualisation()
        self._year_points = 0
        self._columns = {name: column for column, name in enumerate(starting, 2)}
        # What its own returns would have made of a strategy's starting money, over what it has.
        self._scales: dict[int, float] = {}
        # Whether some strategy has no capital at some points: it joined later, or gave all it had.
        self._has_joined = self._has_ended = False

    def join(self, name: str, capital: float) -> None:
        """From the next equity point on the rows have one more column, for a strategy that begins with ``capital``."""
        self.settle()
        self._has_joined = True
        if len(self._columns) == 1:
            # So far the only strategy was the account; its rows get the column that they lacked.
            ((only, score),) = self.strategies.items()
            if score is self.account:
                score = self.strategies[only] = deepcopy(self.account)
                self._own = [score]
            score.column = 2
            self._rows = deque([(*row[:2], row[1]) for row in self._rows], maxlen=self._rows.maxlen)
        column = self._columns[name] = len(self._columns) + 2
        score = self.strategies[name] = Score(capital, column)
        self._own.append(score)
        self._rows = deque([(*row[:column], nan) for row in self._rows], maxlen=self._rows.maxlen)

    def note_transfers(self, equity: Row, moved: Mapping[str, float]) -> None:
        """Have the curves leave out what was moved right after an equity point: signed amounts by strategy."""
        for name, amount in moved.items():
            column = self._columns[name]
            # Until another joined, the only strategy was the account.
            before = equity[column] if column < len(equity) else equity[1]
            after = before + amount
            scale = self._scales.get(column, 1.0)
            # Of a book that gave all it had, what rounding left is no capital: its curve ends here.
            self._scales[column] = scale * before / after if after > _ROUNDING * before else nan
            self._has_ended = self._has_ended or isnan(self._scales[column])

    def note_point(self, row: Row) -> None:
        """Keep an equity point for the next :meth:`settle`, which comes by itself in time."""
        if self._scales:
            scales = self._scales
            row = (*row[:2], *[value * scales.get(column, 1.0) for column, value in enumerate(row[2:], 2)])
        self._points.append(row)
        if len(self._points) >= _BATCH:
            self.settle()

    def note_fill(self, name: str, fill: Fill, trade: Trade | None, *, is_open: bool) -> None:
        """Keep a fill of a strategy for the next :meth:`settle`."""
        self._happenings.append((name, fill, trade, is_open))
        if len(self._happenings) >= _BATCH:
            self.settle()

    def settle(self) -> None:
        """Take in all that was noted."""
        self.take(self._points, self._happenings)
        self._points.clear()
        self._happenings.clear()

    def take(self, rows: Sequence[Row], happenings: Collection[Happening]) -> None:
        """Take in what happened since the last time."""
        for name, fill, trade, is_open in happenings:
            (self._open.add if is_open else self._open.discard)(name)
            self.account.take_fill(fill, trade, is_open=bool(self._open))
            score = self.strategies[name]
            if score is not self.account:
                score.take_fill(fill, trade, is_open=is_open)
        if rows:
            self._rows.extend(rows)
            self.recent.extend(rows)
            for row in rows:
                self._times.update(int(row[0]))
            for score in (self.account, *self._own):
                ended = self._has_ended and isnan(self._scales.get(score.column, 1.0))
                score.take_points([row for row in rows if not isnan(row[score.column])] if ended else rows)

    @property
    def scores(self) -> dict[str, Score]:
        """The account's, then each strategy's."""
        return {ACCOUNT: self.account, **self.strategies}

    @property
    def year(self) -> Annualisation:
        """How a year is reckoned, as of the last equity point."""
        if self._year_points != self._times.count:
            self._year, self._year_points = self._times.annualisation(), self._times.count
        return self._year

    def metrics(self, score: Score, *, has_tail: bool = True) -> Metrics:
        """The figures of the account or a strategy; without its tail the two quantiles are NaN, and it is O(1)."""
        tail = tail_losses(self._returns(score) if has_tail else np.empty(0))
        return score.metrics(self.year, tail)

    def statistics(self, score: Score) -> TradeStatistics:
        """The trade statistics of the account or a strategy."""
        return score.tally.statistics()

    def rolling(self, score: Score, window: Window) -> WindowFigures:
        """The figures of the last stretch. Raises :class:`ParameterError` for one longer than what is kept."""
        if not self._rows:
            return window_figures(np.empty(0), self.year.periods_per_year)
        times_ns = np.array([row[0] for row in self._rows], dtype=np.int64)
        base = window.first_base(times_ns)
        is_whole = len(self._rows) == self._times.count
        reaches_back = window.points is not None and window.points > KEPT_POINTS
        if not is_whole and (reaches_back or (window.span_ns is not None and base == 0)):
            raise ParameterError(
                f"the window is longer than the last {KEPT_POINTS:,} equity points, which are all that is kept "
                "while a run goes on: take a shorter one, or result.rolling(window) of the whole run"
            )
        return window_figures(self._equity(score, base), self.year.periods_per_year)

    def _equity(self, score: Score, start: int = 0) -> Floats:
        values = [row[score.column] for row in islice(self._rows, start, None)]
        has_gaps = self._has_joined or self._has_ended
        return np.array([value for value in values if not isnan(value)] if has_gaps else values, dtype=np.float64)

    def _returns(self, score: Score) -> Floats:
        equity = self._equity(score)
        if score.curve.is_broken or len(equity) < 2:
            return np.empty(0)
        returns: Floats = equity[1:] / equity[:-1] - 1.0
        return returns
