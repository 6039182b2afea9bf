"""Timeframes such as "1m" and "4h": names of lengths of time."""

import re

from qfkit.errors import TimeframeError

__all__ = ["timeframe_name", "timeframe_ns"]

_UNITS_NS = {
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
    "d": 86_400 * 1_000_000_000,
}
_SHAPE = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_EXAMPLES = '"1s", "5s", "1m", "5m", "15m", "1h", "4h", "1d"'

_known: dict[str, int] = {}


def timeframe_ns(timeframe: str) -> int:
    """The length of a timeframe in nanoseconds: ``timeframe_ns("5m") == 300_000_000_000``.

    A number and one of s, m, h, d; ``m`` are minutes. Raises :class:`TimeframeError`.
    """
    length = _known.get(timeframe) if isinstance(timeframe, str) else None
    if length is None:
        match = _SHAPE.fullmatch(timeframe) if isinstance(timeframe, str) else None
        if match is None:
            raise TimeframeError(
                f"timeframe={timeframe!r} cannot be read: give a number and a unit, such as {_EXAMPLES}"
            )
        length = _known[timeframe] = int(match[1]) * _UNITS_NS[match[2]]
    return length


def timeframe_name(length_ns: int) -> str:
    """The shortest name of a length: ``timeframe_name(300_000_000_000) == "5m"``."""
    for unit in reversed(_UNITS_NS):
        if length_ns > 0 and length_ns % _UNITS_NS[unit] == 0:
            return f"{length_ns // _UNITS_NS[unit]}{unit}"
    raise TimeframeError(f"{length_ns!r} ns is no whole number of seconds; timeframes are such as {_EXAMPLES}")
