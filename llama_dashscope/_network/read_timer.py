"""Ends what waits for too long, where that hardly ever happens."""

import asyncio
from collections.abc import Callable

__all__ = ["ReusableTimer"]


class ReusableTimer:
    """Watches one who waits again and again, each time for a while, on asyncio.

    Nearly all waiting ends in time. To set an alarm for each and to take it back costs more than
    the rest of it; here the alarm stays where it is, and is moved when it goes off.
    """

    __slots__ = ("_alarm", "_deadline", "_late", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin while nobody waits."""
        self._loop = loop
        self._deadline = 0.0
        self._late: Callable[[], None] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def begin(self, limit: float | None, late: Callable[[], None]) -> None:
        """Note that someone waits from now on.

        Args:
            limit: longest time to wait in seconds; None for no limit.
            late: called when the time is over.
        """
        if limit is None:
            return
        self._late = late
        self._deadline = self._loop.time() + limit
        if self._alarm is None or self._alarm.when() > self._deadline:
            self._set_alarm()

    def end(self) -> None:
        """Note that nobody waits any more."""
        self._late = None

    def close(self) -> None:
        """Take the alarm back, since nobody will wait again."""
        self._late = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        """See, when the alarm goes off, whether the one who waits now has waited for too long."""
        self._alarm = None
        if self._late is None:
            return
        if self._loop.time() < self._deadline:
            self._set_alarm()
        else:
            self._late()
