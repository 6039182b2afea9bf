"""Yahoo Finance by HTTP: bars of the past, last prices, splits and dividends.

All of it is in Yahoo's chart, which is asked for through yfinance's client. yfinance's
``Ticker.history`` is not used: it keeps a failed answer for the life of the process, hides a
refusal, and asks some six times more where it was asked to ask less.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import quote

import msgspec

from qfkit.errors import (
    ConnectionFailedError,
    FeedError,
    MalformedFrameError,
    RateLimitError,
    SymbolError,
    TimeframeError,
    did_you_mean,
)
from qfkit.feeds.connection import provider_url
from qfkit.feeds.yahoo_chart import Chart, Rows, bars_of_chart, decode_chart, problem_of
from qfkit.feeds.yahoo_client import CHART_PATH, YAHOO_REST_URL, Answered, ask, pace_of
from qfkit.feeds.yahoo_frames import CRYPTOCURRENCY, Pricing
from qfkit.tables import BarColumns

__all__ = ["YAHOO_REST_URL", "Action", "YahooRest"]

_logger = logging.getLogger("qfkit.feeds.yahoo")

_SECOND_NS = 1_000_000_000
_DAY_S = 86_400
_LATEST_S = 1 << 33
_REQUEST_EVERY_S = 2.0
_TRIES = 3
_LONGEST_WAIT_S = 30.0
# Yahoo's name of a timeframe, how many days it has of it, and how many it gives at once. Of 30 minutes it
# gives those of an hour, so they are made of quarters.
_TIMEFRAMES = MappingProxyType(
    {
        "1m": ("1m", 30, 7),
        "2m": ("2m", 60, 59),
        "5m": ("5m", 60, 59),
        "15m": ("15m", 60, 59),
        "30m": ("15m", 60, 59),
        "1h": ("1h", 730, 729),
        "1d": ("1d", None, None),
    }
)
# Its edges move while a request is under way.
_EDGE_S = 300


class Action(msgspec.Struct, frozen=True):
    """A split or dividend. ``ex_ns`` is when the market opens on the ex-date, as far as Yahoo knows it.

    ``split`` is the number of new shares for an old one, ``dividend`` cash for a share.
    """

    ex_ns: int
    split: float = 1.0
    dividend: float = 0.0


class YahooRest:
    """Bars, last prices, splits and dividends from Yahoo, with no key.

    ``rest_url`` is a base such as "http://127.0.0.1:9002"; else QFKIT_YAHOO_REST_URL, else Yahoo's own.
    Requests are ``request_every_s`` apart, over all its objects for one address. yfinance keeps one session
    a process: with a server of one's own, what yfinance is asked otherwise goes there too.

    Prices are adjusted for splits, not for dividends. A day's bar of a share stands as the UTC day
    of its date. Of some exchanges Yahoo's prices are a quarter of an hour old.
    """

    name = "yahoo"
    timeframes = tuple(_TIMEFRAMES)

    def __init__(
        self, rest_url: str | None = None, *, timeout_s: float = 10.0, request_every_s: float = _REQUEST_EVERY_S
    ) -> None:
        self.url = provider_url(rest_url, "QFKIT_YAHOO_REST_URL", YAHOO_REST_URL, ("https", "http"))
        self._timeout_s = timeout_s
        self._pace = pace_of(self.url)
        self._request_every_s = request_every_s

    def __repr__(self) -> str:
        return f"YahooRest({self.url!r})"

    async def close(self) -> None:
        """Nothing: the session belongs to yfinance and lives as long as the process."""

    async def bars(self, symbol: str, timeframe: str, start_ns: int, end_ns: int) -> AsyncIterator[BarColumns]:
        """See :class:`~qfkit.feeds.bar_source.BarSource`. What is older than Yahoo keeps is left out, with a warning."""
        if timeframe not in _TIMEFRAMES:
            raise TimeframeError(f"Yahoo has no bars of {timeframe!r}.{did_you_mean(timeframe, _TIMEFRAMES)}")
        interval, kept_days, page_days = _TIMEFRAMES[timeframe]
        start_s, end_s = start_ns // _SECOND_NS, -(-end_ns // _SECOND_NS)
        if kept_days is not None:
            earliest_s = int(time.time()) - kept_days * _DAY_S + _EDGE_S
            if start_s < earliest_s:
                _logger.warning(
                    "Yahoo has bars of %s of the last %d days only: those of %s before %s are left out",
                    timeframe,
                    kept_days,
                    symbol,
                    datetime.fromtimestamp(earliest_s, UTC).isoformat(),
                )
                start_s = earliest_s
        while start_s < end_s:
            until_s = end_s if page_days is None else min(end_s, start_s + page_days * _DAY_S)
            # A bar of an earlier day may stand at an earlier time of its day.
            asked_s = start_s - _DAY_S if timeframe == "1d" else start_s
            until_asked_s = until_s + _DAY_S if timeframe == "1d" else until_s
            chart = await self._chart(
                symbol, period1=asked_s, period2=until_asked_s, interval=interval, includePrePost="false"
            )
            page = bars_of_chart(symbol, timeframe, chart)
            wanted = (page.open_ns >= max(start_ns, start_s * _SECOND_NS)) & (page.open_ns < end_ns)
            if wanted.any():
                names = ("open", "high", "low", "close", "volume", "open_ns", "close_ns")
                yield BarColumns(symbol, timeframe, **{name: getattr(page, name)[wanted] for name in names})
            start_s = until_s

    async def last_price(self, symbol: str) -> Pricing:
        """The last trade with its time: of the regular session, or of the hours around it where that is newer."""
        chart = await self._chart(symbol, range="1d", interval="1m", includePrePost="true")
        meta = chart.meta
        price, time_s = meta.regular_market_price, meta.regular_market_time
        rows = chart.indicators.quote[0] if chart.indicators.quote else Rows()
        for row_s, close in zip(reversed(chart.timestamp), reversed(rows.close), strict=False):
            if close is not None:
                # A row says when its minute began, so its price is at least that new.
                if time_s is None or row_s > time_s:
                    price, time_s = close, row_s
                break
        if price is None or time_s is None or not 0 < time_s < _LATEST_S:
            raise FeedError(f"Yahoo has no price of {symbol} today: look at the symbol, or ask again when it trades")
        kind = CRYPTOCURRENCY if meta.instrument_type == "CRYPTOCURRENCY" else None
        return Pricing(
            symbol,
            price,
            time_s * _SECOND_NS,
            time.time_ns(),
            currency=meta.currency,
            exchange=meta.exchange_name,
            quote_type=kind,
            day_volume=meta.regular_market_volume,
        )

    async def actions(self, symbol: str, days: int) -> list[Action]:
        """The splits and dividends of the last days, today included, in the order of time."""
        now_s = int(time.time())
        chart = await self._chart(
            symbol, period1=now_s - days * _DAY_S, period2=now_s + _DAY_S, interval="1d", events="div,splits"
        )
        found = [Action(one.date * _SECOND_NS, dividend=one.amount) for one in chart.events.dividends.values()]
        for one in chart.events.splits.values():
            if one.numerator <= 0.0 or one.denominator <= 0.0:
                raise MalformedFrameError(f"Yahoo's split of {symbol} is {one.numerator} for {one.denominator}")
            found.append(Action(one.date * _SECOND_NS, split=one.numerator / one.denominator))
        return sorted(found, key=lambda action: action.ex_ns)

    # -- asking --------------------------------------------------------------------------------

    async def _chart(self, symbol: str, **params: str | int) -> Chart:
        path = f"{CHART_PATH}{quote(symbol, safe='')}"
        failure = ""
        for attempt in range(_TRIES):
            ban_s = self._pace.ban_s()
            if ban_s > _LONGEST_WAIT_S:
                raise _rate_limited(ban_s)
            await asyncio.sleep(self._pace.turn_s(self._request_every_s))
            answered = await ask(self.url, path, params, self._timeout_s)
            if answered.status == 200:
                self._pace.well()
                return decode_chart(symbol, answered.body)
            if answered.status == 429:
                wait_s = self._pace.refused(answered.retry_after_s)
                if wait_s > _LONGEST_WAIT_S or attempt + 1 == _TRIES:
                    raise _rate_limited(wait_s)
                _logger.warning("Yahoo: too many requests, waiting %.0f s as it asks", wait_s)
                continue
            if 400 <= answered.status < 500:
                return _refused(symbol, answered)
            failure = answered.failure or f"HTTP {answered.status}"
            if attempt + 1 < _TRIES:
                await asyncio.sleep(0.25 * 2**attempt)
        raise ConnectionFailedError(f"Yahoo did not answer at {self.url} ({failure}): check the network, or try later")


def _refused(symbol: str, answered: Answered) -> Chart:
    """An empty chart where that is what the refusal means; raises otherwise."""
    problem = problem_of(answered.body)
    if answered.status == 404:
        raise SymbolError(
            f"Yahoo has no symbol {symbol!r} ({problem.description or 'HTTP 404'}): look it up at finance.yahoo.com; "
            'shares are written as "AAPL" or "VOD.L", crypto pairs as "BTC-USD", currencies as "JPY=X"'
        )
    if problem.description.startswith("Data doesn't exist"):
        return Chart()
    reason = f": {problem.description}" if problem.description else ""
    raise FeedError(f"Yahoo refuses to tell of {symbol} (HTTP {answered.status}{reason})")


def _rate_limited(wait_s: float) -> RateLimitError:
    return RateLimitError(
        f"Yahoo has had too many requests from this address (HTTP 429): ask again in {wait_s:,.0f} s, "
        "and for fewer symbols",
        wait_s,
    )
