"""Sockets, TLS and proxies by httpx; the only room that knows it, where its errors become ours.

httpx's own pool looks through all its connections at every step and can lose a slot to a cancelled
request, so each connection here is a transport of its own that holds just one; they are kept in a
stack, and one whose exchange did not end cleanly is closed. On asyncio they run over sockets of
our own (`asyncio_backend`).
"""

import asyncio
import importlib
import os
import socket
import ssl
import sys
import zlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any, Final, cast

import anyio
import certifi
import httpx

from llama_dashscope._errors import (
    ConfigurationError,
    DashScopeError,
    ResponseError,
    broken,
    cant_connect,
    first_cause,
    refused_by_proxy,
    timed_out,
)
from llama_dashscope._protocol.response import READ
from llama_dashscope._settings import Network, Timeout

from .asyncio_backend.backend import Sockets
from .event_loop import running_loop
from .pool import Carrier, Outgoing, Reply

AsyncBaseTransport = httpx.AsyncBaseTransport

__all__ = ["AsyncBaseTransport", "keepalive_options", "open_carrier", "tls_context"]

ERRORS: Final = (httpx.HTTPError, ssl.SSLError)
"""Everything that httpx raises when the network is at fault; of TLS it translates only a part."""


def tls_context(network: Network) -> ssl.SSLContext:
    """Return the TLS settings; one context serves all clients with the same settings."""
    if isinstance(network.verify, ssl.SSLContext):
        return network.verify
    if not network.uses_tls:
        return _no_tls()
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR") if network.trust_env else ()
    given = (os.environ.get(name) or None for name in names)
    try:
        return _ssl_context(*given, verify=network.verify)
    except OSError as error:
        msg = f"the certificates that {' or '.join(names)} names can't be read: {error}"
        raise ConfigurationError(msg) from error


@cache
def _no_tls() -> ssl.SSLContext:
    """Return a context for addresses without TLS: loading certificates takes a while."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@cache
def _ssl_context(
    cafile: str | None = None, capath: str | None = None, *, verify: bool
) -> ssl.SSLContext:
    if cafile is None and capath is None:
        cafile = certifi.where()
    context = ssl.create_default_context(cafile=cafile, capath=capath)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def open_carrier(network: Network) -> Carrier:
    """Make what carries the bytes in the running event loop.

    Raises:
        ConfigurationError: the transport asked for is not installed or can't be used here.
    """
    if not isinstance(network.transport, str):
        return CustomCarrier(network)
    if network.transport == "httpx":
        return HttpxCarrier(network)
    obstacle = _against_aiohttp(network)
    if not obstacle:
        from .aiohttp_transport import AiohttpCarrier  # noqa: PLC0415  # an extra

        return AiohttpCarrier(network)
    if network.transport == "aiohttp":
        msg = f"transport='aiohttp' can't be used: {obstacle}"
        raise ConfigurationError(msg)
    return HttpxCarrier(network)


def _against_aiohttp(network: Network) -> str:
    """Say why aiohttp can't be used; empty where it can."""
    if not isinstance(running_loop(), asyncio.AbstractEventLoop):
        return "it runs on asyncio only; use transport='httpx' on trio"
    if (network.proxy or "").startswith("socks"):
        return "it knows no SOCKS proxies; use transport='httpx' and pip install 'httpx[socks]'"
    if _asks_too_much(network):
        return "it needs Python 3.11 for proxies with TLS; use transport='httpx'"
    try:
        importlib.import_module("aiohttp")
    except ImportError:
        return "it is not installed; pip install 'llama-dashscope[aiohttp]'"
    return ""


def _asks_too_much(network: Network) -> bool:
    """Tell whether asyncio would need TLS within TLS, which it has learnt with Python 3.11."""
    return sys.version_info < (3, 11) and (network.proxy or "").startswith("https:")


def keepalive_options() -> list[tuple[int, int, int]]:
    """Return the socket options by which a peer that vanished is noticed within 30 seconds.

    The first probe goes out after 10 s of silence and two more follow 5 s apart; data that nobody
    acknowledges for 20 s counts as lost where the system can say so.
    """
    wanted = {
        "TCP_KEEPIDLE": 10,
        "TCP_KEEPALIVE": 10,  # the same, as macOS calls it
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 20_000,
    }
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in wanted.items():
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


class _Line:
    """One connection: a transport that holds no more."""

    __slots__ = ("idle_since", "transport")

    def __init__(self, transport: httpx.AsyncHTTPTransport) -> None:
        self.transport = transport
        self.idle_since = 0.0


class HttpxCarrier:
    """Connections by httpx, the last one used first."""

    def __init__(self, network: Network) -> None:
        """Begin without a connection."""
        self._network = network
        self._url = httpx.URL("")
        self._idle: deque[_Line] = deque()
        self._busy: set[_Line] = set()
        self._options = keepalive_options()

    async def send(self, request: Outgoing) -> Reply:
        """Send a request over the connection that was idle for the shortest time, or a new one."""
        line = await self._take()
        reused = line.idle_since > 0
        if str(self._url) != request.url:
            self._url = httpx.URL(request.url)
        asked = _httpx_request(self._url, request)
        try:
            response = await line.transport.handle_async_request(asked)
        except ERRORS as error:
            await self.scrap(line)
            host = self._network.host
            raise _before_answer(error, host, request.timeout, reused=reused) from error
        except BaseException:
            await self.scrap(line)
            raise
        return _HttpxReply(self._network.host, request, asked, response, (self, line))

    async def _take(self) -> _Line:
        expiry = self._network.limits.keepalive_expiry
        now = anyio.current_time()
        while self._idle:
            line = self._idle.pop()
            self._busy.add(line)
            if expiry is None or now - line.idle_since < expiry:
                return line
            await self.scrap(line)
        line = _Line(self._transport())
        self._busy.add(line)
        return line

    def _transport(self) -> httpx.AsyncHTTPTransport:
        try:
            made = httpx.AsyncHTTPTransport(
                verify=tls_context(self._network),
                trust_env=False,
                limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
                proxy=self._network.proxy,
                socket_options=self._options,
            )
        except ImportError as error:
            msg = "a SOCKS proxy needs an extra: pip install 'httpx[socks]'"
            raise ConfigurationError(msg) from error
        on_asyncio = isinstance(running_loop(), asyncio.AbstractEventLoop)
        if on_asyncio and not _asks_too_much(self._network):
            _use(Sockets(), made)
        return made

    async def keep(self, line: _Line) -> None:
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

    async def scrap(self, line: _Line) -> None:
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


def _use(sockets: Sockets, transport: httpx.AsyncHTTPTransport) -> None:
    """Let a transport of httpx connect by our sockets.

    httpcore takes them as its `network_backend`, but httpx has no argument to hand them on. Should
    its insides change, it goes on with httpcore's own, which cost more.
    """
    pool: object = getattr(transport, "_pool", None)
    if hasattr(pool, "_network_backend"):
        setattr(pool, "_network_backend", sockets)  # noqa: B010  # it is httpcore's own name


class CustomCarrier:
    """A transport of the user's own, which stays the user's to close."""

    def __init__(self, network: Network) -> None:
        """Begin with the user's transport."""
        self._network = network

    async def send(self, request: Outgoing) -> Reply:
        """Send a request and wait for the head of its answer."""
        asked = _httpx_request(httpx.URL(request.url), request)
        try:
            response = await self._network.transport.handle_async_request(asked)
        except ERRORS as error:
            host = self._network.host
            raise _before_answer(error, host, request.timeout, reused=False) from error
        return _HttpxReply(self._network.host, request, asked, response, None)

    async def aclose(self) -> None:
        """Leave the transport alone."""


class _HttpxReply:
    """An answer that httpx carries."""

    __slots__ = (
        "_body",
        "_ended",
        "_host",
        "_inflate",
        "_last",
        "_limit",
        "_line",
        "_stream",
        "headers",
        "status",
    )

    def __init__(
        self,
        host: str,
        request: Outgoing,
        asked: httpx.Request,
        response: httpx.Response,
        line: tuple[HttpxCarrier, _Line] | None,
    ) -> None:
        self._host = host
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
        self.headers: Mapping[str, str] = {key: headers[key] for key in READ if key in headers}
        self._last = "close" in headers.get("connection", "").lower()

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes of the body, or none at its end."""
        if limit != self._limit:
            with anyio.move_on_after(limit):
                return await self._read()
            raise timed_out("idle", limit, self._host)
        return await self._read()

    async def _read(self) -> bytes:
        if self._body is None:
            self._body = aiter(self._stream)
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
            raise _within_answer(error, self._host, self._limit) from error
        else:
            return data
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


class _Body(httpx.AsyncByteStream):
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


def _httpx_request(url: httpx.URL, request: Outgoing) -> httpx.Request:
    made = httpx.Request(
        "POST",
        url,
        headers=request.headers,
        content=request.body,
        extensions={"timeout": _time_limits(request.timeout)[0]},
    )
    made.stream = _Body(request.body)
    return made


def _before_answer(error: Exception, host: str, limits: Timeout, *, reused: bool) -> DashScopeError:
    """Make our error for a failure before the head of an answer."""
    if isinstance(error, httpx.ConnectTimeout):
        return timed_out("connect", limits.connect, host, retryable=True)
    if isinstance(error, httpx.TimeoutException):
        return timed_out("read", limits.read, host)
    if isinstance(error, httpx.ConnectError):
        passing = not isinstance(first_cause(error), ssl.SSLCertVerificationError)
        return cant_connect(host, error, retryable=passing)
    if isinstance(error, httpx.ProxyError):
        return refused_by_proxy(host, error)
    return broken(host, error, "before", retryable=reused)


def _within_answer(error: Exception, host: str, limit: float | None) -> DashScopeError:
    """Make our error for a failure in the body of an answer."""
    if isinstance(error, httpx.TimeoutException):
        return timed_out("idle", limit, host)
    return broken(host, error)
