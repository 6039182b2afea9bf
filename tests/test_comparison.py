"""A run beside a benchmark: against empyrical, worked by hand, however its times lie."""

import math

import empyrical
import numpy as np
import pandas as pd
import pytest
from support import DAY, MINUTE, START

import qfkit as qf
from qfkit.comparison import Benchmark, compare
from qfkit.errors import DataError, FrameError, NaiveTimeError, ParameterError
from qfkit.tables import EquityColumns


class Hold(qf.Strategy):
    """Buys all it can on the first bar of each symbol and keeps it."""

    weight = qf.Param(1.0, low=0.0, high=1.0)

    def on_bar(self, bar):
        if not self.position(bar.symbol):
            self.order_target(bar.symbol, weight=self.weight)


@pytest.fixture(scope="module")
def result():
    return qf.backtest(qf.MovingAverageCrossover(weight=0.5), {name: qf.sample(name) for name in ("AAPL", "MSFT")})


def equity_of(values, step=DAY, start=START):
    return EquityColumns(start + np.arange(len(values)) * step, np.array(values, dtype=float).reshape(-1, 1))


def benchmark(values, step=DAY, start=START):
    return Benchmark("given", start + np.arange(len(values)) * step, np.array(values, dtype=float))


@pytest.mark.parametrize("symbol", ["IBM", "GOOG", "AAPL"])
def test_figures_are_empyricals(result, symbol) -> None:
    found = result.compare(qf.sample(symbol).close)
    # The run's own equity and the closes on the same days, put together by pandas.
    closes = qf.sample(symbol).close
    closes.index = closes.index + pd.Timedelta("1D")
    both = pd.concat([result.equity["account"], closes], axis=1, join="inner").pct_change().dropna()
    own, market = both.iloc[:, 0], both.iloc[:, 1]
    assert len(own) == found.run.periods > 2_000
    assert found.beta == pytest.approx(empyrical.beta(own, market), rel=1e-9)
    # empyrical compounds the mean alpha of a period to a year.
    assert (1.0 + found.alpha / 252) ** 252 - 1.0 == pytest.approx(empyrical.alpha(own, market), rel=1e-7)
    # Its excess_sharpe is the information ratio of a period.
    assert found.information_ratio == pytest.approx(empyrical.excess_sharpe(own, market) * math.sqrt(252), rel=1e-9)
    assert found.tracking_error == pytest.approx(empyrical.annual_volatility(own - market), rel=1e-9)
    assert found.correlation == pytest.approx(np.corrcoef(own, market)[0, 1], rel=1e-9)
    # Of one period a "year" its captures are not annualised.
    assert found.up_capture == pytest.approx(empyrical.up_capture(own, market, period="yearly"), rel=1e-9)
    assert found.down_capture == pytest.approx(empyrical.down_capture(own, market, period="yearly"), rel=1e-9)
    assert found.benchmark.sharpe == pytest.approx(empyrical.sharpe_ratio(market), rel=1e-9)
    assert found.benchmark.max_drawdown == pytest.approx(-empyrical.max_drawdown(market), rel=1e-9)
    assert found.excess_return == pytest.approx(
        empyrical.cum_returns_final(own) - empyrical.cum_returns_final(market), rel=1e-9
    )


def test_returns_are_the_same_as_prices(result) -> None:
    close = qf.sample("IBM").close
    one, other = result.compare(close), result.compare(returns=close.pct_change())
    for name in ("alpha", "beta", "information_ratio", "up_capture", "excess_return"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9)


def test_a_symbol_of_the_run_is_its_closes(result) -> None:
    one, other = result.compare("MSFT"), result.compare(qf.sample("MSFT").close)
    assert (one.name, one.beta, one.alpha) == ("MSFT", other.beta, other.alpha)


def test_a_run_against_itself() -> None:
    equity = equity_of([100, 110, 99, 120, 118, 130])
    found = compare(equity, benchmark([10, 11, 9.9, 12, 11.8, 13]))
    assert (found.beta, found.correlation) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found.alpha == pytest.approx(0.0, abs=1e-12) and found.tracking_error == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(found.information_ratio)
    assert (found.up_capture, found.down_capture) == (pytest.approx(1.0), pytest.approx(1.0))
    np.testing.assert_allclose(found.equity, equity.account)


def test_figures_worked_by_hand() -> None:
    # Benchmark: +10 %, -10 %, +10 %, -10 %. Run: twice that less 1 % a period, on 4 days of 365 a year.
    market = [0.1, -0.1, 0.1, -0.1]
    own = [2 * one - 0.01 for one in market]
    values = np.concatenate(([1.0], np.cumprod(1.0 + np.array(market))))
    equity = np.concatenate(([100.0], 100.0 * np.cumprod(1.0 + np.array(own))))
    found = compare(equity_of(equity), benchmark(values), periods_per_year=365)
    assert found.beta == pytest.approx(2.0)
    assert found.alpha == pytest.approx(-0.01 * 365)
    assert found.correlation == pytest.approx(1.0)
    # Differences 0.09, -0.11, ...: mean -0.01, deviation 0.1 * sqrt(4/3).
    assert found.tracking_error == pytest.approx(0.1 * math.sqrt(4 / 3) * math.sqrt(365))
    assert found.information_ratio == pytest.approx(-0.01 / (0.1 * math.sqrt(4 / 3)) * math.sqrt(365))
    assert found.up_capture == pytest.approx(0.19 / 0.1)
    assert found.down_capture == pytest.approx(0.21 / 0.1)
    assert found.excess_return == pytest.approx(equity[-1] / 100 - values[-1])


# -- buy and hold ------------------------------------------------------------------------------


@pytest.mark.parametrize("costs", [qf.Costs.ideal(), qf.Costs(commission=0.01, slippage_bps=100.0)])
def test_buy_and_hold_worked_by_hand(costs) -> None:
    index = pd.date_range("2024-01-01", periods=6, freq="1D", tz="UTC")

    def frame(closes, rows):
        closes = pd.Series(closes, index=index[rows], dtype=float)
        return pd.DataFrame({"open": closes, "high": closes, "low": closes, "close": closes, "volume": 1e9})

    # B begins two days later; its half is cash until then.
    bars = {"A": frame([10, 11, 12, 13, 14, 15], slice(0, 6)), "B": frame([20, 10, 30, 40], slice(2, 6))}
    result = qf.backtest(Hold(weight=0.0), bars, cash=1_000.0, costs=costs)
    found = result.compare()
    assert "buy and hold of A, B in equal parts" in found.name
    # Half of the cash buys A at 10, the other half B at 20 two days later: of 100, slippage and commission take a part.
    part = 500.0 / (1.01 * 1.01) if costs.commission else 500.0
    a, b = part / 10, part / 20
    by_hand = [1_000, 500 + a * 11, 500 + a * 12, a * 13 + b * 10, a * 14 + b * 30, a * 15 + b * 40]
    np.testing.assert_allclose(found.equity, by_hand, rtol=1e-8)
    assert found.run.total_return == 0.0 and math.isnan(found.correlation)


def test_a_strategy_that_holds_is_buy_and_hold() -> None:
    costs = qf.Costs(participation=None, latency_s=0.0)
    result = qf.backtest(Hold(), qf.sample("MSFT"), costs=costs)
    found = result.compare()
    # It buys an open later, for a little more than its cash, which counts for more as the price falls.
    assert found.beta == pytest.approx(1.0, abs=0.03) and found.correlation > 0.998
    assert found.run.cagr == pytest.approx(found.benchmark.cagr, abs=0.002)


def test_a_session_is_compared_too(tmp_path) -> None:
    session = (
        qf.paper(
            qf.MovingAverageCrossover(weight=0.5),
            qf.feeds.sample("AAPL", "MSFT", speed=None),
            journal=tmp_path / "one.sqlite",
        )
        .start()
        .wait(60.0)
    )
    assert session.compare().to_frame().equals(session.result.compare("buy and hold").to_frame())
    assert session.compare("MSFT").beta > 0.05
    assert session.trade_statistics.equals(session.result.trade_statistics)


# -- times -------------------------------------------------------------------------------------


def test_days_that_end_at_another_hour_are_the_same_days(result) -> None:
    close = qf.sample("IBM").close
    abroad = close.copy()
    # As yfinance stamps them: midnight in New York.
    abroad.index = close.index.tz_localize(None).tz_localize("America/New_York")
    assert result.compare(abroad).beta == pytest.approx(result.compare(close).beta, rel=1e-9)


def test_a_benchmark_of_days_beside_a_run_of_minutes() -> None:
    chance = np.random.default_rng(2)
    market = np.exp(np.cumsum(chance.normal(0, 0.01, 30)))
    # At each minute between, the run only trembles; at the end of each day it is the market squared.
    minutes = np.arange(29 * 1_440 + 1)
    equity = np.interp(minutes / 1_440, np.arange(30), market**2) * np.where(
        minutes % 1_440, np.exp(chance.normal(0, 0.001, len(minutes))), 1.0
    )
    found = compare(equity_of(equity, MINUTE), benchmark(market))
    assert found.run.periods == 29
    assert found.correlation == pytest.approx(1.0, abs=1e-3)
    assert found.beta == pytest.approx(2.0, abs=0.05)


def test_only_the_time_that_both_have_counts() -> None:
    values = np.exp(np.linspace(0.0, 1.0, 100)) + np.sin(np.arange(100)) * 0.01
    found = compare(equity_of(values), benchmark(values[30:80] * 7, start=START + 30 * DAY))
    assert (found.run.periods, found.beta) == (49, pytest.approx(1.0))
    assert found.times_ns[0] == START + 30 * DAY and found.times_ns[-1] == START + 79 * DAY
    with pytest.raises(DataError, match="in common"):
        compare(equity_of(values), benchmark(values, start=START + 200 * DAY))


def test_a_gap_of_the_benchmark_is_filled_with_what_was_known() -> None:
    kept = np.array([0, 1, 2, 3, 6, 7, 8, 9])
    values = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9])
    holey = Benchmark("holey", START + kept * DAY, values[kept])
    found = compare(equity_of(values), holey)
    # It has fewer points: the comparison is at those.
    assert found.times_ns.tolist() == holey.times_ns.tolist() and found.beta == pytest.approx(1.0)


# -- how it looks, and errors ------------------------------------------------------------------


def test_texts_and_frame(result) -> None:
    found = result.compare("MSFT")
    text = repr(found)
    assert "against MSFT, 2000-03-01 to 2013-03-01 UTC" in text and "information ratio" in text
    assert f"{found.beta:.2f}" in next(line for line in text.splitlines() if line.startswith("beta"))
    frame = found.to_frame()
    assert frame.loc["cagr", "difference"] == pytest.approx(found.run.cagr - found.benchmark.cagr)
    assert frame.loc["alpha", "run"] == found.alpha
    hostile = qf.sample("IBM").close.rename("<script>alert(1)</script>\x1b[2J")
    found = result.compare(hostile)
    assert "<script>" not in found._repr_html_() and "\x1b" not in repr(found)


def test_the_benchmark_is_drawn(result) -> None:
    plain, beside = result.picture().decode(), result.picture(benchmark="buy and hold").decode()
    assert "buy and hold" not in plain and beside.count("buy and hold of AAPL, MSFT") == 2
    assert beside.count("<path") == plain.count("<path") + 1
    given = result.compare("MSFT")
    plot = result.plot(benchmark=given)
    drawn = [mark for mark in plot.children[4].marks if len(mark.x) > 100]
    # The run's equity and the benchmark's last value, in the equity's figure.
    ends = sorted(float(mark.y[-1]) for mark in drawn)
    assert ends == pytest.approx(sorted([float(result.equity["account"].iloc[-1]), float(given.equity[-1])]), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda close: {"benchmark": "MSFTT"}, ParameterError, "Did you mean 'MSFT'"),
        (lambda close: {"benchmark": 3}, ParameterError, "int is no benchmark"),
        (lambda close: {"benchmark": close.to_frame()}, ParameterError, "a Series of prices"),
        (lambda close: {"benchmark": close.pct_change()}, FrameError, r"compare\(returns=series\)"),
        (lambda close: {"returns": -close}, FrameError, "returns are fractions"),
        (lambda close: {"returns": close, "benchmark": close}, ParameterError, "not both"),
        (lambda close: {"benchmark": close.tz_localize(None)}, NaiveTimeError, "time zone"),
        (lambda close: {"benchmark": close[::-1]}, FrameError, "sort_index"),
        (lambda close: {"benchmark": close[:1]}, FrameError, "too few"),
        (lambda close: {"benchmark": close.replace(close.iloc[5], math.inf)}, FrameError, "infinite"),
    ],
)
def test_what_cannot_be_compared_with_is_told_the_fix(result, make, error, words) -> None:
    with pytest.raises(error, match=words):
        result.compare(**make(qf.sample("IBM").close))


def test_a_run_that_did_not_begin() -> None:
    with pytest.raises(DataError, match="nothing to compare"):
        compare(EquityColumns(np.empty(0, dtype=np.int64), np.empty((0, 1))), benchmark([1, 2, 3, 4]))
