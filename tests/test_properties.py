"""What must hold for any market and any orders (hypothesis)."""

from contextlib import suppress
from math import inf

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import MINUTE, SECOND, START

from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import (
    Bar,
    CancelOrder,
    CorporateAction,
    Event,
    Flatten,
    Heartbeat,
    ManualOrder,
    ModifyOrder,
    Pause,
    Protect,
    Quote,
    Resume,
    SetParameters,
    Stop,
    Tick,
)
from qfkit.core.impact import SquareRootImpact
from qfkit.core.latency import LogNormalLatency
from qfkit.core.orders import OrderStatus, OrderType, Side
from qfkit.core.strategy import Param, Strategy
from qfkit.errors import OrderError

SYMBOLS = ("A", "B")
ROLES = ("stop-loss:", "take-profit:", "trailing stop:")
KINDS = (
    "market",
    "limit",
    "stop",
    "stop_limit",
    "trailing",
    "bracket",
    "target",
    "close",
    "cancel",
    "modify",
    "oco",
    "rebalance",
    "protect",
)

request = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(SYMBOLS),
    st.booleans(),
    st.floats(0.01, 50.0),
    st.floats(-0.04, 0.04),
    st.floats(0.001, 0.05),
    st.sampled_from(("gtc", "gtc", "gtc", "day", "ioc", "fok")),
)


class AnyOrders(Strategy):
    """Sends drawn requests, one at each event it hears."""

    shift = Param(0, low=0, high=9)
    requests: list[tuple] = []

    def on_start(self) -> None:
        self.number = 0

    def on_bar(self, bar: Bar) -> None:
        self.act()

    def on_tick(self, tick: Tick) -> None:
        self.act()

    def on_quote(self, quote: Quote) -> None:
        self.act()

    def act(self) -> None:
        self.number += 1
        if not self.requests or self.number % 2:
            return
        kind, symbol, buy, quantity, near, far, in_force = self.requests[
            (self.number // 2 + self.shift) % len(self.requests)
        ]
        with suppress(OrderError):  # a symbol without a price yet, or a bracket on the wrong side: refused by name
            self.send(kind, symbol, buy, quantity, near, far, in_force)

    def send(self, kind, symbol, buy, quantity, near, far, in_force) -> None:
        price = self.price(symbol)
        order = self.buy if buy else self.sell
        sign = 1 if buy else -1
        if kind == "market":
            order(symbol, quantity=quantity, time_in_force=in_force)
        elif kind == "limit":
            order(symbol, quantity=quantity, limit_price=price * (1 + near), time_in_force=in_force)
        elif kind == "stop":
            order(symbol, quantity=quantity, stop_price=price * (1 + near), time_in_force=in_force)
        elif kind == "stop_limit":
            order(symbol, quantity=quantity, stop_price=price * (1 + sign * far), limit_price=price * (1 + near))
        elif kind == "trailing":
            order(symbol, quantity=quantity, trail_fraction=far)
        elif kind == "bracket":
            order(symbol, quantity=quantity, stop_loss=price * (1 - sign * far), take_profit=price * (1 + sign * far))
        elif kind == "target":
            self.order_target(symbol, quantity=sign * quantity)
        elif kind == "close":
            self.close(symbol)
        elif kind == "rebalance":
            self.rebalance({symbol: near * 10})
        elif kind == "protect":
            self.protect(
                symbol,
                stop_loss=far,
                take_profit=far if near > 0 else None,
                trailing=far if buy else None,
                reason="code",
            )
        elif self.orders:
            first = self.orders[0]
            if kind == "cancel":
                self.cancel(first.order_id)
            elif kind == "modify" and first.type == OrderType.LIMIT:
                self.modify(first.order_id, limit_price=price * (1 + near))
            elif kind == "oco":
                self.one_cancels_other(first.order_id, self.orders[-1].order_id)


@st.composite
def markets(draw: st.DrawFn, ticks: bool) -> list[Event]:
    """A market of two symbols: bars a minute apart, or ticks, quotes and heartbeats."""
    count = draw(st.integers(5, 60))
    moves = draw(st.lists(st.floats(-0.03, 0.03), min_size=count, max_size=count))
    volumes = draw(st.lists(st.floats(0.0, 400.0), min_size=count, max_size=count))
    events: list[Event] = []
    prices = {"A": 100.0, "B": 7.0}
    time_ns = START
    for index, (move, volume) in enumerate(zip(moves, volumes, strict=True)):
        symbol = SYMBOLS[index % 2]
        last = prices[symbol]
        price = prices[symbol] = last * (1 + move)
        if not ticks:
            open_ns = START + (index // 2) * MINUTE
            opened = last * (1 + moves[index - 1] / 2)
            high, low = max(opened, price) * 1.002, min(opened, price) * 0.998
            events.append(Bar(symbol, "1m", opened, high, low, price, volume, open_ns, open_ns + MINUTE))
            continue
        time_ns += int(abs(move) * 1000) * SECOND
        if index % 5 == 3:
            events.append(Quote(symbol, price * 0.999, volume, price * 1.001, volume, time_ns, time_ns + SECOND // 3))
        elif index % 11 == 10:
            events.append(Heartbeat(time_ns, time_ns + SECOND // 3))
        else:
            events.append(Tick(symbol, price, volume, time_ns, time_ns + SECOND // 3))
    return events


any_market = st.one_of(markets(ticks=False), markets(ticks=True))
price_part = st.one_of(st.none(), st.floats(0.9, 1.1))


@st.composite
def by_hand(draw: st.DrawFn, clock_ns: int) -> Event:
    """What a person might send, whether it makes sense or not: a session checks it, a replay does not."""
    strategy, symbol = draw(st.sampled_from(("one", "two"))), draw(st.sampled_from((*SYMBOLS, "C")))
    scale = 100.0 if symbol == "A" else 7.0
    kind = draw(st.sampled_from(("buy", "sell", "close", "cancel", "modify", "protect", "protect")))

    def price() -> float | None:
        part = draw(price_part)
        return None if part is None else part * scale

    if kind == "cancel":
        return CancelOrder(clock_ns, strategy, order_id=draw(st.integers(1, 8)))
    if kind == "modify":
        return ModifyOrder(clock_ns, strategy, order_id=draw(st.integers(1, 8)), limit_price=price())
    if kind == "protect":
        part = st.one_of(st.none(), st.floats(0.001, 0.05))
        return Protect(
            clock_ns,
            strategy,
            symbol=symbol,
            stop_loss=draw(part),
            take_profit=draw(part),
            trailing=draw(part),
            reason="hand",
        )
    return ManualOrder(
        clock_ns,
        strategy,
        action=kind,
        symbol=symbol,
        quantity=draw(st.floats(0.01, 50.0)),
        limit_price=price(),
        stop_price=price(),
        take_profit=price(),
    )


@st.composite
def steered(draw: st.DrawFn) -> list[Event]:
    """A market with a person's orders, pauses and a split in between."""
    events = draw(any_market)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(events)))
        clock = max([START, *(event.received_ns for event in events[:at])])
        other = st.sampled_from((Pause(clock), Resume(clock), CorporateAction("A", clock, clock, split=2.0)))
        events.insert(at, draw(st.one_of(by_hand(clock), by_hand(clock), by_hand(clock), other)))
    return events


any_costs = st.builds(
    Costs,
    commission=st.sampled_from((0.0, 0.001, 0.01)),
    slippage_bps=st.sampled_from((0.0, 5.0)),
    latency_s=st.sampled_from((0.0, 0.5, 90.0, LogNormalLatency(0.5, 1.0, seed=5))),
    participation=st.sampled_from((None, 0.05, 1.0)),
    limit_fills=st.sampled_from(("through", "touch", "queue_last", "queue_proportional")),
    impact=st.sampled_from((None, SquareRootImpact(0.5, over_bars=3), SquareRootImpact(1.0, 0.02, 1e4))),
)


def make(requests: list[tuple], costs: Costs) -> Engine:
    strategies = {"one": AnyOrders(), "two": AnyOrders(shift=3)}
    for strategy in strategies.values():
        strategy.requests = requests
    return Engine(strategies, cash=100_000.0, costs=costs)


def balanced(engine: Engine) -> None:
    for desk in engine.desks.values():
        book = desk.book
        value = book.cash + sum(position.market_value for position in book.positions.values())
        expected = book.starting_cash + book.realised + book.unrealised - book.fees
        assert abs(value - expected) < 1e-6 * book.starting_cash
        assert abs(book.equity - value) < 1e-6 * book.starting_cash


@given(any_market, st.lists(request, max_size=12), any_costs)
@settings(max_examples=150, deadline=None)
def test_books_fills_and_orders(events, requests, costs):
    engine = make(requests, costs)
    traded: dict[int, float] = {}
    for number, event in enumerate(events):
        before, orders_before = len(engine.records.fills), len(engine.records.orders)
        engine.process(event)
        assert not engine.exceptions, engine.exceptions
        balanced(engine)
        fills = engine.records.fills[before:]
        # As each order was when it filled: a strategy may modify it in the same event, but later.
        orders = {order.order_id: order for order in reversed(engine.records.orders[orders_before:])}
        for fill in fills:
            # No fill on an event received before the order was at the market.
            first = next(o for o in engine.records.orders if o.order_id == fill.order_id)
            assert event.received_ns >= first.decided_ns + costs.latency_of()(fill.order_id)
            assert fill.received_ns == event.received_ns
            assert isinstance(event, Tick | Quote | Bar)
            assert fill.symbol == event.symbol
            order = orders[fill.order_id]
            # A limit is never broken, a price is one the market showed.
            if order.type == OrderType.LIMIT:
                assert order.limit_price is not None
                if fill.side == Side.BUY:
                    assert fill.price <= order.limit_price * (1 + 1e-12)
                else:
                    assert fill.price >= order.limit_price * (1 - 1e-12)
            if isinstance(event, Bar):
                assert event.low <= fill.market_price <= event.high
        if costs.participation is not None and fills:
            if isinstance(event, Quote):
                for side, size in ((Side.BUY, event.ask_size), (Side.SELL, event.bid_size)):
                    taken = sum(f.quantity for f in fills if f.side == side)
                    assert taken <= costs.participation * size * (1 + 1e-9)
            else:
                volume = event.volume if isinstance(event, Bar) else event.size
                assert sum(f.quantity for f in fills) <= costs.participation * volume * (1 + 1e-9)
        traded[number] = sum(f.quantity for f in fills)
    engine.process(Stop(engine.clock_ns))
    check_orders(engine)
    for desk in engine.desks.values():
        for symbol, position in desk.book.positions.items():
            signed = sum(
                f.quantity if f.side == Side.BUY else -f.quantity
                for f in engine.records.fills
                if f.symbol == symbol and f.strategy == desk.name
            )
            assert abs(signed - position.quantity) < 1e-6
    trades = sum(trade.pnl for trade in engine.records.trades)
    if all(not desk.book.open for desk in engine.desks.values()):
        assert abs(trades - (engine.snapshot().equity - 100_000.0)) < 1e-4


def check_orders(engine: Engine) -> None:
    history: dict[int, list] = {}
    for order in engine.records.orders:
        history.setdefault(order.order_id, []).append(order)
    filled: dict[int, float] = {}
    for fill in engine.records.fills:
        filled[fill.order_id] = filled.get(fill.order_id, 0.0) + fill.quantity
    for order_id, states in history.items():
        last = states[-1]
        # Nothing works after the end, and nothing changes after it is closed.
        assert not last.status.is_open
        assert all(state.status.is_open for state in states[:-1])
        assert filled.get(order_id, 0.0) <= last.quantity * (1 + 1e-9)
        assert abs(filled.get(order_id, 0.0) - last.filled) <= 1e-9 * last.quantity + 1e-12
        if last.status == OrderStatus.FILLED:
            assert last.filled == last.quantity
    # A bracket never leaves both legs: together they close at most what the entry opened.
    for states in history.values():
        parent = states[-1].parent_id
        if parent is not None:
            legs = [order_id for order_id, other in history.items() if other[-1].parent_id == parent]
            assert sum(filled.get(leg, 0.0) for leg in legs) <= filled.get(parent, 0.0) * (1 + 1e-9) + 1e-12


@given(any_market, st.lists(request, max_size=12), any_costs, st.data())
@settings(max_examples=80, deadline=None)
def test_replaying_any_split_gives_the_same_to_the_last_bit(events, requests, costs, data):
    """A session resumed anywhere equals the one that ran through, commands included."""
    at = data.draw(st.integers(0, len(events)))
    clock = max([START, *(event.received_ns for event in events[:at])])
    command = data.draw(
        st.sampled_from(
            (Pause(clock), Resume(clock), Flatten(clock, "one"), SetParameters(clock, parameters={"shift": 5}))
        )
    )
    whole = [*events[:at], command, *events[at:], Stop(max(clock, *(event.received_ns for event in events)))]
    through = make(requests, costs)
    through.process_all(whole)
    cut = data.draw(st.integers(0, len(whole)))
    decode = msgspec.msgpack.Decoder(list[Event])
    journal = msgspec.msgpack.encode(whole[:cut])
    resumed = make(requests, costs)
    resumed.process_all(decode.decode(journal))
    resumed.process_all(whole[cut:])
    for name in ("fills", "orders", "signals", "trades", "equity", "bars"):
        assert msgspec.msgpack.encode(getattr(through.records, name)) == msgspec.msgpack.encode(
            getattr(resumed.records, name)
        )
    assert through.snapshot() == resumed.snapshot()


@given(steered(), st.lists(request, max_size=8), any_costs)
@settings(max_examples=200, deadline=None)
def test_protective_orders_only_reduce_and_never_outlive_their_position(events, requests, costs):
    engine = make(requests, costs)
    held: dict[tuple[str, str], float] = {}
    for event in events:
        fills_before, orders_before = len(engine.records.fills), len(engine.records.orders)
        engine.process(event)
        assert not engine.exceptions, engine.exceptions
        balanced(engine)
        if isinstance(event, CorporateAction):
            held = {key: quantity * event.split if key[1] == "A" else quantity for key, quantity in held.items()}
        kinds = {order.order_id: order for order in engine.records.orders[orders_before:]}
        for fill in engine.records.fills[fills_before:]:
            key = (fill.strategy, fill.symbol)
            before = held.get(key, 0.0)
            after = held[key] = before + (fill.quantity if fill.side == Side.BUY else -fill.quantity)
            if kinds[fill.order_id].reason.startswith(ROLES):
                # Nearer to zero, and not beyond it.
                assert before * after >= -1e-9
                assert abs(after) < abs(before)
        for working in engine.broker.open.values():
            if working.order.reason.startswith(ROLES):
                position = working.book.positions[working.order.symbol].quantity
                assert working.is_buy == (position < 0.0)
                # Less than all of it only where it was linked with an order in another symbol.
                is_linked = working.order.status_reason.startswith("reduced by a fill")
                assert 0.0 < working.remaining <= abs(position)
                assert working.remaining == abs(position) or is_linked
                assert working.order.quantity - working.order.filled == pytest.approx(working.remaining)
    engine.process(Stop(engine.clock_ns))
    assert not engine.broker.open
    decode = msgspec.msgpack.Decoder(list[Event])
    again = make(requests, costs)
    again.process_all(decode.decode(msgspec.msgpack.encode([*events, Stop(engine.clock_ns)])))
    assert msgspec.msgpack.encode(again.records.fills) == msgspec.msgpack.encode(engine.records.fills)
    assert msgspec.msgpack.encode(again.records.orders) == msgspec.msgpack.encode(engine.records.orders)


@given(markets(ticks=False), st.lists(request, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_gross_exposure_stays_within_its_bound_at_the_checked_price(events, requests):
    engine = make(requests, Costs.ideal())
    engine.process_all(events)
    for signal in engine.records.signals:
        for check in signal.checks:
            if check.name == "gross exposure with costs":
                assert check.allowed >= 0.0
                assert check.limit == 1.0
                assert check.value < inf
