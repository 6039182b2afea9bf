"""A journal as the lists that a result is made of."""

from functools import cached_property
from pathlib import Path
from typing import Any

from qfkit.journal.reader import JournalReader

__all__ = ["Recorded"]


class Recorded:
    """A journal's records, each kind read when it is first asked for, and kept."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _read(self, kind: str) -> Any:
        with JournalReader(self._path) as reader:
            return getattr(reader, kind)()

    @cached_property
    def orders(self) -> Any:
        return self._read("orders")

    @cached_property
    def fills(self) -> Any:
        return self._read("fills")

    @cached_property
    def signals(self) -> Any:
        return self._read("signals")

    @cached_property
    def trades(self) -> Any:
        return self._read("trades")

    @cached_property
    def bars(self) -> Any:
        return self._read("bars")

    @cached_property
    def equity(self) -> Any:
        return self._read("equity")

    @cached_property
    def transfers(self) -> Any:
        return self._read("transfers")

    @cached_property
    def stops(self) -> Any:
        return self._read("stops")

    @cached_property
    def margin_calls(self) -> Any:
        return self._read("margin_calls")

    @cached_property
    def financing(self) -> Any:
        return self._read("financing")

    @cached_property
    def faults(self) -> Any:
        return self._read("faults")

    @cached_property
    def assessments(self) -> Any:
        return self._read("assessments")
