"""What the model says: by itself, by script, and how fast."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from llama_dashscope.testing import (
    LocalDashScope,
    RateLimited,
    Raw,
    ReceivedRequest,
    Reply,
    SlowStart,
    ToolCall,
)

if TYPE_CHECKING:
    from .conftest import Call

PATH = "/api/v1/services/aigc/text-generation/generation"


def text(response: httpx.Response) -> str:
    """Read the text of a call."""
    return str(response.json()["output"]["text"])


def frames(response: httpx.Response) -> list[dict[str, Any]]:
    """Read the payload of every frame of a stream."""
    return [json.loads(line[5:]) for line in response.text.split("\n") if line.startswith("data:")]


def test_by_itself_it_says_who_it_is(call: Call) -> None:
    """Unscripted, it answers in the language of the question and names the model."""
    assert "llama3.3-70b-instruct" in text(call("Who are you?"))
    assert text(call("介绍一下自己")).startswith("你好，我是llama3.3-70b-instruct，")


def test_by_itself_it_is_always_the_same(call: Call) -> None:
    """The same request has the same answer, whatever seed and temperature say."""
    assert text(call(seed=1, temperature=1.5)) == text(call(seed=2))


def test_a_stream_says_what_a_call_says(call: Call) -> None:
    """The pieces of a stream join up to the text of the call."""
    streamed = frames(call("介绍一下自己", sse=True, incremental_output=True))

    assert "".join(each["output"]["text"] for each in streamed) == text(call("介绍一下自己"))


def test_the_language_of_a_prompt(call: Call) -> None:
    """A prompt is read as a message is."""
    body = {"model": "llama2-7b-chat-v2", "input": {"prompt": "你好"}}

    assert text(call(body=body)).startswith("你好")


def test_max_tokens(call: Call) -> None:
    """The reply is cut after so many tokens, and says so."""
    body = call(max_tokens=2).json()

    assert body["output"] == {"finish_reason": "length", "text": "Hello!"}
    assert body["usage"]["output_tokens"] == 2


def test_enough_max_tokens(server: LocalDashScope, call: Call) -> None:
    """A reply that just fits is whole."""
    server.reply(Reply(pieces=["a", "b"]))

    assert call(max_tokens=2).json()["output"] == {"finish_reason": "stop", "text": "ab"}


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("three", "one two "),
        (["four", "wo"], "one t"),
        (["none"], "one two three four"),
        ("one", ""),
        ([7], "one two three four"),
    ],
)
def test_stop(server: LocalDashScope, call: Call, stop: object, expected: str) -> None:
    """The reply ends before the first stop string; token ids mean nothing here."""
    server.reply("one two three four")

    assert call(stop=stop).json()["output"] == {"finish_reason": "stop", "text": expected}


def test_a_stop_string_in_a_stream(server: LocalDashScope, call: Call) -> None:
    """A stream stops in the middle of a piece, too."""
    server.reply(Reply(pieces=["one", "two", "three"]))

    streamed = frames(call(sse=True, incremental_output=True, stop="wo"))

    assert [each["output"]["text"] for each in streamed] == ["one", "t", ""]


def test_json_mode(call: Call) -> None:
    """`response_format` json_object makes the reply a JSON object."""
    reply = text(call("json please", response_format={"type": "json_object"}))

    assert json.loads(reply).keys() == {"reply"}


def test_a_chosen_tool_is_called(call: Call) -> None:
    """`tool_choice` with a name makes it call that tool."""
    choice = {"type": "function", "function": {"name": "weather"}}

    body = call(result_format="message", tools=[{"type": "function"}], tool_choice=choice).json()

    calls = body["output"]["choices"][0]["message"]["tool_calls"]
    assert [each["function"] for each in calls] == [{"name": "weather", "arguments": "{}"}]


def test_one_reply_for_all(server: LocalDashScope, call: Call) -> None:
    """A text answers every call from now on."""
    server.reply("yes")

    assert [text(call()), text(call())] == ["yes", "yes"]


def test_a_list_for_successive_calls(server: LocalDashScope, call: Call) -> None:
    """Each call takes the next; after the last the standing reply is back."""
    server.reply("standing")
    server.reply(["first", "second"])

    assert [text(call()) for _ in range(3)] == ["first", "second", "standing"]


def test_faults_in_a_list(server: LocalDashScope, call: Call) -> None:
    """A list may hold faults: those that refuse, and those that spoil the default reply."""
    server.reply(["a", RateLimited(), SlowStart(0.01), "b"])

    responses = [call() for _ in range(4)]

    assert [each.status_code for each in responses] == [200, 429, 200, 200]
    assert text(responses[2]).startswith("Hello!")
    assert [each.fault for each in server.exchanges] == [None, RateLimited(), SlowStart(0.01), None]


def test_a_function_of_the_request(server: LocalDashScope, call: Call) -> None:
    """A function sees the request and says the reply."""
    server.reply(lambda request: request.text.upper())

    assert text(call("hello")) == "HELLO"


def test_an_async_function(server: LocalDashScope, call: Call) -> None:
    """It may be async, on the server's own loop."""

    async def reply(request: ReceivedRequest) -> ToolCall:
        await asyncio.sleep(0)
        return ToolCall(request.text)

    server.reply(reply)

    body = call("lookup", result_format="message").json()

    calls = body["output"]["choices"][0]["message"]["tool_calls"]
    assert calls[0]["function"]["name"] == "lookup"


@pytest.mark.parametrize("sse", [False, True])
def test_a_function_that_raises(server: LocalDashScope, call: Call, sse: bool) -> None:
    """The caller has an error that says so, and the exchange keeps the exception."""

    def reply(request: ReceivedRequest) -> str:
        raise KeyError(request.text)

    server.reply(reply)

    response = call("what", sse=sse)

    assert "The scripted reply raised KeyError('what')." in response.text
    assert ":HTTP_STATUS/500" in response.text if sse else response.status_code == 500
    assert isinstance(server.exchanges[0].error, KeyError)


def test_a_reply_says_how_it_finished(server: LocalDashScope, call: Call) -> None:
    """A finish reason of its own stands, and nothing shortens the reply then."""
    server.reply(Reply("one two three", finish_reason="length"))

    response = call(max_tokens=1, stop="two")

    assert response.json()["output"] == {"finish_reason": "length", "text": "one two three"}


def test_a_reply_changes_the_usage(server: LocalDashScope, call: Call) -> None:
    """Usage of its own is added to what is counted, or takes its place."""
    details = {"prompt_tokens_details": {"cached_tokens": 1}}
    server.reply(Reply("a", usage={"input_tokens": 7, **details}))

    assert call().json()["usage"] == {
        "total_tokens": 9,
        "input_tokens": 7,
        "output_tokens": 1,
        **details,
    }


def test_reset(server: LocalDashScope, call: Call) -> None:
    """Scripts, faults and the log are forgotten."""
    server.reply("standing")
    server.reply(["queued"])
    server.fault(RateLimited(), times=None)
    server.random_faults(1.0)
    call()

    server.reset()

    assert server.requests == []
    assert text(call()).startswith("Hello!")


def test_pace_of_a_stream(server: LocalDashScope) -> None:
    """Frames come no sooner than their time, the first after its delay."""
    server.reply(Reply(pieces=["a", "b"], tokens_per_second=50, first_token_delay=0.05))
    headers = {"authorization": "Bearer sk-local", "x-dashscope-sse": "enable"}
    body = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}

    response = httpx.post(server.origin + PATH, json=body, headers=headers)

    server.wait_idle()
    (exchange,) = server.exchanges
    assert len(frames(response)) == 3
    assert exchange.ended is not None
    assert exchange.ended - exchange.started >= 0.05 + 2 / 50


def test_pace_of_a_call(server: LocalDashScope, call: Call) -> None:
    """A call takes the time that all its tokens take."""
    server.reply(Reply(pieces=["a", "b"], tokens_per_second=50, first_token_delay=0.05))

    call()

    server.wait_idle()
    (exchange,) = server.exchanges
    assert exchange.ended is not None
    assert exchange.ended - exchange.started >= 0.05 + 2 / 50


def test_the_servers_own_pace() -> None:
    """A pace given to the server holds for replies that name none."""
    body = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}
    headers = {"authorization": "Bearer sk-local"}
    with LocalDashScope(tokens_per_second=100, first_token_delay=0.01) as server:
        server.reply(Reply(pieces=["a"] * 4))
        httpx.post(server.origin + PATH, json=body, headers=headers)
        server.wait_idle()
        (exchange,) = server.exchanges

    assert exchange.ended is not None
    assert exchange.ended - exchange.started >= 0.01 + 4 / 100


def test_raw_chunks(server: LocalDashScope, call: Call) -> None:
    """Raw bytes go out as they are, chunk by chunk, with the status and headers given."""
    server.reply(Raw([b"a\r", b"\nb"], status=418, headers={"X-Any": "thing"}, pause=0.01))

    response = call()

    assert response.status_code == 418
    assert dict(response.headers) == {"x-any": "thing", "transfer-encoding": "chunked"}
    assert response.content == b"a\r\nb"


def test_raw_with_a_length(server: LocalDashScope, call: Call) -> None:
    """With a length in the headers nothing is chunked."""
    server.reply(Raw([b"ab", b"cd"], headers={"Content-Length": "4"}))

    assert call().content == b"abcd"


def test_a_raw_head(server: LocalDashScope, call: Call) -> None:
    """With a head of its own everything is sent as it stands, an unheard-of status too."""
    head = b"HTTP/1.1 799 What\r\ncontent-length: 2\r\n\r\n"
    server.reply(Raw([b"ok"], status=799, head=head))

    response = call()

    assert (response.status_code, response.content) == (799, b"ok")
    assert server.exchanges[0].status == 799


def test_an_unknown_status_has_no_reason(server: LocalDashScope, call: Call) -> None:
    """A status that HTTP has no name for is sent without one."""
    server.reply(Raw(status=799))

    assert call().reason_phrase == ""


REFUSED = b'{"code":"Arrearage","message":"Pay.","request_id":"abc"}'
ANSWERED = (
    b'{"code":"","output":{"text":"{\\"code\\":1}","finish_reason":"stop"},"request_id":"abc"}'
)


@pytest.mark.parametrize(
    ("chunks", "outcome"),
    [
        ([REFUSED], "failed"),
        ([REFUSED[:20], REFUSED[20:]], "failed"),
        ([b"data:" + ANSWERED + b"\n\n", b"event:error\ndata: " + REFUSED + b"\n\n"], "failed"),
        ([ANSWERED], "answered"),
        ([b"data:" + ANSWERED + b"\n\n"], "answered"),
        ([b"[" * 100_000], "answered"),
        ([b"page"], "answered"),
        ([], "answered"),
    ],
)
def test_an_error_in_raw_bytes(
    server: LocalDashScope, call: Call, chunks: list[bytes], outcome: str
) -> None:
    """The log tells an error of the service, whatever its status; other bytes are an answer."""
    server.reply(Raw(chunks))

    call()

    server.wait_idle()
    assert server.exchanges[0].outcome == outcome


@pytest.mark.parametrize("end", ["fin", "rst"])
def test_a_raw_answer_that_breaks_off(server: LocalDashScope, call: Call, end: Any) -> None:
    """Closed or reset after the last chunk, the body has no proper end."""
    server.reply(Raw([b"a"], end=end))

    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        call()

    server.wait_idle()
    assert server.exchanges[0].outcome == "cut"


def test_a_raw_answer_that_never_ends(server: LocalDashScope) -> None:
    """Mute after the last chunk, it runs until the client leaves."""
    server.reply(Raw([b"a"], end="hang"))

    with pytest.raises(httpx.ReadTimeout):
        _impatient(server)

    server.wait_idle()
    assert server.exchanges[0].outcome == "client left"


def _impatient(server: LocalDashScope) -> None:
    body = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}
    headers = {"authorization": "Bearer sk-local"}
    httpx.post(server.origin + PATH, json=body, headers=headers, timeout=0.1)
