"""The catalogue: market data of many days in a folder or an object store, listed, added to, and chosen from."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from typing import TYPE_CHECKING, Any

import msgspec

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import FrameError, ParameterError, SymbolError, TimeframeError, did_you_mean
from qfkit.feeds.captures import name_of
from qfkit.feeds.deposits import Deposit, Depositor, bars_with_others
from qfkit.feeds.moments import Moment
from qfkit.feeds.partitions import Part, Store
from qfkit.feeds.recorder import is_recorded_name
from qfkit.feeds.recordings import Recording, open_recording
from qfkit.feeds.selection import Selection, span_ns
from qfkit.feeds.stored_rows import footer
from qfkit.frames import is_frame, is_tick_frame
from qfkit.run_progress import RunProgress
from qfkit.tables import BarColumns

if TYPE_CHECKING:
    import pandas

__all__ = ["Catalogue"]

_READERS = 8
_logger = logging.getLogger("qfkit.feeds")


class _Facts(msgspec.Struct, frozen=True):
    """What the footer of a file says: its rows, the first and last of its times, the symbols between which it has any."""

    rows: int
    first_ns: int | None
    last_ns: int | None
    symbols: tuple[str, ...] = ()


# By path, size and place; a part is replaced, never changed.
_known: dict[tuple[str, str, int], _Facts] = {}


class Catalogue:
    """Market data by kind, symbol and UTC day in a folder or at an address. Made by :func:`qf.recordings <qfkit.recordings>`.

    In a notebook it is a table of what there is. The files are plain Parquet in Hive's layout, which
    pandas, polars and DuckDB read too, such as
    ``SELECT * FROM read_parquet('<address>/ticks/**/*.parquet', hive_partitioning=true)``.
    """

    def __init__(self, address: str | PathLike[str]) -> None:
        self._store = Store(address)

    @property
    def address(self) -> str:
        """Where it lies."""
        return self._store.address

    def __repr__(self) -> str:
        parts = self._store.parts()
        series = {(part.kind, part.timeframe, part.symbol) for part in parts}
        return f"Catalogue({self.address}: {len(series)} series, {sum(part.size for part in parts):,} bytes)"

    def _repr_html_(self) -> str:
        from html import escape

        frame = self.to_frame()
        head = f"<p>{escape(self.address)}</p>"
        if not len(frame):
            return f"{head}<p>nothing yet: <code>catalogue.add(data, symbol=…)</code> adds to it</p>"
        shown = frame.assign(
            first=_times_text(frame["first"]),
            last=_times_text(frame["last"]),
            timeframe=frame["timeframe"].fillna(""),
            rows=frame["rows"].map("{:,}".format),
            bytes=frame["bytes"].map("{:,}".format),
        )
        table: str = shown.to_html(index=False)
        return head + table

    def to_frame(self) -> "pandas.DataFrame":
        """What there is, a row a series: read from the names of the files and their footers, no data.

        Recordings by ``feed.record`` that lie in its folder have a row each, their symbols as the first and the last
        in alphabetical order. A file that cannot be read counts no rows, and is in the log. ``first`` and ``last``
        are times in UTC: of a bar its open, else the exchange's.
        """
        import pandas

        rows: list[tuple[Any, ...]] = []
        files = self._store.find()
        parts = [part for path, size in files.items() if (part := self._store.part_of(path, size)) is not None]
        recorded: dict[str, dict[str, int]] = {}
        for path, size in files.items():
            folder, _, name = path.rpartition("/")
            if is_recorded_name(name):
                recorded.setdefault(folder, {})[path] = size
        told = [(part.path, part.size) for part in parts]
        told += [one for own in recorded.values() for one in own.items() if one[0].endswith(".parquet")]
        facts = self._facts(told)
        by_series: dict[tuple[str, int, str], list[Part]] = {}
        for part in parts:
            length = timeframe_ns(part.timeframe) if part.timeframe else 0
            by_series.setdefault((part.kind, length, part.symbol), []).append(part)
        for _, own in sorted(by_series.items()):
            known = [facts[part.path] for part in own]
            size = sum(part.size for part in own)
            rows.append(
                (own[0].kind, own[0].symbol, own[0].timeframe, *_span(known), len(own), _count(known), size, "")
            )
        for folder, files_of in sorted(recorded.items()):
            known = [facts[path] for path in files_of if path in facts]
            names = sorted({name for one in known for name in one.symbols})
            symbol = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}" if names else ""
            where = folder.removeprefix(self._store.root).strip("/")
            first, last = _span(known)
            size = sum(files_of.values())
            rows.append(("recording", symbol, None, first, last, len(known), _count(known), size, where))
        names = ["kind", "symbol", "timeframe", "first", "last", "parts", "rows", "bytes", "recording"]
        frame = pandas.DataFrame(rows, columns=names)
        times = {"first": "datetime64[ns, UTC]", "last": "datetime64[ns, UTC]"}
        texts = dict.fromkeys(("kind", "symbol", "timeframe", "recording"), "string")
        return frame.astype(texts | times | dict.fromkeys(("parts", "rows", "bytes"), "int64"))

    # -- choosing ----------------------------------------------------------------------------

    def bars(
        self,
        symbols: str | Iterable[str] | None = None,
        *,
        timeframe: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> Selection:
        """Bars that open from ``start`` until before ``end``, as data for ``qf.backtest`` and the others.

        ``symbols`` None are all. ``timeframe`` may be left out where there is one. Times need a zone; a date
        alone is its midnight in UTC, so ``end="2024-08-10"`` is the end of the 9th. Nothing is read yet.
        """
        if timeframe is not None:
            timeframe_ns(timeframe)
        parts = self._store.parts("bars", timeframe)
        if not parts and timeframe is not None:
            parts = self._store.parts("bars")
        wanted = _wanted(symbols)
        own = parts if wanted is None else [part for part in parts if part.symbol in wanted]
        found = sorted({part.timeframe for part in own if part.timeframe}, key=timeframe_ns)
        if timeframe is not None and found and timeframe not in found:
            raise TimeframeError(
                f"{self.address} has no bars of {timeframe!r}: it has {', '.join(found)}; qf.backtest(timeframe={timeframe!r}) "
                "builds higher ones itself"
            )
        if timeframe is None and len(found) > 1:
            raise TimeframeError(f"there are bars of {', '.join(found)}: say which, as in timeframe={found[0]!r}")
        names = self._names(parts, wanted, "bars")
        start_ns, end_ns = span_ns(start, end)
        return _checked(
            Selection(
                address=self.address,
                kind="bars",
                symbols=names,
                timeframe=timeframe or found[0],
                start_ns=start_ns,
                end_ns=end_ns,
            )
        )

    def ticks(
        self,
        symbols: str | Iterable[str] | None = None,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        quotes: bool = False,
    ) -> Selection:
        """Trades received from ``start`` until before ``end``, with the best bids and asks where ``quotes`` says so.

        For the arguments see :meth:`bars`.
        """
        wanted = _wanted(symbols)
        names = self._names(self._store.parts("ticks"), wanted, "ticks")
        start_ns, end_ns = span_ns(start, end)
        return _checked(
            Selection(
                address=self.address, kind="ticks", symbols=names, start_ns=start_ns, end_ns=end_ns, with_quotes=quotes
            )
        )

    def recording(self, name: str) -> Recording:
        """A recording that lies in the catalogue's folder, by the name that the table has in the column ``recording``."""
        found = {path.rpartition("/")[0] for path in self._store.find() if is_recorded_name(name_of(path))}
        known = {folder.removeprefix(self._store.root).strip("/") for folder in found}
        if name not in known:
            raise FrameError(f"{self.address} has no recording {name!r}.{did_you_mean(name, known)}")
        return open_recording(f"{self.address}/{name}" if name else self.address)

    def _names(self, parts: list[Part], wanted: tuple[str, ...] | None, what: str) -> tuple[str, ...]:
        known = dict.fromkeys(part.symbol for part in parts)
        if not known:
            raise FrameError(f"{self.address} holds no {what} yet: catalogue.add(data, symbol=…) adds some")
        for name in wanted or ():
            if name not in known:
                raise SymbolError(f"{self.address} has no {what} of {name!r}.{did_you_mean(name, known)}")
        return wanted or tuple(known)

    # -- adding ------------------------------------------------------------------------------

    def add(
        self,
        data: Any,
        *,
        symbol: str | None = None,
        symbols: str | Iterable[str] | None = None,
        timeframe: str | None = None,
        progress: bool | None = None,
    ) -> Deposit:
        """Add bars, trades and quotes: a DataFrame or a dict of them, a capture, a journal, a recording, a list of events.

        ``symbol`` names that of a frame, or a plain Parquet file, without one; ``symbols`` takes only these of the
        data's. Other columns of a frame of bars are kept and never read in a run.

        What was added before is not doubled: rows that are the same (bars by their open, trades by their id, else by
        time, price, size and side) are replaced by those of now, and a day that is there gets what it lacks. Each day
        is written whole or not at all; only one process at a time may add to a symbol. Order books, gaps, market hours
        and splits have no table: they are counted in ``left_out``.
        """
        wanted = _wanted(symbol if symbols is None else symbols)
        if symbol is not None and symbols is not None:
            raise ParameterError(f"symbol={symbol!r} and symbols={symbols!r} both choose: give one")
        named = data
        if is_frame(data) and not _names_its_symbol(data):
            if symbol is None:
                raise ParameterError("the frame does not say what it is of: add symbol=, as in symbol='BTCUSDT'")
            named = {symbol: data}
        with RunProgress(f"to {name_of(self.address)}", None, shown=progress, unit="rows") as bar:
            depositor = Depositor(self._store, bar.update)
            if _holds_bars(named):
                found = list(bars_with_others(named, timeframe))
                known = [columns.symbol for columns, _ in found]
                for name in wanted or ():
                    if name not in known:
                        raise SymbolError(f"the data have no {name!r}.{did_you_mean(name, known)}")
                for columns, others in found:
                    if wanted is None or columns.symbol in wanted:
                        depositor.take_bars(columns, others)
            else:
                depositor.take_events(_opened(named, wanted, timeframe).batches())
            return depositor.end()

    # -- footers -----------------------------------------------------------------------------

    def _facts(self, files: list[tuple[str, int]]) -> dict[str, _Facts]:
        missing = [one for one in files if (self.address, *one) not in _known]
        with RunProgress("reading what there is", len(missing), shown=None, unit="files") as bar:
            if self._store.is_local:
                found: Iterator[_Facts] = map(self._read_facts, missing)
                for number, (one, fact) in enumerate(zip(missing, found, strict=True), 1):
                    _known[self.address, *one] = fact
                    bar.update(number)
            elif missing:
                # Each waits for the network, not for the processor.
                with ThreadPoolExecutor(_READERS) as pool:
                    for number, (one, fact) in enumerate(
                        zip(missing, pool.map(self._read_facts, missing), strict=True), 1
                    ):
                        _known[self.address, *one] = fact
                        bar.update(number)
        return {path: _known[self.address, path, size] for path, size in files}

    def _read_facts(self, file: tuple[str, int]) -> _Facts:
        try:
            with self._store.open(*file) as opened:
                about = footer(opened, *file)
        except FrameError as error:
            # One damaged file must not hide the others; a run on it raises.
            _logger.warning("%s", error)
            return _Facts(0, None, None)
        firsts: list[int] = []
        lasts: list[int] = []
        symbols: set[str] = set()
        for group in range(about.num_row_groups):
            row_group = about.row_group(group)
            for number in range(row_group.num_columns):
                column = row_group.column(number)
                statistics = column.statistics
                if statistics is None or not statistics.has_min_max:
                    continue
                if column.path_in_schema == "time":
                    firsts.append(_nanoseconds(statistics.min))
                    lasts.append(_nanoseconds(statistics.max))
                elif column.path_in_schema == "symbol":
                    symbols.update((str(statistics.min), str(statistics.max)))
        return _Facts(about.num_rows, min(firsts, default=None), max(lasts, default=None), tuple(sorted(symbols)))


def _opened(data: Any, wanted: tuple[str, ...] | None, timeframe: str | None) -> Recording:
    if isinstance(data, Recording):
        if wanted is not None:
            raise ParameterError("symbols= are chosen by what opens a recording, not for an open one")
        return data
    return open_recording(data, symbols=wanted, timeframe=timeframe)


def _names_its_symbol(frame: Any) -> bool:
    return (
        "symbol" in frame.attrs
        or frame.columns.nlevels > 1
        or "symbol" in {str(name).strip().lower() for name in frame.columns}
    )


def _holds_bars(data: Any) -> bool:
    if isinstance(data, Mapping):
        return not any(is_frame(one) and is_tick_frame(one) for one in data.values())
    return isinstance(data, BarColumns) or (is_frame(data) and (data.columns.nlevels > 1 or not is_tick_frame(data)))


def _wanted(symbols: str | Iterable[str] | None) -> tuple[str, ...] | None:
    if symbols is None:
        return None
    names = (
        (symbols,) if isinstance(symbols, str) or not isinstance(symbols, Iterable) else tuple(dict.fromkeys(symbols))
    )
    if not names or not all(isinstance(name, str) and name for name in names):
        raise SymbolError(f"symbols={symbols!r}: name at least one, or leave it out for all there are")
    return names


def _checked(selection: Selection) -> Selection:
    """A selection of which each symbol has a part in the span."""
    selection.parts()
    return selection


def _nanoseconds(moment: Any) -> int:
    import pandas

    return int(pandas.Timestamp(moment).as_unit("ns").value)


def _span(facts: list[_Facts]) -> "tuple[pandas.Timestamp | None, pandas.Timestamp | None]":
    import pandas

    firsts = [fact.first_ns for fact in facts if fact.first_ns is not None]
    lasts = [fact.last_ns for fact in facts if fact.last_ns is not None]
    if not firsts:
        return None, None
    return pandas.Timestamp(min(firsts), tz="UTC"), pandas.Timestamp(max(lasts), tz="UTC")


def _count(facts: list[_Facts]) -> int:
    return sum(fact.rows for fact in facts)


def _times_text(times: "pandas.Series[Any]") -> "pandas.Series[str]":
    import pandas

    texts: pandas.Series[str] = times.dt.strftime("%Y-%m-%d %H:%M:%S UTC").fillna("")
    return texts
