"""The short way of a signal function over one symbol's bars: a loop over the changes of its target.

It does the engine's arithmetic, the same operations in the same order, so that its fills and its
equity equal the engine's to the last bit; a test holds it to that. Where anything but the plain
case could come up it declines, and the engine runs. Records are made when they are asked for.
"""

from collections.abc import Callable
from functools import cached_property
from math import isfinite, nan
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from qfkit.core.assessment import RiskAssessment
from qfkit.core.costs import Commission, Costs
from qfkit.core.engine import Engine
from qfkit.core.events import Bar
from qfkit.core.limit_stops import RiskStop
from qfkit.core.margin import Financing, Margin, MarginCall
from qfkit.core.market import Market, see_price
from qfkit.core.orders import Fill, Order, OrderStatus, OrderType, Side, Signal, Trade, Transfer
from qfkit.core.portfolio import Book
from qfkit.core.records import Fault
from qfkit.core.risk import Exposure, RiskLimits, gate
from qfkit.core.sizing import FixedQuantity, FractionOfEquity
from qfkit.frames import bars_of
from qfkit.research.signal import changes, why
from qfkit.tables import BarColumns, EquityColumns, FillColumns, Floats

__all__ = ["FastRecords", "fast_run"]

Rows: TypeAlias = NDArray[np.int64]

# The engine's: desk._NEAR, portfolio._DUST, risk._ROUNDING.
_NEAR = 1e-9
_DUST = 1e-12
_ROUNDING = 1e-12


class _Steps(msgspec.Struct, frozen=True):
    """The decisions that gave a signal: at which row's close, to what weight, the quantity sent
    (0.0: refused), and cash and position once it filled at the next open."""

    rows: Rows
    weights: Floats
    buys: NDArray[np.bool_]
    sent: Floats
    cash: Floats
    held: Floats


class _Terms(msgspec.Struct, frozen=True):
    """What the loop needs of the costs: fees as ``max(minimum, quantity * (rate * price + per_share))``."""

    buy_factor: float
    sell_factor: float
    rate: float
    per_share: float
    minimum: float
    most: float


def fast_run(engine: Engine, columns: BarColumns, targets: Floats) -> "FastRecords | None":
    """The run of the engine's one strategy over these targets; None where it takes the engine to know."""
    terms = _terms(engine.costs, engine.risk)
    if engine.limit_watch.is_active or engine.filters is not None:
        return None
    if engine.margin != Margin() or engine.accounts.rates is not None:
        return None
    if engine.has_own_sizer and type(engine.sizer) not in (FixedQuantity, FractionOfEquity):
        return None
    if terms is None or engine.costs.latency_ns > int((columns.close_ns - columns.open_ns).min()):
        return None
    rows, weights = changes(targets)
    (desk,) = engine.desks.values()
    cash = desk.book.cash
    steps = None
    if isinstance(engine.sizer, FixedQuantity):
        steps = _all_at_once(rows, weights, engine.sizer.quantity, cash, columns, terms)
    if steps is None:
        steps = _one_by_one(rows, weights, engine, cash, columns, terms)
    filled = steps.rows < len(columns) - 1
    if engine.costs.participation is not None:
        offered = columns.volume[steps.rows[filled] + 1] * engine.costs.participation
        if (steps.sent[filled] > offered).any():
            return None
    if len(steps.cash) and not isfinite(float(steps.cash[-1])):
        return None
    records = FastRecords(engine, columns, steps, terms, cash)
    if (records.equity_columns().account <= 0.0).any():
        return None
    return records


def _size_of(engine: Engine) -> Callable[[float, float], float] | None:
    """The quantity of the run's own sizer, which is one of the two plain ones, from equity and price."""
    sizer = engine.sizer
    if not engine.has_own_sizer:
        return None
    if isinstance(sizer, FixedQuantity):
        fixed = sizer.quantity
        return lambda *_: fixed
    assert isinstance(sizer, FractionOfEquity)
    fraction = sizer.fraction
    return lambda equity, price: fraction * equity / price


def _terms(costs: Costs, risk: RiskLimits) -> _Terms | None:
    """None where a callable, a latency that varies, an impact or a limit beyond the gross exposure has a say."""
    if not isinstance(costs.slippage_bps, int | float) or not isinstance(costs.latency_s, int | float):
        return None
    if costs.impact is not None:
        return None
    if replace(risk, max_gross_exposure=None, price_collar=None) != RiskLimits(price_collar=None):
        return None
    commission = costs.commission_of()
    if commission is None:
        commission = Commission()
    if type(commission) is not Commission:
        return None
    fraction = costs.slippage_bps / 10_000
    return _Terms(
        1.0 + fraction,
        1.0 - fraction,
        commission.rate,
        commission.per_share,
        commission.minimum,
        risk.gross_bound,
    )


def _one_by_one(rows: Rows, weights: Floats, engine: Engine, cash: float, columns: BarColumns, terms: _Terms) -> _Steps:
    """Each change in turn: the size depends on the equity, and that on the fills before."""
    buy_factor, sell_factor, most = terms.buy_factor, terms.sell_factor, terms.most
    rate, per_share, minimum = terms.rate, terms.per_share, terms.minimum
    size = _size_of(engine)
    last = len(columns) - 1
    opens = columns.open[np.minimum(rows + 1, last)].tolist()
    closes = columns.close[rows].tolist()
    kept: list[int] = []
    all_buys: list[bool] = []
    all_sent: list[float] = []
    all_cash: list[float] = []
    all_held: list[float] = []
    held = 0.0
    number = -1
    for row, weight, price, opened in zip(rows.tolist(), weights.tolist(), closes, opens, strict=True):
        number += 1
        equity = cash + held * price
        target = weight * equity / price if size is None else weight * size(equity, price)
        change = target - held
        wanted = change if change > 0.0 else -change
        larger = target if target > 0.0 else -target
        size_held = held if held > 0.0 else -held
        if wanted <= _NEAR * (larger if larger > size_held else size_held):
            continue
        buy = change > 0.0
        # The risk gate: what reduces passes, what opens must fit into the equity with its costs.
        if held * change < 0.0:
            reduces = wanted if wanted < size_held else size_held
            used = 0.0
        else:
            reduces = 0.0
            used = size_held * price
        opening = wanted - reduces
        sent = wanted
        if opening != 0.0:
            room = 0.0
            if equity > 0.0:
                power = most * equity - used
                if power > 0.0:
                    slipped = price * buy_factor if buy else price * sell_factor
                    fee = opening * (rate * slipped + per_share)
                    if fee < minimum:
                        fee = minimum
                    expected = opening * abs(slipped - price) + fee
                    if opening * price + expected <= power * (1.0 + _ROUNDING):
                        room = opening
                    else:
                        room = (power - expected) / price
                        if room < 0.0:
                            room = 0.0
            sent = reduces + (room if room < opening else opening)
        kept.append(number)
        all_buys.append(buy)
        all_sent.append(sent)
        if sent > 0.0 and row != last:
            if buy:
                fill_price = opened * buy_factor
                notional = -(sent * fill_price)
                after = held + sent
            else:
                fill_price = opened * sell_factor
                notional = sent * fill_price
                after = held - sent
            fee = sent * (rate * fill_price + per_share)
            cash += notional - (fee if fee > minimum else minimum)
            held = 0.0 if abs(after) <= _DUST * sent else after
        all_cash.append(cash)
        all_held.append(held)
    if len(kept) != len(rows):
        taken = np.array(kept, dtype=np.int64)
        rows, weights = rows[taken], weights[taken]
    return _Steps(
        rows, weights, np.array(all_buys, dtype=bool), np.array(all_sent), np.array(all_cash), np.array(all_held)
    )


def _all_at_once(
    rows: Rows, weights: Floats, quantity: float, cash: float, columns: BarColumns, terms: _Terms
) -> _Steps | None:
    """A fixed quantity whose steps add up exactly, within all limits: no loop at all. None otherwise."""
    if len(weights) and weights[0] == 0.0:
        rows, weights = rows[1:], weights[1:]
    target = weights * quantity
    before = np.concatenate(([0.0], target[:-1]))[: len(target)]
    change = target - before
    wanted = np.abs(change)
    if (wanted <= _NEAR * np.maximum(np.abs(target), np.abs(before))).any() or (before + change != target).any():
        return None
    if ((np.abs(target) <= _DUST * wanted) & (target != 0.0)).any():
        return None
    against = before * change < 0.0
    reduces = np.where(against, np.minimum(wanted, np.abs(before)), 0.0)
    opening = wanted - reduces
    if (reduces + opening != wanted).any():
        return None
    buy = change > 0.0
    fills = rows < len(columns) - 1
    fill_price = columns.open[np.minimum(rows + 1, len(columns) - 1)] * np.where(
        buy, terms.buy_factor, terms.sell_factor
    )
    notional = wanted * fill_price
    fee = np.maximum(terms.minimum, wanted * (terms.rate * fill_price + terms.per_share))
    step = np.where(fills, np.where(buy, -notional, notional) - fee, 0.0)
    # accumulate adds from left to right, as the book does.
    after = np.add.accumulate(np.concatenate(([cash], step)))
    price = columns.close[rows]
    equity = after[:-1] + before * price
    power = terms.most * equity - np.where(against, 0.0, np.abs(before) * price)
    slipped = price * np.where(buy, terms.buy_factor, terms.sell_factor)
    opening_fee = np.maximum(terms.minimum, opening * (terms.rate * slipped + terms.per_share))
    need = opening * price + (opening * np.abs(slipped - price) + opening_fee)
    fits = (opening == 0.0) | ((equity > 0.0) & (power > 0.0) & (need <= power * (1.0 + _ROUNDING)))
    if not fits.all():
        return None
    return _Steps(rows, weights, buy, wanted, after[1:], np.where(fills, target, before))


class FastRecords:
    """The records of a run without an engine, each list made when it is first asked for."""

    def __init__(self, engine: Engine, columns: BarColumns, steps: _Steps, terms: _Terms, cash: float) -> None:
        self._engine = engine
        self._columns = columns
        self._steps = steps
        self._terms = terms
        self._cash = cash
        (self._name,) = engine.desks
        self.faults: list[Fault] = []
        self.assessments: list[RiskAssessment] = []
        self.transfers: list[Transfer] = []
        self.margin_calls: list[MarginCall] = []
        self.financing: list[Financing] = []
        self.stops: list[RiskStop] = []

    def equity_columns(self) -> EquityColumns:
        """Equity at each close; between two fills cash and position stand still."""
        columns, steps = self._columns, self._steps
        count = len(columns)
        from_row = np.minimum(steps.rows + 1, count)
        spans = np.diff(np.concatenate(([0], from_row, [count])))
        equity = np.repeat(np.concatenate(([0.0], steps.held)), spans)
        equity *= columns.close
        equity += np.repeat(np.concatenate(([self._cash], steps.cash)), spans)
        return EquityColumns(columns.close_ns, equity.reshape(-1, 1))

    def fill_columns(self) -> FillColumns:
        """The fills without a record each."""
        columns, steps, terms = self._columns, self._steps, self._terms
        filled = (steps.sent > 0.0) & (steps.rows < len(columns) - 1)
        at, buys, quantity = steps.rows[filled] + 1, steps.buys[filled], steps.sent[filled]
        price = columns.open[at] * np.where(buys, terms.buy_factor, terms.sell_factor)
        weights, places = np.unique(steps.weights[filled], return_inverse=True)
        reasons = np.array([why(weight) for weight in weights.tolist()], dtype=object)
        return FillColumns(
            symbol=columns.symbol,
            strategy=self._name,
            side=np.where(buys, "buy", "sell").astype(object),
            quantity=quantity,
            price=price,
            fee=np.maximum(terms.minimum, quantity * (terms.rate * price + terms.per_share)),
            order_id=np.cumsum(steps.sent > 0.0, dtype=np.int64)[filled],
            time_ns=columns.open_ns[at],
            reason=reasons[places] if len(reasons) else np.empty(0, dtype=object),
        )

    @property
    def bars(self) -> list[Bar]:
        return bars_of(self._columns)

    @property
    def equity(self) -> list[tuple[float, ...]]:
        columns = self.equity_columns()
        return list(zip(columns.times_ns.tolist(), columns.account.tolist(), strict=True))

    @cached_property
    def signals(self) -> list[Signal]:
        engine, columns, steps = self._engine, self._columns, self._steps
        market = Market(columns.symbol)
        signals = []
        size = _size_of(engine)
        orders = 0
        cash, held = self._cash, 0.0
        rows = zip(steps.rows.tolist(), steps.weights.tolist(), steps.cash.tolist(), steps.held.tolist(), strict=True)
        for number, (row, weight, next_cash, next_held) in enumerate(rows, 1):
            price = market.price = float(columns.close[row])
            equity = cash + held * price
            target = weight * equity / price if size is None else weight * size(equity, price)
            change = target - held
            allowed, checks = gate(
                engine.risk,
                change,
                price,
                price,
                Exposure(equity, held, 0.0, held),
                engine.cost_at(price, change, None),
            )
            refusal = "; ".join(
                f"{check.name} {check.value:.6g} over {check.limit:.6g}" for check in checks if not check.passed
            )
            orders += allowed > 0.0
            signals.append(
                Signal(
                    number,
                    int(columns.close_ns[row]),
                    columns.symbol,
                    "target",
                    change,
                    "rejected" if allowed <= 0.0 else "sent" if allowed == abs(change) else "resized",
                    refusal,
                    orders if allowed > 0.0 else None,
                    self._name,
                    why(weight),
                    tuple(checks),
                    {},
                )
            )
            cash, held = next_cash, next_held
        return signals

    @cached_property
    def _sent(self) -> list[tuple[int, Order]]:
        """Each order as it was sent, with the row of its decision."""
        columns, steps = self._columns, self._steps
        sent = []
        for signal, row, quantity in zip(self.signals, steps.rows.tolist(), steps.sent.tolist(), strict=True):
            if signal.order_id is None:
                continue
            order = Order(
                signal.order_id,
                columns.symbol,
                Side.BUY if signal.wanted > 0.0 else Side.SELL,
                OrderType.MARKET,
                quantity,
                self._name,
                signal.reason,
                signal.time_ns,
                signal.time_ns + self._engine.costs.latency_ns,
                float(columns.close[row]),
                signal_id=signal.signal_id,
                updated_ns=signal.time_ns,
            )
            sent.append((row, order))
        return sent

    @cached_property
    def orders(self) -> list[Order]:
        fills = iter(self.fills)
        records = []
        for row, order in self._sent:
            records.append(order)
            if row < len(self._columns) - 1:
                fill = next(fills)
                records.append(
                    replace(
                        order,
                        status=OrderStatus.FILLED,
                        filled=order.quantity,
                        average_price=fill.price,
                        updated_ns=fill.received_ns,
                    )
                )
            else:
                records.append(replace(order, status=OrderStatus.CANCELLED, status_reason="the run ended"))
        return records

    @cached_property
    def fills(self) -> list[Fill]:
        columns, costs = self._columns, self._engine.costs
        commission, slippage = costs.commission_of(), costs.slippage_of()
        fills: list[Fill] = []
        for row, order in self._sent:
            if row == len(columns) - 1:
                continue
            market_price = price = float(columns.open[row + 1])
            if slippage is not None:
                price = slippage(order.side, order.quantity, market_price)
            fills.append(
                Fill(
                    len(fills) + 1,
                    order.order_id,
                    order.symbol,
                    order.side,
                    order.quantity,
                    price,
                    0.0 if commission is None else commission(order.quantity, price),
                    int(columns.open_ns[row + 1]),
                    int(columns.close_ns[row + 1]),
                    market_price,
                    order.strategy,
                    order.reason,
                )
            )
        return fills

    @cached_property
    def trades(self) -> list[Trade]:
        book, market = Book(self._cash), Market(self._columns.symbol)
        market.price = nan
        columns, trades = self._columns, []
        rows = np.array([row for row, _ in self._sent if row < len(columns) - 1], dtype=np.int64) + 1
        # Of the bars from one fill to the next; a position is open from the open of its own on.
        highs = np.maximum.reduceat(columns.high, rows).tolist() if len(rows) else []
        lows = np.minimum.reduceat(columns.low, rows).tolist() if len(rows) else []
        opens = columns.open[rows].tolist()
        for fill, opened, high, low in zip(self.fills, opens, highs, lows, strict=True):
            see_price(market.held, opened)
            trade = book.apply(fill, market)
            if trade is not None:
                trades.append(trade)
            see_price(market.held, high)
            see_price(market.held, low)
        return trades
