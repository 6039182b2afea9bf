"""The stationary bootstrap against the package arch and closed forms; intervals and Monte Carlo as a user sees them."""

import tracemalloc
from math import isnan, sqrt
from xml.etree import ElementTree

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap, optimal_block_length

import qfkit as qf
from qfkit.core.metrics import measure
from qfkit.core.orders import Trade
from qfkit.errors import DataError, ParameterError
from qfkit.resampling.bootstrap import automatic_block_length, path_figures, resampled_places
from qfkit.resampling.intervals import intervals_of
from qfkit.resampling.monte_carlo import monte_carlo_of

_DAY_NS = 86_400_000_000_000


def autoregressive(count, persistence, seed=0):
    noise = np.random.default_rng(seed).normal(size=count)
    values = noise.copy()
    for place in range(1, count):
        values[place] += persistence * values[place - 1]
    return values


def days(count):
    return np.arange(count, dtype=np.int64) * _DAY_NS


def trade(pnl, place=0):
    return Trade("X", "long", 1.0, place * _DAY_NS, (place + 1) * _DAY_NS, 100.0, 100.0 + pnl, 0.0, pnl, pnl / 100, "s")


@pytest.fixture(scope="module")
def result():
    return qf.backtest(qf.MovingAverageCrossover(), qf.sample("AAPL"))


# -- the bootstrap itself --------------------------------------------------------------------


@pytest.mark.parametrize("count", [12, 30, 100, 1_000, 4_000])
@pytest.mark.parametrize("persistence", [0.0, 0.3, 0.9, 0.99, -0.5])
def test_the_automatic_block_length_is_that_of_arch(count, persistence):
    values = autoregressive(count, persistence, seed=count)
    theirs = float(optimal_block_length(values)["stationary"].iloc[0])
    assert automatic_block_length(values) == pytest.approx(max(1.0, theirs))


def test_a_series_that_says_nothing_has_blocks_of_one():
    assert automatic_block_length(np.full(200, 0.1)) == 1.0
    assert automatic_block_length(np.array([1.0, 2.0, 3.0])) == 1.0


def test_the_spread_of_the_mean_is_what_politis_and_romano_derive():
    values, block_length, count = autoregressive(200, 0.7), 12.0, 200
    away = values - values.mean()
    covariances = np.array([away @ np.roll(away, -lag) for lag in range(count)]) / count
    lags = np.arange(count)
    # Their lemma 1, of the circular autocovariances.
    keep = 1.0 - 1.0 / block_length
    variance = (covariances[0] + 2 * np.sum((1 - lags[1:] / count) * keep ** lags[1:] * covariances[1:])) / count
    random = np.random.default_rng(1)
    means = np.concatenate(
        [values[part].mean(axis=1) for part in resampled_places(count, 20_000, block_length, random)]
    )
    assert means.var() == pytest.approx(variance, rel=0.04)
    assert means.mean() == pytest.approx(values.mean(), abs=4 * sqrt(variance / 20_000))
    theirs = StationaryBootstrap(block_length, values, seed=2).apply(np.mean, 4_000)
    assert means.std() == pytest.approx(float(theirs.std()), rel=0.05)


@pytest.mark.parametrize("length", [50, 170])
def test_a_sample_takes_neighbours_until_a_block_ends(length):
    random = np.random.default_rng(3)
    places = np.concatenate(list(resampled_places(50, 4_000, 5.0, random, length)))
    assert places.shape == (4_000, length)
    goes_on = (places[:, 1:] - places[:, :-1]) % 50 == 1
    assert goes_on.mean() == pytest.approx(0.8 + 0.2 / 50, abs=0.01)
    # Every value comes up as often.
    assert np.bincount(places.ravel(), minlength=50) / places.size == pytest.approx(np.full(50, 0.02), abs=0.002)


def test_blocks_of_one_are_independent_draws():
    places = np.concatenate(list(resampled_places(50, 4_000, 1.0, np.random.default_rng(3))))
    assert ((places[:, 1:] - places[:, :-1]) % 50 == 1).mean() == pytest.approx(0.02, abs=0.002)


def test_each_path_has_the_figures_that_a_run_of_these_returns_has():
    returns = np.random.default_rng(4).normal(0.001, 0.02, (20, 300))
    figures, growth = path_figures(returns, 252.0, 0.97)
    for row in range(20):
        equity = 97_000.0 * np.append(1.0, np.cumprod(1.0 + returns[row]))
        plain = measure(days(301), equity, starting_equity=100_000.0, periods_per_year=252.0)
        assert growth[row, -1] * 100_000.0 == pytest.approx(plain.end_equity)
        for name in figures.keys() - {"end_equity"}:
            assert figures[name][row] == pytest.approx(getattr(plain, name)), name


def test_many_samples_of_a_long_run_take_no_more_memory_than_few():
    returns = np.random.default_rng(5).normal(0.0, 0.001, 20_000)
    equity = 100.0 * np.append(1.0, np.cumprod(1.0 + returns))
    metrics = measure(days(20_001), equity, starting_equity=100.0)
    tracemalloc.start()
    intervals_of(metrics, equity, (), level=0.9, samples=300, seed=0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All samples at once would take 48 MB for each of some ten arrays.
    assert most < 45e6


# -- intervals -------------------------------------------------------------------------------


def test_every_headline_figure_has_an_interval_about_it(result):
    intervals = result.intervals()
    table = intervals.table
    assert table.columns.tolist() == ["value", "low", "high"]
    assert {
        "total_return",
        "cagr",
        "volatility",
        "sharpe",
        "sortino",
        "max_drawdown",
        "calmar",
        "value_at_risk",
    } <= set(table.index)
    assert {"expected_shortfall", "win_rate", "profit_factor", "expectancy"} <= set(table.index)
    for name in table.index:
        assert table.loc[name, "value"] == getattr(result.metrics, name)
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()
    assert intervals["sharpe"] == (table.loc["sharpe", "low"], table.loc["sharpe", "high"])
    text = repr(intervals)
    assert "Sharpe" in text and "stationary bootstrap of 3,269 period returns in blocks of" in text
    assert "<td" in intervals._repr_html_()


def test_a_seed_gives_the_same_intervals_and_another_gives_others(result):
    first, again, other = (result.intervals(samples=200, seed=seed).table for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)
    assert result.intervals(0.5, 200)["sharpe"][0] > result.intervals(0.95, 200)["sharpe"][0]


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    random = np.random.default_rng(6)
    hits = []
    for _ in range(200):
        returns = random.normal(0.001, 0.01, 250)
        equity = 100.0 * np.append(1.0, np.cumprod(1.0 + returns))
        metrics = measure(days(251), equity, starting_equity=100.0, periods_per_year=252.0)
        low, high = intervals_of(metrics, equity, (), level=0.9, samples=200, seed=0)["sharpe"]
        hits.append(low < 0.1 * sqrt(252.0) < high)
    assert 0.82 < np.mean(hits) < 0.96


def test_the_win_rate_is_as_uncertain_as_a_coin():
    random = np.random.default_rng(7)
    trades = [trade(one, place) for place, one in enumerate(np.where(random.random(400) < 0.6, 50.0, -40.0))]
    metrics = measure(days(3), np.array([100.0, 101.0, 102.0]), starting_equity=100.0, trades=trades)
    low, high = intervals_of(metrics, np.array([100.0, 101.0, 102.0]), trades, level=0.9, samples=4_000, seed=0)[
        "win_rate"
    ]
    half = 1.645 * sqrt(metrics.win_rate * (1 - metrics.win_rate) / 400)
    assert (high - low) / 2 == pytest.approx(half, rel=0.12)


def test_what_too_little_says_is_nan_and_said_in_words():
    equity = np.array([100.0, 101.0, 99.0])
    metrics = measure(days(3), equity, starting_equity=100.0, trades=[trade(1.0)])
    found = intervals_of(metrics, equity, [trade(1.0)], level=0.9, samples=100, seed=0)
    assert found.table[["low", "high"]].isna().all().all()
    assert "fewer than 10 period returns" in repr(found) and "there are 1, and it takes 10" in repr(found)
    ruined = np.append(np.linspace(100.0, 1.0, 40), 0.0)
    metrics = measure(days(41), ruined, starting_equity=100.0)
    assert "the equity fell to zero" in repr(intervals_of(metrics, ruined, (), level=0.9, samples=100, seed=0))


def test_a_figure_that_is_not_defined_has_no_interval():
    equity = 100.0 * np.cumprod(np.full(60, 1.001))
    metrics = measure(days(60), equity, starting_equity=100.0)
    found = intervals_of(metrics, equity, (), level=0.9, samples=100, seed=0)
    assert isnan(found.rows["sortino"][0]) and isnan(found["sortino"][0])
    assert found["total_return"] == pytest.approx((metrics.total_return, metrics.total_return))


def test_wrong_arguments_say_what_is_right(result):
    with pytest.raises(ParameterError, match="1,000 are usual"):
        result.intervals(samples=10)
    with pytest.raises(ParameterError, match="a fraction such as 0.9"):
        result.intervals(90)
    with pytest.raises(ParameterError, match='"returns" or "trades"'):
        result.monte_carlo(of="return")
    with pytest.raises(ParameterError, match="0.2 is 20 %"):
        result.monte_carlo(samples=50).drawdown_probability(-0.2)


# -- Monte Carlo -----------------------------------------------------------------------------


def monte_carlo(of="trades", equity=(100.0, 100.0), trades=(), **given):
    return monte_carlo_of(
        of,
        equity=np.array(equity),
        times_ns=days(len(equity)),
        starting_equity=100.0,
        periods_per_year=252.0,
        trades=trades,
        **{"samples": 500, "seed": 0, **given},
    )


def test_trades_that_are_all_alike_lead_to_one_end():
    found = monte_carlo(trades=[trade(2.0, place) for place in range(20)])
    # Each gains a fiftieth of the equity.
    end = 100.0 * 1.02**20
    assert found.end_equity == pytest.approx(np.full(500, end))
    assert found.loss_probability == 0.0 and found.drawdown_probability(0.0) == 0.0
    assert found.fan.iloc[0].tolist() == [100.0] * 5 and found.fan.iloc[-1].tolist() == pytest.approx([end] * 5)


def test_a_trade_counts_by_the_equity_at_its_entry():
    # The equity doubles, and so does what a trade earns: all are alike.
    equity = np.append(np.full(10, 100.0), np.full(11, 200.0))
    trades = [trade(2.0 if place < 10 else 4.0, place) for place in range(20)]
    found = monte_carlo("trades", equity, trades)
    assert found.end_equity == pytest.approx(np.full(500, 100.0 * 1.02**20))
    with pytest.raises(DataError, match="entered on an equity of zero"):
        monte_carlo("trades", np.append(equity[:20], 0.0) * (np.arange(21) < 5), trades)


def test_drawn_trades_spread_as_independent_ones_do():
    pnl = np.random.default_rng(8).normal(0.1, 1.0, 400)
    found = monte_carlo(trades=[trade(one, place) for place, one in enumerate(pnl)], samples=4_000)
    logarithms = np.log(1.0 + pnl / 100.0)
    assert np.log(found.end_equity / 100.0).mean() == pytest.approx(logarithms.sum(), abs=0.02)
    assert np.log(found.end_equity / 100.0).std() == pytest.approx(logarithms.std() * 20.0, rel=0.1)
    assert found.table.loc[0.5, "end_equity"] == np.median(found.end_equity)


def test_a_certain_loss_is_a_loss_in_every_sample():
    found = monte_carlo("returns", 100.0 * np.cumprod(np.full(50, 0.99)))
    assert found.loss_probability == 1.0
    assert found.drawdown_probability(0.35) == 1.0 and found.drawdown_probability(0.45) == 0.0


def test_the_fan_of_a_run_holds_it_and_is_drawn(result):
    found = result.monte_carlo(samples=300)
    fan = found.fan
    assert fan.columns.tolist() == [0.05, 0.25, 0.5, 0.75, 0.95] and len(fan) <= 200
    assert (fan[0.05] <= fan[0.5]).all() and (fan[0.5] <= fan[0.95]).all()
    assert fan.index[-1] == result.equity.index[-1]
    picture = ElementTree.fromstring(found.picture())
    texts = [one.text for one in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "Monte Carlo of 3,269 period returns, 300 samples" in texts and "the run itself" in texts
    plot = found.plot()
    assert "samples end in a loss" in repr(plot)
    assert len(plot.children[1].marks) == 5
    assert "<img" in found._repr_html_() and "end equity" in repr(found)


def test_too_few_to_draw_from_are_refused():
    with pytest.raises(DataError, match="10 trades"):
        monte_carlo(trades=[trade(1.0)])
    with pytest.raises(DataError, match="10 period returns"):
        monte_carlo("returns")
    with pytest.raises(DataError, match="fell to zero"):
        monte_carlo("returns", np.linspace(100.0, 0.0, 50))


@pytest.mark.parametrize("seed", [-1, "x", 1.5, True])
def test_a_seed_that_is_none_is_named(seed):
    result = qf.backtest(qf.MovingAverageCrossover(), qf.sample("AAPL").iloc[:300])
    for ask in (result.intervals, result.monte_carlo):
        with pytest.raises(ParameterError, match=f"seed={seed!r}"):
            ask(seed=seed)
