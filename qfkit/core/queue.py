"""Where a limit order stands in the queue of its price, on trades and quotes."""

from math import nan

from qfkit.core.events import Tick
from qfkit.core.market import Market
from qfkit.core.working import WorkingOrder

__all__ = ["LimitQueue"]


class LimitQueue:
    """Counts down what stands ahead of limit orders: at first all that is quoted at their price.

    Trades at the price take from the front. Of what is withdrawn, "proportional" takes the share
    that stood ahead, the other way none, except that never more can be ahead than is quoted. Those
    who come later stand behind. Where no size was ever quoted at the price nothing is known, and
    only a trade beyond the limit fills it.

    Both are the usual models of a backtest on quotes: see Moallemi and Yuan, "A model for queue
    position valuation in a limit order book", 2016, on why the position in the queue matters.
    """

    __slots__ = ("_is_proportional",)

    def __init__(self, *, is_proportional: bool) -> None:
        self._is_proportional = is_proportional

    def see_quote(self, working: WorkingOrder, market: Market, clock_ns: int) -> None:
        """Take note of the size that is quoted at the order's price now."""
        size = _quoted(working, market, clock_ns)
        if size != size:
            working.level_size = nan
            return
        ahead = working.ahead
        if ahead != ahead:
            ahead = size
        elif self._is_proportional and size < working.level_size:
            ahead *= size / working.level_size
        working.ahead = size if size < ahead else ahead
        working.level_size = size

    def see_trade(self, working: WorkingOrder, tick: Tick, market: Market, clock_ns: int) -> float:
        """A trade at the order's price: how much of it goes on to the order, 0.0 for none."""
        if tick.side is not None and tick.side == working.order.side:
            # It took from the other side of the book.
            return 0.0
        if working.ahead != working.ahead:
            self.see_quote(working, market, clock_ns)
        ahead, size = working.ahead, tick.size
        if ahead != ahead or size != size:
            return 0.0
        working.ahead = max(0.0, ahead - size)
        working.level_size = max(0.0, working.level_size - size)
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
