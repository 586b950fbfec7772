"""The example of `RedisPace`, run as a program."""

from __future__ import annotations

from collections.abc import Callable

from llama_dashscope.testing import LocalDashScope


def test_programs_share_a_pace(example: Callable[[str], str], server: LocalDashScope) -> None:
    """It asks all its questions."""
    server.reply("It is one.")

    assert example("redis_pace.py").count("It is one.") == 20
    assert len(server.requests) == 20
