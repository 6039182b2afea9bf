"""Every frame of a session: a time index with its zone and name, and no column of a kind that cannot be reckoned with."""

import pandas as pd
import pytest
from test_manual import Desk
from test_manual import tick as hand_tick

import qfkit as qf

RECORDS = (
    "orders", "fills", "signals", "checks", "trades", "equity", "bars", "log", "alerts", "deliveries", "stops",
    "transfers", "margin_calls", "financing", "assessments",
)  # fmt: skip
NOW = ("positions", "limits", "metrics", "health")
TIMES = pd.DatetimeTZDtype("ns", "UTC")


class Loud(qf.Strategy):
    def on_bar(self, bar: qf.Bar) -> None:
        print("closed at", bar.close)
        if bar.close > 110:
            raise ValueError("too high")
        self.buy(bar.symbol, quantity=1.0, stop_loss=bar.close * 0.9, take_profit=bar.close * 1.2, reason="always")


@pytest.fixture
def desk(tmp_path) -> Desk:
    """A session with something in most of its frames."""
    desk = Desk(
        tmp_path,
        {"loud": Loud, "other": Loud},
        cash=10_000,
        risk=qf.RiskLimits(max_position_quantity=3.0, max_drawdown=0.2),
        alerts=[qf.alerts.PriceAbove("A", 105.0)],
        margin=qf.Margin.regulation_t(borrow_rate=0.05, loan_rate=0.06),
        allocation=qf.Allocation("equal", every="1d"),
        assess_every_s=60.0,
    )
    day = 86_400
    for second, price in enumerate((100, 101, 102, 103, 104, 106, 90, 95, 96, 111)):
        desk.give(hand_tick(61 * second, price), hand_tick(61 * second + 1, price))
    desk.session.sell("A", quantity=30, strategy="other")
    desk.give(hand_tick(700, 100), hand_tick(701, 100), hand_tick(day + 1, 101), hand_tick(day + 70, 102))
    desk.session.block_entries("other")
    desk.give(hand_tick(day + 140, 101))
    return desk


def test_frames_have_a_zone_a_name_and_sensible_kinds(desk) -> None:
    session = desk.session
    filled = 0
    for name in RECORDS:
        frame = getattr(session, name)
        filled += not frame.empty
        assert frame.index.dtype == TIMES, name
        assert frame.index.name == "time", name
        for column, kind in frame.dtypes.items():
            assert not pd.api.types.is_object_dtype(kind), (name, column)
            if isinstance(kind, pd.DatetimeTZDtype):
                assert kind == TIMES, (name, column)
            # A time or an id that became a float would have lost its end.
            if column.endswith("_id"):
                assert str(kind) in ("int64", "Int64"), (name, column)
    assert filled >= 11
    for name in NOW:
        frame = getattr(session, name)
        assert not frame.empty, name
        assert all(frame.index.names), name
        for column, kind in frame.dtypes.items():
            assert not pd.api.types.is_object_dtype(kind), (name, column)
    desk.end()


def test_empty_frames_have_the_same_columns_and_kinds(desk, tmp_path) -> None:
    empty = Desk(tmp_path / "empty", {"loud": Loud, "other": Loud}, name="empty").session
    for name in RECORDS:
        pd.testing.assert_frame_equal(getattr(empty, name), getattr(desk.session, name).iloc[:0], check_index_type=True)
    empty.stop()
    desk.end()


def test_signals_orders_fills_and_trades_can_be_joined(desk) -> None:
    session = desk.session
    orders, fills, signals = session.orders, session.fills, session.signals
    told = fills.reset_index().merge(orders.reset_index(drop=True), on="order_id", suffixes=("", "_of_order"))
    assert len(told) == len(fills)
    assert (told.strategy == told.strategy_of_order).all()
    whole = told.merge(signals.reset_index(drop=True), on="signal_id", how="left", suffixes=("", "_of_signal"))
    assert whole.action.notna().all()
    # The average price is that of the fills, and a leg knows its entry.
    own = (fills.price * fills.quantity).groupby(fills.order_id).sum() / fills.quantity.groupby(fills.order_id).sum()
    filled = orders.set_index("order_id").average_price.dropna()
    pd.testing.assert_series_equal(filled, own.loc[filled.index], check_names=False)
    legs = orders[orders.parent_id.notna()]
    assert set(legs.parent_id) <= set(orders.order_id)
    assert (
        legs.reason
        == legs.type.map({"stop": "stop-loss", "limit": "take-profit"}) + " of order " + legs.parent_id.astype(str)
    ).all()
    assert (orders[orders.status == "cancelled"].status_reason != "").all()
    assert fills.fill_id.is_unique
    # A round trip knows the orders that began and ended it.
    trades = session.trades
    assert len(trades) > 1
    by_order = orders.set_index("order_id")
    for trade in trades.itertuples():
        entry, exit_ = by_order.loc[trade.entry_order_id], by_order.loc[trade.exit_order_id]
        assert (entry.side, exit_.side) == (("buy", "sell") if trade.side == "long" else ("sell", "buy"))
        assert {entry.strategy, exit_.strategy} == {trade.strategy}
        assert entry.decided < exit_.updated
    desk.end()


def test_a_fill_bears_the_rate_of_its_currency() -> None:
    class Buys(qf.Strategy):
        def on_tick(self, tick: qf.Tick) -> None:
            if tick.symbol == "A" and not self.orders and not self.position("A"):
                self.buy("A", quantity=1.0)

    events = [hand_tick(0, 1.25, symbol="EURUSD"), hand_tick(1, 100), hand_tick(2, 100)]
    currency = qf.Currencies("USD", {"A": "EUR"})
    result = qf.backtest(Buys(), events, currency=currency, costs=qf.Costs.ideal())
    assert result.fills.rate.tolist() == [1.25]
    plain = qf.backtest(Buys(), [hand_tick(0, 100), hand_tick(1, 100)], costs=qf.Costs.ideal())
    assert plain.fills.rate.tolist() == [1.0]
