"""Whether a session is still what its backtest was, for people."""

from html import escape
from typing import TYPE_CHECKING

from qfkit.core.snapshot import DriftView
from qfkit.resampling.expectation import FIGURES, Expectation

if TYPE_CHECKING:
    import pandas

__all__ = ["Drift"]


class Drift:
    """The figures of a session so far against what a stretch as long has in its backtest's resampling.

    ``verdict``: "inside", "at the edge" (as far out as the rarest 5 % of stretches in any figure), "outside" (the
    rarest 1 %), "too short to tell" or "too long to tell"; ``text`` says why. It is one look: whoever looks at each
    bar sees an edge oftener than that.
    """

    def __init__(self, view: DriftView, expectation: Expectation) -> None:
        self.view = view
        self.verdict = view.verdict
        self.text = view.text
        self.periods = view.periods
        self.level = view.level
        self.samples = expectation.samples
        self.block_length = expectation.block_length
        stretches = f"{expectation.samples:,} stretches of {view.periods:,} periods"
        how = f"stationary bootstrap of the backtest's {expectation.periods:,} in blocks of {expectation.block_length:.1f}"
        self.assumptions = (
            f"bands: the middle {view.level * 100.0:g} % of {stretches}, {how} on average",
            "a period's return, trades and costs are drawn together",
        )

    @property
    def table(self) -> "pandas.DataFrame":
        """One row a figure: value, low, high, percentile (of the samples below it). Fractions are not percent."""
        import pandas

        return pandas.DataFrame(
            [(row.value, row.low, row.high, row.percentile) for row in self.view.rows],
            index=pandas.Index([row.name for row in self.view.rows], name="figure"),
            columns=["value", "low", "high", "percentile"],
            dtype="float64",
        )

    def lines(self) -> list[tuple[str, str, str, str, str]]:
        """Label, value, low, high and percentile of each figure, for people."""
        found = []
        for row in self.view.rows:
            label, style = FIGURES[row.name]
            place = "n/a" if row.percentile != row.percentile else f"{row.percentile * 100.0:.0f} %"
            found.append((label, style(row.value), style(row.low), style(row.high), place))
        return found

    def picture(self) -> bytes:
        """Where each figure lies in its band, as an SVG file's bytes with no background of its own."""
        from qfkit.views.drift_picture import drift_svg

        return drift_svg(self.view).encode("utf-8", "replace")

    def __repr__(self) -> str:
        heads = ("", "live", f"{self.level * 100.0:g} % low", "high", "percentile")
        rows = [heads, *self.lines()]
        wide = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            "  ".join([f"{row[0]:<{wide[0]}}", *(f"{row[place]:>{wide[place]}}" for place in range(1, 5))])
            for row in rows
        ]
        return "\n".join([f"{self.verdict}: {self.text}", *lines, *(f"- {line}" for line in self.assumptions)])

    def _repr_html_(self) -> str:
        from qfkit.views.drift_picture import drift_html

        told = "".join(f"<p>{escape(line)}</p>" for line in self.assumptions)
        return drift_html(self.view) + told
