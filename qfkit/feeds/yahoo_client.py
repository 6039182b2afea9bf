"""Yahoo over HTTP, through yfinance's own client, which brings the browser's TLS, the cookie and the crumb.

It runs in a thread of its own, one request at a time, for yfinance has one session in a process.
"""

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qfkit.feeds.connection import is_loopback, retry_after_s

__all__ = ["CHART_PATH", "YAHOO_REST_URL", "Answered", "Pace", "ask", "pace_of"]

YAHOO_REST_URL = "https://query2.finance.yahoo.com"
CHART_PATH = "/v8/finance/chart/"

_RATE_LIMITED_S = 60.0
_LONGEST_RATE_LIMITED_S = 900.0


class Pace:
    """When the next request may go. Shared by all that ask one address, on whatever loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next_s = 0.0
        self._ban_until_s = 0.0
        self._refusals = 0

    def turn_s(self, every_s: float) -> float:
        """Take the next turn; returns how long it is until then."""
        with self._lock:
            now_s = time.monotonic()
            at_s = max(now_s, self._next_s, self._ban_until_s)
            self._next_s = at_s + every_s
            return at_s - now_s

    def refused(self, asked_s: float | None) -> float:
        """Too many requests: nobody asks for as long as Yahoo says, or ever longer if it does not."""
        with self._lock:
            widest_s = min(_LONGEST_RATE_LIMITED_S, _RATE_LIMITED_S * 2**self._refusals)
            self._refusals = min(self._refusals + 1, 10)
            wait_s = widest_s if asked_s is None else asked_s
            self._ban_until_s = max(self._ban_until_s, time.monotonic() + wait_s)
            return wait_s

    def ban_s(self) -> float:
        """How much longer nobody asks."""
        return max(0.0, self._ban_until_s - time.monotonic())

    def well(self) -> None:
        """A good answer: the next refusal is the first again."""
        self._refusals = 0


_paces: dict[str, Pace] = {}


def pace_of(url: str) -> Pace:
    """The pace of an address."""
    return _paces.setdefault(url, Pace())


_THREADS = "qfkit-yahoo"
_worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=_THREADS)
_sessions: dict[str, Any] = {}


class Answered(Exception):
    """What came of a request: a status and body, or why there was none (status 0).

    An exception only to get past yfinance, which would meet a refusal with six requests more.
    """

    def __init__(self, status: int, body: bytes = b"", retry_after: float | None = None, failure: str = "") -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body
        self.retry_after_s = retry_after
        self.failure = failure


async def ask(url: str, path: str, params: dict[str, str | int], timeout_s: float) -> Answered:
    """Ask a server as Yahoo is asked. A cancelled question is still answered, in its thread."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_worker, partial(_get, url, path, params, timeout_s))


def _get(url: str, path: str, params: dict[str, str | int], timeout_s: float) -> Answered:
    """Ask through yfinance. In the worker thread only."""
    from curl_cffi.requests.exceptions import RequestException
    from yfinance.data import YfData
    from yfinance.exceptions import YFException

    session = _sessions.get(url)
    if not _sessions:
        # What it warns of while it asks for us ends in the answer, and would stand before our own word on it.
        logging.getLogger("yfinance").addFilter(lambda record: not (record.threadName or "").startswith(_THREADS))
    if session is None:
        session = _sessions[url] = _new_session(url)
    session.end_s = time.monotonic() + timeout_s
    try:
        response = YfData(session=session).get(f"{YAHOO_REST_URL}{path}", params=params, timeout=timeout_s)
    except Answered as answered:
        return answered
    except (RequestException, YFException, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        # The cookie and the crumb are read from pages whose form Yahoo changes at will.
        return Answered(0, failure=str(error) or type(error).__name__)
    return Answered(response.status_code, response.content)


def _new_session(url: str) -> Any:
    from curl_cffi.requests import Session

    goes_elsewhere = url != YAHOO_REST_URL
    if goes_elsewhere:
        import yfinance

        # A made-up market's time zones and cookies are kept apart from those of the real one.
        yfinance.set_tz_cache_location(str(_cache_folder()))
    base = urlsplit(url)

    class OwnSession(Session[Any]):
        """Goes to one server for all of Yahoo's, and ends a refused question at once."""

        end_s = 0.0

        def request(self, method: Any, url: str, *args: Any, **options: Any) -> Any:
            asked = urlsplit(url)
            if goes_elsewhere:
                url = asked._replace(scheme=base.scheme, netloc=base.netloc, path=base.path + asked.path).geturl()
            # All requests of one question together have its time.
            options["timeout"] = max(0.05, min(options.get("timeout") or 30.0, self.end_s - time.monotonic()))
            response = super().request(method, url, *args, **options)
            status = response.status_code
            # Those two are for a cookie or crumb that is too old, which yfinance mends.
            if asked.path.startswith(CHART_PATH) and status >= 400 and status not in (401, 403):
                header = response.headers.get("Retry-After")
                raise Answered(status, response.content, retry_after_s(header))
            return response

    return OwnSession(impersonate="chrome", trust_env=not is_loopback(url))


def _cache_folder() -> Path:
    home = os.environ.get("QFKIT_HOME")
    if home:
        return Path(home).expanduser() / "yfinance"
    import platformdirs

    return Path(platformdirs.user_cache_path("qfkit")) / "yfinance"
