"""History in a cell: bars of the past as DataFrames, from the providers that also stream."""

import time
from collections.abc import Iterable
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import (
    ParameterError,
    SymbolError,
    TimeframeError,
    did_you_mean,
)
from qfkit.feeds.bar_source import BarSource
from qfkit.feeds.binance_pairs import is_pair
from qfkit.feeds.moments import Moment, moment_ns
from qfkit.history_cache import HistoryCache, bars_of, columns_where
from qfkit.live.runner import run
from qfkit.run_progress import RunProgress
from qfkit.tables import BarColumns

if TYPE_CHECKING:
    import pandas

__all__ = ["history", "history_source"]

_DAY_NS = 86_400 * 1_000_000_000
_CLASSES = {
    "alphavantage": ("qfkit.feeds.alpha_vantage_rest", "AlphaVantageRest"),
    "binance": ("qfkit.feeds.binance_rest", "BinanceRest"),
    "yahoo": ("qfkit.feeds.yahoo_rest", "YahooRest"),
}


@overload
def history(  # type: ignore[overload-overlap]
    symbols: str,
    *,
    days: float | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    timeframe: str = "1d",
    source: str | BarSource = "auto",
    unfinished: Literal["drop", "mark"] = "drop",
    progress: bool | None = None,
    use_cache: bool = True,
) -> "pandas.DataFrame": ...


@overload
def history(
    symbols: Iterable[str],
    *,
    days: float | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    timeframe: str = "1d",
    source: str | BarSource = "auto",
    unfinished: Literal["drop", "mark"] = "drop",
    progress: bool | None = None,
    use_cache: bool = True,
) -> "dict[str, pandas.DataFrame]": ...


def history(
    symbols: str | Iterable[str],
    *,
    days: float | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    timeframe: str = "1d",
    source: str | BarSource = "auto",
    unfinished: Literal["drop", "mark"] = "drop",
    progress: bool | None = None,
    use_cache: bool = True,
) -> "pandas.DataFrame | dict[str, pandas.DataFrame]":
    """Bars of the past: a DataFrame for one symbol, a dict of them for several, as ``qf.backtest`` takes them.

    Columns open, high, low, close, volume; the index ``time`` is each bar's open, in UTC. Given are
    the bars that open from ``start`` until before ``end``, or in the last ``days`` before it.

    - ``start``, ``end``: times with a zone, such as ``"2024-05-01T09:30-04:00"``; a date alone is
      its midnight in UTC. Without ``end``: until now.
    - ``timeframe``: "1d", "1h", "5m", "1m", …: what the source has, and how far back, differs.
    - ``source``: "yahoo", "binance", "alphavantage" (with the key of ``ALPHAVANTAGE_API_KEY``), a
      :class:`~qfkit.feeds.bar_source.BarSource`, or "auto": Binance for crypto pairs such as
      BTCUSDT, else Yahoo.
    - ``unfinished``: the bar that is not over yet is left out ("drop"), or kept, and a column
      ``is_finished`` says which it is ("mark").
    - ``progress``: None shows a bar on long work in a terminal or notebook.
    - ``use_cache``: what was fetched before is read from disk; False asks for all of it anew and keeps nothing.

    Prices are the source's own: Yahoo's are adjusted for splits (not dividends), as of today. Raises
    :class:`ParameterError`, :class:`NaiveTimeError` or :class:`TimeframeError` for what makes no
    sense, :class:`SymbolError` for a symbol the source does not have or has no bars of, and
    another :class:`FeedError` where it refuses or cannot be reached. What came before stays in the cache.
    """
    names = [symbols] if isinstance(symbols, str) else list(dict.fromkeys(symbols))
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ParameterError(f'symbols={symbols!r}: give a symbol or a list of them, as in ["AAPL", "MSFT"]')
    if unfinished not in ("drop", "mark"):
        raise ParameterError(f'unfinished={unfinished!r}: the last bar is left out ("drop") or marked ("mark")')
    timeframe_ns(timeframe)
    now_ns = time.time_ns()
    start_ns, end_ns = _span(days, start, end, now_ns)
    cache = HistoryCache() if use_cache else None
    with RunProgress(
        f"history of {', '.join(names[:3])}{', …' if len(names) > 3 else ''}", None, shown=progress, unit="bars"
    ) as bar:
        count = _Count(bar)
        found = run(_all_of(names, source, timeframe, start_ns, end_ns, cache, now_ns, count))
    frames = {name: _frame(columns, now_ns, unfinished) for name, columns in found.items()}
    return frames[names[0]] if isinstance(symbols, str) else frames


def history_source(source: str | BarSource, symbol: str) -> BarSource:
    """The source that a name means for a symbol; one that is a source already is itself."""
    if not isinstance(source, str):
        return source
    name = source.strip().lower()
    if name == "auto":
        name = "binance" if is_pair(symbol) else "yahoo"
    if name not in _CLASSES:
        raise ParameterError(f"there is no source {source!r}.{did_you_mean(name, ('auto', *_CLASSES))}")
    module, kind = _CLASSES[name]
    made: BarSource = getattr(import_module(module), kind)()
    return made


class _Count:
    """Counts the bars as their pages arrive."""

    def __init__(self, bar: RunProgress) -> None:
        self._bar = bar
        self._bars = 0

    def __call__(self, bars: int) -> None:
        self._bars += bars
        self._bar.update(self._bars)


async def _all_of(
    symbols: list[str],
    source: str | BarSource,
    timeframe: str,
    start_ns: int,
    end_ns: int,
    cache: HistoryCache | None,
    now_ns: int,
    count: _Count,
) -> dict[str, BarColumns]:
    """The bars of each symbol, one after the other: the sources keep their limits, which are a client's."""
    sources: dict[str, BarSource] = {}
    found: dict[str, BarColumns] = {}
    unknown: list[str] = []
    try:
        for symbol in symbols:
            own = history_source(source, symbol)
            own = sources.setdefault(own.name, own)
            if timeframe not in own.timeframes:
                raise TimeframeError(
                    f"{own.name} has no bars of {timeframe!r}: it has {', '.join(own.timeframes)}; "
                    "qf.backtest builds higher ones itself"
                )
            try:
                columns = await bars_of(
                    own, symbol, timeframe, start_ns, end_ns, cache=cache, now_ns=now_ns, on_progress=count
                )
            except SymbolError as error:
                # The others are fetched all the same and kept, so the next call is quick.
                unknown.append(str(error) if symbol in str(error) else f"{symbol}: {error}")
            else:
                found[symbol] = columns
    finally:
        for one in sources.values():
            await one.close()
    if unknown:
        raise SymbolError(" ".join(unknown))
    empty = [symbol for symbol, columns in found.items() if not (columns.close_ns <= now_ns).any()]
    if empty:
        raise SymbolError(
            f"{', '.join(empty)}: no finished bars of {timeframe} between {_stamp(start_ns)} and {_stamp(end_ns)}: "
            "ask for a longer time, another timeframe, or look at the symbol"
        )
    return found


def _frame(columns: BarColumns, now_ns: int, unfinished: str) -> "pandas.DataFrame":
    import pandas

    is_finished = columns.close_ns <= now_ns
    if unfinished == "drop":
        columns = columns_where(columns, is_finished)
    index = pandas.DatetimeIndex(columns.open_ns, dtype="datetime64[ns, UTC]", name="time")
    names = ("open", "high", "low", "close", "volume")
    frame = pandas.DataFrame({name: getattr(columns, name) for name in names}, index=index)
    if unfinished == "mark":
        frame["is_finished"] = is_finished
    frame.attrs["symbol"] = columns.symbol
    frame.attrs["timeframe"] = columns.timeframe
    return frame


# -- times -----------------------------------------------------------------------------------


def _span(days: float | None, start: Moment | None, end: Moment | None, now_ns: int) -> tuple[int, int]:
    if (days is None) == (start is None):
        given = "neither" if days is None else "both"
        raise ParameterError(f"days= or start= says where the history begins, {given} was given: as in days=90")
    end_ns = now_ns if end is None else min(moment_ns(end, "end"), now_ns)
    if days is not None:
        if isinstance(days, bool) or not isinstance(days, int | float | np.number) or not 0.0 < days < inf:
            raise ParameterError(f"days={days!r}: a number above zero, as in days=90")
        start_ns = max(0, end_ns - int(float(days) * _DAY_NS))
    else:
        assert start is not None
        start_ns = moment_ns(start, "start")
    if start_ns >= end_ns:
        raise ParameterError(
            f"the history would begin at {_stamp(start_ns)} and end at {_stamp(end_ns)}, which is not after it"
        )
    return start_ns, end_ns


def _stamp(time_ns: int) -> str:
    return str(np.datetime64(time_ns, "ns").astype("datetime64[s]")).replace("T", " ") + " UTC"
