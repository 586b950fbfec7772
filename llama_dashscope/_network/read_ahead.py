"""Reads ahead in an answer while its consumer, in another thread, processes what has arrived."""

from typing import Final

import anyio

from llama_dashscope._errors import APITimeoutError

from .event_loop import running_loop, start_soon_threadsafe
from .failures import closed_error
from .interface import ByteStream

__all__ = ["MAX_BUFFERED", "ReadAheadStream"]

MAX_BUFFERED: Final = 1 << 16
"""Bytes that are buffered for the reader; above that, reading pauses (backpressure)."""


class ReadAheadStream:
    """A body that is read in the background as it arrives.

    A sync stream crosses threads for each read. This way one read returns everything that has
    arrived since the last one.

    Args:
        body: the body to read from.
        idle: longest wait between bytes in seconds; None for no limit.
    """

    def __init__(self, body: ByteStream, idle: float | None) -> None:
        """Start after the head of the answer; nothing is read before the first `read`."""
        self._body = body
        self._idle = idle
        self._arrived: list[bytes] = []
        self._size = 0
        self._reading = False
        self._ended = False
        self._failure: BaseException | None = None
        self._news = anyio.Event()

    async def read(self, limit: float | None) -> bytes:
        """Return all that has arrived, else wait for the next bytes; none at the end.

        See `ByteStream.read`.
        """
        self._read_on()
        if self._reading and not self._arrived:
            await self._wait(limit)
        data = b"".join(self._arrived)
        self._arrived.clear()
        self._size = 0
        if not data and self._failure is not None:
            raise self._failure
        self._read_on()
        return data

    async def _wait(self, limit: float | None) -> None:
        self._news = anyio.Event()
        if limit == self._idle:  # the background read already has this limit
            await self._news.wait()
            return
        with anyio.move_on_after(limit):
            await self._news.wait()
            return
        raise APITimeoutError("nothing arrived in time")

    def _read_on(self) -> None:
        """Start reading in the background, unless it runs, has ended, or enough is buffered."""
        if self._reading or self._ended or self._failure or self._size >= MAX_BUFFERED:
            return
        self._reading = True
        start_soon_threadsafe(running_loop(), self._read)

    async def _read(self) -> None:
        try:
            while self._size < MAX_BUFFERED and not self._ended:
                data = await self._body.read(self._idle)
                self._arrived.append(data)
                self._size += len(data)
                self._ended = not data
                self._news.set()
        except BaseException as error:
            self._failure = error if isinstance(error, Exception) else closed_error()
            if not isinstance(error, Exception):
                raise
        finally:
            self._reading = False
            self._news.set()

    async def aclose(self) -> None:
        """Release the connection, which ends reading in the background too."""
        await self._body.aclose()
