"""Trials handed to whoever works: this process, processes of its own, or any executor."""

import logging
import os
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from qfkit.errors import ParameterError, ResearchError
from qfkit.research.shipping import Cargo, CargoReference, unload
from qfkit.research.trials import Item, Job, TrialBlock

__all__ = ["Dispatch", "Workers", "workers_count"]


class _DaskClient(Protocol):
    def get_executor(self, **options: Any) -> Any: ...


class _EnginesClient(Protocol):
    def executor(self) -> Any: ...


Workers: TypeAlias = Executor | _DaskClient | _EnginesClient | int | None
Take: TypeAlias = Callable[[TrialBlock], None]

# A block takes so long: rare enough to cost nothing, often enough for a progress bar.
_BLOCK_S = 0.25
_LONGEST_BLOCK = 500
# So long is tried here before processes are started, which takes longer than that.
_TRIED_S = 0.7
_WORTH_PROCESSES_S = 3.0
# Executors do not say how many work for them; so many blocks wait at once at the most.
_IN_FLIGHT = 1_000
_HEARD_S = 0.5


def workers_count() -> int:
    """The cores that this process may use."""
    import loky

    return int(loky.cpu_count())


def _work(reference: CargoReference, items: list[Item], contents: bytes | None = None) -> tuple[str, TrialBlock | None]:
    """In a worker: its name, and its trials; None where what they need is not there."""
    job: Job | None = unload(reference, contents)
    return f"{socket.gethostname()} {os.getpid()}", None if job is None else job.run(items)


def _executor_of(workers: Any) -> Any:
    """That of a cluster's client, where it is one; Dask's has a ``submit`` of its own, which gives other futures."""
    if hasattr(workers, "get_executor"):
        # As a pure function a trial that is tried once more would be given the same error.
        return workers.get_executor(pure=False)
    return workers.executor() if callable(getattr(workers, "executor", None)) else workers


def _answer(future: Future[Any]) -> tuple[str, TrialBlock | None]:
    answer = future.result()
    if not isinstance(answer, tuple):
        raise ResearchError(
            "the executor has every worker do each task: of ipyparallel give the client, or client.executor(), and no "
            "direct view's"
        )
    return answer


def _useless(error: BaseException) -> ResearchError:
    return ResearchError(
        f"no worker of the executor could do anything ({type(error).__name__}: {error}): they need qfkit of this version, "
        "and whatever the strategy imports"
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Dask logs an error for each task whose result was on its way when it was cancelled."""
    frames = traceback.walk_tb(record.exc_info[2] if record.exc_info else None)
    return all(frame.f_code.co_name != "_cascade_future" for frame, _ in frames)


def _is_broken(future: Future[Any]) -> bool:
    return isinstance(future.exception(), BrokenExecutor)


class Dispatch:
    """Hands out the items of a job and gives what comes of them to ``take``, in whatever order it comes.

    ``workers`` None tries some here and starts a process a core where that is worth it, a number starts so many
    processes (1: none), an executor is used as it is. ``where`` says in words who worked.
    """

    def __init__(self, job: Job, workers: Workers, take: Take) -> None:
        workers = _executor_of(workers)
        if isinstance(workers, bool) or not (workers is None or isinstance(workers, int) or hasattr(workers, "submit")):
            raise ParameterError(
                f"executor={workers!r}: give an Executor of concurrent.futures, a client of Dask (it has get_executor()) or of "
                "ipyparallel, a number of processes, or None for one a core"
            )
        if isinstance(workers, int) and workers < 1:
            raise ParameterError(f"executor={workers}: a number of processes is 1 or more")
        self._job = job
        self._workers = workers
        self._take = take
        self._item_s = 0.0
        self.where = ""

    def run(self, items: Iterable[Item]) -> None:
        """Work until all is done. An interrupt leaves what is not done and is raised."""
        waiting = deque(items)
        if isinstance(self._workers, int) and self._workers == 1:
            self._run_here(waiting, None)
        elif self._workers is None:
            count = workers_count()
            self._run_here(waiting, None if count == 1 else _TRIED_S)
            if waiting:
                self._run_in_processes(waiting, count)
        elif isinstance(self._workers, int):
            self._run_in_processes(waiting, self._workers)
        else:
            self.where = f"on {type(self._workers).__name__}"
            self._run_on(self._workers, waiting)

    # -- here --------------------------------------------------------------------------------

    def _run_here(self, waiting: deque[Item], most_s: float | None) -> None:
        """All of it, or so much as fits into ``most_s``, unless the rest is not worth more."""
        self.where = "in this process"
        started_s = time.perf_counter()
        while waiting:
            self._done(self._job.run(self._next_block(waiting, 1)))
            spent_s = time.perf_counter() - started_s
            if most_s is not None and spent_s > most_s and self._item_s * len(waiting) > _WORTH_PROCESSES_S:
                return

    # -- processes of its own ----------------------------------------------------------------

    def _run_in_processes(self, waiting: deque[Item], count: int) -> None:
        from loky import get_reusable_executor

        self.where = f"in {count} processes"
        suspects: deque[Item] = deque()
        strikes: dict[int, int] = {}
        while waiting or suspects:
            pool = get_reusable_executor(max_workers=count, timeout=60)
            # What was under way when a process died is tried alone, so that it is known which one it was.
            alone = bool(suspects)
            own = deque([suspects.popleft()]) if alone else waiting
            lost = self._run_on(pool, own, width=1 if alone else 2 * count + 1, may_break=True)
            for item in lost:
                strikes[item[0]] = strikes.get(item[0], 0) + 1
                if alone and strikes[item[0]] > 1:
                    self._take(
                        self._job.failed(item, "the process that ran it died, alone and twice: too little memory?")
                    )
                else:
                    suspects.append(item)

    # -- any executor ------------------------------------------------------------------------

    def _run_on(
        self, executor: Any, waiting: deque[Item], *, width: int = _IN_FLIGHT, may_break: bool = False
    ) -> list[Item]:
        """Keep an executor busy; returns what was lost where it broke and may."""
        spread = 2 * int(getattr(executor, "_max_workers", None) or 8)
        under_way: dict[Future[Any], list[Item]] = {}
        # What came back for another reason than its own is done again at the end, one after the other: beside a
        # combination that kills workers the others would be lost again.
        suspects: deque[Item] = deque()
        tried: set[int] = set()
        # Few at first: nobody knows yet whether the workers have what they need, or how long a trial takes.
        most = min(width, spread)
        lacking: set[str] = set()
        heard = 0
        with _shipped(self._job) as cargo:
            cargo.load()
            try:
                while waiting or under_way or suspects:
                    if not (waiting or under_way):
                        waiting.append(suspects.popleft())
                    # While one lacks what it needs nothing is handed out without it, or all would come back.
                    while waiting and len(under_way) < (len(lacking) or most):
                        block = self._next_block(waiting, spread)
                        contents = cargo.contents() if lacking else None
                        under_way[executor.submit(_work, cargo.reference, block, contents)] = block
                    # A wait without an end would not hear an interrupt on every system.
                    finished, _ = wait(under_way, timeout=_HEARD_S, return_when=FIRST_COMPLETED)
                    for future in sorted(finished, key=_is_broken):
                        if _is_broken(future):
                            future.result()
                        block, error = under_way.pop(future), future.exception()
                        if error is not None:
                            self._again_alone(error, block, suspects, tried)
                            if not self._item_s and len(tried) >= spread:
                                raise _useless(error)
                            continue
                        worker, found = _answer(future)
                        heard += 1
                        if found is None:
                            lacking.add(worker)
                            heard = 0
                            waiting.extendleft(reversed(block))
                        else:
                            lacking.discard(worker)
                            if heard > spread + 2 * len(lacking):
                                # Who was not heard of for so long may be gone; if not, it says so once more.
                                lacking.clear()
                            most = min(width, 2 * most)
                            self._done(found)
            except BrokenExecutor as error:
                lost = [*(item for block in under_way.values() for item in block), *suspects]
                if may_break:
                    return lost
                raise ResearchError(
                    f"the executor broke ({type(error).__name__}: {error}): give continue_() another one"
                ) from error
            except BaseException:
                logging.getLogger("tornado.application").addFilter(_is_news)
                for future in under_way:
                    future.cancel()
                if may_break:
                    # Or they would go on with what nobody waits for.
                    executor.shutdown(wait=False, kill_workers=True)
                raise
        return []

    def _again_alone(self, error: BaseException, block: list[Item], suspects: deque[Item], tried: set[int]) -> None:
        """Not a strategy's own error, which is a row already: a worker that was lost, say. Each is tried once more."""
        for item in block:
            if item[0] in tried:
                self._take(self._job.failed(item, f"{type(error).__name__}: {error}"))
            else:
                tried.add(item[0])
                suspects.append(item)

    # -- blocks ------------------------------------------------------------------------------

    def _next_block(self, waiting: deque[Item], spread: int) -> list[Item]:
        """So many items as take a quarter of a second, and no more than leave something for everybody."""
        size = 1 if not self._item_s else int(_BLOCK_S / self._item_s)
        size = max(1, min(size, _LONGEST_BLOCK, -(-len(waiting) // spread)))
        return [waiting.popleft() for _ in range(min(size, len(waiting)))]

    def _done(self, block: TrialBlock) -> None:
        now_s = float(block.seconds.mean())
        # The first of all is slow: nothing is warm yet.
        self._item_s = now_s if not self._item_s else 0.5 * (self._item_s + now_s)
        self._take(block)


@contextmanager
def _shipped(job: Job) -> Iterator[Cargo]:
    cargo = Cargo(job)
    try:
        yield cargo
    finally:
        cargo.close()
