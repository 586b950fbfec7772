"""The script of the server: replies and faults for the next calls."""

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, cast

from attrs import define, field

from .account_limits import AccountLimits
from .faults import Fault, Mix
from .field_types import check
from .received_request import ReceivedRequest
from .response_plan import ResponsePlan
from .scripted_replies import Raw, Reply, ToolCall, default_reply

Scripted: TypeAlias = str | Reply | ToolCall | Raw | Fault | ResponsePlan
"""What can answer one request; a plain string is the text of a reply."""
Source: TypeAlias = Scripted | Callable[[ReceivedRequest], Scripted | Awaitable[Scripted]]
"""The same, or a function of the request that returns it; it may be async (asyncio)."""
When: TypeAlias = Callable[[ReceivedRequest], bool]


@define
class _Armed:
    fault: Fault
    left: float
    when: When | None

    @property
    def how_often(self) -> str:
        return "" if self.left == float("inf") else f" × {self.left}"

    def fits(self, request: ReceivedRequest) -> bool:
        return self.left > 0 and (self.when is None or self.when(request))


@define
class Script:
    """Replies and faults for the next calls; read in the server's thread, written in others."""

    _lock: threading.Lock = field(factory=threading.Lock)
    _standing: Source = default_reply
    _queue: deque[Source] = field(factory=deque[Source])
    _armed: list[_Armed] = field(factory=list[_Armed])
    _mix: Mix | None = None
    limits: AccountLimits | None = None
    """The account's limits."""

    def reply(self, source: Source | Sequence[Source]) -> None:
        """Set the reply to all further calls, or a list of replies to the next ones."""
        several = isinstance(source, list | tuple)
        given = cast("Sequence[Source]", source if several else (source,))
        for each in given:
            check("a reply", Source, each)
        with self._lock:
            if several:
                self._queue.extend(given)
            else:
                self._standing = given[0]

    def arm(self, fault: Fault | Mix, times: int | None, when: When | None) -> None:
        """Arm a fault for this many calls; None for all."""
        check("fault", Fault | Mix, fault)
        check("times", int | None, times)
        check("when", Callable[[ReceivedRequest], bool] | None, when)
        with self._lock:
            if isinstance(fault, Mix):
                self._mix = fault
            elif isinstance(fault, AccountLimits):
                self.limits = fault
            else:
                self._armed.append(_Armed(fault, float("inf") if times is None else times, when))

    def clear(self) -> None:
        """Remove all faults, and go back to default replies."""
        with self._lock:
            self._standing, self._mix, self.limits = default_reply, None, None
            self._queue.clear()
            self._armed.clear()

    def waiting(self) -> list[str]:
        """Return the armed faults as text."""
        with self._lock:
            armed = [f"{each.fault}{each.how_often}" for each in self._armed if each.left > 0]
            return armed + [str(each) for each in (self._mix, self.limits) if each]

    def next_fault(self, request: ReceivedRequest) -> Fault | None:
        """Return the fault for this call, or None, and count it."""
        with self._lock:
            for armed in self._armed:
                if armed.fits(request):
                    armed.left -= 1
                    return armed.fault
            return self._mix.draw() if self._mix else None

    def next_source(self) -> Source:
        """Return the source of the reply to this call."""
        with self._lock:
            return self._queue.popleft() if self._queue else self._standing
