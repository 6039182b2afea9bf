"""Signal filters: reasons not to enter that have nothing to do with the size of the book.

They come before the risk gate and only ever stop an entry: what reduces a position always passes, and
an order to the other side of it becomes one to go flat.
"""

from math import copysign, inf
from typing import TYPE_CHECKING, Literal

import msgspec

from qfkit.core.bar_statistics import average_true_range
from qfkit.core.lanes import KEPT_BARS
from qfkit.core.orders import MARKET, Check
from qfkit.errors import ParameterError

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.market import Market
    from qfkit.core.working import WorkingOrder

__all__ = ["SignalFilters", "checked_filters", "enters", "in_words", "note_entry", "pass_filters"]

_NUMBERS = ("cooldown_after_loss_s", "minimum_edge", "stale_after_s", "max_spread_bps")
_SWITCHES = ("one_per_bar", "refuse_when_closed", "require_warm")
_BPS = 10_000.0
# What an order is larger than the position by no more than this fraction closes it.
_NEAR = 1e-9

_WARM = "indicators not ready"
_OPEN = "market open"
_AGE = "price age in seconds"
_CROSSED = "crossed quote in basis points"
_SPREAD = "spread in basis points"
_AGAIN = "entries in this bar"
_LOSS = "seconds since a loss"
_EDGE = "expected move in basis points"
_AGAINST = "held against it by others"

_WORDS = {
    _WARM: "{value:g} of the symbol's indicators not ready",
    _OPEN: "the market is closed",
    _AGE: "the price is {value:.6g} s old, over {limit:.6g} s",
    _CROSSED: "the quote is crossed by {value:.6g} basis points",
    _AGAIN: "entered on this side in this bar already",
    _LOSS: "{value:.6g} s since a losing trade, under the {limit:.6g} s to cool down",
    _EDGE: "an expected move of {value:.6g} basis points, under {limit:.6g}",
    _AGAINST: "other strategies hold or enter {value:.6g} on the other side",
}


class SignalFilters(msgspec.Struct, frozen=True):
    """When a strategy's wish to enter is not followed. None or False leaves a filter out.

    What reduces a position always passes; an order that would turn it round is cut down to its close.
    The user's own orders, a rebalance by hand, a flatten and a margin call are not filtered. Each check
    stands with its numbers in ``result.checks``, passed or not.

    - ``one_per_bar``: no second entry of a strategy on the same side of a symbol before the next bar
      closes. One that was cancelled before it filled does not count.
    - ``cooldown_after_loss_s``: none so soon after a round trip of the strategy in the symbol that lost
      money after fees.
    - ``minimum_edge``: none with an expected move of less than so many times the cost of going in and
      out. The move is that to the order's ``take_profit``, else the average true range of the last
      ``edge_atr_period`` closed bars (too few of them: no entry). The cost is what ``costs`` say of
      commission, slippage and impact both ways, and the spread where one is quoted.
    - ``stale_after_s``: none where the last trade or quote is older, from its time at the exchange to the
      engine's clock: a delay of the feed counts. Trap: in ``on_bar`` a bar's own symbol has the age
      zero, and another symbol up to the time from its bar before (three days over a weekend) until
      its own bar of that moment has come: on bars give more than a bar's length.
    - ``max_spread_bps``: none at a wider spread, in basis points of its middle. A crossed quote (the bid
      above the ask) is refused by any filters; a locked one (bid and ask equal) is a spread of zero
      and passes. Without a quote there is nothing to refuse.
    - ``refuse_when_closed``: none outside the market's hours, which would wait for the open otherwise.
      A bar that holds a whole session (a daily one) is decided on after it, for the next open: that passes.
    - ``require_warm``: none before every indicator of the strategy for the symbol is ready. ``on_bar``
      waits for them anyway, but ``on_tick`` does not wait for those on bars, and ``on_quote`` for none.
    - ``conflicts``: "keep" lets each strategy trade its own book, whatever the others do; "refuse" lets none
      enter against a position or an entry order of another in the symbol. Of two that want to at
      the same event the first strategy of the run does.
    """

    one_per_bar: bool = False
    cooldown_after_loss_s: float | None = None
    minimum_edge: float | None = None
    edge_atr_period: int = 14
    stale_after_s: float | None = None
    max_spread_bps: float | None = None
    refuse_when_closed: bool = False
    require_warm: bool = True
    conflicts: Literal["keep", "refuse"] = "keep"

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None and not 0.0 < value < inf:
                raise ParameterError(f"SignalFilters({name}={value!r}): it must be above zero and finite, or None")
        for name in _SWITCHES:
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ParameterError(f"SignalFilters({name}={value!r}): it is True or False")
        if not 0 < self.edge_atr_period < KEPT_BARS:
            raise ParameterError(
                f"SignalFilters(edge_atr_period={self.edge_atr_period!r}): 1 to {KEPT_BARS - 1} closed bars"
            )
        if self.conflicts not in ("keep", "refuse"):
            raise ParameterError(f'SignalFilters(conflicts={self.conflicts!r}): it is "keep" or "refuse"')

    def describe(self) -> str:
        """One line for a person."""
        parts = ["at a crossed quote"]
        if self.require_warm:
            parts.append("before the symbol's indicators are ready")
        if self.refuse_when_closed:
            parts.append("outside the market's hours")
        if self.stale_after_s is not None:
            parts.append(f"on a price older than {self.stale_after_s:g} s")
        if self.max_spread_bps is not None:
            parts.append(f"at a spread above {self.max_spread_bps:g} bp")
        if self.one_per_bar:
            parts.append("a second time on a side in one bar")
        if self.cooldown_after_loss_s is not None:
            parts.append(f"within {self.cooldown_after_loss_s:g} s of a loss")
        if self.minimum_edge is not None:
            parts.append(
                f"for a move (to the take-profit, else the range of {self.edge_atr_period} bars) "
                f"below {self.minimum_edge:g} times the cost"
            )
        if self.conflicts == "refuse":
            parts.append("against another strategy in the symbol")
            apart = ""
        else:
            apart = "; strategies in one symbol trade apart, each in its own book"
        return f"no entry {', '.join(parts)}{apart}"


def checked_filters(filters: object) -> SignalFilters | None:
    """The filters of a run; :class:`ParameterError` for what is none."""
    if filters is not None and not isinstance(filters, SignalFilters):
        raise ParameterError(
            f"filters={filters!r}: give qf.SignalFilters(...), such as qf.SignalFilters(one_per_bar=True)"
        )
    return filters


def pass_filters(
    desk: "Desk", market: "Market", signed: float, expected: float, take_profit: float | None
) -> tuple[float, list[Check]]:
    """What of an order may go on to the risk gate, signed, and the checks; none were made of an exit."""
    wanted = abs(signed)
    held = _at_hand(desk, market)
    reduces = min(wanted, abs(held)) if held * signed < 0.0 else 0.0
    opens = wanted - reduces
    if opens <= _NEAR * wanted:
        return signed, []
    checks = [
        Check(name, value, limit, wanted if passed else reduces, passed)
        for name, value, limit, passed in _tests(desk, market, signed, opens, expected, take_profit)
    ]
    if all(check.passed for check in checks):
        return signed, checks
    return copysign(reduces, signed), checks


def enters(desk: "Desk", market: "Market", working: "WorkingOrder") -> bool:
    """Whether an order just sent opens or adds to a position. What was left of one may only close."""
    signed, held = working.remaining if working.is_buy else -working.remaining, _at_hand(desk, market)
    if working.type is MARKET:
        held -= signed
    return held * signed >= 0.0 or abs(signed) > abs(held) * (1.0 + _NEAR)


def note_entry(desk: "Desk", market: "Market", working: "WorkingOrder") -> None:
    """Remember in which bar an order was sent that enters."""
    if enters(desk, market, working):
        desk.entries[market.symbol, working.is_buy] = (_bar_ns(desk, market), working)


def in_words(check: Check) -> str:
    """Why a filter's check was not passed; "" for one of the risk limits."""
    if check.name == _EDGE and check.value != check.value:
        return "the expected move is unknown: too few closed bars for their range"
    return _WORDS.get(check.name, "").format(value=check.value, limit=check.limit)


def _tests(
    desk: "Desk", market: "Market", signed: float, opens: float, expected: float, take_profit: float | None
) -> list[tuple[str, float, float, bool]]:
    """Each filter that was asked for: its name, what it measured, its bound, whether it was passed."""
    engine = desk.engine
    filters, clock_ns = engine.filters, engine.clock_ns
    assert filters is not None
    tests: list[tuple[str, float, float, bool]] = []
    if filters.require_warm:
        waiting = _not_ready(desk, market.symbol)
        tests.append((_WARM, float(waiting), 0.0, waiting == 0))
    if filters.refuse_when_closed and market.hours is not None:
        is_open = _is_open(desk, market)
        tests.append((_OPEN, float(is_open), 1.0, is_open))
    if filters.stale_after_s is not None:
        age_s = max(0, clock_ns - market.time_ns) / 1e9
        tests.append((_AGE, age_s, filters.stale_after_s, age_s <= filters.stale_after_s))
    spread = market.ask - market.bid
    if spread == spread:
        spread_bps = spread / (market.ask + market.bid) * 2.0 * _BPS
        tests.append((_CROSSED, max(0.0, -spread_bps), 0.0, spread >= 0.0))
        if filters.max_spread_bps is not None:
            tests.append((_SPREAD, spread_bps, filters.max_spread_bps, spread_bps <= filters.max_spread_bps))
    if filters.one_per_bar:
        entered_ns, entry = desk.entries.get((market.symbol, signed > 0.0), (-1, None))
        again = (
            entry is not None and entered_ns >= _bar_ns(desk, market) and (entry.is_open or entry.order.filled > 0.0)
        )
        tests.append((_AGAIN, 2.0 if again else 1.0, 1.0, not again))
    lost_ns = desk.lost_ns.get(market.symbol)
    if filters.cooldown_after_loss_s is not None and lost_ns is not None:
        since_s = max(0, clock_ns - lost_ns) / 1e9
        tests.append((_LOSS, since_s, filters.cooldown_after_loss_s, since_s >= filters.cooldown_after_loss_s))
    if filters.minimum_edge is not None:
        if take_profit is None:
            period = filters.edge_atr_period
            move = average_true_range(desk.kept_bars(market.symbol, period + 1), period)
        else:
            move = abs(take_profit - expected)
        cost = engine.cost_at(expected, signed, market)(opens) + engine.cost_at(expected, -signed, market)(opens)
        if spread > 0.0:
            cost += opens * spread
        move_bps, least_bps = move / expected * _BPS, filters.minimum_edge * cost / (opens * expected) * _BPS
        # An unknown range (NaN) is no edge.
        tests.append((_EDGE, move_bps, least_bps, move_bps >= least_bps))
    if filters.conflicts == "refuse":
        against = _held_against(desk, market, signed)
        tests.append((_AGAINST, against, 0.0, against == 0.0))
    return tests


def _at_hand(desk: "Desk", market: "Market") -> float:
    """The position once the market orders are filled; a limit or stop order may never be."""
    position = desk.book.positions.get(market.symbol)
    held = 0.0 if position is None else position.quantity
    for working in market.working:
        if working.owner is desk and working.type is MARKET and not working.is_reduce_only:
            held += working.remaining if working.is_buy else -working.remaining
    return held


def _not_ready(desk: "Desk", symbol: str) -> int:
    return sum(1 for indicators in desk.sets if symbol in indicators and not indicators[symbol].ready)


def _bar_ns(desk: "Desk", market: "Market") -> int:
    """Which bar it is: the close of the last one, or where the present interval begins if that is later.

    A symbol that is only quoted closes no bars.
    """
    series = desk.engine.tracks[market.symbol].base
    step_ns = series.builder.step_ns
    begun_ns = market.time_ns // step_ns * step_ns
    return max(series.kept[-1].close_ns, begun_ns) if series.kept else begun_ns


def _is_open(desk: "Desk", market: "Market") -> bool:
    hours, clock_ns = market.hours, desk.engine.clock_ns
    assert hours is not None
    if hours.is_open(clock_ns):
        return True
    for bar in desk.kept_bars(market.symbol, 1):
        # The bar that closes now, and in which a session began that is over: it held the whole of it.
        return bar.close_ns == clock_ns and hours.next_open_ns(bar.open_ns - 1) < clock_ns
    return False


def _held_against(desk: "Desk", market: "Market", signed: float) -> float:
    """What other strategies hold on the other side or have orders out to open there."""
    against = 0.0
    for other in desk.engine.desks.values():
        if other is desk:
            continue
        held = _at_hand(other, market)
        if held * signed < 0.0:
            against += abs(held)
        for working in market.working:
            if working.owner is other and working.type is not MARKET and not working.is_reduce_only:
                change = working.remaining if working.is_buy else -working.remaining
                if change * signed < 0.0:
                    # Of an order against a position only what is beyond that opens one.
                    against += max(0.0, abs(change) - (abs(held) if held * change < 0.0 else 0.0))
    return against
