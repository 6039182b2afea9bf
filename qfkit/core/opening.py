"""How an engine's desks are opened: whose cash and whose risk limits are whose."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from qfkit.core.desk import Desk
from qfkit.core.portfolio import Book
from qfkit.core.risk import RiskLimits
from qfkit.core.strategy import Strategy
from qfkit.errors import ParameterError, did_you_mean

if TYPE_CHECKING:
    from qfkit.core.engine import Engine

__all__ = ["open_desks", "own_limits"]


def open_desks(
    engine: "Engine", strategies: Mapping[str, Strategy], shares: Mapping[str, float], cash: float
) -> dict[str, Desk]:
    """A desk for each strategy with its share of the cash, set up."""
    desks = {}
    for name, strategy in strategies.items():
        limits = engine.own_risk.get(name, engine.risk)
        desk = desks[name] = Desk(engine, name, strategy, Book(cash * shares[name]), limits)
        strategy._desk = desk
        strategy.setup()
        desk.name_sets()
    return desks


def own_limits(
    risk: RiskLimits | Mapping[str, RiskLimits] | None, strategies: Collection[str], default: RiskLimits
) -> tuple[dict[str, RiskLimits], RiskLimits]:
    """The limits by strategy, and those of whoever has none of its own (``default`` beside a mapping)."""
    if risk is None or not isinstance(risk, Mapping):
        return {}, default if risk is None else risk
    for name, limits in risk.items():
        if name not in strategies:
            raise ParameterError(f"risk= names the strategy {name!r}.{did_you_mean(name, strategies)}")
        if not isinstance(limits, RiskLimits):
            raise ParameterError(f"risk[{name!r}]={limits!r}: it must be a RiskLimits")
    own = dict(risk)
    # Of a single strategy its own are those of the whole run.
    return own, own[next(iter(strategies))] if len(own) == len(strategies) == 1 else default
