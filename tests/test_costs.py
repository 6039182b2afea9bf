"""Impact, queues and latencies, against tables worked by hand and figures from elsewhere; and what a journal keeps of them."""

import json
import statistics
from math import exp, inf, log, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MINUTE, SECOND, START, QuoteScript, TickScript, bar, bars, fills, quote, run, tick

import qfkit as qf
from qfkit.core.costs import Costs, moved
from qfkit.core.engine import Engine
from qfkit.core.events import CorporateAction, Depth, Quote, Tick
from qfkit.core.impact import Activity
from qfkit.core.latency import mixed, uniform_pair
from qfkit.core.orders import BUY, SELL
from qfkit.errors import ParameterError, SessionError
from qfkit.live.plan import _costs_meta, costs_of

FREE = {"commission": 0.0, "slippage_bps": 0.0, "latency_s": 0.0, "participation": None}

# -- the square-root law ---------------------------------------------------------------------


def impact_run(impact, actions, rows, participation=None, **costs):
    return run(bars(rows), actions, costs=Costs(**FREE | {"participation": participation, "impact": impact} | costs))


FLAT = [(100, 100, 100, 100, 100.0)] * 5


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (100, 100.2),  # 0.02 x sqrt(100 / 10,000) = 0.002
        (400, 100.4),  # four times the size, twice the impact
        (1, 100.02),
        (2_500, 101.0),
    ],
)
def test_impact_of_given_figures(quantity, expected):
    given_figures = qf.SquareRootImpact(1.0, daily_volatility=0.02, daily_volume=10_000.0)
    (buy,) = fills(impact_run(given_figures, {0: lambda s: s.buy("A", quantity=quantity)}, FLAT))
    assert buy == ("buy", quantity, pytest.approx(expected, rel=1e-14))
    (sell,) = fills(impact_run(given_figures, {0: lambda s: s.sell("A", quantity=quantity)}, FLAT))
    assert sell == ("sell", quantity, pytest.approx(200.0 - expected, rel=1e-14))
    half = qf.SquareRootImpact(0.5, daily_volatility={"A": 0.02}, daily_volume={"A": 10_000.0})
    (less,) = fills(impact_run(half, {0: lambda s: s.buy("A", quantity=quantity)}, FLAT))
    assert less[2] == pytest.approx(100.0 + (expected - 100.0) / 2, rel=1e-14)


def test_each_part_of_an_order_pays_for_all_that_was_filled_so_far():
    impact = qf.SquareRootImpact(1.0, daily_volatility=0.02, daily_volume=10_000.0)
    engine = impact_run(impact, {0: lambda s: s.buy("A", quantity=100)}, FLAT, participation=0.5)
    # Fifty a bar: 0.02 x sqrt(50 / 10,000), then 0.02 x sqrt(100 / 10,000).
    assert fills(engine) == [
        ("buy", 50, pytest.approx(100.0 * (1 + 0.02 * sqrt(0.005)), rel=1e-14)),
        ("buy", 50, pytest.approx(100.2, rel=1e-14)),
    ]
    assert [fill.market_price for fill in engine.records.fills] == [100.0, 100.0]


def test_impact_comes_on_top_of_slippage_and_never_on_a_limit():
    impact = qf.SquareRootImpact(1.0, daily_volatility=0.02, daily_volume=10_000.0)
    both = impact_run(impact, {0: lambda s: s.buy("A", quantity=100)}, FLAT, slippage_bps=50.0)
    assert fills(both) == [("buy", 100, pytest.approx(100.0 * 1.005 * 1.002, rel=1e-14))]
    touch = impact_run(impact, {0: lambda s: s.buy("A", quantity=100, limit_price=100.0)}, FLAT, limit_fills="touch")
    assert fills(touch) == [("buy", 100, 100.0)]
    stop = impact_run(impact, {0: lambda s: s.buy("A", quantity=100, stop_price=100.0)}, FLAT)
    assert fills(stop) == [("buy", 100, pytest.approx(100.2, rel=1e-14))]


def test_impact_of_the_market_s_own_figures():
    rows = [
        (100.0, 105.0, 95.0, 102.0, 500.0),
        (102.0, 110.0, 101.0, 99.0, 1_500.0),
        (99.0, 101.0, 98.0, 100.0, nan),  # an unknown volume counts for neither
        (100.0, 104.0, 99.0, 103.0, 700.0),
        (103.0, 103.0, 103.0, 103.0, 1e9),
    ]
    engine = impact_run(qf.SquareRootImpact(0.8), {3: lambda s: s.buy("A", quantity=90)}, rows)
    moves = [log(102 / 100), log(99 / 102), log(103 / 100)]
    variance, volume = statistics.fmean(move**2 for move in moves), statistics.fmean([500, 1_500, 700])
    expected = 103.0 * (1 + 0.8 * sqrt(variance) * sqrt(90 / volume))
    assert fills(engine) == [("buy", 90, pytest.approx(expected, rel=1e-12))]
    # Nothing is known before the first bar closes.
    early = [tick(0, 100.0), tick(1, 104.0), tick(61, 104.0), tick(62, 104.0)]
    buy = {0: lambda s: s.buy("A", quantity=1e8), 2: lambda s: s.buy("A", quantity=1e8)}
    costs = Costs(**FREE, impact=qf.SquareRootImpact())
    done = fills(run(early, buy, costs=costs, kind=TickScript, cash=1e12))
    # The bar of the first minute went from 100 to 104 on twice 1e9.
    late = 104.0 * (1 + log(1.04) * sqrt(1e8 / 2e9))
    assert done == [("buy", 1e8, 104.0), ("buy", 1e8, pytest.approx(late, rel=1e-12))]


def test_running_figures_are_exponential_averages_and_the_law_is_that_of_any_bar_length():
    chance = np.random.default_rng(7)
    closes = 100.0 * np.exp(np.cumsum(chance.normal(0.0, 0.001, 4_000)))
    volumes = chance.exponential(50.0, 4_000)
    fine, coarse = Activity(10_000), Activity(10_000)
    before = 100.0
    for index, (close, volume) in enumerate(zip(closes.tolist(), volumes.tolist(), strict=True)):
        fine.add(bar(index, before, max(before, close), min(before, close), close, volume))
        before = close
    for start in range(0, 4_000, 16):
        part = closes[start : start + 16]
        opened = 100.0 if start == 0 else float(closes[start - 1])
        high, low = max(opened, part.max()), min(opened, part.min())
        coarse.add(bar(start, opened, high, low, float(part[-1]), float(volumes[start : start + 16].sum())))
    impact = qf.SquareRootImpact()
    # Sixteen times the variance and the volume, one impact.
    assert coarse.volume == pytest.approx(16 * fine.volume, rel=1e-9)
    assert impact.scale("A", coarse) == pytest.approx(impact.scale("A", fine), rel=0.1)
    assert impact.scale("A", fine) == pytest.approx(0.001 / sqrt(50.0), rel=0.1)

    running = Activity(9)
    for index in range(50):
        running.add(bar(index, 100, 100, 100, 100, 1.0 + 99.0 * (index == 40)))
    # A centre of mass of 5 bars: 100 counts one fifth at first, and each bar leaves four fifths of it.
    assert running.volume == pytest.approx(1.0 + 99.0 / 5 * (4 / 5) ** 9, rel=1e-12)


@given(
    st.sampled_from((BUY, SELL)),
    st.floats(0.01, 1e6),
    st.floats(0.0, 10.0),
    st.floats(0.0, 1e9),
    st.floats(0.0, 1e9),
)
def test_impact_never_helps_and_grows_with_the_size(side, price, scale, one, other):
    small, large = sorted((one, other))
    first, second = moved(side, price, scale, small), moved(side, price, scale, large)
    assert price <= first <= second if side is BUY else price >= first >= second > 0.0


def test_what_is_bought_on_all_the_cash_leaves_room_for_the_impact():
    impact = qf.SquareRootImpact(1.0, daily_volatility=0.1, daily_volume=1_000.0)
    engine = impact_run(impact, {0: lambda s: s.order_target("A", weight=1.0)}, FLAT)
    (desk,) = engine.desks.values()
    assert engine.records.fills
    assert 0.0 <= desk.book.cash < 0.35 * engine.starting_cash
    without = impact_run(None, {0: lambda s: s.order_target("A", weight=1.0)}, FLAT)
    assert engine.records.fills[0].quantity < without.records.fills[0].quantity


def test_a_split_splits_the_running_volume():
    costs = Costs(**FREE, impact=qf.SquareRootImpact())
    split = CorporateAction("A", START + MINUTE, START + MINUTE, split=2.0)
    first, second = (100, 101, 99, 101, 100.0), (50.5, 51, 50, 51, 200.0)
    engine = run([bar(0, *first), split, bar(1, *second)], {}, costs=costs)
    activity = engine.tracks["A"].market.activity
    assert activity.volume == pytest.approx(200.0)
    assert activity.variance == pytest.approx((log(1.01) ** 2 + log(51 / 50.5) ** 2) / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coefficient": -1.0}, "coefficient"),
        ({"daily_volume": 1e6}, "go together"),
        ({"daily_volatility": 0.02}, "go together"),
        ({"daily_volatility": {"A": 0.1}, "daily_volume": {"B": 1.0}}, "same symbols"),
        ({"daily_volatility": 0.1, "daily_volume": {"B": 1.0}}, "same symbols"),
        ({"daily_volatility": 0.1, "daily_volume": 0.0}, "above zero"),
        ({"daily_volatility": -0.1, "daily_volume": 1.0}, "zero or more"),
        ({"daily_volatility": inf, "daily_volume": 1.0}, "finite"),
        ({"over_bars": 0}, "over_bars"),
    ],
)
def test_an_impact_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ParameterError, match=message):
        qf.SquareRootImpact(**arguments)


# -- the queue -------------------------------------------------------------------------------

QUEUES = ("touch", "queue_proportional", "queue_last", "through")


def queued(events, limit_fills, action=None, participation=None):
    costs = Costs(**FREE | {"participation": participation}, limit_fills=limit_fills)
    action = action or (lambda strategy: strategy.buy("A", quantity=10, limit_price=99.0))
    return [quantity for _, quantity, price in fills(run(events, {0: action}, costs=costs, kind=QuoteScript))]


def sized(seconds, bid_size, bid=99.0, ask=101.0, ask_size=1e9):
    time_ns = START + round(seconds * SECOND)
    return Quote("A", bid, bid_size, ask, ask_size, time_ns, time_ns)


def hit(seconds, size, price=99.0, side=None):
    time_ns = START + round(seconds * SECOND)
    return Tick("A", price, size, time_ns, time_ns, side=side)


# Each row: what happens after a bid for 10 at 99, behind the 10 that are quoted there; the fills under each rule.
QUEUE_TABLE = {
    "trades come through the queue": (
        [sized(1, 10), hit(2, 4), hit(3, 8), hit(4, 100, 98.5)],
        {"touch": [10], "queue_proportional": [2, 8], "queue_last": [2, 8], "through": [10]},
    ),
    "half of the queue is withdrawn": (
        # 5 are ahead, or 10; then 6 trade, and 6 more.
        [sized(1, 10), sized(2, 5), hit(4, 6), hit(5, 6)],
        {"touch": [10], "queue_proportional": [1, 6], "queue_last": [2], "through": []},
    ),
    "others come behind and half of all withdraws": (
        # 10 of 20 are ahead, then 5 of 10.
        [sized(1, 10), sized(2, 20), sized(3, 10), hit(5, 6), hit(6, 6)],
        {"touch": [10], "queue_proportional": [1, 6], "queue_last": [2], "through": []},
    ),
    "the quote tells of a trade before the trade does": (
        # What shrank by 6 is the trade of 6: of 10 ahead 4 are left, and the next 6 bring 2.
        [sized(1, 10), sized(2, 4), hit(2.01, 6), hit(5, 6)],
        {"touch": [10], "queue_proportional": [2], "queue_last": [2], "through": []},
    ),
    "a trade is told before the quote that it made": (
        [sized(1, 10), hit(2, 6), sized(2.01, 4), hit(5, 6)],
        {"touch": [10], "queue_proportional": [2], "queue_last": [2], "through": []},
    ),
    "the other side trades at the price": (
        [sized(1, 10), hit(2, 50, side="buy"), hit(3, 12, side="sell")],
        {"touch": [10], "queue_proportional": [2], "queue_last": [2], "through": []},
    ),
    "nobody is at the price": (
        # The bid of 99 is the best: the first to sell at it sells to us.
        [sized(1, 7, bid=98.0), hit(2, 3), hit(3, 30)],
        {"touch": [10], "queue_proportional": [3, 7], "queue_last": [3, 7], "through": []},
    ),
    "the size is unknown": (
        [sized(1, nan), hit(2, 50), hit(3, 1, 98.9)],
        {"touch": [10], "queue_proportional": [10], "queue_last": [10], "through": [10]},
    ),
    "the ask comes to the limit": (
        [sized(1, 10), sized(2, 5, bid=98.0, ask=99.0)],
        {"touch": [10], "queue_proportional": [10], "queue_last": [10], "through": [10]},
    ),
}


@pytest.mark.parametrize("rule", QUEUES)
@pytest.mark.parametrize("row", QUEUE_TABLE)
def test_the_queue(row, rule):
    events, expected = QUEUE_TABLE[row]
    assert queued([sized(0, 10), *events], rule) == pytest.approx(expected[rule])


def test_a_price_behind_the_best_is_known_by_the_depth():
    time_ns = START + SECOND
    deep = Depth("A", ((99.5, 1.0), (99.0, 4.0), (98.0, 9.0)), ((101.0, 1.0),), time_ns, time_ns)
    events = [sized(0, 1.0, bid=99.5), deep, hit(2, 6.0), hit(3, 6.0)]
    assert queued(events, "queue_last") == [2, 6]
    # Without it the size is first seen when the price is the best.
    events = [sized(0, 1.0, bid=99.5), sized(1, 1.0, bid=99.5), hit(2, 6.0), sized(3, 5.0), hit(4, 6.0)]
    assert queued(events, "queue_last") == [1]


def test_two_orders_of_ours_do_not_share_one_trade_twice():
    def both(strategy):
        strategy.buy("A", quantity=3, limit_price=99.0)
        strategy.buy("A", quantity=5, limit_price=99.0)

    # Of 14 traded 10 were ahead of both, so 4 are for us: 3 and 1.
    assert queued([sized(0, 10), sized(1, 10), hit(2, 14)], "queue_last", both) == [3, 1]


def test_participation_bounds_what_the_queue_lets_through():
    assert queued([sized(0, 10), sized(1, 10), hit(2, 16)], "queue_last", participation=0.25) == [4]
    assert queued([sized(0, 10), sized(1, 10), hit(2, 11)], "queue_last", participation=0.25) == [1]


def test_a_sale_queues_at_the_ask_and_a_changed_order_queues_anew():
    def sell(strategy):
        strategy.sell("A", quantity=10, limit_price=101.0)

    events = [sized(0, 1, ask_size=10.0), sized(1, 1, ask_size=10.0), hit(2, 8, 101.0), hit(3, 8, 101.0, side="buy")]
    assert queued(events, "queue_last", sell) == [6]

    class Changes(QuoteScript):
        actions = {
            0: lambda s: s.buy("A", quantity=10, limit_price=99.0),
            2: lambda s: s.modify(s.orders[0].order_id, quantity=9),
        }

    engine = Engine({"s": Changes()}, cash=1e6, costs=Costs(**FREE, limit_fills="queue_last"))
    engine.process_all([sized(0, 10), sized(1, 10), hit(2, 9), sized(3, 8), sized(4, 8), hit(5, 9)])
    assert fills(engine) == [("buy", 1, 99.0)]


events_of_a_queue = st.lists(
    st.one_of(
        st.tuples(st.just("quote"), st.floats(0.0, 50.0), st.sampled_from((98.5, 99.0, 99.0, 99.0, 99.5))),
        st.tuples(st.just("trade"), st.floats(0.01, 30.0), st.sampled_from((99.0, 99.0, 99.0, 98.5, 99.5))),
    ),
    max_size=25,
)


@given(events_of_a_queue)
def test_a_kinder_rule_never_fills_less(rows):
    events = [sized(0, 10)]
    for number, (kind, size, price) in enumerate(rows, 1):
        events.append(sized(number * 2, size, bid=price) if kind == "quote" else hit(number * 2, size, price))
    filled = [sum(queued(events, rule)) for rule in QUEUES]
    assert all(kinder >= stricter - 1e-9 for kinder, stricter in zip(filled, filled[1:], strict=False))
    traded = sum(size for kind, size, price in rows if kind == "trade" and price <= 99.0)
    # None takes all at once only beyond the limit; in the queue never more than what traded.
    if not any(kind == "trade" and price < 99.0 for kind, _, price in rows):
        assert max(filled[1:]) <= traded + 1e-9


def test_on_bars_the_queues_are_as_through():
    rows = [(100, 101, 99, 100), (100, 102, 99, 101), (102, 106, 98.5, 105)]
    for rule in ("through", "queue_last", "queue_proportional"):
        engine = run(
            bars(rows), {0: lambda s: s.buy("A", quantity=1, limit_price=99.0)}, costs=Costs(**FREE, limit_fills=rule)
        )
        assert [fill.time_ns for fill in engine.records.fills] == [START + 3 * MINUTE]


def test_the_queues_on_the_real_capture_are_between_touch_and_through(capture_path):
    class Joins(qf.Strategy):
        """A bid at the best price every thousand quotes, cancelled by the next."""

        def on_start(self):
            self.count = 0

        def on_quote(self, quote):
            self.count += 1
            if self.count % 1_000 == 0:
                for order in self.orders:
                    self.cancel(order.order_id)
                self.buy(quote.symbol, quantity=0.05, limit_price=quote.bid)

    done = {}
    for rule in QUEUES:
        costs = Costs(**FREE | {"latency_s": 0.01}, limit_fills=rule)
        result = qf.backtest(Joins(), capture_path, cash=1e7, costs=costs, timeframe="1m")
        done[rule] = {fill.order_id: fill.received_ns for fill in reversed(result.records.fills)}
    assert len(done["touch"]) > len(done["through"]) / 2 > 5
    for order_id, first_ns in done["through"].items():
        # What even a trade beyond the limit fills, all others have filled by then.
        assert done["touch"][order_id] <= done["queue_proportional"][order_id] <= first_ns
        assert done["touch"][order_id] <= done["queue_last"][order_id] <= first_ns
    assert sum(done["queue_last"][order_id] > done["touch"][order_id] for order_id in done["through"]) >= 5


# -- latency ---------------------------------------------------------------------------------


def test_splitmix64_gives_its_published_numbers():
    gamma = 0x9E3779B97F4A7C15
    assert [mixed((1_234_567 + number * gamma) % 2**64) for number in range(5)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


def test_the_figures_of_an_order_are_the_same_everywhere():
    # By an implementation in numpy. Another figure on another Python or machine would be a replay that differs.
    log_normal, uniform = qf.LogNormalLatency(0.2, 0.5, seed=7), qf.UniformLatency(0.05, 0.15, seed=-3)
    costs = [Costs(latency_s=latency).latency_of() for latency in (log_normal, uniform)]
    assert [[latency(order_id) for order_id in (1, 2, 3, 10**6)] for latency in costs] == PINNED


PINNED = [
    [129579391, 269925104, 237352965, 101055250],
    [136532303, 67367397, 106331770, 106460411],
]


def test_the_distributions_are_what_they_say():
    numbers = range(1, 40_001)
    drawn = [log(qf.LogNormalLatency(0.2, 0.5, seed=1)(number)) for number in numbers]
    assert statistics.median(drawn) == pytest.approx(log(0.2), abs=0.01)
    assert statistics.stdev(drawn) == pytest.approx(0.5, rel=0.02)
    # One in 20 is beyond 1.645 standard deviations.
    assert sum(one > log(0.2) + 0.5 * 1.6449 for one in drawn) / 40_000 == pytest.approx(0.05, abs=0.004)
    assert exp(0.5 * 1.6449) == pytest.approx(2.3, abs=0.03)
    assert exp(1.6449) == pytest.approx(5.2, abs=0.03)
    even = [qf.UniformLatency(0.1, 0.3, seed=2)(number) for number in numbers]
    counts, _ = np.histogram(even, bins=20, range=(0.1, 0.3))
    assert counts.sum() == 40_000
    assert ((counts - 2_000) ** 2 / 2_000).sum() < 43.8  # chi-squared with 19 degrees of freedom, one in 1,000
    # Neighbouring numbers and neighbouring seeds have nothing to do with each other.
    first, second = np.array([uniform_pair(5, number) for number in numbers]).T
    other = np.array([uniform_pair(6, number)[0] for number in numbers])
    for one, two in ((first, second), (first[1:], first[:-1]), (first, other), (second[:-1], first[1:])):
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.02


@pytest.mark.parametrize(
    "latency", [qf.LogNormalLatency(2.0, 1.0, seed=3), qf.UniformLatency(1.0, 9.0), lambda order: order * 1.5]
)
def test_each_order_is_out_after_its_own_time_and_so_is_its_change(latency):
    costs = Costs(**FREE | {"latency_s": latency})
    actions = {number: lambda s: s.buy("A", quantity=1) for number in range(0, 40, 4)}
    actions |= {50: lambda s: s.buy("A", quantity=1, limit_price=50.0)}
    actions |= {60: lambda s: s.modify(s.orders[-1].order_id, limit_price=120.0)}
    ticks = [quote(number * 0.5, 99, 101) for number in range(200)]
    engine = run(ticks, actions, costs=costs, kind=QuoteScript)
    first = {}
    for order in engine.records.orders:
        first.setdefault(order.order_id, order)
    for order in first.values():
        assert order.sent_ns - order.decided_ns == round(latency(order.order_id) * 1e9)
    assert len({order.sent_ns - order.decided_ns for order in first.values()}) > 8
    for fill in engine.records.fills:
        sent_ns = first[fill.order_id].sent_ns
        if fill.order_id == 11:
            sent_ns = START + 30 * SECOND + round(latency(11) * 1e9)
        # At the first quote that is not before it.
        assert 0 <= fill.received_ns - sent_ns < SECOND // 2
    assert len(engine.records.fills) == 11


@pytest.mark.parametrize(
    "make",
    [
        lambda: qf.UniformLatency(0.2, 0.1),
        lambda: qf.UniformLatency(-0.1, 0.1),
        lambda: qf.UniformLatency(0.0, inf),
        lambda: qf.LogNormalLatency(-1.0),
        lambda: qf.LogNormalLatency(nan),
        lambda: qf.LogNormalLatency(1.0, sigma=4.0),
        lambda: qf.LogNormalLatency(1.0, seed=2**64),
        lambda: qf.LogNormalLatency(1.0, seed=0.5),
        lambda: Costs(latency_s=qf.LogNormalLatency(1.0)).latency_ns,
        lambda: Costs(latency_s=lambda order_id: -1.0).latency_of()(1),
        lambda: Costs(limit_fills="queue"),
        lambda: Costs(impact=0.5),
    ],
)
def test_what_cannot_be_is_refused(make):
    with pytest.raises(ParameterError):
        make()


# -- shown and kept --------------------------------------------------------------------------


def test_all_assumptions_are_in_words():
    assert Costs().describe() == (
        "commission 0.1 %, slippage 1 bp, latency 100 ms, at most 10 % of volume, limits fill when traded through"
    )
    costs = Costs(
        latency_s=qf.LogNormalLatency(0.2, 0.5, seed=7),
        limit_fills="queue_proportional",
        impact=qf.SquareRootImpact(0.8, daily_volatility=0.02, daily_volume=1e6),
    )
    assert costs.describe() == (
        "commission 0.1 %, slippage 1 bp, square-root impact 0.8 x volatility x sqrt(quantity / volume), "
        "given as 0.02 and 1e+06 a day, latency 200 ms in the median (log-normal, sigma 0.5, seed 7), "
        "at most 10 % of volume, limits fill in their turn in the queue (withdrawals shared in proportion)"
    )
    assert "latency 50 to 150 ms (even, seed 0)" in Costs(latency_s=qf.UniformLatency(0.05, 0.15)).describe()
    assert "as of about 100 bars" in Costs.harsh().describe()
    assert "latency by <lambda>" in Costs(latency_s=lambda order_id: 1.0).describe()
    result = qf.backtest(qf.MovingAverageCrossover(), qf.sample("IBM"), costs=costs)
    assert costs.describe() in result.assumptions


@pytest.mark.parametrize(
    "costs",
    [
        Costs(),
        Costs.ideal(),
        Costs.harsh(),
        Costs(latency_s=qf.UniformLatency(0.1, 0.2, seed=-(2**63)), limit_fills="queue_last"),
        Costs(commission=qf.Commission(0.001, 0.01, 1.0), impact=qf.SquareRootImpact(0.5, {"A": 0.02}, {"A": 5e6})),
    ],
)
def test_a_journal_keeps_them(costs):
    assert costs_of(json.loads(json.dumps(_costs_meta(costs)))) == costs


def test_a_journal_of_before_there_was_an_impact_is_read():
    meta = _costs_meta(Costs())
    del meta["impact"]
    assert costs_of(meta) == Costs()


def test_a_latency_that_is_a_function_is_asked_for_again():
    with pytest.raises(SessionError, match="latency_s was the function"):
        costs_of(json.loads(json.dumps(_costs_meta(Costs(latency_s=lambda order_id: 1.0)))))


def test_a_session_with_all_of_it_verifies_and_equals_its_backtest(capture_path, tmp_path):
    class Both(qf.Strategy):
        """Crosses the spread and joins the queue in turn."""

        def on_start(self):
            self.count = 0

        def on_quote(self, quote):
            self.count += 1
            if self.count % 400 == 0:
                self.buy(quote.symbol, quantity=0.3)
            elif self.count % 400 == 200:
                self.sell(quote.symbol, quantity=0.3, limit_price=quote.ask)

    costs = qf.Costs(
        participation=0.5,
        latency_s=qf.LogNormalLatency(0.05, 0.8, seed=11),
        limit_fills="queue_proportional",
        impact=qf.SquareRootImpact(0.5),
    )
    settings = {"cash": 1e7, "costs": costs, "timeframe": "1s"}
    feed = qf.ReplayFeed(capture_path, speed=None)
    session = qf.paper(Both(), feed, journal=tmp_path / "all.sqlite", **settings).start().wait()
    assert session.verify()
    result = qf.backtest(Both(), capture_path, **settings)
    assert session.result.records.fills == result.records.fills
    orders = {order.order_id: order.type for order in result.orders.reset_index().itertuples()}
    kinds = {orders[fill.order_id] for fill in result.records.fills}
    assert kinds == {"market", "limit"}
    assert len({fill.order_id for fill in result.records.fills}) > 60


def test_the_costs_of_a_run_as_one_types_them():
    costs = qf.Costs(
        commission=0.001,
        slippage_bps=1.0,
        impact=qf.SquareRootImpact(coefficient=1.0),
        latency_s=qf.LogNormalLatency(median_s=0.2, sigma=0.5, seed=7),
        limit_fills="queue_last",
    )
    dear = qf.backtest(qf.MovingAverageCrossover(), qf.sample("AAPL"), costs=costs)
    cheap = qf.backtest(qf.MovingAverageCrossover(), qf.sample("AAPL"), costs=qf.Costs.ideal())
    assert "square-root impact 1 x volatility" in str(dear.assumptions)
    assert 0 < dear.equity["account"].iloc[-1] < cheap.equity["account"].iloc[-1]


@pytest.mark.parametrize("make", [lambda: qf.Costs(commission=5), lambda: qf.Commission(rate=1.0)])
def test_a_commission_in_money_or_percent_is_no_rate(make):
    with pytest.raises(ParameterError, match=r"% of what is traded: 0.001 is 0.1 %; money a fill is Commission"):
        make()
