"""The sweep: one strategy under many parameters, and what the best of them is worth."""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qfkit.core.costs import Costs
from qfkit.core.currencies import Currencies
from qfkit.core.filters import SignalFilters
from qfkit.core.margin import Margin
from qfkit.core.risk import RiskLimits
from qfkit.core.sizing import Sizer
from qfkit.core.strategy import as_strategy
from qfkit.errors import ParameterError, ResearchError
from qfkit.research.backtest import engine_settings
from qfkit.research.dispatch import Dispatch, Workers
from qfkit.research.evidence import Evidence, evidence_of
from qfkit.research.space import Constraint, Space, space_of
from qfkit.research.stability import neighbour_figures
from qfkit.research.sweep_pictures import SweepPictures
from qfkit.research.sweep_shown import SweepShown
from qfkit.research.trial_rows import OWN_COLUMNS, SMALLER_IS_BETTER, TrialRows, fill_rows, read_rows, write_rows
from qfkit.research.trials import FIGURES, Job, Metric, TrialBlock, metric_name
from qfkit.result import Result
from qfkit.run_progress import RunProgress

if TYPE_CHECKING:
    import pandas

__all__ = ["Sweep", "read_sweep", "sweep"]

_SAVED_EVERY_S = 10.0


def sweep(
    strategy: object,
    data: object,
    *,
    metric: Metric = "sharpe",
    executor: Workers = None,
    samples: int | None = None,
    seed: int = 0,
    constraint: Constraint | None = None,
    combinations: Iterable[Mapping[str, Any]] | Mapping[str, Any] | None = None,
    path: str | Path | None = None,
    progress: bool | None = None,
    cash: float = 100_000.0,
    timeframe: str | None = None,
    costs: Costs | None = None,
    risk: RiskLimits | None = None,
    sizer: Sizer | None = None,
    filters: SignalFilters | None = None,
    margin: Margin | None = None,
    currency: Currencies | str | None = None,
    symbols: str | Sequence[str] | None = None,
    calendar: str | None = None,
    **axes: Any,
) -> "Sweep":
    """Run a strategy over the same data under many parameters, on all cores, and return the :class:`Sweep`.

    ::

        qf.sweep(Trend, bars, fast=range(5, 30), slow=range(20, 120, 5), constraint=lambda p: p.fast < p.slow)

    - ``axes``: values by parameter; every combination of them is tried. ``samples`` draws so many of them, the same ones for
      the same ``seed``. ``combinations`` is a list of dicts instead, or a dict of axes where a parameter's name is one of
      the arguments here.
    - ``constraint``: called with all parameters; what it is false for is not tried.
    - ``metric``: a figure of :class:`Metrics` (the least is the best of drawdowns, volatility, costs and the like), or a
      function of a :class:`Result`, whose greatest value is the best.
    - ``executor``: None tries some here and takes a process a core where there is more to do; a number of processes (1 for
      none); any ``concurrent.futures.Executor``, as ``ThreadPoolExecutor()`` or mpi4py's ``MPIPoolExecutor()``; or a
      client that has one: Dask's, by ``get_executor()``, or ipyparallel's, by ``executor()``. No script needs a main
      guard for qfkit; one that makes a ``LocalCluster`` of Dask's needs it for that.
    - ``path``: a Parquet file that what is done is kept in; the same sweep again goes on from there.
    - the rest is as in :func:`backtest`.

    What raises in one combination is the error of its row. An interrupt keeps what is done: the sweep is returned as it
    stands, says so, and :meth:`Sweep.continue_` goes on. Workers get strategy and data once, and map the arrays of this
    machine's memory; a strategy of a notebook's cell needs no module of its own.

    The trap: the best of many tries looks better than it is; :attr:`Sweep.overfitting` says by how much.
    Raises :class:`ParameterError` for axes that do not fit, and the errors of :func:`backtest` for data that do not.
    """
    first = as_strategy(strategy)
    space = space_of(first, axes, combinations=combinations, samples=samples, seed=seed, constraint=constraint)
    _check_names(space.axes, metric_name(metric))
    settings = engine_settings(
        cash=cash,
        timeframe=timeframe,
        costs=costs,
        risk=risk,
        sizer=sizer,
        filters=filters,
        margin=margin,
        currency=currency,
    )
    reading = {"timeframe": timeframe, "symbols": symbols, "calendar": calendar}
    job = Job(first, data, settings, reading, metric)
    found = Sweep(space, metric_name(metric), job.kind.__name__, job.label, job, None if path is None else Path(path))
    found.resume()
    return found.continue_(executor, progress=progress)


class Sweep(SweepShown, SweepPictures):
    """What came of each combination. Made by :func:`sweep`.

    ``table`` has a row each; ``best_parameters`` and ``best`` are the best by ``metric``; ``overfitting`` says what that is
    worth given the number of tries; ``heat_map()``, ``parallel()`` and ``plot()`` draw it.
    """

    def __init__(
        self, space: Space, metric: str, strategy_name: str, label: str, job: Job | None, path: Path | None = None
    ) -> None:
        self._space = space
        self._job = job
        self._path = path
        self.strategy_name = strategy_name
        self.label = label
        """Where the data came from, in words."""
        self.rows = TrialRows(len(space))
        self.metric = metric
        self.where = ""
        """Who did the work, in words."""
        self.elapsed_s = 0.0
        self.is_interrupted = False

    # -- the work ----------------------------------------------------------------------------

    def continue_(
        self, executor: Workers = None, *, retry_failed: bool = False, progress: bool | None = None
    ) -> "Sweep":
        """Do what is not done yet, after an interrupt say; ``retry_failed`` tries those with an error once more."""
        if retry_failed:
            self.rows.forget(list(self.rows.errors))
        waiting = np.flatnonzero(~self.rows.is_done).tolist()
        self._forget_figures()
        self.is_interrupted = False
        if not waiting:
            return self
        combinations = self._space.combinations
        started_s = saved_s = time.monotonic()
        with RunProgress("sweep", len(self), shown=progress, unit="combinations", with_rate=True) as bar:
            bar.update(len(self) - len(waiting))

            def take(block: TrialBlock) -> None:
                nonlocal saved_s
                self.rows.take(block)
                bar.update(int(self.rows.is_done.sum()))
                if self._path is not None and time.monotonic() - saved_s > _SAVED_EVERY_S:
                    self.save(self._path)
                    saved_s = time.monotonic()

            dispatch = Dispatch(self._known_job, executor, take)
            try:
                dispatch.run((number, 0, combinations[number]) for number in waiting)
            except KeyboardInterrupt:
                # Returned and not raised: a cell that is interrupted would lose all that is done.
                self.is_interrupted = True
            except ResearchError as error:
                error.sweep = self  # type: ignore[attr-defined]
                raise
            finally:
                self.where = dispatch.where
                self.elapsed_s += time.monotonic() - started_s
                if self._path is not None:
                    self.save(self._path)
        return self

    def _forget_figures(self) -> None:
        for name in ("table", "best", "overfitting", "best_number"):
            vars(self).pop(name, None)

    # -- what came of it ---------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._space)

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The values of each parameter that was varied."""
        return dict(self._space.axes)

    @property
    def done(self) -> int:
        """How many combinations were run, those that failed among them."""
        return int(self.rows.is_done.sum())

    @property
    def failed(self) -> int:
        """How many of them raised an error."""
        return len(self.rows.errors)

    @cached_property
    def table(self) -> "pandas.DataFrame":
        """One row a combination that was run: its parameters, the figures of :class:`Metrics`, ``neighbours`` and
        ``worst_neighbour`` (the metric's mean and worst over the combinations one step away), ``error`` and ``seconds``. A figure that has a
        parameter's name is left out."""
        import pandas

        numbers = np.flatnonzero(self.rows.is_done)
        columns: dict[str, Any] = {
            name: [values[number] for number in numbers] for name, values in self._values.items()
        }
        columns |= {
            name: self.rows.figures[numbers, place] for place, name in enumerate(FIGURES) if name not in columns
        }
        for name in {"trades", "fills", "periods"} - set(self.axes):
            columns[name] = pandas.array(columns[name], dtype="Float64").astype("Int64")
        if self.metric not in columns:
            columns[self.metric] = self.rows.metric[numbers]
        mean, worst, _ = self._neighbours
        columns |= {"neighbours": mean[numbers], "worst_neighbour": worst[numbers]}
        columns["error"] = pandas.array([self.rows.errors.get(number) for number in numbers.tolist()], dtype="str")
        columns["seconds"] = self.rows.seconds[numbers]
        return pandas.DataFrame(columns, index=pandas.Index(numbers, name="combination"))

    @property
    def _values(self) -> dict[str, list[Any]]:
        combinations = self._space.combinations
        return {name: [one[name] for one in combinations] for name in self._space.axes}

    @property
    def _neighbours(self) -> tuple[Any, Any, Any]:
        sign = -1.0 if self.metric in SMALLER_IS_BETTER else 1.0
        found = neighbour_figures(self._values, self._space.axes, sign * self.rows.metric)
        mean, least, whole = (sign * one for one in found)
        return mean, least, whole

    @property
    def stability(self) -> "pandas.Series[Any]":
        """The mean of the metric over each combination and those one step away: high on a plateau, low around a lone peak."""
        import pandas

        numbers = self.table.index
        return pandas.Series(self._neighbours[2][numbers], index=numbers, name="stability")

    @cached_property
    def best_number(self) -> int:
        """The number of the best combination; :class:`ResearchError` where none has a figure."""
        best = self.rows.best(self.metric)
        if best is None:
            error = next(iter(self.rows.errors.values()), "none was run, or none of them traded")
            raise ResearchError(f"no combination has a {self.metric}: {error}")
        return best

    @property
    def best_parameters(self) -> dict[str, Any]:
        """The parameters of the best combination by the metric."""
        return dict(self._space.combinations[self.best_number])

    @property
    def stable_parameters(self) -> dict[str, Any]:
        """Those which with their neighbours are the best on average: the middle of the best plateau."""
        mean = self._neighbours[2]
        if not np.isfinite(mean).any():
            raise ResearchError("no combination has neighbours that were tried: sweep a grid of two values or more")
        place = np.nanargmin(mean) if self.metric in SMALLER_IS_BETTER else np.nanargmax(mean)
        return dict(self._space.combinations[int(place)])

    @cached_property
    def best(self) -> Result:
        """The run of the best combination, made again here; it knows of how many tries it is the best."""
        found = self.result(self.best_number)
        found.tries = self.overfitting
        return found

    def result(self, combination: int | Mapping[str, Any]) -> Result:
        """The run of one combination, by its number or its parameters, as :func:`backtest` gives it."""
        if isinstance(combination, Mapping):
            return self._known_job.result(combination)
        # A number out of a table is numpy's.
        if isinstance(combination, bool) or not isinstance(combination, int | np.integer):
            raise ParameterError(
                f"combination {combination!r}: give its number in the table, or its parameters as {{'fast': 10}}"
            )
        if not 0 <= combination < len(self):
            raise ParameterError(f"combination {combination}: they are numbered from 0 to {len(self) - 1}")
        return self._known_job.result(self._space.combinations[int(combination)])

    @property
    def _known_job(self) -> Job:
        if self._job is None:
            raise ResearchError(
                "a sweep read from a file has neither strategy nor data: qf.read_sweep(path, strategy, data) gives it them"
            )
        return self._job

    @cached_property
    def overfitting(self) -> Evidence:
        """What the best is worth, given the number of tries."""
        return self.evidence()

    def evidence(self, other_tries: int = 0) -> Evidence:
        """The same where ``other_tries`` more combinations were tried before, in other sweeps."""
        best = self.best_number
        days = float(self.rows.figure("days")[best])
        return evidence_of(self.rows, best, years=days / 365.25 if isfinite(days) else 0.0, other_tries=other_tries)

    # -- files -------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write what is done to a Parquet file, which :func:`read_sweep`, pandas, polars and DuckDB read."""
        target = Path(path)
        write_rows(target, self.rows, self._values, self._about())
        return target

    def _about(self) -> dict[str, object]:
        return {
            "strategy": self.strategy_name,
            "axes": self._space.axes,
            "metric": self.metric,
            "label": self.label,
            "elapsed_s": self.elapsed_s,
            "fingerprint": "" if self._job is None else self._job.fingerprint,
        }

    def resume(self) -> None:
        """Take over what is in the file, where there is one; :class:`ResearchError` if it is another sweep's."""
        if self._path is None or not self._path.exists():
            return
        table, about = read_rows(self._path)
        if about["fingerprint"] != self._known_job.fingerprint:
            raise ResearchError(
                f"{self._path} holds another sweep (other code, data, settings or metric): give another path=, or remove it"
            )
        if set(about["axes"]) != set(self._space.axes):
            raise ResearchError(
                f"{self._path} holds a sweep over {', '.join(about['axes'])}, not {', '.join(self._space.axes)}: "
                "give another path=, or remove it"
            )
        numbers = {_key(one): number for number, one in enumerate(self._space.combinations)}
        kept = [numbers.get(_key(one)) for one in table.select(list(self._space.axes)).to_pylist()]
        others = kept.count(None)
        if others:
            # Written again the file would lose them, and they count among the tries.
            raise ResearchError(
                f"{self._path} holds {others:,} combinations that are not among these {len(self):,}: name their values "
                "too, or give another path="
            )
        fill_rows(self.rows, table, [number for number in kept if number is not None])
        self.elapsed_s = float(about["elapsed_s"])


def _check_names(axes: Iterable[str], metric: str) -> None:
    for name in axes:
        if name in OWN_COLUMNS or name == metric:
            what = "the metric" if name == metric else "a column of sweep.table"
            raise ParameterError(f"{name} is a parameter here and {what} too: give one of them another name")
    if metric in OWN_COLUMNS:
        raise ParameterError(f"metric={metric}: a column of sweep.table has that name; give the function another one")


def _key(combination: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(combination.values())


def read_sweep(path: str | Path, strategy: object = None, data: object = None, **settings: Any) -> Sweep:
    """A sweep from the file that ``path=`` or :meth:`Sweep.save` wrote: its table, evidence and pictures.

    With the strategy, the data and the settings that it was made with it can make runs again, and try once more what
    failed; what an interrupt left is done by the same :func:`sweep` with ``path``. Raises :class:`FrameError` for a
    file that is none, and :class:`ResearchError` where strategy, data, settings or metric are others.
    """
    table, about = read_rows(Path(path))
    axes = {str(name): tuple(values) for name, values in about["axes"].items()}
    space = Space(table.select(list(axes)).to_pylist(), axes)
    metric, job = str(about["metric"]), None
    if strategy is not None:
        metric = settings.pop("metric", metric)
        if metric not in FIGURES and isinstance(metric, str):
            raise ResearchError(f"{path} was judged by a function called {metric}: give metric= with it too")
        reading = {"timeframe": settings.get("timeframe")}
        reading |= {name: settings.pop(name, None) for name in ("symbols", "calendar")}
        job = Job(as_strategy(strategy), data, engine_settings(**settings), reading, metric)
        if about["fingerprint"] != job.fingerprint:
            raise ResearchError(
                f"{path} is a sweep of other code, data, settings or metric than these: give those it was made with, "
                "or the path alone"
            )
    found = Sweep(space, str(about["metric"]), str(about["strategy"]), str(about["label"]), job)
    fill_rows(found.rows, table, range(len(space)))
    found.elapsed_s = float(about["elapsed_s"])
    return found
