"""What a fill cost beside the price that was decided on, taken apart: spread, delay, size and fee.

Perold's implementation shortfall ("The implementation shortfall: paper versus reality", Journal of Portfolio
Management, 1988) of what was filled. All are money of the account, at the fill's rate; above zero is a cost:

- **delay**: how far the market moved from the decision to the fill. Where quotes are known at both, it is their
  middles that count; else it is from the decision price to the market's price at the fill (on bars: the open, or the
  level that an order filled at).
- **spread**: from there to the best price of the other side, less what the decision price lay towards it already.
  Zero without quotes, for bars and trades say nothing of it; below zero for a limit order that others crossed to.
- **size**: what the order's own quantity cost: the further levels of the book, slippage and impact.
- **fee**: the commission.
"""

from math import isnan

import msgspec

from qfkit.core.events import Bar, Tick
from qfkit.core.orders import BUY, LIMIT, Fill, Order
from qfkit.inspection.moments import FillMoment, Market

__all__ = ["FillCost", "split_cost"]


class FillCost(msgspec.Struct, frozen=True):
    """A fill's cost in parts. ``total`` is reckoned by itself, from the decision price, the price paid and the fee.

    ``best_price`` is the best one on offer at the fill, before the size of the order counted.
    """

    fill_id: int
    order_id: int
    time_ns: int
    quantity: float
    decision_price: float
    best_price: float
    price: float
    spread: float
    delay: float
    size: float
    fee: float
    total: float

    @property
    def parts(self) -> float:
        """The sum of the four parts; equal to ``total`` but for rounding."""
        return self.spread + self.delay + self.size + self.fee


def split_cost(order: Order, fill: Fill, decided: Market | None = None, moment: FillMoment | None = None) -> FillCost:
    """Take a fill's cost apart. Without the markets of a replay quotes are not known, and ``spread`` is in the rest."""
    sign = 1.0 if fill.side is BUY or fill.side == BUY else -1.0
    money = sign * fill.quantity * fill.rate
    best = _best_price(order, fill, sign, moment)
    before, at = order.decision_price, best
    spread = 0.0
    middle = moment.market.middle if moment is not None and not isinstance(moment.event, Bar) else float("nan")
    if not isnan(middle):
        at = middle
        spread = best - middle
        if decided is not None and not isnan(decided.middle):
            # A last trade that lay nearer to the other side was decided on, so that part of the spread is in the price.
            spread += decided.middle - before
            before = decided.middle
    return FillCost(
        fill_id=fill.fill_id,
        order_id=fill.order_id,
        time_ns=fill.time_ns,
        quantity=fill.quantity,
        decision_price=order.decision_price,
        best_price=best,
        price=fill.price,
        spread=money * spread,
        delay=money * (at - before),
        size=money * (fill.price - best),
        fee=fill.fee,
        total=money * (fill.price - order.decision_price) + fill.fee,
    )


def _best_price(order: Order, fill: Fill, sign: float, moment: FillMoment | None) -> float:
    """The best price on offer when it filled: the quote's where an order went through further levels of the book."""
    if moment is None or isinstance(moment.event, Bar):
        return fill.market_price
    if order.type is LIMIT and fill.market_price == order.limit_price:
        return fill.market_price
    market, event = moment.market, moment.event
    quoted = market.ask if sign > 0.0 else market.bid
    if isinstance(event, Tick) and not market.bid <= event.price <= market.ask:
        # A trade beyond the quote: the quote is behind, and nothing was walked.
        return fill.market_price
    return quoted if sign * (fill.market_price - quoted) > 0.0 else fill.market_price
