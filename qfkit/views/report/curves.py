"""Equity beside a benchmark, and the drawdown below it."""

import numpy as np
from numpy.typing import NDArray

from qfkit.comparison import Comparison
from qfkit.core.wording import money, percent, share
from qfkit.views.report.drawing import area, chart, dots, key, level, line, linear, logarithmic
from qfkit.views.series import MOST_POINTS, RunSeries, thin, value_text

__all__ = ["drawdown_chart", "equity_chart", "price_chart"]

# Growth of so many times is read on a logarithmic axis.
_LOG_FROM = 5.0


def equity_chart(series: RunSeries, comparison: Comparison | None) -> str:
    """The account's equity; the benchmark starts where the account stood then."""
    if not len(series.equity):
        return '<p class="note">There are fewer than two equity points: there is nothing to draw.</p>'
    start, last = series.starting_equity, float(series.equity[-1])
    drawn = np.concatenate((series.equity, series.benchmark, [start]))
    low, high = float(np.min(drawn)), float(np.max(drawn))
    is_log = low > 0.0 and high / low >= _LOG_FROM
    scale = logarithmic(low, high) if is_log else linear(low, high, 5)
    x = series.equity_x / series.last
    layers = [level(start, scale)]
    keys = key("account", "run")
    if len(series.benchmark):
        layers.append(line(series.benchmark_x / series.last, series.benchmark, scale, "beside"))
        keys += key(_short(series.benchmark_name), "beside")
    if not is_log:
        layers.insert(0, area(x, series.equity, start, scale, "run"))
    layers.append(line(x, series.equity, scale, "run"))
    words = f"equity from {money(start)} to {money(last)}"
    if comparison is not None:
        words += f", beside {comparison.name} at {money(float(comparison.equity[-1]))}"
    return chart(
        layers,
        scale,
        x_ticks=_ticks(series),
        height=270,
        words=words,
        title="equity" + (", logarithmic scale" if is_log else ""),
        keys=keys,
        tag=(last, value_text(last, high - low), "run"),
    )


def drawdown_chart(series: RunSeries, comparison: Comparison | None, times_ns: NDArray[np.int64]) -> str:
    """How far the equity lies below its highest so far, and the benchmark below its own; ``times_ns`` of the equity."""
    if not len(series.equity):
        return ""
    deepest, last = float(np.min(series.drawdown)), float(series.drawdown[-1])
    beside_x, beside = np.empty(0), np.empty(0)
    if comparison is not None and len(series.benchmark):
        whole = comparison.equity / np.maximum.accumulate(comparison.equity) - 1.0
        since_ns = (comparison.times_ns - times_ns[0]).astype(np.float64)
        places = np.interp(since_ns, (times_ns - times_ns[0]).astype(np.float64), np.arange(float(len(times_ns))))
        beside_x, beside = thin(places, whole, MOST_POINTS)
    low = min(deepest, float(np.min(beside)) if len(beside) else 0.0, -0.001)
    scale = linear(low * 1.08, 0.0, 3, " %", factor=100.0, tight=True)
    x = series.drawdown_x / series.last
    layers = [area(x, series.drawdown, 0.0, scale, "loss")]
    keys = ""
    if len(beside):
        layers.append(line(beside_x / series.last, beside, scale, "beside"))
        keys = key("account", "loss") + key("benchmark", "beside")
    layers.append(line(x, series.drawdown, scale, "loss"))
    return chart(
        layers,
        scale,
        x_ticks=_ticks(series),
        height=120,
        words=f"drawdown: {share(deepest)} at worst, {share(last)} at the end",
        title="drawdown",
        keys=keys,
        tag=(last, share(last), "loss"),
    )


def price_chart(series: RunSeries) -> str:
    """The closes of one symbol with what was traded on them."""
    if not len(series.price):
        return ""
    prices = np.array([mark.price for mark in series.marks])
    drawn = np.concatenate((series.price, prices))
    low, high = float(np.min(drawn)), float(np.max(drawn))
    is_log = low > 0.0 and high / low >= _LOG_FROM
    scale = logarithmic(low, high) if is_log else linear(low, high, 5)
    layers = [line((series.price_x + 0.0) / series.last, series.price, scale, "soft")]
    keys = []
    for side, opens in (("buy", True), ("sell", True), ("sell", False), ("buy", False)):
        own = [mark for mark in series.marks if mark.side == side and mark.opens is opens]
        if not own:
            continue
        style, is_square = ("run" if opens else "beside"), side == "sell"
        x = np.array([mark.position for mark in own]) / series.last
        layers.append(dots(x, np.array([mark.price for mark in own]), scale, style, square=is_square))
        what = "opens or adds" if opens else "closes or reduces"
        keys.append(key(f"{side}, {what}", style, "box" if is_square else "dot"))
    left_out = series.fills - len(series.marks)
    change = float(series.price[-1] / series.price[0] - 1.0)
    words = f"closes of {series.symbol}, {percent(change)} over the time drawn, with {series.fills:,} fills"
    title = f"{series.symbol}, {series.timeframe} closes" + (", logarithmic scale" if is_log else "")
    last = float(series.price[-1])
    picture = chart(
        layers,
        scale,
        x_ticks=_ticks(series),
        height=220,
        words=words,
        title=title,
        keys="".join(keys),
        tag=(last, value_text(last, high - low), "soft"),
    )
    if left_out > 0:
        picture += f'<p class="note">{left_out:,} of the {series.fills:,} fills lie on others and are not drawn.</p>'
    return picture


def _ticks(series: RunSeries) -> list[tuple[float, str]]:
    return [(place / series.last, name) for place, name in series.ticks]


def _short(name: str) -> str:
    return name.partition(", bought")[0]
