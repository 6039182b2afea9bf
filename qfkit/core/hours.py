"""When a symbol's market is open: the sessions of an :class:`~qfkit.core.events.Hours` event, looked up."""

from bisect import bisect_right
from math import inf

from qfkit.core.events import Hours

__all__ = ["MarketHours"]


class MarketHours:
    """The sessions of one market. After the last one it is closed for all that is known."""

    __slots__ = ("_closes", "_opens", "calendar")

    def __init__(self, hours: Hours) -> None:
        sessions = sorted(hours.sessions)
        self._opens = [open_ns for open_ns, _ in sessions]
        self._closes = [close_ns for _, close_ns in sessions]
        self.calendar = hours.calendar

    def is_open(self, time_ns: int) -> bool:
        """Whether a time lies in a session; the closing moment does not."""
        place = bisect_right(self._opens, time_ns) - 1
        return place >= 0 and time_ns < self._closes[place]

    def overlaps(self, start_ns: int, end_ns: int) -> bool:
        """Whether some of [start, end) lies in a session."""
        place = bisect_right(self._opens, end_ns - 1) - 1
        return place >= 0 and self._closes[place] > start_ns

    def next_open_ns(self, time_ns: int) -> float:
        """When the next session opens; infinite where none is known."""
        place = bisect_right(self._opens, time_ns)
        return self._opens[place] if place < len(self._opens) else inf

    def close_ns(self, time_ns: int) -> int | None:
        """When the session of a time closes; None where it lies in none."""
        place = bisect_right(self._opens, time_ns) - 1
        return self._closes[place] if place >= 0 and time_ns < self._closes[place] else None
