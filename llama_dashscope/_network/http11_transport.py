"""The transport of the base install: HTTP/1.1 by h11; the connection used last is reused first.

Its public name is `httpx`, since it is made of httpx's parts: h11, and httpcore's sockets. httpx's
own pool is not used: it scans all its connections at every step, and a cancelled request can cost
it a slot. Nor do httpx and httpcore tell whether a byte of the answer has arrived, or whether bytes
are left over after it; this must be known to retry a call safely.
"""

import ssl
from collections import deque
from collections.abc import Mapping
from typing import Final

import anyio
import h11
import httpcore

from llama_dashscope._settings import Network

from .dialer import Dialer
from .failures import Kinds, before_answer, closed_error, within_answer
from .http11_connection import HTTP11Connection
from .interface import CONTENT_ENCODING, HTTPRequest, TransportResponse

__all__ = ["HTTP11Transport"]

ERRORS: Final = (
    *(httpcore.NetworkError, httpcore.ProxyError, httpcore.TimeoutException),
    h11.ProtocolError,
    ssl.SSLError,
)
"""What is raised for a failure of the network; httpcore converts only some of TLS's errors."""

KINDS: Final = Kinds(
    connect_timeout=httpcore.ConnectTimeout,
    timeout=httpcore.TimeoutException,
    proxy=httpcore.ProxyError,
    connect=httpcore.ConnectError,
)

CLOSING: Final = 1.0
"""Longest time to close a connection, in seconds; after that it is abandoned."""


class HTTP11Transport:
    """The connections of one client in one event loop; the pool limits their number."""

    def __init__(self, network: Network) -> None:
        """Start without connections."""
        self.network = network
        self._dialer = Dialer(network)
        self._idle: deque[HTTP11Connection] = deque()
        self._busy: set[HTTP11Connection] = set()
        self._closed = False
        proxy = network.proxy
        by_proxy = proxy is not None and proxy.scheme.startswith("http")
        # An HTTP proxy forwards plain-text requests itself and needs the full URL.
        self._forwarded = by_proxy and network.base_url.startswith("http:")
        self._headers = [("host", self._dialer.host)]
        if self._forwarded and proxy is not None and proxy.authorization:
            self._headers.append(("proxy-authorization", proxy.authorization))

    async def send(self, request: HTTPRequest) -> TransportResponse:
        """Send a request over the connection that was used last, or over a new one."""
        connection: HTTP11Connection | None = None
        try:
            connection = await self._take(request.timeout.connect)
            # Not in a variable: the headers have the key, and error reports show local variables.
            head = await connection.send(self._head_of(request), request.body, request.timeout)
        except ERRORS as error:
            heard = connection is not None and connection.heard
            failure = before_answer(error, KINDS, self.network, request, heard=heard)
        except BaseException:
            if connection is not None:
                await self.scrap(connection)
            raise
        else:
            return _HTTP11Response(self, connection, request, head)
        if connection is not None:
            await self.scrap(connection)
        raise failure  # outside of `except`: keeps no frames of the library

    def _head_of(self, request: HTTPRequest) -> h11.Request:
        path = "/" + request.url.partition("//")[2].partition("/")[2]
        return h11.Request(
            method="POST",
            target=request.url if self._forwarded else path,
            headers=[
                *self._headers,
                *request.headers,
                ("content-length", str(len(request.body))),
            ],
        )

    async def _take(self, limit: float | None) -> HTTP11Connection:
        expiry = self.network.limits.keepalive_expiry
        now = anyio.current_time()
        while self._idle:
            connection = self._idle.pop()
            self._busy.add(connection)
            fresh = expiry is None or now - (connection.idle_since or 0.0) < expiry
            if fresh and connection.quiet:
                return connection
            await self.scrap(connection)
        connection = await self._dialer.open(limit)
        self._busy.add(connection)
        if self._closed:
            await self.scrap(connection)
            raise closed_error()
        return connection

    async def keep(self, connection: HTTP11Connection) -> None:
        """Take back a connection whose response ended; one that can't be reused is closed."""
        if connection not in self._busy:
            return
        if not connection.recycle():
            await self.scrap(connection)
            return
        self._busy.remove(connection)
        connection.idle_since = now = anyio.current_time()
        self._idle.append(connection)
        expiry = self.network.limits.keepalive_expiry
        if expiry is not None and now - (self._idle[0].idle_since or now) >= expiry:
            oldest = self._idle.popleft()
            self._busy.add(oldest)
            await self.scrap(oldest)

    async def scrap(self, connection: HTTP11Connection) -> None:
        """Close a connection for good."""
        try:
            with anyio.move_on_after(CLOSING, shield=True):
                await connection.aclose()
        finally:
            self._busy.discard(connection)

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        self._closed = True
        self._busy.update(self._idle)
        self._idle.clear()
        for connection in list(self._busy):
            await self.scrap(connection)


class _HTTP11Response:
    """An answer that is being received."""

    __slots__ = ("_connection", "_ended", "_key", "_network", "_transport", "headers", "status")

    def __init__(
        self,
        transport: HTTP11Transport,
        connection: HTTP11Connection,
        request: HTTPRequest,
        head: h11.Response,
    ) -> None:
        self._transport = transport
        self._network = transport.network
        self._connection = connection
        self._key = request.key
        self._ended = False
        self.status = head.status_code
        wanted = request.wanted
        self.headers: Mapping[str, str] = {
            name: value.decode("latin-1")
            for key, value in head.headers
            if (name := key.decode()) == CONTENT_ENCODING or wanted is None or name in wanted
        }

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes of the body, or none at its end."""
        if self._ended:
            return b""
        try:
            data = await self._connection.read(limit)
        except ERRORS as error:
            failure = within_answer(error, KINDS.timeout, self._network, self._key, limit)
        else:
            if not data:
                self._ended = True
                await self._transport.keep(self._connection)
            return data
        raise failure  # outside of `except`: keeps no frames of the library

    async def aclose(self) -> None:
        """Release the connection; before the end of the body, this closes it."""
        if not self._ended:
            self._ended = True
            await self._transport.scrap(self._connection)
