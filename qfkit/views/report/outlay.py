"""What the run cost: commission, slippage, delay and financing, and what that was of the profit before it."""

from math import fsum, nan

import msgspec

from qfkit.core.orders import Side
from qfkit.core.wording import money, share
from qfkit.inspection.costs import split_cost
from qfkit.result import Result
from qfkit.views.report.grids import Cell, table
from qfkit.views.report.page import safe

__all__ = ["Outlay", "costs_html", "outlay_of"]


class Outlay(msgspec.Struct, frozen=True):
    """Costs in the account's money, above zero for what was paid.

    ``commission`` are the fees of all fills; ``slippage`` what fills were worse than the market's price at that moment
    (slippage, impact and further levels of the book); ``borrowing`` and ``interest`` what nights cost.
    ``delay`` is how far the market moved from the decisions to the fills: no cost that somebody charges, and it may be
    a gain. ``traded`` is the notional; ``profit`` what is left after all costs.
    """

    commission: float
    slippage: float
    borrowing: float
    interest: float
    delay: float
    traded: float
    profit: float

    @property
    def total(self) -> float:
        """All but the delay."""
        return self.commission + self.slippage + self.borrowing + self.interest

    @property
    def gross_profit(self) -> float:
        """What there would have been without them."""
        return self.profit + self.total

    @property
    def share_of_profit(self) -> float:
        """Costs over the profit before them; NaN where there was none."""
        return self.total / self.gross_profit if self.gross_profit > 0.0 else nan


def outlay_of(result: Result) -> Outlay:
    """The costs of a run, from its fills, orders and nights."""
    fills, financing = result.records.fills, result.records.financing
    orders = {order.order_id: order for order in result.records.orders}
    slippage, delay = [], []
    for fill in fills:
        sign = 1.0 if fill.side == Side.BUY else -1.0
        slippage.append(sign * (fill.price - fill.market_price) * fill.quantity * fill.rate)
        order = orders.get(fill.order_id)
        if order is not None:
            delay.append(split_cost(order, fill).delay)
    metrics = result.metrics
    return Outlay(
        commission=fsum(fill.fee for fill in fills),
        slippage=fsum(slippage),
        borrowing=-fsum(one.amount for one in financing if one.kind == "borrow"),
        interest=-fsum(one.amount for one in financing if one.kind != "borrow"),
        delay=fsum(value for value in delay if value == value),
        traded=fsum(fill.quantity * fill.price * fill.rate for fill in fills),
        profit=metrics.end_equity - metrics.start_equity,
    )


def costs_html(result: Result, outlay: Outlay) -> str:
    """A row a kind of cost: money, its share of the profit before costs, and basis points of what was traded."""
    whole, gross = outlay.total, outlay.gross_profit

    def row(label: str, value: float) -> tuple[Cell, ...]:
        part = share(value / gross) if gross > 0.0 else "-"
        points = f"{value / outlay.traded * 10_000.0:,.2f}" if outlay.traded > 0.0 else "-"
        return label, money(value), part, points

    rows = [
        row("commission", outlay.commission),
        row("slippage, spread and impact beyond the market's price", outlay.slippage),
    ]
    if result.records.financing:
        rows += [row("borrowing of shares", outlay.borrowing), row("interest paid less earned", outlay.interest)]
    rows.append(row("all costs", whole))
    head = ("", "in money", "of the profit before costs", "basis points of what was traded")
    lines = [
        f"Profit before costs {money(gross)}, after them {money(outlay.profit)}; {money(outlay.traded)} was traded.",
        (
            f"From the decisions to the fills prices moved by {money(abs(outlay.delay))} "
            f"{'against' if outlay.delay > 0.0 else 'in favour of'} the orders; that is in the profit, and no part of the costs above."
        ),
    ]
    return table(head, rows, marked=len(rows) - 1) + "".join(f'<p class="note">{safe(line)}</p>' for line in lines)
