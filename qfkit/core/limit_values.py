"""Where books stand against their limits: the measures, and their words."""

from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf, nan, sqrt
from typing import TYPE_CHECKING

import numpy as np

from qfkit.core.assessment import FEWEST_RETURNS, book_returns
from qfkit.core.portfolio import total
from qfkit.core.returns_window import Floats, ReturnsWindow
from qfkit.core.risk import NO_LIMITS, OVER_TIME, RiskLimits
from qfkit.core.risk_measures import value_at_risk, volatility
from qfkit.core.snapshot import LimitView, StopView
from qfkit.core.wording import money, share

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.engine import Engine
    from qfkit.core.limit_watch import LimitWatch

__all__ = [
    "correlated_exposure",
    "limit_views",
    "present",
    "stop_text",
    "stop_views",
    "value_at_risk_of",
    "weights_of",
]

Books = Sequence[Mapping[str, float]]


def _value(engine: "Engine", symbol: str, quantity: float) -> float:
    market = engine.tracks[symbol].market
    return quantity * market.price * market.rate if quantity else 0.0


def _group_gross(engine: "Engine", books: Books, symbols: Collection[str] | None) -> float:
    """The gross value of books, which are not netted, in these symbols; None takes all."""
    return total(
        abs(_value(engine, symbol, quantity))
        for book in books
        for symbol, quantity in book.items()
        if symbols is None or symbol in symbols
    )


def _net_value(engine: "Engine", books: Books) -> float:
    return total(_value(engine, symbol, quantity) for book in books for symbol, quantity in book.items())


def weights_of(engine: "Engine", books: Books, equity: float) -> dict[str, float]:
    """The signed weight of each symbol, the books netted."""
    weights: dict[str, float] = {}
    for book in books:
        for symbol, quantity in book.items():
            weights[symbol] = weights.get(symbol, 0.0) + _value(engine, symbol, quantity) / equity
    return {symbol: weight for symbol, weight in weights.items() if weight}


def value_at_risk_of(engine: "Engine", weights: Mapping[str, float], limits: RiskLimits) -> float:
    """Historical value at risk of one mark, a fraction of the equity; NaN where too few returns are known."""
    if not weights:
        return 0.0
    window = engine.returns
    assert window is not None
    book = book_returns(weights, window.symbols, _last_returns(window, limits.returns))
    return value_at_risk(book, limits.value_at_risk_level) if len(book) >= FEWEST_RETURNS else nan


def correlated_exposure(engine: "Engine", weights: Mapping[str, float], limits: RiskLimits) -> float:
    """sqrt(w' C w): the standard deviation of the weighted sum of the symbols' standardised returns."""
    if not weights:
        return 0.0
    window = engine.returns
    assert window is not None
    if not set(weights) <= set(window.symbols):
        return nan
    symbols = tuple(weights)
    key = (symbols, limits.returns)
    if key not in window.memo:
        window.memo[key] = _standardised(window, symbols, limits.returns)
    columns, deviations = window.memo[key]
    if len(columns) < FEWEST_RETURNS:
        return nan
    # What never moves has no correlation with anything.
    moving = {symbol: weights[symbol] for symbol in symbols if deviations[symbol] > 0.0}
    still = total(weights[symbol] ** 2 for symbol in symbols if deviations[symbol] == 0.0)
    return sqrt(still + (volatility(book_returns(moving, symbols, columns)) ** 2 if moving else 0.0))


def _last_returns(window: ReturnsWindow, returns: int) -> Floats:
    if returns not in window.memo:
        window.memo[returns] = window.values()[-returns:]
    found: Floats = window.memo[returns]
    return found


def _standardised(window: ReturnsWindow, symbols: tuple[str, ...], returns: int) -> tuple[Floats, dict[str, float]]:
    """The returns over their standard deviations, of the marks of which all symbols' are known; and the deviations."""
    columns = _last_returns(window, returns)[:, [window.symbols.index(symbol) for symbol in symbols]]
    columns = columns[(columns == columns).all(axis=1)]
    deviations = {symbol: volatility(columns[:, place]) for place, symbol in enumerate(symbols)}
    return columns / np.array([value if value > 0.0 else 1.0 for value in deviations.values()]), deviations


# -- where each limit stands --------------------------------------------------------------------


def _books(watch: "LimitWatch") -> list[dict[str, float]]:
    return [{symbol: held.quantity for symbol, held in desk.book.open.items()} for desk in watch.desks]


def _weight(watch: "LimitWatch", value: float) -> float:
    equity = watch.equity
    return value / equity if equity > 0.0 else inf if value else 0.0


def _largest(watch: "LimitWatch", measured: "Callable[[Desk, str], float]") -> float:
    sums: dict[str, float] = {}
    for desk in watch.desks:
        for symbol in desk.book.open:
            sums[symbol] = sums.get(symbol, 0.0) + abs(measured(desk, symbol))
    return max(sums.values(), default=0.0)


def _quantity(watch: "LimitWatch") -> float:
    return _largest(watch, lambda desk, symbol: desk.book.open[symbol].quantity)


def _notional(watch: "LimitWatch") -> float:
    return _largest(watch, lambda desk, symbol: desk.book.open[symbol].market_value)


def _group(watch: "LimitWatch") -> float:
    books, groups = _books(watch), watch.limits.groups.values()
    return _weight(watch, max((_group_gross(watch.engine, books, symbols) for symbols in groups), default=0.0))


def _gross(watch: "LimitWatch") -> float:
    return _weight(watch, _group_gross(watch.engine, _books(watch), None))


def _net(watch: "LimitWatch") -> float:
    return _weight(watch, abs(_net_value(watch.engine, _books(watch))))


def _at_risk(watch: "LimitWatch") -> float:
    return value_at_risk_of(watch.engine, weights_of(watch.engine, _books(watch), watch.equity), watch.limits)


def _correlated(watch: "LimitWatch") -> float:
    return correlated_exposure(watch.engine, weights_of(watch.engine, _books(watch), watch.equity), watch.limits)


def _since(start: float, equity: float) -> float:
    return max(0.0, 1.0 - equity / start) if start > 0.0 else 0.0


def _plain(value: float) -> str:
    return f"{value:,.10g}"


def _times(value: float) -> str:
    return f"{value:.2f} x"


_Measure = tuple[str, Callable[["LimitWatch"], float], Callable[[float], str]]
# Of each limit: its name for people, where it stands, and how that is written.
_MEASURES: dict[str, _Measure] = {
    "max_gross_exposure": ("gross exposure", _gross, _times),
    "max_net_exposure": ("net exposure", _net, _times),
    "max_leverage": ("leverage", _gross, _times),
    "max_position_quantity": ("largest position", _quantity, _plain),
    "max_position_notional": ("largest position's notional", _notional, money),
    "max_position_weight": ("largest weight", lambda watch: _weight(watch, _notional(watch)), share),
    "max_group_weight": ("largest group", _group, share),
    "max_positions": ("positions", lambda watch: float(len({one for book in _books(watch) for one in book})), _plain),
    "max_value_at_risk": ("value at risk", _at_risk, share),
    "max_correlated_exposure": ("correlated exposure", _correlated, _times),
    "max_orders_per_minute": (
        "orders a minute",
        lambda watch: float(watch.sent_lately(watch.engine.clock_ns)),
        _plain,
    ),
    "max_daily_loss": ("daily loss", lambda watch: _since(watch.day_start, watch.equity), share),
    "max_drawdown": ("drawdown", lambda watch: _since(watch.peak, watch.equity), share),
    "max_consecutive_losses": ("losses in a row", lambda watch: float(watch.losses), _plain),
}


def present(watch: "LimitWatch", name: str) -> float:
    """Where a limit stands now, in its own unit; NaN where that is not known yet."""
    return _MEASURES[name][1](watch)


def stop_text(name: str, value: float, limit: float) -> str:
    """Why a limit put a stop, in words."""
    label, _, written = _MEASURES[name]
    return f"{label} {written(value)}, limit {written(limit)}"


def limit_views(watch: "LimitWatch") -> list[LimitView]:
    """Where each limit stands that has a present value; those of single orders have none."""
    views, default = [], watch.engine.margin.limits_within(NO_LIMITS)
    for name, (label, measure, written) in _MEASURES.items():
        limit = getattr(watch.limits, name)
        if limit is None:
            continue
        stop, value = watch.stops.get(name), measure(watch)
        views.append(
            LimitView(
                name=label,
                strategy=watch.name,
                value=value,
                limit=float(limit),
                value_text=written(value),
                limit_text=written(limit),
                limit_name=name,
                is_over_time=name in OVER_TIME,
                is_default=name == "max_gross_exposure" and limit == default.max_gross_exposure,
                stop="" if stop is None else stop.kind,
                since_ns=None if stop is None else stop.time_ns,
            )
        )
    return views


def stop_views(watch: "LimitWatch") -> list[StopView]:
    """The stops on a strategy's book or on all."""
    return [
        StopView(
            strategy=watch.name,
            kind=stop.kind,
            why=stop.why,
            since_ns=stop.time_ns,
            lifts_ns=stop.lifts_ns,
            limit_name=stop.limit_name,
        )
        for stop in watch.stops.values()
        if stop.lifts_ns is None or stop.lifts_ns > watch.engine.clock_ns
    ]
