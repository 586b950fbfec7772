"""Answers and frames of streams, told from errors.

What the service sends is recognised by what it is and not by its label: error bodies come as JSON,
as server-sent events, as JSON with status 200, nested as in the compatible mode, or as a gateway's
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
    not_the_protocol,
    read_failure,
    service_error,
)
from .payload import read_payload
from .sse import REFUSED, ServerSentEvent

__all__ = ["check_whole", "read_body", "read_event", "read_response"]

SAYS_NOTHING: Final = frozenset({b"", b"{}", b"[DONE]"})
"""Data of events without a word in it; the official SDKs skip the last of them too."""


def read_response(head: ResponseHead, body: bytes) -> Response:
    """Read a whole answer.

    Raises:
        APIStatusError: the body is an error, in any of its forms.
        ResponseError: the body is not the protocol.
        IncompleteResponseError: the service says itself that the answer is cut short.
    """
    payload = read_body(head, body)
    try:
        response = structure(payload, Response)
    except ValueError as error:
        raise not_the_protocol(head, str(error), body) from error
    check_whole(head, payload, body)
    return response


def read_body(head: ResponseHead, body: bytes) -> dict[str, Any]:
    """Read the body of a whole answer as far as it can be told from an error.

    Raises:
        APIStatusError: the body is an error, in any of its forms.
        ResponseError: the body is not the protocol.
    """
    payload = read_payload(body)
    if payload is None or payload.get("output") is None or is_error(payload):
        raise read_failure(head, body)
    return {**payload, "status_code": head.status, "request_id": find_request_id(head, payload)}


def check_whole(head: ResponseHead, payload: dict[str, Any], body: bytes) -> None:
    """Refuse an answer in one piece of which a part is missing.

    Args:
        head: the head of the answer.
        payload: its payload, of the types that the protocol has.
        body: the bytes that it was read from.

    Raises:
        ResponseError: there is no text or no message where one belongs.
        IncompleteResponseError: the service says itself that the answer is cut short.
    """
    if missing := _missing(payload["output"]):
        raise not_the_protocol(head, missing, body)
    _check_marks(head, payload)


def _missing(output: dict[str, Any]) -> str:
    """Say what keeps an output from being an answer; empty where nothing does."""
    if output.get("text") is not None:
        return ""
    choices = output.get("choices")
    if not choices:
        return "an output with neither text nor choices"
    return "a choice without a message" if any(c.get("message") is None for c in choices) else ""


def _check_marks(head: ResponseHead, payload: dict[str, Any]) -> None:
    """Refuse an answer that is marked as cut short."""
    partial = head.headers.get(PARTIAL, "").lower() == "true"
    output = payload["output"]
    reasons = [c.get("finish_reason") for c in output.get("choices") or (output,)]
    if partial or "null" in reasons:
        response = structure(payload, Response)
        error = IncompleteResponseError(
            "the service gave up before the answer was whole; partial_text has what there is",
            status_code=head.status,
            request_id=response.request_id,
        )
        error.partial_text, error.usage = response.text, response.usage
        raise error


def read_event(head: ResponseHead, event: ServerSentEvent) -> dict[str, Any] | None:
    """Read the payload of one frame of a stream; None for one that says nothing.

    Raises:
        APIStatusError: the frame is an error, whatever its name.
        ResponseError: the frame is not the protocol.
    """
    refused = event.name == "error" or (event.status or 0) >= REFUSED
    payload = read_payload(event.data, is_frame=True)
    if refused or (payload is not None and is_error(payload)):
        head = attrs.evolve(head, status=event.status or head.status)
        raise service_error(head, payload or {}, event.data)
    if payload is None or (payload.get("output") is None and payload.get("usage") is None):
        if event.name == "done" or event.data.strip() in SAYS_NOTHING:
            return None
        what = "that is not a JSON object" if payload is None else "without output"
        raise not_the_protocol(head, f"a frame {what}", event.data)
    return payload
