"""Reports: figures as the result has them, months by pandas, drawdowns by hand, nothing foreign left unescaped, a real browser."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import qfkit as qf
from qfkit.core.wording import money, percent, share
from qfkit.errors import ParameterError
from qfkit.tables import BarColumns
from qfkit.views.report.drawdowns import worst_drawdowns
from qfkit.views.report.exposure import exposures
from qfkit.views.report.months import returns_by
from qfkit.views.report.outlay import outlay_of
from qfkit.views.report.quality import bar_quality

if TYPE_CHECKING:
    from tests.browser import Browser

DAY_NS = 86_400_000_000_000
HOSTILE = '</title><script>alert("1")</script><img src=x onerror=alert(1)>\x1b'


class Page(HTMLParser):
    """The page as a reader of HTML sees it: tiles by figure, tables by row, tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.tiles: dict[str, str] = {}
        self.text = ""
        self._tile = ""
        self._in: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        own = dict(attrs)
        self.tags.append((tag, own))
        self._in.append(tag)
        self._tile = own.get("data-figure", self._tile)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if self._in and self._in[-1] == tag:
            self._in.pop()

    def handle_data(self, data):
        self.text += f"{data} " if "style" not in self._in else ""
        if "td" in self._in or "th" in self._in:
            self.rows[-1][-1] += data
        elif self._in[-1:] == ["b"] and self._tile:
            self.tiles.setdefault(self._tile, data)

    def row(self, label: str) -> list[str]:
        """The cells beside the first such label."""
        return next(row[1:] for row in self.rows if row and row[0] == label)


@pytest.fixture(scope="module")
def result() -> qf.Result:
    data = {symbol: qf.sample(symbol) for symbol in ("AAPL", "IBM")}
    strategies = {
        "fast": qf.MovingAverageCrossover(fast=5, slow=20),
        "slow": qf.MovingAverageCrossover(fast=20, slow=100),
    }
    return qf.backtest(strategies, data)


@pytest.fixture(scope="module")
def page(result) -> Page:
    return Page(result.report(tries=500).html)


# -- figures ----------------------------------------------------------------------------------


def test_the_headline_figures_are_those_of_the_result_with_their_intervals(result, page):
    metrics = result.metrics
    assert page.tiles["total_return"] == percent(metrics.total_return)
    assert page.tiles["cagr"] == percent(metrics.cagr)
    assert page.tiles["sharpe"] == money(metrics.sharpe)
    assert page.tiles["max_drawdown"] == share(metrics.max_drawdown)
    assert page.tiles["win_rate"] == share(metrics.win_rate)
    assert page.tiles["trades"] == f"{metrics.trades:,}"
    table = result.intervals().table
    assert f"{table.loc['sharpe', 'low']:.2f} to {table.loc['sharpe', 'high']:.2f}" in page.text
    for line in result.assumptions:
        assert line in page.text


def test_months_and_years_are_what_pandas_makes_of_the_equity(result, page):
    # A day's bar closes at the next midnight, and belongs to the day before.
    equity = result.equity["account"].copy()
    equity.index = equity.index - pd.Timedelta(1, "ns")
    for rule, form, kind in (("ME", "%Y-%m", "M"), ("YE", "%Y", "Y")):
        ends = equity.resample(rule).last()
        expected = ends / ends.shift(fill_value=result.starting_cash) - 1.0
        found = returns_by(kind, result._equity.times_ns, result._equity.account, result.starting_cash)
        assert list(found) == [stamp.strftime(form) for stamp in expected.index]
        assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-12)
        if kind == "M":
            june = f"{expected['2008-06'].iloc[0] * 100.0:+.2f}"
    # 2008, then January to June.
    assert page.row("2008")[5] == june


def test_the_worst_drawdowns_are_those_worked_by_hand():
    #         start 100: a fall to 80 until 110 is back at 100; one of 10 % from 120, one of 25 % that is not over.
    equity = np.array([100.0, 90.0, 80.0, 110.0, 120.0, 108.0, 120.0, 90.0, 95.0])
    times_ns = np.arange(1, 10, dtype=np.int64) * DAY_NS
    falls = worst_drawdowns(times_ns, equity, 100.0)
    assert [round(fall.depth, 9) for fall in falls] == [0.25, 0.2, 0.1]
    assert [(fall.peak_ns // DAY_NS, fall.lowest_ns // DAY_NS) for fall in falls] == [(7, 8), (1, 3), (5, 6)]
    assert [fall.back_ns and fall.back_ns // DAY_NS for fall in falls] == [None, 4, 7]
    assert [fall.days for fall in falls] == [2.0, 3.0, 2.0]
    assert worst_drawdowns(times_ns, np.maximum.accumulate(equity), 100.0) == []
    # Below the start from the first point on, for the start counts as a peak.
    assert worst_drawdowns(times_ns[:2], np.array([90.0, 95.0]), 100.0)[0].depth == pytest.approx(0.1)


def test_the_deepest_drawdown_of_the_table_is_the_max_drawdown(result, page):
    assert page.row("1")[0] == f"-{share(result.metrics.max_drawdown)}"


def test_exposure_is_positions_at_market_over_equity(result):
    found = exposures(result)
    fills = result.fills
    for moment in (200, 1_000, 2_500):
        time = result.equity.index[moment]
        value = 0.0
        for symbol in ("AAPL", "IBM"):
            # On bars a fill at the open is known when the bar closes, which is when the equity point is.
            own = fills[(fills.symbol == symbol) & (fills.index < time)]
            held = float((own.quantity * np.where(own.side == "buy", 1.0, -1.0)).sum())
            bars = result.bars[result.bars.symbol == symbol]
            value += held * float(bars[bars.close_time <= time].close.iloc[-1])
        assert found.net[moment] == pytest.approx(value / result.equity["account"].iloc[moment], abs=1e-9)
    assert (found.gross >= np.abs(found.net) - 1e-12).all()


def test_costs_are_the_fees_and_what_slippage_took(result, page):
    spent = outlay_of(result)
    assert spent.commission == pytest.approx(result.fills.fee.sum())
    # One basis point of the price before slippage, each way.
    paid = result.fills.quantity * result.fills.price
    sign = np.where(result.fills.side == "buy", 1.0, -1.0)
    assert spent.slippage == pytest.approx(float((paid * 1e-4 / (1.0 + sign * 1e-4)).sum()))
    assert spent.gross_profit - spent.total == pytest.approx(result.metrics.end_equity - result.starting_cash)
    assert page.row("all costs")[1] == share(spent.share_of_profit)


def test_without_costs_the_page_says_that_there_were_none():
    found = qf.backtest(qf.MovingAverageCrossover, qf.sample("IBM").iloc[:400], costs=qf.Costs.ideal())
    spent = outlay_of(found)
    assert spent.total == 0.0
    assert Page(found.report().html).row("all costs")[0] == "0.00"


def test_missing_and_unmoved_bars_are_counted():
    def columns(
        open_days: list[float], closes: list[float], timeframe: str = "1d", step_ns: int = DAY_NS
    ) -> BarColumns:
        open_ns = np.array([round(day * DAY_NS) for day in open_days], dtype=np.int64)
        close = np.array(closes)
        return BarColumns("A", timeframe, close, close, close, close, np.ones(len(close)), open_ns, open_ns + step_ns)

    # 1970 began on a Thursday. Days 1 (Friday), 4 (Monday), 6 and 7: Tuesday, day 5, is missing; the weekend is not.
    found = bar_quality(columns([1, 4, 6, 7], [1.0, 1.0, 1.0, 2.0]))
    assert (found.missing, found.still, found.longest_still, found.longest_ns) == (1, 2, 2, 2 * DAY_NS)
    # With a Saturday among them, day 2, the market is open every day.
    assert bar_quality(columns([1, 2, 6], [1.0, 2.0, 3.0])).missing == 3
    hour_ns = DAY_NS // 24
    hours = bar_quality(columns([4 + 9 / 24, 4 + 12 / 24, 5 + 9 / 24], [1.0, 2.0, 3.0], "1h", hour_ns))
    assert (hours.missing, hours.bars) == (2, 3)


# -- tries ------------------------------------------------------------------------------------


def test_more_tries_deflate_the_sharpe_ratio_and_none_say_so(result, page):
    few, many = (
        Page(result.report(tries=tries).html).row("deflated Sharpe ratio (probability of worth)")[0]
        for tries in (2, 100_000)
    )
    assert (
        float(few.split()[0])
        > float(page.row("deflated Sharpe ratio (probability of worth)")[0].split()[0])
        > float(many.split()[0])
    )
    assert "the best of 500 tries" in page.text
    assert "Nobody said how many" in Page(result.report().html).text
    with pytest.raises(ParameterError, match="tries=0"):
        result.report(tries=0)


def test_a_sweep_tells_its_best_how_many_were_tried_and_reports_itself(tmp_path):
    bars = qf.sample("IBM").iloc[:600]
    sweep = qf.sweep(qf.MovingAverageCrossover, bars, fast=[5, 10, 25], slow=[20, 40], executor=1)
    best = Page(sweep.best.report(tries=sweep).html)
    assert best.row("tried") == ["6"]
    path = sweep.report(tmp_path / "sweep.html")
    found = Page(path.read_text("utf-8"))
    assert found.row("tried") == ["6"]
    assert [row[1:3] for row in found.rows if row[:1] == ["1"]][0] == [
        f"{sweep.best_parameters['fast']}",
        f"{sweep.best_parameters['slow']}",
    ]
    # One that fails is told with its error.
    assert found.row("fast=25 must be below slow=20") == ["1"]
    pictures = [own["alt"] for tag, own in found.tags if tag == "img"]
    assert any("sharpe by fast and slow" in words for words in pictures) and len(pictures) == 3


# -- sessions ---------------------------------------------------------------------------------


def test_a_session_reports_its_stops_warnings_and_labels_what_is_made_up(tmp_path):
    feed = qf.SyntheticFeed(["BTCUSDT"], duration_s=300, speed=None)
    limits = {"account": qf.RiskLimits(max_drawdown=0.0005, on_breach={"max_drawdown": "flatten"})}
    strategy = qf.MovingAverageCrossover(fast=3, slow=8)
    session = qf.paper(strategy, feed, timeframe="5s", name="reported", risk=limits).start().wait(60)
    live = Page(session.report(tmp_path / "live.html").read_text("utf-8"))
    session.stop()
    read = Page(qf.read_session("reported").report(tmp_path / "read.html").read_text("utf-8"))
    for page in (live, read):
        assert "synthetic exchange" in page.text and "not real prices" in page.text
        assert page.row("fills") == [f"{len(session.fills):,}"]
        assert page.tiles["total_return"] == percent(session.result.metrics.total_return)
        assert any(row[1:3] == ["account", "began"] for row in page.rows) == bool(len(session.stops))
    assert len(session.stops)
    assert live.row("drawdown")[2:] != ["", ""]


# -- the page ---------------------------------------------------------------------------------


def test_foreign_text_stays_text():
    class Hostile(qf.MovingAverageCrossover):
        pass

    bars = qf.sample("IBM").iloc[:400]
    bars.attrs["label"] = HOSTILE
    found = qf.backtest({HOSTILE: Hostile()}, {HOSTILE: bars})
    html = found.report(title=HOSTILE).html
    assert "<script" not in html and "<img" not in html and "\x1b" not in html
    assert 'alert("1")' in Page(html).text
    shown = found.report()._repr_html_()
    assert shown.count("<iframe") == 1 and "<script" not in shown and 'sandbox=""' in shown


def test_the_page_asks_for_nothing_and_names_no_machine(result, page, tmp_path):
    path = result.report(tmp_path / "one.html")
    html = path.read_text("utf-8")
    assert path == tmp_path / "one.html" and len(html.encode()) < 200_000
    policy = next(own["content"] for tag, own in page.tags if own.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    for _, own in page.tags:
        for name in ("src", "href"):
            assert own.get(name, "#").startswith(("#", "data:"))
    assert "url(" not in html and "@import" not in html and str(Path.home()) not in html and str(tmp_path) not in html
    # The same run, the same page; and one's own file is written over.
    assert result.report(path).read_text("utf-8") == html


def test_a_report_that_cannot_be_written_says_why(result, tmp_path):
    with pytest.raises(ParameterError, match="no folder"):
        result.report(tmp_path / "missing" / "one.html")
    with pytest.raises(ParameterError, match="that is a folder"):
        result.report(tmp_path)
    with pytest.raises(ParameterError, match='ends in ".html"'):
        result.report(tmp_path / "one.pdf")
    with pytest.raises(ParameterError, match="no symbol of this run"):
        result.report(benchmark="APPL")


@pytest.mark.parametrize("count", [1, 3, 30])
def test_a_run_of_little_still_has_a_page(count):
    found = qf.backtest(qf.MovingAverageCrossover, qf.sample("IBM").iloc[:count], timeframe="1d")
    page = Page(found.report().html)
    assert page.tiles["trades"] == "0" and "nan" not in page.text.split()


def test_a_report_opens_in_a_browser_without_a_request_and_prints(chromium: "Browser", result, tmp_path) -> None:
    path = result.report(tmp_path / "report.html", tries=500)
    folder = os.environ.get("QFKIT_SCREENSHOTS")

    def look(scheme: str, width: int) -> dict:
        context = chromium._chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: errors.append(message.text))
        page.goto(path.as_uri())
        seen = page.evaluate(
            """() => ({
                wide: document.documentElement.scrollWidth, window: innerWidth,
                background: getComputedStyle(document.body).backgroundColor,
                lines: document.querySelectorAll('svg path.line').length,
                drawn: [...document.querySelectorAll('.area svg')].every(one => one.getBoundingClientRect().height > 100),
                sharpe: document.querySelector('[data-figure=sharpe] b').innerText,
            })"""
        )
        if folder:
            page.screenshot(path=f"{folder}/report-{scheme}-{width}.png", full_page=True)
        if (scheme, width) == ("dark", 1280):
            page.emulate_media(media="print")
            seen["printed"] = page.evaluate("getComputedStyle(document.body).backgroundColor")
            seen["pdf"] = page.pdf(format="A4", prefer_css_page_size=True)
            if folder:
                (Path(folder) / "report.pdf").write_bytes(seen["pdf"])
        context.close()
        return {**seen, "requests": requests, "errors": errors}

    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 390)):
        seen = chromium.do(lambda scheme=scheme, width=width: look(scheme, width))
        assert seen["requests"] == [path.as_uri()] and seen["errors"] == []
        assert seen["wide"] <= seen["window"] == width
        assert seen["sharpe"] == f"{result.metrics.sharpe:.2f}" and seen["lines"] >= 5 and seen["drawn"]
        assert (seen["background"] == "rgb(255, 255, 255)") == (scheme == "light")
        if "pdf" in seen:
            # Dark on the screen, light on paper.
            assert seen["printed"] == "rgb(255, 255, 255)"
            pages = len(re.findall(rb"/Type\s*/Page\b", seen["pdf"]))
            assert 4 <= pages <= 10, json.dumps(pages)
