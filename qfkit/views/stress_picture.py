"""A stress test for people: as a picture (SVG), as text and as HTML."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TypeAlias

from qfkit.core.wording import share
from qfkit.views.picture import (
    _LEFT,
    _WIDTH,
    BLUE,
    GREY,
    ORANGE,
    TEAL,
    VERMILION,
    _text,
    data_uri,
    page,
)
from qfkit.views.series import around, round_ticks
from qfkit.views.text import clean, signed_money

__all__ = [
    "OTHERS",
    "Scenarios",
    "colours_of",
    "describe_stress",
    "segments_of",
    "stress_html",
    "stress_svg",
    "stress_text",
    "total_of",
]

Scenarios: TypeAlias = Sequence[tuple[str, Mapping[str, float]]]

OTHERS = "others"
_COLOURS = (BLUE, ORANGE, TEAL, VERMILION)
_ROW, _BAR, _HEAD, _FOOT = 34.0, 18.0, 56.0, 26.0
_LETTER = 7.0
# The label of a bar's end needs so much beyond it.
_TOTAL_ROOM = 120.0


def colours_of(scenarios: Scenarios) -> dict[str, str]:
    """A colour a symbol: of the four that lose or gain the most anywhere; the rest is grey and added up."""
    largest: dict[str, float] = {}
    for _, parts in scenarios:
        for symbol, pnl in parts.items():
            largest[symbol] = max(largest.get(symbol, 0.0), abs(pnl))
    ranked = sorted(largest, key=lambda symbol: -largest[symbol])
    kept = set(ranked if len(ranked) <= len(_COLOURS) else ranked[: len(_COLOURS)])
    names = [symbol for symbol in largest if symbol in kept]
    colours = dict(zip(names, _COLOURS, strict=False))
    return colours if len(kept) == len(largest) else {**colours, OTHERS: GREY}


def parts_of(parts: Mapping[str, float], colours: Mapping[str, str]) -> dict[str, float]:
    """One scenario's profit and loss by what has a colour."""
    shown = {name: parts.get(name, 0.0) for name in colours if name != OTHERS}
    if OTHERS in colours:
        shown[OTHERS] = total_of({symbol: pnl for symbol, pnl in parts.items() if symbol not in shown})
    return shown


def segments_of(parts: Mapping[str, float], colours: Mapping[str, str]) -> list[tuple[str, float, float]]:
    """What has a colour, from where to where: gains one after the other to the right of zero, losses to the left."""
    found = []
    ends = {True: 0.0, False: 0.0}
    for symbol, pnl in parts_of(parts, colours).items():
        if pnl:
            near = ends[pnl > 0.0]
            ends[pnl > 0.0] += pnl
            found.append((symbol, near, near + pnl))
    return found


def total_of(parts: Mapping[str, float]) -> float:
    whole = 0.0
    for pnl in parts.values():
        whole += pnl
    return whole


def describe_stress(scenarios: Scenarios) -> str:
    """The picture in words."""
    words = [f"{name}: {signed_money(total_of(parts))}" for name, parts in scenarios]
    return "profit or loss by scenario: " + "; ".join(words)


def stress_svg(scenarios: Scenarios, title: str = "") -> str:
    """A bar a scenario: gains to the right, losses to the left of zero, each symbol in its colour, the sum in words."""
    colours = colours_of(scenarios)
    rows = [(name, segments_of(parts, colours), total_of(parts)) for name, parts in scenarios]
    longest = max((len(name) for name, _, _ in rows), default=0)
    names_room = min(_LETTER * longest + 14.0, 360.0)
    left, right = _LEFT + names_room, _WIDTH - 8.0
    low = min([0.0, *(far for _, segments, _ in rows for _, _, far in segments)])
    high = max([0.0, *(far for _, segments, _ in rows for _, _, far in segments)])
    bottom = _HEAD + _ROW * len(rows)
    body = [_text(_LEFT, 18, title, size=14, weight=600)] if title else []
    if low == high:
        body.append(_text(_LEFT, _HEAD - 14, "nothing to lose or gain: no position is open, or nothing was shocked"))
        low, high = -1.0, 1.0
    start, end = around(low, high, 0.02)
    # A sum stands beside its bar: there is room for it at whichever end has bars.
    room_left = _TOTAL_ROOM if low < 0.0 else 0.0
    room_right = _TOTAL_ROOM if high > 0.0 else 0.0

    def x(value: float) -> float:
        return left + room_left + (value - start) / (end - start) * (right - left - room_left - room_right)

    body += _legend(colours, right)
    grid = []
    for value, name in round_ticks(start, end, 5):
        grid.append(f"M{x(value):.1f} {_HEAD:g}V{bottom:g}")
        body.append(_text(x(value), bottom + 17, name, anchor="middle"))
    body.append(f'<path d="{"".join(grid)}" stroke="{GREY}" stroke-opacity=".22" fill="none"/>')
    for number, (name, segments, whole) in enumerate(rows):
        body += _row(name, segments, whole, colours, _HEAD + _ROW * number, names_room, x)
    body.append(f'<path d="M{x(0.0):.1f} {_HEAD:g}V{bottom:g}" stroke="{GREY}" fill="none"/>')
    return page(body, bottom + _FOOT, describe_stress(scenarios))


def _row(
    name: str,
    segments: Sequence[tuple[str, float, float]],
    whole: float,
    colours: Mapping[str, str],
    top: float,
    names_room: float,
    x: Callable[[float], float],
) -> list[str]:
    middle = top + _ROW / 2.0
    most = int((names_room - 10.0) / _LETTER)
    shown = name if len(name) <= most else name[: most - 1].rstrip() + "…"
    drawn = [_text(_LEFT, middle + 4, shown)]
    for symbol, near, far in segments:
        left, right = sorted((x(near), x(far)))
        drawn.append(
            f'<rect x="{left:.1f}" y="{middle - _BAR / 2.0:.1f}" width="{right - left:.1f}" height="{_BAR:g}" '
            f'fill="{colours[symbol]}"/>'
        )
    lowest, highest = (pick([0.0, *(far for _, _, far in segments)]) for pick in (min, max))
    anchor, place = ("start", x(highest) + 6.0) if whole > 0.0 else ("end", x(lowest) - 6.0)
    # Gains and losses together: where the sum lies among its parts is worth a mark of its own.
    if lowest < 0.0 < highest:
        drawn.append(
            f'<path d="M{x(whole):.1f} {middle - _BAR / 2.0 - 4.0:.1f}v{_BAR + 8.0:g}" stroke="{GREY}" '
            'stroke-width="2.5" fill="none"/>'
        )
    drawn.append(_text(place, middle + 4, signed_money(whole), anchor=anchor, weight=600))
    return drawn


def _legend(colours: Mapping[str, str], right: float) -> list[str]:
    drawn, place = [], right
    for name, colour in reversed(list(colours.items())):
        shown = name if len(name) <= 18 else name[:17] + "…"
        place -= _LETTER * len(shown)
        drawn.append(_text(place, _HEAD - 14, shown))
        drawn.append(f'<rect x="{place - 16.0:.1f}" y="{_HEAD - 24.0:g}" width="11" height="11" fill="{colour}"/>')
        place -= 34.0
    return drawn


def stress_text(scenarios: Scenarios, title: str, equity: float, notes: Sequence[str]) -> str:
    """Scenario, profit or loss, its share of the equity, and the position that loses the most."""
    rows = [("", "profit & loss", "of equity", "worst position")]
    for name, parts in scenarios:
        whole = total_of(parts)
        worst = min(parts, key=parts.__getitem__, default="")
        told = f"{clean(worst)} {signed_money(parts[worst])}" if worst and parts[worst] < 0.0 else "-"
        rows.append((clean(name), signed_money(whole), share(whole / equity), told))
    wide = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{name:<{wide[0]}}  {pnl:>{wide[1]}}  {part:>{wide[2]}}  {worst}".rstrip() for name, pnl, part, worst in rows
    ]
    return "\n".join([clean(title), *lines, *(f"- {clean(note)}" for note in notes)])


def stress_html(scenarios: Scenarios, title: str, equity: float, notes: Sequence[str]) -> str:
    """The picture, and below it the table of sums."""
    right = ' style="text-align:right;font-variant-numeric:tabular-nums"'
    body = "".join(
        f'<tr><td style="text-align:left">{escape(name)}</td><td{right}>{signed_money(total_of(parts))}</td>'
        f"<td{right}>{share(total_of(parts) / equity)}</td></tr>"
        for name, parts in scenarios
    )
    told = "".join(f"<p>{escape(note)}</p>" for note in notes)
    picture = data_uri(stress_svg(scenarios, title))
    page = (
        f'<img src="{picture}" alt="{escape(describe_stress(scenarios))}" width="960" style="max-width:100%;height:auto">'
        f"<table><tr><th></th><th>profit &amp; loss</th><th>of equity</th></tr>{body}</table>{told}"
    )
    return page.encode("utf-8", "replace").decode()
