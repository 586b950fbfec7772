"""The interface of rate limiters: a client asks one before each attempt and reports the outcome."""

from typing import Final, Protocol

import attrs

from llama_dashscope._errors import DashScopeError, RateLimitError

from .pace_rules import Refusal

__all__ = ["Outcome", "Pacer", "Permit", "refusal_of"]

# Lower-case code -> limit ("Rate limits" in Model Studio's documentation); a code that is not
# listed is looked up without its last dotted part.
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
    """Return the account limit that an error is about; None if it is not about one."""
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
    """How an attempt ended, as a client reports it to its pace."""

    tokens: int | None = None
    """Tokens that the service counted for it; None if unknown, as for an attempt that failed or was
    cancelled."""
    error: DashScopeError | None = None
    """The error that it ended with; None if it succeeded or was cancelled."""

    @property
    def refusal(self) -> Refusal | None:
        """The account limit that refused it: `requests`, `tokens`, `growth` or `concurrency`."""
        return refusal_of(self.error)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the service asks to wait; None if it doesn't say."""
        return None if self.error is None else self.error.retry_after


class Permit(Protocol):
    """A permit to make one attempt."""

    def settle(self, outcome: Outcome, /) -> None:
        """Report how the attempt ended; called once, from any thread, and must not block."""
        ...


class Pacer(Protocol):
    """The interface of `Client(pace=...)`: a `Pace`, or your own object with this method."""

    async def admit(self, model: str, tokens: int) -> Permit:
        """Wait until an attempt may be made.

        A client calls this before each attempt, retries included, in any thread and event loop, on
        asyncio and trio. If the caller is cancelled while it waits, nothing must be deducted.

        Args:
            model: name of the model, as it is sent.
            tokens: an estimate of the tokens of request and answer together.

        Returns:
            The permit for one attempt; the client calls its `settle` when the attempt has ended.
        """
        ...
