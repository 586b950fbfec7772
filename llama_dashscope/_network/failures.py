"""Errors of the network: time limits, refused and broken connections, a closed client."""

from typing import Final, cast

from llama_dashscope._errors import APIConnectionError, APITimeoutError, ClientClosedError

__all__ = [
    "broken",
    "cant_connect",
    "closed_error",
    "describe",
    "first_cause",
    "refused_by_proxy",
    "timed_out",
]

_SILENCES: Final = {
    "connect": "no connection to",
    "read": "no byte of an answer from",
    "idle": "nothing new in the answer of",
    "total": "no whole answer from",
}


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


def cant_connect(host: str, error: Exception, *, retryable: bool) -> APIConnectionError:
    """Return the error for a connection that a transport could not make."""
    return APIConnectionError(f"can't connect to {host}: {describe(error)}", retryable=retryable)


def refused_by_proxy(host: str, error: Exception) -> APIConnectionError:
    """Return the error for a proxy that makes no connection."""
    return APIConnectionError(f"the proxy refuses to connect to {host}: {describe(error)}")


def broken(
    host: str, error: Exception, when: str = "within", *, retryable: bool = False
) -> APIConnectionError:
    """Return the error for a connection that broke before an answer or within it."""
    what = f"the connection to {host} broke {when} the answer: {describe(error)}"
    return APIConnectionError(what, retryable=retryable)


def describe(error: BaseException) -> str:
    """Name a foreign exception in one line by the first cause of it."""
    cause = first_cause(error)
    text = " ".join((str(cause) or str(error)).split())
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__


def first_cause(error: BaseException) -> BaseException:
    """Return the exception that all others of a chain were raised from."""
    while (deeper := _cause(error)) is not None:
        error = deeper
    return error


def _cause(error: BaseException) -> BaseException | None:
    """Go one step down; of several attempts to connect the first stands for all."""
    if isinstance(attempts := getattr(error, "exceptions", None), tuple):
        return cast("tuple[BaseException, ...]", attempts)[0]
    # httpcore raises "from None" what it raised "from" the cause before.
    return error.__cause__ or (error.__context__ if error.__suppress_context__ else None)


def closed_error() -> ClientClosedError:
    """Return the error for whatever meets a closed client."""
    return ClientClosedError("the client was closed; make a new Client for further calls")
