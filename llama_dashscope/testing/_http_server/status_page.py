"""The status page at `/`: what the server sees, live, for a browser."""

import time
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from llama_dashscope.testing._service import responses
from llama_dashscope.testing._service.exchange import Exchange
from llama_dashscope.testing._service.received_request import ReceivedRequest
from llama_dashscope.testing._service.response_plan import ResponsePlan

STATUS = "/status.json"
_SHOWN = 200
_HEADERS = (
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
)


def serves(method: str, target: str) -> bool:
    """Whether a request is for the page, and so no matter of the service or its log."""
    return method in {"GET", "HEAD"} and target.partition("?")[0] in {"/", STATUS}


def answer(request: ReceivedRequest, status: Callable[[], dict[str, Any]]) -> ResponsePlan:
    """Answer with the page, or with the status that it asks for again and again."""
    if request.path.partition("?")[0] == STATUS:
        kind, body = "application/json", responses.to_json(status())
    else:
        kind, body = "text/html; charset=utf-8", _html()
    return responses.body_answer(request, body, status=200, content_type=kind, headers=_HEADERS)


def describe(exchange: Exchange) -> dict[str, Any]:
    """Tell of one exchange what the page shows."""
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


def newest(exchanges: list[Exchange]) -> list[dict[str, Any]]:
    """Tell of the last exchanges, the newest first."""
    return [describe(exchange) for exchange in exchanges[: -_SHOWN - 1 : -1]]


@cache
def _html() -> bytes:
    return files("llama_dashscope.testing._http_server").joinpath("page.html").read_bytes()
