"""Errors of the network: time limits, refused and broken connections, a closed client."""

import ssl
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

import attrs

from llama_dashscope._errors import (
    APIConnectionError,
    APITimeoutError,
    ClientClosedError,
    DashScopeError,
)
from llama_dashscope._sanitize import redact, sanitize
from llama_dashscope._settings import Network

from .interface import HTTPRequest

__all__ = [
    "Kinds",
    "before_answer",
    "broken",
    "cant_connect",
    "closed_error",
    "describe",
    "first_cause",
    "refused_by_proxy",
    "secrets_of",
    "starting",
    "timed_out",
    "with_cause",
    "within_answer",
]

_SILENCES: Final = {
    "connect": "no connection to",
    "read": "no byte of an answer from",
    "idle": "nothing new in the answer of",
    "total": "no whole answer from",
}

DESCRIPTION: Final = 300
"""How much of a foreign exception's text is shown, in characters."""

E = TypeVar("E", bound=DashScopeError)


def timed_out(
    limit: str, seconds: float | None, host: str, *, retryable: bool = False
) -> APITimeoutError:
    """Return the error for a time limit that ran out.

    Args:
        limit: which one: `connect`, `read`, `idle` or `total`.
        seconds: how long it was.
        host: who was silent.
        retryable: whether the same call may work when it is made again.
    """
    what = f"{_SILENCES[limit]} {host} within {seconds or 0:g} s (timeout.{limit})"
    error = APITimeoutError(what, retryable=retryable)
    error.limit = limit
    error.waited = seconds or 0.0
    return error


def cant_connect(host: str, why: str, *, retryable: bool) -> APIConnectionError:
    """Return the error for a connection that a transport could not make."""
    return APIConnectionError(f"can't connect to {host}: {why}", retryable=retryable)


def refused_by_proxy(host: str, why: str) -> APIConnectionError:
    """Return the error for a proxy that makes no connection."""
    return APIConnectionError(f"the proxy refuses to connect to {host}: {why}")


def broken(
    host: str, why: str, when: str = "within", *, retryable: bool = False
) -> APIConnectionError:
    """Return the error for a connection that broke before an answer or within it."""
    what = f"the connection to {host} broke {when} the answer: {why}"
    return APIConnectionError(what, retryable=retryable)


def closed_error() -> ClientClosedError:
    """Return the error for whatever meets a closed client."""
    return ClientClosedError("the client was closed; make a new Client for further calls")


@attrs.frozen
class Kinds:
    """The exceptions by which a library says how it failed before the head of an answer."""

    connect_timeout: type[Exception]
    timeout: type[Exception]
    proxy: type[Exception]
    connect: type[Exception]


def before_answer(
    error: Exception, kinds: Kinds, network: Network, request: HTTPRequest, *, heard: bool | None
) -> DashScopeError:
    """Make our error for a library's failure before the head of an answer.

    Args:
        error: what the library raised.
        kinds: how to read it.
        network: how the service was to be reached.
        request: what was to be sent.
        heard: whether a byte of the answer had come; None where nobody knows. Once it has, the
            service has taken the request, which is never sent again.
    """
    host, timeout = network.host, request.timeout
    secrets = secrets_of(network, request)
    why = describe(error, secrets)
    failure: DashScopeError
    if isinstance(error, kinds.connect_timeout):
        failure = timed_out("connect", timeout.connect, host, retryable=True)
    elif isinstance(error, kinds.timeout):
        limit = "idle" if heard else "read"
        failure = timed_out(limit, timeout.idle if heard else timeout.read, host)
    elif isinstance(error, kinds.proxy):
        failure = refused_by_proxy(host, why)
    elif isinstance(error, kinds.connect):
        passing = not isinstance(first_cause(error), ssl.SSLCertVerificationError)
        failure = cant_connect(host, why, retryable=passing)
    else:
        failure = broken(host, why, "before", retryable=heard is False)
    return with_cause(failure, error, secrets)


def within_answer(
    error: Exception,
    timeout: type[Exception],
    network: Network,
    request: HTTPRequest,
    limit: float | None,
) -> DashScopeError:
    """Make our error for a library's failure in the body of an answer.

    Args:
        error: what the library raised.
        timeout: what it raises for a time limit.
        network: how the service was reached.
        request: what was sent.
        limit: the time limit, in seconds.
    """
    secrets = secrets_of(network, request)
    failure: DashScopeError
    if isinstance(error, timeout):
        failure = timed_out("idle", limit, network.host)
    else:
        failure = broken(network.host, describe(error, secrets))
    return with_cause(failure, error, secrets)


@contextmanager
def starting() -> Generator[None]:
    """Raise as an error of ours what the system refuses within: files to import, sockets."""
    try:
        yield
    except DashScopeError:  # some are an OSError, too
        raise
    except OSError as error:
        msg = f"can't start to connect: {describe(error)}"
        raise APIConnectionError(msg, retryable=True) from error


def secrets_of(network: Network, request: HTTPRequest) -> tuple[str, ...]:
    """Return what no error about a request may show: its key, and what the proxy asks for."""
    keys = (value for name, value in request.headers if name == "authorization")
    key = next(keys, "").removeprefix("Bearer ")
    return (key, *(network.proxy.secrets if network.proxy else ()))


def describe(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Name a foreign exception in one line by the first cause of it, without these secrets."""
    cause = first_cause(error)
    text = sanitize(str(cause) or str(error), secrets, DESCRIPTION)
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__


def with_cause(error: E, cause: BaseException, secrets: Iterable[str] = ()) -> E:
    """Return an error with a foreign exception as its cause, made safe to show.

    The frames of a library hold the headers of the request in local variables, which tools that
    report errors send off, so they go. A cause that shows a secret itself goes altogether.
    """
    chain = list(_chain(cause))
    for each in chain:
        each.__traceback__ = None
    told = "".join(f"{each!r} {each!s} {vars(each)!r}" for each in chain)
    error.__cause__ = cause if redact(told, secrets) == told else None
    return error


def first_cause(error: BaseException) -> BaseException:
    """Return the exception that all others of a chain were raised from."""
    while (deeper := _cause(error)) is not None:
        error = deeper
    return error


def _cause(error: BaseException) -> BaseException | None:
    """Go one step down; of several attempts to connect the first stands for all."""
    if attempts := _attempts(error):
        return attempts[0]
    # httpcore raises "from None" what it raised "from" the cause before.
    return error.__cause__ or (error.__context__ if error.__suppress_context__ else None)


def _attempts(error: BaseException) -> tuple[BaseException, ...]:
    """Return the exceptions that an exception is a group of."""
    attempts: Any = getattr(error, "exceptions", None)
    return cast("tuple[BaseException, ...]", attempts) if isinstance(attempts, tuple) else ()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that it came from, each once."""
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            todo += [each.__cause__, each.__context__, *_attempts(each)]
            yield each
