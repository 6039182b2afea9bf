"""The record of a stop on a book: put by a limit or by hand, and lifted."""

import msgspec

__all__ = ["RiskStop"]


class RiskStop(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A stop that was put on a strategy's book ("account": on all), or that was lifted from it.

    ``kind`` is "block_entries" or "flatten", ``change`` "began" or "lifted"; ``limit_name`` "" is one by hand, ``bound`` what the limit
    was. A
    stop with ``lifts_ns`` None ends by hand only.
    """

    time_ns: int
    strategy: str
    kind: str
    change: str
    limit_name: str
    value: float
    bound: float
    why: str
    lifts_ns: int | None = None
