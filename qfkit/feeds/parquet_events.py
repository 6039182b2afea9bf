"""Events as Parquet: one table for all kinds, with a column for each of their fields."""

import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import IO, TYPE_CHECKING, Any, get_args

import msgspec

from qfkit.core.events import Depth, Gap, Heartbeat, Hours, MarketEvent
from qfkit.errors import FrameError
from qfkit.feeds.captures import BATCH, OnBad, Portion, file_system_of, shown

if TYPE_CHECKING:
    import pyarrow

__all__ = ["are_events", "encode_part", "event_schema", "part_portions", "pieces_of"]

_KINDS: dict[str, type[Any]] = {str(kind.__struct_config__.tag): kind for kind in get_args(MarketEvent)}
_FIELDS: dict[type[Any], tuple[str, ...]] = {kind: kind.__struct_fields__ for kind in _KINDS.values()}
_LEVELS = tuple(_FIELDS[Depth].index(side) for side in ("bids", "asks"))
_logger = logging.getLogger("qfkit.feeds")

_ROWS = 4_096
# So many rows are made in half a millisecond: nobody else waits longer for the interpreter.
_SLICE = 256
_BREATH_S = 1e-4


def _column_types() -> dict[str, str]:
    """The type of each column: the fields of all kinds, which agree where they share a name."""
    types: dict[str, str] = {}
    for kind in _FIELDS:
        for field in msgspec.structs.fields(kind):
            kinds = get_args(field.type) if type(None) in get_args(field.type) else (field.type,)
            types[field.name] = "float64" if float in kinds else "int64" if int in kinds else "string"
    return types


_TYPES = _column_types()


@cache
def event_schema() -> "pyarrow.Schema":
    """The columns: ``time`` is that of the event, for whoever reads it with pandas."""
    import pyarrow

    fields = {"time": pyarrow.timestamp("ns", tz="UTC"), "kind": pyarrow.string()}
    return pyarrow.schema([*(fields | {name: pyarrow.type_for_alias(form) for name, form in _TYPES.items()}).items()])


# -- events to tables ------------------------------------------------------------------------


def _places(kind: type[Any]) -> list[int]:
    """Where in a row the fields of a kind stand."""
    names = list(_TYPES)
    return [names.index(name) for name in _FIELDS[kind]]


_ROW_OF = {kind: (name, _places(kind)) for name, kind in _KINDS.items()}


def _row(event: MarketEvent) -> list[Any]:
    name, places = _ROW_OF[type(event)]
    row: list[Any] = [None] * len(_TYPES)
    for place, value in zip(places, msgspec.structs.astuple(event), strict=True):
        row[place] = json.dumps(value) if type(value) is tuple else value
    return [event.time_ns, name, *row]


def pieces_of(
    events: Sequence[MarketEvent], on_unfit: Callable[[MarketEvent], None]
) -> "Iterator[pyarrow.RecordBatch]":
    """Events as pieces of a table, for a thread beside others: it takes no more than a moment at a time.

    An event that no table holds, such as one with a time beyond 64 bits, cannot be true; it is told
    to ``on_unfit`` and left out.
    """
    import pyarrow

    errors = (OverflowError, TypeError, ValueError, pyarrow.ArrowException)
    for first in range(0, len(events), _SLICE):
        some = events[first : first + _SLICE]
        try:
            yield _piece(some)
        except errors:
            for event in some:
                try:
                    yield _piece([event])
                except errors:
                    on_unfit(event)
        time.sleep(_BREATH_S)


def _piece(events: Sequence[MarketEvent]) -> "pyarrow.RecordBatch":
    import pyarrow

    schema = event_schema()
    columns = zip(*map(_row, events), strict=True)
    # Null is what the kind does not have or what is None; a NaN stays one.
    arrays = [
        pyarrow.array(values, field.type, from_pandas=False) for values, field in zip(columns, schema, strict=True)
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


def encode_part(pieces: "Sequence[pyarrow.RecordBatch]", provider: str) -> bytes:
    """Pieces of a table as one Parquet file."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_batches(pieces, event_schema()).combine_chunks()
    table = table.set_column(1, "kind", table.column("kind").dictionary_encode())
    table = table.replace_schema_metadata({"qfkit": "events", "provider": provider})
    sink = io.BytesIO()
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


# -- tables to events ------------------------------------------------------------------------


def are_events(file: IO[bytes]) -> bool:
    """Whether a Parquet file is a part of a recording; false for one that cannot be read at all."""
    import pyarrow
    from pyarrow import parquet

    try:
        return _is_part(parquet.read_schema(file))
    except (pyarrow.ArrowException, OSError):
        return False


def _is_part(schema: "pyarrow.Schema") -> bool:
    return (schema.metadata or {}).get(b"qfkit") == b"events"


def part_portions(path: str, parts: list[str], on_bad: OnBad | None) -> Iterator[Portion]:
    """The events of all parts, one part in memory at a time.

    What a damaged part holds is missing, and told. A part in the midst leaves a :class:`Gap` of each
    symbol. That the last one is cut off is how a recording ends whose process was killed.
    """
    file_system, root = file_system_of(path)
    seen: dict[str, None] = {}
    last_ns = 0
    damaged = ""
    for number, part in enumerate(parts, 1):
        read = _read_tail if part.endswith(".arrows") else _read_part
        try:
            for batch in read(file_system.cat_file(f"{root}/{part}"), part):
                if damaged and last_ns:
                    first = batch[0]
                    yield [_gap(symbol, last_ns, first, damaged) for symbol in seen], None
                damaged = ""
                seen.update(dict.fromkeys(event.symbol for event in batch if type(event) is not Heartbeat))  # type: ignore[union-attr]
                last_ns = batch[-1].time_ns
                for start in range(0, len(batch), BATCH):
                    yield batch[start : start + BATCH], number / len(parts)
        except (FrameError, OSError) as error:
            damaged = f"{part} of the recording cannot be read"
            is_tail = number == len(parts) and read is _read_tail
            if on_bad is not None:
                on_bad(0, f"{shown(path)}: {error}", "")
            elif is_tail:
                _logger.warning("%s: %s", shown(path), error)
            elif isinstance(error, FrameError):
                raise
            else:
                raise FrameError(f"{damaged} ({error}): the other parts can be read") from None


def _gap(symbol: str, last_ns: int, first: MarketEvent, reason: str) -> Gap:
    return Gap(symbol, last_ns, max(last_ns, first.time_ns), first.received_ns, None, reason)


def _read_part(data: bytes, name: str) -> Iterator[list[MarketEvent]]:
    """The events of a part in their order; :class:`FrameError` for a file that is none."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        if not _is_part(file.schema_arrow):
            raise FrameError(f"{name} is no part of a recording")
        yield from map(_events, file.iter_batches(_ROWS))
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        if isinstance(error, FrameError):
            raise
        raise FrameError(f"{name} is damaged ({error}): the other parts of the recording can be read") from None


def _read_tail(data: bytes, name: str) -> Iterator[list[MarketEvent]]:
    """The events that had not become a part yet, up to where they are cut off; :class:`FrameError` there."""
    import pyarrow

    batch: list[MarketEvent] = []
    torn: Exception | None = None
    try:
        with pyarrow.ipc.open_stream(data) as pieces:
            for piece in pieces:
                # A quiet second is a piece of its own.
                batch += _events(piece)
                if len(batch) >= _ROWS:
                    yield batch
                    batch = []
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        torn = error
    if batch:
        yield batch
    if torn is not None:
        raise FrameError(f"{name} is cut off ({torn}): the events before are whole")


def _events(table: "pyarrow.RecordBatch") -> list[MarketEvent]:
    kinds = table.column("kind").to_pylist()
    # A recording of before a field or kind of event was known has no column for it.
    names = set(table.schema.names)
    columns = {field: table.column(field).to_pylist() if field in names else [None] * len(kinds) for field in _TYPES}
    return [_event(_KINDS[kind], columns, row) for row, kind in enumerate(kinds)]


def _event(kind: type[Any], columns: dict[str, list[Any]], row: int) -> MarketEvent:
    values = [columns[name][row] for name in _FIELDS[kind]]
    if kind is Hours:
        place = _FIELDS[kind].index("sessions")
        values[place] = tuple((int(start), int(end)) for start, end in json.loads(values[place]))
    elif kind is Depth:
        for place in _LEVELS:
            values[place] = tuple((float(price), float(size)) for price, size in json.loads(values[place]))
    event: MarketEvent = kind(*values)
    return event
