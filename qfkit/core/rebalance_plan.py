"""The plan of a rebalance: from the weights a book has to those it should have, with turnover and cost.

Pure functions and records; the rules stand in :mod:`qfkit.core.rebalancing`, which carries plans out.
"""

from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from msgspec.structs import replace

from qfkit.core.events import Instrument
from qfkit.core.portfolio import total
from qfkit.core.steps import fit_quantity, whole_steps
from qfkit.core.wording import money, share
from qfkit.errors import OrderError

if TYPE_CHECKING:
    import pandas

    from qfkit.core.market import Market

__all__ = ["Holding", "RebalanceLeg", "RebalancePlan", "plan_rebalance"]

CostAt: TypeAlias = "Callable[[float, float, Market | None], Callable[[float], float]]"

# Costs are some thousandths of what they are the costs of: each round brings the sum that much nearer.
_ROUNDS = 16
# No account is so leveraged; it is a percentage that was meant.
_LARGEST_WEIGHT = 10.0
_NEAR = 1e-9
_ROUNDING = 1e-12


class Holding(msgspec.Struct, frozen=True, gc=False):
    """A position (negative for a short) at a price, and the steps its symbol's orders come in.

    ``rate`` converts the price into the currency of the account. What an order does to the price is reckoned of ``market``.
    """

    quantity: float
    price: float
    rules: Instrument | None = None
    market: "Market | None" = None
    rate: float = 1.0

    @property
    def value(self) -> float:
        """What one unit is worth in the currency of the account."""
        return self.price * self.rate


class RebalanceLeg(msgspec.Struct, frozen=True, gc=False):
    """What a rebalance does in one symbol.

    ``change`` is what would be ordered, signed, at the last price; ``quantity`` + ``change`` is
    ``target``. ``notional`` is signed money, ``cost`` the slippage and commission expected. The weights are
    fractions of the present equity, ``wanted_weight`` as asked for. ``note`` says why a leg is not what was asked.
    """

    symbol: str
    weight: float
    wanted_weight: float
    target_weight: float
    quantity: float
    target: float
    change: float
    price: float
    notional: float
    cost: float
    note: str = ""


class RebalancePlan(msgspec.Struct, frozen=True):
    """What a rebalance would do now, and cost. Nothing is sent by it.

    ``turnover`` is the traded notional, bought and sold, over the equity (1.0 sells and buys half of the
    book each); ``cost`` is money. ``legs`` stand in the order in which they are sent. ``gross`` and
    ``gross_after`` are the sums of the absolute positions as fractions of equity, after it of what the costs leave.
    """

    time_ns: int
    equity: float
    legs: tuple[RebalanceLeg, ...]
    turnover: float
    cost: float
    band: float
    gross: float
    gross_after: float

    def __bool__(self) -> bool:
        """Whether there is anything to trade."""
        return any(leg.change for leg in self.legs)

    def to_frame(self) -> "pandas.DataFrame":
        """One row a symbol, in the order in which it is traded."""
        import pandas

        rows = [msgspec.structs.asdict(leg) for leg in self.legs]
        frame = pandas.DataFrame(rows, columns=list(RebalanceLeg.__struct_fields__))
        return frame.set_index("symbol")

    def __repr__(self) -> str:
        head = ("symbol", "weight", "target", "change", "price", "notional", "cost")
        rows = [head, *(_cells(leg)[:-1] for leg in self.legs)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        notes = ["", *(f"  {leg.note}" if leg.note else "" for leg in self.legs)]
        lines = []
        for row, note in zip(rows, notes, strict=True):
            first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join([row[0].ljust(len(first)), *others]) + note)
        return "\n".join([*lines, self._summary])

    @property
    def _summary(self) -> str:
        band = f", band {share(self.band)}" if self.band else ""
        return f"turnover {share(self.turnover)} of {money(self.equity)}, costs {money(self.cost)}{band}"

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(
            f"<th>{name}</th>" for name in ("symbol", "weight", "target", "change", "price", "notional", "cost", "")
        )
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(leg)) + "</tr>" for leg in self.legs
        )
        return f"<table><tr>{head}</tr>{body}</table><p>{escape(self._summary)}</p>"


def _cells(leg: RebalanceLeg) -> tuple[str, ...]:
    return (
        leg.symbol,
        share(leg.weight),
        share(leg.target_weight),
        f"{leg.change:+,.6g}",
        f"{leg.price:,.6g}",
        money(leg.notional),
        money(leg.cost),
        leg.note,
    )


def plan_rebalance(
    weights: Mapping[str, float],
    holdings: Mapping[str, Holding],
    *,
    equity: float,
    band: float = 0.0,
    cost_at: "CostAt | None" = None,
    time_ns: int = 0,
) -> RebalancePlan:
    """The plan that takes ``holdings`` to these fractions of ``equity``; a symbol without a weight goes to zero.

    ``holdings`` must have every symbol of ``weights`` (its price may be NaN: then nothing is traded in it).
    ``cost_at`` is :meth:`qfkit.Costs.estimator`'s; without it trading is free. Raises :class:`OrderError` for
    a weight that is no finite number, and for a band that is not from 0 up to 1.
    """
    goals = checked_weights(weights, band)
    for symbol in holdings:
        goals.setdefault(symbol, 0.0)
    notes: dict[str, str] = {}
    sized: dict[str, float] = {}
    for symbol, weight in goals.items():
        held = holdings[symbol]
        if held.value != held.value:
            notes[symbol] = "there is no price yet"
        elif band and weight and held.quantity and _is_within(held.quantity * held.value, weight, band, equity):
            notes[symbol] = "within the band"
        else:
            sized[symbol] = weight
    reach = total(abs(weight) for weight in goals.values())

    def changes(net: float) -> tuple[dict[str, float], dict[str, float]]:
        smaller = {}
        for symbol, weight in sized.items():
            held = holdings[symbol]
            wanted = _reduction(weight * net, held)
            smaller[symbol] = wanted if wanted == -held.quantity else _fitted(wanted, held)
            notes[symbol] = _too_small(wanted, held) if wanted and not smaller[symbol] else ""
        after = {
            symbol: replace(held, quantity=held.quantity + smaller.get(symbol, 0.0))
            for symbol, held in holdings.items()
        }
        needs = {symbol: increase(sized[symbol] * net, after[symbol]) for symbol in sized}
        return smaller, scaled(needs, after, reach * net - gross_of(after), notes)

    smaller, larger, net = after_costs(equity, changes, holdings, cost_at)
    legs = []
    for symbol, weight in goals.items():
        held = holdings[symbol]
        parts = (smaller.get(symbol, 0.0), larger.get(symbol, 0.0))
        change = parts[0] + parts[1]
        if not change and weight and symbol in sized and net == 0.0 < equity:
            notes[symbol] = "the costs are more than the equity"
        priced = held.value if held.value == held.value else 0.0
        scale = priced / equity if equity > 0.0 else 0.0
        legs.append(
            RebalanceLeg(
                symbol=symbol,
                weight=held.quantity * scale,
                wanted_weight=weight,
                target_weight=(held.quantity + change) * scale,
                quantity=held.quantity,
                target=held.quantity + change,
                change=change,
                price=held.price,
                notional=change * priced,
                cost=total(cost_of(part, held, cost_at) for part in parts),
                note=notes.get(symbol, ""),
            )
        )
    legs.sort(key=lambda leg: (not smaller.get(leg.symbol), -abs(leg.notional), leg.symbol))
    cost = total(leg.cost for leg in legs)
    left = equity - cost
    return RebalancePlan(
        time_ns=time_ns,
        equity=equity,
        legs=tuple(legs),
        turnover=total(abs(leg.notional) for leg in legs) / equity if equity > 0.0 else 0.0,
        cost=cost,
        band=band,
        gross=gross_of(holdings) / equity if equity > 0.0 else 0.0,
        gross_after=total(abs(leg.target) * holdings[leg.symbol].value for leg in legs if leg.target) / left
        if left > 0.0
        else 0.0,
    )


def checked_weights(weights: Mapping[str, float], band: float) -> dict[str, float]:
    """The weights as plain numbers, or an error that names the one which is none."""
    if not 0.0 <= band < 1.0:
        raise OrderError(f"rebalance: band={band!r} must be a fraction of the equity from 0 up to 1")
    goals = {}
    for symbol, weight in weights.items():
        if not -inf < weight < inf:
            raise OrderError(f"rebalance: the weight {weight!r} of {symbol} is no finite number")
        if abs(weight) > _LARGEST_WEIGHT:
            raise OrderError(
                f"rebalance: the weight {weight!r} of {symbol} would be {weight:,.0f} times the equity: weights are "
                "fractions, as 0.6 for 60 %"
            )
        goals[symbol] = float(weight)
    return goals


def _is_within(value: float, weight: float, band: float, equity: float) -> bool:
    return equity > 0.0 and abs(value / equity - weight) <= band * (1.0 + _NEAR)


def _reduction(value: float, held: Holding) -> float:
    """The signed change that makes a position smaller on its way to a value; 0.0 where it is not to."""
    quantity = held.quantity
    target = value / held.value
    if quantity == 0.0 or (target * quantity > 0.0 and abs(target) >= abs(quantity) * (1.0 - _NEAR)):
        return 0.0
    if target * quantity <= 0.0:
        # A whole position is closed as it is, off the steps too.
        return -quantity
    change = abs(target - quantity)
    step = None if held.rules is None else held.rules.quantity_step
    if step is not None:
        # Rather a step too small than a step too large a position.
        steps = whole_steps(change, step)
        change = min(abs(quantity), steps if steps >= change * (1.0 - _NEAR) else whole_steps(steps + step, step))
    return -change if quantity > 0.0 else change


def increase(value: float, held: Holding) -> float:
    """The signed change that makes a position larger; 0.0 while one of the other side is in the way."""
    target = value / held.value
    if target * held.quantity < 0.0 or abs(target) <= abs(held.quantity) * (1.0 + _NEAR):
        return 0.0
    return target - held.quantity


def _fitted(change: float, held: Holding) -> float:
    if held.rules is None:
        return change
    size = fit_quantity(abs(change), held.price, held.rules)[0]
    return size if change > 0.0 or not size else -size


def _too_small(change: float, held: Holding) -> str:
    return "" if held.rules is None else fit_quantity(abs(change), held.price, held.rules)[1]


def scaled(
    needs: Mapping[str, float], holdings: Mapping[str, Holding], free: float, notes: dict[str, str]
) -> dict[str, float]:
    """What makes positions larger, cut to what is free and to the symbols' steps."""
    cost = total(abs(change) * holdings[symbol].value for symbol, change in needs.items())
    factor = 1.0 if cost == 0.0 or cost <= free * (1.0 + _ROUNDING) else max(0.0, free / cost)
    fitting = {}
    for symbol, change in needs.items():
        held = holdings[symbol]
        fitting[symbol] = _fitted(change * factor, held)
        if change and not fitting[symbol] and factor:
            notes[symbol] = _too_small(change * factor, held)
        elif change and factor < 1.0 - _NEAR:
            notes[symbol] = "scaled down to what is free"
    return fitting


def gross_of(holdings: Mapping[str, Holding]) -> float:
    return total(abs(held.quantity) * held.value for held in holdings.values() if held.quantity)


def cost_of(change: float, held: Holding, cost_at: "CostAt | None") -> float:
    """What a change is expected to cost, in the currency of the account."""
    if not change or cost_at is None:
        return 0.0
    return cost_at(held.price, change, held.market)(abs(change)) * held.rate


def after_costs(
    equity: float,
    changes: Callable[[float], tuple[dict[str, float], dict[str, float]]],
    holdings: Mapping[str, Holding],
    cost_at: "CostAt | None",
    owed: float = 0.0,
) -> tuple[dict[str, float], dict[str, float], float]:
    """Changes sized by the equity that they themselves leave: the fixed point of costs and size."""
    net = max(0.0, equity - owed)
    smaller, larger = changes(net)
    for _ in range(_ROUNDS):
        cost = total(
            cost_of(change, holdings[symbol], cost_at) for part in (smaller, larger) for symbol, change in part.items()
        )
        left = max(0.0, equity - owed - cost)
        if abs(left - net) <= _ROUNDING * equity:
            break
        before, net = net, left
        smaller, larger = changes(net)
    else:
        # A least commission may switch an order on and off from round to round: what is within the means counts.
        net = min(before, net)
        smaller, larger = changes(net)
    return smaller, larger, net


def whole_only(needs: Mapping[str, float], holdings: Mapping[str, Holding], free: float) -> dict[str, float]:
    """What fits whole into what is free, the largest first."""
    sent = {}
    for symbol, change in largest_first(needs, holdings):
        fitted = _fitted(change, holdings[symbol])
        notional = abs(fitted) * holdings[symbol].value
        if fitted and notional <= free * (1.0 + _ROUNDING):
            sent[symbol] = fitted
            free -= notional
    return sent


def largest_first(changes: Mapping[str, float], holdings: Mapping[str, Holding]) -> Iterator[tuple[str, float]]:
    sizes: list[tuple[float, str]] = [
        (-abs(change) * holdings[symbol].value, symbol) for symbol, change in changes.items() if change
    ]
    for _, symbol in sorted(sizes):
        yield symbol, changes[symbol]
