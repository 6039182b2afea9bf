"""What was traded in a run, as arrays: all that its figures need of fills and round trips."""

from collections.abc import Sequence
from math import fsum, nan
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.orders import Fill, Side, Trade

__all__ = ["NO_DEALS", "Deals", "deals_of", "exposure_of", "round_trips"]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]

# A position this small against the fill that left it is rounding, not a position.
_DUST = 1e-12


class Deals(msgspec.Struct, frozen=True):
    """The fills and round trips of a run in sums and arrays.

    ``pnl`` and ``held_ns``, one a round trip: profit after fees, and the time from entry to exit. ``traded``:
    the notional of all fills; ``exposure``: the fraction of the time with a position open, NaN where no time passed.
    """

    pnl: Floats
    held_ns: Floats
    traded: float
    fees: float
    fills: int
    exposure: float


NO_DEALS = Deals(np.empty(0), np.empty(0), 0.0, 0.0, 0, 0.0)


def deals_of(trades: Sequence[Trade], fills: Sequence[Fill], start_ns: int, end_ns: int) -> Deals:
    """The same from records; ``fills`` are in the order they happened."""
    return Deals(
        pnl=np.array([trade.pnl for trade in trades], dtype=np.float64),
        held_ns=np.array([trade.exit_time_ns - trade.entry_time_ns for trade in trades], dtype=np.float64),
        traded=fsum(fill.quantity * fill.price * fill.rate for fill in fills),
        fees=fsum(fill.fee for fill in fills),
        fills=len(fills),
        exposure=exposure_of(fills, start_ns, end_ns),
    )


def exposure_of(fills: Sequence[Fill], start_ns: int, end_ns: int) -> float:
    """The fraction of the time from ``start_ns`` to ``end_ns`` with any position open.

    ``fills`` are in the order they happened; positions are kept per strategy and symbol.
    """
    if end_ns <= start_ns:
        return nan
    positions: dict[tuple[str, str], float] = {}
    open_since: int | None = None
    open_ns = 0
    for fill in fills:
        key = (fill.strategy, fill.symbol)
        after = positions.get(key, 0.0) + (fill.quantity if fill.side == Side.BUY else -fill.quantity)
        if abs(after) <= _DUST * fill.quantity:
            positions.pop(key, None)
        else:
            positions[key] = after
        now_ns = min(max(fill.time_ns, start_ns), end_ns)
        if positions and open_since is None:
            open_since = now_ns
        elif not positions and open_since is not None:
            open_ns += max(now_ns - open_since, 0)
            open_since = None
    if open_since is not None:
        open_ns += end_ns - open_since
    return open_ns / (end_ns - start_ns)


def round_trips(
    before: Floats, after: Floats, quantity: Floats, price: Floats, fee: Floats
) -> tuple[Floats, Times, Times]:
    """Profit, and the numbers of the first and the last fill, of each round trip of one position.

    ``before`` and ``after`` are the signed position around each fill. A book's arithmetic, operation by operation
    (:class:`~qfkit.core.portfolio.Position`), in the account's own currency and without dividends.
    """
    opens = before == 0.0
    closes = after == 0.0
    flips = before * after < 0.0
    if (opens | closes | flips).all():
        return _whole(opens, flips, before, after, quantity, price, fee)
    return _in_parts(before, after, quantity, price, fee)


def _whole(
    opens: NDArray[np.bool_],
    flips: NDArray[np.bool_],
    before: Floats,
    after: Floats,
    quantity: Floats,
    price: Floats,
    fee: Floats,
) -> tuple[Floats, Times, Times]:
    """Each fill opens a position, closes it, or does both: no loop."""
    entries = np.flatnonzero(opens | flips)
    exits = np.flatnonzero(~opens)
    entries = entries[: len(exits)]
    held = np.abs(before[exits])
    closed = np.minimum(quantity[exits], held)
    entered = np.where(opens[entries], quantity[entries], np.abs(after[entries]))
    closing_fee = fee[exits] * (closed / quantity[exits])
    opening_fee = fee[entries]
    turned = flips[entries]
    if turned.any():
        own = entries[turned]
        part = np.minimum(quantity[own], np.abs(before[own])) / quantity[own]
        opening_fee[turned] = fee[own] - fee[own] * part
    moved = closed * price[exits] - entered * price[entries]
    pnl = np.where(before[exits] > 0.0, moved, -moved) - (opening_fee + closing_fee)
    return pnl, entries, exits


def _in_parts(
    before: Floats, after: Floats, quantity: Floats, price: Floats, fee: Floats
) -> tuple[Floats, Times, Times]:
    pnl: list[float] = []
    entries: list[int] = []
    exits: list[int] = []
    entry = 0
    cost = value = fees = 0.0
    rows = zip(before.tolist(), after.tolist(), quantity.tolist(), price.tolist(), fee.tolist(), strict=True)
    for number, (held, left, filled, at, paid) in enumerate(rows):
        if held == 0.0 or (left != 0.0 and (left > held) == (held > 0.0)):
            if held == 0.0:
                entry, cost, value, fees = number, 0.0, 0.0, 0.0
            cost += filled * at
            fees += paid
            continue
        size = abs(held)
        closed = min(filled, size)
        closing_fee = paid * (closed / filled)
        value += closed * at
        fees += closing_fee
        if left == 0.0 or (left > 0.0) != (held > 0.0):
            pnl.append((value - cost if held > 0.0 else -(value - cost)) - fees)
            entries.append(entry)
            exits.append(number)
            entry, cost, value, fees = number, abs(left) * at, 0.0, paid - closing_fee
    return np.array(pnl, dtype=np.float64), np.array(entries, dtype=np.int64), np.array(exits, dtype=np.int64)
