"""Whole series of indicators, remembered between the runs of a sweep: most of them ask for the same again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["SeriesMemo", "remembered", "remembering"]

Over: TypeAlias = Callable[..., Any]

_MOST_BYTES = 64 << 20


class SeriesMemo:
    """What ``over`` gave for these arrays, the newest 64 MB of it; an array is known by where it lies in memory.

    Whoever asks gets a copy, so that nobody writes into another's.
    """

    def __init__(self, arrays: Sequence[NDArray[np.float64]], most_bytes: int = _MOST_BYTES) -> None:
        # Kept, so that nothing else can come to lie where they are.
        self._arrays = tuple(arrays)
        self._places = {_place(array): number for number, array in enumerate(arrays)}
        self._found: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._most_bytes = most_bytes
        self._bytes = 0

    def ask(self, kind: type, parameters: tuple[Hashable, ...], values: Sequence[Any], over: Callable[[], Any]) -> Any:
        """The series from memory, or by ``over()``; always by ``over()`` where the values are not all known arrays."""
        places = [self._place_of(value) for value in values]
        if None in places:
            return over()
        key = (kind, parameters, tuple(places), tuple(map(type, values)))
        try:
            known = self._found.get(key)
        except TypeError:
            # A parameter that cannot be looked up by.
            return over()
        if known is not None:
            self._found.move_to_end(key)
            return _copied(known[0])
        found = over()
        size = _size(found)
        if size is not None:
            self._found[key] = (_copied(found), size)
            self._bytes += size
            while self._bytes > self._most_bytes:
                _, (_, freed) = self._found.popitem(last=False)
                self._bytes -= freed
        return found

    def _place_of(self, value: Any) -> int | None:
        array = value.to_numpy() if hasattr(value, "to_numpy") else value
        return self._places.get(_place(array)) if isinstance(array, np.ndarray) and array.dtype == np.float64 else None


_memo: ContextVar[SeriesMemo | None] = ContextVar("qfkit_series_memo", default=None)


@contextmanager
def remembering(memo: SeriesMemo | None) -> Iterator[None]:
    """Within it, ``over`` of every indicator looks into the memo first."""
    token = _memo.set(memo)
    try:
        yield
    finally:
        _memo.reset(token)


def remembered(over: Over) -> Over:
    """An indicator's ``over`` that asks the memo, where there is one."""

    @wraps(over)
    def ask(self: Any, *args: Any, **kwargs: Any) -> Any:
        memo = _memo.get()
        if memo is None or kwargs:
            return over(self, *args, **kwargs)
        parameters = tuple([getattr(self, name) for name in self.parameters])
        return memo.ask(type(self), parameters, args, lambda: over(self, *args))

    return ask


def _place(array: NDArray[Any]) -> tuple[int, int, int]:
    start: int = array.__array_interface__["data"][0]
    return start, array.size, array.strides[0] if array.ndim == 1 else 0


def _copied(found: Any) -> Any:
    return type(found)(*[part.copy() for part in found]) if isinstance(found, tuple) else found.copy()


def _size(found: Any) -> int | None:
    """The bytes of arrays and Series; None for whatever else an indicator of a user's own may give."""
    parts = found if isinstance(found, tuple) else (found,)
    sizes = [getattr(part, "nbytes", None) for part in parts]
    return None if None in sizes else sum(int(size) for size in sizes if size is not None)
