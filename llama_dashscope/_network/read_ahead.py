"""Reads an answer on while the one who waits for it, in another thread, is busy with what came."""

from typing import Final

import anyio

from llama_dashscope._errors import APITimeoutError

from .event_loop import running_loop, start_soon_threadsafe
from .failures import closed_error
from .interface import ByteStream

__all__ = ["ENOUGH", "ReadAheadStream"]

ENOUGH: Final = 1 << 16
"""Bytes that are held for a reader; with more than that the server has to wait."""


class ReadAheadStream:
    """A body that is read as it arrives, so that a reader finds it all at once.

    A sync stream crosses from one thread to another for each read. It finds the pieces that came
    while it was away in one.

    Args:
        body: what to read from.
        idle: longest silence in seconds; None for no limit.
    """

    def __init__(self, body: ByteStream, idle: float | None) -> None:
        """Begin behind the head of the answer; nothing is read before the first `read`."""
        self._body = body
        self._idle = idle
        self._arrived: list[bytes] = []
        self._size = 0
        self._reading = False
        self._ended = False
        self._failure: BaseException | None = None
        self._news = anyio.Event()

    async def read(self, limit: float | None) -> bytes:
        """Return all that has arrived, or the next bytes of the body, or none at its end.

        See `Body.read`.
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
        if limit == self._idle:  # the reading has this limit already
            await self._news.wait()
            return
        with anyio.move_on_after(limit):
            await self._news.wait()
            return
        raise APITimeoutError("nothing arrived in time")

    def _read_on(self) -> None:
        """Start reading, unless that is done or under way or enough is there."""
        if self._reading or self._ended or self._failure or self._size >= ENOUGH:
            return
        self._reading = True
        start_soon_threadsafe(running_loop(), self._read)

    async def _read(self) -> None:
        try:
            while self._size < ENOUGH and not self._ended:
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
        """Let go of the connection, which ends the reading too."""
        await self._body.aclose()
