"""Network errors: timeouts, refused and broken connections, a closed client."""

import ssl
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Final, TypeVar

import attrs

from llama_dashscope._errors import (
    APIConnectionError,
    APITimeoutError,
    ClientClosedError,
    DashScopeError,
)
from llama_dashscope._sanitize import (
    attempts_of,
    chain_of,
    redact,
    sanitize,
    without_frames,
)
from llama_dashscope._settings import ApiKey, Network

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

_TIMEOUT_MESSAGES: Final = {
    "connect": "no connection to",
    "read": "no byte of an answer from",
    "idle": "nothing new in the answer of",
    "total": "no whole answer from",
}

DESCRIPTION: Final = 300
"""How much of another library's error message is shown, in characters."""

E = TypeVar("E", bound=DashScopeError)


def timed_out(
    limit: str, seconds: float | None, host: str, *, retryable: bool = False
) -> APITimeoutError:
    """Return the error for an exceeded time limit.

    Args:
        limit: which one: `connect`, `read`, `idle` or `total`.
        seconds: the limit in seconds.
        host: the host that did not answer in time.
        retryable: whether the same call may succeed if it is made again.
    """
    what = f"{_TIMEOUT_MESSAGES[limit]} {host} within {seconds or 0:g} s (timeout.{limit})"
    error = APITimeoutError(what, retryable=retryable)
    error.limit = limit
    error.waited = seconds or 0.0
    return error


def cant_connect(host: str, why: str, *, retryable: bool) -> APIConnectionError:
    """Return the error for a connection that a transport could not make."""
    return APIConnectionError(f"can't connect to {host}: {why}", retryable=retryable)


def refused_by_proxy(host: str, why: str) -> APIConnectionError:
    """Return the error for a proxy that refuses to connect."""
    return APIConnectionError(f"the proxy refuses to connect to {host}: {why}")


def broken(
    host: str, why: str, when: str = "within", *, retryable: bool = False
) -> APIConnectionError:
    """Return the error for a connection that broke before an answer or within it."""
    what = f"the connection to {host} broke {when} the answer: {why}"
    return APIConnectionError(what, retryable=retryable)


def closed_error() -> ClientClosedError:
    """Return the error for using a closed client."""
    return ClientClosedError("the client was closed; make a new Client for further calls")


@attrs.frozen
class Kinds:
    """A library's exception classes for failures before the head of an answer."""

    connect_timeout: type[Exception]
    timeout: type[Exception]
    proxy: type[Exception]
    connect: type[Exception]


def before_answer(
    error: Exception, kinds: Kinds, network: Network, request: HTTPRequest, *, heard: bool | None
) -> DashScopeError:
    """Return our error for a library's failure before the head of an answer.

    Args:
        error: the library's exception.
        kinds: the library's exception classes.
        network: the client's network settings.
        request: the request.
        heard: whether a byte of the answer had arrived; None if unknown. If one had, the service
            has accepted the request, so it is never sent again.
    """
    host, timeout = network.host, request.timeout
    secrets = secrets_of(network, request.key)
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
        transient = not isinstance(first_cause(error), ssl.SSLCertVerificationError)
        failure = cant_connect(host, why, retryable=transient)
    else:
        failure = broken(host, why, "before", retryable=heard is False)
    return with_cause(failure, error, secrets)


def within_answer(
    error: Exception,
    timeout: type[Exception],
    network: Network,
    key: ApiKey,
    limit: float | None,
) -> DashScopeError:
    """Return our error for a library's failure in the body of an answer.

    Args:
        error: the library's exception.
        timeout: the library's exception class for timeouts.
        network: the client's network settings.
        key: the key of the request; the request itself may be large, and long streams many.
        limit: the time limit, in seconds.
    """
    secrets = secrets_of(network, key)
    failure: DashScopeError
    if isinstance(error, timeout):
        failure = timed_out("idle", limit, network.host)
    else:
        failure = broken(network.host, describe(error, secrets))
    return with_cause(failure, error, secrets)


@contextmanager
def starting() -> Generator[None]:
    """Turn an OSError in the block (an unreadable import, no more sockets) into our error."""
    try:
        yield
    except DashScopeError:  # some of them are OSErrors too
        raise
    except OSError as error:
        msg = f"can't start to connect: {describe(error)}"
        raise APIConnectionError(msg, retryable=True) from error


def secrets_of(network: Network, key: ApiKey) -> tuple[str, ...]:
    """Return what errors about a request must not show: its key and the proxy's password."""
    return (key.reveal(), *(network.proxy.secrets if network.proxy else ()))


def describe(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Describe another library's exception in one line, by its first cause, without secrets."""
    cause = first_cause(error)
    text = sanitize(str(cause) or str(error), secrets, DESCRIPTION)
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__


def with_cause(error: E, cause: BaseException, secrets: Iterable[str] = ()) -> E:
    """Return an error with another library's exception as its cause, made safe to show.

    The library's frames have the request's headers in local variables, which error-reporting tools
    send away, so the tracebacks are removed. A cause that itself shows a secret is dropped.
    """
    chain = chain_of(without_frames(cause))
    shown = "".join(f"{each!r} {each!s} {vars(each)!r}" for each in chain)
    error.__cause__ = cause if redact(shown, secrets) == shown else None
    return error


def first_cause(error: BaseException) -> BaseException:
    """Return the exception at the beginning of a chain of causes."""
    while (deeper := _cause(error)) is not None:
        error = deeper
    return error


def _cause(error: BaseException) -> BaseException | None:
    """Return the direct cause; for a group of failed connection attempts, the first of them."""
    if attempts := attempts_of(error):
        return attempts[0]
    # httpcore re-raises "from None" an error whose cause is then only in its context.
    return error.__cause__ or (error.__context__ if error.__suppress_context__ else None)
