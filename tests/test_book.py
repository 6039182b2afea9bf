"""Orders that walk a recorded book, against tables worked by hand, a plain model and the real capture."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import SECOND, START, Script, bar, fills, quote, run, tick

import qfkit as qf
from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import CorporateAction, Depth, Gap, Quote, Tick, check_event
from qfkit.core.ladder import Ladder, OrderBook, Walk
from qfkit.core.orders import Side
from qfkit.core.risk import RiskLimits
from qfkit.core.strategy import Strategy
from qfkit.errors import BadEventError

WHOLE = Costs(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=1.0)


def depth(seconds: float, bids=(), asks=()) -> Depth:
    time_ns = START + round(seconds * SECOND)
    return Depth("A", tuple(bids), tuple(asks), time_ns, time_ns)


def book(seconds: float, *asks, bids=((99.0, 3.0), (98.0, 4.0), (96.0, 10.0))) -> Depth:
    return depth(seconds, bids, asks or ((101.0, 3.0), (102.0, 4.0), (104.0, 10.0)))


class DepthScript(Script):
    """Acts at each depth."""

    def on_depth(self, depth: Depth) -> None:
        self.act()


def walked(events, actions, costs=WHOLE):
    return run(events, actions, costs=costs, kind=DepthScript)


def buy(quantity, **arguments):
    return lambda strategy: strategy.buy("A", quantity=quantity, **arguments)


def sell(quantity, **arguments):
    return lambda strategy: strategy.sell("A", quantity=quantity, **arguments)


# -- worked by hand --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (buy(2), [("buy", 2, 101.0)]),
        (buy(3), [("buy", 3, 101.0)]),
        (buy(5), [("buy", 5, 101.4)]),  # (3 x 101 + 2 x 102) / 5
        (buy(10), [("buy", 10, 102.3)]),  # (3 x 101 + 4 x 102 + 3 x 104) / 10
        (buy(20), [("buy", 17, 1751 / 17)]),  # all there is: 303 + 408 + 1040
        (sell(10), [("sell", 10, 97.7)]),  # (3 x 99 + 4 x 98 + 3 x 96) / 10
        (buy(10, limit_price=102.0), [("buy", 7, 711 / 7)]),  # up to the limit, and the rest works on
        (buy(10, limit_price=101.5), [("buy", 3, 101.0)]),
        (buy(10, limit_price=100.0), []),
        (buy(10, limit_price=102.0, time_in_force="ioc"), [("buy", 7, 711 / 7)]),
        (buy(10, limit_price=102.0, time_in_force="fok"), []),
        (buy(7, limit_price=102.0, time_in_force="fok"), [("buy", 7, 711 / 7)]),
        (buy(10, stop_price=100.5), [("buy", 10, 102.3)]),  # fires at the ask of 101
        (buy(10, stop_price=101.5), []),
    ],
)
def test_an_order_walks_the_levels(action, expected):
    engine = walked([book(0), book(1)], {0: action})
    assert fills(engine) == [(side, quantity, pytest.approx(price, rel=1e-15)) for side, quantity, price in expected]
    for fill in engine.records.fills:
        assert fill.market_price == fill.price
        assert fill.time_ns == START + SECOND


def test_participation_slippage_and_commission_are_of_the_whole_walk():
    costs = Costs(
        commission=qf.Commission(rate=0.001, minimum=0.5), slippage_bps=10.0, latency_s=0.0, participation=0.5
    )
    engine = walked([book(0), book(1)], {0: buy(6)}, costs)
    # Half of each level: 1.5 at 101, 2 at 102, 2.5 of 5 at 104.
    (fill,) = engine.records.fills
    assert fill.market_price == pytest.approx((1.5 * 101 + 2 * 102 + 2.5 * 104) / 6, rel=1e-15)
    assert fill.price == pytest.approx(fill.market_price * 1.001, rel=1e-15)
    assert fill.fee == pytest.approx(6 * fill.price * 0.001, rel=1e-15)
    cheap = walked([book(0), book(1)], {0: buy(0.3)}, costs)
    assert cheap.records.fills[0].fee == 0.5


def test_what_was_taken_is_not_there_again_until_the_level_changes():
    events = [
        book(0),
        book(1),  # 10 of 17: 3 at 101, 4 at 102, 3 at 104
        book(2),  # the same book: 7 at 104
        book(3, (101.0, 5.0), (102.0, 4.0), (104.0, 10.0)),  # 101 grew by 2
        book(4, (101.0, 1.0), (102.0, 4.0), (104.0, 10.0)),  # it shrinks to 1, which we have
        book(5, (101.0, 4.0), (102.0, 4.0), (104.0, 10.0)),  # and what it grows by then is new
        book(6, (102.0, 4.0), (104.0, 10.0)),  # gone
        book(7),  # and there again, all 3
    ]
    engine = walked(events, {0: buy(10), 1: buy(100)})
    assert fills(engine) == [
        ("buy", 10, pytest.approx(102.3, rel=1e-15)),
        ("buy", 7, 104.0),
        ("buy", 2, 101.0),
        ("buy", 3, 101.0),
        ("buy", 3, 101.0),
    ]


def test_a_level_out_of_sight_is_not_new_when_it_is_seen_again():
    events = [
        book(0, (101.0, 3.0), (102.0, 4.0)),
        book(1, (101.0, 3.0), (102.0, 4.0)),
        book(2, (100.5, 0.0), (101.0, 3.0)),  # 102 is pushed out of what is shown
        book(3, (101.0, 3.0), (102.0, 4.0)),
        book(4, (101.0, 3.0), (102.0, 5.0)),
    ]
    engine = walked(events, {0: buy(7), 1: buy(100)})
    assert fills(engine) == [("buy", 7, pytest.approx(711 / 7, rel=1e-15)), ("buy", 1, 102.0)]


def test_a_level_that_a_quote_saw_gone_is_new():
    away = Quote("A", 99.0, 3.0, 102.0, 4.0, START + 2 * SECOND, START + 2 * SECOND)
    engine = walked([book(0), book(1), away, book(3)], {0: buy(3), 1: buy(100, limit_price=101.0)})
    assert fills(engine) == [("buy", 3, 101.0), ("buy", 3, 101.0)]
    without = walked([book(0), book(1), book(3)], {0: buy(3), 1: buy(100, limit_price=101.0)})
    assert fills(without) == [("buy", 3, 101.0)]


def test_two_orders_share_what_there_is():
    engine = walked([book(0), book(1)], {0: lambda s: (s.buy("A", quantity=2), s.buy("A", quantity=3))})
    # 2 at 101; then 1 at 101 and 2 at 102.
    assert fills(engine) == [("buy", 2, 101.0), ("buy", 3, pytest.approx(305 / 3, rel=1e-15))]


def test_a_quote_is_newer_than_the_levels():
    def after(bid, ask, size=2.0):
        now = START + SECOND
        return fills(walked([book(0), Quote("A", bid, size, ask, size, now, now)], {0: buy(5)}))

    # The ask went up: 101 is gone, and 102 shows 2.
    assert after(99.0, 102.0) == [("buy", 5, pytest.approx((2 * 102 + 3 * 104) / 5, rel=1e-15))]
    # A better ask came in front of the three.
    assert after(99.0, 100.0) == [("buy", 5, pytest.approx((2 * 100 + 3 * 101) / 5, rel=1e-15))]
    # Its size is unknown: that of the level counts.
    assert after(99.0, 101.0, nan) == [("buy", 5, pytest.approx(101.4, rel=1e-15))]


def test_a_trade_outside_the_spread_says_that_the_book_is_behind():
    def after(price):
        return fills(walked([book(0), tick(1, price, size=1.0)], {0: buy(5)}))

    assert after(100.0) == [("buy", 5, pytest.approx(101.4, rel=1e-15))]
    assert after(101.0) == [("buy", 5, pytest.approx(101.4, rel=1e-15))]
    assert after(101.5) == [("buy", 1, 101.5)]
    assert after(98.0) == [("buy", 1, 101.0)]


def test_an_old_or_doubtful_book_is_not_walked():
    late = quote(11, 99, 101, 2.0)
    assert fills(walked([book(0), late], {0: buy(5)})) == [("buy", 2, 101.0)]
    gap = Gap("A", START, START, START + SECOND // 2)
    near = quote(1, 99, 101, 2.0)
    assert fills(walked([book(0), gap, near], {0: buy(5)})) == [("buy", 2, 101.0)]
    # And what the quote gave is missing in the book that comes after it.
    engine = walked([book(0), gap, near, book(2)], {0: buy(5)})
    assert fills(engine) == [("buy", 2, 101.0), ("buy", 3, pytest.approx((101 + 2 * 102) / 3, rel=1e-15))]


def test_a_side_without_levels_offers_nothing():
    one_sided = depth(1, bids=[(99.5, 3.0)])
    # The quote of before said 3 at 101; the book says that they are gone, until it shows some again.
    assert fills(walked([book(0), one_sided], {0: buy(5)})) == []
    assert fills(walked([book(0), one_sided, book(2, (101.0, 3.0))], {0: buy(5)})) == [("buy", 3, 101.0)]
    # Where there was none, nothing is known: no fill, no price, and no hook.
    engine = walked([one_sided, book(2), book(3)], {0: sell(2)})
    assert fills(engine) == [("sell", 2, 99.0)]
    assert engine.records.fills[0].time_ns == START + 3 * SECOND
    # A bid beyond the last ask says that the ask is gone.
    passed = depth(1, bids=[(103.0, 3.0)])
    assert fills(walked([book(0), passed], {0: buy(5)})) == []


def test_limits_that_rest_fill_at_their_price_for_what_crosses_it():
    events = [
        book(0),
        book(1),
        book(2, (98.5, 2.0), (99.5, 1.0), (100.5, 5.0), bids=[(98.0, 1.0)]),
    ]
    assert fills(walked(events, {0: buy(10, limit_price=100.0)})) == [("buy", 3, 100.0)]


def test_without_trades_the_middle_of_the_book_is_the_price():
    engine = walked([book(0)], {})
    assert engine.tracks["A"].market.price == 100.0
    view = engine.snapshot().symbols[0]
    assert (view.bid, view.ask) == (99.0, 101.0)


def test_a_split_forgets_the_levels():
    action = CorporateAction("A", START + SECOND, START + SECOND, split=2.0)
    after = quote(2, 49.5, 50.5, 1.0)
    assert fills(walked([book(0), action, after], {0: buy(5)})) == [("buy", 1, 50.5)]


def test_bars_beside_a_book_fill_at_their_own_prices():
    events = [book(0), bar(1, 100, 101, 99, 100), bar(2, 100, 101, 99, 100)]
    assert fills(walked(events, {0: buy(5)})) == [("buy", 5, 100.0)]


def test_where_nothing_bounds_a_fill_no_level_is_walked():
    assert fills(walked([book(0), book(1)], {0: buy(50)}, Costs.ideal())) == [("buy", 50, 101.0)]


@pytest.mark.parametrize(
    ("bids", "asks", "message"),
    [
        ([(99.0, -1.0)], [], "size"),
        ([(0.0, 1.0)], [], "price above zero"),
        ([(inf, 1.0)], [], "finite"),
        ([(99.0, nan)], [], "size"),
        ([(98.0, 1.0), (99.0, 1.0)], [], "best first"),
        ([], [(101.0, 1.0), (101.0, 1.0)], "best first"),
        ([(102.0, 1.0)], [(101.0, 1.0)], "above ask"),
    ],
)
def test_a_depth_that_cannot_be_true_is_refused(bids, asks, message):
    with pytest.raises(BadEventError, match=message):
        check_event(depth(0, bids, asks))
    check_event(depth(0, [(99.0, 0.0), (98.0, 1.0)], [(99.0, 2.0)]))


# -- for any book ----------------------------------------------------------------------------

sizes = st.floats(0.0, 50.0)
ladders = st.dictionaries(st.integers(1, 30), sizes, max_size=8)


@st.composite
def books(draw: st.DrawFn) -> list[Depth]:
    """Books of whole prices around 100, which change a little, much or not at all."""
    bids, asks = draw(ladders), draw(ladders)
    events = []
    for number in range(draw(st.integers(2, 12))):
        kind = draw(st.sampled_from(("same", "same", "one", "all")))
        if kind == "one":
            draw(st.sampled_from((bids, asks)))[draw(st.integers(1, 30))] = draw(sizes)
        elif kind == "all":
            bids, asks = draw(ladders), draw(ladders)
        events.append(
            depth(
                number,
                [(100.0 - away, bids[away]) for away in sorted(bids)],
                [(100.0 + away, asks[away]) for away in sorted(asks)],
            )
        )
    return events


class Trades(Strategy):
    """Market orders of drawn signed quantities, one at each book."""

    quantities: list[float] = []

    def on_start(self) -> None:
        self.number = 0

    def on_depth(self, depth: Depth) -> None:
        if self.number < len(self.quantities):
            quantity = self.quantities[self.number]
            if quantity and self.price("A") > 0.0:
                (self.buy if quantity > 0 else self.sell)("A", quantity=abs(quantity))
        self.number += 1


@given(books(), st.lists(st.floats(-80.0, 80.0), max_size=6), st.sampled_from((0.25, 1.0)))
def test_no_more_than_the_book_had_and_no_better_than_its_best(events, quantities, participation):
    strategy = Trades()
    strategy.quantities = quantities
    costs = Costs(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=participation)
    engine = Engine({"one": strategy}, cash=1e9, costs=costs, risk=RiskLimits(price_collar=None))
    before: Depth | None = None
    given_out = {Side.BUY: 0.0, Side.SELL: 0.0}
    for event in events:
        count = len(engine.records.fills)
        engine.process(event)
        assert not engine.exceptions
        if before is None or (event.bids, event.asks) != (before.bids, before.asks):
            given_out = dict.fromkeys(given_out, 0.0)
        before = event
        for fill in engine.records.fills[count:]:
            levels = [level for level in (event.asks if fill.side == Side.BUY else event.bids) if level[1] > 0.0]
            best, worst = levels[0][0], levels[-1][0]
            assert min(best, worst) <= fill.market_price <= max(best, worst)
            given_out[fill.side] += fill.quantity
        # As long as nothing changes, all the fills together get what is there once.
        for side, levels in ((Side.BUY, event.asks), (Side.SELL, event.bids)):
            assert given_out[side] <= participation * sum(size for _, size in levels) * (1 + 1e-9)


levels_of = st.lists(st.tuples(st.floats(0.01, 2.0), st.floats(0.001, 50.0)), min_size=1, max_size=12)


@given(levels_of, st.booleans(), st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5))
def test_the_average_is_that_of_a_plain_model_and_worse_for_more(steps, is_ask, fractions):
    price, levels = 100.0, []
    for step, size in steps:
        price += step if is_ask else -step
        levels.append((price, size))
    whole = sum(size for _, size in levels)
    averages = []
    for fraction in sorted(fractions):
        ladder = Ladder(is_ask=is_ask)
        ladder.show(tuple(levels))
        walk = Walk(ladder, *levels[0], share=1.0)
        quantity = fraction * walk.available(None)
        assert walk.available(None) == pytest.approx(whole, rel=1e-12)
        average = walk.take(quantity)
        left, paid = quantity, 0.0
        for level, size in levels:
            paid += min(left, size) * level
            left -= min(left, size)
        assert average == pytest.approx(paid / quantity, rel=1e-9)
        assert sum(ladder.taken.values()) == pytest.approx(quantity, rel=1e-9)
        assert all(ladder.taken[level] <= dict(levels)[level] for level in ladder.taken)
        averages.append(average)
    worse = averages if is_ask else [-average for average in averages]
    assert all(
        one <= other * (1 + 1e-12 * (1 if other > 0 else -1)) for one, other in zip(worse, worse[1:], strict=False)
    )


def test_what_is_remembered_of_taken_levels_is_bounded():
    own = OrderBook()
    for number in range(5_000):
        own.bids.show(((1e6 + number, 5.0),))
        Walk(own.bids, 1e6 + number, 5.0, 1.0).take(5.0)
    assert len(own.bids.taken) <= 257


# -- the real capture ------------------------------------------------------------------------


class Sweeps(Strategy):
    """Every 500th trade: buy or sell a quantity that the best level seldom holds."""

    quantity = qf.Param(0.4)

    def on_start(self) -> None:
        self.count = 0
        self.depths = 0

    def on_tick(self, tick: Tick) -> None:
        self.count += 1
        if self.count % 500 == 0:
            (self.buy if self.count % 1_000 else self.sell)("BTCUSDT", quantity=self.quantity)

    def on_depth(self, depth: Depth) -> None:
        self.depths += 1


def expected_price(levels, best, size, quantity, is_ask):
    """By hand: the quote's level, then those of the book beyond it."""
    beyond = [(price, offered) for price, offered in levels if (price > best if is_ask else price < best)]
    left, paid = quantity, 0.0
    for price, offered in [(best, size), *beyond]:
        part = min(left, offered)
        paid += part * price
        left -= part
    assert left <= 0.0
    return paid / quantity


def test_a_session_over_the_capture_walks_the_book_and_verifies(capture_path, tmp_path):
    costs = Costs(commission=0.0, slippage_bps=0.0, latency_s=0.05, participation=1.0)
    settings = {"cash": 1e9, "costs": costs, "timeframe": "1m"}
    feed = qf.ReplayFeed(capture_path, speed=None)
    session = qf.paper(Sweeps(), feed, journal=tmp_path / "book.sqlite", **settings).start().wait()
    assert session.verify()
    # The journal itself is a source: the book is in it.
    backtest = qf.backtest(Sweeps(), capture_path, **settings)
    again = qf.backtest(Sweeps(), session.journal_path, **settings)
    assert session.result.records.fills == backtest.records.fills == again.records.fills
    fills = backtest.records.fills
    assert len(fills) >= 19
    assert "orders that cross the spread walk the levels of the recorded book" in backtest.assumptions

    events = [event for batch in feed.recording.batches() for event in batch]
    seen: dict[int, list[tuple]] = {}
    depth = best = None
    for event in events:
        if type(event) is Depth:
            depth = event
            best = (*event.bids[0], *event.asks[0])
        elif type(event) is Quote:
            best = (event.bid, event.bid_size, event.ask, event.ask_size)
        if depth is not None:
            seen.setdefault(event.received_ns, []).append((event, depth, best))
    checked = walked = 0
    for fill in fills:
        (event, depth, (bid, bid_size, ask, ask_size)), *others = seen[fill.received_ns]
        if fill.quantity < 0.4 or others or (type(event) is Tick and not bid <= event.price <= ask):
            continue
        if fill.side == Side.BUY:
            expected = expected_price(depth.asks, ask, ask_size, 0.4, is_ask=True)
            walked += fill.market_price > ask
        else:
            expected = expected_price(depth.bids, bid, bid_size, 0.4, is_ask=False)
            walked += fill.market_price < bid
        assert fill.market_price == pytest.approx(expected, rel=1e-12)
        checked += 1
    assert checked >= 10
    assert walked >= 8


def test_resuming_in_mid_capture_remembers_what_was_taken(capture_path):
    """State is what the events make it: a run in two halves equals the one in one go."""
    events = [event for batch in qf.ReplayFeed(capture_path, speed=None).recording.batches() for event in batch]
    costs = Costs.harsh()

    def made() -> Engine:
        return Engine({"one": Sweeps(quantity=2.0)}, cash=1e9, costs=costs, timeframe="1m", risk=RiskLimits())

    whole, halves = made(), made()
    whole.process_all(events)
    halves.process_all(events[:20_000])
    for event in events[20_000:]:
        halves.process(event)
    assert len(whole.records.fills) > 50
    assert whole.records.fills == halves.records.fills
    assert whole.desks["one"].strategy.depths == sum(type(event) is Depth for event in events)
