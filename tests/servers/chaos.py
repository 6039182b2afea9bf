"""All faults of an exchange's server, at random."""

import asyncio
import random
import time
from collections.abc import Sequence
from http import HTTPStatus

from tests.servers.exchange import ExchangeServer

__all__ = ["Chaos"]


class Chaos:
    """Breaks a server at random, some times a minute, and notes what it did."""

    FAULTS: Sequence[str] = (
        "abort", "close_1000", "close_1001", "close_1012", "silence", "stall", "rubbish", "notice", "leave", "oversize",
        "drip", "restart", "outage", "hostile", "refusal", "skip", "repeat", "shuffle", "loss", "everything",
    )  # fmt: skip

    def __init__(self, server: ExchangeServer, *, seed: int, every_s: float) -> None:
        self.server = server
        self.done: list[str] = []
        self._every_s = every_s
        self._chance = random.Random(seed)
        self._left: list[str] = []

    async def run(self, seconds: float) -> None:
        """Break and mend for so long; in the end all is well."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * self._every_s)
            if not self._left:
                # Each has its turn before one comes again.
                self._left = self._chance.sample(self.FAULTS, len(self.FAULTS))
            await self._break(self._left.pop())
        self.server.rest_fails.clear()

    async def _break(self, fault: str) -> None:
        server, chance = self.server, self._chance
        self.done.append(fault)
        if chance.random() < 0.3:
            server.rest_retry_after = "0.2"
            server.rest_fails += chance.choices((429, 500, 503), k=chance.randint(1, 6))
        if fault == "restart":
            await server.restart(chance.uniform(0.1, 1.0))
        elif fault == "outage":
            await server.outage(chance.uniform(0.1, 1.0))
        elif fault == "hostile":
            server.closes_at_once = True
            await server.drop("close_1000")
            await asyncio.sleep(chance.uniform(0.2, 0.6))
            server.closes_at_once = False
        elif fault == "refusal":
            server.refuse, server.retry_after = HTTPStatus.TOO_MANY_REQUESTS, "0.5"
            await server.drop("abort")
            await asyncio.sleep(chance.uniform(0.1, 0.4))
            server.refuse = server.retry_after = None
        elif fault in ("skip", "repeat", "shuffle", "loss", "everything"):
            kinds = ("skip", "repeat", "shuffle", "loss") if fault == "everything" else (fault,)
            for kind in kinds:
                setattr(server, f"{kind}_share", 0.2)
            await asyncio.sleep(chance.uniform(0.2, 0.8))
            for kind in kinds:
                setattr(server, f"{kind}_share", 0.0)
        else:
            one_only = chance.random() < 0.5 and bool(server.lines)
            await server.drop(fault, [chance.choice(server.lines)] if one_only else None)
