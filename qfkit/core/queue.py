"""Where a limit order stands in the queue of its price, on trades and quotes."""

from math import nan

from qfkit.core.events import Tick
from qfkit.core.market import Market
from qfkit.core.working import WorkingOrder

__all__ = ["LimitQueue", "Place"]

# A stream's quotes and trades may tell of one and the same trade so far apart.
_SAME_NS = 1_000_000_000


class Place:
    """An order's place: the size ahead of it, that at its price when last seen, and what that shrank by of late."""

    __slots__ = ("ahead", "level_size", "shrunk", "shrunk_ns")

    def __init__(self, size: float) -> None:
        self.ahead = self.level_size = size
        self.shrunk = 0.0
        self.shrunk_ns = 0


class LimitQueue:
    """Counts down what stands ahead of limit orders: at first all that is quoted at their price.

    Trades at the price take from the front. What is withdrawn leaves those ahead all there
    (pessimistic), or with ``is_proportional`` takes the share that stood ahead of it. Those who come
    later stand behind. A quote may shrink by a trade that is told only after it: what a trade takes
    of what shrank just before counts once. Where no size was ever quoted at the price nothing is
    known, and only a trade beyond the limit fills it.

    For the models and why the place matters see Moallemi and Yuan, "A model for queue position
    valuation in a limit order book", 2016.
    """

    __slots__ = ("_is_proportional",)

    def __init__(self, *, is_proportional: bool) -> None:
        self._is_proportional = is_proportional

    def see_quote(self, working: WorkingOrder, market: Market, clock_ns: int) -> None:
        """Take note of the size that is quoted at the order's price now."""
        size = _quoted(working, market, clock_ns)
        place = working.place
        if place is None:
            if size == size:
                working.place = Place(size)
            return
        if not self._is_proportional:
            return
        if size < place.level_size:
            place.ahead *= size / place.level_size
            if clock_ns - place.shrunk_ns > _SAME_NS:
                place.shrunk = 0.0
            place.shrunk += place.level_size - size
            place.shrunk_ns = clock_ns
        place.level_size = size

    def see_trade(self, working: WorkingOrder, tick: Tick, market: Market, clock_ns: int) -> float:
        """A trade at the order's price: how much of it goes on to the order, 0.0 for none."""
        size = tick.size
        if tick.side == working.order.side or size != size:
            # It took from the other side of the book, or nobody knows how much.
            return 0.0
        if working.place is None:
            self.see_quote(working, market, clock_ns)
        place = working.place
        if place is None:
            return 0.0
        if place.shrunk and clock_ns - place.shrunk_ns <= _SAME_NS:
            known = min(size, place.shrunk)
            place.shrunk -= known
            size -= known
        ahead = place.ahead
        place.ahead = max(0.0, ahead - size)
        place.level_size = max(0.0, place.level_size - size)
        return size - ahead if size > ahead else 0.0


def _quoted(working: WorkingOrder, market: Market, clock_ns: int) -> float:
    """The size at the order's price on its own side; NaN where it is unknown."""
    limit = working.limit_price
    best, size = (market.bid, market.bid_size) if working.is_buy else (market.ask, market.ask_size)
    if limit is None or best != best:
        return nan
    if limit > best if working.is_buy else limit < best:
        return 0.0
    if limit == best and size == size:
        return size
    book = market.book
    if book is None or book.is_old(clock_ns):
        return nan
    at_limit = (book.bids if working.is_buy else book.asks).size_at(limit)
    return nan if at_limit is None else at_limit
