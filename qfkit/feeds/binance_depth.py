"""Binance's order book: the few levels of a partial-depth frame, and the whole book kept from its changes.

A recording of ``@depth`` holds changes only, and one answer by REST that says what they change.
"""

from bisect import bisect_left, insort
from collections import deque
from itertools import islice
from math import inf
from typing import Annotated, TypeAlias

import msgspec

from qfkit.core.events import Depth, Gap
from qfkit.errors import MalformedFrameError

__all__ = ["LEVELS", "DepthBook", "DepthBooks", "depth_symbol", "partial_depth"]

LEVELS = 20
"""How many levels a side an event of a kept book has: as many as Binance's largest partial depth."""

_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Levels: TypeAlias = list[tuple[float, float]]

# Changes that wait for the answer which they build on; it comes within seconds or not at all.
_MOST_WAITING = 1_000


class _Snapshot(msgspec.Struct, gc=False):
    last_update_id: _Number = msgspec.field(name="lastUpdateId")
    bids: _Levels
    asks: _Levels


class _Change(msgspec.Struct, gc=False):
    E: int
    s: str
    U: _Number
    u: _Number
    b: _Levels
    a: _Levels


class _Framed(msgspec.Struct, gc=False):
    data: _Change


_decode_snapshot = msgspec.json.Decoder(_Snapshot, strict=False).decode
_decode_change = msgspec.json.Decoder(_Framed, strict=False).decode


def depth_symbol(stream: str) -> str | None:
    """The symbol of a partial-depth stream such as "btcusdt@depth20@100ms"; None for any other stream."""
    name, _, kind = stream.partition("@")
    levels = kind.removeprefix("depth").partition("@")[0]
    return name.upper() if kind.startswith("depth") and levels.isdigit() else None


def partial_depth(data: bytes | msgspec.Raw, symbol: str, received_ns: int) -> tuple[Depth, int]:
    """A partial-depth frame's inside as an event, and its number; it bears no time but that of its receipt."""
    snapshot = _decode_snapshot(data)
    depth = Depth(symbol, tuple(snapshot.bids), tuple(snapshot.asks), received_ns, received_ns)
    return depth, snapshot.last_update_id


class _Side:
    """One side of a book: sizes by price, and the prices in order, the best first."""

    def __init__(self, sign: float) -> None:
        self._sign = sign
        self._sizes: dict[float, float] = {}
        self._order: list[float] = []

    def clear(self) -> None:
        self._sizes.clear()
        self._order.clear()

    def change(self, levels: _Levels) -> None:
        for price, size in levels:
            if not (0.0 < price < inf and 0.0 <= size < inf):
                raise MalformedFrameError(f"Binance's book has an impossible level: price {price!r}, size {size!r}")
            key = self._sign * price
            if size:
                if price not in self._sizes:
                    insort(self._order, key)
                self._sizes[price] = size
            elif self._sizes.pop(price, None) is not None:
                del self._order[bisect_left(self._order, key)]

    def best(self, count: int) -> tuple[tuple[float, float], ...]:
        return tuple([(self._sign * key, self._sizes[self._sign * key]) for key in islice(self._order, count)])


class DepthBook:
    """One symbol's book, kept from a snapshot and the numbered changes that follow on each other."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.last: int | None = None
        """The number of the last change that is in it; None while it is not whole."""
        self._bids, self._asks = _Side(-1.0), _Side(1.0)
        self._waiting: deque[_Change] = deque(maxlen=_MOST_WAITING)
        self._time_ns = 0

    def spans(self, number: int) -> bool:
        """Whether the changes that wait go on from a snapshot of this number."""
        waiting = self._waiting
        return bool(waiting) and number + 1 >= waiting[0].U and waiting[-1].u >= number

    def begin(self, snapshot: _Snapshot, received_ns: int) -> Depth | None:
        """Begin from a snapshot; None where changes between it and those that wait are missing."""
        self._bids.clear()
        self._asks.clear()
        self._bids.change(snapshot.bids)
        self._asks.change(snapshot.asks)
        self.last = snapshot.last_update_id
        while self._waiting:
            change = self._waiting[0]
            if change.u > self.last and self.last + 1 < change.U:
                self.last = None
                return None
            self._waiting.popleft()
            self._apply(change)
        return self._depth(received_ns)

    def take(self, change: _Change, received_ns: int) -> Depth | Gap | None:
        """One more change: the book after it, a gap where some before it are missing, None for an old one."""
        if self.last is None:
            self._waiting.append(change)
            return None
        if self.last + 1 < change.U:
            reason = f"changes {self.last + 1} to {change.U - 1} of the order book were not received"
            start_ns, end_ns = self._time_ns, max(self._time_ns, change.E * 1_000_000)
            self.last = None
            self._waiting.append(change)
            return Gap(self.symbol, start_ns, end_ns, received_ns, None, reason)
        return self._depth(received_ns) if self._apply(change) else None

    def _apply(self, change: _Change) -> bool:
        if self.last is not None and change.u <= self.last:
            return False
        self._bids.change(change.b)
        self._asks.change(change.a)
        self.last, self._time_ns = change.u, change.E * 1_000_000
        return True

    def _depth(self, received_ns: int) -> Depth | None:
        # The snapshot has no time; where no change was newer, it is that of its receipt.
        time_ns = self._time_ns or received_ns
        return Depth(self.symbol, self._bids.best(LEVELS), self._asks.best(LEVELS), time_ns, received_ns)


class DepthBooks:
    """The books in a recorded stream. A snapshot names no symbol: it is that whose changes go on from its number."""

    def __init__(self) -> None:
        self._books: dict[str, DepthBook] = {}
        self._orphan: _Snapshot | None = None

    def take(self, payload: bytes, received_ns: int) -> Depth | Gap | None:
        """A frame of changes or a snapshot; :class:`MalformedFrameError` where it is none."""
        try:
            if payload.startswith(b'{"lastUpdateId"'):
                self._orphan = _decode_snapshot(payload)
                return self._adopt(received_ns)
            change = _decode_change(payload).data
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise MalformedFrameError(f"Binance's order book cannot be decoded: {error}") from None
        book = self._books.get(change.s)
        if book is None:
            book = self._books[change.s] = DepthBook(change.s)
        event = book.take(change, received_ns)
        return self._adopt(received_ns) if event is None and self._orphan is not None else event

    def _adopt(self, received_ns: int) -> Depth | None:
        """Give the snapshot to the one book that it fits."""
        snapshot = self._orphan
        assert snapshot is not None
        fitting = [book for book in self._books.values() if book.last is None and book.spans(snapshot.last_update_id)]
        if len(fitting) != 1:
            return None
        self._orphan = None
        return fitting[0].begin(snapshot, received_ns)
