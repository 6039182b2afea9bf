"""Who sent an order: a strategy, a person, a limit, the margin; told from what the engine was doing just then."""

import msgspec

from qfkit.core.accounts import WIPED_OUT
from qfkit.core.events import (
    Bar,
    CancelOrder,
    Depth,
    Event,
    Flatten,
    Gap,
    Heartbeat,
    ManualOrder,
    ModifyOrder,
    Protect,
    Quote,
    Rebalance,
    SetLimits,
    Stop,
    Tick,
    WarmUp,
)
from qfkit.core.orders import Fill, Order, Signal
from qfkit.inspection.moments import Decision

__all__ = ["cause_of", "sender_of"]

_CALLS = {Protect: "protect", CancelOrder: "cancel", ModifyOrder: "modify", Rebalance: "rebalance", Flatten: "flatten"}


def sender_of(signal: Signal | None, order: Order | None, decision: Decision | None) -> str:
    """In a sentence without its full stop."""
    if signal is None:
        return "" if order is None else order.strategy
    if decision is None:
        return signal.strategy
    asked = _asked(signal, decision)
    if order is not None and order.parent_id is not None:
        return f"a leg of the bracket around order {order.parent_id}, asked for by {asked}"
    if signal.action == "protect" and order is not None:
        return f"a protection of the position, asked for by {asked}"
    return asked


def _asked(signal: Signal, decision: Decision) -> str:
    event, strategy = decision.event, signal.strategy
    if decision.hook:
        heard = f" ({_named(decision.heard)})" if decision.heard is not None else ""
        warming = ", while it was warmed up on history" if isinstance(event, WarmUp) else ""
        return f"the strategy {strategy}, in {decision.hook}{heard}{warming}"
    if isinstance(event, ManualOrder | Protect | CancelOrder | ModifyOrder | Rebalance | Flatten):
        return f"a person, by {_call(event)}, in the book of {strategy}"
    if signal.action in (WIPED_OUT, "margin call"):
        return f"the account, for {strategy}'s book could not meet its margin any more"
    if signal.action == "flatten":
        what = "changed limits" if isinstance(event, SetLimits) else "a risk limit"
        return f"{what} on the book of {strategy}"
    if signal.action == "rebalance":
        return f"a rebalance of {strategy} under way, once it was paid for"
    return f"the engine, for {strategy}"


def cause_of(event: Event) -> str:
    """What an event was, shortly: for each change of an order."""
    if isinstance(event, Bar | Tick | Quote | Depth | Fill):
        return _named(event)
    if isinstance(event, ManualOrder | Protect | CancelOrder | ModifyOrder | Rebalance | Flatten):
        return f"by hand: {_call(event)}"
    if isinstance(event, Heartbeat):
        return "time went on"
    if isinstance(event, Gap):
        return f"a gap in {event.symbol}"
    if isinstance(event, Stop):
        return "the end of the session" if event.strategy is None else f"the end of {event.strategy}"
    return type(event).__name__


def _named(event: object) -> str:
    if isinstance(event, Bar):
        return f"bar of {event.symbol} {event.timeframe}"
    if isinstance(event, Fill):
        return f"fill of order {event.order_id}"
    return f"{type(event).__name__.lower()} of {getattr(event, 'symbol', '')}"


def _call(event: ManualOrder | Protect | CancelOrder | ModifyOrder | Rebalance | Flatten) -> str:
    """The call of the session that made the event."""
    name = event.action if isinstance(event, ManualOrder) else _CALLS[type(event)]
    given = []
    for field in msgspec.structs.fields(event):
        value = getattr(event, field.name)
        if field.name in ("received_ns", "action", "strategy") or value == field.default:
            continue
        is_first = field.name in ("symbol", "order_id", "weights")
        shown = (
            repr(value) if isinstance(value, int | float | dict) and not isinstance(value, bool) else repr(str(value))
        )
        given.append(shown if is_first else f"{field.name}={shown}")
    if event.strategy is not None:
        given.append(f"strategy={event.strategy!r}")
    return f"session.{name}({', '.join(given)})"
