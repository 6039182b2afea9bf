"""How an engine's desks are opened: whose cash and whose risk limits are whose."""

from collections.abc import Collection, Mapping
from math import inf
from typing import TYPE_CHECKING

from qfkit.core.desk import Desk
from qfkit.core.margin import Margin
from qfkit.core.portfolio import Book
from qfkit.core.risk import ACCOUNT_LIMITS, NO_LIMITS, RiskLimits
from qfkit.core.strategy import Strategy
from qfkit.errors import ParameterError, did_you_mean

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["check_kinds", "check_opening", "check_sizer", "open_desks", "own_limits"]


def check_opening(strategies: Collection[str], cash: float) -> None:
    """Raise :class:`ParameterError` for what no run can begin with."""
    if not 0.0 < cash < inf:
        raise ParameterError(f"cash={cash!r}: the starting cash must be above zero and finite")
    if not strategies:
        raise ParameterError("no strategy given: pass one, a list of them or a dict of names")
    if ACCOUNT_LIMITS in strategies:
        raise ParameterError('a strategy cannot be named "account", which is the sum of them all: choose another name')


def check_sizer(sizer: object) -> None:
    """Raise :class:`ParameterError` for what cannot be asked for a size."""
    if sizer is not None and (isinstance(sizer, type) or not callable(sizer)):
        raise ParameterError(
            f"sizer={sizer!r}: give one of qf.sizing, as in sizer=qf.sizing.FractionOfEquity(0.1), or a function of a context"
        )


def check_kinds(**settings: tuple[object, type, str]) -> None:
    """Raise :class:`ParameterError` for a setting of another kind than it must be; None is left out of any."""
    for name, (value, kind, example) in settings.items():
        if value is not None and not isinstance(value, kind):
            raise ParameterError(f"{name}={value!r}: it must be {_a(kind.__name__)}, as in {name}={example}")


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOUaeiou' else 'a'} {noun}"


def open_desks(
    engine: "Engine", strategies: Mapping[str, Strategy], shares: Mapping[str, float], cash: float
) -> dict[str, Desk]:
    """A desk for each strategy with its share of the cash, set up."""
    desks = {}
    for name, strategy in strategies.items():
        limits = engine.limits.get(name, engine.risk)
        desk = desks[name] = Desk(engine, name, strategy, Book(cash * shares[name]), limits)
        strategy._desk = desk
        strategy.setup()
        desk.name_sets()
    return desks


def own_limits(
    risk: RiskLimits | Mapping[str, RiskLimits] | None, strategies: Collection[str], margin: Margin
) -> tuple[dict[str, RiskLimits], RiskLimits]:
    """The limits by name, and those of whoever has none of its own, the gross exposure bounded by the margin.

    Those of the account stand under its name, with no bound that is not named.
    """
    if risk is None or isinstance(risk, RiskLimits):
        return {}, margin.limits_within(NO_LIMITS if risk is None else risk)
    if not isinstance(risk, Mapping):
        raise ParameterError(f"risk={risk!r}: it must be a RiskLimits, or a dict of them by strategy")
    names = (*strategies, ACCOUNT_LIMITS)
    for name, limits in risk.items():
        if name not in names:
            raise ParameterError(f"risk= names the strategy {name!r}.{did_you_mean(name, names)}")
        if not isinstance(limits, RiskLimits):
            raise ParameterError(f"risk[{name!r}]={limits!r}: it must be a RiskLimits")
    own = {name: limits if name == ACCOUNT_LIMITS else margin.limits_within(limits) for name, limits in risk.items()}
    # Of a single strategy its own are those of the whole run.
    only = next(iter(strategies))
    return own, own[only] if len(strategies) == 1 and only in own else margin.limits_within(NO_LIMITS)
