"""What every alert watcher is: the state of one rule, which sees what its rule is about and nothing else.

A watcher says by its class what it wants to see: prices and gaps (events), records (what the engine
made of them), or snapshots. All are called on the session's thread with what is in the journal, or
will be in the same transaction as the alert.
"""

from collections.abc import Mapping
from math import nan
from typing import Any, Protocol

from qfkit.core.events import Gap
from qfkit.core.records import Records
from qfkit.core.snapshot import Snapshot
from qfkit.live.alert_rules import Rule

__all__ = ["SECOND_NS", "PriceWatcher", "RecordWatcher", "SnapshotWatcher", "Teller", "Watcher"]

SECOND_NS = 1_000_000_000


class Teller(Protocol):
    """Takes what a watcher has to say."""

    def __call__(
        self,
        watcher: "Watcher",
        time_ns: int,
        text: str,
        *,
        symbol: str | None,
        strategy: str | None,
        value: float,
        level: float,
        held_back: int,
    ) -> None: ...


class Watcher:
    """One rule's state: which of its levels are left behind (``disarmed``), and when it last spoke."""

    def __init__(self, rule: Rule, tell: Teller) -> None:
        self.rule = rule
        self.title = rule.title
        self.is_changed = False
        self._tell = tell
        self._disarmed: set[str] = set()
        self._last_ns: dict[str, int] = {}
        self._held_back: dict[str, int] = {}
        every_s = rule.usual_every_s if rule.every_s is None else rule.every_s
        self._every_ns = round(every_s * SECOND_NS)

    # -- kept in the journal, so that a resumed session does not say everything again -----------------

    @property
    def state(self) -> dict[str, Any]:
        return {"disarmed": sorted(self._disarmed), "last_ns": self._last_ns, "held_back": self._held_back}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._disarmed = set(state["disarmed"])
        self._last_ns, self._held_back = dict(state["last_ns"]), dict(state["held_back"])

    # -- for the kinds ---------------------------------------------------------------------------------

    def _reached(self, key: str, time_ns: int, *, is_over: bool, is_back: bool) -> bool:
        """Whether a level is to be told of now: not again before it was left (``is_back``).

        What is reached too soon after the last alert is told when its time has come, if it is so still.
        """
        if key in self._disarmed:
            if is_back:
                self._disarmed.discard(key)
                self.is_changed = True
            return False
        if not is_over or self._is_too_soon(key, time_ns):
            return False
        self._disarmed.add(key)
        return True

    def _is_too_soon(self, key: str, time_ns: int) -> bool:
        last_ns = self._last_ns.get(key)
        return last_ns is not None and time_ns - last_ns < self._every_ns

    def _say(
        self,
        time_ns: int,
        text: str,
        *,
        key: str = "",
        symbol: str | None = None,
        strategy: str | None = None,
        value: float = nan,
        level: float = nan,
    ) -> None:
        """Tell it, or count it where the rule spoke of the same thing too lately."""
        self.is_changed = True
        if self._is_too_soon(key, time_ns):
            self._held_back[key] = self._held_back.get(key, 0) + 1
            return
        self._last_ns[key] = time_ns
        self._tell(
            self,
            time_ns,
            text,
            symbol=symbol,
            strategy=strategy,
            value=value,
            level=level,
            held_back=self._held_back.pop(key, 0),
        )


class PriceWatcher(Watcher):
    """Sees every price of its ``symbol`` (None: of each) in the order of receipt."""

    symbol: str | None

    def on_price(self, symbol: str, price: float, size: float, time_ns: int, clock_ns: int) -> None:
        """A trade; ``time_ns`` is the exchange's time, ``clock_ns`` that of the receipt."""
        raise NotImplementedError

    def on_past_bar(self, symbol: str, volume: float, time_ns: int) -> None:
        """A bar of the warm-up, which tells nothing."""

    def on_gap(self, gap: Gap) -> None:
        """Events are missing here."""


class RecordWatcher(Watcher):
    """Sees what the engine made of each batch."""

    def on_records(self, records: Records, names: tuple[str, ...], clock_ns: int, warm_ns: int) -> None:
        """``names`` are the strategies in the order of the equity rows; until ``warm_ns`` was warm-up."""
        raise NotImplementedError


class SnapshotWatcher(Watcher):
    """Sees each snapshot, some four to ten a second."""

    def on_snapshot(self, snapshot: Snapshot, now_ns: int) -> None:
        """``now_ns`` is the time by the feed's clock: the engine's stands still while nothing comes."""
        raise NotImplementedError

    def on_end(self, session: str, state: str, error: str, now_ns: int) -> None:
        """The session ended in this state."""
