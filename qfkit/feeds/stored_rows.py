"""Rows of a catalogue: bars, trades and quotes as tables of Parquet and as events again."""

import io
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from qfkit.core.events import Bar, MarketEvent, Quote, Tick
from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import FrameError, NaiveTimeError
from qfkit.feeds.partitions import Part, RangedFile, RowKind, Store
from qfkit.tables import BarColumns

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "CLOCK",
    "COLUMNS",
    "Opened",
    "bars_of_rows",
    "column_names",
    "decode",
    "encode",
    "footer",
    "opened_ahead",
    "read_rows",
    "row_kind",
    "rows_of",
    "table_of_bars",
]

Rows: TypeAlias = "pyarrow.Table"
Opened: TypeAlias = RangedFile | io.BufferedReader

COLUMNS: dict[RowKind, dict[str, str]] = {
    "bars": {
        "time": "time", "close_time": "time", "open": "float64", "high": "float64", "low": "float64",
        "close": "float64", "volume": "float64", "source": "string",
    },
    "ticks": {
        "time": "time", "received_time": "time", "price": "float64", "size": "float64", "trade_id": "int64",
        "side": "string", "source": "string", "flag": "string",
    },
    "quotes": {
        "time": "time", "received_time": "time", "bid": "float64", "bid_size": "float64", "ask": "float64",
        "ask_size": "float64", "source": "string",
    },
}  # fmt: skip
"""The columns of each kind, first in every file; ``time`` is a bar's open, else the exchange's time."""

CLOCK: dict[RowKind, str] = {"bars": "time", "ticks": "received_time", "quotes": "received_time"}
"""The column that says where a row belongs: its day, and whether it lies in a span."""

_KINDS: dict[RowKind, type[Any]] = {"bars": Bar, "ticks": Tick, "quotes": Quote}
_FIELDS = {"time": "time_ns", "close_time": "close_ns", "received_time": "received_ns"}
# What may be missing from a part that others wrote.
_OPTIONAL = frozenset(
    {"close_time", "received_time", "volume", "size", "bid_size", "ask_size", "trade_id", "side", "source", "flag"}
)
_ROWS = 8_192
_GROUP_ROWS = 131_072
_AHEAD = 4
_SMALL_BYTES = 4 << 20
# So much is sooner fetched than a further request is answered.
_HOLE_BYTES = 16_384


def row_kind(event: object) -> RowKind | None:
    """The kind of rows that an event is; None for one that a catalogue has no table for."""
    return (
        "ticks" if type(event) is Tick else "quotes" if type(event) is Quote else "bars" if type(event) is Bar else None
    )


def _type(form: str) -> Any:
    import pyarrow

    return pyarrow.timestamp("ns", tz="UTC") if form == "time" else pyarrow.type_for_alias(form)


# -- events to tables ------------------------------------------------------------------------


def rows_of(kind: RowKind, events: Sequence[MarketEvent]) -> Rows:
    """Events of one kind and symbol as a table."""
    import pyarrow

    arrays = {}
    for name, form in COLUMNS[kind].items():
        field = "open_ns" if kind == "bars" and name == "time" else _FIELDS.get(name, name)
        values = list(map(attrgetter(field), events))
        arrays[name] = pyarrow.array(values, pyarrow.int64() if form == "time" else _type(form), from_pandas=False)
        if form == "time":
            arrays[name] = arrays[name].view(_type(form))
    return pyarrow.table(arrays)


def table_of_bars(columns: BarColumns, others: "dict[str, pyarrow.Array]") -> Rows:
    """Columns of bars as a table, with other columns of the user's behind them."""
    import pyarrow

    arrays: dict[str, Any] = {
        name: pyarrow.array(getattr(columns, name)) for name in ("open", "high", "low", "close", "volume")
    }
    times = {"time": columns.open_ns, "close_time": columns.close_ns}
    arrays |= {name: pyarrow.array(values).view(_type("time")) for name, values in times.items()}
    arrays["source"] = pyarrow.nulls(len(columns), pyarrow.string())
    return pyarrow.table({name: arrays[name] for name in COLUMNS["bars"]} | others)


def encode(table: Rows) -> bytes:
    """A table as one Parquet file."""
    from pyarrow import parquet

    sink = io.BytesIO()
    texts = [field.name for field in table.schema if str(field.type) in ("string", "large_string")]
    parquet.write_table(
        table.replace_schema_metadata(None), sink, compression="zstd", row_group_size=_GROUP_ROWS, use_dictionary=texts
    )
    return sink.getvalue()


# -- tables to events ------------------------------------------------------------------------


def footer(file: Opened, path: str, size: int) -> Any:
    """The metadata at the end of a file; :class:`FrameError` for a damaged one."""
    import pyarrow
    from pyarrow import parquet

    try:
        file.seek(max(0, size - 8))
        length = int.from_bytes((file.read(8) or b"")[:4], "little") + 8
        file.seek(max(0, size - length))
        return parquet.read_metadata(io.BytesIO(file.read(length) or b""))
    except FrameError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from None


def column_names(store: Store, part: Part) -> list[str]:
    """The columns that a part has."""
    with store.open(part.path, part.size) as file:
        names: list[str] = footer(file, part.path, part.size).schema.to_arrow_schema().names
        return names


def _damaged(path: str, error: Exception) -> FrameError:
    return FrameError(f"{path} cannot be read as Parquet ({error}): remove it and add its day again")


def opened_ahead(
    store: Store, parts: Sequence[Part], others: Sequence[str] = ()
) -> Generator[tuple[Part, Opened], None, None]:
    """The files of parts one after the other; from an object store the next ones are fetched meanwhile."""
    if store.is_local:
        for part in parts:
            yield part, store.open(part.path, part.size)
        return
    # Each request waits for the network: some at once, but no more than fit into little memory.
    ahead = _AHEAD if max(part.size for part in parts) <= _SMALL_BYTES else 1
    pool = ThreadPoolExecutor(ahead)
    try:
        waiting: deque[tuple[Part, Future[Opened]]] = deque()
        for part in parts:
            waiting.append((part, pool.submit(_fetched, store, part, others)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _fetched(store: Store, part: Part, others: Sequence[str]) -> Opened:
    """A file of an object store with all of it that will be read."""
    file = store.open(part.path, part.size)
    assert isinstance(file, RangedFile)
    about = footer(file, part.path, part.size)
    ranges: list[tuple[int, int]] = []
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        wanted = _filled(group, (*COLUMNS[part.kind], *others))
        for place in range(group.num_columns):
            column = group.column(place)
            if column.path_in_schema in wanted:
                start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
                ranges.append((start, start + column.total_compressed_size))
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start - joined[-1][1] <= _HOLE_BYTES:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    for start, end in joined:
        file.fetch(start, end)
    return file


def read_rows(
    opened: Opened, part: Part, start_ns: int, end_ns: int, others: Sequence[str] = ()
) -> "Iterator[pyarrow.RecordBatch]":
    """The rows of a part in [start, end), in batches: only the columns that events need are fetched, and ``others``."""
    import pyarrow
    from pyarrow import parquet

    with opened:
        about = footer(opened, part.path, part.size)
        clock = _checked_clock(part, about.schema.to_arrow_schema())
        before_ns = -1
        try:
            file = parquet.ParquetFile(opened, metadata=about)
            for group in range(about.num_row_groups):
                names = _filled(about.row_group(group), (*COLUMNS[part.kind], *others))
                for batch in file.iter_batches(_ROWS, row_groups=[group], columns=names, use_threads=False):
                    times_ns = _times(batch, clock)
                    if len(times_ns) and (times_ns[0] < before_ns or (np.diff(times_ns) < 0).any()):
                        raise FrameError(
                            f"{part.path}: the rows are not sorted by {clock!r}: sort them and write it again"
                        )
                    before_ns = int(times_ns[-1]) if len(times_ns) else before_ns
                    first, last = np.searchsorted(times_ns, (start_ns, end_ns))
                    if first < last:
                        yield batch.slice(first, last - first)
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(part.path, error) from None


def _checked_clock(part: Part, schema: "pyarrow.Schema") -> str:
    """The column that orders the rows; the named error for a file that lacks what rows need."""
    missing = [name for name in COLUMNS[part.kind] if name not in schema.names and name not in _OPTIONAL]
    if missing:
        raise FrameError(f"{part.path} has no column {', '.join(map(repr, missing))}; it has {', '.join(schema.names)}")
    kind = schema.field("time").type
    if getattr(kind, "tz", None) is None:
        raise NaiveTimeError(f"{part.path}: the column 'time' is {kind}: it must be a time with a zone")
    return CLOCK[part.kind] if CLOCK[part.kind] in schema.names else "time"


def _filled(group: Any, names: Sequence[str]) -> list[str]:
    """Those of the columns that hold anything but nulls: what is empty need not be fetched."""
    filled = []
    for number in range(group.num_columns):
        column = group.column(number)
        statistics = column.statistics
        is_empty = statistics is not None and statistics.has_null_count and statistics.null_count == group.num_rows
        if column.path_in_schema in names and not is_empty:
            filled.append(column.path_in_schema)
    return filled


def _times(batch: "pyarrow.RecordBatch", name: str) -> Any:
    column = batch.column(name)
    if column.null_count:
        raise FrameError(f"{column.null_count} rows have no {name}: leave them out")
    return column.cast(_type("time")).view("int64").to_numpy()


def decode(part: Part, batch: "pyarrow.RecordBatch") -> list[MarketEvent]:
    """Rows as events."""
    kind = part.kind
    if kind == "bars":
        columns = bars_of_rows(part, batch)
        sources = _values(batch, "source", "string", len(batch))
        numbers = [getattr(columns, name).tolist() for name in ("open", "high", "low", "close", "volume")]
        times = columns.open_ns.tolist(), columns.close_ns.tolist()
        return list(map(Bar, repeat(part.symbol), repeat(part.timeframe), *numbers, *times, sources))
    fields = [_values(batch, name, form, len(batch)) for name, form in COLUMNS[kind].items()]
    if "received_time" not in batch.schema.names:
        fields[1] = fields[0]
    times_ns, received_ns, *numbers = fields
    # Both kinds have two or four numbers, then the two times, then what may be None.
    count = 2 if kind == "ticks" else 4
    events = map(_KINDS[kind], repeat(part.symbol), *numbers[:count], times_ns, received_ns, *numbers[count:])
    return cast("list[MarketEvent]", list(events))


def bars_of_rows(part: Part, batch: "pyarrow.RecordBatch") -> BarColumns:
    """Rows of bars as columns; a close that was not written is that of the timeframe, at most the next open."""
    open_ns = _times(batch, "time")
    assert part.timeframe is not None
    if "close_time" in batch.schema.names:
        close_ns = _times(batch, "close_time")
    else:
        close_ns = open_ns + timeframe_ns(part.timeframe)
        np.minimum(close_ns[:-1], open_ns[1:], out=close_ns[:-1])
    numbers = {name: _floats(batch, name) for name in ("open", "high", "low", "close", "volume")}
    return BarColumns(part.symbol, part.timeframe, **numbers, open_ns=open_ns, close_ns=close_ns)


def _floats(batch: "pyarrow.RecordBatch", name: str) -> Any:
    if name not in batch.schema.names:
        return np.full(len(batch), np.nan)
    return batch.column(name).cast("float64").to_numpy(zero_copy_only=False)


def _values(batch: "pyarrow.RecordBatch", name: str, form: str, count: int) -> Any:
    if form == "float64":
        return _floats(batch, name).tolist()
    if name not in batch.schema.names:
        return [None] * count
    if form == "time":
        return _times(batch, name).tolist()
    column = batch.column(name)
    if form == "int64" and not column.null_count:
        return column.cast("int64").to_numpy().tolist()
    return column.to_pylist()
