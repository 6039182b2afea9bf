"""Binance: frames as events, and the feed against a server that goes wrong in every way."""

import asyncio
import gzip
import json
import logging
import time
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qfkit.core.events import Gap, Heartbeat, Quote, Tick
from qfkit.errors import ConnectionFailedError, FeedError, MalformedFrameError, SymbolError
from qfkit.feeds.binance import BinanceFeed, BinanceWebSocket, CaptureParser, parse_frame, probe
from qfkit.feeds.connection import Backoff, check_url, retry_after_s
from qfkit.feeds.exchange_time import ExchangeClock
from qfkit.feeds.inbox import Inbox
from tests.servers.binance import BinanceServer, Plan, frames_of_capture, quote_frame, trade_frame

FIRST_ID, LAST_ID = 3735683259, 3735693015

TRADE = (
    '{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100",'
    '"T":1672515782130,"m":true,"M":true}}'
)
AGGREGATE_TRADE = (
    '{"stream":"bnbbtc@aggTrade","data":{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":777,"p":"0.001","q":"100",'
    '"f":100,"l":105,"T":1672515782136,"m":false,"M":true}}'
)
BOOK = (
    '{"stream":"bnbusdt@bookTicker","data":{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000",'
    '"a":"25.36520000","A":"40.66000000"}}'
)


# -- frames -----------------------------------------------------------------------------------


def test_the_capture_gives_every_trade_and_quote(capture_path: Path) -> None:
    parser = CaptureParser()
    with gzip.open(capture_path) as lines:
        events = [parser.parse_line(line) for line in lines]
    ticks = [event for event in events if type(event) is Tick]
    assert len(events) == parser.lines == 41_249
    assert [tick.trade_id for tick in ticks] == list(range(FIRST_ID, LAST_ID + 1))
    assert sum(type(event) is Quote for event in events) == 28_040
    assert sum(event is None for event in events) == 3_451 + 1


def test_the_capture_agrees_with_the_json_module(capture_path: Path) -> None:
    parser = CaptureParser()
    with gzip.open(capture_path) as lines:
        for line, _ in zip(lines, range(3_000), strict=False):
            received, _, text = line.partition(b" ")
            frame, event = json.loads(text), parser.parse_line(line)
            kind, data = frame.get("stream", "").partition("@")[2], frame.get("data", {})
            if kind == "trade":
                assert event == Tick(
                    "BTCUSDT", float(data["p"]), float(data["q"]), data["T"] * 10**6, int(received), data["t"],
                    "sell" if data["m"] else "buy",
                )  # fmt: skip
            elif kind == "bookTicker":
                bid, ask = (float(data["b"]), float(data["B"])), (float(data["a"]), float(data["A"]))
                assert event == Quote("BTCUSDT", *bid, *ask, int(received), int(received))
            else:
                assert event is None


@pytest.mark.parametrize("as_bytes", [False, True])
def test_documented_frames(as_bytes: bool) -> None:
    def parse(text: str):
        return parse_frame(text.encode() if as_bytes else text, 99)

    assert parse(TRADE) == Tick("BNBBTC", 0.001, 100.0, 1672515782130 * 10**6, 99, 12345, "sell")
    assert parse(AGGREGATE_TRADE) == Tick("BNBBTC", 0.001, 100.0, 1672515782136 * 10**6, 99, 777, "buy")
    assert parse(BOOK) == Quote("BNBUSDT", 25.3519, 31.21, 25.3652, 40.66, 99, 99)
    assert parse('{"result":null,"id":1}') is None
    assert parse('{"stream":"bnbbtc@depth","data":{"e":"depthUpdate","b":[["0.0024","10"]],"a":[]}}') is None
    assert parse('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}') is None
    assert parse('{"e":"trade","E":1,"s":"A","t":1,"p":"1","q":"1","T":5,"m":false,"M":true}').time_ns == 5 * 10**6


def test_microseconds_are_told_by_their_size() -> None:
    assert parse_frame(TRADE.replace("1672515782130", "1672515782130123"), 1).time_ns == 1672515782130123 * 1_000


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"not json", b"[]", b"null", b"{}", b'{"stream":"btcusdt@trade"}', b'{"stream":"a@trade","data":{"s":"A"}}',
        b'{"stream":"\xff@trade","data":{}}', "[" * 100_000, '{"a":' * 100_000, TRADE[:-5],
        TRADE.replace('"0.001"', '"cheap"'), TRADE.replace("12345", "null"), BOOK.replace('"25.35190000"', "[]"),
        '{"code":2,"msg":"Invalid request: too many parameters"}', '{"code":3,"msg":"Invalid JSON"}',
        '{"error":{"code":2,"msg":"Invalid request"},"id":1}',
    ],
)  # fmt: skip
def test_malformed_frames_are_named_with_their_beginning(payload: bytes | str) -> None:
    with pytest.raises(MalformedFrameError, match="Binance") as caught:
        parse_frame(payload, 1)
    assert len(str(caught.value)) < 400
    start = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else payload
    assert start[:20] in str(caught.value)


@given(st.one_of(st.binary(max_size=80), st.text(max_size=80), st.integers(0, len(TRADE)).map(lambda n: TRADE[:n])))
def test_nothing_but_malformed_comes_of_noise(payload: bytes | str) -> None:
    with suppress(MalformedFrameError):
        parse_frame(payload, 1)


def test_a_capture_line_with_no_time_is_named() -> None:
    parser = CaptureParser()
    assert parser.parse_line(b"5 " + BOOK.encode() + b"\r\n").received_ns == 5
    with pytest.raises(MalformedFrameError, match="line 2 of the capture"):
        parser.parse_line(BOOK.encode())


# -- symbols and addresses --------------------------------------------------------------------


def test_symbols_are_upper_cased_and_unique() -> None:
    assert BinanceFeed(["btcusdt", "ETHUSDT", " BTCUSDT"]).symbols == ("BTCUSDT", "ETHUSDT")
    assert BinanceFeed("btcusdt").symbols == ("BTCUSDT",)
    assert BinanceWebSocket is BinanceFeed


@pytest.mark.parametrize(
    ("symbols", "fix"),
    [([], "BTCUSDT"), ("", "letters"), (["BTC/USDT"], "'BTCUSDT'"), (["FOO-BAR"], "'FOOBAR'"), ([5], "as text")],
)  # fmt: skip
def test_symbols_that_cannot_be(symbols, fix: str) -> None:
    with pytest.raises(SymbolError, match=fix):
        BinanceFeed(symbols)


@pytest.mark.parametrize(
    "url", ["ws://example.com", "http://example.com", "wss://", "wss://u:p@host", "wss://host?key=1", "wss://[", "host"]
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(FeedError):
        BinanceFeed(["BTCUSDT"], stream_url=url)
    with pytest.raises(FeedError):
        BinanceFeed(["BTCUSDT"], rest_url=url)


def test_plain_addresses_are_for_the_loopback() -> None:
    for host in ("127.0.0.1:80", "localhost:1", "[::1]:5"):
        assert check_url(f"ws://{host}/", ("wss", "ws")) == f"ws://{host}"


def test_recipe_makes_the_same_feed_again() -> None:
    feed = BinanceFeed(["BTCUSDT"], quotes=False, stream_url="ws://127.0.0.1:9")
    recipe = json.loads(json.dumps(feed.recipe()))
    again = BinanceFeed(**recipe["arguments"])
    assert (recipe["class"], again.symbols, again.label) == ("BinanceFeed", feed.symbols, feed.label)
    assert BinanceFeed(["BTCUSDT"]).recipe()["arguments"] == {
        "symbols": ["BTCUSDT"],
        "trades": "aggregate",
        "quotes": True,
    }


# -- the feed on a socket ---------------------------------------------------------------------


def feed_of(server: BinanceServer, *, symbols=("BTCUSDT",), **options) -> BinanceFeed:
    options = {"backoff_s": 0.02, "connect_timeout_s": 2.0} | options
    return BinanceFeed(symbols, trades="single", stream_url=server.url, rest_url=server.rest_url, **options)


async def read(feed: BinanceFeed, until_id: int, *, timeout_s: float = 15.0) -> list:
    """All events up to a trade."""
    events = []
    # Closed here: what is left to the garbage collector may outlive the loop, and a socket with it.
    async with asyncio.timeout(timeout_s), aclosing(feed.events()) as batches:
        async for batch in batches:
            assert batch
            events += batch
            if any(type(event) is Tick and event.trade_id >= until_id for event in batch):
                break
    await feed.stop()
    return events


def ids(events: list) -> list[int]:
    return [event.trade_id for event in events if type(event) is Tick]


def read_directly(path: Path) -> list[tuple]:
    """The capture's trades and best bids and asks as the json module and float() have them, with no code of qfkit."""
    facts = []
    with gzip.open(path) as lines:
        for line in lines:
            frame = json.loads(line.partition(b" ")[2])
            kind, data = frame.get("stream", "").partition("@")[2], frame.get("data", {})
            if kind == "trade":
                side = "sell" if data["m"] else "buy"
                facts.append((data["t"], float(data["p"]), float(data["q"]), data["T"] * 1_000_000, side))
            elif kind == "bookTicker":
                facts.append((float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"])))
    return facts


def as_facts(events: list) -> list[tuple]:
    trades_and_quotes = [event for event in events if type(event) in (Tick, Quote)]
    return [
        (event.trade_id, event.price, event.size, event.time_ns, event.side)
        if type(event) is Tick
        else (event.bid, event.bid_size, event.ask, event.ask_size)
        for event in trades_and_quotes
    ]


@pytest.mark.parametrize(
    ("speed", "compression"), [(None, None), (None, "deflate"), (20.0, "deflate")], ids=["", "compressed", "20x"]
)
async def test_the_capture_through_a_socket_is_the_file(
    capture_path: Path, speed: float | None, compression: str | None
) -> None:
    facts = read_directly(capture_path)
    while len(facts[-1]) != 5:
        facts.pop()  # the reading ends with the last trade
    async with BinanceServer(frames_of_capture(capture_path), speed=speed, compression=compression) as server:
        feed = feed_of(server)
        began_s = time.monotonic()
        events = await read(feed, LAST_ID, timeout_s=60)
        took_s = time.monotonic() - began_s
    got = as_facts(events)
    trades = [fact for fact in got if len(fact) == 5]
    assert trades == [fact for fact in facts if len(fact) == 5]
    assert ids(events) == list(range(FIRST_ID, LAST_ID + 1))
    if not feed.conflated:
        assert got[: len(facts)] == facts, "quotes and trades in their order too"
    assert speed is None or (took_s >= 346 / speed - 0.5 and not feed.conflated)
    received = [event.received_ns for event in events]
    assert received == sorted(received)
    assert (feed.gaps, feed.reconnects, feed.duplicates, feed.rejected_count) == (0, 0, 0, 0)
    assert all(event.flag is None for event in events if type(event) is Tick)
    assert server.paths == ["/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@miniTicker"]


async def test_the_stand_in_goes_round_with_no_hole() -> None:
    async with BinanceServer([trade_frame(7), trade_frame(8)], loop=True) as server:
        assert ids(await read(feed_of(server), 11))[:5] == [7, 8, 9, 10, 11]


async def test_a_slow_taker_loses_no_trade_and_keeps_the_newest_quote() -> None:
    inbox = Inbox(capacity=6, conflate_from=2)
    quote = Quote("A", 1.0, 1.0, 2.0, 1.0, 0, 0)
    tick = Tick("A", 1.0, 1.0, 0, 0)
    newer = [Quote("A", 1.0 + n / 10, 1.0, 2.0, 1.0, 0, n) for n in range(4)]
    other = Quote("B", 1.0, 1.0, 2.0, 1.0, 0, 0)
    for event in (quote, tick, *newer, other, tick):
        inbox.put(event)
    assert inbox.conflated == 4
    for _ in range(2):
        inbox.put(tick)
    assert inbox.is_full
    waiting = asyncio.create_task(inbox.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert inbox.take(3) == [tick, newer[-1], other]
    await asyncio.wait_for(waiting, 1)
    assert inbox.take(100) == [tick] * 3
    assert not inbox.wake.is_set()


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_lost_connection_is_made_again(end: str) -> None:
    frames = [trade_frame(number) for number in range(1, 61)]
    plans = [Plan(count=20, end=end), Plan(count=20, end=end), Plan()]
    async with BinanceServer(frames, plans=plans) as server:
        feed = feed_of(server)
        events = await read(feed, 60)
    assert ids(events) == list(range(1, 61))
    assert (feed.reconnects, feed.gaps, server.connections) == (2, 0, 3)
    assert len(set(server.paths)) == 1, "every connection asks for the same streams"


async def test_a_server_that_closes_at_once_is_not_stormed() -> None:
    async with BinanceServer(plans=[Plan(count=0, end="close")]) as server:
        feed = feed_of(server, backoff_s=0.001)
        with pytest.raises(TimeoutError):
            await read(feed, 1, timeout_s=1.0)
    assert 2 <= server.connections <= 10
    assert feed.state == "closed"


async def test_silence_is_a_lost_connection() -> None:
    plans = [Plan(count=1, end="silence"), Plan()]
    async with BinanceServer([trade_frame(1), trade_frame(2)], plans=plans) as server:
        feed = feed_of(server, stale_after_s=0.15)
        assert ids(await read(feed, 2)) == [1, 2]
    assert feed.reconnects == 1


async def test_a_quiet_pair_on_a_live_link_is_no_lost_connection() -> None:
    async with BinanceServer([trade_frame(1)]) as server:
        feed = feed_of(server, stale_after_s=1.5, symbols=["BTCUSDT", "ETHUSDT"])
        beats = []
        async with asyncio.timeout(5):
            async for batch in feed.events():
                beats += [event for event in batch if type(event) is Heartbeat]
                if len(beats) == 2:
                    break
        assert feed.reconnects == 0
    ahead_ns = beats[0].time_ns - (1_700_000_000_010 * 10**6)
    assert 0 < ahead_ns < 1_000_000_000, "the exchange's time goes on from the trade's, half a second held back"
    assert 0.9e9 < beats[1].time_ns - beats[0].time_ns < 1.3e9


async def test_trades_sent_again_are_dropped() -> None:
    frames = [trade_frame(number) for number in range(1, 11)]
    plans = [Plan(count=6, end="abort"), Plan(repeat=4)]
    async with BinanceServer(frames, plans=plans) as server:
        feed = feed_of(server)
        assert ids(await read(feed, 10)) == list(range(1, 11))
    assert (feed.duplicates, feed.gaps) == (4, 0)


async def test_missed_trades_are_a_gap_with_their_count_and_times() -> None:
    frames = [trade_frame(number) for number in range(1, 11)]
    plans = [Plan(count=4, end="abort"), Plan(skip=3)]
    async with BinanceServer(frames, plans=plans) as server:
        feed = feed_of(server)
        events = [event for event in await read(feed, 10) if type(event) in (Tick, Gap)]
    assert [getattr(event, "trade_id", "gap") for event in events] == [1, 2, 3, 4, "gap", 8, 9, 10]
    gap, after = events[4:6]
    assert type(gap) is Gap
    assert (gap.symbol, gap.missing, gap.received_ns) == ("BTCUSDT", 3, after.received_ns)
    assert (gap.start_ns, gap.end_ns) == (1_700_000_000_040 * 10**6, 1_700_000_000_080 * 10**6)
    assert feed.gaps == feed.view().gaps == 1


async def test_trades_of_two_symbols_are_numbered_apart() -> None:
    frames = [trade_frame(1), trade_frame(900, symbol="ETHUSDT"), trade_frame(2), trade_frame(901, symbol="ETHUSDT")]
    async with BinanceServer(frames) as server:
        feed = feed_of(server, symbols=["BTCUSDT", "ETHUSDT"], quotes=False)
        assert ids(await read(feed, 901)) == [1, 900, 2, 901]
        assert feed.gaps == 0


async def test_garbage_is_counted_and_the_feed_goes_on() -> None:
    plans = [Plan(garbage=b'{"stream":"btcusdt@trade","data":{"p":', count=2, end="close"),
             Plan(garbage=b'{"code":2,"msg":"no"}')]  # fmt: skip
    async with BinanceServer([trade_frame(1), quote_frame(1, 9.0, 10.0), trade_frame(2)], plans=plans) as server:
        feed = feed_of(server)
        assert ids(await read(feed, 2)) == [1, 2]
    rejected = feed.take_rejected()
    assert [entry.text[:8] for entry in rejected] == ['{"stream', '{"code":']
    assert feed.view().bad == 2


async def test_a_symbol_not_asked_for_is_rejected() -> None:
    stray = trade_frame(5, symbol="ETHUSDT").replace(b"ethusdt@trade", b"btcusdt@trade")
    async with BinanceServer([stray, trade_frame(1)]) as server:
        feed = feed_of(server)
        assert {event.symbol for event in await read(feed, 1)} == {"BTCUSDT"}
    assert feed.rejected_count == 1


async def test_a_notice_of_shutdown_is_a_planned_new_connection() -> None:
    notice = b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'
    async with BinanceServer([trade_frame(1), notice, trade_frame(2)], plans=[Plan(count=2), Plan()]) as server:
        feed = feed_of(server)
        assert ids(await read(feed, 2)) == [1, 2]
    assert (server.connections, feed.rejected_count) == (2, 0)


async def test_handshakes_refused_between_connections_are_borne() -> None:
    plans = [Plan(count=1, end="close"), Plan(refuse=503), Plan(refuse=429, retry_after="0.2"), Plan()]
    async with BinanceServer([trade_frame(1), trade_frame(2)], plans=plans) as server:
        feed = feed_of(server)
        began_s = time.monotonic()
        assert ids(await read(feed, 2)) == [1, 2]
    assert time.monotonic() - began_s >= 0.2, "Retry-After is kept"
    assert (server.attempts, server.connections) == (4, 2)


# -- the beginning ----------------------------------------------------------------------------


async def test_an_unknown_symbol_is_named_with_its_neighbour() -> None:
    async with BinanceServer([trade_frame(1)]) as server:
        feed = feed_of(server, symbols=["BTCUSDT", "ETHUSTD"])
        with pytest.raises(SymbolError, match="no pair 'ETHUSTD'. Did you mean 'ETHUSDT'") as caught:
            await read(feed, 99)
    assert "'BTCUSDT'" not in str(caught.value)


async def test_without_the_list_of_symbols_the_feed_goes_on_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with BinanceServer([trade_frame(1)], rest_refuses=503) as server:
        assert ids(await read(feed_of(server), 1)) == [1]
    assert "could not be checked" in caplog.text


async def test_symbols_are_not_checked_elsewhere_than_asked() -> None:
    async with BinanceServer([trade_frame(1)]) as server:
        feed = BinanceFeed(["BTCUSDT"], trades="single", stream_url=server.url)
        assert ids(await read(feed, 1)) == [1]
    assert server.rest_requests == 0


@pytest.mark.parametrize(
    ("plan", "reason"), [(Plan(refuse=429, retry_after="120"), "asks to wait 120 s"), (Plan(refuse=451), "HTTP 451")]
)
async def test_a_refused_first_connection_ends_at_once(plan: Plan, reason: str) -> None:
    async with BinanceServer(plans=[plan]) as server:
        with pytest.raises(ConnectionFailedError, match=reason) as caught:
            await read(feed_of(server), 1)
    assert server.attempts == 1
    assert "--feed sample" in str(caught.value)


async def test_nobody_there(unused_tcp_port: int) -> None:
    feed = BinanceFeed(
        ["BTCUSDT"], stream_url=f"ws://127.0.0.1:{unused_tcp_port}", connect_timeout_s=0.3, backoff_s=0.02
    )
    with pytest.raises(ConnectionFailedError, match="ReplayFeed") as caught:
        await read(feed, 1)
    assert str(unused_tcp_port) in str(caught.value)
    assert feed.state == "closed"
    assert not await probe(f"ws://127.0.0.1:{unused_tcp_port}")


async def test_probe() -> None:
    async with BinanceServer([trade_frame(1), quote_frame(1, 9.0, 10.0)]) as server:
        assert await probe(server.url)
    async with BinanceServer(plans=[Plan(end="silence")]) as server:
        assert not await probe(server.url, timeout_s=0.1)


# -- the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [Plan(), Plan(end="silence"), Plan(count=0, end="close"), Plan(count=1, end="close")])
async def test_stop_ends_it_at_once(plan: Plan) -> None:
    async with BinanceServer([trade_frame(1)], plans=[plan]) as server:
        feed = feed_of(server, backoff_s=5.0)
        task = asyncio.create_task(feed.start_streaming())
        async with asyncio.timeout(3):
            while not server.connections:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        began_s = time.monotonic()
        await feed.stop()
        await asyncio.wait_for(task, 1)
        assert time.monotonic() - began_s < 0.5
        await asyncio.wait_for(server.closed.wait(), 1)
    assert feed.state == "closed"


async def test_cancellation_goes_through() -> None:
    async with BinanceServer([trade_frame(1)]) as server:
        feed = feed_of(server)
        seen = asyncio.Event()
        feed.add_message_handler(lambda event: seen.set())
        task = asyncio.create_task(feed.start_streaming())
        await asyncio.wait_for(seen.wait(), 3)
        assert feed.state == "live"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.closed.wait(), 1)
        assert [other for other in asyncio.all_tasks() if "Binance" in other.get_name()] == []


async def test_a_handler_that_raises_is_reported_and_the_feed_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with BinanceServer([trade_frame(number) for number in range(1, 4)]) as server:
        feed = feed_of(server)
        seen = []

        async def handler(event) -> None:
            if type(event) is Tick:
                seen.append(event.trade_id)
                if event.trade_id == 3:
                    await feed.stop()
                raise ZeroDivisionError("my own")

        feed.add_message_handler(handler)
        with caplog.at_level(logging.ERROR):
            await asyncio.wait_for(feed.start_streaming(), 5)
    assert seen == [1, 2, 3]
    assert caplog.text.count("raised on Tick") == 3


# -- waits and times --------------------------------------------------------------------------


def test_waits_double_below_a_cap_and_only_data_reset_them() -> None:
    backoff = Backoff(1.0, 60.0)
    for widest_s in (1, 2, 4, 8, 16, 32, 60, 60):
        assert 0 <= backoff.wait_s() <= widest_s
    backoff.reset()
    assert backoff.wait_s() <= 1.0
    assert backoff.wait_s(100.0) >= 100.0
    backoff.reset()
    assert 99.0 < backoff.budget_wait_s() <= 100.0, "what a refusal asked for is kept, whatever comes between"
    backoff = Backoff(1.0, 60.0)
    for _ in range(10):
        backoff.attempt()
    assert 299 < backoff.wait_s() <= 300


def test_retry_after() -> None:
    assert retry_after_s("120") == 120.0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after_s("soon") is retry_after_s(None) is retry_after_s("") is None


def test_a_heartbeat_never_overtakes_a_trade_under_way() -> None:
    clock = ExchangeClock()
    second = 10**9
    now = clock.now_ns()
    assert clock.heartbeat(now) is None, "no trade has told the exchange's time yet"
    # The local clock is 1.27 s behind; the quickest trade takes 20 ms, the slowest 400 ms.
    lags = [clock.observe(Tick("A", 1.0, 1.0, t + now + 1_270 * 10**6, t + now + ms * 10**6))
            for t, ms in ((0, 50), (second, 20), (2 * second, 400))]  # fmt: skip
    assert lags == [0.0, 0.0, 380.0]
    beat = clock.heartbeat(now + 3 * second)
    assert beat.time_ns == now + 3 * second + (1_270 - 20 - 500) * 10**6
    assert clock.heartbeat(now + 3 * second) is None, "the exchange's time does not stand still in two heartbeats"


def test_the_offset_follows_a_clock_that_drifts() -> None:
    clock = ExchangeClock()
    now = clock.now_ns()
    lag_ms = 0.0
    for minute in range(60):
        drift_ns = minute * 100 * 10**6
        at = now + minute * 60 * 10**9
        lag_ms = clock.observe(Tick("A", 1.0, 1.0, at - drift_ns, at))
    assert lag_ms <= 2_000, "an hour's drift is six seconds, but only the last minutes count"
