"""Keeping what addresses hold (tokens, passwords) out of logs and texts while an alert is delivered."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

__all__ = ["heard", "hide", "host_of", "quiet", "scheme_of", "struck_out", "without_addresses"]

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
# Longer pieces are no words that a log would hold for another reason.
_TELLING = 8
_hidden: set[str] = set()


class _Here(threading.local):
    depth = 0
    lines: list[str] | None = None


_here = _Here()


def _filter(record: logging.LogRecord) -> bool:
    """Whether a record may pass: on a thread that is quiet none does, elsewhere none with a piece of a secret in it."""
    if not _here.depth:
        text = record.getMessage()
        return not any(piece in text for piece in _hidden)
    if _here.lines is not None and record.levelno >= logging.WARNING:
        _here.lines.append(record.getMessage())
    return False


def hide(url: str) -> None:
    """From now on no log of an HTTP library shows a piece of this address, on whatever thread."""
    _hidden.update(piece for piece in _pieces(url) if len(piece) >= _TELLING and piece != host_of(url))
    for name in _LOGGERS:
        # Adding it twice changes nothing.
        logging.getLogger(name).addFilter(_filter)


@contextmanager
def quiet() -> Iterator[None]:
    """Meanwhile what HTTP libraries log on this thread goes nowhere, for addresses that are hidden."""
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
    for piece in sorted(_pieces(url), key=len, reverse=True):
        if len(piece) >= _SHORTEST:
            text = re.sub(re.escape(piece), "***", text, flags=re.IGNORECASE)
    return text


def _pieces(url: str) -> set[str]:
    rest = url.partition("://")[2] or url
    return {piece for form in (rest, unquote(rest)) for piece in (form, *re.split(r"[/?&=:@#,;\s]+", form))}


def without_addresses(text: str) -> str:
    """A text of unknown origin, as of a function's exception, without the addresses in it."""
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s'\"<>]+", r"\1***", text)
    return re.sub(r"(\burl:?\s+)/[^\s'\"<>]*", r"\1***", text, flags=re.IGNORECASE)
