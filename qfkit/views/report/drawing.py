"""Charts of a report: SVG that takes any width, its labels as text of the page, so that they are never squeezed.

Coordinates are thousandths of the plot's width and height. Lines keep their width however the plot is stretched, and a
dot is a line without length.
"""

from collections.abc import Iterable, Sequence
from math import ceil, floor, log10

import msgspec
import numpy as np

from qfkit.views.report.page import safe
from qfkit.views.series import Floats, around, round_ticks

__all__ = ["Layer", "Scale", "area", "bars", "chart", "dots", "key", "level", "line", "linear", "logarithmic"]

_SIZE = 1000.0
_LOG_TICKS = 7


class Scale(msgspec.Struct, frozen=True):
    """The y axis: its ends, its ticks with their names, and whether it is logarithmic."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_log: bool = False

    def place(self, values: Floats) -> Floats:
        """How far down, in thousandths."""
        if self.is_log:
            low, high = log10(self.low), log10(self.high)
            return (1.0 - (np.log10(np.maximum(values, self.low)) - low) / (high - low)) * _SIZE
        found: Floats = (1.0 - (values - self.low) / (self.high - self.low)) * _SIZE
        return found

    def at(self, value: float) -> float:
        return float(self.place(np.array([value]))[0])


class Layer(msgspec.Struct, frozen=True):
    """Something drawn, as SVG, over or under what else there is."""

    svg: str


def linear(
    low: float, high: float, about: int = 5, unit: str = "", *, factor: float = 1.0, tight: bool = False
) -> Scale:
    """A scale that takes in these values, named ``factor`` times: 100 for fractions that are shown as percent."""
    start, end = (low, high) if tight and high > low else around(low, high)
    ticks = [(value / factor, name) for value, name in round_ticks(start * factor, end * factor, about, unit)]
    return Scale(start, end, tuple(ticks))


def logarithmic(low: float, high: float) -> Scale:
    """A scale on which the same growth has the same height; its ticks are powers of ten, and 2 and 5 times them."""
    margin = (high / low) ** 0.05
    start, end = low / margin, high * margin
    first, last = floor(log10(start)), ceil(log10(end))
    values = [times * 10.0**power for power in range(first, last + 1) for times in (1.0, 2.0, 5.0)]
    if log10(end / start) > 3.0:
        step = ceil((last - first) / _LOG_TICKS)
        values = [10.0**power for power in range(first, last + 1, step)]
    ticks = [(value, f"{value:,.{max(0, -floor(log10(value) + 1e-9))}f}") for value in values if start <= value <= end]
    return Scale(start, end, tuple(ticks), is_log=True)


def chart(
    layers: Sequence[Layer],
    scale: Scale,
    *,
    x_ticks: Iterable[tuple[float, str]],
    height: int,
    words: str,
    title: str = "",
    keys: str = "",
    tag: tuple[float, str, str] | None = None,
    grid_x: bool = True,
) -> str:
    """A figure. ``x_ticks`` lie at fractions of the width; ``tag`` is a value with its name and class, marked on the axis;
    ``words`` tell the picture to those who do not see it; ``keys`` is HTML made by :func:`key`."""
    ticks = list(x_ticks)
    grid = [f"M0 {scale.at(value):.1f}H{_SIZE:g}" for value, _ in scale.ticks]
    if grid_x:
        grid += [f"M{place * _SIZE:.1f} 0V{_SIZE:g}" for place, _ in ticks if 0.0 < place < 1.0]
    names = []
    tag_at = None if tag is None else min(max(scale.at(tag[0]), 0.0), _SIZE)
    for value, name in scale.ticks:
        at = scale.at(value)
        # What the tag covers would show around it.
        if tag_at is None or abs(at - tag_at) / _SIZE * height > 16.0:
            names.append(f'<i style="top:{at / 10.0:.1f}%">{safe(name)}</i>')
    if tag is not None and tag_at is not None:
        names.append(f'<i class="tag {tag[2]}" style="top:{tag_at / 10.0:.1f}%">{safe(tag[1])}</i>')
    times = "".join(
        f'<i{_edge(place, name)} style="left:{place * 100.0:.1f}%">{safe(name)}</i>' for place, name in ticks
    )
    caption = f"<figcaption><b>{safe(title)}</b><span>{keys}</span></figcaption>" if title or keys else ""
    return (
        f'<figure>{caption}<div class="pane"><div class="area" style="--high:{height}px">'
        f'<svg viewBox="0 0 {_SIZE:g} {_SIZE:g}" preserveAspectRatio="none" role="img" aria-label="{safe(words)}">'
        f'<path class="grid" d="{"".join(grid)}"/>{"".join(layer.svg for layer in layers)}</svg></div>'
        f'<div class="ys">{"".join(names)}</div><div class="xs">{times}</div></div></figure>'
    )


def key(name: str, style: str, shape: str = "") -> str:
    """An entry of a legend, as HTML."""
    return f'<span class="key {style} {shape}">{safe(name)}</span>'


def line(x: Floats, y: Floats, scale: Scale, style: str) -> Layer:
    """A line through points; ``x`` are fractions of the width."""
    return Layer(f'<path class="line {style}" d="M{_points(x, scale.place(y))}"/>') if len(x) else Layer("")


def area(x: Floats, y: Floats, base: float, scale: Scale, style: str) -> Layer:
    """What lies between a line and a value."""
    if not len(x):
        return Layer("")
    at = scale.at(base)
    first, last = float(x[0]) * _SIZE, float(x[-1]) * _SIZE
    return Layer(
        f'<path class="fill {style}" d="M{first:.1f} {at:.0f}L{_points(x, scale.place(y))}L{last:.1f} {at:.0f}z"/>'
    )


def level(value: float, scale: Scale) -> Layer:
    """A dashed line at a value."""
    return Layer(f'<path class="base" d="M0 {scale.at(value):.1f}H{_SIZE:g}"/>')


def bars(left: Floats, right: Floats, values: Floats, scale: Scale, style: str) -> Layer:
    """Bars from zero; ``left`` and ``right`` are fractions of the width."""
    zero = scale.at(0.0)
    drawn = [
        f"M{start * _SIZE:.1f} {zero:.1f}H{end * _SIZE:.1f}V{top:.1f}H{start * _SIZE:.1f}z"
        for start, end, top in zip(left.tolist(), right.tolist(), scale.place(values).tolist(), strict=True)
    ]
    return Layer(f'<path class="bars {style}" d="{"".join(drawn)}"/>' if drawn else "")


def dots(x: Floats, y: Floats, scale: Scale, style: str, *, square: bool = False) -> Layer:
    """Round or square marks."""
    if not len(x):
        return Layer("")
    places = zip((x * _SIZE).tolist(), scale.place(y).tolist(), strict=True)
    few = " few" if len(x) <= 40 else ""
    shape = "boxes" if square else "dots"
    # Some readers of PDF leave a square without any length out.
    length = "h.1" if square else "h0"
    path = "".join(f"M{across:.1f} {down:.0f}{length}" for across, down in places)
    return Layer(f'<path class="{shape}{few} {style}" d="{path}"/>')


def _points(x: Floats, down: Floats) -> str:
    return "L".join(f"{left:.1f} {top:.0f}" for left, top in zip((x * _SIZE).tolist(), down.tolist(), strict=True))


def _edge(place: float, name: str) -> str:
    """A name at an edge stays inside the plot."""
    half = 0.0045 * len(name)
    return ' class="left"' if place < half else ' class="right"' if place > 1.0 - half else ""
