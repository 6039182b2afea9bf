"""A plot: a bqplot figure for what moves, over HTML for grid, axis labels and price tags.

The labels are HTML so that they can be placed in pixels, kept apart and read by the eye at any width; the figure
carries the marks alone. The figure's margins are in pixels, so both agree wherever the plot is shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import bqplot
import ipywidgets
import numpy as np
from numpy.typing import NDArray

from qfkit.views.figures import FIGURE_LOOK
from qfkit.views.series import round_ticks

__all__ = ["Floats32", "Plot", "Tag", "send", "short"]

Floats32: TypeAlias = NDArray[np.float32]

TOP, BOTTOM, LEFT, RIGHT = 8, 24, 8, 76
_TAG_APART = 17.0
# Labels nearer than this would lie on each other where a plot is narrow.
_LABEL_SHARE = 0.09


class Tag:
    """A price on the right-hand axis: its text and colour, and whether a dashed line goes across."""

    __slots__ = ("colour", "is_line", "is_main", "text", "value")

    def __init__(self, value: float, text: str, colour: str, *, is_line: bool = True, is_main: bool = False) -> None:
        self.value = value
        self.text = text
        self.colour = colour
        self.is_line = is_line
        self.is_main = is_main


def short(values: Any) -> Floats32:
    """Half of the bytes; enough for what is drawn."""
    return np.ascontiguousarray(values, dtype=np.float32)


def send(mark: bqplot.Mark, **arrays: Floats32) -> None:
    """Give a mark its arrays in one message, those only that are not what it has; an empty one hides it.

    bqplot draws nonsense of NaN and complains of empty arrays, so it never gets either.
    """
    if not all(array.size for array in arrays.values()):
        if mark.visible:
            mark.visible = False
        return
    news = {name: array for name, array in arrays.items() if not _same(getattr(mark, name), array)}
    with mark.hold_sync():
        for name, array in news.items():
            setattr(mark, name, array)
        if not mark.visible:
            mark.visible = True


def _same(old: Any, new: Floats32) -> bool:
    return (
        isinstance(old, np.ndarray) and old.dtype == new.dtype and old.shape == new.shape and bool((old == new).all())
    )


class Plot:
    """One figure with its labels; ``box`` is the widget."""

    def __init__(self, height_px: int, marks: Sequence[bqplot.Mark], scales: Mapping[str, bqplot.Scale]) -> None:
        self.height_px = height_px
        self.scales = scales
        self.under = ipywidgets.HTML()
        self.figure = bqplot.Figure(
            marks=list(marks),
            axes=[],
            fig_margin={"top": TOP, "bottom": BOTTOM, "left": LEFT, "right": RIGHT},
            **FIGURE_LOOK,
            layout=ipywidgets.Layout(width="100%", height=f"{height_px}px", min_width="0"),
        )
        self.box = ipywidgets.Box(
            [self.under, self.figure],
            layout=ipywidgets.Layout(width="100%", height=f"{height_px}px", overflow="hidden"),
        )
        self.box.add_class("q-plot")

    def fit(self, low: float, high: float, left: float, right: float) -> None:
        """Set what the axes span."""
        for scale, start, end in ((self.scales["y"], low, high), (self.scales["x"], left, right)):
            if scale.min != start or scale.max != end:
                with scale.hold_sync():
                    scale.min, scale.max = start, end

    def say(self, text: str) -> None:
        """Words in place of marks, while there is nothing to draw."""
        self._write(f'<div class="q-say">{text}</div>')

    def label(self, ticks_x: Sequence[tuple[float, str]], tags: Sequence[Tag], *, about: int, unit: str = "") -> None:
        """Write grid, ticks and tags for what the axes span now."""
        low, high = self.scales["y"].min, self.scales["y"].max
        parts: list[str] = []
        tag_parts: list[str] = []
        tag_tops: list[float] = []
        ordered = sorted(tags, key=lambda tag: not tag.is_main)
        for tag in ordered:
            top = self._top(min(max(tag.value, low), high), low, high)
            beyond = "↑ " if tag.value > high else "↓ " if tag.value < low else ""
            if tag.is_line and not beyond:
                tag_parts.append(f'<span class="q-g q-dash" style="top:{top:.1f}px;--c:{tag.colour}"></span>')
            # One that would lie on another is moved aside, the last price never.
            place = _free(top, tag_tops, self.height_px)
            if place is None:
                continue
            tag_tops.append(place)
            kind = "" if tag.is_main else " q-thin"
            tag_parts.append(
                f'<span class="q-t{kind}" style="top:{place:.1f}px;--c:{tag.colour}">{beyond}{tag.text}</span>'
            )
        for value, name in round_ticks(low, high, about, unit):
            top = self._top(value, low, high)
            parts.append(f'<span class="q-g" style="top:{top:.1f}px"></span>')
            if all(abs(top - one) > _TAG_APART for one in tag_tops):
                parts.append(f'<span class="q-y" style="top:{top:.1f}px">{name}</span>')
        left, right = self.scales["x"].min, self.scales["x"].max
        number, named = 0, -_LABEL_SHARE
        for place, name in ticks_x:
            share = (place - left) / (right - left)
            if not named + _LABEL_SHARE <= share <= 1.0:
                continue
            named = share
            across = f"calc({LEFT}px + (100% - {LEFT + RIGHT}px) * {share:.4f})"
            parts.append(f'<span class="q-v" style="left:{across};top:{TOP}px;bottom:{BOTTOM}px"></span>')
            # Half of a label at the very edge would be cut.
            if 0.03 < share < 0.99:
                odd = " q-odd" if number % 2 else ""
                parts.append(f'<span class="q-x{odd}" style="left:{across}">{name}</span>')
                number += 1
        self._write("".join(parts + tag_parts))

    def _top(self, value: float, low: float, high: float) -> float:
        return TOP + (high - value) / (high - low) * (self.height_px - TOP - BOTTOM)

    def _write(self, html: str) -> None:
        if self.under.value != html:
            self.under.value = html


def _free(top: float, taken: Sequence[float], height_px: int) -> float | None:
    """The nearest place for a tag that is not taken."""
    for step in range(6):
        for way in (1, -1):
            place = top + way * step * _TAG_APART * 0.5
            if TOP <= place <= height_px - BOTTOM and all(abs(place - one) >= _TAG_APART - 0.5 for one in taken):
                return place
    return None
