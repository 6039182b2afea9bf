"""The risk of a run: its figures against pandas and numpy, and how it reads."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import qfkit as qf
from qfkit.core.strategy import Strategy
from qfkit.errors import NaiveTimeError, ParameterError
from tests.support import DAY, START, bar, walk

SYMBOLS = ("AAPL", "IBM", "MSFT")
WEIGHTS = {"AAPL": 0.4, "IBM": 0.3, "MSFT": -0.2, "A": 0.5, "GOOG": 0.3}


class Hold(Strategy):
    def on_bar(self, bar):
        if not self.position(bar.symbol):
            self.order_target(bar.symbol, weight=WEIGHTS[bar.symbol], reason="hold")


class Idle(Strategy):
    pass


@pytest.fixture(scope="module")
def data() -> dict[str, pd.DataFrame]:
    return {symbol: qf.sample(symbol).iloc[-600:] for symbol in SYMBOLS}


@pytest.fixture(scope="module")
def closes(data) -> pd.DataFrame:
    return pd.DataFrame({symbol: frame["close"] for symbol, frame in data.items()})


@pytest.fixture(scope="module")
def result(data) -> qf.Result:
    return qf.backtest(Hold, data)


def weights_of(result: qf.Result, closes: pd.DataFrame) -> pd.Series:
    fills = result.fills
    signed = fills["quantity"] * fills["side"].map({"buy": 1.0, "sell": -1.0})
    return signed.groupby(fills["symbol"]).sum() * closes.iloc[-1] / result.equity["account"].iloc[-1]


def test_the_tail_is_that_of_todays_positions_on_past_returns(result, closes):
    risk, weights = result.risk, weights_of(result, closes)
    book = (closes.pct_change().iloc[-250:] * weights).sum(axis=1)
    normal = scipy.stats.norm(book.mean(), book.std())
    assert risk.returns == 250
    assert risk.value_at_risk == pytest.approx(-book.quantile(0.05), rel=1e-10)
    assert risk.expected_shortfall == pytest.approx(-book.nsmallest(13).mean(), rel=1e-10)
    assert risk.value_at_risk_day == risk.value_at_risk
    assert risk.parametric_value_at_risk_day == pytest.approx(-normal.ppf(0.05), rel=1e-10)
    assert risk.cornish_fisher_expected_shortfall_day > risk.cornish_fisher_value_at_risk_day > 0.0
    assert risk.book_volatility == pytest.approx(book.std() * math.sqrt(252), rel=1e-10)
    assert risk.gross_exposure == pytest.approx(weights.abs().sum(), rel=1e-10)
    assert risk.net_exposure == pytest.approx(weights.sum(), rel=1e-10)
    at_99 = result.measure_risk(level=0.99, returns=400)
    longer = (closes.pct_change().iloc[-400:] * weights).sum(axis=1)
    assert at_99.value_at_risk == pytest.approx(-longer.quantile(0.01), rel=1e-10)


def test_the_parts_by_position_sum_to_the_whole(result, closes):
    risk, weights = result.risk, weights_of(result, closes)
    frame = risk.positions_frame()
    covariance = closes.pct_change().iloc[-250:].cov()
    whole = scipy.stats.norm.ppf(0.95) * math.sqrt(weights @ covariance @ weights)
    assert frame["component_value_at_risk_day"].sum() == pytest.approx(whole, rel=1e-10)
    assert risk.component_value_at_risk_day == pytest.approx(whole, rel=1e-10)
    assert frame["weight"].to_dict() == pytest.approx(weights.to_dict(), rel=1e-10)
    assert frame.loc["MSFT", "quantity"] < 0.0


def test_beta_to_a_symbol_and_to_a_series(result, closes):
    changes, weights = closes.pct_change().iloc[-250:], weights_of(result, closes)
    book = (changes * weights).sum(axis=1)
    for benchmark in SYMBOLS:
        risk = result.measure_risk(benchmark=benchmark)
        assert risk.benchmark == benchmark
        assert risk.beta == pytest.approx(book.cov(changes[benchmark]) / changes[benchmark].var(), rel=1e-10)
        own = result.equity["account"].iloc[-251:].pct_change().iloc[1:].to_numpy()
        market = changes[benchmark].to_numpy()
        assert risk.account_beta == pytest.approx(np.cov(own, market)[0, 1] / market.var(ddof=1), rel=1e-8)
    index = qf.sample("GOOG")["close"].rename("GOOG")
    # A day's close is known at its end.
    index.index = index.index + pd.Timedelta(days=1)
    risk = result.measure_risk(benchmark=index)
    market = index.pct_change().iloc[-250:].to_numpy()
    assert risk.beta == pytest.approx(np.cov(book, market)[0, 1] / market.var(ddof=1), rel=1e-8)
    assert "beta to GOOG" in repr(risk)


def test_drawdown_time_under_water_and_turnover(result, closes):
    risk, equity = result.risk, result.equity["account"]
    peak = equity.idxmax()
    assert risk.drawdown == pytest.approx(1.0 - equity.iloc[-1] / equity.max(), rel=1e-12)
    assert risk.under_water_days == (equity.index[-1] - peak).days
    assert risk.max_drawdown == result.metrics.max_drawdown
    assert risk.longest_under_water_days == result.metrics.longest_drawdown_days
    assert risk.turnover == pytest.approx(result.metrics.turnover, rel=1e-12)
    assert risk.volatility == result.metrics.volatility


def test_days_to_sell_by_hand():
    """500 shares where 1,000 trade a bar, of which a tenth may be ours: five bars, which are days."""
    rows = [
        qf.Bar(
            "A",
            "1d",
            100.0,
            100.0 + place % 2,
            100.0,
            100.0 + place % 2,
            1_000.0,
            START + place * DAY,
            START + (place + 1) * DAY,
        )
        for place in range(40)
    ]

    class Five(Strategy):
        def on_bar(self, bar):
            if not self.position("A"):
                self.buy("A", quantity=500.0)

    risk = qf.backtest(Five, rows, costs=qf.Costs.ideal()).risk
    assert risk.liquidation_days == pytest.approx(5.0)
    assert qf.backtest(Five, rows, costs=qf.Costs.ideal()).measure_risk(
        participation=0.5
    ).liquidation_days == pytest.approx(1.0)


def test_a_day_of_minutes_is_the_mark_times_the_root_of_the_minutes():
    risk = qf.backtest(Hold, walk(600, seed=3)).risk
    assert risk.value_at_risk_day == pytest.approx(risk.value_at_risk * math.sqrt(1_440), rel=1e-12)
    assert risk.value_at_risk > 0.0


def test_without_a_position_nothing_is_at_risk(data):
    risk = qf.backtest(Idle, data).risk
    assert (risk.value_at_risk, risk.gross_exposure, risk.beta, risk.liquidation_days) == (0.0, 0.0, 0.0, 0.0)
    assert math.isnan(risk.hhi)
    assert "no position is open" in risk.notes
    assert risk.positions == () and risk.positions_frame().empty
    assert "no position is open" in repr(risk)


def test_returns_outside_the_expansions_domain_are_said_to_be():
    rows = [bar(place, *[100.0 if place < 200 else 60.0] * 4) for place in range(260)]
    risk = qf.backtest(Hold, rows).risk
    assert math.isnan(risk.cornish_fisher_value_at_risk_day)
    assert any("Cornish-Fisher" in note and "skewness" in note for note in risk.notes)
    assert "n/a" in repr(risk)


def test_the_signal_function_and_the_engine_leave_the_same_book():
    @qf.signal(fast=5, slow=20)
    def trend(bars, fast, slow):
        return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()) * 1.0

    class Trend(Strategy):
        def setup(self):
            self.fast, self.slow = self.indicator(qf.SMA, 5), self.indicator(qf.SMA, 20)

        def on_bar(self, bar):
            target = 1.0 if self.fast[bar.symbol].value > self.slow[bar.symbol].value else 0.0
            self.order_target(bar.symbol, weight=target)

    frame = {"AAPL": qf.sample("AAPL").iloc[:500]}
    fast = qf.backtest(trend, frame)
    slow = qf.backtest(trend, frame, assess_every_s=86_400.0)
    assert len(slow.assessments) > 400 and len(fast.assessments) == 0
    assert fast.fills.equals(slow.fills)
    assert fast.holdings.quantities == pytest.approx(slow.holdings.quantities)
    assert fast.risk.value_at_risk == pytest.approx(slow.risk.value_at_risk, rel=1e-12)


def test_a_session_has_the_risk_of_its_backtest(data, tmp_path):
    feed = qf.ReplayFeed(data, speed=None)
    session = qf.paper(Hold, feed, journal=tmp_path / "one.sqlite", costs=qf.Costs()).start().wait(60)
    expected = qf.backtest(Hold, data, costs=qf.Costs()).risk
    for name in ("value_at_risk", "expected_shortfall", "gross_exposure", "beta", "drawdown", "volatility", "turnover"):
        assert session.risk[name] == pytest.approx(expected[name], rel=1e-9), name
    assert session.result.measure_risk(level=0.99).level == 0.99


def test_it_reads_well(result):
    risk = result.risk
    text = repr(risk)
    assert "value at risk 95 %, a mark" in text and "part of VaR" in text
    assert max(map(len, text.splitlines())) <= 110
    assert "nan" not in text
    assert dict(risk)["value_at_risk"] == risk.value_at_risk == risk["value_at_risk"]
    assert risk.to_frame().loc["hhi", "value"] == risk.hhi
    with pytest.raises(KeyError, match="value_at_risk"):
        risk["value_at_risks"]
    html = risk._repr_html_()
    assert "AAPL" in html and "<script" not in html


def test_small_fractions_keep_their_digits_and_names_are_harmless():
    hostile = "<script>\x1b[2J"
    step = 10**9
    closes = [100.0 - place % 2 * 0.01 for place in range(100)]
    rows = [
        qf.Bar(hostile, "1s", 100.0, 100.0, close, close, 1e9, START + place * step, START + (place + 1) * step)
        for place, close in enumerate(closes)
    ]

    class Buy(Strategy):
        def on_bar(self, bar):
            if not self.position(bar.symbol):
                self.order_target(bar.symbol, weight=0.5)

    risk = qf.backtest(Buy, rows, costs=qf.Costs.ideal()).risk
    # A fall of 0.01 % on half of the equity.
    assert risk.value_at_risk == pytest.approx(0.00005, rel=0.01)
    assert "0.005000 %" in repr(risk)
    assert "\x1b" not in repr(risk)
    assert "<script" not in risk._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"benchmark": "AAPPL"}, ParameterError, "'AAPPL'.*Did you mean 'AAPL'"),
        ({"benchmark": [1.0, 2.0]}, ParameterError, "a Series of prices"),
        ({"benchmark": pd.Series([1.0], pd.to_datetime(["2020-01-01"]))}, NaiveTimeError, "tz_localize"),
        ({"level": 95}, ParameterError, "level=95"),
        ({"returns": 1}, ParameterError, "returns=1"),
        ({"participation": 0.0}, ParameterError, "participation"),
    ],
)
def test_what_cannot_be_meant_says_so(result, arguments, error, text):
    with pytest.raises(error, match=text):
        result.measure_risk(**arguments)
