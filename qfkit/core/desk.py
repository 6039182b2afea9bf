"""A strategy's desk: turns its wishes into signals, and those that pass the risk gate into orders."""

from collections.abc import Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from qfkit.core.events import Bar
from qfkit.core.filters import enters
from qfkit.core.lanes import IndicatorSet
from qfkit.core.limit_watch import LimitWatch
from qfkit.core.market import Market
from qfkit.core.order_entry import ask_sizer, attach, change_is_refused, send
from qfkit.core.orders import (
    GTD,
    LIMIT,
    MARKET,
    STOP,
    STOP_LIMIT,
    TRAILING_STOP,
    Order,
    TimeInForce,
)
from qfkit.core.portfolio import Book, Position
from qfkit.core.protection import Protection, protect
from qfkit.core.rebalancing import Rebalancing, end, rebalance
from qfkit.core.risk import RiskLimits
from qfkit.core.sizing import Sized
from qfkit.core.steps import stepped_price, whole_steps
from qfkit.core.timeframes import timeframe_ns
from qfkit.core.working import WorkingOrder
from qfkit.errors import OrderError, StrategyError, did_you_mean

if TYPE_CHECKING:
    from qfkit.core.engine import Engine
    from qfkit.core.strategy import Strategy

__all__ = ["Desk"]

# A target this near to the position, as a fraction of the larger, is met already.
_NEAR = 1e-9
# A stop or target below this fraction of the price was meant as a fraction itself.
_LEAST_OF_PRICE = 0.05
_PRICES = ("limit_price", "stop_price", "trail", "trail_fraction", "stop_loss", "take_profit")


class Desk:
    """One strategy in the engine: its code, its book, its indicators and its orders.

    ``state`` is "running", "paused", "failed", "stopped" or "wiped out". ``forced`` are the orders that a
    margin call sent, ``protections`` the protective orders by symbol. ``entries`` are the last entries by
    symbol and side (``is_buy``) with the bar they were in, and ``lost_ns`` the times of the last losing trades
    by symbol, for the filters. One ``is_joining`` as long as it waits for its capital, and has not begun.
    """

    __slots__ = (
        "book",
        "engine",
        "entries",
        "error",
        "follows",
        "forced",
        "is_joining",
        "limit_watch",
        "lost_ns",
        "name",
        "named_sets",
        "protections",
        "rebalancing",
        "risk",
        "sets",
        "state",
        "strategy",
    )

    def __init__(self, engine: "Engine", name: str, strategy: "Strategy", book: Book, risk: RiskLimits) -> None:
        self.engine = engine
        self.name = name
        self.strategy = strategy
        self.book = book
        self.risk = risk
        self.limit_watch = LimitWatch(engine, name, risk, is_account=False)
        self.rebalancing: Rebalancing | None = None
        self.state = "running"
        self.error = ""
        self.sets: list[IndicatorSet[Any]] | tuple[IndicatorSet[Any], ...] = []
        self.named_sets: list[tuple[str, IndicatorSet[Any]]] = []
        self.follows: set[str] | frozenset[str] = set()
        self.forced: list[WorkingOrder] = []
        self.protections: dict[str, Protection] = {}
        self.is_joining = False
        self.entries: dict[tuple[str, bool], tuple[int, WorkingOrder]] = {}
        self.lost_ns: dict[str, int] = {}

    # -- what the strategy sees ------------------------------------------------------------

    @property
    def symbols(self) -> tuple[str, ...]:
        symbols, rates = self.engine.symbols, self.engine.accounts.rate_symbols
        return tuple(symbol for symbol in symbols if symbol not in rates) if rates else symbols

    @property
    def clock_ns(self) -> int:
        return self.engine.clock_ns

    def market(self, symbol: str) -> Market:
        """The market of a symbol, or an error that says which there are."""
        track = self.engine.tracks.get(symbol)
        if track is None:
            names = self.symbols
            hint = " yet" if symbol in names else f".{did_you_mean(symbol, names)}"
            raise OrderError(f"nothing was received for the symbol {symbol!r}{hint}")
        return track.market

    def position(self, symbol: str) -> Position:
        position = self.book.positions.get(symbol)
        return self.book.position(self.market(symbol)) if position is None else position

    def price(self, symbol: str) -> float:
        return self.market(symbol).price

    def bars(self, symbol: str, count: int, timeframe: str | None = None) -> list[Bar]:
        if symbol not in self.symbols:
            self.market(symbol)
        return self.kept_bars(symbol, count, timeframe)

    def kept_bars(self, symbol: str, count: int, timeframe: str | None = None) -> list[Bar]:
        """The latest closed bars, oldest first; none of a symbol that nothing was received for."""
        track = self.engine.tracks.get(symbol)
        if track is None:
            return []
        series = track.base if timeframe in (None, track.base.timeframe) else track.higher.get(timeframe)
        if series is None:
            raise StrategyError(
                f"{symbol}: no bars of timeframe={timeframe!r} are kept: name it in setup, "
                f"with self.follow({timeframe!r}) or self.indicator(..., timeframe={timeframe!r})"
            )
        kept = series.kept
        return [kept[index] for index in range(max(0, len(kept) - count), len(kept))]

    def open_orders(self) -> list[Order]:
        return [working.order for working in self.engine.broker.open.values() if working.owner is self]

    def indicator_values(self, symbol: str) -> dict[str, float]:
        """The present value of each named indicator of a symbol."""
        return {name: indicators[symbol].value for name, indicators in self.named_sets if symbol in indicators}

    # -- setting up ------------------------------------------------------------------------

    def declare(
        self, factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any], timeframe: str | None, source: str
    ) -> IndicatorSet[Any]:
        indicators: IndicatorSet[Any] = IndicatorSet(factory, args, kwargs, timeframe, source)
        if isinstance(self.sets, tuple):
            raise StrategyError(
                "self.indicator(...) works in setup only, which runs before the first event: move it there"
            )
        self.sets.append(indicators)
        return indicators

    def follow(self, timeframe: str) -> None:
        timeframe_ns(timeframe)
        if isinstance(self.follows, frozenset):
            raise StrategyError(
                "self.follow(...) works in setup only, which runs before the first event: move it there"
            )
        self.follows.add(timeframe)

    def timeframes(self) -> set[str]:
        """The timeframes, beside that of the run, that the strategy follows or has indicators of."""
        named = {indicators.timeframe for indicators in self.sets}
        return {timeframe for timeframe in named if timeframe not in (None, "tick")} | self.follows

    def name_sets(self) -> None:
        """Learn the names that ``setup`` gave to the indicators; there are no more to come."""
        self.sets, self.follows = tuple(self.sets), frozenset(self.follows)
        self.named_sets = [
            (name, value) for name, value in vars(self.strategy).items() if isinstance(value, IndicatorSet)
        ]

    # -- asking for orders -----------------------------------------------------------------

    def order(
        self,
        action: str,
        *,
        symbol: str,
        quantity: float | None,
        notional: float | None,
        weight: float | None,
        limit_price: float | None,
        stop_price: float | None,
        trail: float | None,
        trail_fraction: float | None,
        stop_loss: float | None,
        take_profit: float | None,
        time_in_force: TimeInForce | str,
        expires_ns: int | None,
        reason: str,
        by_hand: bool = False,
        is_dry: bool = False,
    ) -> int | None:
        """A buy or sell of any type; ``is_dry`` sends nothing and only raises for what makes no sense."""
        market = self.market(symbol)
        buy = action == "buy"
        for place, price in enumerate((limit_price, stop_price, trail, trail_fraction, stop_loss, take_profit)):
            if price is not None and not 0.0 < price < inf:
                raise OrderError(f"{action} {symbol}: {_PRICES[place]}={price!r} is not above zero and finite")
        for name, level in (("stop_loss", stop_loss), ("take_profit", take_profit)):
            if level is not None and level < _LEAST_OF_PRICE * market.price:
                raise OrderError(
                    f"{action} {symbol}: {name}={level!r} is a price, and the market is at {market.price!r}; "
                    "fractions are for protect(), as in protect(symbol, stop_loss=0.02)"
                )
        in_force = (
            time_in_force if type(time_in_force) is TimeInForce else _time_in_force(time_in_force, action, symbol)
        )
        if (in_force is GTD) != (expires_ns is not None):
            raise OrderError(f"{action} {symbol}: time_in_force='gtd' and expires_ns= go together")
        kind = MARKET
        if trail is not None or trail_fraction is not None:
            if limit_price is not None or stop_price is not None or (trail is not None and trail_fraction is not None):
                raise OrderError(
                    f"{action} {symbol}: a trailing stop takes trail= or trail_fraction= and no other price"
                )
            kind = TRAILING_STOP
        elif stop_price is not None:
            kind = STOP if limit_price is None else STOP_LIMIT
        elif limit_price is not None:
            kind = LIMIT
        expected = limit_price if limit_price is not None else stop_price if stop_price is not None else market.price
        sized = None
        if quantity is None and notional is None and weight is None:
            if not is_dry:
                sized = ask_sizer(self, market, 1.0 if buy else -1.0, entry_price=expected, stop_price=stop_loss)
            size = 0.0 if sized is None else sized.quantity
        else:
            size = self._size(market, quantity, notional, weight)
            if size <= 0.0:
                raise OrderError(f"{action} {symbol}: a size of {size!r} is not above zero")
        for name, level, above in (("stop_loss", stop_loss, not buy), ("take_profit", take_profit, buy)):
            if level is not None and (level <= expected if above else level >= expected):
                side = "above" if above else "below"
                raise OrderError(f"{action} {symbol}: {name}={level!r} must be {side} the entry at {expected!r}")
        if is_dry:
            return None
        working = send(
            self,
            action,
            market,
            size if buy else -size,
            expected,
            kind=kind,
            limit_price=limit_price,
            stop_price=stop_price,
            trail=trail if trail is not None else trail_fraction,
            trail_is_fraction=trail_fraction is not None,
            time_in_force=in_force,
            expires_ns=expires_ns,
            take_profit=take_profit,
            reason=reason,
            by_hand=by_hand,
            sized=sized,
        )
        if working is None:
            return None
        if working.order.quantity < size and not enters(self, market, working):
            # Cut down to an exit, it has nothing that a stop-loss could protect.
            return working.order.order_id
        if stop_loss is not None:
            attach(self, working, STOP, stop_loss, "stop-loss")
        if take_profit is not None:
            attach(self, working, LIMIT, take_profit, "take-profit")
        return working.order.order_id

    def order_target(
        self,
        symbol: str,
        *,
        quantity: float | None = None,
        notional: float | None = None,
        weight: float | None = None,
        reason: str,
        action: str = "target",
        sized: Sized | None = None,
    ) -> int | None:
        """A market order to a signed target; replaces a market order that still works."""
        market = self.market(symbol)
        if market.price != market.price:
            raise OrderError(f"order_target {symbol}: there is no price yet")
        if quantity is None and notional is None and weight is None:
            sized = ask_sizer(self, market, 1.0)
            target = sized.quantity
        else:
            target = self._size(market, quantity, notional, weight)
        end(self, symbol)
        if market.working:
            for working in [one for one in market.working if one.owner is self]:
                if working.order.type is MARKET and not working.is_forced:
                    self.engine.broker.cancel(working, "replaced by a new target", self.clock_ns)
        position = self.book.positions.get(symbol)
        held = 0.0 if position is None else position.quantity
        if self.forced:
            held += self.pending_forced(symbol)
        change = target - held
        if abs(change) <= _NEAR * max(abs(target), abs(held)):
            if sized is not None and sized.reason:
                send(self, action, market, 0.0, market.price, reason=reason, sized=sized)
            return None
        sent = send(self, action, market, change, market.price, reason=reason, sized=sized)
        return None if sent is None else sent.order.order_id

    def rebalance(self, weights: Mapping[str, float], **options: Any) -> Any:
        """Targets for a whole book; see :mod:`qfkit.core.rebalancing`."""
        return rebalance(self, weights, **options)

    def close(self, symbol: str, *, reason: str, by_hand: bool = False) -> int | None:
        """Cancel everything of this strategy in a symbol and go flat."""
        self.cancel_all(f"closing the position: {reason}", symbol)
        held = self.position(symbol).quantity + self.pending_forced(symbol)
        if held == 0.0:
            return None
        market = self.market(symbol)
        sent = send(self, "close", market, -held, market.price, reason=reason, by_hand=by_hand)
        return None if sent is None else sent.order.order_id

    def protect(self, symbol: str, **options: Any) -> list[int]:
        """Protective orders on a position; see :mod:`qfkit.core.protection`."""
        return protect(self, symbol, **options)

    def close_all(self, reason: str) -> None:
        """Cancel all orders and close all positions at the market, paused or not; the strategy cannot take it back."""
        self.cancel_all(reason)
        self.forced = [working for working in self.forced if working.is_open]
        for symbol, position in list(self.book.open.items()):
            market, held = self.market(symbol), position.quantity + self.pending_forced(symbol)
            if held:
                working = send(self, "flatten", market, -held, market.price, reason=reason, forced=True)
                if working is not None:
                    working.is_forced = True
                    self.forced.append(working)

    def cancel(self, order_id: int, *, reason: str) -> None:
        working = self.engine.broker.open.get(order_id)
        if working is not None and working.owner is self and not working.is_forced:
            self.engine.broker.cancel(working, reason, self.clock_ns)

    def cancel_all(self, reason: str, symbol: str | None = None, *, forced: bool = False, by_hand: bool = True) -> None:
        """Cancel the working orders; those of a margin call only where ``forced``, the user's where ``by_hand``."""
        end(self, symbol)
        for working in list(self.engine.broker.open.values()):
            if working.owner is not self or symbol not in (None, working.order.symbol):
                continue
            if forced >= working.is_forced and by_hand >= working.is_by_hand:
                self.engine.broker.cancel(working, reason, self.clock_ns)

    def cancel_entries(self, reason: str) -> None:
        """Cancel the working orders that would enter; those that would exit stay, and only ever reduce."""
        end(self)
        for working in list(self.engine.broker.open.values()):
            if working.owner is self and not working.is_reduce_only:
                held = self.book.position(working.market).quantity
                if held * (1.0 if working.is_buy else -1.0) >= 0.0:
                    self.engine.broker.cancel(working, reason, self.clock_ns)
                else:
                    working.is_reduce_only = True

    def pending_forced(self, symbol: str) -> float:
        """What the closing orders of a margin call have yet to change of a position, signed."""
        change = 0.0
        for working in self.forced:
            if working.is_open and working.order.symbol == symbol:
                change += working.remaining if working.is_buy else -working.remaining
        return change

    @property
    def buying_power(self) -> float:
        return self.engine.accounts.buying_power(self)

    def mine(self, order_id: int, hint: str = "; open are those in self.orders") -> WorkingOrder:
        """An open order that may be changed, or an error that says why there is none."""
        working = self.engine.broker.open.get(order_id)
        if working is None or working.owner is not self:
            raise OrderError(f"order {order_id!r} is not an open order of {self.name}{hint}")
        if working.is_forced:
            raise OrderError(
                f"order {order_id!r} is a margin call's or a flatten's: it can be neither changed nor taken back"
            )
        return working

    def modify(
        self, order_id: int, *, quantity: float | None, limit_price: float | None, stop_price: float | None
    ) -> None:
        for name, value in (("quantity", quantity), ("limit_price", limit_price), ("stop_price", stop_price)):
            if value is not None and not 0.0 < value < inf:
                raise OrderError(f"order {order_id}: {name}={value!r} is not above zero and finite")
        working = self.mine(order_id)
        protection = self.protections.get(working.order.symbol)
        if protection is not None and working in protection.orders:
            protection.move(working, quantity)
        rules = working.market.rules
        if quantity is not None and rules is not None and rules.quantity_step is not None:
            quantity = whole_steps(quantity, rules.quantity_step)
        limit_price = stepped_price(limit_price, rules, is_down=working.is_buy)
        stop_price = stepped_price(stop_price, rules, is_down=not working.is_buy)
        if change_is_refused(self, working, quantity, limit_price, stop_price):
            return
        self.engine.broker.modify(
            working, quantity=quantity, limit_price=limit_price, stop_price=stop_price, clock_ns=self.clock_ns
        )

    def one_cancels_other(self, order_ids: Iterable[int | None]) -> None:
        self.engine.broker.link([self.mine(order_id) for order_id in order_ids if order_id is not None])

    def _size(self, market: Market, quantity: float | None, notional: float | None, weight: float | None) -> float:
        given = (quantity is not None) + (notional is not None) + (weight is not None)
        if given > 1:
            raise OrderError(f"{market.symbol}: give one of quantity=, notional= and weight=, not {given}")
        if quantity is not None:
            size = quantity
        elif notional is not None:
            size = notional / (market.price * market.rate)
        else:
            assert weight is not None
            size = weight * self.book.equity / (market.price * market.rate)
        # Without a rate the wish is kept, with an unknown size, and rejected.
        if not -inf < size < inf and market.rate == market.rate:
            if market.price != market.price:
                raise OrderError(f"{market.symbol}: there is no price yet to size an order by")
            raise OrderError(f"{market.symbol}: the size {size!r} is no finite number")
        return size


def _time_in_force(given: str, action: str, symbol: str) -> TimeInForce:
    try:
        return TimeInForce(given)
    except ValueError:
        known = ", ".join(TimeInForce)
        raise OrderError(f"{action} {symbol}: time_in_force={given!r} is none of {known}") from None
