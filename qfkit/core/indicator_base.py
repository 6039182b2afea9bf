"""What all streaming indicators share: readiness, series input, and their state as plain data."""

from collections import deque
from collections.abc import Callable, Sequence
from math import isnan, nan
from operator import index
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qfkit.core.crossings import Cross, Line, Output, crossings_state, restore_crossings
from qfkit.core.series_memo import remembered
from qfkit.errors import DataError, ParameterError

__all__ = [
    "Floats",
    "Indicator",
    "checked_period",
    "like",
    "read_series",
    "restore_indicators",
    "same_length",
    "save_indicators",
]

Floats = NDArray[np.float64]

_NOT_STATE = frozenset({"_asked_crosses", "_crosses", "watchers"})


class Indicator(Line):
    """A streaming indicator: ``update`` takes one value (or one bar), in constant time on average.

    ``value`` is NaN until ``ready``; ``previous`` is the value before the last update; ``count``
    is the number of updates. ``update`` trusts its input: NaN in a price spoils the values
    after it, in some indicators for ever. ``over(...)`` takes whole series (arrays, or pandas
    Series, which give Series back) and returns the same numbers to the last bit, NaN where not
    ready; it leaves the streaming state alone and raises :class:`DataError` for NaN and infinity.
    """

    __slots__ = ("count", "ready", "watchers")

    takes_bar: ClassVar[bool] = False
    """Whether ``update`` takes a bar instead of a number."""
    is_price: ClassVar[bool] = False
    """Whether its values are prices, so that a chart draws them among the candles."""
    parameters: ClassVar[tuple[str, ...]] = ()
    """The names of the constructor's arguments, which are attributes too."""

    def __init__(self) -> None:
        super().__init__()
        self.count: int = 0
        self.ready = False
        self.watchers: list[Cross] | None = None

    def update(self, value: Any) -> None:
        """Take the next value, or the next closed bar where ``takes_bar``."""
        raise NotImplementedError

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "over" in vars(cls):
            cls.over = remembered(cls.over)  # type: ignore[method-assign]

    @remembered
    def over(self, *args: Any, **kwargs: Any) -> Any:
        """The indicator over whole series; NaN where it is not ready.

        Here for an indicator of your own that takes numbers: one value after the other through a
        fresh one. One that takes bars has to bring its own ``over``.
        """
        if self.takes_bar:
            raise NotImplementedError(f"{type(self).__name__} takes bars: give it an over(high, low, close) of its own")
        (values,) = (*args, *kwargs.values())
        fresh = type(self)(*(getattr(self, name) for name in self.parameters))
        found = []
        for value in read_series(values).tolist():
            fresh.update(value)
            found.append(fresh.value)
        return like(values)(np.array(found, dtype=np.float64))

    def lines(self) -> list[Line]:
        """The indicator itself and its further lines."""
        return [self, *(value for _, value in self._slots() if isinstance(value, Output))]

    def outputs(self) -> list[tuple[str, Line]]:
        """Its further lines by name: "upper", "lower"."""
        return [(name.removesuffix("_line"), value) for name, value in self._slots() if isinstance(value, Output)]

    def state(self) -> dict[str, Any]:
        """All that :meth:`restore` needs to go on exactly from here, as plain dicts, lists and numbers.

        Crossings with levels and with the indicator's own lines are in it; for those between
        indicators see :func:`save_indicators`. Some of the numbers are NaN: write it as msgpack,
        JSON has no NaN.
        """
        state = self._own_state()
        state["crossings"] = crossings_state(self.lines())
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`; its crossings with other indicators start anew.

        Raises :class:`DataError` where the state is of another indicator or other parameters.
        """
        self._restore_own(state)
        restore_crossings(self.lines(), state["crossings"])

    def _own_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"indicator": type(self).__name__}
        for name, value in self._slots():
            state[name] = _plain(value)
        return state

    def _restore_own(self, state: dict[str, Any]) -> None:
        name = state.get("indicator")
        if name != type(self).__name__:
            raise DataError(f"the state is of {name!r}, not of {type(self).__name__}: restore it into a {name}")
        for parameter in self.parameters:
            if state.get(parameter) != getattr(self, parameter):
                raise DataError(
                    f"the state is of {name} with {parameter}={state.get(parameter)!r}, this one has "
                    f"{parameter}={getattr(self, parameter)!r}: make it with the same parameters"
                )
        for slot, value in self._slots():
            if slot not in self.parameters:
                setattr(self, slot, _revived(value, state[slot]))

    def _slots(self) -> list[tuple[str, Any]]:
        slots = [name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ())]
        # An indicator of a user's own need not have slots.
        names = [*slots, *getattr(self, "__dict__", ())]
        return [(name, getattr(self, name)) for name in names if name not in _NOT_STATE]

    def __repr__(self) -> str:
        arguments = ", ".join(f"{getattr(self, name)!r}" for name in self.parameters)
        return f"{type(self).__name__}({arguments}) = {self.value:.8g}" + ("" if self.ready else " (not ready)")


def _plain(value: Any) -> Any:
    if isinstance(value, Output):
        return [float(value.value), float(value.previous)]
    if isinstance(value, Indicator):
        return value._own_state()
    if isinstance(value, (list, deque)):
        return [float(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return float(value)


def _revived(present: Any, saved: Any) -> Any:
    if isinstance(present, Output):
        present.value, present.previous = saved
        return present
    if isinstance(present, Indicator):
        present._restore_own(saved)
        return present
    if isinstance(present, deque):
        return deque(saved, maxlen=present.maxlen)
    if isinstance(present, list):
        return list(saved)
    return saved


def save_indicators(indicators: Sequence[Indicator]) -> dict[str, Any]:
    """The state of several indicators with the crossings between them; see :meth:`Indicator.state`."""
    lines = [line for indicator in indicators for line in indicator.lines()]
    return {
        "indicators": [indicator._own_state() for indicator in indicators],
        "crossings": crossings_state(lines),
    }


def restore_indicators(indicators: Sequence[Indicator], state: dict[str, Any]) -> None:
    """Put a :func:`save_indicators` state into the same indicators, given in the same order."""
    saved = state["indicators"]
    if len(saved) != len(indicators):
        raise DataError(f"the state holds {len(saved)} indicators, {len(indicators)} were given: give the same ones")
    for indicator, own in zip(indicators, saved, strict=True):
        indicator._restore_own(own)
    restore_crossings([line for indicator in indicators for line in indicator.lines()], state["crossings"])


def checked_period(value: object, name: str = "period", least: int = 1) -> int:
    """``value`` as an int, or :class:`ParameterError` where it is no whole number of ``least`` or more."""
    if not isinstance(value, bool):
        try:
            period = index(value)  # type: ignore[arg-type]
        except TypeError:
            period = least - 1
        if period >= least:
            return period
    raise ParameterError(f"{name}={value!r}: give a whole number of bars, {least} or more")


def read_series(values: Any, name: str = "values", *, missing: float = nan) -> Floats:
    """A one-dimensional float array of ``values``.

    Raises :class:`DataError` for anything else in it than finite numbers. Where ``missing`` is
    given it stands in for NaN.
    """
    try:
        array: Floats = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: give an array or Series of numbers ({error})") from None
    if array.ndim != 1:
        raise DataError(f"{name}: give one dimension, not {array.ndim} (one column of a frame: bars.close)")
    finite = np.isfinite(array)
    if finite.all():
        return array
    if not isnan(missing):
        unknown = np.isnan(array)
        finite |= unknown
        array = np.where(unknown, missing, array)
    if not finite.all():
        place = int(np.argmin(finite))
        raise DataError(
            f"{name}[{place}] is {float(array[place])!r}: leave out what is missing before, "
            f"for instance with bars.dropna() or {name}[np.isfinite({name})]"
        )
    return array


def same_length(**series: Floats) -> None:
    """Raise :class:`DataError` where series that belong together differ in length."""
    lengths = {name: len(values) for name, values in series.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"series of different lengths {lengths}: give the columns of one frame")


def like(values: Any) -> Callable[[Floats], Any]:
    """What turns a result into the kind that ``values`` is: a Series with its index, else the array."""
    if hasattr(values, "to_numpy") and hasattr(values, "index"):
        kind, labels = type(values), values.index
        return lambda result: kind(result, index=labels)
    return lambda result: result
