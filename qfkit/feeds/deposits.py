"""What is added to a catalogue: cut into days, merged with what is there, written a part at a time."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from qfkit.core.events import Bar, Event, Heartbeat
from qfkit.errors import FrameError
from qfkit.feeds.partitions import RowKind, Store, part_name, period_ns, series_name
from qfkit.feeds.stored_rows import CLOCK, COLUMNS, encode, row_kind, rows_of, table_of_bars
from qfkit.frames import columns_by_symbol, is_frame
from qfkit.tables import BarColumns

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Deposit", "Depositor", "bars_with_others"]

Series = tuple[RowKind, str, str | None]

_TIME_COLUMNS = ("time", "timestamp", "datetime", "date", "close_time")
_EVENTS = 65_536


class Deposit(msgspec.Struct, frozen=True):
    """What ``catalogue.add`` did: the rows given and those that are new, by series; how many parts were written.

    ``left_out`` counts events that a catalogue has no table for, such as order books and gaps: they
    stay in the recording that they came from, which can be played itself.
    """

    rows: dict[str, int]
    new_rows: dict[str, int]
    parts: int
    left_out: dict[str, int]

    def __repr__(self) -> str:
        lines = [f"{name}: {count:,} rows, {self.new_rows[name]:,} of them new" for name, count in self.rows.items()]
        if self.left_out:
            lines.append("left out: " + ", ".join(f"{count:,} {name}" for name, count in self.left_out.items()))
        return "\n".join(lines) or "nothing was added"


class Depositor:
    """Takes rows in the order of their time, and writes a day as soon as the next one begins."""

    def __init__(self, store: Store, on_rows: Callable[[int], None]) -> None:
        self._store, self._on_rows = store, on_rows
        self._open: dict[Series, tuple[int, list[Any], list[Any]]] = {}
        self._rows: Counter[str] = Counter()
        self._new: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._parts = 0

    def take_bars(self, columns: BarColumns, others: "dict[str, pyarrow.Array]") -> None:
        """The bars of one symbol."""
        table = table_of_bars(columns, others)
        first = 0
        while first < len(columns):
            start_ns, end_ns = period_ns(columns.timeframe, int(columns.open_ns[first]))
            last = int(np.searchsorted(columns.open_ns, end_ns))
            self._write(("bars", columns.symbol, columns.timeframe), start_ns, table.slice(first, last - first))
            first = last

    def take_events(self, batches: Iterator[list[Event]]) -> None:
        """Events in the order of their receipt."""
        for batch in batches:
            for event in batch:
                kind = row_kind(event)
                if kind is None:
                    # Heartbeats are made anew when trades are played.
                    if type(event) is not Heartbeat:
                        self._left_out[type(event).__name__] += 1
                    continue
                timeframe = event.timeframe if type(event) is Bar else None
                clock_ns = event.open_ns if type(event) is Bar else event.received_ns
                series = (kind, event.symbol, timeframe)  # type: ignore[union-attr]
                start_ns, tables, events = self._open.get(series, (-1, [], []))
                own_ns = period_ns(timeframe, clock_ns)[0]
                if own_ns != start_ns:
                    self._close(series)
                    tables, events = [], []
                    self._open[series] = (own_ns, tables, events)
                events.append(event)
                if len(events) >= _EVENTS:
                    tables.append(rows_of(kind, events))
                    events.clear()
        for series in list(self._open):
            self._close(series)

    def end(self) -> Deposit:
        return Deposit(dict(self._rows), dict(self._new), self._parts, dict(self._left_out))

    def _close(self, series: Series) -> None:
        if series not in self._open:
            return
        import pyarrow

        start_ns, tables, events = self._open.pop(series)
        if events:
            tables.append(rows_of(series[0], events))
        self._write(series, start_ns, pyarrow.concat_tables(tables))

    def _write(self, series: Series, start_ns: int, table: "pyarrow.Table") -> None:
        kind, symbol, timeframe = series
        place = series_name(kind, symbol, timeframe)
        name = f"{place}/{part_name(timeframe, start_ns)}"
        folder = name.rpartition("/")[0]
        old = {
            path: size for path, size in self._store.find(folder).items() if self._store.part_of(path, size) is not None
        }
        before = [_whole(self._store, path, size) for path, size in old.items()]
        merged = _merged(kind, before, table)
        self._store.put(name, encode(merged))
        for path in old:
            if path != f"{self._store.root}/{name}":
                self._store.remove(path)
        self._parts += 1
        shown = f"{kind}{f' {timeframe}' if timeframe else ''} of {symbol}"
        self._rows[shown] += len(table)
        self._new[shown] += len(merged) - sum(map(len, before))
        self._on_rows(self._rows.total())


def _whole(store: Store, path: str, size: int) -> "pyarrow.Table":
    import pyarrow
    from pyarrow import parquet

    with store.open(path, size) as file:
        data = file.read()
    try:
        table = parquet.ParquetFile(pyarrow.BufferReader(data)).read()
        names = [name for name in table.schema.names if str(table.schema.field(name).type).startswith("timestamp")]
        for name in names:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, table.column(name).cast(pyarrow.timestamp("ns", tz="UTC")))
        return table
    except (pyarrow.ArrowException, OSError) as error:
        raise FrameError(
            f"{path} cannot be read as Parquet ({error}): remove it, and its day can be added again"
        ) from None


def _merged(kind: RowKind, before: "list[pyarrow.Table]", table: "pyarrow.Table") -> "pyarrow.Table":
    """What was there and what comes, in order, none twice: of rows that are the same the new one counts."""
    import pandas
    import pyarrow

    # The new rows first, for of those that are the same the first is kept; and back again, for ties stay in order.
    joined = pyarrow.concat_tables([table, *before], promote_options="permissive")
    keys = _keys(kind, joined, len(table))
    kept = ~pandas.DataFrame(keys).duplicated().to_numpy()
    order = np.concatenate([np.arange(len(table), len(joined)), np.arange(len(table))])
    order = order[kept[order]]
    clock = CLOCK[kind] if CLOCK[kind] in joined.schema.names else "time"
    times_ns = joined.column(clock).combine_chunks().view("int64").to_numpy()
    order = order[np.argsort(times_ns[order], kind="stable")]
    names = [name for name in COLUMNS[kind] if name in joined.schema.names]
    others = [name for name in joined.schema.names if name not in names]
    return joined.select([*names, *others]).take(pyarrow.array(order))


def _keys(kind: RowKind, table: "pyarrow.Table", first: int) -> dict[str, Any]:
    """What makes two rows the same.

    A bar: its open. A trade: its id; without one, and a quote: all that is known of it, and which of several such it
    is, for two trades in one nanosecond at one price are two.
    """
    import pandas

    names = (
        ["time"] if kind == "bars" else ["time", "price", "size", "side"] if kind == "ticks" else list(COLUMNS[kind])
    )
    columns = [name for name in names if name in table.schema.names]
    keys: dict[str, Any] = {}
    for name in columns:
        column = table.column(name).combine_chunks()
        keys[name] = (
            column.view("int64").to_numpy() if "timestamp" in str(column.type) else column.to_pandas().to_numpy()
        )
    if kind == "bars":
        return keys
    frame = pandas.DataFrame(keys)
    is_new = np.arange(len(frame)) < first
    keys["place"] = (
        frame.assign(is_new=is_new).groupby([*columns, "is_new"], dropna=False, sort=False).cumcount().to_numpy()
    )
    if kind == "ticks" and "trade_id" in table.schema.names:
        ids = table.column("trade_id").combine_chunks()
        known = ~ids.is_null().to_numpy(zero_copy_only=False)
        keys["trade_id"] = ids.fill_null(-1).to_numpy(zero_copy_only=False)
        for name in [*columns, "place"]:
            keys[name] = np.where(known, keys[name].dtype.type(0) if keys[name].dtype != object else "", keys[name])
    return keys


# -- frames ----------------------------------------------------------------------------------


def bars_with_others(data: Any, timeframe: str | None) -> "Iterator[tuple[BarColumns, dict[str, pyarrow.Array]]]":
    """The bars of each symbol of a frame or frames, checked, with the columns beside those of a bar."""
    for symbol, columns in columns_by_symbol(data, timeframe).items():
        frame = data.get(symbol) if isinstance(data, Mapping) else data
        yield columns, _others(frame, symbol, len(columns)) if is_frame(frame) else {}


def _others(frame: Any, symbol: str, rows: int) -> "dict[str, pyarrow.Array]":
    import pyarrow

    if frame.columns.nlevels > 1:
        return {}
    by_name = {str(name).strip().lower(): name for name in frame.columns}
    if "symbol" in by_name:
        frame = frame[frame[by_name["symbol"]].astype(str) == symbol]
    if len(frame) != rows:
        return {}
    found = {}
    for plain, name in by_name.items():
        if plain in (*COLUMNS["bars"], "symbol", "timeframe", *_TIME_COLUMNS):
            continue
        try:
            found[str(name)] = pyarrow.Array.from_pandas(frame[name])
        except pyarrow.ArrowException as error:
            raise FrameError(
                f"{symbol}: column {name!r} cannot be kept ({error}): leave it out with df.drop(columns=[{name!r}])"
            ) from None
    return found
