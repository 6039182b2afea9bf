"""The engine against exact references, and what its users would notice."""

from typing import ClassVar

import pytest
from support import DAY, MINUTE, SECOND, START, Script, TickScript, bar, bars, fills, quote, run, tick, walk

from qfkit.core.allocation import Allocation
from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import (
    Bar,
    Depth,
    Event,
    Flatten,
    Heartbeat,
    Pause,
    Resume,
    SetParameters,
    Stop,
    SwapStrategy,
    Tick,
)
from qfkit.core.indicators import SMA, RateOfChange
from qfkit.core.lanes import KEPT_BARS
from qfkit.core.strategy import Param, Strategy
from qfkit.errors import OrderError, ParameterError, StrategyError, TimeframeError
from qfkit.strategies import MomentumRebalance, MovingAverageCrossover


class Crossing(Strategy):
    """100 shares while the fast average is above the slow one."""

    fast = Param(10, low=2, high=200)
    slow = Param(30, low=3, high=400)

    def setup(self) -> None:
        self.fast_average = self.indicator(SMA, self.fast)
        self.slow_average = self.indicator(SMA, self.slow)

    def on_bar(self, bar: Bar) -> None:
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.order_target(bar.symbol, quantity=100, reason="up")
        elif fast.crossed_below(slow):
            self.close(bar.symbol, reason="down")


def whole_number_reference(data: list[Bar], fast: int, slow: int) -> list[tuple[str, float, int]]:
    """Fills of the crossing by sums of whole cents: no rounding anywhere."""
    cents = [round(one.close * 100) for one in data]
    sign, held, expected = 0, False, []
    for index in range(slow - 1, len(data) - 1):
        difference = sum(cents[index - fast + 1 : index + 1]) * slow - sum(cents[index - slow + 1 : index + 1]) * fast
        now = (difference > 0) - (difference < 0)
        if now and now != sign:
            if now > 0 and sign < 0:
                expected.append(("buy", data[index + 1].open, data[index + 1].open_ns))
                held = True
            elif now < 0 and sign > 0 and held:
                expected.append(("sell", data[index + 1].open, data[index + 1].open_ns))
                held = False
            sign = now
    return expected


@pytest.mark.parametrize(
    ("ties", "fast", "slow", "count"), [(True, 3, 5, 100_000), (True, 10, 30, 20_000), (False, 10, 30, 20_000)]
)
def test_every_fill_equals_the_whole_number_reference(ties, fast, slow, count):
    data = walk(count, seed=count + fast, ties=ties)
    engine = Engine({"crossing": Crossing(fast=fast, slow=slow)}, cash=1e6, costs=Costs.ideal())
    engine.process_all(data)
    got = [(str(fill.side), fill.price, fill.time_ns) for fill in engine.records.fills]
    expected = whole_number_reference(data, fast, slow)
    assert len(expected) > 200
    assert got == expected


def test_changing_the_future_never_changes_a_past_decision():
    data, other = walk(600, seed=3), walk(600, seed=4)
    for cut in range(40, 600, 37):
        spliced = [
            *data[:cut],
            *(Bar("A", "1m", o.open, o.high, o.low, o.close, o.volume, d.open_ns, d.close_ns)
              for o, d in zip(other[cut:], data[cut:], strict=True)),
        ]  # fmt: skip
        decisions = []
        for events in (data, spliced):
            engine = Engine({"crossing": Crossing(fast=3, slow=9)}, cash=1e6, costs=Costs())
            engine.process_all(events)
            edge = data[cut - 1].close_ns
            decisions.append([signal for signal in engine.records.signals if signal.time_ns <= edge])
        assert decisions[0] == decisions[1]
        assert len(decisions[0]) >= 1


def test_bars_from_ticks_equal_those_made_by_hand():
    ticks = [tick(0, 10, 1), tick(20, 12, 2), tick(59.999, 9, 1), tick(60, 11, 5), tick(150, 8, 1), tick(180, 8, 1)]
    engine = run(ticks, {}, finish=False)
    got = [(b.open, b.high, b.low, b.close, b.volume, b.open_ns) for b in engine.records.bars]
    assert got == [(10, 12, 9, 9, 4, START), (11, 11, 11, 11, 5, START + MINUTE), (8, 8, 8, 8, 1, START + 2 * MINUTE)]


def test_heartbeat_closes_a_quiet_bar_and_a_late_tick_is_counted_not_used():
    events: list[Event] = [tick(0, 10), Heartbeat(START + 61 * SECOND, START + 61 * SECOND), tick(30, 99), tick(62, 11)]
    engine = run(events, {}, finish=False)
    assert [(b.close, b.close_ns) for b in engine.records.bars] == [(10, START + MINUTE)]
    assert engine.late_events == 1
    assert engine.snapshot().symbols[0].price == 11


def test_bars_are_cut_by_exchange_time_and_the_clock_is_the_receive_time():
    events = [tick(59, 10, delay_s=-1.3), tick(60.5, 11, delay_s=-1.3)]
    engine = run(events, {}, finish=False)
    assert engine.clock_ns == START + round(59.2 * SECOND)
    assert [b.close for b in engine.records.bars] == [10]


class TwoFrames(Strategy):
    """Records what it sees of a higher timeframe."""

    seen: ClassVar[list[tuple[str, int, float]]] = []

    def setup(self) -> None:
        self.slow = self.indicator(SMA, 2, timeframe="5m")
        self.follow("5m")

    def on_bar(self, bar: Bar) -> None:
        self.seen.append((bar.timeframe, bar.close_ns, self.slow[bar.symbol].value))


def test_a_higher_timeframe_is_seen_only_after_its_close():
    data = walk(60, seed=9)
    del data[22:27]  # a hole over the end of a five-minute bar
    TwoFrames.seen.clear()
    engine = Engine({"two": TwoFrames()}, cash=1e6)
    engine.process_all(data)
    assert not engine.exceptions
    closes: dict[int, float] = {}
    for one in data:
        closes[one.open_ns // (5 * MINUTE)] = one.close
    for timeframe, close_ns, value in TwoFrames.seen:
        over = sorted(number for number in closes if (number + 1) * 5 * MINUTE <= close_ns)
        if timeframe == "1m":
            assert value == pytest.approx((closes[over[-1]] + closes[over[-2]]) / 2)
    higher = [close_ns for timeframe, close_ns, _ in TwoFrames.seen if timeframe == "5m"]
    assert len(higher) == len(closes) - 1
    assert len(set(higher)) == len(higher)


def test_timeframes_that_do_not_fit_are_named():
    with pytest.raises(TimeframeError, match="30s cannot be built from bars of 1m"):
        Engine({"crossing": Crossing()}, cash=1.0, timeframe="30s").process(walk(1)[0])
    with pytest.raises(TimeframeError, match="among bars of 1m"):
        run([*walk(1), Bar("A", "5m", 1, 1, 1, 1, 1, START + DAY, START + 2 * DAY)], {})


def test_strategy_runs_on_bars_built_from_smaller_bars():
    data = walk(50, seed=2)
    engine = Engine({"script": Script()}, cash=1e6, timeframe="5m")
    engine.process_all(data)
    assert [(b.timeframe, b.open, b.close) for b in engine.records.bars] == [
        ("5m", data[i].open, data[i + 4].close) for i in range(0, 50, 5)
    ]


def test_parameters_change_at_the_next_bar_with_warm_indicators():
    data = walk(200, seed=5)
    plain = Engine({"crossing": Crossing(fast=4, slow=12)}, cash=1e6, costs=Costs.ideal())
    plain.process_all(data)
    changed = Engine({"crossing": Crossing(fast=20, slow=90)}, cash=1e6, costs=Costs.ideal())
    changed.process_all(data[:100])
    changed.process(SetParameters(data[99].close_ns, parameters={"fast": 4, "slow": 12}))
    assert changed.desks["crossing"].strategy.parameters == {"fast": 20, "slow": 90}
    changed.process_all(data[100:])
    assert changed.desks["crossing"].strategy.parameters == {"fast": 4, "slow": 12}
    late = [s.time_ns for s in plain.records.signals if s.time_ns > data[101].close_ns]
    assert [s.time_ns for s in changed.records.signals if s.time_ns > data[101].close_ns and s.action == "target"] == [
        s.time_ns for s in plain.records.signals if s.time_ns > data[101].close_ns and s.action == "target"
    ]
    assert len(late) > 5


def test_swapping_the_code_keeps_the_position():
    class Buyer(Strategy):
        def on_bar(self, bar: Bar) -> None:
            if not self.position(bar.symbol):
                self.order_target(bar.symbol, quantity=10)

    class Watcher(Strategy):
        def setup(self) -> None:
            self.average = self.indicator(SMA, 5)

        def on_bar(self, bar: Bar) -> None:
            self.seen = (self.position(bar.symbol).quantity, self.average[bar.symbol].value)

    data = walk(40, seed=6)
    engine = Engine({"one": Buyer()}, cash=1e6, resolve=lambda key: Watcher)
    engine.process_all(data[:20])
    engine.process(SwapStrategy(engine.clock_ns, to="Watcher", parameters={}))
    engine.process_all(data[20:22])
    strategy = engine.desks["one"].strategy
    assert isinstance(strategy, Watcher)
    assert strategy.seen == (10, pytest.approx(sum(one.close for one in data[17:22]) / 5))


def test_pause_resume_flatten():
    def often(number: int):
        return lambda s: s.order_target("A", quantity=10 + number)

    data = walk(12)
    actions = {number: often(number) for number in range(12)}
    strategy = Script()
    strategy.actions = actions
    engine = Engine({"script": strategy}, cash=1e6, costs=Costs.ideal())
    engine.process_all(data[:3])
    engine.process(Pause(engine.clock_ns))
    engine.process_all(data[3:5])
    assert [s.decision for s in engine.records.signals[-2:]] == ["rejected", "rejected"]
    assert engine.records.signals[-1].decision_reason == "the strategy is paused"
    engine.process(Resume(engine.clock_ns))
    engine.process_all(data[5:7])
    assert engine.records.signals[-1].decision == "sent"
    engine.process(Flatten(engine.clock_ns))
    engine.process_all(data[7:9])
    assert engine.desks["script"].book.open == {}
    assert engine.records.signals[-1].decision_reason == "account flatten (by hand)"


def test_a_strategy_that_raises_is_stopped_alone():
    class Broken(Strategy):
        def on_bar(self, bar: Bar) -> None:
            self.buy("A", quantity=1, limit_price=bar.close * 0.8)
            if bar.open_ns == START + 10 * MINUTE:
                self.buy("A", quantity=1 / 0)

    data = walk(120, seed=8)
    engine = Engine({"broken": Broken(), "crossing": Crossing(fast=3, slow=9)}, cash=2e6, costs=Costs.ideal())
    engine.process_all(data)
    alone = Engine({"crossing": Crossing(fast=3, slow=9)}, cash=1e6, costs=Costs.ideal())
    alone.process_all(data)
    (fault,) = engine.records.faults
    assert fault.error == "ZeroDivisionError: division by zero"
    assert fault.time_ns == START + 11 * MINUTE
    assert "open_ns=" in fault.event
    assert "self.buy" in fault.traceback
    assert [f.time_ns for f in engine.records.fills] == [f.time_ns for f in alone.records.fills]
    assert not engine.broker.open
    assert engine.snapshot().strategies[0].state == "failed"


@pytest.mark.parametrize("hook", ["on_start", "on_bar", "on_tick", "on_quote", "on_depth", "on_fill", "on_stop"])
def test_a_strategy_that_raises_in_any_hook_is_stopped_and_shown(hook):
    class Broken(Strategy):
        def on_bar(self, bar: Bar) -> None:
            self.order_target("A", quantity=1)

    def fail(self: Strategy, *arguments: object) -> None:
        raise KeyError(hook)

    setattr(Broken, hook, fail)
    engine = Engine({"broken": Broken()}, cash=1e6, costs=Costs.ideal())
    depth = Depth("A", ((9.0, 5.0),), ((11.0, 5.0),), START, START)
    events = [quote(0, 9, 11), depth, *(tick(40 * n, 10 + n % 2) for n in range(1, 9)), Stop(START + 999 * SECOND)]
    engine.process_all(events)
    assert [fault.error for fault in engine.records.faults] == [f"KeyError: {hook!r}"]


def test_a_strategy_that_raises_when_capital_moves_is_stopped_alone():
    class Broken(Strategy):
        def on_transfer(self, amount: float, owed: float) -> None:
            raise KeyError("on_transfer")

    strategies = {"broken": Broken(), "crossing": Crossing(fast=3, slow=9)}
    engine = Engine(strategies, cash=2e6, costs=Costs.ideal(), allocation=Allocation("equal", every="1h"))
    engine.process_all(walk(600, seed=8))
    assert [(fault.strategy, fault.error) for fault in engine.records.faults] == [("broken", "KeyError: 'on_transfer'")]
    assert engine.desks["crossing"].state == "running"
    assert sum(desk.book.transferred for desk in engine.desks.values()) == pytest.approx(0.0)


def test_shares_of_capital_and_attribution():
    data = walk(300, seed=11)
    costs = Costs(participation=None)  # the volume of a bar is there once, for both together
    names = {"quick": Crossing(fast=2, slow=5), "slow": Crossing(fast=10, slow=30)}
    engine = Engine(names, cash=1e6, shares={"quick": 0.25, "slow": 0.75}, costs=costs)
    engine.process_all(data)
    assert {fill.strategy for fill in engine.records.fills} == {"quick", "slow"}
    for name, share in (("quick", 0.25), ("slow", 0.75)):
        alone = Engine({name: type(names[name])(**names[name].parameters)}, cash=1e6 * share, costs=costs)
        alone.process_all(data)
        assert engine.desks[name].book.equity == alone.desks[name].book.equity
    row = engine.records.equity[-1]
    assert row[1] == pytest.approx(row[2] + row[3])


def test_momentum_rebalance_holds_the_strongest():
    rows = {"UP": 1.01, "FLAT": 1.0, "DOWN": 0.99}
    events = []
    for index in range(30):
        for symbol, step in rows.items():
            price = 100 * step**index
            events.append(bar(index, price, price, price, price, symbol=symbol))
    engine = Engine(
        {"momentum": MomentumRebalance(lookback=5, every=5, hold=1, weight=0.8)},
        cash=1e5, costs=Costs.ideal(), symbols=tuple(rows), timeframe="1m",
    )  # fmt: skip
    engine.process_all(events)
    assert not engine.exceptions
    book = engine.desks["momentum"].book
    assert list(book.open) == ["UP"]
    assert book.gross_exposure / book.equity == pytest.approx(0.8, abs=0.05)


def test_rebalance_sells_before_it_buys_and_closes_what_is_not_named():
    def both(index: int, a: float, b: float) -> list[Bar]:
        return [bar(index, a, a, a, a, symbol="A"), bar(index, b, b, b, b, symbol="B")]

    events = [one for index in range(6) for one in both(index, 10, 20)]
    actions = {1: lambda s: s.rebalance({"A": 0.9}), 5: lambda s: s.rebalance({"B": 0.9})}
    engine = run(events, actions, cash=1000.0)
    assert fills(engine) == [("buy", 90, 10), ("sell", 90, 10), ("buy", 45, 20)]
    assert all(signal.decision == "sent" for signal in engine.records.signals)


def test_tick_indicators_and_tick_strategy():
    class OnTicks(Strategy):
        def setup(self) -> None:
            self.average = self.indicator(SMA, 3, timeframe="tick")

        def on_start(self) -> None:
            self.seen: list[float] = []

        def on_tick(self, tick: Tick) -> None:
            self.seen.append(self.average[tick.symbol].value)

    engine = Engine({"ticks": OnTicks()}, cash=1e6)
    engine.process_all([tick(n, price) for n, price in enumerate([1, 2, 3, 6, 9])])
    assert engine.desks["ticks"].strategy.seen == [2.0, pytest.approx(11 / 3), 6.0]  # type: ignore[attr-defined]


def test_strategy_sees_bars_position_and_portfolio():
    seen = []

    def look(strategy: Strategy) -> None:
        seen.append(
            ([one.close for one in strategy.bars("A", 3)], strategy.position("A").quantity, strategy.portfolio.equity,
             strategy.price("A"), strategy.symbols, strategy.time_ns, len(strategy.orders))
        )  # fmt: skip

    data = walk(6, seed=1)
    run(data, {0: lambda s: s.buy("A", quantity=2), 1: lambda s: s.buy("A", quantity=1, limit_price=70.0), 3: look})
    equity = 1e6 + 2 * (data[3].close - data[1].open)
    assert seen == [
        ([b.close for b in data[1:4]], 2, pytest.approx(equity), data[3].close, ("A",), data[3].close_ns, 1)
    ]


def test_kept_bars_are_bounded():
    engine = run(walk(KEPT_BARS + 50), {})
    assert len(engine.tracks["A"].base.kept) == KEPT_BARS


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Crossing(fats=3), ParameterError, "no parameter 'fats'. Did you mean 'fast'?"),
        (lambda: Crossing(fast=1000), ParameterError, "fast=1000 is out of bounds: it must be from 2 to 200"),
        (lambda: Crossing(fast=2.5), ParameterError, "fast=2.5: it must be of type int"),
        (lambda: Crossing(fast=True), ParameterError, "of type int"),
        (lambda: MovingAverageCrossover(weight=float("nan")), ParameterError, "must be a number"),
        (
            lambda: Engine({"x": MovingAverageCrossover(fast=30, slow=20)}, cash=1.0),
            ParameterError,
            "must be below slow=20",
        ),
        (lambda: Engine({}, cash=1.0), ParameterError, "no strategy given"),
        (lambda: Engine({"x": Crossing()}, cash=0.0), ParameterError, "cash=0.0"),
        (lambda: Engine({"x": Crossing()}, cash=1.0, shares={"y": 1.0}), ParameterError, "name the same"),
        (lambda: Crossing().position("A"), StrategyError, "Crossing is not running: give it to qf.backtest"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message.replace("?", r"\?").replace("(", r"\(")):
        make()


def test_unknown_symbol_of_an_indicator_is_named():
    class Wrong(Strategy):
        def setup(self) -> None:
            self.rise = self.indicator(RateOfChange, 2)

        def on_bar(self, bar: Bar) -> None:
            self.rise["AB"]

    engine = Engine({"wrong": Wrong()}, cash=1.0)
    engine.process_all(walk(10))
    assert engine.records.faults[0].error == "StrategyError: no indicator for the symbol 'AB'. Did you mean 'A'?"


def test_orders_rejected_before_the_first_price():
    with pytest.raises(OrderError, match="nothing was received for the symbol 'B'"):
        run(walk(3), {1: lambda s: s.buy("B", quantity=1)})


def test_tick_script_latency_is_counted_from_the_receive_time():
    costs = Costs(commission=0.0, slippage_bps=0.0, latency_s=2.0, participation=None)
    ticks = [tick(n, 100 + n, delay_s=5) for n in range(6)]
    assert fills(run(ticks, {0: lambda s: s.buy("A", quantity=1)}, costs=costs, kind=TickScript)) == [("buy", 1, 102)]


def test_equity_is_one_value_a_bar_close():
    rows = [(10, 10, 10, 10), (10, 12, 10, 12), (12, 12, 11, 11)]
    engine = run(bars(rows), {0: lambda s: s.buy("A", quantity=3)}, cash=100.0)
    assert engine.records.equity == [
        (START + MINUTE, 100.0), (START + 2 * MINUTE, 106.0), (START + 3 * MINUTE, 103.0),
    ]  # fmt: skip


def test_the_name_of_the_account_is_taken():
    with pytest.raises(ParameterError, match="choose another name"):
        Engine({"account": Script()}, cash=1.0)
