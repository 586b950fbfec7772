"""Errors as HTTP responses: what the browser may see, and what is only logged."""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import attrs
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from llama_dashscope import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ConfigurationError,
    DashScopeError,
    InternalServerError,
    InvalidRequestError,
    RateLimitError,
    RequestTooLargeError,
    ServiceUnavailableError,
)

__all__ = ["PROBLEMS", "Problem", "add_exception_handlers"]

MEDIA_TYPE: Final = "application/problem+json"

WAIT: Final = 60
"""`Retry-After` in seconds for a 429 without one: the service's limits are per minute
(https://help.aliyun.com/zh/model-studio/rate-limit)."""

logger: Final = logging.getLogger("llama_dashscope")


LONGEST_WAIT: Final = 24 * 60 * 60
"""The longest `Retry-After`, in seconds; no quota of the service has a longer period."""

LONGEST_PATH: Final = 200
"""Most characters of a request's path that are logged."""


class _Rule(NamedTuple):
    """How an error is shown: its status, and a sentence in place of the service's message."""

    status: int
    sentence: str = ""


# Looked up by the error's class, then by its bases.
RULES: Final[Mapping[type, _Rule]] = {
    InvalidRequestError: _Rule(400),
    BadRequestError: _Rule(400),
    RequestTooLargeError: _Rule(413),
    RateLimitError: _Rule(429),
    DashScopeError: _Rule(502, "The model service gave no answer that can be used."),
    ConfigurationError: _Rule(502, "This application can't use the model service."),
    APIStatusError: _Rule(502, "The model service refused this application's call."),
    APIConnectionError: _Rule(503, "The model service can't be reached, or its answer broke off."),
    InternalServerError: _Rule(503, "The model service failed."),
    ServiceUnavailableError: _Rule(503, "The model service has no capacity right now."),
    APITimeoutError: _Rule(504, "The model service took too long."),
}


@attrs.frozen
class Problem:
    """An error as a browser may see it: no key, no address, nothing about the account."""

    status: int
    """HTTP status."""
    code: str
    """The service's code if it is meant for the browser; else the name of the HTTP status."""
    message: str
    """What went wrong."""
    request_id: str
    """The service's id of the request; empty if it sent none."""
    retry_after: int | None = None
    """Seconds to wait before the next attempt."""

    @classmethod
    def of(cls, error: DashScopeError) -> "Problem":
        """Return the part of an error that a browser may see."""
        rule = next(RULES[kind] for kind in type(error).__mro__ if kind in RULES)
        phrase = HTTPStatus(rule.status).phrase
        code, message = ("", rule.sentence) if rule.sentence else _words(error)
        return cls(
            rule.status,
            code or phrase.replace(" ", ""),
            message or phrase,
            error.request_id,
            _wait(rule.status, error.retry_after),
        )

    def to_event(self) -> dict[str, Any]:
        """Return the data of an event in a stream."""
        return {
            "status": self.status,
            "code": self.code,
            "message": self.message,
            "request_id": self.request_id,
        }

    def to_response(self) -> JSONResponse:
        """Return the HTTP response, in the form of https://www.rfc-editor.org/rfc/rfc9457."""
        document = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.message,
            "code": self.code,
            "request_id": self.request_id,
        }
        wait = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return JSONResponse(document, self.status, wait, MEDIA_TYPE)


def _words(error: DashScopeError) -> tuple[str, str]:
    """Return the code and the message of an error if they are meant for a browser."""
    if isinstance(error, InvalidRequestError):  # after ", got" it shows the application's data
        return error.code, error.message.partition(", got ")[0]
    # Without a code it is not the service's error, but perhaps a gateway's page, which may name
    # internal hosts.
    return (error.code, error.message) if error.code[:1].isalpha() else ("", "")


def _wait(status: int, asked: float | None) -> int | None:
    """Return the seconds of `Retry-After`, or None for a response without one."""
    if asked is None or math.isnan(asked):
        return WAIT if status == HTTPStatus.TOO_MANY_REQUESTS else None
    return math.ceil(min(max(asked, 0), LONGEST_WAIT))


def log(error: DashScopeError, path: str, problem: Problem) -> None:
    """Log the whole error, of which the browser sees only a part."""
    level = logging.WARNING if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.DEBUG
    shown = repr(path[:LONGEST_PATH])[1:-1]  # the server has decoded it, so it may have line breaks
    logger.log(level, "%s answers %d: %s: %s", shown, problem.status, type(error).__name__, error)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DashScopeError)  # noqa: S101  # FastAPI's types know only Exception
    problem = Problem.of(error)
    log(error, request.scope["path"], problem)
    return problem.to_response()


def add_exception_handlers(app: FastAPI) -> None:
    """Answer with problem+json if a handler raises an error of the client.

    400 for refused content and bad input, 413, 429 with Retry-After; 502 for problems with key,
    account or protocol, 503 for failures of the service, 504 for timeouts. The last three don't
    show the cause, which is logged as a warning by the logger `llama_dashscope`.

    Args:
        app: the application; `FastAPI(responses=PROBLEMS)` adds these to its OpenAPI schema.
    """
    app.add_exception_handler(DashScopeError, _handle)


def _schema() -> dict[str, Any]:
    members = {name: {"type": "string"} for name in ("type", "title", "detail", "code")}
    members |= {"status": {"type": "integer"}, "request_id": {"type": "string"}}
    return {"title": "Problem", "type": "object", "properties": members, "required": list(members)}


def _document(status: int, description: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": _schema()}},
    }
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = {"description": "Seconds to wait", "schema": {"type": "integer"}}
        shown["headers"] = {"Retry-After": wait}
    return shown


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: _document(status, description)
    for status, description in {
        400: "The content or the input was refused",
        413: "The input is too large",
        429: "Too much at once",
        502: "The model service refused this application's call or gave no usable answer",
        503: "The model service failed or can't be reached",
        504: "The model service took too long",
    }.items()
}
"""The error responses of `add_exception_handlers`, for `responses=` of an application or route."""
