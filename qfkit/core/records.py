"""What the engine puts out: lists that it only appends to and that their owner drains."""

import msgspec

from qfkit.core.assessment import RiskAssessment
from qfkit.core.events import Bar
from qfkit.core.limit_stops import RiskStop
from qfkit.core.margin import Financing, MarginCall
from qfkit.core.orders import Fill, Order, Signal, Trade, Transfer

__all__ = ["Fault", "Records"]


class Fault(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A strategy's exception, with the event that caused it. The strategy was stopped."""

    strategy: str
    time_ns: int
    error: str
    traceback: str
    event: str


class Records:
    """Append-only output of an engine.

    A backtest keeps them all; a session writes them to its journal and calls :meth:`clear`,
    so that its memory does not grow. ``orders`` gets a new record each time an order changes:
    the last one of an ``order_id`` is how it stands. A row of ``equity`` is
    ``(time_ns, account)`` and, with several strategies, each strategy's equity after that.
    """

    __slots__ = (
        "assessments",
        "bars",
        "equity",
        "faults",
        "fills",
        "financing",
        "margin_calls",
        "orders",
        "signals",
        "stops",
        "trades",
        "transfers",
    )

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.fills: list[Fill] = []
        self.signals: list[Signal] = []
        self.trades: list[Trade] = []
        self.bars: list[Bar] = []
        self.equity: list[tuple[float, ...]] = []
        self.faults: list[Fault] = []
        self.assessments: list[RiskAssessment] = []
        self.transfers: list[Transfer] = []
        self.margin_calls: list[MarginCall] = []
        self.financing: list[Financing] = []
        self.stops: list[RiskStop] = []

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)

    def clear(self) -> None:
        for name in self.__slots__:
            getattr(self, name).clear()
