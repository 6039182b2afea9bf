"""Asking Alpha Vantage over HTTP, the key added where nothing logs or keeps it."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from qfkit.errors import ConnectionFailedError, FeedError, RateLimitError
from qfkit.feeds.alpha_vantage_budget import ApiKey, Budget
from qfkit.feeds.connection import is_loopback, retry_after_s

if TYPE_CHECKING:
    import httpx

__all__ = ["KeyedClient"]

_TRIES = 3
_BACKOFF_S = 0.15
_LONGEST_WAIT_S = 60.0


class KeyedClient:
    """GETs ``/query`` with a key. Every request, repeated ones too, is taken from the budget before."""

    def __init__(
        self,
        url: str,
        key: ApiKey,
        budget: Budget,
        *,
        requests_per_day: int | None,
        requests_per_second: float,
        timeout_s: float,
        now_ns: Callable[[], int],
    ) -> None:
        self._url = url
        self._key = key
        self._budget = budget
        self._per_day = requests_per_day
        self._per_second = requests_per_second
        self._timeout_s = timeout_s
        self._now_ns = now_ns
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def get(self, params: dict[str, str]) -> bytes:
        """The body of an answer with HTTP 200, the key struck out; waits and asks again where that can help and is not for long."""
        failure = ""
        for attempt in range(_TRIES):
            if failure:
                await asyncio.sleep(_BACKOFF_S * 2**attempt)
            answer = await self._request(params)
            if isinstance(answer, str):
                failure = answer
            elif answer.status_code == 200:
                return self._key.redact(answer.content)
            else:
                failure = f"HTTP {answer.status_code}"
                if answer.status_code == 429:
                    self._wait_as_asked(answer.headers.get("Retry-After"), is_last=attempt == _TRIES - 1)
                elif answer.status_code < 500:
                    text = self._key.redact(answer.content)[:160].decode("utf-8", "replace")
                    raise FeedError(f"Alpha Vantage refuses the request ({failure} at {self._url}/query): {text!r}")
        raise ConnectionFailedError(f"Alpha Vantage did not answer at {self._url}/query ({failure}): try again later")

    def _wait_as_asked(self, header: str | None, *, is_last: bool) -> None:
        asked_s = retry_after_s(header)
        asked_s = _LONGEST_WAIT_S if asked_s is None else asked_s
        if is_last or asked_s > _LONGEST_WAIT_S:
            raise RateLimitError(
                f"Alpha Vantage has had too many requests (HTTP 429): ask again in {asked_s:,.0f} s", asked_s
            )
        self._budget.hold(asked_s)

    async def _request(self, params: dict[str, str]) -> "httpx.Response | str":
        """One answer, or in words why there was none: an exception of httpx's brings along frames that hold the key."""
        import httpx

        if self._client is None:
            # Before a request is taken, because this takes a moment.
            self._client = _client(self._url, self._key, self._timeout_s)
        # Others who have the key may be of another thread, which no asyncio.Event reaches.
        while wait_s := self._budget.take(self._per_day, self._now_ns(), 2 * self._timeout_s):  # noqa: ASYNC110
            await asyncio.sleep(wait_s)
        try:
            # The timeouts of httpx are for each read, so that a slow drip could go on for ever.
            async with asyncio.timeout(self._timeout_s):
                return await self._client.get(f"{self._url}/query", params=params)
        except TimeoutError:
            return f"nothing within {self._timeout_s:g} s"
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return str(error) or type(error).__name__
        finally:
            self._budget.finished(self._per_second)


def _client(url: str, key: ApiKey, timeout_s: float) -> "httpx.AsyncClient":
    """A client that adds the key below all that it logs, raises and keeps."""
    import httpx

    class KeyedTransport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            keyed = httpx.Request(
                request.method,
                request.url.copy_add_param("apikey", key.reveal()),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
            return await super().handle_async_request(keyed)

    transport = KeyedTransport(proxy=_proxy(url), trust_env=not is_loopback(url))
    return httpx.AsyncClient(transport=transport, timeout=timeout_s, trust_env=False)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names, because httpx does not look where the transport is not its own."""
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
