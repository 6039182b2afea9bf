"""Capital over strategies: on a schedule, cash moves between their books until their shares are met.

The rules:

- Shares are of the equity of the strategies that run or are paused. One that stopped or failed keeps its book
  and takes no part.
- A book gives only what is free: cash that neither its positions nor its orders at work need under its
  own limit of gross exposure. What it cannot give yet stays owed, and moves at the next equity points as it
  becomes free, until the next date of the schedule reckons anew. Its strategy is told by ``on_transfer``.
- A transfer is no profit: a book keeps the sum of its transfers, and :func:`growth` leaves them out.
- Cash moves right after the equity point at which it was decided, so that point is before the transfer.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf, sqrt
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import msgspec

from qfkit.core.orders import Transfer
from qfkit.core.portfolio import total
from qfkit.core.rebalancing import committed
from qfkit.core.schedule import Schedule
from qfkit.errors import ParameterError, did_you_mean

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.engine import Engine

__all__ = ["Allocation", "AllocationContext", "Allocator", "free_cash", "growth"]

Rule: TypeAlias = Literal["fixed", "equal", "inverse_volatility"]

# As a fraction of the whole capital: less is not worth a record.
_DUST = 1e-6
_ROUNDING = 1e-9


class AllocationContext(msgspec.Struct, frozen=True, gc=False):
    """What a rule of your own may look at: equity and past period returns of each strategy, transfers left out.

    ``returns`` holds the last ``lookback`` ones, oldest first, one an equity point; fewer at the beginning.
    """

    time_ns: int
    equity: dict[str, float]
    returns: dict[str, tuple[float, ...]]
    shares: dict[str, float]


class Allocation(msgspec.Struct, frozen=True):
    """How capital is shared out again, given as ``allocation=``.

    - ``rule``: "fixed" restores the shares of the start (``shares=``); "equal"; "inverse_volatility" gives
      ``(1 / s_i) / sum(1 / s_j)``, s the sample standard deviation of the strategy's period returns, and moves nothing
      until each has ``lookback`` of them and they vary; or a callable from :class:`AllocationContext` to
      a dict of shares by name (scaled to add up to 1; who is not named gets none). It must be
      deterministic, and a journal cannot hold it: pass it again to ``qf.resume``.
    - ``every``: "1d", "1w" (from Monday), "1M" (the first of the month), "4h"; in UTC.
    - ``lookback``: equity points (bars) that returns are kept of.
    - ``band``: nothing moves while each share is within this of its target.
    """

    rule: Rule | Callable[[AllocationContext], Mapping[str, float]] = "equal"
    every: str = "1M"
    lookback: int = 60
    band: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.rule) and self.rule not in get_args(Rule):
            raise ParameterError(f"Allocation(rule={self.rule!r}).{did_you_mean(self.rule, get_args(Rule))}")
        Schedule(self.every)
        if not isinstance(self.lookback, int) or self.lookback < 2:
            raise ParameterError(f"Allocation(lookback={self.lookback!r}): it must be a whole number from 2 on")
        if not 0.0 <= self.band < 1.0:
            raise ParameterError(f"Allocation(band={self.band!r}): it must be a fraction from 0 up to 1")


class Allocator:
    """One engine's allocation at work: what returns it saw, and what is still owed."""

    def __init__(self, engine: "Engine", allocation: Allocation, shares: Mapping[str, float]) -> None:
        if len(shares) < 2:
            raise ParameterError("allocation= shares capital over strategies: give two or more")
        self._engine = engine
        self._allocation = allocation
        self._schedule = Schedule(allocation.every)
        self._shares = dict(shares)
        self._due_ns: int | None = None
        self._bases: dict[str, float] = {}
        self._returns: dict[str, deque[float]] = {name: deque(maxlen=allocation.lookback) for name in shares}
        self._owed: dict[str, float] = {}
        self._missing: dict[str, float] = {}

    def look(self, time_ns: int) -> dict[str, float]:
        """An equity point was taken at ``time_ns``: note the returns, and move what is to move; what was moved, by name."""
        desks = [
            desk for desk in self._engine.desks.values() if desk.state in ("running", "paused") and not desk.is_joining
        ]
        for desk in desks:
            equity, base = desk.book.equity, self._bases.get(desk.name, desk.book.starting_cash)
            if base > 0.0:
                self._returns[desk.name].append(equity / base - 1.0)
            self._bases[desk.name] = equity
        if self._due_ns is None:
            self._due_ns = self._schedule.after(time_ns - 1)
        moved: dict[str, float] = {}
        if time_ns >= self._due_ns:
            self._due_ns = self._schedule.after(time_ns)
            self._reckon(desks, time_ns)
            moved = dict.fromkeys(self._owed, 0.0)
        if self._owed:
            self._move(time_ns, desks, moved)
        return moved

    def note_joined(self, joined: "Desk", moved: Mapping[str, float]) -> None:
        """Others gave capital (signed amounts) to one that joins: of the fixed shares it has the part that it holds now."""
        desks, name = self._engine.desks, joined.name
        self._returns.setdefault(name, deque(maxlen=self._allocation.lookback))
        self._shares.pop(name, 0.0)
        for source, change in moved.items():
            equity = desks[source].book.equity
            if source in self._shares:
                self._shares[source] *= equity / (equity - change)
            self._bases[source] = equity
        self._bases[name] = joined.book.equity
        whole = total(desk.book.equity for desk in desks.values() if desk.state in ("running", "paused"))
        part, others = joined.book.equity / whole, total(self._shares.values())
        self._shares = {one: share / others * (1.0 - part) for one, share in self._shares.items()} if others else {}
        self._shares[name] = part

    def _reckon(self, desks: "Sequence[Desk]", time_ns: int) -> None:
        self._owed.clear()
        self._missing.clear()
        equity = {desk.name: desk.book.equity for desk in desks}
        whole = total(equity.values())
        if len(desks) < 2 or whole <= 0.0:
            return
        targets = self._targets(equity, whole, time_ns)
        off = {name: share * whole - equity[name] for name, share in targets.items()}
        if max(map(abs, off.values()), default=0.0) <= max(self._allocation.band, _DUST) * whole:
            return
        self._owed = {name: -amount for name, amount in off.items() if amount < 0.0}
        self._missing = {name: amount for name, amount in off.items() if amount > 0.0}

    def _targets(self, equity: dict[str, float], whole: float, time_ns: int) -> dict[str, float]:
        """The shares, adding up to 1; none where the rule cannot say yet."""
        rule = self._allocation.rule
        if callable(rule):
            shares = {name: value / whole for name, value in equity.items()}
            returns = {name: tuple(self._returns[name]) for name in equity}
            given = rule(AllocationContext(time_ns, equity, returns, shares))
            for name, share in given.items():
                if name not in equity or not 0.0 <= share < inf:
                    raise ParameterError(
                        f"the allocation rule gave {name!r} the share {share!r}: shares are zero or more, of "
                        f"{', '.join(equity)}"
                    )
            raw = {name: float(given.get(name, 0.0)) for name in equity}
        elif rule == "fixed":
            raw = {name: self._shares[name] for name in equity}
        elif rule == "equal":
            raw = dict.fromkeys(equity, 1.0)
        else:
            raw = {name: _inverse(self._returns[name], self._allocation.lookback) for name in equity}
            if 0.0 in raw.values():
                return {}
        sum_of_shares = total(raw.values())
        if sum_of_shares <= 0.0:
            raise ParameterError("the allocation rule gave no strategy a share: at least one must be above zero")
        return {name: share / sum_of_shares for name, share in raw.items()}

    def _move(self, time_ns: int, desks: "Sequence[Desk]", moved: dict[str, float]) -> None:
        """Move what is free of what is owed, to all who wait in proportion to what they wait for."""
        engine = self._engine
        by_name = {desk.name: desk for desk in desks}
        least = _DUST * total(desk.book.equity for desk in desks)
        missing = {name: amount for name, amount in self._missing.items() if name in by_name}
        wanted = total(missing.values())
        for source in [name for name in self._owed if name in by_name]:
            amount = min(self._owed[source], free_cash(by_name[source]), wanted)
            if amount <= least:
                continue
            for target, part in missing.items():
                paid = amount * (part / wanted)
                if paid > 0.0:
                    engine.records.transfers.append(Transfer(time_ns, source, target, paid))
                    for name, signed in ((source, -paid), (target, paid)):
                        by_name[name].book.transfer(signed)
                        by_name[name].limit_watch.transfer(signed)
                    moved[source] = moved.get(source, 0.0) - paid
                    moved[target] = moved.get(target, 0.0) + paid
            self._owed[source] -= amount
            left = 1.0 - amount / wanted
            missing = {target: part * left for target, part in missing.items()}
            wanted = total(missing.values())
        self._missing = missing
        for name in moved:
            self._bases[name] = by_name[name].book.equity
        owed = {name: amount for name, amount in self._owed.items() if amount > least}
        self._owed = owed if wanted > least else {}
        for name, amount in moved.items():
            tell = partial(by_name[name].strategy.on_transfer, amount, owed.get(name, 0.0))
            engine.call(by_name[name], tell, None)


def _inverse(returns: Sequence[float], lookback: int) -> float:
    """1 over the sample standard deviation; 0.0 where there is none yet."""
    if len(returns) < lookback:
        return 0.0
    mean = total(returns) / len(returns)
    variance = total((value - mean) ** 2 for value in returns) / (len(returns) - 1)
    return 1.0 / sqrt(variance) if variance > 0.0 else 0.0


def free_cash(desk: "Desk") -> float:
    """What a book can do without: see the rules above."""
    gross, costs = committed(desk)
    book = desk.book
    return max(0.0, min(book.cash, book.equity - gross / desk.risk.gross_bound) - costs)


def growth(
    points: Sequence[tuple[int, float]], starting_cash: float, transfers: Sequence[Transfer], strategy: str
) -> list[float]:
    """What 1 put into a strategy became at each ``(time_ns, equity)``, transfers left out.

    The time-weighted return (CFA Institute, "Global Investment Performance Standards"): the product of
    ``equity / (equity before + transfers after it)``. NaN from where there was no capital.
    """
    flows: dict[int, float] = {}
    for transfer in transfers:
        if strategy in (transfer.source, transfer.target):
            sign = 1.0 if transfer.target == strategy else -1.0
            flows[transfer.time_ns] = flows.get(transfer.time_ns, 0.0) + sign * transfer.amount
    base, grown, result = starting_cash, 1.0, []
    for time_ns, equity in points:
        grown = grown * (equity / base) if base > 0.0 else float("nan")
        result.append(grown)
        base = equity + flows.get(time_ns, 0.0)
        if base <= _ROUNDING * equity:
            base = 0.0
    return result
