"""A session's running figures for Prometheus, over HTTP.

Names follow Prometheus' practice: base units in the name (``_seconds``, ``_ratio`` for fractions), ``_total``
for what only grows. The library writes the text and escapes the labels: ``session``, ``strategy``
(``account`` is the sum of all) and ``symbol``.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from qfkit.core.engine import Engine
from qfkit.core.snapshot import Snapshot
from qfkit.core.windows import window_of
from qfkit.errors import SessionError
from qfkit.metrics_frames import live_figures, live_symbols

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from qfkit.live.figures import SessionFigures

__all__ = ["MetricsServer"]

_LOOK_S = 0.05
_PATIENCE_S = 5.0
_DAY_S = 86_400.0

_DAYS = ("max_drawdown_days", "longest_drawdown_days", "average_holding_days", "longest_holding_days", "days")
_RATIOS = (
    "total_return",
    "cagr",
    "volatility",
    "max_drawdown",
    "value_at_risk",
    "expected_shortfall",
    "exposure",
    "turnover",
    "turnover_total",
    "win_rate",
    "average_return",
    "average_adverse_return",
    "average_favourable_return",
    "rolling_return",
    "rolling_volatility",
    "rolling_drawdown",
)
_COUNTERS = ("trades", "fills", "fees", "winning", "losing", "traded")
_NAMED = {"winning": "winning_trades", "losing": "losing_trades", "traded": "traded_notional"}
_HELP = {
    "total_return": "end over start equity, less one",
    "cagr": "compound growth rate a year",
    "volatility": "standard deviation of period returns, annualised",
    "sharpe": "mean over standard deviation of period returns, annualised, risk-free rate 0",
    "sortino": "mean over downside deviation of period returns, annualised",
    "calmar": "growth rate a year over the deepest drawdown",
    "max_drawdown": "deepest fall below an earlier peak, a positive fraction",
    "value_at_risk": "loss that 95 % of the last 10,000 period returns stay above",
    "expected_shortfall": "mean loss of the worst 5 % of the last 10,000 period returns",
    "exposure": "fraction of the time with a position open",
    "turnover": "traded notional over mean equity, a year",
    "turnover_total": "traded notional over mean equity, of the whole run",
    "streak": "trades won in a row up to now, below zero lost in a row",
    "max_adverse_excursion": "largest open loss of any trade, in money, zero or less",
    "max_favourable_excursion": "largest open profit of any trade, in money",
    "pnl": "profit and loss of finished trades, after fees",
}


class MetricsServer:
    """Serves a session's figures at ``url`` until it ends or :meth:`stop`. Made by ``session.serve_metrics``."""

    def __init__(self, session: "SessionFigures", port: int, host: str) -> None:
        try:
            from prometheus_client import CollectorRegistry, make_wsgi_app
            from prometheus_client.exposition import ThreadingWSGIServer
        except ImportError:
            raise SessionError("serving metrics needs prometheus_client: pip install 'qfkit[prometheus]'") from None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(session))

        class Server(ThreadingWSGIServer):
            """Of the host's own address family."""

            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        try:
            self._server = make_server(host, port, make_wsgi_app(registry), Server, handler_class=_Handler)
        except (OSError, OverflowError) as error:
            raise SessionError(
                f"metrics cannot be served at {host}:{port} ({error}): take another port=, or 0 for any that is free"
            ) from error
        self.host = host
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_S,), name="qfkit-metrics", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the figures are."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/metrics"

    @property
    def is_serving(self) -> bool:
        """Whether it has not been stopped yet."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Close it; the port is free then."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __repr__(self) -> str:
        return f"MetricsServer({self.url}, {'serving' if self.is_serving else 'stopped'})"


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A line a scrape on stderr would drown a dashboard."""


class _Collector:
    """Reads the session at each scrape."""

    def __init__(self, session: "SessionFigures") -> None:
        self._session = session

    def collect(self) -> Iterator["Metric"]:
        families = _Families(self._session.name)
        try:
            rows, symbols = self._session.read(_figures, timeout_s=_PATIENCE_S)
        except (TimeoutError, SessionError):
            families.add("up", 0.0, "whether the session runs and answers")
            yield from families
            return
        snapshot = self._session.snapshot
        families.add("up", float(snapshot.state in ("running", "paused")), "whether the session runs and answers")
        for name, figures in rows.items():
            families.add_figures("", figures, strategy=name)
        for row in symbols:
            families.add_figures("symbol_", row, strategy=row["strategy"], symbol=row["symbol"])
        _add_snapshot(families, snapshot)
        yield from families


def _figures(engine: Engine) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    from msgspec.structs import asdict

    figures = live_figures(engine.scorecard, window_of(None))
    rows = {name: {**asdict(one), **asdict(two), **asdict(three)} for name, (one, two, three) in figures.items()}
    return rows, live_symbols(engine.scorecard)


def _add_snapshot(families: "_Families", snapshot: Snapshot) -> None:
    """What moves between equity points: prices, positions, equity, the feed."""
    families.add("equity", snapshot.equity, "cash and positions at the last prices", strategy="account")
    families.add("cash", snapshot.cash, "cash", strategy="account")
    families.add("unrealised_pnl", snapshot.unrealised, "profit and loss of open positions", strategy="account")
    families.add("drawdown_ratio", snapshot.drawdown, "fall below the highest equity by now", strategy="account")
    families.add("working_orders", len(snapshot.working_orders), "orders that work")
    families.add("late_events_total", snapshot.late_events, "events left out because they came late")
    for strategy in snapshot.strategies:
        families.add("equity", strategy.equity, "cash and positions at the last prices", strategy=strategy.name)
        running = float(strategy.state == "running")
        families.add("strategy_running", running, "whether it is neither paused nor stopped", strategy=strategy.name)
    for symbol in snapshot.symbols:
        families.add("price", symbol.price, "last price", symbol=symbol.symbol)
    for position in snapshot.positions:
        labels = {"strategy": position.strategy, "symbol": position.symbol}
        families.add("position_quantity", position.quantity, "quantity held, below zero for a short", **labels)
        families.add("position_unrealised_pnl", position.unrealised, "profit and loss of the position", **labels)
    feed = snapshot.feed
    if feed is not None:
        families.add("events_total", feed.events, "events processed")
        families.add("feed_live", float(feed.state == "live"), "whether the feed is live", feed=feed.name)
        for name in ("reconnects", "gaps", "bad", "duplicates"):
            families.add(f"feed_{name}_total", getattr(feed, name), f"{name} of the feed", feed=feed.name)
        if feed.age_s is not None:
            families.add("feed_age_seconds", feed.age_s, "time since the last event", feed=feed.name)


class _Families:
    """Samples by the name of their metric; a name ending in ``_total`` is a counter's."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._by_name: dict[str, Any] = {}

    def add(self, name: str, value: float, help_: str, **labels: str) -> None:
        """Add a sample; those of one name have the same labels."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = {"session": self._session, **labels}
        family = self._by_name.get(name)
        if family is None:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = self._by_name[name] = kind(f"qfkit_{name}", help_, labels=list(labels))
        family.add_metric(list(labels.values()), float(value))

    def add_figures(self, prefix: str, figures: Mapping[str, Any], **labels: str) -> None:
        """Add figures, each by its name and unit; texts are left out."""
        for name, value in figures.items():
            if isinstance(value, str):
                continue
            exported, factor = _exported(name)
            text = _HELP.get(name, name.replace("_", " "))
            self.add(prefix + exported, value * factor, text, **labels)

    def __iter__(self) -> Iterator["Metric"]:
        return iter(self._by_name.values())


def _exported(name: str) -> tuple[str, float]:
    """A figure's name with its unit, and the factor to that unit."""
    if name in _COUNTERS:
        return f"{_NAMED.get(name, name)}_total", 1.0
    if name in _DAYS:
        return "run_seconds" if name == "days" else name.removesuffix("_days") + "_seconds", _DAY_S
    if name in _RATIOS:
        # The ending "total" is that of counters.
        return "whole_turnover_ratio" if name == "turnover_total" else f"{name}_ratio", 1.0
    return name, 1.0
