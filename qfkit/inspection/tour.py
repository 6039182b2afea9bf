"""A run's snapshots from its begin to its end, taken in one replay: so many, and rather where something happened."""

from collections.abc import Callable
from math import ceil

import msgspec

from qfkit.core.chart_feed import ChartFeed, ChartView
from qfkit.core.engine import Engine
from qfkit.core.events import Event
from qfkit.core.orders import Fill, Signal
from qfkit.core.snapshot import Snapshot
from qfkit.errors import ParameterError
from qfkit.inspection.machine import OnProgress, TimeMachine, progress_shown
from qfkit.inspection.moments import tapped

__all__ = ["Stop", "tour"]

# So large a part of the stops is spread evenly, however much happened.
_EVEN = 0.25


class Stop(msgspec.Struct, frozen=True):
    """A moment of a tour: how it stood after an event, what a chart had to draw then, and what happened on that event
    ("" for nothing of note)."""

    snapshot: Snapshot
    chart: ChartView
    what: str = ""


class _Notes:
    """What happened on the event at hand."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def fill(self, fill: Fill) -> None:
        self.texts.append(f"{fill.side} {_plain(fill.quantity)} {fill.symbol} at {fill.price:.6g}")

    def signal(self, signal: Signal) -> None:
        if signal.decision == "rejected":
            self.texts.append(f"refused: {signal.action} {signal.symbol}: {signal.decision_reason}")


def _plain(quantity: float) -> str:
    """Without an exponent: some ten-thousandths of a coin are an order, too."""
    return f"{quantity:.8f}".rstrip("0").rstrip(".")


def tour(
    machine: TimeMachine,
    most: int,
    marks: int,
    dress: Callable[[Engine], Snapshot],
    symbol: str | None = None,
    on_progress: OnProgress | None = None,
) -> list[Stop]:
    """At most ``most`` stops, in order: those at fills and refusals, of which there are up to ``marks``, as far as
    they fit, and the others evenly spread over the events; the first event and the last are always among them.

    ``dress`` makes an engine's snapshot what the session showed; ``symbol`` is that of the charts."""
    if isinstance(most, bool) or not isinstance(most, int) or most < 2:
        raise ParameterError(f"most={most!r}: a whole number of moments, 2 or more")
    total = machine.source.count()
    machine.rewind()
    if total == 0:
        return [Stop(dress(machine.engine), ChartView())]
    even = max(2, most - marks, ceil(most * _EVEN))
    even = min(even, most)
    wanted = sorted({1 + round(place * (total - 1) / (even - 1)) for place in range(even)}, reverse=True)
    # Of more marks than fit, so many evenly from first to last.
    room = min(marks, most - even)
    stops: list[Stop] = []
    notes, seen = _Notes(), 0
    points: dict[int, tuple[int, float]] = {}
    engine = machine.engine
    charts = ChartFeed(engine)

    def take() -> None:
        """Of the event that has just been played."""
        nonlocal seen
        is_due = bool(wanted) and engine.events >= wanted[-1]
        is_mark = False
        if notes.texts:
            is_mark = (seen + 1) * room // marks > seen * room // marks
            seen += 1
        if is_due or is_mark:
            while wanted and engine.events >= wanted[-1]:
                wanted.pop()
            charts.take(engine.records)
            engine.records.clear()
            stops.append(Stop(_shared(dress(engine), points), charts.view(symbol), "; ".join(notes.texts)))
        notes.texts.clear()

    def before(event: Event) -> bool:
        take()
        # A running session goes on meanwhile.
        return engine.events >= total

    with (
        tapped(engine.records, fills=notes.fill, signals=notes.signal),
        progress_shown("going through it", total, on_progress) as told,
    ):
        machine.watch(before, told, charts.take)
        if not stops or stops[-1].snapshot.events < engine.events:
            take()
    return stops


def _shared(snapshot: Snapshot, points: dict[int, tuple[int, float]]) -> Snapshot:
    """The same with the curve's points in common with the snapshots before."""
    curve = tuple(
        point if points.setdefault(point[0], point) != point else points[point[0]] for point in snapshot.equity_curve
    )
    return msgspec.structs.replace(snapshot, equity_curve=curve)
