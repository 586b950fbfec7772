"""What these tests share: a model on this machine that calls the tools it is given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from llama_dashscope.testing import LocalDashScope, ReceivedRequest, Reply, ToolCall

MODEL = "llama3.3-70b-instruct"
CHINESE = re.compile(r"'(.+?)'")


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio: LangChain's async code knows no other event loop."""
    return "asyncio"


@pytest.fixture
def server() -> Iterator[LocalDashScope]:
    """Run a DashScope on this machine whose model calls tools and fills schemas."""
    with LocalDashScope() as running:
        running.reply(think)
        yield running


def think(request: ReceivedRequest) -> Reply:
    """Answer as a model would: call the tool that is asked for, write the JSON that is wanted."""
    asked = str(request.messages[-1]["content"])
    wanted = request.parameters.get("response_format")
    if wanted:
        schema = wanted.get("json_schema", {}).get("schema") or {
            "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}}
        }
        return Reply(json.dumps(fill(schema, asked), ensure_ascii=False))
    tools = [tool["function"] for tool in request.parameters.get("tools", [])]
    if not tools or request.messages[-1]["role"] == "tool":
        return Reply("Hello, I am a llama.")
    choice = request.parameters.get("tool_choice")
    wished = [tool for tool in tools if f"'{tool['name']}'" in str(choice)]
    [tool, *_] = wished or tools
    return Reply(tool_calls=[ToolCall(tool["name"], fill(tool.get("parameters", {}), asked))])


def fill(schema: Mapping[str, Any], asked: str) -> dict[str, Any]:
    """Make an object that fits a schema."""
    named = CHINESE.search(asked)
    values: dict[Any, Any] = {"integer": 3, "number": 3.5, "boolean": True, "array": []}
    properties: dict[str, Any] = schema.get("properties", {})
    return {
        name: values.get(of.get("type"), named[1] if named else "because")
        for name, of in properties.items()
    }
