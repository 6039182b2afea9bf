"""What a strategy decides and knows at each step of a run, kept so that two runs can be held against each other."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from math import nan
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.engine import Engine
from qfkit.core.events import Event
from qfkit.core.indicators import Indicator, Line
from qfkit.core.lanes import IndicatorSet
from qfkit.core.orders import Signal
from qfkit.core.strategy import Strategy
from qfkit.errors import StrategyError
from qfkit.research.signal import SignalBars, SignalStrategy
from qfkit.research.tracks import Decision, Observation, Raised, Track
from qfkit.tables import BarColumns

__all__ = ["observe_rule", "observe_run"]

_MOST_KEYS = 64
_PLAIN = (bool, int, float, str, type(None), np.generic)


# -- strategies in the engine ----------------------------------------------------------------


def observe_run(strategy: Strategy, name: str, events: Sequence[Event], settings: Mapping[str, Any]) -> Observation:
    """The strategy run over these events, without an end: what it decided, and what it knew as each bar closed."""
    engine = Engine({name: strategy}, has_running_metrics=False, **settings)
    desk = engine.desks[name]
    records = engine.records
    seen_bars, seen_signals = 0, 0
    rows: list[tuple[int, int, dict[str, Any]]] = []
    known: dict[str, dict[str, Line]] = {}
    bars: dict[str, list[tuple[int, int, list[float]]]] = {}
    signals: list[tuple[int, Signal]] = []
    for event in events:
        engine.process(event)
        if len(records.signals) > seen_signals:
            signals += [(engine.events, signal) for signal in records.signals[seen_signals:]]
            seen_signals = len(records.signals)
        if len(records.bars) > seen_bars:
            for bar in records.bars[seen_bars:]:
                lines = known.get(bar.symbol)
                if lines is None:
                    lines = known[bar.symbol] = _lines_of(desk.named_sets, bar.symbol)
                values = [line.value for line in lines.values()]
                bars.setdefault(bar.symbol, []).append((engine.events, engine.clock_ns, values))
            rows.append((engine.events, engine.clock_ns, _attributes_of(strategy)))
            seen_bars = len(records.bars)
        if records.faults:
            break
    raised = None
    if records.faults:
        fault = records.faults[0]
        raised = Raised(fault.time_ns, f"{fault.error}, on {fault.event}", engine.exceptions[name])
    tracks = [*_decision_tracks(signals), *_keyed("attribute", "", rows)]
    steps, times = (
        {symbol: np.array([row[place] for row in own], dtype=np.int64) for symbol, own in bars.items()}
        for place in (0, 1)
    )
    for symbol, own in bars.items():
        tracks += [
            Track("indicator", symbol, name, steps[symbol], times[symbol], [row[2][place] for row in own])
            for place, name in enumerate(known[symbol])
        ]
    variables = _arrays_of({f"self.{key}": value for key, value in vars(strategy).items()}, None)
    return Observation(_by_key(tracks), variables, steps, times, raised)


def _lines_of(sets: Sequence[tuple[str, IndicatorSet[Any]]], symbol: str) -> dict[str, Line]:
    """The lines of a symbol's indicators by name, as "fast, SMA(10)"."""
    lines: dict[str, Line] = {}
    for name, indicators in sets:
        indicator = indicators.get(symbol)
        if indicator is not None:
            title = f"{name}, {_title(indicator)}"
            lines[title] = indicator
            lines.update({f"{title}.{part}": line for part, line in indicator.outputs()})
    return lines


def _title(indicator: Indicator) -> str:
    arguments = ", ".join(f"{getattr(indicator, name)!r}" for name in indicator.parameters)
    return f"{type(indicator).__name__}({arguments})"


def _attributes_of(strategy: Strategy) -> dict[str, Any]:
    """The numbers and words that the strategy keeps, those in its dicts too."""
    found: dict[str, Any] = {}
    parameters = strategy.parameters_of_class
    for name, value in vars(strategy).items():
        if name in parameters or name == "_desk" or isinstance(value, IndicatorSet):
            continue
        if isinstance(value, _PLAIN):
            found[f"self.{name}"] = value
        elif type(value) is dict and len(value) <= _MOST_KEYS:
            for key, one in value.items():
                if isinstance(one, _PLAIN) and isinstance(key, str | int):
                    found[f"self.{name}[{key!r}]"] = one
        elif isinstance(value, Line):
            found[f"self.{name}"] = value.value
    return found


def _decision_tracks(signals: Sequence[tuple[int, Signal]]) -> Iterator[Track]:
    by_symbol = sorted(signals, key=lambda one: one[1].symbol)
    for symbol, group in groupby(by_symbol, key=lambda one: one[1].symbol):
        own = list(group)
        yield Track(
            "decision",
            symbol,
            "decision",
            np.array([step for step, _ in own], dtype=np.int64),
            np.array([signal.time_ns for _, signal in own], dtype=np.int64),
            [_decision(signal) for _, signal in own],
        )


def _decision(signal: Signal) -> Decision:
    side = "buy" if signal.wanted > 0.0 else "sell" if signal.wanted < 0.0 else ""
    prices = [value for value in signal.sizing.values() if isinstance(value, int | float)]
    because = f" ({signal.reason})" if signal.reason else ""
    words = f"{signal.action}: {side} {abs(signal.wanted):.6g}{because}"
    text = f"{signal.action} {side} {signal.decision} {signal.reason}"
    return Decision(
        text, (signal.wanted, *prices), words, f"{signal.action} {side}", signal.decision != "nothing to do"
    )


def _keyed(kind: str, symbol: str, rows: Sequence[tuple[int, int, dict[str, Any]]]) -> Iterator[Track]:
    for name in dict.fromkeys(name for _, _, values in rows for name in values):
        own = [(step, time_ns, values[name]) for step, time_ns, values in rows if name in values]
        yield Track(
            kind,
            symbol,
            name,
            np.array([step for step, _, _ in own], dtype=np.int64),
            np.array([time_ns for _, time_ns, _ in own], dtype=np.int64),
            [value for _, _, value in own],
        )


def _by_key(tracks: Sequence[Track]) -> dict[tuple[str, str, str], Track]:
    return {(track.kind, track.symbol, track.name): track for track in tracks}


# -- signal functions ------------------------------------------------------------------------


def observe_rule(strategy: SignalStrategy, name: str, columns: BarColumns) -> Observation:
    """The function called with these bars: its targets, and the indicators and variables on the way to them."""
    heard: list[tuple[str, Any]] = []
    local: dict[str, Any] = {}
    symbol, count = columns.symbol, len(columns)
    steps = np.arange(1, count + 1, dtype=np.int64)
    try:
        with _overheard(heard), _variables_seen(type(strategy).rule, local):
            targets = SignalBars(columns).targets(strategy, name)
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises is told as a finding
        told = Raised(
            None, str(error) if isinstance(error, StrategyError) else f"{type(error).__name__}: {error}", error
        )
        return Observation({}, {}, {symbol: steps}, {}, told)
    tracks = [Track("decision", symbol, "target", steps, columns.close_ns, targets)]
    named: dict[str, int] = {}
    for title, values in heard:
        named[title] = named.get(title, 0) + 1
        own = title if named[title] == 1 else f"{title} ({named[title]})"
        aligned = _aligned(values, columns.open_ns)
        if aligned is not None:
            tracks.append(Track("indicator", symbol, own, steps, columns.close_ns, aligned))
    variables = {
        (kind, symbol, own): msgspec.structs.replace(track, symbol=symbol)
        for (kind, _, own), track in _arrays_of(local, columns.open_ns).items()
    }
    return Observation(_by_key(tracks), variables, {symbol: steps}, {symbol: columns.close_ns})


def _aligned(values: Any, open_ns: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Values that stand one a bar; None for any other."""
    if getattr(values, "ndim", 0) != 1 or len(values) != len(open_ns):
        return None
    labels = getattr(values, "index", None)
    if labels is not None and hasattr(labels, "asi8") and not np.array_equal(labels.as_unit("ns").asi8, open_ns):
        return None
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None


@contextmanager
def _overheard(heard: list[tuple[str, Any]]) -> Iterator[None]:
    """Whatever this thread asks of an indicator's ``over`` meanwhile, by the indicator's name."""
    own_thread, depth = threading.get_ident(), [0]

    def listening(over: Callable[..., Any]) -> Callable[..., Any]:
        def heard_over(self: Indicator, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != own_thread:
                return over(self, *args, **kwargs)
            depth[0] += 1
            try:
                found = over(self, *args, **kwargs)
            finally:
                depth[0] -= 1
            if depth[0] == 0:
                parts = getattr(found, "_fields", None)
                title = _title(self)
                heard.extend(
                    [(title, found)] if parts is None else [(f"{title}.{one}", getattr(found, one)) for one in parts]
                )
            return found

        return heard_over

    kept = [(kind, vars(kind)["over"]) for kind in _kinds(Indicator) if "over" in vars(kind)]
    try:
        for kind, over in kept:
            kind.over = listening(over)  # type: ignore[method-assign]
        yield
    finally:
        for kind, over in kept:
            kind.over = over  # type: ignore[method-assign]


def _kinds(base: type[Indicator]) -> list[type[Indicator]]:
    return [base, *(one for kind in base.__subclasses__() for one in _kinds(kind))]


@contextmanager
def _variables_seen(function: Callable[..., Any], into: dict[str, Any]) -> Iterator[None]:
    """The local variables that a function ends with, in the order in which it names them."""
    code = getattr(function, "__code__", None)
    before = sys.getprofile()

    def look(frame: Any, event: str, argument: Any) -> None:
        if event == "return" and frame.f_code is code:
            local = frame.f_locals
            into.update({name: local[name] for name in code.co_varnames[code.co_argcount :] if name in local})

    if code is None or before is not None:
        yield
        return
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)


def _arrays_of(named: Mapping[str, Any], open_ns: NDArray[np.int64] | None) -> dict[tuple[str, str, str], Track]:
    """Series, arrays and numbers as tracks by the labels of their rows; what has none is left out."""
    tracks: dict[tuple[str, str, str], Track] = {}

    def keep(name: str, labels: NDArray[np.int64], values: Any) -> None:
        tracks["variable", "", name] = Track("variable", "", name, labels, labels, values)

    for name, value in named.items():
        # A count of the rows goes with them.
        if isinstance(value, float | np.floating) and open_ns is not None:
            keep(name, open_ns[:1], [float(value)])
            continue
        columns = [(name, value)]
        if getattr(value, "ndim", 0) == 2 and hasattr(value, "iloc"):
            columns = [(f"{name}[{own!r}]", value[own]) for own in value.columns] if value.columns.is_unique else []
        for title, one in columns:
            labels = _labels(one, open_ns)
            if labels is not None:
                keep(title, labels, _numbers(one))
    return tracks


def _labels(value: Any, open_ns: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    if getattr(value, "ndim", 0) != 1 or not len(value):
        return None
    index = getattr(value, "index", None)
    if index is not None and hasattr(index, "asi8") and hasattr(index, "as_unit"):
        found: NDArray[np.int64] = index.as_unit("ns").asi8
        return found if (np.diff(found) > 0).all() else None
    return open_ns if open_ns is not None and len(value) == len(open_ns) else None


def _numbers(value: Any) -> Any:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return np.full(len(value), nan)
