"""Risk measures against scipy, pandas, empyrical, worked examples and what must hold for any returns."""

import math

import empyrical
import numpy as np
import pandas as pd
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qfkit import sample
from qfkit.core import risk_measures as measures
from qfkit.core.running_risk import EwmaVolatility, RunningBeta, RunningDrawdown, RunningTurnover, RunningVolatility
from qfkit.errors import DataError, ParameterError

RETURN = st.floats(-0.5, 0.5, allow_subnormal=False).map(lambda value: round(value, 6))
SERIES = st.lists(RETURN, min_size=2, max_size=120).map(np.array)
WEIGHT = st.floats(-3.0, 3.0).map(lambda value: round(value, 4))


@pytest.fixture(scope="module")
def returns() -> pd.DataFrame:
    """Real daily returns: 1,000 days of three shares."""
    closes = pd.DataFrame({symbol: sample(symbol).close for symbol in ("AAPL", "IBM", "MSFT")})
    return closes.pct_change().dropna().iloc[-1000:]


# -- one series -------------------------------------------------------------------------------


def test_volatility_skewness_kurtosis_and_beta_are_those_of_the_peers(returns):
    own, market = returns["AAPL"], returns["IBM"]
    assert measures.volatility(own) == pytest.approx(own.std(), rel=1e-12)
    assert measures.volatility(own, 252.0) == pytest.approx(empyrical.annual_volatility(own), rel=1e-12)
    assert measures.skewness(own) == pytest.approx(scipy.stats.skew(own), rel=1e-10)
    assert measures.excess_kurtosis(own) == pytest.approx(scipy.stats.kurtosis(own), rel=1e-10)
    assert measures.beta(own, market) == pytest.approx(empyrical.beta(own, market), rel=1e-10)
    assert measures.beta(own, market) == pytest.approx(scipy.stats.linregress(market, own).slope, rel=1e-10)


def test_ewma_volatility_is_pandas_own(returns):
    own = returns["MSFT"]
    for decay in (0.94, 0.97):
        expected = np.sqrt((own**2).ewm(alpha=1.0 - decay, adjust=False).mean().iloc[-1])
        assert measures.ewma_volatility(own, decay) == pytest.approx(expected, rel=1e-12)
    # By hand: 0.94 * 0.01^2 + 0.06 * 0.03^2 = 0.000148
    assert measures.ewma_volatility([0.01, -0.03]) == pytest.approx(math.sqrt(0.000148), rel=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_historical_figures_are_those_of_empyrical(returns, level):
    own = returns["AAPL"].to_numpy()
    assert measures.value_at_risk(own, level) == pytest.approx(-empyrical.value_at_risk(own, 1.0 - level), rel=1e-12)
    shortfall = -empyrical.conditional_value_at_risk(own, 1.0 - level)
    assert measures.expected_shortfall(own, level) == pytest.approx(shortfall, rel=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_parametric_figures_are_those_of_scipys_normal_distribution(returns, level):
    own = returns["IBM"].to_numpy()
    normal = scipy.stats.norm(own.mean(), own.std(ddof=1))
    assert measures.value_at_risk(own, level, "parametric") == pytest.approx(-normal.ppf(1.0 - level), rel=1e-9)
    beyond = normal.expect(lambda value: value, ub=normal.ppf(1.0 - level), conditional=True)
    assert measures.expected_shortfall(own, level, "parametric") == pytest.approx(-beyond, rel=1e-6)


def test_cornish_fisher_by_hand():
    """At 99 %, S = -0.5, K = 1: -2.32635 - 0.36766 - 0.23379 + 0.09408 = -2.83371."""
    assert measures.cornish_fisher_quantile(0.01, -0.5, 1.0) == pytest.approx(-2.83371, abs=2e-5)
    # Without skewness and kurtosis it is the normal quantile.
    assert measures.cornish_fisher_quantile(0.05, 0.0, 0.0) == pytest.approx(scipy.stats.norm.ppf(0.05), rel=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_the_cornish_fisher_shortfall_is_the_mean_of_its_quantiles(returns, level):
    own = returns["MSFT"].to_numpy()[-400:]
    skew, kurtosis = scipy.stats.skew(own), scipy.stats.kurtosis(own)
    tail = 1.0 - level

    def quantile(z):
        return (
            z + (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * kurtosis / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
        ) * scipy.stats.norm.pdf(z)

    integral = scipy.integrate.quad(quantile, -12.0, scipy.stats.norm.ppf(tail))[0] / tail
    expected = -(own.mean() + own.std(ddof=1) * integral)
    assert measures.expected_shortfall(own, level, "cornish_fisher") == pytest.approx(expected, rel=1e-7)
    wanted = -(own.mean() + own.std(ddof=1) * measures.cornish_fisher_quantile(tail, skew, kurtosis))
    assert measures.value_at_risk(own, level, "cornish_fisher") == pytest.approx(wanted, rel=1e-12)


def test_cornish_fisher_is_nearer_to_the_truth_for_a_skewed_distribution():
    """Of losses with the tail of a gamma distribution, whose quantiles are known."""
    drawn = -scipy.stats.gamma(20.0).rvs(200_000, random_state=1)
    truth = scipy.stats.gamma(20.0).ppf(0.99)
    normal = measures.value_at_risk(drawn, 0.99, "parametric")
    expanded = measures.value_at_risk(drawn, 0.99, "cornish_fisher")
    assert abs(expanded - truth) < 0.1 * abs(normal - truth)


def test_cornish_fisher_says_where_its_domain_ends():
    """Without skewness the slope at z = 0 is 1 - K/8: it falls beyond a kurtosis of 8."""
    assert measures.cornish_fisher_is_valid(0.0, 8.0)
    assert not measures.cornish_fisher_is_valid(0.0, 8.01)
    # Maillard's widest skewness is 6 (sqrt(2) - 1), with a kurtosis that goes with it.
    widest = 6.0 * (math.sqrt(2.0) - 1.0)
    assert any(measures.cornish_fisher_is_valid(widest - 0.01, kurtosis) for kurtosis in np.arange(0.0, 20.0, 0.01))
    assert not any(measures.cornish_fisher_is_valid(widest + 0.3, kurtosis) for kurtosis in np.arange(0.0, 20.0, 0.01))
    crash = np.concatenate((np.full(200, 0.001), [-0.5]))
    with pytest.raises(DataError, match=r"skewness -14.* excess kurtosis 19.*historical"):
        measures.value_at_risk(crash, 0.95, "cornish_fisher")
    with pytest.raises(DataError, match="historical"):
        measures.expected_shortfall(crash, 0.95, "cornish_fisher")


@given(st.floats(-2.5, 2.5), st.floats(-2.0, 12.0))
def test_where_it_is_valid_its_quantiles_rise(skew, kurtosis):
    places = np.linspace(-3.0, 3.0, 601)
    found = (
        places
        + (places**2 - 1) * skew / 6
        + (places**3 - 3 * places) * kurtosis / 24
        - (2 * places**3 - 5 * places) * skew**2 / 36
    )
    rises = bool((np.diff(found) > 0.0).all())
    if measures.cornish_fisher_is_valid(skew, kurtosis):
        assert (np.diff(found) > -1e-9).all()
    elif rises:
        # The grid may step over a dip that is narrower than itself.
        assert np.diff(found).min() < 1e-3


# -- what must hold for any returns -------------------------------------------------------------


@given(SERIES, st.sampled_from([0.5, 0.75, 0.9, 0.95, 0.99]))
def test_the_shortfall_is_never_less_than_the_value_at_risk(series, level):
    for method in measures.METHODS:
        try:
            at_risk = measures.value_at_risk(series, level, method)
        except DataError:
            assert method == "cornish_fisher"
            continue
        if method == "cornish_fisher" and level < 0.9:
            # Beyond three deviations the expansion may turn: near the middle it is no guide to the far tail.
            continue
        assert measures.expected_shortfall(series, level, method) >= at_risk - 1e-12


@given(SERIES, st.sampled_from([0.5, 0.9, 0.99]))
def test_historical_figures_lie_between_the_worst_and_the_best_return(series, level):
    for figure in (measures.value_at_risk(series, level), measures.expected_shortfall(series, level)):
        assert -series.max() - 1e-15 <= figure <= -series.min() + 1e-15


@given(SERIES, st.floats(0.1, 10.0))
def test_a_position_of_twice_the_size_has_twice_the_risk(series, times):
    for method in ("historical", "parametric"):
        for figure in (measures.value_at_risk, measures.expected_shortfall):
            assert figure(series * times, 0.95, method) == pytest.approx(
                times * figure(series, 0.95, method), rel=1e-6, abs=1e-9
            )


@given(SERIES)
def test_running_figures_are_the_batch_figures(series):
    volatility, ewma, beta = RunningVolatility(), EwmaVolatility(), RunningBeta()
    market = np.roll(series, 1) + 0.3 * series
    for own, other in zip(series.tolist(), market.tolist(), strict=True):
        volatility.update(own)
        ewma.update(own)
        beta.update(own, other)
    assert volatility.value == pytest.approx(measures.volatility(series), rel=1e-9, abs=1e-12)
    assert ewma.value == pytest.approx(measures.ewma_volatility(series), rel=1e-9, abs=1e-15)
    assume(np.ptp(market) > 1e-3)
    assert beta.value == pytest.approx(measures.beta(series, market), rel=1e-6, abs=1e-9)


@given(st.lists(st.floats(50.0, 150.0), min_size=1, max_size=60))
def test_the_running_drawdown_is_that_of_the_finished_run(equity):
    from qfkit.core.metrics import measure

    times = 10**18 + 86_400 * 10**9 * np.arange(len(equity), dtype=np.int64)
    running = RunningDrawdown(equity[0])
    for time_ns, value in zip(times.tolist(), equity, strict=True):
        running.update(time_ns, value)
    found = measure(times, np.array(equity), starting_equity=equity[0])
    assert running.max_drawdown == pytest.approx(found.max_drawdown, rel=1e-12, abs=1e-15)
    assert running.longest_under_water_ns / (86_400 * 10**9) == found.longest_drawdown_days
    series = pd.Series(equity)
    assert running.drawdown == pytest.approx(1.0 - series.iloc[-1] / series.max(), rel=1e-12, abs=1e-15)
    last_peak = len(equity) - 1 - int(np.argmax(equity[::-1]))
    assert running.under_water_ns == (len(equity) - 1 - last_peak) * 86_400 * 10**9


def test_under_water_from_the_start_counts_from_the_first_point():
    running = RunningDrawdown(100.0)
    running.update(1_000, 90.0)
    running.update(3_000, 95.0)
    assert (running.drawdown, running.max_drawdown, running.under_water_ns) == (1 - 0.95, 1 - 0.9, 2_000)
    running.update(4_000, 100.0)
    assert (running.drawdown, running.under_water_ns, running.longest_under_water_ns) == (0.0, 0, 3_000)


def test_the_running_turnover_is_the_batch_turnover():
    running = RunningTurnover()
    assert math.isnan(running.value)
    for equity, notional in ((100.0, 50.0), (120.0, -20.0), (140.0, 0.0)):
        running.trade(notional)
        running.mark(equity)
    assert running.value == measures.turnover([50.0, -20.0], 120.0) == 70.0 / 120.0


# -- a book ------------------------------------------------------------------------------------


def test_the_covariances_are_numpys(returns):
    rows = returns.to_numpy().copy()
    rows[3, 1] = np.nan
    assert measures.covariance_matrix(rows) == pytest.approx(np.cov(np.delete(rows, 3, axis=0).T), rel=1e-10)


def test_component_value_at_risk_by_hand():
    """Weights 0.6 and 0.4, volatilities 0.02 and 0.03, correlation 0.5.

    C w = (0.00036, 0.00054), w' C w = 0.000432, sqrt = 0.0207846; at 95 % times 1.644854 = 0.0341877,
    of which each half: 0.6 * 0.00036 = 0.4 * 0.00054 = 0.000216.
    """
    covariance = [[0.0004, 0.0003], [0.0003, 0.0009]]
    parts = measures.component_value_at_risk([0.6, 0.4], covariance)
    assert parts == pytest.approx([0.0170939, 0.0170939], abs=1e-7)


def test_component_value_at_risk_is_each_weights_share_of_the_derivative(returns):
    covariance, weights = returns.cov().to_numpy(), np.array([0.7, -0.4, 0.3])

    def whole(given):
        return scipy.stats.norm.ppf(0.99) * math.sqrt(given @ covariance @ given)

    parts = measures.component_value_at_risk(weights, covariance, 0.99)
    step = 1e-6
    for place in range(3):
        moved = weights.copy()
        moved[place] += step
        assert parts[place] == pytest.approx(weights[place] * (whole(moved) - whole(weights)) / step, rel=1e-4)
    assert parts.sum() == pytest.approx(whole(weights), rel=1e-12)
    assert parts[1] < 0.0, "a short among longs that rise and fall with it is a hedge"


@given(st.lists(WEIGHT, min_size=1, max_size=6), st.integers(0, 1000))
@settings(deadline=None)
def test_the_parts_sum_to_the_whole(weights, seed):
    returns = np.random.default_rng(seed).normal(0.0, 0.02, (40, len(weights)))
    parts = measures.component_value_at_risk(weights, measures.covariance_matrix(returns))
    book = returns @ np.array(weights)
    whole = scipy.stats.norm.ppf(0.95) * book.std(ddof=1)
    assert parts.sum() == pytest.approx(whole, rel=1e-8, abs=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_hhi_lies_between_that_of_equal_positions_and_one(weights):
    index = measures.hhi(weights)
    held = sum(weight != 0.0 for weight in weights)
    if not held:
        assert math.isnan(index)
    else:
        assert 1.0 / held - 1e-9 <= index <= 1.0 + 1e-12


def test_hhi_exposure_turnover_and_days_to_sell_by_hand():
    assert measures.hhi([0.5, -0.5]) == 0.5
    assert measures.hhi([0.6, 0.3, 0.1]) == pytest.approx(0.46)
    assert math.isnan(measures.hhi([]))
    assert measures.gross_exposure([0.6, -0.3]) == pytest.approx(0.9)
    assert measures.net_exposure([0.6, -0.3]) == pytest.approx(0.3)
    assert measures.liquidation_days(-5_000.0, 10_000.0, 0.1) == 5.0
    assert measures.liquidation_days(0.0, math.nan) == 0.0
    assert measures.liquidation_days(1.0, 0.0) == math.inf
    assert math.isnan(measures.liquidation_days(1.0, math.nan))
    assert math.isnan(measures.turnover([1.0], 0.0))
    assert measures.scaled(0.01, 252.0) == pytest.approx(0.01 * math.sqrt(252.0))


def test_what_is_not_defined_is_nan():
    assert math.isnan(measures.value_at_risk([]))
    assert math.isnan(measures.expected_shortfall([0.01]))
    assert math.isnan(measures.volatility([0.01]))
    assert math.isnan(measures.ewma_volatility([]))
    assert math.isnan(measures.skewness([0.1, 0.1, 0.1]))
    assert math.isnan(measures.beta([0.1, 0.2], [0.1, 0.1]))
    assert math.isnan(EwmaVolatility().value)
    assert math.isnan(RunningBeta().value)
    assert math.isnan(RunningVolatility().value)
    # Equal returns have no tail to expand: their loss is what it is.
    assert measures.value_at_risk([-0.01] * 5, 0.95, "cornish_fisher") == pytest.approx(0.01)
    assert measures.component_value_at_risk([0.0, 0.0], np.eye(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: measures.value_at_risk([0.1, 0.2], 95), ParameterError, "level=95"),
        (lambda: measures.value_at_risk([0.1, 0.2], 0.95, "normal"), ParameterError, "'normal' is none of"),
        (lambda: measures.value_at_risk([0.1, math.nan]), DataError, "return 1 is nan"),
        (lambda: measures.value_at_risk([[0.1], [0.2]]), DataError, r"shape \(2, 1\)"),
        (lambda: measures.beta([0.1], [0.1, 0.2]), DataError, "1 returns to 2"),
        (lambda: measures.component_value_at_risk([1.0], np.eye(2)), DataError, r"\(2, 2\)"),
        (lambda: measures.liquidation_days(1.0, 1.0, 0.0), ParameterError, "participation"),
        (lambda: measures.ewma_volatility([0.1], 1.0), ParameterError, "decay=1.0"),
        (lambda: measures.cornish_fisher_quantile(0.0, 0.0, 0.0), ParameterError, "probability"),
        (lambda: measures.covariance_matrix([0.1, 0.2]), DataError, "a column a symbol"),
    ],
)
def test_what_cannot_be_meant_says_so(call, error, text):
    with pytest.raises(error, match=text):
        call()
