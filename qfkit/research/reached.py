"""Which of the things that a strategy reaches hold data, and what each is with another future."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import date
from itertools import islice
from math import isfinite, nan
from os import PathLike
from typing import Any

import numpy as np

from qfkit.errors import QfkitError
from qfkit.frames import columns_by_symbol, is_frame
from qfkit.research.futures import History, Variant
from qfkit.research.outside import FETCHING, HIDDEN, Outside, Slot, is_mentioned
from qfkit.tables import BarColumns, Floats

__all__ = ["Reached"]

_FIELDS = ("open", "high", "low", "close", "volume")
_GIVEN_COLUMNS = {*_FIELDS, "symbol", "adj close", "dividends", "stock splits", "capital gains"}
_MAKE_IT = "give a function that makes the strategy from the data, check_lookahead(lambda bars: ..., bars)"
_FEWEST = 8
"""A shorter list or array of numbers is a setting, not data."""


class Reached:
    """``unseen`` says what a cut cannot show, each with the place it was found in and the way out."""

    def __init__(self, outside: Outside, history: History, trusted: Collection[str], *, has_builder: bool) -> None:
        self._changes: dict[int, Callable[[Variant], Any]] = {}
        self._outside = outside
        self._history = history
        self._trusted = set(trusted)
        self._columns: Mapping[str, BarColumns] = history.columns or {}
        self._statistics: list[tuple[float, str, str, str]] | None = None
        self.unseen: list[str] = []
        for slot in outside.slots:
            change = self._change_of(slot)
            if change is not None:
                self._changes[id(slot)] = change
                if slot.put is None and not self._is_trusted(slot):
                    self._note(
                        f"{slot.owner} holds {slot.name} inside a tuple or set, where it cannot be cut: {_MAKE_IT}"
                    )
        for owner, name in dict.fromkeys(outside.readers):
            if name not in self._trusted:
                if name in HIDDEN:
                    what = f"uses {name}(): what it reaches that way cannot be seen; reach it by its name, or say trusted=[{name!r}]"
                else:
                    what = f"uses {name}" if name in FETCHING else f"calls {name}()"
                    what += f": data that it fetches itself are never cut; fetch them before, and {_MAKE_IT}"
                self._note(f"{owner} {what}")
        if has_builder:
            for frame in _frames(history.given):
                self._look_at_columns(frame, "the data")

    def __bool__(self) -> bool:
        return bool(self._changes)

    def change(self, variant: Variant) -> Callable[[Slot], Any]:
        """What takes the place of each slot's value; the same for all that hold the same."""
        made: dict[int, Any] = {}

        def changed(slot: Slot) -> Any:
            change = self._changes.get(id(slot))
            if change is None:
                return slot.value
            if id(slot.value) not in made:
                made[id(slot.value)] = change(variant)
            return made[id(slot.value)]

        return changed

    def look_at_parameters(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Tell of parameters that were computed from all of the data: an optimised one nobody can tell from another."""
        for key, value in parameters.items():
            if isinstance(value, float) and key not in self._trusted:
                found = self._statistic_that_is(value)
                if found is not None:
                    _, symbol, column, title = found
                    self._note(
                        f"{name} has {key}={value:.7g}: it is the {title} of {column} ({symbol}) over all of the data, the future "
                        f"included; {_MAKE_IT}"
                    )

    # -- judging -----------------------------------------------------------------------------

    def _change_of(self, slot: Slot) -> Callable[[Variant], Any] | None:
        value = slot.value
        if value is self._history.given:
            # What it holds one by one has slots of its own.
            if isinstance(value, Mapping):
                return None
            if isinstance(value, str | PathLike):
                return None
            self._look_at_columns(value, slot.name)
            return lambda variant: variant.of_own(value)
        if isinstance(value, BarColumns):
            return (lambda variant: variant.of_own(value)) if value.symbol in self._columns else None
        if is_frame(value):
            return self._change_of_frame(slot)
        if _are_times(value):
            return self._change_of_times(slot)
        if isinstance(value, float | np.floating):
            return self._change_of_number(slot, float(value))
        if _is_rows(value):
            return self._change_of_rows(slot)
        if isinstance(value, dict) and len(value) >= _FEWEST and all(map(_is_time, list(value)[:_FEWEST])):
            self._note_made(slot)
            return lambda variant: variant.of_dated(value)
        if hasattr(value, "__len__") and self._is_as_long(value):
            self._note_uncut(slot)
            return None
        self._look_at_model(slot)
        return None

    def _change_of_frame(self, slot: Slot) -> Callable[[Variant], Any] | None:
        value = slot.value
        its: Mapping[str, BarColumns] = {}
        with suppress(QfkitError, AttributeError, TypeError):
            its = columns_by_symbol(value)
        same = [other for own in its.values() for other in self._columns.values() if _is_same(own, other)]
        if same:
            self._look_at_columns(value, slot.name)
            if len(its) == 1 and len(self._columns) >= 1 and len(same[0]) == len(value):
                symbol = same[0].symbol
                return lambda variant: variant.of_own({symbol: value}).get(symbol, value)
            return lambda variant: variant.of_labelled(value)
        return self._change_of_rows(slot)

    def _change_of_rows(self, slot: Slot) -> Callable[[Variant], Any] | None:
        """A Series, frame, array or list: by the labels of its rows, or one a bar."""
        value = slot.value
        for symbol, own in self._columns.items():
            if len(value) == len(own):
                field = _field_of(value, own)
                if field is not None:
                    return lambda variant: _like(value, variant, symbol, field)
        if _has_times(value):
            if self._reaches_beyond(value):
                if getattr(value, "ndim", 1) != 1 or not any(_is_field(value, own) for own in self._columns.values()):
                    self._note_made(slot)
                return lambda variant: variant.of_labelled(value)
            return None
        for symbol, own in self._columns.items():
            if len(value) == len(own) and len(own) >= _FEWEST:
                self._note_made(slot)
                return lambda variant: variant.of_rows(value, symbol)
        if self._is_as_long(value):
            self._note_uncut(slot)
        return None

    def _is_as_long(self, value: Any) -> bool:
        """Whether it has about as many entries as there are bars: then it may have been made of them."""
        return any(_FEWEST <= len(own) <= 2 * len(value) <= 4 * len(own) for own in self._columns.values())

    def _note_uncut(self, slot: Slot) -> None:
        if not self._is_trusted(slot):
            self._note(
                f"{slot.owner} reads {slot.name}, {_a(type(slot.value).__name__)} of {len(slot.value):,} entries that say nothing "
                f"of their times, so it was not cut; {_MAKE_IT}, or say trusted=[{_bare(slot.name)!r}]"
            )

    def _change_of_times(self, slot: Slot) -> Callable[[Variant], Any] | None:
        """The times of the bars are cut as these are; others may have been chosen by what came after them."""
        value = slot.value
        found = [_nanoseconds(one) for one in value]
        for symbol, own in self._columns.items():
            if found == own.open_ns.tolist():
                return lambda variant: value[: len(variant.columns[symbol]) if symbol in variant.columns else 0]
        first_ns, last_ns = self._history.cuts[0].until_ns, self._history.cuts[-1].until_ns
        if any(time_ns is not None and first_ns < time_ns <= last_ns for time_ns in found):
            self._note_chosen(slot)
        return None

    def _note_chosen(self, slot: Slot) -> None:
        if not self._is_trusted(slot):
            self._note(
                f"{slot.owner} reads {slot.name}, {_a(type(slot.value).__name__)} of {len(slot.value):,} times that was made before "
                f"this check: whether they were chosen by what came after them cannot be seen; {_MAKE_IT}, or, if they are "
                f"of a calendar, say trusted=[{_bare(slot.name)!r}]"
            )

    def _reaches_beyond(self, value: Any) -> bool:
        """Whether its rows go on after the beginning of the data: what ends before is past all along."""
        if value.index.isna().all():
            return False
        last = value.index.dropna().max()
        last = last if last.tzinfo is not None else last.tz_localize("UTC")
        first = self._history.cuts[0] if self._history.events else None
        return first is not None and int(last.as_unit("ns").value) > first.until_ns

    def _note_made(self, slot: Slot) -> None:
        if self._is_trusted(slot):
            return
        kind = type(slot.value).__name__
        self._note(
            f"{slot.owner} reads {slot.name}, {_a(kind)} of {len(slot.value):,} rows made before this check: its rows were "
            f"cut, but whether each was made from its own past alone cannot be seen; {_MAKE_IT}, or, if it is of "
            f"data from elsewhere, say trusted=[{_bare(slot.name)!r}]"
        )

    def _look_at_model(self, slot: Slot) -> None:
        value = slot.value
        if isinstance(value, type) or self._is_trusted(slot):
            return
        guesses = [name for name in ("predict", "transform", "predict_one") if callable(getattr(value, name, None))]
        if not guesses or callable(getattr(value, "to_numpy", None)):
            return
        if callable(getattr(value, "get_params", None)):
            learned = [
                name for name in getattr(value, "__dict__", {}) if name.endswith("_") and not name.startswith("_")
            ]
            if not learned:
                return
        self._note(
            f"{slot.owner} uses {slot.name}, {_a(type(value).__name__)} made before this check: what it learned from "
            f"cannot be seen; {_MAKE_IT}, or say trusted=[{_bare(slot.name)!r}]"
        )

    def _change_of_number(self, slot: Slot, value: float) -> Callable[[Variant], Any] | None:
        """A number that is a plain statistic of the data to all its digits was computed from them: so it is once more."""
        found = None if self._is_trusted(slot) else self._statistic_that_is(value)
        if found is None:
            return None
        _, symbol, name, title = found
        self._note(
            f"{slot.owner} reads {slot.name}, {value:.7g}: it is the {title} of {name} ({symbol}) over all of the "
            f"data, the future included; {_MAKE_IT}"
        )
        return lambda variant: _statistic(variant.columns.get(symbol), name, title)

    def _statistic_that_is(self, value: float) -> tuple[float, str, str, str] | None:
        if self._statistics is None:
            self._statistics = list(_statistics_of(self._columns))
        if _is_round(value):
            return None
        return next((one for one in self._statistics if abs(one[0] - value) <= 1e-12 * abs(one[0])), None)

    def _look_at_columns(self, frame: Any, name: str) -> None:
        if not is_frame(frame) or frame.columns.nlevels != 1:
            return
        for column in frame.columns:
            if (
                str(column).strip().lower() not in _GIVEN_COLUMNS
                and str(column) not in self._trusted
                and is_mentioned(str(column), self._outside.codes)
            ):
                self._note(
                    f"the column {column!r} of {name} was made before this check: its rows were cut, but whether each "
                    f"was made from its own past alone cannot be seen; make it in the strategy, or {_MAKE_IT}, "
                    f"or say trusted=[{str(column)!r}]"
                )

    def _is_trusted(self, slot: Slot) -> bool:
        return _bare(slot.name) in self._trusted

    def _note(self, text: str) -> None:
        if text not in self.unseen:
            self.unseen.append(text)


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiouAEIOU" or kind == "ndarray" else f"a {kind}"


def _bare(name: str) -> str:
    """``bars`` of "the global `bars`"."""
    return name.split("`")[1] if "`" in name else name


def _frames(given: Any) -> list[Any]:
    return [one for one in (given.values() if isinstance(given, Mapping) else [given]) if is_frame(one)]


def _is_rows(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim in (1, 2) and len(value) >= _FEWEST
    if isinstance(value, list | tuple):
        return len(value) >= _FEWEST and all(isinstance(one, int | float) for one in value[:_FEWEST])
    return hasattr(value, "iloc") and hasattr(value, "index")


def _has_times(value: Any) -> bool:
    return hasattr(getattr(value, "index", None), "asi8") and hasattr(value.index, "tz")


def _is_time(key: Any) -> bool:
    return isinstance(key, date | np.datetime64)


def _are_times(value: Any) -> bool:
    """Whether it is a set, list or index of times and not of few."""
    if isinstance(value, set | frozenset | list | tuple):
        return len(value) >= _FEWEST and all(map(_is_time, islice(value, _FEWEST)))
    return hasattr(value, "asi8") and hasattr(value, "tz") and len(value) >= _FEWEST


def _nanoseconds(time: Any) -> int | None:
    import pandas

    stamp: Any = pandas.Timestamp(time)
    if pandas.isna(stamp):
        return None
    return int((stamp if stamp.tzinfo is not None else stamp.tz_localize("UTC")).as_unit("ns").value)


def _is_field(values: Any, own: BarColumns) -> bool:
    """Whether a Series is a column of the bars where both have rows."""
    labels = values.index if values.index.tz is not None else values.index.tz_localize("UTC")
    _, mine, its = np.intersect1d(labels.as_unit("ns").asi8, own.open_ns, return_indices=True)
    some = values.iloc[mine]
    return len(mine) * 2 > len(own) and any(
        some.dtype.kind in "fiu" and np.array_equal(some.to_numpy(), getattr(own, name)[its]) for name in _FIELDS
    )


def _is_same(own: BarColumns, other: BarColumns) -> bool:
    """Whether two are the same bars where both have some."""
    _, mine, its = np.intersect1d(own.open_ns, other.open_ns, return_indices=True)
    return len(mine) * 2 > len(other) and bool(np.array_equal(own.close[mine], other.close[its]))


def _field_of(value: Any, own: BarColumns) -> str | None:
    if getattr(value, "ndim", 1) != 1:
        return None
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return next((name for name in _FIELDS if np.array_equal(numbers, getattr(own, name), equal_nan=True)), None)


def _like(value: Any, variant: Variant, symbol: str, field: str) -> Any:
    """A column of the bars in the form that ``value`` has it in."""
    own = variant.columns.get(symbol)
    numbers: Floats = np.empty(0) if own is None else getattr(own, field)
    if hasattr(value, "iloc"):
        return type(value)(numbers, index=value.index[: len(numbers)], name=value.name)
    return numbers.copy() if isinstance(value, np.ndarray) else type(value)(numbers.tolist())


_STATISTICS: dict[str, Callable[[Floats], Any]] = {
    "mean": np.mean,
    "standard deviation": lambda values: np.std(values, ddof=1),
    "standard deviation (n)": np.std,
    "lowest": np.min,
    "highest": np.max,
    "median": np.median,
    "last": lambda values: values[-1],
}
_RETURNS, _LOGARITHMIC = "returns of close", "logarithmic returns of close"


def _series_of(columns: BarColumns, name: str) -> Floats:
    if name == _RETURNS:
        return np.diff(columns.close) / columns.close[:-1]
    if name == _LOGARITHMIC:
        return np.diff(np.log(columns.close))
    values: Floats = getattr(columns, name)
    return values


def _statistic(columns: BarColumns | None, name: str, title: str) -> float:
    values = np.empty(0) if columns is None else _series_of(columns, name)
    # Of two values there is a deviation.
    return float(_STATISTICS[title](values)) if len(values) > 1 else nan


def _statistics_of(columns: Mapping[str, BarColumns]) -> Iterator[tuple[float, str, str, str]]:
    """Figures of whole columns that somebody may have kept as a number, with symbol, column and name."""
    for symbol, own in columns.items():
        if len(own) < _FEWEST:
            continue
        for name in (*_FIELDS, _RETURNS, _LOGARITHMIC):
            for title in _STATISTICS:
                figure = _statistic(own, name, title)
                if isfinite(figure) and figure != 0.0:
                    yield figure, symbol, name, title


def _is_round(value: float) -> bool:
    """Whether somebody may have written it by hand: five digits or fewer."""
    return float(f"{value:.5g}") == value
