"""Recordings: whatever holds past events, opened as batches that are the same every time.

A capture and a journal are streamed with the memory of one batch, a catalogue with that of a day; other
Parquet files, frames and lists lie in memory anyway. Nothing is judged here but what cannot be read: see
:func:`~qfkit.core.events.check_event` for events that cannot be true.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, nullcontext
from heapq import merge as merge_sorted
from itertools import islice
from operator import attrgetter
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import msgspec

from qfkit.core.events import Bar, Command, Depth, Event, Gap, Heartbeat, MarketEvent, Quote, Tick
from qfkit.errors import DataError, FrameError, SymbolError, TimeframeError, did_you_mean
from qfkit.feeds.addresses import reaching
from qfkit.feeds.calendars import calendar_named, with_hours
from qfkit.feeds.captures import (
    BATCH,
    OnBad,
    Portion,
    capture_portions,
    file_system_of,
    name_of,
    open_file,
    read_head,
    shown,
)
from qfkit.feeds.heartbeats import with_heartbeats
from qfkit.feeds.parquet_events import are_events, part_portions
from qfkit.feeds.recorder import part_of, recorded_names
from qfkit.feeds.selection import Selection, names_a_catalogue, selection_at
from qfkit.frames import bar_batches, columns_by_symbol, is_frame, is_tick_frame, ticks_from_frame
from qfkit.journal.reader import JournalReader
from qfkit.tables import BarColumns

__all__ = ["OnBad", "Portion", "Recording", "Source", "open_recording"]

Kind: TypeAlias = Literal["capture", "catalogue", "parquet", "frame", "journal", "events", "recording"]
Source: TypeAlias = Any
"""What :func:`open_recording` takes."""
Reader: TypeAlias = Callable[[OnBad | None], Iterator[Portion]]

_MARKET = get_args(MarketEvent)
_COMMANDS = get_args(Command)
_WITH_SYMBOL = (Bar, Depth, Gap, Quote, Tick)
# So many events say which symbols a stream holds; one that comes up later is given all the same.
_SURVEYED = 20_000
_TIME_COLUMNS = ("time", "timestamp", "datetime", "date")


class Recording(msgspec.Struct, frozen=True):
    """Past events of some symbols. ``count`` is their number, None where only a whole reading would tell.

    ``timeframe`` is that of its bars, None where it holds trades and quotes. The symbols of a
    stream are those of its first 20,000 events, unless they were given.
    """

    label: str
    symbols: tuple[str, ...]
    timeframe: str | None
    kind: Kind
    count: int | None
    path: str | None
    read: Reader
    columns: Callable[[], dict[str, BarColumns]] | None = None
    """All of it in memory as arrays, where it is bars of a catalogue; None for any other, and with a calendar."""

    def __repr__(self) -> str:
        return f"Recording({self.label}: {self.kind} of {', '.join(self.symbols)})"

    def batches(self, on_bad: OnBad | None = None) -> Iterator[list[Event]]:
        """The events from the beginning, in batches of at most 2,048; the same at each call.

        A broken line raises :class:`~qfkit.errors.MalformedFrameError` with its number, or is
        told to ``on_bad(received_ns, error, text)`` and left out. A recording that is cut off
        gives what there is and then raises :class:`~qfkit.errors.FrameError` in either case.
        """
        for batch, _ in self.portions(on_bad):
            yield cast("list[Event]", batch)

    def portions(self, on_bad: OnBad | None = None) -> Generator[Portion, None, None]:
        """The batches, each with the share of the recording that ends with it, None where unknown."""
        with closing(cast("Any", self.read(on_bad))) as portions:
            if self.count is None:
                yield from portions
                return
            done = 0
            for batch, _ in portions:
                done += len(batch)
                yield batch, done / self.count


def open_recording(
    source: Source,
    *,
    symbols: Iterable[str] | str | None = None,
    timeframe: str | None = None,
    calendar: str | None = None,
) -> Recording:
    """Open past events: a file (by what is in it, not by its name), a frame, columns, or a list of events.

    - a raw Binance capture, ``<receive time in ns> <frame>`` a line, gzipped or not
    - Parquet of bars (open, high, low, close, perhaps volume) or of trades (price, perhaps size),
      with the time as index or in a column ``time``, of one symbol or with a column ``symbol``;
      also a folder of them, or an address such as ``s3://…`` where fsspec is installed
    - what ``qf.recordings()`` gives, or a folder of its layout such as
      ``s3://bucket/market/bars/timeframe=1m/symbol=BTCUSDT``, read day by day
    - the folder that ``feed.record(path)`` wrote, also at an address, or one part of it
    - the journal of a session: its market events, without what the user did
    - a DataFrame of either kind, a dict of them by symbol, or :class:`~qfkit.tables.BarColumns`
    - a list, or anything else that can be iterated over more than once, of events

    ``symbols`` leaves out all others. ``timeframe`` is the bars' own, where it cannot be read off
    their times. Trades get the heartbeats that a live feed would have sent in quiet seconds; a
    journal and a list that hold some are left as they are.

    ``calendar`` adds the hours of a market, so that an order in a closed market waits or is refused:
    "auto" finds it by Yahoo's spelling of the symbol, a name of exchange_calendars, as "XNYS", is
    that of all symbols. A recording of a live feed holds them already.
    """
    recording = _open(source, symbols, timeframe)
    if calendar is None:
        return recording
    if calendar != "auto":
        calendar_named(calendar)

    def read(on_bad: OnBad | None) -> Iterator[Portion]:
        return with_hours(recording.portions(on_bad), None if calendar == "auto" else calendar)

    # Its count is that of the events, and these are more; how far it is they tell themselves.
    return msgspec.structs.replace(recording, count=None, read=read, columns=None)


def _open(source: Source, symbols: Iterable[str] | str | None, timeframe: str | None) -> Recording:
    wanted = (symbols,) if isinstance(symbols, str) else None if symbols is None else tuple(dict.fromkeys(symbols))
    if wanted == ():
        raise SymbolError("symbols= is empty: name at least one, or leave it out for all there are")
    if isinstance(source, Selection):
        return _open_selection(source if wanted is None else source.of(wanted), timeframe)
    if isinstance(source, str | PathLike):
        path = fspath(source)
        with reaching(path) if "://" in path else nullcontext():
            return _open_path(path, wanted, timeframe)
    if isinstance(source, BarColumns) or is_frame(source) or isinstance(source, Mapping):
        return _open_frames(source, wanted, timeframe, label="data in memory", kind="frame")
    if isinstance(source, Iterator):
        raise DataError(f"a {type(source).__name__} can be read only once: give a list of its events, list(...)")
    if isinstance(source, Iterable) and not isinstance(source, bytes | bytearray):
        return _open_events(source, wanted, timeframe)
    raise DataError(
        f"a {type(source).__name__} is no recording: give a path, a DataFrame, a dict of them by symbol, "
        "qf.recordings().bars(...) or .ticks(...), or a list of events"
    )


def _open_path(path: str, wanted: tuple[str, ...] | None, timeframe: str | None) -> Recording:
    is_address = "://" in path
    selection = None if path.startswith(("http://", "https://")) else selection_at(path, wanted)
    if selection is not None:
        return _open_selection(selection, timeframe)
    # A page of the web is no folder, and to ask is to fetch it.
    if not path.startswith(("http://", "https://")) and (is_address or Path(path).is_dir()):
        file_system, root = file_system_of(path)
        names = recorded_names(file_system, root)
        if names:
            return _open_recorded(path, names, wanted)
        if file_system.isdir(root):
            if names_a_catalogue(map(name_of, file_system.ls(root, detail=False))):
                raise FrameError(
                    f"{shown(path)} is a whole catalogue: choose from it, as in "
                    f"qf.recordings({shown(path)!r}).bars('BTCUSDT', timeframe='1m')"
                )
            if not any(str(name).endswith(".parquet") for name in file_system.find(root)):
                raise FrameError(f"{shown(path)} is a folder without Parquet files: give one recording")
            return _open_parquet(path, wanted, timeframe)
    head = read_head(path)
    if head.startswith(b"SQLite format 3\x00"):
        return _open_journal(path, wanted)
    if head.startswith(b"PAR1"):
        with open_file(path) as file:
            is_part = are_events(file)
        if is_part:
            folder, _, name = path.replace("\\", "/").rpartition("/")
            return _open_parts(folder or ("/" if path.startswith("/") else "."), [name], wanted, name)
        return _open_parquet(path, wanted, timeframe)
    return _open_capture(path, wanted)


def _open_selection(selection: Selection, timeframe: str | None) -> Recording:
    if timeframe is not None and selection.timeframe is not None and timeframe != selection.timeframe:
        raise TimeframeError(f"the bars are of {selection.timeframe}, not of {timeframe}: leave timeframe= out")
    # Whether there are any is told now, not in the midst of a run.
    selection.parts()

    def read(on_bad: OnBad | None) -> Iterator[Portion]:
        return selection.portions()

    columns = selection.columns if selection.kind == "bars" else None
    return Recording(
        selection.label, selection.symbols, selection.timeframe, "catalogue", None, selection.address, read, columns
    )


# -- streams ---------------------------------------------------------------------------------


def _open_recorded(path: str, names: list[str], wanted: tuple[str, ...] | None) -> Recording:
    """What a :class:`~qfkit.feeds.recorder.Recorder` wrote: its events; its raw frames where it has none."""
    whole = {name for name in names if name.endswith(".parquet")}
    # The events that were to become a part are no longer needed where it was written.
    tails = [name for name in names if name.endswith(".arrows") and part_of(name) not in whole]
    parts = sorted([*whole, *tails], key=part_of)
    if not parts:
        if len(names) > 1 or "://" in path:
            raise FrameError(f"{shown(path)} holds raw frames only: give one of {', '.join(names)}")
        return _open_capture(f"{path}/{names[0]}", wanted)
    return _open_parts(path, parts, wanted, name_of(path))


def _open_parts(path: str, parts: list[str], wanted: tuple[str, ...] | None, label: str) -> Recording:
    def read(on_bad: OnBad | None) -> Iterator[Portion]:
        return _only(part_portions(path, parts, on_bad), wanted)

    def ignore(received_ns: int, error: str, text: str) -> None:
        """What is broken is told when it is read for good."""

    found, timeframe = _survey((batch for batch, _ in part_portions(path, parts, ignore)), wanted, shown(path))
    return Recording(label, found, timeframe, "recording", None, path, read)


def _open_capture(path: str, wanted: tuple[str, ...] | None) -> Recording:
    def read(on_bad: OnBad | None) -> Iterator[Portion]:
        return with_heartbeats(_only(capture_portions(path, on_bad), wanted))

    def ignore(received_ns: int, error: str, text: str) -> None:
        """What is broken is told when it is read for good."""

    found, _ = _survey((batch for batch, _ in capture_portions(path, ignore)), wanted, path)
    return Recording(name_of(path), found, None, "capture", None, path, read)


def _open_journal(path: str, wanted: tuple[str, ...] | None) -> Recording:
    with JournalReader(path):
        pass

    def read(on_bad: OnBad | None) -> Iterator[Portion]:
        return _only(_journal_portions(path), wanted)

    found, timeframe = _survey((batch for batch, _ in _journal_portions(path)), wanted, path)
    return Recording(name_of(path), found, timeframe, "journal", None, path, read)


def _journal_portions(path: str) -> Iterator[Portion]:
    with JournalReader(path) as reader:
        count, done = reader.event_count, 0
        for batch in reader.events():
            done += len(batch)
            events = cast("list[MarketEvent]", [event for event in batch if not isinstance(event, _COMMANDS)])
            for start in range(0, len(events), BATCH):
                yield events[start : start + BATCH], min(1.0, done / count)


def _only(portions: Iterator[Portion], wanted: tuple[str, ...] | None) -> Iterator[Portion]:
    """Leave out the events of other symbols; those of no symbol, such as heartbeats, stay."""
    if wanted is None:
        yield from portions
        return
    kept = frozenset(wanted)
    for batch, fraction in portions:
        events = [event for event in batch if type(event) is Heartbeat or event.symbol in kept]  # type: ignore[union-attr]
        if events:
            yield events, fraction


def _survey(
    batches: Iterator[list[MarketEvent]], wanted: tuple[str, ...] | None, path: str
) -> tuple[tuple[str, ...], str | None]:
    """The symbols and the timeframe of a stream, by its beginning; all of it at worst, for a symbol that is wanted."""
    found: dict[str, str | None] = {}
    seen = 0
    with closing(cast("Any", batches)):
        try:
            for batch in batches:
                for event in batch:
                    if not isinstance(event, Heartbeat) and found.get(event.symbol) is None:
                        found[event.symbol] = event.timeframe if isinstance(event, Bar) else None
                seen += len(batch)
                if found and (seen >= _SURVEYED if wanted is None else found.keys() >= set(wanted)):
                    break
        except FrameError:
            # A stream that is cut off gives its events first, and tells where it is cut when it is read.
            if not found:
                raise
    if not found:
        raise FrameError(f"{path} holds no trades, quotes or bars: give a recording that does")
    names = _choose(tuple(found), wanted, path)
    return names, next((found[name] for name in names if found[name] is not None), None)


def _choose(found: tuple[str, ...], wanted: tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    for symbol in wanted or ():
        if symbol not in found:
            raise SymbolError(f"{where} has no {symbol!r}.{did_you_mean(symbol, found)}")
    return wanted or found


# -- data in memory --------------------------------------------------------------------------


def _open_parquet(path: str, wanted: tuple[str, ...] | None, timeframe: str | None) -> Recording:
    import pandas
    import pyarrow

    try:
        frame = pandas.read_parquet(path)
    except ImportError as error:
        raise FrameError(f"{path} cannot be read: {error}; an address such as s3://… needs pip install s3fs") from error
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise FrameError(
            f"{path} cannot be read as Parquet ({error}): record it again, or give another file"
        ) from error
    if not isinstance(frame.index, pandas.DatetimeIndex):
        plain = {str(name).strip().lower(): name for name in frame.columns}
        column = next((plain[name] for name in _TIME_COLUMNS if name in plain), None)
        if column is None:
            raise FrameError(
                f"{path} has no times: an index of times or a column 'time' is needed; it has the columns "
                + ", ".join(map(repr, frame.columns))
            )
        frame = frame.set_index(column)
    if "symbol" not in map(_plain, frame.columns) and "symbol" not in frame.attrs:
        frame.attrs["symbol"] = wanted[0] if wanted and len(wanted) == 1 else Path(path).stem
    try:
        return _open_frames(frame, wanted, timeframe, label=name_of(path), kind="parquet", path=path)
    except DataError as error:
        raise type(error)(f"{path}: {error}") from None


def _plain(name: object) -> str:
    return str(name).strip().lower()


def _open_frames(
    source: Any,
    wanted: tuple[str, ...] | None,
    timeframe: str | None,
    *,
    label: str,
    kind: Kind,
    path: str | None = None,
) -> Recording:
    frames = list(source.values()) if isinstance(source, Mapping) else [source]
    are_ticks = [is_frame(frame) and frame.columns.nlevels == 1 and is_tick_frame(frame) for frame in frames]
    if any(are_ticks):
        if not all(are_ticks):
            raise FrameError("some of the frames hold trades and some bars: give one kind")
        ticks = _ticks_by_symbol(source)
        names = _choose(tuple(ticks), wanted, label)
        events = list(merge_sorted(*(ticks[name] for name in names), key=attrgetter("received_ns")))
        return _of_list(events, names, None, kind, label, path)
    columns = columns_by_symbol(source, timeframe)
    names = _choose(tuple(columns), wanted, label)
    columns = {name: columns[name] for name in names}

    def read(on_bad: OnBad | None) -> Iterator[Portion]:
        for batch in bar_batches(columns, BATCH):
            yield cast("list[MarketEvent]", batch), None

    count = sum(map(len, columns.values()))
    return Recording(label, names, columns[names[0]].timeframe, kind, count, path, read)


def _ticks_by_symbol(source: Any) -> dict[str, list[Tick]]:
    if isinstance(source, Mapping):
        return {str(symbol): ticks_from_frame(frame, str(symbol)) for symbol, frame in source.items()}
    column = next((name for name in source.columns if _plain(name) == "symbol"), None)
    if column is None:
        symbol = str(source.attrs.get("symbol", "data"))
        return {symbol: ticks_from_frame(source, symbol)}
    if not len(source) or source[column].isna().any():
        raise FrameError(f"column {column!r}: every row must name its symbol, and there must be rows; df.dropna()")
    groups = source.groupby(column, sort=False, observed=True)
    return {str(symbol): ticks_from_frame(own, str(symbol)) for symbol, own in groups}


def _open_events(source: Iterable[Any], wanted: tuple[str, ...] | None, timeframe: str | None) -> Recording:
    # A list is looked at once for what it holds; the rest of its events' truth is the reader's to check.
    # Millions of events: map and Counter look at them without a step of Python's own.
    kinds = Counter(map(type, source))
    for kind in kinds:
        if not issubclass(kind, (*_MARKET, *_COMMANDS)):
            place = next(place for place, event in enumerate(source) if type(event) is kind)
            raise DataError(
                f"event {place} is a {kind.__name__}, no event: give Bar, Tick, Quote, Depth, Gap or Heartbeat"
            )
    has_commands = any(kind in _COMMANDS for kind in kinds)
    bare = all(kind in _WITH_SYMBOL for kind in kinds)
    with_symbols = source if bare else (event for event in source if type(event) in _WITH_SYMBOL)
    found = dict.fromkeys(map(attrgetter("symbol"), with_symbols))
    timeframes = dict.fromkeys(event.timeframe for event in source if type(event) is Bar) if Bar in kinds else {}
    count = kinds.total()
    if not found:
        raise FrameError("there are no events of any symbol: give at least one Bar, Tick or Quote")
    if timeframe is not None and timeframes and list(timeframes) != [timeframe]:
        raise TimeframeError(f"the bars are of {', '.join(timeframes)}, not of {timeframe}: leave timeframe= out")
    names = _choose(tuple(found), wanted, "the list of events")

    def plain() -> Iterator[Portion]:
        events = (event for event in source if type(event) not in _COMMANDS) if has_commands else iter(source)
        while batch := list(islice(events, BATCH)):
            yield batch, None

    def read(on_bad: OnBad | None) -> Iterator[Portion]:
        portions = _only(plain(), wanted)
        return portions if Heartbeat in kinds or Bar in kinds else with_heartbeats(portions)

    exact = count if wanted is None and kinds[Bar] == count else None
    return Recording("events in memory", names, next(iter(timeframes), None), "events", exact, None, read)


def _of_list(
    events: list[Tick], names: tuple[str, ...], timeframe: str | None, kind: Kind, label: str, path: str | None
) -> Recording:
    def plain() -> Iterator[Portion]:
        for start in range(0, len(events), BATCH):
            part = cast("list[MarketEvent]", events[start : start + BATCH])
            yield part, min(1.0, (start + len(part)) / len(events))

    def read(on_bad: OnBad | None) -> Iterator[Portion]:
        return with_heartbeats(plain())

    return Recording(label, names, timeframe, kind, None, path, read)
