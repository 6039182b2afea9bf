"""Takes the snapshot of an engine: the one place that turns its state into what people see."""

from typing import TYPE_CHECKING

from qfkit.core.lanes import Track
from qfkit.core.limit_values import limit_views, stop_views
from qfkit.core.netting import describe
from qfkit.core.portfolio import Portfolio
from qfkit.core.risk import ACCOUNT_LIMITS
from qfkit.core.scorecard import Scorecard
from qfkit.core.snapshot import FiguresView, ParameterView, PositionView, Snapshot, StrategyView, SymbolView

if TYPE_CHECKING:
    from qfkit.core.desk import Desk
    from qfkit.core.engine import Engine

__all__ = ["assumptions", "take_positions", "take_snapshot"]


def take_snapshot(engine: "Engine") -> Snapshot:
    """The trading part of a snapshot: everything but the session's name, state, feed and messages."""
    engine.measure()
    desks = engine.desks.values()
    account = Portfolio(desk.book for desk in desks)
    equity = account.equity
    drawdown = 1.0 - equity / max(engine.metrics.peak, equity)
    return Snapshot(
        time_ns=engine.clock_ns,
        events=engine.events,
        starting_cash=engine.starting_cash,
        cash=account.cash,
        equity=equity,
        realised=account.realised,
        unrealised=account.unrealised,
        fees=account.fees,
        drawdown=drawdown,
        max_drawdown=max(engine.metrics.max_drawdown, drawdown),
        fills_count=engine.broker.fills_count,
        trades_count=sum(book.trades_count for book in account.books),
        winning_trades=sum(book.winning_trades for book in account.books),
        late_events=engine.late_events,
        symbols=tuple(_symbol_view(track) for track in engine.tracks.values()),
        positions=take_positions(engine),
        working_orders=tuple(working.order for working in engine.broker.open.values()),
        fills=tuple(engine.last_fills),
        strategies=tuple(_strategy_view(desk, engine) for desk in desks),
        interest=account.interest,
        borrow=account.borrow,
        margins=engine.accounts.views(),
        limits=tuple(view for watch in engine.limit_watches for view in limit_views(watch)),
        stops=tuple(view for watch in engine.limit_watches for view in stop_views(watch)),
        equity_curve=tuple([(int(row[0]), row[1]) for row in engine.equity_curve]),
        figures=_figures_view(engine.scorecard) if engine.metrics.points else None,
        assessment=None if engine.assessor is None else engine.assessor.last,
    )


def take_positions(engine: "Engine") -> tuple[PositionView, ...]:
    """The open positions of all books."""
    return tuple(view for desk in engine.desks.values() for view in _position_views(desk))


def _figures_view(scorecard: Scorecard) -> FiguresView:
    account = scorecard.account
    trades = account.tally.statistics()
    volatility, sharpe, sortino = account.curve.ratios(scorecard.year.periods_per_year)
    return FiguresView(
        volatility=volatility,
        sharpe=sharpe,
        sortino=sortino,
        drawdown_days=account.curve.drawdown_days,
        exposure=account.activity.exposure,
        turnover_total=account.turnover,
        win_rate=trades.win_rate,
        profit_factor=trades.profit_factor,
        expectancy=trades.expectancy,
        streak=trades.streak,
    )


def assumptions(engine: "Engine") -> tuple[str, ...]:
    """What a run assumed beyond its costs, a line each."""
    if any(name != ACCOUNT_LIMITS for name in engine.limits):
        most = ", ".join(f"{name} {desk.risk.gross_bound:g}" for name, desk in engine.desks.items())
        lines = [f"positions of at most so many times a strategy's equity: {most}"]
    else:
        lines = [f"positions of at most {engine.risk.gross_bound:g} times the equity"]
    lines += describe(len(engine.desks), is_netting=engine.broker.netting is not None)
    if margin := engine.margin.describe():
        lines.append(margin)
    for watch in engine.limit_watches:
        if named := watch.limits.named():
            lines.append(f"risk limits of {watch.name}: {named}")
    if engine.filters is not None:
        lines.append(engine.filters.describe())
    if engine.accounts.rates is not None:
        lines.append(engine.accounts.rates.currencies.describe())
    if engine.hours:
        calendars = sorted({hours.calendar for hours in engine.hours.values() if hours.calendar})
        named = f" ({', '.join(calendars)})" if calendars else ""
        lines.append(f"orders fill in the market's hours only{named}")
    if engine.instruments:
        lines.append("quantities and prices in the steps of each symbol, as its provider gives them")
    if engine.costs.participation is not None and any(track.market.book for track in engine.tracks.values()):
        lines.append("orders that cross the spread walk the levels of the recorded book")
    if engine.late_events:
        lines.append(f"{engine.late_events:,} late events left out of closed bars")
    return tuple(lines)


def _symbol_view(track: Track) -> SymbolView:
    market = track.market
    return SymbolView(
        symbol=track.symbol,
        price=market.price,
        change=market.price / market.first_price - 1.0,
        previous_price=market.previous_price,
        time_ns=market.time_ns,
        bid=None if market.bid != market.bid else market.bid,
        ask=None if market.ask != market.ask else market.ask,
        price_step=None if market.rules is None else market.rules.price_step,
    )


def _position_views(desk: "Desk") -> list[PositionView]:
    return [
        PositionView(
            strategy=desk.name,
            symbol=position.symbol,
            quantity=position.quantity,
            average_price=position.average_price,
            price=position.market.price,
            market_value=position.market_value,
            unrealised=position.unrealised,
            realised=position.realised,
            currency=position.market.currency,
            rate=position.market.rate,
        )
        for position in desk.book.open.values()
    ]


def _strategy_view(desk: "Desk", engine: "Engine") -> StrategyView:
    return StrategyView(
        name=desk.name,
        state=desk.state,
        equity=desk.book.equity,
        pnl=desk.book.pnl,
        parameters=desk.strategy.parameters,
        indicators={symbol: desk.indicator_values(symbol) for symbol in engine.tracks},
        fault=desk.error,
        waiting=_waiting(desk, engine),
        bounds=tuple(
            ParameterView(
                name, type(param.default).__name__, param.low, param.high, param.step, param.choices or (), param.help
            )
            for name, param in desk.strategy.parameters_of_class.items()
        ),
    )


def _waiting(desk: "Desk", engine: "Engine") -> str:
    """Which indicators keep a strategy from its first order, and how many bars there are so far."""
    if desk.is_joining:
        return "waits for its capital, which comes after the next equity point"
    short = []
    for name, indicators in desk.named_sets:
        for symbol, indicator in indicators.items():
            if not indicator.ready and symbol in engine.tracks:
                short.append(f"{name} of {symbol} ({len(engine.tracks[symbol].base.kept)} bars so far)")
    if unknown := [track.market for track in engine.tracks.values() if track.market.rate != track.market.rate]:
        return f"{unknown[0].symbol}: {engine.accounts.missing_rate(unknown[0])}"
    more = f" and {len(short) - 3} more" if len(short) > 3 else ""
    return f"waits for {', '.join(short[:3])}{more}" if short else ""
