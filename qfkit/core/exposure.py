"""What a book comes to with its working orders filled: what an order is checked on."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qfkit.core.market import Market
from qfkit.core.orders import MARKET
from qfkit.core.risk import Exposure

if TYPE_CHECKING:
    from qfkit.core.desk import Desk

__all__ = ["account_exposure", "exposure_of", "filled_quantities"]


def filled_quantities(desk: "Desk") -> dict[str, float]:
    """The positions with the working orders filled; orders that may never fill count only where they add."""
    quantities = {symbol: position.quantity for symbol, position in desk.book.open.items()}
    for working in desk.engine.broker.open.values():
        if working.owner is not desk or working.is_reduce_only:
            continue
        symbol = working.order.symbol
        held = quantities.get(symbol, 0.0)
        signed = working.remaining if working.is_buy else -working.remaining
        if working.type is MARKET or held * signed >= 0.0:
            quantities[symbol] = held + signed
    return quantities


def exposure_of(desk: "Desk", market: Market) -> Exposure:
    """What an order of a strategy meets in its own book."""
    book = desk.book
    gross = 0.0
    if not desk.engine.broker.open:
        for held_elsewhere in book.open.values():
            if held_elsewhere.market is not market:
                gross += abs(held_elsewhere.market_value)
        held_here = book.positions.get(market.symbol)
        return Exposure(book.equity, 0.0 if held_here is None else held_here.quantity, gross)
    quantities = filled_quantities(desk)
    position = quantities.pop(market.symbol, 0.0)
    return Exposure(book.equity, position, _gross(desk, quantities))


def account_exposure(desk: "Desk", desks: "Iterable[Desk]", market: Market) -> Exposure:
    """What it meets in the books of all strategies together, which are not netted."""
    equity = gross = beside = position = 0.0
    for other in desks:
        quantities = filled_quantities(other)
        here = quantities.pop(market.symbol, 0.0)
        if other is desk:
            position = here
        else:
            beside += abs(here)
        gross += _gross(other, quantities)
        equity += other.book.equity
    return Exposure(equity, position, gross, beside)


def _gross(desk: "Desk", quantities: dict[str, float]) -> float:
    gross = 0.0
    for symbol, quantity in quantities.items():
        market = desk.engine.tracks[symbol].market
        gross += abs(quantity) * market.price * market.rate
    return gross
