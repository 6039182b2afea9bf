"""Margin under any market, orders, rates and currencies (hypothesis), and in sessions that verify and resume."""

import random
import sqlite3
from contextlib import closing, suppress

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qfkit as qf
from qfkit.core.costs import Costs
from qfkit.core.currencies import Currencies
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Event, Quote, Stop, Tick
from qfkit.core.margin import Margin
from qfkit.core.orders import Side
from qfkit.core.strategy import Strategy
from qfkit.errors import OrderError, SessionError
from qfkit.journal.reader import JournalReader
from qfkit.research.fast_signal import FastRecords
from tests.support import DAY, SECOND, START
from tests.test_properties import AnyOrders, request
from tests.test_session import START_NS, HandFeed, bar, until

SYMBOLS = ("A", "B", "EURUSD")
PRICES = {"A": 100.0, "B": 7.0, "EURUSD": 1.1}

fraction = st.sampled_from((0.05, 0.2, 0.5, 1.0, 1.5))
night = st.sampled_from((0.0, 0.01, 0.3, 20.0))


@st.composite
def margins(draw: st.DrawFn) -> Margin:
    initial, short = draw(fraction), draw(fraction)
    return Margin(
        initial,
        min(1.0, initial * draw(st.floats(0.0, 1.0))),
        short,
        short * draw(st.floats(0.0, 1.0)),
        borrow_rate=draw(night),
        borrow_rates=draw(st.dictionaries(st.sampled_from(SYMBOLS), night, max_size=2)),
        cash_rate=draw(night),
        loan_rate=draw(night),
    )


@st.composite
def markets(draw: st.DrawFn) -> list[Event]:
    """Ticks, quotes or bars of three symbols that jump, now and then over midnights."""
    count = draw(st.integers(5, 60))
    moves = draw(st.lists(st.floats(-0.45, 0.8), min_size=count, max_size=count))
    calm = draw(st.sampled_from((0.05, 0.3, 1.0)))
    kind = draw(st.sampled_from(("ticks", "bars")))
    prices, time_ns, events = dict(PRICES), START, []
    for index, move in enumerate(moves):
        symbol = SYMBOLS[index % 3]
        last = prices[symbol]
        price = prices[symbol] = last * (1 + move * calm)
        if kind == "bars":
            open_ns = START + (index // 3) * DAY // 4
            opened = (last + price) / 2
            high, low = max(opened, price), min(opened, price)
            events.append(Bar(symbol, "6h", opened, high, low, price, 1e6, open_ns, open_ns + DAY // 4))
            continue
        time_ns += DAY // 3 if index % 7 == 6 else 20 * SECOND
        if index % 5 == 4:
            events.append(Quote(symbol, price * 0.999, 1e6, price * 1.001, 1e6, time_ns, time_ns))
        else:
            events.append(Tick(symbol, price, 300.0, time_ns, time_ns))
    return events


any_costs = st.builds(
    Costs,
    commission=st.sampled_from((0.0, 0.001, 0.02)),
    slippage_bps=st.sampled_from((0.0, 5.0)),
    latency_s=st.sampled_from((0.0, 30.0)),
    participation=st.sampled_from((None, 0.05)),
)
any_currency = st.sampled_from((None, Currencies("USD", {"A": "EUR"}), Currencies("USD", {"A": "EUR", "B": "EUR"})))
scaled = st.tuples(request, st.floats(1.0, 200.0)).map(lambda one: (*one[0][:3], one[0][3] * one[1], *one[0][4:]))


def worst_case(engine: Engine, name: str) -> float:
    """The initial margin if those orders fill that make it largest, reckoned afresh and the long way."""
    desk, margin = engine.desks[name], engine.margin
    required = 0.0
    for symbol, track in engine.tracks.items():
        held = desk.position(symbol).quantity
        price = track.market.price * track.market.rate
        # Legs, and exits that overlap others, only ever reduce.
        working = [one for one in engine.broker.open.values() if one.owner is desk and not one.is_reduce_only]
        orders = [one.order for one in working if one.order.symbol == symbol]
        bought = sum(order.quantity - order.filled for order in orders if order.side == Side.BUY)
        sold = sum(order.quantity - order.filled for order in orders if order.side == Side.SELL)
        if held or orders:
            long = max(0.0, held + bought) * price * margin.initial
            required += max(long, max(0.0, sold - held) * price * margin.initial_short)
    return required


class Careful(AnyOrders):
    """Looks after each order of its own at whether the book could bear it."""

    engine: Engine
    name = ""

    def send(self, *wish) -> None:
        before, count = worst_case(self.engine, self.name), len(self.engine.records.signals)
        super().send(*wish)
        sent = [one for one in self.engine.records.signals[count:] if one.order_id is not None]
        after = worst_case(self.engine, self.name)
        if sent and after > before * (1 + 1e-9) + 1e-9:
            assert after <= self.portfolio.equity * (1 + 1e-9), (before, after, self.portfolio.equity)


def make(requests, costs, margin, currency, kind: type[AnyOrders] = AnyOrders) -> Engine:
    strategies: dict[str, Strategy] = {"one": kind(), "two": kind(shift=3)}
    engine = Engine(strategies, cash=100_000.0, costs=costs, margin=margin, currency=currency)
    for name, strategy in strategies.items():
        strategy.requests, strategy.name, strategy.engine = requests, name, engine  # type: ignore[attr-defined]
    return engine


def balanced(engine: Engine, scale: float) -> None:
    for desk in engine.desks.values():
        book = desk.book
        value = book.cash
        for symbol, position in book.positions.items():
            market = engine.tracks[symbol].market
            value += position.quantity * market.price * market.rate if position.quantity else 0.0
        earned = book.realised + book.unrealised - book.fees + book.interest - book.borrow
        assert abs(value - book.starting_cash - earned) < 1e-7 * scale
        assert abs(book.equity - value) < 1e-7 * scale
    # What the records say of the nights is what the books have.
    for name, desk in engine.desks.items():
        mine = [one for one in engine.records.financing if one.strategy == name]
        assert abs(sum(one.amount for one in mine if one.kind == "interest") - desk.book.interest) < 1e-7 * scale
        assert abs(sum(one.amount for one in mine if one.kind == "borrow") + desk.book.borrow) < 1e-7 * scale


@given(markets(), st.lists(scaled, min_size=1, max_size=12), any_costs, margins(), any_currency)
@settings(max_examples=200, deadline=None)
def test_books_balance_no_order_passes_its_margin_and_zero_is_the_end(events, requests, costs, margin, currency):
    engine = make(requests, costs, margin, currency, Careful)
    sizes: dict[str, float] = {}
    for event in events:
        signals = len(engine.records.signals)
        engine.process(event)
        assert not engine.exceptions, engine.exceptions
        scale = 1.0 + max(sum(abs(v) for v in (d.book.cash, d.book.realised, d.book.gross_exposure, 1e5)) for d in engine.desks.values())  # fmt: skip
        balanced(engine, scale)
        for name, desk in engine.desks.items():
            book = desk.book
            risky = book.cash < 0.0 or any(position.quantity < 0.0 for position in book.open.values())
            if desk.state == "wiped out":
                held = sum(abs(position.quantity) for position in book.open.values())
                # Nothing but its own closing is sent, and positions only melt.
                mine = [one for one in engine.records.signals[signals:] if one.strategy == name]
                assert all(one.action == "wiped out" or one.order_id is None for one in mine if name in sizes)
                assert held <= sizes.get(name, held) * (1 + 1e-9)
                sizes[name] = held
            elif risky:
                # Above zero, and above the maintenance of what the forced closes on their way will leave.
                assert book.equity > 0.0
                needed = 0.0
                for symbol, position in book.open.items():
                    left = position.quantity + desk.pending_forced(symbol)
                    value = left * position.market.price * position.market.rate
                    needed += value * margin.maintenance if left > 0 else -value * margin.maintenance_short
                assert book.equity >= needed - 1e-7 * scale
    engine.process(Stop(engine.clock_ns))
    assert not engine.broker.open
    calls = [call for call in engine.records.margin_calls if call.kind == "wiped out"]
    assert len({call.strategy for call in calls}) == len(calls)
    assert {call.strategy for call in calls} == {n for n, desk in engine.desks.items() if "wiped out" in desk.error}


@given(markets(), st.lists(scaled, max_size=12), any_costs, margins(), any_currency, st.data())
@settings(max_examples=60, deadline=None)
def test_a_split_into_any_batches_gives_the_same_to_the_last_bit(events, requests, costs, margin, currency, data):
    one, other = make(requests, costs, margin, currency), make(requests, costs, margin, currency)
    one.process_all(events)
    cut = data.draw(st.integers(0, len(events)))
    other.process_all(events[:cut])
    other.snapshot()
    for event in events[cut:]:
        other.process(event)
    for name in one.records.__slots__:
        assert repr(getattr(one.records, name)) == repr(getattr(other.records, name)), name


def slow_market(seed: int, count: int, drift: float) -> list[Event]:
    """Many small steps, as prices mostly go: the bands are crossed one after the other."""
    chance = random.Random(seed)
    prices, events = dict(PRICES), []
    for index in range(count):
        symbol = SYMBOLS[index % 3]
        prices[symbol] *= 1.0 + drift + chance.uniform(-0.01, 0.01)
        time_ns = START + index * 20 * SECOND
        events.append(Tick(symbol, prices[symbol], 1e6, time_ns, time_ns))
    return events


class Holds(Strategy):
    """Takes one drawn position in each symbol, and keeps it."""

    wishes: dict[str, float] = {}

    def on_start(self) -> None:
        self.asked: set[str] = set()

    def on_tick(self, tick: Tick) -> None:
        if tick.symbol not in self.asked:
            self.asked.add(tick.symbol)
            with suppress(OrderError):
                self.order_target(tick.symbol, weight=self.wishes[tick.symbol])


@given(
    st.tuples(st.integers(0, 10**6), st.integers(100, 600), st.sampled_from((-0.004, 0.0, 0.004))),
    margins(),
    any_currency,
    st.lists(st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3), min_size=2, max_size=2),
)
@settings(max_examples=100, deadline=None)
def test_looking_only_where_a_band_is_left_misses_nothing(market, margin, currency, weights):
    events = slow_market(*market)
    engines = []
    for _ in range(2):
        strategies = {name: Holds() for name in ("one", "two")}
        for strategy, own in zip(strategies.values(), weights, strict=True):
            strategy.wishes = dict(zip(SYMBOLS, own, strict=True))
        engines.append(Engine(strategies, cash=100_000.0, costs=Costs.ideal(), margin=margin, currency=currency))
    banded, always = engines
    looks = []
    look_at = banded.accounts.look_at
    banded.accounts.look_at = lambda market: (looks.append(market), look_at(market))  # type: ignore[method-assign]
    for event in events:
        banded.process(event)
        if event.symbol in always.tracks:
            always.tracks[event.symbol].market.floor = float("inf")
        always.process(event)
    for name in banded.records.__slots__:
        assert repr(getattr(banded.records, name)) == repr(getattr(always.records, name)), name
    if currency is None and not banded.records.margin_calls:
        assert len(looks) < len(events) / 2


@given(markets(), st.lists(request, max_size=12), any_costs)
@settings(max_examples=60, deadline=None)
def test_a_cash_account_that_never_owes_is_as_without_margin(events, requests, costs):
    plain, watched = make(requests, costs, None, None), make(requests, costs, Margin.cash(), None)
    plain.process_all(events)
    watched.process_all(events)
    if watched.records.margin_calls:
        # Up to the moment of the end both are the same.
        end_ns = watched.records.margin_calls[0].time_ns
        assert [f for f in plain.records.fills if f.received_ns <= end_ns] == [f for f in watched.records.fills if f.received_ns <= end_ns]  # fmt: skip
        return
    for name in plain.records.__slots__:
        assert repr(getattr(plain.records, name)) == repr(getattr(watched.records, name)), name


# -- sessions ------------------------------------------------------------------------------------


class Shorts(qf.Strategy):
    """Sells short at the third bar all that it may."""

    def on_start(self) -> None:
        self.seen = 0

    def on_bar(self, bar: Bar) -> None:
        self.seen += 1
        if self.seen == 3:
            with suppress(OrderError):
                self.sell(bar.symbol, quantity=2_000.0, reason="short")


MARGIN = Margin(0.5, 0.25, 0.5, 0.3, borrow_rate=0.1, borrow_rates={"A": 0.2}, cash_rate=0.03, loan_rate=0.07)
RISING = [100.0, 100.0, 100.0, 100.0, 110.0, 118.0, 121.0, 124.0, 150.0, 200.0, 300.0, 310.0, 100.0, 100.0]


def hourly(prices: list[float]) -> list[Bar]:
    open_ns = START_NS + 20 * 3_600 * SECOND
    step = 3_600 * SECOND
    return [Bar("A", "1h", p, p, p, p, 1e9, open_ns + n * step, open_ns + (n + 1) * step) for n, p in enumerate(prices)]


def test_a_session_with_margin_equals_the_backtest_and_verifies() -> None:
    events = hourly(RISING)
    settings = {"cash": 50_000, "margin": MARGIN, "currency": Currencies("USD", {"B": "EUR"}, {"GBP": 1.25})}
    result = qf.backtest(Shorts(), events, **settings)
    session = qf.paper(Shorts(), qf.ReplayFeed(events, speed=None), name="margin", **settings).start().wait(20)
    assert {"borrow", "interest"} == set(session.financing["kind"])
    assert list(session.margin_calls["kind"][-1:]) == ["wiped out"]
    for name in ("fills", "orders", "signals", "trades", "equity", "margin_calls", "financing"):
        pd.testing.assert_frame_equal(getattr(session, name), getattr(result, name), check_exact=True)
    assert session.verify()
    assert any("wiped out" in text for _, text in session.snapshot.messages)
    with JournalReader(session.journal_path) as reader:
        assert reader.meta["margin"]["fields"]["borrow_rates"] == {"A": 0.2}


@pytest.mark.parametrize("at", range(2, len(RISING), 3))
def test_a_session_with_margin_resumes_wherever_it_was_left(at: int) -> None:
    events = hourly(RISING)
    whole = qf.paper(Shorts(), qf.ReplayFeed(events, speed=None), name=f"whole-{at}", margin=MARGIN).start().wait(20)
    feed = HandFeed()
    left = qf.paper(Shorts(), feed, name=f"left-{at}", margin=MARGIN, timeframe="1h").start()
    feed.give(*events[:at])
    until(lambda: left.snapshot.events == at)
    left.suspend()
    feed = HandFeed()
    resumed = qf.resume(f"left-{at}", feed=feed, strategies=Shorts).start()
    until(lambda: feed.state == "live")
    feed.give(*events[at:])
    until(lambda: resumed.snapshot.events == len(events))
    if resumed.snapshot.strategies[0].state == "wiped out":
        with pytest.raises(SessionError, match="does not trade again"):
            resumed.swap(Shorts)
    resumed.stop()
    assert resumed.verify()
    for name in ("fills", "margin_calls", "financing"):
        pd.testing.assert_frame_equal(getattr(resumed, name), getattr(whole, name), check_exact=True)


def test_a_signal_function_on_margin_runs_as_in_the_engine() -> None:
    @qf.signal()
    def short(bars):
        return -1.0 + 0.0 * bars.close

    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), RISING)).assign(volume=1e9)
    frame.index = pd.date_range("2024-01-01", periods=len(frame), freq="1h", tz="UTC")
    result = qf.backtest(short, frame, margin=Margin.cash(), costs=Costs.ideal(), cash=1_000.0)
    # Ten short at 100: at 200 nothing is left, and the next open is 300.
    assert list(result.margin_calls["equity"]) == [0.0]
    assert result.equity["account"].iloc[-1] == -1_000.0
    assert len(result.fills) == 2
    assert "rejected" not in set(result.signals["decision"])
    # One that never comes near zero takes the short way, to the same end.
    calm = frame.assign(**{name: 100.0 + index for index, name in enumerate(("low", "open", "close", "high"))})
    assert isinstance(qf.backtest(short, calm, margin=Margin.cash(), cash=1_000.0).records, FastRecords)
    assert qf.backtest(short, calm, margin=Margin.cash(), cash=1_000.0).margin_calls.empty


def test_a_journal_from_before_margin_is_read_verified_and_continued() -> None:
    feed = HandFeed()
    session = qf.paper(Shorts(), feed, name="old").start()
    feed.give(*(bar(index, 100.0) for index in range(6)))
    until(lambda: session.snapshot.fills_count == 1)
    session.suspend()
    with closing(sqlite3.connect(session.journal_path)) as connection, connection:
        connection.execute("ALTER TABLE fills DROP COLUMN rate")
        connection.execute("ALTER TABLE fills DROP COLUMN is_crossed")
        connection.execute("DROP TABLE margin_calls")
        connection.execute("DROP TABLE financing")
        connection.execute("DELETE FROM meta WHERE key IN ('margin', 'currency')")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    assert len(session.fills) == 1
    assert session.margin_calls.empty
    assert session.verify()
    with JournalReader(session.journal_path) as reader:
        assert reader.fills()[0].rate == 1.0
    feed = HandFeed()
    resumed = qf.resume("old", feed=feed, strategies=Shorts).start()
    until(lambda: feed.state == "live")
    feed.give(*(bar(index, 90.0) for index in range(7, 9)))
    until(lambda: resumed.snapshot.events >= 8)
    resumed.stop()
    assert resumed.verify()
    assert len(resumed.fills) == 1
