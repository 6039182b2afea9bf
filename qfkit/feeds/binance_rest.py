"""Binance spot by REST, with no key: symbols and their rules, trades by id, bars of the past."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from qfkit.core.events import Instrument, Tick
from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import (
    ConnectionFailedError,
    FeedError,
    MalformedFrameError,
    RateLimitError,
    SymbolError,
    TimeframeError,
    did_you_mean,
)
from qfkit.feeds.connection import is_loopback, provider_url, retry_after_s
from qfkit.tables import BarColumns

if TYPE_CHECKING:
    import httpx

__all__ = ["BINANCE_REST_URL", "BinanceRest", "TradeKind"]

BINANCE_REST_URL = "https://data-api.binance.vision"
TradeKind = Literal["aggregate", "single"]

_logger = logging.getLogger("qfkit.feeds.binance")

_PAGE = 1_000
_TRIES = 3
_LONGEST_WAIT_S = 60.0
# So much of the minute's weight is used and no more: others may share the address.
_SHARE = 0.8
_WEIGHT_A_MINUTE = 1_200
_BAD_SYMBOL = (-1121, -1100)
_MS = 1_000_000
_TIMEFRAMES = MappingProxyType(
    {name: name for name in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d")}
)


class _AggregateTrade(msgspec.Struct):
    a: int
    p: float
    q: float
    T: int
    m: bool


class _SingleTrade(msgspec.Struct, rename="camel"):
    id: int
    price: float
    qty: float
    time: int
    is_buyer_maker: bool


class _Symbol(msgspec.Struct, rename="camel"):
    symbol: str
    status: str = "TRADING"
    quote_asset: str | None = None
    filters: list[dict[str, Any]] = []


class _RateLimit(msgspec.Struct, rename="camel"):
    rate_limit_type: str = ""
    interval: str = ""
    interval_num: int = 0
    limit: int = 0


class _ExchangeInfo(msgspec.Struct, rename="camel"):
    symbols: list[_Symbol]
    rate_limits: list[_RateLimit] = []


class _Refused(msgspec.Struct):
    code: int = 0
    msg: str = ""


class BinanceRest:
    """Binance's public REST interface. It stays below the weight a minute that Binance allows.

    ``rest_url`` is a base such as "http://127.0.0.1:9002"; else QFKIT_BINANCE_REST_URL, else Binance's own.
    """

    name = "binance"
    timeframes = tuple(_TIMEFRAMES)

    def __init__(self, rest_url: str | None = None, *, timeout_s: float = 10.0) -> None:
        self.url = provider_url(rest_url, "QFKIT_BINANCE_REST_URL", BINANCE_REST_URL, ("https", "http"))
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None
        self._used = 0
        self._used_minute = 0
        self._limit = _WEIGHT_A_MINUTE
        self._not_before_s = 0.0

    def __repr__(self) -> str:
        return f"BinanceRest({self.url!r})"

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # -- symbols -------------------------------------------------------------------------------

    async def instruments(self, symbols: Sequence[str], received_ns: int) -> list[Instrument]:
        """The rules of symbols; :class:`SymbolError`, with the nearest name, for one that Binance does not have."""
        try:
            info = await self._exchange_info(symbols=_listed(symbols))
        except SymbolError:
            known = {one.symbol for one in (await self._exchange_info()).symbols}
            told = " ".join(
                f"Binance has no pair {symbol!r}.{_nearest(symbol, known)}" for symbol in symbols if symbol not in known
            )
            raise SymbolError(f"{told} A pair is written as one word, as in BTCUSDT or ETHBTC.") from None
        for one in info.symbols:
            if one.status != "TRADING":
                _logger.warning("Binance: %s does not trade at present (%s)", one.symbol, one.status)
        return [_instrument(one, received_ns) for one in info.symbols if one.symbol in symbols]

    async def _exchange_info(self, **params: str) -> _ExchangeInfo:
        body = await self._get("/api/v3/exchangeInfo", params)
        info: _ExchangeInfo = _decoded(body, _ExchangeInfo)
        for limit in info.rate_limits:
            if limit.rate_limit_type == "REQUEST_WEIGHT" and limit.interval == "MINUTE" and limit.interval_num == 1:
                self._limit = max(1, limit.limit)
        return info

    # -- trades --------------------------------------------------------------------------------

    async def trades(self, symbol: str, from_id: int, *, kind: TradeKind, received_ns: int) -> list[Tick]:
        """At most 1,000 trades from an id on, that one included, marked as fetched afterwards."""
        params = {"symbol": symbol, "fromId": str(from_id), "limit": str(_PAGE)}
        if kind == "aggregate":
            rows = _decoded(await self._get("/api/v3/aggTrades", params), list[_AggregateTrade])
            return [_tick(symbol, row.a, row.p, row.q, row.T, row.m, received_ns) for row in rows]
        several = _decoded(await self._get("/api/v3/historicalTrades", params), list[_SingleTrade])
        return [_tick(symbol, row.id, row.price, row.qty, row.time, row.is_buyer_maker, received_ns) for row in several]

    # -- bars ----------------------------------------------------------------------------------

    async def bars(self, symbol: str, timeframe: str, start_ns: int, end_ns: int) -> AsyncIterator[BarColumns]:
        """See :class:`~qfkit.feeds.bar_source.BarSource`."""
        if timeframe not in _TIMEFRAMES:
            raise TimeframeError(f"Binance has no bars of {timeframe!r}.{did_you_mean(timeframe, _TIMEFRAMES)}")
        step_ns = timeframe_ns(timeframe)
        next_ns = start_ns
        while next_ns < end_ns:
            params = {
                "symbol": symbol,
                "interval": timeframe,
                "startTime": str(-(-next_ns // _MS)),
                "endTime": str((end_ns - 1) // _MS),
                "limit": str(_PAGE),
            }
            rows = _decoded(await self._get("/api/v3/klines", params), list[list[Any]])
            page = _columns(symbol, timeframe, rows, step_ns)
            if not len(page):
                return
            yield page
            if len(page) < _PAGE:
                return
            next_ns = int(page.open_ns[-1]) + step_ns

    # -- asking --------------------------------------------------------------------------------

    async def _get(self, path: str, params: dict[str, str]) -> bytes:
        """The body of a good answer; waits where Binance asks for it and it is not for long."""
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout_s, trust_env=not is_loopback(self.url))
        failure = ""
        for attempt in range(_TRIES):
            await self._keep_weight()
            try:
                answer = await self._client.get(f"{self.url}{path}", params=params)
            except httpx.RequestError as error:
                failure = str(error) or type(error).__name__
            else:
                used = answer.headers.get("X-MBX-USED-WEIGHT-1M", "")
                if used.isdigit():
                    self._used, self._used_minute = int(used), int(time.time() // 60)
                status = answer.status_code
                if status == 200:
                    return answer.content
                if 400 <= status < 500:
                    self._refused(status, answer.headers.get("Retry-After"), answer.content, params)
                    failure = f"HTTP {status}"
                    continue
                failure = f"HTTP {status}"
            await asyncio.sleep(0.25 * 2**attempt)
        raise ConnectionFailedError(f"Binance did not answer at {self.url}{path} ({failure}): try again later")

    @staticmethod
    def _too_many(why: str, wait_s: float) -> RateLimitError:
        return RateLimitError(
            f"Binance has had too many requests from this address ({why}): "
            f"ask again in {wait_s:,.0f} s, and with fewer symbols",
            wait_s,
        )

    def _refused(self, status: int, header: str | None, body: bytes, params: dict[str, str]) -> None:
        """Take note of how long to wait after a refusal; raises where waiting is no help or too long."""
        if status in (418, 429):
            wait_s = retry_after_s(header)
            wait_s = (_LONGEST_WAIT_S if status == 429 else 300.0) if wait_s is None else wait_s
            self._not_before_s = max(self._not_before_s, time.monotonic() + wait_s)
            if status == 418 or wait_s > _LONGEST_WAIT_S:
                raise self._too_many(f"HTTP {status}", wait_s)
            _logger.warning("Binance: too many requests, waiting %.0f s as it asks", wait_s)
            return
        if status == 403:
            raise ConnectionFailedError(
                f"Binance refuses this address (HTTP 403 at {self.url}): wait some minutes, or check whether "
                "it serves your country"
            )
        try:
            refused = msgspec.json.decode(body, type=_Refused)
        except msgspec.DecodeError:
            refused = _Refused()
        if refused.code in _BAD_SYMBOL:
            named = params.get("symbol") or params.get("symbols") or "?"
            raise SymbolError(f"Binance has no pair {named}: a pair is written as one word, as in BTCUSDT or ETHBTC")
        raise FeedError(f"Binance refuses the request (HTTP {status}, {refused.code}: {refused.msg})")

    async def _keep_weight(self) -> None:
        wait_s = self._not_before_s - time.monotonic()
        if wait_s > _LONGEST_WAIT_S:
            # Whoever asks during a ban makes it longer.
            raise self._too_many("it asked for a pause that is not over", wait_s)
        await asyncio.sleep(max(0.0, wait_s))
        now_s = time.time()
        if self._used >= _SHARE * self._limit and int(now_s // 60) == self._used_minute:
            wait_s = 60.0 - now_s % 60.0
            _logger.info("Binance: the weight of this minute is used, waiting %.0f s", wait_s)
            await asyncio.sleep(wait_s)


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        # Not strict, because that is what reads a number from a string.
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        text = body[:160].decode("utf-8", "replace")
        raise MalformedFrameError(f"Binance's answer cannot be decoded ({error}): {text!r}") from None


def _tick(symbol: str, trade_id: int, price: float, size: float, time_ms: int, maker: bool, received_ns: int) -> Tick:
    side: Literal["buy", "sell"] = "sell" if maker else "buy"
    return Tick(symbol, price, size, time_ms * _MS, received_ns, trade_id, side, None, "backfilled")


def _columns(symbol: str, timeframe: str, rows: list[list[Any]], step_ns: int) -> BarColumns:
    try:
        opens = np.array([int(row[0]) for row in rows], dtype=np.int64) * _MS
        values = np.array([[float(value) for value in row[1:6]] for row in rows], dtype=np.float64).reshape(-1, 5)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise MalformedFrameError(f"Binance's bars of {symbol} cannot be read ({error})") from None
    columns = np.ascontiguousarray(values.T)
    return BarColumns(
        symbol, timeframe, columns[0], columns[1], columns[2], columns[3], columns[4], opens, opens + step_ns
    )


def _listed(symbols: Sequence[str]) -> str:
    return json.dumps(list(symbols), separators=(",", ":"), ensure_ascii=False)


def _nearest(symbol: str, known: set[str]) -> str:
    fix = did_you_mean(symbol, known)
    return fix if fix.startswith(" Did") else ""


def _instrument(one: _Symbol, received_ns: int) -> Instrument:
    rules = {str(rule.get("filterType")): rule for rule in one.filters}

    def rule(kind: str, field: str) -> float | None:
        try:
            value = float(rules.get(kind, {}).get(field, 0.0))
        except (TypeError, ValueError, OverflowError):
            raise MalformedFrameError(
                f"Binance's rule {kind} of {one.symbol} cannot be read: {rules[kind]!r}"
            ) from None
        # 0 means that the rule is off.
        return value if 0.0 < value < float("inf") else None

    return Instrument(
        one.symbol,
        received_ns,
        price_step=rule("PRICE_FILTER", "tickSize"),
        quantity_step=rule("LOT_SIZE", "stepSize"),
        minimum_quantity=rule("LOT_SIZE", "minQty"),
        minimum_notional=rule("NOTIONAL", "minNotional") or rule("MIN_NOTIONAL", "minNotional"),
        currency=one.quote_asset,
    )
