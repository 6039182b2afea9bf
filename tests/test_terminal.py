"""The terminal's page, its summary and its plain lines, drawn from hand-made snapshots."""

import io
import re

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from qfkit.core.orders import Fill, Order, OrderStatus, OrderType, Side
from qfkit.core.snapshot import FeedView, PositionView, Snapshot, StrategyView, SymbolView
from qfkit.views.terminal import TerminalView, dashboard, plain_line, summary
from qfkit.views.text import clean, duration, money, price_decimals, quantity, signed_money, signed_percent

SECOND = 1_000_000_000
NOW = 1_723_161_331 * SECOND  # 2024-08-08 23:55:31 UTC
HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]bold[/red]\r\nsecond\u202e line"


def fill(number: int, symbol: str = "BTCUSDT", reason: str = "fast average crossed above slow") -> Fill:
    return Fill(
        fill_id=number,
        order_id=number,
        symbol=symbol,
        side=Side.BUY if number % 2 == 0 else Side.SELL,
        quantity=0.404061,
        price=61_872.35 + number,
        fee=25.0,
        time_ns=NOW - (31 - number) * 7 * SECOND,
        received_ns=NOW - (31 - number) * 7 * SECOND,
        market_price=61_872.35,
        strategy="MovingAverageCrossover",
        reason=reason,
    )


def order(number: int, **changes) -> Order:
    made = Order(
        order_id=number,
        symbol="ETHUSDT",
        side=Side.SELL,
        type=OrderType.STOP_LIMIT,
        quantity=2.5,
        strategy="MomentumRebalance",
        reason="protects the entry",
        decided_ns=NOW,
        sent_ns=NOW,
        decision_price=2_650.0,
        stop_price=2_600.0,
        limit_price=2_595.5,
        status=OrderStatus.PARTIALLY_FILLED,
        filled=0.5,
    )
    return msgspec.structs.replace(made, **changes)


def snapshot(**changes) -> Snapshot:
    """A session of two strategies in three symbols, some profit, and one bad event."""
    made = Snapshot(
        time_ns=NOW,
        events=123_456,
        starting_cash=100_000.0,
        cash=50_223.5,
        equity=100_446.99,
        realised=310.25,
        unrealised=211.74,
        fees=75.0,
        drawdown=0.0012,
        max_drawdown=0.0345,
        fills_count=31,
        trades_count=14,
        winning_trades=9,
        late_events=0,
        symbols=(
            SymbolView("BTCUSDT", 61_880.0, 0.0042, 61_879.99, NOW, 61_879.99, 61_880.0),
            SymbolView("ETHUSDT", 2_650.1, -0.0131, 2_650.3, NOW, 2_650.1, 2_650.2),
            SymbolView("SHIBUSDT", 0.00001413, 0.0, 0.00001413, NOW, None, None),
        ),
        positions=(
            PositionView(
                "MovingAverageCrossover", "BTCUSDT", 0.404061, 61_350.0, 61_880.0, 25_003.29, 214.15, 310.25
            ),
            PositionView("MomentumRebalance", "ETHUSDT", -9.5, 2_649.84, 2_650.1, -25_175.95, -2.41, 0.0),
        ),
        working_orders=(order(31), order(32, type=OrderType.MARKET, stop_price=None, limit_price=None, filled=0.0)),
        fills=tuple(fill(number) for number in range(11, 31)),
        strategies=(
            StrategyView("MovingAverageCrossover", "running", 50_400.0, 400.0, {"fast": 10, "slow": 30}, {}),
            StrategyView("MomentumRebalance", "paused", 50_046.99, 46.99, {"lookback": 60, "every": 20}, {}),
        ),
        equity_curve=tuple(
            (NOW - (300 - step) * SECOND, 100_000.0 + (step * 37 % 400) + step) for step in range(300)
        ),
        name="demo",
        state="running",
        feed=FeedView("Binance BTCUSDT, ETHUSDT", "live", 123_456, 1_362.0, 0.1, 42.0, 1, 0, 2, 0),
        messages=((NOW - SECOND, "bad data kept aside: the price is -1.0"),),
        journal_path="/home/someone/.local/share/qfkit/sessions/demo/2024-08-08_23-50-31.qfkit.sqlite",
    )
    return msgspec.structs.replace(made, **changes)


def drawn(made: Snapshot, width: int = 120, height: int = 40, encoding: str = "utf-8", color: bool = False) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    console = Console(
        file=file, width=width, height=height, force_terminal=color, color_system="truecolor" if color else None
    )
    console.print(dashboard(made), height=height)
    return raw.getvalue().decode(encoding)


def page(made: Snapshot, **arguments) -> list[str]:
    return drawn(made, **arguments).rstrip("\n").split("\n")


if __name__ == "__main__":
    print(drawn(snapshot(), color=True))
