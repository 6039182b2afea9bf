"""What the engine knows of one symbol's market at this moment."""

from math import nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qfkit.core.working import WorkingOrder

__all__ = ["Market"]


class Market:
    """The last price and quote of a symbol, and the orders that work in it.

    ``price`` marks positions: the last trade, or the middle of the quote where no trade was
    ever seen. ``taken_bid`` and ``taken_ask`` are what our fills took from the present levels.
    """

    __slots__ = (
        "ask",
        "ask_size",
        "bid",
        "bid_size",
        "first_price",
        "has_trades",
        "previous_price",
        "price",
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
