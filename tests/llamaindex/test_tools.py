"""Tools and objects: what LlamaIndex's agents and programs do with `LlamaDashScope`."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("llama_index.core", reason="LlamaIndex's tests run in the session guests")

from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ToolCallBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, SecretStr

from llama_dashscope import RateLimitError
from llama_dashscope.llamaindex import LlamaDashScope
from llama_dashscope.testing import LocalDashScope, RateLimited, Reply, ToolCall

# LlamaIndex's workflows look at every attribute of an agent, Pydantic's deprecated ones too.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecationWarning")

CALLS = [ToolCall("weather", {"city": "杭州"}), ToolCall("local_time", {"zone": 8})]


class Trip(BaseModel):
    """A trip that somebody wants to make."""

    city: str
    days: int


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: rain"


async def local_time(zone: int) -> str:
    """Tell the time in a zone."""
    return f"{zone}: noon"


TOOLS = [
    FunctionTool.from_defaults(weather),
    FunctionTool.from_defaults(async_fn=local_time, name="local_time"),
]


def sent(server: LocalDashScope) -> dict[str, Any]:
    """Return the parameters of the last request."""
    parameters: dict[str, Any] = server.requests[-1].json["parameters"]
    return parameters


@pytest.mark.anyio
async def test_several_tools_at_once(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """Each call has its own name, arguments and id, on all four faces."""
    server.reply(Reply(tool_calls=CALLS))
    asked: dict[str, Any] = {"user_msg": "hi", "allow_parallel_tool_calls": True}
    streamed = await llm.astream_chat_with_tools(TOOLS, **asked)
    answers: list[ChatResponse] = [
        llm.chat_with_tools(TOOLS, **asked),
        await llm.achat_with_tools(TOOLS, **asked),
        list(llm.stream_chat_with_tools(TOOLS, **asked))[-1],
        [part async for part in streamed][-1],
    ]

    for answer in answers:
        first, second = llm.get_tool_calls_from_response(answer)
        assert (first.tool_name, first.tool_kwargs) == ("weather", {"city": "杭州"})
        assert (second.tool_name, second.tool_kwargs) == ("local_time", {"zone": 8})
        assert first.tool_id
        assert first.tool_id != second.tool_id
    offered = [tool["function"] for tool in sent(server)["tools"]]
    assert [tool["name"] for tool in offered] == ["weather", "local_time"]
    assert offered[0]["parameters"]["required"] == ["city"]


def test_one_tool_at_a_time(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """Without `allow_parallel_tool_calls` the first call is kept; `raw` has them all."""
    server.reply(Reply("Let me see.", tool_calls=CALLS))

    answer = llm.chat_with_tools(TOOLS, chat_history=[ChatMessage(role="user", content="hi")])

    [call] = llm.get_tool_calls_from_response(answer)
    assert call.tool_name == "weather"
    assert answer.message.content == "Let me see."
    assert len(answer.message.additional_kwargs["tool_calls"]) == 1
    raw: Any = answer.raw
    assert len(raw["output"]["choices"][0]["message"]["tool_calls"]) == 2


def test_an_answer_without_a_tool(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """It is an error where a call was expected, and no call where it was not."""
    server.reply("no")
    answer = llm.chat_with_tools(TOOLS, user_msg=ChatMessage(role="user", content="hi"))

    with pytest.raises(ValueError, match="a tool call was expected, but the model said 'no'"):
        llm.get_tool_calls_from_response(answer)
    assert llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False) == []


@pytest.mark.parametrize("arguments", ["{broken", "[1]"])
def test_arguments_that_are_no_object(
    llm: LlamaDashScope, server: LocalDashScope, arguments: str
) -> None:
    """The answer has them as the model wrote them; to call the tool with them is an error."""
    server.reply(Reply(tool_calls=[ToolCall("weather", arguments)]))

    answer = llm.chat_with_tools(TOOLS, user_msg="hi")

    [block] = answer.message.blocks
    assert isinstance(block, ToolCallBlock)
    assert block.tool_kwargs == arguments
    with pytest.raises(ValueError, match="arguments of the tool 'weather' are not a JSON object"):
        llm.get_tool_calls_from_response(answer)


def test_a_tool_without_arguments(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """No arguments are none."""
    server.reply(Reply(tool_calls=[ToolCall("weather", "")]))

    [call] = llm.get_tool_calls_from_response(llm.chat_with_tools(TOOLS, user_msg="hi"))

    assert call.tool_kwargs == {}


@pytest.mark.parametrize(
    ("asked", "tools", "expected"),
    [
        ({}, TOOLS, None),
        ({"tool_choice": "auto"}, TOOLS, "auto"),
        ({"tool_choice": "none"}, TOOLS, "none"),
        ({"tool_choice": "weather"}, TOOLS, "weather"),
        ({"tool_choice": "any"}, TOOLS[:1], "weather"),
        ({"tool_required": True}, TOOLS[1:], "local_time"),
        ({"tool_required": True}, TOOLS, "required"),
        ({"tool_required": True, "tool_choice": "local_time"}, TOOLS, "local_time"),
        ({"tool_required": True}, [], None),
    ],
)
def test_tool_choice(
    llm: LlamaDashScope,
    server: LocalDashScope,
    asked: dict[str, Any],
    tools: list[FunctionTool],
    expected: str | None,
) -> None:
    """Whether and which tool to call goes out in the service's terms."""
    llm.chat_with_tools(tools, user_msg="hi", **asked)

    found = sent(server).get("tool_choice")
    assert expected == (found["function"]["name"] if isinstance(found, dict) else found)
    assert ("tools" in sent(server)) == bool(tools)


@pytest.mark.anyio
@pytest.mark.parametrize("streaming", [False, True])
async def test_an_agent(llm: LlamaDashScope, server: LocalDashScope, streaming: bool) -> None:
    """`FunctionAgent` calls two tools at once, reads what they say and answers as it is written."""
    server.reply([Reply(tool_calls=CALLS), "It rains in Hangzhou, at noon."])
    agent: Any = FunctionAgent(
        tools=list(TOOLS), llm=llm, system_prompt="Be brief.", streaming=streaming
    )

    run = agent.run(user_msg="Weather and time, please")
    events = [event async for event in run.stream_events()]
    answer = await run

    assert str(answer) == "It rains in Hangzhou, at noon."
    system, question, calls, *results = server.requests[-1].messages
    assert (system["role"], question["role"], calls["role"]) == ("system", "user", "assistant")
    ids = [call["id"] for call in calls["tool_calls"]]
    said = {result["tool_call_id"]: result["content"] for result in results}
    assert [said[each] for each in ids] == ["杭州: rain", "8: noon"]
    deltas = "".join(event.delta for event in events if isinstance(event, AgentStream))
    assert deltas == ("It rains in Hangzhou, at noon." if streaming else "")


@pytest.mark.anyio
async def test_an_agent_shows_a_rate_limit(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """What ends an agent's run is our error."""
    server.fault(RateLimited(), times=None)
    agent: Any = FunctionAgent(tools=list(TOOLS), llm=llm)

    with pytest.raises(RateLimitError):
        await agent.run(user_msg="hi")


@pytest.mark.anyio
async def test_an_object(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """A class goes in, an instance comes out; the tool with its schema is forced."""
    server.reply(Reply(tool_calls=[ToolCall("Trip", {"city": "杭州", "days": 3})]))
    prompt = PromptTemplate("我想去{city}玩三天")
    expected = Trip(city="杭州", days=3)

    assert llm.structured_predict(Trip, prompt, city="杭州") == expected
    assert sent(server)["tool_choice"] == {"type": "function", "function": {"name": "Trip"}}
    assert server.requests[-1].messages[-1]["content"] == "我想去杭州玩三天"
    assert await llm.astructured_predict(Trip, prompt, city="杭州") == expected
    assert list(llm.stream_structured_predict(Trip, prompt, city="杭州"))[-1] == expected
    streamed = await llm.astream_structured_predict(Trip, prompt, city="杭州")
    assert [part async for part in streamed][-1] == expected
    assert llm.as_structured_llm(Trip).complete("hi").raw == expected


def test_an_object_of_two_calls(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """Where the model answers twice the first answer counts."""
    twice = [ToolCall("Trip", {"city": city, "days": 3}) for city in ("杭州", "北京")]
    server.reply(Reply(tool_calls=twice))

    assert llm.structured_predict(Trip, PromptTemplate("x")) == Trip(city="杭州", days=3)


def test_an_object_from_a_model_without_tools(server: LocalDashScope) -> None:
    """LlamaIndex reads it from the text, and the model is offered no tools."""
    server.reply('{"city": "杭州", "days": 3}')
    llm = LlamaDashScope(
        model="llama2-7b-chat-v2",
        api_key=SecretStr("sk-local"),
        base_url=server.base_url,
        is_function_calling_model=False,
    )

    assert llm.structured_predict(Trip, PromptTemplate("x")) == Trip(city="杭州", days=3)
    assert "tools" not in sent(server)
