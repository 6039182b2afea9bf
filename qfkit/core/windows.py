"""Figures of the last stretch of a run: so many equity points, or a span of time."""

from math import nan, sqrt
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import ParameterError

__all__ = ["DEFAULT_WINDOW", "Window", "WindowFigures", "window_figures", "window_of"]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]

DEFAULT_WINDOW = 100
"""Equity points of a window where none is given."""

# A spread of returns this small against the largest return is the rounding of equal returns.
_ROUNDING = 1e-12


class Window(msgspec.Struct, frozen=True):
    """The last ``points`` period returns, or those of the last ``span_ns``; one of the two is None."""

    points: int | None
    span_ns: int | None

    def first_base(self, times_ns: Times) -> int:
        """The index of the equity point that the window's first return starts from."""
        last = len(times_ns) - 1
        if self.points is not None:
            return max(last - self.points, 0)
        assert self.span_ns is not None
        return max(int(np.searchsorted(times_ns, times_ns[-1] - self.span_ns, side="right")) - 1, 0)


class WindowFigures(msgspec.Struct, frozen=True):
    """What a window came to. ``drawdown``: how far its end lies below its highest equity, a positive fraction.

    Volatility and Sharpe are annualised as those of the run; they are NaN for fewer than two returns, and
    Sharpe where returns do not vary.
    """

    rolling_return: float
    rolling_volatility: float
    rolling_sharpe: float
    rolling_drawdown: float


def window_of(window: int | str | None) -> Window:
    """The window for a count of points (``250``) or a span of time (``"1d"``); None is the last 100 points.

    Raises :class:`ParameterError` or :class:`TimeframeError`.
    """
    if window is None:
        return Window(DEFAULT_WINDOW, None)
    if isinstance(window, str):
        return Window(None, timeframe_ns(window))
    if isinstance(window, bool) or not isinstance(window, int) or window < 2:
        raise ParameterError(f'window={window!r}: a number of equity points, 2 or more, or a span of time such as "1d"')
    return Window(window, None)


def window_figures(equity: Floats, periods_per_year: float) -> WindowFigures:
    """The figures of the equity points of one window, its base first."""
    if len(equity) < 2 or float(np.min(equity[:-1])) <= 0.0:
        return WindowFigures(nan, nan, nan, nan)
    returns = equity[1:] / equity[:-1] - 1.0
    volatility, sharpe = nan, nan
    if len(returns) > 1:
        deviation = float(np.std(returns, ddof=1))
        volatility = deviation * sqrt(periods_per_year)
        if deviation > _ROUNDING * float(np.max(np.abs(returns))):
            sharpe = float(np.mean(returns)) / deviation * sqrt(periods_per_year)
    return WindowFigures(
        float(equity[-1] / equity[0] - 1.0), volatility, sharpe, float(1.0 - equity[-1] / np.max(equity))
    )
