"""The figures of a run: metrics, a benchmark beside them, and the risk of what is held in the end."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import nan
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qfkit.comparison import BUY_AND_HOLD, Comparison, benchmark_of, benchmark_of_returns, compare
from qfkit.core.allocation import growth
from qfkit.core.annualisation import Annualisation, infer_annualisation
from qfkit.core.assessment import RiskAssessment
from qfkit.core.costs import Costs
from qfkit.core.events import Bar
from qfkit.core.holdings import Holdings, PastPrices
from qfkit.core.limit_stops import RiskStop
from qfkit.core.margin import Financing, MarginCall
from qfkit.core.metrics import Metrics, measure
from qfkit.core.orders import Transfer
from qfkit.core.records import Fault
from qfkit.core.risk_report import RiskReport
from qfkit.core.scorecard import ACCOUNT
from qfkit.core.trade_statistics import trade_statistics
from qfkit.core.windows import window_figures, window_of
from qfkit.errors import ParameterError, did_you_mean
from qfkit.inspection.asking import StoryRecords
from qfkit.metrics_frames import (
    Figures,
    check_by,
    metrics_frame,
    rolling_frame,
    symbol_rows,
    symbol_scores,
    symbols_frame,
    trade_statistics_frame,
)
from qfkit.risks import holdings_of_fills, measure_risk, past_prices
from qfkit.tables import (
    BarColumns,
    EquityColumns,
    Floats,
)

if TYPE_CHECKING:
    import pandas


__all__ = ["RecordLists", "ResultFigures"]


class RecordLists(StoryRecords, Protocol):
    """The lists that a result is made of: :class:`qfkit.core.records.Records`, or an object that
    makes each list only when it is asked for."""

    @property
    def bars(self) -> Sequence[Bar]: ...
    @property
    def equity(self) -> Sequence[tuple[float, ...]]: ...
    @property
    def faults(self) -> Sequence[Fault]: ...
    @property
    def assessments(self) -> Sequence[RiskAssessment]: ...
    @property
    def transfers(self) -> Sequence[Transfer]: ...
    @property
    def margin_calls(self) -> Sequence[MarginCall]: ...
    @property
    def financing(self) -> Sequence[Financing]: ...
    @property
    def stops(self) -> Sequence[RiskStop]: ...


class ResultFigures:
    """The part of a :class:`~qfkit.Result` that reckons figures from its records."""

    records: RecordLists
    strategy_names: tuple[str, ...]
    starting_cash: float
    costs: Costs
    _periods_per_year: float | None
    _strategy_cash: Mapping[str, float] | None
    _holdings: Holdings | None

    @property
    def equity(self) -> "pandas.DataFrame":
        """Equity of the account and each strategy, one row a bar of time."""
        raise NotImplementedError

    @property
    def _equity(self) -> EquityColumns:
        raise NotImplementedError

    @property
    def _bars(self) -> Mapping[str, BarColumns]:
        raise NotImplementedError

    def _equity_of(self, column: int) -> Floats:
        """The equity of the account (0) or of a strategy, transfers left out: see :attr:`growth`.

        A run of one strategy has the account's column only.
        """
        values = self._equity.values  # noqa: PD011 - the array of EquityColumns, not of a frame
        if column and self.records.transfers:
            name = self.strategy_names[column - 1]
            first = self._first_of(column)
            base = float(values[first, column]) if first < len(values) else nan
            return np.asarray(self.growth[name], dtype=np.float64) * base
        return values[:, min(column, values.shape[1] - 1)]

    def _first_of(self, column: int) -> int:
        """The place of the first equity point of the account (0) or of a strategy: one may have joined later."""
        values = self._equity.values  # noqa: PD011 - the array of EquityColumns, not of a frame
        if column == 0 or values.shape[1] == 1:
            return 0
        known = np.flatnonzero(~np.isnan(values[:, column]))
        return int(known[0]) if len(known) else len(values)

    @cached_property
    def growth(self) -> "pandas.DataFrame":
        """What 1 became since the first equity point: columns as in :attr:`equity`, transfers left out (time-weighted)."""
        frame = self.equity.copy()
        times_ns = self._equity.times_ns.tolist()
        for column, name in enumerate(frame.columns):
            values = frame[name].tolist()
            first = self._first_of(column)
            points = list(zip(times_ns, values, strict=True))[first:]
            flows = () if name == "account" else self.records.transfers
            frame[name] = [nan] * first + growth(points, points[0][1] if points else 1.0, flows, name)
        return frame

    @cached_property
    def metrics(self) -> Metrics:
        """The figures of the account: ``metrics.sharpe`` or ``metrics["sharpe"]``."""
        return self.measure()

    def measure(self, periods_per_year: float | None = None) -> Metrics:
        """The same with so many periods a year; None takes the run's own."""
        records = self.records
        # Who has no records yet need not make them for this.
        deals = getattr(records, "deals", None)
        return measure(
            self._equity.times_ns,
            self._equity.account,
            starting_equity=self.starting_cash,
            trades=records.trades if deals is None else (),
            fills=records.fills if deals is None else (),
            deals=deals,
            periods_per_year=periods_per_year or self._periods_per_year,
        )

    def metrics_by(self, by: str = "strategy", window: int | str | None = None) -> "pandas.DataFrame":
        """The figures as a table: one row the account and each strategy, or (``by="symbol"``) each strategy and symbol.

        Columns by strategy: all of :class:`Metrics`, of the trade statistics, and ``rolling_…`` of the last
        ``window``, as in :meth:`rolling`. By symbol: the trade statistics, ``fills``, ``fees``, ``traded``
        (notional) and ``turnover_total`` (that over the mean equity of who traded); the rows of the
        strategy ``account`` are of all strategies together. What ``allocation=`` moved is left out: a strategy's
        equity counts as its starting money grown by its own returns.
        """
        check_by(by)
        fills, trades = self.records.fills, self.records.trades
        figures: dict[str, Figures] = {}
        rows = []
        chosen = window_of(window)
        for column, name in enumerate((ACCOUNT, *self.strategy_names)):
            own_fills = fills if column == 0 else [fill for fill in fills if fill.strategy == name]
            own_trades = trades if column == 0 else [trade for trade in trades if trade.strategy == name]
            first = self._first_of(column)
            if 0 < len(self._equity.times_ns) == first:
                # It never began.
                continue
            times_ns, equity = self._equity.times_ns[first:], self._equity_of(column)[first:]
            if column and (ended := np.flatnonzero(np.isnan(equity))).size:
                # It gave all its capital: the figures are those of the time before.
                times_ns, equity = times_ns[: ended[0]], equity[: ended[0]]
            if by == "symbol":
                mean_equity = float(equity.mean()) if len(equity) else self.starting_cash
                rows += symbol_rows(name, symbol_scores(own_fills, own_trades), mean_equity)
                continue
            metrics = (
                self.metrics
                if column == 0
                else measure(
                    times_ns,
                    equity,
                    starting_equity=self._cash_of(name),
                    trades=own_trades,
                    fills=own_fills,
                    periods_per_year=self._periods_per_year,
                )
            )
            base = chosen.first_base(times_ns) if len(equity) else 0
            figures[name] = (
                metrics,
                trade_statistics(own_trades),
                window_figures(equity[base:], metrics.periods_per_year),
            )
        return symbols_frame(rows) if by == "symbol" else metrics_frame(figures)

    def _cash_of(self, name: str) -> float:
        if self._strategy_cash is not None:
            return self._strategy_cash[name]
        return self.starting_cash / len(self.strategy_names)

    @cached_property
    def trade_statistics(self) -> "pandas.DataFrame":
        """Wins, streaks, holding times and excursions of the round trips: rows ``all``, ``long``, ``short``.

        The columns are explained in :class:`qfkit.core.trade_statistics.TradeStatistics`.
        """
        return trade_statistics_frame(self.records.trades)

    def rolling(self, window: int | str | None = None, strategy: str = ACCOUNT) -> "pandas.DataFrame":
        """Return, volatility, Sharpe and drawdown of the window that ends at each equity point.

        ``window``: so many period returns (default 100), or those of a span of time (``"1d"``). Early
        windows are shorter; volatility and Sharpe are NaN for fewer than two returns.
        ``rolling_drawdown``: how far equity lies below the highest of the window, a positive fraction.
        """
        names = (ACCOUNT, *self.strategy_names)
        if strategy not in names:
            raise ParameterError(f"strategy={strategy!r} is not in this run.{did_you_mean(strategy, names)}")
        column = names.index(strategy)
        periods = self._periods_per_year
        year = infer_annualisation(self._equity.times_ns) if periods is None else Annualisation(periods, "")
        first, index = self._first_of(column), self.equity.index
        times_ns, equity = self._equity.times_ns[first:], self._equity_of(column)[first:]
        return rolling_frame(times_ns, equity, window_of(window), year, index[first:]).reindex(index)

    def compare(self, benchmark: object = BUY_AND_HOLD, *, returns: object = None) -> Comparison:
        """The account against a benchmark: alpha, beta, information ratio, tracking error, captures.

        - ``"buy and hold"``: an equal part of the cash in each of the run's symbols, bought at the run's
          first equity point at the run's costs (slippage and commission) and kept. A part is cash until
          its symbol has a price. Nothing is rebalanced or sold.
        - a symbol of the run: its closes, without costs.
        - a Series of prices, or ``returns=`` a Series of period returns. The index is as in price
          frames: each bar's *open* time, with a time zone; a value counts from the bar's close on.

        Runs beside one another are :func:`qfkit.compare`'s. Raises :class:`ParameterError` or :class:`DataError` for
        what cannot be compared with.
        """
        if returns is not None:
            if benchmark is not BUY_AND_HOLD:
                raise ParameterError("give a benchmark or returns=, not both")
            found = benchmark_of_returns(returns)
        else:
            times_ns = self._equity.times_ns
            start_ns = int(times_ns[0]) if len(times_ns) else 0
            found = benchmark_of(benchmark, self._bars, start_ns=start_ns, cash=self.starting_cash, costs=self.costs)
        return compare(self._equity, found, periods_per_year=self._periods_per_year)

    @cached_property
    def risk(self) -> RiskReport:
        """The risk of the positions that are open in the end: :meth:`measure_risk` as it is without arguments."""
        return self.measure_risk()

    def measure_risk(
        self,
        *,
        benchmark: "str | pandas.Series[Any] | None" = None,
        level: float = 0.95,
        returns: int = 250,
        participation: float = 0.1,
    ) -> RiskReport:
        """Value at risk, shortfall, beta, concentration and so on of the positions open in the end.

        - ``benchmark`` of beta: a symbol of the run (None takes the first), or a Series of prices by time;
        - ``level`` of value at risk; ``returns`` is how many of the last marks' are looked back on;
        - ``participation``: the share of the volume that an exit takes.
        """
        return measure_risk(
            self.holdings,
            self._bars,
            self._equity,
            self.records.fills,
            starting_equity=self.starting_cash,
            benchmark=benchmark,
            level=level,
            returns=returns,
            participation=participation,
        )

    @cached_property
    def holdings(self) -> Holdings:
        """The positions that are open in the end, their prices and the equity."""
        if self._holdings is not None:
            return self._holdings
        return holdings_of_fills(self.records.fills, self._bars, self._equity, self.starting_cash)

    @property
    def closes(self) -> PastPrices:
        """The closes of all symbols, as of every time at which one of them closed a bar."""
        return past_prices(self._bars)
