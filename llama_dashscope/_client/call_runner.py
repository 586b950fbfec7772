"""One call from beginning to end: connections by event loop, tries and time limits."""

import logging
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Final, TypeVar

import anyio
import attrs

from llama_dashscope._errors import APIConnectionError, DashScopeError, ResponseError
from llama_dashscope._models import Response
from llama_dashscope._network.event_loop import (
    EventLoop,
    close_from_sync,
    is_closed,
    on_loop_end,
    running_loop,
    start_soon_threadsafe,
)
from llama_dashscope._network.failures import closed_error
from llama_dashscope._network.loading import load_backend, load_transports
from llama_dashscope._network.pool import ConnectionPool, PooledResponse
from llama_dashscope._network.read_ahead import ReadAheadStream
from llama_dashscope._protocol.failure import ResponseHead, read_failure
from llama_dashscope._protocol.response import read_response
from llama_dashscope._protocol.stream_parser import Item, StreamParser
from llama_dashscope._settings import Network

from .call import Call
from .paced_attempt import paced_call, paced_stream
from .pacer import Pacer
from .retry import Budget, Retry
from .stream_reader import StreamReader
from .time_limits import TimeLimits

__all__ = ["CallRunner"]

T = TypeVar("T")

logger: Final = logging.getLogger("llama_dashscope")


@attrs.define
class _CallState:
    """How a call is going."""

    limits: TimeLimits
    tries: int = 0
    failure: DashScopeError | None = None
    head: ResponseHead | None = None
    """The head of the last answer."""


class CallRunner:
    """What a client keeps: a pool for each event loop that it is used in, and its retry budget."""

    def __init__(self, network: Network, retry: Retry, pace: Pacer | None = None) -> None:
        """Begin without a connection; nothing is opened before the first call."""
        self._network = network
        self.retry = retry
        self._budget = Budget(retry.budget)
        self.pace = pace
        self._pools: dict[EventLoop, tuple[ConnectionPool, AsyncGenerator[None, None]]] = {}
        self._pid = os.getpid()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the engine was closed."""
        return self._closed

    async def whole(self, call: Call[Item]) -> Response:
        """Make a call and return its whole answer."""
        attempt = self._attempt_whole
        pace = self.pace if call.pace is None else call.pace
        if pace is not None:
            attempt = partial(paced_call, pace, attempt)
        return await self._run(call, attempt)

    async def open(self, call: Call[Item], *, ahead: bool) -> StreamReader[Item]:
        """Make a call and return its stream, which has the first item that says something.

        Args:
            call: the call.
            ahead: whether to read on while nobody waits.
        """
        attempt = partial(self._attempt_stream, ahead=ahead)
        if self.pace is not None:
            attempt = partial(paced_stream, self.pace, attempt)
        return await self._run(call, attempt)

    async def _run(
        self, call: Call[Item], attempt: Callable[[Call[Item], _CallState], Awaitable[T]]
    ) -> T:
        """Make a call within its `total` limit."""
        load_backend()
        limits = TimeLimits(call.timeout, self._network.host, monotonic())
        course = _CallState(limits)
        if call.timeout.total is None:
            return await self._try(call, attempt, course)
        with anyio.move_on_after(call.timeout.total):
            return await self._try(call, attempt, course)
        error = limits.over("total")
        error.attempts = course.tries
        raise error from course.failure

    async def _try(
        self,
        call: Call[Item],
        attempt: Callable[[Call[Item], _CallState], Awaitable[T]],
        course: _CallState,
    ) -> T:
        """Make a call, again where that may help."""
        while True:
            course.tries += 1
            started = monotonic()
            try:
                result = await attempt(call, course)
            except DashScopeError as error:
                error.attempts = course.tries
                course.failure = error
                _log(self._network.host, course, started, error)
                pause = self._pause(error, course, call.retry or self.retry)
                if pause is None:
                    raise
            except BaseException as error:
                _log(self._network.host, course, started, error)
                raise
            else:
                _log(self._network.host, course, started)
                self._budget.earn()
                return result
            await anyio.sleep(pause)

    def _pause(self, error: DashScopeError, course: _CallState, retry: Retry) -> float | None:
        """Say how long to wait before the next try; None where there is to be none."""
        pause = retry.pause(error, course.tries, random.random())  # noqa: S311  # no secret
        if pause is None or not course.limits.leaves(pause, monotonic()):
            return None
        return pause if self._budget.spend() else None

    async def _attempt_whole(self, call: Call[Item], course: _CallState) -> Response:
        exchange = await self._send(call)
        try:
            head = await self._head(call, course, exchange)
            body = bytearray()
            while data := await exchange.read(call.timeout.idle):
                body += data
                if len(body) > (most := self._network.limits.max_answer_size):
                    msg = f"the answer is larger than {most} bytes (limits.max_answer_size)"
                    raise ResponseError(msg, status_code=head.status, request_id=head.request_id)
        finally:
            await exchange.aclose()
        return read_response(head, bytes(body))

    async def _attempt_stream(
        self, call: Call[Item], course: _CallState, *, ahead: bool
    ) -> StreamReader[Item]:
        exchange = await self._send(call)
        try:
            head = await self._head(call, course, exchange)
            body = ReadAheadStream(exchange, call.timeout.idle) if ahead else exchange
            most = self._network.limits.max_frame_size
            parser = StreamParser(head, call.payload, call.make_items, most)
            reader = StreamReader(head, body, parser, course.limits, course.tries)
            await reader.begin()
        except BaseException:
            await exchange.aclose()
            raise
        return reader

    async def _send(self, call: Call[Item]) -> PooledResponse:
        pool = await self._pool()
        return await pool.send(call)

    async def _head(
        self, call: Call[Item], course: _CallState, exchange: PooledResponse
    ) -> ResponseHead:
        """Look at the head of an answer; one that refuses the call is read and raised."""
        head = ResponseHead(exchange.status, exchange.headers, call.key, self._network.host)
        course.head = head
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
        select_transport = await load_transports(self._network)
        pool = self._known_pool(loop)  # another call may have opened it meanwhile
        if pool is not None:
            return pool
        for other in [other for other in list(self._pools) if is_closed(other)]:
            self._pools.pop(other, None)
        pool = ConnectionPool(select_transport(self._network), self._network.limits.max_connections)
        self._pools[loop] = pool, await on_loop_end(pool.aclose)
        return pool

    def _known_pool(self, loop: EventLoop) -> ConnectionPool | None:
        if self._closed:
            raise closed_error()
        if self._pid != os.getpid():
            self._start_anew()
        known = self._pools.get(loop)
        return None if known is None or known[0].closed else known[0]

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
        return [(loop, end.aclose) for loop, (_, end) in pools.items()]

    def __del__(self) -> None:
        for loop, end in self._give_up_pools():
            start_soon_threadsafe(loop, end)


_parents: Final[list[object]] = []


def _log(host: str, course: _CallState, started: float, error: BaseException | None = None) -> None:
    if not logger.isEnabledFor(logging.DEBUG):
        return
    outcome = type(error).__name__  # of a foreign exception nobody knows what it may show
    if isinstance(error, DashScopeError):
        outcome = f"{outcome} {error}"
    elif error is None and course.head is not None:
        outcome = f"answered (status {course.head.status}, request_id {course.head.request_id})"
    spent = (monotonic() - started) * 1000
    logger.debug("%s attempt %d: %s, %.0f ms", host, course.tries, outcome, spent)
