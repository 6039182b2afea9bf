"""What a polling feed knows of a symbol: when its market is open, and what was told of it last."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from math import inf, nan
from typing import Literal

import numpy as np

from qfkit.core.events import Bar, Hours, Tick
from qfkit.errors import SymbolError
from qfkit.feeds.alpha_vantage_replies import QuoteRecord
from qfkit.feeds.calendars import calendar_name, calendar_named, hours_of
from qfkit.tables import BarColumns

__all__ = ["BarPlace", "QuotePlace", "SymbolHours", "checked_symbols"]

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
_LONGEST_CLOSURE_NS = 20 * _DAY_NS
# Alpha Vantage's own endings; one that it shares with Yahoo is known already.
_BY_ENDING = {
    "BSE": "XBOM", "DEX": "XETR", "FRK": "XFRA", "HKG": "XHKG", "LON": "XLON", "SAO": "BVMF", "SHH": "XSHG",
    "SHZ": "XSHG", "TRT": "XTSE", "TRV": "XTSE",
}  # fmt: skip


class SymbolHours:
    """When a symbol's market is open. What has no known calendar is always open, a day of UTC being a session."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        stem, dot, ending = symbol.rpartition(".")
        self.name: str | None
        if dot and stem and len(ending) == 1 and ending != "L":
            # A class of American shares, as BRK.B.
            self.name = calendar_name(stem)
        else:
            self.name = _BY_ENDING.get(ending) if dot and ending in _BY_ENDING else calendar_name(symbol)

    def event(self, now_ns: int) -> Hours | None:
        return None if self.name is None else hours_of(self.symbol, now_ns, calendar=self.name)

    def session(self, now_ns: int) -> tuple[int, int] | None:
        """The session that a time lies in; None while the market is closed."""
        if self.name is None:
            start_ns = now_ns // _DAY_NS * _DAY_NS
            return start_ns, start_ns + _DAY_NS
        sessions = calendar_named(self.name).sessions(now_ns, now_ns + 1)
        return sessions[0] if sessions else None

    def overlaps(self, start_ns: int, end_ns: int) -> bool:
        """Whether the market was open in some of [start, end)."""
        return self.name is None or bool(calendar_named(self.name).sessions(start_ns, end_ns))

    def next_open_ns(self, now_ns: int) -> float:
        """When the market opens next; infinite where no opening is near."""
        if self.name is None:
            return now_ns
        sessions = calendar_named(self.name).sessions(now_ns, now_ns + _LONGEST_CLOSURE_NS)
        return next((open_ns for open_ns, _ in sessions if open_ns > now_ns), inf)

    def close_ns(self, day: date) -> int:
        """When the market closes on a day."""
        start_ns = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * _SECOND_NS
        sessions = () if self.name is None else calendar_named(self.name).sessions(start_ns, start_ns + _DAY_NS)
        closes = [close_ns for open_ns, close_ns in sessions if open_ns >= start_ns]
        return max(closes, default=start_ns + _DAY_NS)

    def is_before_today(self, day: date, now_ns: int) -> bool:
        """Whether a trading day is over, for the market has opened anew since."""
        session = self.session(now_ns)
        if session is None:
            return self.close_ns(day) < now_ns
        # No market of the provider's opens on another day in UTC than at home.
        return day < (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=session[0] // _SECOND_NS)).date()


class QuotePlace:
    """The last quote that was told of a symbol."""

    def __init__(self) -> None:
        self.record: QuoteRecord | None = None
        self.asked_ns = 0
        """When it was last answered, with something new or not."""

    def tick(self, record: QuoteRecord, received_ns: int, hours: SymbolHours) -> Tick | Literal["same", "late"]:
        """A quote as a tick, unless it says nothing new."""
        last = self.record
        if last is not None:
            if record.trading_day < last.trading_day:
                return "late"
            if (record.trading_day, record.price) == (last.trading_day, last.price) and (
                record.volume == last.volume or (record.volume != record.volume and last.volume != last.volume)
            ):
                return "same"
        self.record = record
        if hours.is_before_today(record.trading_day, received_ns):
            time_ns = min(hours.close_ns(record.trading_day), received_ns)
            return Tick(record.symbol, record.price, nan, time_ns, received_ns, flag="stale")
        size = nan
        if last is not None:
            size = record.volume - (last.volume if last.trading_day == record.trading_day else 0.0)
        # Less than before is a correction, and no trade.
        size = size if size >= 0.0 else nan
        return Tick(
            record.symbol, record.price, size, received_ns - record.delayed_minutes * 60 * _SECOND_NS, received_ns
        )


class BarPlace:
    """Up to which bar a symbol's were told. The first bars are those that closed after ``since_ns``."""

    def __init__(self, since_ns: int) -> None:
        self._since_ns = since_ns
        self.close_ns: int | None = None
        """When the last one closed; None before the first reply."""

    def hole(self, page: BarColumns) -> tuple[int, int] | None:
        """The time between the last bar and the first of a page, if that does not reach back."""
        if self.close_ns is None or not len(page) or page.open_ns[0] <= self.close_ns:
            return None
        return self.close_ns, int(page.open_ns[0])

    def take(self, page: BarColumns, now_ns: int) -> list[Bar]:
        """The closed bars that were not told yet, oldest first."""
        after_ns = self._since_ns if self.close_ns is None else self.close_ns
        is_closed = page.close_ns <= now_ns
        is_new = is_closed & ((page.close_ns > after_ns) if self.close_ns is None else (page.open_ns >= after_ns))
        if is_closed.any():
            newest_ns = int(page.close_ns[np.flatnonzero(is_closed)[-1]])
            self.close_ns = newest_ns if self.close_ns is None else max(newest_ns, self.close_ns)
        columns = (page.open, page.high, page.low, page.close, page.volume, page.open_ns, page.close_ns)
        rows = zip(*(column[is_new].tolist() for column in columns), strict=True)
        return [Bar(page.symbol, page.timeframe, *row) for row in rows]


def checked_symbols(given: Iterable[str] | str) -> list[str]:
    """Symbols as Alpha Vantage writes them, each once; :class:`SymbolError` for what cannot be one."""
    listed = [given] if isinstance(given, str) else list(given)
    if not listed:
        raise SymbolError('no symbols were given: name shares, as in AlphaVantageFeed(["IBM"])')
    symbols = []
    for symbol in listed:
        name = symbol.strip().upper() if isinstance(symbol, str) else ""
        if not name or not all(letter.isascii() and (letter.isalnum() or letter in ".-") for letter in name):
            raise SymbolError(f"{symbol!r} is not how Alpha Vantage writes a symbol: shares are as IBM or TSCO.LON")
        symbols.append(name)
    return list(dict.fromkeys(symbols))
