"""How a signal is kept: a strategy's wish, what was decided on it, and the numbers of the decision."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from qfkit.core.orders import Check, Signal

if TYPE_CHECKING:
    from qfkit.core.desk import Desk

__all__ = ["new_signal_id", "note_signal"]


def new_signal_id(desk: "Desk") -> int:
    """The id of the signal that is decided on now."""
    desk.engine.signals_count += 1
    return desk.engine.signals_count


def note_signal(
    desk: "Desk",
    signal_id: int,
    symbol: str,
    action: str,
    wanted: float,
    decision: str,
    decision_reason: str,
    order_id: int | None,
    reason: str,
    checks: Iterable[Check] = (),
    sizing: dict[str, Any] | None = None,
) -> None:
    """Keep a signal as of now, with the present values of the strategy's indicators."""
    desk.engine.records.signals.append(
        Signal(
            signal_id,
            desk.clock_ns,
            symbol,
            action,
            wanted,
            decision,
            decision_reason,
            order_id,
            desk.name,
            reason,
            tuple(checks),
            desk.indicator_values(symbol),
            {} if sizing is None else sizing,
        )
    )
