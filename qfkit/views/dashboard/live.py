"""Dashboards that follow sessions, and the registry that keeps one of each kind."""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar
from uuid import uuid4

from qfkit.ipython import is_kernel
from qfkit.live.runner import run, runner
from qfkit.views.dashboard.board import Board, Kind
from qfkit.views.dashboard.controls import OVER, Steered
from qfkit.views.dashboard.fallback import bundle
from qfkit.views.dashboard.pump import pump
from qfkit.views.terminal import plain_line

__all__ = ["Dashboard", "LiveView", "open_dashboard"]

_OWN_LINES = 20
_PICTURE_S = 60.0

_logger = logging.getLogger("qfkit.dashboard")


class LiveView(ABC):
    """Something live in a notebook: its widgets, their turn at the pump, and the output that stands in for them.

    The same widgets are shown by every cell that has it. ``open_views`` are all that are not closed.
    """

    open_views: ClassVar[list["LiveView"]] = []

    def __init__(self) -> None:
        self.token = uuid4().hex[:12]
        self.own: deque[tuple[int, str]] = deque(maxlen=_OWN_LINES)
        self.drawings = 0
        self.is_closed = False
        self._is_shown = False
        self._pictured_s = 0.0

    @property
    @abstractmethod
    def widget(self) -> Any:
        """The outermost widget, to be put among others."""

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether nothing new will come."""

    @abstractmethod
    def _draw_now(self) -> bool:
        """Draw what is new; on the runner. False where it was left out, for a callback was writing."""

    @abstractmethod
    def _close_widgets(self) -> None: ...

    @abstractmethod
    def _bundle(self) -> Callable[[], dict[str, Any]]:
        """Make ready, on the runner, to build the output without widgets, which takes a while."""

    def begin(self) -> None:
        """Draw for the first time, where the session cannot change meanwhile, and from now on."""

        async def draw() -> None:
            self._draw_now()

        if runner.is_this_thread:
            self._draw_now()
        else:
            run(draw())
        self.open_views.append(self)
        pump.add(self)

    def tell(self, text: str) -> None:
        """Put a line into the log of the dashboard."""
        self.own.append((time.time_ns(), text))
        self.refresh()

    def refresh(self) -> None:
        """Draw soon, also where the session is over and the pump has ended."""
        runner.call(self._draw_or_wait)

    def _draw_or_wait(self) -> None:
        if not self._draw_now():
            pump.add(self)

    def draw(self) -> bool:
        """One turn of the pump."""
        if self.is_closed:
            return False
        # Asked first: what comes between the last drawing and the end is drawn in a turn more.
        is_over = self.is_over
        is_last = self._draw_now() and is_over
        if self._is_shown and (is_last or time.monotonic() - self._pictured_s > _PICTURE_S):
            self._picture_again()
        return not is_last

    def close(self) -> None:
        """Close the widgets with their callbacks; cells that show it go empty."""
        if self._is_shown and not self.is_closed:
            # The picture takes the widgets' place in the cells that showed them.
            self._picture_again()
        self.is_closed = True
        pump.remove(self)
        self._close_widgets()
        if self in self.open_views:
            self.open_views.remove(self)

    # -- in a cell ---------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        if not is_kernel():
            # IPython goes on with the plain text.
            raise NotImplementedError
        from IPython.display import display

        make = self._ready_bundle()
        display(self.widget)  # type: ignore[no-untyped-call]
        display(make(), raw=True, display_id=self.token)  # type: ignore[no-untyped-call]
        self._is_shown = True
        self._pictured_s = time.monotonic()
        if not self.is_over:
            pump.add(self)

    def _ready_bundle(self) -> Callable[[], dict[str, Any]]:
        async def ready() -> Callable[[], dict[str, Any]]:
            return self._bundle()

        return self._bundle() if runner.is_this_thread else run(ready())

    def _picture_again(self) -> None:
        self._pictured_s = time.monotonic()
        make = self._ready_bundle()
        # Beside the runner, for a picture takes longer than an event may wait.
        threading.Thread(target=self._publish, args=(make,), name="qfkit-picture", daemon=True).start()

    def _publish(self, make: Callable[[], dict[str, Any]]) -> None:
        from IPython.display import display

        try:
            display(make(), raw=True, display_id=self.token, update=True)  # type: ignore[no-untyped-call]
        except Exception:
            _logger.exception("the picture for a page without a kernel could not be made")


class Dashboard(LiveView):
    """One session's dashboard. Made by ``session.dashboard()`` and its like.

    ``drawings`` counts those that had something new.
    """

    def __init__(self, session: Steered, kind: Kind = "full", symbol: str | None = None) -> None:
        super().__init__()
        self.session = session
        self.kind = kind
        self.symbol = symbol
        self._drawn: tuple[Any, ...] = (None,)
        self.board = Board(kind, session, symbol=symbol, tell=self.tell, wish=self.refresh, token=self.token)

    @property
    def widget(self) -> Any:
        return self.board.box

    @property
    def is_over(self) -> bool:
        return self.session.state in OVER

    def _draw_now(self) -> bool:
        if self.is_closed:
            return True
        # A callback that writes at this moment is done in no time; this frame is left out and not waited for.
        if not self.board.lock.acquire(blocking=False):
            return False
        try:
            snapshot, board = self.session.snapshot, self.board
            wish = (tuple(self.own), board.symbol, board.timeframe, board.window)
            if snapshot is self._drawn[0] and wish == self._drawn[1]:
                return True
            board.show(snapshot, self.session.chart_view(board.symbol, board.timeframe, board.window), wish[0])
            self._drawn = (snapshot, wish)
            self.drawings += 1
        finally:
            self.board.lock.release()
        return True

    def _close_widgets(self) -> None:
        self.board.close()

    def _bundle(self) -> Callable[[], dict[str, Any]]:
        board, snapshot = self.board, self.session.snapshot
        chart = self.session.chart_view(board.symbol, board.timeframe, board.window)
        return lambda: bundle(self.kind, snapshot, chart, self.token)

    def __repr__(self) -> str:
        return plain_line(self.session.snapshot)


def open_dashboard(session: Steered, kind: Kind, symbol: str | None = None) -> Dashboard:
    """The session's dashboard of this kind, made at need; those of a former session of its name are closed."""
    for view in list(LiveView.open_views):
        if not isinstance(view, Dashboard) or view.session.name != session.name:
            continue
        if view.session is not session:
            view.close()
        elif (view.kind, view.symbol) == (kind, symbol):
            return view
    made = Dashboard(session, kind, symbol)
    made.begin()
    return made
