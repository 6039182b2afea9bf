"""Trading by hand in a running session: each order is an event in its journal, as all else."""

import concurrent.futures
import logging
from collections.abc import Callable
from operator import index
from typing import Any, Literal, Self

from qfkit.core.desk import Desk
from qfkit.core.events import ByHand, CancelOrder, ManualOrder, ModifyOrder, Protect
from qfkit.core.manual import Answer, check
from qfkit.core.orders import TimeInForce
from qfkit.errors import OrderError, SessionError
from qfkit.live.pipeline import Pipeline
from qfkit.live.runner import run

__all__ = ["ManualTrading"]

_logger = logging.getLogger("qfkit.session")


class ManualTrading:
    """The part of a :class:`~qfkit.Session` that takes a person's own orders.

    Risk limits and margin hold for them as for the strategy's own; filters of its signals do not, and a paused,
    stopped or failed strategy's book can be traded all the same. With several strategies ``strategy`` says
    whose book it is. What makes no sense raises :class:`OrderError` and leaves no trace; what a limit refuses
    raises it too, with the numbers, and stands in ``session.signals``; what a limit made smaller is a warning.
    """

    name: str
    _pipeline: Pipeline
    _future: "concurrent.futures.Future[None] | None"

    @property
    def state(self) -> str:
        """created, running, paused, stopped, failed or interrupted."""
        raise NotImplementedError

    def buy(
        self,
        symbol: str,
        *,
        quantity: float | None = None,
        notional: float | None = None,
        weight: float | None = None,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail: float | None = None,
        trail_fraction: float | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        time_in_force: TimeInForce | str = TimeInForce.GTC,
        expires_ns: int | None = None,
        strategy: str | None = None,
        reason: str = "by hand",
    ) -> int:
        """Buy now, with the arguments of ``Strategy.buy``; returns the order's id.

        ``session.buy("BTCUSDT", notional=1000)`` is a market order, which fills at the next trade or quote, on bars
        at the next open. Here ``stop_loss`` and ``take_profit`` are prices, those of :meth:`protect` fractions.
        """
        return self._place("buy", **_without_self(locals()))

    def sell(
        self,
        symbol: str,
        *,
        quantity: float | None = None,
        notional: float | None = None,
        weight: float | None = None,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail: float | None = None,
        trail_fraction: float | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        time_in_force: TimeInForce | str = TimeInForce.GTC,
        expires_ns: int | None = None,
        strategy: str | None = None,
        reason: str = "by hand",
    ) -> int:
        """Sell now, also short; as :meth:`buy`. To leave a position whole take :meth:`close`."""
        return self._place("sell", **_without_self(locals()))

    def close(self, symbol: str, strategy: str | None = None, *, reason: str = "by hand") -> int | None:
        """Cancel the strategy's orders in a symbol and close its position at the market; returns the order's id,
        None where there were only orders to cancel."""
        answer = self._by_hand(
            strategy,
            lambda now_ns, name: ManualOrder(
                received_ns=now_ns, strategy=name, action="close", symbol=symbol, reason=reason
            ),
        )
        return answer.order_ids[0] if answer.order_ids else None

    def cancel(self, order_id: int, *, reason: str = "cancelled by hand") -> Self:
        """Cancel an open order, whichever strategy's it is."""
        number = _order_number(order_id)
        self._by_hand(
            self._owner(number),
            lambda now_ns, name: CancelOrder(received_ns=now_ns, strategy=name, order_id=number, reason=reason),
        )
        return self

    def modify(
        self,
        order_id: int,
        *,
        quantity: float | None = None,
        limit_price: float | None = None,
        stop_price: float | None = None,
    ) -> Self:
        """Change an open order's quantity or prices; it works again after the latency."""
        number = _order_number(order_id)
        values = _numbers({"quantity": quantity, "limit_price": limit_price, "stop_price": stop_price})
        self._by_hand(
            self._owner(number),
            lambda now_ns, name: ModifyOrder(received_ns=now_ns, strategy=name, order_id=number, **values),
        )
        return self

    def protect(
        self,
        symbol: str,
        *,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        trailing: float | None = None,
        strategy: str | None = None,
        reason: str = "by hand",
    ) -> list[int]:
        """Put protective orders on a position: ``session.protect("BTCUSDT", stop_loss=0.02, trailing=0.03)``.

        ``stop_loss`` and ``take_profit`` are fractions of the position's average price, ``trailing`` one of the best
        price from now on. Whichever comes first closes the position; they follow its size, only ever reduce it, end
        with it, and replace those of an earlier call. Right after :meth:`buy` it waits for the fill. Returns the
        orders' ids, none where it waits. The rules stand in :mod:`qfkit.core.protection`.
        """
        values = _numbers({"stop_loss": stop_loss, "take_profit": take_profit, "trailing": trailing})
        answer = self._by_hand(
            strategy,
            lambda now_ns, name: Protect(received_ns=now_ns, strategy=name, symbol=symbol, reason=reason, **values),
        )
        return list(answer.order_ids)

    # -- the way of an order -----------------------------------------------------------------

    def _place(
        self,
        action: Literal["buy", "sell"],
        *,
        symbol: str,
        time_in_force: TimeInForce | str,
        expires_ns: int | None,
        strategy: str | None,
        reason: str,
        **numbers: float | None,
    ) -> int:
        try:
            in_force = TimeInForce(time_in_force)
        except ValueError:
            known = ", ".join(TimeInForce)
            raise OrderError(f"{action} {symbol}: time_in_force={time_in_force!r} is none of {known}") from None
        values = _numbers(numbers)
        answer = self._by_hand(
            strategy,
            lambda now_ns, name: ManualOrder(
                received_ns=now_ns,
                strategy=name,
                action=action,
                symbol=symbol,
                time_in_force=in_force,
                expires_ns=None if expires_ns is None else index(expires_ns),
                reason=reason,
                **values,
            ),
        )
        return answer.order_ids[0]

    def _by_hand(self, strategy: str | None, make: Callable[[int, str], ByHand]) -> Answer:
        """Check an order, make it an event and have the engine apply it, all between two batches of the feed."""
        if self._future is None or self._future.done():
            raise SessionError(f"the session {self.name!r} is {self.state}: only a running one can be traded")
        if self._pipeline.is_watch_list:
            raise SessionError(f"{self.name!r} is a watch list: it has no book to trade in; use qf.paper(...)")
        name = self._book_of(strategy)

        async def apply() -> Answer:
            pipeline = self._pipeline
            if pipeline.writer is None:
                raise SessionError(f"the session {self.name!r} has ended")
            desk: Desk = pipeline.engine.desks[name]
            event = make(self._now_ns(), name)
            check(desk, event)
            pipeline.command(event)
            answer = pipeline.engine.steering.answer
            if text := _made_smaller(answer):
                pipeline.say(event.received_ns, "warning", text)
                pipeline.show()
            return answer

        answer = run(apply())
        if answer.refusal:
            raise OrderError(f"nothing was sent: {answer.refusal}")
        if text := _made_smaller(answer):
            _logger.warning("%s: %s", self.name, text)
        return answer

    def _book_of(self, strategy: str | None) -> str:
        desks = self._pipeline.engine.desks
        if strategy is None and len(desks) > 1:
            raise SessionError(f"say whose book is traded: strategy= one of {', '.join(desks)}")
        return self._strategy(strategy) or next(iter(desks))

    def _owner(self, order_id: int) -> str:
        """The strategy that an open order is of."""
        engine = self._pipeline.engine

        async def find() -> str:
            working = engine.broker.open.get(order_id)
            if working is None:
                known = ", ".join(str(number) for number in engine.broker.open)
                raise OrderError(f"order {order_id} is not open; open are: {known or 'none'}")
            return working.order.strategy

        return run(find())

    def _strategy(self, name: str | None) -> str | None:
        raise NotImplementedError

    def _now_ns(self) -> int:
        raise NotImplementedError


def _without_self(arguments: dict[str, Any]) -> dict[str, Any]:
    del arguments["self"]
    return arguments


def _numbers(values: dict[str, float | None]) -> dict[str, float | None]:
    """As floats of Python's, which a journal gives back as they were."""
    numbers: dict[str, float | None] = {}
    for name, value in values.items():
        try:
            numbers[name] = None if value is None else float(value)
        except (TypeError, ValueError):
            raise OrderError(f"{name}={value!r} is no number") from None
    return numbers


def _order_number(order_id: object) -> int:
    try:
        return index(order_id)  # type: ignore[arg-type]
    except TypeError:
        raise OrderError(f"order_id={order_id!r}: give the id of an order, as session.buy(...) returns it") from None


def _made_smaller(answer: Answer) -> str:
    """What a limit cut off an order, in words; a mere rounding to the symbol's step is none."""
    signal = answer.signal
    if signal is None or signal.decision != "resized" or all(check.passed for check in signal.checks):
        return ""
    return f"order {signal.order_id} is for less than asked for ({abs(signal.wanted):.10g}): {signal.decision_reason}"
