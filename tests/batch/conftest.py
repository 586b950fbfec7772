"""A client that nothing holds up, and answers that can be recognised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llama_dashscope import Client, Pace, Retry
from llama_dashscope.testing import LocalDashScope, ReceivedRequest

FAST = 1e7
"""Requests a minute."""


def echo(request: ReceivedRequest) -> str:
    """Answer a question by itself."""
    given = request.json["input"]
    return f"re: {given['prompt'] if 'prompt' in given else given['messages'][-1]['content']}"


@pytest.fixture
def server() -> Iterator[LocalDashScope]:
    """Run a DashScope that repeats what it is asked."""
    with LocalDashScope() as running:
        running.reply(echo)
        yield running


@pytest.fixture
def client(server: LocalDashScope) -> Iterator[Client]:
    """Make a client that tries again at once."""
    pace = Pace(requests_per_minute=FAST, adaptive=False, max_cooldown=0.01)
    with Client(
        server.api_key, base_url=server.base_url, pace=pace, retry=Retry(base=0.001)
    ) as made:
        yield made
