"""Runs side by side: their figures in one table, their equity in one picture.

A run against a benchmark is another matter: see :class:`qfkit.comparison.Comparison`.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import nan
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from qfkit.comparison import half_step, value_at
from qfkit.core.metrics import FIGURE_LINES, Metrics, measure
from qfkit.core.wording import money, span_text
from qfkit.errors import DataError, ParameterError, did_you_mean
from qfkit.result_figures import ResultFigures
from qfkit.tables import EquityColumns, time_index

if TYPE_CHECKING:
    import pandas

    from qfkit.result import Result
    from qfkit.views.charts import Plot
    from qfkit.views.runs_series import RunsSeries

__all__ = ["SideBySide", "compare"]

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

_FEWEST_RETURNS = 3
# A spread of returns this small against the largest return is the rounding of equal returns.
_ROUNDING = 1e-12


def compare(runs: object, *, common: bool = False) -> "SideBySide":
    """Runs side by side: backtests, sessions and what-ifs, in one table and one picture.

    ``runs`` are a list, named after their strategies (and what differs between those of a name), or a dict by
    name. Figures are of each run's own time; with ``common`` True of the time for which there are all of them:
    equity points, fills and trades' exits within it. Equity curves begin at the same value where the starting cash
    differs; figures in money stay as they were.

    Not to be mixed up with ``result.compare(benchmark)``, which measures one run against a benchmark. Raises
    :class:`ParameterError` for what is no run, :class:`DataError` where the runs have no ``common`` time.
    """
    if isinstance(runs, Mapping):
        results = {str(label): _result_of(one) for label, one in runs.items()}
    elif isinstance(runs, Iterable) and not isinstance(runs, str | ResultFigures):
        given = list(runs)
        results = dict(zip(_labels(given), map(_result_of, given), strict=True))
    else:
        raise ParameterError(f"{_kind(runs)} is no list of runs: give several, as in qf.compare([result, session])")
    if len(results) < 2:
        raise ParameterError(f"{len(results)} runs are nothing to compare: give two or more")
    return SideBySide(results, heading=f"{len(results)} runs side by side", common=common)


class SideBySide:
    """Several runs by label, the first being what the others are held against. ``both["harsh"]`` is one of them.

    ``common``: figures of the time that all have, see :func:`compare`. ``filled``: two labels between whose equity
    the picture is filled.
    """

    def __init__(
        self,
        results: "Mapping[str, Result]",
        *,
        heading: str = "",
        common: bool = False,
        filled: tuple[str, str] | None = None,
    ) -> None:
        self.results = dict(results)
        self.common = common
        self._heading = heading
        self._filled = filled
        if common:
            first_ns, last_ns = self._common_span
            if not first_ns < last_ns:
                spans = "; ".join(f"{label}: {_span(run)}" for label, run in self.results.items())
                raise DataError(f"the runs have no time in common ({spans}): leave common= away")

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.results)

    def __getitem__(self, label: str) -> "Result":
        if label not in self.results:
            raise ParameterError(f"no run {label!r} here.{did_you_mean(label, self.results)}")
        return self.results[label]

    def __len__(self) -> int:
        return len(self.results)

    @property
    def other(self) -> "Result":
        """The second of two runs: the Result of a single what-if."""
        if len(self.results) != 2:
            names = ", ".join(map(repr, self.results))
            raise ParameterError(f"there are {len(self.results)} runs: take one by its label, of {names}")
        return list(self.results.values())[1]

    # -- figures -----------------------------------------------------------------------------

    @cached_property
    def metrics(self) -> dict[str, Metrics]:
        """All figures of each run."""
        return {label: self._measured(run) if self.common else run.metrics for label, run in self.results.items()}

    @cached_property
    def table(self) -> "pandas.DataFrame":
        """One row a figure of :class:`Metrics`, one column a run; of two runs also ``difference``, second less first.

        The last row is ``correlation`` of returns with the first run.
        """
        import pandas

        columns = {label: [float(metrics[name]) for name in _NAMES] for label, metrics in self.metrics.items()}
        frame = pandas.DataFrame(columns, index=pandas.Index(_NAMES, name="figure"), dtype="float64")
        frame.loc["correlation"] = self.correlation.iloc[0].to_numpy()
        if len(self) == 2:
            first, second = self.labels
            frame["difference"] = frame[second] - frame[first]
            frame.loc["correlation", "difference"] = nan
        return frame

    @cached_property
    def differences(self) -> "pandas.DataFrame":
        """The same figures, each run less the first."""
        frame = self.table.loc[list(_NAMES), list(self.labels)]
        return frame.sub(frame.iloc[:, 0], axis=0)

    @cached_property
    def correlation(self) -> "pandas.DataFrame":
        """Pearson's correlation of period returns, of each pair over the time that both have.

        The periods are those of the run with fewer points. NaN where one does not move or there are fewer than 3.
        """
        import pandas

        runs = [run._equity for run in self.results.values()]
        values = np.full((len(runs), len(runs)), nan)
        for row, one in enumerate(runs):
            for column, other in enumerate(runs[: row + 1]):
                values[row, column] = values[column, row] = _correlation(one, other)
        return pandas.DataFrame(values, index=list(self.labels), columns=list(self.labels))

    @cached_property
    def equity(self) -> "pandas.DataFrame":
        """The accounts' equity, one column a run, as the picture draws it; NaN before a run's first point and after its last."""
        import pandas

        frames = []
        for (label, run), scale in zip(self.results.items(), self._scales, strict=True):
            columns = self._cut(run)
            values = pandas.Series(columns.account * scale, index=time_index(columns.times_ns), name=label)
            frames.append(values[~values.index.duplicated(keep="last")])
        joined = pandas.concat(frames, axis=1).sort_index()
        return joined.ffill().where(joined.bfill().notna())

    def _measured(self, run: "Result") -> Metrics:
        """The figures of the common time: one that was under way by then begins with its equity at the first point in it."""
        first_ns, last_ns = self._common_span
        columns = self._cut(run)
        return measure(
            columns.times_ns,
            columns.account,
            starting_equity=float(columns.account[0]) if first_ns > _first_ns(run) else run.starting_cash,
            trades=[trade for trade in run.records.trades if first_ns <= trade.exit_time_ns <= last_ns],
            fills=[fill for fill in run.records.fills if first_ns <= fill.received_ns <= last_ns],
            periods_per_year=run._periods_per_year,
        )

    def _cut(self, run: "Result") -> EquityColumns:
        """A run's equity points, with ``common`` those of the common time."""
        columns = run._equity
        if not self.common:
            return columns
        first_ns, last_ns = self._common_span
        kept = (columns.times_ns >= first_ns) & (columns.times_ns <= last_ns)
        return EquityColumns(columns.times_ns[kept], columns.values[kept])  # noqa: PD011 - no frame

    @cached_property
    def _common_span(self) -> tuple[int, int]:
        known = [run._equity.times_ns for run in self.results.values()]
        if not all(map(len, known)):
            return 0, 0
        return max(int(times_ns[0]) for times_ns in known), min(int(times_ns[-1]) for times_ns in known)

    @cached_property
    def _bases(self) -> list[float]:
        """The equity that each curve begins with."""
        if not self.common:
            return [run.starting_cash for run in self.results.values()]
        return [float(self._cut(run).account[0]) for run in self.results.values()]

    @cached_property
    def _scales(self) -> list[float]:
        """What each run's equity is drawn times: all begin with the starting cash of the first."""
        return [1.0 if base == self._start else self._start / base for base in self._bases]

    @property
    def _start(self) -> float:
        return next(iter(self.results.values())).starting_cash

    # -- notes -------------------------------------------------------------------------------

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known to read the figures: over which time, scaled or not, and under which assumptions."""
        notes = []
        spans = {label: _span(run) for label, run in self.results.items()}
        if self.common:
            notes.append(f"figures of the time that all have: {span_text(*self._common_span)}")
        elif len(set(spans.values())) > 1:
            told = "; ".join(f"{label}: {span}" for label, span in spans.items())
            notes.append(f"figures of each run's own time ({told}); common=True measures the time that all have")
        if any(scale != 1.0 for scale in self._scales):
            notes.append(f"curves scaled to begin at {money(self._start)}; figures in money are not scaled")
        lines_of = {
            label: [
                self.metrics[label].assumption if line == run.metrics.assumption else line for line in run.assumptions
            ]
            for label, run in self.results.items()
        }
        shared = []
        for line in dict.fromkeys(line for own in lines_of.values() for line in own):
            labels = [label for label, own in lines_of.items() if line in own]
            if len(labels) == len(self):
                shared.append(line)
            else:
                notes.append(f"{', '.join(labels)}: {line}")
        notes += shared
        for label, run in self.results.items():
            notes += [f"{label}: {fault.strategy} was stopped by {fault.error}" for fault in run.records.faults]
        return tuple(notes)

    # -- pictures and texts ------------------------------------------------------------------

    def plot(self) -> "Plot":
        """Equity curves over one another, drawdowns beneath; the static picture stands in where no kernel runs."""
        from qfkit.views.runs_charts import plot

        return plot(self._series, self._heading)

    def picture(self) -> bytes:
        """The same as an SVG file's bytes, with no background of its own."""
        from qfkit.views.runs_picture import runs_svg

        return runs_svg(self._series, self._heading).encode("utf-8", "replace")

    @cached_property
    def _series(self) -> "RunsSeries":
        from qfkit.views.runs_series import runs_series

        curves = {
            label: EquityColumns(columns.times_ns, columns.account[:, np.newaxis] * scale)
            for (label, run), scale in zip(self.results.items(), self._scales, strict=True)
            for columns in (self._cut(run),)
        }
        return runs_series(curves, starting_equity=self._start, filled=self._filled)

    def __repr__(self) -> str:
        from qfkit.views.runs_text import runs_text

        return runs_text(self)

    def _repr_html_(self) -> str:
        from qfkit.views.runs_text import runs_html

        return runs_html(self, self._series)


_NAMES = tuple(name for name, _, _ in FIGURE_LINES)


# -- runs ------------------------------------------------------------------------------------


def _result_of(run: object) -> "Result":
    if isinstance(run, ResultFigures):
        return cast("Result", run)
    # A session, running or read from its journal.
    result = getattr(run, "result", None)
    if isinstance(result, ResultFigures):
        return cast("Result", result)
    hint = ": of what is side by side already, give its .results" if isinstance(run, SideBySide) else ""
    raise ParameterError(f"{_kind(run)} is no run{hint or ': give results of backtests and sessions'}")


def _kind(given: object) -> str:
    return f"a {type(given).__name__}"


def _labels(given: Sequence[object]) -> list[str]:
    """A session's name, or a result's strategies; where these are the same, with what differs, or numbered."""
    results = [_result_of(one) for one in given]
    names = [
        str(getattr(one, "name", "")) or " + ".join(run.strategy_names) for one, run in zip(given, results, strict=True)
    ]
    labels: list[str] = []
    for name, run in zip(names, results, strict=True):
        namesakes = [other for own, other in zip(names, results, strict=True) if own == name]
        told = _differing(run, namesakes) if len(namesakes) > 1 else ""
        label = base = f"{name} ({told})" if told else name
        number = 1
        while label in labels:
            number += 1
            label = f"{base} {number}"
        labels.append(label)
    return labels


def _differing(run: "Result", namesakes: "Sequence[Result]") -> str:
    """The parameters that not all of these have alike, then the symbols, as far as they tell something."""
    told = []
    for strategy, values in run.parameters.items():
        for key, value in values.items():
            if any(other.parameters.get(strategy, {}).get(key) != value for other in namesakes):
                told.append(f"{strategy} {key}={value}" if len(run.parameters) > 1 else f"{key}={value}")
    symbols = [", ".join(other._bars) for other in namesakes]
    if len(set(symbols)) > 1:
        told.append(", ".join(run._bars))
    return ", ".join(told)


def _first_ns(run: "Result") -> int:
    return int(run._equity.times_ns[0])


def _span(run: "Result") -> str:
    times_ns = run._equity.times_ns
    return span_text(int(times_ns[0]), int(times_ns[-1])) if len(times_ns) else "no equity points"


def _correlation(one: EquityColumns, other: EquityColumns) -> float:
    if not (len(one.times_ns) and len(other.times_ns)):
        return nan
    first_ns = max(int(one.times_ns[0]), int(other.times_ns[0]))
    last_ns = min(int(one.times_ns[-1]), int(other.times_ns[-1]))
    slack = max(half_step(one.times_ns), half_step(other.times_ns))
    grid = min(
        (times[(times >= first_ns - slack) & (times <= last_ns + slack)] for times in (one.times_ns, other.times_ns)),
        key=len,
    )
    values = [value_at(run.times_ns, run.account, grid) for run in (one, other)]
    known = np.isfinite(values[0]) & np.isfinite(values[1]) & (values[0] > 0.0) & (values[1] > 0.0)
    returns = [np.diff(own[known]) / own[known][:-1] for own in values]
    if len(returns[0]) < _FEWEST_RETURNS or not all(map(_moves, returns)):
        return nan
    return float(np.clip(np.corrcoef(returns[0], returns[1])[0, 1], -1.0, 1.0))


def _moves(returns: Floats) -> bool:
    return float(np.std(returns)) > _ROUNDING * float(np.max(np.abs(returns), initial=0.0))
