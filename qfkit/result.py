"""What a run came to: what a backtest, a session and a replay all give."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING

from qfkit.comparison import Comparison
from qfkit.core.costs import Costs
from qfkit.core.holdings import Holdings
from qfkit.core.records import Fault
from qfkit.core.snapshot import PositionView
from qfkit.core.wording import count, money, percent, share, span_text, utc_time
from qfkit.errors import ParameterError, did_you_mean
from qfkit.inspection.asking import tell
from qfkit.inspection.machine import OnProgress, Source, TimeMachine
from qfkit.inspection.story import OrderStory
from qfkit.position_frames import positions_frame, positions_of_fills
from qfkit.reported import Reported
from qfkit.result_figures import RecordLists, ResultFigures
from qfkit.result_resampling import ResultResampling
from qfkit.tables import (
    BarColumns,
    EquityColumns,
    FillColumns,
    assessments_frame,
    bar_columns,
    bars_frame,
    checks_frame,
    equity_columns,
    equity_frame,
    fills_frame,
    financing_frame,
    margin_calls_frame,
    orders_frame,
    signals_frame,
    stops_frame,
    trades_frame,
    transfers_frame,
    widened,
)
from qfkit.what_if import WhatIf

if TYPE_CHECKING:
    import pandas

    from qfkit.views.charts import Plot
    from qfkit.views.series import RunSeries

__all__ = ["ORDERS_ON_BARS", "ORDERS_ON_TICKS", "Result"]

ORDERS_ON_BARS = "market orders decided on a bar fill at the next bar's open"
ORDERS_ON_TICKS = "market orders fill at the next tick after the latency, or across the quote"

_UNDER_A_PICTURE = "max-width:100%;height:auto;margin:8px 0"


class Result(ResultFigures, ResultResampling, WhatIf, Reported):
    """A run's frames, figures and pictures. Each is made when it is first asked for, and kept.

    - ``strategy_names`` in the order of the equity rows; ``parameters`` by strategy name;
    - ``starting_cash`` of the account; ``costs`` it was run under; ``timeframe`` of its bars;
    - ``label`` says in words where the data came from ("real daily bars", "synthetic exchange");
    - ``order_timing`` is the first of the assumptions; ``assumptions`` are further ones;
    - ``data_span`` is the time of the first and the last event, UTC ns; None takes the equity's;
    - ``periods_per_year`` None infers it from the times (see ``metrics.assumption``);
    - ``strategy_cash``: the starting money of each strategy; None is equal parts;
    - ``holdings`` are the positions in the end, ``positions`` those of each strategy; None reads them off the fills;
    - ``equity_arrays``, ``bar_arrays`` and what ``fill_arrays`` gives are the same as the records' lists, for whoever
      has arrays already: the lists are not touched then;
    - ``source`` is where the run can be had again from, for :meth:`why` and :meth:`what_if`; None tells from the records alone.

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
        positions: Sequence[PositionView] | None = None,
        equity_arrays: EquityColumns | None = None,
        bar_arrays: Mapping[str, BarColumns] | None = None,
        fill_arrays: Callable[[], FillColumns] | None = None,
        source: Source | None = None,
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
        self._positions = positions
        self._equity_arrays = equity_arrays
        self._bar_arrays = bar_arrays
        self._fill_arrays = fill_arrays
        self._source = source

    def __getstate__(self) -> dict[str, object]:
        # On its way to another process it leaves behind what its run can be had again from.
        return {name: value for name, value in vars(self).items() if name != "_machine"} | {"_source": None}

    # -- frames ------------------------------------------------------------------------------

    @cached_property
    def equity(self) -> "pandas.DataFrame":
        """Equity at each bar's close: the column ``account``, then one a strategy."""
        return equity_frame(self._equity, self.strategy_names)

    @cached_property
    def fills(self) -> "pandas.DataFrame":
        """Every (partial) fill, indexed by the market's time."""
        return fills_frame(self.records.fills if self._fill_arrays is None else self._fill_arrays())

    @cached_property
    def orders(self) -> "pandas.DataFrame":
        """Every order as it stands, indexed by the time of the decision."""
        return orders_frame(self.records.orders)

    @cached_property
    def signals(self) -> "pandas.DataFrame":
        """What the strategies wanted and what became of it."""
        return signals_frame(self.records.signals)

    @cached_property
    def checks(self) -> "pandas.DataFrame":
        """Each check of each signal by the filters and the risk limits, passed or not, with its numbers."""
        return checks_frame(self.records.signals)

    @cached_property
    def trades(self) -> "pandas.DataFrame":
        """Round trips, indexed by the time of the exit; an open position is not among them."""
        return trades_frame(self.records.trades, self.records.fills)

    @cached_property
    def positions(self) -> "pandas.DataFrame":
        """What is held in the end, indexed by symbol and strategy; the rows ``account`` are all strategies together."""
        return positions_frame(self.open_positions)

    @property
    def open_positions(self) -> Sequence[PositionView]:
        """What each strategy holds in the end, as records."""
        views = self._positions
        return positions_of_fills(self.records.fills, self._bars) if views is None else views

    @cached_property
    def stops(self) -> "pandas.DataFrame":
        """Stops that limits put on the books, or that were put by hand, and when they were lifted."""
        return stops_frame(self.records.stops)

    @cached_property
    def margin_calls(self) -> "pandas.DataFrame":
        """Margin calls and wiped-out strategies, with the numbers and what was done."""
        return margin_calls_frame(self.records.margin_calls)

    @cached_property
    def financing(self) -> "pandas.DataFrame":
        """What nights cost (negative) or earned: interest, and the borrowing of shares."""
        return financing_frame(self.records.financing)

    @cached_property
    def bars(self) -> "pandas.DataFrame":
        """The closed bars, indexed by their open time; each is known only from ``close_time`` on."""
        return bars_frame(self._bars)

    @cached_property
    def assessments(self) -> "pandas.DataFrame":
        """The risk assessments, indexed by their time; empty where none were asked for."""
        return assessments_frame(self.records.assessments)

    @property
    def transfers(self) -> "pandas.DataFrame":
        """Cash that moved between strategies, by ``allocation=`` or to one that joined; by the equity point before it."""
        return transfers_frame(self.records.transfers)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The exceptions that stopped a strategy."""
        return tuple(self.records.faults)

    # -- looking back ------------------------------------------------------------------------

    def why(
        self, order_id: object = None, *, signal: object = None, on_progress: OnProgress | None = None
    ) -> OrderStory:
        """The story of an order: what it was decided on, its size, each check, what it cost, what came of it.

        ``order_id`` as in :attr:`orders`, or ``signal`` as in :attr:`signals`, also one that became no order; "last", or
        nothing, is the newest. The run is played again up to there. Raises :class:`OrderError` for one there is not.
        """
        return tell(
            self.records,
            self._machine,
            order_id,
            signal,
            positions=lambda: self.open_positions,
            lacks="this result does not know where its run can be had again from: quotes and parameters are not told",
            owner="result",
            on_progress=on_progress,
        )

    def _as_result(self) -> "Result":
        return self

    @cached_property
    def _machine(self) -> TimeMachine | None:
        return None if self._source is None else TimeMachine(self._source)

    # -- figures -----------------------------------------------------------------------------

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
        columns = equity_columns(self.records.equity) if self._equity_arrays is None else self._equity_arrays
        return widened(columns, len(self.strategy_names))

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

    def _repr_png_(self) -> bytes:
        """The picture for a PDF, and wherever HTML is not shown."""
        from qfkit.views.raster import run_png

        return run_png(self._series())

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
