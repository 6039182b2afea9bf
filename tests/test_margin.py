"""Margin, shorts and currencies, against tables that can be checked by hand. Money without costs unless said."""

import pytest
from msgspec.structs import replace

import qfkit as qf
from qfkit.core.costs import Costs
from qfkit.core.currencies import Currencies
from qfkit.core.engine import Engine
from qfkit.core.events import CorporateAction, Event, Flatten, Hours, Instrument, Resume, Stop, SwapStrategy
from qfkit.core.margin import Margin
from qfkit.core.risk import RiskLimits
from qfkit.core.survey import assumptions
from qfkit.errors import OrderError, ParameterError
from tests.support import DAY, MINUTE, SECOND, START, QuoteScript, Script, TickScript, bars, fills, quote, tick

REG_T = Margin.regulation_t()
DAYS = DAY // SECOND


def run(
    events, actions, *, margin=None, kind=TickScript, cash=10_000.0, costs=None, finish=False, **settings
) -> Engine:
    strategy = kind()
    strategy.actions = actions
    engine = Engine({"script": strategy}, cash=cash, costs=costs or Costs.ideal(), margin=margin, **settings)
    for event in events:
        engine.process(event)
        balanced(engine)
    if finish:
        engine.process(Stop(engine.clock_ns))
    assert not engine.exceptions, engine.exceptions
    return engine


def balanced(engine: Engine) -> None:
    for desk in engine.desks.values():
        book = desk.book
        value = book.cash + sum(p.quantity * p.market.price * p.market.rate for p in book.positions.values() if p)
        earned = book.realised + book.unrealised - book.fees + book.interest - book.borrow
        assert value == pytest.approx(book.starting_cash + earned, abs=1e-6 * book.starting_cash)
        assert book.equity == pytest.approx(value, abs=1e-6 * book.starting_cash)


def buy(quantity: float, symbol: str = "A", **prices):
    return lambda one: one.buy(symbol, quantity=quantity, **prices)


def sell(quantity: float, symbol: str = "A", **prices):
    return lambda one: one.sell(symbol, quantity=quantity, **prices)


def ticks(*prices: float, symbol: str = "A") -> list[Event]:
    return [tick(second, price, symbol=symbol) for second, price in enumerate(prices)]


def book_of(engine: Engine):
    return engine.desks["script"].book


# -- buying power --------------------------------------------------------------------------------


def test_a_purchase_on_margin_goes_as_far_as_the_initial_margin() -> None:
    # 10,000 of equity at 50 % buy for 20,000: 200 at 100. 250 are cut to that, and then nothing is left.
    engine = run(ticks(100, 100, 100, 100), {0: buy(250.0), 1: buy(1.0)}, margin=REG_T)
    assert fills(engine) == [("buy", 200.0, 100.0)]
    cut, refused = engine.records.signals
    assert (cut.decision, cut.decision_reason) == (
        "resized",
        "gross exposure with costs 2.5 over 2; initial margin with costs 12500 over 10000",
    )
    assert refused.decision == "rejected"
    assert "initial margin with costs 10050 over 10000" in refused.decision_reason
    assert (book_of(engine).cash, book_of(engine).equity) == (-10_000.0, 10_000.0)
    (view,) = engine.snapshot().margins
    assert (view.required, view.excess, view.buying_power, view.leverage) == (5_000.0, 5_000.0, 0.0, 2.0)


def test_buying_power_is_what_the_equity_above_the_initial_margin_bears() -> None:
    seen = []
    engine = run(
        ticks(100, 100, 110, 110),
        {0: lambda one: seen.append(one.buying_power) or one.buy("A", quantity=100.0), 2: lambda one: seen.append(one.buying_power)},
        margin=REG_T,
    )  # fmt: skip
    # First 10,000 / 0.5. Then equity 11,000 of which 0.5 * 11,000 are bound: 5,500 / 0.5.
    assert seen == [20_000.0, 11_000.0]
    assert engine.snapshot().margins[0].buying_power == 11_000.0


def test_costs_are_held_back_and_the_tighter_of_two_bounds_counts() -> None:
    costs = Costs(commission=0.01, slippage_bps=0.0, latency_s=0.0, participation=None)
    engine = run(ticks(100, 100), {0: buy(250.0)}, margin=Margin(initial=0.5), costs=costs)
    # 0.5 * n + 0.01 * 250 * 100 fits into 10,000: n = 19,500 (the larger order's cost is held back).
    assert fills(engine)[0][1] == pytest.approx(195.0)
    engine = run(ticks(100, 100), {0: buy(250.0)}, margin=REG_T, risk=RiskLimits(max_gross_exposure=1.0))
    assert fills(engine) == [("buy", 100.0, 100.0)]


def test_shorts_have_their_own_margin() -> None:
    # 10,000 / 0.8 = 12,500 of short sales.
    margin = Margin(initial=0.5, maintenance=0.25, short_initial=0.8, short_maintenance=0.4)
    engine = run(ticks(100, 100), {0: sell(500.0)}, margin=margin)
    assert fills(engine) == [("sell", 125.0, 100.0)]
    assert engine.snapshot().margins[0].required == 5_000.0


def test_orders_at_work_use_up_buying_power_whichever_of_them_fill() -> None:
    def many(one) -> None:
        one.buy("A", quantity=100.0, limit_price=90.0)  # 4,500 at the limit, 5,000 at the price of now
        for _ in range(4):
            one.sell("A", quantity=100.0, limit_price=100.5)

    engine = run(ticks(100, 102, 102), {0: many}, margin=Margin(initial=0.5))
    # Each sale alone would only undo the purchase, but all of them may fill and the purchase not.
    sold = sum(quantity for side, quantity, _ in fills(engine) if side == "sell")
    assert sold * 100.5 * 0.5 <= 10_000.0 * (1 + 1e-9)
    assert [one.decision for one in engine.records.signals] == ["sent", "sent", "resized", "rejected", "rejected"]


def test_exits_pass_even_under_water() -> None:
    # Bought at 100 on 50 %, at 70 the equity 4,000 is below the initial margin 7,000, not below 3,500.
    engine = run(ticks(100, 100, 70, 70, 70), {0: buy(200.0), 2: sell(150.0), 3: buy(1.0)}, margin=REG_T)
    assert fills(engine) == [("buy", 200.0, 100.0), ("sell", 150.0, 70.0), ("buy", 1.0, 70.0)]


# -- margin calls --------------------------------------------------------------------------------


def test_a_long_on_margin_is_closed_until_the_initial_margin_holds() -> None:
    #  price  value   equity  maintenance 25 %
    #   100   20,000  10,000   5,000
    #    67   13,400   3,400   3,350   still enough
    #    66   13,200   3,200   3,300   too little: 0.5 * 66 * n = 3,200 leaves n = 96.97, so 103.03 are sold
    engine = run(ticks(100, 100, 67, 66, 66, 66), {0: buy(200.0)}, margin=REG_T)
    (call,) = engine.records.margin_calls
    assert (call.kind, call.equity, call.required, call.owed) == ("margin call", 3_200.0, 3_300.0, 0.0)
    assert fills(engine)[1] == ("sell", pytest.approx(3_400.0 / 33.0), 66.0)
    assert book_of(engine).positions["A"].quantity == pytest.approx(3_200.0 / 33.0)
    assert book_of(engine).equity == pytest.approx(3_200.0)
    forced = engine.records.signals[-1]
    assert (forced.action, forced.decision, forced.order_id) == ("margin call", "sent", call.order_ids[0])
    assert forced.reason == "margin call: equity 3,200.00 is below the maintenance margin 3,300.00"
    order = next(one for one in engine.records.orders if one.order_id == call.order_ids[0])
    assert order.reason == forced.reason
    assert engine.desks["script"].state == "running"


def test_what_binds_the_most_is_closed_first() -> None:
    # 60 A at 100 and 140 B at 100, half of it borrowed; B falls to 62, A stays.
    #   value 6,000 + 8,680 = 14,680, equity 4,680; maintenance 3,670: holds. At 50: 13,000, 3,000, 3,250: a call.
    #   initial 6,500 - 3,000 = 3,500 of 3,500 that B binds: all of B goes, nothing of A.
    def both(one) -> None:
        one.buy("A", quantity=60.0)
        one.buy("B", quantity=140.0)

    events = [tick(0, 100.0, symbol="B"), *(tick(1, 100.0), tick(2, 100.0), tick(3, 100.0, symbol="B"))]
    events += [tick(4, 62.0, symbol="B"), tick(5, 50.0, symbol="B"), tick(6, 50.0, symbol="B"), tick(7, 100.0)]
    engine = run(events, {1: both}, margin=REG_T)
    (call,) = engine.records.margin_calls
    assert (call.equity, call.required, call.done) == (3_000.0, 3_250.0, "closes 140 of B")
    assert [position.symbol for position in book_of(engine).open.values()] == ["A"]


def test_a_short_is_bought_back_with_its_costs_and_slippage() -> None:
    costs = Costs(commission=0.001, slippage_bps=10.0, latency_s=0.0, participation=None)
    engine = run(ticks(100, 100, 130, 130, 130), {0: sell(150.0)}, margin=REG_T, costs=costs)
    # 150 sold at 99.90 for 14,985 less 14.985: cash 24,970.015. At 130 the equity is 5,470.015, the maintenance 5,850.
    (call,) = engine.records.margin_calls
    assert (call.equity, call.required) == (pytest.approx(5_470.015), pytest.approx(5_850.0))
    closed = engine.records.fills[1]
    assert (closed.price, closed.fee) == (pytest.approx(130.13), pytest.approx(closed.quantity * 130.13 * 0.001))
    left = -book_of(engine).positions["A"].quantity
    assert book_of(engine).equity == pytest.approx(0.5 * left * 130.0)


def test_a_call_cancels_what_is_at_work_but_the_legs_of_brackets() -> None:
    def both(one) -> None:
        one.buy("A", quantity=200.0, stop_loss=20.0)

    engine = run(ticks(100, 100, 100, 66, 66), {0: both, 1: sell(1.0, limit_price=300.0)}, margin=REG_T, risk=RiskLimits(price_collar=None, max_gross_exposure=2.0))  # fmt: skip
    orders = {order.order_id: order for order in engine.records.orders}
    assert orders[3].status == "cancelled" and orders[3].status_reason.startswith("margin call")
    assert orders[2].status == "working"


def test_a_strategy_cannot_take_a_forced_close_back_and_its_own_close_does_not_double_it() -> None:
    found = []

    def resist(one) -> None:
        (forced,) = one.orders
        one.cancel(forced.order_id)
        with pytest.raises(OrderError, match="margin call's"):
            one.modify(forced.order_id, quantity=500.0)
        found.append(one.close("A"))

    engine = run(ticks(100, 100, 66, 66, 66), {0: buy(200.0), 2: resist}, margin=REG_T)
    assert found != [None]
    # 103.03 by force and the other 96.97 by the strategy: flat, not short.
    assert sum(quantity for side, quantity, _ in fills(engine) if side == "sell") == pytest.approx(200.0)
    assert not book_of(engine).open


def test_a_forced_close_that_fills_in_parts_is_not_sent_twice_but_added_to() -> None:
    costs = replace(Costs.ideal(), participation=0.1)
    events = [*ticks(100, 100), *(tick(second, 66.0, size=100.0) for second in range(2, 5))]
    events += [tick(5, 60.0, size=100.0), tick(6, 54.0, size=100.0), tick(7, 54.0), tick(8, 54.0)]
    engine = run(events, {0: buy(200.0)}, margin=REG_T, costs=costs)
    #  price  held  cash     equity  left after the 103.03  its maintenance
    #   66     200  -10,000   3,200   -                      3,300    the first call
    #   60     170   -8,080   2,120   96.97                  1,454.5  enough
    #   54     160   -7,540   1,100   96.97                  1,309.1  0.5 * 54 * 96.97 - 1,100 = 1,518.2: 56.23 more
    first, second = engine.records.margin_calls
    assert (first.equity, first.required, first.time_ns) == (3_200.0, 3_300.0, START + 2 * SECOND)
    assert (second.equity, second.required) == (pytest.approx(1_100.0), pytest.approx(0.25 * 54 * 3_200 / 33))
    assert second.time_ns == START + 6 * SECOND
    orders = {order.order_id: order for order in engine.records.orders}
    assert orders[second.order_ids[0]].quantity == pytest.approx((27 * 3_200 / 33 - 1_100) / 27)
    book = book_of(engine)
    assert book.equity == pytest.approx(0.5 * book.positions["A"].market_value)


def test_quantities_of_a_forced_close_are_whole_steps_and_enough() -> None:
    events = [Instrument("A", START, quantity_step=1.0, minimum_notional=10.0), *ticks(100, 100, 66, 66, 66)]
    engine = run(events, {0: buy(200.0)}, margin=REG_T)
    # 103.03 are 104.
    assert fills(engine)[1] == ("sell", 104.0, 66.0)


def test_bars_are_looked_at_at_their_close_and_fill_at_the_next_open() -> None:
    rows = [(100, 100, 100, 100), (100, 100, 60, 90), (90, 91, 64, 65), (64, 65, 63, 64), (64, 64, 64, 64)]
    engine = run(bars(rows), {0: buy(200.0)}, margin=REG_T, kind=Script)
    # The low of 60 inside the second bar is not seen; the close at 65 is (3,000 below 3,250), the open at 64 fills.
    (call,) = engine.records.margin_calls
    assert (call.equity, call.required, call.time_ns) == (3_000.0, 3_250.0, START + 3 * MINUTE)
    assert fills(engine)[1] == ("sell", pytest.approx(3_500.0 / 32.5), 64.0)


def test_quotes_mark_too_where_there_are_no_trades() -> None:
    events = [quote(second, price - 1.0, price + 1.0) for second, price in enumerate((100, 100, 60, 60))]
    engine = run(events, {0: buy(190.0)}, margin=REG_T, kind=QuoteScript)
    assert [call.kind for call in engine.records.margin_calls] == ["margin call"]
    assert fills(engine)[1][0::2] == ("sell", 59.0)


def test_a_forced_close_waits_for_a_closed_market() -> None:
    hours = Hours("A", START, ((START, START + 3 * SECOND), (START + 10 * SECOND, START + 99 * SECOND)))
    engine = run(
        [hours, tick(0, 100.0), tick(1, 100.0), tick(4, 66.0), tick(5, 66.0), tick(11, 64.0)],
        {0: buy(200.0)},
        margin=REG_T,
    )
    assert fills(engine)[1][2] == 64.0
    assert "waits until" in engine.records.orders[2].status_reason


def test_a_dividend_and_a_split_are_looked_at() -> None:
    # Short 100 at 100, equity 10,000. A dividend of 60 takes 6,000 of cash and as much off the price: no change of equity.
    split = CorporateAction("A", START + 2 * SECOND, START + 2 * SECOND, split=2.0)
    engine = run([*ticks(100, 100), split, tick(3, 50.0), tick(4, 80.0), tick(5, 80.0)], {0: sell(100.0)}, margin=REG_T)
    # 200 short at 80: equity 20,000 - 16,000 = 4,000 below 0.3 * 16,000 = 4,800.
    (call,) = engine.records.margin_calls
    assert (call.equity, call.required) == (4_000.0, 4_800.0)


def test_the_end_of_the_run_leaves_no_order_and_one_strategys_end_leaves_its_forced_ones() -> None:
    engine = run(ticks(100, 100, 66), {0: buy(200.0)}, margin=REG_T)
    engine.process(Stop(engine.clock_ns, "script"))
    assert [working.is_forced for working in engine.broker.open.values()] == [True]
    engine.process(tick(3, 66.0))
    assert fills(engine)[-1][0] == "sell"
    engine = run(ticks(100, 100, 66), {0: buy(200.0)}, margin=REG_T, finish=True)
    assert not engine.broker.open


# -- zero ----------------------------------------------------------------------------------------


def test_a_gap_beyond_zero_closes_all_stops_for_good_and_shows_what_is_owed() -> None:
    #  price  cash    short    equity
    #   100   20,000  10,000   10,000
    #   250   20,000  25,000   -5,000   gone: bought back at the next price
    #   260   -6,000       0   -6,000   owed, whatever the price does then
    engine = run(ticks(100, 100, 250, 260, 50, 50), {0: sell(100.0), 4: buy(1.0)}, margin=Margin.cash())
    (call,) = engine.records.margin_calls
    assert (call.kind, call.equity, call.owed) == ("wiped out", -5_000.0, 5_000.0)
    assert call.done == "closes 100 of A, stopped for good"
    assert fills(engine) == [("sell", 100.0, 100.0), ("buy", 100.0, 260.0)]
    assert engine.records.signals[-1].action == "wiped out"
    snapshot = engine.snapshot()
    assert (snapshot.equity, snapshot.margins[0].owed, snapshot.margins[0].buying_power) == (-6_000.0, 6_000.0, 0.0)
    assert snapshot.strategies[0].state == "wiped out"
    assert snapshot.strategies[0].fault == "wiped out: equity -5,000.00 is not above zero"


def test_without_a_margin_named_an_account_cannot_trade_below_zero_either() -> None:
    engine = run(ticks(100, 100, 190, 190, 50, 50), {0: sell(100.0)})
    assert (engine.records.margin_calls, engine.snapshot().margins) == ([], ())
    engine = run(ticks(100, 100, 250, 260, 50, 50), {0: sell(100.0)})
    assert fills(engine) == [("sell", 100.0, 100.0), ("buy", 100.0, 260.0)]
    assert [call.kind for call in engine.records.margin_calls] == ["wiped out"]
    assert engine.snapshot().margins[0].owed == 6_000.0


def test_nothing_revives_a_strategy_that_lost_all() -> None:
    strategy = TickScript()
    strategy.actions = {0: sell(100.0)}
    # The other has enough for the account to go on.
    engine = Engine({"script": strategy, "other": qf.Strategy()}, cash=20_000.0, costs=Costs.ideal(), margin=REG_T)
    engine.process_all(ticks(100, 100, 250, 120))
    assert engine.snapshot().equity == 18_000.0
    desk, clock = engine.desks["script"], engine.clock_ns
    engine.steering._resolve = lambda name: TickScript
    engine.process(Resume(clock))
    engine.process(SwapStrategy(clock, "script", to="anything", parameters={}))
    engine.process(Flatten(clock))
    engine.process_all([tick(5, 120.0), tick(70, 120.0), tick(140, 120.0)])
    assert desk.state == "wiped out"
    assert desk.strategy is strategy
    assert desk.order_target("A", quantity=1.0, reason="again") is None
    assert engine.records.signals[-1].decision_reason == "the strategy is wiped out"
    assert len(engine.records.fills) == 2


def test_a_purchase_that_filled_after_a_jump_can_be_gone_too() -> None:
    # Bought for all the cash at 100, filled at 200: 10,000 borrowed. At 90 nothing is left.
    engine = run(ticks(100, 200, 90, 80), {0: buy(100.0)}, margin=Margin.cash())
    (call,) = engine.records.margin_calls
    assert (call.kind, call.equity) == ("wiped out", -1_000.0)
    assert book_of(engine).cash == -2_000.0


def test_fees_alone_can_end_an_account() -> None:
    costs = replace(Costs.ideal(), commission=lambda quantity, price: 6_000.0)
    engine = run(ticks(100, 100, 100, 100), {0: buy(1.0), 1: sell(1.0)}, margin=Margin.cash(), costs=costs)
    assert [call.equity for call in engine.records.margin_calls] == [-2_000.0]


def test_one_strategys_ruin_leaves_the_other_until_the_account_is_gone() -> None:
    class Short(qf.Strategy):
        def on_tick(self, tick) -> None:
            if tick.symbol == "A" and not self.position("A"):
                self.sell("A", quantity=50.0)

    class Long(qf.Strategy):
        def on_tick(self, tick) -> None:
            if tick.symbol == "B" and not self.position("B"):
                self.buy("B", quantity=40.0)

    engine = Engine({"short": Short(), "long": Long()}, cash=10_000.0, costs=Costs.ideal(), margin=REG_T)
    # Each has 5,000. The short loses 50 * 160 = 8,000: it owes 3,000; the long has its 5,000 and goes on.
    both = [tick(0, 100.0), tick(0, 100.0, symbol="B"), tick(1, 100.0), tick(1, 100.0, symbol="B")]
    engine.process_all([*both, tick(2, 260.0), tick(3, 260.0)])
    assert {name: desk.state for name, desk in engine.desks.items()} == {"short": "wiped out", "long": "running"}
    assert [view.owed for view in engine.snapshot().margins] == [3_000.0, 0.0]
    assert engine.snapshot().equity == 2_000.0
    # B halves and more: 5,000 - 2,400 is less than the 3,000 owed. At the next mark the account is over.
    engine.process_all([tick(61, 40.0, symbol="B"), tick(121, 40.0, symbol="B"), tick(122, 40.0, symbol="B")])
    assert engine.desks["long"].state == "wiped out"
    assert engine.records.margin_calls[-1].strategy == "long"
    assert engine.records.fills[-1].reason == "wiped out: the account's equity -400.00 is not above zero"


# -- nights --------------------------------------------------------------------------------------


def test_a_short_over_three_nights() -> None:
    #  midnight  price  short   borrowing at 3.65 %  cash before  less the short  interest at 7.3 %
    #     1        50   5,000        0.50            15,000.00      10,000.00           2.00
    #     2        52   5,200        0.52            15,001.50       9,801.50           1.9603
    #     3        49   4,900        0.49            15,002.9403    10,102.9403         2.02058806
    margin = Margin(0.5, 0.25, 0.5, 0.3, borrow_rate=0.05, borrow_rates={"A": 0.0365}, cash_rate=0.073)
    hour = 3_600
    events = [tick(10 * hour, 50.0), tick(11 * hour, 50.0), tick(34 * hour, 52.0), tick(58 * hour, 49.0)]
    events.append(tick(82 * hour, 49.0))
    engine = run(events, {0: sell(100.0)}, margin=margin)
    book = book_of(engine)
    assert book.borrow == pytest.approx(1.51)
    assert book.interest == pytest.approx(2.0 + 1.96030 + 2.02058806)
    assert book.cash == pytest.approx(15_000.0 - book.borrow + book.interest)
    rows = [(one.kind, one.symbol, one.balance, one.nights, one.amount) for one in engine.records.financing]
    assert rows[:2] == [
        ("borrow", "A", 5_000.0, 1, pytest.approx(-0.5)),
        ("interest", "", 10_000.0, 1, pytest.approx(2.0)),
    ]
    assert [(one.time_ns - START) // DAY for one in engine.records.financing] == [1, 1, 2, 2, 3, 3]
    assert (engine.snapshot().borrow, engine.snapshot().interest) == (book.borrow, book.interest)


def test_borrowed_cash_costs_and_the_proceeds_of_a_short_pay_for_nothing() -> None:
    def both(one) -> None:
        one.buy("A", quantity=150.0)
        one.sell("B", quantity=50.0)

    events = [tick(0, 100.0, symbol="B"), tick(1, 100.0), tick(2, 100.0), tick(2, 100.0, symbol="B")]
    margin = Margin(initial=0.4, maintenance=0.2, loan_rate=0.0365)
    engine = run([*events, tick(DAYS + 5, 100.0)], {1: both}, margin=margin)
    # Cash is 10,000 - 15,000 + 5,000 = 0, but the 5,000 of the short are security: 5,000 are borrowed.
    assert [(one.balance, one.amount) for one in engine.records.financing] == [(-5_000.0, pytest.approx(-0.5))]


def test_a_weekend_is_three_nights_and_is_charged_before_the_first_trade_after_it() -> None:
    margin = Margin(0.5, 0.25, borrow_rate=0.0365)
    events = [tick(10, 100.0), tick(11, 100.0), tick(12, 100.0), tick(3 * DAYS + 30, 110.0), tick(3 * DAYS + 31, 110.0)]
    engine = run(events, {0: sell(50.0), 1: buy(50.0, limit_price=120.0)}, margin=margin)
    # Bought back at once: no night. And one that is held until Monday's first tick:
    assert not engine.records.financing
    engine = run(events, {0: sell(50.0), 2: lambda one: one.close("A")}, margin=margin)
    assert [(one.nights, one.balance, one.amount) for one in engine.records.financing] == [
        (3, 5_000.0, pytest.approx(-1.5))
    ]
    assert fills(engine)[1] == ("buy", 50.0, 110.0)


def test_daily_bars_charge_who_holds_at_the_close_and_not_who_closed_at_the_open() -> None:
    margin = Margin(0.5, 0.25, borrow_rate=0.0365)
    days = [
        qf.Bar("A", "1d", 100.0, 100.0, 100.0, 100.0, 1e9, START + n * DAY, START + (n + 1) * DAY) for n in range(6)
    ]
    engine = run(days, {0: sell(50.0), 2: lambda one: one.close("A")}, margin=margin, kind=Script, finish=True)
    # Sold at the open of day 1, bought at the open of day 3: the midnights that end the days 1 and 2.
    assert [(one.time_ns - START) // DAY for one in engine.records.financing] == [2, 3]
    assert book_of(engine).borrow == pytest.approx(1.0)


def test_cash_earns_from_the_first_midnight_on() -> None:
    days = [
        qf.Bar("A", "1d", 100.0, 100.0, 100.0, 100.0, 1e9, START + n * DAY, START + (n + 1) * DAY) for n in range(3)
    ]
    engine = run(days, {}, margin=Margin(cash_rate=0.365), kind=Script, finish=True)
    assert [one.amount for one in engine.records.financing] == pytest.approx([10.0, 10.01, 10.02001])
    # The last close's equity has the last night in it.
    assert engine.records.equity[-1] == (START + 3 * DAY, pytest.approx(10_030.03001))


def test_a_night_can_be_the_one_that_is_too_much() -> None:
    margin = Margin(0.5, 0.25, loan_rate=36.5)
    engine = run([*ticks(100, 100, 70), tick(2 * DAYS, 70.0), tick(2 * DAYS + 1, 70.0)], {0: buy(200.0)}, margin=margin)
    # 10,000 borrowed at 10 % a night for two nights: 4,000 of equity become 2,000, under 3,500.
    (call,) = engine.records.margin_calls
    assert (call.equity, call.required) == (pytest.approx(2_000.0), 3_500.0)


# -- currencies ----------------------------------------------------------------------------------

SAP = Currencies("USD", {"SAP.DE": "EUR"})


def test_a_euro_share_in_a_dollar_account_with_a_moving_rate() -> None:
    #           SAP   EURUSD  held  value in USD  cost in USD  unrealised  realised  cash
    #  bought   100    1.10   100    11,000         11,000         0           0     89,000
    #  up       110    1.05   100    11,550         11,000       550           0     89,000
    #  half     110    1.05    50     5,775          5,500       275         275     94,775
    #  rate     110    1.20    50     6,600          5,500     1,100         275     94,775
    events = [tick(0, 1.1, symbol="EURUSD=X"), tick(1, 100.0, symbol="SAP.DE"), tick(2, 100.0, symbol="SAP.DE")]
    events += [tick(3, 1.05, symbol="EURUSD=X"), tick(4, 110.0, symbol="SAP.DE")]
    actions = {1: buy(100.0, "SAP.DE"), 4: sell(50.0, "SAP.DE")}
    engine = run(events, actions, cash=100_000.0, currency=SAP)
    book = book_of(engine)
    assert (book.cash, book.equity) == (pytest.approx(89_000.0), pytest.approx(100_550.0))
    assert book.unrealised == pytest.approx(550.0)
    engine.process(tick(5, 110.0, symbol="SAP.DE"))
    assert (book.cash, book.realised) == (pytest.approx(94_775.0), pytest.approx(275.0))
    engine.process(tick(6, 1.2, symbol="EURUSD=X"))
    assert (book.unrealised, book.equity) == (pytest.approx(1_100.0), pytest.approx(101_375.0))
    balanced(engine)
    (view,) = engine.snapshot().positions
    assert (view.currency, view.rate, view.average_price, view.price) == ("EUR", 1.2, 100.0, 110.0)
    assert [(fill.price, fill.rate) for fill in engine.records.fills] == [(100.0, 1.1), (110.0, 1.05)]


def test_fees_and_trades_are_in_the_accounts_currency() -> None:
    events = [tick(0, 2.0, symbol="EURUSD=X"), *(tick(1 + n, 100.0, symbol="SAP.DE") for n in range(2))]
    events += [tick(4, 1.5, symbol="EURUSD=X"), *(tick(5 + n, 120.0, symbol="SAP.DE") for n in range(2))]
    costs = replace(Costs.ideal(), commission=0.01)
    actions = {1: buy(10.0, "SAP.DE"), 4: lambda one: one.close("SAP.DE")}
    engine = run(events, actions, currency=SAP, costs=costs)
    # 1 % of 1,000 EUR at 2.0, then of 1,200 EUR at 1.5.
    assert [fill.fee for fill in engine.records.fills] == [20.0, 18.0]
    (trade,) = engine.records.trades
    # 1,800 for 2,000, less the fees: the share gained, the euro lost more.
    assert (trade.entry_price, trade.exit_price, trade.pnl) == (100.0, 120.0, pytest.approx(-238.0))
    assert trade.return_ == pytest.approx(-238.0 / 2_000.0)


def test_without_a_rate_there_is_no_order_and_the_reason_says_what_to_do() -> None:
    def all_ways(one) -> None:
        one.buy("SAP.DE", quantity=1.0)
        one.buy("SAP.DE", notional=100.0)
        one.buy("SAP.DE")
        one.order_target("SAP.DE", weight=0.5)

    events = [tick(0, 100.0, symbol="SAP.DE"), tick(1, 1.1, symbol="EURUSD"), tick(2, 100.0, symbol="SAP.DE")]
    engine = run([*events, tick(3, 100.0, symbol="SAP.DE")], {0: all_ways, 2: buy(2.0, "SAP.DE")}, currency=SAP)
    refused = engine.records.signals[:4]
    assert {one.decision for one in refused} == {"rejected"}
    assert all(one.decision_reason.startswith("no rate of EUR in USD yet: let EURUSD be among") for one in refused)
    assert fills(engine) == [("buy", 2.0, 100.0)]


def test_sizes_by_money_and_weight_are_in_the_accounts_currency() -> None:
    events = [tick(0, 2.0, symbol="EURUSD"), tick(1, 50.0, symbol="SAP.DE"), tick(2, 50.0, symbol="SAP.DE")]
    ways = (
        (lambda one: one.buy("SAP.DE", notional=1_000.0), {}, 10.0),
        (lambda one: one.buy("SAP.DE", weight=0.5), {}, 50.0),
        (lambda one: one.rebalance({"SAP.DE": 0.5}), {}, 50.0),
        (lambda one: one.buy("SAP.DE"), {"sizer": qf.sizing.FractionOfEquity(0.2)}, 20.0),
        (lambda one: one.buy("SAP.DE"), {"sizer": qf.sizing.FixedNotional(500.0)}, 5.0),
        # A tenth of 10,000 USD, which are 5,000 EUR, at a risk of 5 EUR a share: 100.
        (lambda one: one.buy("SAP.DE", stop_loss=45.0), {"sizer": qf.sizing.RiskPerTrade(0.1)}, 100.0),
        # The gross exposure of 1.0 is 100 shares of 100 USD.
        (lambda one: one.buy("SAP.DE", quantity=1_000.0), {}, 100.0),
    )
    for action, settings, quantity in ways:
        engine = run(events, {1: action}, currency=SAP, **settings)
        assert fills(engine) == [("buy", pytest.approx(quantity), 50.0)]


@pytest.mark.parametrize(
    ("symbol", "currency", "rates", "source", "price", "rate"),
    [
        ("T", "JPY", {}, "USDJPY=X", 150.0, 1 / 150.0),
        ("T", "JPY", {}, "JPY=X", 150.0, 1 / 150.0),
        ("T", "EUR", {}, "EUR-USD", 1.1, 1.1),
        ("T", "EUR", {"EUR": "EUR/USD"}, "EUR/USD", 1.1, 1.1),
        ("T", "JPY", {"JPY": "USDJPY"}, "USDJPY", 150.0, 1 / 150.0),
        ("ETHBTC", "BTC", {"USDT": 1.0}, "BTCUSDT", 60_000.0, 60_000.0),
        ("ETHBTC", "BTC", {"USDT": 0.5}, "BTCUSDT", 60_000.0, 30_000.0),
        ("BTCUSDT", "USDT", {"USDT": 1.0}, None, 0.0, 1.0),
        ("VOD.L", "GBp", {}, "GBPUSD=X", 1.25, 0.0125),
    ],
)
def test_where_rates_come_from(symbol, currency, rates, source, price, rate) -> None:
    events: list[Event] = [Instrument(symbol, START, currency=currency), tick(0, 7.0, symbol=symbol)]
    if source is not None:
        events.append(tick(1, price, symbol=source))
    engine = run(events, {}, currency=Currencies("USD", {}, rates))
    assert engine.tracks[symbol].market.rate == pytest.approx(rate)


def test_a_cross_goes_through_two_rates_and_moves_with_both() -> None:
    currencies = Currencies("USD", {"N": "CHF"}, {"CHF": "CHFEUR", "EUR": "EURUSD"})
    events = [tick(0, 1.1, symbol="EURUSD"), tick(0, 0.9, symbol="CHFEUR"), tick(1, 10.0, symbol="N")]
    engine = run([*events, tick(2, 10.0, symbol="N")], {0: buy(10.0, "N")}, currency=currencies)
    assert fills(engine) == [("buy", 10.0, 10.0)]
    assert engine.tracks["N"].market.rate == pytest.approx(0.99)
    engine.process(tick(3, 1.2, symbol="EURUSD"))
    engine.process(tick(3, 1.0, symbol="CHFEUR"))
    assert engine.tracks["N"].market.rate == pytest.approx(1.2)
    assert book_of(engine).equity == pytest.approx(10_000.0 + 100.0 * (1.2 - 0.99))


def test_a_symbol_named_as_a_rate_is_not_heard_by_strategies() -> None:
    heard = []

    class Hears(qf.Strategy):
        def on_tick(self, tick) -> None:
            heard.append((tick.symbol, self.symbols))

    for rates, expected in (({"EUR": "EURUSD=X"}, {"SAP.DE"}), ({}, {"SAP.DE", "EURUSD=X"})):
        heard.clear()
        currency = Currencies("USD", {"SAP.DE": "EUR"}, rates)
        engine = Engine({"one": Hears()}, cash=1.0, currency=currency)
        engine.process_all([tick(0, 1.1, symbol="EURUSD=X"), tick(1, 100.0, symbol="SAP.DE")])
        assert {symbol for symbol, _ in heard} == expected == set(heard[-1][1])
        assert engine.tracks["SAP.DE"].market.rate == 1.1


def test_the_currency_of_a_symbol_that_is_held_stays() -> None:
    events = [tick(0, 1.1, symbol="EURUSD"), *(tick(n, 100.0) for n in (1, 2))]
    engine = run(events, {1: buy(1.0)}, currency="USD")
    engine.process(Instrument("A", engine.clock_ns, currency="EUR"))
    assert (engine.tracks["A"].market.rate, book_of(engine).equity) == (1.0, 10_000.0)


def test_a_rate_alone_can_be_the_margin_call() -> None:
    events = [tick(0, 1.0, symbol="EURUSD"), tick(1, 100.0, symbol="SAP.DE"), tick(2, 100.0, symbol="SAP.DE")]
    events += [tick(3, 0.66, symbol="EURUSD"), tick(4, 100.0, symbol="SAP.DE")]
    engine = run(events, {1: buy(200.0, "SAP.DE")}, currency=SAP, margin=REG_T)
    # As the first table, the fall is the euro's.
    (call,) = engine.records.margin_calls
    assert (call.equity, call.required) == (pytest.approx(3_200.0), pytest.approx(3_300.0))
    assert fills(engine)[1] == ("sell", pytest.approx(3_400.0 / 33.0), 100.0)


def test_currencies_are_not_kept_apart_unless_a_base_is_named() -> None:
    events = [Instrument("A", START, currency="USDT"), *ticks(100, 100)]
    assert fills(run(events, {0: buy(1.0)})) == [("buy", 1.0, 100.0)]
    engine = run(events, {0: buy(1.0)}, currency="USD")
    assert engine.records.signals[0].decision_reason.startswith("no rate of USDT in USD yet")
    assert "account in USD" in assumptions(engine)


def test_a_dividend_is_paid_at_the_rate_of_the_day() -> None:
    dividend = CorporateAction("SAP.DE", START + 3 * SECOND, START + 3 * SECOND, dividend=2.0)
    events = [tick(0, 1.5, symbol="EURUSD"), *(tick(n, 100.0, symbol="SAP.DE") for n in (1, 2)), dividend]
    engine = run(events, {1: buy(10.0, "SAP.DE")}, currency=SAP)
    assert (book_of(engine).realised, book_of(engine).equity) == (30.0, 10_000.0)


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Margin(initial=0.0), r"initial=0\.0\): a fraction above zero"),
        (lambda: Margin(initial=0.2, maintenance=0.3), "at least the maintenance"),
        (lambda: Margin(maintenance=0.3), "at least the maintenance"),
        (lambda: Margin(initial=0.5, short_maintenance=0.6), "at least the maintenance"),
        (lambda: Margin(initial=2.0, maintenance=1.5), "at most 1"),
        (lambda: Margin(short_initial=0.5), "give initial= too"),
        (lambda: Margin(borrow_rate=-0.1), r"borrow_rate=-0\.1"),
        (lambda: Margin(borrow_rates={"A": float("nan")}), "'A': nan"),
        (lambda: Margin(cash_rate=float("inf")), "finite"),
        (lambda: Margin.crypto(0.5), "1 or more"),
        (lambda: Currencies(""), "name the account's currency"),
        (lambda: Currencies("USD", rates={"USD": 1.0}), "that is the base"),
        (lambda: Currencies("USD", rates={"EUR": -1.0}), "above zero"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, message) -> None:
    with pytest.raises(ParameterError, match=message):
        make()


def test_presets() -> None:
    assert Margin.crypto(4.0).initial == 0.25
    assert Margin.crypto(4.0).maintenance == 0.125
    assert Margin.crypto(4.0).limits_within(RiskLimits()).max_gross_exposure == 4.0
    assert REG_T.limits_within(RiskLimits()).max_gross_exposure == 2.0
    assert Margin.cash().limits_within(RiskLimits()).max_gross_exposure == 1.0
    assert REG_T.limits_within(RiskLimits(max_gross_exposure=0.5)).max_gross_exposure == 0.5
    assert (Margin.cash(), Margin.cash().describe()) == (Margin(), "")
    engine = run(ticks(100), {}, margin=Margin.regulation_t(borrow_rate=0.02))
    assert assumptions(engine)[1] == (
        "initial margin 0.5 long and 0.5 short, maintenance 0.25 and 0.3; "
        "a year: borrowed shares 2 %, borrowed cash 0 %, cash 0 %, by the night"
    )
