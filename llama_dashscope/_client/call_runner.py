"""Runs calls: a connection pool per event loop, attempts, retries and time limits."""

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
from llama_dashscope._sanitize import without_frames
from llama_dashscope._settings import Network

from .attempt import Attempt
from .call import Call
from .observer import CallWatch, watch
from .pace import Pace
from .pacer import Pacer
from .retry import Budget, Retry
from .stream_reader import StreamReader
from .time_limits import TimeLimits

__all__ = ["CallRunner", "ReadWhole"]

T = TypeVar("T")

logger: Final = logging.getLogger("llama_dashscope")


@attrs.define
class _CallState:
    """The state of a call that is running."""

    loop: EventLoop
    limits: TimeLimits
    watch: CallWatch | None
    tries: int = 0
    failure: DashScopeError | None = None


@attrs.define
class _LoopResources:
    """A client's resources in one event loop."""

    pool: ConnectionPool
    end: AsyncGenerator[None, None]
    """A generator; closing it closes the pool and the streams."""
    streams: WeakSet[StreamReader[Any]]
    """The streams that were opened in this loop; those still open end with the pool."""


Make = Callable[[Call[Item], "_CallState", Attempt], Awaitable[T]]
"""A function that makes one attempt at a call."""

ReadWhole = Callable[[ResponseHead, bytes], tuple[T, Usage | None]]
"""A function that reads an answer and its usage from a body, or raises an error."""


class CallRunner:
    """Runs a client's calls; holds its pool for each event loop, and its retry budget."""

    def __init__(self, network: Network, retry: Retry, pace: Pacer | None = None) -> None:
        """Start without connections; none is opened before the first call."""
        self._network = network
        self.retry = retry
        self._budget = Budget(retry.budget)
        self.pace = pace
        self.batch_pace: Pacer = Pace() if pace is None else pace
        """The pace of batches; what it finds out about the limits serves the next batch too."""
        self._pools: dict[EventLoop, _LoopResources] = {}
        self._pid = os.getpid()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the client was closed."""
        return self._closed

    def whole(self, call: Call[Item]) -> Awaitable[Response]:
        """Make a call that is not streamed and return its answer."""
        return self.whole_as(call, _read_response)

    def whole_as(self, call: Call[Item], read: ReadWhole[T]) -> Awaitable[T]:
        """Make a call that is not streamed and return its answer as made by `read`."""
        return self._run(call, partial(self._attempt_whole, read=read))

    def open(self, call: Call[Item], *, ahead: bool) -> Awaitable[StreamReader[Item]]:
        """Make a call and return its stream, once the first part of an answer has arrived.

        Args:
            call: the call.
            ahead: whether to read in the background (`ReadAheadStream`).
        """
        return self._run(call, partial(self._attempt_stream, ahead=ahead))

    async def _run(self, call: Call[Item], make: Make[Item, T]) -> T:
        """Make a call; if it fails, inform its observers."""
        loop = running_loop()
        if loop not in self._pools:
            load_backend()
        limits = TimeLimits(call.timeout, self._network.host, monotonic())
        state = _CallState(loop, limits, watch(call.base_url, call.payload))
        run = self._try if call.timeout.total is None else self._within_total
        if state.watch is None:
            return await run(call, make, state)
        if more := state.watch.request_headers():
            call = attrs.evolve(call, extra_headers={**call.extra_headers, **more})
        try:
            return await run(call, make, state)
        except BaseException as error:
            state.watch.call_failed(error)
            raise

    async def _within_total(self, call: Call[Item], make: Make[Item, T], state: _CallState) -> T:
        with anyio.move_on_after(call.timeout.total):
            return await self._try(call, make, state)
        error = state.limits.over("total")
        error.attempts = state.tries
        raise error from state.failure

    async def _try(self, call: Call[Item], make: Make[Item, T], state: _CallState) -> T:
        """Make a call, with retries."""
        pace = self.pace if call.pace is None else call.pace
        while True:
            state.tries += 1
            attempt = Attempt(self._network.host, state.tries, state.watch)
            try:
                if pace is not None:
                    await attempt.admit(pace, call.payload)
                result = await make(call, state, attempt)
            except DashScopeError as error:
                error.attempts = state.tries
                state.failure = error
                pause = self._pause(error, state, call.retry or self.retry)
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

    def _pause(self, error: DashScopeError, state: _CallState, retry: Retry) -> float | None:
        """Return the pause in seconds before the next attempt; None if there is none."""
        pause = retry.pause(error, state.tries, random.random())  # noqa: S311  # no secret
        if pause is None or not state.limits.leaves(pause, monotonic()):
            return None
        return pause if self._budget.spend() else None

    async def _attempt_whole(
        self, call: Call[Item], state: _CallState, attempt: Attempt, *, read: ReadWhole[T]
    ) -> T:
        pool = self._known_pool(state.loop) or await self._open_pool(state.loop)
        exchange = await pool.send(call)
        body = bytearray()
        try:
            head = await self._head(call, attempt, exchange)
            while data := await exchange.read(call.timeout.idle):
                body += data
                if len(body) > (most := self._network.limits.max_answer_size):
                    msg = f"the answer is larger than {most} bytes (limits.max_answer_size)"
                    raise ResponseError(msg, status_code=head.status, request_id=head.request_id)
            whole = bytes(body)
        finally:
            data = b""  # it may echo the key, and error reports show local variables
            body.clear()
            await exchange.aclose()
        try:
            answer, usage = read(head, whole)
        except DashScopeError as error:
            failure = without_frames(error)
        else:
            attempt.end(usage)
            if state.watch is not None:
                response = answer if isinstance(answer, Response) else read_response(head, whole)
                state.watch.call_answered(response)
            return answer
        del whole
        raise failure

    async def _attempt_stream(
        self, call: Call[Item], state: _CallState, attempt: Attempt, *, ahead: bool
    ) -> StreamReader[Item]:
        pool = self._known_pool(state.loop) or await self._open_pool(state.loop)
        exchange = await pool.send(call)
        try:
            head = await self._head(call, attempt, exchange)
            body = ReadAheadStream(exchange, call.timeout.idle) if ahead else exchange
            most = self._network.limits.max_frame_size
            parser = StreamParser(head, call.payload, call.make_items, most)
            reader = StreamReader(body, parser, state.limits, attempt)
            await reader.begin()
        except BaseException:
            await exchange.aclose()
            raise
        if here := self._pools.get(state.loop):
            here.streams.add(reader)
        return reader

    async def _head(
        self, call: Call[Item], attempt: Attempt, exchange: PooledResponse
    ) -> ResponseHead:
        """Return the head of an answer; if its status is an error, read the body and raise."""
        head = ResponseHead(exchange.status, exchange.headers, call.key, self._network.host)
        attempt.head = head
        if head.failed:
            raise await self._refusal(head, exchange, call.timeout.idle)
        return head

    async def _refusal(
        self, head: ResponseHead, exchange: PooledResponse, idle: float | None
    ) -> DashScopeError:
        """Return the error of an answer; if its body can't be read, the status is enough."""
        body = bytearray()
        try:
            while len(body) <= self._network.limits.max_error_size:
                data = await exchange.read(idle)
                if not data:
                    break
                body += data
        except (APIConnectionError, ResponseError):
            logger.debug("the body of an error from %s could not be read", self._network.host)
        return read_failure(head, bytes(body[: self._network.limits.max_error_size]))

    async def _open_pool(self, loop: EventLoop) -> ConnectionPool:
        """Make the pool of the running event loop."""
        with starting():
            select_transport = await load_transports(self._network)
        pool = self._known_pool(loop)  # another call may have made it in the meantime
        if pool is not None:
            return pool
        for other in [other for other in list(self._pools) if is_closed(other)]:
            self._pools.pop(other, None)
        with starting():
            transport = select_transport(self._network)
        pool = ConnectionPool(transport, self._network.limits.max_connections)
        streams: WeakSet[StreamReader[Any]] = WeakSet()
        end = await on_loop_end(partial(_close, pool, streams))
        self._pools[loop] = _LoopResources(pool, end, streams)
        return pool

    def _known_pool(self, loop: EventLoop) -> ConnectionPool | None:
        if self._closed:
            raise closed_error()
        if self._pid != os.getpid():
            self._after_fork()
        known = self._pools.get(loop)
        return None if known is None or known.pool.closed else known.pool

    def _after_fork(self) -> None:
        """Drop the parent's connections: this process was forked."""
        # Kept alive: finalising them would touch sockets and loops that both processes share.
        _parents.append(self._pools)
        self._pools = {}
        self._budget = Budget(self.retry.budget)  # its lock may be held by a thread of the parent
        self._pid = os.getpid()

    async def aclose(self) -> None:
        """Close all connections in all event loops; requests in flight get an error."""
        here = running_loop()
        for loop, end in self._detach_pools():
            if loop is here:
                await end()
            else:
                start_soon_threadsafe(loop, end)

    def close_from_sync(self) -> None:
        """Do the same as `aclose`, from sync code, without waiting for long."""
        close_from_sync(self._detach_pools())

    def _detach_pools(self) -> list[tuple[EventLoop, Callable[[], Awaitable[None]]]]:
        """Mark as closed; return the functions that close the pools, each with its event loop."""
        self._closed = True
        pools, self._pools = self._pools, {}
        if self._pid != os.getpid():
            _parents.append(pools)
            return []
        return [(loop, each.end.aclose) for loop, each in pools.items()]

    def __del__(self) -> None:
        for loop, end in self._detach_pools():
            start_soon_threadsafe(loop, end)


async def _close(pool: ConnectionPool, streams: WeakSet[StreamReader[Any]]) -> None:
    try:
        await pool.aclose()
    finally:
        for stream in list(streams):
            stream.report_end()


_parents: Final[list[object]] = []


def _read_response(head: ResponseHead, body: bytes) -> tuple[Response, Usage | None]:
    response = read_response(head, body)
    return response, response.usage
