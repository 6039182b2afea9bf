"""Price frames as columns and events: what a user's DataFrame must be, checked before anything runs on it.

A frame's index is the bars' *open* time, with a time zone. Every check is over whole columns, so a
million rows cost a few hundredths of a second; what fails is named with its row and the fix.
"""

from collections.abc import Iterator, Mapping
from itertools import repeat
from math import gcd, inf, isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from qfkit.core.events import Bar, Tick
from qfkit.core.timeframes import timeframe_name, timeframe_ns
from qfkit.errors import DataError, FrameError, NaiveTimeError, TimeframeError, did_you_mean
from qfkit.tables import BarColumns, Floats, Times

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "bar_batches",
    "bars_of",
    "check_columns",
    "close_times",
    "columns_by_symbol",
    "columns_from_frame",
    "is_frame",
    "is_tick_frame",
    "merge",
    "ticks_from_frame",
]

_PRICES = ("open", "high", "low", "close")
_UNNAMED = "data"
_BATCH = 8_192
# Below this share of the steps the commonest one says nothing about the bars.
_COMMON = 0.4


def is_frame(data: object) -> bool:
    """Whether an object is a pandas DataFrame, without importing pandas."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas" for kind in type(data).__mro__
    )


def is_tick_frame(frame: "pd.DataFrame") -> bool:
    """Whether a frame holds trades (a column ``price``) and no bars (no column ``close``)."""
    names = {_plain(name) for name in frame.columns}
    return "price" in names and "close" not in names


def _plain(name: object) -> str:
    return str(name).strip().lower()


# -- bars ------------------------------------------------------------------------------------


def columns_from_frame(frame: "pd.DataFrame", symbol: str, timeframe: str | None = None) -> BarColumns:
    """The bars of one symbol from a frame: columns open, high, low, close in any case, volume if there is one.

    The index is each bar's open time. ``timeframe`` is the bars' own; None reads it off the
    times. An unknown volume is NaN. Raises :class:`FrameError`, :class:`NaiveTimeError` or
    :class:`TimeframeError` with the row and the fix.
    """
    names = _column_names(frame, symbol, _PRICES, ("volume",))
    open_ns = _times_of(frame, symbol)
    opens, highs, lows, closes = (_numbers(frame, names[name], symbol) for name in _PRICES)
    volume = _numbers(frame, names["volume"], symbol) if "volume" in names else np.full(len(open_ns), np.nan)
    _check_times(open_ns, symbol)
    if timeframe is None:
        timeframe = _read_timeframe(open_ns, symbol)
    else:
        _check_timeframe(open_ns, symbol, timeframe)
    # A day in spring has 23 hours where midnight is local: no bar closes after the next one opens.
    close_ns = open_ns + timeframe_ns(timeframe)
    np.minimum(close_ns[:-1], open_ns[1:], out=close_ns[:-1])
    columns = BarColumns(symbol, timeframe, opens, highs, lows, closes, volume, open_ns, close_ns)
    _check_prices(columns)
    return columns


def close_times(frame: "pd.DataFrame", name: str) -> tuple[Times, Floats]:
    """When each value of a frame's one column is known, its index being the bars' open times; and the values."""
    open_ns = _times_of(frame, name)
    values = _numbers(frame, frame.columns[0], name)
    _check_times(open_ns, name)
    close_ns = open_ns + timeframe_ns(_read_timeframe(open_ns, name))
    np.minimum(close_ns[:-1], open_ns[1:], out=close_ns[:-1])
    return close_ns, values


def columns_by_symbol(data: object, timeframe: str | None = None) -> dict[str, BarColumns]:
    """The bars of each symbol: from a frame, a dict of frames by symbol, or columns.

    One frame may hold several symbols: in a column ``symbol``, or as a second level of its
    columns (as yfinance gives it). The symbol of a frame without any is its
    ``attrs["symbol"]``, else "data".
    """
    if isinstance(data, BarColumns):
        check_columns(data)
        return {data.symbol: data}
    if is_frame(data):
        return _split(data, timeframe)
    if not isinstance(data, Mapping):
        raise DataError(f"a {type(data).__name__} is no price data: give a DataFrame or a dict of them by symbol")
    if not data:
        raise FrameError("no data: the dict of frames is empty")
    found = {}
    for symbol, one in data.items():
        if isinstance(one, BarColumns):
            check_columns(one)
            if one.symbol != symbol:
                raise FrameError(f"the columns under {symbol!r} are of {one.symbol!r}: name them the same")
            found[str(symbol)] = one
        elif is_frame(one):
            found[str(symbol)] = columns_from_frame(_single(one, str(symbol)), str(symbol), timeframe)
        else:
            raise FrameError(f"{symbol}: a {type(one).__name__} is no price frame: give a DataFrame")
    return found


def _split(frame: Any, timeframe: str | None) -> dict[str, BarColumns]:
    if frame.columns.nlevels == 2:
        level = _symbol_level(frame)
        symbols = frame.columns.get_level_values(level).unique()
        return {
            str(symbol): columns_from_frame(frame.xs(symbol, axis=1, level=level), str(symbol), timeframe)
            for symbol in symbols
        }
    column = _symbol_column(frame)
    if column is None:
        symbol = str(frame.attrs.get("symbol", _UNNAMED))
        return {symbol: columns_from_frame(frame, symbol, timeframe)}
    if len(frame) and frame[column].isna().any():
        raise FrameError(f"column {column!r}: {int(frame[column].isna().sum())} rows name no symbol; df.dropna()")
    groups = {str(symbol): own for symbol, own in frame.groupby(column, sort=False, observed=True)}
    if not groups:
        raise FrameError("the frame is empty: there are no bars to run on")
    return {symbol: columns_from_frame(own, symbol, timeframe) for symbol, own in groups.items()}


def _symbol_level(frame: Any) -> int:
    """Which of two levels of columns names the symbols: the one that does not hold "close"."""
    return 1 if "close" in map(_plain, frame.columns.get_level_values(0)) else 0


def _symbol_column(frame: Any) -> Any:
    return next((name for name in frame.columns if _plain(name) == "symbol"), None)


def _single(frame: Any, symbol: str) -> Any:
    """One symbol's frame out of a dict, with the second level of columns that yfinance adds taken off."""
    if frame.columns.nlevels == 2:
        level = _symbol_level(frame)
        if len(frame.columns.get_level_values(level).unique()) > 1:
            raise FrameError(f"{symbol}: the frame holds several symbols: give it alone, without the dict")
        return frame.droplevel(level, axis=1)
    column = _symbol_column(frame)
    if column is not None and len(frame[column].unique()) > 1:
        raise FrameError(
            f"{symbol}: the frame's column {column!r} holds several symbols: give it alone, without the dict"
        )
    return frame


def check_columns(columns: BarColumns) -> None:
    """Raise the named error for columns that are no bars: the same checks as a frame gets."""
    lengths = {len(getattr(columns, name)) for name in (*_PRICES, "volume", "open_ns", "close_ns")}
    if len(lengths) > 1:
        raise FrameError(f"{columns.symbol}: the columns are of different lengths {sorted(lengths)}")
    timeframe_ns(columns.timeframe)
    _check_times(columns.open_ns, columns.symbol)
    if not (columns.close_ns > columns.open_ns).all() or not (columns.close_ns[:-1] <= columns.open_ns[1:]).all():
        raise FrameError(f"{columns.symbol}: each bar must close after its own open and not after the next one's")
    _check_prices(columns)


# -- names, numbers, times -------------------------------------------------------------------


def _column_names(
    frame: "pd.DataFrame", symbol: str, wanted: tuple[str, ...], optional: tuple[str, ...]
) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for name in frame.columns:
        plain = _plain(name)
        if plain in wanted or plain in optional:
            if plain in names:
                raise FrameError(f"{symbol}: two columns are {plain!r}, {names[plain]!r} and {name!r}: drop one")
            names[plain] = name
    missing = [name for name in wanted if name not in names]
    if missing:
        have = ", ".join(map(repr, frame.columns)) or "none"
        close = did_you_mean(missing[0], map(_plain, frame.columns))
        hint = close if "Did you mean" in close else ""
        raise FrameError(
            f"{symbol}: the frame has no column {', '.join(map(repr, missing))}; it has {have}.{hint} "
            f"Rename with df.rename(columns=...) to {', '.join(wanted)}"
        )
    return names


def _numbers(frame: "pd.DataFrame", name: Any, symbol: str) -> Floats:
    """A column as floats of its own: what the user does to the frame later changes nothing here."""
    series = frame[name]
    try:
        values: Floats = series.to_numpy(dtype=np.float64, copy=True, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise FrameError(
            f"{symbol}: column {name!r} holds something that is no number ({error}): "
            f"convert it with df[{name!r}] = pandas.to_numeric(df[{name!r}])"
        ) from None
    return values


def _times_of(frame: "pd.DataFrame", symbol: str) -> Times:
    import pandas

    if len(frame) == 0:
        raise FrameError(f"{symbol}: the frame is empty: there are no rows to run on")
    index = frame.index
    if not isinstance(index, pandas.DatetimeIndex):
        column = next(
            (name for name in frame.columns if _plain(name) in ("time", "date", "datetime", "timestamp")), None
        )
        fix = (
            f"df.set_index(pandas.to_datetime(df[{column!r}], utc=True))"
            if column is not None
            else "df.index = pandas.to_datetime(df.index, utc=True)"
        )
        raise FrameError(f"{symbol}: the index is a {type(index).__name__}, not of times: make it so with {fix}")
    if index.tz is None:
        raise NaiveTimeError(
            f"{symbol}: the index has no time zone (it starts at {index[0]}): say which it is, "
            'df.tz_localize("UTC") or for instance df.tz_localize("America/New_York")'
        )
    if index.hasnans:
        raise FrameError(
            f"{symbol}: {int(np.count_nonzero(index.isna()))} rows have no time (NaT): df[df.index.notna()]"
        )
    return np.array(index.as_unit("ns").asi8, dtype=np.int64)


def _stamp(time_ns: int) -> str:
    return str(np.datetime64(int(time_ns), "ns")).replace("T", " ").removesuffix(".000000000") + " UTC"


def _check_times(times_ns: Times, symbol: str, *, ties: bool = False) -> None:
    if not len(times_ns):
        raise FrameError(f"{symbol}: there are no rows to run on")
    after, before = times_ns[1:], times_ns[:-1]
    if not (after >= before if ties else after > before).all():
        if not (after >= before).all():
            row = int(np.argmax(after < before)) + 1
            raise FrameError(
                f"{symbol}: the times are not sorted: row {row} at {_stamp(times_ns[row])} comes after "
                f"{_stamp(times_ns[row - 1])}. Sort them with df.sort_index()"
            )
        row = int(np.argmax(after == before)) + 1
        raise FrameError(
            f"{symbol}: the time {_stamp(times_ns[row])} is there twice (row {row}; {int((after == before).sum())} such "
            'rows in all): keep one with df[~df.index.duplicated(keep="last")]'
        )
    if times_ns[0] < 0:
        raise FrameError(
            f'{symbol}: times before 1970 ({_stamp(times_ns[0])}) cannot be run on: cut them off with df.loc["1970":]'
        )


def _check_prices(columns: BarColumns) -> None:
    """Whole-column tests first; which row it is, is looked for only once something failed."""
    low, high = columns.low, columns.high
    lower, upper = np.minimum(columns.open, columns.close), np.maximum(columns.open, columns.close)
    if not (low.min() > 0.0 and high.max() < inf and (low <= lower).all() and (upper <= high).all()):
        for name in _PRICES:
            values = getattr(columns, name)
            _refuse(columns, name, np.isnan(values), values, "leave such rows out with df.dropna()")
            _refuse(
                columns, name, np.isinf(values), values, "replace({inf: nan}) and then df.dropna(), or correct them"
            )
            _refuse(columns, name, values <= 0.0, values, "a price is above zero; leave such rows out or correct them")
        _refuse(columns, "high", high < low, high, f"it is below the low; {_SWAPPED}", low)
        _refuse(columns, "high", high < upper, high, f"it is below the open or the close; {_SWAPPED}", upper)
        _refuse(columns, "low", low > lower, low, f"it is above the open or the close; {_SWAPPED}", lower)
    volume = columns.volume
    # An unknown volume makes both of these false, and the rows are looked at one by one.
    if not (volume.min() >= 0.0 and volume.max() < inf):
        _refuse(columns, "volume", volume < 0.0, volume, "a volume is zero or more, NaN where it is unknown")
        _refuse(columns, "volume", np.isinf(volume), volume, "a volume is finite, NaN where it is unknown")


_SWAPPED = "correct the rows or leave them out"


def _refuse(columns: BarColumns, name: str, bad: Any, values: Floats, fix: str, other: Floats | None = None) -> None:
    if not bad.any():
        return
    row, count = int(np.argmax(bad)), int(bad.sum())
    value = "NaN" if isnan(values[row]) else repr(float(values[row]))
    against = "" if other is None else f" (against {float(other[row])!r})"
    rows = "" if count == 1 else f" ({count} such rows in all)"
    raise FrameError(f"{columns.symbol}: {name} is {value}{against} at {_stamp(columns.open_ns[row])}{rows}: {fix}")


# -- timeframes ------------------------------------------------------------------------------


def _read_timeframe(open_ns: Times, symbol: str) -> str:
    """The smallest common step. Where the steps have none worth the name (local days with a change
    of clocks, months), the commonest one."""
    if len(open_ns) < 2:
        raise TimeframeError(
            f'{symbol}: one row does not say how long its bar is: pass timeframe=, such as timeframe="1d"'
        )
    steps = np.diff(open_ns)
    smallest = int(steps.min())
    if smallest == int(steps.max()) or not (steps % smallest).any():
        common = smallest
    else:
        lengths, counts = np.unique(steps, return_counts=True)
        common = gcd(*lengths.tolist())
        if common * 2 < smallest:
            commonest = int(np.argmax(counts))
            if counts[commonest] < _COMMON * len(steps):
                raise TimeframeError(
                    f"{symbol}: the times are {smallest / 1e9:g} s and more apart with no common step: "
                    'pass the bars\' own timeframe=, such as timeframe="1m" (or are these ticks, with a column price?)'
                )
            common = int(lengths[commonest])
    try:
        return timeframe_name(common)
    except TimeframeError:
        raise TimeframeError(
            f"{symbol}: the times step by {common / 1e9:g} s, which is no timeframe: "
            'pass the bars\' own timeframe=, such as timeframe="1m"'
        ) from None


def _check_timeframe(open_ns: Times, symbol: str, timeframe: str) -> None:
    length_ns = timeframe_ns(timeframe)
    if len(open_ns) > 1 and int(np.median(np.diff(open_ns))) < length_ns:
        raise TimeframeError(
            f"{symbol}: the rows are {_read_timeframe(open_ns, symbol)} apart, so they are no bars of {timeframe}: "
            "give the bars' own timeframe"
        )


# -- events ----------------------------------------------------------------------------------


def bars_of(columns: BarColumns) -> list[Bar]:
    """The columns as events, oldest first."""
    return _bars(columns, slice(None))


def _bars(columns: BarColumns, rows: slice) -> list[Bar]:
    return list(
        map(
            Bar,
            repeat(columns.symbol),
            repeat(columns.timeframe),
            columns.open[rows].tolist(),
            columns.high[rows].tolist(),
            columns.low[rows].tolist(),
            columns.close[rows].tolist(),
            columns.volume[rows].tolist(),
            columns.open_ns[rows].tolist(),
            columns.close_ns[rows].tolist(),
        )
    )


def bar_batches(columns_by_symbol: Mapping[str, BarColumns], size: int = _BATCH) -> Iterator[list[Bar]]:
    """The bars of all symbols by their close, those of one time in the order of the mapping; in batches."""
    several = list(columns_by_symbol.values())
    if len(several) == 1:
        for start in range(0, len(several[0]), size):
            yield _bars(several[0], slice(start, start + size))
        return
    closes = np.concatenate([columns.close_ns for columns in several])
    order = np.argsort(closes, kind="stable")
    owner = np.repeat(np.arange(len(several)), [len(columns) for columns in several])[order]
    positions = [0] * len(several)
    for start in range(0, len(order), size):
        part = owner[start : start + size]
        counts = np.bincount(part, minlength=len(several)).tolist()
        sources = []
        for number, columns in enumerate(several):
            sources.append(iter(_bars(columns, slice(positions[number], positions[number] + counts[number]))))
            positions[number] += counts[number]
        yield [next(sources[number]) for number in part.tolist()]


def merge(columns_by_symbol: Mapping[str, BarColumns]) -> Iterator[Bar]:
    """The bars of all symbols one by one, by their close; those of one time in the order of the mapping."""
    for batch in bar_batches(columns_by_symbol):
        yield from batch


def ticks_from_frame(frame: "pd.DataFrame", symbol: str) -> list[Tick]:
    """The trades of one symbol from a frame: column price, and size, trade_id and side where there are.

    The index is the time of each trade; several may share one. ``received_ns`` is that time too.
    """
    names = _column_names(frame, symbol, ("price",), ("size", "trade_id", "side"))
    times_ns = _times_of(frame, symbol)
    _check_times(times_ns, symbol, ties=True)
    price = _numbers(frame, names["price"], symbol)
    size = _numbers(frame, names["size"], symbol) if "size" in names else np.full(len(price), np.nan)
    nothing = np.zeros(len(price))
    as_columns = BarColumns(symbol, "1s", price, price, price, price, nothing, times_ns, times_ns)
    for bad, fix in (
        (np.isnan(price), "leave such rows out with df.dropna()"),
        (np.isinf(price) | (price <= 0.0), "a price is above zero and finite; leave such rows out or correct them"),
    ):
        _refuse(as_columns, "price", bad, price, fix)
    _refuse(as_columns, "size", (size < 0.0) | np.isinf(size), size, "a size is zero or more, NaN where it is unknown")
    ids = _optional(frame, names.get("trade_id"), int)
    sides = _optional(frame, names.get("side"), str)
    wrong = next((side for side in sides if side not in ("buy", "sell", None)), None) if "side" in names else None
    if wrong is not None:
        raise FrameError(f"{symbol}: side is {wrong!r}: it is 'buy' or 'sell', the aggressor's, or missing")
    times = times_ns.tolist()
    return list(map(Tick, repeat(symbol), price.tolist(), size.tolist(), times, times, ids, sides))


def _optional(frame: "pd.DataFrame", name: Any, kind: type) -> Any:
    if name is None:
        return repeat(None)
    series = frame[name]
    return [None if missing else kind(value) for value, missing in zip(series, series.isna(), strict=True)]
