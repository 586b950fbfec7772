"""How long the next bytes of a stream may take, by a clock that the test holds."""

from __future__ import annotations

import pytest

from llama_dashscope import Timeout
from llama_dashscope._client.time_limits import TimeLimits, Wait

BEGAN = 1000.0


def limits(timeout: Timeout) -> TimeLimits:
    """Return the limits of a call that has just begun."""
    return TimeLimits(timeout, "dashscope.example", BEGAN)


@pytest.mark.parametrize(
    ("timeout", "now", "silent_since", "expected"),
    [
        (Timeout(idle=None), 1005, 1000, (None, "idle")),
        (Timeout(idle=10), 1000, 1000, (10, "idle")),
        (Timeout(idle=10), 1004, 1001, (7, "idle")),
        (Timeout(idle=10), 1012, 1001, (-1, "idle")),
        (Timeout(idle=None, total=30), 1004, 1001, (26, "total")),
        (Timeout(idle=10, total=30), 1004, 1001, (7, "idle")),
        (Timeout(idle=10, total=30), 1028, 1025, (2, "total")),
        (Timeout(idle=10, total=10), 1000, 1000, (10, "idle")),
    ],
)
def test_the_nearer_limit_holds(
    timeout: Timeout, now: float, silent_since: float, expected: Wait
) -> None:
    """Of `idle`, from the last word on, and `total`, from the beginning on, the nearer one."""
    assert limits(timeout).wait(now, silent_since) == expected


def test_what_may_follow_a_whole_answer() -> None:
    """Its end has a quarter of a second, and a second while its tokens are to come."""
    assert TimeLimits.wait_after_finish(5.0, 5.0, counted=True) == (0.25, "finish")
    assert TimeLimits.wait_after_finish(5.5, 5.0, counted=False) == (0.5, "finish")


def test_a_pause_within_the_deadline() -> None:
    """There is another try where its pause ends before `total` does."""
    assert limits(Timeout(total=10)).leaves(4, now=1005)
    assert not limits(Timeout(total=10)).leaves(5, now=1005)
    assert limits(Timeout()).leaves(1e9, now=1005)


@pytest.mark.parametrize(("limit", "seconds"), [("idle", 7.0), ("total", 30.0)])
def test_the_error_names_the_limit(limit: str, seconds: float) -> None:
    """It says which limit ran out, how long that was, and who was silent."""
    error = limits(Timeout(idle=7, total=30)).over(limit)

    assert (error.limit, error.waited) == (limit, seconds)
    assert f"dashscope.example within {seconds:g} s (timeout.{limit})" in str(error)
