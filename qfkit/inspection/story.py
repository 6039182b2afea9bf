"""The story of one order, or of a signal that became none, as an object to read and to reckon with."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import nan
from typing import TYPE_CHECKING, Any

from qfkit.core.events import Bar, Depth, Event, Quote, Tick
from qfkit.core.orders import Fill, Order, Signal, Trade
from qfkit.core.snapshot import PositionView
from qfkit.inspection.costs import FillCost, split_cost
from qfkit.inspection.moments import Change, Decision, FillMoment, Market
from qfkit.inspection.senders import cause_of, sender_of
from qfkit.tables import checks_frame, fills_frame, orders_frame, time_index, trades_frame

if TYPE_CHECKING:
    import pandas

__all__ = ["OrderStory"]

_PARTS = ("spread", "delay", "size", "fee", "total")


class OrderStory:
    """Why there was an order, or none, and what became of it. Made by ``session.why(...)`` and ``result.why(...)``.

    It shows itself in a notebook and a terminal; for code its parts are records and frames. ``order`` is None where
    the signal became none, ``decision`` and the markets in ``moments`` are None and empty where no replay was
    possible: ``lacks`` says why then. ``trips`` are the round trips that the order began or ended, ``open_position``
    the one that is still open.
    """

    def __init__(
        self,
        *,
        signal: Signal | None,
        order: Order | None,
        fills: Sequence[Fill] = (),
        siblings: Sequence[Order] = (),
        trips: Sequence[Trade] = (),
        open_position: PositionView | None = None,
        decision: Decision | None = None,
        history: Sequence[Change] = (),
        moments: Sequence[FillMoment] = (),
        lacks: str = "",
        owner: str = "session",
    ) -> None:
        self.signal = signal
        self.order = order
        self.fill_records = tuple(fills)
        self.siblings = tuple(siblings)
        self.trips = tuple(trips)
        self.open_position = open_position
        self.decision = decision
        self.history = tuple(history)
        self.moments = tuple(moments)
        self.lacks = lacks
        self.owner = owner

    # -- the decision ------------------------------------------------------------------------

    @property
    def symbol(self) -> str:
        if self.order is not None:
            return self.order.symbol
        return "" if self.signal is None else self.signal.symbol

    @property
    def strategy(self) -> str:
        if self.order is not None:
            return self.order.strategy
        return "" if self.signal is None else self.signal.strategy

    @property
    def time_ns(self) -> int:
        """When it was decided, by the engine's clock."""
        if self.signal is not None:
            return self.signal.time_ns
        return 0 if self.order is None else self.order.decided_ns

    @property
    def sender(self) -> str:
        """Who asked for it, in words."""
        return sender_of(self.signal, self.order, self.decision)

    @property
    def reason(self) -> str:
        """Why, as whoever sent it said."""
        return self.order.reason if self.order is not None else "" if self.signal is None else self.signal.reason

    @property
    def event(self) -> Event | None:
        """The event on which it was decided."""
        return None if self.decision is None else self.decision.event

    @property
    def event_number(self) -> int | None:
        """How many events there had been, that one included: ``session.at(event=...)`` shows the session after it."""
        return None if self.decision is None else self.decision.number

    @property
    def heard(self) -> Bar | Tick | Quote | Depth | Fill | None:
        """What it was decided on: the bar, trade, quote or fill that the strategy was called with, else the last bar or event."""
        decision = self.decision
        if decision is None:
            return None
        if decision.heard is not None:
            return decision.heard
        event = decision.event
        return event if isinstance(event, Bar | Tick | Quote | Depth) else decision.bar

    @property
    def market(self) -> Market | None:
        """Last price and quote of the symbol at the decision."""
        return None if self.decision is None else self.decision.market

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The strategy's parameters as they were then."""
        return {} if self.decision is None else self.decision.parameters

    @property
    def sizing(self) -> Mapping[str, float]:
        """The numbers that the sizer reckoned with; empty where the size was asked for by the strategy itself."""
        return {} if self.signal is None else self.signal.sizing

    @property
    def indicator_values(self) -> dict[str, tuple[float, float]]:
        """By name: the value at the decision and the one before; NaN where that is not known."""
        if self.decision is not None and self.decision.indicators:
            return dict(self.decision.indicators)
        recorded = {} if self.signal is None else self.signal.indicators
        return {name: (value, nan) for name, value in recorded.items()}

    @cached_property
    def indicators(self) -> "pandas.DataFrame":
        """The indicators' values at the decision and before it, indexed by name."""
        import pandas

        values = self.indicator_values
        index = pandas.Index(list(values), dtype="str", name="indicator")
        rows = list(values.values())
        return pandas.DataFrame(rows, index=index, columns=["value", "before"], dtype="float64")

    @cached_property
    def checks(self) -> "pandas.DataFrame":
        """Each filter and risk check that was made, with its numbers."""
        return checks_frame(() if self.signal is None else (self.signal,))

    # -- what became of it -------------------------------------------------------------------

    @cached_property
    def changes(self) -> "pandas.DataFrame":
        """The order after each change, indexed by time: what happened, and on what event."""
        import pandas

        rows = [
            (
                change.order.updated_ns,
                str(change.order.status),
                change.order.filled,
                change.order.quantity,
                change.order.limit_price,
                change.order.stop_price,
                change.order.status_reason,
                cause_of(change.event),
                change.number,
            )
            for change in self.history
        ]
        index = time_index([row[0] for row in rows])
        frame = pandas.DataFrame(
            [row[1:] for row in rows],
            columns=["status", "filled", "quantity", "limit_price", "stop_price", "why", "event", "event_number"],
            index=index,
        )
        numbers = dict.fromkeys(("filled", "quantity", "limit_price", "stop_price"), "float64")
        return frame.astype({"status": "str", "why": "str", "event": "str", "event_number": "int64", **numbers})

    @cached_property
    def fills(self) -> "pandas.DataFrame":
        """The order's fills."""
        return fills_frame(self.fill_records)

    @cached_property
    def related(self) -> "pandas.DataFrame":
        """The other orders of the same signal: the legs of a bracket, the orders of a protection."""
        return orders_frame(self.siblings)

    @cached_property
    def trades(self) -> "pandas.DataFrame":
        """The closed round trips that the order began, added to or ended."""
        return trades_frame(self.trips)

    @cached_property
    def fill_costs(self) -> tuple[FillCost, ...]:
        """Each fill's cost in parts."""
        if self.order is None:
            return ()
        by_id = {moment.fill.fill_id: moment for moment in self.moments}
        decided = self.history[0].market if self.history else None
        return tuple(split_cost(self.order, fill, decided, by_id.get(fill.fill_id)) for fill in self.fill_records)

    @cached_property
    def costs(self) -> "pandas.DataFrame":
        """What each fill cost against the decision price, in the account's money: see :mod:`qfkit.inspection.costs`.

        ``spread`` + ``delay`` + ``size`` + ``fee`` = ``total``; above zero is a cost. Indexed by time.
        """
        import pandas

        names = ["fill_id", "quantity", "decision_price", "best_price", "price", *_PARTS]
        index = time_index([cost.time_ns for cost in self.fill_costs])
        rows = [[getattr(cost, name) for name in names] for cost in self.fill_costs]
        frame = pandas.DataFrame(rows, columns=names, index=index, dtype="float64")
        return frame.astype({"fill_id": "int64"})

    @property
    def cost(self) -> dict[str, float]:
        """The parts of all fills together, in the account's money."""
        return {name: _total(getattr(cost, name) for cost in self.fill_costs) for name in _PARTS}

    @property
    def pnl(self) -> float:
        """What the round trips that it is part of came to, after fees; of an open one so far, at the last price."""
        closed = _total(trade.pnl for trade in self.trips)
        return closed + (0.0 if self.open_position is None else self.open_position.unrealised)

    def __repr__(self) -> str:
        from qfkit.views.story import story_text

        return story_text(self)

    def _repr_html_(self) -> str:
        from qfkit.views.story import story_html

        return story_html(self)


def _total(values: Any) -> float:
    result = 0.0
    for value in values:
        result += value
    return result
