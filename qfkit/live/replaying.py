"""Replays a journal into a fresh engine and compares all that comes out with what was recorded."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from qfkit.core.engine import Engine
from qfkit.core.events import Event
from qfkit.journal.reader import JournalReader
from qfkit.journal.schema import FAULTS, ORDERS, RECORD_TABLES, SIGNALS, Table, equity_rows
from qfkit.live.printed import silent

__all__ = ["Verdict", "replay"]

# Orders are compared at the end, as they stand; of the rest the wish comes before what became of it.
_STREAMS: tuple[Table[Any], ...] = (SIGNALS, *(one for one in RECORD_TABLES if one not in (ORDERS, SIGNALS)))
_EQUITY_COLUMNS = ("time_ns", "strategy", "equity")
# A traceback names files and lines and an error's text may name addresses: neither is the engine's.
_FAULT_COLUMNS = 2

Row = Sequence[Any]


class Verdict(msgspec.Struct, frozen=True):
    """What a replay found; true when everything equals what was recorded.

    ``difference_seq`` is the number of the first event (from 0) after which something differs.
    """

    equal: bool
    text: str
    events: int
    orders: int = 0
    fills: int = 0
    trades: int = 0
    equity_points: int = 0
    difference_seq: int | None = None

    def __bool__(self) -> bool:
        return self.equal

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


def replay(
    reader: JournalReader, make_engine: Callable[[], Engine], on_progress: Callable[[int, int], None] | None = None
) -> tuple[Verdict, Engine]:
    """Process all events of a journal with a fresh engine, and compare its records with the journal's.

    A running session's journal is read as it stood at the start. What strategies print goes nowhere. When the verdict is true, the
    engine stands where the session stood, its records cleared.
    """
    with reader.frozen():
        engine = _made(make_engine)
        verdict = _pass(reader, engine, on_progress, one_by_one=False)
        if not verdict:
            # A second time in single events, to name the one after which they part.
            engine = _made(make_engine)
            verdict = _pass(reader, engine, on_progress, one_by_one=True)
    return verdict, engine


def _made(make_engine: Callable[[], Engine]) -> Engine:
    with silent():
        return make_engine()


def _pass(
    reader: JournalReader, engine: Engine, on_progress: Callable[[int, int], None] | None, *, one_by_one: bool
) -> Verdict:
    total, failed_seqs = reader.event_count, reader.meta.get("failed_seqs", [])
    comparison = _Comparison(reader, engine)
    batch: list[Event] = []
    try:
        for batch in _portions(reader, one_by_one):
            try:
                with silent():
                    engine.process_all(batch)
            except (Exception, SystemExit) as error:
                # A session ends at the event that raised: it is the last of its batch.
                if engine.events - 1 not in failed_seqs:
                    raise _Difference(f"the replay raised {type(error).__name__}: {error}") from error
            comparison.take(engine.events - 1)
            if on_progress is not None:
                on_progress(engine.events, total)
        batch = []
        comparison.end()
    except _Difference as difference:
        seq = engine.events - 1 if difference.seq is None else difference.seq
        where = f"event {seq:,}, {batch[0]}" if batch else f"event {seq:,}"
        return Verdict(False, f"not equal from {where}: {difference}", events=seq + 1, difference_seq=seq)
    return comparison.verdict(engine.events)


def _portions(reader: JournalReader, one_by_one: bool) -> Iterator[list[Event]]:
    for batch in reader.events():
        if one_by_one:
            yield from ([event] for event in batch)
        else:
            yield batch


class _Difference(Exception):
    """The first record that is not the same; the text says what."""

    def __init__(self, text: str, seq: int | None = None) -> None:
        super().__init__(text)
        self.seq = seq


class _Stream:
    """The recorded rows of one table, compared with the replayed ones as they come."""

    def __init__(self, name: str, columns: Sequence[str], rows: Iterator[Row], compared: int) -> None:
        self.name = name
        self.count = 0
        self._columns = columns
        self._rows = rows
        self._compared = compared

    def compare(self, replayed: Row) -> None:
        recorded = next(self._rows, None)
        if recorded is None:
            raise _Difference(_one_sided("replayed but not recorded", self.name, self._columns, replayed))
        if not _same(recorded[: self._compared], replayed[: self._compared]):
            raise _Difference(_both(self.name, self._columns, recorded, replayed))
        self.count += 1

    def end(self) -> None:
        recorded = next(self._rows, None)
        if recorded is not None:
            raise _Difference(_one_sided("recorded but not replayed", self.name, self._columns, recorded))


class _Comparison:
    """Takes the engine's records after each event and holds them against the journal's tables."""

    def __init__(self, reader: JournalReader, engine: Engine) -> None:
        self._reader = reader
        self._records = records = engine.records
        # It grows where a strategy joins on the way.
        self._names = engine.equity_names
        self._streams = [(getattr(records, table.name), table.row, _stream(reader, table)) for table in _STREAMS]
        rows = reader.query("SELECT time_ns, strategy, equity FROM equity ORDER BY rowid")
        self._equity = _Stream("equity", _EQUITY_COLUMNS, rows, len(_EQUITY_COLUMNS))
        # The table holds an order as it stands, so orders can be compared at the end only.
        self._orders: dict[int, tuple[int, Row]] = {}
        self._orders_count = 0
        self._points = 0

    def take(self, seq: int) -> None:
        for made, row, stream in self._streams:
            if made:
                for record in made:
                    stream.compare(row(record))
                made.clear()
        records = self._records
        if records.equity:
            self._points += len(records.equity)
            for point in equity_rows(records.equity, self._names):
                self._equity.compare(point)
            records.equity.clear()
        if records.orders:
            for order in records.orders:
                self._orders[order.order_id] = (seq, ORDERS.row(order))
            records.orders.clear()

    def end(self) -> None:
        for _, _, stream in self._streams:
            stream.end()
        self._equity.end()
        self._orders_count = len(self._orders)
        width = self._reader.width(ORDERS)
        for recorded in self._reader.query(ORDERS.select(width)):
            seq, replayed = self._orders.pop(recorded[0], (None, None))
            if replayed is None:
                raise _Difference(_one_sided("recorded but not replayed", "orders", ORDERS.columns, recorded))
            if not _same(recorded[:width], replayed[:width]):
                raise _Difference(_both("orders", ORDERS.columns, recorded, replayed), seq)
        for seq, replayed in self._orders.values():
            raise _Difference(_one_sided("replayed but not recorded", "orders", ORDERS.columns, replayed), seq)

    def verdict(self, events: int) -> Verdict:
        counts = {stream.name: stream.count for _, _, stream in self._streams}
        orders, fills, points = self._orders_count, counts["fills"], self._points
        text = (
            f"equal: {_count(events, 'event')}, {_count(orders, 'order')}, {_count(fills, 'fill')}, "
            f"{_count(points, 'equity point')} replayed, all equal to the last bit"
        )
        return Verdict(True, text, events, orders, fills, counts["trades"], points)


def _stream(reader: JournalReader, table: Table[Any]) -> _Stream:
    # What a journal of an earlier format lacks cannot be compared.
    compared = _FAULT_COLUMNS if table is FAULTS else reader.width(table)
    return _Stream(table.name, table.columns, reader.rows(table), compared)


def _same(recorded: Row, replayed: Row) -> bool:
    """Equal in every column; a NaN is NULL in the journal. (SQLite does not keep the sign of a zero.)"""
    if recorded == replayed:
        return True
    return len(recorded) == len(replayed) and all(
        one == other or (one is None and other != other) for one, other in zip(recorded, replayed, strict=True)
    )


def _both(name: str, columns: Sequence[str], recorded: Row, replayed: Row) -> str:
    """What differs, then both records whole."""
    changed = [
        f"{column} {one!r} recorded, {other!r} replayed"
        for column, one, other in zip(columns, recorded, replayed, strict=True)
        if not _same((one,), (other,))
    ]
    return (
        f"{_singular(name)}: {'; '.join(changed)}\n  recorded: {_record(columns, recorded)}\n"
        f"  replayed: {_record(columns, replayed)}"
    )


def _one_sided(what: str, name: str, columns: Sequence[str], row: Row) -> str:
    return f"{_singular(name)} {what}: {_record(columns, row)}"


def _record(columns: Sequence[str], row: Row) -> str:
    return ", ".join(f"{column}={value!r}" for column, value in zip(columns, row, strict=True))


def _singular(name: str) -> str:
    return "an equity point" if name == "equity" else f"{'an' if name[0] in 'aeiou' else 'a'} {name[:-1]}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
