"""Netting at the account: what strategies hold together, and orders of theirs that cross each other inside.

The rules of ``netting=True``:

- Market orders of different strategies in one symbol that the same event could fill, on opposite sides, fill
  each other for the quantity they have in common, in the order in which they were sent. Only the rest goes to the market.
- The price is one for both: a bar's open, a trade's price, the middle of a quote. There is no spread, slippage, impact
  or commission, and no volume is taken from the market. Such fills are marked ``is_crossed``.
- What one book pays the other gets: each keeps its own positions, fills and trades, and their sum is that of one
  account that trades the net, less what this would have paid on the part that crossed.
- Limit orders, stops that fire at this very event, orders that only ever reduce (the legs of a bracket) and orders to
  be filled at once or not at all go to the market as ever.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from qfkit.core.orders import FOK, MARKET

if TYPE_CHECKING:
    from qfkit.core.engine import Engine
    from qfkit.core.snapshot import PositionView
    from qfkit.core.working import WorkingOrder

__all__ = ["NetPosition", "Netting", "describe", "net_positions"]


class Netting:
    """Crosses the orders of an engine's strategies, before they go to the market."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def cross(self, eligible: "Iterable[WorkingOrder]", price: float, time_ns: int) -> None:
        """Cross what crosses among the orders that may see this event of ``time_ns``, at this price."""
        able = [
            working
            for working in eligible
            if working.type is MARKET and not working.is_reduce_only and working.order.time_in_force is not FOK
        ]
        buys = [working for working in able if working.is_buy]
        if not buys or len(buys) == len(able):
            return
        engine = self._engine
        if time_ns > engine.accounts.next_night_ns:
            # What the nights before cost may call margin, which takes orders away: not between two halves of a cross.
            engine.accounts.charge(time_ns - 1)
        sales = [working for working in able if not working.is_buy]
        for buy in buys:
            for sale in sales:
                # A fill may have its strategy cancel others of its own orders.
                if not buy.is_open:
                    break
                if sale.is_open and sale.owner is not buy.owner:
                    quantity = min(buy.remaining, sale.remaining)
                    first, second = (buy, sale) if buy.order.order_id < sale.order.order_id else (sale, buy)
                    for working in (first, second):
                        working.crossed += quantity
                        engine.broker.take_in(working, quantity, price, 0.0, price, is_crossed=True)


def describe(strategies: int, *, is_netting: bool) -> tuple[str, ...]:
    """What a run assumes of its strategies' orders in one symbol, a line where there are several."""
    if strategies < 2:
        return ()
    apart = "orders of different strategies are kept apart: each goes to the market and pays its own costs"
    crossed = (
        "opposite market orders of different strategies cross inside the account, at the open, the trade or the middle "
        "of the quote and without costs; the rest goes to the market"
    )
    return (crossed if is_netting else apart,)


class NetPosition(msgspec.Struct, frozen=True):
    """What all strategies together hold of a symbol; ``quantity`` is negative for a short, and may be 0.0 where they
    hold against each other. Prices are in the symbol's ``currency``, money in the account's.

    ``by_strategy`` is each one's signed quantity; ``unrealised`` and ``realised`` are the sums of theirs.
    """

    symbol: str
    quantity: float
    price: float
    market_value: float
    unrealised: float
    realised: float
    by_strategy: dict[str, float]
    currency: str = ""


def net_positions(positions: "Iterable[PositionView]") -> tuple[NetPosition, ...]:
    """The positions of several books, added up by symbol."""
    netted: dict[str, NetPosition] = {}
    for view in positions:
        known = netted.get(view.symbol)
        netted[view.symbol] = NetPosition(
            view.symbol,
            view.quantity + (0.0 if known is None else known.quantity),
            view.price,
            view.market_value + (0.0 if known is None else known.market_value),
            view.unrealised + (0.0 if known is None else known.unrealised),
            view.realised + (0.0 if known is None else known.realised),
            {**({} if known is None else known.by_strategy), view.strategy: view.quantity},
            view.currency,
        )
    return tuple(netted.values())
