"""qfkit: write a strategy, try it on history, run it live on paper, ask why it did what it did.

``import qfkit as qf``. Every public name is here; each is imported from its module when it is
first used, so that ``import qfkit`` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qfkit import alerts, errors, feeds, weights
    from qfkit.catalogues import recordings
    from qfkit.core import sizing
    from qfkit.core.allocation import Allocation, AllocationContext
    from qfkit.core.assessment import RiskAssessment, RiskBands
    from qfkit.core.costs import Commission, Costs
    from qfkit.core.currencies import Currencies
    from qfkit.core.engine import Engine
    from qfkit.core.events import (
        AddStrategy,
        Bar,
        BlockEntries,
        CancelOrder,
        CorporateAction,
        Depth,
        Flatten,
        Gap,
        Heartbeat,
        Hours,
        Instrument,
        LiftStops,
        ManualOrder,
        ModifyOrder,
        Pause,
        Protect,
        Quote,
        Rebalance,
        Resume,
        SetLimits,
        SetParameters,
        Stop,
        SwapStrategy,
        Tick,
    )
    from qfkit.core.filters import SignalFilters
    from qfkit.core.impact import SquareRootImpact
    from qfkit.core.indicators import (
        ADX,
        ATR,
        EMA,
        MACD,
        RSI,
        SMA,
        VWAP,
        WMA,
        BollingerBands,
        DonchianChannel,
        Indicator,
        OnBalanceVolume,
        Price,
        RateOfChange,
        StandardDeviation,
        Stochastic,
        ZScore,
    )
    from qfkit.core.latency import LogNormalLatency, UniformLatency
    from qfkit.core.margin import Margin
    from qfkit.core.orders import Fill, Order, OrderStatus, OrderType, Side, Signal, TimeInForce, Trade
    from qfkit.core.rebalance_plan import RebalancePlan
    from qfkit.core.risk import RiskLimits
    from qfkit.core.risk_report import RiskReport
    from qfkit.core.snapshot import Snapshot
    from qfkit.core.strategy import Param, Strategy
    from qfkit.errors import QfkitError
    from qfkit.feeds.alpha_vantage import AlphaVantageFeed, AlphaVantageWebSocket
    from qfkit.feeds.binance import BinanceFeed, BinanceWebSocket
    from qfkit.feeds.failover import FailoverFeed
    from qfkit.feeds.replay import ReplayFeed
    from qfkit.feeds.synthetic import SyntheticFeed
    from qfkit.feeds.yahoo import YahooFeed, YahooFinanceWebSocket
    from qfkit.histories import history
    from qfkit.live.paper import paper, resume
    from qfkit.live.reading import read_session
    from qfkit.live.registry import sessions
    from qfkit.live.runner import allow_nested_loops, run
    from qfkit.live.session import Session
    from qfkit.live.stopping import stop
    from qfkit.research.backtest import backtest
    from qfkit.research.lookahead import check_lookahead
    from qfkit.research.lookahead_report import LookaheadReport
    from qfkit.research.signal import signal
    from qfkit.research.stress import StressTest, stress
    from qfkit.research.sweep import Sweep, read_sweep, sweep
    from qfkit.research.walk_forward import WalkForward, walk_forward
    from qfkit.research.warmup_check import check_warmup
    from qfkit.research.warmup_report import WarmupReport
    from qfkit.result import Result
    from qfkit.samples import sample
    from qfkit.side_by_side import SideBySide, compare
    from qfkit.strategies import (
        BollingerReversion,
        MomentumRebalance,
        MovingAverageCrossover,
        PortfolioRebalance,
        RealTimeMovingAverageCrossover,
    )
    from qfkit.views.dashboard.several import dashboard
    from qfkit.watch_list import watch

__all__ = [
    "ADX",
    "ATR",
    "EMA",
    "MACD",
    "RSI",
    "SMA",
    "VWAP",
    "WMA",
    "AddStrategy",
    "Allocation",
    "AllocationContext",
    "AlphaVantageFeed",
    "AlphaVantageWebSocket",
    "Bar",
    "BinanceFeed",
    "BinanceWebSocket",
    "BlockEntries",
    "BollingerBands",
    "BollingerReversion",
    "CancelOrder",
    "Commission",
    "CorporateAction",
    "Costs",
    "Currencies",
    "Depth",
    "DonchianChannel",
    "Engine",
    "FailoverFeed",
    "Fill",
    "Flatten",
    "Gap",
    "Heartbeat",
    "Hours",
    "Indicator",
    "Instrument",
    "LiftStops",
    "LogNormalLatency",
    "LookaheadReport",
    "ManualOrder",
    "Margin",
    "ModifyOrder",
    "MomentumRebalance",
    "MovingAverageCrossover",
    "OnBalanceVolume",
    "Order",
    "OrderStatus",
    "OrderType",
    "Param",
    "Pause",
    "PortfolioRebalance",
    "Price",
    "Protect",
    "QfkitError",
    "Quote",
    "RateOfChange",
    "RealTimeMovingAverageCrossover",
    "Rebalance",
    "RebalancePlan",
    "ReplayFeed",
    "Result",
    "Resume",
    "RiskAssessment",
    "RiskBands",
    "RiskLimits",
    "RiskReport",
    "Session",
    "SetLimits",
    "SetParameters",
    "Side",
    "SideBySide",
    "Signal",
    "SignalFilters",
    "Snapshot",
    "SquareRootImpact",
    "StandardDeviation",
    "Stochastic",
    "Stop",
    "Strategy",
    "StressTest",
    "SwapStrategy",
    "Sweep",
    "SyntheticFeed",
    "Tick",
    "TimeInForce",
    "Trade",
    "UniformLatency",
    "WalkForward",
    "WarmupReport",
    "YahooFeed",
    "YahooFinanceWebSocket",
    "ZScore",
    "alerts",
    "allow_nested_loops",
    "backtest",
    "check_lookahead",
    "check_warmup",
    "compare",
    "dashboard",
    "errors",
    "feeds",
    "history",
    "paper",
    "read_session",
    "read_sweep",
    "recordings",
    "resume",
    "run",
    "sample",
    "sessions",
    "signal",
    "sizing",
    "stop",
    "stress",
    "sweep",
    "walk_forward",
    "watch",
    "weights",
]

_NAMES = {
    "qfkit.catalogues": ("recordings",),
    "qfkit.core.allocation": ("Allocation", "AllocationContext"),
    "qfkit.core.assessment": ("RiskAssessment", "RiskBands"),
    "qfkit.core.costs": ("Commission", "Costs"),
    "qfkit.core.currencies": ("Currencies",),
    "qfkit.core.engine": ("Engine",),
    "qfkit.core.events": (
        "AddStrategy",
        "Bar",
        "BlockEntries",
        "CancelOrder",
        "CorporateAction",
        "Depth",
        "Flatten",
        "Gap",
        "Heartbeat",
        "Hours",
        "Instrument",
        "LiftStops",
        "ManualOrder",
        "ModifyOrder",
        "Pause",
        "Protect",
        "Quote",
        "Rebalance",
        "Resume",
        "SetLimits",
        "SetParameters",
        "Stop",
        "SwapStrategy",
        "Tick",
    ),
    "qfkit.core.filters": ("SignalFilters",),
    "qfkit.core.impact": ("SquareRootImpact",),
    "qfkit.core.indicators": (
        "ADX",
        "ATR",
        "BollingerBands",
        "DonchianChannel",
        "EMA",
        "Indicator",
        "MACD",
        "OnBalanceVolume",
        "Price",
        "RSI",
        "RateOfChange",
        "SMA",
        "StandardDeviation",
        "Stochastic",
        "VWAP",
        "WMA",
        "ZScore",
    ),
    "qfkit.core.latency": ("LogNormalLatency", "UniformLatency"),
    "qfkit.core.margin": ("Margin",),
    "qfkit.core.orders": ("Fill", "Order", "OrderStatus", "OrderType", "Side", "Signal", "TimeInForce", "Trade"),
    "qfkit.core.rebalance_plan": ("RebalancePlan",),
    "qfkit.core.risk": ("RiskLimits",),
    "qfkit.core.risk_report": ("RiskReport",),
    "qfkit.core.snapshot": ("Snapshot",),
    "qfkit.core.strategy": ("Param", "Strategy"),
    "qfkit.errors": ("QfkitError",),
    "qfkit.feeds.alpha_vantage": ("AlphaVantageFeed", "AlphaVantageWebSocket"),
    "qfkit.feeds.binance": ("BinanceFeed", "BinanceWebSocket"),
    "qfkit.feeds.failover": ("FailoverFeed",),
    "qfkit.feeds.replay": ("ReplayFeed",),
    "qfkit.feeds.synthetic": ("SyntheticFeed",),
    "qfkit.feeds.yahoo": ("YahooFeed", "YahooFinanceWebSocket"),
    "qfkit.histories": ("history",),
    "qfkit.live.reading": ("read_session",),
    "qfkit.live.registry": ("sessions",),
    "qfkit.live.runner": ("allow_nested_loops", "run"),
    "qfkit.live.paper": ("paper", "resume"),
    "qfkit.live.session": ("Session",),
    "qfkit.live.stopping": ("stop",),
    "qfkit.research.backtest": ("backtest",),
    "qfkit.research.lookahead": ("check_lookahead",),
    "qfkit.research.lookahead_report": ("LookaheadReport",),
    "qfkit.research.signal": ("signal",),
    "qfkit.research.stress": ("StressTest", "stress"),
    "qfkit.research.sweep": ("Sweep", "read_sweep", "sweep"),
    "qfkit.research.warmup_check": ("check_warmup",),
    "qfkit.research.warmup_report": ("WarmupReport",),
    "qfkit.research.walk_forward": ("WalkForward", "walk_forward"),
    "qfkit.result": ("Result",),
    "qfkit.samples": ("sample",),
    "qfkit.side_by_side": ("SideBySide", "compare"),
    "qfkit.strategies": (
        "BollingerReversion",
        "MomentumRebalance",
        "MovingAverageCrossover",
        "PortfolioRebalance",
        "RealTimeMovingAverageCrossover",
    ),
    "qfkit.views.dashboard.several": ("dashboard",),
    "qfkit.watch_list": ("watch",),
}
_MODULES = {
    "alerts": "qfkit.alerts",
    "errors": "qfkit.errors",
    "feeds": "qfkit.feeds",
    "sizing": "qfkit.core.sizing",
    "weights": "qfkit.weights",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'qfkit' has no attribute {name!r}", name=name, obj=import_module("qfkit"))
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
