"""What the workers of a sweep need, brought to each of them once.

It is pickled with its arrays apart, into a file that every process of this machine maps into memory instead of
reading it; a worker that cannot see the file says so, and is sent the bytes. Pickle goes from this program to its own
workers only: nothing that was given as data is ever unpickled.
"""

import mmap
import os
import pickle
import secrets
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec

__all__ = ["Cargo", "CargoReference", "unload"]

_ALIGNMENT = 64
_KEPT = 4

_here: dict[str, Any] = {}
_unloaded: OrderedDict[str, Any] = OrderedDict()
_lock = threading.Lock()


class CargoReference(msgspec.Struct, frozen=True):
    """Which cargo is meant, and where its file lies."""

    token: str
    path: str
    process: int


class Cargo:
    """An object for workers. Close it when they are done."""

    def __init__(self, thing: Any) -> None:
        token = secrets.token_hex(16)
        self._thing = thing
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.reference = CargoReference(token, "", os.getpid())
        # Threads take it as it is.
        _here[token] = thing

    def load(self) -> None:
        """Write the file, for workers that are other processes."""
        if self._folder is None:
            # Windows does not remove a file that a worker has mapped.
            self._folder = tempfile.TemporaryDirectory(prefix="qfkit-", ignore_cleanup_errors=True)
            path = Path(self._folder.name) / "cargo"
            path.write_bytes(_packed(self._thing, self.reference.token))
            self.reference = CargoReference(self.reference.token, str(path), os.getpid())

    def contents(self) -> bytes:
        """The file's bytes, for a worker that cannot see it."""
        self.load()
        return Path(self.reference.path).read_bytes()

    def close(self) -> None:
        """Remove the file; workers that have it mapped keep it. On Windows it stays in the folder for temporary files."""
        _here.pop(self.reference.token, None)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def unload(reference: CargoReference, contents: bytes | None = None) -> Any:
    """The object, in a worker; None where its file cannot be seen from here and ``contents`` are needed."""
    if reference.process == os.getpid() and reference.token in _here:
        return _here[reference.token]
    with _lock:
        if reference.token in _unloaded:
            _unloaded.move_to_end(reference.token)
            return _unloaded[reference.token]
        data = _mapped(reference.path) if contents is None else memoryview(contents)
        if data is None:
            return None
        thing = _unpacked(data, reference.token)
        if thing is not None:
            _unloaded[reference.token] = thing
            while len(_unloaded) > _KEPT:
                _unloaded.popitem(last=False)
        return thing


def _mapped(path: str) -> memoryview | None:
    try:
        with Path(path).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return None


def _packed(thing: Any, token: str) -> bytes:
    buffers: list[pickle.PickleBuffer] = []
    head = cloudpickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    parts = [token.encode(), head, *[buffer.raw() for buffer in buffers]]
    # How many parts, the length of each, then the parts, each where arrays like to begin.
    packed = bytearray(b"".join(number.to_bytes(8, "little") for number in (len(parts), *map(len, parts))))
    for part in parts:
        packed += bytes(-len(packed) % _ALIGNMENT)
        packed += part
    return bytes(packed)


def _unpacked(data: memoryview, token: str) -> Any:
    """None for a file of the same name that is another's."""
    count = int.from_bytes(data[:8], "little")
    lengths = [int.from_bytes(data[8 * place : 8 * place + 8], "little") for place in range(1, count + 1)]
    start = 8 * (count + 1)
    parts = []
    for length in lengths:
        start += -start % _ALIGNMENT
        parts.append(data[start : start + length])
        start += length
    if bytes(parts[0]) != token.encode():
        return None
    return pickle.loads(parts[1], buffers=parts[2:])  # noqa: S301 - this program's own, see above
