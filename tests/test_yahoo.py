"""Yahoo's stream: real frames, a server that freezes other clients, prices of the past, volume, hours."""

import asyncio
import base64
import json
import time
from contextlib import aclosing, suppress
from http import HTTPStatus
from math import isnan
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qfkit as qf
from qfkit.core.events import Gap, Hours, Quote, Tick
from qfkit.errors import ConnectionFailedError, MalformedFrameError, SymbolError
from qfkit.feeds.calendars import is_open
from qfkit.feeds.yahoo import YahooFeed, YahooFinanceWebSocket, probe
from qfkit.feeds.yahoo_frames import Pricing, parse_frame
from tests.servers.yahoo import YahooServer, encode_pricing

EAGER = {"backoff_s": 0.02, "connect_timeout_s": 2.0, "stale_after_s": 2.0}


class Taken:
    """What a feed gives while a test goes on, and whether the loop keeps turning meanwhile."""

    def __init__(self, feed: YahooFeed) -> None:
        self.feed = feed
        self.events: list = []
        self.turns = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._take())
        self._clock = asyncio.create_task(self._turn())
        await self.until(lambda: self.feed.state == "live")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.feed.stop()
        await asyncio.wait_for(self._task, 3)
        self._clock.cancel()

    async def _take(self) -> None:
        async with aclosing(self.feed.events()) as batches:
            async for batch in batches:
                self.events += batch

    async def _turn(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            self.turns += 1

    async def until(self, holds, timeout_s: float = 8.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not holds():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    def ticks(self, symbol: str = "AAPL") -> list[Tick]:
        return [event for event in self.events if type(event) is Tick and event.symbol == symbol]


def feed_of(server: YahooServer, *symbols: str, **options) -> YahooFeed:
    return YahooFeed(symbols or ("AAPL",), stream_url=server.url, **(EAGER | options))


def now_ms(back_s: float = 0.0) -> int:
    return (time.time_ns() // 10**9 - round(back_s)) * 1_000


# -- frames ------------------------------------------------------------------------------------


def test_every_real_frame_decodes_to_its_recorded_fields(data_folder) -> None:
    lines = (data_folder / "yahoo" / "frames.jsonl").read_text().splitlines()
    assert len(lines) >= 10
    for line in lines:
        recorded = json.loads(line)
        for payload in (json.dumps(recorded["envelope"]), recorded["envelope"]["message"].encode()):
            pricing = parse_frame(payload, 0)
            assert pricing is not None
            fields = recorded["fields"]
            assert (pricing.symbol, pricing.price, pricing.time_ns) == (
                fields["id"], fields["price"], int(fields["time"]) * 10**6,
            )  # fmt: skip
            assert (pricing.market_hours or 0) == fields.get("market_hours", 0)
            assert pricing.day_volume == (int(fields["day_volume"]) if "day_volume" in fields else None)
            for name in ("currency", "exchange", "quote_type", "change_percent", "change", "day_high", "open_price"):
                assert getattr(pricing, name) == fields.get(name), name


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_the_named_error(payload: bytes) -> None:
    for text in (payload, base64.b64encode(payload), json.dumps({"type": "pricing", "message": payload.hex()})):
        with suppress(MalformedFrameError):
            assert parse_frame(text, 0) is None or isinstance(parse_frame(text, 0), Pricing)


@given(st.integers(0, 60), st.binary(min_size=1, max_size=4))
def test_a_damaged_message_is_read_or_refused(place: int, damage: bytes) -> None:
    message = bytearray(encode_pricing(id="AAPL", price=307.2, time=1_785_937_395_000, day_volume=5_422_202))
    message[place % len(message) : place % len(message) + len(damage)] = damage
    try:
        pricing = parse_frame(base64.b64encode(bytes(message)), 0)
    except MalformedFrameError:
        return
    assert pricing is None or pricing.symbol


def test_what_is_no_price_is_none_or_refused() -> None:
    assert parse_frame('{"type":"other","message":"x"}', 0) is None
    assert parse_frame(base64.b64encode(encode_pricing(id="A", price=1.0, time=1_000, quote_type=7)), 0) is None
    for text in ("!!!", "{}x", "[1]", '{"type":"pricing","message":"!!!"}', "[" * 5_000, base64.b64encode(b"\x0a\xff")):
        with pytest.raises(MalformedFrameError, match="Yahoo's"):
            parse_frame(text, 0)


# -- the stream --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_bare", [False, True])
async def test_prices_come_with_their_time_and_the_growth_of_the_days_volume(is_bare: bool) -> None:
    async with YahooServer(is_bare=is_bare) as server, Taken(feed_of(server)) as taken:
        first = now_ms(2)
        await server.price("AAPL", 307.2, time_ms=first, day_volume=1_000)
        await server.price("AAPL", 307.25, time_ms=first + 1_000, day_volume=1_049)
        await server.price("AAPL", 307.25, time_ms=first + 1_000, day_volume=1_049)
        await server.price("AAPL", 300.0, time_ms=first, day_volume=990)
        await server.price("AAPL", 308.0, time_ms=first + 2_000, day_volume=10, bid=307.9, ask=308.1, bid_size=3)
        await taken.until(lambda: len(taken.ticks()) == 3)
        ticks = taken.ticks()
        assert [tick.price for tick in ticks] == [307.2, 307.25, 308.0]
        assert isnan(ticks[0].size) and [tick.size for tick in ticks[1:]] == [49.0, 0.0]
        assert [tick.time_ns for tick in ticks] == [(first + place) * 10**6 for place in (0, 1_000, 2_000)]
        assert [tick.flag for tick in ticks] == [None] * 3
        (quote,) = [event for event in taken.events if type(event) is Quote]
        assert (quote.bid, quote.bid_size, quote.ask) == (307.9, 3.0, 308.1) and isnan(quote.ask_size)
        health = taken.feed.health.loc["AAPL"]
        assert (health.duplicates, health.late, health.events) == (1, 1, 4)
        # The canary is nobody's business.
        assert {event.symbol for event in taken.events if type(event) is Tick} == {"AAPL"}
        (hours,) = [event for event in taken.events if type(event) is Hours]
        assert (hours.symbol, hours.calendar) == ("AAPL", "XNYS")


async def test_the_first_price_of_long_ago_is_marked_as_such() -> None:
    async with YahooServer() as server:
        await server.price("AAPL", 300.0, time_ms=now_ms(200_000), day_volume=5)
        async with Taken(feed_of(server)) as taken:
            await taken.until(lambda: len(taken.ticks()) == 1)
            assert taken.ticks()[0].flag == "stale"
            await server.price("AAPL", 301.0)
            await taken.until(lambda: len(taken.ticks()) == 2)
            assert taken.ticks()[1].flag is None


@pytest.mark.parametrize("how", ["close_1000", "close_1001", "abort"])
async def test_the_end_of_a_connection_freezes_nothing_and_is_told(how: str) -> None:
    async with YahooServer() as server, Taken(feed_of(server, "AAPL", "MSFT")) as taken:
        await server.price("AAPL", 300.0, time_ms=now_ms(3))
        await taken.until(lambda: len(taken.ticks()) == 1)
        turns, began_s = taken.turns, time.monotonic()
        await server.drop(how)
        await taken.until(lambda: taken.feed.reconnects == 1)
        # The last known price again is nothing new, a later one is, with a gap before it.
        await server.price("AAPL", 301.0, time_ms=now_ms(1))
        await taken.until(lambda: len(taken.ticks()) == 2)
        passed_s = time.monotonic() - began_s
        assert taken.turns - turns > 0.4 * passed_s / 0.011
        (gap,) = [event for event in taken.events if type(event) is Gap]
        assert (gap.start_ns, gap.end_ns) == (taken.ticks()[0].time_ns, taken.ticks()[1].time_ns)
        assert taken.feed.health.loc["AAPL"].gaps_open == 1
        assert server.heard[-1]["subscribe"] == ["AAPL", "MSFT", "BTC-USD"]
        states = [state for _, state in taken.feed.transitions]
        assert states[:4] == ["connecting", "live", "connecting", "live"]


async def test_a_close_by_the_user_ends_at_once() -> None:
    async with YahooServer() as server:
        feed = feed_of(server)
        task = asyncio.create_task(feed.start_streaming())
        while feed.state != "live":
            await asyncio.sleep(0.01)
        began_s = time.monotonic()
        await feed.stop()
        await asyncio.wait_for(task, 1)
        assert time.monotonic() - began_s < 0.5


async def test_bad_frames_cost_nothing_but_a_count() -> None:
    async with YahooServer() as server, Taken(feed_of(server)) as taken:
        turns, end_s, sent = taken.turns, time.monotonic() + 1.5, 0
        while time.monotonic() < end_s:
            for text in (
                "not json",
                "{",
                '{"type":"pricing","message":"!!!"}',
                '{"type":"pricing","message":"CgRB"}',
                "[1]",
            ):
                await server.say(text)
                sent += 1
            await asyncio.sleep(0.02)
        await server.price("AAPL", 300.0)
        await taken.until(lambda: len(taken.ticks()) == 1)
        assert taken.feed.rejected_count == sent
        assert taken.feed.reconnects == 0 and taken.feed.state == "live"
        assert taken.turns - turns > 60


async def test_more_than_a_hundred_symbols_take_a_second_connection() -> None:
    names = [f"S{number}" for number in range(150)]
    async with YahooServer() as server, Taken(feed_of(server, *names)) as taken:
        await taken.until(lambda: len(server.lines) == 2 and sum(map(len, server.lines.values())) == 152)
        for name in names:
            await server.price(name, 10.0)
        await taken.until(lambda: {e.symbol for e in taken.events if type(e) is Tick} == set(names))


async def test_symbols_come_and_go_while_it_runs() -> None:
    async with YahooServer() as server, Taken(feed_of(server)) as taken:
        await taken.feed.subscribe("MSFT")
        await taken.until(lambda: any("MSFT" in one for one in server.lines.values()))
        await server.price("MSFT", 50.0)
        await taken.until(lambda: len(taken.ticks("MSFT")) == 1)
        assert [e.symbol for e in taken.events if type(e) is Hours] == ["AAPL", "MSFT"]
        await taken.feed.unsubscribe("MSFT")
        await taken.until(lambda: not any("MSFT" in one for one in server.lines.values()))


async def test_subscriptions_are_said_again() -> None:
    async with YahooServer() as server, Taken(feed_of(server, resubscribe_every_s=0.1)) as taken:
        await taken.until(lambda: len(server.heard) >= 4)
        assert all(one == {"subscribe": ["AAPL", "BTC-USD"]} for one in server.heard)


async def test_silence_is_a_fault_though_the_connection_stands() -> None:
    async with YahooServer() as server, Taken(feed_of(server, stale_after_s=0.5)) as taken:
        server.is_silent = True
        await taken.until(lambda: len(server.attempts) >= 2)
        server.is_silent = False
        await taken.until(lambda: taken.feed.state == "live")
        states = [state for _, state in taken.feed.transitions]
        assert states[:4] == ["connecting", "live", "stale", "connecting"]


async def test_no_connection_is_an_error_that_says_what_to_do() -> None:
    async with YahooServer() as server:
        server.refuse, server.retry_after = HTTPStatus.TOO_MANY_REQUESTS, "30"
        with pytest.raises(ConnectionFailedError, match=r"HTTP 429, asks to wait 30 s.*without a network"):
            await feed_of(server, connect_timeout_s=0.3).start_streaming()
        assert len(server.attempts) == 1
        assert not await probe(server.url, 0.5)
        server.refuse = None
        assert await probe(server.url, 2.0)


async def test_a_server_that_accepts_and_closes_is_not_stormed() -> None:
    async with YahooServer() as server:
        server.closes_at_once = True
        feed = YahooFeed(["AAPL"], stream_url=server.url)
        task = asyncio.create_task(feed.start_streaming())
        await asyncio.sleep(3.0)
        await feed.stop()
        await asyncio.wait_for(task, 1)
        assert 1 <= len(server.attempts) <= 6


@pytest.mark.parametrize("symbols", [[], ["A B"], [""], [1]])
def test_symbols_that_cannot_be(symbols) -> None:
    with pytest.raises(SymbolError):
        YahooFeed(symbols)


async def test_a_session_waits_for_the_open_and_replays_equal() -> None:
    class Once(qf.Strategy):
        def on_start(self) -> None:
            self.bought: set[str] = set()

        def on_tick(self, tick: qf.Tick) -> None:
            if tick.symbol not in self.bought:
                self.bought.add(tick.symbol)
                self.buy(tick.symbol, quantity=1.0)

        def on_bar(self, bar: qf.Bar) -> None:
            pass

    async with YahooServer() as server:
        session = qf.paper(Once(), feed_of(server, "AAPL", "BTC-USD"), timeframe="1s", costs=qf.Costs.ideal()).start()
        try:
            async with asyncio.timeout(8):
                while session.snapshot.fills_count < 1:
                    await server.price("AAPL", 300.0)
                    await asyncio.sleep(0.05)
        finally:
            await asyncio.to_thread(session.stop)
        assert session.verify()
        # The pair is always open; the share's order waits where its market is closed.
        orders = session.orders.set_index("symbol")
        assert orders.loc["BTC-USD", "filled"] == 1.0
        if not is_open("AAPL", session.snapshot.time_ns):
            assert orders.loc["AAPL", "filled"] == 0.0
        assert session.feed.recipe() == {
            "class": "YahooFeed", "arguments": {"symbols": ["AAPL", "BTC-USD"], "stream_url": server.url},
        }  # fmt: skip
    assert YahooFinanceWebSocket is YahooFeed
