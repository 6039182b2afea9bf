"""What is said about a market rather than traded on it: rules, hours, a price of the past."""

from typing import TYPE_CHECKING

from qfkit.core.events import Hours, Instrument, Tick
from qfkit.core.hours import MarketHours
from qfkit.core.market import Market

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["see_stale", "take_hours", "take_instrument"]


def take_instrument(engine: "Engine", instrument: Instrument) -> None:
    """From now on a symbol's orders are in these steps."""
    engine.advance(instrument.received_ns)
    engine.instruments[instrument.symbol] = instrument
    if instrument.symbol in engine.tracks:
        engine.tracks[instrument.symbol].market.rules = instrument
        engine.accounts.news_of(engine.tracks[instrument.symbol])


def take_hours(engine: "Engine", hours: Hours) -> None:
    """From now on a symbol's orders wait for these sessions."""
    engine.advance(hours.received_ns)
    known = engine.hours[hours.symbol] = MarketHours(hours)
    if hours.symbol in engine.tracks:
        engine.tracks[hours.symbol].market.hours = known


def see_stale(engine: "Engine", market: Market, tick: Tick) -> None:
    """A last known price: shown where there is none yet, and nothing is done on it."""
    engine.advance(tick.received_ns)
    if market.price != market.price:
        market.price = market.first_price = tick.price
        market.time_ns = tick.time_ns
        engine.accounts.look_at(market)
