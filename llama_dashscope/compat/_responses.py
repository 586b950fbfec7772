"""What becomes a response of `Generation`: a whole answer, each frame of a stream, a refusal."""

import sys
from http import HTTPStatus
from typing import Any, Final

import attrs

from llama_dashscope._errors import APIStatusError
from llama_dashscope._models import Choice, Chunk
from llama_dashscope._protocol.accumulator import StreamAccumulator
from llama_dashscope._protocol.payload import as_object
from llama_dashscope._protocol.stream_payload import StreamPayload, read_frame

from .response_types import (
    GenerationOutput,
    GenerationResponse,
    GenerationUsage,
    with_attributes,
)

__all__ = ["FrameResponses", "GrowingResponses", "Step", "answered", "refused"]

UNKNOWN: Final = "Unknown"
"""The official SDK's code for an error that comes without one."""

# Before Python 3.11 an HTTPStatus prints as its name, and programs print the status of a refusal.
STATUSES: Final[dict[int, int]] = (
    {each.value: each for each in HTTPStatus} if sys.version_info >= (3, 11) else {}
)


def answered(payload: dict[str, Any], request_id: str) -> GenerationResponse:
    """Make the response of an answer, or of a frame of one, as the service sent it.

    Args:
        payload: what the service sent.
        request_id: the service's name for the call.
    """
    return GenerationResponse(
        HTTPStatus.OK,
        request_id,
        output=GenerationOutput(**(as_object(payload.get("output")) or {})),
        usage=GenerationUsage(**(as_object(payload.get("usage")) or {})),
    )


def grown(payload: dict[str, Any], request_id: str, answer: "FrameResponses") -> GenerationResponse:
    """Make the response of a frame with everything that its answers have said so far."""
    response = answered(payload, request_id)
    output = response.output
    if not output.choices:
        output.text = answer.text
    for at, choice in enumerate(output.choices or ()):
        whole = answer.choice(choice.get("index", at)).message
        said = choice.message
        said.content = whole.content
        if whole.tool_calls:
            said.tool_calls = [with_attributes(call.to_dict()) for call in whole.tool_calls]
        if thought := whole.extra.get("reasoning_content"):
            said.reasoning_content = thought
    return response


@attrs.frozen
class Step(Chunk):
    """A chunk that carries the response of its frame."""

    response: GenerationResponse = attrs.field(kw_only=True)
    """The frame as a response."""


def _step(frame: StreamPayload, response: GenerationResponse) -> Step:
    """Make the chunk that carries a response, with what tells that an answer has begun."""
    reasons = (piece.finish_reason for piece in frame.pieces if piece.finish_reason)
    calls = tuple(call for piece in frame.pieces for call in piece.tool_calls)
    text = "".join(piece.text for piece in frame.pieces)
    return Step(text, "", next(reasons, None), tool_calls=calls or None, response=response)


class FrameResponses(StreamAccumulator):
    """Makes one response of each frame, as the frame stands."""

    def add(self, payload: dict[str, Any]) -> list[Chunk]:
        """Take a frame and return its response, in a chunk.

        Raises:
            ValueError: the payload is no frame, or contradicts the frames before it.
        """
        frame = read_frame(payload)
        self.merge(frame)
        return [_step(frame, self._response(payload))]

    def choice(self, index: int) -> Choice:
        """Return one of the answers, as far as it has come."""
        return self._answers[index].whole()

    def _response(self, payload: dict[str, Any]) -> GenerationResponse:
        return answered(payload, self.request_id)


class GrowingResponses(FrameResponses):
    """Makes one response of each frame, with everything that its answers have said so far."""

    def _response(self, payload: dict[str, Any]) -> GenerationResponse:
        return grown(payload, self.request_id, self)


def refused(error: APIStatusError) -> GenerationResponse:
    """Make the response of an error of the service: it has a code, a message and no output."""
    status = max(error.status_code or 0, HTTPStatus.BAD_REQUEST.value)
    return GenerationResponse(
        STATUSES.get(status, status), error.request_id, error.code or UNKNOWN, error.message
    )
