"""Yahoo's feed on a server with Yahoo's habits: frames, snapshots, cuts, polling, hours, splits."""

import asyncio
import base64
import json
import logging
import time
from contextlib import suppress
from math import isnan, nan
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qfkit as qf
from qfkit.core.events import CorporateAction, Gap, Heartbeat, Hours, Quote, Tick
from qfkit.errors import ConnectionFailedError, MalformedFrameError, ParameterError, SymbolError
from qfkit.feeds import yahoo
from qfkit.feeds.calendars import calendar_named, is_open
from qfkit.feeds.yahoo import YahooFeed, YahooFinanceWebSocket, probe
from qfkit.feeds.yahoo_frames import Pricing, decode_pricing, parse_frame
from qfkit.feeds.yahoo_snapshots import Snapshots
from tests.servers.yahoo import Chart, YahooServer, encode_pricing, envelope
from tests.taken import Taken as AnyTaken

EAGER = {"backoff_s": 0.02, "stale_after_s": 1.5, "connect_timeout_s": 1.0, "poll_every_s": 0.02}
SECOND_NS = 10**9


def feed_of(server: YahooServer, *symbols: str, has_rest: bool = False, **options) -> YahooFeed:
    rest_url = server.rest_url if has_rest else None
    return YahooFeed(symbols or ("AAPL",), stream_url=server.url, rest_url=rest_url, **(EAGER | options))


class Taken(AnyTaken):
    """And the longest time that the loop stood still meanwhile."""

    usual = "AAPL"

    def __init__(self, feed: YahooFeed, *, is_live: bool = True) -> None:
        super().__init__(feed, waits=is_live)
        self.longest_s = 0.0

    async def __aenter__(self) -> Self:
        self._turning = asyncio.create_task(self._turn())
        return await super().__aenter__()

    async def __aexit__(self, *error: object) -> None:
        self._turning.cancel()
        await super().__aexit__(*error)

    async def _turn(self) -> None:
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(0.01)
            self.longest_s = max(self.longest_s, time.monotonic() - before_s)


def now_ms(ago_s: float = 0.0) -> int:
    return int((time.time() - ago_s) * 1_000)


# -- frames ------------------------------------------------------------------------------------


def test_every_real_frame_decodes_to_its_recorded_fields(data_folder) -> None:
    lines = (data_folder / "yahoo" / "frames.jsonl").read_text().splitlines()
    assert len(lines) >= 10
    for line in lines:
        recorded = json.loads(line)
        message = recorded["envelope"]["message"]
        fields = decode_pricing(base64.b64decode(message))
        # protobuf's JSON has int64 as text, and no zeros.
        expected = {
            name: int(value) if isinstance(value, str) and value.isdigit() else value
            for name, value in recorded["fields"].items()
        }
        assert {name: value for name, value in fields.items() if value != 0} == expected
        pricing = parse_frame(json.dumps(recorded["envelope"]), 7)
        assert pricing == parse_frame(message.encode(), 7)
        assert pricing is not None
        assert (pricing.symbol, pricing.price) == (expected["id"], expected["price"])
        assert pricing.time_ns == expected["time"] * 10**6
        for name in ("currency", "exchange", "quote_type", "change", "change_percent", "day_volume", "day_high"):
            assert getattr(pricing, name) == expected.get(name)


def test_before_the_session_market_hours_is_zero_and_not_unknown(data_folder) -> None:
    lines = (data_folder / "yahoo" / "frames.jsonl").read_text().splitlines()
    hours = [parse_frame(json.loads(line)["envelope"]["message"], 0).market_hours for line in lines]
    assert 0 in hours and None not in hours


def test_frames_that_are_no_prices() -> None:
    good = {"id": "AAPL", "price": 307.2, "time": 1_785_937_395_000}
    assert parse_frame(envelope(encode_pricing(**good)), 1).price == 307.2
    assert parse_frame(envelope(encode_pricing(**good, quote_type=7)), 1) is None
    assert parse_frame('{"type":"status","message":"hello"}', 1) is None
    assert parse_frame("{}", 1) is None
    whole = encode_pricing(**good)
    bad = [
        b"", b"!!!", b"[1,2]", b'{"type":"pricing"}', b'{"type":"pricing","message":5}', b"{", b"\xff\xfe",
        envelope(whole[:-1]), envelope(b"\x08\x01"), envelope(b"\x15" + whole[1:]), envelope(b"\x0b"),
        envelope(b"\xff" * 12), envelope(encode_pricing(id="AAPL", price=1.0)),
        envelope(encode_pricing(id="AAPL", price=nan, time=1)), envelope(encode_pricing(price=1.0, time=1)),
        envelope(encode_pricing(id="AAPL", price=1.0, time=-5)), envelope(encode_pricing(id="A", price=1.0, time=2**62)),
        base64.b64encode(whole)[:-4] + b"%%%%",
    ]  # fmt: skip
    for frame in bad:
        with pytest.raises(MalformedFrameError):
            parse_frame(frame, 1)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=200), st.binary(max_size=200).map(envelope)))
def test_no_frame_does_more_than_be_refused(frame) -> None:
    try:
        pricing = parse_frame(frame, 1)
    except MalformedFrameError:
        return
    assert pricing is None or type(pricing) is Pricing


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_message_is_refused_or_read(data) -> None:
    whole = bytearray(
        encode_pricing(id="AAPL", price=1.5, time=1_785_937_395_000, day_volume=7, bid=1.0, market_cap=2.0)
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedFrameError):
        parse_frame(envelope(bytes(whole[: data.draw(st.integers(0, len(whole)))])), 1)


@settings(max_examples=200, deadline=None)
@given(
    st.floats(width=32, min_value=2.0**-100, max_value=2.0**100),
    st.integers(1, 9 * 10**12),
    st.integers(-(2**63), 2**63 - 1),
    st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable()),
)
def test_what_is_encoded_is_decoded(price, time_ms, volume, symbol) -> None:
    pricing = parse_frame(envelope(encode_pricing(id=symbol, price=price, time=time_ms, day_volume=volume)), 1)
    assert (pricing.symbol, pricing.time_ns, pricing.day_volume) == (symbol, time_ms * 10**6, volume)
    assert pricing.price == pytest.approx(price, rel=1e-6)


# -- snapshots ---------------------------------------------------------------------------------


def pricing_of(price: float, at_s: float, volume: int | None = None, **other: Any) -> Pricing:
    return Pricing("AAPL", price, int(at_s * SECOND_NS), int((at_s + 0.5) * SECOND_NS), day_volume=volume, **other)


def test_sizes_are_differences_of_the_days_volume() -> None:
    snapshots = Snapshots()
    snapshots.expect("AAPL", 0)

    def size(*given: Any, **other: Any) -> float:
        pricing = pricing_of(*given, **other)
        return snapshots.tick(pricing, pricing.received_ns, None).size

    assert isnan(size(10.0, 1_000, 500))
    assert size(10.1, 1_001, 620) == 120.0
    assert isnan(size(10.1, 1_002))
    assert size(10.2, 1_003, 630) == 10.0
    assert size(10.2, 1_004, 5) == 0.0
    assert size(10.2, 1_005, 9) == 4.0
    # A crypto pair's is money of the last 24 hours.
    assert isnan(size(10.2, 1_006, 90_000, quote_type=41))


def test_snapshots_of_one_second_are_told_apart_and_older_ones_dropped() -> None:
    snapshots = Snapshots()
    snapshots.expect("AAPL", 0)

    def told(*given: Any) -> Any:
        pricing = pricing_of(*given)
        tick = snapshots.tick(pricing, pricing.received_ns, None)
        return tick if isinstance(tick, str) else tick.price

    assert told(10.0, 50, 1) == 10.0
    assert told(10.0, 50, 1) == "duplicate"
    assert told(10.5, 50, 2) == 10.5
    assert told(10.0, 50, 1) == "duplicate"
    assert told(10.0, 49, 1) == "late"
    assert told(10.0, 51, 1) == 10.0


def test_the_exchanges_clock_says_what_is_old() -> None:
    snapshots = Snapshots()
    snapshots.expect("AAPL", 40 * SECOND_NS)
    assert snapshots.tick(pricing_of(10.0, 30), 31 * SECOND_NS, None).flag == "stale"
    assert snapshots.tick(pricing_of(10.0, 45), 46 * SECOND_NS, None).flag is None
    assert snapshots.tick(pricing_of(10.0, 50), 111 * SECOND_NS, None).flag == "stale"


# -- the stream --------------------------------------------------------------------------------


def test_arguments() -> None:
    assert YahooFinanceWebSocket is YahooFeed
    feed = YahooFeed("aapl", stream_url="ws://127.0.0.1:1/")
    assert feed.symbols == ("AAPL",) and "ws://127.0.0.1:1" in feed.label
    assert feed.recipe() == {"class": "YahooFeed", "arguments": {"symbols": ["AAPL"], "stream_url": "ws://127.0.0.1:1"}}
    assert feed.history_source() is None
    assert YahooFeed(["AAPL"]).history_source().name == "yahoo"
    assert YahooFeed(["^GSPC", "BRK-B", "VOD.L", "M&M.NS", "ES=F", "JPY=X", "BTC-USD"]).is_live
    for bad in ("AAPL MSFT", "", "AA/PL", 5):
        with pytest.raises(SymbolError):
            YahooFeed([bad])
    with pytest.raises(SymbolError):
        YahooFeed([])
    with pytest.raises(ParameterError, match="poll_every_s"):
        YahooFeed(["AAPL"], poll_every_s=0.0)


@pytest.mark.parametrize("is_json", [True, False])
async def test_prices_come_as_ticks(is_json, monkeypatch) -> None:
    if not is_json:
        monkeypatch.setattr(YahooFeed, "_address", lambda self, link: self._url)
    async with YahooServer() as server, Taken(feed_of(server)) as taken:
        await server.price("AAPL", 307.2, day_volume=1_000, market_hours=1)
        await server.price("AAPL", 307.25, day_volume=1_040, bid=307.2, bid_size=3, ask=307.3, ask_size=4)
        await taken.until(lambda: len(taken.ticks()) == 2)
        first, second = taken.ticks()
        assert (first.price, second.price, second.size) == (307.2, 307.25, 40.0)
        assert isnan(first.size) and first.flag is None and first.source is None
        quotes = [event for event in taken.events if type(event) is Quote]
        assert [(one.bid, one.bid_size, one.ask, one.ask_size) for one in quotes] == [(307.2, 3.0, 307.3, 4.0)]
        # The canary proves that data flow and is nobody's event.
        assert not taken.ticks("BTC-USD")
        assert server.heard[0] == {"subscribe": ["BTC-USD", "AAPL"]}
        hours = [event for event in taken.events if type(event) is Hours]
        assert [one.symbol for one in hours] == ["AAPL"] and taken.events[0] is hours[0]
        await taken.until(lambda: any(type(event) is Heartbeat for event in taken.events))


async def test_the_canary_is_an_event_for_whom_it_was_asked_for() -> None:
    async with YahooServer() as server, Taken(feed_of(server, "BTC-USD")) as taken:
        await taken.until(lambda: len(taken.ticks("BTC-USD")) >= 3)
        assert all(isnan(tick.size) for tick in taken.ticks("BTC-USD"))
        assert not [event for event in taken.events if type(event) is Hours]


async def test_the_last_known_price_is_marked_and_told_once() -> None:
    async with YahooServer() as server:
        await server.price("AAPL", 300.0, time_ms=now_ms(3 * 86_400), day_volume=10**6)
        async with Taken(feed_of(server)) as taken:
            await taken.until(lambda: len(taken.ticks()) == 1)
            await server.price("AAPL", 301.0, day_volume=50)
            await server.price("AAPL", 301.0, time_ms=server.last["AAPL"]["time"], day_volume=50)
            await server.price("AAPL", 299.0, time_ms=now_ms(60), day_volume=40)
            await server.price("AAPL", 302.0, day_volume=60)
            await taken.until(lambda: len(taken.ticks()) == 3)
            assert [(tick.price, tick.flag) for tick in taken.ticks()] == [
                (300.0, "stale"),
                (301.0, None),
                (302.0, None),
            ]
            health = taken.feed.health.loc["AAPL"]
            assert (health.duplicates, health.late, health.rejected) == (1, 1, 0)


@pytest.mark.parametrize("how", ["close_1000", "close_1001", "abort"])
async def test_the_ends_that_freeze_others_are_disconnects_like_any_other(how) -> None:
    async with YahooServer() as server, Taken(feed_of(server)) as taken:
        await server.price("AAPL", 10.0, day_volume=1)
        await taken.until(lambda: len(taken.ticks()) == 1)
        taken.longest_s = 0.0
        await server.drop(how)
        await taken.until(lambda: taken.feed.reconnects == 1)
        # Subscribed again, the last known price comes again and is no news.
        await taken.until(lambda: taken.feed.health.loc["AAPL"].duplicates == 1)
        await server.price("AAPL", 11.0, day_volume=4)
        await taken.until(lambda: len(taken.ticks()) == 2)
        assert [(tick.price, tick.flag) for tick in taken.ticks()] == [(10.0, None), (11.0, None)]
        assert taken.ticks()[1].size == 3.0 and taken.feed.gaps == 0
        assert taken.states()[:4] == ["connecting", "live", "connecting", "live"]
        assert [one for one in server.heard if "subscribe" in one] == [{"subscribe": ["BTC-USD", "AAPL"]}] * 2
        assert taken.longest_s < 0.5


async def test_what_was_missed_while_the_connection_was_down_is_told() -> None:
    async with YahooServer() as server, Taken(feed_of(server)) as taken:
        await server.price("AAPL", 10.0, time_ms=now_ms(9), day_volume=5)
        await taken.until(lambda: len(taken.ticks()) == 1)
        server.last["AAPL"] |= {"price": 12.0, "time": now_ms(2), "day_volume": 105}
        await server.drop("abort")
        await taken.until(lambda: len(taken.ticks()) == 2)
        first, second = taken.ticks()
        (gap,) = [event for event in taken.events if type(event) is Gap]
        assert (gap.symbol, gap.start_ns, gap.end_ns) == ("AAPL", first.time_ns, second.time_ns)
        assert taken.events.index(gap) < taken.events.index(second) and second.size == 100.0
        health = taken.feed.health.loc["AAPL"]
        assert (health.gaps_found, health.gaps_open, taken.feed.gaps) == (1, 1, 1)


async def test_an_older_price_after_a_reconnect_is_never_new() -> None:
    async with YahooServer() as server, Taken(feed_of(server)) as taken:
        await server.price("AAPL", 10.0)
        await taken.until(lambda: len(taken.ticks()) == 1)
        server.last["AAPL"] = {"id": "AAPL", "price": 9.0, "time": now_ms(30)}
        await server.drop("abort")
        await taken.until(lambda: taken.feed.health.loc["AAPL"].late == 1)
        assert taken.prices() == [10.0]


async def test_the_users_stop_ends_it_at_once() -> None:
    async with YahooServer() as server:
        feed = feed_of(server)
        task = asyncio.create_task(feed.start_streaming())
        async with asyncio.timeout(5):
            while feed.state != "live":
                await asyncio.sleep(0.01)
        began_s = time.monotonic()
        await feed.stop()
        await asyncio.wait_for(task, 2)
        assert time.monotonic() - began_s < 1.0 and feed.state == "closed"
        # Cancelled, it ends as cancelled.
        task = asyncio.create_task(feed.start_streaming())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 2)


async def test_bad_frames_cost_nothing_but_a_count(caplog) -> None:
    frames = [
        "not json",
        "[1,2]",
        "!!!",
        '{"type":"pricing","message":"!!!"}',
        envelope(b"\xff\xff"),
        b"\x00\xff",
        "{}",
    ]
    async with YahooServer() as server, Taken(feed_of(server)) as taken:
        taken.longest_s = 0.0
        sent, end_s = 0, time.monotonic() + 1.5
        while time.monotonic() < end_s:
            for frame in frames:
                await server.send(frame)
            sent += 6
            await asyncio.sleep(0.02)
        await server.price("AAPL", 10.0)
        await taken.until(lambda: len(taken.ticks()) == 1)
        assert taken.feed.rejected_count == sent and taken.feed.reconnects == 0
        assert taken.longest_s < 0.5
        assert len([one for one in caplog.records if "cannot be decoded" in one.getMessage()]) == 1


async def test_a_silent_connection_is_given_up() -> None:
    async with YahooServer() as server, Taken(feed_of(server, stale_after_s=0.5)) as taken:
        await server.drop("silence")
        await taken.until(lambda: taken.feed.reconnects == 1)
        assert taken.states()[:5] == ["connecting", "live", "stale", "connecting", "live"]


async def test_a_server_that_accepts_and_closes_sees_few_connections() -> None:
    async with YahooServer() as server:
        server.closes_at_once = True
        async with Taken(feed_of(server, backoff_s=0.3), is_live=False):
            await asyncio.sleep(1.5)
        assert len(server.attempts) <= 10


async def test_more_than_a_hundred_symbols_take_two_connections() -> None:
    names = [f"S{number:03d}" for number in range(101)]
    async with YahooServer() as server, Taken(feed_of(server, *names)) as taken:
        await taken.until(lambda: sum(len(line.symbols) for line in server.lines) == 103)
        assert sorted(len(line.symbols) for line in server.lines) == [3, 100]
        await server.price(names[0], 1.0)
        await server.price(names[-1], 2.0)
        await taken.until(lambda: taken.prices(names[-1]) == [2.0] and taken.prices(names[0]) == [1.0])


async def test_symbols_come_and_go_while_it_runs(monkeypatch) -> None:
    monkeypatch.setattr(yahoo, "_SUBSCRIBE_EVERY_S", 0.3)
    async with YahooServer() as server, Taken(feed_of(server)) as taken:
        await taken.feed.subscribe(["msft", "ETH-USD"])
        await taken.until(lambda: server.lines[0].symbols == ["BTC-USD", "AAPL", "MSFT", "ETH-USD"])
        await server.price("MSFT", 5.0)
        await taken.until(lambda: taken.prices("MSFT") == [5.0])
        assert {one.symbol for one in taken.events if type(one) is Hours} == {"AAPL", "MSFT"}
        await taken.feed.unsubscribe("AAPL")
        await taken.until(lambda: server.lines[0].symbols == ["BTC-USD", "MSFT", "ETH-USD"])
        # Said again now and then, as Yahoo's own page does.
        await taken.until(lambda: server.heard.count({"subscribe": ["BTC-USD", "MSFT", "ETH-USD"]}) >= 2)
        with pytest.raises(SymbolError):
            await taken.feed.subscribe("A B")


async def test_silence_in_a_closed_market_is_no_fault(monkeypatch) -> None:
    is_open = {"AAPL": False, "MSFT": True}
    monkeypatch.setattr(yahoo, "is_open", lambda symbol, time_ns: is_open[symbol])
    async with YahooServer() as server, Taken(feed_of(server, "AAPL", "MSFT", symbol_stale_after_s=0.8)) as taken:
        await taken.until(lambda: {"subscribe": ["MSFT"]} in server.heard)
        health = taken.feed.health
        assert health.loc["MSFT"].state == "stale" and health.loc["AAPL"].state == "live"
        assert {"subscribe": ["AAPL"]} not in server.heard


# -- polling -----------------------------------------------------------------------------------


def chart_of(price: float, *, ago_s: float = 0.0, volume: int = 1_000) -> Chart:
    meta = {"regularMarketPrice": price, "regularMarketTime": int(time.time() - ago_s), "regularMarketVolume": volume}
    return Chart(meta=meta)


async def test_without_the_stream_last_prices_are_asked_for_until_it_is_back(caplog, monkeypatch) -> None:
    monkeypatch.setattr(yahoo, "is_open", lambda symbol, time_ns: True)
    caplog.set_level(logging.INFO, "qfkit")
    async with YahooServer() as server:
        server.refuse = 503
        server.charts = {"AAPL": chart_of(300.0, ago_s=5), "MSFT": chart_of(40.0, ago_s=5)}
        feed = feed_of(server, "AAPL", "MSFT", has_rest=True, backoff_s=0.1)
        async with Taken(feed, is_live=False) as taken:
            await taken.until(lambda: len(taken.ticks()) == 1 and len(taken.ticks("MSFT")) == 1)
            assert taken.ticks()[0].flag == "stale" and taken.ticks()[0].source == "yahoo poll"
            assert feed.is_polling and feed.state == "live" and "polling" in feed.label
            assert set(feed.health.source) == {"yahoo poll"} and set(feed.health.state) == {"live"}
            await asyncio.sleep(1.1)
            server.charts["AAPL"] = chart_of(301.0, volume=1_250)
            await taken.until(lambda: len(taken.ticks()) == 2)
            assert (taken.ticks()[1].price, taken.ticks()[1].size, taken.ticks()[1].flag) == (301.0, 250.0, None)
            assert feed.health.loc["AAPL"].duplicates == 0

            server.refuse = None
            await taken.until(lambda: not feed.is_polling, 12.0)
            asked = len(server.charts_asked)
            await server.price("AAPL", 302.0, day_volume=1_300)
            await taken.until(lambda: len(taken.ticks()) == 3)
            assert (taken.ticks()[2].price, taken.ticks()[2].size, taken.ticks()[2].source) == (302.0, 50.0, None)
            assert feed.state == "live" and "polling" not in feed.label and set(feed.health.source) == {"yahoo"}
            await asyncio.sleep(0.3)
            assert len(server.charts_asked) <= asked + 1
    texts = [record.getMessage() for record in caplog.records]
    assert sum("last prices are asked for" in text for text in texts) == 1
    assert sum("the stream is back" in text for text in texts) == 1


async def test_a_stream_that_dies_later_is_replaced_too(monkeypatch) -> None:
    monkeypatch.setattr(yahoo, "is_open", lambda symbol, time_ns: True)
    async with YahooServer() as server:
        server.charts = {"AAPL": chart_of(300.0)}
        async with Taken(feed_of(server, has_rest=True)) as taken:
            await server.price("AAPL", 299.0, time_ms=now_ms(2))
            server.refuse = 503
            await server.drop("close_1000")
            await taken.until(lambda: taken.feed.is_polling and 300.0 in taken.prices())
            assert taken.prices() in ([299.0, 300.0], [300.0])


async def test_neither_stream_nor_polling_is_an_error_that_names_the_fix() -> None:
    async with YahooServer() as server:
        server.refuse, server.rest_refuses = 503, 502
        feed = feed_of(server, has_rest=True, connect_timeout_s=0.3)
        with pytest.raises(ConnectionFailedError, match="503.*502.*--feed sample"):
            async for _ in feed:
                pass
        assert feed.state == "closed"


async def test_with_a_stream_of_ones_own_and_no_rest_url_nothing_is_asked_by_http() -> None:
    async with YahooServer() as server:
        server.refuse = 429
        with pytest.raises(ConnectionFailedError, match="HTTP 429"):
            async for _ in feed_of(server, connect_timeout_s=0.3):
                pass
        server.refuse = None
        async with Taken(feed_of(server)):
            await asyncio.sleep(0.2)
        assert not server.asked


async def test_too_many_requests_are_respected(monkeypatch) -> None:
    monkeypatch.setattr(yahoo, "is_open", lambda symbol, time_ns: True)
    async with YahooServer() as server:
        server.refuse = 503
        server.charts = {"AAPL": chart_of(300.0)}
        async with Taken(feed_of(server, has_rest=True), is_live=False) as taken:
            await taken.until(lambda: len(taken.ticks()) == 1)
            server.rest_refuses, server.rest_retry_after = 429, "3600"
            await taken.until(lambda: taken.feed.state == "connecting")
            asked = len(server.charts_asked)
            await asyncio.sleep(1.0)
            assert len(server.charts_asked) == asked
            assert taken.feed.is_polling and taken.feed.health.loc["AAPL"].state == "connecting"


async def test_an_unknown_symbol_is_told_and_the_others_go_on(caplog) -> None:
    async with YahooServer() as server:
        server.refuse = 503
        server.charts = {"AAPL": chart_of(300.0)}
        feed = feed_of(server, "NOPE", "AAPL", has_rest=True, connect_timeout_s=0.3)
        async with Taken(feed, is_live=False) as taken:
            await taken.until(lambda: len(taken.ticks()) == 1)
            await asyncio.sleep(0.3)
            assert feed.health.loc["NOPE"].rejected == 1
            assert feed.health.loc["NOPE"].rejected_reasons == "unknown symbol: 1"
        assert sum("no symbol 'NOPE'" in record.getMessage() for record in caplog.records) == 1
        with pytest.raises(SymbolError, match="NOPE"):
            async for _ in feed_of(server, "NOPE", has_rest=True, connect_timeout_s=0.3):
                pass


async def test_in_a_closed_market_a_price_is_asked_for_once(monkeypatch) -> None:
    monkeypatch.setattr(yahoo, "is_open", lambda symbol, time_ns: False)
    async with YahooServer() as server:
        server.refuse = 503
        server.charts = {"AAPL": chart_of(300.0, ago_s=7_200)}
        async with Taken(feed_of(server, has_rest=True, connect_timeout_s=0.3), is_live=False) as taken:
            await taken.until(lambda: len(taken.ticks()) == 1)
            await asyncio.sleep(0.5)
            assert sum("range=1d" in path for path in server.charts_asked) == 1
            assert taken.feed.state == "live"


# -- hours, splits and dividends ---------------------------------------------------------------


async def test_a_split_and_a_dividend_come_at_the_open_of_their_day(monkeypatch) -> None:
    sessions = calendar_named("XNYS").sessions(time.time_ns() - 6 * 86_400 * SECOND_NS, time.time_ns())
    (earlier_ns, _), (open_ns, _) = sessions[0], sessions[-1]
    monkeypatch.setattr(yahoo, "_ATTEND_S", 0.05)
    # The clock of the feed stands just before the last open, and is then moved past it.
    shift_ns = [open_ns - time.time_ns() - 60 * SECOND_NS]
    monkeypatch.setattr(YahooFeed, "now_ns", lambda self: time.time_ns() + shift_ns[0])
    chart = chart_of(300.0)
    chart.splits = [(earlier_ns // SECOND_NS, 2.0, 1.0), (open_ns // SECOND_NS, 4.0, 1.0)]
    chart.dividends = [(earlier_ns // SECOND_NS, 0.5), (open_ns // SECOND_NS, 0.25)]

    def given(taken: Taken) -> list[CorporateAction]:
        return [event for event in taken.events if type(event) is CorporateAction]

    async with YahooServer() as server:
        server.charts = {"AAPL": chart}
        async with Taken(feed_of(server, "AAPL", "BTC-USD", has_rest=True)) as taken:
            await taken.until(lambda: len(server.charts_asked) == 1)
            await asyncio.sleep(0.2)
            assert not given(taken) and len(server.charts_asked) == 1
            shift_ns[0] += 120 * SECOND_NS
            await taken.until(lambda: len(given(taken)) == 2)
            dividend, split = given(taken)
            assert (dividend.time_ns, dividend.dividend, dividend.split) == (open_ns, 0.25, 1.0)
            assert (split.time_ns, split.dividend, split.split) == (open_ns, 0.0, 4.0)
            assert split.received_ns >= open_ns
            # Asked again ten minutes after the open, and not told again; the hours a day later.
            shift_ns[0] += 600 * SECOND_NS
            await taken.until(lambda: len(server.charts_asked) == 3)
            shift_ns[0] += 86_400 * SECOND_NS
            await taken.until(lambda: sum(type(event) is Hours for event in taken.events) == 2)
            assert len(given(taken)) == 2


# -- a session ---------------------------------------------------------------------------------


async def test_a_session_waits_for_the_open_and_replays_equal() -> None:
    class Once(qf.Strategy):
        def on_start(self) -> None:
            self.bought: set[str] = set()

        def on_tick(self, tick: Tick) -> None:
            if tick.symbol not in self.bought:
                self.bought.add(tick.symbol)
                self.buy(tick.symbol, quantity=1.0)

        def on_bar(self, bar: qf.Bar) -> None:
            pass

    async with YahooServer() as server:
        session = qf.paper(Once(), feed_of(server, "AAPL", "BTC-USD"), timeframe="1s", costs=qf.Costs.ideal()).start()
        try:
            async with asyncio.timeout(10):
                while session.snapshot.fills_count < 1:
                    await server.price("AAPL", 300.0 + time.time() % 5)
                    await asyncio.sleep(0.05)
        finally:
            await asyncio.to_thread(session.stop)
        assert session.verify()
        # The pair is always open; the share's order waits where its market is closed.
        orders = session.orders.set_index("symbol")
        assert orders.loc["BTC-USD", "filled"] == 1.0
        if not is_open("AAPL", session.snapshot.time_ns):
            assert orders.loc["AAPL", "filled"] == 0.0


# -- probe -------------------------------------------------------------------------------------


async def test_probe() -> None:
    async with YahooServer() as server:
        assert await probe(server.url, timeout_s=2.0)
        server.is_silent = True
        assert not await probe(server.url, timeout_s=0.4)
        server.refuse = 403
        assert not await probe(server.url, timeout_s=0.4)
    assert not await probe(server.url, timeout_s=0.4)
