"""Observers of every call in this process, for traces, metrics and hooks.

Without observers, this costs a call only the check of an empty tuple.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import attrs

from llama_dashscope._errors import DashScopeError
from llama_dashscope._models import Response, Usage
from llama_dashscope._protocol.request import Payload

__all__ = [
    "AttemptEnd",
    "CallEnd",
    "CallObserver",
    "CallWatch",
    "ObservedCall",
    "Observer",
    "add_observer",
    "remove_observer",
    "watch",
]

logger: Final = logging.getLogger("llama_dashscope")


@attrs.frozen
class ObservedCall:
    """What an observer learns about a call that begins."""

    base_url: str
    """The service's address, up to and including `/api/v1`."""
    _payload: Payload = attrs.field(repr=False)

    @property
    def model(self) -> str:
        """Name of the model, as it is sent."""
        return self._payload.model

    @property
    def streaming(self) -> bool:
        """Whether the answer is streamed."""
        return self._payload.streaming

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The `parameters` of the request, as they are sent; do not change them."""
        return self._payload.parameters

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the service."""
        return _address(self.base_url)

    def read_input(self) -> Mapping[str, Any]:
        """Return the `input` of the request: prompt or messages. Each call parses it again."""
        found: Mapping[str, Any] = json.loads(self._payload.body)["input"]
        return found


@lru_cache(maxsize=16)
def _address(base_url: str) -> tuple[str, int]:
    parts = urlsplit(base_url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


@attrs.frozen
class AttemptEnd:
    """How one attempt at a call ended."""

    number: int
    """The number of the attempt, counted from 1."""
    seconds: float
    """How long it took, including the wait for the pace and for a connection."""
    status: int | None
    """HTTP status of the answer; None if there was no answer."""
    request_id: str
    """The service's id of the request; empty if it sent none."""
    usage: Usage | None
    """Tokens that the service has counted so far; None if it reported none."""
    error: BaseException | None
    """The error that it ended with; None if it succeeded, or if a stream was closed early."""
    pause: float | None
    """Seconds until the next attempt; None if there is none."""


@attrs.frozen
class CallEnd:
    """How a call ended, all its attempts together."""

    error: BaseException | None = None
    """The error or cancellation that it ended with; None if it succeeded, or if a stream was closed
    early."""
    left_early: bool = False
    """Whether the stream was closed, or the call cancelled, before its end. The other fields then
    describe what had arrived."""
    usage: Usage | None = None
    """Tokens that the service has counted so far; None if it reported none."""
    request_id: str = ""
    """The service's id of the last attempt's request; empty if it sent none."""
    finish_reasons: tuple[str, ...] = ()
    """Why each answer ended, such as `stop`; empty if none has ended."""
    _read: Callable[[], Response] | None = attrs.field(default=None, repr=False, alias="read")

    def read_response(self) -> Response | None:
        """Return the answer as far as it has arrived; None if none has begun."""
        return None if self._read is None else self._read()


class CallObserver:
    """Receives the events of one call; override the methods that you need.

    The methods run in the call's own event loop and must not block. If one raises, the error is
    logged and never reaches the call, and this observer gets no further events of the call.
    """

    def request_headers(self) -> Mapping[str, str]:
        """Return headers to send with the call, such as `traceparent`; called once, at its start.

        The headers are sent with every attempt.
        """
        return {}

    def attempt_ended(self, attempt: AttemptEnd) -> None:
        """Called when an attempt has ended; for a stream, the last one ends with the stream."""

    def chunks_arrived(self, count: int) -> None:
        """Called when `count` chunks of a stream arrive together; the first time, with the first.

        The first call thus marks the time to the first chunk.
        """

    def call_ended(self, end: CallEnd) -> None:
        """Called once, as the last event, when the call has ended."""


class Observer(Protocol):
    """The interface of the objects that `add_observer` takes."""

    def call_started(self, call: ObservedCall, /) -> CallObserver | None:
        """Called when a call begins; returns an observer of this call, or None to ignore it.

        It runs in the context (`contextvars`) of the code that makes the call.
        """
        ...


class CallWatch:
    """The observers of one call; their errors never reach the call."""

    __slots__ = ("_ended", "_observers")

    def __init__(self, observers: list[CallObserver]) -> None:
        """Take the call's observers."""
        self._observers = observers
        self._ended = False

    def request_headers(self) -> dict[str, str]:
        """Return the headers that the observers add to the request."""
        headers: dict[str, str] = {}
        self._tell(lambda each: headers.update(each.request_headers()))
        return headers and {name.lower(): value for name, value in headers.items()}

    def attempt_ended(self, attempt: AttemptEnd) -> None:
        """See `CallObserver.attempt_ended`."""
        self._tell(lambda each: each.attempt_ended(attempt))

    def chunks_arrived(self, count: int) -> None:
        """See `CallObserver.chunks_arrived`."""
        for each in self._observers:  # as `_tell` does, but this comes thousands of times a call
            try:
                each.chunks_arrived(count)
            except Exception as error:  # noqa: BLE001, PERF203  # as in `_tell`
                self._drop(each, error)

    def call_ended(self, end: CallEnd) -> None:
        """See `CallObserver.call_ended`; only the first end is reported."""
        if not self._ended:
            self._ended = True
            self._tell(lambda each: each.call_ended(end))

    def call_failed(self, error: BaseException) -> None:
        """Report that a call ended with an error, or was cancelled, before it had an answer."""
        known = error if isinstance(error, DashScopeError) else None
        self.call_ended(
            CallEnd(
                error,
                not isinstance(error, Exception),
                known.usage if known else None,
                known.request_id if known else "",
            )
        )

    def call_answered(self, response: Response) -> None:
        """Report that a call ended with its complete answer."""
        answers = response.output.choices or (response.output,)
        reasons = tuple(each.finish_reason for each in answers if each.finish_reason)
        self.call_ended(
            CallEnd(
                usage=response.usage,
                request_id=response.request_id,
                finish_reasons=reasons,
                read=lambda: response,
            )
        )

    def _tell(self, tell: Callable[[CallObserver], object]) -> None:
        for each in self._observers:
            try:
                tell(each)
            except Exception as error:  # noqa: BLE001, PERF203  # whatever it raises, the call goes on
                self._drop(each, error)

    def _drop(self, failed: CallObserver, error: Exception) -> None:
        msg = "an observer failed; it gets no further events of this call"
        logger.error(msg, exc_info=error)
        self._observers = [each for each in self._observers if each is not failed]


_observers: tuple[Observer, ...] = ()
_changing: Final = threading.Lock()


def add_observer(observer: Observer) -> None:
    """Add an observer of all calls that begin from now on, in all clients of this process.

    Args:
        observer: an object with the method of `Observer`; adding it twice has no effect.

    Raises:
        TypeError: it has no such method.
    """
    if not callable(getattr(observer, "call_started", None)):
        name = type(observer).__name__
        raise TypeError(f"observer must be an object with a method call_started, got {name}")
    global _observers  # noqa: PLW0603  # replaced as a whole, so that no call needs the lock
    with _changing:
        if observer not in _observers:
            _observers = (*_observers, observer)


def remove_observer(observer: Observer) -> None:
    """Remove an observer; it still gets the events of calls that have begun.

    Args:
        observer: the object that was given to `add_observer`; any other is ignored.
    """
    global _observers  # noqa: PLW0603  # as above
    with _changing:
        _observers = tuple(each for each in _observers if each is not observer)


def watch(base_url: str, payload: Payload) -> CallWatch | None:
    """Report the beginning of a call; return its observers, or None if there are none."""
    if not _observers:
        return None
    call, listening = ObservedCall(base_url, payload), list[CallObserver]()
    for each in _observers:
        if (found := _start(each, call)) is not None:
            listening.append(found)
    return CallWatch(listening) if listening else None


def _start(observer: Observer, call: ObservedCall) -> CallObserver | None:
    try:
        return observer.call_started(call)
    except Exception:
        logger.exception("an observer failed; it gets no events of this call")
        return None
