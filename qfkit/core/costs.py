"""What trading costs: commission, slippage, impact, latency, participation and the limit-fill rule."""

from collections.abc import Callable
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from qfkit.core.impact import Activity, SquareRootImpact
from qfkit.core.latency import LatencyCallable, LogNormalLatency, UniformLatency
from qfkit.core.orders import BUY, SELL, Side
from qfkit.errors import ParameterError

if TYPE_CHECKING:
    from qfkit.core.market import Market

__all__ = ["Commission", "CommissionCallable", "Costs", "SlippageCallable"]

CommissionCallable: TypeAlias = Callable[[float, float], float]
"""``commission(quantity, price) -> money``; it must not fall as the quantity grows."""

SlippageCallable: TypeAlias = Callable[[Side, float, float], float]
"""``slippage(side, quantity, price) -> price``: the price after slippage, never a better one."""


class Commission(msgspec.Struct, frozen=True):
    """A commission of ``rate * notional + per_share * quantity``, at least ``minimum`` a fill.

    ``rate`` is a fraction (0.001 is 0.1 %), the others are money.
    """

    rate: float = 0.0
    per_share: float = 0.0
    minimum: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate", "per_share", "minimum"):
            value = getattr(self, name)
            if not 0.0 <= value < inf:
                raise ParameterError(f"Commission({name}={value!r}): it must be zero or more, and finite")
        _refuse_whole(f"Commission(rate={self.rate!r})", self.rate)

    def __call__(self, quantity: float, price: float) -> float:
        return max(self.minimum, quantity * (self.rate * price + self.per_share))


def _refuse_whole(given: str, rate: float) -> None:
    if rate >= 1.0:
        raise ParameterError(
            f"{given} is {rate:.0%} of what is traded: 0.001 is 0.1 %; money a fill is Commission(minimum=...), "
            "a share Commission(per_share=...)"
        )


class Costs(msgspec.Struct, frozen=True):
    """The assumptions that an order is filled under; a result prints them.

    - ``commission``: a rate of the notional (0.001 is 0.1 %), a :class:`Commission`, or any
      ``callable(quantity, price) -> money``.
    - ``slippage_bps``: basis points that a market, stop or trailing order pays beyond the
      market price, or any ``callable(side, quantity, price) -> price``. Limit orders pay none.
    - ``latency_s``: seconds from the decision until the order is at the market, or a
      :class:`LogNormalLatency`, a :class:`UniformLatency`, or any ``callable(order_id) -> seconds``
      that gives the same for the same order every time. An order never sees an event received
      before that; a change of an order takes as long as the order took.
    - ``participation``: the largest fraction of the traded (or quoted) volume a fill may take;
      None takes all that is wanted at once, at the best price.
    - ``limit_fills``: when a resting limit order fills. "through" only when the price trades beyond
      the limit; "touch" already when it trades at it, as if the order were first in the queue
      (optimistic); "queue_last" also after as much has traded at it as was quoted there when the
      order came, what is withdrawn counting for nothing (pessimistic); "queue_proportional" the
      same, with what is withdrawn shared between those ahead and behind. The queues need trades
      and quotes with sizes; on bars, and where no size was quoted at the limit, they are as "through".
    - ``impact``: a :class:`SquareRootImpact` that market orders pay on top of slippage, or None.

    Where a feed has the depth of the book, a market order walks its levels: each level's price for
    its quantity (``participation`` of it), and the fill is at their average. What our fills took
    from a level is not there again before the level shrinks or grows beyond it.

    The presets: ``Costs.ideal()`` costs nothing, ``Costs()`` is sober (Binance's 0.1 % taker
    rate, 1 bp, 100 ms, a tenth of the volume), ``Costs.harsh()`` is what a bad week costs.
    """

    commission: float | Commission | CommissionCallable = 0.001
    slippage_bps: float | SlippageCallable = 1.0
    latency_s: float | LogNormalLatency | UniformLatency | LatencyCallable = 0.1
    participation: float | None = 0.1
    limit_fills: Literal["through", "touch", "queue_last", "queue_proportional"] = "through"
    impact: SquareRootImpact | None = None

    def __post_init__(self) -> None:
        for name in ("commission", "slippage_bps", "latency_s"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not 0.0 <= value < inf:
                raise ParameterError(f"Costs({name}={value!r}): it must be zero or more, and finite")
        if isinstance(self.commission, int | float):
            _refuse_whole(f"Costs(commission={self.commission!r})", self.commission)
        if isinstance(self.slippage_bps, int | float) and self.slippage_bps >= 10_000:
            raise ParameterError(f"Costs(slippage_bps={self.slippage_bps!r}): 10,000 basis points are the whole price")
        if self.participation is not None and not 0.0 < self.participation <= 1.0:
            raise ParameterError(
                f"Costs(participation={self.participation!r}): a fraction above 0 and up to 1, or None for no bound"
            )
        if self.limit_fills not in _LIMIT_FILLS:
            known = ", ".join(map(repr, _LIMIT_FILLS))
            raise ParameterError(f"Costs(limit_fills={self.limit_fills!r}): it is one of {known}")
        if self.impact is not None and not isinstance(self.impact, SquareRootImpact):
            raise ParameterError(f"Costs(impact={self.impact!r}): it is a SquareRootImpact or None")

    @classmethod
    def ideal(cls) -> "Costs":
        """No costs, no delay, all that is wanted at once, limits filled at a touch."""
        return cls(commission=0.0, slippage_bps=0.0, latency_s=0.0, participation=None, limit_fills="touch")

    @classmethod
    def harsh(cls) -> "Costs":
        """Twice the commission, 10 basis points and the impact of the size, about a second late, 2 % of the volume."""
        return cls(
            commission=0.002,
            slippage_bps=10.0,
            latency_s=LogNormalLatency(median_s=1.0, sigma=0.5),
            participation=0.02,
            impact=SquareRootImpact(),
        )

    @property
    def latency_ns(self) -> int:
        """The latency of every order; an error where it differs by order, as :meth:`latency_of` tells."""
        if callable(self.latency_s):
            raise ParameterError(f"latency_s={self.latency_s!r} differs by order: ask latency_of()(order_id)")
        return round(self.latency_s * 1e9)

    def latency_of(self) -> Callable[[int], int]:
        """The latency in nanoseconds by an order's number."""
        latency = self.latency_s
        if not callable(latency):
            constant_ns = self.latency_ns
            return lambda _: constant_ns

        def latency_ns(order_id: int) -> int:
            seconds = latency(order_id)
            if not 0.0 <= seconds < inf:
                raise ParameterError(
                    f"the latency of order {order_id} is {seconds!r} s: it must be zero or more, and finite"
                )
            return round(seconds * 1e9)

        return latency_ns

    def commission_of(self) -> CommissionCallable | None:
        """The commission as a callable, or None where there is none to pay."""
        if callable(self.commission):
            return self.commission
        return Commission(rate=self.commission) if self.commission else None

    def slippage_of(self) -> SlippageCallable | None:
        """The slippage as a callable, or None where there is none."""
        if callable(self.slippage_bps):
            return self.slippage_bps
        if not self.slippage_bps:
            return None
        fraction = self.slippage_bps / 10_000

        def slip(side: Side, quantity: float, price: float) -> float:
            return price * (1.0 + fraction) if side is BUY else price * (1.0 - fraction)

        return slip

    def new_activity(self) -> Activity | None:
        """Where a symbol's running figures are kept; None where no impact asks for them."""
        impact = self.impact
        return None if impact is None or not impact.needs_activity else Activity(impact.over_bars)

    def estimator(self) -> "Callable[[float, float, Market | None], Callable[[float], float]]":
        """What an order would cost in slippage, impact and commission: ``estimator()(price, signed, market)(quantity)``.

        ``price`` is the one expected; of ``signed`` only the sign counts, above zero for a buy.
        ``market`` is what an impact is reckoned of.
        """
        commission, slippage, impact = self.commission_of(), self.slippage_of(), self.impact

        def cost_at(price: float, signed: float, market: "Market | None") -> Callable[[float], float]:
            if commission is None and slippage is None and impact is None:
                return _free
            side = BUY if signed > 0.0 else SELL
            scale = 0.0 if impact is None or market is None else impact.scale(market.symbol, market.activity)

            def cost(quantity: float) -> float:
                if quantity <= 0.0:
                    return 0.0
                slipped = price if slippage is None else slippage(side, quantity, price)
                if scale:
                    slipped = moved(side, slipped, scale, quantity)
                fee = 0.0 if commission is None else commission(quantity, slipped)
                return quantity * abs(slipped - price) + fee

            return cost

        return cost_at

    def describe(self) -> str:
        """One line for a person: "commission 0.1 %, slippage 1 bp, ..."."""
        if isinstance(self.commission, Commission):
            parts = [f"{self.commission.rate:.4%}"] if self.commission.rate else []
            parts += [f"{self.commission.per_share:g} a share"] if self.commission.per_share else []
            parts += [f"at least {self.commission.minimum:g}"] if self.commission.minimum else []
            commission = "commission " + (", ".join(parts) or "0")
        elif callable(self.commission):
            commission = f"commission by {getattr(self.commission, '__name__', 'a callable')}"
        else:
            commission = f"commission {self.commission * 100:g} %"
        if callable(self.slippage_bps):
            slippage = f"slippage by {getattr(self.slippage_bps, '__name__', 'a callable')}"
        else:
            slippage = f"slippage {self.slippage_bps:g} bp"
        if isinstance(self.latency_s, LogNormalLatency | UniformLatency):
            latency = f"latency {self.latency_s.describe()}"
        elif callable(self.latency_s):
            latency = f"latency by {getattr(self.latency_s, '__name__', 'a callable')}"
        else:
            latency = f"latency {self.latency_s * 1000:g} ms"
        impact = "" if self.impact is None else f", {self.impact.describe()}"
        share = "no volume bound" if self.participation is None else f"at most {self.participation * 100:g} % of volume"
        return f"{commission}, {slippage}{impact}, {latency}, {share}, limits fill {_LIMIT_FILLS[self.limit_fills]}"

    def checked_price(self, side: Side, price: float, slipped: float) -> float:
        """Guard a slippage callable: a price better than the market's, or no price, is an error."""
        better = slipped < price if side is BUY else slipped > price
        if better or not isfinite(slipped) or slipped <= 0.0:
            raise ParameterError(
                f"the slippage callable gave {slipped!r} for a {side} at {price!r}: it may only make the price worse"
            )
        return slipped


_LIMIT_FILLS = {
    "through": "when traded through",
    "touch": "when traded at a touch",
    "queue_last": "after all that was quoted before them (last in the queue)",
    "queue_proportional": "in their turn in the queue (withdrawals shared in proportion)",
}
# A sale cannot move a price to nothing.
_LARGEST_MOVE = 0.9


def moved(side: Side, price: float, scale: float, quantity: float) -> float:
    """A price after an impact of ``scale * sqrt(quantity)``; it moves by nine tenths at most."""
    move = min(scale * sqrt(quantity), _LARGEST_MOVE)
    return price * (1.0 + move) if side is BUY else price * (1.0 - move)


def _free(quantity: float) -> float:
    return 0.0
