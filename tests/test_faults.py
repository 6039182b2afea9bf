"""Each fault of a provider alone: the states that a feed goes through, and that nothing is lost by it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from http import HTTPStatus
from itertools import pairwise

import pytest

from qfkit.core.events import Bar, Gap, Quote, Tick
from qfkit.errors import FeedError
from qfkit.feeds import continuity, sockets
from qfkit.feeds.binance import BinanceFeed
from qfkit.feeds.inbox import Inbox
from tests.exchange_support import Taken, facts, feed_of, seen, trade
from tests.servers.exchange import Exchange, ExchangeServer

SEEN = ["connecting", "live"]
LOST = [*SEEN, "connecting", "live"]
STALE = [*SEEN, "stale", "connecting", "live"]
QUICK = {"stale_after_s": 0.6, "backoff_s": 0.02}


@pytest.fixture
async def server() -> AsyncIterator[ExchangeServer]:
    async with ExchangeServer(Exchange(), rate_per_s=200) as running:
        yield running


@pytest.fixture
async def quiet() -> AsyncIterator[ExchangeServer]:
    """Trades only when told to."""
    async with ExchangeServer(Exchange()) as running:
        yield running


def path(feed: BinanceFeed) -> list[str]:
    """The states in turn; a symbol's backfilling, which comes and goes with any hole, is looked at elsewhere."""
    plain = [state for _, state in feed.transitions if state != "backfilling"]
    return plain[:1] + [after for before, after in pairwise(plain) if after != before]


async def whole(taken: Taken, server: ExchangeServer) -> None:
    """What was given of the first symbol is all that was traded from its first on."""
    last = server.exchange.markets["BTCUSDT"].aggregates[-1].number
    await taken.until(lambda: bool(taken.ids()) and taken.ids()[-1] >= last)
    got = taken.ticks()
    had = [fact for fact in facts(server, first=got[0].trade_id) if fact[0] <= got[-1].trade_id]
    assert seen(got) == had
    assert not taken.gaps()


# -- the states that a fault leads through ------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "states"),
    [
        ("close_1000", LOST),
        ("close_1001", LOST),
        ("close_1012", LOST),
        ("abort", LOST),
        ("oversize", LOST),
        ("leave", LOST),
        ("silence", STALE),
        ("stall", STALE),
        ("notice", SEEN),
        ("rubbish", SEEN),
        ("drip", SEEN),
    ],
)
async def test_a_fault_of_the_line(server: ExchangeServer, fault: str, states: list[str]) -> None:
    # A busy machine is silent for a while too; only where silence is the fault may it be taken for one.
    patience = QUICK if states is STALE else {"stale_after_s": 10.0}
    async with Taken(feed_of(server, "BTCUSDT", **patience)) as taken:
        await taken.until(lambda: len(taken.ids()) > 5)
        await server.drop(fault)
        if fault not in ("rubbish", "drip"):
            await taken.until(lambda: taken.feed.reconnects == 1 and taken.feed.state == "live")
        else:
            await asyncio.sleep(0.3)
        assert path(taken.feed) == states
        await whole(taken, server)
        row = taken.feed.health.loc["BTCUSDT"]
        assert row.connects == taken.feed.reconnects + 1
        assert (row.stale_s >= 0.5) == ("stale" in states), "the silence that told so counts too"
        if fault == "rubbish":
            assert (taken.feed.rejected_count, row.rejected) == (4, 1)
            assert row.rejected_reasons == "malformed frame: 1"


async def test_a_server_that_ends_and_comes_again(server: ExchangeServer) -> None:
    async with Taken(feed_of(server, "BTCUSDT", **QUICK)) as taken:
        await taken.until(lambda: len(taken.ids()) > 5)
        await server.outage(0.4)
        await taken.until(lambda: taken.feed.reconnects == 1 and taken.feed.state == "live")
        assert path(taken.feed) == LOST
        await whole(taken, server)


@pytest.mark.parametrize(("fault", "share"), [("skip", 0.3), ("repeat", 0.5), ("shuffle", 0.3)])
async def test_a_fault_of_the_numbers_leaves_the_line_alone(server: ExchangeServer, fault: str, share: float) -> None:
    async with Taken(feed_of(server, "BTCUSDT", stale_after_s=10.0)) as taken:
        setattr(server, f"{fault}_share", share)
        await asyncio.sleep(0.4)
        setattr(server, f"{fault}_share", 0.0)
        await taken.until(lambda: len(taken.ids()) > 50 and taken.feed.state == "live")
        assert path(taken.feed) == SEEN and taken.feed.reconnects == 0
        await whole(taken, server)
        states = [state for _, state in taken.feed.transitions]
        assert ("backfilling" in states) == (fault != "repeat")
        assert taken.feed.duplicates > 0 or fault != "repeat"


async def test_a_burst_comes_whole_and_in_order(quiet: ExchangeServer) -> None:
    async with Taken(feed_of(quiet, "BTCUSDT", **QUICK)) as taken:
        began_s = time.monotonic()
        await trade(quiet, 1_300)
        await taken.until(lambda: len(taken.ids()) == 1_300)
        assert time.monotonic() - began_s < 2.0
        await whole(taken, quiet)
        assert path(taken.feed) == SEEN


async def test_pings_are_answered_and_none_are_sent() -> None:
    async with ExchangeServer(Exchange(), rate_per_s=50) as server:
        server.ping_interval_s = 0.1
        await server.outage(0.0)
        async with Taken(feed_of(server, "BTCUSDT")) as taken:
            await asyncio.sleep(0.4)
            (line,) = server.lines
            assert 0.0 < line.connection.latency < 0.1
            assert path(taken.feed) == SEEN
            assert not line.heard


async def test_a_server_that_sends_no_data_after_the_handshake_is_never_live(quiet: ExchangeServer) -> None:
    quiet.is_silent = True
    feed = feed_of(quiet, "BTCUSDT", stale_after_s=0.3, backoff_s=0.02, longest_backoff_s=0.05)
    task = asyncio.create_task(_drain(feed))
    while len(quiet.attempts) < 3:
        await asyncio.sleep(0.01)
    states = path(feed)[:4]
    assert states == ["connecting", "stale", "connecting", "stale"]
    assert feed.health.loc["BTCUSDT"].uptime == 0.0
    quiet.is_silent = False
    await _until(lambda: feed.state == "live")
    await _cancel(task)


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refused_reconnection_keeps_retry_after(server: ExchangeServer, status: int) -> None:
    async with Taken(feed_of(server, "BTCUSDT", **QUICK)) as taken:
        server.refuse, server.retry_after = HTTPStatus(status), "1"
        await server.drop("abort")
        await taken.until(lambda: len(server.attempts) == 2)
        server.refuse = None
        await taken.until(lambda: taken.feed.reconnects == 1)
        refused, answered = server.attempts[1:3]
        assert 1.0 <= answered - refused < 1.6
        assert path(taken.feed) == LOST
        await whole(taken, server)


@pytest.mark.parametrize("status", [403, 418])
async def test_a_refusal_that_says_no_time_is_kept_for_a_minute_at_least(server: ExchangeServer, status: int) -> None:
    async with Taken(feed_of(server, "BTCUSDT", **QUICK)) as taken:
        server.refuse = HTTPStatus(status)
        await server.drop("abort")
        await taken.until(lambda: len(server.attempts) == 2)
        server.refuse = None
        await asyncio.sleep(0.5)
        assert len(server.attempts) == 2
        assert taken.feed._links[0]._backoff.budget_wait_s() > 55.0


async def test_a_refused_renewal_waits_and_the_old_connection_goes_on(server: ExchangeServer) -> None:
    async with Taken(feed_of(server, "BTCUSDT", **QUICK)) as taken:
        server.refuse, server.retry_after = HTTPStatus.TOO_MANY_REQUESTS, "1"
        await server.drop("notice")
        await taken.until(lambda: len(server.attempts) == 2)
        server.refuse = None
        count = len(taken.ids())
        await asyncio.sleep(0.3)
        assert len(taken.ids()) > count and taken.feed.state == "live"
        await taken.until(lambda: taken.feed.reconnects == 1)
        assert len(server.attempts) == 3 and server.attempts[2] - server.attempts[1] >= 1.0
        assert path(taken.feed) == SEEN
        await whole(taken, server)


async def test_a_refusal_of_a_renewal_is_kept_when_the_old_connection_ends(server: ExchangeServer) -> None:
    async with Taken(feed_of(server, "BTCUSDT", **QUICK)) as taken:
        server.refuse, server.retry_after = HTTPStatus.TOO_MANY_REQUESTS, "1"
        await server.drop("notice")
        await taken.until(lambda: len(server.attempts) == 2)
        await asyncio.sleep(0.1)
        server.refuse = None
        await server.drop("abort")
        await taken.until(lambda: taken.feed.reconnects == 1)
        assert server.attempts[2] - server.attempts[1] >= 1.0
        await whole(taken, server)


async def test_a_server_that_accepts_and_closes_is_asked_a_handful_of_times(server: ExchangeServer) -> None:
    async with Taken(feed_of(server, "BTCUSDT", backoff_s=0.001, attempts_per_5_min=5)) as taken:
        server.closes_at_once = True
        await server.drop("close_1000")
        await asyncio.sleep(1.5)
        assert len(server.attempts) == 5
        assert path(taken.feed) == [*SEEN, "connecting"]


# -- planned reconnections ----------------------------------------------------------------------


async def test_planned_reconnections_overlap_and_lose_and_double_nothing(server: ExchangeServer) -> None:
    feed = feed_of(server, longest_s=0.4, stale_after_s=10.0, attempts_per_5_min=100)
    fewest = 99
    async with Taken(feed) as taken:
        end_s = time.monotonic() + 20.0
        while feed.reconnects < 3 and time.monotonic() < end_s:
            fewest = min(fewest, len(server.lines))
            await asyncio.sleep(0.002)
        assert fewest == 1
        assert feed.reconnects >= 2 and feed.duplicates > 0
        assert [state for _, state in feed.transitions] == SEEN, "nothing had to be fetched either"
        await whole(taken, server)
        quotes = [event for event in taken.events if type(event) is Quote and event.symbol == "BTCUSDT"]
        assert len(quotes) >= len(taken.ids()) - 1
        assert 0.9 < feed.health.loc["BTCUSDT"].uptime <= 1.0
    uptime = feed.health.loc["BTCUSDT"].uptime
    await asyncio.sleep(0.5)
    assert feed.health.loc["BTCUSDT"].uptime == uptime, "the time after the end is not counted"


async def test_a_symbol_that_comes_during_a_renewal_is_on_the_new_connection(server: ExchangeServer) -> None:
    async with Taken(feed_of(server, "BTCUSDT", **QUICK)) as taken:
        await server.drop("notice")
        await taken.until(lambda: len(server.lines) == 2)
        await taken.feed.subscribe("ETHUSDT")
        await taken.until(lambda: taken.feed.reconnects == 1)
        await taken.until(lambda: len(server.lines) == 1)
        assert "ethusdt@aggTrade" in server.lines[0].streams
        count = len(taken.ids("ETHUSDT"))
        await taken.until(lambda: len(taken.ids("ETHUSDT")) > count + 5)
        assert taken.feed.rejected_count == 0


async def test_a_symbol_that_comes_while_connecting_is_asked_for(server: ExchangeServer) -> None:
    server.handshake_delay_s = 0.3
    feed = feed_of(server, "BTCUSDT", **QUICK)
    task = asyncio.create_task(_drain(feed))
    await _until(lambda: bool(server.attempts))
    await feed.subscribe("ETHUSDT")
    await _until(lambda: feed.ledger["ETHUSDT"].events > 3)
    await feed.unsubscribe("BTCUSDT")
    assert feed.rejected_count == 0
    await _cancel(task)


# -- a slow taker -------------------------------------------------------------------------------


async def test_a_slow_taker_is_no_silence_and_loses_no_trade(
    server: ExchangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "Inbox", partial(Inbox, capacity=40, conflate_from=10))
    feed = feed_of(server, "BTCUSDT", "ETHUSDT", stale_after_s=0.4, symbol_stale_after_s=0.4, backoff_s=0.02)
    events: list = []

    async def take() -> None:
        async for batch in feed:
            events.extend(batch)
            if len(events) < 100:
                await asyncio.sleep(1.2)

    task = asyncio.create_task(take())
    await _until(lambda: sum(type(event) is Tick for event in events) > 500, 15.0)
    assert path(feed) == SEEN and feed.reconnects == 0 and not server.heard
    assert feed.health.stale_s.sum() == 0.0
    assert feed.conflated > 0
    assert not [event for event in events if type(event) is Gap]
    ids = [event.trade_id for event in events if type(event) is Tick and event.symbol == "BTCUSDT"]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert all(event.flag is None for event in events if type(event) is Tick)
    await _cancel(task)


async def test_a_standstill_of_the_loop_is_no_silence(server: ExchangeServer) -> None:
    async with Taken(feed_of(server, "BTCUSDT", stale_after_s=0.5, symbol_stale_after_s=0.5)) as taken:
        await asyncio.sleep(0.2)
        for _ in range(2):
            time.sleep(1.2)
            await asyncio.sleep(0.3)
        assert path(taken.feed) == SEEN and taken.feed.reconnects == 0
        await whole(taken, server)


# -- the end in each state ----------------------------------------------------------------------


def _own_tasks() -> set[str]:
    names = {task.get_name() for task in asyncio.all_tasks()}
    return {name for name in names if "Binance" in name or "mending" in name}


@pytest.mark.parametrize("state", ["connecting", "preparing", "waiting", "live", "stale", "backfilling", "renewing"])
async def test_cancelling_ends_it_at_once_in_every_state(server: ExchangeServer, state: str) -> None:
    feed = feed_of(server, "BTCUSDT", stale_after_s=0.4, backoff_s=30.0)
    if state == "connecting":
        server.handshake_delay_s = 30.0
    if state == "preparing":
        server.rest_delay_s = 30.0
    task = asyncio.create_task(_drain(feed))
    if state in ("connecting", "preparing"):
        await _until(lambda: bool(server.attempts) and (bool(server.asked) or state == "connecting"))
    else:
        await _until(lambda: feed.ledger["BTCUSDT"].events > 3)
    if state == "waiting":
        await server.drop("abort")
        await _until(lambda: feed.state == "connecting")
    if state == "stale":
        await server.drop("stall")
        await _until(lambda: "stale" in path(feed))
    if state == "backfilling":
        server.rest_delay_s = 30.0
        server.skip_share = 0.5
        await _until(lambda: feed.state == "backfilling" and len(server.asked) > 1)
    if state == "renewing":
        server.handshake_delay_s = 30.0
        await server.drop("notice")
        await _until(lambda: len(server.attempts) == 2)
    began_s = time.monotonic()
    await _cancel(task)
    took_s = time.monotonic() - began_s
    server.rest_delay_s = server.handshake_delay_s = 0.0
    assert took_s < 0.3
    assert feed.state == "closed"
    assert [state for _, state in feed.transitions].count("closed") == 1
    assert not _own_tasks()
    assert feed.ledger["BTCUSDT"].state == "closed"
    await _until(lambda: not server.lines, 1.0)


@pytest.mark.parametrize("steps", range(0, 12, 2))
async def test_cancelling_while_a_successor_takes_over_leaves_no_connection(server: ExchangeServer, steps: int) -> None:
    feed = feed_of(server, "BTCUSDT", longest_s=0.05)
    task = asyncio.create_task(_drain(feed))
    await _until(lambda: len(server.lines) == 2)
    renewal = next(one for one in asyncio.all_tasks() if one.get_name().startswith("renewal"))
    await asyncio.wait({renewal})
    for _ in range(steps):
        await asyncio.sleep(0)
    await _cancel(task)
    assert not _own_tasks()
    await _until(lambda: not server.lines, 1.0)


# -- what is missing ----------------------------------------------------------------------------


async def test_a_connection_lost_while_a_hole_is_mended_is_looked_at_again(quiet: ExchangeServer) -> None:
    async with Taken(feed_of(quiet, "BTCUSDT", **QUICK)) as taken:
        await trade(quiet, 2)
        quiet.skip_share = 1.0
        await trade(quiet, 2)
        quiet.skip_share = 0.0
        quiet.rest_delay_s = 0.8
        await trade(quiet, 1)
        await taken.until(lambda: taken.feed.state == "backfilling" and len(quiet.asked) == 2)
        await quiet.drop("abort")
        await trade(quiet, 3)
        quiet.rest_delay_s = 0.0
        # Nothing more is traded: only the archive can tell of the last three.
        await taken.until(lambda: len(taken.ids()) == 8)
        await whole(taken, quiet)
        assert taken.feed.health.loc["BTCUSDT"].gaps_filled == 2


async def test_a_connection_lost_after_its_notice_is_looked_at_too(quiet: ExchangeServer) -> None:
    async with Taken(feed_of(quiet, "BTCUSDT", stale_after_s=3.0, backoff_s=0.02)) as taken:
        await trade(quiet, 2)
        quiet.handshake_delay_s = 0.3
        await quiet.drop("leave")
        await trade(quiet, 3)
        await taken.until(lambda: len(taken.ids()) == 5)
        await whole(taken, quiet)


async def test_unsubscribing_during_a_backfill_and_coming_back_gives_no_old_trades(quiet: ExchangeServer) -> None:
    async with Taken(feed_of(quiet, **QUICK)) as taken:
        await trade(quiet, 2)
        await taken.until(lambda: len(taken.ids()) == 2)
        quiet.skip_share = 1.0
        await trade(quiet, 2)
        quiet.skip_share = 0.0
        quiet.rest_delay_s = 0.5
        await trade(quiet, 1)
        await taken.until(lambda: taken.feed.state == "backfilling" and len(quiet.asked) == 2)
        await taken.feed.unsubscribe("BTCUSDT")
        assert taken.feed.state == "live"
        quiet.rest_delay_s = 0.0
        await trade(quiet, 3)
        await taken.feed.subscribe("BTCUSDT")
        await trade(quiet, 3)
        await asyncio.sleep(0.8)
        first = taken.ids()[0]
        assert taken.ids() == [first, first + 1, *range(first + 8, first + 11)]
        assert taken.feed.state == "live" and taken.feed.health.loc["BTCUSDT"].state == "live"


async def test_many_symbols_lost_at_once_are_all_mended() -> None:
    names = [f"S{number:03d}USDT" for number in range(150)]
    async with ExchangeServer(Exchange(names)) as server:
        server.weight_limit = 10**9
        server.rest_delay_s = 0.02
        async with Taken(feed_of(server, *names, stale_after_s=5.0, backoff_s=0.02)) as taken:
            for name in names:
                await trade(server, 1, name)
            await taken.until(lambda: len(taken.ids(names[-1])) == 1)
            await server.drop("abort")
            for name in names:
                await trade(server, 2, name)
            await taken.until(lambda: all(taken.feed._lines[name].place == 502 for name in names))
            assert not taken.gaps()
            assert taken.feed.health.gaps_filled.sum() == 150


async def test_a_backfill_ends_when_too_much_waits_behind_it(
    quiet: ExchangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuity, "_MOST_HELD", 50)
    async with Taken(feed_of(quiet, "BTCUSDT")) as taken:
        await trade(quiet, 1)
        await taken.until(lambda: len(taken.ids()) == 1)
        quiet.rest_delay_s = 30.0
        quiet.skip_share = 1.0
        await trade(quiet, 3)
        quiet.skip_share = 0.0
        await trade(quiet, 60)
        await taken.until(lambda: len(taken.ids()) == 61)
        (gap,) = taken.gaps()
        assert gap.missing == 3 and "newer ones wait" in gap.reason


async def test_a_number_that_cannot_be_is_rejected_and_moves_nothing(quiet: ExchangeServer) -> None:
    async with Taken(feed_of(quiet, "BTCUSDT")) as taken:
        await trade(quiet, 2)
        one = {"e": "aggTrade", "s": "BTCUSDT", "p": "1.0", "q": "1.0", "f": 1, "l": 1, "T": 1, "m": True}
        for number in (10**12, 2**63, 10**30, -(10**15)):
            await quiet.send("btcusdt@aggTrade", one | {"a": number})
        await trade(quiet, 2)
        await taken.until(lambda: len(taken.ids()) == 4)
        await whole(taken, quiet)
        assert taken.feed.health.loc["BTCUSDT"].rejected >= 3


async def test_data_of_another_kind_than_asked_for_are_rejected(quiet: ExchangeServer) -> None:
    candle = {"t": 60_000, "T": 119_999, "s": "BTCUSDT", "i": "1m", "o": "1.0", "c": "1.5", "h": "2.0", "l": "0.5"}
    kline = {"e": "kline", "E": 1, "s": "BTCUSDT", "k": candle | {"v": "10.0", "x": True}}
    one = {"e": "aggTrade", "s": "BTCUSDT", "a": 5, "p": "1.0", "q": "1.0", "f": 1, "l": 1, "T": 1, "m": True}
    async with Taken(feed_of(quiet, "BTCUSDT")) as taken:
        await _say(quiet, "btcusdt@kline_1m", kline)
        await taken.until(lambda: taken.feed.rejected_count == 1)
    async with Taken(feed_of(quiet, "BTCUSDT", bars="5m")) as taken:
        await _say(quiet, "btcusdt@kline_5m", kline)
        await _say(quiet, "btcusdt@aggTrade", one)
        await taken.until(lambda: taken.feed.rejected_count == 2)
        assert not [event for event in taken.events if type(event) in (Tick, Bar)]


async def test_a_minute_in_which_nothing_was_traded_is_no_gap(quiet: ExchangeServer) -> None:
    now_ms = time.time_ns() // 60_000_000_000 * 60_000
    minutes = [now_ms - 60_000 * back for back in (5, 4, 2, 1)]  # the third was quiet
    for minute in minutes:
        await quiet.trade("BTCUSDT", time_ms=minute + 1_000)
    async with Taken(feed_of(quiet, "BTCUSDT", bars="1m", quotes=False)) as taken:
        for minute in (minutes[0], minutes[-1]):
            row = quiet.exchange.kline("BTCUSDT", minute, 60_000)
            candle = {"t": row[0], "T": row[6], "s": "BTCUSDT", "i": "1m", "o": row[1], "h": row[2], "l": row[3]}
            candle |= {"c": row[4], "v": row[5], "x": True}
            await quiet.send("btcusdt@kline_1m", {"e": "kline", "E": 1, "s": "BTCUSDT", "k": candle})
        await taken.until(lambda: sum(type(event) is Bar for event in taken.events) == 4)
        assert [event.open_ns // 10**6 for event in taken.events if type(event) is Bar] == minutes
        assert not taken.gaps()
        row = taken.feed.health.loc["BTCUSDT"]
        assert (row.gaps_filled, row.gaps_open, row.missing) == (1, 0, 0)


async def test_numbers_that_begin_anew_are_a_gap_and_not_the_end(quiet: ExchangeServer) -> None:
    async with Taken(feed_of(quiet, "BTCUSDT")) as taken:
        await trade(quiet, 30)
        await taken.until(lambda: len(taken.ids()) == 30)
        await asyncio.sleep(0.01)
        quiet.exchange.markets["BTCUSDT"].aggregates.clear()
        await trade(quiet, 25)
        await taken.until(lambda: taken.ids()[-1] == 524)
        assert taken.ids()[:30] == list(range(500, 530))
        (gap,) = taken.gaps()
        assert taken.ids()[30:] == list(range(taken.ids()[30], 525)) and len(taken.ids()[30:]) >= 5
        assert gap.missing is None and gap.start_ns < gap.end_ns == taken.ticks()[30].time_ns
        assert gap.reason == f"the provider's numbers go on from {taken.ids()[30]} instead of 529"


async def test_a_second_notice_during_a_renewal_is_no_second_renewal(server: ExchangeServer) -> None:
    async with Taken(feed_of(server, "BTCUSDT", **QUICK)) as taken:
        await server.drop("notice")
        await taken.until(lambda: len(server.lines) == 2)
        await server.drop("notice", server.lines[:1])
        await taken.until(lambda: taken.feed.reconnects == 1)
        await asyncio.sleep(0.5)
        assert len(server.attempts) == 2 and path(taken.feed) == SEEN
        await whole(taken, server)


async def test_a_gap_says_why_it_is_one(quiet: ExchangeServer) -> None:
    async with Taken(feed_of(quiet, "BTCUSDT")) as taken:
        await trade(quiet, 1)
        quiet.loss_share = 1.0
        await trade(quiet, 2)
        quiet.loss_share = 0.0
        await trade(quiet, 1)
        await taken.until(lambda: len(taken.ids()) == 2)
        (gap,) = taken.gaps()
        assert gap.reason == "2 from number 501 on were not received, and the provider has newer ones only"


# -- subscriptions and the ledger ---------------------------------------------------------------


async def test_a_refused_subscription_is_told_and_taken_back(quiet: ExchangeServer) -> None:
    async with Taken(feed_of(quiet, "BTCUSDT")) as taken:
        quiet.refuses_requests = True
        with pytest.raises(FeedError, match="Binance refuses the subscription .2: Invalid request"):
            await taken.feed.subscribe("ETHUSDT")
        assert taken.feed.symbols == ("BTCUSDT",)
        assert taken.feed._links[0].symbols == ("BTCUSDT",)


async def test_an_answer_that_cannot_come_any_more_is_not_waited_for(quiet: ExchangeServer) -> None:
    async with Taken(feed_of(quiet, "BTCUSDT", **QUICK)) as taken:
        await quiet.drop("stall")
        asked = asyncio.create_task(taken.feed.subscribe("ETHUSDT"))
        await taken.until(asked.done, 2.0)
        asked.result()
        await taken.until(lambda: taken.feed.reconnects == 1)
        assert "ethusdt@aggTrade" in quiet.lines[-1].streams
        await quiet.drop("stall")
        asked = asyncio.create_task(taken.feed.unsubscribe("ETHUSDT"))
        await asyncio.sleep(0.05)
        await taken.feed.stop()
        await asyncio.wait_for(asked, 2.0)


async def test_a_trade_behind_a_heartbeat_is_late(quiet: ExchangeServer) -> None:
    async with Taken(feed_of(quiet, "BTCUSDT", stale_after_s=5.0)) as taken:
        await trade(quiet, 1)
        await taken.until(lambda: taken.feed._beat_ns > 0)
        await quiet.trade("BTCUSDT", time_ms=time.time_ns() // 10**6 - 10_000)
        await trade(quiet, 1)
        await taken.until(lambda: len(taken.ids()) == 3)
        row = taken.feed.health.loc["BTCUSDT"]
        assert row.late == taken.feed.view().late == 1
        assert 5_000 < row.lag_p99_ms < 12_000 and row.lag_p50_ms < 500


async def test_a_symbol_that_never_sent_is_stale_also_while_somebody_looks(server: ExchangeServer) -> None:
    server.mute_symbols = {"ETHUSDT"}
    async with Taken(feed_of(server, symbol_stale_after_s=0.8)) as taken:
        end_s = time.monotonic() + 4.0
        while taken.feed.health.loc["ETHUSDT"].state != "stale":
            assert time.monotonic() < end_s
            await asyncio.sleep(0.1)
        row = taken.feed.health.loc["ETHUSDT"]
        assert row.stale_s >= 0.7 and row.uptime < 0.5 and row.age_s != row.age_s
        assert taken.feed.health.loc["BTCUSDT"].stale_s == 0.0


# -- helpers ------------------------------------------------------------------------------------


async def _say(server: ExchangeServer, stream: str, data: dict) -> None:
    """Send to all what nobody asked for."""
    for line in server.lines:
        await line.connection.send(json.dumps({"stream": stream, "data": data}))


async def _drain(feed: BinanceFeed) -> None:
    async for _ in feed:
        pass


async def _cancel(task: asyncio.Task) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _until(holds, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.005)
