"""Protective orders on a position: stop-loss, take-profit and trailing stop as one wish.

The rules:

- ``stop_loss`` and ``take_profit`` are fractions of the position's average price, so 0.02 is a loss of two
  per cent of what it cost; they follow that price where the position grows. ``trailing`` is a fraction of the
  best price since the protection began.
- They reduce the position and nothing else: each is as large as the position, follows its size at once (they
  stand at the market, like a bracket's legs), and is cancelled with the fill that closes the position or turns it
  over. Where one fills, the others have as much less to do; where one is cancelled, the others go on, and
  one whose price was changed with ``modify`` keeps it.
- Where no position is open yet, or market orders at work are about to turn it over, the protection waits
  for the position to come and begins with its first fill, inside a bar too. It is forgotten when the
  orders that it waited for are over. A position opened by another order later is not protected.
- On bars as all orders: where one bar touches both stop and target the stop counts, and a stop fills at the
  worse of stop and open.
- What a leg of a bracket or a protective order closed, a market order of the same side on its way need not
  close any more: it is made smaller by as much, so that an exit and a stop together turn no position over.
- A protection put by hand stands until its position is closed, whatever the strategy's code asks for.
- They do not pass the risk gate, for what reduces a position always passes it.
"""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from qfkit.core.orders import (
    BUY,
    LIMIT,
    MARKET,
    SELL,
    STOP,
    TRAILING_STOP,
    Fill,
    Order,
    OrderType,
)
from qfkit.core.portfolio import Position
from qfkit.core.signal_notes import new_signal_id, note_signal
from qfkit.core.steps import stepped_price
from qfkit.errors import OrderError

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.market import Market
    from qfkit.core.working import WorkingOrder

__all__ = ["Protection", "check_protection", "follow", "note_refusal", "protect"]


class Protection:
    """The protective orders of one position, or the wish for them where it is still to come.

    ``side`` is 1 for a long position, -1 for a short one, 0 where it waits for whichever comes;
    ``entries`` are the orders that it waits for, ``moved`` those whose price somebody changed since.
    """

    __slots__ = (
        "_decided_ns",
        "_desk",
        "_signal_id",
        "by_hand",
        "entries",
        "fractions",
        "moved",
        "orders",
        "reason",
        "side",
    )

    def __init__(
        self,
        desk: "Desk",
        fractions: tuple[float | None, float | None, float | None],
        side: int,
        signal_id: int,
        *,
        reason: str,
        by_hand: bool,
    ) -> None:
        self._desk = desk
        self._decided_ns = desk.clock_ns
        self._signal_id = signal_id
        self.fractions = fractions
        self.side = side
        self.reason = reason
        self.by_hand = by_hand
        self.entries: list[WorkingOrder] = []
        self.orders: list[WorkingOrder] = []
        self.moved: list[WorkingOrder] = []

    @property
    def is_whole(self) -> bool:
        """Whether all its orders are at work."""
        return bool(self.orders) and all(working.is_open for working in self.orders)

    @property
    def is_awaiting(self) -> bool:
        """Whether an order that would open its position is at work."""
        return any(working.is_open for working in self.entries)

    @property
    def order_ids(self) -> list[int]:
        return [working.order.order_id for working in self.orders]

    def put(self, position: Position, fill: Fill | None = None) -> None:
        """Put the orders to work; with the ``fill`` that opened the position, from that on."""
        self.entries.clear()
        self.side = 1 if position.quantity > 0.0 else -1
        stop, target = _levels(self.fractions, position.average_price, self.side)
        if stop is not None:
            self._submit(position, STOP, "stop-loss", fill, stop_price=stop)
        if self.fractions[2] is not None:
            self._submit(position, TRAILING_STOP, "trailing stop", fill, trail=self.fractions[2])
        if target is not None:
            self._submit(position, LIMIT, "take-profit", fill, limit_price=target)

    def _submit(
        self,
        position: Position,
        kind: OrderType,
        role: str,
        fill: Fill | None,
        *,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail: float | None = None,
    ) -> None:
        desk, market = self._desk, position.market
        engine, is_sale = desk.engine, self.side > 0
        engine.orders_count += 1
        order_id = engine.orders_count
        order = Order(
            order_id,
            market.symbol,
            SELL if is_sale else BUY,
            kind,
            abs(position.quantity),
            desk.name,
            f"{role}: {self.reason}" if self.reason else role,
            self._decided_ns,
            self._decided_ns + engine.latency_ns(order_id),
            market.price if fill is None else fill.market_price,
            stepped_price(limit_price, market.rules, is_down=not is_sale),
            stepped_price(stop_price, market.rules, is_down=is_sale),
            trail,
            trail is not None,
            signal_id=self._signal_id,
            updated_ns=engine.clock_ns,
        )
        working = engine.broker.submit(order, desk, desk.book, market)
        working.is_reduce_only = True
        working.is_by_hand = self.by_hand
        if fill is not None:
            # As a bracket's legs: of the event that opened the position, what came after the fill counts.
            working.seen = True
            working.activated_inside = engine.broker.is_inside_bar
            if kind is TRAILING_STOP:
                working.extreme = fill.market_price
        self.orders.append(working)

    def fit(self, position: Position, clock_ns: int) -> bool:
        """Follow the position's size and average price; whether any order is left to do it."""
        self.orders = [working for working in self.orders if working.is_open]
        size = abs(position.quantity)
        stop, target = _levels(self.fractions, position.average_price, self.side)
        rules, is_sale = position.market.rules, self.side > 0
        for working in self.orders:
            stop_price, limit_price = working.stop_price, working.limit_price
            if working in self.moved:
                pass
            elif working.order.type is STOP:
                stop_price = stepped_price(stop, rules, is_down=is_sale)
            elif working.order.type is LIMIT:
                limit_price = stepped_price(target, rules, is_down=not is_sale)
            grew = size > working.remaining
            if size == working.remaining and (stop_price, limit_price) == (working.stop_price, working.limit_price):
                continue
            working.remaining, working.stop_price, working.limit_price = size, stop_price, limit_price
            if grew and self._desk.engine.broker.is_inside_bar:
                # A stop that moved inside a bar may have been passed after that.
                working.activated_inside = True
            working.order = replace(
                working.order,
                quantity=working.order.filled + size,
                stop_price=stop_price,
                limit_price=limit_price,
                updated_ns=clock_ns,
                status_reason="follows the position",
            )
            self._desk.engine.records.orders.append(working.order)
        return bool(self.orders)

    def move(self, working: "WorkingOrder", quantity: float | None) -> None:
        """An order of it is given another price, which it keeps."""
        if quantity is not None:
            raise OrderError(f"order {working.order.order_id} protects a position: its quantity is the position's")
        self.moved.append(working)

    def cancel(self, reason: str, clock_ns: int) -> None:
        for working in self.orders:
            self._desk.engine.broker.cancel(working, reason, clock_ns)


def protect(
    desk: "Desk",
    symbol: str,
    *,
    stop_loss: float | None = None,
    take_profit: float | None = None,
    trailing: float | None = None,
    reason: str = "",
    by_hand: bool = False,
) -> list[int]:
    """Protect a position: the ids of the orders that do, none (yet) where it is still to come."""
    market, engine = desk.market(symbol), desk.engine
    fractions = (stop_loss, take_profit, trailing)
    side, entries = _awaited(desk, market)
    _check_fractions(symbol, fractions, side, entries)
    former = desk.protections.get(symbol)
    if former is not None and former.by_hand and not by_hand and (former.is_whole or former.is_awaiting):
        return former.order_ids
    if former is not None and former.fractions == fractions and former.side == side and former.by_hand == by_hand:
        # Said again at each bar, it would begin anew each time, and a trailing stop would never rise.
        if former.is_whole:
            return former.order_ids
        if former.entries and entries:
            former.entries = entries
            return []
    held = _held(desk, symbol)
    if desk.state != "running" and not by_hand:
        return note_refusal(desk, symbol, "protect", -held, f"the strategy is {desk.state}", reason)
    if engine.is_warming:
        return note_refusal(desk, symbol, "protect", -held, "warming up on history: orders are off", reason)
    if not held and not entries:
        return note_refusal(desk, symbol, "protect", 0.0, _nothing(symbol), reason)
    if former is not None:
        former.cancel("replaced by a new protection", engine.clock_ns)
    signal_id = new_signal_id(desk)
    protection = Protection(desk, fractions, side, signal_id, reason=reason, by_hand=by_hand)
    desk.protections[symbol] = protection
    if entries:
        protection.entries = entries
    else:
        protection.put(desk.book.open[symbol])
    note_signal(
        desk,
        signal_id,
        symbol,
        "protect",
        0.0 if entries else -held,
        "sent",
        "waits for the position to open" if entries else "",
        protection.order_ids[0] if protection.orders else None,
        reason,
    )
    return protection.order_ids


def follow(desk: "Desk", filled: "WorkingOrder", fill: Fill) -> None:
    """Have the protection of a symbol, if there is one, follow what a fill made of the position; and see to it that
    what a leg closed is not closed again."""
    if filled.is_reduce_only and filled.order.type is not MARKET:
        _spare(filled, fill)
    protection = desk.protections.get(fill.symbol)
    if protection is None:
        return
    position = desk.book.position(filled.market)
    side = (position.quantity > 0.0) - (position.quantity < 0.0)
    if protection.entries:
        if filled in protection.entries or protection.is_awaiting:
            if side and protection.side in (0, side):
                protection.put(position, fill)
                return
            if protection.is_awaiting:
                return
    elif side == protection.side and protection.fit(position, fill.received_ns):
        return
    protection.cancel("the position is closed" if not side else "the position turned over", fill.received_ns)
    del desk.protections[fill.symbol]


def _spare(filled: "WorkingOrder", fill: Fill) -> None:
    """Have the market orders of the same side that are on their way close less by what a leg closed."""
    left = fill.quantity
    for working in list(filled.market.working):
        if working.owner is not filled.owner or working.is_reduce_only or working.type is not MARKET:
            continue
        if working.is_buy is not filled.is_buy:
            continue
        desk: Desk = working.owner  # type: ignore[assignment]
        why = f"order {fill.order_id} closed as much already"
        if left >= working.remaining:
            left -= working.remaining
            desk.engine.broker.cancel(working, why, fill.received_ns)
        else:
            working.remaining -= left
            working.order = replace(
                working.order,
                quantity=working.order.filled + working.remaining,
                updated_ns=fill.received_ns,
                status_reason=why,
            )
            desk.engine.records.orders.append(working.order)
            left = 0.0
        if left == 0.0:
            return


def check_protection(
    desk: "Desk", symbol: str, *, stop_loss: float | None, take_profit: float | None, trailing: float | None
) -> None:
    """Raise :class:`OrderError` for a protection that makes no sense, or that would close the position at once."""
    market = desk.market(symbol)
    side, entries = _awaited(desk, market)
    fractions = (stop_loss, take_profit, trailing)
    _check_fractions(symbol, fractions, side, entries)
    position = desk.book.open.get(symbol)
    if position is None and not entries:
        raise OrderError(_nothing(symbol))
    if position is None or entries or market.price != market.price:
        return
    held = f"{abs(position.quantity):g} {'long' if side > 0 else 'short'} at {position.average_price:g}"
    stop, target = _levels(fractions, position.average_price, side)
    for name, fraction, level, is_below in (
        ("stop_loss", stop_loss, stop, side > 0),
        ("take_profit", take_profit, target, side < 0),
    ):
        if level is not None and (level >= market.price if is_below else level <= market.price):
            word = "below" if is_below else "above"
            raise OrderError(
                f"protect {symbol}: {name}={fraction!r} of the average price ({held}) is at {level:g}, which is not "
                f"{word} the price {market.price:g}: it would close the position at once. Give a larger fraction, or close it"
            )


def _held(desk: "Desk", symbol: str) -> float:
    position = desk.book.open.get(symbol)
    return 0.0 if position is None else position.quantity


def _nothing(symbol: str) -> str:
    return f"protect {symbol}: there is nothing to protect, no position and no order that would open one"


def _awaited(desk: "Desk", market: "Market") -> tuple[int, list["WorkingOrder"]]:
    """The side of the position to protect, and the orders that will open it; none where it is open already."""
    held = _held(desk, market.symbol)
    mine = [
        working
        for working in market.working
        if working.owner is desk and not working.is_reduce_only and not working.is_forced
    ]
    if held == 0.0:
        return 0, mine
    after = held
    for working in mine:
        if working.type is MARKET:
            after += working.remaining if working.is_buy else -working.remaining
    side = 1 if held > 0.0 else -1
    if held * after < 0.0:
        return -side, mine
    return side, []


def _check_fractions(
    symbol: str,
    fractions: tuple[float | None, float | None, float | None],
    side: int,
    entries: list["WorkingOrder"],
) -> None:
    if fractions == (None, None, None):
        raise OrderError(f"protect {symbol}: give stop_loss=, take_profit= or trailing=, as in stop_loss=0.02")
    may_be_short = side < 0 or (side == 0 and not all(working.is_buy for working in entries))
    for name, fraction in zip(("stop_loss", "take_profit", "trailing"), fractions, strict=True):
        if fraction is None:
            continue
        # A long position may gain more than it cost; a price cannot fall below zero.
        most = float("inf") if name == "take_profit" and not may_be_short else 1.0
        if not 0.0 < fraction < most:
            bound = "above 0" if most > 1.0 else "between 0 and 1"
            raise OrderError(f"protect {symbol}: {name}={fraction!r} is a fraction of the price, {bound}: 0.02 is 2 %")


def _levels(
    fractions: tuple[float | None, float | None, float | None], average_price: float, side: int
) -> tuple[float | None, float | None]:
    """The prices of stop-loss and take-profit."""
    stop_loss, take_profit, _ = fractions
    return (
        None if stop_loss is None else average_price * (1.0 - side * stop_loss),
        None if take_profit is None else average_price * (1.0 + side * take_profit),
    )


def note_refusal(desk: "Desk", symbol: str, action: str, wanted: float, refusal: str, reason: str) -> list[int]:
    """Keep a wish that became no order, and why; returns the ids of no orders."""
    note_signal(desk, new_signal_id(desk), symbol, action, wanted, "rejected", refusal, None, reason)
    return []
