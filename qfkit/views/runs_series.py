"""What a picture of several runs needs before it is drawn: their equity and drawdown over one time axis."""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec
import numpy as np

from qfkit.core.wording import span_text
from qfkit.tables import EquityColumns
from qfkit.views.picture import BLUE, GREY, ORANGE, TEAL, VERMILION
from qfkit.views.series import MOST_POINTS, Floats, positions_on, thin, time_ticks

__all__ = ["Curve", "RunsSeries", "runs_series", "shortened"]

Band: TypeAlias = tuple[Floats, Floats, Floats]
"""Positions, and the values of the one and the other edge there."""

# Four colours told apart by lightness too, each with two kinds of line.
_STYLES = (
    (BLUE, "solid"),
    (ORANGE, "solid"),
    (TEAL, "dashed"),
    (VERMILION, "dash_dotted"),
    (BLUE, "dotted"),
    (ORANGE, "dashed"),
    (TEAL, "solid"),
    (VERMILION, "dotted"),
)
# What lies between the two edges of a band is the run itself.
_BAND_STYLES = ((TEAL, "dashed"), (BLUE, "solid"), (VERMILION, "dash_dotted"))
_REST = (GREY, "solid")
_FEWEST_POINTS = 150


class Curve(msgspec.Struct, frozen=True):
    """One run: ``x`` are positions on the axis of all, ``drawdown`` is a fraction, 0 or below."""

    label: str
    colour: str
    style: str
    x: Floats
    equity: Floats
    drawdown_x: Floats
    drawdown: Floats


class RunsSeries(msgspec.Struct, frozen=True):
    """Curves over one axis: the positions among all the equity points there are, ticks with their time in UTC.

    ``labels`` are those of all runs, also of one without a curve, for it has fewer than two equity points.
    """

    last: float
    ticks: tuple[tuple[float, str], ...]
    dates: str
    labels: tuple[str, ...]
    curves: tuple[Curve, ...]
    starting_equity: float
    band: Band | None = None

    @property
    def edge(self) -> float:
        return 0.0

    @property
    def equity_range(self) -> tuple[float, float]:
        """The lowest and the highest value that is drawn."""
        values = [self.starting_equity]
        for curve in self.curves:
            values += [float(np.min(curve.equity)), float(np.max(curve.equity))]
        return min(values), max(values)

    @property
    def deepest(self) -> float:
        """The deepest drawdown of all, a fraction, a little below 0 at least."""
        return min([-1e-4, *(float(np.min(curve.drawdown)) for curve in self.curves)])


def runs_series(
    curves: Mapping[str, EquityColumns], *, starting_equity: float, filled: tuple[str, str] | None = None
) -> RunsSeries:
    """Prepare the accounts' equity of several runs; what lies between two of them may be ``filled``."""
    drawn = {label: own for label, own in curves.items() if len(own.times_ns) > 1}
    if not drawn:
        return RunsSeries(1.0, (), "", tuple(curves), (), starting_equity)
    axis_ns = np.unique(np.concatenate([own.times_ns for own in drawn.values()]))
    most = max(2 * MOST_POINTS // max(len(drawn), 2), _FEWEST_POINTS)
    styles = _STYLES if filled is None else _BAND_STYLES
    made = []
    for number, (label, own) in enumerate(curves.items()):
        if label not in drawn:
            continue
        positions = positions_on(axis_ns, own.times_ns)
        peaks = np.maximum.accumulate(np.maximum(own.account, starting_equity))
        colour, style = styles[number] if number < len(styles) else _REST
        made.append(
            Curve(
                label,
                colour,
                style,
                *thin(positions, own.account, most),
                *thin(positions, own.account / peaks - 1.0, most),
            )
        )
    band = None
    if filled is not None and all(label in drawn for label in filled):
        one, other = (next(curve for curve in made if curve.label == label) for label in filled)
        x = np.union1d(one.x, other.x)
        band = x, np.interp(x, one.x, one.equity), np.interp(x, other.x, other.equity)
    return RunsSeries(
        last=float(max(len(axis_ns) - 1, 1)),
        ticks=time_ticks(axis_ns),
        dates=span_text(int(axis_ns[0]), int(axis_ns[-1])),
        labels=tuple(curves),
        curves=tuple(made),
        starting_equity=starting_equity,
        band=band,
    )


def shortened(label: str, most: int = 48) -> str:
    """A label as a legend bears it."""
    return label if len(label) <= most else label[: most - 1].rstrip() + "…"
