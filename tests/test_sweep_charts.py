"""A sweep's pictures: cells against pandas' own grouping, which lines are drawn, colours, the live charts in a browser."""

import itertools
import math
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from qfkit.errors import DataError, ParameterError
from qfkit.views.sweep_cells import COLOURS, colour_of, heat_cells, parallel_lines, spread_of
from qfkit.views.sweep_charts import heat_map, parallel, spread
from qfkit.views.sweep_picture import heat_svg, parallel_svg, spread_svg

if TYPE_CHECKING:
    from tests.browser import Pages

SVG = "{http://www.w3.org/2000/svg}"
AXES = {"fast": (5, 10, 15), "slow": (20, 40, 60, 80), "weight": (0.25, 0.5), "only": ("one",)}


def made_up(axes=AXES) -> pd.DataFrame:
    """A hill with its top at fast 10, slow 60, weight 0.5; fast 15 with slow 20 failed."""
    rows = []
    for fast, slow, weight, only in itertools.product(*axes.values()):
        metric = 1.0 - abs(fast - 10) / 10.0 - abs(slow - 60) / 100.0 + weight / 10.0
        rows.append((fast, slow, weight, only, math.nan if (fast, slow) == (15, 20) else metric))
    return pd.DataFrame(rows, columns=[*axes, "sharpe"])


# -- cells ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("over", "pandas_name"), [("best", "max"), ("mean", "mean"), ("median", "median")])
def test_cells_are_what_pandas_groups_to(over, pandas_name):
    table = made_up().sample(frac=1.0, random_state=3)
    cells = heat_cells(table, AXES, "sharpe", over=over)
    expected = table.pivot_table(index="slow", columns="fast", values="sharpe", aggfunc=pandas_name)
    assert (cells.x, cells.y) == ("fast", "slow")
    assert cells.x_labels == ("5", "10", "15") and cells.y_labels == ("20", "40", "60", "80")
    np.testing.assert_allclose(cells.grid, expected.reindex(columns=[5, 10, 15]).to_numpy(), equal_nan=True)
    assert cells.best == (2, 1) and cells.counts[2, 1] == 2 and np.isnan(cells.grid[0, 2])
    assert cells.caption == f"sharpe by fast and slow, the {over} over weight"


def test_of_what_should_be_small_the_smallest_is_the_best():
    table = made_up().assign(max_drawdown=lambda frame: 1.0 - frame.sharpe)
    cells = heat_cells(table, AXES, "max_drawdown", lower_is_better=True)
    assert cells.best == (2, 1) and cells.grid[2, 1] == table.max_drawdown.min()
    assert spread_of(table, "max_drawdown", lower_is_better=True).best == table.max_drawdown.min()
    lines = parallel_lines(table, AXES, "max_drawdown", lower_is_better=True)
    assert lines.metric[-1] == table.max_drawdown.min()


def test_an_axis_of_many_numbers_is_cut_and_texts_keep_their_order():
    table = pd.DataFrame({"size": np.arange(200.0), "kind": ["b", "a"] * 100, "sharpe": np.arange(200.0)})
    axes = {"size": tuple(table["size"]), "kind": ("b", "a")}
    cells = heat_cells(table, axes, "sharpe", over="mean")
    assert cells.grid.shape == (2, 24) and cells.y_labels == ("b", "a") and cells.counts.sum() == 200
    # Each stretch of 199 / 24 has the mean of what lies in it.
    first = table[(table["size"] < 199 / 24) & (table.kind == "b")].sharpe.mean()
    assert cells.grid[0, 0] == first and cells.best is not None and cells.best[1] == 23


def test_one_outlier_does_not_take_the_colours_from_the_rest():
    table = pd.DataFrame({"fast": np.arange(40), "sharpe": np.append(np.linspace(0.0, 1.0, 39), -500.0)})
    cells = heat_cells(table, {"fast": tuple(range(40))}, "sharpe")
    assert cells.is_clipped and cells.low == pytest.approx(0.2375 - 1.5, abs=0.1) and cells.high == 1.0
    assert cells.place(-500.0) == 0.0 and cells.place(1.0) == 1.0
    assert "≤ " in heat_svg(cells)


def test_colours_go_from_dark_to_light_in_even_steps():
    def lightness(colour: str) -> float:
        red, green, blue = (value / 255.0 for value in bytes.fromhex(colour[1:]))
        linear = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in (red, green, blue)
        ]
        y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        return 116.0 * y ** (1 / 3) - 16.0

    steps = np.diff([lightness(colour_of(place)) for place in np.linspace(0.0, 1.0, 10)])
    assert colour_of(0.0) == COLOURS[0] and colour_of(1.0) == COLOURS[-1]
    assert steps.min() > 6.0 and steps.max() < 11.0


def test_wrong_axes_and_metrics_are_named():
    table = made_up()
    with pytest.raises(ParameterError, match="Did you mean 'fast'"):
        heat_cells(table, AXES, "sharpe", x="fats")
    with pytest.raises(ParameterError, match="Did you mean 'sharpe'"):
        spread_of(table, "sharp")
    with pytest.raises(ParameterError, match="two axes"):
        heat_cells(table, AXES, "sharpe", x="fast", y="fast")
    with pytest.raises(ParameterError, match="over='worst'"):
        heat_cells(table, AXES, "sharpe", over="worst")
    with pytest.raises(DataError, match="no combination has a sharpe"):
        parallel_lines(table.assign(sharpe=math.nan), AXES, "sharpe")


# -- lines and counts -------------------------------------------------------------------------


def test_of_many_lines_the_best_are_drawn_and_the_rest_evenly():
    table = pd.DataFrame(
        {"fast": np.arange(10_000), "sharpe": np.random.default_rng(5).permutation(10_000).astype(float)}
    )
    lines = parallel_lines(table, {"fast": tuple(range(10_000))}, "sharpe", most=100)
    assert len(lines.places) == 100 and "100 of 10,000" in lines.caption and "the 50 best" in lines.caption
    assert lines.metric[-50:].tolist() == list(range(9_950, 10_000)) and lines.metric[0] == 0.0
    assert np.ptp(np.diff(lines.metric[:50])) <= 1.0
    np.testing.assert_allclose(lines.places[:, 0], table["fast"].iloc[lines.rows] / 9_999)


def test_lines_leave_out_axes_of_one_value_and_what_failed():
    lines = parallel_lines(made_up(), AXES, "sharpe")
    assert lines.names == ("fast", "slow", "weight", "sharpe") and len(lines.places) == 22
    assert lines.places[-1].tolist() == pytest.approx([0.5, 2 / 3, 1.0, 1.0])
    assert lines.ticks[1] == ((0.0, "20"), (pytest.approx(1 / 3), "40"), (pytest.approx(2 / 3), "60"), (1.0, "80"))


def test_the_spread_counts_every_combination():
    found = spread_of(made_up(), "sharpe")
    known = made_up().sharpe.dropna()
    assert found.counts.sum() == found.known == len(known) == 22 and found.failed == 2
    assert (found.best, found.median) == (known.max(), known.median())


# -- pictures ---------------------------------------------------------------------------------


def test_the_static_pictures_are_whole_and_harmless():
    hostile = '<script>"&\x00'
    table = made_up().rename(columns={"fast": hostile})
    axes = {hostile if name == "fast" else name: values for name, values in AXES.items()}
    pictures = [
        heat_svg(heat_cells(table, axes, "sharpe")),
        parallel_svg(parallel_lines(table, axes, "sharpe")),
        spread_svg(spread_of(table, "sharpe"), 0.4),
    ]
    for svg in pictures:
        assert "<script" not in svg and not re.search(r"\b(nan|inf)\b", svg)
        ElementTree.fromstring(svg)
    rects = ElementTree.fromstring(pictures[0]).iter(f"{SVG}rect")
    fills = [rect.get("fill") for rect in rects]
    # Eleven cells in colour, the twelfth hatched; the best has the end of the scale.
    assert fills.count(None) == 1 and COLOURS[-1] in fills
    plot = heat_map(table, axes, "sharpe")
    assert "<script" not in plot._repr_mimebundle_()["text/html"]
    assert all("<script" not in child.value for child in plot.children if hasattr(child, "value"))


@pytest.mark.parametrize("axes", [{"fast": (1, 2)}, {"fast": (1,)}, {"fast": (1, 2), "flag": (True, False)}])
def test_small_sweeps_are_drawn_too(axes):
    table = pd.DataFrame(list(itertools.product(*axes.values())), columns=list(axes)).assign(sharpe=0.5)
    for plot in (heat_map(table, axes, "sharpe"), parallel(table, axes, "sharpe"), spread(table, "sharpe")):
        assert "0.5" in repr(plot) or "combinations" in repr(plot)


def test_the_live_heat_map_has_the_same_cells_and_reads_them_out():
    cells = heat_cells(made_up(), AXES, "sharpe")
    plot = heat_map(made_up(), AXES, "sharpe")
    mark, frame = plot.children[2].marks
    assert np.isfinite(mark.color).all()
    np.testing.assert_allclose(mark.color[2], [cells.place(value) * 9 for value in cells.grid[2]], rtol=1e-6)
    assert mark.color[0, 2] == -1.0 and (min(frame.x), min(frame.y)) == (1.0, 2.0)
    mark._hover_handlers(mark, {"data": {"row": 2, "column": 1}})
    assert "fast 10, slow 60: sharpe 1.05" in plot.children[3].value
    mark._hover_handlers(mark, {"data": {"row": 0, "column": 2}})
    assert "not tried, or failed" in plot.children[3].value


def test_sliders_fade_the_lines_outside_of_them():
    plot = parallel(made_up(), AXES, "sharpe")
    drawn, sliders = plot.children[2].marks[0], plot.children[3].children
    assert [slider.description for slider in sliders] == ["fast", "slow", "weight", "sharpe"]
    sliders[2].value = (1.0, 1.0)
    assert sum(opacity > 0.1 for opacity in drawn.opacities) == 11
    assert "11 of them within the sliders" in plot.children[1].value
    sliders[2].value = (0.0, 1.0)
    assert min(drawn.opacities) == 0.6


CELLS = """import itertools, numpy as np, pandas as pd
from qfkit.views.sweep_charts import heat_map, parallel, spread
axes = {"fast": tuple(range(5, 30)), "slow": tuple(range(20, 120, 5)), "weight": (0.25, 0.5), "side": ("long", "both")}
rows, chance = [], np.random.default_rng(1)
for fast, slow, weight, side in itertools.product(*axes.values()):
    value = 0.9 - ((fast - 14) / 12) ** 2 - ((slow - 70) / 60) ** 2 + 0.1 * (side == "both") + chance.normal(0.0, 0.1)
    rows.append((fast, slow, weight, side, value if fast < slow else np.nan))
table = pd.DataFrame(rows, columns=[*axes, "sharpe"])"""


def test_the_live_pictures_are_drawn_in_jupyterlab(lab: "Pages") -> None:
    page = lab.open(
        [
            f"{CELLS}\nheat_map(table, axes, 'sharpe')",
            "parallel(table, axes, 'sharpe')",
            "spread(table, 'sharpe', luck=0.7)",
        ]
    )
    page.size(1200, 1000)
    page.run_all()
    page.scroll_to(0)
    page.wait_until("document.querySelectorAll('.heatmapcell').length === 500")
    fills = page.evaluate("[...document.querySelectorAll('.heatmapcell')].map(one => getComputedStyle(one).fill)")
    # Most differ; those without a value have the one colour of what is missing, and none is black for want of a number.
    assert len(set(fills)) > 200 and "rgb(0, 0, 0)" not in fills
    assert fills.count("rgba(123, 129, 139, 0.267)") == 15
    page.do(lambda window: window.locator(".heatmapcell").nth(260).hover())
    page.wait_until("/fast \\d+, slow \\d+: sharpe/.test(document.querySelector('.qfkit-plot').innerText)")
    page.screenshot("sweep-heat-light")
    page.scroll_to(1)
    page.wait_until("document.querySelectorAll('.qfkit-plot .lines path.line').length >= 300")
    page.screenshot("sweep-parallel-light")
    page.theme("dark")
    page.screenshot("sweep-parallel-dark")
    page.scroll_to(2)
    page.wait_until("document.querySelectorAll('.qfkit-plot .bar').length > 10")
    page.screenshot("sweep-spread-dark")
    page.scroll_to(0)
    page.screenshot("sweep-heat-dark")
