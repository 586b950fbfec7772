"""Arguments of the local server, of replies and of faults: a wrong one is refused at once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llama_dashscope import ConfigurationError
from llama_dashscope.testing import (
    AccountLimits,
    CloseIdle,
    CutStream,
    Drip,
    Drop,
    ErrorStatus,
    Heartbeats,
    LocalDashScope,
    Mix,
    Raw,
    Reply,
    SlowStart,
    Stall,
    ToolCall,
)

NAN = float("nan")
WHOLE = "a whole number, 0 or more"
NUMBER = "a number, 0 or more"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"host": 5}, "host must be a string, got 5"),
        ({"port": "80"}, "port must be from 0 to 65535, got '80'"),
        ({"port": True}, "port must be from 0 to 65535, got True"),
        ({"allowed_hosts": "box"}, "allowed_hosts must be a list, each item a string, got 'box'"),
        ({"models": "llama"}, "models must be a list, each item a string, got 'llama'"),
        ({"models": [5]}, "models must be a list, each item a string, got [5]"),
        ({"tokens_per_second": -1}, f"tokens_per_second must be {NUMBER}, got -1"),
        ({"tokens_per_second": NAN}, f"tokens_per_second must be {NUMBER}, got nan"),
        ({"first_token_delay": None}, f"first_token_delay must be {NUMBER}, got None"),
        ({"max_body": 1.5}, f"max_body must be {WHOLE}, got 1.5"),
        ({"keep": "a" * 100}, f"keep must be {WHOLE}, got a value of type str"),
        ({"on_end": "print"}, "on_end must be a function, got 'print'"),
    ],
    ids=str,
)
def test_a_server_that_could_not_be_made(given: dict[str, Any], expected: str) -> None:
    """The message names the argument and says what it should be; nothing listens."""
    with pytest.raises(ConfigurationError) as caught:
        LocalDashScope(**given)

    assert caught.value.message == expected


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (Stall, {"after": -1}, f"Stall.after must be {WHOLE}, got -1"),
    (Stall, {"seconds": "long"}, f"Stall.seconds must be {NUMBER}, got 'long'"),
    (Drop, {"how": "fast"}, "Drop.how must be one of 'fin', 'rst', got 'fast'"),
    (Drip, {"size": True}, f"Drip.size must be {WHOLE}, got True"),
    (SlowStart, {"seconds": NAN}, f"SlowStart.seconds must be {NUMBER}, got nan"),
    (CloseIdle, {"after": None}, f"CloseIdle.after must be {NUMBER}, got None"),
    (CutStream, {"after": 0.5}, f"CutStream.after must be {WHOLE}, got 0.5"),
    (Heartbeats, {"comment": b":"}, "Heartbeats.comment must be a string, got b':'"),
    (
        ErrorStatus,
        {"retry_after": -1},
        f"ErrorStatus.retry_after must be {NUMBER} or a string, got -1",
    ),
    (Reply, {"text": 5}, "Reply.text must be a string, got 5"),
    (Reply, {"usage": []}, "Reply.usage must be a dict, got []"),
    (Reply, {"tool_calls": [{}]}, "Reply.tool_calls must be a list, each item a ToolCall"),
    (Raw, {"chunks": "a"}, "Raw.chunks must be a list, each item bytes, got 'a'"),
    (ToolCall, {"name": None}, "ToolCall.name must be a string, got None"),
    (ToolCall, {"name": "a", "arguments": 1}, "ToolCall.arguments must be a dict or a string"),
    (Mix, {"rate": -1}, f"Mix.rate must be {NUMBER}, got -1"),
    (Mix, {"rate": 2}, "Mix needs a rate from 0 to 1, and at least one fault"),
    (Mix, {"rate": 1, "faults": []}, "Mix needs a rate from 0 to 1, and at least one fault"),
    (Mix, {"rate": 1, "faults": ["a"]}, "Mix.faults must be a list, each item a Fault"),
    (AccountLimits, {"growth": "2"}, "growth must be above 0, got '2'"),
]


@pytest.mark.parametrize(("kind", "given", "expected"), WRONG, ids=str)
def test_a_fault_or_a_reply_that_could_not_be(
    kind: Any, given: dict[str, Any], expected: str
) -> None:
    """A mistake in a test shows where it was made, not in the server's thread."""
    with pytest.raises(ValueError, match=re.escape(expected)):
        kind(**given)


def test_values_at_the_edge() -> None:
    """Zero and infinity are numbers, and a class may stand for a fault's subclass."""
    server = LocalDashScope(
        port=0, models=None, tokens_per_second=0, first_token_delay=0, keep=0, max_body=0
    )
    server.reply([Stall(0, float("inf")), Reply(pieces=["a"]), "b", lambda _: "c"])
    server.fault(Mix(0))
    server.fault(Drop(), times=1, when=lambda _: True)


@pytest.mark.parametrize(
    ("method", "arguments", "expected"),
    [
        ("reply", [5], "a reply must be a string or a Reply or"),
        ("reply", [["a", None]], "a reply must be a string or a Reply or"),
        ("fault", ["drop"], "fault must be a Fault or a Mix, got 'drop'"),
        ("random_faults", ["often"], f"Mix.rate must be {NUMBER}, got 'often'"),
    ],
    ids=str,
)
def test_a_script_that_could_not_be(method: str, arguments: list[Any], expected: str) -> None:
    """What is set for the next calls is checked before they come."""
    with pytest.raises(ValueError, match=re.escape(expected)):
        getattr(LocalDashScope(), method)(*arguments)


def test_how_often_and_when() -> None:
    """Both are checked too."""
    untyped: Any = LocalDashScope()

    with pytest.raises(ValueError, match=f"times must be {WHOLE}, got -1"):
        untyped.fault(Drop(), times=-1)
    with pytest.raises(ValueError, match="when must be a function, got True"):
        untyped.fault(Drop(), when=True)
