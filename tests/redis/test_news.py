"""What a worker has learned, summed up for Redis."""

from __future__ import annotations

import pytest

from llama_dashscope.redis._news import Estimate, News, Settled, summarize

NOTHING = News(given_back=0, correction=0, answered_at=0, refused_at=0, retry_after=0)


def test_nothing_is_told_where_nothing_was_settled() -> None:
    """Times are 0 then."""
    assert summarize([]) == NOTHING


def test_corrections_and_turns_given_back_add_up() -> None:
    """Tokens may go either way."""
    settled = [Settled(1, 30), Settled(2, -50), Settled(3, -10, given_back=True)]

    assert summarize(settled) == News(
        given_back=1, correction=-30, answered_at=0, refused_at=0, retry_after=0
    )


def test_the_latest_answer_and_the_latest_refusal_count() -> None:
    """By the time of their booking; of several wishes for a pause the longest is told."""
    settled = [
        Settled(10, 0, answered=True),
        Settled(40, 0, answered=True),
        Settled(20, 0, answered=True),
        Settled(50, 0, refused=True, retry_after=7),
        Settled(60, 0, refused=True),
        Settled(55, 0, refused=True, retry_after=2),
    ]

    assert summarize(settled) == News(
        given_back=0, correction=0, answered_at=40, refused_at=60, retry_after=7
    )


def test_an_estimate_learns_how_far_it_is_off() -> None:
    """At first it is taken as it is, then by what requests came to; the latest count most."""
    estimate = Estimate()

    assert estimate.correct(100) == 100

    estimate.learn(100, 300)

    assert estimate.correct(10) == 30

    for _ in range(100):
        estimate.learn(100, 50)

    assert estimate.correct(100) == pytest.approx(50, rel=0.05)
