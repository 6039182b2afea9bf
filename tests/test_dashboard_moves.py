"""The dashboard's controls, where moves, frames and ends come between each other."""

import math
import threading
from typing import Any

import pytest

import qfkit as qf
from qfkit.core.events import Bar, SetParameters
from qfkit.views.dashboard import strategies
from qfkit.views.dashboard.live import LiveView
from qfkit.views.dashboard.pump import pump
from tests.test_dashboard import _closed, commands, drawn, started, traded
from tests.test_session import HandFeed, bar, until

__all__ = ["_closed"]


def test_a_slider_moved_there_and_back_before_the_bar_leaves_the_strategy_as_it_was() -> None:
    session, feed = traded()
    view = drawn(session.dashboard())
    slider = view.board.strategies.controls["Trend", "fast"]
    slider.value = 5
    slider.value = 3
    feed.give(bar(90, 110.0))
    until(lambda: session.snapshot.events >= 91)
    until(lambda: len(commands(session, SetParameters)) == 2)
    assert [event.parameters for event in commands(session, SetParameters)] == [{"fast": 5}, {"fast": 3}]
    drawn(view)
    assert (session.snapshot.strategies[0].parameters["fast"], slider.value) == (3, 3)
    until(lambda: view.board.strategies.notes["Trend"] == "")


def test_a_control_keeps_its_newest_move_while_an_older_one_takes_effect() -> None:
    told: list[Any] = []
    knob = strategies._Knob(
        qf.core.snapshot.ParameterView("fast", "int", 2, 60), 3, lambda name, value: told.append(value)
    )
    knob.widget.value = 5
    knob.widget.value = 7
    knob.show(5)
    assert (knob.widget.value, knob.sent) == (7, [7])
    knob.show(7)
    assert (knob.widget.value, knob.sent) == (7, [])
    # What the session does by itself is followed, and not told back to it.
    knob.show(9)
    assert (knob.widget.value, told) == (9, [5, 7])
    knob.widget.close()


def test_after_a_refusal_a_control_is_at_what_was_accepted_last() -> None:
    session, _ = traded()
    panel = drawn(session.dashboard()).board.strategies
    slider = panel.controls["Trend", "fast"]
    slider.value = 5
    slider.value = 20
    assert slider.value == 5
    assert "must be below" in panel.notes["Trend"]


def test_a_bound_of_infinity_is_no_bound() -> None:
    class Wide(qf.Strategy):
        width = qf.Param(1.0, low=0, high=math.inf)
        count = qf.Param(1, low=-math.inf, high=5)
        huge = qf.Param(1.0, low=-1e308, high=1e308)

        def on_bar(self, bar: Bar) -> None: ...

    session, _ = started(strategy=Wide())
    controls = session.dashboard().board.strategies.controls
    kinds = {name: type(widget).__name__ for (_, name), widget in controls.items()}
    assert kinds == {"width": "FloatText", "count": "IntText", "huge": "FloatText"}


@pytest.mark.parametrize("kind", ["one", "several"])
def test_an_end_that_came_while_a_callback_wrote_is_drawn_all_the_same(kind: str) -> None:
    session, _ = traded()
    view: Any = session.dashboard() if kind == "one" else qf.dashboard(session)
    lock = view.board.lock if kind == "one" else view._lock
    with lock:
        session.stop()
        # A turn of the pump meanwhile: it waits for nobody, and asks for another turn.
        turn: list[bool] = []
        other = threading.Thread(target=lambda: turn.append(view.draw()))
        other.start()
        other.join(5)
        assert turn == [True]
    until(lambda: pump.count == 0)
    said = view.board.text("title") if kind == "one" else view.rows[0].line.value
    assert "stopped" in said


def test_a_line_that_came_while_a_callback_wrote_is_drawn_after_the_end_too() -> None:
    session, _ = traded()
    view = session.dashboard()
    session.stop()
    until(lambda: pump.count == 0)
    with view.board.lock:
        view.tell("after the end")
        # What was asked for first has run once this has.
        qf.run(_nothing())
    until(lambda: "after the end" in view.board.text("log"))


async def _nothing() -> None: ...


def test_stop_cannot_be_pressed_again_while_the_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    session, feed = traded()
    view = drawn(session.dashboard())
    stop, go_on, begun = view.board.controls.stop, threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go_on.wait(5)
        raise qf.errors.SessionError("it cannot be stopped")

    monkeypatch.setattr(view.board.controls._session, "stop", slow)
    stop.click()
    assert begun.wait(5)
    before = view.drawings
    feed.give(bar(90, 110.0))
    until(lambda: view.drawings > before)
    assert stop.disabled
    go_on.set()
    until(lambda: "it cannot be stopped" in view.board.text("log"))
    until(lambda: not stop.disabled)
    monkeypatch.undo()


def test_a_group_that_closes_leaves_the_dashboards_inside_it_open() -> None:
    first, _ = traded()
    own = first.dashboard()
    group = qf.dashboard(first)
    group.rows[0].open.value = True
    assert group.rows[0].box.children[1] is own.widget
    group.close()
    assert group.widget.comm is None and group.rows[0].open.comm is None
    assert own.widget.comm is not None and own.board.controls.stop.comm is not None
    assert first.dashboard() is own and own in LiveView.open_views


def test_a_choice_holds_though_a_drawing_under_way_puts_the_former_back() -> None:
    session, feed = started(HandFeed(["A", "B"]))
    feed.give(bar(0, 100.0), bar(0, 7.0, "B"))
    until(lambda: session.snapshot.events >= 2)
    board = drawn(session.dashboard()).board
    choose = board.symbols
    choice = threading.Thread(target=lambda: setattr(choose, "value", "B"))
    with board.lock:
        # The choice waits for the drawing, which does not know of it.
        choice.start()
        until(lambda: choose.value == "B")
        board.show(session.snapshot, session.chart_view("A"))
    choice.join(5)
    assert board.symbol == "B"
    until(lambda: float(board.candles._candles.y[-1][3]) == 7.0 and choose.value == "B")
