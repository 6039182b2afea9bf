"""The risk of what is held in the end, the stops that limits put, and margin calls."""

from qfkit.core.wording import money, percent, share, utc_time
from qfkit.errors import QfkitError
from qfkit.result import Result
from qfkit.views.report.grids import Cell, pairs, table
from qfkit.views.report.page import safe
from qfkit.views.text import quantity

__all__ = ["risk_html", "stops_html"]

_MOST = 30
# What is measured on positions is nothing where there are none.
_OF_THE_ACCOUNT = (
    "equity",
    "beta of the account",
    "drawdown",
    "under water for",
    "max drawdown",
    "longest under water",
    "turnover a year",
    "volatility, a year",
    "EWMA",
)


def risk_html(result: Result) -> str:
    """What is open in the end and what it may lose; what limits and the margin did meanwhile."""
    parts = []
    try:
        report = result.risk
    except QfkitError as error:
        report = None
        parts.append(f'<p class="note">The risk of the last positions is not known: {safe(error)}</p>')
    if report is not None:
        if not report.positions:
            parts.append(
                '<p class="note">No position is open in the end; the figures are those of the account\'s course.</p>'
            )
        rows: list[tuple[str, Cell]] = [
            (label, value)
            for label, value in report.lines()
            if value not in ("n/a", "-") and (report.positions or label in _OF_THE_ACCOUNT)
        ]
        third = -(-len(rows) // 3)
        columns = [rows[start : start + third] for start in range(0, len(rows), third)]
        parts.append(f'<div class="columns">{"".join(pairs(one) for one in columns)}</div>')
        if report.positions:
            held = [
                (
                    one.symbol,
                    quantity(one.quantity),
                    money(one.value),
                    percent(one.weight),
                    share(one.component_value_at_risk_day),
                    money(one.beta),
                    money(one.liquidation_days) if one.liquidation_days >= 0.01 else "below 0.01",
                )
                for one in report.positions[:_MOST]
            ]
            head = ("open in the end", "quantity", "value", "weight", "part of VaR, a day", "beta", "days to sell")
            parts.append(f"<h3>Positions</h3>{table(head, held)}")
        parts += [f'<p class="note">{safe(note)}</p>' for note in report.notes]
    return "".join([*parts, stops_html(result)])


def stops_html(result: Result) -> str:
    """Stops that limits put or somebody put by hand, and margin calls, the newest last."""
    parts = []
    stops = result.records.stops
    if stops:
        rows: list[tuple[Cell, ...]] = [
            (utc_time(one.time_ns), one.strategy, one.change, one.kind, one.why) for one in stops[-_MOST:]
        ]
        parts.append(
            f"<h3>Stops{_of(len(stops))}</h3>{table(('time (UTC)', 'strategy', 'change', 'stop', 'why'), rows, words=5)}"
        )
    calls = result.records.margin_calls
    if calls:
        rows = [
            (utc_time(one.time_ns), one.strategy, one.kind, one.done, money(one.equity), money(one.required))
            for one in calls[-_MOST:]
        ]
        head = ("time (UTC)", "strategy", "kind", "done", "equity", "required")
        parts.append(f"<h3>Margin calls{_of(len(calls))}</h3>{table(head, rows, words=4)}")
    refused: dict[str, int] = {}
    for signal in result.records.signals:
        if signal.decision_check:
            refused[signal.decision_check] = refused.get(signal.decision_check, 0) + 1
    if refused:
        counted = sorted(refused.items(), key=lambda item: -item[1])
        parts.append(
            "<h3>Signals that a check cut or refused</h3>"
            + table(("check", "signals"), [(name, f"{number:,}") for name, number in counted[:_MOST]])
        )
    return "".join(parts)


def _of(number: int) -> str:
    return f", the last {_MOST} of {number:,}" if number > _MOST else ""
