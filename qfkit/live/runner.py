"""The background runner: one daemon thread with its own event loop, shared by all sessions.

A notebook's own loop stands still while a cell computes; this one does not. It starts when it
is first needed and ends with the interpreter.
"""

import asyncio
import atexit
import concurrent.futures
import importlib
import inspect
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from qfkit.errors import SessionError
from qfkit.ipython import shell
from qfkit.live.cells import tell_in_cells

__all__ = ["Runner", "allow_nested_loops", "at_exit", "attend_kernel", "run", "runner", "spawn"]

Value = TypeVar("Value")

_logger = logging.getLogger("qfkit")

# Short enough that an interrupt is felt at once, on systems too where a lock cannot be interrupted.
_LOOK_S = 0.1
_TICK_S = 0.1
_TURN_S = 0.001
_EXIT_S = 5.0


class Runner:
    """A daemon thread named "qfkit" with an asyncio loop, started on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller is on the runner's own thread, where waiting for it would never end."""
        return self._thread is threading.current_thread()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The runner's loop; the thread is started if it does not run yet."""
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                tell_in_cells()
                loop = asyncio.new_event_loop()
                loop.set_exception_handler(_report)
                self._loop = loop
                self._thread = threading.Thread(target=_turn, args=(loop,), name="qfkit", daemon=True)
                self._thread.start()
            return self._loop

    def submit(self, awaitable: Awaitable[Value]) -> "concurrent.futures.Future[Value]":
        """Start an awaitable on the runner; the caller must look at the future's exception."""
        return asyncio.run_coroutine_threadsafe(_coroutine(awaitable), self.loop)

    def call(self, callback: Callable[[], None]) -> None:
        """Call a function on the runner's thread, soon."""
        self.loop.call_soon_threadsafe(callback)

    def close(self, timeout_s: float = _EXIT_S) -> None:
        """Cancel what still runs, end the loop and the thread. A later use starts a new one."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or not thread.is_alive():
            return
        try:
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(timeout_s)
        except concurrent.futures.TimeoutError:
            _logger.warning("a task on the qfkit thread did not end within %g s", timeout_s)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout_s)
        if not thread.is_alive():
            loop.close()

    def forget(self) -> None:
        """In a forked child: the thread was left behind in the parent."""
        self._lock = threading.Lock()
        self._loop = self._thread = None


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


async def _coroutine(awaitable: Awaitable[Value]) -> Value:
    return await awaitable


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody else caught on the runner's loop goes to the log, never away."""
    _logger.error("on the qfkit thread: %s", context["message"], exc_info=context.get("exception"))


runner = Runner()
"""The one runner of this process."""


def run(coroutine: Awaitable[Value], timeout_s: float | None = None) -> Value:
    """Run a coroutine to completion and return its result, in a notebook cell or in a script.

    It runs on qfkit's own thread, so it works where a loop is running already, and inside a
    callback. An exception of the coroutine is raised here; an interrupt, or ``timeout_s``
    seconds gone (TimeoutError), cancels it. Do not hand in what belongs to another loop, such
    as an ``asyncio.Task`` of the notebook's own.
    """
    given: object = coroutine
    if not inspect.isawaitable(given):
        hint = f": call it, as in qf.run({given.__name__}())" if inspect.iscoroutinefunction(given) else ""
        raise SessionError(f"qf.run takes a coroutine, not {given!r}{hint}")
    if runner.is_this_thread:
        if isinstance(coroutine, Coroutine):
            coroutine.close()
        raise SessionError(
            "qf.run(...) was called on qfkit's own thread (in a strategy, message handler or snapshot callback), "
            "where it would wait for itself for ever: await it, or start it with qfkit.live.runner.spawn(...)"
        )
    future = runner.submit(coroutine)
    end_s = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        while True:
            left_s = _LOOK_S if end_s is None else min(_LOOK_S, end_s - time.monotonic())
            done, _ = concurrent.futures.wait((future,), timeout=max(0.0, left_s))
            if done:
                return future.result()
            if end_s is not None and time.monotonic() >= end_s:
                raise TimeoutError(f"the coroutine was not done within {timeout_s:g} s and was cancelled")
    finally:
        future.cancel()


def spawn(
    coroutine: Awaitable[Value], on_error: Callable[[BaseException], None] | None = None
) -> "concurrent.futures.Future[Value]":
    """Start a coroutine on the runner and return at once.

    Its exception is given to ``on_error`` (on the runner's thread), else to the log: the
    future alone would keep it to itself.
    """
    future = runner.submit(coroutine)

    def look(done: "concurrent.futures.Future[Value]") -> None:
        error = None if done.cancelled() else done.exception()
        if error is None:
            return
        if on_error is None:
            _logger.error("a task on the qfkit thread failed: %s", error, exc_info=error)
        else:
            on_error(error)

    future.add_done_callback(look)
    return future


def allow_nested_loops() -> None:
    """Let ``asyncio.run(...)`` and ``loop.run_until_complete(...)`` work inside the running loop.

    For code that must have the notebook's own loop; qfkit itself never needs it. It patches
    asyncio by nest-asyncio2, for the rest of the process, and the cell blocks the kernel
    meanwhile.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise SessionError(
            "no loop is running here, so nothing needs nesting: asyncio.run(...) works as it is"
        ) from None
    try:
        importlib.import_module("nest_asyncio2").apply(loop)
    except ValueError as error:
        raise SessionError(f"{error}: only asyncio's own loop can be nested; use qf.run(...) instead") from error


# -- the kernel's loop -------------------------------------------------------------------------

_ticking = False


def attend_kernel(needed: Callable[[], bool]) -> None:
    """In an IPython kernel, while ``needed()`` is true: wake its loop every 100 ms, and have threads take turns each
    millisecond; elsewhere nothing.

    Without the first an interrupt of a cell that awaits acts only when the loop next wakes by itself. Without the second
    an event waits for 5 ms at each turn it needs while a cell computes: at 1,000 messages a second and with a dashboard
    70 to 110 ms at worst, and 17 to 25 with it, no browser being at work beside; the cell lost 4 %.
    """
    global _ticking
    loop = _kernel_loop()
    if loop is None or _ticking:
        return
    _ticking = True
    former_s = sys.getswitchinterval()
    if former_s > _TURN_S:
        sys.setswitchinterval(_TURN_S)
    set_s = sys.getswitchinterval()

    def tick() -> None:
        global _ticking
        if needed():
            # Calls, not a task: a task left over when the kernel ends complains.
            loop.call_later(_TICK_S, tick)
            return
        _ticking = False
        # What the user set meanwhile stays.
        if sys.getswitchinterval() == set_s:
            sys.setswitchinterval(former_s)

    loop.call_soon_threadsafe(tick)


def _kernel_loop() -> asyncio.AbstractEventLoop | None:
    kernel = getattr(shell(), "kernel", None)
    if kernel is None:
        return None
    if threading.current_thread() is threading.main_thread():
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            pass
    loop = getattr(getattr(kernel, "io_loop", None), "asyncio_loop", None)
    return loop if isinstance(loop, asyncio.AbstractEventLoop) else None


# -- the end of the process --------------------------------------------------------------------

_before_exit: list[Callable[[], None]] = []


def at_exit(callback: Callable[[], None]) -> None:
    """Have a function called when the interpreter ends, while the runner still runs."""
    _before_exit.append(callback)


def _close_at_exit() -> None:
    for callback in _before_exit:
        callback()
    runner.close()


atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=runner.forget)
