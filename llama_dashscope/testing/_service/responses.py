"""Payloads and frames exactly as the service writes them, byte for byte.

They follow recorded answers: compact JSON, no escapes for non-ASCII characters, no space after
`id:`, `event:` and `data:`, the status in a comment, a blank line after every frame.
"""

import gzip
import json
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any

from .received_request import ReceivedRequest, as_dict, parse_json
from .response_plan import BodyPart, Headers, ResponsePlan
from .rules import Refusal

Payload = dict[str, Any]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_GZIP_FROM = 256  # gzip makes smaller bodies longer


def to_json(payload: Payload) -> bytes:
    """Return a payload as JSON, formatted as by the service."""
    return _encode(payload).encode("utf-8", "replace")


def frame(number: int, payload: Payload, status: int = 200, event: str = "result") -> bytes:
    """Return one frame of a stream."""
    head = f"id:{number}\nevent:{event}\n:HTTP_STATUS/{status}\ndata:"
    return b"%b%b\n\n" % (head.encode(), to_json(payload))


def error_payload(problem: Refusal, request_id: str) -> Payload:
    """Return the payload of an error."""
    return {"code": problem.code, "message": problem.message, "request_id": request_id}


def error_part(number: int, problem: Refusal, request_id: str) -> BodyPart:
    """Return the error frame of a stream."""
    payload = error_payload(problem, request_id)
    return BodyPart(frame(number, payload, problem.status, "error"), failed=True)


def is_error(payload: object) -> bool:
    """Tell whether a payload is an error, whatever the HTTP status."""
    return bool(as_dict(payload).get("code"))


def reports_error(body: bytes) -> bool:
    """Tell whether a body is an error, or a stream with an error frame."""
    frames = [line[5:] for line in body.splitlines() if line.startswith(b"data:")]
    return any(is_error(parse_json(each)) for each in [body, *frames])


def json_answer(
    request: ReceivedRequest,
    payload: Payload,
    *,
    status: int = 200,
    at: float = 0.0,
    headers: Headers = (),
) -> ResponsePlan:
    """Return an answer with one JSON body, `at` seconds after the request."""
    return body_answer(
        request,
        to_json(payload),
        status=status,
        at=at,
        request_id=payload["request_id"],
        headers=headers,
        failed=is_error(payload),
    )


def body_answer(
    request: ReceivedRequest,
    body: bytes,
    *,
    status: int,
    request_id: str | None = None,
    content_type: str = "application/json",
    at: float = 0.0,
    headers: Headers = (),
    failed: bool = False,
) -> ResponsePlan:
    """Return an answer with a body of known length; without a request id it is a gateway's."""
    service = _service_headers(request_id, finished=True, ms=at * 1000) if request_id else ()
    zipped = request.accepts_gzip and len(body) >= _GZIP_FROM
    if zipped:
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers = (*headers, ("content-encoding", "gzip"))
    length = (("content-type", content_type), ("content-length", str(len(body))))
    headers = (*service, *length, *headers, *_closing(request))
    piece = BodyPart(b"" if request.method == "HEAD" else body, at, failed=failed)
    return ResponsePlan(status, headers, (piece,), keep=request.keeps_alive)


def bare_answer(request: ReceivedRequest, status: int, headers: Headers = ()) -> ResponsePlan:
    """Return an answer without a body, like a gateway's for an unknown path."""
    length = ("content-length", "0")
    headers = (length, *headers, *_closing(request))
    return ResponsePlan(status, headers, (), keep=request.keeps_alive)


def stream_answer(
    request: ReceivedRequest,
    pieces: Iterable[BodyPart] | AsyncGenerator[BodyPart, None],
    request_id: str,
    *,
    status: int = 200,
    headers: Headers = (),
) -> ResponsePlan:
    """Return an answer with a stream of frames."""
    chunked = request.http_version == "HTTP/1.1"
    framing: Headers = (("transfer-encoding", "chunked"),) if chunked else ()
    zipped: Headers = (("content-encoding", "gzip"),) if chunked and request.accepts_gzip else ()
    service = _service_headers(request_id, finished=False, ms=0)
    kind = ("content-type", "text/event-stream;charset=UTF-8")
    return ResponsePlan(
        status,
        (*service, kind, *framing, *zipped, *headers, *_closing(request)),
        pieces,
        framing="chunked" if chunked else "raw",
        gzip=bool(zipped),
        keep=request.keeps_alive,
    )


def refusal(
    request: ReceivedRequest,
    problem: Refusal,
    request_id: str,
    *,
    headers: Headers = (),
) -> ResponsePlan:
    """Return a refusal: a status and JSON, or for a stream HTTP 200 and an error frame."""
    if request.streaming and not problem.before_model:
        piece = error_part(1, problem, request_id)
        return stream_answer(request, (piece,), request_id, headers=headers)
    payload = error_payload(problem, request_id)
    return json_answer(request, payload, status=problem.status, headers=headers)


def frames(payloads: Iterable[Payload], times: Iterable[float]) -> Iterator[BodyPart]:
    """Yield the numbered frames of a stream, each with its time."""
    for number, (payload, at) in enumerate(zip(payloads, times, strict=False), 1):
        yield BodyPart(frame(number, payload), at)


def _service_headers(request_id: str, *, finished: bool, ms: float) -> Headers:
    now, cost = int(time.time() * 1000), str(int(ms) + 1)
    return (
        ("x-request-id", request_id),
        ("x-dashscope-call-gateway", "true"),
        ("x-dashscope-timeout", "180"),
        ("x-dashscope-finished", "true" if finished else "false"),
        ("req-cost-time", cost),
        ("req-arrive-time", str(now)),
        ("resp-start-time", str(now + int(ms))),
        ("x-envoy-upstream-service-time", cost),
        ("server", "istio-envoy"),
        ("set-cookie", f"acw_tc={request_id}; path=/; HttpOnly; Max-Age=1800"),
    )


def _closing(request: ReceivedRequest) -> Headers:
    return () if request.keeps_alive else (("connection", "close"),)
