"""AgentScope's DashScopeChatModel: calls, streams, tools, structured answers, a ReAct agent."""

from typing import Any

from agentscope.agent import ReActAgent
from agentscope.formatter import DashScopeChatFormatter
from agentscope.memory import InMemoryMemory
from agentscope.message import Msg, TextBlock
from agentscope.model import DashScopeChatModel
from agentscope.tool import Toolkit, ToolResponse
from pydantic import BaseModel

from llama_dashscope.testing import ToolCall

TALK = [{"role": "user", "content": "How is the weather?"}]
WEATHER = ToolCall("weather", {"city": "杭州"}, id="call_1")
REPLIES: dict[str, list[Any]] = {
    "call": ["one two three"],
    "stream": ["one two three"],
    "tools": [WEATHER],
    "tools_in_a_stream": [WEATHER],
    "structured": [ToolCall("generate_structured_output", {"city": "杭州", "days": 3}, id="c")],
    "agent": [WEATHER, "sunny"],
}


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


def weather(city: str) -> ToolResponse:
    """Say what the weather is.

    Args:
        city (str): The city.
    """
    return ToolResponse(content=[TextBlock(type="text", text=f"22 degrees in {city}")])


def toolkit() -> Toolkit:
    """Make a set of one tool."""
    made = Toolkit()
    made.register_tool_function(weather)
    return made


def model(*, stream: bool = False) -> DashScopeChatModel:
    """Make the model."""
    return DashScopeChatModel("llama3.3-70b-instruct", api_key="sk-local", stream=stream)


def shown(response: Any) -> Any:
    """Return a response without times and ids."""
    usage = response.usage
    return [
        response.content,
        response.metadata,
        usage and [usage.input_tokens, usage.output_tokens],
    ]


async def scenario_call() -> Any:
    return shown(await model()(TALK))


async def scenario_stream() -> Any:
    return [shown(each) async for each in await model(stream=True)(TALK)]


async def scenario_tools() -> Any:
    return shown(await model()(TALK, tools=toolkit().get_json_schemas()))


async def scenario_tools_in_a_stream() -> Any:
    stream = await model(stream=True)(TALK, tools=toolkit().get_json_schemas())
    return [shown(each) async for each in stream]


async def scenario_structured() -> Any:
    return shown(await model()(TALK, structured_model=Trip))


async def scenario_agent() -> Any:
    agent = ReActAgent(
        "friend",
        "Be brief.",
        model(stream=True),
        DashScopeChatFormatter(),
        toolkit=toolkit(),
        memory=InMemoryMemory(),
    )
    agent.set_console_output_enabled(enabled=False)
    answer = await agent(Msg("user", "How is the weather?", "user"))
    return [answer.name, answer.content, answer.metadata]
