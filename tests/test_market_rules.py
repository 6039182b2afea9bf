"""What a provider says of a symbol, in the paper broker: steps, smallest orders, sessions, prices of the past."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Event, Heartbeat, Hours, Instrument, Stop, Tick
from qfkit.core.hours import MarketHours
from qfkit.core.steps import fit_quantity, stepped_price, whole_steps
from qfkit.core.survey import assumptions
from tests.support import MINUTE, SECOND, START, TickScript, bar, fills, quote, run, statuses, tick

BTC = Instrument("A", START, price_step=0.01, quantity_step=0.001, minimum_quantity=0.002, minimum_notional=10.0)
HOUR = 60 * MINUTE
# Two days: 14:30 to 21:00 and, a half day, 14:30 to 18:00, counted from START, which is midnight.
SESSIONS = ((START + 14 * HOUR + 30 * MINUTE, START + 21 * HOUR), (START + 38 * HOUR + 30 * MINUTE, START + 42 * HOUR))
HOURS = Hours("A", START, SESSIONS, "XNYS")


def at(hours: float, price: float, **changes) -> Tick:
    return tick(hours * 3_600, price, **changes)


# -- steps -------------------------------------------------------------------------------------


@given(st.floats(1e-9, 1e9), st.sampled_from((1e-8, 1e-5, 0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 5.0, 100.0)))
def test_whole_steps_are_never_more_than_was_asked_for_and_less_than_a_step_below(quantity: float, step: float) -> None:
    fitted = whole_steps(quantity, step)
    assert fitted <= quantity * (1 + 1e-9) + 1e-6 * step
    assert quantity - fitted < step * (1 + 1e-6) + quantity * 1e-12
    # Once fitted it stays as it is.
    assert whole_steps(fitted, step) == fitted


def test_steps_are_the_nearest_floats_to_their_decimals() -> None:
    assert [whole_steps(number * 0.1, 0.1) for number in (1, 3, 7)] == [0.1, 0.3, 0.7]
    assert whole_steps(0.29999999999999998, 0.1) == 0.3
    assert whole_steps(123.456789, 0.00001) == 123.45678
    assert whole_steps(7.3, 0.25) == 7.25


def test_a_quantity_too_small_says_why() -> None:
    assert fit_quantity(0.0123, 60_000.0, BTC) == (0.012, "")
    assert fit_quantity(0.0009, 60_000.0, BTC) == (0.0, "quantity 0.0009 is less than the symbol's step 0.001")
    assert fit_quantity(0.0015, 60_000.0, BTC) == (0.0, "quantity 0.001 is below the symbol's minimum 0.002")
    assert fit_quantity(0.05, 100.0, BTC) == (0.0, "notional 5 is below the symbol's minimum 10")
    assert fit_quantity(0.0015, 60_000.0, Instrument("A", START)) == (0.0015, "")


def test_prices_are_rounded_to_what_is_no_keener() -> None:
    assert stepped_price(100.017, BTC, is_down=True) == 100.01
    assert stepped_price(100.011, BTC, is_down=False) == 100.02
    assert stepped_price(100.01, BTC, is_down=False) == 100.01
    assert stepped_price(0.004, BTC, is_down=True) == 0.004
    assert stepped_price(None, BTC, is_down=True) is None
    assert stepped_price(100.017, None, is_down=True) == 100.017


def test_orders_go_out_in_the_symbols_steps() -> None:
    engine = run(
        [BTC, tick(0, 100.0), tick(1, 100.0), tick(2, 100.0), tick(3, 100.0), tick(4, 100.0)],
        {
            0: lambda one: one.buy("A", quantity=1.23456),
            1: lambda one: one.buy("A", quantity=0.05),
            2: lambda one: one.buy("A", quantity=2.0, limit_price=99.999, take_profit=110.006, stop_loss=90.006),
            3: lambda one: one.sell("A", quantity=0.5, stop_price=95.009),
        },
        kind=TickScript,
    )
    assert fills(engine)[0] == ("buy", 1.234, 100.0)
    sent, small, limit, stop = engine.records.signals[:4]
    assert (sent.decision, sent.decision_reason) == ("resized", "rounded to the symbol's step")
    assert (small.decision, small.decision_reason) == ("rejected", "notional 5 is below the symbol's minimum 10")
    orders = {order.order_id: order for order in engine.records.orders}
    assert orders[limit.order_id].limit_price == 99.99
    # A long position's target is a sale and goes up, its stop goes down.
    legs = [order for order in orders.values() if order.parent_id == limit.order_id]
    assert {(leg.limit_price, leg.stop_price) for leg in legs} == {(110.01, None), (None, 90.0)}
    assert orders[stop.order_id].stop_price == 95.0


def test_what_a_modified_order_asks_for_is_in_steps_too() -> None:
    def modify(one) -> None:
        one.modify(1, quantity=2.34567, limit_price=98.765)

    engine = run(
        [BTC, tick(0, 100.0), tick(1, 100.0), tick(2, 100.0)],
        {0: lambda one: one.buy("A", quantity=1.0, limit_price=99.0), 1: modify},
        kind=TickScript,
    )
    order = engine.records.orders[-1]
    assert (order.quantity, order.limit_price) == (2.345, 98.76)


def test_a_whole_position_can_always_be_closed() -> None:
    engine = run(
        [tick(0, 100.0), tick(1, 100.0), BTC, tick(2, 100.0), tick(3, 100.0)],
        {0: lambda one: one.buy("A", quantity=0.05004), 1: lambda one: one.close("A")},
        kind=TickScript,
    )
    assert fills(engine) == [("buy", 0.05004, 100.0), ("sell", 0.05004, 100.0)]


# -- sessions ----------------------------------------------------------------------------------


def test_hours_tell_a_session_from_its_edges() -> None:
    hours = MarketHours(HOURS)
    (first, close), (second, last) = SESSIONS
    assert [hours.is_open(time) for time in (first - 1, first, close - 1, close)] == [False, True, True, False]
    assert (hours.next_open_ns(first - 1), hours.next_open_ns(first), hours.next_open_ns(second)) == (
        first,
        second,
        inf,
    )
    assert (hours.close_ns(first), hours.close_ns(close), hours.close_ns(second)) == (close, None, last)
    assert hours.overlaps(first - 10, first + 1) and not hours.overlaps(first - 10, first)
    assert hours.overlaps(close - 1, close + 10) and not hours.overlaps(close, second)


def test_an_order_in_a_closed_market_waits_for_the_open() -> None:
    engine = run(
        [HOURS, at(10, 100.0), at(11, 101.0), quote(12 * 3_600, 101.0, 102.0), at(14.5, 105.0), at(15, 106.0)],
        {0: lambda one: one.buy("A", quantity=1.0)},
        kind=TickScript,
    )
    # Neither the trade nor the quote before the open filled it.
    assert fills(engine) == [("buy", 1.0, 105.0)]
    first = engine.records.orders[0]
    assert first.status_reason == "the market is closed: waits until 2023-11-15 14:30:00 UTC"


@pytest.mark.parametrize("in_force", ["ioc", "fok"])
def test_an_order_that_cannot_wait_is_refused_in_a_closed_market(in_force: str) -> None:
    engine = run(
        [HOURS, at(22, 100.0), at(23, 100.0), at(38.5, 100.0)],
        {0: lambda one: one.buy("A", quantity=1.0, time_in_force=in_force)},
        kind=TickScript,
    )
    assert not engine.records.fills and not engine.records.orders
    (signal,) = engine.records.signals
    assert (signal.decision, signal.decision_reason) == (
        "rejected",
        "the market is closed until 2023-11-16 14:30:00 UTC",
    )


def test_a_day_order_ends_with_its_session_and_a_lasting_one_goes_on() -> None:
    def both(one) -> None:
        one.buy("A", quantity=1.0, limit_price=90.0, time_in_force="day")
        one.buy("A", quantity=2.0, limit_price=90.0)

    engine = run(
        # The half day of the second session ends at 18:00 (hour 42).
        [HOURS, at(38.6, 100.0), at(39, 100.0), Heartbeat(START + 43 * HOUR, START + 43 * HOUR), at(44, 80.0)],
        {0: both},
        kind=TickScript,
        finish=False,
    )
    assert statuses(engine) == {1: "expired", 2: "working"}
    # 80 after the close fills nothing either.
    assert not engine.records.fills
    engine.process(Hours("A", engine.clock_ns, ((START + 62 * HOUR, START + 68 * HOUR),)))
    engine.process(at(63, 80.0))
    assert fills(engine) == [("buy", 2.0, 90.0)]


def test_a_stop_does_not_fire_outside_the_session() -> None:
    engine = run(
        [HOURS, at(15, 100.0), at(15.1, 100.0), at(15.2, 100.0), at(22, 50.0), at(38.5, 99.0), at(39, 94.0)],
        {0: lambda one: one.buy("A", quantity=1.0), 1: lambda one: one.sell("A", quantity=1.0, stop_price=95.0)},
        kind=TickScript,
    )
    assert fills(engine) == [("buy", 1.0, 100.0), ("sell", 1.0, 94.0)]


def test_bars_outside_the_session_fill_nothing_and_a_daily_bar_does() -> None:
    minute = 14 * 60 + 30
    engine = run(
        [HOURS, *(bar(index, 100 + index, 101 + index, 99 + index, 100 + index) for index in (minute - 5, minute - 4))]
        + [bar(minute, 200.0, 201.0, 199.0, 200.0)],
        {0: lambda one: one.buy("A", quantity=1.0)},
    )
    assert fills(engine) == [("buy", 1.0, 200.0)]
    assert MarketHours(HOURS).overlaps(START, START + 24 * HOUR)


def test_a_symbol_of_no_hours_is_always_open() -> None:
    engine = run(
        [HOURS, tick(3_600, 5.0, symbol="B"), tick(3_601, 6.0, symbol="B")],
        {0: lambda one: one.buy("B", quantity=1.0)},
        kind=TickScript,
    )
    assert fills(engine) == [("buy", 1.0, 6.0)]


# -- prices of the past ------------------------------------------------------------------------


def flagged(seconds: float, price: float, flag: str, received_s: float) -> Tick:
    return Tick("A", price, 1e9, START + round(seconds * SECOND), START + round(received_s * SECOND), None, None, None, flag)  # type: ignore[arg-type] # fmt: skip


def test_a_stale_price_is_shown_and_nothing_is_done_on_it() -> None:
    engine = run(
        [flagged(-50_000, 90.0, "stale", 1), flagged(-50_000, 91.0, "stale", 2)], {0: lambda one: 1 / 0}, kind=TickScript
    )  # fmt: skip
    (view,) = engine.snapshot().symbols
    assert view.price == 90.0
    assert not engine.records.bars and not engine.records.signals
    later = run(
        [flagged(-50_000, 90.0, "stale", 1), tick(2, 100.0), flagged(1, 50.0, "stale", 3), tick(4, 101.0)],
        {0: lambda one: one.buy("A", quantity=1.0)},
        kind=TickScript,
    )
    assert fills(later) == [("buy", 1.0, 101.0)]
    assert later.snapshot().symbols[0].price == 101.0


def test_a_trade_told_late_fills_only_orders_that_were_out_when_it_happened() -> None:
    events: list[Event] = [
        tick(0, 100.0),
        tick(10, 100.0),
        flagged(5, 80.0, "backfilled", 20),
        flagged(15, 85.0, "backfilled", 20),
    ]
    engine = run(events, {1: lambda one: one.buy("A", quantity=1.0, limit_price=90.0)}, kind=TickScript)
    # Decided at second 10: the trade of second 5 could not meet it, that of second 15 did.
    assert fills(engine) == [("buy", 1.0, 85.0)]


def test_rules_and_hours_may_come_before_or_after_the_first_price() -> None:
    for events in ([BTC, HOURS, at(15, 100.0)], [at(15, 100.0), BTC, HOURS]):
        engine = Engine({"script": TickScript()}, cash=1_000.0, costs=Costs.ideal())
        engine.process_all(events)
        market = engine.tracks["A"].market
        assert market.rules is BTC and market.hours is not None
        engine.process(Stop(engine.clock_ns))


def test_what_a_run_assumes_is_told() -> None:
    engine = run([BTC, HOURS, at(15, 100.0)], {}, kind=TickScript)
    assert assumptions(engine)[1:] == (
        "orders fill in the market's hours only (XNYS)",
        "quantities and prices in the steps of each symbol, as its provider gives them",
    )
    assert len(assumptions(run([at(15, 100.0)], {}, kind=TickScript))) == 1
