"""Reads errors in all their forms: JSON, events, nested as in compatible mode, a gateway's page."""

import math
import re
import time
from collections.abc import Iterator, Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import attrs

from llama_dashscope._errors import (
    APIStatusError,
    AuthenticationError,
    DashScopeError,
    ResponseError,
)
from llama_dashscope._sanitize import LONGEST_MESSAGE, LONGEST_NAME, sanitize
from llama_dashscope._settings import ApiKey

from .error_codes import classify
from .payload import as_object, as_text, read_payload
from .sse import ERROR_STATUS, Decoder, ServerSentEvent

__all__ = [
    "PARTIAL",
    "READ_HEADERS",
    "SECONDS",
    "ResponseHead",
    "find_request_id",
    "is_error",
    "protocol_error",
    "read_failure",
    "service_error",
]

REQUEST_ID: Final = "x-request-id"

RETRY_AFTER: Final = "retry-after"

PARTIAL: Final = "x-dashscope-partialresponse"

READ_HEADERS: Final = frozenset({REQUEST_ID, RETRY_AFTER, PARTIAL})
"""The only response headers that are read."""

NO_ANSWER: Final[tuple[object, ...]] = (None, "", "null", [])
"""Values of output fields that mean "no answer"; a payload with an error code is then an error."""

SECONDS: Final = re.compile(r"\s*-?[0-9.]+(e[0-9]+)?\s*", re.ASCII)

SHOWN: Final = 300
"""How much of an unreadable body an error shows, in characters."""


@attrs.define
class ResponseHead:
    """Status and headers of an answer, with what errors need: the key to redact, and the host."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)  # they may echo the key
    """Response headers by their lower-case names: at least those in `READ_HEADERS`."""
    key: ApiKey
    host: str

    @property
    def request_id(self) -> str:
        """The service's id of this request, from the headers; most bodies have it too."""
        found = self.headers.get(REQUEST_ID, "")
        return found and self.shown_name(found)

    def shown_name(self, name: str) -> str:
        """Return an error code or a request id, sanitized as by `shown`."""
        return self.shown(name, LONGEST_NAME)

    def shown(self, text: str, limit: int = LONGEST_MESSAGE) -> str:
        """Return text from the service, with the key redacted and safe to print."""
        return sanitize(text, (self.key.reveal(),), limit)

    @property
    def failed(self) -> bool:
        """Whether the status is an error by itself."""
        return not HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


def read_failure(head: ResponseHead, body: bytes) -> DashScopeError:
    """Return the error that a body holds: JSON, events, or a gateway's page."""
    payload = read_payload(body)
    status = head.status
    if payload is None:
        for event in _events(body):
            payload = read_payload(event.data)
            if (event.status or 0) >= ERROR_STATUS:
                status = event.status or status
            if payload is not None and is_error(payload):
                break
    head = attrs.evolve(head, status=status)
    if head.failed or (payload is not None and is_error(payload)):
        return service_error(head, payload or {}, body)
    return protocol_error(head, _why_no_answer(payload, body), body)


def _why_no_answer(payload: dict[str, Any] | None, body: bytes) -> str:
    if not body.strip():
        return "an empty body"
    if payload is None:
        return "a body that is not a JSON object"
    if payload.get("output") is None:
        return "JSON without an output"
    return "server-sent events, which were not requested"


def _events(body: bytes) -> Iterator[ServerSentEvent]:
    decoder = Decoder(max_size=max(len(body), 1))
    yield from decoder.feed(body)
    yield from decoder.finish()


def is_error(payload: dict[str, Any]) -> bool:
    if not payload.get("code") and not payload.get("error"):
        return False
    output = as_object(payload.get("output")) or {}
    return all(output.get(name) in NO_ANSWER for name in ("text", "choices", "finish_reason"))


def service_error(head: ResponseHead, payload: dict[str, Any], body: bytes) -> APIStatusError:
    """Return the error that a payload describes."""
    nested = payload.get("error")
    inner = as_object(nested) or {}
    detail = {**payload, **{key: value for key, value in inner.items() if value is not None}}
    code = as_text(detail.get("code") or detail.get("type"))
    message = as_text(detail.get("message") or (None if isinstance(nested, dict) else nested))
    verdict = classify(code, message, head.status)
    message = message or _gist(head, body) or _reason(verdict.status)
    hint = ""
    if verdict.error is AuthenticationError:
        hint = f"is the key for {head.host}? each region has its own keys and address"
    return verdict.error(
        head.shown(message),
        code=head.shown_name(code),
        status_code=verdict.status or None,
        request_id=find_request_id(head, detail),
        hint=hint,
        retryable=verdict.retryable,
        retry_after=_retry_after(head.headers),
    )


def protocol_error(head: ResponseHead, what: str, body: bytes) -> ResponseError:
    gist = _gist(head, body)
    return ResponseError(
        f"the answer does not follow the protocol: {head.shown(what)}{': ' if gist else ''}{gist}",
        status_code=head.status,
        request_id=find_request_id(head, read_payload(body) or {}),
    )


def find_request_id(head: ResponseHead, payload: dict[str, Any]) -> str:
    named = as_text(payload.get("request_id") or payload.get("requestId"))
    return head.shown_name(named) or head.request_id


def _gist(head: ResponseHead, body: bytes) -> str:
    """Return the beginning of a body, safe to show."""
    return head.shown(body[: 16 * SHOWN].decode("utf-8", "replace"), SHOWN)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds Retry-After asks to wait, at least 0; None if it is unreadable.

    No recorded answer of the service has this header; gateways in front of it may send it.
    """
    value = headers.get(RETRY_AFTER, "")
    try:
        seconds = float(value) if SECONDS.fullmatch(value) else _seconds_until(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float:
    when = parsedate_to_datetime(date)
    # Two of HTTP's three date formats have no time zone; all of them mean UTC.
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp() - time.time()
