"""The example of docs/guide/frameworks.md runs as it stands."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest

from llama_dashscope.testing import LocalDashScope, Reply, ToolCall

EXAMPLE = Path(__file__).parents[2] / "docs/examples/guests/haystack_agent.py"


@pytest.mark.skipif(
    importlib.util.find_spec("haystack") is None,
    reason="Haystack's tests run in the session guests",
)
def test_the_agent_calls_its_tool(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model asks for the tool, reads what it says, and answers."""
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    with LocalDashScope() as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        server.reply([Reply(tool_calls=[ToolCall("weather", {"city": "杭州"})]), "要带伞。"])

        runpy.run_path(str(EXAMPLE), run_name="__main__")

        assert capsys.readouterr().out == "要带伞。\n"
        assert server.requests[-1].messages[-1]["content"] == "杭州：小雨，22 度"
