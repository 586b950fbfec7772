"""What a call sends, and what comes back from it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from llama_dashscope import (
    AioGeneration,
    ConfigurationError,
    Generation,
    IncompleteResponseError,
    InputRequired,
    InvalidRequestError,
    Message,
    ModelRequired,
    ResponseError,
)
from llama_dashscope.testing import (
    ErrorStatus,
    LocalDashScope,
    RateLimited,
    Raw,
    ReceivedRequest,
    Reply,
    ToolCall,
)

MODEL = "llama3.3-70b-instruct"
LLAMA2 = "llama2-7b-chat-v2"
MESSAGES = [{"role": "user", "content": "介绍一下自己"}]
JSON = {"content-type": "application/json"}

pytestmark = pytest.mark.usefixtures("program")


def sent(server: LocalDashScope) -> ReceivedRequest:
    """Return the one request that the server got."""
    (request,) = server.requests
    return request


def test_a_call_sends_what_it_says_and_no_more(server: LocalDashScope) -> None:
    """Nothing is added to a request: the service's defaults are the official SDK's, too."""
    Generation.call(MODEL, messages=MESSAGES)

    assert sent(server).json == {"model": MODEL, "input": {"messages": MESSAGES}, "parameters": {}}


def test_a_call_returns_a_response(server: LocalDashScope) -> None:
    """The response reads like the official SDK's, and prints as the documentation shows."""
    server.reply(Reply("你好", request_id="r-1"))

    response = Generation.call(MODEL, messages=MESSAGES, result_format="message")

    assert response.output.choices is not None
    assert response.output.choices[0]["message"]["content"] == "你好"
    assert json.loads(str(response)) == {
        "status_code": 200,
        "request_id": "r-1",
        "code": "",
        "message": "",
        "output": {
            "text": None,
            "finish_reason": None,
            "choices": [
                {"finish_reason": "stop", "message": {"role": "assistant", "content": "你好"}}
            ],
        },
        "usage": dict(**response["usage"]),
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"prompt": "hi"}, {"prompt": "hi"}),
        ({"prompt": "hi", "messages": []}, {"messages": [{"role": "user", "content": "hi"}]}),
        (
            {"prompt": "hi", "messages": MESSAGES},
            {"messages": [*MESSAGES, {"role": "user", "content": "hi"}]},
        ),
        ({"prompt": "", "messages": MESSAGES}, {"messages": MESSAGES}),
        ({"messages": [Message("user", "hi")]}, {"messages": [{"role": "user", "content": "hi"}]}),
        (
            {"prompt": "hi", "history": [{"user": "a", "bot": "b"}], "messages": MESSAGES},
            {"history": [{"user": "a", "bot": "b"}], "prompt": "hi"},
        ),
        ({"history": [], "messages": MESSAGES}, {"history": []}),
    ],
)
def test_the_forms_of_an_input(
    server: LocalDashScope, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Prompt, messages and history become an input by the official SDK's rules."""
    Generation.call(LLAMA2, **given)

    assert sent(server).input == expected


def items(*given: object) -> Generator[object, None, None]:
    """Give items one by one."""
    yield from given


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (lambda: io.StringIO("hello\n你好\n"), ["hello", "你好"]),
        (lambda: io.BytesIO("hello\n你好".encode()), ["hello", "你好"]),
        (lambda: io.BytesIO(b"\x00\x01"), "AAE="),
        (lambda: io.BytesIO(b"caf\xe9"), "Y2Fm6Q=="),
        (lambda: bytearray(b"\x00\x01"), "AAE="),
        (lambda: items("hello", "more"), "hello"),
        (lambda: items(items(io.StringIO("hello"))), ["hello"]),
    ],
)
def test_a_prompt_is_read(
    server: LocalDashScope, prompt: Callable[[], object], expected: object
) -> None:
    """Files, bytes and generators are read as the official SDK reads them."""
    Generation.call(LLAMA2, prompt())

    assert sent(server).input == {"prompt": expected}


@pytest.mark.parametrize("prompt", [io.StringIO, io.BytesIO, items])
def test_a_prompt_with_nothing_in_it(server: LocalDashScope, prompt: Callable[[], object]) -> None:
    """It is no prompt, and the error says what it was."""
    given = prompt()

    with pytest.raises(InputRequired, match=f"an empty {type(given).__name__}"):
        Generation.call(MODEL, given)
    assert server.requests == []


def test_keywords_of_the_sdks_transport_that_change_nothing(server: LocalDashScope) -> None:
    """They are accepted, and no parameters of the request."""
    nothing: dict[str, Any] = {
        "session": None,
        "api_protocol": "https",
        "flattened_output": False,
        "task_id": "1",
    }

    Generation.call(MODEL, messages=MESSAGES, **nothing)

    assert sent(server).parameters == {}


def test_parameters_by_position_and_by_name(server: LocalDashScope) -> None:
    """Parameters come in the official order; None leaves a known one out, not an unknown one."""
    Generation.call(
        MODEL,
        None,
        None,
        None,
        MESSAGES,
        None,
        None,
        None,
        0.5,
        None,
        40,
        seed=None,
        brand_new=None,
    )

    assert sent(server).parameters == {"temperature": 0.5, "top_k": 40, "brand_new": None}


@pytest.mark.parametrize(
    ("values", "named"), [((None,) * 23, {}), ((0.5,), {"temperature": 0.5})], ids=["many", "twice"]
)
def test_too_many_arguments(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    """An argument too many, or one that comes twice, is a TypeError as it is everywhere."""
    with pytest.raises(TypeError, match="too many positional"):
        Generation.call(MODEL, None, None, None, MESSAGES, None, None, False, *values, **named)


def test_headers(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workspace, plugins, the program's name and headers of the caller go out as headers."""
    monkeypatch.setenv("DASHSCOPE_DISABLE_DATA_INSPECTION", "false")
    mine = {"X-Trace": "7"}

    Generation.call(
        MODEL,
        messages=MESSAGES,
        workspace="ws_1",
        plugins={"a": 1},
        headers=mine,
        user_agent="me/1",
    )

    headers = sent(server).headers
    assert headers["x-dashscope-workspace"] == "ws_1"
    assert headers["x-dashscope-plugin"] == '{"a": 1}'
    assert headers["x-dashscope-datainspection"] == "enable"
    assert headers["x-trace"] == "7"
    assert headers["user-agent"].endswith("; me/1")
    assert mine == {"X-Trace": "7"}


def test_plugins_as_text(server: LocalDashScope) -> None:
    """Plugins that are text already go out as they are."""
    Generation.call(MODEL, messages=MESSAGES, plugins='{"b":2}')

    assert sent(server).headers["x-dashscope-plugin"] == '{"b":2}'


@pytest.mark.anyio
async def test_a_session_is_ignored_with_one_warning(server: LocalDashScope) -> None:
    """Connections are shared anyway; the warning names the line that passed the session."""
    given: dict[str, Any] = {"messages": MESSAGES, "session": object()}
    with pytest.warns(UserWarning, match="session is ignored") as of_call:
        Generation.call(MODEL, **given)
    with pytest.warns(UserWarning, match="session is ignored") as of_acall:
        await Generation.acall(MODEL, **given)
    with pytest.warns(UserWarning, match="session is ignored") as of_async_class:
        await AioGeneration.call(MODEL, **given)

    for warned in (of_call, of_acall, of_async_class):
        assert [Path(each.filename) for each in warned] == [Path(__file__)]
    assert [request.parameters for request in server.requests] == [{}] * 3


def test_a_keyword_of_the_sdks_transport_is_told_what_it_can_be() -> None:
    """An error names the keyword and the values that change nothing."""
    with pytest.raises(InvalidRequestError, match=r"api_protocol .* 'http' or 'https'"):
        Generation.call(MODEL, messages=MESSAGES, api_protocol="websocket")


@pytest.mark.parametrize("call", [Generation.call, Generation.acall], ids=["call", "acall"])
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"model": MODEL}, InputRequired),
        ({"model": MODEL, "messages": [], "prompt": ""}, InputRequired),
        ({"model": "", "messages": MESSAGES}, ModelRequired),
        ({"model": MODEL, "messages": "hi"}, InvalidRequestError),
        ({"model": MODEL, "messages": MESSAGES, "request_timeout": 0}, InvalidRequestError),
        ({"model": MODEL, "messages": MESSAGES, "api_protocol": "websocket"}, InvalidRequestError),
        ({"model": MODEL, "messages": MESSAGES, "resources": {"a": 1}}, InvalidRequestError),
        ({"model": MODEL, "prompt": io.BytesIO()}, InputRequired),
        ({"model": MODEL, "messages": MESSAGES, "x": float("nan")}, InvalidRequestError),
        ({"model": MODEL, "messages": MESSAGES, "base_address": "nowhere"}, ConfigurationError),
    ],
)
@pytest.mark.anyio
async def test_what_is_refused_before_sending(
    server: LocalDashScope,
    call: Any,
    given: dict[str, Any],
    error: type[Exception],
) -> None:
    """A call that can't be right raises and sends nothing, in a stream before its first frame."""
    for stream in (False, True):
        with pytest.raises(error):
            await call(**given, stream=stream)

    assert server.requests == []


@pytest.mark.anyio
async def test_the_async_twins(server: LocalDashScope) -> None:
    """`Generation.acall` and `AioGeneration.call` are one; so is what comes back."""
    server.reply("hello")

    one = await Generation.acall(MODEL, messages=MESSAGES)
    two = await AioGeneration.call(MODEL, messages=MESSAGES)
    three = await AioGeneration().call(MODEL, messages=MESSAGES)

    assert [each.output.text for each in (one, two, three)] == ["hello"] * 3


def test_usage_is_there_always(server: LocalDashScope) -> None:
    """Where the service counted nothing the usage says so, as the official SDK's does."""
    server.reply(Raw((b'{"output":{"text":"hi","finish_reason":"stop"}}',), headers=JSON))

    usage = Generation.call(MODEL, messages=MESSAGES).usage

    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (0, 0)


def test_a_refusal_is_a_response(server: LocalDashScope) -> None:
    """What the service refuses comes back with code and message and without an output."""
    server.fault(ErrorStatus(403, "AccessDenied", "not yours"))

    response = Generation.call(MODEL, messages=MESSAGES)

    assert (response.status_code, response.code) == (403, "AccessDenied")
    assert response.message == "not yours"
    assert response.request_id
    assert [response["output"], response["usage"]] == [None, None]


@pytest.mark.anyio
async def test_a_refusal_is_a_response_in_async_code(server: LocalDashScope) -> None:
    """So it is with `acall`."""
    server.fault(ErrorStatus(403, "AccessDenied", "not yours"))

    response = await Generation.acall(MODEL, messages=MESSAGES)

    assert (response.status_code, response.code) == (403, "AccessDenied")


def test_a_refusal_never_looks_like_an_answer(server: LocalDashScope) -> None:
    """An error without a code, under HTTP status 200, still has the status of an error."""
    server.reply(Raw((b'{"error":"out of order"}',), headers=JSON))

    response = Generation.call(MODEL, messages=MESSAGES)

    assert (response.status_code, response.code) == (400, "Unknown")
    assert "out of order" in response.message


def test_a_passing_failure_is_met_by_trying_again(server: LocalDashScope) -> None:
    """A rate limit that is over with the next try never reaches the program."""
    server.reply("hello")
    server.fault(RateLimited(retry_after=0))

    assert Generation.call(MODEL, messages=MESSAGES).output.text == "hello"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"output":{"text":"o","finish_reason":"null"}}', IncompleteResponseError),
        (b"hello", ResponseError),
        (b'{"output":{"choices":[{"message":{"content":"hi","tool_calls":5}}]}}', ResponseError),
    ],
)
def test_what_is_no_answer_raises(
    server: LocalDashScope, body: bytes, error: type[Exception]
) -> None:
    """What is neither an answer nor a refusal is an exception."""
    server.reply(Raw((body,), headers=JSON))

    with pytest.raises(error):
        Generation.call(MODEL, messages=MESSAGES)


def test_models_in_messages(server: LocalDashScope) -> None:
    """Answers and their parts go back into a conversation, whole or inside a dict."""
    server.reply([ToolCall("weather", {"city": "杭州"}), "sunny"])
    first = Generation.call(MODEL, messages=MESSAGES, result_format="message")
    said = first["output"].choices[0].message
    talk = [*MESSAGES, said, {"role": "assistant", "content": "", "tool_calls": said.tool_calls}]

    Generation.call(MODEL, messages=talk, prompt="go on", result_format="message")

    _, whole, taken_out, _ = server.requests[-1].messages
    assert whole == taken_out == said
