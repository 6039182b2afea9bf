"""Risk limits on each order, losses over time, and the two stops: worked by hand, on bars and ticks."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import qfkit as qf
from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import BlockEntries, Flatten, Hours, LiftStops, SetLimits, Tick
from qfkit.core.risk import RiskLimits
from qfkit.errors import ParameterError, SessionError
from tests.support import DAY, MINUTE, SECOND, START, TickScript, run, tick
from tests.test_session import HandFeed, bar, until


def ticks(*prices: float, symbol: str = "A", step: float = 1.0, start: float = 0.0) -> list[Tick]:
    return [tick(start + index * step, price, symbol=symbol) for index, price in enumerate(prices)]


def both(*rows: tuple[float, float]) -> list[Tick]:
    """Ticks of A and B, one of each a second."""
    found = []
    for index, (first, second) in enumerate(rows):
        found += [tick(index, first, symbol="A"), tick(index + 0.5, second, symbol="B")]
    return found


def limited(events, actions, cash=10_000.0, **limits):
    return run(events, actions, cash=cash, risk=RiskLimits(**limits), kind=TickScript)


def filled(engine: Engine) -> list[tuple[str, str, float]]:
    return [(fill.symbol, str(fill.side), fill.quantity) for fill in engine.records.fills]


def last_reason(engine: Engine) -> str:
    return engine.records.signals[-1].decision_reason


def buy(quantity: float, symbol: str = "A", **options):
    return lambda s: s.buy(symbol, quantity=quantity, **options)


def sell(quantity: float, symbol: str = "A", **options):
    return lambda s: s.sell(symbol, quantity=quantity, **options)


# -- one order, and the positions --------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "actions", "expected", "reason"),
    [
        ({"max_order_quantity": 5.0}, {0: buy(8.0)}, [("A", "buy", 5.0)], "order quantity 8 over 5"),
        ({"max_position_quantity": 7.0}, {0: buy(5.0), 2: buy(5.0)}, [("A", "buy", 5.0), ("A", "buy", 2.0)],
         "position quantity 10 over 7"),
        # Working orders count: 5 are on their way when the next 5 are asked for.
        ({"max_position_quantity": 7.0}, {0: lambda s: (s.buy("A", quantity=5.0), s.buy("A", quantity=5.0))},
         [("A", "buy", 5.0), ("A", "buy", 2.0)], "position quantity 10 over 7"),
        # 10,000 of equity: net 0.5 is 5,000 = 50 units of 100.
        ({"max_net_exposure": 0.5}, {0: buy(80.0)}, [("A", "buy", 50.0)], "net exposure 0.8 over 0.5"),
        ({"max_net_exposure": 0.5}, {0: sell(80.0)}, [("A", "sell", 50.0)], "net exposure 0.8 over 0.5"),
        ({"max_leverage": 0.25}, {0: buy(80.0)}, [("A", "buy", 25.0)], "leverage 0.8 over 0.25"),
    ],
)  # fmt: skip
def test_an_order_is_cut_to_its_limits(limits, actions, expected, reason) -> None:
    engine = limited(ticks(*[100.0] * 6), actions, **limits)
    assert filled(engine) == expected
    assert last_reason(engine) == reason


def test_net_exposure_lets_a_hedge_in() -> None:
    # 50 long A; B short 80 takes the net from +0.5 to -0.3, and 120 would to -0.7: cut to 100 (-0.5).
    actions = {0: buy(50.0), 4: sell(80.0, "B"), 6: sell(40.0, "B")}
    engine = limited(both(*[(100.0, 100.0)] * 6), actions, max_net_exposure=0.5, max_gross_exposure=5.0)
    assert filled(engine) == [("A", "buy", 50.0), ("B", "sell", 80.0), ("B", "sell", 20.0)]


def test_the_number_of_positions() -> None:
    actions = {1: buy(1.0), 3: buy(1.0, "B"), 5: buy(1.0), 7: sell(2.0), 9: buy(1.0, "B")}
    engine = limited(both(*[(100.0, 100.0)] * 8), actions, max_positions=1)
    # B is refused while A is held, more of A is not, and once A is closed B may be.
    assert filled(engine) == [("A", "buy", 1.0), ("A", "buy", 1.0), ("A", "sell", 2.0), ("B", "buy", 1.0)]
    assert [signal.decision_reason for signal in engine.records.signals if signal.decision == "rejected"] == [
        "positions 2 over 1"
    ]


def test_a_group_is_of_all_its_symbols() -> None:
    limits = {"max_group_weight": 0.6, "groups": {"tech": ("A", "B"), "other": ("C",)}}
    actions = {1: buy(40.0), 3: buy(40.0, "B")}
    engine = limited(both(*[(100.0, 100.0)] * 5), actions, **limits)
    assert filled(engine) == [("A", "buy", 40.0), ("B", "buy", 20.0)]
    assert last_reason(engine) == "group tech 0.8 over 0.6"


def test_orders_a_minute_never_hold_an_exit_back() -> None:
    actions = {number: buy(1.0) for number in range(3)} | {3: sell(2.0), 70: buy(1.0)}
    engine = limited(ticks(*[100.0] * 75), actions, max_orders_per_minute=2)
    assert filled(engine) == [("A", "buy", 1.0), ("A", "buy", 1.0), ("A", "sell", 2.0), ("A", "buy", 1.0)]
    assert [signal.decision_reason for signal in engine.records.signals] == [
        "", "", "orders a minute 3 over 2", "", ""
    ]  # fmt: skip


def test_limits_of_the_account_are_over_all_books() -> None:
    one, other = TickScript(), TickScript()
    one.actions, other.actions = {0: buy(40.0)}, {2: buy(40.0), 4: sell(30.0), 6: buy(5.0)}
    risk = {"account": RiskLimits(max_position_weight=0.25), "other": RiskLimits(max_order_quantity=35.0)}
    engine = Engine({"one": one, "other": other}, cash=20_000.0, costs=Costs.ideal(), risk=risk)
    engine.process_all(ticks(*[100.0] * 10))
    # 0.25 of 20,000 is 50 units: 40 are the first's, 10 are left for the other's 40.
    got = [(fill.strategy, str(fill.side), fill.quantity) for fill in engine.records.fills]
    assert got == [
        ("one", "buy", 40.0), ("other", "buy", 10.0), ("other", "sell", 20.0), ("other", "buy", 5.0)
    ]  # fmt: skip
    signals = {signal.signal_id: signal.decision_reason for signal in engine.records.signals}
    assert signals[2] == "order quantity 40 over 35; account position weight 0.4 over 0.25"
    # The sale of 30 is an exit of 10 and a short of 20: books are not netted, so 40 + 20 are 0.3, and 10 of them fit.
    assert signals[3] == "account position weight 0.3 over 0.25"
    assert signals[4] == ""


def test_value_at_risk_of_the_book_as_it_would_be() -> None:
    chance = np.random.default_rng(3)
    moves = chance.normal(0.0, 0.01, 60)
    prices = 100.0 * np.cumprod(1.0 + np.concatenate(([0.0], moves)))
    events = [tick(60.0 * index, float(price)) for index, price in enumerate(prices)]
    events += [tick(60.0 * len(prices) + 1.0, float(prices[-1]))]

    def whole(s):
        return s.buy("A", weight=1.0)

    at = 58
    engine = limited(events, {at: whole}, max_value_at_risk=1e-4, returns=40)
    check = next(check for check in engine.records.signals[-1].checks if check.name == "value at risk")
    # A mark is taken when its minute is over: the last return is that of the price before.
    returns = pd.Series(prices[:at]).pct_change().dropna().to_numpy()[-40:]
    assert check.value == pytest.approx(-np.quantile(returns, 0.05), rel=1e-9)
    assert not check.passed and not engine.records.fills
    passed = limited(events, {at: whole}, max_value_at_risk=1.5 * check.value, returns=40)
    assert len(passed.records.fills) == 1
    early = limited(events, {5: whole}, max_value_at_risk=0.5, returns=40)
    assert last_reason(early) == "value at risk is not known yet, limit 0.5" and not early.records.fills


def test_correlated_exposure_by_numpy() -> None:
    chance = np.random.default_rng(5)
    common = chance.normal(0.0, 0.01, 80)
    first = 100.0 * np.cumprod(1.0 + common + chance.normal(0.0, 0.004, 80))
    second = 100.0 * np.cumprod(1.0 + common + chance.normal(0.0, 0.004, 80))
    events = []
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        events += [tick(60.0 * index, float(one), symbol="A"), tick(60.0 * index + 1.0, float(other), symbol="B")]
    # At tick 121 A was bought for half of the equity; B at 141 on top of it, or against it.
    for side in (1.0, -1.0):
        act = buy(20.0, "B") if side > 0.0 else sell(20.0, "B")
        engine = limited(
            events, {121: buy(50.0), 141: act}, max_correlated_exposure=10.0, max_gross_exposure=10.0, returns=50
        )
        check = [check for check in engine.records.signals[-1].checks if check.name == "correlated exposure"][0]
        window = slice(69 - 50, 70)
        returns = np.column_stack([np.diff(x[window]) / x[window][:-1] for x in (first, second)])
        equity = 10_000.0 + 50.0 * (first[70] - first[61])
        weights = np.array([50.0 * first[70] / equity, side * 20.0 * second[70] / equity])
        expected = math.sqrt(weights @ np.corrcoef(returns.T) @ weights)
        assert check.value == pytest.approx(expected, rel=1e-9)
        gross = np.abs(weights).sum()
        assert (0.9 * gross < check.value < gross) if side > 0.0 else check.value < 0.75 * gross


# -- losses and stops -------------------------------------------------------------------------


def test_a_drawdown_blocks_entries_at_the_price_that_reaches_it() -> None:
    # 50 at 100 of 10,000: 1,000 are lost at 80. The working entry at 70 is cancelled, the exit at 110 stays.
    actions = {
        0: buy(50.0),
        2: lambda s: (s.buy("A", quantity=10.0, limit_price=70.0), s.sell("A", quantity=50.0, limit_price=110.0)),
        6: buy(1.0),
        7: sell(20.0),
    }
    engine = limited(ticks(100, 100, 100, 90, 81, 79.5, 80, 80, 80, 120), actions, max_drawdown=0.1)
    (stop,) = engine.records.stops
    assert (stop.kind, stop.change, stop.limit_name, stop.bound) == ("block_entries", "began", "max_drawdown", 0.1)
    assert stop.time_ns == START + 5 * SECOND and stop.value == pytest.approx(1_025.0 / 10_000.0)
    assert filled(engine) == [("A", "buy", 50.0), ("A", "sell", 20.0), ("A", "sell", 30.0)]
    cancelled = [order for order in engine.records.orders if order.status == "cancelled"][:1]
    assert [(order.limit_price, order.status_reason) for order in cancelled] == [
        (70.0, "block_entries: drawdown 10.25 %, limit 10.00 %")
    ]
    refused = next(signal for signal in engine.records.signals if signal.decision == "rejected")
    assert refused.decision_reason == "block_entries (drawdown 10.25 %, limit 10.00 %)"


def test_the_peak_is_of_the_equity_points_and_a_lift_counts_anew() -> None:
    # A minute a tick: the peak is 11,000 at 120; 10 % under it is 9,900, at 98.
    prices = [100, 100, 110, 120, 105, 99, 97, 97, 97, 88, 87]
    strategy = TickScript()
    strategy.actions = {0: buy(50.0), 7: buy(1.0), 8: buy(1.0)}
    engine = Engine({"script": strategy}, cash=10_000.0, costs=Costs.ideal(), risk=RiskLimits(max_drawdown=0.1))
    events = [tick(60.0 * index, price) for index, price in enumerate(prices)]
    engine.process_all(events[:8])
    assert [stop.time_ns for stop in engine.records.stops] == [events[6].time_ns]
    view = engine.snapshot().limits[-1]
    assert (view.name, view.strategy, view.stop, view.since_ns) == (
        "drawdown", "script", "block_entries", events[6].time_ns
    )  # fmt: skip
    assert view.value == pytest.approx(1.0 - 9_850.0 / 11_000.0)
    engine.process(LiftStops(engine.clock_ns))
    assert engine.snapshot().stops == ()
    engine.process_all(events[8:])
    # From 9,850 on: 8,865 is reached at 80.1 only, so the buy at 97 went through and nothing stopped again.
    assert [stop.change for stop in engine.records.stops] == ["began", "lifted"]
    assert [fill.quantity for fill in engine.records.fills] == [50.0, 1.0]


def test_a_flatten_closes_all_and_ends_flat() -> None:
    limits = {"max_drawdown": 0.1, "on_breach": "flatten"}
    actions = {0: buy(50.0), 2: sell(50.0, limit_price=200.0), 6: buy(5.0)}
    engine = limited(ticks(100, 100, 100, 90, 79, 70, 75, 75), actions, **limits)
    assert filled(engine) == [("A", "buy", 50.0), ("A", "sell", 50.0)]
    assert engine.records.fills[-1].price == 70.0
    assert engine.desks["script"].book.open == {} and not engine.broker.open
    assert last_reason(engine).startswith("flatten (drawdown 10.50 %")


def test_a_flatten_in_a_closed_market_waits_and_says_why() -> None:
    strategy = TickScript()
    strategy.actions = {0: buy(50.0)}
    engine = Engine({"script": strategy}, cash=10_000.0, costs=Costs.ideal())
    opens = START + 3600 * SECOND
    engine.process_all(ticks(100, 100))
    engine.process(Hours("A", START + 2 * SECOND, sessions=((START, START + 3 * SECOND), (opens, opens + DAY))))
    engine.process(tick(4.0, 100.0))
    engine.process(Flatten(START + 5 * SECOND, "script"))
    waiting = engine.snapshot().working_orders
    assert [order.status_reason for order in waiting] == ["the market is closed: waits until 2023-11-15 01:00:00 UTC"]
    assert len(engine.desks["script"].book.open) == 1
    engine.process_all([tick(3_601.0, 101.0), tick(3_602.0, 101.0)])
    assert engine.desks["script"].book.open == {}


def test_what_a_flatten_could_not_close_is_sent_again() -> None:
    strategy = TickScript()
    strategy.actions = {0: buy(50.0)}
    engine = Engine({"script": strategy}, cash=10_000.0, costs=Costs.ideal())
    engine.process_all(ticks(100, 100, 100))
    engine.process(Flatten(engine.clock_ns))
    for working in list(engine.broker.open.values()):
        engine.broker.cancel(working, "taken back by the exchange", engine.clock_ns)
    assert len(engine.desks["script"].book.open) == 1
    engine.process_all(ticks(100, 100, 100, start=61.0, step=61.0))
    assert engine.desks["script"].book.open == {}
    assert engine.records.orders[-1].reason == "flatten: not flat yet"


def test_a_daily_loss_is_lifted_at_midnight_utc() -> None:
    # 3 % of 10,000 are 300: 50 units lose them at 94. The buy before midnight is refused, the one after is not.
    midnight = 86_400.0
    events = [tick(0, 100), tick(1, 100), tick(2, 94), tick(3, 94), tick(midnight - 1, 94), tick(midnight + 1, 94)]
    events += [tick(midnight + 2, 94), tick(midnight + 3, 94)]
    engine = limited(events, {0: buy(50.0), 3: buy(1.0), 6: buy(2.0)}, max_daily_loss=0.03)
    began, lifted = engine.records.stops
    assert (began.time_ns, began.lifts_ns) == (START + 2 * SECOND, START + DAY)
    assert (lifted.change, lifted.time_ns) == ("lifted", START + DAY)
    assert filled(engine) == [("A", "buy", 50.0), ("A", "buy", 2.0)]


def test_losses_in_a_row_and_a_stated_time() -> None:
    # Three losing round trips of a tick each, then an entry that is refused until 30 s have passed.
    prices = [100, 100, 99, 99, 98, 98, 97, 97] + [97] * 40
    actions = {0: buy(1.0), 1: sell(1.0), 2: buy(1.0), 3: sell(1.0), 5: buy(1.0), 40: buy(1.0)}
    engine = limited(ticks(*prices), actions, max_consecutive_losses=2, lift_after_s=30.0)
    began = engine.records.stops[0]
    assert (began.limit_name, began.value, began.why) == ("max_consecutive_losses", 2.0, "losses in a row 2, limit 2")
    assert began.lifts_ns == began.time_ns + 30 * SECOND
    assert [fill.side for fill in engine.records.fills] == ["buy", "sell", "buy", "sell", "buy"]
    assert [signal.decision for signal in engine.records.signals] == ["sent"] * 4 + ["rejected", "sent"]


def test_a_watched_leverage_acts_on_the_equity_points() -> None:
    # Short 90 at 100: at 140 equity is 6,400 and the position 12,600, leverage 1.97.
    limits = {"max_leverage": 1.5, "on_breach": {"max_leverage": "flatten"}, "max_gross_exposure": 3.0}
    events = [tick(60.0 * index, price) for index, price in enumerate([100, 100, 120, 140, 140, 141, 141])]
    engine = limited(events, {0: sell(90.0)}, **limits)
    stop = engine.records.stops[0]
    assert (stop.kind, stop.limit_name) == ("flatten", "max_leverage")
    # The equity point of the minute in which it was 140 is taken when that minute is over.
    assert stop.value == pytest.approx(90 * 140 / (10_000 - 90 * 40))
    assert engine.desks["script"].book.open == {}


def test_a_gap_through_stop_and_limit_at_once() -> None:
    # The stop-loss at 95 and the target at 105 lie in one gap: the stop's order fills at 80, and the loss puts a stop on it.
    actions = {0: buy(60.0, stop_loss=95.0, take_profit=105.0), 4: buy(1.0)}
    engine = limited(ticks(100, 100, 100, 80, 80, 80), actions, max_drawdown=0.1, on_breach="flatten")
    assert [(str(fill.side), fill.quantity, fill.price) for fill in engine.records.fills] == [
        ("buy", 60.0, 100.0), ("sell", 60.0, 80.0)
    ]  # fmt: skip
    assert engine.desks["script"].book.open == {} and not engine.broker.open
    assert [stop.limit_name for stop in engine.records.stops] == ["max_drawdown"]


# -- by hand, and changed while it runs --------------------------------------------------------


def test_blocked_by_hand_for_one_strategy_only() -> None:
    one, other = TickScript(), TickScript()
    one.actions = {0: buy(10.0), 3: buy(5.0), 4: sell(10.0), 5: sell(1.0)}
    other.actions = {3: buy(5.0)}
    engine = Engine({"one": one, "other": other}, cash=20_000.0, costs=Costs.ideal())
    events = ticks(*[100.0] * 9)
    engine.process_all(events[:3])
    engine.process(BlockEntries(engine.clock_ns, "one"))
    engine.process_all(events[3:])
    got = [(fill.strategy, str(fill.side), fill.quantity) for fill in engine.records.fills]
    # A short is an entry too.
    assert got == [("one", "buy", 10.0), ("other", "buy", 5.0), ("one", "sell", 10.0)]
    assert [(stop.strategy, stop.kind, stop.lifts_ns) for stop in engine.snapshot().stops] == [
        ("one", "block_entries", None)
    ]


def test_two_exits_under_a_block_never_sell_more_than_there_is() -> None:
    strategy = TickScript()
    strategy.actions = {
        0: buy(10.0),
        2: lambda s: (s.sell("A", quantity=10.0, limit_price=110.0), s.sell("A", quantity=10.0, stop_price=90.0)),
    }
    engine = Engine({"script": strategy}, cash=10_000.0, costs=Costs.ideal())
    events = ticks(100, 100, 100, 111, 111, 80, 80)
    engine.process_all(events[:3])
    engine.process(BlockEntries(engine.clock_ns))
    engine.process_all(events[3:])
    assert filled(engine) == [("A", "buy", 10.0), ("A", "sell", 10.0)]


def test_a_limit_changed_in_mid_order_holds_for_what_comes() -> None:
    strategy = TickScript()
    strategy.actions = {0: buy(10.0, limit_price=95.0), 3: buy(10.0)}
    engine = Engine(
        {"script": strategy}, cash=10_000.0, costs=Costs.ideal(), risk=RiskLimits(max_position_quantity=50.0)
    )
    events = ticks(100, 100, 100, 100, 100, 94, 94)
    engine.process_all(events[:2])
    engine.process(SetLimits(engine.clock_ns, limits={"max_position_quantity": 12.0}))
    engine.process_all(events[2:])
    # The 10 that work already stay at work and count: 2 are left for the second order.
    assert filled(engine) == [("A", "buy", 2.0), ("A", "buy", 10.0)]
    engine.process(SetLimits(engine.clock_ns, "script", limits={"max_position_quantity": None}))
    assert engine.desks["script"].risk.max_position_quantity is None
    with pytest.raises(ParameterError, match="Did you mean 'max_drawdown'"):
        RiskLimits().changed({"max_drawdwon": 0.1})
    with pytest.raises(ParameterError, match="max_drawdown"):
        RiskLimits().changed({"max_drawdown": 2.0})


def test_a_limit_that_is_new_counts_from_there_and_may_act_at_once() -> None:
    strategy = TickScript()
    strategy.actions = {0: buy(50.0)}
    engine = Engine({"script": strategy}, cash=10_000.0, costs=Costs.ideal())
    engine.process_all(ticks(100, 100, 60))
    engine.process(SetLimits(engine.clock_ns, limits={"max_drawdown": 0.1}))
    assert engine.records.stops == []  # 8,000 is the peak from here on
    engine.process_all(ticks(45, start=3.0))
    assert engine.records.stops == []  # 7,250 is 9.4 % under it
    engine.process_all(ticks(43, start=4.0))
    assert [stop.limit_name for stop in engine.records.stops] == ["max_drawdown"]
    engine.process(SetLimits(engine.clock_ns, limits={"max_drawdown": None}))
    assert engine.snapshot().stops == ()


class Buyer(qf.Strategy):
    def on_bar(self, bar) -> None:
        self.buy("A", quantity=10.0)


def test_a_session_is_stopped_by_hand_changed_and_lifted_and_replays(tmp_path) -> None:
    feed = HandFeed()
    journal = tmp_path / "one.sqlite"
    session = qf.paper(
        {"one": Buyer(), "other": Buyer()}, feed, name="limits", journal=journal, costs=Costs.ideal(),
        risk={"account": RiskLimits(max_positions=3), "one": RiskLimits(max_position_quantity=25.0)},
    ).start()  # fmt: skip
    numbers = iter(range(1_000))

    def step() -> None:
        given = bar(next(numbers), 100.0)
        feed.give(given)
        until(lambda: session.snapshot.time_ns == given.close_ns)

    for _ in range(4):
        step()
    assert {view.strategy: view.quantity for view in session.snapshot.positions} == {"one": 25.0, "other": 30.0}
    session.set_limits("one", max_position_quantity=40.0)
    session.block_entries("other")
    step(), step(), step()
    held = {view.strategy: view.quantity for view in session.snapshot.positions}
    assert held["one"] == 40.0 and held["other"] == 30.0
    limits = session.limits
    assert limits.loc[("one", "largest position"), ["value", "limit"]].tolist() == [40.0, 40.0]
    assert limits.loc[("other", "by hand"), ["stop", "lifted"]].tolist() == ["block_entries", "by hand: session.lift()"]
    assert str(limits["since"].dt.tz) == "UTC"
    stops = {stop.strategy: stop.since_ns for stop in session.snapshot.stops}
    assert limits.loc[("other", "by hand"), "since"].value == stops["other"]
    session.flatten()
    step(), step()
    assert session.snapshot.positions == ()
    session.lift()
    step(), step()
    assert len(session.snapshot.positions) == 2
    with pytest.raises(ParameterError, match="Did you mean"):
        session.set_limits(max_drawdwon=0.1)
    with pytest.raises(ParameterError, match="nothing to set"):
        session.set_limits("one")
    with pytest.raises(SessionError, match="no strategy"):
        session.set_limits("three", max_drawdown=0.1)
    with pytest.raises(SessionError, match="no stop on 'one'"):
        session.lift("one")
    session.flatten("account").lift("account")
    stops = session.stops
    assert list(zip(stops["strategy"], stops["stop"], stops["change"], strict=True)) == [
        ("other", "block_entries", "began"), ("account", "flatten", "began"),
        ("other", "block_entries", "lifted"), ("account", "flatten", "lifted"),
        ("account", "flatten", "began"), ("account", "flatten", "lifted"),
    ]  # fmt: skip
    session.stop("other")
    with pytest.raises(SessionError, match=r"other is stopped and not paused: session.add"):
        session.resume("other")
    session.suspend()
    assert session.verify()
    resumed = qf.resume(journal, feed=HandFeed())
    engine = resumed._pipeline.engine
    assert engine.desks["one"].risk.max_position_quantity == 40.0
    assert engine.limit_watch.limits.max_positions == 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_drawdown": 1.5}, "a fraction of the equity below 1"),
        ({"max_positions": 2.5}, "a whole number"),
        ({"max_group_weight": 0.5}, "say what is in a group"),
        ({"max_group_weight": 0.5, "groups": {"tech": "AAPL"}}, "as a tuple"),
        ({"on_breach": "panic"}, "block_entries"),
        ({"max_drawdown": 0.1, "on_breach": {"max_drawdwon": "flatten"}}, "Did you mean 'max_drawdown'"),
        ({"on_breach": {"max_drawdown": "flatten"}}, "give max_drawdown= too"),
        ({"max_value_at_risk": -0.1}, "above zero"),
        ({"max_value_at_risk": 0.1, "value_at_risk_level": 0.2}, "0.5"),
        ({"max_value_at_risk": 0.1, "returns": 5}, "fewer than 20"),
        ({"lift_after_s": 0.0}, "above zero"),
    ],
)
def test_what_makes_no_sense_names_the_fix(fields, words) -> None:
    with pytest.raises(ParameterError, match=words):
        RiskLimits(**fields)


def test_a_backtest_has_its_stops_and_a_rule_in_numpy_is_not_run_past_them() -> None:
    index = pd.date_range("2024-01-01", periods=40, freq="1D", tz="UTC")
    close = np.concatenate((np.linspace(100, 120, 20), np.linspace(118, 60, 20)))
    frame = pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 1e9}, index=index)

    @qf.signal()
    def long(bars):
        return 1.0 + 0.0 * bars.close

    limits = qf.RiskLimits(max_drawdown=0.1, on_breach="flatten")
    result = qf.backtest(long, frame, risk=limits, costs=Costs.ideal())
    assert list(result.stops["why"].str[:8]) == ["drawdown"]
    assert result.metrics.max_drawdown < 0.2 < qf.backtest(long, frame, costs=Costs.ideal()).metrics.max_drawdown
    assert result.fills["side"].tolist()[-1] == "sell"
    assert all(one <= other for one, other in pairwise(result.stops.index))


def test_the_views_know_what_is_near() -> None:
    engine = limited(ticks(*[100.0] * 5), {0: buy(50.0)}, max_position_weight=0.6, max_drawdown=0.2)
    views = {view.name: view for view in engine.snapshot().limits}
    assert views["largest weight"].value == pytest.approx(0.5)
    assert (views["largest weight"].value_text, views["largest weight"].limit_text) == ("50.00 %", "60.00 %")
    assert views["drawdown"].value == 0.0 and views["drawdown"].is_over_time
    assert engine.clock_ns % MINUTE != 0


def test_a_change_of_an_order_is_judged_like_an_order() -> None:
    def grow(s) -> None:
        order_id = s.buy("A", quantity=1.0, limit_price=99.0)
        s.modify(order_id, quantity=1_000.0)
        s.modify(order_id, limit_price=99.5, quantity=4.0)

    engine = limited(ticks(100, 100, 99, 99, 90), {0: grow}, max_order_quantity=5.0, max_position_weight=0.1)
    assert [signal.decision for signal in engine.records.signals] == ["sent", "rejected"]
    assert "order quantity 1000 over 5" in last_reason(engine)
    assert filled(engine) == [("A", "buy", 4.0)] and engine.records.fills[0].price == 99.5


def test_a_day_begins_at_midnight_whatever_the_night_did() -> None:
    # 99 units of 100: the night takes 8 %, the next morning another 8 %: 15.8 % since midnight.
    events = [tick(0, 100), tick(1, 100), tick(80_000, 100), tick(90_000, 92), tick(90_100, 84), tick(90_200, 84)]
    engine = limited(events, {0: buy(99.0)}, max_daily_loss=0.1)
    assert [(stop.limit_name, round(stop.value, 4)) for stop in engine.records.stops] == [("max_daily_loss", 0.1584)]


def test_a_transfer_leaves_a_drawdown_the_fraction_that_it_is() -> None:
    holder, other = TickScript(), TickScript()
    holder.actions = {0: buy(400.0)}
    engine = Engine(
        {"holder": holder, "other": other}, cash=200_000.0, costs=Costs.ideal(),
        allocation=qf.Allocation(lambda context: {"holder": 0.25, "other": 0.75}, every="1h"),
        risk=RiskLimits(max_drawdown=0.1),
    )  # fmt: skip
    engine.process_all([tick(60.0 * index, 100.0 if index < 3 else 90.0) for index in range(70)])
    assert engine.records.transfers and engine.records.stops == []
    drawdown = next(view for view in engine.snapshot().limits if view.strategy == "holder" and view.name == "drawdown")
    assert drawdown.value == pytest.approx(0.04)


def test_a_buy_stop_counts_at_its_own_level_and_a_trailing_one_too() -> None:
    # 70 at 140 are 9,800 of 10,000: of B only 2 fit; a buy that trails by 40 % is one at 140.
    actions = {1: buy(70.0, stop_price=140.0), 3: buy(28.0, "B")}
    engine = limited(both(*[(100.0, 100.0)] * 4, (140.0, 100.0), (140.0, 100.0)), actions)
    assert filled(engine) == [("B", "buy", pytest.approx(2.0)), ("A", "buy", 70.0)]
    assert engine.desks["script"].book.cash >= 0.0
    engine = limited(ticks(100, 100), {0: buy(100.0, trail_fraction=0.4)})
    assert engine.records.signals[0].decision_reason == "gross exposure with costs 1.4 over 1"


def test_two_exits_that_a_limit_would_not_have_never_go_past_flat() -> None:
    strategy = TickScript()
    strategy.actions = {0: buy(50.0), 2: sell(50.0, limit_price=110.0), 4: sell(50.0)}
    engine = Engine({"script": strategy}, cash=10_000.0, costs=Costs.ideal())
    engine.process_all(ticks(100, 100, 100))
    engine.process(SetLimits(engine.clock_ns, limits={"max_position_quantity": 5.0, "max_order_quantity": 5.0}))
    engine.process_all(ticks(100, 100, 100, 111, 111, start=3.0))
    assert filled(engine) == [("A", "buy", 50.0), ("A", "sell", 50.0)]


def test_two_stops_at_one_moment_are_both_told() -> None:
    engine = limited(ticks(100, 100, 70, 70), {0: buy(99.0)}, max_drawdown=0.1, max_daily_loss=0.1)
    stopped = [view.limit_name for view in engine.snapshot().limits if view.stop]
    assert stopped == ["max_daily_loss", "max_drawdown"]
    assert {stop.limit_name for stop in engine.snapshot().stops} == set(stopped)


@pytest.mark.parametrize(
    "fields",
    [{"max_drawdown": True}, {"allow_short": "no"}, {"max_drawdown": "10%"}, {"on_breach": None}, {"returns": None}],
)
def test_what_is_of_the_wrong_kind_is_refused_by_name(fields) -> None:
    with pytest.raises(ParameterError, match=f"RiskLimits\\({next(iter(fields))}="):
        RiskLimits(**fields)
