"""The dicts that `Generation` returns, beyond what the differential suite compares."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import llama_dashscope.compat
from llama_dashscope.compat import (
    Choice,
    DashScopeAPIResponse,
    DictMixin,
    GenerationOutput,
    GenerationResponse,
    GenerationUsage,
    Message,
    Role,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def response(**more: Any) -> GenerationResponse:
    """Make a response with a message."""
    message = {"role": "assistant", "content": "hi", **more}
    output = GenerationOutput(choices=[{"finish_reason": "stop", "message": message}])
    return GenerationResponse(200, "r", output=output, usage=GenerationUsage(1, 2))


@given(st.dictionaries(st.text(), JSON))
def test_whatever_is_sent_stays_what_it_is(fields: dict[str, Any]) -> None:
    """No field of any name or shape is lost, changed, or in the way of copies and pickles."""
    made = response(**{"role": "assistant", "content": "hi", **fields})
    expected = {"role": "assistant", "content": "hi", **fields}

    assert made.output.choices[0].message == expected
    assert json.loads(json.dumps(made))["output"]["choices"][0]["message"] == expected
    for same in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert (same, type(same), repr(same), str(same)) == (
            made,
            GenerationResponse,
            repr(made),
            str(made),
        )


def test_attributes_at_every_depth() -> None:
    """Dicts that have no name here have attributes, too, in lists as well."""
    made = response(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}])
    call = made.output.choices[0].message.tool_calls[0]

    call.function.name = "g"
    del call.function.arguments

    assert json.dumps(call) == '{"function": {"name": "g"}}'


@pytest.mark.parametrize("name", ["nothing", "__wrapped__", "__deepcopy__"])
def test_an_attribute_that_is_not_there(name: str) -> None:
    """Python's own names are never taken from what was sent."""
    made = DictMixin({"__wrapped__": 1, "__deepcopy__": 2})

    assert not hasattr(made, name)
    with pytest.raises(AttributeError, match=f"'DictMixin' object has no attribute '{name}'"):
        getattr(made, name)


def test_deleting_what_is_not_there() -> None:
    """It raises what a deleted attribute raises everywhere."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        del response().nothing


def test_a_copy_is_a_copy() -> None:
    """A shallow copy shares what is inside, a deep one nothing."""
    made = response()
    shallow, deep = made.copy(), copy.deepcopy(made)

    made.status_code = 500
    made.output.choices[0].message.content = "x"

    assert (shallow.status_code, deep.status_code) == (200, 200)
    assert shallow.output.choices[0].message.content == "x"
    assert deep.output.choices[0].message.content == "hi"


def test_headers_are_not_printed() -> None:
    """A response prints the fields of the documentation; a header may hold more than that."""
    made = GenerationResponse(200, "r", headers={"x-echo": "sk-secret"})

    assert "sk-secret" not in f"{made!s} {made!r}"
    assert repr(Choice()) == "Choice({'finish_reason': None, 'message': None})"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"text": "hi"}, "hi"),
        ({"choices": [{"message": {"role": "assistant", "content": "ho"}}]}, "ho"),
        ({}, None),
        ({"choices": []}, None),
    ],
)
def test_the_message_of_a_response(output: dict[str, Any], expected: str | None) -> None:
    """A message comes out of a response of either format, as programs take it."""
    made = GenerationResponse(200, output=GenerationOutput(**output))
    message = Message.from_generation_response(made)

    assert (message and message.content) == expected
    assert Message.from_conversation_response(made) == message
    assert message is None or message.role == Role.ASSISTANT


@pytest.mark.parametrize("status", [200, 403])
def test_a_response_of_any_model(status: int) -> None:
    """Programs turn one into that of a text model, as the official SDK does."""
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    given = DashScopeAPIResponse(
        status, "r", "C", "words", {"choices": [choice]}, headers={"a": "b"}
    )
    made = GenerationResponse.from_api_response(given)

    assert type(made) is GenerationResponse
    assert (made.request_id, made.code, made.message) == ("r", "C", "words")
    assert made.headers == {"a": "b"}
    if status == 200:
        assert made.output.choices[0].message.content == "hi"
        assert made.usage == {"input_tokens": 0, "output_tokens": 0}
    else:
        assert made.output is made.usage is None


@pytest.mark.parametrize("name", llama_dashscope.compat.__all__)
def test_a_class_shows_where_it_is_public(name: str) -> None:
    """Reprs and pickles name what users import."""
    thing = getattr(llama_dashscope.compat, name)

    assert thing.__module__ in {"llama_dashscope", "llama_dashscope.compat"}
    assert pickle.loads(pickle.dumps(thing)) is thing
