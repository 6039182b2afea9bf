"""The layout of a catalogue: which file holds what, on a disk or in an object store.

``<catalogue>/bars/timeframe=1m/symbol=BTCUSDT/day=2024-08-08/part-0.parquet``, and ``ticks`` and
``quotes`` the same without a timeframe: Hive's layout, which pandas, polars and DuckDB read as it is.
A day is a UTC day: that of a bar's open, and of a trade's or quote's receipt. Bars of an hour and
more lie by the year, ``year=2024``, for a file of 24 rows costs more to open than to read.
"""

import io
import os
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import quote, unquote, urlsplit

import msgspec

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import ParameterError, SymbolError
from qfkit.feeds.addresses import reaching
from qfkit.feeds.captures import file_system_of, shown

__all__ = ["DAY_NS", "Part", "RowKind", "Store", "part_name", "period_ns", "series_name", "unquoted"]

RowKind: TypeAlias = Literal["bars", "ticks", "quotes"]

DAY_NS = 86_400 * 1_000_000_000
_HOUR_NS = 3_600 * 1_000_000_000
# A request takes as long as some hundred kB do; the footer of a day of one symbol has 2 to 4 kB.
_WHOLE_BYTES = 32_768
_TAIL_BYTES = 8_192
_PART = re.compile(
    r"(bars/timeframe=(?P<timeframe>[^/]+)|ticks|quotes)/symbol=(?P<symbol>[^/]+)/"
    r"(?P<key>day|year)=(?P<value>[^/]+)/(?P<name>[^/_.][^/]*\.parquet)"
)


class Part(msgspec.Struct, frozen=True):
    """A file of a catalogue: rows of one symbol that lie in [start, end), UTC ns; ``path`` is the file system's own."""

    kind: RowKind
    timeframe: str | None
    symbol: str
    start_ns: int
    end_ns: int
    path: str
    size: int


def _quoted(symbol: str) -> str:
    """A symbol as a folder's name on any system: ``BRK/B`` is ``BRK%2FB``. Hive's readers decode it."""
    if not symbol:
        raise SymbolError("a symbol is empty: name it, as in symbol='BTCUSDT'")
    text = quote(symbol, safe="")
    # Windows drops a dot at the end of a name.
    return f"{text[:-1]}%2E" if text.endswith(".") else text


def unquoted(name: str) -> str:
    """The symbol that a folder's name stands for."""
    return unquote(name)


def series_name(kind: RowKind, symbol: str | None = None, timeframe: str | None = None) -> str:
    """The folder of a series in its catalogue, or that of all symbols."""
    steps = [
        kind,
        *([f"timeframe={timeframe}"] if timeframe else []),
        *([f"symbol={_quoted(symbol)}"] if symbol else []),
    ]
    return "/".join(steps)


def period_ns(timeframe: str | None, time_ns: int) -> tuple[int, int]:
    """The day, or the year, that a part with this time is of."""
    if timeframe is None or timeframe_ns(timeframe) < _HOUR_NS:
        start_ns = time_ns // DAY_NS * DAY_NS
        return start_ns, start_ns + DAY_NS
    year = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).year
    return _date_ns(date(year, 1, 1)), _date_ns(date(year + 1, 1, 1))


def part_name(timeframe: str | None, start_ns: int) -> str:
    """Where in its series a part lies that begins with this day or year."""
    first = datetime.fromtimestamp(start_ns // 1_000_000_000, UTC).date()
    is_day = timeframe is None or timeframe_ns(timeframe) < _HOUR_NS
    return f"{f'day={first.isoformat()}' if is_day else f'year={first.year:04d}'}/part-0.parquet"


def _date_ns(day: date) -> int:
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * DAY_NS


def _part(relative: str, path: str, size: int) -> Part | None:
    match = _PART.fullmatch(relative)
    if match is None:
        return None
    try:
        if match["key"] == "day":
            start_ns = _date_ns(date.fromisoformat(match["value"]))
            end_ns = start_ns + DAY_NS
        else:
            year = int(match["value"])
            start_ns, end_ns = _date_ns(date(year, 1, 1)), _date_ns(date(year + 1, 1, 1))
    except ValueError:
        return None
    kind = cast("RowKind", relative.partition("/")[0])
    return Part(kind, match["timeframe"], unquoted(match["symbol"]), start_ns, end_ns, path, size)


class Store:
    """The folder or address of a catalogue, and what is asked of it; what goes wrong there is a named error.

    Where credentials are needed they come from the environment or fsspec's own configuration, never from the address.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        given = os.fspath(address)
        self.is_local = "://" not in given
        if not self.is_local and "@" in urlsplit(given).netloc and not given.startswith("abfs"):
            raise ParameterError(
                f"{shown(given)} has credentials in it, which would stand in every result and log: leave them out and "
                "set them in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        self.address = str(Path(given).expanduser().absolute()) if self.is_local else given.rstrip("/")

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        with self.reaching():
            return file_system_of(self.address)

    @property
    def root(self) -> str:
        return self._opened[1]

    def find(self, *steps: str) -> dict[str, int]:
        """The files below a folder of the catalogue: their paths, in order, and sizes in bytes; one listing."""
        file_system, root = self._opened
        with self.reaching():
            # Another process may have added to it.
            file_system.invalidate_cache()
            try:
                found = file_system.find("/".join((root, *steps)), detail=True)
            except FileNotFoundError:
                if self.is_local or file_system.exists(root.partition("/")[0]):
                    return {}
                raise
            if not found and not self.is_local and not file_system.exists(root.partition("/")[0]):
                raise FileNotFoundError
        return {path: int(about["size"] or 0) for path, about in sorted(found.items())}

    def parts(
        self, kind: RowKind | None = None, timeframe: str | None = None, symbols: Iterable[str] | None = None
    ) -> list[Part]:
        """The parts of these series, by symbol and time."""
        places: list[tuple[str, ...]] = [()] if kind is None else [(series_name(kind, None, timeframe),)]
        if kind is not None and symbols is not None and (kind != "bars" or timeframe):
            places = [(series_name(kind, symbol, timeframe),) for symbol in symbols]
        wanted = None if symbols is None else frozenset(symbols)
        found = []
        for steps in places:
            for path, size in self.find(*steps).items():
                part = self.part_of(path, size)
                if part is not None and (wanted is None or part.symbol in wanted):
                    found.append(part)
        return sorted(found, key=lambda part: (part.kind, part.timeframe or "", part.symbol, part.start_ns, part.path))

    def part_of(self, path: str, size: int) -> Part | None:
        """A file as a part; None for any other file."""
        return _part(path.removeprefix(self.root).lstrip("/"), path, size)

    def open(self, path: str, size: int) -> "RangedFile | io.BufferedReader":
        """A file of which only what is read is fetched."""
        file_system, _ = self._opened
        with self.reaching():
            return Path(path).open("rb") if self.is_local else RangedFile(self, file_system, path, size)

    def put(self, name: str, data: bytes) -> None:
        """Write a file: it is there as a whole or not at all, also for whoever reads it meanwhile."""
        file_system, root = self._opened
        with self.reaching():
            if not self.is_local:
                file_system.pipe_file(f"{root}/{name}", data)
                return
            target = Path(root) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f"_{target.name}.{os.getpid()}.unfinished")
            unfinished.write_bytes(data)
            unfinished.replace(target)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self.reaching():
            self._opened[0].rm_file(path)

    def reaching(self) -> AbstractContextManager[None]:
        """What goes wrong there within it is a named error."""
        return reaching(self.address)


class RangedFile(io.RawIOBase):
    """A file in an object store, for pyarrow: each read fetches its range, but for what came with the end of the file.

    A small file comes as a whole with its end, and :meth:`fetch` brings what will be read.
    """

    def __init__(self, store: Store, file_system: Any, path: str, size: int) -> None:
        super().__init__()
        self._store, self._file_system, self._path, self._size = store, file_system, path, size
        self._position = 0
        self._tail = b""
        self._kept: list[tuple[int, bytes]] = []

    def fetch(self, start: int, end: int) -> None:
        """Keep a range for the reads to come."""
        if not self._tail or start < self._size - len(self._tail):
            self._kept.append((start, self._get(start, end)))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        start = self._position
        end = self._size if size is None or size < 0 else min(self._size, start + size)
        if start >= end:
            return b""
        tail_start = self._size - len(self._tail)
        if self._tail and start >= tail_start:
            data = self._tail[start - tail_start : end - tail_start]
        else:
            if end == self._size and not self._tail:
                self._tail = self._get(min(start, self._size - _TAIL_BYTES if self._size > _WHOLE_BYTES else 0), end)
                return self.read(size)
            kept = next((one for one in self._kept if one[0] <= start and end <= one[0] + len(one[1])), None)
            data = self._get(start, end) if kept is None else kept[1][start - kept[0] : end - kept[0]]
        self._position = start + len(data)
        return data

    def _get(self, start: int, end: int) -> bytes:
        with self._store.reaching():
            return bytes(self._file_system.cat_file(self._path, start=max(0, start), end=end))
