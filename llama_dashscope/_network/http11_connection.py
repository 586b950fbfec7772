"""One HTTP/1.1 connection by h11: sends requests and reads answers, one at a time."""

from time import monotonic
from typing import Final

import h11
import httpcore

from llama_dashscope._settings import Timeout

from .interface import LARGEST_HEAD

__all__ = ["HTTP11Connection"]

READ_SIZE: Final = 1 << 16
"""Most bytes that one read of a connection returns."""

NEVER: Final = float("inf")
"""The deadline of a wait without a time limit."""


class HTTP11Connection:
    """A connection that carries one request at a time.

    Args:
        stream: the byte stream to the service, with any proxy and TLS already set up.
    """

    __slots__ = ("_body_ended", "_failure", "_h11", "_reusable", "_stream", "heard", "idle_since")

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        """Start before the first request."""
        self._stream = stream
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        self._failure: Exception | None = None
        self._body_ended = False
        self._reusable = True
        self.heard = False
        """Whether any byte of the answer has arrived."""
        self.idle_since: float | None = None
        """The time since when it is idle; None before its first request has ended."""

    async def send(self, request: h11.Request, body: bytes, timeout: Timeout) -> h11.Response:
        """Send a request and wait for the head of its answer.

        Args:
            request: the head of the request, including the body's length.
            body: the body of the request.
            timeout: `read` limits the time to send the request, and then the time to the first byte
                of the answer; `idle` limits the time from that byte to the end of the head.

        Raises:
            httpcore.TimeoutException: a time limit was exceeded.
            httpcore.ReadError: the connection broke.
            h11.ProtocolError: the answer is not HTTP, or there was none.
        """
        self.heard = self._body_ended = False
        await self._write(request, body, timeout.read)
        await self._receive(_end(timeout.read))
        end = _end(timeout.idle)
        while not isinstance(event := self._h11.next_event(), h11.Response):
            if event is h11.NEED_DATA:  # else it is 100 Continue or 103 Early Hints
                await self._receive(end)
        return event

    async def _write(self, request: h11.Request, body: bytes, limit: float | None) -> None:
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        data = b"".join(self._h11.send(event) or b"" for event in events)
        self._reusable = False
        try:
            await self._stream.write(data, limit)
            self._reusable = True
        except httpcore.WriteError:
            pass  # the peer may refuse a large request before it has read all of it

    async def read(self, limit: float | None) -> bytes:
        """Return all of the body that has arrived, else wait for more; nothing at its end.

        Args:
            limit: seconds to wait for bytes of the body; other bytes, such as framing, don't count.

        Raises:
            httpcore.ReadTimeout: the time limit was exceeded.
            httpcore.ReadError: the connection broke.
            h11.RemoteProtocolError: the answer is not HTTP, or its body is cut off.
        """
        end = _end(limit)
        while not (data := self._parse()) and not self._body_ended:
            if self._failure is not None:
                raise self._failure
            await self._receive(end)
        return data

    def _parse(self) -> bytes:
        """Return what has arrived of the body; an error after it is kept for the next read."""
        pieces: list[bytes] = []
        try:
            while not self._body_ended and self._failure is None:
                event = self._h11.next_event()
                if isinstance(event, h11.Data):
                    pieces.append(event.data)
                    continue
                self._body_ended = isinstance(event, h11.EndOfMessage)
                break
        except h11.RemoteProtocolError as error:
            self._failure = error
        return b"".join(pieces)

    async def _receive(self, end: float) -> None:
        left = end - monotonic()
        if left <= 0:  # a peer may send bytes without a pause but no part of the body
            raise httpcore.ReadTimeout
        data = await self._stream.read(READ_SIZE, None if end == NEVER else left)
        if data:
            self.heard = True
        elif self._h11.their_state is h11.SEND_RESPONSE:
            what = "within the head of its answer" if self.heard else "without an answer"
            raise h11.RemoteProtocolError(f"the server closed the connection {what}")
        self._h11.receive_data(data)

    def recycle(self) -> bool:
        """Prepare for another request; tell whether the connection can be reused.

        It can't if it was closed meanwhile, if a request was not sent whole, or if bytes arrived
        after the answer: they belong to no request, and more may follow.
        """
        both = {self._h11.our_state, self._h11.their_state}
        if both != {h11.DONE} or not self._reusable or self._h11.trailing_data[0]:
            return False
        self._h11.start_next_cycle()
        return True

    @property
    def quiet(self) -> bool:
        """Whether nothing has arrived since the last answer, not even the connection's end."""
        return not self._stream.get_extra_info("is_readable")

    async def aclose(self) -> None:
        """Close the connection; a read in progress fails."""
        self._reusable = False
        await self._stream.aclose()


def _end(limit: float | None) -> float:
    """Return the deadline of a wait that begins now."""
    return NEVER if limit is None else monotonic() + limit
