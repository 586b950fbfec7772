"""`ChatLlamaDashScope`: what its users meet beyond LangChain's standard tests."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any, cast

import anyio
import pytest

pytest.importorskip("langchain_core", reason="LangChain's tests run in the session guests")

from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.tools import tool
from pydantic import BaseModel, SecretStr, ValidationError

from llama_dashscope import Client, InvalidRequestError, Pace, RateLimitError, Timeout
from llama_dashscope.langchain import ChatLlamaDashScope
from llama_dashscope.testing import LocalDashScope, RateLimited, Raw, Reply, ToolCall

from .conftest import MODEL

OTHER = "llama3-8b-instruct"


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: rain"


@tool
def local_time(zone: int) -> str:
    """Tell the time in a zone."""
    return f"{zone}: noon"


@pytest.fixture
def model(server: LocalDashScope) -> ChatLlamaDashScope:
    """Make a model of this machine's service."""
    return ChatLlamaDashScope(
        model=MODEL, api_key=SecretStr("sk-local"), base_url=server.base_url, max_retries=0
    )


def sent(server: LocalDashScope) -> dict[str, Any]:
    """Return the last request's body."""
    body: dict[str, Any] = server.requests[-1].json
    return body


def merged(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    """Add up the parts of a stream."""
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


def test_a_conversation_of_every_kind(model: ChatLlamaDashScope, server: LocalDashScope) -> None:
    """System messages become one at the head; blocks of text become text; calls keep their ids."""
    calls: Any = [{"name": "weather", "args": {"city": "杭州"}, "id": "c1"}]
    bad: Any = [{"name": "weather", "args": "{", "id": "c2", "error": None}]
    thought: Any = [
        {"type": "reasoning", "reasoning": "hm"},
        "Let me ",
        {"type": "text", "text": "see"},
    ]
    messages: list[BaseMessage] = [
        SystemMessage("Be brief."),
        HumanMessage("hi"),
        SystemMessage("Be kind."),
        ChatMessage(role="assistant", content="yes?"),
        HumanMessage([{"type": "text", "text": "What about "}, "rain?"]),
        AIMessage(thought, tool_calls=calls, invalid_tool_calls=bad),
        ToolMessage("rain", tool_call_id="c1", name="weather"),
        ToolMessage("none", tool_call_id="c2"),
    ]

    model.invoke(messages)

    call = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "杭州"}'}}
    assert sent(server)["input"]["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "What about rain?"},
        {
            "role": "assistant",
            "content": "Let me see",
            "tool_calls": [
                {"id": "c1", **call},
                {
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "weather", "arguments": "{"},
                },
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1", "name": "weather"},
        {"role": "tool", "content": "none", "tool_call_id": "c2"},
    ]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            HumanMessage([{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]),
            "type 'image_url'; Llama text models only read text",
        ),
        (HumanMessage([{"type": "text", "text": 5}]), "type 'text'"),
        (FunctionMessage(content="x", name="f"), "FunctionMessage, for which the service has"),
    ],
)
def test_what_a_text_model_does_not_take(
    model: ChatLlamaDashScope, server: LocalDashScope, message: BaseMessage, words: str
) -> None:
    """It is refused before anything is sent, and named."""
    with pytest.raises(InvalidRequestError, match=words):
        model.invoke([message])

    assert list(server.requests) == []


def test_fields_and_arguments_of_a_call(server: LocalDashScope) -> None:
    """A call's arguments come before the model's fields; what has no name goes out as it is."""
    model = ChatLlamaDashScope.model_validate(
        {
            "model_name": MODEL,
            "dashscope_api_key": "sk-local",
            "base_url": server.base_url,
            "temperature": 0.5,
            "seed": 7,
            "stop_sequences": "。",
            "timeout": Timeout(read=30),
            "parameters": {"logprobs": True},
        }
    )

    model.invoke(
        "hi", temperature=0.1, top_logprobs=2, headers={"X-Trace": "1"}, model="llama3-8b-instruct"
    )

    assert sent(server)["model"] == OTHER
    assert sent(server)["parameters"] == {
        "result_format": "message",
        "temperature": 0.1,
        "seed": 7,
        "stop": "。",
        "logprobs": True,
        "top_logprobs": 2,
    }
    assert server.requests[-1].headers["x-trace"] == "1"


def test_model_kwargs(server: LocalDashScope) -> None:
    """The dict that LangChain's users know goes into the request's `parameters`."""
    model = ChatLlamaDashScope.model_validate(
        {
            "model": MODEL,
            "api_key": "sk-local",
            "base_url": server.base_url,
            "model_kwargs": {"temperature": 0.3, "logprobs": True},
        }
    )

    model.invoke("hi")

    assert sent(server)["parameters"]["temperature"] == 0.3
    assert sent(server)["parameters"]["logprobs"] is True


def test_a_mistyped_field() -> None:
    """It is refused by its name, and not passed over."""
    with pytest.raises(ValidationError, match="temprature"):
        ChatLlamaDashScope.model_validate({"model": MODEL, "temprature": 0.5})


class Ears(BaseCallbackHandler):
    """Hears every token."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.heard: list[str] = []

    def on_llm_new_token(self, token: object, **_: Any) -> None:
        """Hear a token."""
        self.heard.append(str(token))


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["field", "argument"])
async def test_streaming_for_callbacks(server: LocalDashScope, given: str) -> None:
    """With `streaming`, or `stream` for one call, `invoke` tells callbacks of each piece."""
    fields = {"model": MODEL, "api_key": "sk-local", "base_url": server.base_url}
    more: dict[str, Any] = {} if given == "field" else {"stream": True}
    model = ChatLlamaDashScope.model_validate(fields | ({} if more else {"streaming": True}))

    for ask in (model.invoke, model.ainvoke):
        ears = Ears()
        answer: Any = ask("hi", config={"callbacks": [ears]}, **more)
        answer = await answer if asyncio.iscoroutine(answer) else answer
        assert "".join(ears.heard) == answer.text
        assert len([token for token in ears.heard if token]) > 1
        assert "stream" not in sent(server)["parameters"]


@pytest.mark.anyio
async def test_rate_limiter_and_pace_in_peace(server: LocalDashScope) -> None:
    """LangChain's limiter and the client's pace hold side by side; every call is answered."""
    async with Client("sk-local", base_url=server.base_url, pace=Pace(60_000)) as client:
        limiter = InMemoryRateLimiter(
            requests_per_second=1000, check_every_n_seconds=0.001, max_bucket_size=2
        )
        model = ChatLlamaDashScope(model=MODEL, client=client, rate_limiter=limiter)

        answers = await asyncio.gather(*(model.ainvoke(str(n)) for n in range(10)))
        streamed = [part async for part in model.astream("hi")]

    assert all(answer.text for answer in answers)
    assert streamed
    assert len(server.requests) == 11


def test_an_answer_and_the_same_answer_streamed(
    model: ChatLlamaDashScope, server: LocalDashScope
) -> None:
    """Text, usage and metadata are alike; the request id is that of the call."""
    answers = [model.invoke("hi"), merged(list(model.stream("hi")))]

    assert [answer.text for answer in answers] == ["Hello, I am a llama."] * 2
    assert answers[0].usage_metadata == answers[1].usage_metadata is not None
    for answer in answers:
        assert answer.response_metadata["model_name"] == MODEL
        assert answer.response_metadata["model_provider"] == "dashscope"
        assert answer.response_metadata["finish_reason"] == "stop"
        assert answer.response_metadata["request_id"]
    del server


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True])
async def test_several_tools_at_once(
    model: ChatLlamaDashScope, server: LocalDashScope, streamed: bool
) -> None:
    """Each call has its own name, arguments and id, streamed or not; broken arguments show."""
    server.reply(
        Reply(
            tool_calls=[
                ToolCall("weather", {"city": "杭州"}),
                ToolCall("local_time", {"zone": 8}),
                ToolCall("local_time", "{broken"),
                ToolCall("local_time", "[1]"),
            ]
        )
    )
    bound = model.bind_tools([weather, local_time])

    if streamed:
        parts = [part async for part in bound.astream("hi") if isinstance(part, AIMessageChunk)]
        found: AIMessage = merged(parts)
    else:
        found = await bound.ainvoke("hi")

    assert [(call["name"], call["args"]) for call in found.tool_calls][:2] == [
        ("weather", {"city": "杭州"}),
        ("local_time", {"zone": 8}),
    ]
    assert len({call["id"] for call in found.tool_calls}) == len(found.tool_calls)
    assert "{broken" in [call["args"] for call in found.invalid_tool_calls] or streamed


@pytest.mark.parametrize(
    ("choice", "tools", "expected"),
    [
        (None, [weather], None),
        ("auto", [weather], "auto"),
        ("none", [weather], "none"),
        ("weather", [weather, local_time], "weather"),
        ("any", [weather], "weather"),
        (True, [local_time], "local_time"),
        ("any", [weather, local_time], "required"),
        ({"type": "function", "function": {"name": "weather"}}, [weather], "weather"),
    ],
)
def test_tool_choice(
    model: ChatLlamaDashScope, server: LocalDashScope, choice: Any, tools: Any, expected: str | None
) -> None:
    """Whether and which tool to call goes out in the service's terms."""
    model.bind_tools(tools, tool_choice=choice).invoke("hi")

    found = sent(server)["parameters"].get("tool_choice")
    assert expected == (found["function"]["name"] if isinstance(found, dict) else found)


@pytest.mark.parametrize("method", ["function_calling", "json_mode", "json_schema"])
def test_structured_output(model: ChatLlamaDashScope, server: LocalDashScope, method: Any) -> None:
    """Three ways to an instance; the schema or the wish for JSON is in the request."""
    joke = model.with_structured_output(Joke, method=method).invoke("a joke")

    assert joke == Joke(setup="because", punchline="because")
    parameters = sent(server)["parameters"]
    assert (parameters.get("response_format") or parameters["tool_choice"])["type"] == {
        "function_calling": "function",
        "json_mode": "json_object",
        "json_schema": "json_schema",
    }[method]


def test_structured_output_in_no_way_that_there_is(model: ChatLlamaDashScope) -> None:
    """A mistyped method is refused at once."""
    with pytest.raises(InvalidRequestError, match="method must be one of 'function_calling', "):
        model.with_structured_output(Joke, method=cast("Any", "json"))


@pytest.mark.parametrize("method", ["function_calling", "json_mode", "json_schema"])
def test_structured_output_that_does_not_fit(
    model: ChatLlamaDashScope, server: LocalDashScope, method: Any
) -> None:
    """With `include_raw` the answer and the error are there in place of an exception."""
    server.reply(Reply(tool_calls=[ToolCall("Joke", {"setup": 1})]) if method[0] == "f" else "{}")

    found: Any = model.with_structured_output(Joke, method=method, include_raw=True).invoke("x")

    assert isinstance(found["raw"], AIMessage)
    assert found["parsed"] is None
    assert found["parsing_error"] is not None


def test_a_dict_for_a_schema(model: ChatLlamaDashScope) -> None:
    """A JSON schema in gives a dict out."""
    schema = {
        "title": "joke",
        "type": "object",
        "properties": {"setup": {"type": "string"}},
    }
    found: Any = model.with_structured_output(schema, method="json_schema").invoke("x")

    assert found == {"setup": "because"}


def test_several_answers(model: ChatLlamaDashScope, server: LocalDashScope) -> None:
    """`n` gives so many generations; tokens are counted once, and a stream shows the first."""
    server.reply(["a", "b"])

    [generations] = model.generate([[HumanMessage("hi")]], n=2).generations
    streamed = merged(list(model.stream("hi", n=2)))

    messages = [each.message for each in generations if isinstance(each, ChatGeneration)]
    counted = [each.usage_metadata for each in messages if isinstance(each, AIMessage)]
    assert len(generations) == 2
    assert [usage is None for usage in counted] == [False, True]
    assert streamed.text


def test_the_text_result_format(model: ChatLlamaDashScope) -> None:
    """An answer in the `text` format is an answer too."""
    assert model.invoke("hi", result_format="text").text == "Hello, I am a llama."


def test_reasoning(model: ChatLlamaDashScope, server: LocalDashScope) -> None:
    """A model's reasoning is kept beside its text, streamed or not."""

    def frame(text: str, reasoning: str, reason: str) -> bytes:
        message = f'{{"role":"assistant","content":"{text}","reasoning_content":"{reasoning}"}}'
        return (
            f'{{"output":{{"choices":[{{"message":{message},"finish_reason":"{reason}"}}]}},'
            '"request_id":"r"}'
        ).encode()

    server.reply(
        [
            Raw((frame("42", "hm", "stop"),), headers={"content-type": "application/json"}),
            Raw(
                (
                    b"data:" + frame("", "hm", "null") + b"\n\n",
                    b"data:" + frame("42", "", "stop") + b"\n\n",
                ),
                headers={"content-type": "text/event-stream"},
            ),
        ]
    )

    for answer in (model.invoke("hi"), merged(list(model.stream("hi")))):
        assert answer.text == "42"
        assert answer.additional_kwargs["reasoning_content"] == "hm"


def test_errors_stay_what_they_are(model: ChatLlamaDashScope, server: LocalDashScope) -> None:
    """A rate limit is our RateLimitError, with the service's request id."""
    server.fault(RateLimited(), times=None)

    for ask in (lambda: model.invoke("hi"), lambda: list(model.stream("hi"))):
        with pytest.raises(RateLimitError) as caught:
            ask()
        assert caught.value.request_id


@pytest.mark.anyio
async def test_a_client_of_ones_own(server: LocalDashScope) -> None:
    """A client that is given is used, and stays open."""
    async with Client("sk-local", base_url=server.base_url) as client:
        model = ChatLlamaDashScope(model=MODEL, client=client)

        assert (await model.ainvoke("hi")).text
        hello = [{"role": "user", "content": "hi"}]
        assert (await client.acall(MODEL, messages=hello)).text


def test_secrets_are_hidden() -> None:
    """The key shows neither in a repr nor in what LangChain serialises."""
    model = ChatLlamaDashScope(model=MODEL, api_key=SecretStr("sk-secret-1"))

    assert "sk-secret-1" not in repr(model) + str(model.to_json()) + str(model._identifying_params)
    assert model.lc_secrets == {"api_key": "DASHSCOPE_API_KEY"}


def test_a_cache_tells_models_apart(server: LocalDashScope) -> None:
    """An answer is used again for a model that asks alike, and for no other."""

    def ask(**fields: Any) -> int:
        given = {"model": MODEL, "api_key": "sk-local", "base_url": server.base_url, "cache": cache}
        ChatLlamaDashScope.model_validate(given | fields).invoke("hi")
        return len(server.requests)

    cache = InMemoryCache()

    assert [ask(), ask()] == [1, 1]
    assert [ask(temperature=0.5), ask(stop="x"), ask(parameters={"logprobs": True})] == [2, 3, 4]
    assert ask(model=OTHER) == 5


@pytest.mark.anyio
async def test_leaving_a_stream_reaches_the_service(
    model: ChatLlamaDashScope, server: LocalDashScope
) -> None:
    """After a break the service sees its client leave."""
    server.reply(Reply("word " * 2000, tokens_per_second=50))

    async for _ in model.astream("hi"):
        break

    await server.await_for(lambda seen: seen.exchanges[-1].outcome == "client left", timeout=5)


@pytest.mark.anyio
async def test_cancelling_a_call_reaches_the_service(
    model: ChatLlamaDashScope, server: LocalDashScope
) -> None:
    """A cancelled `ainvoke` closes its connection."""
    server.reply(Reply("late", first_token_delay=30))
    call = asyncio.create_task(model.ainvoke("hi"))
    with anyio.fail_after(5):
        while not server.requests:
            await anyio.sleep(0.01)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await server.await_for(lambda seen: seen.exchanges[-1].outcome == "client left", timeout=5)


def test_the_package_brings_no_langchain() -> None:
    """Who does not import the guest does not pay for it."""
    program = "import sys, llama_dashscope; print(any('langchain' in m for m in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert ended.stdout.strip() == b"False"


def test_without_langchain() -> None:
    """The error says what to install."""
    program = "import sys; sys.modules['langchain_core'] = None; import llama_dashscope.langchain"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert b"pip install 'llama-dashscope[langchain]'" in ended.stderr
