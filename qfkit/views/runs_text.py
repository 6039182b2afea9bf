"""Several runs for people: their figures as text and as HTML, with the picture above."""

from collections.abc import Callable
from html import escape
from math import isnan
from typing import TYPE_CHECKING

from qfkit.core.metrics import FIGURE_LINES
from qfkit.core.wording import money
from qfkit.views.picture import data_uri
from qfkit.views.runs_picture import describe_runs, runs_svg
from qfkit.views.runs_series import RunsSeries, shortened
from qfkit.views.text import clean

if TYPE_CHECKING:
    from qfkit.side_by_side import SideBySide

__all__ = ["runs_html", "runs_text"]

# Those that are looked at first; all are in the table.
_SHOWN = (
    "end_equity",
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "max_drawdown",
    "max_drawdown_days",
    "exposure",
    "turnover",
    "fees",
    "fills",
    "trades",
    "win_rate",
    "profit_factor",
    "expectancy",
)
_PLAIN = ' style="background:transparent"'


def _rows(runs: "SideBySide") -> list[tuple[str, ...]]:
    """A line a figure: label, each run, and of two the difference."""
    has_difference = len(runs) == 2
    rows: list[tuple[str, ...]] = [("", *map(shortened, runs.labels), *(("difference",) if has_difference else ()))]
    for name, label, style in FIGURE_LINES:
        if name in _SHOWN:
            values = [float(metrics[name]) for metrics in runs.metrics.values()]
            more = (_difference(style, values[1] - values[0]),) if has_difference else ()
            rows.append((label, *map(style, values), *more))
    others = runs.correlation.iloc[0, 1:]
    rows.append(("correlation of returns", "", *map(money, others), *(("",) if has_difference else ())))
    return rows


def _difference(style: Callable[[float], str], value: float) -> str:
    """A difference in the figure's own decimals, with its sign; what rounds to nothing has none."""
    if isnan(value):
        return style(value)
    text = style(abs(value)).removeprefix("+")
    sign = "+" if value > 0.0 else "-"
    return sign + text if any(digit in text for digit in "123456789") else text


def runs_text(runs: "SideBySide") -> str:
    """Heading, table and notes; foreign control characters would act in a terminal."""
    table = [tuple(map(clean, row)) for row in _rows(runs)]
    wide = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        "  ".join([f"{row[0]:<{wide[0]}}", *(f"{cell:>{wide[place]}}" for place, cell in enumerate(row) if place)])
        for row in table
    ]
    return "\n".join(
        [clean(runs._heading), "", *(line.rstrip() for line in lines), "", *(f"- {clean(one)}" for one in runs.notes)]
    )


def runs_html(runs: "SideBySide", series: RunsSeries) -> str:
    """The picture, the table and the notes."""
    head, *rows = _rows(runs)
    left = '<td style="text-align:left;padding:2px 24px 2px 0;opacity:.75;white-space:nowrap">'
    right = '<td style="text-align:right;padding:2px 0 2px 24px;font-variant-numeric:tabular-nums">'
    titles = "".join(
        f'<th style="text-align:right;padding:2px 0 2px 24px;max-width:240px;overflow-wrap:anywhere">{escape(one)}</th>'
        for one in head[1:]
    )
    body = "".join(
        f"<tr{_PLAIN}>{left}{escape(row[0])}</td>{''.join(f'{right}{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in runs.notes)
    page = (
        '<div style="max-width:960px;overflow-x:auto">'
        f'<img src="{data_uri(runs_svg(series, runs._heading))}" alt="{escape(describe_runs(series))}" width="960" '
        'style="max-width:100%;height:auto;margin:8px 0">'
        f'<table style="border-collapse:collapse;margin:4px 0"><tr{_PLAIN}><th></th>{titles}</tr>{body}</table>'
        f'<ul style="margin:4px 0;padding-left:1.2em;opacity:.85">{notes}</ul></div>'
    )
    return page.encode("utf-8", "replace").decode()
