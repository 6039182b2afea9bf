"""Rebalancing: tables worked by hand, and what must hold for any weights, markets and costs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import MINUTE, START, bar, run

from qfkit.core.costs import Commission, Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Event, Flatten, Instrument, Pause
from qfkit.core.orders import Side
from qfkit.core.rebalance_plan import Holding, RebalancePlan, plan_rebalance
from qfkit.core.risk import RiskLimits
from qfkit.core.strategy import Strategy
from qfkit.errors import OrderError


def level(index: int, **prices: float) -> list[Bar]:
    """One bar a symbol at one price."""
    return [bar(index, price, price, price, price, symbol=symbol) for symbol, price in prices.items()]


def by_symbol(plan: RebalancePlan) -> dict[str, tuple[float, float]]:
    return {leg.symbol: (leg.change, leg.notional) for leg in plan.legs}


# -- the plan, by hand ----------------------------------------------------------------------------


def test_a_plan_worked_by_hand():
    """60/40 of 10,000 has drifted to 70/30: sell 10 A at 100, buy 20 B at 50. Both sides cost 1 % here.

    Net N of costs: A goes to 0.6 N, B to 0.4 N, and N = 10,000 - 0.01 * ((7,000 - 0.6 N) + (0.4 N - 3,000)),
    so N (1 - 0.002) = 10,000 - 40 and N = 9,979.96...
    """
    holdings = {"A": Holding(70.0, 100.0), "B": Holding(60.0, 50.0)}
    free = plan_rebalance({"A": 0.6, "B": 0.4}, holdings, equity=10_000.0)
    assert by_symbol(free) == {
        "A": (pytest.approx(-10), pytest.approx(-1000)),
        "B": (pytest.approx(20), pytest.approx(1000)),
    }
    assert [leg.symbol for leg in free.legs] == ["A", "B"]
    assert (free.turnover, free.cost) == (pytest.approx(0.2), 0.0)
    assert (free.gross, free.gross_after) == (pytest.approx(1.0), pytest.approx(1.0))

    net = (10_000 - 40) / (1 - 0.002)
    dear = plan_rebalance(
        {"A": 0.6, "B": 0.4}, holdings, equity=10_000.0, cost_at=Costs(commission=0.01, slippage_bps=0).estimator()
    )
    assert by_symbol(dear)["A"][1] == pytest.approx(0.6 * net - 7000)
    assert by_symbol(dear)["B"][1] == pytest.approx(0.4 * net - 3000)
    assert dear.cost == pytest.approx(10_000 - net)
    assert dear.gross_after == pytest.approx(1.0)


def test_the_band_leaves_alone_what_is_near_and_never_lets_the_rest_over_invest():
    """A 0.54 and C 0.06 stay (band 0.05); B may only get what A's excess leaves: 1 - 0.54 - 0.06 - 0.30 = 0.10."""
    holdings = {"A": Holding(54.0, 100.0), "B": Holding(30.0, 100.0), "C": Holding(6.0, 100.0)}
    plan = plan_rebalance({"A": 0.5, "B": 0.45, "C": 0.05}, holdings, equity=10_000.0, band=0.05)
    assert by_symbol(plan) == {"B": (pytest.approx(10), pytest.approx(1000)), "A": (0, 0), "C": (0, 0)}
    assert {leg.symbol: leg.note for leg in plan.legs} == {
        "A": "within the band",
        "B": "scaled down to what is free",
        "C": "within the band",
    }
    # To go to zero, or to be held at all, is no matter of the band.
    others = {"A": Holding(49.0, 100.0), "B": Holding(0.0, 100.0)}
    plan = plan_rebalance({"A": 0.5, "B": 0.02}, holdings | others, equity=10_000.0, band=0.05)
    assert by_symbol(plan) == {"C": (-6, -600), "B": (pytest.approx(2), pytest.approx(200)), "A": (0, 0)}


def test_steps_and_minimums_round_the_right_way():
    rules = Instrument("A", 0, quantity_step=0.5, minimum_notional=60.0)
    holdings = {"A": Holding(10.25, 100.0, rules), "B": Holding(0.0, 7.0, Instrument("B", 0, quantity_step=1.0))}
    plan = plan_rebalance({"A": 0.8, "B": 0.2}, holdings, equity=1025.0)
    # A: 8.2 wanted, 2.05 to sell, 2.5 in steps of which none is too few. B: 205 buy 29 at 7.
    assert by_symbol(plan) == {"A": (-2.5, -250.0), "B": (29.0, 203.0)}
    small = plan_rebalance({"A": 0.97}, {"A": holdings["A"]}, equity=1025.0)
    assert by_symbol(small) == {"A": (0.0, 0.0)}
    assert "minimum 60" in small.legs[0].note
    # The whole of a position is sold whatever its steps are.
    assert by_symbol(plan_rebalance({}, {"A": holdings["A"]}, equity=1025.0)) == {"A": (-10.25, -1025.0)}


def test_a_change_of_side_and_a_short_book():
    holdings = {"A": Holding(10.0, 10.0), "B": Holding(-20.0, 5.0), "C": Holding(0.0, 2.0)}
    plan = plan_rebalance({"A": -0.5, "B": -0.05, "C": 0.45}, holdings, equity=200.0)
    assert by_symbol(plan) == {"A": (pytest.approx(-20), pytest.approx(-200)), "B": (pytest.approx(18), pytest.approx(90)),
                               "C": (pytest.approx(45), pytest.approx(90))}  # fmt: skip
    assert plan.gross_after == pytest.approx(1.0)


def test_a_plan_says_itself_and_refuses_what_makes_no_sense():
    holdings = {"A": Holding(70.0, 100.0), "B": Holding(60.0, float("nan"))}
    plan = plan_rebalance({"A": 0.6, "B": 0.4}, holdings, equity=10_000.0, band=0.01)
    assert repr(plan).splitlines()[0].split() == ["symbol", "weight", "target", "change", "price", "notional", "cost"]
    assert "there is no price yet" in repr(plan)
    assert "turnover 10.00 % of 10,000.00, costs 0.00, band 1.00 %" in repr(plan)
    assert plan._repr_html_().count("<tr>") == 3
    frame = plan.to_frame()
    assert frame.loc["A", "change"] == pytest.approx(-10)
    assert plan
    assert not plan_rebalance({"A": 0.7}, {"A": holdings["A"]}, equity=10_000.0)
    for weights, band in (
        ({"A": float("nan")}, 0.0),
        ({"A": float("inf")}, 0.0),
        ({"A": 0.5}, 1.0),
        ({"A": 0.5}, -0.1),
    ):
        with pytest.raises(OrderError):
            plan_rebalance(weights, holdings, equity=10_000.0, band=band)
    with pytest.raises(OrderError, match="nothing was received for the symbol 'Z'"):
        run(level(0, A=10.0), {0: lambda s: s.rebalance({"Z": 0.5})})


def test_a_book_without_equity_only_sells():
    plan = plan_rebalance({"A": 0.5}, {"A": Holding(3.0, 10.0)}, equity=-5.0)
    assert by_symbol(plan) == {"A": (-3.0, -30.0)}
    dear = Costs(commission=Commission(minimum=9.0)).estimator()
    plan = plan_rebalance({"A": 0.5}, {"A": Holding(0.0, 10.0)}, equity=8.0, cost_at=dear)
    assert (plan.legs[0].change, plan.legs[0].note) == (0.0, "the costs are more than the equity")


# -- in the engine --------------------------------------------------------------------------------


def times(engine: Engine) -> list[tuple[str, str, float, int]]:
    """Symbol, side, quantity and the minute of each fill."""
    return [(f.symbol, str(f.side), f.quantity, (f.time_ns - START) // MINUTE) for f in engine.records.fills]


IN_PARTS = Costs(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=0.1)


def three(count: int) -> list[Event]:
    """A, B and C at 10; from minute 3 on so little of A is traded that a bar fills 10 shares."""
    events: list[Event] = []
    for index in range(count):
        a = bar(index, 10, 10, 10, 10, volume=1e9 if index < 3 else 100.0, symbol="A")
        events += [a, *level(index, B=10.0, C=10.0)]
    return events


def test_purchases_wait_for_the_sales_that_pay_for_them_by_hand():
    """50 A (500) are half of 1,000, and so is what the weights want: nothing is free until A is sold, 10 a bar.

    Minute 3: free 100. 4: free 200, C (200) goes. 5: free 100. 6: free 200. 7: all sold, free 300: B goes.
    """
    actions = {0: lambda s: s.order_target("A", quantity=50), 8: lambda s: s.rebalance({"B": 0.3, "C": 0.2})}
    engine = run(three(12), actions, cash=1000.0, costs=IN_PARTS)
    assert times(engine) == [
        ("A", "buy", 50, 1),
        ("A", "sell", 10, 3),
        ("A", "sell", 10, 4),
        ("A", "sell", 10, 5),
        ("C", "buy", 20, 5),
        ("A", "sell", 10, 6),
        ("A", "sell", 10, 7),
        ("B", "buy", pytest.approx(30), 8),
    ]
    assert not engine.rebalancing


def test_what_is_free_is_spent_before_the_sales_come_in():
    """30 % in A, 70 % cash: C (500) is paid for at once, B (500) only once A is sold."""
    actions = {0: lambda s: s.order_target("A", quantity=30), 8: lambda s: s.rebalance({"B": 0.5, "C": 0.5})}
    engine = run(three(12), actions, cash=1000.0, costs=IN_PARTS)
    assert times(engine) == [
        ("A", "buy", 30, 1),
        ("A", "sell", 10, 3),
        ("B", "buy", 50, 3),
        ("A", "sell", 10, 4),
        ("A", "sell", 10, 5),
        ("C", "buy", pytest.approx(50), 6),
    ]


def test_a_sale_that_is_cancelled_makes_the_purchases_smaller():
    """20 of 50 A are sold when the strategy cancels the rest: of 500 wanted 200 are free, 3 parts B to 2 parts C."""

    def cancel(strategy: Strategy) -> None:
        for order in strategy.orders:
            strategy.cancel(order.order_id)

    actions = {
        0: lambda s: s.order_target("A", quantity=50),
        8: lambda s: s.rebalance({"B": 0.48, "C": 0.02}),
        # Minute 4: 20 are sold, C (20) is long bought, and 480 for B are not there.
        14: cancel,
    }
    engine = run(three(12), actions, cash=1000.0, costs=IN_PARTS)
    assert times(engine) == [
        ("A", "buy", 50, 1),
        ("A", "sell", 10, 3),
        ("A", "sell", 10, 4),
        ("C", "buy", 2, 4),
        ("B", "buy", pytest.approx(18), 6),
    ]
    book = engine.desks["script"].book
    assert book.gross_exposure == pytest.approx(500)
    assert book.cash == pytest.approx(500)


def test_a_limit_that_cuts_a_purchase_leaves_cash():
    actions = {2: lambda s: s.rebalance({"B": 0.6, "C": 0.4})}
    engine = run(three(6), actions, cash=1000.0, costs=IN_PARTS, risk=RiskLimits(max_position_weight=0.3))
    book = engine.desks["script"].book
    assert {symbol: held.quantity for symbol, held in book.open.items()} == {"B": 30, "C": 30}
    assert [signal.decision for signal in engine.records.signals] == ["resized", "resized"]


@pytest.mark.parametrize("last_word", ["rebalance", "target", "close", "pause", "flatten"])
def test_a_later_word_takes_the_place_of_what_waits(last_word):
    words = {
        "rebalance": lambda s: s.rebalance({"A": 0.3}),
        "target": lambda s: s.order_target("B", quantity=1),
        "close": lambda s: s.close("B"),
    }
    actions = {0: lambda s: s.order_target("A", quantity=50), 8: lambda s: s.rebalance({"B": 0.5})}
    events = three(14)
    if last_word in words:
        actions[11] = words[last_word]
    else:
        clock_ns = START + 4 * MINUTE
        events.insert(12, (Pause if last_word == "pause" else Flatten)(clock_ns))
    engine = run(events, actions, cash=1000.0, costs=IN_PARTS)
    bought = [one for one in times(engine) if one[0] == "B"]
    assert bought == ([("B", "buy", 1, 4)] if last_word == "target" else [])
    left = {"rebalance": 30, "target": 0, "close": 0, "pause": 0, "flatten": 0}[last_word]
    assert engine.desks["script"].position("A").quantity == pytest.approx(left)
    assert not engine.rebalancing
    refused = [one.decision_reason for one in engine.records.signals if one.decision == "rejected"]
    assert refused == (["the strategy is paused"] if last_word == "pause" else [])


def test_a_preview_changes_nothing_and_says_what_would_be_sent():
    seen: list[RebalancePlan] = []
    weights = {"A": 0.2, "B": 0.5}
    quiet = {0: lambda s: s.order_target("A", quantity=50)}
    looking = quiet | {8: lambda s: seen.append(s.rebalance(weights, preview=True, band=0.01))}
    costs = Costs(commission=Commission(rate=0.001, minimum=1.0))
    first, second = (run(three(12), actions, cash=1000.0, costs=costs) for actions in (quiet, looking))
    assert first.records.orders == second.records.orders
    assert first.records.signals == second.records.signals
    assert first.records.equity == second.records.equity
    sent = run(three(12), quiet | {8: lambda s: s.rebalance(weights, band=0.01)}, cash=1000.0, costs=costs)
    (plan,) = seen
    # What is bought later is sized by what is there then: the sale fills in parts, and each pays the minimum.
    assert plan.legs[0].change == -sum(fill.quantity for fill in sent.records.fills if fill.side is Side.SELL)
    assert plan.legs[0].cost == pytest.approx(1.0 + 1e-4 * abs(plan.legs[0].notional))
    assert plan.cost == pytest.approx(sum(leg.cost for leg in plan.legs))


# -- for any weights, markets and costs -----------------------------------------------------------

SYMBOLS = ("A", "B", "C")
any_weight = st.integers(-600, 600).map(lambda thousandths: thousandths / 1000)
any_weights = st.dictionaries(st.sampled_from(SYMBOLS), any_weight, max_size=3)
any_costs = st.builds(
    Costs,
    commission=st.sampled_from((0.0, 0.001, 0.02, Commission(rate=0.001, minimum=5.0))),
    slippage_bps=st.sampled_from((0.0, 20.0)),
    latency_s=st.sampled_from((0.0, 0.5, 90.0)),
    participation=st.sampled_from((None, 0.1, 0.5)),
)


@st.composite
def any_holdings(draw: st.DrawFn) -> dict[str, Holding]:
    return {
        symbol: Holding(
            draw(st.one_of(st.just(0.0), st.floats(-50.0, 50.0))),
            draw(st.floats(0.5, 200.0)),
            draw(st.sampled_from((None, Instrument(symbol, 0, quantity_step=0.25, minimum_notional=10.0)))),
        )
        for symbol in SYMBOLS
    }


@given(any_weights, any_holdings(), st.floats(1_000.0, 50_000.0), st.sampled_from((0.0, 0.02, 0.2)), any_costs)
@settings(max_examples=200, deadline=None)
def test_a_plan_is_never_over_invested_and_meets_its_weights(weights, holdings, equity, band, costs):
    plan = plan_rebalance(weights, holdings, equity=equity, band=band, cost_at=costs.estimator())
    net = equity - plan.cost
    reach = sum(abs(weight) for weight in weights.values())
    after = {leg.symbol: leg.target for leg in plan.legs}
    left_alone = 0.0
    for leg in plan.legs:
        held, weight = holdings[leg.symbol], weights.get(leg.symbol, 0.0)
        assert leg.target == pytest.approx(held.quantity + leg.change)
        room = 0.0 if held.rules is None else max(0.25 * held.price, 10.0)
        if leg.note == "within the band":
            assert leg.change == 0.0 and abs(leg.weight - weight) <= band + 1e-9
            left_alone += abs(leg.quantity * leg.price) - abs(weight) * max(net, 0.0)
        elif leg.note != "scaled down to what is free" and "below the symbol's minimum" not in leg.note and net > 0.0:
            # Nothing was in the way: the weight is met to a step, or to an order too small to be sent. Where a step's
            # own cost (at most a twentieth of it) decides whether it fits, each weight is of what is left with it.
            steps = sum(max(0.25 * one.price, 10.0) for one in holdings.values() if one.rules is not None)
            assert abs(leg.target * leg.price - weight * net) <= room + abs(weight) * 0.05 * steps + 1e-6 * equity
        elif leg.note:
            assert (
                abs(leg.target * leg.price) <= abs(weight) * max(net, 0.0) + room + 1e-6 * equity or leg.change == 0.0
            )
            left_alone += room
    gross = sum(abs(after[symbol]) * held.price for symbol, held in holdings.items())
    # What the weights say, and what is left alone: positions in the band, and what is too little to be sold.
    assert gross <= reach * max(net, 0.0) + max(left_alone, 0.0) + 1e-6 * equity
    # Where something was bought, not even that: all of it fits.
    if any(leg.change * leg.target > 0.0 for leg in plan.legs):
        assert gross <= reach * net + 1e-6 * equity


@st.composite
def markets(draw: st.DrawFn) -> list[Event]:
    """Three symbols, a bar a minute each: jumps, and volumes that fill orders in parts."""
    count = draw(st.integers(4, 24))
    prices = {"A": 100.0, "B": 7.0, "C": 31.0}
    events: list[Event] = [Instrument("B", START, quantity_step=1.0)] if draw(st.booleans()) else []
    for index in range(count):
        for symbol in SYMBOLS:
            move = draw(st.sampled_from((-0.08, -0.01, 0.0, 0.0, 0.01, 0.08)))
            price = prices[symbol] = prices[symbol] * (1.0 + move)
            volume = draw(st.sampled_from((0.0, 30.0, 500.0, 1e9)))
            events.append(bar(index, price, price, price, price, volume, symbol))
    return events


class Drawn(Strategy):
    """Rebalances to drawn weights at drawn bars, and now and then cancels what is out."""

    plans: dict[int, tuple[dict[str, float], float, bool]] = {}

    def on_start(self) -> None:
        self.number = 0
        self.reach = 0.0
        self.sums: list[tuple[float, float]] = []

    def on_bar(self, bar: Bar) -> None:
        self.number += 1
        weights, band, cancels = self.plans.get(self.number, ({}, 0.0, False))
        if cancels and self.orders:
            self.cancel(self.orders[0].order_id)
        if weights and all(symbol in SYMBOLS[: self.number] for symbol in weights):
            self.reach = sum(map(abs, weights.values()))
            self.rebalance(weights, band=band)


@given(
    markets(),
    st.dictionaries(
        st.integers(3, 72), st.tuples(any_weights, st.sampled_from((0.0, 0.05)), st.booleans()), max_size=8
    ),
    any_costs,
)
@settings(max_examples=200, deadline=None)
def test_no_order_that_enlarges_ever_leads_beyond_the_weights(events, plans, costs):
    """At every signal sent, with it and every order out that enlarges filled at the checked prices:
    the gross of the book is at most what the weights say of its equity."""
    strategy = Drawn()
    strategy.plans = plans
    engine = Engine({"drawn": strategy}, cash=10_000.0, costs=costs, risk=RiskLimits(max_gross_exposure=3.0))
    desk = engine.desks["drawn"]
    enlarged = 0
    send = desk.engine.broker.submit

    def watched(order, owner, book, market):
        nonlocal enlarged
        working = send(order, owner, book, market)
        signed = order.quantity if order.side is Side.BUY else -order.quantity
        if book.position(market).quantity * signed >= 0.0:
            enlarged += 1
            quantities = {symbol: held.quantity for symbol, held in book.open.items()}
            for one in engine.broker.open.values():
                change = one.remaining if one.is_buy else -one.remaining
                if quantities.get(one.order.symbol, 0.0) * change >= 0.0:
                    quantities[one.order.symbol] = quantities.get(one.order.symbol, 0.0) + change
            gross = sum(abs(quantity) * engine.tracks[symbol].market.price for symbol, quantity in quantities.items())
            assert gross <= strategy.reach * book.equity * (1 + 1e-9) + 1e-9
        return working

    engine.broker.submit = watched
    engine.process_all(events)
    assert not engine.exceptions, engine.exceptions
    for desk in engine.rebalancing:
        assert desk.rebalancing is not None and desk.rebalancing.waiting
    book = desk.book
    value = book.cash + sum(held.market_value for held in book.positions.values())
    assert value == pytest.approx(book.starting_cash + book.realised + book.unrealised - book.fees, abs=1e-6)


@given(any_weights.filter(bool), any_weights.filter(bool), any_costs, st.booleans())
@settings(max_examples=200, deadline=None)
def test_it_converges_to_the_weights_within_a_step(first, second, costs, in_steps):
    """At resting prices, however thin the market: once all is filled, each symbol is within a step of its weight."""
    events: list[Event] = [Instrument(symbol, START, quantity_step=0.5) for symbol in SYMBOLS] if in_steps else []
    for index in range(120):
        events += [
            bar(index, price, price, price, price, 500.0, symbol)
            for symbol, price in zip(SYMBOLS, (100.0, 7.0, 31.0), strict=True)
        ]
    actions = {2: lambda s: s.rebalance(first), 180: lambda s: s.rebalance(second)}
    engine = run(events, actions, cash=10_000.0, costs=costs, risk=RiskLimits(max_gross_exposure=3.0), finish=False)
    assert not engine.rebalancing and not engine.broker.open
    book = engine.desks["script"].book
    # Fills in parts may pay a least commission more often than the plan thought: that much may be missing.
    fees = sum(fill.fee for fill in engine.records.fills) if isinstance(costs.commission, Commission) else 0.0
    if in_steps:
        # What steps cut off was reckoned with when the costs were: 3 % of half a share of each.
        fees += 0.03 * 0.5 * 138.0
    for symbol, price in zip(SYMBOLS, (100.0, 7.0, 31.0), strict=True):
        wanted = second.get(symbol, 0.0) * book.equity
        held = book.position(engine.tracks[symbol].market).quantity * price
        assert abs(held - wanted) <= (0.5 * price if in_steps else 0.0) + fees + 1e-6
