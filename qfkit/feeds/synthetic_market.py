"""The seeded market of one symbol: trades and quotes that arrive in bursts, with regimes.

The figures were measured on 346 s of Binance's BTCUSDT of 2024-08-08 (9,757 trades, 28,040 best
quotes) and are used as plain numbers:

- 28.2 trades a second; 1.4 % of the seconds have none, the busiest has 929. The variance of the
  count over its mean is 131 in tenths of a second and 196 in seconds (1 for independent trades).
- The trades come in 9.3 executions a second (one aggressive order each, within a millisecond):
  70 % are one trade, 10 % more than 6, 1 % more than 24, the largest 735. Half of the executions
  follow the last one within 26 ms, a tenth within 1 ms, a tenth after more than 314 ms.
- Half of the sizes are below 0.0006 BTC and the largest hundredth carries 22 % of the volume.
- The spread is one tick 88 % of the time. Prices stand still but for sweeps, so that 90 % of the
  quotes change sizes only. Returns over a second vary by 1.3 basis points (73 % a year), with a
  kurtosis of 26.
"""

from dataclasses import dataclass
from itertools import repeat
from math import ceil, exp, floor, log, log10, pi, sqrt
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt

from qfkit.core.events import Quote, Tick

__all__ = ["LONGEST_DELAY_NS", "MarketSettings", "SyntheticMarket"]

_Array: TypeAlias = npt.NDArray[Any]

LONGEST_DELAY_NS = 40_000_000
"""No event is received later than this after its time."""

_SECOND_NS = 1_000_000_000
_YEAR_S = 365 * 86_400
_QUOTES_PER_TRADE = 28_040 / 9_757
_CHUNK_EVENTS = 1_500

# Two fifths of the executions come alone, the others in flurries spread over some hundredths of a second.
_ALONE = 0.4
_FLURRY = 7.0
_FLURRY_S = 0.03
# What changes the activity from second to second: a lognormal factor with a memory of seconds.
_ACTIVITY_DEVIATION = 0.5
_ACTIVITY_MEMORY = 0.6
_ACTIVITY_FRESH = sqrt(1.0 - _ACTIVITY_MEMORY**2)

# Trades of an execution: 1 in 70 % of all, else 1 + a Lomax variable.
_SWEEP_SHARE = 0.3
_SWEEP_TAIL = 1.6
_SWEEP_SCALE = 4.0
_SWEEP_MOST = 1_000
_SWEEP_MEAN = sum((1.0 + k / _SWEEP_SCALE) ** -_SWEEP_TAIL for k in range(_SWEEP_MOST))
_SWEEP_ROOT_MEAN = sum((sqrt(k + 1) - sqrt(k)) * (1.0 + k / _SWEEP_SCALE) ** -_SWEEP_TAIL for k in range(_SWEEP_MOST))
_EXECUTION_MEAN = 1.0 + _SWEEP_SHARE * _SWEEP_MEAN

# Quantiles of the sizes, times the price then: money.
_MEASURED_PRICE = 61_800.0
_SIZE_SHARES = np.array([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0])
_SIZE_LOGS = np.log(np.array([9e-5, 1e-4, 1.1e-4, 6e-4, 0.0133, 0.0556, 0.324, 0.763, 1.5]) * _MEASURED_PRICE)
_DEPTH_SHARES = np.array([0.0, 0.1, 0.5, 0.9, 0.99, 1.0])
_DEPTH_LOGS = np.log(np.array([9e-5, 0.01, 1.08, 3.99, 6.09, 9.0]) * _MEASURED_PRICE)

# How long a sweep's wide spread stays, the least and the mean further delay, one frame after another.
_REFILL_NS = 25_000_000
_DELAY_NS = 3_000_000
_FRAME_NS = 100


@dataclass(frozen=True)
class _Regime:
    """Factors on the activity and on the move of a sweep, and how many of 100 executions buy."""

    name: str
    activity: float
    move: float
    buys: int


_REGIMES = (
    _Regime("calm", 0.5, 0.8, 50),
    _Regime("trending up", 1.0, 0.8, 78),
    _Regime("trending down", 1.0, 0.8, 22),
    _Regime("turbulent", 1.8, 1.2, 50),
)
# The next regime: a trend is mostly followed by the opposite one, so that averages cross.
_NEXT = np.array(
    [
        [0.0, 0.45, 0.45, 0.1],
        [0.1, 0.0, 0.8, 0.1],
        [0.1, 0.8, 0.0, 0.1],
        [0.1, 0.45, 0.45, 0.0],
    ]
)
_NEXT_SUMS = np.cumsum(_NEXT, axis=1)
_SHARES = np.linalg.matrix_power(_NEXT, 64)[0]
# A regime stays so long at the least, and so much longer in the mean.
_REGIME_LEAST_S = 8.0
_REGIME_FURTHER_S = 4.0


def _variance(regime: _Regime, executions_per_s: float) -> float:
    """Of the log price over a second, where a sweep of n trades moves it by a normal times the root of n - 1.

    Executions of a second that lean to one side add up, the more so the more they burst.
    """
    lean = (2.0 * regime.buys / 100 - 1.0) * sqrt(2.0 / pi) * _SWEEP_SHARE * _SWEEP_ROOT_MEAN
    burst = _ALONE + (1.0 - _ALONE) * (2.0 * _FLURRY - 1.0)
    spread = _EXECUTION_MEAN - 1.0 + lean**2 * (burst - 1.0 + executions_per_s)
    return float(regime.move**2 * executions_per_s * spread)


@dataclass(frozen=True)
class MarketSettings:
    """What the markets of one exchange have in common. ``volatility`` is a fraction a year of 365 days."""

    seed: int
    start_ns: int
    trades_per_s: float
    volatility: float
    spread_bps: float
    quotes: bool
    regimes: bool

    @property
    def chunk_s(self) -> int:
        """Seconds that are made at once: so many that arrays pay and memory stays small."""
        per_s = self.trades_per_s * (1.0 + _QUOTES_PER_TRADE)
        return min(max(round(_CHUNK_EVENTS / per_s), 1), 16)


class SyntheticMarket:
    """Makes a symbol's trades and quotes, ``settings.chunk_s`` seconds a call.

    The trades do not depend on other symbols, nor on whether quotes are wanted. The same numpy
    gives the same events; another version of numpy may draw other numbers.
    """

    def __init__(self, symbol: str, price: float, settings: MarketSettings) -> None:
        self.symbol = symbol
        self.settings = settings
        key = crc32(symbol.encode())
        self._chance, self._quote_chance = (
            np.random.Generator(np.random.PCG64(np.random.SeedSequence(settings.seed, spawn_key=(key, part))))
            for part in (0, 1)
        )
        self.price_decimals = 2 if price >= 10.0 else 4 - floor(log10(price))
        self.size_decimals = max(ceil(log10(price)), 0)
        self._ticks_per_unit = 10**self.price_decimals
        self._lots_per_unit = 10**self.size_decimals
        self._spread = max(1, round(settings.spread_bps / 10_000 * price * self._ticks_per_unit))
        self._log_price = log(price * self._ticks_per_unit)
        self._second = 0
        self._next_id = 1
        self._received_ns = 0
        self._quoted_ns = 0
        self._activity = float(self._chance.normal())
        self._regime = int(self._chance.choice(4, p=_SHARES)) if settings.regimes else 0
        self._regime_left_s = _REGIME_LEAST_S + _REGIME_FURTHER_S * float(self._chance.random())
        self._late: _Array = np.empty(0)
        regimes = _REGIMES if settings.regimes else (_Regime("steady", 1.0, 1.0, 50),) * 4
        mean = float(np.dot(_SHARES, [regime.activity for regime in regimes]))
        self._factors = [regime.activity / mean for regime in regimes]
        executions_per_s = settings.trades_per_s / _EXECUTION_MEAN
        self._alone_per_s = executions_per_s * _ALONE
        self._flurries_per_s = executions_per_s * (1.0 - _ALONE) / _FLURRY
        # An execution gives a quote, and another one if it is a sweep: the rest come between.
        self._quotes_per_s = executions_per_s * (_QUOTES_PER_TRADE * _EXECUTION_MEAN - 1.0 - _SWEEP_SHARE)
        variances = [
            _variance(regime, executions_per_s * (_ALONE + (1.0 - _ALONE) * factor))
            for regime, factor in zip(regimes, self._factors, strict=True)
        ]
        step = settings.volatility / sqrt(_YEAR_S * float(np.dot(_SHARES, variances)))
        self._moves = np.array([step * regime.move for regime in regimes])
        self._buys = np.array([regime.buys / 100 for regime in regimes])

    def make(self) -> tuple[list[Tick], list[Quote]]:
        """The trades and the quotes of the next seconds, each in the order of their receipt."""
        seconds = self.settings.chunk_s
        start_ns = self.settings.start_ns + self._second * _SECOND_NS
        self._second += seconds
        activity, regime = self._draw_states(seconds)
        offsets_s = self._draw_executions(activity)
        state = regime[offsets_s.astype(np.int64)]
        # Whole microseconds, as exchanges give them.
        times_ns = start_ns + (offsets_s * 1e6).astype(np.int64) * 1_000
        trades = self._draw_trade_counts(len(times_ns))
        buys, bids = self._draw_prices(trades, state)
        delays_ns = np.minimum(_DELAY_NS + self._chance.exponential(_DELAY_NS, len(times_ns)), 0.9 * LONGEST_DELAY_NS)
        executions = _Executions(times_ns, delays_ns.astype(np.int64), trades, buys, bids, self._received_ns)
        ticks = self._ticks(executions)
        quotes: list[Quote] = []
        if self.settings.quotes:
            quotes = self._quotes(executions, activity, start_ns, start_ns + seconds * _SECOND_NS)
        if len(times_ns):
            self._received_ns = int(executions.received_ns[-1])
        return ticks, quotes

    def _draw_states(self, seconds: int) -> tuple[_Array, _Array]:
        """The factor on the activity and the regime of each second."""
        normals = self._chance.standard_normal(seconds).tolist()
        uniforms = self._chance.random((2, seconds)).tolist()
        activity, regime = [], []
        for normal, following, length in zip(normals, *uniforms, strict=True):
            self._activity = _ACTIVITY_MEMORY * self._activity + _ACTIVITY_FRESH * normal
            self._regime_left_s -= 1.0
            if self._regime_left_s <= 0.0 and self.settings.regimes:
                self._regime = int(np.searchsorted(_NEXT_SUMS[self._regime], following, side="right"))
                self._regime_left_s = _REGIME_LEAST_S - _REGIME_FURTHER_S * log(1.0 - length)
            factor = exp(_ACTIVITY_DEVIATION * self._activity - _ACTIVITY_DEVIATION**2 / 2)
            activity.append(factor * self._factors[self._regime])
            regime.append(self._regime)
        return np.array(activity), np.array(regime)

    def _draw_executions(self, activity: _Array) -> _Array:
        """Seconds after the chunk's start, sorted: some alone at random times, the others in flurries."""
        chance, seconds = self._chance, len(activity)
        counts = chance.poisson(self._flurries_per_s * activity)
        begins = np.repeat(np.arange(seconds), counts) + chance.random(int(counts.sum()))
        members = chance.geometric(1.0 / _FLURRY, len(begins))
        times = np.repeat(begins, members) + chance.exponential(_FLURRY_S, int(members.sum()))
        alone = chance.poisson(self._alone_per_s, seconds)
        single = np.repeat(np.arange(seconds), alone) + chance.random(int(alone.sum()))
        times = np.sort(np.concatenate((self._late, single, times)))
        inside = int(np.searchsorted(times, seconds))
        self._late = times[inside:] - seconds
        return times[:inside]

    def _draw_trade_counts(self, executions: int) -> _Array:
        """How many trades each execution makes: one, or a heavy-tailed number of them."""
        sweeps = self._chance.random(executions) < _SWEEP_SHARE
        tail = np.ceil(_SWEEP_SCALE * ((1.0 - self._chance.random(executions)) ** (-1.0 / _SWEEP_TAIL) - 1.0))
        return np.where(sweeps, 1 + np.clip(tail, 1, _SWEEP_MOST), 1).astype(np.int64)

    def _draw_prices(self, trades: _Array, state: _Array) -> tuple[_Array, _Array]:
        """Which executions buy, and the bid in ticks before the first and after each."""
        count = len(trades)
        buys = self._chance.random(count) < self._buys[state]
        moves = np.abs(self._chance.standard_normal(count)) * self._moves[state] * np.sqrt(trades - 1.0)
        logs = np.empty(count + 1)
        logs[0] = 0.0
        np.cumsum(np.where(buys, moves, -moves), out=logs[1:])
        logs += self._log_price
        self._log_price = float(logs[-1])
        return buys, np.maximum(np.exp(logs) - self._spread / 2, 1.0).astype(np.int64)

    def _draw_amounts(self, chance: np.random.Generator, shares: _Array, logs: _Array, count: int) -> _Array:
        """Sizes in whole lots by the measured quantiles of their value."""
        money = np.exp(np.interp(chance.random(count), shares, logs) - self._log_price)
        lots = np.rint(money * (self._ticks_per_unit * self._lots_per_unit))
        sizes: _Array = np.maximum(lots, 1.0) / self._lots_per_unit
        return sizes

    def _ticks(self, executions: "_Executions") -> list[Tick]:
        of, place, buys = executions.of, executions.place, executions.buys
        touch = executions.bids + np.where(np.append(buys, False), self._spread, 0)
        far = executions.bids[1:] + np.where(buys, self._spread, 0)
        # The first trade is at the touch, the last where the price stands afterwards.
        way = (far - touch[:-1])[of] * place
        levels = touch[:-1][of] + way // np.maximum(executions.trades - 1, 1)[of]
        sizes = self._draw_amounts(self._chance, _SIZE_SHARES, _SIZE_LOGS, len(of))
        first_id = self._next_id
        self._next_id += len(of)
        return list(
            map(
                Tick,
                repeat(self.symbol),
                (levels / self._ticks_per_unit).tolist(),
                sizes.tolist(),
                executions.times_ns[of].tolist(),
                executions.received_ns.tolist(),
                range(first_id, self._next_id),
                np.where(buys, "buy", "sell")[of].tolist(),
            )
        )

    def _quotes(self, executions: "_Executions", activity: _Array, start_ns: int, end_ns: int) -> list[Quote]:
        """A quote after each execution, one when a sweep's spread has closed, and changes of size between them."""
        chance = self._quote_chance
        times_ns, bids, buys = executions.times_ns, executions.bids, executions.buys
        count = len(times_ns)
        gaps_ns = np.diff(times_ns, append=end_ns)
        refills_ns = times_ns + np.minimum(chance.exponential(_REFILL_NS, count), 0.8 * gaps_ns).astype(np.int64)
        swept = np.flatnonzero(bids[1:] != bids[:-1])
        counts = chance.poisson(self._quotes_per_s * activity)
        between = np.repeat(np.arange(len(activity)), counts) + chance.random(int(counts.sum()))
        between_ns = start_ns + (between * 1e6).astype(np.int64) * 1_000
        times = np.concatenate((times_ns, refills_ns[swept], between_ns))
        # Which execution each quote follows; 0 is the last one before this chunk.
        after = np.concatenate((np.arange(count), swept, np.searchsorted(times_ns, between_ns, side="right") - 1)) + 1
        order = np.lexsort((times, after))
        times, after = times[order], after[order]
        is_open = times < np.concatenate(([0], refills_ns))[after]
        is_open |= order < count
        old = np.maximum(after - is_open, 0)
        bought = np.concatenate(([False], buys))[after]
        bid = bids[np.where(bought, old, after)]
        ask = bids[np.where(bought, after, old)] + self._spread
        received = np.maximum(executions.receive(times, after, end_ns), self._quoted_ns)
        if len(received):
            self._quoted_ns = int(received[-1])
        amounts = self._draw_amounts(chance, _DEPTH_SHARES, _DEPTH_LOGS, len(times))
        is_bid = chance.random(len(times)) < 0.5
        return list(
            map(
                Quote,
                repeat(self.symbol),
                (bid / self._ticks_per_unit).tolist(),
                amounts[_last_change(bid, is_bid)].tolist(),
                (ask / self._ticks_per_unit).tolist(),
                amounts[_last_change(ask, ~is_bid)].tolist(),
                times.tolist(),
                received.tolist(),
            )
        )


def _last_change(price: _Array, changed: _Array) -> _Array:
    """For each quote, the place of the last one at which this side's price or size was new."""
    fresh = changed.copy()
    fresh[1:] |= price[1:] != price[:-1]
    return np.maximum.accumulate(np.where(fresh, np.arange(len(price)), 0))


class _Executions:
    """The executions of a chunk: their times, trades and when the trades are received."""

    def __init__(
        self, times_ns: _Array, delays_ns: _Array, trades: _Array, buys: _Array, bids: _Array, received_ns: int
    ) -> None:
        self.times_ns = times_ns
        self.delays_ns = delays_ns
        self.trades = trades
        self.buys = buys
        self.bids = bids
        count = len(times_ns)
        self.of = np.repeat(np.arange(count), trades)
        ends = np.cumsum(trades)
        self.place = np.arange(len(self.of)) - (ends - trades)[self.of]
        # One after the other: what is sent later is never received before.
        steps = _FRAME_NS * np.arange(len(self.of))
        ready = (times_ns + delays_ns)[self.of] - steps
        self.received_ns = np.maximum(np.maximum.accumulate(ready), received_ns + _FRAME_NS) + steps
        self._last_ns = np.concatenate(([received_ns], self.received_ns[ends - 1]))
        self._first_ns = self.received_ns[ends - trades]

    def receive(self, times_ns: _Array, after: _Array, end_ns: int) -> _Array:
        """When quotes are received: after the trades before them and before the next ones."""
        delays = np.concatenate(([_DELAY_NS], self.delays_ns))[after]
        next_ns = np.append(self._first_ns, max(int(self._last_ns[-1]) + _FRAME_NS, end_ns + _DELAY_NS))
        return np.maximum.accumulate(np.clip(times_ns + delays, self._last_ns[after] + 1, next_ns[after] - 1))
