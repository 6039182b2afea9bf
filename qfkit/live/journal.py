"""The journal: a session's input events and all that came of them, in one SQLite file.

Each batch of events is committed in one transaction with the orders, fills and equity the
engine made of it, before any of it is shown. The file is in WAL mode, so others read it while
it is written (``pandas.read_sql``, DuckDB, ``qfkit status``). ``synchronous=NORMAL``: nothing
committed is lost when the process is killed; a power cut may lose the last moments, but leaves
a whole journal. Nothing in it is ever executed: events are msgpack, the rest is columns and JSON.

Tables: ``batches`` (the events), ``orders`` (as they stand), ``fills``, ``signals``, ``trades``,
``bars``, ``faults`` (fields of the records of those names; NaN is NULL), ``equity`` (``strategy``
is '' for the account), ``bad_events``, ``log`` and ``meta`` (JSON values).
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import nan
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from qfkit.core.events import Bar, Event
from qfkit.core.orders import Fill, Order, Signal, Trade
from qfkit.core.records import Fault, Records
from qfkit.errors import JournalError, JournalFormatError, JournalWriteError
from qfkit.live.lock import JournalLock
from qfkit.live.schema import (
    ACCOUNT,
    APPLICATION_ID,
    BAD_EVENTS,
    BARS,
    FAULTS,
    FILLS,
    FORMAT,
    LOG,
    ORDERS,
    RECORD_TABLES,
    SCHEMA,
    SIGNALS,
    TRADES,
    BadEvent,
    LogEntry,
    Table,
    equity_rows,
    plain,
)

__all__ = ["JournalReader", "JournalWriter", "read_events"]

_BUSY_S = 10.0
# A checkpoint waits for the disk: rather seldom and larger.
_CHECKPOINT_PAGES = 4_000
_WAL_BYTES = 64 * 1024 * 1024

Record = TypeVar("Record", bound=msgspec.Struct)

_EVENTS = msgspec.msgpack.Decoder(list[Event])


# -- writing -----------------------------------------------------------------------------------


class JournalWriter:
    """The one writer of a journal. Not thread-safe: one caller at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: JournalLock) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._encoder = msgspec.msgpack.Encoder(enc_hook=plain)
        self._names: tuple[str, ...] = ()
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
        writer._names = tuple(strategies)
        return writer

    @classmethod
    def reopen(cls, path: Path, strategies: Sequence[str]) -> Self:
        """Open a journal to write on where it ends."""
        writer = cls._open(path)
        try:
            with JournalReader(path) as reader:
                writer.next_seq, writer.feed_events = reader.event_count, reader.feed_events
        except JournalError:
            writer.abandon()
            raise
        writer._names = tuple(strategies)
        return writer

    @classmethod
    def _open(cls, path: Path) -> Self:
        lock = JournalLock(path)
        try:
            connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        except sqlite3.Error as error:
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
                    made = getattr(records, table.name)
                    if made:
                        connection.executemany(table.insert, map(table.row, made))
                if records.equity:
                    rows = equity_rows(records.equity, self._names)
                    connection.executemany("INSERT INTO equity VALUES (?, ?, ?)", rows)
            if bad_events:
                connection.executemany(BAD_EVENTS.insert, map(BAD_EVENTS.row, bad_events))
            if log:
                connection.executemany(LOG.insert, map(LOG.row, log))
            if meta:
                self._put_meta(meta)
        self.next_seq += len(events)
        self.feed_events += feed_events

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


# -- reading -----------------------------------------------------------------------------------


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
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            # In a folder that cannot be written a WAL file can be read as it lies there.
            connection.close()
            connection = sqlite3.connect(uri + "&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
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

    def records(self, table: Table[Record]) -> list[Record]:
        """All records of a table, in the order in which they were made."""
        with self._explaining():
            return [table.record(row) for row in self.query(table.select)]

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

    def log(self) -> list[LogEntry]:
        return self.records(LOG)

    def bad_events(self) -> list[BadEvent]:
        return self.records(BAD_EVENTS)

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
