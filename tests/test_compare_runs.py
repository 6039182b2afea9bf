"""Runs side by side: their table, what is told beside it, and their picture."""

import re

import numpy as np
import pandas as pd
import pytest
from test_charts import HOSTILE, SVG, Picture
from test_manual import Desk
from test_session import Always, bar

import qfkit as qf
from qfkit.core.costs import Costs
from qfkit.core.records import Records
from qfkit.errors import DataError, ParameterError
from qfkit.result import Result
from qfkit.views.picture import BLUE, spread
from tests.support import MINUTE, START, walk


def run(
    equity: list[float], *, start: float = 100.0, first: int = 0, names: tuple[str, ...] = ("s",), fills=(), trades=()
) -> Result:
    """A run of this equity, one point a minute from the minute ``first`` on."""
    records = Records()
    records.equity += [(START + (first + place) * MINUTE, value) for place, value in enumerate(equity)]
    records.fills += fills
    records.trades += trades
    return Result(
        records,
        strategy_names=names,
        parameters={name: {} for name in names},
        starting_cash=start,
        costs=Costs.ideal(),
        timeframe="1m",
    )


def curves(picture: Picture, dashed: bool | None = None) -> list[str]:
    """The strokes of the equity and drawdown panes, in their colours."""
    found = []
    for node in picture.root.iter(f"{SVG}path"):
        if node.get("stroke-width") == "1.6" and (
            dashed is None or (node.get("stroke-dasharray") is not None) == dashed
        ):
            found.append(node.get("stroke"))
    return found


def test_figures_stand_in_one_table_with_the_difference_of_two() -> None:
    both = qf.compare({"one": run([100.0, 110.0, 99.0, 120.0]), "two": run([100.0, 100.0, 90.0, 105.0])})
    table = both.table
    assert list(table.columns) == ["one", "two", "difference"]
    assert table.loc["total_return"].tolist() == pytest.approx([0.2, 0.05, -0.15])
    assert table.loc["max_drawdown"].tolist() == pytest.approx([0.1, 0.1, 0.0])
    assert table.loc["end_equity", "difference"] == -15.0
    assert both.metrics["two"] == both["two"].metrics
    text = repr(both)
    assert re.search(r"total return +\+20\.00 % +\+5\.00 % +-15\.00 %", text)
    # What is the same has no sign.
    assert re.search(r"max drawdown +10\.00 % +10\.00 % +0\.00 %", text)
    three = qf.compare({"one": both["one"], "two": both["two"], "three": run([100.0, 130.0])})
    assert list(three.table.columns) == ["one", "two", "three"]
    assert three.differences.loc["end_equity"].tolist() == [0.0, -15.0, 10.0]


def test_correlation_is_that_of_returns_at_the_times_that_both_have() -> None:
    chance = np.random.default_rng(4)
    first = 100.0 * np.cumprod(1.0 + chance.normal(0.0, 0.01, 60))
    second = 100.0 * np.cumprod(1.0 + chance.normal(0.0, 0.01, 40))
    both = qf.compare({"one": run(first.tolist()), "two": run(second.tolist(), first=15), "flat": run([100.0] * 60)})
    expected = pd.Series(first[15:55]).pct_change().corr(pd.Series(second).pct_change())
    assert both.correlation.loc["one", "two"] == pytest.approx(expected, abs=1e-12)
    assert both.correlation.loc["one", "one"] == pytest.approx(1.0)
    assert np.isnan(both.correlation.loc["one", "flat"])
    assert both.table.loc["correlation", "two"] == pytest.approx(expected, abs=1e-12)
    assert f"{expected:.2f}" in repr(both)


def test_each_run_is_measured_over_its_own_time_unless_the_common_one_is_wanted() -> None:
    data = qf.sample("AAPL").iloc[:600]
    whole = qf.backtest(qf.MovingAverageCrossover(fast=3, slow=8), data, costs=Costs.ideal())
    # The run of the later half begins flat; what it traded is what the whole one traded from there on.
    late = qf.backtest(qf.MovingAverageCrossover(fast=3, slow=8), data.iloc[300:], costs=Costs.ideal())
    own = qf.compare({"whole": whole, "late": late})
    assert own.metrics["whole"] == whole.metrics
    assert "figures of each run's own time (whole: 2000-03-01" in own.notes[0]
    common = qf.compare({"whole": whole, "late": late}, common=True)
    first_ns, last_ns = late._equity.times_ns[0], late._equity.times_ns[-1]
    equity = whole.equity["account"]
    seen = equity[equity.index.as_unit("ns").asi8 >= first_ns]
    assert common.metrics["late"] == late.metrics
    assert common.metrics["whole"].total_return == pytest.approx(seen.iloc[-1] / seen.iloc[0] - 1.0)
    times_ns = whole.fills.index.as_unit("ns").asi8
    assert common.metrics["whole"].fills == int(((times_ns >= first_ns) & (times_ns <= last_ns)).sum())
    assert 0 < common.metrics["whole"].fills < whole.metrics.fills
    assert common.notes[0].startswith("figures of the time that all have: ")
    # Both curves begin alike.
    assert common.equity.iloc[0].tolist() == pytest.approx([100_000.0, 100_000.0])
    with pytest.raises(DataError, match=r"no time in common \(a: 2023-.*; b: 2023-"):
        qf.compare({"a": run([1.0, 2.0]), "b": run([1.0, 2.0], first=5)}, common=True)


def test_curves_begin_at_one_value_where_the_cash_differs_and_it_is_said() -> None:
    both = qf.compare({"rich": run([1_000.0, 1_100.0], start=1_000.0), "poor": run([10.0, 12.0], start=10.0)})
    assert both.equity["poor"].tolist() == [1_000.0, 1_200.0]
    assert both.table.loc["end_equity"].tolist() == [1_100.0, 12.0, -1_088.0]
    assert "curves scaled to begin at 1,000.00; figures in money are not scaled" in both.notes
    # What both rest on is told once, what only one does under its name.
    assert both.notes.count(Costs.ideal().describe()) == 1
    costly = qf.compare(
        {
            "free": run([1.0, 2.0]),
            "costly": Result(
                Records(), strategy_names=("s",), parameters={}, starting_cash=1.0, costs=Costs(), timeframe="1m"
            ),
        }
    )
    assert f"costly: {Costs().describe()}" in costly.notes
    assert f"free: {Costs.ideal().describe()}" in costly.notes
    alike = qf.compare([run([100.0, 101.0]), run([100.0, 102.0])])
    assert not any("scaled" in note for note in alike.notes)


def test_equity_is_one_frame_over_all_times() -> None:
    frame = qf.compare({"one": run([1.0, 2.0, 3.0]), "two": run([5.0, 6.0], first=2)}).equity
    assert frame["one"].tolist()[:3] == [1.0, 2.0, 3.0]
    assert frame["two"].isna().tolist() == [True, True, False, False]
    assert np.isnan(frame["one"].iloc[3])
    assert str(frame.index.tz) == "UTC"


def test_backtests_sessions_and_what_ifs_stand_beside_one_another(tmp_path) -> None:
    events = [bar(index, 100.0 + index % 3) for index in range(12)]
    desk = Desk(tmp_path, Always, name="by hand")
    desk.give(*events)
    result = qf.backtest(Always, events, cash=10_000.0, costs=Costs.ideal())
    running = qf.compare([result, desk.session])
    assert running.labels == ("Always", "by hand")
    desk.end()
    both = qf.compare(
        [result, desk.session, qf.read_session(desk.session.journal_path), result.what_if(cash=5e3).other]
    )
    assert both.labels == ("Always", "by hand", "by hand 2", "Always 2")
    assert both.table.loc["end_equity"].nunique() == 2
    assert both["by hand"].metrics.end_equity == result.metrics.end_equity
    pieces = qf.compare({**result.band().results, "session": desk.session})
    assert pieces.labels == ("ideal", "sober", "harsh", "session")


def test_runs_of_one_strategy_are_told_apart_by_what_differs() -> None:
    data = walk(80)
    few, many = (qf.backtest(qf.MovingAverageCrossover(fast=fast, slow=20), data) for fast in (3, 5))
    assert qf.compare([few, many]).labels == ("MovingAverageCrossover (fast=3)", "MovingAverageCrossover (fast=5)")
    other = qf.backtest(qf.MovingAverageCrossover(fast=3, slow=20), walk(80, symbol="B"))
    assert qf.compare([few, other, few]).labels == (
        "MovingAverageCrossover (A)",
        "MovingAverageCrossover (B)",
        "MovingAverageCrossover (A) 2",
    )


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([], "0 runs are nothing to compare"),
        ([run([1.0, 2.0])], "1 runs are nothing to compare: give two or more"),
        (run([1.0, 2.0]), r"a Result is no list of runs: give several, as in qf\.compare"),
        ("one", "a str is no list of runs"),
        ([run([1.0, 2.0]), 5], "a int is no run: give results of backtests and sessions"),
        ({"a": run([1.0, 2.0]), "b": qf.compare([run([1.0]), run([2.0])])}, r"a SideBySide is no run.*\.results"),
    ],
)
def test_what_is_no_run_is_refused_with_the_fix(runs, text) -> None:
    with pytest.raises(ParameterError, match=text):
        qf.compare(runs)


# -- pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 8, 11])
def test_the_picture_has_as_many_curves_as_there_are_runs(count) -> None:
    chance = np.random.default_rng(count)
    runs = {f"run {number}": run((100.0 + chance.normal(0.0, 1.0, 50).cumsum()).tolist()) for number in range(count)}
    both = qf.compare(runs)
    picture = Picture(both.picture())
    # Equity and drawdown.
    assert len(curves(picture)) == 2 * count
    assert all(f"run {number}" in picture.texts for number in range(count))
    assert all(0.0 <= number <= max(picture.size) for number in picture.numbers if number > 100.0)
    styles = {(curve.colour, curve.style) for curve in both._series.curves}
    assert len(styles) == min(count, 9)
    assert both._series.curves[0].colour == BLUE
    figures = [child for child in both.plot().children if type(child).__name__ == "Figure"]
    # A line at the start beneath the curves.
    assert [len(figure.marks) for figure in figures] == [count + 1, count]
    assert both.plot().children[-1].axes[0].tick_labels


def test_what_lies_between_ideal_and_harsh_is_filled() -> None:
    band = qf.backtest(qf.MovingAverageCrossover(fast=3, slow=8), walk(300)).band()
    picture = Picture(band.picture())
    assert len(curves(picture)) == 6
    filled = [d for d, fill, _ in picture.paths if fill == BLUE]
    assert len(filled) == 1
    # It goes there along the one and back along the other.
    xs = [float(x) for x in re.findall(r"[ML]([\d.]+) ", filled[0])]
    assert xs[0] == xs[-1] == min(xs)
    equity = next(child for child in band.plot().children if type(child).__name__ == "Figure")
    between = [mark for mark in equity.marks if mark.fill == "between"]
    assert len(between) == 1
    assert (between[0].y[0] >= between[0].y[1] - 1e-3).all()


def test_long_runs_are_drawn_with_few_points_and_keep_their_extremes() -> None:
    chance = np.random.default_rng(1)
    long = (1_000.0 + chance.normal(0.0, 1.0, 60_000).cumsum()).tolist()
    long[30_000] = 3_000.0
    series = qf.compare({"a": run(long, start=1_000.0), "b": run(long, start=1_000.0)})._series
    assert max(len(curve.x) for curve in series.curves) <= 1_000
    assert max(float(curve.equity.max()) for curve in series.curves) == 3_000.0


def test_without_equity_there_is_nothing_to_draw_and_it_is_said() -> None:
    both = qf.compare({"none": run([]), "one point": run([100.0])})
    assert any("nothing to draw" in text for text in Picture(both.picture()).texts)
    assert "n/a" in repr(both)
    assert "nothing to draw" in repr(both.plot())
    assert both._repr_html_()


def test_names_from_outside_are_escaped_everywhere() -> None:
    both = qf.compare({HOSTILE: run([100.0, 101.0], names=(HOSTILE,)), "b": run([100.0, 102.0])})
    page = both._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    Picture(both.picture())
    assert "\x1b" not in repr(both)
    shown = "".join(child.value for child in both.plot().children if hasattr(child, "value"))
    assert "<script" not in shown


def test_a_long_name_without_spaces_breaks_in_the_table_s_head() -> None:
    page = qf.compare({"x" * 90: run([100.0, 101.0]), "b": run([100.0, 102.0])})._repr_html_()
    heads = [part for part in page.split("<th ") if "xxx" in part.partition("</th>")[0]]
    assert "overflow-wrap:anywhere" in heads[-1]


def test_tags_that_would_overlap_give_way_and_stay_within() -> None:
    assert spread([50.0], 19.0, 0.0, 100.0) == [50.0]
    assert spread([10.0, 60.0], 19.0, 0.0, 100.0) == [10.0, 60.0]
    for places in ([50.0, 50.0, 50.0], [99.0, 98.0, 97.0], [0.0, 1.0, 2.0], [90.0, 95.0, 10.0, 12.0]):
        found = spread(places, 19.0, 0.0, 100.0)
        assert all(0.0 <= place <= 100.0 for place in found)
        assert all(np.diff(sorted(found)) >= 19.0)
        assert np.argsort(found, kind="stable").tolist() == np.argsort(places, kind="stable").tolist()
