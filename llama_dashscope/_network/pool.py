"""Who may use a connection now: a fair queue in front of whatever carries the bytes.

The queue is ours because a library's pool counts its slots itself, and loses one for good when a
request is cancelled at the wrong moment. Here a slot is given back in one place, whatever happened
to the connection, and a connection whose exchange did not end cleanly is never used again.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

import anyio
import attrs

from llama_dashscope._errors import ClientClosedError
from llama_dashscope._settings import Timeout

__all__ = ["Body", "Carrier", "Exchange", "Outgoing", "Pool", "Reply", "Slots", "closed_error"]

CLOSING: float = 1.0
"""Seconds that closing a connection may take before it is left to the system."""


@attrs.frozen
class Outgoing:
    """A request on its way out."""

    url: str
    headers: list[tuple[str, str]] = attrs.field(repr=False)  # the key is among them
    body: bytes = attrs.field(repr=False)
    timeout: Timeout


class Body(Protocol):
    """The bytes of an answer, as they come."""

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes, or none at their end.

        Args:
            limit: longest silence in seconds; None for no limit.

        Raises:
            APITimeoutError: the silence was longer.
            APIConnectionError: the connection broke.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the connection: to be used again after the body's end, else closed."""
        ...


class Reply(Body, Protocol):
    """An answer whose body is still to come."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers, those that are read at least, found in lower case."""
        ...


class Carrier(Protocol):
    """Carries requests out and answers in, over as many connections as it is asked for."""

    async def send(self, request: Outgoing) -> Reply:
        """Send a request and wait for the head of its answer."""
        ...

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        ...


class Slots:
    """A fair semaphore: who came first goes first, and nobody's leaving costs a slot."""

    def __init__(self, count: int) -> None:
        """Begin with all slots free."""
        self._free = count
        self._waiting: OrderedDict[anyio.Event, None] = OrderedDict()

    async def acquire(self) -> None:
        """Take a slot, now or when it is this caller's turn."""
        if self._free:
            self._free -= 1
            return
        turn = anyio.Event()
        self._waiting[turn] = None
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.release()  # the turn came while this caller was leaving: pass it on
            else:
                del self._waiting[turn]
            raise

    def release(self) -> None:
        """Give a slot to the next in line, or back."""
        if self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            turn.set()
        else:
            self._free += 1


class Pool:
    """The connections of one client in one event loop."""

    def __init__(self, carrier: Carrier, max_connections: int) -> None:
        """Begin without a connection."""
        self._carrier = carrier
        self._slots = Slots(max_connections)
        self._closed = False

    async def send(self, request: Outgoing) -> "Exchange":
        """Wait for a slot, send a request and wait for the head of its answer.

        Raises:
            APIConnectionError: there was no answer.
            ClientClosedError: the client was closed meanwhile.
        """
        await self._slots.acquire()
        try:
            return Exchange(self, await self._send(request))
        except BaseException:
            self._slots.release()
            raise

    async def _send(self, request: Outgoing) -> Reply:
        if self._closed:
            raise closed_error()
        try:
            reply = await self._carrier.send(request)
        except Exception as error:
            if self._closed:
                raise closed_error() from error
            raise
        if self.closed:  # while this call was connecting
            await reply.aclose()
            raise closed_error()
        return reply

    def release(self) -> None:
        """Give a slot back."""
        self._slots.release()

    @property
    def closed(self) -> bool:
        """Whether the pool was closed."""
        return self._closed

    async def aclose(self) -> None:
        """Close all connections; calls under way and calls in line end with an error."""
        self._closed = True
        self._slots.release()  # the first in line finds the pool closed and wakes the next
        with anyio.move_on_after(CLOSING, shield=True):
            await self._carrier.aclose()


class Exchange:
    """An answer under way, and the slot that it takes up."""

    __slots__ = ("_done", "_pool", "_reply", "headers", "status")

    def __init__(self, pool: Pool, reply: Reply) -> None:
        """Begin behind the head of the answer."""
        self._pool = pool
        self._reply = reply
        self._done = False
        self.status = reply.status
        self.headers = reply.headers

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes of the body, or none at its end; see `Body.read`."""
        try:
            data = await self._reply.read(limit)
        except Exception as error:
            if self._pool.closed:
                raise closed_error() from error
            raise
        if not data and not self._done:
            # The reply has handed its connection back by itself.
            self._done = True
            self._pool.release()
        return data

    async def aclose(self) -> None:
        """Let go of the connection and give the slot back, once."""
        if self._done:
            return
        self._done = True
        try:
            with anyio.move_on_after(CLOSING, shield=True):
                await self._reply.aclose()
        finally:
            self._pool.release()


def closed_error() -> ClientClosedError:
    """Return the error for whatever meets a closed client."""
    return ClientClosedError("the client was closed; make a new Client for further calls")
