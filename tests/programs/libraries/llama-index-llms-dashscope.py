"""LlamaIndex's DashScope: chat, completion, streams, tools, an agent."""

from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.dashscope import DashScope

from llama_dashscope.testing import ToolCall

TALK = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="介绍")]
WEATHER = ToolCall("weather", {"city": "杭州"}, id="call_1")
REPLIES: dict[str, list[Any]] = {
    "chat": ["one two three"],
    "complete": ["one two three"],
    "stream_chat": ["one two three"],
    "stream_complete": ["one two three"],
    "achat": ["one two three"],
    "astream_chat": ["one two three"],
    "tools": [WEATHER],
    "agent": [WEATHER, "sunny"],
}


def weather(city: str) -> str:
    """Say what the weather is."""
    return f"22 degrees in {city}"


def model() -> DashScope:
    """Make the model."""
    return DashScope(
        model_name="llama3.3-70b-instruct", is_function_calling_model=True, api_key="sk-local"
    )


def shown(response: Any) -> Any:
    """Return a response with what came of the service, which it keeps as it came."""
    return {**response.model_dump(exclude={"raw"}), "raw": str(response.raw)}


def scenario_chat() -> Any:
    return shown(model().chat(TALK))


def scenario_complete() -> Any:
    return shown(model().complete("hi"))


def scenario_stream_chat() -> Any:
    return [shown(each) for each in model().stream_chat(TALK)]


def scenario_stream_complete() -> Any:
    return [shown(each) for each in model().stream_complete("hi")]


async def scenario_achat() -> Any:
    return shown(await model().achat(TALK))


async def scenario_astream_chat() -> Any:
    return [shown(each) async for each in await model().astream_chat(TALK)]


def scenario_tools() -> Any:
    tools = [FunctionTool.from_defaults(weather)]
    response = model().chat_with_tools(tools, "How is the weather?")
    return [shown(response), model().get_tool_calls_from_response(response)]


async def scenario_agent() -> Any:
    agent = FunctionAgent(tools=[weather], llm=model(), streaming=False)
    result = await agent.run("How is the weather?")
    return [str(result), [each.model_dump() for each in result.tool_calls]]
