"""Sockets, TLS and proxies by httpx; the only room that knows it, where its errors become ours.

httpx's own pool looks through all its connections at every step and can lose a slot to a cancelled
request, so each connection here is a transport of its own that holds just one; they are kept in a
stack, and one whose exchange did not end cleanly is closed. On asyncio they run over sockets of
our own (`asyncio_backend`).
"""

import asyncio
import ssl
import zlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, cast

import anyio
import httpx

from llama_dashscope._errors import ConfigurationError, DashScopeError, ResponseError
from llama_dashscope._settings import Network, Proxy, Timeout

from .asyncio_backend.backend import AsyncioBackend
from .event_loop import running_loop
from .failures import (
    broken,
    cant_connect,
    describe,
    first_cause,
    refused_by_proxy,
    secrets_of,
    timed_out,
    with_cause,
)
from .interface import HTTPRequest, TransportResponse
from .tls import keepalive_options, needs_tls_in_tls, tls_context

AsyncBaseTransport = httpx.AsyncBaseTransport

__all__ = ["AsyncBaseTransport", "HttpxTransport", "UserTransport"]

ERRORS: Final = (httpx.HTTPError, ssl.SSLError)
"""Everything that httpx raises when the network is at fault; of TLS it translates only a part."""


class _Connection:
    """One connection: a transport that holds no more."""

    __slots__ = ("idle_since", "transport")

    def __init__(self, transport: httpx.AsyncHTTPTransport) -> None:
        self.transport = transport
        self.idle_since = 0.0


class HttpxTransport:
    """Connections by httpx, the last one used first."""

    def __init__(self, network: Network) -> None:
        """Begin without a connection."""
        self._network = network
        self._url = httpx.URL("")
        self._idle: deque[_Connection] = deque()
        self._busy: set[_Connection] = set()
        self._options = keepalive_options()

    async def send(self, request: HTTPRequest) -> TransportResponse:
        """Send a request over the connection that was idle for the shortest time, or a new one."""
        line = await self._take()
        reused = line.idle_since > 0
        if str(self._url) != request.url:
            self._url = httpx.URL(request.url)
        asked = _httpx_request(self._url, request)
        try:
            response = await line.transport.handle_async_request(asked)
        except ERRORS as error:
            failure = _before_answer(error, self._network, request, reused=reused)
        except BaseException:
            await self.scrap(line)
            raise
        else:
            return _HttpxResponse(self._network, request, asked, response, (self, line))
        await self.scrap(line)
        raise failure  # out of reach of the library's frames

    async def _take(self) -> _Connection:
        expiry = self._network.limits.keepalive_expiry
        now = anyio.current_time()
        while self._idle:
            line = self._idle.pop()
            self._busy.add(line)
            if expiry is None or now - line.idle_since < expiry:
                return line
            await self.scrap(line)
        line = _Connection(self._transport())
        self._busy.add(line)
        return line

    def _transport(self) -> httpx.AsyncHTTPTransport:
        try:
            made = httpx.AsyncHTTPTransport(
                verify=tls_context(self._network),
                trust_env=False,
                limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
                proxy=_httpx_proxy(self._network.proxy),
                socket_options=self._options,
            )
        except ImportError as error:
            msg = "a SOCKS proxy needs an extra: pip install 'httpx[socks]'"
            raise ConfigurationError(msg) from error
        on_asyncio = isinstance(running_loop(), asyncio.AbstractEventLoop)
        if on_asyncio and not needs_tls_in_tls(self._network):
            _use(AsyncioBackend(), made)
        return made

    async def keep(self, line: _Connection) -> None:
        """Take a connection back whose exchange ended cleanly."""
        if line not in self._busy:
            return
        self._busy.remove(line)
        line.idle_since = anyio.current_time()
        self._idle.append(line)
        expiry = self._network.limits.keepalive_expiry
        if expiry is not None and line.idle_since - self._idle[0].idle_since >= expiry:
            oldest = self._idle.popleft()
            self._busy.add(oldest)
            await self.scrap(oldest)

    async def scrap(self, line: _Connection) -> None:
        """Close a connection for good."""
        try:
            with anyio.move_on_after(1, shield=True):
                await line.transport.aclose()
        finally:
            self._busy.discard(line)

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        self._busy.update(self._idle)
        self._idle.clear()
        for line in list(self._busy):
            await self.scrap(line)


def _use(sockets: AsyncioBackend, transport: httpx.AsyncHTTPTransport) -> None:
    """Let a transport of httpx connect by our sockets.

    httpcore takes them as its `network_backend`, but httpx has no argument to hand them on. Should
    its insides change, it goes on with httpcore's own, which cost more.
    """
    pool: object = getattr(transport, "_pool", None)
    if hasattr(pool, "_network_backend"):
        setattr(pool, "_network_backend", sockets)  # noqa: B010  # it is httpcore's own name


class UserTransport:
    """A transport of the user's own, which stays the user's to close."""

    def __init__(self, network: Network) -> None:
        """Begin with the user's transport."""
        self._network = network

    async def send(self, request: HTTPRequest) -> TransportResponse:
        """Send a request and wait for the head of its answer."""
        asked = _httpx_request(httpx.URL(request.url), request)
        try:
            response = await self._network.transport.handle_async_request(asked)
        except ERRORS as error:
            failure = _before_answer(error, self._network, request, reused=False)
        else:
            return _HttpxResponse(self._network, request, asked, response, None)
        raise failure  # out of reach of the library's frames

    async def aclose(self) -> None:
        """Leave the transport alone."""


class _HttpxResponse:
    """An answer that httpx carries."""

    __slots__ = (
        "_body",
        "_ended",
        "_inflate",
        "_last",
        "_limit",
        "_line",
        "_network",
        "_request",
        "_stream",
        "headers",
        "status",
    )

    def __init__(
        self,
        network: Network,
        request: HTTPRequest,
        asked: httpx.Request,
        response: httpx.Response,
        line: tuple[HttpxTransport, _Connection] | None,
    ) -> None:
        self._network = network
        self._request = request
        # Not the response itself: of a thousand open streams, what isn't needed adds up.
        self._stream = cast("httpx.AsyncByteStream", response.stream)
        self._line = line
        # From here on silence is measured between pieces; httpcore looks the limit up once, when
        # the body's first byte is asked for.
        asked.extensions["timeout"] = _time_limits(request.timeout)[1]
        self._limit = request.timeout.idle
        self._body: AsyncIterator[bytes] | None = None
        self._inflate: Callable[[bytes], bytes] | None = None
        headers = dict(response.headers.multi_items())
        if headers.get("content-encoding", "identity") != "identity":
            # Nobody was asked to compress. gzip and deflate tell themselves apart.
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
        self._ended = False
        self.status = response.status_code
        self.headers: Mapping[str, str] = {
            key: headers[key] for key in request.wanted if key in headers
        }
        self._last = "close" in headers.get("connection", "").lower()

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes of the body, or none at its end."""
        if limit != self._limit:
            with anyio.move_on_after(limit):
                return await self._read()
            raise timed_out("idle", limit, self._network.host)
        return await self._read()

    async def _read(self) -> bytes:
        if self._body is None:
            self._body = aiter(self._stream)
        failure: DashScopeError | None = None
        try:
            data = await anext(self._body)
            if self._inflate is not None:
                while not (plain := self._inflate(data)):
                    data = await anext(self._body)
                return plain
        except StopAsyncIteration:
            pass
        except zlib.error as error:
            raise ResponseError(f"the answer is not the protocol: {error}") from error
        except ERRORS as error:
            failure = _within_answer(error, self._network, self._request)
        else:
            return data
        if failure is not None:
            raise failure  # out of reach of the library's frames
        if not self._ended:
            self._ended = True
            await self._finish()
        return b""

    async def _finish(self) -> None:
        """Hand the connection back at the end of the body, so that the next call can have it."""
        await self._stream.aclose()
        if self._line:
            carrier, line = self._line
            self._line = None
            if self._last:
                await carrier.scrap(line)
            else:
                await carrier.keep(line)

    async def aclose(self) -> None:
        """Let go of the connection; before the body's end that closes it."""
        if self._line:
            carrier, line = self._line
            self._line = None
            await carrier.scrap(line)
            await self._run_dry()
        if not self._ended:
            self._ended = True
            body: Any = self._body
            if isinstance(body, AsyncGenerator):
                with suppress(RuntimeError):  # a reader is in it, and will find its source closed
                    await cast("AsyncGenerator[bytes, None]", body).aclose()
            await self._stream.aclose()

    async def _run_dry(self) -> None:
        """Read on a closed connection until that fails.

        The body is a generator in generators; left hanging, the inner ones would be closed by the
        garbage collector, about which trio complains. An error ends them all at once; a reader who
        is in there already (RuntimeError) will meet it.
        """
        with suppress(*ERRORS, httpx.StreamError, StopAsyncIteration, RuntimeError):
            while self._body is not None:
                await anext(self._body)


@lru_cache(maxsize=64)  # callers may compute one for each call
def _time_limits(given: Timeout) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Return the limits before the head of an answer and within its body, in httpx's terms."""
    before = {"connect": given.connect, "read": given.read, "write": given.read, "pool": None}
    return before, {**before, "read": given.idle}


class _RequestBody(httpx.AsyncByteStream):
    """A request's body in one piece.

    httpx makes a generator of it; one that a cancelled call leaves behind, trio complains about.
    """

    def __init__(self, body: bytes) -> None:
        self._pieces = [body]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces:
            return self._pieces.pop()
        raise StopAsyncIteration


def _httpx_request(url: httpx.URL, request: HTTPRequest) -> httpx.Request:
    made = httpx.Request(
        "POST",
        url,
        headers=request.headers,
        content=request.body,
        extensions={"timeout": _time_limits(request.timeout)[0]},
    )
    made.stream = _RequestBody(request.body)
    return made


def _httpx_proxy(proxy: Proxy | None) -> httpx.Proxy | None:
    if proxy is None:
        return None
    user, password = proxy.auth or (b"", b"")
    auth = (user.decode(errors="replace"), password.decode(errors="replace"))
    return httpx.Proxy(proxy.url, auth=auth if proxy.auth else None)


def _before_answer(
    error: Exception, network: Network, request: HTTPRequest, *, reused: bool
) -> DashScopeError:
    """Make our error for a failure before the head of an answer."""
    host, limits = network.host, request.timeout
    secrets = secrets_of(network, request)
    why = describe(error, secrets)
    failure: DashScopeError
    if isinstance(error, httpx.ConnectTimeout):
        failure = timed_out("connect", request.timeout.connect, host, retryable=True)
    elif isinstance(error, httpx.TimeoutException):
        failure = timed_out("read", limits.read, host)
    elif isinstance(error, httpx.ConnectError):
        passing = not isinstance(first_cause(error), ssl.SSLCertVerificationError)
        failure = cant_connect(host, why, retryable=passing)
    elif isinstance(error, httpx.ProxyError):
        failure = refused_by_proxy(host, why)
    else:
        failure = broken(host, why, "before", retryable=reused)
    return with_cause(failure, error, secrets)


def _within_answer(error: Exception, network: Network, request: HTTPRequest) -> DashScopeError:
    """Make our error for a failure in the body of an answer."""
    secrets = secrets_of(network, request)
    if isinstance(error, httpx.TimeoutException):
        failure: DashScopeError = timed_out("idle", request.timeout.idle, network.host)
    else:
        failure = broken(network.host, describe(error, secrets))
    return with_cause(failure, error, secrets)
