"""Finding strategy classes: their source text for the journal, and the classes again for a resume.

A journal names a class by its key ("module:qualname"); one that shares its key with another
class of the same session, as a cell run again makes them, gets "#2" and so on behind it.
"""

import ast
import hashlib
import importlib
import inspect
import linecache
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import TypeAlias

from qfkit.core.strategy import Strategy, as_strategy
from qfkit.errors import StrategyError
from qfkit.live.kept_code import kept_source, kept_version

__all__ = ["ClassBook", "StrategyLike", "as_strategy", "source_hash", "source_text"]

StrategyLike: TypeAlias = Strategy | type[Strategy]

_MARK = "#"


def source_text(kind: type[Strategy]) -> str:
    """The source of a strategy class and of the strategies it inherits from; "" where there is none."""
    if (kept := kept_source(kind)) is not None:
        return kept
    bases = [base for base in kind.__mro__ if issubclass(base, Strategy) and base is not Strategy]
    return "\n\n".join(filter(None, map(_class_source, bases)))


def source_hash(text: str) -> str:
    """A short fingerprint of a source text; "" for none."""
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


def _class_source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        # A notebook's cell is no file; but its functions know where they were written.
        pass
    functions = [value for value in vars(kind).values() if isinstance(value, FunctionType)]
    if not functions:
        return ""
    lines = linecache.getlines(functions[0].__code__.co_filename)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        # A cell may hold magics, which are no Python.
        return "\n".join(map(_function_source, functions))
    first_line = functions[0].__code__.co_firstlineno
    for node in ast.walk(tree):
        # A strategy may be a decorated function (see qfkit.research.signal).
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == kind.__name__:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            last = node.end_lineno or node.lineno
            if first <= first_line <= last:
                return "".join(lines[first - 1 : last])
    return ""


def _function_source(function: FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError, IndentationError):
        return ""


# Versions that a session of this process ran: the registry knows only the newest of a name.
_versions: dict[tuple[str, str], type[Strategy]] = {}


class ClassBook:
    """The strategy classes of one session by the keys its journal uses."""

    def __init__(self) -> None:
        self._given: dict[str, type[Strategy]] = {}
        self._classes: dict[str, type[Strategy]] = {}
        self._sources: dict[str, str] = {}

    def copy(self) -> "ClassBook":
        """A book of the same classes, to which others are added without the session's."""
        other = ClassBook()
        other._given, other._classes, other._sources = dict(self._given), dict(self._classes), dict(self._sources)
        return other

    def add(self, kind: type[Strategy]) -> str:
        """Take a class in and return its key."""
        for key, known in self._given.items():
            if known is kind:
                return key
        key, number = kind.key(), 1
        while key in self._classes:
            number += 1
            key = f"{kind.key()}{_MARK}{number}"
        self._put(key, kind, source_text(kind))
        return key

    def _put(self, key: str, kind: type[Strategy], source: str) -> None:
        self._given[key] = kind
        self._classes[key] = kept = kept_version(kind, source)
        self._sources[key] = source
        _versions[kind.key(), source_hash(source)] = kept

    def hash_of(self, key: str) -> str:
        return source_hash(self._sources[key])

    def resolve(self, key: str) -> type[Strategy]:
        """The class of a key; what the engine asks when strategies are swapped."""
        try:
            return self._classes[key]
        except KeyError:
            raise StrategyError(f"the strategy class {key!r} is not known to this session") from None

    def as_meta(self) -> dict[str, dict[str, str]]:
        """For the journal: each class's fingerprint and its text, which is for reading only."""
        return {key: {"hash": source_hash(text), "source": text} for key, text in self._sources.items()}

    @classmethod
    def from_meta(
        cls, meta: Mapping[str, Mapping[str, str]], given: Mapping[str, type[Strategy]] | Iterable[type[Strategy]] = ()
    ) -> tuple["ClassBook", list[str]]:
        """Find the classes of a journal again; also return what is worth a warning.

        ``given`` maps the journal's keys to classes, or just lists classes.
        """
        book, warnings = cls(), []
        for key, entry in meta.items():
            kind = _find(key, entry["hash"], given)
            book._put(key, kind, source_text(kind))
            if entry["hash"] and book.hash_of(key) and book.hash_of(key) != entry["hash"]:
                warnings.append(f"the source of {key} is not the one that the session was started with")
        return book, warnings


def _find(key: str, wanted: str, given: Mapping[str, type[Strategy]] | Iterable[type[Strategy]]) -> type[Strategy]:
    plain_key = key.partition(_MARK)[0]
    if isinstance(given, Mapping):
        if key in given:
            return given[key]
        given = given.values()
    candidates = [kind for kind in given if kind.key() == plain_key]
    if (plain_key, wanted) in _versions and wanted:
        candidates.append(_versions[plain_key, wanted])
    if plain_key not in Strategy.registry:
        importlib.import_module("qfkit.strategies")
    if plain_key in Strategy.registry:
        candidates.append(Strategy.registry[plain_key])
    same = [kind for kind in candidates if wanted and source_hash(source_text(kind)) == wanted]
    if same or candidates:
        return (same or candidates)[0]
    module, _, name = plain_key.partition(":")
    where = "a notebook or script" if module == "__main__" else f"the module {module}"
    short = name.rpartition(".")[2]
    raise StrategyError(
        f"the session ran the strategy {name} of {where}, which is not defined here: run the cell or import the module "
        f"that defines it, or pass it to qf.resume or qf.read_session as strategies=[{short}]; its source is kept in the journal, "
        "in the table meta under 'classes', to be read and not to be run"
    )
