"""Fills, one rule at a time, against numbers worked by hand."""

from math import nan

import pytest
from support import MINUTE, START, QuoteScript, TickScript, bar, bars, fills, quote, run, statuses, tick

from qfkit.core.costs import Commission, Costs
from qfkit.core.events import Bar
from qfkit.core.orders import Side
from qfkit.core.risk import RiskLimits
from qfkit.errors import OrderError, ParameterError

THROUGH = Costs(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=None, limit_fills="through")

# Open, high, low, close: each row is a bar; the script acts on the close of a bar.
RISE = [(100, 101, 99, 100), (100, 102, 99, 101), (102, 106, 101, 105), (105, 107, 104, 106), (106, 107, 98, 99)]


def buy(**arguments):
    return lambda strategy: strategy.buy("A", quantity=10, **arguments)


def sell(**arguments):
    return lambda strategy: strategy.sell("A", quantity=10, **arguments)


def test_market_order_fills_at_the_next_open():
    engine = run(bars(RISE), {1: buy()})
    assert fills(engine) == [("buy", 10, 102.0)]
    fill = engine.records.fills[0]
    assert fill.time_ns == START + 2 * MINUTE
    assert fill.received_ns == START + 3 * MINUTE


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"limit_price": 99.5}, [("buy", 10, 99.5)]),  # bar 1 trades down to 99
        ({"limit_price": 99.0}, [("buy", 10, 99.0)]),  # bar 1 only touches; bar 4 trades to 98
        ({"limit_price": 97.0}, []),
        ({"limit_price": 103.0}, [("buy", 10, 100.0)]),  # the open of bar 1 is better
        ({"stop_price": 101.5}, [("buy", 10, 101.5)]),  # bar 1 reaches 102
        ({"stop_price": 103.0}, [("buy", 10, 103.0)]),  # bar 2 opens at 102 and reaches 106
        ({"stop_price": 102.0}, [("buy", 10, 102.0)]),  # bar 1 touches: a stop fires at a touch
        ({"stop_price": 108.0}, []),
        ({"stop_price": 103.0, "limit_price": 104.0}, [("buy", 10, 103.0)]),  # 103 is through the limit
        ({"stop_price": 104.0, "limit_price": 102.0}, [("buy", 10, 102.0)]),  # waits; bar 4 comes back
    ],
)
def test_buy_orders_on_bars(arguments, expected):
    assert fills(run(bars(RISE), {0: buy(**arguments)}, costs=THROUGH)) == expected


def test_touch_option():
    assert run(bars(RISE), {0: buy(limit_price=99.0)}, costs=THROUGH).records.fills[0].time_ns == START + 5 * MINUTE
    ideal = run(bars(RISE), {0: buy(limit_price=99.0)})
    assert ideal.records.fills[0].time_ns == START + 2 * MINUTE


def test_a_stop_fills_at_the_worse_of_stop_and_open():
    gap = [(100, 101, 99, 100), (100, 101, 99, 100), (90, 92, 88, 91), (91, 92, 90, 91)]
    engine = run(bars(gap), {0: lambda s: s.buy("A", quantity=10), 1: sell(stop_price=95.0)})
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, 90.0)]


def test_sell_limit_at_a_better_open():
    engine = run(bars(RISE), {0: buy(), 1: sell(limit_price=101.5)}, costs=THROUGH)
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, 102.0)]


def test_trailing_stop_follows_and_fires():
    # Bought at 100. The trail of 3 under the best price: bar 2's high of 106 lifts it to 103,
    # bar 3's high of 107 to 104 (its low of 104 came before or after, its close of 106 stays above);
    # bar 4 opens at 106 and falls to 98: out at 104.
    engine = run(bars(RISE), {0: buy(), 1: sell(trail=3.0)})
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, 104.0)]


def test_trailing_stop_by_fraction_fires_at_the_close_that_is_surely_after_the_high():
    rows = [(100, 100, 100, 100), (100, 100, 100, 100), (100, 120, 99, 101), (101, 101, 101, 101)]
    engine = run(bars(rows), {0: buy(), 1: sell(trail_fraction=0.1)})
    # High of 120: the stop is at 108, the close of 101 lies below it.
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, 108.0)]


def test_bracket_where_one_bar_touches_both_the_stop_counts():
    rows = [(100, 100, 100, 100), (100, 101, 99, 100), (100, 111, 94, 105), (105, 105, 105, 105)]
    engine = run(bars(rows), {0: buy(stop_loss=95.0, take_profit=110.0)}, costs=THROUGH)
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, 95.0)]
    assert statuses(engine) == {1: "filled", 2: "filled", 3: "cancelled"}


def test_bracket_target_already_passed_at_the_open_counts_before_the_stop():
    rows = [(100, 100, 100, 100), (100, 101, 99, 100), (112, 113, 94, 105), (105, 105, 105, 105)]
    engine = run(bars(rows), {0: buy(stop_loss=95.0, take_profit=110.0)}, costs=THROUGH)
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, 112.0)]


def test_bracket_target_beyond_the_whole_bar_of_its_entry_fills_within_it():
    # Sold short at the open of 90: the target of 99 lies above all that traded, so it is met at the worst of it.
    rows = [(100, 101, 99, 100), (90, 92, 88, 91), (91, 92, 90, 91)]

    def short(strategy):
        return strategy.sell("A", quantity=10, stop_loss=120.0, take_profit=99.0)

    assert fills(run(bars(rows), {0: short}, costs=THROUGH)) == [("sell", 10, 90.0), ("buy", 10, 92.0)]


def test_bracket_stopped_in_the_bar_of_its_own_entry():
    rows = [(100, 100, 100, 100), (100, 101, 94, 96), (96, 97, 95, 96)]
    engine = run(bars(rows), {0: buy(stop_loss=95.0, take_profit=110.0)}, costs=THROUGH)
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, 95.0)]


def test_limit_entry_inside_a_bar_counts_its_stop_but_not_its_target():
    rows = [(100, 100, 100, 100), (100, 120, 97, 99), (99, 99, 99, 99)]
    bracket = buy(limit_price=98.0, stop_loss=95.0, take_profit=110.0)
    engine = run(bars(rows), {0: bracket}, costs=THROUGH)
    assert fills(engine) == [("buy", 10, 98.0)]
    rows[1] = (100, 120, 94, 99)
    assert fills(run(bars(rows), {0: bracket}, costs=THROUGH)) == [("buy", 10, 98.0), ("sell", 10, 95.0)]


def test_stop_entry_is_not_stopped_by_the_prices_on_the_way_to_it():
    rows = [(100, 100, 100, 100), (96, 106, 95, 104), (104, 104, 104, 104)]
    engine = run(bars(rows), {0: buy(stop_price=103.0, stop_loss=98.0)}, costs=THROUGH)
    assert fills(engine) == [("buy", 10, 103.0)]


def test_unfilled_entry_takes_its_legs_with_it():
    engine = run(bars(RISE), {0: buy(limit_price=90.0, stop_loss=85.0), 2: lambda s: s.cancel(1)}, costs=THROUGH)
    assert statuses(engine) == {1: "cancelled", 2: "cancelled"}


def test_legs_end_with_the_position():
    engine = run(bars(RISE), {0: buy(stop_loss=95.0, take_profit=150.0), 2: lambda s: s.close("A")})
    assert statuses(engine) == {1: "filled", 2: "cancelled", 3: "cancelled", 4: "filled"}
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, 105.0)]


def test_one_cancels_other():
    def both(strategy):
        orders = strategy.sell("A", quantity=10, limit_price=104.0), strategy.sell("A", quantity=10, stop_price=98.5)
        strategy.one_cancels_other(*orders)

    engine = run(bars(RISE), {0: buy(), 1: both}, costs=THROUGH)
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, 104.0)]
    assert statuses(engine)[3] == "cancelled"


def test_participation_bounds_each_bar_and_the_rest_works_on():
    rows = [(100, 100, 100, 100, 50), (100, 100, 100, 100, 60), (101, 101, 101, 101, 20), (102, 102, 102, 102, 999)]
    costs = Costs(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=0.1)
    engine = run(bars(rows), {0: buy()}, costs=costs)
    assert fills(engine) == [("buy", 6, 100.0), ("buy", 2, 101.0), ("buy", 2, 102.0)]
    assert engine.records.orders[-1].average_price == pytest.approx((600 + 202 + 204) / 10)


def test_two_orders_share_the_volume_of_a_bar():
    rows = [(100, 100, 100, 100, 50), (100, 100, 100, 100, 60), (101, 101, 101, 101, 600)]
    costs = Costs(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=0.1)

    def two(strategy):
        strategy.buy("A", quantity=4)
        strategy.buy("A", quantity=4)

    assert fills(run(bars(rows), {0: two}, costs=costs)) == [("buy", 4, 100.0), ("buy", 2, 100.0), ("buy", 2, 101.0)]


def test_unknown_volume_bounds_nothing():
    rows = [(100, 100, 100, 100, nan)] * 3
    assert fills(run(bars(rows), {0: buy()}, costs=Costs(commission=0, slippage_bps=0))) == [("buy", 10, 100.0)]


@pytest.mark.parametrize(
    ("in_force", "expected"),
    [
        ("gtc", ([("buy", 6, 100.0), ("buy", 4, 101.0)], "filled")),
        ("ioc", ([("buy", 6, 100.0)], "cancelled")),
        ("fok", ([], "cancelled")),
    ],
)
def test_time_in_force_at_once(in_force, expected):
    rows = [(100, 100, 100, 100, 60), (100, 100, 100, 100, 60), (101, 101, 101, 101, 90)]
    costs = Costs(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=0.1)
    engine = run(bars(rows), {0: buy(time_in_force=in_force)}, costs=costs)
    assert (fills(engine), statuses(engine)[1]) == expected


def test_day_and_dated_orders_expire():
    quiet = [(100, 100, 100, 100)] * 1500
    engine = run(bars(quiet), {5: buy(limit_price=90.0, time_in_force="day")}, costs=THROUGH)
    last = engine.records.orders[-1]
    assert (str(last.status), last.updated_ns) == ("expired", START + 1440 * MINUTE)
    until = START + 10 * MINUTE
    engine = run(bars(quiet), {5: buy(limit_price=90.0, time_in_force="gtd", expires_ns=until)}, costs=THROUGH)
    assert (str(engine.records.orders[-1].status), engine.records.orders[-1].updated_ns) == ("expired", until)


def test_modify_works_after_the_latency_and_cancel_at_once():
    costs = Costs(commission=0.0, slippage_bps=0.0, latency_s=61.0, participation=None)
    engine = run(bars(RISE), {0: buy(limit_price=90.0), 1: lambda s: s.modify(1, limit_price=104.5)}, costs=costs)
    assert fills(engine) == [("buy", 10, 104.5)]
    assert engine.records.fills[0].time_ns == START + 4 * MINUTE  # modified at 2:00, works from 3:01 on


def test_latency_on_ticks():
    costs = Costs(commission=0.0, slippage_bps=0.0, latency_s=1.0, participation=None)
    ticks = [tick(0, 100), tick(0.5, 101), tick(0.999, 102), tick(1.0, 103), tick(2, 104)]
    assert fills(run(ticks, {0: buy()}, costs=costs, kind=TickScript)) == [("buy", 10, 103.0)]


def test_a_tick_at_the_bid_is_no_offer_to_a_buyer():
    events = [quote(0, 99, 101), tick(1, 99), tick(2, 99), tick(3, 99)]
    assert fills(run(events, {0: buy()}, kind=TickScript)) == [("buy", 10, 101.0)]
    assert fills(run(events, {0: sell()}, kind=TickScript)) == [("sell", 10, 99.0)]


def test_limit_orders_on_ticks_rest_at_their_price():
    ticks = [tick(0, 100), tick(1, 100), tick(2, 99.0), tick(3, 98.0)]
    assert fills(run(ticks, {0: buy(limit_price=99.0)}, kind=TickScript, costs=THROUGH)) == [("buy", 10, 99.0)]
    # A marketable one is filled at the market, not at its limit.
    assert fills(run(ticks, {0: buy(limit_price=105.0)}, kind=TickScript, costs=THROUGH)) == [("buy", 10, 100.0)]


def test_stop_on_ticks_fills_at_the_worse_price():
    ticks = [tick(0, 100), tick(1, 100), tick(2, 97.0), tick(3, 98.0)]
    engine = run(ticks, {0: buy(), 1: sell(stop_price=98.5)}, kind=TickScript)
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, 97.0)]


def test_quotes_are_crossed_and_what_was_taken_is_not_there_again():
    costs = Costs(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=0.5)
    events = [
        quote(0, 99, 101),
        quote(1, 99, 101, 8),
        quote(2, 99, 101, 8),
        quote(3, 99, 101, 10),
        quote(4, 99, 102, 40),
    ]
    engine = run(events, {0: buy()}, costs=costs, kind=QuoteScript)
    # Half of 8 is 4; nothing more of the same level until it shows 10, half of which is one more;
    # a new level starts anew.
    assert fills(engine) == [("buy", 4, 101.0), ("buy", 1, 101.0), ("buy", 5, 102.0)]


def test_an_order_does_not_fill_on_another_symbol_s_past():
    # B's bar of the same minute comes after A's, at which the order for B was decided.
    first = [bar(0, 10, 10, 10, 10), bar(0, 50, 50, 50, 50, symbol="B")]
    second = [bar(1, 10, 10, 10, 10), bar(1, 60, 60, 60, 60, symbol="B")]
    third = [bar(2, 10, 10, 10, 10), bar(2, 70, 70, 70, 70, symbol="B")]
    engine = run([*first, *second, *third], {2: lambda s: s.buy("B", quantity=1)})
    assert fills(engine) == [("buy", 1, 70.0)]


def test_costs_are_charged_as_written():
    costs = Costs(commission=Commission(rate=0.001, per_share=0.01, minimum=3.0), slippage_bps=50.0, latency_s=0.0)
    engine = run(bars(RISE), {0: buy(), 1: lambda s: s.sell("A", quantity=5)}, costs=costs)
    first, second = engine.records.fills
    assert first.market_price == 100.0
    assert first.price == pytest.approx(100.5)
    assert first.fee == pytest.approx(3.0)  # 1.005 + 0.1 is below the minimum
    assert second.price == pytest.approx(102 * 0.995)
    big = run(bars(RISE), {0: lambda s: s.buy("A", quantity=1000)}, costs=costs)
    assert big.records.fills[0].fee == pytest.approx(1000 * (0.1005 + 0.01))


def test_callable_costs():
    costs = Costs(
        commission=lambda quantity, price: 7.0,
        slippage_bps=lambda side, quantity, price: price + 0.25 if side == Side.BUY else price - 0.25,
        latency_s=0.0,
        participation=None,
    )
    engine = run(bars(RISE), {0: buy()}, costs=costs)
    assert (engine.records.fills[0].price, engine.records.fills[0].fee) == (100.25, 7.0)
    kind = Costs(slippage_bps=lambda side, quantity, price: price - 1.0, latency_s=0.0)
    with pytest.raises(ParameterError, match="only make the price worse"):
        run(bars(RISE), {0: buy()}, costs=kind)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.buy("A", quantity=-1), "not above zero"),
        (lambda s: s.buy("A", quantity=1, weight=0.5), "give one of"),
        (lambda s: s.buy(1), "nothing was received for the symbol 1"),
        (lambda s: s.buy("B", quantity=1), "nothing was received for the symbol 'B'"),
        (lambda s: s.buy("A", quantity=1, limit_price=0.0), "limit_price=0.0 is not above zero"),
        (lambda s: s.buy("A", quantity=1, time_in_force="forever"), "none of gtc, day, ioc, fok, gtd"),
        (lambda s: s.buy("A", quantity=1, time_in_force="gtd"), "go together"),
        (lambda s: s.buy("A", quantity=1, stop_loss=200.0), "stop_loss=200.0 must be below"),
        (lambda s: s.buy("A", quantity=1, trail=1.0, limit_price=3.0), "no other price"),
        (lambda s: s.buy("A", quantity=float("nan")), "no finite number|not above zero"),
        (lambda s: s.modify(77, quantity=1), "not an open order"),
    ],
)
def test_orders_that_make_no_sense_are_named(call, message):
    with pytest.raises(OrderError, match=message):
        run(bars(RISE), {0: call})


def test_risk_gate_resizes_and_rejects_with_numbers():
    limits = RiskLimits(max_position_notional=500.0, max_gross_exposure=1.0)
    engine = run(bars(RISE), {0: buy(), 2: buy(limit_price=10.0)}, risk=limits)
    first, second = engine.records.signals
    assert (first.decision, first.wanted) == ("resized", 10)
    assert fills(engine) == [("buy", 5.0, 100.0)]
    assert "position notional 1000 over 500" in first.decision_reason
    assert second.decision == "rejected"
    assert "price collar" in second.decision_reason


def test_buying_power_holds_back_costs():
    costs = Costs(commission=0.01, slippage_bps=0.0, latency_s=0.0, participation=None)
    flat = [(100, 100, 100, 100)] * 4
    engine = run(bars(flat), {0: lambda s: s.buy("A", weight=1.0)}, costs=costs, cash=10_000.0)
    assert engine.records.signals[0].decision == "resized"
    assert 0.0 <= engine.desks["script"].book.cash < 2.0


def test_closing_always_passes_the_gate():
    engine = run(bars(RISE), {0: buy(), 2: sell()}, risk=RiskLimits(max_gross_exposure=0.01, max_order_notional=1500.0))
    assert engine.records.signals[0].decision == "sent"
    assert engine.records.signals[1].decision == "sent"
    assert engine.desks["script"].book.open == {}


def test_short_sale_and_its_cover():
    engine = run(bars(RISE), {0: sell(), 2: lambda s: s.close("A")})
    assert fills(engine) == [("sell", 10, 100.0), ("buy", 10, 105.0)]
    trade = engine.records.trades[0]
    assert (trade.side, trade.pnl, trade.return_) == ("short", -50.0, -0.05)
    refused = run(bars(RISE), {0: sell()}, risk=RiskLimits(allow_short=False))
    assert refused.records.signals[0].decision == "rejected"


def test_turning_a_position_round_makes_two_trades_of_the_fees():
    costs = Costs(
        commission=lambda quantity, price: quantity * 1.0, slippage_bps=0.0, latency_s=0.0, participation=None
    )
    engine = run(
        bars(RISE), {0: buy(), 1: lambda s: s.order_target("A", quantity=-5), 2: lambda s: s.close("A")}, costs=costs
    )
    first, second = engine.records.trades
    assert (first.side, first.quantity, first.entry_price, first.exit_price, first.fees, first.pnl) == (
        "long", 10, 100.0, 102.0, 20.0, 0.0,
    )  # fmt: skip
    assert (second.side, second.quantity, second.entry_price, second.exit_price, second.fees) == (
        "short",
        5,
        102.0,
        105.0,
        10.0,
    )


def test_a_bar_that_began_before_the_decision_does_not_fill():
    coarse = Bar("A", "1m", 100, 100, 100, 100, 1.0, START - MINUTE // 2, START + MINUTE // 2)
    rows = [bar(-1, 100, 100, 100, 100), coarse, bar(1, 105, 105, 105, 105)]
    assert fills(run(rows, {0: buy()})) == [("buy", 10, 105.0)]
