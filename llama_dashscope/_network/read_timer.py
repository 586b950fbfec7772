"""A timer for many waits in a row, nearly all of which end in time."""

import asyncio
from collections.abc import Callable

__all__ = ["ReusableTimer"]


class ReusableTimer:
    """A timer on asyncio for waits that follow one another.

    Nearly all waits end in time. Setting and cancelling an alarm for each would cost more than the
    wait itself, so the alarm is kept, and set again only when it goes off too early.
    """

    __slots__ = ("_alarm", "_deadline", "_loop", "_on_timeout")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start without a waiter."""
        self._loop = loop
        self._deadline = 0.0
        self._on_timeout: Callable[[], None] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def begin(self, limit: float | None, on_timeout: Callable[[], None]) -> None:
        """Begin a wait.

        Args:
            limit: longest wait in seconds; None for no limit.
            on_timeout: called when the limit is reached.
        """
        if limit is None:
            self._on_timeout = None
            return
        self._on_timeout = on_timeout
        self._deadline = self._loop.time() + limit
        if self._alarm is None or self._alarm.when() > self._deadline:
            self._set_alarm()

    def end(self, on_timeout: Callable[[], None]) -> None:
        """End the wait that began with this function, unless another one has begun since."""
        if self._on_timeout == on_timeout:
            self._on_timeout = None

    def close(self) -> None:
        """Cancel the alarm; there will be no further wait."""
        self._on_timeout = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(self._deadline, self._check)

    def _check(self) -> None:
        """When the alarm goes off, time out the current wait, or set the alarm for its deadline."""
        self._alarm = None
        if self._on_timeout is None:
            return
        if self._loop.time() < self._deadline:
            self._set_alarm()
        else:
            self._on_timeout()
