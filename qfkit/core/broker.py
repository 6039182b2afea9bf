"""The paper broker: working orders, how they fill, and what a fill costs.

The rules, which are on the strict side wherever the data leave a doubt:

- An order sees only events received at or after ``sent_ns`` (its decision plus latency), and
  only bars that opened at or after its decision.
- On a bar: first everything that the open decides, then stops, then limits. So where one bar
  touches both stop and target, the stop counts, unless the open was already beyond the target.
- A market order fills at the open; on ticks at the trade or the quote, whichever is worse; on
  quotes across the spread. A limit fills when the price trades through it (Costs: or touches
  it), at the limit, or at a better open. A stop fires at the stop and fills at the worse of
  stop and price.
- A fill takes at most ``participation`` of the volume traded or quoted; what was taken from a
  level is not there again. An unknown volume (NaN) bounds nothing.
- Where the depth of the book is known, orders that cross the spread walk its levels, as one fill
  at the average price. A trade outside the spread says that the book is behind: then it and its
  volume count, as without a book.
- A resting limit waits for its turn in the queue of its price where ``limit_fills`` says so.
- Where the account nets, market orders of different strategies cross each other first (:mod:`qfkit.core.netting`).
- A bracket's legs wait until their entry fills, then work for what it filled; they only ever
  reduce the position. A fill of one order of a group takes as much from the others.
"""

from collections.abc import Callable, Iterable
from math import inf, nan
from typing import TYPE_CHECKING

from msgspec.structs import replace

from qfkit.core.costs import Costs, moved
from qfkit.core.events import Bar, Quote, Tick
from qfkit.core.fill_rules import at_open, late_leg, limit_inside, nearest_first, on_quote, on_trade, stop_inside
from qfkit.core.ladder import OrderBook, Walk
from qfkit.core.market import Market
from qfkit.core.orders import (
    CANCELLED,
    DAY,
    EXPIRED,
    FILLED,
    FOK,
    HELD,
    IOC,
    LIMIT,
    MARKET,
    PARTIALLY_FILLED,
    TRAILING_STOP,
    WORKING,
    Fill,
    Order,
    OrderStatus,
)
from qfkit.core.portfolio import Book
from qfkit.core.queue import LimitQueue
from qfkit.core.records import Records
from qfkit.core.working import WorkingOrder
from qfkit.errors import OrderError

if TYPE_CHECKING:
    from qfkit.core.netting import Netting

__all__ = ["Broker"]

_DAY_NS = 86_400_000_000_000
_DUST = 1e-12


class Broker:
    """Holds the working orders of all books and matches them against events."""

    def __init__(self, costs: Costs, records: Records, on_fill: Callable[[WorkingOrder, Fill], None]) -> None:
        self.costs = costs
        self.netting: Netting | None = None
        self._records = records
        self._on_fill = on_fill
        self._commission = costs.commission_of()
        self._slippage = costs.slippage_of()
        self._participation = inf if costs.participation is None else costs.participation
        self._touch = costs.limit_fills == "touch"
        is_queued = costs.limit_fills in ("queue_last", "queue_proportional")
        is_proportional = costs.limit_fills == "queue_proportional"
        self._queue = LimitQueue(is_proportional=is_proportional) if is_queued else None
        self._impact = costs.impact
        self._latency_ns = costs.latency_of()
        self.open: dict[int, WorkingOrder] = {}
        self.next_expiry_ns: float = inf
        self.fills_count = 0
        self._clock_ns = 0
        # The event being matched: its market time, and the volume left to sell into and to buy from.
        self._time_ns = 0
        self._inside = False
        self._sellable: list[float] = [inf]
        self._buyable: list[float] = [inf]
        # Of a quote or trade where the depth is known: the book, and the walks through its asks and bids so far.
        self._book: OrderBook | None = None
        self._walks: dict[bool, Walk] = {}
        self._is_trade = False
        # How much of a trade comes to the order at hand, after those before it in the queue.
        self._reach = inf

    @property
    def is_inside_bar(self) -> bool:
        """Whether the fill at hand happened inside a bar, after what its open decided; for whoever hears of the fill."""
        return self._inside

    # -- orders come and go ------------------------------------------------------------------

    def submit(self, order: Order, owner: object, book: Book, market: Market) -> WorkingOrder:
        """Put an order to work."""
        working = WorkingOrder(order, owner, book, market)
        self.open[order.order_id] = working
        market.working.append(working)
        if working.expires_ns is not None and working.expires_ns < self.next_expiry_ns:
            self.next_expiry_ns = working.expires_ns
        if order.type is TRAILING_STOP:
            working.extreme = market.price
        self._records.orders.append(order)
        return working

    def submit_leg(self, order: Order, entry: WorkingOrder) -> WorkingOrder:
        """Attach a stop-loss or take-profit to an entry; it is held until the entry fills."""
        leg = WorkingOrder(order, entry.owner, entry.book, entry.market)
        leg.parent = entry
        leg.is_reduce_only = True
        leg.remaining = 0.0
        for other in entry.legs:
            self.link((other, leg))
        entry.legs.append(leg)
        self.open[order.order_id] = leg
        self._records.orders.append(order)
        return leg

    def link(self, group: Iterable[WorkingOrder]) -> None:
        """Make orders one-cancels-other, with all that each of them is so with already."""
        members = list(dict.fromkeys(other for one in group for other in (one, *one.group)))
        for one in members:
            one.group = [other for other in members if other is not one]

    def cancel(self, working: WorkingOrder, reason: str, clock_ns: int) -> None:
        """Take an order off the market at once; what is filled stays, held legs go with an unfilled entry."""
        self._clock_ns = clock_ns
        self._close(working, CANCELLED, reason)

    def modify(
        self,
        working: WorkingOrder,
        *,
        quantity: float | None,
        limit_price: float | None,
        stop_price: float | None,
        clock_ns: int,
    ) -> None:
        """Change an open order; like a new one it works only after the latency."""
        order = working.order
        if quantity is not None:
            if quantity <= order.filled:
                raise OrderError(
                    f"order {order.order_id}: quantity {quantity!r} is not above the {order.filled!r} already filled; "
                    "cancel it instead"
                )
            if working.order.status is not HELD:
                working.remaining = quantity - order.filled
        if limit_price is not None:
            working.limit_price = limit_price
        if stop_price is not None:
            working.stop_price = stop_price
        working.decided_ns, working.sent_ns = clock_ns, clock_ns + self._latency_ns(order.order_id)
        working.seen = False
        working.place = None
        working.order = replace(
            order,
            quantity=order.quantity if quantity is None else quantity,
            limit_price=working.limit_price,
            stop_price=working.stop_price,
            sent_ns=working.sent_ns,
            updated_ns=clock_ns,
            status_reason="modified",
        )
        self._records.orders.append(working.order)

    def expire(self, clock_ns: int) -> None:
        """Close the orders whose time is over."""
        self._clock_ns = clock_ns
        self.next_expiry_ns = inf
        for working in list(self.open.values()):
            if working.expires_ns is None or not working.is_open:
                continue
            if working.expires_ns <= clock_ns:
                self._close(working, EXPIRED, f"time in force {working.order.time_in_force} is over")
            elif working.expires_ns < self.next_expiry_ns:
                self.next_expiry_ns = working.expires_ns

    def _close(self, working: WorkingOrder, status: OrderStatus, reason: str) -> None:
        if not working.is_open:
            return
        working.order = replace(working.order, status=status, status_reason=reason, updated_ns=self._clock_ns)
        self._records.orders.append(working.order)
        self._forget(working)
        for leg in working.legs:
            if working.order.filled == 0.0:
                self._close(leg, CANCELLED, "its entry was not filled")

    def _forget(self, working: WorkingOrder) -> None:
        working.is_open = False
        del self.open[working.order.order_id]
        if working in working.market.working:
            working.market.working.remove(working)

    # -- matching ----------------------------------------------------------------------------

    def _eligible(self, market: Market, time_ns: int, received_ns: int, opened_ns: int | None) -> list[WorkingOrder]:
        """The orders that may see this event."""
        eligible = []
        for working in market.working:
            if received_ns < working.sent_ns or (opened_ns is not None and opened_ns < working.decided_ns):
                continue
            if working.expires_ns is None and working.order.time_in_force is DAY:
                # The day is that of the first event it could fill on; where hours are known, its session.
                close_ns = None if market.hours is None else market.hours.close_ns(time_ns)
                working.expires_ns = (time_ns // _DAY_NS + 1) * _DAY_NS if close_ns is None else close_ns
                self.next_expiry_ns = min(self.next_expiry_ns, working.expires_ns)
            if working.expires_ns is None or time_ns < working.expires_ns:
                eligible.append(working)
        return eligible

    def _finish(self, eligible: list[WorkingOrder]) -> None:
        for working in eligible:
            working.seen = True
            in_force = working.order.time_in_force
            if (in_force is IOC or in_force is FOK) and working.is_open:
                self._close(working, CANCELLED, "not filled at once")

    def match_bar(self, market: Market, bar: Bar) -> None:
        """Match a symbol's orders against a closed bar: the open, then stops, then limits."""
        self._clock_ns = bar.close_ns
        if market.hours is not None and not market.hours.overlaps(bar.open_ns, bar.close_ns):
            return
        eligible = self._eligible(market, bar.open_ns, bar.close_ns, bar.open_ns)
        if not eligible:
            return
        touch = self._touch
        self._book = None
        self._sellable = self._buyable = [self._share(bar.volume)]
        self._time_ns = bar.open_ns
        self._inside = False
        if self.netting is not None and len(eligible) > 1:
            self.netting.cross(eligible, bar.open, bar.open_ns)
        for working in eligible:
            if working.is_open:
                self._fill(working, at_open(working, bar, touch))
        if market.working:
            self._time_ns = bar.close_ns
            self._inside = True
            # Legs that an entry at the open activated take part. What expires inside the bar
            # had its chance at the open only.
            inside = [
                working
                for working in self._eligible(market, bar.open_ns, bar.close_ns, bar.open_ns)
                if working.expires_ns is None or working.expires_ns >= bar.close_ns
            ]
            for working in nearest_first(inside, bar) if len(inside) > 1 else inside:
                if working.is_open:
                    self._fill(working, stop_inside(working, bar, touch))
            for working in inside:
                if working.is_open and working.type is LIMIT and not working.fired_inside:
                    self._fill(working, limit_inside(working, bar, touch))
            for working in list(market.working):
                working.fired_inside = False
                if working.activated_inside:
                    working.activated_inside = False
                    if working.is_open:
                        self._fill(working, late_leg(working, bar))
        self._finish(eligible)

    def match_tick(self, market: Market, tick: Tick) -> None:
        """Match a symbol's orders against one trade."""
        self._clock_ns = tick.received_ns
        if market.hours is not None and not market.hours.is_open(tick.time_ns):
            return
        eligible = self._eligible(market, tick.time_ns, tick.received_ns, None)
        if tick.flag is not None:
            # It happened before it was known: only orders that were out by then could have met it.
            eligible = [working for working in eligible if working.sent_ns <= tick.time_ns]
        if not eligible:
            return
        self._sellable = self._buyable = [self._share(tick.size)]
        self._time_ns = tick.time_ns
        self._inside = False
        if self.netting is not None and len(eligible) > 1:
            self.netting.cross(eligible, tick.price, tick.time_ns)
        self._open_book(market, tick.received_ns, tick.price if tick.flag is None else nan)
        taken = {True: 0.0, False: 0.0}
        for working in eligible:
            if not working.is_open:
                continue
            touch = self._touch
            if self._queue is not None and working.type is LIMIT and working.limit_price == tick.price:
                reach = self._queue.see_trade(working, tick, market, tick.received_ns)
                # Our own orders before this one have had their part of it.
                self._reach = reach - taken[working.is_buy]
                touch = self._reach > 0.0
            filled = working.order.filled
            self._fill(working, on_trade(working, tick, market, touch))
            taken[working.is_buy] += working.order.filled - filled
            self._reach = inf
        self._finish(eligible)

    def match_quote(self, market: Market, quote: Quote) -> None:
        """Match a symbol's orders across the spread; what was taken from a level is not there again."""
        self._clock_ns = quote.received_ns
        if market.hours is not None and not market.hours.is_open(quote.time_ns):
            return
        eligible = self._eligible(market, quote.time_ns, quote.received_ns, None)
        if not eligible:
            return
        bids, asks = self._share(quote.bid_size), self._share(quote.ask_size)
        self._sellable, self._buyable = [bids - market.taken_bid], [asks - market.taken_ask]
        self._time_ns = quote.time_ns
        self._inside = False
        if self.netting is not None and len(eligible) > 1:
            self.netting.cross(eligible, (quote.bid + quote.ask) / 2.0, quote.time_ns)
        self._open_book(market, quote.received_ns, None)
        for working in eligible:
            if not working.is_open:
                continue
            filled = working.order.filled
            self._fill(working, on_quote(working, quote, market))
            taken = working.order.filled - filled
            if taken and self._book is None:
                if working.is_buy:
                    market.taken_ask += taken
                else:
                    market.taken_bid += taken
                if market.book is not None:
                    market.book.note_taken(quote.ask if working.is_buy else quote.bid, taken, is_buy=working.is_buy)
            if self._queue is not None and working.is_open and working.type is LIMIT:
                self._queue.see_quote(working, market, quote.received_ns)
        self._finish(eligible)

    def _open_book(self, market: Market, clock_ns: int, trade_price: float | None) -> None:
        """Have orders walk the book at this event, unless it is unknown, old, or behind a trade that passed it.

        Where nothing bounds what a fill may take, all of it is there at the best price.
        """
        book = market.book
        self._book = None
        if book is None or self._participation == inf or book.is_old(clock_ns):
            return
        if trade_price is None or market.bid <= trade_price <= market.ask:
            self._book, self._is_trade = book, trade_price is not None
            self._walks.clear()

    def _walk(self, working: WorkingOrder) -> Walk | None:
        """The walk that an order goes on with; None where it does not cross the spread."""
        book = self._book
        if book is None or (self._is_trade and working.type is not MARKET):
            return None
        walk = self._walks.get(working.is_buy)
        if walk is None:
            market, share = working.market, self._participation
            if working.is_buy:
                walk = Walk(book.asks, market.ask, market.ask_size, share)
            else:
                walk = Walk(book.bids, market.bid, market.bid_size, share)
            self._walks[working.is_buy] = walk
        return walk

    def _share(self, volume: float) -> float:
        """The part of a volume that fills may take; an unknown one (NaN) bounds nothing."""
        if volume != volume or self._participation == inf:
            return inf
        return volume * self._participation

    # -- fills -------------------------------------------------------------------------------

    def _fill(self, working: WorkingOrder, market_price: float | None) -> None:
        """Fill at a price what the volume on offer allows; None is no fill."""
        if market_price is None:
            return
        order = working.order
        wanted = working.remaining
        if working.is_reduce_only:
            held = working.book.position(working.market).quantity
            closable = -held if working.is_buy else held
            if closable <= 0.0:
                self._close(working, CANCELLED, "the position is closed already")
                return
            wanted = min(wanted, closable)
        offer = self._buyable if working.is_buy else self._sellable
        walk = self._walk(working)
        available = min(offer[0], self._reach) if walk is None else walk.available(working.limit_price)
        if available < wanted and order.time_in_force is FOK:
            return
        quantity = wanted if wanted <= available else available
        if quantity <= _DUST * order.quantity:
            return
        if walk is None:
            offer[0] -= quantity
        else:
            average = walk.take(quantity)
            working.market.note_taken(is_buy=working.is_buy)
            if working.type is MARKET or not working.seen:
                market_price = average
        price = market_price
        if self._slippage is not None and working.type is MARKET:
            slipped = self._slippage(order.side, quantity, market_price)
            price = self.costs.checked_price(order.side, market_price, slipped)
        if self._impact is not None and working.type is MARKET:
            scale = self._impact.scale(order.symbol, working.market.activity)
            price = moved(order.side, price, scale, order.filled - working.crossed + quantity)
        fee = 0.0 if self._commission is None else self._commission(quantity, price) * working.market.rate
        self.take_in(working, quantity, price, fee, market_price, is_crossed=False)

    def take_in(
        self, working: WorkingOrder, quantity: float, price: float, fee: float, market_price: float, is_crossed: bool
    ) -> None:
        """Note a fill and have all that hangs on it follow."""
        order = working.order
        filled = order.filled + quantity
        before = working.remaining
        working.remaining = before - quantity
        if working.remaining <= _DUST * order.quantity:
            working.remaining = 0.0
            filled = order.quantity
        average = (
            price
            if order.average_price is None
            else ((order.average_price * order.filled + price * quantity) / (order.filled + quantity))
        )
        working.order = replace(
            order,
            status=FILLED if working.remaining == 0.0 else PARTIALLY_FILLED,
            filled=filled,
            average_price=average,
            updated_ns=self._clock_ns,
        )
        self._records.orders.append(working.order)
        if working.remaining == 0.0:
            self._forget(working)
        self.fills_count += 1
        fill = Fill(
            self.fills_count,
            order.order_id,
            order.symbol,
            order.side,
            quantity,
            price,
            fee,
            self._time_ns,
            self._clock_ns,
            market_price,
            order.strategy,
            order.reason,
            working.market.rate,
            is_crossed,
        )
        self._records.fills.append(fill)
        if working.group:
            self._reduce_group(working, quantity / before)
        if working.parent is not None and working.remaining == 0.0:
            self._close(working.parent, CANCELLED, "its stop-loss or take-profit filled")
        if working.legs:
            self._activate_legs(working, quantity)
        self._on_fill(working, fill)

    def _reduce_group(self, filled: WorkingOrder, fraction: float) -> None:
        for other in list(filled.group):
            if not other.is_open:
                continue
            if filled.remaining == 0.0:
                self._close(other, CANCELLED, f"order {filled.order.order_id} of its group filled")
            elif other.order.status is not HELD:
                other.remaining -= other.remaining * fraction
                other.order = replace(
                    other.order,
                    quantity=other.order.filled + other.remaining,
                    updated_ns=self._clock_ns,
                    status_reason=f"reduced by a fill of order {filled.order.order_id}",
                )
                self._records.orders.append(other.order)

    def _activate_legs(self, entry: WorkingOrder, quantity: float) -> None:
        for leg in entry.legs:
            if not leg.is_open:
                continue
            leg.remaining += quantity
            first = leg.order.status is HELD
            leg.order = replace(
                leg.order,
                status=WORKING if first else leg.order.status,
                quantity=leg.order.filled + leg.remaining,
                updated_ns=self._clock_ns,
            )
            self._records.orders.append(leg.order)
            if first:
                leg.market.working.append(leg)
                leg.seen = True
                leg.activated_inside = self._inside
                if leg.type is TRAILING_STOP:
                    leg.extreme = entry.order.average_price or leg.market.price
