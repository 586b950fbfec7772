"""What users of a model of LlamaIndex expect, of `LlamaDashScope` and of LlamaIndex's DashScope."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_dashscope.llamaindex import LlamaDashScope
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
    """Make a LlamaDashScope."""
    given = {"model": MODEL, "api_key": KEY, "base_url": server.base_url, "max_retries": retry}
    return LlamaDashScope.model_validate(given | fields)


def theirs(server: Server, *, retry: int = 2, **fields: Any) -> Any:
    """Make LlamaIndex's DashScope, which has no retries."""
    del retry
    official: Any = importlib.import_module("dashscope")
    official.base_http_api_url = server.base_url
    made = importlib.import_module("llama_index.llms.dashscope").DashScope
    return made(model_name=MODEL, api_key=KEY, **fields)


SUBJECTS = {"LlamaDashScope": ours, "DashScope": theirs}
HELLO = [ChatMessage(role="user", content="hi")]


class Trip(BaseModel):
    """A trip that somebody wants to make."""

    city: str
    days: int


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: rain"


def local_time(zone: int) -> str:
    """Tell the time in a zone."""
    return f"{zone}: noon"


TOOLS = [FunctionTool.from_defaults(weather), FunctionTool.from_defaults(local_time)]
ASKED: dict[str, Any] = {"user_msg": "hi", "allow_parallel_tool_calls": True}


async def streamed(model: Any) -> list[Any]:
    """Ask for a stream and read it."""
    return [part async for part in await model.astream_chat(HELLO)]


def added_up(parts: list[Any]) -> str:
    """Return the text of a stream, if its pieces and its last part agree on it."""
    text = "".join(part.delta or "" for part in parts)
    last = parts[-1]
    whole = last.message.content if hasattr(last, "message") else last.text
    return text if text == whole and len(parts) > 2 else f"{text} / {whole}"


def are_calls(model: Any, response: Any) -> bool:
    """Tell whether an answer calls both tools, each by an id of its own."""
    found = model.get_tool_calls_from_response(response)
    calls = [(call.tool_name, call.tool_kwargs) for call in found]
    ids = {call.tool_id for call in found}
    return calls == [(call.name, call.arguments) for call in CALLS] and len(ids - {""}) == 2


async def answer(make: Make, server: Server) -> bool:
    """An answer."""
    server.reply(TEXT)
    model = make()
    chat = await in_thread(lambda: model.chat(HELLO))
    completion = await in_thread(lambda: model.complete("hi"))
    return bool(chat.message.content == completion.text == TEXT)


async def async_answer(make: Make, server: Server) -> bool:
    """An answer, async."""
    server.reply(TEXT)
    model = make()
    chat, completion = await model.achat(HELLO), await model.acomplete("hi")
    return bool(chat.message.content == completion.text == TEXT)


async def stream(make: Make, server: Server) -> bool:
    """A stream."""
    server.reply(TEXT)
    model = make()
    chat = await in_thread(lambda: list(model.stream_chat(HELLO)))
    completion = await in_thread(lambda: list(model.stream_complete("hi")))
    return added_up(chat) == added_up(completion) == TEXT


async def async_stream(make: Make, server: Server) -> bool:
    """A stream, async."""
    server.reply(TEXT)
    model = make()
    completion = [part async for part in await model.astream_complete("hi")]
    return added_up(await streamed(model)) == added_up(completion) == TEXT


async def repeated(make: Make, server: Server) -> bool:
    """A text that repeats itself, tools at hand."""
    server.reply(REPEATED)
    parts = [part async for part in await make().astream_chat_with_tools(TOOLS, **ASKED)]
    return added_up(parts) == REPEATED


async def tokens(make: Make, server: Server) -> bool:
    """Tokens counted."""
    expected, counter, model = await usage(server), TokenCountingHandler(), make()
    model.callback_manager = CallbackManager([counter])
    await model.achat(HELLO)
    return (counter.prompt_llm_token_count, counter.completion_llm_token_count) == expected


async def stream_tokens(make: Make, server: Server) -> bool:
    """Tokens counted in a stream."""
    expected, counter, model = await usage(server), TokenCountingHandler(), make()
    model.callback_manager = CallbackManager([counter])
    await streamed(model)
    return (counter.prompt_llm_token_count, counter.completion_llm_token_count) == expected


async def metadata(make: Make, server: Server) -> bool:
    """Reason and request id, streamed or not."""
    server.reply(TEXT)
    model = make()
    both = [(await model.achat(HELLO)).raw, (await streamed(model))[-1].raw]
    reasons = [raw["output"]["choices"][0]["finish_reason"] for raw in both]
    return reasons == ["stop", "stop"] and all(raw["request_id"] for raw in both)


async def one_tool(make: Make, server: Server) -> bool:
    """One tool."""
    server.reply(Reply(tool_calls=CALLS[:1]))
    model = make()
    found = await model.achat_with_tools(TOOLS, **ASKED)
    [call] = model.get_tool_calls_from_response(found)
    return bool(call.tool_name == "weather" and call.tool_kwargs == {"city": "杭州"})


async def two_tools(make: Make, server: Server) -> bool:
    """Two tools at once."""
    server.reply(Reply(tool_calls=CALLS))
    model = make()
    return are_calls(model, await model.achat_with_tools(TOOLS, **ASKED))


async def two_tools_streamed(make: Make, server: Server) -> bool:
    """Two tools at once, streamed."""
    server.reply(Reply(tool_calls=CALLS))
    model = make()
    parts = await in_thread(lambda: list(model.stream_chat_with_tools(TOOLS, **ASKED)))
    return are_calls(model, parts[-1])


async def two_tools_async(make: Make, server: Server) -> bool:
    """Two tools at once, streamed, async."""
    server.reply(Reply(tool_calls=CALLS))
    model = make()
    parts = [part async for part in await model.astream_chat_with_tools(TOOLS, **ASKED)]
    return are_calls(model, parts[-1])


async def forced_tool(make: Make, server: Server) -> bool:
    """One tool that must be called."""
    server.reply(Reply(tool_calls=CALLS[:1]))
    await make().achat_with_tools(TOOLS[:1], user_msg="hi", tool_required=True)
    wanted = {"type": "function", "function": {"name": "weather"}}
    return bool(server.requests[-1].parameters.get("tool_choice") == wanted)


async def ask_agent(model: Any, server: Server, *, streaming: bool) -> tuple[str, str]:
    """Let an agent call two tools; return what it said, and in pieces."""
    server.reply([Reply(tool_calls=CALLS), TEXT])
    runner: Any = FunctionAgent(tools=list(TOOLS), llm=model, streaming=streaming)
    run = runner.run(user_msg="hi")
    events = [event async for event in run.stream_events()]
    pieces = "".join(event.delta for event in events if isinstance(event, AgentStream))
    return str(await run), pieces


async def tool_result(make: Make, server: Server) -> bool:
    """What a tool said goes back with its call."""
    said, _ = await ask_agent(make(), server, streaming=False)
    _, asked, *found = server.requests[-1].messages
    ids = {call["id"] for call in asked["tool_calls"]}
    return said == TEXT and {result["tool_call_id"] for result in found} == ids


async def agent(make: Make, server: Server) -> bool:
    """An agent, streaming."""
    said, pieces = await ask_agent(make(), server, streaming=True)
    results = {message["content"] for message in server.requests[-1].messages[2:]}
    return said == pieces == TEXT and results == {"杭州: rain", "8: noon"}


async def an_object(make: Make, server: Server) -> bool:
    """An object."""
    server.reply(Reply(tool_calls=[ToolCall("Trip", {"city": "杭州", "days": 3})]))
    found = await make().astructured_predict(Trip, PromptTemplate("hi"))
    return bool(found == Trip(city="杭州", days=3))


async def forced_object(make: Make, server: Server) -> bool:
    """The tool for an object is forced."""
    server.reply(Reply(tool_calls=[ToolCall("Trip", {"city": "杭州", "days": 3})]))
    await make().astructured_predict(Trip, PromptTemplate("hi"))
    wanted = {"type": "function", "function": {"name": "Trip"}}
    return bool(server.requests[-1].parameters.get("tool_choice") == wanted)


async def bad_object(make: Make, server: Server) -> bool:
    """An object that doesn't fit is an error."""
    server.reply(Reply(tool_calls=[ToolCall("Trip", {"city": "杭州"})]))
    try:
        await make().astructured_predict(Trip, PromptTemplate("hi"))
    except ValueError as error:
        return "days" in str(error)
    return False


async def two_systems(make: Make, server: Server) -> bool:
    """System messages in two places."""
    server.reply(TEXT)
    one, two = (ChatMessage(role="system", content=text) for text in ("one", "two"))
    found = await make().achat([one, *HELLO, two])
    first = server.requests[-1].messages[0]["content"]
    return found.message.content == TEXT and "one" in first and "two" in first


async def text_blocks(make: Make, server: Server) -> bool:
    """Text in content blocks."""
    server.reply(TEXT)
    await make().achat([ChatMessage(blocks=[TextBlock(text="one"), TextBlock(text="two")])])
    return bool(server.requests[-1].messages[-1]["content"] == "one\ntwo")


async def picture(make: Make, server: Server) -> bool:
    """A picture is refused before it is sent."""
    blocks = [TextBlock(text="What is this?"), ImageBlock(url="https://x.example/a.png")]
    try:
        await make(retry=0).achat([ChatMessage(blocks=blocks)])
    except Exception as error:
        return "image" in str(error) and not server.requests
    return False


async def options(make: Make, server: Server) -> bool:
    """Stop words, options and unknown parameters."""
    server.reply(TEXT)
    model = make(temperature=0.1)
    await model.achat(HELLO, stop=["。"], max_tokens=50, top_logprobs=2)
    wanted = {"temperature": 0.1, "stop": ["。"], "max_tokens": 50, "top_logprobs": 2}
    return wanted.items() <= dict(server.requests[-1].parameters).items()


async def rate_limit(make: Make, server: Server) -> bool:
    """A rate limit shows status and request id."""
    server.fault(RateLimited(), times=None)
    try:
        await make(retry=0).achat(HELLO)
    except Exception as error:
        return await is_rate_limit(error, server)
    return False


async def retried(make: Make, server: Server) -> bool:
    """A rate limit that passes is waited for."""
    server.reply(TEXT)
    server.fault(RateLimited(), times=1)
    return bool((await make().achat(HELLO)).message.content == TEXT)


async def error_in_stream(make: Make, server: Server) -> bool:
    """An error in a stream says what it is."""
    server.reply(TEXT)
    server.fault(ErrorFrame(after=2), times=None)
    try:
        await streamed(make(retry=0))
    except Exception as error:
        return "InternalError" in f"{error!r} {vars(error)}" or "internal error" in str(error)
    return False


async def cut_stream(make: Make, server: Server) -> bool:
    """A stream that is cut is an error."""
    server.reply(TEXT)
    server.fault(CutStream(after=2, how="clean"), times=None)
    try:
        await streamed(make(retry=0))
    except Exception:
        return True
    return False


async def time_limit(make: Make, server: Server) -> bool:
    """A time limit of one second."""
    server.fault(BlackHole(), times=None)
    model = make(retry=0)
    limit = {"timeout": 1} if isinstance(model, LlamaDashScope) else {"request_timeout": 1}
    start = time.perf_counter()
    try:
        await model.achat(HELLO, **limit)
    except Exception:
        return time.perf_counter() - start < 3
    return False


async def leaving(make: Make, server: Server) -> bool:
    """Leaving a stream ends it at the service."""
    server.reply(SLOW)
    async for _ in await make().astream_chat(HELLO):
        break
    return await left(server)


async def cancelling(make: Make, server: Server) -> bool:
    """Cancelling a call ends it at the service."""
    server.reply(Reply("late", first_token_delay=20))
    call = asyncio.create_task(make().achat(HELLO))
    await started(server)
    call.cancel()
    return await left(server)


async def many(make: Make, server: Server) -> bool:
    """Fifty calls of half a second, in two seconds."""
    server.reply(Reply(TEXT, first_token_delay=0.5))
    model = make()
    await model.achat(HELLO)
    start = time.perf_counter()
    answers = await asyncio.gather(*(model.achat(HELLO) for _ in range(50)))
    in_time = time.perf_counter() - start < 2
    return in_time and all(each.message.content == TEXT for each in answers)


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
