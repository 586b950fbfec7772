"""Adapts an httpx transport that the user passed; its errors become ours."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final, cast

import anyio
import httpx

from llama_dashscope._errors import DashScopeError
from llama_dashscope._settings import Network, Timeout

from .failures import Kinds, before_answer, timed_out, within_answer
from .interface import HTTPRequest, TransportResponse

AsyncBaseTransport = httpx.AsyncBaseTransport

__all__ = ["AsyncBaseTransport", "UserTransport"]

ERRORS: Final = (httpx.HTTPError, ssl.SSLError)
"""What httpx raises for a failure of the network; it converts only some of TLS's errors."""

KINDS: Final = Kinds(
    connect_timeout=httpx.ConnectTimeout,
    timeout=httpx.TimeoutException,
    proxy=httpx.ProxyError,
    connect=httpx.ConnectError,
)


class UserTransport:
    """The user's own httpx transport; the user closes it."""

    def __init__(self, network: Network) -> None:
        """Take the transport from the network settings."""
        self._network = network

    async def send(self, request: HTTPRequest) -> TransportResponse:
        """Send a request and wait for the head of its answer."""
        asked = _httpx_request(request)
        try:
            response = await self._network.transport.handle_async_request(asked)
        except ERRORS as error:
            failure = before_answer(error, KINDS, self._network, request, heard=None)
        else:
            # From here on `idle` limits each wait; httpcore reads the limit once, when reading the
            # body begins.
            asked.extensions["timeout"] = _time_limits(request.timeout, request.timeout.idle)
            return _HttpxResponse(self._network, request, response)
        raise failure  # outside of `except`: keeps no frames of the library

    async def aclose(self) -> None:
        """Do nothing: the user closes the transport."""


class _HttpxResponse:
    """An answer received by an httpx transport."""

    def __init__(self, network: Network, request: HTTPRequest, response: httpx.Response) -> None:
        self._network = network
        self._key = request.key
        self._stream = cast("httpx.AsyncByteStream", response.stream)
        self._body: AsyncIterator[bytes] | None = None
        self._ended = False
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes of the body, or none at its end."""
        if self._body is None:
            self._body = aiter(self._stream)
        try:
            with anyio.move_on_after(limit):
                while not (data := await anext(self._body)):
                    pass  # an empty piece is not the end
                return data
            failure: DashScopeError = timed_out("idle", limit, self._network.host)
        except StopAsyncIteration:
            await self.aclose()
            return b""
        except ERRORS as error:
            failure = within_answer(error, KINDS.timeout, self._network, self._key, limit)
        raise failure  # outside of `except`: keeps no frames of the library

    async def aclose(self) -> None:
        """Close the answer, once."""
        if self._ended:
            return
        self._ended = True
        body: Any = self._body
        if isinstance(body, AsyncGenerator):
            with suppress(RuntimeError):  # being read: its reader will find the stream closed
                await cast("AsyncGenerator[bytes, None]", body).aclose()
        await self._stream.aclose()


def _time_limits(given: Timeout, read: float | None) -> dict[str, float | None]:
    """Return the limits in httpx's terms."""
    return {"connect": given.connect, "read": read, "write": given.read, "pool": None}


class _RequestBody(httpx.AsyncByteStream):
    """A request's body in one piece.

    httpx would make an async generator of it; trio warns of one that a cancelled call leaves open.
    """

    def __init__(self, body: bytes) -> None:
        self._pieces = [body]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces:
            return self._pieces.pop()
        raise StopAsyncIteration


def _httpx_request(request: HTTPRequest) -> httpx.Request:
    made = httpx.Request(
        "POST",
        request.url,
        headers=request.headers,
        content=request.body,
        extensions={"timeout": _time_limits(request.timeout, request.timeout.read)},
    )
    made.stream = _RequestBody(request.body)
    return made
