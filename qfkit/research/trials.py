"""Trials: single runs of a strategy under given parameters, made in blocks by a worker."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import nan
from typing import Any, TypeAlias, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.annualisation import infer_annualisation
from qfkit.core.engine import Engine
from qfkit.core.metrics import Metrics, measure, period_returns
from qfkit.core.strategy import Strategy
from qfkit.errors import ParameterError, did_you_mean
from qfkit.research.fingerprint import compiled, fingerprint_of
from qfkit.research.prepared import PreparedBars, PreparedEvents, prepare
from qfkit.result import Result
from qfkit.tables import BarColumns

__all__ = [
    "BLOCKS",
    "FIGURES",
    "Item",
    "Job",
    "Metric",
    "TrialBlock",
    "Window",
    "cut",
    "metric_name",
    "returns_moments",
]

Floats: TypeAlias = NDArray[np.float64]
Metric: TypeAlias = str | Callable[[Result], float]
Item: TypeAlias = tuple[int, int, Mapping[str, Any]]
"""The number of a trial, that of its window, and its parameters."""

FIGURES = tuple(
    name for name in Metrics.__struct_fields__ if name not in ("assumption", "periods_per_year", "start_equity")
)
"""The figures that are kept of each trial."""
BLOCKS = 16
"""Of so many stretches of time the moments of returns are kept, for the probability of overfitting."""


class Window(msgspec.Struct, frozen=True):
    """A part of the data: only bars that close after ``after_ns`` and not after ``until_ns``."""

    after_ns: int
    until_ns: int


class TrialBlock(msgspec.Struct, frozen=True):
    """What came of some trials, a row each: ``figures`` as in :data:`FIGURES`, NaN for one that failed.

    ``metric`` is what is optimised. ``sums`` and ``squares`` are those of the period returns in each of
    :data:`BLOCKS` equal stretches of time, ``skewness`` and ``kurtosis`` (3 for a normal) those of all.
    """

    numbers: NDArray[np.int64]
    figures: Floats
    metric: Floats
    sums: Floats
    squares: Floats
    skewness: Floats
    kurtosis: Floats
    seconds: Floats
    errors: dict[int, str]


class Job:
    """What all trials of a sweep share: strategy, data, settings, and the parts of the data that there are."""

    def __init__(
        self,
        strategy: Strategy,
        data: object,
        settings: Mapping[str, Any],
        reading: Mapping[str, Any],
        metric: Metric,
        windows: Sequence[Window] = (),
    ) -> None:
        self.kind = type(strategy)
        self.base = strategy.parameters
        self.settings = dict(settings)
        self.metric = metric
        self.windows = tuple(windows)
        self.reading = dict(reading)
        # Settings that cannot be are told here, and not by each of the trials.
        Engine({self.kind.__name__: Strategy()}, **self.settings)
        first = prepare(data, **reading)
        self.label = first.label
        # Bars are read and checked here and now, for all workers; whatever else there is each of them reads.
        self._columns = first.columns if isinstance(first, PreparedBars) else None
        self._data = None if self._columns is not None else data
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._local = threading.local()

    @cached_property
    def fingerprint(self) -> str:
        """Tells it from a job of other code, data or settings."""
        # The source of a lambda is the whole call around it: what it was compiled to is its own.
        metric = (metric_name(self.metric), compiled(self.metric))
        return fingerprint_of(self.kind, self._columns, self._data, self.base, self.settings, self.reading, metric)

    @property
    def columns(self) -> Mapping[str, BarColumns] | None:
        """The bars, where the data are bars."""
        return self._columns

    def prepared(self, window: int) -> PreparedBars | PreparedEvents:
        """The data of a window, each thread's own: threads would write into each other's series."""
        kept = getattr(self._local, "kept", None)
        if kept is None or kept[0] != window:
            kept = self._local.kept = (window, self._prepare(window))
        return kept[1]

    def _prepare(self, window: int) -> PreparedBars | PreparedEvents:
        if self._columns is None:
            prepared = prepare(self._data, **self.reading)
            # A worker reads the bars of a catalogue once, for all its trials.
            return prepared.in_memory(keeps_series=True) if isinstance(prepared, PreparedEvents) else prepared
        columns = self._columns
        if self.windows:
            columns = {symbol: cut(own, self.windows[window]) for symbol, own in columns.items()}
            columns = {symbol: own for symbol, own in columns.items() if len(own)}
        return PreparedBars(columns, label=self.label, keeps_series=True)

    def result(self, parameters: Mapping[str, Any], window: int = 0) -> Result:
        """The run of one combination, as :func:`~qfkit.backtest` gives it."""
        return self.prepared(window).run({self.kind.__name__: self._strategy(parameters)}, self.settings)

    def run(self, items: Sequence[Item]) -> TrialBlock:
        """Make trials, one after the other. What raises in one is its row's error."""
        count = len(items)
        figures = np.full((count, len(FIGURES)), nan)
        metric, skewness, kurtosis, seconds = (np.full(count, nan) for _ in range(4))
        sums, squares = np.full((count, BLOCKS), nan), np.full((count, BLOCKS), nan)
        errors: dict[int, str] = {}
        for row, (number, window, parameters) in enumerate(items):
            started_s = time.perf_counter()
            try:
                measured, equity, found = self._measured(parameters, window)
                figures[row] = [getattr(measured, name) for name in FIGURES]
                sums[row], squares[row], skewness[row], kurtosis[row] = returns_moments(equity)
                metric[row] = (
                    getattr(measured, self.metric)
                    if isinstance(self.metric, str)
                    else self.metric(cast("Result", found))
                )
            except Exception as error:  # noqa: BLE001 - whatever a user's code raises is told in its row; the others go on
                figures[row] = metric[row] = nan
                errors[number] = _text(error)
            seconds[row] = time.perf_counter() - started_s
        numbers = np.array([number for number, _, _ in items], dtype=np.int64)
        return TrialBlock(numbers, figures, metric, sums, squares, skewness, kurtosis, seconds, errors)

    def _measured(self, parameters: Mapping[str, Any], window: int) -> tuple[Metrics, Floats, Result | None]:
        """The figures, the account's equity and, where a function of the user's judges, the result."""
        prepared = self.prepared(window)
        if isinstance(prepared, PreparedBars) and isinstance(self.metric, str):
            records = prepared.quick(self._strategy(parameters), self.settings)
            if records is not None:
                columns = records.equity_columns
                measured = measure(
                    columns.times_ns,
                    columns.account,
                    starting_equity=self.settings["cash"],
                    deals=records.deals,
                    periods_per_year=self._periods_per_year(columns.times_ns, window),
                )
                return measured, columns.account, None
        result = self.result(parameters, window)
        equity = result._equity
        return result.measure(self._periods_per_year(equity.times_ns, window)), equity.account, result

    def _strategy(self, parameters: Mapping[str, Any]) -> Strategy:
        return self.kind(**{**self.base, **parameters})

    def failed(self, item: Item, error: str) -> TrialBlock:
        """The row of a trial that could not be made at all."""
        unknown, blocks = np.full(1, nan), np.full((1, BLOCKS), nan)
        figures = np.full((1, len(FIGURES)), nan)
        number = np.array([item[0]], dtype=np.int64)
        return TrialBlock(number, figures, unknown, blocks, blocks, unknown, unknown, unknown, {item[0]: error})

    def _periods_per_year(self, times_ns: NDArray[np.int64], window: int) -> float:
        """Read off the times once: all trials of a window have the same."""
        key = (window, len(times_ns))
        known = getattr(self._local, "year", None)
        if known is None or known[0] != key:
            known = self._local.year = (key, infer_annualisation(times_ns).periods_per_year)
        return known[1]


def _text(error: BaseException) -> str:
    text = str(error)
    return text if type(error).__module__.startswith("qfkit.") and text else f"{type(error).__name__}: {text}"


def cut(columns: BarColumns, window: Window) -> BarColumns:
    """The bars that close within a window; views, not copies."""
    start, end = np.searchsorted(columns.close_ns, (window.after_ns, window.until_ns), side="right").tolist()
    return columns.rows(slice(start, end))


def returns_moments(equity: Floats) -> tuple[Floats, Floats, float, float]:
    """Sums and sums of squares of the period returns by stretch of time, their skewness and kurtosis; NaN for too few."""
    returns = period_returns(equity)
    unknown = np.full(BLOCKS, nan)
    if len(returns) < BLOCKS:
        return unknown, unknown, nan, nan
    starts = (np.arange(BLOCKS) * len(returns)) // BLOCKS
    sums = np.add.reduceat(returns, starts)
    squares = np.add.reduceat(returns * returns, starts)
    count = len(returns)
    apart = returns - float(np.sum(returns)) / count
    second = apart * apart
    variance = float(np.sum(second)) / count
    if variance <= 0.0:
        return sums, squares, nan, nan
    apart *= second
    skewness = float(np.sum(apart)) / count / variance**1.5
    second *= second
    kurtosis = float(np.sum(second)) / count / variance**2
    return sums, squares, skewness, kurtosis


def metric_name(metric: Metric) -> str:
    """The metric's name; :class:`ParameterError` for one that there is not."""
    if isinstance(metric, str):
        if metric not in FIGURES:
            raise ParameterError(f"metric={metric!r}: there is no such figure.{did_you_mean(metric, FIGURES)}")
        return metric
    if not callable(metric):
        raise ParameterError(f"metric={metric!r}: give a figure's name, as 'sharpe', or a function of a result")
    name = str(getattr(metric, "__name__", "metric"))
    if name in FIGURES:
        raise ParameterError(f"metric={name}: the function has the name of a figure of its own; give it another one")
    return name
