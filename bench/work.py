"""The work that is measured: seeded prices, and the check that both sides did the same.

Needs numpy only, so that the peers' environment can use it too.
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

__all__ = [
    "Fills",
    "Timing",
    "bar_data",
    "difference",
    "load",
    "save",
    "sweep_data",
    "symbol_name",
    "ties",
    "tick_data",
]

START_NS = 1_704_067_200_000_000_000
"""2024-01-01 00:00 UTC."""
MINUTE_NS = 60_000_000_000
CENT = 100
CASH = 1_000_000_000.0
SHARES = 100.0
FAST, SLOW = 10, 30
SYMBOL = "COIN"
SLOW_PAIR = (50, 200)

Arrays = Mapping[str, np.ndarray]


class Fills(NamedTuple):
    """Fills as arrays: the market's time, the side (1 or -1), quantity and price."""

    time_ns: np.ndarray
    side: np.ndarray
    quantity: np.ndarray
    price: np.ndarray


class Timing(NamedTuple):
    """Seconds of several runs."""

    seconds: tuple[float, ...]

    @property
    def middle(self) -> float:
        return median(self.seconds)

    def rates(self, count: int) -> tuple[float, float, float]:
        """Median, lowest and highest of the rates for ``count`` pieces of work."""
        return count / self.middle, count / max(self.seconds), count / min(self.seconds)


def ties(cents: np.ndarray, fast: int, slow: int) -> np.ndarray:
    """Where the two averages of integer prices are equal, exactly."""
    sums = np.concatenate(([0], np.cumsum(cents, dtype=np.int64)))
    long = sums[slow:] - sums[:-slow]
    short = (sums[fast:] - sums[:-fast])[slow - fast :]
    return np.flatnonzero(short * slow == long * fast) + slow - 1


def untied(cents: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Move prices by a cent until no two averages are equal.

    The peers treat equal averages each in a way of their own, and running sums in floats see
    equality where there is none and none where there is: without ties all have the same work.
    """
    cents = cents.copy()
    for _ in range(1_000):
        found = np.unique(np.concatenate([ties(cents, *pair) for pair in pairs]))
        if not len(found):
            return cents
        cents[found] += 1
    raise RuntimeError("the prices still have ties after 1,000 rounds")


def walk(generator: np.random.Generator, count: int, *, start: float, volatility: float) -> np.ndarray:
    """A random walk of log prices on a grid of cents, kept near its start over any length."""
    steps = generator.standard_t(4, count) * (volatility / np.sqrt(2.0))
    log = np.cumsum(steps)
    log -= np.linspace(0.0, log[-1], count)
    return np.rint(start * np.exp(log) * CENT).astype(np.int64)


def bar_data(count: int, *, seed: int = 7) -> dict[str, np.ndarray]:
    """One-minute bars: open, high, low, close, volume as floats and open_ns. Opens gap a little from closes."""
    generator = np.random.default_rng(seed)
    close = untied(walk(generator, count, start=60_000.0, volatility=5e-4), ((FAST, SLOW),))
    before = np.concatenate(([close[0]], close[:-1]))
    open_ = before + generator.integers(-150, 151, count)
    high = np.maximum(open_, close) + generator.integers(0, 2_000, count)
    low = np.minimum(open_, close) - generator.integers(0, 2_000, count)
    columns = {
        name: values / CENT for name, values in (("open", open_), ("high", high), ("low", low), ("close", close))
    }
    volume = generator.integers(1_000, 100_000, count).astype(float)
    return {**columns, "volume": volume, "open_ns": START_NS + MINUTE_NS * np.arange(count, dtype=np.int64)}


def sweep_data(count: int, *, seed: int = 13) -> dict[str, np.ndarray]:
    """Bars whose prices are no whole cents: no two averages of any lengths are ever equal."""
    data = bar_data(count, seed=seed)
    noise = np.random.default_rng(seed).uniform(0.0, 1e-3, count)
    return {name: data[name] + noise if name in ("open", "high", "low", "close") else data[name] for name in data}


def tick_data(count: int, *, symbols: int = 10, seed: int = 11, pairs: bool = True) -> dict[str, np.ndarray]:
    """Trades of several symbols mixed at random: symbol number, price, size and time_ns (20 ms apart on average)."""
    generator = np.random.default_rng(seed)
    symbol = generator.integers(0, symbols, count)
    price = np.empty(count)
    for number in range(symbols):
        mine = np.flatnonzero(symbol == number)
        cents = walk(generator, len(mine), start=1_000.0 * (number % 60 + 1), volatility=2e-4)
        price[mine] = (untied(cents, ((FAST, SLOW), SLOW_PAIR)) if pairs else cents) / CENT
    gaps = generator.exponential(20_000_000, count).astype(np.int64) + 1
    size = generator.integers(100, 5_000, count).astype(float)
    return {"symbol": symbol, "price": price, "size": size, "time_ns": START_NS + np.cumsum(gaps)}


def symbol_name(number: int) -> str:
    """The name of a symbol of :func:`tick_data`."""
    return f"COIN{number}"


def save(path: Path, arrays: Arrays) -> None:
    """Write arrays, one file each, into a folder."""
    path.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        np.save(path / f"{name}.npy", values)


def load(path: Path) -> dict[str, np.ndarray]:
    """Read what :func:`save` wrote."""
    return {file.stem: np.load(file) for file in sorted(path.glob("*.npy"))}


def difference(ours: Fills, theirs: Fills, *, price: str = "price") -> str | None:
    """Where two lists of fills part first, in words; None where they are the same."""
    if len(ours.side) != len(theirs.side):
        return f"{len(ours.side):,} fills against {len(theirs.side):,}"
    for name in Fills._fields:
        mine, other = getattr(ours, name), getattr(theirs, name)
        close = np.isclose(mine, other, rtol=1e-12, atol=0.0) if mine.dtype.kind == "f" else mine == other
        if not close.all():
            first = int(np.argmin(close))
            shown = price if name == "price" else name
            return f"fill {first + 1} of {len(mine):,}: {shown} {mine[first]!r} against {other[first]!r}"
    return None
