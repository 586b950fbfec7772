"""The aiohttp transport, an extra: cheaper than httpx, on asyncio only.

Only this module uses aiohttp; it turns aiohttp's errors into ours. It uses private or overridden
parts of aiohttp in three places, each with its reason. pyproject.toml and `selection` name the
versions for which this works, and tests fail if it stops working.
"""

import asyncio
import inspect
import os
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from io import BytesIO
from types import SimpleNamespace
from typing import Any, Final, cast
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler

from llama_dashscope._settings import Network, Timeout

from .failures import Kinds, before_answer, within_answer
from .interface import LARGEST_HEAD, HTTPRequest, TransportResponse
from .read_timer import ReusableTimer
from .sockets import has_more
from .tls import keepalive_options, tls_context

__all__ = []

ERRORS: Final = (aiohttp.ClientError, asyncio.TimeoutError, OSError)
"""Everything that aiohttp raises for a failure of the network."""

KINDS: Final = Kinds(
    connect_timeout=aiohttp.ConnectionTimeoutError,
    timeout=asyncio.TimeoutError,
    proxy=aiohttp.ClientHttpProxyError,
    connect=aiohttp.ClientConnectorError,
)

PROXY_AUTHORIZATION: Final = "Proxy-Authorization"

FOR_EVER: Final = 1e9
"""No limit, in seconds; aiohttp reads None as its own default."""

MAX_CACHED: Final = 64
"""How many `ClientTimeout` objects are cached; callers may compute a new limit for each call."""

LARGE: Final = 1 << 20
"""Bytes of a body above which aiohttp warns and wants a file instead."""

HEAD_LIMITS: Final = {
    "max_line_size": LARGEST_HEAD,
    "max_field_size": LARGEST_HEAD,
    "max_headers": 1000,
}
"""Largest head of an answer; some gateways send many headers."""


class _HeadWait:
    """The time limit for the head of an answer.

    aiohttp's own timer restarts with each byte of a head that arrives slowly, and does not start
    while the peer is not reading a large request.
    """

    __slots__ = ("_timeout", "handler")

    def __init__(self, timeout: Timeout) -> None:
        self._timeout = timeout
        self.handler: _Handler | None = None
        """The connection that carries the request; there is none before `begin`."""

    def begin(self, handler: "_Handler") -> None:
        """Start the time limit for the first byte."""
        self.handler = handler
        handler.begin(self)
        handler.timer.begin(self._timeout.read, self._give_up)

    def go_on(self, handler: "_Handler") -> None:
        """Start the time limit for the rest of the head."""
        handler.timer.begin(self._timeout.idle, self._give_up)

    def end(self) -> None:
        """Stop the time limit."""
        if self.handler is not None:
            self.handler.timer.end(self._give_up)

    def _give_up(self) -> None:
        cast("_Handler", self.handler).set_exception(asyncio.TimeoutError())

    @property
    def heard(self) -> bool:
        """Whether a byte of the answer has arrived."""
        return self.handler is not None and self.handler.heard


_head_wait: ContextVar[_HeadWait] = ContextVar("llama_dashscope_head_wait")


class _Handler(ResponseHandler):
    """aiohttp's protocol of a connection; also notes whether a byte of the answer has arrived."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.timer = ReusableTimer(loop)
        """For the head of an answer, then for each part of its body."""
        self.heard = False
        self.used = False
        self._waiting: _HeadWait | None = None
        self._response: aiohttp.ClientResponse | None = None
        """The answer that is being received. This reference keeps the garbage collector from
        finding it open: aiohttp's finalizers would close its connection in any thread."""

    def begin(self, waiting: _HeadWait) -> None:
        """Expect the answer to a new request."""
        self.used = True
        self.heard = False
        self._waiting = waiting

    def data_received(self, data: bytes) -> None:
        """Receive bytes; `data` is empty when aiohttp only resumes reading."""
        if not self.heard and data:
            self.heard = True
            if self._waiting is not None:
                self._waiting.go_on(self)
                # The head goes first, alone: aiohttp would drop it if the bytes after it are
                # invalid.
                head, end, data = data.partition(b"\r\n\r\n")
                super().data_received(head + end)
                if not data:
                    return
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the timer together with the connection."""
        self.timer.close()
        super().connection_lost(exc)

    def attach(self, response: aiohttp.ClientResponse) -> None:
        """Note the answer that is being received, until its end."""
        self._response = response
        response.content.on_eof(self._answer_ended)
        self._fail_body()

    def close_response(self) -> None:
        """Close an answer that nobody has closed."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def set_exception(self, exc: BaseException, *args: Any, **kwargs: Any) -> None:
        """Fail the connection, and the body that it carries."""
        super().set_exception(exc, *args, **kwargs)
        self._fail_body()

    def _fail_body(self) -> None:
        """Fail the body too: aiohttp would leave its reader waiting if the bytes are not HTTP."""
        response, error = self._response, self.exception()
        if response is None or error is None:
            return
        content = response.content
        if content.is_eof() or content.exception() is not None:
            return
        broken = aiohttp.ClientPayloadError()  # no message, since a reader's repr would show it
        broken.__cause__ = error
        content.set_exception(broken)

    def _answer_ended(self) -> None:
        """Note that the answer has ended, so that later bytes belong to no request."""
        self.heard = False
        self._waiting = self._response = None

    @property
    def quiet(self) -> bool:
        """Whether nothing has arrived since the last answer."""
        transport = self.transport
        opened = None if transport is None else transport.get_extra_info("socket")
        return not (self.heard or opened is None or has_more(opened))


class AiohttpTransport:
    """Sends requests by aiohttp; its limit of connections is off, since our pool has one."""

    def __init__(self, network: Network) -> None:
        """Start without connections."""
        self._network = network
        self._handlers: WeakSet[_Handler] = WeakSet()
        self._session = aiohttp.ClientSession(
            connector=_connector(network, self._handlers),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            **_head_limits(),
        )
        self._timeouts: dict[float | None, aiohttp.ClientTimeout] = {}
        self._proxy = network.proxy.url if network.proxy else None
        authorization = network.proxy.authorization if network.proxy else ""
        self._for_proxy = {PROXY_AUTHORIZATION: authorization} if authorization else None
        self._forwarded = network.base_url.startswith("http:")

    async def send(self, request: HTTPRequest) -> TransportResponse:
        """Send a request and wait for the head of its answer."""
        waiting = _HeadWait(request.timeout)
        _head_wait.set(waiting)
        try:
            response = await self._post(request)
        except ERRORS as error:
            _forget_request(error)
            failure = before_answer(error, KINDS, self._network, request, heard=waiting.heard)
        else:
            handler = cast("_Handler", waiting.handler)  # there is one, as there is an answer
            return _AiohttpReply(self._network, request, response, handler)
        finally:
            waiting.end()
        raise failure  # outside of `except`: keeps no frames of the library

    def _post(self, request: HTTPRequest) -> Awaitable[aiohttp.ClientResponse]:
        headers, body = request.headers, request.body
        if self._for_proxy and self._forwarded:
            # A plain-text request carries the proxy's login; aiohttp only adds it to tunnels.
            headers = [*headers, *self._for_proxy.items()]
        return self._session.post(
            request.url,
            data=body if len(body) <= LARGE else BytesIO(body),
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
            proxy_headers=self._for_proxy,
            timeout=self._client_timeout(request.timeout.connect),
        )

    def _client_timeout(self, connect: float | None) -> aiohttp.ClientTimeout:
        known = self._timeouts.get(connect)
        if known is None:
            if len(self._timeouts) >= MAX_CACHED:
                self._timeouts.clear()
            known = aiohttp.ClientTimeout(total=None, connect=connect, sock_read=None)
            self._timeouts[connect] = known
        return known

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        # aiohttp by itself would close them without failing the reads that wait on them.
        transports = [each.transport for each in self._handlers if each.transport is not None]
        for transport in transports:
            transport.abort()
        try:
            while any(each.connected for each in self._handlers):  # noqa: ASYNC110  # not for long
                await asyncio.sleep(0)
        finally:  # the end of a run may cancel this task
            for each in self._handlers:
                each.close_response()
            await self._session.close()


def _head_limits() -> dict[str, Any]:
    """Return those of `HEAD_LIMITS` that the installed aiohttp has."""
    known = inspect.signature(aiohttp.ClientSession).parameters
    return {name: limit for name, limit in HEAD_LIMITS.items() if name in known}


def _connector(network: Network, handlers: WeakSet[_Handler]) -> aiohttp.TCPConnector:
    options = keepalive_options()
    process = os.getpid()

    class Connector(aiohttp.TCPConnector):
        """Sets up new connections, and reuses old ones only if nothing arrived in the meantime."""

        @property
        def closed(self) -> bool:
            """Whether it is closed; always true in a forked child, which must not close it."""
            return super().closed or os.getpid() != process

        def __del__(self, *_: object) -> None:
            """Do nothing: in a forked child the sockets and their epoll belong to the parent."""

        async def connect(self, *args: Any, **kwargs: Any) -> Any:  # aiohttp's own
            while True:
                connection = await super().connect(*args, **kwargs)
                handler = cast("_Handler", connection.protocol)
                if not handler.used:
                    handlers.add(handler)
                    _set_options(connection.transport, options)
                elif not handler.quiet:
                    connection.close()
                    continue
                _head_wait.get().begin(handler)
                return connection

    connector = Connector(
        limit=0,
        keepalive_timeout=network.limits.keepalive_expiry or FOR_EVER,
        ssl=tls_context(network) if network.uses_tls else False,
    )
    # aiohttp has no public way to choose the protocol class of a connection.
    factory = partial(_Handler, loop=asyncio.get_running_loop())
    connector._factory = cast("partial[ResponseHandler]", factory)  # noqa: SLF001
    return connector


def _set_options(transport: asyncio.Transport | None, options: list[tuple[int, int, int]]) -> None:
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is not None:
        # Setting options fails if the connection has already broken; its first use reports that.
        with suppress(OSError):
            for option in options:
                sock.setsockopt(*option)


class _AiohttpReply:
    """An answer received by aiohttp."""

    __slots__ = ("_key", "_network", "_response", "_seen", "_timer", "headers", "status")

    def __init__(
        self,
        network: Network,
        request: HTTPRequest,
        response: aiohttp.ClientResponse,
        handler: _Handler,
    ) -> None:
        self._network = network
        self._key = request.key
        self._response = response
        self._timer = handler.timer
        self._seen = 0
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        handler.attach(response)

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes of the body, or none at its end."""
        content = self._response.content
        if not content.is_eof():
            self._seen = content.total_bytes
            self._timer.begin(limit, self._give_up)
        try:
            data = await content.readany()
        except ERRORS as error:
            if rest := _unread(content):
                return rest
            failure = within_answer(error, KINDS.timeout, self._network, self._key, limit)
        else:
            if not data and self._response.connection is not None:
                await self.aclose()  # aiohttp keeps one whose protocol was switched (status 101)
            return data
        finally:
            self._timer.end(self._give_up)
        raise failure  # outside of `except`: keeps no frames of the library

    def _give_up(self) -> None:
        """Fail a read that has timed out, unless bytes have arrived just now."""
        content = self._response.content
        if content.total_bytes == self._seen:
            content.set_exception(asyncio.TimeoutError())

    async def aclose(self) -> None:
        """Release the connection; before the end of the body, this closes it."""
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        content = self._response.content
        if content.exception() is None and not content.is_eof():
            # aiohttp's own error is shared by all readers and would collect the frames of each.
            content.set_exception(aiohttp.ClientConnectionError("Connection closed"))
        self._response.close()


def _unread(content: aiohttp.StreamReader) -> bytes:
    """Return what had arrived before an error; aiohttp raises the error first and drops the rest.

    aiohttp has no public way to read it.
    """
    return content._read_nowait(-1)  # noqa: SLF001


def _forget_request(error: Exception) -> None:
    """Remove the request's headers, the key among them, from an error that shows them."""
    if isinstance(error, aiohttp.ClientResponseError):
        bare: Any = SimpleNamespace(real_url=error.request_info.real_url)
        error.request_info, error.history, error.args = bare, (), (error.message,)
