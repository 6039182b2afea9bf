"""Recording a feed while it runs: its raw frames with the times of their receipt, and its events."""

import atexit
import gzip
import io
import logging
import re
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from qfkit.core.events import MarketEvent
from qfkit.errors import FeedError
from qfkit.feeds.addresses import reaching
from qfkit.feeds.captures import file_system_of, name_of, shown
from qfkit.feeds.parquet_events import encode_part, event_schema, pieces_of

if TYPE_CHECKING:
    import pyarrow

__all__ = ["FRAMES_NAME", "Recorder", "is_recorded_name", "part_of", "recorded_names"]

Frame: TypeAlias = tuple[int, bytes | str]

_logger = logging.getLogger("qfkit.feeds")

FRAMES_NAME = "_frames.gz"
"""Whatever reads a folder of Parquet passes over names with such a beginning."""
_NAME = re.compile(r"_frames(-\d{5})?\.gz|events-\d{5}\.parquet|_events-\d{5}\.arrows")

_FLUSH_S = 1.0
_PART_S = 30.0
_PART_EVENTS = 50_000
_LINES = 512
_EVENT_BYTES = 200
_WAKE_BYTES = 1 << 20
_MOST_WAITING_BYTES = 64 << 20
_LONGEST_WAIT_S = 30.0


def recorded_names(file_system: Any, root: str) -> list[str]:
    """The names of a recording's files, sorted; none for a folder, or anything else, that holds no recording."""
    if not file_system.isdir(root):
        return []
    names = map(name_of, file_system.ls(root, detail=False))
    return sorted(filter(is_recorded_name, names))


def is_recorded_name(name: str) -> bool:
    """Whether a file's name is one that a recording has."""
    return _NAME.fullmatch(name) is not None


def part_of(name: str) -> str:
    """The name of the part that a file of events is, or was to become."""
    return name.removeprefix("_").replace(".arrows", ".parquet")


class Recorder:
    """Writes a folder that ``ReplayFeed(path)`` plays and ``pandas.read_parquet(path)`` reads.

    - ``events-00001.parquet`` and so on: every event, a part each half a minute or 50,000 events;
    - ``_events-00002.arrows``: the events that are no part yet;
    - ``_frames.gz``: the raw frames of a socket feed, ``<receive time in ns> <frame>`` a line.

    The last two are whole up to the last second even if the process is killed. ``path`` is a new or
    empty folder, or an address that fsspec knows such as "s3://bucket/name"; an address gets both
    kinds in parts, and loses half a minute with the process.

    A thread writes, so that a slow disk does not hold up the feed. What cannot be written, on a full
    disk say, ends the recording: it is in the log, in ``error``, and told once to ``on_end``; the
    feed goes on.
    """

    def __init__(self, path: str, provider: str, on_end: Callable[[str], None] | None = None) -> None:
        self.path = str(path)
        self.provider = provider
        self.error: Exception | None = None
        """Why the recording ended early; None where it did not."""
        self._folder = _Folder(self.path, provider)
        self._on_end = on_end
        self._changed = threading.Condition()
        self._frames: list[Frame] = []
        self._events: list[MarketEvent] = []
        self._waiting_bytes = 0
        self._is_closing = self._is_closed = False
        self._thread: threading.Thread | None = None

    @property
    def unfit(self) -> int:
        """How many events were left out because no table holds them; they cannot be true."""
        return self._folder.unfit

    def frame(self, received_ns: int, payload: bytes | str) -> None:
        """A raw frame off the wire. A line break within it, which JSON does not need, becomes a space."""
        self._put(len(payload), (received_ns, payload), ())

    def events(self, batch: Sequence[MarketEvent]) -> None:
        """A batch of events as they are given."""
        # A feed that is run again goes on with its recording; frames alone may be the last ones of a run.
        self._is_closed = False
        self._put(len(batch) * _EVENT_BYTES, None, batch)

    def _put(self, size: int, frame: Frame | None, batch: Sequence[MarketEvent]) -> None:
        if self._is_over():
            return
        if self._thread is None and not self._is_closed:
            self._start()
        with self._changed:
            if self._waiting_bytes >= _MOST_WAITING_BYTES and not self._changed.wait_for(
                lambda: self.error is not None or self._waiting_bytes < _MOST_WAITING_BYTES, _LONGEST_WAIT_S
            ):
                self.error = TimeoutError(f"nothing could be written for {_LONGEST_WAIT_S:g} s")
                _logger.error("the recording to %s has ended: %s; the feed goes on", shown(self.path), self.error)
            if frame is not None:
                self._frames.append(frame)
            self._events.extend(batch)
            before, self._waiting_bytes = self._waiting_bytes, self._waiting_bytes + size
            if before < _WAKE_BYTES <= self._waiting_bytes:
                self._changed.notify_all()

    def _is_over(self) -> bool:
        """Whether the recording has ended early; the first time it is seen it is told."""
        if self.error is None:
            return False
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(f"the recording to {shown(self.path)} has ended: {_safe(self.error, self.path)}")
        self._frames, self._events = [], []
        return True

    def close(self) -> None:
        """Write what waits and close the files."""
        thread, self._thread = self._thread, None
        self._is_closed = True
        if thread is not None:
            with self._changed:
                self._is_closing = True
                self._changed.notify_all()
            thread.join(_LONGEST_WAIT_S)
            if thread.is_alive() and self.error is None:
                self.error = TimeoutError(f"the end was not written within {_LONGEST_WAIT_S:g} s")
                _logger.error("the recording to %s is not whole: %s", shown(self.path), self.error)
            atexit.unregister(self.close)
        self._is_over()

    # -- the thread ----------------------------------------------------------------------------

    def _start(self) -> None:
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=f"recorder of {self.provider}", daemon=True)
        self._thread.start()
        # A script that ends without closing its feed loses nothing.
        atexit.register(self.close)

    def _run(self) -> None:
        folder = self._folder
        try:
            is_closing = False
            while not is_closing:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._is_closing or self._waiting_bytes >= _WAKE_BYTES, timeout=_FLUSH_S
                    )
                    is_closing = self._is_closing
                    frames, self._frames = self._frames, []
                    events, self._events = self._events, []
                    self._waiting_bytes = 0
                    self._changed.notify_all()
                folder.write(frames, events)
            folder.finish()
        except Exception as error:  # noqa: BLE001 - whatever a file system raises ends the recording, never the feed
            with self._changed:
                self.error = error
                self._changed.notify_all()
            _logger.error(  # noqa: TRY400 - the text says it all
                "the recording to %s has ended: %s; the feed goes on unrecorded",
                shown(self.path),
                _safe(error, self.path),
            )
            folder.abandon()


def _safe(error: Exception, path: str) -> str:
    return f"{error or type(error).__name__}".replace(path, shown(path))


class _Folder:
    """The files of a recording, as the thread writes them."""

    def __init__(self, path: str, provider: str) -> None:
        self._path, self._provider = path, provider
        self._file_system, self._root = file_system_of(path)
        self._is_local = "://" not in path
        try:
            with nullcontext() if self._is_local else reaching(path):
                if recorded_names(self._file_system, self._root):
                    raise FeedError(f"{shown(path)} holds a recording already: give another folder, or remove that one")
                self._file_system.makedirs(self._root, exist_ok=True)
        except OSError as error:
            raise FeedError(f"{shown(path)} cannot be recorded to: {_safe(error, path)}; give another folder") from None
        self.unfit = 0
        self._raw: IO[bytes] | None = None
        self._frames: gzip.GzipFile | None = None
        self._frames_count = 0
        self._pieces: list[pyarrow.RecordBatch] = []
        self._rows = 0
        self._parts = 0
        self._part_s = time.monotonic()
        self._tail: IO[bytes] | None = None
        self._tail_writer: Any = None

    def write(self, frames: Sequence[Frame], events: Sequence[MarketEvent]) -> None:
        """Write what came; in a local folder all of it is there afterwards, whatever becomes of the process."""
        for first in range(0, len(frames), _LINES):
            self._write_lines(frames[first : first + _LINES])
        if self._frames is not None:
            self._frames.flush(zlib.Z_SYNC_FLUSH)
        for piece in pieces_of(events, self._leave_out):
            self._pieces.append(piece)
            self._rows += piece.num_rows
            if self._is_local:
                self._add_to_tail(piece)
            if self._rows >= _PART_EVENTS:
                self._write_part()
        if self._tail is not None:
            self._tail.flush()
        if time.monotonic() - self._part_s >= _PART_S:
            self._write_part()

    def finish(self) -> None:
        self._write_part()
        self._close_frames()

    def abandon(self) -> None:
        """Close what is open, whatever it says: the recording has failed already."""
        self._pieces.clear()
        for file in (self._tail_writer, self._tail, self._frames, self._raw):
            try:
                if file is not None:
                    file.close()
            except (OSError, ValueError):
                continue
        self._tail_writer = self._tail = self._frames = self._raw = None

    def _leave_out(self, event: MarketEvent) -> None:
        self.unfit += 1
        if self.unfit == 1:
            _logger.warning("%r cannot be recorded; more of the kind are counted only", event)

    def _write_lines(self, frames: Sequence[Frame]) -> None:
        if self._frames is None:
            # Appended to where a feed is run again: gzip reads one member after the other.
            self._raw = (Path(self._root) / FRAMES_NAME).open("ab") if self._is_local else io.BytesIO()
            self._frames = gzip.GzipFile(fileobj=self._raw, mode="wb", compresslevel=1)
        lines = []
        for received_ns, payload in frames:
            line = payload.encode("utf-8", "replace") if isinstance(payload, str) else payload
            if b"\n" in line or b"\r" in line:
                line = line.replace(b"\n", b" ").replace(b"\r", b" ")
            lines.append(b"%d %s\n" % (received_ns, line))
        self._frames.write(b"".join(lines))

    def _close_frames(self) -> None:
        frames, raw, self._frames, self._raw = self._frames, self._raw, None, None
        if frames is None or raw is None:
            return
        try:
            frames.close()
            if isinstance(raw, io.BytesIO):
                self._frames_count += 1
                self._put(FRAMES_NAME.replace(".", f"-{self._frames_count:05d}."), raw.getvalue())
        finally:
            raw.close()

    def _add_to_tail(self, piece: "pyarrow.RecordBatch") -> None:
        if self._tail is None:
            import pyarrow

            self._tail = (Path(self._root) / self._tail_name()).open("wb")
            self._tail_writer = pyarrow.ipc.new_stream(self._tail, event_schema())
        self._tail_writer.write_batch(piece)

    def _tail_name(self) -> str:
        return f"_events-{self._parts + 1:05d}.arrows"

    def _write_part(self) -> None:
        self._part_s = time.monotonic()
        if not self._is_local:
            self._close_frames()
        if not self._pieces:
            return
        data = encode_part(self._pieces, self._provider)
        self._put(f"events-{self._parts + 1:05d}.parquet", data)
        # From here on the part counts, and its beginnings do not.
        writer, tail, self._tail_writer, self._tail = self._tail_writer, self._tail, None, None
        if tail is not None:
            writer.close()
            tail.close()
            (Path(self._root) / self._tail_name()).unlink()
        self._parts += 1
        self._rows = 0
        self._pieces.clear()

    def _put(self, name: str, data: bytes) -> None:
        target = f"{self._root}/{name}"
        if not self._is_local:
            # An object of a store is there as a whole or not at all.
            self._file_system.pipe_file(target, data)
            return
        # Under another name first: a part that is there is whole.
        unfinished = f"{self._root}/_{name}.unfinished"
        self._file_system.pipe_file(unfinished, data)
        Path(unfinished).replace(target)
