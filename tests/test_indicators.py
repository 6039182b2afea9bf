"""Indicators against TA-Lib and plain numpy, streaming against whole series, and their saved state."""

import gzip
import io
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.resources import files
from math import isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pytest
import talib
from numpy.lib.stride_tricks import sliding_window_view

from qfkit.core.events import Bar
from qfkit.core.indicators import (
    ADX,
    ATR,
    EMA,
    MACD,
    RSI,
    SMA,
    VWAP,
    WMA,
    BollingerBands,
    DonchianChannel,
    Indicator,
    OnBalanceVolume,
    Price,
    RateOfChange,
    StandardDeviation,
    Stochastic,
    ZScore,
    make_indicator,
    restore_indicators,
    save_indicators,
)
from qfkit.errors import DataError, ParameterError

Columns = dict[str, np.ndarray]
Outputs = list[np.ndarray]


class Case(NamedTuple):
    """An indicator, how to read all its lines, and what TA-Lib says they are."""

    kind: type[Indicator]
    arguments: tuple[Any, ...]
    reference: Callable[[Columns], Outputs]
    columns: tuple[str, ...] = ("close",)
    read: tuple[str, ...] = ("value",)
    degree: int = 1
    """The power of the price's scale that the values have."""

    def make(self) -> Indicator:
        return self.kind(*self.arguments)

    def over(self, data: Columns) -> Outputs:
        found = self.make().over(*(data[name] for name in self.columns))
        return list(found) if isinstance(found, tuple) else [found]

    def stream(self, data: Columns, indicator: Indicator | None = None) -> tuple[Outputs, np.ndarray]:
        """Every line's value after each step, and whether the indicator was ready then."""
        indicator = indicator or self.make()
        inputs = bars_of(data) if indicator.takes_bar else data["close"].tolist()
        rows, ready = [], []
        for item in inputs:
            indicator.update(item)
            rows.append([getattr(indicator, name) for name in self.read])
            ready.append(indicator.ready)
        found = np.array(rows, dtype=np.float64).reshape(len(inputs), len(self.read))
        return list(found.T), np.array(ready, dtype=bool)


def bars_of(data: Columns) -> list[Bar]:
    rows = zip(*(data[name].tolist() for name in ("open", "high", "low", "close", "volume")), strict=True)
    return [Bar("A", "1m", *row, place, place + 1) for place, row in enumerate(rows)]


def _bands(period: int, width: float) -> Callable[[Columns], Outputs]:
    def reference(data: Columns) -> Outputs:
        upper, middle, lower = talib.BBANDS(data["close"], period, width, width, 0)
        return [middle, upper, lower]

    return reference


def _channel(period: int) -> Callable[[Columns], Outputs]:
    def reference(data: Columns) -> Outputs:
        upper, lower = talib.MAX(data["high"], period), talib.MIN(data["low"], period)
        return [(upper + lower) / 2.0, upper, lower]

    return reference


def _stochastic(fast_k: int, slow_k: int, slow_d: int) -> Callable[[Columns], Outputs]:
    return lambda data: list(talib.STOCH(data["high"], data["low"], data["close"], fast_k, slow_k, 0, slow_d, 0))


def _directional(period: int) -> Callable[[Columns], Outputs]:
    return lambda data: [
        function(data["high"], data["low"], data["close"], period)
        for function in (talib.ADX, talib.PLUS_DI, talib.MINUS_DI)
    ]


def _cases() -> Iterator[Case]:
    for period in (2, 3, 14, 20, 65, 200):
        yield Case(SMA, (period,), lambda data, n=period: [talib.SMA(data["close"], n)])
        yield Case(EMA, (period,), lambda data, n=period: [talib.EMA(data["close"], n)])
        yield Case(WMA, (period,), lambda data, n=period: [talib.WMA(data["close"], n)])
        yield Case(RSI, (period,), lambda data, n=period: [talib.RSI(data["close"], n)], degree=0)
        yield Case(StandardDeviation, (period,), lambda data, n=period: [talib.STDDEV(data["close"], n, 1.0)])
    for period in (1, 2, 10, 200):
        yield Case(RateOfChange, (period,), lambda data, n=period: [talib.ROC(data["close"], n)], degree=0)
    for period in (1, 2, 14, 100):
        yield Case(
            ATR,
            (period,),
            lambda data, n=period: [talib.ATR(data["high"], data["low"], data["close"], n)],
            ("high", "low", "close"),
        )
    for period in (2, 3, 14, 100):
        yield Case(
            ADX, (period,), _directional(period), ("high", "low", "close"), ("value", "plus_di", "minus_di"), degree=0
        )
    for periods in ((12, 26, 9), (5, 35, 5), (2, 3, 1), (2, 40, 60)):
        yield Case(
            MACD,
            periods,
            lambda data, all_periods=periods: list(talib.MACD(data["close"], *all_periods)),
            read=("value", "signal", "histogram"),
        )
    for period, width in ((20, 2.0), (2, 1.0), (5, 0.5), (100, 3.0)):
        yield Case(BollingerBands, (period, width), _bands(period, width), read=("value", "upper", "lower"))
    for periods in ((14, 3, 3), (5, 3, 3), (1, 1, 1), (2, 1, 4), (70, 9, 5)):
        yield Case(Stochastic, periods, _stochastic(*periods), ("high", "low", "close"), ("slow_k", "slow_d"), degree=0)
    for period in (2, 20, 55, 100):
        yield Case(DonchianChannel, (period,), _channel(period), ("high", "low"), ("value", "upper", "lower"))
    yield Case(
        OnBalanceVolume, (), lambda data: [talib.OBV(data["close"], data["volume"])], ("close", "volume"), degree=0
    )


def _own_cases() -> Iterator[Case]:
    """Those that TA-Lib does not have, and the periods that it does not take."""
    for period in (None, 1, 2, 20, 100):
        yield Case(VWAP, (period,), lambda data, n=period: [_plain_vwap(data, n)], ("high", "low", "close", "volume"))
    for period in (2, 3, 20, 100):
        yield Case(ZScore, (period,), lambda data, n=period: [_plain_z_score(data["close"], n)], degree=0)
    for kind in (SMA, EMA, WMA):
        yield Case(kind, (1,), lambda data: [data["close"]])
    yield Case(Price, (), lambda data: [data["close"]])
    yield Case(
        DonchianChannel,
        (1,),
        lambda data: [(data["high"] + data["low"]) / 2.0, data["high"], data["low"]],
        ("high", "low"),
        ("value", "upper", "lower"),
    )


CASES = list(_cases())
OWN_CASES = list(_own_cases())
ALL_CASES = CASES + OWN_CASES


def _name(case: Case) -> str:
    return "-".join([case.kind.__name__, *map(str, case.arguments)])


each_case = pytest.mark.parametrize("case", ALL_CASES, ids=_name)


def _plain_vwap(data: Columns, period: int | None) -> np.ndarray:
    typical = (data["high"] + data["low"] + data["close"]) / 3.0
    volume = np.nan_to_num(data["volume"])
    found = np.full(len(typical), nan)
    for place in range((period or 1) - 1, len(typical)):
        window = slice(0 if period is None else place - period + 1, place + 1)
        if volume[window].sum() > 0.0:
            found[place] = np.average(typical[window], weights=volume[window])
    return found


def _plain_z_score(close: np.ndarray, period: int) -> np.ndarray:
    windows = sliding_window_view(close, period)
    deviations = windows.std(axis=1)
    flat = windows.max(axis=1) == windows.min(axis=1)
    found = np.full(len(close), nan)
    found[period - 1 :] = np.where(
        flat, 0.0, (close[period - 1 :] - windows.mean(axis=1)) / np.where(flat, 1.0, deviations)
    )
    return found


def _plain_deviation(close: np.ndarray, period: int) -> np.ndarray:
    windows = sliding_window_view(close, period)
    found = np.full(len(close), nan)
    found[period - 1 :] = windows.std(axis=1) * (windows.max(axis=1) != windows.min(axis=1))
    return found


# -- data ---------------------------------------------------------------------------------


def _daily(symbol: str) -> Columns:
    packed = files("bokeh_sampledata").joinpath("_data/stocks.csv.gz").read_bytes()
    frame = pd.read_csv(io.BytesIO(gzip.decompress(packed)))
    frame = frame[frame["Ticker"] == symbol]
    frame = frame.iloc[-1_000:]
    return {name: frame[name.capitalize()].to_numpy(float) for name in ("open", "high", "low", "close", "volume")}


def _walk(seed: int, count: int = 1_000, decimals: int | None = None, step: float = 0.02) -> Columns:
    chance = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(chance.normal(0.0, step, count)))
    open_ = np.concatenate(([100.0], close[:-1]))
    high = np.maximum(open_, close) * (1.0 + chance.exponential(step / 2, count))
    low = np.minimum(open_, close) * (1.0 - chance.uniform(0.0, step / 2, count))
    volume = np.floor(chance.exponential(1e4, count))
    columns = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    if decimals is not None:
        for name in ("open", "high", "low", "close"):
            columns[name] = np.maximum(np.round(columns[name], decimals), 10.0**-decimals)
    return columns


def _stretches(seed: int) -> Columns:
    """Long stretches in which nothing moves and nothing trades, jumps between them."""
    chance = np.random.default_rng(seed)
    close = np.repeat(chance.integers(50, 150, 30), chance.integers(1, 120, 30)).astype(float)
    open_ = np.concatenate((close[:1], close[:-1]))
    volume = np.where(open_ == close, 0.0, 1_000.0)
    return {
        "open": open_,
        "high": np.maximum(open_, close),
        "low": np.minimum(open_, close),
        "close": close,
        "volume": volume,
    }


def _scaled(data: Columns, factor: float) -> Columns:
    return {name: values if name == "volume" else values * factor for name, values in data.items()}


ORDINARY: dict[str, Columns] = {
    "AAPL": _daily("AAPL"),
    "IBM": _daily("IBM"),
    "walk": _walk(1),
    "ties": _walk(2, decimals=1, step=0.001),
    "whole numbers": _walk(3, decimals=0),
}
STRETCHES = _stretches(4)
SHORT = [{name: values[:count] for name, values in ORDINARY["AAPL"].items()} for count in (0, 1, 2, 3, 5, 20)]


def _minute_bars(data_folder: Path) -> Columns:
    with zipfile.ZipFile(data_folder / "equities" / "aapl_minute_20140605_trade.zip") as archive:
        rows = np.loadtxt(io.BytesIO(archive.read(archive.namelist()[0])), delimiter=",")
    columns = {name: rows[:, place] / 10_000.0 for place, name in enumerate(("open", "high", "low", "close"), 1)}
    return {**columns, "volume": rows[:, 5].copy()}


def assert_close(found: Outputs, expected: Outputs, data: Columns, degree: int) -> None:
    """Equal to 1e-9 of the value, or of the price where values pass through zero."""
    scale = float(np.max(data["close"])) if degree else 1.0
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9 * scale)


def assert_identical(found: Outputs, expected: Outputs) -> None:
    """The same bits; any NaN is like any other."""
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype == np.float64
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
        known = ~np.isnan(mine)
        np.testing.assert_array_equal(mine[known].view(np.int64), theirs[known].view(np.int64))


# -- the values ----------------------------------------------------------------------------


@each_case
def test_values_are_those_of_the_reference(case: Case) -> None:
    for data in ORDINARY.values():
        _compare_with_reference(case, data)


def _compare_with_reference(case: Case, data: Columns) -> None:
    expected = case.reference(data)
    if case.kind in (StandardDeviation, BollingerBands):
        # TA-Lib subtracts the square of the mean from the mean of squares: where prices hardly
        # spread its own rounding is larger than the tolerance.
        period = case.arguments[0]
        deviation = _plain_deviation(data["close"], period)
        known = ~(deviation < 1e-3 * data["close"])
        assert np.count_nonzero(known[period:]) > 10
        found = [np.where(known, values, 0.0) for values in case.over(data)]
        assert_close(found, [np.where(known, values, 0.0) for values in expected], data, case.degree)
    else:
        assert_close(case.over(data), expected, data, case.degree)


@each_case
def test_values_of_minute_bars_are_those_of_the_reference(case: Case, data_folder: Path) -> None:
    data = _minute_bars(data_folder)
    assert len(data["close"]) > 600
    if case.kind is StandardDeviation:
        assert_close(case.over(data), [_plain_deviation(data["close"], *case.arguments)], data, case.degree)
    else:
        assert_close(case.over(data), case.reference(data), data, case.degree)
    assert_identical(case.stream(data)[0], case.over(data))


@pytest.mark.parametrize("period", [2, 3, 20, 100, 500])
@pytest.mark.parametrize("name", [*ORDINARY, "stretches"])
def test_deviations_are_those_of_two_passes(period: int, name: str) -> None:
    data = STRETCHES if name == "stretches" else ORDINARY[name]
    close = data["close"]
    expected = _plain_deviation(close, period)
    deviation = StandardDeviation(period).over(close)
    np.testing.assert_allclose(deviation, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(deviation == 0.0, expected == 0.0)
    middle, upper, lower = BollingerBands(period, 2.0).over(close)
    np.testing.assert_allclose(middle, talib.SMA(close, period), rtol=1e-12)
    np.testing.assert_allclose(upper - middle, 2.0 * expected, atol=1e-12 * close.max())
    np.testing.assert_allclose(middle - lower, 2.0 * expected, atol=1e-12 * close.max())


@pytest.mark.parametrize(
    "case", [case for case in ALL_CASES if case.kind not in (StandardDeviation, BollingerBands)], ids=_name
)
def test_values_where_nothing_moves(case: Case) -> None:
    assert_close(case.over(STRETCHES), case.reference(STRETCHES), STRETCHES, case.degree)


@each_case
def test_tiny_and_huge_prices_change_no_bit_but_the_exponent(case: Case) -> None:
    # A power of two is exact in a double, so a difference is a threshold hidden in the code.
    data = ORDINARY["walk"]
    for factor in (2.0**-60, 2.0**60):
        expected = [values * factor**case.degree for values in case.over(data)]
        assert_identical(case.over(_scaled(data, factor)), expected)
        assert_identical(case.stream(_scaled(data, factor))[0], expected)


def test_sums_do_not_drift() -> None:
    values = np.full(100_000, 0.1)
    values[10] = 1e15
    for indicator in (SMA(7), WMA(7), StandardDeviation(7), BollingerBands(7)):
        found = indicator.over(values)
        last = found if isinstance(found, np.ndarray) else found.middle
        assert last[-1] == pytest.approx(0.0 if isinstance(indicator, StandardDeviation) else 0.1, abs=1e-16)


# -- streaming -----------------------------------------------------------------------------


@each_case
def test_streaming_equals_the_whole_series_to_the_last_bit(case: Case) -> None:
    for data in (*ORDINARY.values(), STRETCHES):
        found, ready = case.stream(data)
        whole = case.over(data)
        assert_identical(found, whole)
        if case.kind is VWAP:
            assert int(np.argmax(ready)) == (case.arguments[0] or 1) - 1  # its values may be NaN later on
        else:
            np.testing.assert_array_equal(ready, ~np.isnan(whole[0]))


@each_case
def test_ready_exactly_with_the_first_value_of_the_reference(case: Case) -> None:
    data = ORDINARY["AAPL"]
    ready = case.stream(data)[1]
    np.testing.assert_array_equal(ready, ~np.isnan(case.reference(data)[0]))


@each_case
def test_series_shorter_than_the_period(case: Case) -> None:
    for data in SHORT:
        found, ready = case.stream(data)
        whole = case.over(data)
        assert all(len(values) == len(data["close"]) for values in whole)
        assert_identical(found, whole)
        np.testing.assert_array_equal(ready, ~np.isnan(whole[0]))


@each_case
def test_previous_is_the_value_one_step_before(case: Case) -> None:
    data = ORDINARY["AAPL"]
    indicator = case.make()
    inputs = bars_of(data) if indicator.takes_bar else data["close"].tolist()
    for count, item in enumerate(inputs[:400], 1):
        before = [line.value for line in indicator.lines()]
        indicator.update(item)
        for line, value in zip(indicator.lines(), before, strict=True):
            assert line.previous == value or (isnan(value) and isnan(line.previous))
        assert indicator.count == count


@each_case
def test_whole_series_leave_the_streaming_state_alone(case: Case) -> None:
    data = ORDINARY["AAPL"]
    indicator = case.make()
    expected = case.stream(data)[0]
    half = {name: values[:100] for name, values in data.items()}
    rest = {name: values[100:] for name, values in data.items()}
    case.stream(half, indicator)
    indicator.over(*(data[name] for name in case.columns))
    assert_identical(case.stream(rest, indicator)[0], [values[100:] for values in expected])


def test_series_come_back_with_their_index() -> None:
    index = pd.date_range("2024-01-01", periods=50, freq="D", tz="UTC")
    close = pd.Series(np.arange(50.0) + 1.0, index=index, name="close")
    average = SMA(5).over(close)
    assert isinstance(average, pd.Series)
    assert average.index is close.index
    assert average.iloc[4] == 3.0
    upper = BollingerBands(5).over(close).upper
    assert upper.index is close.index
    assert isinstance(SMA(5).over(close.to_list()), np.ndarray)


@pytest.mark.parametrize(
    ("kind", "bound"),
    [
        (SMA, 6),
        (WMA, 6),
        (EMA, 6),
        (RSI, 6),
        (StandardDeviation, 8),
        (ZScore, 8),
        (DonchianChannel, 6),
        (VWAP, 8),
        (ATR, 6),
    ],
)
def test_a_step_costs_no_more_with_a_long_period(kind: type[Indicator], bound: float) -> None:
    data = _walk(5, count=12_000)
    inputs: list[Any] = bars_of(data) if kind.takes_bar else data["close"].tolist()

    def seconds(period: int) -> float:
        update = kind(period).update
        start = time.perf_counter()
        for item in inputs:
            update(item)
        return time.perf_counter() - start

    # A sum over the window anew at each step would be some 50 times slower here.
    assert min(seconds(2_000) for _ in range(3)) < bound * min(seconds(20) for _ in range(3))


# -- saved state ---------------------------------------------------------------------------


@each_case
def test_state_saved_midway_continues_to_the_last_bit(case: Case) -> None:
    data = ORDINARY["AAPL"]
    expected = case.stream(data)[0]
    length = 420
    for cut in (0, 1, 2, 13, 14, 15, 26, 33, 200, 201, 333):
        first = case.make()
        case.stream({name: values[:cut] for name, values in data.items()}, first)
        packed = msgspec.msgpack.encode(save_indicators([first]))
        second = case.make()
        restore_indicators([second], msgspec.msgpack.decode(packed))
        assert second.count == cut
        rest = case.stream({name: values[cut:length] for name, values in data.items()}, second)[0]
        assert_identical(rest, [values[cut:length] for values in expected])


def test_state_keeps_the_crossings_between_indicators() -> None:
    close = ORDINARY["AAPL"]["close"].tolist()

    def fresh() -> tuple[SMA, EMA, MACD]:
        return SMA(5), EMA(20), MACD(3, 8, 4)

    def ask(indicators: tuple[SMA, EMA, MACD], price: float) -> list[bool]:
        for indicator in indicators:
            indicator.update(price)
        fast, slow, macd = indicators
        return [
            fast.crossed_above(slow),
            slow.crossed_above(fast),
            macd.crossed_below(macd.signal_line),
            macd.histogram_line.crossed_above(0.0),
            macd.signal_line.crossed_below(macd),
            fast.crossed_below(400.0),
        ]

    unbroken = fresh()
    expected = [ask(unbroken, price) for price in close]
    assert all(any(column) for column in zip(*expected, strict=True))
    running = fresh()
    for place, price in enumerate(close):
        if place % 17 == 0:
            packed = msgspec.msgpack.encode(save_indicators(running))
            running = fresh()
            restore_indicators(running, msgspec.msgpack.decode(packed))
        assert ask(running, price) == expected[place], place


def test_state_of_another_indicator_is_refused() -> None:
    state = SMA(5).state()
    with pytest.raises(DataError, match="SMA"):
        EMA(5).restore(state)
    with pytest.raises(DataError, match="period=5"):
        SMA(6).restore(state)
    with pytest.raises(DataError, match="1 indicators, 2 were given"):
        restore_indicators([SMA(5), SMA(5)], save_indicators([SMA(5)]))


def test_state_of_a_single_indicator() -> None:
    first, second = SMA(3), SMA(3)
    for price in (1.0, 2.0, 3.0, 4.0):
        first.update(price)
    second.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state())))
    assert (second.value, second.previous, second.ready, second.count) == (3.0, 2.0, True, 4)


# -- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize("period", [0, -1, 2.5, 2.0, "5", None, True, nan])
@pytest.mark.parametrize(
    "kind", [SMA, EMA, WMA, RSI, RateOfChange, ATR, ADX, StandardDeviation, ZScore, DonchianChannel]
)
def test_a_period_that_is_none(kind: type[Indicator], period: object) -> None:
    with pytest.raises(ParameterError, match=r"period=.*: give a whole number of bars, [12] or more"):
        kind(period)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [RSI, ADX, StandardDeviation, ZScore, BollingerBands])
def test_a_period_of_one_where_two_are_needed(kind: type[Indicator]) -> None:
    with pytest.raises(ParameterError, match="2 or more"):
        kind(1)  # type: ignore[call-arg]


def test_other_arguments_that_make_no_sense() -> None:
    with pytest.raises(ParameterError, match="fast=26 is not below slow=12"):
        MACD(26, 12, 9)
    with pytest.raises(ParameterError, match="signal=0"):
        MACD(12, 26, 0)
    with pytest.raises(ParameterError, match="slow_d=0"):
        Stochastic(14, 3, 0)
    for width in (0.0, -1.0, nan, float("inf"), True, "2"):
        with pytest.raises(ParameterError, match="width="):
            BollingerBands(20, width)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="period=0"):
        VWAP(0)


def test_numpy_whole_numbers_are_periods() -> None:
    assert SMA(np.int64(5)).period == 5


def test_what_is_no_indicator_is_refused_with_the_fix() -> None:
    with pytest.raises(ParameterError, match=r"give a class such as qf\.SMA"):
        make_indicator("SMA", 5)
    with pytest.raises(ParameterError, match=r"self\.indicator\(qf\.SMA"):
        make_indicator(SMA(5))
    with pytest.raises(ParameterError, match=r"SMA\(period: int\): missing"):
        make_indicator(SMA)
    with pytest.raises(ParameterError, match="unexpected keyword argument 'length'"):
        make_indicator(SMA, 5, length=5)


@pytest.mark.parametrize("bad", [nan, float("inf"), -float("inf")])
def test_whole_series_with_missing_values_are_refused(bad: float) -> None:
    values = np.arange(1.0, 11.0)
    values[7] = bad
    for indicator in (
        SMA(3),
        EMA(3),
        WMA(3),
        RSI(3),
        MACD(2, 3, 2),
        BollingerBands(3),
        ZScore(3),
        RateOfChange(3),
        Price(),
    ):
        with pytest.raises(DataError, match=r"values\[7\] is .*dropna"):
            indicator.over(values)
    with pytest.raises(DataError, match=r"high\[7\]"):
        ATR(3).over(values, np.ones(10), np.ones(10))


def test_whole_series_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="different lengths"):
        ATR(3).over(np.ones(5), np.ones(5), np.ones(4))
    with pytest.raises(DataError, match="one dimension"):
        SMA(3).over(np.ones((5, 2)))
    with pytest.raises(DataError, match="array or Series of numbers"):
        SMA(3).over(["a", "b"])


def test_a_missing_price_leaves_a_window_with_it() -> None:
    # Bars with NaN never get past the engine; one fed by hand spoils what contains it.
    average, exponential = SMA(3), EMA(3)
    found = []
    for price in (1.0, 2.0, 3.0, nan, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0):
        average.update(price)
        exponential.update(price)
        found.append(average.value)
    assert found[2] == 2.0
    assert all(isnan(value) for value in found[3:6])
    assert found[-2:] == [8.0, 9.0]
    assert isnan(exponential.value)  # for ever


def test_unknown_volume_counts_as_none() -> None:
    data = dict(ORDINARY["AAPL"])
    holes = np.arange(len(data["volume"])) % 3 == 1
    data["volume"] = np.where(holes, nan, data["volume"])
    filled = {**data, "volume": np.where(holes, 0.0, data["volume"])}
    for case in ALL_CASES:
        if "volume" in case.columns:
            assert_identical(case.over(data), case.over(filled))
            assert_identical(case.stream(data)[0], case.over(filled))


def test_average_price_without_any_volume_is_unknown() -> None:
    data = {name: np.full(4, 10.0) for name in ("open", "high", "low", "close")}
    data["volume"] = np.array([0.0, 0.0, 5.0, 0.0])
    np.testing.assert_array_equal(
        VWAP().over(*(data[name] for name in ("high", "low", "close", "volume"))), [nan, nan, 10, 10]
    )
    np.testing.assert_array_equal(
        VWAP(2).over(*(data[name] for name in ("high", "low", "close", "volume"))), [nan, nan, 10, 10]
    )


# -- an indicator of one's own -----------------------------------------------------------------


class Doubled(Indicator):
    """As a user would write one: no slots, no over."""

    parameters = ("factor",)

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.factor = factor
        self.seen = [0.0]

    def update(self, value: float) -> None:
        self.count += 1
        self.previous = self.value
        self.seen = [value]
        self.value = value * self.factor
        self.ready = True


def test_an_indicator_of_ones_own() -> None:
    mine = make_indicator(Doubled, 3.0)
    np.testing.assert_array_equal(mine.over([1.0, 2.0]), [3.0, 6.0])
    mine.update(4.0)
    other = Doubled(3.0)
    other.restore(mine.state())
    assert (other.value, other.seen, other.count) == (12.0, [4.0], 1)
    assert repr(mine) == "Doubled(3.0) = 12"


def test_a_bar_indicator_of_ones_own_needs_its_own_over() -> None:
    class Spread(Indicator):
        takes_bar = True

    with pytest.raises(NotImplementedError, match="Spread takes bars"):
        Spread().over(np.ones(3))


def test_text_of_an_indicator() -> None:
    average = SMA(2)
    assert repr(average) == "SMA(2) = nan (not ready)"
    average.update(1.0)
    average.update(2.0)
    assert repr(average) == "SMA(2) = 1.5"
