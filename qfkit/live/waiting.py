"""Waiting for a session: in a script, in a cell with a progress line, and on any loop."""

import asyncio
import concurrent.futures
import time
from collections.abc import AsyncGenerator, Generator
from typing import Any, Self

from qfkit.core.snapshot import Snapshot
from qfkit.errors import ParameterError, QfkitError, SessionError
from qfkit.feeds.base import Feed
from qfkit.live.cells import was_told
from qfkit.live.progress import Advance, WaitProgress
from qfkit.live.runner import runner

__all__ = ["Waiting"]

_LOOK_S = 0.1


class Waiting:
    """The part of a :class:`~qfkit.Session` that is waited for.

    Whoever waits looks ten times a second and hangs nothing on the session: who stops waiting leaves nothing behind.
    """

    name: str
    feed: Feed
    error: QfkitError | None
    _future: "concurrent.futures.Future[None] | None"

    @property
    def snapshot(self) -> Snapshot:
        """The session at this moment."""
        raise NotImplementedError

    def wait(self, timeout_s: float | None = None, *, progress: bool | None = None) -> Self:
        """Wait until the session has ended (a live one never does by itself), or for ``timeout_s``.

        An interrupt ends the waiting and not the session. ``progress``: None shows how far it is in a terminal or a
        notebook, True everywhere, False nowhere. Raises the session's error if it failed.
        """
        future = self._started()
        if runner.is_this_thread:
            raise SessionError(
                "session.wait(...) was called on qfkit's own thread (in a strategy or a handler), which the session "
                "itself needs: wait for it elsewhere"
            )
        if timeout_s is not None and not (isinstance(timeout_s, int | float) and timeout_s >= 0.0):
            raise ParameterError(f"timeout_s={timeout_s!r}: seconds, zero or more, or None for no end")
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        first_share = self.feed.progress or 0.0

        def look(waited_s: float) -> Advance:
            return Advance.of(self.snapshot.events, waited_s, timeout_s, self.feed.progress, first_share)

        with WaitProgress(self.name, look, shown=progress) as shown:
            while not future.done():
                left_s = _LOOK_S if end_s is None else min(_LOOK_S, end_s - time.monotonic())
                if left_s <= 0.0:
                    break
                concurrent.futures.wait((future,), timeout=left_s)
                shown.update()
            if not future.done():
                shown.finish(f"waited {timeout_s:g} s; it goes on")
                return self
            self._raise_error(future)
            shown.finish(f"ended after {self.snapshot.events:,} events")
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        """``await session`` in a cell or a script: to its end; raises its error if it failed."""
        return self._ended().__await__()

    async def _ended(self) -> Self:
        future = self._started()
        while not future.done():  # noqa: ASYNC110 - an event would be of one loop, and this works on any
            await asyncio.sleep(_LOOK_S)
        self._raise_error(future)
        return self

    async def snapshots(self, every_s: float = 0.5) -> AsyncGenerator[Snapshot, None]:
        """``async for snapshot in session.snapshots():`` the newest snapshot every so often, the last when it ends.

        Who is slow misses some and never falls behind. Raises the session's error after the last if it failed.
        """
        if not (isinstance(every_s, int | float) and every_s > 0.0):
            raise ParameterError(f"every_s={every_s!r}: it must be above zero, such as 0.5")
        future = self._started()
        while not future.done():
            yield self.snapshot
            due_s = time.monotonic() + every_s
            while not future.done() and (left_s := due_s - time.monotonic()) > 0.0:  # noqa: ASYNC110 - as above
                await asyncio.sleep(min(left_s, _LOOK_S))
        yield self.snapshot
        self._raise_error(future)

    def _started(self) -> "concurrent.futures.Future[None]":
        if self._future is None:
            raise SessionError(f"the session {self.name!r} was not started: call start() first")
        return self._future

    def _raise_error(self, future: "concurrent.futures.Future[None]") -> None:
        if self.error is not None:
            was_told(self.error)
            raise self.error
        if not future.cancelled():
            future.result()
