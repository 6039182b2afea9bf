"""What trials came to, as arrays with a row each, in memory and in Parquet."""

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.errors import FrameError, ResearchError
from qfkit.research.trials import BLOCKS, FIGURES, TrialBlock

if TYPE_CHECKING:
    import pyarrow

__all__ = ["OWN_COLUMNS", "SMALLER_IS_BETTER", "TrialRows", "fill_rows", "read_rows", "write_rows"]

Floats: TypeAlias = NDArray[np.float64]

SMALLER_IS_BETTER = frozenset(
    {
        "average_holding_days",
        "expected_shortfall",
        "exposure",
        "fees",
        "longest_drawdown_days",
        "max_drawdown",
        "max_drawdown_days",
        "turnover",
        "turnover_total",
        "value_at_risk",
        "volatility",
    }
)
"""Figures of which the least is the best."""

OWN_COLUMNS = frozenset({"combination", "neighbours", "worst_neighbour", "error", "seconds"})
"""What a sweep's table has besides parameters and figures."""

_BY_ROW = ("metric", "skewness", "kurtosis", "seconds")
_BY_BLOCK = ("sums", "squares")
_META = b"qfkit sweep"


class TrialRows:
    """A row a trial: about half a kilobyte each, however long its run was. ``is_done`` says which were made."""

    def __init__(self, count: int) -> None:
        self.figures = np.full((count, len(FIGURES)), nan)
        self.metric, self.skewness, self.kurtosis, self.seconds = (np.full(count, nan) for _ in range(4))
        self.sums, self.squares = np.full((count, BLOCKS), nan), np.full((count, BLOCKS), nan)
        self.errors: dict[int, str] = {}
        self.is_done = np.zeros(count, dtype=bool)

    def __len__(self) -> int:
        return len(self.metric)

    def take(self, block: TrialBlock) -> None:
        """Put a worker's rows where they belong."""
        numbers = block.numbers
        self.figures[numbers] = block.figures
        for name in (*_BY_ROW, *_BY_BLOCK):
            getattr(self, name)[numbers] = getattr(block, name)
        self.errors.update(block.errors)
        self.is_done[numbers] = True

    def forget(self, numbers: Sequence[int]) -> None:
        """Have trials count as not made."""
        self.is_done[list(numbers)] = False
        for number in numbers:
            self.errors.pop(number, None)

    def figure(self, name: str) -> Floats:
        """One figure of all."""
        column: Floats = self.figures[:, FIGURES.index(name)]
        return column

    def best(self, metric: str, rows: slice = slice(None)) -> int | None:
        """The first of the best by the metric; None where none has one."""
        values = self.metric[rows]
        known = np.isfinite(values)
        if not known.any():
            return None
        worst = np.inf if metric in SMALLER_IS_BETTER else -np.inf
        kept = np.where(known, values, worst)
        place = int(np.argmin(kept) if metric in SMALLER_IS_BETTER else np.argmax(kept))
        return place + (rows.start or 0)

    @property
    def period_sharpe(self) -> Floats:
        """The Sharpe ratio of one period; NaN where returns do not vary."""
        periods = self.figure("periods")
        total, squares = self.sums.sum(axis=1), self.squares.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = (squares - total * total / periods) / (periods - 1.0)
            known = variance > 1e-14 * squares / periods
            return np.where(known, total / periods / np.sqrt(np.where(known, variance, 1.0)), nan)


# -- Parquet ---------------------------------------------------------------------------------


def write_rows(
    path: Path, rows: TrialRows, parameters: Mapping[str, Sequence[Any]], about: Mapping[str, object]
) -> None:
    """The rows that are done with their parameters, and what the sweep was; a file that is there is whole."""
    import pyarrow
    from pyarrow import parquet

    numbers = np.flatnonzero(rows.is_done)
    columns: dict[str, Any] = {"combination": numbers}
    columns |= {name: [values[number] for number in numbers.tolist()] for name, values in parameters.items()}
    # A parameter may have a figure's name.
    columns |= {
        f"_{name}" if name in parameters else name: rows.figures[numbers, place] for place, name in enumerate(FIGURES)
    }
    columns |= {f"_{name}": getattr(rows, name)[numbers] for name in _BY_ROW}
    columns |= {f"_{name}": list(getattr(rows, name)[numbers]) for name in _BY_BLOCK}
    columns["error"] = [rows.errors.get(number) for number in numbers.tolist()]
    table = pyarrow.table(columns).replace_schema_metadata({_META: msgspec.json.encode(about, enc_hook=repr)})
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, unfinished, compression="zstd")
        unfinished.replace(path)
    except OSError as error:
        raise ResearchError(f"{path} cannot be written ({error.strerror or error}): give another path=") from error


def read_rows(path: Path) -> "tuple[pyarrow.Table, dict[str, Any]]":
    """A file of :func:`write_rows`: its table, and what the sweep was."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise FrameError(f"{path} cannot be read as a sweep ({error}): check the path") from error
    meta = (table.schema.metadata or {}).get(_META)
    if meta is None:
        raise FrameError(f"{path} is no sweep: give a file that qf.sweep(..., path=...) or sweep.save(...) wrote")
    about: dict[str, Any] = msgspec.json.decode(meta)
    return table, about


def fill_rows(rows: TrialRows, table: "pyarrow.Table", numbers: Sequence[int]) -> None:
    """Take the rows of a file over, each at its number."""
    at = np.asarray(numbers, dtype=np.int64)
    for place, name in enumerate(FIGURES):
        rows.figures[at, place] = _floats(table, f"_{name}" if f"_{name}" in table.column_names else name)
    for name in _BY_ROW:
        getattr(rows, name)[at] = _floats(table, f"_{name}")
    for name in _BY_BLOCK:
        getattr(rows, name)[at] = np.array(table.column(f"_{name}").to_pylist(), dtype=np.float64).reshape(-1, BLOCKS)
    rows.is_done[at] = True
    errors = table.column("error").to_pylist()
    rows.errors.update({number: error for number, error in zip(numbers, errors, strict=True) if error is not None})


def _floats(table: "pyarrow.Table", name: str) -> Floats:
    found: Floats = table.column(name).to_numpy().astype(np.float64)
    return found
