"""Signals, orders, fills and trades: what a decision becomes, as frozen records."""

from enum import StrEnum
from math import nan

import msgspec

__all__ = [
    "BUY",
    "CANCELLED",
    "DAY",
    "EXPIRED",
    "FILLED",
    "FOK",
    "GTC",
    "GTD",
    "HELD",
    "IOC",
    "LIMIT",
    "MARKET",
    "PARTIALLY_FILLED",
    "REJECTED",
    "SELL",
    "STOP",
    "STOP_LIMIT",
    "TRAILING_STOP",
    "WORKING",
    "Check",
    "Fill",
    "Order",
    "OrderStatus",
    "OrderType",
    "Side",
    "Signal",
    "TimeInForce",
    "Trade",
    "Transfer",
]


class Side(StrEnum):
    """The side of an order or fill; a quantity is always positive."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order asks to be filled."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


class TimeInForce(StrEnum):
    """How long an order works: till cancelled, the day, at once in part, at once whole, till a date."""

    GTC = "gtc"
    DAY = "day"
    IOC = "ioc"
    FOK = "fok"
    GTD = "gtd"


class OrderStatus(StrEnum):
    """Where an order stands. ``HELD`` is a bracket's leg that waits for its entry to fill."""

    HELD = "held"
    WORKING = "working"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"

    @property
    def is_open(self) -> bool:
        return self in _OPEN


# The members by themselves, for the engine: on Python 3.11 a look-up such as Side.BUY takes as
# long as a function call.
BUY, SELL = Side
MARKET, LIMIT, STOP, STOP_LIMIT, TRAILING_STOP = OrderType
GTC, DAY, IOC, FOK, GTD = TimeInForce
HELD, WORKING, PARTIALLY_FILLED, FILLED, CANCELLED, EXPIRED, REJECTED = OrderStatus

_OPEN = frozenset({HELD, WORKING, PARTIALLY_FILLED})


class Check(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One test of a filter or of the risk gate: what it measured, its bound, and what quantity it allowed."""

    name: str
    value: float
    limit: float
    allowed: float
    passed: bool


class Signal(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A strategy's wish and what became of it. ``wanted`` is a signed quantity, ``sizing`` what it came from.

    ``decision`` is "sent", "resized", "rejected" or "nothing to do".
    """

    signal_id: int
    time_ns: int
    symbol: str
    action: str
    wanted: float
    decision: str
    decision_reason: str
    order_id: int | None
    strategy: str
    reason: str
    checks: tuple[Check, ...] = ()
    indicators: dict[str, float] = {}
    sizing: dict[str, float] = {}

    @property
    def decision_check(self) -> str:
        """The name of the first check that was not passed, "" where none was; without what a stop says in brackets."""
        return next((check.name.partition(" (")[0] for check in self.checks if not check.passed), "")


class Order(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An order as it stands; a change of state makes a new record with the same ``order_id``.

    ``decided_ns`` is the engine's clock at the decision, ``sent_ns`` when it reaches the market
    (decision plus latency): no event received before that can fill it. ``decision_price`` is
    the last price at the decision. ``trail`` is the distance of a trailing stop in price, or a
    fraction of the price where ``trail_is_fraction``.
    """

    order_id: int
    symbol: str
    side: Side
    type: OrderType
    quantity: float
    strategy: str
    reason: str
    decided_ns: int
    sent_ns: int
    decision_price: float
    limit_price: float | None = None
    stop_price: float | None = None
    trail: float | None = None
    trail_is_fraction: bool = False
    time_in_force: TimeInForce = TimeInForce.GTC
    expires_ns: int | None = None
    status: OrderStatus = OrderStatus.WORKING
    filled: float = 0.0
    average_price: float | None = None
    parent_id: int | None = None
    group_id: int | None = None
    signal_id: int | None = None
    status_reason: str = ""
    updated_ns: int = 0


class Fill(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A (partial) fill. ``time_ns`` is the market's time: a bar's open for a fill at the open,
    its close for one inside the bar. ``market_price`` is the price before slippage. Prices are in the
    symbol's currency; the fee is in the account's, which ``rate`` converts to. ``is_crossed``: another strategy of the
    account was on the other side, see :mod:`qfkit.core.netting`."""

    fill_id: int
    order_id: int
    symbol: str
    side: Side
    quantity: float
    price: float
    fee: float
    time_ns: int
    received_ns: int
    market_price: float
    strategy: str
    reason: str
    rate: float = 1.0
    is_crossed: bool = False


class Trade(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A round trip: from flat to flat, or to the other side. ``pnl`` is after ``fees``.

    ``side`` is "long" or "short"; prices are averages over the entries and the exits;
    ``return_`` is pnl over the entry's notional.

    ``max_adverse_excursion`` and ``max_favourable_excursion`` are the least and the most that it stood
    at meanwhile, in money and before fees (Sweeney 1996, "Maximum Adverse Excursion"): zero or less,
    and zero or more. On bars they are of highs and lows; of the bar inside which an order filled,
    only what is sure to lie on this side of the fill counts. NaN where a journal is of before there were any.
    """

    symbol: str
    side: str
    quantity: float
    entry_time_ns: int
    exit_time_ns: int
    entry_price: float
    exit_price: float
    fees: float
    pnl: float
    return_: float
    strategy: str
    max_adverse_excursion: float = nan
    max_favourable_excursion: float = nan
    entry_rate: float = 1.0

    @property
    def max_adverse_return(self) -> float:
        """The largest open loss as a fraction of the entry's notional: zero or less."""
        return self.max_adverse_excursion / (self.entry_price * self.quantity * self.entry_rate)

    @property
    def max_favourable_return(self) -> float:
        """The largest open profit as a fraction of the entry's notional: zero or more."""
        return self.max_favourable_excursion / (self.entry_price * self.quantity * self.entry_rate)

    @property
    def holding_ns(self) -> int:
        """How long it was open, from the first entry to the last exit."""
        return self.exit_time_ns - self.entry_time_ns


class Transfer(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Cash that went from one strategy's book into another's, right after the equity point of ``time_ns``."""

    time_ns: int
    source: str
    target: str
    amount: float
