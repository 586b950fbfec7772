"""What can go wrong, drawn as a tree, and how the service's codes map onto it.

::

    DashScopeError
    ├── ConfigurationError              the client itself is set up wrong: key, address, limits
    ├── InvalidRequestError             an argument of this call was refused before sending
    ├── APIConnectionError              no answer, or the way to it broke
    │   ├── APITimeoutError             a time limit ended the call; says which
    │   └── ClientClosedError           the client was closed before or during the call
    ├── APIStatusError                  the service answered with an error
    │   ├── BadRequestError             400: the service refuses the request as it stands
    │   │   └── ContentFilterError      the input or the answer was moderated
    │   ├── AuthenticationError         401: key or workspace unknown
    │   ├── PermissionDeniedError       403: no grant for this model or workspace
    │   │   └── QuotaExhaustedError     money or free quota is used up; waiting does not help
    │   ├── NotFoundError               404: no such model, workspace or route
    │   ├── RequestTooLargeError        413: the body is too large
    │   ├── RateLimitError              429: too much at once; waiting helps
    │   ├── InternalServerError         5xx: the service failed
    │   └── ServiceUnavailableError     503: no capacity right now
    ├── ResponseError                   what came back is not the protocol
    └── IncompleteResponseError         the answer stopped before its finish_reason

Codes and their meanings: "Error codes" of Alibaba Cloud Model Studio's documentation
(https://help.aliyun.com/zh/model-studio/error-code), old and new editions together.
"""

import re
from http import HTTPStatus
from typing import Final, NamedTuple, cast

from ._models import Usage

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ClientClosedError",
    "ConfigurationError",
    "ContentFilterError",
    "DashScopeError",
    "IncompleteResponseError",
    "InternalServerError",
    "InvalidRequestError",
    "NotFoundError",
    "PermissionDeniedError",
    "QuotaExhaustedError",
    "RateLimitError",
    "RequestTooLargeError",
    "ResponseError",
    "ServiceUnavailableError",
    "broken",
    "cant_connect",
    "classify",
    "describe",
    "first_cause",
    "refused_by_proxy",
    "timed_out",
]


class DashScopeError(Exception):
    """Anything this package raises; every error has the same fields, filled as far as known."""

    code: str
    """The service's error code; empty where the service said none."""
    message: str
    """What went wrong: the service's own words, or ours."""
    status_code: int | None
    """HTTP status, for an error inside a stream the one its frame names; None without an answer."""
    request_id: str
    """The service's name for this call; empty where it gave none."""
    hint: str
    """What to do about it, where we know."""
    partial_text: str
    """The text that had arrived before the failure."""
    usage: Usage | None
    """Tokens counted before the failure, where the service had said so."""
    attempts: int
    """How many times the request was sent or tried to be sent."""
    retryable: bool
    """Whether the same call may work when it is made again."""
    retry_after: float | None
    """Seconds that the service asks to wait before the next try; None where it does not say."""

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        status_code: int | None = None,
        request_id: str = "",
        hint: str = "",
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """Describe a failure in plain data, so that it survives pickling and copying."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.status_code = status_code
        self.request_id = request_id
        self.hint = hint
        self.retryable = retryable
        self.retry_after = retry_after
        self.partial_text = ""
        self.usage = None
        self.attempts = 0

    def __str__(self) -> str:
        head = f"{self.code}: {self.message}" if self.code else self.message
        facts = [f"status {self.status_code}"] if self.status_code else []
        if self.request_id:
            facts.append(f"request_id {self.request_id}")
        if self.attempts > 1 or (self.attempts and not self.status_code):
            facts.append("1 attempt" if self.attempts == 1 else f"{self.attempts} attempts")
        tail = f" ({', '.join(facts)})" if facts else ""
        return f"{head or type(self).__name__}{tail}{'; ' if self.hint else ''}{self.hint}"


class ConfigurationError(DashScopeError, ValueError):
    """The client is set up wrong: no key, an address that is none, an unknown transport."""


class InvalidRequestError(DashScopeError, ValueError):
    """An argument of this call was refused before anything was sent; the message names it."""


class APIConnectionError(DashScopeError):
    """The service was not reached, or the connection broke before the answer was whole."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """A time limit ended the call."""

    limit: str = ""
    """Which limit: `connect`, `read`, `idle` or `total`."""
    waited: float = 0.0
    """Seconds waited under that limit."""


class ClientClosedError(APIConnectionError):
    """The client was closed before the call began or while it was under way."""


class APIStatusError(DashScopeError):
    """The service answered, and its answer is an error."""


class BadRequestError(APIStatusError):
    """The service refuses the request as it stands."""


class ContentFilterError(BadRequestError):
    """The input or the answer was stopped by content moderation."""


class AuthenticationError(APIStatusError):
    """The service does not know this key, or the key does not belong to this workspace."""


class PermissionDeniedError(APIStatusError):
    """The key is known but has no grant for this model, workspace or operation."""


class QuotaExhaustedError(PermissionDeniedError):
    """Money or free quota is used up, or a bill is overdue; trying again does not help."""


class NotFoundError(APIStatusError):
    """There is no such model, workspace or route."""


class RequestTooLargeError(APIStatusError):
    """The request body is larger than the service takes."""


class RateLimitError(APIStatusError):
    """Too many requests or tokens at once; the same call works later."""


class InternalServerError(APIStatusError):
    """The service failed while it worked on the request."""


class ServiceUnavailableError(APIStatusError):
    """The service has no capacity for this model right now."""


class ResponseError(DashScopeError):
    """What came back is not the protocol: no JSON, no answer in it, or a frame too large."""


class IncompleteResponseError(DashScopeError):
    """The answer stopped before its `finish_reason`; `partial_text` holds what had arrived."""


class Verdict(NamedTuple):
    """What an error answer means: its class, whether trying again may help, its usual status."""

    error: type[APIStatusError]
    retryable: bool
    status: int


def _final(error: type[APIStatusError], status: int) -> Verdict:
    return Verdict(error, retryable=False, status=status)


def _passing(error: type[APIStatusError], status: int) -> Verdict:
    return Verdict(error, retryable=True, status=status)


# Lower-case code -> verdict; a status before the code limits the entry to that status. A code that
# is not here is looked up without its last dotted part, then by HTTP status: the service adds
# dotted codes faster than any table.
CODES: Final[dict[str, Verdict]] = {
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
    # Despite its name a refusal of empty content or a bad role, unless the status says outage.
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
    # Named like a bill but a rate limit: clears within about a minute. The message tells a
    # spent free quota apart, see MESSAGES.
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

STATUSES: Final[dict[int, Verdict]] = {
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

# Words that overrule the code, matched in the message without regard to case.
MESSAGES: Final[tuple[tuple[str, Verdict], ...]] = (
    ("free allocated quota exceeded", _final(QuotaExhaustedError, 429)),
    # Inference's way to say that the last message was not the user's.
    ("list index out of range", _final(InternalServerError, 500)),
)

REFUSED_BY_SERVICE: Final = 500
"""HTTP statuses from here on are the service's own failures, those below it the request's."""

_REAL_STATUS: Final = re.compile(r"\s*<([45]\d{2})>", re.ASCII)


def classify(code: str, message: str, status: int | None) -> Verdict:
    """Say what an error answer means.

    Args:
        code: the service's code, in any case; may be empty.
        message: the service's words; may overrule the code and may begin with the real status in
            angle brackets, as in `<400> InternalError.Algo.InvalidParameter: ...`.
        status: the HTTP status, or the one that a stream's frame names; None where neither says.

    Returns:
        The verdict, its `status` being the one to show.
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


def _contradicts(verdict: Verdict, status: int | None) -> bool:
    """Tell whether a code blames the service and the status the request: the status is right."""
    blamed = status is not None and HTTPStatus.BAD_REQUEST <= status < REFUSED_BY_SERVICE
    return blamed and verdict.status >= REFUSED_BY_SERVICE and status != HTTPStatus.REQUEST_TIMEOUT


def _by_code(code: str, status: int | None) -> Verdict | None:
    name = code.strip().lower()
    while name:
        verdict = CODES.get(f"{status} {name}") or CODES.get(name)
        if verdict:
            return verdict
        name = name.rpartition(".")[0]
    return None


def _by_status(status: int | None) -> Verdict:
    if status in STATUSES:
        return STATUSES[status]
    if status is not None and status >= REFUSED_BY_SERVICE:
        return _final(InternalServerError, status)
    return _final(APIStatusError, status or 0)


_SILENCES: Final = {
    "connect": "no connection to",
    "read": "no byte of an answer from",
    "idle": "nothing new in the answer of",
    "total": "no whole answer from",
}


def timed_out(
    limit: str, seconds: float | None, host: str, *, retryable: bool = False
) -> APITimeoutError:
    """Return the error for a time limit that ran out.

    Args:
        limit: which one: `connect`, `read`, `idle` or `total`.
        seconds: how long it was.
        host: who was silent.
        retryable: whether the same call may work when it is made again.
    """
    what = f"{_SILENCES[limit]} {host} within {seconds or 0:g} s (timeout.{limit})"
    error = APITimeoutError(what, retryable=retryable)
    error.limit = limit
    error.waited = seconds or 0.0
    return error


def cant_connect(host: str, error: Exception, *, retryable: bool) -> APIConnectionError:
    """Return the error for a connection that a transport could not make."""
    return APIConnectionError(f"can't connect to {host}: {describe(error)}", retryable=retryable)


def refused_by_proxy(host: str, error: Exception) -> APIConnectionError:
    """Return the error for a proxy that makes no connection."""
    return APIConnectionError(f"the proxy refuses to connect to {host}: {describe(error)}")


def broken(
    host: str, error: Exception, when: str = "within", *, retryable: bool = False
) -> APIConnectionError:
    """Return the error for a connection that broke before an answer or within it."""
    what = f"the connection to {host} broke {when} the answer: {describe(error)}"
    return APIConnectionError(what, retryable=retryable)


def describe(error: BaseException) -> str:
    """Name a foreign exception in one line by the first cause of it."""
    cause = first_cause(error)
    text = " ".join((str(cause) or str(error)).split())
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__


def first_cause(error: BaseException) -> BaseException:
    """Return the exception that all others of a chain were raised from."""
    while (deeper := _cause(error)) is not None:
        error = deeper
    return error


def _cause(error: BaseException) -> BaseException | None:
    """Go one step down; of several attempts to connect the first stands for all."""
    if isinstance(attempts := getattr(error, "exceptions", None), tuple):
        return cast("tuple[BaseException, ...]", attempts)[0]
    # httpcore raises "from None" what it raised "from" the cause before.
    return error.__cause__ or (error.__context__ if error.__suppress_context__ else None)
