"""The alert desk: the rules of one session, what they said, and who is told."""

import asyncio
import queue
import time
from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import Any, Self

from qfkit.core.engine import Engine
from qfkit.core.events import Bar, Event, Gap, Quote, Tick, WarmUp
from qfkit.core.records import Records
from qfkit.core.snapshot import Snapshot
from qfkit.errors import ParameterError, did_you_mean
from qfkit.journal.schema import Alert, Delivery
from qfkit.live.alert_rules import Rule, as_rule, rule_meta
from qfkit.live.alert_sinks import Sink, as_sinks
from qfkit.live.alert_watchers import Asked, watcher_of
from qfkit.live.asking import Question
from qfkit.live.couriers import Courier, Outcomes
from qfkit.live.watcher_base import PriceWatcher, RecordWatcher, SnapshotWatcher, Watcher

__all__ = ["AlertDesk"]

_LOOK_S = 0.02


class AlertDesk:
    """Rules, watchers and couriers of one session; all calls come from the session's thread.

    :meth:`see` and :meth:`look` have the watchers see what is there to see; what they say waits in
    ``fired`` until the journal has it, and only then goes to the sinks (:meth:`committed`).
    """

    def __init__(self, rules: Iterable[object] = (), sinks: Sequence[Sink] = ()) -> None:
        self.fired: list[Alert] = []
        self.deliveries: list[Delivery] = []
        self.faults: list[str] = []
        self.next_id = 1
        self._watchers: dict[str, Watcher] = {}
        self._questions: dict[str, Question] = {}
        self._sinks = list(sinks)
        self._outcomes: Outcomes = queue.SimpleQueue()
        self._are_sinks_open = False
        self._couriers: list[Courier] = []
        self._failing: set[str] = set()
        self._traded: set[str] = set()
        self._warm_ns = 0
        for rule in rules:
            self._put(as_rule(rule))
        self._sort()

    @classmethod
    def of(cls, rules: object, notify: object) -> Self:
        """The desk for what a user gave: one rule or several, one sink or several."""
        several = list(rules) if isinstance(rules, Sequence) else [rules]
        return cls(several, as_sinks(notify))

    # -- rules -----------------------------------------------------------------------------------------

    @property
    def rules(self) -> dict[str, Rule]:
        """The rules by their names."""
        return {name: watcher.rule for name, watcher in self._watchers.items()}

    def add(self, rule: Rule) -> str:
        """A rule more; returns its name."""
        self._put(rule)
        self._sort()
        return rule.title

    def _put(self, rule: Rule) -> None:
        name = rule.title
        if name in self._watchers:
            raise ParameterError(f"there is a rule {name!r} already: give this one another name=")
        watcher = self._watchers[name] = watcher_of(rule, self._take)
        if isinstance(watcher, Asked):
            self._questions[name] = Question(watcher)

    def remove(self, name: str) -> None:
        """A rule less."""
        if name not in self._watchers:
            raise ParameterError(f"no alert rule {name!r}.{did_you_mean(name, self._watchers)}")
        del self._watchers[name]
        if question := self._questions.pop(name, None):
            question.close()
        self._sort()

    def check_strategies(self, names: Iterable[str]) -> None:
        """Raise :class:`ParameterError` for a rule about a strategy that is not there."""
        known = tuple(names)
        for rule in self.rules.values():
            strategy = getattr(rule, "strategy", None)
            if strategy is not None and strategy not in known:
                raise ParameterError(f"{rule.title!r}: no strategy {strategy!r} here.{did_you_mean(strategy, known)}")

    def _sort(self) -> None:
        """Who sees what, so that what no rule asks for costs nothing."""
        watchers = list(self._watchers.values())
        self._price_watchers = [one for one in watchers if isinstance(one, PriceWatcher)]
        self._record_watchers = [one for one in watchers if isinstance(one, RecordWatcher)]
        self._snapshot_watchers = [one for one in watchers if isinstance(one, SnapshotWatcher)]
        self._by_symbol: dict[str, list[PriceWatcher]] = {}
        self._sees_events = bool(self._price_watchers or self._record_watchers)

    def _at(self, symbol: str) -> list[PriceWatcher]:
        """Who sees the prices of a symbol."""
        found = self._by_symbol.get(symbol)
        if found is None:
            found = self._by_symbol[symbol] = [
                one
                for one in self._price_watchers
                if one.symbol in (None, symbol) and type(one).on_price is not PriceWatcher.on_price
            ]
        return found

    # -- what is written into the journal --------------------------------------------------------------

    def as_meta(self) -> dict[str, Any]:
        """The rules and, without their secrets, the sinks; for the journal's table ``meta``."""
        return {
            "alerts": [rule_meta(rule) for rule in self.rules.values()],
            "notify": [{"label": sink.label, "recipe": sink.recipe()} for sink in self._sinks],
        }

    def take_state(self) -> dict[str, Any]:
        """What the rules must know to go on after a resume, where it changed; for ``meta``."""
        watchers = self._watchers.values()
        if not any(watcher.is_changed for watcher in watchers):
            return {}
        for watcher in watchers:
            watcher.is_changed = False
        return {"alert_state": {watcher.title: watcher.state for watcher in watchers}}

    def restore(self, state: Mapping[str, Any], alerts: Sequence[Alert]) -> None:
        """Go on where a session stood."""
        self.next_id = alerts[-1].alert_id + 1 if alerts else 1
        for name, one in state.items():
            if name in self._watchers:
                self._watchers[name].restore(one)

    # -- what is seen ----------------------------------------------------------------------------------

    @property
    def is_waiting(self) -> bool:
        """Whether there is something for the journal."""
        return bool(self.fired or self.faults) or not self._outcomes.empty()

    def open(self, session: str) -> None:
        """The session begins; on the user's own thread."""
        if self.rules:
            self.open_sinks()
        self._couriers = [Courier(sink, session, self._outcomes) for sink in self._sinks]

    def open_sinks(self) -> None:
        """There is a rule: sinks take their places, once, on the user's own thread. A cell has no empty place before."""
        if not self._are_sinks_open:
            self._are_sinks_open = True
            for sink in self._sinks:
                sink.open()

    def see(self, events: Sequence[Event], records: Records, engine: Engine) -> None:
        """What happened since the last time, about to be committed."""
        if self._sees_events:
            if not self._traded:
                self._traded = {symbol for symbol, track in engine.tracks.items() if track.market.has_trades}
            self._see_events(events)
        if self._record_watchers:
            names = tuple(engine.equity_names)
            for watcher in self._record_watchers:
                watcher.on_records(records, names, engine.clock_ns, self._warm_ns)

    def _see_events(self, events: Sequence[Event]) -> None:
        traded = self._traded
        for event in events:
            kind = type(event)
            if kind is Tick:
                symbol = event.symbol  # type: ignore[union-attr]
                if event.flag != "stale":  # type: ignore[union-attr]
                    traded.add(symbol)
                    for watcher in self._at(symbol):
                        watcher.on_price(symbol, event.price, event.size, event.time_ns, event.received_ns)  # type: ignore[union-attr]
            elif isinstance(event, Quote):
                # As the engine has it: the middle is a price only where no trade was ever seen.
                if event.symbol not in traded:
                    middle = (event.bid + event.ask) / 2.0
                    for watcher in self._at(event.symbol):
                        watcher.on_price(event.symbol, middle, nan, event.time_ns, event.received_ns)
            elif isinstance(event, Bar):
                traded.add(event.symbol)
                for watcher in self._at(event.symbol):
                    _walk(watcher, event)
            elif isinstance(event, Gap):
                for watcher in self._price_watchers:
                    if watcher.symbol in (None, event.symbol):
                        watcher.on_gap(event)
            elif isinstance(event, WarmUp):
                self._warm_ns = max(self._warm_ns, event.received_ns)
                for bar in event.bars:
                    for watcher in self._at(bar.symbol):
                        watcher.on_past_bar(bar.symbol, bar.volume, bar.close_ns)

    def look(self, snapshot: Snapshot, now_ns: int) -> None:
        """A snapshot of what is committed."""
        for watcher in self._snapshot_watchers:
            watcher.on_snapshot(snapshot, now_ns)
        for name, question in list(self._questions.items()):
            fault = question.ask(snapshot, now_ns)
            if fault:
                self.faults.append(f"the alert rule {name!r} {fault}")
            if question.is_over:
                self.remove(name)

    def end(self, session: str, state: str, error: str, now_ns: int) -> None:
        """The session is about to end in this state."""
        for watcher in self._snapshot_watchers:
            watcher.on_end(session, state, error, now_ns)

    def _take(
        self,
        watcher: Watcher,
        time_ns: int,
        text: str,
        *,
        symbol: str | None,
        strategy: str | None,
        value: float,
        level: float,
        held_back: int,
    ) -> None:
        kind = type(watcher.rule).__name__
        self._fire(watcher.title, kind, time_ns, text, symbol, strategy, float(value), float(level), held_back)

    def tell(self, title: str, kind: str, time_ns: int, text: str, value: float, level: float) -> None:
        """Something that no rule of the desk's own had to say."""
        self._fire(title, kind, time_ns, text, None, None, value, level, 0)

    def _fire(
        self,
        title: str,
        kind: str,
        time_ns: int,
        text: str,
        symbol: str | None,
        strategy: str | None,
        value: float,
        level: float,
        held_back: int,
    ) -> None:
        # Reasons and symbols come from outside: what is no character to print must reach no terminal.
        shown = "".join(one if one.isprintable() else " " for one in text)
        self.fired.append(Alert(self.next_id, time_ns, title, kind, shown, symbol, strategy, value, level, held_back))
        self.next_id += 1

    # -- what becomes of it ----------------------------------------------------------------------------

    def take_deliveries(self) -> list[str]:
        """Gather what the couriers reported into ``deliveries``; returns what of it a person should read."""
        said = []
        while not self._outcomes.empty():
            one = self._outcomes.get_nowait()
            self.deliveries.append(one)
            if one.outcome == "sent":
                self._failing.discard(one.sink)
            elif one.outcome != "retried" and one.sink not in self._failing:
                # The first says enough: the journal has them all.
                self._failing.add(one.sink)
                said.append(f"alert {one.alert_id} was not delivered to {one.sink}: {one.reason}")
        return said

    def committed(self) -> None:
        """What waited is in the journal: now the sinks are told."""
        for alert in self.fired:
            for courier in self._couriers:
                courier.send(alert)
        self.fired.clear()
        self.deliveries.clear()

    async def drain(self, patience_s: float) -> None:
        """Wait until everything is delivered, for a moment at most; the rest is given up."""
        end_s = time.monotonic() + patience_s
        # The couriers are on threads of their own, which no asyncio.Event reaches.
        while time.monotonic() < end_s and not all(one.is_idle for one in self._couriers):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        self.close()

    def close(self) -> None:
        for courier in self._couriers:
            courier.close()
        for question in self._questions.values():
            question.close()


def _walk(watcher: PriceWatcher, bar: Bar) -> None:
    """The prices of a bar in a likely order: the extreme behind its direction comes first."""
    first, second = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
    watcher.on_price(bar.symbol, bar.open, nan, bar.open_ns, bar.close_ns)
    for price in (first, second):
        watcher.on_price(bar.symbol, price, nan, bar.close_ns, bar.close_ns)
    # A bar ends before the moment of its close, as its volume does.
    watcher.on_price(bar.symbol, bar.close, bar.volume, bar.close_ns - 1, bar.close_ns)
