"""A call's arguments become a body, or are refused by name before anything is sent."""

from __future__ import annotations

import json
from collections import UserDict, UserList
from types import MappingProxyType
from typing import Any, cast, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope import InvalidRequestError, Message, Options, StreamOptions, ToolCall
from llama_dashscope._protocol.arguments import (
    CALL_NAMES,
    STREAM_NAMES,
    StreamArguments,
    call_arguments,
    stream_arguments,
)
from llama_dashscope._protocol.request import Payload, build_payload

MODEL = "llama3.3-70b-instruct"
USER = {"role": "user", "content": "介绍一下自己"}
ODD_KEY: dict[object, object] = {"role": "user", "content": "hi", (1, 2): 1}
NESTED: list[Any] = []
NESTED.append(NESTED)
LONE = "it has a lone surrogate, half of a character, which UTF-8 can't encode"


def build(
    prompt: object = None, *, model: object = MODEL, streaming: bool = False, **options: object
) -> Payload:
    """Build a payload from arguments of any type."""
    take = stream_arguments if streaming else call_arguments
    return build_payload(cast("str", model), cast("str | None", prompt), take(**options))


def body(prompt: object = None, *, model: object = MODEL, **options: object) -> dict[str, Any]:
    """Build a call's payload and read its body."""
    return cast(
        "dict[str, Any]", json.loads(build(prompt, model=model, streaming=False, **options).body)
    )


def test_the_documented_request() -> None:
    """The body is the documented one, compact, characters as they are."""
    system = Message("system", "You are a helpful assistant.")

    payload = build(messages=[system, USER])

    assert payload.body.decode() == (
        '{"model":"llama3.3-70b-instruct","input":{"messages":'
        '[{"role":"system","content":"You are a helpful assistant."},'
        '{"role":"user","content":"介绍一下自己"}]},"parameters":{"result_format":"message"}}'
    )
    assert (payload.streaming, payload.incremental, payload.choices) == (False, True, 1)


def test_a_prompt() -> None:
    """A prompt is sent as given, and answered as text."""
    assert body("hello, who are you?\n") == {
        "model": MODEL,
        "input": {"prompt": "hello, who are you?\n"},
        "parameters": {"result_format": "text"},
    }


@pytest.mark.parametrize("result_format", ["text", "message"])
@pytest.mark.parametrize("question", [{"prompt": "hi"}, {"messages": [USER]}])
def test_a_result_format(result_format: str, question: dict[str, Any]) -> None:
    """The caller's wish comes before the default of either input."""
    assert body(**question, result_format=result_format)["parameters"] == {
        "result_format": result_format
    }


@pytest.mark.parametrize(
    ("options", "sent", "incremental"),
    [
        ({}, {"incremental_output": True}, True),
        ({"incremental_output": None}, {"incremental_output": True}, True),
        ({"incremental_output": True}, {"incremental_output": True}, True),
        ({"incremental_output": False}, {}, False),
        ({"parameters": {"incremental_output": True}}, {"incremental_output": True}, True),
        ({"parameters": {"incremental_output": False}}, {"incremental_output": False}, False),
        ({"parameters": {"incremental_output": None}}, {"incremental_output": True}, True),
    ],
)
def test_pieces_or_wholes(options: dict[str, Any], sent: dict[str, Any], incremental: bool) -> None:
    """A stream asks for pieces unless told otherwise, and remembers what it asked for."""
    payload = build("hi", streaming=True, **options)

    assert json.loads(payload.body)["parameters"] == {"result_format": "text", **sent}
    assert (payload.streaming, payload.incremental) == (True, incremental)


def test_a_call_has_no_pieces() -> None:
    """The service refuses `incremental_output` without a stream, so a call never sends it."""
    with pytest.raises(TypeError) as caught:
        build("hi", incremental_output=True)

    assert str(caught.value) == (
        "a call has no argument incremental_output: "
        "incremental_output is for client.stream(...) and client.astream(...)"
    )
    assert "incremental_output" not in body("hi")["parameters"]


def test_a_stream_has_no_unknown_argument() -> None:
    """Mistyped keywords are refused, each with the nearest one."""
    words = "has no argument temprature, toolz: did you mean temperature\\?; did you mean tools\\?$"
    with pytest.raises(TypeError, match=f"^a stream {words}"):
        build("hi", streaming=True, temprature=1, toolz=[])


@pytest.mark.parametrize(
    ("options", "choices"),
    [
        ({}, 1),
        ({"n": None}, 1),
        ({"n": 3}, 3),
        ({"n": 0}, 1),
        ({"parameters": {"n": 2}}, 2),
        ({"parameters": {"n": "two"}}, 1),
    ],
)
def test_how_many_answers_to_wait_for(options: dict[str, Any], choices: int) -> None:
    """`n` counts, by its name or through `parameters`."""
    assert build("hi", **options).choices == choices


def test_named_parameters() -> None:
    """Every parameter with a name goes out under that name, with its value."""
    named = {
        "temperature": 0.7,
        "top_p": 1,
        "top_k": 50,
        "max_tokens": 100,
        "seed": 2**63 - 1,
        "repetition_penalty": 1.1,
        "presence_penalty": -2.0,
        "stop": ["a", "b"],
        "n": 2,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_object"},
    }

    assert body("hi", **named)["parameters"] == {"result_format": "text", **named}


def test_functions_are_tools() -> None:
    """Typed functions and schemas mix; the error about one names its place."""

    def now(zone: str) -> str:
        """Tell the time."""
        return zone

    schema = {"type": "function", "function": {"name": "f"}}
    own, named = body("hi", tools=(schema, now))["parameters"]["tools"]

    assert own == schema
    assert named["function"]["name"] == "now"
    assert named["function"]["parameters"]["required"] == ["zone"]
    with pytest.raises(InvalidRequestError, match=r"tools\[1\]: function has no name"):
        body("hi", tools=[now, lambda: 1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stop", "end"),
        ("stop", [1, 2]),
        ("stop", [[1], [2, 3]]),
        ("tool_choice", "auto"),
        ("temperature", 0),
        ("max_tokens", -1),
    ],
)
def test_ranges_are_the_services_to_judge(name: str, value: object) -> None:
    """Nobody says which range holds for which Llama model, so only types are checked."""
    assert body("hi", **{name: value})["parameters"][name] == value


def test_any_name_of_a_model_is_sent_as_given() -> None:
    """The catalogue informs, it never forbids."""
    assert body("hi", model="Any-Model.of:yours")["model"] == "Any-Model.of:yours"


def test_none_is_the_same_as_leaving_it_out() -> None:
    """A caller may pass on its own optional arguments."""
    options = dict.fromkeys(StreamOptions.__annotations__)

    assert build("hi", streaming=True, **options) == build("hi", streaming=True)


def test_parameters_without_a_name_here() -> None:
    """Whatever is in `parameters` goes out as it is, and before the defaults."""
    sent = body("hi", parameters={"enable_search": False, "result_format": "message", "x": None})

    assert sent["parameters"] == {"result_format": "message", "enable_search": False, "x": None}


@pytest.mark.parametrize(
    "conversation",
    [
        [Message("user", "hi"), {"role": "assistant", "content": "ho"}],
        (Message("user", "hi"), MappingProxyType({"role": "assistant", "content": "ho"})),
        UserList([UserDict(role="user", content="hi"), Message("assistant", "ho")]),
        iter([Message("user", "hi"), Message("assistant", "ho")]),
    ],
)
def test_a_conversation_of_any_make(conversation: object) -> None:
    """Models and mappings mix, in any iterable."""
    assert body(messages=conversation)["input"]["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
    ]


def test_a_conversation_with_tools() -> None:
    """Tool calls and their results go out as they came, unknown fields included."""
    asked = Message("assistant", tool_calls=[ToolCall(id="A", index=0, extra={"x": 1})])
    told = {"role": "tool", "content": "sunny", "tool_call_id": "A"}
    silent = {"role": "assistant", "content": None, "tool_calls": [{"id": "B"}]}

    assert body(messages=[asked, told, silent])["input"]["messages"] == [
        asked.to_dict(),
        told,
        silent,
    ]


def test_the_callers_messages_are_not_kept() -> None:
    """What the caller changes afterwards changes no request."""
    messages = [dict(USER)]
    payload = build(messages=messages)
    before = payload.body
    messages[0]["content"] = "changed"

    assert payload.body == before


def test_mappings_and_sequences_inside() -> None:
    """Any mapping, sequence or model passes for JSON's own, at any depth."""
    inside = UserList([UserDict(c=1), Message("user", "hi")])

    sent = body("hi", parameters={"a": MappingProxyType({"b": inside})})

    assert sent["parameters"]["a"] == {"b": [{"c": 1}, {"role": "user", "content": "hi"}]}


def part(content: object) -> list[dict[str, object]]:
    """Make a conversation of one message."""
    return [{"role": "user", "content": content}]


def deep() -> list[Any]:
    """Make a list in a list in a list, and so on."""
    inner: list[Any] = []
    for _ in range(100_000):
        inner = [inner]
    return inner


DEEP = deep()


@pytest.mark.parametrize(
    ("said", "options"),
    [
        # no input, or two
        ("prompt and messages are both missing: give one of them", {}),
        (
            "prompt and messages are both missing: give one of them",
            {"prompt": None, "messages": None},
        ),
        (
            "prompt and messages can't be combined: put the prompt into a message",
            {"prompt": "hi", "messages": [USER]},
        ),
        ("prompt is empty", {"prompt": ""}),
        ("prompt must be a string, got b'hi' (bytes)", {"prompt": b"hi"}),
        ("prompt must be a string, got 5 (int)", {"prompt": 5}),
        # a conversation that is none
        ("messages is empty: a conversation has at least one message", {"messages": []}),
        ("messages is empty: a conversation has at least one message", {"messages": iter(())}),
        (f"messages must be a list of messages, got {USER} (dict)", {"messages": USER}),
        (
            "messages must be a list of messages, got a value of type Message",
            {"messages": Message("user", "hi")},
        ),
        ("messages must be a list of messages, got 'hi' (str)", {"messages": "hi"}),
        ("messages must be a list of messages, got b'hi' (bytes)", {"messages": b"hi"}),
        ("messages must be a list of messages, got 5 (int)", {"messages": 5}),
        # a message that is none
        (
            "messages[0] must be a Message or a dict with 'role' and 'content', got 'hi' (str)",
            {"messages": ["hi"]},
        ),
        (
            "messages[1] must be a Message or a dict with 'role' and 'content', got None",
            {"messages": [USER, None]},
        ),
        (
            "messages[0]['role'] must be 'system', 'user', 'assistant' or 'tool', got None",
            {"messages": [{"content": "hi"}]},
        ),
        (
            "messages[0]['role'] must be 'system', 'user', 'assistant' or 'tool', got '' (str)",
            {"messages": [{"role": "", "content": "hi"}]},
        ),
        (
            "messages[0]['role'] must be 'system', 'user', 'assistant' or 'tool', got 5 (int)",
            {"messages": [{"role": 5, "content": "hi"}]},
        ),
        ("messages[0]['content'] must be a string, got None", {"messages": [{"role": "user"}]}),
        ("messages[0]['content'] must be a string, got None", {"messages": part(None)}),
        ("messages[0]['content'] must be a string, got b'hi' (bytes)", {"messages": part(b"hi")}),
        ("messages[0]['content'] must be a string, got 5 (int)", {"messages": part(5)}),
        (
            "messages[0]['content'] must be a string, got nan (float)",
            {"messages": part(float("nan"))},
        ),
        (
            "messages[0]['content'] must be a string, got b'hi' (bytes)",
            {"messages": [Message("user", cast("str", b"hi"))]},
        ),
        (f"messages[0]['content'] can't be sent: {LONE}", {"messages": part("\ud83d")}),
        (
            "messages[0]['content'] can't be sent: bytes has no form in JSON",
            {"messages": part([{"text": b"hi"}])},
        ),
        (
            f"messages[1]['name'] can't be sent: {LONE}",
            {"messages": [USER, {**USER, "name": "\udc80"}]},
        ),
        (f"messages[0] can't be sent: {LONE}", {"messages": [{**USER, "\udc80": 1}]}),
        # what JSON can't carry
        (f"messages[0]['content'] can't be sent: {LONE}", {"messages": [*part("\ud83d"), USER]}),
        (f"model can't be sent: {LONE}", {"messages": [USER], "model": "llama\udc80"}),
        (f"prompt can't be sent: {LONE}", {"prompt": "\udc80"}),
        (f"model can't be sent: {LONE}", {"prompt": "hi", "model": "llama\udc80"}),
        (
            "parameters['x'] can't be sent: set has no form in JSON",
            {"prompt": "hi", "parameters": {"x": {1}}},
        ),
        (
            "parameters['x'] can't be sent: object has no form in JSON",
            {"prompt": "hi", "parameters": {"x": object()}},
        ),
        (
            "parameters['x'] can't be sent: bytes has no form in JSON",
            {"prompt": "hi", "parameters": {"x": b"hi"}},
        ),
        (
            "parameters['x'] can't be sent: it is nested too deeply",
            {"prompt": "hi", "parameters": {"x": DEEP}},
        ),
        (f"parameters can't be sent: {LONE}", {"prompt": "hi", "parameters": {"\udc80": 1}}),
        (f"stop can't be sent: {LONE}", {"prompt": "hi", "stop": ["\udc80"]}),
        ("stop can't be sent: bytes has no form in JSON", {"prompt": "hi", "stop": [b"x"]}),
        # the model
        (
            "model must be the name of a model, such as 'llama3.3-70b-instruct', got '' (str)",
            {"prompt": "hi", "model": ""},
        ),
        (
            "model must be the name of a model, such as 'llama3.3-70b-instruct', got '  ' (str)",
            {"prompt": "hi", "model": "  "},
        ),
        (
            "model must be the name of a model, such as 'llama3.3-70b-instruct', got None",
            {"prompt": "hi", "model": None},
        ),
        (
            "model must be the name of a model, such as 'llama3.3-70b-instruct', got 5 (int)",
            {"prompt": "hi", "model": 5},
        ),
        # what can't even be shown
        (
            (
                "prompt must be a string (pass a conversation as messages=[...]), "
                "got a value of type list"
            ),
            {"prompt": DEEP},
        ),
        (
            "temperature must be a finite number, got a value of type int",
            {"prompt": "hi", "temperature": 10**5000},
        ),
        # parameters with a name
        (
            "result_format must be 'text' or 'message', got 'json' (str)",
            {"prompt": "hi", "result_format": "json"},
        ),
        (
            "result_format must be 'text' or 'message', got ['text'] (list)",
            {"prompt": "hi", "result_format": ["text"]},
        ),
        (
            "temperature must be a finite number, got 'hot' (str)",
            {"prompt": "hi", "temperature": "hot"},
        ),
        (
            "temperature must be a finite number, got True (bool)",
            {"prompt": "hi", "temperature": True},
        ),
        (
            "temperature must be a finite number, got nan (float)",
            {"prompt": "hi", "temperature": float("nan")},
        ),
        (
            "temperature must be a finite number, got a value of type int",
            {"prompt": "hi", "temperature": 10**400},
        ),
        ("top_p must be a finite number, got inf (float)", {"prompt": "hi", "top_p": float("inf")}),
        ("top_k must be a whole number, got 1.5 (float)", {"prompt": "hi", "top_k": 1.5}),
        (
            "max_tokens must be a whole number, got '100' (str)",
            {"prompt": "hi", "max_tokens": "100"},
        ),
        (
            "max_tokens must be a whole number, got False (bool)",
            {"prompt": "hi", "max_tokens": False},
        ),
        ("seed must be a whole number, got 1.0 (float)", {"prompt": "hi", "seed": 1.0}),
        (
            "repetition_penalty must be a finite number, got [] (list)",
            {"prompt": "hi", "repetition_penalty": []},
        ),
        (
            "presence_penalty must be a finite number, got '0' (str)",
            {"prompt": "hi", "presence_penalty": "0"},
        ),
        ("stop must be a string or a list, got 5 (int)", {"prompt": "hi", "stop": 5}),
        ("stop must be a string or a list, got b'end' (bytes)", {"prompt": "hi", "stop": b"end"}),
        ("stop must be a string or a list, got {'end'} (set)", {"prompt": "hi", "stop": {"end"}}),
        ("n must be a whole number, got 1.5 (float)", {"prompt": "hi", "n": 1.5}),
        (
            "tools must be a list of functions or dicts, got {'type': 'function'} (dict)",
            {"prompt": "hi", "tools": {"type": "function"}},
        ),
        (
            "tools must be a list of functions or dicts, got ['f'] (list)",
            {"prompt": "hi", "tools": ["f"]},
        ),
        (
            "tools must be a list of functions or dicts, got 'f' (str)",
            {"prompt": "hi", "tools": "f"},
        ),
        ("tool_choice must be a string or a dict, got 1 (int)", {"prompt": "hi", "tool_choice": 1}),
        (
            "response_format must be a dict, got 'json' (str)",
            {"prompt": "hi", "response_format": "json"},
        ),
        (
            "incremental_output must be True or False, got 'yes' (str)",
            {"prompt": "hi", "incremental_output": "yes"},
        ),
        (
            "incremental_output must be True or False, got 1 (int)",
            {"prompt": "hi", "incremental_output": 1},
        ),
        (
            "incremental_output must be True or False, got 'no' (str)",
            {"prompt": "hi", "parameters": {"incremental_output": "no"}},
        ),
        (
            "parameters must be a dict whose keys are strings, got [('a', 1)] (list)",
            {"prompt": "hi", "parameters": [("a", 1)]},
        ),
        (
            "parameters must be a dict whose keys are strings, got {1: 2} (dict)",
            {"prompt": "hi", "parameters": {1: 2}},
        ),
        (
            "seed is given twice: as an argument and in parameters",
            {"prompt": "hi", "seed": 1, "parameters": {"seed": 2}},
        ),
        (
            "incremental_output is given twice: as an argument and in parameters",
            {"prompt": "hi", "incremental_output": True, "parameters": {"incremental_output": 1}},
        ),
    ],
)
def test_bad_input(said: str, options: dict[str, Any]) -> None:
    """What can't be right is refused, and the message names the argument and what is wrong."""
    with pytest.raises(InvalidRequestError) as caught:
        build(streaming=True, **options)

    assert str(caught.value) == said
    assert caught.value.status_code is None


@pytest.mark.parametrize(
    ("where", "reason", "options"),
    [
        ("messages[0]['x']", "Out of range", {"messages": [{**USER, "x": float("nan")}]}),
        ("messages[0]", "keys must be str", {"messages": [ODD_KEY]}),
        ("parameters['x']", "Out of range", {"parameters": {"x": float("nan")}}),
        ("parameters['x']", "Out of range", {"parameters": {"x": float("-inf")}}),
        ("parameters['x']", "Circular", {"parameters": {"x": NESTED}}),
        ("parameters['x']", "", {"parameters": {"x": 10**5000}}),
        ("seed", "", {"seed": 10**5000}),
    ],
)
def test_what_json_has_no_form_for(where: str, reason: str, options: dict[str, Any]) -> None:
    """The message names the argument and goes on in Python's own words."""
    prompt = None if "messages" in options else "hi"
    with pytest.raises(InvalidRequestError) as caught:
        build(prompt, streaming=True, **options)

    assert str(caught.value).startswith(f"{where} can't be sent: {reason}")


def test_long_values_are_not_repeated() -> None:
    """A message says what kind of thing a value is where showing it would fill the screen."""
    with pytest.raises(InvalidRequestError) as caught:
        build("hi", temperature="x" * 1000)

    assert str(caught.value) == "temperature must be a finite number, got a value of type str"


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("temprature", "did you mean temperature?"),
        ("topk", "did you mean top_k?"),
        ("message", "did you mean messages?"),
        ("stream", "for a stream use client.stream(...), in async code client.astream(...)"),
        (
            "thinking_budget",
            'to send an unlisted parameter, use parameters={"thinking_budget": ...}',
        ),
    ],
)
def test_an_unknown_keyword(name: str, advice: str, streaming: bool) -> None:
    """A typing error is a TypeError, as for any function, and says what to write instead."""
    with pytest.raises(TypeError) as caught:
        build("hi", streaming=streaming, **{name: 1})

    verb = "a stream" if streaming else "a call"
    assert str(caught.value) == f"{verb} has no argument {name}: {advice}"


def test_unknown_keywords_are_all_named() -> None:
    """One error speaks of every keyword that there is not."""
    said = r"topk, temprature: did you mean top_k\?; did you mean temperature\?"
    with pytest.raises(TypeError, match=f"^a call has no argument {said}$"):
        build("hi", topk=1, temprature=1)


@pytest.mark.parametrize("given", [[USER], (USER,), USER, Message("user", "hi")])
def test_messages_in_the_place_of_the_prompt(given: object) -> None:
    """A conversation as the second argument is told its name."""
    with pytest.raises(InvalidRequestError, match=r"prompt must .* messages=\[\.\.\.\]"):
        build(given)


def test_arguments_have_the_names_and_types_of_options() -> None:
    """The keywords of a call are the fields of `Options`, those of a stream of `StreamOptions`."""
    types = get_type_hints(StreamArguments)

    assert tuple(Options.__annotations__) == CALL_NAMES
    assert tuple(StreamOptions.__annotations__) == STREAM_NAMES
    assert get_type_hints(StreamOptions) == types


any_text = st.text(st.characters(), max_size=4)  # lone surrogates too, unlike text()
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.binary(max_size=3)
any_value = scalars | st.lists(scalars, max_size=2) | st.dictionaries(any_text, scalars, max_size=2)


@given(
    any_text | st.none(),
    st.lists(
        st.fixed_dictionaries(
            {"role": any_text, "content": any_value}, optional={"name": any_value}
        ),
        max_size=2,
    ),
    st.dictionaries(any_text, any_value, max_size=2),
    st.dictionaries(st.sampled_from(sorted(StreamOptions.__annotations__)), any_value, max_size=3),
    st.booleans(),
)
def test_any_arguments(
    prompt: str | None,
    messages: list[dict[str, Any]],
    parameters: dict[str, Any],
    options: dict[str, Any],
    streaming: bool,
) -> None:
    """Whatever is given becomes a JSON body in UTF-8 or an InvalidRequestError."""
    chosen: dict[str, Any] = {"messages": messages or None, "parameters": parameters, **options}
    if not streaming:
        chosen.pop("incremental_output", None)
    try:
        payload = build(prompt, streaming=streaming, **chosen)
    except InvalidRequestError:
        return

    sent = json.loads(payload.body.decode("utf-8"))
    assert set(sent) == {"model", "input", "parameters"}
    assert sent["parameters"]["result_format"]
