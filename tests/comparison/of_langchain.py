"""What users of a chat model of LangChain expect, of `ChatLlamaDashScope` and of ChatTongyi."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from llama_dashscope.langchain import ChatLlamaDashScope
from llama_dashscope.testing import (
    BlackHole,
    CutStream,
    ErrorFrame,
    LocalDashScope,
    RateLimited,
    Reply,
    ToolCall,
)

from .common import (
    CALLS,
    KEY,
    MODEL,
    REPEATED,
    SLOW,
    TEXT,
    in_thread,
    is_rate_limit,
    left,
    started,
    usage,
)
from .run import Make, Situation

__all__ = ["SITUATIONS", "SUBJECTS"]

Server = LocalDashScope


def ours(server: Server, *, retry: int = 2, **fields: Any) -> Any:
    """Make a ChatLlamaDashScope."""
    given = {"model": MODEL, "api_key": KEY, "base_url": server.base_url, "max_retries": retry}
    return ChatLlamaDashScope.model_validate(given | fields)


def tongyi(server: Server, *, retry: int = 2, streaming: bool = False, **fields: Any) -> Any:
    """Make a ChatTongyi; what it has no field for goes into `model_kwargs`, as its users do it.

    Without `streaming` the newest langchain-core doesn't let it stream.
    """
    official: Any = importlib.import_module("dashscope")
    official.base_http_api_url = server.base_url
    made = importlib.import_module("langchain_community.chat_models.tongyi").ChatTongyi
    if "timeout" in fields:
        fields["request_timeout"] = fields.pop("timeout")
    more = {"streaming": True} if streaming else {}
    return made(model=MODEL, api_key=KEY, max_retries=retry + 1, model_kwargs=fields, **more)


SUBJECTS = {"ChatLlamaDashScope": ours, "ChatTongyi": tongyi}


class Trip(BaseModel):
    """A trip that somebody wants to make."""

    city: str
    days: int


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: rain"


@tool
def local_time(zone: int) -> str:
    """Tell the time in a zone."""
    return f"{zone}: noon"


TOOLS = [weather, local_time]


def added_up(parts: list[Any]) -> Any:
    """Add up the parts of a stream."""
    whole = parts[0]
    for part in parts[1:]:
        whole += part
    return whole


async def streamed(model: Any) -> Any:
    """Ask for a stream and add it up."""
    return added_up([part async for part in model.astream("hi")])


def are_calls(message: Any) -> bool:
    """Tell whether a message calls both tools, each by an id of its own."""
    calls = [(call["name"], call["args"]) for call in message.tool_calls]
    ids = {call["id"] for call in message.tool_calls}
    return calls == [(call.name, call.arguments) for call in CALLS] and len(ids - {"", None}) == 2


async def answer(make: Make, server: Server) -> bool:
    """An answer."""
    server.reply(TEXT)
    model = make()
    return bool((await in_thread(lambda: model.invoke("hi"))).text == TEXT)


async def async_answer(make: Make, server: Server) -> bool:
    """An answer, async."""
    server.reply(TEXT)
    return bool((await make().ainvoke("hi")).text == TEXT)


async def stream(make: Make, server: Server) -> bool:
    """A stream."""
    server.reply(TEXT)
    model = make(streaming=True)
    parts = await in_thread(lambda: list(model.stream("hi")))
    return bool(added_up(parts).text == TEXT and len(parts) > 2)


async def async_stream(make: Make, server: Server) -> bool:
    """A stream, async."""
    server.reply(TEXT)
    return bool((await streamed(make(streaming=True))).text == TEXT)


async def repeated(make: Make, server: Server) -> bool:
    """A text that repeats itself, tools at hand."""
    server.reply(REPEATED)
    return bool((await streamed(make(streaming=True).bind_tools(TOOLS))).text == REPEATED)


async def tokens(make: Make, server: Server) -> bool:
    """Tokens counted."""
    expected = await usage(server)
    found: dict[str, Any] = (await make().ainvoke("hi")).usage_metadata or {}
    return (found.get("input_tokens"), found.get("output_tokens")) == expected


async def stream_tokens(make: Make, server: Server) -> bool:
    """Tokens counted in a stream."""
    expected = await usage(server)
    found: dict[str, Any] = (await streamed(make(streaming=True))).usage_metadata or {}
    return (found.get("input_tokens"), found.get("output_tokens")) == expected


async def metadata(make: Make, server: Server) -> bool:
    """Reason and request id, streamed or not."""
    server.reply(TEXT)
    both = [(await make().ainvoke("hi")), (await streamed(make(streaming=True)))]
    found = [each.response_metadata for each in both]
    return all(each.get("finish_reason") == "stop" and each.get("request_id") for each in found)


async def one_tool(make: Make, server: Server) -> bool:
    """One tool."""
    server.reply(Reply(tool_calls=CALLS[:1]))
    [call] = (await make().bind_tools(TOOLS).ainvoke("hi")).tool_calls
    return bool(call["name"] == "weather" and call["args"] == {"city": "杭州"} and call["id"])


async def two_tools(make: Make, server: Server) -> bool:
    """Two tools at once."""
    server.reply(Reply(tool_calls=CALLS))
    return are_calls(await make().bind_tools(TOOLS).ainvoke("hi"))


async def two_tools_streamed(make: Make, server: Server) -> bool:
    """Two tools at once, streamed."""
    server.reply(Reply(tool_calls=CALLS))
    model = make(streaming=True).bind_tools(TOOLS)
    return are_calls(added_up(await in_thread(lambda: list(model.stream("hi")))))


async def two_tools_async(make: Make, server: Server) -> bool:
    """Two tools at once, streamed, async."""
    server.reply(Reply(tool_calls=CALLS))
    return are_calls(await streamed(make(streaming=True).bind_tools(TOOLS)))


async def forced_tool(make: Make, server: Server) -> bool:
    """One tool that must be called."""
    server.reply(Reply(tool_calls=CALLS[:1]))
    await make().bind_tools([weather], tool_choice="any").ainvoke("hi")
    wanted = {"type": "function", "function": {"name": "weather"}}
    return bool(server.requests[-1].parameters.get("tool_choice") == wanted)


async def tool_result(make: Make, server: Server) -> bool:
    """What a tool said goes back with its call."""
    server.reply(TEXT)
    calls: Any = [{"name": "weather", "args": {"city": "杭州"}, "id": "c1"}]
    asked_so = [HumanMessage("hi"), AIMessage("", tool_calls=calls)]
    history = [*asked_so, ToolMessage("rain", tool_call_id="c1")]
    await make().bind_tools(TOOLS).ainvoke(history)
    _, asked, found = server.requests[-1].messages
    return bool(asked["tool_calls"][0]["id"] == found["tool_call_id"] == "c1")


async def agent(make: Make, server: Server) -> bool:
    """An agent, streaming."""
    server.reply([Reply(tool_calls=CALLS), TEXT])
    runner = importlib.import_module("langchain.agents").create_agent(make(streaming=True), TOOLS)
    asked = {"messages": [HumanMessage("hi")]}
    parts = [part async for part, _ in runner.astream(asked, stream_mode="messages")]
    said = "".join(part.text for part in parts if isinstance(part, AIMessage))
    results = {message["content"] for message in server.requests[-1].messages[2:]}
    return said == TEXT and results == {"杭州: rain", "8: noon"}


async def an_object(make: Make, server: Server) -> bool:
    """An object."""
    server.reply(Reply(tool_calls=[ToolCall("Trip", {"city": "杭州", "days": 3})]))
    found = await make().with_structured_output(Trip).ainvoke("hi")
    return bool(found == Trip(city="杭州", days=3))


async def forced_object(make: Make, server: Server) -> bool:
    """The tool for an object is forced."""
    server.reply(Reply(tool_calls=[ToolCall("Trip", {"city": "杭州", "days": 3})]))
    await make().with_structured_output(Trip).ainvoke("hi")
    wanted = {"type": "function", "function": {"name": "Trip"}}
    return bool(server.requests[-1].parameters.get("tool_choice") == wanted)


async def bad_object(make: Make, server: Server) -> bool:
    """An object that doesn't fit is an error."""
    server.reply("no")
    found = await make().with_structured_output(Trip, include_raw=True).ainvoke("hi")
    server.reply(Reply(tool_calls=[ToolCall("Trip", {"city": "杭州"})]))
    other = await make().with_structured_output(Trip, include_raw=True).ainvoke("hi")
    return found["parsed"] is None and other["parsing_error"] is not None


async def two_systems(make: Make, server: Server) -> bool:
    """System messages in two places."""
    server.reply(TEXT)
    await make().ainvoke([SystemMessage("one"), HumanMessage("hi"), SystemMessage("two")])
    first = server.requests[-1].messages[0]["content"]
    return "one" in first and "two" in first


async def text_blocks(make: Make, server: Server) -> bool:
    """Text in content blocks."""
    server.reply(TEXT)
    blocks: Any = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    await make().ainvoke([HumanMessage(blocks)])
    return bool(server.requests[-1].messages[-1]["content"] == "one two")


async def picture(make: Make, server: Server) -> bool:
    """A picture is refused before it is sent."""
    blocks: Any = [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]
    try:
        await make(retry=0).ainvoke([HumanMessage(blocks)])
    except Exception as error:
        return "image" in str(error) and not server.requests
    return False


async def options(make: Make, server: Server) -> bool:
    """Stop words, options and unknown parameters."""
    server.reply(TEXT)
    model = make(temperature=0.1)
    await model.ainvoke("hi", stop=["。"], max_tokens=50, top_logprobs=2)
    wanted = {"temperature": 0.1, "stop": ["。"], "max_tokens": 50, "top_logprobs": 2}
    return wanted.items() <= dict(server.requests[-1].parameters).items()


async def rate_limit(make: Make, server: Server) -> bool:
    """A rate limit shows status and request id."""
    server.fault(RateLimited(), times=None)
    try:
        await make(retry=0).ainvoke("hi")
    except Exception as error:
        return await is_rate_limit(error, server)
    return False


async def retried(make: Make, server: Server) -> bool:
    """A rate limit that passes is waited for."""
    server.reply(TEXT)
    server.fault(RateLimited(), times=1)
    return bool((await make().ainvoke("hi")).text == TEXT)


async def error_in_stream(make: Make, server: Server) -> bool:
    """An error in a stream says what it is."""
    server.reply(TEXT)
    server.fault(ErrorFrame(after=2), times=None)
    try:
        await streamed(make(retry=0, streaming=True))
    except Exception as error:
        return "InternalError" in f"{error!r} {vars(error)}" or "internal error" in str(error)
    return False


async def cut_stream(make: Make, server: Server) -> bool:
    """A stream that is cut is an error."""
    server.reply(TEXT)
    server.fault(CutStream(after=2, how="clean"), times=None)
    try:
        await streamed(make(retry=0, streaming=True))
    except Exception:
        return True
    return False


async def time_limit(make: Make, server: Server) -> bool:
    """A time limit of one second."""
    server.fault(BlackHole(), times=None)
    start = time.perf_counter()
    try:
        await make(timeout=1, retry=0).ainvoke("hi")
    except Exception:
        return time.perf_counter() - start < 3
    return False


async def leaving(make: Make, server: Server) -> bool:
    """Leaving a stream ends it at the service."""
    server.reply(SLOW)
    async for part in make(streaming=True).astream("hi"):
        if part.text:
            break
    return await left(server)


async def cancelling(make: Make, server: Server) -> bool:
    """Cancelling a call ends it at the service."""
    server.reply(Reply("late", first_token_delay=20))
    call = asyncio.create_task(make().ainvoke("hi"))
    await started(server)
    call.cancel()
    return await left(server)


async def many(make: Make, server: Server) -> bool:
    """Fifty calls of half a second, in two seconds."""
    server.reply(Reply(TEXT, first_token_delay=0.5))
    model = make()
    await model.ainvoke("hi")
    start = time.perf_counter()
    answers = await asyncio.gather(*(model.ainvoke("hi") for _ in range(50)))
    return all(each.text == TEXT for each in answers) and time.perf_counter() - start < 2


SITUATIONS: list[Situation] = [
    answer,
    async_answer,
    stream,
    async_stream,
    repeated,
    tokens,
    stream_tokens,
    metadata,
    one_tool,
    two_tools,
    two_tools_streamed,
    two_tools_async,
    forced_tool,
    tool_result,
    agent,
    an_object,
    forced_object,
    bad_object,
    two_systems,
    text_blocks,
    picture,
    options,
    rate_limit,
    retried,
    error_in_stream,
    cut_stream,
    time_limit,
    leaving,
    cancelling,
    many,
]
