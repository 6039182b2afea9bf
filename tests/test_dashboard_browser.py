"""The dashboard in a real JupyterLab and a real browser."""

import json
import time
from typing import TYPE_CHECKING, Any

from qfkit.core.events import Flatten, Pause, Resume, SetParameters, Stop
from qfkit.journal.reader import read_events

if TYPE_CHECKING:
    from tests.browser import LabPage, Pages, VoilaPages

_MADE = """import qfkit as qf


class Trend(qf.Strategy):
    \"\"\"Long while the fast average is above the slow one, else short.\"\"\"

    fast = qf.Param(5, low=2, high=60)
    slow = qf.Param(15, low=5, high=240)
    weight = qf.Param(0.25, low=0.0, high=1.0)

    def setup(self):
        self.fast_average = self.indicator(qf.SMA, self.fast)
        self.slow_average = self.indicator(qf.EMA, self.slow)

    def on_bar(self, bar):
        fast, slow = self.fast_average[bar.symbol], self.slow_average[bar.symbol]
        if fast.crossed_above(slow):
            print(bar.symbol, "goes up at", bar.close)
            self.order_target(bar.symbol, weight=self.weight, reason="crossed above")
            self.protect(bar.symbol, stop_loss=0.001, take_profit=0.002)
        elif fast.crossed_below(slow):
            self.order_target(bar.symbol, weight=-self.weight, reason="crossed below")


def made(name="mine", seed=7, **more):
    feed = qf.SyntheticFeed(["BTCUSDT", "ETHUSDT"], seed=seed, duration_s=None, speed=20.0,
                            prices={"BTCUSDT": 61_800.0, "ETHUSDT": 2_650.0})
    risk = qf.RiskLimits(max_position_weight=0.3, max_drawdown=0.2, max_daily_loss=0.03, max_orders_per_minute=30)
    return qf.paper(Trend(), feed, cash=100_000, timeframe="1s", name=name, risk=risk, assess_every_s=10,
                    margin=qf.Margin.regulation_t(), **more)


session = made().start()"""
_DASH = ".qfkit-dash"
_CANDLES = f"{_DASH} .ohlc_candles, {_DASH} .stick"
# What is wider than its box and does not show it, but for texts that end in an ellipsis and say the whole in a hint.
# What is out of sight is laid out when it comes into view.
_SEEN = "(one.getBoundingClientRect().top < innerHeight && one.getBoundingClientRect().bottom > 0)"
_CUT = f"""() => [...document.querySelectorAll('.qfkit-dash *')].filter(one => {_SEEN} &&
    one.clientWidth && one.scrollWidth > one.clientWidth + 3 && getComputedStyle(one).overflowX !== 'visible'
    && !one.closest('svg, select, .noUi-target') && !one.classList.contains('q-cut'))
    .map(one => one.className + ' ' + one.scrollWidth + ' > ' + one.clientWidth + ': ' + one.innerText)"""
_LAST = f"{_DASH} .q-t:not(.q-thin)"


def opened(lab: "Pages", *cells: str) -> "LabPage":
    page = lab.open([_MADE, *cells])
    page.size(1300, 1300)
    page.run_all()
    page.wait_for(_CANDLES)
    return page


def events(page: "LabPage", kind: type, name: str = "session") -> list[Any]:
    path = page.value(f"str({name}.journal_path)")
    return [event for batch in read_events(path) for event in batch if isinstance(event, kind)]


def click(page: "LabPage", text: str) -> None:
    page.do(lambda shown: shown.locator(f"{_DASH} button", has_text=text).first.click())


def laid_out(page: "LabPage") -> None:
    """Wait for the figures: they are laid out anew a moment after their boxes."""
    page.wait_until(
        f"""[...document.querySelectorAll('.q-plot')].every(one => !{_SEEN} ||
            Math.abs(one.querySelector('.bqplot svg').getBoundingClientRect().width - one.clientWidth) < 2)"""
    )


def until_events(page: "LabPage", kind: type, count: int) -> list[Any]:
    end_s = time.monotonic() + 10.0
    while len(found := events(page, kind)) < count:
        assert time.monotonic() < end_s, f"{kind.__name__} did not come: {found}"
    return found


def test_the_candles_move_and_buttons_and_sliders_are_in_the_journal(lab: "Pages") -> None:
    page = opened(lab, "session")
    before = page.text(_LAST)
    page.wait_until("([selector, before]) => document.querySelector(selector).textContent !== before", [_LAST, before])
    click(page, "Pause")
    page.wait_until("document.querySelector('.qfkit-dash').innerText.includes('paused')")
    click(page, "Resume")
    page.wait_until("document.querySelector('.qfkit-dash .q-head').innerText.includes('running')")
    assert len(until_events(page, Pause, 1)) == len(until_events(page, Resume, 1)) == 1

    # The handle is dragged; while it moves nothing is sent.
    handle = f"{_DASH} .q-knobs .noUi-handle"

    def drag(shown: Any) -> None:
        place = shown.locator(handle).first
        place.scroll_into_view_if_needed()
        box = place.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        shown.mouse.move(x, y)
        shown.mouse.down()
        shown.mouse.move(x + 12, y, steps=6)
        shown.mouse.up()

    page.do(drag)
    moved = until_events(page, SetParameters, 1)
    assert len(moved) == 1 and set(moved[0].parameters) == {"fast"} and moved[0].parameters["fast"] > 5
    # By the keyboard too; the average would be slower than the slow one at the end of the axis.
    page.do(lambda shown: shown.locator(handle).first.press("ArrowLeft"))
    assert until_events(page, SetParameters, 2)[1].parameters["fast"] == moved[0].parameters["fast"] - 1

    assert events(page, Flatten) == []
    click(page, "Flatten")
    page.wait_for(f"{_DASH} .q-ask")
    page.screenshot("dashboard-asks", _DASH)
    click(page, "Close all")
    until_events(page, Flatten, 1)
    page.wait_until("document.querySelector('.qfkit-dash').innerText.includes('session.lift() lifts it')")
    click(page, "Stop")
    page.wait_until("document.querySelector('.qfkit-dash .q-head').innerText.includes('stopped')")
    assert len(events(page, Stop)) == 1
    assert page.value("session.state") == "stopped"


def test_two_views_stay_in_step_and_a_page_that_comes_back_shows_the_present(lab: "Pages") -> None:
    page = opened(lab, "session", "session.dashboard()")
    page.wait_until(f"document.querySelectorAll('{_DASH}').length === 2")
    page.do(lambda shown: shown.locator(f"{_DASH} select").first.select_option(label="ETHUSDT"))
    page.wait_until(
        f"[...document.querySelectorAll('{_DASH} .q-t:not(.q-thin)')].filter(one => one.textContent.startsWith('2,')).length === 2"
    )
    # What stands in for the dashboard where no kernel answers is there, and hidden.
    assert page.count(".qfkit-still") == 2
    assert page.evaluate("[...document.querySelectorAll('.qfkit-still')].every(one => one.offsetHeight === 0)")
    drawings = page.value("session.dashboard().drawings")
    page.close_tab()
    page.open_tab()
    page.wait_until(f"document.querySelectorAll('{_DASH}').length === 2")
    page.wait_for(_CANDLES)
    assert page.value("session.dashboard().drawings") > drawings
    # Ended, for what works may fill after a pause too.
    value = page.value("f'{session.stop().snapshot.cash:,.2f}'")
    page.wait_until(f"value => document.querySelector('{_DASH} .q-figures').innerText.includes(value)", value)


def test_cells_that_are_run_again_leave_one_dashboard(lab: "Pages") -> None:
    page = opened(lab, "session")
    page.wait_until("document.querySelector('.qfkit-dash .q-keys')?.innerText.includes('slow average')")
    count = "len(__import__('ipywidgets').widgets.widget._instances)"
    before, threads = page.value(count), page.value("__import__('threading').active_count()")
    for _ in range(3):
        page.run_all()
        # A line has its widget once it is ready.
        page.wait_until("document.querySelector('.qfkit-dash .q-keys')?.innerText.includes('slow average')")
    assert page.value(count) == before
    assert page.value("__import__('threading').active_count()") <= threads
    assert page.count(_DASH) == 1
    assert page.value("__import__('qfkit.views.dashboard.pump', fromlist=['pump']).pump.count") == 1


def test_a_saved_notebook_without_a_kernel_shows_the_picture(lab: "Pages") -> None:
    page = opened(lab, "session", "session.stop()\nprint(session.state)")
    page.wait_until(
        "qfkitTest.outputs(1).some(one => (one.data['text/html'] ?? '').toString().includes(', stopped, '))"
    )
    page.save()
    stored = json.loads((page.server.notebooks / page.path).read_text())
    still = [one["data"] for one in stored["cells"][1]["outputs"] if "image/png" in one["data"]]
    assert len(still) == 1
    assert "stopped" in "".join(still[0]["text/plain"])
    page.server.shut_down(page.path)
    page.do(lambda shown: shown.reload())
    page.wait_for(".qfkit-still img")
    assert page.count(f"{_DASH} .q-head") == 0
    page.screenshot("dashboard-without-a-kernel")
    # The page says itself that it found no model.
    page.console_errors.clear()


def test_it_fits_narrow_and_wide_in_dark_and_in_light(lab: "Pages") -> None:
    page = opened(lab, "session", "qf.dashboard(session, made('other', 9).start())", "session.dashboard(compact=True)")
    page.wait_until("document.querySelectorAll('.qfkit-dash')[0].querySelectorAll('.q-why').length > 4")
    for theme in ("dark", "light"):
        page.theme(theme)
        for width, height in ((1600, 1600), (700, 2900)):
            page.size(width, height)
            page.scroll_to(1)
            page.wait_until(
                "width => Math.abs(document.querySelector('.qfkit-dash').getBoundingClientRect().right - width) < 120",
                width,
            )
            laid_out(page)
            page.screenshot(f"dashboard-{theme}-{width}", _DASH)
            end_s = time.monotonic() + 5.0
            while (cut := page.evaluate(_CUT)) and time.monotonic() < end_s:
                pass
            assert cut == []
            overlapping = page.evaluate(
                """() => [...document.querySelectorAll('.qfkit-dash')].flatMap(dash => {
                    const cards = [...dash.querySelectorAll('.q-card')].filter(one => !one.querySelector('.q-card'))
                        .map(one => one.getBoundingClientRect());
                    return cards.flatMap((first, place) => cards.slice(place + 1).filter(second =>
                        first.left < second.right - 1 && second.left < first.right - 1
                        && first.top < second.bottom - 1 && second.top < first.bottom - 1)).map(one => one.toJSON());
                })"""
            )
            assert overlapping == []
    page.size(1300, 900)
    page.scroll_to(3)
    laid_out(page)
    page.screenshot("dashboard-several", f"{_DASH} >> nth=1")
    page.screenshot("dashboard-compact", f"{_DASH} >> nth=2")


def test_it_moves_while_a_cell_sleeps(lab: "Pages") -> None:
    page = opened(lab, "session", "import time")
    page.edit(2, "time.sleep(60)")
    page.run(2, wait=False)
    page.wait_until("qfkitTest.isBusy()")
    for _ in range(3):
        before = page.text(_LAST)
        page.wait_until(
            "([selector, before]) => document.querySelector(selector).textContent !== before", [_LAST, before], 5.0
        )
    assert page.evaluate("qfkitTest.isBusy()")
    page.interrupt()
    page.wait_idle(5.0)


def test_under_voila_it_is_a_web_page(voila: "VoilaPages") -> None:
    page = voila.open([_MADE, "session"])
    page.size(1300, 1300)
    page.wait_for(_CANDLES)
    before = page.text(_LAST)
    page.wait_until("([selector, before]) => document.querySelector(selector).textContent !== before", [_LAST, before])
    assert page.evaluate("[...document.querySelectorAll('.qfkit-still')].every(one => one.offsetHeight === 0)")
    page.screenshot("dashboard-voila")
    page.do(lambda shown: shown.locator(f"{_DASH} button", has_text="Stop").first.click())
    page.wait_until("document.querySelector('.qfkit-dash .q-head').innerText.includes('stopped')")
