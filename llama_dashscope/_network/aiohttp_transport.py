"""Sockets by aiohttp, the `aiohttp` extra: cheaper than httpx, on asyncio only.

The one room that knows aiohttp, where its errors become ours.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import ContentEncodingError

from llama_dashscope._errors import DashScopeError, ResponseError
from llama_dashscope._settings import Network, Timeout

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
from .read_timer import ReusableTimer
from .tls import keepalive_options, tls_context

__all__ = []

ERRORS: Final = (aiohttp.ClientError, asyncio.TimeoutError, OSError)
"""Everything that aiohttp raises when the network is at fault."""

PROXY_AUTHORIZATION: Final = "Proxy-Authorization"

FOR_EVER: Final = 1e9
"""Seconds; aiohttp reads None as its own default."""

KNOWN_LIMITS: Final = 64
"""How many time limits are kept ready; callers may compute one for each call."""

_reused: ContextVar[bool] = ContextVar("llama_dashscope_reused", default=False)


class AiohttpTransport:
    """Connections by aiohttp's connector, whose own limit is off: the pool has the queue."""

    def __init__(self, network: Network) -> None:
        """Begin without a connection."""
        self._network = network
        self._loop = asyncio.get_running_loop()
        self._protocols: WeakSet[ResponseHandler] = WeakSet()
        self._session = aiohttp.ClientSession(
            connector=_connector(network, self._protocols),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        self._limits: dict[Timeout, aiohttp.ClientTimeout] = {}
        self._proxy = network.proxy.url if network.proxy else None
        authorization = network.proxy.authorization if network.proxy else ""
        self._for_proxy = {PROXY_AUTHORIZATION: authorization} if authorization else None
        self._in_the_open = network.base_url.startswith("http:")

    async def send(self, request: HTTPRequest) -> TransportResponse:
        """Send a request and wait for the head of its answer."""
        _reused.set(False)
        try:
            response = await self._post(request)
        except ERRORS as error:
            _forget_request(error)
            failure = _before_answer(error, self._network, request)
        else:
            return _AiohttpReply(self._network, request, response, self._loop)
        raise failure  # out of reach of the library's frames

    async def _post(self, request: HTTPRequest) -> aiohttp.ClientResponse:
        headers = request.headers
        if self._for_proxy and self._in_the_open:
            # Without a tunnel the proxy reads the request itself; aiohttp writes no such header.
            headers = [*headers, *self._for_proxy.items()]
        return await self._session.post(
            request.url,
            data=request.body,
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
            proxy_headers=self._for_proxy,
            timeout=self._client_timeout(request.timeout),
        )

    def _client_timeout(self, timeout: Timeout) -> aiohttp.ClientTimeout:
        known = self._limits.get(timeout)
        if known is None:
            if len(self._limits) >= KNOWN_LIMITS:
                self._limits.clear()
            known = self._limits[timeout] = aiohttp.ClientTimeout(
                total=None, connect=timeout.connect, sock_read=timeout.read
            )
        return known

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        # aiohttp itself would close them without a word to those who read there.
        transports = [each.transport for each in self._protocols if each.transport is not None]
        for transport in transports:
            transport.abort()
        try:
            while any(each.connected for each in self._protocols):  # noqa: ASYNC110  # a few turns
                await asyncio.sleep(0)
        finally:  # the end of a run cancels its tasks, this one too
            await self._session.close()


def _connector(network: Network, used: WeakSet[ResponseHandler]) -> aiohttp.TCPConnector:
    options = keepalive_options()
    process = os.getpid()

    class Connector(aiohttp.TCPConnector):
        """Notes whether a call got a used connection, and sets up the new ones."""

        @property
        def closed(self) -> bool:
            """Whether it is closed; a fork has nothing to close, or to be warned of."""
            return super().closed or os.getpid() != process

        def __del__(self, *_: object) -> None:
            """Leave the sockets alone: in a fork they are the parent's, and so is their epoll."""

        async def connect(self, *args: Any, **kwargs: Any) -> Any:  # aiohttp's own
            connection = await super().connect(*args, **kwargs)
            protocol = connection.protocol
            _reused.set(protocol in used)
            if protocol is not None and protocol not in used:
                used.add(protocol)
                _set_options(connection.transport, options)
            return connection

    return Connector(
        limit=0,
        keepalive_timeout=network.limits.keepalive_expiry or FOR_EVER,
        ssl=tls_context(network) if network.uses_tls else False,
    )


def _set_options(transport: asyncio.Transport | None, options: list[tuple[int, int, int]]) -> None:
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is not None:
        # A socket that has died meanwhile takes no options; its first use will tell.
        with suppress(OSError):
            for option in options:
                sock.setsockopt(*option)


class _AiohttpReply:
    """An answer that aiohttp carries."""

    def __init__(
        self,
        network: Network,
        request: HTTPRequest,
        response: aiohttp.ClientResponse,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._network = network
        self._request = request
        self._response = response
        self._watch = ReusableTimer(loop)
        self._seen = 0
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        connection = response.connection
        if connection is not None and connection.protocol is not None:
            # It would set its own alarm anew whenever something arrives.
            connection.protocol.read_timeout = None
            connection.protocol.start_timeout()

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes of the body, or none at its end."""
        content = self._response.content
        if not content.is_eof():
            self._seen = content.total_bytes
            self._watch.begin(limit, self._give_up)
        try:
            data = await content.readany()
        except ERRORS as error:
            if rest := _left_behind(content):
                return rest
            failure = _within_answer(error, self._network, self._request, limit)
        else:
            if not data:
                self._watch.close()
            return data
        finally:
            self._watch.end()
        raise failure  # out of reach of the library's frames

    def _give_up(self) -> None:
        """End a read that has waited for too long; one whose bytes have just come has not."""
        content = self._response.content
        if content.total_bytes == self._seen:
            content.set_exception(asyncio.TimeoutError())

    async def aclose(self) -> None:
        """Let go of the connection; before the body's end that closes it."""
        self._watch.close()
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        content = self._response.content
        if content.exception() is None and not content.is_eof():
            # aiohttp has one error for all readers: it would keep the frames of each of them.
            content.set_exception(aiohttp.ClientConnectionError("Connection closed"))
        self._response.close()


def _left_behind(content: aiohttp.StreamReader) -> bytes:
    """Return what had arrived before an error: aiohttp raises that first, and drops the rest."""
    return content._read_nowait(-1)  # noqa: SLF001  # no public way


def _forget_request(error: Exception) -> None:
    """Take the request's headers, and the key with them, out of an error that shows them."""
    if isinstance(error, aiohttp.ClientResponseError):
        bare: Any = SimpleNamespace(real_url=error.request_info.real_url)
        error.request_info, error.history, error.args = bare, (), (error.message,)


def _before_answer(error: Exception, network: Network, request: HTTPRequest) -> DashScopeError:
    """Make our error for a failure before the head of an answer."""
    host, limits = network.host, request.timeout
    secrets = secrets_of(network, request)
    why = describe(error, secrets)
    failure: DashScopeError
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        failure = timed_out("connect", request.timeout.connect, host, retryable=True)
    elif isinstance(error, asyncio.TimeoutError):
        failure = timed_out("read", limits.read, host)
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        failure = refused_by_proxy(host, why)
    elif isinstance(error, aiohttp.ClientConnectorError):
        passing = not isinstance(first_cause(error), ssl.SSLCertVerificationError)
        failure = cant_connect(host, why, retryable=passing)
    else:
        failure = broken(host, why, "before", retryable=_reused.get())
    return with_cause(failure, error, secrets)


def _within_answer(
    error: Exception, network: Network, request: HTTPRequest, limit: float | None
) -> DashScopeError:
    """Make our error for a failure in the body of an answer."""
    secrets = secrets_of(network, request)
    why = describe(error, secrets)
    if isinstance(error, asyncio.TimeoutError):
        failure: DashScopeError = timed_out("idle", limit, network.host)
    elif isinstance(error.__cause__, ContentEncodingError):
        failure = ResponseError(f"the answer is not the protocol: {why}")
    else:
        failure = broken(network.host, why)
    return with_cause(failure, error, secrets)
