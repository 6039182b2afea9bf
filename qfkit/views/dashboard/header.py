"""The dashboard's head: which session, how its feed is, and the figures that matter."""

from qfkit.core.snapshot import FeedView
from qfkit.views.dashboard.scene import Scene, moved, said
from qfkit.views.text import duration, money, percent, signed_money, signed_percent, utc

__all__ = ["feed_age", "feed_words", "figures", "light", "title"]

_LIGHTS = {
    "running": ("●", "q-up"),
    "live": ("●", "q-up"),
    "paused": ("◐", "q-warn"),
    "connecting": ("◐", "q-warn"),
    "backfilling": ("◐", "q-warn"),
    "stale": ("✗", "q-bad"),
    "failed": ("✗", "q-bad"),
    "interrupted": ("✗", "q-bad"),
}


def light(state: str) -> str:
    """A state as a light: shape, colour and word."""
    mark, kind = _LIGHTS.get(state, ("○", "q-quiet"))
    return f'<span class="q-light {kind}"><i>{mark}</i>{said(state)}</span>'


def title(scene: Scene) -> str:
    """Name, state, where the data come from, and the session's time."""
    snapshot = scene.snapshot
    error = f'<div class="q-stopped q-bad">{said(snapshot.error)}</div>' if snapshot.error else ""
    return (
        f'<div class="q-head"><b>{said(snapshot.name or "session")}</b>{light(snapshot.state or "stopped")}'
        f"{_source(snapshot.feed)}"
        f'<span style="margin-left:auto" class="q-quiet">{utc(snapshot.time_ns)}</span></div>'
        f"{error}"
    )


def _source(feed: FeedView | None) -> str:
    words = said(feed_words(feed))
    if not words:
        return ""
    kind = "" if feed is not None and feed.is_live else " q-warn"
    return f'<span class="q-tag{kind}">{words}</span>'


def feed_words(feed: FeedView | None) -> str:
    """Where the data come from; that they are not live is said in so many words."""
    if feed is None:
        return ""
    is_said = feed.is_live or feed.name.startswith(("synthetic", "recorded"))
    return feed.name if is_said else f"recorded: {feed.name}"


def figures(scene: Scene) -> str:
    """Value, profit and loss, cash, positions, trades, drawdown."""
    snapshot = scene.snapshot
    if snapshot.is_watch_list:
        return _figure("symbols", f"{len(snapshot.symbols):,}") + _figure("events", f"{snapshot.events:,}")
    won = f", {snapshot.winning_trades:,} won" if snapshot.trades_count else ""
    symbols = len(snapshot.net_positions)
    gain = moved(snapshot.pnl, signed_money(snapshot.pnl))
    parts = [
        _figure("portfolio value", money(snapshot.equity)),
        _figure(f"profit & loss, {signed_percent(snapshot.return_)}", gain),
        _figure("cash", money(snapshot.cash)),
        _figure("positions", f"{symbols:,}"),
        _figure(f"trades{won}", f"{snapshot.trades_count:,}"),
        _figure(f"drawdown, worst {percent(snapshot.max_drawdown)}", percent(snapshot.drawdown)),
    ]
    return "".join(parts)


def feed_age(feed: FeedView | None) -> str:
    """The feed's light with the age of its last event and its lag; changes once a second where nothing comes."""
    if feed is None:
        return ""
    parts = []
    if feed.state not in ("closed", "created") and feed.age_s is not None:
        parts.append(f"{int(feed.age_s)} s old" if feed.age_s < 60.0 else f"{duration(feed.age_s)} old")
    if feed.lag_ms is not None and feed.is_live:
        parts.append(f"lag {feed.lag_ms:,.0f} ms")
    if feed.rate_per_s:
        parts.append(f"{feed.rate_per_s:,.0f} events/s")
    told = f' <span class="q-quiet">{", ".join(parts)}</span>' if parts else ""
    return f'<span class="q-quiet">feed</span> {light(feed.state)}{told}'


def _figure(label: str, value: str) -> str:
    return f'<div class="q-figure"><b>{value}</b><span class="q-label">{label}</span></div>'
