"""Strategies that join a run which goes on already: whose cash they get, and when they begin.

The rules:

- A strategy that joins gets its capital out of the other books, those of stopped and failed strategies too: from
  each in proportion to its free cash, which is what neither its positions nor its orders at work need under its
  own limit of gross exposure. The account's money stays what it was; each payment is a ``Transfer``.
- Cash moves right after an equity point, the first after the command, so that no figure takes it for a profit. Where
  less is free by then than was asked for, the rest moves after the next points, as it becomes free.
- It begins when its first money has come: set up, its indicators warmed from the kept bars, it sees the next bar. Its
  equity is counted from the next equity point on.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from qfkit.core.accounts import WIPED_OUT
from qfkit.core.allocation import free_cash
from qfkit.core.desk import Desk
from qfkit.core.events import AddStrategy
from qfkit.core.orders import Transfer
from qfkit.core.portfolio import Book, total
from qfkit.core.risk import RiskLimits
from qfkit.core.strategy import Strategy
from qfkit.errors import ParameterError, StrategyError

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["Joining", "check_new_name", "free_by_strategy", "joined_cash"]

# As a fraction of the whole capital: less is not worth a record.
_DUST = 1e-9


class Joining:
    """An engine's strategies that wait for capital; ``waiting`` is what each still lacks, in the account's money."""

    def __init__(self, engine: "Engine") -> None:
        self.waiting: dict[Desk, float] = {}
        self._engine = engine

    def open(self, event: AddStrategy, strategy: Strategy) -> None:
        """Open a desk with nothing in it; :meth:`fund` brings the capital."""
        engine, name = self._engine, event.strategy
        check_new_name(engine, name)
        assert name is not None
        if not event.cash > 0.0:
            raise ParameterError(f"{name}: cash={event.cash!r} to join with must be above zero")
        limits = engine.risk
        if event.risk is not None:
            limits = engine.limits[name] = engine.margin.limits_within(msgspec.convert(event.risk, RiskLimits))
        desk = engine.desks[name] = Desk(engine, name, strategy, Book(0.0), limits)
        strategy._desk = desk
        desk.is_joining = True
        self.waiting[desk] = event.cash
        engine.choose_watches()

    def leave(self, desk: Desk) -> None:
        """It was stopped before it began."""
        self.waiting.pop(desk, None)
        desk.is_joining = False
        desk.state = "stopped"

    def fund(self, time_ns: int, moved: dict[str, float]) -> None:
        """An equity point was taken: bring what is free to those who wait, and have them begin.

        What changes books that had a part in that point is added to ``moved``, signed.
        """
        sources = [desk for desk in self._engine.desks.values() if desk not in self.waiting]
        for desk, missing in list(self.waiting.items()):
            if desk.state in ("running", "paused"):
                self._fund(desk, missing, time_ns, free_by_strategy(sources), moved)
            else:
                del self.waiting[desk]
                desk.is_joining = False

    def _fund(
        self, desk: Desk, missing: float, time_ns: int, free: Mapping[str, float], moved: dict[str, float]
    ) -> None:
        engine = self._engine
        whole = engine.accounts.equity
        free = {name: amount for name, amount in free.items() if amount > _DUST * whole}
        sum_of_free = total(free.values())
        wanted = min(missing, sum_of_free)
        if wanted <= _DUST * whole:
            return
        paid_by: dict[str, float] = {}
        for name, amount in free.items():
            paid = wanted * (amount / sum_of_free)
            engine.records.transfers.append(Transfer(time_ns, name, desk.name, paid))
            engine.desks[name].book.transfer(-paid)
            engine.desks[name].limit_watch.transfer(-paid)
            paid_by[name] = -paid
            moved[name] = moved.get(name, 0.0) - paid
        amount = -total(paid_by.values())
        desk.book.transfer(amount)
        is_first, left = desk.is_joining, missing - amount
        if left > _DUST * whole:
            self.waiting[desk] = left
        else:
            del self.waiting[desk]
        if is_first:
            engine.only_book = None
            engine.books.append(desk.book)
            engine.equity_names.append(desk.name)
            engine.scorecard.join(desk.name, amount)
            # Its limits may have been set while it waited.
            desk.risk = desk.limit_watch.limits
            desk.limit_watch.begin()
            engine.choose_watches()
        else:
            desk.limit_watch.transfer(amount)
            moved[desk.name] = moved.get(desk.name, 0.0) + amount
        if engine.allocator is not None:
            engine.allocator.note_joined(desk, paid_by)
        for name, change in paid_by.items():
            self._tell(engine.desks[name], change)
        if is_first:
            self._begin(desk)
        else:
            self._tell(desk, amount)

    def _tell(self, desk: Desk, amount: float) -> None:
        if desk.state in ("running", "paused"):
            self._engine.call(desk, partial(desk.strategy.on_transfer, amount, 0.0), None)

    def _begin(self, desk: Desk) -> None:
        desk.is_joining = False
        self._engine.steering.reseat(desk, desk.strategy)
        if desk.state in ("running", "paused"):
            self._engine.call(desk, desk.strategy.on_start, None)


def free_by_strategy(desks: Iterable[Desk]) -> dict[str, float]:
    """What each strategy's book could give to one that joins."""
    return {desk.name: free_cash(desk) for desk in desks if desk.state != WIPED_OUT and desk.book.equity > 0.0}


def check_new_name(engine: "Engine", name: str | None) -> None:
    """Raise :class:`StrategyError` for a name that no further strategy can have."""
    if not name or name == "account":
        raise StrategyError(f'a strategy cannot be named {name!r}: "account" is the sum of them all; choose another')
    if name in engine.desks:
        raise StrategyError(
            f"the name {name!r} is taken, by a strategy that is {engine.desks[name].state}: its book and its past stay "
            "its own, so give another name="
        )


def joined_cash(engine: "Engine") -> dict[str, float]:
    """The money that each strategy that joined began with; 0.0 for one that has not yet."""
    scores, began_with = engine.scorecard.strategies, {}
    for name, desk in list(engine.desks.items()):
        if desk.book.starting_cash == 0.0:
            score = scores.get(name)
            began_with[name] = 0.0 if score is None else score.curve.starting_equity
    return began_with
