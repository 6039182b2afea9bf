"""Reads a session's journal, also while it is written."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import nan
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from qfkit.core.assessment import RiskAssessment
from qfkit.core.events import Bar, Event
from qfkit.core.limit_stops import RiskStop
from qfkit.core.margin import Financing, MarginCall
from qfkit.core.orders import Fill, Order, Signal, Trade, Transfer
from qfkit.core.records import Fault
from qfkit.errors import JournalError, JournalFormatError
from qfkit.journal.schema import (
    ACCOUNT,
    ALERTS,
    APPLICATION_ID,
    ASSESSMENTS,
    BAD_EVENTS,
    BARS,
    DELIVERIES,
    FAULTS,
    FILLS,
    FINANCING,
    FORMAT,
    LOG,
    MARGIN_CALLS,
    ORDERS,
    SIGNALS,
    STOPS,
    TRADES,
    TRANSFERS,
    Alert,
    BadEvent,
    Delivery,
    LogEntry,
    Table,
)

__all__ = ["BUSY_S", "JournalReader", "read_events"]

BUSY_S = 10.0

Record = TypeVar("Record", bound=msgspec.Struct)

_EVENTS = msgspec.msgpack.Decoder(list[Event])


class JournalReader:
    """Reads a journal, also while it is written; a context manager.

    Raises :class:`JournalFormatError` for a file that is no journal, is damaged, or was written by
    a newer qfkit.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise JournalFormatError(f"there is no journal at {self.path}; qf.sessions() lists those there are")
        with self._explaining():
            self._connection = self._connect()
            try:
                self._check_format()
            except (sqlite3.Error, JournalError):
                self._connection.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        uri = self.path.absolute().as_uri() + "?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            # In a folder that cannot be written a WAL file can be read as it lies there.
            connection.close()
            connection = sqlite3.connect(uri + "&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _check_format(self) -> None:
        application_id = self._connection.execute("PRAGMA application_id").fetchone()[0]
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        has_meta = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone()
        if application_id != APPLICATION_ID:
            if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                raise JournalFormatError(
                    f"{self.path} is empty: the session ended before it wrote anything; the file can be deleted"
                )
            raise JournalFormatError(
                f"{self.path} is an SQLite file but not a qfkit journal; qf.sessions() lists the journals there are"
            )
        if version > FORMAT:
            raise JournalFormatError(
                f"{self.path} has journal format {version}, this qfkit reads up to {FORMAT}: "
                "install the newer qfkit that wrote it"
            )
        if has_meta is None:
            raise JournalFormatError(f"{self.path} has no table 'meta': it is damaged" + self._remedy())

    def _remedy(self) -> str:
        return (
            f". What is left of it can be read with: sqlite3 '{self.path}' .recover | sqlite3 recovered.sqlite; "
            "a session can only be resumed from a whole journal"
        )

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise JournalFormatError(
                    f"{self.path} is not a qfkit journal (no SQLite file at all); qf.sessions() lists those there are"
                ) from error
            raise JournalFormatError(f"{self.path} is damaged or cut off ({error})" + self._remedy()) from error
        except (msgspec.DecodeError, json.JSONDecodeError) as error:
            raise JournalFormatError(f"{self.path} holds something unreadable ({error})" + self._remedy()) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within it, all reads see the journal as it stood at the first of them."""
        with self._explaining():
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, in small portions; SQLite's errors explained."""
        with self._explaining():
            cursor = self._connection.execute(sql, parameters)
            while rows := cursor.fetchmany(1_000):
                yield from rows

    def _one(self, sql: str) -> tuple[Any, ...] | None:
        return next(self.query(sql), None)

    @property
    def meta(self) -> dict[str, Any]:
        """What the session was made of: name, strategies, cash, costs, feed, state and so on."""
        with self._explaining():
            return {key: json.loads(value) for key, value in self.query("SELECT key, value FROM meta")}

    @property
    def event_count(self) -> int:
        """The number of events; the ``seq`` of the next one."""
        row = self._one("SELECT first_seq + count FROM batches ORDER BY rowid DESC LIMIT 1")
        return 0 if row is None else int(row[0])

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """When the first and the last event were received; None before there are any."""
        row = self._one("SELECT min(first_ns), max(last_ns) FROM batches")
        return None if row is None or row[0] is None else (int(row[0]), int(row[1]))

    @property
    def feed_events(self) -> int:
        """The number of events the feed gave, bad ones too."""
        row = self._one("SELECT coalesce(sum(feed_events), 0) FROM batches")
        return 0 if row is None else int(row[0])

    def events(self, from_seq: int = 0) -> Iterator[list[Event]]:
        """All events from a ``seq`` on (counted from 0), in the batches they came in."""
        expected = None
        sql = (
            "SELECT first_seq, count, events FROM batches WHERE first_seq + count > ? AND count > 0 ORDER BY first_seq"
        )
        for first_seq, count, blob in self.query(sql, (from_seq,)):
            with self._explaining():
                events = _EVENTS.decode(blob)
            if len(events) != count or (expected is not None and first_seq != expected):
                raise JournalFormatError(f"{self.path} lacks events from {expected or first_seq} on" + self._remedy())
            expected = first_seq + count
            yield events[max(0, from_seq - first_seq) :]

    def width(self, table: Table[Any]) -> int:
        """How many of a table's columns this journal has: one of an earlier format lacks the last."""
        return len(list(self.query(f"PRAGMA table_info({table.name})")))

    def rows(self, table: Table[Any]) -> Iterator[tuple[Any, ...]]:
        """All rows of a table, in the order in which they were made; none where an earlier format has no such table."""
        width = self.width(table)
        return self.query(table.select(width)) if width else iter(())

    def count(self, table: Table[Any], condition: str = "1") -> int:
        """How many rows of a table meet a condition, which is SQL of our own."""
        row = self._one(f"SELECT count(*) FROM {table.name} WHERE {condition}")  # noqa: S608 - names of our own
        return 0 if row is None else int(row[0])

    def records(self, table: Table[Record]) -> list[Record]:
        """All records of a table, in the order in which they were made."""
        with self._explaining():
            return [table.record(row) for row in self.rows(table)]

    def orders(self) -> list[Order]:
        """Every order, as it stands."""
        return self.records(ORDERS)

    def fills(self) -> list[Fill]:
        return self.records(FILLS)

    def signals(self) -> list[Signal]:
        return self.records(SIGNALS)

    def trades(self) -> list[Trade]:
        return self.records(TRADES)

    def bars(self) -> list[Bar]:
        return self.records(BARS)

    def faults(self) -> list[Fault]:
        return self.records(FAULTS)

    def assessments(self) -> list[RiskAssessment]:
        return self.records(ASSESSMENTS)

    def transfers(self) -> list[Transfer]:
        return self.records(TRANSFERS)

    def stops(self) -> list[RiskStop]:
        return self.records(STOPS)

    def margin_calls(self) -> list[MarginCall]:
        return self.records(MARGIN_CALLS)

    def financing(self) -> list[Financing]:
        return self.records(FINANCING)

    def log(self) -> list[LogEntry]:
        return self.records(LOG)

    def bad_events(self) -> list[BadEvent]:
        return self.records(BAD_EVENTS)

    def alerts(self) -> list[Alert]:
        return self.records(ALERTS)

    def deliveries(self) -> list[Delivery]:
        return self.records(DELIVERIES)

    def equity(self) -> list[tuple[float, ...]]:
        """The equity points as in ``Records.equity``: time_ns, account, then each strategy if several."""
        points: list[list[float]] = []
        for time_ns, strategy, equity in self.query("SELECT time_ns, strategy, equity FROM equity ORDER BY rowid"):
            if strategy == ACCOUNT:
                points.append([time_ns])
            points[-1].append(nan if equity is None else equity)
        return [tuple(point) for point in points]


def read_events(path: Path | str, from_seq: int = 0) -> Iterator[list[Event]]:
    """Stream the input events of a journal from a ``seq`` on, in batches."""
    with JournalReader(path) as reader:
        yield from reader.events(from_seq)
