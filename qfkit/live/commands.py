"""How a session is steered while it runs: each command is an event in the journal."""

import concurrent.futures
from collections.abc import Callable, Collection, Mapping
from math import inf
from typing import Any, Literal, Self, overload

import msgspec

from qfkit.core.accounts import WIPED_OUT
from qfkit.core.engine import Engine
from qfkit.core.events import (
    AddStrategy,
    BlockEntries,
    Command,
    Flatten,
    LiftStops,
    Pause,
    Rebalance,
    Resume,
    SetLimits,
    SetParameters,
    SwapStrategy,
)
from qfkit.core.joining import check_new_name, free_by_strategy
from qfkit.core.portfolio import total
from qfkit.core.rebalance_plan import RebalancePlan
from qfkit.core.rebalancing import plan_for
from qfkit.core.risk import ACCOUNT_LIMITS, RiskLimits
from qfkit.core.strategy import Strategy
from qfkit.core.wording import money
from qfkit.errors import ParameterError, SessionError, StrategyError, did_you_mean
from qfkit.feeds.base import Feed
from qfkit.live.manual import ManualTrading
from qfkit.live.pipeline import Pipeline
from qfkit.live.plan import SessionPlan, check_storable
from qfkit.live.runner import run
from qfkit.live.sources import as_strategy
from qfkit.live.warmup import higher_timeframes

__all__ = ["SessionCommands"]

_ROUNDING = 1e-9


class SessionCommands(ManualTrading):
    """The part of a :class:`~qfkit.Session` that steers it. Each method returns when the engine has the command."""

    name: str
    feed: Feed
    _pipeline: Pipeline
    _plan: SessionPlan
    _future: "concurrent.futures.Future[None] | None"

    @property
    def state(self) -> str:
        """created, running, paused, stopped, failed or interrupted."""
        raise NotImplementedError

    def pause(self, strategy: str | None = None) -> Self:
        """No new orders from a strategy (all without a name); its indicators and working orders go on."""
        return self._command(lambda now_ns: Pause(now_ns, self._strategy(strategy)))

    def resume(self, strategy: str | None = None) -> Self:
        """End a pause."""
        name = self._strategy(strategy)
        state = "paused" if name is None else self._pipeline.engine.desks[name].state
        if state not in ("running", "paused"):
            raise SessionError(f"{name} is {state} and not paused: session.add(...) starts one more strategy")
        return self._command(lambda now_ns: Resume(now_ns, self._strategy(strategy)))

    def flatten(self, strategy: str | None = None) -> Self:
        """Cancel all orders, close all positions at the market, and let nothing enter until :meth:`lift`."""
        return self._command(lambda now_ns: Flatten(now_ns, self._books(strategy)))

    def block_entries(self, strategy: str | None = None) -> Self:
        """Let nothing enter until :meth:`lift`: exits go on, orders that would enter are cancelled."""
        return self._command(lambda now_ns: BlockEntries(now_ns, self._books(strategy)))

    def lift(self, strategy: str | None = None) -> Self:
        """Lift the stops of a strategy (all without a name), put by limits or by hand.

        Its losses are counted anew: a drawdown from the present equity, a daily loss from now, losses in a row from
        none. Without that the limit would put the stop again at once.
        """
        name = self._books(strategy)
        stops = [watch.name for watch in self._pipeline.engine.limit_watches if watch.stops]
        if name is not None and name not in stops:
            held = f"; there are stops on {', '.join(stops)}: session.lift() lifts them all" if stops else ""
            raise SessionError(f"there is no stop on {name!r} to lift{held}")
        return self._command(lambda now_ns: LiftStops(now_ns, name))

    def set_limits(self, strategy: str | None = None, **limits: Any) -> Self:
        """Change risk limits at once, as in ``session.set_limits(max_drawdown=0.1)``; None takes one away.

        Of one strategy, of all of them, or with "account" of all books together. Orders at work stay. Raises
        :class:`ParameterError` for a limit that is none.
        """
        if not limits:
            raise ParameterError("nothing to set: give limits by name, as in session.set_limits(max_drawdown=0.1)")
        engine = self._pipeline.engine
        if strategy != ACCOUNT_LIMITS:
            self._strategy(strategy)
        for watch in engine.limit_watches:
            if strategy in (None, watch.name) and (strategy is not None or not watch.is_account):
                watch.limits.changed(limits)
        return self._command(
            lambda now_ns: SetLimits(received_ns=now_ns, strategy=strategy, limits=msgspec.to_builtins(limits))
        )

    @overload
    def rebalance(
        self,
        weights: Mapping[str, float],
        strategy: str | None = None,
        *,
        band: float = 0.0,
        preview: Literal[False] = False,
    ) -> Self: ...
    @overload
    def rebalance(
        self, weights: Mapping[str, float], strategy: str | None = None, *, band: float = 0.0, preview: Literal[True]
    ) -> RebalancePlan: ...
    def rebalance(
        self,
        weights: Mapping[str, float],
        strategy: str | None = None,
        *,
        band: float = 0.0,
        preview: bool = False,
    ) -> "Self | RebalancePlan":
        """Take a strategy's book to these fractions of its equity; symbols not named go to zero.

        As ``Strategy.rebalance``, and a paused or stopped strategy's book too. ``preview=True`` sends nothing and
        returns the :class:`~qfkit.RebalancePlan` with turnover and cost. Raises :class:`OrderError` for weights
        that make no sense. With several strategies say whose book it is.
        """
        desks = self._pipeline.engine.desks
        if strategy is None and len(desks) > 1:
            raise SessionError(f"say whose book is rebalanced: strategy= one of {', '.join(desks)}")
        name = self._strategy(strategy) or next(iter(desks))
        wanted = {str(symbol): float(weight) for symbol, weight in weights.items()}

        async def plan() -> RebalancePlan:
            return plan_for(desks[name], wanted, band=band)

        # What makes no sense is refused in the cell, not by the engine.
        planned = run(plan())
        if preview:
            return planned
        return self._command(
            lambda now_ns: Rebalance(received_ns=now_ns, strategy=name, weights=wanted, band=float(band))
        )

    def set(self, strategy: str | None = None, **parameters: Any) -> Self:
        """Change parameters from the next bar on; of one ``strategy``, or of all that have them.

        Raises :class:`ParameterError` for one that no strategy has or that is out of bounds.
        """
        desks = self._pipeline.engine.desks
        name = self._strategy(strategy)
        if not parameters:
            raise ParameterError("nothing to set: give parameters by name, as in session.set(fast=8)")
        addressed = [self._as_it_will_be(one) for one in (desks if name is None else [name])]
        kinds = [kind for kind, _ in addressed]
        for parameter, value in parameters.items():
            owners = [kind for kind in kinds if parameter in kind.parameters_of_class]
            for kind in owners or kinds[:1]:
                kind.check_parameters({parameter: value})
        for kind, present in addressed:
            mine = {key: value for key, value in parameters.items() if key in kind.parameters_of_class}
            self._try_out(kind, {**present, **mine})
        return self._command(
            lambda now_ns: SetParameters(received_ns=now_ns, strategy=strategy, parameters=dict(parameters))
        )

    def swap(self, new: object, strategy: str | None = None) -> Self:
        """Replace a strategy's code from the next bar on: same book, indicators warmed from the kept bars.

        ``new`` is a class (with its default parameters) or an instance. With several strategies
        say which one is replaced.
        """
        instance: Strategy = as_strategy(new)
        check_storable(instance)
        desks = self._pipeline.engine.desks
        if strategy is None and len(desks) > 1:
            raise SessionError(f"say which strategy is swapped: strategy= one of {', '.join(desks)}")
        name = self._strategy(strategy) or next(iter(desks))
        if desks[name].state == WIPED_OUT:
            raise SessionError(f"{name} was {desks[name].error}: it does not trade again, whatever its code")
        self._try_out(type(instance), instance.parameters)
        classes = self._plan.classes
        key = classes.add(type(instance))
        return self._command(
            lambda now_ns: SwapStrategy(
                received_ns=now_ns,
                strategy=name,
                to=key,
                parameters=instance.parameters,
                source_hash=classes.hash_of(key),
            ),
            meta={"classes": classes.as_meta()},
        )

    def add(
        self,
        strategy: object,
        name: str | None = None,
        *,
        share: float | None = None,
        cash: float | None = None,
        risk: RiskLimits | None = None,
    ) -> Self:
        """Start one more strategy while the others run, on capital out of their books; it sees the next bar.

        - ``strategy`` is a class (with its default parameters) or an instance; ``name`` None takes the class's.
        - Its capital is ``cash``, or a ``share`` of the account's equity as it stands. It comes after the next equity
          point, from each strategy in proportion to its free cash, also from stopped ones (``session.transfers``).
        - ``risk`` are limits of its own; None takes the run's.

        One that was stopped does not start again: add it under a new name. Raises :class:`SessionError` for a
        name that is taken and where so much cash is not free, :class:`ParameterError` for what makes no sense.
        """
        instance: Strategy = as_strategy(strategy)
        check_storable(instance)
        if (share is None) == (cash is None):
            raise ParameterError("say what it begins with: share= of the account's equity, or cash=, and not both")
        if share is not None and not 0.0 < share < 1.0:
            raise ParameterError(f"share={share!r}: it must be a fraction of the account's equity, above 0 and below 1")
        if cash is not None and not 0.0 < cash < inf:
            raise ParameterError(f"cash={cash!r}: it must be above zero and finite")
        if risk is not None and not isinstance(risk, RiskLimits):
            raise ParameterError(f"risk={risk!r}: it must be a RiskLimits")
        engine = self._pipeline.engine
        if self._pipeline.snapshot.is_watch_list:
            raise SessionError(f"{self.name!r} only watches and has no capital: start a session with qf.paper(...)")
        self._try_out(type(instance), instance.parameters)

        def make(now_ns: int) -> AddStrategy:
            chosen = _free_name(type(instance).__name__, engine.desks) if name is None else name
            try:
                check_new_name(engine, chosen)
            except StrategyError as error:
                raise SessionError(str(error)) from None
            wanted = cash if cash is not None else (share or 0.0) * engine.accounts.equity
            free = free_by_strategy(desk for desk in engine.desks.values() if not desk.is_joining)
            promised = total(engine.joiners.values())
            if wanted > (total(free.values()) - promised) * (1.0 + _ROUNDING):
                each = ", ".join(f"{one} {money(amount)}" for one, amount in free.items())
                also = f", of which {money(promised)} is promised to strategies that join" if promised else ""
                raise SessionError(
                    f"{chosen} cannot begin with {money(wanted)}: free are {each}{also}; take less, or have a strategy "
                    "close positions first"
                )
            key = self._plan.classes.add(type(instance))
            return AddStrategy(
                received_ns=now_ns,
                strategy=chosen,
                to=key,
                cash=wanted,
                parameters=instance.parameters,
                source_hash=self._plan.classes.hash_of(key),
                risk=None if risk is None else msgspec.to_builtins(risk),
            )

        return self._command(make, lambda: {"classes": self._plan.classes.as_meta()}, is_tried=False)

    def _as_it_will_be(self, name: str) -> tuple[type[Strategy], dict[str, Any]]:
        """A strategy's class and parameters once the changes that wait for the next bar are made."""
        engine = self._pipeline.engine
        strategy = engine.desks[name].strategy
        kind, parameters = type(strategy), strategy.parameters
        for change in tuple(engine.pending):
            if change.strategy not in (None, name):
                continue
            if isinstance(change, SwapStrategy):
                kind, parameters = self._plan.classes.resolve(change.to), dict(change.parameters)
            else:
                known = kind.parameters_of_class
                parameters |= {key: value for key, value in change.parameters.items() if key in known}
        return kind, parameters

    def _try_out(self, kind: type[Strategy], parameters: Mapping[str, Any]) -> None:
        """Have ``setup`` refuse what does not go together here, and not on the next bar."""
        engine = Engine({self.name: kind(**parameters)}, cash=self._plan.cash, timeframe=self._plan.timeframe)
        higher_timeframes(engine, self.feed)

    def _books(self, name: str | None) -> str | None:
        """A strategy's name, or that of the account."""
        return name if name == ACCOUNT_LIMITS else self._strategy(name)

    def _strategy(self, name: str | None) -> str | None:
        desks = self._pipeline.engine.desks
        if name is not None and name not in desks:
            raise SessionError(f"no strategy {name!r} in this session.{did_you_mean(name, desks)}")
        return name

    def _now_ns(self) -> int:
        return max(self._pipeline.engine.clock_ns, self.feed.now_ns())

    def _command(
        self,
        make: Callable[[int], Command],
        meta: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
        *,
        is_tried: bool = True,
    ) -> Self:
        if self._future is None or self._future.done():
            raise SessionError(f"the session {self.name!r} is {self.state}: only a running one can be steered")
        if is_tried:
            make(0)

        async def apply() -> None:
            # Between two batches, for a batch is taken without giving the loop away.
            if self._pipeline.writer is None:
                raise SessionError(f"the session {self.name!r} has ended")
            command = make(self._now_ns())
            self._pipeline.command(command, meta() if callable(meta) else meta)

        run(apply())
        return self


def _free_name(base: str, taken: Collection[str]) -> str:
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base} {number}"
    return name
