"""Turns the bytes of a streamed answer into items, without I/O and time limits."""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from llama_dashscope._errors import DashScopeError, IncompleteResponseError, ResponseError
from llama_dashscope._models import Chunk

from .accumulator import StreamAccumulator
from .failure import ResponseHead, protocol_error
from .request import Payload
from .response import check_whole, read_body, read_event
from .sse import BOM, Decoder, EventTooLargeError, ServerSentEvent

__all__ = ["Item", "MakeItems", "StreamParser", "chunks_of"]

NO_EVENTS: Final = frozenset({b"{", b"[", b"<"})
"""First bytes that no event stream has: this is JSON or HTML, whatever the content type says."""

Item = TypeVar("Item")
"""What a stream yields."""

MakeItems = Callable[[ResponseHead, dict[str, Any], list[Chunk], StreamAccumulator], list[Item]]
"""A function that returns the items of a frame. Its arguments: the stream's head, the frame's
payload, its chunks, and the answer so far."""


def chunks_of(
    head: ResponseHead, payload: dict[str, Any], chunks: list[Chunk], answer: StreamAccumulator
) -> list[Chunk]:
    """Return the chunks of a frame unchanged."""
    del head, payload, answer
    return chunks


class StreamParser(Generic[Item]):
    """Reads a streamed answer, or an unstreamed one that the service sends instead.

    Args:
        head: the head of the answer.
        payload: the request.
        make: returns the items of a frame.
        max_frame_size: the largest frame, or unstreamed answer, in bytes.
    """

    __slots__ = (
        "_body",
        "_decoder",
        "_head",
        "_items",
        "_make",
        "_max_size",
        "_recognised",
        "answer",
        "ended",
        "failure",
    )

    def __init__(
        self,
        head: ResponseHead,
        payload: Payload,
        make: MakeItems[Item],
        max_frame_size: int = 1 << 20,
    ) -> None:
        """Start after the head of the answer."""
        self._head = head
        self._make = make
        self._max_size = max_frame_size
        self._decoder = Decoder(max_frame_size)
        self._items: list[Item] = []
        self._recognised = False
        self._body: bytearray | None = None
        self.answer = StreamAccumulator(
            incremental=payload.incremental, choices=payload.choices, request_id=head.request_id
        )
        self.failure: DashScopeError | None = None
        """The error that ended the stream; items before it may not have been taken yet."""
        self.ended = False

    @property
    def begun(self) -> bool:
        """Whether there are items to take and any part of an answer has arrived."""
        return bool(self._items) and self.answer.begun

    @property
    def request_id(self) -> str:
        """The service's id of this request, safe to show."""
        return self._head.shown_name(self.answer.request_id)

    @property
    def arrived(self) -> int:
        """How many items have not been taken yet."""
        return len(self._items)

    def take(self) -> list[Item]:
        """Return and remove the items that have not been taken yet."""
        items, self._items = self._items, []
        return items

    def feed(self, data: bytes) -> bool:
        """Add bytes of the answer; tell whether they hold more than heartbeats."""
        if not self._recognised and (begin := data.removeprefix(BOM).lstrip()):
            self._recognised = True
            if begin[:1] in NO_EVENTS:
                self._body = bytearray()
        if self._body is not None:
            return self._feed_body(self._body, data)
        try:
            events = self._decoder.feed(data)
        except EventTooLargeError as error:
            self._read(error.events)
            self.failure = self.failure or self._refuse(
                f"the answer does not follow the protocol: {error} (limits.max_frame_size)"
            )
            return True
        return self._read(events)

    def _feed_body(self, body: bytearray, data: bytes) -> bool:
        body += data
        if len(body) > self._max_size:
            self.failure = self._refuse(
                f"the answer is not a stream and is larger than {self._max_size} bytes"
            )
        return True

    def finish(self, broken: DashScopeError | None = None) -> None:
        """End the answer; the last event may be cut short.

        An answer that has its finish_reason is complete, however its connection ended.

        Args:
            broken: the error that broke the connection; None if it ended normally.
        """
        self.ended = True
        if self._body is not None:
            self.failure = broken or self._read_body(bytes(self._body))
            return
        self._read(self._decoder.finish())
        if isinstance(self.failure, ResponseError):
            self.failure = None  # the frame was cut in two; the error below says so
        if self.failure is None and not (self.answer.finished if broken else self.answer.whole):
            self.failure = broken or IncompleteResponseError(
                "the stream ended before its finish_reason; partial_text has the text received",
                status_code=self._head.status,
            )

    def read(self, event: ServerSentEvent) -> list[Item] | None:
        """Read one event and return its items; None if it is empty.

        Raises:
            APIStatusError: the event is an error, whatever its event name.
            ResponseError: the event does not follow the protocol.
        """
        payload = read_event(self._head, event)
        if payload is None:
            return None
        return self._make(self._head, payload, self._add(payload, event.data), self.answer)

    def _read(self, events: list[ServerSentEvent]) -> bool:
        """Read events; tell whether any of them was more than a heartbeat."""
        heard = False
        try:
            for event in events:
                items = self.read(event)
                if items is not None:
                    heard = True
                    self._items += items
        except DashScopeError as error:
            self.failure = error
            return True
        return heard

    def _read_body(self, body: bytes) -> DashScopeError | None:
        """Read an answer that was not streamed although a stream was requested."""
        try:
            payload = read_body(self._head, body)
            chunks = self._add(payload, body)
            check_whole(self._head, payload, body)
            self._items += self._make(self._head, payload, chunks, self.answer)
        except DashScopeError as error:
            return error
        return None

    def _add(self, payload: dict[str, Any], data: bytes) -> list[Chunk]:
        try:
            return self.answer.add(payload)
        except ValueError as error:
            raise protocol_error(self._head, str(error), data) from error

    def _refuse(self, why: str) -> ResponseError:
        return ResponseError(why, status_code=self._head.status)
