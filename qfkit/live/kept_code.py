"""A strategy's code as it was when a session took it in, whatever ``%autoreload`` does to it afterwards.

IPython's autoreload writes the new code into the functions of the old class, in place. A running session would
change its ways with no event in its journal, and no replay could follow. So where autoreload is loaded a session
runs a class of its own, with functions of its own; new code comes in by ``session.swap``, as ever.
"""

import sys
from functools import update_wrapper
from types import FunctionType, MemberDescriptorType
from typing import Any

from qfkit.core.strategy import Strategy

__all__ = ["kept_source", "kept_version"]

_AUTORELOAD = "IPython.extensions.autoreload"
_SOURCE = "_kept_source"
# Slots are had from the original, which the kept version inherits from.
_NOT_COPIED = frozenset({"__dict__", "__slots__", "__weakref__", "parameters_of_class"})


def kept_version(kind: type[Strategy], source: str) -> type[Strategy]:
    """The class, or where it may be changed in place one that does what it does now.

    What it calls beyond its own and its bases' methods, such as functions of its module, is not kept.
    """
    if _AUTORELOAD not in sys.modules or _SOURCE in vars(kind) or kind.__module__ == "__main__":
        return kind
    registered = dict(Strategy.registry)
    kept: type[Strategy] | None = None
    # From the base to the class: each stands between its own original and what that inherits from.
    for base in reversed(kind.__mro__):
        if issubclass(base, Strategy) and not base.__module__.startswith("qfkit."):
            own = {
                name: _copied(value)
                for name, value in vars(base).items()
                if name not in _NOT_COPIED and not isinstance(value, MemberDescriptorType)
            }
            kept = type(base.__name__, (base,) if kept is None else (base, kept), own)
    Strategy.registry.clear()
    Strategy.registry.update(registered)
    if kept is None:
        return kind
    setattr(kept, _SOURCE, source)
    return kept


def kept_source(kind: type[Strategy]) -> str | None:
    """The text of a kept version, None of any other class."""
    return vars(kind).get(_SOURCE)


def _copied(value: Any) -> Any:
    if isinstance(value, FunctionType):
        copy = FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, value.__closure__)
        copy.__kwdefaults__ = value.__kwdefaults__
        return update_wrapper(copy, value, updated=("__dict__",))
    if isinstance(value, staticmethod | classmethod):
        return type(value)(_copied(value.__func__))
    if isinstance(value, property):
        return property(_copied(value.fget), _copied(value.fset), _copied(value.fdel), value.__doc__)
    return value
