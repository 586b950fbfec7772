"""A fixture that gives each test a DashScope of its own, and a test that uses it."""

from collections.abc import Iterator

import pytest

from llama_dashscope import Client, Message
from llama_dashscope.testing import LocalDashScope


@pytest.fixture
def dashscope(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalDashScope]:
    """Point the environment at a DashScope on this machine."""
    with LocalDashScope() as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        yield server


def greet(name: str) -> str:
    """Stand for the program under test."""
    with Client() as client:
        return client.call(
            "llama3.3-70b-instruct", messages=[Message("user", f"Greet {name}.")]
        ).text


def test_greeting_names_the_guest(dashscope: LocalDashScope) -> None:
    """The model is asked to greet the guest by name."""
    dashscope.reply("Hello, Ann!")

    assert greet("Ann") == "Hello, Ann!"
    assert dashscope.requests[0].text == "Greet Ann."
