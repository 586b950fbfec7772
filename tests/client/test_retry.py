"""After this failure: again? And after how long?"""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    DashScopeError,
    RateLimitError,
    Retry,
)
from llama_dashscope._client.retry import Budget

PASSING = RateLimitError("slow down", retryable=True)
FINAL = RateLimitError("no more", retryable=False)


def asked_to_wait(seconds: float) -> RateLimitError:
    """Make the error of a service that says when to come back."""
    return RateLimitError("slow down", retryable=True, retry_after=seconds)


def out_of_time(limit: str, *, retryable: bool) -> APITimeoutError:
    """Make the error of a time limit."""
    error = APITimeoutError("too slow", retryable=retryable)
    error.limit = limit
    return error


@pytest.mark.parametrize(
    ("tries", "longest"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0), (7, 8.0), (100, 8.0)],
)
def test_full_jitter(tries: int, longest: float) -> None:
    """The pause is anywhere between nothing and a bound that doubles up to the cap."""
    retry = Retry(times=1000)

    assert retry.pause(PASSING, tries, 0.0) == 0.0
    assert retry.pause(PASSING, tries, 0.5) == longest / 2
    assert retry.pause(PASSING, tries, 1.0) == longest


@given(
    st.floats(0, 1e308),
    st.floats(0, 1e308),
    st.integers(1, 10**6),
    st.floats(0, 1, exclude_max=True),
)
def test_any_policy(base: float, cap: float, tries: int, chance: float) -> None:
    """No base, cap or number of tries leads beyond the cap, or to an error."""
    pause = Retry(times=10**6, base=base, cap=cap).pause(PASSING, tries, chance)

    assert pause is not None
    assert 0 <= pause <= min(cap, base * 2.0 ** min(tries - 1, 64))


@given(st.integers(0, 20), st.integers(1, 30))
def test_how_often(times: int, tries: int) -> None:
    """There are as many more tries as were asked for."""
    assert (Retry(times).pause(PASSING, tries, 0.5) is not None) == (tries <= times)


@pytest.mark.parametrize("tries", [1, 2])
def test_what_does_not_pass_is_not_tried_again(tries: int) -> None:
    """A final error is final, also where the service names a time."""
    final = asked_to_wait(1.0)
    final.retryable = False

    assert Retry().pause(FINAL, tries, 0.5) is None
    assert Retry().pause(final, tries, 0.5) is None
    assert Retry().pause(DashScopeError("words"), tries, 0.5) is None


@pytest.mark.parametrize("seconds", [0.0, 0.25, 8.5, 60.0])
def test_the_services_own_time(seconds: float) -> None:
    """`Retry-After` is kept to the letter, whatever the jitter and the cap."""
    assert Retry().pause(asked_to_wait(seconds), 1, 0.5) == seconds


@pytest.mark.parametrize("seconds", [60.001, 3600.0, 1e9])
def test_a_time_that_nobody_waits_for(seconds: float) -> None:
    """Beyond `max_wait` the call ends at once; the error still says how long it would be."""
    error = asked_to_wait(seconds)

    assert Retry().pause(error, 1, 0.5) is None
    assert Retry(max_wait=seconds).pause(error, 1, 0.5) == seconds
    assert error.retry_after == seconds


def test_no_more_tries_whatever_the_service_says() -> None:
    """`Retry-After` is no invitation beyond the number of tries."""
    assert Retry(1).pause(asked_to_wait(0.1), 2, 0.5) is None
    assert Retry(0).pause(asked_to_wait(0.1), 1, 0.5) is None


@pytest.mark.parametrize(
    ("error", "by_default", "when_wanted"),
    [
        (out_of_time("read", retryable=True), False, True),
        (out_of_time("read", retryable=False), False, True),
        (out_of_time("connect", retryable=True), True, True),
        (out_of_time("idle", retryable=False), False, False),
        (out_of_time("total", retryable=False), False, False),
        (APIConnectionError("refused", retryable=True), True, True),
        (APIConnectionError("broke", retryable=False), False, False),
    ],
)
def test_silence_is_tried_again_only_when_wanted(
    error: DashScopeError, by_default: bool, when_wanted: bool
) -> None:
    """A request that the service took may be billed although nothing came back."""
    assert (Retry().pause(error, 1, 0.5) is not None) == by_default
    assert (Retry(read_timeouts=True).pause(error, 1, 0.5) is not None) == when_wanted


def test_what_the_argument_may_be() -> None:
    """None is the default policy, a number is how often, a policy is itself."""
    own = Retry(5, cap=1.0)

    assert Retry.of(None) == Retry() == Retry(2, 0.5, 8.0, 60.0)
    assert Retry.of(0) == Retry(times=0)
    assert Retry.of(own) is own


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("times", -1),
        ("times", 1.5),
        ("times", "2"),
        ("times", True),
        ("times", None),
        ("times", 10**400),
        ("base", -0.1),
        ("base", float("nan")),
        ("base", float("inf")),
        ("base", "0.5"),
        ("base", 10**400),
        ("cap", -1),
        ("cap", True),
        ("max_wait", None),
        ("budget", -1),
        ("budget", 0.5),
        ("budget", 10**400),
        ("read_timeouts", "no"),
    ],
)
def test_a_policy_that_is_none(name: str, value: object) -> None:
    """A wrong value is refused when the policy is made, by its name and with what is wanted."""
    made: Any = Retry
    whole = "a whole number, 0 or more"
    kinds = {"times": whole, "budget": whole, "read_timeouts": "True or False"}
    wanted = kinds.get(name, "seconds, 0 or more")

    with pytest.raises(ConfigurationError) as caught:
        made(**{name: value})

    got = "a value of type int" if value == 10**400 else repr(value)
    assert caught.value.message == f"retry.{name} must be {wanted}, got {got}"


@pytest.mark.parametrize("value", ["2", 1.5, True, -1, [2]])
def test_an_argument_that_is_no_policy(value: object) -> None:
    """The same holds for the plain number."""
    with pytest.raises(
        ConfigurationError, match=r"^retry\.times must be a whole number, 0 or more, got "
    ):
        Retry.of(cast("int", value))


def test_a_policy_is_a_value() -> None:
    """It can be compared, hashed and sent to another process."""
    retry = Retry(3, budget=7)

    assert pickle.loads(pickle.dumps(retry)) == retry  # our own bytes
    assert hash(retry) == hash(Retry(3, budget=7))


def spent(budget: Budget) -> int:
    """Empty a budget and count what was in it."""
    count = 0
    while budget.spend():
        count += 1
    return count


@pytest.mark.parametrize("size", [0, 1, 3, 100])
def test_a_budget_begins_full(size: int) -> None:
    """A client has as many retries as its budget, then no more."""
    assert spent(Budget(size)) == size


@pytest.mark.parametrize(("successes", "retries"), [(0, 0), (4, 0), (5, 1), (10, 2), (49, 9)])
def test_five_successes_earn_a_retry(successes: int, retries: int) -> None:
    """A spent budget comes back with the calls that succeed."""
    budget = Budget(100)
    spent(budget)
    for _ in range(successes):
        budget.earn()

    assert spent(budget) == retries


def test_a_budget_does_not_overflow() -> None:
    """A long calm saves up no storm."""
    budget = Budget(3)
    for _ in range(1000):
        budget.earn()

    assert spent(budget) == 3


@given(st.integers(0, 5), st.lists(st.booleans(), max_size=200))
def test_an_outage_is_not_multiplied(size: int, successes: list[bool]) -> None:
    """Retries never exceed the budget and a fifth of the successes."""
    budget = Budget(size)
    granted = 0
    for succeeded in successes:
        if succeeded:
            budget.earn()
        else:
            granted += budget.spend()

    assert granted <= size + sum(successes) * 0.2


def test_a_budget_is_safe_between_threads() -> None:
    """Threads that spend at once get no retry twice."""
    budget = Budget(1000)

    with ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(spent, [budget] * 8))

    assert sum(counts) == 1000
