"""What becomes a response of `Generation`: a whole answer, each frame of a stream, a refusal."""

import sys
from http import HTTPStatus
from typing import Any, Final

from llama_dashscope._errors import APIStatusError
from llama_dashscope._models import Chunk
from llama_dashscope._protocol.accumulator import StreamAccumulator
from llama_dashscope._protocol.converter import is_count
from llama_dashscope._protocol.payload import as_object

from .response_types import (
    GenerationOutput,
    GenerationResponse,
    GenerationUsage,
    with_attributes,
)

__all__ = ["answered", "frame_responses", "growing_responses", "refused"]

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


def frame_responses(
    payload: dict[str, Any], chunks: list[Chunk], answer: StreamAccumulator
) -> list[GenerationResponse]:
    """Make the one response of a frame, as the frame stands; see `MakeItems`."""
    del chunks
    return [answered(payload, answer.request_id)]


def growing_responses(
    payload: dict[str, Any], chunks: list[Chunk], answer: StreamAccumulator
) -> list[GenerationResponse]:
    """Make the one response of a frame, with everything that its answers have said so far."""
    del chunks
    response = answered(payload, answer.request_id)
    output = response.output
    if not output.choices:
        output.text = answer.text
    for at, choice in enumerate(output.choices or ()):
        index: Any = choice.get("index")
        whole = answer.choice(int(index) if is_count(index) else at).message
        said = choice.message
        said.content = whole.content
        if whole.tool_calls:
            said.tool_calls = [with_attributes(call.to_dict()) for call in whole.tool_calls]
        if thought := whole.extra.get("reasoning_content"):
            said.reasoning_content = thought
    return [response]


def refused(error: APIStatusError) -> GenerationResponse:
    """Make the response of an error of the service: it has a code, a message and no output."""
    status = max(error.status_code or 0, HTTPStatus.BAD_REQUEST.value)
    return GenerationResponse(
        STATUSES.get(status, status), error.request_id, error.code or UNKNOWN, error.message
    )
