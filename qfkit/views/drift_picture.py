"""Live figures in the bands of a backtest's resampling, as a picture (SVG) and as HTML."""

from html import escape

from qfkit.core.snapshot import DriftRow, DriftView
from qfkit.resampling.expectation import FIGURES
from qfkit.views.picture import _FONT, _LEFT, _WIDTH, BLUE, GREY, ORANGE, TEAL, VERMILION, _clean, _text, data_uri

__all__ = ["VERDICTS", "describe_drift", "drift_html", "drift_svg"]

# A mark and a colour each.
VERDICTS = {"inside": ("●", TEAL), "at the edge": ("◐", ORANGE), "outside": ("▲", VERMILION)}
_ROW, _BAR, _TOP, _FOOT = 30.0, 14.0, 64.0, 26.0
_BAND = f'fill="{BLUE}" fill-opacity=".35"'
_NAMES, _VALUES = 190.0, 130.0
_BAND_LEFT, _BAND_RIGHT = _LEFT + _NAMES + _VALUES, 720.0


def describe_drift(view: DriftView) -> str:
    """The picture in words."""
    return f"{view.verdict}: {view.text}"


def drift_svg(view: DriftView) -> str:
    """A row a figure: its name, its value, where among the samples it lies, and what is usual."""
    mark, colour = VERDICTS.get(view.verdict, ("○", GREY))
    body = [
        _text(_LEFT, 18, f"{mark} {view.verdict}", size=14, weight=600, fill=colour),
        _text(_BAND_LEFT, 44, "rarely lower", size=11),
        _text(_BAND_RIGHT, 44, "rarely higher", size=11, anchor="end"),
        _text(_BAND_RIGHT + 16.0, 44, f"{view.level * 100.0:g} % of the samples", size=11),
    ]
    for number, row in enumerate(view.rows):
        body += _row(row, view.level, _TOP + _ROW * number)
    bottom = _TOP + _ROW * len(view.rows)
    height = bottom + _FOOT - 16.0
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}" width="{_WIDTH:g}" '
        f'height="{height:g}" font-family="{_FONT}" font-size="12" fill="{GREY}" role="img">'
        f"<title>{_clean(describe_drift(view))}</title>{''.join(body)}</svg>"
    )


def _row(row: DriftRow, level: float, top: float) -> list[str]:
    label, style = FIGURES[row.name]
    middle = top + _ROW / 2.0 - 8.0
    wide = _BAND_RIGHT - _BAND_LEFT
    drawn = [
        _text(_LEFT, middle + 4, label),
        _text(_LEFT + _NAMES + _VALUES - 20.0, middle + 4, style(row.value), anchor="end", weight=600),
    ]
    if row.low != row.low:
        return [*drawn, _text(_BAND_LEFT, middle + 4, "nothing to hold it against")]
    left, size = _BAND_LEFT + (1.0 - level) / 2.0 * wide, level * wide
    for start, width, look in ((_BAND_LEFT, wide, f'rx="3" fill="{GREY}" fill-opacity=".18"'), (left, size, _BAND)):
        place = f'x="{start:.1f}" y="{middle - _BAR / 2.0:g}" width="{width:.1f}" height="{_BAR:g}"'
        drawn.append(f"<rect {place} {look}/>")
    drawn.append(_text(_BAND_RIGHT + 16.0, middle + 4, f"{style(row.low)} to {style(row.high)}"))
    if row.percentile == row.percentile:
        beyond = abs(row.percentile - 0.5) * 2.0 > level
        at = _BAND_LEFT + row.percentile * wide
        drawn.append(
            f'<rect x="{at - 2.5:.1f}" y="{middle - _BAR / 2.0 - 3.0:g}" width="5" height="{_BAR + 6.0:g}" rx="2" '
            f'fill="{VERMILION if beyond else BLUE}"/>'
        )
    return drawn


def drift_html(view: DriftView) -> str:
    """The picture, and below it why."""
    page = (
        f'<img src="{data_uri(drift_svg(view))}" alt="{escape(describe_drift(view))}" width="960" '
        f'style="max-width:100%;height:auto"><p>{escape(describe_drift(view))}</p>'
    )
    return page.encode("utf-8", "replace").decode()
