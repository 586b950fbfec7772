"""Retry policy: whether and when to repeat a call after a failure."""

import sys
import threading
from typing import Any, Final, cast

import attrs

from llama_dashscope._errors import APITimeoutError, ConfigurationError, DashScopeError
from llama_dashscope._sanitize import bounded_repr
from llama_dashscope._settings import true_or_false

__all__ = ["Budget", "Retry"]

COST: Final = 5
"""The cost of a retry in the budget; a successful call adds 1."""

MOST: Final = sys.float_info.max


def _at_least_zero(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    whole = attribute.type is int
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not 0 <= cast("float", value) <= MOST:
        kind = "a whole number" if whole else "seconds"
        msg = f"retry.{attribute.name} must be {kind}, 0 or more, got {bounded_repr(value)}"
        raise ConfigurationError(msg)


@attrs.frozen
class Retry:
    """Retry policy for temporary failures: exponential backoff with full jitter.

    The pause before retry `n` is a random time between 0 and `base * 2**(n-1)` seconds, at most
    `cap`. If the service names a time (`Retry-After`), that time is used instead.

    Raises:
        ConfigurationError: a number is below 0.
    """

    times: int = attrs.field(default=2, validator=_at_least_zero)
    """Number of retries; 0 for none."""
    base: float = attrs.field(default=0.5, validator=_at_least_zero)
    """Longest pause before the first retry, in seconds."""
    cap: float = attrs.field(default=8.0, validator=_at_least_zero)
    """Longest pause before any retry, in seconds, unless the service asks for a longer one."""
    max_wait: float = attrs.field(default=60.0, validator=_at_least_zero)
    """Longest `Retry-After` that is waited for, in seconds; for a longer one the call fails at
    once."""
    read_timeouts: bool = attrs.field(default=False, validator=true_or_false)
    """Whether to retry after a `read` timeout; the first request may be billed too."""
    budget: int = attrs.field(default=100, validator=_at_least_zero)
    """Most retries that a client may save up; five successful calls earn one. This keeps retries
    from making an outage worse."""

    @classmethod
    def of(cls, value: "Retry | int | None") -> "Retry":
        """Return the argument as a `Retry`: a plain number is the number of retries."""
        if value is None:
            return cls()
        return value if isinstance(value, Retry) else cls(times=value)

    def pause(self, error: DashScopeError, tries: int, chance: float) -> float | None:
        """Return the pause in seconds before the next attempt; None if there should be none.

        Args:
            error: the error of the last attempt.
            tries: how many attempts there were.
            chance: a random number from 0 to 1.
        """
        if tries > self.times or not (error.retryable or _is_read_timeout(error)):
            return None
        return self.delay(error, tries, chance)

    def delay(self, error: DashScopeError, tries: int, chance: float) -> float | None:
        """Return the pause in seconds before a next attempt, however many there were.

        Args:
            error: the error of the last attempt.
            tries: how many attempts there were.
            chance: a random number from 0 to 1.

        Returns:
            Seconds. None after a `read` timeout, unless `read_timeouts` is set, and if the service
            asks for more than `max_wait`.
        """
        if _is_read_timeout(error) and not self.read_timeouts:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.max_wait else None
        # After some dozens of doublings the cap decides anyway; a float would overflow.
        return chance * min(self.cap, self.base * 2.0 ** min(tries - 1, 64))


def _is_read_timeout(error: DashScopeError) -> bool:
    return isinstance(error, APITimeoutError) and error.limit == "read"


class Budget:
    """How many retries a client may still make; thread-safe.

    Like gRPC's retry throttling (https://github.com/grpc/proposal, A6) and the token bucket of the
    AWS SDKs: retries spend what successful calls earn.
    """

    def __init__(self, size: int) -> None:
        """Start with a full budget."""
        self._size = self._left = size * COST
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Spend one retry; return whether there was one."""
        with self._lock:
            if self._left < COST:
                return False
            self._left -= COST
            return True

    def earn(self) -> None:
        """Add what a successful call earns."""
        if self._left < self._size:
            with self._lock:
                self._left = min(self._size, self._left + 1)
