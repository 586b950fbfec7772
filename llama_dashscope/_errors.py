"""The exception classes; this is their tree.

::

    DashScopeError
    ├── ConfigurationError              the client itself is set up wrong: key, address, limits
    ├── InvalidRequestError             an argument of this call was refused before sending
    ├── APIConnectionError              the service was not reached, or the connection broke
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
    ├── ResponseError                   the answer does not follow the protocol
    ├── IncompleteResponseError         the answer ended without a finish_reason
    └── ParseError                      the answer is complete, but not of the requested type
"""

from ._models import Response, Usage

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
    "ParseError",
    "PermissionDeniedError",
    "QuotaExhaustedError",
    "RateLimitError",
    "RequestTooLargeError",
    "ResponseError",
    "ServiceUnavailableError",
    "StreamUsageError",
]


class DashScopeError(Exception):
    """Base class of this package's errors; all have the same fields, filled in as far as known."""

    code: str
    """The service's error code; empty if it sent none."""
    message: str
    """What went wrong: the service's own words, or ours."""
    status_code: int | None
    """HTTP status; for an error in a stream, the status that its frame names; None if unknown."""
    request_id: str
    """The service's id of this request; empty if it sent none."""
    hint: str
    """What to do about the error; empty if we don't know."""
    partial_text: str
    """The text that had arrived before the failure."""
    usage: Usage | None
    """Tokens counted before the failure; None if the service had reported none."""
    attempts: int
    """How many attempts were made to send the request."""
    retryable: bool
    """Whether the same call may succeed if it is made again."""
    retry_after: float | None
    """Seconds to wait before the next attempt, as the service asks; None if it doesn't say."""

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
        """Store the failure as plain data, so that the error can be pickled and copied."""
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
    """The client is set up wrong: no key, an invalid address, an unknown transport."""


class InvalidRequestError(DashScopeError, ValueError):
    """An argument of this call was refused before anything was sent; the message names it."""


class APIConnectionError(DashScopeError):
    """The service was not reached, or the connection broke before the answer was complete."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """A time limit ended the call."""

    limit: str = ""
    """Which limit: `connect`, `read`, `idle` or `total`."""
    waited: float = 0.0
    """Seconds waited under that limit."""


class ClientClosedError(APIConnectionError):
    """The client was closed before or during the call."""


class APIStatusError(DashScopeError):
    """The service answered with an error."""


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


class StreamUsageError(DashScopeError, RuntimeError):
    """A stream was misused: asked for its response too early, or read by two tasks or two loops."""


class ResponseError(DashScopeError):
    """The answer does not follow the protocol: not JSON, no answer in it, or too large a frame."""


class IncompleteResponseError(DashScopeError):
    """The answer ended without a `finish_reason`; `partial_text` has the text received so far."""


class ParseError(DashScopeError, ValueError):
    """The answer is complete, but no value of the requested type can be read from it.

    `partial_text` is the last answer's text, `usage` the tokens of all answers together, and
    `attempts` how many answers there were.
    """

    paths: tuple[str, ...] = ()
    """Where the answer is wrong, such as `$.stops[0].city`; `$` stands for the whole answer."""
    response: Response | None = None
    """The last answer."""
