"""qfkit's side of the sweeps: ``python -m bench.sweeps_ours``."""

import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import qfkit as qf
from bench.ours import IDEAL, BarCrossover, trend
from bench.work import CASH, SHARES, SYMBOL, load, save
from bench.worker import serve, timed

__all__: list[str] = []

_frames: dict[str, pd.DataFrame] = {}


def sweep(
    folder: str, pairs: list[list[int]], kind: str, processes: int = 1, save_to: str | None = None
) -> dict[str, Any]:
    """One sweep, from a DataFrame to its table."""
    if folder not in _frames:
        data = load(Path(folder))
        index = pd.to_datetime(data["open_ns"], utc=True)
        frame = pd.DataFrame({name: data[name] for name in ("open", "high", "low", "close", "volume")}, index)
        frame.attrs["symbol"] = SYMBOL
        _frames[folder] = frame
    settings: dict[str, Any] = {"cash": CASH, "costs": IDEAL, "executor": processes, "progress": False}
    if kind == "signal":
        settings["sizer"] = qf.sizing.FixedQuantity(SHARES)
    combinations = [{"fast": fast, "slow": slow} for fast, slow in pairs]
    rule = trend if kind == "signal" else BarCrossover
    seconds, table = timed(lambda: qf.sweep(rule, _frames[folder], combinations=combinations, **settings).table)
    if table["error"].notna().any():
        raise ValueError(table["error"].dropna().iloc[0])
    if save_to is not None:
        save(
            Path(save_to),
            {"end_equity": table["end_equity"].to_numpy(float), "sharpe": table["sharpe"].to_numpy(float)},
        )
    return {"seconds": seconds, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def versions() -> dict[str, Any]:
    """The interpreter and what the sweep rests on."""
    return {"python": sys.version.split()[0], "numpy": np.__version__, "pandas": pd.__version__}


if __name__ == "__main__":
    serve({"sweep": sweep, "versions": versions})
