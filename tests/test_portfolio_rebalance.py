"""Weights against direct solutions, the ready-made rebalancing strategy on real bars, and sessions that are verified."""

import sys
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_session import START_NS, HandFeed, bar, until

import qfkit as qf
from qfkit.core.strategy import Strategy
from qfkit.errors import DataError, OrderError, ParameterError, SessionError

SYMBOLS = ("AAPL", "IBM", "MSFT")


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return {symbol: qf.sample(symbol).iloc[-600:] for symbol in SYMBOLS}


@pytest.fixture(scope="module")
def returns() -> pd.DataFrame:
    closes = pd.DataFrame({symbol: qf.sample(symbol).close for symbol in (*SYMBOLS, "GOOG")}).dropna()
    return closes.pct_change().dropna()


# -- weights --------------------------------------------------------------------------------------


def best_by_enumeration(mean: np.ndarray, covariance: np.ndarray, aversion: float) -> np.ndarray:
    """Long only: of every set of symbols the stationary point by linear algebra, and of those the best allowed one."""
    best, best_value = np.zeros(len(mean)), np.inf
    every = range(len(mean))
    for chosen in map(list, chain.from_iterable(combinations(every, size) for size in range(1, len(mean) + 1))):
        inner = np.block([[2 * aversion * covariance[np.ix_(chosen, chosen)], np.ones((len(chosen), 1))],
                          [np.ones((1, len(chosen))), np.zeros((1, 1))]])  # fmt: skip
        found = np.linalg.solve(inner, np.append(mean[chosen], 1.0))[:-1]
        weights = np.zeros(len(mean))
        weights[chosen] = found
        value = aversion * weights @ covariance @ weights - mean @ weights
        if found.min() >= 0.0 and value < best_value:
            best, best_value = weights, value
    return best


@pytest.mark.parametrize("start", [0, 400, 800, 1200, 1600, 2000])
def test_the_librarys_weights_are_those_of_linear_algebra(returns, start):
    window = returns.iloc[start : start + 120]
    mean, covariance = window.to_numpy().mean(axis=0), np.cov(window.to_numpy().T)
    found = qf.weights.minimum_variance(window)
    assert list(found) == list(window.columns)
    assert list(found.values()) == pytest.approx(best_by_enumeration(0 * mean, covariance, 1.0), abs=2e-4)
    for aversion in (1.0, 4.0, 25.0):
        weights = np.array(list(qf.weights.mean_variance(window, risk_aversion=aversion).values()))
        direct = best_by_enumeration(mean, covariance, aversion)
        assert weights.sum() == pytest.approx(1.0)
        utility = [mean @ one - aversion * one @ covariance @ one for one in (weights, direct)]
        assert utility[0] == pytest.approx(utility[1], abs=1e-7)
    # The same returns give the same weights to the last bit.
    assert qf.weights.minimum_variance({name: window[name].to_numpy() for name in window}) == found


def test_inverse_volatility_and_equal(returns):
    inverse = 1.0 / returns.std()
    expected = (inverse / inverse.sum()).to_dict()
    assert qf.weights.inverse_volatility(returns) == pytest.approx(expected)
    assert qf.weights.equal(returns) == dict.fromkeys(returns.columns, 0.25)


def test_returns_that_say_nothing_are_refused_and_a_missing_library_is_named(returns, monkeypatch):
    with pytest.raises(DataError, match="A do not vary"):
        qf.weights.inverse_volatility({"A": [0.0, 0.0, 0.0], "B": [0.1, 0.0, 0.1]})
    with pytest.raises(DataError, match="at least two"):
        qf.weights.minimum_variance({"A": [0.1], "B": [0.1]})
    with pytest.raises(DataError, match="as many of one"):
        qf.weights.inverse_volatility({"A": [0.1, 0.2], "B": [0.1, 0.2, 0.3]})
    with pytest.raises(DataError, match="B hold NaN"):
        qf.weights.inverse_volatility({"A": [0.1, 0.2], "B": [0.1, float("nan")]})
    with pytest.raises(ParameterError, match="risk_aversion"):
        qf.weights.mean_variance(returns, risk_aversion=0.0)
    monkeypatch.setitem(sys.modules, "skfolio.moments", None)
    with pytest.raises(ParameterError, match=r"pip install .qfkit\[portfolio\]"):
        qf.weights.minimum_variance(returns)


# -- the strategy on real bars --------------------------------------------------------------------


def test_equal_weights_every_month(frames):
    result = qf.backtest(qf.PortfolioRebalance(), frames, cash=100_000.0)
    first_of_month = result.signals.index[0]
    months = frames["AAPL"].index.tz_localize(None).to_period("M").nunique()
    decided = result.signals.groupby(result.signals.index.tz_localize(None).to_period("M")).size()
    # A month's first is met at midnight by the close of the day before; over a weekend, by that of the Monday after.
    assert len(decided) >= months - 1
    assert (result.signals.decision != "rejected").all()
    assert first_of_month == frames["AAPL"].index[0] + pd.Timedelta(days=1)
    closes = pd.DataFrame({symbol: frame.close for symbol, frame in frames.items()})
    held = result.fills.assign(signed=lambda f: np.where(f.side == "buy", f.quantity, -f.quantity))
    quantities = (
        held.pivot_table(index=held.index, columns="symbol", values="signed", aggfunc="sum").fillna(0.0).cumsum()
    )
    quantities = quantities.reindex(closes.index, method="ffill").fillna(0.0)
    weights = (quantities * closes).div(result.equity.account.to_numpy()[: len(closes)], axis=0)
    # Three bars into each month all is done: each weight is a third, but for what three days' prices did.
    third_days = weights.groupby(weights.index.tz_localize(None).to_period("M")).nth(3)
    assert (third_days - 1 / 3).abs().to_numpy().max() < 0.03
    assert weights.sum(axis=1).max() < 1.0 + 0.01


def test_by_bars_by_drift_and_by_hand_written_weights(frames):
    class SixtyForty(qf.PortfolioRebalance):
        def weights(self) -> dict[str, float]:
            return {"AAPL": 0.6, "IBM": 0.4}

    by_bars = qf.backtest(SixtyForty(every="50"), frames)
    rounds = frames["AAPL"].index.get_indexer(by_bars.signals.index - pd.Timedelta(days=1))
    assert set(by_bars.fills.symbol) == {"AAPL", "IBM"}
    # Sales on the round's bar, purchases that waited for them on the next.
    assert set(rounds % 50) == {0, 1}
    assert set(rounds // 50) == set(range(12))
    once = qf.backtest(SixtyForty(every="never"), frames)
    assert len(once.fills) == 2
    drift = qf.backtest(SixtyForty(every="never", drift=0.05), frames)
    reasons = drift.signals.reason.unique().tolist()
    assert reasons == ["equal, every never", "a weight is off by more than 0.05"]
    assert 2 < len(drift.fills) < len(by_bars.fills)


@pytest.mark.parametrize("rule", ["inverse_volatility", "minimum_variance", "mean_variance"])
def test_a_rule_looks_at_the_bars_before_and_no_further(frames, rule):
    lookback = 40
    result = qf.backtest(
        qf.PortfolioRebalance(rule=rule, every="100", lookback=lookback), frames, costs=qf.Costs.ideal()
    )
    closes = pd.DataFrame({symbol: frame.close for symbol, frame in frames.items()})
    window = closes.iloc[: lookback + 1].pct_change().dropna()
    expected = getattr(qf.weights, rule)(window)
    # The first is decided on the first bar that has enough behind it, and sized by its close.
    first = result.orders[result.orders.decided == result.orders.decided.min()]
    bought = {row.symbol: row.quantity * closes[row.symbol].iloc[lookback] / 100_000.0 for row in first.itertuples()}
    assert bought == pytest.approx({symbol: weight for symbol, weight in expected.items() if weight}, rel=1e-9)
    assert first.decided.iloc[0] == closes.index[lookback] + pd.Timedelta(days=1)


def test_strategies_share_capital_and_their_growth_is_their_own(frames):
    strategies = {"shares": qf.PortfolioRebalance(), "trend": qf.MovingAverageCrossover(weight=0.9)}
    apart = qf.backtest(strategies, frames, costs=qf.Costs.ideal())
    shared = qf.backtest(strategies, frames, costs=qf.Costs.ideal(), allocation=qf.Allocation("equal", every="1M"))
    assert len(shared.transfers) > 5
    assert shared.transfers.columns.tolist() == ["source", "target", "amount"]
    # After a transfer and what it sells, the books are as large as one another.
    last = shared.transfers.index[-1]
    after = shared.equity.loc[last:].iloc[1]
    assert after["shares"] / after["account"] == pytest.approx(0.5, abs=0.03)
    # What a strategy earned is not what it was given: capital changes size, not the way it trades.
    assert shared.growth["account"].iloc[-1] == pytest.approx(
        shared.equity.account.iloc[-1] / shared.equity.account.iloc[0]
    )
    assert shared.growth["shares"].iloc[-1] == pytest.approx(apart.growth["shares"].iloc[-1], rel=0.02)
    assert shared.equity["shares"].iloc[-1] != pytest.approx(apart.equity["shares"].iloc[-1], rel=0.02)


def test_wrong_schedules_are_refused():
    for every in ("monthly", "0", ""):
        with pytest.raises(ParameterError, match="every="):
            qf.backtest(qf.PortfolioRebalance(every=every), qf.sample("IBM").iloc[:5])


# -- sessions -------------------------------------------------------------------------------------


class Nothing(Strategy):
    pass


def pair(index: int, a: float, b: float) -> list[qf.Bar]:
    return [bar(index, a, "A"), bar(index, b, "B")]


def started(strategies: object, tmp_path: Path, **settings: object) -> tuple[qf.Session, HandFeed]:
    feed = HandFeed(("A", "B"))
    session = qf.paper(strategies, feed, journal=tmp_path, timeframe="1m", **settings)  # type: ignore[arg-type]
    return session.start(), feed


def test_a_session_rebalanced_by_hand_and_by_schedule_replays(tmp_path):
    strategies = {"by schedule": qf.PortfolioRebalance(every="5m"), "by hand": Nothing}
    session, feed = started(strategies, tmp_path, allocation=qf.Allocation("equal", every="10m"))
    prices = [(100.0 + 5 * (index % 4), 50.0 - 2 * (index % 3)) for index in range(40)]
    for index, (a, b) in enumerate(prices):
        feed.give(*pair(index, a, b))
        if index in (4, 14, 24):
            until(lambda: session.snapshot.events >= 2 * (index + 1))  # noqa: B023
            before = session.snapshot.events
            plan = session.rebalance({"A": 0.7, "B": 0.2}, strategy="by hand", preview=True)
            assert isinstance(plan, qf.RebalancePlan) and plan
            assert session.snapshot.events == before
            if index == 24:
                session.pause("by hand")
            session.rebalance({"A": 0.7 - index / 100, "B": 0.2}, strategy="by hand", band=0.01)
    until(lambda: session.snapshot.events >= 80)
    with pytest.raises(OrderError, match="nothing was received for the symbol 'C'"):
        session.rebalance({"C": 0.5}, strategy="by hand")
    with pytest.raises(SessionError, match="say whose book"):
        session.rebalance({"A": 0.5})
    with pytest.raises(OrderError, match="band"):
        session.rebalance({"A": 0.5}, strategy="by hand", band=2.0)
    assert session.state == "running"
    session.stop()
    verdict = session.verify()
    assert verdict, verdict.text
    by_hand = session.fills[session.fills.strategy == "by hand"]
    assert len(by_hand) >= 5
    assert set(by_hand.reason) == {"rebalanced by the user"}
    assert len(session.transfers) > 0
    assert len(session.result.growth) == len(session.equity)
    # The journal says what it was made of: another process comes to the same.
    from qfkit.journal.reader import JournalReader
    from qfkit.live.plan import SessionPlan
    from qfkit.live.replaying import replay

    assert session.journal_path is not None
    with JournalReader(session.journal_path) as reader:
        plan_again, _ = SessionPlan.from_meta(reader.meta)
        assert plan_again.allocation == qf.Allocation("equal", every="10m")
        again, engine = replay(reader, plan_again.engine)
    assert again, again.text
    assert engine.desks["by hand"].book.transferred != 0.0


def test_a_book_rebalanced_by_hand_holds_what_was_asked(tmp_path):
    session, feed = started(Nothing, tmp_path, cash=10_000.0, costs=qf.Costs.ideal())
    feed.give(*pair(0, 100.0, 50.0), *pair(1, 100.0, 50.0))
    until(lambda: session.snapshot.events >= 4)
    session.rebalance({"A": 0.6, "B": 0.4})
    feed.give(*pair(2, 100.0, 50.0))
    until(lambda: session.snapshot.fills_count == 2)
    assert {view.symbol: view.market_value for view in session.snapshot.positions} == pytest.approx(
        {"A": 6000, "B": 4000}
    )
    session.rebalance({"A": 0.1, "B": 0.9})
    for index in (3, 4, 5):
        feed.give(*pair(index, 100.0, 50.0))
    until(lambda: session.snapshot.fills_count == 4)
    assert {view.symbol: view.market_value for view in session.snapshot.positions} == pytest.approx(
        {"A": 1000, "B": 9000}
    )
    session.stop()
    assert session.verify()


def test_one_strategy_stops_alone_and_the_others_go_on(tmp_path):
    limits = {"one": qf.RiskLimits(max_position_weight=0.3)}
    session, feed = started(
        {"one": qf.PortfolioRebalance(every="1m"), "two": qf.PortfolioRebalance(every="1m")}, tmp_path, risk=limits
    )
    for index in range(6):
        feed.give(*pair(index, 100.0 + index, 50.0 - index))
    until(lambda: session.snapshot.events >= 12)
    session.stop(strategy="one")
    states = {view.name: view.state for view in session.snapshot.strategies}
    assert states == {"one": "stopped", "two": "running"}
    assert session.state == "running"
    with pytest.raises(SessionError, match="no strategy 'three'"):
        session.stop(strategy="three")
    for index in range(6, 16):
        feed.give(*pair(index, 100.0 - 3 * index, 50.0 + 3 * index))
    until(lambda: session.snapshot.events >= 33)
    # A stopped strategy's book can still be sold by hand.
    session.rebalance({}, strategy="one")
    for index in range(16, 20):
        feed.give(*pair(index, 60.0, 90.0))
    until(lambda: session.snapshot.events >= 42)
    session.stop()
    fills = session.fills
    stopped_ns = START_NS + 6 * 60 * 10**9
    of_one = fills[(fills.strategy == "one") & (fills.index.as_unit("ns").asi8 > stopped_ns)]
    assert set(of_one.reason) == {"rebalanced by the user"}
    assert {view.strategy for view in session.snapshot.positions} == {"two"}
    assert (fills.strategy == "two").sum() > 6
    assert session.verify()


def test_a_session_with_allocation_and_own_limits_is_resumed(tmp_path):
    strategies = {"one": qf.PortfolioRebalance(every="3m"), "two": Nothing}
    limits = {"one": qf.RiskLimits(max_position_weight=0.3)}
    session, feed = started(strategies, tmp_path, risk=limits, allocation=qf.Allocation("fixed", every="5m"))
    for index in range(9):
        feed.give(*pair(index, 100.0 + index, 50.0))
    until(lambda: session.snapshot.events >= 18)
    session.suspend()
    assert session.journal_path is not None
    again = qf.resume(session.journal_path, feed=HandFeed(("A", "B")))
    again.start()
    feed = again.feed  # type: ignore[assignment]
    for index in range(12, 30):
        feed.give(*pair(index, 100.0 + index, 50.0))
    until(lambda: again.snapshot.events >= 18 + 36)
    again.stop()
    assert again.verify()
    assert {desk.name: desk.risk.max_position_weight for desk in again._pipeline.engine.desks.values()} == {
        "one": 0.3,
        "two": None,
    }


def test_a_rule_of_ones_own_is_passed_again_to_a_resume(tmp_path):
    def by_name(context: qf.AllocationContext) -> dict[str, float]:
        return {"one": 2.0, "two": 1.0}

    allocation = qf.Allocation(by_name, every="5m")
    session, feed = started({"one": Nothing, "two": Nothing}, tmp_path, allocation=allocation)
    for index in range(9):
        feed.give(*pair(index, 100.0, 50.0))
    until(lambda: session.snapshot.events >= 18)
    session.suspend()
    assert session.journal_path is not None
    with pytest.raises(SessionError, match=r"allocation was .*by_name.*pass it again"):
        qf.resume(session.journal_path, feed=HandFeed(("A", "B")))
    again = qf.resume(session.journal_path, feed=HandFeed(("A", "B")), allocation=allocation).start()
    again.stop()
    assert again.verify()
    assert len(again.transfers) == 1


def test_a_journal_from_before_transfers_is_still_read(tmp_path):
    import sqlite3
    from contextlib import closing

    session, feed = started(Nothing, tmp_path)
    feed.give(*pair(0, 100.0, 50.0), *pair(1, 100.0, 50.0))
    until(lambda: session.snapshot.events >= 4)
    session.suspend()
    assert session.journal_path is not None
    with closing(sqlite3.connect(session.journal_path)) as connection, connection:
        connection.execute("DROP TABLE transfers")
    connection.close()
    again = qf.resume(session.journal_path, feed=HandFeed(("A", "B")))
    again.start().stop()
    assert again.verify()
    assert len(again.transfers) == 0
