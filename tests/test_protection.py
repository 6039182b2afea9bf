"""Protective orders on a position, against numbers worked by hand."""

import pytest
from support import MINUTE, START, TickScript, bar, bars, fills, quote, run, statuses, tick

import qfkit as qf
from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import CorporateAction, Pause, Protect, Stop
from qfkit.core.strategy import Strategy
from qfkit.errors import OrderError

FLAT = [(100, 100, 100, 100), (100, 100, 100, 100)]
"""Two quiet bars at 100: what is bought at the close of the first is held at 100 by the close of the second."""


def buy(quantity: float = 10, **arguments):
    return lambda strategy: strategy.buy("A", quantity=quantity, **arguments)


def sell(quantity: float = 10, **arguments):
    return lambda strategy: strategy.sell("A", quantity=quantity, **arguments)


def protect(**fractions):
    return lambda strategy: strategy.protect("A", **fractions)


def both(*actions):
    return lambda strategy: [action(strategy) for action in actions]


def protected(rows, fractions, entry=None, **settings):
    """Ten bought at 100 (or the ``entry``), protected at the close of the second bar."""
    return run(bars([*FLAT, *rows]), {0: entry or buy(), 1: protect(**fractions)}, **settings)


def works(engine: Engine) -> list[tuple[str, float, float | None]]:
    """The orders at work: type, what is left of them, and the price of a stop or limit."""
    return [
        (str(one.order.type), one.remaining, one.stop_price or one.limit_price) for one in engine.broker.open.values()
    ]


# -- one order ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fractions", "rows", "price"),
    [
        # 2 % under the average price of 100.
        ({"stop_loss": 0.02}, [(99, 99, 98.1, 99), (99, 99, 97, 98.5)], 98.0),
        ({"stop_loss": 0.02}, [(96, 99, 95, 99)], 96.0),  # the open is worse than the stop
        ({"take_profit": 0.03}, [(101, 102.9, 100, 102), (102, 104, 102, 103)], 103.0),
        ({"take_profit": 0.03}, [(105, 106, 104, 105)], 105.0),  # the open is better than the target
        # From the price when it was put, 100: the best is 110, so 5 % under it is 104.5.
        ({"trailing": 0.05}, [(101, 110, 105, 109), (108, 109, 104, 106)], 104.5),
        ({"trailing": 0.05}, [(101, 110, 105, 109), (103, 103, 102, 103)], 103.0),  # a gap through it
        ({"trailing": 0.05}, [(99, 99, 94, 96)], 95.0),  # nothing better than the 100 it began with
        # Both within a bar: the stop counts, unless the open was beyond the target already.
        ({"stop_loss": 0.02, "take_profit": 0.03}, [(100, 104, 97, 103)], 98.0),
        ({"stop_loss": 0.02, "take_profit": 0.03}, [(104, 104, 97, 98)], 104.0),
        # The nearer of two stops: 98 against 100 * 0.97.
        ({"stop_loss": 0.02, "trailing": 0.03}, [(100, 100, 96, 97)], 98.0),
        # After a rise to 105 the trailing one: 101.85.
        ({"stop_loss": 0.02, "trailing": 0.03}, [(100, 105, 100, 105), (104, 104, 97, 98)], 101.85),
    ],
)
def test_a_long_position_is_closed_by_hand_worked_prices(fractions, rows, price):
    engine = protected(rows, fractions)
    assert fills(engine) == [("buy", 10, 100.0), ("sell", 10, pytest.approx(price, abs=1e-9))]
    ended = statuses(engine)
    assert list(ended.values()).count("filled") == 2
    assert list(ended.values()).count("cancelled") == len(fractions) - 1
    assert not engine.desks["script"].protections


@pytest.mark.parametrize(
    ("fractions", "rows", "price"),
    [
        ({"stop_loss": 0.02}, [(101, 103, 101, 101)], 102.0),
        ({"stop_loss": 0.02}, [(104, 104, 103, 103)], 104.0),
        ({"take_profit": 0.03}, [(99, 99, 96, 98)], 97.0),
        ({"trailing": 0.05}, [(99, 99, 90, 91), (92, 95, 92, 93)], 94.5),
        ({"stop_loss": 0.02, "take_profit": 0.03}, [(100, 103, 96, 99)], 102.0),
    ],
)
def test_a_short_position_is_mirrored(fractions, rows, price):
    engine = protected(rows, fractions, entry=sell())
    assert fills(engine) == [("sell", 10, 100.0), ("buy", 10, pytest.approx(price))]


def test_the_reason_stands_with_order_and_signal():
    engine = run(bars([*FLAT, (99, 99, 97, 97)]), {0: buy(), 1: protect(stop_loss=0.02, reason="as always")})
    assert engine.records.fills[-1].reason == "stop-loss: as always"
    signal = engine.records.signals[-1]
    assert (signal.action, signal.wanted, signal.decision, signal.order_id) == ("protect", -10.0, "sent", 2)
    assert {order.signal_id for order in engine.records.orders if order.order_id == 2} == {signal.signal_id}


# -- asked for together with the entry ------------------------------------------------------------


def test_said_with_the_entry_it_works_from_the_fill_on():
    # Filled at the open of 101, so the stop is at 98.98; the same bar falls to 98.
    entry = both(buy(), protect(stop_loss=0.02, take_profit=0.05))
    engine = run(bars([(100, 100, 100, 100), (101, 102, 98, 99)]), {0: entry})
    assert fills(engine) == [("buy", 10, 101.0), ("sell", 10, pytest.approx(98.98))]
    # And the target, where only that is reached: 101 * 1.05.
    engine = run(bars([(100, 100, 100, 100), (101, 107, 100, 106)]), {0: entry})
    assert fills(engine)[1] == ("sell", 10, pytest.approx(106.05))


@pytest.mark.parametrize(
    ("row", "sold"),
    [
        # Bought inside the bar at 99: the stop is at 97.02, below the open, and the bar went there.
        ((100, 100.5, 96.5, 98.0), 97.02),
        # A target inside the bar of the entry does not count: it may have come before.
        ((100, 103.0, 98.5, 102.0), None),
    ],
)
def test_an_entry_inside_a_bar(row, sold):
    entry = both(buy(limit_price=99.0), protect(stop_loss=0.02, take_profit=0.03))
    engine = run(bars([(100, 100, 100, 100), row]), {0: entry}, finish=False)
    expected = [] if sold is None else [("sell", 10, pytest.approx(sold))]
    assert fills(engine) == [("buy", 10, 99.0), *expected]


def test_a_trailing_stop_of_an_entry_inside_a_bar():
    # Bought at 99, so 3 % under it is 96.03: the close of 95 is surely after the entry and beyond.
    entry = both(buy(limit_price=99.0), protect(trailing=0.03))
    engine = run(bars([(100, 100, 100, 100), (100, 100, 94, 95)]), {0: entry})
    assert fills(engine) == [("buy", 10, 99.0), ("sell", 10, pytest.approx(96.03))]
    # A low before the entry does not count where the entry was on the way up.
    entry = both(buy(stop_price=102.0), protect(trailing=0.03))
    rows = [(100, 100, 100, 100), (100, 104, 97, 103), (103, 103, 99.92, 100)]
    # 102 * 0.97 = 98.94 was passed on the way there only if the low came first: on the strict side it fires.
    engine = run(bars(rows), {0: entry})
    assert fills(engine) == [("buy", 10, 102.0), ("sell", 10, pytest.approx(98.94))]
    rows[1] = (100, 104, 99.5, 103)
    # Else the close of 103 moves it to 99.91, and the next bar stays above.
    engine = run(bars(rows), {0: entry}, finish=False)
    assert fills(engine) == [("buy", 10, 102.0)]
    (working,) = engine.broker.open.values()
    assert working.trail_stop() == pytest.approx(103 * 0.97)


def test_an_order_refused_or_taken_back_leaves_nothing_to_protect():
    refused = both(sell(), protect(stop_loss=0.02))
    engine = run(bars([*FLAT, *FLAT]), {0: refused}, risk=qf.RiskLimits(allow_short=False))
    assert [signal.decision for signal in engine.records.signals] == ["rejected", "rejected"]
    assert "nothing to protect" in engine.records.signals[1].decision_reason
    # Taken back; a position that another order opens later is not protected.
    cancel = both(lambda strategy: strategy.cancel(1), buy())
    entry = both(buy(limit_price=90.0), protect(stop_loss=0.02))
    engine = run(bars([*FLAT, *FLAT, (90, 90, 80, 80)]), {0: entry, 1: cancel}, finish=False)
    assert fills(engine) == [("buy", 10, 100.0)]
    assert not engine.desks["script"].protections
    assert not engine.broker.open


# -- the position changes ------------------------------------------------------------------------


def test_it_grows_with_the_position_and_its_average_price():
    # 10 at 100 and 10 at 104 are 20 at 102: the stop goes from 98 to 99.96.
    rows = [(104, 104, 104, 104), (103, 103, 99.97, 103), (103, 103, 99.5, 100)]
    engine = run(bars([*FLAT, *rows]), {0: buy(), 1: both(protect(stop_loss=0.02), buy())})
    assert fills(engine) == [("buy", 10, 100), ("buy", 10, 104), ("sell", 20, pytest.approx(99.96))]


def test_a_stop_that_moves_inside_a_bar_may_be_reached_in_it():
    # Bought 10 more at 105 inside the bar: 20 at 102.5, the stop at 100.45; the bar closes at 100.
    rows = [(101, 106, 99, 100)]
    engine = run(bars([*FLAT, *rows]), {0: buy(), 1: both(protect(stop_loss=0.02), buy(stop_price=105))})
    assert fills(engine) == [("buy", 10, 100), ("buy", 10, 105), ("sell", 20, pytest.approx(100.45))]


def test_it_shrinks_with_the_position():
    rows = [(100, 100, 100, 100), (99, 99, 97, 97)]
    engine = run(bars([*FLAT, *rows]), {0: buy(), 1: both(protect(stop_loss=0.02, take_profit=0.5), sell(4))})
    assert fills(engine) == [("buy", 10, 100), ("sell", 4, 100), ("sell", 6, 98.0)]


@pytest.mark.parametrize("exit_", ["close", "sell", "target"])
def test_closed_by_other_means_it_vanishes(exit_):
    leave = {
        "close": lambda strategy: strategy.close("A"),
        "sell": sell(),
        "target": lambda strategy: strategy.order_target("A", quantity=0),
    }[exit_]
    rows = [(100, 100, 100, 100), (99, 99, 99, 99), (50, 200, 50, 100)]
    engine = run(
        bars([*FLAT, *rows]),
        {0: buy(), 1: protect(stop_loss=0.02, trailing=0.03, take_profit=0.1), 2: leave},
        finish=False,
    )
    assert fills(engine) == [("buy", 10, 100), ("sell", 10, 99)]
    assert not engine.broker.open


@pytest.mark.parametrize(
    ("leave", "end"),
    [(lambda strategy: strategy.order_target("A", quantity=0), 0), (sell(4), 0), (sell(25), -15)],
)
def test_an_exit_and_the_stop_at_one_open_turn_nothing_over(leave, end):
    """The open gaps through the stop while a market order to sell is on its way: both would sell."""
    engine = run(bars([*FLAT, (95, 95, 95, 95)]), {0: buy(), 1: both(protect(stop_loss=0.02), leave)})
    assert engine.desks["script"].book.position(engine.tracks["A"].market).quantity == end
    assert {price for _, _, price in fills(engine)[1:]} == {95.0}


def test_the_same_holds_for_a_bracket():
    entry = buy(stop_loss=98.0)
    engine = run(bars([*FLAT, (95, 95, 95, 95)]), {0: entry, 1: lambda s: s.order_target("A", quantity=0)})
    assert fills(engine) == [("buy", 10, 100), ("sell", 10, 95)]


def test_turned_over_it_is_gone_and_the_new_position_has_its_own_where_it_was_asked_for():
    turn = lambda strategy: strategy.order_target("A", quantity=-10)  # noqa: E731
    rows = [(100, 100, 100, 100), (101, 103, 97, 101)]
    engine = run(bars([*FLAT, *rows]), {0: buy(), 1: both(protect(stop_loss=0.02), turn)}, finish=False)
    assert fills(engine) == [("buy", 10, 100), ("sell", 20, 100)]
    assert not engine.broker.open
    # Said after the order that turns it over, it is meant for the short position: stop at 102.
    engine = run(bars([*FLAT, *rows]), {0: buy(), 1: both(protect(stop_loss=0.05), turn, protect(stop_loss=0.02))})
    assert fills(engine) == [("buy", 10, 100), ("sell", 20, 100), ("buy", 10, 102.0)]
    assert statuses(engine)[2] == "cancelled"


def test_a_split_changes_size_and_price():
    events = [*bars(FLAT), CorporateAction("A", START + 2 * MINUTE, START + 2 * MINUTE, split=4.0)]
    events += [bar(2, 25, 25, 24.6, 25), bar(3, 25, 25, 24, 24)]
    engine = run(events, {0: buy(), 1: protect(stop_loss=0.02, take_profit=0.1)})
    assert fills(engine) == [("buy", 10, 100), ("sell", 40, 24.5)]


def test_a_margin_call_and_the_stop_at_one_open_turn_nothing_over():
    # Equity 19 * 62 - 900 = 278 is below a quarter of 1,178: some are to be closed at the next open, which
    # gaps through the stop at 60, and that sells all 19.
    strategy = type("Once", (TickScript,), {"on_bar": lambda self, bar: self.act(), "on_tick": Strategy.on_tick})()
    strategy.actions = {0: buy(19), 1: protect(stop_loss=0.4)}
    engine = Engine(
        {"script": strategy},
        cash=1000.0,
        costs=Costs.ideal(),
        margin=qf.Margin.crypto(2.0, maintenance=0.25),
    )
    engine.process_all(bars([*FLAT, (100, 100, 62, 62), (55, 55, 55, 55), (55, 55, 55, 55)]))
    assert not engine.exceptions
    assert len(engine.records.margin_calls) == 1
    assert fills(engine) == [("buy", 19, 100), ("sell", 19, 55)]
    assert not engine.broker.open


# -- said again, refused, errors ------------------------------------------------------------------


def test_other_fractions_replace_and_the_same_change_nothing():
    rows = [(100, 110, 100, 110), (108, 109, 104, 105)]
    every_bar = dict.fromkeys((1, 2, 3), protect(trailing=0.05))
    engine = run(bars([*FLAT, *rows]), {0: buy(), **every_bar})
    # Begun anew at each bar it would be at 104.5 all the same here, but as three orders.
    assert fills(engine) == [("buy", 10, 100), ("sell", 10, pytest.approx(104.5))]
    assert sorted(statuses(engine)) == [1, 2]
    engine = run(
        bars([*FLAT, (100, 100, 98.5, 100), (100, 100, 97, 97)]),
        {0: buy(), 1: protect(stop_loss=0.01, take_profit=0.05), 2: protect(stop_loss=0.03)},
        finish=False,
    )
    assert fills(engine) == [("buy", 10, 100), ("sell", 10, 99.0)]
    engine = run(
        bars([*FLAT, (100, 100, 99.5, 100), (100, 106, 97.5, 97.5)]),
        {0: buy(), 1: protect(stop_loss=0.01, take_profit=0.05), 2: protect(stop_loss=0.03)},
        finish=False,
    )
    assert works(engine) == [("stop", 10, 97.0)]
    assert statuses(engine) == {1: "filled", 2: "cancelled", 3: "cancelled", 4: "working"}


def test_one_cancelled_by_hand_leaves_the_others():
    cancel = lambda strategy: strategy.cancel(strategy.orders[0].order_id)  # noqa: E731
    rows = [(100, 100, 100, 100), (100, 104, 96, 103)]
    engine = run(bars([*FLAT, *rows]), {0: buy(), 1: protect(stop_loss=0.02, take_profit=0.03), 2: cancel})
    assert fills(engine) == [("buy", 10, 100), ("sell", 10, 103)]


def test_a_price_that_was_changed_stays_and_the_size_is_the_positions():
    move = lambda strategy: strategy.modify(2, stop_price=99.0)  # noqa: E731
    rows = [(100, 100, 100, 100), (104, 104, 104, 104), (104, 104, 98.9, 99)]
    engine = run(
        bars([*FLAT, *rows]),
        {0: buy(), 1: protect(stop_loss=0.02, take_profit=0.05), 2: both(move, buy())},
        finish=False,
    )
    # 20 at 102: the target went to 107.1, the stop that was moved stays.
    assert fills(engine) == [("buy", 10, 100), ("buy", 10, 104), ("sell", 20, 99)]
    assert [order.limit_price for order in engine.records.orders if order.order_id == 3][1] == pytest.approx(107.1)
    with pytest.raises(OrderError, match="its quantity is the position's"):
        run(bars([*FLAT, *rows]), {0: buy(), 1: protect(stop_loss=0.02), 2: lambda s: s.modify(2, quantity=5)})


@pytest.mark.parametrize(
    ("fractions", "words"),
    [
        ({}, "give stop_loss="),
        ({"stop_loss": 2.0}, "between 0 and 1"),
        ({"trailing": 0.0}, "between 0 and 1"),
        ({"take_profit": -0.1}, "above 0"),
        ({"stop_loss": float("nan")}, "between 0 and 1"),
    ],
)
def test_fractions_that_make_no_sense(fractions, words):
    with pytest.raises(OrderError, match=words):
        protected([], fractions)
    with pytest.raises(OrderError, match="Did you mean"):
        run(bars([*FLAT]), {0: lambda strategy: strategy.protect("AA", stop_loss=0.02)})


def test_a_long_position_may_gain_more_than_it_cost_a_short_one_cannot():
    assert fills(protected([(150, 260, 150, 255)], {"take_profit": 1.5}))[1] == ("sell", 10, 250.0)
    with pytest.raises(OrderError, match="between 0 and 1"):
        protected([], {"take_profit": 1.5}, entry=sell())


def test_a_paused_strategy_puts_no_protection_and_that_leaves_a_trace():
    events = [*bars(FLAT)]
    events.insert(1, Pause(START + MINUTE))
    engine = run(events, {0: buy(), 1: protect(stop_loss=0.02)})
    assert engine.records.signals[-1].decision_reason == "the strategy is paused"
    assert list(statuses(engine)) == [1]


def test_what_was_put_by_hand_outlives_the_failure_and_stands_against_the_code():
    def fail(strategy):
        raise ZeroDivisionError

    strategy = type("Fails", (TickScript,), {"on_bar": lambda self, bar: self.act(), "on_tick": Strategy.on_tick})()
    strategy.actions = {0: buy(), 2: both(protect(stop_loss=0.2), sell(limit_price=200.0)), 3: fail}
    engine = Engine({"script": strategy}, cash=10_000.0, costs=Costs.ideal())
    engine.process_all(bars(FLAT))
    engine.process(Protect(START + 2 * MINUTE, "script", symbol="A", stop_loss=0.02))
    engine.process_all([bar(2, 100, 100, 100, 100), bar(3, 100, 100, 100, 100)])
    assert engine.desks["script"].state == "failed"
    assert works(engine) == [("stop", 10, 98.0)]
    engine.process(bar(4, 99, 99, 97, 97))
    assert fills(engine) == [("buy", 10, 100), ("sell", 10, 98)]
    # The strategy's own goes with it.
    strategy.actions = {0: buy(), 1: protect(stop_loss=0.02), 2: fail}
    engine = Engine({"script": type(strategy)()}, cash=10_000.0, costs=Costs.ideal())
    engine.desks["script"].strategy.actions = strategy.actions
    engine.process_all(bars([*FLAT, *FLAT]))
    assert engine.desks["script"].state == "failed"
    assert not engine.broker.open


# -- ticks and quotes ----------------------------------------------------------------------------


def test_ticks_fire_stop_target_and_trail():
    prices = [100, 100, 101, 106, 104, 102, 101]
    ticks = [tick(index, price) for index, price in enumerate(prices)]
    both_stops = both(buy(), protect(stop_loss=0.02, trailing=0.03))
    # The best is 106: 3 % under it is 102.82, which the trade at 102 passes; it fills there.
    assert fills(run(ticks, {0: both_stops}, kind=TickScript)) == [("buy", 10, 100), ("sell", 10, 102)]
    target = both(buy(), protect(stop_loss=0.02, take_profit=0.05))
    # A resting limit fills at its own price.
    assert fills(run(ticks, {0: target}, kind=TickScript)) == [("buy", 10, 100), ("sell", 10, 105)]
    gap = [tick(0, 100), tick(1, 100), tick(2, 90), tick(3, 91)]
    assert fills(run(gap, {0: target}, kind=TickScript)) == [("buy", 10, 100), ("sell", 10, 90)]


def test_a_stop_filled_in_parts_takes_from_the_target():
    costs = Costs(commission=0, slippage_bps=0, latency_s=0, participation=0.5, limit_fills="touch")
    ticks = [tick(0, 100), tick(1, 100, 20), tick(2, 97, 8), tick(3, 104, 6), tick(4, 104, 100)]
    engine = run(ticks, {0: both(buy(), protect(stop_loss=0.02, take_profit=0.03))}, costs=costs, kind=TickScript)
    # Half of 8 at 97; the stop goes on as a market order and takes half of 6 at 104, then the rest.
    assert fills(engine) == [("buy", 10, 100), ("sell", 4, 97), ("sell", 3, 104), ("sell", 3, 104)]
    assert list(statuses(engine).values()) == ["filled", "filled", "cancelled"]
    target = [order for order in engine.records.orders if order.order_id == 3]
    assert [order.quantity for order in target] == [10, 6, 3, 3]


def test_a_position_bought_in_parts_is_protected_as_it_grows():
    costs = Costs(commission=0, slippage_bps=0, latency_s=0, participation=0.5, limit_fills="touch")
    ticks = [tick(0, 100), tick(1, 100, 8), tick(2, 102, 8), tick(3, 102, 100)]
    engine = run(ticks, {0: both(buy(), protect(stop_loss=0.5))}, costs=costs, kind=TickScript, finish=False)
    # 4 at 100, 4 and 2 at 102: 101.2 on average.
    assert works(engine) == [("stop", 10, pytest.approx(50.6))]


def test_latency_holds_for_what_is_asked_for_and_not_for_what_follows():
    costs = Costs(commission=0, slippage_bps=0, latency_s=1.0, participation=None, limit_fills="touch")
    ticks = [tick(second, 100) for second in range(3)]
    ticks += [tick(2.5, 97), tick(3.2, 96), tick(4, 95)]
    engine = run(ticks, {0: buy(), 2: protect(stop_loss=0.02)}, costs=costs, kind=TickScript)
    # Asked for at 2 s, at the market at 3 s: the trade at 97 came before.
    assert fills(engine) == [("buy", 10, 100), ("sell", 10, 96)]


def test_quotes_alone_fire_a_stop():
    quotes = [quote(0, 99.9, 100.1), quote(1, 99.9, 100.1), quote(2, 98.0, 98.2), quote(3, 97.8, 98.0)]
    strategy = type("OnQuote", (TickScript,), {"on_quote": lambda self, quote: self.act()})()
    strategy.actions = {0: both(buy(), protect(stop_loss=0.02))}
    engine = Engine({"script": strategy}, cash=10_000.0, costs=Costs.ideal())
    engine.process_all([*quotes, Stop(quotes[-1].received_ns)])
    # Bought at the ask of 100.1: the stop is at 98.098, which the bid of 98.0 passes.
    assert fills(engine) == [("buy", 10, 100.1), ("sell", 10, 98.0)]


def test_a_backtest_takes_it_in_one_line():
    class Protected(qf.Strategy):
        def on_bar(self, bar: qf.Bar) -> None:
            if not self.position(bar.symbol):
                self.buy(bar.symbol, weight=0.5)
                self.protect(bar.symbol, stop_loss=0.02, take_profit=0.04)

    result = qf.backtest(Protected, qf.sample("IBM"), costs=qf.Costs.ideal())
    trades = result.trades
    assert len(trades) > 50
    # Without costs a trade that no gap carried further ends at one of the two prices.
    exact = trades["return"].round(9).isin((-0.02, 0.04))
    assert exact.mean() > 0.5
    assert set(result.fills[result.fills.side == "sell"].reason) == {"stop-loss", "take-profit"}
