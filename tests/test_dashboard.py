"""The dashboard without a browser: what its widgets say and do, and how much of it is sent."""

import base64
import io
import itertools
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import bqplot
import ipywidgets
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import qfkit as qf
from qfkit.core.chart_feed import ChartView, ThinnedCurve
from qfkit.core.events import Bar, Flatten, MarketEvent, Pause, Resume, SetParameters, Stop, Tick
from qfkit.core.orders import Fill, Side
from qfkit.journal.reader import read_events
from qfkit.views.dashboard import still
from qfkit.views.dashboard.candles import opening_fills
from qfkit.views.dashboard.fallback import bundle
from qfkit.views.dashboard.live import Dashboard, LiveView
from qfkit.views.dashboard.plots import Plot
from qfkit.views.dashboard.pump import INTERVAL_S, pump
from tests.test_session import HandFeed, bar, until, wave

START_NS = 1_704_067_200_000_000_000
SECOND = 1_000_000_000


class Trend(qf.Strategy):
    """Long while the fast average is above the slow one."""

    fast = qf.Param(3, low=2, high=60)
    slow = qf.Param(8, low=5, high=240)
    weight = qf.Param(0.25, low=0.0, high=1.0)
    careful = qf.Param(False)
    mode = qf.Param("long", choices=["long", "both"])

    def setup(self) -> None:
        if self.fast >= self.slow:
            raise qf.errors.ParameterError(f"fast={self.fast} must be below slow={self.slow} <b>")
        self.fast_average = self.indicator(qf.SMA, self.fast)
        self.slow_average = self.indicator(qf.SMA, self.slow)

    def on_bar(self, bar: Bar) -> None:
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            self.order_target(bar.symbol, weight=self.weight, reason="fast average <crossed> above slow")
        elif fast.crossed_below(slow):
            self.close(bar.symbol, reason="fast average crossed below slow")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    for view in list(LiveView.open_views):
        view.close()
    for session in list(qf.live.registry.running.values()):
        session.stop()
    assert pump.count == 0


def started(feed: HandFeed | None = None, **more: Any) -> tuple[qf.Session, HandFeed]:
    feed = HandFeed() if feed is None else feed
    more = {"strategy": Trend(), "cash": 100_000, "name": "watched", **more}
    session = qf.paper(more.pop("strategy"), feed, **more)
    session.start()
    return session, feed


def traded(count: int = 90, **more: Any) -> tuple[qf.Session, HandFeed]:
    session, feed = started(**more)
    feed.give(*wave(count))
    until(lambda: session.snapshot.events >= count)
    return session, feed


def drawn(view: Dashboard) -> Dashboard:
    """Wait until the newest is drawn."""
    until(lambda: view._drawn[0] is view.session.snapshot or view.session.snapshot.events == view._drawn[0].events)
    return view


def commands(session: qf.Session, kind: type) -> list[Any]:
    return [event for batch in read_events(session.journal_path) for event in batch if isinstance(event, kind)]


# -- what it says ----------------------------------------------------------------------------------


def test_the_head_says_what_the_snapshot_says() -> None:
    session, _ = traded()
    board = drawn(session.dashboard()).board
    snapshot = session.snapshot
    assert f"{snapshot.equity:,.2f}" in board.text("figures")
    assert f"{snapshot.trades_count}</b>" in board.text("figures")
    assert "watched" in board.text("title") and "running" in board.text("title")
    assert "2024-01-01 01:30:00 UTC" in board.text("title")


def test_every_order_stands_in_the_blotter_with_its_reason_and_status() -> None:
    session, _ = traded()
    board = drawn(session.dashboard()).board
    orders = session.orders
    assert len(orders) >= 3
    text = board.text("blotter")
    assert text.count("filled") == sum(orders.status == "filled")
    assert "fast average crossed below slow" in text
    assert f"{len(session.fills)} fills" in text


def test_what_was_refused_stands_there_with_the_limit_and_its_numbers() -> None:
    session, feed = started()
    session.block_entries("Trend")
    feed.give(*wave(90))
    until(lambda: session.snapshot.events >= 91)
    text = drawn(session.dashboard()).board.text("blotter")
    refused = session.signals.query("decision == 'rejected'")
    assert len(refused)
    assert text.count(">refused</b>") == min(len(refused), 10)
    assert refused.decision_reason.iloc[-1] in text


def test_limits_stand_as_bars_against_their_bounds_and_a_stop_says_what_lifts_it() -> None:
    session, _ = traded(risk=qf.RiskLimits(max_drawdown=0.5))
    view = session.dashboard()
    assert "drawdown" in view.board.text("risk") and "50.00 %" in view.board.text("risk")
    assert "No new entries" not in view.board.text("risk")
    session.block_entries("Trend")
    until(lambda: "No new entries" in view.board.text("risk"))
    assert "session.lift() lifts it" in view.board.text("risk")


def test_whatever_comes_from_outside_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    session, feed = started(HandFeed([evil]), name="<b>mine</b>")
    feed.give(*[msgspec.structs.replace(one, symbol=evil) for one in wave(90)])
    until(lambda: session.snapshot.events >= 90)
    view = drawn(session.dashboard())
    view.tell("<script>alert(2)</script>")
    until(lambda: "alert(2)" in view.board.text("log"))
    parts = ("title", "figures", "age", "positions", "blotter", "risk", "health", "log")
    everything = "".join(view.board.text(part) for part in parts) + view.board.strategies.notes["Trend"]
    everything += bundle("full", session.snapshot, session.chart_view(), "token")["text/html"]
    everything += view.board.candles.plot.under.value + view.board.candles.keys
    assert "onerror" in everything and "crossed&gt;" in everything
    assert "<script" not in everything and "<img src=x" not in everything and "<b>mine" not in everything


def test_empty_panels_say_in_words_what_will_come() -> None:
    session, _ = started()
    board = session.dashboard().board
    assert "Flat" in board.text("positions")
    assert "No orders yet" in board.text("blotter")
    assert "Nothing so far" in board.text("log")
    # One limit holds without any that was asked for.
    assert "gross exposure" in board.text("risk") and "No limit was set" not in board.text("risk")
    assert "Waiting for the first price" in board.candles.plot.under.value
    assert "second bar" in board.equity.equity.under.value


def test_a_watch_list_shows_prices_and_no_book() -> None:
    feed = HandFeed()
    session = qf.watch(["A"], feed=feed).start()
    feed.give(*wave(3))
    until(lambda: session.snapshot.events >= 3)
    board = drawn(session.dashboard()).board
    assert "Prices" in board.text("positions")
    assert "portfolio" not in board.text("figures")
    assert board.strategies is None and board.equity is None
    shown = [button.description for button in board.controls.buttons if button.layout.display != "none"]
    assert shown == ["Stop"]


def test_data_that_are_not_live_are_labelled() -> None:
    session = qf.paper(Trend(), qf.SyntheticFeed(["A"], duration_s=1.0, speed=None), cash=1_000, name="made up").start()
    session.wait(20)
    view = session.dashboard()
    assert "q-warn" in view.board.text("title") and "synthetic exchange" in view.board.text("title")
    recorded = qf.paper(Trend(), qf.feeds.sample("AAPL", speed=None), cash=1_000, name="old").start()
    recorded.wait(20)
    assert "recorded: real daily bars" in recorded.dashboard().board.text("title")


def test_prices_have_the_decimals_of_their_step() -> None:
    session, feed = started(HandFeed(["A"]))
    feed.give(qf.Instrument("A", START_NS, price_step=0.0001), *wave(90))
    until(lambda: session.snapshot.events >= 91)
    board = drawn(session.dashboard()).board
    fill = session.fills.iloc[-1]
    assert f"{fill.price:,.4f}" in board.text("blotter")


# -- the charts ------------------------------------------------------------------------------------


def test_the_candles_are_the_sessions_bars_and_the_one_that_forms() -> None:
    session, feed = started(timeframe="1m")
    ticks: list[MarketEvent] = [
        Tick("A", 100.0 + index % 7, 1.0, START_NS + index * 10 * SECOND, START_NS + index * 10 * SECOND)
        for index in range(100)
    ]
    feed.give(*ticks)
    until(lambda: session.snapshot.events >= 100)
    view = drawn(session.dashboard())
    bars = session.bars
    until(lambda: len(view.board.candles._candles.y) == len(bars) + 1)
    shown = view.board.candles._candles.y
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown[:-1], bars[["open", "high", "low", "close"]].to_numpy(), rtol=1e-6)
    part = [tick.price for tick in ticks[96:]]
    np.testing.assert_allclose(shown[-1], [part[0], max(part), min(part), part[-1]])


def test_lines_on_the_price_scale_are_those_of_the_indicators() -> None:
    session, feed = traded()
    chart = session.chart_view(bars=60)
    closes = session.bars.close
    assert [line.name for line in chart.lines] == ["fast average", "slow average"]
    for line, period in zip(chart.lines, (3, 8), strict=True):
        np.testing.assert_allclose(line.values, qf.SMA(period).over(closes).to_numpy()[-60:])
    session.set(fast=5)
    feed.give(bar(90, 110.0))
    until(lambda: session.snapshot.events >= 92)
    line = session.chart_view(bars=60).lines[0]
    np.testing.assert_allclose(line.values, qf.SMA(5).over(session.bars.close).to_numpy()[-60:])
    board = drawn(session.dashboard()).board
    np.testing.assert_allclose(board.candles._lines[0].y[-60:], line.values, rtol=1e-6)
    assert "fast average" in board.candles.keys


def test_an_indicator_that_is_no_price_is_not_among_the_candles() -> None:
    class Strength(qf.Strategy):
        def setup(self) -> None:
            self.strength = self.indicator(qf.RSI, 5)
            self.bands = self.indicator(qf.BollingerBands, 5)

        def on_bar(self, bar: Bar) -> None: ...

    session, _ = traded(strategy=Strength())
    assert [line.name for line in session.chart_view().lines] == ["bands", "bands lower", "bands upper"]


def test_no_more_than_300_candles_and_a_thousand_points_are_ever_sent() -> None:
    session, _ = traded(3_000)
    board = drawn(session.dashboard()).board
    board.windows.value = 300
    until(lambda: len(board.candles._candles.x) == 300)
    assert len(board.candles._candles.y) == 300
    assert 400 < len(board.equity._equity.y) <= 1_001
    # The present value comes after the last equity point.
    equity = [*session.equity.account, session.snapshot.equity]
    assert board.equity._equity.y.min() == pytest.approx(min(equity), rel=1e-6)
    assert board.equity._equity.y.max() == pytest.approx(max(equity), rel=1e-6)


def test_bqplot_never_gets_nan_or_an_empty_array(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(
        ipywidgets.Widget, "_send", lambda self, message, buffers=None: sent.append((self, message, buffers))
    )
    session, feed = started()
    view = session.dashboard()
    for one in wave(60):
        feed.give(one)
    until(lambda: session.snapshot.events >= 60)
    drawn(view)
    arrays = [
        np.frombuffer(buffer, dtype=np.float32)
        for _, message, buffers in sent
        if message.get("method") == "update" and {"x", "y"} & set(message["state"])
        for buffer in buffers or ()
    ]
    assert len(arrays) > 4
    assert all(len(array) and np.isfinite(array).all() for array in arrays)


def fill(number: int, side: str, quantity: float) -> Fill:
    return Fill(number, number, "A", Side(side), quantity, 10.0, 0.0, number, number, 10.0, "one", "")


def test_entries_and_exits_are_told_apart_from_what_is_held_now() -> None:
    fills = [fill(1, "buy", 5.0), fill(2, "buy", 5.0), fill(3, "sell", 10.0), fill(4, "sell", 4.0), fill(5, "buy", 4.0)]
    assert [opens for _, opens in opening_fills(fills, {})] == [True, True, False, True, False]
    assert [opens for _, opens in opening_fills([fill(9, "sell", 3.0)], {"one": 2.0})] == [False]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9_000))
def test_a_thinned_curve_keeps_its_ends_its_highest_and_its_lowest(values: list[float]) -> None:
    curve = ThinnedCurve(most=20)
    for place, value in enumerate(values):
        curve.add(place, value)
    points = curve.points()
    assert len(points) <= 44
    assert [time_ns for time_ns, _ in points] == sorted({time_ns for time_ns, _ in points})
    assert points[-1] == (len(values) - 1, values[-1])
    assert min(value for _, value in points) == min(values)
    assert max(value for _, value in points) == max(values)
    assert all(values[place] == value for place, value in points)


def test_a_resumed_session_shows_what_was_before() -> None:
    session, _ = traded(200)
    orders, equity = len(session.orders), session.equity.account
    session.suspend()
    resumed = qf.resume("watched", feed=HandFeed(), strategies=Trend)
    chart = resumed.chart_view()
    assert len(chart.orders) == orders and len(chart.bars) == 120
    assert [value for _, value in chart.equity] == equity.tolist()


def test_it_follows_the_symbol_timeframe_and_window_that_a_person_chooses() -> None:
    session, feed = started(HandFeed(["A", "B"]))
    feed.give(*[one for index in range(90) for one in (bar(index, 100.0 + index % 5), bar(index, 7.0, "B"))])
    until(lambda: session.snapshot.events >= 180)
    board = drawn(session.dashboard()).board
    assert board.symbols.value == "A" and len(board.candles._candles.x) == 90
    board.symbols.value = "B"
    until(lambda: float(board.candles._candles.y[-1][0]) == 7.0)
    board.windows.value = 60
    until(lambda: len(board.candles._candles.x) == 60)
    session.stop()
    board.symbols.value = "A"
    until(lambda: float(board.candles._candles.y[-1][3]) == 104.0)


# -- how much is drawn ------------------------------------------------------------------------------


def test_at_most_five_drawings_a_second_however_fast_the_feed() -> None:
    session = qf.paper(Trend(), qf.SyntheticFeed(["A"], duration_s=None, speed=100.0), cash=1_000, name="fast").start()
    view = session.dashboard()
    before, begin_s, events = view.drawings, time.monotonic(), session.snapshot.events
    until(lambda: view.drawings >= before + 6)
    assert (view.drawings - before) / (time.monotonic() - begin_s) <= 1.0 / INTERVAL_S + 1.0
    assert session.snapshot.events > events + 1_000


def test_where_nothing_changes_nothing_is_sent_but_the_age_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = traded()
    view = drawn(session.dashboard())
    until(lambda: "1 s old" in view.board.text("age"))
    sent: list[Any] = []
    monkeypatch.setattr(ipywidgets.Widget, "_send", lambda self, message, buffers=None: sent.append((self, message)))
    until(lambda: "3 s old" in view.board.text("age"))
    ages = {view.board._text["age"], view.board._text["health"]}
    assert [message for widget, message in sent if widget not in ages] == []
    assert 1 <= len(sent) <= 6, sent


def test_a_bar_sends_only_what_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    session, feed = traded()
    view = drawn(session.dashboard())
    sent: list[Any] = []
    monkeypatch.setattr(ipywidgets.Widget, "_send", lambda self, message, buffers=None: sent.append(self))
    events = session.snapshot.events
    feed.give(bar(90, 110.0))
    until(lambda: session.snapshot.events > events)
    until(lambda: view._drawn[0].events > events)
    assert view.board.candles._candles in sent
    assert not {view.board._text["blotter"], view.board.controls.pause, *view.board.strategies.controls.values()} & set(
        sent
    )


def test_a_drawing_waits_for_nobody() -> None:
    session, feed = traded()
    view = drawn(session.dashboard())
    with view.board.lock:
        before = view.drawings
        feed.give(bar(90, 110.0))
        until(lambda: session.snapshot.events == 91)
        # The session's thread is free: another command comes through while the widgets are held.
        session.pause()
        assert view.drawings == before
    until(lambda: "paused" in view.board.text("title"))


def test_the_pump_ends_with_the_session_and_the_end_is_drawn() -> None:
    session, _ = traded()
    view = session.dashboard()
    assert pump.count == 1
    session.stop()
    until(lambda: pump.count == 0)
    assert "stopped" in view.board.text("title")
    assert all(button.disabled for button in view.board.controls.buttons)


def test_a_picture_that_cannot_be_drawn_is_told_and_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session, feed = traded()
    view = drawn(session.dashboard())

    def broken(*args: object) -> None:
        raise RuntimeError("no picture")

    monkeypatch.setattr(view.board, "show", broken)
    feed.give(bar(90, 110.0))
    until(lambda: pump.count == 0)
    assert "no picture" in caplog.text
    assert session.state == "running"


# -- running the cell again --------------------------------------------------------------------------


def test_running_the_cell_again_leaves_no_widget_and_no_pump_behind() -> None:
    counts, threads = [], []
    for _ in range(4):
        session, _ = traded(60)
        session.dashboard()
        session.chart("A")
        counts.append(len(ipywidgets.widgets.widget._instances))
        threads.append(threading.active_count())
        assert pump.count == 2
    assert counts[1:] == counts[:1] * 3
    assert threads[1:] == threads[:1] * 3


def test_the_same_session_has_one_dashboard_of_a_kind_in_all_cells() -> None:
    session, _ = started()
    assert session.dashboard() is session.dashboard()
    assert session.chart("A") is session.chart("A")
    assert session.dashboard(compact=True) is not session.dashboard()
    assert session.blotter().board.text("blotter") and session.risk_panel().board.text("risk")
    assert session.equity_chart().board.equity is not None


def test_code_that_is_swapped_brings_its_own_controls() -> None:
    class Slower(Trend):
        slow = qf.Param(20, low=5, high=400)
        patience = qf.Param(1, low=1, high=9)

    session, feed = traded()
    panel = drawn(session.dashboard()).board.strategies
    old = panel.controls["Trend", "fast"]
    session.swap(Slower)
    feed.give(bar(90, 110.0))
    until(lambda: ("Trend", "patience") in panel.controls)
    assert panel.controls["Trend", "slow"].max == 400
    assert old.comm is None


def test_a_symbol_that_is_not_there_has_no_chart() -> None:
    session, _ = started(HandFeed(["AAPL"]))
    with pytest.raises(qf.errors.ParameterError, match="AAPL"):
        session.chart("APL")


def test_a_page_that_cannot_draw_widgets_gets_one_line_instead_of_all_that_is_inside() -> None:
    session, _ = started()
    words = session.dashboard().widget._repr_mimebundle_()["text/plain"]
    assert "needs a running kernel" in words and "\n" not in words
    assert repr(session.dashboard().widget) == words


def test_a_closed_dashboard_is_made_anew() -> None:
    session, _ = started()
    first = session.dashboard()
    first.close()
    assert session.dashboard() is not first


# -- steering ---------------------------------------------------------------------------------------


def test_buttons_are_events_in_the_journal() -> None:
    session, _ = traded()
    view = drawn(session.dashboard())
    controls = view.board.controls
    controls.pause.click()
    until(lambda: controls.resume.layout.display is None and not controls.resume.disabled)
    assert controls.pause.layout.display == "none"
    controls.resume.click()
    until(lambda: not controls.pause.disabled)
    controls.stop.click()
    until(lambda: session.state == "stopped")
    assert [len(commands(session, kind)) for kind in (Pause, Resume, Stop)] == [1, 1, 1]
    until(lambda: pump.count == 0)


def test_flatten_asks_first() -> None:
    session, _ = traded()
    controls = drawn(session.dashboard()).board.controls
    controls.flatten.click()
    assert controls.ask.layout.display is None
    assert commands(session, Flatten) == []
    controls.keep.click()
    assert controls.ask.layout.display == "none"
    controls.flatten.click()
    controls.confirm.click()
    assert controls.ask.layout.display == "none"
    until(lambda: len(commands(session, Flatten)) == 1)


def test_start_begins_a_session_that_was_only_made() -> None:
    session = qf.paper(Trend(), HandFeed(), cash=1_000, name="made")
    controls = session.dashboard().board.controls
    assert not controls.start.disabled and controls.pause.disabled
    controls.start.click()
    assert session.state == "running"
    until(lambda: controls.start.layout.display == "none")


def test_what_a_button_raises_stands_in_the_log() -> None:
    session, _ = traded()
    view = drawn(session.dashboard())
    session.stop()
    view.board.controls.pause.click()
    until(lambda: "only a running one can be steered" in view.board.text("log"))


def test_a_slider_is_an_event_at_the_next_bar_and_follows_the_session() -> None:
    session, feed = traded()
    panel = drawn(session.dashboard()).board.strategies
    slider = panel.controls["Trend", "fast"]
    assert (slider.value, slider.min, slider.max) == (3, 2, 60)
    assert isinstance(slider, ipywidgets.IntSlider) and not slider.continuous_update
    slider.value = 5
    until(lambda: len(commands(session, SetParameters)) == 1)
    assert [event.parameters for event in commands(session, SetParameters)] == [{"fast": 5}]
    assert "from the next bar on" in panel.notes["Trend"]
    feed.give(bar(90, 110.0))
    until(lambda: panel.notes["Trend"] == "")
    assert session.snapshot.strategies[0].parameters["fast"] == 5 and slider.value == 5
    session.set(fast=4)
    feed.give(bar(91, 110.0))
    until(lambda: slider.value == 4)
    until(lambda: len(commands(session, SetParameters)) == 2)


def test_each_kind_of_parameter_has_its_control() -> None:
    session, _ = started()
    controls = session.dashboard().board.strategies.controls
    kinds = {name: type(widget).__name__ for (_, name), widget in controls.items()}
    assert kinds == {
        "fast": "IntSlider",
        "slow": "IntSlider",
        "weight": "FloatSlider",
        "careful": "Checkbox",
        "mode": "Dropdown",
    }
    controls["Trend", "careful"].value = True
    controls["Trend", "mode"].value = "both"
    controls["Trend", "weight"].value = 0.5
    until(lambda: len(commands(session, SetParameters)) == 3)
    sent = [event.parameters for event in commands(session, SetParameters)]
    assert sent == [{"careful": True}, {"mode": "both"}, {"weight": 0.5}]


def test_a_refused_value_comes_back_with_the_reason() -> None:
    session, _ = started()
    panel = session.dashboard().board.strategies
    slider = panel.controls["Trend", "fast"]
    slider.value = 20
    assert slider.value == 3
    assert "fast=20 must be below slow=8 &lt;b&gt;" in panel.notes["Trend"]
    assert commands(session, SetParameters) == []


def test_a_strategy_that_failed_is_shown_with_its_fault() -> None:
    class Broken(qf.Strategy):
        def on_bar(self, bar: Bar) -> None:
            raise ValueError("it <broke>")

    session, feed = started(strategy=Broken())
    feed.give(*wave(2))
    view = session.dashboard()
    until(lambda: "it &lt;broke&gt;" in view.board.text("log"))
    assert "ValueError: it &lt;broke&gt;" in view.board.strategies._parts["Broken"]._top.value


# -- several sessions, stills, pages without a kernel ------------------------------------------------


def test_several_sessions_have_a_row_each_and_open_into_their_own() -> None:
    first, _ = traded()
    second, _ = traded(name="second")
    group = qf.dashboard(first, second)
    assert qf.dashboard(first, second) is group is qf.dashboard([first, second, first])
    assert ["watched" in group.rows[0].line.value, "second" in group.rows[1].line.value] == [True, True]
    group.rows[1].controls.stop.click()
    until(lambda: second.state == "stopped")
    until(lambda: "stopped" in group.rows[1].line.value)
    assert first.state == "running"
    group.rows[0].open.value = True
    assert group.rows[0].box.children[1] is first.dashboard().widget
    third, _ = traded(name="second")
    again = qf.dashboard(first, third)
    assert again is not group and group.is_closed and group.widget.comm is None
    assert first.dashboard().widget.comm is not None and not first.dashboard().is_closed


def test_only_sessions_are_shown_together() -> None:
    with pytest.raises(qf.errors.ParameterError, match="takes sessions"):
        qf.dashboard()
    with pytest.raises(qf.errors.ParameterError, match="a str is none"):
        qf.dashboard("mine")


def test_a_still_shows_one_moment_and_cannot_be_steered() -> None:
    session, _ = traded()
    snapshot, chart = session.snapshot, session.chart_view()
    board = still(snapshot, chart)
    assert board.controls is None
    assert all(widget.disabled for widget in board.strategies.controls.values())
    assert f"{snapshot.equity:,.2f}" in board.text("figures")
    assert still(snapshot, ChartView(), board) is board
    board.close()


def test_a_page_without_a_kernel_has_a_picture_and_plain_tables() -> None:
    session, _ = traded()
    session.stop()
    found = bundle("full", session.snapshot, session.chart_view(), "token")
    picture = Image.open(io.BytesIO(base64.b64decode(found["image/png"])))
    assert picture.width >= 1_000 and len(picture.convert("RGBA").getcolors(1_000_000) or ()) > 10
    html = found["text/html"]
    assert 'src="data:image/png;base64,' in html and "<table" in html
    assert not any(tag in html for tag in ("<style", "<svg", "<script"))
    assert "fast average crossed below slow" in html and f"{session.snapshot.equity:,.2f}" in html
    assert found["text/plain"] in repr(session)
    assert len(html) < 100_000


@pytest.mark.parametrize(
    ("kind", "parts", "nothing"),
    [
        ("chart", ["<img"], "<img"),
        ("equity", ["<img"], "<img"),
        ("blotter", ["crossed below slow"], "No orders yet"),
        ("risk", ["50.00 %"], "50.00 %"),
        ("compact", ["<img", "portfolio value", "crossed below slow"], "portfolio value"),
    ],
)
def test_each_view_has_a_form_for_pages_without_a_kernel(kind: str, parts: list[str], nothing: str) -> None:
    session, _ = traded(risk=qf.RiskLimits(max_drawdown=0.5))
    found = bundle(kind, session.snapshot, session.chart_view(), "token")
    assert ("image/png" in found) == (kind not in ("blotter", "risk"))
    known = ("<img", "portfolio value", "crossed below slow", "50.00 %")
    assert [part for part in known if part in found["text/html"]] == parts
    empty = bundle(kind, session.snapshot, ChartView(), "token")
    assert "watched" in empty["text/html"] and nothing in empty["text/html"]
    assert "crossed below slow" not in empty["text/html"]


def test_outside_a_notebook_a_session_is_one_line() -> None:
    session, _ = traded()
    assert str(session).count("\n") == 0 and str(session.dashboard()).count("\n") == 0
    with pytest.raises(NotImplementedError):
        session._ipython_display_()
    with pytest.raises(NotImplementedError):
        session.dashboard()._ipython_display_()


def test_labels_of_times_that_are_near_each_other_leave_some_out():
    plot = Plot(200, [], {"x": bqplot.LinearScale(), "y": bqplot.LinearScale()})
    plot.fit(0.0, 1.0, 0.0, 30.0)
    plot.label([(place, f"00:00:{place:02.0f}") for place in range(1, 8)], [], about=3)
    shares = [
        float(one)
        for one in re.findall(
            r'class="q-x[^"]*" style="left:calc\(8px \+ \(100% - 84px\) \* ([\d.]+)', plot.under.value
        )
    ]
    assert shares[0] < 0.05 and len(shares) > 1
    assert all(after - before >= 0.09 for before, after in itertools.pairwise(shares))


def test_a_session_that_failed_says_why_at_its_head_and_no_symbol_looks_live() -> None:
    session, feed = started(name="broke")
    view = session.dashboard()
    feed.give(bar(0, 100.0))
    until(lambda: session.snapshot.events >= 1)
    feed.end(OSError("the <line> is cut"))
    until(lambda: "the &lt;line&gt; is cut" in view.board.text("title"))
    assert session.state == "failed"
    assert [one.state for one in session.snapshot.feed.symbols] == ["closed"]
    assert "the <line> is cut" in repr(session) and "live" not in repr(session)
    assert "the &lt;line&gt; is cut" in bundle("full", session.snapshot, session.chart_view(), "t")["text/html"]


def test_controls_show_all_digits_and_a_range_of_many_sizes_is_typed() -> None:
    class Fine(qf.Strategy):
        part = qf.Param(0.55, low=0.05, high=0.95, step=0.25)
        rate = qf.Param(1e-5, low=1e-7, high=0.1)
        width = qf.Param(2.0, low=0.5, high=4.0)

    session, _ = started(strategy=Fine())
    controls = drawn(session.dashboard()).board.strategies.controls
    assert controls["Fine", "part"].readout_format == ".2f"
    assert isinstance(controls["Fine", "rate"], ipywidgets.BoundedFloatText) and controls["Fine", "rate"].value == 1e-5
    assert controls["Fine", "width"].readout_format == ".2f"
    controls["Fine", "rate"].value = 2.5e-6
    until(lambda: commands(session, SetParameters))
    assert commands(session, SetParameters)[-1].parameters == {"rate": 2.5e-6}


def test_controls_rest_before_the_start_and_after_the_end() -> None:
    session = qf.paper(Trend(), HandFeed(), name="rests")
    board = session.dashboard().board
    knobs = [board.strategies.controls["Trend", name] for name in ("fast", "slow", "careful")]
    assert all(knob.disabled for knob in knobs)
    session.start()
    until(lambda: not any(knob.disabled for knob in knobs))
    session.stop()
    until(lambda: all(knob.disabled for knob in knobs))
