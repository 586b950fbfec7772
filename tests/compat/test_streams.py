"""Streams of responses: growing text or pieces, in sync and async code."""

from __future__ import annotations

import gc
import itertools
import json
from contextlib import aclosing, closing
from typing import Any

import pytest

from llama_dashscope import Generation, IncompleteResponseError, ResponseError
from llama_dashscope.compat import GenerationResponse
from llama_dashscope.testing import (
    CutStream,
    ErrorFrame,
    ErrorStatus,
    LocalDashScope,
    Raw,
    ToolCall,
)

MODEL = "llama3.3-70b-instruct"
MESSAGES = [{"role": "user", "content": "介绍一下自己"}]
GROWING = ["one", "one two", "one two three", "one two three"]
PIECES = ["one", " two", " three", ""]

pytestmark = pytest.mark.usefixtures("program")


def read(**more: Any) -> list[GenerationResponse]:
    """Read a stream in sync code."""
    return list(Generation.call(MODEL, messages=MESSAGES, stream=True, **more))


async def aread(**more: Any) -> list[GenerationResponse]:
    """Read a stream in async code."""
    stream = await Generation.acall(MODEL, messages=MESSAGES, stream=True, **more)
    return [response async for response in stream]


def texts(responses: list[GenerationResponse]) -> list[str]:
    """Return what each response says, whichever result format carried it."""
    return [said(response)[0] for response in responses]


def said(response: GenerationResponse) -> tuple[str, str]:
    """Return a response's text and finish_reason, whichever result format carried them."""
    output = response.output
    if output.choices:
        return output.choices[0].message.content, output.choices[0].finish_reason
    return output.text, output.finish_reason


@pytest.mark.anyio
@pytest.mark.parametrize("result_format", [None, "text", "message"])
@pytest.mark.parametrize(
    ("incremental", "on_the_wire", "expected"),
    [(None, None, GROWING), (False, True, GROWING), (True, True, PIECES)],
)
async def test_growing_text_or_pieces(
    server: LocalDashScope,
    incremental: bool | None,
    on_the_wire: bool | None,
    expected: list[str],
    result_format: str | None,
) -> None:
    """Each frame is a response; False asks for pieces and puts them together."""
    server.reply("one two three")
    given = {"incremental_output": incremental, "result_format": result_format}

    responses = read(**given)

    assert texts(responses) == texts(await aread(**given)) == expected
    assert [said(each)[1] for each in responses] == ["null", "null", "null", "stop"]
    assert len({each.request_id for each in responses}) == 1
    for request in server.requests:
        assert request.parameters.get("incremental_output") == on_the_wire
        assert request.headers["x-dashscope-sse"] == "enable"
        assert request.headers["x-accel-buffering"] == "no"


def test_usage_counts_up(server: LocalDashScope) -> None:
    """Each response has the count of its frame."""
    server.reply("one two three")

    assert [each["usage"].output_tokens for each in read()] == [1, 2, 3, 3]


def test_two_answers(server: LocalDashScope) -> None:
    """Two answers grow side by side, each with its index."""
    server.reply("one two")

    last = read(n=2, incremental_output=False, result_format="message")[-1]

    assert [(each["index"], each.message.content) for each in last["output"].choices] == [
        (0, "one two"),
        (1, "one two"),
    ]


def test_tool_calls_grow(server: LocalDashScope) -> None:
    """Arguments of a tool call grow like text; a response that was kept stays as it was."""
    server.reply(ToolCall("f", {"x": 1}))

    responses = read(incremental_output=False, result_format="message")

    messages = [each.output.choices[0].message for each in responses]
    arguments = [each["tool_calls"][0]["function"]["arguments"] for each in messages]
    assert arguments[0] == ""
    assert arguments[-1] == '{"x": 1}'
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(arguments))


def test_what_a_model_thinks_grows(server: LocalDashScope) -> None:
    """So does what it thinks before it says something."""
    thoughts = [{"content": "", "reasoning_content": each} for each in ("hm", ", well")]
    server.reply(streamed(*thoughts, {"content": "Yes"}))

    first, second, last = read(incremental_output=False)

    assert first["output"].choices[0].message.reasoning_content == "hm"
    assert second["output"].choices[0].message.reasoning_content == "hm, well"
    assert last["output"].choices[0].message.items() >= {
        ("content", "Yes"),
        ("reasoning_content", "hm, well"),
    }


def streamed(*messages: dict[str, Any]) -> Raw:
    """Make a stream of these messages, of which the last is the end."""
    choices: list[dict[str, Any]] = [
        {"message": {"role": "assistant", **message}, "finish_reason": "null"}
        for message in messages
    ]
    choices[-1]["finish_reason"] = "stop"
    frames = [{"output": {"choices": [choice]}, "request_id": "r"} for choice in choices]
    events = tuple(f"data:{json.dumps(frame)}\n\n".encode() for frame in frames)
    return Raw(events, headers={"content-type": "text/event-stream"})


def test_a_frame_without_an_answer(server: LocalDashScope) -> None:
    """A frame that has a usage alone is a response with a usage alone."""
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    frames: list[dict[str, Any]] = [
        {"output": {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}},
        {"output": {"choices": []}, "usage": usage},
    ]
    events = tuple(f"data:{json.dumps(frame)}\n\n".encode() for frame in frames)
    server.reply(Raw(events, headers={"content-type": "text/event-stream"}))

    _, last = read(incremental_output=True)

    assert last["output"].choices == []
    assert dict(last["usage"]) == usage


def test_an_answer_in_one_piece(server: LocalDashScope) -> None:
    """A service that doesn't stream answers with one response."""
    body = b'{"output":{"text":"hi","finish_reason":"stop"},"request_id":"r"}'
    server.reply(Raw((body,), headers={"content-type": "application/json"}))

    (response,) = read()

    assert (*said(response), response.request_id) == ("hi", "stop", "r")


@pytest.mark.anyio
async def test_a_refused_stream(server: LocalDashScope) -> None:
    """A refusal is the one response of its stream."""
    server.fault(ErrorStatus(403, "AccessDenied", "not yours"), times=None)

    for responses in (read(), await aread()):
        assert [(each.status_code, each.code) for each in responses] == [(403, "AccessDenied")]


@pytest.mark.anyio
async def test_an_error_inside_a_stream(server: LocalDashScope) -> None:
    """An error of the service is the last response of its stream."""
    server.reply("one two three")
    server.fault(ErrorFrame(1, 500, "InternalError", "broken"), times=None)

    for responses in (read(), await aread()):
        assert [(each.status_code, each.code) for each in responses] == [
            (200, ""),
            (500, "InternalError"),
        ]


@pytest.mark.anyio
async def test_a_cut_stream_raises(server: LocalDashScope) -> None:
    """A stream that ends before its finish_reason raises; what had come is in the exception."""
    server.reply("one two three")
    server.fault(CutStream(2, "clean"), times=None)

    with pytest.raises(IncompleteResponseError) as info:
        read()
    with pytest.raises(IncompleteResponseError) as async_info:
        await aread()

    assert info.value.partial_text == async_info.value.partial_text == "one two"


def test_a_frame_that_contradicts_its_model(server: LocalDashScope) -> None:
    """A field of the wrong type is no answer, not even one that text doesn't depend on."""
    frame = '{"output":{"choices":[{"message":{"content":"hi","tool_calls":5}}]},"request_id":"r"}'
    server.reply(
        Raw((f"data:{frame}\n\n".encode(),), headers={"content-type": "text/event-stream"})
    )

    with pytest.raises(ResponseError, match="expected a list") as info:
        read()

    assert info.value.request_id == "r"


@pytest.mark.anyio
async def test_leaving_early_frees_the_connection(server: LocalDashScope) -> None:
    """A stream that is closed before its end closes its connection."""
    server.reply("one two three")
    with closing(Generation.call(MODEL, messages=MESSAGES, stream=True)) as stream:
        next(stream)
    async with aclosing(await Generation.acall(MODEL, messages=MESSAGES, stream=True)) as astream:
        await anext(astream)

    await server.await_for(lambda server: not server.running)
    assert len(server.requests) == 2


def test_break_frees_the_connection(server: LocalDashScope) -> None:
    """`break` alone does it in sync code, where a generator that is dropped is closed."""
    server.reply("one two three")
    for _ in Generation.call(MODEL, messages=MESSAGES, stream=True):
        break
    gc.collect()

    server.wait_for(lambda server: not server.running)
    assert len(server.requests) == 1


def test_nothing_is_sent_before_the_first_frame_is_asked_for(server: LocalDashScope) -> None:
    """A stream that nobody reads is never asked for."""
    Generation.call(MODEL, messages=MESSAGES, stream=True).close()

    assert server.requests == []
