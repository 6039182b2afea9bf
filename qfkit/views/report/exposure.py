"""What was held in the course of a run, as a share of the equity."""

from math import nan

import msgspec
import numpy as np

from qfkit.core.orders import Side
from qfkit.core.wording import share
from qfkit.result import Result
from qfkit.views.report.drawing import Layer, area, chart, key, level, line, linear
from qfkit.views.report.grids import pairs
from qfkit.views.report.page import safe
from qfkit.views.series import Floats, thin, time_ticks

__all__ = ["Exposures", "exposure_html", "exposures"]

# A position that comes out this far from what the run says of itself was changed by more than its fills.
_TOLERANCE = 1e-6


class Exposures(msgspec.Struct, frozen=True):
    """At each equity point: the value of all positions without signs (``gross``) and with them (``net``), over the equity.

    Strategies are netted. ``lacking`` says why there is nothing, "" where there is.
    """

    gross: Floats
    net: Floats
    lacking: str = ""


def exposures(result: Result) -> Exposures:
    """Of a run's fills, at the closes of its bars; at the price of the last fill where a symbol has none."""
    times_ns, equity = result._equity.times_ns, result._equity.account
    gross, net = np.zeros(len(times_ns)), np.zeros(len(times_ns))
    by_symbol: dict[str, list[tuple[int, float, float, float]]] = {}
    for fill in result.records.fills:
        signed = fill.quantity if fill.side == Side.BUY else -fill.quantity
        by_symbol.setdefault(fill.symbol, []).append((fill.received_ns, signed, fill.price, fill.rate))
    held_now = result.holdings.quantities
    for symbol, rows in by_symbol.items():
        filled_ns = np.array([row[0] for row in rows], dtype=np.int64)
        held = np.concatenate(([0.0], np.cumsum([row[1] for row in rows])))
        largest = float(np.max(np.abs(held)))
        if abs(float(held[-1]) - held_now.get(symbol, 0.0)) > _TOLERANCE * largest:
            return Exposures(
                np.empty(0),
                np.empty(0),
                f"The position in {symbol} was changed by more than its fills (a split, say), so it is not drawn.",
            )
        held[np.abs(held) <= 1e-12 * largest] = 0.0
        at = np.searchsorted(filled_ns, times_ns, side="right")
        prices = np.array([nan, *(row[2] for row in rows)])[at]
        rates = np.array([1.0, *(row[3] for row in rows)])[at]
        own = result._bars.get(symbol)
        if own is not None and len(own):
            place = np.searchsorted(own.close_ns, times_ns, side="right") - 1
            prices = np.where(place >= 0, own.close[np.maximum(place, 0)], prices)
        value = np.where(held[at] != 0.0, held[at] * prices * rates, 0.0)
        gross += np.abs(value)
        net += value
    with np.errstate(divide="ignore", invalid="ignore"):
        return Exposures(np.where(equity > 0.0, gross / equity, nan), np.where(equity > 0.0, net / equity, nan))


def exposure_html(result: Result) -> str:
    """The chart and its figures."""
    found = exposures(result)
    if found.lacking:
        return f'<p class="note">{safe(found.lacking)}</p>'
    times_ns = result._equity.times_ns
    known = np.isfinite(found.gross)
    if len(times_ns) < 2 or not known.any():
        return '<p class="note">There is no course of equity to hold positions against.</p>'
    has_shorts = bool((found.net[known] < found.gross[known] - 1e-9).any())
    places = np.arange(len(times_ns)) / (len(times_ns) - 1)
    x, gross = thin(places, found.gross, 700)
    net_x, net = thin(places, found.net, 700)
    low, high = min(0.0, float(np.min(net))), max(float(np.max(gross)), 0.01)
    scale = linear(low, high * 1.06, 4, " %", factor=100.0, tight=True)
    layers: list[Layer] = [area(x, gross, 0.0, scale, "soft" if has_shorts else "run")]
    if has_shorts:
        layers += [level(0.0, scale), line(net_x, net, scale, "run")]
    else:
        layers.append(line(x, gross, scale, "run"))
    keys = key("gross", "soft", "box") + key("net", "run") if has_shorts else key("positions over equity", "run")
    ticks = [(place / (len(times_ns) - 1), name) for place, name in time_ticks(times_ns)]
    mean, most = float(np.mean(found.gross[known])), float(np.max(found.gross[known]))
    figures = [
        ("time with a position open", share(result.metrics.exposure)),
        ("gross exposure, mean", share(mean)),
        ("gross exposure, largest", share(most)),
    ]
    if has_shorts:
        figures += [
            ("net exposure, mean", share(float(np.mean(found.net[known])))),
            ("net exposure, lowest", share(float(np.min(found.net[known])))),
        ]
    words = f"positions as a share of the equity over time: {share(mean)} in the mean, {share(most)} at most"
    picture = chart(layers, scale, x_ticks=ticks, height=130, words=words, title="exposure, of equity", keys=keys)
    return picture + f'<div class="columns">{pairs(figures)}</div>'
