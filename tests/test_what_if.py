"""What if: the same events under other parameters, costs, limits or code, and the band of costs."""

import pandas as pd
import pytest
from test_manual import Desk, Nothing
from test_manual import tick as hand_tick
from test_session import Always, HandFeed, Twice, bar, wave

import qfkit as qf
from qfkit.errors import ParameterError, SessionError, StrategyError
from qfkit.result import Result
from tests.support import walk

FRAMES = (
    "equity",
    "fills",
    "orders",
    "signals",
    "checks",
    "trades",
    "bars",
    "stops",
    "transfers",
    "margin_calls",
    "financing",
    "positions",
)


def assert_same(one: Result, other: Result) -> None:
    """Equal to the last bit in all frames, and made under the same conditions."""
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True, obj=name)
    assert one.costs == other.costs
    assert repr(one.metrics) == repr(other.metrics)


@qf.signal(fast=5, slow=20)
def trend(bars, fast, slow):
    return qf.SMA(fast).over(bars.close) > qf.SMA(slow).over(bars.close)


class Once(qf.Strategy):
    """Buys ten at the first bar and sells them at the third."""

    size = qf.Param(10.0, low=0.0)

    def on_start(self) -> None:
        self.seen = 0

    def on_bar(self, bar: qf.Bar) -> None:
        self.seen += 1
        if self.seen == 1:
            self.buy(bar.symbol, quantity=self.size)
        elif self.seen == 3:
            self.close(bar.symbol)


class Later(Once):
    """The same a bar later."""

    def on_bar(self, bar: qf.Bar) -> None:
        self.seen += 1
        if self.seen == 2:
            self.buy(bar.symbol, quantity=self.size)
        elif self.seen == 4:
            self.close(bar.symbol)


PRICES = [bar(index, price) for index, price in enumerate((100.0, 100.0, 104.0, 110.0, 120.0, 120.0))]
RATE = {"slippage_bps": 0.0, "latency_s": 0.0, "participation": None}


# -- backtests -------------------------------------------------------------------------------


def test_what_commissions_take_from_two_fills_by_hand() -> None:
    result = qf.backtest(Once, PRICES, cash=10_000.0, costs=qf.Costs.ideal())
    both = result.what_if(costs=qf.Costs(commission=0.001, **RATE))
    # Ten bought at 100 and sold at 110: a hundred earned, less 1.00 and 1.10.
    assert both["actual"] is result
    assert result.metrics.end_equity == 10_100.0
    assert both.other.metrics.end_equity == pytest.approx(10_097.9, abs=1e-9)
    assert both.table.loc["fees"].tolist() == pytest.approx([0.0, 2.1, 2.1])
    assert both.table.loc["end_equity", "difference"] == pytest.approx(-2.1)
    assert both.labels == ("actual", "other costs")
    assert "-2.10" in repr(both)


def test_other_parameters_are_the_backtest_done_afresh() -> None:
    data = qf.sample("AAPL").iloc[:800]
    result = qf.backtest(qf.MovingAverageCrossover(fast=5, slow=20), data, cash=50_000.0)
    before = result.equity.copy()
    both = result.what_if(params={"fast": 8}, costs=qf.Costs.harsh(), cash=70_000.0)
    fresh = qf.backtest(qf.MovingAverageCrossover(fast=8, slow=20), data, cash=70_000.0, costs=qf.Costs.harsh())
    assert_same(both.other, fresh)
    assert both.other.parameters == fresh.parameters
    assert both.labels[1] == "fast=8, harsh costs, cash 70,000.00"
    pd.testing.assert_frame_equal(result.equity, before, check_exact=True)
    # It is a result as any other: it tells why, and what if once more.
    assert "8" in repr(both.other.why("last"))
    third = both.other.what_if(params={"slow": 30}).other
    assert_same(
        third, qf.backtest(qf.MovingAverageCrossover(fast=8, slow=30), data, cash=70_000.0, costs=qf.Costs.harsh())
    )


def test_a_signal_function_has_its_targets_reckoned_anew_and_takes_the_short_way() -> None:
    data = qf.sample("IBM").iloc[:800]
    both = qf.backtest(trend, data).what_if(params={"fast": 9}, latency_s=3.0)
    fresh = qf.backtest(trend(fast=9), data, costs=qf.Costs(latency_s=3.0))
    assert_same(both.other, fresh)
    assert len(both.other.fills) > 4
    assert both.other._fill_arrays is not None
    several = qf.backtest([trend, qf.MovingAverageCrossover], data)
    assert_same(
        several.what_if(params={"trend": {"fast": 9}}).other,
        qf.backtest([trend(fast=9), qf.MovingAverageCrossover], data),
    )


def test_of_several_strategies_a_parameter_is_of_all_that_have_it_or_of_one_by_name() -> None:
    data = {symbol: qf.sample(symbol).iloc[:600] for symbol in ("AAPL", "IBM")}
    run = {"quick": qf.MovingAverageCrossover(fast=5, slow=20), "bands": qf.BollingerReversion()}
    result = qf.backtest(run, data, shares={"quick": 0.7, "bands": 0.3}, risk=qf.RiskLimits(max_position_weight=0.4))
    shares = {"shares": {"quick": 0.7, "bands": 0.3}}
    limits = qf.RiskLimits(max_position_weight=0.1)
    assert_same(
        result.what_if(params={"weight": 0.1, "quick": {"fast": 7, "weight": 0.15}}, risk=limits).other,
        qf.backtest(
            {
                "quick": qf.MovingAverageCrossover(fast=7, slow=20, weight=0.15),
                "bands": qf.BollingerReversion(weight=0.1),
            },
            data,
            risk=limits,
            **shares,
        ),
    )
    assert_same(
        result.what_if(strategy={"bands": qf.MovingAverageCrossover(fast=3)}, shares=None).other,
        qf.backtest(
            {"quick": run["quick"], "bands": qf.MovingAverageCrossover(fast=3)},
            data,
            risk=qf.RiskLimits(max_position_weight=0.4),
        ),
    )


def test_other_code_takes_the_parameters_that_were_and_an_instance_brings_its_own() -> None:
    result = qf.backtest({"one": Once(size=7.0)}, PRICES)
    assert result.what_if(strategy=Later).other.fills["quantity"].tolist() == [7.0, 7.0]
    assert result.what_if(strategy=Later).other.fills["price"].tolist() != result.fills["price"].tolist()
    assert result.what_if(strategy=Later()).other.fills["quantity"].tolist() == [10.0, 10.0]
    both = result.what_if(strategy=Later, params={"size": 3.0})
    assert both.other.fills["quantity"].tolist() == [3.0, 3.0]
    assert both.labels[1] == "as Later, size=3.0"


def test_on_ticks_and_quotes_of_a_recording(capture_path) -> None:
    strategy, settings = qf.MovingAverageCrossover(fast=3, slow=8), {"timeframe": "5s", "symbols": ["BTCUSDT"]}
    result = qf.backtest(strategy, str(capture_path), **settings)
    both = result.what_if(latency_s=2.0)
    assert_same(both.other, qf.backtest(strategy, str(capture_path), costs=qf.Costs(latency_s=2.0), **settings))
    assert both.labels[1] == "latency 2 s"
    assert both.other.fills["price"].tolist() != result.fills["price"].tolist()


def test_latency_alone_leaves_the_other_costs_and_none_means_none() -> None:
    costs, filters = qf.Costs(commission=0.003, slippage_bps=7.0), qf.SignalFilters(cooldown_after_loss_s=36_000.0)
    result = qf.backtest(qf.MovingAverageCrossover(fast=3, slow=8), walk(600), costs=costs, filters=filters)
    late = result.what_if(latency_s=90.0).other
    assert (late.costs.commission, late.costs.slippage_bps, late.costs.latency_s) == (0.003, 7.0, 90.0)
    free = result.what_if(filters=None)
    assert free.labels[1] == "no filters"
    assert len(free.other.fills) > len(result.fills)
    assert_same(free.other, qf.backtest(qf.MovingAverageCrossover(fast=3, slow=8), walk(600), costs=costs))


def test_several_at_once_by_name() -> None:
    result = qf.backtest(Once, PRICES, cash=10_000.0, costs=qf.Costs.ideal())
    four = result.what_if(
        {
            "harsh": {"costs": qf.Costs.harsh()},
            "twice": {"params": {"size": 20}},
            "later": {"strategy": Later},
        }
    )
    assert four.labels == ("actual", "harsh", "twice", "later")
    assert four["twice"].metrics.end_equity == 10_200.0
    assert four["later"].metrics.end_equity == 10_160.0
    assert four.differences.loc["end_equity"].tolist()[2:] == [100.0, 60.0]
    assert four["harsh"].metrics.end_equity < 10_100.0
    with pytest.raises(ParameterError, match=r"no run 'harch' here\. Did you mean 'harsh'"):
        four["harch"]
    with pytest.raises(ParameterError, match="4 runs: take one by its label"):
        four.other  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"params": {"siz": 1.0}}, r"params names 'siz', which no strategy here has\. Did you mean 'size'"),
        ({"params": {"onec": {"size": 1.0}}}, r"params names the strategy 'onec'\. Did you mean 'one'"),
        ({"params": {"one": {"siz": 1.0}}}, r"one has no parameter 'siz'\. Did you mean 'size'"),
        ({"params": {"size": -1.0}}, r"size=-1\.0 is out of bounds"),
        ({"params": [("size", 1.0)]}, r"give a dict of names and values"),
        ({"costs": 0.001}, r"costs=0\.001: it must be a Costs"),
        ({"strategy": {"two": Later}}, r"names 'two', which did not run"),
        ({"strategy": {"one": 5}}, "5 is no strategy"),
        ({"latency_s": -1.0}, r"latency_s=-1\.0"),
        ({"latency_s": "2"}, "latency_s='2': give seconds"),
        ({"cash": -5.0}, r"cash=-5\.0"),
        ({"cash": "5"}, "cash='5': give an amount"),
        ({"shares": 5}, "shares=5: give a dict by strategy"),
        ({"allocation": 5}, "it must be an Allocation"),
        ({"size": 8.0}, r"no setting 'size'; a strategy's parameters are given as params=\{\"size\": 8\.0\}"),
        ({"cost": qf.Costs.harsh()}, r"no setting 'cost'.* Did you mean 'costs'"),
        ({"netting": 3}, "netting=3"),
        ({"commands": "no"}, "commands='no'"),
    ],
)
def test_what_cannot_be_names_the_fix(arguments, text) -> None:
    result = qf.backtest({"one": Once}, PRICES)
    with pytest.raises((ParameterError, StrategyError), match=text):
        result.what_if(**arguments)


def test_what_several_cannot_be_names_the_fix() -> None:
    result = qf.backtest({"one": Once, "two": Later}, PRICES)
    with pytest.raises(ParameterError, match="say in whose place, as a dict by name; there are one, two"):
        result.what_if(strategy=Later)
    with pytest.raises(ParameterError, match=r"no setting 'cost'.* Did you mean 'costs'"):
        result.what_if({"harsh": {"cost": qf.Costs.harsh()}})
    with pytest.raises(ParameterError, match="each what-if is a dict of settings"):
        result.what_if({"harsh": qf.Costs.harsh()})
    with pytest.raises(ParameterError, match=r'a parameter alone is params=\{"fast": 8\}'):
        result.what_if({"size": 8.0})
    with pytest.raises(ParameterError, match=r'given as params=\{"size": 8\.0\}'):
        result.what_if({"bigger": {"size": 8.0}})
    with pytest.raises(ParameterError, match="'actual', which is the run itself"):
        result.what_if({"actual": {"cash": 1.0}})
    with pytest.raises(ParameterError, match="one of the several by name, or alone"):
        result.what_if({"harsh": {"costs": qf.Costs.harsh()}}, cash=5.0)
    with pytest.raises(ParameterError, match="a dict by name"):
        result.what_if({})
    # The last of them is looked at before the first is run.
    with pytest.raises(ParameterError, match="'siz'"):
        result.what_if({"good": {"cash": -1.0}, "bad": {"params": {"siz": 1.0}}})


def test_a_result_of_another_process_says_that_it_must_be_run_here() -> None:
    import pickle

    away = pickle.loads(pickle.dumps(qf.backtest(qf.MovingAverageCrossover, qf.sample("AAPL").iloc[:100])))
    with pytest.raises(SessionError, match="run it here"):
        away.what_if(cash=5.0)


# -- the band --------------------------------------------------------------------------------


def test_the_band_is_ordered_where_it_must_be() -> None:
    data = walk(600)
    result = qf.backtest(qf.MovingAverageCrossover(fast=3, slow=8), data)
    band = result.band()
    assert band.labels == ("ideal", "sober", "harsh")
    assert band["sober"] is result
    ends = [band[label].metrics.end_equity for label in band.labels]
    assert ends == sorted(ends, reverse=True)
    assert ends[0] > ends[2]
    for label, costs in (("ideal", qf.Costs.ideal()), ("harsh", qf.Costs.harsh())):
        assert_same(band[label], qf.backtest(qf.MovingAverageCrossover(fast=3, slow=8), data, costs=costs))
    assert band._series.band is not None


def test_the_middle_of_the_band_are_the_run_s_own_costs_unless_these_are_an_edge() -> None:
    own = qf.backtest(Once, PRICES, costs=qf.Costs(commission=0.005)).band()
    assert own.labels == ("ideal", "actual", "harsh")
    assert own["actual"].costs.commission == 0.005
    ideal = qf.backtest(Once, PRICES, costs=qf.Costs.ideal())
    assert ideal.band().labels == ("ideal", "sober", "harsh")
    assert ideal.band()["ideal"] is ideal
    assert ideal.band()["sober"].costs == qf.Costs()


# -- sessions --------------------------------------------------------------------------------


class Often(qf.Strategy):
    """Buys a little at each bar, ``orders`` times, and protects it."""

    orders_a_bar = qf.Param(1, low=0, high=5)

    def on_bar(self, bar: qf.Bar) -> None:
        for _ in range(self.orders_a_bar):
            self.buy(bar.symbol, quantity=0.1, stop_loss=bar.close * 0.9, reason="often")


def test_with_nothing_changed_it_is_the_session_to_the_last_bit(tmp_path) -> None:
    desk = Desk(tmp_path, {"trend": qf.MovingAverageCrossover(fast=3, slow=8), "always": Always()}, costs=qf.Costs())
    session, events = desk.session, wave(120)
    desk.give(*events[:30])
    session.set("always", size=3.0)
    desk.give(*events[30:40])
    order = session.buy("A", quantity=2, limit_price=90.0, strategy="always")
    cancelled = session.buy("A", quantity=2, limit_price=91.0, strategy="always")
    desk.give(*events[40:50])
    session.modify(order, limit_price=92.0)
    session.cancel(cancelled)
    session.swap(Twice, "always")
    desk.give(*events[50:60])
    session.pause("trend")
    session.set_limits("always", max_position_weight=0.5)
    desk.give(*events[60:70])
    session.add(Once, "joined", cash=500.0)
    session.resume("trend")
    desk.give(*events[70:80])
    session.flatten("always")
    desk.give(*events[80:90])
    session.lift()
    session.stop("always")
    desk.give(*events[90:])
    running = session.what_if(cash=20_000.0)
    assert running.other.starting_cash == 20_000.0
    desk.end()
    again = session.what_if()
    assert again.labels == ("actual", "nothing changed")
    assert len(again.other.fills) > 20
    assert_same(again.other, session.result)
    assert again.other.assumptions == session.result.assumptions
    read = qf.read_session(session.journal_path)
    assert_same(read.what_if().other, session.result)
    assert_same(session.result.what_if().other, session.result)
    # What was done by hand is done again under other costs, and is left out if that is wanted.
    harsh = session.what_if(costs=qf.Costs.harsh()).other
    assert "joined" in harsh.strategy_names
    assert "by hand" in set(harsh.stops["why"])
    assert harsh.metrics.end_equity < session.result.metrics.end_equity
    bare = session.what_if(commands=False).other
    assert_same(
        bare,
        qf.backtest({"trend": qf.MovingAverageCrossover(fast=3, slow=8), "always": Always()}, events, cash=10_000.0),
    )
    # The other run tells its own stories, and can be changed once more.
    last = int(session.orders["order_id"].max())
    assert repr(again.other.why(last)) == repr(session.result.why(last))
    assert_same(harsh.what_if(costs=qf.Costs()).other, session.result)
    assert list(session.band().labels) == ["ideal", "sober", "harsh"]


def test_a_session_that_was_suspended_with_capital_that_moves_is_itself_again(tmp_path) -> None:
    strategies, events = {"trend": qf.MovingAverageCrossover(fast=3, slow=8), "always": Always()}, wave(150)
    desk = Desk(
        tmp_path,
        strategies,
        costs=qf.Costs(),
        name="twice",
        allocation=qf.Allocation("equal", every="1h"),
        netting=True,
        margin=qf.Margin.regulation_t(),
        risk={"always": qf.RiskLimits(max_position_weight=0.2)},
    )
    desk.give(*events[:70])
    path = desk.session.suspend().journal_path
    desk.feed = HandFeed()
    desk.session = qf.resume(path, feed=desk.feed).start()
    desk.give(*events[70:])
    desk.session.set("always", size=2.0)
    desk.end()
    session = desk.session
    again = session.what_if().other
    assert_same(again, session.result)
    pd.testing.assert_frame_equal(again.metrics_by(), session.result.metrics_by(), check_exact=True)
    several = session.what_if(
        {"apart": {"netting": False}, "unmoved": {"allocation": None}, "cash": {"margin": None, "risk": None}}
    )
    assert len(again.transfers) > 0
    assert len(several["unmoved"].transfers) == 0
    assert any(note.startswith("actual, apart, unmoved: initial margin 0.5") for note in several.notes)
    assert any(note.startswith("apart: orders of different strategies are kept apart") for note in several.notes)


def test_a_session_on_ticks_equals_the_backtest_of_its_journal_under_other_costs(tmp_path, capture_path) -> None:
    strategy = qf.MovingAverageCrossover(fast=3, slow=8)
    session = qf.paper(strategy, qf.ReplayFeed(str(capture_path), speed=None), journal=tmp_path, timeframe="5s")
    session.start().wait(60)
    both = session.what_if(costs=qf.Costs.harsh(), params={"fast": 4})
    fresh = qf.backtest(
        qf.MovingAverageCrossover(fast=4, slow=8), session.journal_path, timeframe="5s", costs=qf.Costs.harsh()
    )
    assert len(both.other.fills) > 5
    for name in ("fills", "signals", "trades", "bars"):
        pd.testing.assert_frame_equal(getattr(both.other, name), getattr(fresh, name), check_exact=True)
    assert_same(session.what_if().other, session.result)


def test_a_parameter_that_is_asked_for_is_not_set_back_by_hand(tmp_path) -> None:
    desk = Desk(tmp_path, Always)
    desk.give(*[bar(index, 100.0) for index in range(3)])
    desk.session.set(size=5.0)
    desk.give(*[bar(index, 100.0) for index in range(3, 6)])
    desk.session.swap(Twice(size=4.0))
    desk.give(*[bar(index, 100.0) for index in range(6, 9)])
    desk.end()
    session = desk.session
    assert session.fills["quantity"].tolist() == [1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 8.0, 8.0]
    # The swap stays, its parameter is the one asked for.
    twos = session.what_if(params={"size": 2.0}).other
    assert twos.fills["quantity"].tolist() == [2.0] * 6 + [4.0] * 2
    # The other code stays, and does not take the swap.
    always = session.what_if(strategy=Always).other
    assert always.fills["quantity"].tolist() == [1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    assert session.what_if(strategy=Twice, params={"size": 1.0}).other.fills["quantity"].tolist() == [2.0] * 8
    bare = session.what_if(commands=False)
    assert bare.other.fills["quantity"].tolist() == [1.0] * 8
    # What is left out is told.
    assert "nothing by hand: 2 commands by hand left out, all there were" in bare.notes
    assert "1 command by hand left out, which would have undone the change" in repr(session.what_if(strategy=Always))


def test_limits_that_are_asked_for_are_not_set_back_by_hand(tmp_path) -> None:
    desk = Desk(tmp_path, Always)
    desk.session.set_limits(max_position_weight=1.0)
    desk.give(*[bar(index, 100.0) for index in range(8)])
    desk.end()
    tight = desk.session.what_if(risk=qf.RiskLimits(max_position_weight=0.02)).other
    # Two hundredths of 10,000 are two shares of 100.
    assert tight.positions["quantity"].tolist()[0] == 2.0
    assert desk.session.positions["quantity"].tolist()[0] == 7.0


def test_an_order_cancelled_by_hand_is_the_same_order_under_another_number(tmp_path) -> None:
    desk = Desk(tmp_path, {"often": Often(), "hand": Nothing()})
    session = desk.session
    desk.give(*[bar(index, 100.0) for index in range(3)])
    kept = session.buy("A", quantity=3, limit_price=90.0, strategy="hand")
    desk.give(bar(3, 100.0))
    gone = session.buy("A", quantity=5, limit_price=91.0, strategy="hand")
    desk.give(bar(4, 100.0))
    session.cancel(gone)
    desk.give(bar(5, 100.0), bar(6, 80.0), bar(7, 80.0))
    desk.end()
    for count in (0, 1, 3):
        other = session.what_if(params={"orders_a_bar": count}).other
        orders = other.orders.reset_index()
        by_hand = orders[orders["strategy"] == "hand"]
        assert by_hand["status"].tolist() == ["filled", "cancelled"], count
        assert (by_hand["order_id"].tolist() == [kept, gone]) == (count == 1)
        assert other.fills[other.fills["strategy"] == "hand"]["quantity"].tolist() == [3.0]


def test_what_was_cancelled_by_hand_and_never_was_is_not_cancelled(tmp_path) -> None:
    desk = Desk(tmp_path, {"often": Often(), "hand": Nothing()})
    session = desk.session
    desk.give(hand_tick(0, 100.0), hand_tick(61, 100.0))
    legs = session.orders.reset_index()
    session.cancel(int(legs["order_id"].max()))
    desk.give(hand_tick(130, 100.0), hand_tick(200, 100.0))
    desk.end()
    none = session.what_if(params={"orders_a_bar": 0}).other
    assert len(none.orders) == 0
    # Nor is it told as an order that was refused.
    assert len(none.signals) == 0


def test_a_fault_of_other_code_is_told_beside_the_figures(tmp_path) -> None:
    class Fails(Always):
        def on_bar(self, bar: qf.Bar) -> None:
            if bar.close == 102.0:
                raise ZeroDivisionError("by two")
            super().on_bar(bar)

    desk = Desk(tmp_path, Always)
    desk.give(*[bar(index, 100.0 + index) for index in range(5)])
    desk.end()
    both = desk.session.what_if(strategy=Fails)
    assert len(both.other.faults) == 1
    assert "as Fails: Always was stopped by ZeroDivisionError: by two" in both.notes
    # In a backtest it is raised, as by the backtest itself.
    with pytest.raises(StrategyError, match="by two"):
        qf.backtest(Always, [bar(index, 100.0 + index) for index in range(5)]).what_if(strategy=Fails)


def test_a_session_that_its_own_costs_ended_goes_the_same_way_again(tmp_path) -> None:
    def commission(quantity: float, price: float) -> float:
        if price > 104.0:
            raise ValueError("no tariff above 104")
        return 1.0

    events = [bar(index, 100.0 + index) for index in range(10)]
    costs = qf.Costs(commission=commission)
    session = qf.paper(Always(), qf.ReplayFeed(events, speed=None), costs=costs, journal=tmp_path).start()
    with pytest.raises(SessionError, match="no tariff above 104"):
        session.wait(20)
    again = session.what_if()
    assert_same(again.other, session.result)
    assert repr(again.other.why("last")) == repr(session.result.why("last"))
    # Under other costs it goes as far as there are events.
    assert len(session.what_if(costs=qf.Costs.ideal()).other.fills) >= 3

    def dear(quantity: float, price: float) -> float:
        if price > 102.0:
            raise ValueError("no tariff above 102")
        return 1.0

    with pytest.raises(ValueError, match="no tariff above 102"):
        session.what_if(costs=qf.Costs(commission=dear))


def test_a_session_whose_classes_are_not_at_hand_says_which(tmp_path) -> None:
    desk = Desk(tmp_path, Always)
    desk.give(*wave(3))
    desk.end()
    path = desk.session.journal_path
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as connection:
        for key in ("strategies", "classes"):
            connection.execute(
                f"UPDATE meta SET value = replace(value, 'test_session:Always', 'elsewhere:Gone') WHERE key = '{key}'"
            )
        connection.commit()
    with pytest.raises(StrategyError, match="Gone of the module elsewhere, which is not defined here"):
        qf.read_session(path).what_if(cash=5_000.0)


def test_a_session_that_has_received_nothing_says_so(tmp_path) -> None:
    session = Desk(tmp_path).session
    with pytest.raises(SessionError, match="has received nothing yet"):
        session.what_if(cash=5.0)
    session.stop()
