"""Position sizing: the quantity of an order that names none."""

from math import inf
from typing import Protocol

import msgspec

from qfkit.errors import ParameterError

__all__ = ["Fixed", "FractionOfEquity", "Sizer", "SizingContext"]


class SizingContext(msgspec.Struct, frozen=True, gc=False):
    """What a sizer may look at. ``price`` is the last price in the account's currency, money is the strategy's own book."""

    symbol: str
    price: float
    equity: float
    cash: float


class Sizer(Protocol):
    """Any callable that gives a quantity, zero or more; the risk gate comes after it."""

    def __call__(self, context: SizingContext, /) -> float: ...


class Fixed(msgspec.Struct, frozen=True):
    """Always the same quantity."""

    quantity: float

    def __post_init__(self) -> None:
        if not 0.0 < self.quantity < inf:
            raise ParameterError(f"Fixed(quantity={self.quantity!r}): it must be above zero and finite")

    def __call__(self, context: SizingContext, /) -> float:
        return self.quantity


class FractionOfEquity(msgspec.Struct, frozen=True):
    """``fraction * equity / price``: a fraction of 0.25 is a quarter of the strategy's equity."""

    fraction: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction < inf:
            raise ParameterError(f"FractionOfEquity(fraction={self.fraction!r}): it must be above zero and finite")

    def __call__(self, context: SizingContext, /) -> float:
        return self.fraction * context.equity / context.price
