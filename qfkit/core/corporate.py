"""Splits and dividends: what they do to positions, orders, prices and indicators."""

from typing import TYPE_CHECKING

import msgspec

from qfkit.core.events import Bar, CorporateAction
from qfkit.core.lanes import Track
from qfkit.core.orders import Order
from qfkit.core.seats import Seat
from qfkit.core.working import WorkingOrder

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["apply_action"]


def apply_action(engine: "Engine", action: CorporateAction) -> None:
    """Apply a dividend, then a split, so that equity is the same just before and just after.

    A dividend is paid in cash and counts as realised, while the last price falls by it; a short pays
    it. A split changes quantities and prices of positions, working orders, the last price and the
    kept bars; indicators of bars are made anew from those, while those of ticks begin again. Working
    orders and kept bars are not adjusted for a dividend: it is part of what a price does.
    """
    engine.advance(action.received_ns)
    track = engine.tracks.get(action.symbol)
    if track is None:
        return
    for desk in engine.desks.values():
        desk.book.pay_dividend(action.symbol, action.dividend)
    if track.market.price > action.dividend > 0.0:
        track.market.price -= action.dividend
    if action.split != 1.0:
        _split(engine, track, action.split)
    engine.accounts.look_at_all()


def _split(engine: "Engine", track: Track, split: float) -> None:
    for desk in engine.desks.values():
        position = desk.book.positions.get(track.symbol)
        if position is not None:
            position.split(split)
    for working in engine.broker.open.values():
        if working.market is track.market:
            engine.records.orders.append(_split_order(working, split, engine.clock_ns))
    market = track.market
    for name in ("price", "previous_price", "first_price", "bid", "ask"):
        setattr(market, name, getattr(market, name) / split)
    for name in ("bid_size", "ask_size", "taken_bid", "taken_ask"):
        setattr(market, name, getattr(market, name) * split)
    # Levels, and what was quoted at the old prices, mean nothing any more.
    market.book = None
    if market.activity is not None:
        market.activity.split(split)
    for series in (track.base, *track.higher.values()):
        bars = [_split_bar(bar, split) for bar in series.kept]
        series.kept.clear()
        series.kept.extend(bars)
        series.builder.split(split)
    for desk in engine.desks.values():
        if desk.state in ("running", "paused") and not desk.is_joining:
            track.remove(desk)
            engine.call(desk, lambda desk=desk: track.put(Seat(desk, track)), None)  # type: ignore[misc]


def _split_order(working: WorkingOrder, split: float, clock_ns: int) -> Order:
    def priced(price: float | None) -> float | None:
        return None if price is None else price / split

    order = working.order
    working.remaining *= split
    working.limit_price = priced(working.limit_price)
    working.stop_price = priced(working.stop_price)
    working.extreme /= split
    working.place = None
    working.order = msgspec.structs.replace(
        order,
        quantity=order.quantity * split,
        filled=order.filled * split,
        average_price=priced(order.average_price),
        decision_price=order.decision_price / split,
        limit_price=priced(order.limit_price),
        stop_price=priced(order.stop_price),
        trail=order.trail if order.trail_is_fraction else priced(order.trail),
        updated_ns=clock_ns,
        status_reason=f"adjusted for a split of {split:g} for 1",
    )
    return working.order


def _split_bar(bar: Bar, split: float) -> Bar:
    return msgspec.structs.replace(
        bar,
        open=bar.open / split,
        high=bar.high / split,
        low=bar.low / split,
        close=bar.close / split,
        volume=bar.volume * split,
    )
