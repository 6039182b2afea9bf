"""Connecting to a provider, and how long to wait before doing so again."""

import asyncio
import os
import random
import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

from picows.websockets.asyncio.client import ClientConnection, connect
from picows.websockets.exceptions import InvalidStatus, WebSocketException

from qfkit.errors import FeedError

__all__ = [
    "CONNECT_ERRORS",
    "Backoff",
    "Refusal",
    "check_url",
    "close_websocket",
    "is_loopback",
    "open_websocket",
    "provider_url",
    "retry_after_s",
]

CONNECT_ERRORS = (OSError, TimeoutError, WebSocketException)
"""What a failed attempt to connect raises."""

_LARGEST_MESSAGE = 1 << 20
_WAITING_MESSAGES = 1_024
_CLOSE_TIMEOUT_S = 0.2
_MOST_TURNS = 20
# Waits for refusals that do not say how long: a provider bans whoever comes back at once.
_REFUSED_S = {403: 60.0, 418: 300.0, 429: 60.0}


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(url: str, schemes: tuple[str, str]) -> str:
    """The URL without a slash at its end; ``schemes`` are the safe and the plain one, the latter for loopback only."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise FeedError(f"{url!r} is no URL ({error}): write it as {schemes[0]}://host") from None
    # Splitting drops line breaks and tabs, so the parts would be those of another address.
    is_plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if parts.scheme not in schemes or not host or parts.query or parts.fragment or "@" in parts.netloc or not is_plain:
        raise FeedError(f"{url!r} cannot be used: write it as {schemes[0]}://host, with no user, query or fragment")
    if parts.scheme == schemes[1] and not is_loopback(url):
        raise FeedError(
            f"{url!r} is not encrypted, so anyone on the way could change the prices: "
            f"use {schemes[0]}://, or {schemes[1]}:// to 127.0.0.1 only"
        )
    return url.rstrip("/")


def provider_url(given: str | None, variable: str, default: str, schemes: tuple[str, str]) -> str:
    """A provider's address: the argument, else the environment variable, else the provider's own."""
    return check_url(given or os.environ.get(variable) or default, schemes)


async def open_websocket(url: str, timeout_s: float, *, compression: str | None = "deflate") -> ClientConnection:
    """A connection whose messages are limited in size and whose close takes a moment at most.

    It sends no pings of its own: a link is judged by its data, and pings count as messages.
    Compression is offered; whether it is used is the server's choice. No redirect is followed.
    """
    opened: list[socket.socket] = []

    async def open_socket(address: Any) -> socket.socket:
        opened.append(await _connected_socket(address.host, address.port))
        return opened[-1]

    try:
        # The library's own limit begins with the handshake.
        async with asyncio.timeout(timeout_s):
            return await connect(
                url,
                open_timeout=timeout_s,
                close_timeout=_CLOSE_TIMEOUT_S,
                ping_interval=None,
                max_size=_LARGEST_MESSAGE,
                max_queue=_WAITING_MESSAGES,
                compression=compression,
                proxy=None if is_loopback(url) else True,
                max_redirects=0,
                socket_factory=open_socket,
            )
    except BaseException:
        # A handshake that is cancelled would go on, and its connection stay open with nobody to read it.
        for sock in opened:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        # The connection closes itself when it sees that end, for which the loop takes some turns.
        for _ in range(_MOST_TURNS):
            if all(sock.fileno() < 0 for sock in opened):
                break
            await asyncio.sleep(0)
        raise


async def _connected_socket(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError):
                raise
            failure = error
        else:
            return sock
    raise failure


async def close_websocket(connection: ClientConnection) -> None:
    """Close politely if that is quick, and in any case: a close that is cancelled would leave the socket open."""
    closing = asyncio.create_task(connection.close(), name="close of a websocket")
    cancelled: asyncio.CancelledError | None = None
    # It takes a fraction of a second at most, however often somebody is in a hurry.
    while not closing.done():
        try:
            await asyncio.wait({closing})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


class Refusal:
    """Why an attempt to connect failed: in words, how long to stay away, whether a new try can help at all."""

    def __init__(self, error: Exception) -> None:
        self.wait_s = 0.0
        self.is_final = isinstance(error, ssl.SSLCertVerificationError)
        self.reason = str(error) or type(error).__name__
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            asked_s = retry_after_s(error.response.headers.get("Retry-After"))
            self.wait_s = _REFUSED_S.get(status, 60.0 if status < 500 else 0.0) if asked_s is None else asked_s
            self.is_final = 400 <= status < 500 and status not in _REFUSED_S
            self.reason = f"HTTP {status}" + ("" if asked_s is None else f", asks to wait {asked_s:.0f} s")


def retry_after_s(header: str | None) -> float | None:
    """The seconds of a Retry-After header, which holds a number or a date; None where there is none to read."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if isfinite(seconds) else None
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


class Backoff:
    """Waits between attempts: doubling up to a cap, drawn at random below it, and never many in five minutes.

    A handshake that succeeds resets nothing, because a server that accepts and closes would then
    be asked without end: call :meth:`reset` once data have flowed.
    """

    def __init__(
        self, base_s: float = 1.0, cap_s: float = 60.0, *, most_attempts: int = 10, period_s: float = 300.0
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._period_s = period_s
        self._failures = 0
        self._attempts: deque[float] = deque(maxlen=max(1, most_attempts))
        self._not_before_s = 0.0

    def attempt(self) -> None:
        """Take note of an attempt that is about to be made."""
        self._attempts.append(time.monotonic())

    def reset(self) -> None:
        self._failures = 0

    def wait_s(self, at_least_s: float = 0.0) -> float:
        """How long to wait before the next attempt, which is at least what a provider that refused asked for."""
        self._not_before_s = max(self._not_before_s, time.monotonic() + at_least_s)
        widest_s = min(self._cap_s, self._base_s * 2 ** min(self._failures, 30))
        self._failures += 1
        drawn_s = random.uniform(0.0, widest_s)  # noqa: S311 - spreads clients, keeps no secret
        asked_s = max(0.0, self._not_before_s - time.monotonic())
        return max(asked_s + drawn_s, self.budget_wait_s())

    def budget_wait_s(self) -> float:
        """How long until the budget of attempts has room again, and a refusal is over."""
        now_s = time.monotonic()
        wait_s = max(0.0, self._not_before_s - now_s)
        if len(self._attempts) == self._attempts.maxlen:
            wait_s = max(wait_s, self._attempts[0] + self._period_s - now_s)
        return wait_s
