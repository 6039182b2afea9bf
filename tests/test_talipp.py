"""talipp's streaming indicators inside a strategy: talipp's own numbers, in bounded memory."""

import subprocess
import sys
from collections.abc import Callable
from math import isnan, nan
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from talipp import indicators as talipp
from talipp.input import SamplingPeriodType
from talipp.ma import MAType
from talipp.ohlcv import OHLCV

from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Bar
from qfkit.core.indicators import SMA, adapt, make_indicator, restore_indicators, save_indicators
from qfkit.core.strategy import Strategy
from qfkit.core.talipp_adapter import TalippBarIndicator
from qfkit.errors import DataError, ParameterError
from tests.support import walk

BARS = walk(1_500, seed=11)

CATALOGUE: dict[str, tuple[Any, ...]] = {
    "ADX": (14, 14),
    "ALMA": (9, 0.85, 6),
    "AO": (5, 34),
    "ATR": (14,),
    "AccuDist": (),
    "Aroon": (14,),
    "BB": (20, 2.0),
    "BOP": (),
    "CCI": (20,),
    "CHOP": (14,),
    "ChaikinOsc": (3, 10),
    "ChandeKrollStop": (10, 1.5, 9),
    "CoppockCurve": (11, 14, 10),
    "DEMA": (10,),
    "DPO": (20,),
    "DonchianChannels": (20,),
    "EMA": (20,),
    "EMV": (14, 10_000),
    "ForceIndex": (13,),
    "HMA": (16,),
    "IBS": (),
    "Ichimoku": (26, 9, 52, 26, 52),
    "KAMA": (10, 2, 30),
    "KST": (10, 10, 15, 10, 20, 10, 30, 15, 9),
    "KVO": (34, 55),
    "KeltnerChannels": (20, 10, 2.0, 2.0),
    "MACD": (12, 26, 9),
    "MassIndex": (9, 9, 25),
    "McGinleyDynamic": (14,),
    "MeanDev": (14,),
    "NATR": (14,),
    "OBV": (),
    "ParabolicSAR": (0.02, 0.02, 0.2),
    "ROC": (10,),
    "RSI": (14,),
    "RogersSatchell": (10,),
    "SFX": (12, 12, 3),
    "SMA": (20,),
    "SMMA": (20,),
    "SOBV": (10,),
    "STC": (23, 50, 10, 3),
    "StdDev": (20,),
    "Stoch": (14, 3),
    "StochRSI": (14, 14, 3, 3),
    "SuperTrend": (10, 3),
    "T3": (5, 0.7),
    "TEMA": (10,),
    "TRIX": (15,),
    "TSI": (25, 13),
    "TTM": (20,),
    "UO": (7, 14, 28),
    "VTX": (14,),
    "VWAP": (),
    "VWMA": (20,),
    "WMA": (20,),
    "Williams": (14,),
    "ZLEMA": (20,),
}


def own_values(name: str, bars: list[Bar] = BARS) -> list[Any]:
    """What talipp gives by itself, with all it ever saw in memory."""
    source = getattr(talipp, name)(*CATALOGUE[name])
    takes_bars = adapt(getattr(talipp, name), *CATALOGUE[name]).takes_bar
    outputs = []
    for bar in bars:
        source.add(OHLCV(bar.open, bar.high, bar.low, bar.close, bar.volume) if takes_bars else bar.close)
        outputs.append(source.output_values[-1])
    return outputs


def first_number(output: Any) -> float:
    if output is None:
        return nan
    value = next(iter(vars(output).values())) if hasattr(output, "__dataclass_fields__") else output
    return nan if value is None else float(value)


def test_the_catalogue_is_talipps() -> None:
    known = {name for name in dir(talipp) if isinstance(getattr(talipp, name), type) and name[0].isupper()}
    assert set(CATALOGUE) == known - {"FibonacciRetracement", "PivotsHL", "ZigZag"}


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_gives_talipps_own_numbers_in_bounded_memory(name: str) -> None:
    indicator = make_indicator(getattr(talipp, name), *CATALOGUE[name])
    expected = own_values(name)
    kept = []
    for bar, output in zip(BARS, expected, strict=True):
        indicator.update(bar if indicator.takes_bar else bar.close)
        number = first_number(output)
        assert indicator.output == output
        assert indicator.value == number or (isnan(indicator.value) and isnan(number))
        kept.append(len(indicator._source.input_values))
    assert indicator.ready
    assert indicator.count == len(BARS)
    assert max(kept) <= 1_000
    assert len(indicator._source.output_values) <= 1_000
    assert repr(indicator).startswith(f"{name} of talipp = ")


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_goes_on_from_a_saved_state(name: str) -> None:
    kind, arguments = getattr(talipp, name), CATALOGUE[name]
    expected = own_values(name, BARS[:700])
    for cut in (0, 1, 30, 450):
        first, second = make_indicator(kind, *arguments), make_indicator(kind, *arguments)
        for bar in BARS[:cut]:
            first.update(bar if first.takes_bar else bar.close)
        packed = msgspec.msgpack.encode(save_indicators([first]))
        restore_indicators([second], msgspec.msgpack.decode(packed))
        assert (second.count, second.ready) == (first.count, first.ready)
        assert second.output == first.output
        for bar, output in zip(BARS[cut:700], expected[cut:], strict=True):
            second.update(bar if second.takes_bar else bar.close)
            assert second.output == output


class Recorder(Strategy):
    """Writes down what it sees of one indicator on each bar."""

    declare: Callable[[Strategy], Any]
    level = 0.0

    def setup(self) -> None:
        self.line = type(self).declare(self)
        self.average = self.indicator(SMA, 2)

    def on_start(self) -> None:
        self.seen: list[tuple[float, float, bool, bool]] = []

    def on_bar(self, bar: Bar) -> None:
        line = self.line[bar.symbol]
        self.seen.append(
            (line.value, line.previous, line.crossed_above(self.level), line.crossed_above(self.average[bar.symbol]))
        )


@pytest.mark.parametrize("name", ["SMA", "EMA", "RSI", "MACD", "BB", "ATR"])
def test_in_a_strategy_they_give_talipps_own_numbers(name: str) -> None:
    kind, arguments = getattr(talipp, name), CATALOGUE[name]
    expected = [first_number(output) for output in own_values(name)]
    level = float(np.nanmedian(expected))
    recorder = type("Mine", (Recorder,), {"declare": lambda self: self.indicator(kind, *arguments), "level": level})()
    engine = Engine({"mine": recorder}, cash=1e6, costs=Costs.ideal())
    engine.process_all(BARS)
    assert not engine.exceptions
    first = len(BARS) - len(recorder.seen)
    # talipp gives MACD's first field before its signal; the strategy is called once all are there.
    assert 0 < first < 40
    assert [row[0] for row in recorder.seen] == expected[first:]
    assert [row[1] for row in recorder.seen[1:]] == expected[first:-1]
    closes = [bar.close for bar in BARS]
    averages = [(before + close) / 2.0 for before, close in zip(closes[first - 1 :], closes[first:], strict=False)]
    for column, others in ((2, [level] * len(averages)), (3, averages)):
        sign, crossed = 0, []
        for value, other in zip(expected[first:], others, strict=True):
            now = (value - other > 1e-9) - (value - other < -1e-9)
            crossed.append(now > 0 > sign)
            sign = now or sign
        assert [row[column] for row in recorder.seen[1:]] == crossed[1:]
    assert any(row[2] for row in recorder.seen)


def test_fields_of_an_output_are_lines() -> None:
    bands = make_indicator(talipp.BB, 20, 2.0)
    price = make_indicator(talipp.SMA, 1)
    crossed = 0
    for bar in BARS:
        bands.update(bar.close)
        price.update(bar.close)
        crossed += price.crossed_below(bands.line("lb"))
    assert bands.value == bands.line("lb").value == bands.output.lb
    assert bands.line("ub").value == bands.output.ub
    assert bands.line("ub").previous != bands.line("ub").value
    assert crossed > 5
    with pytest.raises(ParameterError, match="BB of talipp has no field 'upper'"):
        bands.line("upper")


def test_higher_timeframe_and_source_are_given_to_talipp_too() -> None:
    seen: list[tuple[float, float]] = []

    class Higher(Strategy):
        def setup(self) -> None:
            self.slow = self.indicator(talipp.SMA, 2, timeframe="5m")
            self.high = self.indicator(talipp.SMA, 1, source="high")

        def on_bar(self, bar: Bar) -> None:
            seen.append((self.slow[bar.symbol].value, self.high[bar.symbol].value))

    engine = Engine({"higher": Higher()}, cash=1e6, costs=Costs.ideal())
    engine.process_all(BARS[:50])
    assert not engine.exceptions
    fives = [bar.close for bar in BARS[4:50:5]]
    assert [row[0] for row in seen[::5]] == pytest.approx(
        [(one + two) / 2 for one, two in zip(fives, fives[1:], strict=False)]
    )
    assert [row[1] for row in seen] == [bar.high for bar in BARS[9:50]]


def test_each_symbol_has_one_of_its_own_even_from_an_instance() -> None:
    given = talipp.SMA(3)
    one, two = make_indicator(given), make_indicator(given)
    one.update(1.0)
    assert (one.count, two.count, len(given)) == (1, 0, 0)
    filled = talipp.SMA(3, input_values=[1.0, 2.0])
    warm = make_indicator(filled)
    warm.update(3.0)
    assert (warm.value, len(filled)) == (2.0, 2)


def test_whole_series() -> None:
    close = np.array([bar.close for bar in BARS])
    np.testing.assert_array_equal(
        make_indicator(talipp.EMA, 20).over(close), [first_number(o) for o in own_values("EMA")]
    )
    index = pd.RangeIndex(len(close)) * 2
    found = make_indicator(talipp.SMA, 3).over(pd.Series(close, index=index))
    assert isinstance(found, pd.Series)
    assert list(found.index) == list(index)
    columns = [np.array([getattr(bar, name) for bar in BARS]) for name in ("open", "high", "low", "close", "volume")]
    ranges = make_indicator(talipp.ATR, 14)
    np.testing.assert_array_equal(ranges.over(*columns), [first_number(o) for o in own_values("ATR")])
    assert ranges.count == 0
    np.testing.assert_array_equal(ranges.over(*columns[:4]), ranges.over(*columns))
    with pytest.raises(DataError, match="different lengths"):
        ranges.over(*columns[:3], columns[3][:5])


def test_unknown_volume_counts_as_none() -> None:
    balance = make_indicator(talipp.OBV)
    for close, volume in ((1.0, 5.0), (2.0, nan), (3.0, 7.0)):
        balance.update(Bar("A", "1m", close, close, close, close, volume, 0, 1))
    assert balance.value == 12.0


def test_with_an_input_modifier_it_takes_bars() -> None:
    middle = make_indicator(talipp.SMA, 2, input_modifier=lambda bar: (bar.high + bar.low) / 2)
    assert isinstance(middle, TalippBarIndicator)
    for bar in BARS[:2]:
        middle.update(bar)
    assert middle.value == sum((bar.high + bar.low) / 2 for bar in BARS[:2]) / 2


def test_another_moving_average_inside() -> None:
    bands = make_indicator(talipp.BB, 5, 2.0, ma_type=MAType.EMA)
    state = save_indicators([bands])
    restore_indicators([make_indicator(talipp.BB, 5, 2.0, ma_type=MAType.EMA)], state)


@pytest.mark.parametrize(
    ("kind", "arguments", "options", "message"),
    [
        (talipp.SMA, (), {}, "SMA.*of talipp: missing a required argument: 'period'"),
        (talipp.SMA, (3,), {"length": 4}, "unexpected keyword argument 'length'"),
        (talipp.SMA, (3,), {"input_indicator": talipp.EMA(3)}, "has to be fed by itself"),
        (talipp.SMA, (3,), {"input_sampling": SamplingPeriodType.MIN_5}, 'timeframe="5m"'),
        (talipp.ZigZag, (0.1, 3), {}, "rewrites values it gave before"),
        (talipp.SMA(3), (4,), {}, "made already"),
    ],
)
def test_what_cannot_stream_is_refused_with_the_fix(
    kind: Any, arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        make_indicator(kind, *arguments, **options)


def test_state_of_another_indicator_is_refused() -> None:
    state = make_indicator(talipp.SMA, 3).state()
    with pytest.raises(DataError, match="SMA of talipp"):
        make_indicator(talipp.EMA, 3).restore(state)
    with pytest.raises(DataError, match="SMA of talipp"):
        SMA(3).restore(state)
    with pytest.raises(DataError, match="'period': 3.*'period': 4.*same arguments"):
        make_indicator(talipp.SMA, 4).restore(state)
    with pytest.raises(DataError, match="same arguments"):
        make_indicator(talipp.BB, 5, 2.0, ma_type=MAType.EMA).restore(make_indicator(talipp.BB, 5, 2.0).state())


def test_a_state_makes_no_classes_but_talipps() -> None:
    state = make_indicator(talipp.ATR, 3).state()
    state["source"]["input_values"] = [{"class": "Popen", "module": "subprocess", "fields": ["true"]}]
    with pytest.raises(DataError, match="only classes of talipp"):
        make_indicator(talipp.ATR, 3).restore(state)
    state["source"]["input_values"] = [{"class": "import_module", "module": "talipp.ohlcv", "fields": []}]
    with pytest.raises(DataError, match="only classes of talipp"):
        make_indicator(talipp.ATR, 3).restore(state)


def test_the_core_needs_no_talipp() -> None:
    code = (
        "import sys; sys.modules['talipp'] = None\n"  # as if it were not installed
        "from qfkit.core import indicators\n"
        "indicators.make_indicator(indicators.SMA, 3).update(1.0)\n"
        "import qfkit.core.engine\n"
        "assert not [name for name in sys.modules if name.startswith('talipp.')]\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
