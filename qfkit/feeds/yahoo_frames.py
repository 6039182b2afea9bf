"""Yahoo's stream: what is in its frames. Each holds a protobuf message, PricingData, as base64.

Yahoo documents neither; the field numbers are those of yfinance's ``pricing.proto``. A frame is no
trade but a snapshot of a symbol, about one a second while it trades.
"""

import base64
import binascii
import struct
from collections.abc import Callable
from math import isfinite
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np

from qfkit.errors import MalformedFrameError

__all__ = ["CRYPTOCURRENCY", "Pricing", "decode_pricing", "parse_frame"]

CRYPTOCURRENCY = 41
"""The ``quote_type`` of crypto pairs, whose ``day_volume`` is money of 24 hours, not pieces of the day."""

_HEARTBEAT = 7
_SHOWN = 160
_LATEST_MS = 9_223_372_036_854
_MASK = (1 << 64) - 1
_SIGN = 1 << 63


class Pricing(msgspec.Struct, frozen=True, gc=False):
    """What Yahoo says of a symbol at one moment; what it does not say is None.

    ``price`` is of the last trade and ``time_ns`` its time, in whole seconds on the stream.
    ``market_hours`` is 0 before the regular session, 1 in it, 2 after it; 4 was seen at night.
    ``change_percent`` is in percent. ``day_volume`` counts up over the day, but see
    :data:`CRYPTOCURRENCY`.
    """

    symbol: str
    price: float
    time_ns: int
    received_ns: int
    currency: str | None = None
    exchange: str | None = None
    quote_type: int | None = None
    market_hours: int | None = None
    change: float | None = None
    change_percent: float | None = None
    day_volume: int | None = None
    day_high: float | None = None
    day_low: float | None = None
    open_price: float | None = None
    previous_close: float | None = None
    bid: float | None = None
    bid_size: int | None = None
    ask: float | None = None
    ask_size: int | None = None


class _Envelope(msgspec.Struct, gc=False):
    type: str = ""
    message: str | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_KEPT = tuple(name for name in Pricing.__struct_fields__ if name not in ("symbol", "price", "time_ns", "received_ns"))


# -- values on the wire ------------------------------------------------------------------------


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _signed(value: int) -> int:
    return value - (_SIGN << 1) if value & _SIGN else value


def _float32(data: bytes) -> float:
    # The shortest decimal that means the same float32: 307.2, where its exact value is 307.20001220703125.
    return float(str(np.frombuffer(data, "<f4")[0]))


def _float64(data: bytes) -> float:
    return float(struct.unpack("<d", data)[0])


def _text(data: bytes) -> str:
    return data.decode()


_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TEXT = (_BYTES, _text)
_FLOAT = (_FIXED32, _float32)
_DOUBLE = (_FIXED64, _float64)
_INT = (_VARINT, _signed)
_SINT = (_VARINT, _zigzag)

_FIELDS: MappingProxyType[int, tuple[str, tuple[int, Callable[[Any], Any]]]] = MappingProxyType(
    {
        1: ("id", _TEXT), 2: ("price", _FLOAT), 3: ("time", _SINT), 4: ("currency", _TEXT), 5: ("exchange", _TEXT),
        6: ("quote_type", _INT), 7: ("market_hours", _INT), 8: ("change_percent", _FLOAT), 9: ("day_volume", _SINT),
        10: ("day_high", _FLOAT), 11: ("day_low", _FLOAT), 12: ("change", _FLOAT), 13: ("short_name", _TEXT),
        14: ("expire_date", _SINT), 15: ("open_price", _FLOAT), 16: ("previous_close", _FLOAT),
        17: ("strike_price", _FLOAT), 18: ("underlying_symbol", _TEXT), 19: ("open_interest", _SINT),
        20: ("options_type", _SINT), 21: ("mini_option", _SINT), 22: ("last_size", _SINT), 23: ("bid", _FLOAT),
        24: ("bid_size", _SINT), 25: ("ask", _FLOAT), 26: ("ask_size", _SINT), 27: ("price_hint", _SINT),
        28: ("vol_24hr", _SINT), 29: ("vol_all_currencies", _SINT), 30: ("from_currency", _TEXT),
        31: ("last_market", _TEXT), 32: ("circulating_supply", _DOUBLE), 33: ("market_cap", _DOUBLE),
    }
)  # fmt: skip


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data):
            raise MalformedFrameError("Yahoo's message ends within a number")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, place
        shift += 7
        if shift > 63:
            raise MalformedFrameError("Yahoo's message has a number of more than ten bytes")


def decode_pricing(data: bytes) -> dict[str, Any]:
    """The fields of a PricingData message, by their names in ``pricing.proto``; those of unknown numbers are left out.

    A zero that was sent is there: before the regular session ``market_hours`` is 0.
    Raises :class:`MalformedFrameError`.
    """
    found: dict[str, Any] = {}
    place, end = 0, len(data)
    while place < end:
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == _VARINT:
            value, place = _varint(data, place)
        else:
            if kind == _BYTES:
                length, place = _varint(data, place)
            elif kind in (_FIXED32, _FIXED64):
                length = 4 if kind == _FIXED32 else 8
            else:
                raise MalformedFrameError(f"Yahoo's message has a field of the unknown kind {kind}")
            if length > end - place:
                raise MalformedFrameError("Yahoo's message ends within a field")
            value, place = data[place : place + length], place + length
        known = _FIELDS.get(number)
        if known is None:
            continue
        name, (expected, read) = known
        if kind != expected:
            raise MalformedFrameError(f"Yahoo's message has {name} as kind {kind}, not {expected}")
        found[name] = read(value)
    return found


def parse_frame(payload: bytes | str, received_ns: int) -> Pricing | None:
    """One frame; None for a heartbeat and for JSON of a type other than "pricing".

    Taken are the JSON of ``?version=2`` and the bare base64 of the older stream. Raises
    :class:`MalformedFrameError` for anything else, and for a message without a symbol, price or time.
    """
    try:
        text = (payload.encode() if isinstance(payload, str) else payload).strip()
        if text.startswith(b"{"):
            envelope = _decode_envelope(text)
            if envelope.type != "pricing":
                return None
            if envelope.message is None:
                raise MalformedFrameError(f"Yahoo's frame has no message: {_beginning(payload)}")
            text = envelope.message.encode()
        # Without validate, what is no base64 would be left out and the rest decoded to anything.
        fields = decode_pricing(base64.b64decode(text, validate=True))
    except (msgspec.DecodeError, binascii.Error, UnicodeError, RecursionError) as error:
        raise MalformedFrameError(f"Yahoo's frame cannot be decoded ({error}): {_beginning(payload)}") from None
    if fields.get("quote_type") == _HEARTBEAT:
        return None
    symbol, price, time_ms = fields.get("id"), fields.get("price"), fields.get("time")
    if not symbol or price is None or time_ms is None:
        raise MalformedFrameError(f"Yahoo's frame has no symbol, price or time: {_beginning(payload)}")
    if not isfinite(price) or not 0 < time_ms <= _LATEST_MS:
        raise MalformedFrameError(f"Yahoo's frame of {symbol} has the price {price} at {time_ms} ms")
    return Pricing(symbol, price, time_ms * 1_000_000, received_ns, **{name: fields.get(name) for name in _KEPT})


def _beginning(payload: bytes | str) -> str:
    text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else payload
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
