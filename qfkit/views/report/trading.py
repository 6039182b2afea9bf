"""The round trips of a run: what they came to, the best and the worst, by symbol and by strategy."""

from collections.abc import Sequence

from qfkit.core.orders import Trade
from qfkit.core.trade_statistics import TradeStatistics, trade_statistics
from qfkit.core.wording import count, money, percent, share, span, utc_time
from qfkit.result import Result
from qfkit.views.report.curves import price_chart
from qfkit.views.report.grids import Cell, gain, pairs, table
from qfkit.views.text import price, price_decimals, quantity, signed_money

__all__ = ["trades_html"]

_DAY_NS = 86_400_000_000_000
_EXTREMES = 10
_MOST_SYMBOLS = 25


def trades_html(result: Result) -> str:
    """Statistics, the price of the symbol that traded most, the extremes, and who made what."""
    trades = result.records.trades
    parts = [price_chart(result._series())]
    if not trades:
        return "".join(parts) + '<p class="note">No round trip was finished.</p>'
    parts.append(_statistics(trades))
    ranked = sorted(trades, key=lambda trade: -trade.pnl)
    if len(trades) <= 2 * _EXTREMES:
        parts.append(f"<h3>All trades, the best first</h3>{_trades(ranked, len(result.strategy_names))}")
    else:
        parts.append(f"<h3>The ten best</h3>{_trades(ranked[:_EXTREMES], len(result.strategy_names))}")
        worst = ranked[: -_EXTREMES - 1 : -1]
        parts.append(f"<h3>The ten worst, the worst first</h3>{_trades(worst, len(result.strategy_names))}")
    parts += [_by_symbol(result), _by_strategy(result)]
    return "".join(parts)


def _statistics(trades: Sequence[Trade]) -> str:
    sides = {"all": trade_statistics(trades)}
    for side in ("long", "short"):
        own = [trade for trade in trades if trade.side == side]
        if own and len(own) < len(trades):
            sides[side] = trade_statistics(own)
    rows: list[tuple[str, list[Cell]]] = [
        ("trades", [count(one.trades) for one in sides.values()]),
        ("won", [f"{one.winning:,} ({share(one.win_rate)})" for one in sides.values()]),
        ("profit and loss", [gain(signed_money(one.pnl)) for one in sides.values()]),
        ("expectancy of a trade", [gain(signed_money(one.expectancy)) for one in sides.values()]),
        ("mean return of a trade", [gain(percent(one.average_return)) for one in sides.values()]),
        ("profit factor", [money(one.profit_factor) for one in sides.values()]),
        ("average win", [money(one.average_win) for one in sides.values()]),
        ("average loss", [money(one.average_loss) for one in sides.values()]),
        ("payoff ratio", [money(one.payoff_ratio) for one in sides.values()]),
        ("longest winning, losing streak", [_streaks(one) for one in sides.values()]),
        ("held, on average", [span(one.average_holding_days) for one in sides.values()]),
        ("held, at most", [span(one.longest_holding_days) for one in sides.values()]),
        ("went against by, on average", [percent(one.average_adverse_return) for one in sides.values()]),
        ("went in favour by, on average", [percent(one.average_favourable_return) for one in sides.values()]),
    ]
    if len(sides) > 1:
        return f"<h3>Statistics</h3>{table(('', *sides), [(label, *cells) for label, cells in rows])}"
    half = -(-len(rows) // 2)
    columns = [[(label, cells[0]) for label, cells in part] for part in (rows[:half], rows[half:])]
    return f'<h3>Statistics</h3><div class="columns two">{"".join(pairs(one) for one in columns)}</div>'


def _streaks(one: TradeStatistics) -> str:
    return f"{one.longest_winning_streak:,}, {one.longest_losing_streak:,}"


def _trades(trades: Sequence[Trade], strategies: int) -> str:
    decimals = price_decimals([price_ for trade in trades for price_ in (trade.entry_price, trade.exit_price)])
    is_daily = all(trade.holding_ns >= _DAY_NS for trade in trades)
    rows: list[tuple[Cell, ...]] = []
    for trade in trades:
        names = (trade.symbol, trade.strategy) if strategies > 1 else (trade.symbol,)
        rows.append(
            (
                *names,
                trade.side,
                quantity(trade.quantity),
                _moment(trade.entry_time_ns, is_daily=is_daily),
                price(trade.entry_price, decimals),
                _moment(trade.exit_time_ns, is_daily=is_daily),
                price(trade.exit_price, decimals),
                span(trade.holding_ns / _DAY_NS),
                gain(percent(trade.return_)),
                gain(signed_money(trade.pnl)),
            )
        )
    names = ("symbol", "strategy") if strategies > 1 else ("symbol",)
    head = (*names, "side", "quantity", "entry (UTC)", "at", "exit (UTC)", "at", "held", "return", "profit & loss")
    return table(head, rows, words=len(names) + 1)


def _moment(time_ns: int, *, is_daily: bool) -> str:
    return utc_time(time_ns)[: 10 if is_daily else 19]


def _by_symbol(result: Result) -> str:
    frame = result.metrics_by("symbol").reset_index()
    frame = frame[frame["strategy"] == "account"].set_index("symbol")
    if len(frame) < 2:
        return ""
    frame = frame.sort_values("pnl", ascending=False)
    shown = frame.head(_MOST_SYMBOLS)
    rows = [
        (
            str(symbol),
            count(row["trades"]),
            share(row["win_rate"]),
            money(row["profit_factor"]),
            span(row["average_holding_days"]),
            money(row["fees"]),
            money(row["traded"]),
            gain(signed_money(row["pnl"])),
        )
        for symbol, row in shown.iterrows()
    ]
    head = ("symbol", "trades", "won", "profit factor", "held", "fees", "traded", "profit & loss")
    more = f'<p class="note">and {len(frame) - len(shown):,} more symbols</p>' if len(frame) > len(shown) else ""
    return f"<h3>By symbol</h3>{table(head, rows)}{more}"


def _by_strategy(result: Result) -> str:
    if len(result.strategy_names) < 2:
        return ""
    frame = result.metrics_by("strategy")
    rows = [
        (
            "the account" if name == "account" else str(name),
            gain(percent(row["total_return"])),
            money(row["sharpe"]),
            share(row["max_drawdown"]),
            count(row["trades"]),
            share(row["win_rate"]),
            money(row["fees"]),
            gain(signed_money(row["pnl"])),
        )
        for name, row in frame.iterrows()
    ]
    head = ("strategy", "total return", "Sharpe", "max drawdown", "trades", "won", "fees", "profit & loss of trades")
    return f"<h3>By strategy</h3>{table(head, rows, marked=0)}"
