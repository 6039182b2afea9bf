"""Rebalancing: from the weights a book has to those it should have, as a plan and then as orders.

The rules:

- **Sized after costs.** A weight is a fraction of the equity that is left when the whole rebalance
  is paid for: slippage and commission as the run's costs estimate them.
- **No-trade band.** A position within ``band`` of its weight is left as it is. One that is to go to
  zero is always closed, and one that is not held yet is always opened.
- **What frees money first.** All that makes a position smaller (sales, buying back a short) is sent
  at once. What makes one larger waits until what is free pays for the whole of it, the largest first;
  when nothing is out any more that could free money, the rest is scaled down to what is free. A
  change of side is both: first flat, then the other way.
- **Never over-invested.** *Free* is what the weights' sum says of the present equity less every
  position and every order out that would enlarge one. So a sale that is refused, cancelled or filled
  in part makes the purchases smaller, and positions above their weight but in the band do too. What
  waits is sized anew, from the prices at which it is sent.
- **In steps.** A position is rounded to the smaller whole step; an order below a symbol's minimum is not sent.
- What a risk limit, a step or a minimum cuts off stays in cash.

On bars a purchase that waits is sent when the bar that filled the sale is closed, and so fills at
the open after that: a fully invested book needs two bars.
"""

from collections.abc import Iterable, Mapping
from math import nan
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from qfkit.core.order_entry import send
from qfkit.core.orders import MARKET
from qfkit.core.portfolio import total
from qfkit.core.rebalance_plan import (
    Holding,
    RebalancePlan,
    after_costs,
    cost_of,
    gross_of,
    increase,
    largest_first,
    plan_rebalance,
    scaled,
    whole_only,
)

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.engine import Engine
    from qfkit.core.market import Market
    from qfkit.core.working import WorkingOrder

__all__ = ["Rebalancing", "committed", "end", "go_on", "plan_for", "rebalance"]


def plan_for(desk: "Desk", weights: Mapping[str, float], *, band: float = 0.0) -> RebalancePlan:
    """The plan for a strategy's book as it stands; its market orders at work would be replaced."""
    engine = desk.engine
    symbols = dict.fromkeys([*desk.book.open, *weights])
    holdings = {}
    for symbol in symbols:
        held = desk.book.positions.get(symbol)
        quantity = (0.0 if held is None else held.quantity) + desk.pending_forced(symbol)
        # One of the run's symbols may have no data yet: it has no price then, and nothing is traded in it.
        is_to_come = symbol not in engine.tracks and symbol in desk.symbols
        holdings[symbol] = Holding(0.0, nan) if is_to_come else _holding(quantity, desk.market(symbol))
    return plan_rebalance(
        weights, holdings, equity=desk.book.equity, band=band, cost_at=engine.cost_at, time_ns=engine.clock_ns
    )


class Rebalancing:
    """A rebalance under way: what was sent to free money, and what waits for it.

    It goes on with each fill of its strategy and with each closed bar, and ends when nothing waits any more.
    """

    __slots__ = ("_by_hand", "_desk", "_engine", "_reach", "_reason", "_smaller", "order_ids", "waiting")

    def __init__(
        self, desk: "Desk", weights: Mapping[str, float], plan: RebalancePlan, *, reason: str, by_hand: bool
    ) -> None:
        self._desk = desk
        self._engine: Engine = desk.engine
        self._reason = reason
        self._by_hand = by_hand
        self._reach = total(abs(weight) for weight in weights.values())
        self._smaller: list[WorkingOrder] = []
        self.order_ids: list[int] = []
        self.waiting: dict[str, float] = {}
        for leg in plan.legs:
            if not leg.change:
                continue
            if leg.change * leg.quantity < 0.0:
                closes = min(abs(leg.change), abs(leg.quantity))
                sent = self._send(leg.symbol, -closes if leg.quantity > 0.0 else closes)
                if sent is not None:
                    self._smaller.append(sent)
            if leg.target * leg.change > 0.0:
                self.waiting[leg.symbol] = leg.wanted_weight

    def _send(self, symbol: str, change: float) -> "WorkingOrder | None":
        market = self._desk.market(symbol)
        sent = send(self._desk, "rebalance", market, change, market.price, reason=self._reason, by_hand=self._by_hand)
        if sent is not None:
            self.order_ids.append(sent.order.order_id)
        return sent

    def advance(self) -> None:
        """Send what is paid for by now."""
        if not self.waiting:
            return
        frees = [working for working in self._smaller if working.is_open]
        holdings = _as_if_larger(self._desk, self.waiting)
        owed = _costs_out(self._desk)

        def changes(net: float) -> tuple[dict[str, float], dict[str, float]]:
            needs = {}
            for symbol, weight in self.waiting.items():
                held = holdings[symbol]
                if frees and weight * held.quantity < 0.0:
                    # What is still of the other side will be flat by then: what follows counts among the costs already.
                    held = replace(held, quantity=0.0)
                needs[symbol] = increase(weight * net, held)
            return {}, needs if frees else scaled(needs, holdings, self._reach * net - gross_of(holdings), {})

        _, larger, net = after_costs(self._desk.book.equity, changes, holdings, self._engine.cost_at, owed)
        if frees:
            possible = {
                symbol: change for symbol, change in larger.items() if holdings[symbol].quantity * change >= 0.0
            }
            larger = whole_only(possible, holdings, self._reach * net - gross_of(holdings))
        else:
            self.waiting.clear()
        for symbol, change in largest_first(larger, holdings):
            self.waiting.pop(symbol, None)
            self._send(symbol, change)


def _as_if_larger(desk: "Desk", symbols: Iterable[str] = ()) -> dict[str, Holding]:
    """The book with every order filled that makes a position larger, and none that makes one smaller."""
    quantities = {symbol: position.quantity for symbol, position in desk.book.open.items()}
    for symbol in symbols:
        quantities.setdefault(symbol, 0.0)
    for working in desk.engine.broker.open.values():
        if working.owner is desk and not working.is_reduce_only:
            symbol = working.order.symbol
            held = quantities.get(symbol, 0.0)
            signed = working.remaining if working.is_buy else -working.remaining
            if held * signed >= 0.0:
                quantities[symbol] = held + signed
    return {symbol: _holding(quantity, desk.market(symbol)) for symbol, quantity in quantities.items()}


def _holding(quantity: float, market: "Market") -> Holding:
    return Holding(quantity, market.price, market.rules, market, market.rate)


def _costs_out(desk: "Desk") -> float:
    """What the market orders at work will cost."""
    return total(
        cost_of(
            working.remaining if working.is_buy else -working.remaining,
            _holding(0.0, working.market),
            desk.engine.cost_at,
        )
        for working in desk.engine.broker.open.values()
        if working.owner is desk and working.order.type is MARKET
    )


def committed(desk: "Desk") -> tuple[float, float]:
    """What a book's positions and orders at work take at most, as gross exposure and as costs."""
    return gross_of(_as_if_larger(desk)), _costs_out(desk)


def go_on(desk: "Desk") -> None:
    """Have a rebalance under way send what is paid for by now; it ends when nothing waits any more."""
    under_way = desk.rebalancing
    if under_way is not None:
        under_way.advance()
        if not under_way.waiting:
            end(desk)


def end(desk: "Desk", symbol: str | None = None) -> None:
    """Forget what waits in a symbol, or in all."""
    under_way = desk.rebalancing
    if under_way is None:
        return
    under_way.waiting.pop(symbol, 0.0) if symbol is not None else under_way.waiting.clear()
    if not under_way.waiting:
        desk.rebalancing = None
        desk.engine.rebalancing.remove(desk)


def rebalance(
    desk: "Desk",
    weights: Mapping[str, float],
    *,
    band: float = 0.0,
    preview: bool = False,
    reason: str,
    by_hand: bool = False,
) -> Any:
    """Take a strategy's book to weights: the plan with ``preview``, else the ids of the orders sent at once."""
    plan = plan_for(desk, weights, band=band)
    if preview:
        return plan
    engine = desk.engine
    for working in list(engine.broker.open.values()):
        if working.owner is desk and working.order.type is MARKET and not working.is_forced:
            engine.broker.cancel(working, "replaced by a new target", engine.clock_ns)
    end(desk)
    under_way = Rebalancing(desk, weights, plan, reason=reason, by_hand=by_hand)
    under_way.advance()
    if under_way.waiting:
        desk.rebalancing = under_way
        engine.rebalancing.append(desk)
    return under_way.order_ids
