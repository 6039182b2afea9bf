"""Decisions, indicators and variables through a run, and where two runs of them first part."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["Decision", "Observation", "Raised", "Track", "differing_rows", "first_difference", "shown"]


class Track(msgspec.Struct, frozen=True):
    """One thing through a run: a decision, an indicator, an attribute of the strategy or a variable of its function.

    ``values`` has one entry for each of ``steps``: the number of events (or of a symbol's bars) after which it was
    known. A variable's ``steps`` are the labels of its rows instead, or there is one for the whole of it.
    """

    kind: str
    symbol: str
    name: str
    steps: NDArray[np.int64]
    times_ns: NDArray[np.int64]
    values: Sequence[Any] | NDArray[Any]


class Raised(msgspec.Struct, frozen=True):
    """An exception that ended a run: when, and its text."""

    time_ns: int | None
    text: str
    error: BaseException


class Observation(msgspec.Struct, frozen=True):
    """A run as it was seen. ``bar_steps`` and ``bar_times`` say when each symbol's bars closed."""

    tracks: dict[tuple[str, str, str], Track]
    variables: dict[tuple[str, str, str], Track]
    bar_steps: dict[str, NDArray[np.int64]]
    bar_times: dict[str, NDArray[np.int64]] = {}
    raised: Raised | None = None


# -- comparing -------------------------------------------------------------------------------


def first_difference(
    one: Track, other: Track, until: int, tolerance: float
) -> tuple[int, int, int, object, object] | None:
    """Where two tracks first differ at steps not after ``until``: step, time, rows from there, and both values.

    Numbers are the same within ``tolerance`` times the largest of the two and of what is usual in the track.
    """
    counts = [int(np.searchsorted(track.steps, until, side="right")) for track in (one, other)]
    if one.kind == "decision" and isinstance(one.values, list):
        return _first_decision(one, other, counts, tolerance)
    count = min(counts)
    if not np.array_equal(one.steps[:count], other.steps[:count]):
        one, other = _in_both(one, other, until)
        count = len(one.steps)
    places = differing_rows(one.values[:count], other.values[:count], tolerance)
    if not len(places):
        return None
    at = int(places[0])
    return int(one.steps[at]), int(one.times_ns[at]), count - at, one.values[at], other.values[at]


def _in_both(one: Track, other: Track, until: int) -> tuple[Track, Track]:
    """Both at the steps that both have."""
    steps, *places = np.intersect1d(one.steps, other.steps, return_indices=True)
    known = steps <= until
    both = [
        msgspec.structs.replace(
            track,
            steps=steps[known],
            times_ns=track.times_ns[at[known]],
            values=[track.values[row] for row in at[known].tolist()],
        )
        for track, at in zip((one, other), places, strict=True)
    ]
    return both[0], both[1]


def _first_decision(
    one: Track, other: Track, counts: Sequence[int], tolerance: float
) -> tuple[int, int, int, object, object] | None:
    kept = [track.values[:count] for track, count in zip((one, other), counts, strict=True)]
    for at in range(max(counts)):
        pair = [values[at] if at < len(values) else None for values in kept]
        steps = [int(track.steps[at]) if at < len(values) else None for track, values in zip((one, other), kept, strict=True)]  # fmt: skip
        if steps[0] == steps[1] and pair[0] is not None and _is_same(pair[0], pair[1], tolerance):
            continue
        first = min(step for step in steps if step is not None)
        track = one if steps[0] == first else other
        told = [
            str(value) if step == first and value is not None else "nothing"
            for value, step in zip(pair, steps, strict=True)
        ]
        return first, int(track.times_ns[at]), 1, told[0], told[1]
    return None


def _is_same(one: Any, other: Any, tolerance: float) -> bool:
    if one.text != other.text or len(one.numbers) != len(other.numbers):
        return False
    return not len(differing_rows(one.numbers, other.numbers, tolerance))


def differing_rows(one: Any, other: Any, tolerance: float) -> NDArray[np.int64]:
    """The rows at which two lists of numbers, or of words, are not the same; NaN is NaN's equal."""
    try:
        first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    except (TypeError, ValueError):
        unequal = [str(a) != str(b) for a, b in zip(one, other, strict=True)]
        return np.flatnonzero(np.array(unequal, dtype=bool))
    if first.ndim != 1:
        return np.empty(0, dtype=np.int64)
    sizes = np.abs(first)
    usual = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    scale = float(np.median(usual)) if len(usual) else 0.0
    with np.errstate(invalid="ignore"):
        bound = tolerance * np.maximum(np.maximum(sizes, np.abs(second)), scale)
        near = (np.abs(first - second) <= bound) | (first == second) | (np.isnan(first) & np.isnan(second))
    return np.flatnonzero(~near)


def shown(value: object) -> str:
    """A value for people: seven digits of a number, "nothing" where there is none."""
    if value is None:
        return "nothing"
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | float | np.number):
        return f"{float(value):.7g}"
    return str(value)


class Decision(msgspec.Struct, frozen=True):
    """What a strategy wished: in words, with the numbers of it apart."""

    text: str
    numbers: tuple[float, ...]
    words: str
    side: str
    is_wish: bool

    def __str__(self) -> str:
        return self.words
