"""The events that drive the engine: market data and the user's own commands.

Everything that can change the engine's state is one of these records; a list of them is a
whole session. Times are UTC nanoseconds since 1970. ``time_ns`` is when it happened at the
exchange, ``received_ns`` when it reached us: bars are cut by the first, the engine's clock
moves by the second. What is unknown is NaN or None, never 0.
"""

from math import inf, isnan
from typing import Any, Literal, TypeAlias

import msgspec

from qfkit.core.orders import TimeInForce
from qfkit.errors import BadEventError

__all__ = [
    "AddStrategy",
    "Bar",
    "ByHand",
    "CancelOrder",
    "Command",
    "CorporateAction",
    "Depth",
    "Event",
    "Flatten",
    "Gap",
    "Heartbeat",
    "Hours",
    "Instrument",
    "ManualOrder",
    "MarketEvent",
    "ModifyOrder",
    "Pause",
    "Protect",
    "Quote",
    "Rebalance",
    "Resume",
    "SetParameters",
    "Stop",
    "SwapStrategy",
    "Tick",
    "WarmUp",
    "check_event",
]


class Tick(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="tick"):
    """One trade. ``side`` is the aggressor's; ``size`` is NaN where the provider has none.

    ``source`` names the feed it came from where several stand in for one another. ``flag`` is
    "stale" for a last known price from before the stream began, which is shown and never traded
    on, and "backfilled" for a trade that was missed and fetched afterwards: it fills no order
    that was sent after it happened.
    """

    symbol: str
    price: float
    size: float
    time_ns: int
    received_ns: int
    trade_id: int | None = None
    side: Literal["buy", "sell"] | None = None
    source: str | None = None
    flag: Literal["stale", "backfilled"] | None = None


class Quote(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="quote"):
    """The best bid and ask with their sizes."""

    symbol: str
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    time_ns: int
    received_ns: int
    source: str | None = None


class Depth(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="depth"):
    """The best levels of the order book: ``(price, size)`` pairs, the best first; it replaces what was known.

    A book goes on below the last level that is given: what is deeper is unknown, not empty. A side
    without any level is unknown too.
    """

    symbol: str
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    time_ns: int
    received_ns: int
    source: str | None = None


class Bar(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="bar"):
    """A closed bar. It is received when it closes: its ``close_ns`` is the engine's clock."""

    symbol: str
    timeframe: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    open_ns: int
    close_ns: int
    source: str | None = None

    @property
    def time_ns(self) -> int:
        return self.close_ns

    @property
    def received_ns(self) -> int:
        return self.close_ns


class Heartbeat(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="heartbeat"):
    """Nothing traded, but time went on: closes the bars of a quiet market.

    ``time_ns`` says the exchange's time is at least this; whoever sends it takes out the
    offset of the local clock first.
    """

    time_ns: int
    received_ns: int


class Gap(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="gap"):
    """Data that did not arrive and could not be fetched again. ``missing`` is None if uncounted."""

    symbol: str
    start_ns: int
    end_ns: int
    received_ns: int
    missing: int | None = None
    reason: str = ""

    @property
    def time_ns(self) -> int:
        return self.end_ns


class Instrument(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="instrument"):
    """What a provider says of a symbol: the steps that prices and quantities move in, and the smallest order.

    A step or minimum that is None is unknown and rounds or refuses nothing.
    """

    symbol: str
    received_ns: int
    price_step: float | None = None
    quantity_step: float | None = None
    minimum_quantity: float | None = None
    minimum_notional: float | None = None
    currency: str | None = None

    @property
    def time_ns(self) -> int:
        return self.received_ns


class Hours(msgspec.Struct, frozen=True, array_like=True, tag="hours"):
    """When a symbol's market is open: the sessions ``(open_ns, close_ns)`` of the days around, in order.

    It replaces what was known before. A symbol without any is always open; after the last session
    the market is closed, so a feed sends it anew before that.
    """

    symbol: str
    received_ns: int
    sessions: tuple[tuple[int, int], ...]
    calendar: str = ""

    @property
    def time_ns(self) -> int:
        return self.received_ns


class CorporateAction(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="action"):
    """A split or a dividend, from ``time_ns`` (the open of the ex-date) on.

    ``split`` is the number of new shares for an old one (4.0, or 0.1 for a reverse split);
    ``dividend`` is cash for each share held before the split, in the symbol's currency.
    """

    symbol: str
    time_ns: int
    received_ns: int
    split: float = 1.0
    dividend: float = 0.0


class _Command(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a user does to a running session. ``strategy`` None means all strategies."""

    received_ns: int
    strategy: str | None = None

    @property
    def time_ns(self) -> int:
        return self.received_ns


class SetParameters(_Command, frozen=True, array_like=True, tag="set", kw_only=True):
    """New parameter values; they take effect before the next bar."""

    parameters: dict[str, Any]


class SwapStrategy(_Command, frozen=True, array_like=True, tag="swap", kw_only=True):
    """New code for a strategy, same book. ``to`` names the class, ``source_hash`` its text."""

    to: str
    parameters: dict[str, Any]
    source_hash: str = ""


class AddStrategy(_Command, frozen=True, array_like=True, tag="add", kw_only=True):
    """One more strategy, named ``strategy``; ``to`` names its class, ``source_hash`` that class's text.

    ``cash`` comes out of the other strategies' books (see :mod:`qfkit.core.joining`); ``risk`` holds the fields
    of its own limits, None gives it those of the run.
    """

    to: str
    cash: float
    parameters: dict[str, Any] = {}
    source_hash: str = ""
    risk: dict[str, Any] | None = None


class Pause(_Command, frozen=True, array_like=True, tag="pause"):
    """No new orders from the strategy; its indicators go on."""


class Resume(_Command, frozen=True, array_like=True, tag="resume"):
    """Ends a pause."""


class Flatten(_Command, frozen=True, array_like=True, tag="flatten"):
    """Cancel the working orders, close the positions at the market, and let none enter until the stop is lifted."""


class BlockEntries(_Command, frozen=True, array_like=True, tag="block"):
    """Let nothing enter until the stop is lifted: exits go on, orders that would enter are cancelled."""


class LiftStops(_Command, frozen=True, array_like=True, tag="lift"):
    """Lift the stops, those put by limits and those by hand; losses are counted anew."""


class SetLimits(_Command, frozen=True, array_like=True, tag="limits", kw_only=True):
    """Change risk limits, by name, from here on; the strategy "account" is all books together."""

    limits: dict[str, Any]


class Rebalance(_Command, frozen=True, array_like=True, tag="rebalance", kw_only=True):
    """Take a strategy's book to these weights, paused or not; ``band`` as in ``Strategy.rebalance``."""

    weights: dict[str, float]
    band: float = 0.0


class ManualOrder(_Command, frozen=True, array_like=True, tag="order", kw_only=True):
    """An order of the user's own in a strategy's book, as ``Strategy.buy``, ``sell`` and ``close`` send it."""

    action: Literal["buy", "sell", "close"]
    symbol: str
    quantity: float | None = None
    notional: float | None = None
    weight: float | None = None
    limit_price: float | None = None
    stop_price: float | None = None
    trail: float | None = None
    trail_fraction: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    expires_ns: int | None = None
    reason: str = ""


class CancelOrder(_Command, frozen=True, array_like=True, tag="cancel", kw_only=True):
    """The user takes an open order of a strategy's book back."""

    order_id: int
    reason: str = ""


class ModifyOrder(_Command, frozen=True, array_like=True, tag="modify", kw_only=True):
    """The user changes an open order of a strategy's book; what is None stays."""

    order_id: int
    quantity: float | None = None
    limit_price: float | None = None
    stop_price: float | None = None


class Protect(_Command, frozen=True, array_like=True, tag="protect", kw_only=True):
    """Protective orders on a position, as fractions: see ``Strategy.protect``."""

    symbol: str
    stop_loss: float | None = None
    take_profit: float | None = None
    trailing: float | None = None
    reason: str = ""


class Stop(_Command, frozen=True, array_like=True, tag="stop"):
    """The end of the session: ``on_stop`` runs and working orders are cancelled."""


class WarmUp(_Command, frozen=True, array_like=True, tag="warmup", kw_only=True):
    """Bars of the past, through the same path as live ones with orders off.

    ``bars`` are closed ones, by their close; ``unfinished`` holds for a symbol the beginning of the
    bar that is open now, which the trades to come go on with.
    """

    bars: list[Bar]
    unfinished: list[Bar] = []


MarketEvent: TypeAlias = Tick | Quote | Depth | Bar | Heartbeat | Gap | Instrument | Hours | CorporateAction
ByHand: TypeAlias = ManualOrder | CancelOrder | ModifyOrder | Protect
Command: TypeAlias = (
    SetParameters
    | SwapStrategy
    | AddStrategy
    | Pause
    | Resume
    | Flatten
    | BlockEntries
    | LiftStops
    | SetLimits
    | Rebalance
    | ByHand
    | Stop
    | WarmUp
)
Event: TypeAlias = MarketEvent | Command

_EARLIEST_NS = 0
_LATEST_NS = 2**63 - 1
_LARGEST_ID = 2**63 - 1


def check_event(event: Event) -> None:
    """Raise :class:`BadEventError` for an event that cannot be true.

    Feeds and sessions call this at the border, so that the engine need not.
    """
    if type(event) is Tick:
        if not 0.0 < event.price < inf:
            raise BadEventError(f"tick of {event.symbol}: price {event.price!r} is not above zero and finite")
        if not (event.size >= 0.0 or isnan(event.size)) or event.size == inf:
            raise BadEventError(f"tick of {event.symbol}: size {event.size!r} is negative or infinite")
        if event.trade_id is not None and not 0 <= event.trade_id <= _LARGEST_ID:
            raise BadEventError(f"tick of {event.symbol}: trade_id {event.trade_id!r} must be 0 to 2**63 - 1, or None")
    elif type(event) is Quote:
        if not (0.0 < event.bid < inf and 0.0 < event.ask < inf):
            raise BadEventError(
                f"quote of {event.symbol}: bid {event.bid!r} and ask {event.ask!r} must both be above zero and finite"
            )
        if event.bid > event.ask:
            raise BadEventError(f"quote of {event.symbol}: bid {event.bid!r} is above ask {event.ask!r}")
        if event.bid_size < 0.0 or event.ask_size < 0.0:
            raise BadEventError(
                f"quote of {event.symbol}: sizes {event.bid_size!r} and {event.ask_size!r} must not be negative"
            )
    elif type(event) is Depth:
        _check_levels(event)
    elif type(event) is Bar:
        low, high = event.low, event.high
        if not (0.0 < low <= event.open <= high < inf and low <= event.close <= high):
            raise BadEventError(
                f"bar of {event.symbol} at {event.open_ns}: open {event.open!r}, high {high!r}, low {low!r}, "
                f"close {event.close!r} must be above zero, finite, and high and low must enclose the others"
            )
        if event.volume < 0.0 or event.volume == inf:
            raise BadEventError(f"bar of {event.symbol}: volume {event.volume!r} is negative or infinite")
        if event.close_ns <= event.open_ns:
            raise BadEventError(
                f"bar of {event.symbol}: closes at {event.close_ns}, not after its open {event.open_ns}"
            )
    if not _EARLIEST_NS <= event.received_ns < _LATEST_NS or not _EARLIEST_NS <= event.time_ns < _LATEST_NS:
        raise BadEventError(
            f"{type(event).__name__}: times {event.time_ns!r} and {event.received_ns!r} "
            "must be UTC nanoseconds since 1970, as int"
        )


def _check_levels(depth: Depth) -> None:
    for side, levels, sign in (("bids", depth.bids, -1.0), ("asks", depth.asks, 1.0)):
        before = -inf
        for price, size in levels:
            if not (0.0 < price < inf and 0.0 <= size < inf):
                raise BadEventError(
                    f"depth of {depth.symbol}: the level ({price!r}, {size!r}) of the {side} must have a price above zero "
                    "and a size of zero or more, both finite"
                )
            if sign * price <= before:
                raise BadEventError(
                    f"depth of {depth.symbol}: the {side} must be in order, the best first; {price!r} is not"
                )
            before = sign * price
    if depth.bids and depth.asks and depth.bids[0][0] > depth.asks[0][0]:
        raise BadEventError(f"depth of {depth.symbol}: bid {depth.bids[0][0]!r} is above ask {depth.asks[0][0]!r}")
