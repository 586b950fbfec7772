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
from llama_dashscope._models import Chunk, Response
from llama_dashscope._network.event_loop import (
    EventLoop,
    close_from_sync,
    is_closed,
    on_loop_end,
    running_loop,
    start_soon_threadsafe,
)
from llama_dashscope._network.failures import closed_error, timed_out
from llama_dashscope._network.interface import ByteStream, HTTPRequest
from llama_dashscope._network.loading import load_backend, load_transports
from llama_dashscope._network.pool import ConnectionPool, PooledResponse
from llama_dashscope._network.read_ahead import ReadAheadStream
from llama_dashscope._protocol.accumulator import StreamAccumulator
from llama_dashscope._protocol.failure import ResponseHead, read_failure
from llama_dashscope._protocol.request import Payload
from llama_dashscope._protocol.response import read_response
from llama_dashscope._settings import ApiKey, Network, Timeout

from .paced_attempt import paced_call, paced_stream
from .pacer import Pacer
from .retry import Budget, Retry
from .stream_reader import NEVER, StreamReader

__all__ = ["Call", "CallRunner"]

T = TypeVar("T")

logger: Final = logging.getLogger("llama_dashscope")


@attrs.frozen
class Call:
    """One call, ready to be sent as often as it takes."""

    outgoing: HTTPRequest
    payload: Payload
    key: ApiKey
    assembler: type[StreamAccumulator] = StreamAccumulator
    """What makes chunks of a stream's frames."""
    pace: Pacer | None = None
    """Asked before each attempt, instead of the client's."""
    retry: Retry | None = None
    """When to try again, instead of the client's."""


@attrs.define
class _CallState:
    """How a call is going."""

    deadline: float
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

    async def whole(self, call: Call) -> Response:
        """Make a call and return its whole answer."""
        attempt = self._attempt_whole
        pace = self.pace if call.pace is None else call.pace
        if pace is not None:
            attempt = partial(paced_call, pace, call.payload, attempt)
        return await self._run(call, attempt)

    async def open(
        self, call: Call, *, ahead: bool
    ) -> tuple[StreamReader, ByteStream, list[Chunk]]:
        """Make a call and return its stream, with chunks up to the first that says something.

        Args:
            call: the call.
            ahead: whether to read on while nobody waits.
        """
        attempt = partial(self._attempt_stream, ahead=ahead)
        if self.pace is not None:
            attempt = partial(paced_stream, self.pace, call.payload, attempt)
        return await self._run(call, attempt)

    async def _run(self, call: Call, attempt: Callable[[Call, _CallState], Awaitable[T]]) -> T:
        """Make a call within its `total` limit."""
        load_backend()
        total = call.outgoing.timeout.total
        if total is None:
            return await self._try(call, attempt, _CallState(NEVER))
        course = _CallState(monotonic() + total)
        with anyio.move_on_after(total):
            return await self._try(call, attempt, course)
        error = timed_out("total", total, self._network.host)
        error.attempts = course.tries
        raise error from course.failure

    async def _try(
        self, call: Call, attempt: Callable[[Call, _CallState], Awaitable[T]], course: _CallState
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
        if pause is None or monotonic() + pause >= course.deadline or not self._budget.spend():
            return None
        return pause

    async def _attempt_whole(self, call: Call, course: _CallState) -> Response:
        exchange = await self._send(call)
        try:
            head = await self._head(call, course, exchange)
            body = bytearray()
            while data := await exchange.read(call.outgoing.timeout.idle):
                body += data
                if len(body) > (most := self._network.limits.max_answer_size):
                    msg = f"the answer is larger than {most} bytes (limits.max_answer_size)"
                    raise ResponseError(msg, status_code=head.status, request_id=head.request_id)
        finally:
            await exchange.aclose()
        return read_response(head, bytes(body))

    async def _attempt_stream(
        self, call: Call, course: _CallState, *, ahead: bool
    ) -> tuple[StreamReader, ByteStream, list[Chunk]]:
        exchange = await self._send(call)
        try:
            head = await self._head(call, course, exchange)
            body = ReadAheadStream(exchange, call.outgoing.timeout.idle) if ahead else exchange
            feed = StreamReader(
                head,
                body,
                call.payload,
                timeout=call.outgoing.timeout,
                limits=self._network.limits,
                deadline=course.deadline,
                tries=course.tries,
                assembler=call.assembler,
            )
            return feed, body, await _first_chunks(feed)
        except BaseException:
            await exchange.aclose()
            raise

    async def _send(self, call: Call) -> PooledResponse:
        pool = await self._pool()
        return await pool.send(call.outgoing)

    async def _head(self, call: Call, course: _CallState, exchange: PooledResponse) -> ResponseHead:
        """Look at the head of an answer; one that refuses the call is read and raised."""
        head = ResponseHead(exchange.status, exchange.headers, call.key, self._network.host)
        course.head = head
        if head.failed:
            raise await self._refusal(head, exchange, call.outgoing.timeout)
        return head

    async def _refusal(
        self, head: ResponseHead, exchange: PooledResponse, timeout: Timeout
    ) -> DashScopeError:
        """Read the body of an error answer as far as it goes; the status says enough without."""
        body = bytearray()
        try:
            while len(body) <= self._network.limits.max_error_size:
                data = await exchange.read(timeout.idle)
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


async def _first_chunks(feed: StreamReader) -> list[Chunk]:
    """Read up to the first chunk that says something: until then the call may be made again."""
    chunks: list[Chunk] = []
    while more := await feed.more():
        chunks += more
        if any(_says_something(chunk) for chunk in more):
            break
    return chunks


def _says_something(chunk: Chunk) -> bool:
    """Tell whether a chunk holds a part of the answer, a model's reasoning included."""
    said = chunk.delta or chunk.finish_reason or chunk.tool_calls
    return bool(said or chunk.extra.get("reasoning_content"))


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
