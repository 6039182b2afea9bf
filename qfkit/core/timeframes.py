"""Timeframes such as "1m" and "4h": names of lengths of time, and where their bars begin.

Bars lie on one grid for all symbols, in UTC: those of a timeframe up to days are counted from
midnight of 1 January 1970 on, weeks from a Monday. The grid knows no session and no summer time.
So where a market opens at 9:30 in New York its first bar of 1h holds half an hour of trade, bars
of 4h are cut at other local times in summer than in winter, and a bar of 1d is a UTC day: the
whole of a regular session in Europe, America and most of Asia, but trade after 19:00 in New York
belongs to the next day in winter (20:00 in summer), and Sydney's summer session lies in two.
"""

import re

from qfkit.errors import TimeframeError

__all__ = ["bar_open_ns", "check_multiple", "timeframe_name", "timeframe_ns"]

_UNITS_NS = {
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
    "d": 86_400 * 1_000_000_000,
    "w": 7 * 86_400 * 1_000_000_000,
}
# 1970 began on a Thursday.
_FIRST_MONDAY_NS = 4 * _UNITS_NS["d"]
_SHAPE = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_EXAMPLES = '"1s", "5s", "1m", "5m", "15m", "1h", "4h", "1d", "1w"'
# As pandas, exchanges and people write them.
_OTHER_SHAPE = re.compile(r"([1-9][0-9]{0,5})? *(s|m(?!o)|h|d|w|t)[a-z]*", re.IGNORECASE)

_known: dict[str, int] = {}


def timeframe_ns(timeframe: str) -> int:
    """The length of a timeframe in nanoseconds: ``timeframe_ns("5m") == 300_000_000_000``.

    A number and one of s, m, h, d, w; ``m`` are minutes. Raises :class:`TimeframeError`.
    """
    length = _known.get(timeframe) if isinstance(timeframe, str) else None
    if length is None:
        match = _SHAPE.fullmatch(timeframe) if isinstance(timeframe, str) else None
        if match is None:
            raise TimeframeError(
                f"timeframe={timeframe!r} cannot be read: give a number and a unit, such as {_EXAMPLES}"
                f"{_meant(timeframe)}"
            )
        length = _known[timeframe] = int(match[1]) * _UNITS_NS[match[2]]
    return length


def timeframe_name(length_ns: int) -> str:
    """The shortest name of a length: ``timeframe_name(300_000_000_000) == "5m"``."""
    for unit in reversed(_UNITS_NS):
        if length_ns > 0 and length_ns % _UNITS_NS[unit] == 0:
            return f"{length_ns // _UNITS_NS[unit]}{unit}"
    raise TimeframeError(f"{length_ns!r} ns is no whole number of seconds; timeframes are such as {_EXAMPLES}")


def _meant(given: object) -> str:
    other = _OTHER_SHAPE.fullmatch(given) if isinstance(given, str) else None
    # "M" are months to many, and no length.
    if other is None or other[0].endswith("M"):
        return ""
    unit = other[2][0].lower()
    return f'. Did you mean "{other[1] or 1}{"m" if unit == "t" else unit}"?'


def _first_ns(timeframe: str) -> int:
    return _FIRST_MONDAY_NS if timeframe[-1] == "w" else 0


def bar_open_ns(timeframe: str, time_ns: int) -> int:
    """When the bar that a time lies in begins."""
    step_ns, first_ns = timeframe_ns(timeframe), _first_ns(timeframe)
    return (time_ns - first_ns) // step_ns * step_ns + first_ns


def check_multiple(timeframe: str, base: str, symbol: str = "") -> None:
    """Raise :class:`TimeframeError` where whole bars of ``base`` do not make up those of ``timeframe``."""
    step_ns, base_ns = timeframe_ns(timeframe), timeframe_ns(base)
    if step_ns % base_ns or (_first_ns(timeframe) - _first_ns(base)) % base_ns:
        named = f"{symbol}: " if symbol else ""
        below = step_ns // base_ns * base_ns
        near = [timeframe_name(length) for length in (below, below + base_ns) if length > base_ns]
        hint = f", such as {' or '.join(near)}," if step_ns % base_ns and near else ""
        raise TimeframeError(
            f"{named}bars of {timeframe} cannot be built from bars of {base}; "
            f"ask for a multiple of {base}{hint} or run on a smaller timeframe"
        )
