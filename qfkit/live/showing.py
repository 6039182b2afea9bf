"""How a session shows itself in a notebook: its dashboard and the small views of it."""

from typing import TYPE_CHECKING, Any, cast

from qfkit.core.chart_feed import ChartView
from qfkit.errors import ParameterError, did_you_mean
from qfkit.ipython import is_kernel
from qfkit.live.pipeline import Pipeline

if TYPE_CHECKING:
    from qfkit.views.dashboard.controls import Steered
    from qfkit.views.dashboard.live import Dashboard

__all__ = ["Showing"]


class Showing:
    """The part of a :class:`~qfkit.Session` that shows it. Views of one kind are one: the same in every cell."""

    name: str
    _pipeline: Pipeline

    def dashboard(self, *, compact: bool = False) -> "Dashboard":
        """The live dashboard, which a cell that ends in the session shows too; ``compact`` for a small cell."""
        return self._show("compact" if compact else "full")

    def chart(self, symbol: str | None = None) -> "Dashboard":
        """The candles of a symbol, live, with what was traded on them; None takes the first.

        Raises :class:`ParameterError` for a symbol that the session does not have.
        """
        known = self._pipeline.engine.symbols
        if symbol is not None and known and symbol not in known:
            raise ParameterError(f"no symbol {symbol!r} in this session.{did_you_mean(symbol, known)}")
        return self._show("chart", symbol)

    def equity_chart(self) -> "Dashboard":
        """Equity and drawdown of the whole run, live."""
        return self._show("equity")

    def blotter(self) -> "Dashboard":
        """The latest orders with their reasons and what became of them, live."""
        return self._show("blotter")

    def risk_panel(self) -> "Dashboard":
        """Each limit against its bound, the stops, and the last assessment, live."""
        return self._show("risk")

    def chart_view(self, symbol: str | None = None, timeframe: str | None = None, bars: int = 120) -> ChartView:
        """What a picture shows beyond the snapshot, bounded; on the session's thread, or once it is over."""
        return self._pipeline.chart_feed.view(symbol, timeframe, bars)

    def _show(self, kind: Any, symbol: str | None = None) -> "Dashboard":
        from qfkit.views.dashboard.live import open_dashboard

        return open_dashboard(cast("Steered", self), kind, symbol)

    def _ipython_display_(self) -> None:
        if not is_kernel():
            # IPython goes on with the plain text.
            raise NotImplementedError
        self.dashboard()._ipython_display_()
