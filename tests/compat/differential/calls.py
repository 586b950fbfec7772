"""Calls: every way to say something, every parameter."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from functools import partial

import pytest

from .case import (
    LLAMA2,
    MODEL,
    PARAMETERS,
    TOOL,
    Case,
    Cases,
    messages,
    nothing,
)
from .observe import Sdk, Snippet

CASES = Cases()

CASES.calls(
    messages_text={"messages": messages()},
    messages_message={"messages": messages(), "result_format": "message"},
    result_format_text={"messages": messages(), "result_format": "text"},
    prompt={"model": LLAMA2, "prompt": "hello"},
    prompt_message={"model": LLAMA2, "prompt": "hello", "result_format": "message"},
    prompt_and_messages={
        "messages": messages()[:1],
        "prompt": "你是谁?",
        "result_format": "message",
    },
    prompt_and_no_messages={"messages": [], "prompt": "你是谁?"},
    empty_prompt_and_messages={"messages": messages(), "prompt": ""},
    history={"model": LLAMA2, "prompt": "and now?", "history": [{"user": "hi", "bot": "hello"}]},
    history_and_messages={
        "model": LLAMA2,
        "prompt": "and now?",
        "history": [{"user": "hi", "bot": "ho"}],
        "messages": messages(),
    },
    empty_history={"model": LLAMA2, "prompt": "hello", "history": []},
    plugins_text={"messages": messages(), "plugins": '{"search": {}}'},
    plugins_dict={"messages": messages(), "plugins": {"天气": {"unit": "C"}}},
    plugins_and_headers={"messages": messages(), "plugins": "{}", "headers": {"X-Trace": "7"}},
    workspace={"messages": messages(), "workspace": "ws_QTggmeAxxxxx"},
    workspace_in_headers={"messages": messages(), "headers": {"X-DashScope-WorkSpace": "ws_1"}},
    workspace_twice={
        "messages": messages(),
        "workspace": "ws_1",
        "headers": {"X-DashScope-WorkSpace": "ws_2"},
    },
    headers={"messages": messages(), "headers": {"X-Trace-Id": "abc", "x-lower": "1"}},
    no_headers={"messages": messages(), "headers": {}},
    user_agent={"messages": messages(), "user_agent": "my-program/1.0"},
    request_timeout={"messages": messages(), "request_timeout": 30},
    request_timeout_fraction={"messages": messages(), "request_timeout": 2.5},
    unknown_parameter={"messages": messages(), "brand_new": True},
    unknown_parameter_none={"messages": messages(), "brand_new": None},
    unknown_parameter_nested={"messages": messages(), "brand_new": {"a": [1, {"b": None}]}},
    unknown_model={"model": "llama9", "messages": messages()},
    long_conversation={
        "messages": [*messages(), {"role": "assistant", "content": "我是"}, *messages()[1:]]
    },
    emoji={"messages": [{"role": "user", "content": '👩‍👩‍👧‍👦 \u0000 \u2028 " \\'}]},
)


CASES.calls(
    nothing,
    **{
        f"parameter_{name}": {"messages": messages(), "result_format": "message", name: value}
        for name, value in PARAMETERS.items()
    },
    parameter_tools={"messages": messages(), "result_format": "message", "tools": [TOOL]},
    parameter_stop_text={"messages": messages(), "stop": "。"},
    parameters_all=dict(messages=messages(), result_format="message", **PARAMETERS),
    parameters_none=dict(messages=messages(), **dict.fromkeys(PARAMETERS)),
    parameters_zero={"messages": messages(), "temperature": 0, "top_k": 0, "seed": 0},
    incremental_call={"messages": messages(), "incremental_output": True},
    incremental_call_false={"messages": messages(), "incremental_output": False},
)


@CASES.snippet()
def official_order(sdk: Sdk) -> object:
    """Every argument by position, in the official order."""
    return sdk.Generation.call(
        MODEL, None, None, sdk.api_key, messages(), "{}", "ws_1", False, 0.5, 0.9, 40, 200, 7, "!",
        1.05, 0.1, "message", None, None, None, None, False, 10, 1, False, 2, {}, False,
        {"type": "text"},
    ).output  # fmt: skip


FILES: dict[str, str | bytes] = {
    "text": "hello\n你好\n",
    "bytes_of_text": "hello\n你好\n".encode(),
    "binary": b"\x00\x01\xff",
    "binary_late": b"a" * 2000 + b"\x00",
}


def opened(content: str | bytes) -> io.IOBase:
    """Make an open file."""
    return io.StringIO(content) if isinstance(content, str) else io.BytesIO(content)


def prompting(prompt: Callable[[], object]) -> Snippet:
    """Return a snippet that asks with a prompt of its own."""

    def snippet(sdk: Sdk) -> object:
        alone = sdk.Generation.call(LLAMA2, prompt=prompt())
        last = sdk.Generation.call(MODEL, prompt=prompt(), messages=messages())
        return [alone.status_code, last.status_code]

    return snippet


def one(item: object) -> Generator[object, None, None]:
    """Give an item, and then another."""
    yield item
    yield "more"


def one_file(content: str | bytes) -> Generator[object, None, None]:
    """Give an open file."""
    return one(opened(content))


for name, content in FILES.items():
    CASES.append(Case(f"prompt_file_{name}", prompting(partial(opened, content))))
    CASES.append(Case(f"prompt_items_{name}", prompting(partial(one_file, content))))
CASES.append(Case("prompt_items", prompting(partial(one, "hello"))))
CASES.append(Case("prompt_items_of_items", prompting(lambda: one(one("hello")))))
CASES.append(Case("prompt_bytes", prompting(lambda: b"hello")))
CASES.append(Case("prompt_bytearray", prompting(lambda: bytearray(b"\x00"))))
CASES.append(Case("prompt_list", prompting(lambda: ["hello", "you"])))

CASES.calls(
    protocol_https={"messages": messages(), "api_protocol": "https"},
    protocol_http={"messages": messages(), "api_protocol": "http", "http_method": "POST"},
    transport_as_it_is={
        "messages": messages(),
        "session": None,
        "async_request": False,
        "flattened_output": False,
        "extra_url_parameters": None,
        "resources": None,
        "task_id": "1",
        "ws_stream_mode": "out",
        "is_binary_input": False,
    },
)


@CASES.snippet()
def session(sdk: Sdk) -> object:
    """A session of one's own."""
    requests = pytest.importorskip("requests")
    with requests.Session() as own:
        return sdk.Generation.call(MODEL, messages=messages(), session=own).status_code


@CASES.snippet()
async def session_of_aiohttp(sdk: Sdk) -> object:
    """A session of one's own in async code, for a call and a stream."""
    aiohttp = pytest.importorskip("aiohttp")
    async with aiohttp.ClientSession() as own:
        call = await sdk.AioGeneration.call(MODEL, messages=messages(), session=own)
        stream = await sdk.AioGeneration.call(MODEL, messages=messages(), session=own, stream=True)
        return [call.status_code, *[each.status_code async for each in stream]]


@CASES.snippet()
def names_of_models(sdk: Sdk) -> object:
    """`Generation.Models`."""
    both = (sdk.Generation.Models, sdk.AioGeneration.Models)
    names: dict[str, object] = {**vars(both[0]), **vars(both[1])}
    sdk.Generation.call(sdk.Generation.Models.qwen_turbo, messages=messages())
    return {name: value for name, value in names.items() if name[0] != "_"}
