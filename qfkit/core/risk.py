"""The risk limits, and the gate between a signal and its order: accept, resize or reject, with the numbers."""

from collections.abc import Callable
from math import inf
from typing import Any, Literal

import msgspec

from qfkit.core.orders import Check
from qfkit.errors import ParameterError, did_you_mean

__all__ = [
    "ACCOUNT_LIMITS",
    "NO_LIMITS",
    "OVER_TIME",
    "Exposure",
    "RiskLimits",
    "StopKind",
    "affordable",
    "exits_of",
    "gate",
]

ACCOUNT_LIMITS = "account"
"""The name under which ``risk=`` has limits for all strategies together."""

OVER_TIME = ("max_daily_loss", "max_drawdown", "max_consecutive_losses")
"""Limits on what a book went through: no order passes or breaks them, they put a stop on it."""

StopKind = Literal["block_entries", "flatten"]

# A notional computed back from a quantity may pass its own bound by rounding.
_ROUNDING = 1e-12
_WHOLE = ("max_orders_per_minute", "max_positions", "max_consecutive_losses", "returns")
_FRACTIONS = ("max_daily_loss", "max_drawdown")
_NEEDED = ("returns", "value_at_risk_level")
_TYPED: dict[str, tuple[tuple[type, ...], str]] = {
    "allow_short": ((bool,), "True or False"),
    "groups": ((dict,), 'a dict of symbols by group, as {"tech": ("AAPL", "MSFT")}'),
    "on_breach": ((str, dict), '"block_entries", "flatten", or a dict of them by limit'),
}
# What a stop may be asked for beside the limits over time: they are looked at after each equity point then.
_WATCHABLE = ("max_leverage", "max_net_exposure", "max_value_at_risk", "max_correlated_exposure", "max_group_weight")


class RiskLimits(msgspec.Struct, frozen=True):
    """Limits on each order and on a book over time; None means no limit.

    They hold for each strategy's own book, and under the name "account" for all books together:
    ``risk={"trend": RiskLimits(...), "account": RiskLimits(...)}``. Weights, exposures and losses are fractions of that
    equity. Each order is checked on the book as it would be with all working orders filled; what it may not have is
    cut off. What reduces a position always passes.

    One order:

    - ``max_order_quantity``, ``max_order_notional``, ``max_order_weight``;
    - ``max_orders_per_minute``: sent within the last 60 s of the engine's clock; exits count but are never refused;
    - ``price_collar``: a limit or stop price further than this fraction from the last price is
      taken for a slip of the keyboard and rejected, an exit too;
    - ``allow_short``: whether a position may be negative.

    The positions:

    - ``max_position_quantity``, ``max_position_notional``, ``max_position_weight``: the largest in one symbol;
    - ``max_positions``: so many symbols at once;
    - ``max_group_weight``: the gross exposure to each of ``groups``, as ``{"tech": ("AAPL", "MSFT")}``: sectors or any tag;
    - ``max_gross_exposure``: the sum of all positions' absolute values, with what an order costs in fees and slippage
      held back. None is what the margin allows: 1.0, no borrowing, without one (an account's: no bound of its own);
    - ``max_net_exposure``: longs less shorts, either way;
    - ``max_leverage``: gross exposure over equity without costs; unlike ``max_gross_exposure`` it can be watched;
    - ``max_value_at_risk``: historical value at risk of the positions over one equity point's interval, at
      ``value_at_risk_level``, from the last ``returns`` equity points;
    - ``max_correlated_exposure``: sqrt(w' C w) of the signed weights w and the correlations C of the last ``returns``
      equity points: the gross exposure where all move as one, less where they differ or hedge.
      While fewer than 20 returns are known, the last two let no entry pass.

    The book over time, looked at when prices reach them and after each trade. They put a stop on it:

    - ``max_daily_loss``: since the last midnight UTC;
    - ``max_drawdown`` from the highest equity point;
    - ``max_consecutive_losses``: so many losing trades in a row.

    ``on_breach`` says which stop: "block_entries" (exits still allowed) or "flatten" (all orders cancelled, all positions
    closed, entries blocked), for these three or by name: ``{"max_drawdown": "flatten", "max_leverage": "flatten"}``. Only
    so do leverage, net exposure, value at risk, correlated exposure and group weights put a stop on the book after
    an equity point beyond them. A stop of ``max_daily_loss`` ends at the next midnight UTC, the others after
    ``lift_after_s`` seconds, None by hand only; the losses are counted anew from then on.
    """

    max_order_notional: float | None = None
    max_order_weight: float | None = None
    max_position_notional: float | None = None
    max_position_weight: float | None = None
    max_gross_exposure: float | None = None
    price_collar: float | None = 0.5
    allow_short: bool = True
    max_order_quantity: float | None = None
    max_position_quantity: float | None = None
    max_orders_per_minute: int | None = None
    max_positions: int | None = None
    max_group_weight: float | None = None
    groups: dict[str, tuple[str, ...]] = {}
    max_net_exposure: float | None = None
    max_leverage: float | None = None
    max_value_at_risk: float | None = None
    value_at_risk_level: float = 0.95
    max_correlated_exposure: float | None = None
    returns: int = 250
    max_daily_loss: float | None = None
    max_drawdown: float | None = None
    max_consecutive_losses: int | None = None
    on_breach: str | dict[str, str] = "block_entries"
    lift_after_s: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name in _TYPED:
                kind, words = _TYPED[name]
                if not isinstance(value, kind):
                    raise ParameterError(f"RiskLimits({name}={value!r}): it must be {words}")
                continue
            if value is None and name not in _NEEDED:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ParameterError(f"RiskLimits({name}={value!r}): it must be a number, or None for no limit")
            if name in _WHOLE and (not isinstance(value, int) or value < 1):
                raise ParameterError(f"RiskLimits({name}={value!r}): it must be a whole number from 1 on, or None")
            if not 0.0 < value < inf:
                raise ParameterError(f"RiskLimits({name}={value!r}): it must be above zero and finite, or None")
            if name in _FRACTIONS and value >= 1.0:
                raise ParameterError(f"RiskLimits({name}={value!r}): a fraction of the equity below 1, as 0.1 for 10 %")
        if not 0.5 <= self.value_at_risk_level < 1.0:
            raise ParameterError(f"RiskLimits(value_at_risk_level={self.value_at_risk_level!r}): from 0.5 up to 1")
        if self.returns < 20:
            raise ParameterError(f"RiskLimits(returns={self.returns!r}): fewer than 20 say nothing of a risk")
        if self.max_group_weight is not None and not self.groups:
            raise ParameterError('RiskLimits(max_group_weight=...): say what is in a group: groups={"tech": ("AAPL",)}')
        for group, symbols in self.groups.items():
            if not isinstance(symbols, tuple | list) or not symbols:
                raise ParameterError(f"RiskLimits(groups={{{group!r}: {symbols!r}}}): give the symbols as a tuple")
        self._check_breach()

    def _check_breach(self) -> None:
        names = (*OVER_TIME, *_WATCHABLE)
        kinds = [self.on_breach] if isinstance(self.on_breach, str) else list(self.on_breach.values())
        for kind in kinds:
            if kind not in ("block_entries", "flatten"):
                raise ParameterError(f'RiskLimits(on_breach={kind!r}): it is "block_entries" or "flatten"')
        for name in () if isinstance(self.on_breach, str) else self.on_breach:
            if name not in names:
                raise ParameterError(
                    f"RiskLimits(on_breach={{{name!r}: ...}}): no limit that puts a stop.{did_you_mean(name, names)}"
                )
            if getattr(self, name) is None:
                raise ParameterError(f"RiskLimits(on_breach={{{name!r}: ...}}): give {name}= too")

    def stop_of(self, name: str) -> StopKind | None:
        """Which stop a breach of a limit puts; None where it only bounds orders."""
        if getattr(self, name) is None:
            return None
        kind = self.on_breach if isinstance(self.on_breach, str) else self.on_breach.get(name)
        if name in OVER_TIME:
            kind = kind or "block_entries"
        elif isinstance(self.on_breach, str):
            return None
        return "flatten" if kind == "flatten" else "block_entries" if kind else None

    @property
    def gross_bound(self) -> float:
        """``max_gross_exposure``, infinity where there is none."""
        return inf if self.max_gross_exposure is None else self.max_gross_exposure

    @property
    def watched(self) -> tuple[str, ...]:
        """The limits that put a stop."""
        return tuple(name for name in (*OVER_TIME, *_WATCHABLE) if self.stop_of(name) is not None)

    @property
    def is_wide(self) -> bool:
        """Whether it asks for more than :func:`gate` looks at."""
        return any(getattr(self, name) is not None for name in _WIDE) or bool(self.watched)

    def named(self) -> str:
        """The limits that were asked for beside the gross exposure, in one line."""
        plain = RiskLimits(max_gross_exposure=self.max_gross_exposure)
        return ", ".join(
            f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
            if getattr(self, name) != getattr(plain, name)
        )

    def changed(self, changes: dict[str, Any]) -> "RiskLimits":
        """These limits with some of them changed; raises :class:`ParameterError` for a name or value that is none."""
        for name in changes:
            if name not in self.__struct_fields__:
                raise ParameterError(f"no risk limit {name!r}.{did_you_mean(name, self.__struct_fields__)}")
        try:
            return msgspec.convert(msgspec.structs.asdict(self) | changes, RiskLimits)
        except msgspec.ValidationError as error:
            raise ParameterError(f"risk limits {changes!r}: {error}") from None


_WIDE = (
    "max_order_quantity",
    "max_position_quantity",
    "max_orders_per_minute",
    "max_positions",
    "max_group_weight",
    "max_net_exposure",
    "max_leverage",
    "max_value_at_risk",
    "max_correlated_exposure",
)


NO_LIMITS = RiskLimits()
"""Nothing beyond what a margin account allows."""


class Exposure(msgspec.Struct, frozen=True, gc=False):
    """The book an order meets, with all working orders filled that go its way. ``position`` is signed.

    ``held`` is the position with only the market orders filled: what may be closed. ``beside`` is what other books
    hold of the symbol, where the limits are those of the account.
    """

    equity: float
    position: float
    gross_of_others: float
    held: float
    beside: float = 0.0


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
    level: float | None = None,
) -> tuple[float, list[Check]]:
    """Return the quantity that may be sent (0.0 rejects) and each check that was made.

    ``signed`` is the wanted quantity, negative to sell; ``price`` what it is expected to trade at, and ``level`` the
    limit or stop price where that is another. What closes
    a position is never less than asked for, even where orders at work would close it too: whoever sends it must
    see to it that they do not go on to the other side together.
    """
    wanted = abs(signed)
    position = exposure.position
    reduces = min(wanted, abs(position)) if position * signed < 0.0 else 0.0
    opens = wanted - reduces
    exits = exits_of(exposure.held, signed)
    checks: list[Check] = []
    level = price if level is None else level
    if limits.price_collar is not None and level != last_price:
        away = abs(level / last_price - 1.0)
        passed = away <= limits.price_collar
        checks.append(Check("price collar", away, limits.price_collar, wanted if passed else 0.0, passed))
        if not passed:
            return 0.0, checks
    if opens == 0.0:
        return wanted, checks
    equity = exposure.equity
    if equity <= 0.0:
        checks.append(Check("equity", equity, 0.0, exits, passed=False))
        return exits, checks
    held = (abs(position) if position * signed > 0.0 else 0.0) + exposure.beside
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
    if limits.max_gross_exposure is not None:
        most = limits.max_gross_exposure
        used = exposure.gross_of_others + held_notional
        power = most * equity - used
        room = affordable(opens, power, price, cost) if power > 0.0 else 0.0
        bounds.append(("gross exposure with costs", (used + notional + cost(opens)) / equity, most, room))
    allowed = opens
    for name, value, limit, fits in bounds:
        checks.append(Check(name, value, limit, max(exits, reduces + max(0.0, min(opens, fits))), fits >= opens))
        if fits < allowed:
            allowed = max(0.0, fits)
    return max(exits, reduces + allowed), checks


def exits_of(held: float, signed: float) -> float:
    """How much of an order closes a position."""
    return min(abs(signed), abs(held)) if held * signed < 0.0 else 0.0
