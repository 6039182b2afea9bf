"""What only a replay can tell of an order: who asked for it and on what, and how the market stood then and at each fill."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Depth, Event, Quote, Tick
from qfkit.core.indicators import Indicator
from qfkit.core.orders import Fill, Order, Signal
from qfkit.core.records import Records
from qfkit.core.strategy import Strategy

__all__ = ["Change", "Decision", "FillMoment", "Heard", "Market", "Witness", "tapped"]

Heard: TypeAlias = Bar | Tick | Quote | Depth | Fill
Record = TypeVar("Record")

# The hook's own name is looked for on the stack: that way code that was swapped in is seen too.
_HOOKS = frozenset({"on_start", "on_bar", "on_tick", "on_quote", "on_depth", "on_fill", "on_transfer", "on_stop"})


class Market(msgspec.Struct, frozen=True):
    """A symbol's market at a moment: the last price, the quote (NaN where none was ever seen), and the exchange's time."""

    price: float
    bid: float
    ask: float
    time_ns: int
    rate: float = 1.0

    @property
    def middle(self) -> float:
        """The middle of the quote; NaN without one."""
        return (self.bid + self.ask) / 2.0


class Decision(msgspec.Struct, frozen=True):
    """The moment a signal was decided on, before anything came of it.

    ``event`` was being played, the ``number``-th of the run from 1. ``hook`` is the strategy's method that asked ("" where none did) and
    ``heard`` what it was called with; ``bar`` the symbol's last closed one. ``indicators`` are by name: the
    value, and the one before.
    """

    number: int
    event: Event
    time_ns: int
    hook: str
    heard: Heard | None
    bar: Bar | None
    market: Market
    indicators: dict[str, tuple[float, float]]
    parameters: dict[str, Any]
    equity: float
    cash: float
    position: float


class Change(msgspec.Struct, frozen=True):
    """An order as one event left it."""

    number: int
    event: Event
    order: Order
    market: Market


class FillMoment(msgspec.Struct, frozen=True):
    """A fill, the event that filled it, and the market just then."""

    number: int
    event: Event
    fill: Fill
    market: Market


@contextmanager
def tapped(records: Records, **tells: Callable[[Any], None]) -> Iterator[None]:
    """Within it, a function by the name of a list of records is told of each record at the moment it is made."""
    for name, tell in tells.items():
        setattr(records, name, _Tapped(getattr(records, name), tell))
    try:
        yield
    finally:
        for name in tells:
            setattr(records, name, list(getattr(records, name)))


class _Tapped(list[Record], Generic[Record]):
    def __init__(self, records: list[Record], tell: Callable[[Record], None]) -> None:
        super().__init__(records)
        self._tell = tell

    def append(self, record: Record) -> None:
        super().append(record)
        self._tell(record)


class Witness:
    """Takes down what one signal, or one order and its signal, came from, within :meth:`watching`.

    Whoever plays the events sets ``event`` to each before it is played.
    """

    def __init__(self, engine: Engine, signal_id: int | None, order_id: int | None) -> None:
        self.decision: Decision | None = None
        self.changes: list[Change] = []
        self.fills: list[FillMoment] = []
        self.event: Event | None = None
        self._engine = engine
        self._signal_id = signal_id
        self._order_id = order_id

    def watching(self) -> AbstractContextManager[None]:
        """Within it, the engine is watched."""
        records = self._engine.records
        return tapped(records, signals=self._see_signal, orders=self._see_order, fills=self._see_fill)

    def _see_signal(self, signal: Signal) -> None:
        if signal.signal_id != self._signal_id or self.event is None:
            return
        engine = self._engine
        desk = engine.desks[signal.strategy]
        hook, heard = _hook_of(desk.strategy)
        track = engine.tracks.get(signal.symbol)
        position = desk.book.positions.get(signal.symbol)
        self.decision = Decision(
            number=self._number,
            event=self.event,
            time_ns=engine.clock_ns,
            hook=hook,
            heard=heard,
            bar=track.base.kept[-1] if track is not None and track.base.kept else None,
            market=self._market(signal.symbol),
            indicators=_values(desk.named_sets, signal.symbol),
            parameters=desk.strategy.parameters,
            equity=desk.book.equity,
            cash=desk.book.cash,
            position=0.0 if position is None else position.quantity,
        )

    def _see_order(self, order: Order) -> None:
        if order.order_id == self._order_id and self.event is not None:
            self.changes.append(Change(self._number, self.event, order, self._market(order.symbol)))

    def _see_fill(self, fill: Fill) -> None:
        if fill.order_id == self._order_id and self.event is not None:
            self.fills.append(FillMoment(self._number, self.event, fill, self._market(fill.symbol)))

    @property
    def _number(self) -> int:
        # An engine counts an event before it is through with it.
        return self._engine.events

    def _market(self, symbol: str) -> Market:
        track = self._engine.tracks.get(symbol)
        if track is None:
            nan = float("nan")
            return Market(nan, nan, nan, 0)
        market = track.market
        return Market(market.price, market.bid, market.ask, market.time_ns, market.rate)


def _hook_of(strategy: Strategy) -> tuple[str, Heard | None]:
    """The method of the strategy that is being called just now, and what with."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name in _HOOKS and code.co_argcount and frame.f_locals.get(code.co_varnames[0]) is strategy:
            heard = frame.f_locals.get(code.co_varnames[1]) if code.co_argcount > 1 else None
            return code.co_name, heard if isinstance(heard, Heard) else None
        frame = frame.f_back
    return "", None


def _values(named_sets: Any, symbol: str) -> dict[str, tuple[float, float]]:
    values: dict[str, tuple[float, float]] = {}
    for name, indicators in named_sets:
        if symbol not in indicators:
            continue
        indicator: Indicator = indicators[symbol]
        values[name] = (indicator.value, indicator.previous)
        for line_name, line in indicator.outputs():
            values[f"{name}.{line_name}"] = (line.value, line.previous)
    return values
