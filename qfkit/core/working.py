"""An open order in the broker's hands."""

from math import nan
from typing import TYPE_CHECKING

from qfkit.core.market import Market
from qfkit.core.orders import BUY, LIMIT, MARKET, STOP_LIMIT, TRAILING_STOP, Order
from qfkit.core.portfolio import Book

if TYPE_CHECKING:
    from qfkit.core.queue import Place

__all__ = ["WorkingOrder"]


class WorkingOrder:
    """An open order with what changes while it works; ``order`` is its latest record.

    ``remaining`` is unfilled, ``seen`` whether an event had the chance to fill it, ``extreme``
    the best price a trailing stop saw, ``decided_ns`` when it was last decided on. A leg belongs to a ``parent``, its entry, and becomes
    active when that fills. ``place`` is where a limit order stands in the queue of its price, None
    where that is unknown or not asked for. The flags ``..._inside`` hold within the bar in which it happened.
    What ``is_forced`` the strategy cannot take back; what ``is_by_hand`` the user sent, and it outlives the
    failure of the strategy. ``crossed`` is what other strategies' orders filled of it.
    """

    __slots__ = (
        "activated_inside",
        "book",
        "crossed",
        "decided_ns",
        "expires_ns",
        "extreme",
        "fired_inside",
        "group",
        "is_buy",
        "is_by_hand",
        "is_forced",
        "is_open",
        "is_reduce_only",
        "legs",
        "limit_price",
        "market",
        "order",
        "owner",
        "parent",
        "place",
        "remaining",
        "seen",
        "sent_ns",
        "stop_price",
        "type",
    )

    def __init__(self, order: Order, owner: object, book: Book, market: Market) -> None:
        self.order = order
        self.owner = owner
        self.book = book
        self.market = market
        self.is_buy = order.side is BUY
        self.type = order.type
        self.remaining = order.quantity
        self.crossed = 0.0
        self.decided_ns = order.decided_ns
        self.sent_ns = order.sent_ns
        self.limit_price = order.limit_price
        self.stop_price = order.stop_price
        self.expires_ns = order.expires_ns
        self.extreme = nan
        self.seen = False
        self.is_reduce_only = False
        self.is_forced = False
        self.is_by_hand = False
        self.is_open = True
        self.activated_inside = False
        self.fired_inside = False
        self.parent: WorkingOrder | None = None
        self.place: Place | None = None
        self.legs: list[WorkingOrder] = []
        self.group: list[WorkingOrder] = []

    def stop_level(self) -> float | None:
        """Where an unfired stop fires; None for orders that are no stop (any more)."""
        kind = self.type
        if kind is MARKET or kind is LIMIT:
            return None
        return self.trail_stop() if kind is TRAILING_STOP else self.stop_price

    def trail_stop(self) -> float:
        """The level of a trailing stop under (over, for a buy) the best price since it works."""
        trail = self.order.trail or 0.0
        distance = self.extreme * trail if self.order.trail_is_fraction else trail
        return self.extreme + distance if self.is_buy else self.extreme - distance

    def follow(self, price: float) -> None:
        """Move a trailing stop's best price."""
        if not (self.extreme <= price if self.is_buy else self.extreme >= price):
            self.extreme = price

    def trigger(self) -> None:
        """A stop fires: it goes on as a market or limit order."""
        self.type = LIMIT if self.type is STOP_LIMIT else MARKET
