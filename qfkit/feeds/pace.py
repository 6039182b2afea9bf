"""The pace of events that are not live: a multiple of real time."""

import time

__all__ = ["Pace"]


class Pace:
    """Tells which time of receipt is due. It begins at the first event that it is asked about, wherever that is."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._start_s = 0.0
        self._start_ns: int | None = None

    def begin(self, received_ns: int) -> None:
        """The event of this receipt is due now, unless the pace has begun already."""
        if self._start_ns is None:
            self._start_s, self._start_ns = time.monotonic(), received_ns

    def due_ns(self) -> int:
        """What was received until this time is due."""
        assert self._start_ns is not None
        return self._start_ns + int((time.monotonic() - self._start_s) * self.speed * 1e9)

    def wait_s(self, received_ns: int) -> float:
        """How long until an event is due; 0.0 or less if it is."""
        return (received_ns - self.due_ns()) / 1e9 / self.speed
