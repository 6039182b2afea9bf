"""The risk gate between a signal and its order: accept, resize or reject, with the numbers."""

from collections.abc import Callable
from math import inf

import msgspec

from qfkit.core.orders import Check
from qfkit.errors import ParameterError

__all__ = ["Exposure", "RiskLimits", "affordable", "gate"]


# A notional computed back from a quantity may pass its own bound by rounding.
_ROUNDING = 1e-12


class RiskLimits(msgspec.Struct, frozen=True):
    """Limits checked before each order, on the strategy's book with its working orders filled.

    None means no limit. Weights and exposure are fractions of the strategy's equity. What
    reduces a position always passes.

    - ``max_order_notional``, ``max_order_weight``: the largest single order.
    - ``max_position_notional``, ``max_position_weight``: the largest position in one symbol.
    - ``max_gross_exposure``: the sum of all positions' absolute values; 1.0 is no borrowing.
      What an order costs in fees and slippage is held back from it.
    - ``price_collar``: a limit or stop price further than this fraction from the last price is
      taken for a slip of the keyboard and rejected.
    - ``allow_short``: whether a position may be negative.
    """

    max_order_notional: float | None = None
    max_order_weight: float | None = None
    max_position_notional: float | None = None
    max_position_weight: float | None = None
    max_gross_exposure: float = 1.0
    price_collar: float | None = 0.5
    allow_short: bool = True

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not isinstance(value, bool) and not 0.0 < value < inf:
                raise ParameterError(f"RiskLimits({name}={value!r}): it must be above zero and finite, or None")


class Exposure(msgspec.Struct, frozen=True, gc=False):
    """The book an order meets, with all working orders filled. ``position`` is signed."""

    equity: float
    position: float
    gross_of_others: float


def affordable(quantity: float, power: float, price: float, cost: Callable[[float], float]) -> float:
    """The largest quantity up to ``quantity`` whose notional and cost fit into ``power``.

    ``cost(quantity)`` must not fall as the quantity grows. One step down is enough: the cost of
    the smaller order is at most that of the larger.
    """
    expected = cost(quantity)
    if quantity * price + expected <= power * (1.0 + _ROUNDING):
        return quantity
    return max(0.0, (power - expected) / price)


def gate(
    limits: RiskLimits,
    signed: float,
    price: float,
    last_price: float,
    exposure: Exposure,
    cost: Callable[[float], float],
) -> tuple[float, list[Check]]:
    """Return the quantity that may be sent (0.0 rejects) and each check that was made.

    ``signed`` is the wanted quantity, negative to sell; ``price`` what it is expected to trade at.
    """
    wanted = abs(signed)
    position = exposure.position
    reduces = min(wanted, abs(position)) if position * signed < 0.0 else 0.0
    opens = wanted - reduces
    checks: list[Check] = []
    if limits.price_collar is not None and price != last_price:
        away = abs(price / last_price - 1.0)
        passed = away <= limits.price_collar
        checks.append(Check("price collar", away, limits.price_collar, wanted if passed else 0.0, passed))
        if not passed:
            return 0.0, checks
    if opens == 0.0:
        return wanted, checks
    equity = exposure.equity
    if equity <= 0.0:
        checks.append(Check("equity", equity, 0.0, reduces, passed=False))
        return reduces, checks
    held = abs(position) if position * signed > 0.0 else 0.0
    held_notional = held * price
    notional = opens * price
    # (name, value, limit, the quantity that the limit leaves room for)
    bounds: list[tuple[str, float, float, float]] = []
    if not limits.allow_short and signed < 0.0:
        bounds.append(("short sale", opens, 0.0, 0.0))
    if limits.max_order_notional is not None:
        most = limits.max_order_notional
        bounds.append(("order notional", notional, most, most / price))
    if limits.max_order_weight is not None:
        most = limits.max_order_weight
        bounds.append(("order weight", notional / equity, most, most * equity / price))
    if limits.max_position_notional is not None:
        most = limits.max_position_notional
        bounds.append(("position notional", held_notional + notional, most, most / price - held))
    if limits.max_position_weight is not None:
        most = limits.max_position_weight
        bounds.append(("position weight", (held_notional + notional) / equity, most, most * equity / price - held))
    most = limits.max_gross_exposure
    used = exposure.gross_of_others + held_notional
    power = most * equity - used
    room = affordable(opens, power, price, cost) if power > 0.0 else 0.0
    bounds.append(("gross exposure with costs", (used + notional + cost(opens)) / equity, most, room))
    allowed = opens
    for name, value, limit, fits in bounds:
        checks.append(Check(name, value, limit, reduces + max(0.0, min(opens, fits)), fits >= opens))
        if fits < allowed:
            allowed = max(0.0, fits)
    return reduces + allowed, checks
