"""The examples of docs/guide/llamaindex.md run as they stand."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("llama_index.core", reason="LlamaIndex's tests run in the session guests")

from llama_dashscope.testing import LocalDashScope, Reply, ToolCall

FOLDER = Path(__file__).parents[2] / "docs/examples/guests"

# LlamaIndex's workflows look at every attribute of an agent, Pydantic's deprecated ones too.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecationWarning")


@pytest.fixture(autouse=True)
def reader(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the environment at a DashScope on this machine, as a reader's shell points at one."""
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)


def test_a_question_over_three_documents(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model reads the document that matters and no other."""
    server.reply("三十天。")

    runpy.run_path(str(FOLDER / "llamaindex_rag.py"), run_name="__main__")

    assert capsys.readouterr().out.splitlines() == ["三十天。", "来源： ['报销.md']"]
    asked = str(server.requests[-1].messages)
    assert "发票须在三十天内提交" in asked
    assert "年假" not in asked


def test_the_agent_calls_its_tool(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model asks for the tool, reads what it says, and answers."""
    server.reply([Reply(tool_calls=[ToolCall("weather", {"city": "杭州"})]), Reply("要带伞。")])

    runpy.run_path(str(FOLDER / "llamaindex_agent.py"), run_name="__main__")

    assert capsys.readouterr().out == "要带伞。\n"
    assert server.requests[-1].messages[-1]["content"] == "杭州：小雨，22 度"
