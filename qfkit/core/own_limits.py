"""Whose risk limits are whose: one set for all strategies, or one for each by name."""

from collections.abc import Collection, Mapping

from qfkit.core.risk import RiskLimits
from qfkit.errors import ParameterError, did_you_mean

__all__ = ["own_limits"]


def own_limits(
    risk: RiskLimits | Mapping[str, RiskLimits] | None, strategies: Collection[str]
) -> tuple[dict[str, RiskLimits], RiskLimits]:
    """The limits by strategy, and those of whoever has none of its own (``RiskLimits()`` beside a mapping)."""
    if risk is None or not isinstance(risk, Mapping):
        return {}, RiskLimits() if risk is None else risk
    for name, limits in risk.items():
        if name not in strategies:
            raise ParameterError(f"risk= names the strategy {name!r}.{did_you_mean(name, strategies)}")
        if not isinstance(limits, RiskLimits):
            raise ParameterError(f"risk[{name!r}]={limits!r}: it must be a RiskLimits")
    own = dict(risk)
    # Of a single strategy its own are those of the whole run.
    return own, own[next(iter(strategies))] if len(own) == len(strategies) == 1 else RiskLimits()
