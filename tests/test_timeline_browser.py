"""The timeline and an order's story in a real JupyterLab."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.browser import Pages

RUN = """import qfkit as qf

feed = qf.feeds.SyntheticFeed(["BTCUSDT"], duration_s=600, speed=None)
session = qf.paper(qf.MovingAverageCrossover(fast=3, slow=8), feed, timeframe="5s", name="seen").start().wait(60)"""
LINE = ".qfkit-timeline"
HANDLE = f"{LINE} > .widget-hbox .noUi-handle"
SHOWS = "([selector, text]) => !!document.querySelector(selector)?.innerText.includes(text)"


def test_the_keyboard_and_the_buttons_go_through_a_session_and_a_story_is_read(lab: "Pages") -> None:
    page = lab.open([RUN, "line = session.timeline(most=60)\nline", "session.why()"])
    page.size(1200, 1300)
    page.run_all()
    page.scroll_to(1)
    last = page.value("len(line)")
    page.wait_until(SHOWS, [LINE, f"{last} of {last}"])
    page.wait_until("selector => !!document.querySelector(selector + ' .bqplot g.stick')", LINE)
    # What stands in for it without a kernel is there, and hidden.
    assert ["text/html" in one["data"] for one in page.outputs(1)] == [False, True]
    assert page.evaluate("[...document.querySelectorAll('.qfkit-still')].every(one => !one.offsetParent)")
    page.screenshot("timeline-light")
    page.do(lambda window: window.locator(HANDLE).focus())
    page.do(lambda window: window.keyboard.press("ArrowLeft"))
    page.wait_until(SHOWS, [LINE, f"{last - 1} of {last}"])
    # Back to the last fill: the label tells it, and the figures are those of that moment.
    page.click(f"{LINE} button:has-text('◀ event')")
    page.wait_until(
        "selector => /(buy|sell) [\\d.]+ BTCUSDT at /.test(document.querySelector(selector).innerText)", LINE
    )
    label = page.text(f"{LINE} > .widget-html")
    place = int(label.split(" of ")[0].split()[-1]) - 1
    equity = page.value(f"f'{{line.snapshots[{place}].equity:,.2f}}'")
    assert equity in label
    page.wait_until(SHOWS, [f"{LINE} .qfkit-dash", equity])
    page.do(lambda window: window.locator(HANDLE).focus())
    page.do(lambda window: window.keyboard.press("Home"))
    page.wait_until(SHOWS, [LINE, f"1 of {last}"])
    page.theme("dark")
    page.click(f"{LINE} button:has-text('event ▶')")
    page.screenshot("timeline-dark")
    page.scroll_to(2)
    text = page.shown_text(2)
    for words in ("Who and why", "Decided on the 5s bar of BTCUSDT", "Filters and limits", "What it cost"):
        assert words in text
    page.screenshot("story-dark")
    page.theme("light")
    page.screenshot("story-light")
