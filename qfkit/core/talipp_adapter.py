"""Streaming indicators of the library talipp, worn as ours. talipp itself is never imported unasked."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import import_module
from inspect import Parameter, signature
from math import nan
from typing import Any

import numpy as np

from qfkit.core.crossings import Line, Output
from qfkit.core.indicator_base import Indicator, like, read_series, same_length
from qfkit.errors import DataError, ParameterError, did_you_mean

__all__ = ["TalippBarIndicator", "TalippIndicator", "adapt", "is_talipp"]

_LEAST_KEPT = 200
_STRUCTURE = frozenset({"managed_sequences", "sub_indicators", "output_listeners"})


class TalippIndicator(Indicator):
    """A talipp indicator that takes numbers. Made by :func:`adapt`.

    ``output`` is what talipp itself gives. ``value`` is that as a number; of an output with
    several fields it is the first, which need not be the main one (for talipp's BB it is the
    lower band): ``line("ub")`` is the line of any field, to read or to cross. ``ready`` once all
    fields are there. talipp keeps all it ever saw; here it keeps four times what it took to
    become ready, which its values do not notice.
    """

    __slots__ = ("_kept", "_lines", "_made", "_make", "_source", "output")

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self._make = make
        self._source = make()
        self._made = _made(self._source)
        self._kept = 0
        self.output: Any = None
        kind = self._source.output_value_type
        self._lines = {field.name: Output(self) for field in fields(kind)} if is_dataclass(kind) else {}

    def line(self, name: str) -> Line:
        """The line of one field of the output. Raises :class:`ParameterError` for one that there is not."""
        if name not in self._lines:
            raise ParameterError(f"{self._name()} of talipp has no field {name!r}.{did_you_mean(name, self._lines)}")
        return self._lines[name]

    def lines(self) -> list[Line]:
        return [self, *self._lines.values()]

    def update(self, value: Any) -> None:
        self._add(value)

    def _add(self, item: Any) -> None:
        self.count += 1
        source = self._source
        source.add(item)
        self.output = output = source.output_values[-1]
        self.previous = self.value
        if output is None:
            return
        complete = True
        if self._lines:
            for name, line in self._lines.items():
                field = getattr(output, name)
                complete = complete and field is not None
                line.previous = line.value
                line.value = _number(field)
            self.value = next(iter(self._lines.values())).value
        else:
            self.value = _number(output)
        if complete and not self.ready:
            self.ready = True
            self._kept = max(_LEAST_KEPT, 4 * len(source.input_values))
        if self.ready and len(source.input_values) >= 2 * self._kept:
            source.purge_oldest(len(source.input_values) - self._kept)

    def over(self, *args: Any, **kwargs: Any) -> Any:
        (values,) = (*args, *kwargs.values())
        return like(values)(self._over(read_series(values).tolist()))

    def _over(self, items: list[Any]) -> Any:
        fresh = type(self)(self._make)
        found = np.full(len(items), nan)
        for place, item in enumerate(items):
            fresh._add(item)
            found[place] = fresh.value
        return found

    def _name(self) -> str:
        return type(self._source).__name__

    def __repr__(self) -> str:
        return f"{self._name()} of talipp = {self.value:.8g}" + ("" if self.ready else " (not ready)")

    def _own_state(self) -> dict[str, Any]:
        return {
            "indicator": f"{self._name()} of talipp",
            "made": self._made,
            "numbers": [self.count, self.ready, self._kept, self.value, self.previous],
            "lines": [[line.value, line.previous] for line in self._lines.values()],
            "source": _source_state(self._source),
        }

    def _restore_own(self, state: dict[str, Any]) -> None:
        name = state.get("indicator")
        if name != f"{self._name()} of talipp":
            raise DataError(f"the state is of {name!r}, not of {self._name()} of talipp: restore it into a {name}")
        if state["made"] != self._made:
            raise DataError(
                f"the state is of {name} made as {state['made']}, this one is made as {self._made}: "
                "make it with the same arguments"
            )
        self.count, self.ready, self._kept, self.value, self.previous = state["numbers"]
        for line, (value, previous) in zip(self._lines.values(), state["lines"], strict=True):
            line.value, line.previous = value, previous
        _restore_source(self._source, state["source"])
        outputs = self._source.output_values
        self.output = outputs[-1] if outputs else None


class TalippBarIndicator(TalippIndicator):
    """A talipp indicator that takes bars, as its OHLCV; volume that is unknown counts as none."""

    __slots__ = ("_record",)
    takes_bar = True

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__(make)
        self._record = import_module("talipp.ohlcv").OHLCV

    def update(self, bar: Any) -> None:
        volume = bar.volume
        if not volume > 0.0:  # NaN too
            volume = 0.0
        self._add(self._record(bar.open, bar.high, bar.low, bar.close, volume))

    def over(self, open: Any, high: Any, low: Any, close: Any, volume: Any = None) -> Any:
        columns = {
            "open": read_series(open, "open"),
            "high": read_series(high, "high"),
            "low": read_series(low, "low"),
            "close": read_series(close, "close"),
        }
        columns["volume"] = (
            np.zeros(len(columns["close"])) if volume is None else read_series(volume, "volume", missing=0.0)
        )
        same_length(**columns)
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return like(close)(self._over([self._record(*row) for row in rows]))


def is_talipp(thing: object) -> bool:
    """Whether ``thing`` is an indicator of talipp, or a class of one."""
    kind = thing if isinstance(thing, type) else type(thing)
    return any(
        base.__module__ == "talipp.indicators.Indicator" and base.__name__ == "Indicator" for base in kind.__mro__
    )


def adapt(indicator: Any, *args: Any, **kwargs: Any) -> TalippIndicator:
    """Wrap a talipp indicator: its class with its arguments, or an instance, of which a copy is taken.

    It is fed with bars where talipp says so (its OHLCV) and where it has an ``input_modifier``,
    else with numbers. Raises :class:`ParameterError` for arguments that talipp does not take and
    for indicators that cannot stream: those that rewrite their past (ZigZag, PivotsHL), sample
    it (``input_sampling``: ask for a timeframe instead) or hang on another (``input_indicator``).
    """
    if isinstance(indicator, type):
        if kwargs.get("input_indicator") is not None:
            raise ParameterError(f"{indicator.__name__} of talipp with an input_indicator: it has to be fed by itself")
        try:
            signature(indicator).bind(*args, **kwargs)
        except TypeError as error:
            raise ParameterError(f"{indicator.__name__}{signature(indicator)} of talipp: {error}") from None

        def make() -> Any:
            return indicator(*args, **kwargs)

        probe = make()
    else:
        if args or kwargs:
            raise ParameterError(f"{indicator!r} is made already: give its class with the arguments, or no arguments")
        probe = deepcopy(indicator)

        def make() -> Any:
            return deepcopy(probe)

    name = type(probe).__name__
    if probe.input_sampler is not None:
        raise ParameterError(
            f'{name} of talipp with input_sampling: give timeframe="5m" (say) to self.indicator instead'
        )
    if not any(vars(kind).get("purge_oldest") is type(probe).purge_oldest for kind in _base(probe)):
        raise ParameterError(f"{name} of talipp rewrites values it gave before, so it cannot be used bar by bar")
    return TalippBarIndicator(make) if _takes_bar(probe) else TalippIndicator(make)


def _base(source: Any) -> list[type]:
    return [kind for kind in type(source).__mro__ if kind.__module__ == "talipp.indicators.Indicator"]


def _takes_bar(source: Any) -> bool:
    if source.input_modifier is not None:
        return True
    for kind in type(source).__mro__:
        parameter = signature(kind).parameters.get("input_values")
        if parameter is not None and parameter.annotation is not Parameter.empty:
            return "OHLCV" in str(parameter.annotation)
    return False


def _number(field: Any) -> float:
    if field is None or isinstance(field, Enum):
        return nan
    return float(field)


def _made(source: Any) -> dict[str, Any]:
    """How a new indicator of talipp was made: its numbers and what it is made of."""
    found: dict[str, Any] = {}
    for name, value in vars(source).items():
        if is_talipp(value):
            found[name] = type(value).__name__
        elif isinstance(value, (bool, int, float, str)):
            found[name] = value
        elif isinstance(value, Enum):
            found[name] = value.name
    return found


def _source_state(source: Any) -> dict[str, Any]:
    return {name: _plain(value) for name, value in vars(source).items() if _is_data(name, value)}


def _is_data(name: str, value: Any) -> bool:
    return name not in _STRUCTURE and (is_talipp(value) or isinstance(value, (bool, int, float, str, list, type(None))))


def _plain(value: Any) -> Any:
    if is_talipp(value):
        return _source_state(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return {"class": type(value).__name__, "module": type(value).__module__, "name": value.name}
    if is_dataclass(value) and not isinstance(value, type):
        own = [_plain(getattr(value, field.name)) for field in fields(value)]
        return {"class": type(value).__name__, "module": type(value).__module__, "fields": own}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise DataError(f"a {type(value).__name__} inside an indicator of talipp cannot be saved")


def _restore_source(source: Any, state: dict[str, Any]) -> None:
    for name, saved in state.items():
        present = getattr(source, name, None)
        if is_talipp(present):
            _restore_source(present, saved)
        elif isinstance(present, list):
            # In place, because talipp keeps some lists under two names.
            present[:] = [_revived(item) for item in saved]
        else:
            setattr(source, name, _revived(saved))


def _revived(saved: Any) -> Any:
    if isinstance(saved, list):
        return [_revived(item) for item in saved]
    if not isinstance(saved, dict):
        return saved
    module = saved["module"]
    if module != "talipp" and not module.startswith("talipp."):
        raise DataError(f"the state names {module}.{saved['class']}: only classes of talipp are taken from a state")
    kind = getattr(import_module(module), saved["class"], None)
    if not isinstance(kind, type) or not (issubclass(kind, Enum) or is_dataclass(kind)):
        raise DataError(f"the state names {module}.{saved['class']}: only classes of talipp are taken from a state")
    if issubclass(kind, Enum):
        return kind[saved["name"]]
    return kind(*(_revived(item) for item in saved["fields"]))
