"""Sockets by aiohttp, the `aiohttp` extra: cheaper than httpx, on asyncio only."""

import asyncio
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from ._config import Network, Timeout
from ._errors import APIConnectionError, ConfigurationError, DashScopeError, describe, timed_out
from ._loops import running_loop
from ._pool import Carrier, Outgoing, Reply
from ._transport import keepalive_options, tls_context

if TYPE_CHECKING:
    import aiohttp

__all__ = ["open_aiohttp"]

FOR_EVER: Final = 1e9
"""Seconds; aiohttp reads None as "its default"."""

_reused: ContextVar[bool] = ContextVar("llama_dashscope_reused", default=False)


def open_aiohttp(network: Network) -> Carrier | None:
    """Make a carrier by aiohttp, or return None where httpx is the one to take.

    Raises:
        ConfigurationError: aiohttp is insisted on but can't be used.
    """
    if network.transport == "httpx":
        return None
    obstacle = _obstacle(network)
    if not obstacle:
        return AiohttpCarrier(network)
    if network.transport == "aiohttp":
        msg = f"transport='aiohttp' can't be used: {obstacle}"
        raise ConfigurationError(msg)
    return None


def _obstacle(network: Network) -> str:
    """Say why aiohttp can't be used; empty where it can."""
    if not isinstance(running_loop(), asyncio.AbstractEventLoop):
        return "it runs on asyncio only; use transport='httpx' on trio"
    if (network.proxy or "").startswith("socks"):
        return "it knows no SOCKS proxies; use transport='httpx' and pip install 'httpx[socks]'"
    try:
        importlib.import_module("aiohttp")
    except ImportError:
        return "it is not installed; pip install 'llama-dashscope[aiohttp]'"
    return ""


class AiohttpCarrier:
    """Connections by aiohttp's connector, whose own limit is off: the pool has the queue."""

    def __init__(self, network: Network) -> None:
        """Begin without a connection."""
        import aiohttp

        self._network = network
        self._session = aiohttp.ClientSession(
            connector=_connector(network),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        self._limits: dict[Timeout, aiohttp.ClientTimeout] = {}

    async def send(self, request: Outgoing) -> Reply:
        """Send a request and wait for the head of its answer."""
        _reused.set(False)
        with _our_errors(self._network.host, request.timeout):
            response = await self._session.post(
                request.url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                proxy=self._network.proxy,
                timeout=self._client_timeout(request.timeout),
            )
        return _AiohttpReply(self._network.host, request.timeout, response)

    def _client_timeout(self, timeout: Timeout) -> "aiohttp.ClientTimeout":
        import aiohttp

        if timeout not in self._limits:
            if len(self._limits) >= 64:  # callers that compute a limit per call
                self._limits.clear()
            self._limits[timeout] = aiohttp.ClientTimeout(
                total=None, connect=timeout.connect, sock_read=timeout.read
            )
        return self._limits[timeout]

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        await self._session.close()


def _connector(network: Network) -> "aiohttp.TCPConnector":
    import aiohttp

    options = keepalive_options()
    used: WeakSet[object] = WeakSet()

    class Connector(aiohttp.TCPConnector):
        """Notes whether a call got a used connection, and sets up the new ones."""

        async def connect(self, *args: Any, **kwargs: Any) -> Any:
            connection = await super().connect(*args, **kwargs)
            protocol = connection.protocol
            _reused.set(protocol in used)
            if protocol not in used:
                used.add(protocol)
                _set_options(connection.transport, options)
            return connection

    return Connector(
        limit=0,
        keepalive_timeout=network.limits.keepalive_expiry or FOR_EVER,
        ssl=tls_context(network) if network.uses_tls else False,
    )


def _set_options(transport: asyncio.Transport | None, options: list[tuple[int, int, int]]) -> None:
    sock = transport and transport.get_extra_info("socket")
    if sock is not None:
        for option in options:
            # A socket that has died meanwhile takes no options; its first use will tell.
            with suppress(OSError):
                sock.setsockopt(*option)


class _AiohttpReply:
    """An answer that aiohttp carries."""

    def __init__(self, host: str, timeout: Timeout, response: "aiohttp.ClientResponse") -> None:
        self._host = host
        self._timeout = timeout
        self._response = response
        self._limit = timeout.read
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes of the body, or none at its end."""
        if limit != self._limit:
            self._set_limit(limit)
        with _our_errors(self._host, self._timeout, silence=limit):
            return await self._response.content.readany()

    def _set_limit(self, limit: float | None) -> None:
        """Let the protocol's own timer watch the next silence: it runs anyway."""
        self._limit = limit
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = limit
            connection.protocol.start_timeout()

    async def aclose(self) -> None:
        """Let go of the connection; before the body's end that closes it."""
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self._response.close()


@contextmanager
def _our_errors(host: str, limits: Timeout, *, silence: float | None = -1) -> Iterator[None]:
    """Turn aiohttp's errors into ours.

    Args:
        host: the service's host, for messages.
        limits: the time limits that may have run out.
        silence: inside an answer, the limit of this read.
    """
    import aiohttp

    try:
        yield
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        if isinstance(error, aiohttp.ClientResponseError):
            _forget_request(error)
        if silence != -1:
            raise _broken_within(error, host, silence) from error
        raise _broken_before(error, host, limits) from error


def _forget_request(error: "aiohttp.ClientResponseError") -> None:
    """Take the request's headers, and the key with them, out of an error that shows them."""
    bare: Any = SimpleNamespace(real_url=error.request_info.real_url)
    error.request_info, error.history, error.args = bare, (), (error.message,)


def _broken_within(error: Exception, host: str, silence: float | None) -> DashScopeError:
    if isinstance(error, asyncio.TimeoutError):
        return timed_out("idle", silence)
    return APIConnectionError(
        f"the connection to {host} broke within the answer: {describe(error)}"
    )


def _broken_before(error: Exception, host: str, limits: Timeout) -> DashScopeError:
    import aiohttp

    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return timed_out("connect", limits.connect, retryable=True)
    if isinstance(error, asyncio.TimeoutError):
        return timed_out("read", limits.read)
    cause = describe(error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return APIConnectionError(f"the proxy refuses to connect to {host}: {cause}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return APIConnectionError(f"can't connect to {host}: {cause}", retryable=True)
    return APIConnectionError(
        f"the connection to {host} broke before the answer: {cause}", retryable=_reused.get()
    )
