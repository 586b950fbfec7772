"""Turns the frames of a stream into chunks, and all of them into one response."""

from collections.abc import Mapping
from typing import Any, Final

from llama_dashscope._models import (
    Choice,
    Chunk,
    GrowingText,
    LazyText,
    Message,
    Output,
    Response,
    ToolCall,
    Usage,
)

from .deltas import DeltaDetector, TextAccumulator
from .stream_payload import ChoiceDelta, FastPayload, StreamPayload, read_fast, read_frame
from .surrogates import SurrogateJoiner
from .tool_calls import ToolCallAccumulator

__all__ = ["StreamAccumulator"]

REASONING: Final = "reasoning_content"
"""The only message field besides its text that a stream sends in pieces."""


class StreamAccumulator:
    """Turns the frames of one stream into chunks and into one response.

    Args:
        incremental: whether pieces were requested (`incremental_output`). None if the request
            left it open: then frames that contradict each other are read as pieces.
        choices: how many answers were requested (`n`).
        request_id: the id from the HTTP headers, for frames that have none.
    """

    __slots__ = (
        "_answers",
        "_as_choices",
        "_done",
        "_expected",
        "_incremental",
        "_joiner",
        "_of_frame",
        "_of_output",
        "_sole",
        "request_id",
        "usage",
    )

    def __init__(self, *, incremental: bool | None, choices: int = 1, request_id: str = "") -> None:
        """Start before the first frame."""
        self._incremental = incremental
        self._expected = choices
        self._done = 0
        self._joiner = SurrogateJoiner()
        self._answers: dict[int, _ChoiceAccumulator] = {}
        self._as_choices = False
        self._sole: _ChoiceAccumulator | None = None
        self._of_frame: dict[str, Any] = {}
        self._of_output: dict[str, Any] = {}
        self.request_id: str = request_id
        self.usage: Usage | None = None

    def add(self, payload: dict[str, Any]) -> list[Chunk]:
        """Add a frame and return the chunks that are ready.

        Raises:
            ValueError: the payload is not a frame, or contradicts the frames before it.
        """
        if self._sole is not None and (usual := read_fast(payload)) is not None:
            return [self._add_fast(self._sole, usual)]
        self._joiner.join(payload)
        return self.merge(read_frame(payload))

    def _add_fast(self, answer: "_ChoiceAccumulator", usual: FastPayload) -> Chunk:
        """Add a frame of the usual form to the only answer, whose mode of delivery is known."""
        text, reason, self.usage, request_id = usual
        self.request_id = request_id or self.request_id
        if reason is not None and answer.finish_reason is None:
            self._done += 1
        return answer.take_fast(text, reason, self.usage, self.request_id)

    def merge(self, frame: StreamPayload) -> list[Chunk]:
        """Add a frame that `read_frame` has parsed; see `add`."""
        self.request_id = frame.request_id or self.request_id
        self.usage = frame.usage or self.usage
        self._as_choices = self._as_choices or frame.as_choices
        if frame.of_frame or frame.of_output:
            self._of_frame.update(frame.of_frame)
            self._of_output.update(frame.of_output)
        if not frame.pieces:
            extra = {**frame.of_frame, **frame.of_output}
            first = self._first
            text = LazyText(first.growing) if first else ""
            return [Chunk("", text, None, frame.usage, self.request_id, extra=extra)]
        chunks: list[Chunk] = []
        for piece in frame.pieces:
            answer = self._answers.get(piece.answer) or self._open(piece.answer)
            if piece.finish_reason is not None and answer.finish_reason is None:
                self._done += 1
            chunks += answer.take(frame, piece, self.request_id)
        first = self._answers.get(0)
        settled = self._as_choices and not self._joiner.is_waiting
        self._sole = first if settled and first and first.clear else None
        return chunks

    def _open(self, index: int) -> "_ChoiceAccumulator":
        if len(self._answers) >= self._expected:
            msg = f"the stream has more answers than the {self._expected} requested (n)"
            raise ValueError(msg)
        self._answers[index] = made = _ChoiceAccumulator(incremental=self._incremental)
        return made

    @property
    def begun(self) -> bool:
        """Whether any part of an answer has arrived, a model's reasoning included."""
        return any(answer.begun for answer in self._answers.values())

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """The finish_reason of each answer that has ended."""
        reasons = (self._answers[index].finish_reason for index in sorted(self._answers))
        return tuple(reason for reason in reasons if reason)

    @property
    def finished(self) -> bool:
        """Whether every requested answer has its finish_reason, so that no more text can come."""
        return self._done >= self._expected

    @property
    def whole(self) -> bool:
        """Whether every answer begun has its finish_reason; there may be fewer than requested."""
        return self._done == len(self._answers) > 0

    @property
    def _first(self) -> "_ChoiceAccumulator | None":
        return self._answers[min(self._answers)] if self._answers else None

    @property
    def text(self) -> str:
        """The text of the first answer so far."""
        return self._first.text if self._first else ""

    def choice(self, index: int) -> Choice:
        """Return all that has arrived of one answer."""
        return self._answers[index].whole()

    def response(self) -> Response:
        """Return everything that has arrived as one response."""
        choices = tuple(self._answers[index].whole() for index in sorted(self._answers))
        if self._as_choices:
            output = Output(choices=choices, extra=dict(self._of_output))
        else:
            reason = choices[0].finish_reason if choices else None
            output = Output(self.text, reason, extra=dict(self._of_output))
        return Response(
            request_id=self.request_id,
            output=output,
            usage=self.usage,
            extra=dict(self._of_frame),
        )


class _ChoiceAccumulator:
    """One answer of the stream, as far as it has arrived."""

    __slots__ = (
        "_deltas",
        "_incremental",
        "_index",
        "_role",
        "_side_fields",
        "_waiting",
        "finish_reason",
        "growing",
    )

    def __init__(self, *, incremental: bool | None) -> None:
        self._incremental = incremental
        self._deltas = DeltaDetector(incremental=incremental)
        self._index: int | None = None
        self.growing = GrowingText()
        self._waiting: list[tuple[StreamPayload, ChoiceDelta, str]] = []
        self._side_fields: _SideFields | None = None
        self._role = ""
        self.finish_reason: str | None = None

    def take(self, frame: StreamPayload, piece: ChoiceDelta, request_id: str) -> list[Chunk]:
        """Add this answer's part of a frame and return the chunks that are ready."""
        last = piece.finish_reason is not None
        deltas = self._deltas.take(piece.text, last=last)
        if piece.tool_calls or piece.of_choice or piece.of_message:
            self._side_fields = self._side_fields or _SideFields(incremental=self._incremental)
            self._side_fields.take(piece, last=last)
        if last:
            self.finish_reason = piece.finish_reason
        self._role = self._role or piece.role
        self._index = piece.sent_index if self._index is None else self._index
        if len(deltas) == 1 and not self._waiting:
            return [self._chunk(deltas[0], frame, piece, request_id)]
        self._waiting.append((frame, piece, request_id))
        chunks = [self._chunk(delta, *self._waiting[at]) for at, delta in enumerate(deltas)]
        del self._waiting[: len(deltas)]
        return chunks

    @property
    def begun(self) -> bool:
        """Whether any part of the answer has arrived."""
        side = self._side_fields is not None and self._side_fields.begun
        return bool(self.text or self.finish_reason) or side

    @property
    def clear(self) -> bool:
        """Whether each further frame gives its chunk at once."""
        return self._deltas.settled and not self._waiting

    def take_fast(self, text: str, reason: str | None, usage: Usage, request_id: str) -> Chunk:
        """Add a frame of the usual form, once this answer is `clear`, and return its chunk."""
        delta = self._deltas.take_settled(text)
        if delta:
            self.growing.append(delta)
        if reason is not None:
            self.finish_reason = reason
        return Chunk(delta, LazyText(self.growing), reason, usage, request_id)

    def _chunk(
        self, delta: str, frame: StreamPayload, piece: ChoiceDelta, request_id: str
    ) -> Chunk:
        if delta:
            self.growing.append(delta)
        return Chunk(
            delta,
            LazyText(self.growing),
            piece.finish_reason,
            frame.usage,
            request_id,
            piece.answer,
            piece.tool_calls or None,
            extra=_flat(frame.of_frame, frame.of_output, piece.of_choice, piece.of_message),
        )

    @property
    def text(self) -> str:
        """All text that has arrived, including deltas that are held back."""
        return "".join([str(self.growing), *self._deltas.held()])

    def whole(self) -> Choice:
        """Return the answer as a choice."""
        side = self._side_fields or _SideFields(incremental=self._incremental)
        extra = side.of_message()
        named = [extra.pop(name, None) for name in ("tool_call_id", "name")]
        calls = side.calls()
        message = Message(self._role or "assistant", self.text, calls, *named, extra=extra)
        return Choice(self.finish_reason, message, self._index, extra=dict(side.of_choice))


class _SideFields:
    """Everything in an answer besides its text: tool calls, reasoning, unknown fields."""

    def __init__(self, *, incremental: bool | None) -> None:
        self._calls = ToolCallAccumulator(incremental=incremental)
        self._reasoning = TextAccumulator(incremental=incremental)
        self._of_message: dict[str, Any] = {}
        self.of_choice: dict[str, Any] = {}

    def take(self, piece: ChoiceDelta, *, last: bool) -> None:
        """Add everything in a piece besides its text."""
        self._calls.take(piece.tool_calls, last=last)
        if isinstance(thought := piece.of_message.get(REASONING), str):
            self._reasoning.take(thought, last=last)
        self.of_choice.update(piece.of_choice)
        self._of_message.update(piece.of_message)

    @property
    def begun(self) -> bool:
        """Whether there is a tool call or a piece of reasoning."""
        return bool(self._calls.whole() or self._reasoning.whole())

    def calls(self) -> tuple[ToolCall, ...] | None:
        """Return the tool calls in order; None if there are none."""
        return self._calls.whole() or None

    def of_message(self) -> dict[str, Any]:
        """Return the message's unknown fields, with its complete reasoning."""
        extra = dict(self._of_message)
        if thought := self._reasoning.whole():
            extra[REASONING] = thought
        return extra


def _flat(*levels: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for level in levels if level for key, value in level.items()}
