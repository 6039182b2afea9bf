"""The peers' side of the sweeps, as each library's users write it: ``python -m bench.sweeps_peers NAME``.

Runs in the peers' environment. NAME: vectorbt-numba, vectorbt-rust or backtesting.
"""

import resource
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.work import CASH, SHARES, load, save
from bench.worker import serve, timed

__all__: list[str] = []


def _answer(seconds: float, end_equity: np.ndarray, sharpe: np.ndarray, save_to: str | None) -> dict[str, Any]:
    if save_to is not None:
        save(Path(save_to), {"end_equity": end_equity, "sharpe": sharpe})
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}


def _other_figures(portfolio: Any) -> list[Any]:
    """What qfkit's table holds besides, as far as vectorbt has it for many columns at once."""
    trades = portfolio.trades.closed
    return [
        portfolio.annualized_return(),
        portfolio.annualized_volatility(),
        portfolio.sortino_ratio(),
        portfolio.calmar_ratio(),
        portfolio.value_at_risk(),
        portfolio.cond_value_at_risk(),
        portfolio.drawdowns.max_duration(),
        portfolio.position_coverage(),
        portfolio.orders.count(),
        portfolio.orders.fees.sum(),
        trades.win_rate(),
        trades.profit_factor(),
        trades.expectancy(),
        trades.pnl.max(),
        trades.pnl.min(),
        trades.duration.mean(),
    ]


def vectorbt_jobs(engine: str) -> dict[str, Any]:
    """vectorbt: all combinations as columns of one portfolio; return, Sharpe, drawdown and number of trades of each.

    ``is_whole``: the further figures that qfkit's table has, too.
    """
    import vectorbt as vbt

    # By itself it takes Rust where it has it, and numba for the rest.
    vbt.settings["engine"] = "auto" if engine == "rust" else engine
    frames: dict[str, pd.DataFrame] = {}

    def sweep(
        folder: str, pairs: list[list[int]], save_to: str | None = None, is_whole: bool = False
    ) -> dict[str, Any]:
        if folder not in frames:
            data = load(Path(folder))
            frames[folder] = pd.DataFrame({name: data[name] for name in ("open", "close")})
        frame = frames[folder]

        def work() -> Any:
            fast = vbt.MA.run(frame["close"], [one for one, _ in pairs], short_name="fast")
            slow = vbt.MA.run(frame["close"], [one for _, one in pairs], short_name="slow")
            entries = fast.ma_above(slow).vbt.signals.fshift(1)
            exits = fast.ma_below(slow).vbt.signals.fshift(1)
            portfolio = vbt.Portfolio.from_signals(
                frame["close"], entries, exits, price=frame["open"], size=SHARES, init_cash=CASH, freq="1min"
            )
            figures = (
                portfolio.total_return(),
                portfolio.sharpe_ratio(),
                portfolio.max_drawdown(),
                portfolio.trades.count(),
            )
            if is_whole:
                _other_figures(portfolio)
            return figures, portfolio.final_value()

        seconds, (figures, end) = timed(work)
        return _answer(seconds, end.to_numpy(float), figures[1].to_numpy(float), save_to)

    names = ("vectorbt", "numba", "pandas", "numpy", *(("vectorbt-rust",) if engine == "rust" else ()))
    return {
        "sweep": sweep,
        "versions": lambda: {"python": sys.version.split()[0], **{one: version(one) for one in names}},
    }


def backtesting_jobs() -> dict[str, Any]:
    """backtesting.py: ``Backtest.optimize`` over the same pairs, by its own pool."""
    from multiprocessing import get_context
    from multiprocessing.pool import ThreadPool

    import backtesting
    from backtesting import Backtest, Strategy
    from backtesting.lib import crossover

    def average(values: Any, length: int) -> Any:
        return pd.Series(values).rolling(length).mean()

    class Crossover(Strategy):  # type: ignore[misc]
        fast, slow = 10, 30

        def init(self) -> None:
            self.fast_average = self.I(average, self.data.Close, self.fast)
            self.slow_average = self.I(average, self.data.Close, self.slow)

        def next(self) -> None:
            if crossover(self.fast_average, self.slow_average):
                self.buy(size=int(SHARES))
            elif crossover(self.slow_average, self.fast_average):
                self.position.close()

    # Its processes find the class by the module's name.
    Crossover.__module__, Crossover.__qualname__ = __name__, "Crossover"
    globals()["Crossover"] = Crossover
    frames: dict[str, pd.DataFrame] = {}

    def sweep(
        folder: str, pairs: list[list[int]], processes: int = 1, save_to: str | None = None, **_: Any
    ) -> dict[str, Any]:
        if folder not in frames:
            data = load(Path(folder))
            index = pd.to_datetime(data["open_ns"])
            names = ("open", "high", "low", "close", "volume")
            frames[folder] = pd.DataFrame({name.title(): data[name] for name in names}, index)
        wanted = {tuple(pair) for pair in pairs}
        backtesting.Pool = (lambda *_, **__: ThreadPool(1)) if processes == 1 else get_context("fork").Pool
        fast, slow = sorted({one for one, _ in pairs}), sorted({one for _, one in pairs})

        def work() -> Any:
            return Backtest(frames[folder], Crossover, cash=CASH, commission=0.0, finalize_trades=False).optimize(
                fast=fast,
                slow=slow,
                maximize="Equity Final [$]",
                constraint=lambda one: (one.fast, one.slow) in wanted,
                return_heatmap=True,
            )

        seconds, (_, heat_map) = timed(work)
        found = np.array([heat_map[tuple(pair)] for pair in pairs], dtype=float)
        return _answer(seconds, found, np.full(len(found), np.nan), save_to)

    names = ("backtesting", "pandas", "numpy")
    return {
        "sweep": sweep,
        "versions": lambda: {"python": sys.version.split()[0], **{one: version(one) for one in names}},
    }


if __name__ == "__main__":
    chosen = sys.argv[1]
    serve(backtesting_jobs() if chosen == "backtesting" else vectorbt_jobs(chosen.removeprefix("vectorbt-")))
