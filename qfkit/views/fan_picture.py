"""A fan of equity for people: as a picture (SVG) and as HTML."""

from collections.abc import Sequence
from html import escape

import numpy as np

from qfkit.resampling.monte_carlo import FAN_LEVELS, Fan
from qfkit.views.picture import _FONT, _LEFT, _WIDTH, BLUE, GREY, ORANGE, _clean, _text, _time_text, data_uri
from qfkit.views.series import Floats, around, round_ticks, time_ticks, value_text

__all__ = ["KEYS", "ends_of", "fan_html", "fan_svg"]

KEYS = ((BLUE, "50 % and 90 % of the samples, median"), (ORANGE, "the run itself"))
_TOP, _HEIGHT, _RIGHT, _FOOT = 58.0, 280.0, 84.0, 26.0
_LETTER = 7.0


def fan_svg(fan: Fan) -> str:
    """The bands of the samples, their median and the run itself; on the right where they end."""
    plot_right, bottom = _WIDTH - _RIGHT, _TOP + _HEIGHT
    last = float(max(len(fan.places) - 1, 1))
    low, high = around(*ends_of(fan))

    def x(place: float) -> float:
        return _LEFT + place / last * (plot_right - _LEFT)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * _HEIGHT

    def points(values: Floats) -> list[str]:
        return [f"{x(place):.1f} {y(value):.1f}" for place, value in enumerate(values.tolist())]

    body = [_text(_LEFT, 18, fan.title, size=14, weight=600), *_legend(plot_right)]
    grid = []
    ends = [(float(fan.bands[-1, column]), f"{level * 100:g} %") for column, level in enumerate(FAN_LEVELS)]
    names = []
    for value, name in round_ticks(low, high, 5):
        grid.append(f"M{_LEFT:g} {y(value):.1f}H{plot_right:g}")
        # Where all paths begin there is no room for a name.
        if abs(y(value) - y(fan.starting_equity)) > 30.0 and y(value) - _TOP > 12.0:
            names.append(_text(_LEFT, y(value) - 4, name))
    body.append(f'<path d="{"".join(grid)}" stroke="{GREY}" stroke-opacity=".22" fill="none"/>')
    for first, second, shade in ((0, 4, ".14"), (1, 3, ".22")):
        there, back = points(fan.bands[:, second]), points(fan.bands[:, first])[::-1]
        body.append(f'<path d="M{"L".join(there + back)}z" fill="{BLUE}" fill-opacity="{shade}"/>')
    start = y(fan.starting_equity)
    body.append(f'<path d="M{_LEFT:g} {start:.1f}H{plot_right:g}" stroke="{GREY}" stroke-dasharray="4 4"/>')
    for values, colour, width in ((fan.bands[:, 2], BLUE, 1.8), (fan.real, ORANGE, 1.4)):
        body.append(
            f'<path d="M{"L".join(points(values))}" fill="none" stroke="{colour}" stroke-width="{width}" '
            'stroke-linejoin="round"/>'
        )
    body += names
    body += [_time_text(x(place), bottom + 17, name) for place, name in time_ticks(fan.times_ns)]
    spread, free = high - low, -1e9
    for value, name in sorted(ends, reverse=True):
        # Where the fan is narrow its labels would lie on each other.
        at = y(value)
        if at - free >= 15.0:
            body.append(_text(plot_right + 6, at + 4, f"{name} {value_text(value, spread)}", room=_RIGHT - 8.0))
            free = at
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {bottom + _FOOT:g}" width="{_WIDTH:g}" '
        f'height="{bottom + _FOOT:g}" font-family="{_FONT}" font-size="12" fill="{GREY}" role="img">'
        f"<title>{_clean(fan.words)}</title>{''.join(body)}</svg>"
    )


def _legend(right: float) -> list[str]:
    drawn = []
    for colour, name in reversed(KEYS):
        right -= _LETTER * len(name)
        drawn.append(_text(right, _TOP - 16, name))
        drawn.append(f'<rect x="{right - 16.0:.1f}" y="{_TOP - 26.0:g}" width="11" height="11" fill="{colour}"/>')
        right -= 30.0
    return drawn


def fan_html(fan: Fan, lines: Sequence[tuple[str, str, str, str]], assumptions: Sequence[str]) -> str:
    """The picture, its words, and below them the table of levels."""
    right = ' style="text-align:right;font-variant-numeric:tabular-nums"'
    body = "".join("<tr>" + "".join(f"<td{right}>{escape(one)}</td>" for one in row) + "</tr>" for row in lines)
    told = "".join(f"<p>{escape(line)}</p>" for line in (fan.words, *assumptions))
    page = (
        f'<img src="{data_uri(fan_svg(fan))}" alt="{escape(fan.words)}" width="960" style="max-width:100%;height:auto">'
        f"<table><tr><th>below</th><th>end equity</th><th>total return</th><th>max drawdown</th></tr>{body}</table>{told}"
    )
    return page.encode("utf-8", "replace").decode()


def ends_of(fan: Fan) -> tuple[float, float]:
    """The lowest and the highest value that is drawn."""
    drawn = np.concatenate([fan.bands.ravel(), fan.real, [fan.starting_equity]])
    return float(drawn.min()), float(drawn.max())
