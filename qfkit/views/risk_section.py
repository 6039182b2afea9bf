"""The risk table of the terminal's page: each limit as a bar against its bound, and the stops."""

from rich.text import Text

from qfkit.core.snapshot import LimitView, Snapshot, StopView
from qfkit.views.columns import Column, Section
from qfkit.views.text import UNKNOWN, Marks, clean, time_of_day, utc

__all__ = ["risk_section"]

_BAR_CELLS = 10
_NEAR = 0.8


def risk_section(snapshot: Snapshot, marks: Marks, encoding: str) -> Section:
    """Limits that somebody asked for, those with a stop first, then those nearest to their bound; and stops by hand."""
    stops = {(stop.strategy, stop.limit_name): stop for stop in snapshot.stops}
    limits = [view for view in snapshot.limits if not view.is_default or view.stop]
    limits.sort(key=lambda view: (not view.stop, -_used(view)))
    rows = []
    for view in limits:
        stop = None if view.since_ns is None else stops.pop((view.strategy, view.limit_name), None)
        used = _used(view)
        style = "bold red" if stop else "yellow" if used >= _NEAR else ""
        rows.append(
            [
                Text(view.name),
                Text(clean(view.strategy, encoding), style="dim"),
                Text(view.value_text if view.value == view.value else UNKNOWN, style=style),
                Text(f"of {view.limit_text}"),
                Text(_bar(used, marks), style=style or "green"),
                _stopped(stop, marks) if stop else Text(""),
            ]
        )
    # What is left was put by hand.
    by_hand = [
        [
            Text(stop.why),
            Text(clean(stop.strategy, encoding), style="dim"),
            Text(""),
            Text(""),
            Text(""),
            _stopped(stop, marks),
        ]
        for stop in stops.values()
    ]
    columns = (
        Column("limit", right=False),
        Column("strategy", keep=5, right=False, flexible=True),
        Column("now", keep=9),
        Column("bound", keep=8, right=False),
        Column("used", keep=4, right=False),
        Column("stop", keep=7, right=False, flexible=True),
    )
    return Section("RISK", columns, [*by_hand, *rows], "no limit was set", least=1, most=12, weight=2)


def _used(view: LimitView) -> float:
    used = view.value / view.limit
    return 0.0 if used != used else used


def _bar(used: float, marks: Marks) -> str:
    full = round(min(1.0, used) * _BAR_CELLS)
    return marks.blocks[-1] * full + marks.flat * (_BAR_CELLS - full)


def _stopped(stop: StopView, marks: Marks) -> Text:
    lifted = "by hand" if stop.lifts_ns is None else f"at {utc(stop.lifts_ns)}"
    return Text(f"{marks.bad} {stop.kind} since {time_of_day(stop.since_ns)}, lifted {lifted}", style="bold red")
