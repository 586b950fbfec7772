"""Sockets on asyncio, whose reads cost little: a network backend as httpcore defines it.

httpcore's own reads by way of anyio, which for each read opens a cancel scope, sets a timer, and
tells the system to listen and afterwards not to. Here a read waits for a future, one timer serves
all reads, and a connection always listens, unless nobody takes what has come.
"""

import asyncio
import ssl
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeAlias, cast

import anyio
import httpcore

from llama_dashscope._network.read_timer import ReusableTimer
from llama_dashscope._network.sockets import has_more

from .happy_eyeballs import connect_happy_eyeballs

__all__ = ["ENOUGH", "AsyncioBackend", "AsyncioStream"]

SocketOption: TypeAlias = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)

ENOUGH: Final = 1 << 16
"""Bytes that are held for a reader; with more than that the server has to wait."""

INFO: Final = {
    "client_addr": "sockname",
    "server_addr": "peername",
    "socket": "socket",
    "ssl_object": "ssl_object",
}
"""What httpcore asks a connection for, in asyncio's terms."""


class AsyncioBackend(httpcore.AsyncNetworkBackend):
    """Opens connections in the running event loop, which is asyncio's."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> "AsyncioStream":
        """Open a connection.

        Args:
            host: name or address.
            port: number of the port.
            timeout: seconds that it may take; None for no limit.
            local_address: address to connect from.
            socket_options: options to set, as `socket.setsockopt` takes them.

        Raises:
            httpcore.ConnectTimeout: it took longer.
            httpcore.ConnectError: there is no such host, or it can't be reached.
        """
        loop = asyncio.get_running_loop()

        async def connect(address: str) -> AsyncioStream:
            local = (local_address, 0) if local_address else None
            opening = loop.create_connection(
                partial(AsyncioStream, loop), address, port, local_addr=local
            )
            transport, connection = await opening
            try:
                for option in socket_options or ():
                    transport.get_extra_info("socket").setsockopt(*option)
            except OSError:
                connection.abort()
                raise
            return connection

        with _connecting(), anyio.fail_after(timeout):
            return await connect_happy_eyeballs(host, port, connect)


@contextmanager
def _connecting() -> Generator[None]:
    """Raise what goes wrong within as httpcore does."""
    try:
        yield
    except TimeoutError as error:
        raise httpcore.ConnectTimeout from error
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error


class AsyncioStream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection: asyncio tells it what happens, httpcore reads and writes."""

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: list[bytes] = []
        self._size = 0
        self._over = False
        self._failure: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._stuffed = False
        self._lost = False
        self._watch = ReusableTimer(loop)

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._arrived.append(data)
        self._size += len(data)
        if self._size > ENOUGH:
            self._transport.pause_reading()
        self._wake_reader()
        _wake(self._writer)

    def eof_received(self) -> bool:
        """Stay open for a write that waits: a peer may refuse a large request, and read it on."""
        self._over = True
        self._wake_reader()
        _wake(self._writer)
        return self._stuffed and self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = self._lost = True
        self._failure = self._failure or exc
        self._wake_reader()
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._stuffed = True
        self._writer = self._loop.create_future()

    def resume_writing(self) -> None:
        self._stuffed = False
        _wake(self._writer)

    # What httpcore asks for.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return all that has arrived, or the next bytes, or none once the peer has ended.

        Args:
            max_bytes: what goes beyond is left for the next read.
            timeout: seconds to wait; None for no limit.

        Raises:
            httpcore.ReadTimeout: nothing arrived in time.
            httpcore.ReadError: the connection broke, or was closed meanwhile.
        """
        if not self._arrived and not self._over:
            await self._news(timeout)
        return self._take(max_bytes) if self._arrived else self._end()

    def _end(self) -> bytes:
        """Say why nothing has arrived."""
        if not self._over:
            raise httpcore.ReadTimeout
        if self._failure is not None:
            raise httpcore.ReadError(str(self._failure)) from self._failure
        return b""

    def _take(self, max_bytes: int) -> bytes:
        data = b"".join(self._arrived)
        data, rest = data[:max_bytes], data[max_bytes:]
        self._arrived = [rest] if rest else []
        if self._size > ENOUGH >= len(rest) and not self._over:
            self._transport.resume_reading()
        self._size = len(rest)
        return data

    async def _news(self, timeout: float | None) -> None:
        """Wait until something arrives, the connection ends or the time is over."""
        self._reader = self._loop.create_future()
        self._watch.begin(timeout, self._wake_reader)
        try:
            await self._reader
        finally:
            self._reader = None
            self._watch.end()

    def _wake_reader(self) -> None:
        _wake(self._reader)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes; that the connection broke shows when its answer is read.

        Raises:
            httpcore.WriteTimeout: the peer did not take them within so many seconds.
            httpcore.WriteError: it answered before it had taken them.
        """
        if not self._over:
            self._transport.write(buffer)
        if self._writer is None:
            return
        try:
            with anyio.fail_after(timeout):
                await self._writer
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        finally:
            self._writer = None
        if self._stuffed:
            raise httpcore.WriteError("the peer answered before it had read everything")

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> "AsyncioStream":
        """Go on encrypted.

        Args:
            ssl_context: what to trust.
            server_hostname: whose certificate it must be.
            timeout: seconds that it may take; None for as long as asyncio allows.

        Raises:
            httpcore.ConnectTimeout: it took longer.
            httpcore.ConnectError: the connection broke, or the certificate is not to be trusted.
        """
        with _connecting(), anyio.fail_after(timeout):
            encrypted = await self._loop.start_tls(
                self._transport, self, ssl_context, server_hostname=server_hostname
            )
        # There is none if the connection ended in that moment; reading will say so.
        self._transport = encrypted or self._transport
        return self

    async def aclose(self) -> None:
        """Close the connection; who reads is told."""
        self._failure = self._failure or ConnectionError("the connection was closed")
        self._over = True
        self._wake_reader()
        self._watch.close()
        self.abort()
        await asyncio.sleep(0)  # asyncio closes the socket in its next turn

    def abort(self) -> None:
        """Close the connection without a word to anyone."""
        if not self._lost:  # asyncio fails where it has closed it already
            self._transport.abort()

    def get_extra_info(self, info: str) -> Any:  # httpcore's interface
        """Return what httpcore wants to know, or None."""
        if info == "is_readable":
            opened = self._transport.get_extra_info("socket")
            return bool(self._arrived) or self._over or has_more(opened)
        return self._transport.get_extra_info(INFO.get(info, info))


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
