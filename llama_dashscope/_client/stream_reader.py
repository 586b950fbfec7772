"""The reading half of a stream: bytes of an answer in, chunks out, one step at a time."""

from time import monotonic
from typing import Final

from llama_dashscope._errors import (
    APITimeoutError,
    DashScopeError,
    IncompleteResponseError,
    ResponseError,
)
from llama_dashscope._models import Chunk, Response, Usage
from llama_dashscope._network.failures import timed_out
from llama_dashscope._network.interface import ByteStream
from llama_dashscope._protocol.accumulator import StreamAccumulator
from llama_dashscope._protocol.failure import ResponseHead
from llama_dashscope._protocol.request import Payload
from llama_dashscope._protocol.response import read_event, read_response
from llama_dashscope._protocol.sse import BOM, Decoder, EventTooLargeError, ServerSentEvent
from llama_dashscope._settings import Limits, Timeout

__all__ = ["NEVER", "StreamReader"]

AFTER_FINISH: Final = 0.25
"""Seconds to wait for the end of a body whose answer is whole, so that its connection lives on."""

FOR_USAGE: Final = 1.0
"""The same while the tokens are not counted yet: the frame that counts them may come late."""

NO_EVENTS: Final = frozenset({b"{", b"[", b"<"})
"""First bytes that no event stream has: JSON or HTML, whatever its label says."""

NEVER: Final = float("inf")
"""The deadline of a call without one."""


class StreamReader:
    """Reads a stream's chunks as they arrive.

    Args:
        head: the head of the answer.
        body: where its bytes come from.
        payload: what was asked for.
        timeout: the limits in time; `idle` holds for each step.
        limits: the limits in size.
        deadline: when `total` ends, by the monotonic clock.
        assembler: what makes chunks of frames.
        tries: how many times the call was made, for errors to say.
    """

    def __init__(
        self,
        head: ResponseHead,
        body: ByteStream,
        payload: Payload,
        *,
        timeout: Timeout,
        limits: Limits,
        deadline: float,
        tries: int = 1,
        assembler: type[StreamAccumulator] = StreamAccumulator,
    ) -> None:
        """Begin behind the head of the answer."""
        self._head = head
        self._body = body
        self._timeout = timeout
        self._deadline = deadline
        self._limits = limits
        self._decoder = Decoder(limits.max_frame_size)
        self._assembler = assembler(
            incremental=payload.incremental, choices=payload.choices, request_id=head.request_id
        )
        self.failure: DashScopeError | None = None
        self._tries = tries
        self._begun = False
        self._ended = False
        self._leaving = False
        self._finished_at = NEVER

    @property
    def text(self) -> str:
        """The text of the first answer so far."""
        return self._assembler.text

    @property
    def usage(self) -> Usage | None:
        """The tokens counted so far."""
        return self._assembler.usage

    @property
    def response(self) -> Response:
        """Everything so far as one response."""
        return self._assembler.response()

    async def more(self) -> list[Chunk]:
        """Wait for chunks and return all that have arrived; none at the end of the stream.

        Raises:
            DashScopeError: the stream broke; carries what had arrived.
        """
        chunks: list[Chunk] = []
        try:
            while not chunks:
                if self.failure is not None:
                    raise self.failure
                if self._ended:
                    break
                await self._step(chunks)
        except DashScopeError as error:
            self.failure = error
            error.partial_text = error.partial_text or self._assembler.text
            error.usage = error.usage or self._assembler.usage
            error.request_id = error.request_id or self._head.shown_name(self._assembler.request_id)
            error.attempts = self._tries
            raise
        return chunks

    async def drain(self) -> None:
        """Read the end of a body whose answer is whole, for the sake of its connection."""
        self._leaving = True
        while self._assembler.finished and not self._ended and self.failure is None:
            await self._step([])

    async def _step(self, chunks: list[Chunk]) -> None:
        """Read until a frame or the end has come, and add the chunks that this gives."""
        started = monotonic()
        first = True
        while True:
            try:
                data = await self._read(started, first=first)
            except DashScopeError as error:
                self._end(chunks, error)
                return
            first = False
            if not self._begun and (begin := data.removeprefix(BOM).lstrip()):
                self._begun = True
                if begin[:1] in NO_EVENTS:
                    await self._take_whole(data, chunks)
                    return
            if not data:
                self._end(chunks)
                return
            if self._take(self._decode(data), chunks):
                return

    async def _read(self, started: float, *, first: bool = False) -> bytes:
        """Read some bytes within the limits, of which heartbeats do not wind up the idle one."""
        limit, name = self._timeout.idle, "idle"
        if not first and limit is not None:
            limit -= monotonic() - started
        if self._assembler.finished:
            limit, name = self._left_after_finish(), "finish"
        elif self._deadline != NEVER:
            left = self._deadline - monotonic()
            if limit is None or left < limit:
                limit, name = left, "total"
        try:
            if limit is None or limit > 0:  # bytes that say nothing may come without a pause
                return await self._body.read(limit)
            raise timed_out("idle", limit, self._head.host)
        except APITimeoutError as error:
            if name == "finish":
                return b""
            whole = self._timeout.total if name == "total" else self._timeout.idle
            raise timed_out(name, whole, self._head.host) from error

    def _left_after_finish(self) -> float:
        """Say how many seconds a body may still take whose answer is whole."""
        now = monotonic()
        self._finished_at = min(self._finished_at, now)
        known = self._leaving or self._assembler.usage is not None
        return self._finished_at + (AFTER_FINISH if known else FOR_USAGE) - now

    def _decode(self, data: bytes) -> list[ServerSentEvent]:
        try:
            return self._decoder.feed(data)
        except EventTooLargeError as error:
            self.failure = ResponseError(
                f"the answer is not the protocol: {error} (limits.max_frame_size)",
                status_code=self._head.status,
            )
            return error.events

    def _take(self, events: list[ServerSentEvent], chunks: list[Chunk]) -> bool:
        """Add the chunks of these events; tell whether there was anything but heartbeats."""
        heard = self.failure is not None
        try:
            for event in events:
                made = read_event(self._head, event, self._assembler.add)
                if made is not None:
                    heard = True
                    chunks += made
        except DashScopeError as error:
            self.failure = error
            return True
        return heard

    def _end(self, chunks: list[Chunk], broken: DashScopeError | None = None) -> None:
        """Take the last event, which may be cut short, and judge whether the answer is whole.

        An answer that has its finish_reason is whole, however its connection ended.
        """
        self._ended = True
        self._take(self._decoder.finish(), chunks)
        if isinstance(self.failure, ResponseError):
            self.failure = None  # half a frame: the stream was cut, and that is what to say
        if self.failure is None and not (
            self._assembler.finished if broken else self._assembler.whole
        ):
            self.failure = broken or IncompleteResponseError(
                "the stream ended before its finish_reason; partial_text has what had arrived",
                status_code=self._head.status,
            )

    async def _take_whole(self, data: bytes, chunks: list[Chunk]) -> None:
        """Take an answer that came in one piece though a stream was asked for."""
        body = bytearray()
        while data:
            body += data
            if len(body) > self._limits.max_frame_size:
                msg = f"the answer is no stream and larger than {self._limits.max_frame_size} bytes"
                raise ResponseError(msg, status_code=self._head.status)
            data = await self._read(monotonic(), first=True)
        self._ended = True
        response = read_response(self._head, bytes(body))
        chunks += self._assembler.add(response.to_dict())
