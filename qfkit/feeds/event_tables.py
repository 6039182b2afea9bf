"""Events as Parquet: one table for all kinds, with a column for each of their fields."""

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import msgspec

from qfkit.core.events import Hours, MarketEvent
from qfkit.errors import FrameError

__all__ = ["EVENTS_NAME", "FRAMES_NAME", "PART_DIGITS", "encode_part", "filesystem_of", "parts_of", "read_part"]

EVENTS_NAME = "events"
FRAMES_NAME = "frames.gz"
PART_DIGITS = 5

_KINDS: dict[str, type[Any]] = {str(kind.__struct_config__.tag): kind for kind in get_args(MarketEvent)}
_NAMES: dict[type[Any], str] = {kind: name for name, kind in _KINDS.items()}
_FIELDS: dict[type[Any], tuple[str, ...]] = {kind: kind.__struct_fields__ for kind in _NAMES}
_ROWS = 4_096


def _column_types() -> dict[str, str]:
    """The type of each column: the fields of all kinds, which agree where they share a name."""
    types: dict[str, str] = {}
    for kind in _NAMES:
        for field in msgspec.structs.fields(kind):
            kinds = get_args(field.type) if type(None) in get_args(field.type) else (field.type,)
            types[field.name] = "float64" if float in kinds else "int64" if int in kinds else "string"
    return types


_TYPES = _column_types()


def encode_part(events: Sequence[MarketEvent], provider: str) -> bytes:
    """A Parquet file of events. ``time`` is that of the event, for whoever reads it with pandas."""
    import pyarrow
    from pyarrow import parquet

    count = len(events)
    columns: dict[str, list[Any]] = {name: [None] * count for name in _TYPES}
    kinds: list[str] = []
    times: list[int] = []
    for row, event in enumerate(events):
        kind = type(event)
        kinds.append(_NAMES[kind])
        times.append(event.time_ns)
        for name, value in zip(_FIELDS[kind], msgspec.structs.astuple(event), strict=True):
            columns[name][row] = json.dumps(value) if name == "sessions" else value
    arrays = {
        "time": pyarrow.array(times, pyarrow.timestamp("ns", tz="UTC")),
        "kind": pyarrow.array(kinds, pyarrow.string()).dictionary_encode(),
    }
    for name, values in columns.items():
        # Null is what the kind does not have or what is None; a NaN stays one.
        arrays[name] = pyarrow.array(values, pyarrow.type_for_alias(_TYPES[name]), from_pandas=False)
    table = pyarrow.table(arrays).replace_schema_metadata({"qfkit": "events", "provider": provider})
    sink = io.BytesIO()
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def read_part(data: bytes, name: str) -> Iterator[list[MarketEvent]]:
    """The events of a part in their order; :class:`FrameError` for a file that is none."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        if (file.schema_arrow.metadata or {}).get(b"qfkit") != b"events":
            raise FrameError(f"{name} is no part of a recording")
        for table in file.iter_batches(_ROWS):
            kinds = table.column("kind").to_pylist()
            columns = {field: table.column(field).to_pylist() for field in _TYPES}
            yield [_event(_KINDS[kind], columns, row) for row, kind in enumerate(kinds)]
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        if isinstance(error, FrameError):
            raise
        raise FrameError(f"{name} is damaged ({error}): the other parts of the recording can be read") from None


def _event(kind: type[Any], columns: dict[str, list[Any]], row: int) -> MarketEvent:
    values = [columns[name][row] for name in _FIELDS[kind]]
    if kind is Hours:
        place = _FIELDS[kind].index("sessions")
        values[place] = tuple((int(start), int(end)) for start, end in json.loads(values[place]))
    event: MarketEvent = kind(*values)
    return event


def filesystem_of(path: str) -> tuple[Any, str]:
    """Where a path lies: a file system with fsspec's methods, and the path on it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise FrameError(f'{path}: recordings need pip install "fsspec>=2024.6"') from None
    try:
        filesystem, root = url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise FrameError(f"{path} cannot be opened: {error}") from error
    return filesystem, str(root).rstrip("/")


def parts_of(filesystem: Any, root: str) -> list[str]:
    """The parts of a recording in their order; none where it is no recording."""
    if not filesystem.isdir(root):
        return []
    return sorted(str(one) for one in filesystem.glob(f"{root}/{EVENTS_NAME}-{'[0-9]' * PART_DIGITS}.parquet"))
