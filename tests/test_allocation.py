"""Capital over strategies: transfers by hand, books that balance, own limits, and schedules of the calendar."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import DAY, bar, walk

import qfkit as qf
from qfkit.core.allocation import Allocation, AllocationContext, growth
from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Event, Pause, Resume, Stop
from qfkit.core.orders import Transfer
from qfkit.core.risk import RiskLimits
from qfkit.core.schedule import Schedule
from qfkit.core.strategy import Param, Strategy
from qfkit.errors import ParameterError

# -- schedules ------------------------------------------------------------------------------------


def ns(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("every", "now", "then"),
    [
        ("1d", (2024, 2, 28, 15), (2024, 2, 29)),
        ("1d", (2024, 2, 29), (2024, 3, 1)),
        ("4h", (2024, 1, 1, 3, 59), (2024, 1, 1, 4)),
        ("1w", (2024, 1, 3, 12), (2024, 1, 8)),
        ("1w", (2024, 1, 8), (2024, 1, 15)),
        ("1M", (2024, 1, 31, 23), (2024, 2, 1)),
        ("1M", (2024, 12, 31), (2025, 1, 1)),
        ("3M", (2024, 2, 1), (2024, 4, 1)),
        ("12M", (2024, 1, 1), (2025, 1, 1)),
    ],
)
def test_schedules_of_the_calendar(every, now, then):
    assert Schedule(every).after(ns(*now)) == ns(*then)


@pytest.mark.parametrize("every", ["", "M", "0d", "1y", "1 d", "-1d", 7, None])
def test_what_is_no_schedule_is_refused(every):
    with pytest.raises(ParameterError, match="is no schedule"):
        Schedule(every)


@given(st.sampled_from(("1d", "1w", "2w", "1M", "3M", "4h")), st.integers(0, 4_000_000_000))
def test_the_next_boundary_is_later_and_the_one_after_no_sooner(every, seconds):
    schedule = Schedule(every)
    after = schedule.after(seconds * 1_000_000_000)
    assert after > seconds * 1_000_000_000
    assert schedule.after(after - 1) == after


# -- transfers by hand ----------------------------------------------------------------------------


class Holds(Strategy):
    """Buys a quantity at the first bar and holds it; remembers what it was told of transfers."""

    symbol = Param("A")
    quantity = Param(0.0)

    def on_start(self) -> None:
        self.told: list[tuple[float, float]] = []
        self.has_ordered = False

    def on_bar(self, bar: Bar) -> None:
        if self.quantity and not self.has_ordered and bar.symbol == self.symbol:
            self.has_ordered = True
            self.order_target(self.symbol, quantity=self.quantity)

    def on_transfer(self, amount: float, owed: float) -> None:
        self.told.append((round(amount, 6), round(owed, 6)))


def closes(*prices: float, symbol: str = "A", step_ns: int = DAY // 4) -> list[Bar]:
    """Bars of six hours from 2023-11-15 on, each at one price."""
    first = bar(0, 1, 1, 1, 1).open_ns
    return [
        Bar(symbol, "6h", price, price, price, price, 1e9, first + index * step_ns, first + (index + 1) * step_ns)
        for index, price in enumerate(prices)
    ]


def run(
    strategies: dict[str, Strategy], events: list[Event], allocation: Allocation | None, **settings: object
) -> Engine:
    settings = {"cash": 1000.0, "costs": Costs.ideal()} | settings
    engine = Engine(strategies, allocation=allocation, **settings)  # type: ignore[arg-type]
    engine.process_all(events)
    engine.process(Stop(engine.clock_ns))
    assert not engine.exceptions, engine.exceptions
    return engine


def test_equal_shares_every_day_by_hand():
    """Two books of 500; one holds 40 A from the second bar on, at 10. A rises to 15 and then stays.

    First day's end (bar 4): 500 + 40 * 5 = 700 against 500, so 100 are to move, and 100 is what is free.
    """
    strategies = {"holds": Holds(quantity=40.0), "cash": Holds()}
    events = closes(10, 10, 12, 15, 15, 15, 15, 15, 15)
    engine = run(strategies, events, Allocation("equal", every="1d"))
    midnight = events[3].close_ns
    assert engine.records.transfers == [Transfer(midnight, "holds", "cash", 100.0)]
    assert strategies["holds"].told == [(-100.0, 0.0)]
    assert strategies["cash"].told == [(100.0, 0.0)]
    holds, cash = (engine.desks[name].book for name in strategies)
    assert (holds.cash, holds.equity, holds.transferred, holds.pnl) == (0.0, 600.0, -100.0, 200.0)
    assert (cash.cash, cash.equity, cash.transferred, cash.pnl) == (600.0, 600.0, 100.0, 0.0)
    # The point at midnight is before the transfer, the next after it.
    by_time = {row[0]: row[1:] for row in engine.records.equity}
    assert by_time[midnight] == (1200.0, 700.0, 500.0)
    assert by_time[events[4].close_ns] == (1200.0, 600.0, 600.0)
    views = {view.name: view.pnl for view in engine.snapshot().strategies}
    assert views == {"holds": 200.0, "cash": 0.0}


def test_what_is_not_free_stays_owed_until_it_is():
    """All of one book is in A, which doubles: 250 are owed and none is free. When the strategy sells, they move."""

    class SellsLater(Holds):
        def on_bar(self, bar: Bar) -> None:
            super().on_bar(bar)
            if (
                self.told
                and self.position("A").quantity == 50.0
                and bar.close_ns > self.told[0][0]
                and self.orders == []
            ):
                self.sells = getattr(self, "sells", 0) + 1
                if self.sells == 2:
                    self.order_target("A", quantity=30)

    strategies = {"all in": SellsLater(quantity=50.0), "cash": Holds()}
    engine = run(strategies, closes(10, 10, 20, 20, 20, 20, 20, 20, 20), Allocation("equal", every="1w"))
    assert engine.records.transfers == []
    monday = closes(*[10, 10, *[20] * 24])
    engine = run({"all in": SellsLater(quantity=50.0), "cash": Holds()}, monday, Allocation("equal", every="1w"))
    (transfer,) = engine.records.transfers
    told = engine.desks["all in"].strategy.told  # type: ignore[attr-defined]
    assert told == [(0.0, 250.0), (-250.0, 0.0)]
    assert transfer.amount == pytest.approx(250.0)
    # Told on Monday at 00:00; two bars later it sells 20 at the next open (400 free), and at that bar's end 250 move.
    assert datetime.fromtimestamp(transfer.time_ns // 10**9, UTC) == datetime(2023, 11, 20, 18, tzinfo=UTC)
    assert engine.desks["all in"].book.equity == engine.desks["cash"].book.equity == pytest.approx(750.0)


def test_fixed_shares_a_band_and_a_rule_of_ones_own():
    def rule(context: AllocationContext) -> dict[str, float]:
        assert context.shares == {name: value / sum(context.equity.values()) for name, value in context.equity.items()}
        return {"b": 3.0, "a": 1.0}

    events = closes(10, 10, *[15] * 12)
    own = run({"a": Holds(), "b": Holds()}, events, Allocation(rule, every="1d"))
    assert [(one.source, one.target, one.amount) for one in own.records.transfers] == [("a", "b", 250.0)]
    strategies = {"a": Holds(quantity=20.0), "b": Holds()}
    fixed = run(strategies, events, Allocation("fixed", every="1d"), shares={"a": 0.8, "b": 0.2})
    # 900 and 200 become 880 and 220.
    assert [(one.source, one.amount) for one in fixed.records.transfers] == [("a", pytest.approx(20.0))]
    near = run({"a": Holds(quantity=20.0), "b": Holds()}, events, Allocation("equal", every="1d", band=0.1))
    # 600 of 1,100 are 54.5 %: within 10 points of a half.
    assert near.records.transfers == []


def test_inverse_volatility_by_hand():
    """Returns of a: +10 %, -10 % in turn; of b half of it (its book is half in A): shares 1 to 2, less what compounds."""
    prices = [10.0, 10.0]
    while len(prices) < 29:
        prices.append(11.0 if prices[-1] == 10.0 else 10.0)
    strategies = {"a": Holds(quantity=48.0), "b": Holds(quantity=24.0)}
    engine = run(strategies, closes(*prices), Allocation("inverse_volatility", every="1w", lookback=8))
    transfer = engine.records.transfers[0]
    points = [row for row in engine.records.equity if row[0] <= transfer.time_ns][-9:]
    deviations = []
    for column in (2, 3):
        returns = [after[column] / before[column] - 1 for before, after in zip(points, points[1:], strict=False)]
        mean = sum(returns) / 8
        deviations.append((sum((one - mean) ** 2 for one in returns) / 7) ** 0.5)
    share_of_b = (1 / deviations[1]) / (1 / deviations[0] + 1 / deviations[1])
    _, whole, _, b = points[-1]
    # a has 20 in cash and can give no more: the rest stays owed.
    assert 0.6 < share_of_b < 0.7
    told = strategies["a"].told[0]
    assert -told[0] + told[1] == pytest.approx(share_of_b * whole - b, abs=1e-5)
    assert transfer.amount == pytest.approx(20.0)


def test_growth_leaves_transfers_out():
    """By hand: 100 becomes 110, 40 come in, 150 becomes 165, 15 go, 150 stays: +10 %, +10 %, 0."""
    transfers = [Transfer(2, "x", "one", 40.0), Transfer(3, "one", "x", 15.0), Transfer(2, "x", "other", 9.0)]
    points = [(1, 100.0), (2, 110.0), (3, 165.0), (4, 150.0)]
    assert growth(points, 100.0, transfers, "one") == pytest.approx([1.0, 1.1, 1.21, 1.21])


def test_one_that_ended_takes_no_part_and_bad_settings_are_refused():
    events: list[Event] = list(closes(10, 10, *[15] * 12))
    events.insert(3, Stop(events[2].received_ns, "c"))
    engine = run({"a": Holds(quantity=20.0), "b": Holds(), "c": Holds()}, events, Allocation("equal", every="1d"))
    assert {one.target for one in engine.records.transfers} == {"b"}
    assert engine.desks["c"].book.transferred == 0.0
    assert engine.desks["a"].book.equity == pytest.approx(engine.desks["b"].book.equity)
    for wrong in ({"rule": "eqaul"}, {"every": "soon"}, {"lookback": 1}, {"band": 1.0}):
        with pytest.raises(ParameterError):
            Allocation(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="two or more"):
        Engine({"a": Holds()}, cash=1.0, allocation=Allocation())
    for rule in (lambda context: {"z": 1.0}, lambda context: {"a": -1.0}, lambda context: {}):
        with pytest.raises(ParameterError):
            run({"a": Holds(), "b": Holds()}, list(closes(*[10] * 8)), Allocation(rule, every="1d"))


# -- for any market -------------------------------------------------------------------------------


class Swings(Strategy):
    """Goes in and out with drawn weights."""

    targets: tuple[float, ...] = ()
    number = 0

    def on_bar(self, bar: Bar) -> None:
        self.number += 1
        self.order_target(bar.symbol, weight=self.targets[self.number % len(self.targets)])

    def on_transfer(self, amount: float, owed: float) -> None:
        book = self.portfolio
        # Nobody gives what its positions need, and nobody is told of owing what it just got.
        assert amount >= 0.0 or (book.gross_exposure <= book.equity * (1 + 1e-9) + 1e-6 and book.cash >= -1e-6)
        assert owed >= 0.0 and (amount <= 0.0 or owed == 0.0)


any_rule = st.sampled_from(
    ("equal", "fixed", "inverse_volatility", lambda context: dict.fromkeys(list(context.equity)[:2], 1.0))
)
any_targets = st.lists(st.sampled_from((-0.5, 0.0, 0.3, 1.0)), min_size=1, max_size=4).map(tuple)


@given(st.integers(0, 999), any_rule, st.tuples(any_targets, any_targets, any_targets), st.sampled_from((0.0, 0.002)))
@settings(max_examples=80, deadline=None)
def test_transfers_are_no_profit_and_the_account_knows_nothing_of_them(seed, rule, targets, commission):
    events: list[Event] = list(walk(60, seed=seed))
    events.insert(20, Pause(events[19].received_ns, "s1"))
    events.insert(40, Resume(events[39].received_ns, "s1"))
    strategies = {}
    for index, own in enumerate(targets):
        strategies[f"s{index}"] = Swings()
        strategies[f"s{index}"].targets = own
    allocation = Allocation(rule, every="5m", lookback=4)
    costs = Costs(commission=commission, slippage_bps=0, latency_s=0, participation=None)
    engine = Engine(strategies, cash=30_000.0, costs=costs, allocation=allocation)
    for event in events:
        engine.process(event)
        assert not engine.exceptions, engine.exceptions
        books = [desk.book for desk in engine.desks.values()]
        for book in books:
            value = book.cash + sum(held.market_value for held in book.positions.values())
            expected = book.starting_cash + book.transferred + book.realised + book.unrealised - book.fees
            assert value == pytest.approx(expected, abs=1e-6)
            assert book.pnl == pytest.approx(book.realised + book.unrealised - book.fees, abs=1e-6)
        assert sum(book.transferred for book in books) == pytest.approx(0.0, abs=1e-9)
        account = sum(book.realised + book.unrealised - book.fees for book in books)
        assert engine.snapshot().equity == pytest.approx(30_000.0 + account, abs=1e-6)
    for transfer in engine.records.transfers:
        assert transfer.source != transfer.target


# -- own limits -----------------------------------------------------------------------------------


def test_each_strategy_meets_its_own_limits():
    class Wants(Strategy):
        def on_bar(self, bar: Bar) -> None:
            self.order_target(bar.symbol, weight=0.9)

    limits = {"careful": RiskLimits(max_position_weight=0.2), "bold": RiskLimits(max_position_weight=0.6)}
    events = closes(10, 10, 10, 10)
    engine = run({"careful": Wants(), "bold": Wants(), "free": Wants()}, events, None, risk=limits, cash=3000.0)
    held = {name: desk.position("A").quantity for name, desk in engine.desks.items()}
    assert held == {"careful": pytest.approx(20), "bold": pytest.approx(60), "free": pytest.approx(90)}
    with pytest.raises(ParameterError, match="Did you mean 'careful'"):
        run({"careful": Wants()}, events, None, risk={"carefull": RiskLimits()})
    result = qf.backtest({"careful": Wants(), "bold": Wants()}, events, risk=limits, costs=Costs.ideal())
    assert any("careful" in line for line in result.assumptions)
    # Of one strategy alone its own limits are those of the run, by the fast way too.
    ours = qf.backtest(
        Wants(), events, risk={"Wants": RiskLimits(max_position_weight=0.5)}, costs=Costs.ideal(), cash=1e3
    )
    assert ours.fills.quantity.sum() == pytest.approx(50.0)
