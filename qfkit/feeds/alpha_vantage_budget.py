"""A key of Alpha Vantage: kept out of sight, and never asked with more often than it may."""

import hashlib
import os
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from qfkit.errors import FeedError, ParameterError, RateLimitError

__all__ = ["ApiKey", "Budget", "check_limits"]

_VARIABLE = "ALPHAVANTAGE_API_KEY"
_NEW_YORK = ZoneInfo("America/New_York")
_SECOND_NS = 1_000_000_000
_LOOK_S = 0.02
_SHORTEST = 5


class ApiKey:
    """A key that no repr, log or exception shows; ``reveal()`` is for the request alone."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "ApiKey(hidden)"

    @classmethod
    def of(cls, given: "str | ApiKey | None") -> "ApiKey":
        """The key given, else that of the environment; :class:`FeedError` where there is none."""
        if isinstance(given, cls):
            return given
        text = (os.environ.get(_VARIABLE, "") if given is None else str(given)).strip()
        if not text:
            raise FeedError(
                f"Alpha Vantage needs a key: set the environment variable {_VARIABLE}, or give key=. "
                "A free one is at https://www.alphavantage.co/support/#api-key; qf.feeds.YahooFeed needs none"
            )
        if not text.isascii() or not text.isprintable() or " " in text:
            where = _VARIABLE if given is None else "key="
            raise FeedError(f"the key of Alpha Vantage in {where} holds characters that no key has: copy it anew")
        return cls(text)

    def reveal(self) -> str:
        return self._text

    def redact(self, body: bytes) -> bytes:
        """What came from outside, the key in it struck out: some refusals name it.

        "demo", the one key that all may know, is also a word of theirs and stays.
        """
        if len(self._text) < _SHORTEST:
            return body
        return re.sub(re.escape(self._text.encode()), b"<key>", body, flags=re.IGNORECASE)

    def fingerprint(self) -> str:
        return hashlib.sha256(self._text.encode()).hexdigest()


class Budget:
    """What a key may still ask: so many requests a day of New York, and so many a second.

    Made by :meth:`of`, it is shared by all that use the key on a server within this process, from
    whatever thread. It knows nothing of other processes; where they have used the day up, the
    provider says so and :meth:`exhaust` keeps that in mind.
    """

    _all: "dict[tuple[str, str], Budget]" = {}  # noqa: RUF012 - the process's own
    _all_lock = threading.Lock()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._day_ends_ns = 0
        self._used = 0
        self._is_exhausted = False
        self._next_s = 0.0
        self._busy_until_s = 0.0

    @classmethod
    def of(cls, key: ApiKey, url: str) -> "Budget":
        with cls._all_lock:
            return cls._all.setdefault((key.fingerprint(), url), cls())

    def take(self, per_day: int | None, now_ns: int, lasts_s: float) -> float:
        """Take the next request, to be :meth:`finished`, and return 0.0; or how long to wait before trying anew.

        One is under way at a time, for at most ``lasts_s``. :class:`RateLimitError` if the day's are used.
        """
        with self._lock:
            self._turn_day(now_ns)
            if self._is_exhausted or (per_day is not None and self._used >= per_day):
                raise self._spent(per_day, now_ns)
            now_s = time.monotonic()
            if now_s < self._busy_until_s:
                return _LOOK_S
            if now_s < self._next_s:
                return self._next_s - now_s
            self._used += 1
            self._busy_until_s = now_s + lasts_s
            return 0.0

    def finished(self, per_second: float) -> None:
        """The request was answered, or given up. When it arrived there is not known, so the pause begins now."""
        with self._lock:
            self._busy_until_s = 0.0
            self._next_s = max(self._next_s, time.monotonic() + 1.0 / per_second)

    def hold(self, seconds: float) -> None:
        """The provider asks for a pause."""
        with self._lock:
            self._next_s = max(self._next_s, time.monotonic() + seconds)

    def exhaust(self, per_day: int | None, now_ns: int) -> RateLimitError:
        """The provider says that the day's requests are used; returns the error for it."""
        with self._lock:
            self._turn_day(now_ns)
            self._is_exhausted = True
            return self._spent(per_day, now_ns)

    def left(self, per_day: int | None, now_ns: int) -> int | None:
        """How many requests the day still has; None where it has no limit."""
        with self._lock:
            self._turn_day(now_ns)
            if self._is_exhausted:
                return 0
            return None if per_day is None else max(0, per_day - self._used)

    def _turn_day(self, now_ns: int) -> None:
        if now_ns >= self._day_ends_ns:
            midnight = datetime.fromtimestamp(now_ns // _SECOND_NS, _NEW_YORK).replace(hour=0, minute=0, second=0)
            # By the calendar of New York, where a day may have 23 or 25 hours.
            ends = (midnight.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=_NEW_YORK)
            self._day_ends_ns = int(ends.timestamp()) * _SECOND_NS
            self._used, self._is_exhausted = 0, False

    def _spent(self, per_day: int | None, now_ns: int) -> RateLimitError:
        wait_s = (self._day_ends_ns - now_ns) / _SECOND_NS
        until = datetime.fromtimestamp(self._day_ends_ns // _SECOND_NS, UTC)
        told = "the requests" if per_day is None else f"the {per_day} requests"
        return RateLimitError(
            f"{told} that this key of Alpha Vantage has a day are used: there are new ones from midnight in New York "
            f"({until:%Y-%m-%d %H:%M} UTC, in {wait_s / 3_600:.1f} h). A paid key has more; then say requests_per_day=",
            wait_s,
        )


def check_limits(requests_per_day: int | None, requests_per_second: float) -> None:
    """Raise :class:`ParameterError` for limits that are none."""
    if requests_per_day is not None and not requests_per_day >= 1:
        raise ParameterError(f"requests_per_day={requests_per_day!r}: at least 1, or None for a key without that limit")
    if not 0.0 < requests_per_second < float("inf"):
        raise ParameterError(f"requests_per_second={requests_per_second!r}: a number above zero")
