"""The dashboard's meter of drift: is the session still what its backtest was, as HTML."""

from qfkit.core.snapshot import DriftRow
from qfkit.resampling.expectation import FIGURES
from qfkit.views.dashboard.scene import Scene, said
from qfkit.views.dashboard.sheets import sheet, table
from qfkit.views.text import UNKNOWN

__all__ = ["drift", "drift_rows"]

_VERDICTS = {"inside": ("●", "q-up"), "at the edge": ("◐", "q-warn"), "outside": ("▲", "q-bad")}


def drift(scene: Scene) -> str:
    """Verdict, reason, and each figure in its band; "" where the session was not told its backtest."""
    view = scene.snapshot.drift
    if view is None:
        return ""
    mark, kind = _VERDICTS.get(view.verdict, ("○", "q-quiet"))
    stop = f"<span>{said(view.stop)}</span>" if view.stop else ""
    facts = f'<div class="q-facts"><span class="{kind}"><b>{mark} {said(view.verdict)}</b></span>{stop}</div>'
    why = f'<p class="q-quiet">{said(view.text)}</p>'
    rows = [[*(said(one) for one in drift_text(row)), _bar(row.percentile, view.level)] for row in view.rows]
    columns = [("figure", "q-l"), ("now", ""), (f"{view.level * 100.0:g} % of the backtest", "q-wide"), ("", "q-l")]
    return sheet("Drift", facts + why + table(columns, rows, ""), f"{view.periods:,} periods")


def drift_text(row: DriftRow) -> tuple[str, str, str]:
    """Label, value and what is usual."""
    label, style = FIGURES[row.name]
    value = UNKNOWN if row.value != row.value else style(row.value)
    return label, value, UNKNOWN if row.low != row.low else f"{style(row.low)} to {style(row.high)}"


def drift_rows(scene: Scene) -> list[list[str]]:
    """The same as plain text, where no style sheet is."""
    view = scene.snapshot.drift
    return [] if view is None else [list(drift_text(row)) for row in view.rows]


def _bar(percentile: float, level: float) -> str:
    if percentile != percentile:
        return ""
    kind = " q-out" if abs(percentile - 0.5) * 2.0 > level else ""
    low = (1.0 - level) * 50.0
    return (
        f'<span class="q-place{kind}"><s style="left:{low:.0f}%;right:{low:.0f}%"></s>'
        f'<u style="left:{percentile * 100.0:.0f}%"></u></span>'
    )
