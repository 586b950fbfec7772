"""Reads answers and frames of streams, and tells them from errors.

An error is recognised by its content, not by its content type or status: it may come as JSON, as
server-sent events, as JSON with status 200, nested as in the compatible mode, or as a gateway's
HTML.
"""

from typing import Any, Final

import attrs

from llama_dashscope._errors import IncompleteResponseError
from llama_dashscope._models import Response

from .converter import structure
from .failure import (
    PARTIAL,
    ResponseHead,
    find_request_id,
    is_error,
    protocol_error,
    read_failure,
    service_error,
)
from .payload import read_payload
from .sse import ERROR_STATUS, ServerSentEvent

__all__ = ["check_whole", "read_body", "read_event", "read_response"]

EMPTY_EVENTS: Final = frozenset({b"", b"{}", b"[DONE]"})
"""Data of events that carry nothing; the official SDKs skip `[DONE]` too."""


def read_response(head: ResponseHead, body: bytes) -> Response:
    """Read an answer that is not streamed.

    Raises:
        APIStatusError: the body is an error, in any of its forms.
        ResponseError: the body does not follow the protocol.
        IncompleteResponseError: the service itself marks the answer as cut short.
    """
    payload = read_body(head, body)
    try:
        response = structure(payload, Response)
    except ValueError as error:
        raise protocol_error(head, str(error), body) from error
    check_whole(head, payload, body)
    return response


def read_body(head: ResponseHead, body: bytes) -> dict[str, Any]:
    """Read the body of an answer that is not streamed, only far enough to recognise an error.

    Raises:
        APIStatusError: the body is an error, in any of its forms.
        ResponseError: the body does not follow the protocol.
    """
    payload = read_payload(body)
    if payload is None or payload.get("output") is None or is_error(payload):
        raise read_failure(head, body)
    payload.update(status_code=head.status, request_id=find_request_id(head, payload))
    return payload


def check_whole(head: ResponseHead, payload: dict[str, Any], body: bytes) -> None:
    """Raise if a part of an answer is missing.

    Args:
        head: the head of the answer.
        payload: its payload, whose types have been checked.
        body: the bytes that it was read from.

    Raises:
        ResponseError: the text, the choices or a choice's message is missing.
        IncompleteResponseError: the service itself marks the answer as cut short.
    """
    if missing := _missing(payload["output"]):
        raise protocol_error(head, missing, body)
    _check_marks(head, payload)


def _missing(output: dict[str, Any]) -> str:
    """Say what is missing in an output; empty if nothing is."""
    if output.get("text") is not None:
        return ""
    choices = output.get("choices")
    if not choices:
        return "an output with neither text nor choices"
    return "a choice without a message" if any(c.get("message") is None for c in choices) else ""


def _check_marks(head: ResponseHead, payload: dict[str, Any]) -> None:
    """Raise if the answer is marked as cut short."""
    partial = head.headers.get(PARTIAL, "").lower() == "true"
    output = payload["output"]
    reasons = [c.get("finish_reason") for c in output.get("choices") or (output,)]
    if partial or "null" in reasons:
        response = structure(payload, Response)
        error = IncompleteResponseError(
            "the service stopped before the answer was complete; partial_text has what it sent",
            status_code=head.status,
            request_id=response.request_id,
        )
        error.partial_text, error.usage = response.text, response.usage
        raise error


def read_event(head: ResponseHead, event: ServerSentEvent) -> dict[str, Any] | None:
    """Read the payload of one frame of a stream; None if the frame is empty.

    Raises:
        APIStatusError: the frame is an error, whatever its event name.
        ResponseError: the frame does not follow the protocol.
    """
    refused = event.name == "error" or (event.status or 0) >= ERROR_STATUS
    payload = read_payload(event.data, is_frame=True)
    if refused or (payload is not None and is_error(payload)):
        head = attrs.evolve(head, status=event.status or head.status)
        raise service_error(head, payload or {}, event.data)
    if payload is None or (payload.get("output") is None and payload.get("usage") is None):
        if event.name == "done" or event.data.strip() in EMPTY_EVENTS:
            return None
        what = "that is not a JSON object" if payload is None else "without output"
        raise protocol_error(head, f"a frame {what}", event.data)
    return payload
