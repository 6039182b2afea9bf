"""A recorded order book: its levels, what our fills took from them, and how an order walks them."""

from typing import TYPE_CHECKING

from qfkit.core.events import Depth, Quote

if TYPE_CHECKING:
    from qfkit.core.market import Market

__all__ = ["Ladder", "OrderBook", "Walk", "see_depth"]

# A book of which nothing was heard so long may be gone: what the quotes and trades say counts then.
_OLD_NS = 10_000_000_000
# So many levels that were taken from are remembered; the farthest from the best are forgotten first.
_MOST_TAKEN = 256


class Ladder:
    """One side of a book. ``taken`` is what our fills took, by price.

    The market never knew of our fills, so a level goes on being shown with what we took from it.
    Of its size only what is beyond that is there for us. A level that shrinks below what was
    taken holds nothing, and what it grows by afterwards is new.
    """

    __slots__ = ("is_ask", "levels", "taken")

    def __init__(self, *, is_ask: bool) -> None:
        self.is_ask = is_ask
        self.levels: tuple[tuple[float, float], ...] = ()
        self.taken: dict[float, float] = {}

    def is_better(self, price: float, other: float) -> bool:
        """Whether a price is nearer to the other side."""
        return price < other if self.is_ask else price > other

    def show(self, levels: tuple[tuple[float, float], ...]) -> None:
        """The levels as they are now."""
        self.levels = levels
        if self.taken and levels:
            sizes = dict(levels)
            last = levels[-1][0]
            for price in list(self.taken):
                # What is deeper than the last level shown is out of sight, not gone.
                if price in sizes or not self.is_better(last, price):
                    self._cap(price, sizes.get(price, 0.0))
            while len(self.taken) > _MOST_TAKEN:
                del self.taken[max(self.taken, key=lambda price: abs(price - levels[0][0]))]

    def show_best(self, best: float, size: float) -> None:
        """The best level as a quote has it: those better than it are gone."""
        taken = self.taken
        if best in taken:
            self._cap(best, size)
        if taken and self.is_better(min(taken) if self.is_ask else max(taken), best):
            for price in list(taken):
                if self.is_better(price, best):
                    del taken[price]

    def _cap(self, price: float, size: float) -> None:
        if self.taken[price] > size:
            if size > 0.0:
                self.taken[price] = size
            else:
                del self.taken[price]

    def size_at(self, price: float) -> float | None:
        """The size of the level at a price, 0.0 where there is none; None out of sight."""
        for level, size in self.levels:
            if level == price:
                return size
            if self.is_better(price, level):
                return 0.0
        return None


class OrderBook:
    """Both sides of a symbol's book, and when it was heard of last."""

    __slots__ = ("asks", "bids", "received_ns")

    def __init__(self) -> None:
        self.bids = Ladder(is_ask=False)
        self.asks = Ladder(is_ask=True)
        self.received_ns = 0

    def is_old(self, clock_ns: int) -> bool:
        return clock_ns - self.received_ns > _OLD_NS

    def note_taken(self, price: float, quantity: float, *, is_buy: bool) -> None:
        """What a fill took that did not walk the levels."""
        taken = self.asks.taken if is_buy else self.bids.taken
        taken[price] = taken.get(price, 0.0) + quantity

    def see_quote(self, quote: Quote) -> None:
        """Take note of a quote, which is newer than the levels."""
        if self.asks.taken:
            self.asks.show_best(quote.ask, quote.ask_size)
        if self.bids.taken:
            self.bids.show_best(quote.bid, quote.bid_size)


class Walk:
    """What orders meet on one side of a book at one event, the best first: each level's price and what is left.

    ``best`` and ``size`` are the newest quote's, in front of the levels beyond it. ``share`` is the
    fraction of each level that fills may take.
    """

    __slots__ = ("_ladder", "_left", "_prices")

    def __init__(self, ladder: Ladder, best: float, size: float, share: float) -> None:
        self._ladder = ladder
        self._prices: list[float] = []
        self._left: list[float] = []
        # Of a quote without a size the level knows it.
        known = ladder.size_at(best) if size != size else size
        beyond = [level for level in ladder.levels if ladder.is_better(best, level[0])]
        for price, offered in [(best, known or 0.0), *beyond]:
            left = offered * share - ladder.taken.get(price, 0.0)
            if left > 0.0:
                self._prices.append(price)
                self._left.append(left)

    def available(self, limit: float | None) -> float:
        """How much there is, up to a limit."""
        offered = 0.0
        for price, left in zip(self._prices, self._left, strict=True):
            if limit is not None and self._ladder.is_better(limit, price):
                break
            offered += left
        return offered

    def take(self, quantity: float) -> float:
        """Take a quantity from the best levels on; returns the average price."""
        paid, wanted = 0.0, quantity
        first = last = None
        taken = self._ladder.taken
        for place, left in enumerate(self._left):
            if left <= 0.0:
                continue
            part = left if left < wanted else wanted
            self._left[place] = left - part
            last = self._prices[place]
            taken[last] = taken.get(last, 0.0) + part
            first = last if first is None else first
            paid += part * last
            wanted -= part
            if wanted <= 0.0:
                break
        assert first is not None
        assert last is not None
        # Rounding must not make it better than the first price or worse than the last.
        return min(max(paid / quantity, min(first, last)), max(first, last))


def see_depth(market: "Market", depth: Depth) -> Quote | None:
    """Take note of a book's best levels; returns the quote that they make.

    A side without levels keeps its last price and offers nothing there; None where there was no price, or
    the other side has passed it.
    """
    book = market.book
    if book is None:
        book = market.book = OrderBook()
    book.received_ns = depth.received_ns
    book.bids.show(depth.bids)
    book.asks.show(depth.asks)
    bid, bid_size = depth.bids[0] if depth.bids else (market.bid, 0.0)
    ask, ask_size = depth.asks[0] if depth.asks else (market.ask, 0.0)
    if not bid <= ask:
        return None
    return Quote(depth.symbol, bid, bid_size, ask, ask_size, depth.time_ns, depth.received_ns, depth.source)
