"""Whatever comes off the wire: a parser gives an event, or one of the errors it names, and soon."""

import json
import time
from contextlib import suppress
from ipaddress import ip_address
from math import isfinite
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qfkit.core.events import Bar, Instrument, Quote, Tick, check_event
from qfkit.errors import BadEventError, FeedError, MalformedFrameError
from qfkit.feeds.binance_frames import CaptureParser, Reply, decode_frame, is_shutdown_notice, parse_reply
from qfkit.feeds.binance_rest import (
    _AggregateTrade,
    _columns,
    _decoded,
    _ExchangeInfo,
    _instrument,
    _Refused,
    _SingleTrade,
    _tick,
)
from qfkit.feeds.connection import check_url, is_loopback, retry_after_s
from tests.test_binance import AGGREGATE_TRADE, BOOK, TRADE

KLINE = (
    '{"stream":"bnbbtc@kline_1m","data":{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,'
    '"T":1672515839999,"s":"BNBBTC","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015",'
    '"v":"1000","n":100,"x":true,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}}'
)
NOTICE = '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'
REPLIES = ('{"result":null,"id":1}', '{"code":2,"msg":"Invalid request: too many parameters","id":7}')
FRAMES = tuple(text.encode() for text in (TRADE, AGGREGATE_TRADE, BOOK, KLINE, NOTICE, *REPLIES))
ROWS = (
    b'[{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}]',
    b'[{"id":28457,"price":"4.00000100","qty":"12.0","quoteQty":"48.0","time":1499865549590,"isBuyerMaker":true}]',
    b'[[1499040000000,"0.01634790","0.8","0.01575800","0.01577100","148976.1",1499644799999,"2434.1",308,"1","2","0"]]',
    b"".join(
        (
            b'{"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000}],',
            b'"symbols":[{"symbol":"ETHBTC","status":"TRADING","quoteAsset":"BTC","filters":',
            b'[{"filterType":"PRICE_FILTER","tickSize":"0.00000100"},{"filterType":"LOT_SIZE","minQty":"1","stepSize":"1"}]}]}',
        )
    ),
    b'{"code":-1121,"msg":"Invalid symbol."}',
)
ODD_VALUES = (
    "NaN", "Infinity", "-Infinity", "1e999", '"NaN"', '"Infinity"', '"1e999"', "-1", "0", '""', "null", "true", "[]", "{}",
    "9223372036854775807", "9223372036854775808", "18446744073709551616", "1" * 400, f'"{"9" * 400}"', "1.5", '"1_0"',
    '"١٢"', '"\\ud800"', '"\\u0000"', "-0.0", "1e-400", '" 1"',
)  # fmt: skip
DEEP = (b"[" * 100_000, b'{"data":' * 50_000, b'{"stream":"a@trade","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}")

odd_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn, originals: tuple[bytes, ...]) -> bytes:
    """A real one with some of its bytes cut, doubled, exchanged or a value made odd."""
    data = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("cut", "end", "insert", "flip", "value", "double"))):
            case "cut":
                data = data[:place] + data[place + draw(st.integers(1, 8)) :]
            case "end":
                data = data[:place]
            case "insert":
                data = data[:place] + draw(st.binary(max_size=4)) + data[place:]
            case "flip" if place < len(data):
                data = data[:place] + bytes((data[place] ^ (1 << draw(st.integers(0, 7))),)) + data[place + 1 :]
            case "value":
                colon = data.find(b":", place)
                end = min((at for at in (data.find(b",", colon), data.find(b"}", colon)) if at > 0), default=-1)
                if colon > 0 and end > colon:
                    data = data[: colon + 1] + draw(st.sampled_from(ODD_VALUES)).encode() + data[end:]
            case _:
                data += data[place:]
    return data


anything = st.binary(max_size=200) | mutated(FRAMES) | odd_json.map(lambda value: json.dumps(value).encode())
any_answer = st.binary(max_size=200) | mutated(ROWS) | odd_json.map(lambda value: json.dumps(value).encode())


def look_at(event: Tick | Quote | Bar | None, number: int) -> None:
    """An event is one that the border either lets through, and then the journal can hold it, or refuses by name."""
    assert event is None or type(event) in (Tick, Quote, Bar)
    assert isinstance(number, int)
    if event is None:
        return
    try:
        check_event(event)
    except BadEventError:
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=type(event)) is not None


@settings(max_examples=1_500, deadline=None)
@given(anything)
@example(b"")
@example(b'{"stream":"a@kline_1m","data":{"s":"A","k":{"t":1,"i":"0m","o":1,"h":1,"l":1,"c":1,"v":1,"x":true}}}')
@example(TRADE.replace("12345", "9" * 25).encode())
def test_frames_of_a_stream(payload: bytes) -> None:
    with suppress(MalformedFrameError):
        look_at(*decode_frame(payload, 1))
    reply = parse_reply(payload)
    assert reply is None or type(reply) is Reply
    assert is_shutdown_notice(payload) in (True, False)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=100) | mutated(FRAMES).map(lambda data: data.decode("utf-8", "replace")))
def test_frames_given_as_text(payload: str) -> None:
    with suppress(MalformedFrameError):
        look_at(*decode_frame(payload, 1))
    parse_reply(payload)
    is_shutdown_notice(payload)


@settings(max_examples=500, deadline=None)
@given(anything | mutated(tuple(b"1723116800000000000 " + frame for frame in FRAMES)))
def test_lines_of_a_capture(line: bytes) -> None:
    with suppress(MalformedFrameError):
        look_at(CaptureParser().parse_line(line), 0)


@pytest.mark.parametrize("payload", DEEP)
def test_what_is_nested_deeply_costs_nothing(payload: bytes) -> None:
    began_s = time.monotonic()
    with suppress(MalformedFrameError):
        look_at(*decode_frame(payload, 1))
    assert parse_reply(payload) is None
    assert is_shutdown_notice(payload) is False
    for kind in (list[_AggregateTrade], _ExchangeInfo):
        with pytest.raises(MalformedFrameError):
            _decoded(payload, kind)
    assert time.monotonic() - began_s < 1.0


@settings(max_examples=1_000, deadline=None)
@given(any_answer)
def test_answers_of_rest(body: bytes) -> None:
    # A feed keeps only the numbers that it asked for.
    with suppress(MalformedFrameError):
        for row in _decoded(body, list[_AggregateTrade]):
            look_at(_tick("A", row.a % 2**62, row.p, row.q, row.T, row.m, 1), 0)
    with suppress(MalformedFrameError):
        for one in _decoded(body, list[_SingleTrade]):
            look_at(_tick("A", one.id % 2**62, one.price, one.qty, one.time, one.is_buyer_maker, 1), 0)
    with suppress(MalformedFrameError):
        page = _columns("A", "1m", _decoded(body, list[list]), 60 * 10**9)
        assert page.open.dtype == float and page.open_ns.dtype == int
    with suppress(MalformedFrameError):
        for listed in _decoded(body, _ExchangeInfo).symbols:
            assert type(_instrument(listed, 1)) is Instrument
    with suppress(MalformedFrameError):
        _decoded(body, _Refused)


@settings(max_examples=1_000, deadline=None)
@given(
    st.text(max_size=40)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.from_regex(
        r"(Mon|Wed|x), \d{1,12} (Oct|Foo) \d{1,12} \d{1,3}:\d{1,3}:\d{1,3} (GMT|[+-]\d{1,6})", fullmatch=True
    )
)
@example("Wed, 21 Oct 99999999999 07:28:00 GMT")
@example("Wed, 21 Oct 9999 23:28:00 -2359")
@example("Wed, 21 Oct 0001 00:00:00 +2359")
@example("Wed, 21 Oct 2015 07:28:00 +9999999")
@example("inf")
@example("nan")
@example("1e400")
def test_headers_that_say_when_to_come_again(header: str) -> None:
    seconds = retry_after_s(header)
    assert seconds is None or (isfinite(seconds) and seconds >= 0.0)


hosts = st.sampled_from(
    ("127.0.0.1", "localhost", "[::1]", "example.com", "127.0.0.1.example.com", "127.0.0.1@example.com", "10.0.0.1", "0x7f.1",
     "2130706433", "[::ffff:10.0.0.1]", "[::1", "loc\talhost", "127.0.0.1\n.example.com", "127.0.0.1\\@example.com",
     "127.0.0.1:80@example.com", "localhost.example.com", "127.0.0.1#.example.com", "١٢٧.0.0.1", "")
)  # fmt: skip
urls = st.text(max_size=40) | st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(("ws://", "wss://", "WS://", "http://", "ws:", "//", " ws://", "ws:/\\", "wss:///")),
    hosts | st.text(max_size=10),
    st.sampled_from(("", ":1", ":99999", ":-1", ":x", ":", ":80:80")),
    st.sampled_from(("", "/", "/path/", "?a=b", "#c", "/\r\nHost: x", "/ ")),
    st.sampled_from(("", "/", "\n", "@example.com")),
)


@settings(max_examples=2_000, deadline=None)
@given(urls)
@example("ws://127.0.0.1:99999999")
@example("ws://[::1")
@example("ws://127.0.0.1\n.example.com")
def test_addresses(url: str) -> None:
    try:
        kept = check_url(url, ("wss", "ws"))
    except FeedError:
        return
    parts = urlsplit(kept)
    assert parts.scheme in ("wss", "ws")
    assert kept == url.rstrip("/")
    if parts.scheme == "ws":
        assert is_loopback(kept)
        host = parts.hostname or ""
        assert host == "localhost" or ip_address(host).is_loopback
