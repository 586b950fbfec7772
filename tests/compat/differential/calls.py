"""Calls: every way to say something, every parameter."""

from __future__ import annotations

from .case import (
    LLAMA2,
    MODEL,
    PARAMETERS,
    TOOL,
    Cases,
    messages,
    nothing,
)
from .observe import Sdk

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
