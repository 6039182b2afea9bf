"""What a session is made of, and how that is written into its journal and read back."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec

from qfkit.core import allocation as allocation_module
from qfkit.core import assessment as assessment_module
from qfkit.core import costs as costs_module
from qfkit.core import currencies as currencies_module
from qfkit.core import filters as filters_module
from qfkit.core import margin as margin_module
from qfkit.core import risk as risk_module
from qfkit.core import sizing as sizing_module
from qfkit.core.allocation import Allocation
from qfkit.core.assessment import RiskBands
from qfkit.core.costs import Commission, Costs
from qfkit.core.currencies import Currencies
from qfkit.core.engine import Engine
from qfkit.core.filters import SignalFilters
from qfkit.core.margin import Margin
from qfkit.core.portfolio import cash_shares
from qfkit.core.risk import RiskLimits
from qfkit.core.sizing import Sizer
from qfkit.core.strategy import Strategy, as_strategy, named_strategies
from qfkit.errors import JournalFormatError, ParameterError, SessionError
from qfkit.live.sources import ClassBook

__all__ = ["SessionPlan", "costs_of", "default_name", "named_strategies"]


def default_name(strategies: Mapping[str, Strategy]) -> str:
    """A session's name from its strategies' classes: "moving-average-crossover"."""
    names = dict.fromkeys(_dashed(type(strategy).__name__) for strategy in strategies.values())
    return "+".join(names)[:80]


def _dashed(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower().replace("_", "-")


class SessionPlan:
    """The engine's configuration: enough to build it again, as often as a replay is wanted."""

    def __init__(
        self,
        name: str,
        strategies: Mapping[str, tuple[str, Mapping[str, Any]]],
        classes: ClassBook,
        *,
        cash: float,
        shares: Mapping[str, float] | None,
        costs: Costs,
        risk: RiskLimits | Mapping[str, RiskLimits],
        sizer: Sizer | None,
        allocation: Allocation | None = None,
        netting: bool = False,
        timeframe: str | None,
        symbols: Sequence[str],
        filters: SignalFilters | None = None,
        margin: Margin | None = None,
        currency: Currencies | None = None,
        assess_every_s: float | None = None,
        risk_bands: RiskBands | None = None,
    ) -> None:
        self.name = name
        self.strategies = {name: (key, dict(parameters)) for name, (key, parameters) in strategies.items()}
        self.classes = classes
        self.cash = cash
        self.shares = shares
        self.costs = costs
        self.risk = risk
        self.sizer = sizer
        self.allocation = allocation
        self.netting = netting
        self.timeframe = timeframe
        self.symbols = tuple(symbols)
        self.filters = filters
        self.margin = margin
        self.currency = currency
        self.assess_every_s = assess_every_s
        self.risk_bands = risk_bands

    @classmethod
    def of(cls, strategies: Mapping[str, Strategy], name: str | None = None, **settings: Any) -> Self:
        """The plan for strategies at hand."""
        classes = ClassBook()
        entries = {}
        for strategy_name, strategy in strategies.items():
            check_storable(strategy)
            entries[strategy_name] = (classes.add(type(strategy)), strategy.parameters)
        return cls(default_name(strategies) if name is None else name, entries, classes, **settings)

    @property
    def strategy_cash(self) -> dict[str, float]:
        """The starting money of each strategy."""
        shares = cash_shares(self.strategies, self.shares)
        return {name: self.cash * shares[name] for name in self.strategies}

    def engine(self) -> Engine:
        """A fresh engine."""
        strategies = {
            name: self.classes.resolve(key)(**parameters) for name, (key, parameters) in self.strategies.items()
        }
        return Engine(
            strategies,
            cash=self.cash,
            shares=self.shares,
            costs=self.costs,
            risk=self.risk,
            sizer=self.sizer,
            allocation=self.allocation,
            netting=self.netting,
            timeframe=self.timeframe,
            symbols=self.symbols,
            filters=self.filters,
            margin=self.margin,
            currency=self.currency,
            resolve=self.classes.resolve,
            assess_every_s=self.assess_every_s,
            risk_bands=self.risk_bands,
        )

    def as_meta(self) -> dict[str, Any]:
        """The plan as JSON values, by the keys of the journal's table ``meta``."""
        return {
            "name": self.name,
            "strategies": {
                name: {"class": key, "parameters": parameters} for name, (key, parameters) in self.strategies.items()
            },
            "classes": self.classes.as_meta(),
            "cash": self.cash,
            "shares": None if self.shares is None else dict(self.shares),
            "costs": _costs_meta(self.costs),
            "risk": _risk_meta(self.risk),
            "sizer": _part_meta(self.sizer),
            "allocation": _part_meta(self.allocation),
            "netting": self.netting,
            "timeframe": self.timeframe,
            "symbols": list(self.symbols),
            "filters": _part_meta(self.filters),
            "margin": _part_meta(self.margin),
            "currency": _part_meta(self.currency),
            "assess_every_s": self.assess_every_s,
            "risk_bands": _part_meta(self.risk_bands),
        }

    @classmethod
    def from_meta(
        cls,
        meta: Mapping[str, Any],
        *,
        strategies: object = None,
        costs: Costs | None = None,
        risk: RiskLimits | Mapping[str, RiskLimits] | None = None,
        sizer: Sizer | None = None,
        allocation: Allocation | None = None,
    ) -> tuple[Self, list[str]]:
        """The plan of a journal, and what is worth a warning. What is passed stands in for what it holds."""
        try:
            entries = {name: (entry["class"], entry["parameters"]) for name, entry in meta["strategies"].items()}
            classes, warnings = ClassBook.from_meta(meta["classes"], _given_classes(strategies, entries))
            plan = cls(
                meta["name"],
                entries,
                classes,
                cash=meta["cash"],
                shares=meta["shares"],
                costs=costs_of(meta["costs"]) if costs is None else costs,
                risk=_risk_of(meta["risk"]) if risk is None else risk,
                sizer=_part_of(meta["sizer"], "sizer", sizing_module) if sizer is None else sizer,
                allocation=_part_of(meta.get("allocation"), "allocation", allocation_module)
                if allocation is None
                else allocation,
                netting=meta.get("netting", False),
                timeframe=meta["timeframe"],
                symbols=meta["symbols"],
                filters=_part_of(meta.get("filters"), "filters", filters_module),
                margin=_part_of(meta.get("margin"), "margin", margin_module),
                currency=_part_of(meta.get("currency"), "currency", currencies_module),
                # A journal of format 1 has none.
                assess_every_s=meta.get("assess_every_s"),
                risk_bands=_part_of(meta.get("risk_bands"), "risk_bands", assessment_module),
            )
        except (KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
            raise JournalFormatError(f"the journal's description of its session cannot be read: {error!r}") from error
        return plan, warnings


def check_storable(strategy: Strategy) -> None:
    """Raise :class:`ParameterError` for a parameter that would not come back from a journal as it was."""
    for name, value in strategy.parameters.items():
        try:
            stored = msgspec.json.decode(msgspec.json.encode(value))
            same = type(strategy).check_parameters({name: stored})[name] == value
        except (TypeError, ParameterError):
            same = False
        if not same:
            raise ParameterError(
                f"{type(strategy).__name__}.{name}={value!r} cannot be kept in a journal: "
                "a parameter of a session is a number, a text or a truth value"
            )


def _given_classes(
    given: object, entries: Mapping[str, tuple[str, Any]]
) -> dict[str, type[Strategy]] | list[type[Strategy]]:
    """The classes that a caller passes to a resume: by strategy name, by the journal's key, or just listed."""
    if given is None:
        return []
    if isinstance(given, Mapping):
        keys = {name: key for name, (key, _) in entries.items()}
        return {keys.get(str(name), str(name)): type(as_strategy(one)) for name, one in given.items()}
    several = given if isinstance(given, Sequence) else [given]
    return [type(as_strategy(one)) for one in several]


def _costs_meta(costs: Costs) -> dict[str, Any]:
    commission, slippage = costs.commission, costs.slippage_bps
    return {
        "commission": msgspec.to_builtins(commission) if _is_plain(commission) else _callable_meta(commission),
        "slippage_bps": slippage if _is_plain(slippage) else _callable_meta(slippage),
        "latency_s": costs.latency_s if _is_plain(costs.latency_s) else _part_meta(costs.latency_s),
        "participation": costs.participation,
        "limit_fills": costs.limit_fills,
        "impact": _part_meta(costs.impact),
        "text": costs.describe(),
    }


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | Commission)


def _callable_meta(value: object) -> dict[str, str]:
    return {"callable": getattr(value, "__qualname__", type(value).__qualname__)}


def costs_of(meta: Mapping[str, Any]) -> Costs:
    """The costs of a journal; :class:`SessionError` where they were a function, which a journal cannot hold."""
    fields = {name: value for name, value in meta.items() if name != "text"}
    for name in ("commission", "slippage_bps", "latency_s", "impact"):
        value = fields.get(name)
        if isinstance(value, dict):
            if "class" in value:
                fields[name] = _part_of(value, "costs", costs_module)
                continue
            if "callable" in value:
                raise SessionError(
                    f"the session's {name} was the function {value['callable']}, which a journal cannot hold: "
                    f"pass costs= again, as in qf.resume(..., costs=qf.Costs({name}=...))"
                )
            fields[name] = Commission(**value)
    return Costs(**fields)


def _risk_meta(risk: RiskLimits | Mapping[str, RiskLimits]) -> dict[str, Any] | None:
    """The limits of all, or those of each strategy by name."""
    if isinstance(risk, Mapping):
        return {"each": {name: _part_meta(limits) for name, limits in risk.items()}}
    return _part_meta(risk)


def _risk_of(meta: Mapping[str, Any]) -> Any:
    if "each" in meta:
        return {name: _part_of(limits, "risk", risk_module) for name, limits in meta["each"].items()}
    return _part_of(meta, "risk", risk_module)


def _part_meta(part: object) -> dict[str, Any] | None:
    """A risk or sizing record by its class name and fields; of a function only the name."""
    if part is None:
        return None
    if isinstance(part, msgspec.Struct) and type(part).__module__.startswith("qfkit.core."):
        for value in msgspec.structs.astuple(part):
            if callable(value) and not isinstance(value, msgspec.Struct):
                return _callable_meta(value)
        return {"class": type(part).__name__, "fields": msgspec.to_builtins(part)}
    return _callable_meta(part)


def _part_of(meta: Mapping[str, Any] | None, argument: str, module: object) -> Any:
    if meta is None:
        return None
    kind = getattr(module, meta.get("class", ""), None)
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        name = meta.get("class") or meta.get("callable")
        raise SessionError(
            f"the session's {argument} was {name}, which a journal cannot hold: pass it again, "
            f"as in qf.resume(..., {argument}={name})"
        )
    # A field that may be a callable has no type that can be read; the record checks itself.
    return Allocation(**meta["fields"]) if kind is Allocation else msgspec.convert(meta["fields"], kind)
