"""Recording a feed while it runs: its raw frames with the times of their receipt, and its events."""

import gzip
import logging
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from qfkit.core.events import MarketEvent
from qfkit.errors import FeedError
from qfkit.feeds.event_tables import EVENTS_NAME, FRAMES_NAME, PART_DIGITS, encode_part, filesystem_of, parts_of

__all__ = ["Recorder"]

_logger = logging.getLogger("qfkit.feeds")

_FLUSH_S = 1.0
_PART_S = 30.0
_PART_EVENTS = 50_000


class Recorder:
    """Writes a folder that ``ReplayFeed(path)`` plays and ``pandas.read_parquet(path)`` reads.

    - ``events-00001.parquet`` and so on: every event, a part each half a minute or 50,000 events;
    - ``frames.gz``: the raw frames of a socket feed, ``<receive time in ns> <frame>`` a line, whole
      up to the last second even if the process is killed. In a local folder only.

    ``path`` is a new or empty folder, or an address that fsspec knows such as "s3://bucket/name". What
    cannot be written, on a full disk say, ends the recording with an error in the log; the feed goes on.
    """

    def __init__(self, path: str, provider: str) -> None:
        self.path = str(path)
        self.provider = provider
        self.error: OSError | None = None
        """Why the recording ended early; None where it did not."""
        self._filesystem, self._root = filesystem_of(self.path)
        try:
            if parts_of(self._filesystem, self._root) or self._filesystem.exists(f"{self._root}/{FRAMES_NAME}"):
                raise FeedError(f"{self.path} holds a recording already: give another folder, or remove that one")
            self._filesystem.makedirs(self._root, exist_ok=True)
        except OSError as error:
            raise FeedError(f"{self.path} cannot be recorded to: {error}; give another folder") from error
        self._is_local = "://" not in self.path
        self._raw: IO[bytes] | None = None
        self._frames: gzip.GzipFile | None = None
        self._flushed_s = self._part_s = time.monotonic()
        self._waiting: list[MarketEvent] = []
        self._parts = 0

    def frame(self, received_ns: int, payload: bytes | str) -> None:
        """A raw frame off the wire. A line break within it, which JSON does not need, becomes a space."""
        if not self._is_local or self.error is not None:
            return
        text = payload.encode() if isinstance(payload, str) else payload
        if b"\n" in text or b"\r" in text:
            text = text.replace(b"\n", b" ").replace(b"\r", b" ")
        try:
            if self._frames is None:
                # Appended to where a feed is run again: gzip reads one member after the other.
                self._raw = (Path(self._root) / FRAMES_NAME).open("ab")
                self._frames = gzip.GzipFile(fileobj=self._raw, mode="wb", compresslevel=1)
            self._frames.write(b"%d %s\n" % (received_ns, text))
            now_s = time.monotonic()
            if now_s - self._flushed_s >= _FLUSH_S:
                self._flushed_s = now_s
                self._frames.flush(zlib.Z_SYNC_FLUSH)
                assert self._raw is not None
                self._raw.flush()
        except OSError as error:
            self._fail(error)

    def events(self, batch: Sequence[MarketEvent]) -> None:
        """A batch of events as they are given."""
        if self.error is not None:
            return
        self._waiting.extend(batch)
        now_s = time.monotonic()
        if len(self._waiting) >= _PART_EVENTS or now_s - self._part_s >= _PART_S:
            self._part_s = now_s
            self._write_part()

    def _write_part(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        self._parts += 1
        name = f"{self._root}/{EVENTS_NAME}-{self._parts:0{PART_DIGITS}d}.parquet"
        try:
            data = encode_part(waiting, self.provider)
            # Under another name first: a part that is there is whole.
            self._filesystem.pipe_file(f"{name}.part", data)
            self._filesystem.mv(f"{name}.part", name)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.error = error
        self._waiting.clear()
        _logger.error("the recording to %s has ended: %s; the feed goes on unrecorded", self.path, error)
        self._close_frames()

    def _close_frames(self) -> None:
        frames, raw, self._frames, self._raw = self._frames, self._raw, None, None
        for file in (frames, raw):
            try:
                if file is not None:
                    file.close()
            except OSError as error:
                if self.error is None:
                    self.error = error
                    _logger.exception("the end of the recording %s could not be written", self.path)

    def close(self) -> None:
        """Write what waits and close the files."""
        if self.error is None:
            self._write_part()
        self._close_frames()
