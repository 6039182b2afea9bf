"""Figures of a run that goes on: those of the finished run, of pandas and of empyrical, at the same cost for ever."""

import math
import sys
import time
import zipfile

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from support import DAY, MINUTE, START, run, walk

import qfkit as qf
from qfkit.core.annualisation import RunningTimes, infer_annualisation
from qfkit.core.deals import exposure_of
from qfkit.core.engine import Engine
from qfkit.core.metrics import measure
from qfkit.core.orders import Fill, Side, Trade
from qfkit.core.running import Activity, RunningMetrics
from qfkit.core.scorecard import KEPT_POINTS, Scorecard
from qfkit.core.trade_statistics import trade_statistics
from qfkit.core.windows import window_of
from qfkit.errors import ParameterError, TimeframeError
from qfkit.journal.reader import JournalReader
from qfkit.live.replaying import replay
from qfkit.metrics_frames import live_figures, live_symbols, metrics_frame

SECOND = 1_000_000_000


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    # Rounding only: the one is added up from left to right, the other pairwise.
    pd.testing.assert_frame_equal(one, other, rtol=1e-9, atol=1e-12)


class Flipper(qf.Strategy):
    """Long and short in turn: many trades on both sides."""

    every = qf.Param(7, low=1, high=100)

    def on_start(self):
        self.number = 0

    def on_bar(self, bar):
        self.number += 1
        if self.number % self.every == 0:
            self.order_target(bar.symbol, weight=0.4 if self.number // self.every % 2 else -0.3)


def minutes(data_folder) -> pd.DataFrame:
    """One real day of one-minute bars of AAPL."""
    with zipfile.ZipFile(data_folder / "equities" / "aapl_minute_20140605_trade.zip") as packed:
        rows = pd.read_csv(
            packed.open(packed.namelist()[0]), header=None, names=["ms", "open", "high", "low", "close", "volume"]
        )
    rows.index = pd.Timestamp("2014-06-05", tz="America/New_York") + pd.to_timedelta(rows.pop("ms"), unit="ms")
    rows[["open", "high", "low", "close"]] /= 10_000
    return rows


def feed_of(kind, data_folder):
    if kind == "binance ticks":
        return qf.ReplayFeed(data_folder / "binance" / "btcusdt_spot_20240808.gz", speed=None), "1s"
    if kind == "minutes":
        return qf.ReplayFeed({"AAPL": minutes(data_folder)}, speed=None), None
    return qf.ReplayFeed({name: qf.sample(name) for name in ("AAPL", "GOOG", "IBM")}, speed=None), None


@pytest.fixture(scope="module", params=["days", "minutes", "binance ticks"])
def session(request, data_folder, tmp_path_factory):
    feed, timeframe = feed_of(request.param, data_folder)
    journal = tmp_path_factory.mktemp("journal") / "one.sqlite"
    strategies = {"flip": Flipper(), "slow": Flipper(every=19), "trend": qf.MovingAverageCrossover(fast=5, slow=15)}
    shares = {"flip": 0.5, "slow": 0.2, "trend": 0.3}
    one = qf.paper(strategies, feed, timeframe=timeframe, shares=shares, journal=journal, costs=qf.Costs(latency_s=0.0))
    return one.start().wait(120.0)


# -- running equals finished -------------------------------------------------------------------


def test_the_running_figures_are_those_of_the_finished_run(session) -> None:
    result = session.result
    assert result.metrics.trades > 20 and result.metrics.periods > 300
    running, finished = session.metrics, result.metrics_by()
    assert list(running.index) == ["account", "flip", "slow", "trend"]
    same(running, finished)
    for name, value in dict(result.metrics).items():
        if name != "assumption":
            assert running.loc["account", name] == pytest.approx(value, rel=1e-9, nan_ok=True), name
    assert running.attrs["assumption"] == result.metrics.assumption
    assert running.loc["slow", "start_equity"] == pytest.approx(20_000.0)
    same(session.metrics_by("symbol").sort_index(), result.metrics_by("symbol").sort_index())


def test_what_is_moved_between_strategies_is_no_profit(tmp_path) -> None:
    prices = {name: qf.sample(name) for name in ("AAPL", "GOOG")}
    one = qf.paper(
        {"flip": Flipper(), "trend": qf.MovingAverageCrossover(fast=5, slow=15)},
        qf.ReplayFeed(prices, speed=None),
        allocation=qf.Allocation("equal", every="1w"),
        journal=tmp_path / "moved.sqlite",
    )
    result = one.start().wait(120.0).result
    assert len(result.transfers) > 20
    running = one.metrics
    same(running, result.metrics_by())
    for name in ("flip", "trend"):
        # GIPS: the product of each period's return, which no transfer is part of.
        assert running.loc[name, "total_return"] == pytest.approx(result.growth[name].iloc[-1] - 1.0, rel=1e-9)
        assert abs(result.equity[name].iloc[-1] / 50_000.0 - result.growth[name].iloc[-1]) > 0.01


def test_the_figures_by_symbol_are_sums_of_the_frames(session) -> None:
    rows, fills, trades = session.metrics_by("symbol"), session.fills, session.trades
    for (strategy, symbol), row in rows.iterrows():
        own = fills[fills.symbol == symbol]
        ended = trades[trades.symbol == symbol]
        if strategy != "account":
            own, ended = own[own.strategy == strategy], ended[ended.strategy == strategy]
        assert row.fills == len(own) and row.trades == len(ended)
        assert row.fees == pytest.approx(own.fee.sum())
        assert row.traded == pytest.approx((own.quantity * own.price).sum())
        assert row.pnl == pytest.approx(ended.pnl.sum())
        assert row.max_adverse_excursion == pytest.approx(ended.max_adverse_excursion.min())
        assert row.average_favourable_return == pytest.approx(ended.max_favourable_return.mean())
        assert row.turnover_total == pytest.approx(row.traded / session.equity[strategy].mean())
    assert set(rows.index.get_level_values("symbol")) == set(fills.symbol)


def test_a_replay_has_the_same_to_the_last_bit(session) -> None:
    with JournalReader(session.journal_path) as reader:
        verdict, engine = replay(reader, session._plan.engine)
    assert verdict
    engine.measure()
    replayed = metrics_frame(live_figures(engine.scorecard, window_of(None)))
    assert replayed.map(repr).equals(session.metrics.map(repr))
    live = live_symbols(session._pipeline.engine.scorecard)
    assert repr(live_symbols(engine.scorecard)) == repr(live)


@pytest.mark.parametrize("window", [None, 20, 333, "20s", "30m", "30d"])
def test_rolling_figures_are_those_of_pandas(session, window) -> None:
    result = session.result
    equity = session.equity["flip"]
    returns = equity.pct_change()
    size = {None: 100, "20s": "20s", "30m": "30min", "30d": "30D"}.get(window, window)
    rolling = returns.rolling(size, min_periods=2)
    root = math.sqrt(result.metrics.periods_per_year)
    found = result.rolling(window, "flip")
    volatility = rolling.std() * root
    pd.testing.assert_series_equal(found.rolling_volatility, volatility, check_names=False, rtol=1e-9)
    clear = rolling.std() > 1e-9
    sharpe = rolling.mean() / rolling.std() * root
    np.testing.assert_allclose(found.rolling_sharpe[clear], sharpe[clear], rtol=1e-9)
    # A plain loop for the two that pandas has not: from the point that the window's first return starts at.
    for place in range(1, len(equity), 37):
        if isinstance(size, str):
            inside = equity.index[: place + 1] > equity.index[place] - pd.Timedelta(size)
            base = max(int(np.argmax(inside)) - 1, 0)
        else:
            base = max(place - size, 0)
        stretch = equity.iloc[base : place + 1]
        row = found.iloc[place]
        assert row.rolling_return == pytest.approx(stretch.iloc[-1] / stretch.iloc[0] - 1.0, abs=1e-12)
        assert row.rolling_drawdown == pytest.approx(1.0 - stretch.iloc[-1] / stretch.max(), abs=1e-12)
    # The last window is what the running session shows.
    last = session.metrics_by(window=window).loc["flip"]
    np.testing.assert_allclose([last[name] for name in found.columns], found.iloc[-1].to_numpy(), rtol=1e-6, atol=1e-9)


def test_the_snapshot_has_the_headline_figures(session) -> None:
    figures, metrics = session.snapshot.figures, session.result.metrics
    for name in (
        "volatility",
        "sharpe",
        "sortino",
        "exposure",
        "turnover_total",
        "win_rate",
        "profit_factor",
        "expectancy",
    ):
        assert getattr(figures, name) == pytest.approx(metrics[name], rel=1e-9), name


def test_figures_can_be_read_while_the_session_runs(tmp_path) -> None:
    one = qf.paper(Flipper(), qf.feeds.sample("AAPL", speed=1_500 * 86_400.0), journal=tmp_path / "one.sqlite").start()
    seen = []
    while one.state == "running":
        seen.append((one.metrics.loc["account", "periods"], one.metrics_by("symbol").fills.sum()))
        time.sleep(0.1)
    one.wait(10.0)
    assert len(set(seen)) > 3 and seen == sorted(seen)
    same(one.metrics, one.result.metrics_by())


def test_before_the_start_there_are_no_figures_yet() -> None:
    one = qf.paper(Flipper(), qf.feeds.sample("AAPL"))
    frame = one.metrics
    assert frame.loc["account", "periods"] == 0 and math.isnan(frame.loc["account", "sharpe"])
    assert len(one.metrics_by("symbol")) == 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda one: one.metrics_by("symbols"), ParameterError, "Did you mean 'symbol'"),
        (lambda one: one.metrics_by(window=1), ParameterError, "2 or more"),
        (lambda one: one.metrics_by(window=2.5), ParameterError, "2 or more"),
        (lambda one: one.metrics_by(window="1 day"), TimeframeError, "cannot be read"),
        (lambda one: one.result.rolling(strategy="flop"), ParameterError, "Did you mean 'flip'"),
    ],
)
def test_what_makes_no_sense_is_told_the_fix(session, call, error, words) -> None:
    with pytest.raises(error, match=words):
        call(session)


# -- the parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ["AAPL", "GOOG", "IBM", "MSFT"])
def test_running_ratios_are_empyricals(symbol) -> None:
    close = qf.sample(symbol).close
    card = Scorecard(float(close.iloc[0]), {"one": float(close.iloc[0])})
    rows = list(zip(close.index.as_unit("ns").asi8.tolist(), close.tolist(), strict=True))
    for start in range(0, len(rows), 97):
        card.take(rows[start : start + 97], [])
    found = card.metrics(card.account)
    returns = close.pct_change().dropna()
    assert found.volatility == pytest.approx(empyrical.annual_volatility(returns), rel=1e-9)
    assert found.sharpe == pytest.approx(empyrical.sharpe_ratio(returns), rel=1e-9)
    assert found.sortino == pytest.approx(empyrical.sortino_ratio(returns), rel=1e-9)
    assert found.max_drawdown == pytest.approx(-empyrical.max_drawdown(returns), rel=1e-9)
    assert found.value_at_risk == pytest.approx(-empyrical.value_at_risk(returns), rel=1e-9)
    assert found.expected_shortfall == pytest.approx(-empyrical.conditional_value_at_risk(returns), rel=1e-9)
    assert found.total_return == pytest.approx(empyrical.cum_returns_final(returns), rel=1e-9)


CURVE = some.lists(some.tuples(some.integers(1, 400), some.integers(-100, 3_000)), min_size=1, max_size=60)


@given(CURVE, some.lists(some.integers(0, 60), max_size=4), some.sampled_from([SECOND, MINUTE, 6 * 60 * MINUTE, DAY]))
@settings(max_examples=300, deadline=None)
def test_any_curve_comes_to_the_same_as_the_batch(points, cuts, unit) -> None:
    times = np.cumsum([step for step, _ in points]) * unit + START
    # Values in steps of 5 %, so that peaks are met exactly; some at or below zero.
    equity = np.array([round(value / 50) * 50.0 for _, value in points])
    rows = list(zip(times.tolist(), equity.tolist(), strict=True))
    card = Scorecard(1_000.0, {"one": 1_000.0})
    edges = sorted({0, *(min(cut, len(rows)) for cut in cuts), len(rows)})
    for start, end in zip(edges, edges[1:], strict=False):
        card.take(rows[start:end], [])
    found, expected = card.metrics(card.account), measure(times, equity, starting_equity=1_000.0)
    for name, value in dict(expected).items():
        if name == "assumption":
            assert found.assumption == value
        else:
            assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name
    # These are exact.
    for name in ("max_drawdown", "max_drawdown_days", "longest_drawdown_days", "periods_per_year"):
        assert repr(found[name]) == repr(expected[name])


@given(
    some.lists(some.sampled_from([1, 1, 1, 1, 2, 3, 60, 300, 1_000, 1_440, 4_320, 20_000]), min_size=2, max_size=120),
    some.sampled_from([1, 60, 240, 480]),
    some.integers(0, 20_000),
)
@settings(max_examples=400, deadline=None)
def test_a_year_is_reckoned_from_times_as_they_come(steps, unit, start) -> None:
    times = START + (start + np.cumsum(steps) * unit) * MINUTE
    running = RunningTimes()
    for place, at in enumerate(times.tolist(), 1):
        running.update(at)
        if place % 17 == 0 or place == len(times):
            assert repr(running.annualisation()) == repr(infer_annualisation(times[:place]))


def test_more_steps_than_are_kept_are_rounded() -> None:
    chance = np.random.default_rng(1)
    times = START + np.cumsum(chance.integers(50 * SECOND, 70 * SECOND, 30_000))
    running = RunningTimes()
    for at in times.tolist():
        running.update(at)
    assert len(running._steps) < 8_000
    assert running.annualisation().periods_per_year == pytest.approx(
        infer_annualisation(times).periods_per_year, rel=2e-3
    )


FILLS = some.lists(
    some.tuples(some.integers(0, 50), some.sampled_from([-3.0, -1.0, 1.0, 2.0, 3.0]), some.sampled_from("AB")),
    max_size=25,
)


@given(FILLS, some.integers(0, 30), some.lists(some.integers(1, 9), min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_exposure_as_fills_come(moves, first, steps) -> None:
    moves = sorted(moves, key=lambda move: move[0])
    fills = [
        Fill(
            number,
            number,
            symbol,
            Side.BUY if signed > 0 else Side.SELL,
            abs(signed),
            10.0,
            0.1,
            at * MINUTE,
            at * MINUTE,
            10.0,
            "s",
            "",
        )
        for number, (at, signed, symbol) in enumerate(moves)
    ]
    held = {"A": 0.0, "B": 0.0}
    activity = Activity()
    points = [first, *(first + np.cumsum(steps)).tolist()]
    waiting = list(zip(fills, moves, strict=True))
    for place, point in enumerate(points):
        # What happened by then, and sometimes a little more, as in a session between two points.
        while waiting and waiting[0][1][0] <= point + place % 2:
            fill, (_, signed, symbol) = waiting.pop(0)
            held[symbol] += signed
            activity.take(fill, is_open=any(held.values()))
        activity.move(first * MINUTE, point * MINUTE)
        known = fills[: len(fills) - len(waiting)]
        expected = exposure_of(known, first * MINUTE, point * MINUTE)
        assert activity.exposure == pytest.approx(expected, nan_ok=True)
    assert activity.fills == len(fills) - len(waiting)


def trade(pnl, days=1.0, side="long", adverse=-1.0, favourable=2.0) -> Trade:
    return Trade(
        "A",
        side,
        2.0,
        START,
        START + int(days * DAY),
        100.0,
        100.0 + pnl / 2,
        0.0,
        pnl,
        pnl / 200,
        "s",
        adverse,
        favourable,
    )


def test_trade_statistics_worked_by_hand() -> None:
    pnl = [5, 3, -2, -4, -1, 0, 6, 2, 1]
    found = trade_statistics(trade(value, days=number + 1.0, adverse=-number) for number, value in enumerate(pnl))
    assert (found.trades, found.winning, found.losing) == (9, 5, 3)
    assert (found.longest_winning_streak, found.longest_losing_streak, found.streak) == (3, 3, 3)
    assert (found.pnl, found.best_trade, found.worst_trade) == (10.0, 6.0, -4.0)
    assert found.win_rate == pytest.approx(5 / 9)
    assert found.profit_factor == pytest.approx(17 / 7)
    assert (found.average_win, found.average_loss) == (pytest.approx(3.4), pytest.approx(-7 / 3))
    assert found.payoff_ratio == pytest.approx(3.4 / (7 / 3))
    assert (found.average_holding_days, found.longest_holding_days) == (5.0, 9.0)
    assert (found.max_adverse_excursion, found.average_adverse_excursion) == (-8.0, -4.0)
    assert found.average_adverse_return == pytest.approx(-0.02)
    assert (found.max_favourable_excursion, found.average_favourable_return) == (2.0, pytest.approx(0.01))
    ended_by_zero = trade_statistics([trade(-1), trade(-1), trade(0)])
    assert (ended_by_zero.streak, ended_by_zero.longest_losing_streak) == (0, 2)
    assert trade_statistics([trade(-1), trade(-1)]).streak == -2


def test_without_trades_nothing_is_known() -> None:
    found = trade_statistics([])
    assert (found.trades, found.streak, found.pnl) == (0, 0, 0.0)
    names = (
        "win_rate",
        "profit_factor",
        "expectancy",
        "average_win",
        "average_loss",
        "best_trade",
        "max_adverse_excursion",
    )
    assert all(math.isnan(getattr(found, name)) for name in names)


def test_trade_statistics_by_side_of_a_real_run() -> None:
    result = qf.backtest(Flipper(), qf.sample("IBM"))
    frame, trades = result.trade_statistics, result.trades
    assert list(frame.index) == ["all", "long", "short"]
    for side in ("long", "short"):
        own = trades[trades.side == side]
        assert frame.loc[side, "trades"] == len(own) > 100
        assert frame.loc[side, "win_rate"] == pytest.approx((own.pnl > 0).mean())
        assert frame.loc[side, "average_holding_days"] == pytest.approx(own.holding_time.mean() / pd.Timedelta("1D"))
        assert frame.loc[side, "average_adverse_return"] == pytest.approx(own.max_adverse_return.mean())
        won = (own.pnl > 0).tolist()
        runs = "".join("w" if one else "l" for one in won)
        assert frame.loc[side, "longest_winning_streak"] == max(map(len, runs.split("l")))
        assert frame.loc[side, "longest_losing_streak"] == max(map(len, runs.split("w")))


# -- cost --------------------------------------------------------------------------------------


def test_a_point_costs_the_same_at_a_million_as_at_ten_thousand() -> None:
    card = Scorecard(100.0, {"one": 100.0})
    chance = np.random.default_rng(3)
    equity = (100.0 * np.exp(np.cumsum(chance.normal(0.0, 1e-4, 1_010_000)))).tolist()

    def feed(start: int, end: int) -> float:
        best = math.inf
        for place in range(start, end, 1_000):
            rows = [(START + at * SECOND, equity[at]) for at in range(place, place + 1_000)]
            before = time.process_time()
            card.take(rows, [])
            best = min(best, time.process_time() - before)
        return best

    def memory() -> int:
        curve = card.account.curve
        parts = [
            card._rows,
            card._times._steps,
            card._times._breaks,
            *(getattr(curve, name) for name in RunningMetrics.__slots__),
        ]
        return sum(map(sys.getsizeof, parts))

    feed(0, 10_000)
    early, small = feed(10_000, 20_000), memory()
    feed(20_000, 1_000_000)
    late = feed(1_000_000, 1_010_000)
    # The quickest of ten thousand points each; a cost that grew with the points would be a hundred times as much, and
    # 3 is the noise of a machine that does other things too.
    assert late < 3.0 * early
    assert memory() < small + 1_000
    before = time.process_time()
    card.metrics(card.account, has_tail=False)
    assert time.process_time() - before < 0.01


def test_beyond_what_is_kept_quantiles_are_of_the_last_points() -> None:
    chance = np.random.default_rng(5)
    count = KEPT_POINTS + 3_000
    equity = 100.0 * np.exp(
        np.cumsum(np.concatenate((chance.normal(0.0, 0.05, 3_000), chance.normal(0.0, 0.001, KEPT_POINTS))))
    )
    card = Scorecard(100.0, {"one": 100.0})
    card.take(list(zip((START + np.arange(count) * MINUTE).tolist(), equity.tolist(), strict=True)), [])
    found = card.metrics(card.account)
    returns = equity[1:] / equity[:-1] - 1.0
    assert found.value_at_risk == pytest.approx(-np.quantile(returns[-KEPT_POINTS:], 0.05))
    # All else is of the whole run.
    assert found.volatility == pytest.approx(np.std(returns, ddof=1) * math.sqrt(525_600), rel=1e-9)
    assert card.rolling(card.account, window_of(KEPT_POINTS)).rolling_return == pytest.approx(
        equity[-1] / equity[-KEPT_POINTS - 1] - 1.0
    )
    for window in (KEPT_POINTS + 1, "30d"):
        with pytest.raises(ParameterError, match=r"result\.rolling"):
            card.rolling(card.account, window_of(window))


def test_a_backtest_keeps_no_running_figures() -> None:
    engine = Engine({"flip": Flipper()}, cash=1_000.0, has_running_metrics=False)
    engine.process_all(walk(3_000))
    engine.measure()
    assert engine.records.trades
    assert engine.scorecard.account.curve.points == engine.scorecard.account.activity.fills == 0


def test_one_strategy_with_a_part_of_the_cash() -> None:
    engine = Engine({"flip": Flipper()}, cash=1_000.0, shares={"flip": 0.5})
    engine.process_all(walk(200))
    engine.measure()
    figures = live_figures(engine.scorecard, window_of(None))
    assert figures["flip"][0].start_equity == 500.0 and figures["account"][0].start_equity == 1_000.0
    assert figures["flip"][0].fills == figures["account"][0].fills > 10


def test_a_split_is_no_fill() -> None:
    rows = walk(6)
    from qfkit.core.events import CorporateAction

    split = CorporateAction("A", rows[2].close_ns, rows[2].close_ns, split=2.0)
    after = [
        qf.Bar("A", "1m", one.open / 2, one.high / 2, one.low / 2, one.close / 2, 1e9, one.open_ns, one.close_ns)
        for one in rows[3:]
    ]
    script = {0: lambda strategy: strategy.buy("A", quantity=4.0), 3: lambda strategy: strategy.close("A")}
    engine = run([*rows[:3], split, *after], script)
    engine.measure()
    found = engine.scorecard.metrics(engine.scorecard.account)
    # Open from the second bar's open to the fifth's: 3 of the 5 minutes between the first close and the last.
    assert found.exposure == pytest.approx(3 / 5)
