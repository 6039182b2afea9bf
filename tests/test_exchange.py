"""Binance's feed on an exchange that has it all: what is missing is fetched, what is gone for good is told."""

import asyncio
import time
from http import HTTPStatus

import pytest

from qfkit.core.events import Bar, Heartbeat, Instrument, Quote, Tick
from qfkit.errors import FeedError, MalformedFrameError, RateLimitError, SymbolError
from qfkit.feeds import binance_rest
from qfkit.feeds.binance import BinanceFeed
from qfkit.feeds.binance_rest import BinanceRest
from tests.exchange_support import EAGER, Taken, facts, feed_of, seen, trade
from tests.servers.exchange import Aggregate, Exchange, ExchangeServer, aggregate_data


async def test_what_was_traded_while_the_line_was_down_comes_in_its_place() -> None:
    async with ExchangeServer(Exchange()) as server, Taken(feed_of(server)) as taken:
        await trade(server, 5)
        await taken.until(lambda: len(taken.ids()) == 5)
        await server.drop("abort")
        await trade(server, 2_500)
        await taken.until(lambda: taken.feed.reconnects == 1)
        await trade(server, 5)
        await taken.until(lambda: len(taken.ids()) == 2_510)
        assert seen(taken.ticks()) == facts(server)
        flags = [tick.flag for tick in taken.ticks()]
        assert flags.count("backfilled") >= 2_500 and flags[:5] == [None] * 5
        assert not taken.gaps()
        health = taken.feed.health.loc["BTCUSDT"]
        assert (health.gaps_found, health.gaps_filled, health.gaps_open, health.missing) == (1, 1, 0, 0)
        received = [event.received_ns for event in taken.events]
        assert received == sorted(received)
        assert taken.states()[:5] == ["connecting", "live", "connecting", "live", "backfilling"] or (
            taken.states()[:4] == ["connecting", "live", "connecting", "backfilling"]
        )
        assert taken.feed.state == "live"


async def test_a_symbol_that_trades_seldom_has_its_missed_trades_without_a_new_one() -> None:
    async with ExchangeServer(Exchange()) as server, Taken(feed_of(server)) as taken:
        await trade(server, 1)
        await taken.until(lambda: len(taken.ids()) == 1)
        await server.drop("close_1000")
        await trade(server, 3)
        await taken.until(lambda: len(taken.ids()) == 4)
        assert seen(taken.ticks()) == facts(server)


async def test_no_heartbeat_closes_a_bar_while_its_trades_are_fetched() -> None:
    async with ExchangeServer(Exchange()) as server, Taken(feed_of(server)) as taken:
        await trade(server, 1)
        await taken.until(lambda: len(taken.ids()) == 1)
        server.skip_share = 1.0
        await trade(server, 3)
        server.skip_share = 0.0
        server.rest_fails = [503, 503]
        await trade(server, 1)
        await taken.until(lambda: len(taken.ids()) == 5)
        place = [type(event) for event in taken.events]
        ticks = [place for place, kind in enumerate(place) if kind is Tick]
        assert Heartbeat not in place[ticks[0] + 1 : ticks[-1]] or taken.events[ticks[1]].flag == "backfilled"
        assert taken.feed.health.loc["BTCUSDT"].gaps_filled == 1


async def test_a_hole_in_the_stream_is_filled_and_the_live_trades_wait_for_it() -> None:
    async with ExchangeServer(Exchange()) as server, Taken(feed_of(server)) as taken:
        await trade(server, 3)
        server.skip_share = 1.0
        await trade(server, 4)
        server.skip_share = 0.0
        await trade(server, 3)
        await taken.until(lambda: len(taken.ids()) == 10)
        assert seen(taken.ticks()) == facts(server)
        assert [tick.flag for tick in taken.ticks()] == [None] * 3 + ["backfilled"] * 4 + [None] * 3
        assert "backfilling" in taken.states()


async def test_out_of_order_and_doubled_trades_come_once_and_in_order() -> None:
    async with ExchangeServer(Exchange()) as server, Taken(feed_of(server)) as taken:
        await trade(server, 1)
        server.shuffle_share = server.repeat_share = 0.5
        await trade(server, 60)
        server.shuffle_share = server.repeat_share = 0.0
        await trade(server, 1)
        await taken.until(lambda: len(taken.ids()) == 62)
        assert seen(taken.ticks()) == facts(server)
        assert taken.feed.duplicates > 0
        assert not taken.gaps()


async def test_what_the_archive_has_not_either_is_one_gap_with_its_extent() -> None:
    exchange = Exchange()
    async with ExchangeServer(exchange) as server, Taken(feed_of(server)) as taken:
        await trade(server, 2)
        server.skip_share = 1.0
        await trade(server, 5)
        server.skip_share = 0.0
        numbers = [one.number for one in exchange.markets["BTCUSDT"].aggregates]
        exchange.lost_for_good = {("BTCUSDT", number) for number in numbers[3:6]}
        await trade(server, 1)
        await taken.until(lambda: len(taken.ids()) == 5)
        assert taken.ids() == [numbers[0], numbers[1], numbers[2], numbers[6], numbers[6] + 1]
        (gap,) = taken.gaps()
        times = {one.number: one.time_ms * 10**6 for one in exchange.markets["BTCUSDT"].aggregates}
        assert (gap.missing, gap.start_ns, gap.end_ns) == (3, times[numbers[2]], times[numbers[6]])
        health = taken.feed.health.loc["BTCUSDT"]
        assert (health.gaps_found, health.gaps_open, health.missing) == (1, 1, 3)


async def test_without_an_archive_that_answers_a_hole_is_a_gap_that_says_why() -> None:
    async with ExchangeServer(Exchange()) as server, Taken(feed_of(server)) as taken:
        await trade(server, 2)
        await taken.until(lambda: len(taken.ids()) == 2)
        server.rest_fails = [418] * 20
        server.rest_retry_after = "7200"
        server.skip_share = 1.0
        await trade(server, 5)
        server.skip_share = 0.0
        await trade(server, 1)
        await taken.until(lambda: len(taken.ids()) == 3)
        (gap,) = taken.gaps()
        assert gap.missing == 5
        assert "7,200 s" in gap.reason


async def test_a_hole_too_long_to_fetch_is_a_gap_up_to_the_newer_part() -> None:
    async with ExchangeServer(Exchange()) as server, Taken(feed_of(server, most_backfill_pages=2)) as taken:
        await trade(server, 1)
        await taken.until(lambda: len(taken.ids()) == 1)
        server.skip_share = 1.0
        await trade(server, 5_000)
        server.skip_share = 0.0
        await trade(server, 1)
        await taken.until(lambda: bool(taken.gaps()) and len(taken.ids()) > 1_900)
        (gap,) = taken.gaps()
        first = taken.ids()[0]
        assert taken.ids() == [first, *range(first + gap.missing + 1, first + 5_002)]
        assert 1_990 <= len(taken.ids()) <= 2_010


async def test_single_trades_are_filled_by_their_own_ids() -> None:
    async with ExchangeServer(Exchange()) as server, Taken(feed_of(server, trades="single")) as taken:
        await trade(server, 3)
        server.skip_share = 1.0
        await trade(server, 4)
        server.skip_share = 0.0
        await trade(server, 3)
        own = server.exchange.markets["BTCUSDT"].trades
        await taken.until(lambda: len(taken.ids()) == len(own))
        assert seen(taken.ticks()) == [(one.number, float(one.price), float(one.size), one.time_ms) for one in own]


async def test_a_notice_of_shutdown_loses_and_doubles_nothing() -> None:
    async with ExchangeServer(Exchange(), rate_per_s=300) as server, Taken(feed_of(server)) as taken:
        await taken.until(lambda: len(taken.ids()) > 20)
        await server.drop("notice")
        await taken.until(lambda: taken.feed.reconnects == 1)
        await asyncio.sleep(0.3)
        first = taken.ids()[0]
        assert taken.ids() == list(range(first, first + len(taken.ids())))
        assert taken.states() == ["connecting", "live"]
        updates = [event.bid for event in taken.events if type(event) is Quote and event.symbol == "ETHUSDT"]
        assert len(updates) > 10


async def test_a_line_over_compression_carries_the_same() -> None:
    async with ExchangeServer(Exchange(), compression="deflate") as server, Taken(feed_of(server)) as taken:
        await trade(server, 200)
        await taken.until(lambda: len(taken.ids()) == 200)
        assert seen(taken.ticks()) == facts(server)
        answer = next(iter(taken.feed._links))._connection.response
        assert answer.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")


# -- symbols and subscriptions ------------------------------------------------------------------


async def test_the_rules_of_a_symbol_come_first() -> None:
    async with ExchangeServer(Exchange()) as server, Taken(feed_of(server)) as taken:
        await trade(server, 1)
        await taken.until(lambda: len(taken.ids()) == 1)
        first, second = taken.events[:2]
        assert type(first) is Instrument and {first.symbol, second.symbol} == {"BTCUSDT", "ETHUSDT"}
        assert (first.price_step, first.quantity_step, first.minimum_quantity) == (0.01, 1e-5, 1e-5)
        assert (first.minimum_notional, first.currency) == (5.0, "USDT")


async def test_an_unknown_pair_is_named_with_its_neighbour() -> None:
    async with ExchangeServer(Exchange()) as server:
        feed = feed_of(server, "BTCUSDT", "ETHUSTD")
        with pytest.raises(SymbolError, match="no pair 'ETHUSTD'. Did you mean 'ETHUSDT'") as caught:
            async for _ in feed.events():
                pass
    assert "'BTCUSDT'" not in str(caught.value)


async def test_symbols_come_and_go_while_it_runs() -> None:
    async with ExchangeServer(Exchange(("BTCUSDT", "ETHUSDT", "SOLUSDT"))) as server:
        async with Taken(feed_of(server, "BTCUSDT")) as taken:
            await taken.feed.subscribe(["ETHUSDT", "SOLUSDT"])
            for symbol in taken.feed.symbols:
                await trade(server, 2, symbol)
            await taken.until(lambda: len(taken.ids("SOLUSDT")) == 2)
            await taken.feed.unsubscribe("ETHUSDT")
            await trade(server, 2, "ETHUSDT")
            await trade(server, 1, "SOLUSDT")
            await taken.until(lambda: len(taken.ids("SOLUSDT")) == 3)
            assert len(taken.ids("ETHUSDT")) == 2
            assert taken.feed.symbols == ("BTCUSDT", "SOLUSDT")
            # What was on its way is no fault of anybody's; what was never asked for is.
            server.lines[0].streams |= {"ethusdt@aggTrade", "xrpusdt@aggTrade"}
            await trade(server, 2, "ETHUSDT")
            await trade(server, 1, "SOLUSDT")
            await taken.until(lambda: len(taken.ids("SOLUSDT")) == 4)
            assert len(taken.ids("ETHUSDT")) == 2 and taken.feed.rejected_count == 0
            strange = aggregate_data("XRPUSDT", Aggregate(1, "1.0", "1.0", 1, 1, time.time_ns() // 10**6, maker=False))
            await server.send("xrpusdt@aggTrade", strange)
            await taken.until(lambda: taken.feed.rejected_count == 1)
            await server.drop("abort")
            await taken.until(lambda: taken.feed.reconnects == 1)
            assert {one.split("@")[0] for one in server.lines[0].streams} == {"btcusdt", "solusdt"}
            with pytest.raises(SymbolError, match="NOPEUSDT"):
                await taken.feed.subscribe("NOPEUSDT")
        assert not server.violations
        assert [one["method"] for one in server.heard] == ["SUBSCRIBE", "UNSUBSCRIBE"]


async def test_many_symbols_go_on_several_connections_within_the_rules() -> None:
    names = [f"S{number:04d}USDT" for number in range(1_300)]
    async with ExchangeServer(Exchange(names)) as server:
        server.weight_limit = 100_000
        async with Taken(feed_of(server, *names, connect_timeout_s=8.0)) as taken:
            await taken.until(lambda: sum(len(line.streams) for line in server.lines) == 2 * 1_300 + 3)
            assert len(server.lines) == 3
            assert all(len(line.streams) <= 1_024 for line in server.lines)
            await trade(server, 1, names[0])
            await trade(server, 1, names[-1])
            await taken.until(lambda: len(taken.ids(names[-1])) == 1)
        assert not server.violations


async def test_one_mute_symbol_is_stale_alone_and_subscribed_again() -> None:
    async with ExchangeServer(Exchange(), rate_per_s=100) as server:
        server.mute_symbols = {"ETHUSDT"}
        async with Taken(feed_of(server, symbol_stale_after_s=1.0)) as taken:
            await taken.until(lambda: any(one["method"] == "SUBSCRIBE" for one in server.heard))
            health = taken.feed.health
            assert health.loc["ETHUSDT"].state == "stale" and health.loc["BTCUSDT"].state == "live"
            assert server.heard[0]["params"] == ["ethusdt@aggTrade", "ethusdt@bookTicker"]
            server.mute_symbols = set()
            await taken.until(lambda: taken.feed.health.loc["ETHUSDT"].state == "live")
            assert taken.feed.health.loc["ETHUSDT"].stale_s > 0.0


# -- REST by itself ----------------------------------------------------------------------------


@pytest.fixture
async def exchange_server():
    async with ExchangeServer(Exchange()) as server:
        yield server


async def test_bars_come_in_pages_and_the_open_one_last(exchange_server: ExchangeServer) -> None:
    now_ms = time.time_ns() // 10**6
    for second in range(1_500, -1, -1):
        await exchange_server.trade("BTCUSDT", time_ms=now_ms - second * 1_000)
    rest = BinanceRest(exchange_server.rest_url)
    try:
        start_ns = (now_ms - 1_400_000) * 10**6
        pages = [page async for page in rest.bars("BTCUSDT", "1s", start_ns, (now_ms + 60_000) * 10**6)]
    finally:
        await rest.close()
    assert [len(page) for page in pages] == [1_000, pages[1].close.size]
    opens = [int(value) for page in pages for value in page.open_ns]
    assert opens == sorted(set(opens)) and opens[0] >= start_ns
    assert all(page.close_ns[0] - page.open_ns[0] == 10**9 for page in pages)
    assert pages[-1].close_ns[-1] > now_ms * 10**6
    prices = {one.time_ms // 1_000: float(one.price) for one in exchange_server.exchange.markets["BTCUSDT"].trades}
    assert pages[0].close[5] == prices[opens[5] // 10**9]


async def test_a_short_wait_is_waited_out_and_a_ban_is_an_error(exchange_server: ExchangeServer) -> None:
    await trade(exchange_server, 3)
    rest = BinanceRest(exchange_server.rest_url)
    try:
        exchange_server.rest_fails, exchange_server.rest_retry_after = [429], "1"
        began_s = time.monotonic()
        assert len(await rest.trades("BTCUSDT", 500, kind="aggregate", received_ns=1)) == 3
        assert 1.0 <= time.monotonic() - began_s < 3.0
        exchange_server.rest_fails, exchange_server.rest_retry_after = [418], "172800"
        with pytest.raises(RateLimitError, match="172,800 s") as caught:
            await rest.trades("BTCUSDT", 500, kind="aggregate", received_ns=1)
        assert caught.value.retry_after_s == 172_800
        # Whoever goes on asking during a ban has it made longer.
        asked = exchange_server.weight
        with pytest.raises(RateLimitError, match="a pause that is not over"):
            await rest.trades("BTCUSDT", 500, kind="aggregate", received_ns=1)
        assert exchange_server.weight == asked
        await rest.close()
        rest = BinanceRest(exchange_server.rest_url)
        exchange_server.rest_fails = [403]
        with pytest.raises(FeedError, match="403"):
            await rest.trades("BTCUSDT", 500, kind="aggregate", received_ns=1)
        exchange_server.rest_fails = [HTTPStatus.BAD_GATEWAY] * 3
        with pytest.raises(FeedError, match="502"):
            await rest.trades("BTCUSDT", 500, kind="aggregate", received_ns=1)
        with pytest.raises(SymbolError, match="NOPE"):
            await rest.trades("NOPE", 500, kind="aggregate", received_ns=1)
    finally:
        await rest.close()


async def test_bars_of_the_exchange_itself(exchange_server: ExchangeServer) -> None:
    feed = BinanceFeed(["BTCUSDT"], bars="1m", quotes=False, stream_url=exchange_server.url, **EAGER)
    async with Taken(feed) as taken:
        for number, closed in ((0, False), (0, True), (0, True), (1, True)):
            candle = {"t": 60_000 * number, "T": 60_000 * number + 59_999, "s": "BTCUSDT", "i": "1m", "o": "1.0"}
            candle |= {"c": "1.5", "h": "2.0", "l": "0.5", "v": "10.0", "x": closed}
            data = {"e": "kline", "E": 1, "s": "BTCUSDT", "k": candle}
            await exchange_server.tell("btcusdt@kline_1m", data)
        await taken.until(lambda: len(taken.events) >= 2)
    bars = [event for event in taken.events if type(event) is Bar]
    assert bars == [
        Bar("BTCUSDT", "1m", 1.0, 2.0, 0.5, 1.5, 10.0, 60_000 * 10**6 * number, 60_000 * 10**6 * (number + 1))
        for number in (0, 1)
    ]


@pytest.mark.parametrize("wrong", [10**400, "a step", None, []])
def test_a_rule_that_cannot_be_read_is_a_malformed_answer(wrong) -> None:
    symbol = binance_rest._Symbol(
        "BTCUSDT", filters=[{"filterType": "LOT_SIZE", "stepSize": wrong}, {"filterType": []}]
    )
    with pytest.raises(MalformedFrameError, match="rule LOT_SIZE of BTCUSDT cannot be read"):
        binance_rest._instrument(symbol, 0)
