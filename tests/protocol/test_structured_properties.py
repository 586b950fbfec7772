"""What holds for every type and answer: nothing is lost or converted, mistakes have paths."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import ANY_JSON, SHAPES, Shape, is_same, mutate, plain

from llama_dashscope import Function, ParseError, ToolCall, read_arguments
from llama_dashscope._protocol.answer_format import AnswerFormat
from llama_dashscope._protocol.json_schema import json_schema
from llama_dashscope._protocol.mismatches import find_mismatches
from llama_dashscope._protocol.strict_converter import strict_converter
from llama_dashscope.testing._service.schema_example import example

FRAMES = ["{}", "```json\n{}\n```", "```\n{}", "Here it is:\n```json\n{}\n```\nDone."]


@given(shape=SHAPES, frame=st.sampled_from(FRAMES), data=st.data())
def test_instances_survive(shape: Shape, frame: str, data: st.DataObject) -> None:
    """Instance to JSON to instance gives an equal instance, of whatever class."""
    value = data.draw(shape.values)
    text = json.dumps(plain(value))

    assert strict_converter.structure(json.loads(text), shape.kind) == value
    if frame.endswith("{}") or isinstance(plain(value), dict | list):
        assert AnswerFormat(shape.kind).read(frame.replace("{}", text)).value == value


@given(shape=SHAPES, data=st.data())
def test_a_changed_answer_is_read_as_it_is_or_refused(shape: Shape, data: st.DataObject) -> None:
    """Whatever is changed in the JSON comes out as it was written, or is an error with a path."""
    changed = json.loads(json.dumps(mutate(plain(data.draw(shape.values)), data)))
    found = AnswerFormat(shape.kind).read(json.dumps(changed))

    if found.mismatches:
        assert all(each.path.startswith("$") and each.reason for each in found.mismatches)
    else:
        assert is_same(changed, plain(found.value))


@given(shape=SHAPES, unknown=ANY_JSON, data=st.data())
def test_unknown_fields_are_kept_as_they_are(
    shape: Shape, unknown: object, data: st.DataObject
) -> None:
    """A field too many comes back as it was; without it the answer is what it was before."""
    written = plain(data.draw(shape.values))
    kept = AnswerFormat(attrs.make_class("Holder", {"item": attrs.field(type=shape.kind)}), "keep")

    found = kept.read(json.dumps({"item": written, "new": unknown}))

    assert found.unknown_fields == {("new",): unknown}
    assert is_same({"item": written}, plain(found.value))


@given(shape=SHAPES)
def test_the_local_server_has_an_answer_for_every_type(shape: Shape) -> None:
    """What it makes of a schema fits the type that the schema is of."""
    value = example(json_schema(shape.kind))

    assert AnswerFormat(shape.kind).read(json.dumps(value)).mismatches == ()


@given(shape=SHAPES, data=st.data())
def test_arguments_of_tools_are_read_as_answers_are(shape: Shape, data: st.DataObject) -> None:
    """A parameter is checked like a field of a class."""

    def tool(value: object) -> None:
        """Take anything."""

    tool.__annotations__["value"] = shape.kind
    written = json.loads(json.dumps(mutate(plain(data.draw(shape.values)), data)))
    call = ToolCall(Function("tool", json.dumps({"value": written})))
    try:
        made: Any = strict_converter.structure(written, shape.kind)
    except Exception as error:
        with pytest.raises(ParseError) as caught:
            read_arguments(tool, call)
        paths = [f"$.value{each.path[1:]}" for each in find_mismatches(error)]
        assert list(caught.value.paths) == paths
    else:
        assert read_arguments(tool, call) == {"value": made}
