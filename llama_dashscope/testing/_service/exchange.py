"""The log of one request: what came, what was answered, how it ended."""

import time
from typing import Literal, TypeAlias

from attrs import define, field

from .faults import Fault
from .received_request import ReceivedRequest, printable

_LONGEST_ERROR = 500  # characters
_LONGEST_ANSWER = 64 * 1024  # bytes

Outcome: TypeAlias = Literal["running", "answered", "failed", "cut", "client left"]
"""`"failed"` is an answer that tells of an `error`; `"cut"` is one that a fault, or the end of the
server, broke off."""


@define(eq=False)
class Exchange:
    """A request and what became of it; it changes while the answer is on its way."""

    request: ReceivedRequest
    status: int | None = None
    """The HTTP status sent, None before that or if nothing is ever answered."""
    fault: Fault | None = None
    """The fault it met."""
    pieces_sent: int = 0
    """How many frames of a stream went out; a body that is no stream counts as one."""
    answer: bytearray | None = field(factory=bytearray, repr=False)
    """The first 64 KB of the body sent; None where 200 more requests have come since."""
    outcome: Outcome = "running"
    error: Exception | None = None
    """What a scripted function raised, or how an upstream failed."""
    received: float = field(factory=time.time)
    """When it came, in seconds since 1970."""
    started: float = field(factory=time.monotonic)
    """The same on a clock that nobody sets, as `ended` is."""
    ended: float | None = None

    def sent(self, data: bytes) -> None:
        """Note a piece of the answer that went out."""
        self.pieces_sent += 1
        if self.answer is not None and len(self.answer) < _LONGEST_ANSWER:
            self.answer += data[: _LONGEST_ANSWER - len(self.answer)]

    def end(self, outcome: Outcome) -> None:
        """Note how it ended, the first time."""
        if self.ended is None:
            self.outcome, self.ended = outcome, time.monotonic()

    @property
    def shown_error(self) -> str | None:
        """The error on one line; None for none."""
        return printable(repr(self.error), _LONGEST_ERROR) if self.error else None

    def __str__(self) -> str:
        """One line for a log."""
        request, spent = self.request, (self.ended or time.monotonic()) - self.started
        pieces = f"{self.pieces_sent} piece{'' if self.pieces_sent == 1 else 's'}"
        how = f"{'stream' if request.streaming else 'call'} {self.outcome}"
        fault = f" by {self.fault}" if self.fault else ""
        error = f", {self.shown_error}" if self.error else ""
        return (
            f"#{request.number} {request.title}: {how}{fault}, status {self.status or 'none'}, "
            f"{pieces}, {spent * 1000:.0f} ms{error}"
        )
