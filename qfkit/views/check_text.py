"""Look-ahead and warm-up checks in plain words, as text and as HTML."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qfkit.core.wording import span_text, utc_time
from qfkit.views.parts import Part, parts_html, parts_text

if TYPE_CHECKING:
    from qfkit.research.lookahead_report import Finding, LookaheadReport

__all__ = ["lookahead_html", "lookahead_text"]

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
        return f"{finding.where}: it raised {finding.without} when the bars after {utc_time(finding.cut_ns)} UTC {changed}"
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
    return f"{value:.7g}" if isinstance(value, float) else value
