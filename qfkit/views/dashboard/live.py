"""A dashboard that follows a session, and the registry that keeps one of each kind."""

import threading
import time
from collections import deque
from typing import Any

from qfkit.live.runner import run, runner
from qfkit.views.dashboard.board import Board, Kind
from qfkit.views.dashboard.controls import Steered
from qfkit.views.dashboard.pump import pump
from qfkit.views.terminal import plain_line

__all__ = ["Dashboard", "in_notebook", "open_dashboards", "show"]

_OVER = ("stopped", "failed", "interrupted")
_OWN_LINES = 20

_open: dict[str, list["Dashboard"]] = {}
_open_lock = threading.Lock()


class Dashboard:
    """One session's dashboard: the same widgets in every cell that shows it. Made by ``session.dashboard()``.

    Made anew for another session of the same name, it closes those of the former.
    """

    def __init__(self, session: Steered, kind: Kind = "full", symbol: str | None = None) -> None:
        self.session = session
        self.kind = kind
        self.symbol = symbol
        self.own: deque[tuple[int, str]] = deque(maxlen=_OWN_LINES)
        self.drawings = 0
        self._is_closed = False
        self._drawn: tuple[object, ...] = ()
        self.board = Board(kind, session, symbol=symbol, tell=self.tell, wish=self.refresh)
        self._draw_first()
        pump.add(self)

    @property
    def widget(self) -> Any:
        """The outermost widget, to be put among others."""
        return self.board.box

    def _draw_first(self) -> None:
        """On the runner, where the session cannot change meanwhile."""

        async def draw() -> None:
            self._draw_now()

        if runner.is_this_thread:
            self._draw_now()
        else:
            run(draw())

    def tell(self, text: str) -> None:
        """Put a line into the dashboard's log."""
        self.own.append((time.time_ns(), text))
        self.refresh()

    def refresh(self) -> None:
        """Draw soon, also where the session is over and the pump has ended."""
        runner.call(self._draw_now)

    def draw(self) -> bool:
        """One turn of the pump."""
        if self._is_closed:
            return False
        self._draw_now()
        return self.session.state not in _OVER

    def _draw_now(self) -> None:
        # A callback that writes at this moment is done in no time; this frame is left out and not waited for.
        if self._is_closed or not self.board.lock.acquire(blocking=False):
            return
        try:
            snapshot, board = self.session.snapshot, self.board
            wished = (
                snapshot,
                len(self.own),
                self.own[-1] if self.own else None,
                board.symbol,
                board.timeframe,
                board.window,
            )
            if wished == self._drawn and wished[0] is self._drawn[0]:
                return
            board.show(snapshot, self.session.chart_view(board.symbol, board.timeframe, board.window), tuple(self.own))
            self._drawn = wished
            self.drawings += 1
        finally:
            self.board.lock.release()

    def close(self) -> None:
        """Close the widgets with their callbacks; cells that show it go empty."""
        self._is_closed = True
        pump.remove(self)
        self.board.close()
        with _open_lock:
            mine = _open.get(self.session.name, [])
            if self in mine:
                mine.remove(self)

    def __repr__(self) -> str:
        return plain_line(self.session.snapshot)

    def _ipython_display_(self) -> None:
        show(self)


def open_dashboards(session: Steered, kind: Kind, symbol: str | None = None) -> Dashboard:
    """The session's dashboard of this kind, made at need; those of a former session of its name are closed."""
    with _open_lock:
        known = list(_open.get(session.name, []))
    for one in known:
        if one.session is not session:
            one.close()
        elif (one.kind, one.symbol) == (kind, symbol):
            return one
    made = Dashboard(session, kind, symbol)
    with _open_lock:
        _open.setdefault(session.name, []).append(made)
    return made


def in_notebook() -> bool:
    """Whether an IPython kernel shows what a cell returns."""
    import sys

    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def show(dashboard: Dashboard) -> None:
    """Display the widgets, and under them what is seen where no kernel answers."""
    if not in_notebook():
        # IPython goes on with the plain text.
        raise NotImplementedError
    from IPython.display import display

    display(dashboard.widget)  # type: ignore[no-untyped-call]
