"""Look-ahead and warm-up checks in plain words, as text and as HTML."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qfkit.core.wording import span_text, utc_time
from qfkit.views.parts import Part, parts_html, parts_text

if TYPE_CHECKING:
    from qfkit.research.lookahead_report import Finding, LookaheadReport
    from qfkit.research.warmup_report import WarmupReport

__all__ = ["lookahead_html", "lookahead_text", "warmup_html", "warmup_text"]

_SHOWN = 12


def lookahead_text(report: "LookaheadReport") -> str:
    return parts_text(*_lookahead(report))


def lookahead_html(report: "LookaheadReport") -> str:
    return parts_html(*_lookahead(report))


def _lookahead(report: "LookaheadReport") -> tuple[str, list[Part]]:
    names = ", ".join(report.strategies)
    seen = f"{report.points} moments, {span_text(*report.span)}"
    heads = {
        "clean": f"{names}: no look-ahead found ({seen})",
        "not proven": f"{names}: no look-ahead found, but not all could be looked into ({seen})",
        "looks ahead": f"{names} looks ahead ({seen})",
    }
    parts = []
    first = report.first
    if first is not None:
        parts.append(Part("The first bar that saw too much", (sentence(first),)))
        parts.append(_table(report.findings))
    if report.unseen:
        parts.append(Part("What could not be looked into", tuple(report.unseen)))
    if report.hints:
        told = (f"{sentence(one)}; no decision was seen to change" for one in report.hints)
        parts.append(Part("Worth a look", tuple(told)))
    return heads[report.verdict], parts


def sentence(finding: "Finding") -> str:
    """``At the bar that closed 2004-03-03 00:00:00 UTC (trend, AAPL) the indicator SMA(20) used bars after it: …``"""
    kinds = {
        "decision": f"the {finding.name}",
        "indicator": f"the indicator {finding.name}",
        "attribute": f"its attribute {finding.name}",
        "variable": f"its variable {finding.name}",
    }
    at = f"at the bar that closed {utc_time(finding.time_ns)} UTC"
    changed = "were cut off" if finding.how == "cut" else f"were {finding.how}"
    if finding.kind == "error":
        return (
            f"{finding.where}: it raised {finding.without} when the bars after {utc_time(finding.cut_ns)} UTC {changed}"
        )
    bars = "bar" if finding.bars_ahead == 1 else "bars"
    return (
        f"{finding.where}: {at}, {kinds[finding.kind]} used at least {finding.bars_ahead:,} {bars} after it: "
        f"{_value(finding.with_future)} over all of the data, {_value(finding.without)} when the bars after "
        f"{utc_time(finding.cut_ns)} UTC {changed}"
    )


def _table(findings: "Sequence[Finding]") -> Part:
    """One row for each thing that saw too much, at the first bar that it did."""
    rows = []
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.where, one.kind, one.name), []).append(one)
    for (where, kind, name), own in list(groups.items())[:_SHOWN]:
        first = own[0]
        rows.append(
            (
                f"{kind} {name}" if kind != "decision" else name,
                where,
                utc_time(first.time_ns),
                _value(first.with_future),
                _value(first.without),
                f"{max(one.bars_ahead for one in own):,}",
                f"{len({one.cut_ns for one in own}):,}",
            )
        )
    more = len(groups) - len(rows)
    lines = (f"and {more} more: report.table has all",) if more > 0 else ()
    head = ("", "of", "first bar (close, UTC)", "with the future", "without", "bars ahead, at least", "moments")
    return Part("What saw too much", lines, head, tuple(rows))


def _value(value: float | str) -> str:
    return ("NaN" if value != value else f"{value:.7g}") if isinstance(value, float) else value


def warmup_text(report: "WarmupReport") -> str:
    return parts_text(*_warmup(report))


def warmup_html(report: "WarmupReport") -> str:
    return parts_html(*_warmup(report))


def _warmup(report: "WarmupReport") -> tuple[str, list[Part]]:
    names = ", ".join(report.strategies)
    needed = report.needed
    seen = f"{report.starts} later starts, {span_text(*report.span)}"
    if needed is None:
        head = f"{names}: where the data begin shows to their end ({seen})"
    else:
        head = f"{names}: {needed:,} bars of the past are needed ({seen})"
    lines = []
    bound = 1_000 if report.warmup is None else report.warmup
    if needed is not None and needed <= bound:
        lines.append(
            f"a session needs warmup={needed:,} or more"
            if report.warmup is None
            else f"the {bound:,} that a session has are enough"
        )
    elif needed is not None:
        lines.append(f"a session has {bound:,}: until then it decides otherwise than the backtest did")
    else:
        lines.append("no warm-up makes a session decide as the backtest did: what never agrees is named below")
    lines += [
        f"{one.strategy}, {one.symbol}: called with the last 1,000 bars, as a session does it, the target was "
        f"another at {one.other} of {one.looked_at} bars looked at"
        for one in report.windows
        if one.other
    ]
    rows = tuple(
        (
            f"{row.kind} {row.name}" if row.kind != "decision" else row.name,
            ", ".join(filter(None, (row.strategy, row.symbol))),
            f"{row.bars:,}" if row.bars is not None else f"not within {row.looked_at:,}",
        )
        for row in report.rows
    )
    table = Part(
        "Bars from a later start until it agrees",
        (f"numbers agree within {report.tolerance:g} of their size",),
        ("", "of", "bars"),
        rows,
    )
    return head, [Part("For a session", tuple(lines)), table]
