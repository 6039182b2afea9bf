"""Alpha Vantage's replies: what they hold, and what a refusal means.

A refusal comes with HTTP 200 like any other reply, so a reply is known by the key of its data, and
only one without it is read for its reason: the wording has changed before.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from math import isfinite, nan
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import MalformedFrameError
from qfkit.tables import BarColumns

__all__ = [
    "Kind",
    "QuoteRecord",
    "Refusal",
    "Reply",
    "Stamp",
    "bars_of_csv",
    "bars_of_series",
    "quote_of",
    "reply_of",
]

Kind: TypeAlias = Literal["burst", "minute", "day", "entitlement", "key", "symbol", "empty", "unknown"]
Stamp: TypeAlias = Literal["start", "end"]

_SECOND_NS = 1_000_000_000
_FIELDS = ("open", "high", "low", "close", "volume")
_TEXTS = ("Error Message", "Information", "Note", "message", "detail")
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_YEARS = range(1971, 2200)
# The name that the replies use is missing where a system's time zones are only the present ones.
_ZONES = {"US/Eastern": "America/New_York"}
_DELAYED = re.compile(r"DELAYED(?: BY (\d{1,4}) MIN)?", re.IGNORECASE)
_USUAL_DELAY_MINUTES = 15

# In this order: the text on bursts also speaks of requests a day and of premium endpoints.
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("entitlement", re.compile(r"\bis a premium\b|\bnot entitled\b")),
    ("burst", re.compile(r"sparingly|burst pattern|(?:requests?|calls?) per second")),
    ("minute", re.compile(r"per minute|minute-level")),
    ("day", re.compile(r"per day|daily (?:rate )?limit")),
    ("entitlement", re.compile(r"\bpremium\b|\bentitle")),
    ("key", re.compile(r"api ?key")),
    ("symbol", re.compile(r"invalid api call|invalid symbol|no data (?:found )?for")),
)


class Refusal(msgspec.Struct, frozen=True):
    """Why a reply has no data; ``text`` is the provider's own."""

    kind: Kind
    text: str


class Reply(msgspec.Struct, frozen=True):
    """A reply's data, the key it had, and what is said of it."""

    key: str
    data: dict[str, Any]
    meta: dict[str, Any]


class QuoteRecord(msgspec.Struct, frozen=True):
    """A last price. It bears the day it is of and no time; ``volume`` is the day's, NaN where there is none."""

    symbol: str
    price: float
    volume: float
    trading_day: date
    previous_close: float
    delayed_minutes: int = 0


def reply_of(body: bytes, wanted: str) -> Reply | Refusal:
    """A JSON reply with the data whose key begins with ``wanted``, or the refusal that came without.

    Raises :class:`MalformedFrameError` for what is no JSON object.
    """
    try:
        reply = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedFrameError(f"Alpha Vantage's answer is no JSON ({error}): {_beginning(body)}") from None
    if not isinstance(reply, dict):
        raise MalformedFrameError(f"Alpha Vantage's answer is no JSON object: {_beginning(body)}")
    is_series = wanted.startswith("Time Series")
    for key, data in reply.items():
        if key.startswith(wanted):
            if not isinstance(data, dict):
                raise MalformedFrameError(f"Alpha Vantage's {key!r} is no JSON object: {_beginning(body)}")
            meta = reply.get("Meta Data")
            # An unknown symbol has a quote that says nothing.
            return (
                Reply(key, data, meta if isinstance(meta, dict) else {}) if data or is_series else Refusal("empty", "")
            )
    return _refusal(reply)


def _refusal(reply: dict[str, Any]) -> Refusal:
    if not reply:
        return Refusal("empty", "")
    texts = [str(reply[name]) for name in _TEXTS if name in reply]
    if not texts:
        return Refusal("unknown", f"a reply of {', '.join(map(str, reply))}"[:400])
    text = " ".join(texts)
    words = text.lower()
    kind: Kind = next((kind for kind, pattern in _KINDS if pattern.search(words)), "unknown")
    return Refusal(kind, text[:400])


def quote_of(symbol: str, reply: Reply) -> QuoteRecord:
    """The last price in a ``Global Quote``; :class:`MalformedFrameError` where it has no price or day."""
    fields = _plain(reply.data)
    price = _number(fields.get("price"), symbol)
    if price is None:
        raise MalformedFrameError(f"Alpha Vantage's quote of {symbol} has no price: {_shown(reply.data)}")
    day = _moment(fields.get("latest trading day"), symbol).date()
    volume = _number(fields.get("volume"), symbol)
    before = _number(fields.get("previous close"), symbol)
    delayed = _DELAYED.search(reply.key)
    minutes = 0 if delayed is None else int(delayed[1] or _USUAL_DELAY_MINUTES)
    return QuoteRecord(
        symbol, price, nan if volume is None else volume, day, nan if before is None else before, minutes
    )


def _zone_of(meta: Mapping[str, Any]) -> ZoneInfo:
    """The time zone that a reply's times are of, by its own word."""
    name = _plain(meta).get("time zone")
    if name is None:
        raise MalformedFrameError("Alpha Vantage's answer does not say which time zone its times are of")
    return _zone(str(name))


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(_ZONES.get(name, name))
    except (KeyError, ValueError, OSError):
        raise MalformedFrameError(f"Alpha Vantage names a time zone that is not known: {name[:60]!r}") from None


def bars_of_series(symbol: str, timeframe: str, reply: Reply, stamped_at: Stamp = "start") -> tuple[BarColumns, int]:
    """The bars of a ``Time Series``, oldest first, and how many rows were left out because values were missing."""
    rows = []
    for stamp, row in reply.data.items():
        if not isinstance(row, dict):
            raise MalformedFrameError(f"Alpha Vantage's bar of {symbol} at {stamp[:40]!r} is no JSON object")
        fields = _plain(row)
        rows.append((stamp, [fields.get(name) for name in _FIELDS]))
    return _bars(symbol, timeframe, rows, _zone_of(reply.meta), stamped_at)


def bars_of_csv(
    symbol: str, timeframe: str, body: bytes, zone: ZoneInfo, stamped_at: Stamp = "start"
) -> tuple[BarColumns, int]:
    """The same of a reply in CSV, which does not say its time zone."""
    try:
        lines = list(csv.reader(body.decode("utf-8").splitlines()))
    except (UnicodeError, csv.Error) as error:
        raise MalformedFrameError(f"Alpha Vantage's answer is no CSV ({error}): {_beginning(body)}") from None
    header = [name.strip().lower() for name in lines[0]] if lines else []
    header = ["timestamp" if name == "time" else name for name in header]
    if not {"timestamp", *_FIELDS}.issubset(header):
        raise MalformedFrameError(f"Alpha Vantage's answer is no CSV of bars: {_beginning(body)}")
    places = [header.index(name) for name in ("timestamp", *_FIELDS)]
    rows = []
    for line in lines[1:]:
        if not line:
            continue
        if len(line) <= max(places):
            raise MalformedFrameError(f"a row of Alpha Vantage's bars of {symbol} is cut short: {_shown(line)}")
        rows.append((line[places[0]], [line[place] for place in places[1:]]))
    return _bars(symbol, timeframe, rows, zone, stamped_at)


def _bars(
    symbol: str, timeframe: str, rows: Iterable[tuple[str, list[Any]]], zone: ZoneInfo, stamped_at: Stamp
) -> tuple[BarColumns, int]:
    step_ns = timeframe_ns(timeframe)
    is_daily = timeframe == "1d"
    found: dict[int, list[float]] = {}
    count = 0
    for stamp, row in rows:
        count += 1
        moment = _moment(stamp, symbol)
        if is_daily:
            # A trading day stands as the UTC day of its date, as in all daily bars of this package.
            open_ns = (moment.date().toordinal() - _EPOCH_DAY) * step_ns
        else:
            open_ns = int(moment.replace(tzinfo=zone).timestamp()) * _SECOND_NS
            open_ns -= step_ns if stamped_at == "end" else 0
        values = [value for value in (_number(one, symbol) for one in row) if value is not None]
        if len(values) == len(_FIELDS):
            found[open_ns] = values
    if count and not found:
        raise MalformedFrameError(f"all {count} of Alpha Vantage's bars of {symbol} lack values")
    opens = np.array(sorted(found), dtype=np.int64)
    values_by_field = np.array([found[one] for one in opens.tolist()], dtype=np.float64).reshape(-1, len(_FIELDS)).T
    close_ns = opens + step_ns
    # The hours before a session's start and of it need not lie on one grid.
    close_ns[:-1] = np.minimum(close_ns[:-1], opens[1:])
    prices = np.ascontiguousarray(values_by_field)
    columns = BarColumns(symbol, timeframe, prices[0], prices[1], prices[2], prices[3], prices[4], opens, close_ns)
    return columns, count - len(found)


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fields without the numbers before their names: ``"05. price"`` is ``"price"``."""
    return {name.partition(". ")[2].lower() or name.lower(): value for name, value in data.items()}


def _moment(text: object, symbol: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None or moment.year not in _YEARS:
        raise MalformedFrameError(f"Alpha Vantage's time {_shown(text)} of {symbol} cannot be read")
    return moment - timedelta(microseconds=moment.microsecond)


def _number(value: object, symbol: str) -> float | None:
    """A number from its text; None where it is missing, which Alpha Vantage writes as an empty text."""
    if value is None or (isinstance(value, str) and value.strip() in {"", "-", "None", "null"}):
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) else nan
    except (ValueError, OverflowError):
        raise MalformedFrameError(f"Alpha Vantage's number {_shown(value)} of {symbol} cannot be read") from None
    return number if isfinite(number) else None


def _beginning(body: bytes) -> str:
    return repr(body[:160].decode("utf-8", "replace"))


def _shown(value: object) -> str:
    return repr(value)[:160]
