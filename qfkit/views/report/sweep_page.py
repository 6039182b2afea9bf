"""A sweep's report: what the best is worth given the number of tries, how the metric lies over the axes, what failed."""

from collections import Counter
from math import isfinite
from typing import Any

import numpy as np

from qfkit.core.wording import count, share
from qfkit.errors import DataError, ParameterError, ResearchError
from qfkit.research.sweep import Sweep
from qfkit.research.trial_rows import SMALLER_IS_BETTER
from qfkit.views.picture import data_uri
from qfkit.views.report.footer import footer
from qfkit.views.report.grids import Cell, pairs, table
from qfkit.views.report.page import Report, Section, page_html, safe
from qfkit.views.sweep_cells import axis_text, figure_text, heat_cells, parallel_lines, spread_of, varying
from qfkit.views.sweep_picture import (
    describe_heat,
    describe_parallel,
    describe_spread,
    heat_svg,
    parallel_svg,
    spread_svg,
)

__all__ = ["sweep_report"]

_BEST = 20
_MOST_ERRORS = 12
_BESIDE = ("total_return", "cagr", "sharpe", "max_drawdown", "trades", "neighbours", "worst_neighbour")
_SHARES = ("total_return", "cagr", "max_drawdown", "volatility", "win_rate", "exposure")


def sweep_report(sweep: Sweep, *, title: str | None = None) -> Report:
    """See :meth:`qfkit.research.sweep.Sweep.report`."""
    heading = title or f"{sweep.strategy_name}: {sweep.metric} over {' x '.join(sweep.axes)}"
    sections = []
    if _has_best(sweep):
        sections += [
            Section("What the best is worth", _worth(sweep)),
            Section("All tries", _pictures(sweep)),
            Section(f"The best {_BEST}", _best(sweep)),
            Section("Neighbours", _neighbours(sweep)),
        ]
    sections.append(Section("Failures", _failures(sweep)))
    sections.append(Section("What was tried", _tried(sweep)))
    html = page_html(
        kind="sweep",
        title=heading,
        about=[
            f"{sweep.done:,} combinations of {' x '.join(f'{name} ({len(values)})' for name, values in sweep.axes.items())}"
        ],
        badges=_badges(sweep),
        in_short=[line[:1].upper() + line[1:] for line in sweep.lines()[1:]],
        sections=sections,
        footer=footer(),
    )
    return Report(html, heading)


def _has_best(sweep: Sweep) -> bool:
    try:
        return bool(sweep.best_parameters)
    except ResearchError:
        return False


def _badges(sweep: Sweep) -> list[tuple[str, bool]]:
    marks = [(sweep.label, "synthetic" in sweep.label.lower())] if sweep.label else []
    if sweep.done < len(sweep):
        marks.append((f"{len(sweep) - sweep.done:,} of {len(sweep):,} were not run", True))
    if sweep.failed:
        marks.append((f"{sweep.failed:,} failed", True))
    return marks


def _worth(sweep: Sweep) -> str:
    """The figures, and in words what they mean."""
    found = sweep.overfitting
    rows: list[tuple[str, Cell]] = [
        ("tried", count(found.tries)),
        ("Sharpe of the best", figure_text(found.sharpe, 1.0)),
        ("Sharpe of the luckiest of as many without worth", figure_text(found.expected_sharpe, 1.0)),
        ("deflated Sharpe ratio", _share(found.deflated_sharpe)),
        ("probability of backtest overfitting", _share(found.overfitting_probability)),
        ("chance that the best of one half of time lost money in the other", _share(found.loss_probability)),
        ("years of data", figure_text(found.years, 10.0)),
        ("years below which luck shows as much", figure_text(found.minimum_years, 10.0)),
    ]
    told = "".join(f"<p>{safe(line)}</p>" for line in _words(sweep))
    sources = (
        '<p class="note">Bailey and López de Prado 2014, "The Deflated Sharpe Ratio"; Bailey, Borwein, López de Prado and Zhu '
        '2017, "The Probability of Backtest Overfitting". Neighbours on a grid are alike, so the number of tries is more than '
        "they are worth and the deflated figure a careful one; tries made elsewhere are not known here.</p>"
    )
    note = f'<p class="note">{safe(found.without)}</p>' if found.without else ""
    return f'{told}<div class="one">{pairs(rows)}</div>{note}{sources}'


def _words(sweep: Sweep) -> list[str]:
    found, lines = sweep.overfitting, []
    if isfinite(found.deflated_sharpe):
        verdict = (
            "More than luck: so high a Sharpe ratio is rarely the best of as many worthless tries."
            if found.deflated_sharpe >= 0.95
            else "Not shown: the best of as many worthless tries often looks as good."
            if found.deflated_sharpe >= 0.5
            else "As luck would have it: the best of as many worthless tries usually looks at least as good."
        )
        lines.append(verdict)
    if found.overfitting_probability > 0.5:
        text = "Choosing by the past was no better than drawing lots: the best of one half of time was mostly not above the median in the other."
        if found.deflated_sharpe >= 0.95:
            text += (
                " So what earned was common to the tries, and not the choice among them: read the median, not the best."
            )
        lines.append(text)
    elif isfinite(found.overfitting_probability):
        lines.append(
            "Choosing by the past helped: the best of one half of time was mostly above the median in the other."
        )
    return lines


def _pictures(sweep: Sweep) -> str:
    lower = sweep.metric in SMALLER_IS_BETTER
    frame, axes, metric = sweep.table, sweep.axes, sweep.metric
    drawn = []
    luck = sweep.overfitting.expected_sharpe if metric == "sharpe" and sweep.overfitting.tries > 1 else None
    spread = spread_of(frame, metric, lower_is_better=lower)
    drawn.append(_picture(spread_svg(spread, luck if luck == luck else None), describe_spread(spread)))
    kinds = ("best", "median") if len(varying(frame, axes)) > 2 else ("best",)
    for over in kinds:
        try:
            cells = heat_cells(frame, axes, metric, over=over, lower_is_better=lower)  # type: ignore[arg-type]
        except ParameterError as error:
            drawn.append(f'<p class="note">{safe(error)}</p>')
            break
        drawn.append(_picture(heat_svg(cells), describe_heat(cells)))
    try:
        lines = parallel_lines(frame, axes, metric, most=150, lower_is_better=lower)
    except DataError as error:
        drawn.append(f'<p class="note">{safe(error)}</p>')
    else:
        drawn.append(_picture(parallel_svg(lines), describe_parallel(lines)))
    return "".join(drawn)


def _picture(svg: str, words: str) -> str:
    return f'<figure class="wide"><img class="picture" src="{data_uri(svg)}" alt="{safe(words)}"></figure>'


def _best(sweep: Sweep) -> str:
    rows = sweep.top(_BEST)
    beside = [name for name in dict.fromkeys((sweep.metric, *_BESIDE)) if name in rows.columns]
    body: list[list[Cell]] = [
        [
            str(place),
            *(axis_text(row[name]) for name in sweep.axes),
            *(_figure(name, row[name], sweep.table) for name in beside),
        ]
        for place, row in enumerate(rows.to_dict("records"), 1)
    ]
    head = ("", *sweep.axes, *(name.replace("_", " ") for name in beside))
    return table(head, body, marked=0)


def _neighbours(sweep: Sweep) -> str:
    frame, metric = sweep.table, sweep.metric
    best: Any = frame.loc[sweep.best_number]
    own, mean, worst = float(best[metric]), float(best["neighbours"]), float(best["worst_neighbour"])
    if not isfinite(mean):
        return '<p class="note">No neighbour of the best was tried, so nothing says whether it stands on a plateau.</p>'
    wide = _wide(frame, metric)
    kept = mean / own if own > 0.0 else float("nan")
    rows: list[tuple[str, Cell]] = [
        (f"{metric} of the best", figure_text(own, wide)),
        ("mean of its neighbours, one step away", figure_text(mean, wide)),
        ("worst of its neighbours", figure_text(worst, wide)),
    ]
    if isfinite(kept) and metric not in SMALLER_IS_BETTER:
        rows.append(("of the best's, the neighbours keep", share(kept)))
    stable = sweep.stable_parameters
    told = (
        "The best also has the best neighbourhood."
        if stable == sweep.best_parameters
        else f"The best neighbourhood is that of {', '.join(f'{name} {axis_text(value)}' for name, value in stable.items())}: "
        "the middle of a plateau is a safer choice than a lone peak."
    )
    return f'<div class="one">{pairs(rows)}</div><p>{safe(told)}</p>'


def _failures(sweep: Sweep) -> str:
    errors = sweep.table["error"].dropna()
    if not len(errors):
        return '<p class="note">None of the combinations raised an error.</p>'
    counted = Counter(str(error) for error in errors)
    rows = [(error, count(number)) for error, number in counted.most_common(_MOST_ERRORS)]
    more = len(counted) - len(rows)
    told = f'<p class="note">and {more:,} other errors</p>' if more > 0 else ""
    return table(("error", "combinations"), rows) + told


def _tried(sweep: Sweep) -> str:
    rows = [(name, count(len(values)), _values_text(values)) for name, values in sweep.axes.items()]
    return table(("axis", "values", "which"), rows, words=-1)


def _values_text(values: tuple[Any, ...]) -> str:
    texts = [axis_text(value) for value in values]
    return ", ".join(texts if len(texts) <= 16 else [*texts[:8], "…", *texts[-4:]])


def _figure(name: str, value: Any, frame: Any) -> str:
    number = float(value) if value == value and value is not None else float("nan")
    if not isfinite(number):
        return "-"
    if name in _SHARES:
        return share(number)
    return count(number) if name == "trades" else figure_text(number, min(_wide(frame, name), 9.0))


def _wide(frame: Any, name: str) -> float:
    values = frame[name].to_numpy(dtype=float, na_value=np.nan)
    known = values[np.isfinite(values)]
    return float(np.ptp(known)) if len(known) else 1.0


def _share(value: float) -> str:
    return share(value) if isfinite(value) else "-"
