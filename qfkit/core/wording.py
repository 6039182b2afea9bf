"""How figures are written for people: money, percent, spans of time. NaN is "n/a"."""

from datetime import UTC, datetime
from math import isnan

__all__ = ["count", "money", "multiple", "percent", "share", "span", "span_text", "utc_time"]

_UNDEFINED = "n/a"


def money(value: float) -> str:
    """``12,345.67``"""
    return _UNDEFINED if isnan(value) else f"{_to_cents(value):,.2f}"


def percent(value: float) -> str:
    """A fraction that gains or loses: ``+12.34 %``"""
    return _UNDEFINED if isnan(value) else f"{_to_cents(value * 100.0):+,.2f} %"


def share(value: float) -> str:
    """A fraction of something: ``12.34 %``"""
    return _UNDEFINED if isnan(value) else f"{_to_cents(value * 100.0):,.2f} %"


def multiple(value: float) -> str:
    """How many times over: ``3.20 x``"""
    return _UNDEFINED if isnan(value) else f"{_to_cents(value):,.2f} x"


def count(value: float) -> str:
    """``1,234``"""
    return f"{value:,.0f}"


def span(days: float) -> str:
    """Days in the unit that suits: ``3.2 d``, ``4.5 h``, ``12 min``, ``8.0 s``"""
    if isnan(days):
        return _UNDEFINED
    seconds = days * 86_400.0
    for unit, unit_s in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= unit_s:
            return f"{seconds / unit_s:,.1f} {unit}"
    return f"{seconds:.1f} s"


def utc_time(time_ns: int) -> str:
    """``2013-03-01 14:30:05``; whoever shows it adds the zone."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def span_text(first_ns: int, last_ns: int) -> str:
    """``2000-03-01 to 2013-03-01 UTC``; with the time of day where it is less than three days.

    The moment is the end of what it stands for: a day's bar closes at the next midnight.
    """
    if last_ns - first_ns >= 3 * 86_400_000_000_000:
        return f"{utc_time(first_ns - 1)[:10]} to {utc_time(last_ns - 1)[:10]} UTC"
    first, last = utc_time(first_ns), utc_time(last_ns)
    return f"{first} to {last[11:] if first[:10] == last[:10] else last} UTC"


def _to_cents(value: float) -> float:
    """Rounded to two decimals, and never ``-0.0``."""
    return round(value, 2) + 0.0
