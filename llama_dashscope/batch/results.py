"""`BatchResult`: what came of one item, and whether it is worth another try."""

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

HOPELESS: Final = (AuthenticationError, ClientClosedError, ConfigurationError, QuotaExhaustedError)
"""Errors that every other item would meet too."""

LOST: Final = (APIConnectionError, IncompleteResponseError)
"""Answers that were lost on their way. A single call is not made again after them, as the service
may have done and billed the work; of a batch one wants all answers."""

Pause = Callable[[DashScopeError, int], float | None]
"""Says of an error and a count how many seconds to wait before the next try; None for never."""


@attrs.frozen
class BatchResult:
    """What came of one item of a batch: an answer or an error."""

    custom_id: str
    """The item's id: its own, or else its position as text."""
    position: int
    """Place in the input, from 0."""
    response: Response | None = None
    """The answer; None where there is an error."""
    error: DashScopeError | None = None
    """What went wrong; None where there is an answer."""
    attempts: int = 0
    """How many requests were sent for it; 0 where it was refused before that."""
    seconds: float = 0.0
    """How long the last attempt took, waiting for the pace not included."""
    item: object = attrs.field(default=None, repr=False)
    """The item as it was given; None where the result was read from a journal."""
    value: Any = None
    """The value of the answer, where a type was asked for by `into`; else None."""

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
    """Return a result with the value of its answer; with a ParseError where there is none."""
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
    """What follows from a failure."""

    kind: Literal["again", "failed", "stop"]
    pause: float = 0.0
    """Seconds to wait before the item is asked again."""


def may_pass(error: DashScopeError) -> bool:
    """Tell whether an item that failed so may have an answer when it is asked again."""
    return error.retryable or isinstance(error, LOST)


def verdict(
    error: DashScopeError, failures: int, refusals: int, tries: int, pause: Pause
) -> Verdict:
    """Decide after a failure: ask again, leave it at that, or stop the whole batch.

    Args:
        error: the failure.
        failures: how often this item has failed, refusals for its account's limits not counted.
        refusals: how often it was refused for those; no number of them is too many.
        tries: how often it may fail.
        pause: the rules of waiting.
    """
    if isinstance(error, HOPELESS):
        return Verdict("stop")
    if isinstance(error, RateLimitError):
        wait = pause(error, refusals)
        # The service asks for a longer pause than anyone has patience for.
        return Verdict("stop") if wait is None else Verdict("again", wait)
    wait = pause(error, failures) if failures < tries and may_pass(error) else None
    return Verdict("failed") if wait is None else Verdict("again", wait)
