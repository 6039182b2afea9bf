"""A real IPython kernel in a process of its own, and what its cells put out."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

_ROOT = Path(__file__).resolve().parent.parent
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Cell:
    """What one cell put out. ``displays`` are the mime bundles, of displays and of their updates."""

    stdout: str = ""
    stderr: str = ""
    result: str = ""
    error: str = ""
    traceback: str = ""
    displays: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    is_over: bool = False

    def take(self, message: dict[str, Any]) -> None:
        content = message["content"]
        match message["msg_type"]:
            case "status":
                self.is_over = content["execution_state"] == "idle"
            case "stream":
                setattr(self, content["name"], getattr(self, content["name"]) + content["text"])
            case "execute_result":
                self.result = content["data"].get("text/plain", "")
            case "display_data":
                self.displays.append(content["data"])
            case "update_display_data":
                self.updates.append(content["data"])
            case "error":
                self.error = f"{content['ename']}: {content['evalue']}"
                self.traceback = _COLOURS.sub("", "\n".join(content["traceback"]))


class Kernel:
    """``kernel.run(code)`` runs a cell and waits for its end; ``kernel.send(code)`` only queues it."""

    def __init__(self, home: Path) -> None:
        paths = [str(_ROOT), str(_ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        self._env = {**os.environ, "QFKIT_HOME": str(home), "PYTHONPATH": os.pathsep.join(paths)}
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=self._env, cwd=str(home))
        self.client: BlockingKernelClient = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self._cells: dict[str, Cell] = {}

    @property
    def process(self) -> int:
        return int(self.manager.provisioner.process.pid)

    def send(self, code: str) -> str:
        sent: str = self.client.execute(code)
        self._cells[sent] = Cell()
        return sent

    def run(self, code: str, seconds: float = 30.0) -> Cell:
        """Run a cell; an error of its own is in ``error`` and not raised."""
        return self.wait(self.send(code), seconds)

    def check(self, code: str, seconds: float = 30.0) -> Cell:
        """Run a cell that must not fail."""
        cell = self.run(code, seconds)
        assert not cell.error, f"{cell.error}\n{cell.traceback}"
        return cell

    def wait(self, sent: str, seconds: float = 30.0) -> Cell:
        """Wait for the end of a cell that was sent."""
        return self.wait_all([sent], seconds)[0]

    def wait_all(self, sent: list[str], seconds: float = 30.0) -> list[Cell]:
        """Wait for the ends of cells that were sent one after the other."""
        end_s = time.monotonic() + seconds
        while not all(self._cells[one].is_over for one in sent):
            self._take(end_s)
        return [self._cells.pop(one) for one in sent]

    def until_printed(self, sent: str, text: str, seconds: float = 30.0) -> None:
        """Wait until a cell that was sent has printed something."""
        end_s = time.monotonic() + seconds
        while text not in self._cells[sent].stdout:
            self._take(end_s)

    def _take(self, end_s: float) -> None:
        message = self.client.get_iopub_msg(timeout=max(0.1, end_s - time.monotonic()))
        cell = self._cells.get(message["parent_header"].get("msg_id"))
        if cell is not None:
            cell.take(message)

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def restart(self) -> None:
        self.manager.restart_kernel(now=True)
        self.client.wait_for_ready(timeout=60)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@contextmanager
def kernel_at(home: Path) -> Iterator[Kernel]:
    kernel = Kernel(home)
    try:
        yield kernel
    finally:
        kernel.close()
