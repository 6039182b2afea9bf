"""Watches over limits: what an order meets beyond the gate, and the stops that losses put on books.

There is one for each strategy's book and one for the account. Losses are looked at when a price leaves its band
(see :mod:`qfkit.core.bands`), at each equity point and after each trade: with the tick, quote or bar's close that reaches
the limit, and at no cost while prices are far from it.
"""

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import TYPE_CHECKING

import msgspec

from qfkit.core.bands import INSIDE, Band
from qfkit.core.exposure import Reach, Reaches, account_exposure, gross_value, net_value, reaches_of
from qfkit.core.limit_stops import RiskStop
from qfkit.core.limit_values import (
    correlated_exposure,
    present,
    stop_text,
    value_at_risk_of,
    weights_of,
)
from qfkit.core.orders import MARKET, Check
from qfkit.core.portfolio import total
from qfkit.core.returns_window import follow_returns
from qfkit.core.risk import NO_LIMITS, OVER_TIME, RiskLimits, StopKind, exits_of, gate

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.engine import Engine
    from qfkit.core.market import Market

__all__ = ["LimitWatch"]

_DAY_NS = 86_400_000_000_000
_MINUTE_NS = 60_000_000_000
_ROUNDING = 1e-12
_BY_HAND = "by hand"


class LimitWatch:
    """The limits of one strategy's book, or of all of them, as an engine runs.

    ``is_active`` says whether an order must be shown to it, ``is_watching`` whether prices matter to it, and
    ``is_marked`` whether equity points do.
    """

    def __init__(self, engine: "Engine", name: str, limits: RiskLimits, *, is_account: bool) -> None:
        self.name = name
        self.is_account = is_account
        self.limits = limits
        self.stops: dict[str, RiskStop] = {}
        self.is_active = False
        self.is_watching = False
        self.is_marked = False
        self.has_begun = False
        self.engine: Engine = engine
        self._sent_ns: deque[int] = deque()
        self.peak: float = 0.0
        self.day_start: float = 0.0
        self._day_ends_ns = 0
        self.losses: int = 0
        self.set_limits(limits)

    # -- what is watched ---------------------------------------------------------------------

    @property
    def desks(self) -> "Iterable[Desk]":
        desks = self.engine.desks
        return desks.values() if self.is_account else (desks[self.name],)

    @property
    def equity(self) -> float:
        return total(desk.book.equity for desk in self.desks)

    def set_limits(self, limits: RiskLimits) -> None:
        """Have these limits from now on. What a new one is of, such as a drawdown, is counted from here."""
        before, self.limits = self.limits, limits
        if self.has_begun:
            if not self.is_account:
                self.engine.desks[self.name].risk = limits
            if before.max_drawdown is None:
                self.peak = self.equity
            if before.max_daily_loss is None:
                self._begin_day(self.equity, self.engine.clock_ns)
            if before.max_consecutive_losses is None:
                self.losses = 0
        for name in [name for name in self.stops if name != _BY_HAND and getattr(limits, name) is None]:
            # A limit that is none any more stops nobody.
            self._lift(name)
        if limits.max_value_at_risk is not None or limits.max_correlated_exposure is not None:
            follow_returns(self.engine, limits.returns)
        self._refresh()
        if self.has_begun:
            self.look()

    def _refresh(self) -> None:
        limits = self.limits
        self.is_active = bool(self.stops) or limits.is_wide or (self.is_account and limits != NO_LIMITS)
        self.is_watching = limits.max_drawdown is not None or limits.max_daily_loss is not None
        self.is_marked = bool(self.stops or limits.watched)
        if self.has_begun:
            self.engine.choose_watches()

    def begin(self) -> None:
        """The books are open, with their first equity."""
        self.has_begun = True
        self.peak = self.equity
        self._begin_day(self.peak, self.engine.clock_ns)

    def _begin_day(self, equity: float, now_ns: int) -> None:
        self.day_start = equity
        # Before the first event it is not known which day it is.
        self._day_ends_ns = (now_ns // _DAY_NS + 1) * _DAY_NS if now_ns else 0

    def transfer(self, amount: float) -> None:
        """What was moved into the book, or out of it, is no profit or loss: a drawdown stays the fraction that it is."""
        after = self.equity
        before = after - amount
        if before > 0.0 and after > 0.0:
            self.peak *= after / before
            self.day_start *= after / before
        else:
            # Of a book that has nothing there is no loss to count.
            self.peak = self.day_start = max(after, 0.0)
        self.look()

    # -- orders ------------------------------------------------------------------------------

    def check(
        self,
        desk: "Desk",
        market: "Market",
        signed: float,
        price: float,
        last_price: float,
        cost: Callable[[float], float],
        checks: list[Check],
    ) -> float:
        """The quantity that may be sent; adds each check that was made. Prices and costs are in the account's currency."""
        engine, limits, wanted = self.engine, self.limits, abs(signed)
        books = [reaches_of(one) for one in self.desks]
        own = books[next(index for index, one in enumerate(self.desks) if one is desk)]
        here = own.setdefault(market.symbol, Reach(0.0))
        reduces = exits_of(here.towards(signed), signed)
        exits = exits_of(here.quantity, signed)
        opens = wanted - reduces
        prefix = "account " if self.is_account else ""
        allowed = wanted
        if self.is_account:
            exposure = account_exposure(engine, books, own, market, signed, self.equity)
            allowed, basic = gate(limits, signed, price, last_price, exposure, cost)
            checks += [msgspec.structs.replace(check, name=prefix + check.name) for check in basic]
        if opens == 0.0:
            return allowed
        self.lift_what_is_over()
        if self.stops:
            stop = next(iter(self.stops.values()))
            left = wanted - exits
            checks.append(Check(f"{prefix}{stop.kind} ({stop.why})", left, 0.0, exits, passed=left == 0.0))
            return exits
        bounds = self._bounds(market, signed, price, opens, books, own) if limits.is_wide else ()
        for name, value, limit, fits in bounds:
            passed = fits >= opens
            left = max(exits, reduces + max(0.0, min(opens, fits)))
            checks.append(Check(prefix + name, value, limit, left, passed))
            if not passed:
                allowed = min(allowed, left)
        if limits.max_orders_per_minute is not None:
            sent = self.sent_lately(engine.clock_ns) + 1
            passed = sent <= limits.max_orders_per_minute
            name = prefix + "orders a minute"
            checks.append(
                Check(name, float(sent), float(limits.max_orders_per_minute), wanted if passed else exits, passed)
            )
            allowed = allowed if passed else min(allowed, exits)
        return allowed

    def _bounds(
        self, market: "Market", signed: float, price: float, opens: float, books: list[Reaches], own: Reaches
    ) -> Iterable[tuple[str, float, float, float]]:
        """Name, value with the order, limit, and how much of what it opens the limit leaves room for."""
        engine, limits, symbol = self.engine, self.limits, market.symbol
        side = 1.0 if signed > 0.0 else -1.0
        equity, notional = self.equity, opens * price
        here = own[symbol].towards(side)
        on_side = max(0.0, here * side)
        on_side += total(book[symbol].largest for book in books if book is not own and symbol in book)
        if limits.max_order_quantity is not None:
            yield "order quantity", opens, limits.max_order_quantity, limits.max_order_quantity
        if limits.max_position_quantity is not None:
            most = limits.max_position_quantity
            yield "position quantity", on_side + opens, most, most - on_side
        if limits.max_positions is not None:
            symbols = {one for book in books for one, reach in book.items() if reach.largest}
            others = len(symbols - {symbol})
            most = limits.max_positions
            yield "positions", others + 1.0, float(most), inf if others < most else 0.0
        if equity <= 0.0:
            return
        # Of this symbol only what is on the order's side adds to it; its other end was checked with its own orders.
        here_gross = on_side * price
        if limits.max_group_weight is not None:
            for group, symbols_of in limits.groups.items():
                if symbol in symbols_of:
                    most = limits.max_group_weight
                    gross = here_gross + gross_value(engine, books, [one for one in symbols_of if one != symbol])
                    yield f"group {group}", (gross + notional) / equity, most, (most * equity - gross) / price
        if limits.max_net_exposure is not None:
            most, net = limits.max_net_exposure, net_value(engine, books, side)
            # What the order closes moves the net to its side too.
            net += side * (abs(signed) - opens) * price
            yield "net exposure", abs(net + side * notional) / equity, most, (most * equity - side * net) / price
        if limits.max_leverage is not None:
            most = limits.max_leverage
            gross = here_gross + gross_value(engine, books, {one for book in books for one in book} - {symbol})
            yield "leverage", (gross + notional) / equity, most, (most * equity - gross) / price
        if limits.max_value_at_risk is not None:
            yield self._whole(
                "value at risk", limits.max_value_at_risk, self._value_at_risk, books, own[symbol], signed
            )
        if limits.max_correlated_exposure is not None:
            most, measured = limits.max_correlated_exposure, self._correlated
            yield self._whole("correlated exposure", most, measured, books, own[symbol], signed)

    def _whole(
        self,
        name: str,
        most: float,
        measured: Callable[[list[dict[str, float]]], float],
        books: list[Reaches],
        here: Reach,
        signed: float,
    ) -> tuple[str, float, float, float]:
        """A limit that an order meets whole or not at all; one that betters what is too much already may pass."""
        before = measured(_expected(books))
        here.quantity += signed
        after = measured(_expected(books))
        here.quantity -= signed
        # NaN is not known yet, and what is not known is not met.
        return name, after, most, inf if after <= most * (1.0 + _ROUNDING) or after <= before else 0.0

    def _value_at_risk(self, books: list[dict[str, float]]) -> float:
        return value_at_risk_of(self.engine, weights_of(self.engine, books, self.equity), self.limits)

    def _correlated(self, books: list[dict[str, float]]) -> float:
        return correlated_exposure(self.engine, weights_of(self.engine, books, self.equity), self.limits)

    def note_sent(self) -> None:
        """An order was sent."""
        if self.limits.max_orders_per_minute is not None:
            self._sent_ns.append(self.engine.clock_ns)

    def sent_lately(self, now_ns: int) -> int:
        sent = self._sent_ns
        while sent and sent[0] <= now_ns - _MINUTE_NS:
            sent.popleft()
        return len(sent)

    # -- losses ------------------------------------------------------------------------------

    def mark(self, mark_ns: int, next_ns: int) -> None:
        """An equity point was taken: look, and then let it be the new peak or, where the next event is of another
        day, that day's start."""
        self.lift_what_is_over()
        equity = self.equity
        self._look(equity)
        if equity > self.peak:
            self.peak = equity
        if not self._day_ends_ns:
            self._day_ends_ns = (mark_ns // _DAY_NS + 1) * _DAY_NS
        if next_ns >= self._day_ends_ns:
            self._begin_day(equity, next_ns)
            self.lift_what_is_over(next_ns)
        for name in self.limits.watched:
            if name not in OVER_TIME and name not in self.stops:
                limit = getattr(self.limits, name)
                value = present(self, name)
                if value > limit * (1.0 + _ROUNDING):
                    self._put(name, value, limit)
        self._flatten_on()
        self._watch_prices(equity)

    def look(self) -> None:
        """A price left its band, or the books changed."""
        if self.is_watching:
            equity = self.equity
            self._look(equity)
            self._watch_prices(equity)

    def note_trade(self, pnl: float) -> None:
        """A round trip ended."""
        self.losses = self.losses + 1 if pnl < 0.0 else 0
        most = self.limits.max_consecutive_losses
        if most is not None and self.losses >= most and "max_consecutive_losses" not in self.stops:
            self._put("max_consecutive_losses", float(self.losses), float(most))

    def _open_losses(self) -> Iterable[tuple[str, float, float]]:
        """The limits of losses that have put no stop yet: name, the equity that they are counted from, and bound."""
        limits = self.limits
        for name, start, limit in (
            ("max_drawdown", self.peak, limits.max_drawdown),
            ("max_daily_loss", self.day_start, limits.max_daily_loss),
        ):
            if limit is not None and name not in self.stops:
                yield name, start, limit

    def _look(self, equity: float) -> None:
        for name, start, limit in self._open_losses():
            if start > 0.0 and equity <= start * (1.0 - limit):
                self._put(name, 1.0 - equity / start, limit)

    def _watch_prices(self, equity: float) -> None:
        """Share what may still be lost out over the positions, as bands of their prices."""
        bands = self.engine.accounts.bands
        floors = [start * (1.0 - limit) for _, start, limit in self._open_losses()]
        held: dict[Market, float] = {}
        if floors:
            for desk in self.desks:
                for position in desk.book.open.values():
                    held[position.market] = held.get(position.market, 0.0) + position.quantity
        if not held:
            bands.forget(self)
            return
        left = max(0.0, equity - max(floors)) / len(held) * INSIDE
        found: dict[Market, Band] = {}
        for market, quantity in held.items():
            slope = abs(quantity) * market.price * market.rate
            move = left / slope if slope > 0.0 else inf
            if quantity > 0.0:
                found[market] = (market.price * (1.0 - move) if move < inf else -inf, inf)
            else:
                found[market] = (-inf, market.price * (1.0 + move) if move < inf else inf)
        bands.watch(self, found)

    # -- stops -------------------------------------------------------------------------------

    def _put(self, name: str, value: float, limit: float) -> None:
        kind = self.limits.stop_of(name)
        assert kind is not None
        engine, lifts_ns = self.engine, None
        if name == "max_daily_loss":
            lifts_ns = (engine.clock_ns // _DAY_NS + 1) * _DAY_NS
        elif self.limits.lift_after_s is not None:
            lifts_ns = engine.clock_ns + round(self.limits.lift_after_s * 1e9)
        self._begin(name, kind, stop_text(name, value, limit), value, limit, lifts_ns)

    def put_by_hand(self, kind: StopKind) -> None:
        """Stop the books by hand; who flattens has blocked the entries too."""
        if kind == "block_entries" and _BY_HAND in self.stops:
            return
        self._begin(_BY_HAND, kind, _BY_HAND, 0.0, 0.0, None)

    def _begin(self, name: str, kind: StopKind, why: str, value: float, limit: float, lifts_ns: int | None) -> None:
        engine = self.engine
        limit_name = "" if name == _BY_HAND else name
        stop = RiskStop(engine.clock_ns, self.name, kind, "began", limit_name, value, limit, why, lifts_ns)
        self.stops[name] = stop
        engine.records.stops.append(stop)
        self._refresh()
        for desk in self.desks:
            if kind == "flatten":
                desk.close_all(f"flatten: {why}")
            else:
                desk.cancel_entries(f"block_entries: {why}")

    def lift(self) -> None:
        """Lift all stops; losses are counted anew from here."""
        for name in list(self.stops):
            self._lift(name)

    def lift_what_is_over(self, clock_ns: int = 0) -> None:
        """Lift the stops whose stated time has come."""
        clock_ns = clock_ns or self.engine.clock_ns
        for name, stop in list(self.stops.items()) if self.stops else ():
            if stop.lifts_ns is not None and clock_ns >= stop.lifts_ns:
                self._lift(name, stop.lifts_ns)

    def _lift(self, name: str, time_ns: int | None = None) -> None:
        stop, equity = self.stops.pop(name), self.equity
        if name == "max_drawdown":
            self.peak = equity
        elif name == "max_daily_loss":
            self.day_start = equity
        elif name == "max_consecutive_losses":
            self.losses = 0
        if time_ns is None:
            time_ns = self.engine.clock_ns
        self.engine.records.stops.append(msgspec.structs.replace(stop, time_ns=time_ns, change="lifted"))
        self._refresh()
        if self.is_watching:
            self._watch_prices(equity)

    def _flatten_on(self) -> None:
        """A stop that flattens goes on until it is flat: what was refused or cancelled is sent again."""
        if not any(stop.kind == "flatten" for stop in self.stops.values()):
            return
        for desk in self.desks:
            closing = {
                working.order.symbol
                for working in self.engine.broker.open.values()
                if working.owner is desk and working.type is MARKET
            }
            if desk.book.open.keys() - closing:
                desk.close_all("flatten: not flat yet")


def _expected(books: list[Reaches]) -> list[dict[str, float]]:
    """Each position with the orders filled that will fill, and those that may and would make it larger."""
    found = []
    for reaches in books:
        book = {}
        for symbol, reach in reaches.items():
            quantity = reach.quantity
            book[symbol] = quantity + (reach.bought if quantity > 0.0 else -reach.sold if quantity < 0.0 else 0.0)
            if quantity == 0.0:
                book[symbol] = reach.bought if reach.bought >= reach.sold else -reach.sold
        found.append(book)
    return found
