"""How programs read responses, and what they do with them."""

from __future__ import annotations

from typing import Any

from llama_dashscope.testing import ToolCall

from .case import (
    MODEL,
    TOOL,
    Cases,
    body,
    messages,
    replies,
)
from .observe import Sdk

CASES = Cases()


@CASES.snippet(replies("hello"))
def attribute_access(sdk: Sdk) -> object:
    """Attributes all the way down."""
    response = sdk.Generation.call(MODEL, messages=messages(), result_format="message")
    choice = response.output.choices[0]
    return [
        choice.message.content,
        choice.message.role,
        choice.finish_reason,
        response.output.text,
        response.usage.input_tokens,
        response.usage.output_tokens,
        response.usage.total_tokens,
    ]


@CASES.snippet(replies("hello"))
def item_access(sdk: Sdk) -> object:
    """Items all the way down."""
    response = sdk.Generation.call(MODEL, messages=messages(), result_format="message")
    return [
        response["output"]["choices"][0]["message"]["content"],
        response["usage"]["total_tokens"],
        response["status_code"],
    ]


@CASES.snippet(replies("hello"))
def mixed_access(sdk: Sdk) -> object:
    """Attributes and items in turns."""
    response = sdk.Generation.call(MODEL, messages=messages(), result_format="message")
    return [
        response.output.choices[0]["message"]["content"],
        response["output"].choices[0].message["role"],
        response.output["choices"][0].finish_reason,
    ]


@CASES.snippet(replies("hello"))
def get(sdk: Sdk) -> object:
    """`get` with and without a default."""
    response = sdk.Generation.call(MODEL, messages=messages())
    return [
        response.get("status_code"),
        response.get("nothing"),
        response.get("nothing", 5),
        response.output.get("text"),
        response.output.get("choices"),
        response.output.get("choices", "default"),
        response.usage.get("image_tokens", 0),
    ]


@CASES.snippet(replies("hello"))
def contains(sdk: Sdk) -> object:
    """`in` at every depth."""
    response = sdk.Generation.call(MODEL, messages=messages(), result_format="message")
    choice = response.output.choices[0]
    return [
        [name in response for name in ("output", "usage", "code", "nothing")],
        [name in response.output for name in ("text", "choices", "nothing")],
        [name in choice for name in ("message", "index")],
        [name in choice.message for name in ("role", "content", "tool_calls")],
    ]


@CASES.snippet(replies("hello"))
def iteration(sdk: Sdk) -> object:
    """`keys`, `values`, `items`, `len` and loops."""
    usage = sdk.Generation.call(MODEL, messages=messages()).usage
    return [
        sorted(usage.keys()),
        sorted(usage.values()),
        sorted(usage.items()),
        sorted(usage),
        len(usage),
    ]


@CASES.snippet(replies("hello"))
def copies(sdk: Sdk) -> object:
    """`dict(...)` and `**`."""
    response = sdk.Generation.call(MODEL, messages=messages(), result_format="message")
    message = response.output.choices[0].message
    copied: list[dict[str, Any]] = [dict(message), dict(**message), dict(response.usage)]
    return [*copied, {**response.usage, "more": 1}]


@CASES.snippet(replies("hello"))
def printing(sdk: Sdk) -> object:
    """`print`, `str` and f-strings show the JSON of the documentation."""
    response = sdk.Generation.call(MODEL, messages=messages(), result_format="message")
    print(response)
    print(f"{response.output} {response.usage}")
    print(response.output.choices[0], response.output.choices[0].message)
    return str(response)


@CASES.snippet(replies("hello"))
def missing_attribute(sdk: Sdk) -> object:
    """An attribute that isn't there raises AttributeError."""
    return sdk.Generation.call(MODEL, messages=messages()).nothing


@CASES.snippet(replies("hello"))
def missing_inner_attribute(sdk: Sdk) -> object:
    """So it does further down."""
    return sdk.Generation.call(MODEL, messages=messages()).usage.nothing


@CASES.snippet(replies("hello"))
def missing_item(sdk: Sdk) -> object:
    """An item that isn't there raises KeyError."""
    return sdk.Generation.call(MODEL, messages=messages())["nothing"]


@CASES.snippet(replies("hello"))
def hasattr_getattr(sdk: Sdk) -> object:
    """`hasattr` and `getattr` with a default."""
    response = sdk.Generation.call(MODEL, messages=messages())
    return [
        hasattr(response, "output"),
        hasattr(response.output, "nothing"),
        getattr(response.usage, "nothing", 3),
    ]


UNKNOWN: dict[str, Any] = {
    "output": {
        "choices": [
            {
                "finish_reason": "stop",
                "logprobs": {"content": []},
                "message": {
                    "role": "assistant",
                    "content": "hi",
                    "mood": "fine",
                    "parts": [1, {"a": None}],
                },
            }
        ],
        "search_info": {"n": 1},
    },
    "usage": {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 0},
    },
    "request_id": "r",
}


@CASES.snippet(body(UNKNOWN))
def unknown_fields(sdk: Sdk) -> object:
    """Fields that no version knows are attributes and items."""
    response = sdk.Generation.call(MODEL, messages=messages(), result_format="message")
    choice = response.output.choices[0]
    print(response)
    return [
        choice.message.mood,
        choice.message["mood"],
        choice.message.parts,
        choice.logprobs["content"],
        response.output.search_info["n"],
        response.usage.prompt_tokens_details["cached_tokens"],
        "mood" in choice.message,
    ]


@CASES.snippet(body({"output": {"text": "hi", "finish_reason": "stop"}, "request_id": "r"}))
def no_usage(sdk: Sdk) -> object:
    """Without a count of tokens the usage says 0."""
    usage = sdk.Generation.call(MODEL, messages=messages()).usage
    return [usage.input_tokens, usage.output_tokens]


@CASES.snippet(replies("hello", "and again"))
def conversation(sdk: Sdk) -> object:
    """An answer goes back into the conversation as it came."""
    talk = messages()
    response = sdk.Generation.call(MODEL, messages=talk, result_format="message")
    talk.append(response.output.choices[0].message)
    talk.append({"role": "user", "content": "go on"})
    return sdk.Generation.call(MODEL, messages=talk, result_format="message").output


@CASES.snippet(replies("hello", "and again"))
def conversation_of_items(sdk: Sdk) -> object:
    """The same with a message made of its items."""
    talk = messages()
    response = sdk.Generation.call(MODEL, messages=talk, result_format="message")
    said = response.output.choices[0]["message"]
    talk.append({"role": said["role"], "content": said["content"]})
    talk.append({"role": "user", "content": "go on"})
    return sdk.Generation.call(MODEL, messages=talk, result_format="message").output


@CASES.snippet(replies(ToolCall("weather", {"city": "杭州"}, id="call_1"), "sunny"))
def tool_loop(sdk: Sdk) -> object:
    """A model asks for a tool, gets its result and answers."""
    talk: list[Any] = messages()
    first = sdk.Generation.call(MODEL, messages=talk, tools=[TOOL], result_format="message")
    message = first.output.choices[0].message
    call = message.tool_calls[0]
    talk.append(message)
    talk.append({"role": "tool", "content": "22", "name": call["function"]["name"]})
    second = sdk.Generation.call(MODEL, messages=talk, tools=[TOOL], result_format="message")
    return [call["function"]["arguments"], call["id"], second.output.choices[0].message.content]


@CASES.snippet(replies(ToolCall("weather", {"city": "杭州"}, id="call_1"), "sunny"))
def tool_calls_in_a_dict(sdk: Sdk) -> object:
    """The tool calls of an answer go back in a dict that the program made."""
    talk: list[Any] = messages()
    first = sdk.Generation.call(MODEL, messages=talk, tools=[TOOL], result_format="message")
    said = first.output.choices[0].message
    talk.append({"role": "assistant", "content": "", "tool_calls": said.tool_calls})
    talk.append({"role": "tool", "content": "22"})
    return sdk.Generation.call(MODEL, messages=talk, result_format="message").output


@CASES.snippet(replies("hello"))
def arguments_unchanged(sdk: Sdk) -> object:
    """A call leaves the conversation that it was given as it is."""
    talk = messages()
    sdk.Generation.call(MODEL, prompt="more", messages=talk)
    return talk


@CASES.snippet(replies("hello"))
def instance(sdk: Sdk) -> object:
    """Called on an instance, as some programs do."""
    return sdk.Generation().call(MODEL, messages=messages()).output.text
