"""The strategies: state, profit, indicators, and a control for each parameter."""

import re
import threading
from collections.abc import Callable
from decimal import Decimal
from math import floor, isfinite, log10
from typing import Any

import ipywidgets

from qfkit.core.snapshot import ParameterView, StrategyView
from qfkit.views.dashboard.header import light
from qfkit.views.dashboard.scene import Scene, moved, said
from qfkit.views.dashboard.sheets import sheet
from qfkit.views.dashboard.widgets import close_all
from qfkit.views.text import signed_money

__all__ = ["Strategies"]

Set = Callable[[str, str, Any], None]

# A range from a number to so many times it is typed, not slid.
_WIDE = 1_000.0
_MOST_DECIMALS = 8


class Strategies:
    """The panel; ``box`` is its widget.

    ``change(strategy, parameter, value)`` is called for each move of a control and raises where the value is
    refused; None makes controls that cannot be moved.
    """

    def __init__(self, change: Set | None, lock: threading.RLock) -> None:
        self._change = change
        self._lock = lock
        self._head = ipywidgets.HTML(sheet("Strategies", ""))
        self._parts: dict[str, _Part] = {}
        self.box = ipywidgets.VBox([self._head])
        self.box.add_class("q-card")

    @property
    def controls(self) -> dict[tuple[str, str], ipywidgets.Widget]:
        """The control of each strategy's each parameter."""
        return {(name, key): knob.widget for name, part in self._parts.items() for key, knob in part.knobs.items()}

    @property
    def notes(self) -> dict[str, str]:
        """What stands under each strategy's controls."""
        return {name: part.note.value for name, part in self._parts.items()}

    def draw(self, scene: Scene) -> None:
        """Bring the panel up to a scene."""
        views = scene.snapshot.strategies
        names = [view.name for view in views]
        changed = [view for view in views if view.name in self._parts and self._parts[view.name].bounds != view.bounds]
        if names != list(self._parts) or changed:
            for name in [*(set(self._parts) - set(names)), *(view.name for view in changed)]:
                self._parts.pop(name).close()
            self._parts = {
                view.name: self._parts.get(view.name) or _Part(view, self._change, self._lock) for view in views
            }
            empty = "" if views else '<p class="q-empty">It only watches: there is no strategy to steer.</p>'
            self._head.value = sheet("Strategies" if len(views) != 1 else "Strategy", empty)
            self.box.children = [self._head, *(part.box for part in self._parts.values())]
        for view in views:
            self._parts[view.name].draw(view, scene)


class _Part:
    """One strategy."""

    def __init__(self, view: StrategyView, change: Set | None, lock: threading.RLock) -> None:
        self.bounds = view.bounds
        self._top = ipywidgets.HTML()
        self.note = ipywidgets.HTML()
        self._is_told = False

        def moved_to(parameter: str, value: Any) -> None:
            if change is None:
                return
            try:
                change(view.name, parameter, value)
            except Exception as error:  # noqa: BLE001 - whatever it is, the person who moved the slider has to see it
                with lock:
                    self._is_told = False
                    self.note.value = f'<p class="q-bad" role="alert">✗ {said(error)}</p>'
                    self.knobs[parameter].put_back()
            else:
                with lock:
                    self._is_told = True
                    self.note.value = f'<p class="q-quiet">{said(parameter)} = {said(value)} from the next bar on</p>'

        self.knobs = {one.name: _Knob(one, view.parameters.get(one.name), moved_to) for one in view.bounds}
        self._is_steered = change is not None
        parts = [self._top, self.note]
        if self.knobs:
            row = ipywidgets.HBox([knob.widget for knob in self.knobs.values()])
            row.add_class("q-knobs")
            parts.insert(1, row)
        self.box = ipywidgets.VBox(parts)
        self.box.add_class("q-strategy")

    def close(self) -> None:
        close_all(self.box)

    def draw(self, view: StrategyView, scene: Scene) -> None:
        # Before the start and after the end there is nobody to take a move.
        is_off = not (self._is_steered and scene.snapshot.state in ("running", "paused"))
        for name, knob in self.knobs.items():
            knob.show(view.parameters.get(name))
            if knob.widget.disabled != is_off:
                knob.widget.disabled = is_off
        # A refusal stays until the next move.
        if self._is_told and not any(knob.sent for knob in self.knobs.values()):
            self._is_told = False
            self.note.value = ""
        symbol = scene.chart.symbol
        values = view.indicators.get(symbol, {})
        told = "  ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in values.items())
        html = (
            f'<div class="q-head"><span class="q-name">{said(view.name)}</span>{light(view.state)}'
            f"{moved(view.pnl, signed_money(view.pnl))}"
            f'<span class="q-quiet">{said(f"{symbol}: {told}" if told else "")}</span></div>'
        )
        if view.fault:
            html += f'<div class="q-stopped"><b class="q-down">✗ stopped by its error</b> {said(view.fault)}</div>'
        elif view.waiting:
            html += f'<p class="q-quiet">{said(view.waiting)}</p>'
        if self._top.value != html:
            self._top.value = html


def _short(value: float) -> str:
    return f"{value:,.6g}" if isfinite(value) else "-"


class _Knob:
    """The control of one parameter. It follows the session, and tells moves that are a person's.

    ``sent`` are the values that were told and that the session does not show yet, oldest first.
    """

    def __init__(self, view: ParameterView, value: Any, moved_to: Callable[[str, Any], None]) -> None:
        self._name = view.name
        self._shown = value
        self._told = value
        self.sent: list[Any] = []
        self._moved_to = moved_to
        self.widget = _widget(view, value)
        self.widget.observe(self._on_change, names="value")

    def _on_change(self, change: Any) -> None:
        # What the session itself changed comes back here too. Not what it shows is compared: a move back to
        # that, while another one waits, is a move.
        if change["new"] != self._told:
            self._told = change["new"]
            self.sent.append(self._told)
            self._moved_to(self._name, self._told)

    def show(self, value: Any) -> None:
        """Follow the session, but only where it changed: a move that waits for its bar stays."""
        if self.sent and value == self.sent[-1]:
            self.sent.clear()
        if value == self._shown:
            return
        self._shown = value
        if value in self.sent:
            # A newer move waits still.
            del self.sent[: self.sent.index(value) + 1]
            return
        self.sent.clear()
        self._put(value)

    def put_back(self) -> None:
        """After a refusal: what was accepted last."""
        self.sent = self.sent[:-1]
        self._put(self.sent[-1] if self.sent else self._shown)

    def _put(self, value: Any) -> None:
        self._told = value
        if self.widget.value != value:
            self.widget.value = value


def _widget(view: ParameterView, value: Any) -> ipywidgets.Widget:
    label = re.sub("_+", " ", view.name)
    shared = {"description": label, "tooltip": view.help or label, "continuous_update": False}
    plain = {"description": label, "tooltip": view.help or label}
    if view.choices:
        names = [(str(one), one) for one in view.choices]
        return ipywidgets.Dropdown(options=names, value=value, **plain)
    if view.kind == "bool":
        return ipywidgets.Checkbox(value=value, indent=False, **plain)
    span = _span(view)
    if view.kind == "int":
        if span is not None:
            return ipywidgets.IntSlider(
                value=value, min=int(span[0]), max=int(span[1]), step=max(1, int(view.step or 1)), **shared
            )
        return ipywidgets.IntText(value=value, **shared)
    if view.kind == "float":
        if span is not None:
            if not view.step and span[0] > 0.0 and span[1] >= _WIDE * span[0]:
                # Equal steps would be too coarse at its low end.
                return ipywidgets.BoundedFloatText(value=value, min=span[0], max=span[1], step=None, **shared)
            step = view.step or _step(span[1] - span[0])
            digits = max(map(_decimals, (step, span[0], value)))
            return ipywidgets.FloatSlider(
                value=value, min=span[0], max=span[1], step=step, readout_format=f".{digits}f", **shared
            )
        return ipywidgets.FloatText(value=value, **shared)
    if view.kind == "str":
        return ipywidgets.Text(value=value, **shared)
    return ipywidgets.HTML(value=said(value), **plain)


def _decimals(value: float) -> int:
    """How many a number is written with, as far as a person reads them."""
    return min(max(0, -int(Decimal(repr(float(value))).normalize().as_tuple().exponent)), _MOST_DECIMALS)


def _span(view: ParameterView) -> tuple[float, float] | None:
    """The bounds of a slider; None where there are not two, or where one is infinite."""
    if view.low is None or view.high is None or not isfinite(view.high - view.low):
        return None
    return view.low, view.high


def _step(span: float) -> float:
    """About a hundred steps, of a round size."""
    if span <= 0.0:
        return 1.0
    size = 10.0 ** floor(log10(span / 100.0))
    return next(times * size for times in (1.0, 2.0, 5.0, 10.0) if times * size >= span / 100.0 * 0.999)
