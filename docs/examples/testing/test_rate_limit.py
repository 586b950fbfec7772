"""A rate limit: two requests are refused, then the service has recovered."""

import pytest

from llama_dashscope import Client, Message, RateLimitError, Retry
from llama_dashscope.testing import LocalDashScope, RateLimited

MODEL = "llama3.3-70b-instruct"
QUESTION = [Message("user", "Who are you?")]
QUICK = Retry(2, base=0.01)


@pytest.mark.dashscope(reply="at last", fault=RateLimited(), times=2)
def test_it_tries_again(dashscope: LocalDashScope) -> None:
    """The client waits and retries after each refusal."""
    with Client(retry=QUICK) as client:
        assert client.call(MODEL, messages=QUESTION).text == "at last"

    assert [each.status for each in dashscope.exchanges] == [429, 429, 200]


@pytest.mark.dashscope(fault=RateLimited(), times=None)
def test_it_gives_up(dashscope: LocalDashScope) -> None:
    """If the limit persists, the client raises RateLimitError."""
    with Client(retry=QUICK) as client, pytest.raises(RateLimitError):
        client.call(MODEL, messages=QUESTION)

    assert len(dashscope.requests) == 3
