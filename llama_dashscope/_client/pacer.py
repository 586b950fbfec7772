"""The interface of rate limiting: what a client asks before each attempt and tells after it."""

from typing import Final, Protocol

import attrs

from llama_dashscope._errors import DashScopeError, RateLimitError

from .pace_rules import Refusal

__all__ = ["Outcome", "Pacer", "Permit", "refusal_of"]

# Lower-case code -> limit ("Rate limits" of Model Studio's documentation); a code that is not here
# is looked up without its last dotted part.
_LIMITS: Final[dict[str, Refusal]] = {
    "throttling": "requests",
    "throttling.ratequota": "requests",
    "limitrequests": "requests",
    "limit_requests": "requests",
    "throttling.allocationquota": "tokens",
    "insufficient_quota": "tokens",
    "throttling.burstrate": "growth",
    "limit_burst_rate": "growth",
    "throttling.concurrency": "concurrency",
}


def refusal_of(error: DashScopeError | None) -> Refusal | None:
    """Say which of an account's limits an error speaks of; None where it is not about one."""
    if not isinstance(error, RateLimitError):
        return None
    name = error.code.strip().lower()
    while name:
        if name in _LIMITS:
            return _LIMITS[name]
        name = name.rpartition(".")[0]
    return "requests"


@attrs.frozen
class Outcome:
    """How an attempt ended, as a client tells it to its pace."""

    tokens: int | None = None
    """Tokens that the service counted for it; None where it did not say, as for an attempt that
    failed or was given up."""
    error: DashScopeError | None = None
    """What it ended with; None for an answer, and for an attempt that was given up."""

    @property
    def refusal(self) -> Refusal | None:
        """Which limit of the account refused it: `requests`, `tokens`, `growth`, `concurrency`."""
        return refusal_of(self.error)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the service asks to wait; None where it does not say."""
        return None if self.error is None else self.error.retry_after


class Permit(Protocol):
    """Leave to make one attempt."""

    def settle(self, outcome: Outcome, /) -> None:
        """Tell how the attempt ended; called once, from any thread, and must not wait."""
        ...


class Pacer(Protocol):
    """What `Client(pace=...)` takes: `Pace`, or an object of your own with this method."""

    async def admit(self, model: str, tokens: int) -> Permit:
        """Wait until an attempt may be made.

        A client calls this before each attempt, retries included, in any thread and event loop, on
        asyncio and trio. A caller that is cancelled while it waits must have taken nothing.

        Args:
            model: name of the model, as it is sent.
            tokens: tokens of request and answer together, as far as they can be estimated.

        Returns:
            The permit for one attempt, which the client settles when that has ended.
        """
        ...
