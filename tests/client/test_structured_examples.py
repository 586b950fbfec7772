"""The examples about structured answers do what they show, when a model answers in its own ways."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from llama_dashscope.testing import LocalDashScope, Reply, ToolCall

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


@pytest.fixture(autouse=True)
def reader(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the environment at a DashScope on this machine."""
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)


def run(name: str) -> None:
    """Run an example as a program."""
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_a_trip_is_planned(server: LocalDashScope, capsys: pytest.CaptureFixture[str]) -> None:
    """The class comes out with what the second answer says."""
    stops = '[{"city": "热那亚", "nights": 3}, {"city": "巴里", "nights": 2}]'
    server.reply([f'{{"stops": {stops}}}', f'{{"title": "海", "stops": {stops}}}'])

    run("structured.py")

    assert capsys.readouterr().out.startswith("热那亚: 3\n巴里: 2\n")


def test_a_letter_is_sorted(server: LocalDashScope, capsys: pytest.CaptureFixture[str]) -> None:
    """A kind is a kind; what is none goes to a person, with what the model said."""
    server.reply('"complaint"')
    run("structured_errors.py")

    assert capsys.readouterr().out == "Kind.COMPLAINT\n"

    server.reply("no idea")
    run("structured_errors.py")

    assert capsys.readouterr().out == (
        "the answer does not fit: $: expected JSON, found none in the text;"
        " it said 'no idea', wrong at ('$',)\nNone\n"
    )


def test_the_tool_loop_goes_on_until_there_is_an_answer(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong arguments and unknown names are told to the model, which gets it right in the end."""
    server.reply(
        [
            Reply(tool_calls=[ToolCall("weather", {"city": "罗马", "days": "1"})]),
            Reply(tool_calls=[ToolCall("rain", {}), ToolCall("weather", {"city": "罗马"})]),
            "要带伞。",
        ]
    )

    run("tool_loop.py")
    told = [each for each in server.requests[-1].messages if each["role"] == "tool"]

    assert capsys.readouterr().out == "要带伞。\n"
    assert [each["content"] for each in told] == [
        "Error: the arguments of weather don't fit: $.days: expected a whole number, got '1'",
        "Error: 'rain'",
        "罗马：1天小雨，22度",
    ]
    assert len(server.requests) == 3
