"""Records as DataFrames: one function a kind, the same columns and dtypes however many rows.

Frames are indexed by tz-aware UTC time, named ``time``, in nanoseconds. Text columns are of
pandas' string dtype; a price, quantity or count that is unknown is NaN (``<NA>`` for an id).
A time as a float has lost nanoseconds, so times are read as ints from the records.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import nan
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.assessment import RiskAssessment
from qfkit.core.events import Bar
from qfkit.core.limit_stops import RiskStop
from qfkit.core.margin import Financing, MarginCall
from qfkit.core.orders import Fill, Order, Side, Signal, Trade, Transfer
from qfkit.record_columns import (
    ASSESSMENTS,
    CHECKS,
    FILLS,
    FINANCING,
    MARGIN_CALLS,
    NUMBER,
    OPTIONAL_ID,
    ORDERS,
    SIGNALS,
    STOPS,
    TEXT,
    TIME,
    TRADES,
    TRANSFERS,
)

if TYPE_CHECKING:
    import pandas

__all__ = [
    "BAR_ARRAYS",
    "BarColumns",
    "EquityColumns",
    "FillColumns",
    "assessments_frame",
    "bar_columns",
    "bars_frame",
    "checks_frame",
    "equity_columns",
    "equity_frame",
    "fills_frame",
    "financing_frame",
    "margin_calls_frame",
    "orders_frame",
    "records_frame",
    "signals_frame",
    "stops_frame",
    "time_index",
    "trades_frame",
    "transfers_frame",
    "widened",
]

Getter: TypeAlias = Callable[[Any], object]
Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]


class EquityColumns(msgspec.Struct, frozen=True):
    """Equity points as arrays: ``values`` has one column for the account, then one a strategy.

    A run of one strategy has the account's column only.
    """

    times_ns: Times
    values: Floats

    @property
    def account(self) -> Floats:
        column: Floats = self.values[:, 0]
        return column


class BarColumns(msgspec.Struct, frozen=True):
    """The bars of one symbol and timeframe as arrays, ordered by time."""

    symbol: str
    timeframe: str
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    open_ns: Times
    close_ns: Times

    def __len__(self) -> int:
        return len(self.close)

    def rows(self, part: slice) -> "BarColumns":
        """Some of the bars; views, not copies."""
        return BarColumns(self.symbol, self.timeframe, *[getattr(self, name)[part] for name in BAR_ARRAYS])


BAR_ARRAYS = BarColumns.__struct_fields__[2:]
"""The names of the arrays of bars: prices, volume and times."""


class FillColumns(msgspec.Struct, frozen=True):
    """Fills of one symbol and strategy as arrays, in the order they happened."""

    symbol: str
    strategy: str
    side: NDArray[Any]
    quantity: Floats
    price: Floats
    fee: Floats
    order_id: Times
    time_ns: Times
    reason: NDArray[Any]
    is_crossed: bool = False
    rate: float = 1.0

    @property
    def fill_id(self) -> Times:
        return np.arange(1, len(self.time_ns) + 1, dtype=np.int64)


class _CheckRow(msgspec.Struct, frozen=True, gc=False):
    """A check beside the signal that it was made of."""

    time_ns: int
    signal_id: int
    symbol: str
    action: str
    wanted: float
    check: str
    value: float
    limit: float
    allowed: float
    passed: bool
    strategy: str


def equity_columns(rows: Sequence[tuple[float, ...]]) -> EquityColumns:
    """Equity rows ``(time_ns, account, each strategy's)`` as arrays; NaN where a strategy had not joined yet."""
    count = len(rows)
    width = len(rows[-1]) - 1 if count else 1
    if count and len(rows[0]) <= width:
        rows = [_padded(row, width + 1) for row in rows]
    times_ns = np.fromiter(map(itemgetter(0), rows), dtype=np.int64, count=count)
    values = np.empty((count, width))
    for column in range(width):
        values[:, column] = np.fromiter(map(itemgetter(column + 1), rows), dtype=np.float64, count=count)
    return EquityColumns(times_ns, values)


def _padded(row: tuple[float, ...], length: int) -> tuple[float, ...]:
    # The only strategy there was is the account.
    known = (*row, row[1]) if len(row) == 2 and length > 2 else row
    return (*known, *[nan] * (length - len(known)))


def widened(equity: EquityColumns, strategies: int) -> EquityColumns:
    """The same with a column for each of so many strategies: NaN for one that no point is of."""
    values, width = equity.values, 1 + strategies  # noqa: PD011 - the array of EquityColumns, not of a frame
    if values.shape[1] >= width or strategies == 1:
        return equity
    wide = np.full((len(values), width), nan)
    wide[:, : values.shape[1]] = values
    if values.shape[1] == 1:
        wide[:, 1] = values[:, 0]
    return EquityColumns(equity.times_ns, wide)


def bar_columns(bars: Iterable[Bar]) -> dict[str, BarColumns]:
    """Bars as arrays, one entry a symbol in the order of their first bar."""
    by_symbol: dict[str, list[Bar]] = {}
    for bar in bars:
        by_symbol.setdefault(bar.symbol, []).append(bar)
    return {symbol: _columns_of(own) for symbol, own in by_symbol.items()}


def _columns_of(bars: list[Bar]) -> BarColumns:
    return BarColumns(
        symbol=bars[0].symbol,
        timeframe=bars[0].timeframe,
        open=np.array([bar.open for bar in bars], dtype=np.float64),
        high=np.array([bar.high for bar in bars], dtype=np.float64),
        low=np.array([bar.low for bar in bars], dtype=np.float64),
        close=np.array([bar.close for bar in bars], dtype=np.float64),
        volume=np.array([bar.volume for bar in bars], dtype=np.float64),
        open_ns=np.array([bar.open_ns for bar in bars], dtype=np.int64),
        close_ns=np.array([bar.close_ns for bar in bars], dtype=np.int64),
    )


_BAR_NUMBERS = ("open", "high", "low", "close", "volume")


def orders_frame(orders: Sequence[Order]) -> "pandas.DataFrame":
    """Orders as they stand, by ``order_id``, indexed by the time of the decision.

    Of the records of one order the last wins. ``decided`` is when the strategy asked, ``sent``
    when the order reached the market, ``updated`` when it last changed and ``status_reason`` why. ``limit_price``,
    ``stop_price`` and ``average_price`` are NaN where the order has none. ``signal_id`` is that of the signals, the same
    for all orders of one; ``parent_id`` is a bracket's entry, for its legs.
    """
    last = {order.order_id: order for order in orders}
    return records_frame([last[order_id] for order_id in sorted(last)], "decided_ns", ORDERS)


def fills_frame(fills: Sequence[Fill] | FillColumns) -> "pandas.DataFrame":
    """Fills in the order they happened, indexed by the market's time.

    ``order_id`` is that of the orders. Prices are in the symbol's currency, the fee in the account's, which ``rate``
    converts to.
    """
    return records_frame(fills, "time_ns", FILLS)


def signals_frame(signals: Sequence[Signal]) -> "pandas.DataFrame":
    """What the strategies wanted and what became of it, indexed by the time of the decision.

    ``wanted`` is a signed quantity; ``order_id`` is ``<NA>`` where no order was sent. ``decision_check`` is the
    first check that was not passed, "" where none was: what to count by. ``signal_id`` is that of the checks.
    """
    return records_frame(signals, "time_ns", SIGNALS)


def checks_frame(signals: Iterable[Signal]) -> "pandas.DataFrame":
    """Each check of each signal, passed or not: one row a check, indexed by the time of the decision.

    ``value`` is what was measured and ``limit`` its bound, in the unit that the check's name says;
    ``allowed`` is the quantity it let through. A signal that came to no check has no row.
    """
    rows = [
        _CheckRow(
            one.time_ns,
            one.signal_id,
            one.symbol,
            one.action,
            one.wanted,
            check.name,
            check.value,
            check.limit,
            check.allowed,
            check.passed,
            one.strategy,
        )
        for one in signals
        for check in one.checks
    ]
    return records_frame(rows, "time_ns", CHECKS)


def trades_frame(trades: Sequence[Trade], fills: Iterable[Fill] = ()) -> "pandas.DataFrame":
    """Round trips, indexed by the time of the exit; ``return`` is a fraction.

    The excursions are the least and the most that a trade stood at, before fees: in money, and
    (``..._return``) as a fraction of the entry's notional. ``entry_order_id`` and ``exit_order_id`` are the
    orders of the first fill and of the last, found among the run's ``fills``; ``<NA>`` without them.
    """
    import pandas

    first: dict[tuple[str, str, int, bool], int] = {}
    last: dict[tuple[str, str, int, bool], int] = {}
    for fill in fills if trades else ():
        key = (fill.strategy, fill.symbol, fill.time_ns, fill.side == Side.BUY)
        first.setdefault(key, fill.order_id)
        last[key] = fill.order_id
    entries, exits = [], []
    for trade in trades:
        is_long = trade.side == "long"
        entries.append(first.get((trade.strategy, trade.symbol, trade.entry_time_ns, is_long)))
        exits.append(last.get((trade.strategy, trade.symbol, trade.exit_time_ns, not is_long)))
    frame = records_frame(trades, "exit_time_ns", TRADES)
    ids: dict[str, Any] = {"entry_order_id": entries, "exit_order_id": exits}
    return frame.assign(**{name: pandas.array(values, dtype=OPTIONAL_ID) for name, values in ids.items()})


def assessments_frame(assessments: Sequence[RiskAssessment]) -> "pandas.DataFrame":
    """Risk assessments, indexed by their time; ``reasons`` is a text, "" where the level is low."""
    return records_frame(assessments, "time_ns", ASSESSMENTS)


def equity_frame(
    equity: Sequence[tuple[float, ...]] | EquityColumns, strategy_names: Sequence[str]
) -> "pandas.DataFrame":
    """Equity points: the column ``account``, then one a strategy (the same, if there is but one).

    Indexed by the time that the equity is of; in a run on bars, each bar's close.
    """
    import pandas

    columns = equity if isinstance(equity, EquityColumns) else equity_columns(equity)
    columns = widened(columns, len(strategy_names))
    values = columns.values  # noqa: PD011 - the array of EquityColumns, not of a frame
    if values.shape[1] == 1:
        # Row by row in memory is how a frame keeps its columns.
        values = np.tile(values.T, (1 + len(strategy_names), 1)).T
    names = ["account", *strategy_names]
    return pandas.DataFrame(values, index=time_index(columns.times_ns), columns=names, dtype=NUMBER, copy=True)


def transfers_frame(transfers: Sequence[Transfer]) -> "pandas.DataFrame":
    """Cash moved between strategies: who gave (``source``), who got it (``target``), how much."""
    return records_frame(transfers, "time_ns", TRANSFERS)


def bars_frame(bars: Iterable[Bar] | Mapping[str, BarColumns]) -> "pandas.DataFrame":
    """Closed bars, indexed by their open time; the last column is when they close.

    A bar is known only from its ``close_time`` on. Bars of several symbols are ordered by
    close time, then symbol by symbol in the order of their first bar.
    """
    import pandas

    columns = bars if isinstance(bars, Mapping) else bar_columns(bars)
    frames = [
        pandas.DataFrame(
            {
                "symbol": pandas.Series(own.symbol, index=range(len(own)), dtype=TEXT),
                "timeframe": pandas.Series(own.timeframe, index=range(len(own)), dtype=TEXT),
                **{name: getattr(own, name) for name in _BAR_NUMBERS},
                "close_time": time_index(own.close_ns),
            }
        ).set_axis(time_index(own.open_ns))
        for own in columns.values()
    ]
    if not frames:
        dtypes = {"symbol": TEXT, "timeframe": TEXT, **dict.fromkeys(_BAR_NUMBERS, NUMBER), "close_time": TIME}
        return pandas.DataFrame(
            {name: pandas.Series(dtype=dtype) for name, dtype in dtypes.items()}, index=time_index([])
        )
    if len(frames) == 1:
        return frames[0]
    return pandas.concat(frames).sort_values("close_time", kind="stable")


def margin_calls_frame(calls: Sequence[MarginCall]) -> "pandas.DataFrame":
    """Margin calls and wiped-out strategies, indexed by time."""
    return records_frame(calls, "time_ns", MARGIN_CALLS)


def financing_frame(financing: Sequence[Financing]) -> "pandas.DataFrame":
    """Nightly costs (negative) and earnings, indexed by the midnight."""
    return records_frame(financing, "time_ns", FINANCING)


def stops_frame(stops: Sequence[RiskStop]) -> "pandas.DataFrame":
    """Stops that began or were lifted, indexed by time."""
    return records_frame(stops, "time_ns", STOPS)


def records_frame(
    records: Sequence[object] | FillColumns, time: str, columns: Mapping[str, tuple[str, str]]
) -> "pandas.DataFrame":
    """A frame with one column an attribute of the records, indexed by the attribute ``time``."""
    import pandas

    def values_of(attribute: str) -> Any:
        if isinstance(records, FillColumns):
            return getattr(records, attribute)
        return [getattr(record, attribute) for record in records]

    index = time_index(values_of(time))
    data: dict[str, Any] = {}
    for name, (attribute, dtype) in columns.items():
        values = values_of(attribute)
        if dtype == TIME:
            data[name] = time_index(values)
        elif dtype == TEXT:
            # str() of an enum member is its value; the member itself is no plain string to pandas.
            texts: Any = [_text_of(value) for value in values] if isinstance(values, list) else values
            if isinstance(values, str):
                texts = np.full(len(index), values, dtype=object)
            data[name] = pandas.array(texts, dtype=TEXT)
        elif dtype == OPTIONAL_ID:
            data[name] = pandas.array(values, dtype=OPTIONAL_ID)
        else:
            # None becomes NaN.
            is_one = isinstance(values, bool | float)
            data[name] = np.full(len(index), values) if is_one else np.asarray(values, dtype=dtype)
    return pandas.DataFrame(data, index=index, columns=list(columns))


def _text_of(value: object) -> str | None:
    # What is not known is NaN in a column of text.
    return "; ".join(map(str, value)) if isinstance(value, tuple) else None if value is None else str(value)


def time_index(times_ns: Sequence[int] | Times) -> "pandas.DatetimeIndex":
    """The index that all frames of records have: UTC, in nanoseconds, named ``time``."""
    import pandas

    # Integers with this dtype are taken for UTC; tz_localize would look at each of them.
    return pandas.DatetimeIndex(np.asarray(times_ns, dtype=np.int64), dtype=TIME, name="time")
