"""What tells one sweep from another: a digest of strategy, code, data and settings."""

import hashlib
import inspect
import re
from collections.abc import Mapping
from types import CodeType

from qfkit.core.strategy import Strategy
from qfkit.feeds.selection import Selection
from qfkit.research.signal import SignalStrategy
from qfkit.tables import BAR_ARRAYS, BarColumns

__all__ = ["compiled", "fingerprint_of"]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint_of(
    kind: type[Strategy], columns: Mapping[str, BarColumns] | None, data: object, *settings: object
) -> str:
    """The same for the same code, data and settings; of data that are no bars their name or text counts."""
    digest = hashlib.sha256()
    for thing in (kind.key(), _code(kind), *settings):
        digest.update(_ADDRESS.sub("", repr(thing)).encode())
    if isinstance(data, Selection):
        # Files may be added or replaced behind the same description.
        digest.update(repr([(part.path, part.size) for part in data.parts()]).encode())
    if columns is None:
        digest.update(_ADDRESS.sub("", repr(data)).encode())
    for symbol, own in (columns or {}).items():
        digest.update(f"{symbol} {own.timeframe}".encode())
        for name in BAR_ARRAYS:
            digest.update(getattr(own, name).tobytes())
    return digest.hexdigest()


def _code(kind: type[Strategy]) -> str:
    """The source, or where there is none, as in a plain interpreter, what it was compiled to."""
    written = kind.rule if issubclass(kind, SignalStrategy) else kind
    try:
        return inspect.getsource(written)
    except (OSError, TypeError):
        return repr([compiled(one) for one in (written, *vars(kind).values())])


def compiled(function: object) -> object:
    """What a function was compiled to, without the names of files and numbers of lines; None where there is nothing."""
    code = function if isinstance(function, CodeType) else getattr(function, "__code__", None)
    if code is None:
        return None
    constants = [compiled(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return code.co_code, code.co_names, constants, [repr(one) for one in getattr(function, "__defaults__", None) or ()]
