"""`BatchResult`, the result of one item, and whether a failed item is asked again."""

from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from llama_dashscope._errors import (
    APIConnectionError,
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DashScopeError,
    IncompleteResponseError,
    QuotaExhaustedError,
    RateLimitError,
)
from llama_dashscope._models import Response
from llama_dashscope._protocol.answer_format import AnswerFormat, parse_error
from llama_dashscope._protocol.mismatches import describe

__all__ = ["BatchResult", "Pause", "Verdict", "may_pass", "read_value", "verdict"]

FATAL: Final = (AuthenticationError, ClientClosedError, ConfigurationError, QuotaExhaustedError)
"""Errors that every other item would get too; they stop the batch."""

LOST: Final = (APIConnectionError, IncompleteResponseError)
"""Errors by which an answer was lost in transit. A single call is not retried after them, since the
service may have billed it; a batch does retry, to get all answers."""

Pause = Callable[[DashScopeError, int], float | None]
"""From an error and a count: the pause in seconds before the next attempt; None for no attempt."""


@attrs.frozen
class BatchResult:
    """The result of one item of a batch: an answer or an error."""

    custom_id: str
    """The item's `custom_id`, or else its position as text."""
    position: int
    """Position in the input, from 0."""
    response: Response | None = None
    """The answer; None if there is an error."""
    error: DashScopeError | None = None
    """The error; None if there is an answer."""
    attempts: int = 0
    """How many requests were sent for the item; 0 if it was invalid."""
    seconds: float = 0.0
    """How long the last attempt took, without the wait for the pace."""
    item: object = attrs.field(default=None, repr=False)
    """The item as it was given; None if the result was read from a journal."""
    value: Any = None
    """The value read from the answer, if `into` was given; else None."""

    @property
    def text(self) -> str:
        """The reply.

        Raises:
            DashScopeError: there is none; this is its error.
        """
        return self.unwrap().text

    def unwrap(self) -> Response:
        """Return the answer.

        Raises:
            DashScopeError: there is none; this is its error.
        """
        if self.response is None:
            raise self.error or DashScopeError("this item has no answer")
        return self.response


def read_value(result: BatchResult, wanted: AnswerFormat) -> BatchResult:
    """Return a result with the value read from its answer, or with a ParseError."""
    if result.response is None:
        return result
    found = wanted.read(result.response.text)
    if not found.mismatches:
        return attrs.evolve(result, value=found.value)
    reason = f"does not fit: {describe(found.mismatches)}"
    error = parse_error(result.response, reason, found.mismatches)
    return attrs.evolve(result, response=None, error=error)


@attrs.frozen
class Verdict:
    """What to do after a failure: ask again, record the failure, or stop the batch."""

    kind: Literal["again", "failed", "stop"]
    pause: float = 0.0
    """Seconds to wait before the item is asked again."""


def may_pass(error: DashScopeError) -> bool:
    """Tell whether an item that failed with this error may succeed if it is asked again."""
    return error.retryable or isinstance(error, LOST)


def verdict(
    error: DashScopeError, failures: int, refusals: int, tries: int, pause: Pause
) -> Verdict:
    """Decide what to do after a failure.

    Args:
        error: the failure.
        failures: how often this item has failed, not counting refusals by rate limits.
        refusals: how often it was refused by rate limits; there is no limit for these.
        tries: how often it may fail.
        pause: returns the pause before the next attempt.
    """
    if isinstance(error, FATAL):
        return Verdict("stop")
    if isinstance(error, RateLimitError):
        wait = pause(error, refusals)
        # None: the service asks for a longer pause than `Retry.max_wait` allows.
        return Verdict("stop") if wait is None else Verdict("again", wait)
    wait = pause(error, failures) if failures < tries and may_pass(error) else None
    return Verdict("failed") if wait is None else Verdict("again", wait)
