"""The walk-forward: parameters chosen on the past, traded on what came after, again and again."""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from qfkit.core.costs import Costs
from qfkit.core.currencies import Currencies
from qfkit.core.filters import SignalFilters
from qfkit.core.margin import Margin
from qfkit.core.metrics import Metrics, measure
from qfkit.core.risk import RiskLimits
from qfkit.core.sizing import Sizer
from qfkit.core.strategy import as_strategy
from qfkit.core.wording import span_text
from qfkit.errors import ParameterError, ResearchError
from qfkit.feeds.selection import Selection
from qfkit.research.backtest import engine_settings
from qfkit.research.dispatch import Dispatch, Workers
from qfkit.research.folds import Fold, Length, folds_of
from qfkit.research.prepared import PreparedBars
from qfkit.research.space import Constraint, Space, space_of
from qfkit.research.trial_rows import TrialRows
from qfkit.research.trials import FIGURES, Job, Metric, TrialBlock, Window, cut, metric_name
from qfkit.result import Result
from qfkit.run_progress import RunProgress

if TYPE_CHECKING:
    import pandas

    from qfkit.views.charts import Plot

__all__ = ["WalkForward", "walk_forward"]

_WARMUP = 1_000
_SHOWN = ("total_return", "sharpe", "max_drawdown", "trades")


def walk_forward(
    strategy: object,
    data: object,
    *,
    train: Length,
    test: Length,
    step: Length | None = None,
    anchored: bool = False,
    purge: Length = 0,
    embargo: Length = 0,
    warmup: int = _WARMUP,
    metric: Metric = "sharpe",
    executor: Workers = None,
    samples: int | None = None,
    seed: int = 0,
    constraint: Constraint | None = None,
    combinations: Iterable[Mapping[str, Any]] | Mapping[str, Any] | None = None,
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
    **axes: Any,
) -> "WalkForward":
    """Choose parameters on each stretch of the past and trade them on the stretch after it; return the :class:`WalkForward`.

    ::

        qf.walk_forward(Trend, bars, train="104w", test="26w", fast=range(5, 30, 5), slow=range(20, 120, 20))

    - ``train``, ``test``: lengths in bars, or spans of time such as "52w" or "90d". Each ``step`` (``test`` by default) the
      window moves on; ``anchored`` keeps its beginning, so that it grows.
    - ``purge``: so much is cut off the end of each training, whose outcomes would reach into the test. ``embargo``:
      so long after the training the choice takes over; meanwhile the one before goes on, the first of all waits.
    - ``warmup``: bars before the first test that warm its indicators up, 1,000 at most, as in a session.
    - everything else is as in :func:`sweep`; all trials of all windows are handed out at once.

    The tests are one run: equity, positions and orders go on from window to window and only the parameters change, as
    a session's do by ``session.set``. What is held at a border is left to the new parameters.
    In sample a window begins with its own bars, so a strategy's first decisions there wait for its indicators.
    """
    first = as_strategy(strategy)
    space = space_of(first, axes, combinations=combinations, samples=samples, seed=seed, constraint=constraint)
    name = metric_name(metric)
    if isinstance(warmup, bool) or not isinstance(warmup, int) or not 0 <= warmup <= _WARMUP:
        raise ParameterError(f"warmup={warmup!r}: a number of bars from 0 to {_WARMUP:,}")
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
    if isinstance(data, Selection) and data.kind == "bars":
        # The folds are cut from its times.
        data = data.columns()
    job = Job(first, data, settings, {"timeframe": timeframe, "symbols": symbols, "calendar": None}, metric)
    if job.columns is None:
        raise ParameterError(
            "a walk-forward takes bars: a DataFrame or a dict of them by symbol; of a recording its result's: "
            "qf.backtest(qf.Strategy, path, timeframe='1m').bars"
        )
    folds = folds_of(job.columns, train=train, test=test, step=step, anchored=anchored, purge=purge, embargo=embargo)
    job.windows = tuple(fold.train for fold in folds)
    rows = TrialRows(len(folds) * len(space))
    started_s = time.monotonic()
    with RunProgress("walk-forward", len(rows), shown=progress, unit="runs", with_rate=True) as bar:

        def take(block: TrialBlock) -> None:
            rows.take(block)
            bar.update(int(rows.is_done.sum()))

        dispatch = Dispatch(job, executor, take)
        dispatch.run(
            (fold * len(space) + number, fold, combination)
            for fold in range(len(folds))
            for number, combination in enumerate(space.combinations)
        )
    chosen = [_chosen(rows, space, name, fold) for fold in range(len(folds))]
    if not any(one is not None for one in chosen):
        error = next(iter(rows.errors.values()), "none of them traded")
        raise ResearchError(f"no combination has a {name} in any training window: {error}")
    result = _tested(job, folds, [None if one is None else space.combinations[one] for one in chosen], warmup)
    return WalkForward(
        folds, space, rows, chosen, result, metric=name, where=dispatch.where, elapsed_s=time.monotonic() - started_s
    )


def _chosen(rows: TrialRows, space: Space, metric: str, fold: int) -> int | None:
    best = rows.best(metric, slice(fold * len(space), (fold + 1) * len(space)))
    return None if best is None else best - fold * len(space)


def _tested(job: Job, folds: Sequence[Fold], chosen: Sequence[Mapping[str, Any] | None], warmup: int) -> Result:
    """One run over all tests, the parameters set anew at each border; where nothing was chosen the last go on."""
    assert job.columns is not None
    start = next(number for number, one in enumerate(chosen) if one is not None)
    span = Window(folds[start].test.after_ns, folds[-1].test.until_ns)
    tested = {symbol: own for symbol, whole in job.columns.items() if len(own := cut(whole, span))}
    before = {}
    for symbol in tested:
        earlier = cut(job.columns[symbol], Window(-(2**63), span.after_ns))
        before[symbol] = earlier.rows(slice(max(0, len(earlier) - warmup), None))
    steps = [
        (fold.test.after_ns, one)
        for fold, one in zip(folds[start + 1 :], chosen[start + 1 :], strict=True)
        if one is not None
    ]
    prepared = PreparedBars(tested, label=job.label, before=before, steps=steps)
    strategy = job.kind(**{**job.base, **(chosen[start] or {})})
    result = prepared.run({job.kind.__name__: strategy}, job.settings)
    # Its pages and texts name one set of parameters.
    told = f"walk-forward: chosen anew for each of {len(folds)} windows; the parameters named are the last window's"
    result._further_assumptions = (*result._further_assumptions, told)
    result.label = ", ".join(filter(None, (result.label, f"walk-forward of {len(folds)} windows")))
    return result


class WalkForward:
    """What came of a walk-forward. Made by :func:`walk_forward`.

    ``result`` is the one run over all tests, a :class:`Result` with all that one has: figures, ``plot()``, ``report()``.
    ``table`` has a row a window with what was chosen and both sides' figures; ``in_sample`` and ``out_of_sample``
    have all of them. ``efficiency`` is the annual return out of sample over that in sample, on average.
    """

    def __init__(
        self,
        folds: Sequence[Fold],
        space: Space,
        rows: TrialRows,
        chosen: Sequence[int | None],
        result: Result,
        *,
        metric: str,
        where: str = "",
        elapsed_s: float = 0.0,
    ) -> None:
        self.folds = tuple(folds)
        self.rows = rows
        self.result = result
        self.metric = metric
        self.where = where
        self.elapsed_s = elapsed_s
        self._space = space
        self._chosen = tuple(chosen)

    def __len__(self) -> int:
        return len(self.folds)

    @property
    def parameters(self) -> list[dict[str, Any] | None]:
        """What was chosen for each window; None where no combination had a figure, so that the one before went on."""
        return [None if one is None else dict(self._space.combinations[one]) for one in self._chosen]

    @property
    def equity(self) -> "pandas.Series[Any]":
        """The account over all tests, one curve."""
        return self.result.equity["account"]

    @property
    def metrics(self) -> Metrics:
        """The figures out of sample, over all tests."""
        return self.result.metrics

    @property
    def tries(self) -> int:
        """How many runs were made to choose from."""
        return int(self.rows.is_done.sum())

    @cached_property
    def in_sample(self) -> "pandas.DataFrame":
        """All figures of the chosen combination in its own training, a row a window."""
        count = len(self._space)
        found = [
            [nan] * len(FIGURES) if one is None else self.rows.figures[fold * count + one].tolist()
            for fold, one in enumerate(self._chosen)
        ]
        return self._frame(found)

    @cached_property
    def out_of_sample(self) -> "pandas.DataFrame":
        """The same figures of each test: that stretch of the one run, measured from the equity before it."""
        result = self.result
        times_ns, equity = result._equity.times_ns, result._equity.account
        year = result.metrics.periods_per_year
        found = []
        for fold in self.folds:
            start, end = np.searchsorted(times_ns, (fold.test.after_ns, fold.test.until_ns), side="right").tolist()
            if end - start < 1:
                found.append([nan] * len(FIGURES))
                continue
            base = float(equity[start - 1]) if start else result.starting_cash
            # The point before it is the base of its first return.
            points = slice(start - 1, end) if start else slice(start, end)
            within = range(fold.test.after_ns + 1, fold.test.until_ns + 1)
            measured = measure(
                times_ns[points],
                equity[points],
                starting_equity=base,
                trades=[one for one in result.records.trades if one.exit_time_ns in within],
                fills=[one for one in result.records.fills if one.time_ns in within],
                periods_per_year=year,
            )
            found.append([float(getattr(measured, name)) for name in FIGURES])
        return self._frame(found)

    def _frame(self, rows: list[list[float]]) -> "pandas.DataFrame":
        import pandas

        return pandas.DataFrame(rows, columns=list(FIGURES), index=pandas.RangeIndex(len(rows), name="window"))

    @cached_property
    def table(self) -> "pandas.DataFrame":
        """A row a window: its times, what was chosen, and the metric, return, Sharpe, drawdown and trades on both sides."""
        import pandas

        columns: dict[str, Any] = {}
        for name in ("train", "test"):
            windows = [getattr(fold, name) for fold in self.folds]
            columns[f"{name}_from"] = pandas.to_datetime([one.after_ns for one in windows], utc=True)
            columns[f"{name}_until"] = pandas.to_datetime([one.until_ns for one in windows], utc=True)
        for name in self._space.axes:
            columns[name] = [None if one is None else one[name] for one in self.parameters]
        if self.metric not in FIGURES:
            count = len(self._space)
            columns[f"{self.metric}_in"] = [
                nan if one is None else self.rows.metric[fold * count + one] for fold, one in enumerate(self._chosen)
            ]
        for name in dict.fromkeys((*([self.metric] if self.metric in FIGURES else []), *_SHOWN)):
            columns[f"{name}_in"] = self.in_sample[name].to_numpy()
            columns[f"{name}_out"] = self.out_of_sample[name].to_numpy()
        return pandas.DataFrame(columns, index=self.in_sample.index)

    @property
    def efficiency(self) -> float:
        """Mean return a year out of sample over that in sample (Pardo 2008, "The Evaluation and Optimization of Trading
        Strategies"); NaN where in sample nothing was earned."""
        yearly = []
        for frame in (self.in_sample, self.out_of_sample):
            rate = np.log1p(frame["total_return"]) / frame["days"].where(frame["days"] > 0.0)
            yearly.append(float(rate.mean()))
        return yearly[1] / yearly[0] if yearly[0] > 0.0 else nan

    def plot(self) -> "Plot":
        """The chart of the run over all tests, as :meth:`Result.plot`."""
        return self.result.plot()

    # -- texts -------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """What it was and what came of it, in words."""
        span = span_text(self.folds[0].test.after_ns, self.folds[-1].test.until_ns)
        own, inside = self.metrics, self.in_sample
        beat = int((self.out_of_sample["total_return"] > 0.0).sum())
        efficiency = self.efficiency
        lines = [
            f"walk-forward of {self.result.strategy_names[0]}, {len(self):,} windows, tested over {span}",
            f"{self.tries:,} runs of {len(self._space):,} combinations in {self.elapsed_s:,.1f} s {self.where}".rstrip(),
            (
                f"out of sample: return {own.total_return:.2%}, Sharpe {own.sharpe:.2f}, max drawdown {own.max_drawdown:.2%}; "
                f"{beat} of {len(self)} windows gained"
            ),
            f"in sample, on average: return {inside['total_return'].mean():.2%} a window, Sharpe {inside['sharpe'].mean():.2f}",
        ]
        if efficiency == efficiency:
            lines.append(
                f"efficiency {efficiency:.0%}: what was earned a year out of sample, as a share of that in sample"
            )
        if self.rows.errors:
            lines.append(
                f"{len(self.rows.errors):,} runs failed, the first with: {next(iter(self.rows.errors.values()))}"
            )
        return lines

    def __repr__(self) -> str:
        from qfkit.views.text import clean

        return "\n".join([*map(clean, self.lines()), "", self._shown().to_string()])

    def _shown(self) -> "pandas.DataFrame":
        shown = self.table.drop(columns=["train_from", "test_from"])
        for name in ("train_until", "test_until"):
            shown[name] = shown[name].dt.strftime("%Y-%m-%d %H:%M")
        for name in shown.columns[2:]:
            stem = name.removesuffix("_in").removesuffix("_out")
            if stem != name:
                style = (
                    "{:.2%}"
                    if stem in ("total_return", "max_drawdown")
                    else "{:,.0f}"
                    if stem == "trades"
                    else "{:.2f}"
                )
                shown[name] = shown[name].map(style.format)
        return shown.rename(columns={"train_until": "chosen at (UTC)", "test_until": "traded until"})

    def _repr_html_(self) -> str:
        first, *others = self.lines()
        table = self._shown().rename(columns=lambda name: name.replace("_", " ")).to_html(border=0, escape=True)
        page = f"<p><b>{escape(first)}</b><br>{'<br>'.join(map(escape, others))}</p>{table}{self.result._repr_html_()}"
        return page.encode("utf-8", "replace").decode()
