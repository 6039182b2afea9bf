"""What hangs on an equity point beyond the point itself; an engine of which nothing hangs never comes here."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["work_on_mark"]


def work_on_mark(engine: "Engine", row: tuple[float, ...], next_ns: int) -> None:
    """What hangs on equity points: nights, the end of an account, figures, limits, and shares of capital."""
    if next_ns >= engine.accounts.next_night_ns:
        engine.accounts.charge(next_ns)
    if row[1] <= 0.0:
        engine.accounts.end_all()
    if engine.has_running_metrics:
        engine.scorecard.note_point(row)
    mark_ns = int(row[0])
    for watch in engine.marked_watches:
        watch.mark(mark_ns, next_ns)
    if engine.allocator is not None or engine.joiners:
        moved = {} if engine.allocator is None else engine.allocator.look(mark_ns)
        if engine.joiners:
            engine.steering.joining.fund(mark_ns, moved)
        if moved:
            engine.scorecard.note_transfers(row, moved)
