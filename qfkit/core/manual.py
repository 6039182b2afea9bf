"""Orders by hand: what a person sends into a strategy's book while it runs.

They are events (``ManualOrder``, ``CancelOrder``, ``ModifyOrder``, ``Protect``), applied at their time and
not at the next bar. Limits and margin hold for them as for the strategy's own orders; its state and the filters
of its signals do not: a paused, stopped or failed strategy's book can be traded by hand, one that was wiped out cannot.
"""

from typing import TYPE_CHECKING

import msgspec

from qfkit.core.accounts import WIPED_OUT
from qfkit.core.events import ByHand, CancelOrder, ManualOrder, ModifyOrder, Protect
from qfkit.core.orders import Signal
from qfkit.core.protection import check_protection, note_refusal, protect
from qfkit.errors import OrderError

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.working import WorkingOrder

__all__ = ["Answer", "act", "check"]


class Answer(msgspec.Struct, frozen=True):
    """What became of a manual order: the orders sent, or why there is none; ``signal`` has the numbers."""

    order_ids: tuple[int, ...] = ()
    refusal: str = ""
    signal: Signal | None = None


def act(desk: "Desk", event: ByHand) -> Answer:
    """Do what the user asked for; what cannot be done is kept as a rejected signal, and the run goes on."""
    signals = desk.engine.records.signals
    before = len(signals)
    # What is wiped out is refused as any order of the strategy's own.
    by_hand = desk.state != WIPED_OUT
    order_ids: list[int] = []
    try:
        if isinstance(event, ManualOrder):
            sent = _close(desk, event, by_hand) if event.action == "close" else _order(desk, event, by_hand=by_hand)
            order_ids = [] if sent is None else [sent]
        elif isinstance(event, Protect):
            order_ids = protect(desk, event.symbol, **_fractions(event), reason=event.reason, by_hand=by_hand)
        elif isinstance(event, CancelOrder):
            _find(desk, event.order_id)
            desk.cancel(event.order_id, reason=event.reason)
        else:
            _find(desk, event.order_id)
            desk.modify(
                event.order_id, quantity=event.quantity, limit_price=event.limit_price, stop_price=event.stop_price
            )
    except OrderError as error:
        # It was checked before it became an event; in a replay under other conditions it may be refused all the same.
        symbol, action, reason = _described(desk, event)
        note_refusal(desk, symbol, action, 0.0, str(error), reason)
    made = signals[before:]
    signal = made[0] if made else None
    refusal = signal.decision_reason if signal is not None and signal.decision == "rejected" else ""
    return Answer(tuple(order_ids), refusal, signal)


def check(desk: "Desk", event: ByHand) -> None:
    """Raise :class:`OrderError` for what makes no sense, and change nothing."""
    if desk.state == WIPED_OUT:
        raise OrderError(f"{desk.name} was {desk.error}: it does not trade again")
    if isinstance(event, ManualOrder):
        market = desk.market(event.symbol)
        if event.action != "close":
            if market.price != market.price:
                raise OrderError(f"{event.action} {event.symbol}: there is no price yet")
            _order(desk, event, is_dry=True)
        elif event.symbol not in desk.book.open and not any(
            order.symbol == event.symbol for order in desk.open_orders()
        ):
            raise OrderError(f"close {event.symbol}: {desk.name} has no position and no order in it")
    elif isinstance(event, Protect):
        check_protection(desk, event.symbol, **_fractions(event))
    elif isinstance(event, CancelOrder):
        _find(desk, event.order_id)
    else:
        _check_change(_find(desk, event.order_id), event)


def _order(desk: "Desk", event: ManualOrder, *, by_hand: bool = True, is_dry: bool = False) -> int | None:
    return desk.order(
        event.action,
        symbol=event.symbol,
        quantity=event.quantity,
        notional=event.notional,
        weight=event.weight,
        limit_price=event.limit_price,
        stop_price=event.stop_price,
        trail=event.trail,
        trail_fraction=event.trail_fraction,
        stop_loss=event.stop_loss,
        take_profit=event.take_profit,
        time_in_force=event.time_in_force,
        expires_ns=event.expires_ns,
        reason=event.reason,
        by_hand=by_hand,
        is_dry=is_dry,
    )


def _close(desk: "Desk", event: ManualOrder, by_hand: bool) -> int | None:
    return desk.close(event.symbol, reason=event.reason, by_hand=by_hand)


def _fractions(event: Protect) -> dict[str, float | None]:
    return {"stop_loss": event.stop_loss, "take_profit": event.take_profit, "trailing": event.trailing}


def _find(desk: "Desk", order_id: int) -> "WorkingOrder":
    return desk.mine(order_id, hint="")


def _check_change(working: "WorkingOrder", event: ModifyOrder) -> None:
    order = working.order
    given = {"quantity": event.quantity, "limit_price": event.limit_price, "stop_price": event.stop_price}
    if not any(value is not None for value in given.values()):
        raise OrderError(f"order {order.order_id}: nothing to change; give quantity=, limit_price= or stop_price=")
    for name, value in given.items():
        if value is None:
            continue
        if not 0.0 < value < float("inf"):
            raise OrderError(f"order {order.order_id}: {name}={value!r} is not above zero and finite")
        if getattr(order, name) is None:
            raise OrderError(f"order {order.order_id}: it is a {order.type} order and has no {name}")
    if event.quantity is not None and event.quantity <= order.filled:
        raise OrderError(
            f"order {order.order_id}: quantity {event.quantity!r} is not above the {order.filled!r} already filled; "
            "cancel it instead"
        )


def _described(desk: "Desk", event: ByHand) -> tuple[str, str, str]:
    """Symbol, action and reason of a signal for what was refused."""
    if isinstance(event, ManualOrder):
        return event.symbol, event.action, event.reason
    if isinstance(event, Protect):
        return event.symbol, "protect", event.reason
    working = desk.engine.broker.open.get(event.order_id)
    symbol = "" if working is None else working.order.symbol
    return (symbol, "cancel", event.reason) if isinstance(event, CancelOrder) else (symbol, "modify", "")
