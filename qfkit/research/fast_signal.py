"""The short way of a signal function over one symbol's bars: a loop over the changes of its target.

It does the engine's arithmetic, the same operations in the same order, so that its fills and its
equity equal the engine's to the last bit; a test holds it to that. Where anything but the plain
case could come up it declines, and the engine runs. Records are made when they are asked for.
"""

from math import isfinite

import numpy as np

from qfkit.core.costs import Commission, Costs
from qfkit.core.engine import Engine
from qfkit.core.margin import Margin
from qfkit.core.risk import RiskLimits
from qfkit.core.sizing import FixedQuantity, FractionOfEquity
from qfkit.research.fast_records import FastRecords, Rows, Steps, Terms, size_of
from qfkit.research.signal import changes
from qfkit.tables import BarColumns, Floats

__all__ = ["fast_run"]


# The engine's: desk._NEAR, portfolio._DUST, risk._ROUNDING.
_NEAR = 1e-9
_DUST = 1e-12
_ROUNDING = 1e-12


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
    if (records.equity_columns.account <= 0.0).any():
        return None
    return records


_PLAIN = RiskLimits(price_collar=None)


def _is_plain(risk: RiskLimits) -> bool:
    """Whether there is no limit beyond the gross exposure; the price collar is for prices of the user's own."""
    return all(
        getattr(risk, name) == getattr(_PLAIN, name)
        for name in RiskLimits.__struct_fields__
        if name not in ("max_gross_exposure", "price_collar")
    )


def _terms(costs: Costs, risk: RiskLimits) -> Terms | None:
    """None where a callable, a latency that varies, an impact or a limit beyond the gross exposure has a say."""
    if not isinstance(costs.slippage_bps, int | float) or not isinstance(costs.latency_s, int | float):
        return None
    if costs.impact is not None:
        return None
    if not _is_plain(risk):
        return None
    commission = costs.commission_of()
    if commission is None:
        commission = Commission()
    if type(commission) is not Commission:
        return None
    fraction = costs.slippage_bps / 10_000
    return Terms(
        1.0 + fraction,
        1.0 - fraction,
        commission.rate,
        commission.per_share,
        commission.minimum,
        risk.gross_bound,
    )


def _one_by_one(rows: Rows, weights: Floats, engine: Engine, cash: float, columns: BarColumns, terms: Terms) -> Steps:
    """Each change in turn: the size depends on the equity, and that on the fills before."""
    buy_factor, sell_factor, most = terms.buy_factor, terms.sell_factor, terms.most
    rate, per_share, minimum = terms.rate, terms.per_share, terms.minimum
    size = size_of(engine)
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
    return Steps(
        rows, weights, np.array(all_buys, dtype=bool), np.array(all_sent), np.array(all_cash), np.array(all_held)
    )


def _all_at_once(
    rows: Rows, weights: Floats, quantity: float, cash: float, columns: BarColumns, terms: Terms
) -> Steps | None:
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
    return Steps(rows, weights, buy, wanted, after[1:], np.where(fills, target, before))
