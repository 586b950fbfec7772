"""Makes the responses of `Generation` from answers, frames of streams, and errors."""

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

# Programs print the status of an error; before Python 3.11 an HTTPStatus would print as its name.
STATUSES: Final[dict[int, int]] = (
    {each.value: each for each in HTTPStatus} if sys.version_info >= (3, 11) else {}
)


def whole_response(head: ResponseHead, body: bytes) -> tuple[GenerationResponse, Usage | None]:
    """Read an answer that is not streamed; return its response and its usage.

    Raises:
        APIStatusError: the body is an error, in any of its forms.
        ResponseError: the body does not follow the protocol.
        IncompleteResponseError: the service itself marks the answer as cut short.
    """
    payload = read_body(head, body)
    try:
        usage = read_frame(payload).usage
    except ValueError as error:
        raise protocol_error(head, str(error), body) from error
    check_whole(head, payload, body)
    return _answered(head, payload, payload["request_id"]), usage


def _answered(head: ResponseHead, payload: dict[str, Any], request_id: str) -> GenerationResponse:
    """Return the response of an answer or of a frame, as the service sent it."""
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
    """Return one response with the content of a frame; a `MakeItems`."""
    del chunks
    return [_answered(head, payload, answer.request_id)]


def growing_responses(
    head: ResponseHead, payload: dict[str, Any], chunks: list[Chunk], answer: StreamAccumulator
) -> list[GenerationResponse]:
    """Return one response with all text of a frame's answers so far; a `MakeItems`."""
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
    """Return the response for an error of the service, with code and message but no output."""
    status = max(error.status_code or 0, HTTPStatus.BAD_REQUEST.value)
    return GenerationResponse(
        STATUSES.get(status, status), error.request_id, error.code or UNKNOWN, error.message
    )
