"""What tells one sweep from another: a digest of strategy, code, data and settings."""

import hashlib
import inspect
import re
from collections.abc import Mapping

from qfkit.core.strategy import Strategy
from qfkit.feeds.selection import Selection
from qfkit.research.signal import SignalStrategy
from qfkit.tables import BarColumns

__all__ = ["fingerprint_of"]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_ARRAYS = ("open", "high", "low", "close", "volume", "open_ns", "close_ns")


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
        for name in _ARRAYS:
            digest.update(getattr(own, name).tobytes())
    return digest.hexdigest()


def _code(kind: type[Strategy]) -> str:
    """The source, or where there is none, as in a plain interpreter, what it was compiled to."""
    written = kind.rule if issubclass(kind, SignalStrategy) else kind
    try:
        return inspect.getsource(written)
    except (OSError, TypeError):
        functions = [written, *vars(kind).values()]
        codes = [getattr(one, "__code__", None) for one in functions]
        return repr(
            [(code.co_code, code.co_names, list(map(repr, code.co_consts))) for code in codes if code is not None]
        )
