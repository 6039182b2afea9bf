"""What a user's commands do to a running engine."""

from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

from qfkit.core.accounts import WIPED_OUT
from qfkit.core.desk import Desk
from qfkit.core.events import (
    AddStrategy,
    BlockEntries,
    ByHand,
    Command,
    Flatten,
    LiftStops,
    Pause,
    Rebalance,
    Resume,
    SetLimits,
    SetParameters,
    Stop,
    SwapStrategy,
)
from qfkit.core.joining import Joining
from qfkit.core.limit_watch import LimitWatch
from qfkit.core.manual import Answer, act
from qfkit.core.risk import ACCOUNT_LIMITS
from qfkit.core.seats import Seat
from qfkit.core.strategy import Strategy
from qfkit.errors import StrategyError, did_you_mean

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["Steering"]


class Steering:
    """Applies commands to an engine: parameters and code at the next bar, the rest at once.

    ``pending`` holds the changes that wait for a bar. ``resolve`` finds the class that a
    ``SwapStrategy`` names. ``answer`` is what became of the latest manual order.
    """

    def __init__(self, engine: "Engine", resolve: Callable[[str], type[Strategy]] | None) -> None:
        self.pending: list[SetParameters | SwapStrategy] = []
        self.answer = Answer()
        self.joining = Joining(engine)
        self._engine = engine
        self._resolve = resolve

    @property
    def handlers(self) -> dict[type, Callable[..., None]]:
        """What each command is done by, but for the end of a run."""
        return {
            SetParameters: self.change,
            SwapStrategy: self.change,
            AddStrategy: self.add,
            Pause: self.pause,
            Resume: self.resume,
            Flatten: self.flatten,
            BlockEntries: self.block_entries,
            LiftStops: self.lift,
            SetLimits: self.set_limits,
            Rebalance: self.rebalance,
            **dict.fromkeys(get_args(ByHand), self.by_hand),
        }

    def _addressed(self, event: Command) -> list[Desk]:
        desks = self._engine.desks
        if event.strategy is None:
            return list(desks.values())
        if event.strategy not in desks:
            raise StrategyError(f"no strategy {event.strategy!r} here.{did_you_mean(event.strategy, desks)}")
        return [desks[event.strategy]]

    def _watches(self, event: Command) -> list[LimitWatch]:
        if event.strategy in (None, ACCOUNT_LIMITS):
            return [self._engine.limit_watch]
        return [desk.limit_watch for desk in self._addressed(event)]

    def change(self, event: SetParameters | SwapStrategy) -> None:
        self._addressed(event)
        self._engine.advance(event.received_ns)
        self.pending.append(event)

    def apply(self) -> None:
        """Make the changes that wait; called before a bar is seen by anyone."""
        changes = self.pending[:]
        self.pending.clear()
        for change in changes:
            for desk in self._addressed(change):
                if desk.state == WIPED_OUT:
                    continue
                if isinstance(change, SwapStrategy):
                    desk.state, desk.error = "running", ""
                    self.reseat(desk, self._made(change))
                    if desk.state == "running" and not desk.is_joining:
                        self._engine.call(desk, desk.strategy.on_start, change)
                elif desk.state in ("running", "paused"):
                    known = type(desk.strategy).parameters_of_class
                    mine = {name: value for name, value in change.parameters.items() if name in known}
                    vars(desk.strategy).update(desk.strategy.check_parameters(mine))
                    self.reseat(desk, desk.strategy)

    def add(self, event: AddStrategy) -> None:
        """Open a desk for one more strategy; it begins when its capital has come."""
        self._engine.advance(event.received_ns)
        self.joining.open(event, self._made(event))

    def _made(self, event: SwapStrategy | AddStrategy) -> Strategy:
        if self._resolve is None:
            raise StrategyError(f"cannot make a {event.to!r}: this engine was given no way to find classes")
        return self._resolve(event.to)(**event.parameters)

    def reseat(self, desk: Desk, strategy: Strategy) -> None:
        """Set a strategy up (again), with indicators warmed from the kept bars."""
        engine = self._engine
        if desk.is_joining:
            # It is set up when it begins.
            desk.strategy, strategy._desk = strategy, desk
            return
        for track in engine.tracks.values():
            track.remove(desk)
        desk.strategy = strategy
        strategy._desk = desk
        desk.sets, desk.follows = [], set()
        engine.call(desk, strategy.setup, None)
        desk.name_sets()
        for track in engine.tracks.values():
            if desk.state in ("running", "paused") and not track.is_rate:
                engine.call(desk, lambda track=track: track.put(Seat(desk, track)), None)  # type: ignore[misc]

    def pause(self, event: Pause) -> None:
        self._engine.advance(event.received_ns)
        for desk in self._addressed(event):
            if desk.state == "running":
                desk.state = "paused"

    def resume(self, event: Resume) -> None:
        self._engine.advance(event.received_ns)
        for desk in self._addressed(event):
            if desk.state == "paused":
                desk.state = "running"

    def flatten(self, event: Flatten) -> None:
        self._engine.advance(event.received_ns)
        for watch in self._watches(event):
            watch.put_by_hand("flatten")

    def block_entries(self, event: BlockEntries) -> None:
        self._engine.advance(event.received_ns)
        for watch in self._watches(event):
            watch.put_by_hand("block_entries")

    def lift(self, event: LiftStops) -> None:
        self._engine.advance(event.received_ns)
        for watch in self._engine.limit_watches if event.strategy is None else self._watches(event):
            watch.lift()

    def set_limits(self, event: SetLimits) -> None:
        engine = self._engine
        engine.advance(event.received_ns)
        is_account = event.strategy == ACCOUNT_LIMITS
        for watch in [engine.limit_watch] if is_account else [desk.limit_watch for desk in self._addressed(event)]:
            limits = watch.limits.changed(event.limits)
            watch.set_limits(limits if is_account else engine.margin.limits_within(limits))

    def rebalance(self, event: Rebalance) -> None:
        self._engine.advance(event.received_ns)
        for desk in self._addressed(event):
            desk.rebalance(event.weights, band=event.band, reason="rebalanced by the user", by_hand=True)

    def by_hand(self, event: ByHand) -> None:
        self._engine.advance(event.received_ns)
        for desk in self._addressed(event):
            self.answer = act(desk, event)

    def stop(self, event: Stop) -> None:
        """Have strategies end and cancel their orders; positions stay as they are."""
        for desk in self._addressed(event):
            if desk.is_joining:
                self.joining.leave(desk)
            elif desk.state in ("running", "paused"):
                self._engine.call(desk, desk.strategy.on_stop, event)
            desk.cancel_all("the run ended", forced=event.strategy is None)
            if desk.state in ("running", "paused"):
                desk.state = "stopped"
            for track in self._engine.tracks.values():
                track.remove(desk)
