"""How many tries a result is the best of, and what that takes off its Sharpe ratio."""

from math import isfinite, nan, sqrt
from typing import Any

import msgspec
import numpy as np

from qfkit.core.metrics import Metrics
from qfkit.core.wording import count, money, share
from qfkit.errors import ParameterError, QfkitError
from qfkit.research.overfitting import deflated_sharpe, expected_maximum_sharpe
from qfkit.views.report.grids import Cell, pairs
from qfkit.views.report.page import safe
from qfkit.views.report.returns import period_returns
from qfkit.views.series import Floats

__all__ = ["Tries", "tries_html", "tries_of"]


class Tries(msgspec.Struct, frozen=True):
    """What is known of the search that a result came out of.

    ``count`` None is that nobody said. ``best_of_luck`` is the annual Sharpe ratio that the best of as many tries without
    worth would show; ``deflated`` the probability that this one is worth more. ``overfitting`` is the probability of
    backtest overfitting, NaN where only the number of tries is known; ``spread`` says what the tries' spread was taken from.
    """

    count: int | None
    sharpe: float = nan
    best_of_luck: float = nan
    deflated: float = nan
    overfitting: float = nan
    spread: str = ""


def tries_of(given: object, equity: Floats, metrics: Metrics) -> Tries:
    """``given`` is a number, a sweep (whose own figures are taken), or None. Raises :class:`ParameterError` for another."""
    if given is None:
        return Tries(None)
    record = getattr(given, "overfitting", None)
    if record is not None:
        return _of_sweep(record, metrics)
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ParameterError(f"tries={given!r}: how many combinations were tried, 1 or more, or the sweep itself")
    returns = period_returns(equity)
    year = metrics.periods_per_year
    if given == 1 or len(returns) < 3 or not isfinite(metrics.sharpe) or not (isfinite(year) and year > 0.0):
        return Tries(given, metrics.sharpe)
    deviation = float(returns.std(ddof=0))
    standard = (returns - returns.mean()) / deviation
    variance = 1.0 / (len(returns) - 1)
    return Tries(
        given,
        metrics.sharpe,
        expected_maximum_sharpe(variance, given) * sqrt(year),
        deflated_sharpe(
            metrics.sharpe / sqrt(year),
            len(returns),
            variance=variance,
            tries=given,
            skewness=float(np.mean(standard**3)),
            kurtosis=float(np.mean(standard**4)),
        ),
        spread="the tries' Sharpe ratios are taken to spread as far as chance alone would spread them over this many returns",
    )


def _of_sweep(record: Any, metrics: Metrics) -> Tries:
    try:
        return Tries(
            int(record.tries),
            metrics.sharpe,
            float(record.expected_sharpe),
            float(record.deflated_sharpe),
            float(record.overfitting_probability),
            "the tries' Sharpe ratios spread as they did in the sweep",
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ParameterError(f"tries={record!r}: give the number of tries, or a sweep ({error})") from None
    except QfkitError:
        return Tries(None)


def sentence(tries: Tries) -> str:
    """What it means, in a sentence; "" where nothing can be said."""
    if tries.count is None:
        return ""
    if tries.count == 1:
        return "It is the only one that was tried, so its Sharpe ratio is not deflated."
    if not isfinite(tries.deflated):
        return f"It is the best of {tries.count:,} tries; it is too short to deflate its Sharpe ratio."
    verdict = (
        "luck alone hardly explains it"
        if tries.deflated >= 0.95
        else "it may well be luck"
        if tries.deflated >= 0.5
        else "luck alone explains as much"
    )
    return (
        f"It is the best of {tries.count:,} tries. That its Sharpe ratio is more than the luckiest of so many worthless ones "
        f"would show has a probability of {share(tries.deflated)}: {verdict}."
    )


def tries_html(tries: Tries) -> str:
    """The figures and the sentence."""
    if tries.count is None:
        return (
            "<p>Nobody said how many parameters, rules or symbols were tried before this one. If it was picked as the best of "
            "many, its figures are too good: <code>report(..., tries=500)</code>, or the sweep itself, tells by how much.</p>"
        )
    rows: list[tuple[str, Cell]] = [("tried", count(tries.count)), ("Sharpe", money(tries.sharpe))]
    if isfinite(tries.best_of_luck):
        rows.append(("Sharpe of the luckiest of so many worthless ones", money(tries.best_of_luck)))
    if isfinite(tries.deflated):
        rows.append(("deflated Sharpe ratio (probability of worth)", share(tries.deflated)))
    if isfinite(tries.overfitting):
        rows.append(("probability of backtest overfitting", share(tries.overfitting)))
    told = (
        f'<p class="note">Bailey and López de Prado 2014, "The Deflated Sharpe Ratio"; {safe(tries.spread)}. Tries made '
        "elsewhere and thrown away count too, and cannot be known here.</p>"
        if tries.spread
        else ""
    )
    return f'<p>{safe(sentence(tries))}</p><div class="one">{pairs(rows)}</div>{told}'
