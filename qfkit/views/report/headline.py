"""The headline figures, each with the interval that chance alone would spread it over, where that is known."""

from math import isfinite
from typing import TYPE_CHECKING, Any

from qfkit.comparison import Comparison
from qfkit.core.metrics import Metrics
from qfkit.core.wording import count, money, percent, share, span
from qfkit.errors import QfkitError
from qfkit.result import Result
from qfkit.views.report.grids import Cell, gain, pairs, table
from qfkit.views.report.page import safe

if TYPE_CHECKING:
    import pandas

__all__ = ["Intervals", "headline_html", "intervals_of", "metrics_html", "versus_html"]

_TILES = (
    ("total_return", "total return", percent),
    ("cagr", "CAGR", percent),
    ("volatility", "volatility a year", share),
    ("sharpe", "Sharpe", money),
    ("sortino", "Sortino", money),
    ("calmar", "Calmar", money),
    ("max_drawdown", "max drawdown", share),
    ("longest_drawdown_days", "longest under water", span),
    ("expected_shortfall", "expected shortfall", share),
    ("win_rate", "win rate", share),
    ("profit_factor", "profit factor", money),
    ("trades", "trades", count),
)
_FEWEST_SAMPLES = 250
_MOST_DRAWN = 30_000_000
_NAMES = {"cagr": "CAGR", "sharpe": "Sharpe", "sortino": "Sortino"}
_COLOURED = ("total_return", "cagr")


class Intervals:
    """What :meth:`Result.intervals` says, by figure; ``lacking`` says why there are none."""

    def __init__(self, table: "pandas.DataFrame | None", words: str, lacking: str = "") -> None:
        self._bounds: dict[str, tuple[float, float]] = {}
        if table is not None:
            for name, low, high in zip(table.index, table["low"], table["high"], strict=True):
                if isfinite(low) and isfinite(high):
                    self._bounds[str(name)] = float(low), float(high)
        self.words = words
        self.lacking = lacking

    def of(self, name: str) -> tuple[float, float] | None:
        """The lower and the upper bound of a figure."""
        return self._bounds.get(name)

    def __bool__(self) -> bool:
        return bool(self._bounds)


def intervals_of(result: Result) -> Intervals:
    """The intervals of a run's figures; one too short for any says so."""
    ask: Any = getattr(result, "intervals", None)
    if ask is None:
        return Intervals(None, "")
    try:
        # A long run has so many returns that fewer samples say as much, and take no longer.
        points = max(len(result._equity.times_ns), 1)
        found = ask(samples=min(1_000, max(_FEWEST_SAMPLES, _MOST_DRAWN // points)))
    except QfkitError as error:
        return Intervals(None, "", f"no intervals: {error}")
    return Intervals(found.table, "; ".join(found.assumptions))


def headline_html(metrics: Metrics, intervals: Intervals) -> str:
    """Tiles: a figure, and below it the interval on a line of its own with a mark at the figure."""
    tiles = []
    for name, label, style in _TILES:
        value = float(metrics[name])
        text = style(value)
        colour = f' class="{gain(text)[1]}"' if name in _COLOURED and gain(text)[1] else ""
        bounds = intervals.of(name)
        between = "" if bounds is None else _between(value, *bounds, f"{style(bounds[0])} to {style(bounds[1])}")
        tiles.append(
            f'<div class="tile" data-figure="{name}"><span>{safe(label)}</span><b{colour}>{safe(text)}</b>{between}</div>'
        )
    told = f'<p class="note">{safe(line)}</p>' if (line := intervals.words or intervals.lacking) else ""
    return f'<div class="tiles">{"".join(tiles)}</div>{told}'


def _between(value: float, low: float, high: float, words: str) -> str:
    """The interval as a little picture, zero marked where it lies inside, and in words."""
    left, right = min(low, value), max(high, value)
    room = (right - left) * 0.08 or 1.0
    start, end = left - room, right + room

    def x(at: float) -> float:
        return (at - start) / (end - start) * 100.0

    zero = f'<path d="M{x(0.0):.1f} 0V9" stroke="var(--faint)" stroke-width="1"/>' if start < 0.0 < end else ""
    mark = "" if not isfinite(value) else f'<circle cx="{x(value):.1f}%" cy="4.5" r="3.4" fill="var(--run)"/>'
    return (
        '<svg aria-hidden="true"><svg viewBox="0 0 100 9" preserveAspectRatio="none">'
        f'{zero}<path d="M{x(low):.1f} 4.5H{x(high):.1f}" stroke="var(--run)" stroke-opacity=".45" stroke-width="3"/>'
        f"</svg>{mark}</svg><span>{safe(words)}</span>"
    )


def metrics_html(metrics: Metrics) -> str:
    """All figures, in columns."""
    rows = metrics.lines()
    third = -(-len(rows) // 3)
    columns = [rows[start : start + third] for start in range(0, len(rows), third)]
    return f'<div class="columns">{"".join(pairs([(label, value) for label, value in one]) for one in columns)}</div>'


def versus_html(comparison: Comparison) -> str:
    """The run beside its benchmark."""
    beside, relative = [], []
    for given, one, other in comparison._rows():
        label = _NAMES.get(given, given)
        cells: tuple[Cell, ...] = (label, _signed(one), _signed(other))
        if other:
            beside.append(cells)
        else:
            relative.append((label, _signed(one)))
    half = table(("", "the run", "benchmark"), beside)
    return (
        f'<p class="note">The account {safe(comparison._heading)}; {safe(comparison.run.assumption)}.</p>'
        f'<div class="columns two"><div>{half}</div><div>{pairs(relative)}</div></div>'
    )


def _signed(text: str) -> Cell:
    return gain(text) if text.endswith("%") and text[:1] in "+-" else text
