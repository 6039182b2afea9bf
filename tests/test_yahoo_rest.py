"""Yahoo's history, last prices, splits and dividends through yfinance's client, on a server with Yahoo's habits."""

import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfkit.errors import (
    ConnectionFailedError,
    FeedError,
    MalformedFrameError,
    RateLimitError,
    SymbolError,
    TimeframeError,
)
from qfkit.feeds.yahoo_chart import bars_of_chart, decode_chart
from qfkit.feeds.yahoo_rest import Action, YahooRest
from qfkit.tables import BarColumns
from tests.servers.yahoo import Chart, Row, YahooServer, minute_rows

SECOND_NS = 10**9
DAY_S = 86_400
NEW_YORK = ZoneInfo("America/New_York")


def rest_of(server: YahooServer, **options) -> YahooRest:
    return YahooRest(server.rest_url, **({"request_every_s": 0.01} | options))


async def all_bars(rest: YahooRest, symbol: str, timeframe: str, start_s: float, end_s: float) -> list[BarColumns]:
    return [page async for page in rest.bars(symbol, timeframe, int(start_s * SECOND_NS), int(end_s * SECOND_NS))]


def opens_s(page: BarColumns) -> list[int]:
    return (page.open_ns // SECOND_NS).tolist()


def session_day(day: int, hour: int = 9, minute: int = 30) -> int:
    """A time of a day of November 2026 in New York, in seconds."""
    return int(datetime(2026, 11, day, hour, minute, tzinfo=NEW_YORK).timestamp())


async def test_minutes_and_the_bar_that_is_not_over() -> None:
    now_s = int(time.time())
    minute_s = now_s // 60 * 60
    async with YahooServer(canary_every_s=None) as server:
        # The open minute has a row of its own, and the newest price once more, at its own second.
        rows = minute_rows(minute_s - 600, [100.0 + place for place in range(11)])
        chart = Chart({"1m": rows}, live_row=Row(minute_s + 7, 118.0, 118.0, 118.0, 118.0, 0))
        server.charts["AAPL"] = chart
        rest = rest_of(server)
        (page,) = await all_bars(rest, "AAPL", "1m", minute_s - 300, now_s + 60)
        assert opens_s(page) == [minute_s + 60 * place for place in range(-5, 1)]
        assert (page.close_ns - page.open_ns == 60 * SECOND_NS).all()
        assert page.close_ns[-1] > now_s * SECOND_NS and (page.close_ns[:-1] <= now_s * SECOND_NS).all()
        assert page.close.tolist() == [105.0, 106.0, 107.0, 108.0, 109.0, 118.0]
        assert (page.open[-1], page.high[-1], page.low[-1], page.volume[-1]) == (109.75, 118.0, 109.5, 110.0)
        # Without a row of its own, the open minute is the newest price alone.
        chart.rows["1m"] = rows[:-1]
        (page,) = await all_bars(rest, "AAPL", "1m", minute_s - 60, now_s + 60)
        assert opens_s(page) == [minute_s - 60, minute_s]
        assert page.open[-1] == page.close[-1] == 118.0
        # After the end asked for it is not wanted.
        (page,) = await all_bars(rest, "AAPL", "1m", minute_s - 300, minute_s - 60)
        assert opens_s(page) == [minute_s - 300, minute_s - 240, minute_s - 180, minute_s - 120]
        await rest.close()


async def test_a_month_of_minutes_is_asked_for_by_the_week_and_what_is_older_is_told(caplog) -> None:
    now_s = int(time.time())
    first_s = (now_s - 40 * DAY_S) // 60 * 60
    async with YahooServer(canary_every_s=None) as server:
        rows = [Row(first_s + hour * 3_600, 1.0, 2.0, 0.5, 1.5, 10) for hour in range(40 * 24)]
        server.charts["AAPL"] = Chart({"1m": rows})
        pages = await all_bars(rest_of(server), "AAPL", "1m", first_s, now_s)
        assert len(server.charts_asked) == 5
        got = [open_s for page in pages for open_s in opens_s(page)]
        assert got == [row.time_s for row in rows if row.time_s > now_s - 30 * DAY_S + 300]
    assert [one.getMessage() for one in caplog.records if "last 30 days only" in one.getMessage()]


async def test_a_day_is_the_utc_day_of_its_date() -> None:
    days = [Row(session_day(day), 1.0, 3.0, 0.5, 2.0, day) for day in (23, 24, 25)]
    async with YahooServer(canary_every_s=None) as server:
        # Today may come twice, the newer one last.
        live = Row(session_day(25, 13, 7), 1.0, 4.0, 0.5, 3.5, 99)
        server.charts["AAPL"] = Chart({"1d": days}, live_row=live)
        start_s, end_s = (datetime(2026, 11, day, tzinfo=UTC).timestamp() for day in (23, 26))
        (page,) = await all_bars(rest_of(server), "AAPL", "1d", start_s, end_s)
        assert opens_s(page) == [int(start_s), int(start_s) + DAY_S, int(start_s) + 2 * DAY_S]
        assert (page.close_ns - page.open_ns == DAY_S * SECOND_NS).all()
        assert (page.close.tolist(), page.high.tolist()) == ([2.0, 2.0, 3.5], [3.0, 3.0, 4.0])
        # Tokyo's day begins in the evening before by New York, at midnight in UTC.
        tokyo = Row(int(datetime(2026, 11, 24, 0, tzinfo=UTC).timestamp()), 1.0, 3.0, 0.5, 2.0, 1)
        server.charts["7203.T"] = Chart({"1d": [tokyo]}, {"exchangeTimezoneName": "Asia/Tokyo"})
        (page,) = await all_bars(rest_of(server), "7203.T", "1d", start_s, end_s)
        assert opens_s(page) == [tokyo.time_s]


async def test_half_hours_are_made_of_quarters() -> None:
    start_s = int(time.time()) // DAY_S * DAY_S - 2 * DAY_S + 52_200
    quarters = minute_rows(start_s, [10.0, 11.0, 12.0, 13.0, 14.0], step_s=900)
    async with YahooServer(canary_every_s=None) as server:
        server.charts["AAPL"] = Chart({"15m": quarters}, {"currentTradingPeriod": {"regular": {"start": start_s}}})
        (page,) = await all_bars(rest_of(server), "AAPL", "30m", start_s, start_s + 9_000)
        assert opens_s(page) == [start_s, start_s + 1_800, start_s + 3_600]
        assert page.open.tolist() == [9.75, 11.75, 13.75] and page.close.tolist() == [11.0, 13.0, 14.0]
        assert page.high.tolist() == [11.5, 13.5, 14.5] and page.low.tolist() == [9.5, 11.5, 13.5]
        assert page.volume.tolist() == [201.0, 205.0, 104.0]
        (page,) = await all_bars(rest_of(server), "AAPL", "15m", start_s, start_s + 9_000)
        assert opens_s(page) == [row.time_s for row in quarters]


async def test_an_hour_begins_with_the_session() -> None:
    start_s = int(time.time()) // DAY_S * DAY_S - DAY_S + 52_200
    hours = minute_rows(start_s, [10.0, 11.0, 12.0], step_s=3_600)
    async with YahooServer(canary_every_s=None) as server:
        live = Row(start_s + 3 * 3_600 + 2_000, 15.0, 15.0, 15.0, 15.0, 0)
        periods = {"regular": {"start": start_s + DAY_S}}
        server.charts["AAPL"] = Chart({"1h": hours}, {"currentTradingPeriod": periods}, live_row=live)
        (page,) = await all_bars(rest_of(server), "AAPL", "1h", start_s, start_s + DAY_S)
        assert opens_s(page) == [start_s + 3_600 * place for place in range(4)]
        server.charts["AAPL"].live_row = Row(start_s + 2 * 3_600 + 2_000, 15.0, 15.0, 15.0, 15.0, 0)
        (page,) = await all_bars(rest_of(server), "AAPL", "1h", start_s, start_s + DAY_S)
        assert opens_s(page) == [start_s + 3_600 * place for place in range(3)]
        assert page.close.tolist() == [10.0, 11.0, 15.0]


async def test_rows_without_prices_are_left_out_and_an_unknown_volume_is_nan() -> None:
    start_s = int(time.time()) // 60 * 60 - 3_600
    rows = [Row(start_s, 1.0, 2.0, 0.5, 1.5, None), Row(start_s + 60, None, None, None, None, None)]
    async with YahooServer(canary_every_s=None) as server:
        server.charts["AAPL"] = Chart({"1m": rows})
        (page,) = await all_bars(rest_of(server), "AAPL", "1m", start_s, start_s + 600)
        assert opens_s(page) == [start_s] and np.isnan(page.volume[0])
        assert await all_bars(rest_of(server), "AAPL", "1m", start_s + 600, start_s + 660) == []


async def test_the_last_price_has_the_time_of_its_trade() -> None:
    minute_s = int(time.time()) // 60 * 60
    meta = {"regularMarketPrice": 10.5, "regularMarketTime": minute_s + 3, "regularMarketVolume": 700}
    async with YahooServer(canary_every_s=None) as server:
        rest = rest_of(server)
        chart = server.charts["AAPL"] = Chart({"1m": minute_rows(minute_s - 60, [9.0, 10.0])}, meta)
        pricing = await rest.last_price("AAPL")
        assert (pricing.price, pricing.time_ns, pricing.day_volume) == (10.5, (minute_s + 3) * SECOND_NS, 700)
        # After the session the minutes go on and the market's price does not.
        chart.meta["regularMarketTime"] = minute_s - 7_200
        pricing = await rest.last_price("AAPL")
        assert (pricing.price, pricing.time_ns) == (10.0, minute_s * SECOND_NS)
        # Asked anew every time.
        chart.rows["1m"] = minute_rows(minute_s - 60, [9.0, 11.0])
        assert (await rest.last_price("AAPL")).price == 11.0
        chart.meta, chart.rows = {}, {}
        with pytest.raises(FeedError, match="no price of AAPL"):
            await rest.last_price("AAPL")


async def test_splits_and_dividends() -> None:
    now_s = int(time.time())
    async with YahooServer(canary_every_s=None) as server:
        chart = server.charts["AAPL"] = Chart()
        assert await rest_of(server).actions("AAPL", 7) == []
        chart.splits, chart.dividends = [(now_s - 100, 1.0, 10.0)], [(now_s - DAY_S, 0.26)]
        assert await rest_of(server).actions("AAPL", 7) == [
            Action((now_s - DAY_S) * SECOND_NS, dividend=0.26),
            Action((now_s - 100) * SECOND_NS, split=0.1),
        ]
        chart.splits = [(now_s, 1.0, 0.0)]
        with pytest.raises(MalformedFrameError, match="split of AAPL"):
            await rest_of(server).actions("AAPL", 7)


async def test_requests_keep_their_distance_over_all_objects() -> None:
    async with YahooServer(canary_every_s=None) as server:
        server.charts["AAPL"] = Chart()
        for _ in range(3):
            await rest_of(server, request_every_s=0.25).actions("AAPL", 7)
        at_s = [at for at, path in zip(server.asked_s, server.asked, strict=True) if "/chart/" in path]
        assert len(at_s) == 3 and all(later - earlier > 0.2 for earlier, later in zip(at_s, at_s[1:], strict=False))
        assert server.asked[-1].endswith("crumb=a.crumb")


async def test_a_refusal_is_asked_once_and_says_how_long_to_wait() -> None:
    async with YahooServer(canary_every_s=None) as server:
        server.charts["AAPL"] = Chart(meta={"regularMarketPrice": 1.0, "regularMarketTime": int(time.time())})
        rest = rest_of(server)
        server.rest_fails, server.rest_retry_after = [429], "1"
        began_s = time.monotonic()
        assert (await rest.last_price("AAPL")).price == 1.0
        assert 1.0 <= time.monotonic() - began_s < 4.0
        assert len(server.charts_asked) == 2
        server.rest_fails, server.rest_retry_after = [429], "900"
        with pytest.raises(RateLimitError, match="900 s") as caught:
            await rest.last_price("AAPL")
        assert caught.value.retry_after_s == 900
        # Until then nobody asks, by whatever object.
        with pytest.raises(RateLimitError, match="HTTP 429"):
            await rest_of(server).last_price("AAPL")
        assert len(server.charts_asked) == 3


async def test_waits_grow_where_yahoo_does_not_say_how_long() -> None:
    async with YahooServer(canary_every_s=None) as server:
        server.rest_refuses = 429
        rest = rest_of(server)
        waits = []
        for _ in range(6):
            with pytest.raises(RateLimitError) as caught:
                await rest.last_price("AAPL")
            waits.append(caught.value.retry_after_s)
            rest._pace._ban_until_s = 0.0
        assert waits == [60.0, 120.0, 240.0, 480.0, 900.0, 900.0]


async def test_errors_are_told_apart(caplog) -> None:
    async with YahooServer(canary_every_s=None) as server:
        server.charts["AAPL"] = Chart()
        rest = rest_of(server)
        with pytest.raises(SymbolError, match=r"no symbol 'NOPE' \(No data found"):
            await rest.last_price("NOPE")
        assert len(server.charts_asked) == 1
        with pytest.raises(TimeframeError, match="7m"):
            await all_bars(rest, "AAPL", "7m", 0, 1)
        server.rest_fails = [500, 503]
        assert await rest.actions("AAPL", 7) == []
        server.rest_fails = [500, 500, 500]
        with pytest.raises(ConnectionFailedError, match="HTTP 500"):
            await rest.actions("AAPL", 7)
        server.rest_fails = [422]
        with pytest.raises(FeedError, match="refuses to tell of AAPL"):
            await rest.actions("AAPL", 7)
        server.charts["ODD"] = Chart({"1m": [Row(int(time.time()) - 60, 1.0, 1.0, 1.0, 1.0, "many")]})
        with pytest.raises(MalformedFrameError, match="ODD"):
            await all_bars(rest, "ODD", "1m", time.time() - 600, time.time())
    with pytest.raises(ConnectionFailedError, match="check the network"):
        await rest.last_price("AAPL")


async def test_yfinances_files_are_kept_out_of_the_working_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in Path().iterdir()}
    async with YahooServer(canary_every_s=None) as server:
        server.charts["AAPL"] = Chart()
        await rest_of(server).actions("AAPL", 7)
    assert {path.name for path in Path().iterdir()} - before <= {"home"}


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_no_body_does_more_than_be_refused(body) -> None:
    with pytest.raises(FeedError):
        decode_chart("AAPL", body)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-(2**40), 2**40), st.one_of(st.none(), st.floats(0.5, 2.0**60))), max_size=12),
    st.sampled_from(["1m", "30m", "1h", "1d"]),
)
def test_any_rows_make_bars_in_order(rows, timeframe) -> None:
    chart = Chart(
        {"x": [Row(time_s, price, price, price, price, 1) for time_s, price in rows]},
        meta={"currentTradingPeriod": {"regular": {"start": 1_785_937_395}}},
    )
    import json

    names = ("open", "high", "low", "close", "volume")
    columns = {name: [getattr(row, name) for row in chart.rows["x"]] for name in names}
    result = {
        "meta": chart.meta,
        "timestamp": [row.time_s for row in chart.rows["x"]],
        "indicators": {"quote": [columns]},
    }
    body = json.dumps({"chart": {"result": [result], "error": None}}).encode()
    page = bars_of_chart("AAPL", timeframe, decode_chart("AAPL", body))
    assert (np.diff(page.open_ns) >= 0).all() and not np.isnan(page.close).any()
    assert (page.close_ns > page.open_ns).all()
