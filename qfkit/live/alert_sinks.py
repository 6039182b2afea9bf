"""Where alerts go: the notebook, the terminal, a function, a file, a webhook, and phones and chats by apprise.

A sink's :meth:`Sink.deliver` runs on a thread of its own and may take its time, raise or hang: see
:mod:`qfkit.live.couriers`. What an address holds beyond its host is a secret and is shown nowhere.
"""

import asyncio
import inspect
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any
from uuid import uuid4

from qfkit.core.wording import utc_time
from qfkit.errors import ParameterError
from qfkit.feeds.connection import is_loopback, retry_after_s
from qfkit.ipython import is_kernel
from qfkit.journal.schema import Alert
from qfkit.live.alert_secrets import heard, hide, host_of, quiet, scheme_of, struck_out

__all__ = ["Apprise", "Callback", "LogFile", "Notebook", "Sink", "Terminal", "Undelivered", "Webhook", "as_sinks"]

_SHOWN = 10
_NOT_FINAL = frozenset({408, 425, 429})


class Undelivered(Exception):
    """Why a delivery failed, in words that hold no secret; ``is_final`` where trying again cannot help."""

    def __init__(self, reason: str, *, is_final: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.is_final = is_final
        self.retry_after_s = retry_after_s


class Sink:
    """Where alerts go. ``label`` names it wherever it is shown; it holds no secret.

    A delivery that fails is tried ``attempts`` times in all, ``backoff_s`` after the first and ever later
    after each; more than ``per_minute`` alerts are dropped (None: no bound).
    """

    label = "sink"
    attempts = 3
    backoff_s = 1.0
    per_minute: int | None = None

    def open(self) -> None:
        """Called where the session is started, on the user's own thread."""

    def deliver(self, alert: Alert, session: str) -> None:
        """Bring one alert there. Raises :class:`Undelivered`, or anything."""
        raise NotImplementedError

    def recipe(self) -> str | None:
        """The text that ``notify=`` takes to make it again, for the journal; None where that is secret or a function."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label})"


def line_of(alert: Alert, session: str) -> str:
    """An alert as one line: ``2024-08-08 23:55:31 UTC  watch  BTCUSDT at 70,012.3 is above 70,000``"""
    more = f" (and {alert.held_back:,} more before)" if alert.held_back else ""
    return f"{utc_time(alert.time_ns)} UTC  {session}  {alert.text}{more}"


class Callback(Sink):
    """A function of the :class:`Alert`, plain or async, called on a thread of its own."""

    def __init__(
        self, function: Callable[[Alert], object], *, attempts: int = 3, backoff_s: float = 1.0, name: str = ""
    ) -> None:
        if not callable(function):
            raise ParameterError(f"Callback({function!r}): give a function of an alert")
        _check_attempts(attempts, backoff_s)
        self.attempts, self.backoff_s = attempts, backoff_s
        self._function = function
        self.label = f"function {name or getattr(function, '__qualname__', type(function).__name__)}"

    def deliver(self, alert: Alert, session: str) -> None:
        answer = self._function(alert)
        if inspect.iscoroutine(answer):
            asyncio.run(answer)


class LogFile(Sink):
    """A line an alert at the end of a text file, which is made where it is not there."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path).absolute()
        self.label = f"file {self._path.name}"

    def deliver(self, alert: Alert, session: str) -> None:
        try:
            # Opened each time, so that it may be moved away or emptied meanwhile.
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line_of(alert, session) + "\n")
        except OSError as error:
            raise Undelivered(f"{self._path}: {error.strerror or type(error).__name__}") from None

    def recipe(self) -> str:
        return f"file:{self._path}"


class Terminal(Sink):
    """A line on the error output, and where that is a terminal its bell."""

    label = "terminal"

    def deliver(self, alert: Alert, session: str) -> None:
        bell = "\a" if sys.stderr.isatty() else ""
        sys.stderr.write(f"{bell}ALERT {line_of(alert, session)}\n")
        sys.stderr.flush()

    def recipe(self) -> str:
        return "terminal"


class Notebook(Sink):
    """The newest alerts under the cell that started the session, kept up to date; outside a notebook the terminal."""

    label = "notebook"

    def __init__(self) -> None:
        self._display_id = f"qfkit-alerts-{uuid4().hex}"
        self._newest: deque[str] = deque(maxlen=_SHOWN)
        self._is_open = False

    def open(self) -> None:
        if is_kernel():
            self._show(is_update=False)
            self._is_open = True

    def deliver(self, alert: Alert, session: str) -> None:
        if not self._is_open:
            Terminal().deliver(alert, session)
            return
        self._newest.appendleft(line_of(alert, session))
        self._show(is_update=True)

    def _show(self, *, is_update: bool) -> None:
        from IPython.display import display

        lines = "<br>".join(f"&#128276; {escape(line)}" for line in self._newest)
        page = {"text/html": f"<div>{lines}</div>", "text/plain": "\n".join(self._newest)}
        display(page, raw=True, display_id=self._display_id, update=is_update)  # type: ignore[no-untyped-call]

    def recipe(self) -> str:
        return "notebook"


class Webhook(Sink):
    """A POST of JSON to an address of http or https; every answer of 2xx is well.

    The body has ``text``, ``session``, ``rule``, ``kind``, ``symbol``, ``strategy``, ``value``, ``level``, ``time``
    (ISO, UTC) and an ``id`` that is the same in each attempt, for a receiver may get an alert twice; ``body``, a
    function of the alert, makes another. ``headers`` are sent along. Redirects are not followed. An answer
    of 4xx is final, but for 408, 425 and 429, whose Retry-After is kept. ``timeout_s`` bounds an attempt in all.

    Only the host is ever shown: the address, its user and the headers are taken for secrets.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[Alert], Any] | None = None,
        timeout_s: float = 10.0,
        attempts: int = 4,
        backoff_s: float = 1.0,
        per_minute: int | None = 30,
    ) -> None:
        host = host_of(url) if isinstance(url, str) and scheme_of(url) in ("http", "https") else ""
        if not host:
            raise ParameterError("a webhook's address must begin with https:// or http:// and name a host")
        _check_attempts(attempts, backoff_s)
        if not 0.0 < timeout_s < float("inf"):
            raise ParameterError(f"Webhook(timeout_s={timeout_s!r}): it must be above zero")
        hide(url)
        self._url = url
        self._headers = dict(headers or {})
        self._body = body
        self._timeout_s = timeout_s
        self.attempts, self.backoff_s, self.per_minute = attempts, backoff_s, per_minute
        self.label = f"webhook {host}"
        self._sender = uuid4().hex[:12]

    def deliver(self, alert: Alert, session: str) -> None:
        body = self._default_body(alert, session) if self._body is None else self._body(alert)
        with quiet():
            status, asked_s = asyncio.run(self._post(body))
        if not 200 <= status < 300:
            is_final = status < 500 and status not in _NOT_FINAL
            raise Undelivered(f"HTTP {status}", is_final=is_final, retry_after_s=asked_s)

    def _default_body(self, alert: Alert, session: str) -> dict[str, Any]:
        def number(value: float) -> float | None:
            return None if value != value else value

        return {
            "text": line_of(alert, session),
            "id": f"{self._sender}-{alert.alert_id}",
            "session": session,
            "rule": alert.rule,
            "kind": alert.kind,
            "symbol": alert.symbol,
            "strategy": alert.strategy,
            "value": number(alert.value),
            "level": number(alert.level),
            "time": datetime.fromtimestamp(alert.time_ns / 1e9, UTC).isoformat(),
        }

    async def _post(self, body: Any) -> tuple[int, float | None]:
        """The status of the answer and how long it asks to wait; whatever httpx raises is told by its kind alone."""
        import httpx

        try:
            # The timeouts of httpx are for each read, so that a slow drip could go on for ever.
            async with (
                asyncio.timeout(self._timeout_s),
                httpx.AsyncClient(timeout=self._timeout_s, trust_env=not is_loopback(self._url)) as client,
                client.stream("POST", self._url, json=body, headers=self._headers) as answer,
            ):
                return answer.status_code, retry_after_s(answer.headers.get("Retry-After"))
        except TimeoutError:
            raise Undelivered(f"no answer within {self._timeout_s:g} s") from None
        except (httpx.RequestError, httpx.InvalidURL, ValueError, UnicodeError) as error:
            raise Undelivered(f"no answer ({type(error).__name__})") from None


class Apprise(Sink):
    """A phone, chat or mailbox by an address of the library apprise: ``mailto://``, ``tgram://``, ``ntfy://``, ``slack://``...

    It needs the extra ``alerts`` (``pip install 'qfkit[alerts]'``); the addresses are listed at
    https://github.com/caronc/apprise/wiki. Only the scheme is ever shown.
    """

    def __init__(self, url: str, *, attempts: int = 4, backoff_s: float = 2.0, per_minute: int | None = 10) -> None:
        scheme = scheme_of(url)
        try:
            import apprise
        except ImportError:
            raise ParameterError(
                f"alerts to {scheme or 'this address'}:// go through the library apprise: pip install 'qfkit[alerts]'"
            ) from None
        _check_attempts(attempts, backoff_s)
        hide(url)
        with quiet():
            # The service itself: Apprise's own notify() hands over to a further thread.
            service = apprise.Apprise.instantiate(url) if scheme else None
        if service is None:
            raise ParameterError(
                f"apprise does not know the address {scheme or '...'}://..., or lacks something in it: "
                "see https://github.com/caronc/apprise/wiki"
            )
        self._service = service
        self._url = url
        self.attempts, self.backoff_s, self.per_minute = attempts, backoff_s, per_minute
        self.label = f"apprise {scheme}"

    def deliver(self, alert: Alert, session: str) -> None:
        with heard() as lines:
            try:
                is_well = bool(self._service.notify(body=line_of(alert, session), title=f"{session}: {alert.rule}"))
            except Exception as error:  # noqa: BLE001 - its services raise what they will, and the text may hold the address
                raise Undelivered(f"apprise raised {type(error).__name__}") from None
        if not is_well:
            told = struck_out("; ".join(lines), self._url)[:200]
            raise Undelivered(f"apprise: {told}" if told else "apprise says that it was not delivered")


def as_sinks(given: object) -> list[Sink]:
    """What ``notify=`` was given: sinks, functions, paths and texts, one or several; None is the notebook or terminal."""
    if given is None:
        return [Notebook()]
    several = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    sinks = [_as_sink(one, place) for place, one in enumerate(several, 1)]
    seen: dict[str, int] = {}
    for sink in sinks:
        seen[sink.label] = seen.get(sink.label, 0) + 1
        if seen[sink.label] > 1:
            # Two addresses of one host.
            sink.label = f"{sink.label} {seen[sink.label]}"
    return sinks


def _as_sink(given: object, place: int) -> Sink:
    if isinstance(given, Sink):
        return given
    if isinstance(given, Path):
        return LogFile(given)
    if isinstance(given, str):
        return _of_text(given, place)
    if callable(given) and not isinstance(given, type):
        return Callback(given)
    raise ParameterError(
        f"entry {place} of notify= is a {type(given).__name__}: give a sink such as qf.alerts.Webhook(url), a function "
        'of an alert, or a text such as "file:alerts.log"'
    )


def _of_text(text: str, place: int) -> Sink:
    """A text may hold a token: no error shows it."""
    if text == "notebook":
        return Notebook()
    if text == "terminal":
        return Terminal()
    if text.startswith("env:"):
        name = text[4:]
        value = os.environ.get(name, "")
        if not value or value.startswith("env:"):
            raise ParameterError(f"notify: the environment variable {name} holds no address")
        return _of_text(value, place)
    if text.startswith("file:"):
        path = text[5:]
        return LogFile(path[2:] if path.startswith("///") else path)
    scheme = scheme_of(text)
    if scheme in ("http", "https"):
        return Webhook(text)
    if scheme:
        return Apprise(text)
    raise ParameterError(
        f'entry {place} of notify= is no address: give "notebook", "terminal", "file:PATH", "https://...", an address '
        'of apprise such as "mailto://...", or "env:NAME" for an environment variable that holds one'
    )


def _check_attempts(attempts: int, backoff_s: float) -> None:
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise ParameterError(f"attempts={attempts!r}: a whole number, at least 1")
    if not 0.0 <= backoff_s < float("inf"):
        raise ParameterError(f"backoff_s={backoff_s!r}: 0 or above")
