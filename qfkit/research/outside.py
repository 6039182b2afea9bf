"""What a strategy reaches besides what it is given: globals, closures, class attributes, defaults, caches.

It is looked for by the names in the code of the strategy and of the functions of yours that it uses, and
in the places that these can see. A frame found there can be put in another's place for the time of a run.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dis import get_instructions
from functools import partial
from inspect import ismodule
from pathlib import Path
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import msgspec

from qfkit.core.strategy import Param, Strategy

__all__ = ["FETCHING", "HIDDEN", "Outside", "Slot", "is_mentioned", "look_outside"]

_DEPTH = 8
_MOST_ITEMS = 1_000
# The highest of the closes is among them: a number says nothing where it is one of many.
_MOST_SETTINGS = 30
_MISSING = object()
# Whole modules that fetch data, and ways to names that no code shows.
FETCHING = frozenset({"duckdb", "requests", "sqlite3", "urllib", "yfinance"})
HIDDEN = frozenset({"eval", "exec", "globals", "import_module", "__import__"})
_METHODS = frozenset({"read_bytes", "read_text", "read_parquet", "read_csv"})
_READERS = frozenset(
    {
        "fromfile",
        "genfromtxt",
        "load",
        "load_dataset",
        "open",
        "read_bytes",
        "read_csv",
        "read_excel",
        "read_feather",
        "read_hdf",
        "read_json",
        "read_parquet",
        "read_pickle",
        "read_session",
        "read_sql",
        "read_text",
        "scan_parquet",
        "loadtxt",
        "history",
        "sample",
        "urlopen",
        "download",
    }
)


class Slot(msgspec.Struct, frozen=True):
    """A place that holds a value, as "the global `bars`", reached from ``owner``, as "Trend.on_bar"."""

    owner: str
    name: str
    value: Any
    put: Callable[[Any], None] | None


class Outside:
    """All that was reached. ``codes`` are the code objects looked at, ``readers`` calls that may fetch data."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.codes: list[CodeType] = []
        self.readers: list[tuple[str, str]] = []
        self._caches: list[Callable[[], None]] = []
        self._containers: list[tuple[Any, Any]] = []
        self._restores: list[Callable[[], None]] = []
        self._seen: set[int] = set()

    def reset(self) -> None:
        """Put class attributes, globals and caches back to what they were when they were first looked at."""
        for clear in self._caches:
            clear()
        for container, kept in self._containers:
            container.clear()
            (container.extend if isinstance(container, list) else container.update)(kept)
        for restore in self._restores:
            restore()

    @contextmanager
    def replaced(self, change: Callable[[Slot], Any]) -> Iterator[None]:
        """Each slot's value replaced by what ``change`` makes of it; put back at the end, whatever happens."""
        done: list[Slot] = []
        try:
            for slot in self.slots:
                if slot.put is not None:
                    new = change(slot)
                    if new is not slot.value:
                        done.append(slot)
                        slot.put(new)
            yield
        finally:
            for slot in reversed(done):
                assert slot.put is not None
                slot.put(slot.value)

    # -- looking -----------------------------------------------------------------------------

    def of_class(self, kind: type, depth: int = 0) -> None:
        for base in kind.__mro__:
            if not _is_own(base):
                continue
            if self._has_seen(base):
                continue
            self._keep_class(base)
            for name, value in list(vars(base).items()):
                if (name.startswith("__") and name != "__init__") or name == "parameters_of_class":
                    continue
                functions = [value] if not isinstance(value, property) else [value.fget, value.fset]
                for one in functions:
                    function = getattr(one, "__func__", one)
                    if isinstance(function, FunctionType):
                        title = base.__name__ if name == "rule" else f"{base.__name__}.{name}"
                        self.of_function(function, title, depth)
                    elif not isinstance(value, Param) and one is not None:
                        put = partial(setattr, base, name)
                        self._of_value(value, f"the attribute `{name}` of {base.__name__}", base.__name__, put, depth)

    def of_function(self, function: FunctionType, owner: str, depth: int = 0) -> None:
        if depth > _DEPTH or self._has_seen(function):
            return
        space = function.__globals__
        used = _Names()
        self._read_names(function.__code__, space, used)
        names = tuple(used.any)
        for name in used.of_globals:
            if name in space:
                self._keep_global(space, name)
                put = partial(space.__setitem__, name)
                self._of_value(space[name], f"the global `{name}`", owner, put, depth, names)
            elif name in used.stored:
                # Made while the strategy runs: gone again before the next run.
                self._restores.append(partial(space.pop, name, None))
        self.readers += [(owner, name) for name in used.readers]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # a cell that is not filled yet
                put = partial(setattr, cell, "cell_contents")
                self._of_value(cell.cell_contents, f"the variable `{name}` around it", owner, put, depth, names)
        self._of_defaults(function, owner, depth)

    def _of_defaults(self, function: FunctionType, owner: str, depth: int) -> None:
        defaults = function.__defaults__ or ()
        first = function.__code__.co_argcount - len(defaults)
        for place, value in enumerate(defaults):

            def put(new: Any, place: int = place) -> None:
                now = list(function.__defaults__ or ())
                now[place] = new
                function.__defaults__ = tuple(now)

            name = function.__code__.co_varnames[first + place]
            self._of_value(value, f"the default of `{name}`", owner, put, depth)
        named = function.__kwdefaults__ or {}
        for name, value in named.items():
            setter = partial(named.__setitem__, name)
            self._of_value(value, f"the default of `{name}`", owner, setter, depth)

    def _of_value(
        self,
        value: Any,
        name: str,
        owner: str,
        put: Callable[[Any], None] | None,
        depth: int,
        names: tuple[str, ...] = (),
    ) -> None:
        if depth > _DEPTH or value is None or isinstance(value, str | bytes | bool):
            return
        if isinstance(value, type):
            if _is_own(value):
                self.of_class(value, depth + 1)
        elif isinstance(value, FunctionType):
            if _is_own(value):
                self.of_function(value, f"{value.__name__}()", depth + 1)
        elif isinstance(value, partial):
            self._of_value(value.func, name, owner, None, depth + 1)
            for one in (*value.args, *value.keywords.values()):
                self._of_value(one, f"{name} (an argument kept in it)", owner, None, depth + 1)
        elif hasattr(value, "cache_clear") and hasattr(value, "__wrapped__"):
            self._caches.append(value.cache_clear)
            self._of_value(value.__wrapped__, name, owner, None, depth)
        elif ismodule(value):
            if _is_own_module(value):
                for one in names:
                    if one in vars(value):
                        self._keep_global(vars(value), one)
                        put_there = partial(setattr, value, one)
                        title = f"`{value.__name__}.{one}`"
                        self._of_value(vars(value)[one], title, owner, put_there, depth + 1, names)
        elif isinstance(value, dict | list | tuple | set):
            self._of_container(value, name, owner, put, depth)
        else:
            self.slots.append(Slot(owner, name, value, put))
            is_own = _is_own(type(value)) or isinstance(value, SimpleNamespace)
            if is_own and hasattr(value, "__dict__") and not isinstance(value, Strategy):
                self._of_object(value, name, owner, depth)

    def _of_container(self, value: Any, name: str, owner: str, put: Callable[[Any], None] | None, depth: int) -> None:
        self.slots.append(Slot(owner, name, value, put))
        if self._has_seen(value):
            return
        if isinstance(value, dict | list | set):
            self._containers.append((value, value.copy()))
        if isinstance(value, set) or len(value) > _MOST_ITEMS:
            return
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in list(items):
            if len(value) > _MOST_SETTINGS and isinstance(one, float):
                continue
            setter = None if isinstance(value, tuple) else partial(value.__setitem__, key)
            self._of_value(one, f"{name[:-1]}[{key!r}]`" if name.endswith("`") else name, owner, setter, depth + 1)

    def _of_object(self, value: Any, name: str, owner: str, depth: int) -> None:
        if self._has_seen(value):
            return
        self.of_class(type(value), depth + 1)
        for key, one in list(vars(value).items()):
            self._of_value(one, f"{name[:-1]}.{key}`", owner, partial(setattr, value, key), depth + 1)

    # -- keeping -----------------------------------------------------------------------------

    def _has_seen(self, value: Any) -> bool:
        if id(value) in self._seen:
            return True
        self._seen.add(id(value))
        return False

    def _keep_class(self, kind: type) -> None:
        kept = {name: value for name, value in vars(kind).items() if not name.startswith("__")}

        def restore() -> None:
            for name in [name for name in vars(kind) if not name.startswith("__") and name not in kept]:
                delattr(kind, name)
            for name, value in kept.items():
                if vars(kind).get(name, _MISSING) is not value:
                    setattr(kind, name, value)

        self._restores.append(restore)

    def _keep_global(self, space: dict[str, Any], name: str) -> None:
        value = space[name]

        def restore() -> None:
            if space.get(name, _MISSING) is not value:
                space[name] = value

        self._restores.append(restore)

    def _read_names(self, code: CodeType, space: dict[str, Any], used: "_Names") -> None:
        """The names in a function's code, and in those defined in it."""
        self.codes.append(code)
        used.any.update(dict.fromkeys(code.co_names))
        owner: Any = None
        for step in get_instructions(code):
            name = step.argval
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"):
                used.of_globals[name] = None
                if step.opname == "STORE_GLOBAL":
                    used.stored.add(name)
                elif _is_reader(name, space.get(name)):
                    used.readers[name] = None
            elif step.opname == "IMPORT_NAME" and name.partition(".")[0] in FETCHING:
                used.readers[name] = None
            elif (
                step.opname in ("LOAD_ATTR", "LOAD_METHOD")
                and name in _READERS
                and (ismodule(owner) or name in _METHODS)
            ):
                # As pandas.read_csv or path.read_text; bar.open is none.
                used.readers[name] = None
            owner = space.get(name) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") else None
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._read_names(constant, space, used)


class _Names:
    """The names in code: all, those looked up as globals, those of them written to, and calls that may fetch data."""

    def __init__(self) -> None:
        self.any: dict[str, None] = {}
        self.of_globals: dict[str, None] = {}
        self.stored: set[str] = set()
        self.readers: dict[str, None] = {}


def look_outside(kinds: Mapping[str, type], builder: Callable[..., Any] | None) -> Outside:
    """What the classes of these strategies reach, and the function that makes them."""
    outside = Outside()
    if builder is not None:
        outside._of_value(builder, "the function", getattr(builder, "__name__", "the function"), None, 0)
        call = getattr(type(builder), "__call__", None)  # noqa: B004 - its code is looked at
        if not isinstance(builder, FunctionType) and isinstance(call, FunctionType):
            outside.of_function(call, type(builder).__name__)
    else:
        for kind in kinds.values():
            outside.of_class(kind)
    return outside


def _is_reader(name: str, value: Any) -> bool:
    """Whether a global is called that may fetch data: a library's own, for the code of the user's is looked into."""
    if name in HIDDEN:
        return value is None
    if ismodule(value):
        return value.__name__.partition(".")[0] in FETCHING
    return name in _READERS and not (isinstance(value, FunctionType | type) and _is_own(value))


def is_mentioned(name: str, codes: list[CodeType]) -> bool:
    """Whether code names a column, as ``bars["smooth"]`` or ``bars.smooth``."""
    return any(name in code.co_names or _holds(code.co_consts, name) for code in codes)


def _holds(constants: tuple[Any, ...], name: str) -> bool:
    return any(
        (isinstance(one, str) and one == name) or (isinstance(one, tuple | frozenset) and name in one)
        for one in constants
    )


_LIBRARIES = frozenset({"site-packages", "dist-packages"})


def _is_own(value: Any) -> bool:
    """Whether a class or function is the user's: of no library, and not of this package."""
    module = getattr(value, "__module__", None) or ""
    found = sys.modules.get(module)
    return module.partition(".")[0] not in ("qfkit", "builtins") if found is None else _is_own_module(found)


def _is_own_module(module: ModuleType) -> bool:
    root = module.__name__.partition(".")[0]
    # In a notebook the file of __main__ is the kernel's.
    if root == "__main__":
        return True
    if root == "qfkit" or root in sys.stdlib_module_names:
        return False
    path = getattr(module, "__file__", None)
    return path is None or _LIBRARIES.isdisjoint(Path(path).parts)
