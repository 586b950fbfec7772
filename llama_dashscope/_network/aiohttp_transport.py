"""Sockets by aiohttp, the `aiohttp` extra: cheaper than httpx, on asyncio only.

The one room that knows aiohttp, where its errors become ours. It reaches beneath aiohttp's public
names in three places, each of which says why; pyproject.toml and `selection` name the versions in
which that holds, and tests fail on the day that it doesn't.
"""

import asyncio
import inspect
import os
from collections.abc import Mapping
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
"""Everything that aiohttp raises when the network is at fault."""

KINDS: Final = Kinds(
    connect_timeout=aiohttp.ConnectionTimeoutError,
    timeout=asyncio.TimeoutError,
    proxy=aiohttp.ClientHttpProxyError,
    connect=aiohttp.ClientConnectorError,
)

PROXY_AUTHORIZATION: Final = "Proxy-Authorization"

FOR_EVER: Final = 1e9
"""Seconds; aiohttp reads None as its own default."""

KNOWN_LIMITS: Final = 64
"""How many time limits are kept ready; callers may compute one for each call."""

LARGE: Final = 1 << 20
"""Bytes of a body beyond which aiohttp wants to send it in pieces, and warns."""

HEAD_LIMITS: Final = {
    "max_line_size": LARGEST_HEAD,
    "max_field_size": LARGEST_HEAD,
    "max_headers": 1000,
}
"""What the head of an answer may have; some gateways send much."""


class _HeadWait:
    """The wait for the head of an answer.

    aiohttp would begin anew with each byte of a head that drips, and not begin while a peer takes
    nothing of a large request.
    """

    __slots__ = ("_alarm", "_timeout", "handler")

    def __init__(self, timeout: Timeout) -> None:
        self._timeout = timeout
        self._alarm: asyncio.TimerHandle | None = None
        self.handler: _Handler | None = None

    def begin(self, handler: "_Handler") -> None:
        """Wait for the first byte."""
        self.handler = handler
        handler.begin(self)
        self._set_alarm(handler, self._timeout.read)

    def go_on(self, handler: "_Handler") -> None:
        """Wait for the rest."""
        self.end()
        self._set_alarm(handler, self._timeout.idle)

    def _set_alarm(self, handler: "_Handler", limit: float | None) -> None:
        if limit is not None:
            late = asyncio.TimeoutError()
            self._alarm = handler.loop.call_later(limit, handler.set_exception, late)

    def end(self) -> None:
        """Wait no longer."""
        if self._alarm is not None:
            self._alarm.cancel()

    @property
    def heard(self) -> bool:
        """Whether a byte of the answer has come."""
        return self.handler is not None and self.handler.heard


_head_wait: ContextVar[_HeadWait] = ContextVar("llama_dashscope_head_wait")


class _Handler(ResponseHandler):
    """aiohttp's end of a connection; notes what nobody else tells us, that a byte has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.loop = loop
        self.heard = False
        self.used = False
        self._waiting: _HeadWait | None = None
        self._content: aiohttp.StreamReader | None = None

    def begin(self, waiting: _HeadWait) -> None:
        """Expect an answer."""
        self.used = True
        self.heard = False
        self._waiting, self._content = waiting, None

    def data_received(self, data: bytes) -> None:
        """Take bytes in; none where aiohttp only goes on reading."""
        self.heard = self.heard or bool(data)
        if self._waiting is not None and data:
            waiting, self._waiting = self._waiting, None
            waiting.go_on(self)
            # By itself: what is wrong behind an answer, aiohttp would let end the answer too.
            head, end, data = data.partition(b"\r\n\r\n")
            super().data_received(head + end)
            if not data:
                return
        super().data_received(data)

    def carry(self, content: aiohttp.StreamReader) -> None:
        """Carry the body of the answer."""
        self._content = content
        content.on_eof(self._forget)
        self._tell_reader()

    def set_exception(self, exc: BaseException, *args: Any, **kwargs: Any) -> None:
        """Note that the connection has failed."""
        super().set_exception(exc, *args, **kwargs)
        self._tell_reader()

    def _tell_reader(self) -> None:
        """End the body too: aiohttp would let its reader wait, where what comes is no HTTP."""
        content, error = self._content, self.exception()
        if content is None or error is None or content.is_eof() or content.exception() is not None:
            return
        broken = aiohttp.ClientPayloadError()  # readers show themselves with its text
        broken.__cause__ = error
        content.set_exception(broken)

    def _forget(self) -> None:
        """Note that an answer has ended: what comes from now on belongs to nobody."""
        self.heard = False

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since the last answer."""
        transport = self.transport
        opened = None if transport is None else transport.get_extra_info("socket")
        return not (self.heard or self.should_close or opened is None or has_more(opened))


class AiohttpTransport:
    """Connections by aiohttp's connector, whose own limit is off: the pool has the queue."""

    def __init__(self, network: Network) -> None:
        """Begin without a connection."""
        self._network = network
        self._handlers: WeakSet[_Handler] = WeakSet()
        self._session = aiohttp.ClientSession(
            connector=_connector(network, self._handlers),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            auto_decompress=False,
            **_head_limits(),
        )
        self._timeouts: dict[float | None, aiohttp.ClientTimeout] = {}
        self._proxy = network.proxy.url if network.proxy else None
        authorization = network.proxy.authorization if network.proxy else ""
        self._for_proxy = {PROXY_AUTHORIZATION: authorization} if authorization else None
        self._in_the_open = network.base_url.startswith("http:")

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
            return _AiohttpReply(self._network, request, response, waiting.handler)
        finally:
            waiting.end()
        raise failure  # out of reach of the library's frames

    async def _post(self, request: HTTPRequest) -> aiohttp.ClientResponse:
        headers = request.headers
        if self._for_proxy and self._in_the_open:
            # Without a tunnel the proxy reads the request itself; aiohttp writes no such header.
            headers = [*headers, *self._for_proxy.items()]
        return await self._session.post(
            request.url,
            data=request.body if len(request.body) <= LARGE else BytesIO(request.body),
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
            proxy_headers=self._for_proxy,
            timeout=self._client_timeout(request.timeout.connect),
        )

    def _client_timeout(self, connect: float | None) -> aiohttp.ClientTimeout:
        known = self._timeouts.get(connect)
        if known is None:
            if len(self._timeouts) >= KNOWN_LIMITS:
                self._timeouts.clear()
            known = aiohttp.ClientTimeout(total=None, connect=connect, sock_read=None)
            self._timeouts[connect] = known
        return known

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        # aiohttp itself would close them without a word to those who read there.
        transports = [each.transport for each in self._handlers if each.transport is not None]
        for transport in transports:
            transport.abort()
        try:
            while any(each.connected for each in self._handlers):  # noqa: ASYNC110  # a few turns
                await asyncio.sleep(0)
        finally:  # the end of a run cancels its tasks, this one too
            await self._session.close()


def _head_limits() -> dict[str, Any]:
    """Return how large the head of an answer may be, as far as the installed aiohttp counts."""
    known = inspect.signature(aiohttp.ClientSession).parameters
    return {name: limit for name, limit in HEAD_LIMITS.items() if name in known}


def _connector(network: Network, handlers: WeakSet[_Handler]) -> aiohttp.TCPConnector:
    options = keepalive_options()
    process = os.getpid()

    class Connector(aiohttp.TCPConnector):
        """Hands out connections that are as the last answer left them, and sets up new ones."""

        @property
        def closed(self) -> bool:
            """Whether it is closed; a fork has nothing to close, or to be warned of."""
            return super().closed or os.getpid() != process

        def __del__(self, *_: object) -> None:
            """Leave the sockets alone: in a fork they are the parent's, and so is their epoll."""

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
    # No argument and no method of aiohttp's says which class reads a connection.
    factory = partial(_Handler, loop=asyncio.get_running_loop())
    connector._factory = cast("partial[ResponseHandler]", factory)  # noqa: SLF001
    return connector


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
        handler: _Handler | None,
    ) -> None:
        self._network = network
        self._request = request
        self._response = response
        self._watch = ReusableTimer(asyncio.get_running_loop())
        self._seen = 0
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        if handler is not None:
            handler.carry(response.content)

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
            failure = within_answer(error, KINDS.timeout, self._network, self._request, limit)
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
    """Return what had arrived before an error: aiohttp raises that first, and drops the rest.

    There is no public way to it.
    """
    return content._read_nowait(-1)  # noqa: SLF001


def _forget_request(error: Exception) -> None:
    """Take the request's headers, and the key with them, out of an error that shows them."""
    if isinstance(error, aiohttp.ClientResponseError):
        bare: Any = SimpleNamespace(real_url=error.request_info.real_url)
        error.request_info, error.history, error.args = bare, (), (error.message,)
