"""What a run came to: what a backtest, a session and a replay all give."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

from qfkit.comparison import BUY_AND_HOLD, Comparison, benchmark_of, benchmark_of_returns, compare
from qfkit.core.annualisation import Annualisation, infer_annualisation
from qfkit.core.assessment import RiskAssessment
from qfkit.core.costs import Costs
from qfkit.core.events import Bar
from qfkit.core.holdings import Holdings, PastPrices
from qfkit.core.metrics import Metrics, measure
from qfkit.core.orders import Fill, Order, Signal, Trade
from qfkit.core.records import Fault
from qfkit.core.risk_report import RiskReport
from qfkit.core.scorecard import ACCOUNT
from qfkit.core.trade_statistics import trade_statistics
from qfkit.core.windows import window_figures, window_of
from qfkit.core.wording import count, money, percent, share, span_text, utc_time
from qfkit.errors import ParameterError, did_you_mean
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
    FillColumns,
    Floats,
    assessments_frame,
    bar_columns,
    bars_frame,
    equity_columns,
    equity_frame,
    fills_frame,
    orders_frame,
    signals_frame,
    trades_frame,
)

if TYPE_CHECKING:
    import pandas

    from qfkit.views.charts import Plot
    from qfkit.views.series import RunSeries

__all__ = ["ORDERS_ON_BARS", "ORDERS_ON_TICKS", "RecordLists", "Result"]

ORDERS_ON_BARS = "market orders decided on a bar fill at the next bar's open"
ORDERS_ON_TICKS = "market orders fill at the next tick after the latency, or across the quote"

_UNDER_A_PICTURE = "max-width:100%;height:auto;margin:8px 0"


class RecordLists(Protocol):
    """The lists that a result is made of: :class:`qfkit.core.records.Records`, or an object that
    makes each list only when it is asked for."""

    @property
    def orders(self) -> Sequence[Order]: ...
    @property
    def fills(self) -> Sequence[Fill]: ...
    @property
    def signals(self) -> Sequence[Signal]: ...
    @property
    def trades(self) -> Sequence[Trade]: ...
    @property
    def bars(self) -> Sequence[Bar]: ...
    @property
    def equity(self) -> Sequence[tuple[float, ...]]: ...
    @property
    def faults(self) -> Sequence[Fault]: ...
    @property
    def assessments(self) -> Sequence[RiskAssessment]: ...


class Result:
    """A run's frames, figures and pictures. Each is made when it is first asked for, and kept.

    - ``strategy_names`` in the order of the equity rows; ``parameters`` by strategy name;
    - ``starting_cash`` of the account; ``costs`` it was run under; ``timeframe`` of its bars;
    - ``label`` says in words where the data came from ("real daily bars", "synthetic exchange");
    - ``order_timing`` is the first of the assumptions; ``assumptions`` are further ones;
    - ``data_span`` is the time of the first and the last event, UTC ns; None takes the equity's;
    - ``periods_per_year`` None infers it from the times (see ``metrics.assumption``);
    - ``strategy_cash``: the starting money of each strategy; None is equal parts;
    - ``holdings`` are the positions in the end; None reads them off the fills;
    - ``equity_arrays``, ``bar_arrays`` and ``fill_arrays`` are the same as the records' lists, for whoever has
      arrays already: the lists are not touched then.

    The records are read late: they must not change any more.
    """

    def __init__(
        self,
        records: RecordLists,
        *,
        strategy_names: Sequence[str],
        parameters: Mapping[str, Mapping[str, object]],
        starting_cash: float,
        costs: Costs,
        timeframe: str,
        label: str = "",
        order_timing: str = ORDERS_ON_BARS,
        assumptions: tuple[str, ...] = (),
        data_span: tuple[int, int] | None = None,
        periods_per_year: float | None = None,
        strategy_cash: Mapping[str, float] | None = None,
        holdings: Holdings | None = None,
        equity_arrays: EquityColumns | None = None,
        bar_arrays: Mapping[str, BarColumns] | None = None,
        fill_arrays: FillColumns | None = None,
    ) -> None:
        self.records = records
        self.strategy_names = tuple(strategy_names)
        self.parameters = {name: dict(values) for name, values in parameters.items()}
        self.starting_cash = starting_cash
        self.costs = costs
        self.timeframe = timeframe
        self.label = label
        self._order_timing = order_timing
        self._further_assumptions = assumptions
        self._data_span = data_span
        self._periods_per_year = periods_per_year
        self._strategy_cash = strategy_cash
        self._holdings = holdings
        self._equity_arrays = equity_arrays
        self._bar_arrays = bar_arrays
        self._fill_arrays = fill_arrays

    # -- frames ------------------------------------------------------------------------------

    @cached_property
    def equity(self) -> "pandas.DataFrame":
        """Equity at each bar's close: the column ``account``, then one a strategy."""
        return equity_frame(self._equity, self.strategy_names)

    @cached_property
    def fills(self) -> "pandas.DataFrame":
        """Every (partial) fill, indexed by the market's time."""
        return fills_frame(self.records.fills if self._fill_arrays is None else self._fill_arrays)

    @cached_property
    def orders(self) -> "pandas.DataFrame":
        """Every order as it stands, indexed by the time of the decision."""
        return orders_frame(self.records.orders)

    @cached_property
    def signals(self) -> "pandas.DataFrame":
        """What the strategies wanted and what became of it."""
        return signals_frame(self.records.signals)

    @cached_property
    def trades(self) -> "pandas.DataFrame":
        """Round trips, indexed by the time of the exit; an open position is not among them."""
        return trades_frame(self.records.trades)

    @cached_property
    def bars(self) -> "pandas.DataFrame":
        """The closed bars, indexed by their open time; each is known only from ``close_time`` on."""
        return bars_frame(self._bars)

    @cached_property
    def assessments(self) -> "pandas.DataFrame":
        """The risk assessments, indexed by their time; empty where none were asked for."""
        return assessments_frame(self.records.assessments)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The exceptions that stopped a strategy."""
        return tuple(self.records.faults)

    # -- figures -----------------------------------------------------------------------------

    @cached_property
    def metrics(self) -> Metrics:
        """The figures of the account: ``metrics.sharpe`` or ``metrics["sharpe"]``."""
        return measure(
            self._equity.times_ns,
            self._equity.account,
            starting_equity=self.starting_cash,
            trades=self.records.trades,
            fills=self.records.fills,
            periods_per_year=self._periods_per_year,
        )

    def metrics_by(self, by: str = "strategy", window: int | str | None = None) -> "pandas.DataFrame":
        """The figures as a table: one row the account and each strategy, or (``by="symbol"``) each strategy and symbol.

        Columns by strategy: all of :class:`Metrics`, of the trade statistics, and ``rolling_…`` of the last
        ``window``, as in :meth:`rolling`. By symbol: the trade statistics, ``fills``, ``fees``, ``traded``
        (notional) and ``turnover_total`` (that over the mean equity of who traded); the rows of the
        strategy ``account`` are of all strategies together.
        """
        check_by(by)
        fills, trades = self.records.fills, self.records.trades
        figures: dict[str, Figures] = {}
        rows = []
        chosen = window_of(window)
        for column, name in enumerate((ACCOUNT, *self.strategy_names)):
            own_fills = fills if column == 0 else [fill for fill in fills if fill.strategy == name]
            own_trades = trades if column == 0 else [trade for trade in trades if trade.strategy == name]
            equity = self._equity_of(column)
            if by == "symbol":
                mean_equity = float(equity.mean()) if len(equity) else self.starting_cash
                rows += symbol_rows(name, symbol_scores(own_fills, own_trades), mean_equity)
                continue
            metrics = (
                self.metrics
                if column == 0
                else measure(
                    self._equity.times_ns,
                    equity,
                    starting_equity=self._cash_of(name),
                    trades=own_trades,
                    fills=own_fills,
                    periods_per_year=self._periods_per_year,
                )
            )
            base = chosen.first_base(self._equity.times_ns) if len(equity) else 0
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
        return rolling_frame(self._equity.times_ns, self._equity_of(column), window_of(window), year, self.equity.index)

    def compare(self, benchmark: object = BUY_AND_HOLD, *, returns: object = None) -> Comparison:
        """The account against a benchmark: alpha, beta, information ratio, tracking error, captures.

        - ``"buy and hold"``: an equal part of the cash in each of the run's symbols, bought at the run's
          first equity point at the run's costs (slippage and commission) and kept. A part is cash until
          its symbol has a price. Nothing is rebalanced or sold.
        - a symbol of the run: its closes, without costs.
        - a Series of prices, or ``returns=`` a Series of period returns. The index is as in price
          frames: each bar's *open* time, with a time zone; a value counts from the bar's close on.

        Raises :class:`ParameterError` or :class:`DataError` for what cannot be compared with.
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

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the figures rest on, a line each: order timing, costs, how a year was reckoned."""
        return (self._order_timing, self.costs.describe(), self.metrics.assumption, *self._further_assumptions)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that had bars."""
        return tuple(self._bars)

    @property
    def data_span(self) -> tuple[int, int] | None:
        """The time of the first and the last event, UTC ns; None if nothing happened."""
        if self._data_span is not None:
            return self._data_span
        times_ns = self._equity.times_ns
        return (int(times_ns[0]), int(times_ns[-1])) if len(times_ns) else None

    @cached_property
    def _equity(self) -> EquityColumns:
        return equity_columns(self.records.equity) if self._equity_arrays is None else self._equity_arrays

    def _equity_of(self, column: int) -> Floats:
        """The equity of the account (0) or of a strategy; a run of one strategy has the account's column only."""
        values = self._equity.values  # noqa: PD011 - the array of EquityColumns, not of a frame
        return values[:, min(column, values.shape[1] - 1)]

    @cached_property
    def _bars(self) -> Mapping[str, BarColumns]:
        return bar_columns(self.records.bars) if self._bar_arrays is None else self._bar_arrays

    # -- pictures ----------------------------------------------------------------------------

    def plot(self, symbol: str | None = None, *, benchmark: object = None) -> "Plot":
        """A chart: price with entries and exits, equity, drawdown; hover to read values.

        ``symbol`` None takes the one with the most fills. ``benchmark``, as in :meth:`compare`, or what
        that returned, is drawn beside the equity. Where no kernel runs, the static
        picture of the same stands in. Raises :class:`ParameterError` for a symbol without bars.
        """
        from qfkit.views.charts import plot

        return plot(self._series(symbol, benchmark), self._heading)

    def picture(self, symbol: str | None = None, *, benchmark: object = None) -> bytes:
        """The same chart as an SVG file's bytes, with no background of its own."""
        from qfkit.views.picture import run_svg

        return run_svg(self._series(symbol, benchmark), self._heading).encode("utf-8", "replace")

    def _series(self, symbol: str | None = None, benchmark: object = None) -> "RunSeries":
        from qfkit.views.series import run_series

        if symbol is None:
            fills_of = dict.fromkeys(self._bars, 0)
            for fill in self.records.fills:
                if fill.symbol in fills_of:
                    fills_of[fill.symbol] += 1
            symbol = max(fills_of, key=fills_of.__getitem__, default=None)
        elif symbol not in self._bars:
            raise ParameterError(f"no bars of {symbol!r} in this run.{did_you_mean(symbol, self._bars)}")
        bars = None if symbol is None else self._bars[symbol]
        beside = benchmark if benchmark is None or isinstance(benchmark, Comparison) else self.compare(benchmark)
        return run_series(bars, self.records.fills, self._equity, starting_equity=self.starting_cash, benchmark=beside)

    # -- texts -------------------------------------------------------------------------------

    @property
    def _heading(self) -> str:
        return " + ".join(
            f"{name}({', '.join(f'{key}={value}' for key, value in self.parameters.get(name, {}).items())})"
            for name in self.strategy_names
        )

    @property
    def _subject(self) -> str:
        names = ", ".join(self.symbols[:6]) + (f" and {len(self.symbols) - 6} more" if len(self.symbols) > 6 else "")
        time = "no events" if self.data_span is None else span_text(*self.data_span)
        return " | ".join(part for part in (names, self.timeframe, time, self.label) if part)

    @property
    def _fault_lines(self) -> list[str]:
        return [
            f"stopped by an error at {utc_time(fault.time_ns)} UTC: {fault.strategy}: {fault.error}"
            for fault in self.faults
        ]

    def __repr__(self) -> str:
        from qfkit.views.text import clean

        rows = self.metrics.lines()
        half = (len(rows) + 1) // 2
        left, right = rows[:half], rows[half:]
        # A name may come from outside: in a terminal its control characters would act.
        lines = [clean(line) for line in (self._heading, self._subject, *self._fault_lines)]
        lines.append("")
        for first, second in zip_longest(left, right, fillvalue=("", "")):
            lines.append(f"{_pair(left, first)}    {_pair(right, second)}".rstrip())
        return "\n".join([*lines, "", "assumptions", *(f"- {line}" for line in self.assumptions)])

    def _repr_html_(self) -> str:
        from qfkit.views.picture import data_uri, describe, run_svg

        metrics = self.metrics
        headline = (
            ("equity", money(metrics.end_equity)),
            ("total return", percent(metrics.total_return)),
            ("CAGR", percent(metrics.cagr)),
            ("Sharpe", money(metrics.sharpe)),
            ("max drawdown", share(metrics.max_drawdown)),
            ("trades", count(metrics.trades)),
            ("win rate", share(metrics.win_rate)),
        )
        rows = metrics.lines()
        third = (len(rows) + 2) // 3
        groups = [rows[start : start + third] for start in range(0, len(rows), third)]
        body = "".join(
            f"<tr{_PLAIN}>{''.join(_cells(*pair) for pair in line)}</tr>"
            for line in zip_longest(*groups, fillvalue=("", ""))
        )
        series = self._series()
        picture = data_uri(run_svg(series))
        faults = "".join(f'<p style="color:#cf432f;margin:4px 0">{escape(line)}</p>' for line in self._fault_lines)
        page = (
            '<div style="max-width:960px">'
            f'<p style="margin:4px 0"><b>{escape(self._heading)}</b><br>{escape(self._subject)}</p>{faults}'
            f'<table style="border-collapse:collapse;margin:4px 0"><tr{_PLAIN}>{"".join(_tile(*pair) for pair in headline)}</tr></table>'
            f'<img src="{picture}" alt="{escape(describe(series))}" width="960" style="{_UNDER_A_PICTURE}">'
            f'<table style="border-collapse:collapse;margin:4px 0">{body}</table>'
            f'<p style="margin:4px 0">Assumptions: {escape("; ".join(self.assumptions))}.</p></div>'
        )
        return page.encode("utf-8", "replace").decode()


_PLAIN = ' style="background:transparent"'


def _pair(column: list[tuple[str, str]], row: tuple[str, str]) -> str:
    wide = max(len(label) for label, _ in column)
    high = max(len(value) for _, value in column)
    return f"{row[0]:<{wide}}  {row[1]:>{high}}"


def _cells(label: str, value: str) -> str:
    return (
        f'<td style="text-align:left;padding:2px 12px 2px 0;opacity:.75">{escape(label)}</td>'
        f'<td style="text-align:right;padding:2px 36px 2px 0;font-variant-numeric:tabular-nums">{escape(value)}</td>'
    )


def _tile(label: str, value: str) -> str:
    # What rounds to zero is neither a gain nor a loss.
    moved = value.endswith("%") and any(digit in value for digit in "123456789")
    colour = {"+": "#1a9e88", "-": "#cf432f"}.get(value[0], "inherit") if moved else "inherit"
    return (
        '<td style="text-align:left;padding:4px 28px 4px 0;vertical-align:top">'
        f'<span style="opacity:.75">{escape(label)}</span><br>'
        f'<span style="font-size:1.35em;font-weight:600;color:{colour}">{escape(value)}</span></td>'
    )
