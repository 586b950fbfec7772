"""The service's error codes: the exception for each one, and whether a retry may help.

Source: "Error codes" in Alibaba Cloud Model Studio's documentation
(https://help.aliyun.com/zh/model-studio/error-code), its old and new editions combined.
"""

import re
from http import HTTPStatus
from typing import Final, NamedTuple

from llama_dashscope._errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ContentFilterError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitError,
    RequestTooLargeError,
    ServiceUnavailableError,
)

__all__ = ["classify"]


class ErrorKind(NamedTuple):
    """What an error means: its exception class, whether a retry may help, its usual status."""

    error: type[APIStatusError]
    retryable: bool
    status: int


def _final(error: type[APIStatusError], status: int) -> ErrorKind:
    return ErrorKind(error, retryable=False, status=status)


def _passing(error: type[APIStatusError], status: int) -> ErrorKind:
    return ErrorKind(error, retryable=True, status=status)


# Lower-case code -> kind of error; a status before the code limits the entry to that status. A code
# that is not listed is looked up without its last dotted part, then by HTTP status, since the
# service adds dotted codes faster than any table can follow.
CODES: Final[dict[str, ErrorKind]] = {
    "invalidparameter": _final(BadRequestError, 400),
    "invalidparameter.datainspection": _final(ContentFilterError, 400),
    "datainspectionfailed": _final(ContentFilterError, 400),
    "data_inspection_failed": _final(ContentFilterError, 400),
    "badrequest": _final(BadRequestError, 400),
    "badrequest.toolarge": _final(RequestTooLargeError, 413),
    "invalidurl": _final(BadRequestError, 400),
    "unsupportedoperation": _final(BadRequestError, 400),
    "faqruleblocked": _final(ContentFilterError, 400),
    "customroleblocked": _final(ContentFilterError, 400),
    # Despite its name this means empty content or a bad role, except with status 503.
    "serviceunavailableerror": _final(BadRequestError, 400),
    "503 serviceunavailableerror": _passing(ServiceUnavailableError, 503),
    "arrearage": _final(QuotaExhaustedError, 400),
    "invalidapikey": _final(AuthenticationError, 401),
    "invalid_api_key": _final(AuthenticationError, 401),
    "not authorized": _final(AuthenticationError, 401),
    "accessdenied": _final(PermissionDeniedError, 403),
    "model.accessdenied": _final(PermissionDeniedError, 403),
    "workspace.accessdenied": _final(PermissionDeniedError, 403),
    "app.accessdenied": _final(PermissionDeniedError, 403),
    "endpoint.accessdenied": _final(PermissionDeniedError, 403),
    "allocationquota.freetieronly": _final(QuotaExhaustedError, 403),
    "modelnotfound": _final(NotFoundError, 404),
    "model_not_found": _final(NotFoundError, 404),
    "model.notexist": _final(NotFoundError, 404),
    "workspacenotfound": _final(NotFoundError, 404),
    "notfound": _final(NotFoundError, 404),
    "requesttimeout": _passing(InternalServerError, 500),
    "throttling": _passing(RateLimitError, 429),
    "limitrequests": _passing(RateLimitError, 429),
    "limit_requests": _passing(RateLimitError, 429),
    # Despite its name a rate limit, which clears within about a minute. A used-up free quota has
    # the same code and is told apart by its message, see MESSAGES.
    "insufficient_quota": _passing(RateLimitError, 429),
    "commoditynotpurchased": _final(QuotaExhaustedError, 429),
    "prepaidbilloverdue": _final(QuotaExhaustedError, 429),
    "postpaidbilloverdue": _final(QuotaExhaustedError, 429),
    "internalerror": _passing(InternalServerError, 500),
    "systemerror": _passing(InternalServerError, 500),
    "modelservicefailed": _passing(InternalServerError, 500),
    "modelservingerror": _passing(ServiceUnavailableError, 503),
    "modelunavailable": _passing(ServiceUnavailableError, 503),
    "serviceunavailable": _passing(ServiceUnavailableError, 503),
    "gatewaytimeout": _passing(InternalServerError, 504),
}

STATUSES: Final[dict[int, ErrorKind]] = {
    400: _final(BadRequestError, 400),
    401: _final(AuthenticationError, 401),
    402: _final(QuotaExhaustedError, 402),
    403: _final(PermissionDeniedError, 403),
    404: _final(NotFoundError, 404),
    408: _final(InternalServerError, 408),
    413: _final(RequestTooLargeError, 413),
    415: _final(BadRequestError, 415),
    422: _final(BadRequestError, 422),
    429: _passing(RateLimitError, 429),
    500: _passing(InternalServerError, 500),
    502: _passing(InternalServerError, 502),
    503: _passing(ServiceUnavailableError, 503),
    504: _passing(InternalServerError, 504),
}

# Phrases in the message that override the code; case is ignored.
MESSAGES: Final[tuple[tuple[str, ErrorKind], ...]] = (
    ("free allocated quota exceeded", _final(QuotaExhaustedError, 429)),
    # Sent if the last message is not the user's.
    ("list index out of range", _final(InternalServerError, 500)),
)

SERVER_ERROR: Final = 500
"""HTTP statuses from here on mean that the service failed; lower ones blame the request."""

_REAL_STATUS: Final = re.compile(r"\s*<([45]\d{2})>", re.ASCII)


def classify(code: str, message: str, status: int | None) -> ErrorKind:
    """Return the kind of an error, with the `status` to show.

    Args:
        code: the service's code, in upper or lower case; may be empty.
        message: the service's message. It may override the code, and may begin with the real status
            in angle brackets, as in `<400> InternalError.Algo.InvalidParameter: ...`.
        status: the HTTP status, or the status that a stream's frame names; None if unknown.
    """
    words = message.lower()
    marked = _REAL_STATUS.match(message)
    shown = int(marked[1]) if marked else status
    verdict = next((verdict for phrase, verdict in MESSAGES if phrase in words), None)
    if verdict is None:
        verdict = _by_code(code, shown)
    if verdict is None or (marked and verdict.status != shown) or _contradicts(verdict, shown):
        verdict = _by_status(shown)
    return (
        verdict
        if shown is None or shown < HTTPStatus.BAD_REQUEST
        else verdict._replace(status=shown)
    )


def _contradicts(verdict: ErrorKind, status: int | None) -> bool:
    """Tell whether the code blames the service but the status blames the request.

    The status is right then.
    """
    blamed = status is not None and HTTPStatus.BAD_REQUEST <= status < SERVER_ERROR
    return blamed and verdict.status >= SERVER_ERROR and status != HTTPStatus.REQUEST_TIMEOUT


def _by_code(code: str, status: int | None) -> ErrorKind | None:
    name = code.strip().lower()
    while name:
        verdict = CODES.get(f"{status} {name}") or CODES.get(name)
        if verdict:
            return verdict
        name = name.rpartition(".")[0]
    return None


def _by_status(status: int | None) -> ErrorKind:
    if status in STATUSES:
        return STATUSES[status]
    if status is not None and status >= SERVER_ERROR:
        return _final(InternalServerError, status)
    return _final(APIStatusError, status or 0)
