"""What a chart has to draw of an engine: its indicator lines are the strategy's, and its entries are entries."""

import math

import msgspec
import pytest

import qfkit as qf
from qfkit.core.chart_feed import ChartFeed, ThinnedCurve
from qfkit.core.engine import Engine
from qfkit.core.events import Bar, CorporateAction
from qfkit.core.lanes import KEPT_BARS
from qfkit.views.dashboard import still
from qfkit.views.dashboard.fallback import bundle
from tests.test_dashboard import _closed, started
from tests.test_session import START_NS, bar, until

__all__ = ["_closed"]


class Lines(qf.Strategy):
    def setup(self) -> None:
        self.average = self.indicator(qf.EMA, 20)
        self.paid = self.indicator(qf.VWAP)
        self.slow = self.indicator(qf.SMA, 10, timeframe="5m")

    def on_bar(self, bar: Bar) -> None: ...


def fed(*bars: Bar) -> tuple[Engine, ChartFeed]:
    engine = Engine({"lines": Lines()}, symbols=("A",), timeframe="1m", cash=1e5)
    for one in bars:
        engine.process(one)
    engine.records.clear()
    return engine, ChartFeed(engine)


def ends(feed: ChartFeed, timeframe: str = "1m") -> dict[str, float]:
    """The last value of each line."""
    return {line.name: line.values[-1] for line in feed.view("A", timeframe).lines}


def own(engine: Engine) -> dict[str, float]:
    """The value of each of the strategy's own indicators."""
    return {name: indicators["A"].value for name, indicators in engine.desks["lines"].named_sets}


def test_after_a_split_the_lines_are_still_the_strategys() -> None:
    engine, feed = fed(*(bar(index, 100.0 + index % 7) for index in range(100)))
    assert ends(feed)["average"] == pytest.approx(own(engine)["average"])
    at_ns = START_NS + 100 * 60_000_000_000
    engine.process(CorporateAction("A", at_ns, at_ns, split=4.0))
    engine.process(bar(100, 25.0))
    assert 24.0 < own(engine)["average"] < 27.0
    assert ends(feed) == {name: pytest.approx(own(engine)[name]) for name in ("average", "paid")}
    assert max(feed.view("A").lines[0].values[-60:]) < 27.0


def test_an_average_of_all_bars_is_left_out_where_its_first_bars_are_not_there_any_more() -> None:
    bars = [bar(index, 100.0 if index < KEPT_BARS else 200.0) for index in range(2 * KEPT_BARS)]
    engine, late = fed(*bars)
    assert own(engine)["paid"] == pytest.approx(150.0)
    assert ends(late) == {"average": pytest.approx(own(engine)["average"])}
    # One that was there from the first bar on has seen them all.
    engine, early = fed()
    for place, one in enumerate(bars):
        engine.process(one)
        engine.records.clear()
        if place % 500 == 0:
            early.view("A")
    assert ends(early)["paid"] == pytest.approx(150.0)


def test_charts_of_two_timeframes_leave_each_other_their_lines() -> None:
    engine, feed = fed(*(bar(index, 100.0 + index % 7) for index in range(200)))
    assert ends(feed)["average"] == pytest.approx(own(engine)["average"])
    assert ends(feed, "5m") == {"slow": pytest.approx(own(engine)["slow"])}
    made = dict(feed._traced)
    assert len(made) == 3
    for _ in range(2):
        ends(feed)
        ends(feed, "5m")
    # Made once, and not anew at each drawing.
    assert all(feed._traced[key] is traced for key, traced in made.items())


def test_lines_of_code_that_was_swapped_away_are_not_kept() -> None:
    class Other(qf.Strategy):
        def setup(self) -> None:
            self.other = self.indicator(qf.SMA, 4)

        def on_bar(self, bar: Bar) -> None: ...

    session, feed = started(strategy=Lines(), timeframe="1m")
    feed.give(*(bar(index, 100.0) for index in range(20)))
    until(lambda: session.snapshot.events >= 20)
    assert {line.name for line in session.chart_view().lines} == {"average", "paid"}
    session.swap(Other)
    feed.give(bar(20, 100.0))
    until(lambda: session.snapshot.strategies[0].indicators["A"].get("other") is not None)
    assert [line.name for line in session.chart_view().lines] == ["other"]
    assert len(session._pipeline.chart_feed._traced) == 1


def test_an_entry_that_is_newer_than_the_snapshot_is_drawn_as_an_entry() -> None:
    class Once(qf.Strategy):
        def on_start(self) -> None:
            self.count = 0

        def on_bar(self, bar: Bar) -> None:
            self.count += 1
            if self.count == 5:
                self.buy(bar.symbol, quantity=3.0)

    session, feed = started(strategy=Once())
    feed.give(*(bar(index, 100.0) for index in range(5)))
    until(lambda: session.snapshot.events >= 5)
    before = session.snapshot
    assert not before.positions
    feed.give(bar(5, 100.0), bar(6, 100.0))
    until(lambda: session.snapshot.events >= 7)
    chart = session.chart_view()
    assert chart.held == {"Once": 3.0}
    board = still(before, chart)
    assert board.candles is not None
    assert ">entry<" in board.candles.keys and "exit<" not in board.candles.keys
    board.close()
    # The picture draws the marks of the chart, and nothing of the snapshot's positions.
    pictures = {bundle("chart", one, chart, "token")["image/png"] for one in (before, session.snapshot)}
    flat = msgspec.structs.replace(chart, held={})
    assert len(pictures) == 1
    assert bundle("chart", before, flat, "token")["image/png"] not in pictures


def test_a_thinned_curve_leaves_out_what_is_no_number() -> None:
    curve = ThinnedCurve(most=20)
    curve.add(1, math.nan)
    assert curve.points() == ()
    for place in range(2, 500):
        curve.add(place, 100.0 + place % 9)
    curve.add(500, math.nan)
    points = curve.points()
    assert all(value == value for _, value in points)
    assert points[-1] == (499, 104.0)
