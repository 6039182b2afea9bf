"""The pump: one task on the runner's loop that draws all open dashboards, at most five times a second.

On the kernel's own loop it would stand still while a cell works. It runs while there is a session to watch, and
ends with the last one; a slow or hidden page makes it send no more than it does anyway.
"""

import asyncio
import concurrent.futures
import logging
import threading
from typing import Protocol

from qfkit.live.runner import runner

__all__ = ["INTERVAL_S", "Drawn", "pump"]

INTERVAL_S = 0.2

_logger = logging.getLogger("qfkit.dashboard")


class Drawn(Protocol):
    """Something that the pump draws, until it is over."""

    def draw(self) -> bool:
        """Draw the newest state; False when there will be nothing new any more."""
        ...


class Pump:
    """Draws what was given to :meth:`add` until each is over or taken away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawn: list[Drawn] = []
        self._future: concurrent.futures.Future[None] | None = None

    @property
    def count(self) -> int:
        """How many are being drawn."""
        return len(self._drawn)

    def add(self, drawn: Drawn) -> None:
        """Draw this from now on; one that is drawn already stays as it is."""
        with self._lock:
            if drawn not in self._drawn:
                self._drawn.append(drawn)
            if self._future is None or self._future.done():
                self._future = runner.submit(self._run())

    def remove(self, drawn: Drawn) -> None:
        """Draw it no more."""
        with self._lock:
            if drawn in self._drawn:
                self._drawn.remove(drawn)

    async def _run(self) -> None:
        while True:
            for drawn in list(self._drawn):
                try:
                    goes_on = drawn.draw()
                except Exception:
                    # A picture that cannot be drawn must not take the others along, nor the session.
                    _logger.exception("a dashboard could not be drawn and stands still")
                    goes_on = False
                if not goes_on:
                    self.remove(drawn)
            with self._lock:
                if not self._drawn:
                    self._future = None
                    return
            await asyncio.sleep(INTERVAL_S)


pump = Pump()
"""The one pump of this process."""
