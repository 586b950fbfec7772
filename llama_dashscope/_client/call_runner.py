"""One call from beginning to end: connections by event loop, tries and time limits."""

import logging
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar
from weakref import WeakSet

import anyio
import attrs

from llama_dashscope._errors import APIConnectionError, DashScopeError, ResponseError
from llama_dashscope._models import Response, Usage
from llama_dashscope._network.event_loop import (
    EventLoop,
    close_from_sync,
    is_closed,
    on_loop_end,
    running_loop,
    start_soon_threadsafe,
)
from llama_dashscope._network.failures import closed_error, starting
from llama_dashscope._network.loading import load_backend, load_transports
from llama_dashscope._network.pool import ConnectionPool, PooledResponse
from llama_dashscope._network.read_ahead import ReadAheadStream
from llama_dashscope._protocol.failure import ResponseHead, read_failure
from llama_dashscope._protocol.response import read_response
from llama_dashscope._protocol.stream_parser import Item, StreamParser
from llama_dashscope._settings import Network

from .attempt import Attempt
from .call import Call
from .observer import CallWatch, watch
from .pacer import Pacer
from .retry import Budget, Retry
from .stream_reader import StreamReader
from .time_limits import TimeLimits

__all__ = ["CallRunner", "ReadWhole"]

T = TypeVar("T")

logger: Final = logging.getLogger("llama_dashscope")


@attrs.define
class _CallState:
    """How a call is going."""

    limits: TimeLimits
    watch: CallWatch | None
    tries: int = 0
    failure: DashScopeError | None = None


@attrs.define
class _OfLoop:
    """What a client has in one event loop."""

    pool: ConnectionPool
    end: AsyncGenerator[None, None]
    """Ends it all when it is closed."""
    streams: WeakSet[StreamReader[Any]]
    """Those that were opened there; the ones still open end with the pool."""


Make = Callable[[Call[Item], "_CallState", Attempt], Awaitable[T]]
"""What makes one attempt at a call."""

ReadWhole = Callable[[ResponseHead, bytes], tuple[T, Usage | None]]
"""What reads a whole answer, with the tokens that it cost, or raises what is wrong with it."""


class CallRunner:
    """What a client keeps: a pool for each event loop that it is used in, and its retry budget."""

    def __init__(self, network: Network, retry: Retry, pace: Pacer | None = None) -> None:
        """Begin without a connection; nothing is opened before the first call."""
        self._network = network
        self.retry = retry
        self._budget = Budget(retry.budget)
        self.pace = pace
        self._pools: dict[EventLoop, _OfLoop] = {}
        self._pid = os.getpid()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the engine was closed."""
        return self._closed

    async def whole(self, call: Call[Item]) -> Response:
        """Make a call and return its whole answer."""
        return await self.whole_as(call, _read_response)

    async def whole_as(self, call: Call[Item], read: ReadWhole[T]) -> T:
        """Make a call and return its whole answer as something else than a `Response`."""
        return await self._run(call, partial(self._attempt_whole, read=read))

    async def open(self, call: Call[Item], *, ahead: bool) -> StreamReader[Item]:
        """Make a call and return its stream, which has the first item that says something.

        Args:
            call: the call.
            ahead: whether to read on while nobody waits.
        """
        return await self._run(call, partial(self._attempt_stream, ahead=ahead))

    async def _run(self, call: Call[Item], make: Make[Item, T]) -> T:
        """Make a call and tell its observers if it fails."""
        load_backend()
        limits = TimeLimits(call.timeout, self._network.host, monotonic())
        course = _CallState(limits, watch(call.base_url, call.payload))
        if course.watch is None:
            return await self._within_total(call, make, course)
        if more := course.watch.request_headers():
            call = attrs.evolve(call, headers_besides={**call.headers_besides, **more})
        try:
            return await self._within_total(call, make, course)
        except BaseException as error:
            course.watch.call_failed(error)
            raise

    async def _within_total(self, call: Call[Item], make: Make[Item, T], course: _CallState) -> T:
        if call.timeout.total is None:
            return await self._try(call, make, course)
        with anyio.move_on_after(call.timeout.total):
            return await self._try(call, make, course)
        error = course.limits.over("total")
        error.attempts = course.tries
        raise error from course.failure

    async def _try(self, call: Call[Item], make: Make[Item, T], course: _CallState) -> T:
        """Make a call, again where that may help."""
        pace = self.pace if call.pace is None else call.pace
        while True:
            course.tries += 1
            attempt = Attempt(self._network.host, course.tries, course.watch)
            try:
                if pace is not None:
                    await attempt.admit(pace, call.payload)
                result = await make(call, course, attempt)
            except DashScopeError as error:
                error.attempts = course.tries
                course.failure = error
                pause = self._pause(error, course, call.retry or self.retry)
                attempt.end(error.usage, error, pause)
                if pause is None:
                    raise
            except BaseException as error:
                attempt.end(None, error)
                raise
            else:
                self._budget.earn()
                return result
            await anyio.sleep(pause)

    def _pause(self, error: DashScopeError, course: _CallState, retry: Retry) -> float | None:
        """Say how long to wait before the next try; None where there is to be none."""
        pause = retry.pause(error, course.tries, random.random())  # noqa: S311  # no secret
        if pause is None or not course.limits.leaves(pause, monotonic()):
            return None
        return pause if self._budget.spend() else None

    async def _attempt_whole(
        self, call: Call[Item], course: _CallState, attempt: Attempt, *, read: ReadWhole[T]
    ) -> T:
        exchange = await self._send(call)
        try:
            head = await self._head(call, attempt, exchange)
            body = bytearray()
            while data := await exchange.read(call.timeout.idle):
                body += data
                if len(body) > (most := self._network.limits.max_answer_size):
                    msg = f"the answer is larger than {most} bytes (limits.max_answer_size)"
                    raise ResponseError(msg, status_code=head.status, request_id=head.request_id)
        finally:
            await exchange.aclose()
        answer, usage = read(head, bytes(body))
        attempt.end(usage)
        if course.watch is not None:
            response = answer if isinstance(answer, Response) else read_response(head, bytes(body))
            course.watch.call_answered(response)
        return answer

    async def _attempt_stream(
        self, call: Call[Item], course: _CallState, attempt: Attempt, *, ahead: bool
    ) -> StreamReader[Item]:
        exchange = await self._send(call)
        try:
            head = await self._head(call, attempt, exchange)
            body = ReadAheadStream(exchange, call.timeout.idle) if ahead else exchange
            most = self._network.limits.max_frame_size
            parser = StreamParser(head, call.payload, call.make_items, most)
            reader = StreamReader(body, parser, course.limits, attempt)
            await reader.begin()
        except BaseException:
            await exchange.aclose()
            raise
        if here := self._pools.get(running_loop()):
            here.streams.add(reader)
        return reader

    async def _send(self, call: Call[Item]) -> PooledResponse:
        pool = await self._pool()
        return await pool.send(call)

    async def _head(
        self, call: Call[Item], attempt: Attempt, exchange: PooledResponse
    ) -> ResponseHead:
        """Look at the head of an answer; one that refuses the call is read and raised."""
        head = ResponseHead(exchange.status, exchange.headers, call.key, self._network.host)
        attempt.head = head
        if head.failed:
            raise await self._refusal(head, exchange, call.timeout.idle)
        return head

    async def _refusal(
        self, head: ResponseHead, exchange: PooledResponse, idle: float | None
    ) -> DashScopeError:
        """Read the body of an error answer as far as it goes; the status says enough without."""
        body = bytearray()
        try:
            while len(body) <= self._network.limits.max_error_size:
                data = await exchange.read(idle)
                if not data:
                    break
                body += data
        except (APIConnectionError, ResponseError):
            logger.debug("an error answer of %s broke off", self._network.host)
        return read_failure(head, bytes(body[: self._network.limits.max_error_size]))

    async def _pool(self) -> ConnectionPool:
        """Return the pool of the running event loop, made when it is first needed."""
        loop = running_loop()
        pool = self._known_pool(loop)
        if pool is not None:
            return pool
        with starting():
            select_transport = await load_transports(self._network)
        pool = self._known_pool(loop)  # another call may have opened it meanwhile
        if pool is not None:
            return pool
        for other in [other for other in list(self._pools) if is_closed(other)]:
            self._pools.pop(other, None)
        with starting():
            transport = select_transport(self._network)
        pool = ConnectionPool(transport, self._network.limits.max_connections)
        streams: WeakSet[StreamReader[Any]] = WeakSet()
        end = await on_loop_end(partial(_close, pool, streams))
        self._pools[loop] = _OfLoop(pool, end, streams)
        return pool

    def _known_pool(self, loop: EventLoop) -> ConnectionPool | None:
        if self._closed:
            raise closed_error()
        if self._pid != os.getpid():
            self._start_anew()
        known = self._pools.get(loop)
        return None if known is None or known.pool.closed else known.pool

    def _start_anew(self) -> None:
        """Leave the parent's connections to the parent: this process is a fork."""
        # Kept alive: finalising them would touch sockets and loops that both processes share.
        _parents.append(self._pools)
        self._pools = {}
        self._pid = os.getpid()

    async def aclose(self) -> None:
        """Close all connections in all event loops; calls under way end with an error."""
        here = running_loop()
        for loop, end in self._give_up_pools():
            if loop is here:
                await end()
            else:
                start_soon_threadsafe(loop, end)

    def close_from_sync(self) -> None:
        """Do what `aclose` does from sync code, and never wait for long."""
        close_from_sync(self._give_up_pools())

    def _give_up_pools(self) -> list[tuple[EventLoop, Callable[[], Awaitable[None]]]]:
        """Close the engine; return what ends the pools, each with its event loop."""
        self._closed = True
        pools, self._pools = self._pools, {}
        if self._pid != os.getpid():
            _parents.append(pools)
            return []
        return [(loop, each.end.aclose) for loop, each in pools.items()]

    def __del__(self) -> None:
        for loop, end in self._give_up_pools():
            start_soon_threadsafe(loop, end)


async def _close(pool: ConnectionPool, streams: WeakSet[StreamReader[Any]]) -> None:
    try:
        await pool.aclose()
    finally:
        for stream in list(streams):
            stream.tell_end()


_parents: Final[list[object]] = []


def _read_response(head: ResponseHead, body: bytes) -> tuple[Response, Usage | None]:
    response = read_response(head, body)
    return response, response.usage
