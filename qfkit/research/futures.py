"""The same data with another future: cut off at a moment, or gone on differently from there.

What is known at a moment are the bars that have closed by then. What comes after is left out, or is
replaced by other bars that might have come just so: the same moves turned round, or in another order.
Lengths and times stay as they are then, and every bar is one that could be traded.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import msgspec
import numpy as np

from qfkit.core.events import Event
from qfkit.errors import DataError
from qfkit.frames import is_tick_frame, merge
from qfkit.tables import BarColumns, Floats

__all__ = ["CUT", "OTHERWISE", "WHOLE", "Cut", "History", "Variant", "read_history"]

WHOLE, CUT = "whole", "cut"
OTHERWISE = ("turned round", "shuffled")
"""How the bars after a moment are replaced by others."""

_FIELDS = ("open", "high", "low", "close", "volume")
_PRICES = _FIELDS[:4]

Columns: TypeAlias = Mapping[str, BarColumns]


class Cut(msgspec.Struct, frozen=True):
    """A moment: ``step`` events have been by ``until_ns``, and the last bar known opened at ``label_ns``."""

    step: int
    until_ns: int
    label_ns: int


class History:
    """The data as given, as bars by symbol (None where they are trades or a recording), and as events in their order."""

    def __init__(self, given: object, columns: Columns | None, events: Sequence[Event], symbols: Sequence[str]) -> None:
        self.given = given
        self.columns = columns
        self.events = events
        self.symbols = tuple(symbols)

    @cached_property
    def cuts(self) -> list[Cut]:
        """Every moment that can be cut at: after the last of the events of one time."""
        times_ns = np.fromiter((event.received_ns for event in self.events), np.int64, len(self.events))
        last = np.flatnonzero(np.append(np.diff(times_ns) != 0, True))
        length_ns = self.bar_ns
        return [Cut(int(at) + 1, int(times_ns[at]), int(times_ns[at]) - length_ns) for at in last]

    @cached_property
    def bar_ns(self) -> int:
        """The length of the shortest bars, 0 for trades: how much later than its label a row is known."""
        lengths = [int((one.close_ns - one.open_ns).max()) for one in (self.columns or {}).values()]
        return min(lengths, default=0)


def read_history(data: object, timeframe: str | None, symbols: str | Sequence[str] | None) -> History:
    """Whatever ``qf.backtest`` takes; a recording is read into memory."""
    from qfkit.feeds.recordings import open_recording
    from qfkit.research.prepared import PreparedBars, prepare

    data = list(data) if isinstance(data, Iterator) else data
    prepared = prepare(data, timeframe=timeframe, symbols=symbols)
    if isinstance(prepared, PreparedBars):
        return History(data, prepared.columns, list(merge(prepared.columns)), tuple(prepared.columns))
    recording = open_recording(data, symbols=symbols)
    events = [event for batch in recording.batches() for event in batch]
    if not events:
        raise DataError(f"{recording.label or 'the data'}: there are no events to check on")
    return History(data, None, events, recording.symbols)


class Variant:
    """The data seen from one moment, with what comes after it left out or changed."""

    def __init__(self, history: History, cut: Cut, how: str, seed: int) -> None:
        self.history = history
        self.cut = cut
        self.how = how
        self._seed = seed

    @cached_property
    def columns(self) -> dict[str, BarColumns]:
        """The bars by symbol, with another future; a symbol that has no bar yet is left out of a cut."""
        if self.how == WHOLE:
            return dict(self.history.columns or {})
        made = {}
        for number, (symbol, own) in enumerate((self.history.columns or {}).items()):
            known = int(np.searchsorted(own.close_ns, self.cut.until_ns, side="right"))
            if self.how != CUT:
                made[symbol] = _otherwise(own, known, self.how, self._chance(number))
            elif known:
                made[symbol] = first_rows(own, known)
        return made

    @cached_property
    def data(self) -> Any:
        """The data in the form in which they were given, for a function that makes a strategy of them."""
        return self.of_own(self.history.given)

    def of_own(self, given: Any) -> Any:
        """A frame (or a dict of frames, or columns) that holds these very bars."""
        if self.how == WHOLE:
            return given
        if isinstance(given, BarColumns):
            return self.columns.get(given.symbol, given)
        if isinstance(given, Mapping):
            return {name: self._frame_of(one, str(name)) for name, one in given.items()}
        if isinstance(given, Sequence):
            return [event for event in given if event.received_ns <= self.cut.until_ns]
        return self._frame_of(given, None)

    def _frame_of(self, frame: Any, symbol: str | None) -> Any:
        if isinstance(frame, BarColumns):
            return self.of_own(frame)
        is_left_out = symbol is not None and symbol not in self.columns
        if self.how == CUT or is_left_out or is_tick_frame(frame):
            return self.of_labelled(frame)
        return _with_columns(frame, self.columns, symbol)

    def of_labelled(self, values: Any) -> Any:
        """Rows that carry times, but are not the bars: cut by label, or with the later rows in another order."""
        import pandas

        if self.how == WHOLE:
            return values
        labels = values.index if values.index.tz is not None else values.index.tz_localize("UTC")
        # A row labelled as a bar is known when that bar has closed; any other at its own time.
        bar_ns = self.history.bar_ns if self._is_by_bar(labels) else 0
        known = np.asarray(labels.as_unit("ns").asi8 <= self.cut.until_ns - bar_ns)
        if self.how == CUT:
            return values[known]
        later = values[~known]
        order = self._chance(len(values)).permutation(len(later))
        return pandas.concat([values[known], later.iloc[order].set_axis(later.index)])

    def of_dated(self, values: dict[Any, Any]) -> dict[Any, Any]:
        """What is looked up by time: as a Series is."""
        import pandas

        index = pandas.DatetimeIndex(list(values))
        made = self.of_labelled(pandas.Series(list(range(len(values))), index=index))
        keys, entries = list(values), list(values.values())
        places = dict(zip(index, keys, strict=True))
        return {places[label]: entries[at] for label, at in made.items()}

    def of_rows(self, values: Any, symbol: str) -> Any:
        """One value a bar of a symbol, without times."""
        own = (self.history.columns or {})[symbol]
        known = int(np.searchsorted(own.close_ns, self.cut.until_ns, side="right"))
        if self.how == WHOLE:
            return values
        if self.how == CUT:
            return values[:known]
        order = known + self._chance(len(values)).permutation(len(values) - known)
        if hasattr(values, "iloc"):
            return values.iloc[[*range(known), *order]].set_axis(values.index)
        if isinstance(values, np.ndarray):
            return values[np.concatenate((np.arange(known), order))]
        return type(values)([*values[:known], *(values[at] for at in order)])

    def _is_by_bar(self, labels: Any) -> bool:
        opens = {*(int(one) for own in (self.history.columns or {}).values() for one in own.open_ns[:50])}
        return bool(opens) and len(opens.intersection(labels.as_unit("ns").asi8.tolist())) * 2 > len(opens)

    def _chance(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self.cut.step, OTHERWISE.index(self.how), number])


def first_rows(columns: BarColumns, count: int) -> BarColumns:
    return _rows(columns, slice(0, count))


def last_rows(columns: BarColumns, first: int) -> BarColumns:
    return _rows(columns, slice(first, None))


def _rows(columns: BarColumns, rows: slice) -> BarColumns:
    arrays = [getattr(columns, name)[rows] for name in (*_FIELDS, "open_ns", "close_ns")]
    return BarColumns(columns.symbol, columns.timeframe, *arrays)


def _otherwise(columns: BarColumns, known: int, how: str, chance: np.random.Generator) -> BarColumns:
    """The bars from row ``known`` on with their moves turned round, or in another order."""
    count = len(columns) - known
    if known == 0 or count == 0:
        return columns
    before = columns.close[known - 1 : -1]
    opens, highs, lows, closes = (getattr(columns, name)[known:] / before for name in _PRICES)
    order = chance.permutation(count)
    if how == "turned round":
        opens, highs, lows, closes = 1.0 / opens, 1.0 / lows, 1.0 / highs, 1.0 / closes
    else:
        opens, highs, lows, closes = opens[order], highs[order], lows[order], closes[order]
    start = columns.close[known - 1] * np.concatenate(([1.0], np.cumprod(closes)[:-1]))
    opened, closed = start * opens, start * closes
    made: dict[str, Floats] = {
        "open": opened,
        # By rounding a product may leave the bar by its last digit.
        "high": np.maximum.reduce([start * highs, opened, closed]),
        "low": np.minimum.reduce([start * lows, opened, closed]),
        "close": closed,
        "volume": columns.volume[known:][order] * chance.uniform(0.5, 2.0),
    }
    changed = {name: np.concatenate((getattr(columns, name)[:known], later)) for name, later in made.items()}
    return msgspec.structs.replace(columns, **changed)


def _with_columns(frame: Any, columns: Columns, symbol: str | None) -> Any:
    """A frame as given, its prices and volumes replaced."""
    frame = frame.copy()
    names = {name: str(name).strip().lower() for name in frame.columns} if frame.columns.nlevels == 1 else {}
    if not names:
        for name in frame.columns:
            plain = [str(part).strip().lower() for part in name]
            field = next((part for part in plain if part in _FIELDS), None)
            owner = symbol or next((str(part) for part in name if str(part) in columns), None)
            if field is not None and owner is not None:
                frame[name] = getattr(columns[owner], field)
        return frame
    label = next((name for name, plain in names.items() if plain == "symbol"), None)
    for name, field in names.items():
        if field not in _FIELDS:
            continue
        if label is None or symbol is not None:
            own = columns[symbol] if symbol is not None else next(iter(columns.values()))
            frame[name] = getattr(own, field)
            continue
        made = np.empty(len(frame))
        for owner, its in columns.items():
            made[(frame[label].astype(str) == owner).to_numpy()] = getattr(its, field)
        frame[name] = made
    return frame
