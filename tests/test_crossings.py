"""Crossings of lines with lines and levels, against the signs of whole-number differences."""

import random
from collections.abc import Callable, Iterable, Sequence
from math import inf, nan
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from qfkit.core.costs import Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Bar
from qfkit.core.indicators import EMA, MACD, SMA, Indicator, Line, Price, restore_indicators, save_indicators
from qfkit.core.lanes import Lane
from qfkit.core.strategy import Strategy
from qfkit.errors import ParameterError
from tests.support import MINUTE, walk

Answers = list[tuple[bool, bool]]


def reference(pairs: Iterable[Sequence[float]]) -> Answers:
    """Whether each pair crossed above and below, by the sign of the difference and the last one that was not 0."""
    last, answers = 0, []
    for first, second in pairs:
        sign = (first > second) - (first < second)
        answers.append((sign > 0 > last, sign < 0 < last))
        last = sign or last
    return answers


class Pair:
    """Two prices in one lane, as the engine has them in a strategy."""

    def __init__(self) -> None:
        self.first, self.second = Price(), Price()
        self.lane = Lane(self)
        self.lane.add(self.first, "close")
        self.lane.add(self.second, "open")

    def feed(self, first: float, second: float) -> None:
        self.lane.feed(SimpleNamespace(close=first, open=second))  # type: ignore[arg-type]

    def ask(self) -> tuple[bool, bool]:
        return self.first.crossed_above(self.second), self.first.crossed_below(self.second)


class LoosePair(Pair):
    """Two prices that nobody owns: fed by hand."""

    def __init__(self) -> None:
        self.first, self.second = Price(), Price()

    def feed(self, first: float, second: float) -> None:
        self.first.update(first)
        self.second.update(second)


both_ways = pytest.mark.parametrize("kind", [Pair, LoosePair])


def walks(count: int, seed: int) -> list[tuple[int, int]]:
    """Two random walks in small steps, equal on many bars."""
    chance = random.Random(seed)
    first = second = 1_000
    rows = []
    for _ in range(count):
        first += chance.choice((-1, 0, 0, 1)) - (first > 1_020) + (first < 980)
        second += chance.choice((-1, 0, 0, 1)) - (second > 1_020) + (second < 980)
        rows.append((first, second))
    return rows


@both_ways
def test_lines_of_whole_numbers_cross_as_their_signs_say(kind: type[Pair]) -> None:
    rows = walks(100_000, seed=1)
    pair, found = kind(), []
    for row in rows:
        pair.feed(*row)
        found.append(pair.ask())
    expected = reference(rows)
    assert sum(first == second for first, second in rows) > 2_000
    assert sum(above for above, _ in expected) > 500
    assert found == expected


@both_ways
def test_a_line_crosses_a_level_as_its_signs_say(kind: type[Pair]) -> None:
    rows = walks(100_000, seed=2)
    pair, found = kind(), []
    for row in rows:
        pair.feed(*row)
        found.append((pair.first.crossed_above(1_000), pair.first.crossed_below(1_000.0)))
    assert found == reference((first, 1_000) for first, _ in rows)


def test_averages_cross_as_exact_sums_say() -> None:
    # (sum of 3) / 3 against (sum of 7) / 7 is 7 * sum against 3 * sum, in whole numbers without rounding.
    chance = random.Random(3)
    prices = [1_000 + chance.randrange(4) for _ in range(100_000)]
    lane, fast, slow = Lane(None), SMA(3), SMA(7)
    lane.add(fast, "close")
    lane.add(slow, "close")
    found = []
    for price in prices:
        lane.feed(SimpleNamespace(close=float(price)))  # type: ignore[arg-type]
        found.append((fast.crossed_above(slow), fast.crossed_below(slow)))
    pairs = [(7 * sum(prices[at - 2 : at + 1]), 3 * sum(prices[at - 6 : at + 1])) for at in range(6, len(prices))]
    assert sum(first == second for first, second in pairs) > 1_000
    assert found == [(False, False)] * 6 + reference(pairs)


@both_ways
@pytest.mark.parametrize("bars_of_equality", [0, 1, 2, 50])
def test_equality_is_neither_a_crossing_nor_the_loss_of_one(kind: type[Pair], bars_of_equality: int) -> None:
    rows = [(9, 10), *[(10, 10)] * bars_of_equality, (11, 10), *[(10, 10)] * bars_of_equality, (12, 10), (9, 10)]
    pair, found = kind(), []
    for row in rows:
        pair.feed(*row)
        found.append(pair.ask())
    equal = [(False, False)] * bars_of_equality
    # The touch between 11 and 12 is no crossing: it never was below.
    assert found == [(False, False), *equal, (True, False), *equal, (False, False), (False, True)]


@both_ways
@pytest.mark.parametrize("size", [1e-9, 0.07, 1.0, 43_210.5, 1e12])
def test_differences_by_rounding_are_equality(kind: type[Pair], size: float) -> None:
    pair = kind()
    found = []
    for factor in (0.9, 1.0 + 1e-13, 1.0 - 1e-13, 1.0 + 9e-13, 1.0 + 1.1e-12, 1.0 - 9e-13, 1.0 - 1.1e-12):
        pair.feed(size * factor, size)
        found.append(pair.ask())
    assert [row for row, answer in enumerate(found) if answer == (True, False)] == [4]
    assert [row for row, answer in enumerate(found) if answer == (False, True)] == [6]
    assert sum(above + below for above, below in found) == 2


@both_ways
def test_negative_values_cross_too(kind: type[Pair]) -> None:
    pair, found = kind(), []
    rows = [(-5, -4), (-4, -4), (-3, -4), (0, 0), (-1, 0), (0, 0), (1, 0)]
    for row in rows:
        pair.feed(*row)
        found.append(pair.ask())
    assert found == reference(rows)


@both_ways
def test_nothing_crosses_before_both_lines_are_known(kind: type[Pair]) -> None:
    pair, found = kind(), []
    for row in ((1.0, nan), (1.0, nan), (1.0, 2.0), (3.0, 2.0), (1.0, nan), (1.0, 2.0)):
        pair.feed(*row)
        found.append(pair.ask())
    assert [above for above, _ in found] == [False, False, False, True, False, False]
    assert [below for _, below in found] == [False, False, False, False, False, True]


small = some.integers(-3, 3)


@given(some.lists(some.tuples(small, small), max_size=60))
def test_any_whole_numbers_cross_as_their_signs_say(rows: list[tuple[int, int]]) -> None:
    for kind in (Pair, LoosePair):
        pair, found, turned = kind(), [], []
        for row in rows:
            pair.feed(*row)
            found.append(pair.ask())
            turned.append((pair.second.crossed_below(pair.first), pair.second.crossed_above(pair.first)))
        assert found == reference(rows)
        assert turned == found


@given(some.lists(some.tuples(small, small, some.booleans()), min_size=1, max_size=60), some.integers(0, 20))
def test_in_a_strategy_it_does_not_matter_when_the_question_is_put(
    rows: list[tuple[int, int, bool]], start: int
) -> None:
    start = min(start, len(rows) - 1)
    pair = Pair()
    # The first question has the bar before to compare with.
    expected = [(False, False)] * max(start - 1, 0)
    expected += reference((first, second) for first, second, _ in rows[max(start - 1, 0) :])
    for place, (first, second, asked) in enumerate(rows):
        pair.feed(first, second)
        if place == start or (place > start and asked):
            assert pair.ask() == expected[place]
            assert pair.ask() == expected[place]  # asking again changes nothing


@given(some.lists(some.tuples(small, small), min_size=1, max_size=40), some.integers(0, 40), some.booleans())
def test_crossings_go_on_from_a_saved_state(rows: list[tuple[int, int]], cut: int, owned: bool) -> None:
    def kind() -> Pair:
        return Pair() if owned else LoosePair()

    pair, found = kind(), []
    for place, row in enumerate(rows):
        if place == cut:
            state = save_indicators([pair.first, pair.second])
            pair = kind()
            restore_indicators([pair.first, pair.second], state)
        pair.feed(*row)
        found.append((*pair.ask(), pair.first.crossed_above(1), pair.second.crossed_below(0)))
    with_level = reference((first, 1) for first, _ in rows)
    with_zero = reference((second, 0) for _, second in rows)
    expected = [
        (*answer, level[0], zero[1]) for answer, level, zero in zip(reference(rows), with_level, with_zero, strict=True)
    ]
    assert found == expected


@given(some.lists(some.tuples(small, small), max_size=40), some.booleans())
def test_lines_fed_by_hand_before_they_get_an_owner(rows: list[tuple[int, int]], in_one_lane: bool) -> None:
    # As in a notebook: indicators made, asked and fed by hand, then hung on lanes.
    pair, found = LoosePair(), []
    lanes = (Lane(1), Lane(1)) if not in_one_lane else (Lane(1),) * 2
    for place, row in enumerate(rows):
        if place == len(rows) // 2:
            lanes[0].add(pair.first, "close")
            lanes[1].add(pair.second, "open")
        if place < len(rows) // 2:
            pair.feed(*row)
        else:
            for lane in dict.fromkeys(lanes):
                lane.feed(SimpleNamespace(close=row[0], open=row[1]))  # type: ignore[arg-type]
        found.append(pair.ask())
    assert found == reference(rows)


# -- in a strategy ----------------------------------------------------------------------------


class Watcher(Strategy):
    """Writes down the lines and the answers on each bar."""

    lines: Callable[[Strategy], tuple[Any, Any]]
    pick: Callable[[Indicator], Line] = staticmethod(lambda indicator: indicator)

    def setup(self) -> None:
        self.first, self.second = type(self).lines(self)

    def on_start(self) -> None:
        self.rows: list[tuple[float, float]] = []
        self.found: Answers = []
        self.turned: Answers = []

    def on_bar(self, bar: Bar) -> None:
        first, second = self.first[bar.symbol], self.second
        second = second[bar.symbol] if isinstance(second, dict) else second
        self.rows.append((first.value, getattr(second, "value", second)))
        self.found.append((first.crossed_above(second), first.crossed_below(second)))
        if isinstance(second, Line):
            self.turned.append((second.crossed_below(first), second.crossed_above(first)))


def watched(lines: Callable[[Strategy], tuple[Any, Any]], count: int = 3_000) -> Watcher:
    kind = type("Kind", (Watcher,), {"lines": staticmethod(lines)})
    strategy: Watcher = kind()
    engine = Engine({"watcher": strategy}, cash=1e6, costs=Costs.ideal())
    # Some minutes have no trade and so no bar, also some that end a higher bar.
    engine.process_all(bar for bar in walk(count, seed=8, ties=True) if bar.open_ns // MINUTE % 7)
    if engine.exceptions:
        raise engine.exceptions["watcher"]
    return strategy


@pytest.mark.parametrize(
    "lines",
    [
        lambda self: (self.indicator(SMA, 5), self.indicator(SMA, 20)),
        lambda self: (self.indicator(EMA, 5), self.indicator(Price)),
        lambda self: (self.indicator(Price), self.indicator(SMA, 4, timeframe="5m")),
        lambda self: (self.indicator(SMA, 3, timeframe="5m"), self.indicator(SMA, 10)),
        lambda self: (self.indicator(EMA, 3, timeframe="5m"), self.indicator(EMA, 3, timeframe="15m")),
        lambda self: (self.indicator(Price), self.indicator(Price, source="high")),
        lambda self: (self.indicator(Price), 99.9),
    ],
    ids=["one timeframe", "price", "price and 5m", "5m and base", "5m and 15m", "source", "level"],
)
def test_crossings_in_the_engine_are_those_of_the_values_that_the_strategy_sees(
    lines: Callable[[Strategy], tuple[Any, Any]],
) -> None:
    strategy = watched(lines)
    # Rounded, so that the 1e-12 of equality are no differences here either.
    rows = [(round(first, 9), round(second, 9)) for first, second in strategy.rows]
    expected = reference(rows)
    # Before the first call of on_bar the strategy sees nothing, while its first question looks one bar back.
    assert strategy.found[1:] == expected[1:]
    if strategy.turned:
        assert strategy.turned == strategy.found


def test_lines_of_one_indicator_cross_each_other() -> None:
    lane, macd = Lane(None), MACD(3, 6, 3)
    lane.add(macd, "close")
    rows, found = [], []
    for bar in walk(2_000, seed=5):
        lane.feed(bar)
        found.append((macd.crossed_above(macd.signal_line), macd.crossed_below(macd.signal_line)))
        rows.append((macd.value, macd.signal))
    assert sum(above for above, _ in found) > 100
    assert found == reference(rows)


# -- what cannot be crossed ---------------------------------------------------------------------


@pytest.mark.parametrize("other", [nan, inf, "30", None, [30.0], {}, object()])
def test_what_is_no_line_and_no_number_cannot_be_crossed(other: Any) -> None:
    average = SMA(3)
    with pytest.raises(ParameterError, match="a crossing with"):
        average.crossed_above(other)
    with pytest.raises(ParameterError, match="a crossing with"):
        average.crossed_below(other)


def test_the_indicators_of_all_symbols_cannot_be_crossed() -> None:
    with pytest.raises(ParameterError, match=r"self\.average\[bar\.symbol\]"):
        SMA(3).crossed_above({"A": SMA(5)})  # type: ignore[arg-type]


def test_a_price_given_as_a_level_is_refused_in_time() -> None:
    average = SMA(1)
    for price in range(256):
        average.update(float(price))
        average.crossed_above(price + 0.5)
    with pytest.raises(ParameterError, match=r"self\.indicator\(qf\.Price\)"):
        average.crossed_above(256.5)
