"""Walk-forward: choices are made on the past alone and traded on what came after, in one run."""

from datetime import UTC, datetime
from math import isnan

import numpy as np
import pandas as pd
import pytest

import qfkit as qf
from qfkit.core.events import WarmUp
from qfkit.errors import ParameterError, ResearchError
from qfkit.frames import bars_of, columns_by_symbol
from qfkit.research.folds import folds_of
from qfkit.samples import sample

IDEAL = {"costs": qf.Costs.ideal(), "cash": 100.0}


def frame(closes, opens=None):
    """Daily bars from 2024-01-01; each opens where the one before closed, unless said otherwise."""
    closes = np.asarray(closes, dtype=float)
    opens = np.concatenate((closes[:1], closes[:-1])) if opens is None else np.asarray(opens, dtype=float)
    index = pd.date_range("2024-01-01", periods=len(closes), freq="D", tz="UTC")
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    return pd.DataFrame({"open": opens, "high": high, "low": low, "close": closes, "volume": 1e9}, index=index)


@qf.signal(side=1.0)
def one_side(bars, side):
    return pd.Series(side, index=bars.index)


class Turns(qf.Strategy):
    """Always in, on one side."""

    side = qf.Param(1.0, low=-1.0, high=1.0)

    def on_bar(self, bar):
        self.order_target(bar.symbol, weight=self.side)


def day(number):
    return datetime(2024, 1, number, tzinfo=UTC)


def closes_of(window, data):
    """The days whose bars a window has."""
    (columns,) = columns_by_symbol(data).values()
    close_ns = columns.close_ns
    return [int(place) + 1 for place in np.flatnonzero((close_ns > window.after_ns) & (close_ns <= window.until_ns))]


# -- the folds, worked by hand ---------------------------------------------------------------


def folds(count, **lengths):
    data = frame(np.arange(1.0, count + 1.0))
    found = folds_of(columns_by_symbol(data), **lengths)
    return [(closes_of(one.train, data), closes_of(one.test, data)) for one in found]


def test_rolling_windows():
    assert folds(11, train=4, test=3) == [
        ([1, 2, 3, 4], [5, 6, 7]),
        ([4, 5, 6, 7], [8, 9, 10]),
    ]


def test_the_last_test_may_be_shorter_but_has_two_bars():
    assert folds(12, train=4, test=3)[-1] == ([7, 8, 9, 10], [11, 12])
    assert len(folds(11, train=4, test=3)) == 2


def test_anchored_windows_keep_their_beginning():
    assert folds(10, train=4, test=3, anchored=True) == [
        ([1, 2, 3, 4], [5, 6, 7]),
        ([1, 2, 3, 4, 5, 6, 7], [8, 9, 10]),
    ]


def test_purge_cuts_the_training_and_embargo_the_test():
    assert folds(11, train=5, test=3, purge=2, embargo=1) == [
        ([1, 2, 3], [7, 8]),
        ([4, 5, 6], [10, 11]),
    ]


def test_lengths_in_time_are_of_the_calendar():
    assert folds(21, train="7d", test="1w") == [
        (list(range(1, 8)), list(range(8, 15))),
        (list(range(8, 15)), list(range(15, 22))),
    ]
    assert folds(21, train="1w", test="1w", purge="2d", embargo="1d")[0] == (list(range(1, 6)), list(range(9, 15)))


def test_a_longer_step_leaves_bars_out():
    assert folds(14, train=4, test=2, step=4) == [
        ([1, 2, 3, 4], [5, 6]),
        ([5, 6, 7, 8], [9, 10]),
        ([9, 10, 11, 12], [13, 14]),
    ]


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        ({"train": 0, "test": 3}, r"train=0: give a number of bars, 1 or more"),
        ({"train": 4, "test": 30, "embargo": 29}, r"too few for a single fold"),
        ({"train": 40, "test": 3}, r"train=40 and test=3.*11 bars"),
        ({"train": 4, "test": 3, "purge": 3}, r"less purge=3 leaves 1 bars"),
        ({"train": 4, "test": 3, "purge": -1}, r"purge=-1"),
        ({"train": 4, "test": 3, "step": 2}, r"traded on twice"),
        ({"train": "4 moons", "test": 3}, r"4 moons"),
    ],
)
def test_lengths_that_cannot_be_are_said(lengths, words):
    with pytest.raises(qf.QfkitError, match=words):
        folds(11, **lengths)


# -- a case worked by hand -------------------------------------------------------------------

# Up for five days, down for four, up for four; each bar opens where the one before closed.
PRICES = [10.0, 11, 12, 13, 14, 12, 10, 9, 8, 10, 12, 15, 16]


@pytest.mark.parametrize("rule", [one_side, Turns])
def test_a_small_case_worked_by_hand(rule):
    found = qf.walk_forward(
        rule, frame(PRICES), train=5, test=4, metric="total_return", side=(1.0, -1.0), executor=1, **IDEAL
    )
    # Days 1 to 5 rise: long is chosen, and held from the open of day 7 (12) to day 9. Then short, by days 5 to 9.
    assert found.parameters == [{"side": 1.0}, {"side": -1.0}]
    assert found.table["side"].tolist() == [1.0, -1.0]
    fills = found.result.fills
    first, second = fills.iloc[0], fills.iloc[1 if rule is one_side else -1]
    # Decided at the close of day 6, at 12: 100 / 12 shares at the open of day 7, which is 12.
    assert first["side"] == "buy" and first["price"] == 12.0 and first["quantity"] == pytest.approx(100 / 12)
    assert first.name == pd.Timestamp("2024-01-07", tz="UTC")
    equity = found.equity.tolist()
    # One point for the start of it all, then one a day from day 6 on.
    assert equity[:5] == pytest.approx([100.0, 100.0, 100 * 10 / 12, 100 * 9 / 12, 100 * 8 / 12])
    if rule is one_side:
        # Set after day 9's close: the first bar under the new choice is day 10, which closes at 10; sold at day 11's open.
        assert second["side"] == "sell" and second["price"] == 10.0
        assert second.name == pd.Timestamp("2024-01-11", tz="UTC")
        held = 100 / 12
        assert second["quantity"] == pytest.approx(2 * held)
        cash = 2 * held * 10.0
        assert equity[5:] == pytest.approx([10 * held, cash - 12 * held, cash - 15 * held, cash - 16 * held])
    inside, outside = found.in_sample, found.out_of_sample
    # In sample long is bought at the open of day 2 (10) for what 100 buys at 10, and worth 14 in the end.
    assert inside["total_return"][0] == pytest.approx(0.4)
    assert outside["total_return"][0] == pytest.approx(8 / 12 - 1)
    assert outside["total_return"][1] == pytest.approx(equity[-1] / equity[4] - 1)
    assert found.table["total_return_in"].tolist() == inside["total_return"].tolist()
    assert found.metrics.end_equity == equity[-1]
    assert found.tries == 4 and len(found) == 2


def test_each_choice_is_the_best_of_a_sweep_over_its_training_alone():
    data = sample("IBM").iloc[:900]
    axes = {"fast": (5, 10, 20), "slow": (30, 50)}
    found = qf.walk_forward(qf.MovingAverageCrossover, data, train=300, test=200, executor=1, **axes)
    assert len(found) == 3
    for number, fold in enumerate(found.folds):
        training = data.iloc[number * 200 : number * 200 + 300]
        alone = qf.sweep(qf.MovingAverageCrossover, training, executor=1, **axes)
        assert found.parameters[number] == alone.best_parameters
        assert found.in_sample.loc[number, "sharpe"] == alone.table["sharpe"].max()
        assert closes_of(fold.test, data) == list(range(number * 200 + 301, number * 200 + 501))
    # What came after cannot change a choice.
    other = data.copy()
    other.iloc[700:, :4] *= np.linspace(1.0, 3.0, 200)[:, None]
    again = qf.walk_forward(qf.MovingAverageCrossover, other, train=300, test=200, executor=1, **axes)
    assert again.parameters == found.parameters
    assert again.equity.tolist()[:401] == found.equity.tolist()[:401]
    assert again.equity.tolist()[-1] != found.equity.tolist()[-1]


def test_the_tests_are_one_run_as_of_a_session_whose_parameters_are_set():
    data = sample("MSFT").iloc[:700]
    found = qf.walk_forward(
        qf.MovingAverageCrossover, data, train=300, test=200, warmup=300, executor=1, fast=(5, 20), slow=(40, 80)
    )
    first, second = found.parameters
    engine = qf.Engine(
        {"MovingAverageCrossover": qf.MovingAverageCrossover(**first)}, cash=100_000.0, symbols=("MSFT",)
    )
    ((_, columns),) = columns_by_symbol(data).items()
    bars = bars_of(columns)
    engine.process(WarmUp(bars[299].close_ns, bars=bars[:300]))
    for number, bar in enumerate(bars[300:]):
        if number == 200:
            engine.process(qf.SetParameters(bars[499].close_ns, parameters=second))
        engine.process(bar)
    engine.process(qf.Stop(bars[-1].close_ns))
    assert [row[1] for row in engine.records.equity] == found.equity.tolist()
    assert [fill.price for fill in engine.records.fills] == found.result.fills["price"].tolist()
    story = found.result.why()
    assert "MovingAverageCrossover" in str(story)


def test_two_processes_choose_the_same():
    data = {name: sample(name).iloc[:500] for name in ("AAPL", "IBM")}
    arguments = {"train": 200, "test": 150, "fast": (5, 10), "slow": (20, 40)}
    here = qf.walk_forward(qf.MovingAverageCrossover, data, executor=1, **arguments)
    there = qf.walk_forward(qf.MovingAverageCrossover, data, executor=2, **arguments)
    pd.testing.assert_frame_equal(here.table, there.table, check_exact=True)
    assert here.equity.equals(there.equity)


def test_where_nothing_could_be_chosen_the_choice_before_goes_on():
    def gain(result):
        times = result.equity.index
        return float("nan") if times[0] >= pd.Timestamp("2024-01-06", tz="UTC") else result.metrics.total_return

    found = qf.walk_forward(
        one_side, frame(PRICES), train=5, test=4, metric=gain, side=(1.0, -1.0), executor=1, **IDEAL
    )
    assert found.parameters == [{"side": 1.0}, None]
    assert len(found.result.fills) == 1
    assert found.table["side"].tolist()[0] == 1.0 and pd.isna(found.table["side"].tolist()[1])
    assert isnan(found.table["gain_in"][1])
    with pytest.raises(ResearchError, match="no combination has a gain"):
        qf.walk_forward(
            one_side, frame(PRICES).iloc[5:], train=4, test=3, metric=gain, side=(1.0,), executor=1, **IDEAL
        )


def test_what_a_walk_forward_cannot_take_is_said():
    with pytest.raises(ParameterError, match="takes bars"):
        qf.walk_forward(
            one_side, [qf.Tick("A", 1.0, 1.0, 1, 1), qf.Tick("A", 1.0, 1.0, 2, 2)], train=1, test=1, side=(1.0,)
        )
    with pytest.raises(ParameterError, match="warmup=2000"):
        qf.walk_forward(one_side, frame(PRICES), train=5, test=4, warmup=2_000, side=(1.0,))
    with pytest.raises(ParameterError, match="own timeframe"):
        qf.walk_forward(one_side, frame(PRICES), train=5, test=4, timeframe="1w", side=(1.0,), executor=1)


def test_it_shows_itself_with_both_sides_side_by_side():
    found = qf.walk_forward(one_side, frame(PRICES), train=5, test=4, side=(1.0, -1.0), executor=1, **IDEAL)
    text = repr(found)
    assert "2 windows" in text and "out of sample" in text and "sharpe_in" in text and "sharpe_out" in text
    page = found._repr_html_()
    assert "<table" in page and "sharpe out" in page and "<img" in page
