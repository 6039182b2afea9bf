"""Alert rules: what is told, when, and what is not told again."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from math import nan
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qfkit as qf
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Event, Gap, WarmUp
from qfkit.core.records import Records
from qfkit.core.snapshot import FeedView, LimitView, SymbolHealth
from qfkit.errors import JournalWriteError, ParameterError, SessionError
from qfkit.journal.reader import JournalReader
from qfkit.live.alert_rules import Rule
from qfkit.live.alerts import AlertDesk
from qfkit.live.watch_only import WatchOnly
from tests.servers.scripted import ScriptedFeed
from tests.support import MINUTE, SECOND, START, bar, bars, quote, tick

alerts = qf.alerts


class HandFeed(ScriptedFeed):
    """The scripted feed, steered from the test's own thread, that ends when its session is stopped."""

    def give(self, *events: Event) -> None:
        qf.run(self._queue.put(list(events)))

    def break_once(self, error: BaseException) -> None:
        qf.run(self._queue.put(error))

    async def stop(self) -> None:
        await super().stop()
        await self._queue.put(None)


def told(
    events: Sequence[Event], *rules: object, strategy: object = WatchOnly, **more: object
) -> list[qf.alerts.Alert]:
    """The alerts of a whole session over these events, as its journal has them."""
    session = qf.paper(
        strategy, qf.ReplayFeed(list(events), speed=None), alerts=list(rules), notify=[], costs=qf.Costs.ideal(), **more
    )
    session.start().wait(30)
    assert session.verify()
    assert session.journal_path is not None
    with JournalReader(session.journal_path) as reader:
        return reader.alerts()


def seconds(found: Iterable[qf.alerts.Alert]) -> list[float]:
    return [(one.time_ns - START) / SECOND for one in found]


def until(condition: Callable[[], bool], patience_s: float = 10.0) -> None:
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.01)


def prices(*values: float) -> list[Event]:
    return [tick(second, value, 1.0) for second, value in enumerate(values)]


# -- levels ----------------------------------------------------------------------------------------


def test_a_level_is_told_once_and_again_after_it_was_left_by_the_margin():
    # Armed again at 100 * (1 - 0.002) = 99.8: 99.85 is not far enough.
    path = prices(99.0, 100.0, 101.0, 99.85, 100.5, 99.8, 99.9, 100.2)
    found = told(path, alerts.PriceAbove("A", 100.0, margin=0.002, every_s=0.0))
    assert seconds(found) == [1.0, 7.0]
    assert [(one.value, one.level, one.symbol, one.kind) for one in found] == [
        (100.0, 100.0, "A", "PriceAbove"),
        (100.2, 100.0, "A", "PriceAbove"),
    ]
    assert found[1].text == "A at 100.2 is above 100"
    found = told(
        prices(101.0, 100.0, 99.0, 100.15, 99.5, 100.2, 100.0), alerts.PriceBelow("A", 100.0, margin=0.002, every_s=0.0)
    )
    assert seconds(found) == [1.0, 6.0]


def test_what_is_above_from_the_start_is_told_at_once_and_a_margin_of_zero_needs_leaving():
    rule = alerts.PriceAbove("A", 100.0, margin=0.0, every_s=0.0)
    assert seconds(told(prices(105.0, 100.0, 100.0, 99.99, 100.0), rule)) == [0.0, 4.0]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(900, 1100), min_size=1, max_size=60), st.integers(0, 60), st.integers(0, 20))
def test_levels_against_a_search_of_all_that_was(cents: list[int], margin_thousandths: int, every_s: int):
    """Told at the first price at the level since it was last left by the margin, and every_s after the alert before."""
    level, margin = 10.0, margin_thousandths / 1000
    wanted: list[int] = []
    for place, cent in enumerate(cents):
        since = cents[wanted[-1] + 1 : place] if wanted else cents
        was_left = not wanted or any(one / 100 <= level * (1 - margin) and one / 100 < level for one in since)
        if cent / 100 >= level and was_left and (not wanted or place - wanted[-1] >= every_s):
            wanted.append(place)
    desk = AlertDesk([alerts.PriceAbove("A", level, margin=margin, every_s=float(every_s))])
    desk.see([tick(place, cent / 100) for place, cent in enumerate(cents)], Records(), engine())
    assert seconds(desk.fired) == [float(place) for place in wanted]


def engine(*names: str) -> Engine:
    return Engine({name: WatchOnly() for name in names or ("script",)}, cash=1_000.0)


def test_one_trade_among_thousands_between_two_snapshots_is_not_missed():
    path = [tick(index / 1000, 100.0 + (index == 12_345) * 5.0, 1.0) for index in range(20_000)]
    (one,) = told(path, alerts.PriceAbove("A", 105.0))
    assert seconds([one]) == [12.345]


def test_bars_count_with_their_extremes_and_quotes_only_where_nothing_trades():
    found = told(
        bars([(100, 100, 100, 100), (100, 104, 99, 100), (100, 100, 96, 100)]),
        alerts.PriceAbove("A", 103.0),
        alerts.PriceBelow("A", 97.0),
    )
    assert [(one.kind, one.value, one.time_ns) for one in found] == [
        ("PriceAbove", 104.0, START + 2 * MINUTE),
        ("PriceBelow", 96.0, START + 3 * MINUTE),
    ]
    quotes: list[Event] = [quote(0, 99.0, 101.0), quote(1, 104.0, 106.0)]
    assert seconds(told(quotes, alerts.PriceAbove("A", 105.0))) == [1.0]
    assert told([tick(0, 100.0), *quotes], alerts.PriceAbove("A", 105.0)) == []


def test_a_last_price_from_before_the_stream_tells_nothing_and_a_backfilled_one_does():
    stale = msgspec.structs.replace(tick(0, 110.0), flag="stale")
    late = msgspec.structs.replace(tick(2, 110.0, delay_s=5), flag="backfilled")
    assert told([stale, tick(1, 100.0)], alerts.PriceAbove("A", 105.0)) == []
    assert seconds(told([stale, tick(1, 100.0), late], alerts.PriceAbove("A", 105.0))) == [7.0]


# -- moves and volume --------------------------------------------------------------------------------


def test_a_move_counts_from_the_extremes_of_its_window_and_begins_anew_after_it():
    rule = alerts.PriceMove("A", 0.02, window_s=10.0, every_s=0.0)
    # Slowly up: 2 % take 20 s, longer than the window. Then a spike of 2 % down within a second.
    slow = prices(*[100.0 + 0.1 * second for second in range(25)])
    assert told(slow, rule) == []
    down = [*slow, tick(25, 100.0, 1.0)]
    (one,) = told(down, rule)
    assert one.value == pytest.approx(100.0 / 102.4 - 1.0) and one.level == 0.02
    assert one.text == "A moved -2.34 % in 1.0 s, from 102.4 to 100"
    # From 100 on: the next is told at 102, not when 102.4 or 100 are passed again.
    again = [*down, tick(26, 101.9, 1.0), tick(27, 102.0, 1.0), tick(28, 102.1, 1.0)]
    assert seconds(told(again, rule)) == [25.0, 27.0]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(9_000, 11_000)), min_size=1, max_size=80))
def test_moves_against_a_search_of_the_window(steps: list[tuple[int, int]]):
    second, begin, wanted, path = 0, 0, [], []
    for place, (pause, cents) in enumerate(steps):
        second += pause
        path.append((second, cents / 100))
        window = [price for at, price in path[begin:] if at >= second - 7]
        if path[-1][1] / min(window) - 1.0 >= 0.05 or 1.0 - path[-1][1] / max(window) >= 0.05:
            wanted.append(float(second))
            begin = place
    desk = AlertDesk([alerts.PriceMove(None, 0.05, window_s=7.0, every_s=0.0)])
    desk.see([tick(at, price) for at, price in path], Records(), engine())
    assert seconds(desk.fired) == wanted


def test_a_burst_of_volume_is_held_against_the_time_before_it():
    rule = alerts.VolumeBurst("A", 3.0, window_s=10.0, over_s=50.0, every_s=0.0)
    # 1 a second: 10 a window. Sixty seconds are the fifty before and the window itself.
    calm = [tick(second, 100.0, 1.0) for second in range(61)]
    assert told([*calm[:30], tick(30, 100.0, 500.0)], rule) == []
    assert told(calm, rule) == []
    (one,) = told([*calm, tick(61, 100.0, 15.0), tick(61.5, 100.0, 8.0), tick(62, 100.0, 1.0)], rule)
    # At 61.5 s: the steps 53 to 60 with 1 each (the step of 52.x too), 15 and 8 against the usual 10.
    assert seconds([one]) == [61.5] and 3.0 <= one.value <= 3.4
    unknown = [tick(61 + index, 100.0, nan) for index in range(30)]
    assert told([*calm, *unknown], rule) == []


def test_volume_counts_from_a_warm_up_on_and_anew_after_a_gap():
    rule = alerts.VolumeBurst("A", 3.0, window_s=60.0, over_s=300.0, every_s=0.0)
    desk = AlertDesk([rule])
    past = WarmUp(START, bars=[bar(index, 100, 100, 100, 100, volume=60.0) for index in range(-8, 0)])
    desk.see([past, tick(1, 100.0, 100.0), tick(2, 100.0, 130.0)], Records(), engine())
    assert seconds(desk.fired) == [2.0]
    after = AlertDesk([rule])
    gap = Gap("A", START, START + SECOND, START + SECOND)
    after.see([past, gap, tick(2, 100.0, 1e6)], Records(), engine())
    assert after.fired == []


# -- rate limit ----------------------------------------------------------------------------------------


def test_what_comes_too_soon_is_counted_and_a_state_is_told_late_rather_than_never():
    rule = alerts.PriceMove("A", 0.01, window_s=60.0, every_s=10.0)
    path = [tick(second, 100.0 * 1.011**second, 1.0) for second in range(13)]
    found = told(path, rule)
    # Each second is a move: told at 1 and 11, nine between are held back.
    assert seconds(found) == [1.0, 11.0]
    assert [one.held_back for one in found] == [0, 9]
    level = alerts.PriceAbove("A", 100.0, every_s=10.0)
    assert seconds(told(prices(100, 99, *[101] * 12), level)) == [0.0, 10.0]


# -- the book --------------------------------------------------------------------------------------------


class Trader(qf.Strategy):
    """Buys three of A at each bar whose close ends in .5, and asks for far too many where it ends in .25."""

    def on_bar(self, bar: Bar) -> None:
        if bar.close % 1 == 0.5:
            self.buy(bar.symbol, quantity=3.0, reason="half")
        elif bar.close % 1 == 0.25:
            self.buy(bar.symbol, quantity=1.0, limit_price=bar.close * 0.1, reason="slip")
        elif bar.close == 13.0:
            raise ZeroDivisionError("thirteen")


def flat(*closes: float) -> list[Bar]:
    return bars([(close, close, close, close) for close in closes])


def test_fills_and_refusals_are_told_with_what_and_why():
    found = told(
        flat(100.0, 100.5, 101.0, 101.25, 101.5, 102.0), alerts.Filled(), alerts.OrderRejected(), strategy=Trader
    )
    assert [(one.kind, one.text, one.value) for one in found if one.kind == "Filled"] == [
        ("Filled", "Trader bought 3 A at 101: half", 101.0),
        ("Filled", "Trader bought 3 A at 102: half", 102.0),
    ]
    (refused,) = [one for one in found if one.kind == "OrderRejected"]
    assert "was rejected: " in refused.text and "collar" in refused.text and refused.symbol == "A"


def test_rules_about_one_strategy_or_symbol_see_no_other():
    strategies = {"one": Trader(), "two": Trader()}
    events = flat(100.5, 101.0)
    found = told(events, alerts.Filled(strategy="two"), alerts.Filled("B", name="of B"), strategy=strategies)
    assert [(one.strategy, one.text) for one in found] == [("two", "two bought 3 A at 101: half")]


def test_orders_of_a_warm_up_are_not_told_as_refused():
    past = flat(100.5, 100.5)
    desk = AlertDesk([alerts.OrderRejected()])
    running = Engine({"trader": Trader()}, cash=1_000.0, timeframe="1m")
    warm_up = WarmUp(START + 2 * MINUTE, bars=past)
    running.process(warm_up)
    assert [signal.decision for signal in running.records.signals] == ["rejected", "rejected"]
    desk.see([warm_up], running.records, running)
    assert desk.fired == []


class Holder(qf.Strategy):
    """Puts all it has into A at the first bar."""

    def on_bar(self, bar: Bar) -> None:
        if not self.position(bar.symbol):
            self.buy(bar.symbol, quantity=1_000.0, reason="all in")


def test_a_drawdown_is_told_from_the_peak_and_again_after_it_was_less():
    # 1,000 shares bought at 100: the equity is 1,000 times the price.
    closes = (100, 100, 110, 104.6, 104.4, 104, 105, 104, 111, 105, 100)
    found = told(flat(*closes), alerts.Drawdown(0.05, margin=0.2, every_s=0.0), strategy=Holder, cash=100_000.0)
    # 5 % below 110 is 104.5; armed again at 4 % (105.6), so only after the new peak of 111: 5 % below is 105.45.
    assert [(one.level, round(one.value, 6)) for one in found] == [
        (0.05, round(1 - 104.4 / 110, 6)),
        (0.05, round(1 - 105 / 111, 6)),
    ]
    assert found[0].text == "drawdown 5.09 %: equity 104,400.00, peak 110,000.00"


def test_a_drawdown_of_one_strategy_is_its_own():
    events = [
        one for pair in zip(flat(100, 100, 90, 90), bars([(50, 50, 50, 50)] * 4, "B"), strict=True) for one in pair
    ]

    class OnlyB(qf.Strategy):
        pass

    rules = [alerts.Drawdown(0.05, strategy=name) for name in ("holder", "other")]
    found = told(events, *rules, strategy={"holder": Holder(), "other": OnlyB()}, cash=200_000.0)
    assert [(one.strategy, round(one.value, 9)) for one in found] == [("holder", 0.1)]


def test_a_limit_that_is_nearly_used_up():
    plain = engine().snapshot()
    desk = AlertDesk(
        [
            alerts.LimitNear(0.9, every_s=0.0, margin=0.1),
            alerts.LimitNear(0.5, limit="leverage", strategy="x", name="x"),
        ]
    )
    for second, used in enumerate((0.5, 0.9, 0.95, 0.85, 0.92, 0.8, 0.91)):
        views = (
            LimitView("daily loss", "", used * 1_000.0, 1_000.0, "", ""),
            LimitView("leverage", "x", 1.2, 2.0, "", ""),
            LimitView("unused", "", nan, 1.0, "", ""),
            # Nobody asked for it.
            LimitView("gross exposure", "", 1.0, 1.0, "", "", is_default=True),
        )
        desk.look(msgspec.structs.replace(plain, time_ns=START + second * SECOND, limits=views), START)
    # Armed again below 0.81.
    near = [one for one in desk.fired if one.rule != "x"]
    assert seconds(near) == [1.0, 6.0]
    assert near[0].text == "daily loss at 90.00 % of its limit: 900 of 1,000"
    assert [(one.value, one.strategy) for one in desk.fired if one.rule == "x"] == [(0.6, "x")]
    # A snapshot without limits has none that is near.
    other = AlertDesk([alerts.LimitNear()])
    other.look(plain, START)
    assert other.fired == []


# -- strategies ------------------------------------------------------------------------------------------


def test_a_strategy_that_raises_pauses_or_goes_silent_is_told():
    session = qf.paper(
        {"bad": Trader(), "good": Holder()},
        feed := HandFeed("hand"),
        alerts=[alerts.StrategyStopped(every_s=0.0), alerts.StrategySilent(180.0, strategy="good")],
        notify=[],
    ).start()
    until(lambda: session.snapshot.feed.state == "live")
    feed.give(*flat(12.0, 13.0, 14.0))
    until(lambda: any("bad is failed: ZeroDivisionError: thirteen" in text for _, text in session.snapshot.messages))
    session.pause("good")
    until(lambda: any(text == "good is paused" for _, text in session.snapshot.messages))
    session.resume("good")
    time.sleep(0.3)
    # Its orders are all refused from here, which is not silence; then bars of another symbol go on without it.
    feed.give(
        *bars([(50, 50, 50, 50)] * 3, "A")[-1:],
        *[msgspec.structs.replace(one, symbol="B") for one in flat(*[50.0] * 2)],
    )
    session.stop()
    found = session.alerts
    assert [text for text in found.text if text.startswith("good is")] == ["good is paused", "good is stopped"]
    assert session.verify()


def test_silence_is_told_once_until_the_strategy_wants_something_again():
    class Seldom(qf.Strategy):
        def on_bar(self, bar: Bar) -> None:
            if bar.close == 7.0:
                self.buy(bar.symbol, quantity=1.0, reason="seven")

    events = flat(7, 5, 5, 5, 5, 5, 7, 5, 5, 5, 5)
    desk = AlertDesk([alerts.StrategySilent(180.0, every_s=0.0)])
    running = Engine({"seldom": Seldom()}, cash=1_000.0)
    for event in events:
        running.process(event)
        desk.see([event], running.records, running)
        running.records.clear()
    # Signals at the close of bar 1 and bar 7 (the first after the one minute each takes to close).
    assert seconds(desk.fired) == [240.0, 600.0]
    assert desk.fired[0].text == "seldom has wanted nothing for 3.0 min" and desk.fired[0].value == 180.0


def test_a_session_that_fails_is_told():
    got: list[str] = []
    session = qf.paper(
        WatchOnly,
        feed := HandFeed("hand"),
        alerts=[alerts.StrategyStopped()],
        notify=lambda alert: got.append(alert.text),
    ).start()
    until(lambda: session.snapshot.feed.state == "live")
    feed.break_once(OSError("the line is cut"))
    with pytest.raises(SessionError):
        session.wait(10)
    assert got == [f"the session {session.name} failed: the feed of {session.name!r} failed: OSError: the line is cut"]
    assert list(session.alerts.delivered)[0].endswith(": sent")


def test_a_journal_that_cannot_be_written_is_told_and_what_it_lacks_is_not(monkeypatch: pytest.MonkeyPatch):
    got: list[str] = []
    session = qf.paper(
        WatchOnly,
        feed := HandFeed("hand"),
        alerts=[alerts.StrategyStopped(), alerts.PriceAbove("A", 2.0, every_s=0.0)],
        notify=lambda alert: got.append(alert.text),
    ).start()
    until(lambda: session.snapshot.feed.state == "live")
    feed.give(*prices(1.0, 2.0))
    until(lambda: len(got) == 1)

    def full(*_: object, **__: object) -> None:
        raise JournalWriteError("no room left")

    monkeypatch.setattr(session._pipeline.writer, "commit", full)
    feed.give(*prices(1.0, 2.0))
    with pytest.raises(JournalWriteError):
        session.wait(10)
    assert got == ["A at 2 is above 2", f"the session {session.name} failed: no room left"]


# -- the feed --------------------------------------------------------------------------------------------


def test_a_stale_feed_its_return_and_a_gap_are_told():
    session = qf.watch(
        ["A", "B"],
        feed=(feed := HandFeed("hand", ("A", "B"))),
        alerts=[alerts.FeedStale(0.3), alerts.FeedGap()],
        notify=[],
    )
    until(lambda: session.snapshot.feed.state == "live")
    feed.give(tick(0, 100.0), tick(0, 50.0, symbol="B"))
    feed.turn("stale")
    until(lambda: len(session.snapshot.messages) == 1)
    feed.turn("live")
    until(lambda: len(session.snapshot.messages) == 2)
    # A reconnection of a moment is not worth a word.
    feed.turn("connecting")
    time.sleep(0.1)
    feed.turn("live")
    feed.give(
        Gap("B", START + SECOND, START + 4 * SECOND, START + 5 * SECOND, 12, "the server was gone"), tick(6, 100.0)
    )
    until(lambda: len(session.snapshot.messages) == 3)
    session.stop()
    texts = list(session.alerts.text)
    assert texts[0].startswith("the feed (hand) is stale: no data for 0.")
    assert texts[1].startswith("the feed is live again after ")
    assert texts[2] == "B lacks 3.0 s from 2023-11-15 00:00:01 UTC on, 12 events: the server was gone"


def test_one_symbol_that_is_stale_is_named_and_one_of_two_sources_is_enough():
    def view(*symbols: tuple[str, str, str], state: str = "live") -> FeedView:
        health = tuple(SymbolHealth(symbol, source, own, age_s=1.0) for symbol, source, own in symbols)
        return FeedView("f", state, age_s=1.0, symbols=health)

    plain = engine().snapshot()
    desk = AlertDesk([alerts.FeedStale(5.0, every_s=0.0), alerts.FeedStale(0.0, symbol="C", silent_s=1.0, name="c")])
    frames = [
        (0, view(("A", "x", "live"), ("B", "x", "stale"), ("B", "y", "live"))),
        (1, view(("A", "x", "stale"), ("B", "x", "stale"), ("B", "y", "live"))),
        (5, view(("A", "x", "stale"), ("B", "x", "stale"), ("B", "y", "live"))),
        (6, view(("A", "x", "stale"), ("B", "x", "stale"), ("B", "y", "live"))),
        (7, view(("A", "x", "stale"), ("C", "x", "live"))),
        (9, view(("A", "x", "live"))),
    ]
    for second, feed in frames:
        desk.look(msgspec.structs.replace(plain, feed=feed), START + second * SECOND)
    assert [(one.symbol, one.text) for one in desk.fired] == [
        ("A", "A (f) is stale: no data for 5.0 s"),
        ("C", "C (f) is silent: no data for 0.0 s"),
        ("A", "A is live again after 8.0 s"),
        ("C", "C is live again after 2.0 s"),
    ]


# -- functions ---------------------------------------------------------------------------------------------


def test_a_function_of_a_snapshot_is_a_rule_and_one_that_raises_is_reported():
    def many(snapshot: qf.Snapshot) -> object:
        return f"{snapshot.events} events" if snapshot.events >= 3 else False

    def wrong(snapshot: qf.Snapshot) -> object:
        raise KeyError("no such thing")

    session = qf.watch("A", feed=(feed := HandFeed("hand")), alerts=[many, wrong], notify=[])
    until(lambda: session.snapshot.feed.state == "live")
    feed.give(*prices(1.0, 2.0, 3.0))
    until(lambda: len(session.snapshot.messages) >= 2)
    session.stop()
    assert list(session.alerts.text) == ["3 events"]
    assert [name.rpartition(".")[2] for name in session.alert_rules] == ["many"]
    assert any("is not asked again: KeyError: 'no such thing'" in text for _, text in session.snapshot.messages)


def test_a_function_that_hangs_delays_neither_the_session_nor_another():
    released = threading.Event()

    def hangs(snapshot: qf.Snapshot) -> object:
        return released.wait(30)

    session = qf.watch(
        "A", feed=(feed := HandFeed("hand")), alerts=[hangs, lambda snapshot: snapshot.events >= 100], notify=[]
    )
    until(lambda: session.snapshot.feed.state == "live")
    began_s = time.monotonic()
    feed.give(*[tick(index, 100.0) for index in range(100)])
    until(lambda: len(session.snapshot.messages) == 1)
    assert session.snapshot.events == 100
    session.stop()
    assert time.monotonic() - began_s < 3.0
    released.set()


# -- adding, removing, refusing --------------------------------------------------------------------------


def test_rules_come_and_go_while_the_session_runs():
    session = qf.watch("A", feed=(feed := HandFeed("hand")), notify=[])
    until(lambda: session.snapshot.feed.state == "live")
    feed.give(tick(0, 200.0))
    name = session.alert(alerts.PriceAbove("A", 150.0))
    assert name == "A above 150" and list(session.alert_rules) == [name]
    with pytest.raises(ParameterError, match="there is a rule 'A above 150' already"):
        session.alert(alerts.PriceAbove("A", 150.0, every_s=5.0))
    feed.give(tick(1, 201.0))
    until(lambda: len(session.snapshot.messages) == 1)
    session.remove_alert(alerts.PriceAbove("A", 150.0))
    with pytest.raises(ParameterError, match="no alert rule 'A above 15'"):
        session.remove_alert("A above 15")
    feed.give(tick(2, 100.0), tick(100, 300.0))
    until(lambda: session.snapshot.events == 4)
    session.stop()
    assert len(session.alerts) == 1
    with pytest.raises(SessionError, match="has ended"):
        session.alert(alerts.PriceAbove("A", 1.0))
    with JournalReader(session.journal_path) as reader:
        assert [one.text for one in reader.log() if one.level == "info"] == [
            "alert rule added: A above 150",
            "alert rule removed: A above 150",
        ]
        assert reader.meta["alerts"] == []
    assert session.verify()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: alerts.PriceAbove("A", 0.0), "price=0.0"),
        (lambda: alerts.PriceAbove("A", nan), "price=nan"),
        (lambda: alerts.PriceBelow("A", 1.0, margin=1.0), "margin=1.0"),
        (lambda: alerts.PriceMove("A", 0.0), "fraction=0.0"),
        (lambda: alerts.PriceMove("A", window_s=0.0), "window_s=0.0"),
        (lambda: alerts.VolumeBurst("A", 1.0), "times=1.0"),
        (lambda: alerts.VolumeBurst("A", window_s=60.0, over_s=30.0), "over_s=30.0"),
        (lambda: alerts.Drawdown(-0.1), "fraction=-0.1"),
        (lambda: alerts.StrategySilent(0.0), "after_s=0.0"),
        (lambda: alerts.Filled(every_s=-1.0), "every_s=-1.0"),
        (lambda: alerts.When(3), "function=3"),
        (lambda: AlertDesk.of([3], None), "3 is no alert rule"),
        (lambda: AlertDesk.of(alerts.FeedGap, None), r"FeedGap, without its \(\)"),
        (
            lambda: qf.paper(WatchOnly, HandFeed("f"), alerts=alerts.Drawdown(0.1, strategy="watch_onli")),
            "Did you mean",
        ),
        (
            lambda: qf.watch("A", feed=HandFeed("f"), alerts=[alerts.PriceAbove("B", 1.0)]),
            "on B, which is not watched: A",
        ),
        (lambda: qf.watch(["A", "C"], feed=HandFeed("f")), "C: not a symbol of f"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_value(make: Callable[[], object], said: str):
    with pytest.raises(ParameterError, match=said):
        make()


def test_every_rule_comes_back_from_a_journal_as_it_was():
    from qfkit.live.alert_rules import rule_meta, rules_of_meta

    rules: list[Rule] = [
        alerts.PriceAbove("A", 1.5, name="n", every_s=3.0),
        alerts.PriceBelow("A", 1.5),
        alerts.PriceMove(None, 0.5),
        alerts.VolumeBurst("B", 4.0),
        alerts.Filled(),
        alerts.OrderRejected(strategy="s"),
        alerts.Drawdown(0.1),
        alerts.LimitNear(limit="leverage"),
        alerts.FeedStale(silent_s=5.0),
        alerts.FeedGap("A"),
        alerts.StrategyStopped(),
        alerts.StrategySilent(5.0),
    ]
    stored = msgspec.json.decode(msgspec.json.encode([rule_meta(rule) for rule in rules]))
    assert rules_of_meta(stored) == (rules, [])
    assert len({rule.title for rule in rules}) == len(rules)
    assert rules_of_meta([rule_meta(alerts.When(len, name="mine"))]) == ([], ["mine"])


# -- the journal: resumed, replayed, old -----------------------------------------------------------------


def test_a_resumed_session_goes_on_with_its_rules_and_does_not_repeat_itself(tmp_path: Path):
    rules = [alerts.PriceAbove("A", 100.0, every_s=0.0), lambda snapshot: False]
    events = prices(99, 101, 101, 101, 99, 101)
    feed = HandFeed("hand")
    session = qf.watch(
        "A",
        feed=feed,
        alerts=rules,
        notify=["file:" + str(tmp_path / "log"), "https://hooks.example.com/t0ken"],
        journal=tmp_path / "j",
    )
    session.remove_alert(next(name for name in session.alert_rules if "lambda" in name))
    session.alert(alerts.When(lambda snapshot: False, name="mine"))
    until(lambda: session.snapshot.feed.state == "live")
    feed.give(*events[:3])
    until(lambda: len(session.alerts) == 1 and "log: sent" in session.alerts.delivered.iloc[0])
    session.suspend()
    assert session.state == "interrupted"

    again = qf.resume(session.journal_path, feed=(feed := HandFeed("hand")))
    assert list(again.alert_rules) == ["A above 100"]
    messages = " / ".join(text for _, text in again.snapshot.messages)
    assert "alert rules mine are gone" in messages
    assert "nothing is sent to webhook hooks.example.com" in messages and "t0ken" not in messages
    again.start()
    until(lambda: again.snapshot.feed.state == "live")
    feed.give(*events[3:])
    until(lambda: len(again.alerts) == 2)
    again.stop()
    # The third and fourth 101 are the same stay above the level.
    assert [(one.alert_id, one.value) for one in again.alerts.itertuples()] == [(1, 101.0), (2, 101.0)]
    with JournalReader(again.journal_path) as reader:
        assert seconds(reader.alerts())[1] == 5.0
    assert len((tmp_path / "log").read_text().splitlines()) == 2
    assert again.verify()


def test_what_notify_was_is_kept_and_what_is_new_replaces_it(tmp_path: Path):
    def begun(**more: object) -> Path:
        session = qf.watch("A", feed=(feed := HandFeed("hand")), journal=tmp_path, name="n", **more)
        feed.give(tick(0, 1.0))
        until(lambda: session.snapshot.events == 1)
        session.suspend()
        return session.journal_path

    path = begun(notify=[], alerts=alerts.FeedGap())
    again = qf.resume(path, feed=HandFeed("hand"))
    assert again._pipeline.alerts._sinks == []
    again = qf.resume(path, feed=HandFeed("hand"), alerts=alerts.FeedStale(), notify="terminal").start()
    again.suspend()
    last = qf.resume(path, feed=HandFeed("hand"))
    assert list(last.alert_rules) == ["feed stale"]
    assert [type(sink) for sink in last._pipeline.alerts._sinks] == [alerts.Terminal]


def test_a_replay_of_the_journal_tells_the_same():
    rules = [
        alerts.PriceMove(None, 0.0005, window_s=5.0, every_s=2.0),
        alerts.VolumeBurst(None, 2.0, window_s=2.0, over_s=10.0, every_s=0.0),
        alerts.Filled(),
        alerts.Drawdown(0.0001, every_s=0.0),
    ]
    feed = qf.SyntheticFeed(("BTCUSDT",), duration_s=60.0, speed=None)
    session = (
        qf.paper(qf.MovingAverageCrossover(fast=3, slow=8), feed, timeframe="1s", alerts=rules[:3], notify=[])
        .start()
        .wait(60)
    )
    assert {"PriceMove", "VolumeBurst", "Filled"} == set(session.alerts.kind)
    replayed = qf.paper(
        qf.MovingAverageCrossover(fast=3, slow=8),
        qf.ReplayFeed(session.journal_path, speed=None),
        timeframe="1s",
        alerts=rules[:3],
        notify=[],
        name="again",
    )
    replayed.start().wait(60)
    both = [
        one.alerts.drop(columns="delivered").sort_values(["rule", "time"]).drop(columns="alert_id")
        for one in (session, replayed)
    ]
    assert both[0].equals(both[1]) and len(both[0]) > 10


def test_a_journal_from_before_there_were_alerts_is_read_and_written_on(tmp_path: Path):
    session = qf.watch("A", feed=(feed := HandFeed("hand")), notify=[], journal=tmp_path)
    until(lambda: session.snapshot.feed.state == "live")
    feed.give(*prices(1.0))
    until(lambda: session.snapshot.events == 1)
    session.suspend()
    with closing(sqlite3.connect(session.journal_path)) as connection, connection:
        connection.execute("DROP TABLE alerts")
        connection.execute("DROP TABLE deliveries")
        connection.execute("DELETE FROM meta WHERE key IN ('alerts', 'notify')")
    connection.close()
    assert session.alerts.empty and session.deliveries.empty
    again = qf.resume(
        session.journal_path, feed=(feed := HandFeed("hand")), alerts=alerts.PriceAbove("A", 2.0), notify=[]
    ).start()
    until(lambda: again.snapshot.feed.state == "live")
    feed.give(*prices(3.0))
    until(lambda: len(again.alerts) == 1)
    again.stop()


def test_a_watch_list_is_a_session_without_a_strategy_or_a_book():
    session = qf.watch(
        "A", feed=qf.ReplayFeed(prices(1.0, 2.0), speed=None), alerts=alerts.PriceAbove("A", 2.0), notify=[]
    ).wait(10)
    assert session.snapshot.strategies == () and session.snapshot.is_watch_list
    assert "value" not in repr(session) and "A 2.00 +100.00 %" in repr(session)
    assert session.orders.empty and session.verify()
    assert list(qf.sessions().name) == ["watch"]


def test_without_rules_about_prices_or_the_book_no_event_is_looked_at():
    class Untouchable(list):
        def __iter__(self):
            raise AssertionError("an event was looked at")

    desk = AlertDesk([alerts.FeedStale(), alerts.StrategyStopped(), alerts.LimitNear()])
    desk.see(Untouchable([tick(0, 1.0)]), Records(), engine())
    with pytest.raises(AssertionError):
        AlertDesk([alerts.PriceAbove("A", 1.0)]).see(Untouchable([tick(0, 1.0)]), Records(), engine())
