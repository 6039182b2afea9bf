"""Where a session's risk limits stand, as a frame."""

from typing import TYPE_CHECKING, Any

from qfkit.core.snapshot import Snapshot, StopView
from qfkit.core.wording import utc_time

if TYPE_CHECKING:
    import pandas

__all__ = ["limits_frame"]


def limits_frame(snapshot: Snapshot) -> "pandas.DataFrame":
    """Each limit's value, bound, stop and what lifts that, indexed by strategy and limit."""
    import pandas

    lifts = {(stop.strategy, stop.limit_name): stop for stop in snapshot.stops}
    rows: list[tuple[Any, ...]] = []
    for view in snapshot.limits:
        stop = None if view.since_ns is None else lifts.pop((view.strategy, view.limit_name), None)
        rows.append(
            (
                view.strategy,
                view.name,
                view.value,
                view.limit,
                view.stop,
                view.since_ns,
                _lifted_by(stop) if stop else "",
            )
        )
    nan = float("nan")
    rows += [(stop.strategy, stop.why, nan, nan, stop.kind, stop.since_ns, _lifted_by(stop)) for stop in lifts.values()]
    columns = ["strategy", "limit_name", "value", "limit", "stop", "since", "lifted"]
    frame = pandas.DataFrame(rows, columns=columns).set_index(["strategy", "limit_name"])
    # Each by itself: as a column of floats they would lose nanoseconds.
    since = [pandas.NaT if row[5] is None else pandas.Timestamp(row[5], tz="UTC") for row in rows]
    frame["since"] = pandas.DatetimeIndex(since, tz="UTC").as_unit("ns")
    return frame


def _lifted_by(stop: StopView) -> str:
    return "by hand: session.lift()" if stop.lifts_ns is None else f"{utc_time(stop.lifts_ns)} UTC"
