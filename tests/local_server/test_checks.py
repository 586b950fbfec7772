"""Requests are refused as the service refuses them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope.testing import Exchange, LocalDashScope, ReceivedRequest
from llama_dashscope.testing._service.rendering import GenerationSpeed
from llama_dashscope.testing._service.rules import Rules
from llama_dashscope.testing._service.script import Script
from llama_dashscope.testing._service.service import Service

if TYPE_CHECKING:
    import httpx

    from .conftest import Call

MODEL = "llama3.3-70b-instruct"
PATH = "/api/v1/services/aigc/text-generation/generation"
USER = {"role": "user", "content": "hi"}
ROLE = "Role must be user or assistant and Content length must be greater than 0"
NEITHER = 'Either "prompt" or "messages" must exist and cannot both be none'
MISSING = "Required parameter(s) missing or invalid, please check the request parameters."


def refused(response: httpx.Response) -> tuple[int, str, str]:
    """Read status, code and message of a refusal, and see that it has a request id."""
    body = response.json()
    assert body.keys() == {"code", "message", "request_id"}
    assert body["request_id"] == response.headers["x-request-id"]
    return response.status_code, body["code"], body["message"]


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("Bearer sk-other", "Invalid API-key provided."),
        ("Bearer", "No API-key provided."),
        ("Basic sk-local", "No API-key provided."),
    ],
)
def test_a_wrong_key(call: Call, authorization: str, message: str) -> None:
    """Another key, or none, is 401 InvalidApiKey."""
    response = call(headers={"authorization": authorization})

    assert refused(response) == (401, "InvalidApiKey", message)


def test_a_wrong_key_for_a_stream(call: Call) -> None:
    """The gate refuses a stream by HTTP status: the model never sees it."""
    response = call(sse=True, headers={"authorization": "Bearer sk-other"})

    assert refused(response)[:2] == (401, "InvalidApiKey")


def test_no_json(http: httpx.Client) -> None:
    """A body that is no JSON object is 400 BadRequest.IllegalInput."""
    for body in (b"{", b"[]", b"\xff"):
        assert refused(http.post(PATH, content=body))[:2] == (400, "BadRequest.IllegalInput")


def test_asynchronous_calls(call: Call) -> None:
    """X-DashScope-Async is 403 AccessDenied on this route."""
    response = call(headers={"x-dashscope-async": "enable"})

    assert refused(response)[:2] == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"input": {"messages": [USER]}}, (400, "BadRequest.EmptyModel")),
        ({"model": " ", "input": {"messages": [USER]}}, (400, "BadRequest.EmptyModel")),
        ({"model": 7, "input": {"messages": [USER]}}, (400, "BadRequest.EmptyModel")),
        ({"model": "qwen-plus", "input": {"messages": [USER]}}, (404, "ModelNotFound")),
        ({"model": MODEL.upper(), "input": {"messages": [USER]}}, (404, "ModelNotFound")),
        ({"model": MODEL}, (400, "BadRequest.EmptyInput")),
    ],
)
def test_model_and_input(call: Call, body: dict[str, Any], expected: tuple[int, str]) -> None:
    """A missing model, an unknown one, a missing input."""
    assert refused(call(body=body))[:2] == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": [USER]}, NEITHER),
        ({"input": {}}, NEITHER),
        ({"input": "hi"}, NEITHER),
        ({"input": {"messages": []}}, NEITHER),
        ({"input": {"messages": [{"role": "robot", "content": "hi"}]}}, ROLE),
        ({"input": {"messages": ["hi"]}}, ROLE),
        ({"input": {"messages": [{"role": ["user"], "content": "hi"}]}}, ROLE),
        (
            {"input": {"messages": [{"role": "user", "content": list[str]()}]}},
            "input content must be a string.",
        ),
        ({"input": {"messages": [{"role": "user", "content": ""}]}}, ROLE),
        ({"input": {"messages": [USER, {"role": "system", "content": "late"}, USER]}}, ROLE),
        (
            {"input": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}},
            "input content must be a string.",
        ),
        ({"input": {"prompt": ""}}, "Range of input length should be [1, 30000]"),
        ({"input": {"prompt": "hi " * 30001}}, "Range of input length should be [1, 30000]"),
        ({"input": {"prompt": "hi"}, "parameters": []}, MISSING),
    ],
)
def test_input_rules(call: Call, body: dict[str, Any], message: str) -> None:
    """Input in the wrong place or of the wrong form is 400 InvalidParameter."""
    assert refused(call(body={"model": MODEL, **body})) == (400, "InvalidParameter", message)


@pytest.mark.parametrize("content", ["", None, []])
def test_calling_tools_without_a_word(call: Call, content: object) -> None:
    """An assistant that calls tools need not say anything, in any of the ways that clients send."""
    function = {"name": "weather", "arguments": "{}"}
    calls = [{"id": "a", "type": "function", "function": function}]
    asked = {"role": "assistant", "content": content, "tool_calls": calls}
    result = {"role": "tool", "content": "sunny", "tool_call_id": "a"}

    response = call(body={"model": MODEL, "input": {"messages": [USER, asked, result]}})

    assert response.status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["result_format", "n", "stop", "max_tokens", "tools", "tool_choice", "seed"]),
    JSON,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"]) | JSON},
    optional={"content": JSON, "tool_calls": JSON},
)
INPUT = st.fixed_dictionaries({}, optional={"prompt": JSON, "messages": st.lists(MESSAGE | JSON)})
BODY = st.fixed_dictionaries(
    {"model": JSON | st.just(MODEL)}, optional={"input": INPUT | JSON, "parameters": PARAMETERS}
)


@given(BODY | JSON, st.booleans())
def test_whatever_is_asked_is_answered_or_refused(body: object, streaming: bool) -> None:
    """No JSON, however odd, makes the service fail on its own account."""
    headers = {"authorization": "Bearer sk-local", "accept": "text/event-stream" * streaming}
    content = json.dumps(body).encode()
    request = ReceivedRequest(1, 1, "POST", PATH, headers, content)
    service = Service(Rules(("sk-local",), None), Script(), GenerationSpeed())
    exchange = Exchange(request)

    plan = asyncio.run(service.answer(exchange))

    assert exchange.error is None
    assert plan.status in {200, 400, 404, 500}
    assert not isinstance(plan.pieces, AsyncGenerator)
    assert all(piece.data for piece in plan.pieces)


def test_the_last_message_must_be_the_users(call: Call) -> None:
    """The service fails on it inside, with a message of its own."""
    messages = [USER, {"role": "assistant", "content": "hello"}]

    response = call(body={"model": MODEL, "input": {"messages": messages}})

    assert refused(response) == (500, "InternalError.Algo", "list index out of range")


@pytest.mark.parametrize("model", ["llama3-8b-instruct", "llama3-70b-instruct"])
def test_prompt_on_a_messages_only_model(call: Call, model: str) -> None:
    """Llama 3 takes messages only."""
    response = call(body={"model": model, "input": {"prompt": "hi"}})

    assert refused(response)[:2] == (400, "InvalidParameter")


@pytest.mark.parametrize("model", ["llama2-7b-chat-v2", MODEL])
def test_prompt_elsewhere(call: Call, model: str) -> None:
    """Other models take a prompt."""
    response = call(body={"model": model, "input": {"prompt": "hi"}})

    assert response.status_code == 200


RANGES: list[tuple[str, list[Any], list[Any]]] = [
    ("result_format", ["text", "message"], ["json", 1]),
    ("temperature", [0, 0.5, 1.99], [-0.1, 2, "1", True]),
    ("top_p", [0.1, 1], [0, 1.1]),
    ("top_k", [0, 100], [-1, 0.5]),
    ("max_tokens", [1, 32_000], [0, 32_001, 1.5]),
    ("seed", [0, 2**63 - 1], [-1, 2**63]),
    ("repetition_penalty", [0.1], [0]),
    ("presence_penalty", [-2, 2], [-2.1, 2.1]),
    ("n", [1, 4], [0, 5]),
    ("stop", ["a", ["a", "b"], [1, 2], [[1], [2, 3]], []], [1, ["a", 1], [[1], 2], {}]),
    ("tools", [[]], ["a"]),
    ("incremental_output", [False], ["true"]),
    ("brand_new", [1, "a", None], []),
]


@pytest.mark.parametrize(("name", "good", "bad"), RANGES)
def test_parameter_ranges(call: Call, name: str, good: list[Any], bad: list[Any]) -> None:
    """A parameter out of its documented range is 400; one unknown here is left alone."""
    absent: list[Any] = [None]
    for value in good + absent:
        assert call(**{name: value}).status_code == 200, value
    for value in bad:
        assert refused(call(**{name: value}))[:2] == (400, "InvalidParameter"), value


def test_tools_need_the_message_format(call: Call) -> None:
    """Tools with the text format are refused."""
    response = call(tools=[{"type": "function"}])

    assert refused(response)[2] == "The tool call is not supported."


def test_incremental_output_needs_a_stream(call: Call) -> None:
    """It makes sense for a stream only."""
    assert refused(call(incremental_output=True))[:2] == (400, "InvalidParameter")


def test_a_stream_is_refused_in_a_frame(call: Call) -> None:
    """What the model's side refuses comes as HTTP 200 and an error frame."""
    response = call("", sse=True)

    request_id = response.headers["x-request-id"]
    assert response.status_code == 200
    assert response.text == (
        "id:1\nevent:error\n:HTTP_STATUS/400\n"
        f'data:{{"code":"InvalidParameter","message":"{ROLE}","request_id":"{request_id}"}}\n\n'
    )


def test_tool_messages(call: Call) -> None:
    """An assistant that called a tool may say nothing, and the tool may have the last word."""
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    messages = [
        {"role": "system", "content": "Help."},
        USER,
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]

    response = call(body={"model": MODEL, "input": {"messages": messages}})

    assert response.status_code == 200


@pytest.mark.parametrize(("models", "status"), [(("my-llama",), 200), (None, 200), ((), 404)])
def test_more_models(models: tuple[str, ...] | None, status: int) -> None:
    """Further models are named one by one, or any name will do."""
    body = {"model": "my-llama", "input": {"prompt": "hi"}}
    with LocalDashScope(models=models, api_key="key") as server:
        import httpx

        headers = {"authorization": "Bearer key"}
        url = f"{server.base_url}/services/aigc/text-generation/generation"
        response = httpx.post(url, json=body, headers=headers)

    assert response.status_code == status


@pytest.mark.parametrize("path", ["/api/v1", "/api/v2/services/aigc/text-generation/generation"])
def test_other_paths(http: httpx.Client, path: str) -> None:
    """Where nothing is, the gateway says so without a body."""
    for method in ("GET", "HEAD", "POST"):
        response = http.request(method, path)
        assert (response.status_code, response.content) == (404, b"")


def test_other_methods(http: httpx.Client) -> None:
    """The route takes POST only."""
    response = http.get(PATH)

    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_the_query_is_no_part_of_the_route(http: httpx.Client) -> None:
    """A query after the path changes nothing."""
    assert http.post(PATH + "?a=b", content=b"").status_code == 400
