"""Strategies as they are written on a command line: by name or ``file.py:Class``, parameters as text."""

import importlib.util
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from qfkit import strategies as ready_made
from qfkit.core.strategy import Strategy
from qfkit.errors import ParameterError, StrategyError, did_you_mean

__all__ = ["named_strategy", "strategies_of"]

_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def strategies_of(names: Sequence[str], settings: Sequence[str] = ()) -> list[Strategy]:
    """The strategies of ``--strategy``, with the parameters of ``--set NAME=VALUE`` or ``Class.NAME=VALUE``.

    Raises :class:`StrategyError` for one that cannot be found or loaded, and
    :class:`ParameterError` for a parameter that none has or that is out of bounds.
    """
    kinds = [named_strategy(name) for name in names]
    chosen: list[dict[str, Any]] = [{} for _ in kinds]
    for setting in settings:
        for index, name, value in _setting(kinds, setting):
            chosen[index][name] = value
    return [kind(**parameters) for kind, parameters in zip(kinds, chosen, strict=True)]


def named_strategy(name: str) -> type[Strategy]:
    """The class of a ready-made strategy (case and dashes do not matter) or of ``file.py:Class``."""
    before, colon, after = name.rpartition(":")
    # A Windows drive has a colon too.
    path, wanted = (before, after) if colon and not re.search(r"[\\/.]", after) else (name, "")
    if path.endswith(".py"):
        return _class_of(Path(path), wanted)
    known = {_plain(one): one for one in ready_made.__all__}
    if _plain(name) in known:
        kind: type[Strategy] = getattr(ready_made, known[_plain(name)])
        return kind
    raise StrategyError(
        f"no strategy {name!r}.{did_you_mean(name, ready_made.__all__)} A strategy of your own is given as file.py:Class"
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


# -- files -----------------------------------------------------------------------------------


def _class_of(path: Path, wanted: str) -> type[Strategy]:
    module = _load(path)
    found: dict[str, type[Strategy]] = {name: value for name, value in vars(module).items() if _is_of(module, value)}
    if not found:
        raise StrategyError(f"{path} defines no strategy: it needs a class that inherits from qf.Strategy")
    if not wanted:
        if len(found) > 1:
            raise StrategyError(f"{path} defines {', '.join(found)}: say which, as in {path}:{next(iter(found))}")
        return next(iter(found.values()))
    if wanted not in found:
        raise StrategyError(f"{path} defines no strategy {wanted!r}.{did_you_mean(wanted, found)}")
    return found[wanted]


def _is_of(module: ModuleType, value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Strategy) and value.__module__ == module.__name__


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        near = [str(other) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        hint = did_you_mean(str(path), near) if near else ""
        raise StrategyError(f"no strategy file {str(path)!r} in {Path.cwd()}.{hint}")
    # The module is found by this name again when its session is resumed from the same folder.
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_strategies"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise StrategyError(f"{path} cannot be loaded as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # As with "python file.py": what lies beside the file can be imported.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file is the user's code and may raise anything
        del sys.modules[name]
        raise StrategyError(f"{_place(path, error)}: {type(error).__name__}: {_first_line(error)}") from error
    return module


def _place(path: Path, error: BaseException) -> str:
    """The file and the line of it at which its code failed."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{error.filename or path}, line {error.lineno}"
    own = str(path.resolve())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def _first_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return text.partition("\n")[0]


# -- parameters ------------------------------------------------------------------------------


def _setting(kinds: Sequence[type[Strategy]], setting: str) -> list[tuple[int, str, Any]]:
    """Which strategies a ``NAME=VALUE`` is for, and the value in the parameter's type."""
    left, equals, text = setting.partition("=")
    owner, dot, name = left.strip().rpartition(".")
    if not equals or not name:
        raise ParameterError(f"--set {setting!r}: write NAME=VALUE, as in --set fast=8")
    chosen = [index for index, kind in enumerate(kinds) if not dot or _plain(kind.__name__) == _plain(owner)]
    if not chosen:
        raise ParameterError(f"--set {setting}: no strategy {owner!r} here.{did_you_mean(owner, _names(kinds))}")
    having = [index for index in chosen if name in kinds[index].parameters_of_class]
    if not having:
        all_names = {one for index in chosen for one in kinds[index].parameters_of_class}
        whose = " or ".join(dict.fromkeys(kinds[index].__name__ for index in chosen))
        raise ParameterError(f"--set {setting}: {whose} has no parameter {name!r}.{did_you_mean(name, all_names)}")
    values = [(index, name, _value(kinds[index], name, text.strip())) for index in having]
    for index, _, value in values:
        kinds[index].check_parameters({name: value})
    return values


def _names(kinds: Sequence[type[Strategy]]) -> list[str]:
    return [kind.__name__ for kind in kinds]


def _value(kind: type[Strategy], name: str, text: str) -> Any:
    default = kind.parameters_of_class[name].default
    if isinstance(default, bool):
        if text.lower() not in _TRUTHS:
            raise ParameterError(f"--set {name}={text}: it must be true or false")
        return _TRUTHS[text.lower()]
    if not isinstance(default, int | float):
        return text
    try:
        return int(text) if isinstance(default, int) else float(text)
    except ValueError:
        sort = "a whole number" if isinstance(default, int) else "a number"
        raise ParameterError(f"--set {name}={text}: it must be {sort}, like {default!r}") from None
