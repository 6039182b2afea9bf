"""The combinations of parameters that a sweep tries: a grid, a random sample of one, or a list of one's own."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, TypeAlias

import numpy as np

from qfkit.core.strategy import Strategy
from qfkit.errors import ParameterError

__all__ = ["Axes", "Combination", "Constraint", "Space", "space_of"]

Combination: TypeAlias = dict[str, Any]
Axes: TypeAlias = Mapping[str, Sequence[Any]]
Constraint: TypeAlias = Callable[[Any], object]

# A grid up to so many is gone through whole to draw from it; of a larger one numbers are drawn until there are enough.
_LISTED = 1_000_000
_VAIN_DRAWS = 200


class Space:
    """``combinations``, in the order in which they are tried, and the values that each axis takes among them, in order."""

    def __init__(self, combinations: Sequence[Combination], axes: Axes) -> None:
        self.combinations = tuple(combinations)
        self.axes = {name: tuple(values) for name, values in axes.items()}

    def __len__(self) -> int:
        return len(self.combinations)


class _Parameters(dict[str, Any]):
    """What a constraint gets: ``p.fast`` as well as ``p["fast"]``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no parameter {name!r}: {', '.join(self)}") from None


def space_of(
    strategy: Strategy,
    axes: Mapping[str, Any],
    *,
    combinations: Iterable[Mapping[str, Any]] | Mapping[str, Any] | None = None,
    samples: int | None = None,
    seed: int = 0,
    constraint: Constraint | None = None,
) -> Space:
    """The space of a sweep. Raises :class:`ParameterError` for a parameter or value that the strategy does not take."""
    if combinations is not None:
        if axes:
            raise ParameterError(f"give combinations= or axes such as {next(iter(axes))}=..., not both")
        if not isinstance(combinations, Mapping):
            return _listed(strategy, combinations, samples, seed, constraint)
        axes = combinations
    if not axes:
        known = ", ".join(f"{name}=..." for name in strategy.parameters_of_class) or "none: write qf.Param(...) in it"
        raise ParameterError(f"there is nothing to vary: name values of a parameter, as fast=range(5, 30) ({known})")
    checked = {name: _values(strategy, name, values) for name, values in axes.items()}
    found = _chosen(strategy, checked, samples, seed, constraint)
    if not found:
        raise ParameterError("the constraint lets no combination through: turn it round, or widen the axes")
    return Space(found, checked)


def _values(strategy: Strategy, name: str, given: Any) -> tuple[Any, ...]:
    is_single = isinstance(given, str | bytes) or not isinstance(given, Iterable)
    values = tuple(
        strategy.check_parameters({name: _plain(value)})[name] for value in ((given,) if is_single else given)
    )
    if not values:
        raise ParameterError(f"{name}=[]: name at least one value")
    return tuple(dict.fromkeys(values))


def _plain(value: Any) -> Any:
    """A text of numpy shows itself as one."""
    return value.item() if isinstance(value, np.generic) else value


def _chosen(
    strategy: Strategy, axes: Axes, samples: int | None, seed: int, constraint: Constraint | None
) -> list[Combination]:
    if samples is None:
        return [one for one in _grid(axes) if _lets_through(strategy, constraint, one)]
    wanted = _checked_samples(samples)
    total = prod(map(len, axes.values()))
    chance = random.Random(seed)  # noqa: S311 - a seeded draw, for the same sample again
    found = []
    for number in _draws(chance, total, wanted):
        one = _numbered(axes, number)
        if _lets_through(strategy, constraint, one):
            found.append(one)
            if len(found) == wanted:
                break
    return found


def _grid(axes: Axes) -> Iterator[Combination]:
    return (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def _numbered(axes: Axes, number: int) -> Combination:
    """The combination that has this number in the grid."""
    chosen: Combination = {}
    for name in reversed(list(axes)):
        number, place = divmod(number, len(axes[name]))
        chosen[name] = axes[name][place]
    return {name: chosen[name] for name in axes}


def _draws(chance: random.Random, total: int, wanted: int) -> Iterator[int]:
    """Numbers below ``total`` in random order, none twice."""
    if total <= _LISTED:
        yield from chance.sample(range(total), total)
        return
    seen: set[int] = set()
    for _ in range(wanted * _VAIN_DRAWS):
        number = chance.randrange(total)
        if number not in seen:
            seen.add(number)
            yield number


def _listed(
    strategy: Strategy,
    combinations: Iterable[Mapping[str, Any]],
    samples: int | None,
    seed: int,
    constraint: Constraint | None,
) -> Space:
    if not isinstance(combinations, Iterable):
        raise ParameterError(f"combinations={combinations!r}: give a list of dicts such as {{'fast': 10, 'slow': 30}}")
    found: list[Combination] = []
    for number, one in enumerate(combinations):
        if not isinstance(one, Mapping):
            raise ParameterError(f"combinations: number {number} is {one!r}; each is a dict of parameters by name")
        found.append(strategy.check_parameters({name: _plain(value) for name, value in one.items()}))
    found = [one for one in found if _lets_through(strategy, constraint, one)]
    if samples is not None and _checked_samples(samples) < len(found):
        found = random.Random(seed).sample(found, samples)  # noqa: S311 - a seeded draw, for the same sample again
    if not found:
        raise ParameterError("combinations: there is none to try; give dicts such as {'fast': 10, 'slow': 30}")
    names = dict.fromkeys(name for one in found for name in one)
    # Where one says nothing of a parameter it has the strategy's own.
    own = strategy.parameters
    whole = [{name: one.get(name, own[name]) for name in names} for one in found]
    return Space(whole, {name: _in_order(one[name] for one in whole) for name in names})


def _in_order(values: Iterable[Any]) -> tuple[Any, ...]:
    different = dict.fromkeys(values)
    try:
        return tuple(sorted(different))
    except TypeError:
        return tuple(different)


def _checked_samples(samples: object) -> int:
    if isinstance(samples, bool) or not isinstance(samples, int | np.integer) or samples < 1:
        raise ParameterError(f"samples={samples!r}: give a whole number of combinations, or None for the whole grid")
    return int(samples)


def _lets_through(strategy: Strategy, constraint: Constraint | None, one: Combination) -> bool:
    if constraint is None:
        return True
    try:
        return bool(constraint(_Parameters({**strategy.parameters, **one})))
    except Exception as error:
        raise ParameterError(
            f"the constraint raised {type(error).__name__}: {error} for {one}; it is called with all parameters, "
            "as in constraint=lambda p: p.fast < p.slow"
        ) from error
