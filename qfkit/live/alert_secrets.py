"""Keeping what addresses hold (tokens, passwords) out of logs and texts while an alert is delivered."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

__all__ = ["heard", "host_of", "quiet", "scheme_of", "struck_out", "without_addresses"]

# These write the addresses that they ask, some at the level INFO.
_LOGGERS = (
    "apprise",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "httpx",
    "requests",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)
_SHORTEST = 3


class _Here(threading.local):
    depth = 0
    lines: list[str] | None = None


_here = _Here()


def _filter(record: logging.LogRecord) -> bool:
    """Whether a record may pass; on a thread that is quiet none does."""
    if not _here.depth:
        return True
    if _here.lines is not None and record.levelno >= logging.WARNING:
        _here.lines.append(record.getMessage())
    return False


@contextmanager
def quiet() -> Iterator[None]:
    """Meanwhile what HTTP libraries log on this thread goes nowhere."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        # Adding it twice changes nothing.
        logger.addFilter(_filter)
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1


@contextmanager
def heard() -> Iterator[list[str]]:
    """As :func:`quiet`; the warnings are given to the caller alone, who must strike secrets out."""
    lines: list[str] = []
    with quiet():
        _here.lines = lines
        try:
            yield lines
        finally:
            _here.lines = None


def scheme_of(url: str) -> str:
    """The part before ``://``, which says what kind of address it is; "" where there is none."""
    scheme, mark, _ = url.partition("://")
    return scheme.lower() if mark and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) else ""


def host_of(url: str) -> str:
    """The host alone, without a user, password or port; "" where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def struck_out(text: str, url: str) -> str:
    """A text with every piece of an address in it struck out, as it is and decoded; the scheme may stay."""
    rest = url.partition("://")[2] or url
    pieces = {piece for form in (rest, unquote(rest)) for piece in (form, *re.split(r"[/?&=:@#,;\s]+", form))}
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece) >= _SHORTEST:
            text = re.sub(re.escape(piece), "***", text, flags=re.IGNORECASE)
    return text


def without_addresses(text: str) -> str:
    """A text of unknown origin, as of a function's exception, without the addresses in it."""
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s'\"<>]+", r"\1***", text)
    return re.sub(r"(\burl:?\s+)/[^\s'\"<>]*", r"\1***", text, flags=re.IGNORECASE)
