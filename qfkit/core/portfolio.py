"""Cash, positions, profit and loss: one book a strategy, and the account over them.

At every event, for each book: cash + positions at market = starting cash + transferred + realised +
unrealised - fees + interest - borrow, all in the account's currency. A position in another one is worth
quantity * price * rate; what it cost is kept at the rates of its fills, so what the rate does is part of
unrealised and realised.
"""

from collections.abc import Collection, Iterable, Mapping
from math import inf

from qfkit.core.market import Market
from qfkit.core.orders import BUY, Fill, Trade
from qfkit.errors import ParameterError

__all__ = ["Book", "Portfolio", "Position", "cash_shares", "total"]

# A residue this small against the fill that left it is rounding, not a position.
_DUST = 1e-12


def total(values: Iterable[float]) -> float:
    """Add from left to right. The built-in ``sum`` of floats rounds otherwise from Python 3.12
    on, and a journal must replay to the last bit under any version."""
    result = 0.0
    for value in values:
        result += value
    return result


class Position:
    """One book's holding of one symbol. ``quantity`` is negative for a short.

    ``average_price`` is that of the open quantity (0.0 when flat), in the symbol's currency, ``average_cost``
    the same in the account's; ``realised`` is before fees.
    ``highest`` and ``lowest`` are the prices seen since the last fill, while it is open.
    """

    __slots__ = (
        "_entry_cost",
        "_entry_notional",
        "_entry_quantity",
        "_entry_time_ns",
        "_exit_notional",
        "_exit_quantity",
        "_exit_value",
        "_trade_best",
        "_trade_dividends",
        "_trade_fees",
        "_trade_worst",
        "average_cost",
        "average_price",
        "fees",
        "filled_ns",
        "highest",
        "lowest",
        "market",
        "quantity",
        "realised",
    )

    def __init__(self, market: Market) -> None:
        self.market = market
        self.quantity = 0.0
        self.average_price = 0.0
        self.average_cost = 0.0
        self.realised = 0.0
        self.fees = 0.0
        self.filled_ns = 0
        self.highest = -inf
        self.lowest = inf
        self._start_trade(0)

    def _start_trade(self, time_ns: int) -> None:
        self._entry_time_ns = time_ns
        self._entry_quantity = 0.0
        self._entry_notional = 0.0
        self._entry_cost = 0.0
        self._exit_quantity = 0.0
        self._exit_notional = 0.0
        self._exit_value = 0.0
        self._trade_fees = 0.0
        self._trade_dividends = 0.0
        self._trade_worst = 0.0
        self._trade_best = 0.0

    @property
    def symbol(self) -> str:
        return self.market.symbol

    @property
    def market_value(self) -> float:
        """Signed value at the last price, in the account's currency."""
        return self.quantity * self.market.price * self.market.rate if self.quantity else 0.0

    @property
    def unrealised(self) -> float:
        if not self.quantity:
            return 0.0
        return self.quantity * (self.market.price * self.market.rate - self.average_cost)

    def __bool__(self) -> bool:
        return self.quantity != 0.0

    def __repr__(self) -> str:
        return f"Position({self.symbol}, quantity={self.quantity:g}, average_price={self.average_price:g})"

    def apply(self, fill: Fill) -> Trade | None:
        """Take a fill in; return the round trip that it ended, if it ended one."""
        signed = fill.quantity if fill.side is BUY else -fill.quantity
        before = self.quantity
        after = before + signed
        if abs(after) <= _DUST * fill.quantity:
            after = 0.0
        self.fees += fill.fee
        if before:
            self._settle_extremes()
        # The market's price and not the fill's: slippage is a loss from the first moment.
        self.highest = self.lowest = fill.market_price
        self.filled_ns = fill.time_ns
        price, cost = fill.price, fill.price * fill.rate
        trade: Trade | None = None
        if before == 0.0 or (before > 0.0) == (signed > 0.0):
            if before == 0.0:
                self._start_trade(fill.time_ns)
            self._enter(fill.quantity, price, cost, fill.fee)
            self.average_price = (abs(before) * self.average_price + fill.quantity * price) / abs(after)
            self.average_cost = (abs(before) * self.average_cost + fill.quantity * cost) / abs(after)
        else:
            closed = min(fill.quantity, abs(before))
            direction = 1.0 if before > 0.0 else -1.0
            self.realised += closed * (cost - self.average_cost) * direction
            closing_fee = fill.fee * (closed / fill.quantity)
            self._exit_quantity += closed
            self._exit_notional += closed * price
            self._exit_value += closed * cost
            self._trade_fees += closing_fee
            if after == 0.0 or (after > 0.0) != (before > 0.0):
                trade = self._end_trade(fill, direction)
                self._start_trade(fill.time_ns)
                self.average_price = self.average_cost = 0.0
                if after != 0.0:
                    self._enter(abs(after), price, cost, fill.fee - closing_fee)
                    self.average_price, self.average_cost = price, cost
        self.quantity = after
        return trade

    def split(self, split: float) -> None:
        """Have ``split`` new shares for each old one; what it cost stays the same."""
        self._settle_extremes()
        self.quantity *= split
        self.average_price /= split
        self.average_cost /= split
        self._entry_quantity *= split
        self._exit_quantity *= split

    def pay_dividend(self, per_share: float) -> float:
        """Take the dividend in (a short pays it), as realised; returns the cash."""
        self._settle_extremes()
        cash = self.quantity * per_share * self.market.rate
        self.realised += cash
        self._trade_dividends += cash
        return cash

    def _settle_extremes(self) -> None:
        """Take in what the trade came to at the extremes of the price, before it becomes another trade or price."""
        held = self.quantity
        if held and self.lowest <= self.highest:
            moved = self._exit_value - self._entry_cost
            rate = self.market.rate
            so_far = (moved if held > 0.0 else -moved) + self._trade_dividends
            at_lowest, at_highest = so_far + held * self.lowest * rate, so_far + held * self.highest * rate
            self._note(at_lowest)
            self._note(at_highest)
        self.highest, self.lowest = -inf, inf

    def _note(self, profit: float) -> None:
        if profit < self._trade_worst:
            self._trade_worst = profit
        elif profit > self._trade_best:
            self._trade_best = profit

    def _enter(self, quantity: float, price: float, cost: float, fee: float) -> None:
        self._entry_quantity += quantity
        self._entry_notional += quantity * price
        self._entry_cost += quantity * cost
        self._trade_fees += fee

    def _end_trade(self, fill: Fill, direction: float) -> Trade:
        gross = (self._exit_value - self._entry_cost) * direction
        pnl = gross - self._trade_fees
        pnl += self._trade_dividends
        self._note(gross + self._trade_dividends)
        return Trade(
            symbol=fill.symbol,
            side="long" if direction > 0.0 else "short",
            quantity=self._entry_quantity,
            entry_time_ns=self._entry_time_ns,
            exit_time_ns=fill.time_ns,
            entry_price=self._entry_notional / self._entry_quantity,
            exit_price=self._exit_notional / self._exit_quantity,
            fees=self._trade_fees,
            pnl=pnl,
            return_=pnl / self._entry_cost,
            strategy=fill.strategy,
            max_adverse_excursion=self._trade_worst,
            max_favourable_excursion=self._trade_best,
            entry_rate=self._entry_cost / self._entry_notional,
        )


class Book:
    """One strategy's money: its cash, its positions, what it earned and paid.

    ``interest`` is what cash earned less what borrowed cash cost, ``borrow`` what borrowed shares cost.
    """

    __slots__ = (
        "borrow",
        "cash",
        "fees",
        "interest",
        "losing_streak",
        "lost_return",
        "open",
        "positions",
        "realised",
        "starting_cash",
        "trades_count",
        "transferred",
        "winning_trades",
        "won_return",
    )

    def __init__(self, starting_cash: float) -> None:
        self.starting_cash = starting_cash
        self.cash = starting_cash
        self.realised = 0.0
        self.fees = 0.0
        # What other strategies' books gave, less what was given to them.
        self.transferred = 0.0
        self.interest = 0.0
        self.borrow = 0.0
        self.trades_count = 0
        self.winning_trades = 0
        # The returns of the trades that won and lost, added up, and how many lost in a row just now.
        self.won_return = self.lost_return = 0.0
        self.losing_streak = 0
        self.positions: dict[str, Position] = {}
        self.open: dict[str, Position] = {}

    def position(self, market: Market) -> Position:
        """The position in a market, flat if there never was one."""
        position = self.positions.get(market.symbol)
        if position is None:
            position = self.positions[market.symbol] = Position(market)
        return position

    def apply(self, fill: Fill, market: Market) -> Trade | None:
        """Book a fill; return the round trip that it ended, if it ended one."""
        position = self.position(market)
        before = position.realised
        was_open = position.quantity != 0.0
        trade = position.apply(fill)
        notional = fill.quantity * fill.price * fill.rate
        self.cash += (-notional if fill.side is BUY else notional) - fill.fee
        self.realised += position.realised - before
        self.fees += fill.fee
        if position.quantity:
            self.open[fill.symbol] = position
            if not was_open:
                market.held.append(position)
        elif was_open:
            del self.open[fill.symbol]
            market.held.remove(position)
        if trade is not None:
            self.trades_count += 1
            if trade.pnl > 0.0:
                self.winning_trades += 1
                self.won_return += trade.return_
                self.losing_streak = 0
            else:
                self.lost_return -= trade.return_
                self.losing_streak += 1
        return trade

    def transfer(self, amount: float) -> None:
        """Take cash from another strategy's book, or give it (negative); it is no profit."""
        self.cash += amount
        self.transferred += amount

    @property
    def pnl(self) -> float:
        """Profit and loss since the start after fees, transfers left out."""
        return self.equity - self.starting_cash - self.transferred

    def pay_dividend(self, symbol: str, per_share: float) -> None:
        """Book a dividend on the open position in a symbol, if there is one."""
        position = self.open.get(symbol)
        if position is not None and per_share:
            cash = position.pay_dividend(per_share)
            self.cash += cash
            self.realised += cash

    @property
    def equity(self) -> float:
        """Cash plus open positions at the last prices."""
        equity = self.cash
        for position in self.open.values():
            equity += position.quantity * position.market.price * position.market.rate
        return equity

    @property
    def unrealised(self) -> float:
        return total(position.unrealised for position in self.open.values())

    @property
    def gross_exposure(self) -> float:
        """The sum of the absolute values of the open positions."""
        return total(abs(position.market_value) for position in self.open.values())

    @property
    def net_exposure(self) -> float:
        return total(position.market_value for position in self.open.values())


class Portfolio:
    """The account: the sum of its strategies' books. What ``self.portfolio`` shows is one book."""

    __slots__ = ("books",)

    def __init__(self, books: Iterable[Book]) -> None:
        self.books = tuple(books)

    def _sum(self, name: str) -> float:
        return total(getattr(book, name) for book in self.books)

    @property
    def starting_cash(self) -> float:
        return self._sum("starting_cash")

    @property
    def cash(self) -> float:
        return self._sum("cash")

    @property
    def equity(self) -> float:
        return self._sum("equity")

    @property
    def realised(self) -> float:
        return self._sum("realised")

    @property
    def unrealised(self) -> float:
        return self._sum("unrealised")

    @property
    def fees(self) -> float:
        return self._sum("fees")

    @property
    def interest(self) -> float:
        return self._sum("interest")

    @property
    def borrow(self) -> float:
        return self._sum("borrow")


def cash_shares(strategies: Collection[str], shares: Mapping[str, float] | None) -> Mapping[str, float]:
    """Each strategy's fraction of the cash; equal if none are given."""
    if shares is None:
        return {name: 1.0 / len(strategies) for name in strategies}
    if set(shares) != set(strategies):
        raise ParameterError(f"shares are for {sorted(shares)}, the strategies are {sorted(strategies)}: name the same")
    if any(not 0.0 < share <= 1.0 for share in shares.values()) or sum(shares.values()) > 1.0 + 1e-9:
        raise ParameterError(f"shares={dict(shares)!r}: each must be above 0, all together at most 1")
    return shares
