"""Ending tasks, so that none is left behind and asyncio reports none as never looked at."""

import asyncio
from collections.abc import Iterable
from typing import Any

__all__ = ["end_tasks"]


async def end_tasks(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel those that still run and wait for all. Their exceptions count as seen."""
    ended = list(tasks)
    # Where all are over nothing is awaited: whoever calls this may be cancelled at each await.
    running = [task for task in ended if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    for task in ended:
        if not task.cancelled():
            task.exception()
