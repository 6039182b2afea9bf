"""Yahoo's chart: the one answer that holds bars, the last price, splits and dividends."""

from datetime import UTC, datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import FeedError, MalformedFrameError
from qfkit.tables import BarColumns

__all__ = ["Chart", "Problem", "Rows", "bars_of_chart", "decode_chart", "problem_of"]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]

_SECOND_NS = 1_000_000_000
_MINUTE_S = 60
_DAY_S = 86_400
_LATEST_S = 1 << 33


class _Period(msgspec.Struct, frozen=True):
    start: int = 0


class _TradingPeriods(msgspec.Struct, frozen=True):
    regular: _Period = _Period()


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    currency: str | None = None
    exchange_name: str | None = None
    instrument_type: str | None = None
    exchange_timezone_name: str = "UTC"
    regular_market_price: float | None = None
    regular_market_time: int | None = None
    regular_market_volume: int | None = None
    current_trading_period: _TradingPeriods = _TradingPeriods()


class Rows(msgspec.Struct, frozen=True):
    """The columns of a chart; a row in which nothing traded is None."""

    open: list[float | None] = []
    high: list[float | None] = []
    low: list[float | None] = []
    close: list[float | None] = []
    volume: list[float | None] = []


class _Indicators(msgspec.Struct, frozen=True):
    quote: list[Rows] = []


class _Dividend(msgspec.Struct, frozen=True):
    date: int
    amount: float


class _Split(msgspec.Struct, frozen=True):
    date: int
    numerator: float
    denominator: float


class _Events(msgspec.Struct, frozen=True):
    dividends: dict[str, _Dividend] = {}
    splits: dict[str, _Split] = {}


class Chart(msgspec.Struct, frozen=True):
    """What Yahoo tells of one symbol. ``timestamp`` is in seconds: when each row's interval, or day's session, began."""

    meta: _Meta = _Meta()
    timestamp: list[int] = []
    indicators: _Indicators = _Indicators()
    events: _Events = _Events()


class Problem(msgspec.Struct, frozen=True):
    """Why Yahoo refuses, in its own words."""

    code: str = ""
    description: str = ""


class _Whole(msgspec.Struct, frozen=True):
    result: list[Chart] | None = None
    error: Problem | None = None


class _Body(msgspec.Struct, frozen=True):
    chart: _Whole = _Whole()


# -- reading the chart ---------------------------------------------------------------------------


def decode_chart(symbol: str, body: bytes) -> Chart:
    """The chart of a good answer. Raises :class:`MalformedFrameError`, or :class:`FeedError` for a refusal in it."""
    try:
        answer = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        text = body[:160].decode("utf-8", "replace")
        raise MalformedFrameError(f"Yahoo's chart of {symbol} cannot be decoded ({error}): {text!r}") from None
    chart = answer.chart
    if chart.error is not None:
        raise FeedError(f"Yahoo refuses to tell of {symbol} ({chart.error.code}: {chart.error.description})")
    if not chart.result:
        raise MalformedFrameError(f"Yahoo's chart of {symbol} has no result: {body[:160]!r}")
    return chart.result[0]


def problem_of(body: bytes) -> Problem:
    """What the body of a refusal says; empty where it says nothing that can be read."""
    try:
        return msgspec.json.decode(body, type=_Body).chart.error or Problem()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Problem()


def bars_of_chart(symbol: str, timeframe: str, chart: Chart) -> BarColumns:
    """The rows of a chart as bars; rows without prices are left out.

    The last row may be the newest price alone, at its own second: it belongs to the bar that is not over.
    """
    rows = chart.indicators.quote[0] if chart.indicators.quote else Rows()
    lists = (rows.open, rows.high, rows.low, rows.close, rows.volume)
    count = len(chart.timestamp)
    if any(len(one) != count for one in lists) and (count or any(lists)):
        raise MalformedFrameError(f"Yahoo's chart of {symbol} has columns of different lengths")
    try:
        times_s = np.array(chart.timestamp, dtype=np.int64)
        # None becomes NaN.
        values = np.array([np.array(one, dtype=np.float64) for one in lists]).reshape(5, count)
    except (OverflowError, ValueError) as error:
        raise MalformedFrameError(f"Yahoo's chart of {symbol} cannot be read ({error})") from None
    is_whole = ~np.isnan(values[:4]).any(axis=0) & (np.abs(times_s) < _LATEST_S)
    times_s, values = times_s[is_whole], values[:, is_whole]
    order = np.argsort(times_s, kind="stable")
    times_s, values = times_s[order], values[:, order]
    step_s = timeframe_ns(timeframe) // _SECOND_NS
    if timeframe == "1d":
        opens_s = _days(times_s, chart.meta.exchange_timezone_name)
        # The present day may come twice, the newer one last and whole.
        keep = np.append(opens_s[1:] != opens_s[:-1], [True])[: len(opens_s)]
        opens_s, values = opens_s[keep], values[:, keep]
    else:
        start_s = chart.meta.current_trading_period.regular.start or (int(times_s[0]) if len(times_s) else 0)
        opens_s = _on_grid(times_s, step_s, start_s)
        opens_s, values = _merged(opens_s, values)
    open_ns = opens_s * _SECOND_NS
    opens, highs, lows, closes, volume = values
    return BarColumns(symbol, timeframe, opens, highs, lows, closes, volume, open_ns, open_ns + step_s * _SECOND_NS)


def _days(times_s: Times, zone_name: str) -> Times:
    """The midnight in UTC of the date that each time has in its exchange's zone."""
    try:
        zone = ZoneInfo(zone_name)
    except (KeyError, ValueError, OSError) as error:
        raise MalformedFrameError(f"Yahoo names a time zone that is not known: {zone_name!r}") from error
    dates = [datetime.fromtimestamp(one, zone).date().toordinal() for one in times_s.tolist()]
    return (np.array(dates, dtype=np.int64) - datetime(1970, 1, 1, tzinfo=UTC).toordinal()) * _DAY_S


def _on_grid(times_s: Times, step_s: int, start_s: int) -> Times:
    """When the bar of each row opens. The grid begins with the session; the last row may be of any second of its bar."""
    opens_s = times_s.copy()
    offset_s = start_s % step_s
    if step_s == 30 * _MINUTE_S:
        return (opens_s - offset_s) // step_s * step_s + offset_s
    if len(opens_s):
        last_s = int(opens_s[-1])
        if len(opens_s) > 1 and last_s - int(opens_s[-2]) < step_s:
            opens_s[-1] = opens_s[-2]
        elif last_s % _MINUTE_S:
            opens_s[-1] = (last_s - offset_s) // step_s * step_s + offset_s
    return opens_s


def _merged(opens_s: Times, values: Floats) -> tuple[Times, Floats]:
    """Rows of one bar as one."""
    if len(opens_s) < 2 or (opens_s[1:] != opens_s[:-1]).all():
        return opens_s, values
    first = np.flatnonzero(np.append([True], opens_s[1:] != opens_s[:-1]))
    last = np.append(first[1:], [len(opens_s)]) - 1
    merged = np.array(
        [
            values[0, first],
            np.maximum.reduceat(values[1], first),
            np.minimum.reduceat(values[2], first),
            values[3, last],
            np.add.reduceat(np.nan_to_num(values[4]), first),
        ]
    )
    return opens_s[first], merged
