"""Opens connections to the service, through a proxy and with TLS if configured."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, cast
from urllib.parse import urlsplit

import anyio
import attrs
import h11
import httpcore

from llama_dashscope._settings import Network, Proxy, Timeout

from .asyncio_backend.backend import AsyncioBackend
from .event_loop import running_loop
from .http11_connection import HTTP11Connection
from .socks5 import connect_socks5
from .tls import keepalive_options, needs_tls_in_tls, tls_context

__all__ = ["Dialer"]

WITHOUT_LIMITS: Final = Timeout(connect=None, read=None, idle=None)
"""Time limits within a tunnel: none, since connecting as a whole has one."""

PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@attrs.frozen
class Endpoint:
    """The scheme, host and port that a connection goes to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Endpoint":
        """Return the endpoint of a URL."""
        parts = urlsplit(url)
        return cls(parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme])

    @property
    def authority(self) -> str:
        """Host and port, as CONNECT names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def name(self) -> str:
        """The value of a Host header: host and port, without the scheme's default port."""
        return self.authority.removesuffix(f":{PORTS[self.scheme]}")


class Dialer:
    """Opens the connections of one client."""

    def __init__(self, network: Network) -> None:
        """Read the settings; no connection is opened yet.

        Raises:
            ConfigurationError: the certificates can't be read.
        """
        self._service = Endpoint.of(network.base_url)
        self._proxy = network.proxy
        self._first_hop = Endpoint.of(network.proxy.url) if network.proxy else self._service
        self._tls = tls_context(network)
        self._options = keepalive_options()
        self._on_asyncio = isinstance(running_loop(), asyncio.AbstractEventLoop)
        self._tls_in_tls = needs_tls_in_tls(network)
        self.host = self._service.name
        """The service as a Host header names it."""

    def _backend(self) -> httpcore.AsyncNetworkBackend:
        if self._on_asyncio and not self._tls_in_tls:
            return AsyncioBackend()
        backend = httpcore.AnyIOBackend if self._on_asyncio else httpcore.TrioBackend
        return cast("httpcore.AsyncNetworkBackend", backend())  # untyped without trio

    async def open(self, limit: float | None) -> HTTP11Connection:
        """Open a connection.

        Args:
            limit: time limit in seconds for look-up, TCP, proxy and TLS together.

        Raises:
            httpcore.ConnectTimeout: the time limit was exceeded.
            httpcore.ConnectError: the host or the proxy can't be reached or trusted.
            httpcore.ProxyError: the proxy refuses.
        """
        with anyio.move_on_after(limit):
            return HTTP11Connection(await self._open())
        raise httpcore.ConnectTimeout

    async def _open(self) -> httpcore.AsyncNetworkStream:
        first = self._first_hop
        stream = await self._backend().connect_tcp(
            first.host, first.port, socket_options=self._options
        )
        try:
            with _connecting():
                if first.scheme == "https":
                    stream = await stream.start_tls(self._tls, first.host)
                if self._proxy is not None:
                    stream = await self._through_proxy(stream, self._proxy)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            raise
        return stream

    async def _through_proxy(
        self, stream: httpcore.AsyncNetworkStream, proxy: Proxy
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the service through a proxy; an HTTP proxy forwards plain-text requests."""
        service = self._service
        if proxy.scheme.startswith("socks"):
            await connect_socks5(stream, service.host, service.port, proxy.auth)
        elif service.scheme == "https":
            await _tunnel(stream, service.authority, proxy.authorization)
        if service.scheme == "https":
            return await stream.start_tls(self._tls, service.host)
        return stream


async def _tunnel(stream: httpcore.AsyncNetworkStream, authority: str, authorization: str) -> None:
    headers = [("host", authority)]
    if authorization:
        headers.append(("proxy-authorization", authorization))
    request = h11.Request(method="CONNECT", target=authority, headers=headers)
    answer = await HTTP11Connection(stream).send(request, b"", WITHOUT_LIMITS)
    if not 200 <= answer.status_code < 300:  # noqa: PLR2004  # any success
        raise httpcore.ProxyError(f"{answer.status_code} {answer.reason.decode('latin-1')}")


@contextmanager
def _connecting() -> Generator[None]:
    """Turn errors in the block into ConnectError: the service has not seen the request."""
    try:
        yield
    except (h11.ProtocolError, httpcore.ReadError, httpcore.WriteError, OSError) as error:
        raise httpcore.ConnectError(str(error)) from error
