"""One attempt at a call; its end is reported to the log, the pace and the observers."""

import logging
from time import monotonic
from typing import Final

from llama_dashscope._errors import DashScopeError
from llama_dashscope._models import Usage
from llama_dashscope._protocol.failure import ResponseHead
from llama_dashscope._protocol.request import Payload

from .observer import AttemptEnd, CallWatch
from .pacer import Outcome, Pacer, Permit

__all__ = ["Attempt", "estimate_tokens"]

logger: Final = logging.getLogger("llama_dashscope")

BYTES_PER_TOKEN: Final = 4
ANSWER_TOKENS: Final = 256
"""Estimated tokens of an answer; `Pace` corrects its estimates by the usage that comes back."""


def estimate_tokens(payload: Payload) -> int:
    """Estimate the tokens of a request and its answers together."""
    return len(payload.body) // BYTES_PER_TOKEN + ANSWER_TOKENS * payload.choices


class Attempt:
    """One attempt at a call.

    Args:
        host: the service's host, for the log.
        number: the number of the attempt, counted from 1.
        watch: the observers of the call; None if there are none.
    """

    __slots__ = ("_began", "_ended", "_host", "_permit", "head", "number", "watch")

    def __init__(self, host: str, number: int, watch: CallWatch | None) -> None:
        """Begin the attempt now."""
        self.number = number
        self.watch = watch
        self.head: ResponseHead | None = None
        """The head of the answer, once it has arrived."""
        self._host = host
        self._began = monotonic()
        self._permit: Permit | None = None
        self._ended = False

    async def admit(self, pace: Pacer, payload: Payload) -> None:
        """Wait until the pace admits this attempt."""
        self._permit = await pace.admit(payload.model, estimate_tokens(payload))

    def end(
        self, usage: Usage | None, error: BaseException | None = None, pause: float | None = None
    ) -> None:
        """Report how the attempt ended; only the first call counts.

        Args:
            usage: tokens counted so far.
            error: the error that it failed with, or the cancellation.
            pause: seconds until the next attempt; None if there is none.
        """
        if self._ended:
            return
        self._ended = True
        if self._permit is not None:
            tokens = None if usage is None else usage.total_tokens
            # The cost of a cancelled attempt is unknown, so the pace learns nothing from it.
            known = error if isinstance(error, DashScopeError) else None
            self._permit.settle(Outcome(tokens, known))
        logged = logger.isEnabledFor(logging.DEBUG)
        if self.watch is None and not logged:
            return
        head = self.head
        request_id = (isinstance(error, DashScopeError) and error.request_id) or (
            head.request_id if head else ""
        )
        status = head.status if head else None
        seconds = monotonic() - self._began
        end = AttemptEnd(self.number, seconds, status, request_id, usage, error, pause)
        if logged:
            self._log(end)
        if self.watch is not None:
            self.watch.attempt_ended(end)

    def _log(self, end: AttemptEnd) -> None:
        error = end.error
        if error is None:
            outcome = f"answered (status {end.status}, request_id {end.request_id})"
        else:
            outcome = type(error).__name__  # other exceptions' messages may show secrets
            if isinstance(error, DashScopeError):
                outcome = f"{outcome} {error}"
        fields = {
            "request_id": end.request_id,
            "status": end.status,
            "attempt": end.number,
            "seconds": end.seconds,
            "tokens": None if end.usage is None else end.usage.total_tokens,
        }
        message = "%s attempt %d: %s, %.0f ms"
        milliseconds = end.seconds * 1000
        logger.debug(message, self._host, end.number, outcome, milliseconds, extra=fields)
