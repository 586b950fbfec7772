"""`LlamaDashScope`: every face that LlamaIndex knows of a model, and what users meet there."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import anyio
import pytest

pytest.importorskip("llama_index.core", reason="LlamaIndex's tests run in the session guests")

from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    ChatResponse,
    CitableBlock,
    CitationBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from pydantic import SecretStr, ValidationError

from llama_dashscope import MODELS, Client, InvalidRequestError, Pace, RateLimitError, Timeout
from llama_dashscope.llamaindex import LlamaDashScope
from llama_dashscope.testing import LocalDashScope, RateLimited, Raw, Reply

from .conftest import MODEL

HELLO = [ChatMessage(role="user", content="hi")]


def sent(server: LocalDashScope) -> dict[str, Any]:
    """Return the last request's body."""
    body: dict[str, Any] = server.requests[-1].json
    return body


@pytest.mark.anyio
async def test_every_face_gives_the_same_answer(
    llm: LlamaDashScope, server: LocalDashScope
) -> None:
    """Chat and completion, sync and async, whole and streamed: one text, one request each."""
    server.reply("你好，我是一只羊驼。")
    last: list[Any] = [
        llm.chat(HELLO),
        await llm.achat(HELLO),
        list(llm.stream_chat(HELLO))[-1],
        [part async for part in await llm.astream_chat(HELLO)][-1],
        llm.complete("hi"),
        await llm.acomplete("hi"),
        list(llm.stream_complete("hi"))[-1],
        [part async for part in await llm.astream_complete("hi")][-1],
    ]

    texts = [each.message.content if isinstance(each, ChatResponse) else each.text for each in last]
    assert texts == ["你好，我是一只羊驼。"] * 8
    assert len({each.raw["usage"]["output_tokens"] for each in last}) == 1
    assert all(each.raw["request_id"] for each in last)
    assert [each.json["input"]["messages"] for each in server.requests] == [
        [{"role": "user", "content": "hi"}]
    ] * 8


def test_a_stream_says_what_is_new_and_how_far_it_has_come(
    llm: LlamaDashScope, server: LocalDashScope
) -> None:
    """Deltas add up to the text, and each part has the text so far."""
    server.reply("one two three four")

    parts = list(llm.stream_chat(HELLO))

    so_far = ""
    for part in parts:
        so_far += part.delta or ""
        assert part.message.content == so_far
    assert so_far == "one two three four"
    assert len(parts) > 2


def test_a_conversation_of_every_kind(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """System messages become one at the head; blocks of text become text; calls keep their ids."""
    old = {"id": "c3", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    llm.chat(
        [
            ChatMessage(role="system", content="Be brief."),
            ChatMessage(role="user", content="hi"),
            ChatMessage(role="developer", content="Be kind."),
            ChatMessage(
                role="assistant",
                blocks=[
                    ThinkingBlock(content="hm"),
                    TextBlock(text="Let me"),
                    TextBlock(text="see"),
                    ToolCallBlock(
                        tool_call_id="c1", tool_name="weather", tool_kwargs={"city": "杭州"}
                    ),
                    ToolCallBlock(tool_name="weather", tool_kwargs="{"),
                ],
            ),
            ChatMessage(
                role="tool",
                content="rain",
                additional_kwargs={"tool_call_id": "c1", "name": "weather"},
            ),
            ChatMessage(role="assistant", additional_kwargs={"tool_calls": [old]}),
            ChatMessage(role="function", content="none"),
            ChatMessage(role="model", content="yes?"),
            ChatMessage(
                role="user",
                blocks=[
                    CachePoint(cache_control=CacheControl(type="ephemeral")),
                    CitableBlock(
                        title="t",
                        source="s",
                        content=[TextBlock(text="It rains."), TextBlock(text="Much.")],
                    ),
                    CitationBlock(
                        title="t",
                        source="s",
                        cited_content=TextBlock(text="Rain!"),
                        additional_location_info={},
                    ),
                ],
            ),
        ]
    )

    assert sent(server)["input"]["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "Let me\nsee",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "杭州"}'},
                },
                {"id": "", "type": "function", "function": {"name": "weather", "arguments": "{"}},
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1", "name": "weather"},
        {"role": "assistant", "content": "", "tool_calls": [old]},
        {"role": "tool", "content": "none"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "It rains.\nMuch.\nRain!"},
    ]


@pytest.mark.parametrize(
    "block",
    [
        ImageBlock(url="https://x.example/a.png"),
        CitableBlock(title="t", source="s", content=[ImageBlock(url="https://x.example/a.png")]),
    ],
)
def test_what_a_text_model_does_not_take(
    llm: LlamaDashScope, server: LocalDashScope, block: Any
) -> None:
    """It is refused before anything is sent, and named."""
    question = ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), block])

    with pytest.raises(InvalidRequestError, match=r"messages\[1\].*'image'; Llama text models"):
        llm.chat([*HELLO, question])

    assert list(server.requests) == []


def test_fields_and_arguments_of_a_call(server: LocalDashScope) -> None:
    """A call's arguments come before the model's; what has no name goes out as it is."""
    llm = LlamaDashScope.model_validate(
        {
            "model_name": MODEL,
            "api_key": "sk-local",
            "base_url": server.base_url,
            "temperature": 0.5,
            "top_p": 0.8,
            "seed": 7,
            "stop": "。",
            "timeout": Timeout(read=30),
            "additional_kwargs": {"top_p": 0.9, "logprobs": True, "headers": {"X-Trace": "1"}},
        }
    )

    llm.complete("hi", temperature=0.1, top_logprobs=2, model="llama3-8b-instruct")

    assert sent(server)["model"] == "llama3-8b-instruct"
    assert sent(server)["parameters"] == {
        "result_format": "message",
        "temperature": 0.1,
        "top_p": 0.9,
        "seed": 7,
        "stop": "。",
        "logprobs": True,
        "top_logprobs": 2,
    }
    assert server.requests[-1].headers["x-trace"] == "1"


def test_a_mistyped_field() -> None:
    """It is refused by its name, and not passed over."""
    with pytest.raises(ValidationError, match="temprature"):
        LlamaDashScope.model_validate({"model": MODEL, "temprature": 0.5})


@pytest.mark.anyio
async def test_rate_limiter_and_pace_in_peace(server: LocalDashScope) -> None:
    """LlamaIndex's limiter is asked once a call, the client's pace besides; all are answered."""
    asked: list[None] = []

    class Limiter:
        def acquire(self) -> None:
            asked.append(None)

        async def async_acquire(self) -> None:
            asked.append(None)

    async with Client("sk-local", base_url=server.base_url, pace=Pace(60_000)) as client:
        fields = {"model": MODEL, "client": client, "rate_limiter": Limiter()}
        llm = LlamaDashScope.model_validate(fields)
        answers = await asyncio.gather(*(llm.acomplete(str(n)) for n in range(10)))
        list(llm.stream_complete("hi"))

    assert all(answer.text for answer in answers)
    assert len(server.requests) == len(asked) == 11


def test_what_it_says_of_itself() -> None:
    """The catalogue knows the context of listed models; a field of one's own comes first."""
    listed = LlamaDashScope(model=MODEL, max_tokens=500)
    other = LlamaDashScope(model="llama9", is_function_calling_model=False)
    known = LlamaDashScope(model="llama9", context_window=128_000)

    assert listed.metadata.context_window == MODELS[MODEL].context_length
    assert listed.metadata.num_output == 500
    assert listed.metadata.is_chat_model
    assert listed.metadata.is_function_calling_model
    assert listed.metadata.model_name == MODEL
    assert other.metadata.context_window == DEFAULT_CONTEXT_WINDOW
    assert other.metadata.num_output == DEFAULT_NUM_OUTPUTS
    assert not other.metadata.is_function_calling_model
    assert known.metadata.context_window == 128_000


def test_the_text_result_format(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """An answer in the `text` format is an answer too."""
    server.reply("你好")

    assert llm.chat(HELLO, result_format="text").message.content == "你好"


def test_several_answers(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """LlamaIndex takes one answer: of several it is the first, streamed or not."""
    server.reply(["a", "b"])

    assert llm.chat(HELLO, n=2).message.content in {"a", "b"}
    streamed = list(llm.stream_chat(HELLO, n=2))
    assert "".join(part.delta or "" for part in streamed) == streamed[-1].message.content


def test_reasoning(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """A model's reasoning is a block of its own, streamed or not."""

    def frame(text: str, reasoning: str, reason: str) -> bytes:
        message = {"role": "assistant", "content": text, "reasoning_content": reasoning}
        output = {"choices": [{"message": message, "finish_reason": reason}]}
        return json.dumps({"output": output, "request_id": "r"}).encode()

    frames = (frame("", "h", "null"), frame("", "m", "null"), frame("42", "", "stop"))
    server.reply(
        [
            Raw((frame("42", "hm", "stop"),), headers={"content-type": "application/json"}),
            Raw(
                tuple(b"data:" + each + b"\n\n" for each in frames),
                headers={"content-type": "text/event-stream"},
            ),
        ]
    )

    whole, parts = llm.chat(HELLO), list(llm.stream_chat(HELLO))

    for answer in (whole, parts[-1]):
        thought, text = answer.message.blocks
        assert isinstance(thought, ThinkingBlock)
        assert isinstance(text, TextBlock)
        assert (thought.content, text.text) == ("hm", "42")
    extras = [part.model_dump()["additional_kwargs"] for part in parts]
    assert extras == [{"thinking_delta": "h"}, {"thinking_delta": "m"}, {}, {}]


@pytest.mark.anyio
async def test_errors_stay_what_they_are(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """A rate limit is our RateLimitError on every face, with the service's request id."""
    server.fault(RateLimited(), times=None)

    for ask in (
        lambda: llm.chat(HELLO),
        lambda: llm.complete("hi"),
        lambda: list(llm.stream_chat(HELLO)),
        lambda: list(llm.stream_complete("hi")),
    ):
        with pytest.raises(RateLimitError) as caught:
            ask()
        assert caught.value.request_id
    with pytest.raises(RateLimitError):
        await llm.achat(HELLO)
    stream = await llm.astream_chat(HELLO)
    with pytest.raises(RateLimitError):
        await anext(stream)


def test_tokens_are_counted_by_llamaindex(llm: LlamaDashScope, server: LocalDashScope) -> None:
    """Its counter has the service's figures, streamed or not, and no estimate."""
    counter = TokenCountingHandler()
    llm.callback_manager = CallbackManager([counter])

    raw: Any = llm.chat(HELLO).raw
    list(llm.stream_chat(HELLO))

    assert counter.prompt_llm_token_count == 2 * raw["usage"]["input_tokens"]
    assert counter.completion_llm_token_count == 2 * raw["usage"]["output_tokens"]


@pytest.mark.anyio
async def test_a_client_of_ones_own(server: LocalDashScope) -> None:
    """A client that is given is used, and stays open."""
    async with Client("sk-local", base_url=server.base_url) as client:
        llm = LlamaDashScope(model=MODEL, client=client)

        assert (await llm.acomplete("hi")).text
        hello = [{"role": "user", "content": "hi"}]
        assert (await client.acall(MODEL, messages=hello)).text


def test_secrets_are_hidden(server: LocalDashScope) -> None:
    """The key shows neither in a repr nor in what LlamaIndex saves, which can be loaded again."""
    key = SecretStr("sk-secret-1")
    llm = LlamaDashScope(model=MODEL, api_key=key, timeout=Timeout(5), seed=7)

    assert "sk-secret-1" not in repr(llm) + str(llm.to_dict()) + llm.to_json()
    again = LlamaDashScope.from_json(llm.to_json())
    assert (again.model, again.seed) == (MODEL, 7)


@pytest.mark.anyio
@pytest.mark.parametrize("face", ["astream_chat", "astream_complete"])
async def test_leaving_a_stream_reaches_the_service(
    llm: LlamaDashScope, server: LocalDashScope, face: str
) -> None:
    """After a break the service sees its client leave."""
    server.reply(Reply("word " * 2000, tokens_per_second=50))

    async for _ in await getattr(llm, face)(HELLO if "chat" in face else "hi"):
        break

    await server.await_for(lambda seen: seen.exchanges[-1].outcome == "client left", timeout=5)


@pytest.mark.parametrize("face", ["stream_chat", "stream_complete"])
def test_leaving_a_sync_stream_reaches_the_service(
    llm: LlamaDashScope, server: LocalDashScope, face: str
) -> None:
    """After a break the service sees its client leave."""
    server.reply(Reply("word " * 2000, tokens_per_second=50))

    for _ in getattr(llm, face)(HELLO if "chat" in face else "hi"):
        break

    server.wait_for(lambda seen: seen.exchanges[-1].outcome == "client left", timeout=5)


@pytest.mark.anyio
async def test_cancelling_a_call_reaches_the_service(
    llm: LlamaDashScope, server: LocalDashScope
) -> None:
    """A cancelled `achat` closes its connection."""
    server.reply(Reply("late", first_token_delay=30))
    call = asyncio.create_task(llm.achat(HELLO))
    with anyio.fail_after(5):
        while not server.requests:
            await anyio.sleep(0.01)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await server.await_for(lambda seen: seen.exchanges[-1].outcome == "client left", timeout=5)


def test_the_package_brings_no_llamaindex() -> None:
    """Who does not import the guest does not pay for it."""
    program = "import sys, llama_dashscope; print(any('llama_index' in m for m in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert ended.stdout.strip() == b"False"


def test_without_llamaindex() -> None:
    """The error says what to install."""
    program = "import sys; sys.modules['llama_index'] = None; import llama_dashscope.llamaindex"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert b"pip install 'llama-dashscope[llamaindex]'" in ended.stderr
