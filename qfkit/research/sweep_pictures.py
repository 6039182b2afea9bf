"""The part of a sweep that draws it and writes its report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from qfkit.research.trial_rows import SMALLER_IS_BETTER

if TYPE_CHECKING:
    import pandas

    from qfkit.views.charts import Plot
    from qfkit.views.report.page import Report

__all__ = ["SweepPictures"]


class SweepPictures:
    """Gives a :class:`~qfkit.research.sweep.Sweep` its pictures; static ones stand in where no kernel runs."""

    metric: str

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The values of each parameter that was varied."""
        raise NotImplementedError

    @property
    def table(self) -> "pandas.DataFrame":
        """A row a combination."""
        raise NotImplementedError

    def heat_map(
        self, x: str | None = None, y: str | None = None, *, over: Literal["best", "mean", "median"] = "best"
    ) -> "Plot":
        """The metric over two axes, the first two that vary where none are named; the best cell is framed.

        Combinations that share a cell show the ``over`` of them. The trap: with "best" a lone peak on another axis looks
        like a plateau; "median" shows what most of them came to. An axis of many values is cut into stretches.
        """
        from qfkit.views.sweep_charts import heat_map

        return heat_map(self.table, self.axes, self.metric, x=x, y=y, over=over, lower_is_better=self._lower)

    def parallel(self, *, most: int = 300) -> "Plot":
        """A line a combination over all axes and the metric, with a slider an axis that fades what lies outside.

        Of more than ``most`` the best are drawn, and the rest evenly by rank; the caption says so.
        """
        from qfkit.views.sweep_charts import parallel

        return parallel(self.table, self.axes, self.metric, most=most, lower_is_better=self._lower)

    def plot(self) -> "Plot":
        """How the metric is spread over all combinations, with the best, the median and what luck alone would show."""
        from qfkit.views.sweep_charts import spread

        evidence = cast("Any", self).overfitting
        luck = evidence.expected_sharpe if self.metric == "sharpe" and evidence.tries > 1 else None
        return spread(self.table, self.metric, luck=luck if luck == luck else None, lower_is_better=self._lower)

    @property
    def _lower(self) -> bool:
        return self.metric in SMALLER_IS_BETTER

    @overload
    def report(self, path: None = None, *, title: str | None = ...) -> "Report": ...
    @overload
    def report(self, path: Path | str, *, title: str | None = ...) -> Path: ...
    def report(self, path: Path | str | None = None, *, title: str | None = None) -> "Report | Path":
        """One page with all of it: the best and what it is worth given the number of tries, the table of the best twenty,
        the pictures, how stable the neighbours are, and what failed.

        ``path``: the file to write, over one that is there; its path comes back. Without it the page itself, which a
        cell shows. Raises :class:`ParameterError` for a folder that is not there.
        """
        from qfkit.views.report.sweep_page import sweep_report

        page = sweep_report(cast("Any", self), title=title)
        return page if path is None else page.save(path)
