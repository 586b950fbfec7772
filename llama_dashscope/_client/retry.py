"""After this failure: again? And after how long?"""

import sys
import threading
from typing import Any, Final, cast

import attrs

from llama_dashscope._errors import APITimeoutError, ConfigurationError, DashScopeError

__all__ = ["Budget", "Retry"]

COST: Final = 5
"""What a retry takes out of the budget; a call that succeeds puts 1 back."""

MOST: Final = sys.float_info.max


def _at_least_zero(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    whole = attribute.type is int
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not 0 <= cast("float", value) <= MOST:
        kind = "a whole number" if whole else "seconds"
        msg = f"retry.{attribute.name} must be {kind}, 0 or more, got {value!r}"
        raise ConfigurationError(msg)


def _true_or_false(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, bool):
        msg = f"retry.{attribute.name} must be True or False, got {value!r}"
        raise ConfigurationError(msg)


@attrs.frozen
class Retry:
    """How failures that pass by themselves are met: exponential backoff with full jitter.

    The pause before try `n` is a random time between 0 and `base * 2**(n-1)` seconds, at most
    `cap`; where the service names a time (`Retry-After`), that one is kept instead.

    Raises:
        ConfigurationError: a number below 0.
    """

    times: int = attrs.field(default=2, validator=_at_least_zero)
    """How many times to try again; 0 for never."""
    base: float = attrs.field(default=0.5, validator=_at_least_zero)
    """Longest first pause, in seconds."""
    cap: float = attrs.field(default=8.0, validator=_at_least_zero)
    """Longest pause of our own making, in seconds."""
    max_wait: float = attrs.field(default=60.0, validator=_at_least_zero)
    """Longest pause that the service may ask for, in seconds; beyond it the call ends at once."""
    read_timeouts: bool = attrs.field(default=False, validator=_true_or_false)
    """Whether to ask again after a silent `read` limit: the first call may still be billed."""
    budget: int = attrs.field(default=100, validator=_at_least_zero)
    """Retries a client may have saved up; five successful calls earn one. It keeps an outage from
    being multiplied by everyone's retries."""

    @classmethod
    def of(cls, value: "Retry | int | None") -> "Retry":
        """Read an argument: a plain number is how many times to try again."""
        if value is None:
            return cls()
        return value if isinstance(value, Retry) else cls(times=value)

    def pause(self, error: DashScopeError, tries: int, chance: float) -> float | None:
        """Say how long to wait before the next try, or None to give up.

        Args:
            error: how the last try failed.
            tries: how many tries there were.
            chance: a random number from 0 to 1.

        Returns:
            Seconds, or None.
        """
        if tries > self.times or not (error.retryable or _is_read_timeout(error)):
            return None
        return self.delay(error, tries, chance)

    def delay(self, error: DashScopeError, tries: int, chance: float) -> float | None:
        """Say how long to wait before a next try, if there is to be one.

        Args:
            error: how the last try failed.
            tries: how many tries there were.
            chance: a random number from 0 to 1.

        Returns:
            Seconds; None after a `read` limit, unless `read_timeouts` is set, and where the service
            asks for more than `max_wait`.
        """
        if _is_read_timeout(error) and not self.read_timeouts:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.max_wait else None
        # Past some dozens of doublings the cap decides anyway; floats would overflow.
        return chance * min(self.cap, self.base * 2.0 ** min(tries - 1, 64))


def _is_read_timeout(error: DashScopeError) -> bool:
    return isinstance(error, APITimeoutError) and error.limit == "read"


class Budget:
    """How many retries a client may still make; safe between threads.

    The idea is that of gRPC's retry throttling (https://github.com/grpc/proposal, A6) and of the
    AWS SDKs' token bucket: successes earn what retries spend.
    """

    def __init__(self, size: int) -> None:
        """Begin full."""
        self._size = self._left = size * COST
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take one retry out, if there is one."""
        with self._lock:
            if self._left < COST:
                return False
            self._left -= COST
            return True

    def earn(self) -> None:
        """Put back what a success is worth."""
        if self._left < self._size:
            with self._lock:
                self._left = min(self._size, self._left + 1)
