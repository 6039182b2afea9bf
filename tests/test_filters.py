"""Signal filters: each worked by hand on bars and on ticks; what reduces a position passes them all."""

import time
from contextlib import suppress
from math import inf, isnan

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qfkit as qf
from qfkit.core.events import Event, Flatten, Heartbeat, Hours, Instrument, Rebalance, Stop, Tick, WarmUp
from qfkit.errors import OrderError, ParameterError
from qfkit.journal.reader import JournalReader
from tests.support import (
    MINUTE,
    SECOND,
    START,
    QuoteScript,
    Script,
    TickScript,
    bar,
    bars,
    fills,
    quote,
    statuses,
    tick,
    walk,
)
from tests.test_properties import AnyOrders, any_costs, any_market, balanced, request

IDEAL = qf.Costs.ideal()


def play(events, actions, filters, *, kind=Script, costs=IDEAL, others=None, **more) -> qf.Engine:
    """A script under filters, beside others by name; an exception in one fails the test."""
    strategies = {"script": kind()}
    strategies["script"].actions = actions
    for name, other in (others or {}).items():
        strategies[name] = kind()
        strategies[name].actions = other
    engine = qf.Engine(strategies, cash=1_000_000.0, costs=costs, filters=filters, **more)
    engine.process_all(events)
    for error in engine.exceptions.values():
        raise error
    return engine


def decisions(engine: qf.Engine, strategy: str = "script") -> list[str]:
    return [signal.decision for signal in engine.records.signals if signal.strategy == strategy]


def checks(engine: qf.Engine, number: int) -> dict[str, tuple[float, float, bool]]:
    """The checks of the n-th signal: value, limit, whether it passed."""
    return {check.name: (check.value, check.limit, check.passed) for check in engine.records.signals[number].checks}


def buy(quantity=1.0, symbol="A", **more):
    return lambda strategy: strategy.buy(symbol, quantity=quantity, **more)


def sell(quantity=1.0, symbol="A", **more):
    return lambda strategy: strategy.sell(symbol, quantity=quantity, **more)


def close(strategy):
    strategy.close("A")


def both(*actions):
    return lambda strategy: [action(strategy) for action in actions]


def flat(count: int, price: float = 100.0, symbol: str = "A") -> list[qf.Bar]:
    return bars([(price,) * 4] * count, symbol)


# -- a second entry in one bar -----------------------------------------------------------------


def test_a_second_entry_on_one_side_waits_for_the_next_bar():
    engine = play(flat(4), {0: both(buy(), buy(), buy()), 1: buy()}, qf.SignalFilters(one_per_bar=True))
    assert decisions(engine) == ["sent", "rejected", "rejected", "sent"]
    assert engine.records.signals[1].decision_reason == "entered on this side in this bar already"
    assert checks(engine, 0)["entries in this bar"] == (1.0, 1.0, True)
    assert checks(engine, 1)["entries in this bar"] == (2.0, 1.0, False)
    assert fills(engine) == [("buy", 1.0, 100.0)] * 2


def test_without_filters_each_of_them_is_sent():
    assert decisions(play(flat(3), {0: both(buy(), buy())}, None)) == ["sent", "sent"]


def test_on_ticks_the_bar_is_the_one_that_is_building():
    ticks = [tick(second, 100.0) for second in (1, 20, 40, 59, 61, 70, 200, 210)]
    engine = play(
        ticks, {0: buy(), 1: buy(), 3: buy(), 4: buy(), 5: buy(), 6: buy(), 7: buy()}, one_per_bar(), kind=TickScript
    )
    assert decisions(engine) == ["sent", "rejected", "rejected", "sent", "rejected", "sent", "rejected"]


def one_per_bar() -> qf.SignalFilters:
    return qf.SignalFilters(one_per_bar=True)


def test_a_symbol_that_is_only_quoted_has_its_minutes_too():
    quotes = [quote(second, 99.0, 101.0) for second in (1, 30, 59, 60, 90, 500)]
    engine = play(quotes, dict.fromkeys(range(6), buy()), one_per_bar(), kind=QuoteScript)
    assert decisions(engine) == ["sent", "rejected", "rejected", "sent", "rejected", "sent"]
    assert not engine.records.bars


def test_the_other_side_and_the_other_symbol_are_entries_of_their_own():
    events = [event for pair in zip(flat(4), flat(4, symbol="B"), strict=True) for event in pair]
    actions = {1: both(buy(), buy(symbol="B"), sell(3.0), sell(3.0))}
    engine = play(events, actions, one_per_bar())
    # The first sale turns the purchase that is on its way round, and enters; the second adds to it.
    assert decisions(engine) == ["sent", "sent", "sent", "rejected"]


def test_an_entry_cancelled_before_it_filled_leaves_room_for_another():
    def twice(strategy):
        strategy.order_target("A", quantity=5.0)
        strategy.order_target("A", quantity=7.0)

    engine = play(flat(3), {0: twice}, one_per_bar())
    assert decisions(engine) == ["sent", "sent"]
    assert fills(engine) == [("buy", 7.0, 100.0)]


def test_an_entry_that_filled_in_part_does_not():
    ticks = [tick(1, 100.0), tick(2, 100.0, size=3.0), tick(3, 100.0, size=3.0)]
    target = lambda strategy: strategy.order_target("A", quantity=10.0)  # noqa: E731
    costs = qf.Costs(0.0, 0.0, 0.0, participation=1.0)
    engine = play(ticks, {0: target, 1: target}, one_per_bar(), kind=TickScript, costs=costs)
    assert decisions(engine) == ["sent", "rejected"]
    assert fills(engine) == [("buy", 3.0, 100.0)]


def test_an_exit_between_is_no_entry():
    ticks = [tick(second, 100.0) for second in range(1, 7)]
    engine = play(ticks, {0: buy(), 2: close, 4: sell()}, one_per_bar(), kind=TickScript)
    # The close sold, but entered nothing: the short sale is the first entry on its side.
    assert decisions(engine) == ["sent", "sent", "sent"]
    assert engine.records.signals[1].checks == ()


# -- after a loss ------------------------------------------------------------------------------


def cooldown(seconds: float) -> qf.SignalFilters:
    return qf.SignalFilters(cooldown_after_loss_s=seconds)


def test_an_entry_waits_out_the_time_after_a_loss():
    # Bought at 100 (2 s), sold at 99 (4 s); tries at 10 s, 33.5 s and 34 s.
    ticks = [*(tick(second, price) for second, price in ((1, 100), (2, 100), (3, 99), (4, 99), (10, 99), (33.5, 99)))]
    ticks += [tick(34, 99.0), tick(35, 99.0)]
    engine = play(ticks, {0: buy(), 2: close, 4: buy(), 5: buy(), 6: buy()}, cooldown(30.0), kind=TickScript)
    assert decisions(engine) == ["sent", "sent", "rejected", "rejected", "sent"]
    assert [checks(engine, number)["seconds since a loss"] for number in (2, 3, 4)] == [
        (6.0, 30.0, False),
        (29.5, 30.0, False),
        (30.0, 30.0, True),
    ]
    assert engine.records.signals[2].decision_reason == "6 s since a losing trade, under the 30 s to cool down"
    assert fills(engine)[-1] == ("buy", 1.0, 99.0)


def test_on_bars_the_time_runs_from_the_fill_at_the_open():
    rows = [(100.0,) * 4, (100.0,) * 4, (90.0,) * 4, (90.0,) * 4, (90.0,) * 4]
    # Bought at the open of bar 1, sold at that of bar 2, which is 60 s ago at its close.
    engine = play(bars(rows), {0: buy(), 1: close, 2: buy(), 3: buy()}, cooldown(61.0))
    assert decisions(engine) == ["sent", "sent", "rejected", "sent"]
    assert checks(engine, 2)["seconds since a loss"][0] == 60.0
    assert checks(engine, 3)["seconds since a loss"][0] == 120.0


def test_a_win_and_another_symbols_loss_do_not_count_but_fees_do():
    ticks = [tick(1, 100.0), tick(2, 100.0), tick(3, 100.1), tick(4, 100.1), tick(5, 100.1), tick(6, 100.1)]
    actions = {0: buy(), 2: close, 4: buy()}
    assert decisions(play(ticks, actions, cooldown(60.0), kind=TickScript)) == ["sent"] * 3
    fees = qf.Costs(0.001, 0.0, 0.0)
    assert decisions(play(ticks, actions, cooldown(60.0), kind=TickScript, costs=fees)) == ["sent", "sent", "rejected"]
    elsewhere = [*ticks[:4], tick(4.5, 50.0, symbol="B"), *ticks[4:]]
    actions = {0: buy(), 2: close, 4: buy(symbol="B"), 5: buy()}
    engine = play(elsewhere, actions, cooldown(60.0), kind=TickScript, costs=fees)
    assert decisions(engine) == ["sent", "sent", "sent", "rejected"]


def test_the_loss_is_the_strategys_own():
    ticks = [tick(1, 100.0), tick(2, 100.0), tick(3, 90.0), tick(4, 90.0), tick(5, 90.0), tick(6, 90.0)]
    engine = play(ticks, {0: buy(), 2: close, 4: buy()}, cooldown(60.0), kind=TickScript, others={"two": {4: buy()}})
    assert decisions(engine) == ["sent", "sent", "rejected"]
    assert decisions(engine, "two") == ["sent"]


# -- expected move against cost ----------------------------------------------------------------

# Going in at 100: slippage 5 bp to 100.05, fee 0.1 % of that; out: 99.95 and its fee. In all 0.3, that is 30 bp.
COSTS = qf.Costs(0.001, 5.0, 0.0, None)


@pytest.mark.parametrize(("edge", "decision"), [(3.0, "sent"), (3.4, "rejected")])
def test_the_move_to_the_take_profit_is_held_against_the_cost_both_ways(edge, decision):
    action = buy(2.0, stop_loss=98.0, take_profit=101.0)
    engine = play(flat(2), {0: action}, qf.SignalFilters(minimum_edge=edge), costs=COSTS)
    assert decisions(engine) == [decision]
    value, limit, passed = checks(engine, 0)["expected move in basis points"]
    assert (value, limit) == (pytest.approx(100.0), pytest.approx(30.0 * edge))
    assert passed == (decision == "sent")
    if not passed:
        assert engine.records.signals[0].decision_reason == "an expected move of 100 basis points, under 102"


def test_a_quoted_spread_is_a_cost_and_a_sale_has_its_target_below():
    events = [quote(0.5, 99.9, 100.1), tick(1, 100.0), tick(2, 100.0)]
    action = sell(take_profit=99.0, stop_loss=102.0)
    engine = play(events, {0: action}, qf.SignalFilters(minimum_edge=2.5), costs=COSTS, kind=TickScript)
    assert decisions(engine) == ["rejected"]
    # 30 basis points and the spread of 20, two and a half times.
    assert checks(engine, 0)["expected move in basis points"][:2] == (pytest.approx(100.0), pytest.approx(125.0))


def test_a_minimum_commission_makes_small_orders_the_dearer():
    costs = qf.Costs(qf.Commission(minimum=1.0), 0.0, 0.0, None)
    filters = qf.SignalFilters(minimum_edge=1.0)
    actions = {0: both(buy(1.0, take_profit=101.0), buy(10.0, take_profit=101.0))}
    engine = play(flat(2), actions, filters, costs=costs)
    # Two fees of 1 on 100 are 200 basis points, on 1,000 they are 20.
    assert decisions(engine) == ["rejected", "sent"]
    assert [checks(engine, number)["expected move in basis points"][1] for number in (0, 1)] == [
        pytest.approx(200.0),
        pytest.approx(20.0),
    ]


def test_without_a_target_the_move_is_the_range_of_the_last_bars():
    # True ranges: 2 (high - low), 3 (from the close before to the high), 1. The mean is 2, on a price of 100.
    rows = [(100, 101, 99, 100), (100, 101, 99, 99), (101, 102, 101, 101), (101, 101, 100, 100), (100, 100, 100, 100)]
    filters = qf.SignalFilters(minimum_edge=6.0, edge_atr_period=3)
    engine = play(bars(rows), {2: buy(), 3: buy()}, filters, costs=COSTS)
    value, limit, passed = checks(engine, 0)["expected move in basis points"]
    assert isnan(value) and not passed
    assert engine.records.signals[0].decision_reason.startswith("the expected move is unknown")
    value, limit, passed = checks(engine, 1)["expected move in basis points"]
    assert (value, limit, passed) == (pytest.approx(200.0), pytest.approx(180.0), True)
    assert decisions(engine) == ["rejected", "sent"]


# -- stale prices ------------------------------------------------------------------------------


def fresh(seconds: float) -> qf.SignalFilters:
    return qf.SignalFilters(stale_after_s=seconds)


def test_a_price_that_comes_late_is_old():
    ticks = [tick(1, 100.0, delay_s=0.5), tick(2, 100.0, delay_s=3.0), tick(6, 100.0)]
    engine = play(ticks, {0: buy(), 1: buy()}, fresh(2.0), kind=TickScript)
    assert decisions(engine) == ["sent", "rejected"]
    assert checks(engine, 0)["price age in seconds"] == (0.5, 2.0, True)
    assert checks(engine, 1)["price age in seconds"] == (3.0, 2.0, False)
    assert engine.records.signals[1].decision_reason == "the price is 3 s old, over 2 s"


def test_another_symbols_price_ages_until_it_is_quoted_or_traded_again():
    events: list[Event] = [tick(1, 50.0, symbol="B"), tick(10, 100.0), tick(100, 100.0), quote(104, 49, 51, symbol="B")]
    events += [tick(105, 100.0)]
    other = buy(symbol="B")
    engine = play(events, {1: other, 2: other, 3: other}, fresh(30.0), kind=TickScript)
    assert [checks(engine, number)["price age in seconds"][0] for number in range(3)] == [9.0, 99.0, 1.0]
    assert decisions(engine) == ["sent", "rejected", "sent"]


def test_a_price_from_before_the_stream_is_as_old_as_it_is():
    stale = Tick("B", 50.0, 1.0, START - 3_600 * SECOND, START, flag="stale")
    engine = play([stale, tick(1, 100.0)], {0: buy(symbol="B")}, fresh(60.0), kind=TickScript)
    assert checks(engine, 0)["price age in seconds"] == (3_601.0, 60.0, False)
    assert decisions(engine) == ["rejected"]


def test_a_heartbeat_closes_a_bar_of_which_the_price_is_old():
    events = [tick(1, 100.0), tick(2, 100.0), Heartbeat(START + 65 * SECOND, START + 65 * SECOND)]
    engine = play(events, {0: buy()}, fresh(60.0))
    assert checks(engine, 0)["price age in seconds"] == (63.0, 60.0, False)


def test_on_bars_the_age_is_that_of_the_last_close():
    a, b = flat(5), flat(2, symbol="B")
    order = buy(symbol="B")
    # The script hears B's bars first: of bar 3 on, B is silent.
    events = [b[0], a[0], b[1], a[1], *a[2:]]
    engine = play(events, {0: buy(symbol="B"), 3: order, 4: order, 5: order, 6: order}, fresh(90.0))
    assert [checks(engine, number)["price age in seconds"][0] for number in range(5)] == [0.0, 0.0, 60.0, 120.0, 180.0]
    assert decisions(engine) == ["sent", "sent", "sent", "rejected", "rejected"]


# -- quotes ------------------------------------------------------------------------------------


def test_a_wide_spread_is_refused_and_no_quote_is_none():
    events = [tick(1, 100.0), quote(2, 99.95, 100.05), tick(3, 100.0), quote(4, 99.9, 100.1), tick(5, 100.0)]
    filters = qf.SignalFilters(max_spread_bps=15.0)
    engine = play([*events, tick(6, 100.0)], dict.fromkeys(range(3), buy()), filters, kind=TickScript)
    assert decisions(engine) == ["sent", "sent", "rejected"]
    assert "spread in basis points" not in checks(engine, 0)
    assert checks(engine, 1)["spread in basis points"] == (pytest.approx(10.0), 15.0, True)
    assert checks(engine, 2)["spread in basis points"] == (pytest.approx(20.0), 15.0, False)
    assert engine.records.signals[2].decision_reason == "spread in basis points 20 over 15"


def test_any_filters_refuse_a_crossed_quote_and_let_a_locked_one_pass():
    events = [quote(1, 100.0, 100.0), tick(2, 100.0), quote(3, 100.5, 99.5), tick(4, 100.0), tick(5, 100.0)]
    actions = {0: buy(), 1: both(buy(), sell(0.25))}
    engine = play(events, actions, qf.SignalFilters(), kind=TickScript)
    assert decisions(engine) == ["sent", "rejected", "sent"]
    assert checks(engine, 0)["crossed quote in basis points"] == (0.0, 0.0, True)
    assert checks(engine, 1)["crossed quote in basis points"] == (pytest.approx(100.0), 0.0, False)
    assert engine.records.signals[1].decision_reason == "the quote is crossed by 100 basis points"
    assert decisions(play(events, actions, None, kind=TickScript)) == ["sent"] * 3


# -- market hours ------------------------------------------------------------------------------

HOUR = 60 * MINUTE
SESSIONS = ((START + 14 * HOUR + 30 * MINUTE, START + 21 * HOUR), (START + 38 * HOUR + 30 * MINUTE, START + 45 * HOUR))
HOURS = Hours("A", START, SESSIONS, "XNYS")


def test_outside_the_hours_an_entry_is_refused_instead_of_waiting():
    ticks = [tick(hours * 3_600, 100.0) for hours in (14, 15, 20.9, 21, 22)]
    actions = dict.fromkeys(range(5), buy())
    engine = play([HOURS, *ticks], actions, qf.SignalFilters(refuse_when_closed=True), kind=TickScript)
    assert decisions(engine) == ["rejected", "sent", "sent", "rejected", "rejected"]
    assert checks(engine, 0)["market open"] == (0.0, 1.0, False)
    assert checks(engine, 1)["market open"] == (1.0, 1.0, True)
    assert engine.records.signals[0].decision_reason == "the market is closed"
    assert decisions(play([HOURS, *ticks], actions, qf.SignalFilters(), kind=TickScript)) == ["sent"] * 5


def test_an_exit_waits_for_the_open_whatever_the_hours():
    ticks = [tick(hours * 3_600, 100.0) for hours in (15, 15.1, 22, 39)]
    engine = play([HOURS, *ticks], {0: buy(), 2: close}, qf.SignalFilters(refuse_when_closed=True), kind=TickScript)
    assert decisions(engine) == ["sent", "sent"]
    assert fills(engine)[-1] == ("sell", 1.0, 100.0)


def at_hours(timeframe: str, open_: float, close_: float) -> qf.Bar:
    return qf.Bar(
        "A", timeframe, 100.0, 100.0, 100.0, 100.0, 1e9, START + round(open_ * HOUR), START + round(close_ * HOUR)
    )


@pytest.mark.parametrize(
    ("first", "second", "decision"),
    [
        # The session's own hours, the whole calendar day, and an hour inside: decided for the next open, or in it.
        (at_hours("1d", 14.5, 21), at_hours("1d", 38.5, 45), "sent"),
        (at_hours("1d", 0, 24), at_hours("1d", 24, 48), "sent"),
        (at_hours("1h", 15, 16), at_hours("1h", 16, 17), "sent"),
        # The last hour and one after it.
        (at_hours("1h", 20, 21), at_hours("1h", 21, 22), "rejected"),
        (at_hours("1h", 21, 22), at_hours("1h", 22, 23), "rejected"),
    ],
)
def test_a_bar_that_holds_a_whole_session_is_decided_on_for_the_next_open(first, second, decision):
    engine = play([HOURS, first, second], {0: buy()}, qf.SignalFilters(refuse_when_closed=True))
    assert decisions(engine) == [decision]


def test_a_market_of_unknown_hours_is_open():
    engine = play(flat(2), {0: buy()}, qf.SignalFilters(refuse_when_closed=True))
    assert decisions(engine) == ["sent"]
    assert "market open" not in checks(engine, 0)


# -- indicators that are not ready -------------------------------------------------------------


class Impatient(qf.Strategy):
    """Buys at each tick and quote, though its average is of bars."""

    def setup(self) -> None:
        self.average = self.indicator(qf.SMA, 2)

    def on_tick(self, tick: Tick) -> None:
        self.buy(tick.symbol, quantity=1.0)

    def on_quote(self, quote: qf.Quote) -> None:
        self.buy(quote.symbol, quantity=2.0)


def test_ticks_and_quotes_do_not_wait_for_indicators_on_bars_but_entries_do():
    events = [
        tick(1, 100.0),
        quote(30, 99, 101),
        tick(61, 100.0),
        tick(121, 100.0),
        quote(122, 99, 101),
        tick(123, 100),
    ]
    engines = {}
    for require_warm in (True, False):
        filters = qf.SignalFilters(require_warm=require_warm)
        engine = engines[require_warm] = qf.Engine({"script": Impatient()}, cash=1e6, costs=IDEAL, filters=filters)
        engine.process_all(events)
        assert not engine.exceptions
    # Two minutes are over with the tick at 121 s.
    assert decisions(engines[True]) == ["rejected"] * 3 + ["sent"] * 3
    assert checks(engines[True], 0)["indicators not ready"] == (1.0, 0.0, False)
    assert checks(engines[True], 3)["indicators not ready"] == (0.0, 0.0, True)
    assert engines[True].records.signals[0].decision_reason == "1 of the symbol's indicators not ready"
    assert decisions(engines[False]) == ["sent"] * 6
    assert fills(engines[True])[0] == ("buy", 1.0, 101.0)


def test_another_symbols_indicators_must_be_ready_for_an_entry_in_it():
    class Pair(Script):
        def setup(self) -> None:
            self.average = self.indicator(qf.SMA, 3)

    events = [*flat(1, symbol="B"), *flat(5)]
    # It hears A from its third bar on.
    engine = play(events, {0: both(buy(symbol="B"), buy())}, qf.SignalFilters(), kind=Pair)
    assert [(one.symbol, one.decision) for one in engine.records.signals] == [("B", "rejected"), ("A", "sent")]


# -- two strategies in one symbol --------------------------------------------------------------


def test_by_default_strategies_in_one_symbol_trade_apart():
    engine = play(flat(3), {0: buy()}, qf.SignalFilters(), others={"two": {0: sell()}})
    assert fills(engine) == [("buy", 1.0, 100.0), ("sell", 1.0, 100.0)]
    assert "trade apart" in qf.SignalFilters().describe()


REFUSE = qf.SignalFilters(conflicts="refuse")


def test_none_enters_against_anothers_order_or_position():
    actions = {0: buy(3.0), 4: close}
    others = {"two": {0: sell(), 2: both(sell(), buy()), 3: sell(2.0), 4: sell(), 6: sell()}}
    engine = play(flat(8), actions, REFUSE, others=others)
    signals = [one for one in engine.records.signals if one.strategy == "two"]
    # Against the order of the same bar; against the position, and with it; half a reversal is the exit; the
    # other one's exit is on its way; flat by now.
    assert [one.decision for one in signals] == ["rejected", "rejected", "sent", "resized", "sent", "sent"]
    assert signals[0].decision_reason == "other strategies hold or enter 3 on the other side"
    assert [one.order_id is not None and one.wanted for one in signals] == [False, False, 1.0, -2.0, -1.0, -1.0]
    assert [fill.quantity for fill in engine.records.fills if fill.strategy == "two"] == [1.0, 1.0, 1.0, 1.0]


def test_a_resting_entry_counts_and_a_resting_exit_does_not():
    one = {0: buy(2.0, limit_price=95.0)}
    engine = play(flat(3), one, REFUSE, others={"two": {1: both(sell(), buy())}})
    assert decisions(engine, "two") == ["rejected", "sent"]
    assert checks(engine, 1)["held against it by others"] == (2.0, 0.0, False)

    def exits(strategy):
        # Take-profit and stop-loss as orders of their own, each for the whole position, and a bracket's legs.
        strategy.sell("A", quantity=2.0, limit_price=110.0)
        strategy.sell("A", quantity=2.0, stop_price=90.0)

    with_bracket = buy(2.0, stop_loss=80.0, take_profit=120.0)
    engine = play(flat(6), {0: with_bracket, 2: exits}, REFUSE, others={"two": {3: both(sell(), buy())}})
    # With the position, not against: only the sale would be against it.
    assert decisions(engine, "two") == ["rejected", "sent"]
    beyond = lambda strategy: strategy.sell("A", quantity=5.0, limit_price=110.0)  # noqa: E731
    engine = play(flat(6), {0: buy(2.0), 2: beyond}, REFUSE, others={"two": {3: buy()}})
    assert decisions(engine, "two") == ["rejected"]
    assert checks(engine, 2)["held against it by others"][0] == 3.0


# -- exits, reversals, the user's own orders ---------------------------------------------------

STRICT = qf.SignalFilters(
    one_per_bar=True,
    cooldown_after_loss_s=1e9,
    minimum_edge=1e9,
    stale_after_s=1e-9,
    max_spread_bps=1e-9,
    refuse_when_closed=True,
    conflicts="refuse",
)


def test_a_reversal_becomes_an_exit_and_leaves_no_legs_behind():
    engine = play(
        flat(4), {0: buy(2.0), 1: sell(5.0, stop_loss=105.0)}, qf.SignalFilters(minimum_edge=1.0, edge_atr_period=1)
    )
    # Costs are nothing, but a range of one bar takes two bars.
    assert decisions(engine) == ["rejected", "sent"]
    filters = qf.SignalFilters(cooldown_after_loss_s=60.0 * 60.0)
    rows = [(100.0,) * 4, (100.0,) * 4, (90.0,) * 4, (90.0,) * 4, (90.0,) * 4, (90.0,) * 4]
    script = {0: both(buy(2.0), buy(1.0, symbol="A")), 1: close, 3: buy(2.0)}
    assert decisions(play(bars(rows), script, filters)) == ["sent", "sent", "sent", "rejected"]
    ticks = [quote(0.5, 99.9, 100.1), *(tick(second, 100.0) for second in (1, 2)), quote(2.5, 95.0, 105.0)]
    ticks += [tick(second, 100.0) for second in range(3, 8)]
    wide = qf.SignalFilters(max_spread_bps=50.0)
    script = {0: buy(2.0), 2: sell(5.0, stop_loss=105.0)}
    engine = play(ticks, script, wide, kind=TickScript)
    reversal = engine.records.signals[1]
    assert (reversal.decision, reversal.wanted) == ("resized", -5.0)
    assert reversal.decision_check == "spread in basis points"
    assert [(check.allowed, check.passed) for check in reversal.checks if check.name == "spread in basis points"] == [
        (2.0, False)
    ]
    assert [(side, quantity) for side, quantity, _ in fills(engine)] == [("buy", 2.0), ("sell", 2.0)]
    assert statuses(engine) == {1: "filled", 2: "filled"}
    # Let through whole, it has its stop-loss.
    assert len(statuses(play(ticks, script, qf.SignalFilters(), kind=TickScript))) == 3


def test_a_close_keeps_its_odd_lot_where_a_reversal_is_cut_down_to_it():
    steps = Instrument("A", START, quantity_step=1.0)
    odd = lambda strategy: strategy.order_target("A", quantity=-5.0)  # noqa: E731
    ticks = [quote(0.5, 99.99, 100.01), tick(1, 100.0), tick(2, 100.0), steps, quote(2.5, 90.0, 110.0)]
    ticks += [tick(3, 100.0), tick(4, 100.0), tick(5, 100.0)]
    engine = play(ticks, {0: buy(2.5), 2: odd}, qf.SignalFilters(max_spread_bps=50.0), kind=TickScript)
    assert [quantity for _, quantity, _ in fills(engine)] == [2.5, 2.5]
    assert not engine.desks["script"].book.open


def test_what_the_user_orders_by_hand_is_not_filtered():
    events = flat(3)
    engine = play(events[:2], {0: buy(2.0)}, qf.SignalFilters())
    assert len(fills(engine)) == 1
    strict = play(events[:1], {0: buy()}, STRICT)
    assert decisions(strict) == ["rejected"]
    strict.process(Rebalance(strict.clock_ns, weights={"A": 0.5}))
    strict.process_all(events[1:2])
    assert [signal.decision for signal in strict.records.signals] == ["rejected", "sent"]
    strict.process(Flatten(strict.clock_ns))
    strict.process_all(events[2:])
    assert not strict.desks["script"].book.open


def test_a_strategys_rebalance_is_filtered_symbol_by_symbol():
    def rebalance(strategy):
        strategy.rebalance({"A": 0.4, "B": 0.4})

    events = [event for pair in zip(flat(3), flat(3, symbol="B"), strict=True) for event in pair]
    engine = play([*events[:4]], {1: rebalance}, qf.SignalFilters(stale_after_s=30.0))
    assert decisions(engine) == ["sent", "sent"]
    # A's second bar has not come when B's is heard first.
    late = [events[0], events[1], events[3], events[2], *events[4:]]
    engine = play(late, {2: rebalance}, qf.SignalFilters(stale_after_s=30.0))
    assert {one.symbol: one.decision for one in engine.records.signals} == {"A": "rejected", "B": "sent"}


def test_while_it_warms_up_that_is_the_reason_and_no_filter():
    past = WarmUp(START, bars=[bar(index - 5, 100, 100, 100, 100) for index in range(5)])
    engine = play([past, *flat(2)], {0: buy(), 5: buy()}, STRICT)
    assert engine.records.signals[0].decision_reason.startswith("warming up")
    assert engine.records.signals[0].checks == ()
    assert engine.records.signals[1].decision_check == "expected move in basis points"


# -- properties --------------------------------------------------------------------------------

some = st.sampled_from
any_filters = st.builds(
    qf.SignalFilters,
    one_per_bar=st.booleans(),
    cooldown_after_loss_s=some((None, 1.0, 90.0, 1e6)),
    minimum_edge=some((None, 0.1, 3.0, 1e6)),
    edge_atr_period=some((1, 3, 14)),
    stale_after_s=some((None, 0.1, 61.0)),
    max_spread_bps=some((None, 1.0, 30.0)),
    refuse_when_closed=st.booleans(),
    require_warm=st.booleans(),
    conflicts=some(("keep", "refuse")),
)
open_at_times = Hours(
    "A", START, tuple((START + n * MINUTE, START + n * MINUTE + 30 * SECOND) for n in range(0, 60, 2))
)


class Reducing(AnyOrders):
    """Between its drawn orders it cuts its positions down; what it wanted is noted."""

    def setup(self) -> None:
        # On tick and quote it is asked long before this is ready.
        self.average = self.indicator(qf.SMA, 2)

    def on_start(self) -> None:
        super().on_start()
        self.wanted: list[tuple[float, float, object]] = []

    def act(self) -> None:
        super().act()
        for symbol, part in (("A", 0.5), ("B", 1.0)):
            if self.number % 3 or symbol not in self.symbols:
                continue
            with suppress(OrderError):
                for order in self.orders:
                    if order.symbol == symbol:
                        self.cancel(order.order_id)
                held = self.position(symbol).quantity
                if held:
                    order = self.sell if held > 0.0 else self.buy
                    self.wanted.append((held, abs(held) * part, order(symbol, quantity=abs(held) * part)))


def filtered_engine(requests, costs, filters) -> qf.Engine:
    strategies = {"one": Reducing(), "two": Reducing(shift=3)}
    for strategy in strategies.values():
        strategy.requests = requests
    return qf.Engine(strategies, cash=100_000.0, costs=costs, filters=filters, timeframe="1m", symbols=("A", "B"))


@given(any_market, st.lists(request, max_size=12), any_costs, any_filters)
@settings(max_examples=200, deadline=None)
def test_a_position_can_always_be_reduced_and_no_order_is_larger_than_was_wanted(events, requests, costs, filters):
    engine = filtered_engine(requests, costs, filters)
    for event in [open_at_times, *events]:
        engine.process(event)
        assert not engine.exceptions, engine.exceptions
        balanced(engine)
    sent = {order.order_id: order for order in reversed(engine.records.orders)}
    for desk in engine.desks.values():
        for _, quantity, order_id in desk.strategy.wanted:
            assert order_id is not None, "an exit was refused"
            assert sent[order_id].quantity == quantity
    for signal in engine.records.signals:
        allowed = sent[signal.order_id].quantity if signal.order_id is not None else 0.0
        assert allowed <= abs(signal.wanted)
        assert signal.decision != "sent" or all(check.passed for check in signal.checks)
        for check in signal.checks:
            assert check.passed or allowed <= check.allowed * (1 + 1e-9)
        assert bool(signal.decision_check) == any(not check.passed for check in signal.checks)


@given(any_market, st.lists(request, max_size=12), any_costs, any_filters, st.data())
@settings(max_examples=60, deadline=None)
def test_a_journal_replayed_from_anywhere_gives_the_same_checks(events, requests, costs, filters, data):
    events = [open_at_times, *events]
    through = filtered_engine(requests, costs, filters)
    through.process_all(events)
    cut = data.draw(st.integers(0, len(events)))
    kept = msgspec.msgpack.Decoder(list[Event]).decode(msgspec.msgpack.encode(events))
    again = filtered_engine(requests, costs, filters)
    again.process_all(kept[:cut])
    again.process_all(kept[cut:])
    for name in ("signals", "orders", "fills"):
        assert msgspec.msgpack.encode(getattr(through.records, name)) == msgspec.msgpack.encode(
            getattr(again.records, name)
        )


@given(any_market, st.lists(request, max_size=12), any_costs)
@settings(max_examples=60, deadline=None)
def test_filters_that_nothing_fails_change_no_order(events, requests, costs):
    lenient = qf.SignalFilters(stale_after_s=1e9, max_spread_bps=1e9, require_warm=False)
    runs = [filtered_engine(requests, costs, filters) for filters in (None, lenient)]
    for engine in runs:
        engine.process_all(events)
    assert runs[0].records.orders == runs[1].records.orders
    assert runs[0].records.fills == runs[1].records.fills


# -- runs --------------------------------------------------------------------------------------


class Crosses(qf.MovingAverageCrossover):
    """Turns round at each crossing, and buys twice."""

    def on_bar(self, bar: qf.Bar) -> None:
        super().on_bar(bar)
        if self.fast_average[bar.symbol].value > self.slow_average[bar.symbol].value:
            self.buy(bar.symbol, quantity=1.0, take_profit=bar.close * 1.02)
            self.buy(bar.symbol, quantity=1.0)


FILTERS = qf.SignalFilters(
    one_per_bar=True, cooldown_after_loss_s=600.0, minimum_edge=0.8, edge_atr_period=5, stale_after_s=120.0
)
FRAMES = ("fills", "orders", "signals", "checks", "trades", "equity")


def assert_equal_frames(one, other) -> None:
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)


def test_a_session_under_filters_equals_the_backtest_and_a_resumed_one_goes_on(tmp_path):
    events = walk(600, seed=5)
    strategy = Crosses(fast=3, slow=8)
    result = qf.backtest(strategy, events, filters=FILTERS)
    failed = result.checks[~result.checks.passed]
    assert {"entries in this bar", "seconds since a loss", "expected move in basis points"} <= set(failed.check)
    assert len(result.fills) > 10
    session = qf.paper(strategy, qf.ReplayFeed(events, speed=None), filters=FILTERS, journal=tmp_path / "one.sqlite")
    session.start().wait(30)
    assert_equal_frames(session, result)
    assert session.verify()
    assert FILTERS.describe() in session.result.assumptions and FILTERS.describe() in result.assumptions
    with JournalReader(tmp_path / "one.sqlite") as reader:
        assert reader.meta["filters"]["class"] == "SignalFilters"

    path = tmp_path / "two.sqlite"
    session = qf.paper(strategy, qf.ReplayFeed(events, speed=3_000.0), filters=FILTERS, journal=path).start()
    end_s = time.monotonic() + 20.0
    while session.snapshot.events < 100 and time.monotonic() < end_s:
        time.sleep(0.01)
    session.suspend()
    assert 100 <= session.snapshot.events < 600
    resumed = qf.resume(path, feed=qf.ReplayFeed(events, speed=None), strategies=Crosses)
    resumed.start().wait(30)
    assert_equal_frames(resumed, result)
    assert resumed.verify()


def test_the_counts_of_what_was_not_followed_say_why():
    result = qf.backtest(Crosses(fast=3, slow=8), walk(600, seed=5), filters=FILTERS)
    refused = result.signals[result.signals.decision == "rejected"]
    counts = refused.groupby("decision_check").size()
    assert counts["entries in this bar"] > 0 and counts.sum() == len(refused)
    # Each refused signal has its failed check, by its number.
    failed = result.checks[~result.checks.passed]
    assert set(refused.signal_id) <= set(failed.signal_id)
    again = result.checks[(result.checks.check == "entries in this bar") & ~result.checks.passed]
    assert (again.value == 2.0).all() and (again.limit == 1.0).all() and (again.allowed == 0.0).all()
    first = refused[refused.decision_check == "entries in this bar"].iloc[0]
    assert first.decision_reason.startswith("entered on this side in this bar already")


def test_the_checks_of_a_run_without_filters_are_those_of_the_limits():
    result = qf.backtest(Crosses(fast=3, slow=8), walk(200, seed=5))
    assert set(result.checks.check) == {"gross exposure with costs"}
    empty = qf.backtest(qf.Strategy, walk(20)).checks
    assert len(empty) == 0 and dict(empty.dtypes) == dict(result.checks.dtypes)


@qf.signal
def up(bars):
    return np.where(np.arange(len(bars)) % 4 < 2, 1.0, -1.0)


def test_a_signal_function_is_filtered_too():
    data = walk(300, seed=2)
    frame = pd.DataFrame(
        {name: [getattr(one, name) for one in data] for name in ("open", "high", "low", "close", "volume")},
        index=pd.DatetimeIndex([one.open_ns for one in data], tz="UTC"),
    )
    quick = qf.backtest(up, frame)
    refused = qf.backtest(up, frame, filters=qf.SignalFilters(minimum_edge=1e6))
    passed = qf.backtest(up, frame, filters=qf.SignalFilters())
    assert len(quick.fills) > 100 and len(refused.fills) == 0 and len(refused.signals) > 0
    assert set(refused.signals.decision_check) == {"expected move in basis points"}
    assert passed.fills.equals(quick.fills)
    cooled = qf.backtest(up, frame, filters=qf.SignalFilters(cooldown_after_loss_s=3_600.0))
    # Most reversals after a loss are cut down to an exit.
    assert "resized" in set(cooled.signals.decision) and 0 < len(cooled.fills) < len(quick.fills)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cooldown_after_loss_s": 0.0},
        {"minimum_edge": -1.0},
        {"stale_after_s": inf},
        {"max_spread_bps": float("nan")},
        {"edge_atr_period": 0},
        {"edge_atr_period": 1_000},
        {"conflicts": "net"},
        {"one_per_bar": "yes"},
        {"require_warm": None},
    ],
)
def test_what_makes_no_sense_is_refused_by_name(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ParameterError, match=f"{name}="):
        qf.SignalFilters(**wrong)


def test_filters_of_another_kind_are_refused_where_they_are_given():
    with pytest.raises(ParameterError, match=r"give qf\.SignalFilters"):
        qf.backtest(qf.Strategy, walk(5), filters={"one_per_bar": True})
    with pytest.raises(ParameterError, match=r"give qf\.SignalFilters"):
        qf.paper(qf.Strategy, qf.ReplayFeed(walk(5), speed=None), filters=qf.RiskLimits())


def test_a_run_says_what_its_filters_are():
    text = STRICT.describe()
    for part in ("crossed", "indicators", "hours", "older than", "spread", "second time", "loss", "cost", "against"):
        assert part in text
    engine = play([*flat(1)], {}, STRICT)
    engine.process(Stop(engine.clock_ns))
    assert "trade apart" not in text
