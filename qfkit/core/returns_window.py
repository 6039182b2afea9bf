"""The last returns of all symbols, aligned at the engine's equity marks, in a ring of bounded length."""

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from qfkit.core.events import CorporateAction, WarmUp
from qfkit.errors import ParameterError

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["RETURNS_KEPT", "ReturnsWindow", "follow_returns"]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]
Number = TypeVar("Number", bound=np.generic)

RETURNS_KEPT = 250
"""Marks that are kept: about a year of daily bars, four hours of minutes."""


class ReturnsWindow:
    """A ring of returns: a row a mark, a column a symbol.

    A return is that of the last price from one mark to the next, NaN before a symbol had two; 0 where it did not
    trade. Prices of before a split or dividend are adjusted, so neither is a return. ``memo`` is for what was reckoned of
    these returns; it is emptied when there are others.
    """

    __slots__ = ("_last", "_ring", "_times", "count", "length", "memo", "symbols")

    def __init__(self, length: int = RETURNS_KEPT) -> None:
        if not (isinstance(length, int) and length >= 2):
            raise ParameterError(f"a window of {length!r} returns: it must be a whole number from 2 on")
        self.length = length
        self.count = 0
        self.symbols: tuple[str, ...] = ()
        self.memo: dict[object, Any] = {}
        self._last: list[float] = []
        self._ring = np.empty((length, 0))
        self._times = np.zeros(length, dtype=np.int64)

    def __len__(self) -> int:
        return min(self.count, self.length)

    def add(self, time_ns: int, symbols: Sequence[str], prices: Sequence[float]) -> None:
        """Take the prices of a mark in; ``symbols`` only ever grows at its end."""
        self.memo.clear()
        last = self._last
        is_first = not last
        if len(symbols) > len(last):
            self._widen(symbols)
        if is_first:
            last[:] = prices
            return
        place = self.count % self.length
        self._ring[place] = [
            price / before - 1.0 if before > 0.0 else nan for price, before in zip(prices, last, strict=True)
        ]
        self._times[place] = time_ns
        last[:] = prices
        self.count += 1

    def _widen(self, symbols: Sequence[str]) -> None:
        more = len(symbols) - len(self._last)
        self.symbols = tuple(symbols)
        self._last.extend([nan] * more)
        self._ring = np.hstack((self._ring, np.full((self.length, more), nan)))

    def adjust(self, symbol: str, factor: float) -> None:
        """Have the last mark's price of a symbol be ``factor`` times what it was."""
        if symbol in self.symbols:
            self._last[self.symbols.index(symbol)] *= factor

    def lengthen(self, length: int) -> None:
        """Keep at least so many."""
        self.memo.clear()
        if length > self.length:
            values, times_ns = self.values(), self.times_ns()
            self.length, self.count = length, len(times_ns)
            self._ring = np.full((length, values.shape[1]), nan)
            self._ring[: self.count] = values
            self._times = np.zeros(length, dtype=np.int64)
            self._times[: self.count] = times_ns

    def values(self) -> Floats:
        """The returns, oldest first: marks x symbols."""
        return _in_order(self._ring, self.count)

    def times_ns(self) -> Times:
        """The times of the marks that end each return, oldest first."""
        return _in_order(self._times, self.count)


def _in_order(ring: NDArray[Number], count: int) -> NDArray[Number]:
    place = count % len(ring)
    return ring[:count].copy() if count <= len(ring) else np.concatenate((ring[place:], ring[:place]))


def follow_returns(engine: "Engine", length: int = RETURNS_KEPT) -> ReturnsWindow:
    """The engine's window of returns; begun now if there is none yet, which costs a little at each mark.

    After a warm-up it is filled from the bars of that.
    """
    if engine.returns is not None:
        engine.returns.lengthen(length)
        return engine.returns
    window = engine.returns = ReturnsWindow(length)
    tracks, handlers = engine.tracks, engine._handlers
    keep, act, warm_up = engine._keep_equity, handlers[CorporateAction], handlers[WarmUp]

    def keep_with_returns(row: tuple[float, ...]) -> None:
        keep(row)
        window.add(int(row[0]), tuple(tracks), [track.market.price * track.market.rate for track in tracks.values()])

    def act_with_returns(action: CorporateAction) -> None:
        track = tracks.get(action.symbol)
        before = nan if track is None else track.market.price
        act(action)
        if track is not None and before == before:
            window.adjust(action.symbol, track.market.price / before)

    def warm_up_with_returns(event: WarmUp) -> None:
        warm_up(event)
        if not window.count:
            _fill(window, engine)

    engine._keep_equity = keep_with_returns
    handlers[CorporateAction] = act_with_returns
    handlers[WarmUp] = warm_up_with_returns
    return window


def _fill(window: ReturnsWindow, engine: "Engine") -> None:
    """The closes of the kept bars, as if each had been a mark."""
    closes: dict[int, list[tuple[int, float]]] = {}
    for column, track in enumerate(engine.tracks.values()):
        for bar in track.base.kept:
            closes.setdefault(bar.close_ns, []).append((column, bar.close))
    symbols = tuple(engine.tracks)
    prices = [nan] * len(symbols)
    for time_ns in sorted(closes):
        for column, close in closes[time_ns]:
            prices[column] = close
        window.add(time_ns, symbols, prices)
