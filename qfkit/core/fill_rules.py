"""How orders fill: what price an event gives an order, if any.

Each rule returns the market's price for the order, before slippage, or None. An order that is a
market order by then (a fired stop, say) pays slippage, a limit order does not. The rules are on
the strict side wherever the data leave a doubt; :mod:`qfkit.core.broker` applies them in order.
"""

from math import inf

from qfkit.core.events import Bar, Quote, Tick
from qfkit.core.market import Market
from qfkit.core.orders import LIMIT, MARKET, STOP_LIMIT, TRAILING_STOP, OrderType
from qfkit.core.working import WorkingOrder

__all__ = ["at_open", "late_leg", "limit_inside", "nearest_first", "on_quote", "on_trade", "stop_inside"]


def beyond(price: float, limit: float | None, buy: bool, touch: bool) -> bool:
    """Whether a price trades through a limit, or touches it where that is enough."""
    if limit is None:
        return False
    if touch:
        return price <= limit if buy else price >= limit
    return price < limit if buy else price > limit


def at_open(working: WorkingOrder, bar: Bar, touch: bool) -> float | None:
    """What the bar's first price decides."""
    price, buy = bar.open, working.is_buy
    kind: OrderType = working.type
    if kind is MARKET:
        return price
    if kind is LIMIT:
        return price if beyond(price, working.limit_price, buy, touch) else None
    level = working.stop_level()
    if level is not None and (price >= level if buy else price <= level):
        working.trigger()
        if kind is not STOP_LIMIT or beyond(price, working.limit_price, buy, touch):
            return price
    elif kind is TRAILING_STOP:
        working.follow(price)
    return None


def nearest_first(orders: list[WorkingOrder], bar: Bar) -> list[WorkingOrder]:
    """The orders with the stops nearest to the open first: on its way a price comes to them before the others."""

    def distance(working: WorkingOrder) -> float:
        level = working.stop_level()
        return inf if level is None else abs(level - bar.open)

    return sorted(orders, key=distance)


def stop_inside(working: WorkingOrder, bar: Bar, touch: bool) -> float | None:
    """A stop that the bar reached after its open: the worse of stop and open."""
    level, buy = working.stop_level(), working.is_buy
    if level is None:
        return None
    if bar.high >= level if buy else bar.low <= level:
        price = max(bar.open, level) if buy else min(bar.open, level)
    elif working.type is TRAILING_STOP:
        # The best price came at some time within the bar. Only the close is surely after it.
        working.follow(bar.low if buy else bar.high)
        price = working.trail_stop()
        if bar.close < price if buy else bar.close > price:
            return None
    else:
        return None
    working.trigger()
    if working.type is MARKET or beyond(price, working.limit_price, buy, touch):
        return price
    # Whether the bar came back to the limit after the stop is unknown: wait for the next.
    working.fired_inside = True
    return None


def limit_inside(working: WorkingOrder, bar: Bar, touch: bool) -> float | None:
    """A limit that the bar traded through after its open; one beyond the bar's range at the range's worse end."""
    limit = working.limit_price
    if limit is None or not beyond(bar.low if working.is_buy else bar.high, limit, working.is_buy, touch):
        return None
    return min(limit, bar.high) if working.is_buy else max(limit, bar.low)


def late_leg(working: WorkingOrder, bar: Bar) -> float | None:
    """A leg whose entry filled inside this bar: the order of prices is unknown, so a stop that
    the bar touched counts (unless only the way to the entry passed it) and a target does not."""
    level = working.stop_level()
    if level is None or working.type is STOP_LIMIT:
        return None
    if working.is_buy:
        reached = bar.high >= level and (level >= bar.open or bar.close >= level)
    else:
        reached = bar.low <= level and (level <= bar.open or bar.close <= level)
    if not reached:
        if working.type is TRAILING_STOP:
            # Of all prices of the bar only the close is surely after the entry.
            working.follow(bar.close)
        return None
    working.trigger()
    return max(level, bar.low) if working.is_buy else min(level, bar.high)


def on_trade(working: WorkingOrder, tick: Tick, market: Market, touch: bool) -> float | None:
    """A trade: it fires stops, and fills at its own price or the quote's, whichever is worse."""
    _watch(working, tick.price)
    buy, price = working.is_buy, tick.price
    # Nobody sells to a buyer below the ask: a trade at the bid is no offer to us.
    quote = market.ask if buy else market.bid
    worse = price if quote != quote else max(price, quote) if buy else min(price, quote)
    if working.type is MARKET:
        return worse
    limit = working.limit_price
    if working.type is not LIMIT or limit is None or not beyond(price, limit, buy, touch):
        return None
    # An order that was marketable when it came gets the market's price, a resting one its own.
    if working.seen:
        return limit
    return min(worse, limit) if buy else max(worse, limit)


def on_quote(working: WorkingOrder, quote: Quote, market: Market) -> float | None:
    """A quote: orders cross the spread; stops watch it only where nothing trades."""
    buy = working.is_buy
    price = quote.ask if buy else quote.bid
    if not market.has_trades:
        _watch(working, price)
    if working.type is MARKET:
        return price
    limit = working.limit_price
    if working.type is not LIMIT or limit is None or (price > limit if buy else price < limit):
        return None
    return limit if working.seen else price


def _watch(working: WorkingOrder, price: float) -> None:
    """Fire a stop that a price reached; move a trailing one that it did not."""
    level = working.stop_level()
    if level is None:
        return
    if price >= level if working.is_buy else price <= level:
        working.trigger()
    elif working.type is TRAILING_STOP:
        working.follow(price)
