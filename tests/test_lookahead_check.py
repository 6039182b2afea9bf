"""The look-ahead check finds leaks that were planted, says where they are, and lets clean strategies pass; the warm-up check."""

import functools
import sys
from array import array
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.signal import argrelextrema, fftconvolve, filtfilt
from sklearn.linear_model import LinearRegression

import qfkit as qf
from qfkit import sample
from qfkit.errors import DataError, ParameterError, StrategyError
from tests.support import walk

BARS = qf.sample("AAPL").iloc[:400]
HOURS = pd.date_range("2024-01-01", periods=480, freq="h", tz="UTC")


def hourly() -> pd.DataFrame:
    chance = np.random.default_rng(3)
    close = 100.0 * np.exp(np.cumsum(chance.normal(0.0, 0.01, len(HOURS))))
    opened = np.concatenate(([100.0], close[:-1]))
    return pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) * 1.001,
            "low": np.minimum(opened, close) * 0.999,
            "close": close,
            "volume": chance.uniform(1e6, 2e6, len(HOURS)),
        },
        index=HOURS,
    )


def check(strategy, data=BARS, **more):
    return qf.check_lookahead(strategy, data, points=more.pop("points", 10), progress=False, **more)


def label(bar) -> pd.Timestamp:
    return pd.Timestamp(bar.open_ns, tz="UTC")


class Follows(qf.Strategy):
    """Holds the symbol while ``wants`` says so."""

    def wants(self, bar) -> bool:
        raise NotImplementedError

    def on_bar(self, bar):
        if self.wants(bar):
            self.order_target(bar.symbol, weight=0.5, reason="wanted")
        else:
            self.close(bar.symbol, reason="not wanted")


# -- leaks in signal functions, each with the variable or indicator that it comes from ------------


def centred(bars):
    smooth = bars.close.rolling(21, center=True).mean()
    return bars.close > smooth


def shifted(bars):
    tomorrow = bars.close.shift(-1)
    return tomorrow > bars.close


def normalised(bars):
    score = (bars.close - bars.close.mean()) / bars.close.std()
    return score < -1.0


def min_max(bars):
    place = (bars.close - bars.close.min()) / (bars.close.max() - bars.close.min())
    return place.clip(0, 1)


def filled_back(bars):
    fridays = bars.close.where(bars.index.day_of_week == 4).bfill()
    return fridays > bars.close


def fitted(bars):
    x = np.arange(len(bars))
    line = np.polyval(np.polyfit(x, np.log(bars.close), 1), x)
    return np.log(bars.close) < line


def modelled(bars):
    features = np.column_stack([bars.close.pct_change(), bars.volume.pct_change()])
    wanted = bars.close.pct_change().shift(-1)
    known = np.isfinite(features).all(axis=1) & wanted.notna().to_numpy()
    model = LinearRegression().fit(features[known], wanted[known])
    guess = np.full(len(bars), np.nan)
    fine = np.isfinite(features).all(axis=1)
    guess[fine] = model.predict(features[fine])
    return guess > 0.0


def interpolated(bars):
    filled = bars.close.where(np.arange(len(bars)) % 5 == 0).interpolate(limit_direction="both")
    return filled > bars.close


def sloped(bars):
    slope = np.gradient(bars.close.to_numpy())
    return slope > 0.0


def last_of_all(bars):
    end = bars.close.iloc[-1]
    return bars.close < end


def ranked(bars):
    rank = bars.close.rank(pct=True)
    return rank < 0.3


def filtered(bars):
    smooth = filtfilt([0.2] * 5, [1.0], bars.close.to_numpy()) if len(bars) > 20 else bars.close.to_numpy()
    return bars.close.to_numpy() > smooth


def cleaned_of_noise(bars):
    spectrum = np.fft.rfft(bars.close.to_numpy())
    spectrum[20:] = 0.0
    smooth = np.fft.irfft(spectrum, len(bars))
    return bars.close.to_numpy() > smooth


def at_pivots(bars):
    held = np.full(len(bars), np.nan)
    close = bars.close.to_numpy()
    held[argrelextrema(close, np.less, order=5)[0]] = 1.0
    held[argrelextrema(close, np.greater, order=5)[0]] = 0.0
    return held


def at_the_next_open(bars):
    gap = bars.open.shift(-1) / bars.close - 1.0
    return gap > 0.0


def deduplicated(bars):
    last = ~bars.close.round(1).duplicated(keep="last")
    return last & (bars.volume > 0.0)


def averaged_tomorrow(bars):
    return qf.SMA(5).over(bars.close.shift(-2).ffill()) > bars.close


def hidden_by_a_guard(bars):
    """A frame that ends early is treated in a way that has no look-ahead."""
    ahead = bars.close.shift(-1) if len(bars) == len(BARS) else bars.close.shift(1)
    return (ahead > bars.close) if len(bars) == len(BARS) else pd.Series(False, bars.index)


def far_below_the_threshold(bars):
    """Decisions hardly ever turn on it."""
    level = qf.SMA(10).over(bars.close + 1e-4 * bars.close.mean())
    return bars.close > level * 2.0


LEAKS = {
    centred: "smooth",
    shifted: "tomorrow",
    normalised: "score",
    min_max: "place",
    filled_back: "fridays",
    fitted: "line",
    modelled: "wanted",
    interpolated: "filled",
    sloped: "slope",
    last_of_all: "end",
    ranked: "rank",
    filtered: "smooth",
    cleaned_of_noise: "smooth",
    at_pivots: "held",
    at_the_next_open: "gap",
    deduplicated: "last",
    averaged_tomorrow: "SMA(5)",
    far_below_the_threshold: "SMA(10)",
}


@pytest.mark.parametrize("rule", LEAKS, ids=lambda rule: rule.__name__)
def test_a_planted_leak_is_found_and_named(rule):
    report = check(qf.signal(rule))
    assert not report and report.verdict == "looks ahead"
    assert LEAKS[rule] in report.names
    told = repr(report)
    assert "looks ahead" in told and LEAKS[rule] in told and rule.__name__ in told
    with pytest.raises(StrategyError, match="looks ahead"):
        report.raise_if_leaking()


def test_replacing_the_future_finds_what_hides_from_a_cut():
    report = check(qf.signal(hidden_by_a_guard))
    assert {one.how for one in report.findings if one.kind == "decision"} >= {"turned round", "shuffled"}


def daily_close_from_its_morning(bars):
    daily = bars.close.resample("1D").last()
    today = daily.reindex(bars.index, method="ffill")
    return bars.close < today


def daily_close_of_yesterday(bars):
    daily = bars.close.resample("1D").last().shift(1)
    yesterday = daily.reindex(bars.index, method="ffill")
    return bars.close > yesterday


def test_a_day_labelled_by_its_morning_is_found_and_the_day_before_passes():
    report = check(qf.signal(daily_close_from_its_morning), hourly())
    assert "today" in report.names and "daily" not in report.names
    # Within one day: up to 23 bars ahead.
    assert 1 <= max(one.bars_ahead for one in report.findings if one.kind == "variable") <= 23
    assert check(qf.signal(daily_close_of_yesterday), hourly())


def test_a_threshold_from_all_of_the_data_that_turned_no_decision_is_worth_a_look():
    @qf.signal
    def rarely(bars):
        returns = bars.close.pct_change()
        limit = returns.quantile(0.5) + 10.0
        return returns > limit

    report = check(rarely)
    assert report and [one.name for one in report.hints] == ["limit"]
    assert "Worth a look" in repr(report) and "limit" in repr(report)
    assert not check(rarely, trusted=["limit"]).hints


# -- the figures of a finding ---------------------------------------------------------------------


def test_the_first_bar_how_far_ahead_and_both_values_are_those_worked_by_hand():
    """A centred mean of 21 is first there at row 10, and uses ten bars after its own."""
    report = check(qf.signal(centred))
    first = report.first
    assert first.name == "smooth" and first.kind == "variable"
    assert pd.Timestamp(first.time_ns, tz="UTC") == BARS.index[10] + pd.Timedelta(days=1)
    assert first.with_future == pytest.approx(BARS.close.iloc[:21].mean())
    assert np.isnan(first.without)
    assert max(one.bars_ahead for one in report.findings) == 10


def test_one_bar_ahead_is_one_bar_ahead():
    report = check(qf.signal(shifted))
    assert {one.bars_ahead for one in report.findings} == {1}


def test_the_table_has_a_row_a_finding_and_the_same_seed_gives_the_same_report():
    reports = [check(qf.signal(sloped), seed=4) for _ in range(2)]
    assert reports[0].findings == reports[1].findings
    table = reports[0].table
    assert len(table) == len(reports[0].findings) and str(table.index.tz) == "UTC"
    assert list(table.columns[:4]) == ["strategy", "symbol", "kind", "name"]
    assert (table["cut"] >= table.index).all()
    assert check(qf.signal(sloped), seed=5).findings != reports[0].findings


def test_a_notebook_gets_it_in_words_and_foreign_names_are_escaped():
    report = check({"<b>bold</b>": qf.signal(shifted)})
    page = report._repr_html_()
    assert "<b>bold</b>" not in page and "&lt;b&gt;bold&lt;/b&gt;" in page and "tomorrow" in page


# -- strategies -----------------------------------------------------------------------------------

bars = BARS
smooth_of_all = BARS.close.rolling(11, center=True).mean()
mean_of_all = float(BARS.close.mean())
values_of_all = BARS.close.to_numpy()
steps_of_all = np.diff(values_of_all)
plain_array = array("d", values_of_all)
longer = qf.sample("AAPL").close
ladder = [0.1 * number for number in range(20)]
model_of_all = LinearRegression().fit(BARS[["close"]].iloc[:-1], BARS["close"].iloc[1:])


class ReadsTheGlobalFrame(Follows):
    def setup(self):
        self.centre = bars.close.rolling(11, center=True).mean()

    def wants(self, bar):
        return bar.close > self.centre.loc[label(bar)]


class ReadsTheNextRow(Follows):
    def wants(self, bar):
        at = bars.index.get_loc(label(bar))
        return bars.close.iloc[min(at + 1, len(bars) - 1)] > bar.close


class ReadsTheLastOfAnArray(Follows):
    def wants(self, bar):
        return bar.close < values_of_all[-1]


def helper():
    return bars.close.quantile(0.5)


class ReadsThroughAHelper(Follows):
    def on_start(self):
        self.level = helper()

    def wants(self, bar):
        return bar.close < self.level


class KeepsItOnTheClass(Follows):
    frame = BARS
    level = None

    def wants(self, bar):
        if type(self).level is None:
            type(self).level = self.frame.close.mean()
        return bar.close < type(self).level


@functools.lru_cache
def remembered_level():
    return bars.close.mean()


class RemembersIt(Follows):
    def wants(self, bar):
        return bar.close < remembered_level()


class HasItAsADefault(Follows):
    def wants(self, bar, frame=BARS):
        return bar.close < frame.close.max() * 0.8


settings = SimpleNamespace(frame=BARS, places=3)


class HasItInAnObject(Follows):
    def wants(self, bar):
        return bar.close < settings.frame.close.iloc[-1]


FROM_OUTSIDE = [
    HasItInAnObject,
    ReadsTheGlobalFrame,
    ReadsTheNextRow,
    ReadsTheLastOfAnArray,
    ReadsThroughAHelper,
    KeepsItOnTheClass,
    RemembersIt,
    HasItAsADefault,
]


@pytest.mark.parametrize("strategy", FROM_OUTSIDE, ids=lambda one: one.__name__)
def test_a_strategy_that_reaches_the_data_from_outside_is_found(strategy):
    report = check(strategy)
    assert report.verdict == "looks ahead"
    assert any(one.kind == "decision" for one in report.findings)


def test_the_array_it_comes_from_is_named():
    assert check(ReadsTheGlobalFrame).first.name == "self.centre"
    assert "self.level" in check(ReadsThroughAHelper).names


def test_a_frame_in_a_closure_is_found_too():
    frame = BARS.copy()

    class Closed(Follows):
        def wants(self, bar):
            return bar.close < frame.close.mean()

    assert check(Closed).verdict == "looks ahead"
    assert frame.equals(BARS)


def test_all_is_put_back_whatever_happens():
    module = sys.modules[__name__]
    check(KeepsItOnTheClass)
    check(RemembersIt)
    assert KeepsItOnTheClass.frame is BARS and KeepsItOnTheClass.level is None
    assert remembered_level.cache_info().currsize == 0
    assert HasItAsADefault.wants.__defaults__[0] is BARS
    assert module.bars is BARS and module.values_of_all is values_of_all

    class Breaks(Follows):
        def wants(self, bar):
            raise ValueError(f"{len(bars)} rows")

    with pytest.raises(StrategyError, match="400 rows"):
        check(Breaks)
    assert module.bars is BARS


class ReadsWhatWasMade(Follows):
    def wants(self, bar):
        return bar.close > smooth_of_all.loc[label(bar)]


class ReadsANumber(Follows):
    def wants(self, bar):
        return bar.close > mean_of_all


class AsksAModel(Follows):
    def wants(self, bar):
        return model_of_all.coef_[0] * bar.close + model_of_all.intercept_ > bar.close


class LooksItUp(Follows):
    rows = dict(zip(BARS.index, BARS.close.shift(-1), strict=True))

    def wants(self, bar):
        return self.rows[label(bar)] > bar.close


class ReadsAnArrayOfAnotherKind(Follows):
    def wants(self, bar):
        return bar.close > max(plain_array) * 0.5


class ReadsSteps(Follows):
    def wants(self, bar):
        return steps_of_all[-1] > 0.0


class FetchesItself(Follows):
    def on_start(self):
        self.centre = qf.sample("AAPL").close.rolling(11, center=True).mean()

    def wants(self, bar):
        return bar.close > self.centre.loc[label(bar)]


good_days = set(BARS.index[BARS.close.shift(-1) > BARS.close])
good_days_in_order = sorted(good_days)
index_of_good_days = pd.DatetimeIndex(good_days_in_order)
all_days = list(BARS.index)


class TradesOnGoodDays(Follows):
    def wants(self, bar):
        return label(bar) in good_days


class TradesOnAListOfThem(Follows):
    def wants(self, bar):
        return label(bar) in good_days_in_order


class TradesOnAnIndexOfThem(Follows):
    def wants(self, bar):
        return label(bar) in index_of_good_days


class FetchesByABareName(Follows):
    def on_start(self):
        self.last = sample("AAPL").close.iloc[399]

    def wants(self, bar):
        return bar.close < self.last


class ReadsAFile(Follows):
    def on_start(self):
        self.lines = Path(__file__).read_text()

    def wants(self, bar):
        return len(self.lines) > bar.close


class AsksADatabase(Follows):
    def on_start(self):
        import duckdb

        self.last = duckdb.sql("SELECT 100.0").fetchall()[0][0]

    def wants(self, bar):
        return bar.close < self.last


class ReachesByGlobals(Follows):
    def wants(self, bar):
        return globals()["BARS"].close.iloc[-1] > bar.close


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (TradesOnGoodDays, "the global `good_days`, a set of"),
        (TradesOnAListOfThem, "the global `good_days_in_order`, a list of"),
        (TradesOnAnIndexOfThem, "the global `index_of_good_days`, a DatetimeIndex of"),
        (FetchesByABareName, "calls sample()"),
        (ReadsAFile, "calls read_text()"),
        (AsksADatabase, "uses duckdb"),
        (ReachesByGlobals, "uses globals()"),
        (ReadsWhatWasMade, "the global `smooth_of_all`, a Series of 400 rows"),
        (AsksAModel, "a LinearRegression made before this check"),
        (LooksItUp, "the attribute `rows` of LooksItUp, a dict of 400 rows"),
        (ReadsAnArrayOfAnotherKind, "the global `plain_array`, an array of 400 entries"),
        (ReadsSteps, "the global `steps_of_all`, an ndarray of 399 entries"),
        (FetchesItself, "calls sample()"),
    ],
)
def test_what_was_made_before_cannot_be_seen_and_is_told_by_name(strategy, told):
    report = check(strategy)
    assert report.verdict == "not proven" and not report
    assert any(told in one and strategy.__name__ in one for one in report.unseen)
    assert "could not be looked into" in repr(report)
    report.raise_if_leaking()


def test_the_bars_own_times_and_a_short_or_old_list_of_days_are_no_secret():
    short, old = [BARS.index[50]], pd.date_range("1990-01-01", periods=50, tz="UTC")

    class KnowsDays(Follows):
        def wants(self, bar):
            return label(bar) in all_days and label(bar) not in short and label(bar) not in old

    assert check(KnowsDays)


def test_a_number_among_many_is_not_told_one_by_one():
    closes = BARS.close.tolist()

    class ReadsAList(Follows):
        def wants(self, bar):
            return bar.close < closes[-1]

    report = check(ReadsAList)
    assert report.verdict == "looks ahead" and report.unseen == ()


def test_a_parameter_that_is_a_figure_of_all_of_the_data_is_told():
    class Below(Follows):
        level = qf.Param(1.0)

        def wants(self, bar):
            return bar.close < self.level

    @qf.signal(level=1.0)
    def below(bars, level):
        return bars.close < level

    for made in (Below(level=float(BARS.close.max())), below(level=float(BARS.close.max()))):
        report = check(made)
        assert report.verdict == "not proven" and "it is the highest of close (AAPL)" in report.unseen[0]
        assert check(made, trusted=["level"])
    assert check(Below(level=2.5)) and check(lambda bars: Below(level=2.5))


def test_a_number_that_is_the_mean_of_all_is_computed_anew_and_found():
    report = check(ReadsANumber)
    assert report.verdict == "looks ahead" and "the global `mean_of_all`" in report.unseen[0]
    assert "it is the mean of close" in report.unseen[0]
    assert mean_of_all == BARS.close.mean()


def test_made_inside_the_function_that_builds_the_strategy_the_same_are_found():
    def with_series(frame):
        smooth = frame.close.rolling(11, center=True).mean()

        class Built(Follows):
            def wants(self, bar):
                return bar.close > smooth.loc[label(bar)]

        return Built

    @qf.signal(level=1.0)
    def below(bars, level):
        return bars.close < level

    class Modelled(Follows):
        model = None

        def wants(self, bar):
            return self.model.predict([[bar.close]])[0] > bar.close

    def with_model(frame):
        Modelled.model = LinearRegression().fit(
            frame[["close"]].iloc[:-1].to_numpy(), frame["close"].iloc[1:].to_numpy()
        )
        return Modelled

    assert check(with_series).verdict == "looks ahead"
    assert check(lambda frame: below(level=float(frame.close.mean()))).verdict == "looks ahead"
    assert check(with_model, BARS.iloc[:150], points=6).verdict == "looks ahead"
    assert check(lambda frame: below(level=1.5))
    assert Modelled.model is None or hasattr(Modelled.model, "coef_")


def test_a_column_made_before_is_told_where_it_is_used_and_can_be_vouched_for():
    frame = BARS.assign(smooth=BARS.close.rolling(11, center=True).mean(), other=1.0)

    class UsesColumn(Follows):
        def wants(self, bar):
            return bar.close > frame["smooth"].loc[label(bar)]

    report = check(UsesColumn, frame)
    assert len(report.unseen) == 1 and "'smooth'" in report.unseen[0]
    assert check(UsesColumn, frame, trusted=["smooth"])


# -- clean strategies -----------------------------------------------------------------------------


class AllIndicators(qf.Strategy):
    def setup(self):
        self.all = [
            self.indicator(kind)
            for kind in (
                qf.ATR,
                qf.ADX,
                qf.RSI,
                qf.MACD,
                qf.Stochastic,
                qf.DonchianChannel,
                qf.OnBalanceVolume,
                qf.VWAP,
            )
        ]
        self.ema, self.wma, self.score = (self.indicator(kind, 20) for kind in (qf.EMA, qf.WMA, qf.ZScore))
        self.week = self.indicator(qf.SMA, 5, timeframe="1w")
        self.follow("1w")

    def on_bar(self, bar):
        if bar.timeframe == "1w":
            self.last_week = bar.close
        elif self.ema[bar.symbol].crossed_above(self.wma[bar.symbol]) and bar.close > self.week[bar.symbol].value:
            self.buy(bar.symbol, weight=0.3, stop_loss=bar.close * 0.95, take_profit=bar.close * 1.1)


class Trend(qf.Strategy):
    fast, slow = qf.Param(10, low=2, high=60), qf.Param(30, low=5, high=240)

    def setup(self):
        self.fast_average = self.indicator(qf.SMA, self.fast)
        self.slow_average = self.indicator(qf.SMA, self.slow)

    def on_bar(self, bar):
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.order_target(bar.symbol, weight=0.25, reason="fast average crossed above slow")
        elif fast.crossed_below(slow):
            self.close(bar.symbol, reason="fast average crossed below slow")


class TrendInGoodWeeks(Trend):
    def setup(self):
        super().setup()
        self.week_average = self.indicator(qf.SMA, 20, timeframe="1w")
        self.follow("1w")

    def on_bar(self, bar):
        if bar.timeframe != "1w":
            super().on_bar(bar)
        elif bar.close < self.week_average[bar.symbol].value:
            self.close(bar.symbol, reason="the week closed below its average")


class Tosses(qf.Strategy):
    """Chance of its own for each bar, seeded by the bar's time."""

    def on_bar(self, bar):
        toss = np.random.default_rng(bar.open_ns // 10**9).random()
        self.order_target(bar.symbol, weight=round(toss, 3))


class UsesNamesThatAreGlobalsToo(Follows):
    """``self.smooth_of_all``, ``bar.open`` and ``self.bars`` are none of the globals of these names."""

    def on_start(self):
        self.smooth_of_all = 0.0

    def wants(self, bar):
        kept = self.bars(bar.symbol, 5)
        self.smooth_of_all += 0.1 * (bar.open - self.smooth_of_all)
        return kept[0].open < self.smooth_of_all


class ReadsTheLongerSeries(Follows):
    """The closes of which the data are a part, up to the bar; and settings in a list."""

    def wants(self, bar):
        return longer.loc[: label(bar)].iloc[-20:].mean() + ladder[0] > bar.close


class LearnsFromThePast(Follows):
    """Reads the whole frame, and of it only what had closed."""

    def wants(self, bar):
        past = bars.close.loc[: label(bar)]
        return bool(bar.close > past.iloc[-50:].mean())


@qf.signal
def expanding(bars):
    return bars.close > bars.close.expanding().mean()


@qf.signal
def cumulated(bars):
    flow = (np.sign(bars.close.diff()) * bars.volume).cumsum()
    return flow > flow.rolling(50).mean()


@qf.signal(fast=10, slow=30)
def trend(bars, fast, slow):
    return qf.SMA(fast).over(bars.close) > qf.SMA(slow).over(bars.close)


@qf.signal
def statistical(bars):
    returns = np.log(bars.close).diff()
    score = (returns - returns.rolling(60).mean()) / returns.rolling(60).std()
    spread = returns.ewm(halflife=20).std()
    return (-score.clip(-2, 2) / 2 * (spread < spread.expanding().quantile(0.9))).fillna(0.0)


@qf.signal
def with_labels_of_the_past(bars):
    """The future as what was to be learned, five bars after it is known."""
    label = (bars.close.shift(-5) > bars.close).astype(float).shift(5)
    return label.rolling(100).mean() > 0.5


@qf.signal
def indicators_over(bars):
    bands = qf.BollingerBands(20, 2.0).over(bars.close)
    macd = qf.MACD().over(bars.close)
    return (bars.close < bands.lower) | (macd.macd > macd.signal)


@qf.signal
def convolved(bars):
    """By Fourier transforms, whose rounding is of the size of the largest price that is still to come."""
    kernel = np.full(20, 0.05)
    smooth = fftconvolve(bars.close.to_numpy(), kernel)[: len(bars)]
    return np.where(np.arange(len(bars)) < 20, np.nan, bars.close.to_numpy() > smooth)


@qf.signal
def seeded(bars):
    noise = np.random.default_rng(5).normal(size=len(bars))
    return noise > 0.0


CLEAN = [
    qf.MovingAverageCrossover,
    qf.BollingerReversion(period=15),
    TrendInGoodWeeks(fast=8),
    AllIndicators,
    Tosses,
    UsesNamesThatAreGlobalsToo,
    ReadsTheLongerSeries,
    LearnsFromThePast,
    expanding,
    cumulated,
    trend(fast=5),
    statistical,
    with_labels_of_the_past,
    indicators_over,
    convolved,
    seeded,
]


@pytest.mark.parametrize("strategy", CLEAN, ids=lambda one: getattr(one, "__name__", type(one).__name__))
def test_a_clean_strategy_passes(strategy):
    report = check(strategy)
    assert report, report
    assert report.verdict == "clean" and not report.findings and "no look-ahead found" in repr(report)
    report.raise_if_leaking()


def test_several_symbols_and_strategies_over_several_symbols_pass():
    frames = {symbol: qf.sample(symbol).iloc[-500:] for symbol in ("AAPL", "IBM", "MSFT")}
    assert check(
        [qf.MomentumRebalance(lookback=20), qf.PortfolioRebalance(rule="inverse_volatility")], frames, points=8
    )
    long = pd.concat([frame.assign(symbol=symbol) for symbol, frame in frames.items()]).sort_index(kind="stable")
    assert check(trend, long, points=8)
    report = check(qf.signal(shifted), frames, points=8)
    assert {one.symbol for one in report.findings} == set(frames)
    wide = pd.concat(frames, axis=1)

    @qf.signal(level=1.0)
    def below(bars, level):
        return bars.close < level

    for data in (frames, wide):
        built = check(lambda data: below(level=float(data["IBM"]["close"].max() * 0.9)), data, points=8)
        assert built.verdict == "looks ahead"


def test_ticks_and_events_are_taken_as_they_come():
    events = walk(400, 7)
    closes = [event.close for event in events]

    class Tomorrow(Follows):
        def on_start(self):
            self.count = 0

        def wants(self, bar):
            self.count += 1
            return bar.close > 100.0

    assert check(Tomorrow, events)
    assert check(qf.signal(shifted), events).verdict == "looks ahead"
    ticks = pd.DataFrame({"price": closes}, index=pd.date_range("2024-01-01", periods=400, freq="7s", tz="UTC"))
    assert check(qf.MovingAverageCrossover(fast=2, slow=5), ticks, timeframe="1m")
    assert check(trend(fast=2, slow=5), ticks, timeframe="1m")


def test_decisions_that_differ_from_run_to_run_prove_nothing_and_are_told():
    class Unseeded(Follows):
        chance = np.random.default_rng()

        def wants(self, bar):
            return self.chance.random() > 0.5

    report = check(Unseeded)
    assert report.verdict == "not proven" and "differ" in report.unseen[0]


def test_a_function_that_needs_a_length_is_told_from_one_that_needs_the_future():
    @qf.signal
    def needs_a_year(bars):
        level = bars.close.iloc[:250].mean() if len(bars) >= 250 else 1 / 0
        return pd.Series(np.where(np.arange(len(bars)) >= 250, bars.close < level, np.nan), bars.index)

    @qf.signal
    def needs_all(bars):
        return bars.close < bars.close.iloc[300]

    assert not check(needs_a_year).findings
    assert any(one.kind == "error" for one in check(needs_all).findings)


def test_a_setup_that_needs_more_rows_than_a_cut_has_is_a_finding_where_it_had_decided_already():
    class FitsInSetup(Follows):
        def setup(self):
            if len(bars) < 200:
                raise ValueError(f"{len(bars)} rows are too few")
            self.slope = LinearRegression().fit(np.arange(len(bars)).reshape(-1, 1), bars.close).coef_[0]

        def wants(self, bar):
            return bar.close > self.slope * 1_000.0

    report = check(FitsInSetup)
    assert any(one.kind == "error" and one.name == "ValueError" for one in report.findings)
    assert "self.slope" in report.names


def test_wrong_arguments_say_what_is_right():
    with pytest.raises(ParameterError, match="points=0"):
        qf.check_lookahead(trend, BARS, points=0)
    with pytest.raises(ParameterError, match="no argument 'cots' here. Did you mean 'costs'"):
        qf.check_lookahead(trend, BARS, cots=qf.Costs())
    with pytest.raises(ParameterError, match="fast=50 must be below slow=30"):
        check(qf.MovingAverageCrossover(fast=50))
    with pytest.raises(StrategyError, match="no strategy"):
        qf.check_lookahead(lambda bars: 3, BARS)
    with pytest.raises(ParameterError, match="needs bars"):
        qf.check_lookahead(lambda bars: trend, walk(50))
    with pytest.raises(DataError):
        qf.check_lookahead(trend, BARS.iloc[:2])
    with pytest.raises(ParameterError, match="list of names"):
        qf.check_lookahead(trend, BARS, trusted="bars")


# -- warm-up --------------------------------------------------------------------------------------


def test_an_average_needs_its_period_less_one_and_an_ema_as_many_as_its_weight_takes_to_fade():
    class Averages(qf.Strategy):
        def setup(self):
            self.simple, self.exponential = self.indicator(qf.SMA, 20), self.indicator(qf.EMA, 20)

        def on_bar(self, bar):
            pass

    report = qf.check_warmup(Averages, BARS, progress=False)
    bars_of = {row.name.split(", ")[1]: row.bars for row in report.rows}
    assert bars_of["SMA(20)"] == 19
    # What is left of the start's error after n bars is (1 - 2 / 21) ** n; it starts at some hundredths of the price.
    faded = np.log(1e-6 / 0.05) / np.log(1.0 - 2.0 / 21.0)
    assert bars_of["EMA(20)"] == pytest.approx(20 + faded, abs=25)
    assert report.needed == max(bars_of.values()) and report
    assert not qf.check_warmup(Averages, BARS, warmup=50, progress=False)


def test_what_never_forgets_its_start_is_told():
    @qf.signal
    def since_the_start(bars):
        return np.arange(len(bars)) // 20 % 2 == 0

    report = qf.check_warmup(since_the_start, qf.sample("AAPL"), progress=False)
    assert not report and report.needed is None
    assert "begin shows to their end" in repr(report) and "as a session does it" in repr(report)
    assert report.table["bars"].isna().any()


def test_a_function_that_looks_further_back_than_a_session_keeps_is_found():
    @qf.signal
    def slow(bars):
        return bars.close > bars.close.rolling(1_200).mean()

    @qf.signal
    def quick(bars):
        return bars.close > bars.close.rolling(100).mean()

    data = qf.sample("AAPL")
    report = qf.check_warmup(slow, data, progress=False)
    assert report.needed > 1_000 and not report and report.windows[0].other > 0
    fine = qf.check_warmup(quick, data, progress=False)
    assert fine and fine.windows[0].other == 0 and fine.needed <= 99
    assert "<table" in fine._repr_html_()


def test_decisions_of_strategies_over_several_symbols_are_counted_for_each():
    frames = {symbol: qf.sample(symbol).iloc[-600:] for symbol in ("AAPL", "IBM")}
    report = qf.check_warmup(qf.MovingAverageCrossover, frames, progress=False)
    assert {(row.symbol, row.kind) for row in report.rows} >= {("AAPL", "decision"), ("IBM", "indicator")}
    built = qf.check_warmup(lambda data: trend(fast=5), frames, progress=False)
    assert built.needed <= 30


def test_wrong_arguments_of_the_warm_up_check_say_what_is_right():
    for wrong in ({"starts": 0}, {"warmup": -1}, {"tolerance": 2.0}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            qf.check_warmup(trend, BARS, **wrong)
    with pytest.raises(DataError, match="too few"):
        qf.check_warmup(trend, BARS.iloc[:10])


def test_an_indicator_that_never_gets_ready_proves_no_warm_up():
    class Slow(Follows):
        def setup(self):
            self.average = self.indicator(qf.SMA, 50)

        def wants(self, bar):
            return False

    report = qf.check_warmup(Slow, BARS.iloc[:40], progress=False)
    assert not report and "SMA(50)" in repr(report) and "not within" in repr(report)
