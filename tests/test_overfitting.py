"""Sharpe ratios deflated, and the probability of overfitting, against the papers' own numbers and plain rewritings."""

from itertools import combinations
from math import inf, log, sqrt
from statistics import NormalDist

import numpy as np
import pandas
import pytest

from qfkit.errors import DataError, ParameterError
from qfkit.research.overfitting import (
    block_moments,
    deflated_sharpe,
    expected_maximum_sharpe,
    independent_tries,
    minimum_backtest_years,
    minimum_track_record,
    overfitting_of_returns,
    overfitting_probability,
    probabilistic_sharpe,
)


def test_the_example_of_the_deflated_sharpe_ratio_comes_out_as_printed():
    # Bailey and López de Prado 2014, "A numerical example": annual Sharpe 2.5 over five years of 250 days, the
    # variance of the annual Sharpe ratios of all trials 1/2, skewness -3, kurtosis 10.
    daily, variance = 2.5 / sqrt(250), 0.5 / 250
    assert expected_maximum_sharpe(variance, 100) == pytest.approx(0.1132, abs=5e-5)
    shape = {"skewness": -3.0, "kurtosis": 10.0}
    assert deflated_sharpe(daily, 1250, variance=variance, tries=100, **shape) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(daily, 1250, variance=variance, tries=46, **shape) == pytest.approx(0.9505, abs=5e-5)
    # With normal returns the same confidence is left after 88 trials.
    assert deflated_sharpe(daily, 1250, variance=variance, tries=88) == pytest.approx(0.9505, abs=5e-5)


def test_the_example_of_the_probabilistic_sharpe_ratio_comes_out_as_printed():
    # Bailey and López de Prado 2012: 24 months, mean 0.036, deviation 0.079, skewness -2.448, kurtosis 10.164.
    assert probabilistic_sharpe(0.458, 24) == pytest.approx(0.982, abs=5e-4)
    assert probabilistic_sharpe(0.458, 24, skewness=-2.448, kurtosis=10.164) == pytest.approx(0.913, abs=5e-4)


def test_the_minimum_track_record_is_as_printed():
    # The same paper: an annual Sharpe ratio of 2 is above 1 at 95 % after so many years.
    def years(periods, **shape):
        return minimum_track_record(2 / sqrt(periods), benchmark=1 / sqrt(periods), **shape) / periods

    assert years(250) == pytest.approx(2.73, abs=0.005)
    assert years(52) == pytest.approx(2.83, abs=0.005)
    assert years(12) == pytest.approx(3.24, abs=0.005)
    assert years(12, skewness=-0.72, kurtosis=5.78) == pytest.approx(4.99, abs=0.005)
    assert minimum_track_record(0.1, benchmark=0.1) == inf


def test_the_probabilistic_sharpe_ratio_says_after_how_many_returns_the_level_is_reached():
    shape = {"skewness": -0.5, "kurtosis": 6.0, "benchmark": 0.02}
    needed = minimum_track_record(0.11, level=0.9, **shape)
    assert probabilistic_sharpe(0.11, int(needed) + 1, **shape) > 0.9 > probabilistic_sharpe(0.11, int(needed), **shape)


def test_five_years_stand_no_more_than_45_tries():
    # Bailey, Borwein, López de Prado and Zhu 2014.
    assert minimum_backtest_years(45) == pytest.approx(5.0, abs=0.005)
    assert minimum_backtest_years(45, sharpe=2.0) == pytest.approx(1.25, abs=0.005)


def test_the_best_of_many_without_worth_is_as_good_as_foretold():
    random = np.random.default_rng(5)
    best = random.normal(0.0, 0.3, (4_000, 200)).max(axis=1).mean()
    assert expected_maximum_sharpe(0.09, 200) == pytest.approx(best, rel=0.02)
    assert expected_maximum_sharpe(0.09, 1) == 0.0
    assert expected_maximum_sharpe(0.0, 200) == 0.0
    # 1 - 1 / tries is 1 to a float here.
    assert 2.0 < expected_maximum_sharpe(0.09, 1e18) < 3.0


def test_the_best_of_noise_is_rarely_above_what_noise_would_show():
    random = np.random.default_rng(11)
    found = []
    for _ in range(300):
        returns = random.normal(0.0, 0.01, (50, 500))
        sharpes = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
        variance = float(sharpes.var(ddof=1))
        found.append(deflated_sharpe(float(sharpes.max()), 500, variance=variance, tries=50))
    plain = [NormalDist().cdf(expected_maximum_sharpe(1 / 499, 50) * sqrt(499))]
    # Undeflated, nearly every one of them would pass at 95 %.
    assert plain[0] > 0.98
    assert np.mean(np.array(found) > 0.95) < 0.02
    assert 0.4 < np.mean(found) < 0.6


def test_a_hundred_tries_that_are_one_count_as_one():
    assert independent_tries(100, 1.0) == 1.0
    assert independent_tries(100, 0.0) == 100.0
    assert independent_tries(100, 0.5) == pytest.approx(50.5)
    assert independent_tries(100, -0.01) == 100.0


def test_excess_kurtosis_given_by_mistake_is_refused():
    with pytest.raises(ParameterError, match="Pearson's, 3 for a normal"):
        probabilistic_sharpe(0.1, 100, kurtosis=0.0)
    with pytest.raises(ParameterError, match="two returns"):
        probabilistic_sharpe(0.1, 1)
    with pytest.raises(ParameterError, match="at least one"):
        expected_maximum_sharpe(0.1, 0)
    with pytest.raises(ParameterError, match="variance"):
        deflated_sharpe(0.1, 100, variance=-1.0, tries=10)


# -- the probability of backtest overfitting -------------------------------------------------


def cross_validated(returns, blocks):
    """The procedure as the paper tells it, with the returns joined anew for each split."""
    parts = np.array_split(np.arange(returns.shape[1]), blocks)
    logits, pairs = [], []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[one] for one in chosen])
        outside = np.concatenate([parts[one] for one in range(blocks) if one not in chosen])
        first, second = (
            pandas.Series(part.mean(axis=1) / part.std(axis=1, ddof=1))
            for part in (returns[:, inside], returns[:, outside])
        )
        best = int(first.argmax())
        share = second.rank()[best] / (len(returns) + 1)
        logits.append(log(share / (1 - share)))
        pairs.append((first[best], second[best]))
    return np.array(logits), np.array(pairs)


@pytest.mark.parametrize(("tries", "periods", "blocks"), [(7, 96, 8), (40, 240, 6), (2, 30, 2)])
def test_block_moments_give_what_the_joined_returns_give(tries, periods, blocks):
    returns = np.random.default_rng(tries).normal(2e-4, 0.01, (tries, periods))
    logits, pairs = cross_validated(returns, blocks)
    found = overfitting_of_returns(returns, blocks=blocks)
    assert found.probability == pytest.approx(np.mean(logits <= 0))
    assert np.sort(found.logits) == pytest.approx(np.sort(logits))
    order = np.lexsort(pairs.T)
    mine = np.column_stack([found.in_sample, found.out_of_sample])
    assert mine[np.lexsort(mine.T)] == pytest.approx(pairs[order])
    assert found.loss_probability == pytest.approx(np.mean(pairs[:, 1] < 0))
    if blocks > 2:
        assert (found.slope, found.intercept) == pytest.approx(tuple(np.polyfit(*pairs.T, 1)))
    by_frame = overfitting_of_returns(pandas.DataFrame(returns.T), blocks=blocks)
    assert by_frame.probability == found.probability


def test_noise_is_overfitted_about_half_the_time():
    random = np.random.default_rng(3)
    found = [overfitting_of_returns(random.normal(0, 0.01, (50, 320)), blocks=8).probability for _ in range(60)]
    assert 0.42 < np.mean(found) < 0.62


def test_a_strategy_that_is_truly_better_is_told():
    returns = np.random.default_rng(4).normal(0.0, 0.01, (100, 1600))
    returns[37] += 0.004
    found = overfitting_of_returns(returns)
    assert found.probability == 0.0
    assert set(found.winners) == {37}
    assert found.loss_probability == 0.0
    assert len(found.logits) == 12_870


def test_what_was_fitted_to_each_half_alone_is_overfitting():
    # Each is superb in one block of time and poor in all others: the best in sample is poor out of sample.
    random = np.random.default_rng(9)
    returns = random.normal(-0.001, 0.01, (8, 800))
    for one in range(8):
        returns[one, one * 100 : one * 100 + 100] += 0.03
    found = overfitting_of_returns(returns, blocks=8)
    assert found.probability == 1.0
    assert found.loss_probability > 0.9


def test_many_combinations_are_reckoned_in_parts_and_come_out_the_same(monkeypatch):
    moments = block_moments(np.random.default_rng(6).normal(0, 0.01, (30, 400)), blocks=8)
    whole = overfitting_probability(*moments)
    monkeypatch.setattr("qfkit.research.overfitting._AT_ONCE", 100)
    parts = overfitting_probability(*moments)
    assert parts.logits.tolist() == pytest.approx(whole.logits.tolist())
    assert parts.winners.tolist() == whole.winners.tolist()


def test_equal_combinations_share_their_rank():
    returns = np.tile(np.random.default_rng(1).normal(0, 0.01, 64), (5, 1))
    found = overfitting_of_returns(returns, blocks=4)
    # All are the median.
    assert found.logits == pytest.approx(np.zeros(6), abs=1e-12)
    assert set(found.winners) == {0}


def test_a_combination_that_never_held_anything_is_never_picked_but_is_ranked():
    random = np.random.default_rng(2)
    losers = random.normal(-0.01, 0.01, (3, 80))
    found = overfitting_of_returns(np.vstack([np.zeros(80), losers]), blocks=4)
    assert 0 not in found.winners
    # Whichever loser is picked, doing nothing was better: of ranks 1 to 4 it has 3 at the best.
    assert found.logits.max() <= log(3 / 2) + 1e-12
    assert found.combinations == 4
    # It holds something in the second half of the time only.
    late = np.zeros((2, 80))
    late[:, 40:] = random.normal(0, 0.01, (2, 40))
    halves = overfitting_of_returns(late, blocks=2)
    assert halves.undecided == 1
    assert halves.out_of_sample.tolist() == [0.0]
    with pytest.raises(DataError, match="ever held"):
        overfitting_of_returns(np.zeros((3, 80)), blocks=4)


def test_a_failed_combination_takes_no_part_and_is_counted():
    returns = np.random.default_rng(8).normal(0, 0.01, (6, 80))
    broken = np.insert(returns, 2, np.nan, axis=0)
    found, plain = overfitting_of_returns(broken, blocks=4), overfitting_of_returns(returns, blocks=4)
    assert (found.combinations, found.left_out) == (6, 1)
    assert found.probability == plain.probability
    assert [one - (one > 2) for one in found.winners] == plain.winners.tolist()


def test_a_steady_gain_is_not_lost_to_rounding():
    # A deviation a thousandth of the mean: plain moments still tell the two apart.
    random = np.random.default_rng(10)
    returns = 0.01 + random.normal(0, 1e-5, (5, 400))
    logits, _ = cross_validated(returns, 4)
    assert np.sort(overfitting_of_returns(returns, blocks=4).logits) == pytest.approx(np.sort(logits))


def test_wrong_shapes_say_what_is_right():
    with pytest.raises(ParameterError, match="an even number"):
        overfitting_of_returns(np.zeros((3, 80)), blocks=5)
    with pytest.raises(DataError, match="two periods"):
        overfitting_of_returns(np.zeros((3, 20)))
    with pytest.raises(DataError, match="combinations, periods"):
        overfitting_of_returns(np.zeros(80))
    with pytest.raises(DataError, match="two to rank"):
        overfitting_of_returns(np.random.default_rng(0).normal(size=(1, 80)), blocks=4)
    with pytest.raises(DataError, match="counts"):
        overfitting_probability([10, 10], np.zeros((3, 4)), np.zeros((3, 4)))
