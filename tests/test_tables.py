"""The frames of a run: their columns, dtypes and index are a promise, empty ones included."""

from datetime import UTC, datetime

import numpy as np
import pandas
import pytest

from qfkit.core.events import Bar
from qfkit.core.orders import Fill, Order, OrderStatus, OrderType, Side, Signal, Trade
from qfkit.tables import (
    EquityColumns,
    bar_columns,
    bars_frame,
    equity_columns,
    equity_frame,
    fills_frame,
    orders_frame,
    signals_frame,
    trades_frame,
)

# An odd number of nanoseconds, which no float holds: 2024-01-02 03:04:05.678901233 UTC.
MOMENT = 1_704_164_645_678_901_233
MINUTE = 60_000_000_000

TEXT = pandas.Series(["a"], dtype="str").dtype
NUMBER = np.dtype("float64")
SPAN = np.dtype("timedelta64[ns]")
ID = np.dtype("int64")
OPTIONAL_ID = pandas.Int64Dtype()
TIME = pandas.DatetimeTZDtype("ns", "UTC")

FILLS = {
    "symbol": TEXT,
    "side": TEXT,
    "quantity": NUMBER,
    "price": NUMBER,
    "fee": NUMBER,
    "order_id": ID,
    "strategy": TEXT,
    "reason": TEXT,
    "is_crossed": "bool",
    "rate": NUMBER,
    "fill_id": ID,
}
ORDERS = {
    "order_id": ID,
    "symbol": TEXT,
    "side": TEXT,
    "type": TEXT,
    "quantity": NUMBER,
    "filled": NUMBER,
    "limit_price": NUMBER,
    "stop_price": NUMBER,
    "status": TEXT,
    "strategy": TEXT,
    "reason": TEXT,
    "decided": TIME,
    "sent": TIME,
    "average_price": NUMBER,
    "status_reason": TEXT,
    "time_in_force": TEXT,
    "updated": TIME,
    "signal_id": OPTIONAL_ID,
    "parent_id": OPTIONAL_ID,
}
SIGNALS = {
    "signal_id": ID,
    "symbol": TEXT,
    "action": TEXT,
    "wanted": NUMBER,
    "decision": TEXT,
    "decision_check": TEXT,
    "decision_reason": TEXT,
    "order_id": OPTIONAL_ID,
    "strategy": TEXT,
    "reason": TEXT,
}
TRADES = {
    "symbol": TEXT,
    "side": TEXT,
    "quantity": NUMBER,
    "entry_time": TIME,
    "exit_time": TIME,
    "entry_price": NUMBER,
    "exit_price": NUMBER,
    "fees": NUMBER,
    "pnl": NUMBER,
    "return": NUMBER,
    "strategy": TEXT,
    "holding_time": SPAN,
    "max_adverse_excursion": NUMBER,
    "max_favourable_excursion": NUMBER,
    "max_adverse_return": NUMBER,
    "max_favourable_return": NUMBER,
    "entry_order_id": OPTIONAL_ID,
    "exit_order_id": OPTIONAL_ID,
}
BARS = {
    "symbol": TEXT,
    "timeframe": TEXT,
    "open": NUMBER,
    "high": NUMBER,
    "low": NUMBER,
    "close": NUMBER,
    "volume": NUMBER,
    "close_time": TIME,
}


def stamp(time_ns):
    return pandas.Timestamp(time_ns, unit="ns", tz="UTC")


def order(order_id=1, decided_ns=MOMENT, **changes):
    fields = {
        "order_id": order_id,
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "type": OrderType.LIMIT,
        "quantity": 1.5,
        "strategy": "trend",
        "reason": "crossed above",
        "decided_ns": decided_ns,
        "sent_ns": decided_ns + 100,
        "decision_price": 60_000.0,
    }
    return Order(**{**fields, **changes})


def fill(fill_id=1, time_ns=MOMENT, **changes):
    fields = {
        "fill_id": fill_id,
        "order_id": 1,
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "quantity": 0.25,
        "price": 60_000.5,
        "fee": 15.0,
        "time_ns": time_ns,
        "received_ns": time_ns + 7,
        "market_price": 60_000.0,
        "strategy": "trend",
        "reason": "crossed above",
    }
    return Fill(**{**fields, **changes})


def signal(order_id=1, **changes):
    fields = {
        "signal_id": 1,
        "time_ns": MOMENT,
        "symbol": "BTCUSDT",
        "action": "target",
        "wanted": -2.0,
        "decision": "resized",
        "decision_reason": "at most 1 times the equity",
        "order_id": order_id,
        "strategy": "trend",
        "reason": "crossed above",
    }
    return Signal(**{**fields, **changes})


def trade(**changes):
    fields = {
        "symbol": "BTCUSDT",
        "side": "short",
        "quantity": 2.0,
        "entry_time_ns": MOMENT,
        "exit_time_ns": MOMENT + 1,
        "entry_price": 100.0,
        "exit_price": 90.0,
        "fees": 0.5,
        "pnl": 19.5,
        "return_": 0.0975,
        "strategy": "trend",
    }
    return Trade(**{**fields, **changes})


def bar(index, close, symbol="A", volume=10.0, start_ns=MOMENT):
    open_ns = start_ns + index * MINUTE
    return Bar(symbol, "1m", close - 1, close + 2, close - 3, close, volume, open_ns, open_ns + MINUTE)


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize(
    ("function", "record", "promised"),
    [
        (fills_frame, fill(), FILLS),
        (orders_frame, order(), ORDERS),
        (signals_frame, signal(), SIGNALS),
        (trades_frame, trade(), TRADES),
        (bars_frame, bar(0, 100.0), BARS),
    ],
)
def test_columns_dtypes_and_index_are_the_same_however_many_rows(function, record, promised, rows):
    frame = function([record] * rows)
    assert dict(frame.dtypes) == promised
    assert list(frame.columns) == list(promised)
    assert frame.index.dtype == TIME
    assert frame.index.name == "time"
    assert len(frame) == (min(rows, 1) if function is orders_frame else rows)


def test_an_empty_frame_can_be_joined_to_a_full_one():
    both = pandas.concat([fills_frame([]), fills_frame([fill()])])
    assert dict(both.dtypes) == FILLS


def test_a_fill_shows_its_values_and_its_time_to_the_nanosecond():
    frame = fills_frame([fill(), fill(2, MOMENT + 1, side=Side.SELL, order_id=9, reason="")])
    assert frame.index[0].value == MOMENT
    assert frame.index[1].value == MOMENT + 1
    assert frame.index[0].isoformat() == "2024-01-02T03:04:05.678901233+00:00"
    assert frame.iloc[0].to_dict() == {
        "symbol": "BTCUSDT",
        "side": "buy",
        "quantity": 0.25,
        "price": 60_000.5,
        "fee": 15.0,
        "order_id": 1,
        "strategy": "trend",
        "reason": "crossed above",
        "is_crossed": False,
        "rate": 1.0,
        "fill_id": 1,
    }
    assert frame["side"].tolist() == ["buy", "sell"]
    assert type(frame["side"].iloc[0]) is str
    assert frame["order_id"].tolist() == [1, 9]
    assert frame["reason"].tolist() == ["crossed above", ""]
    assert (frame[frame.side == "sell"].fee == 15.0).all()


def test_fills_are_selected_by_a_time_in_words():
    day = 86_400_000_000_000
    frame = fills_frame([fill(number, MOMENT + number * day) for number in range(3)])
    assert len(frame.loc["2024-01-03"]) == 1
    assert len(frame.loc["2024-01-03":]) == 2
    assert len(frame.loc[datetime(2024, 1, 3, tzinfo=UTC) :]) == 2


def test_of_an_order_the_last_record_wins():
    working = order(2, MOMENT + 5, limit_price=59_000.0)
    first = order(1, status=OrderStatus.WORKING)
    partly = order(1, status=OrderStatus.PARTIALLY_FILLED, filled=0.5)
    done = order(1, status=OrderStatus.FILLED, filled=1.5)
    frame = orders_frame([first, working, partly, done])
    assert frame["order_id"].tolist() == [1, 2]
    assert frame["status"].tolist() == ["filled", "working"]
    assert frame["filled"].tolist() == [1.5, 0.0]
    assert frame["type"].tolist() == ["limit", "limit"]
    assert frame["side"].tolist() == ["buy", "buy"]


def test_an_order_without_a_limit_has_nan_there_and_a_limit_of_zero_is_a_price():
    frame = orders_frame([order(1), order(2, limit_price=0.0, stop_price=61_000.0)])
    assert np.isnan(frame["limit_price"].iloc[0]) and np.isnan(frame["stop_price"].iloc[0])
    assert frame["limit_price"].iloc[1] == 0.0
    assert frame["stop_price"].iloc[1] == 61_000.0


def test_an_order_shows_when_it_was_decided_and_sent():
    frame = orders_frame([order(1, MOMENT)])
    assert frame.index[0].value == MOMENT
    assert frame["decided"].iloc[0] == stamp(MOMENT)
    assert frame["sent"].iloc[0].value == MOMENT + 100


def test_a_signal_without_an_order_has_no_id_and_the_others_stay_whole_numbers():
    big = 2**53 + 1  # as a float it would be another number
    frame = signals_frame([signal(1), signal(None, decision="rejected"), signal(big)])
    assert frame["order_id"].iloc[0] == 1
    assert frame["order_id"].iloc[1] is pandas.NA
    assert frame["order_id"].iloc[2] == big
    assert frame["wanted"].tolist() == [-2.0, -2.0, -2.0]
    assert frame["decision"].tolist() == ["resized", "rejected", "resized"]
    assert frame["decision_reason"].iloc[0] == "at most 1 times the equity"


def test_signals_without_any_order_keep_the_dtype():
    assert signals_frame([signal(None), signal(None)])["order_id"].dtype == OPTIONAL_ID


def test_a_trade_is_indexed_by_its_exit():
    frame = trades_frame([trade()])
    assert frame.index[0].value == MOMENT + 1
    row = frame.iloc[0]
    assert row["entry_time"].value == MOMENT
    assert row["exit_time"].value == MOMENT + 1
    assert (row["side"], row["quantity"], row["entry_price"], row["exit_price"]) == ("short", 2.0, 100.0, 90.0)
    assert (row["fees"], row["pnl"], row["return"]) == (0.5, 19.5, 0.0975)


def test_bars_are_indexed_by_their_open_and_say_when_they_close():
    frame = bars_frame([bar(0, 100.0), bar(1, 101.0, volume=float("nan"))])
    assert [time.value for time in frame.index] == [MOMENT, MOMENT + MINUTE]
    assert [time.value for time in frame["close_time"]] == [MOMENT + MINUTE, MOMENT + 2 * MINUTE]
    assert frame.iloc[0][["open", "high", "low", "close", "volume"]].tolist() == [99.0, 102.0, 97.0, 100.0, 10.0]
    assert np.isnan(frame["volume"].iloc[1])
    assert frame["timeframe"].tolist() == ["1m", "1m"]


def test_bars_of_several_symbols_are_ordered_by_close_then_by_first_seen():
    frame = bars_frame([bar(0, 50.0, "B"), bar(0, 10.0, "A"), bar(1, 11.0, "A"), bar(1, 51.0, "B"), bar(2, 12.0, "A")])
    assert frame["symbol"].tolist() == ["B", "A", "B", "A", "A"]
    assert frame["close"].tolist() == [50.0, 10.0, 51.0, 11.0, 12.0]
    assert dict(frame.dtypes) == BARS
    assert frame.index.name == "time"


def test_bars_from_arrays_are_the_same_frame_and_do_not_share_memory():
    rows = [bar(0, 50.0, "B"), bar(0, 10.0, "A"), bar(1, 11.0, "A")]
    columns = bar_columns(rows)
    assert {symbol: len(own) for symbol, own in columns.items()} == {"B": 1, "A": 2}
    frame = bars_frame(columns)
    pandas.testing.assert_frame_equal(frame, bars_frame(rows))
    alone = bars_frame({"A": columns["A"]})
    alone["close"] = -1.0
    alone.iloc[0, alone.columns.get_loc("open")] = -1.0
    assert columns["A"].close.tolist() == [10.0, 11.0]
    assert columns["A"].open.tolist() == [9.0, 10.0]


def test_bars_that_arrays_protect_from_writing_make_a_frame_that_can_be_written():
    columns = bar_columns([bar(0, 10.0)])["A"]
    for name in ("open", "close", "open_ns"):
        getattr(columns, name).flags.writeable = False
    frame = bars_frame({"A": columns})
    frame.loc[frame.index[0], "close"] = 11.0
    assert frame["close"].tolist() == [11.0]


def test_the_equity_of_one_strategy_is_that_of_the_account():
    frame = equity_frame([(MOMENT, 100.0), (MOMENT + 1, 101.0)], ["trend"])
    assert list(frame.columns) == ["account", "trend"]
    assert frame["account"].tolist() == frame["trend"].tolist() == [100.0, 101.0]
    assert [time.value for time in frame.index] == [MOMENT, MOMENT + 1]
    assert frame.index.name == "time" and frame.index.dtype == TIME


def test_the_equity_of_several_strategies_has_a_column_each():
    frame = equity_frame([(MOMENT, 100.0, 60.0, 40.0), (MOMENT + 1, 102.0, 61.0, 41.0)], ["trend", "reversion"])
    assert frame["trend"].tolist() == [60.0, 61.0]
    assert frame["reversion"].tolist() == [40.0, 41.0]
    assert frame["account"].tolist() == [100.0, 102.0]


@pytest.mark.parametrize("names", [["trend"], ["trend", "reversion"]])
def test_empty_equity_has_the_same_columns(names):
    for empty in ([], equity_columns([]), EquityColumns(np.empty(0, np.int64), np.empty((0, 1)))):
        frame = equity_frame(empty, names)
        assert list(frame.columns) == ["account", *names]
        assert len(frame) == 0
        assert set(frame.dtypes) == {NUMBER}
        assert frame.index.dtype == TIME and frame.index.name == "time"


def test_writing_to_an_equity_frame_leaves_the_figures_alone():
    columns = EquityColumns(np.array([MOMENT]), np.array([[100.0, 60.0, 40.0]]))
    frame = equity_frame(columns, ["trend", "reversion"])
    frame["account"] = 0.0
    frame.iloc[0, 1] = 0.0
    assert columns.values.tolist() == [[100.0, 60.0, 40.0]]


def test_frames_survive_parquet_with_their_times(tmp_path):
    frame = orders_frame([order(1), order(2, limit_price=1.0)])
    frame.to_parquet(tmp_path / "orders.parquet")
    again = pandas.read_parquet(tmp_path / "orders.parquet")
    assert again.index[0].value == MOMENT
    assert again["sent"].iloc[0].value == MOMENT + 100
    assert again["status"].tolist() == ["working", "working"]
