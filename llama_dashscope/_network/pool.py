"""The connection pool: a fair limit on connections in front of any transport.

The limit is our own, because a library's pool may lose a slot for good when a request is cancelled
at the wrong moment. Here one place releases a slot, whatever happened to its connection, and a
connection whose response did not end cleanly is never reused.
"""

import zlib
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final

import anyio

from llama_dashscope._errors import ResponseError
from llama_dashscope._sanitize import without_frames

from .content_coding import Inflater, inflater
from .failures import closed_error
from .interface import CONTENT_ENCODING, HTTPRequest, Transport, TransportResponse

__all__ = ["ConnectionPool", "PooledResponse"]

CLOSING: Final = 1.0
"""Longest time to close a connection, in seconds; after that it is abandoned."""


class ConnectionPool:
    """The connections of one client in one event loop."""

    def __init__(self, transport: Transport, max_connections: int) -> None:
        """Start without connections."""
        self._transport = transport
        # Waiters get slots in the order in which they came.
        self._slots = anyio.Semaphore(max_connections, fast_acquire=True)
        self._closed = False

    async def send(self, request: HTTPRequest) -> "PooledResponse":
        """Wait for a slot, send a request and wait for the head of its answer.

        Raises:
            APIConnectionError: there was no answer.
            ClientClosedError: the client was closed before or during the call.
        """
        try:
            self._slots.acquire_nowait()  # most of the time one is free, and this costs less
        except anyio.WouldBlock:
            await self._slots.acquire()
        try:
            return PooledResponse(self, await self._send(request))
        except BaseException:
            self._slots.release()
            raise

    async def _send(self, request: HTTPRequest) -> TransportResponse:
        if self._closed:
            raise closed_error()
        try:
            reply = await self._transport.send(request)
        except Exception as error:
            if self._closed:
                raise closed_error() from error
            raise
        if self.closed:  # while this call was connecting
            await reply.aclose()
            raise closed_error()
        return reply

    def release(self) -> None:
        """Release a slot."""
        self._slots.release()

    @property
    def closed(self) -> bool:
        """Whether the pool was closed."""
        return self._closed

    async def aclose(self) -> None:
        """Close all connections; requests in flight and waiting calls get an error."""
        self._closed = True
        self._slots.release()  # the first waiter finds the pool closed and wakes the next
        with anyio.move_on_after(CLOSING, shield=True):
            await self._transport.aclose()


class PooledResponse:
    """An answer that is being received, and the slot that it occupies."""

    __slots__ = ("_done", "_inflater", "_pool", "_reply", "headers", "status")

    def __init__(self, pool: ConnectionPool, reply: TransportResponse) -> None:
        """Start after the head of the answer."""
        self._pool = pool
        self._reply = reply
        self._done = False
        self.status = reply.status
        self.headers = reply.headers
        self._inflater = inflater(reply.headers.get(CONTENT_ENCODING, ""))

    def read(self, limit: float | None) -> Coroutine[Any, Any, bytes]:
        """Return the next bytes of the body, or none at its end; see `ByteStream.read`.

        Raises:
            ResponseError: the body is not compressed as announced.
        """
        inflater = self._inflater
        return self._read(limit) if inflater is None else self._inflate(inflater, limit)

    async def _inflate(self, inflater: Inflater, limit: float | None) -> bytes:
        end = None if limit is None else monotonic() + limit
        try:
            while not (plain := inflater.take()):
                data = await self._read(None if end is None else max(0.0, end - monotonic()))
                if not data:
                    return data
                inflater.feed(data)
        except zlib.error as error:
            msg = f"the answer does not follow the protocol: {error}"
            data = b""  # it may echo the key, and error reports show local variables
            raise ResponseError(msg, status_code=self.status) from without_frames(error)
        return plain

    async def _read(self, limit: float | None) -> bytes:
        try:
            data = await self._reply.read(limit)
        except Exception as error:
            if self._pool.closed:
                raise closed_error() from error
            raise
        if not data and not self._done:
            # At its end the reply has already returned its connection.
            self._done = True
            self._pool.release()
        return data

    async def aclose(self) -> None:
        """Release the connection and the slot, once."""
        if self._done:
            return
        self._done = True
        try:
            with anyio.move_on_after(CLOSING, shield=True):
                await self._reply.aclose()
        finally:
            self._pool.release()
