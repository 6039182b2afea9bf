"""The exchange's time, told from the times its trades bear and those they were received at."""

import time

from qfkit.core.events import Heartbeat, Tick

__all__ = ["ExchangeClock"]

_SPAN_NS = 600 * 1_000_000_000
_JUMP_NS = 1_000_000_000


class ExchangeClock:
    """Receive times that never run back, and how far the exchange's clock is from ours.

    The offset is the greatest (trade time - receive time) of the last ten to twenty minutes, so it
    holds the least time a trade was under way, and a local clock that drifts is followed.
    ``grace_ns`` is how much later than the quickest a trade may come and still be in time for a heartbeat.
    """

    def __init__(self, grace_ns: int = 500_000_000) -> None:
        self._grace_ns = grace_ns
        self._anchor_ns = time.time_ns() - time.monotonic_ns()
        self._offset_ns: int | None = None
        self._newest_ns: int | None = None
        self._since_ns = self.now_ns()
        self._last_beat_ns = 0

    def now_ns(self) -> int:
        """The local time, UTC ns. A system clock that is set anew does not move it."""
        return self._anchor_ns + time.monotonic_ns()

    @property
    def offset_ns(self) -> int:
        """How far the exchange's clock is ahead of the local one, at least; 0 before the first trade."""
        return 0 if self._offset_ns is None else self._offset_ns

    def catch_up(self) -> None:
        """Take the time over from the system clock where that is far ahead, as after a sleep of the machine."""
        anchor_ns = time.time_ns() - time.monotonic_ns()
        if anchor_ns - self._anchor_ns >= _JUMP_NS:
            self._anchor_ns = anchor_ns
            self._forget()

    def observe(self, tick: Tick) -> float:
        """Take note of a trade; returns how many ms later than the quickest it came."""
        offset_ns = tick.time_ns - tick.received_ns
        self._newest_ns = offset_ns if self._newest_ns is None else max(offset_ns, self._newest_ns)
        self._offset_ns = offset_ns if self._offset_ns is None else max(offset_ns, self._offset_ns)
        lag_ms = (self._offset_ns - offset_ns) / 1_000_000
        if tick.received_ns - self._since_ns >= _SPAN_NS:
            self._offset_ns, self._newest_ns, self._since_ns = self._newest_ns, None, tick.received_ns
        return lag_ms

    def heartbeat(self, received_ns: int) -> Heartbeat | None:
        """What the exchange's time is at least, the grace held back for trades under way; None before a trade."""
        if self._offset_ns is None:
            return None
        time_ns = received_ns + self._offset_ns - self._grace_ns
        if time_ns <= self._last_beat_ns:
            return None
        self._last_beat_ns = time_ns
        return Heartbeat(time_ns, received_ns)

    def _forget(self) -> None:
        self._offset_ns = self._newest_ns = None
        self._since_ns, self._last_beat_ns = self.now_ns(), 0
