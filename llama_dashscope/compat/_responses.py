"""What `Generation` returns: the response of a call, of each frame of a stream, of a refusal."""

from http import HTTPStatus
from typing import Any, cast

import attrs

from llama_dashscope._errors import APIStatusError
from llama_dashscope._models import Choice, Chunk, Output, Response, Usage
from llama_dashscope._protocol.accumulator import StreamAccumulator
from llama_dashscope._protocol.converter import structure
from llama_dashscope._protocol.stream_payload import StreamPayload, read_frame

__all__ = ["CumulativeResponses", "FrameResponses", "Step", "answered", "refused"]

UNKNOWN = "Unknown"
"""The official SDK's code for an error that comes without one."""


@attrs.frozen
class Step(Chunk):
    """A chunk that carries the response of its frame."""

    response: Response = attrs.field(factory=Response, kw_only=True)
    """The frame as a response."""


def _step(frame: StreamPayload, response: Response) -> Step:
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
        response = _spoken(payload)
        response = attrs.evolve(
            response, request_id=self.request_id, output=self._shown(frame, response.output)
        )
        return [_step(frame, answered(response))]

    def _shown(self, frame: StreamPayload, output: Output) -> Output:
        """Return what the caller sees of a frame's output."""
        del frame
        return output


class CumulativeResponses(FrameResponses):
    """Makes one response of each frame, with everything that its answers have said so far."""

    def _shown(self, frame: StreamPayload, output: Output) -> Output:
        if not output.choices:
            return attrs.evolve(output, text=self.text)
        places = zip(frame.pieces, output.choices, strict=True)
        choices = tuple(self._grown(piece.answer, choice) for piece, choice in places)
        return attrs.evolve(output, choices=choices)

    def _grown(self, answer: int, choice: Choice) -> Choice:
        whole = self._answers[answer].whole()
        return attrs.evolve(whole, finish_reason=choice.finish_reason)


def _spoken(payload: dict[str, Any]) -> Response:
    """Read a frame, its finish_reason as it was sent: programs wait for it not to be "null"."""
    response = structure(payload, Response)
    output: Output = response.output
    sent: dict[str, Any] = payload.get("output") or {}
    choices = output.choices
    if choices:
        choices = tuple(
            attrs.evolve(choice, finish_reason=each.get("finish_reason"))
            for choice, each in zip(choices, sent["choices"], strict=True)
        )
    output = attrs.evolve(output, finish_reason=sent.get("finish_reason"), choices=choices)
    return attrs.evolve(response, output=output)


def answered(response: Response) -> Response:
    """Return a response with a usage, of zeros where the service counted nothing."""
    return response if response.usage else attrs.evolve(response, usage=Usage())


def refused(error: APIStatusError) -> Response:
    """Return an error of the service as a response: it has a code, a message and no output.

    That `output` is None then is what the official SDK's users test for; the annotation of
    `Response.output` speaks of answers.
    """
    status = max(error.status_code or 0, HTTPStatus.BAD_REQUEST.value)
    return Response(
        status, error.request_id, error.code or UNKNOWN, error.message, cast("Output", None)
    )
