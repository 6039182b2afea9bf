"""Why an order was sent and what it cost, worked out by hand; and stories of all that sends orders."""

import pickle
import random

import pandas as pd
import pytest
from test_manual import Desk, Nothing
from test_manual import tick as hand_tick
from test_session import START_NS, bar, wave

import qfkit as qf
from qfkit.core.events import Bar, Depth, Quote, Tick
from qfkit.errors import OrderError, ParameterError
from tests.support import MINUTE, SECOND, START, QuoteScript, Script, TickScript, bars, quote, tick

CURRENCIES = qf.Currencies("USD", {"A": "EUR"})


def test_a_market_order_on_quotes_pays_the_spread_the_delay_the_size_and_the_fee() -> None:
    class Buys(QuoteScript):
        actions = {0: lambda one: one.buy("A", quantity=10.0, reason="because")}

    costs = qf.Costs(commission=0.001, slippage_bps=10.0, latency_s=1.5, participation=None)
    events = [quote(0, 99, 101), quote(1, 100, 102), quote(2, 101, 103)]
    story = qf.backtest(Buys(), events, costs=costs, cash=1e6).why(1)
    # Decided at the middle of 100; 1.5 s later the middle is 102 and the ask 103; 10 basis points of 103 are 0.103.
    (row,) = story.costs.to_dict("records")
    assert row["decision_price"] == 100.0
    assert (row["best_price"], row["price"]) == (103.0, pytest.approx(103.103))
    assert row["delay"] == pytest.approx(20.0)
    assert row["spread"] == pytest.approx(10.0)
    assert row["size"] == pytest.approx(1.03)
    assert row["fee"] == pytest.approx(1.03103)
    assert row["total"] == pytest.approx(10 * 3.103 + 1.03103)
    assert row["delay"] + row["spread"] + row["size"] + row["fee"] == pytest.approx(row["total"], abs=1e-9)
    assert isinstance(story.heard, Quote)
    assert (story.heard.bid, story.heard.ask) == (99.0, 101.0)
    text = str(story)
    for words in ("because: because", "in on_quote", "99.00 x", "+20.00", "+10.00", "+1.03", "+32.06", "1.5 s later"):
        assert words in text, words


def test_a_sale_costs_the_other_way_round() -> None:
    class Sells(QuoteScript):
        actions = {0: lambda one: one.sell("A", quantity=10.0)}

    events = [quote(0, 99, 101), quote(1, 98, 100)]
    story = qf.backtest(Sells(), events, costs=qf.Costs.ideal(), cash=1e6).why()
    # The middle fell from 100 to 99, and the bid lies one below it.
    assert story.cost == {"spread": 10.0, "delay": 10.0, "size": 0.0, "fee": 0.0, "total": 20.0}


def test_a_last_trade_at_the_ask_has_the_spread_in_the_decision_price_already() -> None:
    class Buys(TickScript):
        actions = {0: lambda one: one.buy("A", quantity=10.0)}

    events = [quote(0, 99, 101), tick(1, 101), tick(2, 101)]
    story = qf.backtest(Buys(), events, costs=qf.Costs.ideal(), cash=1e6).why()
    assert set(story.cost.values()) == {0.0}
    assert isinstance(story.heard, Tick)
    # The quote has moved by one meanwhile: that is delay, and still no spread.
    events = [quote(0, 99, 101), tick(1, 101), quote(2, 100, 102)]
    story = qf.backtest(Buys(), events, costs=qf.Costs.ideal(), cash=1e6).why()
    assert (story.cost["spread"], story.cost["delay"], story.cost["total"]) == (0.0, 10.0, 10.0)


def test_the_further_levels_of_a_book_are_the_costs_of_the_size() -> None:
    class Buys(qf.Strategy):
        def on_depth(self, depth: Depth) -> None:
            if not self.position("A") and not self.orders:
                self.buy("A", quantity=10.0)

    def depth(seconds: int) -> Depth:
        time_ns = START + seconds * SECOND
        return Depth("A", ((99.0, 50.0),), ((101.0, 5.0), (103.0, 50.0)), time_ns, time_ns)

    costs = qf.Costs(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=1.0)
    story = qf.backtest(Buys(), [depth(0), depth(1)], costs=costs, cash=1e6).why()
    # Five at 101 and five at 103: the middle is 100, the best is 101, and the average one more.
    assert story.cost == {"spread": 10.0, "delay": 0.0, "size": 10.0, "fee": 0.0, "total": 20.0}
    assert isinstance(story.heard, Depth)
    assert "order book" in str(story)


def test_on_bars_there_is_delay_till_the_open_and_no_spread_is_made_up() -> None:
    class Buys(Script):
        actions = {0: lambda one: one.buy("A", quantity=10.0)}

    costs = qf.Costs(commission=0.001, slippage_bps=100.0, latency_s=0.0, participation=None)
    events = bars([(99, 101, 98, 100), (102, 103, 101, 102)])
    story = qf.backtest(Buys(), events, costs=costs, cash=1e6).why()
    # From the close of 100 to the open of 102, one per cent of slippage on that, and a thousandth of 1,030.20.
    assert story.cost["delay"] == pytest.approx(20.0)
    assert story.cost["spread"] == 0.0
    assert story.cost["size"] == pytest.approx(10.2)
    assert story.cost["fee"] == pytest.approx(1.0302)
    assert story.cost["total"] == pytest.approx(20.0 + 10.2 + 1.0302)
    assert isinstance(story.heard, Bar)
    assert "2023-11-15 00:01:00 UTC" in str(story)


def test_a_limit_order_that_waited_gains_what_the_market_came_to_it() -> None:
    class Sells(Script):
        actions = {0: lambda one: one.sell("A", quantity=10.0, limit_price=105.0)}

    events = bars([(99, 101, 98, 100), (100, 106, 99, 104)])
    story = qf.backtest(Sells(), events, costs=qf.Costs.ideal(), cash=1e6).why()
    assert story.cost == {"spread": 0.0, "delay": -50.0, "size": 0.0, "fee": 0.0, "total": -50.0}
    assert "limit price" in str(story)
    assert "it waited for its price" in str(story)


def test_parts_of_an_order_are_told_one_by_one_and_add_up() -> None:
    class Buys(TickScript):
        actions = {0: lambda one: one.buy("A", quantity=10.0), 4: lambda one: one.close("A", reason="enough")}

    costs = qf.Costs(commission=0.001, slippage_bps=0.0, latency_s=0.0, participation=0.1)
    events = [tick(0, 100), tick(1, 101, size=40), tick(2, 102, size=20), tick(3, 103), tick(4, 104), tick(5, 110)]
    result = qf.backtest(Buys(), events, costs=costs, cash=1e6)
    story = result.why(1)
    # A tenth of each trade: four at 101, two at 102 and the rest at 103.
    assert story.fills[["quantity", "price"]].to_numpy().tolist() == [[4, 101], [2, 102], [4, 103]]
    assert story.costs.delay.tolist() == [4.0, 4.0, 12.0]
    assert story.costs.fee.tolist() == pytest.approx([0.404, 0.204, 0.412])
    assert story.costs[["spread", "delay", "size", "fee"]].sum(axis=1).tolist() == pytest.approx(
        story.costs.total.tolist()
    )
    assert story.changes.status.tolist() == ["working", "partially_filled", "partially_filled", "filled"]
    assert story.changes.filled.tolist() == [0, 4, 6, 10]
    # Bought at an average of 102 and sold at 110, both with a thousandth of commission.
    assert story.pnl == pytest.approx(80.0 - 1.02 - 1.1)
    closing = result.why(2)
    assert closing.reason == "enough"
    assert closing.trades.pnl.tolist() == story.trades.pnl.tolist()
    assert closing.checks.empty


def test_costs_are_in_the_account_s_money() -> None:
    class Buys(TickScript):
        actions = {1: lambda one: one.buy("A", quantity=10.0)}

    events = [tick(0, 1.25, symbol="EURUSD"), tick(1, 100), tick(2, 102), tick(3, 103)]
    costs = qf.Costs(commission=0.001, slippage_bps=0.0, latency_s=0.0, participation=None)
    story = qf.backtest(Buys(), events, costs=costs, cash=1e6, currency=CURRENCIES).why()
    # Decided at 100 EUR, paid 102: 20 EUR are 25 USD; the fee of 1.02 EUR is 1.275 USD.
    assert story.cost["delay"] == pytest.approx(10 * (story.costs.price.iloc[0] - story.order.decision_price) * 1.25)
    assert story.cost["fee"] == pytest.approx(0.001 * 10 * story.costs.price.iloc[0] * 1.25)
    assert story.cost["total"] == pytest.approx(story.cost["delay"] + story.cost["fee"])
    assert "rate" in str(story)


def test_a_refused_signal_tells_the_limit_and_its_numbers() -> None:
    class Both(Script):
        actions = {
            0: lambda one: one.sell("A", quantity=5.0, reason="down"),
            1: lambda one: one.order_target("A", weight=0.5, reason="up"),
        }

    events = bars([(100, 100, 100, 100)] * 4)
    limits = qf.RiskLimits(allow_short=False, max_position_weight=0.2)
    result = qf.backtest(Both(), events, costs=qf.Costs.ideal(), cash=10_000.0, risk=limits)
    refused = result.why(signal=1)
    assert refused.order is None
    assert refused.checks[["check", "value", "limit", "allowed", "passed"]].iloc[0].tolist() == [
        "short sale", 5.0, 0.0, 0.0, False,
    ]  # fmt: skip
    assert "Signal 1: sell 5 A, rejected" in str(refused)
    assert "refused" in str(refused)
    assert "in on_bar (bar of A 1m)" in refused.sender
    resized = result.why()
    row = resized.checks.set_index("check").loc["position weight"]
    assert (row["value"], row["limit"], row["allowed"]) == (0.5, 0.2, 20.0)
    assert resized.order.quantity == 20.0
    assert "resized" in str(resized)
    assert result.why(signal="last").order.order_id == resized.order.order_id
    assert resized.open_position.quantity == 20.0


def test_with_signals_only_the_newest_of_them_is_told() -> None:
    class Sells(Script):
        actions = {0: lambda one: one.sell("A", quantity=5.0)}

    result = qf.backtest(Sells(), bars([(100, 100, 100, 100)] * 2), risk=qf.RiskLimits(allow_short=False))
    assert result.why().signal.decision == "rejected"
    with pytest.raises(OrderError, match="there is no order yet"):
        result.why(1)


def test_indicators_are_told_with_the_value_before_and_parameters_as_they_were(tmp_path) -> None:
    events = wave(200)
    session = qf.paper(
        qf.MovingAverageCrossover(fast=5, slow=12), qf.ReplayFeed(events, speed=None), journal=tmp_path, cash=50_000.0
    )
    session.start().wait(20)
    closes = pd.Series([one.close for one in events])
    for order_id in (1, 4, 7):
        story = session.why(order_id)
        assert story.heard.close_ns == story.time_ns
        at = events.index(story.heard)
        for length in (5, 12):
            averages = closes.rolling(length).mean()
            row = next(row for row in story.indicators.itertuples() if abs(row.value - averages[at]) < 1e-9)
            assert row.before == pytest.approx(averages[at - 1])
        assert (story.parameters["fast"], story.parameters["slow"]) == (5, 12)
        assert story.event_number == at + 1
        for name, value in story.signal.indicators.items():
            assert story.indicator_values[name][0] == value


def test_parameters_are_those_of_the_moment_and_not_of_the_end(tmp_path) -> None:
    class Sized(qf.Strategy):
        size = qf.Param(1.0, low=0.0, high=9.0)

        def on_bar(self, bar: Bar) -> None:
            self.buy(bar.symbol, quantity=self.size)

    desk = Desk(tmp_path, Sized, cash=1e6)
    desk.give(bar(0, 100.0))
    desk.session.set(size=3.0)
    desk.give(bar(1, 100.0), bar(2, 100.0))
    assert desk.session.why(1).parameters == {"size": 1.0}
    assert desk.session.why(2).parameters == {"size": 3.0}
    assert desk.session.why(1).parameters == {"size": 1.0}
    # At the newest of a session that runs: the order is not filled yet.
    assert desk.session.why().order.status == "working"
    desk.end()


def test_an_unknown_id_names_the_nearest_and_how_to_list_them(tmp_path) -> None:
    session = qf.paper(
        qf.MovingAverageCrossover(fast=5, slow=12), qf.ReplayFeed(wave(100), speed=None), journal=tmp_path
    )
    session.start().wait(20)
    newest = int(session.orders.order_id.max())
    with pytest.raises(OrderError, match=rf"no order 99: the nearest is {newest}, .* session\.orders lists them"):
        session.why(99)
    with pytest.raises(OrderError, match=r"no signal 0: the nearest is 1, .* session\.signals lists them"):
        session.why(signal=0)
    with pytest.raises(ParameterError, match="give its number"):
        session.why("first")
    with pytest.raises(ParameterError, match="one of the two"):
        session.why(1, signal=1)
    assert session.why("last").order.order_id == newest


# -- whoever sends ---------------------------------------------------------------------------


def test_what_a_person_sent_is_told_as_the_call_that_was_made(tmp_path) -> None:
    desk = Desk(tmp_path)
    session = desk.session
    desk.give(hand_tick(0, 100))
    entry = session.buy("A", quantity=5, limit_price=99.0, stop_loss=90.0, take_profit=120.0, reason="a hunch")
    desk.give(hand_tick(1, 98.0))
    story = session.why(entry)
    assert story.sender == (
        "a person, by session.buy('A', quantity=5.0, limit_price=99.0, stop_loss=90.0, take_profit=120.0, "
        "reason='a hunch', strategy='Nothing'), in the book of Nothing"
    )
    assert story.reason == "a hunch"
    assert len(story.related) == 2
    leg = session.why(entry + 1)
    assert f"a leg of the bracket around order {entry}" in leg.sender
    assert leg.changes.status.tolist() == ["held", "working"]
    session.flatten()
    desk.give(hand_tick(2, 97.0))
    closed = session.why()
    assert "a person, by session.flatten(" in closed.sender
    assert closed.order.side == "sell"
    assert session.why(entry + 1).changes.status.tolist() == ["held", "working", "cancelled"]
    assert "by hand: session.flatten(" in session.why(entry + 1).changes.event.iloc[-1]
    # Bought at 98, which was better than the limit, and sold at 97.
    assert closed.pnl == pytest.approx(-5.0)
    desk.end()


def test_a_protection_tells_who_asked_for_it(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.give(hand_tick(0, 100))
    desk.session.buy("A", quantity=5)
    desk.give(hand_tick(1, 100.0))
    (stop,) = desk.session.protect("A", stop_loss=0.1)
    desk.give(hand_tick(2, 89.0))
    story = desk.session.why(stop)
    assert story.sender.startswith("a protection of the position, asked for by a person, by session.protect('A'")
    assert (story.order.stop_price, story.order.status) == (90.0, "filled")
    # The stop was put with the price at 100, and the market went through it to 89.
    assert story.cost["total"] == pytest.approx(5 * 11.0)
    desk.end()


def test_a_margin_call_and_a_limit_are_told_as_what_they_are() -> None:
    class Short(TickScript):
        actions = {0: lambda one: one.sell("A", quantity=180.0)}

    events = [tick(second, price) for second, price in enumerate((100, 100, 140, 140, 140))]
    result = qf.backtest(Short(), events, costs=qf.Costs.ideal(), cash=10_000.0, margin=qf.Margin.regulation_t())
    called = next(one for one in result.signals.itertuples() if one.action == "margin call")
    story = result.why(signal=called.signal_id)
    assert "could not meet its margin" in story.sender
    assert "maintenance margin" in story.reason

    class Long(TickScript):
        actions = {0: lambda one: one.buy("A", quantity=100.0)}

    events = [tick(second, price) for second, price in enumerate((100, 100, 80, 80))]
    limits = qf.RiskLimits(max_drawdown=0.1, on_breach={"max_drawdown": "flatten"})
    story = qf.backtest(Long(), events, costs=qf.Costs.ideal(), cash=10_000.0, risk=limits).why()
    assert "a risk limit on the book of Long" in story.sender
    assert "drawdown" in story.reason


def test_a_fill_may_be_what_an_order_was_decided_on() -> None:
    class Ladder(Script):
        actions = {0: lambda one: one.buy("A", quantity=1.0)}

        def on_fill(self, fill: qf.Fill) -> None:
            if fill.order_id == 1:
                self.sell("A", quantity=1.0, limit_price=fill.price + 5.0, reason="target")

    result = qf.backtest(Ladder(), bars([(100, 100, 100, 100)] * 4), costs=qf.Costs.ideal())
    story = result.why(2)
    assert isinstance(story.heard, qf.Fill)
    assert "in on_fill (fill of order 1)" in story.sender


def test_rebalances_are_told_with_the_one_that_asked() -> None:
    prices = {name: qf.sample(name).tail(300) for name in ("AAPL", "IBM")}
    result = qf.backtest(qf.PortfolioRebalance(rule="equal", every="1M"), prices, cash=100_000.0)
    senders = {result.why(order_id).sender.partition(" (")[0] for order_id in result.orders.order_id.head(12)}
    assert senders <= {
        "the strategy PortfolioRebalance, in on_bar",
        "a rebalance of PortfolioRebalance under way, once it was paid for",
    }
    assert "the strategy PortfolioRebalance, in on_bar" in senders


# -- everywhere the same ---------------------------------------------------------------------


def test_a_session_its_result_and_a_backtest_tell_the_same_story(tmp_path) -> None:
    events = wave(120)
    backtest = qf.backtest(qf.MovingAverageCrossover(fast=5, slow=12), events, cash=50_000.0)
    session = qf.paper(
        qf.MovingAverageCrossover(fast=5, slow=12), qf.ReplayFeed(events, speed=None), cash=50_000.0, journal=tmp_path
    )
    session.start().wait(20)
    stories = [one.why(3) for one in (backtest, session, session.result)]
    assert len({str(story.fill_costs) for story in stories}) == 1
    assert len({str(story.indicator_values) for story in stories}) == 1
    assert len({story.event_number for story in stories}) == 1
    for story in stories:
        pd.testing.assert_frame_equal(story.changes, stories[0].changes)
        assert not story.lacks


def test_a_signal_function_is_told_of_though_its_backtest_plays_no_events() -> None:
    @qf.signal(fast=10, slow=30)
    def trend(bars: pd.DataFrame, fast: int, slow: int) -> object:
        return qf.SMA(fast).over(bars.close) > qf.SMA(slow).over(bars.close)

    result = qf.backtest(trend(fast=12), qf.sample("IBM"))
    story = result.why(5)
    assert story.order.order_id == 5
    assert story.parameters == {"fast": 12, "slow": 30}
    assert story.changes.status.iloc[-1] == "filled"
    assert not story.lacks


def test_a_result_from_another_process_tells_what_its_records_hold() -> None:
    result = qf.backtest(qf.MovingAverageCrossover(fast=5, slow=12), qf.sample("IBM"))
    assert not result.why(3).lacks
    away = pickle.loads(pickle.dumps(result))  # noqa: S301 - made a line above
    story = away.why(3)
    assert "does not know" in story.lacks
    assert story.fills.equals(result.why(3).fills)
    assert story.costs.total.tolist() == result.why(3).costs.total.tolist()


def test_a_story_on_recorded_quotes_adds_up_for_every_fill(capture_path) -> None:
    result = qf.backtest(
        qf.MovingAverageCrossover(fast=3, slow=8), str(capture_path), timeframe="5s", costs=qf.Costs.harsh()
    )
    told = 0
    for order_id in result.orders.order_id[:5]:
        story = result.why(order_id)
        for cost in story.fill_costs:
            assert cost.parts == pytest.approx(cost.total, abs=1e-9 * cost.quantity * cost.price)
            assert cost.size >= 0.0
            assert cost.fee > 0.0
            told += 1
        assert story.market is not None
        assert story.market.bid <= story.market.ask
    assert told > 10


def test_the_page_escapes_what_others_wrote_and_needs_no_style_sheet() -> None:
    class Buys(Script):
        actions = {0: lambda one: one.buy("A", quantity=1.0, reason="<script>alert(1)</script>")}

    page = qf.backtest(Buys(), bars([(100, 100, 100, 100)] * 3)).why()._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<style" not in page
    assert "class=" not in page
    for word in ("Who and why", "Decided on the 1m bar of A", "Filters and limits", "What it cost", "as sent"):
        assert word in page


class Averages(qf.Strategy):
    """Buys once its average of two is there."""

    def setup(self) -> None:
        self.average = self.indicator(qf.SMA, 2)

    def on_bar(self, bar: Bar) -> None:
        if self.average[bar.symbol].ready and not self.orders and not self.position(bar.symbol):
            self.buy(bar.symbol, quantity=1.0, reason="on average")


def test_a_strategy_that_has_changed_since_is_said_not_to_come_to_it() -> None:
    events = bars([(100, 100, 100, 100), (104, 104, 104, 104), (105, 105, 105, 105)])
    records = qf.backtest(Averages(), events, costs=qf.Costs.ideal()).records
    other = qf.backtest(Nothing(), events)
    from qfkit.inspection.asking import tell

    story = tell(records, other._machine, 1)
    assert "did not come to it" in story.lacks
    assert story.decision is None
    # What the records hold is told all the same: the fill, and the average at the decision but not before it.
    assert story.fills.price.tolist() == [105.0]
    assert "did not come to it" in str(story)
    assert story.indicators.value.to_dict() == {"average": 102.0}
    assert story.indicators.before.isna().tolist() == [True]


def test_bars_closed_by_the_clock_are_what_the_strategy_heard(tmp_path) -> None:
    class First(qf.Strategy):
        def on_bar(self, bar: Bar) -> None:
            if not self.orders and not self.position(bar.symbol):
                self.buy(bar.symbol, quantity=1.0)

    desk = Desk(tmp_path, First)
    desk.give(hand_tick(0, 100), hand_tick(30, 103), hand_tick(61, 104), hand_tick(62, 105))
    story = desk.session.why()
    assert (story.heard.open, story.heard.close, story.heard.open_ns) == (100, 103, START_NS)
    assert story.heard.close_ns == START_NS + MINUTE
    # The trade that closed the bar is known by then, and is the decision price.
    assert story.order.decision_price == 104
    desk.end()


class Anything(qf.Strategy):
    """Does by chance whatever a strategy can do."""

    seed = qf.Param(1, low=0, high=99)

    def setup(self) -> None:
        self.bands = self.indicator(qf.BollingerBands, 4)

    def on_start(self) -> None:
        self.chance = random.Random(self.seed)

    def on_tick(self, tick: Tick) -> None:
        chance, price = self.chance, tick.price
        act = chance.randrange(14)
        size = chance.choice((1.0, 5.0, 400.0))
        if act == 0:
            self.buy("A", quantity=size, reason="up")
        elif act == 1:
            self.sell("A", quantity=size, limit_price=price * 1.001, time_in_force="day")
        elif act == 2:
            self.buy("A", notional=500.0, limit_price=price * 0.999, stop_loss=price * 0.98, take_profit=price * 1.02)
        elif act == 3:
            self.sell("A", weight=0.1, trail_fraction=0.002)
        elif act == 4:
            self.order_target("A", weight=chance.uniform(-0.5, 0.5), reason="target")
        elif act == 5:
            self.close("A")
        elif act == 6:
            self.protect("A", stop_loss=0.01, trailing=0.02)
        elif act == 7 and self.orders:
            self.cancel(chance.choice(self.orders).order_id)
        elif act == 8:
            self.buy("A")


@pytest.mark.parametrize("seed", [3])
@pytest.mark.parametrize("netting", [False, True])
def test_every_order_and_signal_of_a_wild_run_has_a_story_that_adds_up(seed: int, netting: bool) -> None:
    chance, price, events = random.Random(seed), 100.0, []
    for second in range(100):
        price = round(price * (1 + chance.uniform(-0.002, 0.002)), 2)
        events.append(quote(second, price - 0.02, price + 0.02, size=chance.choice((20.0, 900.0))))
        events.append(tick(second + 0.5, price + chance.choice((-0.02, 0.0, 0.02)), size=chance.choice((5.0, 300.0))))
    result = qf.backtest(
        {"one": Anything(seed=seed), "two": Anything(seed=seed + 1)},
        events,
        cash=20_000.0,
        costs=qf.Costs(latency_s=qf.UniformLatency(0.0, 1.5), impact=qf.SquareRootImpact()),
        risk=qf.RiskLimits(max_position_weight=0.4),
        filters=qf.SignalFilters(one_per_bar=True),
        margin=qf.Margin.regulation_t(),
        netting=netting,
        timeframe="5s",
    )
    assert len(result.orders) > 25
    for row in result.orders.itertuples():
        story = result.why(row.order_id)
        assert not story.lacks, row.order_id
        assert story.changes.status.iloc[-1] == row.status
        assert story.fills.quantity.sum() == pytest.approx(row.filled)
        for cost in story.fill_costs:
            assert cost.parts == pytest.approx(cost.total, abs=1e-8)
            assert cost.size >= -1e-12
        assert "The order as sent" in str(story)
        assert "<table" in story._repr_html_()
    refused = result.signals[result.signals.order_id.isna()]
    assert len(refused) > 2
    for row in refused.itertuples():
        story = result.why(signal=row.signal_id)
        assert story.signal.decision == row.decision
        assert story.decision is not None
        assert str(story)


def test_it_says_what_time_a_fill_bears_and_that_a_seller_got_the_price() -> None:
    result = qf.backtest(qf.MovingAverageCrossover(), qf.sample("AAPL"))
    sale = result.orders[result.orders.side == "sell"].order_id.iloc[0]
    text = str(result.why(int(sale)))
    assert "time of the bar" in text and "exchange time" not in text
    assert "decided at" in text and ", got " in text and ", paid " not in text


def test_what_is_no_number_of_an_order_is_refused() -> None:
    result = qf.backtest(qf.MovingAverageCrossover(), qf.sample("AAPL"))
    for wrong in (True, "first", 1.5, result.orders.iloc[0]):
        with pytest.raises(ParameterError, match="give its number"):
            result.why(wrong)
