"""The life cycle of a connection, on real sockets: every way to be lost, and the way back."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from qfkit.core.events import Tick
from qfkit.errors import ConnectionFailedError, MalformedFrameError
from qfkit.feeds.connection import open_websocket
from qfkit.feeds.link import LinkSettings
from qfkit.feeds.sockets import SocketFeed


class NumberServer:
    """A market whose trades are numbers, one each few ms, sent to whoever is connected at the time."""

    def __init__(self, *, every_s: float = 0.005) -> None:
        self.every_s = every_s
        self.number = 0
        self.attempts: list[float] = []
        self.connections: set[ServerConnection] = set()
        self.most_at_once = 0
        self.is_silent = False
        self.is_hostile = False
        self.refuses: list[tuple[int, str | None]] = []
        self.heard: list[str] = []
        self.redirect = ""

    @asynccontextmanager
    async def running(self, ssl: SSLContext | None = None) -> AsyncIterator["NumberServer"]:
        async with serve(
            self._serve, "127.0.0.1", 0, process_request=self._request, close_timeout=0.2, ssl=ssl
        ) as server:
            self.url = f"{'wss' if ssl else 'ws'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            market = asyncio.create_task(self._trade())
            try:
                yield self
            finally:
                market.cancel()
                with suppress(asyncio.CancelledError):
                    await market

    def _request(self, connection, request):
        self.attempts.append(time.monotonic())
        if self.redirect:
            response = connection.respond(HTTPStatus.TEMPORARY_REDIRECT, "")
            response.headers["Location"] = self.redirect
            return response
        if self.refuses:
            status, retry_after = self.refuses.pop(0)
            response = connection.respond(HTTPStatus(status), "")
            if retry_after is not None:
                response.headers["Retry-After"] = retry_after
            return response
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        if self.is_hostile:
            await connection.close()
            return
        self.connections.add(connection)
        self.most_at_once = max(self.most_at_once, len(self.connections))
        try:
            async for message in connection:
                self.heard.append(message)
        except ConnectionClosed:
            pass
        finally:
            self.connections.discard(connection)

    async def _trade(self) -> None:
        while True:
            await asyncio.sleep(self.every_s)
            self.number += 1
            if not self.is_silent:
                await self.say(str(self.number))

    async def say(self, text: str) -> None:
        for connection in list(self.connections):
            with suppress(ConnectionClosed):
                await connection.send(text)

    async def drop(self, *, politely: bool) -> None:
        for connection in list(self.connections):
            if politely:
                await connection.close(1000, "bye")
            else:
                connection.transport.abort()


class NumberFeed(SocketFeed):
    """Gives each number once, in order."""

    def __init__(self, url: str, *symbols: str, **settings) -> None:
        stale = settings.pop("symbol_stale_after_s", 60.0)
        settings = {"stale_after_s": 0.5, "backoff_s": 0.05, **settings}
        super().__init__(
            symbols or ("N",), label="numbers", settings=LinkSettings(**settings), symbol_stale_after_s=stale
        )
        self.url = url
        self.last = 0
        self.doubles = 0
        self.refreshed: list[str] = []

    def _address(self, link):
        return self.url

    async def _greet(self, link, connection):
        await link.send(f"hello {' '.join(link.symbols)}", connection)

    async def _refresh(self, link, symbol):
        self.refreshed.append(symbol)

    def _take(self, link, payload, received_ns):
        if payload == b"notice":
            link.renew()
            return False
        try:
            number = int(payload)
        except ValueError:
            raise MalformedFrameError(f"{payload!r} is no number") from None
        if number <= self.last:
            self.doubles += 1
            return True
        self.last = number
        self._put(Tick("N", float(number), 1.0, received_ns, received_ns, number))
        return True


async def gather(feed: SocketFeed, until, timeout_s: float = 10.0) -> list[int]:
    """The numbers that come until a condition holds."""
    numbers = []
    events = feed.events()
    try:
        async with asyncio.timeout(timeout_s):
            async for batch in events:
                numbers += [event.trade_id for event in batch if type(event) is Tick]
                if until(numbers):
                    break
    finally:
        await events.aclose()
    return numbers


async def test_a_handshake_that_is_cancelled_or_takes_too_long_leaves_no_connection() -> None:
    ended = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        assert await reader.read() == b""
        ended.set()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for timeout_s, is_cancelled, error in ((30.0, True, asyncio.CancelledError), (0.2, False, TimeoutError)):
            asked = asyncio.Event()
            ended.clear()
            opening = asyncio.create_task(open_websocket(url, timeout_s))
            await asyncio.wait_for(asked.wait(), 5)
            if is_cancelled:
                opening.cancel()
            with pytest.raises(error):
                await opening
            await asyncio.wait_for(ended.wait(), 2)


async def test_a_certificate_is_verified(tmp_path, monkeypatch) -> None:
    def context_for(authority: trustme.CA, host: str) -> SSLContext:
        context = SSLContext(PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(context)
        return context

    known, unknown = trustme.CA(), trustme.CA()
    known.cert_pem.write_to_path(tmp_path / "known.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "known.pem"))
    async with NumberServer().running(context_for(known, "127.0.0.1")) as server:
        numbers = await gather(NumberFeed(server.url), lambda numbers: len(numbers) >= 20)
        assert is_contiguous(numbers)
    for authority, host in ((unknown, "127.0.0.1"), (known, "example.org")):
        async with NumberServer().running(context_for(authority, host)) as server:
            began_s = time.monotonic()
            with pytest.raises(ConnectionFailedError, match="CERTIFICATE_VERIFY_FAILED"):
                await gather(NumberFeed(server.url, connect_timeout_s=5.0), lambda numbers: numbers)
            # No second try can help, and none is made.
            assert time.monotonic() - began_s < 2.0
            assert not server.attempts


async def test_a_redirect_is_not_followed() -> None:
    async with NumberServer().running() as there, NumberServer().running() as here:
        here.redirect = there.url
        feed = NumberFeed(here.url, connect_timeout_s=0.5)
        with pytest.raises(ConnectionFailedError, match="HTTP 307"):
            await gather(feed, lambda numbers: numbers)
        assert here.attempts and not there.attempts


def states(feed: SocketFeed) -> list[str]:
    return [state for _, state in feed.transitions]


def is_contiguous(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.fixture
async def server():
    async with NumberServer().running() as running:
        yield running


async def test_the_first_data_make_it_live_and_a_stop_closes_it(server):
    feed = NumberFeed(server.url)
    numbers = await gather(feed, lambda numbers: len(numbers) >= 20)
    assert is_contiguous(numbers)
    assert states(feed) == ["connecting", "live", "closed"]
    assert server.heard == ["hello N"]
    health = feed.health.loc["N"]
    assert health.connects == 1 and health.reconnects == 0 and health.events == len(numbers)


@pytest.mark.parametrize("politely", [True, False])
async def test_a_lost_connection_is_made_again_and_subscribed_again(server, politely):
    feed = NumberFeed(server.url)
    lost = asyncio.create_task(_later(0.2, server.drop(politely=politely)))
    await gather(feed, lambda _: feed.reconnects == 1 and feed.state == "live")
    await lost
    assert states(feed) == ["connecting", "live", "connecting", "live", "closed"]
    assert server.heard == ["hello N", "hello N"]
    assert feed.health.loc["N"].reconnects == 1


async def test_silence_of_an_open_connection_makes_it_stale_and_it_is_made_again(server):
    feed = NumberFeed(server.url)

    async def silence() -> None:
        server.is_silent = True
        await asyncio.sleep(0.9)
        server.is_silent = False

    silent = asyncio.create_task(_later(0.2, silence()))
    await gather(feed, lambda _: feed.reconnects == 1)
    await silent
    assert states(feed)[:4] == ["connecting", "live", "stale", "connecting"]


async def test_rubbish_is_no_sign_of_life(server):
    feed = NumberFeed(server.url)

    async def rubbish() -> None:
        server.is_silent = True
        for _ in range(80):
            await server.say("rubbish")
            await asyncio.sleep(0.01)
        server.is_silent = False

    nonsense = asyncio.create_task(_later(0.2, rubbish()))
    await gather(feed, lambda _: feed.reconnects == 1)
    await nonsense
    assert "stale" in states(feed)
    assert feed.rejected_count > 30
    assert feed.view().bad == feed.rejected_count


async def test_a_frame_that_is_never_ended_makes_it_stale(server):
    feed = NumberFeed(server.url)

    async def half_a_frame() -> None:
        server.is_silent = True
        for connection in server.connections:
            connection.transport.write(b"\x81\x7e\x01\x00only the beginning")
        await asyncio.sleep(0.8)
        server.is_silent = False

    half = asyncio.create_task(_later(0.2, half_a_frame()))
    await gather(feed, lambda _: feed.reconnects == 1)
    await half
    assert "stale" in states(feed)


async def test_a_message_beyond_the_limit_ends_the_connection_and_not_the_feed(server):
    feed = NumberFeed(server.url)
    huge = asyncio.create_task(_later(0.2, server.say("7" * (2 << 20))))
    await gather(feed, lambda _: feed.reconnects == 1)
    await huge


async def test_a_notice_has_a_second_connection_take_over_without_a_hole(server):
    feed = NumberFeed(server.url)
    notice = asyncio.create_task(_later(0.2, server.say("notice")))
    numbers = await gather(feed, lambda numbers: feed.reconnects == 1 and len(numbers) > 150)
    await notice
    assert server.most_at_once == 2
    assert is_contiguous(numbers)
    assert feed.doubles > 0  # both were read meanwhile
    assert states(feed) == ["connecting", "live", "closed"]


async def test_an_old_connection_is_renewed_before_it_is_cut(server):
    feed = NumberFeed(server.url, longest_s=0.5)
    numbers = await gather(feed, lambda numbers: feed.reconnects == 2)
    assert is_contiguous(numbers)
    assert states(feed) == ["connecting", "live", "closed"]


async def test_a_server_that_goes_at_once_after_its_notice_is_followed_by_the_second_connection(server):
    feed = NumberFeed(server.url)

    async def leave() -> None:
        former = list(server.connections)
        await server.say("notice")
        await asyncio.sleep(0.05)
        for connection in former:
            connection.transport.abort()

    leaving = asyncio.create_task(_later(0.2, leave()))
    await gather(feed, lambda numbers: feed.reconnects == 1 and len(numbers) > 100)
    await leaving
    assert len(server.attempts) == 2


async def test_a_server_that_accepts_and_closes_sees_a_handful_of_connections(server):
    server.is_hostile = True
    feed = NumberFeed(server.url, backoff_s=1.0)
    with pytest.raises(TimeoutError):
        await gather(feed, lambda _: False, timeout_s=4.0)
    assert 2 <= len(server.attempts) <= 10


async def test_the_budget_of_attempts_holds_whatever_the_backoff_draws(server):
    server.is_hostile = True
    feed = NumberFeed(server.url, backoff_s=0.001)
    with pytest.raises(TimeoutError):
        await gather(feed, lambda _: False, timeout_s=3.0)
    assert len(server.attempts) == 10  # and then none for the rest of five minutes


async def test_a_refusal_is_waited_out_as_long_as_it_asks(server):
    server.refuses = [(429, "1")]
    feed = NumberFeed(server.url)
    await gather(feed, lambda numbers: bool(numbers))
    first, second = server.attempts
    assert 1.0 <= second - first < 2.0


@pytest.mark.parametrize("status", [403, 418, 429, 503])
async def test_a_first_connection_that_is_refused_to_the_end_says_why(server, status):
    server.refuses = [(status, "60")] * 20
    feed = NumberFeed(server.url, connect_timeout_s=0.5)
    with pytest.raises(ConnectionFailedError, match=f"HTTP {status}"):
        await gather(feed, lambda _: False)
    assert feed.state == "closed"


async def test_nobody_there_is_told_within_the_time():
    feed = NumberFeed("ws://127.0.0.1:9", connect_timeout_s=0.4)
    began_s = time.monotonic()
    with pytest.raises(ConnectionFailedError, match="no connection to numbers"):
        await gather(feed, lambda _: False)
    assert time.monotonic() - began_s < 2.0


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.3])
async def test_cancelling_ends_it_at_once_and_leaves_nothing_behind(server, after_s):
    feed = NumberFeed(server.url)
    before = asyncio.all_tasks()
    task = asyncio.create_task(gather(feed, lambda _: False))
    await asyncio.sleep(after_s)
    began_s = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began_s < 1.0
    await asyncio.sleep(0.3)
    assert not server.connections
    left = {one for one in asyncio.all_tasks() - before if "NumberServer" not in repr(one)}
    assert not {one for one in left if "numbers" in one.get_name() or "Link" in one.get_name()}


async def test_a_stop_ends_the_iteration_also_without_data(server):
    server.is_silent = True
    feed = NumberFeed(server.url, stale_after_s=30.0)
    task = asyncio.create_task(gather(feed, lambda _: False))
    await asyncio.sleep(0.1)
    await feed.stop()
    assert await asyncio.wait_for(task, 2.0) == []


async def test_more_symbols_than_a_connection_takes_are_shared_out(server):
    feed = NumberFeed(server.url, *(f"S{number}" for number in range(250)))
    await gather(feed, lambda _: len(server.heard) == 3 and feed.state == "live")
    assert [len(text.split()) - 1 for text in sorted(server.heard, key=len, reverse=True)] == [100, 100, 50]
    assert set(" ".join(text.removeprefix("hello ") for text in server.heard).split()) == set(feed.symbols)


async def test_a_symbol_silent_alone_is_stale_and_asked_for_again(server):
    feed = NumberFeed(server.url, "N", "MUTE", symbol_stale_after_s=0.6)
    await gather(feed, lambda _: bool(feed.refreshed))
    assert feed.refreshed == ["MUTE"]
    assert feed.ledger["N"].events > 0
    health = {view.symbol: view for view in feed.ledger.views()}
    assert health["N"].stale_s == 0.0


async def test_messages_are_sent_no_faster_than_allowed(server):
    feed = NumberFeed(server.url, sends_per_s=4)
    events = feed.events()
    await anext(events)
    link = feed._links[0]
    began_s = time.monotonic()
    for number in range(6):
        await link.send(f"message {number}")
    took_s = time.monotonic() - began_s
    await asyncio.sleep(0.05)
    await events.aclose()
    assert server.heard == ["hello N", *(f"message {number}" for number in range(6))]
    assert took_s >= 0.9


async def _later(seconds: float, action) -> None:
    await asyncio.sleep(seconds)
    await action
