"""Trading by hand in a running session."""

import logging
from pathlib import Path

import numpy as np
import pytest
from test_session import SECOND, START_NS, HandFeed, bar, until

import qfkit as qf
from qfkit.core.events import Quote, Tick
from qfkit.errors import OrderError, SessionError


class Nothing(qf.Strategy):
    """Leaves all to the person at the keyboard."""

    def on_bar(self, bar: qf.Bar) -> None:
        pass


class Raises(qf.Strategy):
    def on_bar(self, bar: qf.Bar) -> None:
        if bar.close == 66.0:
            raise ZeroDivisionError
        if not self.orders:
            self.buy(bar.symbol, quantity=1, limit_price=1.0 + bar.close / 2)


def quote(seconds: float, size: float) -> Quote:
    time_ns = START_NS + round(seconds * SECOND)
    return Quote("A", 99.0, size, 100.0, size, time_ns, time_ns)


def tick(seconds: float, price: float, size: float = 1e6, symbol: str = "A") -> Tick:
    time_ns = START_NS + round(seconds * SECOND)
    return Tick(symbol, price, size, time_ns, time_ns)


class Desk:
    """A session on a feed by hand, and how far it is."""

    def __init__(self, tmp_path: Path, strategies: object = Nothing, symbols: tuple[str, ...] = ("A",), **settings):
        settings = {"costs": qf.Costs.ideal(), "timeframe": "1m", "cash": 10_000.0, **settings}
        self.feed = HandFeed(symbols)
        self.session = qf.paper(strategies, self.feed, journal=tmp_path, **settings).start()

    def give(self, *events: object) -> None:
        before = self.session._pipeline.engine.events
        self.feed.give(*events)  # type: ignore[arg-type]
        pipeline = self.session._pipeline
        until(lambda: pipeline.engine.events >= before + len(events))

        async def show() -> None:
            pipeline.flush()
            pipeline.show()

        # What a person would see a tenth of a second later.
        qf.run(show())

    @property
    def fills(self) -> list[tuple[str, float, float]]:
        return [(row.side, row.quantity, row.price) for row in self.session.fills.itertuples()]

    def status(self, order_id: int) -> str:
        orders = self.session.orders.reset_index()
        return str(orders[orders.order_id == order_id].status.iloc[0])

    def quantity(self, symbol: str = "A") -> float:
        return sum(view.quantity for view in self.session.snapshot.positions if view.symbol == symbol)

    def end(self) -> None:
        self.session.stop()
        verdict = self.session.verify()
        assert verdict, verdict.text


# -- each kind of order ---------------------------------------------------------------------------


def test_every_kind_of_order_from_a_cell(tmp_path):
    desk = Desk(tmp_path)
    session = desk.session
    desk.give(tick(0, 100))
    # A size by money: a tenth of the cash at 100.
    session.buy("A", notional=1000)
    desk.give(tick(1, 101))
    assert desk.fills[-1] == ("buy", 10, 101)
    # 505 of an equity of 10,000 are five at 101.
    session.sell("A", weight=0.0505)
    desk.give(tick(2, 101))
    assert desk.fills[-1] == ("sell", pytest.approx(5), 101)
    session.close("A")
    desk.give(tick(2.2, 101))
    assert desk.quantity() == 0

    limit = session.buy("A", quantity=1, limit_price=99)
    stop = session.buy("A", quantity=2, stop_price=103)
    both = session.buy("A", quantity=3, stop_price=105, limit_price=106)
    assert {limit, stop, both} <= {order.order_id for order in session.snapshot.working_orders}
    desk.give(tick(2.5, 100), tick(3, 98), tick(4, 103.5), tick(5, 106.5), tick(6, 107), tick(7, 104))
    # The limit at its price, the stop at the trade's, the stop-limit not before the price is back at 106.
    assert desk.fills[-3:] == [("buy", 1, 99), ("buy", 2, 103.5), ("buy", 3, 106)]

    trail = session.sell("A", quantity=2, trail=4.0)
    fraction = session.sell("A", quantity=3, trail_fraction=0.1)
    # The best is 110: the stops are at 106 and 99.
    desk.give(tick(8, 110), tick(9, 105), tick(10, 98))
    assert desk.fills[-2:] == [("sell", 2, 105), ("sell", 3, 98)]
    assert (desk.status(trail), desk.status(fraction)) == ("filled", "filled")
    assert session.close("A") is not None
    desk.give(tick(11, 100))
    assert desk.quantity() == 0

    bracket = session.buy("A", quantity=5, stop_loss=95, take_profit=104)
    desk.give(tick(12, 100), tick(13, 105))
    assert desk.fills[-2:] == [("buy", 5, 100), ("sell", 5, 104)]
    orders = session.orders.reset_index()
    assert set(orders[orders.order_id > bracket].status) == {"filled", "cancelled"}
    desk.end()


def test_times_in_force_from_a_cell(tmp_path):
    desk = Desk(
        tmp_path, costs=qf.Costs(commission=0, slippage_bps=0, latency_s=0, participation=1.0, limit_fills="touch")
    )
    session = desk.session
    desk.give(quote(0, 50))
    at_once = session.buy("A", quantity=20, limit_price=100, time_in_force="ioc")
    desk.give(quote(1, 5))
    assert desk.fills == [("buy", 5, 100)]
    assert desk.status(at_once) == "cancelled"
    whole = session.buy("A", quantity=20, limit_price=100, time_in_force=qf.TimeInForce.FOK)
    desk.give(quote(2, 19))
    assert (desk.status(whole), len(desk.fills)) == ("cancelled", 1)
    whole = session.buy("A", quantity=20, limit_price=100, time_in_force="fok")
    # Five of the offer are taken, for it is still at the same price.
    desk.give(quote(3, 25))
    assert (desk.status(whole), desk.fills[-1]) == ("filled", ("buy", 20, 100))
    till = session.buy("A", quantity=1, limit_price=90, time_in_force="gtd", expires_ns=START_NS + 10 * SECOND)
    day = session.buy("A", quantity=1, limit_price=90, time_in_force="day")
    desk.give(quote(9, 50))
    assert (desk.status(till), desk.status(day)) == ("working", "working")
    desk.give(quote(10, 50))
    assert (desk.status(till), desk.status(day)) == ("expired", "working")
    desk.give(quote(86_400, 50))
    assert desk.status(day) == "expired"
    desk.end()


def test_orders_are_changed_and_taken_back(tmp_path):
    desk = Desk(tmp_path)
    session = desk.session
    desk.give(tick(0, 100))
    order = session.buy("A", quantity=10, limit_price=90)
    session.modify(order, quantity=np.int64(4), limit_price=np.float32(95.0))
    desk.give(tick(1, 97), tick(2, 94))
    assert desk.fills == [("buy", 4, 95)]
    other = session.sell("A", quantity=4, limit_price=120)
    assert session.cancel(other) is session
    assert desk.status(other) == "cancelled"
    orders = session.orders.reset_index()
    assert orders[orders.order_id == other].reason.iloc[0] == "by hand"
    events = session.snapshot.events
    for call, words in (
        (lambda: session.cancel(other), "not open; open are: none"),
        (lambda: session.cancel("A"), "give the id of an order"),
        (lambda: session.modify(99, quantity=1), "not open"),
    ):
        with pytest.raises(OrderError, match=words):
            call()
    stop = session.sell("A", quantity=4, stop_price=80)
    for call, words in (
        (lambda: session.modify(stop), "nothing to change"),
        (lambda: session.modify(stop, limit_price=90), "has no limit_price"),
        (lambda: session.modify(stop, stop_price=-1), "not above zero"),
    ):
        with pytest.raises(OrderError, match=words):
            call()
    assert session.snapshot.events == events + 1
    desk.end()


# -- when it happens ------------------------------------------------------------------------------


def test_an_order_acts_at_its_time_and_not_at_the_next_bar(tmp_path):
    desk = Desk(tmp_path)
    desk.give(tick(0, 100), tick(7, 101))
    desk.session.buy("A", quantity=1)
    desk.give(tick(8, 102))
    assert desk.fills == [("buy", 1, 102)]
    signal = desk.session.signals.iloc[0]
    assert desk.session.signals.index[0].as_unit("ns").value == START_NS + 7 * SECOND
    assert (signal.action, signal.decision, signal.reason) == ("buy", "sent", "by hand")
    desk.end()


def test_on_bars_it_fills_at_the_next_open_and_protection_works_from_there(tmp_path):
    desk = Desk(tmp_path)
    session = desk.session
    desk.give(bar(0, 100))
    session.buy("A", quantity=10)
    assert session.protect("A", stop_loss=0.02, trailing=0.03) == []
    desk.give(qf.Bar("A", "1m", 100, 104, 100, 104, 1e6, START_NS + 60 * SECOND, START_NS + 120 * SECOND))
    ids = [order.order_id for order in session.snapshot.working_orders]
    assert len(ids) == 2
    # The best was 104: 3 % under it is 100.88.
    desk.give(qf.Bar("A", "1m", 103, 103, 100, 100, 1e6, START_NS + 120 * SECOND, START_NS + 180 * SECOND))
    assert desk.fills == [("buy", 10, 100), ("sell", 10, pytest.approx(100.88))]
    assert session.snapshot.working_orders == ()
    assert set(session.fills.reason) == {"by hand", "trailing stop: by hand"}
    desk.end()


# -- protect --------------------------------------------------------------------------------------


def test_protect_replaces_follows_and_ends_with_the_position(tmp_path):
    desk = Desk(tmp_path)
    session = desk.session
    desk.give(tick(0, 100))
    session.buy("A", quantity=10)
    desk.give(tick(1, 100))
    first = session.protect("A", stop_loss=0.02, take_profit=0.1)
    assert session.protect("A", stop_loss=0.02, take_profit=0.1) == first
    second = session.protect("A", stop_loss=0.05)
    assert [desk.status(order_id) for order_id in first] == ["cancelled", "cancelled"]
    session.buy("A", quantity=10)
    desk.give(tick(2, 110))
    # 20 at 105: the stop is at 99.75.
    (working,) = session.snapshot.working_orders
    assert (working.order_id, working.quantity, working.stop_price) == (second[0], 20, pytest.approx(99.75))
    session.sell("A", quantity=5)
    desk.give(tick(3, 110))
    assert session.snapshot.working_orders[0].quantity == 15
    session.close("A")
    desk.give(tick(4, 111))
    assert (desk.quantity(), session.snapshot.working_orders) == (0, ())
    desk.end()


def test_what_protects_nothing_or_would_close_at_once_is_refused_in_the_cell(tmp_path):
    desk = Desk(tmp_path, symbols=("A", "B"))
    session = desk.session
    desk.give(tick(0, 100), tick(0, 50, symbol="B"))
    with pytest.raises(OrderError, match="protect A: there is nothing to protect"):
        session.protect("A", stop_loss=0.02)
    session.buy("A", quantity=10)
    desk.give(tick(1, 100), tick(2, 97))
    events = session.snapshot.events
    for fractions, words in (
        ({"stop_loss": 0.02}, r"10 long at 100\) is at 98, which is not below the price 97"),
        ({}, "give stop_loss="),
        ({"stop_loss": 2}, "between 0 and 1"),
        ({"stop_loss": "2 %"}, "stop_loss='2 %' is no number"),
    ):
        with pytest.raises(OrderError, match=words):
            session.protect("A", **fractions)
    with pytest.raises(OrderError, match="Did you mean 'A'"):
        session.protect("AA", stop_loss=0.02)
    assert session.snapshot.events == events
    desk.give(tick(3, 106))
    with pytest.raises(OrderError, match="take_profit=0.05 .* is at 105, which is not above the price 106"):
        session.protect("A", take_profit=0.05)
    desk.end()


def test_a_session_that_goes_on_keeps_its_protection(tmp_path):
    desk = Desk(tmp_path)
    desk.give(tick(0, 100))
    desk.session.buy("A", quantity=10)
    desk.give(tick(1, 100))
    desk.session.protect("A", stop_loss=0.05, trailing=0.03)
    resting = desk.session.buy("A", quantity=5, limit_price=90)
    desk.give(tick(2, 110))
    desk.session.suspend()
    assert desk.session.journal_path is not None
    feed = HandFeed()
    feed._time_ns = START_NS + 60 * SECOND
    again = qf.resume(desk.session.journal_path, feed=feed).start()
    assert {order.order_id for order in again.snapshot.working_orders} == {2, 3, resting}
    # The best before it was left was 110: 3 % under it is 106.7.
    feed.give(tick(70, 106.8))
    until(lambda: again.snapshot.symbols[0].price == 106.8)
    assert again.snapshot.fills_count == 1
    feed.give(tick(71, 106))
    until(lambda: again.snapshot.fills_count == 2)
    assert again.fills.iloc[-1].price == 106
    assert [order.order_id for order in again.snapshot.working_orders] == [resting]
    again.cancel(resting)
    again.stop()
    verdict = again.verify()
    assert verdict, verdict.text


# -- refused, and how one sees it -------------------------------------------------------------------


def test_what_makes_no_sense_is_refused_before_it_is_an_event(tmp_path):
    desk = Desk(tmp_path, symbols=("BTCUSDT", "ETHUSDT"))
    session = desk.session
    with pytest.raises(OrderError, match="buy BTCUSDT: there is no price yet"):
        session.buy("BTCUSDT", quantity=1)
    desk.give(tick(0, 100, symbol="BTCUSDT"))
    events = session.snapshot.events
    for arguments, words in (
        ({"symbol": "BTCUSD", "quantity": 1}, "Did you mean 'BTCUSDT'"),
        ({"quantity": 1, "notional": 100}, "give one of quantity=, notional= and weight="),
        ({"quantity": -1}, "not above zero"),
        ({"quantity": "one"}, "quantity='one' is no number"),
        ({"quantity": float("nan")}, "."),
        ({"quantity": 1, "limit_price": 0}, "limit_price=0.0 is not above zero"),
        ({"quantity": 1, "stop_loss": 101}, "stop_loss=101.0 must be below the entry at 100"),
        ({"quantity": 1, "take_profit": 99}, "take_profit=99.0 must be above the entry"),
        ({"quantity": 1, "trail": 1, "limit_price": 99}, "no other price"),
        ({"quantity": 1, "time_in_force": "good"}, "none of gtc, day, ioc, fok, gtd"),
        ({"quantity": 1, "time_in_force": "gtd"}, "expires_ns= go together"),
    ):
        with pytest.raises(OrderError, match=words):
            session.buy(**{"symbol": "BTCUSDT", **arguments})
    with pytest.raises(OrderError, match="close BTCUSDT: Nothing has no position and no order in it"):
        session.close("BTCUSDT")
    with pytest.raises(SessionError, match="no strategy 'Nothin' in this session. Did you mean 'Nothing'"):
        session.buy("BTCUSDT", quantity=1, strategy="Nothin")
    assert session.snapshot.events == events
    assert session.signals.empty
    desk.end()
    with pytest.raises(SessionError, match="only a running one can be traded"):
        session.buy("BTCUSDT", quantity=1)


def test_what_a_limit_refuses_is_said_and_kept_and_what_it_cuts_is_a_warning(tmp_path, caplog):
    limits = qf.RiskLimits(allow_short=False, max_position_weight=0.5)
    desk = Desk(tmp_path, risk=limits)
    session = desk.session
    desk.give(tick(0, 100))
    with pytest.raises(OrderError, match="nothing was sent: short sale of 5, which the limits do not allow"):
        session.sell("A", quantity=5)
    (signal,) = session.signals.itertuples()
    assert (signal.decision, signal.decision_reason, signal.wanted) == (
        "rejected",
        "short sale of 5, which the limits do not allow",
        -5,
    )
    with caplog.at_level(logging.WARNING, "qfkit.session"):
        order = session.buy("A", quantity=80)
    assert f"order {order} is for less than asked for (80): position weight 0.8 over 0.5" in caplog.text
    assert "for less than asked for" in session.snapshot.messages[-1][1]
    desk.give(tick(1, 100))
    assert desk.fills == [("buy", 50, 100)]
    with pytest.raises(OrderError, match="price collar"):
        session.sell("A", quantity=5, limit_price=1000)
    desk.end()


def test_where_entries_are_blocked_a_position_is_still_protected_and_closed(tmp_path):
    desk = Desk(tmp_path)
    session = desk.session
    desk.give(tick(0, 100))
    session.buy("A", quantity=10)
    desk.give(tick(1, 100))
    session.buy("A", quantity=5, limit_price=95)
    session.block_entries()
    with pytest.raises(OrderError, match="nothing was sent: account block_entries"):
        session.buy("A", quantity=1)
    session.protect("A", stop_loss=0.1)
    session.sell("A", quantity=4)
    desk.give(tick(2, 100), tick(3, 89))
    assert desk.fills == [("buy", 10, 100), ("sell", 4, 100), ("sell", 6, 89)]
    assert session.snapshot.working_orders == ()
    desk.end()


def test_margin_holds_for_a_manual_order(tmp_path):
    desk = Desk(tmp_path, margin=qf.Margin(initial=0.5), risk=qf.RiskLimits(max_gross_exposure=10.0))
    desk.give(tick(0, 100))
    order = desk.session.buy("A", quantity=300)
    desk.give(tick(1, 100))
    assert desk.fills == [("buy", 200, 100)]
    signals = desk.session.signals.reset_index()
    assert "initial margin" in signals[signals.order_id == order].decision_reason.iloc[0]
    desk.end()


# -- whose book, and in which state --------------------------------------------------------------------


def test_with_several_strategies_one_says_whose_book(tmp_path):
    desk = Desk(tmp_path, {"one": Nothing, "two": Nothing})
    session = desk.session
    desk.give(tick(0, 100))
    for call in (
        lambda: session.buy("A", quantity=1),
        lambda: session.close("A"),
        lambda: session.protect("A", trailing=0.1),
    ):
        with pytest.raises(SessionError, match="say whose book is traded: strategy= one of one, two"):
            call()
    order = session.buy("A", quantity=1, limit_price=90, strategy="two")
    session.buy("A", quantity=2, strategy="one")
    desk.give(tick(1, 100))
    session.protect("A", stop_loss=0.02, strategy="one")
    # An order's id says whose it is.
    session.cancel(order)
    desk.give(tick(2, 97))
    assert session.fills.strategy.tolist() == ["one", "one"]
    desk.end()


def test_a_paused_stopped_or_failed_book_is_traded_by_hand(tmp_path):
    desk = Desk(tmp_path, {"paused": Nothing, "stopped": Nothing, "fails": Raises})
    session = desk.session
    desk.give(bar(0, 100))
    session.pause("paused")
    session.stop("stopped")
    own = [order.order_id for order in session.snapshot.working_orders if order.strategy == "fails"]
    mine = session.buy("A", quantity=1, limit_price=50, strategy="fails")
    desk.give(bar(1, 66))
    states = {view.name: view.state for view in session.snapshot.strategies}
    assert states == {"paused": "paused", "stopped": "stopped", "fails": "failed"}
    # The failure took the strategy's own order with it and left the person's.
    assert (desk.status(own[0]), desk.status(mine)) == ("cancelled", "working")
    for name in states:
        session.buy("A", quantity=3, strategy=name)
        session.protect("A", stop_loss=0.1, strategy=name)
    desk.give(bar(2, 66), bar(3, 70))
    for name in states:
        session.close("A", name)
    desk.give(bar(4, 70), bar(5, 30))
    assert (desk.quantity(), session.snapshot.working_orders) == (0, ())
    assert len(desk.fills) == 6
    desk.end()


def test_a_book_that_was_wiped_out_is_not(tmp_path):
    desk = Desk(tmp_path, margin=qf.Margin.crypto(5.0))
    session = desk.session
    desk.give(tick(0, 100))
    session.buy("A", quantity=400)
    desk.give(tick(1, 100), tick(2, 50), tick(3, 50))
    assert session.snapshot.strategies[0].state == "wiped out"
    with pytest.raises(OrderError, match="it does not trade again"):
        session.buy("A", quantity=1)
    desk.end()


def test_a_watch_list_has_no_book(tmp_path):
    session = qf.watch("A", feed=HandFeed(), journal=tmp_path)
    with pytest.raises(SessionError, match="is a watch list"):
        session.buy("A", quantity=1)
    session.stop()


def test_a_replay_of_a_recording_is_traded_like_a_live_feed(tmp_path):
    events = [tick(second, 100 + second % 7) for second in range(200)]
    session = qf.paper(
        qf.MovingAverageCrossover(fast=2, slow=5), qf.ReplayFeed(events, speed=100.0), journal=tmp_path, timeframe="10s"
    ).start()
    until(lambda: session.snapshot.events > 20)
    order = session.buy("A", notional=500)
    session.protect("A", stop_loss=0.5)
    assert isinstance(order, int)
    session.wait(20)
    assert order in set(session.fills.order_id)
    verdict = session.verify()
    assert verdict, verdict.text
