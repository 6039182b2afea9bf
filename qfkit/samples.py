"""Real daily bars of four shares, there with no network and no key.

They come with the package bokeh-sampledata, which had them from Quandl's WIKI prices; they end on
2013-03-01. Its prices are as traded. Here they are adjusted for splits and dividends: all four
prices times ``Adj Close / Close``, the volume divided by it.
"""

import csv
import gzip
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qfkit.errors import FrameError, SymbolError, did_you_mean
from qfkit.tables import BarColumns

if TYPE_CHECKING:
    import pandas

__all__ = ["SAMPLE_SYMBOLS", "sample", "sample_columns"]

SAMPLE_SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")

_DAY_NS = 86_400 * 1_000_000_000
_PACKAGE = "bokeh_sampledata"
_COLUMNS = ["Ticker", "Date", "Open", "High", "Low", "Close", "Volume", "Adj Close"]


def sample(symbol: str) -> "pandas.DataFrame":
    """Real daily bars of AAPL, IBM or MSFT (3,270 days from 2000-03-01), or of GOOG (from 2004-08-19).

    Columns open, high, low, close, volume, adjusted for splits and dividends; the index ``time``
    is each bar's open. A New York trading day stands as the UTC day of its date: it opens at
    00:00 UTC and closes 24 hours later, whatever the hours of the exchange. Prices so adjusted
    are right as returns, but nobody ever paid them. Raises :class:`~qfkit.errors.SymbolError`
    for any other symbol.
    """
    import pandas

    columns = sample_columns(symbol)
    index = pandas.DatetimeIndex(columns.open_ns.view("datetime64[ns]"), name="time").tz_localize("UTC")
    names = ("open", "high", "low", "close", "volume")
    frame = pandas.DataFrame({name: getattr(columns, name).copy() for name in names}, index=index)
    frame.attrs["symbol"] = columns.symbol
    return frame


def sample_columns(symbol: str) -> BarColumns:
    """The bars of :func:`sample` as arrays, which cannot be written to; pandas is not imported."""
    if symbol not in SAMPLE_SYMBOLS:
        close = did_you_mean(str(symbol).upper(), SAMPLE_SYMBOLS)
        raise SymbolError(f"there are no sample bars of {symbol!r}.{close}")
    return _read(_path(), symbol)


def _path() -> Path:
    # The package itself is not imported: its modules bring pandas.
    found = find_spec(_PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / "_data" / "stocks.csv.gz"
        if path.is_file():
            return path
    raise FrameError(
        "the sample bars are not there: install them with pip install --upgrade bokeh-sampledata "
        "(its file _data/stocks.csv.gz is what is read)"
    )


@lru_cache(maxsize=len(SAMPLE_SYMBOLS))
def _read(path: Path, symbol: str) -> BarColumns:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if header != _COLUMNS:
            raise FrameError(
                f"{path} has the columns {', '.join(header)}, not {', '.join(_COLUMNS)}: "
                "install another version of bokeh-sampledata"
            )
        own = sorted((row for row in rows if row[0] == symbol), key=lambda row: row[1])
    if not own:
        raise FrameError(f"{path} has no rows of {symbol}: install another version of bokeh-sampledata")
    open_ns = np.array([row[1] for row in own], dtype="datetime64[ns]").astype(np.int64)
    opens, highs, lows, closes, volume, adjusted = np.array([row[2:] for row in own], dtype=np.float64).T
    factor = adjusted / closes
    opens = opens * factor
    # By rounding a product may leave the bar by its last digit; high and low enclose the others again.
    highs = np.maximum.reduce([highs * factor, opens, adjusted])
    lows = np.minimum.reduce([lows * factor, opens, adjusted])
    arrays = [opens, highs, lows, adjusted.copy(), volume / factor, open_ns, open_ns + _DAY_NS]
    for array in arrays:
        array.flags.writeable = False
    return BarColumns(symbol, "1d", *arrays)
