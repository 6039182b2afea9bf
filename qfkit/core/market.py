"""What the engine knows of one symbol's market at this moment."""

from collections.abc import Iterable
from math import inf, nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qfkit.core.events import Bar, Instrument, Quote
    from qfkit.core.hours import MarketHours
    from qfkit.core.impact import Activity
    from qfkit.core.ladder import OrderBook
    from qfkit.core.portfolio import Position
    from qfkit.core.working import WorkingOrder

__all__ = ["Market", "see_bar", "see_price"]


def see_price(held: Iterable["Position"], price: float) -> None:
    """Have the open positions of a market see its price."""
    for position in held:
        if price > position.highest:
            position.highest = price
        if price < position.lowest:
            position.lowest = price


def see_bar(held: Iterable["Position"], bar: "Bar") -> None:
    """Have the open positions of a market see a bar, after its orders were matched.

    Inside a bar it is not known which came first, the fill or the extremes: of such a bar the close counts.
    """
    high, low = bar.high, bar.low
    for position in held:
        if position.filled_ns >= bar.close_ns:
            see_price((position,), bar.close)
            continue
        if high > position.highest:
            position.highest = high
        if low < position.lowest:
            position.lowest = low


class Market:
    """The last price and quote of a symbol, and the orders that work in it.

    ``price`` marks positions: the last trade, or the middle of the quote where no trade was
    ever seen. ``taken_bid`` and ``taken_ask`` are what our fills took from the present levels.
    ``book`` holds the levels behind the quote, None where none were ever received; ``activity`` the
    running figures that an impact on prices is reckoned from, None where none is asked for.
    ``rules`` and ``hours`` are None where nothing was said of them: any quantity, always open.
    ``held`` are the open positions in it, of all books.
    ``rate`` is what a unit of the price's ``currency`` is worth in the account's, NaN while unknown. A
    price below ``floor`` or above ``ceiling`` has the books looked at (see :mod:`qfkit.core.accounts`).
    """

    __slots__ = (
        "activity",
        "ask",
        "ask_size",
        "bid",
        "bid_size",
        "book",
        "ceiling",
        "currency",
        "first_price",
        "floor",
        "has_trades",
        "held",
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
        self.held: list[Position] = []
        self.book: OrderBook | None = None
        self.activity: Activity | None = None
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

    def see_quote(self, quote: "Quote") -> None:
        """Take note of a quote: what was taken from a level is forgotten with the level."""
        if self.book is not None:
            self.book.see_quote(quote)
        bid, ask = quote.bid, quote.ask
        if ask != self.ask:
            self.taken_ask = 0.0
        if bid != self.bid:
            self.taken_bid = 0.0
        self.bid, self.ask = bid, ask
        self.bid_size, self.ask_size = quote.bid_size, quote.ask_size
        self.time_ns = quote.time_ns
        if not self.has_trades:
            middle = (bid + ask) / 2.0
            if middle != self.price:
                self.previous_price = self.price
                self.price = middle
                if self.held:
                    see_price(self.held, middle)
                if self.first_price != self.first_price:
                    self.first_price = middle

    def doubt_book(self) -> None:
        """After a gap the levels are unsure until they are told anew."""
        if self.book is not None:
            self.book.received_ns = 0

    def note_taken(self, *, is_buy: bool) -> None:
        """Have the quote know what the walk through its book took from its level."""
        assert self.book is not None
        if is_buy:
            self.taken_ask = max(self.taken_ask, self.book.asks.taken.get(self.ask, 0.0))
        else:
            self.taken_bid = max(self.taken_bid, self.book.bids.taken.get(self.bid, 0.0))
