"""The tables of a journal: how each kind of record is kept as rows.

A column bears the name of the record's field; NaN is NULL, and what is no number or text is
JSON. Whoever changes a record changes the format: raise ``FORMAT`` then. New fields go to the end of
a record and have a default: a journal keeps the columns that it was made with, and what it lacks is NULL,
which is read as the default.

Format 2 has the numbers of a sizing; format 3 the excursions of a trade, the rate of a fill, whether it
crossed inside the account, strategies that join, assessments, transfers, stops, margin calls and financing;
format 4 what strategies print, in the log.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import partial
from math import nan
from typing import Any, Generic, TypeVar, get_args

import msgspec

from qfkit.core.assessment import RiskAssessment
from qfkit.core.events import Bar, Event
from qfkit.core.limit_stops import RiskStop
from qfkit.core.margin import Financing, MarginCall
from qfkit.core.orders import Fill, Order, Signal, Trade, Transfer
from qfkit.core.records import Fault
from qfkit.errors import BadEventError

__all__ = [
    "ACCOUNT",
    "ALERTS",
    "APPLICATION_ID",
    "ASSESSMENTS",
    "BAD_EVENTS",
    "BARS",
    "DELIVERIES",
    "FAULTS",
    "FILLS",
    "FINANCING",
    "FORMAT",
    "LOG",
    "MARGIN_CALLS",
    "ORDERS",
    "RECORD_TABLES",
    "SCHEMA",
    "SIGNALS",
    "STOPS",
    "TABLES",
    "TRADES",
    "TRANSFERS",
    "Alert",
    "BadEvent",
    "Delivery",
    "LogEntry",
    "Table",
    "as_kept",
    "equity_rows",
    "plain",
]

ACCOUNT = ""
"""The ``strategy`` of the account's own rows in the table ``equity``."""

APPLICATION_ID = 0x71666B74
FORMAT = 4

Record = TypeVar("Record", bound=msgspec.Struct)


class LogEntry(msgspec.Struct, frozen=True, array_like=True):
    """A message of the session itself, or a line that a strategy printed.

    ``level`` is "info", "warning", "error", "alert" or "printed"; ``strategy`` whose it is, where that is known.
    """

    time_ns: int
    level: str
    text: str
    strategy: str | None = None


class BadEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event that could not be true and was kept from the engine."""

    time_ns: int
    error: str
    event: str


class Alert(msgspec.Struct, frozen=True, array_like=True):
    """Something a rule of the session had to say.

    ``kind`` is the rule's class, ``value`` what was seen and ``level`` what it was held against (NaN where
    there is no number). ``held_back`` counts what the rule kept to itself since its alert before.
    """

    alert_id: int
    time_ns: int
    rule: str
    kind: str
    text: str
    symbol: str | None = None
    strategy: str | None = None
    value: float = nan
    level: float = nan
    held_back: int = 0


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """One attempt to bring an alert to a sink, or why there was none.

    ``outcome``: sent, retried (this attempt failed, another follows), failed or dropped. ``time_ns`` is by the wall clock.
    """

    alert_id: int
    sink: str
    time_ns: int
    outcome: str
    attempt: int
    reason: str = ""


class Table(Generic[Record]):
    """How records of one kind are kept as rows: one column a field, JSON for what is no scalar."""

    def __init__(self, name: str, kind: type[Record], key: str = "") -> None:
        self.name = name
        self.kind = kind
        fields = msgspec.structs.fields(kind)
        self.columns = tuple(field.name for field in fields)
        self._tag = [kind.__struct_config__.tag] if kind.__struct_config__.tag else []
        self._repairs: list[tuple[int, Callable[[Any], Any]]] = []
        declared = []
        for index, field in enumerate(fields):
            sql, repair = _column(field.type)
            declared.append(f"{field.name} {sql}" + (" PRIMARY KEY" if field.name == key else ""))
            if isinstance(field.default, float):
                repair = partial(_number, unknown=field.default)
            if repair is not None:
                self._repairs.append((index, repair))
        self.create = f"CREATE TABLE {name} ({', '.join(declared)})"
        self._verb = "INSERT OR REPLACE" if key else "INSERT"

    def insert(self, width: int) -> str:
        """How a row is written into a table of its first ``width`` columns."""
        return f"{self._verb} INTO {self.name} VALUES ({', '.join('?' * width)})"

    def select(self, width: int) -> str:
        """How rows are read of a table that has the first ``width`` columns."""
        columns = (*self.columns[:width], *(f"NULL AS {name}" for name in self.columns[width:]))
        return f"SELECT {', '.join(columns)} FROM {self.name} ORDER BY rowid"  # noqa: S608 - names of our own

    def row(self, record: Record) -> tuple[Any, ...]:
        """The record as SQLite stores it."""
        values = msgspec.structs.astuple(record)
        return tuple([value if type(value) in _SCALARS else _scalar(value) for value in values])

    def record(self, row: Sequence[Any]) -> Record:
        """The record of a row."""
        values = list(row)
        for index, repair in self._repairs:
            values[index] = repair(values[index])
        return msgspec.convert(self._tag + values, self.kind)


_SCALARS = frozenset({int, float, str, bool, type(None)})


def _scalar(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple | dict):
        return json.dumps(msgspec.to_builtins(value, enc_hook=plain))
    return plain(value)


def plain(value: Any) -> Any:
    """A number of numpy's as Python's; anything else as text, so that no odd value stops a session."""
    item = getattr(value, "item", None)
    return str(value) if item is None else item()


_ENCODER = msgspec.msgpack.Encoder(enc_hook=plain)
_DECODER: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


def as_kept(event: Any) -> Any:
    """An event as a journal gives it back, so that a replay has the same: numbers of numpy's are Python's.

    Raises :class:`BadEventError` where a field holds what is not of its type.
    """
    try:
        return _DECODER.decode(_ENCODER.encode(event))
    except (msgspec.MsgspecError, TypeError, OverflowError, UnicodeError) as error:
        raise BadEventError(f"{event!r:.200} cannot be kept in a journal: {error}") from None


def _column(kind: Any) -> tuple[str, Callable[[Any], Any] | None]:
    """The SQL type of a field, and how its value is repaired on reading."""
    kinds = get_args(kind) if type(None) in get_args(kind) else (kind,)
    if float in kinds:
        return "REAL", None if len(kinds) > 1 else _number
    if bool in kinds:
        return "INTEGER", bool
    if int in kinds:
        return "INTEGER", None
    if any(isinstance(one, type) and issubclass(one, str) for one in kinds):
        return "TEXT", None
    return "TEXT", _from_json


def _number(value: float | None, unknown: float = nan) -> float:
    return unknown if value is None else value


def _from_json(text: str | None) -> Any:
    # A column that an earlier format lacks is one of a dictionary.
    value = {} if text is None else json.loads(text)
    if isinstance(value, dict):
        return {name: _number(each) for name, each in value.items()}
    return value


ORDERS = Table("orders", Order, key="order_id")
FILLS = Table("fills", Fill)
SIGNALS = Table("signals", Signal)
TRADES = Table("trades", Trade)
BARS = Table("bars", Bar)
FAULTS = Table("faults", Fault)
ASSESSMENTS = Table("assessments", RiskAssessment)
TRANSFERS = Table("transfers", Transfer)
STOPS = Table("stops", RiskStop)
MARGIN_CALLS = Table("margin_calls", MarginCall)
FINANCING = Table("financing", Financing)
LOG = Table("log", LogEntry)
BAD_EVENTS = Table("bad_events", BadEvent)
ALERTS = Table("alerts", Alert, key="alert_id")
DELIVERIES = Table("deliveries", Delivery)
RECORD_TABLES: tuple[Table[Any], ...] = (
    ORDERS,
    FILLS,
    SIGNALS,
    TRADES,
    BARS,
    FAULTS,
    ASSESSMENTS,
    TRANSFERS,
    STOPS,
    MARGIN_CALLS,
    FINANCING,
)

TABLES: tuple[Table[Any], ...] = (*RECORD_TABLES, BAD_EVENTS, LOG, ALERTS, DELIVERIES)

SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)",
    (
        "CREATE TABLE batches (first_seq INTEGER, count INTEGER, feed_events INTEGER, "
        "first_ns INTEGER, last_ns INTEGER, events BLOB)"
    ),
    "CREATE INDEX batches_by_seq ON batches (first_seq)",
    *(table.create for table in TABLES),
    "CREATE TABLE equity (time_ns INTEGER, strategy TEXT, equity REAL)",
)


def equity_rows(points: Iterable[Sequence[float]], names: Sequence[str]) -> list[tuple[float, str, float]]:
    """The rows of the table ``equity`` for the engine's equity points."""
    rows = []
    for time_ns, account, *each in points:
        rows.append((time_ns, ACCOUNT, account))
        rows.extend((time_ns, name, value) for name, value in zip(names, each, strict=False))
    return rows
