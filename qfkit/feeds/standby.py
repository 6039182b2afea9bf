"""Which of several sources of one symbol counts: the first in the order of preference that is well.

A source is not well while it is *down* (no connection), *stale* (silent while another one goes on) or
*frozen* (it sends, but one price only, while the price of another moves). Nothing here reads a clock:
``now_s`` is monotonic seconds, ``now_ns`` UTC nanoseconds.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from qfkit.core.events import Bar, Depth, Gap, Hours, MarketEvent, Quote, Tick

__all__ = ["Choice", "Patience", "Source", "Switch"]

Priced: TypeAlias = Tick | Quote | Bar

_replace = msgspec.structs.replace

# A price moves when it leaves the last one it moved to by more than this share; so many moves tell a lie.
_TOLERANCE = 0.0002
_MOVES = 3
# Fewer events than this at one price may be a quiet market.
_FLOWING = 3
_KEPT_BARS = 100
# An event from the future must not make all that comes after it old.
_AHEAD_NS = 5 * 1_000_000_000


class Patience(msgspec.Struct, frozen=True):
    """How long a source may be silent or frozen, and must be well before it is preferred again; in seconds."""

    stale_after_s: float
    frozen_after_s: float
    recover_after_s: float


class Switch(msgspec.Struct, frozen=True):
    """A symbol goes on with another source, and why."""

    symbol: str
    former: str
    source: str
    reason: str


class Source:
    """One source of a symbol: whether it is well, and its latest events while it stands by."""

    __slots__ = (
        "_flowing",
        "_kept_bars",
        "_kept_quote",
        "_kept_tick",
        "_moves",
        "_references",
        "_same_since_s",
        "_values",
        "fault",
        "has_failed",
        "is_up",
        "last_s",
        "name",
        "newest_ns",
        "since_s",
        "trouble",
        "well_since_s",
    )

    def __init__(self, name: str, now_s: float) -> None:
        self.name = name
        self.is_up = False
        self.has_failed = False
        """Whether it ended or raised, now or at its last attempt."""
        self.trouble = "is not connected"
        """Why it is down, in words."""
        self.fault = "is not connected"
        """Why it is not well; "" for one that is."""
        self.since_s = now_s
        self.last_s: float | None = None
        """When its last event came that was newer than those before."""
        self.well_since_s: float | None = None
        self.newest_ns = 0
        self._kept_tick: Tick | None = None
        self._kept_quote: Quote | None = None
        self._kept_bars: deque[Bar] = deque(maxlen=_KEPT_BARS)
        self._values: dict[type, float | tuple[float, float]] = {}
        self._references: dict[type, float] = {}
        self._same_since_s = now_s
        self._flowing = 0
        self._moves: deque[float] = deque(maxlen=_MOVES)

    @property
    def has_events(self) -> bool:
        return self.newest_ns > 0

    def turn(self, *, is_up: bool, trouble: str, now_s: float) -> None:
        """Take note of its connection."""
        if is_up and not self.is_up:
            self.since_s = self._same_since_s = now_s
            self._flowing = 0
            self.has_failed = False
            self.fault = ""
        self.is_up = is_up
        self.trouble = trouble

    def note(self, event: Priced, now_s: float) -> None:
        """Take note of an event, as of life and of its price."""
        kind = type(event)
        time_ns = event.time_ns
        is_newer = time_ns > self.newest_ns
        if is_newer:
            self.newest_ns = time_ns
        if isinstance(event, Tick):
            if event.flag is not None:
                # A last known price is no sign of life, and one from the past does not move the present.
                if event.flag != "stale":
                    self.last_s = now_s
                return
            value: float | tuple[float, float] = event.price
            middle = event.price
        elif isinstance(event, Quote):
            value = (event.bid, event.ask)
            middle = (event.bid + event.ask) / 2.0
        else:
            value = middle = event.close
        if is_newer:
            self.last_s = now_s
        if self._values.get(kind) != value:
            self._values[kind] = value
            self._same_since_s = now_s
            self._flowing = 0
            reference = self._references.get(kind)
            if reference is None:
                self._references[kind] = middle
            elif abs(middle - reference) > _TOLERANCE * reference:
                self._references[kind] = middle
                self._moves.append(now_s)
        else:
            self._flowing += 1

    def keep(self, event: Priced) -> None:
        """Keep an event while the source stands by: the latest trade and quote, and the latest bars."""
        if isinstance(event, Tick):
            self._kept_tick = event
        elif isinstance(event, Quote):
            self._kept_quote = event
        else:
            self._kept_bars.append(event)

    def take_kept(self) -> list[Priced]:
        """What was kept, in the order of time."""
        kept: list[Priced] = [*self._kept_bars]
        kept += [event for event in (self._kept_tick, self._kept_quote) if event is not None]
        self._kept_bars.clear()
        self._kept_tick = self._kept_quote = None
        return sorted(kept, key=lambda event: event.time_ns)

    def is_stuck(self, now_s: float, after_s: float) -> bool:
        """Whether events flow at one price for so long."""
        return self._flowing >= _FLOWING and now_s - self._same_since_s >= after_s

    def has_moved_since(self, other: "Source") -> bool:
        """Whether this one's price moved several times while that of the other stood still."""
        return len(self._moves) == _MOVES and self._moves[0] >= other._same_since_s


class Choice:
    """One symbol, its sources in the order of preference (None: a feed without it), and the one that counts.

    What is to be given is added to ``out``; ``switches`` holds the changes until somebody takes them.
    """

    def __init__(self, symbol: str, names: Sequence[str | None], patience: Patience, now_s: float) -> None:
        self.symbol = symbol
        self.sources = [None if name is None else Source(name, now_s) for name in names]
        self.place: int | None = None
        """The place of the active source; None before the first event."""
        self.hours: Hours | None = None
        self.switches: list[Switch] = []
        self._patience = patience
        self._began_s = now_s
        # Of what was given: the newest times of the exchange, of a quote that has none of it, of receipt.
        self._newest_ns = 0
        self._newest_quote_ns = 0
        # The same of the sources before the active one.
        self._floor_ns = 0
        self._floor_quote_ns = 0
        self._pending: Switch | None = None

    @property
    def active(self) -> Source | None:
        return None if self.place is None else self.sources[self.place]

    @property
    def has_sources(self) -> bool:
        return any(source is not None for source in self.sources)

    # -- events --------------------------------------------------------------------------------

    def take(self, place: int, event: Priced, now_s: float, now_ns: int, out: list[MarketEvent]) -> bool:
        """An event of the source at a place: given if that is the active one, else kept.

        False for one that is dropped, since another source told of that time already.
        """
        source = self.sources[place]
        if source is None:
            return True
        source.note(event, now_s)
        if self.place is None:
            if not source.is_up:
                # It was when it sent this; it is asked for its state only now and then.
                source.turn(is_up=True, trouble="", now_s=now_s)
            if self._first(now_s) == place:
                self._begin(place, now_ns, out)
        if self.place == place:
            return self._give(source.name, event, now_ns, out)
        source.keep(event)
        return True

    def take_gap(self, place: int, gap: Gap, out: list[MarketEvent]) -> None:
        """What the active source could not deliver, unless another one covered the time."""
        if self.place == place and gap.end_ns > self._floor_ns:
            out.append(_replace(gap, symbol=self.symbol, start_ns=max(gap.start_ns, self._floor_ns)))

    def take_depth(self, place: int, depth: Depth, out: list[MarketEvent]) -> None:
        """The book of the active source; that of another is of no use, and is told anew when it is."""
        active = self.active
        if self.place == place and active is not None:
            out.append(_replace(depth, symbol=self.symbol, source=active.name))

    def _give(self, name: str, event: Priced, now_ns: int, out: list[MarketEvent]) -> bool:
        time_ns = event.time_ns
        if type(event) is Quote:
            # A quote that bears the time of its receipt cannot be compared with the times of an exchange.
            if time_ns == event.received_ns:
                is_late = time_ns < self._floor_quote_ns
                if time_ns > self._newest_quote_ns:
                    self._newest_quote_ns = time_ns
            else:
                is_late = time_ns < self._floor_ns
                if time_ns > self._newest_ns:
                    self._newest_ns = time_ns
        else:
            # Of trades and bars that bear the same time: another source told of that volume already.
            is_late = time_ns <= self._floor_ns
            if time_ns > self._newest_ns:
                self._newest_ns = time_ns
        if is_late:
            return False
        if self._pending is not None:
            self._tell_gap(self._pending, event, now_ns, out)
            self._pending = None
        out.append(_replace(event, symbol=self.symbol, source=name))
        return True

    def _tell_gap(self, switch: Switch, event: Priced, now_ns: int, out: list[MarketEvent]) -> None:
        start_ns = self._floor_ns or self._floor_quote_ns
        if not start_ns or (type(event) is Bar and event.open_ns <= start_ns):
            return
        reason = f"{switch.former} {switch.reason}: {switch.source} goes on"
        out.append(Gap(self.symbol, start_ns, max(start_ns, event.time_ns), now_ns, None, reason))

    # -- which one counts ------------------------------------------------------------------------

    def look(self, now_s: float, now_ns: int, out: list[MarketEvent], *, is_judging: bool = True) -> None:
        """Time went on: find out who is well, and switch. Without ``is_judging`` only lost connections count."""
        self._judge(now_s, now_ns, is_judging)
        if self.place is None:
            first = self._first(now_s)
            if first is not None:
                self._begin(first, now_ns, out)
            return
        active = self.sources[self.place]
        if active is None or active.fault:
            for place, source in enumerate(self.sources):
                if source is not None and not source.fault:
                    self._switch(place, "is not followed any more" if active is None else active.fault, now_ns, out)
                    return
            return
        for place, source in enumerate(self.sources[: self.place]):
            if source is not None and self._is_back(source, now_s):
                self._switch(place, f"gives way, {source.name} is well again", now_ns, out)
                return

    def _judge(self, now_s: float, now_ns: int, is_judging: bool) -> None:
        up = [source for source in self.sources if source is not None and source.is_up]
        is_open = is_judging and self._is_open(now_ns)
        stuck_s = self._patience.frozen_after_s
        frozen = [
            source
            for source in up
            if is_open
            and source.is_stuck(now_s, stuck_s)
            and any(other.has_moved_since(source) for other in up if other is not source)
        ]
        honest = [source for source in up if source not in frozen]
        for source in self.sources:
            if source is None:
                continue
            if not source.is_up:
                source.fault = source.trouble
            elif is_open:
                if source in frozen:
                    source.fault = f"is frozen: one price for {stuck_s:g} s while the price of another moved"
                elif self._is_stale(source, honest, now_s):
                    source.fault = f"is stale: nothing new for {self._patience.stale_after_s:g} s while another goes on"
                else:
                    source.fault = ""
            elif is_judging:
                source.fault = ""
            if source.fault:
                source.well_since_s = None
            elif source.well_since_s is None:
                source.well_since_s = now_s

    def _is_stale(self, source: Source, honest: list[Source], now_s: float) -> bool:
        stale_after_s = self._patience.stale_after_s
        last_s = source.since_s if source.last_s is None else max(source.last_s, source.since_s)
        if now_s - last_s < stale_after_s:
            return False
        # Where all fell silent together, one of them was the last by a moment: that is no sign of life.
        return any(
            other is not source
            and other.last_s is not None
            and other.last_s - last_s >= stale_after_s / 2.0
            and now_s - other.last_s < stale_after_s
            for other in honest
        )

    def _is_open(self, now_ns: int) -> bool:
        if self.hours is None:
            return True
        sessions = self.hours.sessions
        place = bisect_right(sessions, now_ns, key=lambda session: session[0]) - 1
        return place >= 0 and now_ns < sessions[place][1]

    def _is_back(self, source: Source, now_s: float) -> bool:
        since_s = source.well_since_s
        if since_s is None or source.last_s is None or source.last_s < since_s:
            return False
        return now_s - since_s >= self._patience.recover_after_s

    def _first(self, now_s: float) -> int | None:
        """Who may begin: the most preferred is waited for, unless it failed or takes longer than it may be silent."""
        is_patient = now_s - self._began_s < self._patience.stale_after_s
        for place, source in enumerate(self.sources):
            if source is None:
                continue
            if source.is_up and source.has_events:
                return place
            if is_patient and not source.has_failed:
                return None
        return None

    def _begin(self, place: int, now_ns: int, out: list[MarketEvent]) -> None:
        self.place = place
        self._release(place, now_ns, out)

    def _switch(self, place: int, reason: str, now_ns: int, out: list[MarketEvent]) -> None:
        former, source = self.active, self.sources[place]
        assert source is not None
        switch = Switch(self.symbol, "the source before" if former is None else former.name, source.name, reason)
        self.switches.append(switch)
        self._pending = switch
        self.place = place
        self._floor_ns = self._newest_ns = min(self._newest_ns, now_ns + _AHEAD_NS)
        self._floor_quote_ns = self._newest_quote_ns = min(self._newest_quote_ns, now_ns + _AHEAD_NS)
        self._release(place, now_ns, out)

    def _release(self, place: int, now_ns: int, out: list[MarketEvent]) -> None:
        """Give what the new source had last, as far as it is newer than what was given."""
        source = self.sources[place]
        assert source is not None
        for event in source.take_kept():
            if isinstance(event, Quote):
                is_untimed = event.time_ns == event.received_ns
                floor_ns = self._floor_quote_ns if is_untimed else self._floor_ns
            else:
                floor_ns = self._floor_ns
            if event.time_ns <= floor_ns:
                continue
            self._give(source.name, _known_now(event, now_ns), now_ns, out)


def _known_now(event: Priced, now_ns: int) -> Priced:
    """An event that was kept, as given now: a trade of the past fills no order sent after it."""
    if isinstance(event, Tick):
        return _replace(event, received_ns=now_ns, flag=event.flag or "backfilled")
    return event
