"""The status page at `/`: shows the server's requests live in a browser."""

import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Any

from llama_dashscope.testing._service import responses
from llama_dashscope.testing._service.exchange import Exchange
from llama_dashscope.testing._service.received_request import ReceivedRequest, printable
from llama_dashscope.testing._service.response_plan import ResponsePlan

SHOWN = 200
_PAGE, _STATUS, _EXCHANGE = "/", "/status.json", "/exchange.json"
_LONGEST_BODY = 64 * 1024  # bytes
_GZIP = b"\x1f\x8b"
_SECRETS = {"authorization", "cookie"}
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("cache-control", "no-store"),
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
)


def serves(method: str, target: str) -> bool:
    """Tell whether a request is for the status page, so not for the service or its log."""
    return method in {"GET", "HEAD"} and target.partition("?")[0] in {_PAGE, _STATUS, _EXCHANGE}


def answer(
    request: ReceivedRequest,
    status: Callable[[], dict[str, Any]],
    exchanges: Callable[[], list[Exchange]],
) -> ResponsePlan:
    """Answer with the page, with the status that the page polls, or with one exchange."""
    path, _, query = request.path.partition("?")
    kind, code = "application/json", 200
    if path == _STATUS:
        body = responses.to_json(status())
    elif path == _EXCHANGE:
        shown = [each for each in exchanges()[-SHOWN:] if f"number={each.request.number}" == query]
        code = 200 if shown else 404
        body = responses.to_json(detail(shown[0]) if shown else {})
    else:
        kind, body = "text/html; charset=utf-8", _html()
    return responses.body_answer(request, body, status=code, content_type=kind, headers=_HEADERS)


def describe(exchange: Exchange) -> dict[str, Any]:
    """Return the summary of one exchange for the page."""
    request = exchange.request
    spent = (exchange.ended or time.monotonic()) - exchange.started
    return {
        "number": request.number,
        "received": exchange.received,
        "what": request.title,
        "text": request.excerpt,
        "stream": request.streaming,
        "status": exchange.status,
        "outcome": exchange.outcome,
        "fault": str(exchange.fault) if exchange.fault else None,
        "error": exchange.shown_error,
        "pieces": exchange.pieces_sent,
        "ms": round(spent * 1000),
    }


def detail(exchange: Exchange) -> dict[str, Any]:
    """Return the request and the answer of one exchange, without the key."""
    request = exchange.request
    headers = {
        name: "***" if name in _SECRETS else value for name, value in request.headers.items()
    }
    return {
        "line": printable(f"{request.method} {request.path}"),
        "headers": headers,
        "body": _text(request.body),
        "answer": _text(bytes(exchange.answer or b"")),
    }


def _text(body: bytes) -> str:
    """Return the beginning of a body, decompressed if it is gzipped."""
    if body.startswith(_GZIP):
        with suppress(zlib.error):  # it only looks like gzip
            body = zlib.decompressobj(wbits=31).decompress(body, _LONGEST_BODY)
    return body[:_LONGEST_BODY].decode("utf-8", "replace")


def newest(exchanges: list[Exchange]) -> list[dict[str, Any]]:
    """Return summaries of the last exchanges, newest first."""
    return [describe(exchange) for exchange in exchanges[: -SHOWN - 1 : -1]]


@cache
def _html() -> bytes:
    return files("llama_dashscope.testing._http_server").joinpath("page.html").read_bytes()
