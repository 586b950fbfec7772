"""The time limits of one call: how long its next step may take, and by which limit.

`connect` and `read` are enforced by the transport, since only it sees connections and the first
byte. The limits after that are decided here: `idle`, `total`, and the end of a stream.
"""

from typing import Final, TypeAlias

from llama_dashscope._errors import APITimeoutError
from llama_dashscope._network.failures import timed_out
from llama_dashscope._settings import Timeout

__all__ = ["TimeLimits", "Wait"]

NEVER: Final = float("inf")
"""The deadline of a call without one."""

END_GRACE: Final = 0.25
"""Seconds to wait for the end of a body after a complete answer, so that its connection can be
reused."""

USAGE_GRACE: Final = 1.0
"""The same while no usage has arrived: the frame with the usage may come late."""


Wait: TypeAlias = tuple[float | None, str]
"""How long the next bytes may take, and the limit that says so: seconds, 0 or less if the time is
over, None for no limit; and `idle`, `total`, or `finish` after a complete answer."""


class TimeLimits:
    """The limits of one call.

    Args:
        timeout: their lengths.
        host: the service's host, for errors.
        began: when the call began, by the monotonic clock.
    """

    __slots__ = ("deadline", "host", "timeout")

    def __init__(self, timeout: Timeout, host: str, began: float) -> None:
        """Note when `total` ends."""
        self.timeout = timeout
        self.host = host
        self.deadline = NEVER if timeout.total is None else began + timeout.total

    def leaves(self, pause: float, now: float) -> bool:
        """Tell whether there is time for another attempt after a pause in seconds."""
        return now + pause < self.deadline

    def wait(self, now: float, silent_since: float) -> Wait:
        """Return the limit for the next bytes of a stream.

        Args:
            now: the time.
            silent_since: when something other than a heartbeat last arrived.
        """
        idle, deadline = self.timeout.idle, self.deadline
        left = None if idle is None else idle - (now - silent_since)
        if deadline != NEVER and (left is None or deadline - now < left):
            return deadline - now, "total"
        return left, "idle"

    @staticmethod
    def wait_after_finish(now: float, finished_at: float, *, counted: bool) -> Wait:
        """Return the limit for the rest of the body after a complete answer.

        Args:
            now: the time.
            finished_at: when the answer was complete.
            counted: whether its usage is known, or not needed since the stream is being closed.
        """
        return finished_at + (END_GRACE if counted else USAGE_GRACE) - now, "finish"

    def over(self, limit: str) -> APITimeoutError:
        """Return the error for an exceeded limit."""
        return timed_out(limit, getattr(self.timeout, limit), self.host)
