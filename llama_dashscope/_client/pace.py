"""`Pace`: a rate limiter that tasks, threads, event loops and clients share."""

import os
import sys
import threading
from collections import OrderedDict
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final, cast, final

import anyio
import attrs

from llama_dashscope._errors import ConfigurationError
from llama_dashscope._network.event_loop import LoopAffinity, call_soon_threadsafe, is_closed
from llama_dashscope._sanitize import bounded_repr
from llama_dashscope._settings import true_or_false

from .pace_rules import Booking, ModelPace
from .pacer import Outcome

__all__ = ["Pace"]

LONGEST_SLEEP: Final = 1.0
"""Seconds after which the first in the queue checks again: tokens may have been given back."""


def _amount(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if value is None and attribute.default is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < cast("float", value) <= sys.float_info.max:
        or_none = " or None" if attribute.default is None else ""
        msg = f"pace.{attribute.name} must be a number above 0{or_none}, got {bounded_repr(value)}"
        raise ConfigurationError(msg)


class _Waiter:
    """A request in the queue, and the event loop that it waits in."""

    __slots__ = ("_event", "loop")

    def __init__(self) -> None:
        self.loop = LoopAffinity()
        self._event = anyio.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait for `wake`, at most for `seconds`; an earlier call of `wake` counts too."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        self._event = anyio.Event()

    def wake(self) -> bool:
        """Wake the waiter, from any thread; return whether its event loop is still open."""
        try:
            is_here = self.loop.is_here()
        except RuntimeError:  # no event loop runs in this thread
            is_here = False
        if is_here:
            self._event.set()
            return True
        return call_soon_threadsafe(self.loop.loop, self._set)

    def _set(self) -> None:
        self._event.set()


class _Queue:
    """The waiting requests to one model, in the order in which they came."""

    __slots__ = ("_waiters", "rules")

    def __init__(self, rules: ModelPace) -> None:
        self.rules = rules
        self._waiters: OrderedDict[_Waiter, None] = OrderedDict()

    @property
    def first(self) -> _Waiter | None:
        """The waiter whose turn is next."""
        return next(iter(self._waiters), None)

    def join(self) -> _Waiter:
        """Add a waiter at the end."""
        waiter, first = _Waiter(), self.first
        if first is not None and first.loop.loop is not waiter.loop.loop:
            self._drop_closed()
        self._waiters[waiter] = None
        return waiter

    def leave(self, waiter: _Waiter) -> None:
        """Remove a waiter; if it was the first, wake the next one."""
        was_first = waiter is self.first
        self._waiters.pop(waiter, None)
        if was_first:
            self.wake_first()

    def wake_first(self) -> None:
        """Make the first waiter check again; drop those whose event loop is closed."""
        while (first := self.first) is not None and not first.wake():
            del self._waiters[first]

    def _drop_closed(self) -> None:
        while (first := self.first) is not None and is_closed(first.loop.loop):
            del self._waiters[first]


@attrs.define
class PacePermit:
    """The permit of a `Pace` to make one attempt."""

    _pace: "Pace"
    _model: str
    _booking: Booking | None

    def settle(self, outcome: Outcome, /) -> None:
        """Report how the attempt ended; only the first call counts."""
        booking, self._booking = self._booking, None
        if booking is not None:
            self._pace.settle(self._model, booking, outcome)


@final
@attrs.define(eq=False)
class Pace:
    """A rate limiter that keeps requests within an account's limits: `Client(pace=Pace(...))`.

    Every attempt of every call, stream and batch, retries included, waits for its turn: first come,
    first served, separately for each model, as the service counts. One object may be shared by many
    clients, threads and event loops that use the same account.

    Known limits are kept from the start. Unknown limits are found: requests start at 10 a second,
    and the rate doubles each second until the service refuses one; then it falls to 0.8 of that
    rate and rises slowly. A refusal pauses all requests for a moment, or for as long as the service
    asks (`Retry-After`); refusals of requests sent before the pause don't lengthen it. If the
    service refuses the growth of the rate, the rate then rises more slowly; if it refuses the
    concurrency, fewer requests are in flight at once. Tokens are estimated before an attempt and
    corrected by the usage that comes back.

    Source of the limits: "Rate limits" in Model Studio's documentation
    (https://help.aliyun.com/zh/model-studio/rate-limit).

    Raises:
        ConfigurationError: a number is not above 0.
    """

    requests_per_minute: float | None = attrs.field(default=None, validator=_amount)
    """The account's limit of requests to a model, per minute; None if unknown."""
    tokens_per_minute: float | None = attrs.field(default=None, validator=_amount)
    """The account's limit of tokens, input and output together, per minute; None if unknown."""
    adaptive: bool = attrs.field(default=True, validator=true_or_false)
    """Whether refusals change the rate. If not, a refusal only pauses requests, and an unknown
    limit means no limit."""
    max_cooldown: float = attrs.field(default=60.0, validator=_amount)
    """Longest pause after a refusal, in seconds, whatever the service asks for."""
    _queues: dict[str, _Queue] = attrs.field(init=False, factory=dict[str, _Queue], repr=False)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock, repr=False)
    _pid: int = attrs.field(init=False, factory=os.getpid, repr=False)

    async def admit(self, model: str, tokens: int) -> PacePermit:
        """Wait until an attempt may be made; see `Pacer.admit`."""
        with self._guard():
            queue = self._queue(model)
            if queue.first is None and (permit := self._try(queue, model, tokens)):
                return permit
            waiter = queue.join()
        try:
            while True:
                with self._guard():
                    pause = inf
                    if queue.first is waiter:
                        if permit := self._try(queue, model, tokens):
                            return permit
                        pause = min(queue.rules.wait(monotonic()), LONGEST_SLEEP)
                await waiter.sleep(pause)
        finally:
            with self._guard():
                queue.leave(waiter)

    def settle(self, model: str, booking: Booking, outcome: Outcome) -> None:
        """Adjust to how an attempt ended."""
        with self._guard():
            queue, now = self._queue(model), monotonic()
            before = None if queue.first is None else queue.rules.wait(now)
            queue.rules.settle(
                now,
                booking,
                tokens=outcome.tokens,
                refusal=outcome.refusal,
                retry_after=outcome.retry_after,
            )
            if before is not None and queue.rules.wait(now) < before:
                queue.wake_first()

    def _try(self, queue: _Queue, model: str, tokens: int) -> PacePermit | None:
        now = monotonic()
        if queue.rules.wait(now) > 0:
            return None
        return PacePermit(self, model, queue.rules.book(now, tokens))

    def _queue(self, model: str) -> _Queue:
        queue = self._queues.get(model)
        if queue is None:
            rules = ModelPace.begin(
                monotonic(),
                self.requests_per_minute,
                self.tokens_per_minute,
                adaptive=self.adaptive,
                max_cooldown=self.max_cooldown,
            )
            queue = self._queues[model] = _Queue(rules)
        return queue

    def _guard(self) -> threading.Lock:
        if self._pid != os.getpid():
            # Forked: the lock may have been held by a thread of the parent, which has the waiters.
            self._pid, self._lock, self._queues = os.getpid(), threading.Lock(), {}
        return self._lock

    def __reduce__(self) -> tuple[partial["Pace"], tuple[()]]:
        """Pickle and copy the settings only, not the rates that were found."""
        return partial(
            Pace,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            adaptive=self.adaptive,
            max_cooldown=self.max_cooldown,
        ), ()
