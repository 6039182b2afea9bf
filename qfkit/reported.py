"""The part of a result that writes its report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from qfkit.comparison import BUY_AND_HOLD

if TYPE_CHECKING:
    from qfkit.views.report.page import Report

__all__ = ["Reported"]


class Reported:
    """Gives a :class:`~qfkit.Result` its report. ``tries``: what is known of the search it came out of, see there."""

    tries: object = None

    @overload
    def report(
        self, path: None = None, *, title: str | None = ..., benchmark: object = ..., tries: object = ...
    ) -> "Report": ...
    @overload
    def report(
        self, path: Path | str, *, title: str | None = ..., benchmark: object = ..., tries: object = ...
    ) -> Path: ...
    def report(
        self,
        path: Path | str | None = None,
        *,
        title: str | None = None,
        benchmark: object = BUY_AND_HOLD,
        tries: object = None,
    ) -> "Report | Path":
        """One page with all of it: figures and their intervals, equity, drawdown, months, exposure, trades, costs, risk,
        data quality, assumptions. It loads nothing and runs nothing, follows the reader's light or dark, and prints well.

        - ``path``: the file to write, over one that is there; its path comes back. Without it the page itself comes back:
          a cell shows it, and ``.save(path)`` writes it.
        - ``benchmark``: as in :meth:`compare`, or what that returned; None is none. Buy and hold is left out where there
          are no bars for it.
        - ``tries``: how many combinations of parameters were tried before this one was picked, or the sweep it came from:
          the page then has the Sharpe ratio deflated by them. A result that a sweep gave knows it.

        No path of this machine and no user's name is in it; the same run makes the same page. Raises
        :class:`ParameterError` for a folder that is not there.
        """
        from qfkit.views.report.run_page import run_report

        page = run_report(
            cast("Any", self), title=title, benchmark=benchmark, tries=self.tries if tries is None else tries
        )
        return page if path is None else page.save(path)
