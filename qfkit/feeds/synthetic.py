"""A seeded exchange: ticks and quotes with no network, the same for everyone who names the seed."""

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import count
from math import inf, isfinite
from operator import attrgetter
from typing import Any

from qfkit.core.events import Gap, Heartbeat, MarketEvent, Tick
from qfkit.errors import ParameterError, SymbolError, did_you_mean
from qfkit.feeds.base import Feed
from qfkit.feeds.pace import Pace
from qfkit.feeds.synthetic_market import LONGEST_DELAY_NS, MarketSettings, SyntheticMarket

__all__ = ["SyntheticFeed"]

_SECOND_NS = 1_000_000_000
_START_NS = 1_704_153_600 * _SECOND_NS  # 2024-01-02 00:00:00 UTC
_HEARTBEAT_DELAY_NS = LONGEST_DELAY_NS + 10_000_000
_PRICES = {"BTCUSDT": 61_800.0, "ETHUSDT": 2_680.0, "SOLUSDT": 160.0, "XRPUSDT": 0.61}
_PRICE = 100.0
_MOST_EVENTS = 2_048
_STEP_S = 0.05
_MOST_TRADES_PER_S = 100_000.0

_received_ns = attrgetter("received_ns")


class SyntheticFeed(Feed):
    """A synthetic exchange: nobody traded at these prices, and no strategy's profit on them means anything.

    The same arguments give the same events to the last bit (with the same version of numpy), also
    by :meth:`batches`, which a backtest takes. Another symbol leaves the others as they are.

    - ``duration_s``: seconds of market time; None never ends.
    - ``speed``: multiple of real time; None is as fast as it goes.
    - ``prices``: the start prices of symbols, ``{"BTCUSDT": 61_800.0}``; 100 where none is known.
    - ``trades_per_s``: the mean for each symbol. Arrivals burst: single seconds have thirty times as many.
    - ``volatility``: a fraction a year of 365 days (0.73 is 73 %), the mean over all regimes.
    - ``spread_bps``: the standing spread in basis points of the start price, in whole ticks and one at
      least. It is wider for some milliseconds after a sweep.
    - ``regimes``: calm, trending up, trending down and turbulent markets of about 12 s each; False for
      one market without a trend.
    - ``gaps``: ``(start, length)`` in seconds: connection losses. Nothing arrives in between; after
      each, a Gap a symbol tells how many trades are missing.

    A Heartbeat comes each second, a little after the last trade of the second.
    """

    name = "synthetic"
    has_sure_types = True

    def __init__(
        self,
        symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"),
        *,
        seed: int = 7,
        duration_s: float | None = 60.0,
        speed: float | None = 1.0,
        start_ns: int = _START_NS,
        prices: Mapping[str, float] | None = None,
        trades_per_s: float = 28.0,
        volatility: float = 0.73,
        spread_bps: float = 0.0,
        quotes: bool = True,
        regimes: bool = True,
        gaps: Sequence[tuple[float, float]] = (),
    ) -> None:
        _check_symbols(symbols)
        super().__init__(symbols, label=f"synthetic exchange (seed {seed})")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ParameterError(f"seed={seed!r}: a whole number from 0 on")
        if isinstance(start_ns, bool) or not isinstance(start_ns, int) or not 0 <= start_ns < 2**62:
            raise ParameterError(
                f"start_ns={start_ns!r}: UTC nanoseconds since 1970 as int, such as int(time.timestamp() * 1e9)"
            )
        for name, value in (("duration_s", duration_s), ("speed", speed)):
            if value is not None and not 0.0 < value < inf:
                raise ParameterError(f"{name}={value!r}: above zero and finite, or None for no bound")
        if not 0.0 < trades_per_s <= _MOST_TRADES_PER_S:
            raise ParameterError(f"trades_per_s={trades_per_s!r}: above zero and up to {_MOST_TRADES_PER_S:,.0f}")
        if not 0.0 <= volatility <= 100.0:
            raise ParameterError(f"volatility={volatility!r}: a fraction a year from 0 to 100; 0.73 is 73 %")
        if not 0.0 <= spread_bps < 10_000.0:
            raise ParameterError(
                f"spread_bps={spread_bps!r}: basis points from 0 to below 10,000, which are the whole price"
            )
        self.duration_s = duration_s
        self.speed = speed
        self._prices = self._check_prices(prices or {})
        self._settings = MarketSettings(seed, start_ns, trades_per_s, volatility, spread_bps, quotes, regimes)
        self._end_ns = None if duration_s is None else start_ns + round(duration_s * _SECOND_NS)
        self._losses = self._check_gaps(gaps)
        self._stands_ns = start_ns
        self._arguments = {
            "symbols": list(self.symbols),
            "seed": seed,
            "duration_s": duration_s,
            "speed": speed,
            "start_ns": start_ns,
            "prices": dict(self._prices),
            "trades_per_s": trades_per_s,
            "volatility": volatility,
            "spread_bps": spread_bps,
            "quotes": quotes,
            "regimes": regimes,
            "gaps": [list(pair) for pair in gaps],
        }

    def recipe(self) -> dict[str, Any] | None:
        return {"class": "SyntheticFeed", "arguments": dict(self._arguments)}

    def _check_prices(self, prices: Mapping[str, float]) -> dict[str, float]:
        for symbol, price in prices.items():
            if symbol not in self.symbols:
                raise SymbolError(
                    f"prices has {symbol!r}, which is not among the symbols.{did_you_mean(symbol, self.symbols)}"
                )
            if not 1e-8 <= price <= 1e9:
                raise ParameterError(f"prices[{symbol!r}]={price!r}: a start price from 1e-8 to 1e9")
        return {symbol: prices.get(symbol, _PRICES.get(symbol, _PRICE)) for symbol in self.symbols}

    def _check_gaps(self, gaps: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
        """The connection losses in UTC ns, from and until."""
        losses: list[tuple[int, int]] = []
        for pair in gaps:
            fix = "pairs of seconds (start, length), one after the other, such as gaps=[(20, 5), (40, 2)]"
            try:
                start_s, length_s = pair
            except (TypeError, ValueError):
                raise ParameterError(f"gaps has {pair!r}: give {fix}") from None
            if not (isfinite(start_s) and isfinite(length_s) and start_s >= 0.0 and length_s > 0.0):
                raise ParameterError(f"gaps has {pair!r}: the start from 0 on and the length above 0; give {fix}")
            from_ns = self._settings.start_ns + round(start_s * _SECOND_NS)
            until_ns = from_ns + round(length_s * _SECOND_NS)
            if losses and from_ns <= losses[-1][1]:
                raise ParameterError(f"gaps has {pair!r}, which begins before the one before it is over; give {fix}")
            if self._end_ns is not None and until_ns > self._end_ns:
                raise ParameterError(f"gaps has {pair!r}, which ends after duration_s={self.duration_s!r}; give {fix}")
            losses.append((from_ns, until_ns))
        return losses

    def now_ns(self) -> int:
        """Where the exchange's time stands: the receipt of the last event given, or the start."""
        return self._stands_ns

    # -- making events ------------------------------------------------------------------------

    def batches(self) -> Iterator[list[MarketEvent]]:
        """All events from the start, in the lists in which they are made; each call begins anew."""
        losses = list(self._losses)
        missing = dict.fromkeys(self.symbols, 0)
        for made, until_ns in self._made():
            events = made
            while losses and losses[0][0] < until_ns:
                from_ns, end_ns = losses[0]
                begin = bisect_left(events, from_ns, key=_received_ns)
                end = bisect_left(events, end_ns, key=_received_ns)
                for event in events[begin:end]:
                    if type(event) is Tick:
                        missing[event.symbol] += 1
                if end_ns > until_ns:
                    events = events[:begin]
                    break
                reason = f"the connection was lost for {(end_ns - from_ns) / _SECOND_NS:g} s"
                told = [Gap(symbol, from_ns, end_ns, end_ns, missing[symbol], reason) for symbol in self.symbols]
                events = [*events[:begin], *told, *events[end:]]
                missing = dict.fromkeys(self.symbols, 0)
                losses.pop(0)
            for start in range(0, len(events), _MOST_EVENTS):
                yield events[start : start + _MOST_EVENTS]

    def _made(self) -> Iterator[tuple[list[MarketEvent], int]]:
        """What the exchange sends, whether it arrives or not: events received before a time, and that time."""
        settings = self._settings
        markets = [SyntheticMarket(symbol, price, settings) for symbol, price in self._prices.items()]
        pending: list[MarketEvent] = []
        for chunk in count():
            start_ns = settings.start_ns + chunk * settings.chunk_s * _SECOND_NS
            until_ns = start_ns + settings.chunk_s * _SECOND_NS
            for market in markets:
                for made in market.make():
                    pending.extend(made)
            beats_ns = range(start_ns + _SECOND_NS, until_ns + 1, _SECOND_NS)
            pending.extend(Heartbeat(beat_ns, beat_ns + _HEARTBEAT_DELAY_NS) for beat_ns in beats_ns)
            is_last = self._end_ns is not None and until_ns >= self._end_ns
            if is_last:
                pending = [event for event in pending if _is_before(event, self._end_ns)]
                until_ns = 2**63
            # The lists of each symbol are in order: this sort merges them.
            pending.sort(key=_received_ns)
            split = bisect_left(pending, until_ns, key=_received_ns)
            yield pending[:split], until_ns
            del pending[:split]
            if is_last:
                return

    # -- giving them --------------------------------------------------------------------------

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        pace = None if self.speed is None else Pace(self.speed)
        self._stands_ns = self._settings.start_ns
        self.progress = self._share_given()
        self._turn("live")
        for ledger in self.ledger.values():
            ledger.connects += 1
        try:
            async with aclosing(self._paced(pace)) as parts:
                async for part in parts:
                    self._book(part)
                    yield part
        finally:
            self.ledger.turn("closed")

    async def _paced(self, pace: Pace | None) -> AsyncGenerator[list[MarketEvent]]:
        for batch in self.batches():
            given = 0
            while given < len(batch):
                if self._stopping.is_set():
                    return
                due = len(batch)
                if pace is not None and not self.is_skipping:
                    due = await self._wait_for(batch, given, pace)
                    if due == given:
                        continue
                part = batch if due - given == len(batch) else batch[given:due]
                given = due
                self._stands_ns = part[-1].received_ns
                self.progress = self._share_given()
                yield part
                if pace is None:
                    await asyncio.sleep(0)

    def _share_given(self) -> float | None:
        if self._end_ns is None:
            return None
        start_ns = self._settings.start_ns
        return min(1.0, (self._stands_ns - start_ns) / (self._end_ns - start_ns))

    async def _wait_for(self, batch: list[MarketEvent], given: int, pace: Pace) -> int:
        """Wait a step at most; return how many of the batch are due then."""
        # From the opening of the exchange, or from where skipping ended.
        pace.begin(self._stands_ns)
        wait_s = pace.wait_s(batch[given].received_ns)
        self._turn("stale" if wait_s > 2.0 / pace.speed + _STEP_S else "live")
        if await self.pause_s(_STEP_S if wait_s < _STEP_S else min(wait_s, 10 * _STEP_S)):
            return given
        return bisect_right(batch, pace.due_ns(), lo=given, key=_received_ns)

    def _turn(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.ledger.turn(state)

    def _book(self, part: list[MarketEvent]) -> None:
        """Count what arrived, for the health by symbol."""
        now_s = time.monotonic()
        # All but the heartbeats have a symbol.
        for symbol, events in Counter(getattr(event, "symbol", "") for event in part).items():
            if symbol:
                ledger = self.ledger[symbol]
                ledger.events += events
                ledger.last_s = now_s
        if any(type(event) is Gap for event in part):
            for event in part:
                if type(event) is Gap:
                    self._count_gap(event.symbol)
                    self.ledger[event.symbol].missing += event.missing or 0
                    self.ledger[event.symbol].connects += 1
                    self.reconnects += event.symbol == self.symbols[0]


def _check_symbols(symbols: Sequence[str]) -> None:
    if isinstance(symbols, str):
        raise SymbolError(f"symbols={symbols!r} is one string: give a list, [{symbols!r}]")
    if not symbols:
        raise SymbolError("symbols is empty: name one at least, such as ['BTCUSDT']")
    for symbol in symbols:
        if not isinstance(symbol, str) or not symbol.strip():
            raise SymbolError(f"symbols has {symbol!r}: each must be a name, such as 'BTCUSDT'")


def _is_before(event: MarketEvent, end_ns: int | None) -> bool:
    """Whether an event belongs to a run that ends then; the last second's heartbeat does."""
    return end_ns is None or event.time_ns < end_ns or (type(event) is Heartbeat and event.time_ns == end_ns)
