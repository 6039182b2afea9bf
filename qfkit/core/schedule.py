"""When something is due again: every so many hours, days, weeks or months of the calendar."""

import re
from datetime import UTC, datetime, timedelta

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import ParameterError, TimeframeError

__all__ = ["Schedule"]

_DAY_NS = 86_400_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 1970-01-01 was a Thursday; weeks begin on Monday.
_FIRST_MONDAY_NS = 4 * _DAY_NS
_LONG = re.compile(r"([1-9][0-9]{0,3})([wM])")


class Schedule:
    """The boundaries of equal periods, in UTC: "4h", "1d", "1w" (from Monday on), "1M", "3M" (from January on).

    ``m`` are minutes and ``M`` months. Raises :class:`ParameterError` for what is none of these.
    """

    __slots__ = ("_months", "_offset_ns", "_step_ns", "every")

    def __init__(self, every: str) -> None:
        self.every = every
        self._months = self._step_ns = self._offset_ns = 0
        long = _LONG.fullmatch(every) if isinstance(every, str) else None
        if long is None:
            try:
                self._step_ns = timeframe_ns(every)
            except TimeframeError:
                raise ParameterError(
                    f'every={every!r} is no schedule: give a number and a unit, such as "4h", "1d", "1w" or "1M" (months)'
                ) from None
        elif long[2] == "w":
            self._step_ns, self._offset_ns = int(long[1]) * 7 * _DAY_NS, _FIRST_MONDAY_NS
        else:
            self._months = int(long[1])

    def after(self, time_ns: int) -> int:
        """The first boundary later than a time, UTC ns."""
        if not self._months:
            return (time_ns - self._offset_ns) // self._step_ns * self._step_ns + self._step_ns + self._offset_ns
        now = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)
        month = ((now.year * 12 + now.month - 1) // self._months + 1) * self._months
        start = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
        return (start - _EPOCH) // timedelta(seconds=1) * 1_000_000_000

    def __repr__(self) -> str:
        return f"Schedule({self.every!r})"
