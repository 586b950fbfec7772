"""One HTTP/1.1 connection: requests out and answers in, one after the other, parsed by h11."""

from time import monotonic
from typing import Final

import h11
import httpcore

from llama_dashscope._settings import Timeout

from .interface import LARGEST_HEAD

__all__ = ["HTTP11Connection"]

READ_SIZE: Final = 1 << 16
"""Bytes that are asked of a connection at once."""

NEVER: Final = float("inf")
"""The end of a wait without one."""


class HTTP11Connection:
    """A connection on which one request is under way at most.

    Args:
        stream: the bytes beneath, any proxy and TLS already passed.
    """

    __slots__ = ("_failure", "_h11", "_over", "_sent", "_stream", "heard", "idle_since")

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        """Begin before the first request."""
        self._stream = stream
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        self._failure: Exception | None = None
        self._over = False
        self._sent = True
        self.heard = False
        """Whether any byte of the answer has come."""
        self.idle_since: float | None = None
        """Since when it waits for another request; None before the first one has ended."""

    async def send(self, request: h11.Request, body: bytes, timeout: Timeout) -> h11.Response:
        """Send a request and wait for the head of its answer.

        Args:
            request: its head, the body's length included.
            body: its body.
            timeout: `read` is how long the peer may leave the request waiting, and then itself be
                silent; `idle` how long the head may take from its first byte on.

        Raises:
            httpcore.TimeoutException: the peer took longer.
            httpcore.ReadError: the connection broke.
            h11.ProtocolError: what came is no HTTP, or nothing came.
        """
        self.heard = self._over = False
        await self._write(request, body, timeout.read)
        await self._receive(_end(timeout.read))
        end = _end(timeout.idle)
        while not isinstance(event := self._h11.next_event(), h11.Response):
            if event is h11.NEED_DATA:  # and not 100 Continue or 103 Early Hints
                await self._receive(end)
        return event

    async def _write(self, request: h11.Request, body: bytes, limit: float | None) -> None:
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        data = b"".join(self._h11.send(event) or b"" for event in events)
        self._sent = False
        try:
            await self._stream.write(data, limit)
            self._sent = True
        except httpcore.WriteError:
            pass  # a peer that refuses a large request may do so before it has read all of it

    async def read(self, limit: float | None) -> bytes:
        """Return all of the body that has arrived, or the next of it, or none at its end.

        Args:
            limit: seconds to wait for it, whatever else the peer sends meanwhile.

        Raises:
            httpcore.ReadTimeout: it took longer.
            httpcore.ReadError: the connection broke.
            h11.RemoteProtocolError: what came is no HTTP, or the body is cut off.
        """
        end = _end(limit)
        while not (data := self._parse()) and not self._over:
            if self._failure is not None:
                raise self._failure
            await self._receive(end)
        return data

    def _parse(self) -> bytes:
        """Return what has arrived of the body; what is wrong behind it waits until it is read."""
        pieces: list[bytes] = []
        try:
            while not self._over and self._failure is None:
                event = self._h11.next_event()
                if isinstance(event, h11.Data):
                    pieces.append(event.data)
                    continue
                self._over = isinstance(event, h11.EndOfMessage)
                break
        except h11.RemoteProtocolError as error:
            self._failure = error
        return b"".join(pieces)

    async def _receive(self, end: float) -> None:
        left = end - monotonic()
        if left <= 0:  # a peer may send without a pause and say nothing
            raise httpcore.ReadTimeout
        data = await self._stream.read(READ_SIZE, None if end == NEVER else left)
        if data:
            self.heard = True
        elif self._h11.their_state is h11.SEND_RESPONSE:
            what = "within the head of its answer" if self.heard else "without an answer"
            raise h11.RemoteProtocolError(f"the server closed the connection {what}")
        self._h11.receive_data(data)

    def recycle(self) -> bool:
        """Make ready for another request; tell whether there may be one.

        What came behind an answer belongs to no request of ours, and nobody knows what follows.
        """
        both = {self._h11.our_state, self._h11.their_state}
        if both != {h11.DONE} or not self._sent or self._h11.trailing_data[0]:
            return False
        self._h11.start_next_cycle()
        return True

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since the last answer, the peer's end included."""
        return not self._stream.get_extra_info("is_readable")

    async def aclose(self) -> None:
        """Close the connection; who reads is told."""
        await self._stream.aclose()


def _end(limit: float | None) -> float:
    """Return when a wait ends that begins now."""
    return NEVER if limit is None else monotonic() + limit
