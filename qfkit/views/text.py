"""Numbers, times and foreign text the way a person reads them; shared by every view."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import isfinite, log10
from unicodedata import category

import msgspec

from qfkit.core.snapshot import Snapshot

__all__ = [
    "ASCII_MARKS",
    "UNICODE_MARKS",
    "UNKNOWN",
    "Marks",
    "bar_chart",
    "clean",
    "duration",
    "marks_for",
    "money",
    "percent",
    "price",
    "price_decimals",
    "quantity",
    "signed_money",
    "signed_percent",
    "symbol_decimals",
    "time_of_day",
    "utc",
]

UNKNOWN = "-"
_NO_CHARACTER = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_SPACE = frozenset({"Zl", "Zp"})


class Marks(msgspec.Struct, frozen=True):
    """The shapes a view draws with; a direction or state is never told by colour alone."""

    up: str
    down: str
    flat: str
    good: str
    warning: str
    bad: str
    off: str
    separator: str
    ellipsis: str
    blocks: str


UNICODE_MARKS = Marks("▲", "▼", "·", "●", "◐", "✗", "○", "·", "…", " ▁▂▃▄▅▆▇█")
ASCII_MARKS = Marks("^", "v", ".", "*", "!", "x", "o", "|", "...", " .:-=+*#@")


def marks_for(encoding: str) -> Marks:
    """The marks that an output of this encoding can show."""
    try:
        "".join(msgspec.structs.astuple(UNICODE_MARKS)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII_MARKS
    return UNICODE_MARKS


def clean(text: object, encoding: str = "utf-8") -> str:
    """Foreign text made safe for a terminal: no control, format or private characters, one line.

    Whatever ``encoding`` cannot show becomes "?".
    """
    kept = []
    for character in str(text):
        kind = category(character)
        if kind in _SPACE or character in "\t\n\r\v\f":
            kept.append(" ")
        elif kind not in _NO_CHARACTER:
            kept.append(character)
    safe = "".join(kept)
    try:
        return safe.encode(encoding, "replace").decode(encoding)
    except LookupError:
        return safe.encode("ascii", "replace").decode("ascii")


def money(value: float) -> str:
    """``100,446.99``; "-" where it is not known."""
    if not isfinite(value):
        return UNKNOWN
    text = f"{value:,.2f}"
    return "0.00" if text == "-0.00" else text


def signed_money(value: float) -> str:
    """``+446.99`` or ``-12.00``; zero has no sign."""
    text = money(value)
    return f"+{text}" if text[0] not in "-0" or (text[0] == "0" and text != "0.00") else text


def percent(fraction: float, decimals: int = 2) -> str:
    """A fraction as percent: 0.0045 is ``0.45 %``."""
    if not isfinite(fraction):
        return UNKNOWN
    text = f"{fraction * 100:,.{decimals}f}"
    if float(text.replace(",", "")) == 0.0:
        text = text.lstrip("-")
    return f"{text} %"


def signed_percent(fraction: float, decimals: int = 2) -> str:
    """``+0.45 %`` or ``-1.20 %``; zero has no sign."""
    text = percent(fraction, decimals)
    nothing = text in (UNKNOWN, percent(0.0, decimals))
    return text if nothing or text[0] == "-" else f"+{text}"


def quantity(value: float) -> str:
    """Seven significant digits at least, no trailing zeros: ``0.449523``, ``1,200``."""
    if not isfinite(value):
        return UNKNOWN
    digits = 0 if abs(value) < 1.0 else int(log10(abs(value)))
    text = f"{value:,.{max(0, 6 - digits)}f}"
    if value and not float(text.replace(",", "")):
        return f"{value:.4g}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def price_decimals(prices: Iterable[float | None]) -> int:
    """How many decimals show these prices of one symbol rightly.

    Prices on a grid of ticks get as many as the finest of them needs. A price adjusted for
    splits, or averaged, has endless digits: it gets as many as its size deserves.
    """
    known = [value for value in prices if value is not None and isfinite(value) and value > 0.0]
    if not known:
        return 2
    size = int(log10(min(known))) if min(known) >= 1.0 else int(log10(min(known))) - 1
    by_size = 2 if size >= 0 else 3 - size
    most = max(2, 5 - size)
    seen = max(_decimals_of(value) for value in known)
    return by_size if seen > most else max(2, seen) if size >= 0 else max(seen, min(by_size, 4))


def _decimals_of(value: float) -> int:
    fraction = f"{value:.12f}".rstrip("0").partition(".")[2]
    return len(fraction)


def symbol_decimals(snapshot: Snapshot) -> dict[str, int]:
    """The decimals of each symbol's prices: of the step of its prices, else read from what is known of it."""
    return {
        view.symbol: price_decimals((view.price, view.previous_price, view.bid, view.ask))
        if view.price_step is None
        else _decimals_of(view.price_step)
        for view in snapshot.symbols
    }


def price(value: float | None, decimals: int) -> str:
    """A price with its decimals and thousands marked; "-" where there is none yet."""
    return UNKNOWN if value is None or not isfinite(value) else f"{value:,.{decimals}f}"


def utc(time_ns: int) -> str:
    """``2024-08-08 23:55:31 UTC``; "-" before the first event."""
    return f"{_moment(time_ns):%Y-%m-%d %H:%M:%S} UTC" if time_ns else UNKNOWN


def time_of_day(time_ns: int, *, dates: bool = False) -> str:
    """``23:55:31``, or ``2012-03-01`` where the days are what matters."""
    if not time_ns:
        return UNKNOWN
    return f"{_moment(time_ns):%Y-%m-%d}" if dates else f"{_moment(time_ns):%H:%M:%S}"


def _moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)


def duration(seconds: float) -> str:
    """``0.2 s``, ``45 s``, ``3 min 20 s``, ``2 h 5 min`` or ``12 d 3 h``."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, below, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def bar_chart(values: Sequence[float], width: int, rows: int, blocks: str) -> list[str]:
    """Columns of block characters from the least value to the largest, newest at the right.

    More values than columns: each column shows the last of its part. All equal: a middle line.
    """
    known = [value for value in values if isfinite(value)]
    if not known or width < 1 or rows < 1:
        return []
    count = min(width, len(known))
    points = [known[(index + 1) * len(known) // count - 1] for index in range(count)]
    low, high = min(points), max(points)
    steps = len(blocks) - 1
    top = rows * steps
    levels = [max(1, round((value - low) / (high - low) * top)) if high > low else (top + 1) // 2 for value in points]
    return [
        "".join(blocks[max(0, min(steps, level - row * steps))] for level in levels) for row in range(rows - 1, -1, -1)
    ]
