"""The time limits of one call: how long its next step may take, and which limit says so.

`connect` and `read` go to the transport with the request, since only it sees connections and the
first byte. All that comes after, `total` over everything and the end of a stream, is decided here.
"""

from typing import Final, NamedTuple

from llama_dashscope._errors import APITimeoutError
from llama_dashscope._network.failures import timed_out
from llama_dashscope._settings import Timeout

__all__ = ["Step", "TimeLimits"]

NEVER: Final = float("inf")
"""The deadline of a call without one."""

AFTER_FINISH: Final = 0.25
"""Seconds to wait for the end of a body whose answer is whole, so that its connection lives on."""

FOR_USAGE: Final = 1.0
"""The same while the tokens are not counted yet: the frame that counts them may come late."""


class Step(NamedTuple):
    """How long the next step of a call may take."""

    seconds: float | None
    """None for no limit; 0 or less where the time is over."""
    limit: str
    """The limit that says so: `idle`, `total`, or `finish` for an answer that is whole."""


class TimeLimits:
    """The limits of one call.

    Args:
        timeout: how long they are.
        host: who is waited for, for errors to say.
        began: when the call began, by the monotonic clock.
    """

    def __init__(self, timeout: Timeout, host: str, began: float) -> None:
        """Note when `total` ends."""
        self.timeout = timeout
        self.host = host
        self.deadline = NEVER if timeout.total is None else began + timeout.total

    def leaves(self, pause: float, now: float) -> bool:
        """Tell whether there is time for another try after a pause in seconds."""
        return now + pause < self.deadline

    def step(self, now: float, silent_since: float) -> Step:
        """Return the limit for the next bytes of a stream.

        Args:
            now: the time.
            silent_since: when something but a heartbeat came last.
        """
        idle, deadline = self.timeout.idle, self.deadline
        left = None if idle is None else idle - (now - silent_since)
        if deadline != NEVER and (left is None or deadline - now < left):
            return Step(deadline - now, "total")
        return Step(left, "idle")

    @staticmethod
    def step_after_finish(now: float, finished_at: float, *, counted: bool) -> Step:
        """Return the limit for what may follow a whole answer in its body.

        Args:
            now: the time.
            finished_at: when the answer was whole.
            counted: whether its tokens are known, or nobody waits for them.
        """
        return Step(finished_at + (AFTER_FINISH if counted else FOR_USAGE) - now, "finish")

    def over(self, limit: str) -> APITimeoutError:
        """Return the error for a limit that ran out."""
        return timed_out(limit, getattr(self.timeout, limit), self.host)
