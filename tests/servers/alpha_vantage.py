"""Alpha Vantage on the loopback: one path, ``/query``, and refusals that come with HTTP 200.

It keeps the limits of a free key (25 requests a day, one a second) and can be told to answer with
every other refusal, with HTTP errors, slowly or not at all.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

__all__ = ["REFUSALS", "AlphaVantageServer", "Row", "minute_rows"]

_INVALID = (
    "Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) for {}."
)
_PLANS = "https://www.alphavantage.co/premium/"
REFUSALS: dict[str, dict[str, Any]] = {
    "burst": {
        "Information": "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more "
        f"sparingly (1 request per second). You may subscribe to any of the premium plans at {_PLANS} to lift the free "
        "key rate limit (25 requests per day), raise the per-second burst limit, and instantly unlock all premium endpoints"
    },
    "day": {
        "Information": "Thank you for using Alpha Vantage! Our standard API rate limit is 25 requests per day. Please "
        f"subscribe to any of the premium plans at {_PLANS} to instantly remove all daily rate limits."
    },
    "day_with_key": {
        "Information": "We have detected your API key as {key} and our standard API rate limit is 25 requests per day. "
        f"Please subscribe to any of the premium plans at {_PLANS} to instantly remove all daily rate limits."
    },
    "note": {
        "Note": "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls "
        f"per day. Please visit {_PLANS} if you would like to target a higher API call frequency."
    },
    "premium_burst": {
        "Information": "Burst pattern detected. Please consider spreading out your API requests more evenly over time "
        "and query no more than 30 requests per second."
    },
    "premium_minute": {"Information": "Minute-level rate limit exceeded. Please slow down."},
    "premium": {
        "Information": "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the "
        f"premium plans at {_PLANS} to instantly unlock all premium endpoints"
    },
    "full": {
        "Information": "The outputsize=full parameter value is a premium feature for the TIME_SERIES_DAILY endpoint. You "
        f"may subscribe to any of the premium plans at {_PLANS} to instantly unlock all premium features"
    },
    "demo": {
        "Information": "The **demo** API key is for demo purposes only. Please claim your free API key at "
        "(https://www.alphavantage.co/support/#api-key) to explore our full API offerings."
    },
    "key": {
        "Error Message": "the parameter apikey is invalid or missing. Please claim your free API key on "
        "(https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds."
    },
    "symbol": {"Error Message": _INVALID.format("TIME_SERIES_INTRADAY")},
    "empty": {},
    "unknown": {"Information": "We are moving to another continent. Your key was {key}."},
}


@dataclass(frozen=True)
class Row:
    """A bar as it stands in a reply: New York's time, and texts."""

    stamp: datetime
    open: str
    high: str
    low: str
    close: str
    volume: str

    def fields(self) -> dict[str, str]:
        values = (self.open, self.high, self.low, self.close, self.volume)
        names = ("open", "high", "low", "close", "volume")
        return {f"{place}. {name}": value for place, (name, value) in enumerate(zip(names, values, strict=True), 1)}

    def line(self, *, is_daily: bool) -> str:
        stamp = f"{self.stamp:%Y-%m-%d}" if is_daily else f"{self.stamp:%Y-%m-%d %H:%M:%S}"
        return f"{stamp},{self.open},{self.high},{self.low},{self.close},{self.volume}"


def minute_rows(start: datetime, closes: Iterable[float], step: timedelta = timedelta(minutes=1)) -> list[Row]:
    """Bars one after the other that close at these prices."""
    return [
        Row(start + place * step, f"{close:.4f}", f"{close + 0.5:.4f}", f"{close - 0.5:.4f}", f"{close:.4f}", "1000")
        for place, close in enumerate(closes)
    ]


class AlphaVantageServer:
    """``async with AlphaVantageServer() as server: AlphaVantageFeed(["IBM"], key="…", url=server.url)``."""

    def __init__(self, *, requests_per_day: int = 25, requests_per_second: float = 1.0) -> None:
        self.requests_per_day = requests_per_day
        self.requests_per_second = requests_per_second
        self.quotes: dict[str, dict[str, str]] = {}
        self.series: dict[tuple[str, str], list[Row]] = {}
        """Bars by symbol and interval ("1min", "daily")."""
        self.recorded: dict[str, bytes] = {}
        """Bodies as they were once recorded, by function; they come before anything else."""
        self.zone = "US/Eastern"
        self.is_free = False
        """Whether what a free key may not have is refused."""
        # What came.
        self.asked: list[dict[str, str]] = []
        self.times: list[float] = []
        self.violations: list[str] = []
        # Faults.
        self.refuse: str | None = None
        self.refuse_next: list[str] = []
        self.statuses: list[int] = []
        self.retry_after: str | None = None
        self.hangs = False
        self.drips = False
        self.drops = False
        self.body: bytes | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def set_quote(self, symbol: str, price: float, volume: int, day: str, before: float = 100.0) -> None:
        self.quotes[symbol] = {
            "01. symbol": symbol,
            "02. open": f"{before:.4f}",
            "03. high": f"{max(price, before):.4f}",
            "04. low": f"{min(price, before):.4f}",
            "05. price": f"{price:.4f}",
            "06. volume": str(volume),
            "07. latest trading day": day,
            "08. previous close": f"{before:.4f}",
            "09. change": f"{price - before:.4f}",
            "10. change percent": f"{(price / before - 1) * 100:.4f}%",
        }

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    # -- connections ---------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while line := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                if self.drops:
                    return
                status, body = self._answer(line.split()[1].decode())
                head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n"
                if status == 429 and self.retry_after is not None:
                    head += f"Retry-After: {self.retry_after}\r\n"
                writer.write(head.encode() + b"\r\n")
                if self.hangs:
                    await asyncio.sleep(60.0)
                for byte in body if self.drips else ():
                    writer.write(bytes((byte,)))
                    await asyncio.sleep(0.05)
                writer.write(b"" if self.drips else body)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    def _answer(self, target: str) -> tuple[int, bytes]:
        address = urlsplit(target)
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        now_s = time.monotonic()
        self.asked.append(query)
        self.times.append(now_s)
        if address.path != "/query":
            return 404, b"not found"
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return status, f"no service for {query.get('apikey')}".encode()
        if self.body is not None:
            return 200, self.body
        if self.refuse_next:
            return 200, _refused(self.refuse_next.pop(0), query)
        if self.refuse is not None:
            return 200, _refused(self.refuse, query)
        if len(self.times) > self.requests_per_day:
            self.violations.append("more than a day's requests")
            return 200, _refused("day_with_key", query)
        if len(self.times) > 1 and now_s - self.times[-2] < 1.0 / self.requests_per_second:
            self.violations.append("more than a second's requests")
            return 200, _refused("burst", query)
        if not query.get("apikey"):
            return 200, _refused("key", query)
        return 200, self._data(query)

    def _data(self, query: dict[str, str]) -> bytes:
        function = query.get("function", "")
        if function in self.recorded:
            return self.recorded[function]
        if self.is_free and "entitlement" in query:
            return _refused("premium", query)
        symbol = query.get("symbol", "")
        match function:
            case "GLOBAL_QUOTE":
                key = "Global Quote"
                if query.get("entitlement") == "delayed":
                    key += " - DATA DELAYED BY 15 MINUTES"
                return json.dumps({key: self.quotes.get(symbol, {})}).encode()
            case "TIME_SERIES_INTRADAY":
                rows = self.series.get((symbol, query["interval"]), [])
                if "month" in query:
                    rows = [row for row in rows if f"{row.stamp:%Y-%m}" == query["month"]]
                if not rows:
                    return _refused("symbol", query)
                is_compact = query.get("outputsize") != "full"
                return self._series(f"Time Series ({query['interval']})", rows[-100:] if is_compact else rows, query)
            case "TIME_SERIES_DAILY":
                rows = self.series.get((symbol, "daily"), [])
                if self.is_free and query.get("outputsize") == "full":
                    return _refused("full", query)
                if not rows:
                    return _refused("symbol", query)
                return self._series(
                    "Time Series (Daily)", rows if query["outputsize"] == "full" else rows[-100:], query
                )
        return json.dumps({"Error Message": f"This API function ({function}) does not exist."}).encode()

    def _series(self, key: str, rows: Sequence[Row], query: dict[str, str]) -> bytes:
        is_daily = "Daily" in key
        newest_first = rows[::-1]
        if query.get("datatype") == "csv":
            lines = ["timestamp,open,high,low,close,volume", *(row.line(is_daily=is_daily) for row in newest_first)]
            return "\r\n".join(lines).encode()
        form = "%Y-%m-%d" if is_daily else "%Y-%m-%d %H:%M:%S"
        meta = {"1. Information": key, "2. Symbol": query["symbol"], "3. Last Refreshed": f"{rows[-1].stamp:{form}}"}
        meta |= {"4. Output Size": "Compact", "5. Time Zone": self.zone} if is_daily else {
            "4. Interval": query["interval"], "5. Output Size": "Compact", "6. Time Zone": self.zone
        }  # fmt: skip
        return json.dumps(
            {"Meta Data": meta, key: {f"{row.stamp:{form}}": row.fields() for row in newest_first}}
        ).encode()


def _refused(name: str, query: dict[str, str]) -> bytes:
    return json.dumps(REFUSALS[name]).replace("{key}", query.get("apikey", "")).encode()
