"""A session's report: that of its run, and how it went: the data as they came, limits, warnings, alerts, what was printed."""

from collections.abc import Sequence
from typing import Any

from qfkit.core.snapshot import SymbolHealth
from qfkit.core.wording import count, money, utc_time
from qfkit.errors import SessionError
from qfkit.live.registry import SessionRecord, session_record
from qfkit.resampling.drift import Drift
from qfkit.result import Result
from qfkit.views.report.footer import footer
from qfkit.views.report.grids import Cell, pairs, table
from qfkit.views.report.headline import intervals_of
from qfkit.views.report.outlay import outlay_of
from qfkit.views.report.page import Report, Section, page_html, safe
from qfkit.views.report.quality import health_html
from qfkit.views.report.run_page import badges, comparison_of, in_short, run_sections, subject
from qfkit.views.report.tries import tries_of
from qfkit.views.text import duration

__all__ = ["session_report"]

_MOST_LINES = 60
_UNWELL = ("failed", "interrupted", "unreadable")
_TOLD = ("warning", "error", "alert")


def session_report(
    session: Any,
    *,
    title: str | None = None,
    benchmark: object = "buy and hold",
    tries: object = None,
    drift: Drift | None = None,
) -> Report:
    """See :meth:`qfkit.Session.report`."""
    result: Result = session.result
    record = session_record(session._journal_file())
    health = _health(session, record)
    known = None if tries is None else tries_of(tries, result._equity.account, result.metrics)
    comparison = comparison_of(result, benchmark)
    intervals, spent = intervals_of(result), outlay_of(result)
    chapters = run_sections(result, comparison, intervals, spent, known)
    own = [Section("The session", _session(session, record, result))]
    if (told := _drift_of(session, drift)) is not None:
        own.append(Section("Drift from the backtest", _drift(told)))
    own.append(Section("Warnings, errors and alerts", _log(session)))
    arrived = health_html(health)
    chapters = [
        Section(one.title, arrived + "<h3>The bars made of them</h3>" + one.body)
        if one.title == "Data quality" and arrived
        else one
        for one in chapters
    ]
    # What it came to first, then how it went, then what it rests on.
    place = next(number for number, one in enumerate(chapters) if one.title == "Data quality")
    heading = title or f"{session.name}: {' + '.join(result.strategy_names)}"
    html = page_html(
        kind="paper-trading session",
        title=heading,
        about=subject(result),
        badges=[(f"{session.state}", session.state in _UNWELL), *badges(result)],
        in_short=[*in_short(result, comparison, intervals, spent, known), *_arrived(health)],
        sections=[*chapters[:place], *own, *chapters[place:]],
        footer=footer(),
    )
    return Report(html, heading)


def _health(session: Any, record: SessionRecord) -> Sequence[SymbolHealth]:
    """Of a session in this process its newest word, of another what its journal says."""
    pipeline = getattr(session, "_pipeline", None)
    feed = None if pipeline is None else pipeline.snapshot.feed
    return record.health if feed is None else feed.symbols


def _arrived(views: Sequence[SymbolHealth]) -> list[str]:
    lost, stale_s = sum(view.missing for view in views), sum(view.stale_s for view in views)
    still_open = sum(view.gaps_open for view in views)
    if still_open:
        return [
            f"{still_open:,} gap{'' if still_open == 1 else 's'} in the data could not be filled; {lost:,} events are known to be lost."
        ]
    return [f"The data stood still for {duration(stale_s)} in all."] if stale_s >= 1.0 else []


def _session(session: Any, record: SessionRecord, result: Result) -> str:
    first = None if result.data_span is None else result.data_span[0]
    rows: list[tuple[str, Cell]] = [
        ("name", session.name),
        ("state", (session.state, "loss" if session.state in _UNWELL else "")),
        ("feed", record.feed),
        ("started (UTC)", "-" if record.started_ns is None else utc_time(record.started_ns)),
        ("first bar's close (UTC)", "-" if first is None else utc_time(first)),
        ("last event (UTC)", "-" if record.last_event_ns is None else utc_time(record.last_event_ns)),
    ]
    more: list[tuple[str, Cell]] = [
        ("events", count(record.events)),
        ("signals", count(len(result.records.signals))),
        ("orders", count(len({order.order_id for order in result.records.orders}))),
        ("fills", count(len(result.records.fills))),
        ("round trips", count(len(result.records.trades))),
        ("equity in the end", money(result.metrics.end_equity)),
    ]
    told = f'<p class="loss">{safe(record.note)}</p>' if record.note else ""
    limits = getattr(session, "limits", None)
    return f'{told}<div class="columns two">{pairs(rows)}{pairs(more)}</div>{_limits(limits)}'


def _limits(frame: Any) -> str:
    """Where each limit stood in the end; the stops that they put are told under risk."""
    if frame is None or not len(frame):
        return ""
    rows: list[tuple[Cell, ...]] = [
        (
            str(strategy),
            str(name),
            "-" if row["value"] != row["value"] else f"{row['value']:,.4g}",
            "-" if row["limit"] != row["limit"] else f"{row['limit']:,.4g}",
            (str(row["stop"]), "loss") if row["stop"] else "",
        )
        for (strategy, name), row in frame.iterrows()
    ]
    return f"<h3>Limits in the end</h3>{table(('strategy', 'limit', 'value', 'bound', 'stop'), rows, words=2)}"


def _drift_of(session: Any, given: Drift | None) -> Drift | None:
    """The drift that was given, or that of a session which knows what to expect."""
    ask = getattr(session, "drift", None)
    if given is not None or ask is None:
        return given
    try:
        found: Drift = ask()
    except SessionError:
        # It was never told what to expect.
        return None
    return found


def _drift(drift: Drift) -> str:
    head = ("", "live", f"{drift.level * 100.0:g} % low", "high", "percentile")
    told = "".join(f'<p class="note">{safe(line)}</p>' for line in drift.assumptions)
    return f"<p>{safe(drift.verdict)}: {safe(drift.text)}</p>{table(head, drift.lines())}{told}"


def _log(session: Any) -> str:
    frame = session.log
    told = frame[frame["kind"].isin(_TOLD)]
    if not len(told):
        return '<p class="note">There were none.</p>'
    shown = told.tail(_MOST_LINES)
    rows: list[tuple[Cell, ...]] = [
        (f"{time:%Y-%m-%d %H:%M:%S}", (str(row["kind"]), "loss" if row["kind"] == "error" else ""), str(row["text"]))
        for time, row in shown.iterrows()
    ]
    more = f'<p class="note">The last {len(shown)} of {len(told):,}.</p>' if len(told) > len(shown) else ""
    return table(("time (UTC)", "kind", "text"), rows, words=3) + more
