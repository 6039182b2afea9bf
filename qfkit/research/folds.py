"""The folds of a walk-forward: which bars each choice is made on, and which it is tried on."""

import itertools
from collections.abc import Mapping
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import ParameterError, TimeframeError
from qfkit.research.trials import Window
from qfkit.tables import BarColumns

__all__ = ["Fold", "Length", "folds_of"]

Length: TypeAlias = int | str
"""So many bars, or a span of time such as "52w" or "90d"."""

Times: TypeAlias = NDArray[np.int64]


class Fold(msgspec.Struct, frozen=True):
    """``train`` is what is chosen on, ``test`` what the choice trades on; both by the bars' closes, UTC ns."""

    train: Window
    test: Window


def folds_of(
    columns: Mapping[str, BarColumns],
    *,
    train: Length,
    test: Length,
    step: Length | None = None,
    anchored: bool = False,
    purge: Length = 0,
    embargo: Length = 0,
) -> list[Fold]:
    """Cut the time of some bars into folds, in the order of time; see :func:`~qfkit.walk_forward`.

    Raises :class:`ParameterError` for lengths that cannot be, and where the data are too short for a single fold.
    """
    times_ns = np.unique(np.concatenate([own.close_ns for own in columns.values()]))
    lengths = {"train": train, "test": test, "step": test if step is None else step}
    spans = {name: _checked(name, length, least=1) for name, length in lengths.items()}
    gaps = {name: _checked(name, length, least=0) for name, length in {"purge": purge, "embargo": embargo}.items()}
    folds = []
    start, border = 0, _after(times_ns, 0, spans["train"])
    while True:
        begin = _after(times_ns, border, gaps["embargo"])
        end = min(_after(times_ns, border, spans["test"]), len(times_ns))
        last = _before(times_ns, border, gaps["purge"])
        # A fold of a single bar has no return.
        if border >= len(times_ns) or end - begin < 2:
            break
        if last - start < 2:
            raise ParameterError(
                f"train={train!r} less purge={purge!r} leaves {max(last - start, 0)} bars to choose on"
            )
        folds.append(Fold(_window(times_ns, start, last), _window(times_ns, begin, end)))
        moved = _after(times_ns, border, spans["step"])
        start = start if anchored else _after(times_ns, start, spans["step"])
        border = moved
    if not folds:
        raise ParameterError(
            f"train={train!r} and test={test!r} with embargo={embargo!r}: the {len(times_ns):,} bars of the data are too "
            "few for a single fold of both"
        )
    if step is not None and any(one.test.until_ns > other.test.after_ns for one, other in itertools.pairwise(folds)):
        raise ParameterError(f"step={step!r} is shorter than test={test!r}: a bar would be traded on twice")
    return folds


def _checked(name: str, length: Length, *, least: int) -> tuple[int, bool]:
    """The length as a number, and whether it is of bars."""
    wrong = f'{name}={length!r}: give a number of bars, {least} or more, or a span of time such as "90d"'
    if isinstance(length, str):
        try:
            return timeframe_ns(length), False
        except TimeframeError as error:
            raise ParameterError(wrong) from error
    if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < least:
        raise ParameterError(wrong)
    return int(length), True


def _after(times_ns: Times, place: int, length: tuple[int, bool]) -> int:
    size, is_bars = length
    if is_bars:
        return place + size
    if place >= len(times_ns):
        return place
    return int(np.searchsorted(times_ns, times_ns[place] + size, side="left"))


def _before(times_ns: Times, place: int, length: tuple[int, bool]) -> int:
    size, is_bars = length
    if is_bars:
        return min(place, len(times_ns)) - size
    until = times_ns[min(place, len(times_ns) - 1)]
    return int(np.searchsorted(times_ns, until - size, side="left")) if size else place


def _window(times_ns: Times, start: int, end: int) -> Window:
    return Window(int(times_ns[start - 1]) if start else int(times_ns[0]) - 1, int(times_ns[end - 1]))
