"""A feed used alone: handlers, iteration, what is told and what is kept aside."""

import asyncio
import logging
from collections.abc import AsyncIterator
from math import nan

import pytest

from qfkit.core.events import Bar, Gap, Heartbeat, Hours, Instrument, MarketEvent, Quote, Tick
from qfkit.feeds.base import Feed
from tests.support import START, bar, quote, tick


class Given(Feed):
    """Gives the batches it was made of."""

    def __init__(self, *batches: list[MarketEvent]) -> None:
        super().__init__(["A"], label="given")
        self.batches = batches

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        for batch in self.batches:
            yield batch


MIXED: list[MarketEvent] = [
    Instrument("A", START),
    Hours("A", START, ((START, START + 1),)),
    tick(1, 100.0),
    Heartbeat(START, START),
    quote(2, 99.0, 101.0),
    bar(0, 1.0, 1.0, 1.0, 1.0),
    Gap("A", START, START + 1, START + 1),
]


async def test_handlers_plain_and_async_hear_each_tick_quote_bar_and_gap_in_order() -> None:
    feed, plain, slow = Given(MIXED[:3], MIXED[3:]), [], []

    async def handler(event: MarketEvent) -> None:
        await asyncio.sleep(0)
        slow.append(event)

    feed.add_message_handler(plain.append)
    feed.add_message_handler(handler)
    await feed.start_streaming()
    assert [type(event) for event in plain] == [Tick, Quote, Bar, Gap]
    assert slow == plain
    assert feed.state == "closed"


async def test_iteration_gives_batches_of_every_kind() -> None:
    seen = [events async for events in Given(MIXED[:3], MIXED[3:])]
    assert seen == [MIXED[:3], MIXED[3:]]


async def test_an_event_that_cannot_be_true_is_counted_by_symbol_and_not_told() -> None:
    feed = Given([tick(1, 100.0), tick(2, nan), tick(3, -1.0)], [tick(4, 0.0)], [tick(5, 101.0)])
    prices = [event.price async for events in feed for event in events]  # type: ignore[union-attr]
    assert prices == [100.0, 101.0]
    assert feed.rejected_count == 3
    health = feed.health.loc["A"]
    assert (health.rejected, health.rejected_reasons) == (3, "impossible value: 3")
    assert "price nan is not above zero" in feed.take_rejected()[0].error


async def test_a_handler_that_raises_for_ever_is_reported_some_times_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed, heard = Given([tick(number, 100.0) for number in range(50)]), []

    def wrong(event: MarketEvent) -> None:
        raise ZeroDivisionError("of my own")

    feed.add_message_handler(wrong)
    feed.add_message_handler(heard.append)
    with caplog.at_level(logging.WARNING):
        await feed.start_streaming()
    assert len(heard) == feed.handler_errors == 50
    assert caplog.text.count("ZeroDivisionError: of my own") == 20
    assert "handler_errors" in caplog.text


async def test_stop_in_a_handler_ends_the_stream_after_the_batch() -> None:
    feed, heard = Given([tick(1, 100.0)], [tick(2, 101.0)], [tick(3, 102.0)]), []

    async def handler(event: Tick) -> None:
        heard.append(event.price)
        await feed.stop()

    feed.add_message_handler(handler)
    await feed.start_streaming()
    assert heard == [100.0]


async def test_a_loop_that_is_left_closes_the_feed_and_it_can_be_used_again() -> None:
    feed = Given([tick(1, 100.0)], [tick(2, 101.0)])
    async for _ in feed:
        break
    await asyncio.sleep(0.01)
    assert feed.state == "closed"
    assert [len(events) async for events in feed] == [1, 1]
