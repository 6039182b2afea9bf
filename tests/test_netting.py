"""Netting at the account: what crosses inside, at what price, and that no book gains what another does not lose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Script, TickScript, bar, quote, tick, walk

import qfkit as qf
from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Event, Stop
from qfkit.core.impact import SquareRootImpact
from qfkit.core.margin import Margin
from qfkit.core.orders import TimeInForce
from qfkit.core.risk import RiskLimits
from qfkit.core.strategy import Strategy

WIDE = RiskLimits(max_gross_exposure=1e6, price_collar=None)


def run(
    events: list[Event], scripts: dict[str, dict], *, kind: type[Script] = Script, **given_settings: object
) -> Engine:
    """One script a strategy; ideal costs, room for everything, netting on."""
    strategies = {}
    for name, actions in scripts.items():
        strategies[name] = kind()
        strategies[name].actions = actions
    wanted = {"cash": 3e6, "costs": Costs.ideal(), "risk": WIDE, "netting": True} | given_settings
    engine = Engine(strategies, **wanted)  # type: ignore[arg-type]
    engine.process_all(events)
    engine.process(Stop(engine.clock_ns))
    assert not engine.exceptions, engine.exceptions
    return engine


def filled(engine: Engine) -> list[tuple[str, str, float, float, float, bool]]:
    return [
        (one.strategy, str(one.side), one.quantity, one.price, one.fee, one.is_crossed) for one in engine.records.fills
    ]


def buys(quantity: float, **options: object):
    return lambda strategy: strategy.buy("A", quantity=quantity, **options)


def sells(quantity: float, **options: object):
    return lambda strategy: strategy.sell("A", quantity=quantity, **options)


COSTLY = Costs(commission=0.01, slippage_bps=100.0, participation=None)


def test_the_common_quantity_crosses_at_the_open_and_the_rest_pays_the_market():
    """a buys 10, b sells 4 and c sells 3 at the open of 50: 7 cross for nothing, 3 pay 1 % slippage and 1 % fee."""
    events = [bar(0, 40, 40, 40, 40), bar(1, 50, 60, 45, 55)]
    engine = run(events, {"a": {0: buys(10)}, "b": {0: sells(4)}, "c": {0: sells(3)}}, costs=COSTLY)
    assert filled(engine) == [
        ("a", "buy", 4.0, 50.0, 0.0, True),
        ("b", "sell", 4.0, 50.0, 0.0, True),
        ("a", "buy", 3.0, 50.0, 0.0, True),
        ("c", "sell", 3.0, 50.0, 0.0, True),
        ("a", "buy", 3.0, 50.5, pytest.approx(1.515), False),
    ]
    books = {name: desk.book for name, desk in engine.desks.items()}
    assert books["a"].cash == pytest.approx(1e6 - 7 * 50 - 3 * 50.5 - 1.515)
    assert books["b"].cash == 1e6 + 200.0
    assert books["c"].cash == 1e6 + 150.0
    order = {order.order_id: order for order in engine.records.orders}[1]
    assert (order.filled, order.status, order.average_price) == (10.0, "filled", pytest.approx((350 + 151.5) / 10))


def test_kept_apart_by_default_and_stated():
    events = [bar(0, 40, 40, 40, 40), bar(1, 50, 60, 45, 55)]
    scripts = {"a": {0: buys(10)}, "b": {0: sells(10)}}
    engine = run(events, scripts, costs=COSTLY, netting=False)
    assert filled(engine) == [
        ("a", "buy", 10.0, 50.5, pytest.approx(5.05), False),
        ("b", "sell", 10.0, 49.5, pytest.approx(4.95), False),
    ]
    for is_netting, words in ((False, "are kept apart"), (True, "cross inside the account")):
        result = qf.backtest([qf.Strategy, qf.Strategy], walk(5), netting=is_netting)
        assert any(words in line for line in result.assumptions)
        alone = qf.backtest(qf.Strategy, walk(5), netting=is_netting)
        assert not any(words in line for line in alone.assumptions)


def test_one_strategy_never_trades_with_itself():
    events = [bar(0, 40, 40, 40, 40), bar(1, 50, 60, 45, 55)]
    both = {0: lambda strategy: (buys(5)(strategy), sells(2)(strategy))}
    engine = run(events, {"a": both, "b": {}})
    assert [one[5] for one in filled(engine)] == [False, False]
    engine = run(events, {"a": both, "b": {0: sells(4)}})
    assert filled(engine)[:2] == [("a", "buy", 4.0, 50.0, 0.0, True), ("b", "sell", 4.0, 50.0, 0.0, True)]
    assert all(not one[5] for one in filled(engine)[2:])


def test_what_does_not_cross():
    """Limits, stops that fire just now, fill-or-kill, and orders that are not out yet."""
    events = [bar(0, 40, 40, 40, 40), bar(1, 50, 60, 45, 55), bar(2, 50, 60, 45, 55)]
    for other in (
        sells(5, limit_price=41),
        sells(5, stop_price=39),
        sells(5, time_in_force=TimeInForce.FOK),
    ):
        engine = run(events[:2], {"a": {0: buys(5)}, "b": {0: other}})
        assert not any(one[5] for one in filled(engine)), other
    later = run(events, {"a": {0: buys(5)}, "b": {1: sells(5)}})
    assert not any(one[5] for one in filled(later))


def test_on_ticks_at_the_trade_and_on_quotes_at_the_middle():
    scripts = {"a": {1: buys(5)}, "b": {1: sells(2)}}
    ticks = [quote(0.5, 99.0, 101.0), tick(1, 100.0), tick(2, 101.0), tick(3, 100.5)]
    engine = run(ticks, scripts, kind=TickScript)
    # Tick 0 and 1 are heard; orders of tick 1 fill at the trade at 100.5: crossed there, the rest at the ask.
    assert filled(engine) == [
        ("a", "buy", 2.0, 100.5, 0.0, True),
        ("b", "sell", 2.0, 100.5, 0.0, True),
        ("a", "buy", 3.0, 101.0, 0.0, False),
    ]
    quotes = [*ticks[:3], quote(2.5, 99.0, 101.0), tick(3, 100.5)]
    engine = run(quotes, scripts, kind=TickScript)
    assert filled(engine) == [
        ("a", "buy", 2.0, 100.0, 0.0, True),
        ("b", "sell", 2.0, 100.0, 0.0, True),
        ("a", "buy", 3.0, 101.0, 0.0, False),
    ]


def test_crossing_takes_no_volume_and_moves_no_price():
    """50 traded and a tenth of it is ours: 5 from the market, after 20 that crossed. Impact counts the 5 alone."""
    events = [bar(0, 50, 50, 50, 50, 50), bar(1, 50, 50, 50, 50, 50), bar(2, 50, 50, 50, 50, 50)]
    costs = Costs(commission=0.0, slippage_bps=0.0, participation=0.1)
    engine = run(events[:2], {"a": {0: buys(30)}, "b": {0: sells(20)}}, costs=costs)
    assert [(one[0], one[2], one[5]) for one in filled(engine)] == [
        ("a", 20.0, True),
        ("b", 20.0, True),
        ("a", 5.0, False),
    ]
    days = walk(60)
    impact = with_impact(SquareRootImpact())
    crossed = run(days, {"a": {40: buys(30)}, "b": {40: sells(20)}}, costs=impact)
    alone = run(days, {"a": {40: buys(10)}, "b": {}}, costs=impact)
    assert filled(crossed)[-1][2:4] == filled(alone)[-1][2:4]


def with_impact(impact: SquareRootImpact) -> Costs:
    return Costs(commission=0.0, slippage_bps=0.0, participation=None, impact=impact)


def test_a_strategy_that_fails_on_its_half_leaves_the_other_half_whole():
    class Fails(Script):
        def on_fill(self, fill):
            raise ZeroDivisionError("on purpose")

    strategies = {
        "a": scripted(Fails, {0: lambda one: (buys(5)(one), sells(5)(one))}),
        "b": scripted(Script, {0: sells(8)}),
    }
    engine = Engine(strategies, cash=2e6, costs=Costs.ideal(), risk=WIDE, netting=True)
    engine.process_all([bar(0, 40, 40, 40, 40), bar(1, 50, 60, 45, 55)])
    held = {name: desk.position("A").quantity for name, desk in engine.desks.items()}
    assert engine.desks["a"].state == "failed"
    assert held == {"a": 5.0, "b": -8.0}
    crossed = [one for one in engine.records.fills if one.is_crossed]
    assert [(one.strategy, one.quantity) for one in crossed] == [("a", 5.0), ("b", 5.0)]


def scripted(kind: type[Script], actions: dict) -> Script:
    script = kind()
    script.actions = actions
    return script


def test_a_margin_call_of_the_night_before_comes_first_and_not_between_two_halves():
    """b owes 990,000 at 1,000 % a year: the night costs 27,123 and its equity falls below the maintenance margin.

    The exchange's clock runs ahead of ours, so the fill of the new day is what has the night charged. Were it charged
    between the halves, a would have bought from an order of b's that the call has just cancelled.
    """
    margin = Margin(initial=0.5, maintenance=0.495, loan_rate=10.0)
    events = [tick(1, 100.0), tick(2, 100.0), tick(86_398, 100.0), tick(86_401, 100.0, delay_s=-1.5)]
    scripts = {"a": {2: buys(10)}, "b": {0: buys(19_900), 2: sells(10)}}
    engine = run(events, scripts, margin=margin, cash=2e6, kind=TickScript)
    assert [call.kind for call in engine.records.margin_calls] == ["margin call"]
    assert [one[0:3] for one in filled(engine)] == [("b", "buy", 19_900.0), ("a", "buy", 10.0)]
    assert not any(one.is_crossed for one in engine.records.fills)
    free = run(events, scripts, cash=2e6, kind=TickScript)
    assert [one[5] for one in filled(free)] == [False, True, True]


# -- for any orders -------------------------------------------------------------------------------


class Planned(Strategy):
    """Goes to the next of its targets at each bar."""

    plan: tuple[int, ...] = ()

    def on_start(self) -> None:
        self.number = 0

    def on_bar(self, bar: Bar) -> None:
        if self.number < len(self.plan):
            self.order_target("A", quantity=self.plan[self.number])
        self.number += 1


def planned(plans: list[tuple[int, ...]]) -> dict[str, Strategy]:
    strategies = {}
    for number, plan in enumerate(plans):
        strategies[f"s{number}"] = strategy = Planned()
        strategy.plan = plan
    return strategies


def play(plans: list[tuple[int, ...]], events: list[Event], costs: Costs, *, netting: bool) -> Engine:
    engine = Engine(planned(plans), cash=1e6 * len(plans), costs=costs, risk=WIDE, netting=netting)
    engine.process_all(events)
    engine.process(Stop(engine.clock_ns))
    assert not engine.exceptions, engine.exceptions
    return engine


PLANS = st.lists(st.lists(st.integers(-9, 9), min_size=12, max_size=12).map(tuple), min_size=2, max_size=4)


@given(PLANS, st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_the_books_together_are_one_account_that_trades_the_net(plans, seed):
    events = walk(14, seed)
    costs = Costs(commission=0.002, slippage_bps=10.0, participation=None)
    netted, apart = (play(plans, events, costs, netting=one) for one in (True, False))
    whole = play([tuple(map(sum, zip(*plans, strict=True)))], events, costs, netting=False)
    books = [desk.book for desk in netted.desks.values()]
    (alone,) = (desk.book for desk in whole.desks.values())
    extra = 1e6 * (len(plans) - 1)
    assert sum(book.cash for book in books) - extra == pytest.approx(alone.cash, rel=1e-12)
    assert sum(book.equity for book in books) - extra == pytest.approx(alone.equity, rel=1e-12)
    assert sum(book.fees for book in books) == pytest.approx(alone.fees, rel=1e-9, abs=1e-9)
    # Against kept apart: the same positions, and the account is better off by what the crossed part would have cost.
    for name, desk in netted.desks.items():
        assert desk.position("A").quantity == apart.desks[name].position("A").quantity
    saved = sum(
        one.quantity * one.price * (0.001 + 0.002 * (1.001 if one.side == "buy" else 0.999))
        for one in netted.records.fills
        if one.is_crossed
    )
    assert netted.accounts.equity - apart.accounts.equity == pytest.approx(saved, rel=1e-9, abs=1e-6)


@given(PLANS, st.integers(0, 10_000), st.sampled_from((0.001, 0.02, None)), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_crosses_adds_up_to_nothing_and_every_book_balances(plans, seed, participation, on_ticks):
    events: list[Event] = list(walk(14, seed))
    if on_ticks:
        events = [
            one
            for index, known in enumerate(events)
            for one in (
                quote(index * 60.0, known.open - 0.05, known.open + 0.05, 40.0),  # type: ignore[union-attr]
                tick(index * 60.0 + 1.0, known.open, 200.0),  # type: ignore[union-attr]
                tick(index * 60.0 + 30.0, known.close, 200.0),  # type: ignore[union-attr]
            )
        ]
    costs = Costs(commission=0.001, slippage_bps=5.0, participation=participation)
    engine = play(plans, events, costs, netting=True)
    at: dict[int, tuple[float, float]] = {}
    for one in engine.records.fills:
        if one.is_crossed:
            assert one.fee == 0.0
            assert one.price == one.market_price
            sign = 1.0 if one.side == "buy" else -1.0
            quantity, value = at.get(one.received_ns, (0.0, 0.0))
            at[one.received_ns] = (quantity + sign * one.quantity, value + sign * one.quantity * one.price)
    assert all(sums == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-6)) for sums in at.values())
    for desk in engine.desks.values():
        book = desk.book
        balance = book.starting_cash + book.realised + book.unrealised - book.fees
        assert book.equity == pytest.approx(balance, rel=1e-12)
        signed = [
            one.quantity * (1 if one.side == "buy" else -1) for one in engine.records.fills if one.strategy == desk.name
        ]
        assert desk.position("A").quantity == pytest.approx(sum(signed), abs=1e-9)
    net = {one.symbol: one for one in engine.snapshot().net_positions}
    if "A" in net:
        assert net["A"].quantity == pytest.approx(sum(desk.position("A").quantity for desk in engine.desks.values()))
    again = play(plans, events, costs, netting=True)
    assert again.records.fills == engine.records.fills
    assert again.records.equity == engine.records.equity


# -- what the account holds -----------------------------------------------------------------------


def test_net_positions_by_hand():
    """a holds 10 A at 50, b is short 4 at 50; A closes at 55: net 6, worth 330, and 50 - 20 unrealised."""
    frames = {"A": [bar(0, 40, 40, 40, 40), bar(1, 50, 60, 45, 55)]}
    engine = run(frames["A"], {"a": {0: buys(10)}, "b": {0: sells(4)}}, netting=False)
    (net,) = engine.snapshot().net_positions
    assert (net.symbol, net.quantity, net.market_value, net.unrealised) == ("A", 6.0, 330.0, 30.0)
    assert net.by_strategy == {"a": 10.0, "b": -4.0}

    class Long(qf.Strategy):
        def on_bar(self, bar):
            self.order_target(bar.symbol, quantity=10.0)

    class Short(qf.Strategy):
        def on_bar(self, bar):
            self.order_target(bar.symbol, quantity=-10.0)

    result = qf.backtest({"long": Long, "short": Short}, walk(20), costs=Costs.ideal())
    assert result.positions.index.tolist() == [("A", "account"), ("A", "long"), ("A", "short")]
    account = result.positions.loc[("A", "account")]
    assert account["quantity"] == account["market_value"] == 0.0
    assert account["unrealised"] == pytest.approx(0.0)
    assert np.isnan(account["average_price"])
    assert result.holdings.quantities == {}


def test_the_fast_path_has_the_same_positions_as_the_engine():
    @qf.signal
    def half(bars):
        return bars.close * 0.0 + 0.5

    index = qf.sample("AAPL")
    fast = qf.backtest(half(), index)
    slow = qf.backtest(half(), index, assess_every_s=1e9)
    assert fast.fills["is_crossed"].dtype == bool
    np.testing.assert_allclose(
        fast.positions.drop(columns="currency").to_numpy(),
        slow.positions.drop(columns="currency").to_numpy(),
        rtol=1e-9,
    )


def test_the_views_show_the_net_and_what_crossed():
    from qfkit.views.sections import Sections

    engine = run([bar(0, 40, 40, 40, 40), bar(1, 50, 60, 45, 55)], {"a": {0: buys(10)}, "b": {0: sells(4)}})
    sections = Sections(engine.snapshot())
    positions = [[str(cell) for cell in row] for row in sections.positions().rows]
    assert [(row[0], row[1], row[5]) for row in positions] == [
        ("A", "10", "a"),
        ("A", "-4", "b"),
        ("A", "6", "all together"),
    ]
    reasons = [str(row[-1]) for row in sections.fills().rows]
    assert [reason.startswith("crossed inside") for reason in reasons] == [False, True, True]
