"""Alpha Vantage on the loopback: what its refusals become, a budget that is kept, a key that nobody sees."""

import asyncio
import json
import logging
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qfkit as qf
from qfkit.core.events import Bar, Gap, Heartbeat, Hours, Tick
from qfkit.errors import (
    ConnectionFailedError,
    FeedError,
    MalformedFrameError,
    ParameterError,
    RateLimitError,
    SessionError,
    SymbolError,
    TimeframeError,
)
from qfkit.feeds import alpha_vantage_client, alpha_vantage_rest
from qfkit.feeds.alpha_vantage import AlphaVantageFeed, AlphaVantageWebSocket
from qfkit.feeds.alpha_vantage_budget import ApiKey, Budget
from qfkit.feeds.alpha_vantage_replies import Refusal, Reply, bars_of_csv, bars_of_series, quote_of, reply_of
from qfkit.feeds.alpha_vantage_rest import AlphaVantageRest
from qfkit.feeds.alpha_vantage_symbols import SymbolHours
from qfkit.feeds.recipes import feed_of
from qfkit.strategies import MovingAverageCrossover
from qfkit.tables import BarColumns
from tests.servers.alpha_vantage import REFUSALS, AlphaVantageServer, Row, minute_rows
from tests.taken import Taken as AnyTaken

SECOND_NS = 10**9
NEW_YORK = ZoneInfo("America/New_York")
RATE = 200.0
_numbers = count(1)


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpha_vantage_client, "_BACKOFF_S", 0.01)


def new_key() -> str:
    """A key of its own for each object: those with one key share a budget."""
    return f"SECRETKEY{next(_numbers):06}"


def rest_of(server: AlphaVantageServer, **options) -> AlphaVantageRest:
    return AlphaVantageRest(
        options.pop("key", None) or new_key(), url=server.url, **({"requests_per_second": RATE} | options)
    )


def quick_server(**options) -> AlphaVantageServer:
    return AlphaVantageServer(**({"requests_per_day": 10_000, "requests_per_second": 1e9} | options))


def new_york_ns(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=NEW_YORK).timestamp()) * SECOND_NS


NOON_NS = new_york_ns(2026, 11, 24, 12, 0)
TODAY, YESTERDAY = "2026-11-24", "2026-11-23"


class SetFeed(AlphaVantageFeed):
    """A feed by whose clock it is another time when it begins."""

    def __init__(self, symbols, begins_ns: int, **options) -> None:
        self._shift_ns = begins_ns - time.time_ns()
        super().__init__(symbols, **options)

    def now_ns(self) -> int:
        return self._clock.now_ns() + self._shift_ns


def feed_on(server: AlphaVantageServer, *symbols: str, begins_ns: int = NOON_NS, **options) -> SetFeed:
    quick = {"key": options.pop("key", None) or new_key(), "requests_per_second": RATE, "requests_per_day": None}
    return SetFeed(symbols or ["IBM"], begins_ns, url=server.url, **(quick | {"poll_every_s": 0.05} | options))


class Taken(AnyTaken):
    """A feed that polls may take its time to be live, and ends quickly."""

    def __init__(self, feed: AlphaVantageFeed) -> None:
        super().__init__(feed, waits=False)

    async def __aexit__(self, *error: object) -> None:
        await self.feed.stop()
        await asyncio.wait_for(self._task, 2)


async def all_bars(rest: AlphaVantageRest, symbol: str, timeframe: str, start_ns: int, end_ns: int) -> list[BarColumns]:
    return [page async for page in rest.bars(symbol, timeframe, start_ns, end_ns)]


# -- real replies ------------------------------------------------------------------------------


async def test_recorded_replies_by_hand_checked_numbers(data_folder: Path) -> None:
    folder = data_folder / "alphavantage"
    async with quick_server() as server:
        server.recorded["GLOBAL_QUOTE"] = (folder / "global_quote_MSFT_20181005.json").read_bytes()
        server.recorded["TIME_SERIES_INTRADAY"] = (folder / "time_series_intraday_1min_MSFT_20171218.json").read_bytes()
        rest = rest_of(server)
        record = await rest.quote("MSFT")
        assert (record.symbol, record.price, record.volume, record.previous_close) == (
            "MSFT",
            112.13,
            29062853.0,
            112.79,
        )
        assert (record.trading_day, record.delayed_minutes) == (date(2018, 10, 5), 0)
        page = await rest.latest("MSFT", "1m")
        assert len(page) == 100 and (page.close_ns - page.open_ns == 60 * SECOND_NS).all()
        # In December New York is five hours behind UTC.
        first, last = (datetime.fromtimestamp(int(page.open_ns[place]) // SECOND_NS, UTC) for place in (0, -1))
        assert (first, last) == (datetime(2017, 12, 18, 18, 17, tzinfo=UTC), datetime(2017, 12, 18, 19, 56, tzinfo=UTC))
        values = [getattr(page, name)[-1] for name in ("open", "high", "low", "close", "volume")]
        assert values == [86.49, 86.5, 86.475, 86.5, 10494.0]
        (part,) = await all_bars(rest, "MSFT", "1m", int(page.open_ns[3]), int(page.open_ns[5]))
        assert part.open_ns.tolist() == page.open_ns[3:5].tolist()
        await rest.close()


def test_a_recorded_csv_by_hand_checked_numbers(data_folder: Path) -> None:
    body = (data_folder / "alphavantage" / "intraday_extended_1min_20201123_20201218.csv").read_bytes()
    page, skipped = bars_of_csv("IBM", "1m", body, NEW_YORK)
    assert (len(page), skipped) == (11_190, 0)
    assert page.open_ns[-1] == new_york_ns(2020, 12, 18, 20, 0) == 1_608_339_600 * SECOND_NS
    assert [getattr(page, name)[-1] for name in ("open", "high", "low", "close", "volume")] == [
        218.79, 218.79, 218.75, 218.75, 1102.0,
    ]  # fmt: skip
    assert (page.open_ns[1:] > page.open_ns[:-1]).all() and (page.close_ns[:-1] <= page.open_ns[1:]).all()
    shifted, _ = bars_of_csv("IBM", "1m", body, NEW_YORK, "end")
    assert (page.open_ns - shifted.open_ns == 60 * SECOND_NS).all()


async def test_summer_and_winter_of_new_york() -> None:
    # The clocks went forward on Sunday 2026-03-08: the same hour of two sessions is an hour nearer in UTC.
    rows = minute_rows(datetime(2026, 3, 6, 15, 59), [100.0]) + minute_rows(datetime(2026, 3, 9, 9, 30), [101.0, 102.0])
    async with quick_server() as server:
        server.series["IBM", "1min"] = rows
        rest = rest_of(server)
        page = await rest.latest("IBM", "1m")
        times = [datetime.fromtimestamp(one // SECOND_NS, UTC) for one in page.open_ns.tolist()]
        assert [f"{one:%m-%d %H:%M}" for one in times] == ["03-06 20:59", "03-09 13:30", "03-09 13:31"]
        server.zone = "Nowhere/Special"
        with pytest.raises(MalformedFrameError, match="Nowhere/Special"):
            await rest.latest("IBM", "1m")
        await rest.close()


# -- refusals ----------------------------------------------------------------------------------

_FINAL = {
    "day": (RateLimitError, "midnight in New York"),
    "day_with_key": (RateLimitError, "midnight in New York"),
    "premium": (FeedError, "premium endpoint"),
    "full": (FeedError, "premium endpoint"),
    "demo": (FeedError, "does not accept the key"),
    "key": (FeedError, "does not accept the key"),
    "symbol": (SymbolError, "Alpha Vantage has no TIME_SERIES_INTRADAY of IBM"),
    "empty": (SymbolError, "Alpha Vantage has no TIME_SERIES_INTRADAY of IBM"),
    "unknown": (FeedError, "moving to another continent"),
}
_PASSING = {"burst": "burst", "note": "minute", "premium_burst": "burst", "premium_minute": "minute"}


@pytest.mark.parametrize("datatype", ["json", "csv"])
@pytest.mark.parametrize("name", _FINAL)
async def test_a_refusal_that_waiting_does_not_help(name: str, datatype: str) -> None:
    kind, text = _FINAL[name]
    async with quick_server() as server:
        server.refuse = name
        rest = rest_of(server, datatype=datatype, key=(key := new_key()))
        with pytest.raises(kind, match=text) as caught:
            await rest.latest("IBM", "1m")
        assert type(caught.value) is kind and key not in str(caught.value)
        assert len(server.asked) == 1, "it was asked again, in vain"
        await rest.close()


@pytest.mark.parametrize("name", _PASSING)
async def test_a_refusal_that_is_waited_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpha_vantage_rest, "_MINUTE_WAIT_S", 0.1)
    assert reply_of(json.dumps(REFUSALS[name]).encode(), "Global Quote").kind == _PASSING[name]
    async with quick_server() as server:
        server.set_quote("IBM", 101.0, 5, TODAY)
        server.refuse_next = [name, name]
        rest = rest_of(server)
        assert (await rest.quote("IBM")).price == 101.0
        assert len(server.asked) == 3
        server.refuse = name
        with pytest.raises(RateLimitError, match="too many requests at once") as caught:
            await rest.quote("IBM")
        assert caught.value.retry_after_s == 60.0 and len(server.asked) == 7
        await rest.close()


async def test_an_unknown_symbol_has_an_empty_quote_and_a_delayed_one_another_key() -> None:
    async with quick_server() as server:
        server.set_quote("IBM", 101.0, 5, TODAY)
        rest = rest_of(server, entitlement="delayed")
        record = await rest.quote("IBM")
        assert (record.price, record.delayed_minutes) == (101.0, 15)
        with pytest.raises(SymbolError, match="no GLOBAL_QUOTE of NOPE"):
            await rest.quote("NOPE")
        server.is_free = True
        with pytest.raises(FeedError, match="leave out entitlement="):
            await rest.quote("IBM")
        await rest.close()


async def test_http_errors_silence_and_rubbish() -> None:
    async with quick_server() as server:
        server.set_quote("IBM", 101.0, 5, TODAY)
        rest = rest_of(server, timeout_s=0.3)
        server.statuses, server.retry_after = [429, 500], "0.2"
        began_s = time.monotonic()
        assert (await rest.quote("IBM")).price == 101.0
        assert time.monotonic() - began_s >= 0.2 and len(server.asked) == 3
        server.statuses, server.retry_after = [429], "86400"
        with pytest.raises(RateLimitError, match="86,400 s"):
            await rest.quote("IBM")
        server.statuses = [502] * 3
        with pytest.raises(ConnectionFailedError, match="HTTP 502"):
            await rest.quote("IBM")
        server.statuses = [403]
        with pytest.raises(FeedError, match="HTTP 403"):
            await rest.quote("IBM")
        for body in (b"", b"<html>busy</html>", b"[]", b'{"Global Quote": 3}', b'{"Global Quote": {"05. price": ""}}'):
            server.body = body
            with pytest.raises(MalformedFrameError):
                await rest.quote("IBM")
        server.body, server.hangs = None, True
        with pytest.raises(ConnectionFailedError, match="nothing within 0.3 s"):
            await rest.quote("IBM")
        server.hangs, server.drips = False, True
        with pytest.raises(ConnectionFailedError, match="nothing within 0.3 s"):
            await rest.quote("IBM")
        server.drips, server.drops = False, True
        with pytest.raises(ConnectionFailedError, match="did not answer"):
            await rest.quote("IBM")
        await rest.close()
    with pytest.raises(ConnectionFailedError, match="did not answer"):
        await rest.quote("IBM")
    await rest.close()


# -- the key -----------------------------------------------------------------------------------


def test_a_key_is_asked_for_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPHAVANTAGE_API_KEY", raising=False)
    for make in (AlphaVantageRest, lambda: AlphaVantageFeed(["IBM"])):
        with pytest.raises(FeedError, match="ALPHAVANTAGE_API_KEY, or give key=.*free"):
            make()
    with pytest.raises(FeedError, match="copy it anew") as caught:
        AlphaVantageRest("SECRET KEY")
    assert "SECRET" not in str(caught.value)
    monkeypatch.setenv("ALPHAVANTAGE_API_KEY", "FROMTHEENVIRONMENT")
    assert AlphaVantageRest()._key.reveal() == "FROMTHEENVIRONMENT"


def test_a_key_is_struck_out_of_what_comes() -> None:
    key = ApiKey("Abc1234")
    assert key.redact(b"your key abc1234, ABC1234 and Abc1234x") == b"your key <key>, <key> and <key>x"
    assert "Abc1" not in f"{key} {key!r}" and ApiKey("demo").redact(b"a demo") == b"a demo"


async def failure_of(call) -> FeedError:
    """An error without a frame of a test in its traceback: tests know the key."""
    try:
        await call
    except FeedError as error:
        return error
    raise AssertionError("it did not fail")


def all_texts(error: BaseException | None) -> Iterator[str]:
    """Everything that a traceback can show, the locals of each frame too."""
    while error is not None:
        yield "".join(traceback.format_exception(error))
        yield "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        yield repr(error)
        error = error.__cause__ or error.__context__


async def test_the_key_is_in_no_log_error_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("asyncio", "httpcore", "httpx", "qfkit"):
        caplog.set_level(logging.DEBUG, logger=name)
    key = new_key()
    errors: list[BaseException] = []
    async with quick_server() as server:
        rest = rest_of(server, key=key, timeout_s=0.2)
        server.set_quote("IBM", 101.0, 5, TODAY)
        await rest.quote("IBM")
        assert server.asked[0]["apikey"] == key, "the server has it"
        faults = [{"refuse": name} for name in REFUSALS if name not in _PASSING and not name.startswith("day")]
        faults += [{"statuses": [403]}, {"statuses": [500] * 3}, {"body": f"<b>{key}</b>".encode()}, {"hangs": True}]
        faults += [{"body": json.dumps({"Global Quote": {"05. price": key}}).encode()}, {"drops": True}]
        faults += [{"refuse": "day_with_key"}]
        for fault in faults:
            before = {name: getattr(server, name) for name in fault}
            vars(server).update(fault)
            errors.append(await failure_of(rest.quote("IBM")))
            vars(server).update(before)
        feed = feed_on(server, key=key)
        shown = [
            repr(rest),
            str(rest),
            repr(feed),
            feed.label,
            json.dumps(feed.recipe()),
            repr(vars(rest)),
            repr(vars(feed)),
        ]
        shown += [repr(feed.history_source()), repr(feed.view())]
        await rest.close()
    shown += [text for error in errors for text in all_texts(error)]
    shown += [f"{record.getMessage()} {record.args}" for record in caplog.records]
    assert any("HTTP Request: GET" in text for text in shown) and any("send_request_headers" in text for text in shown)
    assert not [text for text in shown if key.lower() in text.lower()]


def test_the_key_is_not_in_a_session_and_its_journal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = new_key()
    server = quick_server()
    qf.run(server.__aenter__())
    try:
        server.set_quote("IBM", 101.0, 5, TODAY)
        session = qf.paper(MovingAverageCrossover(), feed_on(server, key=key), name="kept", journal=tmp_path)
        session.start()
        deadline_s = time.monotonic() + 5
        while session.snapshot.events < 3 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        server.body = f"rubbish with {key}".encode()
        time.sleep(0.3)
        session.stop()
        assert session.verify()
        server.body, server.refuse = None, "unknown"
        failing = qf.paper(MovingAverageCrossover(), feed_on(server, key=key), name="failing", journal=tmp_path)
        failing.start()
        deadline_s = time.monotonic() + 5
        while failing.snapshot.state not in ("failed", "stopped") and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert isinstance(failing.error, FeedError | SessionError)
        shown = [
            *all_texts(failing.error),
            repr(session),
            repr(failing),
            repr(session.snapshot),
            repr(failing.snapshot),
        ]
    finally:
        qf.run(server.__aexit__())
    assert server.asked[0]["apikey"] == key
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"AlphaVantageFeed" in path.read_bytes() for path in files)
    assert not [path for path in files if key.encode() in path.read_bytes()]
    shown += [record.getMessage() for record in caplog.records]
    assert not [text for text in shown if key in text]


def test_a_feed_is_made_again_from_its_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"url": "http://127.0.0.1:9003", "function": "intraday", "timeframe": "5m", "requests_per_day": None}
    feed = AlphaVantageFeed(["IBM"], key="ARGUMENT", **given)
    recipe = json.loads(json.dumps(feed.recipe()))
    monkeypatch.setenv("ALPHAVANTAGE_API_KEY", "ENVIRONMENT")
    again = feed_of(recipe, feed.label)
    assert type(again) is AlphaVantageFeed and again.recipe() == recipe and again.timeframe == "5m"
    assert AlphaVantageWebSocket is AlphaVantageFeed and again.is_live


# -- the budget --------------------------------------------------------------------------------


async def test_the_server_never_sees_more_than_the_key_may() -> None:
    async with AlphaVantageServer(requests_per_day=6, requests_per_second=10.0) as server:
        server.set_quote("IBM", 101.0, 5, TODAY)
        key = new_key()
        one, other = (rest_of(server, key=key, requests_per_day=6, requests_per_second=10.0) for _ in range(2))
        await asyncio.gather(*(rest.quote("IBM") for rest in (one, other) for _ in range(3)))
        with pytest.raises(RateLimitError, match="6 requests .* midnight in New York") as caught:
            await other.quote("IBM")
        assert 0.0 < caught.value.retry_after_s <= 25 * 3_600
        assert (len(server.asked), server.violations, one.requests_left) == (6, [], 0)
        spaces = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
        assert min(spaces) >= 0.1
        await one.close()
        await other.close()


async def test_a_free_keys_pace_is_one_a_second() -> None:
    async with AlphaVantageServer() as server:
        server.set_quote("IBM", 101.0, 5, TODAY)
        rest = AlphaVantageRest(new_key(), url=server.url)
        for _ in range(3):
            await rest.quote("IBM")
        assert server.violations == [] and server.times[2] - server.times[0] >= 2.0
        await rest.close()


def test_a_day_is_new_yorks() -> None:
    budget = Budget()
    evening_ns = new_york_ns(2026, 10, 31, 23, 59)
    assert budget.take(1, evening_ns, 0.0) == 0.0
    with pytest.raises(RateLimitError, match="2026-11-01 04:00 UTC") as caught:
        budget.take(1, evening_ns, 0.0)
    assert caught.value.retry_after_s == 60.0
    # The day on which the clocks go back has 25 hours.
    midnight_ns = evening_ns + 60 * SECOND_NS
    while budget.take(1, midnight_ns, 0.0):
        pass
    with pytest.raises(RateLimitError) as caught:
        budget.take(1, midnight_ns, 0.0)
    assert caught.value.retry_after_s == 25 * 3_600
    assert budget.left(1, midnight_ns) == 0 and budget.left(None, midnight_ns) is None
    assert "used" in str(budget.exhaust(None, midnight_ns)) and budget.left(None, midnight_ns) == 0


async def test_a_request_that_is_cancelled_while_it_waits_is_not_counted() -> None:
    async with quick_server() as server:
        server.set_quote("IBM", 101.0, 5, TODAY)
        rest = rest_of(server, requests_per_second=1.0)
        await rest.quote("IBM")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await rest.quote("IBM")
        assert rest.requests_left == 24 and len(server.asked) == 1
        await rest.close()


# -- bars --------------------------------------------------------------------------------------


async def test_months_are_asked_for_one_by_one_and_those_before_the_listing_are_none() -> None:
    rows = minute_rows(datetime(2026, 9, 30, 15, 58), [100.0, 101.0]) + minute_rows(
        datetime(2026, 10, 1, 9, 30), [102.0]
    )
    async with quick_server() as server:
        server.series["NEW", "1min"] = rows
        rest = rest_of(server, now_ns=lambda: NOON_NS)
        start_ns, end_ns = new_york_ns(2026, 7, 1), new_york_ns(2026, 10, 2)
        pages = await all_bars(rest, "NEW", "1m", start_ns, end_ns)
        assert [page.close.tolist() for page in pages] == [[100.0, 101.0], [102.0]]
        assert [one["month"] for one in server.asked] == ["2026-07", "2026-10", "2026-08", "2026-09"]
        server.asked.clear()
        with pytest.raises(SymbolError, match="NOPE"):
            await all_bars(rest, "NOPE", "1m", start_ns, end_ns)
        assert len(server.asked) == 2, "an unknown symbol costs two requests, not one a month"
        with pytest.raises(TimeframeError, match="2m"):
            await all_bars(rest, "NEW", "2m", start_ns, end_ns)
        await rest.close()


async def test_daily_bars_stand_on_their_date_and_a_free_key_has_a_hundred(caplog: pytest.LogCaptureFixture) -> None:
    rows = minute_rows(
        datetime(2026, 6, 1), [100.0 + place for place in range(170)], (datetime(2026, 6, 2) - datetime(2026, 6, 1))
    )
    async with quick_server() as server:
        server.series["IBM", "daily"] = rows
        rest = rest_of(server, now_ns=lambda: NOON_NS)
        start_ns = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) * SECOND_NS
        (page,) = await all_bars(rest, "IBM", "1d", start_ns, NOON_NS)
        assert len(page) == 170 and page.open_ns[0] == start_ns
        assert (page.close_ns - page.open_ns == 86_400 * SECOND_NS).all()
        server.is_free = True
        (page,) = await all_bars(rest, "IBM", "1d", start_ns, NOON_NS)
        assert len(page) == 100 and "latest 100 daily bars of IBM only" in caplog.text
        server.asked.clear()
        (page,) = await all_bars(rest, "IBM", "1d", NOON_NS - 30 * 86_400 * SECOND_NS, NOON_NS)
        assert len(page) == 23 and [one["outputsize"] for one in server.asked] == ["compact"]
        await rest.close()


async def test_csv_gives_the_same_bars_and_missing_values_are_counted() -> None:
    rows = minute_rows(datetime(2026, 11, 24, 9, 30), [100.0, 101.0, 102.0])
    async with quick_server() as server:
        server.series["IBM", "1min"] = [*rows, Row(datetime(2026, 11, 24, 9, 33), "1", "1", "1", "", "5")]
        found = []
        for datatype in ("json", "csv"):
            rest = rest_of(server, datatype=datatype)
            page = await rest.latest("IBM", "1m")
            found.append((page.close.tolist(), page.open_ns.tolist(), page.close_ns.tolist()))
            assert rest.skipped == 1
            await rest.close()
        assert found[0] == found[1] and found[0][0] == [100.0, 101.0, 102.0]
        assert found[0][1][0] == new_york_ns(2026, 11, 24, 9, 30)


# -- the feed ----------------------------------------------------------------------------------


async def test_quotes_become_ticks_once() -> None:
    async with quick_server() as server:
        server.set_quote("IBM", 101.0, 5_000, TODAY)
        async with Taken(feed_on(server)) as taken:
            await taken.until(lambda: len(server.asked) >= 4)
            assert [(one.price, one.flag) for one in taken.of(Tick)] == [(101.0, None)]
            server.set_quote("IBM", 101.5, 5_200, TODAY)
            await taken.until(lambda: len(taken.of(Tick)) == 2)
            server.set_quote("IBM", 101.4, 5_100, TODAY)
            await taken.until(lambda: len(taken.of(Tick)) == 3)
            server.set_quote("IBM", 1.0, 1, YESTERDAY)
            await taken.until(lambda: taken.feed.ledger["IBM"].late > 0)
            await taken.until(lambda: taken.of(Heartbeat))
        first, second, third = taken.of(Tick)
        assert first.size != first.size and second.size == 200.0 and third.size != third.size
        assert first.time_ns == first.received_ns and 0 <= first.time_ns - NOON_NS < 30 * SECOND_NS
        assert type(taken.events[0]) is Hours and taken.events[0].calendar == "XNYS"
        assert taken.states() == ["connecting", "live", "closed"]
        received = [event.received_ns for event in taken.events]
        assert received == sorted(received)
        health = taken.feed.health.loc["IBM"]
        assert (health.events, health.connects, health.rejected) == (3, 1, 0)


async def test_a_quote_of_an_earlier_day_is_stale_and_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    async with quick_server() as server:
        server.set_quote("IBM", 101.0, 5_000, YESTERDAY)
        async with Taken(feed_on(server)) as taken:
            await taken.until(lambda: len(server.asked) >= 3)
            (tick,) = taken.of(Tick)
            assert tick.flag == "stale" and tick.time_ns == new_york_ns(2026, 11, 23, 16, 0)
            assert taken.feed.state == "stale" and taken.feed.ledger["IBM"].state == "stale"
            server.set_quote("IBM", 102.0, 700, TODAY)
            await taken.until(lambda: len(taken.of(Tick)) == 2 and taken.feed.state == "live")
        assert (taken.of(Tick)[1].flag, taken.of(Tick)[1].size) == (None, 700.0)
        assert "which a paid key may have" in caplog.text


async def test_a_delayed_quote_bears_its_delay() -> None:
    async with quick_server() as server:
        server.set_quote("IBM", 101.0, 5_000, TODAY)
        async with Taken(feed_on(server, entitlement="delayed")) as taken:
            await taken.until(lambda: taken.of(Tick) and taken.of(Heartbeat))
        (tick,) = taken.of(Tick)
        assert tick.received_ns - tick.time_ns == 15 * 60 * SECOND_NS
        beat = taken.of(Heartbeat)[0]
        assert 15 * 60 * SECOND_NS <= beat.received_ns - beat.time_ns < 15 * 60 * SECOND_NS + SECOND_NS


async def test_nothing_is_asked_while_the_market_is_closed() -> None:
    sunday_ns = new_york_ns(2026, 11, 22, 12, 0)
    opens_ns = new_york_ns(2026, 11, 24, 9, 30)
    async with quick_server() as server:
        server.set_quote("IBM", 101.0, 5_000, TODAY)
        async with Taken(feed_on(server, begins_ns=sunday_ns)) as taken:
            await taken.until(lambda: taken.of(Hours))
            await asyncio.sleep(0.2)
            assert not server.asked and taken.feed.state == "connecting"
        began_s = time.monotonic()
        # A second before the open; a calendar may take as long to make.
        async with Taken(feed_on(server, begins_ns=opens_ns - SECOND_NS)) as taken:
            await taken.until(lambda: taken.of(Tick))
            assert time.monotonic() - began_s >= 1.0
            assert taken.of(Tick)[0].time_ns >= opens_ns


async def test_bars_come_once_in_order_and_closed() -> None:
    begin = datetime(2026, 11, 24, 11, 30)
    async with quick_server() as server:
        rows = server.series["IBM", "1min"] = minute_rows(begin, [100.0 + place for place in range(31)])
        # 12:00:50: the bar of 11:59 has just closed, that of 12:00 has not.
        feed = feed_on(server, begins_ns=NOON_NS + 50 * SECOND_NS, function="intraday")
        async with Taken(feed) as taken:
            await taken.until(lambda: taken.of(Bar))
            await asyncio.sleep(0.2)
            assert [one.open_ns for one in taken.of(Bar)] == [NOON_NS - 60 * SECOND_NS]
            feed._shift_ns += 130 * SECOND_NS
            rows += minute_rows(datetime(2026, 11, 24, 12, 1), [131.0, 132.0, 133.0])
            await taken.until(lambda: len(taken.of(Bar)) == 4)
            await asyncio.sleep(0.15)
        bars = taken.of(Bar)
        assert [one.close for one in bars] == [129.0, 130.0, 131.0, 132.0]
        assert [one.timeframe for one in bars] == ["1m"] * 4 and not taken.of(Gap)
        # The clock stands at the time of their receipt before they come.
        place = taken.events.index(bars[1])
        beats = [event for event in taken.events[:place] if type(event) is Heartbeat]
        assert beats[-1].received_ns >= bars[-1].close_ns


@pytest.mark.parametrize("is_to_be_had", [True, False])
async def test_bars_that_were_missed_are_fetched_or_told(is_to_be_had: bool) -> None:
    async with quick_server() as server:
        begin = datetime(2026, 11, 24, 10, 0)
        rows = server.series["IBM", "1min"] = minute_rows(begin, [100.0] * 60)
        feed = feed_on(server, begins_ns=new_york_ns(2026, 11, 24, 11, 0, 5), function="intraday")
        async with Taken(feed) as taken:
            await taken.until(lambda: taken.of(Bar))
            # Two hours later the latest 100 bars do not reach back to 11:00.
            rows += minute_rows(datetime(2026, 11, 24, 11, 0), [101.0] * 120)
            if not is_to_be_had:
                months = server._data
                server._data = lambda query: b'{"Note": "is a premium"}' if "month" in query else months(query)
            feed._shift_ns += 2 * 3_600 * SECOND_NS
            await taken.until(lambda: len(taken.of(Bar)) >= (121 if is_to_be_had else 101))
        opens = [one.open_ns for one in taken.of(Bar)]
        assert opens == sorted(set(opens))
        health = feed.health.loc["IBM"]
        if is_to_be_had:
            assert len(opens) == 121 and not taken.of(Gap) and (health.gaps_filled, health.gaps_open) == (1, 0)
        else:
            (gap,) = taken.of(Gap)
            assert (gap.start_ns, gap.end_ns) == (new_york_ns(2026, 11, 24, 11, 0), new_york_ns(2026, 11, 24, 11, 20))
            assert len(opens) == 101 and health.gaps_open == 1 and "backfilling" in taken.states()


@pytest.mark.parametrize("name", ["key", "demo", "premium", "unknown"])
async def test_a_refusal_at_first_ends_the_feed(name: str) -> None:
    async with quick_server() as server:
        server.refuse = name
        feed = feed_on(server)
        with pytest.raises(FeedError, match=_FINAL[name][1]):
            async for _ in feed:
                pass
        assert len(server.asked) == 1 and feed.state == "closed"


async def test_a_bad_symbol_among_good_ones(caplog: pytest.LogCaptureFixture) -> None:
    async with quick_server() as server:
        server.set_quote("IBM", 101.0, 5_000, TODAY)
        async with Taken(feed_on(server, "NOPE", "IBM")) as taken:
            await taken.until(lambda: len([one for one in server.asked if one["symbol"] == "IBM"]) >= 3)
        assert [one["symbol"] for one in server.asked].count("NOPE") == 1
        assert taken.feed.ledger["NOPE"].reasons == {"unknown symbol": 1} and "NOPE" in caplog.text
        assert [one.symbol for one in taken.of(Tick)] == ["IBM"]
        feed = feed_on(server, "NOPE", "NADA")
        with pytest.raises(SymbolError, match="NADA"):
            await feed.start_streaming()


async def test_a_limit_and_a_failure_are_waited_out_and_told() -> None:
    async with quick_server() as server:
        server.set_quote("IBM", 101.0, 5_000, TODAY)
        async with Taken(feed_on(server)) as taken:
            await taken.until(lambda: taken.feed.state == "live")
            server.statuses = [500] * 3
            await taken.until(lambda: taken.feed.state == "stale")
            server.set_quote("IBM", 102.0, 5_500, TODAY)
            await taken.until(lambda: taken.feed.state == "live")
            await taken.until(lambda: len(taken.of(Tick)) == 2)
            (gap,) = taken.of(Gap)
            assert gap.start_ns < gap.end_ns <= taken.of(Tick)[1].time_ns and taken.feed.reconnects == 1
            server.refuse = "day_with_key"
            await taken.until(lambda: taken.feed.state == "stale")
            asked = len(server.asked)
            await asyncio.sleep(0.3)
            assert len(server.asked) == asked, "the day's requests are used, and it is asked all the same"


async def test_no_answer_at_first_is_an_error_and_stop_ends_at_once() -> None:
    async with quick_server() as server:
        server.drops = True
        with pytest.raises(ConnectionFailedError, match="did not answer"):
            await feed_on(server).start_streaming()
        server.drops, server.hangs = False, True
        server.set_quote("IBM", 101.0, 5_000, TODAY)
        for begins_ns in (NOON_NS, new_york_ns(2026, 11, 22)):
            feed = feed_on(server, begins_ns=begins_ns)
            task = asyncio.create_task(feed.start_streaming())
            await asyncio.sleep(0.3)
            began_s = time.monotonic()
            await feed.stop()
            await asyncio.wait_for(task, 2)
            assert time.monotonic() - began_s < 0.5 and feed.state == "closed"


async def test_the_days_requests_are_spread_over_the_session() -> None:
    def every_s(*symbols: str, **options) -> float:
        given = {"key": new_key(), "url": "http://127.0.0.1:9", "begins_ns": new_york_ns(2026, 11, 24, 9, 30)} | options
        feed = SetFeed(symbols, given.pop("begins_ns"), **given)
        return feed._every_s(list(symbols))

    assert every_s("IBM") == pytest.approx(936.0)
    assert every_s("IBM", "AAPL") == pytest.approx(1_872.0)
    assert every_s("IBM", requests_per_day=None, requests_per_second=1.25) == 1.0
    assert every_s("IBM", requests_per_day=None, function="intraday") == 10.0
    assert every_s("IBM", poll_every_s=7.0) == 7.0
    # Christmas Eve ends at 13:00.
    assert every_s("IBM", begins_ns=new_york_ns(2026, 12, 24, 9, 30)) == pytest.approx(3.5 * 3_600 / 25)


def test_what_makes_no_sense_is_refused() -> None:
    key = new_key()
    for error, options in (
        (ParameterError, {"function": "news"}),
        (TimeframeError, {"function": "intraday", "timeframe": "2m"}),
        (TimeframeError, {"function": "intraday", "timeframe": "1d"}),
        (ParameterError, {"poll_every_s": 0.0}),
        (ParameterError, {"requests_per_day": 0}),
        (ParameterError, {"requests_per_second": 0.0}),
        (ParameterError, {"entitlement": "all"}),
        (FeedError, {"url": "http://example.com"}),
    ):
        with pytest.raises(error):
            AlphaVantageFeed(["IBM"], key=key, **options)
    for symbols in ([], ["A B"], ["IBM,AAPL"], [3], [""]):
        with pytest.raises(SymbolError):
            AlphaVantageFeed(symbols, key=key)
    names = {
        "IBM": "XNYS",
        "BRK.B": "XNYS",
        "TSCO.LON": "XLON",
        "SHOP.TRT": "XTSE",
        "MBG.DEX": "XETR",
        "RELIANCE.BSE": "XBOM",
    }
    assert {symbol: SymbolHours(symbol).name for symbol in names} == names
    assert SymbolHours("X.NOWHERE").session(NOON_NS) is not None


# -- any bytes ---------------------------------------------------------------------------------

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "",
            "1.5",
            "-1",
            "nan",
            "1e999",
            "2026-11-24",
            "2026-11-24 09:30:00",
            "9999-12-31",
            "0001-01-01",
            "US/Eastern",
            "../x",
        ]
    )
)
_FIELD_NAMES = st.sampled_from(
    ["1. open", "2. high", "3. low", "4. close", "5. volume", "05. price", "06. volume", "07. latest trading day",
     "08. previous close", "6. Time Zone", "Information", "Note", "Error Message"]
)  # fmt: skip
_STAMPS = st.sampled_from(
    ["2026-11-24 09:30:00", "2026-11-24", "1969-12-31", "9999-12-31", "x", "2026-11-24T09:30:00+05:00"]
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_FIELD_NAMES | _STAMPS | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=20,
)
_REPLIES = st.dictionaries(
    st.sampled_from(
        ["Global Quote", "Global Quote - DATA DELAYED", "Time Series (1min)", "Meta Data", "Note", "Information"]
    ),
    _VALUES,
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@given(_REPLIES.map(lambda reply: json.dumps(reply).encode()) | st.binary(max_size=200))
def test_any_reply_is_read_or_refused_by_name(body: bytes) -> None:
    for wanted in ("Global Quote", "Time Series (1min)"):
        try:
            reply = reply_of(body, wanted)
            if isinstance(reply, Refusal):
                continue
            assert isinstance(reply, Reply)
            if wanted == "Global Quote":
                record = quote_of("IBM", reply)
                assert record.price == record.price
            else:
                page, skipped = bars_of_series("IBM", "1m", reply)
                assert skipped >= 0 and (page.open_ns[1:] > page.open_ns[:-1]).all()
        except MalformedFrameError:
            pass


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["", "1.5", "2026-11-24 09:30:00", "x", '"', "1e999", "\x00"]), max_size=8), max_size=5
    ),
    st.sampled_from(["timestamp,open,high,low,close,volume\n", "time,open,high,low,close,volume\r\n", "", "a,b\n"]),
)
def test_any_csv_is_read_or_refused_by_name(rows: list[list[str]], header: str) -> None:
    body = (header + "\n".join(",".join(row) for row in rows)).encode()
    try:
        page, _ = bars_of_csv("IBM", "1m", body, NEW_YORK)
    except MalformedFrameError:
        return
    assert (page.close_ns > page.open_ns).all()
