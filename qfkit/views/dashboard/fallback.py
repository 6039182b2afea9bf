"""What a notebook shows of a session where no kernel answers: a picture and tables that need no style sheet.

It is an output of its own below the live dashboard. A page that shows the dashboard hides it; a page that cannot
(a saved notebook, a web page of it, a PDF) shows it.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from qfkit.core.chart_feed import ChartView
from qfkit.core.snapshot import Snapshot
from qfkit.tables import bar_columns, equity_columns
from qfkit.views.dashboard.candles import opening_fills
from qfkit.views.dashboard.drift import drift_rows
from qfkit.views.dashboard.header import feed_words
from qfkit.views.dashboard.scene import Scene, said
from qfkit.views.dashboard.sheets import order_rows, position_rows
from qfkit.views.raster import PICTURE_WIDTH, png_uri, run_png
from qfkit.views.series import Mark, RunSeries, run_series
from qfkit.views.terminal import plain_line
from qfkit.views.text import money, percent, signed_money, signed_percent, utc

__all__ = ["bundle", "group_bundle", "picture"]

_CELL = "padding:2px 14px 2px 0;white-space:nowrap"
_MOST_ROWS = 8


def picture(snapshot: Snapshot, chart: ChartView) -> bytes:
    """Candles with entries and exits, and equity with drawdown, as a PNG."""
    return run_png(*_series(snapshot, chart))


def _series(snapshot: Snapshot, chart: ChartView) -> list[RunSeries]:
    found = []
    bars = [*chart.bars, *([chart.forming] if chart.forming is not None else [])]
    nothing = equity_columns(())
    if bars:
        series = run_series(bar_columns(bars)[chart.symbol], (), nothing, starting_equity=snapshot.starting_cash)
        opens_ns = np.array([bar.open_ns for bar in bars], dtype=np.int64)
        marks = tuple(
            Mark(float(np.searchsorted(opens_ns, fill.time_ns, "right") - 1), fill.price, fill.side, opens)
            for fill, opens in opening_fills(chart.fills, chart.held)
            if fill.time_ns >= opens_ns[0]
        )
        found.append(replace(series, marks=marks, fills=len(marks)))
    if len(chart.equity) > 1:
        equity = equity_columns(chart.equity)
        found.append(run_series(None, (), equity, starting_equity=snapshot.starting_cash))
    return found


def bundle(kind: str, snapshot: Snapshot, chart: ChartView, token: str) -> dict[str, Any]:
    """The output's forms: HTML with the picture in it, the picture for a PDF, and plain text.

    ``token`` names the dashboard that hides it, ``kind`` is the one it stands in for.
    """
    series = _series(snapshot, chart)
    if kind == "chart":
        series = [one for one in series if len(one.price)]
    elif kind == "equity":
        series = [one for one in series if len(one.equity)]
    png = b"" if kind in ("blotter", "risk") else run_png(*series)
    found = {"text/plain": plain_line(snapshot), "text/html": _html(kind, snapshot, chart, token, png)}
    if png:
        found["image/png"] = b64encode(png).decode("ascii")
    return found


def group_bundle(snapshots: Sequence[Snapshot], token: str) -> dict[str, Any]:
    """The same for several sessions together: a row each."""
    titles = ("session", "state", "value", "profit & loss", "return", "drawdown", "trades")
    rows = [
        [
            one.name,
            one.state,
            money(one.equity),
            signed_money(one.pnl),
            signed_percent(one.return_),
            percent(one.drawdown),
            f"{one.trades_count:,}",
        ]
        for one in snapshots
    ]
    html = f'<div class="qfkit-still qfkit-still-{token}">{_table("Sessions", titles, rows)}</div>'
    return {"text/plain": "\n".join(f"{one.name}: {plain_line(one)}" for one in snapshots), "text/html": html}


def _html(kind: str, snapshot: Snapshot, chart: ChartView, token: str, png: bytes) -> str:
    scene = Scene(snapshot, chart)
    figures = [
        ("portfolio value", money(snapshot.equity)),
        ("profit &amp; loss", f"{signed_money(snapshot.pnl)} ({signed_percent(snapshot.return_)})"),
        ("cash", money(snapshot.cash)),
        ("positions", f"{len(snapshot.net_positions):,}"),
        ("trades", f"{snapshot.trades_count:,}"),
        ("drawdown", f"{percent(snapshot.drawdown)} (worst {percent(snapshot.max_drawdown)})"),
    ]
    tiles = "".join(
        f'<td style="text-align:left;padding:2px 22px 2px 0"><span style="opacity:.7">{name}</span><br><b>{value}</b></td>'
        for name, value in figures
    )
    held = _table("Positions", ("symbol", "quantity", "average", "last", "value", "unrealised"), position_rows(scene))
    titles = ("time", "side", "symbol", "quantity", "price", "status", "reason")
    orders = _table("Latest orders", titles, [row.plain() for row in order_rows(scene, _MOST_ROWS)])
    verdict = "" if snapshot.drift is None else f"Drift: {said(snapshot.drift.verdict)}"
    drift = _table(verdict, ("figure", "now", "of the backtest"), drift_rows(scene))
    words = f"candles of {said(chart.symbol)}, equity from {money(snapshot.starting_cash)} to {money(snapshot.equity)}"
    faults = "".join(
        f'<p style="margin:4px 0;color:#cf432f">{said(view.name)} was stopped by its error: {said(view.fault)}</p>'
        for view in snapshot.strategies
        if view.fault
    )
    if snapshot.error:
        faults = f'<p style="margin:4px 0;color:#cf432f">{said(snapshot.error)}</p>{faults}'
    # Of a moment that was replayed nobody knows how the feed was.
    state = [said(snapshot.state), utc(snapshot.time_ns), said(feed_words(snapshot.feed))]
    head = f'<p style="margin:4px 0"><b>{said(snapshot.name)}</b>, {", ".join(filter(None, state))}</p>{faults}'
    tiles = (
        f'<table style="border-collapse:collapse;margin:4px 0"><tr style="background:transparent">{tiles}</tr></table>'
    )
    image = f'<img src="{png_uri(png)}" alt="{words}" width="{PICTURE_WIDTH}" style="max-width:100%;height:auto">'
    bodies = {
        "chart": image,
        "equity": image,
        "blotter": orders or "<p>No orders yet.</p>",
        "risk": f"{_limits(snapshot)}{drift}",
    }
    body = bodies.get(kind, f"{tiles}{image}{held}{orders}{drift}")
    return f'<div class="qfkit-still qfkit-still-{token}" style="max-width:{PICTURE_WIDTH}px">{head}{body}</div>'


def _limits(snapshot: Snapshot) -> str:
    rows = [[view.name, view.strategy, view.value_text, view.limit_text, view.stop] for view in snapshot.limits]
    return _table("Risk", ("limit", "of", "now", "bound", "stop"), rows) or "<p>No limit was set.</p>"


def _table(name: str, titles: tuple[str, ...], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th style="text-align:left;{_CELL}">{title}</th>' for title in titles)
    cells = ["".join(f'<td style="text-align:left;{_CELL}">{said(cell)}</td>' for cell in row) for row in rows]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<p style="margin:8px 0 2px"><b>{name}</b></p><table style="border-collapse:collapse">{head}{body}</table>'
