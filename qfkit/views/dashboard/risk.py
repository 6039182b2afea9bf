"""The risk panel and the feed's health, as HTML."""

from math import isfinite

from qfkit.core.snapshot import LimitView, SymbolHealth
from qfkit.views.dashboard.header import light
from qfkit.views.dashboard.scene import Scene, said
from qfkit.views.dashboard.sheets import sheet, table
from qfkit.views.health import is_counted, is_unwell
from qfkit.views.text import UNKNOWN, duration, percent, utc

__all__ = ["health", "risk"]

_MOST_LIMITS = 12
_MOST_SYMBOLS = 10
_NEAR = 0.8
_LEVELS = {"low": ("●", "q-up"), "elevated": ("◐", "q-warn"), "high": ("▲", "q-warn"), "critical": ("✗", "q-bad")}


def risk(scene: Scene) -> str:
    """Level and figures of the last assessment, the stops and what lifts them, each limit against its bound."""
    snapshot = scene.snapshot
    limits = sorted(snapshot.limits, key=lambda view: (view.is_default, not view.stop, -_used(view)))
    several = len({view.strategy for view in limits}) > 1
    columns = [("limit", "q-l"), ("now", ""), ("bound", ""), ("used", "q-l"), ("", "")]
    if several:
        columns.insert(1, ("of", "q-l"))
    rows = []
    for view in limits[:_MOST_LIMITS]:
        used = _used(view)
        row = [
            said(view.name),
            said(view.value_text) if view.value == view.value else UNKNOWN,
            said(view.limit_text),
            _bar(used),
            percent(used, 0),
        ]
        if several:
            row.insert(1, said(view.strategy))
        rows.append(row)
    body = _facts(scene) + _stops(scene) + table(columns, rows, "No limit was set: risk= of qf.paper puts them here.")
    more = f"{_MOST_LIMITS} of {len(limits)} limits" if len(limits) > _MOST_LIMITS else ""
    return sheet("Risk", body, more)


def _used(view: LimitView) -> float:
    used = view.value / view.limit if view.limit else 0.0
    return used if isfinite(used) else 0.0


def _bar(used: float) -> str:
    kind = "q-over" if used >= 1.0 else "q-near" if used >= _NEAR else ""
    return f'<span class="q-used {kind}"><u style="width:{min(max(used, 0.0), 1.0) * 100:.0f}%"></u></span>'


def _facts(scene: Scene) -> str:
    snapshot = scene.snapshot
    found = snapshot.assessment
    gross = sum(abs(net.market_value) for net in snapshot.net_positions)
    net = sum(net.market_value for net in snapshot.net_positions)
    equity = snapshot.equity
    parts = []
    if found is not None:
        mark, kind = _LEVELS.get(str(found.level), ("○", ""))
        parts.append(f'<span class="{kind}"><b>{mark} {said(found.level)} risk</b></span>')
    if equity > 0.0:
        parts.append(f"<span>exposure <b>{percent(gross / equity, 1)}</b></span>")
        parts.append(f"<span>net <b>{percent(net / equity, 1)}</b></span>")
    if found is not None:
        parts.append(f"<span>VaR of a day <b>{percent(found.value_at_risk_day)}</b></span>")
    why = ""
    if found is not None and found.reasons:
        why = f'<p class="q-quiet">{said("; ".join(found.reasons))}</p>'
    return f'<div class="q-facts">{"".join(parts)}</div>{why}' if parts else ""


def _stops(scene: Scene) -> str:
    names = {"block_entries": "No new entries", "flatten": "Closed and held flat"}
    found = []
    for stop in scene.snapshot.stops:
        lifts = "session.lift() lifts it" if stop.lifts_ns is None else f"lifts itself at {utc(stop.lifts_ns)}"
        found.append(
            f'<div class="q-stopped"><b class="q-down">✗ {names.get(stop.kind, said(stop.kind))}</b> '
            f"({said(stop.strategy)}) since {scene.time(stop.since_ns)}: {said(stop.why)}; {lifts}</div>"
        )
    return "".join(found)


def health(scene: Scene) -> str:
    """How each symbol's data arrive, what is unwell first."""
    feed = scene.snapshot.feed
    views = () if feed is None else feed.symbols
    if feed is None or not is_counted(views):
        told = (
            "These data are not live, so none can be missed."
            if feed is not None and not feed.is_live
            else "Waiting for the feed."
        )
        return sheet("Feed health", f'<p class="q-empty">{told}</p>')
    ordered = sorted(views, key=lambda view: not is_unwell(view))
    rows = [_health_row(view) for view in ordered[:_MOST_SYMBOLS]]
    columns = [
        ("symbol", "q-l"),
        ("state", "q-l"),
        ("age", ""),
        ("events", ""),
        ("gaps", ""),
        ("twice", "q-wide"),
        ("late", "q-wide"),
        ("lag p99", ""),
        ("up", ""),
    ]
    more = f"{_MOST_SYMBOLS} of {len(views)}" if len(views) > _MOST_SYMBOLS else ""
    return sheet("Feed health", table(columns, rows, ""), more)


def _health_row(view: SymbolHealth) -> list[str]:
    age = (
        UNKNOWN
        if view.age_s is None or view.state == "closed"
        else f"{int(view.age_s)} s"
        if view.age_s < 60
        else duration(view.age_s)
    )
    gaps = f"{view.gaps_found:,}"
    if view.gaps_open:
        gaps = f'<span class="q-bad">{view.gaps_open:,} open</span> of {gaps}'
    return [
        f'<span class="q-name">{said(view.symbol)}</span>',
        light(view.state),
        age,
        f"{view.events:,}",
        gaps,
        f"{view.duplicates:,}",
        f"{view.late:,}",
        UNKNOWN if view.lag_p99_ms is None else f"{view.lag_p99_ms:,.0f} ms",
        UNKNOWN if view.uptime is None else percent(view.uptime, 1),
    ]
