"""The records of a run without an engine, each list made when it is first asked for."""

from collections.abc import Callable
from functools import cached_property
from math import fsum, nan
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from qfkit.core.assessment import RiskAssessment
from qfkit.core.deals import Deals, round_trips
from qfkit.core.engine import Engine
from qfkit.core.events import Bar
from qfkit.core.limit_stops import RiskStop
from qfkit.core.margin import Financing, MarginCall
from qfkit.core.market import Market, see_price
from qfkit.core.orders import Fill, Order, OrderStatus, OrderType, Side, Signal, Trade, Transfer
from qfkit.core.portfolio import Book
from qfkit.core.records import Fault
from qfkit.core.risk import Exposure, gate
from qfkit.core.sizing import FixedQuantity, FractionOfEquity
from qfkit.frames import bars_of
from qfkit.research.signal import why
from qfkit.tables import BarColumns, EquityColumns, FillColumns, Floats

__all__ = ["FastRecords", "Rows", "Steps", "Terms", "size_of"]

Rows: TypeAlias = NDArray[np.int64]


class Steps(msgspec.Struct, frozen=True):
    """The decisions that gave a signal: at which row's close, to what weight, the quantity sent
    (0.0: refused), and cash and position once it filled at the next open."""

    rows: Rows
    weights: Floats
    buys: NDArray[np.bool_]
    sent: Floats
    cash: Floats
    held: Floats


class Terms(msgspec.Struct, frozen=True):
    """What the loop needs of the costs: fees as ``max(minimum, quantity * (rate * price + per_share))``."""

    buy_factor: float
    sell_factor: float
    rate: float
    per_share: float
    minimum: float
    most: float


def size_of(engine: Engine) -> Callable[[float, float], float] | None:
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


class _Filled(msgspec.Struct, frozen=True):
    """Which steps filled, and how; ``held`` is the position after each."""

    chosen: NDArray[np.bool_]
    buys: NDArray[np.bool_]
    quantity: Floats
    price: Floats
    fee: Floats
    time_ns: Rows
    held: Floats


class FastRecords:
    """The records of one strategy's run over one symbol, from its decisions."""

    def __init__(self, engine: Engine, columns: BarColumns, steps: Steps, terms: Terms, cash: float) -> None:
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

    @cached_property
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

    @cached_property
    def _filled(self) -> "_Filled":
        columns, steps, terms = self._columns, self._steps, self._terms
        chosen = (steps.sent > 0.0) & (steps.rows < len(columns) - 1)
        at, buys, quantity = steps.rows[chosen] + 1, steps.buys[chosen], steps.sent[chosen]
        price = columns.open[at] * np.where(buys, terms.buy_factor, terms.sell_factor)
        fee = np.maximum(terms.minimum, quantity * (terms.rate * price + terms.per_share))
        return _Filled(chosen, buys, quantity, price, fee, columns.open_ns[at], steps.held[chosen])

    def fill_columns(self) -> FillColumns:
        """The fills without a record each."""
        columns, steps, found = self._columns, self._steps, self._filled
        weights, places = np.unique(steps.weights[found.chosen], return_inverse=True)
        reasons = np.array([why(weight) for weight in weights.tolist()], dtype=object)
        return FillColumns(
            symbol=columns.symbol,
            strategy=self._name,
            side=np.where(found.buys, "buy", "sell").astype(object),
            quantity=found.quantity,
            price=found.price,
            fee=found.fee,
            order_id=np.cumsum(steps.sent > 0.0, dtype=np.int64)[found.chosen],
            time_ns=found.time_ns,
            reason=reasons[places] if len(reasons) else np.empty(0, dtype=object),
        )

    @cached_property
    def deals(self) -> Deals:
        """What its figures need of fills and trades, without a record of any."""
        columns, fills = self._columns, self._filled
        after = fills.held
        before = np.concatenate(([0.0], after[:-1]))[: len(after)]
        pnl, entries, exits = round_trips(before, after, fills.quantity, fills.price, fills.fee)
        start_ns, end_ns = int(columns.close_ns[0]), int(columns.close_ns[-1])
        now_ns = np.clip(fills.time_ns, start_ns, end_ns)
        # From flat to flat; what is open in the end is so to the end.
        opened, closed = now_ns[before == 0.0], now_ns[after == 0.0]
        open_ns = int(np.sum(closed - opened[: len(closed)]))
        if len(opened) > len(closed):
            open_ns += end_ns - int(opened[-1])
        return Deals(
            pnl=pnl,
            held_ns=(fills.time_ns[exits] - fills.time_ns[entries]).astype(np.float64),
            traded=fsum((fills.quantity * fills.price).tolist()),
            fees=fsum(fills.fee.tolist()),
            fills=len(after),
            exposure=open_ns / (end_ns - start_ns) if end_ns > start_ns else nan,
        )

    @property
    def bars(self) -> list[Bar]:
        return bars_of(self._columns)

    @property
    def equity(self) -> list[tuple[float, ...]]:
        columns = self.equity_columns
        return list(zip(columns.times_ns.tolist(), columns.account.tolist(), strict=True))

    @cached_property
    def signals(self) -> list[Signal]:
        engine, columns, steps = self._engine, self._columns, self._steps
        market = Market(columns.symbol)
        signals = []
        size = size_of(engine)
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
