"""What if and runs side by side in a real JupyterLab."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.browser import Pages

RUN = """import qfkit as qf

result = qf.backtest(qf.MovingAverageCrossover(fast=10), qf.sample("AAPL"))"""
BAND = "result.band().plot()"
BOTH = "result.what_if(params={'fast': 8}, costs=qf.Costs.harsh())"
MANY = "result.what_if({f'fast {fast}': {'params': {'fast': fast}} for fast in (4, 6, 12, 16, 20, 24, 28)}).plot()"
LINES = "([place, count]) => document.querySelectorAll('.jp-CodeCell')[place].querySelectorAll('.qfkit-plot .bqplot path.line').length >= count"


def test_the_charts_of_several_runs_are_drawn_in_light_and_dark(lab: "Pages") -> None:
    page = lab.open([RUN, BAND, BOTH, MANY])
    page.size(1200, 900)
    page.run_all()
    page.scroll_to(1)
    # Three curves in each of two charts, and the line at the start.
    page.wait_until(LINES, [1, 7])
    page.screenshot("band-light")
    page.scroll_to(2)
    assert "fast=8, harsh costs" in page.shown_text(2)
    page.screenshot("what-if-light")
    page.scroll_to(3)
    page.wait_until(LINES, [3, 17])
    page.screenshot("eight-light")
    page.theme("dark")
    page.screenshot("eight-dark")
    page.scroll_to(1)
    page.screenshot("band-dark")
