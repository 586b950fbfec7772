"""One attempt at a call: told to the log, the pace and the observers when it has ended."""

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

BYTES_A_TOKEN: Final = 4
ANSWER: Final = 256
"""Tokens of an answer of unknown length; `Pace` learns how far off this is."""


def estimate_tokens(payload: Payload) -> int:
    """Estimate the tokens of a request and its answers."""
    return len(payload.body) // BYTES_A_TOKEN + ANSWER * payload.choices


class Attempt:
    """One attempt at a call.

    Args:
        host: where it goes, for the log.
        number: which one it is, from 1 on.
        watch: the observers of the call; None where there are none.
    """

    def __init__(self, host: str, number: int, watch: CallWatch | None) -> None:
        """Begin it now."""
        self.number = number
        self.watch = watch
        self.head: ResponseHead | None = None
        """The head of the answer, once it is there."""
        self._host = host
        self._began = monotonic()
        self._permit: Permit | None = None
        self._ended = False

    async def admit(self, pace: Pacer, payload: Payload) -> None:
        """Wait until the pace lets it go."""
        self._permit = await pace.admit(payload.model, estimate_tokens(payload))

    def end(
        self, usage: Usage | None, error: BaseException | None = None, pause: float | None = None
    ) -> None:
        """Tell how it ended, once.

        Args:
            usage: tokens counted so far.
            error: what it failed with, or was given up with.
            pause: seconds until the next attempt.
        """
        if self._ended:
            return
        self._ended = True
        if self._permit is not None:
            tokens = None if usage is None else usage.total_tokens
            # What was given up has cost nobody knows what; the pace learns nothing of it.
            known = error if isinstance(error, DashScopeError) else None
            self._permit.settle(Outcome(tokens, known))
        if self.watch is None and not logger.isEnabledFor(logging.DEBUG):
            return
        head = self.head
        request_id = (isinstance(error, DashScopeError) and error.request_id) or (
            head.request_id if head else ""
        )
        status = head.status if head else None
        seconds = monotonic() - self._began
        end = AttemptEnd(self.number, seconds, status, request_id, usage, error, pause)
        self._log(end)
        if self.watch is not None:
            self.watch.attempt_ended(end)

    def _log(self, end: AttemptEnd) -> None:
        error = end.error
        if error is None:
            outcome = f"answered (status {end.status}, request_id {end.request_id})"
        else:
            outcome = type(error).__name__  # of a foreign exception nobody knows what it may show
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
