"""A session's figures while it runs: as tables, beside a benchmark, and for Prometheus."""

import concurrent.futures
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from qfkit.core.engine import Engine
from qfkit.core.snapshot import Snapshot
from qfkit.core.windows import window_of
from qfkit.errors import SessionError
from qfkit.limit_frames import limits_frame
from qfkit.live.pipeline import Pipeline
from qfkit.live.record_frames import RecordFrames
from qfkit.live.runner import run, runner
from qfkit.metrics_frames import check_by, live_figures, live_symbols, metrics_frame, symbols_frame
from qfkit.position_frames import positions_frame

if TYPE_CHECKING:
    import pandas

    from qfkit.live.exporter import MetricsServer

__all__ = ["SessionFigures"]

Value = TypeVar("Value")


class SessionFigures(RecordFrames):
    """The part of a :class:`~qfkit.Session` that tells its figures."""

    name: str
    _pipeline: Pipeline
    _future: "concurrent.futures.Future[None] | None"
    _metrics_server: "MetricsServer | None"

    @property
    def snapshot(self) -> Snapshot:
        """The session at this moment."""
        raise NotImplementedError

    @property
    def state(self) -> str:
        """created, running, paused, stopped, failed or interrupted."""
        raise NotImplementedError

    @property
    def metrics(self) -> "pandas.DataFrame":
        """The running figures: one row the account and each strategy; see :meth:`metrics_by`."""
        return self.metrics_by("strategy")

    def metrics_by(self, by: str = "strategy", window: int | str | None = None) -> "pandas.DataFrame":
        """The running figures as :meth:`Result.metrics_by` gives them at the end, as of the last equity point.

        They are kept as the session goes, so that it takes no longer in a long one. Value at risk, expected
        shortfall and the ``window`` are of the last 10,000 equity points.
        """
        check_by(by)
        chosen = window_of(window)
        if by == "symbol":
            return symbols_frame(self.read(lambda engine: live_symbols(engine.scorecard)))
        return metrics_frame(self.read(lambda engine: live_figures(engine.scorecard, chosen)))

    def read(self, look: Callable[[Engine], Value], timeout_s: float | None = None) -> Value:
        """What ``look`` sees of the engine, between two batches of events. It must change nothing."""

        def measured() -> Value:
            self._pipeline.engine.measure()
            return look(self._pipeline.engine)

        if self._future is None or self._future.done() or runner.is_this_thread:
            return measured()

        async def on_the_runner() -> Value:
            return measured()

        return run(on_the_runner(), timeout_s)

    @property
    def positions(self) -> "pandas.DataFrame":
        """What is held now, indexed by symbol and strategy; the rows ``account`` are all strategies together."""
        return positions_frame(self.snapshot.positions)

    @property
    def limits(self) -> "pandas.DataFrame":
        """Where each risk limit stands now, one row a strategy ("account": all) and limit, and the stops by hand."""
        return limits_frame(self.snapshot)

    def serve_metrics(self, port: int = 9108, host: str = "127.0.0.1") -> "MetricsServer":
        """Serve the running figures to Prometheus at ``http://host:port/metrics``, until the session ends.

        Only this machine can read them unless another ``host`` is given; there is no password. ``port``
        0 takes a free one (see ``url``). Needs ``pip install 'qfkit[prometheus]'``. Raises
        :class:`SessionError` where the port is taken, the library missing or the session over.
        """
        from qfkit.live.exporter import MetricsServer

        if self._future is not None and self._future.done():
            raise SessionError(f"the session {self.name!r} is {self.state}: only a running one serves its metrics")
        if self._metrics_server is not None and self._metrics_server.is_serving:
            raise SessionError(f"the session {self.name!r} serves its metrics already, at {self._metrics_server.url}")
        self._metrics_server = MetricsServer(self, port, host)
        return self._metrics_server
