"""A slow first token: the program gives up, and the server sees the client disconnect."""

import pytest

from llama_dashscope import APITimeoutError, Client, Message
from llama_dashscope.testing import LocalDashScope, Reply

MODEL = "llama3.3-70b-instruct"


def test_it_does_not_wait_for_ever(dashscope: LocalDashScope) -> None:
    """The call ends at its time limit, and the server sees the client disconnect."""
    dashscope.reply(Reply("too late", first_token_delay=60))

    with Client(timeout=0.2, retry=0) as client, pytest.raises(APITimeoutError):
        client.call(MODEL, messages=[Message("user", "Who are you?")])

    dashscope.wait_idle()
    assert dashscope.exchanges[0].outcome == "client left"
