"""Bands of prices: which price calls for a look at which book.

Looking at a book costs a step for each of its positions, so it is looked at seldom: each look gives the
market of every position a band of prices, its share of what is left until something has to be done. While
all prices are within their bands nothing has; the price that leaves its band has the book looked at anew.
A market that nobody watches has a band without ends.
"""

from collections.abc import Callable, Hashable, Mapping
from math import inf
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from qfkit.core.market import Market

__all__ = ["INSIDE", "Band", "PriceBands"]

INSIDE = 1.0 - 1e-9
"""A band stays this much inside what a book bears, so that rounding cannot carry a price past it."""

Band: TypeAlias = tuple[float, float]


class PriceBands:
    """The bands that each owner, a strategy's book or a watch over some, has in each market.

    ``is_always`` says of which markets every price is looked at; ``owned`` has the markets of each owner.
    """

    def __init__(self, is_always: "Callable[[Market], bool]") -> None:
        self._is_always = is_always
        self._bands: dict[Market, dict[Hashable, Band]] = {}
        self.owned: dict[Hashable, tuple[Market, ...]] = {}

    def add(self, owner: Hashable) -> None:
        """Have an owner be watched, whose bands are not known yet."""
        self.owned.setdefault(owner, ())

    def watch(self, owner: Hashable, bands: "Mapping[Market, Band]") -> None:
        """Replace all bands of an owner."""
        for market in self.owned.get(owner, ()):
            if market not in bands:
                self._drop(market, owner)
        self.owned[owner] = tuple(bands)
        for market, band in bands.items():
            self._bands.setdefault(market, {})[owner] = band
            self.apply(market)

    def forget(self, owner: Hashable) -> None:
        """The owner has nothing to watch any more."""
        for market in self.owned.pop(owner, ()):
            self._drop(market, owner)

    def _drop(self, market: "Market", owner: Hashable) -> None:
        self._bands[market].pop(owner, None)
        self.apply(market)

    def apply(self, market: "Market") -> None:
        """Give a market the narrowest of all its bands."""
        bands = self._bands.get(market)
        market.floor, market.ceiling = -inf, inf
        if self._is_always(market):
            market.floor = inf
        elif bands:
            market.floor = max(band[0] for band in bands.values())
            market.ceiling = min(band[1] for band in bands.values())
