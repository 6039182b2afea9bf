"""A process that does timed work on request: one JSON line in, one JSON line out.

Each side of a comparison has a process of its own, which waits while the other works, so that
runs can alternate and what one keeps in memory is no burden to the other.
"""

import contextlib
import gc
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self

__all__ = ["Worker", "serve", "timed"]

Job = Callable[..., dict[str, Any]]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and answer of a piece of work, with the garbage of what came before collected first."""
    gc.collect()
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer


def serve(jobs: Mapping[str, Job]) -> None:
    """Answer requests until the input ends. What the libraries print goes to the error stream."""
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = jobs[request.pop("job")](**request)
            except Exception:
                answer = {"error": traceback.format_exc()}
            answers.write(json.dumps(answer) + "\n")


class Worker:
    """The other end of :func:`serve`."""

    def __init__(self, python: Path | str, module: str, *arguments: str, log: IO[bytes] | None = None) -> None:
        self.module = module
        root = Path(__file__).parent.parent
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [str(python), "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=root,
            env=environment,
        )

    def ask(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Have a job done and return its answer; an exception over there is one here."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"job": job, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.module} ended with {self.process.wait()} during {job}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.module}: {job} failed\n{answer['error']}")
        return answer

    def close(self) -> None:
        """Let the process end."""
        with contextlib.suppress(BrokenPipeError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        self.process.wait(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
