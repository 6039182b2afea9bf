"""Several feeds that stand in for one another: each symbol follows the first that is well."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from qfkit.core.events import (
    Bar,
    CorporateAction,
    Depth,
    Gap,
    Heartbeat,
    Hours,
    Instrument,
    MarketEvent,
    Quote,
    Tick,
)
from qfkit.core.snapshot import FeedView, SymbolHealth
from qfkit.errors import ConnectionFailedError, ParameterError, SymbolError, did_you_mean
from qfkit.feeds.base import Feed, Rejected
from qfkit.feeds.exchange_time import ExchangeClock
from qfkit.feeds.facts import Facts
from qfkit.feeds.health import health_frame
from qfkit.feeds.part import Mail, Part
from qfkit.feeds.standby import Choice, Patience, Switch
from qfkit.feeds.tasks import end_tasks

if TYPE_CHECKING:
    import pandas

    from qfkit.feeds.bar_source import BarSource

__all__ = ["FailoverFeed"]

_logger = logging.getLogger("qfkit.feeds")

_replace = msgspec.structs.replace

_BATCH = 4_096
_WAITING_BATCHES = 8
_LOOK_S = 0.1
# After a standstill of this loop what came meanwhile is still on its way: nobody is called silent so long.
_LATE_S = 1.0
_KEPT_SWITCHES = 1_000
_PRICED = (Tick, Quote, Bar)
# A symbol is as well as the best of its sources, the feed as its worst symbol.
_RANKS = {"closed": 0, "connecting": 0, "stale": 1, "backfilling": 2, "running": 3, "live": 3}
_STATES = ("connecting", "stale", "backfilling", "live")


class FailoverFeed(Feed):
    """Feeds in the order of preference, all running; each symbol follows the first one that is well for it.

    A source is left when it is down, when it is silent for ``stale_after_s`` while another has newer
    events, or when its price stands still for ``frozen_after_s`` though it sends and the price of another
    moves. It is preferred again when it has been well for ``recover_after_s``. Each event bears its
    ``source``; a switch is told by a :class:`~qfkit.core.events.Gap`, logged, and kept in ``switches``.

    - ``symbols``: where the feeds spell a symbol differently, its spelling in each of them (None where
      one lacks it): ``{"BTCUSDT": ("BTCUSDT", "BTC-USD")}``. Events bear the common name.
    - ``backoff_s``: a feed that fails is tried again, after so long at first and up to a minute.

    An event that is older than what another source gave of the symbol is dropped and counted as late.
    The two sources' prices may differ by a little, so a switch may look like a move of the market.
    Raises :class:`ConnectionFailedError` when all feeds fail at the start, and :class:`SymbolError`
    for a symbol that none of them has.
    """

    name = "failover"
    has_sure_types = True
    is_live = True

    def __init__(
        self,
        feeds: Sequence[Feed],
        *,
        stale_after_s: float = 10.0,
        frozen_after_s: float = 60.0,
        recover_after_s: float = 30.0,
        symbols: Mapping[str, Sequence[str | None]] | None = None,
        backoff_s: float = 1.0,
    ) -> None:
        if not feeds or len({id(feed) for feed in feeds}) < len(feeds):
            raise ParameterError(f"feeds={list(feeds)!r}: give two or more different feeds, the preferred one first")
        seconds = {
            "stale_after_s": stale_after_s,
            "frozen_after_s": frozen_after_s,
            "recover_after_s": recover_after_s,
            "backoff_s": backoff_s,
        }
        for argument, value in seconds.items():
            if not 0.0 < value < inf:
                raise ParameterError(f"{argument}={value!r} must be above zero, and finite")
        if len({feed.timeframe for feed in feeds}) > 1:
            told = ", ".join(f"{feed.name} gives {feed.timeframe or 'ticks'}" for feed in feeds)
            raise ParameterError(f"feeds that stand in for one another must give the same: {told}")
        self.patience = Patience(stale_after_s, frozen_after_s, recover_after_s)
        self.parts = tuple(feeds)
        """The feeds, in the order of preference."""
        self._parts = [
            Part(place, feed, name) for place, (feed, name) in enumerate(zip(feeds, _names(feeds), strict=True))
        ]
        self._mapping = {symbol: tuple(spellings) for symbol, spellings in (symbols or {}).items()}
        self._spell()
        super().__init__(self._common(), label=", else ".join(feed.label for feed in feeds))
        self.timeframe = feeds[0].timeframe
        self.switches: deque[tuple[int, Switch]] = deque(maxlen=_KEPT_SWITCHES)
        """The latest switches, each with the time of it (UTC ns)."""
        self._seconds = seconds
        self._backoff_s = backoff_s
        self._look_s = min(_LOOK_S, stale_after_s / 8.0, recover_after_s / 4.0)
        self._clock = ExchangeClock()
        self._received_ns = 0
        self._beaten_ns = 0
        self._switches_count = 0
        self._choices: dict[str, Choice] = {}
        self._routes: list[dict[str, Choice]] = [{} for _ in feeds]
        self._facts = Facts()
        self._mail = Mail(_WAITING_BATCHES)

    # -- symbols -------------------------------------------------------------------------------

    def _spell(self) -> None:
        for symbol, spellings in self._mapping.items():
            if len(spellings) != len(self._parts):
                raise ParameterError(
                    f"symbols: {symbol!r} needs one spelling for each of the {len(self._parts)} feeds (None where "
                    f"one lacks it), not {spellings!r}"
                )
            for part, own in zip(self._parts, spellings, strict=True):
                if own is None:
                    continue
                if own not in part.feed.symbols:
                    raise ParameterError(f"symbols: {part.name} has no {own!r}.{did_you_mean(own, part.feed.symbols)}")
                part.own[symbol] = own
        for part in self._parts:
            spelt = set(part.own.values())
            for own in part.feed.symbols:
                if own not in spelt and part.own.setdefault(own, own) != own:
                    raise ParameterError(f"symbols: {own!r} means two things in {part.name}: name it in the mapping")

    def _common(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(symbol for part in self._parts for symbol in part.own))

    def _follow(self, symbol: str) -> None:
        names = [part.name if symbol in part.own else None for part in self._parts]
        choice = self._choices[symbol] = Choice(symbol, names, self.patience, time.monotonic())
        for part, route in zip(self._parts, self._routes, strict=True):
            if symbol in part.own:
                route[part.own[symbol]] = choice

    async def subscribe(self, symbols: Iterable[str] | str) -> None:
        """Follow more symbols, spelt alike in all feeds, also while the feed runs; a feed that cannot is left out."""
        names = dict.fromkeys([symbols] if isinstance(symbols, str) else symbols)
        added = [name for name in names if name not in self.symbols]
        for name in added:
            refusals = []
            for part in self._parts:
                if name not in part.feed.symbols and hasattr(part.feed, "subscribe"):
                    try:
                        await part.feed.subscribe([name])
                    except SymbolError as error:
                        refusals.append(f"{part.name}: {error}")
                own = next((own for own in (name, name.upper()) if own in part.feed.symbols), None)
                if own is not None:
                    part.own[name] = own
            if not any(name in part.own for part in self._parts):
                raise SymbolError(f"no feed has {name!r}: {'; '.join(refusals) or 'none can take more symbols'}")
            self.symbols += (name,)
            if self._is_open:
                self._follow(name)
        self._mail.nudge()

    async def unsubscribe(self, symbols: Iterable[str] | str) -> None:
        """Follow some symbols no longer."""
        for name in [symbols] if isinstance(symbols, str) else list(symbols):
            self.symbols = tuple(symbol for symbol in self.symbols if symbol != name)
            self._choices.pop(name, None)
            for part in self._parts:
                own = part.own.pop(name, None)
                if own is not None:
                    self._routes[part.place].pop(own, None)
                    if hasattr(part.feed, "unsubscribe"):
                        await part.feed.unsubscribe([own])

    # -- what is shown -------------------------------------------------------------------------

    @property
    def active(self) -> dict[str, str]:
        """The name of the source that each symbol follows; a symbol of which nothing came is not in it."""
        return {symbol: choice.active.name for symbol, choice in self._choices.items() if choice.active is not None}

    def _rows(self) -> list[tuple[SymbolHealth, bool]]:
        """The counters of each symbol and source, and whether the symbol follows that source."""
        views = [{view.symbol: view for view in part.feed.ledger.views()} for part in self._parts]
        rows = []
        for symbol in self.symbols:
            choice = self._choices.get(symbol)
            for part in self._parts:
                view = views[part.place].get(part.own.get(symbol, ""))
                if view is None:
                    continue
                source = None if choice is None else choice.sources[part.place]
                state = part.state(view.symbol)
                if source is not None and source.is_up and source.fault:
                    state = "stale"
                is_active = choice is not None and choice.place == part.place
                rows.append((_replace(view, symbol=symbol, source=part.name, state=state), is_active))
        return rows

    @property
    def health(self) -> "pandas.DataFrame":
        """How well each symbol's data arrive, one row a symbol and source; ``active`` is the one that is followed."""
        rows = self._rows()
        frame = health_frame(view for view, _ in rows)
        frame.insert(1, "active", [is_active for _, is_active in rows])
        return frame

    def view(self) -> FeedView:
        feeds = self.parts
        return _replace(
            super().view(),
            reconnects=sum(feed.reconnects for feed in feeds),
            gaps=self._switches_count + sum(feed.gaps for feed in feeds),
            bad=self.rejected_count + sum(feed.rejected_count for feed in feeds),
            late=sum(ledger.late for feed in feeds for ledger in feed.ledger.values()),
            symbols=tuple(view for view, _ in self._rows()),
        )

    @property
    def duplicates(self) -> int:
        return sum(feed.duplicates for feed in self.parts)

    @property
    def conflated(self) -> int:
        return sum(feed.conflated for feed in self.parts)

    def take_rejected(self) -> list[Rejected]:
        return [one for feed in self.parts for one in feed.take_rejected()] + super().take_rejected()

    def now_ns(self) -> int:
        return max(self._clock.now_ns(), self._received_ns)

    def recipe(self) -> dict[str, Any] | None:
        recipes = [feed.recipe() for feed in self.parts]
        if None in recipes:
            return None
        arguments: dict[str, Any] = {"feeds": recipes, **self._seconds}
        if self._mapping:
            arguments["symbols"] = {symbol: list(spellings) for symbol, spellings in self._mapping.items()}
        return {"class": "FailoverFeed", "arguments": arguments}

    def history_source(self) -> "BarSource | None":
        """That of the first feed that has one."""
        for part in self._parts:
            source = part.history_source()
            if source is not None:
                return source
        return None

    # -- the feeds -----------------------------------------------------------------------------

    async def stop(self) -> None:
        await super().stop()
        self._mail.nudge()

    async def _batches(self) -> AsyncIterator[list[MarketEvent]]:
        self._clock.catch_up()
        self._mail = mail = Mail(_WAITING_BATCHES)
        self._facts = Facts()
        self._received_ns = self._beaten_ns = 0
        self._choices.clear()
        for part, route in zip(self._parts, self._routes, strict=True):
            part.begin()
            route.clear()
        for symbol in self.symbols:
            self._follow(symbol)
        tasks = [
            asyncio.create_task(part.run(mail, self._backoff_s), name=f"reader of {part.feed.label}")
            for part in self._parts
        ]
        for task in tasks:
            task.add_done_callback(mail.nudge)
        look_s = time.monotonic() + self._look_s
        judging_s = 0.0
        try:
            while not self._stopping.is_set():
                out: list[MarketEvent] = []
                letter = await mail.take(look_s)
                while letter is not None:
                    self._take(*letter, out)
                    letter = mail.take_waiting() if len(out) < _BATCH else None
                now_s = time.monotonic()
                is_overdue = now_s - look_s >= _LATE_S
                if (now_s >= look_s or mail.is_nudged) and (mail.is_empty or is_overdue):
                    if is_overdue:
                        judging_s = now_s + _LATE_S
                    mail.is_nudged = False
                    look_s = now_s + self._look_s
                    self._look(now_s, out, is_judging=now_s >= judging_s)
                if out:
                    yield self._in_order(out)
                done = [task for task in tasks if task.done()]
                for task in done:
                    task.result()
                if len(done) == len(tasks) and mail.is_empty:
                    return
        finally:
            await end_tasks(tasks)

    def _look(self, now_s: float, out: list[MarketEvent], *, is_judging: bool) -> None:
        """Who is well, for every symbol; what that changes is told."""
        now_ns = self.now_ns()
        for part in self._parts:
            self._refresh(part, now_s)
        worst = len(_STATES) - 1
        for symbol, choice in self._choices.items():
            if not choice.has_sources:
                told = "; ".join(f"{part.name}: {part.lacking.get(symbol, 'not asked for')}" for part in self._parts)
                raise SymbolError(f"no feed has {symbol!r}. {told}")
            choice.look(now_s, now_ns, out, is_judging=is_judging)
            for switch in choice.switches:
                self._switches_count += 1
                self.switches.append((now_ns, switch))
                _logger.warning("%s: %s %s, %s goes on", symbol, switch.former, switch.reason, switch.source)
            choice.switches.clear()
            worst = min(worst, self._rank(choice))
        if self._facts.held:
            self._release(out)
        if not any(part.has_delivered for part in self._parts):
            self._check_start()
        self.state = _STATES[worst]
        self.lag_ms = next((part.feed.lag_ms for part in self._parts if part.is_running), None)

    def _rank(self, choice: Choice) -> int:
        """How well the best source of a symbol is."""
        best = 0
        for part, source in zip(self._parts, choice.sources, strict=True):
            if source is not None and source.is_up:
                best = max(best, 1 if source.fault else _RANKS[part.state(part.own[choice.symbol])])
        return best

    def _check_start(self) -> None:
        for part in self._parts:
            if not part.failures or (part.is_running and part.feed.state not in ("connecting", "closed")):
                return
        told = "; ".join(f"{part.name}: {part.reason}" for part in self._parts)
        raise ConnectionFailedError(f"none of the {len(self._parts)} feeds could be had. {told}")

    def _refresh(self, part: Part, now_s: float) -> None:
        """Take note of a feed's connections, and of the symbols it turned out to lack."""
        for symbol, choice in self._choices.items():
            source = choice.sources[part.place]
            if source is None:
                continue
            own = part.own.get(symbol)
            if own is None:
                choice.sources[part.place] = None
                continue
            trouble = part.trouble(own)
            source.turn(is_up=not trouble, trouble=trouble, now_s=now_s)
            source.has_failed = bool(trouble and part.failures)

    # -- events --------------------------------------------------------------------------------

    def _take(self, part: Part, arrived_s: float, batch: list[MarketEvent], out: list[MarketEvent]) -> None:
        now_ns, place, route = self.now_ns(), part.place, self._routes[part.place]
        for event in part.feed.checked(batch):
            if isinstance(event, Heartbeat):
                self._beat(part, event, out)
                continue
            choice = route.get(event.symbol)
            if choice is None:
                # Of a symbol that is followed no longer.
                continue
            if isinstance(event, _PRICED):
                part.has_delivered = True
                if event.time_ns > part.newest_ns:
                    part.newest_ns = event.time_ns
                if not choice.take(place, event, arrived_s, now_ns, out):
                    part.feed.ledger[event.symbol].late += 1
            elif isinstance(event, Gap):
                choice.take_gap(place, event, out)
            elif isinstance(event, Depth):
                choice.take_depth(place, event, out)
            elif isinstance(event, CorporateAction):
                self._facts.act(place, _replace(event, symbol=choice.symbol), out)
            else:
                self._learn(place, choice, _replace(event, symbol=choice.symbol), out)
        if self._facts.held:
            self._release(out)

    def _learn(self, place: int, choice: Choice, event: Instrument | Hours, out: list[MarketEvent]) -> None:
        # Until a symbol has begun, a feed that is preferred may still say it better.
        is_awaited = choice.place is None and any(choice.sources[:place])
        if self._facts.take(place, event, is_awaited=is_awaited, out=out) and isinstance(event, Hours):
            choice.hours = event

    def _release(self, out: list[MarketEvent]) -> None:
        """Give what was held for the sake of a preferred feed, of symbols that have begun without it."""
        for symbol in self._facts.held:
            choice = self._choices.get(symbol)
            if choice is None or choice.place is not None:
                self._facts.release(symbol, out)

    def _in_order(self, out: list[MarketEvent]) -> list[MarketEvent]:
        """The feeds' clocks differ by a little: times of receipt do not run back."""
        received_ns = self._received_ns
        for index, event in enumerate(out):
            if isinstance(event, Bar):
                continue
            if event.received_ns < received_ns:
                out[index] = _replace(event, received_ns=received_ns)
            else:
                received_ns = event.received_ns
        self._received_ns = received_ns
        return out

    def _beat(self, part: Part, beat: Heartbeat, out: list[MarketEvent]) -> None:
        """Time went on as far as it did in every source that is followed: none may be cut off by another's clock."""
        part.beat_ns = max(part.beat_ns, beat.time_ns)
        places = {
            choice.place for choice in self._choices.values() if choice.active is not None and choice.active.is_up
        }
        # A feed without heartbeats has told of all before its newest event.
        bounds = [one.beat_ns or one.newest_ns for one in self._parts if one.place in places]
        time_ns = min(bounds, default=0)
        if time_ns > self._beaten_ns:
            self._beaten_ns = time_ns
            out.append(Heartbeat(time_ns, beat.received_ns))


def _names(feeds: Sequence[Feed]) -> list[str]:
    """The feeds' names, numbered where they repeat."""
    names: list[str] = []
    for feed in feeds:
        number = sum(other.name == feed.name for other in feeds[: len(names)]) + 1
        names.append(feed.name if number == 1 else f"{feed.name} {number}")
    return names
