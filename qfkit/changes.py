"""What is otherwise in a run that is made once more: parameters, code, costs, limits and so on."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Literal, Self, TypeAlias

import msgspec

from qfkit.core.costs import Costs
from qfkit.core.strategy import Strategy, as_strategy
from qfkit.core.wording import money
from qfkit.errors import ParameterError, did_you_mean

__all__ = ["SAME", "Changes", "Made", "Same", "unknown_setting"]

Made: TypeAlias = Mapping[str, tuple[type[Strategy], Mapping[str, Any]]]
"""Class and parameters of each strategy by its name."""


class Same(Enum):
    """What a setting is that stays as it was, where None means something: without filters, default costs."""

    SAME = "as it was"

    def __repr__(self) -> str:
        return "as it was"


SAME: Final = Same.SAME
Kept: TypeAlias = Literal[Same.SAME]

_ENGINE_SETTINGS = ("costs", "risk", "sizer", "filters", "margin", "shares", "allocation", "netting")
_PRESETS = {"ideal costs": Costs.ideal(), "sober costs": Costs(), "harsh costs": Costs.harsh()}


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that differ; the others stay as they were. They mean what they mean in :meth:`WhatIf.what_if`."""

    params: Mapping[str, Any] | None = None
    strategy: Any = None
    costs: Any = SAME
    latency_s: Any = None
    risk: Any = SAME
    sizer: Any = SAME
    filters: Any = SAME
    margin: Any = SAME
    cash: float | None = None
    shares: Any = SAME
    allocation: Any = SAME
    netting: Any = SAME
    commands: bool = True

    def __post_init__(self) -> None:
        if self.params is not None and not isinstance(self.params, Mapping):
            raise ParameterError(f'params={self.params!r}: give a dict of names and values, as in params={{"fast": 8}}')
        if not isinstance(self.costs, Costs | Same | None):
            raise ParameterError(f"costs={self.costs!r}: it must be a Costs, as in costs=qf.Costs.harsh()")
        if not (self.latency_s is None or isinstance(self.latency_s, int | float) or callable(self.latency_s)):
            raise ParameterError(f"latency_s={self.latency_s!r}: give seconds, or one of those that Costs takes")
        if isinstance(self.cash, bool) or not isinstance(self.cash, int | float | None):
            raise ParameterError(f"cash={self.cash!r}: give an amount, as in cash=50_000")
        if not isinstance(self.shares, Mapping | Same | None):
            raise ParameterError(
                f"shares={self.shares!r}: give a dict by strategy, as in shares={{'trend': 0.6, 'other': 0.4}}"
            )
        if not isinstance(self.commands, bool):
            raise ParameterError(f"commands={self.commands!r}: True keeps what was done by hand, False leaves it out")

    @classmethod
    def of(cls, given: object) -> Self:
        """From a dict of settings, as one of several at once is given."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise ParameterError(
                f'{given!r}: each what-if is a dict of settings, as in {{"harsh": dict(costs=qf.Costs.harsh())}}; '
                'a parameter alone is params={"fast": 8}'
            )
        unknown = {name: value for name, value in given.items() if name not in cls.__struct_fields__}
        if unknown:
            raise ParameterError(unknown_setting(unknown))
        return cls(**given)

    def __or__(self, later: "Changes") -> "Changes":
        """These and then later ones on top."""
        merged = {name: getattr(self, name) for name in self.__struct_fields__}
        for name, standing in zip(self.__struct_fields__, self.__struct_defaults__, strict=True):
            value = getattr(later, name)
            if value is not standing:
                merged[name] = value
        if later.costs is not SAME and later.latency_s is None:
            merged["latency_s"] = None
        if self.params and later.params:
            merged["params"] = _merged(self.params, later.params)
        if isinstance(self.strategy, Mapping) and isinstance(later.strategy, Mapping):
            merged["strategy"] = {**self.strategy, **later.strategy}
        return Changes(**merged)

    # -- settings ----------------------------------------------------------------------------

    def settings(self, former: Mapping[str, Any]) -> dict[str, Any]:
        """The engine's settings with what is changed of them."""
        changed = {name: getattr(self, name) for name in _ENGINE_SETTINGS if getattr(self, name) is not SAME}
        if self.cash is not None:
            changed["cash"] = self.cash
        if self.latency_s is not None:
            costs = changed.get("costs", former["costs"])
            changed["costs"] = msgspec.structs.replace(Costs() if costs is None else costs, latency_s=self.latency_s)
        return {**former, **changed}

    # -- strategies --------------------------------------------------------------------------

    def made(self, former: Made) -> dict[str, tuple[type[Strategy], dict[str, Any]]]:
        """Class and parameters of each strategy. Raises :class:`ParameterError` for what none of them has."""
        self.check_names({name: (kind,) for name, (kind, _) in former.items()})
        return self.made_at_start(former)

    def made_at_start(self, former: Made) -> dict[str, tuple[type[Strategy], dict[str, Any]]]:
        """The same, where the names were checked already: strategies may join later, and other classes be swapped in."""
        made = {}
        for name, (kind, parameters) in former.items():
            chosen, values = self.replaced(name, kind, parameters)
            made[name] = chosen, {**values, **self.overridden(name, chosen)}
        return made

    def check_names(self, known: Mapping[str, tuple[type[Strategy], ...]]) -> None:
        """Raise :class:`ParameterError` for a strategy or parameter that there is none of; ``known`` are the classes
        that each strategy had in the course of the run."""
        for name in self._other_code(known):
            if name not in known:
                raise ParameterError(f"strategy= names {name!r}, which did not run.{did_you_mean(name, known)}")
        kinds = {name: (*own, *self._newcomer(name, known)) for name, own in known.items()}
        for key, value in (self.params or {}).items():
            names = {one for own in kinds.values() for kind in own for one in kind.parameters_of_class}
            if not isinstance(value, Mapping):
                if key not in names:
                    raise ParameterError(f"params names {key!r}, which no strategy here has.{did_you_mean(key, names)}")
                continue
            if key not in kinds:
                raise ParameterError(f"params names the strategy {key!r}.{did_you_mean(key, kinds)}")
            own_names = {one for kind in kinds[key] for one in kind.parameters_of_class}
            for own in value:
                if own not in own_names:
                    raise ParameterError(f"{key} has no parameter {own!r}.{did_you_mean(own, own_names)}")

    def _other_code(self, known: Mapping[str, object]) -> dict[str, Any]:
        """The other code by the name of whose place it takes."""
        if self.strategy is None:
            return {}
        if isinstance(self.strategy, Mapping):
            return dict(self.strategy)
        if len(known) > 1:
            raise ParameterError(
                f"strategy={self.strategy!r}: say in whose place, as a dict by name; there are {', '.join(known)}"
            )
        return dict.fromkeys(known, self.strategy)

    def _newcomer(self, name: str, known: Mapping[str, object]) -> tuple[type[Strategy], ...]:
        given = self._other_code(known).get(name)
        return () if given is None else (type(as_strategy(given)),)

    def is_replaced(self, name: str) -> bool:
        """Whether a strategy runs as other code."""
        return name in self.strategy if isinstance(self.strategy, Mapping) else self.strategy is not None

    def replaced(
        self, name: str, kind: type[Strategy], parameters: Mapping[str, Any]
    ) -> tuple[type[Strategy], dict[str, Any]]:
        """The class and parameters that run under a name before ``params``.

        A class takes what the one before it had under the same names; an instance brings its own.
        """
        if not self.is_replaced(name):
            return kind, dict(parameters)
        given = self.strategy[name] if isinstance(self.strategy, Mapping) else self.strategy
        chosen = as_strategy(given)
        if isinstance(given, type):
            known = type(chosen).parameters_of_class
            return type(chosen), {one: value for one, value in parameters.items() if one in known}
        return type(chosen), chosen.parameters

    def overridden(self, name: str, kind: type[Strategy]) -> dict[str, Any]:
        """The parameters that are given for a strategy, if it is of this class; by its own name comes first."""
        given = self.params or {}
        known = kind.parameters_of_class
        own = given.get(name)
        values = {key: value for key, value in given.items() if not isinstance(value, Mapping)}
        values |= own if isinstance(own, Mapping) else {}
        return kind.check_parameters({key: value for key, value in values.items() if key in known})

    # -- words -------------------------------------------------------------------------------

    def describe(self) -> str:
        """A name for it: "fast=8, harsh costs"."""
        words = []
        if self.strategy is not None:
            if isinstance(self.strategy, Mapping):
                words += [f"{name} as {type(as_strategy(one)).__name__}" for name, one in self.strategy.items()]
            else:
                words.append(f"as {type(as_strategy(self.strategy)).__name__}")
        for key, value in (self.params or {}).items():
            if isinstance(value, Mapping):
                words += [f"{key} {own}={one}" for own, one in value.items()]
            else:
                words.append(f"{key}={value}")
        if self.costs is not SAME:
            costs = Costs() if self.costs is None else self.costs
            words.append(next((name for name, preset in _PRESETS.items() if preset == costs), "other costs"))
        if self.latency_s is not None:
            words.append(
                f"latency {self.latency_s:g} s" if isinstance(self.latency_s, int | float) else "other latency"
            )
        for name, noun in (("risk", "limits"), ("sizer", "sizing"), ("filters", "filters"), ("margin", "margin")):
            value = getattr(self, name)
            if value is not SAME:
                words.append(f"default {noun}" if value is None and name != "filters" else f"other {noun}")
        if self.filters is None:
            words[words.index("other filters")] = "no filters"
        if self.cash is not None:
            words.append(f"cash {money(self.cash)}")
        if self.shares is not SAME:
            words.append("other shares")
        if self.allocation is not SAME:
            words.append("no allocation" if self.allocation is None else "other allocation")
        if self.netting is not SAME:
            words.append("netting" if self.netting else "no netting")
        if not self.commands:
            words.append("nothing by hand")
        return ", ".join(words) or "nothing changed"


def unknown_setting(given: Mapping[str, Any]) -> str:
    """What to say of settings that there are none of: most often they are a strategy's parameters."""
    name = next(iter(given))
    meant = did_you_mean(name, Changes.__struct_fields__)
    parameters = ", ".join(f'"{key}": {value!r}' for key, value in given.items())
    return f"a what-if has no setting {name!r}; a strategy's parameters are given as params={{{parameters}}}.{meant}"


def _merged(first: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters on top of others. What is given for all comes after what was given for one before."""
    plain = {key for key, value in later.items() if not isinstance(value, Mapping)}
    merged: dict[str, Any] = {}
    for key, value in first.items():
        merged[key] = (
            {own: one for own, one in value.items() if own not in plain} if isinstance(value, Mapping) else value
        )
    for key, value in later.items():
        former = merged.get(key)
        merged[key] = {**former, **value} if isinstance(value, Mapping) and isinstance(former, Mapping) else value
    return {key: value for key, value in merged.items() if not isinstance(value, Mapping) or value}
