"""Bars of the past, kept on disk: only what is missing is asked of a provider again.

One Parquet file holds what is known of one source, symbol and timeframe: the finished bars, and the
spans of time they were asked for, so that nights and holidays without bars are not asked for twice.
A file that cannot be read is replaced, never an error.
"""

import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import DataError, FeedError
from qfkit.feeds.bar_source import BarSource
from qfkit.frames import check_columns
from qfkit.tables import BarColumns

if TYPE_CHECKING:
    import pyarrow

__all__ = ["HistoryCache", "KeptBars", "bars_of", "columns_where", "fetch_bars", "history_folder", "join_columns"]

_logger = logging.getLogger("qfkit.history")

_FORMAT = 1
_MARK = b"qfkit"
_DAY_NS = 86_400 * 1_000_000_000
# Providers correct their newest bars for a while: these are asked for again.
_UNSETTLED_BARS = 2
_UNSETTLED_NS = 300 * 1_000_000_000
# So many of the newest kept bars are compared with what the provider says of them now.
_COMPARED = 3
_ROUNDING = 1e-5
_NUMBERS = ("open", "high", "low", "close", "volume")
_TIMES = ("open_ns", "close_ns")

Spans = list[tuple[int, int]]
Progress = Callable[[int], None]


def history_folder() -> Path:
    """Where the files lie: ``history`` in ``QFKIT_HOME``, or in the user's cache folder. It may be deleted at any time."""
    home = os.environ.get("QFKIT_HOME")
    if home:
        return Path(home).expanduser() / "history"
    import platformdirs

    return Path(platformdirs.user_cache_path("qfkit")) / "history"


# -- columns ---------------------------------------------------------------------------------


def columns_where(columns: BarColumns, chosen: NDArray[Any] | slice) -> BarColumns:
    """Some of the bars: those of a mask or slice."""
    parts = {name: getattr(columns, name)[chosen] for name in (*_NUMBERS, *_TIMES)}
    return BarColumns(columns.symbol, columns.timeframe, **parts)


def join_columns(symbol: str, timeframe: str, parts: Sequence[BarColumns]) -> BarColumns:
    """Bars from several places in the order of time; of two that open at once the later given counts."""
    types = {**dict.fromkeys(_NUMBERS, np.float64), **dict.fromkeys(_TIMES, np.int64)}
    joined: dict[str, Any] = {
        name: np.concatenate([np.empty(0, kind), *(getattr(part, name) for part in parts)])
        for name, kind in types.items()
    }
    # Backwards, because np.unique names the first of those that are equal.
    opens = joined["open_ns"][::-1]
    _, places = np.unique(opens, return_index=True)
    order = len(opens) - 1 - places
    columns = {name: values[order] for name, values in joined.items()}
    close_ns = columns["close_ns"]
    np.minimum(close_ns[:-1], columns["open_ns"][1:], out=close_ns[:-1])
    return BarColumns(symbol, timeframe, **columns)


def _without_impossible(columns: BarColumns) -> BarColumns:
    low, high, volume = columns.low, columns.high, columns.volume
    with np.errstate(invalid="ignore"):
        possible = (
            (low > 0.0)
            & (high < np.inf)
            & (low <= np.minimum(columns.open, columns.close))
            & (np.maximum(columns.open, columns.close) <= high)
            & ~(volume < 0.0)
            & ~np.isinf(volume)
            & (columns.close_ns > columns.open_ns)
            & (columns.open_ns >= 0)
        )
    if possible.all():
        return columns
    _logger.warning(
        "%s: %d of the provider's %d bars have impossible prices and are left out",
        columns.symbol,
        int((~possible).sum()),
        len(columns),
    )
    return columns_where(columns, possible)


async def fetch_bars(
    source: BarSource, symbol: str, timeframe: str, start_ns: int, end_ns: int, on_progress: Progress | None = None
) -> BarColumns:
    """The bars that open in [start_ns, end_ns) as the provider has them, the unfinished one too, in order.

    ``on_progress`` is called with the number of bars of each page. Bars with impossible prices are left out.
    """
    pages = []
    if start_ns < end_ns:
        async for page in source.bars(symbol, timeframe, start_ns, end_ns):
            pages.append(page)
            if on_progress is not None:
                on_progress(len(page))
    columns = _without_impossible(join_columns(symbol, timeframe, pages))
    return columns_where(columns, (columns.open_ns >= start_ns) & (columns.open_ns < end_ns))


# -- spans of time ---------------------------------------------------------------------------


def _missing(known: Spans, start_ns: int, end_ns: int) -> Spans:
    """What of [start, end) is in none of the spans."""
    missing = []
    for first, last in sorted(known):
        if last <= start_ns or first >= end_ns:
            continue
        if first > start_ns:
            missing.append((start_ns, first))
        start_ns = last
    if start_ns < end_ns:
        missing.append((start_ns, end_ns))
    return missing


def _merged(spans: Spans) -> Spans:
    merged: Spans = []
    for first, last in sorted(span for span in spans if span[0] < span[1]):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


# -- files -----------------------------------------------------------------------------------


class _Label(msgspec.Struct, frozen=True):
    """What a file says of itself."""

    format: int
    source: str
    symbol: str
    timeframe: str
    known: list[tuple[int, int]]
    checked_ns: int


class KeptBars(msgspec.Struct, frozen=True):
    """What a file holds: bars, the spans they were asked for, and when they were last compared with the provider's."""

    columns: BarColumns
    known: list[tuple[int, int]]
    checked_ns: int


class HistoryCache:
    """The files in a folder, by default :func:`history_folder`. Two processes may use one folder."""

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = history_folder() if folder is None else Path(folder)

    def path(self, source: BarSource, symbol: str, timeframe: str) -> Path:
        """The file of a series; the digest keeps apart what a file system would not (``^GSPC``, ``abc`` and ``ABC``)."""
        plain = re.sub(r"[^A-Za-z0-9]+", "-", symbol).strip("-")[:40]
        return self.folder / _place(source) / timeframe / f"{plain or 'symbol'}-{_digest(symbol)}.parquet"

    def read(self, source: BarSource, symbol: str, timeframe: str) -> KeptBars | None:
        """What is kept of a series; None where there is nothing, or nothing that can be read."""
        path = self.path(source, symbol, timeframe)
        try:
            import pyarrow
            from pyarrow import parquet

            # Without a memory map, which would hold the file against its replacement.
            table = parquet.read_table(path, memory_map=False, partitioning=None)
            label = msgspec.json.decode((table.schema.metadata or {}).get(_MARK, b""), type=_Label)
            if (label.format, label.source, label.symbol, label.timeframe) != (
                _FORMAT,
                _place(source),
                symbol,
                timeframe,
            ):
                raise DataError(f"it is of {label.symbol} {label.timeframe} from {label.source}")
            columns = _columns(table, symbol, timeframe)
        except FileNotFoundError:
            return None
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, msgspec.MsgspecError) as error:
            _logger.warning("the kept history %s cannot be used (%s): it is fetched anew", path, error)
            return None
        return KeptBars(columns, _merged(label.known), label.checked_ns)

    def write(self, source: BarSource, kept: KeptBars) -> None:
        """Replace the file of a series at one stroke; a folder that cannot be written to is a line in the log."""
        import pyarrow
        from pyarrow import parquet

        columns = kept.columns
        path = self.path(source, columns.symbol, columns.timeframe)
        label = _Label(_FORMAT, _place(source), columns.symbol, columns.timeframe, kept.known, kept.checked_ns)
        table = pyarrow.table({name: getattr(columns, name) for name in (*_TIMES, *_NUMBERS)})
        part = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Of one folder with the file, for only then it takes its place at one stroke.
            number, part = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
            with os.fdopen(number, "wb") as file:
                parquet.write_table(table.replace_schema_metadata({_MARK: msgspec.json.encode(label)}), file)
            os.replace(part, path)  # noqa: PTH105 - both are names, not paths
        except OSError as error:
            _logger.warning("the history cannot be kept in %s (%s)", path, error)
            with suppress(OSError):
                if part:
                    os.unlink(part)  # noqa: PTH108

    def drop(self, source: BarSource, symbol: str, timeframe: str) -> None:
        """Forget a series."""
        with suppress(OSError):
            self.path(source, symbol, timeframe).unlink(missing_ok=True)


def _place(source: BarSource) -> str:
    """The source by name and address: what another server says is another history. An address is never written out."""
    url = getattr(source, "url", None)
    plain = re.sub(r"[^a-z0-9]+", "-", source.name.lower()).strip("-") or "source"
    return f"{plain}-{_digest(f'{source.name} {url}' if isinstance(url, str) else source.name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _columns(table: "pyarrow.Table", symbol: str, timeframe: str) -> BarColumns:
    types = {**dict.fromkeys(_NUMBERS, np.float64), **dict.fromkeys(_TIMES, np.int64)}
    arrays: dict[str, Any] = {name: np.array(table.column(name).to_numpy(), dtype=kind) for name, kind in types.items()}
    columns = BarColumns(symbol, timeframe, **arrays)
    if len(columns):
        check_columns(columns)
    return columns


# -- asking ----------------------------------------------------------------------------------


async def bars_of(
    source: BarSource,
    symbol: str,
    timeframe: str,
    start_ns: int,
    end_ns: int,
    *,
    cache: HistoryCache | None,
    now_ns: int | None = None,
    on_progress: Progress | None = None,
) -> BarColumns:
    """The bars that open in [start_ns, end_ns), from the cache and, where it lacks them, from the source.

    Bars that are not finished at ``now_ns`` come too, but are not kept; neither are the two newest,
    which providers still correct. Where a provider restates the past (prices adjusted for a split
    since), the newest kept bars differ from what it says now: then all are fetched anew.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    if cache is None:
        return await fetch_bars(source, symbol, timeframe, start_ns, end_ns, on_progress)
    kept = cache.read(source, symbol, timeframe)
    if kept is not None:
        found = await _completed(source, kept, start_ns, end_ns, now_ns, on_progress)
        if found is not None:
            return _stored(cache, source, kept, found, start_ns, end_ns, now_ns)
        _logger.info("%s: the provider has changed its prices of the past, they are fetched anew", symbol)
        cache.drop(source, symbol, timeframe)
    fresh = await fetch_bars(source, symbol, timeframe, start_ns, end_ns, on_progress)
    return _stored(cache, source, None, [((start_ns, end_ns), fresh)], start_ns, end_ns, now_ns)


async def _completed(
    source: BarSource, kept: KeptBars, start_ns: int, end_ns: int, now_ns: int, on_progress: Progress | None
) -> list[tuple[tuple[int, int], BarColumns]] | None:
    """What had to be asked for beside what is kept, by span; None where the kept bars are not the provider's any more."""
    symbol, timeframe = kept.columns.symbol, kept.columns.timeframe
    missing = _missing(kept.known, start_ns, end_ns)
    compared = columns_where(kept.columns, slice(-_COMPARED, None))
    if not len(compared):
        return [(span, await fetch_bars(source, symbol, timeframe, *span, on_progress)) for span in missing]
    if not missing and now_ns - kept.checked_ns < _DAY_NS:
        return []
    last_ns = int(compared.open_ns[-1])
    known_until_ns = next((until for since, until in kept.known if since <= last_ns < until), last_ns + 1)
    check = (int(compared.open_ns[0]), last_ns + 1)
    # Where the newest kept bars end is mostly where the missing ones begin: one request has both.
    follows = next((span for span in missing if span[0] == known_until_ns), None)
    if follows is not None:
        check = (check[0], follows[1])
        missing.remove(follows)
    try:
        first = await fetch_bars(source, symbol, timeframe, *check, on_progress)
    except FeedError as error:
        if follows is not None or missing:
            raise
        _logger.warning("%s: the kept history could not be compared with the provider's (%s)", symbol, error)
        return []
    if not _agree(compared, first):
        return None
    others = [(span, await fetch_bars(source, symbol, timeframe, *span, on_progress)) for span in missing]
    return [(check, first), *others]


def _agree(kept: BarColumns, fetched: BarColumns) -> bool:
    """Whether bars of the same time have the same prices; a provider that no longer has them says nothing against them."""
    _, ours, theirs = np.intersect1d(kept.open_ns, fetched.open_ns, return_indices=True)
    return all(
        np.allclose(getattr(kept, name)[ours], getattr(fetched, name)[theirs], rtol=_ROUNDING, atol=0.0)
        for name in ("open", "high", "low", "close")
    )


def _stored(
    cache: HistoryCache,
    source: BarSource,
    kept: KeptBars | None,
    found: list[tuple[tuple[int, int], BarColumns]],
    start_ns: int,
    end_ns: int,
    now_ns: int,
) -> BarColumns:
    """All bars of the span asked for; what is settled of them goes into the file."""
    before = [] if kept is None else [kept.columns]
    some = found[0][1] if kept is None else kept.columns
    columns = join_columns(some.symbol, some.timeframe, [*before, *(part for _, part in found)])
    if found:
        settled_ns = now_ns - _UNSETTLED_BARS * timeframe_ns(some.timeframe) - _UNSETTLED_NS
        known = [] if kept is None else kept.known
        spans = [(since, min(until, settled_ns)) for (since, until), _ in found]
        settled = columns_where(columns, (columns.open_ns < settled_ns) & (columns.close_ns <= now_ns))
        cache.write(source, KeptBars(settled, _merged([*known, *spans]), now_ns))
    return columns_where(columns, (columns.open_ns >= start_ns) & (columns.open_ns < end_ns))
