"""The real daily bars: as the source has them, adjusted, and without a heavy import."""

import csv
import gzip
import subprocess
import sys
from datetime import UTC, datetime
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from qfkit.core.events import check_event
from qfkit.errors import SymbolError
from qfkit.frames import bars_of, check_columns, columns_from_frame
from qfkit.samples import SAMPLE_SYMBOLS, sample, sample_columns

DAY = 86_400_000_000_000


def source_rows(symbol: str) -> dict[str, dict[str, str]]:
    """The rows of a symbol by date, as the package has them."""
    with gzip.open(files("bokeh_sampledata") / "_data" / "stocks.csv.gz", "rt") as file:
        return {row["Date"]: row for row in csv.DictReader(file) if row["Ticker"] == symbol}


@pytest.mark.parametrize(
    ("symbol", "days", "first"),
    [
        ("AAPL", 3270, "2000-03-01"),
        ("GOOG", 2148, "2004-08-19"),
        ("IBM", 3270, "2000-03-01"),
        ("MSFT", 3270, "2000-03-01"),
    ],
)
def test_every_symbol_has_its_days(symbol, days, first):
    frame = sample(symbol)
    assert len(frame) == days
    assert frame.index[0] == pd.Timestamp(first, tz="UTC") and frame.index[-1] == pd.Timestamp("2013-03-01", tz="UTC")
    assert str(frame.index.tz) == "UTC" and frame.index.name == "time" and frame.index.is_monotonic_increasing
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert frame.attrs["symbol"] == symbol
    assert list(SAMPLE_SYMBOLS) == ["AAPL", "GOOG", "IBM", "MSFT"]


@pytest.mark.parametrize(
    ("before", "after", "as_traded", "adjusted"),
    # By hand from the source: closes 101.25 and 55.63 with Adj Close 3.2530090 and 3.5746152, and so on.
    [
        ("2000-06-20", "2000-06-21", 55.63 / 101.25, 3.5746151757502 / 3.2530090467797),
        ("2005-02-25", "2005-02-28", 44.86 / 88.99, 5.7651352430039 / 5.7182276557615),
    ],
)
def test_the_splits_of_apple_are_no_halvings(before, after, as_traded, adjusted):
    rows, close = source_rows("AAPL"), sample("AAPL")["close"]
    assert float(rows[after]["Close"]) / float(rows[before]["Close"]) == pytest.approx(as_traded) and as_traded < 0.6
    change = close[pd.Timestamp(after, tz="UTC")] / close[pd.Timestamp(before, tz="UTC")]
    assert change == pytest.approx(adjusted, rel=1e-12) and 1.0 < change < 1.1


def test_a_day_is_the_sources_day_in_the_same_proportions():
    row, frame = source_rows("AAPL")["2000-06-21"], sample("AAPL")
    day = frame.loc[pd.Timestamp("2000-06-21", tz="UTC")]
    assert day["close"] == pytest.approx(3.5746151757502, rel=1e-12)
    assert day["open"] / day["close"] == pytest.approx(50.5 / 55.63)
    assert day["high"] / day["close"] == pytest.approx(56.94 / 55.63)
    assert day["low"] / day["close"] == pytest.approx(50.31 / 55.63)
    # What changed hands in money is what it was.
    assert day["close"] * day["volume"] == pytest.approx(55.63 * 4_375_000)
    assert row["Close"] == "55.63" and row["Volume"] == "4375000"


@pytest.mark.parametrize("symbol", SAMPLE_SYMBOLS)
def test_every_bar_can_be_true(symbol):
    columns = sample_columns(symbol)
    check_columns(columns)
    for bar in bars_of(columns):
        check_event(bar)
    assert columns.timeframe == "1d" and (columns.close_ns - columns.open_ns == DAY).all()
    assert columns.open_ns[-1] == int(datetime(2013, 3, 1, tzinfo=UTC).timestamp()) * 10**9
    # No day's return of these four is near a split's.
    returns = columns.close[1:] / columns.close[:-1]
    assert returns.min() > 0.45 and returns.max() < 1.25


def test_columns_and_frame_are_the_same_bars():
    columns, read = sample_columns("IBM"), columns_from_frame(sample("IBM"), "IBM", "1d")
    for name in ("open", "high", "low", "close", "volume", "open_ns", "close_ns"):
        if name == "close_ns":
            assert (getattr(columns, name) == getattr(read, name)).all()
        else:
            np.testing.assert_array_equal(getattr(columns, name), getattr(read, name))


def test_a_frame_is_the_callers_own():
    frame = sample("MSFT")
    first = frame["close"].iloc[0]
    frame.loc[:, "close"] = 1.0
    assert sample("MSFT")["close"].iloc[0] == first
    with pytest.raises(ValueError, match="read-only"):
        sample_columns("MSFT").close[0] = 1.0


@pytest.mark.parametrize("wrong", ["APPL", "appl", "aapl"])
def test_a_wrong_symbol_is_told_the_near_one(wrong):
    with pytest.raises(SymbolError, match=rf"'{wrong}'.*'AAPL'"):
        sample(wrong)
    with pytest.raises(SymbolError, match="Known: AAPL, GOOG, IBM, MSFT"):
        sample_columns("TSLA")


def test_columns_need_no_pandas():
    code = (
        "import sys; from qfkit.samples import sample_columns; sample_columns('GOOG'); print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
