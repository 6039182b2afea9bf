"""What a book comes to with its working orders filled: what an order is checked on.

Market orders will fill; of the others any may fill and the others not. So each symbol has a reach: its quantity
with the market orders filled, and how far the rest may carry it up and down. Of orders that cancel one another only
the largest counts; those that only ever reduce count no further than to flat.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from qfkit.core.market import Market
from qfkit.core.orders import MARKET
from qfkit.core.risk import Exposure, exits_of

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.engine import Engine
    from qfkit.core.working import WorkingOrder

__all__ = ["Reach", "Reaches", "account_exposure", "exposure_of", "gross_value", "net_value", "reaches_of"]


class Reach:
    """A position with its market orders filled, and what its other orders may add to it and take from it.

    ``buy_price`` and ``sell_price`` are the highest at which these would fill, 0.0 where no order says one: a buy
    stop above the market, a sale's limit.
    """

    __slots__ = ("bought", "buy_price", "quantity", "sell_price", "sold")

    def __init__(self, quantity: float) -> None:
        self.quantity = quantity
        self.bought = 0.0
        self.sold = 0.0
        self.buy_price = 0.0
        self.sell_price = 0.0

    def towards(self, side: float) -> float:
        """How far it may go up (side above zero) or down."""
        return self.quantity + self.bought if side > 0.0 else self.quantity - self.sold

    @property
    def largest(self) -> float:
        """The larger of its two ends, without a sign."""
        return max(abs(self.quantity), abs(self.quantity + self.bought), abs(self.quantity - self.sold))

    def value(self, price: float) -> float:
        """What it may come to at most, without a sign, where the market is at ``price`` now."""
        up, down = self.quantity + self.bought, self.quantity - self.sold
        largest = abs(self.quantity) * price
        if self.bought:
            largest = max(largest, abs(up) * (max(price, self.buy_price) if up > 0.0 else price))
        if self.sold:
            largest = max(largest, abs(down) * (max(price, self.sell_price) if down < 0.0 else price))
        return largest


Reaches: TypeAlias = dict[str, Reach]


def reaches_of(desk: "Desk") -> Reaches:
    """The reach of each symbol that a book holds or has orders in."""
    reaches = {symbol: Reach(position.quantity) for symbol, position in desk.book.open.items()}
    closing: list[WorkingOrder] = []
    for working in desk.engine.broker.open.values():
        if working.owner is not desk:
            continue
        if working.is_reduce_only:
            if working.type is MARKET:
                closing.append(working)
            continue
        symbol = working.order.symbol
        reach = reaches.get(symbol)
        if reach is None:
            reach = reaches[symbol] = Reach(0.0)
        if working.type is MARKET:
            reach.quantity += working.remaining if working.is_buy else -working.remaining
        elif not working.group or _is_largest_of_group(working):
            if working.is_buy:
                reach.bought += working.remaining
                if working.limit_price is None:
                    reach.buy_price = max(reach.buy_price, working.stop_level() or 0.0)
            else:
                reach.sold += working.remaining
                reach.sell_price = max(reach.sell_price, working.limit_price or 0.0)
    for working in closing:
        reach = reaches.get(working.order.symbol)
        if reach is not None:
            signed = working.remaining if working.is_buy else -working.remaining
            reach.quantity += -exits_of(reach.quantity, signed) if signed < 0.0 else exits_of(reach.quantity, signed)
    return reaches


def _is_largest_of_group(working: "WorkingOrder") -> bool:
    size, order_id = working.remaining, working.order.order_id
    for other in working.group:
        if (
            other.is_open
            and other.is_buy is working.is_buy
            and other.market is working.market
            and (other.remaining > size or (other.remaining == size and other.order.order_id < order_id))
        ):
            return False
    return True


def exposure_of(desk: "Desk", market: Market, side: float) -> Exposure:
    """What an order of a strategy meets in its own book."""
    book = desk.book
    if not desk.engine.broker.open:
        gross = 0.0
        for held_elsewhere in book.open.values():
            if held_elsewhere.market is not market:
                gross += abs(held_elsewhere.market_value)
        held_here = book.positions.get(market.symbol)
        held = 0.0 if held_here is None else held_here.quantity
        return Exposure(book.equity, held, gross, held)
    reaches = reaches_of(desk)
    here = reaches.pop(market.symbol, None) or Reach(0.0)
    return Exposure(book.equity, here.towards(side), gross_value(desk.engine, (reaches,)), here.quantity)


def account_exposure(
    engine: "Engine", books: Sequence[Reaches], own: Reaches, market: Market, side: float, equity: float
) -> Exposure:
    """What an order of the book ``own`` meets in the books of all strategies together, which are not netted."""
    symbol = market.symbol
    beside = 0.0
    for reaches in books:
        if reaches is not own and symbol in reaches:
            beside += reaches[symbol].largest
    here = own[symbol]
    others = [{one: reach for one, reach in reaches.items() if one != symbol} for reaches in books]
    return Exposure(equity, here.towards(side), gross_value(engine, others), here.quantity, beside)


def gross_value(engine: "Engine", books: Sequence[Reaches], symbols: Iterable[str] | None = None) -> float:
    """What books may come to in these symbols at most, without signs and not netted; None takes all symbols."""
    gross = 0.0
    for reaches in books:
        for symbol, reach in reaches.items():
            if symbols is None or symbol in symbols:
                market = engine.tracks[symbol].market
                gross += reach.value(market.price) * market.rate if reach.largest else 0.0
    return gross


def net_value(engine: "Engine", books: Sequence[Reaches], side: float) -> float:
    """Longs less shorts, as far as books may go to that side."""
    net = 0.0
    for reaches in books:
        for symbol, reach in reaches.items():
            market = engine.tracks[symbol].market
            quantity = reach.towards(side)
            net += quantity * market.price * market.rate if quantity else 0.0
    return net
