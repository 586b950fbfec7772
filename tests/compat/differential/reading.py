"""How programs read responses, and what they do with them."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from llama_dashscope.testing import ToolCall

from .case import (
    MODEL,
    TOOL,
    Cases,
    body,
    messages,
    replies,
)
from .observe import Sdk, plain

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


def ask(sdk: Sdk, **more: object) -> Any:
    """Make the plainest call for a message."""
    return sdk.Generation.call(MODEL, messages=messages(), result_format="message", **more)


@CASES.snippet(replies(ToolCall("weather", {"city": "杭州"}, id="call_1")))
def json_dumps(sdk: Sdk) -> object:
    """`json.dumps` of a response's parts."""
    response = ask(sdk)
    return json.dumps([response.output, response.usage, response.status_code])


@CASES.snippet(replies(ToolCall("weather", {"city": "杭州"}, id="call_1")))
def dicts_and_lists(sdk: Sdk) -> object:
    """Dicts and lists all the way down."""
    response = ask(sdk)
    choices = response.output.choices
    calls = choices[0].message.tool_calls
    dicts = (response, response.output, choices[0], choices[0].message, response.usage, calls[0])
    return [isinstance(each, dict) for each in dicts], type(choices) is type(calls) is list


@CASES.snippet(replies("hello"))
def response_headers(sdk: Sdk) -> object:
    """The headers of the answer, in a call and in each frame of a stream."""
    found = [response.headers for response in (ask(sdk), *ask(sdk, stream=True))]
    carriage = {"date", "connection", "content-encoding"}  # the HTTP library's own
    return [[*sorted(each.keys() - carriage), each["content-type"]] for each in found]


@CASES.snippet(replies("hello"))
def whole_json(sdk: Sdk) -> object:
    """`json.dumps` of all of a response."""
    whole = json.loads(json.dumps(ask(sdk)))
    return {**whole, "headers": None, "request_id": plain(whole["request_id"])}


@CASES.snippet(body({"output": {"choices": [{"message": {"role": "assistant", "content": None}}]}}))
def content_null(sdk: Sdk) -> object:
    """A message whose content is null."""
    return ask(sdk).output


@CASES.snippet(body({"output": {"text": "hi"}, "usage": {"input_tokens": 1, "output_tokens": 2}}))
def total_left_out(sdk: Sdk) -> object:
    """`usage.total_tokens`, which the service may leave out for Llama 2."""
    return ask(sdk).usage


@CASES.snippet(replies("hello"))
def assignment(sdk: Sdk) -> object:
    """A response is changed by item and by attribute; each sees what the other did."""
    response = ask(sdk)
    response["mine"] = 1
    response.yours = 2
    response.output["text"] = "x"
    response.output.choices[0].message.content += "!"
    response.usage.update(more=3)
    response.output.choices.append(response.output.choices[0])
    print(response)
    return [
        response.mine,
        response["yours"],
        response.output.text,
        response.output.pop("finish_reason"),
        response.output.pop("finish_reason", "gone"),
        response.usage.setdefault("even_more", 4),
    ]


@CASES.snippet(replies("hello"))
def comparison(sdk: Sdk) -> object:
    """Equal to a dict with the same in it."""
    usage = ask(sdk).usage
    return [usage == dict(usage), dict(usage) == usage, usage == {}]


@CASES.snippet(replies("hello"))
def copies_and_pickles(sdk: Sdk) -> object:
    """Copies are of the same class and have the same in them."""
    response = ask(sdk)
    made = [copy.copy(response), copy.deepcopy(response), pickle.loads(pickle.dumps(response))]
    return [
        (type(each).__name__, type(each.output.choices[0].message).__name__, plain(each.output))
        for each in made
    ]


@CASES.snippet(replies("hello"))
def names_of_classes(sdk: Sdk) -> object:
    """The classes have the official SDK's names."""
    response = ask(sdk)
    parts = (response, response.output, response.output.choices[0], response.usage)
    return [type(each).__name__ for each in (*parts, parts[2].message)]


@CASES.snippet(replies("hello"))
def kind_of_status(sdk: Sdk) -> object:
    """The status of an answer is an HTTPStatus."""
    return [ask(sdk).status_code.name, ask(sdk).status_code.phrase]


@CASES.snippet(replies("hello"))
def what_is_not_there(sdk: Sdk) -> object:
    """No attribute but those of the SDK."""
    response = ask(sdk)
    return [hasattr(response, name) for name in ("text", "finish_reason", "tool_calls", "headers")]


@CASES.snippet(replies(ToolCall("weather", {"city": "杭州"}, id="call_1")))
def packed(sdk: Sdk) -> object:
    """msgpack, in which checkpoints are kept, writes a response down as a dict."""
    msgpack = pytest.importorskip("msgpack")
    response = ask(sdk)
    parts = [response.output, response.usage, response.status_code]
    return [msgpack.unpackb(msgpack.packb(each)) for each in parts]


@CASES.snippet(replies("hello"))
def in_a_model_of_pydantic(sdk: Sdk) -> object:
    """A field of pydantic takes a response for the dict that it is."""
    pydantic = pytest.importorskip("pydantic")
    response = sdk.Generation.call(MODEL, messages=messages())
    model = pydantic.create_model("Answer", output=(dict[str, Any], ...), usage=(dict[str, int], 0))
    keeper = pydantic.create_model("Keeper", kept=(type(response), ...))
    return [
        model.model_validate(response).model_dump(),
        plain(pydantic.TypeAdapter(dict[str, Any]).validate_python(response.output)),
        keeper(kept=response).kept is response,
    ]


@CASES.snippet(replies("hello"))
def methods_of_the_sdk(sdk: Sdk) -> object:
    """`getattr` and `setattr` as methods."""
    response = sdk.Generation.call(MODEL, messages=messages())
    response.setattr("note", 1)
    return [response.getattr("note"), response.getattr("nothing"), response.output.getattr("text")]
