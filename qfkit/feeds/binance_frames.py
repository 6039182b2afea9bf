"""Binance spot: what comes off the combined stream, as events.

A trade bears the exchange's time; a best bid and ask bears none at all and is stamped with the
time it was received. Every price and size is a decimal string on the wire.
"""

from typing import Literal

import msgspec

from qfkit.core.events import Quote, Tick
from qfkit.errors import MalformedFrameError

__all__ = ["CaptureParser", "is_shutdown_notice", "parse_frame"]

_SHOWN = 160
_MICROSECONDS_FROM = 100_000_000_000_000  # as milliseconds this would be the year 5138
_Unset = msgspec.UnsetType


class _Envelope(msgspec.Struct, gc=False):
    """The outside of every frame: a stream's, a raw event's, a reply's, an error's."""

    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    e: str | None = None
    msg: str | None = None
    error: msgspec.Raw | _Unset = msgspec.UNSET
    id: msgspec.Raw | _Unset = msgspec.UNSET
    last_update_id: msgspec.Raw | _Unset = msgspec.field(name="lastUpdateId", default=msgspec.UNSET)


class _Trade(msgspec.Struct, gc=False):
    s: str
    t: int
    p: float
    q: float
    T: int
    m: bool


class _AggregateTrade(msgspec.Struct, gc=False):
    s: str
    a: int
    p: float
    q: float
    T: int
    m: bool


class _BookTicker(msgspec.Struct, gc=False):
    s: str
    b: float
    B: float
    a: float
    A: float


# Not strict, because that is what reads a number from a string.
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_trade = msgspec.json.Decoder(_Trade, strict=False).decode
_decode_aggregate_trade = msgspec.json.Decoder(_AggregateTrade, strict=False).decode
_decode_book_ticker = msgspec.json.Decoder(_BookTicker, strict=False).decode


def parse_frame(payload: bytes | str, received_ns: int) -> Tick | Quote | None:
    """One frame as an event; None for what is neither a trade nor a best bid and ask.

    Raises :class:`MalformedFrameError` for broken JSON, for a frame unlike what Binance documents
    and for an error that Binance reports. The numbers are not judged here: a price of zero or NaN
    passes, and :func:`~qfkit.core.events.check_event` is what finds it.
    """
    try:
        envelope = _decode_envelope(payload)
        stream = envelope.stream
        if stream is None:
            if envelope.e is None:
                _check_reply(envelope, payload)
                return None
            kind, data = envelope.e, payload
        else:
            kind, data = stream[stream.find("@") + 1 :], envelope.data
        if kind == "bookTicker":
            book = _decode_book_ticker(data)
            return Quote(book.s, book.b, book.B, book.a, book.A, received_ns, received_ns)
        if kind == "trade":
            trade = _decode_trade(data)
            return Tick(trade.s, trade.p, trade.q, _time_ns(trade.T), received_ns, trade.t, _side(trade.m))
        if kind == "aggTrade":
            several = _decode_aggregate_trade(data)
            return Tick(several.s, several.p, several.q, _time_ns(several.T), received_ns, several.a, _side(several.m))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedFrameError(f"Binance's frame cannot be decoded ({error}): {_beginning(payload)}") from None
    return None


def is_shutdown_notice(payload: bytes | str) -> bool:
    """Whether a frame says that the server is about to close the connection."""
    envelope = _decode_envelope(payload)
    return envelope.stream == "!serverShutdown" or envelope.e == "serverShutdown"


class CaptureParser:
    """Reads a recorded stream, one ``<receive time in ns> <frame>`` a line, and counts what it saw."""

    def __init__(self) -> None:
        self.lines = 0

    def parse_line(self, line: bytes) -> Tick | Quote | None:
        """One line as an event, None where it holds none; the errors of :func:`parse_frame`."""
        self.lines += 1
        received, _, payload = line.partition(b" ")
        try:
            received_ns = int(received)
        except ValueError:
            if not line.strip():
                return None
            raise MalformedFrameError(
                f"line {self.lines} of the capture does not begin with its receive time in ns: {_beginning(line)}"
            ) from None
        return parse_frame(payload, received_ns)


def _check_reply(envelope: _Envelope, payload: bytes | str) -> None:
    if envelope.msg is not None or envelope.error is not msgspec.UNSET:
        raise MalformedFrameError(f"Binance reports an error: {_beginning(payload)}")
    if envelope.id is msgspec.UNSET and envelope.last_update_id is msgspec.UNSET:
        raise MalformedFrameError(f"Binance's frame is of no known kind: {_beginning(payload)}")


def _time_ns(binance_time: int) -> int:
    # Milliseconds, or microseconds where the connection was asked for them.
    return binance_time * (1_000 if binance_time >= _MICROSECONDS_FROM else 1_000_000)


def _side(is_buyer_maker: bool) -> Literal["buy", "sell"]:
    return "sell" if is_buyer_maker else "buy"


def _beginning(payload: bytes | str) -> str:
    text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else payload
    text = text.strip()
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
