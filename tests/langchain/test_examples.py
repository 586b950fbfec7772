"""The examples of docs/guide/langchain.md run as they stand."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("langgraph", reason="LangGraph is installed in the session guests")

from llama_dashscope.testing import LocalDashScope, Reply, ToolCall

FOLDER = Path(__file__).parents[2] / "docs/examples/guests"


@pytest.fixture(autouse=True)
def reader(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the environment at a DashScope on this machine, as a reader's shell points at one."""
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)


def test_the_agent_calls_its_tool(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model asks for the tool, reads what it says, and answers."""
    server.reply([Reply(tool_calls=[ToolCall("weather", {"city": "杭州"})]), Reply("要带伞。")])

    runpy.run_path(str(FOLDER / "langgraph_agent.py"), run_name="__main__")

    steps = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert steps == ["human", "ai", "tool", "ai"]
    assert server.requests[-1].messages[-1]["content"] == "杭州：小雨，22 度"


def test_an_answer_as_an_object(server: LocalDashScope, capsys: pytest.CaptureFixture[str]) -> None:
    """A class goes in, an instance comes out."""
    server.reply(Reply(tool_calls=[ToolCall("Trip", {"city": "杭州", "days": 3})]))

    runpy.run_path(str(FOLDER / "langchain_structured.py"), run_name="__main__")

    assert capsys.readouterr().out.strip() == "city='杭州' days=3"
