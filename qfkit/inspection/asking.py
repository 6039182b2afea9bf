"""Finds an order or signal in a run's records, and has a replay tell the rest of its story."""

from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import Any, Protocol

from qfkit.core.events import Event
from qfkit.core.orders import Fill, Order, Signal, Trade
from qfkit.core.snapshot import PositionView
from qfkit.errors import OrderError, ParameterError
from qfkit.inspection.machine import OnProgress, TimeMachine, progress_shown
from qfkit.inspection.moments import Witness
from qfkit.inspection.story import OrderStory

__all__ = ["StoryRecords", "tell"]

LAST = "last"


class StoryRecords(Protocol):
    """The records a story is looked up in."""

    @property
    def orders(self) -> Sequence[Order]: ...
    @property
    def fills(self) -> Sequence[Fill]: ...
    @property
    def signals(self) -> Sequence[Signal]: ...
    @property
    def trades(self) -> Sequence[Trade]: ...


def tell(
    records: StoryRecords,
    machine: TimeMachine | None,
    order_id: object = None,
    signal: object = None,
    *,
    positions: Callable[[], Iterable[PositionView]] = tuple,
    lacks: str = "",
    owner: str = "session",
    on_progress: OnProgress | None = None,
) -> OrderStory:
    """The story of an order, by its id, or of a signal, by its number; "last" is the newest, and so is neither.

    Without a ``machine`` it is told from the records alone, and ``lacks`` says why. ``owner`` is what the user calls
    the run. Raises :class:`OrderError` for an id that there is none of.
    """
    order, wanted = _found(records, order_id, signal, owner)
    fills = [fill for fill in records.fills if order is not None and fill.order_id == order.order_id]
    siblings = [] if wanted is None else [one for one in _last(records.orders) if one.signal_id == wanted.signal_id]
    trips = _trips(records.trades, fills)
    parts: dict[str, Any] = {
        "signal": wanted,
        "order": order,
        "fills": fills,
        "siblings": [one for one in siblings if order is None or one.order_id != order.order_id],
        "trips": trips,
        "open_position": _open(order, fills, trips, positions),
        "owner": owner,
    }
    if machine is None:
        return OrderStory(**parts, lacks=lacks)
    witness = _replayed(machine, order, wanted, on_progress)
    lacks = ""
    if witness.decision is None or (order is not None and not witness.changes):
        lacks = (
            f"the replay did not come to it: the strategy's code may have changed since; {owner}.verify() says from where on"
            if owner == "session"
            else "running it again did not come to it: the strategy or the data may have changed since"
        )
    return OrderStory(**parts, decision=witness.decision, history=witness.changes, moments=witness.fills, lacks=lacks)


# -- looking up ------------------------------------------------------------------------------


def _last(orders: Sequence[Order]) -> list[Order]:
    """Of the records of one order the last is how it stands."""
    return list({order.order_id: order for order in orders}.values())


def _found(records: StoryRecords, order_id: object, signal: object, owner: str) -> tuple[Order | None, Signal | None]:
    if order_id is not None and signal is not None:
        raise ParameterError(f"why({order_id!r}, signal={signal!r}): give one of the two")
    orders, signals = (
        {order.order_id: order for order in records.orders},
        {one.signal_id: one for one in records.signals},
    )
    if signal is not None:
        wanted = signals[_checked(signal, signals, "signal", f"{owner}.signals")]
        # A protection that waited for its position, and whatever else was sent later, bears the signal's number.
        order = next((one for one in orders.values() if one.signal_id == wanted.signal_id), None)
        return order, wanted
    if order_id is None and not orders and signals:
        return None, signals[max(signals)]
    found = orders[_checked(LAST if order_id is None else order_id, orders, "order", f"{owner}.orders")]
    return found, None if found.signal_id is None else signals.get(found.signal_id)


def _checked(given: object, known: dict[int, Any], what: str, where: str) -> int:
    if not known:
        raise OrderError(f"there is no {what} yet: {where} is empty" + _and_signals(what, where))
    if isinstance(given, str) and given == LAST:
        return max(known)
    try:
        number = index(given)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(given, bool):
        raise ParameterError(f'{what}={given!r}: give its number, as in {where}, or "last"')
    if number not in known:
        nearest = min(known, key=lambda one: (abs(one - number), one))
        raise OrderError(
            f"there is no {what} {number}: the nearest is {nearest}, of {len(known):,} from {min(known)} to {max(known)}; "
            f"{where} lists them" + _and_signals(what, where)
        )
    return number


def _and_signals(what: str, where: str) -> str:
    return (
        ""
        if what == "signal"
        else f" (what became no order is in {where.replace('orders', 'signals')}: why(signal=...))"
    )


def _trips(trades: Sequence[Trade], fills: Sequence[Fill]) -> list[Trade]:
    """The closed round trips that fills are part of; a fill that turned a position over is part of two."""
    if not fills:
        return []
    symbol, strategy, times_ns = fills[0].symbol, fills[0].strategy, [fill.time_ns for fill in fills]
    own = [one for one in trades if one.symbol == symbol and one.strategy == strategy]
    found: list[Trade] = []
    for trade in own:
        inside = [time_ns for time_ns in times_ns if trade.entry_time_ns <= time_ns <= trade.exit_time_ns]
        # One that only touches at its end or begin belongs here if that very fill did it, by its side.
        if any(_is_part(trade, fill) for fill in fills if fill.time_ns in inside):
            found.append(trade)
    return found


def _is_part(trade: Trade, fill: Fill) -> bool:
    enters = (fill.side == "buy") == (trade.side == "long")
    if trade.entry_time_ns < fill.time_ns < trade.exit_time_ns:
        return True
    if trade.entry_time_ns == trade.exit_time_ns:
        return True
    return enters if fill.time_ns == trade.entry_time_ns else not enters


def _open(
    order: Order | None, fills: Sequence[Fill], trips: Sequence[Trade], positions: Callable[[], Iterable[PositionView]]
) -> PositionView | None:
    """The position that is open now, where the order's last fill is part of it."""
    if order is None or not fills:
        return None
    last = fills[-1]
    held = next((one for one in positions() if one.symbol == order.symbol and one.strategy == order.strategy), None)
    if held is None or not held.quantity:
        return None
    enters = (last.side == "buy") == (held.quantity > 0.0)
    ended = [trade for trade in trips if trade.exit_time_ns >= last.time_ns]
    if ended and not (enters and all(trade.exit_time_ns == last.time_ns for trade in ended)):
        return None
    return held


# -- replaying -------------------------------------------------------------------------------


def _replayed(
    machine: TimeMachine, order: Order | None, signal: Signal | None, on_progress: OnProgress | None
) -> Witness:
    """Play on from where the machine stands, or anew, until all of the story has happened."""
    if signal is None or machine.engine.signals_count >= signal.signal_id:
        machine.rewind()
    witness = Witness(
        machine.engine, None if signal is None else signal.signal_id, None if order is None else order.order_id
    )

    def is_told() -> bool:
        if signal is not None and witness.decision is None:
            return False
        return order is None or bool(witness.changes and witness.changes[-1].order == order)

    def before(event: Event) -> bool:
        if is_told():
            return True
        witness.event = event
        return False

    title = f"looking for order {order.order_id}" if order is not None else "looking for the signal"
    with witness.watching(), progress_shown(title, machine.source.count(), on_progress) as told:
        machine.watch(before, told)
    return witness
