"""Signal functions: the same orders, fills and equity as the rule written as a Strategy, however they run."""

from math import nan

import numpy as np
import pandas as pd
import pytest
from support import walk

import qfkit as qf
from qfkit.core.engine import Engine
from qfkit.errors import ParameterError, StrategyError
from qfkit.frames import bars_of, columns_from_frame
from qfkit.live.sources import source_text
from qfkit.research import prepared
from qfkit.research.fast_signal import FastRecords
from qfkit.research.signal import SignalStrategy, changes
from qfkit.samples import SAMPLE_SYMBOLS, sample


@qf.signal(fast=10, slow=30)
def trend(bars, fast, slow):
    """Long while the fast average is above the slow one."""
    return qf.SMA(fast).over(bars.close) > qf.SMA(slow).over(bars.close)


def frame(closes, volume=1e9, opens=None):
    closes = np.asarray(closes, dtype=float)
    opens = np.concatenate((closes[:1], closes[:-1])) if opens is None else np.asarray(opens, dtype=float)
    index = pd.date_range("2024-01-02", periods=len(closes), freq="1min", tz="UTC")
    high, low = np.maximum(opens, closes) * 1.001, np.minimum(opens, closes) * 0.999
    return pd.DataFrame({"open": opens, "high": high, "low": low, "close": closes, "volume": volume}, index=index)


def random_frame(rows=400, seed=1):
    chance = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(chance.normal(0, 0.01, rows)))
    opens = np.concatenate((closes[:1], closes[:-1])) * np.exp(chance.normal(0, 0.002, rows))
    return frame(closes, volume=chance.uniform(1e5, 1e6, rows), opens=opens)


def given(targets):
    """A signal function that returns these targets."""
    array = np.asarray(targets)

    @qf.signal
    def fixed(bars):
        return array[: len(bars)]

    return fixed


class AtChanges(qf.Strategy):
    """The rule written out: order the target wherever it changes."""

    targets: list[float] = []
    quantity: float | None = None

    def on_start(self):
        self.number, self.last = -1, None

    def on_bar(self, bar):
        self.number += 1
        target = float(self.targets[self.number])
        if target == target and target != self.last:
            self.last = target
            if self.quantity is None:
                self.order_target(bar.symbol, weight=target, reason=f"target {target:g}")
            else:
                self.order_target(bar.symbol, quantity=target * self.quantity, reason=f"target {target:g}")


def written_out(targets, quantity=None):
    body = {"targets": np.asarray(targets, dtype=float).tolist(), "quantity": quantity}
    return type("AtChanges", (AtChanges,), body)


def assert_same(one, other):
    """Every record and every equity point, to the last bit."""
    mine, theirs = one.records.equity, other.records.equity
    assert [(int(time), value) for time, value in mine] == [(int(time), value) for time, value in theirs]
    assert one.equity["account"].tolist() == other.equity["account"].tolist()
    for name in ("fills", "orders", "signals", "trades", "bars"):
        assert list(getattr(one.records, name)) == list(getattr(other.records, name)), name


def assert_same_frames(one, other):
    for name in ("fills", "orders", "signals", "trades", "equity", "bars"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert_same_metrics(one, other)


def assert_same_metrics(one, other):
    """All figures to the last bit; one side reckons them from arrays, the other from records."""
    assert repr(dict(one.metrics)) == repr(dict(other.metrics))


def is_fast(result):
    return isinstance(result.records, FastRecords)


@pytest.fixture
def engine_only(monkeypatch):
    """Runs a backtest without the short way."""

    def run(*args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(prepared, "fast_run", lambda *_: None)
            result = qf.backtest(*args, **kwargs)
        assert not is_fast(result)
        return result

    return run


# -- worked by hand --------------------------------------------------------------------------


def test_a_target_acts_at_the_next_open():
    data = frame([10.0, 10, 20, 20, 40, 40], opens=[10.0, 10, 10, 20, 20, 40])
    result = qf.backtest(given([0, 1, 1, 0, 0, 0]), data, cash=100.0, costs=qf.Costs.ideal())
    # Wanted at the close of row 1 (100 / 10 shares), bought at row 2's open; sold at row 4's open.
    assert result.fills["price"].tolist() == [10.0, 20.0]
    assert result.fills["quantity"].tolist() == [10.0, 10.0]
    assert result.fills.index.tolist() == [data.index[2], data.index[4]]
    assert result.equity["account"].tolist() == [100.0, 100.0, 200.0, 200.0, 200.0, 200.0]
    assert is_fast(result)


def test_shorts_weights_and_what_is_kept():
    data = frame([10.0, 10, 10, 5, 5, 5], opens=[10.0, 10, 10, 10, 5, 5])
    result = qf.backtest(given([nan, -0.5, nan, nan, 0.25, nan]), data, cash=100.0, costs=qf.Costs.ideal())
    # 5 short at 10: 150 cash. At 5 the equity is 125, a quarter of it 6.25 shares: 11.25 to buy.
    assert result.fills["side"].tolist() == ["sell", "buy"]
    assert result.fills["quantity"].tolist() == [5.0, 11.25]
    assert result.equity["account"].tolist() == [100.0, 100.0, 100.0, 125.0, 125.0, 125.0]


def test_a_sizer_gives_the_quantity_of_a_full_target():
    data = frame([10.0] * 6)
    result = qf.backtest(
        given([1, 0.5, -1, -1, 0, 0]), data, sizer=qf.sizing.FixedQuantity(100), costs=qf.Costs.ideal()
    )
    assert result.fills["side"].tolist() == ["buy", "sell", "sell", "buy"]
    assert result.fills["quantity"].tolist() == [100.0, 50.0, 150.0, 100.0]


def test_a_target_on_the_last_bar_is_an_order_that_never_fills():
    data = frame([10.0] * 3)
    result = qf.backtest(given([0, 0, 1]), data, costs=qf.Costs.ideal())
    assert len(result.fills) == 0
    assert result.orders["status"].tolist() == ["cancelled"]
    assert result.equity["account"].tolist() == [100_000.0] * 3


def test_changes():
    rows, values = changes(np.array([nan, 0.0, nan, 0.0, 1.0, nan, 1.0, 0.5, nan]))
    assert rows.tolist() == [1, 4, 7] and values.tolist() == [0.0, 1.0, 0.5]
    assert changes(np.array([nan, nan]))[0].tolist() == []
    assert changes(np.array([1.0]))[0].tolist() == [0]


# -- the same however it runs ----------------------------------------------------------------

COSTS = {
    "ideal": qf.Costs.ideal(),
    "sober": qf.Costs(),
    "dear": qf.Costs(commission=0.002, slippage_bps=10.0, latency_s=1.0, participation=0.02),
    "a share": qf.Costs(commission=qf.Commission(per_share=0.01, minimum=1.0), slippage_bps=2.5, participation=None),
}


@pytest.mark.parametrize("symbol", SAMPLE_SYMBOLS)
@pytest.mark.parametrize("costs", ["ideal", "sober"])
@pytest.mark.parametrize("sizer", [None, qf.sizing.FixedQuantity(100)])
def test_on_real_bars_it_equals_the_strategy(symbol, costs, sizer, engine_only):
    class Trend(qf.Strategy):
        def setup(self):
            self.fast, self.slow = self.indicator(qf.SMA, 10), self.indicator(qf.SMA, 30)

        def on_start(self):
            self.last = 0.0

        def on_bar(self, bar):
            target = float(self.fast[bar.symbol].value > self.slow[bar.symbol].value)
            if target != self.last:
                self.last = target
                if sizer is None:
                    self.order_target(bar.symbol, weight=target, reason=f"target {target:g}")
                else:
                    self.order_target(bar.symbol, quantity=100 * target, reason=f"target {target:g}")

    data = sample(symbol)
    settings = {"costs": COSTS[costs], "sizer": sizer}
    quick = qf.backtest({"run": trend}, data, **settings)
    assert is_fast(quick)
    assert len(quick.fills) > 60
    slow = engine_only({"run": trend}, data, **settings)
    assert_same(quick, slow)
    assert_same_frames(quick, slow)
    by_hand = qf.backtest({"run": Trend}, data, **settings)
    assert quick.equity["account"].tolist() == by_hand.equity["account"].tolist()
    assert quick.records.fills == by_hand.records.fills
    assert quick.records.orders == by_hand.records.orders
    assert quick.records.trades == by_hand.records.trades


KINDS = {
    "bools": lambda chance, rows: chance.random(rows) < 0.5,
    "shorts": lambda chance, rows: chance.choice([-1.0, 0.0, 1.0], rows),
    "weights": lambda chance, rows: chance.uniform(-1, 1, rows),
    "kept": lambda chance, rows: chance.choice([nan, nan, nan, 0.0, 0.3, -0.7, 1.0], rows),
    "near": lambda chance, rows: chance.choice([0.5, 0.5 + 1e-12, 0.5 + 1e-10, 0.5 + 1e-8, 0.0], rows),
    "whole": lambda chance, rows: chance.choice([-1.0, -0.5, 0.25, 1.0], rows),
}
SIZERS = [
    None,
    qf.sizing.FixedQuantity(10),
    qf.sizing.FixedQuantity(1_000),
    qf.sizing.FixedQuantity(0.3),
    qf.sizing.FractionOfEquity(0.5),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("costs", COSTS)
def test_on_random_targets_it_equals_the_engine_and_the_strategy(kind, costs, engine_only):
    quick_runs = 0
    for seed, sizer in enumerate(SIZERS):
        chance = np.random.default_rng(seed)
        targets = KINDS[kind](chance, 250)
        data = random_frame(250, seed=seed)
        settings = {"costs": COSTS[costs], "sizer": sizer, "cash": 20_000.0}
        if seed % 2:
            settings["risk"] = qf.RiskLimits(max_gross_exposure=0.6)
        quick = qf.backtest({"run": given(targets)}, data, **settings)
        quick_runs += is_fast(quick)
        assert len(quick.fills) > 5
        engines = engine_only({"run": given(targets)}, data, **settings)
        assert_same(quick, engines)
        assert_same_metrics(quick, engines)
        if not isinstance(sizer, qf.sizing.FractionOfEquity):
            quantity = None if sizer is None else sizer.quantity
            assert_same(quick, qf.backtest({"run": written_out(targets, quantity)}, data, **settings))
    assert quick_runs == len(SIZERS)


def test_where_limits_bind_orders_are_cut_or_refused_alike(engine_only):
    data = random_frame(seed=9)
    targets = np.random.default_rng(9).choice([-1.0, 0.0, 1.0], 400)
    for sizer in (qf.sizing.FixedQuantity(100), qf.sizing.FixedQuantity(150)):
        settings = {"costs": qf.Costs(participation=None, commission=0.02), "sizer": sizer, "cash": 10_000.0}
        quick = qf.backtest({"run": given(targets)}, data, **settings)
        assert is_fast(quick)
        assert "resized" in set(quick.signals["decision"])
        assert_same(quick, engine_only({"run": given(targets)}, data, **settings))


def test_a_short_that_ruins_the_book_opens_nothing_more(engine_only):
    data, rule = frame([10.0, 10, 10, 40, 40, 40, 40]), given([0.0, -1.0, -1.0, 1.0, 0.0, -1.0, 0.0])
    settings = {"sizer": qf.sizing.FixedQuantity(1), "cash": 11.0, "costs": qf.Costs.ideal()}
    ruined = qf.backtest({"run": rule}, data, **settings)
    # Gone at the close of 40: bought back at the next open, and stopped for good.
    assert not is_fast(ruined)
    assert list(ruined.margin_calls["kind"]) == ["wiped out"]
    assert ruined.equity["account"].iloc[-1] == 11.0 + 10.0 - 40.0
    assert ruined.fills["price"].tolist() == [10.0, 40.0]
    assert_same(ruined, engine_only({"run": rule}, data, **settings))


@pytest.mark.parametrize(
    "case",
    [
        lambda: ({}, random_frame(seed=2).assign(volume=np.linspace(0.0, 3_000.0, 400))),
        lambda: ({"costs": qf.Costs(commission=lambda quantity, price: 1.0)}, random_frame(seed=2)),
        lambda: ({"costs": qf.Costs(slippage_bps=lambda side, quantity, price: price)}, random_frame(seed=2)),
        lambda: ({"costs": qf.Costs(latency_s=90.0)}, random_frame(seed=2)),
        lambda: ({"costs": qf.Costs(latency_s=qf.UniformLatency(1.0, 2.0))}, random_frame(seed=2)),
        lambda: ({"costs": qf.Costs(impact=qf.SquareRootImpact())}, random_frame(seed=2)),
        lambda: ({"costs": qf.Costs.harsh()}, random_frame(seed=2)),
        lambda: ({"risk": qf.RiskLimits(allow_short=False)}, random_frame(seed=2)),
        lambda: ({"risk": qf.RiskLimits(max_position_weight=0.3)}, random_frame(seed=2)),
        lambda: ({"sizer": lambda context: 5.0}, random_frame(seed=2)),
    ],
    ids=[
        "volume",
        "commission",
        "slippage",
        "latency",
        "varied",
        "impact",
        "harsh",
        "no shorts",
        "position limit",
        "sizer",
    ],
)
def test_what_is_not_plain_goes_through_the_engine(case):
    settings, data = case()
    targets = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], 400)
    result = qf.backtest({"run": given(targets)}, data, **settings)
    assert not is_fast(result)
    quantity = 5.0 if "sizer" in settings else None
    assert_same(result, qf.backtest({"run": written_out(targets, quantity)}, data, **settings))


def test_several_symbols_and_several_strategies():
    data = {"A": random_frame(seed=1), "B": random_frame(seed=2)}

    @qf.signal
    def half(bars):
        return 0.5 * (bars.close > bars.open)

    result = qf.backtest([half, trend(fast=5, slow=9)], data, costs=qf.Costs.ideal())
    assert list(result.equity.columns) == ["account", "half", "trend"]
    for name in ("half", "trend"):
        assert set(result.fills.query("strategy == @name")["symbol"]) == {"A", "B"}


def test_higher_timeframe_and_lists_of_bars_and_ticks():
    data = random_frame(600, seed=4)
    higher = qf.backtest(trend(fast=3, slow=7), data, timeframe="5m")
    resampled = data.resample("5min").agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    )
    direct = qf.backtest(trend(fast=3, slow=7), resampled)
    # Fine bars within a coarse one change neither the decisions nor, at the next open, the prices.
    assert len(direct.fills) > 5
    assert higher.fills["price"].tolist() == direct.fills["price"].tolist()
    columns = columns_from_frame(data, "data")
    listed = qf.backtest(trend, bars_of(columns))
    assert listed.records.fills == qf.backtest(trend, data).records.fills


# -- live ------------------------------------------------------------------------------------


def test_bar_by_bar_as_in_a_session_it_gives_the_same_fills():
    data = sample("AAPL").iloc[:1_300]
    engine = Engine({"trend": trend()}, cash=100_000.0, symbols=("AAPL",))
    engine.process_all(bars_of(columns_from_frame(data, "AAPL")))
    assert engine.exceptions == {}
    result = qf.backtest(trend, data)
    assert len(engine.records.fills) > 30
    assert engine.records.fills == result.records.fills


def test_in_a_session_it_sees_the_last_thousand_bars():
    seen = []

    @qf.signal
    def watch(bars):
        seen.append((len(bars), bars.close.iloc[-1], bars.close.iloc[0], bars.index[-1].value))
        return np.zeros(len(bars))

    events = walk(2_200, seed=5)
    engine = Engine({"watch": watch()}, cash=1_000.0)
    engine.process_all(events)
    assert engine.exceptions == {}
    for row, (count, last, first, time) in enumerate(seen):
        assert count == min(row + 1, 1_000)
        assert last == events[row].close and time == events[row].open_ns
        assert first == events[max(0, row - 999)].close


def test_a_parameter_changed_in_a_session_acts_at_the_next_bar():
    @qf.signal(weight=0.0)
    def hold(bars, weight):
        return np.full(len(bars), weight)

    events = walk(6, seed=5)
    engine = Engine({"hold": hold()}, cash=1_000.0, costs=qf.Costs.ideal())
    engine.process_all(events[:3])
    engine.process(qf.SetParameters(engine.clock_ns, parameters={"weight": 0.5}))
    engine.process_all(events[3:])
    assert [fill.time_ns for fill in engine.records.fills] == [events[4].open_ns]


def test_an_exception_in_a_session_stops_the_strategy():
    @qf.signal
    def breaks(bars):
        if len(bars) == 3:
            raise KeyError("gone")
        return np.zeros(len(bars))

    engine = Engine({"breaks": breaks()}, cash=1_000.0)
    engine.process_all(walk(6, seed=5))
    assert [fault.error for fault in engine.records.faults] == ["KeyError: 'gone'"]


# -- the decorator ---------------------------------------------------------------------------


def test_it_is_a_strategy_with_parameters():
    assert issubclass(trend, SignalStrategy) and issubclass(trend, qf.Strategy)
    assert trend.__name__ == "trend" and trend.__doc__ == "Long while the fast average is above the slow one."
    assert trend().parameters == {"fast": 10, "slow": 30}
    assert repr(trend(fast=12)) == "trend(fast=12, slow=30)"
    assert qf.Strategy.registry[trend.key()] is trend
    assert qf.backtest(trend(fast=5), random_frame()).parameters == {"trend": {"fast": 5, "slow": 30}}
    assert "def trend(bars, fast, slow)" in source_text(trend)
    with pytest.raises(ParameterError, match="no parameter 'fsat'. Did you mean 'fast'"):
        trend(fsat=3)


def test_parameters_with_bounds_and_defaults_of_the_function():
    @qf.signal(period=qf.Param(20, low=5, high=50))
    def near(bars, period, *, width=2.0):
        return bars.close < qf.SMA(period).over(bars.close) - width

    assert near().parameters == {"width": 2.0, "period": 20}
    with pytest.raises(ParameterError, match="period=51 is out of bounds"):
        near(period=51)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: qf.signal(fsat=1)(lambda bars, fast: 0), ParameterError, "no parameter 'fsat'. Did you mean 'fast'"),
        (lambda: qf.signal(lambda bars, fast: 0), ParameterError, "'fast' has no value"),
        (lambda: qf.signal(lambda: 0), StrategyError, "takes no argument"),
        (lambda: qf.signal(close=1)(lambda bars, close: 0), ParameterError, "cannot be called 'close'"),
    ],
)
def test_a_wrong_declaration_is_told_the_fix(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda bars: bars.close[1:] > 0, "returned 3 targets for 4 bars.*one target a row"),
        (lambda bars: 1.0, "returned one number for 4 bars"),
        (lambda bars: None, "no array of targets|one number"),
        (lambda bars: ["long"] * 4, "no array of targets"),
        (lambda bars: np.array([0.0, 2.0, 0.0, 0.0]), r"the target 2.0 of row 1 \(2024-01-02 00:01:00.*clip"),
        (lambda bars: np.array([0.0, 0.0, -np.inf, 0.0]), "the target -inf of row 2"),
        (lambda bars: bars, "returned 4 x 5 targets"),
        (lambda bars: (bars.close > 0).reset_index(drop=True), "labelled otherwise"),
        (lambda bars: bars.closing > 0, "AttributeError"),
    ],
)
def test_a_wrong_answer_is_told_the_fix(returned, words):
    with pytest.raises(StrategyError, match=words) as caught:
        qf.backtest({"mine": qf.signal(returned)}, frame([1.0, 2, 3, 4]))
    assert str(caught.value).startswith("mine, over the 4 bars of data")


def test_answers_of_several_kinds():
    data = frame([1.0, 2, 3, 4])
    for answer in (
        [0, 1, 1, 1],
        np.array([False, True, True, True]),
        pd.Series([nan, 1.0, nan, 1.0], index=data.index),
        pd.array([None, True, True, None], dtype="boolean"),
        pd.DataFrame({"target": [0.0, 1.0, 1.0, 1.0]}, index=data.index),
        [None, 1, None, 1.0],
    ):
        result = qf.backtest(signal_returning(answer), data, costs=qf.Costs.ideal())
        assert result.fills.index.tolist() == [data.index[2]]


def signal_returning(answer):
    @qf.signal
    def answers(bars):
        return answer

    return answers


def test_what_a_function_writes_into_its_bars_stays_with_it():
    def spoils(bars):
        bars.loc[bars.index[0], "close"] = 5.0
        bars["twice"] = 2.0 * bars.close
        del bars["open"]
        return bars.close > 4.0

    data = frame([1.0, 2, 3, 3])
    before = data.copy()
    result = qf.backtest(qf.signal(spoils), data, costs=qf.Costs.ideal())
    pd.testing.assert_frame_equal(data, before)
    assert result.bars["close"].tolist() == [1.0, 2.0, 3.0, 3.0]
    # The first row was made to say so: bought at the next open, sold at the one after.
    assert result.fills["side"].tolist() == ["buy", "sell"]


def test_what_comes_later_changes_no_earlier_fill():
    data = random_frame(500, seed=6)
    whole = qf.backtest(trend, data).fills
    for cut in (120, 250, 499):
        part = qf.backtest(trend, data.iloc[:cut]).fills
        pd.testing.assert_frame_equal(part, whole[whole.index <= data.index[cut - 1]])


def test_pandas_answers_as_a_notebook_writes_them():
    @qf.signal(lookback=20)
    def momentum(bars, lookback):
        return np.sign(bars["close"].pct_change(lookback)).fillna(0) * 0.5

    result = qf.backtest(momentum, random_frame(seed=7))
    assert is_fast(result) and len(result.fills) > 10
