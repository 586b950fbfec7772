"""Streams: both result formats, each kind of increments."""

from __future__ import annotations

import json
from typing import Any

from llama_dashscope.testing import Heartbeats, Reply, ToolCall

from .case import (
    EACH_WAY,
    LLAMA2,
    MODEL,
    TOOL,
    Cases,
    faults,
    frames,
    messages,
    nothing,
    replies,
)
from .observe import Sdk, plain

CASES = Cases()

for form in (None, "text", "message"):
    for way in EACH_WAY:
        CASES.calls(
            replies("one two three"),
            **{
                f"stream_{form}_{way}": {
                    "messages": messages(),
                    "stream": True,
                    "incremental_output": way,
                    "result_format": form,
                }
            },
        )
CASES.calls(
    replies(Reply(pieces=["你", "好", "", "!", "!"])),
    **{
        f"stream_repeated_pieces_{way}": {
            "messages": messages(),
            "stream": True,
            "incremental_output": way,
        }
        for way in EACH_WAY
    },
)
CASES.calls(
    replies(Reply(pieces=["a", "ab", "abc", "abcd"])),
    stream_pieces_that_look_whole={
        "messages": messages(),
        "stream": True,
        "incremental_output": True,
    },
    stream_pieces_that_look_whole_grow={
        "messages": messages(),
        "stream": True,
        "incremental_output": False,
    },
)
CASES.calls(
    replies("one two"),
    stream_prompt={"model": LLAMA2, "prompt": "hello", "stream": True, "incremental_output": True},
    stream_off={"messages": messages(), "stream": False},
    stream_everything={
        "messages": messages()[:1],
        "prompt": "你是谁?",
        "stream": True,
        "workspace": "ws_1",
        "plugins": {"a": 1},
        "headers": {"X-Trace": "1"},
        "result_format": "message",
        "temperature": 0.5,
        "brand_new": 1,
    },
)
CASES.calls(
    replies("one two"),
    **{
        f"stream_two_answers_{way}": {
            "messages": messages(),
            "stream": True,
            "n": 2,
            "incremental_output": way,
            "result_format": "message",
        }
        for way in (None, True)
    },
)


@CASES.snippet(replies("one two"))
def stream_two_answers_grow(sdk: Sdk) -> object:
    """Two answers of one call grow side by side."""
    return [
        plain(response.output)
        for response in sdk.Generation.call(
            MODEL,
            messages=messages(),
            stream=True,
            n=2,
            incremental_output=False,
            result_format="message",
        )
    ]


CASES.calls(
    replies(ToolCall("weather", {"city": "杭州"})),
    tool_call={"messages": messages(), "result_format": "message", "tools": [TOOL]},
    **{
        f"stream_tool_call_{way}": {
            "messages": messages(),
            "result_format": "message",
            "tools": [TOOL],
            "stream": True,
            "incremental_output": way,
        }
        for way in EACH_WAY
    },
)
CASES.calls(
    faults(Heartbeats(every=0.01, seconds=0.03)),
    stream_heartbeats={"messages": messages(), "stream": True},
)


def unasked(text: str, arguments: str, reason: str = "null") -> str:
    """Write a frame with pieces of a text and of a tool call."""
    call = {"index": 0, "id": "c", "type": "function", "function": {"arguments": arguments}}
    message = {"role": "assistant", "content": text, "tool_calls": [call]}
    choice = {"message": message, "finish_reason": reason}
    return json.dumps({"output": {"choices": [choice]}, "request_id": "r"})


PIECES = {
    "plain": ("one", " two", ""),
    "as_if_whole": ("a", "ab", "c", ""),
    "as_if_whole_for_long": ("a", "ab", "abc", "abcd", "abcde", "x", "abc"),
    "repeated": ("a", "a", "a"),
}
for name, pieces in PIECES.items():
    CASES.calls(
        frames(*(unasked(each, each) for each in pieces[:-1]), unasked(pieces[-1], "", "stop")),
        **{
            f"stream_of_pieces_unasked_{name}": {
                "messages": messages(),
                "stream": True,
                "result_format": "message",
            }
        },
    )
    CASES.acalls(
        replies(Reply(pieces=pieces)),
        **{f"stream_unasked_{name}": {"messages": messages(), "stream": True}},
    )


def thinking(thought: str, text: str, reason: str = "null") -> str:
    """Write a frame of a model that thinks aloud."""
    message = {"content": text, "reasoning_content": thought, "role": "assistant"}
    choice = {"message": message, "finish_reason": reason}
    usage = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    return json.dumps({"output": {"choices": [choice]}, "usage": usage, "request_id": "r"})


THINKING = (thinking("hm", ""), thinking(", well", ""), thinking("", "Yes", "stop"))
CASES.calls(
    frames(*THINKING),
    stream_reasoning_true={
        "messages": messages(),
        "stream": True,
        "incremental_output": True,
        "result_format": "message",
    },
)


def read(stream: Any) -> list[tuple[str, str]]:
    """Read text and thoughts of a stream."""
    found: list[tuple[str, str]] = []
    for response in stream:
        message = response.output.choices[0].message
        found.append((message.content, message.get("reasoning_content", "")))
    return found


@CASES.snippet(frames(*THINKING))
def stream_reasoning_grows(sdk: Sdk) -> object:
    """What the model thinks grows like what it says."""
    return read(
        sdk.Generation.call(
            MODEL,
            messages=messages(),
            stream=True,
            incremental_output=False,
            result_format="message",
        )
    )


@CASES.snippet(replies("one two three"))
def stream_joined(sdk: Sdk) -> object:
    """The loop of many programs: add up pieces until the finish_reason isn't "null"."""
    text = ""
    for response in sdk.Generation.call(
        MODEL, messages=messages(), result_format="message", stream=True, incremental_output=True
    ):
        choice = response.output.choices[0]
        text += choice["message"]["content"]
        if choice.finish_reason != "null":
            return text, choice.finish_reason, response.usage.total_tokens
    return text


@CASES.snippet(replies("one two three"))
def stream_left_early(sdk: Sdk) -> object:
    """A loop that ends before its stream."""
    for response in sdk.Generation.call(MODEL, messages=messages(), stream=True):
        return response.output.text
    return None


@CASES.snippet(replies("one two"))
def stream_is_lazy(sdk: Sdk) -> object:
    """Nothing is sent before the first frame is asked for."""
    stream = sdk.Generation.call(MODEL, messages=messages(), stream=True)
    return type(stream).__name__


@CASES.snippet(replies("one two"))
def stream_to_json(sdk: Sdk) -> object:
    """Each frame is a dict, to be written down as it comes."""
    stream = sdk.Generation.call(MODEL, messages=messages(), stream=True, result_format="message")
    return [plain(json.loads(json.dumps(frame.output))) for frame in stream]


CASES.calls(
    nothing,
    **{
        f"incremental_{value!r}": {
            "messages": messages(),
            "stream": True,
            "incremental_output": value,
        }
        for value in (0, 1, "true")
    },
)
