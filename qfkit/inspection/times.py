"""A moment as a user writes it, as UTC nanoseconds."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from qfkit.errors import NaiveTimeError, ParameterError

__all__ = ["moment_ns", "short_stamp", "stamp"]

_DAY_NS = 86_400_000_000_000
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN_DAYS = 4


def stamp(time_ns: int) -> str:
    """``2024-08-08 23:54:14.123 UTC``, with as many decimals as it has."""
    text = str(np.datetime64(time_ns, "ns")).replace("T", " ")
    whole, _, decimals = text.partition(".")
    decimals = decimals.rstrip("0")
    return f"{whole}.{decimals} UTC" if decimals else f"{whole} UTC"


def short_stamp(time_ns: int) -> str:
    """The same to the millisecond, which is what a person can follow."""
    return stamp(time_ns // 1_000_000 * 1_000_000)


def moment_ns(given: object, first_ns: int, last_ns: int) -> int:
    """A moment between two others, as UTC nanoseconds.

    "14:23:45" is that time of the one UTC day of the run on which it lies in the run; further an ISO text with a zone, a
    datetime or ``pandas.Timestamp`` with a zone, or nanoseconds since 1970 as int. Raises :class:`NaiveTimeError`
    without a zone, :class:`ParameterError` for what is no moment of the run, or more than one.
    """
    value: Any = given
    if isinstance(value, str) and (clock := _CLOCK.match(value.strip())):
        return _on_its_day(value.strip(), clock, first_ns, last_ns)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ParameterError(
                f'time={given!r} is no time: write it as "14:23:45" or "{_iso(last_ns)}", or give event='
            ) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise NaiveTimeError(
                f'time={str(given)!r} has no time zone: add it, as in "{value.isoformat()}+00:00" '
                "or datetime(..., tzinfo=zoneinfo.ZoneInfo('America/New_York'))"
            )
        if hasattr(given, "as_unit"):
            # A pandas.Timestamp has nanoseconds.
            return int(given.as_unit("ns").value)
        return int((value - _EPOCH) // timedelta(microseconds=1)) * 1_000
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        if not 0 <= value < 2**63:
            raise ParameterError(f"time={given!r}: an int is UTC nanoseconds since 1970, as {last_ns}")
        return int(value)
    if isinstance(value, np.datetime64):
        raise NaiveTimeError(
            f"time={given!r} has no time zone: pandas.Timestamp({str(value)!r}, tz='UTC') says it is UTC"
        )
    raise ParameterError(
        f'time={given!r} is a {type(given).__name__}, no time: give a text as "14:23:45", a datetime with a zone, or event='
    )


def _on_its_day(text: str, clock: re.Match[str], first_ns: int, last_ns: int) -> int:
    hours, minutes, seconds = int(clock[1]), int(clock[2]), int(clock[3] or 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ParameterError(f'time={text!r} is no time of day: write it as "14:23:45"')
    of_day_ns = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + int((clock[4] or "0").ljust(9, "0"))
    days = range(first_ns // _DAY_NS, last_ns // _DAY_NS + 1)
    if len(days) == 1:
        return days[0] * _DAY_NS + of_day_ns
    # The first and the last day are there in part only.
    skipped = first_ns % _DAY_NS > of_day_ns
    days = range(days[0] + skipped, days[-1] + (last_ns % _DAY_NS >= of_day_ns))
    if len(days) == 1:
        return days[0] * _DAY_NS + of_day_ns
    span = f"it went from {stamp(first_ns)} to {stamp(last_ns)}"
    if not days:
        raise ParameterError(f"time={text!r}: on no day of the session, {span}")
    named = ", ".join(f'"{_iso(day * _DAY_NS + of_day_ns)}"' for day in days[:_SHOWN_DAYS])
    more = "" if len(days) <= _SHOWN_DAYS else " and so on"
    raise ParameterError(f"time={text!r} was on {len(days)} days of the session ({span}): say which, as {named}{more}")


def _iso(time_ns: int) -> str:
    return stamp(time_ns).removesuffix(" UTC").replace(" ", "T") + "+00:00"
