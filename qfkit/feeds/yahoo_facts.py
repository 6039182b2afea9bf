"""What a day brings to shares: their market's hours, splits and dividends, each told once and in time."""

from collections.abc import Iterable

from qfkit.core.events import CorporateAction, Hours
from qfkit.feeds.calendars import calendar_name, calendar_named, hours_of
from qfkit.feeds.yahoo_rest import Action

__all__ = ["ShareFacts"]

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
_HOURS_EVERY_NS = _DAY_NS
# After the open, because a provider may learn of a split later than the market.
_ASK_AFTER_OPEN_NS = (0, 600 * _SECOND_NS, 3_600 * _SECOND_NS)
_AGAIN_NS = 300 * _SECOND_NS


class ShareFacts:
    """Says what is due at a time. A split or dividend counts if its market opens after ``began_ns``."""

    def __init__(self, began_ns: int) -> None:
        self._began_ns = began_ns
        self._hours_ns: dict[str, int] = {}
        self._asked_ns: dict[str, int] = {}
        self._not_before_ns: dict[str, int] = {}
        self._told: set[tuple[str, Action]] = set()

    def hours(self, symbols: Iterable[str], now_ns: int) -> list[Hours]:
        """The hours that were not told within the last day. The first of a market take a second to make."""
        found = []
        for symbol in symbols:
            if now_ns - self._hours_ns.get(symbol, -_HOURS_EVERY_NS) < _HOURS_EVERY_NS:
                continue
            self._hours_ns[symbol] = now_ns
            hours = hours_of(symbol, now_ns)
            if hours is not None:
                found.append(hours)
        return found

    def to_ask(self, symbols: Iterable[str], now_ns: int) -> list[str]:
        """The shares to ask for splits and dividends: at first, and after each open of their market."""
        return [symbol for symbol in symbols if self._is_due(symbol, now_ns)]

    def _is_due(self, symbol: str, now_ns: int) -> bool:
        name = calendar_name(symbol)
        # Indices, futures and currencies have neither.
        if name is None or symbol.startswith("^") or "=" in symbol:
            return False
        if now_ns < self._not_before_ns.get(symbol, 0):
            return False
        asked_ns = self._asked_ns.get(symbol)
        if asked_ns is None:
            return True
        sessions = calendar_named(name).sessions(now_ns, now_ns + 1)
        return any(
            asked_ns < open_ns + after_ns <= now_ns for open_ns, _ in sessions for after_ns in _ASK_AFTER_OPEN_NS
        )

    def failed(self, symbol: str, now_ns: int) -> None:
        """A share could not be asked for; it is due again in some minutes."""
        self._not_before_ns[symbol] = now_ns + _AGAIN_NS

    def answered(self, symbol: str, actions: Iterable[Action], now_ns: int) -> list[CorporateAction]:
        """Those of a share's splits and dividends that are news: their market has opened since the feed began."""
        self._asked_ns[symbol] = now_ns
        name = calendar_name(symbol)
        found = []
        for action in actions:
            if name is None or (symbol, action) in self._told:
                continue
            opens = [
                open_ns for open_ns, _ in calendar_named(name).sessions(action.ex_ns - _DAY_NS, action.ex_ns + _DAY_NS)
            ]
            open_ns = min(opens, key=lambda open_ns: abs(open_ns - action.ex_ns), default=action.ex_ns)
            if self._began_ns <= open_ns <= now_ns:
                self._told.add((symbol, action))
                found.append(CorporateAction(symbol, open_ns, now_ns, action.split, action.dividend))
        # A dividend is of the shares held before a split.
        return sorted(found, key=lambda event: (event.time_ns, event.split != 1.0))
