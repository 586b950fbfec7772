"""The tree of errors, the service's codes on it, and what an error carries."""

from __future__ import annotations

import copy
import csv
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import llama_dashscope
from llama_dashscope import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    DashScopeError,
    IncompleteResponseError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitError,
    RequestTooLargeError,
    ServiceUnavailableError,
    Usage,
    _errors,
)
from llama_dashscope._network.failures import describe, timed_out, with_cause
from llama_dashscope._protocol.error_codes import classify


class Row(NamedTuple):
    """One row of the service's table of codes."""

    status: str
    code: str
    message: str
    error: str
    retryable: str


with (Path(__file__).parent / "samples" / "errors.csv").open(encoding="utf-8") as file:
    TABLE = [Row(**row) for row in csv.DictReader(file)]

PARENTS = {
    "ConfigurationError": "DashScopeError",
    "InvalidRequestError": "DashScopeError",
    "APIConnectionError": "DashScopeError",
    "APITimeoutError": "APIConnectionError",
    "ClientClosedError": "APIConnectionError",
    "APIStatusError": "DashScopeError",
    "BadRequestError": "APIStatusError",
    "ContentFilterError": "BadRequestError",
    "AuthenticationError": "APIStatusError",
    "PermissionDeniedError": "APIStatusError",
    "QuotaExhaustedError": "PermissionDeniedError",
    "NotFoundError": "APIStatusError",
    "RequestTooLargeError": "APIStatusError",
    "RateLimitError": "APIStatusError",
    "InternalServerError": "APIStatusError",
    "ServiceUnavailableError": "APIStatusError",
    "StreamUsageError": "DashScopeError",
    "ResponseError": "DashScopeError",
    "IncompleteResponseError": "DashScopeError",
    "ParseError": "DashScopeError",
}
CLASSES: list[type[DashScopeError]] = [
    DashScopeError,
    *(getattr(llama_dashscope, name) for name in PARENTS),
]


@pytest.mark.parametrize("row", TABLE)
@pytest.mark.parametrize("written", [str, str.upper, str.lower])
def test_the_services_table(row: Row, written: Callable[[str], str]) -> None:
    """Each documented code has its class, its status, and an answer to whether waiting helps."""
    verdict = classify(written(row.code), row.message, int(row.status))

    assert verdict.error.__name__ == row.error
    assert verdict.retryable == (row.retryable == "yes")
    assert verdict.status == int(row.status)


@pytest.mark.parametrize("row", TABLE)
@pytest.mark.parametrize("unsaid", [None, 200])
def test_the_services_table_without_a_status(row: Row, unsaid: int | None) -> None:
    """Under HTTP 200, or in a frame that names no status, the code says it all."""
    verdict = classify(row.code, row.message, unsaid)

    assert (verdict.error.__name__, verdict.retryable) == (row.error, row.retryable == "yes")
    assert verdict.status in {int(each.status) for each in TABLE if each.code == row.code}


@pytest.mark.parametrize(
    ("status", "error", "retryable"),
    [
        (400, BadRequestError, False),
        (401, AuthenticationError, False),
        (402, QuotaExhaustedError, False),
        (403, PermissionDeniedError, False),
        (404, NotFoundError, False),
        (405, APIStatusError, False),
        (408, InternalServerError, False),
        (413, RequestTooLargeError, False),
        (415, BadRequestError, False),
        (418, APIStatusError, False),
        (422, BadRequestError, False),
        (429, RateLimitError, True),
        (500, InternalServerError, True),
        (501, InternalServerError, False),
        (502, InternalServerError, True),
        (503, ServiceUnavailableError, True),
        (504, InternalServerError, True),
        (302, APIStatusError, False),
    ],
)
@pytest.mark.parametrize("code", ["", "NeverHeardOf", "NeverHeardOf.At.All"])
def test_a_code_that_no_table_has(
    status: int, error: type[APIStatusError], retryable: bool, code: str
) -> None:
    """The HTTP status decides where the code says nothing."""
    assert classify(code, "words", status) == (error, retryable, status)


def test_nothing_known_at_all() -> None:
    """An error without code and status is an error all the same."""
    assert classify("", "", None) == (APIStatusError, False, 0)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("Throttling.SomethingNew", RateLimitError),
        ("InvalidParameter.Of.Some.Kind", BadRequestError),
        ("DataInspectionFailed.Output", llama_dashscope.ContentFilterError),
        ("AccessDenied.New", PermissionDeniedError),
    ],
)
def test_a_new_kind_of_a_known_code(code: str, error: type[APIStatusError]) -> None:
    """A code is known by its beginning, as the service adds dotted parts to it."""
    assert classify(code, "", None).error is error


@pytest.mark.parametrize(
    ("code", "message", "status", "expected"),
    [
        ("InvalidParameter", "<400> InternalError.Algo: bad", 500, (BadRequestError, False, 400)),
        ("InternalError", "<429> InternalError.Algo: slow", 500, (RateLimitError, True, 429)),
        ("InternalError.Algo", " <503> busy", 200, (ServiceUnavailableError, True, 503)),
        ("", "<404> nothing there", None, (NotFoundError, False, 404)),
        ("Throttling", "<200> odd", 429, (RateLimitError, True, 429)),
        ("Throttling", "not at the front <400>", 429, (RateLimitError, True, 429)),
    ],
)
def test_the_real_status_in_angle_brackets(
    code: str, message: str, status: int | None, expected: tuple[type[APIStatusError], bool, int]
) -> None:
    """Inference errors say their status in front of the message; it counts before the outer one."""
    assert classify(code, message, status) == expected


@pytest.mark.parametrize("code", ["InternalError.Algo.InvalidParameter", "ServiceUnavailable"])
@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_servers_code_under_a_clients_status(code: str, status: int) -> None:
    """What is refused with 4xx is not tried again because its code begins like an outage."""
    verdict = classify(code, "", status)

    assert not verdict.retryable
    assert not issubclass(verdict.error, InternalServerError | ServiceUnavailableError)


def test_content_refused_under_an_outages_name() -> None:
    """ServiceUnavailableError means empty content under 400, and an outage under 503."""
    assert classify("ServiceUnavailableError", "", 400) == (BadRequestError, False, 400)
    assert classify("ServiceUnavailableError", "", 503) == (ServiceUnavailableError, True, 503)


@given(
    st.text() | st.sampled_from([row.code for row in TABLE]),
    st.text() | st.from_regex(r"<\d{3}> .*"),
    st.none() | st.integers(0, 999),
)
def test_any_code_message_and_status(code: str, message: str, status: int | None) -> None:
    """There always is a verdict, and it never tries a refused request again but when throttled."""
    verdict = classify(code, message, status)

    assert issubclass(verdict.error, APIStatusError)
    if 400 <= verdict.status < 500 and verdict.retryable:
        assert verdict.error is RateLimitError or verdict.status == 408


@pytest.mark.parametrize(
    ("attempts", "status", "words"),
    [
        (0, None, "words"),
        (1, None, "words (1 attempt)"),
        (2, None, "words (2 attempts)"),
        (1, 500, "words (status 500)"),
        (2, 500, "words (status 500, 2 attempts)"),
    ],
)
def test_how_often_it_was_tried(attempts: int, status: int | None, words: str) -> None:
    """An error says how often; once is worth saying only where nothing answered."""
    error = DashScopeError("words", status_code=status)
    error.attempts = attempts

    assert str(error) == words


def test_the_tree() -> None:
    """Every error of the package hangs where the design has it."""
    defined = {
        name: thing
        for name, thing in vars(_errors).items()
        if isinstance(thing, type) and issubclass(thing, BaseException)
    }

    assert {name: kind.__bases__[0].__name__ for name, kind in defined.items()} == {
        "DashScopeError": "Exception",
        **PARENTS,
    }
    assert all(getattr(llama_dashscope, name) is kind for name, kind in defined.items())


def test_errors_that_python_knows_too() -> None:
    """A time limit is a TimeoutError and a refused value a ValueError, for handlers that exist."""
    assert issubclass(APITimeoutError, TimeoutError)
    assert issubclass(llama_dashscope.ConfigurationError, ValueError)
    assert issubclass(llama_dashscope.InvalidRequestError, ValueError)


def full(kind: type[DashScopeError]) -> DashScopeError:
    """Make an error with something in every field."""
    error = kind(
        "words",
        code="Code",
        status_code=429,
        request_id="abc",
        hint="do this",
        retryable=True,
        retry_after=1.5,
    )
    error.partial_text, error.usage, error.attempts = "half", Usage(1, 2), 3
    if isinstance(error, APITimeoutError):
        error.limit, error.waited = "idle", 2.5
    return error


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("way", ["pickle", "copy", "deepcopy"])
def test_errors_travel(kind: type[DashScopeError], way: str) -> None:
    """An error crosses processes and is copied with everything it says."""
    error = full(kind)
    if way == "pickle":
        again = pickle.loads(pickle.dumps(error))  # our own bytes
    else:
        again = copy.copy(error) if way == "copy" else copy.deepcopy(error)

    assert type(again) is kind
    assert vars(again) == vars(error)
    assert (str(again), repr(again), again.args) == (str(error), repr(error), error.args)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_that_says_nothing(kind: type[DashScopeError]) -> None:
    """Every field is there from the beginning, and an error never prints as nothing."""
    error = kind()

    assert str(error) == kind.__name__
    assert (error.message, error.code, error.request_id, error.hint) == ("", "", "", "")
    assert (error.status_code, error.usage, error.retry_after) == (None, None, None)
    assert (error.partial_text, error.attempts, error.retryable) == ("", 0, False)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_is_caught_by_its_root(kind: type[DashScopeError]) -> None:
    """`except DashScopeError` is enough."""
    with pytest.raises(DashScopeError):
        raise kind("words")


def test_what_an_error_prints() -> None:
    """Code and words, then the facts that a support desk asks for, then what to do."""
    assert str(full(RateLimitError)) == (
        "Code: words (status 429, request_id abc, 3 attempts); do this"
    )
    assert str(full(APITimeoutError)).startswith("Code: words (status 429")
    assert str(IncompleteResponseError("words")) == "words"
    assert str(IncompleteResponseError("words", code="Code")) == "Code: words"
    assert str(IncompleteResponseError("words", status_code=200)) == "words (status 200)"
    assert str(IncompleteResponseError("words", hint="do this")) == "words; do this"


@pytest.mark.parametrize(
    ("limit", "seconds", "words"),
    [
        ("connect", 10.0, "no connection to host within 10 s (timeout.connect)"),
        ("read", 300, "no byte of an answer from host within 300 s (timeout.read)"),
        ("idle", 0.25, "nothing new in the answer of host within 0.25 s (timeout.idle)"),
        ("total", 1.0, "no whole answer from host within 1 s (timeout.total)"),
        ("total", None, "no whole answer from host within 0 s (timeout.total)"),
    ],
)
def test_time_limits(limit: str, seconds: float | None, words: str) -> None:
    """A time limit says which it was, who was silent and how long was waited."""
    error = timed_out(limit, seconds, "host", retryable=True)

    assert str(error) == words
    assert (error.limit, error.waited, error.retryable) == (limit, seconds or 0.0, True)
    assert not timed_out(limit, seconds, "host").retryable


def fail(how: str) -> None:
    """Raise an error as a library does that wraps one of the system."""
    try:
        raise ConnectionRefusedError(111, "Connection refused")
    except OSError as first:
        if how == "from":
            raise RuntimeError("All connection attempts failed") from first
        if how == "from None":
            raise RuntimeError("All connection attempts failed") from None
        raise RuntimeError("Another matter")  # noqa: B904  # that there is no cause is the point


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("from", "ConnectionRefusedError: [Errno 111] Connection refused"),
        ("from None", "ConnectionRefusedError: [Errno 111] Connection refused"),
        ("while handling", "RuntimeError: Another matter"),
    ],
)
def test_the_first_cause_is_named(how: str, words: str) -> None:
    """A wrapped error is told by its cause, also a hidden one; mere context is no cause."""
    with pytest.raises(RuntimeError) as caught:
        fail(how)

    assert describe(caught.value) == words


class AttemptsError(OSError):
    """An error that holds others, as the groups of several Python versions do."""

    exceptions = (OSError("refused"), OSError("unreachable"))


def test_the_first_of_several_attempts_stands_for_all() -> None:
    """A name with two addresses is tried twice; one of the two refusals is enough."""
    outer = OSError("All connection attempts failed")
    outer.__cause__ = AttemptsError()

    assert describe(outer) == "OSError: refused"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("words"), "ValueError: words"),
        (ValueError(), "ValueError"),
        (APIConnectionError("words"), "APIConnectionError: words"),
    ],
)
def test_errors_without_a_cause(error: Exception, words: str) -> None:
    """Without a cause the error names itself."""
    assert describe(error) == words


def test_a_cause_without_words_borrows_them() -> None:
    """The kind is the first cause's, the words those of whoever had some."""
    outer = RuntimeError("the peer is gone")
    outer.__cause__ = ConnectionResetError()

    assert describe(outer) == "ConnectionResetError: the peer is gone"


@pytest.mark.parametrize("at", [0, 1])
def test_a_secret_of_one_of_several_attempts(at: int) -> None:
    """A cause is dropped, and loses its traceback, whichever of its own causes shows a secret."""
    attempts = OSError("refused"), OSError("unreachable")
    with suppress(OSError):
        raise attempts[at]
    attempts[at].__context__ = KeyError("sk-1")
    outer = AttemptsError()
    outer.exceptions = attempts

    error = with_cause(APIConnectionError("can't connect"), outer, ["sk-1"])

    assert error.__cause__ is None
    assert attempts[at].__traceback__ is None


def test_causes_that_go_round_in_a_circle() -> None:
    """Each is looked at once, and the first of them is kept."""
    inner, outer = OSError("refused"), RuntimeError("failed")
    outer.__cause__, inner.__context__ = inner, outer

    error = with_cause(APIConnectionError("can't connect"), outer, ["sk-1"])

    assert error.__cause__ is outer
