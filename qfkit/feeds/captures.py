"""Raw captures: a provider's frames as they came off the wire, a line each, read as a stream."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from qfkit.core.events import MarketEvent
from qfkit.errors import FrameError, MalformedFrameError
from qfkit.feeds.binance_frames import CaptureParser

__all__ = [
    "BATCH",
    "OnBad",
    "Portion",
    "capture_portions",
    "file_system_of",
    "name_of",
    "open_file",
    "read_head",
    "shown",
]

BATCH = 2_048
"""The most events a batch of a recording has."""

OnBad: TypeAlias = Callable[[int, str, str], None]
"""Told of what cannot be read: when it was received (0 if unknown), the error, the text."""

Portion: TypeAlias = tuple[list[MarketEvent], float | None]
"""A batch and the share of the recording that ends with it, None where that is unknown."""

_USER = re.compile(r"(://)[^/@]+@")
_GZIP = b"\x1f\x8b"
# A file of which so many lines are broken and none is whole is no capture.
_PATIENCE_LINES = 100
_LINES = 4_096


def name_of(path: str) -> str:
    """The last part of a path or address."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def read_head(path: str) -> bytes:
    """The first bytes of a file; the named error for one that is missing or empty."""
    with open_file(path) as file:
        head = file.read(64)
    if not head:
        raise FrameError(f"{path} is empty: record it again, or give another file")
    return head


def open_file(path: str) -> IO[bytes]:
    """A file to be read; the named error for one that is missing or may not be read."""
    try:
        if "://" in path:
            return _open_address(path)
        return Path(path).open("rb")
    except FileNotFoundError:
        there = "" if "://" in path else f" (the present folder is {Path.cwd()})"
        raise FrameError(f"there is no file {shown(path)}{there}: check the path") from None
    except OSError as error:
        raise FrameError(
            f"{shown(path)} cannot be opened: {error.strerror or str(error).replace(path, shown(path))}; check the path "
            "and its rights"
        ) from None


def _open_address(path: str) -> IO[bytes]:
    file_system, root = file_system_of(path)
    return cast("IO[bytes]", file_system.open(root, "rb"))


def file_system_of(path: str) -> tuple[Any, str]:
    """Where a path or address lies: a file system with fsspec's methods, and the path on it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise FrameError(f'{shown(path)} needs fsspec: pip install "fsspec>=2024.6"') from None
    try:
        file_system, root = url_to_fs(path)
    except (ImportError, ValueError) as error:
        text = str(error).replace(path, shown(path))
        raise FrameError(f"{shown(path)} cannot be opened: {text}") from None
    return file_system, str(root).rstrip("/")


def shown(path: str) -> str:
    """An address as it may be shown: without the user and password that stand in some."""
    return _USER.sub(r"\1…@", path)


def capture_portions(path: str, on_bad: OnBad | None = None) -> Iterator[Portion]:
    """The trades and quotes of a capture, gzipped or not, in batches.

    A broken line raises :class:`MalformedFrameError` with its number, or is told to ``on_bad``.
    Where the file is cut off there is a :class:`FrameError` after the last whole line, or that is told too.
    """
    with open_file(path) as raw:
        size = raw.seek(0, 2)
        raw.seek(0)
        is_gzip = raw.read(2) == _GZIP
        raw.seek(0)
        lines = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        parser = CaptureParser()
        parse_line = parser.parse_line
        is_capture = False
        first_bad: list[tuple[int, str, str]] = []
        batch: list[MarketEvent] = []
        torn: Exception | None = None
        while True:
            try:
                portion = _next_lines(lines)
            except _CutOffError as cut:
                portion, torn = cut.lines, cut.reason
            for line in portion:
                try:
                    event = parse_line(line)
                except MalformedFrameError as error:
                    bad = _bad_line(path, parser.lines, line, error)
                    if is_capture:
                        _tell(bad, on_bad)
                        continue
                    # Whether this is a capture with a broken beginning or none at all is not known yet.
                    first_bad.append(bad)
                    if len(first_bad) >= _PATIENCE_LINES:
                        raise _foreign(path, first_bad[0][2]) from None
                    continue
                if not is_capture and line.strip():
                    is_capture = True
                    for bad in first_bad:
                        _tell(bad, on_bad)
                if event is None:
                    continue
                batch.append(event)
                if len(batch) == BATCH:
                    yield batch, min(1.0, raw.tell() / size)
                    batch = []
            if torn is not None or not portion:
                break
        if batch:
            yield batch, 1.0
        if torn is not None:
            text = (
                f"{path} is cut off or damaged in line {parser.lines + 1} ({torn}): the {parser.lines} lines before it "
                f"are whole and can be kept with gzip -dc {name_of(path)} | head -n {parser.lines} > whole.txt"
            )
            if on_bad is None or not is_capture:
                raise FrameError(text)
            on_bad(0, text, "")
        if not is_capture:
            raise _foreign(path, first_bad[0][2] if first_bad else "")


class _CutOffError(Exception):
    """Carries the whole lines before a tear."""

    def __init__(self, lines: list[bytes], reason: Exception) -> None:
        self.lines, self.reason = lines, reason


def _next_lines(file: Any) -> list[bytes]:
    lines: list[bytes] = []
    try:
        for line in file:
            lines.append(line)
            if len(lines) == _LINES:
                break
    except (EOFError, zlib.error, OSError) as error:
        raise _CutOffError(lines, error) from None
    return lines


def _bad_line(path: str, number: int, line: bytes, error: MalformedFrameError) -> tuple[int, str, str]:
    first = line.split(b" ", 1)[0]
    received_ns = int(first) if first.isdigit() and len(first) <= 19 else 0
    return received_ns, f"{name_of(path)}, line {number}: {error}", line.decode("utf-8", "replace").strip()


def _tell(bad: tuple[int, str, str], on_bad: OnBad | None) -> None:
    if on_bad is None:
        raise MalformedFrameError(f"{bad[1]}. Delete the line to run without it")
    on_bad(*bad)


def _foreign(path: str, text: str) -> FrameError:
    begins = f" (it begins with {text[:60]!r})" if text else ""
    return FrameError(
        f"{path} is no recording that can be read{begins}: give a Binance capture with '<receive time in ns> <frame>' "
        "a line, Parquet or a session's journal; a CSV file as a frame, "
        "pandas.read_csv(path, index_col=0, parse_dates=True).tz_localize('UTC')"
    )
