"""The one writer of a session's journal: each batch of events in one transaction with all that came of it."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from qfkit.core.events import Event
from qfkit.core.records import Records
from qfkit.errors import JournalError, JournalWriteError
from qfkit.journal.lock import JournalLock
from qfkit.journal.reader import BUSY_S, JournalReader
from qfkit.journal.schema import (
    ALERTS,
    APPLICATION_ID,
    BAD_EVENTS,
    DELIVERIES,
    FORMAT,
    LOG,
    RECORD_TABLES,
    SCHEMA,
    TABLES,
    Alert,
    BadEvent,
    Delivery,
    LogEntry,
    Table,
    equity_rows,
    plain,
)

__all__ = ["JournalWriter"]

# A checkpoint waits for the disk: rather seldom and larger.
_CHECKPOINT_PAGES = 4_000
_WAL_BYTES = 64 * 1024 * 1024


class JournalWriter:
    """The one writer of a journal. Not thread-safe: one caller at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: JournalLock) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._encoder = msgspec.msgpack.Encoder(enc_hook=plain)
        # The columns of equity rows. A strategy may join while the journal is written.
        self._names: Sequence[str] = ()
        # A journal of an earlier format keeps its columns, so that it is of one format throughout.
        self._widths = {table.name: len(table.columns) for table in TABLES}
        self.next_seq = 0
        self.feed_events = 0

    @classmethod
    def create(cls, path: Path, meta: Mapping[str, Any], strategies: Sequence[str]) -> Self:
        """Make a new journal; :class:`JournalWriteError` where there is a file already."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("xb").close()
        except FileExistsError:
            raise JournalWriteError(
                f"{path} exists already: give another journal=, or continue that session with qf.resume({str(path)!r})"
            ) from None
        except OSError as error:
            raise JournalWriteError(f"{path} cannot be made: {error}; give another journal= folder") from error
        writer = cls._open(path)
        with writer._transaction() as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            for statement in SCHEMA:
                connection.execute(statement)
            writer._put_meta(meta)
        writer._names = strategies
        return writer

    @classmethod
    def reopen(cls, path: Path, strategies: Sequence[str]) -> Self:
        """Open a journal to write on where it ends."""
        writer = cls._open(path)
        try:
            with writer._transaction() as connection:
                # The journal may be older than some tables.
                for table in TABLES:
                    connection.execute(table.create.replace("TABLE", "TABLE IF NOT EXISTS", 1))
            with JournalReader(path) as reader:
                writer.next_seq, writer.feed_events = reader.event_count, reader.feed_events
                writer._widths = {table.name: reader.width(table) for table in TABLES}
        except JournalError:
            writer.abandon()
            raise
        writer._names = strategies
        return writer

    @classmethod
    def _open(cls, path: Path) -> Self:
        lock = JournalLock(path)
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            lock.release()
            raise JournalWriteError(f"{path} cannot be opened for writing: {error}") from error
        return cls(path, connection, lock)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; SQLite's errors become :class:`JournalWriteError`."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise self._write_error(error) from error

    def _write_error(self, error: sqlite3.Error) -> JournalWriteError:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return JournalWriteError(
                f"no room left to write {self.path}: free some space, then continue with qf.resume({str(self.path)!r})"
            )
        return JournalWriteError(f"{self.path} could not be written: {error}")

    def _put_meta(self, meta: Mapping[str, Any]) -> None:
        rows = [(key, json.dumps(value)) for key, value in meta.items()]
        self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def commit(
        self,
        events: Sequence[Event] = (),
        records: Records | None = None,
        *,
        feed_events: int = 0,
        bad_events: Sequence[BadEvent] = (),
        log: Sequence[LogEntry] = (),
        alerts: Sequence[Alert] = (),
        deliveries: Sequence[Delivery] = (),
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a batch in one transaction. ``feed_events`` counts what the feed gave, bad events too.

        Raises :class:`JournalWriteError` and then has written nothing. The caller clears the records.
        """
        with self._transaction() as connection:
            if events or feed_events:
                first_ns, last_ns = (events[0].received_ns, events[-1].received_ns) if events else (None, None)
                blob = self._encoder.encode(events)
                connection.execute(
                    "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
                    (self.next_seq, len(events), feed_events, first_ns, last_ns, blob),
                )
            if records is not None:
                for table in RECORD_TABLES:
                    self._insert(table, getattr(records, table.name))
                if records.equity:
                    rows = equity_rows(records.equity, self._names)
                    connection.executemany("INSERT INTO equity VALUES (?, ?, ?)", rows)
            self._insert(BAD_EVENTS, bad_events)
            self._insert(LOG, log)
            self._insert(ALERTS, alerts)
            self._insert(DELIVERIES, deliveries)
            if meta:
                self._put_meta(meta)
        self.next_seq += len(events)
        self.feed_events += feed_events

    def _insert(self, table: Table[Any], records: Sequence[Any]) -> None:
        if records:
            width = self._widths[table.name]
            self._connection.executemany(table.insert(width), [table.row(record)[:width] for record in records])

    def close(self) -> None:
        """Close it as one file without side files, unless someone is reading just now."""
        try:
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError:
            # A reader keeps it in WAL mode, or the disk is full: what was committed is safe either way.
            pass
        self.abandon()

    def abandon(self) -> None:
        """Close it as it is."""
        self._connection.close()
        self._lock.release()
