"""Times as a user gives them: the beginning and the end of what is asked for."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

from qfkit.errors import NaiveTimeError, ParameterError

__all__ = ["Moment", "moment_ns"]

Moment: TypeAlias = datetime | date | str
"""A time with its zone, as a datetime, a pandas Timestamp or ISO text; a date alone is its midnight in UTC."""


def moment_ns(moment: Moment, name: str) -> int:
    """A time as UTC ns; :class:`ParameterError` or :class:`NaiveTimeError`, with ``name``, for what is none."""
    value: Any = moment
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError:
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise ParameterError(
                    f'{name}={moment!r} is no time: write it as "2024-05-01" or "2024-05-01T09:30-04:00"'
                ) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise ParameterError(f"{name}={moment!r} is a {type(moment).__name__}, no time: give a datetime or text")
    if value.tzinfo is None:
        raise NaiveTimeError(
            f'{name}={str(moment)!r} has no time zone: add it, as in "{value.isoformat()}+00:00" '
            "or datetime(..., tzinfo=zoneinfo.ZoneInfo('America/New_York'))"
        )
    microseconds = (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if microseconds < 0:
        raise ParameterError(f"{name}={str(moment)!r} lies before 1970")
    return microseconds * 1_000
