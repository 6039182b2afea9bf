"""What is held, as a frame: each strategy's positions, and those of the account."""

from collections.abc import Iterable, Mapping
from math import nan
from typing import TYPE_CHECKING

from qfkit.core.market import Market
from qfkit.core.netting import net_positions
from qfkit.core.orders import Fill
from qfkit.core.portfolio import Position
from qfkit.core.scorecard import ACCOUNT
from qfkit.core.snapshot import PositionView
from qfkit.tables import BarColumns

if TYPE_CHECKING:
    import pandas

__all__ = ["positions_frame", "positions_of_fills"]

_COLUMNS = ("quantity", "average_price", "price", "market_value", "unrealised", "realised")


def positions_frame(views: Iterable[PositionView]) -> "pandas.DataFrame":
    """Open positions, indexed by symbol and strategy: of each symbol first the row ``account``, the net of all.

    ``quantity`` is negative for a short; prices are in the symbol's ``currency``, money in the account's. The
    account has no ``average_price`` (NaN) where several strategies hold the symbol.
    """
    import pandas

    held = list(views)
    rows = []
    for net in net_positions(held):
        own = [view for view in held if view.symbol == net.symbol]
        average = own[0].average_price if len(own) == 1 else nan
        money = (net.market_value, net.unrealised, net.realised)
        rows.append((net.symbol, ACCOUNT, net.quantity, average, net.price, *money, net.currency))
        rows += [
            (view.symbol, view.strategy, *[getattr(view, name) for name in _COLUMNS], view.currency) for view in own
        ]
    columns = ["symbol", "strategy", *_COLUMNS, "currency"]
    frame = pandas.DataFrame(rows, columns=columns).astype({**dict.fromkeys(_COLUMNS, "float64"), "currency": "str"})
    return frame.set_index(["symbol", "strategy"])


def positions_of_fills(fills: Iterable[Fill], bars: Mapping[str, BarColumns]) -> tuple[PositionView, ...]:
    """The positions that the fills of a run left open, at the last closes."""
    positions: dict[tuple[str, str], Position] = {}
    for fill in fills:
        position = positions.get((fill.strategy, fill.symbol))
        if position is None:
            market = Market(fill.symbol)
            market.price = float(bars[fill.symbol].close[-1]) if fill.symbol in bars else fill.market_price
            position = positions[fill.strategy, fill.symbol] = Position(market)
        position.market.rate = fill.rate
        position.apply(fill)
    return tuple(
        PositionView(
            strategy,
            symbol,
            position.quantity,
            position.average_price,
            position.market.price,
            position.market_value,
            position.unrealised,
            position.realised,
            position.market.currency,
            position.market.rate,
        )
        for (strategy, symbol), position in positions.items()
        if position
    )
