"""Recording a feed while it runs: its raw frames with the times of their receipt, and its events."""

from collections.abc import Sequence

from qfkit.core.events import MarketEvent

__all__ = ["Recorder"]


class Recorder:
    """Being written."""

    def __init__(self, path: str, provider: str) -> None:
        self.path = path
        self.provider = provider

    def frame(self, received_ns: int, payload: bytes | str) -> None:
        """A raw frame off the wire."""

    def events(self, batch: Sequence[MarketEvent]) -> None:
        """A batch of events as they are given."""

    def close(self) -> None:
        """Write what waits and close the files."""
