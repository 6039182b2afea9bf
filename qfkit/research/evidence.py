"""How much a sweep's best is worth, given how many were tried."""

from math import isfinite, nan, sqrt

import msgspec
import numpy as np

from qfkit.errors import DataError
from qfkit.research.overfitting import (
    Overfitting,
    deflated_sharpe,
    expected_maximum_sharpe,
    minimum_backtest_years,
    overfitting_probability,
)
from qfkit.research.trial_rows import TrialRows
from qfkit.research.trials import BLOCKS

__all__ = ["Evidence", "evidence_of"]


class Evidence(msgspec.Struct, frozen=True, eq=False):
    """A sweep's best among all that was tried. NaN where it is not defined, as for a single try.

    - ``tries``: how many combinations were run, and tries elsewhere that were named;
    - ``sharpe`` of the best, ``expected_sharpe``: what the best of as many without worth is expected to show, both a
      year (false strategy theorem);
    - ``deflated_sharpe``: the probability that the best is worth more than that (Bailey and López de Prado 2014, "The
      Deflated Sharpe Ratio"); above 0.95 is usually asked for. Neighbours on a grid are alike, so tries count for
      more here than they are worth: the figure is a careful one;
    - ``overfitting_probability``: how often the best of one half of time is no better than the median in the other
      (Bailey, Borwein, López de Prado and Zhu 2017, "The Probability of Backtest Overfitting"), by the Sharpe ratio
      whatever the metric was; above 0.5 choosing by the past is worse than drawing lots;
    - ``loss_probability``: how often it lost money there; ``cross_validation`` has all of it;
    - ``minimum_years``: shorter histories are expected to show the best one's Sharpe by luck alone; ``years`` is
      what there was.
    """

    tries: int
    sharpe: float
    expected_sharpe: float
    deflated_sharpe: float
    overfitting_probability: float
    loss_probability: float
    minimum_years: float
    years: float
    cross_validation: Overfitting | None
    without: str = ""

    def lines(self) -> list[str]:
        """The same in words."""
        if self.tries == 1:
            return ["a single try: nothing was chosen among others, so there is nothing to deflate"]
        if isfinite(self.expected_sharpe):
            lines = [
                (
                    f"{self.tries:,} tries: the best of as many without worth would show a Sharpe ratio of "
                    f"{self.expected_sharpe:.2f}; this one has {_number(self.sharpe)}"
                )
            ]
        else:
            lines = [f"{self.tries:,} tries: too few of them have a Sharpe ratio to say what luck alone would show"]
        if isfinite(self.deflated_sharpe):
            lines.append(f"deflated Sharpe ratio {self.deflated_sharpe:.1%}: how likely it is worth more than that")
        if isfinite(self.overfitting_probability):
            lines.append(
                f"probability of overfitting {self.overfitting_probability:.1%}: how often the best of one half of time "
                "was no better than the median in the other"
            )
        if isfinite(self.minimum_years):
            lines.append(
                f"{self.years:.3g} years of data; below {self.minimum_years:.2g} years luck alone is expected to show as much"
            )
        if self.without:
            lines.append(self.without)
        return lines

    def __repr__(self) -> str:
        return "\n".join(self.lines())


def evidence_of(rows: TrialRows, best: int, *, years: float, other_tries: int = 0) -> Evidence:
    """The evidence for the row ``best`` among all rows that are done; ``other_tries`` were made elsewhere before."""
    done = np.flatnonzero(rows.is_done)
    sharpes = rows.period_sharpe
    periods = rows.figure("periods")
    tries = len(done) + other_tries
    known = sharpes[done][np.isfinite(sharpes[done])]
    own, count = float(sharpes[best]), int(periods[best])
    annual = float(rows.figure("sharpe")[best])
    scale = annual / own if isfinite(annual) and own else nan
    expected = deflated = minimum = nan
    if len(known) > 1 and isfinite(own):
        variance = float(np.var(known, ddof=1))
        expected = expected_maximum_sharpe(variance, tries)
        deflated = deflated_sharpe(
            own,
            count,
            variance=variance,
            tries=tries,
            skewness=float(rows.skewness[best]),
            kurtosis=float(rows.kurtosis[best]),
        )
        if annual > 0.0:
            minimum = minimum_backtest_years(tries, sharpe=annual)
    # Runs of the same data have as many periods; one that lost everything has none.
    alike = done[periods[done] == count]
    starts = np.arange(BLOCKS) * count // BLOCKS
    found, without = None, ""
    try:
        found = overfitting_probability(np.diff(np.append(starts, count)), rows.sums[alike], rows.squares[alike])
    except DataError as error:
        without = f"without a probability of overfitting: {error}"
    ruined = int(np.sum(rows.figure("end_equity")[done] <= 0.0))
    if ruined and not without:
        without = f"{ruined:,} of them lost everything: they have no Sharpe ratio, and count here as tries only"
    return Evidence(
        tries=tries,
        sharpe=annual,
        expected_sharpe=expected * scale
        if scale == scale
        else expected * sqrt(max(count, 1) / years)
        if years
        else nan,
        deflated_sharpe=deflated,
        overfitting_probability=nan if found is None else found.probability,
        loss_probability=nan if found is None else found.loss_probability,
        minimum_years=minimum,
        years=years,
        cross_validation=found,
        without=without,
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if isfinite(value) else "-"
