"""Drift: bands against closed forms and the run's own figures, verdicts against simulation, and the stop rule at work."""

from math import isnan, sqrt
from statistics import NormalDist
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from test_session import HandFeed, bar, until

import qfkit as qf
from qfkit.core.metrics import measure
from qfkit.core.orders import Fill, Side, Trade
from qfkit.core.snapshot import DriftView
from qfkit.errors import DataError, ParameterError, SessionError
from qfkit.journal.reader import JournalReader
from qfkit.live.drift_watch import DriftWatch
from qfkit.resampling.drift import Drift
from qfkit.resampling.expectation import FIGURES, Expectation
from qfkit.resampling.totals import RunTotals
from qfkit.views.dashboard.board import still

_DAY_NS = 86_400_000_000_000
_COUNT = 4_000


class Holds(qf.Strategy):
    """Buys at the first bar and holds."""

    def on_bar(self, bar: qf.Bar) -> None:
        if not self.position(bar.symbol):
            self.order_target(bar.symbol, weight=0.9, reason="hold")


def trade(pnl: float, exit_ns: int) -> Trade:
    return Trade("X", "long", 1.0, exit_ns - 1, exit_ns, 100.0, 100.0 + pnl, 0.0, pnl, pnl / 100.0, "s")


def fill(price: float, market_price: float, fee: float, time_ns: int, side: Side = Side.BUY) -> Fill:
    return Fill(1, 1, "X", side, 2.0, price, fee, time_ns, time_ns, market_price, "s", "")


def expectation(returns, trades=(), fills=(), samples=1_000, seed=0) -> Expectation:
    equity = 100.0 * np.append(1.0, np.cumprod(1.0 + returns))
    times_ns = np.arange(len(equity), dtype=np.int64) * _DAY_NS
    metrics = measure(times_ns, equity, starting_equity=100.0, periods_per_year=252.0)
    return Expectation(metrics, equity, times_ns, trades, fills, samples=samples, seed=seed)


def totals_of(returns) -> RunTotals:
    totals = RunTotals(100.0)
    equity = 100.0 * np.cumprod(1.0 + returns)
    totals.take([(place * _DAY_NS, one) for place, one in enumerate(equity.tolist())], (), ())
    return totals


@pytest.fixture(scope="module")
def noise():
    """Independent normal returns of a daily mean of 5 and a deviation of 100 basis points, exactly."""
    drawn = np.random.default_rng(1).normal(size=_COUNT)
    return 0.0005 + 0.01 * (drawn - drawn.mean()) / drawn.std(ddof=1)


@pytest.fixture(scope="module")
def expected(noise) -> Expectation:
    return expectation(noise, samples=2_000)


# -- bands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("periods", [60, 333, 1_200])
@pytest.mark.parametrize("probability", [0.05, 0.5, 0.95])
def test_the_band_of_the_return_is_that_of_a_random_walk(expected, periods, probability):
    # The logarithm of growth is nearly normal.
    mean, deviation = 0.0005 - 0.01**2 / 2, 0.01
    known = mean * periods + NormalDist().inv_cdf(probability) * deviation * sqrt(periods)
    found = np.log(1.0 + expected.bound("total_return", periods, probability))
    assert found == pytest.approx(known, abs=0.13 * deviation * sqrt(periods))


def test_the_band_of_the_drawdown_is_that_of_simulated_walks(expected):
    walks = np.cumprod(1.0 + np.random.default_rng(2).normal(0.0005, 0.01, (4_000, 250)), axis=1)
    peaks = np.maximum(np.maximum.accumulate(walks, axis=1), 1.0)
    depth = (1.0 - walks / peaks).max(axis=1)
    for probability in (0.1, 0.5, 0.9, 0.99):
        found = expected.bound("max_drawdown", 250, probability)
        assert found == pytest.approx(np.quantile(depth, probability), rel=0.1)


def test_volatility_and_sharpe_are_annual_and_tighten_with_time(expected):
    short, long = (expected.bound("volatility", periods, 0.95) for periods in (30, 2_000))
    assert 0.01 * sqrt(252) < long < short
    # The chi distribution's deviation over the root of twice the count.
    assert short == pytest.approx(0.01 * sqrt(252) * (1 + 1.645 / sqrt(2 * 29)), rel=0.04)
    assert expected.bound("sharpe", 2_000, 0.5) == pytest.approx(0.05 * sqrt(252), rel=0.1)


def test_trades_and_costs_are_drawn_with_their_periods():
    random = np.random.default_rng(3)
    times = [(place + 1) * _DAY_NS for place in range(0, 1_000, 5)]
    trades = [trade(1.0 if random.random() < 0.6 else -1.0, one) for one in times]
    # A fee of 0.1 and a price of 0.05 worse than the market's, on 2 x 100.05: about 10 basis points.
    fills = [fill(100.05, 100.0, 0.1, one) for one in times]
    found = expectation(random.normal(0.0, 0.01, 1_000), trades, fills)
    assert found.bound("trades_per_day", 500, 0.5) == pytest.approx(0.2, rel=0.03)
    wins = np.mean([one.pnl > 0 for one in trades])
    assert found.bound("win_rate", 500, 0.5) == pytest.approx(wins, abs=0.02)
    assert found.bound("win_rate", 500, 0.05) == pytest.approx(wins - 1.645 * sqrt(0.24 / 100), abs=0.03)
    low, high = (found.bound("cost", 500, one) for one in (0.05, 0.95))
    assert low == pytest.approx(0.2 / 200.1) and high == pytest.approx(low)


def test_a_cost_that_never_changes_is_inside_in_spite_of_rounding():
    times = [(place + 1) * _DAY_NS for place in range(0, 1_000, 5)]
    found = expectation(
        np.random.default_rng(3).normal(0.0, 0.01, 1_000), (), [fill(100.05, 100.0, 0.1, one) for one in times]
    )
    totals = totals_of(np.random.default_rng(4).normal(0.0, 0.01, 200))
    totals.take((), (), [fill(100.05, 100.0, 0.1, 1)] * 3)
    row = next(one for one in found.view(totals, 0.9).rows if one.name == "cost")
    assert 0.2 < row.percentile < 0.8


# -- what there is ---------------------------------------------------------------------------


def test_running_totals_are_the_figures_of_the_run():
    returns = np.random.default_rng(5).normal(0.0, 0.02, 300)
    totals = totals_of(returns)
    equity = 100.0 * np.append(1.0, np.cumprod(1.0 + returns))
    plain = measure(np.arange(301) * _DAY_NS, equity, starting_equity=100.0, periods_per_year=252.0)
    assert totals.periods == plain.periods
    assert totals.total_return == pytest.approx(plain.total_return)
    assert totals.max_drawdown == pytest.approx(plain.max_drawdown)
    assert totals.deviation * sqrt(252) == pytest.approx(plain.volatility)
    assert totals.mean / totals.deviation * sqrt(252) == pytest.approx(plain.sharpe)


def test_a_cost_is_the_fee_and_how_much_worse_the_price_was():
    totals = RunTotals(100.0)
    totals.take((), (), [fill(101.0, 100.0, 0.5, 1), fill(99.0, 100.0, 0.5, 1, Side.SELL)])
    assert totals.cost == pytest.approx(5.0) and totals.traded == pytest.approx(400.0)


def test_an_account_that_is_wiped_out_has_no_more_returns():
    totals = RunTotals(100.0)
    totals.take([(0, 50.0), (1, 0.0), (2, 0.0)], (), ())
    assert totals.periods == 2 and totals.total_return == -1.0 and totals.max_drawdown == 1.0


# -- verdicts --------------------------------------------------------------------------------


def test_a_run_of_the_same_process_is_seldom_called_outside(expected):
    random = np.random.default_rng(6)
    verdicts = [expected.view(totals_of(random.normal(0.0005, 0.01, 250)), 0.9).verdict for _ in range(400)]
    assert verdicts.count("outside") / 400 < 0.03
    assert 0.01 < verdicts.count("at the edge") / 400 < 0.09
    assert verdicts.count("inside") / 400 > 0.9


def test_a_run_that_became_another_is_outside_and_told_why(expected):
    wild = expected.view(totals_of(np.random.default_rng(7).normal(0.0005, 0.02, 250)), 0.9)
    assert wild.verdict == "outside" and "volatility 28.73 % where" in wild.text and "is usual" in wild.text
    losing = expected.view(totals_of(np.random.default_rng(8).normal(-0.003, 0.01, 250)), 0.9)
    assert losing.verdict == "outside" and "is usual" in losing.text
    place = next(row.percentile for row in losing.rows if row.name == "total_return")
    assert place < 0.01


def test_a_session_that_has_not_traded_yet_is_held_against_the_number_of_trades_only():
    random = np.random.default_rng(3)
    weekly = [trade(1.0, (place + 1) * _DAY_NS) for place in range(0, 1_000, 5)]
    found = expectation(random.normal(0.0, 0.01, 1_000), weekly)
    early = found.view(totals_of(np.zeros(50)), 0.9)
    assert [row.name for row in early.rows if not isnan(row.percentile)] == ["trades_per_day"]
    assert early.verdict == "outside" and early.text.startswith("trades a day 0 where ")
    # Where a trade is rare, none so far is nothing strange.
    rare = expectation(random.normal(0.0, 0.01, 1_000), weekly[::20])
    assert rare.view(totals_of(np.zeros(30)), 0.9).verdict == "inside"


def test_too_short_and_too_long_are_said_with_how_long_it_takes(expected):
    short = expected.view(totals_of(np.zeros(5)), 0.9)
    assert short.verdict == "too short to tell" and "5 of 20 periods: about 15.0 d more" in short.text
    # (1.645 / 0.05)^2 periods and a little more.
    assert "To tell such a return from none takes about 1,08" in short.text
    assert all(isnan(row.low) for row in short.rows)
    long = expected.view(totals_of(np.zeros(2 * _COUNT + 1)), 0.9)
    assert long.verdict == "too long to tell" and "make a longer backtest" in long.text
    assert (
        "earned nothing"
        in expectation(np.random.default_rng(1).normal(-0.001, 0.01, 500)).view(totals_of(np.zeros(5)), 0.9).text
    )


def test_how_often_the_stop_would_stop_the_backtest_itself_is_more_than_its_level(expected):
    assert 0.01 < expected.false_stops(0.01) < 0.4
    assert expected.false_stops(0.01) < expected.false_stops(0.05)


def test_a_seed_gives_the_same_bands(noise):
    first, again, other = (expectation(noise[:500], samples=200, seed=seed) for seed in (0, 0, 1))
    same = first.quantiles("sharpe", 100), again.quantiles("sharpe", 100)
    assert same[0].tolist() == same[1].tolist() != other.quantiles("sharpe", 100).tolist()


def test_the_view_is_made_anew_only_where_something_came(expected):
    watch = DriftWatch(100.0)
    assert watch.view() is None
    watch.expect(expected, None, 0.9, 0.01)
    watch.totals.take([(0, 101.0)], (), ())
    first = watch.view()
    assert watch.view() is first
    watch.totals.take([(1, 102.0)], (), ())
    assert watch.view() is not first


def test_a_session_longer_than_what_was_reckoned_says_once_that_its_stop_acts_no_more():
    watch = DriftWatch(100.0)
    watch.expect(expectation(np.random.default_rng(1).normal(0.0, 0.01, 50), samples=200), "pause", 0.9, 0.01)
    watch.totals.take([(place, 100.0) for place in range(100)], (), ())
    assert watch.ends() == ""
    watch.totals.take([(100, 10.0)], (), ())
    assert "longer than the 100 periods" in watch.ends() and watch.ends() == ""
    assert watch.look() is None


# -- a session -------------------------------------------------------------------------------


def prices(count: int, seed: int, deviation: float = 0.001, drift: float = 0.0) -> list[float]:
    return (100.0 * np.cumprod(1.0 + np.random.default_rng(seed).normal(drift, deviation, count))).tolist()


@pytest.fixture(scope="module")
def calm() -> qf.Result:
    return qf.backtest(Holds(), [bar(place, price) for place, price in enumerate(prices(2_000, 11))], cash=10_000.0)


def started(tmp_path, **settings) -> tuple[qf.Session, HandFeed]:
    feed = HandFeed(["A"])
    return qf.paper(Holds(), feed, timeframe="1m", cash=10_000.0, journal=tmp_path, **settings), feed


def give(session: qf.Session, feed: HandFeed, closes: list[float], first: int = 0) -> None:
    """Bars from number ``first`` on; the equity point of the last comes with whatever is next."""
    pipeline, before = session._pipeline, session._pipeline.engine.events
    for place, close in enumerate(closes):
        feed.give(bar(first + place, close))
    until(lambda: pipeline.engine.events >= before + len(closes))

    async def show() -> None:
        pipeline.flush()
        pipeline.show()

    qf.run(show())


def commands(session: qf.Session) -> list[str]:
    with JournalReader(session.journal_path) as reader:
        events = [event for batch in reader.events() for event in batch]
    return [type(event).__name__ for event in events if type(event).__name__ in ("Pause", "Flatten")]


def test_a_session_on_its_backtest_s_own_data_is_in_the_middle_of_every_band():
    events = [bar(place, price) for place, price in enumerate(prices(600, 12))]
    result = qf.backtest(Holds(), events, cash=10_000.0)
    session = qf.paper(Holds(), qf.ReplayFeed(events, speed=None), cash=10_000.0).start().wait()
    drift = session.drift(result)
    table = drift.table
    assert table.index.tolist() == list(FIGURES)
    assert table.loc["total_return", "value"] == pytest.approx(result.metrics.total_return)
    assert table.loc["max_drawdown", "value"] == pytest.approx(result.metrics.max_drawdown)
    assert table.loc["sharpe", "value"] == pytest.approx(result.metrics.sharpe, rel=0.01)
    assert table.loc["total_return", "percentile"] == pytest.approx(0.5, abs=0.1)
    assert (table["low"] <= table["value"])[["total_return", "volatility", "max_drawdown"]].all()
    assert drift.verdict == "inside"
    assert "percentile" in repr(drift) and "stationary bootstrap of the backtest's 599" in repr(drift)
    assert "<img" in drift._repr_html_()
    texts = [one.text for one in ElementTree.fromstring(drift.picture()).iter("{http://www.w3.org/2000/svg}text")]
    assert "● inside" in texts and "max drawdown" in texts


@pytest.mark.parametrize("stop", ["pause", "flatten"])
def test_the_stop_rule_gives_the_command_that_a_person_would_give_and_says_so(tmp_path, calm, stop):
    told = []
    session, feed = started(tmp_path, notify=told.append)
    session.expect(calm, stop=stop).start()
    give(session, feed, prices(100, 13))
    assert session.snapshot.drift.verdict != "outside" and commands(session) == []
    give(session, feed, [100.0 * 0.99**place for place in range(1, 31)], 100)
    until(lambda: commands(session) != [])
    assert commands(session) == [stop.title()]
    until(lambda: session.snapshot.drift.verdict == "outside")
    assert "it has acted" in session.snapshot.drift.stop
    until(lambda: told)
    # What was said before the first event has a time of the feed's, not of 1970.
    assert session.log.index[0].year > 2000 and "told what to expect" in session.log.text.iloc[0]
    assert told[0].kind == "Drift" and "of the backtest's resampled stretches of" in told[0].text
    assert any("drawdown" in text or "return" in text for _, text in session.snapshot.messages)
    if stop == "pause":
        assert session.state == "paused"
        session.resume()
    else:
        give(session, feed, [70.0, 70.0], 130)
        assert session.snapshot.positions == ()
    # It acts once; who goes on has decided so.
    give(session, feed, [60.0, 50.0], 140)
    session.stop()
    assert commands(session) == [stop.title()]
    verdict = session.verify()
    assert verdict, verdict.text


def test_a_session_may_be_told_while_it_runs_and_armed_again(tmp_path, calm):
    session, feed = started(tmp_path)
    session.start()
    give(session, feed, prices(60, 13))
    assert session.snapshot.drift is None
    with pytest.raises(SessionError, match="against what"):
        session.drift()
    session.expect(calm, stop="pause")
    assert session.snapshot.drift.periods == 59
    assert session.drift().periods == 59
    give(session, feed, [80.0, 80.0], 60)
    until(lambda: session.state == "paused")
    session.resume().expect(calm, stop="pause")
    give(session, feed, [75.0, 75.0], 62)
    until(lambda: commands(session) == ["Pause", "Pause"])
    session.stop()
    assert session.verify()


def test_a_session_that_has_ended_may_still_be_held_against_its_backtest(tmp_path, calm):
    session, feed = started(tmp_path)
    session.start()
    give(session, feed, prices(60, 13))
    session.stop()
    before = session.snapshot
    session.expect(calm)
    assert session.snapshot.drift is not None
    assert msgspec.structs.replace(session.snapshot, drift=None) == before
    assert session.drift().periods == 60


def test_a_session_that_is_true_to_its_backtest_goes_on(tmp_path, calm):
    session, feed = started(tmp_path)
    session.expect(calm, stop="flatten", level=0.001).start()
    give(session, feed, prices(300, 14))
    session.stop()
    assert commands(session) == []
    assert session.drift().verdict == "inside"


def test_a_resumed_session_keeps_its_totals_and_asks_to_be_told_again(tmp_path, calm):
    session, feed = started(tmp_path)
    session.expect(calm, stop="pause").start()
    give(session, feed, prices(50, 13))
    before = session.drift().table
    session.suspend()
    again = qf.resume(session.journal_path, feed=HandFeed(["A"]), strategies=[Holds])
    assert any("session.expect(result, stop='pause') again" in text for _, text in again.snapshot.messages)
    assert again.drift(calm).table.equals(before)


def test_what_is_no_backtest_of_it_is_refused(tmp_path, calm):
    session, _ = started(tmp_path)
    with pytest.raises(ParameterError, match=r"paused or flattened.*flatten"):
        session.expect(calm, stop="flaten")
    with pytest.raises(ParameterError, match="such as 0.01"):
        session.expect(calm, stop="pause", level=0.99)
    with pytest.raises(ParameterError, match="a fraction such as 0.9"):
        session.drift(calm, level=90)
    for wrong in ({"level": "0.01"}, {"band": "0.9"}, {"seed": -1}, {"seed": "k"}):
        with pytest.raises(ParameterError, match=str(*wrong.values())):
            session.expect(calm, **wrong)
    with pytest.raises(ParameterError, match="give what qf.backtest"):
        session.drift("result")
    with pytest.raises(ParameterError, match="bars of '1d' and the session of '1m'"):
        session.drift(qf.backtest(qf.MovingAverageCrossover(), qf.sample("AAPL")))
    with pytest.raises(DataError, match="10 period returns"):
        session.drift(qf.backtest(Holds(), [bar(place, 100.0 + place) for place in range(5)], cash=10_000.0))


# -- the meter -------------------------------------------------------------------------------


def test_the_dashboard_has_a_meter_only_where_a_session_was_told(tmp_path, calm, expected):
    session, feed = started(tmp_path)
    session.start()
    give(session, feed, prices(60, 13))
    board = still(session.snapshot)
    assert board.text("drift") == "" and board._text["drift"].layout.display == "none"
    session.expect(calm)
    still(session.snapshot, board=board)
    assert board._text["drift"].layout.display is None
    assert "59 periods" in board.text("drift") and session.snapshot.drift.verdict in board.text("drift")
    assert "max drawdown" in board.text("drift")
    assert "Drift: " in session.snapshot._repr_html_()
    sent = []
    board._text["drift"].observe(sent.append, names="value")
    still(session.snapshot, board=board)
    assert sent == []
    session.stop()


def test_what_the_meter_says_is_escaped(tmp_path, expected):
    session, _ = started(tmp_path)
    view = expected.view(totals_of(np.random.default_rng(9).normal(0.0, 0.01, 250)), 0.9)
    bad = DriftView("<img src=x>", "<script>", view.rows, 250, 0.9, "<b>")
    board = still(msgspec.structs.replace(session.snapshot, drift=bad))
    for raw in ("<img", "<script", "<b>&lt;b"):
        assert raw not in board.text("drift")
    html = Drift(bad, expected)._repr_html_()
    assert "<script" not in html and "<img src=x" not in html


_MADE = """import numpy as np, pandas as pd, qfkit as qf

chance = np.random.default_rng(1)
close = 61_800.0 * np.cumprod(1.0 + chance.normal(0.0, 1e-4, 3_000))
index = pd.date_range("2024-01-01", periods=3_000, freq="1s", tz="UTC")
bars = pd.DataFrame({name: close for name in ("open", "high", "low", "close")} | {"volume": 100.0}, index=index)
result = qf.backtest(qf.MovingAverageCrossover(), {"BTCUSDT": bars}, timeframe="1s")
feed = qf.SyntheticFeed(["BTCUSDT"], seed=7, duration_s=None, speed=20.0, prices={"BTCUSDT": 61_800.0})
session = qf.paper(qf.MovingAverageCrossover(), feed, timeframe="1s", name="drifts").start()"""
_DRIFT = "[...document.querySelectorAll('.qfkit-dash .q-card')].find(one => one.textContent.startsWith('Drift'))"


def test_the_meter_comes_and_fits_its_card_in_a_browser(lab) -> None:
    page = lab.open([_MADE, "session", "session.expect(result, stop='pause', level=1e-6); None"])
    page.size(1300, 1300)
    page.run_all()
    page.wait_until(f"/pauses at the outer/.test({_DRIFT}?.textContent)")
    page.wait_until(f"{_DRIFT}.querySelectorAll('.q-place u').length > 3")
    page.evaluate(f"{_DRIFT}.scrollIntoView()")
    page.wait_until(f"/inside|edge|outside/.test({_DRIFT}.innerText)")
    assert page.evaluate(f"{_DRIFT}.scrollWidth <= {_DRIFT}.clientWidth")
    page.screenshot("drift")
    assert page.value("session.snapshot.drift.verdict") in ("inside", "at the edge", "outside")
