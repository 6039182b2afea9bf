"""What of a wish may become an order: the filters, the risk gate, the margin and the limits, in this order."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from qfkit.core.exposure import exposure_of
from qfkit.core.filters import in_words, pass_filters
from qfkit.core.margin import hold_to_margin
from qfkit.core.market import Market
from qfkit.core.orders import Check
from qfkit.core.risk import exits_of, gate

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.working import WorkingOrder

__all__ = ["Judgement", "judge", "judge_change", "refusal_of"]

_STOPS = ("block_entries (", "flatten (")


class Judgement(msgspec.Struct):
    """How much may be sent, the checks that were made, and whether the filters were asked.

    ``passing`` is the signed wish that the filters let through. What ``is_exit`` must, with the orders at work on its
    side, only ever reduce: a limit would not have the rest, or they would go past flat together.
    """

    allowed: float
    checks: list[Check]
    passing: float
    is_filtered: bool
    is_exit: bool


def judge(
    desk: "Desk",
    market: Market,
    signed: float,
    expected: float,
    *,
    is_capped: bool,
    worst: float = 0.0,
    forced: bool = False,
    is_filtered: bool = True,
    take_profit: float | None = None,
) -> Judgement:
    """Judge a wish. ``expected`` is its limit or stop price, or where the market stands.

    What ``is_capped`` fills at no more than that; anything else at the market or at its ``worst`` price, where that is
    higher. What is ``forced`` the margin does not hold back.
    """
    engine, rate = desk.engine, market.rate
    cost = engine.cost_at(expected, signed, market)
    if rate != 1.0:
        cost = _converted(cost, rate)
    passing = signed
    filtered: list[Check] = []
    if is_filtered and engine.filters is not None:
        passing, filtered = pass_filters(desk, market, signed, expected, take_profit)
    if not passing:
        return Judgement(0.0, filtered, passing, is_filtered=bool(filtered), is_exit=False)
    price = (expected if is_capped else max(expected, worst, market.price)) * rate
    last_price = market.price * rate
    exposure = exposure_of(desk, market, passing)
    exits = exits_of(exposure.held, passing)
    allowed, checks = gate(desk.risk, passing, price, last_price, exposure, cost, expected * rate)
    if engine.margin.initial is not None and not forced:
        allowed = hold_to_margin(engine, desk, market, passing, price, cost, allowed, exits, checks)
    for watch in (desk.limit_watch, engine.limit_watch):
        if watch.is_active:
            allowed = min(allowed, watch.check(desk, market, passing, price, last_price, cost, checks))
    failed = allowed < abs(signed) or not all(check.passed for check in checks)
    is_exit = failed and 0.0 < allowed <= exits_of(exposure.held, signed)
    return Judgement(allowed, filtered + checks, passing, is_filtered=bool(filtered), is_exit=is_exit)


def judge_change(
    desk: "Desk", working: "WorkingOrder", remaining: float, limit_price: float | None, stop_price: float | None
) -> Judgement | None:
    """Judge an order at work as it would be after a change; None where the change makes nothing of it larger."""
    if working.is_reduce_only or working.is_forced:
        return None
    levels = ((limit_price, working.limit_price), (stop_price, working.stop_price))
    rises = any(new is not None and old is not None and new > old for new, old in levels)
    if remaining <= working.remaining and not rises:
        return None
    before, working.remaining = working.remaining, 0.0
    # As if it were not there: its own share of the limits is free for what it becomes.
    limit = working.limit_price if limit_price is None else limit_price
    stop = working.stop_price if stop_price is None else stop_price
    expected = limit if limit is not None else stop if stop is not None else working.market.price
    try:
        return judge(
            desk,
            working.market,
            remaining if working.is_buy else -remaining,
            expected,
            is_capped=working.is_buy and limit is not None,
            is_filtered=False,
        )
    finally:
        working.remaining = before


def _converted(cost: Callable[[float], float], rate: float) -> Callable[[float], float]:
    return lambda quantity: cost(quantity) * rate


def refusal_of(checks: list[Check]) -> str:
    """The checks that were not passed, in words."""
    return "; ".join(_words(check) for check in checks if not check.passed)


def _words(check: Check) -> str:
    if check.name.removeprefix("account ").startswith(_STOPS):
        # A stop says itself why there is one.
        return check.name
    if filtered := in_words(check):
        return filtered
    if check.name.endswith("equity") and check.limit == 0.0:
        return f"{check.name} {check.value:.6g} is not above zero"
    if check.name.endswith("short sale"):
        return f"{check.name} of {check.value:.6g}, which the limits do not allow"
    if check.value != check.value:
        return f"{check.name} is not known yet, limit {check.limit:.6g}"
    return f"{check.name} {check.value:.6g} over {check.limit:.6g}"
