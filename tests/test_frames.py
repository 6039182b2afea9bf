"""Frames: what they may be, and what each broken one is told."""

import numpy as np
import pandas as pd
import pytest

from qfkit.core.events import Bar
from qfkit.errors import DataError, FrameError, NaiveTimeError, TimeframeError
from qfkit.frames import (
    bar_batches,
    bars_of,
    columns_by_symbol,
    columns_from_frame,
    is_tick_frame,
    merge,
    ticks_from_frame,
)

MINUTE = 60_000_000_000
DAY = 86_400_000_000_000


def frame(rows: int = 4, start: str = "2024-01-02 09:30", freq: str = "1min", tz: str | None = "UTC") -> pd.DataFrame:
    index = pd.date_range(start, periods=rows, freq=freq, tz=tz)
    steps = np.arange(rows, dtype=float)
    return pd.DataFrame(
        {"open": 10 + steps, "high": 12 + steps, "low": 9 + steps, "close": 11 + steps, "volume": 100.0}, index=index
    )


def test_a_frame_becomes_columns():
    columns = columns_from_frame(frame(), "A")
    first = pd.Timestamp("2024-01-02 09:30", tz="UTC").value
    assert columns.symbol == "A" and columns.timeframe == "1m" and len(columns) == 4
    assert columns.open_ns.tolist() == [first + number * MINUTE for number in range(4)]
    assert (columns.close_ns - columns.open_ns == MINUTE).all()
    assert columns.close.tolist() == [11.0, 12.0, 13.0, 14.0]
    assert bars_of(columns)[1] == Bar("A", "1m", 11.0, 13.0, 10.0, 12.0, 100.0, first + MINUTE, first + 2 * MINUTE)


def test_column_names_in_any_case_with_blanks_and_others_besides():
    given = frame().rename(
        columns={"open": "Open", "high": " HIGH ", "low": "Low", "close": "Close", "volume": "Volume"}
    )
    given["Adj Close"] = 1.0
    assert columns_from_frame(given, "A").high.tolist() == [12.0, 13.0, 14.0, 15.0]


def test_volume_is_optional_and_unknown_volumes_stay_unknown():
    assert np.isnan(columns_from_frame(frame().drop(columns="volume"), "A").volume).all()
    given = frame()
    given.iloc[1, 4] = np.nan
    assert np.isnan(columns_from_frame(given, "A").volume).tolist() == [False, True, False, False]


def test_integers_nullable_numbers_and_coarse_times_are_read():
    given = frame().astype({"volume": "Int64", "open": "float32", "close": "int64"})
    given.index = given.index.as_unit("s")
    columns = columns_from_frame(given, "A")
    assert columns.close.dtype == np.float64 and columns.timeframe == "1m"


def test_columns_do_not_change_with_the_frame():
    given = frame()
    columns = columns_from_frame(given, "A")
    given.iloc[:, :] = 1.0
    assert columns.close.tolist() == [11.0, 12.0, 13.0, 14.0]


@pytest.mark.parametrize(
    ("freq", "name"),
    [
        ("1s", "1s"),
        ("5s", "5s"),
        ("1min", "1m"),
        ("15min", "15m"),
        ("1h", "1h"),
        ("4h", "4h"),
        ("1D", "1d"),
        ("7D", "1w"),
    ],
)
def test_timeframe_is_read_off_the_times(freq, name):
    assert columns_from_frame(frame(freq=freq), "A").timeframe == name


def test_timeframe_with_gaps_is_the_smallest_common_step():
    given = frame(10).iloc[[0, 2, 5, 7, 9]]
    assert columns_from_frame(given, "A").timeframe == "1m"
    weekdays = frame(30, freq="1B")
    assert columns_from_frame(weekdays, "A").timeframe == "1d"


def test_local_days_with_a_change_of_clocks_are_days_and_never_overlap():
    given = frame(30, start="2024-03-01", freq="1D", tz="America/New_York")
    columns = columns_from_frame(given, "A")
    assert columns.timeframe == "1d"
    assert (columns.close_ns[:-1] <= columns.open_ns[1:]).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda f: f.iloc[:0], FrameError, "empty"),
        (lambda f: f.drop(columns="close"), FrameError, "no column 'close'"),
        (lambda f: f.rename(columns={"close": "clsoe"}), FrameError, "Did you mean 'clsoe'"),
        (lambda f: f.assign(Close=1.0), FrameError, "two columns are 'close'"),
        (lambda f: f.assign(close=["1", "2", "x", "4"]), FrameError, "no number"),
        (
            lambda f: f.assign(close=[11.0, np.nan, 13.0, np.nan]),
            FrameError,
            r"close is NaN at 2024-01-02 09:31:00 UTC \(2 such rows.*dropna",
        ),
        (lambda f: f.assign(high=[12.0, np.inf, 14.0, 15.0]), FrameError, "high is inf"),
        (lambda f: f.assign(low=[9.0, 0.0, 11.0, 12.0]), FrameError, "low is 0.0"),
        (lambda f: f.assign(low=[9.0, -1.0, 11.0, 12.0]), FrameError, "low is -1.0"),
        (lambda f: f.assign(high=[12.0, 9.5, 14.0, 15.0]), FrameError, "high is 9.5.*against 10.0.*below the low"),
        (lambda f: f.assign(high=[12.0, 11.5, 14.0, 15.0]), FrameError, "high is 11.5.*below the open or the close"),
        (lambda f: f.assign(low=[9.0, 11.5, 11.0, 12.0]), FrameError, "low is 11.5.*above the open or the close"),
        (lambda f: f.assign(volume=[1.0, -1.0, 1.0, 1.0]), FrameError, "volume is -1.0"),
        (lambda f: f.assign(volume=[1.0, np.inf, 1.0, 1.0]), FrameError, "volume is inf"),
        (lambda f: f.iloc[::-1], FrameError, "not sorted.*sort_index"),
        (lambda f: f.iloc[[0, 1, 1, 2]], FrameError, "twice.*duplicated"),
        (lambda f: f.tz_localize(None), NaiveTimeError, 'tz_localize\\("UTC"\\)'),
        (lambda f: f.reset_index(names="Date"), FrameError, r"RangeIndex.*df\['Date'\]"),
        (lambda f: f.reset_index(drop=True), FrameError, "to_datetime"),
        (lambda f: f.set_axis(pd.DatetimeIndex([*f.index[:3], pd.NaT])), FrameError, "NaT"),
        (lambda f: f.set_axis(f.index - pd.Timedelta(days=30_000)), FrameError, "1970"),
        (lambda f: f.iloc[:1], TimeframeError, "timeframe="),
        (
            lambda f: f.set_axis(f.index[0] + pd.to_timedelta([0, 0.4, 1.1, 7.37], unit="s")),
            TimeframeError,
            "timeframe=",
        ),
    ],
)
def test_a_broken_frame_is_told_the_fix(change, error, words):
    with pytest.raises(error, match=words) as caught:
        columns_from_frame(change(frame()), "A")
    assert str(caught.value).startswith("A: ")


def test_a_timeframe_given_is_taken_unless_the_rows_are_closer():
    assert columns_from_frame(frame().iloc[:1], "A", "5m").timeframe == "5m"
    with pytest.raises(TimeframeError, match="1m apart.*no bars of 1h"):
        columns_from_frame(frame(), "A", "1h")
    with pytest.raises(TimeframeError, match="timeframe='1x'"):
        columns_from_frame(frame(), "A", "1x")


def test_the_symbol_of_a_frame():
    assert list(columns_by_symbol(frame())) == ["data"]
    named = frame()
    named.attrs["symbol"] = "AAPL"
    assert list(columns_by_symbol(named)) == ["AAPL"]
    several = pd.concat([frame().assign(symbol="B"), frame(3).assign(symbol="A")])
    found = columns_by_symbol(several)
    assert list(found) == ["B", "A"] and len(found["A"]) == 3
    wide = pd.concat({"X": frame(), "Y": frame()}, axis=1).swaplevel(axis=1)
    assert list(columns_by_symbol(wide)) == ["X", "Y"]
    assert list(columns_by_symbol(wide.swaplevel(axis=1))) == ["X", "Y"]


def test_dicts_of_frames_and_columns():
    columns = columns_from_frame(frame(), "B")
    found = columns_by_symbol({"A": frame(), "B": columns})
    assert list(found) == ["A", "B"] and found["B"] is columns
    assert columns_by_symbol(columns) == {"B": columns}
    with pytest.raises(FrameError, match="empty"):
        columns_by_symbol({})
    with pytest.raises(FrameError, match="A: a list"):
        columns_by_symbol({"A": [1]})
    with pytest.raises(DataError, match="a list is no price data"):
        columns_by_symbol([1])
    with pytest.raises(FrameError, match="name them the same"):
        columns_by_symbol({"A": columns})
    broken = frame()
    broken.iloc[2, 3] = np.nan
    with pytest.raises(FrameError, match="^B: close is NaN"):
        columns_by_symbol({"A": frame(), "B": broken})


def test_merge_goes_by_close_and_then_by_the_order_of_the_dict():
    minutes = columns_from_frame(frame(10), "M")
    fives = columns_from_frame(frame(2, freq="5min"), "F")
    merged = list(merge({"M": minutes, "F": fives}))
    assert [(one.symbol, (one.close_ns - minutes.open_ns[0]) // MINUTE) for one in merged] == [
        ("M", 1), ("M", 2), ("M", 3), ("M", 4), ("M", 5), ("F", 5), ("M", 6), ("M", 7), ("M", 8), ("M", 9), ("M", 10), ("F", 10),
    ]  # fmt: skip
    assert [one for batch in bar_batches({"M": minutes, "F": fives}, size=3) for one in batch] == merged
    assert list(merge({"M": minutes})) == bars_of(minutes)


def test_ticks_from_a_frame():
    index = pd.to_datetime([0, 1, 1, 5], unit="s", utc=True)
    given = pd.DataFrame(
        {"Price": [1.0, 2.0, 3.0, 4.0], "size": [1.0, np.nan, 2.0, 0.0], "side": ["buy", "sell", None, "buy"]},
        index=index,
    )
    assert is_tick_frame(given) and not is_tick_frame(frame())
    ticks = ticks_from_frame(given, "A")
    assert [tick.price for tick in ticks] == [1.0, 2.0, 3.0, 4.0]
    assert [tick.time_ns for tick in ticks] == [0, 1_000_000_000, 1_000_000_000, 5_000_000_000]
    assert np.isnan(ticks[1].size) and [tick.side for tick in ticks] == ["buy", "sell", None, "buy"]
    assert np.isnan([tick.size for tick in ticks_from_frame(given[["Price"]], "A")]).all()
    with pytest.raises(FrameError, match="price is 0.0"):
        ticks_from_frame(given.assign(Price=[1.0, 0.0, 1.0, 1.0]), "A")
    with pytest.raises(FrameError, match="price is NaN.*dropna"):
        ticks_from_frame(given.assign(Price=[1.0, np.nan, 1.0, 1.0]), "A")
    with pytest.raises(FrameError, match="size is -1.0"):
        ticks_from_frame(given.assign(size=-1.0), "A")
    with pytest.raises(FrameError, match="side is 'b'"):
        ticks_from_frame(given.assign(side="b"), "A")
    with pytest.raises(FrameError, match="not sorted"):
        ticks_from_frame(given.iloc[::-1], "A")
    with pytest.raises(NaiveTimeError):
        ticks_from_frame(given.tz_localize(None), "A")
