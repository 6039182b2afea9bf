"""Yahoo's snapshots as ticks: what is new in them, how much traded since the one before, what is too old."""

from math import nan
from typing import Literal

from qfkit.core.events import Quote, Tick
from qfkit.feeds.yahoo_frames import CRYPTOCURRENCY, Pricing

__all__ = ["Snapshots", "quote_of"]

_SECOND_NS = 1_000_000_000
_FRESH_NS = 60 * _SECOND_NS


class _Known:
    __slots__ = ("asked_ns", "day_volume", "seen", "time_ns")

    def __init__(self, asked_ns: int) -> None:
        self.asked_ns = asked_ns
        self.time_ns: int | None = None
        self.day_volume: int | None = None
        # Of the newest time only: several snapshots bear one second.
        self.seen: set[tuple[float, int | None]] = set()


class Snapshots:
    """Remembers what was last known of each symbol, whoever told it."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def expect(self, symbol: str, asked_ns: int) -> None:
        """A symbol is subscribed at a time; a first price from before that is the last known one, not news."""
        self._known[symbol] = _Known(asked_ns)

    def forget(self, symbol: str) -> None:
        """A symbol is followed no longer."""
        self._known.pop(symbol, None)

    def time_ns(self, symbol: str) -> int | None:
        """The time of the last price of a symbol; None before the first."""
        known = self._known.get(symbol)
        return None if known is None else known.time_ns

    def tick(self, pricing: Pricing, now_ns: int, source: str | None) -> Tick | Literal["duplicate", "late"]:
        """A snapshot as a tick, unless it says nothing new. ``now_ns`` is by the exchange's clock.

        Its size is what traded since the snapshot before, NaN where that is not known. It is flagged
        "stale" if it is a minute old, or the first of its symbol and from before it was asked for.
        """
        known = self._known.setdefault(pricing.symbol, _Known(pricing.received_ns))
        time_ns, volume = pricing.time_ns, pricing.day_volume
        is_first = known.time_ns is None
        said = (pricing.price, volume)
        if known.time_ns is not None and time_ns < known.time_ns:
            return "late"
        if time_ns != known.time_ns:
            known.time_ns = time_ns
            known.seen.clear()
        elif said in known.seen:
            return "duplicate"
        known.seen.add(said)
        size = nan
        if volume is not None and pricing.quote_type != CRYPTOCURRENCY:
            if known.day_volume is not None:
                # A new day's count begins at zero again.
                size = float(max(0, volume - known.day_volume))
            known.day_volume = volume
        # Times are whole seconds.
        is_old = now_ns - time_ns > _FRESH_NS or (is_first and time_ns + _SECOND_NS <= known.asked_ns)
        flag: Literal["stale"] | None = "stale" if is_old else None
        return Tick(pricing.symbol, pricing.price, size, time_ns, pricing.received_ns, None, None, source, flag)


def quote_of(pricing: Pricing) -> Quote | None:
    """The best bid and ask of a snapshot; None where it has none, as was so of all that were ever seen."""
    bid, ask = pricing.bid, pricing.ask
    if bid is None or ask is None:
        return None
    bid_size = nan if pricing.bid_size is None else float(pricing.bid_size)
    ask_size = nan if pricing.ask_size is None else float(pricing.ask_size)
    return Quote(pricing.symbol, bid, bid_size, ask, ask_size, pricing.time_ns, pricing.received_ns)
