"""Equity of the whole run with its drawdown under it."""

import bqplot
import numpy as np

from qfkit.views.dashboard.plots import Plot, Tag, send, short
from qfkit.views.dashboard.scene import Scene
from qfkit.views.picture import BLUE, VERMILION
from qfkit.views.series import around, time_ticks, value_text
from qfkit.views.text import percent

__all__ = ["EquityChart"]


class EquityChart:
    """Two plots over the same time; ``boxes`` are their widgets."""

    def __init__(self, height_px: int, drawdown_px: int) -> None:
        self._equity_scales = {"x": bqplot.LinearScale(min=0.0, max=1.0), "y": bqplot.LinearScale(min=0.0, max=1.0)}
        self._drawdown_scales = {"x": bqplot.LinearScale(min=0.0, max=1.0), "y": bqplot.LinearScale(min=-1.0, max=0.0)}
        self._equity = self._line(self._equity_scales, BLUE, "bottom", 0.1)
        self._drawdown = self._line(self._drawdown_scales, VERMILION, "top", 0.18)
        self.equity = Plot(height_px, [self._equity], self._equity_scales)
        self.drawdown = Plot(drawdown_px, [self._drawdown], self._drawdown_scales)
        self.boxes = [self.equity.box, self.drawdown.box]

    @staticmethod
    def _line(scales: dict[str, bqplot.Scale], colour: str, fill: str, opacity: float) -> bqplot.Lines:
        return bqplot.Lines(
            x=short([0.0]),
            y=short([0.0]),
            scales=scales,
            colors=[colour],
            stroke_width=1.6,
            fill=fill,
            fill_colors=[colour],
            fill_opacities=[opacity],
            visible=False,
        )

    def draw(self, scene: Scene) -> None:
        """Bring both plots up to a scene."""
        points = list(scene.chart.equity)
        snapshot = scene.snapshot
        # The present value ends the line, between two equity points too.
        if points and snapshot.time_ns > points[-1][0] and snapshot.equity == snapshot.equity:
            points.append((snapshot.time_ns, snapshot.equity))
        values = np.array([value for _, value in points], dtype=np.float64)
        if len(values) < 2 or not np.isfinite(values).all():
            for mark in (self._equity, self._drawdown):
                send(mark, x=short([]))
            self.equity.say("The equity appears with the second bar.")
            self.drawdown.say("")
            return
        start = snapshot.starting_cash
        low, high = float(min(values.min(), start)), float(max(values.max(), start))
        x = short(np.arange(len(values)))
        last = float(len(values) - 1)
        ticks = time_ticks(np.array([time_ns for time_ns, _ in points], dtype=np.int64))
        bottom, top = around(low, high)
        self.equity.fit(bottom, top, 0.0, last)
        send(self._equity, x=x, y=short(values))
        tags = [
            Tag(float(values[-1]), value_text(float(values[-1]), high - low), BLUE, is_main=True, is_line=False),
            Tag(start, "start", "var(--q-quiet)"),
        ]
        self.equity.label(ticks, tags, about=4)
        peaks = np.maximum.accumulate(np.maximum(values, start))
        fall = (values / peaks - 1.0) * 100.0
        deepest = min(float(fall.min()), -0.01)
        self.drawdown.fit(deepest * 1.12, 0.0, 0.0, last)
        send(self._drawdown, x=x, y=short(fall))
        now = float(fall[-1])
        self.drawdown.label(
            ticks, [Tag(now, percent(now / 100.0), VERMILION, is_main=True, is_line=False)], about=2, unit=" %"
        )
