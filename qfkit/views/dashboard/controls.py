"""The buttons that steer a session. What a command raises goes to the dashboard's log, never away."""

import threading
from collections.abc import Callable
from typing import Any, Protocol

import ipywidgets

from qfkit.core.chart_feed import ChartView
from qfkit.core.snapshot import Snapshot

__all__ = ["OVER", "Controls", "Steered"]

OVER = ("stopped", "failed", "interrupted")
"""States of a session in which nothing new comes."""


class Steered(Protocol):
    """What a dashboard needs of a session."""

    name: str

    @property
    def state(self) -> str: ...
    @property
    def snapshot(self) -> Snapshot: ...
    def chart_view(self, symbol: str | None = None, timeframe: str | None = None, bars: int = 120) -> ChartView: ...
    def start(self) -> Any: ...
    def pause(self, strategy: str | None = None) -> Any: ...
    def resume(self, strategy: str | None = None) -> Any: ...
    def flatten(self, strategy: str | None = None) -> Any: ...
    def stop(self, strategy: str | None = None) -> Any: ...
    def set(self, strategy: str | None = None, **parameters: Any) -> Any: ...


class Controls:
    """Start, pause, resume, flatten (asks first) and stop; ``box`` is the widget.

    ``tell`` takes a line for the log. A click never waits for a stop: that goes on beside, for it can take long.
    """

    def __init__(
        self, session: Steered, tell: Callable[[str], None], lock: threading.RLock, *, is_small: bool = False
    ) -> None:
        self._session = session
        self._lock = lock
        self._tell = tell
        self._is_stopping = False
        self.start = _button("Start", "play", "Start the session", "q-go")
        self.pause = _button("Pause", "pause", "No new orders; indicators and working orders go on")
        self.resume = _button("Resume", "play", "Let strategies order again")
        self.flatten = _button("Flatten", "compress", "Cancel all orders and close all positions; asks first")
        self.stop = _button("Stop", "stop", "End the session; positions stay as they are", "q-stop")
        self.confirm = _button(
            "Close all", "check", "Cancel all orders and close all positions at the market", "q-stop"
        )
        self.keep = _button("Keep", "times", "Leave everything as it is")
        self._question = ipywidgets.HTML("Cancel all orders and close all positions at the market?")
        self.ask = ipywidgets.HBox([self._question, self.confirm, self.keep])
        self.ask.add_class("q-ask")
        self.ask.add_class("q-row")
        self.ask.layout.display = "none"
        self.buttons = (self.start, self.pause, self.resume, self.flatten, self.stop)
        if is_small:
            for button in self.buttons:
                button.description = ""
        # The question before Stop: who flattens by keyboard comes to it next.
        self.box = ipywidgets.HBox([*self.buttons[:-1], self.ask, self.stop])
        self.box.add_class("q-row")
        self.box.add_class("q-controls")
        self.start.on_click(lambda _: self._do("start", session.start))
        self.pause.on_click(lambda _: self._do("pause", session.pause))
        self.resume.on_click(lambda _: self._do("resume", session.resume))
        self.flatten.on_click(lambda _: self._show_question(True))
        self.keep.on_click(lambda _: self._show_question(False))
        self.confirm.on_click(lambda _: self._flatten())
        self.stop.on_click(lambda _: self._stop())

    def _do(self, name: str, command: Callable[[], object]) -> None:
        try:
            command()
        except Exception as error:  # noqa: BLE001 - whatever it is, the person who pressed the button has to see it
            self._tell(f"{name}: {error}")

    def _show_question(self, shown: bool) -> None:
        with self._lock:
            self.ask.layout.display = None if shown else "none"

    def _flatten(self) -> None:
        self._show_question(False)
        self._do("flatten", self._session.flatten)

    def _stop(self) -> None:
        with self._lock:
            self._is_stopping = self.stop.disabled = True
        work = threading.Thread(target=self._do, args=("stop", self._end), name="qfkit-stop", daemon=True)
        work.start()

    def _end(self) -> None:
        try:
            self._session.stop()
        finally:
            self._is_stopping = False

    def draw(self, state: str) -> None:
        """Enable what can be done in this state."""
        running, paused = state == "running", state == "paused"
        # A watch list has no orders to stop and nothing to close.
        trades = not self._session.snapshot.is_watch_list
        _set(self.start, disabled=state != "created", is_shown=state == "created")
        _set(self.pause, disabled=not running, is_shown=trades and not paused)
        _set(self.resume, disabled=not paused, is_shown=trades and paused)
        _set(self.flatten, disabled=not (running or paused), is_shown=trades)
        _set(self.stop, disabled=self._is_stopping or not (running or paused))
        if state in OVER and self.ask.layout.display is None:
            self._show_question(False)


def _set(button: ipywidgets.Button, *, disabled: bool, is_shown: bool = True) -> None:
    if button.disabled != disabled:
        button.disabled = disabled
    display = None if is_shown else "none"
    if button.layout.display != display:
        button.layout.display = display


def _button(name: str, icon: str, hint: str, kind: str = "") -> ipywidgets.Button:
    button = ipywidgets.Button(description=name, icon=icon, tooltip=hint)
    if kind:
        button.add_class(kind)
    return button
