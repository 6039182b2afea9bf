"""A selection of a catalogue: which rows, as a small record; the rows are read when somebody plays it."""

import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from heapq import merge as merge_sorted
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
import numpy as np

from qfkit.core.events import MarketEvent
from qfkit.core.timeframes import timeframe_ns
from qfkit.core.wording import utc_time
from qfkit.errors import FrameError, ParameterError, SymbolError, TimeframeError, did_you_mean
from qfkit.feeds.captures import BATCH, Portion, name_of
from qfkit.feeds.heartbeats import with_heartbeats
from qfkit.feeds.moments import Moment, moment_ns
from qfkit.feeds.partitions import Part, RowKind, Store, unquoted
from qfkit.feeds.stored_rows import COLUMNS, Opened, bars_of_rows, column_names, decode, opened_ahead, read_rows
from qfkit.frames import check_columns
from qfkit.tables import BarColumns

if TYPE_CHECKING:
    import pandas

__all__ = ["FOREVER_NS", "Selection", "names_a_catalogue", "selection_at", "span_ns"]

FOREVER_NS = 2**63 - 1
_NUMBERS = ("open", "high", "low", "close", "volume")
_received_ns = attrgetter("received_ns")
_SERIES = re.compile(
    r"(?P<root>.+)/(?P<kind>bars(/timeframe=(?P<timeframe>[^/]+))?|ticks|quotes)(/symbol=(?P<symbol>[^/]+))?"
    r"(/(day|year)=[^/]+)?"
)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Bars or trades of a catalogue, as ``qf.backtest``, ``qf.sweep`` and ``qf.ReplayFeed`` take them as data.

    It holds where they lie and which they are, no data and no keys: it is small, can be sent to another process
    or machine, and is opened there. Played, it reads one day of each symbol after the other, and of each only the
    columns that events need; from an object store the next days (four small ones, or one) are fetched meanwhile. What
    the run itself keeps, its bars, orders and fills, grows with it. Bars are those that open in [``start_ns``, ``end_ns``); of trades and quotes it is the
    receipt that counts. Symbols are merged by receipt, for bars their close; at one time in the order of
    ``symbols``, quotes before trades.
    """

    address: str
    kind: Literal["bars", "ticks"]
    symbols: tuple[str, ...]
    timeframe: str | None = None
    start_ns: int = 0
    end_ns: int = FOREVER_NS
    with_quotes: bool = False

    def __repr__(self) -> str:
        what = (
            f"{self.timeframe} bars" if self.kind == "bars" else "trades and quotes" if self.with_quotes else "trades"
        )
        span = f"{f' from {_moment(self.start_ns)}' if self.start_ns else ''}"
        span += f" until {_moment(self.end_ns)}" if self.end_ns != FOREVER_NS else ""
        return f"Selection({what} of {', '.join(self.symbols)}{span} in {self.address})"

    @property
    def label(self) -> str:
        what = (
            f"{self.timeframe} bars" if self.kind == "bars" else "trades and quotes" if self.with_quotes else "trades"
        )
        names = ", ".join(self.symbols[:3]) + (", …" if len(self.symbols) > 3 else "")
        return f"{what} of {names} in {name_of(self.address)}"

    def parts(self) -> list[Part]:
        """The files that hold it; :class:`SymbolError` or :class:`FrameError` where a symbol has none."""
        return [part for _, series in self._series(Store(self.address)) for part in series]

    def between(self, start: Moment | None = None, end: Moment | None = None) -> "Selection":
        """The part of it from ``start`` until before ``end``; a date alone is its midnight in UTC."""
        start_ns, until_ns = span_ns(start, end)
        return msgspec.structs.replace(self, start_ns=max(self.start_ns, start_ns), end_ns=min(self.end_ns, until_ns))

    def of(self, symbols: Iterable[str]) -> "Selection":
        """Only these of its symbols."""
        names = tuple(dict.fromkeys(symbols))
        for name in names:
            if name not in self.symbols:
                raise SymbolError(f"{self.label}: there is no {name!r}.{did_you_mean(name, self.symbols)}")
        return msgspec.structs.replace(self, symbols=names)

    # -- as events ---------------------------------------------------------------------------

    def batches(self) -> Iterator[list[MarketEvent]]:
        """The events from the beginning, in batches of at most 2,048; the same at each call."""
        for batch, _ in self.portions():
            yield batch

    def portions(self) -> Generator[Portion, None, None]:
        """The batches, each with the share of the selection that ends with it."""
        store = Store(self.address)
        series = self._series(store)
        first_ns = min(part.start_ns for _, parts in series for part in parts)
        last_ns = max(part.end_ns for _, parts in series for part in parts)
        start_ns, end_ns = max(self.start_ns, first_ns), min(self.end_ns, last_ns)

        def plain() -> Iterator[Portion]:
            streams = [self._stream(store, parts) for _, parts in series]
            batches = streams[0] if len(streams) == 1 else _merged(streams)
            for batch in batches:
                yield batch, min(1.0, max(0.0, (batch[-1].received_ns - start_ns) / (end_ns - start_ns)))

        yield from plain() if self.kind == "bars" else with_heartbeats(plain())

    def _stream(self, store: Store, parts: list[Part]) -> Iterator[list[MarketEvent]]:
        """The events of one series, a part after the other."""
        last_ns = -1
        with closing(opened_ahead(store, parts)) as files:
            for _, group in groupby(parts, key=attrgetter("start_ns")):
                streams = [self._part(*next(files)) for _ in group]
                for batch in streams[0] if len(streams) == 1 else _merged(streams):
                    if batch[0].received_ns < last_ns:
                        raise FrameError(
                            f"{store.address}: the row of {utc_time(batch[0].received_ns)} UTC lies before the end of the "
                            "day ahead of it: remove that day and write it anew with catalogue.add()"
                        )
                    last_ns = batch[-1].received_ns
                    yield batch

    def _part(self, part: Part, file: Opened) -> Iterator[list[MarketEvent]]:
        for rows in read_rows(file, part, self.start_ns, self.end_ns):
            if part.kind == "bars":
                check_columns(bars_of_rows(part, rows))
            events = decode(part, rows)
            for start in range(0, len(events), BATCH):
                yield events[start : start + BATCH]

    def _series(self, store: Store) -> list[tuple[str, list[Part]]]:
        """The parts of each series that overlap the span, in the order that events of one time have."""
        kinds: tuple[RowKind, ...] = ("quotes", "ticks") if self.with_quotes else (self.kind,)
        found = []
        for kind in kinds:
            # One listing for several symbols, one for each of a few.
            parts = store.parts(kind, self.timeframe, self.symbols if len(self.symbols) <= 8 else None)
            for symbol in self.symbols:
                own = [part for part in parts if part.symbol == symbol]
                if not own and kind == "quotes":
                    continue
                if not own:
                    raise SymbolError(self._unknown(store, symbol))
                chosen = [part for part in own if part.start_ns < self.end_ns and part.end_ns > self.start_ns]
                if chosen:
                    found.append((symbol, chosen))
                elif kind == self.kind:
                    raise FrameError(
                        f"{symbol}: there are no {self.kind} between {_day(self.start_ns)} and {_day(self.end_ns)}; there "
                        f"are some from {_day(own[0].start_ns)} to {_day(own[-1].end_ns)}"
                    )
        return found

    def _unknown(self, store: Store, symbol: str) -> str:
        known = {part.symbol for part in store.parts(self.kind, self.timeframe)}
        what = f"{self.timeframe} bars" if self.kind == "bars" else "trades"
        return f"{self.address} has no {what} of {symbol!r}.{did_you_mean(symbol, known)}"

    # -- in memory ---------------------------------------------------------------------------

    def columns(self) -> dict[str, BarColumns]:
        """All its bars in memory, as arrays by symbol: for many runs on the same bars."""
        if self.kind != "bars":
            raise ParameterError(f"{self.label}: only bars are columns; play trades as they are, or see to_frame()")
        store = Store(self.address)
        found = {}
        for symbol, parts in self._series(store):
            pieces = [
                bars_of_rows(part, rows)
                for part, file in opened_ahead(store, parts)
                for rows in read_rows(file, part, self.start_ns, self.end_ns)
            ]
            if not pieces:
                raise FrameError(f"{symbol}: there are no bars between {_day(self.start_ns)} and {_day(self.end_ns)}")
            names = (*_NUMBERS, "open_ns", "close_ns")
            arrays = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names}
            columns = BarColumns(symbol, pieces[0].timeframe, **arrays)
            check_columns(columns)
            found[symbol] = columns
        return found

    def to_frame(self, *others: str) -> "pandas.DataFrame":
        """All its rows in memory, indexed by time; with a column ``symbol`` where there are several.

        Bars are as :func:`qf.history <qfkit.history>` gives them; trades have their ``received_time`` too, and are in
        the order of receipt. ``others`` names further columns that the files hold.
        """
        import pandas
        import pyarrow

        store = Store(self.address)
        frames = []
        read: set[str] = set()
        for symbol, parts in self._series(store):
            if parts[0].kind != self.kind:
                continue
            for part, file in opened_ahead(store, parts, others):
                for rows in read_rows(file, part, self.start_ns, self.end_ns, others):
                    read.update(rows.schema.names)
                    own = pyarrow.Table.from_batches([rows]).to_pandas(timestamp_as_object=False)
                    frames.append(own.assign(symbol=symbol) if len(self.symbols) > 1 else own)
        for name in others:
            if name not in read:
                known = {one for part in self.parts() for one in column_names(store, part)}
                raise ParameterError(f"there is no column {name!r}.{did_you_mean(name, known)}")
        if not frames:
            raise FrameError(f"{self.label}: there are no rows in this span")
        names = ["time", *(["symbol"] if len(self.symbols) > 1 else [])]
        names += [*_NUMBERS] if self.kind == "bars" else [name for name in COLUMNS["ticks"] if name != "time"]
        joined = pandas.concat(frames, ignore_index=True).reindex(columns=list(dict.fromkeys([*names, *others])))
        frame: pandas.DataFrame = joined.assign(time=joined["time"].astype("datetime64[ns, UTC]")).set_index("time")
        if len(self.symbols) == 1:
            frame.attrs["symbol"] = self.symbols[0]
        if self.timeframe is not None:
            frame.attrs["timeframe"] = self.timeframe
        return frame


def _merged(streams: list[Iterator[list[MarketEvent]]]) -> Iterator[list[MarketEvent]]:
    events = merge_sorted(*((event for batch in stream for event in batch) for stream in streams), key=_received_ns)
    while batch := list(islice(events, BATCH)):
        yield batch


def _moment(time_ns: int) -> str:
    return str(np.datetime64(time_ns, "ns")).replace("T", " ").removesuffix(".000000000") + " UTC"


def _day(time_ns: int) -> str:
    return "now" if time_ns == FOREVER_NS else f"{utc_time(time_ns)} UTC"


def span_ns(start: Moment | None, end: Moment | None) -> tuple[int, int]:
    """A span as it is given; :class:`ParameterError` for one that ends before it begins."""
    start_ns = 0 if start is None else moment_ns(start, "start")
    end_ns = FOREVER_NS if end is None else moment_ns(end, "end")
    if start_ns >= end_ns:
        raise ParameterError(
            f"start={str(start)!r} does not lie before end={str(end)!r}: a date alone is its midnight in UTC, so one day "
            "ends at the next date"
        )
    return start_ns, end_ns


# -- addresses -------------------------------------------------------------------------------


def selection_at(path: str, symbols: Iterable[str] | None = None) -> Selection | None:
    """What a folder of a catalogue's layout holds, such as ``…/bars/timeframe=1m/symbol=BTCUSDT``; None for any other."""
    match = _SERIES.fullmatch(path.replace("\\", "/").rstrip("/"))
    if match is None or match["kind"] == "quotes":
        return None
    kind = cast("Literal['bars', 'ticks']", match["kind"].partition("/")[0])
    store = Store(match["root"])
    wanted = None if match["symbol"] is None else [unquoted(match["symbol"])]
    parts = store.parts(kind, match["timeframe"], wanted)
    if not parts and match["symbol"] is None:
        return None
    if not parts:
        raise FrameError(
            f"{store.address} has no {kind} of {unquoted(match['symbol'])!r}: qf.recordings({store.address!r}) lists what there is"
        )
    timeframes = sorted({part.timeframe for part in parts if part.timeframe}, key=timeframe_ns)
    if len(timeframes) > 1:
        raise TimeframeError(
            f"{path} holds bars of {', '.join(timeframes)}: give one, as in {store.address}/bars/timeframe={timeframes[0]}"
        )
    span: dict[str, Any] = {}
    tail = re.search(r"/(day|year)=[^/]+$", path.rstrip("/"))
    if tail:
        days = [part for part in parts if tail[0] in part.path]
        if not days:
            raise FrameError(f"there are no rows at {path}: see qf.recordings({store.address!r})")
        span = {"start_ns": days[0].start_ns, "end_ns": days[-1].end_ns}
    found = Selection(
        address=store.address,
        kind=kind,
        symbols=tuple(dict.fromkeys(part.symbol for part in parts)),
        timeframe=timeframes[0] if timeframes else None,
        **span,
    )
    return found if symbols is None else found.of(symbols)


def names_a_catalogue(names: Iterable[str]) -> bool:
    """Whether the entries of a folder are those of a whole catalogue."""
    own = set(names)
    return bool(own & {"bars", "ticks", "quotes"}) and not any(name.endswith(".parquet") for name in own)
