"""Reads a stream: from the bytes of a connection to items, within the time limits."""

from time import monotonic
from typing import Generic

from llama_dashscope._errors import APITimeoutError, DashScopeError
from llama_dashscope._network.interface import ByteStream
from llama_dashscope._protocol.stream_parser import Item, StreamParser
from llama_dashscope._sanitize import without_frames

from .attempt import Attempt
from .observer import CallEnd
from .time_limits import NEVER, TimeLimits, Wait

__all__ = ["StreamReader"]


class StreamReader(Generic[Item]):
    """Reads a stream's items as they arrive; owns and closes its body.

    Args:
        body: the bytes of the answer.
        parser: makes items from them.
        limits: the time limits.
        attempt: the attempt at the call, which ends with the stream.
    """

    __slots__ = (
        "__weakref__",
        "_attempt",
        "_body",
        "_closing",
        "_finished_at",
        "_limits",
        "_parser",
        "answer",
        "closed",
    )

    def __init__(
        self,
        body: ByteStream,
        parser: StreamParser[Item],
        limits: TimeLimits,
        attempt: Attempt,
    ) -> None:
        """Start after the head of the answer."""
        self._body = body
        self._parser = parser
        self._limits = limits
        self._attempt = attempt
        self._closing = False
        self._finished_at = NEVER
        self.answer = parser.answer
        """What has arrived so far."""
        self.closed = False

    @property
    def failure(self) -> DashScopeError | None:
        """The error that ended the stream."""
        return self._parser.failure

    async def begin(self) -> None:
        """Read until the first part of an answer arrives; before that the call may be retried.

        Raises:
            DashScopeError: the stream broke before that.
        """
        while not self._parser.begun and await self._advance():
            pass

    def take(self) -> list[Item]:
        """Return the items that have arrived and have not been taken yet."""
        return self._parser.take()

    async def more(self) -> list[Item]:
        """Wait for items and return all that have arrived; none at the end of the stream.

        Raises:
            DashScopeError: the stream broke; `partial_text` has the text received.
        """
        while await self._advance():
            if items := self._parser.take():
                return items
        return []

    async def aclose(self, *, drain: bool = False) -> None:
        """Release the connection, once.

        Args:
            drain: if the answer is complete, whether to read the rest of the body, so that the
                connection can be reused.
        """
        if self.closed:
            return
        self.closed = True
        try:
            if drain:
                await self._drain()
        finally:
            try:
                await self._body.aclose()
            finally:
                self.report_end()

    def report_end(self) -> None:
        """Report the end to the pace, the log and the observers; only the first call counts."""
        answer, failure = self.answer, self._parser.failure
        self._attempt.end(answer.usage, failure)
        if self._attempt.watch is not None:
            left_early = failure is None and not (self._parser.ended or answer.finished)
            reasons, name = answer.finish_reasons, self._parser.request_id
            end = CallEnd(failure, left_early, answer.usage, name, reasons, answer.response)
            self._attempt.watch.call_ended(end)

    async def _drain(self) -> None:
        self._closing = True
        parser = self._parser
        while self.answer.finished and not parser.ended and parser.failure is None:
            await self._step()

    async def _advance(self) -> bool:
        """Read on; return False at the end of the stream."""
        try:
            if self._parser.failure is not None:
                raise without_frames(self._parser.failure)
            if self._parser.ended:
                return False
            watch = self._attempt.watch
            waiting = 0 if watch is None else self._parser.arrived
            await self._step()
            if watch is not None and (count := self._parser.arrived - waiting):
                watch.chunks_arrived(count)
        except DashScopeError as error:
            error.partial_text = error.partial_text or self.answer.text
            error.usage = error.usage or self.answer.usage
            error.request_id = error.request_id or self._parser.request_id
            error.attempts = self._attempt.number
            raise
        return True

    async def _step(self) -> None:
        """Read until a frame or the end arrives; heartbeats don't restart the idle limit."""
        started = now = monotonic()
        while True:
            seconds, limit = self._wait(started, now)
            if seconds is not None and seconds <= 0:  # heartbeats may come without a pause
                self._time_out(limit)
                return
            try:
                data = await self._body.read(seconds)
            except APITimeoutError:
                self._time_out(limit)
                return
            except DashScopeError as error:
                self._parser.finish(error)
                return
            if not data:
                self._parser.finish()
                return
            if self._parser.feed(data):
                return
            now = monotonic()

    def _wait(self, silent_since: float, now: float) -> Wait:
        """Return how long the next bytes may take."""
        if not self.answer.finished:
            return self._limits.wait(now, silent_since)
        self._finished_at = min(self._finished_at, now)
        counted = self._closing or self.answer.usage is not None
        return self._limits.wait_after_finish(now, self._finished_at, counted=counted)

    def _time_out(self, limit: str) -> None:
        """End the stream because of a limit; a complete answer may do without its end."""
        self._parser.finish(None if limit == "finish" else self._limits.over(limit))
