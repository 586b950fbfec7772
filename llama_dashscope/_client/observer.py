"""Observers: told of every call of this process, for traces, metrics and hooks of one's own.

Without an observer a call costs one look at an empty tuple more.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
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
    """A call that begins, as an observer sees it."""

    base_url: str
    """The service's address, up to and including `/api/v1`."""
    _payload: Payload = attrs.field(repr=False)

    @property
    def model(self) -> str:
        """Name of the model, as it is sent."""
        return self._payload.model

    @property
    def streaming(self) -> bool:
        """Whether the answer is to come as a stream."""
        return self._payload.streaming

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The `parameters` of the request, as they are sent; not to be changed."""
        return self._payload.parameters

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the service."""
        parts = urlsplit(self.base_url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    def read_input(self) -> Mapping[str, Any]:
        """Return the `input` of the request: what users say. It is read anew each time."""
        found: Mapping[str, Any] = json.loads(self._payload.body)["input"]
        return found


@attrs.frozen
class AttemptEnd:
    """How one attempt at a call ended."""

    number: int
    """Which attempt it was, from 1 on."""
    seconds: float
    """How long it took, waiting for the pace and for a connection included."""
    status: int | None
    """HTTP status of the answer; None where none came."""
    request_id: str
    """The service's name for it; empty where it said none."""
    usage: Usage | None
    """Tokens that the service counted so far; None where it counted none."""
    error: BaseException | None
    """What it ended with; None for an answer, and for a stream that was left early."""
    pause: float | None
    """Seconds until the next attempt; None where there is none."""


@attrs.frozen
class CallEnd:
    """How a call ended, all its attempts together."""

    error: BaseException | None = None
    """What it ended with, a cancellation included; None for an answer, and for a stream that was
    left early."""
    left_early: bool = False
    """Whether it was given up before its end: a stream that was closed, a call that was cancelled.
    What had arrived until then counts all the same."""
    usage: Usage | None = None
    """Tokens that the service counted so far; None where it counted none."""
    request_id: str = ""
    """The service's name for the last attempt; empty where it said none."""
    finish_reasons: tuple[str, ...] = ()
    """Why each answer ended, such as `stop`; empty while none has."""
    _read: Callable[[], Response] | None = attrs.field(default=None, repr=False, alias="read")

    def read_response(self) -> Response | None:
        """Return the answer as far as it has come; None where none has begun."""
        return None if self._read is None else self._read()


class CallObserver:
    """What is told of one call; override what you want to know.

    The methods are called in the call's own event loop and must not wait. What they raise is
    logged, never reaches the call, and ends the observer's interest in it.
    """

    def request_headers(self) -> Mapping[str, str]:
        """Return headers to send with the call, such as `traceparent`; asked once, at its start."""
        return {}

    def attempt_ended(self, attempt: AttemptEnd) -> None:
        """Hear how an attempt ended; of a stream the last one ends when the stream does."""

    def chunks_arrived(self, count: int) -> None:
        """Hear that chunks of a stream have arrived together; the first time it is the first."""

    def call_ended(self, end: CallEnd) -> None:
        """Hear how the call ended; the last that is told of it, once."""


class Observer(Protocol):
    """What `add_observer` takes."""

    def call_started(self, call: ObservedCall, /) -> CallObserver | None:
        """Hear that a call begins; return what is to be told of it, or None for nothing.

        It runs in the context (`contextvars`) of the code that makes the call.
        """
        ...


class CallWatch:
    """The observers of one call; none of them can do it harm."""

    def __init__(self, observers: list[CallObserver]) -> None:
        """Take what is to be told."""
        self._observers = observers
        self._ended = False

    def request_headers(self) -> dict[str, str]:
        """Gather what the observers want to be sent."""
        headers: dict[str, str] = {}
        self._tell(lambda each: headers.update(each.request_headers()))
        return {name.lower(): value for name, value in headers.items()}

    def attempt_ended(self, attempt: AttemptEnd) -> None:
        """See `CallObserver.attempt_ended`."""
        self._tell(lambda each: each.attempt_ended(attempt))

    def chunks_arrived(self, count: int) -> None:
        """See `CallObserver.chunks_arrived`."""
        self._tell(lambda each: each.chunks_arrived(count))

    def call_ended(self, end: CallEnd) -> None:
        """See `CallObserver.call_ended`; what comes after the first end is not told."""
        if not self._ended:
            self._ended = True
            self._tell(lambda each: each.call_ended(end))

    def call_failed(self, error: BaseException) -> None:
        """Tell that a call ended with an error, or was cancelled, before it had an answer."""
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
        """Tell that a call ended with its whole answer."""
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
        for each in list(self._observers):
            self._tell_one(each, tell)

    def _tell_one(self, observer: CallObserver, tell: Callable[[CallObserver], object]) -> None:
        try:
            tell(observer)
        except Exception:
            logger.exception("an observer failed and is told no more of this call")
            self._observers.remove(observer)


_observers: tuple[Observer, ...] = ()
_changing: Final = threading.Lock()


def add_observer(observer: Observer) -> None:
    """Tell an observer of every call that begins from now on, in all clients of this process.

    Args:
        observer: an object with the method of `Observer`; one that is known already stays once.
    """
    global _observers  # noqa: PLW0603  # replaced as a whole, so that no call needs the lock
    with _changing:
        if observer not in _observers:
            _observers = (*_observers, observer)


def remove_observer(observer: Observer) -> None:
    """Tell an observer of no further calls; of those that have begun it hears the end.

    Args:
        observer: the object that `add_observer` was given; an unknown one is none of its business.
    """
    global _observers  # noqa: PLW0603  # as above
    with _changing:
        _observers = tuple(each for each in _observers if each is not observer)


def watch(base_url: str, payload: Payload) -> CallWatch | None:
    """Tell all observers that a call begins; None where nobody wants to know more."""
    if not _observers:
        return None
    call = ObservedCall(base_url, payload)
    found = (_start(each, call) for each in _observers)
    listening = [each for each in found if each is not None]
    return CallWatch(listening) if listening else None


def _start(observer: Observer, call: ObservedCall) -> CallObserver | None:
    try:
        return observer.call_started(call)
    except Exception:
        logger.exception("an observer failed and is told nothing of this call")
        return None
