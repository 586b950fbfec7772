"""What the server writes is what the service was recorded to write, byte for byte."""

from __future__ import annotations

import gzip
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from llama_dashscope.testing import LocalDashScope, Reply, ToolCall

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    import httpx

    from .conftest import Call

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def payloads(response: httpx.Response) -> list[dict[str, Any]]:
    """Read the data of every frame."""
    return [json.loads(line[5:]) for line in response.text.split("\n") if line.startswith("data:")]


def test_a_text_call(server: LocalDashScope, call: Call) -> None:
    """Without a result format the body is `output.text`, compact, characters as they are."""
    server.reply(Reply("1+1等于2。", request_id="abc"))

    response = call("1+1?")

    assert (
        response.content
        == (
            '{"output":{"finish_reason":"stop","text":"1+1等于2。"},'
            '"usage":{"total_tokens":14,"input_tokens":8,"output_tokens":6},"request_id":"abc"}'
        ).encode()
    )


def test_a_message_call(server: LocalDashScope, call: Call) -> None:
    """With `message` the body has choices, in the order of the documented sample."""
    server.reply(Reply("你好", request_id="abc"))

    response = call("你好", result_format="message")

    assert (
        response.content
        == (
            '{"output":{"choices":[{"finish_reason":"stop","message":'
            '{"role":"assistant","content":"你好"}}]},'
            '"usage":{"total_tokens":6,"input_tokens":5,"output_tokens":1},"request_id":"abc"}'
        ).encode()
    )


def test_an_incremental_text_stream(server: LocalDashScope, call: Call) -> None:
    """Every frame has its number, event, status and data; the last is empty and says stop."""
    server.reply(Reply(pieces=["1+", "1"], request_id="abc"))

    response = call("x", sse=True, incremental_output=True)

    assert response.content == (
        b"id:1\nevent:result\n:HTTP_STATUS/200\n"
        b'data:{"output":{"finish_reason":"null","text":"1+"},'
        b'"usage":{"total_tokens":6,"input_tokens":5,"output_tokens":1},"request_id":"abc"}\n\n'
        b"id:2\nevent:result\n:HTTP_STATUS/200\n"
        b'data:{"output":{"finish_reason":"null","text":"1"},'
        b'"usage":{"total_tokens":7,"input_tokens":5,"output_tokens":2},"request_id":"abc"}\n\n'
        b"id:3\nevent:result\n:HTTP_STATUS/200\n"
        b'data:{"output":{"finish_reason":"stop","text":""},'
        b'"usage":{"total_tokens":7,"input_tokens":5,"output_tokens":2},"request_id":"abc"}\n\n'
    )


def test_an_incremental_message_stream(server: LocalDashScope, call: Call) -> None:
    """Frames of the message format carry the new content in `message`, content first."""
    server.reply(Reply(pieces=["1"], request_id="abc"))

    response = call("x", sse=True, incremental_output=True, result_format="message")

    assert response.content == (
        b"id:1\nevent:result\n:HTTP_STATUS/200\n"
        b'data:{"output":{"choices":[{"message":{"content":"1","role":"assistant"},'
        b'"finish_reason":"null"}]},'
        b'"usage":{"total_tokens":6,"input_tokens":5,"output_tokens":1},"request_id":"abc"}\n\n'
        b"id:2\nevent:result\n:HTTP_STATUS/200\n"
        b'data:{"output":{"choices":[{"message":{"content":"","role":"assistant"},'
        b'"finish_reason":"stop"}]},'
        b'"usage":{"total_tokens":6,"input_tokens":5,"output_tokens":1},"request_id":"abc"}\n\n'
    )


def test_a_cumulative_stream(server: LocalDashScope, call: Call) -> None:
    """By default each frame repeats the text so far, the last one all of it."""
    server.reply(Reply(pieces=["a", "b"]))

    outputs = [each["output"] for each in payloads(call(sse=True))]

    assert outputs == [
        {"finish_reason": "null", "text": "a"},
        {"finish_reason": "null", "text": "ab"},
        {"finish_reason": "stop", "text": "ab"},
    ]


@pytest.mark.parametrize(
    "headers", [{"x-dashscope-sse": "enable"}, {"accept": "text/event-stream"}]
)
def test_either_header_makes_a_stream(call: Call, headers: dict[str, str]) -> None:
    """SSE is on by X-DashScope-SSE or by Accept alone."""
    response = call(headers=headers)

    assert response.headers["content-type"] == "text/event-stream;charset=UTF-8"


def test_headers_of_a_call(call: Call) -> None:
    """A call has the service's headers; the request id is a UUID, the same as in the body."""
    response = call()

    assert re.fullmatch(UUID, response.headers["x-request-id"])
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-dashscope-call-gateway"] == "true"
    assert response.headers["x-dashscope-finished"] == "true"
    assert response.headers["server"] == "istio-envoy"
    assert "acw_tc" in response.cookies


def test_headers_of_a_stream(call: Call) -> None:
    """A stream has them too, with one request id in the header and every frame."""
    response = call(sse=True)

    ids = {each["request_id"] for each in payloads(response)}
    assert ids == {response.headers["x-request-id"]}
    assert response.headers["x-dashscope-finished"] == "false"
    assert response.headers["transfer-encoding"] == "chunked"


def test_each_request_has_its_own_id(call: Call) -> None:
    """Two calls never share a request id."""
    assert call().json()["request_id"] != call().json()["request_id"]


def test_choices(call: Call) -> None:
    """`n` makes as many choices, numbered, and counts their tokens."""
    one = call(result_format="message").json()

    two = call(result_format="message", n=2).json()

    assert [choice["index"] for choice in two["output"]["choices"]] == [0, 1]
    assert two["usage"]["output_tokens"] == 2 * one["usage"]["output_tokens"]
    assert "index" not in one["output"]["choices"][0]


def test_n_means_nothing_to_the_text_format(call: Call) -> None:
    """There is one text whatever `n` says, and it is counted once."""
    assert call(n=2).json()["usage"] == call().json()["usage"]


def test_a_tool_call(server: LocalDashScope, call: Call) -> None:
    """A tool call comes as recorded: arguments as a JSON string, an index, an id, a type."""
    server.reply(ToolCall("weather", {"city": "杭州"}, id="call_1"))

    choice = call(result_format="message", tools=[{"type": "function"}]).json()["output"][
        "choices"
    ][0]

    assert choice == {
        "finish_reason": "tool_calls",
        "message": {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "function": {"name": "weather", "arguments": '{"city": "杭州"}'},
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                }
            ],
        },
    }


def parts(response: httpx.Response) -> list[list[dict[str, Any]]]:
    """Read the tool calls of every frame."""
    messages = [each["output"]["choices"][0]["message"] for each in payloads(response)]
    return [message.get("tool_calls", []) for message in messages]


def test_tool_calls_in_an_incremental_stream(server: LocalDashScope, call: Call) -> None:
    """The first part names the call; the rest brings arguments, an index and an empty id."""
    server.reply(Reply(tool_calls=[ToolCall("a", "{}"), ToolCall("b", '{"x":1}')]))

    frames = parts(call(sse=True, incremental_output=True, result_format="message"))

    assert frames[0][0]["function"] == {"name": "a", "arguments": ""}
    assert frames[0][0]["id"] == "call_1_0"
    assert frames[1][0] == {
        "function": {"arguments": "{"},
        "index": 0,
        "id": "",
        "type": "function",
    }
    texts = {0: "", 1: ""}
    for part in (each for frame in frames for each in frame):
        texts[part["index"]] += part["function"]["arguments"]
    assert texts == {0: "{}", 1: '{"x":1}'}


def test_tool_calls_in_a_cumulative_stream(server: LocalDashScope, call: Call) -> None:
    """Each frame repeats the calls so far; the last has all of both."""
    server.reply(Reply(tool_calls=[ToolCall("a", "{}"), ToolCall("b", '{"x":1}')]))

    frames = parts(call(sse=True, result_format="message"))

    assert frames[2][0]["function"] == {"name": "a", "arguments": "{}"}
    assert [each["function"]["arguments"] for each in frames[-1]] == ["{}", '{"x":1}']


def test_a_call_is_gzipped_where_the_client_asks(call: Call) -> None:
    """A body of some length is compressed, and its length is that of what is sent."""
    response = call("介绍一下自己", headers={"accept-encoding": "gzip"})

    assert response.headers["content-encoding"] == "gzip"
    assert int(response.headers["content-length"]) == response.num_bytes_downloaded
    assert response.json()["output"]["text"].startswith("你好")


def test_a_stream_is_gzipped_frame_by_frame(
    raw: socket.socket, request_bytes: Callable[..., bytes], server: LocalDashScope
) -> None:
    """Each chunk can be read as soon as it is here, and the whole is one good gzip body."""
    server.reply(Reply(pieces=["a", "b"]))
    raw.sendall(request_bytes("accept-encoding: gzip", "accept: text/event-stream"))

    received = b""
    while not received.endswith(b"0\r\n\r\n"):
        received += raw.recv(65536)

    rest = received.partition(b"\r\n\r\n")[2]
    chunks: list[bytes] = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    assert len(chunks) == 3 + 1 + 1  # frames, the end of gzip, the last chunk
    assert gzip.decompress(b"".join(chunks)).count(b"event:result") == 3


def test_a_short_body_is_not_compressed(call: Call) -> None:
    """An error body is too short to gain from it."""
    response = call(headers={"accept-encoding": "gzip", "authorization": "Bearer no"})

    assert "content-encoding" not in response.headers


def test_broken_characters_do_not_break_the_server(server: LocalDashScope, call: Call) -> None:
    """Half a surrogate pair, which JSON can carry and UTF-8 can't, comes out as a question mark."""
    server.reply("\ud800")

    assert call().json()["output"]["text"] == "?"
