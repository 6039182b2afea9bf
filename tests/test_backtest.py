"""The backtest: hand-worked runs, a peer's answer trade by trade, and what bad input is told."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from support import bar, tick, walk

import qfkit as qf
from qfkit.core.sizing import SizingContext
from qfkit.errors import (
    BadEventError,
    DataError,
    FrameError,
    NaiveTimeError,
    ParameterError,
    StrategyError,
    TimeframeError,
)
from qfkit.frames import bars_of, columns_from_frame
from qfkit.samples import SAMPLE_SYMBOLS, sample

MINUTE = 60_000_000_000


def frame(opens, closes=None, *, spread=0.5, volume=1e9, freq="1min", start="2024-01-02"):
    """Bars from opens and closes; highs and lows lie ``spread`` beyond them."""
    opens = np.asarray(opens, dtype=float)
    closes = opens if closes is None else np.asarray(closes, dtype=float)
    index = pd.date_range(start, periods=len(opens), freq=freq, tz="UTC")
    high, low = np.maximum(opens, closes) + spread, np.minimum(opens, closes) - spread
    return pd.DataFrame({"open": opens, "high": high, "low": low, "close": closes, "volume": volume}, index=index)


def random_frame(rows=300, seed=1):
    steps = np.random.default_rng(seed).normal(0, 0.3, rows)
    closes = np.maximum(5.0, 100 + np.cumsum(steps))
    return frame(np.concatenate(([100.0], closes[:-1])), closes)


class OnceLong(qf.Strategy):
    """Buys 10 on the first bar and closes on the fourth."""

    def on_start(self):
        self.number = 0

    def on_bar(self, bar):
        self.number += 1
        if self.number == 1:
            self.buy(bar.symbol, quantity=10.0, reason="first")
        elif self.number == 4:
            self.close(bar.symbol, reason="fourth")


class Cross(qf.Strategy):
    """Long a fixed number of shares while the fast average is above the slow one."""

    fast = qf.Param(10, low=2, high=60)
    slow = qf.Param(30, low=5, high=240)

    def setup(self):
        self.fast_average = self.indicator(qf.SMA, self.fast)
        self.slow_average = self.indicator(qf.SMA, self.slow)

    def on_bar(self, bar):
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.buy(bar.symbol, quantity=100.0)
        elif fast.crossed_below(slow):
            self.close(bar.symbol)


# -- hand-worked -----------------------------------------------------------------------------


def test_a_run_worked_by_hand():
    #                     open: 10   11   12   13   14   15
    data = frame([10.0, 11, 12, 13, 14, 15], [10.5, 11.5, 12.5, 13.5, 14.5, 15.5])
    result = qf.backtest(OnceLong, data, cash=1_000.0, costs=qf.Costs.ideal())
    # Decided at the close of bar 0, bought at the open of bar 1 (11); sold at the open of bar 4 (14).
    assert result.fills["price"].tolist() == [11.0, 14.0]
    assert result.fills["side"].tolist() == ["buy", "sell"]
    assert result.fills.index.tolist() == [data.index[1], data.index[4]]
    # Cash 890 and 10 shares at the closes of bars 1 to 3, then 1,030.
    assert result.equity["account"].tolist() == [1000.0, 1005.0, 1015.0, 1025.0, 1030.0, 1030.0]
    assert result.equity.index.tolist() == [time + pd.Timedelta("1min") for time in data.index]
    assert result.trades["pnl"].tolist() == [30.0]
    assert result.orders["reason"].tolist() == ["first", "fourth"]


def test_costs_worked_by_hand():
    data = frame([10.0, 11, 12, 13, 14, 15])
    costs = qf.Costs(commission=0.01, slippage_bps=100.0, latency_s=0.0, participation=None)
    result = qf.backtest(OnceLong, data, cash=1_000.0, costs=costs)
    buy, sell = 11 * 1.01, 14 * 0.99
    assert result.fills["price"].tolist() == pytest.approx([buy, sell])
    assert result.fills["fee"].tolist() == pytest.approx([0.1 * buy, 0.1 * sell])
    assert result.equity["account"].iloc[-1] == pytest.approx(1000 + 10 * (sell - buy) - 0.1 * (buy + sell))


def test_the_result_says_what_was_run():
    result = qf.backtest({"mine": Cross(fast=5)}, random_frame(), cash=50_000)
    assert result.strategy_names == ("mine",) and result.parameters == {"mine": {"fast": 5, "slow": 30}}
    assert result.timeframe == "1m" and result.symbols == ("data",)
    assert "next bar's open" in result.assumptions[0]
    assert "1 times the equity" in result.assumptions[-1]
    assert len(result.equity) == len(result.bars) == 300
    text = repr(result)
    assert "mine(fast=5, slow=30)" in text and "2024-01-02" in text


def test_running_twice_gives_the_same_and_leaves_the_instance_alone():
    data, given = random_frame(), Cross(fast=4, slow=9)
    first, second = qf.backtest(given, data), qf.backtest(given, data)
    assert len(first.fills) > 5
    pd.testing.assert_frame_equal(first.fills, second.fills)
    pd.testing.assert_frame_equal(first.equity, second.equity)
    assert not hasattr(given, "fast_average")


def test_several_strategies_have_books_of_their_own():
    data = random_frame()
    both = qf.backtest([Cross(fast=4, slow=9), OnceLong], data, cash=100_000.0, costs=qf.Costs.ideal())
    alone = qf.backtest(Cross(fast=4, slow=9), data, cash=50_000.0, costs=qf.Costs.ideal())
    assert list(both.equity.columns) == ["account", "Cross", "OnceLong"]
    assert both.equity["Cross"].tolist() == alone.equity["account"].tolist()
    shared = qf.backtest([Cross, Cross], data, shares={"Cross": 0.75, "Cross 2": 0.25}, cash=1000.0)
    assert shared.equity.iloc[0].tolist() == [1000.0, 750.0, 250.0]


def test_a_sizer_and_risk_limits_reach_the_engine():
    class Buys(qf.Strategy):
        def on_bar(self, bar):
            if not self.position(bar.symbol):
                self.buy(bar.symbol)

    def seven(context: SizingContext) -> float:
        return 7.0

    data = frame([10.0] * 5)
    assert qf.backtest(Buys, data, sizer=seven).fills["quantity"].tolist() == [7.0]
    limited = qf.backtest(
        Buys, data, sizer=seven, risk=qf.RiskLimits(max_position_notional=20.0), costs=qf.Costs.ideal()
    )
    assert limited.fills["quantity"].tolist() == [2.0]


# -- data ------------------------------------------------------------------------------------


class Counts(qf.Strategy):
    """Notes the bars it gets."""

    def on_start(self):
        Counts.seen = []

    def on_bar(self, bar):
        Counts.seen.append(bar)


def test_a_dict_of_frames_and_a_choice_of_symbols():
    data = {"B": frame([1.0, 2, 3]), "A": frame([4.0, 5, 6])}
    result = qf.backtest(Counts, data)
    assert [one.symbol for one in Counts.seen] == ["B", "A", "B", "A", "B", "A"]
    assert result.symbols == ("B", "A") and len(result.equity) == 3
    qf.backtest(Counts, data, symbols="A")
    assert {one.symbol for one in Counts.seen} == {"A"}
    with pytest.raises(ParameterError, match="symbols='AA'.*Did you mean|Known"):
        qf.backtest(Counts, data, symbols=["AA"])


def test_columns_are_taken_as_they_are():
    columns = columns_from_frame(frame([1.0, 2, 3]), "A")
    assert qf.backtest(Counts, columns).symbols == ("A",)
    assert Counts.seen == bars_of(columns)


def test_a_higher_timeframe_is_built_from_the_data():
    result = qf.backtest(Counts, random_frame(60), timeframe="15m")
    assert [one.timeframe for one in Counts.seen] == ["15m"] * 4
    assert result.timeframe == "15m" and len(result.bars) == 4
    assert Counts.seen[1].open == random_frame(60)["open"].iloc[15]


def test_one_row_runs_once_its_timeframe_is_said():
    with pytest.raises(TimeframeError, match="timeframe="):
        qf.backtest(Counts, frame([1.0]))
    assert len(qf.backtest(Counts, frame([1.0]), timeframe="1d").equity) == 1


def test_a_list_of_bars():
    events = walk(200, seed=3)
    result = qf.backtest(Cross(fast=3, slow=8), events)
    assert len(result.equity) == 200 and result.timeframe == "1m" and result.symbols == ("A",)
    assert len(result.fills) > 2


def test_events_that_can_be_read_only_once():
    events = walk(200, seed=3)
    rule = qf.signal(lambda bars: bars.close > bars.open)
    for strategy in (Cross(fast=3, slow=8), rule):
        assert qf.backtest(strategy, iter(events)).records.fills == qf.backtest(strategy, events).records.fills


def test_a_recording_and_a_parquet_file(capture_path, tmp_path):
    result = qf.backtest(Cross(fast=3, slow=8), capture_path, timeframe="5s", costs=qf.Costs.ideal())
    assert result.symbols == ("BTCUSDT",) and result.timeframe == "5s" and len(result.fills) > 0
    assert "BTCUSDT" in repr(result) and "2024-08-08" in repr(result)
    data = sample("AAPL")
    data.to_parquet(tmp_path / "AAPL.parquet")
    from_file, from_frame = qf.backtest(Cross, tmp_path / "AAPL.parquet"), qf.backtest(Cross, data)
    pd.testing.assert_frame_equal(from_file.equity, from_frame.equity)
    pd.testing.assert_frame_equal(from_file.fills, from_frame.fills)


def test_a_list_of_ticks_and_a_frame_of_ticks():
    ticks = [tick(second, 100 + second % 7, size=5.0) for second in range(600)]
    listed = qf.backtest(Counts, ticks)
    assert [one.close for one in Counts.seen][:2] == [100 + 59 % 7, 100 + 119 % 7]
    assert "next tick" in listed.assumptions[0]
    index = pd.DatetimeIndex(pd.to_datetime([one.time_ns for one in ticks], utc=True))
    given = pd.DataFrame({"price": [one.price for one in ticks], "size": 5.0}, index=index)
    bars_of_list = Counts.seen
    qf.backtest(Counts, given)
    assert [one.close for one in Counts.seen] == [one.close for one in bars_of_list]


# -- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda f: f.iloc[:0], FrameError, "empty"),
        (lambda f: f.drop(columns="open"), FrameError, "no column 'open'"),
        (lambda f: f.tz_localize(None), NaiveTimeError, "tz_localize"),
        (lambda f: f.assign(close=np.nan), FrameError, "dropna"),
        (lambda f: f.iloc[::-1], FrameError, "sort_index"),
        (lambda f: {}, FrameError, "empty"),
        (lambda f: {"A": f, "B": f.assign(low=-1.0)}, FrameError, "^B: low is -1.0"),
    ],
)
def test_a_broken_frame_does_not_run(change, error, words):
    with pytest.raises(error, match=words):
        qf.backtest(Counts, change(frame([1.0, 2, 3])))


@pytest.mark.parametrize("field", [{"price": 0.0}, {"price": float("nan")}, {"price": float("inf")}, {"size": -1.0}])
def test_a_broken_event_does_not_run(field):
    bad = tick(1, **{"price": 1.0, **field})
    with pytest.raises(BadEventError):
        qf.backtest(Counts, [tick(0, 1.0), bad])


def test_events_out_of_order_do_not_run():
    with pytest.raises(DataError, match="sort"):
        qf.backtest(Counts, [bar(1, 1, 1, 1, 1), bar(0, 1, 1, 1, 1)])


def test_a_bar_that_is_there_twice_does_not_run():
    with pytest.raises(BadEventError, match="event 1: the bar of A that opened at 2023-11-15 00:00:00 UTC.*twice"):
        qf.backtest(Counts, [bar(0, 1, 1, 1, 1), bar(0, 1, 1, 1, 1)])


def test_no_events_do_not_run():
    with pytest.raises(DataError):
        qf.backtest(Counts, [])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda f: qf.backtest(Cross(fsat=3), f), ParameterError, "no parameter 'fsat'. Did you mean 'fast'"),
        (lambda f: qf.backtest(Cross(fast=61), f), ParameterError, "fast=61 is out of bounds: it must be from 2 to 60"),
        (
            lambda f: qf.backtest(qf.MovingAverageCrossover(fast=30, slow=30), f),
            ParameterError,
            "fast=30 must be below slow=30",
        ),
        (lambda f: qf.backtest(Cross, f, timeframe="1 minute"), TimeframeError, "'1 minute'.*such as"),
        (lambda f: qf.backtest(Cross, f, timeframe="30s"), TimeframeError, "cannot be built from bars of 1m"),
        (lambda f: qf.backtest(Cross, f, cash=0), ParameterError, "cash=0"),
        (lambda f: qf.backtest([], f), ParameterError, "no strategy given"),
        (lambda f: qf.backtest("Cross", f), StrategyError, "no strategy"),
        (lambda f: qf.backtest(len, f), StrategyError, "qf.signal"),
        (lambda f: qf.backtest(Cross, f, shares={"cross": 1.0}), ParameterError, "name the same"),
    ],
)
def test_a_wrong_argument_is_named_with_the_fix(call, error, words):
    with pytest.raises(error, match=words):
        call(frame([1.0, 2, 3]))


def test_a_strategy_that_raises_is_shown_with_the_event():
    class Breaks(qf.Strategy):
        def on_bar(self, bar):
            if bar.close > 2.5:
                raise KeyError("gone")

    with pytest.raises(
        StrategyError, match=r"Breaks raised KeyError: 'gone' at 2024-01-02 00:03:00 UTC, on Bar\(.*close=3.0"
    ) as caught:
        qf.backtest(Breaks, frame([1.0, 2, 3, 4]))
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_strategy_that_raises_at_the_end_is_shown_too():
    class Breaks(qf.Strategy):
        def on_stop(self):
            raise ZeroDivisionError("late")

    with pytest.raises(StrategyError, match="Breaks raised ZeroDivisionError: late"):
        qf.backtest(Breaks, frame([1.0, 2]))


def test_progress_is_shown_when_asked_for_and_not_when_nobody_watches(capsys):
    qf.backtest(Counts, random_frame(), progress=None)
    assert capsys.readouterr().err == ""
    qf.backtest(Counts, random_frame(), progress=True)
    assert "backtest" in capsys.readouterr().err
    assert "rich.progress" in sys.modules


# -- against a peer --------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", SAMPLE_SYMBOLS)
@pytest.mark.parametrize(("fast", "slow"), [(10, 40), (9, 30)])
def test_trades_equal_those_of_backtesting_py_on_real_bars(symbol, fast, slow):
    with warnings.catch_warnings():
        # Another project's imports may warn.
        warnings.simplefilter("ignore")
        import backtesting
        from backtesting.lib import crossover

    class Peer(backtesting.Strategy):
        def init(self):
            close = pd.Series(self.data.Close)
            self.fast = self.I(lambda: close.rolling(fast).mean())
            self.slow = self.I(lambda: close.rolling(slow).mean())

        def next(self):
            if crossover(self.fast, self.slow):
                self.buy(size=100)
            elif crossover(self.slow, self.fast):
                self.position.close()

    data = sample(symbol)
    # At a tie the rounding of the peer's averages decides; these data and periods have none.
    apart = data["close"].rolling(fast).mean() - data["close"].rolling(slow).mean()
    assert (apart.dropna().abs() > 1e-9 * data["close"].min()).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = backtesting.Backtest(
            data.rename(columns=str.title).tz_localize(None), Peer, cash=10_000_000, commission=0.0,
            trade_on_close=False, exclusive_orders=True, finalize_trades=False,
        ).run()  # fmt: skip
    theirs = peer["_trades"]
    ours = qf.backtest(Cross(fast=fast, slow=slow), data, cash=10_000_000.0, costs=qf.Costs.ideal()).trades
    assert len(ours) == len(theirs) > 20
    rows = {time: row for row, time in enumerate(data.index)}
    assert [rows[time] for time in ours["entry_time"]] == theirs["EntryBar"].tolist()
    assert [rows[time] for time in ours.index] == theirs["ExitBar"].tolist()
    assert ours["entry_price"].tolist() == pytest.approx(theirs["EntryPrice"].tolist(), rel=1e-12)
    assert ours["exit_price"].tolist() == pytest.approx(theirs["ExitPrice"].tolist(), rel=1e-12)
    assert ours["pnl"].tolist() == pytest.approx(theirs["PnL"].tolist(), rel=1e-9, abs=1e-6)
