"""What the engine knows of one symbol's market at this moment."""

from math import inf, nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qfkit.core.events import Instrument
    from qfkit.core.hours import MarketHours
    from qfkit.core.working import WorkingOrder

__all__ = ["Market"]


class Market:
    """The last price and quote of a symbol, and the orders that work in it.

    ``price`` marks positions: the last trade, or the middle of the quote where no trade was
    ever seen. ``taken_bid`` and ``taken_ask`` are what our fills took from the present levels.
    ``rules`` and ``hours`` are None where nothing was said of them: any quantity, always open.
    ``rate`` is what a unit of the price's ``currency`` is worth in the account's, NaN while unknown. A
    price below ``floor`` or above ``ceiling`` has the books looked at (see :mod:`qfkit.core.accounts`).
    """

    __slots__ = (
        "ask",
        "ask_size",
        "bid",
        "bid_size",
        "ceiling",
        "currency",
        "first_price",
        "floor",
        "has_trades",
        "hours",
        "previous_price",
        "price",
        "rate",
        "rules",
        "symbol",
        "taken_ask",
        "taken_bid",
        "time_ns",
        "working",
    )

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.price = nan
        self.first_price = nan
        self.previous_price = nan
        self.time_ns = 0
        self.has_trades = False
        self.bid = nan
        self.bid_size = nan
        self.ask = nan
        self.ask_size = nan
        self.taken_bid = 0.0
        self.taken_ask = 0.0
        self.working: list[WorkingOrder] = []
        self.currency = ""
        self.rate = 1.0
        self.floor = -inf
        self.ceiling = inf
        self.rules: Instrument | None = None
        self.hours: MarketHours | None = None

    def see(self, price: float, first_price: float, time_ns: int) -> None:
        """Take note of the price of a trade."""
        self.previous_price = self.price
        self.price = price
        if not self.has_trades:
            self.first_price = first_price
            self.has_trades = True
        self.time_ns = time_ns
