"""Alpha Vantage by HTTP: last prices, and bars of the past, of shares. It has no stream."""

import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import (
    FeedError,
    ParameterError,
    RateLimitError,
    SymbolError,
    TimeframeError,
    did_you_mean,
)
from qfkit.feeds.alpha_vantage_budget import ApiKey, Budget, check_limits
from qfkit.feeds.alpha_vantage_client import KeyedClient
from qfkit.feeds.alpha_vantage_replies import (
    QuoteRecord,
    Refusal,
    Reply,
    Stamp,
    bars_of_csv,
    bars_of_series,
    quote_of,
    reply_of,
)
from qfkit.feeds.connection import provider_url
from qfkit.tables import BarColumns

__all__ = ["ALPHA_VANTAGE_URL", "AlphaVantageRest", "Entitlement"]

ALPHA_VANTAGE_URL = "https://www.alphavantage.co"
Entitlement = Literal["realtime", "delayed"]

_logger = logging.getLogger("qfkit.feeds.alpha_vantage")

_TRIES = 4
_LONGEST_WAIT_S = 60.0
_MINUTE_WAIT_S = 20.0
_COMPACT = 100
_DAY_NS = 86_400 * 1_000_000_000
_NEW_YORK = ZoneInfo("America/New_York")
_FIRST_MONTH = (2000, 1)
_INTERVALS = MappingProxyType({"1m": "1min", "5m": "5min", "15m": "15min", "30m": "30min", "1h": "60min"})


class AlphaVantageRest:
    """Alpha Vantage's HTTP interface, with the key given or that of ALPHAVANTAGE_API_KEY.

    It asks no more than ``requests_per_day`` (None: no such limit) and ``requests_per_second``, all
    objects with the key in this process taken together; the defaults are those of a free key. When
    the day's are used, :class:`RateLimitError` says when there are more.

    What a key gets differs, and the provider alone knows: by default prices and intraday bars are
    those of the last finished day; ``entitlement`` "realtime" or "delayed" (by 15 minutes) asks for
    newer ones, which a paid key may have. Daily bars reach back 100 days with a free key.

    - ``url``: another server, as "http://127.0.0.1:9003"; else QFKIT_ALPHAVANTAGE_URL, else its own.
    - ``stamped_at``: whether an intraday bar's time is its "start", as is taken for granted, or its "end".
    - ``extended_hours``: intraday bars from 04:00 to 20:00 in New York, not of the session only.
    - ``datatype`` "csv" takes a third of the bytes for bars, but does not say their time zone: New York's is taken.
    - ``now_ns``: the clock that days are told by.
    """

    name = "alphavantage"
    timeframes = (*_INTERVALS, "1d")

    def __init__(
        self,
        key: str | ApiKey | None = None,
        *,
        url: str | None = None,
        requests_per_day: int | None = 25,
        requests_per_second: float = 1.0,
        timeout_s: float = 30.0,
        entitlement: Entitlement | None = None,
        extended_hours: bool = False,
        stamped_at: Stamp = "start",
        datatype: Literal["json", "csv"] = "json",
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        check_limits(requests_per_day, requests_per_second)
        for name, value, allowed in (
            ("entitlement", entitlement, (None, "realtime", "delayed")),
            ("stamped_at", stamped_at, ("start", "end")),
            ("datatype", datatype, ("json", "csv")),
        ):
            if value not in allowed:
                raise ParameterError(f"{name}={value!r}: one of {', '.join(map(repr, allowed))}")
        self.url = provider_url(url, "QFKIT_ALPHAVANTAGE_URL", ALPHA_VANTAGE_URL, ("https", "http"))
        self.requests_per_day = requests_per_day
        self.requests_per_second = requests_per_second
        self.skipped = 0
        """How many bars were left out because values of theirs were missing."""
        self._key = ApiKey.of(key)
        self._budget = Budget.of(self._key, self.url)
        self._timeout_s = timeout_s
        self._entitlement = entitlement
        self._extended_hours = extended_hours
        self._stamped_at: Stamp = stamped_at
        self._datatype = datatype
        self._now_ns = now_ns
        self._client = KeyedClient(
            self.url,
            self._key,
            self._budget,
            requests_per_day=requests_per_day,
            requests_per_second=requests_per_second,
            timeout_s=timeout_s,
            now_ns=now_ns,
        )

    def __repr__(self) -> str:
        return f"AlphaVantageRest({self.url!r})"

    def again(self) -> "AlphaVantageRest":
        """Another one with the same settings, key and budget, and connections of its own."""
        return AlphaVantageRest(
            self._key,
            url=self.url,
            requests_per_day=self.requests_per_day,
            requests_per_second=self.requests_per_second,
            timeout_s=self._timeout_s,
            entitlement=self._entitlement,
            extended_hours=self._extended_hours,
            stamped_at=self._stamped_at,
            datatype=self._datatype,
            now_ns=self._now_ns,
        )

    @property
    def requests_left(self) -> int | None:
        """How many requests the day still has, as far as this process knows; None where it has no limit."""
        return self._budget.left(self.requests_per_day, self._now_ns())

    async def close(self) -> None:
        await self._client.close()

    # -- last prices ---------------------------------------------------------------------------

    async def quote(self, symbol: str) -> QuoteRecord:
        """The last price of a symbol; :class:`SymbolError` for one that Alpha Vantage does not have."""
        params = {"function": "GLOBAL_QUOTE", "symbol": symbol} | self._entitled()
        reply = await self._ask(params, "Global Quote")
        if isinstance(reply, Refusal):
            raise self._error_of(reply, params)
        assert isinstance(reply, Reply)
        return quote_of(symbol, reply)

    def _entitled(self) -> dict[str, str]:
        return {} if self._entitlement is None else {"entitlement": self._entitlement}

    # -- bars ----------------------------------------------------------------------------------

    async def bars(self, symbol: str, timeframe: str, start_ns: int, end_ns: int) -> AsyncIterator[BarColumns]:
        """See :class:`~qfkit.feeds.bar_source.BarSource`. Prices are as traded.

        The latest 100 bars are one request; else intraday bars are one a month of New York, and daily
        ones all at once, which takes a paid key: with a free one the latest 100 come, and the log says so.
        """
        self._check_timeframe(timeframe)
        if start_ns >= end_ns:
            return
        pages = (
            self._all_days(symbol, start_ns) if timeframe == "1d" else self._months(symbol, timeframe, start_ns, end_ns)
        )
        async for page in pages:
            part = _between(page, start_ns, end_ns)
            if len(part):
                yield part

    async def latest(self, symbol: str, timeframe: str) -> BarColumns:
        """The latest 100 bars, or fewer, by one request."""
        self._check_timeframe(timeframe)
        if timeframe == "1d":
            return self._or_raise(*await self._daily(symbol, "compact"))
        return self._or_raise(*await self._intraday(symbol, timeframe, {"outputsize": "compact"}))

    def _check_timeframe(self, timeframe: str) -> None:
        if timeframe not in self.timeframes:
            raise TimeframeError(
                f"Alpha Vantage has no bars of {timeframe!r}.{did_you_mean(timeframe, self.timeframes)}"
            )

    async def _all_days(self, symbol: str, start_ns: int) -> AsyncIterator[BarColumns]:
        if start_ns < self._now_ns() - _COMPACT * _DAY_NS:
            page, params = await self._daily(symbol, "full")
            if not isinstance(page, Refusal) or page.kind != "entitlement":
                yield self._or_raise(page, params)
                return
            _logger.warning(
                "Alpha Vantage: this key has the latest %d daily bars of %s only; a paid one has those before, "
                "and so has qf.history(..., source='yahoo')",
                _COMPACT,
                symbol,
            )
        yield await self.latest(symbol, "1d")

    async def _months(self, symbol: str, timeframe: str, start_ns: int, end_ns: int) -> AsyncIterator[BarColumns]:
        if start_ns >= self._now_ns() - _COMPACT * timeframe_ns(timeframe):
            yield await self.latest(symbol, timeframe)
            return
        months = _months_between(start_ns, min(end_ns, self._now_ns() + 1))
        last: BarColumns | None = None
        is_known = False
        for month in months:
            if last is not None and month == months[-1]:
                yield last
                return
            page, params = await self._month(symbol, timeframe, month)
            if isinstance(page, Refusal) and page.kind in {"symbol", "empty"} and not is_known and month != months[-1]:
                # A month before there was such a share is refused as an unknown symbol is: the last one tells.
                if last is None:
                    last = self._or_raise(*await self._month(symbol, timeframe, months[-1]))
                continue
            is_known = True
            yield self._or_raise(page, params)

    async def _month(self, symbol: str, timeframe: str, month: str) -> tuple[BarColumns | Refusal, dict[str, str]]:
        return await self._intraday(symbol, timeframe, {"month": month, "outputsize": "full"})

    async def _intraday(
        self, symbol: str, timeframe: str, which: dict[str, str]
    ) -> tuple[BarColumns | Refusal, dict[str, str]]:
        interval = _INTERVALS[timeframe]
        hours = "true" if self._extended_hours else "false"
        params = {"function": "TIME_SERIES_INTRADAY", "symbol": symbol, "interval": interval}
        params |= {"adjusted": "false", "extended_hours": hours} | which | self._entitled()
        return await self._series(params, symbol, timeframe, f"Time Series ({interval})"), params

    async def _daily(self, symbol: str, size: str) -> tuple[BarColumns | Refusal, dict[str, str]]:
        params = {"function": "TIME_SERIES_DAILY", "symbol": symbol, "outputsize": size} | self._entitled()
        return await self._series(params, symbol, "1d", "Time Series (Daily)"), params

    async def _series(self, params: dict[str, str], symbol: str, timeframe: str, wanted: str) -> BarColumns | Refusal:
        if self._datatype == "csv":
            params["datatype"] = "csv"
        reply = await self._ask(params, wanted)
        if isinstance(reply, Refusal):
            return reply
        if isinstance(reply, bytes):
            page, skipped = bars_of_csv(symbol, timeframe, reply, _NEW_YORK, self._stamped_at)
        else:
            page, skipped = bars_of_series(symbol, timeframe, reply, self._stamped_at)
        if skipped:
            self.skipped += skipped
            _logger.warning("Alpha Vantage: %d bars of %s lack values and are left out", skipped, symbol)
        return page

    def _or_raise(self, page: BarColumns | Refusal, params: dict[str, str]) -> BarColumns:
        if isinstance(page, Refusal):
            raise self._error_of(page, params)
        return page

    # -- asking --------------------------------------------------------------------------------

    async def _ask(self, params: dict[str, str], wanted: str) -> Reply | Refusal | bytes:
        """What a reply holds; waits where that helps. CSV is handed on as it is."""
        text = ""
        for attempt in range(_TRIES):
            body = await self._client.get(params)
            # A refusal comes in JSON, whatever was asked for.
            if params.get("datatype") == "csv" and not body.lstrip().startswith(b"{"):
                return body
            reply = reply_of(body, wanted)
            if isinstance(reply, Reply):
                return reply
            if reply.kind == "day":
                raise self._budget.exhaust(self.requests_per_day, self._now_ns())
            if reply.kind not in {"burst", "minute"}:
                return reply
            text = reply.text
            wait_s = _MINUTE_WAIT_S if reply.kind == "minute" else 2**attempt / self.requests_per_second
            _logger.info("Alpha Vantage: too many requests at once, waiting %.1f s", wait_s)
            self._budget.hold(wait_s)
        raise RateLimitError(
            f"Alpha Vantage has had too many requests at once and goes on saying so ({text}): "
            f"ask again in a minute, or give a lower requests_per_second= than {self.requests_per_second:g}",
            _LONGEST_WAIT_S,
        )

    def _error_of(self, refusal: Refusal, params: dict[str, str]) -> FeedError:
        text, asked = refusal.text, f"{params['function']} of {params['symbol']}"
        match refusal.kind:
            case "entitlement":
                return FeedError(
                    f"this key of Alpha Vantage may not have {asked}, a premium endpoint: take a paid key, leave out "
                    f"entitlement=, or use another source such as qf.feeds.YahooFeed ({text})"
                )
            case "key":
                return FeedError(
                    "Alpha Vantage does not accept the key: look at ALPHAVANTAGE_API_KEY, or key=; "
                    f"a free one is at https://www.alphavantage.co/support/#api-key ({text})"
                )
            case "symbol" | "empty":
                return SymbolError(
                    f"Alpha Vantage has no {asked}: shares are written as in IBM, TSCO.LON or RELIANCE.BSE"
                    + (f" ({text})" if text else "")
                )
            case _:
                return FeedError(f"Alpha Vantage refuses {asked} and says: {text}")


def _between(page: BarColumns, start_ns: int, end_ns: int) -> BarColumns:
    chosen = slice(*np.searchsorted(page.open_ns, [start_ns, end_ns]).tolist())
    names = ("open", "high", "low", "close", "volume", "open_ns", "close_ns")
    return BarColumns(page.symbol, page.timeframe, *(getattr(page, name)[chosen] for name in names))


def _months_between(start_ns: int, end_ns: int) -> list[str]:
    """The months of New York from one time until before another, as "2020-11"."""
    first, last = (
        datetime.fromtimestamp(max(0, time_ns) // 1_000_000_000, UTC).astimezone(_NEW_YORK)
        for time_ns in (start_ns, end_ns - 1)
    )
    year, month = max((first.year, first.month), _FIRST_MONTH)
    months = []
    while (year, month) <= (last.year, last.month):
        months.append(f"{year}-{month:02}")
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return months
