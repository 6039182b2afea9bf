"""Alerts of a session: ``qf.paper(..., alerts=[qf.alerts.PriceAbove("BTCUSDT", 70_000)], notify="file:alerts.log")``.

Rules say what is worth telling, sinks where it goes. Any function of a
:class:`~qfkit.Snapshot` is a rule too, and any function of an :class:`Alert` a sink.
"""

from qfkit.journal.schema import Alert
from qfkit.live.alert_rules import (
    Drawdown,
    FeedGap,
    FeedStale,
    Filled,
    LimitNear,
    OrderRejected,
    PriceAbove,
    PriceBelow,
    PriceMove,
    Rule,
    StrategySilent,
    StrategyStopped,
    VolumeBurst,
    When,
)
from qfkit.live.alert_sinks import Apprise, Callback, LogFile, Notebook, Sink, Terminal, Webhook

__all__ = [
    "Alert",
    "Apprise",
    "Callback",
    "Drawdown",
    "FeedGap",
    "FeedStale",
    "Filled",
    "LimitNear",
    "LogFile",
    "Notebook",
    "OrderRejected",
    "PriceAbove",
    "PriceBelow",
    "PriceMove",
    "Rule",
    "Sink",
    "StrategySilent",
    "StrategyStopped",
    "Terminal",
    "VolumeBurst",
    "Webhook",
    "When",
]
