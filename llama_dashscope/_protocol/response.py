"""Both directions of one exchange: a call's headers out; answers, frames and errors in.

What the service sends is recognised by what it is and not by its label: error bodies come as JSON,
as server-sent events, as JSON with status 200, nested as in the compatible mode, or as a gateway's
HTML.
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

import attrs

from llama_dashscope._errors import (
    APIStatusError,
    AuthenticationError,
    DashScopeError,
    IncompleteResponseError,
    ResponseError,
    classify,
)
from llama_dashscope._models import Response
from llama_dashscope._settings import ApiKey

from .converter import structure
from .sse import BOM, REFUSED, Decoder, Event

__all__ = [
    "PATH",
    "READ",
    "Head",
    "read_event",
    "read_failure",
    "read_response",
    "request_headers",
]

T = TypeVar("T")

PATH: Final = "/services/aigc/text-generation/generation"
"""Appended to the base address; the same route for every text model."""

REQUEST_ID: Final = "x-request-id"
RETRY_AFTER: Final = "retry-after"
PARTIAL: Final = "x-dashscope-partialresponse"
READ: Final = frozenset({REQUEST_ID, RETRY_AFTER, PARTIAL})
"""The response headers that say something; nothing else of a head need be kept."""

SAYS_NOTHING: Final = frozenset({b"", b"{}", b"[DONE]"})
"""Data of events without a word in it; the official SDKs skip the last of them too."""

NO_ANSWER: Final[tuple[object, ...]] = (None, "", "null", [])
"""What the fields of an output may be where an error code stands in place of an answer."""

SPACE: Final = " \t\r\n"
"""What may stand around a JSON value."""

read_json: Final = json.JSONDecoder().raw_decode
"""Reads the JSON value that a text begins with; half the work of `json.loads`."""

SECONDS: Final = re.compile(r"\s*-?[0-9.]+(e[0-9]+)?\s*", re.ASCII)

SHOWN: Final = 300
"""How much of a body that is not the protocol an error shows, in characters."""


def request_headers(
    key: ApiKey, workspace: str | None, *, streaming: bool
) -> list[tuple[str, str]]:
    """Return the headers that the service reads, in lower case."""
    headers = [("authorization", f"Bearer {key.reveal()}"), ("content-type", "application/json")]
    if streaming:
        # Either of the two turns streaming on, by different editions of the documentation.
        headers += [("x-dashscope-sse", "enable"), ("accept", "text/event-stream")]
    else:
        headers.append(("accept", "application/json"))
    if workspace:
        headers.append(("x-dashscope-workspace", workspace))
    return headers


@attrs.frozen
class Head:
    """The head of an answer, and what an error about it should say."""

    status: int
    headers: Mapping[str, str]
    """Response headers, those in `READ` at least, found in lower case."""
    key: ApiKey
    host: str

    @property
    def request_id(self) -> str:
        """The service's name for this call; bodies have it too, most of the time."""
        return self.headers.get(REQUEST_ID, "")

    @property
    def failed(self) -> bool:
        """Whether the status alone says that this is no answer."""
        return not HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


def read_response(head: Head, body: bytes) -> Response:
    """Read a whole answer.

    Raises:
        APIStatusError: the body is an error, in any of its forms.
        ResponseError: the body is not the protocol.
        IncompleteResponseError: the service says itself that the answer is cut short.
    """
    payload = _payload(body)
    if payload is None or payload.get("output") is None or _is_error(payload):
        raise read_failure(head, body)
    known = {"status_code": head.status, "request_id": _request_id(head, payload)}
    try:
        response = structure({**payload, **known}, Response)
    except ValueError as error:
        raise _no_protocol(head, str(error), body) from error
    if missing := _missing(payload["output"]):
        raise _no_protocol(head, missing, body)
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


def _check_whole(head: Head, payload: dict[str, Any], response: Response) -> None:
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


def read_event(head: Head, event: Event, read: Callable[[dict[str, Any]], T]) -> T | None:
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
    payload = _payload(event.data)
    if refused or (payload is not None and _is_error(payload)):
        head = attrs.evolve(head, status=event.status or head.status)
        raise _failure(head, payload or {}, event.data)
    if payload is None or (payload.get("output") is None and payload.get("usage") is None):
        if event.name == "done" or event.data.strip() in SAYS_NOTHING:
            return None
        what = "that is not a JSON object" if payload is None else "without output"
        raise _no_protocol(head, f"a frame {what}", event.data)
    try:
        return read(payload)
    except ValueError as error:
        raise _no_protocol(head, str(error), event.data) from error


def read_failure(head: Head, body: bytes) -> DashScopeError:
    """Read an error answer: JSON, events, or whatever a gateway says."""
    payload = _payload(body)
    status = head.status
    if payload is None:
        for event in _events(body):
            payload = _payload(event.data)
            if (event.status or 0) >= REFUSED:
                status = event.status or status
            if payload is not None and _is_error(payload):
                break
    head = attrs.evolve(head, status=status)
    if head.failed or (payload is not None and _is_error(payload)):
        return _failure(head, payload or {}, body)
    return _no_protocol(head, _why_no_answer(payload, body), body)


def _why_no_answer(payload: dict[str, Any] | None, body: bytes) -> str:
    if not body.strip():
        return "an empty body"
    if payload is None:
        return "a body that is no JSON object"
    if payload.get("output") is None:
        return "JSON without an output"
    return "server-sent events, which nobody asked for"


def _events(body: bytes) -> Iterator[Event]:
    decoder = Decoder(max_size=max(len(body), 1))
    yield from decoder.feed(body)
    yield from decoder.finish()


def _payload(data: bytes) -> dict[str, Any] | None:
    try:
        text = data.removeprefix(BOM).decode().strip(SPACE)
        payload, end = read_json(text)
    except (ValueError, RecursionError):
        return None
    return _object(payload) if end == len(text) else None


def _object(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _is_error(payload: dict[str, Any]) -> bool:
    if not payload.get("code") and not payload.get("error"):
        return False
    output = _object(payload.get("output")) or {}
    return all(output.get(name) in NO_ANSWER for name in ("text", "choices", "finish_reason"))


def _failure(head: Head, payload: dict[str, Any], body: bytes) -> APIStatusError:
    """Make the error that a payload describes."""
    nested = payload.get("error")
    inner = _object(nested) or {}
    detail = {**payload, **{key: value for key, value in inner.items() if value is not None}}
    code = _words(detail.get("code") or detail.get("type"))
    message = _words(detail.get("message") or (None if isinstance(nested, dict) else nested))
    verdict = classify(code, message, head.status)
    message = message or _gist(head, body) or _reason(verdict.status)
    hint = ""
    if verdict.error is AuthenticationError:
        hint = f"is the key for {head.host}? each region has its own keys and address"
    return verdict.error(
        head.key.redact(message),
        code=head.key.redact(code),
        status_code=verdict.status or None,
        request_id=head.key.redact(_request_id(head, detail)),
        hint=hint,
        retryable=verdict.retryable,
        retry_after=_retry_after(head.headers),
    )


def _no_protocol(head: Head, what: str, body: bytes) -> ResponseError:
    gist = _gist(head, body)
    return ResponseError(
        f"the answer is not the protocol: {head.key.redact(what)}{': ' if gist else ''}{gist}",
        status_code=head.status,
        request_id=head.key.redact(_request_id(head, _payload(body) or {})),
    )


def _request_id(head: Head, payload: dict[str, Any]) -> str:
    return _words(payload.get("request_id") or payload.get("requestId")) or head.request_id


def _words(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _gist(head: Head, body: bytes) -> str:
    """Return the beginning of a body; the key is taken out first, as half of it is no match."""
    text = head.key.redact(" ".join(body.decode("utf-8", "replace").split()))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how many seconds the service asks to wait; never below 0, None where it is unclear.

    No recorded answer of the service has such a header; gateways before it may send one.
    """
    value = headers.get(RETRY_AFTER, "")
    try:
        seconds = float(value) if SECONDS.fullmatch(value) else _seconds_until(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float:
    when = parsedate_to_datetime(date)
    # Two of HTTP's three spellings of a date name no zone; all of them mean UTC.
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp() - time.time()
