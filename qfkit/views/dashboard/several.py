"""Several sessions together: a row each, that opens into the session's own dashboard."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import ipywidgets

from qfkit.core.chart_feed import Point
from qfkit.core.snapshot import Snapshot
from qfkit.errors import ParameterError
from qfkit.views.dashboard.controls import OVER, Controls, Steered
from qfkit.views.dashboard.fallback import group_bundle
from qfkit.views.dashboard.header import light
from qfkit.views.dashboard.live import LiveView, open_dashboard
from qfkit.views.dashboard.scene import moved, said
from qfkit.views.dashboard.sheets import log_lines
from qfkit.views.dashboard.theme import CLASS, style
from qfkit.views.dashboard.widgets import Outer, close_all
from qfkit.views.terminal import plain_line
from qfkit.views.text import money, percent, signed_money, signed_percent

__all__ = ["Group", "dashboard"]

_SPARK_POINTS = 120


def dashboard(*sessions: Steered | Sequence[Steered]) -> "Group":
    """Several sessions in one dashboard, a row each with its state, equity and buttons; ``open`` shows the whole of it.

    ``qf.dashboard(first, second)``; shown again for the same sessions it is the same, for others of the same names
    it takes the former's place. Raises :class:`ParameterError` for what is no session.
    """
    given = sessions[0] if len(sessions) == 1 and isinstance(sessions[0], list | tuple) else sessions
    wrong = [one for one in given if not hasattr(one, "chart_view")]
    if wrong or not given:
        what = f"a {type(wrong[0]).__name__} is none" if wrong else "there are none"
        hint = "; what was read shows itself by .timeline()" if wrong and hasattr(wrong[0], "timeline") else ""
        raise ParameterError(f"qf.dashboard takes sessions, as in qf.dashboard(first, second): {what}{hint}")
    return _group(tuple(dict.fromkeys(cast("Sequence[Steered]", given))))


def _group(sessions: tuple[Steered, ...]) -> "Group":
    names = [one.name for one in sessions]
    for view in list(LiveView.open_views):
        if isinstance(view, Group) and [one.name for one in view.sessions] == names:
            if all(old is new for old, new in zip(view.sessions, sessions, strict=True)):
                return view
            view.close()
    made = Group(sessions)
    made.begin()
    return made


class _Row:
    """One session: a line, its buttons, and its dashboard once it was opened."""

    def __init__(self, session: Steered, tell: Callable[[str], None], lock: threading.RLock) -> None:
        self.session = session
        self._lock = lock
        self.line = ipywidgets.HTML()
        self.controls = Controls(session, lambda text: tell(f"{session.name}: {text}"), lock, is_small=True)
        self.open = ipywidgets.ToggleButton(value=False, description="Open", tooltip=f"the dashboard of {session.name}")
        self.open.observe(self._on_open, names="value")
        bar = ipywidgets.HBox([self.line, self.controls.box, self.open])
        bar.add_class("q-group")
        self.box = ipywidgets.VBox([bar])
        self.box.add_class("q-card")

    def _on_open(self, change: Any) -> None:
        inside = [open_dashboard(self.session, "full").widget] if change["new"] else []
        with self._lock:
            self.open.description = "Close" if inside else "Open"
            self.box.children = [self.box.children[0], *inside]

    def draw(self, snapshot: Snapshot, equity: tuple[Point, ...]) -> None:
        html = (
            f'<div class="q-line"><b>{said(snapshot.name)}</b>{light(snapshot.state)}{_spark(snapshot, equity)}'
            f'<span class="q-cell"><b>{money(snapshot.equity)}</b></span>'
            f'<span class="q-cell">{moved(snapshot.pnl, f"{signed_money(snapshot.pnl)} ({signed_percent(snapshot.return_)})")}</span>'
            f'<span class="q-cell q-quiet">drawdown {percent(snapshot.drawdown)}</span>'
            f'<span class="q-cell q-quiet">{snapshot.trades_count:,} trades</span></div>'
        )
        if self.line.value != html:
            self.line.value = html
        self.controls.draw(snapshot.state)


def _spark(snapshot: Snapshot, equity: tuple[Point, ...]) -> str:
    values = [value for _, value in equity][:: max(1, len(equity) // _SPARK_POINTS)]
    values.append(snapshot.equity)
    low, high = min([*values, snapshot.starting_cash]), max([*values, snapshot.starting_cash])
    room = (high - low) or 1.0
    across = 160.0 / max(1, len(values) - 1)
    points = " ".join(
        f"{place * across:.1f},{32 - (value - low) / room * 30:.1f}" for place, value in enumerate(values)
    )
    base = 32 - (snapshot.starting_cash - low) / room * 30
    return (
        '<svg viewBox="0 0 160 34" role="img" aria-label="equity">'
        f'<path d="M0 {base:.1f}H160" stroke="var(--q-quiet)" stroke-dasharray="3 3" stroke-width=".7" fill="none"/>'
        f'<polyline points="{points}" fill="none" stroke="var(--q-buy)" stroke-width="1.5"/></svg>'
    )


class Group(LiveView):
    """The rows of several sessions. Made by :func:`dashboard`."""

    def __init__(self, sessions: tuple[Steered, ...]) -> None:
        super().__init__()
        self.sessions = sessions
        self._lock = threading.RLock()
        self.rows = [_Row(session, self.tell, self._lock) for session in sessions]
        self._style = ipywidgets.HTML(style(self.token))
        self.log = ipywidgets.HTML()
        words = "live dashboards, which need a running kernel; below is what they showed last"
        self._box = Outer([self._style, *(row.box for row in self.rows), self.log], words)
        self._box.add_class(CLASS)

    @property
    def widget(self) -> Any:
        return self._box

    @property
    def is_over(self) -> bool:
        return all(session.state in OVER for session in self.sessions)

    def _draw_now(self) -> bool:
        if self.is_closed:
            return True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            for row in self.rows:
                row.draw(row.session.snapshot, row.session.chart_view(bars=0).equity)
            html = log_lines([(time_ns, text, "q-bad") for time_ns, text in self.own])
            if self.log.value != html:
                self.log.value = html
            self.drawings += 1
        finally:
            self._lock.release()
        return True

    def _close_widgets(self) -> None:
        with self._lock:
            # The dashboards inside are not of the rows alone.
            close_all(self._box, keep=[inside for row in self.rows for inside in row.box.children[1:]])

    def _bundle(self) -> Callable[[], dict[str, Any]]:
        snapshots = [session.snapshot for session in self.sessions]
        return lambda: group_bundle(snapshots, self.token)

    def __repr__(self) -> str:
        return "\n".join(plain_line(session.snapshot) for session in self.sessions)
