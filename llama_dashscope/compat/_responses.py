"""What becomes a response of `Generation`: a whole answer, each frame of a stream, a refusal."""

import sys
from http import HTTPStatus
from typing import Any, Final

from llama_dashscope._errors import APIStatusError
from llama_dashscope._models import Chunk, Usage
from llama_dashscope._protocol.accumulator import StreamAccumulator
from llama_dashscope._protocol.converter import is_count
from llama_dashscope._protocol.failure import ResponseHead, protocol_error
from llama_dashscope._protocol.payload import as_object
from llama_dashscope._protocol.response import check_whole, read_body
from llama_dashscope._protocol.stream_payload import read_frame

from .response_types import (
    GenerationOutput,
    GenerationResponse,
    GenerationUsage,
    with_attributes,
)

__all__ = ["frame_responses", "growing_responses", "refused", "whole_response"]

UNKNOWN: Final = "Unknown"
"""The official SDK's code for an error that comes without one."""

# Before Python 3.11 an HTTPStatus prints as its name, and programs print the status of a refusal.
STATUSES: Final[dict[int, int]] = (
    {each.value: each for each in HTTPStatus} if sys.version_info >= (3, 11) else {}
)


def whole_response(head: ResponseHead, body: bytes) -> tuple[GenerationResponse, Usage | None]:
    """Read a whole answer, and the tokens that it cost.

    Raises:
        APIStatusError: the body is an error, in any of its forms.
        ResponseError: the body does not follow the protocol.
        IncompleteResponseError: the service says itself that the answer is cut short.
    """
    payload = read_body(head, body)
    try:
        usage = read_frame(payload).usage
    except ValueError as error:
        raise protocol_error(head, str(error), body) from error
    check_whole(head, payload, body)
    return _answered(head, payload, payload["request_id"]), usage


def _answered(head: ResponseHead, payload: dict[str, Any], request_id: str) -> GenerationResponse:
    """Make the response of an answer, or of a frame of one, as the service sent it."""
    return GenerationResponse(
        HTTPStatus.OK,
        request_id,
        output=GenerationOutput(**(as_object(payload.get("output")) or {})),
        usage=GenerationUsage(**(as_object(payload.get("usage")) or {})),
        headers={name.lower(): value for name, value in head.headers.items()},
    )


def frame_responses(
    head: ResponseHead, payload: dict[str, Any], chunks: list[Chunk], answer: StreamAccumulator
) -> list[GenerationResponse]:
    """Make the one response of a frame, as the frame stands; see `MakeItems`."""
    del chunks
    return [_answered(head, payload, answer.request_id)]


def growing_responses(
    head: ResponseHead, payload: dict[str, Any], chunks: list[Chunk], answer: StreamAccumulator
) -> list[GenerationResponse]:
    """Make the one response of a frame, with everything that its answers have said so far."""
    del chunks
    response = _answered(head, payload, answer.request_id)
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
