"""Asks a user's function about snapshots, on a thread of its own."""

import threading
import time

from qfkit.core.snapshot import Snapshot
from qfkit.live.alert_rules import When
from qfkit.live.alert_secrets import without_addresses
from qfkit.live.alert_watchers import Asked

__all__ = ["Question"]

_PATIENCE_S = 5.0


class Question:
    """A user's function, asked on a thread of its own about the newest snapshot that there is."""

    def __init__(self, watcher: Asked) -> None:
        self.is_over = False
        self._watcher = watcher
        assert isinstance(watcher.rule, When)
        self._function = watcher.rule.function
        self._wake = threading.Condition()
        self._newest: Snapshot | None = None
        self._answer: tuple[object] | None = None
        self._fault = ""
        self._is_closed = False
        self._asked_s: float | None = None
        self._is_slow = False
        self._thread: threading.Thread | None = None

    def ask(self, snapshot: Snapshot, now_ns: int) -> str:
        """Hand over a snapshot, take the last answer; returns what is wrong with the function."""
        with self._wake:
            answer, self._answer = self._answer, None
            self._newest = snapshot
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="qfkit-alerts", daemon=True)
                self._thread.start()
            self._wake.notify()
            fault, waits_s = self._fault, 0.0 if self._asked_s is None else time.monotonic() - self._asked_s
        if answer is not None:
            self._watcher.on_answer(answer[0], now_ns)
            self._is_slow = False
        if fault:
            self.is_over = True
            return f"is not asked again: {fault}"
        if waits_s > _PATIENCE_S and not self._is_slow:
            self._is_slow = True
            return f"has not answered for {_PATIENCE_S:g} s"
        return ""

    def close(self) -> None:
        with self._wake:
            self._is_closed = True
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                while self._newest is None:
                    if self._is_closed:
                        return
                    self._wake.wait()
                snapshot, self._newest = self._newest, None
                self._asked_s = time.monotonic()
            try:
                answer = self._function(snapshot)
                bool(answer)
            except Exception as error:  # noqa: BLE001 - whatever a user's code raises ends its own rule, and is shown
                with self._wake:
                    self._fault = f"{type(error).__name__}: {without_addresses(str(error))}"
                return
            with self._wake:
                # An answer that was true is not lost to a later one.
                if self._answer is None or not self._answer[0]:
                    self._answer = (answer,)
                self._asked_s = None
