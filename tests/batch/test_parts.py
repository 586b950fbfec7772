"""The parts of a batch that need no loop: the index, the verdict, the counts."""

from __future__ import annotations

import random
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BatchResult,
    ClientClosedError,
    ConfigurationError,
    DashScopeError,
    IncompleteResponseError,
    InternalServerError,
    Output,
    QuotaExhaustedError,
    RateLimitError,
    Response,
    Usage,
)
from llama_dashscope.batch.digest_index import DigestIndex, body_digest, id_digest
from llama_dashscope.batch.results import Verdict, verdict
from llama_dashscope.batch.summary import Tally

KEYS = st.binary(min_size=8, max_size=8).map(lambda key: b"\0\0" + key[2:])
"""All of them in one bucket."""


@given(st.lists(st.tuples(KEYS, st.binary().map(body_digest), st.integers(0, 3))))
def test_an_index_is_a_dict(entries: list[tuple[bytes, bytes, int]]) -> None:
    """It gives back what was last put in, and nothing else."""
    index, expected = DigestIndex(), dict[bytes, tuple[bytes, int]]()
    for key, body, number in entries:
        index.put(key, body, number)
        expected[key] = body, number

    assert len(index) == len(expected)
    assert all(index.get(key) == value for key, value in expected.items())
    assert index.get(b"\0\0notin") is None


def test_an_entry_is_not_found_across_two_others() -> None:
    """The bytes of a key may stand at the seam of two entries; that is no entry."""
    index, seam = DigestIndex(), b"\0\0\4\0bbbb"
    index.put(b"\0\0aaaaaa", b"..\0\4", 0)
    index.put(b"\0\0bbbbbb", b"...\0", 3)

    assert index.get(seam) is None
    index.put(seam, b"here"[:3] + b"\4", 2)
    assert index.get(seam) == (b"her\4", 2)
    assert index.get(b"\0\0bbbbbb") == (b"...\0", 3)


def test_digests_are_spread_and_told_apart() -> None:
    """A hundred thousand ids have as many digests, in all the buckets."""
    keys = {id_digest(str(at)) for at in range(100_000)}

    assert len(keys) == 100_000
    assert len({key[:2] for key in keys}) > 0.7 * 2**16
    assert len(body_digest(b"a")) == 4
    assert id_digest("\udc80")


PASSING = InternalServerError("x", retryable=True)
FINAL = BadRequestError("x")
LIMIT = RateLimitError("x", retryable=True)


@pytest.mark.parametrize(
    ("error", "failures", "expected"),
    [
        (PASSING, 1, Verdict("again", 0.5)),
        (PASSING, 2, Verdict("again", 1.0)),
        (PASSING, 3, Verdict("failed")),
        (FINAL, 1, Verdict("failed")),
        (APIConnectionError("x"), 1, Verdict("again", 0.5)),
        (IncompleteResponseError("x"), 1, Verdict("again", 0.5)),
        (APITimeoutError("x"), 3, Verdict("failed")),
        (AuthenticationError("x"), 1, Verdict("stop")),
        (QuotaExhaustedError("x"), 1, Verdict("stop")),
        (ConfigurationError("x"), 1, Verdict("stop")),
        (ClientClosedError("x"), 1, Verdict("stop")),
        (LIMIT, 9, Verdict("again", 2.0)),
    ],
)
def test_what_follows_from_a_failure(
    error: DashScopeError, failures: int, expected: Verdict
) -> None:
    """Asked again, left at that, or the end of the batch."""
    made = verdict(error, failures, 4, 3, lambda _, count: count / 2)

    assert made == expected


@pytest.mark.parametrize(
    ("error", "expected"), [(PASSING, Verdict("failed")), (LIMIT, Verdict("stop"))]
)
def test_nobody_waits_for_weeks(error: DashScopeError, expected: Verdict) -> None:
    """A service that asks for too long a pause fails an item, or as a limit stops the batch."""

    def never(_: DashScopeError, __: int) -> None:
        return None

    assert verdict(error, 1, 1, 3, never) == expected


@given(st.lists(st.floats(1e-3, 1e4), min_size=1), st.sampled_from([(0.5, "p50"), (0.95, "p95")]))
def test_percentiles_are_near(seconds: list[float], which: tuple[float, str]) -> None:
    """Within 2 % of what sorting all of them would say."""
    share, name = which
    tally = Tally()
    for each in seconds:
        tally.add(BatchResult("a", 0, Response(), seconds=each))

    found: float = getattr(tally.summary, name)
    exact = sorted(seconds)[ceil(share * len(seconds)) - 1]

    assert found == pytest.approx(exact, rel=0.0201)


def test_counting() -> None:
    """Answers, failures with what they cost, and how it reads."""
    tally = Tally()
    failed = BadRequestError("x", code="Bad")
    failed.usage = Usage(5, 0)
    answer = Response(output=Output("a"), usage=Usage(2, 3))
    rng = random.Random(1)
    for _ in range(1000):
        tally.add(BatchResult("a", 0, answer, seconds=rng.uniform(1, 2)))
    tally.add(BatchResult("b", 1, error=failed))
    tally.add(BatchResult("c", 2, error=DashScopeError("no code")))
    tally.add(BatchResult("d", 3, Response(), seconds=0.0))
    tally.end()

    summary = tally.summary
    assert (summary.answered, summary.failed) == (1001, 2)
    assert (summary.input_tokens, summary.output_tokens) == (2005, 3000)
    assert summary.errors == {"Bad": 1, "DashScopeError": 1}
    assert summary.seconds == tally.summary.seconds
    assert summary.rate == pytest.approx(1001 / summary.seconds)
    text = str(summary)
    assert text.startswith("1,001 answered in 0.")
    assert "2 failed" in text
    assert "tokens: 2,005 in, 3,000 out, 5,005 in total" in text
    assert "latency: 1.5" in text
    assert "1 x Bad" in text
    assert "skipped" not in text


def test_a_summary_of_nothing() -> None:
    """There is no percentile of no answers."""
    summary = Tally().summary

    assert summary.p50 is summary.p95 is None
    assert "latency" not in str(summary)
    assert BatchResult("a", 0).error is None
    with pytest.raises(DashScopeError, match="has no answer"):
        BatchResult("a", 0).unwrap()
