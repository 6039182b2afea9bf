"""A session gone through with a slider."""

from collections.abc import Iterator

import ipywidgets
import msgspec
import pytest
from test_manual import Desk
from test_session import Always, bar, wave

import qfkit as qf
from qfkit.errors import ParameterError, SessionError
from qfkit.views.timeline import Timeline


class FewTrades(qf.Strategy):
    """Buys at bar 20 and sells at bar 150; sends an order beyond the price collar at bar 90."""

    def on_start(self) -> None:
        self.count = 0

    def on_bar(self, bar: qf.Bar) -> None:
        self.count += 1
        if self.count == 20:
            self.buy(bar.symbol, quantity=5.0)
        elif self.count == 90:
            self.buy(bar.symbol, quantity=1.0, limit_price=1.0)
        elif self.count == 150:
            self.close(bar.symbol)


def run(tmp_path, strategy=FewTrades, count=300, **settings) -> qf.Session:
    feed = qf.ReplayFeed(wave(count), speed=None)
    return qf.paper(strategy, feed, journal=tmp_path, cash=10_000.0, **settings).start().wait(20)


def value(snapshot: qf.Snapshot) -> bytes:
    return msgspec.json.encode(snapshot)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    for timeline in list(Timeline._open.values()):
        timeline.close()


@pytest.fixture
def traded(tmp_path) -> qf.Session:
    return run(tmp_path, costs=qf.Costs.ideal())


def test_moments_are_evenly_spread_with_each_fill_and_refusal_among_them(traded) -> None:
    timeline = traded.timeline(most=20)
    moments = timeline.moments
    # The orders of bars 20 and 150 fill at the next one's open; the wish of bar 90 is refused at once.
    assert moments[moments.what != ""].event.tolist() == [21, 90, 151]
    assert [text.split(" at ")[0].split(":")[0] for text in moments.what if text] == ["buy 5 A", "refused", "sell 5 A"]
    assert len(timeline) <= 20
    even = moments[moments.what == ""].event
    assert (even.iloc[0], even.iloc[-1]) == (1, traded.snapshot.events)
    # 300 events in 17 stretches are of 18 at most; the Stop is the last.
    assert moments.event.diff().max() <= 19
    assert moments.index.tz is not None
    assert (moments.event.dtype, moments.equity.dtype) == ("int64", "float64")
    # Each is what the session was then.
    for snapshot in timeline.snapshots[::3]:
        assert value(snapshot) == value(traded.at(event=snapshot.events))
    assert value(timeline.snapshots[-1]) == value(msgspec.structs.replace(traded.snapshot, feed=None))


def test_of_very_many_fills_as_many_are_kept_as_fit(tmp_path) -> None:
    session = run(tmp_path, Always)
    timeline = session.timeline(most=40)
    assert 30 <= len(timeline) <= 40
    events = timeline.moments.event
    assert events.is_monotonic_increasing
    assert events.is_unique
    assert (events.iloc[0], events.iloc[-1]) == (1, session.snapshot.events)
    assert events.diff().max() < 300 / 10 + 2
    assert len(session.timeline(most=2)) == 2
    for most in (1, 0, 2.5, True):
        with pytest.raises(ParameterError, match="whole number"):
            session.timeline(most=most)
    with pytest.raises(ParameterError, match="Known: A"):
        session.timeline("B")


def test_the_slider_and_its_buttons_show_the_moment(traded) -> None:
    timeline = traded.timeline(most=30)
    seen = []

    def render(snapshot: qf.Snapshot) -> str:
        seen.append(snapshot.events)
        return f"<i>{snapshot.events}</i>"

    box = timeline.show(render)
    (play, back, on, slider), label, view = box.children[0].children, box.children[1], box.children[2]
    assert isinstance(slider, ipywidgets.IntSlider)
    assert isinstance(play, ipywidgets.Play)
    assert (slider.value, slider.max, play.max) == (len(timeline) - 1,) * 3
    slider.value = 3
    assert seen[-1] == timeline.snapshots[3].events
    assert view.children[0].value == f"<i>{seen[-1]}</i>"
    slider.value = 0
    assert back.disabled
    on.click()
    assert seen[-1] == 21
    on.click()
    on.click()
    assert (seen[-1], on.disabled, back.disabled) == (151, True, False)
    assert "sell 5 A at" in label.value
    back.click()
    assert seen[-1] == 90
    assert "price collar" in label.value


def test_what_a_render_gives_or_raises_is_shown(traded) -> None:
    timeline = traded.timeline(most=5)
    widget = ipywidgets.Label("mine")
    assert timeline.show(lambda snapshot: widget).children[2].children == (widget,)

    class Page:
        def _repr_html_(self) -> str:
            return "<u>page</u>"

    assert timeline.show(lambda snapshot: Page()).children[2].children[0].value == "<u>page</u>"
    assert "&lt;" in timeline.show(lambda snapshot: object()).children[2].children[0].value

    def broken(snapshot: qf.Snapshot) -> str:
        raise ValueError("<oh>")

    assert "render raised ValueError: &lt;oh&gt;" in timeline.show(broken).children[2].children[0].value


def test_it_is_the_dashboard_by_itself_and_a_picture_without_a_kernel(traded) -> None:
    timeline = traded.timeline(most=30)
    # Shown in two cells it is one widget.
    assert timeline.widget is timeline.widget
    slider = timeline.widget.children[0].children[3]
    words = []
    for place in (0, len(timeline) - 1):
        slider.value = place
        texts = [one.value for one in _all(timeline.widget) if isinstance(one, ipywidgets.HTML)]
        words.append(" ".join(texts))
    assert "10,000.00" in words[0]
    assert words[0] != words[1]
    assert "moments from 2024-01-01" in repr(timeline)
    page = timeline._repr_html_()
    assert '<img src="data:image' in page
    assert "buy 5 A" in page
    assert "<script" not in page
    assert "<style" not in page


def test_a_running_session_has_a_timeline_up_to_now(tmp_path) -> None:
    desk = Desk(tmp_path, Always)
    with pytest.raises(SessionError, match="was not started"):
        qf.paper(Always, qf.ReplayFeed(wave(2), speed=None)).timeline()
    assert len(desk.session.timeline()) == 1
    desk.give(*[bar(index, 100.0 + index) for index in range(10)])
    timeline = desk.session.timeline(most=50)
    assert timeline.snapshots[-1].events == 10
    assert timeline.moments.what.tolist()[1:] == [f"buy 1 A at {100 + index}" for index in range(1, 10)]
    desk.end()


def test_a_cell_run_again_leaves_no_widgets_of_the_former_timeline(traded) -> None:
    def count() -> int:
        return len(ipywidgets.widgets.widget._instances)

    first = traded.timeline(most=5)
    slider = first.widget.children[0].children[3]
    before = count()
    for _ in range(3):
        latest = traded.timeline(most=5)
        assert latest.widget is latest.widget
        assert count() == before
    assert slider.comm is None
    # Shown again, the former one is made anew and takes its place back.
    again = first.widget.children[0].children[3]
    assert again.comm is not None
    assert again is not slider
    assert count() == before
    # One that is shown by somebody's own function is theirs.
    own = first.show(lambda snapshot: "mine")
    assert traded.timeline(most=5).widget.comm is not None
    assert own.comm is not None
    own.close()


def test_a_closed_timeline_leaves_nothing(traded) -> None:
    before = len(ipywidgets.widgets.widget._instances)
    timeline = traded.timeline(most=5)
    assert timeline.widget.comm is not None
    timeline.close()
    timeline.close()
    assert len(ipywidgets.widgets.widget._instances) == before


def test_timelines_of_two_symbols_stand_beside_each_other(tmp_path) -> None:
    feed = qf.ReplayFeed([bar(index, 100.0, symbol) for index in range(5) for symbol in "AB"], speed=None)
    session = qf.paper(Always, feed, journal=tmp_path, cash=10_000.0).start().wait(20)
    first, second = session.timeline("A"), session.timeline("B")
    assert first.widget.comm is not None
    assert second.widget.comm is not None
    assert first.widget.comm is not None
    shown = first.widget
    assert first.widget is shown
    first.close()
    second.close()


def _all(widget: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    return [widget, *(found for child in getattr(widget, "children", ()) for found in _all(child))]
