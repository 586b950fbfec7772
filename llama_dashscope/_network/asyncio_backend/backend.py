"""A network backend for httpcore on asyncio, with cheap reads.

httpcore's own backend uses anyio, which for each read opens a cancel scope, sets a timer, and
resumes and pauses the reading of the socket. Here a read waits for a future, one timer serves all
reads, and the socket is always read, unless too much has arrived that nobody has taken.
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

__all__ = ["MAX_BUFFERED", "AsyncioBackend", "AsyncioStream"]

SocketOption: TypeAlias = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)

MAX_BUFFERED: Final = 1 << 16
"""Bytes that are buffered for the reader; above that, reading pauses (backpressure)."""

INFO: Final = {
    "client_addr": "sockname",
    "server_addr": "peername",
    "socket": "socket",
    "ssl_object": "ssl_object",
}
"""httpcore's names of a connection's properties, and asyncio's."""


class AsyncioBackend(httpcore.AsyncNetworkBackend):
    """Opens connections in the running event loop, which must be asyncio's."""

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
            timeout: time limit in seconds; None for no limit.
            local_address: address to connect from.
            socket_options: options to set, as `socket.setsockopt` takes them.

        Raises:
            httpcore.ConnectTimeout: the time limit was exceeded.
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
    """Turn errors in the block into httpcore's."""
    try:
        yield
    except TimeoutError as error:
        raise httpcore.ConnectTimeout from error
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error


class AsyncioStream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection: asyncio's protocol on one side, httpcore's stream on the other."""

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: list[bytes] = []
        self._size = 0
        self._ended = False
        self._failure: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._write_paused = False
        self._lost = False
        self._timer = ReusableTimer(loop)

    # asyncio's protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._arrived.append(data)
        self._size += len(data)
        if self._size > MAX_BUFFERED:
            self._transport.pause_reading()
        self._wake_reader()
        _wake(self._writer)

    def eof_received(self) -> bool:
        """Stay open while a write waits: a peer may refuse a large request but still read it."""
        self._ended = True
        self._wake_reader()
        _wake(self._writer)
        return self._write_paused and self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._lost = True
        self._failure = self._failure or exc
        self._wake_reader()
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._write_paused = True
        self._writer = self._loop.create_future()

    def resume_writing(self) -> None:
        self._write_paused = False
        _wake(self._writer)

    # httpcore's stream.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return all that has arrived, else wait for the next bytes; none at the peer's end.

        Args:
            max_bytes: how much to return at most; the rest is left for the next read.
            timeout: seconds to wait; None for no limit.

        Raises:
            httpcore.ReadTimeout: nothing arrived in time.
            httpcore.ReadError: the connection broke, or was closed during the read.
        """
        if not self._arrived and not self._ended:
            await self._wait_for_data(timeout)
        return self._take(max_bytes) if self._arrived else self._end()

    def _end(self) -> bytes:
        """Raise the reason why nothing has arrived; return no bytes if the peer has ended."""
        if not self._ended:
            raise httpcore.ReadTimeout
        if self._failure is not None:
            raise httpcore.ReadError(str(self._failure)) from self._failure
        return b""

    def _take(self, max_bytes: int) -> bytes:
        data = b"".join(self._arrived)
        data, rest = data[:max_bytes], data[max_bytes:]
        self._arrived = [rest] if rest else []
        if self._size > MAX_BUFFERED >= len(rest) and not self._ended:
            self._transport.resume_reading()
        self._size = len(rest)
        return data

    async def _wait_for_data(self, timeout: float | None) -> None:
        """Wait until bytes arrive, the connection ends or the time limit is reached."""
        self._reader = self._loop.create_future()
        self._timer.begin(timeout, self._wake_reader)
        try:
            await self._reader
        finally:
            self._reader = None
            self._timer.end(self._wake_reader)

    def _wake_reader(self) -> None:
        _wake(self._reader)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes; if the connection is broken, only the next read raises.

        Raises:
            httpcore.WriteTimeout: the peer did not take the bytes within `timeout` seconds.
            httpcore.WriteError: the peer answered before it had taken them.
        """
        if not self._ended:
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
        if self._write_paused:
            raise httpcore.WriteError("the peer answered before it had read everything")

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> "AsyncioStream":
        """Start TLS on this connection.

        Args:
            ssl_context: the TLS settings.
            server_hostname: the name that the certificate must have.
            timeout: time limit in seconds; None for asyncio's own.

        Raises:
            httpcore.ConnectTimeout: the time limit was exceeded.
            httpcore.ConnectError: the connection broke, or the certificate is not trusted.
        """
        with _connecting(), anyio.fail_after(timeout):
            encrypted = await self._loop.start_tls(
                self._transport, self, ssl_context, server_hostname=server_hostname
            )
        # None if the connection ended at that moment; the next read reports it.
        self._transport = encrypted or self._transport
        return self

    async def aclose(self) -> None:
        """Close the connection; a read in progress fails."""
        self._failure = self._failure or ConnectionError("the connection was closed")
        self._ended = True
        self._wake_reader()
        self._timer.close()
        self.abort()
        await asyncio.sleep(0)  # asyncio closes the socket in its next iteration

    def abort(self) -> None:
        """Close the connection at once; readers are not woken here."""
        if not self._lost:  # asyncio raises if the connection is already closed
            self._transport.abort()

    def get_extra_info(self, info: str) -> Any:  # httpcore's interface
        """Return a property of the connection by httpcore's name, or None."""
        if info == "is_readable":
            opened = self._transport.get_extra_info("socket")
            return bool(self._arrived) or self._ended or has_more(opened)
        return self._transport.get_extra_info(INFO.get(info, info))


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
