"""Both directions of one exchange: a call's headers out; answers, frames and errors in.

What the service sends is recognised by what it is and not by its label: error bodies come as JSON,
as server-sent events, as JSON with status 200, nested as in the compatible mode, or as a gateway's
HTML.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs

from llama_dashscope._errors import (
    IncompleteResponseError,
)
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

__all__ = ["read_event", "read_response"]

T = TypeVar("T")

SAYS_NOTHING: Final = frozenset({b"", b"{}", b"[DONE]"})
"""Data of events without a word in it; the official SDKs skip the last of them too."""


def read_response(head: ResponseHead, body: bytes) -> Response:
    """Read a whole answer.

    Raises:
        APIStatusError: the body is an error, in any of its forms.
        ResponseError: the body is not the protocol.
        IncompleteResponseError: the service says itself that the answer is cut short.
    """
    payload = read_payload(body)
    if payload is None or payload.get("output") is None or is_error(payload):
        raise read_failure(head, body)
    known = {"status_code": head.status, "request_id": find_request_id(head, payload)}
    try:
        response = structure({**payload, **known}, Response)
    except ValueError as error:
        raise not_the_protocol(head, str(error), body) from error
    if missing := _missing(payload["output"]):
        raise not_the_protocol(head, missing, body)
    _check_whole(head, payload, response)
    return response


def _missing(output: dict[str, Any]) -> str:
    """Say what keeps an output from being an answer; empty where nothing does."""
    if output.get("text") is not None:
        return ""
    choices = output.get("choices")
    if not choices:
        return "an output with neither text nor choices"
    return "a choice without a message" if any(c.get("message") is None for c in choices) else ""


def _check_whole(head: ResponseHead, payload: dict[str, Any], response: Response) -> None:
    """Refuse an answer that is marked as cut short."""
    partial = head.headers.get(PARTIAL, "").lower() == "true"
    output = payload["output"]
    reasons = [c.get("finish_reason") for c in output.get("choices") or (output,)]
    if partial or "null" in reasons:
        error = IncompleteResponseError(
            "the service gave up before the answer was whole; partial_text has what there is",
            status_code=head.status,
            request_id=response.request_id,
        )
        error.partial_text, error.usage = response.text, response.usage
        raise error


def read_event(
    head: ResponseHead, event: ServerSentEvent, read: Callable[[dict[str, Any]], T]
) -> T | None:
    """Read one frame of a stream; None for one that says nothing.

    Args:
        head: the head of the answer.
        event: the frame.
        read: what makes something of its payload, or a ValueError.

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
    try:
        return read(payload)
    except ValueError as error:
        raise not_the_protocol(head, str(error), event.data) from error
