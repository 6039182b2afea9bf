"""How the period returns are spread, and how that differs from a normal distribution."""

from math import erf, sqrt

import numpy as np

from qfkit.core.metrics import Metrics
from qfkit.core.wording import count, money, share
from qfkit.views.report.drawing import Layer, bars, chart, key, line, linear
from qfkit.views.report.grids import Cell, gain, pairs
from qfkit.views.series import Floats, round_ticks

__all__ = ["distribution_html", "histogram", "period_returns"]

_BINS = 41


def period_returns(equity: Floats) -> Floats:
    """From each equity point to the next; empty where the equity fell to zero."""
    if len(equity) < 2 or float(np.min(equity[:-1])) <= 0.0:
        return np.empty(0)
    found: Floats = equity[1:] / equity[:-1] - 1.0
    return found


def histogram(values: Floats, most: int = _BINS) -> tuple[Floats, Floats]:
    """Counts, and the edges of their bins; the rarest ten-thousandth at either end is counted into the outermost bins."""
    low, high = (float(bound) for bound in np.quantile(values, (0.0005, 0.9995)))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        low, high = low - 0.5 * abs(low or 1.0), high + 0.5 * abs(high or 1.0)
    bins = max(5, min(most, round(sqrt(len(values)) * 1.5)))
    counts, edges = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    return counts.astype(np.float64), edges


def distribution_html(equity: Floats, metrics: Metrics, period: str) -> str:
    """The histogram, the normal curve of the same mean and deviation over it, and the moments."""
    returns = period_returns(equity)
    moved = returns[np.abs(returns) > 1e-12]
    if len(moved) < 10:
        return '<p class="note">There are fewer than ten returns that are not zero: too few for a distribution.</p>'
    counts, edges = histogram(moved)
    left, right = float(edges[0]), float(edges[-1])
    x = (edges - left) / (right - left)
    scale = linear(0.0, float(counts.max()) * 1.06, 4, tight=True)
    middle = (edges[:-1] + edges[1:]) / 2.0
    gap = 0.06 * (x[1] - x[0])
    layers: list[Layer] = []
    for style, which in (("gain", middle >= 0.0), ("loss", middle < 0.0)):
        layers.append(bars(x[:-1][which] + gap, x[1:][which] - gap, counts[which], scale, style))
    mean, deviation = float(moved.mean()), float(moved.std(ddof=1))
    if deviation > 0.0:
        fine = np.linspace(left, right, 161)
        wide = float(edges[1] - edges[0])
        normal = len(moved) * wide * np.exp(-0.5 * ((fine - mean) / deviation) ** 2) / (deviation * sqrt(2.0 * np.pi))
        layers.append(line((fine - left) / (right - left), np.minimum(normal, scale.high), scale, "soft"))
    spread = (right - left) * 100.0
    ticks = [
        ((value / 100.0 - left) / (right - left), name)
        for value, name in round_ticks(left * 100.0, right * 100.0, 7 if spread else 1, " %")
    ]
    standard = (moved - mean) / deviation if deviation > 0.0 else np.zeros(len(moved))
    beyond = float(np.mean(np.abs(standard) > 3.0))
    figures: list[tuple[str, Cell]] = [
        ("mean", gain(_fine(mean, signed=True))),
        ("median", gain(_fine(float(np.median(moved)), signed=True))),
        ("standard deviation", _fine(deviation)),
        ("skewness", money(float(np.mean(standard**3)))),
        ("excess kurtosis", money(float(np.mean(standard**4)) - 3.0)),
        ("best", gain(_fine(float(moved.max()), signed=True))),
        ("worst", gain(_fine(float(moved.min()), signed=True))),
    ]
    rest: list[tuple[str, Cell]] = [
        ("above zero", share(float(np.mean(moved > 0.0)))),
        ("without a return, left out", count(len(returns) - len(moved))),
        ("value at risk 95 %", share(metrics.value_at_risk)),
        ("expected shortfall", share(metrics.expected_shortfall)),
        ("beyond three deviations", share(beyond)),
        ("a normal one would have", share(1.0 - erf(3.0 / sqrt(2.0)))),
    ]
    picture = chart(
        layers,
        scale,
        x_ticks=ticks,
        height=180,
        words=f"{len(moved):,} returns from {_fine(float(moved.min()))} to {_fine(float(moved.max()))}, mean {_fine(mean)}",
        title=f"returns {period}, how many of each size",
        keys=key("gains", "gain", "box") + key("losses", "loss", "box") + key("normal distribution", "soft"),
        grid_x=False,
    )
    return picture + f'<div class="columns two">{pairs(figures)}{pairs(rest)}</div>'


def _fine(fraction: float, *, signed: bool = False) -> str:
    """As percent, with digits that say something of a small one."""
    size = abs(fraction)
    decimals = 2 if size >= 0.01 or size < 5e-9 else 3 if size >= 0.001 else 4 if size >= 0.0001 else 6
    value = round(fraction * 100.0, decimals) + 0.0
    return f"{value:+,.{decimals}f} %" if signed else f"{value:,.{decimals}f} %"
