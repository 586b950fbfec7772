"""The log entry of one request: the request, the answer, and how it ended."""

import time
from typing import Literal, TypeAlias

from attrs import define, field

from .faults import Fault
from .received_request import ReceivedRequest, printable

_LONGEST_ERROR = 500  # characters
_LONGEST_ANSWER = 64 * 1024  # bytes

Outcome: TypeAlias = Literal["running", "answered", "failed", "cut", "client left"]
"""`"failed"` is an answer that reports an `error`; `"cut"` is one that was broken off by a fault or
by the end of the server."""


@define(eq=False)
class Exchange:
    """A request and its outcome; it changes while the answer is sent."""

    request: ReceivedRequest
    status: int | None = None
    """The HTTP status sent; None before that, or if no answer is sent."""
    fault: Fault | None = None
    """The fault that was injected; None if there was none."""
    pieces_sent: int = 0
    """How many frames of a stream were sent; a body that is not a stream counts as one."""
    answer: bytearray | None = field(factory=bytearray, repr=False)
    """The first 64 KB of the body sent; None once 200 more requests have come."""
    outcome: Outcome = "running"
    error: Exception | None = None
    """The error that a scripted function or an upstream raised."""
    received: float = field(factory=time.time)
    """When the request arrived, in seconds since 1970."""
    started: float = field(factory=time.monotonic)
    """The same by the monotonic clock, as for `ended`."""
    ended: float | None = None

    def sent(self, data: bytes) -> None:
        """Record a piece of the answer that was sent."""
        self.pieces_sent += 1
        if self.answer is not None and len(self.answer) < _LONGEST_ANSWER:
            self.answer += data[: _LONGEST_ANSWER - len(self.answer)]

    def end(self, outcome: Outcome) -> None:
        """Record how it ended; only the first call counts."""
        if self.ended is None:
            self.outcome, self.ended = outcome, time.monotonic()

    @property
    def shown_error(self) -> str | None:
        """The error in one line; None if there is none."""
        return printable(repr(self.error), _LONGEST_ERROR) if self.error else None

    def __str__(self) -> str:
        """Return one line for a log."""
        request, spent = self.request, (self.ended or time.monotonic()) - self.started
        pieces = f"{self.pieces_sent} piece{'' if self.pieces_sent == 1 else 's'}"
        how = f"{'stream' if request.streaming else 'call'} {self.outcome}"
        fault = f" by {self.fault}" if self.fault else ""
        error = f", {self.shown_error}" if self.error else ""
        return (
            f"#{request.number} {request.title}: {how}{fault}, status {self.status or 'none'}, "
            f"{pieces}, {spent * 1000:.0f} ms{error}"
        )
