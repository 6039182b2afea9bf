"""When the markets of shares are open: the sessions, half days and holidays of exchange_calendars.

Symbols are in Yahoo's spelling, where the exchange is the ending: "AAPL" is American, "VOD.L" is of
London. What has no hours, such as a crypto pair, is always open.
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

from qfkit.core.events import Bar, Heartbeat, Hours, MarketEvent
from qfkit.errors import ParameterError, did_you_mean
from qfkit.feeds.captures import Portion

__all__ = ["MarketCalendar", "calendar_name", "calendar_named", "hours_of", "is_open", "with_hours"]

_DAY_NS = 86_400 * 1_000_000_000
_BACK_DAYS = 10
_AHEAD_DAYS = 20
_RENEW_DAYS = 7
_NEVER_NS = 2**63 - 1
# The calendar is made for so many days around a time, and made anew beyond them.
_SPAN_DAYS = 400

_AMERICAN = "XNYS"
# Yahoo's endings: https://help.yahoo.com/kb/SLN2310.html; the calendars are named by ISO 10383.
_BY_ENDING = {
    "AS": "XAMS", "AT": "ASEX", "AX": "XASX", "BA": "XBUE", "BD": "XBUD", "BE": "XFRA", "BK": "XBKK", "BO": "XBOM",
    "BR": "XBRU", "CL": "XBOG", "CO": "XCSE", "DE": "XETR", "DU": "XDUS", "F": "XFRA", "HE": "XHEL", "HK": "XHKG",
    "HM": "XHAM", "IC": "XICE", "IL": "XLON", "IR": "XDUB", "IS": "XIST", "JK": "XIDX", "JO": "XJSE", "KL": "XKLS",
    "KQ": "XKRX", "KS": "XKRX", "L": "XLON", "LS": "XLIS", "MC": "XMAD", "ME": "XMOS", "MI": "XMIL", "MU": "XFRA",
    "MX": "XMEX", "NS": "XBOM", "NZ": "XNZE", "OL": "XOSL", "PA": "XPAR", "PR": "XPRA", "RG": "XRIS", "SA": "BVMF",
    "SG": "XSTU", "SI": "XSES", "SN": "XSGO", "SR": "XSAU", "SS": "XSHG", "ST": "XSTO", "SW": "XSWX", "SZ": "XSHG",
    "T": "XTKS", "TA": "XTAE", "TL": "XLIT", "TO": "XTSE", "TW": "XTAI", "TWO": "XTAI", "V": "XTSE", "VI": "XWBO",
    "VS": "XLIT", "WA": "XWAR",
}  # fmt: skip
_INDICES = {
    "^FTSE": "XLON", "^GDAXI": "XETR", "^FCHI": "XPAR", "^N225": "XTKS", "^HSI": "XHKG", "^STOXX50E": "XEUR",
    "^AXJO": "XASX", "^GSPTSE": "XTSE", "^BSESN": "XBOM", "^NSEI": "XBOM", "^KS11": "XKRX", "^TWII": "XTAI",
    "^SSMI": "XSWX", "^IBEX": "XMAD", "^AEX": "XAMS", "^BVSP": "BVMF", "^MXX": "XMEX", "^STI": "XSES",
}  # fmt: skip


def calendar_name(symbol: str) -> str | None:
    """The calendar of a symbol; None for one that is always open, or whose exchange is not known."""
    name = symbol.upper()
    if name in _INDICES:
        return _INDICES[name]
    if name.endswith("=F"):
        return "CMES"
    if name.endswith("=X"):
        # Currencies trade from Sunday to Friday evening in New York, as this calendar has it.
        return "us_futures"
    stem, dot, ending = name.rpartition(".")
    if dot and stem:
        return _BY_ENDING.get(ending)
    # A pair such as BTC-USD; a class of shares, as BRK-B, has one letter.
    _, dash, quoted = name.rpartition("-")
    if dash and len(quoted) >= 3:
        return None
    return _AMERICAN


class MarketCalendar:
    """The sessions of one market, a lunch break dividing a day in two. Made by :func:`calendar_named`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._from_ns = self._until_ns = 0
        self._opens: list[int] = []
        self._closes: list[int] = []

    def _cover(self, start_ns: int, end_ns: int) -> None:
        if self._from_ns <= start_ns and end_ns <= self._until_ns:
            return
        import pandas
        from exchange_calendars import get_calendar

        from_ns = start_ns - _SPAN_DAYS * _DAY_NS
        until_ns = end_ns + _SPAN_DAYS * _DAY_NS
        first, last = (
            pandas.Timestamp(time_ns, tz="UTC").tz_localize(None).normalize() for time_ns in (from_ns, until_ns)
        )
        schedule = get_calendar(self.name, start=first, end=last).schedule
        sessions: list[tuple[int, int]] = []
        for row in schedule.itertuples(index=False):
            open_ns, close_ns = _ns(row.open), _ns(row.close)
            if pandas.isna(row.break_start):
                sessions.append((open_ns, close_ns))
            else:
                sessions += [(open_ns, _ns(row.break_start)), (_ns(row.break_end), close_ns)]
        self._opens = [open_ns for open_ns, _ in sessions]
        self._closes = [close_ns for _, close_ns in sessions]
        # Last, because several threads ask: what is covered must be there already.
        self._from_ns, self._until_ns = from_ns, until_ns

    def sessions(self, start_ns: int, end_ns: int) -> tuple[tuple[int, int], ...]:
        """The sessions ``(open_ns, close_ns)`` that overlap [start, end), in order."""
        self._cover(start_ns, end_ns)
        first = bisect_right(self._closes, start_ns)
        last = bisect_right(self._opens, end_ns - 1)
        return tuple(zip(self._opens[first:last], self._closes[first:last], strict=True))

    def is_open(self, time_ns: int) -> bool:
        """Whether a time lies in a session; the closing moment does not."""
        return bool(self.sessions(time_ns, time_ns + 1))


def _ns(stamp: object) -> int:
    import pandas

    return int(pandas.Timestamp(stamp).as_unit("ns").value)  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def calendar_named(name: str) -> MarketCalendar:
    """A calendar by its name, as "XNYS"; :class:`ParameterError` for one that is not there."""
    from exchange_calendars import get_calendar_names

    known = get_calendar_names()
    if name not in known:
        raise ParameterError(f"no market calendar {name!r}.{did_you_mean(name, known)}")
    return MarketCalendar(name)


def is_open(symbol: str, time_ns: int) -> bool:
    """Whether a symbol's market is open; what has no calendar always is."""
    name = calendar_name(symbol)
    return name is None or calendar_named(name).is_open(time_ns)


def hours_of(symbol: str, received_ns: int, *, calendar: str | None = None) -> Hours | None:
    """A symbol's sessions from ten days before a time until twenty after it; None for one that is always open.

    Whoever sends it sends it anew before the last of them is over.
    """
    name = calendar_name(symbol) if calendar is None else calendar
    if name is None:
        return None
    sessions = calendar_named(name).sessions(received_ns - _BACK_DAYS * _DAY_NS, received_ns + _AHEAD_DAYS * _DAY_NS)
    return Hours(symbol, received_ns, sessions, name)


def with_hours(portions: Iterator[Portion], calendar: str | None) -> Iterator[Portion]:
    """Past events with the hours of their markets: before the first event of a symbol, and anew in time."""
    until_ns: dict[str, int] = {}
    before_ns = 0
    for batch, fraction in portions:
        events: list[MarketEvent] = []
        for event in batch:
            if not isinstance(event, Heartbeat) and event.received_ns >= until_ns.get(event.symbol, 0):
                # A bar is received at its close, and an order of before may fill at its open.
                known_ns = max(event.open_ns, before_ns) if isinstance(event, Bar) else event.received_ns
                hours = hours_of(event.symbol, known_ns, calendar=calendar)
                until_ns[event.symbol] = _NEVER_NS if hours is None else event.received_ns + _RENEW_DAYS * _DAY_NS
                if hours is not None:
                    events.append(hours)
            events.append(event)
            before_ns = event.received_ns
        yield events, fraction
