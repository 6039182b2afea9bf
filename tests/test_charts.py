"""The pictures of a run: the static one, the widgets, and what both are drawn from."""

import re
import warnings
from base64 import b64decode
from xml.etree import ElementTree

import bqplot
import ipywidgets
import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qfkit import Strategy, backtest, sample, signal
from qfkit.core.costs import Costs
from qfkit.core.orders import Fill, Side
from qfkit.core.records import Records
from qfkit.errors import ParameterError
from qfkit.result import Result
from qfkit.strategies import MovingAverageCrossover
from qfkit.tables import EquityColumns, bar_columns
from qfkit.views.charts import Plot, _key, plot
from qfkit.views.picture import BLUE, ORANGE, TEAL, VERMILION, describe, run_svg
from qfkit.views.series import MOST_CANDLES, MOST_POINTS, around, round_ticks, run_series, thin, value_text
from tests.support import DAY, MINUTE, SECOND, START, bars, walk

HOSTILE = '<script>alert("1")</script>&\x1b\x00'
SVG = "{http://www.w3.org/2000/svg}"
TRIANGLE = re.compile(r"M([-\d.]+) ([-\d.]+)l([-\d.]+) ([-\d.]+)h([-\d.]+)z")


class Picture:
    """An SVG read back: its texts, its triangles and every number of its paths."""

    def __init__(self, svg: str | bytes) -> None:
        self.root = ElementTree.fromstring(svg)
        self.size = [float(self.root.get(name)) for name in ("width", "height")]
        self.texts = [node.text for node in self.root.iter(f"{SVG}text")]
        self.paths = [(node.get("d"), node.get("fill"), node.get("stroke")) for node in self.root.iter(f"{SVG}path")]
        self.numbers = [float(word) for d, _, _ in self.paths for word in re.findall(r"[^A-Za-z ]+", d)]
        self.triangles = [
            (float(found[1]), float(found[2]), "buy" if float(found[4]) > 0.0 else "sell", fill)
            for d, fill, _ in self.paths
            if (found := TRIANGLE.fullmatch(d))
        ]

    def in_plot(self, entry_names=("entry", "exit", "long entry", "long exit", "short entry", "short exit")):
        """The triangles that are fills, without those of the legend."""
        named = sum(text in entry_names for text in self.texts)
        # The legend's own are drawn last of the price pane's.
        return self.triangles[: len(self.triangles) - named]


def fill(index, side, quantity, price, symbol="A", strategy="s"):
    time_ns = START + index * MINUTE
    return Fill(index, index, symbol, side, quantity, price, 0.0, time_ns, time_ns, price, strategy, "")


def series_of(rows, fills=(), equity=None, starting_equity=100.0):
    columns = bar_columns(rows)
    own = next(iter(columns.values()), None)
    if equity is None:
        equity = np.full(len(rows), starting_equity)
    times_ns = np.array([bar.close_ns for bar in rows], dtype=np.int64)
    points = EquityColumns(times_ns, np.asarray(equity, dtype=np.float64).reshape(-1, 1))
    return run_series(own, fills, points, starting_equity=starting_equity)


@signal(fast=10, slow=30)
def both_ways(bars, fast, slow):
    return np.where(bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean(), 1.0, -1.0)


@pytest.fixture(scope="module")
def daily() -> Result:
    return backtest(MovingAverageCrossover(), {"AAPL": sample("AAPL")})


@pytest.fixture(scope="module")
def shorts() -> Result:
    return backtest(both_ways(), {"AAPL": sample("AAPL").iloc[-250:]})


@pytest.fixture(scope="module")
def minutes() -> Result:
    """240 one-minute bars, as candles."""
    rows = walk(240, seed=3)
    return backtest(MovingAverageCrossover(fast=5, slow=12, weight=1.0), rows)


RUNS = ["daily", "shorts", "minutes"]


# -- the static picture -----------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS)
def test_the_picture_is_sound_and_stays_inside_its_frame(run, request):
    result = request.getfixturevalue(run)
    picture = Picture(result.picture())
    assert picture.root.tag == f"{SVG}svg"
    assert np.isfinite(picture.numbers).all()
    text = result.picture().decode()
    assert not re.search(r"\b(nan|inf)\b", text, re.IGNORECASE)
    assert "<script" not in text and "href" not in text
    width, height = picture.size
    for node in picture.root.iter():
        for name, most in (("x", width), ("y", height)):
            assert 0.0 <= float(node.get(name, 0.0)) <= most
    assert picture.root.find(f"{SVG}title").text.startswith("price of ")
    assert {"equity", "drawdown"} < set(picture.texts)


@pytest.mark.parametrize("run", RUNS)
def test_there_are_as_many_marks_as_fills(run, request):
    result = request.getfixturevalue(run)
    marks = Picture(result.picture()).in_plot()
    assert len(marks) == len(result.fills) > 5
    sides = [side for _, _, side, _ in marks]
    assert sides == result.fills["side"].tolist()
    # From left to right, in the order of time.
    assert [x for x, _, _, _ in marks] == sorted(x for x, _, _, _ in marks)


def test_a_run_of_longs_has_an_entry_for_each_buy_and_an_exit_for_each_sell(daily):
    picture = Picture(daily.picture())
    colours = {side: {fill for _, _, own, fill in picture.in_plot() if own == side} for side in ("buy", "sell")}
    assert colours == {"buy": {BLUE}, "sell": {ORANGE}}
    assert {"entry", "exit"} < set(picture.texts) and "long entry" not in picture.texts


def test_a_position_that_is_turned_round_is_an_entry_to_the_other_side(shorts):
    # Each order but the first goes from long to short or back at one stroke: an entry, and six trades by seven fills.
    assert len(shorts.trades) == len(shorts.fills) - 1
    picture = Picture(shorts.picture())
    assert {fill for _, _, _, fill in picture.in_plot()} == {BLUE}
    assert {"long entry", "short entry"} < set(picture.texts)
    assert not {"long exit", "short exit"} & set(picture.texts)


def test_what_each_fill_did_to_the_position():
    buy, sell = Side.BUY, Side.SELL
    done = [(buy, 1.0), (buy, 1.0), (sell, 0.5), (sell, 1.5), (sell, 2.0), (buy, 1.0), (buy, 3.0), (sell, 2.0)]
    fills = [fill(number, side, quantity, 100.0) for number, (side, quantity) in enumerate(done)]
    marks = series_of(walk(10), fills).marks
    # begins, adds, reduces, ends; begins short, reduces; turns to long, ends
    assert [mark.opens for mark in marks] == [True, True, False, False, True, False, True, False]


def test_rounding_leaves_no_position_and_strategies_have_their_own():
    thirds = [fill(0, Side.BUY, 0.1, 10.0), fill(1, Side.BUY, 0.2, 10.0), fill(2, Side.SELL, 0.3, 10.0)]
    after = [fill(3, Side.SELL, 1.0, 10.0), fill(4, Side.BUY, 1.0, 10.0, strategy="other")]
    assert [mark.opens for mark in series_of(walk(10), thirds + after).marks] == [True, True, False, True, True]


def test_marks_stand_at_their_price_and_time():
    rows = bars([(100, 101, 99, 100), (110, 111, 109, 110), (120, 121, 119, 120), (130, 131, 129, 130)])
    series = series_of(rows, [fill(2, Side.BUY, 1.0, 110.0), fill(4, Side.SELL, 1.0, 130.0)])
    assert [(mark.position, mark.price) for mark in series.marks] == [(1.0, 110.0), (3.0, 130.0)]
    picture = Picture(run_svg(series))
    (x1, y1, _, _), (x2, y2, _, _) = picture.in_plot()
    bodies = [d for d, fill, _ in picture.paths if fill in (TEAL, VERMILION) and d.count("h") > 1]
    middles = [
        (float(left) + float(width) / 2, float(top))
        for d in bodies
        for left, top, width in re.findall(r"M([-\d.]+) ([-\d.]+)h([-\d.]+)V", d)
    ]
    # The buy points up to its price with its tip, on the middle of the second candle.
    assert x1 == pytest.approx(middles[1][0], abs=0.2) and x2 == pytest.approx(middles[3][0], abs=0.2)
    assert y1 + 5.5 == pytest.approx(middles[1][1], abs=0.2) and y2 - 5.5 == pytest.approx(middles[3][1], abs=0.2)


def test_no_candle_is_cut_or_lies_on_another(minutes):
    (rose, fell) = [d for d, fill, _ in Picture(minutes.picture()).paths if fill in (TEAL, VERMILION) and "z" in d][:2]
    bodies = sorted(
        (float(left), float(width)) for left, width in re.findall(r"M([-\d.]+) [-\d.]+h([\d.]+)V", rose + fell)
    )
    assert len(bodies) == 240
    assert bodies[0][0] >= 1.0 and sum(bodies[-1]) <= 876.0
    assert all(left + width <= next_ for (left, width), (next_, _) in zip(bodies, bodies[1:]))


def test_a_few_hundred_bars_are_candles_and_more_are_a_line():
    assert series_of(walk(MOST_CANDLES)).candles is not None
    many = series_of(walk(MOST_CANDLES + 1))
    assert many.candles is None and len(many.price) == MOST_CANDLES + 1
    assert "A 1m close" in Picture(run_svg(many)).texts
    assert "A 1m bars" in Picture(run_svg(series_of(walk(20)))).texts


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_run_of_hardly_any_bars_is_drawn(count):
    series = series_of(walk(count))
    picture = Picture(run_svg(series, "a title"))
    assert np.isfinite(picture.numbers).all()
    assert ("equity" in picture.texts) == (count > 1)
    if not count:
        assert "nothing to draw: fewer than two equity points and no bars" in picture.texts
        assert describe(series) == "nothing to draw yet"


def test_a_run_that_stood_still_is_drawn_with_room_around_the_line():
    series = series_of(bars([(5.0, 5.0, 5.0, 5.0)] * 4), equity=[100_000.0] * 4, starting_equity=100_000.0)
    picture = Picture(run_svg(series))
    assert np.isfinite(picture.numbers).all()
    assert {"100,000.00", "99,000", "101,000", "0.00 %"} < set(picture.texts)


def test_rounding_of_the_equity_is_not_blown_up_to_a_curve():
    wobble = 100_000.0 + np.array([0.0, 1.5e-11, -1.5e-11, 0.0])
    picture = Picture(run_svg(series_of(walk(4), equity=wobble, starting_equity=100_000.0)))
    assert "100,000.00" in picture.texts
    assert max(map(len, picture.texts)) < 20


def test_an_account_that_lost_more_than_everything_is_drawn():
    picture = Picture(run_svg(series_of(walk(4), equity=[100.0, 50.0, -20.0, -30.0])))
    assert np.isfinite(picture.numbers).all()
    assert "-130.00 %" in picture.texts


@pytest.mark.parametrize("price", [1e-7, 0.000012, 0.5, 64_000.0, 3e9])
def test_labels_fit_in_their_margin_at_any_size_of_price(price):
    rows = bars([(price, price * 1.02, price * 0.97, price * 1.01) for _ in range(30)])
    svg = run_svg(series_of(rows, equity=price * 1e6 * np.linspace(1, 1.1, 30), starting_equity=price * 1e6))
    for node in Picture(svg).root.iter(f"{SVG}text"):
        if float(node.get("x")) > 880.0:
            assert node.get("textLength") == "70" or len(node.text) * 7.0 <= 70.0
    labels = [node.text for node in Picture(svg).root.iter(f"{SVG}text") if float(node.get("x")) > 880.0]
    assert len(labels) == len(set(labels)) or labels.count("0 %") == 1


def test_hostile_names_stay_text_in_the_picture():
    series = series_of(walk(20, symbol=HOSTILE), [fill(3, Side.BUY, 1.0, 100.0, symbol=HOSTILE)])
    svg = run_svg(series, HOSTILE)
    assert "<script" not in svg
    texts = Picture(svg).texts
    shown = HOSTILE.replace("\x1b", "\ufffd").replace("\x00", "\ufffd")
    assert shown in texts and f"{shown} 1m bars" in texts


def test_a_long_title_leaves_room_for_the_dates():
    picture = Picture(run_svg(series_of(walk(20)), "name(parameter=1, " * 30))
    title, dates = picture.texts[:2]
    assert title.endswith("…") and len(title) < 80
    assert dates == "2023-11-15 00:01:00 to 00:20:00 UTC"
    assert Picture(run_svg(series_of(walk(20)), "short(a=1)")).texts[0] == "short(a=1)"


def test_a_lone_surrogate_in_a_name_is_no_error():
    records = Records()
    records.bars = walk(3, symbol="A\ud800")
    records.equity = [(bar.close_ns, 1e5) for bar in records.bars]
    result = Result(
        records, strategy_names=["s\ud800"], parameters={}, starting_cash=1e5, costs=Costs(), timeframe="1m"
    )
    Picture(result.picture())
    repr(result).encode()
    result._repr_html_().encode()
    result.plot()


# -- which symbol -----------------------------------------------------------------------------


def test_the_symbol_with_most_fills_is_shown_unless_one_is_named():
    data = {name: sample(name).iloc[-300:] for name in ("AAPL", "IBM", "MSFT")}
    result = backtest(MovingAverageCrossover(fast=5, slow=12), data)
    counts = result.fills["symbol"].value_counts()
    assert f"price of {counts.idxmax()} with {counts.max()} fills" in result.picture().decode()
    for symbol in data:
        own = Picture(result.picture(symbol))
        assert f"{symbol} 1d bars" in own.texts
        assert len(own.in_plot()) == counts[symbol]
        assert f"price of {symbol} with" in repr(result.plot(symbol))
    for draw in (result.plot, result.picture):
        with pytest.raises(ParameterError, match=r"no bars of 'APPL' in this run\. Did you mean 'AAPL'\?"):
            draw("APPL")


def test_a_run_on_ticks_without_bars_shows_its_equity():
    times_ns = START + SECOND * np.arange(5)
    equity = EquityColumns(times_ns, np.array([[100.0], [101.0], [99.0], [102.0], [103.0]]))
    series = run_series(None, [fill(0, Side.BUY, 1.0, 10.0)], equity, starting_equity=100.0)
    picture = Picture(run_svg(series))
    assert "equity" in picture.texts and not picture.triangles
    assert len(plot(series).children) == 5


# -- the widgets ------------------------------------------------------------------------------


def figures(chart: Plot) -> list[bqplot.Figure]:
    return [child for child in chart.children if isinstance(child, bqplot.Figure)]


@pytest.mark.parametrize("run", RUNS)
def test_the_plot_is_made_of_widgets_without_a_warning(run, request):
    result = request.getfixturevalue(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chart = result.plot()
    assert isinstance(chart, ipywidgets.VBox)
    price, equity, drawdown = figures(chart)
    scatters = [mark for mark in price.marks if isinstance(mark, bqplot.Scatter)]
    assert sum(len(mark.x) for mark in scatters) == len(result.fills)
    for figure in (price, equity, drawdown):
        for mark in figure.marks:
            assert mark.x.dtype == mark.y.dtype == np.float32
            assert np.isfinite(mark.x).all() and np.isfinite(mark.y).all()
            low, high = mark.scales["y"].min, mark.scales["y"].max
            assert mark.y.min() >= low - 1e-4 * abs(low) and mark.y.max() <= high + 1e-4 * abs(high)
        assert figure.marks[0].scales["x"].min == price.marks[0].scales["x"].min
        assert figure.marks[0].scales["x"].max == price.marks[0].scales["x"].max
        assert max(len(mark.x) for mark in figure.marks) <= MOST_POINTS
        for axis in figure.axes:
            # The page looks a label up by the value as JavaScript writes it.
            assert set(axis.tick_labels) == {_key(value) for value in axis.tick_values}
    assert equity.marks[1].y[-1] == pytest.approx(result.metrics.end_equity, rel=1e-6)
    assert drawdown.marks[0].y.min() == pytest.approx(-100.0 * result.metrics.max_drawdown, rel=1e-5)
    # Times are written under the last chart only.
    assert not "".join(price.axes[0].tick_labels.values()).strip()
    assert "".join(drawdown.axes[0].tick_labels.values()).strip()


def test_a_candle_has_wick_and_outline_in_the_colour_of_its_body(minutes):
    chart = minutes.plot()
    candles = figures(chart)[0].marks[0]
    assert isinstance(candles, bqplot.OHLC) and candles.y.shape == (240, 4)
    for colour in candles.colors:
        red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
        assert (
            f'[style*="fill: rgb({red}, {green}, {blue})"] {{ stroke: {colour} !important; }}'
            in chart.children[0].value
        )


def test_where_no_kernel_answers_the_picture_stands_in(minutes):
    bundle = minutes.plot()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    source = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', bundle["text/html"])[1]
    assert b64decode(source) == minutes.picture()
    assert "<script" not in bundle["text/html"]
    assert bundle["text/plain"].startswith("Plot(price of A with ")
    assert repr(minutes.plot()) == bundle["text/plain"]


def test_hostile_names_stay_text_in_the_widgets():
    chart = plot(series_of(walk(20, symbol=HOSTILE), [fill(3, Side.BUY, 1.0, 100.0, symbol=HOSTILE)]), HOSTILE)
    for child in chart.children:
        if isinstance(child, ipywidgets.HTML):
            assert "<script" not in child.value
    assert "<script" not in chart._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_plot_of_hardly_any_points(count):
    chart = plot(series_of(walk(count)))
    assert len(figures(chart)) == {0: 0, 1: 1, 2: 3}[count]
    if not count:
        assert "nothing to draw" in chart.children[-1].value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (30.0, "30"),
        (-0.5, "-0.5"),
        (100_000.0, "100000"),
        (0.1 + 0.2, "0.30000000000000004"),
        (2e-6, "0.000002"),
        (5e-7, "5e-7"),
        (1.5e-7, "1.5e-7"),
    ],
)
def test_a_tick_is_found_by_its_value_as_javascript_writes_it(value, text):
    assert _key(value) == text


# -- what both are drawn from -----------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(10, 60))
def test_thinning_keeps_the_ends_and_the_extremes(values, most):
    y = np.array(values)
    x = np.arange(len(y), dtype=float)
    fewer_x, fewer_y = thin(x, y, most)
    assert len(fewer_y) <= max(most, 2)
    assert fewer_x[0] == 0 and fewer_x[-1] == len(y) - 1
    assert fewer_y.min() == y.min() and fewer_y.max() == y.max()
    assert (np.diff(fewer_x) > 0).all()
    assert (y[fewer_x.astype(int)] == fewer_y).all()


def test_thinning_leaves_out_what_is_not_finite():
    x, y = thin(np.arange(4.0), np.array([1.0, np.nan, np.inf, 2.0]))
    assert x.tolist() == [0.0, 3.0] and y.tolist() == [1.0, 2.0]


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_few_round_and_inside(low, spread):
    low, high = around(low, low + spread)
    ticks = round_ticks(low, high)
    room = (high - low) * 1e-6
    assert 1 <= len(ticks) <= 11
    assert all(low - room <= value <= high + room for value, _ in ticks)
    assert len({name for _, name in ticks}) == len(ticks)


def test_ticks_worked_by_hand():
    assert [name for _, name in round_ticks(0.0, 100.0)] == ["0", "20", "40", "60", "80", "100"]
    assert [name for _, name in round_ticks(0.98, 1.04, 3)] == ["0.98", "1.00", "1.02", "1.04"]
    assert [name for _, name in round_ticks(-20.0, 0.0, 2, " %")] == ["-20 %", "-10 %", "0 %"]


def test_a_value_has_the_decimals_that_tell_it_apart():
    assert value_text(203_294.69, 120_000.0) == "203,295"
    assert value_text(41_414.853, 900.0) == "41,414.85"
    assert value_text(0.000012345, 0.0000005) == "0.00001234"
    assert value_text(100_000.0, 0.0) == "100,000.00"
    assert value_text(-0.0001, 100.0) == "0.00"


def spaced(step_ns, count, start_ns=START):
    close_ns = start_ns + step_ns * np.arange(count, dtype=np.int64)
    values = np.full((count, 1), 100.0)
    return run_series(None, [], EquityColumns(close_ns, values), starting_equity=100.0).ticks


def test_times_are_named_by_what_they_are():
    assert [name for _, name in spaced(MINUTE, 240)][:3] == ["15 Nov", "00:30", "01:00"]
    assert [name for _, name in spaced(SECOND, 60)][:2] == ["15 Nov", "00:00:10"]
    assert [name for _, name in spaced(MINUTE, 2_500)][:4] == ["15 Nov", "06:00", "12:00", "18:00"]
    assert [name for _, name in spaced(DAY, 60)][:2] == ["20 Nov", "27 Nov"]
    assert [name for _, name in spaced(DAY, 400)][:2] == ["Jan 2024", "Mar 2024"]
    assert [name for _, name in spaced(DAY, 5_000)][:2] == ["2024", "2026"]


@pytest.mark.parametrize("run", ["daily", "shorts"])
def test_times_stand_about_evenly(run, request):
    picture = Picture(request.getfixturevalue(run).picture())
    series = request.getfixturevalue(run)._series()
    places = np.diff([place for place, _ in series.ticks])
    assert 4 <= len(series.ticks) <= 8
    assert places.max() < 1.3 * places.min()
    assert all(name in picture.texts for _, name in series.ticks)


def test_nights_take_no_room_and_days_are_named():
    days = [pandas.date_range(f"2024-01-{day:02} 14:30", periods=390, freq="1min", tz="UTC") for day in (2, 3, 4, 5, 8)]
    index = days[0].append(days[1:])
    closes = 100.0 + np.sin(np.arange(len(index)) / 50.0)
    frame = pandas.DataFrame(dict.fromkeys(("open", "high", "low", "close"), closes), index=index)
    result = backtest(Idle(), {"A": frame.assign(volume=1.0)}, timeframe="1m")
    series = result._series()
    assert series.last == len(index) - 1
    names = [name for _, name in series.ticks]
    assert names == ["3 Jan", "4 Jan", "5 Jan", "8 Jan"]
    opens = [390 * day for day in (1, 2, 3, 4)]
    assert [place for place, _ in series.ticks] == opens


def test_a_round_time_names_no_later_moment():
    day = pandas.date_range("2024-01-02 14:30", periods=390, freq="1min", tz="UTC")
    index = day.append(day + pandas.Timedelta(days=1))
    close_ns = index.as_unit("ns").asi8 + MINUTE
    equity = EquityColumns(close_ns, np.full((len(index), 1), 100.0))
    for place, name in run_series(None, [], equity, starting_equity=100.0).ticks:
        time = pandas.Timestamp(close_ns[int(place)], unit="ns", tz="UTC")
        assert time.strftime("%H:%M") == name or name == "3 Jan" and time.strftime("%d %H:%M") == "03 14:31"


def test_daily_bars_are_named_by_their_day_not_by_the_midnight_that_closes_them():
    data = sample("AAPL").loc["2012-01-03":"2012-06-29"]
    result = backtest(Idle(), {"AAPL": data})
    for place, name in result._series().ticks:
        opened = result.bars.index[int(place)]
        assert name == opened.strftime("%b %Y")
        assert opened.month != result.bars.index[int(place) - 1].month


class Idle(Strategy):
    """Never trades."""


def test_the_same_run_twice_is_the_same_picture():
    def run():
        return backtest(MovingAverageCrossover(fast=5, slow=12), walk(200)).picture()

    assert run() == run()


def test_very_many_fills_are_thinned_to_what_can_be_seen():
    rows = walk(5_000)
    fills = [fill(number, (Side.BUY, Side.SELL)[number % 2], 1.0, rows[number].close) for number in range(len(rows))]
    series = series_of(rows, fills)
    assert series.fills == 5_000
    assert 50 < len(series.marks) <= 500
    assert {(mark.side, mark.opens) for mark in series.marks} == {(Side.BUY, True), (Side.SELL, False)}
    assert len(run_svg(series)) < 120_000
