"""Returns by calendar month, year and day, in UTC."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qfkit.core.wording import percent
from qfkit.views.report.drawing import Layer, bars, chart, key, level, linear
from qfkit.views.report.page import safe
from qfkit.views.series import Floats

__all__ = ["bars_html", "months_html", "returns_by"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def returns_by(unit: str, times_ns: NDArray[np.int64], equity: Floats, starting_equity: float) -> dict[str, float]:
    """The return of each calendar ``unit`` ("Y", "M" or "D") that has an equity point, by its ISO name, such as 2012-03.

    From the last point of one to the last of the next; the first is from the starting equity on. A moment is the end of
    what it stands for: what closes at midnight belongs to the day before. NaN after an equity of zero.
    """
    if not len(equity):
        return {}
    names = (times_ns - 1).astype("datetime64[ns]").astype(f"datetime64[{unit}]")
    last = np.append(np.flatnonzero(names[1:] != names[:-1]), len(names) - 1)
    ends = equity[last]
    before = np.concatenate(([starting_equity], ends[:-1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = np.where(before > 0.0, ends / before - 1.0, np.nan)
    return dict(zip(names[last].astype(str).tolist(), returns.tolist(), strict=True))


def months_html(months: dict[str, float], years: dict[str, float]) -> str:
    """Years by months, each cell coloured by its return; the year's own return is the last column."""
    known = [abs(value) for value in months.values() if value == value]
    strongest = float(np.quantile(known, 0.9)) if known else 0.0
    head = "".join(f'<th scope="col">{name}</th>' for name in ("", *_MONTHS, "year"))
    rows = []
    for year in sorted(years, reverse=True):
        cells = "".join(_cell(months.get(f"{year}-{month:02d}"), strongest) for month in range(1, 13))
        rows.append(f"<tr><td>{safe(year)}</td>{cells}{_cell(years[year], 0.0)}</tr>")
    return f'<div class="scroll"><table class="months"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _cell(value: float | None, strongest: float) -> str:
    if value is None or value != value:
        return "<td></td>"
    # Two digits after the point of a large number say nothing, and have no room.
    text = f"{value * 100.0:+,.{2 if abs(value) < 1.0 else 0}f}"
    if not any(digit in text for digit in "123456789"):
        return '<td class="soft">0.00</td>'
    kind = "gain" if value > 0.0 else "loss"
    if not strongest:
        return f'<td class="{kind}">{text}</td>'
    depth = min(abs(value) / strongest, 1.0) * 0.5
    return f'<td style="background:rgba(var(--{kind}-fill),{depth:.2f})">{text}</td>'


def bars_html(returns: dict[str, float], title: str, beside: dict[str, float] | None = None) -> str:
    """A bar a unit of time, and a dash beside it for the benchmark's."""
    names = [name for name, value in returns.items() if value == value]
    if not names:
        return ""
    values = np.array([returns[name] for name in names])
    others = np.array([(beside or {}).get(name, np.nan) for name in names])
    known = others[np.isfinite(others)]
    scale = linear(
        min(0.0, float(values.min()), *known.tolist()),
        max(0.0, float(values.max()), *known.tolist()),
        4,
        " %",
        factor=100.0,
    )
    width = 1.0 / len(names)
    left: Floats = np.arange(len(names), dtype=np.float64) * width + width * 0.18
    right: Floats = left + width * (0.64 if not len(known) else 0.4)
    layers: list[Layer] = [level(0.0, scale)]
    for style, which in (("gain", values >= 0.0), ("loss", values < 0.0)):
        layers.append(bars(left[which], right[which], values[which], scale, style))
    keys = ""
    if len(known):
        has = np.isfinite(others)
        layers.append(bars(right[has], right[has] + width * 0.22, others[has], scale, "soft"))
        keys = key("the run", "gain", "box") + key("benchmark", "soft", "box")
    ticks = _names(names, width)
    words = f"{title}: " + ", ".join(
        f"{name} {percent(value)}" for name, value in zip(names, values.tolist(), strict=True)
    )
    return chart(layers, scale, x_ticks=ticks, height=150, words=words, title=title, keys=keys, grid_x=False)


def _names(names: Sequence[str], width: float) -> list[tuple[float, str]]:
    """Under every bar, or every so many-th."""
    step = -(-len(names) // 14)
    return [((place + 0.5) * width, name) for place, name in enumerate(names) if place % step == 0]
