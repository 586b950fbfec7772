"""One connection of the server: reads requests and sends the answers, one at a time."""

import asyncio
import socket
import struct
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Protocol, cast

from llama_dashscope.testing._http_server import http1
from llama_dashscope.testing._service.exchange import Exchange
from llama_dashscope.testing._service.faults import Fault
from llama_dashscope.testing._service.response_plan import Ending, ResponsePlan, silence

from .response_writer import ResponseWriter

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_MAX_UNREAD = 64 * 1024
"""Most bytes that are read ahead while an answer is sent; above that, reading pauses."""
_LINGER = 2.0
"""Seconds until a refused connection is closed: an earlier reset could discard the refusal."""


class Host(Protocol):
    """The interface of the server to its connections."""

    @property
    def max_body(self) -> int:
        """The largest accepted body, in bytes."""
        ...

    def opened(self, connection: "ServerConnection") -> int:
        """Register a new connection and return its number."""
        ...

    def closed(self, connection: "ServerConnection") -> None:
        """Unregister a closed connection."""
        ...

    def in_turn(self, function: Callable[[], None]) -> None:
        """Call a function, now or after those that were queued before."""
        ...

    def received(self, connection: int, incoming: http1.Incoming, started: float) -> Exchange:
        """Register a request, with its arrival time by the monotonic clock."""
        ...

    def ended(self, exchange: Exchange) -> None:
        """Register the end of an exchange."""
        ...

    async def answer(self, exchange: Exchange) -> ResponsePlan:
        """Return the answer to a request."""
        ...


class ServerConnection(asyncio.Protocol):
    """Reads requests and sends what the host answers."""

    _transport: asyncio.Transport
    _number: int

    def __init__(self, host: Host) -> None:
        self._host = host
        self._reader = http1.RequestReader(host.max_body)
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._next_request: Ending | None = None
        self._next_fault: Fault | None = None
        self._refused = False
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._number = self._host.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._reader.feed(data)
        if self._task is None:
            self._host.in_turn(partial(self._read_on, monotonic()))
        self._throttle()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._task:
            self._task.cancel()
        self._host.closed(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._task is not None

    def abort(self) -> None:
        """Drop the connection and all unsent data."""
        if self._exchange:
            self._exchange.end("cut")
        self._transport.abort()

    def _read_on(self, came: float) -> None:
        if self._task or self._refused or self._transport.is_closing():  # while it was queued
            return
        try:
            incoming = self._reader.take()
        except http1.MalformedRequestError as error:
            self._refuse(error.status)
            return
        finally:
            self._throttle()
        if incoming:
            self._exchange = self._host.received(self._number, incoming, came)
            self._task = asyncio.get_running_loop().create_task(self._serve(self._exchange))
        elif self._reader.awaits_continue:
            self._reader.awaits_continue = False
            self._transport.write(http1.CONTINUE)

    def _throttle(self) -> None:
        if self._reader.unread > _MAX_UNREAD:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _refuse(self, status: int) -> None:
        self._refused = True
        self._transport.write(
            http1.head(status, [("content-length", "0"), ("connection", "close")])
        )
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER, self._transport.close)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            answer = await self._next_answer(exchange)
            exchange.error = answer.error
            sender = ResponseWriter(self._transport, self._writable, answer, exchange)
            how = await sender.send()
            exchange.end("answered" if how == "clean" and sender.complete else "cut")
        except Exception as error:  # noqa: BLE001 - ends this exchange only, not the server
            exchange.error, how = error, "rst"
            exchange.end("cut")
            answer = silence("rst")
        finally:
            exchange.end("client left")
            self._host.ended(exchange)
            self._task = None
        self._after_response(exchange, answer, how)

    async def _next_answer(self, exchange: Exchange) -> ResponsePlan:
        if self._next_request is None:
            return await self._host.answer(exchange)
        how, self._next_request = self._next_request, None
        exchange.fault = self._next_fault
        return silence(how)

    def _after_response(self, exchange: Exchange, answer: ResponsePlan, how: Ending) -> None:
        if how == "rst":
            self._reset()
        elif how == "fin" or not answer.keep:
            self._transport.close()
        else:
            self._next_request, self._next_fault = answer.next_request, exchange.fault
            if answer.idle_close is not None:
                loop = asyncio.get_running_loop()
                loop.call_later(answer.idle_close, self._close_if_idle)
            self._read_on(monotonic())

    def _close_if_idle(self) -> None:
        if self._task is None:
            self._transport.close()

    def _reset(self) -> None:
        sock = cast("socket.socket", self._transport.get_extra_info("socket"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()
