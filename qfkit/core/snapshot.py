"""What a person wants to see of a session at one moment, as an immutable record.

Views draw a :class:`Snapshot` and never read the engine. The engine fills the trading part;
the session adds ``name``, ``state``, ``feed``, ``messages``, ``journal_path`` and ``drift``.
"""

from typing import Any

import msgspec

from qfkit.core.assessment import RiskAssessment
from qfkit.core.netting import NetPosition, net_positions
from qfkit.core.orders import Fill, Order

__all__ = [
    "DriftRow",
    "DriftView",
    "FeedView",
    "FiguresView",
    "LimitView",
    "MarginView",
    "ParameterView",
    "PositionView",
    "Snapshot",
    "StopView",
    "StrategyView",
    "SymbolHealth",
    "SymbolView",
]


class SymbolView(msgspec.Struct, frozen=True):
    """The last price of a symbol and its change, as a fraction, since the first price seen."""

    symbol: str
    price: float
    change: float
    previous_price: float
    time_ns: int
    bid: float | None = None
    ask: float | None = None
    price_step: float | None = None
    """The step of its prices, where the provider told it: views write as many decimals."""


class PositionView(msgspec.Struct, frozen=True):
    """One strategy's position in one symbol; ``quantity`` is negative for a short.

    Prices are in the symbol's ``currency`` ("" where none was told apart), money in the account's, by ``rate``.
    """

    strategy: str
    symbol: str
    quantity: float
    average_price: float
    price: float
    market_value: float
    unrealised: float
    realised: float
    currency: str = ""
    rate: float = 1.0


class MarginView(msgspec.Struct, frozen=True):
    """How a strategy's book stands to its margin. Money is in the account's currency.

    ``required`` is the maintenance margin of the positions, ``excess`` the equity above it;
    ``buying_power`` what may still be bought, working orders filled; ``leverage`` gross exposure over equity;
    ``owed`` what a negative equity leaves to be paid.
    """

    strategy: str
    equity: float
    required: float
    excess: float
    buying_power: float
    leverage: float
    interest: float
    borrow: float
    owed: float


class ParameterView(msgspec.Struct, frozen=True):
    """What a strategy's parameter may be: ``kind`` is the type's name, such as "int"; None where there is no bound."""

    name: str
    kind: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[object, ...] = ()
    help: str = ""


class StrategyView(msgspec.Struct, frozen=True):
    """A strategy, its own book and its parameters. ``state``: running, paused, failed, stopped, wiped out.

    ``waiting`` says which indicators are not ready yet, "" where it may order.
    """

    name: str
    state: str
    equity: float
    pnl: float
    parameters: dict[str, object]
    indicators: dict[str, dict[str, float]]
    fault: str = ""
    waiting: str = ""
    bounds: tuple[ParameterView, ...] = ()


class SymbolHealth(msgspec.Struct, frozen=True):
    """How well one symbol's data arrive. Counters run since the feed was first begun.

    ``gaps_found`` = ``gaps_filled`` + ``gaps_open`` + those being filled now; ``missing`` is what the
    open ones lack, as far as it is known. ``rejected`` counts by reason. ``age_s`` is the time since
    the last event, ``stale_s`` all the time it should have sent and did not, ``uptime`` the share of
    the time it was live. ``lag_p50_ms`` and ``lag_p99_ms`` are how much later than the quickest an event
    came, the clocks' difference taken out.
    """

    symbol: str
    source: str
    state: str
    events: int = 0
    connects: int = 0
    reconnects: int = 0
    age_s: float | None = None
    gaps_found: int = 0
    gaps_filled: int = 0
    gaps_open: int = 0
    missing: int = 0
    duplicates: int = 0
    late: int = 0
    rejected: int = 0
    rejected_reasons: dict[str, int] = {}
    stale_s: float = 0.0
    lag_p50_ms: float | None = None
    lag_p99_ms: float | None = None
    uptime: float | None = None


class FeedView(msgspec.Struct, frozen=True):
    """A feed's state and counters. ``age_s`` is the time since its last event."""

    name: str
    state: str
    events: int = 0
    rate_per_s: float = 0.0
    age_s: float | None = None
    lag_ms: float | None = None
    reconnects: int = 0
    gaps: int = 0
    bad: int = 0
    late: int = 0
    duplicates: int = 0
    conflated: int = 0
    symbols: tuple[SymbolHealth, ...] = ()
    is_live: bool = False
    """Whether its events happen now; else they are recorded or made up, and views say so."""


class FiguresView(msgspec.Struct, frozen=True):
    """The account's figures as of the last equity point, as :class:`~qfkit.core.metrics.Metrics` explains them.

    NaN where not defined. ``streak``: trades won in a row up to now, below zero lost in a row;
    ``drawdown_days``: how long the account has been under water.
    """

    volatility: float
    sharpe: float
    sortino: float
    drawdown_days: float
    exposure: float
    turnover_total: float
    win_rate: float
    profit_factor: float
    expectancy: float
    streak: int


class LimitView(msgspec.Struct, frozen=True):
    """Where a risk limit of a strategy ("account": of all) stands; NaN ``value`` is not known yet.

    ``stop`` is the one that it put and ``since_ns`` when, "" and None while there is none. ``is_default`` is what
    nobody asked for: no more gross exposure than the margin allows.
    """

    name: str
    strategy: str
    value: float
    limit: float
    value_text: str
    limit_text: str
    limit_name: str = ""
    is_over_time: bool = False
    is_default: bool = False
    stop: str = ""
    since_ns: int | None = None


class StopView(msgspec.Struct, frozen=True):
    """A stop on a strategy's book ("account": on all): "block_entries" or "flatten", why, and since when.

    ``lifts_ns`` is when it ends by itself; None is by hand only: ``session.lift()``. ``limit_name`` "" was put by hand.
    """

    strategy: str
    kind: str
    why: str
    since_ns: int
    lifts_ns: int | None = None
    limit_name: str = ""


class DriftRow(msgspec.Struct, frozen=True):
    """A live figure against a backtest's resampling: the band of a stretch of the same length, and where in it it lies.

    ``percentile`` is the share of the samples below it; NaN where nothing can be said.
    """

    name: str
    value: float
    low: float
    high: float
    percentile: float


class DriftView(msgspec.Struct, frozen=True):
    """Whether a session is still what its backtest was; filled where the session was told: ``session.expect(result)``.

    ``verdict``: "inside", "at the edge", "outside", "too short to tell" or "too long to tell"; ``text`` says why.
    ``level`` is how much of the samples the bands hold; ``stop`` is what the stop rule does, "" without one.
    """

    verdict: str
    text: str
    rows: tuple[DriftRow, ...]
    periods: int
    level: float
    stop: str = ""


class Snapshot(msgspec.Struct, frozen=True):
    """A session at one moment. Money is in the account's currency, fractions are not percent."""

    time_ns: int
    events: int
    starting_cash: float
    cash: float
    equity: float
    realised: float
    unrealised: float
    fees: float
    drawdown: float
    max_drawdown: float
    fills_count: int
    trades_count: int
    winning_trades: int
    late_events: int
    symbols: tuple[SymbolView, ...]
    positions: tuple[PositionView, ...]
    working_orders: tuple[Order, ...]
    fills: tuple[Fill, ...]
    strategies: tuple[StrategyView, ...]
    equity_curve: tuple[tuple[int, float], ...]
    name: str = ""
    state: str = ""
    feed: FeedView | None = None
    messages: tuple[tuple[int, str], ...] = ()
    printed: tuple[tuple[int, str], ...] = ()
    """The newest lines that strategies printed, each with the session's time."""
    journal_path: str = ""
    error: str = ""
    """Why the session failed, in words; "" where it did not."""
    figures: FiguresView | None = None
    assessment: RiskAssessment | None = None
    interest: float = 0.0
    borrow: float = 0.0
    margins: tuple[MarginView, ...] = ()
    limits: tuple[LimitView, ...] = ()
    stops: tuple[StopView, ...] = ()
    is_watch_list: bool = False
    """Whether it only watches: no strategy, so no book worth showing."""
    drift: DriftView | None = None

    @property
    def net_positions(self) -> tuple[NetPosition, ...]:
        """The positions of all strategies together, by symbol."""
        return net_positions(self.positions)

    @property
    def pnl(self) -> float:
        """Total profit and loss since the start, after fees."""
        return self.equity - self.starting_cash

    @property
    def return_(self) -> float:
        """Profit and loss over the starting cash, as a fraction."""
        return self.pnl / self.starting_cash

    # What a cell shows of it; all of its fields would be pages.

    def _repr_html_(self) -> str:
        from qfkit.core.chart_feed import ChartView
        from qfkit.views.dashboard.fallback import bundle

        return str(bundle("full", self, ChartView(equity=self.equity_curve), "then")["text/html"])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from qfkit.views.terminal import plain_line

        printer.text(plain_line(self))
