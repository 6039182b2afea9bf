"""Keeps the books of an engine within their margin: nightly charges, margin calls, the end of an account.

A book can only come to harm with borrowed cash or a short position, so only such a book is watched: while all
prices are within their bands (see :mod:`qfkit.core.bands`), its equity is above the requirement.
"""

from math import inf
from typing import TYPE_CHECKING

from qfkit.core.bands import INSIDE, Band, PriceBands
from qfkit.core.currencies import Currencies, Rates
from qfkit.core.margin import DAYS_A_YEAR, Financing, Margin, MarginCall, initial_required
from qfkit.core.order_entry import send
from qfkit.core.orders import MARKET, Fill, Trade
from qfkit.core.portfolio import Position
from qfkit.core.snapshot import MarginView
from qfkit.core.steps import fit_quantity, whole_steps
from qfkit.core.wording import money

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.engine import Engine
    from qfkit.core.lanes import Track
    from qfkit.core.market import Market

__all__ = ["WIPED_OUT", "Accounts"]

WIPED_OUT = "wiped out"
"""The state of a strategy whose equity fell to zero: it never trades again."""

_DAY_NS = 86_400_000_000_000
_ROUNDING = 1e-9


class Accounts:
    """The watch over an engine's books. ``next_night_ns`` is the next midnight to charge, infinity without rates."""

    def __init__(self, engine: "Engine", currencies: Currencies | None) -> None:
        self._engine = engine
        self.rates = None if currencies is None else Rates(engine, currencies)
        self.rate_symbols = frozenset() if currencies is None else currencies.rate_symbols
        # The first event says where time begins.
        self.next_night_ns: float = 0 if engine.margin.has_rates else inf
        self.bands = PriceBands(self._is_rate)

    # -- when to look ------------------------------------------------------------------------

    def book(self, desk: "Desk", fill: Fill, market: "Market") -> Trade | None:
        """Book a fill, after the nights before it; the book is looked at before the event that filled is over."""
        if fill.time_ns > self.next_night_ns:
            self.charge(fill.time_ns - 1)
        book = desk.book
        trade = book.apply(fill, market)
        # Positions that were short before have the book watched already.
        if book.cash < 0.0 or book.positions[market.symbol].quantity < 0.0 or desk in self.bands.owned:
            self.bands.add(desk)
            market.floor = inf
        elif desk.limit_watch.is_watching or self._engine.limit_watch.is_watching:
            market.floor = inf
        return trade

    def look_at(self, market: "Market") -> None:
        """A price left its band, or a rate moved: look at all books that it touches."""
        touched = [market]
        if self.rates is not None and market in self.rates.sources:
            touched += self.rates.update(market)
        self.bands.apply(market)
        symbols = [one.symbol for one in touched]
        for desk in self._engine.desks.values():
            if desk in self.bands.owned or any(symbol in desk.book.open for symbol in symbols):
                self.look(desk)
        self._engine.look_at_limits()

    def missing_rate(self, market: "Market") -> str:
        """Why there is no order in a market whose currency has no rate."""
        return "" if self.rates is None else self.rates.missing(market.currency)

    def prices_known(self) -> None:
        """Prices came by another way than market events, so rates may be known now."""
        if self.rates is not None:
            self.rates.wire()

    def look_at_all(self) -> None:
        """Something else than a price changed the books: a charge, a dividend, a split."""
        for desk in self._engine.desks.values():
            self.look(desk)
        self._engine.look_at_limits()

    def news_of(self, track: "Track") -> None:
        """A symbol is new, or something new was said of it."""
        track.is_rate = track.symbol in self.rate_symbols
        if self.rates is not None:
            self.rates.wire()

    @staticmethod
    def _is_at_risk(desk: "Desk") -> bool:
        book = desk.book
        return book.cash < 0.0 or any(position.quantity < 0.0 for position in book.open.values())

    # -- looking -----------------------------------------------------------------------------

    def look(self, desk: "Desk") -> None:
        """Compare a book's equity with what its positions require, act, and set the bands anew."""
        if desk.state == WIPED_OUT or not self._is_at_risk(desk):
            self.bands.forget(desk)
            return
        equity = desk.book.equity
        if equity <= 0.0:
            self._wipe_out(desk, equity, f"equity {money(equity)} is not above zero")
            if self.equity <= 0.0:
                self.end_all()
            return
        desk.forced = [working for working in desk.forced if working.is_open]
        required = self._required(desk)
        if equity < required * (1.0 - _ROUNDING):
            self._call(desk, equity, required)
            required = self._required(desk)
        self._watch(desk, equity - required)

    def _required(self, desk: "Desk") -> float:
        """The maintenance margin, once the forced closes that are on their way have filled."""
        margin, required = self._engine.margin, 0.0
        for symbol, position in desk.book.open.items():
            required += margin.maintenance_of(position.quantity + desk.pending_forced(symbol), _price(position))
        return required

    def _watch(self, desk: "Desk", excess: float) -> None:
        """Share the excess out: no price of its own, with all others at their worst, brings it below zero."""
        margin, book = self._engine.margin, desk.book
        bands: dict[Market, Band] = {}
        share = max(0.0, excess) / max(1, len(book.open)) * INSIDE
        for position in book.open.values():
            market, quantity = position.market, position.quantity
            after = quantity + desk.pending_forced(market.symbol)
            price = _price(position)
            # How much the excess falls, for each unit that the price moves against the position.
            slope = abs(abs(quantity) * price - margin.maintenance_of(after, price) * (1.0 if quantity > 0.0 else -1.0))
            move = inf if slope == 0.0 else share / slope
            if quantity > 0.0:
                bands[market] = (market.price * (1.0 - move) if move < inf else -inf, inf)
            else:
                bands[market] = (-inf, market.price * (1.0 + move))
        self.bands.watch(desk, bands)

    def _is_rate(self, market: "Market") -> bool:
        return self.rates is not None and market in self.rates.sources

    # -- acting ------------------------------------------------------------------------------

    def _call(self, desk: "Desk", equity: float, required: float) -> None:
        """Close positions at the market until the initial margin holds, those that bind the most first."""
        engine, margin = self._engine, self._engine.margin
        why = f"margin call: equity {money(equity)} is below the maintenance margin {money(required)}"
        for working in list(engine.broker.open.values()):
            # What waits to reduce goes on protecting what is left; what is on its way would be in the way.
            protects = working.is_reduce_only and working.type is not MARKET
            if working.owner is desk and not protects and not working.is_forced:
                engine.broker.cancel(working, why, engine.clock_ns)
        held = []
        for symbol, position in desk.book.open.items():
            left = position.quantity + desk.pending_forced(symbol)
            if left:
                held.append((-margin.initial_of(left, _price(position)), symbol, left, position))
        shortfall = -equity
        for binds, *_ in held:
            shortfall -= binds
        done, order_ids = [], []
        for binds, symbol, left, position in sorted(held, key=lambda one: one[:2]):
            if shortfall <= 0.0:
                break
            size, market = abs(left), position.market
            cost = engine.cost_at(market.price, -left, market)(size) * market.rate
            # What one unit sets free, less what closing it costs.
            free = (-binds - cost) / size
            quantity = size if free <= 0.0 or shortfall >= free * size else _in_steps(market, shortfall / free, size)
            order_id = self._close(desk, market, -quantity if left > 0.0 else quantity, "margin call", why)
            if order_id is not None:
                order_ids.append(order_id)
                done.append(f"closes {quantity:.10g} of {symbol}")
                shortfall -= free * quantity
        if order_ids:
            engine.records.margin_calls.append(
                MarginCall(
                    engine.clock_ns, desk.name, "margin call", equity, required, 0.0, ", ".join(done), tuple(order_ids)
                )
            )

    def _wipe_out(self, desk: "Desk", equity: float, why: str) -> None:
        """Close all there is and stop the strategy for good."""
        engine = self._engine
        required = self._required(desk)
        desk.state = WIPED_OUT
        text = f"{WIPED_OUT}: {why}"
        desk.error = f"{desk.error}; {text}" if desk.error else text
        desk.cancel_all(text, forced=True)
        done, order_ids = [], []
        for symbol, position in list(desk.book.open.items()):
            order_id = self._close(desk, position.market, -position.quantity, WIPED_OUT, text)
            if order_id is not None:
                order_ids.append(order_id)
                done.append(f"closes {abs(position.quantity):.10g} of {symbol}")
        for track in engine.tracks.values():
            track.remove(desk)
        self.bands.forget(desk)
        owed = max(0.0, -equity)
        done.append("stopped for good")
        engine.records.margin_calls.append(
            MarginCall(engine.clock_ns, desk.name, WIPED_OUT, equity, required, owed, ", ".join(done), tuple(order_ids))
        )

    def _close(self, desk: "Desk", market: "Market", signed: float, action: str, why: str) -> int | None:
        working = send(desk, action, market, signed, market.price, reason=why, forced=True)
        if working is None:
            return None
        working.is_forced = True
        desk.forced.append(working)
        return working.order.order_id

    @property
    def equity(self) -> float:
        """Of the whole account."""
        equity = 0.0
        for desk in self._engine.desks.values():
            equity += desk.book.equity
        return equity

    def end_all(self) -> None:
        """The account has nothing left: what one strategy owes is more than all others have."""
        for desk in self._engine.desks.values():
            if desk.state != WIPED_OUT:
                why = f"the account's equity {money(self.equity)} is not above zero"
                self._wipe_out(desk, desk.book.equity, why)

    # -- nights ------------------------------------------------------------------------------

    def charge(self, until_ns: int) -> None:
        """Charge the midnights up to and including ``until_ns``, on the books and prices as they stand."""
        first_ns = self.next_night_ns
        if until_ns < first_ns:
            return
        self.next_night_ns = (until_ns // _DAY_NS + 1) * _DAY_NS
        if not first_ns:
            return
        nights = int((self.next_night_ns - first_ns) // _DAY_NS)
        last_ns = int(self.next_night_ns - _DAY_NS)
        for desk in self._engine.desks.values():
            if desk.state != WIPED_OUT:
                self._charge(desk, nights, last_ns)
        self.look_at_all()

    def _charge(self, desk: "Desk", nights: int, time_ns: int) -> None:
        margin, book, keep = self._engine.margin, desk.book, self._engine.records.financing.append
        balance = book.cash
        years = nights / DAYS_A_YEAR
        for symbol, position in book.open.items():
            if position.quantity >= 0.0:
                continue
            value = -position.quantity * _price(position)
            balance -= value
            rate = margin.borrow_rate_of(symbol)
            if rate:
                cost = value * rate * years
                book.cash -= cost
                book.borrow += cost
                keep(Financing(time_ns, desk.name, "borrow", symbol, value, rate, nights, -cost))
        rate = margin.cash_rate if balance > 0.0 else margin.loan_rate
        if balance and rate:
            amount = balance * rate * years
            book.cash += amount
            book.interest += amount
            keep(Financing(time_ns, desk.name, "interest", "", balance, rate, nights, amount))

    # -- what a person wants to see ----------------------------------------------------------

    def views(self) -> tuple[MarginView, ...]:
        """A view of each strategy, where there is margin to see or nothing left."""
        desks = self._engine.desks.values()
        if self._engine.margin == Margin() and not any(desk.state == WIPED_OUT for desk in desks):
            return ()
        return tuple(self._view(desk) for desk in desks)

    def _view(self, desk: "Desk") -> MarginView:
        book = desk.book
        equity = book.equity
        required = self._required(desk)
        return MarginView(
            strategy=desk.name,
            equity=equity,
            required=required,
            excess=equity - required,
            buying_power=self.buying_power(desk),
            leverage=book.gross_exposure / equity if equity > 0.0 else inf if book.open else 0.0,
            interest=book.interest,
            borrow=book.borrow,
            owed=max(0.0, -equity),
        )

    def buying_power(self, desk: "Desk") -> float:
        """What may still be bought, in the account's currency, before costs; 0 where nothing may."""
        margin, equity = self._engine.margin, desk.book.equity
        if desk.state == WIPED_OUT or equity <= 0.0:
            return 0.0
        if margin.initial is None:
            return max(0.0, desk.risk.gross_bound * equity - desk.book.gross_exposure)
        return max(0.0, equity - initial_required(self._engine, desk)) / margin.initial


def _price(position: Position) -> float:
    """In the account's currency."""
    return position.market.price * position.market.rate


def _in_steps(market: "Market", quantity: float, most: float) -> float:
    """At least this much in the symbol's steps; all of it where less is no order."""
    rules = market.rules
    if rules is not None:
        if rules.quantity_step is not None:
            quantity = whole_steps(quantity + rules.quantity_step, rules.quantity_step)
        if fit_quantity(quantity, market.price, rules)[1]:
            return most
    return most if quantity >= most * (1.0 - _ROUNDING) else quantity
