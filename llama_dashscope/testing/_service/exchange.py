"""The log entry of one request: the request, the answer, and how it ended."""

import time
from typing import Literal, TypeAlias

from attrs import define, field

from .faults import Fault
from .received_request import ReceivedRequest, printable
from .response_plan import BodyPart

_LONGEST_ERROR = 500  # characters
_LONGEST_ANSWER = 64 * 1024  # bytes

Outcome: TypeAlias = Literal["running", "answered", "failed", "cut", "client left"]
"""See `Exchange.outcome`."""


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
    """`"answered"` once all of an answer was sent; `"failed"` if an error or an invalid frame was
    sent, also inside HTTP 200 and after good frames; `"cut"` if a fault or the end of the server
    broke the answer off; `"client left"` if the client did."""
    error: Exception | None = None
    """The error that a scripted function or an upstream raised."""
    received: float = field(factory=time.time)
    """When the request arrived, in seconds since 1970."""
    started: float = field(factory=time.monotonic)
    """The same by the monotonic clock, as for `ended`."""
    ended: float | None = None
    _failed: bool = field(default=False, init=False, repr=False)

    def sent(self, piece: BodyPart) -> None:
        """Record a piece of the answer that was sent."""
        self.pieces_sent += 1
        self.error = piece.error or self.error
        self._failed = piece.failed or self._failed
        if self.answer is not None and len(self.answer) < _LONGEST_ANSWER:
            self.answer += piece.data[: _LONGEST_ANSWER - len(self.answer)]

    def end(self, outcome: Outcome) -> None:
        """Record how it ended; only the first call counts, and an error that was sent decides."""
        if self.ended is None:
            refused = self.status is not None and not 200 <= self.status < 300
            self.outcome = "failed" if self._failed or refused else outcome
            self.ended = time.monotonic()

    @property
    def shown_error(self) -> str | None:
        """The error in one line; None if there is none."""
        return printable(repr(self.error), _LONGEST_ERROR) if self.error else None

    def __str__(self) -> str:
        """Return one line for a log."""
        request, spent = self.request, (self.ended or time.monotonic()) - self.started
        pieces = f"{self.pieces_sent} piece{'' if self.pieces_sent == 1 else 's'}"
        how = f"{'stream' if request.streaming else 'call'} {self.outcome}"
        fault = f", fault {self.fault}" if self.fault else ""
        error = f", {self.shown_error}" if self.error else ""
        return (
            f"#{request.number} {request.title}: {how}{fault}, status {self.status or 'none'}, "
            f"{pieces}, {spent * 1000:.0f} ms{error}"
        )
