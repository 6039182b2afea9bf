"""Binance spot: what comes off the combined stream, as events.

A trade bears the exchange's time; a best bid and ask bears none at all and is stamped with the
time it was received. Every price and size is a decimal string on the wire.
"""

from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from qfkit.core.events import Bar, Depth, Gap, Quote, Tick
from qfkit.core.timeframes import timeframe_ns
from qfkit.errors import MalformedFrameError, TimeframeError
from qfkit.feeds.binance_depth import DepthBooks, depth_symbol, partial_depth

__all__ = ["CaptureParser", "Reply", "decode_frame", "is_shutdown_notice", "parse_frame", "parse_reply"]

Data = TypeVar("Data")
# JSON knows no end of numbers; a journal does.
_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**62)]

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
    t: _Number
    p: float
    q: float
    T: int
    m: bool


class _AggregateTrade(msgspec.Struct, gc=False):
    s: str
    a: _Number
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
    u: _Number = 0


class _Candle(msgspec.Struct, gc=False):
    t: int
    i: str
    o: float
    h: float
    l: float  # noqa: E741 - Binance's name
    c: float
    v: float
    x: bool


class _Kline(msgspec.Struct, gc=False):
    s: str
    k: _Candle


class _Framed(msgspec.Struct, Generic[Data], gc=False):
    """A stream's frame, outside and inside in one go."""

    data: Data


# Not strict, because that is what reads a number from a string.
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_data: dict[str, Callable[[bytes | str], Any]] = {
    "trade": msgspec.json.Decoder(_Trade, strict=False).decode,
    "aggTrade": msgspec.json.Decoder(_AggregateTrade, strict=False).decode,
    "bookTicker": msgspec.json.Decoder(_BookTicker, strict=False).decode,
    "kline": msgspec.json.Decoder(_Kline, strict=False).decode,
}
# By the end of the stream's name, which tells the kind before anything is decoded.
_decode_framed: dict[bytes, Callable[[bytes], Any]] = {
    b"@trade": msgspec.json.Decoder(_Framed[_Trade], strict=False).decode,
    b"gTrade": msgspec.json.Decoder(_Framed[_AggregateTrade], strict=False).decode,
}
_decode_book = msgspec.json.Decoder(_Framed[_BookTicker], strict=False).decode
_DATA = b'","data":'


def parse_frame(payload: bytes | str, received_ns: int) -> Tick | Quote | Depth | Bar | None:
    """One frame as an event; None for what is no trade, best bid and ask, partial depth, or closed bar.

    Raises :class:`MalformedFrameError` for broken JSON, for a frame unlike what Binance documents
    and for an error that Binance reports. The numbers are not judged here: a price of zero or NaN
    passes, and :func:`~qfkit.core.events.check_event` is what finds it.
    """
    return decode_frame(payload, received_ns)[0]


def decode_frame(payload: bytes | str, received_ns: int) -> tuple[Tick | Quote | Depth | Bar | None, int]:
    """The event of :func:`parse_frame` and its number in the stream: a trade's id, a book's update, else 0."""
    try:
        if type(payload) is bytes:
            place = payload.find(_DATA, 11, 100)
            decode = _decode_framed.get(payload[place - 6 : place])
            if decode is not None:
                data = decode(payload).data
                number = data.a if type(data) is _AggregateTrade else data.t
                # Milliseconds, or microseconds where the connection was asked for them.
                time_ns = data.T * (1_000 if data.T >= _MICROSECONDS_FROM else 1_000_000)
                side: Literal["buy", "sell"] = "sell" if data.m else "buy"
                return Tick(data.s, data.p, data.q, time_ns, received_ns, number, side), number
            if payload[place - 10 : place] == b"bookTicker":
                return _event(_decode_book(payload).data, received_ns)
        envelope = _decode_envelope(payload)
        stream = envelope.stream
        if stream is None:
            if envelope.e is None:
                _check_reply(envelope, payload)
                return None, 0
            kind, data = envelope.e, payload
        else:
            kind, data = stream[stream.find("@") + 1 :], envelope.data
        decode_data = _decode_data.get("kline" if kind.startswith("kline_") else kind)
        if decode_data is not None:
            return _event(decode_data(data), received_ns)
        symbol = None if stream is None else depth_symbol(stream)
        if symbol is not None:
            return partial_depth(data, symbol, received_ns)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedFrameError(f"Binance's frame cannot be decoded ({error}): {_beginning(payload)}") from None
    return None, 0


def _event(data: Any, received_ns: int) -> tuple[Tick | Quote | Bar | None, int]:
    if type(data) is _BookTicker:
        return Quote(data.s, data.b, data.B, data.a, data.A, received_ns, received_ns), data.u
    if type(data) is _Kline:
        return _bar(data), 0
    number = data.a if type(data) is _AggregateTrade else data.t
    # Milliseconds, or microseconds where the connection was asked for them.
    time_ns = data.T * (1_000 if data.T >= _MICROSECONDS_FROM else 1_000_000)
    return Tick(data.s, data.p, data.q, time_ns, received_ns, number, "sell" if data.m else "buy"), number


def _bar(kline: _Kline) -> Bar | None:
    candle = kline.k
    if not candle.x:
        return None
    open_ns = candle.t * (1_000 if candle.t >= _MICROSECONDS_FROM else 1_000_000)
    try:
        close_ns = open_ns + timeframe_ns(candle.i)
    except TimeframeError as error:
        raise msgspec.ValidationError(str(error)) from None
    return Bar(kline.s, candle.i, candle.o, candle.h, candle.l, candle.c, candle.v, open_ns, close_ns)


class Reply(msgspec.Struct):
    """An answer to a message of ours: ``id`` is what the message bore; ``msg`` and ``code`` are an error's."""

    id: int | str | None = None
    code: int = 0
    msg: str = ""


_decode_reply = msgspec.json.Decoder(Reply).decode


def parse_reply(payload: bytes | str) -> Reply | None:
    """A frame as a reply; None for any other."""
    if type(payload) is bytes and payload.startswith(b'{"stream":'):
        return None
    try:
        reply = _decode_reply(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return None if reply.id is None and not reply.msg else reply


def is_shutdown_notice(payload: bytes | str) -> bool:
    """Whether a frame says that the server is about to close the connection; what cannot be decoded does not."""
    try:
        envelope = _decode_envelope(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return envelope.stream == "!serverShutdown" or envelope.e == "serverShutdown"


class CaptureParser:
    """Reads a recorded stream, one ``<receive time in ns> <frame>`` a line, and counts what it saw.

    Changes of an order book become its best levels once there was a snapshot that they go on from.
    """

    def __init__(self) -> None:
        self.lines = 0
        self._books = DepthBooks()

    def parse_line(self, line: bytes) -> Tick | Quote | Depth | Bar | Gap | None:
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
        if b'"depthUpdate"' in payload[:80] or payload.startswith(b'{"lastUpdateId"'):
            return self._books.take(payload, received_ns)
        return parse_frame(payload, received_ns)


def _check_reply(envelope: _Envelope, payload: bytes | str) -> None:
    if envelope.msg is not None or envelope.error is not msgspec.UNSET:
        raise MalformedFrameError(f"Binance reports an error: {_beginning(payload)}")
    if envelope.id is msgspec.UNSET and envelope.last_update_id is msgspec.UNSET:
        raise MalformedFrameError(f"Binance's frame is of no known kind: {_beginning(payload)}")


def _beginning(payload: bytes | str) -> str:
    start = payload[: 2 * _SHOWN]
    text = start.decode("utf-8", "replace") if isinstance(start, bytes) else start
    text = text.strip()
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
