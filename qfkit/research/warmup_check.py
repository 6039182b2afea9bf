"""The warm-up check: the data begin later, and it is counted how many bars that still shows."""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qfkit.core.lanes import KEPT_BARS
from qfkit.errors import DataError, ParameterError
from qfkit.frames import is_frame
from qfkit.research.futures import Cut, History, first_rows, last_rows, read_history
from qfkit.research.outside import look_outside
from qfkit.research.subjects import (
    Maker,
    RuleSubject,
    RunSubject,
    engine_settings,
    quiet,
    raise_unrunnable,
    subjects_of,
)
from qfkit.research.tracks import Observation, Track, differing_rows
from qfkit.research.warmup_report import WarmupReport, WarmupRow, WindowRow
from qfkit.run_progress import RunProgress
from qfkit.tables import BarColumns

__all__ = ["check_warmup"]

# What differs in this last part of the data still may have gone on for ever.
_END = 0.1
_WINDOWS = 24

Counted = dict[tuple[str, str, str, str], list[tuple[int | None, int]]]


def check_warmup(
    strategy: object,
    data: object,
    *,
    warmup: int | None = None,
    starts: int = 5,
    tolerance: float = 1e-6,
    timeframe: str | None = None,
    symbols: str | Sequence[str] | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> WarmupReport:
    """Count the bars of the past that a strategy needs until it no longer matters where the data began.

    The data are begun later at several places in their first half; decisions and indicators are held against those over
    all of the data, and the last bar at which they differ is counted from the start. A session has ``warmup=`` bars of the
    past, and a ``@qf.signal`` function there is called with its last 1,000 bars; where that is less than what is needed it
    decides otherwise than the backtest did.

    - ``strategy``, ``data``, ``timeframe``, ``symbols``, ``settings``: as for :func:`~qfkit.check_lookahead`; a function
      that makes the strategy is called with the shorter data.
    - ``warmup``: the bars that a session will have; None holds the need against the 1,000 that are kept at most.
    - ``starts``: at how many later bars the data are begun.
    - ``tolerance``: an indicator agrees where it is within this fraction; one that never forgets, such as an EMA, agrees
      exactly only after many bars more.

    Decisions are compared by their bar, kind and side and not by their size, which depends on the equity; a strategy that
    holds something already agrees once both are in the same position. Numbers that it keeps besides (counters) are not
    compared. A signal function is also called with exactly the last 1,000 bars at several bars, as a session does it.

    Raises :class:`StrategyError` where the strategy raises, :class:`ParameterError` and :class:`DataError` for what
    cannot be run on.
    """
    if isinstance(starts, bool) or not isinstance(starts, int) or starts < 1:
        raise ParameterError(f"starts={starts!r}: give at how many later bars the data are begun, 1 or more")
    if not 0.0 < tolerance < 1.0:
        raise ParameterError(f"tolerance={tolerance!r}: it is a small fraction, such as 1e-6")
    if warmup is not None and (isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0):
        raise ParameterError(f"warmup={warmup!r}: give the number of bars that a session will have, 0 or more")
    own_settings = engine_settings(settings, timeframe)
    maker = Maker(strategy)
    history = read_history(data, timeframe, symbols)
    if maker.builder is not None and history.columns is None:
        raise ParameterError("a function that makes the strategy needs bars, as a DataFrame or a dict of them")
    cuts = history.cuts
    if len(cuts) < 20:
        raise DataError(f"{len(cuts)} bars are too few to begin later: give at least 20")
    named = maker.make(history.given)
    outside = look_outside({name: type(one) for name, one in named.items()}, maker.builder)
    places = sorted({len(cuts) * (number + 1) // (2 * starts) - 1 for number in range(starts)})
    counted: Counted = {}
    windows: list[WindowRow] = []
    with RunProgress("warm-up check", len(places) + 2, shown=progress, unit="starts") as bar:
        try:
            outside.reset()
            subjects = subjects_of(maker, named, history, own_settings)
            whole = [_observed(subject) for subject in subjects]
            bar.update(1)
            for number, place in enumerate(places):
                outside.reset()
                later = _from(history, cuts[max(place, 0)])
                with quiet():
                    for one, subject in zip(whole, subjects_of(maker, named, later, own_settings), strict=True):
                        _count(one, _observed(subject), subject.name, counted, tolerance)
                bar.update(number + 2)
            for one, subject in zip(whole, subjects, strict=True):
                # A function that makes one wants frames, and was called with shorter ones already.
                if isinstance(subject, RuleSubject) and maker.builder is None:
                    windows += _windows(one, subject, maker, outside.reset)
        finally:
            outside.reset()
    rows = [
        WarmupRow(
            name,
            symbol,
            kind,
            what,
            None if any(bars is None for bars, _ in own) else max(bars for bars, _ in own if bars is not None),
            min(looked_at for _, looked_at in own),
        )
        for (name, symbol, kind, what), own in counted.items()
    ]
    if warmup is None and all(isinstance(one, RuleSubject) for one in subjects):
        warmup = KEPT_BARS
    return WarmupReport(
        sorted(rows, key=lambda row: (row.strategy, row.symbol, row.kind != "indicator", row.name)),
        windows,
        strategies=list(named),
        warmup=warmup,
        starts=len(places),
        span=(history.events[0].received_ns, history.events[-1].received_ns),
        tolerance=tolerance,
    )


def _observed(subject: RunSubject | RuleSubject) -> Observation:
    seen = subject.observe(subject.whole)
    raise_unrunnable(subject.name, seen, f"{len(subject.cuts):,} bars")
    return seen


# -- counting --------------------------------------------------------------------------------


def _count(whole: Observation, late: Observation, name: str, counted: Counted, tolerance: float) -> None:
    for key in dict.fromkeys((*whole.tracks, *late.tracks)):
        kind, symbol, what = key
        if kind == "attribute":
            continue
        one, other = whole.tracks.get(key), late.tracks.get(key)
        if kind == "decision" and isinstance((one or other).values, list):  # type: ignore[union-attr]
            found = _last_other_decision(one, other, late, symbol)
        elif one is None or other is None:
            continue
        elif kind == "indicator" and _is_empty(one):
            # It never got ready over all of the data: that two runs agree on nothing proves nothing.
            found = None, len(other.times_ns)
        else:
            found = _last_other_row(one, other, tolerance)
        counted.setdefault((name, symbol, kind, what), []).append(found)


def _is_empty(track: Track) -> bool:
    return all(value is None or (isinstance(value, float) and isnan(value)) for value in track.values)


def _last_other_row(one: Track, other: Track, tolerance: float) -> tuple[int | None, int]:
    _, first, second = np.intersect1d(one.times_ns, other.times_ns, return_indices=True)
    count = len(second)
    places = differing_rows([one.values[at] for at in first], [other.values[at] for at in second], tolerance)
    return _bars(int(places[-1]) + 1 if len(places) else 0, count), count


def _last_other_decision(
    one: Track | None, other: Track | None, late: Observation, symbol: str
) -> tuple[int | None, int]:
    closes = late.bar_times.get(symbol, np.empty(0, dtype=np.int64))
    count = len(closes)
    if not count:
        return 0, 0
    sets = [_wishes(track, int(closes[0])) for track in (one, other)]
    last_ns = max((time_ns for time_ns, _ in sets[0] ^ sets[1]), default=None)
    return _bars(0 if last_ns is None else int(np.searchsorted(closes, last_ns, side="right")), count), count


def _wishes(track: Track | None, from_ns: int) -> set[tuple[int, str]]:
    """Decisions by time, action and side, those with nothing to do left out."""
    if track is None:
        return set()
    pairs: Iterable[tuple[int, Any]] = zip(track.times_ns.tolist(), track.values, strict=True)
    return {(time_ns, value.side) for time_ns, value in pairs if time_ns >= from_ns and value.is_wish}


def _bars(bars: int, count: int) -> int | None:
    return None if bars > count * (1.0 - _END) else bars


# -- shorter data ----------------------------------------------------------------------------


def _from(history: History, cut: Cut) -> History:
    """The data from after a moment on."""
    columns = None
    if history.columns is not None:
        columns = {
            symbol: last_rows(own, int(np.searchsorted(own.close_ns, cut.until_ns, side="right")))
            for symbol, own in history.columns.items()
        }
        columns = {symbol: own for symbol, own in columns.items() if len(own)}
    return History(_later(history.given, cut), columns, history.events[cut.step :], history.symbols)


def _later(given: Any, cut: Cut) -> Any:
    if isinstance(given, Mapping):
        return {name: _later(one, cut) for name, one in given.items()}
    if isinstance(given, BarColumns):
        return last_rows(given, int(np.searchsorted(given.close_ns, cut.until_ns, side="right")))
    if not is_frame(given):
        return given
    labels: NDArray[np.int64] = given.index.as_unit("ns").asi8
    return given[labels > cut.label_ns]


def _windows(whole: Observation, subject: RuleSubject, maker: Maker, reset: Any) -> list[WindowRow]:
    """The function called with the last 1,000 bars only, as a session does it."""
    columns = (subject.history.columns or {})[subject.symbol]
    count = len(columns)
    if count <= KEPT_BARS:
        return []
    targets = whole.tracks["decision", subject.symbol, "target"].values
    others = 0
    ends = np.unique(np.linspace(KEPT_BARS, count - 1, _WINDOWS).astype(int)).tolist()
    for end in ends:
        window = last_rows(first_rows(columns, end + 1), end + 1 - KEPT_BARS)
        made = History({subject.symbol: window}, {subject.symbol: window}, (), (subject.symbol,))
        reset()
        with quiet():
            seen = _observed(RuleSubject(subject.name, subject.symbol, maker, made))
        own = seen.tracks["decision", subject.symbol, "target"].values
        others += bool(len(differing_rows(targets[end : end + 1], own[-1:], 1e-6)))
    return [WindowRow(subject.name, subject.symbol, others, len(ends))]
