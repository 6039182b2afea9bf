"""What an account holds at one moment, and the past prices of it: what risk is measured on."""

from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.portfolio import total
from qfkit.core.snapshot import Snapshot

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["Holdings", "PastPrices"]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]


class Holdings(msgspec.Struct, frozen=True):
    """The account's positions at one moment, its strategies netted; ``prices`` may hold more symbols than are held.

    ``rates`` convert prices into the account's currency, 1 where there is none. What exchange rates did in the
    past is no part of what is measured on these.
    """

    time_ns: int
    equity: float
    quantities: dict[str, float]
    prices: dict[str, float]
    rates: dict[str, float] = {}

    @classmethod
    def of_snapshot(cls, snapshot: Snapshot) -> "Holdings":
        quantities: dict[str, float] = {}
        for position in snapshot.positions:
            quantities[position.symbol] = quantities.get(position.symbol, 0.0) + position.quantity
        prices = {view.symbol: view.price for view in snapshot.symbols}
        prices |= {position.symbol: position.price for position in snapshot.positions}
        held = {symbol: quantity for symbol, quantity in quantities.items() if quantity}
        rates = {view.symbol: view.rate for view in snapshot.positions}
        return cls(snapshot.time_ns, snapshot.equity, held, prices, rates)

    @classmethod
    def of_engine(cls, engine: "Engine") -> "Holdings":
        quantities: dict[str, float] = {}
        for desk in engine.desks.values():
            for symbol, position in desk.book.open.items():
                quantities[symbol] = quantities.get(symbol, 0.0) + position.quantity
        return cls(
            engine.clock_ns,
            total(desk.book.equity for desk in engine.desks.values()),
            {symbol: held for symbol, held in quantities.items() if held},
            {symbol: track.market.price for symbol, track in engine.tracks.items()},
            {symbol: track.market.rate for symbol, track in engine.tracks.items()},
        )

    @property
    def market_values(self) -> dict[str, float]:
        """Signed, at the last prices, in the account's money."""
        return {
            symbol: quantity * self.prices[symbol] * self.rates.get(symbol, 1.0)
            for symbol, quantity in self.quantities.items()
        }

    @property
    def weights(self) -> dict[str, float]:
        """Signed, in times the equity; empty where there is none."""
        return (
            {symbol: value / self.equity for symbol, value in self.market_values.items()} if self.equity > 0.0 else {}
        )


class PastPrices(msgspec.Struct, frozen=True):
    """Prices of several symbols at the same marks: marks x symbols, the last known, NaN before the first."""

    symbols: tuple[str, ...]
    times_ns: Times
    prices: Floats

    @property
    def returns(self) -> Floats:
        """From each mark to the next: one row less than there are marks."""
        changes: Floats = self.prices[1:] / self.prices[:-1] - 1.0
        return changes

    def last(self, returns: int) -> "PastPrices":
        """The marks of the last so many returns."""
        return PastPrices(self.symbols, self.times_ns[-returns - 1 :], self.prices[-returns - 1 :])
