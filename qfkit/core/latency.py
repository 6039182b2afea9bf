"""How long an order is on its way: distributions that give each order its own time, the same at every replay.

The chance is a function of the seed and the order's number alone, by splitmix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). Nothing of it depends on
how many figures were drawn before, nor on the version of Python.
"""

from collections.abc import Callable
from math import cos, exp, inf, log, pi, sqrt
from typing import TypeAlias

import msgspec

from qfkit.errors import ParameterError

__all__ = ["LatencyCallable", "LogNormalLatency", "UniformLatency", "uniform_pair"]

LatencyCallable: TypeAlias = Callable[[int], float]
"""``latency(order_id) -> seconds``; it must give the same for the same order every time."""

_MASK = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15
_LARGEST_SIGMA = 3.0


def mixed(state: int) -> int:
    """The output of splitmix64 for a state: 64 bits that look like chance."""
    state = (state + _GAMMA) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def uniform_pair(seed: int, number: int) -> tuple[float, float]:
    """Two numbers above 0 and below 1, of an even distribution."""
    # The seed is mixed first, so that neighbouring seeds have nothing in common.
    start = mixed(seed & _MASK)
    first = mixed((start + 2 * number * _GAMMA) & _MASK)
    second = mixed((start + (2 * number + 1) * _GAMMA) & _MASK)
    return ((first >> 12) + 0.5) / 2**52, ((second >> 12) + 0.5) / 2**52


class UniformLatency(msgspec.Struct, frozen=True):
    """Seconds between ``low_s`` and ``high_s``, all as likely. ``seed`` is any int."""

    low_s: float
    high_s: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.low_s <= self.high_s < inf:
            raise ParameterError(f"{self!r}: low_s must be zero or more, and high_s finite and not below it")
        _check_seed(self)

    def __call__(self, order_id: int) -> float:
        return self.low_s + (self.high_s - self.low_s) * uniform_pair(self.seed, order_id)[0]

    def describe(self) -> str:
        return f"{self.low_s * 1000:g} to {self.high_s * 1000:g} ms (even, seed {self.seed})"


class LogNormalLatency(msgspec.Struct, frozen=True):
    """Seconds around ``median_s`` whose logarithm is normal: mostly near it, at times much later.

    ``sigma`` is the standard deviation of the logarithm: at 0.5 one order in 20 takes more than
    2.3 times the median, at 1.0 more than 5.2 times. ``seed`` is any int. (The normal figure is by
    Box and Muller, Annals of Mathematical Statistics 29, 1958.)
    """

    median_s: float
    sigma: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.median_s < inf:
            raise ParameterError(f"{self!r}: median_s must be zero or more, and finite")
        if not 0.0 <= self.sigma <= _LARGEST_SIGMA:
            raise ParameterError(f"{self!r}: sigma must be 0 to {_LARGEST_SIGMA:g}")
        _check_seed(self)

    def __call__(self, order_id: int) -> float:
        one, other = uniform_pair(self.seed, order_id)
        return self.median_s * exp(self.sigma * sqrt(-2.0 * log(one)) * cos(2.0 * pi * other))

    def describe(self) -> str:
        return f"{self.median_s * 1000:g} ms in the median (log-normal, sigma {self.sigma:g}, seed {self.seed})"


def _check_seed(latency: UniformLatency | LogNormalLatency) -> None:
    if not isinstance(latency.seed, int) or not -(2**63) <= latency.seed < 2**63:
        raise ParameterError(f"{latency!r}: seed must be an int of 64 bits")
