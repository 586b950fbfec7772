"""Errors as HTTP: what the browser is told, and what stays between the service and us."""

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
"""Seconds to ask for after a 429 that names none: the service's limits count by the minute
(https://help.aliyun.com/zh/model-studio/rate-limit)."""

logger: Final = logging.getLogger("llama_dashscope")


LONGEST_WAIT: Final = 24 * 60 * 60
"""The longest `Retry-After`, in seconds; no quota of the service has a longer period."""

LONGEST_PATH: Final = 200
"""How many characters of a request's path go into the log."""


class _Rule(NamedTuple):
    """What an error becomes: a status, and a sentence where the service's own words stay here."""

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
    APIConnectionError: _Rule(503, "The model service can't be reached, or broke off."),
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
    """The service's code, where its words are meant for the browser; else the status's name."""
    message: str
    """What went wrong."""
    request_id: str
    """The service's name for the call; empty where it gave none."""
    retry_after: int | None = None
    """Seconds to wait before the next try."""

    @classmethod
    def of(cls, error: DashScopeError) -> "Problem":
        """Say of an error what a browser may know."""
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
    """Return the code and the message of an error, as far as they are meant for a browser."""
    if isinstance(error, InvalidRequestError):  # what follows shows an object of the application
        return error.code, error.message.partition(", got ")[0]
    # An answer without a code of the service is not the service's. It may be a gateway's page,
    # which names what stands behind it.
    return (error.code, error.message) if error.code[:1].isalpha() else ("", "")


def _wait(status: int, asked: float | None) -> int | None:
    """Return the seconds of `Retry-After`, or None for a response without one."""
    if asked is None or math.isnan(asked):
        return WAIT if status == HTTPStatus.TOO_MANY_REQUESTS else None
    return math.ceil(min(max(asked, 0), LONGEST_WAIT))


def log(error: DashScopeError, path: str, problem: Problem) -> None:
    """Tell the application's owner what the browser is not told."""
    level = logging.WARNING if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.DEBUG
    shown = repr(path[:LONGEST_PATH])[1:-1]  # a server has decoded it: %0a is a line break again
    logger.log(level, "%s answers %d: %s: %s", shown, problem.status, type(error).__name__, error)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DashScopeError)  # noqa: S101  # FastAPI's types know only Exception
    problem = Problem.of(error)
    log(error, request.scope["path"], problem)
    return problem.to_response()


def add_exception_handlers(app: FastAPI) -> None:
    """Answer with problem+json where a handler lets an error of the client pass.

    400 for refused content and bad input, 413, 429 with Retry-After; 502 where key, account or
    protocol are in trouble, 503 where the service is, 504 where it took too long. The last three
    say nothing of the cause, which goes to the logger `llama_dashscope` as a warning.

    Args:
        app: the application; give it `responses=PROBLEMS` to show the same in its OpenAPI schema.
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
"""The answers of `add_exception_handlers`, for `responses=` of an application, router or route."""
