"""Splits and dividends while a session runs: hand-worked, and nothing is won or lost by them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import CorporateAction, Event, SetParameters
from qfkit.core.indicators import SMA
from qfkit.core.strategy import Param, Strategy
from tests.support import START, TickScript, bars, fills, run, tick


def action(seconds: float, *, split: float = 1.0, dividend: float = 0.0) -> CorporateAction:
    time_ns = START + round(seconds * 1e9)
    return CorporateAction("A", time_ns, time_ns, split, dividend)


def held(events: list[Event], quantity: float = 100.0) -> Engine:
    """Buys at 100 on the second trade, or sells short."""
    order = (lambda one: one.buy("A", quantity=quantity)) if quantity > 0 else (lambda one: one.sell("A", quantity=-quantity))  # fmt: skip
    return run([tick(0, 100.0), tick(1, 100.0), *events], {0: order}, kind=TickScript, finish=False)


@pytest.mark.parametrize("quantity", [100.0, -100.0])
def test_a_split_changes_quantity_and_basis_and_no_money(quantity: float) -> None:
    engine = held([action(2, split=4.0)], quantity)
    (position,) = engine.snapshot().positions
    assert (position.quantity, position.average_price, position.price) == (4 * quantity, 25.0, 25.0)
    assert engine.snapshot().equity == 1_000_000.0
    engine.process(tick(3, 26.0))
    assert engine.snapshot().equity == 1_000_000.0 + 4 * quantity


def test_a_reverse_split() -> None:
    engine = held([action(2, split=0.1), tick(3, 1_010.0)])
    (position,) = engine.snapshot().positions
    assert (position.quantity, position.average_price) == (10.0, 1_000.0)
    assert engine.snapshot().equity == pytest.approx(1_000_100.0, abs=1e-6)


@pytest.mark.parametrize(("quantity", "cash"), [(100.0, 50.0), (-100.0, -50.0)])
def test_a_dividend_is_paid_in_cash_and_the_price_falls_by_it(quantity: float, cash: float) -> None:
    engine = held([], quantity)
    before = engine.snapshot()
    engine.process(action(2, dividend=0.5))
    after = engine.snapshot()
    assert after.cash - before.cash == cash
    assert after.realised == cash
    assert after.equity == before.equity
    engine.process(tick(3, 99.5))
    assert engine.snapshot().equity == before.equity


def test_a_round_trip_over_a_split_and_a_dividend() -> None:
    def act(one) -> None:
        one.close("A")

    engine = run(
        [
            tick(0, 100.0), tick(1, 100.0), action(2, dividend=1.0), action(3, split=2.0), tick(4, 52.0), tick(5, 53.0),
        ],
        {0: lambda one: one.buy("A", quantity=100.0), 2: act},
        kind=TickScript,
    )  # fmt: skip
    assert fills(engine) == [("buy", 100.0, 100.0), ("sell", 200.0, 53.0)]
    (trade,) = engine.records.trades
    # Bought for 10,000; 100 of dividend; sold for 10,600.
    assert trade.pnl == pytest.approx(700.0)
    assert engine.snapshot().equity == pytest.approx(1_000_700.0)


def test_working_orders_are_adjusted() -> None:
    engine = run(
        [tick(0, 100.0), action(1, split=4.0), tick(2, 25.0), tick(3, 22.0)],
        {0: lambda one: one.buy("A", quantity=10.0, limit_price=90.0)},
        kind=TickScript,
    )
    assert fills(engine) == [("buy", 40.0, 22.5)]
    adjusted = next(order for order in engine.records.orders if "split" in order.status_reason)
    assert (adjusted.quantity, adjusted.limit_price) == (40.0, 22.5)
    assert adjusted.status_reason == "adjusted for a split of 4 for 1"


class Average(Strategy):
    length = Param(3, low=1, high=50)

    def setup(self) -> None:
        self.average = self.indicator(SMA, self.length)

    def on_start(self) -> None:
        self.seen: list[float] = []

    def on_bar(self, bar) -> None:
        self.seen.append(self.average[bar.symbol].value)


def test_indicators_and_bars_go_on_in_new_shares() -> None:
    before = bars([(100.0, 101.0, 99.0, price) for price in (100.0, 101.0, 99.0, 100.0)])
    after = bars([(25.0, 25.5, 24.5, price) for price in (0.0,) * 4 + (25.0, 26.0)])[4:]
    strategy = Average()
    engine = Engine({"one": strategy}, cash=1_000.0, costs=Costs.ideal())
    engine.process_all(before)
    engine.process(CorporateAction("A", before[-1].close_ns, before[-1].close_ns, split=4.0))
    engine.process_all(after)
    assert not engine.exceptions
    assert strategy.seen == pytest.approx([100.0, 100.0, (99 + 100) / 4 / 3 + 25 / 3, 100 / 4 / 3 + 51 / 3])


def test_an_action_of_a_symbol_never_seen_changes_nothing() -> None:
    engine = held([CorporateAction("ZZZ", START, START + 2 * 10**9, 4.0, 1.0)])
    assert engine.snapshot().equity == 1_000_000.0
    assert "ZZZ" not in engine.tracks


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("split"), st.sampled_from((0.1, 0.5, 2.0, 3.0, 7.0, 20.0))),
            st.tuples(st.just("dividend"), st.floats(0.0, 0.5)),
            st.tuples(st.just("price"), st.floats(0.9, 1.1)),
        ),
        max_size=12,
    ),
    st.sampled_from((100.0, -100.0)),
)
def test_books_balance_whatever_happens(steps: list[tuple[str, float]], quantity: float) -> None:
    engine = held([], quantity)
    price, seconds = 100.0, 2.0
    for kind, value in steps:
        seconds += 1.0
        before = engine.snapshot().equity
        if kind == "price":
            price *= value
            engine.process(tick(seconds, price))
        else:
            dividend = value * price * 0.1 if kind == "dividend" else 0.0
            split = value if kind == "split" else 1.0
            engine.process(action(seconds, split=split, dividend=dividend))
            price = (price - dividend) / split
            assert engine.snapshot().equity == pytest.approx(before, abs=1e-6)
        book = engine.desks["script"].book
        worth = book.cash + sum(position.market_value for position in book.positions.values())
        assert worth == pytest.approx(book.starting_cash + book.realised + book.unrealised - book.fees, abs=1e-5)
    engine.process(SetParameters(engine.clock_ns, parameters={}))
