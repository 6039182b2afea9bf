"""Feeds that stand in for one another: who counts, what is given, and what is told of it."""

import asyncio
import logging
import random
import time
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qfkit as qf
from qfkit.core.events import Bar, CorporateAction, Depth, Gap, Heartbeat, Hours, Instrument, Quote, Tick
from qfkit.errors import ConnectionFailedError, FeedError, ParameterError, SymbolError
from qfkit.feeds.binance import BinanceFeed
from qfkit.feeds.failover import FailoverFeed
from qfkit.feeds.recipes import feed_of
from qfkit.feeds.standby import Choice, Patience
from tests.servers.exchange import Exchange, ExchangeServer
from tests.servers.scripted import ScriptedFeed
from tests.taken import Taken as AnyTaken

SECOND = 1_000_000_000
QUICK = {"stale_after_s": 0.4, "frozen_after_s": 0.5, "recover_after_s": 0.3, "backoff_s": 0.05}
SLOW = {"stale_after_s": 60.0, "frozen_after_s": 60.0, "recover_after_s": 60.0, "backoff_s": 0.05}
BEGAN_NS = time.time_ns()


def tick(seconds: float, price: float = 100.0, symbol: str = "A", size: float = 1.0, **more) -> Tick:
    """A trade so many seconds after the tests began, received 10 ms later."""
    time_ns = BEGAN_NS + round(seconds * SECOND)
    return Tick(symbol, price, size, time_ns, time_ns + 10_000_000, **more)


def quote(seconds: float, bid: float, ask: float, symbol: str = "A", *, is_timed: bool = True) -> Quote:
    time_ns = BEGAN_NS + round(seconds * SECOND)
    return Quote(symbol, bid, 1.0, ask, 1.0, time_ns, time_ns + (10_000_000 if is_timed else 0))


def bar(minute: int, close: float, symbol: str = "A") -> Bar:
    open_ns = BEGAN_NS // (60 * SECOND) * 60 * SECOND + (minute - 10) * 60 * SECOND
    return Bar(symbol, "1m", close, close, close, close, 1.0, open_ns, open_ns + 60 * SECOND)


class Taken(AnyTaken):
    """Looks that no part is left open at the end."""

    usual = "A"

    async def __aexit__(self, *error: object) -> None:
        await self.feed.stop()
        await asyncio.wait({self._task}, timeout=5)
        assert self._task.done()
        if error[0] is None:
            self._task.result()
        assert all(not part._is_open for part in self.feed.parts)

    def told(self, symbol: str | None = None) -> list[tuple]:
        """Source and seconds of each trade."""
        return [(one.source, round((one.time_ns - BEGAN_NS) / SECOND, 3)) for one in self.ticks(symbol)]


def pair(**options) -> tuple[ScriptedFeed, ScriptedFeed, FailoverFeed]:
    one, two = ScriptedFeed("one"), ScriptedFeed("two")
    return one, two, FailoverFeed([one, two], **(SLOW | options))


# -- who counts ------------------------------------------------------------------------------------


async def test_the_preferred_source_counts_and_each_event_bears_it() -> None:
    one, two, feed = pair()
    async with Taken(feed) as taken:
        two.give(tick(1.0))
        await asyncio.sleep(0.05)
        assert not taken.ticks() and feed.active == {}
        one.give(tick(1.1), quote(1.2, 99.0, 101.0), tick(1.3))
        await taken.until(lambda: len(taken.events) == 3)
        assert {event.source for event in taken.events} == {"one"}
        assert feed.active == {"A": "one"}
        assert taken.told() == [("one", 1.1), ("one", 1.3)]
        assert not taken.of(Gap) and not feed.switches


async def test_a_switch_gives_the_newest_of_the_other_and_a_gap_between_the_two(caplog) -> None:
    one, two, feed = pair()
    async with Taken(feed) as taken:
        one.give(tick(1.0, 100.0))
        await taken.until(lambda: len(taken.events) == 1)
        two.give(tick(0.5, 99.0), tick(1.5, 101.0, size=4.0), quote(1.6, 100.0, 102.0))
        await asyncio.sleep(0.05)
        with caplog.at_level(logging.WARNING, "qfkit.feeds"):
            one.turn("connecting")
            await taken.until(lambda: len(taken.events) == 4)
        assert "A: one is connecting, two goes on" in caplog.text
        first, gap, trade, book = taken.events
        assert (gap.start_ns, gap.end_ns) == (first.time_ns, BEGAN_NS + round(1.5 * SECOND))
        assert gap.reason == "one is connecting: two goes on"
        assert (trade.source, trade.price, trade.size, trade.flag) == ("two", 101.0, 4.0, "backfilled")
        assert (book.source, book.bid) == ("two", 100.0)
        received = [event.received_ns for event in taken.events]
        assert received == sorted(received)
        two.give(tick(1.7, 102.0))
        await taken.until(lambda: len(taken.events) == 5)
        assert taken.events[-1].flag is None
        assert feed.active == {"A": "two"}
        assert feed.state == "live"


async def test_an_older_price_is_never_given_as_new() -> None:
    one, two, feed = pair()
    async with Taken(feed) as taken:
        one.give(tick(2.0, 100.0))
        await taken.until(lambda: len(taken.events) == 1)
        two.give(tick(1.0, 90.0))
        await asyncio.sleep(0.05)
        one.turn("closed")
        await taken.until(lambda: feed.active == {"A": "two"})
        # The second bears the time of a trade that was given: another source told of that volume.
        two.give(tick(1.5, 91.0), tick(2.0, 92.0), quote(1.9, 80.0, 81.0))
        two.give(tick(2.5, 101.0))
        await taken.until(lambda: len(taken.ticks()) == 2)
        assert taken.told() == [("one", 2.0), ("two", 2.5)]
        assert not taken.of(Quote)
        (gap,) = taken.of(Gap)
        assert (gap.end_ns - gap.start_ns) == round(0.5 * SECOND)
        health = feed.health
        assert health.set_index("source").loc["two", "late"] == 3
        assert feed.view().late == 3


async def test_a_quote_with_the_time_of_its_receipt_is_not_measured_by_the_clock_of_the_exchange() -> None:
    one, two, feed = pair()
    async with Taken(feed) as taken:
        one.give(tick(5.0), quote(3.0, 99.0, 101.0, is_timed=False))  # a local clock that is two seconds behind
        await taken.until(lambda: len(taken.events) == 2)
        one.turn("connecting")
        await taken.until(lambda: feed.active == {"A": "two"})
        two.give(quote(2.9, 98.0, 99.0, is_timed=False), quote(3.1, 98.0, 100.0, is_timed=False), tick(5.1))
        await taken.until(lambda: len(taken.ticks()) == 2)
        assert [one.bid for one in taken.of(Quote)] == [99.0, 98.0]
        assert taken.of(Quote)[1].ask == 100.0


async def test_a_silent_source_is_left_only_while_another_goes_on() -> None:
    one, two, feed = pair(**QUICK | {"recover_after_s": 60.0})
    async with Taken(feed) as taken:
        one.give(tick(0.0))
        two.give(tick(0.001))  # later by a moment, and then both are silent
        await asyncio.sleep(0.8)
        assert feed.active == {"A": "one"} and feed.state == "live"
        began_s = time.monotonic()
        step = 0
        while feed.active == {"A": "one"} and time.monotonic() - began_s < 3.0:
            step += 1
            two.give(tick(1.0 + step / 100))
            await asyncio.sleep(0.02)
        assert feed.active == {"A": "two"}
        await taken.until(lambda: len(taken.of(Gap)) == 1)
        assert "one is stale: nothing new for 0.4 s while another goes on" in taken.of(Gap)[0].reason
        assert feed.health.set_index("source")["state"].to_dict() == {"one": "stale", "two": "live"}
        assert feed.health.set_index("source")["active"].to_dict() == {"one": False, "two": True}


async def test_the_same_events_sent_again_and_again_are_silence() -> None:
    one, two, feed = pair(**QUICK | {"recover_after_s": 60.0})
    async with Taken(feed) as taken:
        one.give(tick(0.0))
        await taken.until(lambda: feed.active == {"A": "one"})
        for step in range(100):
            one.give(tick(0.0))
            two.give(tick(step / 100))
            await asyncio.sleep(0.02)
            if feed.active == {"A": "two"}:
                break
        assert feed.active == {"A": "two"}


async def test_the_preferred_one_comes_back_after_it_has_been_well_for_a_while() -> None:
    one, two, feed = pair(**QUICK | {"recover_after_s": 0.6})
    async with Taken(feed) as taken:
        one.give(tick(0.0))
        await taken.until(lambda: feed.active == {"A": "one"})
        one.turn("connecting")
        await taken.until(lambda: feed.active == {"A": "two"})
        two.give(tick(1.0))
        one.turn("live")
        well_s = time.monotonic()
        step = 0
        while feed.active == {"A": "two"} and time.monotonic() - well_s < 5.0:
            step += 1
            one.give(tick(1.0 + step / 100 + 0.001))
            two.give(tick(1.0 + step / 100))
            await asyncio.sleep(0.02)
        assert 0.55 <= time.monotonic() - well_s <= 3.0
        assert [switch.source for _, switch in feed.switches] == ["two", "one"]
        assert feed.switches[-1][1].reason == "gives way, one is well again"
        one.give(tick(9.0))
        await taken.until(lambda: taken.told()[-1] == ("one", 9.0))
        times = [seconds for _, seconds in taken.told()]
        assert times == sorted(times) and len(set(times)) == len(times)
        assert len(taken.of(Gap)) == 2


async def test_nobody_is_called_silent_while_this_loop_stood_still() -> None:
    one, two, feed = pair(**QUICK)
    async with Taken(feed) as taken:
        one.give(tick(0.0))
        await taken.until(lambda: feed.active == {"A": "one"})
        time.sleep(1.5)  # noqa: ASYNC251 - what a cell of the user's does on the same loop
        for step in range(20):
            two.give(tick(1.0 + step / 100))
            await asyncio.sleep(0.02)
        one.give(tick(2.0))
        await taken.until(lambda: len(taken.ticks()) == 2)
        assert feed.active == {"A": "one"} and not feed.switches


async def test_a_frozen_price_is_a_lie_when_the_other_moves_and_none_when_it_does_not() -> None:
    one, two, feed = pair(**QUICK | {"recover_after_s": 60.0})
    async with Taken(feed) as taken:
        for step in range(40):
            one.give(tick(step / 100, 100.0))
            two.give(tick(step / 100, 100.0))
            await asyncio.sleep(0.02)
        assert feed.active == {"A": "one"} and not feed.switches
        for step in range(40, 140):
            one.give(tick(step / 100, 100.0))
            two.give(tick(step / 100 + 0.001, 100.0 + step % 7))
            await asyncio.sleep(0.02)
            if feed.switches:
                break
        assert feed.active == {"A": "two"}
        assert feed.switches[0][1].reason == "is frozen: one price for 0.5 s while the price of another moved"
        assert taken.ticks()[-1].source == "two"


async def test_in_a_closed_market_silence_is_no_reason() -> None:
    one, two, feed = pair(**QUICK)
    now_ns = time.time_ns()
    async with Taken(feed) as taken:
        one.give(Hours("A", now_ns, ((now_ns - 20 * SECOND, now_ns - 10 * SECOND),), "XNYS"), tick(0.0))
        await taken.until(lambda: feed.active == {"A": "one"})
        for step in range(40):
            two.give(tick(1.0 + step / 100))
            await asyncio.sleep(0.02)
        assert feed.active == {"A": "one"}
        now_ns = time.time_ns()
        one.give(Hours("A", now_ns, ((now_ns - SECOND, now_ns + 3_600 * SECOND),), "XNYS"))
        for step in range(40, 100):
            two.give(tick(1.0 + step / 100))
            await asyncio.sleep(0.02)
            if feed.switches:
                break
        assert feed.active == {"A": "two"}
        assert len(taken.of(Hours)) == 2


async def test_each_symbol_has_a_source_of_its_own() -> None:
    one, two = ScriptedFeed("one", ["A", "B"]), ScriptedFeed("two", ["A", "B", "C"])
    feed = FailoverFeed([one, two], **SLOW)
    assert feed.symbols == ("A", "B", "C")
    async with Taken(feed) as taken:
        one.give(tick(1.0), tick(1.0, symbol="B"))
        two.give(tick(1.0, symbol="C"))
        await taken.until(lambda: len(feed.active) == 3)
        one.ledger.turn("stale", ["A"])
        one.ledger.turn("connecting", ["B"])
        await taken.until(lambda: feed.active["B"] == "two")
        assert feed.active == {"A": "one", "B": "two", "C": "two"}
        assert list(feed.health.index) == ["A", "A", "B", "B", "C"]
        assert [(view.symbol, view.source) for view in feed.view().symbols][-1] == ("C", "two")


# -- what is given ----------------------------------------------------------------------------------


async def test_symbols_spelt_differently_come_under_one_name() -> None:
    one, two = ScriptedFeed("one", ["BTCUSDT"]), ScriptedFeed("two", ["BTC-USD", "ETH-USD"])
    asked = []

    class History:
        name, timeframes = "two", ("1m",)

        async def bars(self, symbol, timeframe, start_ns, end_ns):
            asked.append(symbol)
            yield None

        async def close(self):
            pass

    two.history = History()
    feed = FailoverFeed([one, two], symbols={"BTCUSDT": ("BTCUSDT", "BTC-USD")}, **SLOW)
    assert feed.symbols == ("BTCUSDT", "ETH-USD")
    async with Taken(feed) as taken:
        one.give(tick(1.0, symbol="BTCUSDT"))
        two.give(tick(1.0, symbol="ETH-USD"))
        await taken.until(lambda: len(feed.active) == 2)
        one.turn("closed")
        await taken.until(lambda: feed.active["BTCUSDT"] == "two")
        two.give(tick(2.0, symbol="BTC-USD"))
        await taken.until(lambda: taken.told("BTCUSDT") == [("one", 1.0), ("two", 2.0)])
        assert list(feed.health.index) == ["BTCUSDT", "BTCUSDT", "ETH-USD"]
    source = feed.history_source()
    assert [page async for page in source.bars("BTCUSDT", "1m", 0, 1)] == [None]
    assert asked == ["BTC-USD"] and source.name == "two"


async def test_the_book_is_that_of_the_source_that_counts() -> None:
    one, two, feed = pair()
    async with Taken(feed) as taken:
        book = Depth("A", ((99.0, 1.0),), ((101.0, 2.0),), BEGAN_NS, BEGAN_NS)
        one.give(book)  # before anything counts
        one.give(tick(1.0))
        await taken.until(lambda: len(taken.ticks()) == 1)
        two.give(book, tick(1.1))
        one.give(book, tick(1.2))
        await taken.until(lambda: len(taken.ticks()) == 2)
        assert [event.source for event in taken.events if type(event) is Depth] == ["one"]


async def test_feeds_of_one_name_are_told_apart() -> None:
    one, two = ScriptedFeed("same"), ScriptedFeed("same")
    feed = FailoverFeed([one, two], **SLOW)
    async with Taken(feed) as taken:
        one.give(tick(1.0))
        await taken.until(lambda: feed.active == {"A": "same"})
        one.turn("closed")
        await taken.until(lambda: feed.active == {"A": "same 2"})


async def test_closed_bars_that_follow_each_other_are_all_given_and_leave_no_gap() -> None:
    one, two, feed = pair()
    one.timeframe = two.timeframe = "1m"
    feed = FailoverFeed([one, two], **SLOW)
    assert feed.timeframe == "1m"
    async with Taken(feed) as taken:
        one.give(bar(0, 100.0), bar(1, 101.0))
        two.give(bar(0, 100.5), bar(1, 101.5), bar(2, 102.5), bar(3, 103.5))
        await taken.until(lambda: len(taken.events) == 2)
        one.turn("closed")
        await taken.until(lambda: len(taken.events) == 4)
        assert [(one.source, one.close) for one in taken.events] == [
            ("one", 100.0), ("one", 101.0), ("two", 102.5), ("two", 103.5),
        ]  # fmt: skip
        two.give(bar(5, 105.5))
        await taken.until(lambda: len(taken.events) == 5)
        assert not taken.of(Gap)


async def test_steps_and_hours_are_of_the_most_preferred_feed_and_come_once() -> None:
    one, two, feed = pair()
    async with Taken(feed) as taken:
        two.give(Instrument("A", BEGAN_NS, price_step=0.5))
        await asyncio.sleep(0.05)
        assert not taken.events
        one.give(Instrument("A", BEGAN_NS, price_step=0.01), tick(1.0))
        one.give(Instrument("A", BEGAN_NS + 5, price_step=0.01))
        two.give(Instrument("A", BEGAN_NS, price_step=0.25))
        one.give(tick(1.1))
        await taken.until(lambda: len(taken.ticks()) == 2)
        assert [one.price_step for one in taken.of(Instrument)] == [0.01]


async def test_steps_of_the_second_are_taken_where_the_first_has_none() -> None:
    one, two, feed = pair()
    async with Taken(feed) as taken:
        two.give(Instrument("A", BEGAN_NS, price_step=0.5))
        one.give(tick(1.0))
        await taken.until(lambda: len(taken.events) == 2)
        assert [one.price_step for one in taken.of(Instrument)] == [0.5]


async def test_a_split_that_both_tell_happens_once() -> None:
    one, two, feed = pair()
    day_ns = BEGAN_NS // (86_400 * SECOND) * 86_400 * SECOND
    async with Taken(feed) as taken:
        two.give(CorporateAction("A", day_ns + 10, BEGAN_NS, split=4.0))
        await taken.until(lambda: len(taken.events) == 1)
        one.give(CorporateAction("A", day_ns, BEGAN_NS, split=4.0, dividend=0.25))
        two.give(CorporateAction("A", day_ns + 10, BEGAN_NS, dividend=0.25))
        two.give(CorporateAction("A", day_ns + 10, BEGAN_NS, split=4.0))
        one.give(tick(1.0))
        await taken.until(lambda: len(taken.ticks()) == 1)
        assert sorted((one.split, one.dividend) for one in taken.of(CorporateAction)) == [(1.0, 0.25), (4.0, 0.0)]


async def test_time_goes_on_only_as_far_as_in_every_source_that_is_followed() -> None:
    one, two = ScriptedFeed("one", ["A"]), ScriptedFeed("two", ["A", "B"])
    feed = FailoverFeed([one, two], **SLOW)

    def beat(seconds: float) -> Heartbeat:
        time_ns = BEGAN_NS + round(seconds * SECOND)
        return Heartbeat(time_ns, time_ns)

    def beats() -> list[float]:
        return [round((one.time_ns - BEGAN_NS) / SECOND, 3) for one in taken.of(Heartbeat)]

    async with Taken(feed) as taken:
        one.give(tick(1.0))
        two.give(tick(1.0, symbol="B"))
        await taken.until(lambda: len(feed.active) == 2)
        one.give(beat(5.0))  # of the other one nothing is known after its trade
        await taken.until(lambda: beats() == [1.0])
        two.give(beat(3.0))
        await taken.until(lambda: beats() == [1.0, 3.0])
        one.turn("connecting")
        await taken.until(lambda: feed.active["A"] == "two")
        two.give(beat(9.0))
        await taken.until(lambda: beats() == [1.0, 3.0, 9.0])


async def test_impossible_events_do_not_count_as_life_and_are_shown() -> None:
    one, two, feed = pair()
    async with Taken(feed) as taken:
        one.give(tick(1.0, -5.0), tick(2.0))
        await taken.until(lambda: len(taken.events) == 1)
        assert feed.health.iloc[0]["rejected"] == 1
        assert feed.view().bad == 1
        assert [one.error for one in feed.take_rejected()] == ["tick of A: price -5.0 is not above zero and finite"]


async def test_a_time_from_the_future_does_not_silence_the_others() -> None:
    one, two, feed = pair()
    async with Taken(feed) as taken:
        now_ns = time.time_ns()
        one.give(Tick("A", 100.0, 1.0, now_ns + 30 * 86_400 * SECOND, now_ns))
        await taken.until(lambda: len(taken.events) == 1)
        one.turn("closed")
        await taken.until(lambda: feed.active == {"A": "two"})
        two.give(tick((time.time_ns() - BEGAN_NS) / SECOND + 6.0))
        await taken.until(lambda: len(taken.ticks()) == 2)


async def test_handlers_hear_it_all_and_a_slow_one_loses_no_trade() -> None:
    one, two, feed = pair()
    heard: list = []

    async def slow(event) -> None:
        heard.append(event)
        await asyncio.sleep(0.001)

    feed.add_message_handler(slow)
    for step in range(100):
        one.give(tick(step / 100))
        two.give(tick(step / 100))
    streaming = asyncio.create_task(feed.start_streaming())
    async with asyncio.timeout(5):
        while len(heard) < 100:
            await asyncio.sleep(0.01)
    await feed.stop()
    await asyncio.wait_for(streaming, 1)
    assert [one.source for one in heard] == ["one"] * 100


async def test_cancelling_ends_all_at_once() -> None:
    one, two, feed = pair()
    streaming = asyncio.create_task(feed.start_streaming())
    await asyncio.sleep(0.05)
    streaming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(streaming, 0.5)
    await asyncio.sleep(0)
    assert not one._is_open and not two._is_open
    assert asyncio.all_tasks() == {asyncio.current_task()}


# -- feeds that fail --------------------------------------------------------------------------------


async def test_one_that_fails_at_the_start_is_tried_again_and_the_other_goes_on(caplog) -> None:
    one, two, feed = pair(recover_after_s=0.2)
    one.fail(ConnectionFailedError("no network here"))
    async with Taken(feed) as taken:
        two.give(tick(1.0))
        await taken.until(lambda: taken.told() == [("two", 1.0)])
        assert "one failed (no network here), it is tried again in" in caplog.text
        one.fail(None)
        await taken.until(lambda: one.starts > 1 and one.state == "live")
        one.give(tick(2.0))
        await asyncio.sleep(0.1)
        one.give(tick(2.5))
        await taken.until(lambda: feed.active == {"A": "one"})
        assert taken.told()[-1] == ("one", 2.5)


async def test_all_that_fail_at_the_start_are_named() -> None:
    one, two, feed = pair()
    one.fail(ConnectionFailedError("no network here"))
    two.fail(FeedError("the key is not known"))
    with pytest.raises(ConnectionFailedError, match="one: no network here; two: the key is not known"):
        async with asyncio.timeout(5):
            await feed.start_streaming()
    assert feed.state == "closed"


async def test_one_that_fails_in_the_middle_is_replaced_and_tried_again() -> None:
    one, two, feed = pair()
    async with Taken(feed) as taken:
        one.give(tick(1.0))
        await taken.until(lambda: feed.active == {"A": "one"})
        one.break_once(FeedError("it broke"))
        await taken.until(lambda: feed.active == {"A": "two"})
        two.give(tick(2.0))
        await taken.until(lambda: len(taken.ticks()) == 2)
        assert taken.of(Gap)[0].reason == "one failed (it broke): two goes on"
        await taken.until(lambda: one.starts == 2)
        # Nobody is left: it is waited for, not given up.
        one.fail(FeedError("again"))
        two.fail(FeedError("also"))
        await taken.until(lambda: feed.state == "connecting")
        two.fail(None)
        await taken.until(lambda: feed.state == "live")


async def test_a_mistake_in_a_feed_is_not_hidden() -> None:
    one, two, feed = pair()
    two.fail(TypeError("a mistake"))
    with pytest.raises(TypeError, match="a mistake"):
        async with asyncio.timeout(5):
            await feed.start_streaming()


async def test_a_symbol_that_one_feed_lacks_comes_of_the_other() -> None:
    one, two = ScriptedFeed("one", ["A", "B"]), ScriptedFeed("two", ["A", "B"])
    feed = FailoverFeed([one, two], **SLOW)
    one.fail(SymbolError("there is no 'B' here. Did you mean 'A'?"))
    async with Taken(feed) as taken:
        two.give(tick(1.0), tick(1.0, symbol="B"))
        await taken.until(lambda: feed.active == {"A": "two", "B": "two"})
        assert one.starts == 1
        assert list(feed.health["source"]) == ["two", "two"]


async def test_a_symbol_that_no_feed_has_is_an_error() -> None:
    one, two, feed = pair()
    one.fail(SymbolError("there is no 'A'"))
    two.fail(SymbolError("'A' is not known"))
    with pytest.raises(SymbolError, match="no feed has 'A'. one: there is no 'A'; two: 'A' is not known"):
        async with asyncio.timeout(5):
            await feed.start_streaming()


async def test_feeds_with_an_end_end_it() -> None:
    one, two = ScriptedFeed("one", is_live=False), ScriptedFeed("two", is_live=False)
    feed = FailoverFeed([one, two], **SLOW)
    one.give(tick(1.0))
    one.end()
    two.end()
    batches = [batch async for batch in feed]
    assert [event.price for batch in batches for event in batch] == [100.0]


def test_arguments_that_make_no_sense_say_so() -> None:
    one, two, _ = pair()
    with pytest.raises(ParameterError, match="give two or more different feeds"):
        FailoverFeed([one, one])
    with pytest.raises(ParameterError, match=r"stale_after_s=0.0 must be above zero"):
        FailoverFeed([one, two], stale_after_s=0.0)
    with pytest.raises(ParameterError, match="needs one spelling for each of the 2 feeds"):
        FailoverFeed([one, two], symbols={"A": ("A",)})
    with pytest.raises(ParameterError, match="two has no 'AA'. Did you mean 'A'"):
        FailoverFeed([one, two], symbols={"A": ("A", "AA")})
    two.timeframe = "1m"
    with pytest.raises(ParameterError, match="one gives ticks, two gives 1m"):
        FailoverFeed([one, two])


def test_it_is_made_again_from_its_recipe() -> None:
    one = BinanceFeed(["BTCUSDT"], stream_url="ws://127.0.0.1:9")
    two = qf.SyntheticFeed(["BTC-USD"], seed=3)
    feed = FailoverFeed([one, two], stale_after_s=5.0, symbols={"BTCUSDT": ("BTCUSDT", "BTC-USD")})
    again = feed_of(feed.recipe(), feed.label)
    assert isinstance(again, FailoverFeed)
    assert again.recipe() == feed.recipe()
    assert again.symbols == ("BTCUSDT",) and again.patience == feed.patience
    assert FailoverFeed([one, ScriptedFeed("no recipe", ["BTCUSDT"])]).recipe() is None


# -- whatever happens -------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tick"), st.integers(0, 1), st.integers(0, 3), st.sampled_from([100.0, 100.1, 101.0, 102.0])),
        st.tuples(st.just("quote"), st.integers(0, 1), st.integers(0, 3), st.sampled_from([100.0, 100.1, 101.0])),
        st.tuples(st.just("turn"), st.integers(0, 1), st.booleans(), st.none()),
        st.tuples(st.just("wait"), st.floats(0.1, 3.0), st.none(), st.none()),
    ),
    max_size=80,
)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_times_never_run_back_and_the_active_source_is_a_well_one(steps) -> None:
    choice = Choice("A", ["one", "two"], Patience(4.0, 6.0, 3.0), 0.0)
    now_s, seconds, out, late = 0.0, [0, 0], [], 0
    for what, place, value, price in steps:
        # No event is from the future: such a one must not make all later ones old.
        now_ns = BEGAN_NS + round(max(now_s, max(seconds) + 3) * SECOND)
        if what == "wait":
            now_s += place
        elif what == "turn":
            choice.sources[place].turn(is_up=value, trouble="" if value else "is down", now_s=now_s)
        else:
            seconds[place] += value
            event = tick(seconds[place], price) if what == "tick" else quote(seconds[place], price, price + 1.0)
            late += not choice.take(place, event, now_s, now_ns, out)
        choice.look(now_s, now_ns, out)
        active = choice.active
        well = [source for source in choice.sources if not source.fault]
        assert active is None or not active.fault or not well
    times = [event.time_ns for event in out if type(event) is not Gap]
    assert times == sorted(times)
    gaps = [event for event in out if type(event) is Gap]
    assert all(gap.start_ns <= gap.end_ns for gap in gaps)
    sources = [event.source for event in out if type(event) is not Gap]
    changes = sum(one != two for one, two in zip(sources, sources[1:], strict=False))
    assert changes <= len(gaps) <= len(choice.switches)
    for event, after in zip(out, out[1:], strict=False):
        if type(event) is Tick and type(after) is Tick and event.source != after.source:
            pytest.fail("two sources with no gap between them")
    assert len([event for event in out if type(event) is Tick]) + late <= len(steps)


# -- on real sockets --------------------------------------------------------------------------------

EAGER = {"backoff_s": 0.02, "stale_after_s": 1.0, "connect_timeout_s": 0.5}


def binance(server: ExchangeServer, *symbols: str) -> BinanceFeed:
    return BinanceFeed(symbols or ("BTCUSDT",), stream_url=server.url, rest_url=server.rest_url, **EAGER)


class Market:
    """Two exchanges that trade the same, a little apart."""

    def __init__(self, *servers: ExchangeServer) -> None:
        self.servers = servers
        self.frozen: float | None = None
        self._chance = random.Random(5)

    async def run(self) -> None:
        price = 100.0
        while True:
            price *= 1.0 + self._chance.choice((-0.002, 0.002))
            for server in self.servers:
                for symbol, market in server.exchange.markets.items():
                    is_lying = self.frozen is not None and server is self.servers[0]
                    market.price = self.frozen if is_lying else price
                    for stream, data in server.exchange.trade(symbol):
                        if is_lying and "p" in data:
                            data["p"] = f"{self.frozen:.8f}"
                        if is_lying and "b" in data:
                            data |= {"b": f"{self.frozen - 0.01:.8f}", "a": f"{self.frozen + 0.01:.8f}"}
                        await server.tell(stream, data)
            await asyncio.sleep(0.02)


@pytest.fixture
async def market():
    async with ExchangeServer(Exchange()) as first, ExchangeServer(Exchange(seed=8)) as second:
        market = Market(first, second)
        trading = asyncio.create_task(market.run())
        yield market
        trading.cancel()
        await asyncio.wait({trading})


def check_order(taken: Taken, symbol: str = "BTCUSDT") -> None:
    """No time runs back, no trade comes twice, and every change of the source lies behind a gap."""
    ticks = taken.ticks(symbol)
    times = [one.time_ns for one in ticks]
    assert times == sorted(times)
    keys = [(one.source, one.trade_id) for one in ticks]
    assert len(set(keys)) == len(keys)
    changes = [one.source != two.source for one, two in zip(ticks, ticks[1:], strict=False)]
    gaps = [gap for gap in taken.of(Gap) if gap.symbol == symbol and "goes on" in gap.reason]
    assert sum(changes) == len(gaps)
    received = [event.received_ns for event in taken.events if type(event) is not Bar]
    assert received == sorted(received)


async def test_a_primary_that_dies_and_comes_back(market: Market) -> None:
    first, second = market.servers
    feed = FailoverFeed([binance(first), binance(second)], **QUICK)
    async with Taken(feed) as taken:
        await taken.until(lambda: len(taken.ticks("BTCUSDT")) > 10)
        assert feed.active == {"BTCUSDT": "binance"}
        first.refuse = HTTPStatus.SERVICE_UNAVAILABLE
        await first.drop("abort")
        await taken.until(lambda: feed.active == {"BTCUSDT": "binance 2"}, 1.0)
        count = len(taken.ticks("BTCUSDT"))
        await taken.until(lambda: len(taken.ticks("BTCUSDT")) > count + 10)
        first.refuse = None
        await taken.until(lambda: feed.active == {"BTCUSDT": "binance"})
        count = len(taken.ticks("BTCUSDT"))
        await taken.until(lambda: len(taken.ticks("BTCUSDT")) > count + 10)
        check_order(taken)
        health = feed.health
        assert list(health["source"]) == ["binance", "binance 2"]
        assert list(health["active"]) == [True, False]
        assert health.iloc[0]["reconnects"] == 1
        assert feed.view().reconnects == 1
        assert [one.symbol for one in taken.of(Instrument)] == ["BTCUSDT"]


async def test_a_primary_that_is_dead_from_the_start(market: Market) -> None:
    first, second = market.servers
    first.refuse = HTTPStatus.SERVICE_UNAVAILABLE
    feed = FailoverFeed([binance(first), binance(second)], **QUICK)
    async with Taken(feed) as taken:
        await taken.until(lambda: len(taken.ticks("BTCUSDT")) > 10)
        assert feed.active == {"BTCUSDT": "binance 2"}
        first.refuse = None
        await taken.until(lambda: feed.active == {"BTCUSDT": "binance"}, 10.0)
        await taken.until(lambda: taken.ticks("BTCUSDT")[-1].source == "binance")
        check_order(taken)


async def test_a_primary_that_is_silent_for_one_symbol(market: Market) -> None:
    first, second = market.servers
    feed = FailoverFeed([binance(first, "BTCUSDT", "ETHUSDT"), binance(second, "BTCUSDT", "ETHUSDT")], **QUICK)
    async with Taken(feed) as taken:
        await taken.until(lambda: len(taken.ticks("ETHUSDT")) > 10 and len(taken.ticks("BTCUSDT")) > 10)
        first.mute_symbols = {"ETHUSDT"}
        await taken.until(lambda: feed.active == {"BTCUSDT": "binance", "ETHUSDT": "binance 2"}, 2.0)
        count = len(taken.of(Heartbeat))
        await taken.until(lambda: len(taken.of(Heartbeat)) > count)
        check_order(taken)
        check_order(taken, "ETHUSDT")
        assert all(one.source == "binance" for one in taken.ticks("BTCUSDT"))


async def test_a_primary_that_lies(market: Market) -> None:
    first, second = market.servers
    feed = FailoverFeed([binance(first), binance(second)], **QUICK)
    async with Taken(feed) as taken:
        await taken.until(lambda: len(taken.ticks("BTCUSDT")) > 10)
        market.frozen = 100.0
        await taken.until(lambda: feed.active == {"BTCUSDT": "binance 2"}, 3.0)
        assert "one price for 0.5 s" in feed.switches[0][1].reason
        await taken.until(lambda: taken.ticks("BTCUSDT")[-1].source == "binance 2")
        market.frozen = None
        await taken.until(lambda: feed.active == {"BTCUSDT": "binance"}, 3.0)
        check_order(taken)


async def test_symbols_come_and_go_while_it_runs(market: Market) -> None:
    first, second = market.servers
    feed = FailoverFeed([binance(first), binance(second)], **QUICK)
    async with Taken(feed) as taken:
        await taken.until(lambda: len(taken.ticks("BTCUSDT")) > 3)
        await feed.subscribe("ETHUSDT")
        await taken.until(lambda: len(taken.ticks("ETHUSDT")) > 3)
        assert feed.symbols == ("BTCUSDT", "ETHUSDT")
        with pytest.raises(SymbolError, match="no feed has 'NOPEUSDT'"):
            await feed.subscribe(["NOPEUSDT"])
        await feed.unsubscribe("BTCUSDT")
        assert feed.active == {"ETHUSDT": "binance"}
        count = len(taken.ticks("ETHUSDT"))
        await taken.until(lambda: len(taken.ticks("ETHUSDT")) > count + 5)
        assert {part.symbols for part in feed.parts} == {("ETHUSDT",)}


async def test_a_paper_session_over_a_switch_is_the_same_when_replayed(market: Market) -> None:
    first, second = market.servers
    feed = FailoverFeed([binance(first), binance(second)], **QUICK)
    strategy = qf.MovingAverageCrossover(fast=2, slow=5)
    session = qf.paper(strategy, feed, cash=100_000, timeframe="1s", name="failover").start()
    try:
        async with asyncio.timeout(10):
            while feed.active != {"BTCUSDT": "binance"}:
                await asyncio.sleep(0.02)
            await asyncio.sleep(1.0)
            first.is_silent = True
            while feed.active != {"BTCUSDT": "binance 2"}:
                await asyncio.sleep(0.02)
            await asyncio.sleep(1.5)
    finally:
        await asyncio.to_thread(session.stop)
    assert session.state == "stopped"
    assert len(session.bars) >= 2
    assert await asyncio.to_thread(session.verify)
