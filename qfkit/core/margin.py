"""Margin: what may be borrowed and at what price, and what an order may use of it."""

from collections.abc import Callable
from math import inf, isfinite
from typing import TYPE_CHECKING

import msgspec

from qfkit.core.orders import Check
from qfkit.core.risk import RiskLimits, affordable
from qfkit.core.wording import money
from qfkit.errors import ParameterError

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.engine import Engine
    from qfkit.core.market import Market

__all__ = ["DAYS_A_YEAR", "Financing", "Margin", "MarginCall", "buying_power", "hold_to_margin", "initial_required"]

DAYS_A_YEAR = 365.0
"""Rates are simple and by the calendar day: a weekend is three nights (actual/365)."""


class Margin(msgspec.Struct, frozen=True):
    """What a strategy's book may borrow, what that costs, and when its positions are closed by force.

    Fractions are of a position's value at market, rates are fractions a year, charged for each
    midnight UTC that passes (a 365th). Each strategy has a book and a margin of its own: none lives on
    another's cash, though an account whose equity in all is gone ends for all of them.

    - ``initial``, ``short_initial``: the equity that an order to open needs, for a long and a short
      position; 0.5 is buying power of twice the equity. ``short_initial`` None is as ``initial``.
      ``initial`` None sets no bound beside ``RiskLimits``.
    - ``maintenance``, ``short_maintenance``: the equity below which a margin call closes positions at
      the market, those that bind the most first, until the *initial* margin holds, lest the next
      price be a second call. ``short_maintenance`` None is as ``maintenance``.
    - ``borrow_rate``: paid on the value of each short position; ``borrow_rates`` by symbol.
    - ``cash_rate``: earned on cash; ``loan_rate``: paid on borrowed cash. The proceeds of a short sale
      are the lender's security: they earn nothing and pay for nothing, so cash here is cash less the
      value of the shorts.

    Equity at or below zero closes everything and stops the strategy for good, under any margin that a run
    names, and without one, which is ``Margin.cash()``. The
    check is made at each price that positions are marked at: with bars that is the close, and the
    forced close fills at the next open. What happens inside a bar it does not see.

    Trap: ``RiskLimits`` bounds too: a ``max_gross_exposure`` of its own stays the tighter bound. None is
    what the margin allows.
    """

    initial: float | None = None
    maintenance: float = 0.0
    short_initial: float | None = None
    short_maintenance: float | None = None
    borrow_rate: float = 0.0
    borrow_rates: dict[str, float] = {}
    cash_rate: float = 0.0
    loan_rate: float = 0.0

    def __post_init__(self) -> None:
        for name in ("initial", "short_initial"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < inf:
                raise ParameterError(f"Margin({name}={value!r}): a fraction above zero, or None for no bound")
        for name in ("maintenance", "short_maintenance", "borrow_rate", "loan_rate"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < inf:
                raise ParameterError(f"Margin({name}={value!r}): it must be zero or more, and finite")
        for symbol, value in self.borrow_rates.items():
            if not 0.0 <= value < inf:
                raise ParameterError(f"Margin(borrow_rates={{{symbol!r}: {value!r}}}): zero or more, and finite")
        if not isfinite(self.cash_rate):
            raise ParameterError(f"Margin(cash_rate={self.cash_rate!r}): it must be finite")
        if self.initial is None and self.short_initial is not None:
            raise ParameterError("Margin(short_initial=...): give initial= too")
        for side, initial, maintenance in (
            ("", self.initial, self.maintenance),
            ("short_", self.initial_short, self.maintenance_short),
        ):
            if maintenance and (initial is None or initial < maintenance):
                raise ParameterError(
                    f"Margin({side}initial={initial!r}, {side}maintenance={maintenance!r}): "
                    "the initial margin must be at least the maintenance margin"
                )
        # Above it a fall would better the margin of a long position.
        if self.maintenance > 1.0:
            raise ParameterError(f"Margin(maintenance={self.maintenance!r}): of a long position it is at most 1")

    @classmethod
    def cash(cls) -> "Margin":
        """No margin and no rates: only ``RiskLimits`` bounds (by default: no borrowing), and zero."""
        return cls()

    @classmethod
    def regulation_t(cls, *, borrow_rate: float = 0.0, cash_rate: float = 0.0, loan_rate: float = 0.0) -> "Margin":
        """US shares: half of a purchase or short sale at first, then 25 % of longs and 30 % of shorts.

        Sources: 12 CFR 220.12 (Regulation T) for the initial margin, FINRA rule 4210(c) for the
        maintenance; its minimums in dollars a share (2.50 and 5.00) are left out. Brokers ask for more.
        """
        return cls(0.5, 0.25, 0.5, 0.3, borrow_rate=borrow_rate, cash_rate=cash_rate, loan_rate=loan_rate)

    @classmethod
    def crypto(
        cls, leverage: float, *, maintenance: float | None = None, borrow_rate: float = 0.0, loan_rate: float = 0.0
    ) -> "Margin":
        """An initial margin of one over ``leverage``, long and short alike.

        ``maintenance`` None is half of that: a round figure; an exchange's own table differs by pair and size.
        """
        if not 1.0 <= leverage < inf:
            raise ParameterError(f"Margin.crypto(leverage={leverage!r}): it must be 1 or more, and finite")
        initial = 1.0 / leverage
        return cls(
            initial,
            initial / 2.0 if maintenance is None else maintenance,
            borrow_rate=borrow_rate,
            loan_rate=loan_rate,
        )

    @property
    def initial_short(self) -> float | None:
        return self.initial if self.short_initial is None else self.short_initial

    @property
    def maintenance_short(self) -> float:
        return self.maintenance if self.short_maintenance is None else self.short_maintenance

    @property
    def has_rates(self) -> bool:
        """Whether a night may cost or earn something."""
        return bool(self.borrow_rate or self.cash_rate or self.loan_rate or any(self.borrow_rates.values()))

    def limits_within(self, limits: RiskLimits) -> RiskLimits:
        """The limits with a bound of the gross exposure: where they name none, what the margin allows."""
        if limits.max_gross_exposure is not None:
            return limits
        most = 1.0
        if self.initial is not None and self.initial_short is not None:
            most = 1.0 / min(self.initial, self.initial_short)
        return msgspec.structs.replace(limits, max_gross_exposure=most)

    def borrow_rate_of(self, symbol: str) -> float:
        return self.borrow_rates.get(symbol, self.borrow_rate)

    def maintenance_of(self, quantity: float, price: float) -> float:
        """What a position (negative: a short) needs at a price in the account's currency."""
        return quantity * price * self.maintenance if quantity > 0.0 else -quantity * price * self.maintenance_short

    def initial_of(self, quantity: float, price: float) -> float:
        """What it needs to be opened; without an ``initial`` the maintenance."""
        if self.initial is None or self.initial_short is None:
            return self.maintenance_of(quantity, price)
        return quantity * price * self.initial if quantity > 0.0 else -quantity * price * self.initial_short

    def describe(self) -> str:
        """One line for a person, "" where it changes nothing."""
        parts = []
        if self.initial is not None and self.initial_short is not None:
            parts.append(
                f"initial margin {self.initial:.4g} long and {self.initial_short:.4g} short, "
                f"maintenance {self.maintenance:.4g} and {self.maintenance_short:.4g}"
            )
        if self.has_rates:
            own = "".join(f", {symbol} {rate * 100:g} %" for symbol, rate in self.borrow_rates.items())
            parts.append(
                f"a year: borrowed shares {self.borrow_rate * 100:g} %{own}, borrowed cash "
                f"{self.loan_rate * 100:g} %, cash {self.cash_rate * 100:g} %, by the night"
            )
        return "; ".join(parts)


class MarginCall(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A book whose equity no longer bore its positions, and what was done about it.

    ``kind`` is "margin call" (equity below ``required``, the maintenance margin) or "wiped out" (equity
    at or below zero: all closed, stopped for good). ``owed`` is what a negative equity leaves to be paid.
    """

    time_ns: int
    strategy: str
    kind: str
    equity: float
    required: float
    owed: float
    done: str
    order_ids: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """One line for a person."""
        owed = f", owed {money(self.owed)}" if self.owed else ""
        return (
            f"{self.strategy}: {self.kind}: equity {money(self.equity)}, "
            f"maintenance margin {money(self.required)}{owed}: {self.done}"
        )


class Financing(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What nights cost or earned: ``amount`` is negative for a cost, in the account's currency.

    ``kind`` is "borrow" (of a short position in ``symbol``) or "interest" (on cash, ``symbol`` ""), on a
    ``balance`` at market; ``time_ns`` is the last midnight of the ``nights``.
    """

    time_ns: int
    strategy: str
    kind: str
    symbol: str
    balance: float
    rate: float
    nights: int
    amount: float


class _Reach:
    """How far the orders at work in one symbol may carry a position either way, and at what price."""

    __slots__ = ("bought", "price", "quantity", "sold")

    def __init__(self, quantity: float, price: float) -> None:
        self.quantity = quantity
        self.price = price
        self.bought = 0.0
        self.sold = 0.0

    def required(self, margin: Margin) -> float:
        """The initial margin of the worse end."""
        return max(
            margin.initial_of(max(0.0, self.quantity + self.bought), self.price),
            margin.initial_of(min(0.0, self.quantity - self.sold), self.price),
        )


def _reaches(engine: "Engine", desk: "Desk") -> dict[str, _Reach]:
    """For each symbol held or ordered. Any of the orders may fill, and the others not."""
    reaches = {
        symbol: _Reach(position.quantity, position.market.price * position.market.rate)
        for symbol, position in desk.book.open.items()
    }
    for working in engine.broker.open.values():
        # Legs of brackets only ever reduce.
        if working.owner is not desk or working.is_reduce_only:
            continue
        market = working.market
        reach = reaches.get(market.symbol)
        if reach is None:
            reach = reaches[market.symbol] = _Reach(0.0, market.price * market.rate)
        for level in (working.limit_price, working.stop_price):
            if level is not None:
                reach.price = max(reach.price, level * market.rate)
        if working.is_buy:
            reach.bought += working.remaining
        else:
            reach.sold += working.remaining
    return reaches


def initial_required(engine: "Engine", desk: "Desk") -> float:
    """The initial margin of a book, each symbol at the worse end of what its working orders may make of it."""
    required = 0.0
    for reach in _reaches(engine, desk).values():
        required += reach.required(engine.margin)
    return required


def buying_power(
    engine: "Engine", desk: "Desk", market: "Market", signed: float, price: float, cost: Callable[[float], float]
) -> tuple[str, float, float, float]:
    """The bound that the initial margin sets an order: its name, the value, the limit, the quantity that fits.

    ``price`` is the one expected and ``cost(quantity)`` what the order costs, both in the account's
    currency. What reduces the position, with all orders of the same side that already work, is free.
    """
    margin = engine.margin
    # What fills is marked at the market, and a limit beyond the market fills there.
    price = max(price, market.price * market.rate)
    assert margin.initial is not None
    assert margin.initial_short is not None
    reaches = _reaches(engine, desk)
    here = reaches.pop(market.symbol, None) or _Reach(0.0, price)
    required = 0.0
    for reach in reaches.values():
        required += reach.required(margin)
    wanted = abs(signed)
    ahead = here.quantity + here.bought if signed > 0.0 else here.sold - here.quantity
    opens = max(0.0, wanted - max(0.0, -ahead))
    fraction = margin.initial if signed > 0.0 else margin.initial_short
    equity = desk.book.equity
    before = here.required(margin)
    used = max(0.0, ahead) * here.price * fraction
    after = max(before, used + opens * price * fraction)
    value = required + after + cost(opens)
    name = "initial margin with costs"
    if opens == 0.0:
        return name, required + before, equity, wanted
    room = equity - required - used
    fits = affordable(opens, room, price * fraction, cost) if room > 0.0 and before <= equity - required else 0.0
    return name, value, equity, wanted - opens + fits


def hold_to_margin(
    engine: "Engine",
    desk: "Desk",
    market: "Market",
    signed: float,
    price: float,
    cost: Callable[[float], float],
    allowed: float,
    exits: float,
    checks: list[Check],
) -> float:
    """What of the ``allowed`` quantity the margin leaves, never less than ``exits``; adds the check that was made."""
    name, value, limit, fits = buying_power(engine, desk, market, signed, price, cost)
    left = max(fits, exits)
    checks.append(Check(name, value, limit, min(abs(signed), left), fits >= abs(signed)))
    return min(allowed, left)
