"""A session's commands for another run of its events: what was done by hand, but for what would undo a change."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import msgspec

from qfkit.changes import SAME, Changes
from qfkit.core.engine import Engine
from qfkit.core.events import (
    AddStrategy,
    CancelOrder,
    Command,
    Event,
    ModifyOrder,
    SetLimits,
    SetParameters,
    Stop,
    SwapStrategy,
    WarmUp,
)
from qfkit.core.orders import Order
from qfkit.core.strategy import Strategy
from qfkit.errors import ParameterError

__all__ = ["CommandsAgain"]

_COMMANDS = frozenset(kind for one in get_args(Command) for kind in (get_args(one) or (one,)))


class CommandsAgain:
    """Goes through a session's events and puts others in the place of its commands.

    The rules:

    - Bars that warm up and the end of the session are no commands: they stay. With ``commands=False`` all else goes.
    - A parameter that ``params`` gives is taken out of what was set, swapped in or added; a swap of a strategy whose
      code is given goes, and one that was added runs as that code. Values that the other code refuses go too.
    - Limits that were set go where ``risk`` is given.
    - An order that was cancelled or changed is found again by its strategy, symbol, side, type and the time of its
      decision; where there is no such order, the command goes.
    - Whatever else was done (orders, stops, pauses) is done again; what cannot be done is refused, as by hand.

    ``instead`` holds what came in the place of a command, by its number. ``known`` finds a class by its key,
    ``keys`` the key of the given code of a strategy, ``orders`` an order of the session by its id.
    """

    def __init__(
        self,
        changes: Changes,
        known: Callable[[str], type[Strategy]],
        keys: Callable[[type[Strategy]], str],
        orders: Callable[[int], Order | None],
    ) -> None:
        self.instead: dict[int, tuple[Event, ...]] = {}
        self._changes = changes
        self._known = known
        self._keys = keys
        self._orders = orders

    @property
    def note(self) -> str:
        """What was left out, for whoever reads the figures; "" where nothing was."""
        count = sum(not told for told in self.instead.values())
        if not count:
            return ""
        what = "1 command" if count == 1 else f"{count:,} commands"
        why = (
            "which would have undone the change or had nothing to act on"
            if self._changes.commands
            else "all there were"
        )
        return f"{what} by hand left out, {why}"

    def portions(self, batches: Iterator[list[Event]], engine: Engine) -> Iterator[tuple[int, Sequence[Event]]]:
        """The events in portions, each with the number of its first in the session; the engine must have played the
        one before when the next is asked for."""
        number = 0
        for batch in batches:
            if _COMMANDS.isdisjoint(map(type, batch)):
                yield number, batch
            else:
                for place, event in enumerate(batch, number):
                    if type(event) in _COMMANDS:
                        told = self._again(event, engine)  # type: ignore[arg-type]
                        if told != (event,):
                            self.instead[place] = told
                        yield place, told
                    else:
                        yield place, (event,)
            number += len(batch)

    def played(self, batches: Iterator[list[Event]]) -> Iterator[Sequence[Event]]:
        """The same events once more, without an engine."""
        number = 0
        for batch in batches:
            if any(number <= place < number + len(batch) for place in self.instead):
                yield [one for place, event in enumerate(batch, number) for one in self.instead.get(place, (event,))]
            else:
                yield batch
            number += len(batch)

    def _again(self, command: Command, engine: Engine) -> tuple[Event, ...]:
        changes = self._changes
        if isinstance(command, WarmUp) or (isinstance(command, Stop) and command.strategy is None):
            return (command,)
        if not changes.commands:
            return ()
        if isinstance(command, SetParameters):
            return self._set(command, engine)
        if isinstance(command, SwapStrategy):
            assert command.strategy is not None
            return () if changes.is_replaced(command.strategy) else (self._with_params(command),)
        if isinstance(command, AddStrategy):
            return (self._with_params(self._with_code(command)),)
        if isinstance(command, SetLimits):
            return (command,) if changes.risk is SAME else ()
        if isinstance(command, CancelOrder | ModifyOrder):
            order_id = self._same_order(command, engine)
            return () if order_id is None else (msgspec.structs.replace(command, order_id=order_id),)
        return (command,)

    def _set(self, command: SetParameters, engine: Engine) -> tuple[Event, ...]:
        changes = self._changes
        if changes.params is None and changes.strategy is None:
            return (command,)
        told = []
        for name in engine.desks if command.strategy is None else (command.strategy,):
            kind = self._kind_of(name, engine)
            given = changes.overridden(name, kind)
            left = {
                key: value
                for key, value in command.parameters.items()
                if key in kind.parameters_of_class and key not in given and _is_taken(kind, key, value)
            }
            if left:
                told.append(msgspec.structs.replace(command, strategy=name, parameters=left))
        return tuple(told)

    def _kind_of(self, name: str, engine: Engine) -> type[Strategy]:
        """The class that a strategy has once the changes that wait for the next bar are made."""
        kind = type(engine.desks[name].strategy)
        for change in engine.pending:
            if isinstance(change, SwapStrategy) and change.strategy == name:
                kind = self._known(change.to)
        return kind

    def _with_code(self, command: AddStrategy) -> AddStrategy:
        assert command.strategy is not None
        if not self._changes.is_replaced(command.strategy):
            return command
        kind, parameters = self._changes.replaced(command.strategy, self._known(command.to), command.parameters)
        return msgspec.structs.replace(command, to=self._keys(kind), parameters=parameters, source_hash="")

    def _with_params(self, command: Any) -> Any:
        given = self._changes.overridden(command.strategy, self._known(command.to))
        return msgspec.structs.replace(command, parameters={**command.parameters, **given}) if given else command

    def _same_order(self, command: CancelOrder | ModifyOrder, engine: Engine) -> int | None:
        order = self._orders(command.order_id)
        if order is None:
            # It was refused in the session, and is again.
            return command.order_id
        fallback = None
        for one in reversed(engine.records.orders):
            if _is_same(one, order):
                if one.order_id == command.order_id:
                    return one.order_id
                fallback = one.order_id if fallback is None else fallback
        return fallback


def _is_same(one: Order, other: Order) -> bool:
    return (
        one.decided_ns == other.decided_ns
        and one.strategy == other.strategy
        and one.symbol == other.symbol
        and one.side == other.side
        and one.type == other.type
    )


def _is_taken(kind: type[Strategy], key: str, value: object) -> bool:
    try:
        kind.check_parameters({key: value})
    except ParameterError:
        return False
    return True
