"""The ready-made strategies against whole-number references and examples worked by hand."""

from random import Random

import pytest
from support import MINUTE, START, walk

from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Bar
from qfkit.core.indicators import SMA
from qfkit.core.strategy import Param, Strategy
from qfkit.errors import ParameterError
from qfkit.strategies import (
    BollingerReversion,
    MomentumRebalance,
    MovingAverageCrossover,
    RealTimeMovingAverageCrossover,
)


def run(strategy: Strategy, bars: list[Bar], *, cash: float = 1e9, symbols: tuple[str, ...] = ()) -> Engine:
    engine = Engine({"one": strategy}, cash=cash, costs=Costs.ideal(), symbols=symbols)
    engine.process_all(bars)
    assert not engine.exceptions, engine.exceptions
    return engine


def fills_of(engine: Engine) -> list[tuple[int, str, float, float]]:
    return [(fill.time_ns, str(fill.side), fill.price, fill.quantity) for fill in engine.records.fills]


def flat_bars(closes: list[float], opens: list[float] | None = None, symbol: str = "A") -> list[Bar]:
    """Bars that open at the last close, or at ``opens``."""
    opens = [closes[0], *closes[:-1]] if opens is None else opens
    return [
        Bar(symbol, "1m", o, max(o, c), min(o, c), c, 1e9, START + i * MINUTE, START + (i + 1) * MINUTE)
        for i, (o, c) in enumerate(zip(opens, closes, strict=True))
    ]


# -- crossings -----------------------------------------------------------------------------------


class LongOrFlat(Strategy):
    """100 shares while the fast average is above the slow one."""

    fast = Param(10, low=1, high=200)
    slow = Param(30, low=2, high=400)

    def setup(self) -> None:
        self.fast_average = self.indicator(SMA, self.fast)
        self.slow_average = self.indicator(SMA, self.slow)

    def on_bar(self, bar: Bar) -> None:
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.order_target(bar.symbol, quantity=100)
        elif fast.crossed_below(slow):
            self.close(bar.symbol)


def whole_prices(count: int, seed: int) -> list[tuple[int, int]]:
    """Open and close of each bar in whole units: steps of at most 1, so that averages are often equal."""
    chance = Random(seed)
    close, rows = 50, []
    for _ in range(count):
        opened = close + chance.choice((-1, 0, 0, 0, 1))
        close = min(max(opened + chance.choice((-1, -1, 0, 0, 0, 1, 1)), 20), 80)
        rows.append((opened, close))
    return rows


def whole_number_fills(
    rows: list[tuple[int, int]], fast: int, slow: int
) -> tuple[list[tuple[int, str, float, float]], int]:
    """The fills by sums of whole numbers, without a rounding; and on how many bars the averages were equal."""
    expected: list[tuple[int, str, float, float]] = []
    sum_fast = sum_slow = sign = ties = 0
    held = False
    for index, (_, close) in enumerate(rows):
        sum_fast += close
        sum_slow += close
        if index >= fast:
            sum_fast -= rows[index - fast][1]
        if index >= slow:
            sum_slow -= rows[index - slow][1]
        if index < slow - 1:
            continue
        # sum_fast / fast against sum_slow / slow
        left, right = sum_fast * slow, sum_slow * fast
        if left == right:
            ties += 1
            continue
        now = 1 if left > right else -1
        if sign and now != sign and index + 1 < len(rows) and held == (now < 0):
            held = now > 0
            side = "buy" if held else "sell"
            expected.append((START + (index + 1) * MINUTE, side, float(rows[index + 1][0]), 100.0))
        sign = now
    return expected, ties


@pytest.mark.parametrize(("fast", "slow", "seed"), [(10, 30, 1), (3, 7, 2), (1, 2, 3)])
def test_a_hundred_thousand_bars_with_ties_fill_as_whole_numbers_say(fast, slow, seed):
    rows = whole_prices(100_000, seed)
    bars = flat_bars([float(close) for _, close in rows], [float(opened) for opened, _ in rows])
    expected, ties = whole_number_fills(rows, fast, slow)
    assert ties > 500
    assert len(expected) > 2_000
    assert fills_of(run(LongOrFlat(fast=fast, slow=slow), bars)) == expected


def test_prices_in_fractions_cross_as_their_whole_numbers_do():
    """61,837.63 and the like have no exact binary form: the averages' rounding must make no trade."""
    rows = whole_prices(20_000, 4)
    far = [(opened + 6_183_700, close + 6_183_700) for opened, close in rows]
    bars = flat_bars([close / 100 for _, close in far], [opened / 100 for opened, _ in far])
    expected, ties = whole_number_fills(far, 5, 20)
    assert ties > 200
    got = fills_of(run(LongOrFlat(fast=5, slow=20), bars))
    assert got == [(time_ns, side, price / 100, quantity) for time_ns, side, price, quantity in expected]


def test_the_crossover_holds_its_weight_between_the_crossings():
    # Averages over 2 and 5 of 20 20 20 20 20 15 10 20 30 30 20 5 5 5: below from bar 5 (17.5 to 19), above at
    # bar 8 (25 to 19; bar 7 is 15 to 17), below at bar 11 (12.5 to 21).
    closes = [20.0, 20.0, 20.0, 20.0, 20.0, 15.0, 10.0, 20.0, 30.0, 30.0, 20.0, 5.0, 5.0, 5.0]
    bars = flat_bars(closes)
    engine = run(MovingAverageCrossover(fast=2, slow=5, weight=0.5), bars, cash=600.0)
    # Half of 600 at 30 is 10 shares, sold at the open of bar 12, which is bar 11's close.
    assert fills_of(engine) == [(bars[9].open_ns, "buy", 30.0, 10.0), (bars[12].open_ns, "sell", 5.0, 10.0)]
    assert [signal.reason for signal in engine.records.signals] == [
        "fast average crossed above slow",
        "fast average crossed below slow",
    ]
    assert engine.snapshot().equity == pytest.approx(600.0 - 10 * 25.0)


def test_averages_that_begin_equal_or_above_make_no_crossing():
    rising = flat_bars([float(10 + i) for i in range(60)])
    assert fills_of(run(MovingAverageCrossover(fast=2, slow=5), rising)) == []
    level = flat_bars([10.0] * 30 + [11.0] * 30)
    assert fills_of(run(MovingAverageCrossover(fast=2, slow=5), level)) == []


def test_the_crossover_needs_a_fast_and_a_slow_average():
    with pytest.raises(ParameterError, match="fast=30 must be below slow=30"):
        run(MovingAverageCrossover(fast=30, slow=30), walk(2))
    assert RealTimeMovingAverageCrossover is MovingAverageCrossover


# -- Bollinger -----------------------------------------------------------------------------------


def test_bollinger_buys_below_the_band_and_sells_at_the_middle():
    # Five closes 10 10 10 10 5: mean 9, deviation 2 (squares 1 1 1 1 16 over 5), lower band at width 1.5
    # is 6: 5 is below. Then 10 10 10 5 8: mean 8.6, 8 is below it; 10 10 5 8 8.2: mean 8.24, just below;
    # 10 5 8 8.2 7.8: mean 7.8, at the middle.
    closes = [10.0, 10.0, 10.0, 10.0, 5.0, 8.0, 8.2, 7.8, 7.8, 7.8]
    opens = [10.0, 10.0, 10.0, 10.0, 10.0, 6.0, 8.0, 8.2, 7.5, 7.8]
    bars = flat_bars(closes, opens)
    engine = run(BollingerReversion(period=5, width=1.5, weight=0.5), bars, cash=1_000.0)
    # Half of 1,000 at the close of 5 is 100 shares; they cost 6 at the next open.
    assert fills_of(engine) == [(bars[5].open_ns, "buy", 6.0, 100.0), (bars[8].open_ns, "sell", 7.5, 100.0)]
    assert engine.records.trades[0].pnl == pytest.approx(150.0)


def test_bollinger_waits_while_the_price_is_within_the_band():
    # At width 2 the lower band of 10 10 10 10 5 is 5: a close on the band is not below it.
    engine = run(BollingerReversion(period=5, width=2.0), flat_bars([10.0, 10.0, 10.0, 10.0, 5.0, 6.0, 7.0]))
    assert engine.records.signals == []


def whole_number_bollinger(rows: list[tuple[int, int]], period: int, width: int) -> list[tuple[int, str, float]]:
    """Time, side and price of the fills, by whole numbers: the band squared, times the period squared."""
    closes, expected, held = [close for _, close in rows], [], False
    for index in range(period - 1, len(rows) - 1):
        window = closes[index - period + 1 : index + 1]
        total, squares = sum(window), sum(close * close for close in window)
        below = total - period * closes[index]
        beyond = below > 0 and below * below > width * width * (period * squares - total * total)
        act = below <= 0 if held else beyond
        if act:
            held = not held
            expected.append((START + (index + 1) * MINUTE, "buy" if held else "sell", float(rows[index + 1][0])))
    return expected


def test_bollinger_fills_as_whole_numbers_say():
    rows = whole_prices(20_000, 5)
    bars = flat_bars([float(close) for _, close in rows], [float(opened) for opened, _ in rows])
    engine = run(BollingerReversion(period=20, width=2.0), bars)
    expected = whole_number_bollinger(rows, 20, 2)
    assert len(expected) > 300
    assert [(time_ns, side, price) for time_ns, side, price, _ in fills_of(engine)] == expected


# -- momentum ------------------------------------------------------------------------------------


def interleaved(closes: dict[str, list[float]], missing: tuple[tuple[str, int], ...] = ()) -> list[Bar]:
    """Bars of several symbols minute by minute; ``missing`` leaves some out."""
    made = {symbol: flat_bars(values, symbol=symbol) for symbol, values in closes.items()}
    count = len(next(iter(closes.values())))
    return [made[symbol][i] for i in range(count) for symbol in closes if (symbol, i) not in missing]


def held(engine: Engine) -> dict[str, float]:
    return {symbol: position.quantity for symbol, position in engine.desks["one"].book.open.items()}


def test_momentum_holds_the_strongest_in_equal_parts():
    # Over 2 bars: A 10 10 20 doubles, B 10 10 15 rises by half, C falls. Of 1,000, 0.8 in two parts: 400 each,
    # 20 of A and 26.67 of B, at the opens of bar 3, which are the closes of bar 2.
    closes = {"A": [10.0, 10.0, 20.0, 20.0], "B": [10.0, 10.0, 15.0, 15.0], "C": [10.0, 10.0, 9.0, 9.0]}
    bars = interleaved(closes)
    strategy = MomentumRebalance(lookback=2, every=2, hold=2, weight=0.8)
    engine = run(strategy, bars, cash=1_000.0, symbols=("A", "B", "C"))
    got = {(fill.symbol, str(fill.side), fill.price): fill.quantity for fill in engine.records.fills}
    assert got == {("A", "buy", 20.0): pytest.approx(20.0), ("B", "buy", 15.0): pytest.approx(400 / 15)}


def test_momentum_changes_over_only_every_few_bars():
    # Bars 2 and 3 decide as rounds 0 and 1: only 0 and 3 (bar 5) count with every=3. At bar 5 A has fallen over
    # two bars (20 to 10) and C has risen (9 to 18): A goes, C comes.
    closes = {
        "A": [10.0, 10.0, 20.0, 20.0, 10.0, 10.0, 10.0, 10.0],
        "C": [10.0, 10.0, 9.0, 9.0, 18.0, 18.0, 18.0, 18.0],
    }
    bars = interleaved(closes)
    engine = run(MomentumRebalance(lookback=2, every=3, hold=1, weight=1.0), bars, cash=1_000.0, symbols=("A", "C"))
    # 1,000 buy 50 of A at 20, worth 500 at 10, which buy 27.8 of C at 18 once A is sold: a bar later.
    got = [(fill.symbol, str(fill.side), fill.price, fill.quantity, fill.time_ns) for fill in engine.records.fills]
    assert got == [
        ("A", "buy", 20.0, pytest.approx(50.0), START + 3 * MINUTE),
        ("A", "sell", 10.0, pytest.approx(50.0), START + 6 * MINUTE),
        ("C", "buy", 18.0, pytest.approx(500 / 18), START + 7 * MINUTE),
    ]


def test_momentum_keeps_cash_where_nothing_rose():
    closes = {"A": [10.0, 10.0, 9.0, 9.0], "B": [10.0, 10.0, 10.0, 10.0]}
    engine = run(MomentumRebalance(lookback=2, every=1, hold=2), interleaved(closes), symbols=("A", "B"))
    assert engine.records.signals == []
    # One that rose gets its part, and the rest is cash: hold=2, so half of the weight.
    closes["A"] = [10.0, 10.0, 20.0, 20.0]
    engine = run(
        MomentumRebalance(lookback=2, every=5, hold=2, weight=1.0),
        interleaved(closes),
        cash=1_000.0,
        symbols=("A", "B"),
    )
    assert held(engine) == {"A": pytest.approx(25.0)}


def test_momentum_does_not_wait_for_a_symbol_without_a_bar():
    # B has no bar at minute 2: the round of minute 2 is decided at the first bar of minute 3, and A is bought then.
    closes = {"A": [10.0, 10.0, 20.0, 20.0, 20.0], "B": [10.0, 10.0, 15.0, 15.0, 15.0]}
    bars = interleaved(closes, missing=(("B", 2),))
    engine = run(MomentumRebalance(lookback=2, every=9, hold=1, weight=1.0), bars, cash=1_000.0, symbols=("A", "B"))
    assert [(fill.symbol, fill.time_ns) for fill in engine.records.fills] == [("A", START + 4 * MINUTE)]
