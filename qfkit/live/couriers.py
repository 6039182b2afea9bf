"""Couriers bring alerts to their sinks, each on a thread of its own, so that none delays a session or another.

A sink may hang, raise or be flooded: its courier keeps a bounded queue, tries again with growing
pauses, and says of each attempt what became of it. Nothing here waits for a sink but its own thread.
"""

import queue
import random
import threading
import time
from collections import deque

from qfkit.journal.schema import Alert, Delivery
from qfkit.live.alert_secrets import without_addresses
from qfkit.live.alert_sinks import Sink, Undelivered

__all__ = ["Courier", "Outcomes"]

Outcomes = queue.SimpleQueue[Delivery]

_MOST_WAITING = 100
_LONGEST_WAIT_S = 60.0
_MINUTE_S = 60.0
_IDLE_S = 30.0


class Courier:
    """One sink's queue and thread. ``send`` is called by the session and returns at once."""

    def __init__(self, sink: Sink, session: str, outcomes: Outcomes) -> None:
        self.sink = sink
        self._session = session
        self._outcomes = outcomes
        self._waiting: deque[Alert] = deque()
        self._in_hand: Alert | None = None
        self._attempt = 0
        self._is_closed = False
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._lately_s: deque[float] = deque()
        # The closing and the end of an attempt are told apart by this: each alert has one last word.
        self._generation = 0

    def send(self, alert: Alert) -> None:
        """Queue an alert, or drop it where too many wait or went within the last minute."""
        with self._wake:
            reason = self._refusal()
            if reason:
                self._say(alert, "dropped", 0, reason)
                return
            self._waiting.append(alert)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="qfkit-alerts", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _refusal(self) -> str:
        if self._is_closed:
            return "the session ended"
        if len(self._waiting) >= _MOST_WAITING:
            return f"{_MOST_WAITING} alerts wait already"
        most = self.sink.per_minute
        if most is not None:
            now_s = time.monotonic()
            while self._lately_s and now_s - self._lately_s[0] >= _MINUTE_S:
                self._lately_s.popleft()
            if len(self._lately_s) >= most:
                return f"more than {most} alerts a minute"
            self._lately_s.append(now_s)
        return ""

    @property
    def is_idle(self) -> bool:
        """Whether everything that was sent has had its last word."""
        with self._wake:
            return self._in_hand is None and not self._waiting

    def close(self) -> None:
        """Take nothing more; what is not delivered yet is given up, and said to be."""
        with self._wake:
            self._is_closed = True
            self._generation += 1
            if self._in_hand is not None:
                self._say(self._in_hand, "failed", self._attempt, "the session ended before it was delivered")
                self._in_hand = None
            while self._waiting:
                self._say(self._waiting.popleft(), "dropped", 0, "the session ended before it was sent")
            self._wake.notify_all()

    def _say(self, alert: Alert, outcome: str, attempt: int, reason: str = "") -> None:
        self._outcomes.put(Delivery(alert.alert_id, self.sink.label, time.time_ns(), outcome, attempt, reason))

    # -- on the courier's own thread -------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._waiting:
                    if self._is_closed or not self._wake.wait(_IDLE_S):
                        # A thread that nobody needs goes; the next alert makes another.
                        self._thread = None
                        return
                alert = self._in_hand = self._waiting.popleft()
                generation = self._generation
            self._deliver(alert, generation)

    def _deliver(self, alert: Alert, generation: int) -> None:
        for attempt in range(1, self.sink.attempts + 1):
            self._attempt = attempt
            failure = self._try(alert)
            with self._wake:
                if generation != self._generation:
                    return
                if failure is None:
                    self._say(alert, "sent", attempt)
                    self._in_hand = None
                    return
                is_last = failure.is_final or attempt == self.sink.attempts
                self._say(alert, "failed" if is_last else "retried", attempt, str(failure))
                if is_last:
                    self._in_hand = None
                    return
                if not self._pause(self._wait_s(failure, attempt), generation):
                    return

    def _try(self, alert: Alert) -> Undelivered | None:
        try:
            self.sink.deliver(alert, self._session)
        except Undelivered as failure:
            return failure
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a sink of the user's own raises what it will
            text = " ".join(without_addresses(str(error)).split())[:200]
            return Undelivered(f"{type(error).__name__}: {text}" if text else type(error).__name__)
        return None

    def _wait_s(self, failure: Undelivered, attempt: int) -> float:
        asked_s = 0.0 if failure.retry_after_s is None else failure.retry_after_s
        own_s = self.sink.backoff_s * 2.0 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - spreads senders
        return min(_LONGEST_WAIT_S, max(asked_s, own_s))

    def _pause(self, seconds: float, generation: int) -> bool:
        """Wait before the next attempt; false when the courier is closed meanwhile."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0.0 and generation == self._generation:
            self._wake.wait(left_s)
        return generation == self._generation
