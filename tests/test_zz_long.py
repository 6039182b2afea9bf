"""What must hold of limits and stops for any market, any orders and any limits (hypothesis)."""

from math import inf

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import BlockEntries, Event, Flatten, LiftStops, SetLimits, Stop
from qfkit.core.orders import BUY
from qfkit.core.risk import RiskLimits
from tests.support import START, tick
from tests.test_properties import SYMBOLS, AnyOrders, any_costs, any_market, request

maybe = st.none


def one_of(values):
    return st.one_of(st.none(), st.sampled_from(values))


any_limits = st.builds(
    RiskLimits,
    max_order_quantity=one_of((5.0, 20.0)),
    max_order_notional=one_of((300.0, 2_000.0)),
    max_position_quantity=one_of((8.0, 30.0)),
    max_position_notional=one_of((500.0, 3_000.0)),
    max_position_weight=one_of((0.1, 0.4)),
    max_positions=one_of((1, 2)),
    max_gross_exposure=one_of((0.5, 1.0, 2.0)),
    max_net_exposure=one_of((0.2, 0.8)),
    max_leverage=one_of((0.3, 1.5)),
    max_orders_per_minute=one_of((1, 4)),
    max_daily_loss=one_of((0.01, 0.05)),
    max_drawdown=one_of((0.01, 0.05)),
    max_consecutive_losses=one_of((1, 3)),
    on_breach=st.sampled_from(("block_entries", "flatten")),
    lift_after_s=one_of((5.0, 120.0)),
    allow_short=st.booleans(),
)


def engine_of(requests, costs, limits, cash=10_000.0, names=("one",)) -> Engine:
    strategies = {}
    for name in names:
        strategies[name] = AnyOrders()
        strategies[name].requests = requests
    return Engine(strategies, cash=cash, costs=costs, risk=limits)


def positions(engine: Engine, name: str = "one") -> dict[str, float]:
    return {symbol: held.quantity for symbol, held in engine.desks[name].book.open.items()}


def exits_only(before: dict[str, float], after: dict[str, float]) -> bool:
    """Whether no position grew, changed its side or is new."""
    return all(
        abs(quantity) <= abs(before.get(symbol, 0.0)) * (1 + 1e-9) and quantity * before.get(symbol, 0.0) >= 0.0
        for symbol, quantity in after.items()
    )


@given(any_market, st.lists(request, min_size=1, max_size=12), any_costs, any_limits, st.booleans())
@settings(max_examples=500, deadline=None)
def test_books_balance_quantities_hold_and_nothing_enters_while_it_is_stopped(
    events, requests, costs, limits, is_of_account
):
    risk = {"account": limits} if is_of_account else limits
    engine = engine_of(requests, costs, risk)
    desk = engine.desks["one"]
    watch = engine.limit_watch if is_of_account else desk.limit_watch
    before: dict[str, float] = {}
    for event in [*events, Stop(max(one.received_ns for one in events))]:
        stopped = dict(watch.stops)
        engine.process(event)
        assert not engine.exceptions
        book, after = desk.book, positions(engine)
        held = sum(position.market_value for position in book.open.values())
        assert abs(book.cash + held - (book.starting_cash + book.realised + book.unrealised - book.fees)) < 1e-6
        for symbol, quantity in after.items():
            grew = abs(quantity) > abs(before.get(symbol, 0.0)) * (1 + 1e-9)
            if grew and limits.max_position_quantity is not None:
                assert abs(quantity) <= limits.max_position_quantity * (1 + 1e-9)
            if not limits.allow_short:
                assert quantity > 0.0
        # A stop that was there before the event and is there after it: nothing entered in between.
        if stopped and all(name in watch.stops for name in stopped):
            assert exits_only(before, after), (before, after, stopped)
        before = after
    for order in engine.records.orders:
        if order.parent_id is None and limits.max_order_quantity is not None:
            signal = engine.records.signals[order.signal_id - 1]
            reduced = next((check.allowed for check in signal.checks if "order quantity" in check.name), inf)
            assert order.quantity <= reduced * (1 + 1e-9)


@given(st.lists(request, min_size=1, max_size=12), any_limits, st.integers(20, 60))
@settings(max_examples=500, deadline=None)
def test_no_limit_is_ever_exceeded_by_an_order_that_fills_at_the_checked_price(requests, limits, count):
    """Prices that stand still: what was checked is what happens."""
    limits = msgspec.structs.replace(limits, max_orders_per_minute=None)
    engine = engine_of(requests, Costs.ideal(), limits)
    events = [tick(float(index), 100.0 if index % 2 else 7.0, symbol=SYMBOLS[index % 2 == 1]) for index in range(count)]
    room = 1.0 + 1e-9
    before: dict[str, float] = {}
    for event in events:
        engine.process(event)
        assert not engine.exceptions
        after = positions(engine)
        # An exit always passes, though it may be of what hedged the rest.
        is_exit, before = exits_only(before, after), after
        if is_exit:
            continue
        values = [held.market_value for held in engine.desks["one"].book.open.values()]
        gross, net, largest = sum(map(abs, values)), abs(sum(values)), max(map(abs, values), default=0.0)
        equity = engine.desks["one"].book.equity
        assert abs(equity - 10_000.0) < 1e-6
        assert gross <= engine.desks["one"].risk.gross_bound * equity * room
        for bound, value in (
            (limits.max_leverage, gross / equity),
            (limits.max_net_exposure, net / equity),
            (limits.max_position_weight, largest / equity),
            (limits.max_position_notional, largest),
        ):
            assert bound is None or value <= bound * room


@given(any_market, st.lists(request, min_size=1, max_size=12), any_costs, st.data())
@settings(max_examples=500, deadline=None)
def test_block_entries_never_blocks_an_exit(events, requests, costs, data):
    """Under a block any position can be closed, in part or whole, by an order of any size."""
    engine = engine_of(requests, costs, None)
    at = data.draw(st.integers(1, len(events)))
    engine.process_all(events[:at])
    engine.process(BlockEntries(engine.clock_ns))
    desk = engine.desks["one"]
    for symbol, quantity in positions(engine).items():
        desk.cancel_all("made room", symbol)
        fraction = data.draw(st.sampled_from((0.3, 1.0, 2.5)))
        order = desk.strategy.sell if quantity > 0.0 else desk.strategy.buy
        order(symbol, quantity=abs(quantity) * fraction)
        signal = engine.records.signals[-1]
        sent = 0.0 if signal.order_id is None else engine.broker.open[signal.order_id].order.quantity
        assert abs(sent - min(fraction, 1.0) * abs(quantity)) <= 1e-9 * abs(quantity)
    before = positions(engine)
    desk.strategy.requests = []
    engine.process_all(events[at:])
    assert exits_only(before, positions(engine))


@given(any_market, st.lists(request, min_size=1, max_size=12), any_costs, st.data())
@settings(max_examples=500, deadline=None)
def test_flatten_ends_flat_or_says_why(events, requests, costs, data):
    engine = engine_of(requests, costs, None, names=("one", "other"))
    at = data.draw(st.integers(1, len(events)))
    whole = data.draw(st.booleans())
    engine.process_all(events[:at])
    engine.process(Flatten(engine.clock_ns, None if whole else "one"))
    now = max(START, engine.clock_ns)
    # Trades of enough size in both symbols, for longer than any latency.
    last = {symbol: track.market.price for symbol, track in engine.tracks.items()}
    begins = (now - START) / 1e9 + 200.0
    engine.process_all(
        [tick(begins + index * 61.0, price, symbol=symbol) for index in range(6) for symbol, price in last.items()]
        if all(track.source_timeframe == "" for track in engine.tracks.values())
        else events[at:]
    )
    for name in ("one", "other") if whole else ("one",):
        left = positions(engine, name)
        closing = {
            order.symbol: order
            for order in engine.snapshot().working_orders
            if order.strategy == name
            and order.type == "market"
            and (order.side is BUY) == (left.get(order.symbol, 0.0) < 0.0)
        }
        # What is still held has its closing order at work, and the stop stands and says so.
        assert set(left) <= set(closing)
        assert any(stop.kind == "flatten" for stop in engine.snapshot().stops)
    if all(track.source_timeframe == "" for track in engine.tracks.values()):
        assert not positions(engine, "one")


@given(any_market, st.lists(request, max_size=12), any_costs, any_limits, st.data())
@settings(max_examples=500, deadline=None)
def test_limits_stops_and_their_changes_replay_to_the_last_bit(events, requests, costs, limits, data):
    at = data.draw(st.integers(0, len(events)))
    clock = max([START, *(event.received_ns for event in events[:at])])
    command = data.draw(
        st.sampled_from(
            (
                BlockEntries(clock),
                Flatten(clock, "one"),
                LiftStops(clock),
                SetLimits(clock, limits={"max_drawdown": 0.02}),
                SetLimits(clock, "account", limits={"max_positions": 1}),
            )
        )
    )
    whole: list[Event] = [*events[:at], command, *events[at:]]
    whole.append(Stop(max(one.received_ns for one in whole)))
    through = engine_of(requests, costs, limits)
    through.process_all(whole)
    cut = data.draw(st.integers(0, len(whole)))
    again = engine_of(requests, costs, limits)
    again.process_all(msgspec.msgpack.decode(msgspec.msgpack.encode(whole[:cut]), type=list[Event]))
    again.process_all(whole[cut:])
    for name in ("fills", "orders", "signals", "equity", "stops"):
        assert msgspec.msgpack.encode(getattr(through.records, name)) == msgspec.msgpack.encode(
            getattr(again.records, name)
        )
    assert through.snapshot() == again.snapshot()
