"""Alpha Vantage as a feed: it has no stream, so last prices or bars are asked for again and again."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

from qfkit.core.events import Bar, Gap, Heartbeat, MarketEvent, Tick
from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import (
    ConnectionFailedError,
    FeedError,
    MalformedFrameError,
    ParameterError,
    RateLimitError,
    SymbolError,
    TimeframeError,
    did_you_mean,
)
from qfkit.feeds.alpha_vantage_budget import ApiKey
from qfkit.feeds.alpha_vantage_rest import ALPHA_VANTAGE_URL, AlphaVantageRest, Entitlement
from qfkit.feeds.alpha_vantage_symbols import BarPlace, QuotePlace, SymbolHours, checked_symbols
from qfkit.feeds.base import Feed
from qfkit.feeds.exchange_time import ExchangeClock
from qfkit.feeds.inbox import Inbox
from qfkit.feeds.tasks import end_tasks

__all__ = ["AlphaVantageFeed", "AlphaVantageWebSocket"]

_logger = logging.getLogger("qfkit.feeds.alpha_vantage")

_BATCH = 4_096
_HEARTBEAT_S = 1.0
_GRACE_NS = 500_000_000
_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
_LONGEST_SLEEP_S = 60.0
_LEAST_POLL_S = 1.0
_DELAY_NS = 15 * 60 * _SECOND_NS
_ENOUGH_REFUSALS = 3


class AlphaVantageFeed(Feed):
    """Last prices, or bars, of shares from Alpha Vantage, asked for over and over: there is no stream to listen to.

    A free key has 25 requests a day. Spread over a session of 6.5 hours that is one symbol every
    16 minutes, two every 31: a slow fallback, and history. What is worse, a free key's prices are by
    default those of the last finished day; ``entitlement`` "realtime" or "delayed" (by 15 minutes)
    asks for those of today, which a paid key may have.

    - ``key``: else that of ALPHAVANTAGE_API_KEY. It is shown nowhere and never journalled.
    - ``function`` "quote" gives ticks. A quote says its day and no time: one of today bears the time
      of its receipt, less the delay it is told with, and one of an earlier day is flagged "stale", shown and
      never traded on. ``size`` is what the day's volume rose by, NaN for the first. An unchanged quote
      is no event.
    - ``function`` "intraday" gives closed bars of ``timeframe`` ("1m", "5m", "15m", "30m", "1h"), each once.
    - ``requests_per_day`` (None: no such limit) and ``requests_per_second`` are the key's; all that
      use the key in this process share them, a warm-up too.
    - ``poll_every_s``: seconds between two questions for a symbol. None spreads the day's requests over the
      session: its length / (``requests_per_day`` / symbols), or what is left of both if that is longer.
    - ``url``: another server, as "http://127.0.0.1:9003"; else QFKIT_ALPHAVANTAGE_URL, else its own.

    While a market is closed nothing is asked. A key or symbol that is refused at first ends the feed
    with a :class:`FeedError`, or :class:`SymbolError`; of several symbols the good ones go on.
    """

    name = "alphavantage"
    has_sure_types = True
    is_live = True

    def __init__(
        self,
        symbols: Iterable[str],
        *,
        key: str | ApiKey | None = None,
        url: str | None = None,
        function: Literal["quote", "intraday"] = "quote",
        timeframe: str = "1m",
        requests_per_day: int | None = 25,
        requests_per_second: float = 1.0,
        poll_every_s: float | None = None,
        entitlement: Entitlement | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        if function not in ("quote", "intraday"):
            raise ParameterError(f'function={function!r}: "quote" for last prices or "intraday" for bars')
        intraday = tuple(name for name in AlphaVantageRest.timeframes if name != "1d")
        if function == "intraday" and timeframe not in intraday:
            raise TimeframeError(
                f"Alpha Vantage has no intraday bars of {timeframe!r}.{did_you_mean(str(timeframe), intraday)}"
            )
        if poll_every_s is not None and not poll_every_s > 0.0:
            raise ParameterError(f"poll_every_s={poll_every_s!r}: seconds above zero, or None to spread the requests")
        self._clock = ExchangeClock(_GRACE_NS)
        self._rest = AlphaVantageRest(
            key,
            url=url,
            requests_per_day=requests_per_day,
            requests_per_second=requests_per_second,
            timeout_s=timeout_s,
            entitlement=entitlement,
            now_ns=self.now_ns,
        )
        own = self._rest.url == ALPHA_VANTAGE_URL
        super().__init__(checked_symbols(symbols), label=f"Alpha Vantage {'polled' if own else self._rest.url}")
        self._function = function
        if function == "intraday":
            self.timeframe = timeframe
        self._poll_every_s = poll_every_s
        self._delay_ns = _DELAY_NS if entitlement == "delayed" else 0
        given = {
            "url": (None if own else self._rest.url, None),
            "function": (function, "quote"),
            "timeframe": (self.timeframe, None),
            "requests_per_day": (requests_per_day, 25),
            "requests_per_second": (requests_per_second, 1.0),
            "poll_every_s": (poll_every_s, None),
            "entitlement": (entitlement, None),
        }
        self._given = {name: value for name, (value, default) in given.items() if value != default}
        self._inbox = Inbox()
        self._hours = {symbol: SymbolHours(symbol) for symbol in self.symbols}
        self._quotes: dict[str, QuotePlace] = {}
        self._bars: dict[str, BarPlace] = {}
        self._unknown: set[str] = set()
        self._down: set[str] = set()
        self._told_hours_ns: int | None = None
        self._refusals = 0
        self._is_told_old = False

    def recipe(self) -> dict[str, Any]:
        return {"class": "AlphaVantageFeed", "arguments": {"symbols": list(self.symbols), **self._given}}

    def history_source(self) -> AlphaVantageRest:
        """Where the bars before the first of this feed come from: the same server, key and budget."""
        return self._rest.again()

    def now_ns(self) -> int:
        return self._clock.now_ns()

    async def stop(self) -> None:
        await super().stop()
        self._inbox.wake.set()

    # -- the side of the taker -----------------------------------------------------------------

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        self._inbox = inbox = Inbox()
        self._clock.catch_up()
        since_ns = self.now_ns() - self._delay_ns
        since_ns -= 0 if self.timeframe is None else timeframe_ns(self.timeframe)
        self._quotes = {symbol: QuotePlace() for symbol in self.symbols}
        self._bars = {symbol: BarPlace(since_ns) for symbol in self.symbols}
        self._unknown.clear()
        self._down.clear()
        self._told_hours_ns = None
        self._refusals = 0
        self.ledger.turn("connecting")
        poller = asyncio.create_task(self._poll(), name=f"polling of {self.label}")
        poller.add_done_callback(lambda _: inbox.wake.set())
        now_s = asyncio.get_running_loop().time
        beat_s = now_s() + _HEARTBEAT_S
        try:
            while not self._stopping.is_set():
                try:
                    async with asyncio.timeout_at(beat_s):
                        await inbox.wake.wait()
                except TimeoutError:
                    pass
                batch = inbox.take(_BATCH)
                if not batch and poller.done():
                    poller.result()
                if now_s() >= beat_s:
                    beat_s = now_s() + _HEARTBEAT_S
                    beat = self._beat()
                    batch += [] if beat is None else [beat]
                if batch:
                    yield batch
        finally:
            await end_tasks((poller,))
            await self._rest.close()
            self.ledger.turn("closed")

    def _beat(self) -> Heartbeat | None:
        """Prices bear the time of their receipt, so that none to come is older than now, less the delay."""
        if not any(ledger.connects for ledger in self.ledger.values()):
            return None
        now_ns = self.now_ns()
        return self._clock.heartbeat(now_ns) or Heartbeat(now_ns - self._delay_ns - _GRACE_NS, now_ns)

    def _put(self, event: Tick | Bar | Gap) -> None:
        lag_ms = None
        if type(event) is Tick and event.flag is None:
            lag_ms = self.lag_ms = self._clock.observe(event)
        if type(event) is not Gap:
            self.ledger[event.symbol].saw(time.monotonic(), lag_ms)
        self._inbox.put(event)

    # -- asking --------------------------------------------------------------------------------

    async def _poll(self) -> None:
        while True:
            now_ns = self.now_ns()
            await self._tell_hours(now_ns)
            known = [symbol for symbol in self.symbols if symbol not in self._unknown]
            symbols = [symbol for symbol in known if self._hours[symbol].session(now_ns) is not None]
            if symbols:
                wait_s = await self._round(symbols)
            else:
                opens_ns = min(self._hours[symbol].next_open_ns(now_ns) for symbol in known)
                wait_s = min((opens_ns - now_ns) / _SECOND_NS, float(_DAY_NS // _SECOND_NS))
                _logger.warning("%s: the market is closed, and nothing is asked for %.1f h", self.label, wait_s / 3_600)
            await self._sleep(self.now_ns() + round(wait_s * _SECOND_NS))

    async def _sleep(self, until_ns: int) -> None:
        """By the clock on the wall, because a machine that sleeps may wake in another session."""
        while (left_s := (until_ns - self.now_ns()) / _SECOND_NS) > 0.0:
            await asyncio.sleep(min(left_s, _LONGEST_SLEEP_S))
            self._clock.catch_up()
            await self._tell_hours(self.now_ns())

    async def _tell_hours(self, now_ns: int) -> None:
        if self._told_hours_ns is None or now_ns - self._told_hours_ns >= _DAY_NS:
            self._told_hours_ns = now_ns
            # In a thread, because a calendar takes a second to make.
            for hours in self._hours.values():
                event = await asyncio.to_thread(hours.event, now_ns)
                if event is not None:
                    self._inbox.put(event)

    def _every_s(self, symbols: list[str]) -> float:
        """How long from one round to the next."""
        if self._poll_every_s is not None:
            return self._poll_every_s
        now_ns = self.now_ns()
        sessions = [self._hours[symbol].session(now_ns) or (0, _DAY_NS) for symbol in symbols]
        least_s = max(_LEAST_POLL_S, len(symbols) / self._rest.requests_per_second)
        if self.timeframe is not None:
            least_s = max(least_s, timeframe_ns(self.timeframe) / _SECOND_NS / 6)
        if self._rest.requests_per_day is None:
            return least_s
        whole_s = max(close_ns - open_ns for open_ns, close_ns in sessions) / _SECOND_NS
        left_s = max(close_ns - now_ns for _, close_ns in sessions) / _SECOND_NS
        count, left = len(symbols), self._rest.requests_left or 0
        # Those of the round that is over are counted in: the last one then lies a whole pause before the close.
        return max(least_s, whole_s * count / self._rest.requests_per_day, left_s * count / (left + count))

    async def _round(self, symbols: list[str]) -> float:
        """Ask for each symbol; returns how long to wait until the next round."""
        began_s = time.monotonic()
        for symbol in symbols:
            try:
                await (self._ask_quote(symbol) if self.timeframe is None else self._ask_bars(symbol, self.timeframe))
            except RateLimitError as error:
                self._interrupted(symbols, error)
                return _LONGEST_SLEEP_S if error.retry_after_s is None else error.retry_after_s
            except ConnectionFailedError as error:
                if not any(ledger.connects for ledger in self.ledger.values()):
                    raise
                self._interrupted(symbols, error)
                return self._every_s(symbols)
            except SymbolError as error:
                self._not_there(symbol, error)
            except FeedError as error:
                self._refused(symbol, error)
            else:
                self._refusals = 0
        self._settle()
        return max(0.0, self._every_s(symbols) - (time.monotonic() - began_s))

    async def _ask_quote(self, symbol: str) -> None:
        record = await self._rest.quote(symbol)
        place, hours, received_ns = self._quotes[symbol], self._hours[symbol], self.now_ns()
        if self._well(symbol) and place.asked_ns:
            self._tell_gap(Gap(symbol, place.asked_ns, received_ns, received_ns, None, "it could not be asked for"))
        place.asked_ns = received_ns
        tick = place.tick(record, received_ns, hours)
        if tick == "late":
            self.ledger[symbol].late += 1
        elif tick != "same":
            self._put(tick)
        if tick != "late" and hours.is_before_today(record.trading_day, received_ns):
            self.ledger[symbol].turn("stale", time.monotonic())
            if not self._is_told_old:
                self._is_told_old = True
                _logger.warning(
                    '%s: the price of %s is of %s; entitlement="realtime" or "delayed" asks for those of today, '
                    "which a paid key may have",
                    self.label,
                    symbol,
                    record.trading_day,
                )

    async def _ask_bars(self, symbol: str, timeframe: str) -> None:
        place, skipped = self._bars[symbol], self._rest.skipped
        page = await self._rest.latest(symbol, timeframe)
        self._well(symbol)
        bars: list[Bar] = []
        hole = place.hole(page)
        if hole is not None and self._hours[symbol].overlaps(*hole):
            bars = await self._fill(symbol, timeframe, place, *hole)
        now_ns = self.now_ns()
        bars += place.take(page, now_ns)
        if bars:
            # The engine's clock comes to the time of their receipt: an order that they bring fills on none of them.
            self._inbox.put(Heartbeat(now_ns - self._delay_ns - _GRACE_NS, now_ns))
        for bar in bars:
            self._put(bar)
        if self._rest.skipped > skipped:
            text = f"{self._rest.skipped - skipped} bars of {symbol} lack values"
            self.reject(now_ns, text, "", symbol=symbol, reason="bars without values")

    async def _fill(self, symbol: str, timeframe: str, place: BarPlace, start_ns: int, end_ns: int) -> list[Bar]:
        """The bars between, that the latest ones do not reach back to; what cannot be had is told as a gap."""
        self._turn(symbol, "backfilling")
        ledger = self.ledger[symbol]
        found: list[Bar] = []
        try:
            async for page in self._rest.bars(symbol, timeframe, start_ns, end_ns):
                found += place.take(page, self.now_ns())
        except FeedError as error:
            from_ns = place.close_ns or start_ns
            _logger.warning("%s: the bars of %s that were missed cannot be had (%s)", self.label, symbol, error)
            self._tell_gap(Gap(symbol, from_ns, end_ns, self.now_ns(), None, f"bars cannot be fetched: {error}"[:200]))
        else:
            ledger.gaps_found += 1
            ledger.gaps_filled += 1
        self._turn(symbol, "live")
        return found

    # -- how it goes ---------------------------------------------------------------------------

    def _well(self, symbol: str) -> bool:
        """A symbol was answered, perhaps with nothing new; whether it could not be asked for before."""
        ledger = self.ledger[symbol]
        ledger.last_s = time.monotonic()
        was_down = symbol in self._down
        if was_down or ledger.state == "connecting":
            self._down.discard(symbol)
            ledger.connects += 1
            self.reconnects += ledger.connects > 1
            # One that is stale for the age of its prices stays so until a newer one comes.
            self._turn(symbol, "live")
        return was_down

    def _turn(self, symbol: str, state: str) -> None:
        self.ledger[symbol].turn(state, time.monotonic())
        self._settle()

    def _settle(self) -> None:
        states = {ledger.state for ledger in self.ledger.values()}
        self.state = next((one for one in ("backfilling", "live", "stale", "connecting") if one in states), "closed")

    def _tell_gap(self, gap: Gap) -> None:
        self._count_gap(gap.symbol)
        self._put(gap)

    def _interrupted(self, symbols: list[str], error: FeedError) -> None:
        """Nothing can be had for a while."""
        _logger.warning("%s: %s", self.label, error)
        for symbol in symbols:
            self._down.add(symbol)
            self.ledger[symbol].turn("stale", time.monotonic())
        self._settle()

    def _not_there(self, symbol: str, error: SymbolError) -> None:
        """A symbol that Alpha Vantage does not have is asked for no more; one that it had may come again."""
        self.reject(self.now_ns(), str(error), symbol, symbol=symbol, reason="unknown symbol")
        _logger.warning("%s", error)
        if self.ledger[symbol].connects:
            self._interrupted([symbol], error)
            return
        self._unknown.add(symbol)
        self.ledger[symbol].turn("closed", time.monotonic())
        if self._unknown.issuperset(self.symbols):
            raise error

    def _refused(self, symbol: str, error: FeedError) -> None:
        """A reply that makes no sense is counted; a refusal ends the feed, if it is the first answer or goes on."""
        is_malformed = isinstance(error, MalformedFrameError)
        self._refusals += not is_malformed
        had_some = any(ledger.connects for ledger in self.ledger.values())
        if not is_malformed and (not had_some or self._refusals >= _ENOUGH_REFUSALS):
            raise error
        self.reject(self.now_ns(), str(error), symbol, symbol=symbol, reason="unusable reply")
        self._interrupted([symbol], error)


AlphaVantageWebSocket = AlphaVantageFeed
"""The same feed by the name that code may know it by; there is no websocket, for Alpha Vantage has none."""
