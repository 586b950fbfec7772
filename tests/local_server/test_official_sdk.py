"""The official SDK runs against the server: its 1.x face, sync and async, and its 2.x face."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from official_sdk import closing_its_session

from llama_dashscope.testing import ErrorStatus, LocalDashScope, RateLimited, Reply, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own warnings are not ours to mend

MODEL = "llama3.3-70b-instruct"
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "介绍一下自己"},
]


@pytest.fixture
def sdk(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Point the SDK's 1.x face at the server."""
    dashscope = pytest.importorskip("dashscope", reason="the official SDK is not installed")
    monkeypatch.setattr(dashscope, "base_http_api_url", server.base_url)
    monkeypatch.setattr(dashscope, "api_key", server.api_key)
    yield dashscope
    gc.collect()  # it leaves sessions open, and their warnings belong here


@pytest.fixture
def sdk2(server: LocalDashScope) -> Iterator[Any]:
    """Make a client of the SDK's 2.x face."""
    v2 = pytest.importorskip("dashscope.v2", reason="the official SDK 2 is not installed")
    with v2.Client(
        api_key=server.api_key, base_url=server.base_url, protocol="native", max_retries=1
    ) as client:
        yield client


def test_the_call_of_the_documentation(sdk: Any) -> None:
    """The documented example has the documented answer."""
    response = sdk.Generation.call(model=MODEL, messages=MESSAGES, result_format="message")

    message = response.output.choices[0].message
    assert response.status_code == 200
    assert message.role == "assistant"
    assert message.content.startswith("你好，我是")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


@pytest.mark.parametrize("incremental", [True, False, None])
def test_streams(sdk: Any, server: LocalDashScope, incremental: bool | None) -> None:
    """Streams of either kind come out as the SDK promises."""
    server.reply("one two three")
    more = {} if incremental is None else {"incremental_output": incremental}

    frames = list(sdk.Generation.call(model=MODEL, messages=MESSAGES, stream=True, **more))

    texts = [frame.output.text for frame in frames]
    expected = ["one", " two", " three", ""]
    if not incremental:
        expected = ["one", "one two", "one two three", "one two three"]
    assert texts == expected
    assert frames[-1].output.finish_reason == "stop"


def test_refusals(sdk: Any, server: LocalDashScope) -> None:
    """Refusals come with their code, for calls and streams."""
    server.fault(RateLimited())
    limited = sdk.Generation.call(model=MODEL, messages=MESSAGES)
    wrong_key = sdk.Generation.call(model=MODEL, messages=MESSAGES, api_key="sk-other")
    (framed,) = sdk.Generation.call(model="unknown", messages=MESSAGES, stream=True)

    assert (limited.status_code, limited.code) == (429, "Throttling.RateQuota")
    assert (wrong_key.status_code, wrong_key.code) == (401, "InvalidApiKey")
    assert framed.code == "ModelNotFound"


def test_tool_calls(sdk: Any, server: LocalDashScope) -> None:
    """A tool call reaches the program."""
    server.reply(ToolCall("weather", {"city": "杭州"}))

    response = sdk.Generation.call(model=MODEL, messages=MESSAGES, result_format="message")

    (call,) = response.output.choices[0].message.tool_calls
    assert call["function"] == {"name": "weather", "arguments": '{"city": "杭州"}'}


def test_the_async_face(sdk: Any, server: LocalDashScope) -> None:
    """AioGeneration calls and streams."""
    server.reply("one two")

    async def main() -> tuple[Any, list[Any]]:
        call = await sdk.AioGeneration.call(model=MODEL, messages=MESSAGES)
        stream = await sdk.AioGeneration.call(
            model=MODEL, messages=MESSAGES, stream=True, incremental_output=True
        )
        return call, [frame async for frame in stream]

    call, frames = asyncio.run(closing_its_session(main()))

    assert call.output.text == "one two"
    assert [frame.output.text for frame in frames] == ["one", " two", ""]


def test_the_2_x_face(sdk2: Any, server: LocalDashScope) -> None:
    """The 2.x client calls and streams on the same route."""
    server.reply("one two")
    create = sdk2.chat.completions.create

    call = create(model=MODEL, messages=MESSAGES)
    frames = list(create(model=MODEL, messages=MESSAGES, stream=True))

    assert call.choices[0].message.content == "one two"
    assert call.usage.output_tokens == 2
    assert [frame.choices[0].delta.content for frame in frames] == ["one", " two", ""]
    assert {each.path for each in server.requests} == {
        "/api/v1/services/aigc/text-generation/generation"
    }


def test_refusals_of_the_2_x_face(sdk2: Any, server: LocalDashScope) -> None:
    """It raises for an error and tries a rate limit again."""
    create = sdk2.chat.completions.create
    server.reply(Reply("ok"))
    server.fault(ErrorStatus(400, "InvalidParameter", "no"))
    server.fault(RateLimited(retry_after=0))

    with pytest.raises(Exception, match="no") as info:
        create(model=MODEL, messages=MESSAGES)
    call = create(model=MODEL, messages=MESSAGES)

    assert getattr(info.value, "status_code", None) == 400
    assert call.choices[0].message.content == "ok"
    assert len(server.requests) == 3
